/*
 * What the parts of bench_lane share: the run, its figures, nets and TAPs.
 */
#ifndef TESTS_BENCH_LANE_BENCH_H
#define TESTS_BENCH_LANE_BENCH_H

#include <jansson.h>

#include "tests/bench/lane_nic.h"
#include "vmm/tap.h"
#include "xtalk/netswitch.h"
#include "xtalk/remapper.h"

#define MAX_ROUNDS   1000
#define MAX_TURNS    1000 /* of a loop, until what was sent has come */
#define SWAP_TIMEOUT 5000 /* ms */

enum { SHAPE_64, SHAPE_1500, SHAPE_GSO, NR_SHAPES };

extern const struct lane_shape shapes[NR_SHAPES];

struct bench {
	unsigned rounds, round;
	uint64_t clock_ns; /* one pair of readings */
	struct remapper *remapper;
	bool host; /* TAPs can be had */
	int world; /* what is sent to OUTSIDE_MAC can be read from here */
	json_t *out;
};

/* One figure per round. */
struct figure {
	const char *key;
	double v[MAX_ROUNDS];
	unsigned n;
};

/* CPU time of one pair of readings of the clock. */
uint64_t clock_cost_ns(void);
/* Sorts v. */
double median(double *v, unsigned n);
/* Sorts v; p: 0 to 100. */
double percentile(double *v, unsigned n, unsigned p);
void add(struct figure *f, double v);
/* Puts the median under its key, or null if there is none; returns it, or 0. */
double report(struct bench *b, struct figure *f);
/* Says on standard error whether the aim was met. */
void aim(const char *what, double is, double want, bool at_least);

struct netswitch *net_create(struct bench *b, const char *name, bool own_uplinks,
			     enum xtalk_mode mode);
/* uplink: NULL on a net without. */
void net_join(struct netswitch *sw, struct lane_nic *n, struct carrier *uplink);
struct carrier *tap_for(struct tap **t, struct lane_nic *n, const char *ifname, const char *br);

#endif
