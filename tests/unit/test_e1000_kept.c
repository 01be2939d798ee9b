/* e1000: which sent frames are slots, and frames that a carrier keeps: completed in order, by
 * drivers that do right and wrong. */
#include <check.h>
#include <errno.h>
#include <stdlib.h>

#include "tests/unit/mock_e1000.h"
#include "tests/unit/mock_net.h"

#define TX_SLOTS 0x200000
#define RX_SLOTS 0x400000
#define STRIDE	 2048
#define RING	 8
#define EOP_RS	 (TXD_CMD_EOP | TXD_CMD_RS)
#define DATA	 (TXD_DTYP_DATA << TXD_DTYP_SHIFT | TXD_CMD_DEXT)
#define CONTEXT	 TXD_CMD_DEXT

/* A carrier that keeps as many frames as it is told to, and says so in its send_end(). */
struct keeper {
	struct carrier carrier;
	unsigned keep;	    /* so many sends more are kept */
	unsigned then;	    /* then so many are done at once … */
	unsigned again;	    /* … and so many kept */
	unsigned eagain;    /* before all that: so many refused */
	unsigned done;	    /* for the next send_end() */
	unsigned stop_done; /* for stop() */
	unsigned sends, send_ends, stops;
	uint8_t *slot;
	uint32_t len;
};

static struct mock_e1000 m;
static struct keeper car;
static uint8_t frame[FRAME_MAX_BYTES];

static struct keeper *keeper(struct carrier *c)
{
	return container_of(c, struct keeper, carrier);
}

static int k_send(struct carrier *c, const struct frame *f)
{
	struct keeper *k = keeper(c);

	if (k->eagain) {
		k->eagain--;
		return -EAGAIN;
	}
	k->sends++;
	k->slot = f->slot;
	k->len = f->len;
	ck_assert_ptr_null(f->slot_hdr);
	if (!k->keep && k->then) {
		if (!--k->then) {
			k->keep = k->again;
			k->again = 0;
		}
		return 0;
	}
	if (!k->keep)
		return 0;
	k->keep--;
	return CARRIER_KEPT;
}

static void k_send_end(struct carrier *c)
{
	struct keeper *k = keeper(c);
	unsigned n = k->done;

	k->send_ends++;
	k->done = 0;
	if (n)
		c->port->ops->tx_done(c->port, n);
}

static void k_rx_ready(struct carrier *c)
{
}

static int k_start(struct carrier *c)
{
	return 0;
}

static void k_stop(struct carrier *c)
{
	keeper(c)->stops++;
	if (keeper(c)->stop_done)
		c->port->ops->tx_done(c->port, keeper(c)->stop_done);
	keeper(c)->stop_done = 0;
}

static void k_set_rx_features(struct carrier *c, uint64_t features)
{
}

static bool k_link_up(struct carrier *c)
{
	return true;
}

static const struct carrier_ops k_ops = {
	.send = k_send,
	.send_end = k_send_end,
	.rx_ready = k_rx_ready,
	.start = k_start,
	.stop = k_stop,
	.set_rx_features = k_set_rx_features,
	.link_up = k_link_up,
};

static void setup(void)
{
	mock_e1000_init(&m, "a.eth0", 1);
	memset(&car, 0, sizeof(car));
	car.carrier.ops = &k_ops;
	e1000_set_carrier(m.e, &car.carrier);
	me_slots_start(&m, RING, RCTL_BAM, TX_SLOTS, RX_SLOTS, STRIDE);
	mock_e1000_run(&m);
	me_get(&m, REG_ICR);
	car.send_ends = 0;
	mock_frame_fill(frame, 1500, 1, 2, 1);
}

static void teardown(void)
{
	mock_e1000_fini(&m);
}

/* -- Which frames are slots -- */

static void *host(gpa_t gpa)
{
	return gmem_ptr(&m.mp.mem, gpa, 1);
}

static void send_desc(uint64_t second)
{
	me_tx_desc(&m, TX_SLOTS, second);
	me_tx_kick(&m);
}

START_TEST(slots_of_plain_frames)
{
	ck_assert_uint_eq(m.port->tx_left_out, 1);
	gmem_write(&m.mp.mem, TX_SLOTS, frame, 1500);
	gmem_write(&m.mp.mem, TX_SLOTS + STRIDE, frame, 1500);
	me_tx_desc(&m, TX_SLOTS + STRIDE, 1500 | EOP_RS);
	me_tx_kick(&m);
	ck_assert_ptr_eq(car.slot, host(TX_SLOTS + STRIDE));
	ck_assert_uint_eq(car.len, 1500);
	send_desc(100 | DATA | EOP_RS);
	ck_assert_ptr_eq(car.slot, host(TX_SLOTS));
	/* A tag that nobody asked to be inserted. */
	send_desc(100 | EOP_RS | TXD_CMD_VLE);
	ck_assert_ptr_eq(car.slot, host(TX_SLOTS));
	ck_assert_uint_eq(car.sends, 3);
}
END_TEST

START_TEST(no_slots_of_others)
{
	uint64_t popts = (uint64_t)(TXD_POPTS_TXSM) << 40;

	gmem_write(&m.mp.mem, TX_SLOTS, frame, 1500);
	/* In two descriptors, one of them even null. */
	me_tx_desc(&m, TX_SLOTS, 50 | TXD_CMD_RS);
	send_desc(50 | EOP_RS);
	ck_assert_ptr_null(car.slot);
	car.slot = frame;
	me_tx_desc(&m, 0, TXD_CMD_RS);
	send_desc(50 | EOP_RS);
	ck_assert_ptr_null(car.slot);
	/* Checksums. */
	car.slot = frame;
	send_desc(100 | EOP_RS | TXD_CMD_IC | 50 << 16 | 34ull << 40);
	ck_assert_ptr_null(car.slot);
	car.slot = frame;
	me_tx_desc(&m, 34ull << 32 | 50ull << 40, CONTEXT);
	send_desc(100 | DATA | EOP_RS | popts);
	ck_assert_ptr_null(car.slot);
	/* A tag. */
	me_set(&m, REG_CTRL, CTRL_SLU | CTRL_VME);
	car.slot = frame;
	send_desc(100 | EOP_RS | TXD_CMD_VLE);
	ck_assert_ptr_null(car.slot);
	ck_assert_uint_eq(car.sends, 5);
}
END_TEST

/* -- Kept frames -- */

static void send_slots(unsigned n)
{
	while (n--)
		ck_assert(me_slot_send(&m, frame, 100));
	me_tx_kick(&m);
}

static void check_tx(uint32_t tdh, uint32_t causes)
{
	ck_assert_uint_eq(me_get(&m, REG_TDH), tdh);
	ck_assert_uint_eq(me_get(&m, REG_ICR) & (ICR_TXDW | ICR_TXQE), causes);
}

static void done(unsigned n)
{
	car.done = n;
	m.port->ops->tx_resume(m.port);
	mock_e1000_run(&m);
}

START_TEST(kept_frames_wait)
{
	car.keep = 3;
	send_slots(3);
	ck_assert_uint_eq(car.sends, 3);
	ck_assert_uint_eq(car.send_ends, 1);
	ck_assert_uint_eq(me_get(&m, REG_TDT), 3);
	check_tx(0, 0);
	for (unsigned i = 0; i < 3; i++)
		ck_assert_uint_eq(me_tx_status(&m, i), 0);
	ck_assert_uint_eq(atomic_load(&m.port->stats.tx_frames), 3);
	done(2);
	ck_assert_uint_eq(car.send_ends, 2);
	check_tx(2, ICR_TXDW);
	ck_assert_uint_eq(me_tx_status(&m, 0), TXD_STAT_DD);
	ck_assert_uint_eq(me_tx_status(&m, 1), TXD_STAT_DD);
	ck_assert_uint_eq(me_tx_status(&m, 2), 0);
	done(1);
	check_tx(3, ICR_TXDW | ICR_TXQE);
	ck_assert_uint_eq(me_tx_status(&m, 2), TXD_STAT_DD);
	/* One interrupt for a batch. */
	me_set(&m, REG_IMS, ICR_TXDW);
	car.keep = 4;
	send_slots(4);
	ck_assert_uint_eq(m.mp.line_rises[ME_GSI], 0);
	done(4);
	ck_assert_uint_eq(m.mp.line_rises[ME_GSI], 1);
	check_tx(7, ICR_TXDW | ICR_TXQE);
}
END_TEST

/* What was done at once waits for what was kept before it. */
START_TEST(completed_in_order)
{
	car.keep = 2;
	car.then = 2;
	car.again = 1;
	send_slots(7); /* kept, kept, done, done, kept, done, done */
	ck_assert_uint_eq(car.sends, 7);
	check_tx(0, 0);
	done(1);
	check_tx(1, ICR_TXDW);
	done(1);
	check_tx(4, ICR_TXDW);
	ck_assert_uint_eq(me_tx_status(&m, 3), TXD_STAT_DD);
	ck_assert_uint_eq(me_tx_status(&m, 4), 0);
	done(0);
	check_tx(4, 0);
	done(1);
	check_tx(7, ICR_TXDW | ICR_TXQE);
}
END_TEST

/* In one batch: what was kept before is done, and further frames are sent. */
START_TEST(done_while_sending)
{
	car.keep = 2;
	send_slots(2);
	car.done = 1;
	send_slots(1); /* done at once, behind one that is kept */
	check_tx(1, ICR_TXDW);
	car.done = 1;
	car.keep = 1;
	send_slots(1);
	check_tx(3, ICR_TXDW);
	ck_assert_uint_eq(me_tx_status(&m, 3), 0);
}
END_TEST

START_TEST(all_but_one_kept_round_and_round)
{
	unsigned sent = 0, finished = 0, seed = 7;

	car.keep = UINT32_MAX;
	while (finished < 1000) {
		unsigned n = 0;

		while (me_slot_send(&m, frame, 100)) {
			sent++;
			n++;
		}
		ck_assert_uint_eq(sent - finished, RING - 1);
		me_tx_kick(&m);
		ck_assert_uint_eq(car.sends, sent);
		ck_assert_uint_eq(me_get(&m, REG_TDH), finished % RING);
		me_get(&m, REG_ICR);
		seed = seed * 1664525 + 1013904223;
		n = 1 + (seed >> 16) % (RING - 1);
		done(n);
		finished += n;
		check_tx(finished % RING, ICR_TXDW | (finished == sent ? ICR_TXQE : 0));
	}
	ck_assert_uint_eq(atomic_load(&m.port->stats.tx_invalid), 0);
}
END_TEST

/* The longest ring that a driver can set up. */
START_TEST(long_ring)
{
	uint32_t nr = RING_LEN_MASK / E1000_DESC_BYTES;

	me_set(&m, REG_TDBAL, 0x600000);
	me_set(&m, REG_TDLEN, RING_LEN_MASK);
	for (uint32_t i = 0; i < nr; i++) {
		uint64_t d[2] = { TX_SLOTS, 60 | EOP_RS };

		gmem_write(&m.mp.mem, 0x600000 + (gpa_t)i * sizeof(d), d, sizeof(d));
	}
	gmem_write(&m.mp.mem, TX_SLOTS, frame, 60);
	me_set(&m, REG_TDH, 100);
	car.keep = UINT32_MAX;
	me_set(&m, REG_TDT, 99);
	while (car.sends < nr - 1)
		mock_e1000_run(&m);
	check_tx(100, 0);
	done(nr - 2);
	check_tx(98, ICR_TXDW);
	done(1);
	check_tx(99, ICR_TXDW | ICR_TXQE);
}
END_TEST

START_TEST(kept_without_report)
{
	gmem_write(&m.mp.mem, TX_SLOTS, frame, 100);
	car.keep = 2;
	me_tx_desc(&m, TX_SLOTS, 100 | TXD_CMD_EOP);
	me_tx_desc(&m, TX_SLOTS, 100 | TXD_CMD_EOP);
	me_tx_kick(&m);
	done(2);
	check_tx(2, ICR_TXQE);
	ck_assert_uint_eq(me_tx_status(&m, 0), 0);
}
END_TEST

START_TEST(kept_in_pieces)
{
	gmem_write(&m.mp.mem, TX_SLOTS, frame, 100);
	car.keep = 2;
	me_tx_desc(&m, 0, CONTEXT | TXD_CMD_RS); /* done at once */
	me_tx_desc(&m, TX_SLOTS, 50);
	me_tx_desc(&m, TX_SLOTS, 50 | EOP_RS);
	me_tx_desc(&m, 0, CONTEXT | TXD_CMD_RS); /* behind a kept one */
	me_tx_desc(&m, TX_SLOTS, 100 | EOP_RS);
	me_tx_desc(&m, TX_SLOTS, 50); /* a frame in progress */
	me_tx_kick(&m);
	ck_assert_uint_eq(car.sends, 2);
	check_tx(1, ICR_TXDW);
	ck_assert_uint_eq(me_tx_status(&m, 3), 0);
	done(1);
	check_tx(4, ICR_TXDW);
	ck_assert_uint_eq(me_tx_status(&m, 3), TXD_STAT_DD);
	done(1);
	check_tx(5, ICR_TXDW);
	send_desc(50 | EOP_RS);
	check_tx(7, ICR_TXDW | ICR_TXQE);
}
END_TEST

START_TEST(held_back_behind_kept)
{
	car.keep = 1;
	send_slots(1);
	car.eagain = 2;
	send_slots(2);
	ck_assert_uint_eq(car.sends, 1);
	done(1); /* refused once more, but that one is done */
	ck_assert_uint_eq(car.sends, 1);
	check_tx(1, ICR_TXDW);
	done(0);
	ck_assert_uint_eq(car.sends, 3);
	check_tx(3, ICR_TXDW | ICR_TXQE);
}
END_TEST

START_TEST(resume_ends_in_any_case)
{
	unsigned ends = car.send_ends;

	done(0); /* nothing to send, not held back */
	ck_assert_uint_eq(car.send_ends, ++ends);
	car.keep = 1;
	send_slots(1);
	ends++;
	/* The transmitter is off; its last frame is still in flight. */
	me_set(&m, REG_TCTL, 0);
	ck_assert_uint_eq(car.send_ends, ends);
	check_tx(0, 0);
	done(1);
	ck_assert_uint_eq(car.send_ends, ++ends);
	check_tx(1, ICR_TXDW | ICR_TXQE);
	/* On again: nothing is sent twice. */
	me_set(&m, REG_TCTL, TCTL_EN);
	ck_assert_uint_eq(car.sends, 1);
	/* A ring out of order. */
	me_set(&m, REG_TDT, RING);
	mock_e1000_run(&m);
	ends = car.send_ends;
	done(0);
	ck_assert_uint_eq(car.send_ends, ends + 1);
	/* A carrier that is stopped is left alone. */
	me_set(&m, REG_TCTL, 0);
	me_set(&m, REG_RCTL, 0);
	ck_assert_uint_eq(car.stops, 1);
	ends = car.send_ends;
	done(0);
	ck_assert_uint_eq(car.send_ends, ends);
}
END_TEST

/* What the carrier does not hold any more is done. */
START_TEST(stopped_carrier_keeps_nothing)
{
	car.keep = 3;
	send_slots(4);
	me_set(&m, REG_TCTL, 0);
	car.stop_done = 1;
	me_set(&m, REG_RCTL, 0);
	check_tx(4, ICR_TXDW | ICR_TXQE);
	car.stop_done = 0;
	me_set(&m, REG_TCTL, TCTL_EN);
	ck_assert_uint_eq(car.sends, 4);
}
END_TEST

START_TEST(reset_forgets)
{
	for (unsigned i = 0; i < 3; i++) {
		car.keep = 3;
		send_slots(4);
		car.stop_done = i; /* the carrier may say what it likes */
		me_set(&m, REG_CTRL, CTRL_RST);
		check_tx(0, 0);
		for (unsigned j = 0; j < 4; j++)
			ck_assert_uint_eq(me_tx_status(&m, j), 0);
		done(3);
		check_tx(0, 0);
		me_slots_start(&m, RING, 0, TX_SLOTS, RX_SLOTS, STRIDE);
		done(3); /* much too late */
		car.keep = 2;
		send_slots(2);
		check_tx(0, 0);
		done(1);
		check_tx(1, ICR_TXDW);
		me_set(&m, REG_CTRL, CTRL_RST);
		me_slots_start(&m, RING, 0, TX_SLOTS, RX_SLOTS, STRIDE);
		mock_e1000_run(&m);
	}
}
END_TEST

static const struct {
	unsigned reg;
	uint32_t value;
} other_ring[] = {
	{ REG_TDH, 0 },
	{ REG_TDH, 5 },
	{ REG_TDH, 0xffff },
	{ REG_TDLEN, 16 * E1000_DESC_BYTES },
	{ REG_TDLEN, 0 },
	{ REG_TDBAL, 0 },
	{ REG_TDBAL, (uint32_t)ME_MEM },
	{ REG_TDBAH, 1 },
};

/* A ring register written while frames are kept; the carrier does not know. */
START_TEST(ring_rewritten_forgets)
{
	car.keep = 5;
	send_slots(6);
	done(2);
	check_tx(2, ICR_TXDW);
	me_set(&m, REG_TDT, other_ring[_i].reg == REG_TDH ? other_ring[_i].value : 2);
	me_set(&m, other_ring[_i].reg, other_ring[_i].value);
	mock_e1000_run(&m);
	done(1);
	for (unsigned i = 2; i < RING; i++)
		ck_assert_uint_eq(me_tx_status(&m, i), 0);
	/* A ring again: of 5 kept frames, 3 were done; two are still to come. */
	gmem_zero(&m.mp.mem, ME_TX_RING, 16 * E1000_DESC_BYTES);
	me_set(&m, REG_TDT, 0);
	me_set(&m, REG_TDBAL, ME_TX_RING);
	me_set(&m, REG_TDBAH, 0);
	me_set(&m, REG_TDLEN, RING * E1000_DESC_BYTES);
	me_set(&m, REG_TDH, 0);
	m.tx_tail = 0;
	mock_e1000_run(&m);
	me_get(&m, REG_ICR);
	car.sends = 0;
	car.keep = 3;
	send_slots(3);
	ck_assert_uint_eq(car.sends, 3);
	done(2);
	check_tx(0, 0);
	done(1);
	check_tx(1, ICR_TXDW);
	done(100);
	check_tx(3, ICR_TXDW | ICR_TXQE);
	done(100);
	check_tx(3, 0);
}
END_TEST

/* A tail that contradicts what was fetched: nothing more is sent; what is kept gets done. */
START_TEST(tail_moved_back)
{
	static const uint32_t tail[] = { 3, 2, 1, RING, 0xffff };

	for (unsigned i = 0; i < ARRAY_SIZE(tail); i++) {
		me_slots_start(&m, RING, 0, TX_SLOTS, RX_SLOTS, STRIDE);
		car.sends = 0;
		car.keep = UINT32_MAX;
		send_slots(2);
		done(1);
		check_tx(1, ICR_TXDW);
		send_slots(2); /* [1, 4) are kept */
		me_set(&m, REG_TDT, tail[i]);
		mock_e1000_run(&m);
		ck_assert_uint_eq(atomic_load(&m.port->stats.tx_invalid), i + 1);
		me_set(&m, REG_TDT, 7);
		mock_e1000_run(&m);
		ck_assert_uint_eq(car.sends, 4);
		done(3);
		check_tx(4, ICR_TXDW);
	}
}
END_TEST

/* Forwards over everything that is kept, again and again. */
START_TEST(tail_runs_round)
{
	for (unsigned i = 0; i < RING; i++)
		me_tx_desc(&m, TX_SLOTS, 60 | EOP_RS);
	gmem_write(&m.mp.mem, TX_SLOTS, frame, 60);
	car.keep = UINT32_MAX;
	for (unsigned i = 0; i < 100; i++) {
		me_set(&m, REG_TDT, i * 3 % RING);
		mock_e1000_run(&m);
		ck_assert_uint_lt(car.sends, RING);
	}
	done(100);
	ck_assert_uint_lt(me_get(&m, REG_TDH), RING);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("e1000 kept frames");
	TCase *tx = tcase_create("kept");
	SRunner *sr;
	int failed;

	log_set_level(LOG_ERROR);
	tcase_set_timeout(tx, 60);
	suite_add_tcase(s, tx);
	tcase_add_checked_fixture(tx, setup, teardown);
	tcase_add_test(tx, slots_of_plain_frames);
	tcase_add_test(tx, no_slots_of_others);
	tcase_add_test(tx, kept_frames_wait);
	tcase_add_test(tx, completed_in_order);
	tcase_add_test(tx, done_while_sending);
	tcase_add_test(tx, all_but_one_kept_round_and_round);
	tcase_add_test(tx, long_ring);
	tcase_add_test(tx, kept_without_report);
	tcase_add_test(tx, kept_in_pieces);
	tcase_add_test(tx, held_back_behind_kept);
	tcase_add_test(tx, resume_ends_in_any_case);
	tcase_add_test(tx, stopped_carrier_keeps_nothing);
	tcase_add_test(tx, reset_forgets);
	tcase_add_loop_test(tx, ring_rewritten_forgets, 0, ARRAY_SIZE(other_ring));
	tcase_add_test(tx, tail_moved_back);
	tcase_add_test(tx, tail_runs_round);
	sr = srunner_create(s);
	srunner_run_all(sr, CK_NORMAL);
	failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
