/*
 * Exchanges frames as slot_pair does (lib/traffic.h) and, from data frame `from=N` (a quarter) on,
 * breaks the contract of stable slots (docs/mapped.md) by `breach=`
 *
 *   move      slots point at other buffers now and then, and back
 *   order     slots are given in another order
 *   early     received slots are given back before they are read
 *   rewrite   writes into transmit slots after they were given, all the time
 *   reset     resets the device with slots under way, every `often=N` (500) frames
 *   shrink    the same, each time with half as many slots, down to 8
 *   header    virtio-net: the headers lie in the slots' pages
 *   shared    something else lies in the slots' first pages; needs offset=1024 and slots=32
 *   sit       never looks at receive slots again
 *   scribble  writes into all receive slots for a while
 *   garbage   nonsense in descriptors, rings and registers, then a reset, every `often=N` frames
 *
 * Whatever comes of its own traffic is no failure; what counts is how the others fare. Without a
 * word from the peer it ends after `timeout=S` seconds.
 */
#include "lib/mem.h"
#include "slot_hostile/hostile.h"

#define REWRITTEN 64 /* bytes of a slot: what a header may be, and some */

struct traffic traffic;
static struct slots_ops ops;
static const struct slots_ops *base;
static uint64_t random_state, from, often, next_at;
static uint8_t *tx_spare, *rx_spare; /* as large as all slots of one way */
static bool moved[SLOTS_MAX];

uint64_t any(void)
{
	return random_next(&random_state);
}

/* Data frames, both ways. */
static uint64_t progress(const struct traffic *t)
{
	return t->sent + t->peer[0].received + t->peer[0].corrupt;
}

static bool begun(void)
{
	return progress(&traffic) >= from;
}

/* For breaches that ruin all traffic: not for ever, or the last words would never be read. */
static bool under_way(const struct traffic *t)
{
	return begun() && progress(t) < t->frames;
}

static bool is_due(struct traffic *t)
{
	if (!begun() || progress(t) < next_at)
		return false;
	next_at = progress(t) + often;
	return true;
}

/* -- move, order -- */

static uint8_t *spare_at(const struct slots *s, uint8_t *spare, unsigned slot)
{
	return spare + (size_t)slot * s->slot_bytes;
}

static void move_tx_give(struct slots *s, unsigned slot, uint32_t bytes)
{
	uint8_t *at = slots_tx_at(s, slot);

	if (begun() && !(any() & 3)) {
		memcpy(spare_at(s, tx_spare, slot), at, bytes);
		at = spare_at(s, tx_spare, slot);
	}
	hostile_set_tx(s, slot, at);
	base->tx_give(s, slot, bytes);
}

static void move_rx_give(struct slots *s, unsigned slot)
{
	moved[slot] = begun() && !(any() & 3);
	hostile_set_rx(s, slot, moved[slot] ? spare_at(s, rx_spare, slot) : slots_rx_at(s, slot));
	base->rx_give(s, slot);
}

static int move_received(struct slots *s, unsigned slot, uint32_t *bytes)
{
	int rc = base->received(s, slot, bytes);

	if (rc > 0 && moved[slot])
		memcpy(slots_rx_at(s, slot), spare_at(s, rx_spare, slot), *bytes);
	return rc;
}

/* Pairs of slots change places. */
static void order_tx_give(struct slots *s, unsigned slot, uint32_t bytes)
{
	base->tx_give(s, slot, bytes);
	if (begun())
		hostile_swap_given(s, slot);
}

/* -- early -- */

static int early_received(struct slots *s, unsigned slot, uint32_t *bytes)
{
	int rc = base->received(s, slot, bytes);

	if (rc > 0 && begun()) {
		hostile_give_early(s, slot);
		for (unsigned i = 0; i < 100; i++)
			cpu_pause();
	}
	return rc;
}

/* -- what is done once a turn -- */

static void rewrite(struct traffic *t)
{
	struct slots *s = &t->slots;

	if (!under_way(t))
		return;
	for (uint32_t i = s->tx_done; i != s->tx_next; i++) {
		volatile uint64_t *at = (volatile void *)slots_tx_at(s, i % s->nr);

		at[any() % (REWRITTEN / 8)] = any();
	}
}

static void scribble(struct traffic *t)
{
	struct slots *s = &t->slots;

	if (!under_way(t))
		return;
	for (unsigned i = 0; i < s->nr; i++) {
		volatile uint64_t *at = (volatile void *)slots_rx_at(s, i);

		at[any() % (s->slot_bytes / 8)] = any();
		at[any() % (REWRITTEN / 8)] = any();
	}
}

static void reset(struct traffic *t)
{
	if (is_due(t))
		slots_restart(&t->slots);
}

static void shrink(struct traffic *t)
{
	if (!is_due(t) || t->slots.nr <= 8)
		return;
	t->slots.wanted = t->slots.nr / 2;
	slots_restart(&t->slots);
	print("hostile: %u slots\n", t->slots.nr);
}

static void sit(struct traffic *t)
{
	t->sitting = begun();
}

static void garbage(struct traffic *t)
{
	if (!is_due(t))
		return;
	for (unsigned i = 0; i < 16; i++)
		hostile_nonsense(&t->slots);
	slots_restart(&t->slots);
}

/* -- before the device is told of anything -- */

static void put_headers_into_slots(struct slots *s)
{
	base->setup(s);
	hostile_move_headers(s);
}

static const struct {
	const char *name;
	void (*turn)(struct traffic *t);
	struct slots_ops ops;
} breaches[] = {
	{ "move",
	  .ops = { .tx_give = move_tx_give, .rx_give = move_rx_give, .received = move_received } },
	{ "order", .ops = { .tx_give = order_tx_give } },
	{ "early", .ops = { .received = early_received } },
	{ "rewrite", rewrite },
	{ "reset", reset },
	{ "shrink", shrink },
	{ "header", .ops = { .setup = put_headers_into_slots } },
	{ "shared" },
	{ "sit", sit },
	{ "scribble", scribble },
	{ "garbage", garbage },
};

static void prepare(struct traffic *t)
{
	unsigned i = 0;

	while (!cmdline_is("breach", breaches[i].name))
		CHECK(++i < ARRAY_SIZE(breaches), "breach= is missing or unknown");
	t->tolerate = t->slots.tolerant = true;
	tx_spare = mem_alloc(t->slots.page_bytes, 4096);
	rx_spare = mem_alloc(t->slots.page_bytes, 4096);
	from = cmdline_u64("from", t->frames / 4);
	often = cmdline_u64("often", 500);
	random_state = cmdline_u64("seed", 1);
	base = t->slots.ops;
	ops = *base;
	if (breaches[i].ops.setup)
		ops.setup = breaches[i].ops.setup;
	if (breaches[i].ops.tx_give)
		ops.tx_give = breaches[i].ops.tx_give;
	if (breaches[i].ops.rx_give)
		ops.rx_give = breaches[i].ops.rx_give;
	if (breaches[i].ops.received)
		ops.received = breaches[i].ops.received;
	t->slots.ops = &ops;
	t->mischief = breaches[i].turn;
	if (cmdline_is("breach", "shared"))
		hostile_share_pages(&t->slots);
}

void guest_main(void)
{
	traffic_setup(&traffic, prepare);
	traffic_run(&traffic);
	traffic_report(&traffic);
}
