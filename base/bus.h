/*
 * Address dispatch: which emulated device answers an address. One bus for memory-mapped I/O, one
 * for x86 port I/O.
 *
 * Any thread may call everything. A handler runs on the vCPU thread that made the access, with no
 * lock of the bus held, so it may add and delete *other* regions. bus_del() waits until no handler
 * of that region runs any more; a handler must therefore not delete its own region.
 */
#ifndef BASE_BUS_H
#define BASE_BUS_H

#include <pthread.h>

#include "base/types.h"

struct bus_region;

struct bus_ops {
	/* offset + size never exceeds the region; size is 1, 2, 4 or 8; the value is little-endian
	 * in the low bytes. A NULL read gives all ones, a NULL write is ignored. */
	uint64_t (*read)(struct bus_region *r, uint64_t offset, unsigned size);
	void (*write)(struct bus_region *r, uint64_t offset, uint64_t value, unsigned size);
};

/* Owned by the device; base, size_bytes, ops and name do not change while it is on a bus. */
struct bus_region {
	const char *name;
	uint64_t base;
	uint64_t size_bytes;
	const struct bus_ops *ops;
	void *opaque;
	/* private to bus.c, guarded by the bus lock */
	unsigned active;
	bool on_bus;
};

#define BUS_MAX_REGIONS 256

struct bus {
	const char *name;
	pthread_mutex_t lock;
	pthread_cond_t idle;
	struct bus_region *regions[BUS_MAX_REGIONS]; /* sorted by base */
	unsigned nr;
};

void bus_init(struct bus *b, const char *name);
void bus_fini(struct bus *b);

/* Errors: -EINVAL (empty, wraps), -EEXIST (overlaps another), -ENOSPC. */
int bus_add(struct bus *b, struct bus_region *r);
void bus_del(struct bus *b, struct bus_region *r); /* idempotent */

/* One guest access of any size (1 to 8 bytes). False if nothing answers: data is then all ones. An
 * access that starts in a region and leaves it is treated as unanswered. */
bool bus_read(struct bus *b, uint64_t addr, void *data, unsigned size);
bool bus_write(struct bus *b, uint64_t addr, const void *data, unsigned size);

#endif
