/* The mapped lane in bench_lane: what a frame costs there, and what the same drivers cost bound
 * `direct`. */
#ifndef TESTS_BENCH_BENCH_MAPPED_H
#define TESTS_BENCH_BENCH_MAPPED_H

#include "tests/bench/lane_bench.h"

struct mapped;

/* NICs get addresses from `id` on. Compares all bytes of the frames of two turns of the rings. */
struct mapped *mapped_init(struct bench *b, unsigned id);
void mapped_round(struct bench *b, struct mapped *m);
/* ns: of `direct` by shape, the figures of Linux's kind of driver. */
void mapped_report(struct bench *b, struct mapped *m, const double direct_ns[NR_SHAPES]);
/* For a profiler. False: no such shape. */
bool mapped_profile(struct bench *b, struct mapped *m, const char *shape, bool direct,
		    unsigned seconds);

#endif
