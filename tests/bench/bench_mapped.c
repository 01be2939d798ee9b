/*
 * What a frame costs on a mapped lane: see bench_mapped.h.
 *
 * By the method of bench_lane.c, and between drivers with stable slots (lane_slots.h). The way back
 * is a part of the price: a section has two timed pieces, A's loop from the doorbell until all is
 * in B's used ring, and, when B's driver has given the slots back (not timed), B's and A's loops
 * until all is in A's used ring. Bound `direct` the second is empty.
 *
 * The same pair of NICs is bound `mapped` and `direct` in turn, so that both have the same buffers.
 */
#include "tests/bench/bench_mapped.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/bench/lane_host.h"
#include "tests/bench/lane_slots.h"

struct mapped_pair {
	const char *name;
	struct netswitch *sw;
	struct lane_slots a, b;
	struct tap *tap_a, *tap_b;
	bool verified[2]; /* direct, mapped */
};

enum { DIRECT, MAPPED, NR_WAYS };

struct mapped {
	struct mapped_pair small, large;
	struct figure ns[NR_WAYS][NR_SHAPES];
};

static const struct lane_shape mapped_shapes[NR_SHAPES] = {
	{ .name = "64", .len = 64, .batch = 64 },
	{ .name = "1500", .len = 1500, .tcp = true, .batch = 64 },
	{ .name = "gso", .len = 65226, .tcp = true, .gso_size = 1448, .batch = 64 },
};
static const unsigned nr_sections[NR_WAYS][NR_SHAPES] = { { 256, 256, 16 }, { 256, 256, 256 } };

static struct mapped_pair *pair_for(struct mapped *m, unsigned shape)
{
	return shape == SHAPE_GSO ? &m->large : &m->small;
}

/* -- Sections -- */

static uint64_t less_clock(const struct bench *b, uint64_t ns)
{
	return ns > b->clock_ns ? ns - b->clock_ns : 0;
}

static uint64_t section(struct bench *b, struct mapped_pair *p, unsigned frames, bool whole)
{
	unsigned turns = 0;
	uint64_t t, ns;

	lane_slots_post(&p->a, frames, whole);
	t = lane_cpu_ns();
	lane_nic_turn(p->a.nic);
	ns = less_clock(b, lane_cpu_ns() - t);
	if (!lane_slots_have(&p->b, frames))
		lane_die("%s: frames do not arrive", p->name);
	if (lane_slots_take(&p->b, &p->a, whole) != frames || p->b.nic->foul)
		lane_die("%s: wrong frames", p->name);
	lane_slots_give(&p->b);
	while (lane_slots_sent(&p->a)) {
		if (turns++ == MAX_TURNS)
			lane_die("%s: frames are not given back", p->name);
		/* Whose doorbell it is: B's loop sleeps while it is lent, and is told else. */
		t = lane_cpu_ns();
		lane_nic_turn(turns % 2 ? p->a.nic : p->b.nic);
		ns += less_clock(b, lane_cpu_ns() - t);
	}
	return ns;
}

/* -- Bindings -- */

static bool bound(struct mapped_pair *p, enum binding want)
{
	struct netswitch_port_state st = { 0 };

	netswitch_port_state(p->sw, p->a.nic->port, &st);
	return st.binding == want && (want == BINDING_MAPPED || st.nr_open_lanes);
}

/* One step of traffic that keeps A's ring as full as it can be. */
static void step(struct mapped_pair *p, bool more)
{
	if (more)
		lane_slots_post(&p->a, LANE_SLOTS - lane_slots_sent(&p->a), true);
	lane_nic_turn(p->a.nic);
	lane_nic_turn(p->b.nic);
	lane_slots_take(&p->b, &p->a, true);
	if (p->b.nic->foul)
		lane_die("%s: wrong frames in a swap", p->name);
	lane_slots_give(&p->b);
	lane_nic_turn(p->b.nic);
	lane_nic_turn(p->a.nic);
}

static void command(struct mapped_pair *p, enum binding want)
{
	int err = netswitch_command(p->sw, p->a.nic->port, true, want);

	if (err)
		lane_die("netswitch_command: %s", strerror(-err));
}

/* Sends until the element is bound so, and nothing is under way. */
static void bind(struct mapped_pair *p, enum binding want)
{
	struct netswitch_port_state st = { 0 };
	bool there;

	for (unsigned n = 0; n < SWAP_TIMEOUT; n++) {
		/* Said again now and then: an order ends the back-off after a try that failed. */
		if (n % 32 == 0)
			command(p, want);
		there = bound(p, want);
		step(p, !there);
		if (there && !lane_slots_sent(&p->a))
			return;
		if (n > 8)
			usleep(250); /* the remapper's turn */
	}
	netswitch_port_state(p->sw, p->a.nic->port, &st);
	lane_die("%s: no swap in time: %s", p->name, st.not_mapped);
}

static void verify(struct bench *b, struct mapped_pair *p, unsigned way)
{
	if (p->verified[way])
		return;
	for (unsigned i = 0; i < 2 * LANE_SLOTS / 64; i++)
		section(b, p, 64, true);
	p->verified[way] = true;
}

static double measure(struct bench *b, struct mapped_pair *p, unsigned way, unsigned shape)
{
	const struct lane_shape *s = &mapped_shapes[shape];
	uint64_t ns = 0;

	lane_slots_shape(&p->a, s, p->b.nic->port->mac);
	p->verified[way] = false;
	verify(b, p, way);
	for (unsigned i = 0; i < 4; i++)
		section(b, p, s->batch, false);
	for (unsigned i = 0; i < nr_sections[way][shape]; i++)
		ns += section(b, p, s->batch, false);
	if (!bound(p, way == MAPPED ? BINDING_MAPPED : BINDING_DIRECT))
		lane_die("%s: the binding changed meanwhile", p->name);
	return (double)ns / nr_sections[way][shape] / s->batch;
}

/* -- Set-up -- */

static void pair_init(struct bench *b, struct mapped_pair *p, const char *name, unsigned id,
		      uint32_t slot_bytes, const char *ta, const char *tb, const char *br)
{
	/* One for each pair, so that what a bridge floods stays there. */
	if (b->host)
		lane_host_bridge(br);
	p->name = name;
	p->sw = net_create(b, name, b->host, XTALK_STATIC);
	lane_slots_create(&p->a, "mapped.a", id, slot_bytes);
	lane_slots_create(&p->b, "mapped.b", id + 1, slot_bytes);
	net_join(p->sw, p->a.nic, b->host ? tap_for(&p->tap_a, p->a.nic, ta, br) : NULL);
	net_join(p->sw, p->b.nic, b->host ? tap_for(&p->tap_b, p->b.nic, tb, br) : NULL);
	lane_slots_start(&p->a);
	lane_slots_start(&p->b);
	lane_slots_shape(&p->a, &mapped_shapes[SHAPE_64], p->b.nic->port->mac);
	lane_slots_shape(&p->b, &mapped_shapes[SHAPE_64], p->a.nic->port->mac);
	/* The bridge learns where both are. */
	lane_slots_post(&p->b, 1, true);
	for (unsigned i = 0; i < 4; i++) {
		lane_nic_turn(p->b.nic);
		lane_nic_turn(p->a.nic);
	}
	lane_slots_take(&p->a, &p->b, true);
	lane_slots_give(&p->a);
	bind(p, BINDING_DIRECT);
}

struct mapped *mapped_init(struct bench *b, unsigned id)
{
	static const char *const keys[NR_WAYS][NR_SHAPES] = {
		{ "slots_direct_64_ns", "slots_direct_1500_ns", "slots_direct_gso_ns" },
		{ "mapped_64_ns", "mapped_1500_ns", "mapped_gso_ns" },
	};
	struct mapped *m = calloc(1, sizeof(*m));

	if (!m)
		lane_die("no memory");
	for (unsigned w = 0; w < NR_WAYS; w++)
		for (unsigned s = 0; s < NR_SHAPES; s++)
			m->ns[w][s].key = keys[w][s];
	pair_init(b, &m->small, "mapped", id, 4096, "ma", "mb", "brm");
	pair_init(b, &m->large, "mapped64k", id + 2, 65536, "mc", "md", "brn");
	return m;
}

void mapped_round(struct bench *b, struct mapped *m)
{
	for (unsigned k = 0; k < NR_WAYS; k++) {
		unsigned w = (b->round + k) % NR_WAYS;

		bind(&m->small, w == MAPPED ? BINDING_MAPPED : BINDING_DIRECT);
		bind(&m->large, w == MAPPED ? BINDING_MAPPED : BINDING_DIRECT);
		for (unsigned s = 0; s < NR_SHAPES; s++)
			add(&m->ns[w][s], measure(b, pair_for(m, s), w, s));
	}
}

void mapped_report(struct bench *b, struct mapped *m, const double direct_ns[NR_SHAPES])
{
	double ns[NR_WAYS][NR_SHAPES], low = 0, high = 0;

	for (unsigned w = 0; w < NR_WAYS; w++)
		for (unsigned s = 0; s < NR_SHAPES; s++)
			ns[w][s] = report(b, &m->ns[w][s]);
	low = high = ns[MAPPED][0];
	for (unsigned s = 0; s < NR_SHAPES; s++) {
		low = ns[MAPPED][s] < low ? ns[MAPPED][s] : low;
		high = ns[MAPPED][s] > high ? ns[MAPPED][s] : high;
	}
	aim("mapped: dearest / cheapest of 64 B to 64 KiB", high / low, 1.2, false);
	aim("64 B: mapped / direct", ns[MAPPED][SHAPE_64] / direct_ns[SHAPE_64], 1, false);
	aim("64 B: mapped / direct, same drivers", ns[MAPPED][SHAPE_64] / ns[DIRECT][SHAPE_64], 1,
	    false);
	aim("1500 B: mapped / direct", ns[MAPPED][SHAPE_1500] / direct_ns[SHAPE_1500], 1, false);
	aim("64 KiB: direct / mapped", direct_ns[SHAPE_GSO] / ns[MAPPED][SHAPE_GSO], 20, true);
}

bool mapped_profile(struct bench *b, struct mapped *m, const char *shape, bool direct,
		    unsigned seconds)
{
	uint64_t end = lane_cpu_ns() + seconds * UINT64_C(1000000000);

	for (unsigned s = 0; s < NR_SHAPES; s++) {
		struct mapped_pair *p = pair_for(m, s);

		if (strcmp(shape, mapped_shapes[s].name))
			continue;
		bind(p, direct ? BINDING_DIRECT : BINDING_MAPPED);
		do {
			printf("%.1f\n", measure(b, p, direct ? DIRECT : MAPPED, s));
		} while (lane_cpu_ns() < end);
		return true;
	}
	return false;
}
