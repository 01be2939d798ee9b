/* virtio-net: the receive queue as a ring of slots, with drivers that keep their contract. */
#include <check.h>
#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "tests/unit/net_slots_kit.h"

/* Once round all indices is enough under a sanitizer. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED 1
#else
#define SANITIZED 0
#endif

static bool watch(unsigned n)
{
	return mock_slots_watch(nic.port, n);
}

START_TEST(rx_look)
{
	const struct ring_kind *k = &kinds[_i];

	start_rx(k, MOCK_NET_ALL);
	begin();
	for (unsigned turn = 0; turn < 2; turn++) {
		ck_assert_int_eq(ops()->rx_slots_look(nic.port, &list, &why), 0);
		ck_assert_uint_eq(list.nr, k->nr);
		for (unsigned i = 0; i < list.nr; i++) {
			gpa_t hdr = nic.slots[0].hdrs + MOCK_SLOT_HDR_BYTES * i;

			ck_assert_ptr_eq(list.slot[i].at, mock_nic_slot_at(&nic, 0, i));
			ck_assert_uint_eq(list.slot[i].bytes, SLOT_BYTES - 64);
			ck_assert_ptr_eq(list.slot[i].hdr,
					 gmem_ptr(&nic.mp.mem, hdr, VNET_HDR_BYTES));
		}
	}
	end();
	/* Nothing was taken: the next frame comes in the first of them, and the list begins with
	 * the second. */
	mock_frame_fill(frame, 60, 1, 2, 0);
	ck_assert_int_eq(mock_deliver(nic.port, &plain, frame, 60), 0);
	expect_rx(0, 60);
	ck_assert_mem_eq(got.data, frame, 60);
	begin();
	ck_assert_int_eq(ops()->rx_slots_look(nic.port, &list, &why), 0);
	end();
	ck_assert_uint_eq(list.nr, k->nr - 1);
	if (list.nr)
		ck_assert_ptr_eq(list.slot[0].at, mock_nic_slot_at(&nic, 0, 1));
	else
		ck_assert_int_eq(map_rx(), -ESTALE);
}
END_TEST

START_TEST(rx_look_refuses)
{
	gpa_t gpa;

	/* As Linux's driver: one descriptor, header and all. */
	ck_assert(mock_nic_start(&nic, MOCK_NET_ALL, 256));
	mock_nic_rx_add(&nic, 1526, 1);
	ck_assert_int_eq(map_rx(), -ENOTSUP);
	ck_assert_str_eq(why, "header within the slot");
	ck_assert_int_eq(mock_deliver(nic.port, &plain, frame, 60), 0);
	mock_nic_rx_add(&nic, 65562, 17);
	ck_assert_int_eq(map_rx(), -ENOTSUP);
	ck_assert_str_eq(why, "header within the slot");
	ck_assert_int_eq(mock_deliver(nic.port, &plain, frame, 60), 0);

	/* One that is none, behind some that are. */
	mock_nic_slots_rx_init(&nic, 8, SLOT_BYTES, SLOTS_BASE, 0);
	mock_nic_slots_give_all(&nic);
	gpa = mock_driver_alloc(&nic.drv, 4096, 16);
	nic.drv.ring[0].next_desc = 100;
	mock_ring_add(&nic.drv.ring[0],
		      (struct mock_seg[]){ { gpa, VNET_HDR_BYTES, true },
					   { gpa + 64, 1000, true },
					   { gpa + 2048, 1000, true } },
		      3);
	ck_assert_int_eq(map_rx(), -ENOTSUP);
	ck_assert_str_eq(why, "slot of several segments");
	ck_assert(!needs_reset());

	/* A rule broken is the end of it, as for any receive. */
	mock_ring_offer(&nic.drv.ring[0], 256);
	nic.drv.ring[0].avail_idx -= 2; /* over the one that is none */
	mock_ring_offer(&nic.drv.ring[0], 256);
	mock_ring_set_avail_idx(&nic.drv.ring[0], nic.drv.ring[0].avail_idx);
	ck_assert_int_eq(map_rx(), -EPROTO);
	ck_assert(!ops()->rx_begin(nic.port));
	mock_loop_run(&nic.loop);
	ck_assert(needs_reset());
}
END_TEST

/* Whole turns, the sender's driver having filled the slot; past index 65535. */
START_TEST(rx_turns)
{
	const struct ring_kind *k = &kinds[_i];
	struct virtio_net_hdr_v1 hdr = { .flags = VIRTIO_NET_HDR_F_NEEDS_CSUM,
					 .csum_start = 34,
					 .csum_offset = 16,
					 .num_buffers = 77 };
	unsigned total = k->nr < 8 || (SANITIZED && _i) ? 1000 : 66000, next = 0, taken = 0,
		 frames = 0;
	uint64_t bytes = 0;

	start_mapped(k);
	srand(3);
	while (next < total) {
		unsigned n = 1 + (unsigned)rand() % k->nr, done;
		unsigned irqs = nic.drv.queue_irqs[0];

		begin();
		for (done = 0; done < n; done++, next++) {
			unsigned i = next % k->nr;
			size_t len = next % 7 ? 14 + next % 1900 : 0;
			int rc;

			memcpy(mock_nic_slot_at(&nic, 0, i), &next, sizeof(next));
			rc = ops()->rx_slot_put(nic.port, &hdr, len);
			if (rc) {
				ck_assert_int_eq(rc, -ENOBUFS);
				break;
			}
			frames += len != 0;
			bytes += len;
		}
		end();
		ck_assert_uint_le(nic.drv.queue_irqs[0] - irqs, 1);
		/* All that was put, each in its place. */
		while (taken < next) {
			unsigned i, is;

			ck_assert(mock_nic_slot_rx(&nic, &i, &got));
			ck_assert_uint_eq(i, taken % k->nr);
			ck_assert_uint_eq(got.len, taken % 7 ? 14 + taken % 1900 : 0);
			if (got.len) {
				memcpy(&is, got.data, sizeof(is));
				ck_assert_uint_eq(is, taken);
				ck_assert_uint_eq(got.hdr.flags, VIRTIO_NET_HDR_F_NEEDS_CSUM);
				ck_assert_uint_eq(got.hdr.csum_start, 34);
			}
			taken++;
		}
		ck_assert_uint_eq(given(), k->nr - done);
		for (; done; done--)
			mock_nic_slot_give(&nic, (taken - done) % k->nr);
		ck_assert_uint_eq(given(), k->nr);
	}
	ck_assert_uint_eq(nic.port->stats.rx_frames, frames);
	ck_assert_uint_eq(nic.port->stats.rx_bytes, bytes);
	ck_assert(!needs_reset());
}
END_TEST

START_TEST(rx_staged_until_the_end)
{
	unsigned i, irqs;

	start_mapped(&kinds[0]);
	irqs = nic.drv.queue_irqs[0];
	begin();
	for (unsigned n = 0; n < 10; n++)
		ck_assert_int_eq(ops()->rx_slot_put(nic.port, &plain, 60), 0);
	ck_assert(!mock_nic_slot_rx(&nic, &i, &got));
	ck_assert_uint_eq(ops()->rx_slots_given(nic.port), 118);
	end();
	ck_assert_uint_eq(nic.drv.queue_irqs[0] - irqs, 1);
	for (unsigned n = 0; n < 10; n++)
		expect_rx(n, 60);
	/* A header that the driver did not negotiate is not shown to it. */
	start_rx(&kinds[0], MOCK_NET_BASE);
	ck_assert_int_eq(map_rx(), 0);
	ck_assert_int_eq(put(&(struct virtio_net_hdr_v1){ .flags = 0xff,
							  .gso_type = VIRTIO_NET_HDR_GSO_TCPV4,
							  .gso_size = 1448,
							  .csum_start = 34 },
			     60),
			 0);
	expect_rx(0, 60);
	ck_assert_uint_eq(got.hdr.flags | got.hdr.gso_type | got.hdr.gso_size | got.hdr.csum_start,
			  0);
}
END_TEST

START_TEST(rx_sizes)
{
	const uint32_t room = SLOT_BYTES - 64;

	start_mapped(&kinds[0]);
	ck_assert_int_eq(put(&plain, room + 1), -EMSGSIZE);
	ck_assert_int_eq(put(&plain, FRAME_MAX_BYTES), -EMSGSIZE);
	ck_assert_uint_eq(given(), 128);
	ck_assert_int_eq(put(&plain, room), 0);
	expect_rx(0, room);
	ck_assert_int_eq(put(&plain, 1), 0);
	expect_rx(1, 1);
}
END_TEST

START_TEST(rx_mapped_refuses_others)
{
	struct iovec iov[4];
	unsigned cnt = 4;

	start_mapped(&kinds[0]);
	mock_frame_fill(frame, 60, 1, 2, 0);
	ck_assert_int_eq(mock_deliver(nic.port, &plain, frame, 60), -ENOBUFS);
	ck_assert_uint_eq(car.rx_refused, 1);
	begin();
	ck_assert_int_eq(ops()->rx_reserve(nic.port, 60, iov, &cnt), 0);
	ck_assert_uint_eq(cnt, 0);
	ops()->rx_abort(nic.port);
	end();
	ck_assert_uint_eq(car.rx_refused, 2);
	for (unsigned i = 0; i < 5; i++)
		ck_assert_int_eq(put(&plain, 60), 0);
	/* Back to ordinary buffers: the next in the ring, none left out. Who was refused hears of
	 * it, once. */
	car.rx_readies = 0;
	leave();
	leave();
	mock_loop_run(&nic.loop);
	ck_assert_uint_eq(car.rx_readies, 1);
	ck_assert_int_eq(put(&plain, 60), -ESTALE);
	ck_assert_uint_eq(given(), 0);
	ck_assert_int_eq(mock_deliver(nic.port, &plain, frame, 60), 0);
	ck_assert_uint_eq(car.rx_refused, 2);
	for (unsigned i = 0; i < 6; i++)
		expect_rx(i, 60);
	ck_assert_mem_eq(got.data, frame, 60);
	for (unsigned i = 0; i < 6; i++)
		mock_nic_slot_give(&nic, i);
	/* And again: it begins where the ring is. */
	ck_assert_int_eq(map_rx(), 0);
	ck_assert_ptr_eq(list.slot[0].at, mock_nic_slot_at(&nic, 0, 6));
	for (unsigned i = 0; i < 128; i++)
		ck_assert_int_eq(put(&plain, 60), 0);
	for (unsigned i = 0; i < 128; i++)
		expect_rx((i + 6) % 128, 60);
	leave();
	mock_loop_run(&nic.loop);
	ck_assert_uint_eq(car.rx_readies, 1);
}
END_TEST

/* A carrier without rx_refused(), and none at all. */
START_TEST(rx_refused_is_optional)
{
	struct carrier_ops without = *car.carrier.ops;

	without.rx_refused = NULL;
	car.carrier.ops = &without;
	start_mapped(&kinds[0]);
	ck_assert_int_eq(mock_deliver(nic.port, &plain, frame, 60), -ENOBUFS);
	virtio_net_set_carrier(nic.net, NULL);
	start_mapped(&kinds[0]);
	ck_assert_int_eq(mock_deliver(nic.port, &plain, frame, 60), -ENOBUFS);
}
END_TEST

START_TEST(rx_enter_only_what_is_there)
{
	start_rx(&kinds[0], MOCK_NET_ALL);
	begin();
	ck_assert_int_eq(ops()->rx_slots_look(nic.port, &list, &why), 0);
	list.nr = 0;
	ck_assert_int_eq(ops()->rx_slots_enter(nic.port, &list), -ESTALE);
	list.nr = SLOTS_MAX;
	ck_assert_int_eq(ops()->rx_slots_enter(nic.port, &list), -ESTALE);
	list.nr = 128;
	list.slot[127].at++;
	ck_assert_int_eq(ops()->rx_slots_enter(nic.port, &list), -ESTALE);
	list.slot[127].at--;
	list.slot[5].bytes--;
	ck_assert_int_eq(ops()->rx_slots_enter(nic.port, &list), -ESTALE);
	list.slot[5].bytes++;
	list.slot[0].hdr = NULL;
	ck_assert_int_eq(ops()->rx_slots_enter(nic.port, &list), -ESTALE);
	ck_assert_int_eq(ops()->rx_slot_put(nic.port, &plain, 60), -ESTALE);
	ck_assert_int_eq(ops()->rx_slots_look(nic.port, &list, &why), 0);
	ck_assert_int_eq(ops()->rx_slots_enter(nic.port, &list), 0);
	ck_assert_int_eq(ops()->rx_slot_put(nic.port, &plain, 60), 0);
	/* What was given since then is of no interest to it; what is missing is. */
	ck_assert_int_eq(ops()->rx_slots_enter(nic.port, &list), -ESTALE);
	end();
	/* A driver that breaks a rule in between. */
	begin();
	ck_assert_int_eq(ops()->rx_slots_look(nic.port, &list, &why), 0);
	mock_ring_set_avail_idx(&nic.drv.ring[0], 4711);
	ck_assert_int_eq(ops()->rx_slots_enter(nic.port, &list), -EPROTO);
	ck_assert_int_eq(ops()->rx_slots_enter(nic.port, &list), -EPROTO);
	ck_assert_int_eq(ops()->rx_slots_look(nic.port, &list, &why), -EPROTO);
	end();
	mock_loop_run(&nic.loop);
	ck_assert(needs_reset());
}
END_TEST

/* Does the driver have to ring when it gives one slot more? */
static bool rings(const struct ring_kind *k)
{
	struct mock_ring *r = &nic.drv.ring[0];

	return k->event ? mock_ring_avail_event(r) == r->avail_idx : !mock_ring_no_notify(r);
}

START_TEST(rx_watch)
{
	const struct ring_kind *k = &kinds[_i];
	unsigned next = 0, back = 0;

	start_mapped(k);
	ck_assert_uint_eq(given(), k->nr);
	/* All are there: none more can come. */
	ck_assert(!watch(1));
	ck_assert(!watch(0));
	ck_assert(!watch(UINT32_MAX));
	for (unsigned round = 0; round < (k->nr > 8 ? 1000 : 50); round++) {
		unsigned want;

		put_and_take(k->nr / 2 + 1, &next);
		want = 1 + round % (k->nr / 2 + 1);
		ck_assert_uint_eq(given(), k->nr - (k->nr / 2 + 1));
		/* A kick in between takes the wish back where it is a flag. */
		mock_driver_kick(&nic.drv, 0);
		ck_assert(!watch(want));
		for (unsigned n = 1; n < want; n++) {
			/* EVENT_IDX: only the last one rings. */
			if (k->event)
				ck_assert(!rings(k));
			mock_nic_slot_give(&nic, back++ % k->nr);
		}
		ck_assert(rings(k));
		mock_nic_slot_give(&nic, back++ % k->nr);
		car.rx_readies = 0;
		mock_driver_kick(&nic.drv, 0);
		ck_assert_uint_eq(car.rx_readies, 1);
		while (back % k->nr != next)
			mock_nic_slot_give(&nic, back++ % k->nr);
		if (k->nr == 1)
			continue;
		/* They came before it asked, counted from what it knew. */
		ck_assert_uint_eq(given(), k->nr);
		put_and_take(2, &next);
		ck_assert_uint_eq(given(), k->nr - 2);
		mock_nic_slot_give(&nic, back++ % k->nr);
		ck_assert(!watch(2));
		ck_assert(rings(k));
		ck_assert(watch(1));
		mock_nic_slot_give(&nic, back++ % k->nr);
		ck_assert(watch(1));
		/* The next one rings in any case: it may be content with another look now. */
		ck_assert(rings(k));
		/* It was told of both now. */
		ck_assert(!watch(1));
		ck_assert_uint_eq(given(), k->nr);
	}
	/* More than there are: all of them, or it would wait forever. */
	put_and_take(1, &next);
	ck_assert_uint_eq(given(), k->nr - 1);
	ck_assert(!watch(k->nr + 5));
	ck_assert(rings(k));
	ck_assert(!watch(UINT32_MAX));
	ck_assert(rings(k));
}
END_TEST

/* A lane that waits for the rest of the slots before it maps them. */
START_TEST(rx_watch_before_mapping)
{
	const struct ring_kind *k = &kinds[_i];
	unsigned given_now = k->nr / 2;

	nic.slots_indirect = k->indirect;
	ck_assert(mock_nic_start(&nic, MOCK_NET_ALL | (k->event ? EVENT_IDX : 0), k->size));
	mock_nic_slots_rx_init(&nic, k->nr, SLOT_BYTES, SLOTS_BASE, 0);
	for (unsigned i = 0; i < given_now; i++)
		mock_nic_slot_give(&nic, i);
	mock_driver_kick(&nic.drv, 0);
	begin();
	ck_assert_int_eq(ops()->rx_slots_look(nic.port, &list, &why), 0);
	ck_assert_uint_eq(list.nr, given_now);
	/* One comes in between, and is one of those that are waited for. */
	if (k->nr - given_now > 1)
		mock_nic_slot_give(&nic, given_now++);
	ck_assert(!ops()->rx_slots_watch(nic.port, k->nr - list.nr));
	end();
	for (; given_now < k->nr - 1; given_now++) {
		if (k->event)
			ck_assert(!rings(k));
		mock_nic_slot_give(&nic, given_now);
	}
	ck_assert(rings(k));
	mock_nic_slot_give(&nic, given_now);
	begin();
	ck_assert(ops()->rx_slots_watch(nic.port, 1));
	end();
	ck_assert_int_eq(map_rx(), 0);
	ck_assert_uint_eq(list.nr, k->nr);
	ck_assert(!watch(1));
}
END_TEST

START_TEST(rx_none_left)
{
	const struct ring_kind *k = &kinds[_i];
	unsigned next = 0;

	start_mapped(k);
	mock_driver_kick(&nic.drv, 0);
	put_and_take(k->nr, &next);
	if (!k->event)
		ck_assert(mock_ring_no_notify(&nic.drv.ring[0]));
	ck_assert_int_eq(put(&plain, 60), -ENOBUFS);
	ck_assert_uint_eq(given(), 0);
	ck_assert(rings(k));
	mock_nic_slot_give(&nic, 0);
	car.rx_readies = 0;
	mock_driver_kick(&nic.drv, 0);
	ck_assert_uint_eq(car.rx_readies, 1);
	ck_assert_int_eq(put(&plain, 60), 0);
	expect_rx(0, 60);
	ck_assert_uint_eq(nic.port->stats.rx_frames, k->nr + 1);
}
END_TEST

START_TEST(rings_are_known)
{
	struct mock_ring *r = nic.drv.ring;
	uint8_t *p;

	ck_assert(!ops()->touches_rings(nic.port, gmem_ptr(&nic.mp.mem, MIB(1), MIB(1)), MIB(1)));
	start_mapped(&kinds[0]);
	for (unsigned q = 0; q < 2; q++) {
		p = gmem_ptr(&nic.mp.mem, r[q].desc, 16);
		ck_assert(ops()->touches_rings(nic.port, p, 1));
		ck_assert(ops()->touches_rings(nic.port, p - KIB(4), KIB(4) + 1));
		p = gmem_ptr(&nic.mp.mem, r[q].used, 16);
		ck_assert(ops()->touches_rings(nic.port, p + 6 + 8 * 256 - 1, 1));
	}
	p = gmem_ptr(&nic.mp.mem, r[0].desc, 16);
	ck_assert(!ops()->touches_rings(nic.port, p - KIB(4), KIB(4)));
	for (unsigned i = 0; i < 128; i++)
		ck_assert(!ops()->touches_rings(nic.port, list.slot[i].at, list.slot[i].bytes));
}
END_TEST

/* -- The driver's word -- */

static void on_bell(struct loop_fd *h, uint32_t events)
{
}

static int follow(struct loop *l, struct loop_fd *h)
{
	int rc;

	begin();
	rc = ops()->rx_slots_follow(nic.port, l, h);
	end();
	return rc;
}

static bool lent(void)
{
	return atomic_load(&nic.drv.lent[0]);
}

static void drop(struct loop *l, struct loop_fd *h)
{
	loop_del(l, h);
	ck_assert_int_eq(close(h->fd), 0);
}

/* The doorbell is lent while the element is mapped, once, and comes back with its end, whichever
 * that is. */
START_TEST(rx_follow)
{
	struct loop_fd h = { .fn = on_bell }, again = { .fn = on_bell };
	struct loop sender;

	ck_assert_int_eq(loop_init(&sender, "sender"), 0);
	start_rx(&kinds[_i], MOCK_NET_ALL);
	ck_assert_int_eq(follow(&sender, &h), -ENOTSUP); /* not mapped */
	for (unsigned n = 0; n < 3; n++) {
		if (n)
			start_rx(&kinds[_i], MOCK_NET_ALL);
		ck_assert_int_eq(map_rx(), 0);
		ck_assert_int_eq(follow(&sender, &h), 0);
		ck_assert(lent());
		ck_assert_int_eq(follow(&sender, &again), -EALREADY);
		mock_loop_run(&sender);
		switch (n) {
		case 0:
			leave();
			leave();
			break;
		case 1:
			mock_driver_set_status(&nic.drv, 0);
			break;
		case 2:
			mock_ring_set_avail_idx(&nic.drv.ring[0], 999);
			begin();
			ck_assert_uint_eq(ops()->rx_slots_given(nic.port), 0);
			end();
			mock_loop_run(&nic.loop);
			ck_assert(needs_reset());
			break;
		}
		ck_assert(!lent());
		drop(&sender, &h);
	}
	loop_fini(&sender);
}
END_TEST

/* Who has no EVENT_IDX rings until told not to, and told is it by whoever hears it. */
START_TEST(rx_follow_quiet)
{
	struct loop_fd h = { .fn = on_bell };
	struct loop sender;

	ck_assert_int_eq(loop_init(&sender, "sender"), 0);
	start_rx(&kinds[0], MOCK_NET_ALL);
	ck_assert_int_eq(map_rx(), 0);
	ck_assert_int_eq(follow(&sender, &h), 0);
	ck_assert_int_eq(put(&plain, 60), 0);
	ck_assert(!watch(1));
	ck_assert(!mock_ring_no_notify(&nic.drv.ring[0]));
	expect_rx(0, 60);
	mock_nic_slot_give(&nic, 0);
	ck_assert_uint_eq(given(), kinds[0].nr);
	ck_assert(mock_ring_no_notify(&nic.drv.ring[0]));
	/* Some came before the doorbell was asked for: the next does ring, although these are
	 * looked at now. */
	for (unsigned n = 0; n < 4; n++)
		ck_assert_int_eq(put(&plain, 60), 0);
	given();
	for (unsigned n = 1; n < 3; n++) {
		expect_rx(n, 60);
		mock_nic_slot_give(&nic, n);
	}
	ck_assert(watch(2));
	ck_assert_uint_eq(given(), kinds[0].nr - 2);
	ck_assert(!mock_ring_no_notify(&nic.drv.ring[0]));
	given();
	ck_assert(mock_ring_no_notify(&nic.drv.ring[0]));
	leave();
	drop(&sender, &h);
	loop_fini(&sender);
}
END_TEST

/* What was rung for before it was lent may have been for the NIC's own carrier. */
START_TEST(rx_follow_tells_who_has_waited)
{
	struct loop_fd h = { .fn = on_bell };
	struct loop sender;
	unsigned readies;

	ck_assert_int_eq(loop_init(&sender, "sender"), 0);
	start_rx(&kinds[1], MOCK_NET_ALL);
	ck_assert_int_eq(map_rx(), 0);
	mock_loop_run(&nic.loop);
	readies = car.rx_readies;
	ck_assert_int_eq(follow(&sender, &h), 0);
	mock_loop_run(&nic.loop);
	ck_assert_uint_eq(car.rx_readies, readies + 1);
	mock_driver_kick(&nic.drv, 0);
	mock_loop_run(&nic.loop);
	ck_assert_uint_eq(car.rx_readies, readies + 1);
	leave();
	mock_loop_run(&nic.loop);
	ck_assert_uint_eq(car.rx_readies, readies + 2);
	drop(&sender, &h);
	loop_fini(&sender);
}
END_TEST

START_TEST(rx_follow_without_doorbells)
{
	const struct virtio_transport_ops *with = nic.dev->transport;
	struct virtio_transport_ops without = *with;
	struct loop_fd h = { .fn = on_bell };

	without.lend_doorbell = NULL; /* virtio-mmio */
	nic.dev->transport = &without;
	start_rx(&kinds[0], MOCK_NET_ALL);
	ck_assert_int_eq(map_rx(), 0);
	ck_assert_int_eq(follow(&nic.loop, &h), -ENOTSUP);
	leave();
	nic.dev->transport = with;
}
END_TEST

START_TEST(stable_by_feature)
{
	const uint64_t bit = VNET_BIT(XVMM_F_SLOTS_STABLE);

	/* Not offered: not to be had. */
	ck_assert(!mock_nic_start(&nic, MOCK_NET_ALL | bit, 256));
	virtio_net_offer_stable_slots(nic.net);
	for (unsigned launcher = 0; launcher < 2; launcher++) {
		nic.port->slots_stable = launcher;
		/* Linux's driver does not take it. */
		ck_assert(mock_nic_start(&nic, MOCK_NET_ALL, 256));
		ck_assert_int_eq(nic.port->slots_stable, launcher);
		ck_assert(mock_nic_start(&nic, MOCK_NET_ALL | bit, 256));
		ck_assert(nic.port->slots_stable);
		mock_driver_set_status(&nic.drv, 0);
		ck_assert_int_eq(nic.port->slots_stable, launcher);
		/* Accepted, and not live yet. */
		ck_assert(mock_driver_negotiate(&nic.drv, MOCK_NET_ALL | bit));
		ck_assert_int_eq(nic.port->slots_stable, launcher);
		/* Broken by the driver, not started by the carrier. */
		ck_assert(mock_nic_start(&nic, MOCK_NET_ALL | bit, 256));
		mock_ring_offer(&nic.drv.ring[1], 999);
		mock_driver_kick(&nic.drv, 1);
		ck_assert(needs_reset());
		ck_assert_int_eq(nic.port->slots_stable, launcher);
		car.start_err = -EIO;
		ck_assert(!mock_nic_start(&nic, MOCK_NET_ALL | bit, 256));
		ck_assert_int_eq(nic.port->slots_stable, launcher);
		car.start_err = 0;
		ck_assert(mock_nic_start(&nic, MOCK_NET_ALL | bit, 256));
		ck_assert(nic.port->slots_stable);
		virtio_dev_stop(nic.dev);
		ck_assert_int_eq(nic.port->slots_stable, launcher);
	}
}
END_TEST

static TCase *case_rx(void)
{
	TCase *tc = tcase_create("rx");

	tcase_set_timeout(tc, 120);
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_loop_test(tc, rx_look, 0, ARRAY_SIZE(kinds));
	tcase_add_test(tc, rx_look_refuses);
	tcase_add_loop_test(tc, rx_turns, 0, ARRAY_SIZE(kinds));
	tcase_add_test(tc, rx_staged_until_the_end);
	tcase_add_test(tc, rx_sizes);
	tcase_add_test(tc, rx_mapped_refuses_others);
	tcase_add_test(tc, rx_refused_is_optional);
	tcase_add_test(tc, rx_enter_only_what_is_there);
	tcase_add_loop_test(tc, rx_watch, 0, ARRAY_SIZE(kinds));
	tcase_add_loop_test(tc, rx_watch_before_mapping, 0, ARRAY_SIZE(kinds));
	tcase_add_loop_test(tc, rx_none_left, 0, ARRAY_SIZE(kinds));
	tcase_add_loop_test(tc, rx_follow, 0, ARRAY_SIZE(kinds));
	tcase_add_test(tc, rx_follow_quiet);
	tcase_add_test(tc, rx_follow_tells_who_has_waited);
	tcase_add_test(tc, rx_follow_without_doorbells);
	tcase_add_test(tc, rings_are_known);
	tcase_add_test(tc, stable_by_feature);
	return tc;
}

int main(void)
{
	Suite *s = suite_create("net_slots");
	SRunner *sr;
	int failed;

	suite_add_tcase(s, case_rx());
	sr = srunner_create(s);
	srunner_run_all(sr, CK_NORMAL);
	failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
