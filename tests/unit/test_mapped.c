/*
 * Mapped lanes between whole virtio NICs whose drivers keep the contract of slots, and drivers that
 * do not: entering, the hand-shake step by step, mixed traffic, leaving. Loops are at rest but for
 * what a test runs; the remapper's thread is real.
 */
#include <check.h>
#include <dirent.h>
#include <errno.h>
#include <semaphore.h>
#include <stdlib.h>
#include <string.h>

#include "tests/unit/mapped_kit.h"
#include "tests/unit/mock_net.h"
#include "tests/unit/still_clock.h"

#define NICS	3
#define NR	64
#define SLOT	4096u
#define TX_BASE MIB(8)
#define RX_BASE MIB(16)
#define BYTES	200

enum { A, B, C };

struct end {
	struct mock_nic nic;
	struct mapped_memory memory;
	unsigned tx_next; /* slot */
	unsigned open;	  /* sent and not completed */
	uint32_t number, expected;
	unsigned got_slots[NR]; /* taken and not given back, oldest first */
	unsigned nr_got;
};

static struct end end[NICS];
static struct netswitch *sw;
static struct remapper *remapper;
static struct mock_frame got;
static uint8_t frame[FRAME_MAX_BYTES];
static const struct virtio_net_hdr_v1 plain;
static unsigned deadline_us = 1000000;
static unsigned hold_us = 1000000;

/* A NIC asks for the time that often before give_some_back(); the remapper does not count. */
static _Atomic unsigned now_hook_calls;
static unsigned now_hook_slots;

static void give_some_back(void);

static void count_clock_reads(void)
{
	if (atomic_load(&now_hook_calls) && !loop_on_thread(remapper_loop(remapper)) &&
	    atomic_fetch_sub(&now_hook_calls, 1) == 1)
		give_some_back();
}

static void run_loops(void)
{
	for (unsigned i = 0; i < NICS; i++)
		mock_loop_run(&end[i].nic.loop);
}

/* Lets all that was posted run: loops of NICs, the remapper. */
static void pump(void)
{
	for (unsigned turn = 0; turn < 3; turn++) {
		run_loops();
		mapped_flush(remapper);
	}
}

static void slots(unsigned i, unsigned nr, uint32_t slot_bytes, uint32_t offset)
{
	struct mock_nic *n = &end[i].nic;

	ck_assert(mock_nic_start(n, MOCK_NET_BASE, 256));
	mock_nic_slots_tx_init(n, nr, slot_bytes, TX_BASE, offset);
	mock_nic_slots_rx_init(n, nr, slot_bytes, RX_BASE, offset);
	mock_nic_slots_give_all(n);
	mock_driver_kick(&n->drv, 0);
	end[i].tx_next = 0;
	end[i].open = 0;
	end[i].nr_got = 0;
}

static void setup_mode(enum xtalk_mode mode)
{
	static const char *const names[NICS] = { "a.eth0", "b.eth0", "c.eth0" };

	memset(end, 0, sizeof(end));
	on_clock_read = count_clock_reads;
	mapped_net_create(&sw, &remapper, mode, hold_us, deadline_us);
	for (unsigned i = 0; i < NICS; i++) {
		struct end *e = &end[i];

		mock_nic_init(&e->nic, names[i], (uint8_t)(i + 1));
		virtio_net_set_carrier(e->nic.net,
				       mapped_attach(sw, e->nic.port, &e->nic.mp.mem, &e->memory));
	}
}

static void setup(void)
{
	setup_mode(XTALK_STATIC);
	for (unsigned i = 0; i < NICS; i++)
		slots(i, NR, SLOT, 0);
}

static void setup_deadline(void)
{
	deadline_us = 5000;
	setup();
}

static void setup_bare(void)
{
	setup_mode(XTALK_STATIC);
}

static void setup_short_hold(void)
{
	hold_us = 1000;
	setup_bare();
}

static void teardown(void)
{
	for (unsigned i = 0; i < NICS; i++)
		virtio_dev_stop(end[i].nic.dev);
	for (unsigned i = 0; i < NICS; i++) {
		loop_stop(&end[i].nic.loop);
		ck_assert(!end[i].memory.held);
		ck_assert_uint_eq(end[i].memory.holds, end[i].memory.releases);
		netswitch_detach(sw, end[i].nic.port);
		mock_nic_fini(&end[i].nic);
	}
	netswitch_destroy(sw);
	remapper_destroy(remapper);
}

/* -- Drivers -- */

static void fill(uint32_t len, unsigned dst, unsigned src, uint32_t number)
{
	mock_frame_fill(frame, len, (uint8_t)(dst + 1), (uint8_t)(src + 1), number);
	memcpy(frame + 20, &number, sizeof(number));
}

static unsigned nr_slots(unsigned i)
{
	return end[i].nic.slots[1].nr;
}

static void send_len(unsigned src, unsigned dst, uint32_t len)
{
	struct end *e = &end[src];

	fill(len, dst, src, e->number++);
	mock_nic_slot_send(&e->nic, e->tx_next, &plain, frame, len);
	e->tx_next = (e->tx_next + 1) % nr_slots(src);
	e->open++;
}

static void send(unsigned src, unsigned dst, unsigned n)
{
	while (n--)
		send_len(src, dst, BYTES);
	mock_driver_kick(&end[src].nic.drv, 1);
}

/* Takes frames that have come, in order from `src`; gives back later. Returns how many. */
static unsigned take(unsigned i, unsigned src)
{
	struct end *e = &end[i];
	unsigned n = 0, slot;

	while (mock_nic_slot_rx(&e->nic, &slot, &got)) {
		e->got_slots[e->nr_got++] = slot;
		ck_assert_uint_le(e->nr_got, NR);
		if (!got.len)
			continue;
		memcpy(&e->expected, got.data + 20, sizeof(e->expected));
		fill((uint32_t)got.len, i, src, e->expected);
		ck_assert_mem_eq(got.data, frame, got.len);
		n++;
	}
	return n;
}

static void give_back(unsigned i)
{
	struct end *e = &end[i];

	for (unsigned k = 0; k < e->nr_got; k++)
		mock_nic_slot_give(&e->nic, e->got_slots[k]);
	e->nr_got = 0;
	mock_driver_kick(&e->nic.drv, 0);
}

static unsigned sent(unsigned i)
{
	unsigned n = 0, slot;

	while (mock_nic_slot_sent(&end[i].nic, &slot))
		n++;
	end[i].open -= n;
	return n;
}

static struct netswitch_port_state state(unsigned i)
{
	struct netswitch_port_state s;

	ck_assert_int_eq(netswitch_port_state(sw, end[i].nic.port, &s), 0);
	return s;
}

/* As many frames as the sender's ring has slots. */
static void turn(unsigned src, unsigned dst)
{
	unsigned before = end[src].number, n = nr_slots(src), left = n, received = 0;

	for (unsigned tries = 0; tries < 4; tries++) {
		unsigned some = n - end[src].open < left ? n - end[src].open : left;

		send(src, dst, some);
		left -= some;
		pump();
		received += take(dst, src);
		give_back(dst);
		pump();
		sent(src);
	}
	ck_assert_uint_eq(received, n);
	ck_assert_uint_eq(end[dst].expected, before + n - 1);
}

static void map(unsigned src, unsigned dst)
{
	pass(100 * MS); /* what failed before is no matter */
	for (unsigned n = 0; n < 20 && state(src).binding != BINDING_MAPPED; n++)
		turn(src, dst);
	ck_assert_msg(state(src).binding == BINDING_MAPPED, "not mapped: %s",
		      state(src).not_mapped);
	ck_assert_str_eq(state(src).mapped_to, end[dst].nic.port->name);
}

/* The receive slot that is the same memory as transmit slot i: -1 if none. */
static int aliased(unsigned src, unsigned dst, unsigned i)
{
	uint8_t *a = mock_nic_slot_at(&end[src].nic, 1, i), old[8];
	static uint64_t magic = 0x1234567890abcdef;
	int found = -1;

	memcpy(old, a + 1000, 8);
	magic += 0x1111;
	memcpy(a + 1000, &magic, 8);
	for (unsigned k = 0; k < end[dst].nic.slots[0].nr; k++) {
		uint8_t *b = mock_nic_slot_at(&end[dst].nic, 0, k);

		if (!memcmp(b + 1000, &magic, 8)) {
			ck_assert_int_eq(found, -1);
			found = (int)k;
		}
	}
	memcpy(a + 1000, old, 8);
	return found;
}

static bool any_alias(unsigned src, unsigned dst)
{
	for (unsigned i = 0; i < nr_slots(src); i++)
		if (aliased(src, dst, i) >= 0)
			return true;
	return false;
}

/* -- Entering -- */

START_TEST(enters_after_whole_turns)
{
	ck_assert_int_eq(state(A).binding, BINDING_DIRECT);
	turn(A, B);
	turn(A, B);
	ck_assert(!any_alias(A, B));
	ck_assert_uint_eq(end[A].memory.holds, 0);
	map(A, B);
	ck_assert_uint_eq(end[A].memory.holds, 1);
	ck_assert_uint_eq(end[B].memory.holds, 1);
	ck_assert_uint_eq(end[C].memory.holds, 0);
	for (unsigned i = 0; i < NR; i++)
		ck_assert_int_ge(aliased(A, B, i), 0);
	for (unsigned n = 0; n < 5; n++)
		turn(A, B);
	ck_assert_uint_eq(atomic_load(&end[A].nic.port->stats.path[PATH_MAPPED].tx_frames), 5 * NR);
	ck_assert_uint_eq(atomic_load(&end[B].nic.port->stats.path[PATH_MAPPED].rx_bytes),
			  5 * NR * BYTES);
	ck_assert_uint_eq(state(A).maps, 1);
}
END_TEST

/* Tail, head, back, done: what each step moves, and nothing else. */
START_TEST(hand_shake_step_by_step)
{
	struct mock_nic *a = &end[A].nic, *b = &end[B].nic;
	uint16_t used_a, used_b;
	unsigned irq_a, irq_b, slot;

	map(A, B);
	send(A, B, 5); /* not at the beginning of a turn */
	pump();
	take(B, A);
	give_back(B);
	pump();
	ck_assert_uint_eq(sent(A), 5);
	used_a = mock_ring_used_idx(&a->drv.ring[1]);
	used_b = mock_ring_used_idx(&b->drv.ring[0]);
	irq_a = atomic_load(&a->drv.queue_irqs[1]);
	irq_b = atomic_load(&b->drv.queue_irqs[0]);

	/* 1. A fills slots: B sees the bytes, and nothing has moved. */
	send_len(A, B, 300);
	ck_assert_mem_eq(mock_nic_slot_at(b, 0, (unsigned)aliased(A, B, 5)), frame, 300);
	ck_assert_uint_eq(mock_ring_used_idx(&b->drv.ring[0]), used_b);
	send_len(A, B, 100);
	/* 2. A moves its tail: B's head moves by as many, one interrupt; nothing of A's is done. */
	mock_driver_kick(&a->drv, 1);
	ck_assert_uint_eq(mock_ring_used_idx(&b->drv.ring[0]), (uint16_t)(used_b + 2));
	ck_assert_uint_eq(atomic_load(&b->drv.queue_irqs[0]), irq_b + 1);
	pump();
	ck_assert_uint_eq(mock_ring_used_idx(&a->drv.ring[1]), used_a);
	ck_assert_uint_eq(atomic_load(&a->drv.queue_irqs[1]), irq_a);
	/* 3. B reads, with the lengths that A gave, … */
	ck_assert(mock_nic_slot_rx(b, &slot, &got));
	ck_assert_uint_eq(got.len, 300);
	ck_assert_int_eq(aliased(A, B, 5), (int)slot);
	pump();
	ck_assert_uint_eq(mock_ring_used_idx(&a->drv.ring[1]), used_a);
	/* … and gives the slot back: one of A's is done. */
	mock_nic_slot_give(b, slot);
	mock_driver_kick(&b->drv, 0);
	pump();
	ck_assert_uint_eq(mock_ring_used_idx(&a->drv.ring[1]), (uint16_t)(used_a + 1));
	ck_assert_uint_eq(atomic_load(&a->drv.queue_irqs[1]), irq_a + 1);
	/* 4. And the other. */
	ck_assert(mock_nic_slot_rx(b, &slot, &got));
	ck_assert_uint_eq(got.len, 100);
	mock_nic_slot_give(b, slot);
	mock_driver_kick(&b->drv, 0);
	pump();
	ck_assert_uint_eq(mock_ring_used_idx(&a->drv.ring[1]), (uint16_t)(used_a + 2));
}
END_TEST

/* B sits on all: A's ring fills up, nothing is lost. */
START_TEST(full_rings)
{
	map(A, B);
	for (unsigned n = 0; n < 3; n++) {
		send(A, B, NR);
		pump();
		ck_assert_uint_eq(sent(A), 0);
		ck_assert_uint_eq(take(B, A), NR);
		pump();
		ck_assert_uint_eq(sent(A), 0);
		give_back(B);
		pump();
		ck_assert_uint_eq(sent(A), NR);
	}
	ck_assert_int_eq(state(A).binding, BINDING_MAPPED);
}
END_TEST

/* In both directions at once, each with a buffer of its own. */
START_TEST(both_directions)
{
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
}
END_TEST

static unsigned entries(const char *path)
{
	unsigned n = 0;
	DIR *d = opendir(path);

	ck_assert_ptr_nonnull(d);
	while (readdir(d))
		n++;
	closedir(d);
	return n;
}

/* A's loop follows B's doorbell itself, for as long as it is mapped and no longer. */
START_TEST(the_receivers_loop_sleeps)
{
	struct virtio_dev *b = end[B].nic.dev;
	uint64_t kicks, lent;
	unsigned fds;

	turn(B, A); /* its doorbell is made for the first time now or in map() */
	map(A, B);
	mock_driver_set_status(&end[A].nic.drv, 0);
	pump();
	slots(A, NR, SLOT, 0);
	fds = entries("/proc/self/fd");
	for (unsigned n = 0; n < 3; n++) {
		pass(1000 * MS); /* longer than what ended before holds off */
		map(A, B);
		ck_assert(atomic_load(&end[B].nic.drv.lent[0]));
		pump();
		kicks = atomic_load(&b->doorbells);
		lent = atomic_load(&end[B].nic.port->stats.rx_lent);
		send(A, B, 8);
		ck_assert_uint_eq(take(B, A), 8);
		give_back(B);
		mock_loop_run(&end[A].nic.loop); /* B's is not */
		ck_assert_uint_eq(sent(A), 8);
		ck_assert_uint_eq(atomic_load(&b->doorbells), kicks);
		ck_assert_uint_eq(atomic_load(&end[B].nic.port->stats.rx_lent), lent + 1);
		/* Whatever ends it: the doorbell is B's again, and no descriptor is left over. */
		if (n == 0)
			send(C, B, 1);
		else
			mock_driver_set_status(&end[n == 1 ? A : B].nic.drv, 0);
		pump();
		ck_assert_int_ne(state(A).binding, BINDING_MAPPED);
		ck_assert(!atomic_load(&end[B].nic.drv.lent[0]));
		send(C, A, 1); /* A's loop comes by */
		pump();
		ck_assert_uint_eq(entries("/proc/self/fd"), fds);
		for (unsigned i = 0; i < NICS; i++) {
			mock_driver_set_status(&end[i].nic.drv, 0);
			pump();
			slots(i, NR, SLOT, 0);
		}
	}
}
END_TEST

/* -- What can be paired -- */

static void layouts(unsigned nr, uint32_t slot_bytes, uint32_t offset)
{
	for (unsigned i = 0; i < NICS; i++)
		slots(i, nr, slot_bytes, offset);
	map(A, B);
	for (unsigned n = 0; n < 3; n++)
		turn(A, B);
	ck_assert_int_eq(state(A).binding, BINDING_MAPPED);
}

START_TEST(slots_of_2048)
{
	layouts(NR, 2048, 0);
}
END_TEST

/* The rings are not at the same place when they are paired: one is a slot ahead of a page. */
START_TEST(slots_of_2048_one_ahead)
{
	for (unsigned i = 0; i < NICS; i++)
		slots(i, NR, 2048, 0);
	send(C, B, 1);
	pump();
	take(B, C);
	give_back(B);
	pump();
	map(A, B);
	for (unsigned n = 0; n < 3; n++)
		turn(A, B);
	ck_assert_int_eq(state(A).binding, BINDING_MAPPED);
}
END_TEST

START_TEST(slots_of_64_kib)
{
	layouts(16, 65536, 0);
}
END_TEST

START_TEST(slots_with_an_offset)
{
	layouts(NR, SLOT, 128);
}
END_TEST

static void never(const char *why)
{
	for (unsigned n = 0; n < 8; n++) {
		turn(A, B);
		pass(MS);
	}
	ck_assert_int_eq(state(A).binding, BINDING_DIRECT);
	ck_assert_str_eq(state(A).not_mapped, why);
	ck_assert(!any_alias(A, B));
}

START_TEST(unlike_strides)
{
	slots(A, NR, SLOT, 0);
	slots(B, NR, 2048, 0);
	slots(C, NR, SLOT, 0);
	never("stride 4096/2048");
}
END_TEST

START_TEST(unlike_offsets)
{
	slots(A, NR, SLOT, 64);
	slots(B, NR, SLOT, 128);
	slots(C, NR, SLOT, 0);
	never("in-page offset 64/128");
}
END_TEST

START_TEST(unlike_rings)
{
	slots(A, 32, SLOT, 0);
	slots(B, NR, SLOT, 0);
	slots(C, NR, SLOT, 0);
	never("rings 32/64");
}
END_TEST

START_TEST(unlike_domains)
{
	end[B].memory.port.domain = "other";
	never("different domains");
}
END_TEST

START_TEST(no_domain)
{
	end[A].memory.port.domain = "";
	end[B].memory.port.domain = "";
	never("different domains");
}
END_TEST

START_TEST(other_data_in_the_page)
{
	slots(A, NR, SLOT, 128);
	slots(B, NR, SLOT, 128);
	*((uint8_t *)mock_nic_slot_at(&end[B].nic, 0, 5) - 1) = 1;
	never("slot page shared with other data");
}
END_TEST

START_TEST(receiver_not_stable)
{
	atomic_store(&end[B].nic.port->slots_stable, false);
	never("the receiver's slots are not stable");
}
END_TEST

/* -- Contents -- */

/* What either had in its slots before is not to be seen by the other, then or later. */
START_TEST(nothing_leaks)
{
	static uint8_t secret_a[SLOT], secret_b[SLOT];

	memset(secret_a, 0xa5, sizeof(secret_a));
	memset(secret_b, 0x5b, sizeof(secret_b));
	for (unsigned i = 0; i < NR; i++) {
		memcpy(mock_nic_slot_at(&end[A].nic, 1, i), secret_a, SLOT);
		memcpy(mock_nic_slot_at(&end[B].nic, 0, i), secret_b, SLOT);
	}
	map(A, B);
	for (unsigned turns = 0; turns < 2; turns++) {
		for (unsigned i = 0; i < NR; i++) {
			uint8_t *a = mock_nic_slot_at(&end[A].nic, 1, i);
			uint8_t *b = mock_nic_slot_at(&end[B].nic, 0, i);

			for (unsigned k = BYTES; k < SLOT; k++) {
				if (turns == 0)
					ck_assert_uint_ne(a[k], 0xa5);
				ck_assert_uint_ne(a[k], 0x5b);
				ck_assert_uint_ne(b[k], 0xa5);
			}
		}
		/* And after it has ended. */
		ck_assert_int_eq(netswitch_command(sw, end[A].nic.port, true, BINDING_DIRECT), 0);
		pump();
		ck_assert_int_eq(state(A).binding, BINDING_DIRECT);
	}
}
END_TEST

/* Frames under way when it ends, and what the sender has begun to write. */
START_TEST(contents_survive_the_end)
{
	uint8_t *draft;
	uint64_t text = 0xfeedfacecafebeef;

	map(A, B);
	send(A, B, 20);
	pump();
	draft = mock_nic_slot_at(&end[A].nic, 1, (end[A].tx_next + 3) % NR);
	memcpy(draft, &text, 8);
	ck_assert_int_eq(netswitch_command(sw, end[A].nic.port, true, BINDING_DIRECT), 0);
	pump();
	ck_assert_int_eq(state(A).binding, BINDING_DIRECT);
	ck_assert(!any_alias(A, B));
	ck_assert_mem_eq(draft, &text, 8);
	/* A's slots are its own again, and B has what was sent. */
	ck_assert_uint_eq(sent(A), 20);
	for (unsigned i = 0; i < NR; i++)
		memset(mock_nic_slot_at(&end[A].nic, 1, i), 0xee, SLOT);
	ck_assert_uint_eq(take(B, A), 20);
	give_back(B);
	turn(A, B);
	ck_assert_int_eq(netswitch_command(sw, end[A].nic.port, true, BINDING_MAPPED), 0);
	map(A, B);
	turn(A, B);
	ck_assert_uint_eq(state(A).maps, 2);
}
END_TEST

/* -- Mixed traffic -- */

START_TEST(frames_for_others_are_copied_out)
{
	unsigned frames_b = 0, frames_c = 0;

	map(A, B);
	for (unsigned n = 0; n < 10 * NR; n += 8) {
		send(A, B, 7);
		send(A, C, 1);
		pump();
		frames_b += take(B, A);
		frames_c += take(C, A);
		give_back(B);
		give_back(C);
		pump();
		ck_assert_uint_eq(sent(A), 8);
	}
	ck_assert_uint_eq(frames_b, 10 * NR / 8 * 7);
	ck_assert_uint_eq(frames_c, 10 * NR / 8);
	ck_assert_int_eq(state(A).binding, BINDING_MAPPED);
	ck_assert_uint_eq(state(A).maps, 1);
}
END_TEST

START_TEST(a_lasting_change_ends_it)
{
	unsigned frames = 0;

	map(A, B);
	pass(150 * MS);
	for (unsigned n = 0; n < 4; n++) {
		send(A, C, NR);
		pump();
		take(B, A);
		frames += take(C, A);
		give_back(B);
		give_back(C);
		pump();
		ck_assert_uint_eq(sent(A), NR);
	}
	ck_assert_uint_eq(frames, 4 * NR);
	ck_assert_str_ne(state(A).mapped_to, "b.eth0");
}
END_TEST

/* Somebody else has frames for B. */
START_TEST(others_evict)
{
	unsigned slot;

	map(A, B);
	send(A, B, 10);
	pump();
	send(C, B, 3);
	for (unsigned n = 0; n < 5; n++)
		pump();
	ck_assert_int_eq(state(A).binding, BINDING_DIRECT);
	ck_assert_uint_eq(sent(A), 10);
	ck_assert_uint_eq(sent(C), 3);
	for (unsigned n = 0; n < 13; n++) {
		do {
			ck_assert(mock_nic_slot_rx(&end[B].nic, &slot, &got));
			end[B].got_slots[end[B].nr_got++] = slot;
		} while (!got.len);
		ck_assert_uint_eq(got.data[11], n < 10 ? A + 1 : C + 1);
	}
	give_back(B);
	ck_assert_uint_eq(atomic_load(&end[B].nic.port->stats.rx_dropped), 0);
}
END_TEST

/* Waiting for the end of a mapping is no time that a receiver without buffers has had. */
START_TEST(who_evicts_is_held_for_buffers_too)
{
	unsigned slot;

	map(A, B);
	send(A, B, NR);
	pump();
	send(C, B, 1);
	mapped_flush(remapper);
	pass(20 * MS);
	for (unsigned n = 0; n < 3; n++)
		pump();
	ck_assert_int_eq(state(A).binding, BINDING_DIRECT);
	ck_assert_uint_eq(sent(C), 0);
	ck_assert_uint_eq(atomic_load(&end[B].nic.port->stats.rx_dropped), 0);
	ck_assert_uint_eq(take(B, A), NR);
	give_back(B);
	for (unsigned n = 0; n < 3; n++)
		pump();
	ck_assert_uint_eq(sent(C), 1);
	ck_assert(mock_nic_slot_rx(&end[B].nic, &slot, &got));
	ck_assert_uint_eq(got.data[11], C + 1);
}
END_TEST

/* A group frame from another one. */
START_TEST(group_frames_evict)
{
	map(A, B);
	fill(100, A, C, 0);
	memset(frame, 0xff, 6);
	mock_nic_slot_send(&end[C].nic, end[C].tx_next++, &plain, frame, 100);
	mock_driver_kick(&end[C].nic.drv, 1);
	for (unsigned n = 0; n < 5; n++)
		pump();
	ck_assert_int_eq(state(A).binding, BINDING_DIRECT);
	ck_assert_uint_eq(sent(C), 1);
	for (unsigned i = A; i <= B; i++) {
		unsigned slot;

		ck_assert(mock_nic_slot_rx(&end[i].nic, &slot, &got));
		ck_assert_uint_eq(got.len, 100);
		ck_assert(!mock_nic_slot_rx(&end[i].nic, &slot, &got));
	}
}
END_TEST

/* The mapped sender's own go to everybody once. */
START_TEST(own_group_frames)
{
	unsigned slot;

	map(A, B);
	fill(100, B, A, 0);
	memset(frame, 0xff, 6);
	mock_nic_slot_send(&end[A].nic, end[A].tx_next, &plain, frame, 100);
	end[A].tx_next = (end[A].tx_next + 1) % NR;
	mock_driver_kick(&end[A].nic.drv, 1);
	pump();
	for (unsigned i = B; i <= C; i++) {
		ck_assert(mock_nic_slot_rx(&end[i].nic, &slot, &got));
		ck_assert_uint_eq(got.len, 100);
		ck_assert_mem_eq(got.data, frame, 100);
		ck_assert(!mock_nic_slot_rx(&end[i].nic, &end[i].got_slots[0], &got));
		mock_nic_slot_give(&end[i].nic, slot);
		mock_driver_kick(&end[i].nic.drv, 0);
	}
	pump();
	ck_assert_uint_eq(sent(A), 1);
	ck_assert_int_eq(state(A).binding, BINDING_MAPPED);
	turn(A, B);
}
END_TEST

/* -- Ends -- */

START_TEST(a_moved_transmit_slot_ends_it)
{
	map(A, B);
	send(A, B, 10);
	end[A].tx_next = (end[A].tx_next + 1) % NR; /* one left out */
	send(A, B, 10);
	for (unsigned n = 0; n < 3; n++)
		pump();
	ck_assert_int_eq(state(A).binding, BINDING_DIRECT);
	ck_assert_uint_eq(take(B, A), 20);
	ck_assert_uint_eq(sent(A), 20);
	give_back(B);
}
END_TEST

START_TEST(a_moved_receive_slot_ends_it)
{
	map(A, B);
	send(A, B, 10);
	pump();
	ck_assert_uint_eq(take(B, A), 10);
	/* In another order than they came. */
	end[B].got_slots[3] ^= end[B].got_slots[4];
	end[B].got_slots[4] ^= end[B].got_slots[3];
	end[B].got_slots[3] ^= end[B].got_slots[4];
	give_back(B);
	pump();
	for (unsigned n = 0; n < NR; n++) {
		send(A, B, 1);
		pump();
	}
	for (unsigned n = 0; n < 3; n++)
		pump();
	ck_assert_int_eq(state(A).binding, BINDING_DIRECT);
	ck_assert_uint_eq(take(B, A), NR);
	ck_assert_uint_eq(sent(A), NR + 10);
}
END_TEST

START_TEST(who_sits_on_slots_is_rescued)
{
	map(A, B);
	send(A, B, 10);
	while (state(A).binding == BINDING_MAPPED) { /* the tick's timer is a real one */
		pass(MS);
		pump();
	}
	ck_assert_int_eq(state(A).binding, BINDING_DIRECT);
	ck_assert_uint_eq(state(A).rescues, 1);
	pump();
	ck_assert_uint_eq(sent(A), 10);
	for (unsigned i = 0; i < NR; i++)
		memset(mock_nic_slot_at(&end[A].nic, 1, i), 0xee, SLOT);
	ck_assert_uint_eq(take(B, A), 10);
}
END_TEST

START_TEST(frame_too_long_for_a_slot)
{
	slots(A, NR, SLOT, 0);
	slots(B, NR, SLOT, 0);
	map(A, B);
	ck_assert(!any_alias(C, B));
}
END_TEST

/* Without a doorbell. */
static void give_some_back(void)
{
	unsigned slot;

	while (now_hook_slots-- && mock_nic_slot_rx(&end[B].nic, &slot, &got))
		mock_nic_slot_give(&end[B].nic, slot);
}

/* B has yet to give back the one slot that was passed over; C has no buffer left. */
static void map_one_ahead(void)
{
	for (unsigned i = 0; i < NICS; i++)
		slots(i, NR, 2048, 0);
	send(C, B, 1);
	send(B, C, NR);
	pump();
	take(B, C);
	give_back(B);
	for (unsigned n = 0; n < 20 && state(A).binding != BINDING_MAPPED; n++) {
		send(A, B, NR);
		pump();
		take(B, A);
		give_back(B);
		pump();
		sent(A);
	}
	ck_assert_int_eq(state(A).binding, BINDING_MAPPED);
}

/* B gives the slot that was passed over when the rings were paired back in the middle of a batch of
 * A's whole ring: more slots are used up than there are before any is collected. */
START_TEST(slot_given_back_within_a_batch)
{
	map_one_ahead();
	send(A, C, 1); /* held for as long as a receiver is waited for */
	pump();
	send(A, B, NR - 1);
	pass(2 * MS);
	now_hook_slots = 1;
	now_hook_calls = 2; /* when the batch begins; when that time is found to be over */
	end[A].nic.port->ops->tx_resume(end[A].nic.port);
	pump();
	ck_assert_uint_eq(now_hook_calls, 0);
	ck_assert_uint_eq(sent(A), 0); /* B has given nothing of these back */
	ck_assert_uint_eq(take(B, A), NR - 1);
	give_back(B);
	pump();
	ck_assert_uint_eq(sent(A), NR);
	for (unsigned n = 0; n < 3; n++)
		turn(A, B);
}
END_TEST

/* B gives everything back between A's last look for a slot and the end of its batch, and no
 * doorbell follows: A goes on all the same, no time passes. */
START_TEST(slots_given_back_at_the_end_of_a_batch)
{
	map_one_ahead();
	send(A, B, NR - 1);
	pump();
	now_hook_slots = NR;
	/* When the batch begins, for the slot that is not there, when it ends. */
	now_hook_calls = 3;
	send(A, B, 1);
	ck_assert_uint_eq(now_hook_calls, 0);
	pump();
	ck_assert_uint_eq(take(B, A), 1);
	ck_assert_uint_eq(sent(A), NR - 1);
}
END_TEST

/* A frame for C that waits is not B's fault, who has given back what it had. */
START_TEST(who_waits_for_others_is_not_rescued)
{
	send(B, C, NR); /* C has no buffer left */
	pump();
	ck_assert_uint_eq(sent(B), NR);
	map(A, B);
	send(A, C, 1);
	pump();
	take(B, A);
	give_back(B);
	for (unsigned n = 0; n < 20; n++) {
		pass(MS);
		end[A].nic.port->ops->tx_resume(end[A].nic.port);
		pump();
	}
	ck_assert_uint_eq(state(A).rescues, 0);
	ck_assert_int_eq(state(A).binding, BINDING_MAPPED);
	take(C, B);
	give_back(C);
	pump();
	ck_assert_uint_eq(take(C, A), 1);
}
END_TEST

/* Either driver resets its device, with frames under way. */
static void reset_one(unsigned who)
{
	map(A, B);
	send(A, B, 10);
	pump();
	mock_driver_set_status(&end[who].nic.drv, 0);
	ck_assert(!any_alias(A, B));
	pump();
	slots(who, NR, SLOT, 0);
	pump();
	if (who == A)
		take(B, A), give_back(B);
	else
		sent(A);
	end[A].tx_next = 0;
	slots(A, NR, SLOT, 0);
	pump();
	map(A, B);
	turn(A, B);
}

static sem_t remapper_may_go;

static void wait_in_remapper(struct loop_work *w)
{
	sem_wait(&remapper_may_go);
}

/* An order for `direct` while the remapper has yet to move the pages. */
START_TEST(order_against_it_while_moving)
{
	struct loop_work wait = { .fn = wait_in_remapper };
	bool moving = false;

	ck_assert_int_eq(sem_init(&remapper_may_go, 0, 0), 0);
	for (unsigned n = 0; n < 20 && !moving; n++) {
		loop_post(remapper_loop(remapper), &wait);
		send(A, B, NR);
		run_loops();
		take(B, A);
		give_back(B);
		run_loops();
		/* A's ring is kept, B's is given. */
		moving = !sent(A);
		if (moving) {
			ck_assert_int_eq(
				netswitch_command(sw, end[A].nic.port, true, BINDING_DIRECT), 0);
			run_loops();
		}
		sem_post(&remapper_may_go);
		pump();
		sent(A);
	}
	ck_assert(moving);
	for (unsigned n = 0; n < 3; n++)
		pump();
	ck_assert_int_eq(state(A).binding, BINDING_DIRECT);
	ck_assert_uint_eq(end[A].open, 0);
	turn(A, B);
}
END_TEST

/* The sender's next driver declares nothing. */
START_TEST(sender_no_longer_stable)
{
	map(A, B);
	mock_driver_set_status(&end[A].nic.drv, 0);
	atomic_store(&end[A].nic.port->slots_stable, false);
	pump();
	take(B, A);
	give_back(B);
	slots(A, NR, SLOT, 0);
	for (unsigned n = 0; n < 20; n++)
		turn(A, B);
	ck_assert_uint_eq(state(A).maps, 1);
	ck_assert(!any_alias(A, B));
}
END_TEST

START_TEST(reset_of_the_sender)
{
	reset_one(A);
}
END_TEST

START_TEST(reset_of_the_receiver)
{
	reset_one(B);
}
END_TEST

static void add(Suite *s, const char *name, void (*up)(void), const TTest *const *tests)
{
	TCase *tc = tcase_create(name);

	tcase_add_checked_fixture(tc, up, teardown);
	tcase_set_timeout(tc, 60);
	for (; *tests; tests++)
		tcase_add_test(tc, *tests);
	suite_add_tcase(s, tc);
}

int main(void)
{
	const TTest *const usual[] = { enters_after_whole_turns,
				       hand_shake_step_by_step,
				       full_rings,
				       both_directions,
				       the_receivers_loop_sleeps,
				       unlike_domains,
				       no_domain,
				       receiver_not_stable,
				       nothing_leaks,
				       contents_survive_the_end,
				       frames_for_others_are_copied_out,
				       a_lasting_change_ends_it,
				       others_evict,
				       who_evicts_is_held_for_buffers_too,
				       group_frames_evict,
				       own_group_frames,
				       a_moved_transmit_slot_ends_it,
				       a_moved_receive_slot_ends_it,
				       frame_too_long_for_a_slot,
				       reset_of_the_sender,
				       reset_of_the_receiver,
				       sender_no_longer_stable,
				       order_against_it_while_moving,
				       NULL };
	const TTest *const bare[] = {
		slots_of_2048,	      slots_of_2048_one_ahead, slots_of_64_kib,
		slots_with_an_offset, unlike_strides,	       unlike_offsets,
		unlike_rings,	      other_data_in_the_page,  NULL
	};
	const TTest *const deadline[] = { who_sits_on_slots_is_rescued,
					  who_waits_for_others_is_not_rescued, NULL };
	const TTest *const short_hold[] = { slot_given_back_within_a_batch,
					    slots_given_back_at_the_end_of_a_batch, NULL };
	Suite *s = suite_create("mapped");
	SRunner *sr;
	int failed;

	add(s, "usual", setup, usual);
	add(s, "layouts", setup_bare, bare);
	add(s, "deadline", setup_deadline, deadline);
	add(s, "short hold", setup_short_hold, short_hold);
	sr = srunner_create(s);
	srunner_run_all(sr, CK_NORMAL);
	failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
