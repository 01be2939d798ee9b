/* Split virtqueue: what a good driver does works, what a hostile one does breaks only its queue. */
#include <check.h>
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "tests/unit/mock_driver.h"

/* SAN=thread does not model fences; no access here needs them to be free of data races. */
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic ignored "-Wtsan"
#endif

#define MEM  MIB(2)
#define SIZE 8
#define BUF  0x100000

static struct mock_platform mp;
static struct mock_ring ring;
static struct virtq vq;
static struct virtq_chain chain;

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

static void expect_broken(const char *why)
{
	ck_assert_int_eq(virtq_pop(&vq, &chain), -EPROTO);
	ck_assert(vq.broken);
	ck_assert_str_eq(vq.why_broken, why);
	/* It stays broken, and yields nothing. */
	ck_assert_int_eq(virtq_pop(&vq, &chain), -EPROTO);
	ck_assert(!virtq_more(&vq));
	ck_assert(!virtq_enable_doorbell(&vq));
}

static void add_one(void)
{
	mock_ring_add(&ring, (struct mock_seg[]){ { BUF, 16, true } }, 1);
}

START_TEST(enable_checks)
{
	static const struct {
		uint16_t size;
		gpa_t desc, avail, used;
		int rc;
	} bad[] = {
		{ 0, 0x1000, 0x2000, 0x3000, -EINVAL },
		{ 3, 0x1000, 0x2000, 0x3000, -EINVAL },
		{ 512, 0x1000, 0x2000, 0x3000, -EINVAL }, /* over the maximum */
		{ 65535, 0x1000, 0x2000, 0x3000, -EINVAL },
		{ 8, 0x1008, 0x2000, 0x3000, -EINVAL }, /* alignment */
		{ 8, 0x1000, 0x2001, 0x3000, -EINVAL },
		{ 8, 0x1000, 0x2000, 0x3002, -EINVAL },
		{ 8, MEM, 0x2000, 0x3000, -EFAULT },
		{ 8, MEM - 112, 0x2000, 0x3000, -EFAULT }, /* one descriptor too few */
		{ 8, 0x1000, MEM - 20, 0x3000, -EFAULT },  /* no room for used_event */
		{ 8, 0x1000, 0x2000, MEM - 68, -EFAULT },  /* no room for avail_event */
		{ 8, ~15ull, 0x2000, 0x3000, -EFAULT },	   /* wraps */
		{ 8, 0x1000, ~1ull, 0x3000, -EFAULT },
		{ 8, 0x1000, 0x2000, ~3ull, -EFAULT },
	};

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		virtq_reset(&vq, 256);
		vq.size = bad[i].size;
		vq.desc_gpa = bad[i].desc;
		vq.avail_gpa = bad[i].avail;
		vq.used_gpa = bad[i].used;
		ck_assert_msg(virtq_enable(&vq, &mp.mem, true, true) == bad[i].rc, "case %zu", i);
		ck_assert(!vq.enabled);
		ck_assert_int_eq(virtq_pop(&vq, &chain), 0);
	}
	/* The last place that fits. */
	virtq_reset(&vq, 8);
	vq.desc_gpa = MEM - 128;
	vq.avail_gpa = MEM - 128 - 22;
	vq.used_gpa = GIB(4) + MIB(1) - 72;
	ck_assert_int_eq(virtq_enable(&vq, &mp.mem, true, true), 0);
	ck_assert_int_eq(virtq_enable(&vq, &mp.mem, true, true), -EINVAL); /* a second time */
}
END_TEST

START_TEST(pop_push_publish)
{
	struct mock_seg segs[] = { { BUF, 16, false },
				   { BUF + 64, 32, false },
				   { GIB(4), 8, true } };
	uint32_t id, len;
	uint16_t head;

	ck_assert_int_eq(virtq_pop(&vq, &chain), 0);
	head = mock_ring_add(&ring, segs, 3);
	ck_assert(virtq_more(&vq));
	ck_assert_int_eq(virtq_pop(&vq, &chain), 1);
	ck_assert_uint_eq(chain.head, head);
	ck_assert_uint_eq(chain.nr_out, 2);
	ck_assert_uint_eq(chain.nr_in, 1);
	ck_assert_uint_eq(chain.out_bytes, 48);
	ck_assert_uint_eq(chain.in_bytes, 8);
	ck_assert_ptr_eq(chain.iov[1].iov_base, gmem_ptr(&mp.mem, BUF + 64, 32));
	ck_assert_ptr_eq(chain.iov[2].iov_base, gmem_ptr(&mp.mem, GIB(4), 8));
	ck_assert(!virtq_more(&vq));

	ck_assert(!virtq_publish(&vq)); /* nothing staged */
	virtq_push(&vq, chain.head, 5);
	ck_assert(!mock_ring_used(&ring, &id, &len)); /* staged only */
	ck_assert(virtq_publish(&vq));
	ck_assert(mock_ring_used(&ring, &id, &len));
	ck_assert_uint_eq(id, head);
	ck_assert_uint_eq(len, 5);
	ck_assert(!mock_ring_used(&ring, &id, &len));
}
END_TEST

START_TEST(indices_wrap)
{
	uint32_t id, len;

	for (unsigned i = 0; i < 70000; i++) {
		uint16_t head = mock_ring_add(&ring, (struct mock_seg[]){ { BUF, 16, true } }, 1);

		ck_assert_int_eq(virtq_pop(&vq, &chain), 1);
		ck_assert_int_eq(virtq_pop(&vq, &chain), 0);
		virtq_push(&vq, chain.head, i);
		ck_assert(virtq_publish(&vq));
		ck_assert(mock_ring_used(&ring, &id, &len));
		ck_assert_uint_eq(id, head);
		ck_assert_uint_eq(len, i);
	}
}
END_TEST

START_TEST(unpop_gives_back)
{
	uint16_t heads[4];

	for (int i = 0; i < 4; i++)
		heads[i] = mock_ring_add(&ring, (struct mock_seg[]){ { BUF, 16, true } }, 1);
	for (int i = 0; i < 4; i++)
		ck_assert_int_eq(virtq_pop(&vq, &chain), 1);
	virtq_push(&vq, heads[0], 0);
	virtq_unpop(&vq, 2);
	for (int i = 2; i < 4; i++) {
		ck_assert_int_eq(virtq_pop(&vq, &chain), 1);
		ck_assert_uint_eq(chain.head, heads[i]);
	}
	ck_assert_int_eq(virtq_pop(&vq, &chain), 0);
	/* More than is in flight: back to the oldest that was not pushed, no further. */
	virtq_unpop(&vq, 100);
	ck_assert_int_eq(virtq_pop(&vq, &chain), 1);
	ck_assert_uint_eq(chain.head, heads[1]);
}
END_TEST

START_TEST(interrupt_flag)
{
	add_one();
	ck_assert_int_eq(virtq_pop(&vq, &chain), 1);
	mock_ring_set_no_interrupt(&ring, true);
	virtq_push(&vq, chain.head, 0);
	ck_assert(!virtq_publish(&vq));
	add_one();
	ck_assert_int_eq(virtq_pop(&vq, &chain), 1);
	mock_ring_set_no_interrupt(&ring, false);
	virtq_push(&vq, chain.head, 0);
	ck_assert(virtq_publish(&vq));
}
END_TEST

START_TEST(doorbell_flag)
{
	virtq_disable_doorbell(&vq);
	ck_assert(mock_ring_no_notify(&ring));
	ck_assert(!virtq_enable_doorbell(&vq));
	ck_assert(!mock_ring_no_notify(&ring));
	virtq_disable_doorbell(&vq);
	add_one();
	ck_assert(virtq_enable_doorbell(&vq)); /* came in meanwhile */
}
END_TEST

/* The driver wants an interrupt when used->idx passes used_event: checked at each index, over the
 * wrap of 2^16, with batches of one to three. */
START_TEST(used_event)
{
	unsigned used = 0;

	start(SIZE, true, false);
	for (unsigned round = 0; round < 30000; round++) {
		unsigned batch = round % 3 + 1;
		unsigned ahead = round / 3 % 5; /* event lies 0 to 4 entries ahead of the driver */
		uint16_t event = (uint16_t)(used + ahead);

		mock_ring_set_used_event(&ring, event);
		for (unsigned i = 0; i < batch; i++)
			add_one();
		for (unsigned i = 0; i < batch; i++) {
			ck_assert_int_eq(virtq_pop(&vq, &chain), 1);
			virtq_push(&vq, chain.head, 0);
		}
		used += batch;
		/* The first interrupt is unconditional. */
		ck_assert_int_eq(virtq_publish(&vq), ahead < batch || round == 0);
	}
	ck_assert_uint_gt(used, 65536 / 2);
	ck_assert(!virtq_publish(&vq));
}
END_TEST

/* An event that was passed long ago is not passed again: a driver that does not move it (because it
 * polls) gets no further interrupt until the index has come round to it. */
START_TEST(used_event_that_stays)
{
	unsigned irqs = 0, at = 0;

	start(SIZE, true, false);
	mock_ring_set_used_event(&ring, 9);
	for (unsigned used = 1; used <= 65536 + 20; used++) {
		add_one();
		ck_assert_int_eq(virtq_pop(&vq, &chain), 1);
		virtq_push(&vq, chain.head, 0);
		if (virtq_publish(&vq)) {
			irqs++;
			at = used;
		}
		if (used == 1) /* the first one comes in any case */
			ck_assert_uint_eq(irqs, 1);
		if (used == 65536)
			ck_assert_uint_eq(at, 10);
	}
	ck_assert_uint_eq(irqs, 3);
	ck_assert_uint_eq(at, 65536 + 10);
}
END_TEST

START_TEST(avail_event)
{
	start(SIZE, true, false);
	add_one();
	ck_assert_int_eq(virtq_pop(&vq, &chain), 1);
	virtq_disable_doorbell(&vq);
	ck_assert(!mock_ring_no_notify(&ring)); /* the flag has no meaning with EVENT_IDX */
	ck_assert(!virtq_enable_doorbell(&vq));
	ck_assert_uint_eq(mock_ring_avail_event(&ring), 1);
	add_one();
	ck_assert(virtq_enable_doorbell(&vq));
}
END_TEST

START_TEST(avail_moved_too_far)
{
	mock_ring_set_avail_idx(&ring, SIZE + 1);
	expect_broken("available index moved by more than the queue's size");
}
END_TEST

START_TEST(avail_moved_back)
{
	add_one();
	ck_assert_int_eq(virtq_pop(&vq, &chain), 1);
	mock_ring_set_avail_idx(&ring, 0);
	expect_broken("available index moved by more than the queue's size");
}
END_TEST

START_TEST(same_buffer_offered_while_in_flight)
{
	for (unsigned i = 0; i < SIZE; i++) {
		add_one();
		ck_assert_int_eq(virtq_pop(&vq, &chain), 1);
	}
	/* All are in flight: the driver has none left that it could offer. Staging alone does not
	 * give it one back, for it does not see that. */
	virtq_push(&vq, 0, 0);
	add_one();
	expect_broken("available index moved by more than the queue's size");
}
END_TEST

START_TEST(head_out_of_range)
{
	mock_ring_offer(&ring, SIZE);
	expect_broken("available entry out of range");
}
END_TEST

START_TEST(next_out_of_range)
{
	mock_desc_set(&mp.mem, ring.desc, 0, BUF, 16, MOCK_DESC_NEXT, SIZE);
	mock_ring_offer(&ring, 0);
	expect_broken("next descriptor out of range");
}
END_TEST

START_TEST(chain_loops)
{
	mock_desc_set(&mp.mem, ring.desc, 0, BUF, 16, MOCK_DESC_NEXT, 1);
	mock_desc_set(&mp.mem, ring.desc, 1, BUF, 16, MOCK_DESC_NEXT, 0);
	mock_ring_offer(&ring, 0);
	expect_broken("descriptor chain loops");
}
END_TEST

START_TEST(chain_loops_with_empty_segments)
{
	mock_desc_set(&mp.mem, ring.desc, 3, BUF, 0, MOCK_DESC_NEXT, 3);
	mock_ring_offer(&ring, 3);
	expect_broken("descriptor chain loops");
}
END_TEST

START_TEST(chain_of_the_whole_queue)
{
	struct mock_seg segs[SIZE];

	for (unsigned i = 0; i < SIZE; i++)
		segs[i] = (struct mock_seg){ BUF + i, 1, i > 3 };
	mock_ring_add(&ring, segs, SIZE);
	ck_assert_int_eq(virtq_pop(&vq, &chain), 1);
	ck_assert_uint_eq(chain.nr_out + chain.nr_in, SIZE);
}
END_TEST

START_TEST(too_many_segments)
{
	struct mock_seg segs[VIRTQ_MAX_SEGS + 1];

	for (unsigned i = 0; i < ARRAY_SIZE(segs); i++)
		segs[i] = (struct mock_seg){ BUF, 1, false };
	start(256, false, true);
	mock_ring_add(&ring, segs, VIRTQ_MAX_SEGS);
	ck_assert_int_eq(virtq_pop(&vq, &chain), 1);
	ck_assert_uint_eq(chain.nr_out, VIRTQ_MAX_SEGS);
	mock_ring_add(&ring, segs, VIRTQ_MAX_SEGS + 1);
	expect_broken("too many descriptors in a chain");
}
END_TEST

START_TEST(bad_buffers)
{
	static const struct mock_seg bad[] = {
		{ MEM, 1, false },				 /* behind the end */
		{ MEM - 15, 16, true },				 /* over the end */
		{ GIB(4) - 8, 16, true },			 /* from the hole into a region */
		{ ~0ull, 1, false },	    { ~0ull, 2, false }, /* wraps */
		{ 1, 0xffffffff, false },   { GIB(4) + MIB(1) - 1, 2, true },
		{ 1ull << 63, 4096, true },
	};

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		start(SIZE, false, true);
		mock_ring_add(&ring, &bad[i], 1);
		expect_broken("buffer outside of guest memory");
	}
}
END_TEST

START_TEST(empty_segments_are_skipped)
{
	struct mock_seg segs[] = { { ~0ull, 0, true }, { BUF, 4, false }, { BUF, 0, false } };

	mock_ring_add(&ring, segs, 3);
	ck_assert_int_eq(virtq_pop(&vq, &chain), 1);
	ck_assert_uint_eq(chain.nr_out, 1);
	ck_assert_uint_eq(chain.nr_in, 0);
	mock_ring_add(&ring, segs, 1);
	ck_assert_int_eq(virtq_pop(&vq, &chain), 1);
	ck_assert_uint_eq(chain.nr_out + chain.nr_in, 0);
}
END_TEST

START_TEST(readable_after_writable)
{
	mock_ring_add(&ring, (struct mock_seg[]){ { BUF, 4, true }, { BUF, 4, false } }, 2);
	expect_broken("device-readable descriptor after a device-writable one");
}
END_TEST

START_TEST(indirect_chain)
{
	struct mock_seg segs[SIZE * 2];

	/* Longer than the queue, at an odd address, behind an ordinary descriptor. */
	for (unsigned i = 0; i < ARRAY_SIZE(segs); i++)
		segs[i] = (struct mock_seg){ BUF + 16 * i, 16, i > 7 };
	mock_ring_add_indirect(&ring, 0x8003, segs, ARRAY_SIZE(segs));
	ck_assert_int_eq(virtq_pop(&vq, &chain), 1);
	ck_assert_uint_eq(chain.nr_out, 8);
	ck_assert_uint_eq(chain.nr_in, 8);
	ck_assert_uint_eq(chain.out_bytes, 128);

	mock_desc_set(&mp.mem, ring.desc, 4, BUF, 1, MOCK_DESC_NEXT, 5);
	/* The WRITE flag of the referring descriptor is to be ignored (2.7.5.3.2). */
	mock_desc_set(&mp.mem, ring.desc, 5, 0x8003, 32, MOCK_DESC_INDIRECT | MOCK_DESC_WRITE, 0);
	mock_desc_set(&mp.mem, 0x8003, 1, BUF, 16, 0, 0);
	mock_ring_offer(&ring, 4);
	ck_assert_int_eq(virtq_pop(&vq, &chain), 1);
	ck_assert_uint_eq(chain.nr_out, 3);
	ck_assert_uint_eq(chain.out_bytes, 33);
}
END_TEST

START_TEST(indirect_not_negotiated)
{
	start(SIZE, false, false);
	mock_ring_add_indirect(&ring, 0x8000, (struct mock_seg[]){ { BUF, 4, true } }, 1);
	expect_broken("indirect descriptor, not negotiated");
}
END_TEST

START_TEST(indirect_and_next)
{
	mock_desc_set(&mp.mem, ring.desc, 0, 0x8000, 16, MOCK_DESC_INDIRECT | MOCK_DESC_NEXT, 1);
	mock_ring_offer(&ring, 0);
	expect_broken("indirect descriptor with a next one");
}
END_TEST

START_TEST(indirect_in_indirect)
{
	mock_desc_set(&mp.mem, ring.desc, 0, 0x8000, 16, MOCK_DESC_INDIRECT, 0);
	mock_desc_set(&mp.mem, 0x8000, 0, 0x8000, 16, MOCK_DESC_INDIRECT, 0);
	mock_ring_offer(&ring, 0);
	expect_broken("indirect descriptor in an indirect table");
}
END_TEST

START_TEST(indirect_bad_tables)
{
	static const struct {
		gpa_t gpa;
		uint32_t len;
		const char *why;
	} bad[] = {
		{ 0x8000, 0, "indirect table of a bad length" },
		{ 0x8000, 15, "indirect table of a bad length" },
		{ 0x8000, 17, "indirect table of a bad length" },
		{ MEM - 16, 32, "indirect table outside of guest memory" },
		{ ~15ull, 32, "indirect table outside of guest memory" },
		{ 0x8000, 0xfffffff0, "indirect table outside of guest memory" },
	};

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		start(SIZE, false, true);
		mock_desc_set(&mp.mem, ring.desc, 0, bad[i].gpa, bad[i].len, MOCK_DESC_INDIRECT, 0);
		mock_ring_offer(&ring, 0);
		expect_broken(bad[i].why);
	}
}
END_TEST

START_TEST(indirect_next_out_of_range)
{
	mock_desc_set(&mp.mem, ring.desc, 0, 0x8000, 32, MOCK_DESC_INDIRECT, 0);
	mock_desc_set(&mp.mem, 0x8000, 0, BUF, 4, MOCK_DESC_NEXT, 2);
	mock_ring_offer(&ring, 0);
	expect_broken("next descriptor out of range");
}
END_TEST

START_TEST(indirect_long_empty_chain)
{
	/* 4096 empty segments: cheap to make, so it must be cheap to refuse. */
	for (unsigned i = 0; i < 4096; i++)
		mock_desc_set(&mp.mem, 0x20000, i, BUF, 0, MOCK_DESC_NEXT, i + 1);
	mock_desc_set(&mp.mem, ring.desc, 0, 0x20000, 16 * 4096, MOCK_DESC_INDIRECT, 0);
	mock_ring_offer(&ring, 0);
	expect_broken("too many descriptors in a chain");
}
END_TEST

/* Guest memory of 5 GiB costs nothing while nobody touches it. */
START_TEST(chain_of_4_gib)
{
	struct gmem_layout layout = { 0, GIB(5) };
	struct gmem big;

	ck_assert_int_eq(gmem_create(&big, "big", &layout, 1, 0), 0);
	mock_ring_init(&ring, &big, 0x1000, SIZE);
	virtq_reset(&vq, SIZE);
	mock_ring_attach(&ring, &vq);
	ck_assert_int_eq(virtq_enable(&vq, &big, false, false), 0);
	mock_ring_add(&ring, (struct mock_seg[]){ { 0, 0xfffffffe, false }, { 0, 1, true } }, 2);
	ck_assert_int_eq(virtq_pop(&vq, &chain), 1);
	ck_assert_uint_eq(chain.out_bytes, 0xfffffffe);
	mock_ring_add(&ring, (struct mock_seg[]){ { 0, 0xffffffff, false }, { 0, 1, true } }, 2);
	expect_broken("chain of 4 GiB or more");
	gmem_destroy(&big);
}
END_TEST

START_TEST(not_enabled_is_harmless)
{
	virtq_reset(&vq, SIZE);
	ck_assert_int_eq(virtq_pop(&vq, &chain), 0);
	ck_assert(!virtq_more(&vq));
	virtq_push(&vq, 0, 0);
	virtq_unpop(&vq, 1);
	ck_assert_int_eq(virtq_pop_bufs(&vq, NULL, 1, 1), 0);
	virtq_push_bufs(&vq, NULL, 1);
	virtq_disable_doorbell(&vq);
	ck_assert(!virtq_enable_doorbell(&vq));
	ck_assert(!virtq_publish(&vq));
	ck_assert_uint_eq(vq.used_idx, 0);
}
END_TEST

START_TEST(copies)
{
	struct mock_seg segs[] = {
		{ BUF, 3, false },
		{ BUF + 100, 5, false },
		{ BUF + 200, 2, true },
		{ BUF + 300, 4, true },
	};
	char out[16] = { 0 };
	uint8_t in[8];

	gmem_write(&mp.mem, BUF, "abc", 3);
	gmem_write(&mp.mem, BUF + 100, "defgh", 5);
	mock_ring_add(&ring, segs, 4);
	ck_assert_int_eq(virtq_pop(&vq, &chain), 1);
	ck_assert_uint_eq(virtq_chain_read(&chain, 0, out, sizeof(out)), 8);
	ck_assert_str_eq(out, "abcdefgh");
	ck_assert_uint_eq(virtq_chain_read(&chain, 2, out, 2), 2);
	ck_assert_int_eq(memcmp(out, "cd", 2), 0);
	ck_assert_uint_eq(virtq_chain_read(&chain, 8, out, 1), 0);
	ck_assert_uint_eq(virtq_chain_read(&chain, ~(size_t)0, out, 1), 0);

	ck_assert_uint_eq(virtq_chain_write(&chain, 1, "123456789", 9), 5);
	gmem_read(&mp.mem, BUF + 200, in, 2);
	gmem_read(&mp.mem, BUF + 300, in + 2, 4);
	ck_assert_int_eq(in[0], 0);
	ck_assert_int_eq(memcmp(in + 1, "12345", 5), 0);
	gmem_read(&mp.mem, BUF, in, 3);
	ck_assert_int_eq(memcmp(in, "abc", 3), 0); /* the readable part is not written to */
}
END_TEST

static struct virtq_buf bufs[SIZE];

static void add_bufs(unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		mock_ring_add(&ring, (struct mock_seg[]){ { BUF + 0x100 * i, 100, true } }, 1);
}

START_TEST(bulk_takes_and_gives)
{
	uint32_t id, len;

	ck_assert_int_eq(mock_pop_bufs(&vq, bufs, SIZE, 1000), 0);
	add_bufs(6);
	ck_assert_int_eq(virtq_pop_bufs(&vq, bufs, 0, 1000), 0);
	ck_assert_int_eq(virtq_pop_bufs(&vq, bufs, SIZE, 0), 0);
	ck_assert_int_eq(mock_pop_bufs(&vq, bufs, 2, 1000), 2);		  /* as many as asked for */
	ck_assert_int_eq(mock_pop_bufs(&vq, bufs + 2, SIZE - 2, 101), 2); /* as much */
	ck_assert_int_eq(mock_pop_bufs(&vq, bufs + 4, SIZE - 4, ~(size_t)0), 2); /* all */
	ck_assert(!virtq_more(&vq));
	for (unsigned i = 0; i < 6; i++) {
		ck_assert_ptr_eq(bufs[i].ptr, gmem_ptr(&mp.mem, BUF + 0x100 * i, 100));
		ck_assert_uint_eq(bufs[i].bytes, 100);
		bufs[i].bytes = i;
	}
	virtq_unpop(&vq, 2);
	virtq_push_bufs(&vq, bufs, 4);
	ck_assert(!mock_ring_used(&ring, &id, &len)); /* staged only */
	ck_assert(virtq_publish(&vq));
	for (unsigned i = 0; i < 4; i++) {
		ck_assert(mock_ring_used(&ring, &id, &len));
		ck_assert_uint_eq(id, bufs[i].head);
		ck_assert_uint_eq(len, i);
	}
	ck_assert(!mock_ring_used(&ring, &id, &len));
	ck_assert_int_eq(mock_pop_bufs(&vq, bufs, SIZE, ~(size_t)0), 2); /* what was given back */
	ck_assert_uint_eq(bufs[0].head, 4);
}
END_TEST

START_TEST(bulk_indices_wrap)
{
	uint32_t id, len;

	for (unsigned i = 0; i < 70000; i += 5) {
		add_bufs(5);
		ck_assert_int_eq(mock_pop_bufs(&vq, bufs, SIZE, ~(size_t)0), 5);
		virtq_push_bufs(&vq, bufs, 5);
		ck_assert(virtq_publish(&vq));
		for (unsigned k = 0; k < 5; k++) {
			ck_assert(mock_ring_used(&ring, &id, &len));
			ck_assert_uint_eq(id, bufs[k].head);
		}
	}
}
END_TEST

/* Chains of other kinds, good and bad, are left for virtq_pop(), where they lie. */
START_TEST(bulk_leaves_other_chains)
{
	static const struct {
		uint32_t len;
		uint16_t flags;
		int pop;
	} other[] = {
		{ 16, 0, 1 },
		{ 0, MOCK_DESC_WRITE, 1 },
		{ 16, MOCK_DESC_WRITE | MOCK_DESC_NEXT, 1 },
		{ 16, MOCK_DESC_WRITE | MOCK_DESC_INDIRECT, 1 },
		{ 15, MOCK_DESC_INDIRECT, -EPROTO },
		{ 16, MOCK_DESC_NEXT | MOCK_DESC_INDIRECT, -EPROTO },
	};

	for (unsigned i = 0; i < ARRAY_SIZE(other); i++) {
		start(SIZE, false, true);
		add_bufs(2);
		mock_desc_set(&mp.mem, ring.desc, 2, BUF, other[i].len, other[i].flags, 7);
		mock_desc_set(&mp.mem, ring.desc, 7, BUF, 8, MOCK_DESC_WRITE, 0);
		mock_desc_set(&mp.mem, BUF, 0, BUF, 8, MOCK_DESC_WRITE, 0);
		mock_ring_offer(&ring, 2);
		mock_ring_offer(&ring, 0);
		ck_assert_int_eq(mock_pop_bufs(&vq, bufs, SIZE, ~(size_t)0), 2);
		ck_assert_int_eq(mock_pop_bufs(&vq, bufs, SIZE, ~(size_t)0), 0);
		ck_assert(!vq.broken);
		ck_assert_int_eq(virtq_pop(&vq, &chain), other[i].pop);
		if (other[i].pop == 1) {
			ck_assert_uint_eq(chain.head, 2);
			ck_assert_int_eq(mock_pop_bufs(&vq, bufs, SIZE, ~(size_t)0), 1);
		}
	}
}
END_TEST

static void expect_bulk_broken(const char *why)
{
	ck_assert_int_eq(mock_pop_bufs(&vq, bufs, SIZE, ~(size_t)0), -EPROTO);
	ck_assert_str_eq(vq.why_broken, why);
	ck_assert_int_eq(mock_pop_bufs(&vq, bufs, SIZE, ~(size_t)0), -EPROTO); /* for good */
	expect_broken(why);
}

/* First and behind good ones. */
START_TEST(bulk_bad_input)
{
	static const struct {
		gpa_t gpa;
		uint32_t len;
	} bad[] = { { MEM, 1 },		  { MEM - 15, 16 },
		    { GIB(4) - 8, 16 },	  { ~0ull, 1 },
		    { ~0ull, 2 },	  { 1, 0xffffffff },
		    { 1ull << 63, 4096 }, { GIB(4) + MIB(1) - 1, 2 } };

	for (unsigned good = 0; good < 4; good++) {
		for (unsigned i = 0; i < ARRAY_SIZE(bad); i++) {
			start(SIZE, false, true);
			add_bufs(good);
			mock_ring_add(&ring,
				      (struct mock_seg[]){ { bad[i].gpa, bad[i].len, true } }, 1);
			expect_bulk_broken("buffer outside of guest memory");
		}
		start(SIZE, false, true);
		add_bufs(good);
		mock_ring_offer(&ring, good % 2 ? SIZE : 0xffff);
		expect_bulk_broken("available entry out of range");

		start(SIZE, false, true);
		add_bufs(good);
		mock_ring_set_avail_idx(&ring, SIZE + 1);
		expect_bulk_broken("available index moved by more than the queue's size");

		start(SIZE, false, true);
		add_bufs(good + 1);
		ck_assert_int_eq(mock_pop_bufs(&vq, bufs, SIZE, ~(size_t)0), (int)good + 1);
		mock_ring_set_avail_idx(&ring, (uint16_t)good); /* back */
		expect_bulk_broken("available index moved by more than the queue's size");
	}
	/* All are in flight, and staged is not published. */
	start(SIZE, false, true);
	add_bufs(SIZE);
	ck_assert_int_eq(mock_pop_bufs(&vq, bufs, SIZE, ~(size_t)0), SIZE);
	virtq_push_bufs(&vq, bufs, 1);
	add_bufs(1);
	expect_bulk_broken("available index moved by more than the queue's size");
}
END_TEST

static unsigned rnd(uint32_t *seed, unsigned below)
{
	*seed = *seed * 1664525 + 1013904223;
	return (*seed >> 8) % below;
}

/* Whatever the driver writes, in bulk and one by one give the same: mock_pop_bufs() compares. */
START_TEST(bulk_is_one_by_one)
{
	static const gpa_t at[] = { BUF, GIB(4), GIB(4) + MIB(1) - 64, MEM - 64, 0x8000 };
	unsigned verdicts[3] = { 0 };
	uint32_t seed = 1;

	for (unsigned i = 0; i < 200000; i++) {
		unsigned odd = rnd(&seed, 400), n;
		int rc;

		if (vq.broken)
			start(SIZE, false, true);
		for (n = rnd(&seed, 3); n && (uint16_t)(ring.avail_idx - vq.published_used) < SIZE;
		     n--) {
			uint16_t head = (uint16_t)rnd(&seed, SIZE);

			mock_desc_set(&mp.mem, ring.desc, head, at[rnd(&seed, ARRAY_SIZE(at))],
				      rnd(&seed, 66), rnd(&seed, 10) ? 2 : rnd(&seed, 8),
				      (uint16_t)rnd(&seed, SIZE + 1));
			mock_ring_offer(&ring, odd == 1 ? SIZE : head);
		}
		if (odd == 2)
			mock_ring_set_avail_idx(&ring, (uint16_t)rnd(&seed, 65536));
		rc = mock_pop_bufs(&vq, bufs, 1 + rnd(&seed, SIZE), 1 + rnd(&seed, 200));
		verdicts[rc < 0 ? 0 : rc ? 1 : 2]++;
		if (rc > 0 && rnd(&seed, 2))
			virtq_unpop(&vq, rnd(&seed, (unsigned)rc + 1));
		if (!rc && virtq_pop(&vq, &chain) == 1)
			virtq_push(&vq, chain.head, 0);
		while (vq.used_idx != vq.last_avail)
			virtq_push_bufs(&vq, bufs, 1);
		virtq_publish(&vq);
	}
	for (unsigned i = 0; i < 3; i++)
		ck_assert_uint_gt(verdicts[i], 1000);
}
END_TEST

/* Driver and device on two threads, both asleep whenever allowed to be: a lost wake-up hangs it. */
#define RACE_CHAINS 20000

struct bell {
	pthread_mutex_t lock;
	pthread_cond_t cond;
	unsigned rings;
};

static struct bell to_device = { PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, 0 };
static struct bell to_driver = { PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, 0 };

static void bell_ring(struct bell *b)
{
	pthread_mutex_lock(&b->lock);
	b->rings++;
	pthread_cond_signal(&b->cond);
	pthread_mutex_unlock(&b->lock);
}

static void bell_wait(struct bell *b)
{
	pthread_mutex_lock(&b->lock);
	while (!b->rings)
		pthread_cond_wait(&b->cond, &b->lock);
	b->rings = 0;
	pthread_mutex_unlock(&b->lock);
}

static void *device_thread(void *arg)
{
	struct virtq_chain c;

	for (unsigned done = 0; done < RACE_CHAINS;) {
		virtq_disable_doorbell(&vq);
		while (virtq_pop(&vq, &c) == 1) {
			virtq_push(&vq, c.head, ++done);
			if (done % 3 == 0 && virtq_publish(&vq))
				bell_ring(&to_driver);
		}
		if (virtq_publish(&vq))
			bell_ring(&to_driver);
		if (done < RACE_CHAINS && !virtq_enable_doorbell(&vq))
			bell_wait(&to_device);
	}
	return NULL;
}

static void driver_rings(bool event_idx, uint16_t before)
{
	uint16_t after = ring.avail_idx, event;

	atomic_thread_fence(memory_order_seq_cst);
	event = mock_ring_avail_event(&ring);
	if (event_idx ? (uint16_t)(after - event - 1) < (uint16_t)(after - before)
		      : !mock_ring_no_notify(&ring))
		bell_ring(&to_device);
}

START_TEST(no_lost_wakeups)
{
	bool event_idx = _i;
	unsigned added = 0, seen = 0;
	uint32_t id, len;
	pthread_t t;

	start(SIZE, event_idx, false);
	ck_assert_int_eq(pthread_create(&t, NULL, device_thread, NULL), 0);
	while (seen < RACE_CHAINS) {
		uint16_t before = ring.avail_idx;

		while (added < RACE_CHAINS && added - seen < SIZE) {
			add_one();
			added++;
		}
		driver_rings(event_idx, before);
		while (mock_ring_used(&ring, &id, &len))
			ck_assert_uint_eq(len, ++seen);
		if (seen == RACE_CHAINS || added - seen < SIZE)
			continue;
		mock_ring_set_used_event(&ring, ring.last_used);
		atomic_thread_fence(memory_order_seq_cst);
		if (mock_ring_used_idx(&ring) == ring.last_used)
			bell_wait(&to_driver);
	}
	pthread_join(t, NULL);
	ck_assert(!vq.broken);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("virtqueue");
	TCase *tc = tcase_create("virtqueue");
	SRunner *sr;
	int failed;

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_set_timeout(tc, 60);
	tcase_add_test(tc, enable_checks);
	tcase_add_test(tc, pop_push_publish);
	tcase_add_test(tc, indices_wrap);
	tcase_add_test(tc, unpop_gives_back);
	tcase_add_test(tc, interrupt_flag);
	tcase_add_test(tc, doorbell_flag);
	tcase_add_test(tc, used_event);
	tcase_add_test(tc, used_event_that_stays);
	tcase_add_test(tc, avail_event);
	tcase_add_test(tc, avail_moved_too_far);
	tcase_add_test(tc, avail_moved_back);
	tcase_add_test(tc, same_buffer_offered_while_in_flight);
	tcase_add_test(tc, head_out_of_range);
	tcase_add_test(tc, next_out_of_range);
	tcase_add_test(tc, chain_loops);
	tcase_add_test(tc, chain_loops_with_empty_segments);
	tcase_add_test(tc, chain_of_the_whole_queue);
	tcase_add_test(tc, too_many_segments);
	tcase_add_test(tc, bad_buffers);
	tcase_add_test(tc, empty_segments_are_skipped);
	tcase_add_test(tc, readable_after_writable);
	tcase_add_test(tc, indirect_chain);
	tcase_add_test(tc, indirect_not_negotiated);
	tcase_add_test(tc, indirect_and_next);
	tcase_add_test(tc, indirect_in_indirect);
	tcase_add_test(tc, indirect_bad_tables);
	tcase_add_test(tc, indirect_next_out_of_range);
	tcase_add_test(tc, indirect_long_empty_chain);
	tcase_add_test(tc, chain_of_4_gib);
	tcase_add_test(tc, not_enabled_is_harmless);
	tcase_add_test(tc, copies);
	tcase_add_test(tc, bulk_takes_and_gives);
	tcase_add_test(tc, bulk_indices_wrap);
	tcase_add_test(tc, bulk_leaves_other_chains);
	tcase_add_test(tc, bulk_bad_input);
	tcase_add_test(tc, bulk_is_one_by_one);
	tcase_add_loop_test(tc, no_lost_wakeups, 0, 2);
	suite_add_tcase(s, tc);
	sr = srunner_create(s);
	srunner_run_all(sr, CK_ENV);
	failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
