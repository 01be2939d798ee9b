/*
 * Breaks every rule of an e1000 that it can reach, one after the other. After each attack the card
 * is reset and has to send a frame again.
 *
 *   attack=NAME   only this one       rounds=N  seed=N   repetitions, and of what randomness
 *   verbose=1     names each attack before it is made
 */
#include "lib/e1000.h"
#include "lib/mem.h"

#define POLLS	 200000
#define FRAME	 60
#define ANYWHERE 0xfffffffff000ull
#define RAM_END	 (16u << 20)

struct target {
	struct e1000 e;
	uint8_t *data;
	uint64_t random;
};

struct attack {
	const char *name;
	void (*run)(struct target *t);
};

static uint64_t rnd(struct target *t)
{
	return random_next(&t->random);
}

/* Mostly what a driver might write, sometimes anything. */
static uint32_t odd(struct target *t)
{
	static const uint32_t values[] = { 0,	  1,	  0x7f,	  0x80, 0xff,
					   0xfff, 0x1000, 0xffff, ~0u,	1u << 31 };
	uint64_t r = rnd(t);

	return r & 1 ? (uint32_t)(r >> 32) : values[(r >> 1) % ARRAY_SIZE(values)];
}

static void raw_tx(struct target *t, unsigned i, uint64_t address, uint32_t lower, uint32_t upper)
{
	uint64_t *d = (uint64_t *)&t->e.tx[i % E1000_RING];

	d[0] = address;
	d[1] = lower | (uint64_t)upper << 32;
}

static void tail(struct target *t, uint32_t v)
{
	barrier();
	e1000_set(&t->e, E1000_TDT, v);
}

static void bad_ring_base(struct target *t)
{
	e1000_set(&t->e, E1000_TDBAL, RAM_END - 64);
	tail(t, 4);
	e1000_set(&t->e, E1000_TDBAH, ~0u);
	tail(t, 5);
	e1000_set(&t->e, E1000_RDBAL, RAM_END - 64);
	e1000_set(&t->e, E1000_RDT, 5);
}

static void bad_ring_length(struct target *t)
{
	for (uint32_t len = 0; len < 0x200000; len = len ? len * 2 + 127 : 1) {
		e1000_set(&t->e, E1000_TDLEN, len);
		e1000_set(&t->e, E1000_RDLEN, len);
		tail(t, 200);
		e1000_set(&t->e, E1000_RDT, 200);
	}
}

static void bad_head_and_tail(struct target *t)
{
	static const uint32_t values[] = { 255, 256, 257, 0xffff, 0x10000, ~0u };

	for (unsigned i = 0; i < ARRAY_SIZE(values); i++) {
		tail(t, values[i]);
		e1000_set(&t->e, E1000_RDT, values[i]);
		e1000_set(&t->e, E1000_TDH, values[i]);
		e1000_set(&t->e, E1000_RDH, values[i]);
		tail(t, 3);
	}
}

static void bad_buffers(struct target *t)
{
	static const uint64_t at[] = {
		RAM_END, RAM_END - 1, ANYWHERE, ~0ull, 0xfee00000, 0xc0000000
	};

	for (unsigned i = 0; i < ARRAY_SIZE(at); i++) {
		raw_tx(t, i, at[i], FRAME | 0x0b000000, 0);
		t->e.rx[i].address = at[i];
	}
	tail(t, ARRAY_SIZE(at));
	e1000_set(&t->e, E1000_RDT, ARRAY_SIZE(at));
}

static void endless_frame(struct target *t)
{
	for (unsigned i = 0; i < E1000_RING; i++)
		raw_tx(t, i, (uintptr_t)t->data, i & 1 ? 0x08000001 : 0x08000000 | 4096, 0);
	for (unsigned i = 0; i < 3 * E1000_RING; i += 100)
		tail(t, i % E1000_RING);
}

static void mad_contexts(struct target *t)
{
	for (unsigned round = 0; round < 20; round++) {
		for (unsigned i = 0; i < 100; i += 2) {
			raw_tx(t, i, rnd(t), 0x20000000 | (uint32_t)(rnd(t) & 0x0f000fff),
			       (uint32_t)rnd(t));
			raw_tx(t, i + 1, (uintptr_t)t->data,
			       0x29100000 | (uint32_t)(rnd(t) & 0x44003fff), (uint32_t)rnd(t));
		}
		tail(t, round & 1 ? 0 : 100);
	}
}

static void random_descriptors(struct target *t)
{
	for (unsigned round = 0; round < 20; round++) {
		for (unsigned i = 0; i < E1000_RING; i++) {
			raw_tx(t, i, rnd(t) & 1 ? (uintptr_t)t->data : rnd(t) % (RAM_END + 0x10000),
			       (uint32_t)rnd(t), (uint32_t)rnd(t));
			t->e.rx[i].address = rnd(t) % RAM_END;
		}
		tail(t, (uint32_t)rnd(t) % E1000_RING);
		e1000_set(&t->e, E1000_TDH, (uint32_t)rnd(t) % E1000_RING);
	}
}

static void random_registers(struct target *t)
{
	for (unsigned i = 0; i < 2000; i++) {
		unsigned reg = (unsigned)(rnd(t) % 0x1800) * 4;

		/* No interrupt is wanted, and a reset would only make it tame. */
		if (reg == E1000_IMS || reg == E1000_CTRL || reg == E1000_CTRL + 4)
			continue;
		if (rnd(t) & 1)
			e1000_set(&t->e, reg, odd(t));
		else
			e1000_get(&t->e, reg);
		mmio_read8(t->e.regs + reg + 1);
		mmio_write16(t->e.regs + reg + 2, (uint16_t)odd(t));
	}
}

static void reset_while_busy(struct target *t)
{
	for (unsigned round = 0; round < 50; round++) {
		for (unsigned i = 0; i < 100; i++)
			raw_tx(t, i, (uintptr_t)t->data, FRAME | 0x0b000000, 0);
		tail(t, 100);
		e1000_set(&t->e, E1000_CTRL, round & 1 ? E1000_CTRL_RST : 0x80000000);
		e1000_set(&t->e, E1000_TDBAL, (uint32_t)(uintptr_t)t->e.tx);
		e1000_set(&t->e, E1000_TDLEN, sizeof(*t->e.tx) * E1000_RING);
		e1000_set(&t->e, E1000_TCTL, E1000_TCTL_EN);
	}
}

static void on_and_off(struct target *t)
{
	for (unsigned i = 0; i < 200; i++) {
		e1000_set(&t->e, E1000_RCTL, i & 1 ? 0 : E1000_RCTL_EN | (uint32_t)rnd(t));
		e1000_set(&t->e, E1000_TCTL, i & 2 ? 0 : E1000_TCTL_EN);
		tail(t, i % E1000_RING);
	}
}

static const struct attack attacks[] = {
	{ "bad_ring_base", bad_ring_base },	      { "bad_ring_length", bad_ring_length },
	{ "bad_head_and_tail", bad_head_and_tail },   { "bad_buffers", bad_buffers },
	{ "endless_frame", endless_frame },	      { "mad_contexts", mad_contexts },
	{ "random_descriptors", random_descriptors }, { "random_registers", random_registers },
	{ "reset_while_busy", reset_while_busy },     { "on_and_off", on_and_off },
};

/* Makes the card work: rings, both directions, no interrupts. */
static void start(struct target *t)
{
	struct e1000_tx_desc *tx = t->e.tx;
	struct e1000_rx_desc *rx = t->e.rx;

	CHECK(e1000_find(&t->e, 0), "no e1000");
	t->e.tx = tx;
	t->e.rx = rx;
	memset(tx, 0, sizeof(*tx) * E1000_RING);
	for (unsigned i = 0; i < E1000_RING; i++)
		rx[i] = (struct e1000_rx_desc){ .address = (uintptr_t)t->data + 0x8000 };
	e1000_set(&t->e, E1000_TDBAL, (uint32_t)(uintptr_t)tx);
	e1000_set(&t->e, E1000_TDLEN, sizeof(*tx) * E1000_RING);
	e1000_set(&t->e, E1000_RDBAL, (uint32_t)(uintptr_t)rx);
	e1000_set(&t->e, E1000_RDLEN, sizeof(*rx) * E1000_RING);
	e1000_set(&t->e, E1000_TCTL, E1000_TCTL_EN);
	e1000_set(&t->e, E1000_RCTL, E1000_RCTL_EN | E1000_RCTL_BAM);
	e1000_set(&t->e, E1000_RDT, E1000_RING - 1);
}

static void must_work(struct target *t, const char *after)
{
	unsigned i;

	start(t);
	raw_tx(t, 0, (uintptr_t)t->data, FRAME | 0x0b000000, 0);
	tail(t, 1);
	for (i = 0; i < POLLS && !(t->e.tx[0].status & E1000_DD); i++)
		cpu_pause();
	CHECK(t->e.tx[0].status & E1000_DD, "after %s: no frame is sent", after);
	CHECK(e1000_get(&t->e, E1000_TDH) == 1, "after %s: TDH is %u", after,
	      e1000_get(&t->e, E1000_TDH));
}

void guest_main(void)
{
	static struct target t;
	uint64_t rounds = cmdline_u64("rounds", 1);
	unsigned done = 0;
	char only[32] = "";

	t.random = cmdline_u64("seed", 1);
	cmdline_get("attack", only, sizeof(only));
	t.data = mem_alloc(0x10000, 4096);
	t.e.tx = mem_alloc(sizeof(*t.e.tx) * E1000_RING, 4096);
	t.e.rx = mem_alloc(sizeof(*t.e.rx) * E1000_RING, 4096);
	memset(t.data, 0xff, 6);
	must_work(&t, "the start");
	e1000_mac(&t.e, t.data + 6);
	for (uint64_t round = 0; round < rounds; round++) {
		for (unsigned i = 0; i < ARRAY_SIZE(attacks); i++) {
			if (*only && strcmp(only, attacks[i].name))
				continue;
			if (cmdline_is("verbose", "1"))
				print("hostile: %s\n", attacks[i].name);
			attacks[i].run(&t);
			must_work(&t, attacks[i].name);
			done++;
		}
	}
	print("hostile: %u attacks\n", done);
	CHECK(done, "no such attack: %s", only);
}
