/*
 * What a frame costs on its way from guest to guest: CPU time of xvmm and the kernel, by path.
 * Writes one JSON object on standard output, and which aims were met on standard error.
 *
 *     bench_lane ROUNDS
 *     bench_lane tap|direct|shared|slots|mapped 64|1500|gso SECONDS   (one path alone, for a
 *     profiler)
 *
 * Two virtio-net devices with drivers (lane_nic.h) in one thread, on three kinds of path:
 *
 *   tap      A ─▶ TAP ─▶ host bridge ─▶ TAP ─▶ B, vnet headers and all offloads on (crosstalk =
 * off) direct   the same, bound `direct`: the TAPs are there and are passed by (uplink = bridge:)
 *   shared   both on the switch of a net without an uplink
 *   mapped, slots   drivers with stable slots, bound `mapped` and `direct`: bench_mapped.c
 *
 * One section is one batch: the driver of A fills the ring and rings (not timed), A's loop serves
 * the doorbell and B's loop reads the TAP until all is in B's used ring (timed), B's driver checks
 * and gives the buffers back (not timed). Time is CPU time of the process, system time included,
 * less that of reading the clock. All that the kernel does for a frame it does in the writev(2) of
 * the sender or the readv(2) of the receiver: a whole batch must be there when the last writev(2)
 * has returned, and the time of ksoftirqd is reported beside.
 *
 * One thread stands for both guests' loops, so no frame changes the CPU: that is to the advantage
 * of the TAP, whose buffers are made on one and freed on the other.
 *
 * Rounds are interleaved and figures are medians over them. Before they are timed, all bytes of
 * every frame of as many batches as fill the rings twice are compared on each path.
 */
#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/log.h"
#include "tests/bench/bench_mapped.h"
#include "tests/bench/bench_swap.h"
#include "tests/bench/lane_bench.h"
#include "tests/bench/lane_host.h"

#define MIN_ROUNDS  10
#define NR_FLAT	    128
#define OUTSIDE_MAC "52:54:00:ff:00:01"

struct pair {
	const char *name;
	struct lane_nic *a, *b;
	struct tap *tap_a, *tap_b;
	unsigned sections; /* timed ones per round, for a small frame */
	uint64_t late;	   /* sections in which B's loop had to look again */
};

/* -- Sections -- */

static uint64_t section_of(struct bench *b, struct pair *p, const struct lane_shape *s,
			   unsigned frames, bool all_bytes)
{
	unsigned turns = 0;
	uint64_t t;

	lane_nic_refill(p->b, s);
	lane_nic_post(p->a, frames);
	t = lane_cpu_ns();
	lane_nic_turn(p->a);
	while (!lane_nic_has(p->b, s, frames)) {
		if (turns++ == MAX_TURNS)
			lane_die("%s, %s: frames do not arrive", p->name, s->name);
		if (turns > 1)
			lane_nic_turn(p->a);
		lane_nic_turn(p->b);
	}
	t = lane_cpu_ns() - t;
	p->late += turns > 1;
	if (lane_nic_take(p->b, p->a, all_bytes) != frames || p->b->foul)
		lane_die("%s, %s: wrong frames", p->name, s->name);
	return t > b->clock_ns ? t - b->clock_ns : 0;
}

static uint64_t section(struct bench *b, struct pair *p, const struct lane_shape *s, bool all_bytes)
{
	return section_of(b, p, s, s->batch, all_bytes);
}

/* Until the rings have turned twice and all buffers have the size that this shape wants; a few
 * frames at a time, as long as the ring is full of small buffers. */
static void start_shape(struct bench *b, struct pair *p, const struct lane_shape *s, bool all_bytes)
{
	unsigned bufs = (s->len + 12 + s->rx_bytes - 1) / s->rx_bytes;
	unsigned frames = bufs > 1 ? 4 : s->batch;

	lane_nic_shape(p->a, s, p->b->port->mac);
	for (unsigned i = 2 * LANE_RING / (frames * bufs) + 1; i; i--)
		section_of(b, p, s, frames, all_bytes);
	for (unsigned i = 0; i < 2; i++)
		section(b, p, s, all_bytes);
}

static unsigned nr_sections(const struct pair *p, const struct lane_shape *s)
{
	return s->gso_size ? p->sections / 4 : p->sections;
}

static double measure(struct bench *b, struct pair *p, const struct lane_shape *s)
{
	unsigned n = nr_sections(p, s);
	uint64_t ns = 0;

	start_shape(b, p, s, false);
	for (unsigned i = 0; i < n; i++)
		ns += section(b, p, s, false);
	return (double)ns / n / s->batch;
}

static double measure_memcpy(struct bench *b, struct pair *p)
{
	const struct lane_shape *s = &shapes[SHAPE_GSO];
	unsigned n = nr_sections(p, s), k = 0;
	uint64_t ns = 0;

	lane_nic_shape(p->a, s, p->b->port->mac);
	for (unsigned i = 0; i < 2 + n; i++) {
		uint64_t t = lane_cpu_ns();

		for (unsigned j = 0; j < s->batch; j++)
			lane_nic_memcpy(p->b, p->a, k++);
		t = lane_cpu_ns() - t;
		if (i >= 2)
			ns += t - b->clock_ns;
	}
	return (double)ns / n / s->batch;
}

/* Traffic for the world outside: A ─▶ TAP ─▶ bridge ─▶ the world, which reads it untimed. */
static uint64_t section_out(struct bench *b, struct lane_nic *a, const struct lane_shape *s)
{
	uint8_t buf[2048];
	uint64_t t;

	lane_nic_post(a, s->batch);
	t = lane_cpu_ns();
	lane_nic_turn(a);
	t = lane_cpu_ns() - t;
	for (unsigned i = 0; i < s->batch; i++)
		if (read(b->world, buf, sizeof(buf)) != (ssize_t)s->len + VNET_HDR_BYTES)
			lane_die("a frame for the outside is missing");
	return t > b->clock_ns ? t - b->clock_ns : 0;
}

/* -- Pairs -- */

static void pair_start(struct bench *b, struct pair *p)
{
	lane_nic_start(p->a, shapes[0].rx_bytes);
	lane_nic_start(p->b, shapes[0].rx_bytes);
	/* The bridge learns where both are. */
	lane_nic_shape(p->b, &shapes[0], p->a->port->mac);
	lane_nic_post(p->b, 1);
	lane_nic_turn(p->b);
	lane_nic_turn(p->a);
	lane_nic_resync(p->a, p->b);
}

static void verify(struct bench *b, struct pair *p)
{
	for (unsigned s = 0; s < NR_SHAPES; s++)
		start_shape(b, p, &shapes[s], true);
}

static void tap_pair(struct bench *b, struct pair *p, unsigned id)
{
	p->a = lane_nic_create("tap.a", id);
	p->b = lane_nic_create("tap.b", id + 1);
	lane_nic_plug(p->a, tap_for(&p->tap_a, p->a, "ta", "brt"));
	lane_nic_plug(p->b, tap_for(&p->tap_b, p->b, "tb", "brt"));
	pair_start(b, p);
	verify(b, p);
}

/* Sends until everything goes by the lane. */
static void wait_direct(struct bench *b, struct pair *p, struct netswitch *sw)
{
	struct netswitch_port_state st = { 0 };

	lane_nic_shape(p->a, &shapes[0], p->b->port->mac);
	for (unsigned ms = 0; ms < SWAP_TIMEOUT; ms++) {
		section(b, p, &shapes[0], true);
		netswitch_port_state(sw, p->a->port, &st);
		if (st.binding == BINDING_DIRECT && st.nr_open_lanes)
			return;
		usleep(1000);
	}
	lane_die("the lane did not open");
}

static void direct_pair(struct bench *b, struct pair *p, unsigned id)
{
	struct netswitch *sw = net_create(b, "direct", true, XTALK_DYNAMIC);
	int err;

	p->a = lane_nic_create("direct.a", id);
	p->b = lane_nic_create("direct.b", id + 1);
	net_join(sw, p->a, tap_for(&p->tap_a, p->a, "da", "brd"));
	net_join(sw, p->b, tap_for(&p->tap_b, p->b, "db", "brd"));
	pair_start(b, p);
	err = netswitch_command(sw, p->a->port, true, BINDING_DIRECT);
	if (err)
		lane_die("netswitch_command: %s", strerror(-err));
	wait_direct(b, p, sw);
	verify(b, p);
}

/* `nr` NICs on one net without an uplink, all of them live: nr / 2 pairs. */
static void shared_pairs(struct bench *b, struct pair *p, const char *name, unsigned nr,
			 unsigned id)
{
	struct netswitch *sw = net_create(b, name, false, XTALK_DYNAMIC);

	for (unsigned i = 0; i < nr; i++) {
		struct lane_nic *n = lane_nic_create(name, id + i);

		net_join(sw, n, NULL);
		*(i % 2 ? &p[i / 2].b : &p[i / 2].a) = n;
	}
	for (unsigned i = 0; i < nr / 2; i++) {
		p[i].name = name;
		p[i].sections = p[0].sections;
		pair_start(b, &p[i]);
	}
}

/* -- Measures -- */

struct lanes {
	struct pair tap, direct, shared;
	struct figure ns[3][NR_SHAPES]; /* by path */
	struct figure copy, ksoftirqd;
};

static void lanes_init(struct bench *b, struct lanes *l)
{
	static const char *const keys[3][NR_SHAPES] = {
		{ "tap_64_ns", "tap_1500_ns", "tap_gso_ns" },
		{ "direct_64_ns", "direct_1500_ns", "direct_gso_ns" },
		{ "shared_64_ns", "shared_1500_ns", "shared_gso_ns" },
	};

	for (unsigned i = 0; i < 3; i++)
		for (unsigned s = 0; s < NR_SHAPES; s++)
			l->ns[i][s].key = keys[i][s];
	l->copy.key = "memcpy_64k_ns";
	l->ksoftirqd.key = "tap_ksoftirqd_ns";
	l->tap = (struct pair){ .name = "tap", .sections = 64 };
	l->direct = (struct pair){ .name = "direct", .sections = 256 };
	l->shared = (struct pair){ .name = "shared", .sections = 256 };
	shared_pairs(b, &l->shared, "shared", 2, 1);
	verify(b, &l->shared);
	if (b->host) {
		tap_pair(b, &l->tap, 3);
		direct_pair(b, &l->direct, 5);
	}
}

static void lanes_round(struct bench *b, struct lanes *l)
{
	for (unsigned s = 0; s < NR_SHAPES; s++) {
		if (b->host) {
			uint64_t soft = lane_ksoftirqd_ns();
			unsigned frames;

			add(&l->ns[0][s], measure(b, &l->tap, &shapes[s]));
			frames = nr_sections(&l->tap, &shapes[s]) * shapes[s].batch;
			if (s == SHAPE_64)
				add(&l->ksoftirqd, (double)(lane_ksoftirqd_ns() - soft) / frames);
			add(&l->ns[1][s], measure(b, &l->direct, &shapes[s]));
		}
		add(&l->ns[2][s], measure(b, &l->shared, &shapes[s]));
	}
	add(&l->copy, measure_memcpy(b, b->host ? &l->direct : &l->shared));
}

struct flat {
	struct pair two[1], many[NR_FLAT / 2];
	struct figure ns2, ns128, busy;
};

static void flat_init(struct bench *b, struct flat *f)
{
	f->ns2.key = "flat_2_ns";
	f->ns128.key = "flat_128_ns";
	f->busy.key = "flat_128_busy_ns";
	f->two[0].sections = f->many[0].sections = 256;
	shared_pairs(b, f->two, "flat2", 2, 0x100);
	shared_pairs(b, f->many, "flat128", NR_FLAT, 0x200);
	start_shape(b, &f->two[0], &shapes[SHAPE_64], true);
	for (unsigned i = 0; i < NR_FLAT / 2; i++)
		start_shape(b, &f->many[i], &shapes[SHAPE_64], true);
}

static void flat_round(struct bench *b, struct flat *f)
{
	const struct lane_shape *s = &shapes[SHAPE_64];
	unsigned n = f->two[0].sections;
	uint64_t two = 0, many = 0, busy = 0;

	start_shape(b, &f->two[0], s, false);
	start_shape(b, &f->many[0], s, false);
	for (unsigned i = 0; i < n; i++) {
		two += section(b, &f->two[0], s, false);
		many += section(b, &f->many[0], s, false);
	}
	/* All of them talk, one batch each in turn: nothing is in the caches. */
	for (unsigned i = 0; i < n; i++)
		busy += section(b, &f->many[i % (NR_FLAT / 2)], s, false);
	add(&f->ns2, (double)two / n / s->batch);
	add(&f->ns128, (double)many / n / s->batch);
	add(&f->busy, (double)busy / n / s->batch);
}

/* Twice the same but for the detector; which NIC and TAP is which changes from round to round. */
struct outside {
	struct netswitch *sw[2]; /* off, dynamic */
	struct lane_nic *nic[2];
	struct tap *tap[2];
	struct figure off, dynamic;
};

static void outside_init(struct bench *b, struct outside *o)
{
	static const char *const names[2] = { "oa", "ob" };

	o->off.key = "tap_off_ns";
	o->dynamic.key = "tap_dynamic_ns";
	if (!b->host)
		return;
	o->sw[0] = net_create(b, "off", true, XTALK_OFF);
	o->sw[1] = net_create(b, "dynamic", true, XTALK_DYNAMIC);
	for (unsigned i = 0; i < 2; i++) {
		o->nic[i] = lane_nic_create(names[i], 0x400 + i);
		tap_for(&o->tap[i], o->nic[i], names[i], "bro");
	}
}

static void outside_round(struct bench *b, struct outside *o)
{
	static const uint8_t dst[6] = { 0x52, 0x54, 0, 0xff, 0, 1 };
	const struct lane_shape *s = &shapes[SHAPE_64];
	unsigned swap = b->round % 2, n = 192;
	uint64_t ns[2] = { 0 };

	if (!b->host)
		return;
	for (unsigned i = 0; i < 2; i++) {
		net_join(o->sw[i ^ swap], o->nic[i], tap_carrier(o->tap[i]));
		lane_nic_start(o->nic[i], s->rx_bytes);
		lane_nic_shape(o->nic[i], s, dst);
		for (unsigned j = 0; j < 8; j++)
			section_out(b, o->nic[i], s);
	}
	for (unsigned j = 0; j < n; j++)
		for (unsigned k = 0; k < 2; k++) {
			unsigned i = (j + k) & 1;

			ns[i ^ swap] += section_out(b, o->nic[i], s);
		}
	for (unsigned i = 0; i < 2; i++) {
		if (atomic_load(&o->nic[i]->port->stats.tx_dropped))
			lane_die("frames for the outside were dropped");
		lane_nic_turn(o->nic[i]);
		lane_nic_stop(o->nic[i]);
		netswitch_detach(o->sw[i ^ swap], o->nic[i]->port);
	}
	add(&o->off, (double)ns[0] / n / s->batch);
	add(&o->dynamic, (double)ns[1] / n / s->batch);
}

/* -- Aims -- */

static void report_all(struct bench *b, struct lanes *l, struct flat *f, struct outside *o,
		       struct mapped *m)
{
	double ns[3][NR_SHAPES], copy, two, many, off, dynamic;
	char qdisc[32];

	for (unsigned i = 0; i < 3; i++)
		for (unsigned s = 0; s < NR_SHAPES; s++)
			ns[i][s] = report(b, &l->ns[i][s]);
	copy = report(b, &l->copy);
	report(b, &l->ksoftirqd);
	two = report(b, &f->ns2);
	many = report(b, &f->ns128);
	report(b, &f->busy);
	off = report(b, &o->off);
	dynamic = report(b, &o->dynamic);

	if (b->host) {
		aim("64 B: TAP / direct", ns[0][SHAPE_64] / ns[1][SHAPE_64], 20, true);
		aim("1500 B: TAP / direct", ns[0][SHAPE_1500] / ns[1][SHAPE_1500], 8, true);
		aim("64 KiB: direct / memcpy", ns[1][SHAPE_GSO] / copy, 1.25, false);
	}
	aim("64 KiB: shared / memcpy", ns[2][SHAPE_GSO] / copy, 1.25, false);
	aim("64 B: 128 guests / 2 guests", many / two, 1.1, false);
	if (b->host)
		aim("to outside: dynamic / off", dynamic / off, 1.01, false);
	mapped_report(b, m, ns[b->host ? 1 : 2]);
	if (b->host) {
		lane_host_qdisc("tb", qdisc, sizeof(qdisc));
		fprintf(stderr, "bench_lane: queueing discipline of the TAPs: %s\n", qdisc);
	}
	if (l->tap.late)
		fprintf(stderr,
			"bench_lane: in %llu sections the TAP's frames were not there at once\n",
			(unsigned long long)l->tap.late);
}

static void host_init(struct bench *b)
{
	b->host = lane_host_enter();
	if (!b->host) {
		fprintf(stderr, "bench_lane: no TAPs here: their figures are null\n");
		return;
	}
	/* One for each net, so that what a bridge floods stays there. */
	lane_host_bridge("brt");
	lane_host_bridge("brd");
	lane_host_bridge("bro");
	b->world = lane_host_outside("world", "bro", OUTSIDE_MAC);
}

static int profile_mapped(struct bench *b, const char *path, const char *shape, unsigned seconds)
{
	bool direct = !strcmp(path, "slots");

	return mapped_profile(b, mapped_init(b, 0x500), shape, direct, seconds) ? 0 : 2;
}

static int profile(struct bench *b, struct lanes *l, const char *path, const char *shape,
		   unsigned seconds)
{
	struct pair *const pairs[] = { &l->tap, &l->direct, &l->shared };
	const struct lane_shape *s = NULL;
	struct pair *p = NULL;
	uint64_t end = lane_cpu_ns() + seconds * UINT64_C(1000000000);

	for (unsigned i = 0; i < NR_SHAPES; i++)
		if (!strcmp(shape, shapes[i].name))
			s = &shapes[i];
	for (unsigned i = 0; i < ARRAY_SIZE(pairs); i++)
		if (!strcmp(path, pairs[i]->name) && pairs[i]->a)
			p = pairs[i];
	if (!s || !p)
		return 2;
	p->sections = 100000;
	do {
		printf("%.1f\n", measure(b, p, s));
	} while (lane_cpu_ns() < end);
	return 0;
}

int main(int argc, char **argv)
{
	static struct bench b;
	static struct lanes lanes;
	static struct flat flat;
	static struct outside outside;
	struct mapped *mapped;
	struct rlimit files = { 4096, 4096 };

	if (argc != 2 && argc != 4)
		goto usage;
	b.rounds = (unsigned)atoi(argv[1]);
	if (argc == 2 && (b.rounds < MIN_ROUNDS || b.rounds > MAX_ROUNDS))
		goto usage;
	setrlimit(RLIMIT_NOFILE, &files); /* seven descriptors for each of 140 NICs */
	b.out = json_object();
	host_init(&b);
	if (remapper_create(&b.remapper))
		lane_die("remapper_create");
	b.clock_ns = clock_cost_ns();
	if (argc == 4 && !strcmp(argv[1], "swap")) {
		log_set_level(LOG_WARN);
		swap_measure(&b, 0x600);
		json_dumpf(b.out, stdout, JSON_INDENT(2));
		return 0;
	}
	if (argc == 4 && (!strcmp(argv[1], "mapped") || !strcmp(argv[1], "slots")))
		return profile_mapped(&b, argv[1], argv[2], (unsigned)atoi(argv[3]));
	lanes_init(&b, &lanes);
	if (argc == 4)
		return profile(&b, &lanes, argv[1], argv[2], (unsigned)atoi(argv[3]));
	mapped = mapped_init(&b, 0x500);
	flat_init(&b, &flat);
	outside_init(&b, &outside);
	for (b.round = 0; b.round < b.rounds; b.round++) {
		lanes_round(&b, &lanes);
		mapped_round(&b, mapped);
		flat_round(&b, &flat);
		outside_round(&b, &outside);
	}
	log_set_level(LOG_WARN);
	swap_measure(&b, 0x600);
	report_all(&b, &lanes, &flat, &outside, mapped);
	json_dumpf(b.out, stdout, JSON_INDENT(2) | JSON_REAL_PRECISION(6));
	putchar('\n');
	json_decref(b.out);
	return 0; /* the process takes all else with it */

usage:
	fprintf(stderr,
		"usage: bench_lane ROUNDS (%u to %u)\n"
		"       bench_lane tap|direct|shared|slots|mapped 64|1500|gso SECONDS\n",
		MIN_ROUNDS, MAX_ROUNDS);
	return 2;
}
