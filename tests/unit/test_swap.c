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
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "base/log.h"
#include "tests/unit/mock_net.h"
#include "vmm/tap.h"
#include "xtalk/netswitch.h"
#include "xtalk/offload.h"
#include "xtalk/remapper.h"

#if defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__)
#define SWAPS 1000
#else
#define SWAPS 10000
#endif

#define NICS	  2
#define ETHERTYPE 0x88b6
#define RX_BUFS	  128 /* in the ring at most … */
#define RX_BYTES                                                                            \
	16384 /* … each large enough for any frame: the TAP waits for a second one only a \
	       * short time */
#define GSO_BYTES 12000
#define TX_SLOTS  64
#define WINDOW	  200 /* frames of one direction that are on their way */

/* In front of each frame's payload. */
struct stamp {
	uint32_t number, len;
	uint64_t hash;
};

/* One direction; each field has one writer. */
struct flow {
	_Atomic uint32_t sent, received;
};

static struct mock_nic nic[NICS];
static struct tap *tap[NICS];
static int tapfd[NICS];
static struct netswitch *sw;
static struct remapper *remapper;
static struct flow flow[NICS]; /* by sender */
static _Atomic bool stop_sending, stop_all;

static const char *missing(void)
{
	int fd;

	if (unshare(CLONE_NEWNET))
		return "the right to make a network namespace";
	fd = open("/dev/net/tun", O_RDWR);
	if (fd < 0)
		return "/dev/net/tun";
	close(fd);
	if (system("ip link add xvswap type bridge 2>/dev/null && ip link del xvswap"))
		return "`ip`, or bridges";
	return NULL;
}

static void sh(const char *cmd)
{
	ck_assert_msg(system(cmd) == 0, "%s", cmd);
}

static void setup(void)
{
	static const char *const names[NICS] = { "a.eth0", "b.eth0" };
	struct netswitch_params params = {
		.name = "lan0",
		.uplink_fd = -1,
		.own_uplinks = true,
		.rules = { .mode = XTALK_DYNAMIC,
			   .threshold = 8,
			   .share_percent = 75,
			   .window = 32,
			   .hold_us = 60000000 },
	};

	log_set_level(LOG_WARN);
	ck_assert_int_eq(unshare(CLONE_NEWNET), 0);
	sh("echo 1 >/proc/sys/net/ipv6/conf/default/disable_ipv6 2>/dev/null || true");
	sh("ip link add br0 type bridge && ip link set br0 up");
	ck_assert_int_eq(remapper_create(&remapper), 0);
	params.remapper = remapper;
	ck_assert_int_eq(netswitch_create(&sw, &params), 0);
	for (unsigned i = 0; i < NICS; i++) {
		struct netswitch_port np = { 0 };
		struct carrier *c;
		char cmd[64], ifname[8];
		bool created;

		snprintf(ifname, sizeof(ifname), "xs%u", i);
		tapfd[i] = tap_open(ifname, &created);
		ck_assert_int_ge(tapfd[i], 0);
		snprintf(cmd, sizeof(cmd), "ip link set %s master br0 up", ifname);
		sh(cmd);
		mock_nic_init(&nic[i], names[i], (uint8_t)(i + 1));
		ck_assert_int_eq(tap_create(&tap[i], names[i], tapfd[i], &nic[i].loop), 0);
		np.port = nic[i].port;
		np.uplink = tap_carrier(tap[i]);
		ck_assert_int_eq(netswitch_attach(sw, &np, &c), 0);
		virtio_net_set_carrier(nic[i].net, c);
		ck_assert(mock_nic_start(&nic[i], MOCK_NET_ALL, 256));
		ck_assert_int_eq(loop_start(&nic[i].loop), 0);
	}
}

static void teardown(void)
{
	for (unsigned i = 0; i < NICS; i++)
		loop_stop(&nic[i].loop);
	for (unsigned i = 0; i < NICS; i++) {
		virtio_dev_stop(nic[i].dev);
		netswitch_detach(sw, nic[i].port);
		tap_destroy(tap[i]);
		mock_nic_fini(&nic[i]);
		close(tapfd[i]);
	}
	netswitch_destroy(sw);
	remapper_destroy(remapper);
}

static uint64_t hash_of(uint64_t h, const uint8_t *p, size_t len)
{
	uint64_t v;

	for (; len >= 8; p += 8, len -= 8) {
		memcpy(&v, p, 8);
		h = (h ^ v) * UINT64_C(0x100000001b3);
		h ^= h >> 29;
	}
	while (len--)
		h = (h ^ *p++) * UINT64_C(0x100000001b3);
	return h;
}

/* -- A driver of a guest: one thread -- */

struct guest {
	unsigned me;
	unsigned seed;
	gpa_t rx_base, tx_base;
	uint32_t rx_given, rx_taken; /* buffers */
	uint32_t tx_done;
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
	struct virtio_net_hdr_v1 hdr = { 0 };
	gpa_t gpa = g->tx_base + number % TX_SLOTS * RX_BYTES;
	bool gso = pick(g, 16) == 0;
	size_t at = gso ? 54 : 14, len = 60 + pick(g, gso ? GSO_BYTES : 1455);
	struct stamp s = { .number = number };
	uint16_t sum;

	if (gso && len < 2000)
		len += 2000;
	mock_frame_fill(g->frame, len, (uint8_t)(2 - g->me), (uint8_t)(g->me + 1), number);
	g->frame[12] = ETHERTYPE >> 8;
	g->frame[13] = ETHERTYPE & 0xff;
	if (gso) {
		memcpy(g->frame + 12, (uint8_t[]){ 8, 0, 0x45, 0,  0, 0, 0, 1,	0x40, 0, 64,
						   6, 0, 0,    10, 0, 0, 1, 10, 0,    0, 2 },
		       22);
		g->frame[16] = (uint8_t)((len - 14) >> 8);
		g->frame[17] = (uint8_t)(len - 14);
		/* A bridge that filters looks at it. */
		sum = (uint16_t)~csum_fold(csum_bytes(0, false, g->frame + 14, 20));
		memcpy(g->frame + 24, &sum, 2);
		g->frame[46] = 0x50;
		g->frame[47] = 0x10;
		hdr = (struct virtio_net_hdr_v1){ .flags = VIRTIO_NET_HDR_F_NEEDS_CSUM,
						  .gso_type = VIRTIO_NET_HDR_GSO_TCPV4,
						  .hdr_len = 54,
						  .gso_size = 1448,
						  .csum_start = 34,
						  .csum_offset = 16 };
	}
	s.len = (uint32_t)len;
	s.hash = hash_of(number, g->frame + at + sizeof(s), len - at - sizeof(s));
	memcpy(g->frame + at, &s, sizeof(s));
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
	       sent - atomic_load(&f->received) < WINDOW) {
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
		size_t at = gso ? 54 : 14;
		struct stamp s;

		g->rx_taken += got->hdr.num_buffers;
		/* The kernel may multicast something of its own. */
		if (got->data[0] & 1)
			continue;
		ck_assert_uint_ge(got->len, 60);
		memcpy(&s, got->data + at, sizeof(s));
		ck_assert_msg(s.number == number, "NIC %u got frame %u instead of %u", g->me,
			      s.number, number);
		ck_assert_uint_eq(s.len, got->len);
		ck_assert_uint_eq(s.hash, hash_of(number, got->data + at + sizeof(s),
						  got->len - at - sizeof(s)));
		ck_assert_uint_eq(got->hdr.gso_type,
				  gso ? VIRTIO_NET_HDR_GSO_TCPV4 : VIRTIO_NET_HDR_GSO_NONE);
		atomic_store(&f->received, ++number);
		any = true;
	}
	return any;
}

static void *guest_main(void *arg)
{
	struct guest *g = arg;

	give_buffers(g, RX_BUFS);
	while (!atomic_load(&stop_all)) {
		bool any;

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

static uint64_t now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

static uint64_t by_path(enum port_path path)
{
	return nic[0].port->stats.path[path].tx_frames + nic[1].port->stats.path[path].tx_frames;
}

START_TEST(swaps_under_load)
{
	const struct netswitch_stats *st = netswitch_stats(sw);
	const char *env = getenv("XVMM_SWAPS");
	uint64_t swaps = env ? strtoull(env, NULL, 0) : SWAPS, began = now_ms(), last;
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
		uint32_t frames = (uint32_t)rand_r(&seed) % 24;
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
	last = now_ms();
	for (unsigned i = 0; i < NICS; i++) {
		while (atomic_load(&flow[i].received) != atomic_load(&flow[i].sent)) {
			ck_assert_msg(now_ms() - last < 20000, "NIC %u: %u sent, %u received", i,
				      flow[i].sent, flow[i].received);
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
	       (unsigned long long)by_path(PATH_DIRECT), (unsigned long long)(now_ms() - began));
	/* Both ways were used, and most swaps were real ones. */
	ck_assert_uint_gt(by_path(PATH_DIRECT), swaps);
	ck_assert_uint_gt(by_path(PATH_UPLINK), swaps);
	ck_assert_uint_gt(st->markers_swallowed, swaps / 8);
}
END_TEST

static void send_one(unsigned i, uint8_t dst, uint32_t seed)
{
	static const struct virtio_net_hdr_v1 plain;
	uint8_t frame[100];

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
	for (uint64_t end = now_ms() + ms; now_ms() < end; usleep(200))
		if (mock_nic_rx(&nic[i], got))
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
	sh(_i == 2 ? "ip link del xs1" : "ip link del xs0");
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
			do
				ck_assert(wait_rx(1, &got, 5000));
			while (got.len != 100);
			ck_assert_uint_eq(got.data[0], 0xff);
		}
		while (wait_rx(1, &got, 50))
			ck_assert_uint_ne(got.len, 100);
	}
}
END_TEST

int main(void)
{
	Suite *s = suite_create("swap");
	TCase *tc = tcase_create("swap");
	const char *what = missing();
	SRunner *sr;
	int failed;

	if (what) {
		printf("SKIP test_swap: needs %s\n", what);
		return EXIT_SUCCESS;
	}
	tcase_set_timeout(tc, 180);
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, swaps_under_load);
	tcase_add_loop_test(tc, tap_deleted, 0, 3);
	tcase_add_test(tc, group_frames_once);
	suite_add_tcase(s, tc);
	sr = srunner_create(s);
	srunner_run_all(sr, CK_NORMAL);
	failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
