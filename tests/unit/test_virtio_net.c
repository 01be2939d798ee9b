/* virtio-net against a driver that does right, wrong, and everything between. */
#include <check.h>
#include <errno.h>
#include <linux/virtio_config.h>
#include <linux/virtio_ring.h>
#include <stdlib.h>
#include <unistd.h>

#include "tests/unit/mock_net.h"

static struct mock_nic nic;
static struct mock_carrier car;
static struct mock_frame got;
static uint8_t frame[FRAME_MAX_BYTES + 64];
static const struct virtio_net_hdr_v1 plain;

static void setup(void)
{
	mock_nic_init(&nic, "a.eth0", 1);
	mock_carrier_init(&car);
	virtio_net_set_carrier(nic.net, &car.carrier);
}

static void teardown(void)
{
	mock_nic_fini(&nic);
}

/* The loop is not running in most tests: posted work is run by starting and stopping it. */
static void run_loop(void)
{
	ck_assert_int_eq(loop_start(&nic.loop), 0);
	loop_stop(&nic.loop);
}

static unsigned tx_used(void)
{
	unsigned n = 0;

	while (mock_ring_used(&nic.drv.ring[1], NULL, NULL))
		n++;
	return n;
}

static void send_one(const struct virtio_net_hdr_v1 *hdr, size_t len, unsigned segs)
{
	mock_frame_fill(frame, len, 2, 1, (uint32_t)len);
	mock_nic_tx(&nic, hdr, frame, len, segs);
	mock_driver_kick(&nic.drv, 1);
}

static bool needs_reset(void)
{
	return mock_driver_status(&nic.drv) & VIRTIO_CONFIG_S_NEEDS_RESET;
}

START_TEST(config_space)
{
	struct {
		uint8_t mac[6];
		uint16_t status;
	} cfg;
	uint64_t rest;

	mock_driver_config_read(&nic.drv, 0, &cfg, sizeof(cfg));
	ck_assert_mem_eq(cfg.mac, ((uint8_t[]){ 0x52, 0x54, 0, 0, 0, 1 }), 6);
	ck_assert_uint_eq(cfg.status, VIRTIO_NET_S_LINK_UP);
	car.up = false;
	mock_driver_config_read(&nic.drv, 6, &cfg.status, 2);
	ck_assert_uint_eq(cfg.status, 0);
	mock_driver_config_read(&nic.drv, 20, &rest, 8);
	mock_driver_config_read(&nic.drv, UINT32_MAX, &rest, 8);
	ck_assert_uint_eq(rest, 0);
}
END_TEST

START_TEST(start_and_stop)
{
	ck_assert(!nic.port->ops->rx_begin(nic.port));
	ck_assert(mock_nic_start(&nic, MOCK_NET_ALL, 256));
	ck_assert_uint_eq(car.starts, 1);
	ck_assert_uint_ge(car.rx_readies, 1);
	ck_assert_uint_eq(car.features, VNET_RX_OFFLOADS);
	ck_assert_uint_eq(nic.port->rx_features, VNET_RX_OFFLOADS);
	ck_assert(nic.port->ops->rx_begin(nic.port));
	nic.port->ops->rx_end(nic.port);

	mock_driver_set_status(&nic.drv, 0);
	ck_assert_uint_eq(car.stops, 1);
	ck_assert_uint_eq(nic.port->rx_features, 0);
	ck_assert(!nic.port->ops->rx_begin(nic.port));
	mock_driver_set_status(&nic.drv, 0);
	ck_assert_uint_eq(car.stops, 1);

	ck_assert(mock_nic_start(&nic, MOCK_NET_BASE, 16));
	ck_assert_uint_eq(car.features, 0);
}
END_TEST

START_TEST(carrier_that_cannot_start)
{
	car.start_err = -EIO;
	ck_assert(!mock_nic_start(&nic, MOCK_NET_ALL, 256));
	ck_assert(needs_reset());
	ck_assert(!nic.port->ops->rx_begin(nic.port));
	car.start_err = 0;
	ck_assert(mock_nic_start(&nic, MOCK_NET_ALL, 256));
}
END_TEST

START_TEST(no_carrier)
{
	virtio_net_set_carrier(nic.net, NULL);
	ck_assert(mock_nic_start(&nic, MOCK_NET_ALL, 256));
	send_one(&plain, 60, 1);
	ck_assert_uint_eq(nic.port->stats.tx_dropped, 1);
	ck_assert_uint_eq(tx_used(), 1);
	mock_driver_kick(&nic.drv, 0);
}
END_TEST

START_TEST(tx_sizes_and_segments)
{
	static const size_t lens[] = { 14, 15, 17, 18, 19, 60, 1514, 9000, 65549 };
	static const unsigned segs[] = { 1, 2, 3, 13, 26, 127, 128 };
	unsigned sent = 0;

	ck_assert(mock_nic_start(&nic, MOCK_NET_ALL, 256));
	for (unsigned i = 0; i < ARRAY_SIZE(lens); i++) {
		for (unsigned j = 0; j < ARRAY_SIZE(segs); j++) {
			if (segs[j] > lens[i] + VNET_HDR_BYTES)
				continue;
			send_one(&plain, lens[i], segs[j]);
			ck_assert_uint_eq(car.sends, ++sent);
			ck_assert_uint_eq(car.len, lens[i]);
			ck_assert_mem_eq(car.data, frame, lens[i]);
			ck_assert_uint_eq(tx_used(), 1);
		}
	}
	ck_assert_uint_eq(nic.port->stats.tx_frames, sent);
	ck_assert_uint_eq(nic.port->stats.tx_invalid, 0);
	ck_assert_uint_ge(car.send_ends, sent);
}
END_TEST

START_TEST(tx_one_byte_descriptors)
{
	ck_assert(mock_nic_start(&nic, MOCK_NET_ALL, 256));
	send_one(&plain, 100, 112);
	ck_assert_uint_eq(car.sends, 1);
	ck_assert_mem_eq(car.data, frame, 100);
	/* One more than a chain may have. */
	send_one(&plain, 117, 129);
	ck_assert_uint_eq(car.sends, 1);
	ck_assert(needs_reset());
}
END_TEST

START_TEST(tx_bad_lengths)
{
	static const size_t lens[] = { 0, 1, 6, 12, 13, FRAME_MAX_BYTES + 1, FRAME_MAX_BYTES + 50 };

	ck_assert(mock_nic_start(&nic, MOCK_NET_ALL, 256));
	for (unsigned i = 0; i < ARRAY_SIZE(lens); i++) {
		send_one(&plain, lens[i], 1);
		ck_assert_uint_eq(nic.port->stats.tx_invalid, i + 1);
		ck_assert_uint_eq(tx_used(), 1);
	}
	/* Shorter than a header. */
	for (uint32_t len = 1; len < VNET_HDR_BYTES; len++) {
		gpa_t gpa = mock_driver_alloc(&nic.drv, 16, 1);

		mock_ring_add(&nic.drv.ring[1], (struct mock_seg[]){ { gpa, len, false } }, 1);
		mock_driver_kick(&nic.drv, 1);
		ck_assert_uint_eq(tx_used(), 1);
	}
	ck_assert_uint_eq(car.sends, 0);
	ck_assert(!needs_reset());
}
END_TEST

START_TEST(tx_writable_descriptors)
{
	gpa_t gpa;

	ck_assert(mock_nic_start(&nic, MOCK_NET_ALL, 256));
	gpa = mock_driver_alloc(&nic.drv, 4096, 1);
	mock_ring_add(&nic.drv.ring[1],
		      (struct mock_seg[]){ { gpa, 100, false }, { gpa + 100, 100, true } }, 2);
	mock_ring_add(&nic.drv.ring[1], (struct mock_seg[]){ { gpa, 100, true } }, 1);
	mock_driver_kick(&nic.drv, 1);
	ck_assert_uint_eq(nic.port->stats.tx_invalid, 2);
	ck_assert_uint_eq(tx_used(), 2);
	ck_assert(!needs_reset());
}
END_TEST

START_TEST(tx_broken_ring)
{
	ck_assert(mock_nic_start(&nic, MOCK_NET_ALL, 256));
	send_one(&plain, 60, 1);
	mock_ring_add(&nic.drv.ring[1], (struct mock_seg[]){ { GIB(3), 100, false } }, 1);
	mock_driver_kick(&nic.drv, 1);
	ck_assert(needs_reset());
	ck_assert_uint_eq(car.stops, 1);
	ck_assert(!nic.port->ops->rx_begin(nic.port));
	/* Nothing more is served until reset, everything after it. */
	send_one(&plain, 60, 1);
	ck_assert_uint_eq(car.sends, 1);
	ck_assert(mock_nic_start(&nic, MOCK_NET_ALL, 256));
	send_one(&plain, 60, 1);
	ck_assert_uint_eq(car.sends, 2);
}
END_TEST

#define NEEDS VIRTIO_NET_HDR_F_NEEDS_CSUM
#define TCP4  VIRTIO_NET_HDR_GSO_TCPV4
#define TCP6  VIRTIO_NET_HDR_GSO_TCPV6
#define ECN   VIRTIO_NET_HDR_GSO_ECN
#define NOTSO (MOCK_NET_BASE | VNET_BIT(VIRTIO_NET_F_CSUM))
#define TSO4  (NOTSO | VNET_BIT(VIRTIO_NET_F_HOST_TSO4))

static const struct hdr_case {
	uint64_t features;
	uint8_t flags, gso_type;
	uint16_t hdr_len, gso_size, csum_start, csum_offset;
	size_t len;
	bool ok;
} hdr_cases[] = {
	{ MOCK_NET_ALL, NEEDS, 0, 0, 0, 34, 16, 60, true },
	{ MOCK_NET_ALL, NEEDS, 0, 0, 0, 14, 0, 16, true },
	{ MOCK_NET_ALL, NEEDS, 0, 0, 0, 34, 16, 52, true },  /* the field ends with the frame */
	{ MOCK_NET_ALL, NEEDS, 0, 0, 0, 34, 16, 51, false }, /* one byte beyond */
	{ MOCK_NET_ALL, NEEDS, 0, 0, 0, 65535, 65535, 60, false },
	{ MOCK_NET_ALL, NEEDS, 0, 0, 0, 60, 65535, 1514, false },
	{ MOCK_NET_ALL, NEEDS, 0, 0, 0, 13, 6, 60, false }, /* into the Ethernet header */
	{ MOCK_NET_ALL, NEEDS, 0, 0, 0, 0, 0, 60, false },
	{ MOCK_NET_BASE, NEEDS, 0, 0, 0, 34, 16, 60, false },	 /* not negotiated */
	{ MOCK_NET_BASE, 0, 0, 0, 0, 65535, 65535, 60, true },	 /* not looked at */
	{ MOCK_NET_ALL, 0xfe, 0, 0, 0, 65535, 65535, 60, true }, /* unknown flags: ignored */
	{ MOCK_NET_ALL, NEEDS, TCP4, 54, 1448, 34, 16, 3000, true },
	{ MOCK_NET_ALL, NEEDS, TCP4, 65535, 1448, 34, 16, 3000, true }, /* hdr_len is a hint */
	{ MOCK_NET_ALL, NEEDS, TCP6, 74, 1428, 54, 16, 3000, true },
	{ MOCK_NET_ALL, NEEDS, TCP4 | ECN, 54, 1448, 34, 16, 3000, true },
	{ MOCK_NET_ALL, NEEDS, TCP4, 54, 0, 34, 16, 3000, false },   /* segments of no bytes */
	{ MOCK_NET_ALL, 0, TCP4, 54, 1448, 34, 16, 3000, false },    /* without NEEDS_CSUM */
	{ MOCK_NET_ALL, NEEDS, TCP4, 54, 1448, 34, 6, 3000, false }, /* not TCP's field */
	{ MOCK_NET_ALL, NEEDS, TCP4, 54, 1448, 34, 16, 53, false },  /* no TCP header */
	{ MOCK_NET_ALL, NEEDS, ECN, 0, 0, 34, 16, 60, false },	     /* ECN of nothing */
	{ MOCK_NET_ALL, NEEDS, VIRTIO_NET_HDR_GSO_UDP, 42, 1448, 34, 6, 3000, false },
	{ MOCK_NET_ALL, NEEDS, 5, 42, 1448, 34, 6, 3000, false },
	{ MOCK_NET_ALL, NEEDS, 0x7f, 42, 1448, 34, 16, 3000, false },
	{ NOTSO, NEEDS, TCP4, 54, 1448, 34, 16, 3000, false },
	{ TSO4, NEEDS, TCP4, 54, 1448, 34, 16, 3000, true },
	{ TSO4, NEEDS, TCP6, 54, 1448, 54, 16, 3000, false },
	{ TSO4, NEEDS, TCP4 | ECN, 54, 1448, 34, 16, 3000, false },
};

START_TEST(tx_headers)
{
	const struct hdr_case *c = &hdr_cases[_i];
	struct virtio_net_hdr_v1 hdr = {
		.flags = c->flags,
		.gso_type = c->gso_type,
		.hdr_len = c->hdr_len,
		.gso_size = c->gso_size,
		.csum_start = c->csum_start,
		.csum_offset = c->csum_offset,
		.num_buffers = 0xdead,
	};

	ck_assert(mock_nic_start(&nic, c->features, 256));
	send_one(&hdr, c->len, 1);
	ck_assert_uint_eq(car.sends, c->ok);
	ck_assert_uint_eq(nic.port->stats.tx_invalid, !c->ok);
	ck_assert_uint_eq(tx_used(), 1);
	ck_assert(!needs_reset());
	if (!c->ok)
		return;
	ck_assert_uint_eq(car.hdr.flags & ~NEEDS, 0);
	ck_assert_uint_eq(car.hdr.gso_type, c->gso_type);
	ck_assert_uint_le(car.hdr.hdr_len, c->len);
	ck_assert_uint_eq(car.hdr.num_buffers, 0);
	if (!(c->flags & NEEDS))
		ck_assert_uint_eq(car.hdr.csum_start | car.hdr.csum_offset, 0);
}
END_TEST

START_TEST(tx_blocked_and_resumed)
{
	ck_assert(mock_nic_start(&nic, MOCK_NET_ALL, 256));
	car.eagain = 1;
	send_one(&plain, 60, 1);
	send_one(&plain, 61, 1); /* a doorbell must not make it try again */
	ck_assert_uint_eq(car.sends, 0);
	ck_assert_uint_eq(car.eagain, 0);
	ck_assert_uint_eq(tx_used(), 0);
	nic.port->ops->tx_resume(nic.port);
	run_loop();
	ck_assert_uint_eq(car.sends, 2);
	ck_assert_uint_eq(car.len, 61);
	ck_assert_uint_eq(tx_used(), 2);
	ck_assert_uint_eq(nic.port->stats.tx_frames, 2);

	/* A reset forgets that it was blocked; a late tx_resume() finds nothing. */
	car.eagain = 1;
	send_one(&plain, 60, 1);
	mock_driver_set_status(&nic.drv, 0);
	nic.port->ops->tx_resume(nic.port);
	run_loop();
	ck_assert_uint_eq(car.sends, 2);
	ck_assert(mock_nic_start(&nic, MOCK_NET_ALL, 256));
	send_one(&plain, 60, 1);
	ck_assert_uint_eq(car.sends, 3);
}
END_TEST

START_TEST(tx_batches)
{
	unsigned irqs;

	ck_assert(mock_nic_start(&nic, MOCK_NET_ALL, 256));
	irqs = nic.drv.queue_irqs[1];
	mock_frame_fill(frame, 60, 2, 1, 0);
	for (unsigned i = 0; i < 256; i++)
		mock_nic_tx(&nic, &plain, frame, 60, 1);
	car.send_ends = 0;
	mock_driver_kick(&nic.drv, 1);
	ck_assert_uint_eq(car.sends, 256);
	ck_assert_uint_eq(car.send_ends, 1);
	ck_assert_uint_eq(tx_used(), 256);
	ck_assert_uint_eq(nic.drv.queue_irqs[1] - irqs, 1);
	/* It had its turn; the rest is left to a later one, which finds nothing here. */
	ck_assert(nic.net && mock_ring_no_notify(&nic.drv.ring[1]));
	run_loop();
	ck_assert(!mock_ring_no_notify(&nic.drv.ring[1]));
}
END_TEST

START_TEST(rx_sizes)
{
	static const uint32_t bufs[] = { 13, 14, 60, 100, 1526, 4096 };
	static const size_t lens[] = { 14, 60, 61, 1514, 4000 };
	struct virtio_net_hdr_v1 hdr = { 0 };

	ck_assert(mock_nic_start(&nic, MOCK_NET_ALL, 256));
	for (unsigned i = 0; i < ARRAY_SIZE(bufs); i++) {
		for (unsigned j = 0; j < ARRAY_SIZE(lens); j++) {
			unsigned need =
				(unsigned)((VNET_HDR_BYTES + lens[j] + bufs[i] - 1) / bufs[i]);
			unsigned avail = need + 3, posted = 0;

			if (need > 240)
				continue;
			/* Each round begins with an empty ring. */
			ck_assert(mock_nic_start(&nic, MOCK_NET_ALL, 256));
			for (posted = 0; posted < avail; posted++)
				mock_nic_rx_add(&nic, bufs[i], 1 + posted % 13);
			mock_frame_fill(frame, lens[j], 1, 2, i * 100 + j);
			ck_assert_int_eq(mock_deliver(nic.port, &hdr, frame, lens[j]), 0);
			ck_assert(mock_nic_rx(&nic, &got));
			ck_assert_uint_eq(got.len, lens[j]);
			ck_assert_mem_eq(got.data, frame, lens[j]);
			ck_assert_uint_eq(got.hdr.num_buffers, need);
			/* Surplus went back: it holds the next one. */
			ck_assert_uint_eq(mock_ring_used_idx(&nic.drv.ring[0]), need);
			ck_assert(!mock_nic_rx(&nic, &got));
		}
	}
}
END_TEST

START_TEST(rx_big_chains)
{
	struct virtio_net_hdr_v1 hdr = { 0 };

	/* Not mergeable, one chain of 128 segments for 64 KiB, the way Linux does it. */
	ck_assert(mock_nic_start(&nic, MOCK_NET_ALL & ~MOCK_NET_MRG, 256));
	mock_nic_rx_add(&nic, FRAME_MAX_BYTES + VNET_HDR_BYTES, 128);
	mock_nic_rx_add(&nic, 1526, 1);
	mock_nic_rx_add(&nic, 1526, 126);
	mock_frame_fill(frame, FRAME_MAX_BYTES, 1, 2, 1);
	ck_assert_int_eq(mock_deliver(nic.port, &hdr, frame, FRAME_MAX_BYTES), 0);
	ck_assert(mock_nic_rx(&nic, &got));
	ck_assert_uint_eq(got.len, FRAME_MAX_BYTES);
	ck_assert_mem_eq(got.data, frame, FRAME_MAX_BYTES);
	/* Too small a chain: the frame does not fit, the chain is not lost. */
	ck_assert_int_eq(mock_deliver(nic.port, &hdr, frame, 1515), -ENOBUFS);
	ck_assert_int_eq(mock_deliver(nic.port, &hdr, frame, 1514), 0);
	ck_assert(mock_nic_rx(&nic, &got));
	ck_assert_mem_eq(got.data, frame, 1514);
	ck_assert_int_eq(mock_deliver(nic.port, &hdr, frame, 1514), 0);
	ck_assert(mock_nic_rx(&nic, &got));
	ck_assert_mem_eq(got.data, frame, 1514);
	ck_assert_int_eq(mock_deliver(nic.port, &hdr, frame, 14), -ENOBUFS);
}
END_TEST

START_TEST(rx_header_in_one_byte_segments)
{
	struct virtio_net_hdr_v1 hdr = { .flags = NEEDS, .csum_start = 34, .csum_offset = 16 };

	ck_assert(mock_nic_start(&nic, MOCK_NET_ALL, 256));
	mock_nic_rx_add(&nic, 100, 100);
	mock_nic_rx_add(&nic, 12, 12); /* a buffer that holds a header and nothing else */
	mock_nic_rx_add(&nic, 12, 3);
	mock_nic_rx_add(&nic, 100, 1);
	mock_frame_fill(frame, 90, 1, 2, 1);
	ck_assert_int_eq(mock_deliver(nic.port, &hdr, frame, 88), 0);
	ck_assert(mock_nic_rx(&nic, &got));
	ck_assert_uint_eq(got.len, 88);
	ck_assert_mem_eq(got.data, frame, 88);
	ck_assert_uint_eq(got.hdr.flags, NEEDS);
	ck_assert_uint_eq(got.hdr.csum_start, 34);
	ck_assert_int_eq(mock_deliver(nic.port, &hdr, frame, 90), 0);
	ck_assert(mock_nic_rx(&nic, &got));
	ck_assert_uint_eq(got.hdr.num_buffers, 3);
	ck_assert_mem_eq(got.data, frame, 90);
}
END_TEST

START_TEST(rx_headers_as_negotiated)
{
	struct virtio_net_hdr_v1 hdr = {
		.flags = 0xff,
		.gso_type = TCP4,
		.gso_size = 1448,
		.hdr_len = 54,
		.csum_start = 34,
		.csum_offset = 16,
		.num_buffers = 77,
	};

	ck_assert(mock_nic_start(&nic, MOCK_NET_BASE, 256));
	mock_nic_rx_add(&nic, 2000, 1);
	mock_frame_fill(frame, 90, 1, 2, 1);
	ck_assert_int_eq(mock_deliver(nic.port, &hdr, frame, 90), 0);
	ck_assert(mock_nic_rx(&nic, &got));
	ck_assert_uint_eq(got.hdr.flags, 0);
	ck_assert_uint_eq(got.hdr.gso_type, 0);
	ck_assert_uint_eq(got.hdr.gso_size, 0);
	ck_assert_uint_eq(got.hdr.csum_start, 0);
	ck_assert_uint_eq(got.hdr.num_buffers, 1);

	ck_assert(mock_nic_start(&nic, MOCK_NET_ALL, 256));
	mock_nic_rx_add(&nic, 2000, 1);
	ck_assert_int_eq(mock_deliver(nic.port, &hdr, frame, 90), 0);
	ck_assert(mock_nic_rx(&nic, &got));
	ck_assert_uint_eq(got.hdr.flags, NEEDS | VIRTIO_NET_HDR_F_DATA_VALID);
	ck_assert_uint_eq(got.hdr.gso_type, TCP4);
	ck_assert_uint_eq(got.hdr.gso_size, 1448);
}
END_TEST

START_TEST(rx_full_ring_asks_for_the_doorbell)
{
	ck_assert(mock_nic_start(&nic, MOCK_NET_ALL, 8));
	ck_assert(mock_ring_no_notify(&nic.drv.ring[0]));
	mock_nic_rx_add(&nic, 100, 1);
	mock_nic_rx_add(&nic, 100, 1);
	mock_frame_fill(frame, 300, 1, 2, 1);
	ck_assert_int_eq(mock_deliver(nic.port, &plain, frame, 300), -ENOBUFS);
	ck_assert(!mock_ring_no_notify(&nic.drv.ring[0]));
	ck_assert_uint_eq(mock_ring_used_idx(&nic.drv.ring[0]), 0);
	mock_nic_rx_add(&nic, 200, 1);
	car.rx_readies = 0;
	mock_driver_kick(&nic.drv, 0);
	ck_assert_uint_eq(car.rx_readies, 1);
	ck_assert(mock_ring_no_notify(&nic.drv.ring[0]));
	ck_assert_int_eq(mock_deliver(nic.port, &plain, frame, 300), 0);
	ck_assert(mock_nic_rx(&nic, &got));
	ck_assert_mem_eq(got.data, frame, 300);
	ck_assert_uint_eq(got.hdr.num_buffers, 3);
}
END_TEST

/* Buffers that touch are one run; a gap, or a ring that goes back, is not bridged. */
START_TEST(rx_adjacent_buffers_are_one_run)
{
	const unsigned at[] = { 0, 1, 2, 4, 5, 3 }; /* in units of a buffer */
	struct port *p = nic.port;
	struct iovec iov[FRAME_MAX_IOV];
	unsigned cnt = FRAME_MAX_IOV;
	uint8_t *base;
	gpa_t gpa;

	ck_assert(mock_nic_start(&nic, MOCK_NET_ALL, 256));
	gpa = mock_driver_alloc(&nic.drv, 6 * 1000, 1);
	base = gmem_ptr(&nic.mp.mem, gpa, 6 * 1000);
	for (unsigned i = 0; i < ARRAY_SIZE(at); i++)
		mock_ring_add(&nic.drv.ring[0],
			      &(struct mock_seg){ gpa + at[i] * 1000, 1000, true }, 1);
	ck_assert(p->ops->rx_begin(p));
	ck_assert_int_eq(p->ops->rx_reserve(p, 5988, iov, &cnt), 5988);
	ck_assert_uint_eq(cnt, 3);
	ck_assert_ptr_eq(iov[0].iov_base, base + VNET_HDR_BYTES);
	ck_assert_uint_eq(iov[0].iov_len, 3000 - VNET_HDR_BYTES);
	ck_assert_ptr_eq(iov[1].iov_base, base + 4000);
	ck_assert_uint_eq(iov[1].iov_len, 2000);
	ck_assert_ptr_eq(iov[2].iov_base, base + 3000);
	ck_assert_uint_eq(iov[2].iov_len, 1000);
	p->ops->rx_commit(p, &plain, 5988);
	p->ops->rx_end(p);
	for (unsigned i = 0; i < ARRAY_SIZE(at); i++) {
		uint32_t len;

		ck_assert(mock_ring_used(&nic.drv.ring[0], NULL, &len));
		ck_assert_uint_eq(len, 1000);
	}
}
END_TEST

START_TEST(rx_batch_is_one_interrupt)
{
	struct port *p = nic.port;
	struct iovec iov[FRAME_MAX_IOV];

	ck_assert(mock_nic_start(&nic, MOCK_NET_ALL, 256));
	for (unsigned i = 0; i < 20; i++)
		mock_nic_rx_add(&nic, 1526, 1);
	nic.drv.queue_irqs[0] = 0;
	ck_assert(p->ops->rx_begin(p));
	for (unsigned i = 0; i < 10; i++) {
		unsigned cnt = FRAME_MAX_IOV;

		ck_assert_int_ge(p->ops->rx_reserve(p, 60, iov, &cnt), 60);
		memset(iov[0].iov_base, (int)i, 60);
		if (i == 5)
			p->ops->rx_abort(p);
		else
			p->ops->rx_commit(p, &plain, 60);
	}
	/* Neither committed nor aborted: forgotten. */
	ck_assert_int_gt(p->ops->rx_reserve(p, 60, iov, &(unsigned){ FRAME_MAX_IOV }), 0);
	ck_assert_uint_eq(mock_ring_used_idx(&nic.drv.ring[0]), 0);
	p->ops->rx_end(p);
	ck_assert_uint_eq(nic.drv.queue_irqs[0], 1);
	for (unsigned i = 0; i < 10; i++) {
		if (i == 5)
			continue;
		ck_assert(mock_nic_rx(&nic, &got));
		ck_assert_uint_eq(got.data[0], i);
	}
	ck_assert(!mock_nic_rx(&nic, &got));
	ck_assert_uint_eq(nic.port->stats.rx_frames, 9);
}
END_TEST

START_TEST(rx_surplus_goes_back)
{
	struct port *p = nic.port;
	struct iovec iov[FRAME_MAX_IOV];
	unsigned cnt = FRAME_MAX_IOV;

	ck_assert(mock_nic_start(&nic, MOCK_NET_ALL, 256));
	for (unsigned i = 0; i < 8; i++)
		mock_nic_rx_add(&nic, 212, 2);
	mock_frame_fill(frame, 300, 1, 2, 1);
	ck_assert(p->ops->rx_begin(p));
	ck_assert_int_ge(p->ops->rx_reserve(p, 1500, iov, &cnt), 1500);
	memcpy(iov[0].iov_base, frame, 60);
	p->ops->rx_commit(p, &plain, 60);
	p->ops->rx_end(p);
	ck_assert(mock_nic_rx(&nic, &got));
	ck_assert_uint_eq(got.hdr.num_buffers, 1);
	/* Seven are left, in their order. */
	for (unsigned i = 0; i < 3; i++) {
		ck_assert_int_eq(mock_deliver(p, &plain, frame, 300), 0);
		ck_assert(mock_nic_rx(&nic, &got));
		ck_assert_uint_eq(got.hdr.num_buffers, 2);
		ck_assert_mem_eq(got.data, frame, 300);
	}
	ck_assert_int_eq(mock_deliver(p, &plain, frame, 300), -ENOBUFS);
	ck_assert_int_eq(mock_deliver(p, &plain, frame, 200), 0);
	ck_assert(mock_nic_rx(&nic, &got));
	ck_assert_mem_eq(got.data, frame, 200);
}
END_TEST

/* Three segments that do not touch. */
static void rx_add_apart(uint32_t len)
{
	gpa_t gpa = mock_driver_alloc(&nic.drv, 3 * 4096, 1);
	struct mock_seg s[3];

	for (unsigned i = 0; i < 3; i++)
		s[i] = (struct mock_seg){ gpa + 4096 * i, i ? len / 3 : len - len / 3 * 2, true };
	mock_ring_add_indirect(&nic.drv.ring[0], mock_driver_alloc(&nic.drv, 48, 1), s, 3);
}

/* Plain buffers and other chains in one frame; a first one with room for the header only. */
START_TEST(rx_mixed_chains)
{
	static const struct {
		uint32_t len;
		unsigned segs;
	} ring[] = {
		{ 12, 1 }, { 300, 1 }, { 300, 3 }, { 300, 1 }, { 12, 1 }, { 13, 2 }, { 900, 1 }
	};

	ck_assert(mock_nic_start(&nic, MOCK_NET_ALL, 256));
	for (unsigned first = 0; first < ARRAY_SIZE(ring); first++)
		for (unsigned len = 14; len < 900; len += 37) {
			uint32_t need = len + VNET_HDR_BYTES, bufs = 0, given = 0;

			for (unsigned i = 0; i < ARRAY_SIZE(ring); i++) {
				unsigned k = (first + i) % ARRAY_SIZE(ring);

				mock_nic_rx_add(&nic, ring[k].len, ring[k].segs);
				if (given < need)
					bufs++;
				given += ring[k].len;
			}
			mock_frame_fill(frame, len, 1, 2, len);
			ck_assert_int_eq(mock_deliver(nic.port, &plain, frame, len), 0);
			ck_assert(mock_nic_rx(&nic, &got));
			ck_assert_uint_eq(got.hdr.num_buffers, bufs);
			ck_assert_uint_eq(got.len, len);
			ck_assert_mem_eq(got.data, frame, len);
			ck_assert(mock_nic_start(&nic, MOCK_NET_ALL, 256));
		}
}
END_TEST

START_TEST(rx_little_room_for_segments)
{
	struct port *p = nic.port;
	struct iovec iov[4];
	unsigned cnt = 4;

	ck_assert(mock_nic_start(&nic, MOCK_NET_ALL, 256));
	rx_add_apart(100);
	rx_add_apart(100);
	ck_assert(p->ops->rx_begin(p));
	ck_assert_int_eq(p->ops->rx_reserve(p, 180, iov, &cnt), 88);
	ck_assert_uint_eq(cnt, 3);
	cnt = 2;
	ck_assert_int_eq(p->ops->rx_reserve(p, 92, iov, &cnt), 0);
	cnt = 4;
	ck_assert_int_eq(p->ops->rx_reserve(p, 92, iov, &cnt), 100);
	p->ops->rx_abort(p);
	p->ops->rx_end(p);
}
END_TEST

static void bad_rx(unsigned kind)
{
	gpa_t gpa = mock_driver_alloc(&nic.drv, 4096, 1);
	struct mock_ring *r = &nic.drv.ring[0];

	switch (kind) {
	case 0: /* readable */
		mock_ring_add(r, (struct mock_seg[]){ { gpa, 2000, false } }, 1);
		break;
	case 1: /* both */
		mock_ring_add(r, (struct mock_seg[]){ { gpa, 12, false }, { gpa, 2000, true } }, 2);
		break;
	case 2: /* shorter than a header */
		mock_ring_add(r, (struct mock_seg[]){ { gpa, 11, true } }, 1);
		break;
	case 3: /* nowhere */
		mock_ring_add(r, (struct mock_seg[]){ { GIB(9), 2000, true } }, 1);
		break;
	case 4: /* an index from nowhere */
		mock_ring_set_avail_idx(r, 4711);
		break;
	case 5: /* empty */
		mock_ring_add(r, (struct mock_seg[]){ { gpa, 0, true } }, 1);
		break;
	}
}

START_TEST(rx_faults_reach_the_loop)
{
	ck_assert(mock_nic_start(&nic, MOCK_NET_ALL, 256));
	mock_nic_rx_add(&nic, 100, 1);
	bad_rx((unsigned)_i);
	mock_frame_fill(frame, 300, 1, 2, 1);
	ck_assert_int_eq(mock_deliver(nic.port, &plain, frame, 300), -EPROTO);
	/* Dead at once for all senders, though the loop has not heard of it yet. */
	ck_assert_int_eq(mock_deliver(nic.port, &plain, frame, 300), -ENOTCONN);
	ck_assert_uint_eq(nic.port->rx_features, 0);
	ck_assert(!needs_reset());
	run_loop();
	ck_assert(needs_reset());
	ck_assert_uint_eq(car.stops, 1);
	ck_assert_uint_eq(nic.drv.config_irqs, 1);

	ck_assert(mock_nic_start(&nic, MOCK_NET_ALL, 256));
	mock_nic_rx_add(&nic, 2000, 1);
	ck_assert_int_eq(mock_deliver(nic.port, &plain, frame, 300), 0);
}
END_TEST

START_TEST(rx_fault_overtaken_by_reset)
{
	ck_assert(mock_nic_start(&nic, MOCK_NET_ALL, 256));
	bad_rx(0);
	ck_assert_int_eq(mock_deliver(nic.port, &plain, frame, 300), -EPROTO);
	ck_assert(mock_nic_start(&nic, MOCK_NET_ALL, 256));
	run_loop();
	ck_assert(!needs_reset());
	mock_nic_rx_add(&nic, 2000, 1);
	ck_assert_int_eq(mock_deliver(nic.port, &plain, frame, 300), 0);
}
END_TEST

START_TEST(link_changes)
{
	uint16_t status;

	ck_assert(mock_nic_start(&nic, MOCK_NET_ALL, 256));
	car.up = false;
	nic.port->ops->link_changed(nic.port);
	run_loop();
	ck_assert_uint_eq(nic.drv.config_irqs, 1);
	mock_driver_config_read(&nic.drv, 6, &status, 2);
	ck_assert_uint_eq(status, 0);
	/* Said twice, changed once. */
	nic.port->ops->link_changed(nic.port);
	run_loop();
	ck_assert_uint_eq(nic.drv.config_irqs, 1);
	/* A driver that did not ask is not told. */
	ck_assert(mock_nic_start(&nic, MOCK_NET_ALL & ~VNET_BIT(VIRTIO_NET_F_STATUS), 256));
	car.up = true;
	nic.port->ops->link_changed(nic.port);
	run_loop();
	ck_assert_uint_eq(nic.drv.config_irqs, 1);
}
END_TEST

/*
 * A driver that writes anything anywhere: descriptors, headers, indices, used events. Whatever it
 * does, the device survives, keeps to guest memory (the sanitizers watch), and works after a reset.
 */
static void hostile_descriptors(unsigned q)
{
	struct mock_ring *r = &nic.drv.ring[q];
	unsigned n = (unsigned)rand() % 12;
	gpa_t table = nic.free_mem + (unsigned)rand() % 4096;

	for (unsigned i = 0; i < n; i++) {
		gpa_t gpa = nic.free_mem + KIB(8) + (unsigned)rand() % KIB(512);
		uint32_t len = (uint32_t)(rand() % 8 ? rand() % 3000 : rand());
		uint16_t flags = (uint16_t)(rand() % 16 ? (q ? 0 : MOCK_DESC_WRITE) : rand());

		if (rand() % 64 == 0)
			gpa = ((gpa_t)rand() << 32) + (gpa_t)rand();
		if (rand() % 3 == 0)
			flags |= MOCK_DESC_NEXT;
		if (rand() % 16 == 0) {
			flags = MOCK_DESC_INDIRECT;
			gpa = table;
			len = 16 * ((uint32_t)rand() % 20);
		}
		mock_desc_set(r->mem, rand() % 4 ? r->desc : table, (unsigned)rand() % 16, gpa, len,
			      flags, (uint16_t)(rand() % 32 ? rand() % 16 : rand()));
	}
	for (n = (unsigned)rand() % 4; n; n--)
		mock_ring_offer(r, (uint16_t)(rand() % 64 ? rand() % 16 : rand()));
	if (rand() % 64 == 0)
		mock_ring_set_avail_idx(r, (uint16_t)rand());
	mock_ring_set_used_event(r, (uint16_t)rand());
}

START_TEST(hostile_driver)
{
	static uint8_t noise[KIB(64)];
	unsigned sent = 0, received = 0, faults = 0;

	srand((unsigned)_i + 1);
	for (size_t i = 0; i < sizeof(noise); i++)
		noise[i] = (uint8_t)(rand() % 4 ? 0 : rand());
	for (unsigned round = 0; round < 400; round++) {
		uint64_t features = MOCK_NET_ALL | VNET_BIT(VIRTIO_RING_F_EVENT_IDX);

		if (rand() & 1)
			features &= ~((uint64_t)rand() & ~MOCK_NET_BASE);
		ck_assert(mock_nic_start(&nic, features, 16));
		for (unsigned i = 0; i < 8; i++)
			gmem_write(&nic.mp.mem, nic.free_mem + KIB(8) + i * KIB(64), noise,
				   sizeof(noise));
		for (unsigned step = 0; step < 20; step++) {
			hostile_descriptors((unsigned)rand() & 1);
			mock_driver_kick(&nic.drv, (unsigned)rand() & 1);
			received +=
				!mock_deliver(nic.port, &plain, noise,
					      14 + (size_t)rand() % (rand() % 8 ? 1500 : 60000));
			car.eagain = rand() % 16 == 0;
		}
		faults += needs_reset();
	}
	sent = car.sends;
	/* It was neither always caught at once nor always harmless. */
	ck_assert_uint_gt(sent, 50);
	ck_assert_uint_gt(received, 50);
	ck_assert_uint_gt(faults, 50);
	run_loop();
	car.eagain = 0;
	ck_assert(mock_nic_start(&nic, MOCK_NET_ALL, 256));
	send_one(&plain, 60, 1);
	ck_assert_uint_eq(car.sends, sent + 1);
	mock_nic_rx_add(&nic, 1526, 1);
	ck_assert_int_eq(mock_deliver(nic.port, &plain, frame, 60), 0);
}
END_TEST

/* Threads: others deliver while the driver resets and starts the device again and again. */
static _Atomic bool stop_flag;
static _Atomic unsigned delivered;

static void *deliver_thread(void *arg)
{
	static const size_t lens[] = { 60, 1514, 9000 };
	uint8_t buf[9000];

	mock_frame_fill(buf, sizeof(buf), 1, 2, 0);
	for (unsigned i = 0; !atomic_load(&stop_flag); i++)
		if (!mock_deliver(nic.port, &plain, buf, lens[i % 3]))
			atomic_fetch_add(&delivered, 1);
	return NULL;
}

START_TEST(reset_during_delivery)
{
	pthread_t th[2];
	unsigned rounds = 0;

	ck_assert_int_eq(loop_start(&nic.loop), 0);
	for (unsigned i = 0; i < 2; i++)
		pthread_create(&th[i], NULL, deliver_thread, NULL);
	for (; rounds < 200 || atomic_load(&delivered) < 100; rounds++) {
		ck_assert(mock_nic_start(&nic, MOCK_NET_ALL, 64));
		for (unsigned i = 0; i < 60; i++)
			mock_nic_rx_add(&nic, 1526, 1 + i % 3);
		if (rounds % 4 == 0)
			bad_rx(rounds / 4 % 6);
		mock_driver_kick(&nic.drv, 0);
		if (rounds % 8 == 0)
			usleep(200);
		mock_driver_set_status(&nic.drv, 0);
		ck_assert(!nic.port->ops->rx_begin(nic.port));
	}
	atomic_store(&stop_flag, true);
	for (unsigned i = 0; i < 2; i++)
		pthread_join(th[i], NULL);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("virtio_net");
	TCase *tc = tcase_create("net");
	SRunner *sr;
	int failed;

	tcase_set_timeout(tc, 60);
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, config_space);
	tcase_add_test(tc, start_and_stop);
	tcase_add_test(tc, carrier_that_cannot_start);
	tcase_add_test(tc, no_carrier);
	tcase_add_test(tc, tx_sizes_and_segments);
	tcase_add_test(tc, tx_one_byte_descriptors);
	tcase_add_test(tc, tx_bad_lengths);
	tcase_add_test(tc, tx_writable_descriptors);
	tcase_add_test(tc, tx_broken_ring);
	tcase_add_loop_test(tc, tx_headers, 0, ARRAY_SIZE(hdr_cases));
	tcase_add_test(tc, tx_blocked_and_resumed);
	tcase_add_test(tc, tx_batches);
	tcase_add_test(tc, rx_sizes);
	tcase_add_test(tc, rx_big_chains);
	tcase_add_test(tc, rx_header_in_one_byte_segments);
	tcase_add_test(tc, rx_headers_as_negotiated);
	tcase_add_test(tc, rx_full_ring_asks_for_the_doorbell);
	tcase_add_test(tc, rx_adjacent_buffers_are_one_run);
	tcase_add_test(tc, rx_batch_is_one_interrupt);
	tcase_add_test(tc, rx_surplus_goes_back);
	tcase_add_test(tc, rx_mixed_chains);
	tcase_add_test(tc, rx_little_room_for_segments);
	tcase_add_loop_test(tc, rx_faults_reach_the_loop, 0, 6);
	tcase_add_test(tc, rx_fault_overtaken_by_reset);
	tcase_add_test(tc, link_changes);
	tcase_add_loop_test(tc, hostile_driver, 0, 4);
	tcase_add_test(tc, reset_during_delivery);
	suite_add_tcase(s, tc);
	sr = srunner_create(s);
	srunner_run_all(sr, CK_NORMAL);
	failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
