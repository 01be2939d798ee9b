/* Application processors. */
#ifndef LIB_SMP_H
#define LIB_SMP_H

#include "lib/intr.h"

#define SMP_MAX_CPUS 64

/* Wakes the APs one after the other, by what machine_cpus() calls them, and waits until each has
 * called fn(index, arg); index counts from 0 in the order in which they come up. clock_init() was
 * called. */
void smp_start(const uint8_t *id, unsigned n, void (*fn)(unsigned index, void *arg), void *arg);

#endif
