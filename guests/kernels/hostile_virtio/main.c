/*
 * Attacks a device in every way that hostile.h's tables list, one after the other.
 *
 *   target=rng|net|blk|console   the device (default rng)
 *   attack=NAME                  only this one; rings, registers, machine: only that table
 *   rounds=N  seed=N  n=N        repetitions, and of what randomness
 *   strict=0                     a device need not notice (other machines than xvmm's)
 *   verbose=1                    names each attack before it is made
 */
#include "hostile_virtio/hostile.h"

#define BREAK_POLLS 20000
#define CALM_POLLS  20

static struct target targets[] = {
	{ .name = "rng", .id = VIRTIO_ID_RNG, .queue = 0, .writes = true },
	{ .name = "net", .id = VIRTIO_ID_NET, .queue = 1 },
	{ .name = "blk", .id = VIRTIO_ID_BLOCK, .queue = 0 },
	{ .name = "console", .id = VIRTIO_ID_CONSOLE, .queue = 1 },
};

static unsigned nr_done, nr_broken, nr_skipped;

uint64_t target_random(struct target *t)
{
	return random_next(&t->random);
}

void set_desc(struct target *t, unsigned i, uint64_t addr, uint32_t len, unsigned flags,
	      unsigned next)
{
	t->vq.desc[i] = (struct vring_desc){ addr, len, (uint16_t)flags, (uint16_t)next };
}

void doorbell(struct target *t)
{
	barrier();
	if (t->dev.mmio)
		mmio_write32(t->vq.doorbell, t->queue);
	else
		mmio_write16(t->vq.doorbell, (uint16_t)t->queue);
}

void expose(struct target *t, unsigned head)
{
	t->vq.avail->ring[t->vq.avail_idx & (t->vq.size - 1)] = (uint16_t)head;
	barrier();
	*(volatile uint16_t *)&t->vq.avail->idx = ++t->vq.avail_idx;
	doorbell(t);
}

void target_start(struct target *t, uint64_t without)
{
	virtio_start(&t->dev, virtio_usual_features() & ~without);
	for (unsigned i = 0; i < ARRAY_SIZE(t->vq.cookie); i++)
		t->vq.cookie[i] = NULL;
	virtio_queue(&t->dev, &t->vq, t->queue, 64);
	virtio_driver_ok(&t->dev);
}

static unsigned honest_request(struct target *t, struct buf b[3], unsigned *nr_in)
{
	uint8_t *d = t->data;

	*nr_in = 0;
	memset(d, 0, 128);
	switch (t->id) {
	case VIRTIO_ID_RNG:
		b[0] = (struct buf){ d, 16 };
		*nr_in = 1;
		return 0;
	case VIRTIO_ID_NET: /* header and a frame to nobody */
		memcpy(d + 12, "\x02\0\0\0\0\x99\x02\0\0\0\0\x98\x88\xb6", 14);
		b[0] = (struct buf){ d, 12 + 60 };
		return 1;
	case VIRTIO_ID_BLOCK: /* read sector 0 */
		b[0] = (struct buf){ d, 16 };
		b[1] = (struct buf){ d + 512, 512 };
		b[2] = (struct buf){ d + 32, 1 };
		*nr_in = 2;
		return 1;
	default:
		memcpy(d, "ok\n", 3);
		b[0] = (struct buf){ d, 3 };
		return 1;
	}
}

void target_works(struct target *t, const char *after)
{
	struct buf b[3];
	unsigned in, out = honest_request(t, b, &in);

	CHECK(vq_add(&t->vq, b, out, in, t), "ring is full");
	doorbell(t);
	for (unsigned i = 0; !vq_take(&t->vq, NULL); i++) {
		CHECK(i < 5000000, "%s does not work after %s, status 0x%x", t->name, after,
		      virtio_status(&t->dev));
		CHECK(!(virtio_status(&t->dev) & VIRTIO_NEEDS_RESET), "%s is broken after %s",
		      t->name, after);
		cpu_pause();
	}
	CHECK(t->id != VIRTIO_ID_BLOCK || t->data[32] == 0, "reading fails after %s", after);
}

static void run(struct target *t, const struct attack *a)
{
	bool must = a->outcome == MUST_BREAK && !cmdline_is("strict", "0"), broken = false;
	unsigned polls = must ? BREAK_POLLS : CALM_POLLS;

	if (a->pci_only && t->dev.mmio) {
		nr_skipped++;
		return;
	}
	if (cmdline_is("verbose", "1"))
		print("attack: %s\n", a->name);
	target_start(t, a->without);
	target_works(t, "a reset");
	a->run(t);
	while (!broken && polls--)
		broken = virtio_status(&t->dev) & VIRTIO_NEEDS_RESET;
	CHECK(broken || !must, "%s takes %s for good", t->name, a->name);
	nr_broken += broken;
	nr_done++;
	target_start(t, 0);
	target_works(t, a->name);
}

static void run_table(struct target *t, const struct attack *a, const char *table)
{
	bool all = !cmdline_has("attack") || cmdline_is("attack", table);

	for (; a->name; a++) {
		if (all || cmdline_is("attack", a->name))
			run(t, a);
	}
}

void guest_main(void)
{
	struct target *t = &targets[0];
	uint64_t rounds = cmdline_u64("rounds", 1);

	for (unsigned i = 0; i < ARRAY_SIZE(targets); i++) {
		if (cmdline_is("target", targets[i].name))
			t = &targets[i];
	}
	intr_init();
	CHECK(virtio_find(&t->dev, t->id, 0), "no virtio %s", t->name);
	t->data = mem_alloc(65536, 4096);
	t->random = cmdline_u64("seed", 1);
	irq_enable(); /* what the attacks cause is taken, and forgotten */
	for (uint64_t i = 0; i < rounds; i++) {
		run_table(t, ring_attacks, "rings");
		run_table(t, register_attacks, "registers");
		run_table(t, machine_attacks, "machine");
	}
	print("hostile: %s over %s, seed %lu: %u attacks, %u broke the device, %u left out\n",
	      t->name, t->dev.mmio ? "mmio" : "pci", (unsigned long)cmdline_u64("seed", 1), nr_done,
	      nr_broken, nr_skipped);
	CHECK(nr_done, "no such attack");
}
