/*
 * Mapped lanes from and to an e1000: e1000 to virtio-net, virtio-net to e1000, e1000 to e1000. All
 * drivers keep the contract of slots (docs/mapped.md), or break it where a test says so. Loops are
 * at rest but for what a test runs; the remapper's thread is real.
 */
#include <check.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "tests/unit/mapped_kit.h"
#include "tests/unit/mock_e1000.h"
#include "tests/unit/mock_net.h"
#include "tests/unit/still_clock.h"

#define NICS	  3
#define NR	  64
#define STRIDE	  2048u
#define BYTES	  200
#define NET_TX	  MIB(8)
#define NET_RX	  MIB(16)
#define E1000_TX  0x200000
#define E1000_RX  0x400000
#define DATA_BASE 0x600000 /* of an e1000: a slot that is none */

enum { A, B, C };

struct end {
	bool e1000;
	struct mock_nic net;
	struct mock_e1000 card;
	struct port *port;
	struct mapped_memory memory;
	unsigned nr;
	unsigned tx_next, tx_done, open; /* slots; open: sent and not completed */
	uint32_t number, expected;
	unsigned got[NR]; /* slots taken and not given back, oldest first */
	unsigned nr_got, nr_skipped;
};

/* Who is what: A sends, B receives, C is somebody else. */
static const struct {
	bool a, b;
} models[] = { { true, false }, { false, true }, { true, true } };

static struct end end[NICS];
static struct netswitch *sw;
static struct remapper *remapper;
static struct mock_frame got;
static uint8_t frame[FRAME_MAX_BYTES];
static const struct virtio_net_hdr_v1 plain;
static unsigned deadline_us = 1000000;

static void run(struct end *e)
{
	if (e->e1000) {
		mock_e1000_run(&e->card);
		return;
	}
	mock_loop_run(&e->net.loop);
}

/* Lets all that was posted run: loops of NICs, the remapper. */
static void pump(void)
{
	for (unsigned turn = 0; turn < 3; turn++) {
		for (unsigned i = 0; i < NICS; i++)
			run(&end[i]);
		mapped_flush(remapper);
	}
}

/* -- NICs -- */

static void start(unsigned i, unsigned nr)
{
	struct end *e = &end[i];

	e->nr = nr;
	e->tx_next = 0;
	e->tx_done = 0;
	e->open = 0;
	e->nr_got = 0;
	if (e->e1000) {
		me_slots_start(&e->card, nr, RCTL_BAM, E1000_TX, E1000_RX, STRIDE);
		mock_e1000_run(&e->card);
		me_get(&e->card, REG_ICR);
		return;
	}
	ck_assert(mock_nic_start(&e->net, MOCK_NET_BASE, 256));
	mock_nic_slots_tx_init(&e->net, nr, STRIDE, NET_TX, 0);
	mock_nic_slots_rx_init(&e->net, nr, STRIDE, NET_RX, 0);
	mock_nic_slots_give_all(&e->net);
	mock_driver_kick(&e->net.drv, 0);
}

static void attach(unsigned i, bool e1000)
{
	static const char *const names[NICS] = { "a.eth0", "b.eth0", "c.eth0" };
	struct end *e = &end[i];
	struct carrier *c;

	e->e1000 = e1000;
	if (e1000)
		mock_e1000_init(&e->card, names[i], (uint8_t)(i + 1));
	else
		mock_nic_init(&e->net, names[i], (uint8_t)(i + 1));
	e->port = e1000 ? e->card.port : e->net.port;
	c = mapped_attach(sw, e->port, e1000 ? &e->card.mp.mem : &e->net.mp.mem, &e->memory);
	if (e1000)
		e1000_set_carrier(e->card.e, c);
	else
		virtio_net_set_carrier(e->net.net, c);
}

static void begin(unsigned model, unsigned nr)
{
	memset(end, 0, sizeof(end));
	mapped_net_create(&sw, &remapper, XTALK_STATIC, 1000000, deadline_us);
	attach(A, models[model].a);
	attach(B, models[model].b);
	attach(C, false);
	for (unsigned i = 0; i < NICS; i++)
		start(i, nr);
}

static void finish(void)
{
	for (unsigned i = 0; i < NICS; i++) {
		if (end[i].e1000)
			e1000_stop(end[i].card.e);
		else
			virtio_dev_stop(end[i].net.dev);
	}
	for (unsigned i = 0; i < NICS; i++) {
		struct end *e = &end[i];

		if (!e->e1000)
			loop_stop(&e->net.loop);
		ck_assert(!e->memory.held);
		ck_assert_uint_eq(e->memory.holds, e->memory.releases);
		netswitch_detach(sw, e->port);
		if (e->e1000)
			mock_e1000_fini(&e->card);
		else
			mock_nic_fini(&e->net);
	}
	netswitch_destroy(sw);
	remapper_destroy(remapper);
}

/* -- Drivers -- */

static void *tx_slot(unsigned i, unsigned slot)
{
	struct end *e = &end[i];

	if (e->e1000)
		return gmem_ptr(&e->card.mp.mem, me_tx_slot(&e->card, slot), STRIDE);
	return mock_nic_slot_at(&e->net, 1, slot);
}

static void *rx_slot(unsigned i, unsigned slot)
{
	struct end *e = &end[i];

	if (e->e1000)
		return gmem_ptr(&e->card.mp.mem, me_rx_slot(&e->card, slot), STRIDE);
	return mock_nic_slot_at(&e->net, 0, slot);
}

/* Slots that the driver can give at once. */
static unsigned most(unsigned i)
{
	return end[i].nr - end[i].port->tx_left_out;
}

static void fill(uint32_t len, unsigned dst, unsigned src, uint32_t number)
{
	mock_frame_fill(frame, len, (uint8_t)(dst + 1), (uint8_t)(src + 1), number);
	memcpy(frame + 20, &number, sizeof(number));
}

/* Writes `frame` to the next slot and its descriptor; no doorbell. */
static void write_slot(unsigned i, uint32_t len)
{
	struct end *e = &end[i];

	if (e->e1000)
		ck_assert(me_slot_send(&e->card, frame, len));
	else
		mock_nic_slot_send(&e->net, e->tx_next, &plain, frame, len);
	e->tx_next = (e->tx_next + 1) % e->nr;
	e->open++;
}

/* The tail moves. */
static void doorbell(unsigned i)
{
	struct end *e = &end[i];

	if (e->e1000)
		me_tx_kick(&e->card);
	else
		mock_driver_kick(&e->net.drv, 1);
}

static void send(unsigned src, unsigned dst, unsigned n)
{
	while (n--) {
		fill(BYTES, dst, src, end[src].number++);
		write_slot(src, BYTES);
	}
	doorbell(src);
}

/* One received slot into got, len 0: to be skipped. It is not given back. */
static bool read_slot(unsigned i, unsigned *slot)
{
	struct end *e = &end[i];
	int len;

	if (!e->e1000)
		return mock_nic_slot_rx(&e->net, slot, &got);
	*slot = e->card.rx_next;
	len = me_slot_read(&e->card, got.data);
	if (len < 0)
		return false;
	ck_assert(!len || len >= 64);
	got.len = len ? (size_t)len - 4 : 0; /* the check sequence */
	return true;
}

/* Takes what has come, in order, from `src`; gives back later. Returns how many frames. */
static unsigned take(unsigned i, unsigned src)
{
	struct end *e = &end[i];
	unsigned n = 0, slot;

	while (read_slot(i, &slot)) {
		ck_assert_uint_lt(e->nr_got, NR);
		e->got[e->nr_got++] = slot;
		if (!got.len) {
			e->nr_skipped++;
			continue;
		}
		memcpy(&e->expected, got.data + 20, sizeof(e->expected));
		fill((uint32_t)got.len, i, src, e->expected);
		ck_assert_mem_eq(got.data, frame, got.len);
		n++;
	}
	return n;
}

static void give(unsigned i, unsigned n)
{
	struct end *e = &end[i];

	ck_assert_uint_le(n, e->nr_got);
	if (!n)
		return;
	if (e->e1000) {
		me_slot_give(&e->card, n);
	} else {
		for (unsigned k = 0; k < n; k++)
			mock_nic_slot_give(&e->net, e->got[k]);
		mock_driver_kick(&e->net.drv, 0);
	}
	e->nr_got -= n;
	memmove(e->got, e->got + n, e->nr_got * sizeof(e->got[0]));
}

static void give_back(unsigned i)
{
	give(i, end[i].nr_got);
}

/* Takes completed slots; an e1000's must say so. Returns how many. */
static unsigned sent(unsigned i)
{
	struct end *e = &end[i];
	unsigned n = 0, slot;

	if (!e->e1000) {
		while (mock_nic_slot_sent(&e->net, &slot))
			n++;
	} else {
		for (uint32_t head = me_get(&e->card, REG_TDH); e->tx_done != head;
		     e->tx_done = (e->tx_done + 1) % e->nr, n++)
			ck_assert_uint_eq(me_tx_status(&e->card, e->tx_done), TXD_STAT_DD);
	}
	e->open -= n;
	return n;
}

static struct netswitch_port_state state(unsigned i)
{
	struct netswitch_port_state s;

	ck_assert_int_eq(netswitch_port_state(sw, end[i].port, &s), 0);
	return s;
}

/* As many frames as the sender's ring has slots. */
static void turn(unsigned src, unsigned dst)
{
	unsigned left = end[src].nr, received = 0;
	uint32_t before = end[src].number;

	for (unsigned tries = 0; tries < 5; tries++) {
		unsigned room = most(src) - end[src].open, some = room < left ? room : left;

		if (some)
			send(src, dst, some);
		left -= some;
		pump();
		received += take(dst, src);
		give_back(dst);
		pump();
		sent(src);
	}
	ck_assert_uint_eq(received, end[src].nr);
	ck_assert_uint_eq(end[dst].expected, before + end[src].nr - 1);
}

static void map(unsigned src, unsigned dst)
{
	pass(100 * MS); /* what failed before is no matter */
	for (unsigned n = 0; n < 20 && state(src).binding != BINDING_MAPPED; n++)
		turn(src, dst);
	ck_assert_msg(state(src).binding == BINDING_MAPPED, "not mapped: %s",
		      state(src).not_mapped);
	ck_assert_str_eq(state(src).mapped_to, end[dst].port->name);
	pump();
	sent(src);
}

/* The receive slot that is the same memory as transmit slot i: -1 if none. */
static int aliased(unsigned src, unsigned dst, unsigned i)
{
	uint8_t *a = tx_slot(src, i), old[8];
	static uint64_t magic = 0x1234567890abcdef;
	int found = -1;

	memcpy(old, a + 1000, 8);
	magic += 0x1111;
	memcpy(a + 1000, &magic, 8);
	for (unsigned k = 0; k < end[dst].nr; k++) {
		if (!memcmp((uint8_t *)rx_slot(dst, k) + 1000, &magic, 8)) {
			ck_assert_int_eq(found, -1);
			found = (int)k;
		}
	}
	memcpy(a + 1000, old, 8);
	return found;
}

static unsigned nr_aliases(unsigned src, unsigned dst)
{
	unsigned n = 0;

	for (unsigned i = 0; i < end[src].nr; i++)
		n += aliased(src, dst, i) >= 0;
	return n;
}

/* -- Entering -- */

START_TEST(enters_and_leaves)
{
	uint64_t before;

	begin((unsigned)_i, NR);
	turn(A, B);
	ck_assert_uint_eq(nr_aliases(A, B), 0);
	ck_assert_uint_eq(end[A].memory.holds, 0);
	map(A, B);
	ck_assert_uint_eq(end[A].memory.holds, 1);
	ck_assert_uint_eq(end[B].memory.holds, 1);
	ck_assert_uint_eq(end[C].memory.holds, 0);
	ck_assert_uint_eq(nr_aliases(A, B), NR);
	before = atomic_load(&end[A].port->stats.path[PATH_MAPPED].tx_frames);
	for (unsigned n = 0; n < 5; n++)
		turn(A, B);
	ck_assert_uint_eq(atomic_load(&end[A].port->stats.path[PATH_MAPPED].tx_frames),
			  before + 5 * NR);
	ck_assert_uint_eq(atomic_load(&end[B].port->stats.path[PATH_MAPPED].rx_bytes),
			  (before + 5 * NR) * BYTES);
	ck_assert_int_eq(netswitch_command(sw, end[A].port, true, BINDING_DIRECT), 0);
	pump();
	ck_assert_int_eq(state(A).binding, BINDING_DIRECT);
	ck_assert_uint_eq(nr_aliases(A, B), 0);
	for (unsigned n = 0; n < 5; n++)
		turn(A, B);
	ck_assert_int_eq(netswitch_command(sw, end[A].port, true, BINDING_MAPPED), 0);
	map(A, B);
	turn(A, B);
	ck_assert_uint_eq(state(A).maps, 2);
	finish();
}
END_TEST

/* In both directions at once. */
START_TEST(both_directions)
{
	begin((unsigned)_i, NR);
	map(A, B);
	map(B, A);
	for (unsigned n = 0; n < 5; n++) {
		send(A, B, 40);
		send(B, A, 30);
		pump();
		ck_assert_uint_eq(take(B, A), 40);
		ck_assert_uint_eq(take(A, B), 30);
		give_back(A);
		give_back(B);
		pump();
		ck_assert_uint_eq(sent(A), 40);
		ck_assert_uint_eq(sent(B), 30);
	}
	ck_assert_int_eq(state(A).binding, BINDING_MAPPED);
	ck_assert_int_eq(state(B).binding, BINDING_MAPPED);
	finish();
}
END_TEST

/* -- The hand-shake -- */

/* What a driver can see: how far its rings are, and interrupts since the last look. */
struct seen {
	unsigned tx, rx; /* index of the next slot to be completed, to be filled */
	unsigned tx_irq, rx_irq;
};

static struct seen look(unsigned i)
{
	struct end *e = &end[i];
	struct seen s = { 0 };
	uint32_t icr;

	if (!e->e1000) {
		s.tx = mock_ring_used_idx(&e->net.drv.ring[1]);
		s.rx = mock_ring_used_idx(&e->net.drv.ring[0]);
		s.tx_irq = atomic_exchange(&e->net.drv.queue_irqs[1], 0);
		s.rx_irq = atomic_exchange(&e->net.drv.queue_irqs[0], 0);
		return s;
	}
	icr = me_get(&e->card, REG_ICR); /* reading clears it */
	s.tx = me_get(&e->card, REG_TDH);
	s.rx = me_get(&e->card, REG_RDH);
	s.tx_irq = !!(icr & ICR_TXDW);
	s.rx_irq = !!(icr & ICR_RXT0);
	return s;
}

static unsigned after(unsigned i, unsigned index, unsigned n)
{
	return end[i].e1000 ? (index + n) % end[i].nr : (uint16_t)(index + n);
}

/* Descriptor `slot` of an e1000: has it been written back? */
static void check_tx_desc(unsigned i, unsigned slot, bool done)
{
	if (end[i].e1000)
		ck_assert_uint_eq(me_tx_status(&end[i].card, slot), done ? TXD_STAT_DD : 0);
}

static void check_rx_desc(unsigned i, unsigned slot, uint32_t len)
{
	uint64_t second;

	if (!end[i].e1000)
		return;
	second = me_rx_second(&end[i].card, slot);
	ck_assert_uint_eq(
		second,
		len ? (len + 4) | (uint64_t)(RXD_STAT_DD | RXD_STAT_EOP | RXD_STAT_IXSM) << 32 : 0);
}

/* Tail, head, back, done: what each step moves, and nothing else. */
START_TEST(hand_shake_step_by_step)
{
	struct seen a, b, now;
	unsigned slot;

	begin((unsigned)_i, NR);
	map(A, B);
	look(A);
	look(B);
	for (unsigned n = 0; n < 2 * NR; n++) {
		unsigned tx = end[A].tx_next;
		uint32_t len = 100 + n;

		a = look(A);
		b = look(B);
		/* 1. A fills its slot: B sees the bytes, and nothing has moved. */
		fill(len, B, A, n);
		write_slot(A, len);
		slot = (unsigned)aliased(A, B, tx);
		ck_assert_mem_eq(rx_slot(B, slot), frame, len);
		now = look(B);
		ck_assert_uint_eq(now.rx, b.rx);
		check_rx_desc(B, slot, 0);
		/* 2. A moves its tail: B's head moves by as many, with one interrupt; nothing of
		 * A's is done. */
		doorbell(A);
		now = look(B);
		ck_assert_uint_eq(now.rx, after(B, b.rx, 1));
		ck_assert_uint_eq(now.rx_irq, 1);
		check_rx_desc(B, slot, len);
		pump();
		now = look(A);
		ck_assert_uint_eq(now.tx, a.tx);
		ck_assert_uint_eq(now.tx_irq, 0);
		check_tx_desc(A, tx, false);
		/* 3. B reads in place, which nobody can see. */
		ck_assert(read_slot(B, &slot));
		ck_assert_uint_eq(got.len, len);
		ck_assert_mem_eq(got.data, frame, len);
		ck_assert_int_eq(aliased(A, B, tx), (int)slot);
		pump();
		ck_assert_uint_eq(look(A).tx, a.tx);
		/* 4. B gives the slot back: A's is done, with an interrupt. */
		end[B].got[end[B].nr_got++] = slot;
		give_back(B);
		pump();
		now = look(A);
		ck_assert_uint_eq(now.tx, after(A, a.tx, 1));
		ck_assert_uint_eq(now.tx_irq, 1);
		check_tx_desc(A, tx, true);
		ck_assert_uint_eq(sent(A), 1);
	}
	ck_assert_int_eq(state(A).binding, BINDING_MAPPED);
	finish();
}
END_TEST

/* Several at a time, given back one by one. */
START_TEST(hand_shake_in_batches)
{
	struct seen a, now;

	begin((unsigned)_i, NR);
	map(A, B);
	for (unsigned n = 0; n < 3 * NR; n += 5) {
		look(B);
		a = look(A);
		send(A, B, 5);
		ck_assert_uint_eq(look(B).rx_irq, 1);
		ck_assert_uint_eq(take(B, A), 5);
		for (unsigned k = 1; k <= 5; k++) {
			give(B, 1);
			pump();
			/* They may be asked for by twos and threes, but none is done too early. */
			now = look(A);
			ck_assert_uint_le((now.tx - a.tx) % NR, k);
		}
		ck_assert_uint_eq(now.tx, after(A, a.tx, 5));
		ck_assert_uint_eq(sent(A), 5);
	}
	ck_assert_int_eq(state(A).binding, BINDING_MAPPED);
	finish();
}
END_TEST

/* B reads nothing: as many as both can give are under way, no more, and nothing is lost. An e1000's
 * ring holds one less than it has slots. */
START_TEST(full_rings)
{
	unsigned fits, n;

	begin((unsigned)_i, NR);
	map(A, B);
	fits = end[B].e1000 ? NR - 1 : most(A);
	ck_assert_uint_eq(most(A), end[A].e1000 ? NR - 1 : NR);
	for (unsigned round = 0; round < 5; round++) {
		send(A, B, most(A));
		if (end[A].e1000)
			ck_assert(!me_slot_send(&end[A].card, frame, BYTES));
		pump();
		ck_assert_uint_eq(take(B, A), fits);
		pump();
		ck_assert_uint_eq(sent(A), 0);
		give(B, 10);
		pump();
		n = sent(A);
		ck_assert_uint_le(n, 10);
		give_back(B);
		pump();
		ck_assert_uint_eq(take(B, A), most(A) - fits);
		give_back(B);
		pump();
		ck_assert_uint_eq(n + sent(A), most(A));
	}
	ck_assert_int_eq(state(A).binding, BINDING_MAPPED);
	finish();
}
END_TEST

/* -- Mixed traffic -- */

/* A frame for somebody else uses up the receiver's slot, which an e1000 gets with an error and no
 * length. */
START_TEST(frames_for_others)
{
	unsigned skipped, slot, frames_b = 0, frames_c = 0;

	begin((unsigned)_i, NR);
	map(A, B);
	skipped = end[B].nr_skipped;
	for (unsigned n = 0; n < 5 * NR; n += 8) {
		send(A, B, 3);
		send(A, C, 1);
		send(A, B, 4);
		pump();
		if (end[B].e1000) {
			slot = (end[B].card.rx_next + 3) % NR;
			ck_assert_uint_eq(me_rx_second(&end[B].card, slot),
					  (uint64_t)(RXD_STAT_DD | RXD_STAT_EOP | RXD_ERR_RXE << 8)
						  << 32);
		}
		frames_b += take(B, A);
		frames_c += take(C, A);
		ck_assert_uint_eq(end[B].nr_got, 8);
		give_back(B);
		give_back(C);
		pump();
		ck_assert_uint_eq(sent(A), 8);
	}
	ck_assert_uint_eq(end[B].nr_skipped - skipped, 5 * NR / 8);
	ck_assert_uint_eq(frames_b, 5 * NR / 8 * 7);
	ck_assert_uint_eq(frames_c, 5 * NR / 8);
	ck_assert_int_eq(state(A).binding, BINDING_MAPPED);
	ck_assert_uint_eq(state(A).maps, 1);
	finish();
}
END_TEST

/* One slot ahead of a page: the receiver skips one, and both go on in step. */
START_TEST(one_slot_ahead)
{
	unsigned skipped;

	begin((unsigned)_i, NR);
	send(C, B, 1);
	pump();
	ck_assert_uint_eq(take(B, C), 1);
	give_back(B);
	pump();
	skipped = end[B].nr_skipped;
	map(A, B);
	turn(A, B);
	turn(A, B);
	ck_assert_uint_eq(nr_aliases(A, B), NR);
	ck_assert_uint_le(end[B].nr_skipped - skipped, 1);
	ck_assert_int_eq(state(A).binding, BINDING_MAPPED);
	finish();
}
END_TEST

/* Somebody else has frames for B. */
START_TEST(others_evict)
{
	unsigned slot, from[2] = { 0, 0 };

	begin((unsigned)_i, NR);
	map(A, B);
	send(A, B, 10);
	pump();
	send(C, B, 3);
	for (unsigned n = 0; n < 5; n++)
		pump();
	ck_assert_int_eq(state(A).binding, BINDING_DIRECT);
	ck_assert_uint_eq(nr_aliases(A, B), 0);
	ck_assert_uint_eq(sent(A), 10);
	ck_assert_uint_eq(sent(C), 3);
	while (read_slot(B, &slot)) {
		end[B].got[end[B].nr_got++] = slot;
		if (got.len)
			from[got.data[11] != A + 1]++;
		ck_assert(!from[1] || from[0] == 10);
	}
	ck_assert_uint_eq(from[0], 10);
	ck_assert_uint_eq(from[1], 3);
	give_back(B);
	turn(A, B);
	finish();
}
END_TEST

/* -- What is not mapped -- */

static void never(const char *why)
{
	for (unsigned n = 0; n < 8; n++) {
		turn(A, B);
		pass(MS);
	}
	ck_assert_int_eq(state(A).binding, BINDING_DIRECT);
	ck_assert_msg(!strncmp(state(A).not_mapped, why, strlen(why)), "%s", state(A).not_mapped);
	ck_assert_uint_eq(nr_aliases(A, B), 0);
	finish();
}

START_TEST(unlike_rings)
{
	begin((unsigned)_i, NR);
	start(A, 32);
	never("rings 32/");
}
END_TEST

/* A descriptor ring in the pages of the slots: of the sender, of the receiver. */
START_TEST(ring_among_the_slots)
{
	unsigned i = models[_i].a ? A : B;
	struct mock_e1000 *m;

	begin((unsigned)_i, NR);
	m = &end[i].card;
	if (i == A)
		me_slots_start(m, NR, RCTL_BAM, ME_TX_RING - 2048, E1000_RX, STRIDE);
	else
		me_slots_start(m, NR, RCTL_BAM, E1000_TX, ME_RX_RING + 2048, STRIDE);
	mock_e1000_run(m);
	/* Slots lie in the ring itself: such a guest harms itself, and is not mapped. */
	for (unsigned n = 0; n < 6; n++) {
		for (unsigned k = 0; k < 20; k++) {
			fill(BYTES, B, A, n);
			if (i == A && !me_slot_send(m, frame, BYTES))
				break;
			if (i == A)
				me_tx_kick(m);
			else
				send(A, B, end[A].open < NR);
			pump();
			sent(A);
		}
		me_set(m, REG_RDT, m->rx_tail);
	}
	ck_assert_int_eq(state(A).binding, BINDING_DIRECT);
	ck_assert_uint_eq(end[A].memory.holds, 0);
	finish();
}
END_TEST

/* -- Ends -- */

/* One transmit slot is left out, or another buffer used. */
START_TEST(moved_transmit_slot)
{
	unsigned i = (unsigned)_i;

	begin(i, NR);
	map(A, B);
	send(A, B, 10);
	if (end[A].e1000) {
		fill(BYTES, B, A, end[A].number++);
		gmem_write(&end[A].card.mp.mem, DATA_BASE, frame, BYTES);
		me_tx_desc(&end[A].card, DATA_BASE, BYTES | TXD_CMD_EOP | TXD_CMD_RS);
		end[A].tx_next = (end[A].tx_next + 1) % NR;
		end[A].open++;
	} else {
		end[A].tx_next = (end[A].tx_next + 1) % NR;
	}
	/* With one doorbell: on_hold() does not keep a test from writing while pages move. */
	send(A, B, end[A].e1000 ? 9 : 10);
	for (unsigned n = 0; n < 3; n++)
		pump();
	ck_assert_int_eq(state(A).binding, BINDING_DIRECT);
	ck_assert_uint_eq(nr_aliases(A, B), 0);
	ck_assert_uint_eq(take(B, A), 20);
	ck_assert_uint_eq(end[B].expected, end[A].number - 1);
	ck_assert_uint_eq(sent(A), 20);
	give_back(B);
	finish();
}
END_TEST

/* The receiver gives another buffer, or another slot, than the next one. */
START_TEST(moved_receive_slot)
{
	unsigned moved, received = 0, slot;

	begin((unsigned)_i, NR);
	map(A, B);
	send(A, B, 10);
	pump();
	ck_assert_uint_eq(take(B, A), 10);
	if (end[B].e1000) {
		uint64_t address = DATA_BASE;

		moved = end[B].got[3];
		give_back(B);
		gmem_write(&end[B].card.mp.mem, ME_RX_RING + (gpa_t)moved * E1000_DESC_BYTES,
			   &address, 8);
	} else {
		moved = end[B].got[3];
		end[B].got[3] = end[B].got[4];
		end[B].got[4] = moved;
		give_back(B);
	}
	pump();
	ck_assert_uint_eq(sent(A), 10);
	for (unsigned n = 0; n < most(A); n++) {
		send(A, B, 1);
		pump();
	}
	for (unsigned n = 0; n < 3; n++)
		pump();
	ck_assert_int_eq(state(A).binding, BINDING_DIRECT);
	ck_assert_uint_eq(nr_aliases(A, B), 0);
	while (read_slot(B, &slot)) {
		if (end[B].e1000 && slot == moved) /* it lies elsewhere */
			gmem_read(&end[B].card.mp.mem, DATA_BASE, got.data, got.len);
		if (!got.len)
			continue;
		fill((uint32_t)got.len, B, A, end[A].number - most(A) + received++);
		ck_assert_mem_eq(got.data, frame, got.len);
	}
	ck_assert_uint_eq(received, end[B].e1000 ? NR - 1 : most(A));
	ck_assert_uint_eq(sent(A), received);
	finish();
}
END_TEST

static void reset_card(unsigned i)
{
	if (end[i].e1000)
		me_set(&end[i].card, REG_CTRL, CTRL_RST);
	else
		mock_driver_set_status(&end[i].net.drv, 0);
}

/* Either driver resets its device, with frames under way. */
static void reset_one(unsigned who)
{
	map(A, B);
	send(A, B, 10);
	pump();
	reset_card(who);
	pump();
	ck_assert_uint_eq(nr_aliases(A, B), 0);
	ck_assert_int_eq(state(A).binding, BINDING_DIRECT);
	start(who, NR);
	pump();
	if (who == A) {
		ck_assert_uint_eq(take(B, A), 10); /* they were B's already */
		give_back(B);
	} else {
		ck_assert_uint_eq(sent(A), 10);
	}
	pump();
	map(A, B);
	turn(A, B);
	finish();
}

START_TEST(reset_of_the_sender)
{
	begin((unsigned)_i, NR);
	reset_one(A);
}
END_TEST

START_TEST(reset_of_the_receiver)
{
	begin((unsigned)_i, NR);
	reset_one(B);
}
END_TEST

/* A card's ring is set up anew without a reset: the slots are others, or the same ones. */
START_TEST(rewritten_ring)
{
	unsigned i = models[_i].b ? B : A;

	begin((unsigned)_i, NR);
	map(A, B);
	send(A, B, 10);
	pump();
	if (i == B)
		me_set(&end[B].card, REG_RDBAL, ME_RX_RING);
	else
		me_set(&end[A].card, REG_TDBAL, ME_TX_RING);
	pump();
	if (i == B) {
		ck_assert_uint_eq(take(B, A), 10);
		give_back(B);
		for (unsigned n = 0; n < 5; n++)
			pump();
		send(A, B, 1);
		for (unsigned n = 0; n < 3; n++)
			pump();
		ck_assert_int_eq(state(A).binding, BINDING_DIRECT);
		ck_assert_uint_eq(nr_aliases(A, B), 0);
		ck_assert_uint_eq(take(B, A), 1);
	} else {
		/* What was kept is forgotten: its receiver has it, and gets it anew, for the
		 * descriptors are the card's again. */
		send(A, B, 1);
		for (unsigned n = 0; n < 5; n++)
			pump();
		ck_assert_int_eq(state(A).binding, BINDING_DIRECT);
		ck_assert_uint_eq(nr_aliases(A, B), 0);
		ck_assert_uint_eq(take(B, A), 21);
		ck_assert_uint_eq(sent(A), 11);
	}
	finish();
}
END_TEST

/* Who sits on its slots is rescued: the sender's are done, and may be written to. */
START_TEST(rescued_by_deadline)
{
	deadline_us = 5000;
	begin((unsigned)_i, NR);
	deadline_us = 1000000;
	map(A, B);
	send(A, B, 10);
	for (unsigned n = 0; n < 4; n++) {
		pass(MS);
		pump();
		ck_assert_int_eq(state(A).binding, BINDING_MAPPED);
	}
	while (state(A).binding == BINDING_MAPPED) { /* the tick's timer is a real one */
		pass(MS);
		pump();
	}
	ck_assert_int_eq(state(A).binding, BINDING_DIRECT);
	ck_assert_uint_eq(state(A).rescues, 1);
	pump();
	ck_assert_uint_eq(sent(A), 10);
	for (unsigned i = 0; i < NR; i++)
		memset(tx_slot(A, i), 0xee, STRIDE);
	ck_assert_uint_eq(take(B, A), 10);
	give_back(B);
	pump();
	turn(A, B);
	finish();
}
END_TEST

/* An e1000 leaves one slot out when its ring is gathered. What it holds may be for somebody else by
 * then, whatever was noted of it when the lane was gathered before. */
START_TEST(left_out_slot_does_not_leak)
{
	begin((unsigned)_i, NR);
	map(A, B);
	ck_assert_int_eq(netswitch_command(sw, end[A].port, true, BINDING_DIRECT), 0);
	for (unsigned n = 0; n < 4; n++)
		pump();
	ck_assert_int_eq(state(A).binding, BINDING_DIRECT);
	ck_assert_int_eq(netswitch_command(sw, end[A].port, true, BINDING_MAPPED), 0);
	for (unsigned n = 0; n < 20; n++) {
		send(A, B, NR - 1 - end[A].open);
		pump();
		take(B, A);
		give_back(B);
		pump();
		sent(A);
		if (state(A).binding == BINDING_MAPPED)
			break;
		send(A, C, 1);
		pump();
		take(C, A);
		give_back(C);
		pump();
		sent(A);
	}
	if (end[A].e1000) {
		ck_assert_int_eq(state(A).binding, BINDING_MAPPED);
		for (unsigned i = 0; i < NR; i++)
			ck_assert_uint_ne(((uint8_t *)rx_slot(B, i))[5], C + 1);
	}
	finish();
}
END_TEST

int main(void)
{
	const TTest *const each[] = { enters_and_leaves,
				      both_directions,
				      hand_shake_step_by_step,
				      hand_shake_in_batches,
				      full_rings,
				      frames_for_others,
				      one_slot_ahead,
				      others_evict,
				      unlike_rings,
				      ring_among_the_slots,
				      moved_transmit_slot,
				      moved_receive_slot,
				      reset_of_the_sender,
				      reset_of_the_receiver,
				      rewritten_ring,
				      rescued_by_deadline,
				      left_out_slot_does_not_leak };
	Suite *s = suite_create("mapped e1000");
	TCase *tc = tcase_create("each pair of models");
	SRunner *sr;
	int failed;

	log_set_level(LOG_ERROR);
	tcase_set_timeout(tc, 60);
	for (unsigned i = 0; i < ARRAY_SIZE(each); i++)
		tcase_add_loop_test(tc, each[i], 0, ARRAY_SIZE(models));
	suite_add_tcase(s, tc);
	sr = srunner_create(s);
	srunner_run_all(sr, CK_NORMAL);
	failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
