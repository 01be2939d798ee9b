/*
 * PL031 real time clock: the host's wall clock in seconds, with an alarm.
 * Source: Arm PrimeCell Real Time Clock (PL031) Technical Reference Manual, DDI 0224.
 *
 * Register accesses on vCPU threads, the alarm on the loop; `lock` guards the registers.
 */
#ifndef ARCH_ARM64_PL031_H
#define ARCH_ARM64_PL031_H

#include <pthread.h>

#include "base/bus.h"
#include "base/loop.h"
#include "base/platform.h"

struct pl031 {
	struct platform *plat;
	struct loop *loop;
	struct bus_region region;
	struct loop_timer alarm;
	struct loop_work rearm; /* timers are armed on their loop */
	unsigned gsi;
	pthread_mutex_t lock; /* guards all below */
	uint32_t offset_s;    /* guest's time less the host's */
	uint32_t match_s, load_s;
	uint64_t due_ns; /* host's wall clock when the match comes next */
	bool enabled, raised, line_level;
};

int pl031_init(struct pl031 *d, struct platform *plat, struct loop *loop, gpa_t base, unsigned gsi);
void pl031_fini(struct pl031 *d); /* vCPUs and the loop have stopped */

#endif
