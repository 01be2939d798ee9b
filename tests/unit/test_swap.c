/*
 * Swaps under load: two NICs, each on a loop and a TAP of its own, on a bridge in a network
 * namespace of the test's own. Numbered frames with a hash run in both directions while bindings
 * are changed at random: none may be lost, doubled, reordered or changed. And TAPs that go away.
 *
 * What is in flight is bounded, so that no queue of the host's can overflow; then every loss is
 * ours. XVMM_SWAPS: how many changes of binding, instead of 10,000 (1,000 with a sanitizer).
 */
#include <check.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

#include "tests/unit/swap_kit.h"

#if defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__)
#define SWAPS 1000
#else
#define SWAPS 10000
#endif

#define NICS	2
#define RX_BUFS 128 /* in the ring at most … */
#define RX_BYTES                                                                            \
	16384 /* … each large enough for any frame: the TAP waits for a second one only a \
	       * short time */
#define GSO_BYTES  12000
#define TEST_BYTES 101 /* of frames outside of the flows */
#define TX_SLOTS   64
#define WINDOW	   200 /* frames of one direction that are on their way */

static struct mock_nic nic[NICS];
static struct swap_tap tap[NICS];
static struct netswitch *sw;
static struct remapper *remapper;
static struct flow flow[NICS]; /* by sender */
static _Atomic bool stop_sending, stop_all;

static void setup(void)
{
	swap_net_create(&sw, &remapper, 0);
	for (unsigned i = 0; i < NICS; i++) {
		swap_plug(sw, i, &nic[i], &tap[i], NULL);
		ck_assert(mock_nic_start(&nic[i], MOCK_NET_ALL, 256));
		ck_assert_int_eq(loop_start(&nic[i].loop), 0);
	}
}

static void teardown(void)
{
	for (unsigned i = 0; i < NICS; i++)
		loop_stop(&nic[i].loop);
	for (unsigned i = 0; i < NICS; i++)
		swap_unplug(sw, &nic[i], &tap[i]);
	netswitch_destroy(sw);
	remapper_destroy(remapper);
}

/* -- A driver of a guest: one thread -- */

struct guest {
	unsigned me;
	unsigned seed;
	gpa_t rx_base, tx_base;
	uint32_t rx_given, rx_taken; /* buffers */
	uint32_t tx_done;
	bool resets; /* its driver starts anew now and then: frames are lost, but in order */
	uint8_t frame[RX_BYTES];
	struct mock_frame got;
};

static unsigned pick(struct guest *g, unsigned n)
{
	return (unsigned)rand_r(&g->seed) % n;
}

static void give_buffers(struct guest *g, unsigned n)
{
	struct mock_nic *d = &nic[g->me];

	for (; n && g->rx_given - g->rx_taken < RX_BUFS; n--) {
		gpa_t gpa = g->rx_base + g->rx_given++ % RX_BUFS * RX_BYTES;
		uint16_t head = mock_ring_add(&d->drv.ring[0],
					      (struct mock_seg[]){ { gpa, RX_BYTES, true } }, 1);

		d->rx_buf[head] = gpa;
		d->rx_len[head] = RX_BYTES;
	}
	if (!mock_ring_no_notify(&d->drv.ring[0]))
		mock_driver_kick(&d->drv, 0);
}

/* One frame; a TCP segment too long for the wire now and then. */
static void add_frame(struct guest *g, uint32_t number)
{
	struct mock_nic *d = &nic[g->me];
	struct virtio_net_hdr_v1 hdr;
	gpa_t gpa = g->tx_base + number % TX_SLOTS * RX_BYTES;
	bool gso = pick(g, 16) == 0;
	size_t len = 60 + pick(g, gso ? GSO_BYTES : 1455);

	if (gso && len < 2000)
		len += 2000;
	swap_frame(g->frame, &hdr, len, (uint8_t)(2 - g->me), (uint8_t)(g->me + 1), number, gso);
	ck_assert_int_eq(gmem_write(&d->mp.mem, gpa, &hdr, VNET_HDR_BYTES), 0);
	ck_assert_int_eq(gmem_write(&d->mp.mem, gpa + VNET_HDR_BYTES, g->frame, len), 0);
	mock_ring_add(
		&d->drv.ring[1],
		(struct mock_seg[]){ { gpa, VNET_HDR_BYTES + 30, false },
				     { gpa + VNET_HDR_BYTES + 30, (uint32_t)len - 30, false } },
		2);
}

static void transmit(struct guest *g)
{
	struct flow *f = &flow[g->me];
	uint32_t sent = atomic_load(&f->sent);
	unsigned burst = 1 + pick(g, 24), n = 0;

	while (mock_ring_used(&nic[g->me].drv.ring[1], NULL, NULL))
		g->tx_done++;
	while (!atomic_load(&stop_sending) && n < burst && sent - g->tx_done < TX_SLOTS &&
	       (g->resets || sent - atomic_load(&f->received) < WINDOW)) {
		add_frame(g, sent++);
		n++;
	}
	atomic_store(&f->sent, sent);
	if (n)
		mock_driver_kick(&nic[g->me].drv, 1);
}

static bool receive(struct guest *g)
{
	struct flow *f = &flow[!g->me];
	const struct mock_frame *got = &g->got;
	uint32_t number = atomic_load(&f->received);
	bool any = false;

	while (mock_nic_rx(&nic[g->me], &g->got)) {
		bool gso = got->data[12] == 8;
		size_t at = swap_stamp_at(got->data);
		struct stamp s;

		g->rx_taken += got->hdr.num_buffers;
		/* The kernel may multicast something of its own. */
		if (got->data[0] & 1)
			continue;
		ck_assert_uint_ge(got->len, 60);
		memcpy(&s, got->data + at, sizeof(s));
		if (g->resets && s.number > number)
			number = s.number;
		ck_assert_msg(s.number == number, "NIC %u got frame %u instead of %u", g->me,
			      s.number, number);
		ck_assert_uint_eq(s.len, got->len);
		ck_assert_uint_eq(s.hash, swap_hash(number, got->data + at + sizeof(s),
						    got->len - at - sizeof(s)));
		ck_assert_uint_eq(got->hdr.gso_type,
				  gso ? VIRTIO_NET_HDR_GSO_TCPV4 : VIRTIO_NET_HDR_GSO_NONE);
		atomic_store(&f->received, ++number);
		any = true;
	}
	return any;
}

static void reset(struct guest *g)
{
	struct mock_nic *d = &nic[g->me];
	uint64_t features = pick(g, 2) ? MOCK_NET_ALL : MOCK_NET_ALL & ~MOCK_NET_MRG;

	ck_assert(mock_nic_start(d, features, 256));
	g->rx_given = 0;
	g->rx_taken = 0;
	g->tx_done = atomic_load(&flow[g->me].sent);
	usleep(pick(g, 2000));
	give_buffers(g, RX_BUFS);
}

static void *guest_main(void *arg)
{
	struct guest *g = arg;

	give_buffers(g, RX_BUFS);
	while (!atomic_load(&stop_all)) {
		bool any;

		if (g->resets && pick(g, 64) == 0)
			reset(g);
		transmit(g);
		any = receive(g);
		/* All, a few, or none for a while. */
		switch (pick(g, 8)) {
		case 0:
			give_buffers(g, 1);
			break;
		case 1:
			if (pick(g, 16) == 0)
				usleep(pick(g, 2000));
			break;
		case 2:
		case 3:
			give_buffers(g, pick(g, 20));
			break;
		default:
			give_buffers(g, RX_BUFS);
		}
		if (!any)
			usleep(20);
	}
	return NULL;
}

static struct guest *guest_new(unsigned me, unsigned seed)
{
	struct guest *g = calloc(1, sizeof(*g));

	ck_assert_ptr_nonnull(g);
	g->me = me;
	g->seed = seed * 2 + me;
	g->rx_base = ALIGN_UP(nic[me].free_mem, 4096);
	g->tx_base = g->rx_base + RX_BUFS * RX_BYTES;
	return g;
}

/* -- Tests -- */

static uint64_t by_path(enum port_path path)
{
	return nic[0].port->stats.path[path].tx_frames + nic[1].port->stats.path[path].tx_frames;
}

START_TEST(swaps_under_load)
{
	const struct netswitch_stats *st = netswitch_stats(sw);
	const char *env = getenv("XVMM_SWAPS");
	uint64_t swaps = env ? strtoull(env, NULL, 0) : SWAPS, began = swap_now_ms(), last;
	struct guest *g[NICS];
	pthread_t th[NICS];
	unsigned seed = 1;

	for (unsigned i = 0; i < NICS; i++) {
		g[i] = guest_new(i, seed);
		pthread_create(&th[i], NULL, guest_main, g[i]);
	}
	while (atomic_load(&st->swaps) < swaps) {
		unsigned i = (unsigned)rand_r(&seed) % NICS, what = (unsigned)rand_r(&seed) % 16;
		uint32_t from = atomic_load(&flow[i].received);
		uint32_t frames = (uint32_t)rand_r(&seed) % 10;
		struct netswitch_port_state ps;

		ck_assert_int_eq(netswitch_port_state(sw, nic[i].port, &ps), 0);
		ck_assert_int_eq(netswitch_command(sw, nic[i].port, what != 0,
						   ps.binding == BINDING_DIRECT ? BINDING_UPLINK
										: BINDING_DIRECT),
				 0);
		/* Some in the middle of the last one, most after a few frames. */
		for (unsigned n = 0; n < 100 && atomic_load(&flow[i].received) - from < frames; n++)
			usleep(20);
	}
	atomic_store(&stop_sending, true);
	last = swap_now_ms();
	for (unsigned i = 0; i < NICS; i++) {
		while (atomic_load(&flow[i].received) != atomic_load(&flow[i].sent)) {
			ck_assert_msg(swap_now_ms() - last < 20000, "NIC %u: %u sent, %u received",
				      i, flow[i].sent, flow[i].received);
			usleep(1000);
		}
	}
	atomic_store(&stop_all, true);
	for (unsigned i = 0; i < NICS; i++) {
		pthread_join(th[i], NULL);
		ck_assert_uint_eq(nic[i].port->stats.rx_dropped, 0);
		ck_assert_uint_eq(nic[i].port->stats.tx_dropped, 0);
		ck_assert_uint_eq(nic[i].port->stats.tx_frames, flow[i].sent);
		free(g[i]);
	}
	printf("swaps %llu, drains %llu, timeouts %llu; frames by uplink %llu, directly %llu; "
	       "%llu ms\n",
	       (unsigned long long)st->swaps, (unsigned long long)st->markers_swallowed,
	       (unsigned long long)st->drain_timeouts, (unsigned long long)by_path(PATH_UPLINK),
	       (unsigned long long)by_path(PATH_DIRECT),
	       (unsigned long long)(swap_now_ms() - began));
	/* Both ways were used, and most swaps were real ones. */
	ck_assert_uint_gt(by_path(PATH_DIRECT), swaps);
	ck_assert_uint_gt(by_path(PATH_UPLINK), swaps);
	ck_assert_uint_gt(st->markers_swallowed, swaps / 8);
}
END_TEST

/* Drivers that start anew in the middle of drains and holds. */
START_TEST(resets_under_load)
{
	const struct netswitch_stats *st = netswitch_stats(sw);
	struct guest *g[NICS];
	pthread_t th[NICS];
	uint64_t began = swap_now_ms();
	uint32_t last[NICS];
	unsigned seed = 7;

	for (unsigned i = 0; i < NICS; i++) {
		g[i] = guest_new(i, seed);
		g[i]->resets = true;
		pthread_create(&th[i], NULL, guest_main, g[i]);
	}
	while (swap_now_ms() - began < 3000) {
		unsigned r = (unsigned)rand_r(&seed);

		ck_assert_int_eq(netswitch_command(sw, nic[r % NICS].port, r & 14,
						   r & 16 ? BINDING_UPLINK : BINDING_DIRECT),
				 0);
		usleep((unsigned)rand_r(&seed) % 2000);
	}
	/* Nobody was left waiting: both directions go on, whatever they are bound to. */
	for (unsigned i = 0; i < NICS; i++)
		last[i] = atomic_load(&flow[i].received);
	for (unsigned i = 0; i < NICS; i++) {
		for (unsigned ms = 0; atomic_load(&flow[i].received) - last[i] < 50; ms++) {
			ck_assert_uint_lt(ms, 20000);
			usleep(1000);
		}
	}
	atomic_store(&stop_all, true);
	for (unsigned i = 0; i < NICS; i++) {
		pthread_join(th[i], NULL);
		free(g[i]);
	}
	ck_assert_uint_gt(st->swaps, 100);
	ck_assert_uint_gt(by_path(PATH_DIRECT), 100);
}
END_TEST

static void send_one(unsigned i, uint8_t dst, uint32_t seed)
{
	static const struct virtio_net_hdr_v1 plain;
	uint8_t frame[TEST_BYTES];

	mock_frame_fill(frame, sizeof(frame), dst, (uint8_t)(i + 1), seed);
	if (dst == 0xff)
		memset(frame, 0xff, 6);
	mock_nic_tx(&nic[i], &plain, frame, sizeof(frame), 1);
	mock_driver_kick(&nic[i].drv, 1);
}

static void give_some(unsigned i)
{
	for (unsigned n = 0; n < 100; n++)
		mock_nic_rx_add(&nic[i], 2048, 1);
	mock_driver_kick(&nic[i].drv, 0);
}

static bool wait_rx(unsigned i, struct mock_frame *got, unsigned ms)
{
	for (uint64_t end = swap_now_ms() + ms; swap_now_ms() < end; usleep(200))
		/* The kernel may send something of its own. */
		while (mock_nic_rx(&nic[i], got))
			if (got->len == TEST_BYTES)
				return true;
	return false;
}

static void bind(unsigned i, enum binding b)
{
	struct netswitch_port_state ps;

	ck_assert_int_eq(netswitch_command(sw, nic[i].port, true, b), 0);
	for (unsigned ms = 0; ms < 5000; ms++, usleep(1000)) {
		ck_assert_int_eq(netswitch_port_state(sw, nic[i].port, &ps), 0);
		if (ps.binding == b && ps.pinned)
			return;
	}
	ck_abort_msg("not bound");
}

static void expect_idle(void)
{
	struct rusage a, b;

	getrusage(RUSAGE_SELF, &a);
	usleep(300000);
	getrusage(RUSAGE_SELF, &b);
	ck_assert_int_lt((b.ru_utime.tv_sec - a.ru_utime.tv_sec) * 1000000 + b.ru_utime.tv_usec -
				 a.ru_utime.tv_usec +
				 (b.ru_stime.tv_sec - a.ru_stime.tv_sec) * 1000000 +
				 b.ru_stime.tv_usec - a.ru_stime.tv_usec,
			 100000);
}

/* A's TAP goes away while it is bound to it, directly, or while its lane to B drains. */
START_TEST(tap_deleted)
{
	static struct mock_frame got;

	give_some(0);
	give_some(1);
	send_one(1, 1, 1);
	ck_assert(wait_rx(0, &got, 5000));
	if (_i > 0) {
		bind(0, BINDING_DIRECT);
		bind(1, BINDING_DIRECT);
		send_one(0, 2, 2);
		send_one(1, 1, 3);
		ck_assert(wait_rx(1, &got, 5000));
		ck_assert(wait_rx(0, &got, 5000));
	}
	swap_sh(_i == 2 ? "ip link del xs1" : "ip link del xs0");
	if (_i == 2)
		bind(0, BINDING_UPLINK);
	for (unsigned ms = 0; !nic[_i == 2].drv.config_irqs && ms < 5000; ms++)
		usleep(1000);
	ck_assert_uint_eq(nic[_i == 2].drv.config_irqs, 1);
	if (_i == 2)
		bind(0, BINDING_DIRECT);
	/* Whatever the guests do now, nobody hangs, spins or dies. */
	for (unsigned n = 0; n < 20; n++) {
		send_one(0, 2, n);
		send_one(1, 1, n);
		send_one(0, 0xff, n);
		send_one(0, 99, n);
	}
	expect_idle();
	for (unsigned i = 0; i < NICS; i++)
		while (mock_nic_rx(&nic[i], &got))
			;
	/* All frames of A have come back to its driver. */
	for (unsigned ms = 0; mock_ring_used_idx(&nic[0].drv.ring[1]) < 60 + (_i > 0); ms++) {
		ck_assert_uint_lt(ms, 5000);
		usleep(1000);
	}
	for (unsigned i = 0; i < NICS; i++)
		ck_assert(mock_nic_start(&nic[i], MOCK_NET_ALL, 256));
	expect_idle();
}
END_TEST

START_TEST(group_frames_once)
{
	static struct mock_frame got;

	give_some(0);
	give_some(1);
	for (unsigned round = 0; round < 2; round++) {
		bind(0, round ? BINDING_DIRECT : BINDING_UPLINK);
		send_one(0, 2, 100);
		ck_assert(wait_rx(1, &got, 5000));
		for (uint32_t n = 0; n < 10; n++) {
			send_one(0, 0xff, n);
			ck_assert(wait_rx(1, &got, 5000));
			ck_assert_uint_eq(got.data[0], 0xff);
		}
		ck_assert(!wait_rx(1, &got, 50));
	}
}
END_TEST

int main(void)
{
	Suite *s = suite_create("swap");
	TCase *tc = tcase_create("swap");
	const char *what = swap_missing();
	SRunner *sr;
	int failed;

	if (what) {
		printf("SKIP test_swap: needs %s\n", what);
		return EXIT_SUCCESS;
	}
	tcase_set_timeout(tc, 180);
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, swaps_under_load);
	tcase_add_test(tc, resets_under_load);
	tcase_add_loop_test(tc, tap_deleted, 0, 3);
	tcase_add_test(tc, group_frames_once);
	suite_add_tcase(s, tc);
	sr = srunner_create(s);
	srunner_run_all(sr, CK_NORMAL);
	failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
