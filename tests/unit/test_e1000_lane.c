/* Frames between an e1000 and a virtio-net over a switch, both ways, with what either cannot take.
 */
#include <check.h>
#include <errno.h>
#include <stdlib.h>

#include "tests/unit/mock_e1000.h"
#include "tests/unit/mock_net.h"
#include "xtalk/netswitch.h"
#include "xtalk/remapper.h"

#define E_ID 1
#define V_ID 2

static struct mock_e1000 m;
static struct mock_nic v;
static struct netswitch *sw;
static struct remapper *remapper;
static struct mock_frame got;
static uint8_t frame[FRAME_MAX_BYTES];
static const struct virtio_net_hdr_v1 plain;

static struct carrier *attach(struct port *p)
{
	struct netswitch_port np = { .port = p };
	struct carrier *c;

	ck_assert_int_eq(netswitch_attach(sw, &np, &c), 0);
	return c;
}

static void setup(void)
{
	struct netswitch_params params = {
		.name = "lan0",
		.uplink_fd = -1,
		.rules = { .mode = XTALK_DYNAMIC,
			   .threshold = 8,
			   .share_percent = 75,
			   .window = 32,
			   .hold_us = 10000000 },
	};

	ck_assert_int_eq(remapper_create(&remapper), 0);
	params.remapper = remapper;
	ck_assert_int_eq(netswitch_create(&sw, &params), 0);
	mock_e1000_init(&m, "e.eth0", E_ID);
	mock_nic_init(&v, "v.eth0", V_ID);
	e1000_set_carrier(m.e, attach(m.port));
	virtio_net_set_carrier(v.net, attach(v.port));
	me_start(&m, 256, RCTL_BAM);
}

static void teardown(void)
{
	e1000_stop(m.e);
	loop_stop(&v.loop);
	virtio_dev_stop(v.dev);
	netswitch_detach(sw, m.port);
	netswitch_detach(sw, v.port);
	e1000_set_carrier(m.e, NULL);
	virtio_net_set_carrier(v.net, NULL);
	mock_e1000_fini(&m);
	mock_nic_fini(&v);
	netswitch_destroy(sw);
	remapper_destroy(remapper);
}

static void put16be(uint8_t *p, unsigned x)
{
	p[0] = (uint8_t)(x >> 8);
	p[1] = (uint8_t)x;
}

static unsigned get16be(const uint8_t *p)
{
	return (unsigned)p[0] << 8 | p[1];
}

static uint32_t get32be(const uint8_t *p)
{
	return (uint32_t)get16be(p) << 16 | get16be(p + 2);
}

static unsigned sum16(const uint8_t *p, size_t len, uint32_t sum)
{
	for (size_t i = 0; i < len; i++)
		sum += i & 1 ? p[i] : (unsigned)p[i] << 8;
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return sum;
}

/* Sum of TCP's pseudo header, without the length. */
static unsigned pseudo(const uint8_t *ip)
{
	return sum16(ip + 12, 8, 6);
}

static void fill_tcp(size_t len, uint8_t dst, uint8_t src)
{
	uint8_t *ip = frame + 14, *tcp = ip + 20;

	mock_frame_fill(frame, len, dst, src, (uint32_t)len);
	put16be(frame + 12, 0x0800);
	ip[0] = 0x45;
	put16be(ip + 2, (unsigned)len - 14);
	put16be(ip + 6, 0);
	ip[9] = 6;
	put16be(ip + 10, 0);
	tcp[12] = 0x50;
	tcp[13] = 0x18;
}

/* A whole, finished TCP segment of the frame that fill_tcp() made: the bytes from `at` on. */
static size_t check_segment(const uint8_t *f, size_t len, size_t at)
{
	const uint8_t *ip = f + 14, *tcp = ip + 20;
	size_t ip_len = get16be(ip + 2), bytes = ip_len - 40;

	ck_assert_uint_ge(len, ip_len + 14);
	ck_assert_uint_eq(sum16(ip, 20, 0), 0xffff);
	ck_assert_uint_eq(sum16(tcp, ip_len - 20, pseudo(ip) + (uint32_t)ip_len - 20), 0xffff);
	ck_assert_uint_eq(get32be(tcp + 4), get32be(frame + 38) + (uint32_t)at);
	ck_assert_mem_eq(f + 54, frame + 54 + at, bytes);
	return bytes;
}

/* As Linux's driver prepares it. */
static void send_tso(size_t len)
{
	uint8_t *ip = frame + 14;

	fill_tcp(len, V_ID, E_ID);
	put16be(ip + 2, 0);
	put16be(ip + 20 + 16, pseudo(ip));
	gmem_write(&m.mp.mem, ME_DATA, frame, len);
	me_tx_desc(&m, 14 | 24 << 8 | 33 << 16 | 34ull << 32 | 50ull << 40,
		   TXD_CMD_DEXT | TXD_CMD_TSE | TXD_TUCMD_IP | TXD_TUCMD_TCP | 54ull << 40 |
			   1448ull << 48);
	me_tx_desc(&m, ME_DATA,
		   len | TXD_DTYP_DATA << TXD_DTYP_SHIFT | TXD_CMD_DEXT | TXD_CMD_TSE |
			   TXD_CMD_EOP | TXD_CMD_RS | 3ull << 40);
	me_tx_kick(&m);
}

START_TEST(tso_to_one_that_takes_it)
{
	size_t len = 30000;

	ck_assert(mock_nic_start(&v, MOCK_NET_ALL, 256));
	for (unsigned i = 0; i < 40; i++)
		mock_nic_rx_add(&v, 2048, 1);
	send_tso(len);
	ck_assert(mock_nic_rx(&v, &got));
	ck_assert_uint_eq(got.len, len);
	ck_assert_uint_eq(got.hdr.gso_type, VIRTIO_NET_HDR_GSO_TCPV4);
	ck_assert_uint_eq(got.hdr.gso_size, 1448);
	/* What a stack looks at before it believes the rest. */
	ck_assert_uint_eq(get16be(got.data + 16), len - 14);
	ck_assert_uint_eq(sum16(got.data + 14, 20, 0), 0xffff);
	ck_assert_uint_eq(get16be(got.data + 50),
			  sum16(NULL, 0, pseudo(got.data + 14) + (uint32_t)len - 34));
	ck_assert_mem_eq(got.data + 54, frame + 54, len - 54);
	ck_assert(!mock_nic_rx(&v, &got));
}
END_TEST

START_TEST(tso_to_one_that_does_not)
{
	size_t len = 30000, at = 0;

	ck_assert(mock_nic_start(&v, MOCK_NET_BASE, 256));
	for (unsigned i = 0; i < 40; i++)
		mock_nic_rx_add(&v, 2048, 1);
	send_tso(len);
	while (mock_nic_rx(&v, &got)) {
		ck_assert_uint_eq(got.hdr.flags, 0);
		at += check_segment(got.data, got.len, at);
	}
	ck_assert_uint_eq(at, len - 54);
	ck_assert_uint_eq(me_tx_status(&m, 1), TXD_STAT_DD);
}
END_TEST

static size_t take_received(uint8_t *out)
{
	uint64_t second = me_rx_second(&m, m.rx_next);
	size_t len = second & 0xffff;

	if (!(second >> 32 & RXD_STAT_DD))
		return 0;
	ck_assert(second >> 32 & RXD_STAT_EOP);
	gmem_read(&m.mp.mem, ME_BUFS + m.rx_next * (gpa_t)ME_BUF_STEP, out, len);
	m.rx_next++;
	return len - E1000_FCS_BYTES;
}

START_TEST(gso_to_e1000)
{
	static uint8_t out[2048];
	struct virtio_net_hdr_v1 hdr = {
		.flags = VIRTIO_NET_HDR_F_NEEDS_CSUM,
		.gso_type = VIRTIO_NET_HDR_GSO_TCPV4,
		.hdr_len = 54,
		.gso_size = 1448,
		.csum_start = 34,
		.csum_offset = 16,
	};
	size_t len = 30000, at = 0, n;

	ck_assert(mock_nic_start(&v, MOCK_NET_ALL, 256));
	me_rx_give(&m, 100);
	fill_tcp(len, E_ID, V_ID);
	put16be(frame + 14 + 10, ~sum16(frame + 14, 20, 0) & 0xffff);
	put16be(frame + 50, sum16(NULL, 0, pseudo(frame + 14) + (uint32_t)len - 34));
	mock_nic_tx(&v, &hdr, frame, len, 3);
	mock_driver_kick(&v.drv, 1);
	while ((n = take_received(out)))
		at += check_segment(out, n, at);
	ck_assert_uint_eq(at, len - 54);
}
END_TEST

START_TEST(to_and_fro)
{
	static uint8_t out[2048];

	ck_assert(mock_nic_start(&v, MOCK_NET_ALL, 256));
	me_rx_give(&m, 200);
	for (unsigned i = 0; i < 100; i++) {
		size_t len = 60 + 14 * i;

		mock_nic_rx_add(&v, 2048, 1);
		mock_frame_fill(frame, len, V_ID, E_ID, i);
		me_tx(&m, frame, len);
		ck_assert(mock_nic_rx(&v, &got));
		ck_assert_uint_eq(got.len, len);
		ck_assert_mem_eq(got.data, frame, len);
		mock_frame_fill(frame, len, E_ID, V_ID, ~i);
		mock_nic_tx(&v, &plain, frame, len, 2);
		mock_driver_kick(&v.drv, 1);
		ck_assert_uint_eq(take_received(out), len);
		ck_assert_mem_eq(out, frame, len);
	}
	ck_assert_uint_eq(atomic_load(&m.port->stats.path[PATH_DIRECT].tx_frames), 100);
	ck_assert_uint_eq(atomic_load(&m.port->stats.path[PATH_DIRECT].rx_frames), 100);
}
END_TEST

/* A receiver without buffers holds its sender back; the next tail lets it go on. */
START_TEST(held_back_by_e1000)
{
	static uint8_t out[2048];

	ck_assert(mock_nic_start(&v, MOCK_NET_ALL, 256));
	me_rx_give(&m, 2);
	for (unsigned i = 0; i < 5; i++) {
		mock_frame_fill(frame, 100, E_ID, V_ID, i);
		mock_nic_tx(&v, &plain, frame, 100, 1);
	}
	mock_driver_kick(&v.drv, 1);
	ck_assert_uint_eq(atomic_load(&v.port->stats.tx_frames), 2);
	ck_assert_uint_eq(atomic_load(&v.port->stats.tx_held), 1);
	me_rx_give(&m, 10);
	mock_e1000_run(&m); /* rx_ready: the switch tells the sender */
	mock_loop_run(&v.loop);
	for (unsigned i = 0; i < 5; i++) {
		mock_frame_fill(frame, 100, E_ID, V_ID, i);
		ck_assert_uint_eq(take_received(out), 100);
		ck_assert_mem_eq(out, frame, 100);
	}
	ck_assert_uint_eq(atomic_load(&m.port->stats.rx_dropped), 0);
}
END_TEST

START_TEST(held_back_by_virtio)
{
	ck_assert(mock_nic_start(&v, MOCK_NET_ALL, 256));
	mock_nic_rx_add(&v, 2048, 1);
	mock_frame_fill(frame, 100, V_ID, E_ID, 1);
	me_tx(&m, frame, 100);
	me_tx(&m, frame, 100);
	me_tx(&m, frame, 100);
	ck_assert_uint_eq(me_get(&m, REG_TDH), 1);
	ck_assert_uint_eq(me_tx_status(&m, 1), 0);
	mock_nic_rx_add(&v, 2048, 1);
	mock_nic_rx_add(&v, 2048, 1);
	mock_driver_kick(&v.drv, 0);
	mock_e1000_run(&m);
	ck_assert_uint_eq(me_get(&m, REG_TDH), 3);
	ck_assert_uint_eq(me_tx_status(&m, 2), TXD_STAT_DD);
	for (unsigned i = 0; i < 3; i++)
		ck_assert(mock_nic_rx(&v, &got));
}
END_TEST

int main(void)
{
	Suite *s = suite_create("e1000 lanes");
	TCase *tc = tcase_create("lanes");
	SRunner *sr;
	int failed;

	log_set_level(LOG_ERROR);
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, tso_to_one_that_takes_it);
	tcase_add_test(tc, tso_to_one_that_does_not);
	tcase_add_test(tc, gso_to_e1000);
	tcase_add_test(tc, to_and_fro);
	tcase_add_test(tc, held_back_by_e1000);
	tcase_add_test(tc, held_back_by_virtio);
	suite_add_tcase(s, tc);
	sr = srunner_create(s);
	srunner_run_all(sr, CK_NORMAL);
	failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
