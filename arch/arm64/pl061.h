/*
 * PL061 GPIO controller: eight lines, of which the machine drives inputs.
 * Source: Arm PrimeCell General Purpose Input/Output (PL061) Technical Reference Manual, DDI 0190.
 *
 * Register accesses on vCPU threads, inputs from any thread; `lock` guards the registers.
 */
#ifndef ARCH_ARM64_PL061_H
#define ARCH_ARM64_PL061_H

#include <pthread.h>

#include "base/bus.h"
#include "base/platform.h"

struct pl061 {
	struct platform *plat;
	struct bus_region region;
	unsigned gsi;
	pthread_mutex_t lock; /* guards all below */
	uint8_t input;	      /* levels that the machine drives */
	uint8_t output, dir;  /* dir: 1 is output */
	uint8_t sense, both, event, enabled, afsel;
	uint8_t latched; /* edges that have been seen */
	bool line_level;
};

int pl061_init(struct pl061 *d, struct platform *plat, gpa_t base, unsigned gsi);
void pl061_fini(struct pl061 *d);
/* The level of an input line. Any thread. */
void pl061_set(struct pl061 *d, unsigned line, bool level);

#endif
