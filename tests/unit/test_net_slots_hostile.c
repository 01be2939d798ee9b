/*
 * virtio-net: the receive queue as a ring of slots, against drivers that break the contract. Nobody
 * but themselves is the worse for it.
 */
#include <check.h>
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <unistd.h>

#include "tests/unit/net_slots_kit.h"

/* What slot 0's descriptors were, and are again. */
static void slot0_desc(gpa_t hdr_off, uint32_t hdr_len, gpa_t off, uint32_t len, uint16_t flags)
{
	struct mock_slots *s = &nic.slots[0];
	gpa_t table = s->indirect ? s->tables : nic.drv.ring[0].desc;

	mock_desc_set(&nic.mp.mem, table, 0, s->hdrs + hdr_off, hdr_len,
		      MOCK_DESC_NEXT | MOCK_DESC_WRITE, 1);
	mock_desc_set(&nic.mp.mem, table, 1, s->first + off, len, flags, 0);
}

START_TEST(hostile_moves)
{
	const uint32_t room = SLOT_BYTES - 64;
	struct mock_ring *r = &nic.drv.ring[0];
	unsigned next = 0;

	for (unsigned how = 0; how < 8; how++) {
		start_mapped(&kinds[_i ? 2 : 0]);
		next = 0;
		put_and_take(nic.slots[0].nr, &next);
		switch (how) {
		case 0: /* the buffer */
			slot0_desc(0, 12, 2048, room, MOCK_DESC_WRITE);
			break;
		case 1: /* its size */
			slot0_desc(0, 12, 0, room - 1, MOCK_DESC_WRITE);
			break;
		case 2: /* the header */
			slot0_desc(16, 12, 0, room, MOCK_DESC_WRITE);
			break;
		case 3:
			slot0_desc(0, 13, 0, room, MOCK_DESC_WRITE);
			break;
		case 4: /* no more for writing */
			slot0_desc(0, 12, 0, room, 0);
			break;
		case 5: /* out of memory */
			slot0_desc(0, 12, GIB(9), room, MOCK_DESC_WRITE);
			break;
		case 6: /* the second slot first */
			mock_nic_slot_give(&nic, 1);
			break;
		default: /* no such slot */
			mock_ring_offer(r, 257);
			break;
		}
		if (how < 6)
			mock_nic_slot_give(&nic, 0);
		ck_assert_int_eq(put(&plain, 60), -ESTALE);
		ck_assert_int_eq(put(&plain, 0), -ESTALE);
		ck_assert_uint_eq(given(), 1);
		ck_assert(!mock_ring_used(r, NULL, NULL));
		ck_assert(!needs_reset());
		/* Put right, it goes on. */
		slot0_desc(0, 12, 0, room, MOCK_DESC_WRITE);
		if (how >= 6) {
			r->avail_idx--;
			mock_nic_slot_give(&nic, 0);
		}
		put_and_take(1, &next);
	}
	/* Left alone, the ordinary path judges what it finds. */
	mock_ring_offer(r, 300);
	ck_assert_int_eq(put(&plain, 60), -ESTALE);
	leave();
	ck_assert_int_eq(mock_deliver(nic.port, &plain, frame, 60), -EPROTO);
	mock_loop_run(&nic.loop);
	ck_assert(needs_reset());
}
END_TEST

START_TEST(hostile_index)
{
	static const uint16_t by[] = { 257, 4711, 65535, 32768 };
	unsigned next = 0;

	for (unsigned op = 0; op < 3; op++) {
		start_mapped(&kinds[_i & 1 ? 2 : 0]);
		next = 0;
		put_and_take(nic.slots[0].nr, &next);
		mock_ring_set_avail_idx(&nic.drv.ring[0],
					(uint16_t)(nic.drv.ring[0].avail_idx + by[_i]));
		begin();
		if (op == 0)
			ck_assert_int_eq(ops()->rx_slot_put(nic.port, &plain, 60), -EPROTO);
		if (op == 1)
			ck_assert_uint_eq(ops()->rx_slots_given(nic.port), 0);
		if (op == 2) {
			/* Whatever it says, given() finds out. */
			ops()->rx_slots_watch(nic.port, 1);
			ck_assert_uint_eq(ops()->rx_slots_given(nic.port), 0);
		}
		ck_assert_int_eq(ops()->rx_slot_put(nic.port, &plain, 60), -EPROTO);
		ck_assert_uint_eq(ops()->rx_slots_given(nic.port), 0);
		ck_assert(!ops()->rx_slots_watch(nic.port, 1));
		ops()->rx_slots_leave(nic.port);
		end();
		ck_assert(!ops()->rx_begin(nic.port));
		mock_loop_run(&nic.loop);
		ck_assert(needs_reset());
	}
	start_mapped(&kinds[0]);
	ck_assert_int_eq(put(&plain, 60), 0);
}
END_TEST

/* Slots given back unread, again and again: no more are counted than there are. */
START_TEST(hostile_too_early)
{
	unsigned i;

	start_mapped(&kinds[0]);
	mock_nic_slots_give_all(&nic);
	ck_assert_uint_eq(given(), 128);
	for (i = 0; i < 256; i++)
		ck_assert_int_eq(put(&plain, 60), 0);
	for (i = 0; i < 256; i++)
		expect_rx(i % 128, 60);
	ck_assert_uint_eq(given(), 0);
	mock_nic_slots_give_all(&nic);
	mock_nic_slots_give_all(&nic);
	ck_assert_uint_eq(given(), 128);
	/* One more than the ring has places. */
	mock_nic_slot_give(&nic, 0);
	ck_assert_uint_eq(given(), 0);
	mock_loop_run(&nic.loop);
	ck_assert(needs_reset());
}
END_TEST

/* A reset in the middle, after which the ring is smaller, elsewhere, or not of slots at all. */
START_TEST(hostile_reset)
{
	struct ring_kind small = { 16, 8, false, false };
	unsigned next = 0;

	start_mapped(&kinds[_i]);
	put_and_take(1, &next);
	mock_driver_set_status(&nic.drv, 0);
	ck_assert(!ops()->rx_begin(nic.port));
	start_rx(&small, MOCK_NET_ALL);
	/* It is not mapped any more, whether or not the lane has noticed. */
	ck_assert_int_eq(put(&plain, 60), -ESTALE);
	ck_assert_uint_eq(given(), 0);
	leave();
	ck_assert_int_eq(mock_deliver(nic.port, &plain, frame, 60), 0);
	expect_rx(0, 60);
	ck_assert_uint_eq(car.rx_refused, 0);
	mock_nic_slot_give(&nic, 0);
	ck_assert_int_eq(map_rx(), 0);
	ck_assert_uint_eq(list.nr, 8);
	ck_assert_int_eq(put(&plain, 60), 0);
	expect_rx(1, 60);
	ck_assert(mock_nic_start(&nic, MOCK_NET_ALL, 256));
	mock_nic_rx_add(&nic, 2000, 1);
	ck_assert_int_eq(put(&plain, 60), -ESTALE);
	ck_assert_int_eq(mock_deliver(nic.port, &plain, frame, 60), 0);
}
END_TEST

/* The driver scribbles over rings and tables while a lane maps, puts and leaves. */
START_TEST(hostile_driver)
{
	unsigned puts = 0, stale = 0, faults = 0, refused = 0;

	srand((unsigned)_i + 1);
	for (unsigned round = 0; round < 600; round++) {
		struct ring_kind k = { 16, 8, rand() & 1, rand() & 1 };
		struct mock_ring *r = &nic.drv.ring[0];

		start_mapped(&k);
		for (unsigned step = 0; step < 40; step++) {
			unsigned i = (unsigned)rand() % 16, at;
			int rc = put(&plain, rand() % 2100);

			puts += !rc;
			stale += rc == -ESTALE;
			refused += rc == -ENOBUFS;
			while (mock_ring_used(r, &at, NULL))
				if (rand() % 2)
					mock_ring_offer(r, (uint16_t)at);
			if (rand() % 8 == 0)
				mock_ring_offer(r, (uint16_t)(rand() % (rand() % 16 ? 16 : 30)));
			if (rand() % 16 == 0)
				mock_desc_set(&nic.mp.mem,
					      k.indirect ? nic.slots[0].tables : r->desc, i,
					      nic.free_mem + (gpa_t)rand() % KIB(64),
					      (uint32_t)rand() % 3000,
					      (uint16_t)(rand() % 8 ? MOCK_DESC_WRITE : rand()),
					      (uint16_t)(rand() % 17));
			if (rand() % 64 == 0)
				mock_ring_set_avail_idx(r, (uint16_t)rand());
			if (ops()->rx_begin(nic.port)) {
				/* What it mapped itself may be more than it began with. */
				ck_assert_uint_le(ops()->rx_slots_given(nic.port), 16);
				ops()->rx_slots_watch(nic.port, (unsigned)rand() % 20);
				end();
			}
			if (rand() % 8 == 0 && ops()->rx_begin(nic.port)) {
				ops()->rx_slots_leave(nic.port);
				if (!ops()->rx_slots_look(nic.port, &list, &why))
					ops()->rx_slots_enter(nic.port, &list);
				end();
			}
			if (rand() % 32 == 0)
				mock_deliver(nic.port, &plain, frame, 60);
		}
		mock_loop_run(&nic.loop);
		faults += needs_reset();
	}
	ck_assert_uint_gt(puts, 1000);
	ck_assert_uint_gt(stale, 100);
	ck_assert_uint_gt(refused, 5);
	ck_assert_uint_gt(faults, 100);
	start_mapped(&kinds[0]);
	ck_assert_int_eq(put(&plain, 60), 0);
}
END_TEST

static _Atomic bool stop_flag;
static _Atomic unsigned delivered;

/* A lane: maps when it can, puts, counts and watches, leaves now and then. */
static void *lane_thread(void *arg)
{
	static struct slot_list l;
	const char *reason;
	bool more;

	for (unsigned n = 0; !atomic_load(&stop_flag); n++) {
		if (!ops()->rx_begin(nic.port))
			continue;
		more = !ops()->rx_slot_put(nic.port, &plain, 60);
		if (more)
			atomic_fetch_add(&delivered, 1);
		else if (!ops()->rx_slots_given(nic.port) && n % 3 == 0 &&
			 !ops()->rx_slots_look(nic.port, &l, &reason))
			ops()->rx_slots_enter(nic.port, &l);
		ops()->rx_slots_watch(nic.port, 1 + n % 8);
		if (n % 4096 == 0)
			ops()->rx_slots_leave(nic.port);
		ops()->rx_end(nic.port);
	}
	return NULL;
}

static void *other_thread(void *arg)
{
	uint8_t buf[60];

	mock_frame_fill(buf, sizeof(buf), 1, 2, 0);
	while (!atomic_load(&stop_flag)) {
		mock_deliver(nic.port, &plain, buf, sizeof(buf));
		usleep(50);
	}
	return NULL;
}

START_TEST(reset_during_lane)
{
	struct ring_kind k = { 64, 32, false, _i };
	pthread_t th[2];

	ck_assert_int_eq(loop_start(&nic.loop), 0);
	pthread_create(&th[0], NULL, lane_thread, NULL);
	pthread_create(&th[1], NULL, other_thread, NULL);
	for (unsigned round = 0; round < 100 || atomic_load(&delivered) < 1000; round++) {
		k.indirect = round & 1;
		start_rx(&k, MOCK_NET_ALL);
		mock_driver_kick(&nic.drv, 0);
		for (unsigned n = 0; n < 200; n++) {
			unsigned i;

			if (mock_nic_slot_rx(&nic, &i, &got))
				mock_nic_slot_give(&nic, i);
			if (n % 32 == 0)
				mock_driver_kick(&nic.drv, 0);
		}
		mock_driver_set_status(&nic.drv, 0);
		ck_assert(!ops()->rx_begin(nic.port));
	}
	atomic_store(&stop_flag, true);
	pthread_join(th[0], NULL);
	pthread_join(th[1], NULL);
}
END_TEST

static TCase *case_hostile(void)
{
	TCase *tc = tcase_create("hostile");

	tcase_set_timeout(tc, 120);
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_loop_test(tc, hostile_moves, 0, 2);
	tcase_add_loop_test(tc, hostile_index, 0, 4);
	tcase_add_test(tc, hostile_too_early);
	tcase_add_loop_test(tc, hostile_reset, 0, ARRAY_SIZE(kinds));
	tcase_add_loop_test(tc, hostile_driver, 0, 4);
	tcase_add_loop_test(tc, reset_during_lane, 0, 2);
	return tc;
}

int main(void)
{
	Suite *s = suite_create("net_slots_hostile");
	SRunner *sr;
	int failed;

	suite_add_tcase(s, case_hostile());
	sr = srunner_create(s);
	srunner_run_all(sr, CK_NORMAL);
	failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
