/*
 * The switch between whole NICs: virtio-net devices with mock drivers, each on a loop; the uplink
 * is a socket pair that keeps frames apart as a TAP does.
 */
#include <check.h>
#include <errno.h>
#include <linux/virtio_config.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "tests/unit/mock_net.h"
#include "xtalk/netswitch.h"
#include "xtalk/remapper.h"

#define NICS	   4
#define BROAD	   0xff /* as an id: the broadcast address */
#define NEEDS	   VIRTIO_NET_HDR_F_NEEDS_CSUM
#define NO_OFFLOAD MOCK_NET_BASE

static struct mock_nic nic[NICS];
static struct netswitch *sw;
static struct remapper *remapper;
static int uplink[2];
static struct mock_frame got;
static uint8_t frame[FRAME_MAX_BYTES + 64];
static const struct virtio_net_hdr_v1 plain;

static bool promiscuous; /* the first NIC */

static int attach(struct port *p, struct carrier **c)
{
	struct netswitch_port np = { .port = p, .promiscuous = promiscuous && p == nic[0].port };

	return netswitch_attach(sw, &np, c);
}

static void plug(unsigned i)
{
	struct carrier *c;

	ck_assert_int_eq(attach(nic[i].port, &c), 0);
	virtio_net_set_carrier(nic[i].net, c);
}

static void setup_switch(bool with_uplink)
{
	static const char *const names[NICS] = { "a.eth0", "b.eth0", "c.eth0", "d.eth0" };
	struct netswitch_params params = {
		.name = "lan0",
		.rules = { .mode = XTALK_DYNAMIC,
			   .threshold = 8,
			   .share_percent = 75,
			   .window = 32 },
	};

	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK, 0, uplink), 0);
	ck_assert_int_eq(remapper_create(&remapper), 0);
	params.remapper = remapper;
	params.uplink_fd = with_uplink ? uplink[0] : -1;
	ck_assert_int_eq(netswitch_create(&sw, &params), 0);
	for (unsigned i = 0; i < NICS; i++) {
		mock_nic_init(&nic[i], names[i], (uint8_t)(i + 1));
		plug(i);
	}
}

static void setup(void)
{
	setup_switch(true);
}

static void setup_promiscuous(void)
{
	promiscuous = true;
	setup_switch(true);
}

static void setup_alone(void)
{
	setup_switch(false);
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
	close(uplink[0]);
	close(uplink[1]);
}

static void start(unsigned i, uint64_t features, unsigned bufs, uint32_t bytes)
{
	ck_assert(mock_nic_start(&nic[i], features, 256));
	while (bufs--)
		mock_nic_rx_add(&nic[i], bytes, 1 + bufs % 5);
}

static void start_all(uint64_t features)
{
	for (unsigned i = 0; i < NICS; i++)
		start(i, features, 128, 1526);
}

static void fill(size_t len, uint8_t dst, uint8_t src, uint32_t seed)
{
	mock_frame_fill(frame, len, dst, src, seed);
	if (dst == BROAD)
		memset(frame, 0xff, 6);
}

static void send_frame(unsigned i, const struct virtio_net_hdr_v1 *hdr, size_t len)
{
	mock_nic_tx(&nic[i], hdr, frame, len, 1 + len % 7);
	mock_driver_kick(&nic[i].drv, 1);
}

/* NIC i got exactly the frame that was last filled. */
static void expect_frame(unsigned i, size_t len)
{
	ck_assert(mock_nic_rx(&nic[i], &got));
	ck_assert_uint_eq(got.len, len);
	ck_assert_mem_eq(got.data, frame, len);
}

static void expect_silence(void)
{
	for (unsigned i = 0; i < NICS; i++)
		ck_assert(!mock_nic_rx(&nic[i], &got));
}

static ssize_t uplink_take(uint8_t *buf, size_t len)
{
	return read(uplink[1], buf, len);
}

static void uplink_expect(size_t len)
{
	static uint8_t buf[FRAME_MAX_BYTES + 64];

	ck_assert_int_eq(uplink_take(buf, sizeof(buf)), (ssize_t)(len + VNET_HDR_BYTES));
	ck_assert_mem_eq(buf + VNET_HDR_BYTES, frame, len);
}

static void uplink_silent(void)
{
	uint8_t buf[64];

	ck_assert_int_eq(uplink_take(buf, sizeof(buf)), -1);
}

static void uplink_give(const struct virtio_net_hdr_v1 *hdr, size_t len)
{
	struct iovec iov[2] = { { (void *)hdr, VNET_HDR_BYTES }, { frame, len } };

	ck_assert_int_eq(writev(uplink[1], iov, 2), (ssize_t)(len + VNET_HDR_BYTES));
}

/* Waits for the uplink's thread to have taken n frames in all and to be at rest. */
static void uplink_wait(uint64_t n)
{
	for (unsigned ms = 0; atomic_load(&netswitch_stats(sw)->uplink_rx) < n; ms++) {
		ck_assert_uint_lt(ms, 10000);
		usleep(1000);
	}
	/* Its batch ends before an attach can be made. */
	netswitch_detach(sw, NULL);
}

START_TEST(unicast)
{
	start_all(MOCK_NET_ALL);
	for (unsigned i = 0; i < NICS; i++) {
		for (unsigned j = 0; j < NICS; j++) {
			size_t len = 14 + 17 * i + 300 * j;

			if (i == j)
				continue;
			fill(len, (uint8_t)(j + 1), (uint8_t)(i + 1), i * 10 + j);
			send_frame(i, &plain, len);
			expect_frame(j, len);
			expect_silence();
		}
	}
	uplink_silent();
}
END_TEST

START_TEST(broadcast)
{
	start_all(MOCK_NET_ALL);
	fill(200, BROAD, 1, 1);
	send_frame(0, &plain, 200);
	for (unsigned i = 1; i < NICS; i++)
		expect_frame(i, 200);
	uplink_expect(200);
	expect_silence();
	uplink_silent();
	/* A multicast address. */
	memcpy(frame, (uint8_t[]){ 0x01, 0x80, 0xc2, 0, 0, 0x0e }, 6);
	send_frame(0, &plain, 200);
	for (unsigned i = 1; i < NICS; i++)
		expect_frame(i, 200);
	uplink_expect(200);
	expect_silence();
}
END_TEST

START_TEST(unknown_goes_up)
{
	start_all(MOCK_NET_ALL);
	fill(1514, 99, 1, 1);
	send_frame(0, &plain, 1514);
	uplink_expect(1514);
	expect_silence();
	ck_assert_uint_eq(nic[0].port->stats.tx_dropped, 0);
}
END_TEST

START_TEST(no_uplink)
{
	start_all(MOCK_NET_ALL);
	fill(60, 99, 1, 1);
	send_frame(0, &plain, 60);
	ck_assert_uint_eq(nic[0].port->stats.tx_dropped, 1);
	fill(60, BROAD, 1, 1);
	send_frame(0, &plain, 60);
	for (unsigned i = 1; i < NICS; i++)
		expect_frame(i, 60);
	expect_silence();
	ck_assert_uint_eq(nic[0].port->stats.tx_dropped, 1);
}
END_TEST

START_TEST(to_itself)
{
	start_all(MOCK_NET_ALL);
	fill(60, 1, 1, 1);
	send_frame(0, &plain, 60);
	expect_silence();
	uplink_silent();
	ck_assert_uint_eq(nic[0].port->stats.tx_dropped, 1);
}
END_TEST

START_TEST(spoofed_sources)
{
	start_all(MOCK_NET_ALL);
	fill(60, 2, 3, 1);
	send_frame(0, &plain, 60);
	fill(60, BROAD, 3, 1);
	send_frame(0, &plain, 60);
	fill(60, 2, 1, 1);
	frame[6] |= 1; /* no frame comes from a group */
	send_frame(0, &plain, 60);
	expect_silence();
	uplink_silent();
	ck_assert_uint_eq(netswitch_stats(sw)->spoofed, 3);
	ck_assert_uint_eq(nic[0].port->stats.tx_dropped, 3);
	/* An address that is nobody's: unless the guest may be a bridge. */
	fill(60, 2, 77, 1);
	send_frame(0, &plain, 60);
	if (promiscuous)
		expect_frame(1, 60);
	expect_silence();
	ck_assert_uint_eq(netswitch_stats(sw)->spoofed, promiscuous ? 3 : 4);
	ck_assert_uint_eq(nic[0].port->stats.tx_spoofed, promiscuous ? 3 : 4);
	fill(60, 99, 77, 1);
	send_frame(0, &plain, 60);
	if (promiscuous)
		uplink_expect(60);
	uplink_silent();
	/* A member's frame that comes back through the uplink. */
	fill(60, 2, 1, 1);
	uplink_give(&plain, 60);
	uplink_wait(1);
	expect_silence();
	ck_assert_uint_eq(netswitch_stats(sw)->spoofed, promiscuous ? 4 : 6);
}
END_TEST

/* Whoever shares a device is bound to the others for good. */
START_TEST(bindings)
{
	struct netswitch_port_state st;
	struct port stranger = *nic[0].port;

	start(0, MOCK_NET_ALL, 0, 0);
	start(1, MOCK_NET_ALL, 0, 0);
	ck_assert_int_eq(netswitch_port_state(sw, nic[0].port, &st), 0);
	ck_assert_int_eq(st.binding, BINDING_DIRECT);
	ck_assert(st.pinned);
	ck_assert_uint_eq(st.nr_open_lanes, 1);
	ck_assert_str_eq(st.open_lanes[0], "b.eth0");
	ck_assert_str_eq(st.open_lanes[1], "");
	ck_assert_uint_eq(st.swaps, 0);
	ck_assert_int_eq(netswitch_port_state(sw, &stranger, &st), -ENOENT);
	ck_assert_int_eq(netswitch_command(sw, nic[0].port, true, BINDING_UPLINK), -ENOTSUP);
	ck_assert_str_eq(netswitch_name(sw), "lan0");
}
END_TEST

START_TEST(from_uplink)
{
	start_all(MOCK_NET_ALL);
	fill(1514, 3, 99, 1);
	uplink_give(&plain, 1514);
	uplink_wait(1);
	expect_frame(2, 1514);
	expect_silence();
	fill(60, BROAD, 99, 1);
	uplink_give(&plain, 60);
	uplink_wait(2);
	for (unsigned i = 0; i < NICS; i++)
		expect_frame(i, 60);
	fill(60, 88, 99, 1); /* nobody's: not sent back either */
	uplink_give(&plain, 60);
	uplink_wait(3);
	expect_silence();
	uplink_silent();
}
END_TEST

START_TEST(short_frames_from_uplink)
{
	start_all(MOCK_NET_ALL);
	fill(60, BROAD, 99, 1);
	for (size_t len = 0; len < 14; len++)
		uplink_give(&plain, len);
	ck_assert_int_eq(write(uplink[1], frame, 5), 5); /* not even a header */
	uplink_give(&plain, 14);
	uplink_wait(16);
	for (unsigned i = 0; i < NICS; i++)
		expect_frame(i, 14);
	expect_silence();
}
END_TEST

START_TEST(uplink_lost)
{
	start_all(MOCK_NET_ALL);
	close(uplink[1]);
	usleep(20000);
	signal(SIGPIPE, SIG_IGN);
	fill(60, 99, 1, 1);
	send_frame(0, &plain, 60);
	ck_assert_uint_eq(nic[0].port->stats.tx_dropped, 1);
	fill(60, 2, 1, 1);
	send_frame(0, &plain, 60);
	expect_frame(1, 60);
	uplink[1] = dup(uplink[0]);
}
END_TEST

START_TEST(uplink_full)
{
	unsigned n = 0;

	start_all(MOCK_NET_ALL);
	fill(1514, 99, 1, 1);
	while (!nic[0].port->stats.tx_dropped && n++ < 100000)
		send_frame(0, &plain, 1514);
	ck_assert_uint_eq(nic[0].port->stats.tx_dropped, 1);
	ck_assert_uint_eq(netswitch_stats(sw)->uplink_tx_dropped, 1);
	fill(60, 2, 1, 1);
	send_frame(0, &plain, 60);
	expect_frame(1, 60);
}
END_TEST

START_TEST(receiver_without_buffers)
{
	start(0, MOCK_NET_ALL, 0, 0);
	start(1, MOCK_NET_ALL, 2, 100);
	start(2, MOCK_NET_ALL, 8, 1526);
	fill(300, 2, 1, 1);
	send_frame(0, &plain, 300); /* more than two buffers of 100 */
	ck_assert_uint_eq(nic[1].port->stats.rx_dropped, 1);
	fill(60, BROAD, 1, 1);
	for (unsigned i = 0; i < 4; i++)
		send_frame(0, &plain, 60);
	for (unsigned i = 0; i < 4; i++)
		expect_frame(2, 60); /* a full neighbour costs it nothing */
	expect_frame(1, 60);
	expect_frame(1, 60);
	expect_silence();
	ck_assert_uint_eq(nic[1].port->stats.rx_dropped, 3);
	/* The fourth was never started. */
	ck_assert_uint_eq(nic[3].port->stats.rx_dropped, 0);
	fill(60, 4, 1, 1);
	send_frame(0, &plain, 60);
	ck_assert_uint_eq(nic[3].port->stats.rx_dropped, 1);
	ck_assert_uint_eq(nic[0].port->stats.tx_frames, 6);
}
END_TEST

START_TEST(broken_receiver)
{
	gpa_t gpa;

	start_all(MOCK_NET_ALL);
	ck_assert(mock_nic_start(&nic[1], MOCK_NET_ALL, 256));
	gpa = mock_driver_alloc(&nic[1].drv, 4096, 1);
	mock_ring_add(&nic[1].drv.ring[0], (struct mock_seg[]){ { gpa, 2000, false } }, 1);
	fill(60, BROAD, 1, 1);
	for (unsigned i = 0; i < 3; i++)
		send_frame(0, &plain, 60);
	for (unsigned i = 0; i < 3; i++) {
		expect_frame(2, 60);
		expect_frame(3, 60);
	}
	ck_assert(!(mock_driver_status(&nic[0].drv) & VIRTIO_CONFIG_S_NEEDS_RESET));
	mock_loop_run(&nic[1].loop);
	ck_assert(mock_driver_status(&nic[1].drv) & VIRTIO_CONFIG_S_NEEDS_RESET);
	start(1, MOCK_NET_ALL, 4, 1526);
	send_frame(0, &plain, 60);
	expect_frame(1, 60);
}
END_TEST

START_TEST(broken_sender)
{
	start_all(MOCK_NET_ALL);
	fill(60, 2, 1, 1);
	mock_nic_tx(&nic[0], &plain, frame, 60, 1);
	mock_ring_add(&nic[0].drv.ring[1], (struct mock_seg[]){ { GIB(3), 100, false } }, 1);
	/* The fault is found while the receiver is held open: it must be let go first. */
	mock_driver_kick(&nic[0].drv, 1);
	ck_assert(mock_driver_status(&nic[0].drv) & VIRTIO_CONFIG_S_NEEDS_RESET);
	expect_frame(1, 60);
	fill(60, 2, 3, 1);
	send_frame(2, &plain, 60);
	expect_frame(1, 60);
	fill(60, 1, 3, 1);
	send_frame(2, &plain, 60);
	ck_assert_uint_eq(nic[0].port->stats.rx_dropped, 1);
}
END_TEST

START_TEST(one_interrupt_per_batch)
{
	start_all(MOCK_NET_ALL);
	for (unsigned i = 0; i < NICS; i++)
		atomic_store(&nic[i].drv.queue_irqs[0], 0);
	for (unsigned i = 0; i < 40; i++) {
		fill(60, i < 20 ? 2 : 3, 1, i);
		mock_nic_tx(&nic[0], &plain, frame, 60, 1);
	}
	mock_driver_kick(&nic[0].drv, 1);
	ck_assert_uint_eq(nic[1].drv.queue_irqs[0], 1);
	ck_assert_uint_eq(nic[2].drv.queue_irqs[0], 1);
	for (unsigned i = 0; i < 40; i++) {
		fill(60, i < 20 ? 2 : 3, 1, i);
		expect_frame(i < 20 ? 1 : 2, 60);
	}
}
END_TEST

/* A TCP frame over IPv4 with partial checksum, from 1 to 2. */
static size_t fill_tcp(size_t payload)
{
	size_t len = 54 + payload;

	fill(len, 2, 1, (uint32_t)payload);
	memcpy(frame + 12, (uint8_t[]){ 8, 0, 0x45, 0,	0, 0, 0, 1,  0x40, 0, 64,
					6, 0, 0,    10, 0, 0, 1, 10, 0,	   0, 2 },
	       22);
	frame[16] = (uint8_t)((len - 14) >> 8);
	frame[17] = (uint8_t)(len - 14);
	frame[46] = 0x50;
	frame[47] = 0x10;
	return len;
}

static const struct virtio_net_hdr_v1 tso = { .flags = NEEDS,
					      .gso_type = VIRTIO_NET_HDR_GSO_TCPV4,
					      .hdr_len = 54,
					      .gso_size = 1448,
					      .csum_start = 34,
					      .csum_offset = 16 };

START_TEST(gso_passes_untouched)
{
	size_t len = fill_tcp(60000);

	start(0, MOCK_NET_ALL, 0, 0);
	start(1, MOCK_NET_ALL, 128, 1526);
	send_frame(0, &tso, len);
	expect_frame(1, len);
	ck_assert_uint_eq(got.hdr.gso_type, VIRTIO_NET_HDR_GSO_TCPV4);
	ck_assert_uint_eq(got.hdr.gso_size, 1448);
	ck_assert_uint_eq(got.hdr.flags, NEEDS);
	expect_silence();
}
END_TEST

START_TEST(gso_is_segmented)
{
	static const uint64_t features[] = {
		NO_OFFLOAD, NO_OFFLOAD | MOCK_NET_MRG,
		NO_OFFLOAD | MOCK_NET_MRG | VNET_BIT(VIRTIO_NET_F_GUEST_CSUM),
		NO_OFFLOAD | VNET_BIT(VIRTIO_NET_F_GUEST_CSUM) | VNET_BIT(VIRTIO_NET_F_GUEST_TSO6)
	};
	size_t len = fill_tcp(60000), at = 0;

	start(0, MOCK_NET_ALL, 0, 0);
	start(1, features[_i], 128, 1526);
	send_frame(0, &tso, len);
	while (mock_nic_rx(&nic[1], &got)) {
		ck_assert_uint_le(got.len, 1514);
		ck_assert_uint_eq(got.hdr.gso_type, 0);
		ck_assert_uint_eq(got.hdr.flags,
				  features[_i] & VNET_BIT(VIRTIO_NET_F_GUEST_CSUM) ? NEEDS : 0);
		ck_assert_mem_eq(got.data + 54, frame + 54 + at, got.len - 54);
		at += got.len - 54;
	}
	ck_assert_uint_eq(at, 60000);
}
END_TEST

START_TEST(lies_stay_with_their_sender)
{
	size_t len = fill_tcp(3000);
	struct virtio_net_hdr_v1 hdr = tso;

	start(0, MOCK_NET_ALL, 0, 0);
	start(1, NO_OFFLOAD, 16, 1526);
	hdr.csum_start = 40; /* passes the NIC; is not where TCP begins */
	send_frame(0, &hdr, len);
	hdr = tso;
	hdr.gso_size = 1;
	send_frame(0, &hdr, len);
	expect_silence();
	ck_assert_uint_eq(nic[0].port->stats.tx_invalid, 2);
	ck_assert_uint_eq(nic[1].port->stats.rx_dropped, 0);
	send_frame(0, &tso, len);
	ck_assert(mock_nic_rx(&nic[1], &got));
}
END_TEST

START_TEST(segments_that_find_no_buffers)
{
	size_t len = fill_tcp(60000);
	unsigned n = 0;

	start(0, MOCK_NET_ALL, 0, 0);
	start(1, NO_OFFLOAD, 5, 1526);
	send_frame(0, &tso, len);
	while (mock_nic_rx(&nic[1], &got))
		n++;
	ck_assert_uint_eq(n, 5);
	ck_assert_uint_eq(nic[1].port->stats.rx_dropped, 1);
}
END_TEST

/* Random sizes, layouts and features; every frame is compared byte by byte. */
START_TEST(random_traffic)
{
	static const uint64_t rx[] = { MOCK_NET_ALL, MOCK_NET_ALL & ~MOCK_NET_MRG,
				       NO_OFFLOAD | MOCK_NET_MRG, NO_OFFLOAD };

	srand((unsigned)_i + 1);
	for (unsigned round = 0; round < 300; round++) {
		bool mrg = rx[_i] & MOCK_NET_MRG;
		uint32_t buf_bytes = mrg ? 64 + (uint32_t)rand() % 4096 : 70000;
		unsigned frames = 1 + (unsigned)rand() % 12;
		size_t len[12];

		start(0, round & 1 ? MOCK_NET_ALL : NO_OFFLOAD, 0, 0);
		ck_assert(mock_nic_start(&nic[1], rx[_i], 256));
		for (unsigned i = 0; i < 250; i++)
			mock_nic_rx_add(&nic[1], buf_bytes, 1 + (unsigned)rand() % 13);
		for (unsigned i = 0; i < frames; i++) {
			size_t most = mrg ? 250 * buf_bytes / 12 - 12 * 21 : 65549;

			len[i] = 14 + (size_t)rand() % (rand() % 4 ? 1500 : 60000);
			if (len[i] > most)
				len[i] = most;
			fill(len[i], 2, 1, round * 100 + i);
			mock_nic_tx(&nic[0], &plain, frame, len[i], 1 + (unsigned)rand() % 14);
		}
		mock_driver_kick(&nic[0].drv, 1);
		for (unsigned i = 0; i < frames; i++) {
			fill(len[i], 2, 1, round * 100 + i);
			expect_frame(1, len[i]);
		}
		expect_silence();
	}
}
END_TEST

START_TEST(attach_errors)
{
	struct carrier *c;
	struct port p = *nic[0].port;

	ck_assert_int_eq(attach(nic[0].port, &c), -EEXIST);
	ck_assert_int_eq(attach(&p, &c), -EEXIST);
	p.mac[0] |= 1;
	ck_assert_int_eq(attach(&p, &c), -EINVAL);
	netswitch_detach(sw, &p); /* no member: nothing happens */
	netswitch_detach(sw, nic[0].port);
	plug(0);
}
END_TEST

START_TEST(many_members)
{
	static struct port p[NETSWITCH_MAX_PORTS];
	struct carrier *c;

	for (unsigned i = 0; i < NETSWITCH_MAX_PORTS - NICS; i++) {
		p[i].ops = nic[0].port->ops;
		p[i].name = "x";
		p[i].mac[0] = 2;
		p[i].mac[4] = (uint8_t)(i >> 4);
		p[i].mac[5] = (uint8_t)(i << 4);
		ck_assert_int_eq(attach(&p[i], &c), 0);
	}
	p[NETSWITCH_MAX_PORTS - 1].mac[1] = 1;
	ck_assert_int_eq(attach(&p[NETSWITCH_MAX_PORTS - 1], &c), -ENOSPC);
	start_all(MOCK_NET_ALL);
	fill(60, 2, 1, 1);
	send_frame(0, &plain, 60);
	expect_frame(1, 60);
	for (unsigned i = 0; i < NETSWITCH_MAX_PORTS - NICS; i++)
		netswitch_detach(sw, &p[i]);
	send_frame(0, &plain, 60);
	expect_frame(1, 60);
}
END_TEST

/*
 * Threads: every guest has its loop and a driver thread that sends to all others and to the uplink,
 * and takes what arrives; one of them resets its NIC all the time. What arrives must be whole, and
 * from each sender in order.
 */
static _Atomic bool done;
static _Atomic unsigned arrived;

struct seq {
	uint32_t from, number;
};

static void take_all(unsigned me, uint32_t last[NICS])
{
	static _Thread_local struct mock_frame f;
	static _Thread_local uint8_t want[9000];
	struct seq s;

	while (mock_nic_rx(&nic[me], &f)) {
		if (f.len == FRAME_MIN_BYTES) { /* the uplink's */
			mock_nic_rx_add(&nic[me], 9100, 1);
			continue;
		}
		memcpy(&s, f.data + 14, sizeof(s));
		ck_assert_uint_lt(s.from, NICS);
		ck_assert_uint_gt(s.number, last[s.from]);
		last[s.from] = s.number;
		mock_frame_fill(want, f.len, f.data[5], (uint8_t)(s.from + 1), s.number);
		memcpy(want, f.data, 6);
		memcpy(want + 14, &s, sizeof(s));
		ck_assert_mem_eq(f.data, want, f.len);
		mock_nic_rx_add(&nic[me], 9100, 1 + s.number % 3);
		atomic_fetch_add(&arrived, 1);
	}
}

static void *guest(void *arg)
{
	unsigned me = (unsigned)(uintptr_t)arg;
	uint8_t buf[9000];
	uint32_t last[NICS] = { 0 };
	unsigned seed = me;

	for (uint32_t n = 1; !atomic_load(&done); n++) {
		struct seq s = { me, n };
		unsigned to = (unsigned)rand_r(&seed) % (NICS + 2);
		size_t len = 22 + (size_t)rand_r(&seed) % (n % 8 ? 1500 : 8900);

		mock_frame_fill(buf, len, to < NICS ? (uint8_t)(to + 1) : 99, (uint8_t)(me + 1), n);
		if (to == NICS)
			memset(buf, 0xff, 6);
		memcpy(buf + 14, &s, sizeof(s));
		/* Not more than the ring holds. */
		while (mock_ring_used(&nic[me].drv.ring[1], NULL, NULL))
			;
		mock_nic_tx(&nic[me], &plain, buf, len, 1 + n % 3);
		if (n % 4 == 0 || me == 3)
			mock_driver_kick(&nic[me].drv, 1);
		take_all(me, last);
		if (me == 3 && n % 16 == 0) {
			mock_driver_set_status(&nic[me].drv, 0);
			ck_assert(!nic[me].port->ops->rx_begin(nic[me].port));
			start(me, n & 16 ? MOCK_NET_ALL & ~MOCK_NET_MRG : MOCK_NET_ALL, 64, 9100);
		}
	}
	return NULL;
}

START_TEST(guests_in_parallel)
{
	pthread_t th[NICS];
	uint8_t buf[4096];
	struct timespec t0, t;

	for (unsigned i = 0; i < NICS; i++) {
		start(i, MOCK_NET_ALL, 128, 9100);
		ck_assert_int_eq(loop_start(&nic[i].loop), 0);
	}
	for (unsigned i = 0; i < NICS; i++)
		pthread_create(&th[i], NULL, guest, (void *)(uintptr_t)i);
	fill(FRAME_MIN_BYTES, BROAD, 99, 1);
	clock_gettime(CLOCK_MONOTONIC, &t0);
	do {
		while (uplink_take(buf, sizeof(buf)) > 0)
			;
		uplink_give(&plain, FRAME_MIN_BYTES); /* the uplink's thread joins in */
		usleep(1000);
		clock_gettime(CLOCK_MONOTONIC, &t);
	} while (t.tv_sec - t0.tv_sec < 3 ||
		 (atomic_load(&arrived) < 1000 && t.tv_sec - t0.tv_sec < 40));
	atomic_store(&done, true);
	for (unsigned i = 0; i < NICS; i++)
		pthread_join(th[i], NULL);
	ck_assert_uint_ge(atomic_load(&arrived), 1000);
}
END_TEST

/* The uplink's thread delivers while its receiver resets, is detached and attached again. */
START_TEST(uplink_and_detach)
{
	start_all(MOCK_NET_ALL);
	fill(300, BROAD, 99, 1);
	for (unsigned n = 0; n < 300; n++) {
		struct iovec iov[2] = { { (void *)&plain, VNET_HDR_BYTES }, { frame, 300 } };

		for (unsigned i = 0; i < 5; i++)
			ck_assert(writev(uplink[1], iov, 2) > 0 || errno == EAGAIN);
		mock_driver_set_status(&nic[1].drv, 0);
		if (n % 3 == 0) {
			netswitch_detach(sw, nic[1].port);
			virtio_net_set_carrier(nic[1].net, NULL);
			plug(1);
		}
		start(1, MOCK_NET_ALL, 16, 1526);
		if (n % 16 == 0)
			usleep(500);
	}
}
END_TEST

int main(void)
{
	Suite *s = suite_create("netswitch");
	TCase *tc = tcase_create("switch"), *alone = tcase_create("alone"),
	      *prom = tcase_create("promiscuous");
	SRunner *sr;
	int failed;

	tcase_set_timeout(tc, 120);
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, unicast);
	tcase_add_test(tc, broadcast);
	tcase_add_test(tc, unknown_goes_up);
	tcase_add_test(tc, to_itself);
	tcase_add_test(tc, spoofed_sources);
	tcase_add_test(tc, bindings);
	tcase_add_test(tc, from_uplink);
	tcase_add_test(tc, short_frames_from_uplink);
	tcase_add_test(tc, uplink_lost);
	tcase_add_test(tc, uplink_full);
	tcase_add_test(tc, receiver_without_buffers);
	tcase_add_test(tc, broken_receiver);
	tcase_add_test(tc, broken_sender);
	tcase_add_test(tc, one_interrupt_per_batch);
	tcase_add_test(tc, gso_passes_untouched);
	tcase_add_loop_test(tc, gso_is_segmented, 0, 4);
	tcase_add_test(tc, lies_stay_with_their_sender);
	tcase_add_test(tc, segments_that_find_no_buffers);
	tcase_add_loop_test(tc, random_traffic, 0, 4);
	tcase_add_test(tc, attach_errors);
	tcase_add_test(tc, many_members);
	tcase_add_test(tc, guests_in_parallel);
	tcase_add_test(tc, uplink_and_detach);
	suite_add_tcase(s, tc);
	tcase_add_checked_fixture(alone, setup_alone, teardown);
	tcase_add_test(alone, no_uplink);
	suite_add_tcase(s, alone);
	tcase_add_checked_fixture(prom, setup_promiscuous, teardown);
	tcase_add_test(prom, spoofed_sources);
	suite_add_tcase(s, prom);
	sr = srunner_create(s);
	srunner_run_all(sr, CK_NORMAL);
	failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
