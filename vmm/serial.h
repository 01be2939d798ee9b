/*
 * 16550A serial port. Source: PC16550D data sheet (National Semiconductor, 1995).
 *
 * Register accesses come on vCPU threads, input on the chardev's loop; one lock guards the
 * registers. Eight byte registers, `stride` bytes apart.
 */
#ifndef VMM_SERIAL_H
#define VMM_SERIAL_H

#include "base/bus.h"
#include "base/chardev.h"
#include "base/loop.h"
#include "base/platform.h"

struct serial;

/* Puts it on `bus` at `base` with interrupt line `gsi` (driven by level). Before vCPUs run. */
int serial_create(struct serial **out, const char *name, struct platform *plat, struct bus *bus,
		  uint64_t base, unsigned gsi, struct chardev *chr, struct loop *loop);
void serial_destroy(struct serial *s); /* vCPUs and the loop have stopped */

#endif
