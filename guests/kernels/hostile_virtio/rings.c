/* Attacks through the rings: what the device reads from guest memory. Source: VIRTIO 1.2, 2.7. */
#include "hostile_virtio/hostile.h"

#define NEXT	 VRING_DESC_NEXT
#define WRITE	 VRING_DESC_WRITE
#define INDIRECT VRING_DESC_INDIRECT

static unsigned dir(struct target *t)
{
	return t->writes ? WRITE : 0;
}

static void one(struct target *t, uint64_t addr, uint32_t len, unsigned flags)
{
	set_desc(t, 0, addr, len, flags, 0);
	expose(t, 0);
}

static uint64_t data(struct target *t)
{
	return (uintptr_t)t->data;
}

static void addr_beyond_memory(struct target *t)
{
	one(t, 0x7ffffffff000, 64, dir(t));
}

static void addr_at_the_end(struct target *t)
{
	one(t, ~0ull - 15, 64, dir(t)); /* address + length wraps */
}

static void addr_in_the_hole(struct target *t)
{
	one(t, MACHINE_INTC_BASE, 64, dir(t));
}

static void len_huge(struct target *t)
{
	one(t, data(t), 0xffffffff, dir(t));
}

static void len_zero(struct target *t)
{
	one(t, data(t), 0, dir(t));
}

static void next_beyond_ring(struct target *t)
{
	set_desc(t, 0, data(t), 16, dir(t) | NEXT, 0xffff);
	expose(t, 0);
}

static void loop_of_one(struct target *t)
{
	set_desc(t, 0, data(t), 16, dir(t) | NEXT, 0);
	expose(t, 0);
}

static void loop_of_two(struct target *t)
{
	set_desc(t, 0, data(t), 16, dir(t) | NEXT, 1);
	set_desc(t, 1, data(t), 16, dir(t) | NEXT, 0);
	expose(t, 0);
}

static void loop_of_all(struct target *t)
{
	for (unsigned i = 0; i < t->vq.size; i++)
		set_desc(t, i, data(t), 1, dir(t) | NEXT, (i + 1) % t->vq.size);
	expose(t, 0);
}

static void chain_of_all(struct target *t)
{
	for (unsigned i = 0; i < t->vq.size; i++)
		set_desc(t, i, data(t) + i, 1, dir(t) | (i + 1u < t->vq.size ? NEXT : 0), i + 1);
	expose(t, 0);
}

static void read_after_write(struct target *t)
{
	set_desc(t, 0, data(t), 16, WRITE | NEXT, 1);
	set_desc(t, 1, data(t) + 16, 16, 0, 0);
	expose(t, 0);
}

static void wrong_direction(struct target *t)
{
	one(t, data(t), 64, t->writes ? 0 : WRITE);
}

static void flags_garbage(struct target *t)
{
	one(t, data(t), 64, 0xfff8 | dir(t));
}

static void head_beyond_ring(struct target *t)
{
	expose(t, 0xffff);
}

static void head_just_beyond_ring(struct target *t)
{
	expose(t, t->vq.size);
}

static void same_head_often(struct target *t)
{
	set_desc(t, 0, data(t), 16, dir(t), 0);
	for (unsigned i = 0; i < t->vq.size; i++)
		expose(t, 0);
}

static void idx_jumps(struct target *t)
{
	set_desc(t, 0, data(t), 16, dir(t), 0);
	t->vq.avail->idx = (uint16_t)(t->vq.avail_idx + t->vq.size + 1);
	doorbell(t);
}

static void idx_goes_back(struct target *t)
{
	t->vq.avail->idx = (uint16_t)(t->vq.avail_idx - 1);
	doorbell(t);
}

static void idx_moves_while_served(struct target *t)
{
	for (unsigned i = 0; i < 200; i++) {
		t->vq.avail->idx = (uint16_t)target_random(t);
		doorbell(t);
	}
}

static void ring_of_noise(struct target *t)
{
	for (unsigned round = 0; round < 20; round++) {
		for (unsigned i = 0; i < t->vq.size; i++) {
			uint64_t r = target_random(t);

			/* Some of it near enough to the truth to get further. */
			set_desc(t, i, r & 1 ? target_random(t) : data(t) + (r >> 8 & 0xfff),
				 r & 2 ? (uint32_t)(r >> 32) : (uint32_t)(r >> 32 & 0x3ff),
				 r >> 16 & 7, r & 4 ? r >> 20 : (r >> 20) % t->vq.size);
			t->vq.avail->ring[i] = (uint16_t)(r & 8 ? r >> 40 : (r >> 40) % t->vq.size);
		}
		t->vq.avail->flags = (uint16_t)target_random(t);
		t->vq.avail->idx = (uint16_t)(t->vq.avail->idx + target_random(t) % t->vq.size);
		t->vq.avail->ring[t->vq.size] = (uint16_t)target_random(t); /* used_event */
		doorbell(t);
	}
}

/* The device's side of the ring is guest memory too. */
static void used_ring_overwritten(struct target *t)
{
	memset(t->vq.used, 0xff, 6 + 8 * t->vq.size);
	set_desc(t, 0, data(t), 16, dir(t), 0);
	for (unsigned i = 0; i < 8; i++) {
		expose(t, 0);
		t->vq.used->idx = 0x1234;
	}
}

static struct vring_desc *table(struct target *t)
{
	return (struct vring_desc *)(t->data + 4096);
}

static void indirect(struct target *t, uint64_t addr, uint32_t len, unsigned more_flags)
{
	table(t)[0] = (struct vring_desc){ data(t), 16, (uint16_t)dir(t), 0 };
	one(t, addr, len, INDIRECT | more_flags);
}

static void indirect_len_zero(struct target *t)
{
	indirect(t, (uintptr_t)table(t), 0, 0);
}

static void indirect_len_odd(struct target *t)
{
	indirect(t, (uintptr_t)table(t), 17, 0);
}

static void indirect_len_huge(struct target *t)
{
	indirect(t, (uintptr_t)table(t), 0xfffffff0, 0);
}

static void indirect_addr_beyond(struct target *t)
{
	indirect(t, 0x7ffffffff000, 16, 0);
}

static void indirect_addr_at_the_end(struct target *t)
{
	indirect(t, ~0ull - 7, 16, 0);
}

static void indirect_and_next(struct target *t)
{
	set_desc(t, 1, data(t), 16, dir(t), 0);
	table(t)[0] = (struct vring_desc){ data(t), 16, (uint16_t)dir(t), 0 };
	set_desc(t, 0, (uintptr_t)table(t), 16, INDIRECT | NEXT, 1);
	expose(t, 0);
}

static void indirect_in_indirect(struct target *t)
{
	table(t)[0] = (struct vring_desc){ (uintptr_t)table(t), 16, INDIRECT, 0 };
	one(t, (uintptr_t)table(t), 16, INDIRECT);
}

static void indirect_loop(struct target *t)
{
	table(t)[0] = (struct vring_desc){ data(t), 1, (uint16_t)(dir(t) | NEXT), 1 };
	table(t)[1] = (struct vring_desc){ data(t), 1, (uint16_t)(dir(t) | NEXT), 0 };
	one(t, (uintptr_t)table(t), 32, INDIRECT);
}

static void indirect_next_beyond(struct target *t)
{
	table(t)[0] = (struct vring_desc){ data(t), 1, (uint16_t)(dir(t) | NEXT), 7 };
	one(t, (uintptr_t)table(t), 32, INDIRECT);
}

static void indirect_not_agreed(struct target *t)
{
	indirect(t, (uintptr_t)table(t), 16, 0);
}

const struct attack ring_attacks[] = {
	{ "addr_beyond_memory", MUST_BREAK, addr_beyond_memory },
	{ "addr_at_the_end", MUST_BREAK, addr_at_the_end },
	{ "addr_in_the_hole", MUST_BREAK, addr_in_the_hole },
	{ "len_huge", MUST_BREAK, len_huge },
	{ "len_zero", MAY_BREAK, len_zero },
	{ "next_beyond_ring", MUST_BREAK, next_beyond_ring },
	{ "loop_of_one", MUST_BREAK, loop_of_one },
	{ "loop_of_two", MUST_BREAK, loop_of_two },
	{ "loop_of_all", MUST_BREAK, loop_of_all },
	{ "chain_of_all", MAY_BREAK, chain_of_all },
	{ "read_after_write", MUST_BREAK, read_after_write },
	{ "wrong_direction", MAY_BREAK, wrong_direction },
	{ "flags_garbage", MAY_BREAK, flags_garbage },
	{ "head_beyond_ring", MUST_BREAK, head_beyond_ring },
	{ "head_just_beyond_ring", MUST_BREAK, head_just_beyond_ring },
	{ "same_head_often", MAY_BREAK, same_head_often },
	{ "idx_jumps", MUST_BREAK, idx_jumps },
	{ "idx_goes_back", MUST_BREAK, idx_goes_back },
	{ "idx_moves_while_served", MAY_BREAK, idx_moves_while_served },
	{ "ring_of_noise", MAY_BREAK, ring_of_noise },
	{ "used_ring_overwritten", MAY_BREAK, used_ring_overwritten },
	{ "indirect_len_zero", MUST_BREAK, indirect_len_zero },
	{ "indirect_len_odd", MUST_BREAK, indirect_len_odd },
	{ "indirect_len_huge", MUST_BREAK, indirect_len_huge },
	{ "indirect_addr_beyond", MUST_BREAK, indirect_addr_beyond },
	{ "indirect_addr_at_the_end", MUST_BREAK, indirect_addr_at_the_end },
	{ "indirect_and_next", MUST_BREAK, indirect_and_next },
	{ "indirect_in_indirect", MUST_BREAK, indirect_in_indirect },
	{ "indirect_loop", MUST_BREAK, indirect_loop },
	{ "indirect_next_beyond", MUST_BREAK, indirect_next_beyond },
	{ "indirect_not_agreed", MAY_BREAK, indirect_not_agreed, FEATURE(VIRTIO_F_INDIRECT_DESC) },
	{ 0 },
};
