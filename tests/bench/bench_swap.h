/* How long a swap holds a sender, in bench_lane. */
#ifndef TESTS_BENCH_BENCH_SWAP_H
#define TESTS_BENCH_BENCH_SWAP_H

#include "tests/bench/lane_bench.h"

/* Makes nets and NICs with addresses from `id` on, swaps both kinds of binding in turn, reports. */
void swap_measure(struct bench *b, unsigned id);

#endif
