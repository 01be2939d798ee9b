/*
 * Stable slots: finding the period of a transmit ring, and pairing two rings page by page.
 */
#include <check.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "xtalk/pair.h"
#include "xtalk/slot_track.h"

#define PAGE PAIR_PAGE_BYTES

static struct slot_track track;
static struct slot_list tx, rx;
static struct pairing p;
static uint8_t *a, *b; /* memory of the two guests */

static void setup(void)
{
	a = aligned_alloc(PAGE, 1024 * PAGE);
	b = aligned_alloc(PAGE, 1024 * PAGE);
	ck_assert(a && b);
	memset(a, 0, 1024 * PAGE);
	memset(b, 0, 1024 * PAGE);
	memset(&p, 0, sizeof(p));
	p.page = calloc(PAIR_MAX_PAGES, sizeof(*p.page));
	slot_track_reset(&track, "new");
}

static void teardown(void)
{
	free(p.page);
	free(a);
	free(b);
}

static void ring(struct slot_list *l, uint8_t *base, unsigned nr, uint32_t stride, uint32_t bytes,
		 unsigned from)
{
	memset(l, 0, sizeof(*l));
	l->nr = nr;
	for (unsigned i = 0; i < nr; i++) {
		l->slot[i].at = base + (size_t)((i + from) % nr) * stride;
		l->slot[i].bytes = bytes;
	}
}

/* -- Turns -- */

static void turns(unsigned n, unsigned nr, unsigned dst)
{
	for (unsigned i = 0; i < n * nr; i++)
		slot_track_frame(&track, a + (size_t)(i % nr) * 2048, NULL, dst, i);
}

START_TEST(stable_after_whole_turns)
{
	turns(1, 64, 3);
	ck_assert_uint_eq(track.nr, 0);
	turns(1, 64, 3);
	ck_assert_uint_eq(track.nr, 64);
	ck_assert(!slot_track_stable(&track));
	turns(1, 64, 3);
	ck_assert(slot_track_stable(&track));
	ck_assert_uint_eq(track.turn_dst, 3);
	ck_assert_uint_eq(track.turn_to_dst, 64);
	ck_assert_uint_eq(track.turn_ns, 63);
	ck_assert_uint_eq(track.at, 0);
	ck_assert_ptr_eq(track.list.slot[63].at, a + 63 * 2048);
}
END_TEST

START_TEST(destinations_of_a_turn)
{
	turns(3, 64, 3);
	for (unsigned i = 0; i < 64; i++)
		slot_track_frame(&track, a + (size_t)i * 2048, NULL, i % 4 ? 3 : 5, i);
	ck_assert_uint_eq(track.turn_dst, 5);
	ck_assert_uint_eq(track.turn_to_dst, 16);
}
END_TEST

START_TEST(drift_starts_anew)
{
	turns(5, 64, 3);
	ck_assert(slot_track_stable(&track));
	slot_track_frame(&track, a + 64 * 2048, NULL, 3, 0); /* should be slot 0 */
	ck_assert(!slot_track_stable(&track));
	ck_assert_str_eq(track.why, "buffers move, or come in another order");
	/* It waits in vain for the stranger to come back, but not for ever. */
	turns(20, 64, 3);
	ck_assert(slot_track_stable(&track));
	slot_track_frame(&track, a, NULL, 3, 0);
	slot_track_frame(&track, a + 2 * 2048, NULL, 3, 0); /* one left out */
	ck_assert(!slot_track_stable(&track));
	turns(20, 64, 3);
	ck_assert(slot_track_stable(&track));
	slot_track_frame(&track, NULL, NULL, 3, 0);
	ck_assert(!slot_track_stable(&track));
	ck_assert_uint_eq(track.known, 0);
}
END_TEST

/* Linux's way: a buffer for every frame; and a stack of free buffers. */
START_TEST(fresh_buffers_are_never_stable)
{
	for (unsigned i = 0; i < 10000; i++) {
		slot_track_frame(&track, a + (size_t)i * 64, NULL, 3, i);
		ck_assert(!slot_track_stable(&track));
	}
	for (unsigned i = 0; i < 1000; i++) {
		slot_track_frame(&track, a + (size_t)(i % 3 == 1) * 2048, NULL, 3, i);
		ck_assert(!slot_track_stable(&track));
	}
}
END_TEST

START_TEST(same_ring)
{
	ring(&tx, a, 64, 2048, 2048, 0);
	ring(&rx, a, 64, 2048, 2048, 17);
	ck_assert(slot_list_same_ring(&tx, &rx));
	rx.slot[5].bytes = 2047;
	ck_assert(!slot_list_same_ring(&tx, &rx));
	ring(&rx, a, 64, 2048, 2048, 17);
	rx.slot[5].hdr = a;
	ck_assert(!slot_list_same_ring(&tx, &rx));
	ring(&rx, a, 64, 2048, 2048, 17);
	rx.slot[5].at = rx.slot[6].at;
	ck_assert(!slot_list_same_ring(&tx, &rx));
	ring(&rx, a, 32, 2048, 2048, 0);
	ck_assert(!slot_list_same_ring(&tx, &rx));
	ring(&rx, b, 64, 2048, 2048, 0);
	ck_assert(!slot_list_same_ring(&tx, &rx));
	tx.nr = rx.nr = 0;
	ck_assert(!slot_list_same_ring(&tx, &rx));
}
END_TEST

/* -- Pages -- */

/* Every transmit slot's bytes are in the page pair that its receive slot's are in. */
static void check_pairs(unsigned nr_pages)
{
	ck_assert_uint_eq(p.nr, nr_pages);
	for (unsigned i = 0; i < tx.nr; i++) {
		const struct slot *s = &tx.slot[i], *r = &rx.slot[(i + p.skip) % rx.nr];

		for (uint32_t at = 0; at < p.span; at++) {
			const uint8_t *x = s->at + at, *y = r->at + at;
			unsigned n = 0;

			while (n < p.nr && !(x >= p.page[n].tx && x < p.page[n].tx + PAGE))
				n++;
			ck_assert_uint_lt(n, p.nr);
			ck_assert_ptr_eq(p.page[n].rx + (x - p.page[n].tx), y);
		}
	}
}

START_TEST(one_slot_a_page)
{
	ring(&tx, a, 64, PAGE, 0, 5);
	ring(&rx, b, 64, PAGE, PAGE, 60);
	ck_assert_int_eq(pair_rings(&p, &tx, &rx), 0);
	ck_assert_uint_eq(p.skip, 0);
	check_pairs(64);
}
END_TEST

START_TEST(two_slots_a_page)
{
	for (unsigned ahead = 0; ahead < 4; ahead++) {
		ring(&tx, a, 64, 2048, 0, 1);
		ring(&rx, b, 64, 2048, 2048, ahead);
		ck_assert_int_eq(pair_rings(&p, &tx, &rx), 0);
		ck_assert_uint_eq(p.skip, ahead % 2 == 0);
		check_pairs(32);
	}
}
END_TEST

START_TEST(many_pages_a_slot)
{
	ring(&tx, a, 8, 16 * PAGE, 0, 3);
	ring(&rx, b, 8, 16 * PAGE, 16 * PAGE, 1);
	ck_assert_int_eq(pair_rings(&p, &tx, &rx), 0);
	check_pairs(128);
}
END_TEST

START_TEST(room_for_a_check_sequence)
{
	ring(&tx, a, 64, 2048, 0, 0);
	ring(&rx, b, 64, 2048, 2044, 0);
	ck_assert_int_eq(pair_rings(&p, &tx, &rx), 0);
	ck_assert_uint_eq(p.span, 2048);
	check_pairs(32);
}
END_TEST

START_TEST(offsets_in_the_page)
{
	ring(&tx, a + 64, 64, PAGE, 0, 0);
	ring(&rx, b + 64, 64, PAGE, PAGE - 64, 9);
	ck_assert_int_eq(pair_rings(&p, &tx, &rx), 0);
	check_pairs(64);
	ring(&rx, b, 64, PAGE, PAGE, 9);
	ck_assert_int_eq(pair_rings(&p, &tx, &rx), -EXDEV);
	ck_assert_str_eq(p.why, "in-page offset 64/0");
	/* Over the edge of a page: then neighbours share pages, and the ends of both rings do not.
	 */
	ring(&tx, a + 64, 64, PAGE, 0, 0);
	ring(&rx, b + 64, 64, PAGE, PAGE, 0);
	ck_assert_int_eq(pair_rings(&p, &tx, &rx), 0);
	check_pairs(65);
	ring(&rx, b + 64, 64, PAGE, PAGE, 1);
	ck_assert_int_eq(pair_rings(&p, &tx, &rx), -EXDEV);
	ck_assert_str_eq(p.why, "slots that share a page do not pair");
}
END_TEST

START_TEST(slots_anywhere)
{
	ring(&tx, a, 64, PAGE, 0, 0);
	ring(&rx, b, 64, PAGE, PAGE, 0);
	for (unsigned i = 0; i < 64; i++)
		rx.slot[i].at = b + (size_t)(i * 37 % 64) * 2 * PAGE;
	for (unsigned i = 0; i < 64; i++)
		tx.slot[i].at = a + (size_t)(i * 11 % 64) * 2 * PAGE;
	ck_assert_int_eq(pair_rings(&p, &tx, &rx), 0);
	check_pairs(64);
}
END_TEST

START_TEST(slots_in_too_many_pieces)
{
	/* Every second one is before the one before it. */
	ring(&tx, a, 512, PAGE, 0, 0);
	ring(&rx, b, 512, PAGE, PAGE, 0);
	for (unsigned i = 0; i < 512; i++)
		rx.slot[i].at = b + (size_t)(i ^ 1) * PAGE;
	ck_assert_int_eq(pair_rings(&p, &tx, &rx), 0);
	ck_assert_uint_eq(p.nr, 512);
	ring(&tx, a, 514, PAGE, 0, 0);
	ring(&rx, b, 514, PAGE, PAGE, 0);
	for (unsigned i = 0; i < 514; i++)
		rx.slot[i].at = b + (size_t)(i ^ 1) * PAGE;
	ck_assert_int_eq(pair_rings(&p, &tx, &rx), -EXDEV);
	ck_assert_str_eq(p.why, "slots lie in 1/514 pieces");
}
END_TEST

static void refused(const char *why)
{
	ck_assert_int_eq(pair_rings(&p, &tx, &rx), -EXDEV);
	ck_assert_str_eq(p.why, why);
}

START_TEST(unlike_rings)
{
	ring(&tx, a, 256, 2048, 0, 0);
	ring(&rx, b, 128, 2048, 2048, 0);
	refused("rings 256/128");
	ring(&rx, b, 256, PAGE, PAGE, 0);
	refused("stride 2048/4096");
	ring(&rx, b, 256, 2048, PAGE, 0);
	refused("receive slots overlap: 4096 bytes, stride 2048");
	ring(&rx, b, 256, 2048, 2048, 0);
	rx.slot[100].bytes = 1024;
	refused("receive slots of 2048 and 1024 bytes");
	ring(&rx, b, 256, 2048, 0, 0);
	refused("receive slots overlap: 0 bytes, stride 2048");
	ring(&tx, a, 1, 2048, 0, 0);
	ring(&rx, b, 1, 2048, 2048, 0);
	refused("rings of one slot");
	ring(&tx, a, 1024, 1u << 20, 0, 0); /* addresses only */
	ring(&rx, b, 1024, 1u << 20, 1u << 20, 0);
	refused("slots of more than 64 MiB");
}
END_TEST

/* The same buffer twice: its page would have two partners. */
START_TEST(twice_the_same)
{
	ring(&tx, a, 64, PAGE, 0, 0);
	ring(&rx, b, 64, PAGE, PAGE, 0);
	rx.slot[7].at = rx.slot[3].at;
	refused("stride 4096/0");
	ring(&rx, b, 64, PAGE, PAGE, 0);
	tx.slot[7].at = tx.slot[3].at;
	refused("stride 0/4096");
}
END_TEST

START_TEST(clean_pages)
{
	ring(&tx, a + 64, 64, PAGE, 0, 5);
	ring(&rx, b + 64, 64, PAGE, PAGE - 128, 9);
	ck_assert_int_eq(pair_rings(&p, &tx, &rx), 0);
	memset(a + 64 + 5 * PAGE, 1, PAGE - 128); /* within slots: whatever it is */
	ck_assert(pair_pages_clean(&p, &tx, true));
	ck_assert(pair_pages_clean(&p, &rx, false));
	for (unsigned n = 0; n < 4; n++) {
		static const size_t gaps[] = { 0, 63, PAGE - 64, 64 * PAGE - 1 };

		a[gaps[n]] = 1;
		ck_assert(!pair_pages_clean(&p, &tx, true));
		a[gaps[n]] = 0;
		b[gaps[n]] = 1;
		ck_assert(!pair_pages_clean(&p, &rx, false));
		b[gaps[n]] = 0;
	}
	a[64 * PAGE] = 1; /* the page behind */
	ck_assert(pair_pages_clean(&p, &tx, true));
}
END_TEST

START_TEST(clean_pages_of_many_slots)
{
	ring(&tx, a, 63, 1024, 0, 0); /* the last page is not full */
	ring(&rx, b, 63, 1024, 1024, 0);
	ck_assert_int_eq(pair_rings(&p, &tx, &rx), 0);
	check_pairs(16);
	memset(a, 1, 63 * 1024);
	ck_assert(pair_pages_clean(&p, &tx, true));
	a[63 * 1024] = 1;
	ck_assert(!pair_pages_clean(&p, &tx, true));
}
END_TEST

int main(void)
{
	Suite *s = suite_create("pair");
	TCase *t = tcase_create("turns"), *q = tcase_create("pages");
	SRunner *r;
	int failed;

	tcase_add_checked_fixture(t, setup, teardown);
	tcase_add_test(t, stable_after_whole_turns);
	tcase_add_test(t, destinations_of_a_turn);
	tcase_add_test(t, drift_starts_anew);
	tcase_add_test(t, fresh_buffers_are_never_stable);
	tcase_add_test(t, same_ring);
	suite_add_tcase(s, t);
	tcase_add_checked_fixture(q, setup, teardown);
	tcase_add_test(q, one_slot_a_page);
	tcase_add_test(q, two_slots_a_page);
	tcase_add_test(q, many_pages_a_slot);
	tcase_add_test(q, room_for_a_check_sequence);
	tcase_add_test(q, offsets_in_the_page);
	tcase_add_test(q, slots_anywhere);
	tcase_add_test(q, slots_in_too_many_pieces);
	tcase_add_test(q, unlike_rings);
	tcase_add_test(q, twice_the_same);
	tcase_add_test(q, clean_pages);
	tcase_add_test(q, clean_pages_of_many_slots);
	suite_add_tcase(s, q);
	r = srunner_create(s);
	srunner_run_all(r, CK_ENV);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
