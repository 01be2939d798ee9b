/* virtio-net: frames that the carrier keeps, because somebody still reads their buffers. */
#include <check.h>
#include <errno.h>
#include <signal.h>
#include <stdlib.h>

#include "tests/unit/net_slots_kit.h"

static void start_tx(uint64_t features, uint16_t size, unsigned nr)
{
	ck_assert(mock_nic_start(&nic, features, size));
	mock_nic_slots_tx_init(&nic, nr, 2048, SLOTS_BASE, 0);
	mock_frame_fill(frame, 60, 2, 1, 0);
}

static void send_slot(unsigned i)
{
	mock_nic_slot_send(&nic, i, &plain, frame, 60);
}

/* Exactly these slots were completed, in this order. */
static void expect_sent(const unsigned *slots, unsigned n)
{
	unsigned i;

	for (unsigned k = 0; k < n; k++) {
		ck_assert(mock_nic_slot_sent(&nic, &i));
		ck_assert_uint_eq(i, slots[k]);
	}
	ck_assert(!mock_nic_slot_sent(&nic, &i));
}

/* The carrier is done with n more frames, and says so as it has to. */
static void done(unsigned n)
{
	car.done_in_end = n;
	nic.port->ops->tx_resume(nic.port);
	mock_loop_run(&nic.loop);
}

START_TEST(tx_slot_of_a_frame)
{
	gpa_t gpa;

	nic.slots_indirect = _i;
	start_tx(MOCK_NET_ALL, 256, 128);
	for (unsigned i = 0; i < 128; i++) {
		send_slot(i);
		mock_driver_kick(&nic.drv, 1);
		ck_assert_ptr_eq(car.slot, mock_nic_slot_at(&nic, 1, i));
		ck_assert_ptr_eq(car.slot_hdr,
				 gmem_ptr(&nic.mp.mem, nic.slots[1].hdrs + MOCK_SLOT_HDR_BYTES * i,
					  VNET_HDR_BYTES));
		expect_sent(&i, 1);
	}
	/* Buffers of any other form have no slot; these are not of the driver's slots. */
	ck_assert(mock_nic_start(&nic, MOCK_NET_ALL, 256));
	for (unsigned segs = 1; segs < 6; segs++) {
		mock_nic_tx(&nic, &plain, frame, 60, segs);
		mock_driver_kick(&nic.drv, 1);
		ck_assert_uint_eq(car.len, 60);
		ck_assert_ptr_null(car.slot);
		ck_assert_ptr_null(car.slot_hdr);
	}
	gpa = mock_driver_alloc(&nic.drv, 4096, 1);
	for (uint32_t hdr = 11; hdr < 15; hdr++) {
		mock_ring_add(
			&nic.drv.ring[1],
			(struct mock_seg[]){ { gpa, hdr, false }, { gpa + 100, 72 - hdr, false } },
			2);
		mock_driver_kick(&nic.drv, 1);
		ck_assert_uint_eq(car.len, 60);
		ck_assert_int_eq(car.slot != NULL, hdr == VNET_HDR_BYTES);
		ck_assert_int_eq(car.slot_hdr != NULL, hdr == VNET_HDR_BYTES);
	}
}
END_TEST

START_TEST(tx_kept_until_done)
{
	unsigned irqs;

	start_tx(MOCK_NET_ALL, 256, 128);
	car.keep = 5;
	for (unsigned i = 0; i < 5; i++)
		send_slot(i);
	mock_driver_kick(&nic.drv, 1);
	ck_assert_uint_eq(car.sends, 5);
	ck_assert_uint_eq(nic.port->stats.tx_frames, 5);
	expect_sent(NULL, 0);
	/* The ring is idle: a new frame finds a doorbell. */
	ck_assert(!mock_ring_no_notify(&nic.drv.ring[1]));

	irqs = nic.drv.queue_irqs[1];
	car.send_ends = 0;
	done(2);
	ck_assert_uint_eq(car.send_ends, 1);
	expect_sent((unsigned[]){ 0, 1 }, 2);
	ck_assert_uint_eq(nic.drv.queue_irqs[1] - irqs, 1);
	/* Nothing to tell: one send_end(), no interrupt. */
	done(0);
	ck_assert_uint_eq(car.send_ends, 2);
	ck_assert_uint_eq(nic.drv.queue_irqs[1] - irqs, 1);

	/* Within send(), and then a frame that is not kept overtakes the others. */
	car.done_in_send = 1;
	send_slot(5);
	mock_driver_kick(&nic.drv, 1);
	expect_sent((unsigned[]){ 2, 5 }, 2);
	ck_assert_uint_eq(nic.drv.queue_irqs[1] - irqs, 2);
	done(2);
	expect_sent((unsigned[]){ 3, 4 }, 2);
	ck_assert_uint_eq(car.kept, 0);
}
END_TEST

START_TEST(tx_kept_and_blocked)
{
	start_tx(MOCK_NET_ALL, 256, 128);
	car.keep = 2;
	send_slot(0);
	send_slot(1);
	mock_driver_kick(&nic.drv, 1);
	/* A frame is done within the send() that is refused. */
	car.eagain = 1;
	car.done_in_send = 1;
	send_slot(2);
	send_slot(3);
	mock_driver_kick(&nic.drv, 1);
	expect_sent((unsigned[]){ 0 }, 1);
	ck_assert_uint_eq(car.sends, 2);
	/* It tries again, is refused again, and says send_end() all the same. */
	car.eagain = 1;
	car.send_ends = 0;
	done(1);
	ck_assert_uint_eq(car.send_ends, 1);
	expect_sent((unsigned[]){ 1 }, 1);
	done(0);
	ck_assert_uint_eq(car.sends, 4);
	ck_assert_uint_eq(car.send_ends, 2);
	expect_sent((unsigned[]){ 2, 3 }, 2);
}
END_TEST

/* The whole ring is kept, in rings as small as they get, round and round, past index 65535. */
START_TEST(tx_whole_ring_kept)
{
	static const struct {
		uint16_t size;
		bool indirect, event;
	} rings[] = { { 2, false, false },
		      { 2, true, true },
		      { 1, true, false },
		      { 128, true, true },
		      { 256, false, true } };
	unsigned nr = rings[_i].size / (rings[_i].indirect ? 1 : 2);
	unsigned rounds = nr < 8 ? 300 : 66000 / nr, i;

	nic.slots_indirect = rings[_i].indirect;
	start_tx(MOCK_NET_ALL | (rings[_i].event ? EVENT_IDX : 0), rings[_i].size, nr);
	for (unsigned round = 0; round < rounds; round++) {
		car.keep = nr;
		for (i = 0; i < nr; i++)
			send_slot(i);
		mock_driver_kick(&nic.drv, 1);
		ck_assert_uint_eq(car.kept, nr);
		ck_assert(!mock_nic_slot_sent(&nic, &i));
		if (rings[_i].event)
			ck_assert_uint_eq(mock_ring_avail_event(&nic.drv.ring[1]),
					  nic.drv.ring[1].avail_idx);
		else
			ck_assert(!mock_ring_no_notify(&nic.drv.ring[1]));
		/* In two parts, the first from within a doorbell that brings nothing. */
		car.done_in_end = nr / 2;
		mock_driver_kick(&nic.drv, 1);
		for (unsigned k = 0; k < nr / 2; k++) {
			ck_assert(mock_nic_slot_sent(&nic, &i));
			ck_assert_uint_eq(i, k);
		}
		ck_assert(!mock_nic_slot_sent(&nic, &i));
		car.done_in_end = nr;
		mock_driver_kick(&nic.drv, 1);
		for (unsigned k = nr / 2; k < nr; k++) {
			ck_assert(mock_nic_slot_sent(&nic, &i));
			ck_assert_uint_eq(i, k);
		}
		ck_assert(!mock_nic_slot_sent(&nic, &i));
	}
	ck_assert(!needs_reset());
}
END_TEST

/* Frames for somebody else between kept ones, at random; nothing is lost, doubled or early. */
START_TEST(tx_out_of_order)
{
	bool kept[128] = { false };
	unsigned fifo[128], first = 0, nr = 0, left = 128, sent = 0, i;
	unsigned free_slots[128];

	start_tx(MOCK_NET_ALL | (_i ? EVENT_IDX : 0), 256, 128);
	for (i = 0; i < 128; i++)
		free_slots[i] = i;
	srand(7);
	for (unsigned step = 0; step < 30000; step++) {
		unsigned finish = rand() % 4 ? 0 : (unsigned)rand() % (nr + 1);
		bool keep = rand() % 3, send = left && rand() % 8;
		unsigned slot = 0;

		car.done_in_end = finish;
		if (send) {
			slot = free_slots[--left];
			car.keep = keep;
			send_slot(slot);
			kept[slot] = keep;
		}
		mock_driver_kick(&nic.drv, 1);
		if (send && keep)
			fifo[(first + nr++) % 128] = slot;
		if (send && !keep) {
			ck_assert(mock_nic_slot_sent(&nic, &i));
			ck_assert_uint_eq(i, slot);
			free_slots[left++] = i;
			sent++;
		}
		for (; finish; finish--) {
			ck_assert(mock_nic_slot_sent(&nic, &i));
			ck_assert(kept[i]);
			ck_assert_uint_eq(i, fifo[first]);
			first = (first + 1) % 128;
			nr--;
			free_slots[left++] = i;
			sent++;
		}
		ck_assert(!mock_nic_slot_sent(&nic, &i));
		ck_assert_uint_eq(car.kept, nr);
	}
	ck_assert_uint_gt(sent, 10000);
	ck_assert(!needs_reset());
}
END_TEST

START_TEST(tx_reset_forgets_kept)
{
	start_tx(MOCK_NET_ALL, 256, 128);
	car.keep = 3;
	for (unsigned i = 0; i < 3; i++)
		send_slot(i);
	mock_driver_kick(&nic.drv, 1);
	ck_assert_uint_eq(car.kept, 3);
	/* A carrier that lets go of one more in stop() and tells of it too late. */
	car.done_in_stop = 1;
	nic.port->ops->tx_resume(nic.port);
	mock_driver_set_status(&nic.drv, 0);
	ck_assert_uint_eq(car.kept, 0);
	car.send_ends = 0;
	mock_loop_run(&nic.loop);
	ck_assert_uint_eq(car.send_ends, 0);
	expect_sent(NULL, 0);

	start_tx(MOCK_NET_ALL, 256, 128);
	car.keep = 2;
	send_slot(0);
	send_slot(1);
	mock_driver_kick(&nic.drv, 1);
	expect_sent(NULL, 0);
	done(2);
	expect_sent((unsigned[]){ 0, 1 }, 2);

	/* A fault of the guest does the same: nothing is completed any more. */
	car.keep = 1;
	send_slot(2);
	mock_ring_offer(&nic.drv.ring[1], 999);
	car.done_in_stop = 1;
	mock_driver_kick(&nic.drv, 1);
	ck_assert(needs_reset());
	expect_sent(NULL, 0);
	done(0);
	start_tx(MOCK_NET_ALL, 256, 128);
	send_slot(0);
	mock_driver_kick(&nic.drv, 1);
	expect_sent((unsigned[]){ 0 }, 1);
}
END_TEST

/* What is kept counts as in flight: a driver that gives more than its queue holds is found out. */
START_TEST(tx_more_than_the_queue_while_kept)
{
	nic.slots_indirect = true;
	start_tx(MOCK_NET_ALL, 16, 16);
	car.keep = 16;
	for (unsigned i = 0; i < 16; i++)
		send_slot(i);
	mock_driver_kick(&nic.drv, 1);
	ck_assert_uint_eq(car.kept, 16);
	send_slot(0);
	mock_driver_kick(&nic.drv, 1);
	ck_assert(needs_reset());
	ck_assert_uint_eq(car.sends, 16);
	ck_assert_uint_eq(car.stops, 1);

	/* The same slot over and over is the driver's own trouble. */
	start_tx(MOCK_NET_ALL, 16, 16);
	car.keep = 16;
	for (unsigned i = 0; i < 16; i++)
		send_slot(3);
	mock_driver_kick(&nic.drv, 1);
	done(16);
	for (unsigned k = 0, i; k < 16; k++) {
		ck_assert(mock_nic_slot_sent(&nic, &i));
		ck_assert_uint_eq(i, 3);
	}
	ck_assert(!needs_reset());
}
END_TEST

/* More done than was kept is a carrier's bug, not a guest's doing. */
START_TEST(tx_done_of_more_than_kept)
{
	start_tx(MOCK_NET_ALL, 256, 128);
	car.keep = 1;
	send_slot(0);
	mock_driver_kick(&nic.drv, 1);
	nic.port->ops->tx_done(nic.port, 2);
}
END_TEST

static TCase *case_tx(void)
{
	TCase *tc = tcase_create("tx");

	tcase_set_timeout(tc, 120);
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_loop_test(tc, tx_slot_of_a_frame, 0, 2);
	tcase_add_test(tc, tx_kept_until_done);
	tcase_add_test(tc, tx_kept_and_blocked);
	tcase_add_loop_test(tc, tx_whole_ring_kept, 0, 5);
	tcase_add_loop_test(tc, tx_out_of_order, 0, 2);
	tcase_add_test(tc, tx_reset_forgets_kept);
	tcase_add_test(tc, tx_more_than_the_queue_while_kept);
	tcase_add_test_raise_signal(tc, tx_done_of_more_than_kept, SIGABRT);
	return tc;
}

int main(void)
{
	Suite *s = suite_create("net_kept");
	SRunner *sr;
	int failed;

	suite_add_tcase(s, case_tx());
	sr = srunner_create(s);
	srunner_run_all(sr, CK_NORMAL);
	failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
