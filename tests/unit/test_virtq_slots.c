/* Split virtqueue: buffers that a driver gives over and over (virtq_slot_look(), virtq_slot_use()).
 */
#include <check.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "tests/unit/mock_driver.h"

/* SAN=thread does not model fences; no access here needs them to be free of data races. */
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic ignored "-Wtsan"
#endif

#define MEM   MIB(2)
#define SIZE  8
#define BUF   0x100000
#define TABLE 0x80000
#define HDR   12
#define W     MOCK_DESC_WRITE
#define N     MOCK_DESC_NEXT
#define I     MOCK_DESC_INDIRECT

static struct mock_platform mp;
static struct mock_ring ring;
static struct virtq vq;
static struct virtq_chain chain;
static struct virtq_slot slot;
static const char *why;

static void start(uint16_t size, bool event_idx, bool indirect)
{
	mock_ring_init(&ring, &mp.mem, 0x1000, size);
	virtq_reset(&vq, size);
	mock_ring_attach(&ring, &vq);
	ck_assert_int_eq(virtq_enable(&vq, &mp.mem, event_idx, indirect), 0);
}

static void setup(void)
{
	mock_platform_init(&mp, MEM, MIB(1));
	start(SIZE, false, true);
}

static void teardown(void)
{
	mock_platform_fini(&mp);
}

static void *at(gpa_t gpa)
{
	return gmem_ptr(&mp.mem, gpa, 1);
}

static void desc(gpa_t table, unsigned i, gpa_t gpa, uint32_t len, uint16_t flags, uint16_t next)
{
	mock_desc_set(&mp.mem, table, i, gpa, len, flags, next);
}

/* A direct slot in descriptors 2i and 2i + 1. */
static uint16_t slot_put(unsigned i)
{
	desc(ring.desc, 2 * i, BUF + 64 * i, HDR, W | N, (uint16_t)(2 * i + 1));
	desc(ring.desc, 2 * i + 1, BUF + 4096 * (i + 1), 2048, W, 0);
	return (uint16_t)(2 * i);
}

static int look(unsigned i)
{
	memset(&slot, 0xff, sizeof(slot));
	why = NULL;
	return virtq_slot_look(&vq, i, HDR, &slot, &why);
}

START_TEST(look_takes_nothing)
{
	ck_assert_int_eq(look(0), 0);
	for (unsigned i = 0; i < 4; i++)
		mock_ring_offer(&ring, slot_put(i));
	for (unsigned i = 0; i < 4; i++) {
		ck_assert_int_eq(look(i), 1);
		ck_assert_ptr_eq(slot.hdr, at(BUF + 64 * i));
		ck_assert_ptr_eq(slot.at, at(BUF + 4096 * (i + 1)));
		ck_assert_uint_eq(slot.bytes, 2048);
	}
	ck_assert_int_eq(look(4), 0);
	ck_assert_int_eq(look(UINT32_MAX), 0);
	ck_assert_int_eq(virtq_pending(&vq), 4);
	ck_assert_uint_eq(vq.last_avail, 0);
	for (unsigned i = 0; i < 4; i++) {
		ck_assert_int_eq(virtq_pop(&vq, &chain), 1);
		ck_assert_uint_eq(chain.head, 2 * i);
		ck_assert_uint_eq(chain.nr_in, 2);
	}
	ck_assert_int_eq(virtq_pending(&vq), 0);
	virtq_reset(&vq, SIZE);
	ck_assert_int_eq(look(0), 0);
	ck_assert_int_eq(virtq_pending(&vq), 0);
	ck_assert_int_eq(virtq_slot_use(&vq, &slot, 0), 0);
}
END_TEST

/* The one chain in the ring has these descriptors; with `table`, the first refers to the others. */
static const struct look_case {
	bool table;
	struct {
		gpa_t gpa;
		uint32_t len;
		uint16_t flags, next;
	} d[3];
	int rc;
	const char *why;
} look_cases[] = {
	{ false, { { BUF, 12, W | N, 1 }, { BUF + 64, 1, W, 7 } }, 1, NULL },
	{ false, { { BUF, 12, W | N, 2 }, { 0 }, { BUF + 64, 1, W, 0 } }, 1, NULL },
	{ true, { { TABLE + 1, 32, I, 0 }, { BUF, 12, W | N, 1 }, { BUF, 99, W, 0 } }, 1, NULL },
	{ true, { { TABLE, 64, I, 0 }, { BUF, 12, W | N, 1 }, { BUF, 99, W, 0 } }, 1, NULL },
	{ false, { { BUF, 2048, W, 0 } }, -ENOTSUP, "header within the slot" },
	{ false, { { BUF, 12, W, 0 } }, -ENOTSUP, "header within the slot" },
	{ false, { { BUF, 13, W | N, 1 }, { BUF, 1, W, 0 } }, -ENOTSUP, "header within the slot" },
	{ false,
	  { { BUF, UINT32_MAX, W | N, 1 }, { BUF, 1, W, 0 } },
	  -ENOTSUP,
	  "header within the slot" },
	{ false,
	  { { BUF, 11, W | N, 1 }, { BUF, 1, W, 0 } },
	  -ENOTSUP,
	  "header of several segments" },
	{ false,
	  { { BUF, 0, W | N, 1 }, { BUF, 1, W, 0 } },
	  -ENOTSUP,
	  "header of several segments" },
	{ false,
	  { { BUF, 12, W | N, 1 }, { BUF, 9, W | N, 2 }, { BUF, 9, W, 0 } },
	  -ENOTSUP,
	  "slot of several segments" },
	{ false,
	  { { BUF, 12, W | N, 1 }, { TABLE, 16, I, 0 } },
	  -ENOTSUP,
	  "slot of several segments" },
	{ false, { { BUF, 12, W | N, 0 } }, -ENOTSUP, "slot of several segments" },
	{ false, { { BUF, 12, W | N, 1 }, { BUF, 0, W, 0 } }, -ENOTSUP, "slot without room" },
	{ false, { { BUF, 12, N, 1 }, { BUF, 9, W, 0 } }, -ENOTSUP, "device-readable buffer" },
	{ false, { { BUF, 12, W | N, 1 }, { BUF, 9, 0, 0 } }, -ENOTSUP, "device-readable buffer" },
	{ false, { { BUF, 60, 0, 0 } }, -ENOTSUP, "device-readable buffer" },
	{ true, { { TABLE, 16, I, 0 }, { BUF, 99, W, 0 } }, -ENOTSUP, "header within the slot" },
	{ false, { { BUF, 12, W | N, 8 } }, -EPROTO, "next descriptor out of range" },
	{ false, { { BUF, 12, W | N, 65535 } }, -EPROTO, "next descriptor out of range" },
	{ true,
	  { { TABLE, 16, I, 0 }, { BUF, 12, W | N, 1 } },
	  -EPROTO,
	  "next descriptor out of range" },
	{ false,
	  { { MEM - 11, 12, W | N, 1 }, { BUF, 9, W, 0 } },
	  -EPROTO,
	  "buffer outside of guest memory" },
	{ false,
	  { { BUF, 12, W | N, 1 }, { MEM - 9, 10, W, 0 } },
	  -EPROTO,
	  "buffer outside of guest memory" },
	{ false,
	  { { BUF, 12, W | N, 1 }, { BUF, UINT32_MAX, W, 0 } },
	  -EPROTO,
	  "buffer outside of guest memory" },
	{ false,
	  { { BUF, 12, W | N, 1 }, { UINT64_MAX, 12, W, 0 } },
	  -EPROTO,
	  "buffer outside of guest memory" },
	{ true, { { MEM - 16, 32, I, 0 } }, -EPROTO, "indirect table outside of guest memory" },
	{ true, { { TABLE, 31, I, 0 } }, -EPROTO, "indirect table of a bad length" },
	{ true, { { TABLE, 0, I, 0 } }, -EPROTO, "indirect table of a bad length" },
	{ true, { { TABLE, 32, I | N, 0 } }, -EPROTO, "indirect descriptor with a next one" },
	{ true,
	  { { TABLE, 32, I, 0 }, { TABLE, 32, I, 0 } },
	  -EPROTO,
	  "indirect descriptor in an indirect table" },
};

START_TEST(look_at_any_chain)
{
	const struct look_case *c = &look_cases[_i];
	int rc;

	for (unsigned i = 0; i < 3; i++) {
		gpa_t table = c->table && i ? c->d[0].gpa : ring.desc;

		if (i && c->table && c->d[0].gpa > MEM - 64)
			break;
		desc(table, c->table && i ? i - 1 : i, c->d[i].gpa, c->d[i].len, c->d[i].flags,
		     c->d[i].next);
	}
	mock_ring_offer(&ring, 0);
	rc = look(0);
	ck_assert_int_eq(rc, c->rc);
	ck_assert_int_eq(vq.broken, c->rc == -EPROTO);
	ck_assert_int_eq(why != NULL, rc == -ENOTSUP);
	if (c->why)
		ck_assert_str_eq(vq.broken ? vq.why_broken : why, c->why);
	ck_assert_uint_eq(vq.last_avail, 0);
	if (rc != -ENOTSUP)
		ck_assert_int_eq(virtq_slot_use(&vq, &slot, 5), rc);
}
END_TEST

START_TEST(look_at_bad_rings)
{
	mock_ring_offer(&ring, SIZE);
	ck_assert_int_eq(look(0), -EPROTO);
	ck_assert_str_eq(vq.why_broken, "available entry out of range");
	ck_assert_int_eq(virtq_pending(&vq), -EPROTO);

	start(SIZE, false, false);
	mock_ring_set_avail_idx(&ring, SIZE + 1);
	ck_assert_int_eq(virtq_pending(&vq), -EPROTO);
	ck_assert_int_eq(look(0), -EPROTO);
	ck_assert_int_eq(virtq_slot_use(&vq, &slot, 0), -EPROTO);

	start(SIZE, false, false);
	desc(ring.desc, 0, TABLE, 32, I, 0);
	mock_ring_offer(&ring, 0);
	ck_assert_int_eq(look(0), -EPROTO);
	ck_assert_str_eq(vq.why_broken, "indirect descriptor, not negotiated");
}
END_TEST

START_TEST(use_round_and_round)
{
	struct virtq_slot s[4];
	uint32_t id, len;

	for (unsigned i = 0; i < 4; i++)
		mock_ring_offer(&ring, slot_put(i));
	for (unsigned i = 0; i < 4; i++)
		ck_assert_int_eq(virtq_slot_look(&vq, i, HDR, &s[i], &why), 1);
	for (unsigned n = 0; n < 70000; n++) {
		unsigned i = n % 4;

		ck_assert_int_eq(virtq_slot_use(&vq, &s[i], n), 1);
		ck_assert(!mock_ring_used(&ring, &id, &len)); /* staged */
		if (i == 3)
			ck_assert_int_eq(virtq_slot_use(&vq, &s[0], n), 0);
		else /* the right one only */
			ck_assert_int_eq(virtq_slot_use(&vq, &s[i], n), -ESTALE);
		ck_assert(virtq_publish(&vq));
		ck_assert(mock_ring_used(&ring, &id, &len));
		ck_assert_uint_eq(id, 2 * i);
		ck_assert_uint_eq(len, n);
		if (i == 3)
			for (unsigned k = 0; k < 4; k++)
				mock_ring_offer(&ring, (uint16_t)(2 * k));
	}
}
END_TEST

/* Any bit of any descriptor that was looked at: another buffer. */
START_TEST(use_only_what_is_the_same)
{
	unsigned nr = _i ? 3 : 2;
	gpa_t where[3];

	slot_put(0);
	if (_i) {
		desc(ring.desc, 0, TABLE, 32, I, 0);
		desc(TABLE, 0, BUF, HDR, W | N, 1);
		desc(TABLE, 1, BUF + 4096, 2048, W, 0);
	}
	where[0] = _i ? TABLE : ring.desc;
	where[1] = where[0] + 16;
	where[2] = ring.desc;
	mock_ring_offer(&ring, 0);
	ck_assert_int_eq(look(0), 1);
	for (unsigned d = 0; d < nr; d++)
		for (unsigned bit = 0; bit < 128; bit++) {
			uint8_t *byte = at(where[d] + bit / 8);

			*byte ^= (uint8_t)(1 << bit % 8);
			ck_assert_int_eq(virtq_slot_use(&vq, &slot, 5), -ESTALE);
			*byte ^= (uint8_t)(1 << bit % 8);
		}
	ck_assert_uint_eq(vq.last_avail, 0);
	ck_assert_uint_eq(vq.used_idx, 0);
	ck_assert_int_eq(virtq_slot_use(&vq, &slot, 5), 1);

	/* Another head, in range or not; the same again is good. */
	for (unsigned head = 1; head < 65536; head = head * 2 + 1) {
		mock_ring_offer(&ring, (uint16_t)head);
		ck_assert_int_eq(virtq_slot_use(&vq, &slot, 5), -ESTALE);
		ring.avail_idx--;
	}
	mock_ring_offer(&ring, 0);
	ck_assert_int_eq(virtq_slot_use(&vq, &slot, 5), 1);
	ck_assert(!vq.broken);
}
END_TEST

/* The index is read again only when what it said is used up, and is checked whenever it is. */
START_TEST(use_and_the_available_index)
{
	for (unsigned i = 0; i < 4; i++)
		mock_ring_offer(&ring, slot_put(0));
	ck_assert_int_eq(look(0), 1);
	mock_ring_set_avail_idx(&ring, 100);
	for (unsigned i = 0; i < 4; i++)
		ck_assert_int_eq(virtq_slot_use(&vq, &slot, 5), 1);
	ck_assert_int_eq(virtq_slot_use(&vq, &slot, 5), -EPROTO);
	ck_assert(vq.broken);
	ck_assert_int_eq(virtq_slot_use(&vq, &slot, 5), -EPROTO);

	/* Back by one: that is ahead by 65535. */
	start(SIZE, false, true);
	mock_ring_offer(&ring, slot_put(0));
	ck_assert_int_eq(look(0), 1);
	ck_assert_int_eq(virtq_slot_use(&vq, &slot, 5), 1);
	mock_ring_set_avail_idx(&ring, 0);
	ck_assert_int_eq(virtq_slot_use(&vq, &slot, 5), -EPROTO);

	/* What is staged is in flight: not more than the queue's size together. */
	start(SIZE, false, true);
	for (unsigned i = 0; i < SIZE; i++)
		mock_ring_offer(&ring, slot_put(0));
	ck_assert_int_eq(look(0), 1);
	for (unsigned i = 0; i < SIZE; i++)
		ck_assert_int_eq(virtq_slot_use(&vq, &slot, 5), 1);
	ck_assert_int_eq(virtq_slot_use(&vq, &slot, 5), 0);
	mock_ring_offer(&ring, 0);
	ck_assert_int_eq(virtq_slot_use(&vq, &slot, 5), -EPROTO);
}
END_TEST

/* Slots and ordinary chains may take turns: each goes on where the other stopped. */
START_TEST(use_between_pops)
{
	struct virtq_buf buf[4];

	slot_put(0);
	desc(ring.desc, 4, BUF, 100, W, 0);
	for (unsigned n = 0; n < 30000; n++) {
		mock_ring_offer(&ring, 0);
		mock_ring_offer(&ring, 4);
		mock_ring_offer(&ring, 0);
		ck_assert_int_eq(look(0), 1);
		ck_assert_int_eq(virtq_slot_use(&vq, &slot, 1), 1);
		ck_assert_int_eq(virtq_slot_use(&vq, &slot, 1), -ESTALE);
		ck_assert_int_eq(virtq_pop_bufs(&vq, buf, 4, 1000), 1);
		virtq_unpop(&vq, 1);
		ck_assert_int_eq(virtq_slot_use(&vq, &slot, 1), -ESTALE);
		ck_assert_int_eq(virtq_pop(&vq, &chain), 1);
		ck_assert_uint_eq(chain.head, 4);
		virtq_push(&vq, 4, 0);
		ck_assert_int_eq(virtq_slot_use(&vq, &slot, 1), 1);
		ck_assert_int_eq(virtq_slot_use(&vq, &slot, 1), 0);
		virtq_publish(&vq);
	}
	ck_assert_uint_eq(mock_ring_used_idx(&ring), (uint16_t)90000);
}
END_TEST

START_TEST(doorbell_at)
{
	start(SIZE, true, false);
	slot_put(0);
	for (unsigned round = 0; round < 20000; round++) {
		uint16_t first = ring.avail_idx;

		ck_assert(!virtq_enable_doorbell_at(&vq, 3));
		/* Rung when the index goes beyond it: by the third. */
		ck_assert_uint_eq(mock_ring_avail_event(&ring), (uint16_t)(first + 2));
		mock_ring_offer(&ring, 0);
		mock_ring_offer(&ring, 0);
		ck_assert(!virtq_enable_doorbell_at(&vq, 3));
		mock_ring_offer(&ring, 0);
		ck_assert(virtq_enable_doorbell_at(&vq, 3));
		ck_assert(virtq_enable_doorbell_at(&vq, 1));
		ck_assert(!virtq_enable_doorbell_at(&vq, 4));
		while (virtq_pop(&vq, &chain) == 1)
			virtq_push(&vq, chain.head, 0);
		virtq_publish(&vq);
	}

	start(SIZE, false, false);
	virtq_disable_doorbell(&vq);
	ck_assert(mock_ring_no_notify(&ring));
	ck_assert(!virtq_enable_doorbell_at(&vq, 2));
	ck_assert(!mock_ring_no_notify(&ring));
	mock_ring_offer(&ring, 0);
	ck_assert(!virtq_enable_doorbell_at(&vq, 2));
	mock_ring_offer(&ring, 0);
	ck_assert(virtq_enable_doorbell_at(&vq, 2));
	virtq_reset(&vq, SIZE);
	ck_assert(!virtq_enable_doorbell_at(&vq, 1));
}
END_TEST

START_TEST(touches)
{
	const struct {
		gpa_t gpa;
		uint64_t len;
	} area[] = { { ring.desc, 16 * SIZE },
		     { ring.avail, 6 + 2 * SIZE },
		     { ring.used, 6 + 8 * SIZE } };

	for (unsigned i = 0; i < ARRAY_SIZE(area); i++) {
		uint8_t *p = at(area[i].gpa);
		size_t len = area[i].len;

		ck_assert(virtq_touches(&vq, p, 1));
		ck_assert(virtq_touches(&vq, p + len - 1, 1));
		ck_assert(virtq_touches(&vq, p - 4096, 8192));
		ck_assert(virtq_touches(&vq, p + len / 2, 4096));
		ck_assert(!virtq_touches(&vq, p + len / 2, 0));
	}
	ck_assert(!virtq_touches(&vq, (uint8_t *)at(ring.desc) - 4096, 4096));
	ck_assert(!virtq_touches(&vq, (uint8_t *)at(ring.used) + 6 + 8 * SIZE, 4096));
	virtq_reset(&vq, SIZE);
	ck_assert(!virtq_touches(&vq, at(ring.desc), 1));
}
END_TEST

int main(void)
{
	Suite *s = suite_create("virtq_slots");
	TCase *tc = tcase_create("slots");
	SRunner *sr;
	int failed;

	tcase_set_timeout(tc, 60);
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, look_takes_nothing);
	tcase_add_loop_test(tc, look_at_any_chain, 0, ARRAY_SIZE(look_cases));
	tcase_add_test(tc, look_at_bad_rings);
	tcase_add_test(tc, use_round_and_round);
	tcase_add_loop_test(tc, use_only_what_is_the_same, 0, 2);
	tcase_add_test(tc, use_and_the_available_index);
	tcase_add_test(tc, use_between_pops);
	tcase_add_test(tc, doorbell_at);
	tcase_add_test(tc, touches);
	suite_add_tcase(s, tc);
	sr = srunner_create(s);
	srunner_run_all(sr, CK_NORMAL);
	failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
