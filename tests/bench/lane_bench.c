/* See lane_bench.h. */
#include "tests/bench/lane_bench.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/bench/lane_host.h"

const struct lane_shape shapes[NR_SHAPES] = {
	{ .name = "64", .len = 64, .batch = 64, .rx_bytes = 1536 },
	{ .name = "1500", .len = 1500, .tcp = true, .batch = 64, .rx_bytes = 1536 },
	/* 45 segments of 1448 bytes are the most that Linux sends at once. */
	{ .name = "gso",
	  .len = 65226,
	  .tcp = true,
	  .gso_size = 1448,
	  .batch = LANE_GSO_FRAMES,
	  .rx_bytes = 4096 },
};

/* -- Clock and figures -- */

static int by_value(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return x < y ? -1 : x > y;
}

double median(double *v, unsigned n)
{
	qsort(v, n, sizeof(*v), by_value);
	return n % 2 ? v[n / 2] : (v[n / 2 - 1] + v[n / 2]) / 2;
}

uint64_t clock_cost_ns(void)
{
	double v[1001];

	for (unsigned i = 0; i < ARRAY_SIZE(v); i++) {
		uint64_t t = lane_cpu_ns();

		v[i] = (double)(lane_cpu_ns() - t);
	}
	return (uint64_t)median(v, ARRAY_SIZE(v));
}

void add(struct figure *f, double v)
{
	f->v[f->n++] = v;
}

double report(struct bench *b, struct figure *f)
{
	double v;

	if (!f->n) {
		json_object_set_new(b->out, f->key, json_null());
		return 0;
	}
	v = median(f->v, f->n);
	json_object_set_new(b->out, f->key, json_real(v));
	return v;
}

double percentile(double *v, unsigned n, unsigned p)
{
	unsigned at = (n * p + 99) / 100;

	qsort(v, n, sizeof(*v), by_value);
	return v[at ? at - 1 : 0];
}

/* -- Aims -- */

void aim(const char *what, double is, double want, bool at_least)
{
	bool met = at_least ? is >= want : is <= want;

	fprintf(stderr, "bench_lane: %-44s %8.3f, aim %s %.2f: %s\n", what, is,
		at_least ? ">=" : "<=", want, met ? "met" : "MISSED");
}

/* -- Nets -- */

struct netswitch *net_create(struct bench *b, const char *name, bool own_uplinks,
			     enum xtalk_mode mode)
{
	struct netswitch *sw;
	struct netswitch_params params = {
		.name = name,
		.uplink_fd = -1,
		.own_uplinks = own_uplinks,
		.rules = { .mode = mode,
			   .threshold = 8,
			   .share_percent = 75,
			   .window = 64,
			   .hold_us = 1000,
			   .map = true,
			   .slot_deadline_us = 1000000 },
		.remapper = b->remapper,
	};
	int err = netswitch_create(&sw, &params);

	if (err)
		lane_die("netswitch_create: %s", strerror(-err));
	return sw;
}

void net_join(struct netswitch *sw, struct lane_nic *n, struct carrier *uplink)
{
	struct netswitch_port np = { .port = n->port, .uplink = uplink };
	struct carrier *c;
	int err;

	/* The uplink carries for the NIC, whoever stands between them. */
	lane_nic_plug(n, uplink);
	err = netswitch_attach(sw, &np, &c);
	if (err)
		lane_die("netswitch_attach: %s", strerror(-err));
	lane_nic_plug(n, c);
}

struct carrier *tap_for(struct tap **t, struct lane_nic *n, const char *ifname, const char *br)
{
	int err = tap_create(t, n->dev->name, lane_host_tap(ifname, br), &n->loop);

	if (err)
		lane_die("tap_create: %s", strerror(-err));
	return tap_carrier(*t);
}
