/*
 * Back-pressure: a receiver without buffers holds its senders back for a bounded time, then what is
 * for it is dropped and counted; nobody else pays for it. Whole NICs with mock drivers on a switch
 * without uplink, each on a loop of its own.
 */
#include <check.h>
#include <errno.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "tests/unit/mock_net.h"
#include "xtalk/netswitch.h"
#include "xtalk/remapper.h"

#define NICS 3
#define LONG 20000000 /* µs: nothing that a test waits for lasts so long */

static struct mock_nic nic[NICS];
static struct netswitch *sw;
static struct remapper *remapper;
static struct mock_frame got;
static uint8_t frame[FRAME_MAX_BYTES];
static const struct virtio_net_hdr_v1 plain;

static void begin(uint32_t hold_us)
{
	static const char *const names[NICS] = { "a.eth0", "b.eth0", "c.eth0" };
	struct netswitch_params params = {
		.name = "lan0",
		.uplink_fd = -1,
		.rules = { .mode = XTALK_DYNAMIC,
			   .threshold = 8,
			   .share_percent = 75,
			   .window = 32,
			   .hold_us = hold_us },
	};

	ck_assert_int_eq(remapper_create(&remapper), 0);
	params.remapper = remapper;
	ck_assert_int_eq(netswitch_create(&sw, &params), 0);
	for (unsigned i = 0; i < NICS; i++) {
		struct netswitch_port np = { 0 };
		struct carrier *c;

		mock_nic_init(&nic[i], names[i], (uint8_t)(i + 1));
		np.port = nic[i].port;
		ck_assert_int_eq(netswitch_attach(sw, &np, &c), 0);
		virtio_net_set_carrier(nic[i].net, c);
		ck_assert(mock_nic_start(&nic[i], MOCK_NET_ALL, 256));
		ck_assert_int_eq(loop_start(&nic[i].loop), 0);
	}
}

static void teardown(void)
{
	for (unsigned i = 0; i < NICS; i++) {
		loop_stop(&nic[i].loop);
		virtio_dev_stop(nic[i].dev);
		netswitch_detach(sw, nic[i].port);
		mock_nic_fini(&nic[i]);
	}
	netswitch_destroy(sw);
	remapper_destroy(remapper);
}

static void give(unsigned i, unsigned bufs)
{
	while (bufs--)
		mock_nic_rx_add(&nic[i], 1600, 1);
	mock_driver_kick(&nic[i].drv, 0);
}

static void add(uint8_t dst, uint32_t number)
{
	mock_frame_fill(frame, 100, dst, 1, number);
	memcpy(frame + 20, &number, sizeof(number));
	mock_nic_tx(&nic[0], &plain, frame, 100, 1);
}

static uint64_t now_us(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000 + (uint64_t)ts.tv_nsec / 1000;
}

/* Until A's driver has got n frames back. */
static void completed(unsigned n)
{
	uint64_t limit = now_us() + LONG;

	while (mock_ring_used_idx(&nic[0].drv.ring[1]) != n) {
		ck_assert_uint_lt(now_us(), limit);
		usleep(100);
	}
}

static void expect_one(unsigned i, uint32_t number)
{
	uint64_t limit = now_us() + LONG;

	while (!mock_nic_rx(&nic[i], &got)) {
		ck_assert_uint_lt(now_us(), limit);
		usleep(100);
	}
	ck_assert_uint_eq(got.len, 100);
	ck_assert_mem_eq(got.data + 20, &number, 4);
}

static uint64_t dropped(unsigned i)
{
	return nic[i].port->stats.rx_dropped;
}

START_TEST(held_then_dropped)
{
	uint64_t t;

	begin(200000);
	give(2, 100);
	t = now_us();
	for (unsigned n = 0; n < 20; n++) {
		add(2, n);
		add(3, n);
	}
	mock_driver_kick(&nic[0].drv, 1);
	/* One hold for the first to B; what is for C goes at once from then on. */
	completed(40);
	t = now_us() - t;
	ck_assert_uint_ge(t, 200000);
	ck_assert_uint_lt(t, 2 * 200000);
	for (unsigned n = 0; n < 20; n++)
		expect_one(2, n);
	ck_assert_uint_eq(dropped(1), 20);
	ck_assert_uint_eq(nic[0].port->stats.tx_held, 1);
	/* And so it stays, until B gives buffers. */
	t = now_us();
	add(2, 20);
	mock_driver_kick(&nic[0].drv, 1);
	completed(41);
	ck_assert_uint_lt(now_us() - t, 100000);
	ck_assert_uint_eq(dropped(1), 21);
	give(1, 1);
	add(2, 21);
	mock_driver_kick(&nic[0].drv, 1);
	expect_one(1, 21);
	/* Then it is waited for again. */
	add(2, 22);
	mock_driver_kick(&nic[0].drv, 1);
	completed(43);
	ck_assert_uint_eq(nic[0].port->stats.tx_held, 2);
	ck_assert_uint_eq(dropped(1), 22);
}
END_TEST

/* Buffers come in time: one by one, or without any being asked for. */
START_TEST(resumed_in_time)
{
	uint64_t t = now_us();

	begin(LONG);
	for (unsigned n = 0; n < 50; n++)
		add(2, n);
	mock_driver_kick(&nic[0].drv, 1);
	for (unsigned n = 0; n < 50; n++) {
		if (_i)
			mock_driver_kick(&nic[1].drv, 0); /* rings, and brings nothing */
		give(1, 1);
		expect_one(1, n);
	}
	completed(50);
	ck_assert(!mock_nic_rx(&nic[1], &got));
	ck_assert_uint_eq(dropped(1), 0);
	ck_assert_uint_eq(nic[1].port->stats.rx_frames, 50);
	ck_assert_uint_lt(now_us() - t, LONG);
}
END_TEST

/* Buffers that do not suffice: it waits on, and is woken by the next. */
START_TEST(too_few_at_first)
{
	uint64_t t = now_us();

	begin(LONG);
	mock_frame_fill(frame, 5000, 2, 1, 7);
	mock_nic_tx(&nic[0], &plain, frame, 5000, 3);
	mock_driver_kick(&nic[0].drv, 1);
	for (unsigned n = 0; n < 4; n++) {
		usleep(5000);
		ck_assert(!mock_nic_rx(&nic[1], &got));
		give(1, 1);
	}
	completed(1);
	ck_assert(mock_nic_rx(&nic[1], &got));
	ck_assert_uint_eq(got.len, 5000);
	ck_assert_mem_eq(got.data, frame, 5000);
	ck_assert_uint_lt(now_us() - t, LONG);
}
END_TEST

START_TEST(hold_of_zero)
{
	begin(0);
	add(2, 1);
	mock_driver_kick(&nic[0].drv, 1);
	completed(1);
	ck_assert_uint_eq(dropped(1), 1);
	ck_assert_uint_eq(nic[0].port->stats.tx_held, 0);
}
END_TEST

/* The receiver's driver goes away, or breaks a rule, in the middle. */
START_TEST(receiver_goes)
{
	uint64_t t = now_us();

	begin(LONG);
	for (unsigned n = 0; n < 10; n++)
		add(2, n);
	mock_driver_kick(&nic[0].drv, 1);
	usleep(10000);
	if (_i == 0) {
		mock_driver_set_status(&nic[1].drv, 0);
	} else {
		gpa_t gpa = mock_driver_alloc(&nic[1].drv, 4096, 1);

		mock_ring_add(&nic[1].drv.ring[0], (struct mock_seg[]){ { gpa, 2000, false } }, 1);
		mock_driver_kick(&nic[1].drv, 0);
	}
	completed(10);
	ck_assert_uint_eq(dropped(1), 10);
	ck_assert_uint_lt(now_us() - t, LONG);
}
END_TEST

START_TEST(sender_resets)
{
	begin(LONG);
	add(2, 1);
	mock_driver_kick(&nic[0].drv, 1);
	usleep(10000);
	ck_assert(mock_nic_start(&nic[0], MOCK_NET_ALL, 256));
	give(1, 2);
	usleep(10000);
	ck_assert(!mock_nic_rx(&nic[1], &got)); /* it went with its ring */
	add(2, 2);
	mock_driver_kick(&nic[0].drv, 1);
	expect_one(1, 2);
}
END_TEST

/* Several senders wait for one. */
START_TEST(two_senders)
{
	begin(LONG);
	for (unsigned i = 0; i < 3; i += 2) {
		mock_frame_fill(frame, 100, 2, (uint8_t)(i + 1), i);
		mock_nic_tx(&nic[i], &plain, frame, 100, 1);
		mock_driver_kick(&nic[i].drv, 1);
	}
	usleep(10000);
	for (unsigned n = 0; n < 2; n++) {
		uint64_t limit = now_us() + LONG / 2;

		give(1, 1);
		while (!mock_nic_rx(&nic[1], &got)) {
			ck_assert_uint_lt(now_us(), limit);
			usleep(100);
		}
	}
	ck_assert_uint_eq(dropped(1), 0);
}
END_TEST

/* Segments that have arrived do not come again. */
START_TEST(segmented_in_part)
{
	static const struct virtio_net_hdr_v1 tso = { .flags = VIRTIO_NET_HDR_F_NEEDS_CSUM,
						      .gso_type = VIRTIO_NET_HDR_GSO_TCPV4,
						      .hdr_len = 54,
						      .gso_size = 1000,
						      .csum_start = 34,
						      .csum_offset = 16 };
	size_t len = 54 + 10000;

	begin(100000);
	ck_assert(mock_nic_start(&nic[1], MOCK_NET_BASE, 256));
	mock_frame_fill(frame, len, 2, 1, 1);
	memcpy(frame + 12, (uint8_t[]){ 8, 0, 0x45, 0,	0, 0, 0, 1,  0x40, 0, 64,
					6, 0, 0,    10, 0, 0, 1, 10, 0,	   0, 2 },
	       22);
	frame[16] = (uint8_t)((len - 14) >> 8);
	frame[17] = (uint8_t)(len - 14);
	frame[46] = 0x50;
	frame[47] = 0x10;
	give(1, 3);
	mock_nic_tx(&nic[0], &tso, frame, len, 3);
	add(2, 1);
	mock_driver_kick(&nic[0].drv, 1);
	usleep(10000);
	give(1, 20);
	completed(2);
	for (unsigned n = 0; n < 3; n++) {
		ck_assert(mock_nic_rx(&nic[1], &got));
		ck_assert_uint_eq(got.len, 1054);
	}
	expect_one(1, 1);
	ck_assert(!mock_nic_rx(&nic[1], &got));
	ck_assert_uint_eq(dropped(1), 1);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("hold");
	TCase *tc = tcase_create("hold");
	SRunner *sr;
	int failed;

	tcase_set_timeout(tc, 60);
	tcase_add_checked_fixture(tc, NULL, teardown);
	tcase_add_test(tc, held_then_dropped);
	tcase_add_loop_test(tc, resumed_in_time, 0, 2);
	tcase_add_test(tc, too_few_at_first);
	tcase_add_test(tc, hold_of_zero);
	tcase_add_loop_test(tc, receiver_goes, 0, 2);
	tcase_add_test(tc, sender_resets);
	tcase_add_test(tc, two_senders);
	tcase_add_test(tc, segmented_in_part);
	suite_add_tcase(s, tc);
	sr = srunner_create(s);
	srunner_run_all(sr, CK_NORMAL);
	failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
