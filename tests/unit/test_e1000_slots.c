/* e1000: the receive ring as one of mapped slots, and the hand-shake from one card's transmit slots
 * to another's receive slots, step by step; with drivers that break the contract. */
#include <check.h>
#include <errno.h>
#include <stdlib.h>

#include "tests/unit/mock_e1000.h"
#include "tests/unit/mock_net.h"

#define TX_SLOTS 0x200000
#define RX_SLOTS 0x400000
#define STRIDE	 2048
#define RING	 8

static struct mock_e1000 m;
static struct carrier car;
static unsigned rx_readies, refused;
static struct slot_list list;
static uint8_t frame[FRAME_MAX_BYTES], out[FRAME_MAX_BYTES];
static const struct virtio_net_hdr_v1 plain;

static void k_nothing(struct carrier *c)
{
}

static void k_rx_ready(struct carrier *c)
{
	rx_readies++;
}

static void k_rx_refused(struct carrier *c)
{
	refused++;
}

static int k_start(struct carrier *c)
{
	return 0;
}

static void k_set_rx_features(struct carrier *c, uint64_t features)
{
}

static bool k_link_up(struct carrier *c)
{
	return true;
}

static const struct carrier_ops k_ops = {
	.send_end = k_nothing,
	.rx_ready = k_rx_ready,
	.rx_refused = k_rx_refused,
	.start = k_start,
	.stop = k_nothing,
	.set_rx_features = k_set_rx_features,
	.link_up = k_link_up,
};

static void setup(void)
{
	mock_e1000_init(&m, "a.eth0", 1);
	car.ops = &k_ops;
	e1000_set_carrier(m.e, &car);
	me_slots_start(&m, RING, RCTL_BAM, TX_SLOTS, RX_SLOTS, STRIDE);
	mock_e1000_run(&m);
	me_get(&m, REG_ICR);
	mock_frame_fill(frame, 1500, 1, 2, 1);
}

static void teardown(void)
{
	mock_e1000_fini(&m);
}

static void *host(gpa_t gpa)
{
	return gmem_ptr(&m.mp.mem, gpa, 1);
}

/* -- Receive: looking and entering -- */

static int look(const char **why)
{
	int rc;

	*why = NULL;
	ck_assert(m.port->ops->rx_begin(m.port));
	rc = m.port->ops->rx_slots_look(m.port, &list, why);
	m.port->ops->rx_end(m.port);
	return rc;
}

static int enter(void)
{
	int rc;

	ck_assert(m.port->ops->rx_begin(m.port));
	rc = m.port->ops->rx_slots_enter(m.port, &list);
	m.port->ops->rx_end(m.port);
	return rc;
}

static void look_and_enter(void)
{
	const char *why;

	ck_assert_int_eq(look(&why), 0);
	ck_assert_int_eq(enter(), 0);
}

START_TEST(look_at_slots)
{
	static const struct {
		uint32_t rctl, bytes;
	} size[] = {
		{ 0, 2044 },
		{ RCTL_SECRC, 2048 },
		{ 2u << RCTL_BSIZE_SHIFT, 508 },
		{ RCTL_BSEX | 3u << RCTL_BSIZE_SHIFT, 4092 },
	};
	const char *why;

	for (unsigned i = 0; i < ARRAY_SIZE(size); i++) {
		me_slots_start(&m, RING, size[i].rctl, TX_SLOTS, RX_SLOTS, 4096);
		ck_assert_int_eq(look(&why), 0);
		ck_assert_uint_eq(list.nr, RING); /* the one at the tail counts */
		for (unsigned j = 0; j < RING; j++) {
			ck_assert_ptr_eq(list.slot[j].at, host(RX_SLOTS + j * 4096));
			ck_assert_uint_eq(list.slot[j].bytes, size[i].bytes);
			ck_assert_ptr_null(list.slot[j].hdr);
		}
	}
	/* From the head on, as far as they were given. */
	me_slots_start(&m, RING, 0, TX_SLOTS, RX_SLOTS, STRIDE);
	for (unsigned i = 0; i < 5; i++)
		ck_assert_int_eq(mock_deliver(m.port, &plain, frame, 100), 0);
	ck_assert_int_eq(look(&why), 0);
	ck_assert_uint_eq(list.nr, 3);
	ck_assert_ptr_eq(list.slot[0].at, host(RX_SLOTS + 5 * STRIDE));
	me_slot_give(&m, 3);
	ck_assert_int_eq(look(&why), 0);
	ck_assert_uint_eq(list.nr, 6);
	ck_assert_ptr_eq(list.slot[3].at, host(RX_SLOTS));
	me_set(&m, REG_RDT, 5);
	ck_assert_int_eq(look(&why), 0);
	ck_assert_uint_eq(list.nr, 0);
	/* Looking takes nothing. */
	ck_assert_uint_eq(me_get(&m, REG_RDH), 5);
}
END_TEST

static void rx_address(uint32_t index, uint64_t address)
{
	gmem_write(&m.mp.mem, ME_RX_RING + (gpa_t)index * E1000_DESC_BYTES, &address, 8);
}

START_TEST(look_at_what_are_none)
{
	static const uint64_t bad[] = { 0, ME_MEM, ME_MEM - STRIDE + 1, ~0ull, 1ull << 63 };
	const char *why;

	for (unsigned i = 0; i < ARRAY_SIZE(bad); i++) {
		rx_address(i, bad[i]);
		ck_assert_int_eq(look(&why), -ENOTSUP);
		ck_assert_ptr_nonnull(why);
		rx_address(i, RX_SLOTS + i * STRIDE);
	}
	rx_address(RING - 1, 0); /* the one that the tail points at */
	ck_assert_int_eq(look(&why), -ENOTSUP);
	me_set(&m, REG_RDLEN, (SLOTS_MAX + 8) * E1000_DESC_BYTES);
	ck_assert_int_eq(look(&why), -ENOTSUP);
	ck_assert_ptr_nonnull(why);
	/* A broken ring is the guest's fault. */
	me_set(&m, REG_RDT, SLOTS_MAX + 8);
	ck_assert_int_eq(look(&why), -EPROTO);
	ck_assert(!m.port->ops->rx_begin(m.port));
	ck_assert_int_eq(m.port->ops->rx_slots_look(m.port, &list, &why), -EPROTO);
	ck_assert_int_eq(m.port->ops->rx_slots_enter(m.port, &list), -EPROTO);
}
END_TEST

START_TEST(longest_ring_of_slots)
{
	const char *why;

	me_slots_start(&m, SLOTS_MAX, 0, TX_SLOTS, RX_SLOTS, STRIDE);
	look_and_enter();
	ck_assert_uint_eq(list.nr, SLOTS_MAX);
	list.nr = SLOTS_MAX + 1;
	ck_assert_int_eq(enter(), -ESTALE);
	list.nr = 0;
	ck_assert_int_eq(enter(), -ESTALE);
	ck_assert_int_eq(look(&why), 0);
	ck_assert_int_eq(enter(), 0);
}
END_TEST

/* What was looked at is not there any more. */
START_TEST(enter_what_has_changed)
{
	const char *why;

	ck_assert_int_eq(look(&why), 0);
	rx_address(5, RX_SLOTS);
	ck_assert_int_eq(enter(), -ESTALE);
	rx_address(5, ME_MEM);
	ck_assert_int_eq(enter(), -ESTALE);
	rx_address(5, RX_SLOTS + 5 * STRIDE);
	me_set(&m, REG_RDT, 3); /* fewer are given */
	ck_assert_int_eq(enter(), -ESTALE);
	me_set(&m, REG_RDT, 0); /* none */
	ck_assert_int_eq(enter(), -ESTALE);
	me_set(&m, REG_RDT, RING - 1);
	me_set(&m, REG_RCTL, RCTL_EN | RCTL_SECRC); /* of another size */
	ck_assert_int_eq(enter(), -ESTALE);
	me_set(&m, REG_RCTL, RCTL_EN | RCTL_BAM);
	ck_assert_int_eq(mock_deliver(m.port, &plain, frame, 100), 0); /* one is used */
	ck_assert_int_eq(enter(), -ESTALE);
	ck_assert_int_eq(look(&why), 0);
	ck_assert_int_eq(enter(), 0);
	me_set(&m, REG_RDT, RING);
	ck_assert_int_eq(enter(), -EPROTO);
}
END_TEST

/* -- Receive: frames in slots -- */

static unsigned nr_put;

/* The frame is in the next slot. */
static int announce(size_t len)
{
	int rc;

	if (!m.port->ops->rx_begin(m.port))
		return -ENOTCONN;
	rc = m.port->ops->rx_slot_put(m.port, len ? &plain : NULL, len);
	m.port->ops->rx_end(m.port);
	nr_put += !rc;
	return rc;
}

static int put(size_t len)
{
	memcpy(list.slot[nr_put % list.nr].at, frame, len);
	return announce(len);
}

static unsigned given(void)
{
	unsigned n;

	if (!m.port->ops->rx_begin(m.port))
		return 0;
	n = m.port->ops->rx_slots_given(m.port);
	m.port->ops->rx_end(m.port);
	return n;
}

static bool watch(unsigned n)
{
	bool now;

	ck_assert(m.port->ops->rx_begin(m.port));
	now = m.port->ops->rx_slots_watch(m.port, n);
	m.port->ops->rx_end(m.port);
	return now;
}

static void leave(void)
{
	ck_assert(m.port->ops->rx_begin(m.port));
	m.port->ops->rx_slots_leave(m.port);
	m.port->ops->rx_end(m.port);
}

static void slots_setup(void)
{
	setup();
	nr_put = 0;
	look_and_enter();
	ck_assert_uint_eq(list.nr, RING);
	ck_assert_uint_eq(given(), RING);
}

/* Head and descriptor move when a frame is announced, and nothing before. */
START_TEST(slot_handshake)
{
	memcpy(list.slot[0].at, frame, 1000);
	ck_assert_uint_eq(me_get(&m, REG_RDH), 0);
	ck_assert_uint_eq(me_rx_second(&m, 0), 0);
	ck_assert_uint_eq(me_get(&m, REG_ICR), 0);
	memset(list.slot[0].at + 1000, 0xee, 6);
	ck_assert_int_eq(announce(1000), 0);
	ck_assert_uint_eq(me_get(&m, REG_RDH), 1);
	ck_assert_uint_eq(me_rx_second(&m, 0),
			  1004 | (uint64_t)(RXD_STAT_DD | RXD_STAT_EOP | RXD_STAT_IXSM) << 32);
	ck_assert_uint_eq(me_get(&m, REG_ICR), ICR_RXT0);
	ck_assert_mem_eq(list.slot[0].at, frame, 1000);
	ck_assert_mem_eq(list.slot[0].at + 1000, "\0\0\0\0\xee\xee", 6);
	ck_assert_uint_eq(given(), RING - 1);
	ck_assert_int_eq(me_slot_read(&m, out), 1004);
	ck_assert_mem_eq(out, frame, 1000);
	me_slot_give(&m, 1);
	ck_assert_uint_eq(given(), RING);
	ck_assert_uint_eq(me_get(&m, STAT_GPRC), 1);
	ck_assert_uint_eq(me_get(&m, STAT_GORCL), 1004);
	ck_assert_uint_eq(atomic_load(&m.port->stats.rx_frames), 1);
	ck_assert_uint_eq(atomic_load(&m.port->stats.rx_bytes), 1000);
}
END_TEST

/* One interrupt for all between rx_begin() and rx_end(). */
START_TEST(slots_in_a_batch)
{
	me_set(&m, REG_IMS, ICR_RXT0);
	ck_assert(m.port->ops->rx_begin(m.port));
	for (unsigned i = 0; i < 4; i++) {
		memcpy(list.slot[i].at, frame, 100);
		ck_assert_int_eq(m.port->ops->rx_slot_put(m.port, &plain, 100), 0);
	}
	ck_assert_uint_eq(m.mp.line_rises[ME_GSI], 0);
	m.port->ops->rx_end(m.port);
	ck_assert_uint_eq(m.mp.line_rises[ME_GSI], 1);
	ck_assert_uint_eq(me_get(&m, REG_RDH), 4);
	ck_assert_uint_eq(me_get(&m, REG_ICR), ICR_RXT0 | ICR_RXDMT0);
}
END_TEST

START_TEST(slots_round_and_round)
{
	unsigned sent = 0, got = 0, seed = 3;

	while (got < 1000) {
		unsigned n;

		for (;;) {
			mock_frame_fill(frame, 100, 1, 2, sent);
			if (sent - got == RING - 1)
				break;
			ck_assert_int_eq(put(100), 0);
			sent++;
		}
		/* One is left out. */
		ck_assert_uint_eq(given(), 1);
		ck_assert_int_eq(announce(100), -ENOBUFS);
		ck_assert_uint_eq(me_get(&m, REG_RDH), sent % RING);
		seed = seed * 1664525 + 1013904223;
		n = 1 + (seed >> 16) % (RING - 1);
		for (unsigned i = 0; i < n; i++, got++) {
			mock_frame_fill(frame, 100, 1, 2, got);
			ck_assert_int_eq(me_slot_read(&m, out), 104);
			ck_assert_mem_eq(out, frame, 100);
		}
		me_slot_give(&m, n);
		ck_assert_uint_eq(given(), n + 1);
	}
}
END_TEST

START_TEST(short_frames_and_crc)
{
	memset(list.slot[0].at, 0xee, STRIDE);
	ck_assert_int_eq(put(20), 0);
	ck_assert_int_eq(me_slot_read(&m, out), 64);
	ck_assert_mem_eq(out, frame, 20);
	for (unsigned i = 20; i < 64; i++)
		ck_assert_uint_eq(out[i], 0);
	ck_assert_uint_eq(list.slot[0].at[64], 0xee);
	/* The check sequence stripped: other slots. */
	me_set(&m, REG_RCTL, RCTL_EN | RCTL_SECRC);
	ck_assert_int_eq(announce(60), -ESTALE);
	look_and_enter();
	nr_put = 0;
	memset(list.slot[0].at, 0xee, STRIDE);
	ck_assert_int_eq(put(1518), 0);
	ck_assert_int_eq(me_slot_read(&m, out), 1518);
	ck_assert_uint_eq(list.slot[0].at[1518], 0xee);
}
END_TEST

START_TEST(longer_than_slots)
{
	me_slots_start(&m, RING, RCTL_LPE, TX_SLOTS, RX_SLOTS, STRIDE);
	look_and_enter();
	nr_put = 0;
	mock_frame_fill(frame, 4000, 1, 2, 1);
	ck_assert_int_eq(announce(STRIDE - 3), -EMSGSIZE);
	ck_assert_int_eq(announce(STRIDE), -EMSGSIZE);
	ck_assert_int_eq(announce(SIZE_MAX), -EMSGSIZE);
	ck_assert_uint_eq(me_get(&m, REG_RDH), 0);
	/* Up to the last byte, and not one further. */
	list.slot[1].at[0] = 0xee;
	ck_assert_int_eq(put(STRIDE - 4), 0);
	ck_assert_int_eq(me_slot_read(&m, out), STRIDE);
	ck_assert_mem_eq(out, frame, STRIDE - 4);
	ck_assert_uint_eq(list.slot[1].at[0], 0xee);
}
END_TEST

static void check_skipped(unsigned index)
{
	ck_assert_uint_eq(me_rx_second(&m, index),
			  (uint64_t)(RXD_STAT_DD | RXD_STAT_EOP | RXD_ERR_RXE << 8) << 32);
	ck_assert_uint_eq(me_get(&m, REG_ICR) & ICR_RXT0, ICR_RXT0);
	ck_assert_int_eq(me_slot_read(&m, out), 0);
	me_slot_give(&m, 1);
}

/* What the hardware would not take has its slot, which the driver skips. */
START_TEST(skipped_slots)
{
	ck_assert_int_eq(announce(0), 0);
	check_skipped(0);
	mock_frame_fill(frame, 1500, 7, 2, 1); /* somebody else's */
	ck_assert_int_eq(put(100), 0);
	check_skipped(1);
	mock_frame_fill(frame, 1600, 1, 2, 1);
	ck_assert_int_eq(put(13), 0);
	check_skipped(2);
	ck_assert_int_eq(put(1519), 0); /* without RCTL.LPE */
	check_skipped(3);
	ck_assert_uint_eq(me_get(&m, STAT_ROC), 1);
	ck_assert_uint_eq(atomic_load(&m.port->stats.rx_dropped), 1);
	/* Filters may change while mapped. */
	me_set(&m, REG_RCTL, RCTL_EN | RCTL_UPE | RCTL_LPE);
	mock_frame_fill(frame, 1600, 7, 2, 1);
	ck_assert_int_eq(put(1600), 0);
	ck_assert_int_eq(me_slot_read(&m, out), 1604);
	ck_assert_mem_eq(out, frame, 1600);
	ck_assert_uint_eq(atomic_load(&m.port->stats.rx_frames), 1);
	me_slot_give(&m, 1);
	ck_assert_uint_eq(given(), RING);
}
END_TEST

START_TEST(tags_are_not_cut)
{
	me_set(&m, REG_CTRL, CTRL_SLU | CTRL_VME);
	frame[12] = 0x81;
	frame[13] = 0;
	ck_assert_int_eq(put(100), -EMSGSIZE);
	ck_assert_uint_eq(me_get(&m, REG_RDH), 0);
	/* One that is not wanted needs no cutting; nor where the driver does not want it. */
	frame[5] = 7;
	ck_assert_int_eq(put(100), 0);
	check_skipped(0);
	frame[5] = 1;
	me_set(&m, REG_CTRL, CTRL_SLU);
	ck_assert_int_eq(put(100), 0);
	ck_assert_int_eq(me_slot_read(&m, out), 104);
	ck_assert_mem_eq(out, frame, 100);
}
END_TEST

/* -- Receive: waiting -- */

static unsigned readies(void)
{
	unsigned n;

	mock_e1000_run(&m);
	n = rx_readies;
	rx_readies = 0;
	return n;
}

START_TEST(doorbell_when_watched)
{
	readies();
	for (unsigned i = 0; i < RING - 1; i++)
		ck_assert_int_eq(put(100), 0);
	me_slot_give(&m, 1);
	ck_assert_uint_eq(readies(), 0); /* nobody asked */
	ck_assert_uint_eq(given(), 2);
	ck_assert(!watch(1));
	ck_assert_uint_eq(readies(), 0);
	me_slot_give(&m, 1);
	ck_assert_uint_eq(readies(), 1);
	/* Given since the caller was told, though before it asked. */
	ck_assert(!watch(2));
	ck_assert(watch(1));
	ck_assert(!watch(1)); /* told */
	ck_assert_uint_eq(given(), 3);
	/* Not before there are so many, and once. */
	ck_assert(!watch(2));
	me_slot_give(&m, 1);
	ck_assert_uint_eq(readies(), 0);
	me_slot_give(&m, 1);
	ck_assert_uint_eq(readies(), 1);
	me_slot_give(&m, 1);
	ck_assert_uint_eq(readies(), 0);
	/* More than can be given: when all are. */
	ck_assert_uint_eq(given(), 6);
	ck_assert(!watch(_i ? 100 : UINT32_MAX));
	me_slot_give(&m, 1);
	ck_assert_uint_eq(readies(), 0);
	me_slot_give(&m, 1);
	ck_assert_uint_eq(readies(), 1);
	/* All are given: 1 more can only be a lie. */
	ck_assert_uint_eq(given(), RING);
	ck_assert(!watch(0));
	me_slot_give(&m, 1);
	ck_assert_uint_eq(readies(), 1);
}
END_TEST

/* Somebody waits for the ring to be given whole, so as to map it. */
START_TEST(doorbell_before_entering)
{
	const char *why;

	for (unsigned i = 0; i < 4; i++)
		ck_assert_int_eq(mock_deliver(m.port, &plain, frame, 100), 0);
	ck_assert_int_eq(look(&why), 0);
	ck_assert_uint_eq(list.nr, 4);
	readies();
	ck_assert(!watch(4));
	me_slot_give(&m, 3);
	ck_assert_uint_eq(readies(), 0);
	me_slot_give(&m, 1);
	ck_assert_uint_eq(readies(), 1);
	ck_assert_int_eq(look(&why), 0);
	ck_assert_uint_eq(list.nr, RING);
	ck_assert_int_eq(enter(), 0);
}
END_TEST

START_TEST(doorbell_when_there_is_none)
{
	for (unsigned i = 0; i < RING - 1; i++)
		ck_assert_int_eq(put(100), 0);
	readies();
	ck_assert_int_eq(put(100), -ENOBUFS);
	ck_assert_int_eq(put(100), -ENOBUFS);
	me_slot_give(&m, 1);
	ck_assert_uint_eq(readies(), 1);
	ck_assert_int_eq(put(100), 0);
	ck_assert_int_eq(put(100), -ENOBUFS);
	ck_assert_uint_eq(me_get(&m, REG_ICR) & ICR_RXO, 0); /* nothing was lost */
}
END_TEST

START_TEST(others_are_refused)
{
	struct iovec iov[4];
	unsigned n = 4;

	readies();
	ck_assert(m.port->ops->rx_begin(m.port));
	ck_assert_int_eq(m.port->ops->rx_reserve(m.port, 100, iov, &n), 0);
	ck_assert_uint_eq(n, 0);
	ck_assert_uint_eq(refused, 1);
	m.port->ops->rx_commit(m.port, &plain, 100); /* against the contract */
	m.port->ops->rx_end(m.port);
	ck_assert_uint_eq(me_get(&m, REG_RDH), 0);
	ck_assert_int_eq(put(100), 0);
	/* Who waits is told as soon as it makes sense. */
	ck_assert_uint_eq(readies(), 0);
	leave();
	leave();
	ck_assert_uint_eq(readies(), 1);
	ck_assert_int_eq(put(100), -ESTALE);
	ck_assert_int_eq(mock_deliver(m.port, &plain, frame, 100), 0);
	ck_assert_uint_eq(refused, 1);
	ck_assert_int_eq(me_slot_read(&m, out), 104);
	ck_assert_int_eq(me_slot_read(&m, out), 104);
	ck_assert_mem_eq(out, frame, 100);
	/* A carrier without the operation. */
	nr_put = 0;
	look_and_enter();
	car.ops = &(const struct carrier_ops){ .stop = k_nothing, .rx_ready = k_rx_ready };
	ck_assert_int_eq(mock_deliver(m.port, &plain, frame, 100), -ENOBUFS);
	car.ops = &k_ops;
}
END_TEST

/* -- Receive: drivers that break the contract -- */

START_TEST(slot_that_moved)
{
	static const uint64_t bad[] = {
		RX_SLOTS + STRIDE, RX_SLOTS + 1, 0, ME_MEM, ME_MEM - 1, ~0ull, 1ull << 63,
	};

	for (unsigned i = 0; i < ARRAY_SIZE(bad); i++) {
		rx_address(0, bad[i]);
		ck_assert_int_eq(put(100), -ESTALE);
		ck_assert_uint_eq(me_get(&m, REG_RDH), 0);
		ck_assert_uint_eq(me_rx_second(&m, 0), 0);
	}
	/* Only what is next counts. */
	rx_address(0, RX_SLOTS);
	rx_address(1, RX_SLOTS);
	ck_assert_int_eq(put(100), 0);
	ck_assert_int_eq(put(100), -ESTALE);
	ck_assert_uint_eq(me_get(&m, REG_ICR), ICR_RXT0);
}
END_TEST

/* Fewer slots than descriptors: they come round in the ring. */
START_TEST(slots_in_a_longer_ring)
{
	me_slots_start(&m, 16, 0, TX_SLOTS, RX_SLOTS, STRIDE);
	for (unsigned i = 0; i < 16; i++)
		rx_address(i, RX_SLOTS + i % 4 * STRIDE);
	me_set(&m, REG_RDT, 3);
	m.rx_tail = 3;
	look_and_enter();
	nr_put = 0;
	for (unsigned i = 0; i < 40; i++) {
		ck_assert_int_eq(put(100), 0);
		me_slot_give(&m, 1);
		ck_assert_uint_eq(given(), 4);
	}
	/* More than there are. */
	me_slot_give(&m, 8);
	ck_assert_uint_eq(given(), 4);
}
END_TEST

START_TEST(tail_that_lies)
{
	for (unsigned i = 0; i < 5; i++)
		ck_assert_int_eq(put(100), 0);
	ck_assert_uint_eq(given(), 3);
	me_set(&m, REG_RDT, 6); /* takes one back */
	ck_assert_uint_eq(given(), 2);
	me_set(&m, REG_RDT, 5); /* all of them */
	ck_assert_uint_eq(given(), 1);
	ck_assert_int_eq(put(100), -ENOBUFS);
	me_set(&m, REG_RDT, 4); /* as if everything had been read */
	ck_assert_uint_eq(given(), RING);
	for (unsigned i = 0; i < 100; i++) {
		me_set(&m, REG_RDT, i * 5 % RING);
		ck_assert_uint_ge(given(), 1);
		ck_assert_uint_le(given(), RING);
		put(100);
		watch(i % 10);
	}
}
END_TEST

START_TEST(tail_beyond_the_ring)
{
	ck_assert(!watch(1));
	me_set(&m, REG_RDT, _i ? RING : 0xffff);
	ck_assert(watch(1)); /* look again: */
	if (_i)
		ck_assert_int_eq(announce(100), -EPROTO);
	else
		ck_assert_uint_eq(given(), 0);
	ck_assert_int_eq(announce(100), -ENOTCONN);
	ck_assert_int_eq(m.port->ops->rx_slot_put(m.port, &plain, 100), -EPROTO);
	ck_assert_uint_eq(m.port->ops->rx_slots_given(m.port), 0);
	ck_assert(!m.port->ops->rx_slots_watch(m.port, 1));
	ck_assert_uint_eq(atomic_load(&e1000_stats(m.e)->guest_faults), 1);
	ck_assert_uint_eq(refused, 1);
	/* Mended, it is an ordinary ring. */
	me_set(&m, REG_RDT, 7);
	me_set(&m, REG_RCTL, RCTL_EN);
	ck_assert_int_eq(announce(100), -ESTALE);
	ck_assert_int_eq(mock_deliver(m.port, &plain, frame, 100), 0);
}
END_TEST

static const struct {
	unsigned reg;
	uint32_t value;
} other_slots[] = {
	{ REG_RDH, 1 },
	{ REG_RDH, 0xffff },
	{ REG_RDBAL, 0 },
	{ REG_RDBAL, ME_RX_RING }, /* even the same */
	{ REG_RDBAH, 1 },
	{ REG_RDLEN, 0 },
	{ REG_RDLEN, 256 },
	{ REG_RCTL, RCTL_EN | 1u << RCTL_BSIZE_SHIFT },
	{ REG_RCTL, RCTL_EN | RCTL_SECRC },
};

START_TEST(ring_rewritten_leaves)
{
	ck_assert_int_eq(put(100), 0);
	me_set(&m, other_slots[_i].reg, other_slots[_i].value);
	/* Who has mapped it is told once, without having to ask. */
	ck_assert_uint_eq(refused, 1);
	ck_assert_uint_eq(given(), 0);
	ck_assert(!watch(1));
	ck_assert_int_eq(announce(100), -ESTALE);
	ck_assert_int_eq(announce(0), -ESTALE);
	leave();
	/* Whatever it is now, it is no ring of slots. */
	mock_deliver(m.port, &plain, frame, 100);
	ck_assert_uint_eq(refused, 1);
}
END_TEST

START_TEST(reset_leaves)
{
	ck_assert_int_eq(put(100), 0);
	if (_i) {
		me_set(&m, REG_CTRL, CTRL_RST);
		ck_assert_int_eq(announce(100), -ENOTCONN);
		me_slots_start(&m, RING, 0, TX_SLOTS, RX_SLOTS, STRIDE);
	} else {
		me_set(&m, REG_RCTL, 0);
		ck_assert_uint_eq(refused, 1); /* the transmit side goes on */
		ck_assert_int_eq(announce(100), -ENOTCONN);
		me_set(&m, REG_RCTL, RCTL_EN);
	}
	ck_assert_int_eq(announce(100), -ESTALE);
	ck_assert_int_eq(mock_deliver(m.port, &plain, frame, 100), 0);
}
END_TEST

static bool touches(gpa_t gpa, size_t len)
{
	return m.port->ops->touches_rings(m.port, host(gpa), len);
}

START_TEST(rings_that_are_touched)
{
	static const gpa_t ring[] = { ME_TX_RING, ME_RX_RING };

	for (unsigned i = 0; i < 2; i++) {
		gpa_t at = ring[i], end = at + RING * E1000_DESC_BYTES;

		ck_assert(touches(at, 1));
		ck_assert(touches(at - 1, 2));
		ck_assert(touches(end - 1, 1));
		ck_assert(touches(at - 4096, 8192));
		ck_assert(!touches(at - 1, 1));
		ck_assert(!touches(end, 4096));
		ck_assert(!touches(at, 0));
	}
	ck_assert(touches(0, ME_MEM));
	/* Rings that are nowhere. */
	me_set(&m, REG_TDBAL, (uint32_t)ME_MEM);
	me_set(&m, REG_RDLEN, 0);
	ck_assert(!touches(0, ME_MEM));
}
END_TEST

/* -- Both ends -- */

/*
 * From A's transmit slots to B's receive slots. That they are the same pages is for the remapper;
 * here a copy into the receive slot stands for it, made before anything is announced.
 */
struct lane {
	struct carrier from, to; /* of A, of B */
	struct mock_e1000 *a, *b;
	struct slot_list slots;
	unsigned next, kept;
	bool waiting;
};

static struct mock_e1000 b;
static struct lane lane;

static int lane_send(struct carrier *c, const struct frame *f)
{
	struct port *to = lane.b->port;
	int rc;

	ck_assert_ptr_nonnull(f->slot);
	if (!to->ops->rx_begin(to))
		return 0;
	if (to->ops->rx_slots_given(to) > 1)
		memcpy(lane.slots.slot[lane.next].at, f->slot, f->len);
	rc = to->ops->rx_slot_put(to, &f->hdr, f->len);
	to->ops->rx_end(to);
	if (rc == -ENOBUFS)
		return -EAGAIN;
	ck_assert_int_eq(rc, 0);
	lane.next = (lane.next + 1) % lane.slots.nr;
	lane.kept++;
	return CARRIER_KEPT;
}

static void lane_send_end(struct carrier *c)
{
	struct port *to = lane.b->port;
	unsigned unread;

	if (!to->ops->rx_begin(to))
		return;
	do {
		unread = lane.slots.nr - to->ops->rx_slots_given(to);
		if (lane.kept > unread)
			c->port->ops->tx_done(c->port, lane.kept - unread);
		lane.kept = unread;
	} while (unread && to->ops->rx_slots_watch(to, 1));
	to->ops->rx_end(to);
}

static void lane_rx_ready(struct carrier *c)
{
	if (c == &lane.to)
		lane.a->port->ops->tx_resume(lane.a->port);
}

static const struct carrier_ops lane_ops = {
	.send = lane_send,
	.send_end = lane_send_end,
	.rx_ready = lane_rx_ready,
	.start = k_start,
	.stop = k_nothing,
	.set_rx_features = k_set_rx_features,
	.link_up = k_link_up,
};

static void lane_setup(void)
{
	const char *why;

	mock_e1000_init(&m, "a.eth0", 2);
	mock_e1000_init(&b, "b.eth0", 1);
	memset(&lane, 0, sizeof(lane));
	lane.from.ops = &lane_ops;
	lane.to.ops = &lane_ops;
	lane.a = &m;
	lane.b = &b;
	e1000_set_carrier(m.e, &lane.from);
	e1000_set_carrier(b.e, &lane.to);
	me_slots_start(&m, RING, 0, TX_SLOTS, RX_SLOTS, STRIDE);
	me_slots_start(&b, RING, 0, TX_SLOTS + 4096, RX_SLOTS - 4096, STRIDE);
	ck_assert(b.port->ops->rx_begin(b.port));
	ck_assert_int_eq(b.port->ops->rx_slots_look(b.port, &lane.slots, &why), 0);
	ck_assert_int_eq(b.port->ops->rx_slots_enter(b.port, &lane.slots), 0);
	b.port->ops->rx_end(b.port);
	mock_e1000_run(&m);
	mock_e1000_run(&b);
	me_get(&m, REG_ICR);
	me_get(&b, REG_ICR);
	mock_frame_fill(frame, 1500, 1, 2, 1);
}

static void lane_teardown(void)
{
	mock_e1000_fini(&m);
	mock_e1000_fini(&b);
}

START_TEST(handshake_step_by_step)
{
	for (unsigned i = 0; i < 3 * RING; i++) {
		unsigned now = i % RING, next = (i + 1) % RING;

		/* A fills its slot and moves TDT. */
		mock_frame_fill(frame, 500, 1, 2, i);
		ck_assert(me_slot_send(&m, frame, 500));
		me_set(&m, REG_TDT, m.tx_tail);
		ck_assert_uint_eq(me_get(&m, REG_TDT), next);
		ck_assert_uint_eq(me_get(&b, REG_RDH), now);
		/* B's RDH moves, its status says that there is a frame, it is interrupted. */
		mock_e1000_run(&m);
		ck_assert_uint_eq(me_get(&b, REG_RDH), next);
		ck_assert(me_rx_second(&b, now) >> 32 & RXD_STAT_DD);
		ck_assert_uint_eq(me_get(&b, REG_ICR), ICR_RXT0);
		/* A's slot is still A's business, and not done. */
		ck_assert_uint_eq(me_get(&m, REG_TDH), now);
		ck_assert_uint_eq(me_tx_status(&m, now), 0);
		ck_assert_uint_eq(me_get(&m, REG_ICR), 0);
		/* B reads in place, which nobody can see. */
		ck_assert_int_eq(me_slot_read(&b, out), 504);
		ck_assert_mem_eq(out, frame, 500);
		mock_e1000_run(&b);
		mock_e1000_run(&m);
		ck_assert_uint_eq(me_get(&m, REG_TDH), now);
		/* B gives the slot back: A's TDH moves, its status says done, it is interrupted. */
		me_slot_give(&b, 1);
		mock_e1000_run(&b);
		mock_e1000_run(&m);
		ck_assert_uint_eq(me_get(&m, REG_TDH), next);
		ck_assert_uint_eq(me_tx_status(&m, now), TXD_STAT_DD);
		ck_assert_uint_eq(me_get(&m, REG_ICR), ICR_TXDW | ICR_TXQE);
	}
}
END_TEST

/* Both fill their rings but for one, and go on when the other has read. */
START_TEST(full_rings)
{
	for (unsigned i = 0; i < RING - 1; i++)
		ck_assert(me_slot_send(&m, frame, 100));
	ck_assert(!me_slot_send(&m, frame, 100));
	me_tx_kick(&m);
	ck_assert_uint_eq(lane.kept, RING - 1);
	ck_assert_uint_eq(me_get(&b, REG_RDH), RING - 1);
	ck_assert_uint_eq(me_get(&m, REG_TDH), 0);
	for (unsigned i = 0; i < 3; i++)
		ck_assert_int_gt(me_slot_read(&b, out), 0);
	me_slot_give(&b, 3);
	mock_e1000_run(&b);
	mock_e1000_run(&m);
	ck_assert_uint_eq(me_get(&m, REG_TDH), 3);
	for (unsigned i = 0; i < 3; i++)
		ck_assert(me_slot_send(&m, frame, 100));
	ck_assert(!me_slot_send(&m, frame, 100));
	me_tx_kick(&m);
	ck_assert_uint_eq(me_get(&b, REG_RDH), 2);
}
END_TEST

#define RACE_FRAMES 2000

static void *race_sender(void *arg)
{
	uint8_t f[STRIDE];
	unsigned sent = 0;

	while (sent < RACE_FRAMES) {
		unsigned n = 0;

		for (; n < 4 && sent < RACE_FRAMES; n++, sent++) {
			mock_frame_fill(f, 60 + sent % 1000, 1, 2, sent);
			/* DD of the slot, not TDH: it is what says that the content was read. */
			if (sent >= RING && !me_tx_status(&m, m.tx_tail))
				break;
			if (!me_slot_send(&m, f, 60 + sent % 1000))
				break;
		}
		if (n)
			me_set(&m, REG_TDT, m.tx_tail);
		else
			sched_yield();
	}
	return NULL;
}

static _Atomic unsigned race_wrong;

static void *race_receiver(void *arg)
{
	static uint8_t got[STRIDE], want[STRIDE];
	unsigned n = 0;

	for (unsigned i = 0; i < RACE_FRAMES;) {
		int len = me_slot_read(&b, got);

		if (len >= 0) {
			mock_frame_fill(want, 60 + i % 1000, 1, 2, i);
			if (len != (int)(64 + i % 1000) || memcmp(got, want, (size_t)len - 4))
				atomic_fetch_add(&race_wrong, 1);
			i++;
			n++;
		}
		if (n && (len < 0 || n == 3)) {
			me_slot_give(&b, n);
			n = 0;
		} else if (len < 0) {
			sched_yield();
		}
	}
	if (n)
		me_slot_give(&b, n);
	return NULL;
}

START_TEST(race)
{
	pthread_t t[2];

	ck_assert_int_eq(loop_start(&m.loop), 0);
	ck_assert_int_eq(loop_start(&b.loop), 0);
	ck_assert_int_eq(pthread_create(&t[0], NULL, race_sender, NULL), 0);
	ck_assert_int_eq(pthread_create(&t[1], NULL, race_receiver, NULL), 0);
	pthread_join(t[0], NULL);
	pthread_join(t[1], NULL);
	while (me_get(&m, REG_TDH) != me_get(&m, REG_TDT))
		sched_yield();
	loop_stop(&m.loop);
	loop_stop(&b.loop);
	ck_assert_uint_eq(atomic_load(&race_wrong), 0);
	ck_assert_uint_eq(atomic_load(&b.port->stats.rx_frames), RACE_FRAMES);
	ck_assert_uint_eq(lane.kept, 0);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("e1000 slots");
	TCase *looking = tcase_create("looking");
	TCase *rx = tcase_create("rx");
	TCase *both = tcase_create("both");
	TCase *all[] = { looking, rx, both };
	SRunner *sr;
	int failed;

	log_set_level(LOG_ERROR);
	for (unsigned i = 0; i < ARRAY_SIZE(all); i++) {
		tcase_set_timeout(all[i], 60);
		suite_add_tcase(s, all[i]);
	}
	tcase_add_checked_fixture(looking, setup, teardown);
	tcase_add_checked_fixture(rx, slots_setup, teardown);
	tcase_add_checked_fixture(both, lane_setup, lane_teardown);
	tcase_add_test(looking, look_at_slots);
	tcase_add_test(looking, look_at_what_are_none);
	tcase_add_test(looking, longest_ring_of_slots);
	tcase_add_test(looking, enter_what_has_changed);
	tcase_add_test(looking, doorbell_before_entering);
	tcase_add_test(rx, slot_handshake);
	tcase_add_test(rx, slots_in_a_batch);
	tcase_add_test(rx, slots_round_and_round);
	tcase_add_test(rx, short_frames_and_crc);
	tcase_add_test(rx, longer_than_slots);
	tcase_add_test(rx, skipped_slots);
	tcase_add_test(rx, tags_are_not_cut);
	tcase_add_loop_test(rx, doorbell_when_watched, 0, 2);
	tcase_add_test(rx, doorbell_when_there_is_none);
	tcase_add_test(rx, others_are_refused);
	tcase_add_test(rx, slot_that_moved);
	tcase_add_test(rx, slots_in_a_longer_ring);
	tcase_add_test(rx, tail_that_lies);
	tcase_add_loop_test(rx, tail_beyond_the_ring, 0, 2);
	tcase_add_loop_test(rx, ring_rewritten_leaves, 0, ARRAY_SIZE(other_slots));
	tcase_add_loop_test(rx, reset_leaves, 0, 2);
	tcase_add_test(rx, rings_that_are_touched);
	tcase_add_test(both, handshake_step_by_step);
	tcase_add_test(both, full_rings);
	tcase_add_test(both, race);
	sr = srunner_create(s);
	srunner_run_all(sr, CK_NORMAL);
	failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
