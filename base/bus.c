/*
 * Address dispatch: see bus.h.
 *
 * The lock guards the table and the `active` counts, never a handler: a handler may block (on its
 * device's loop) and may change other regions. A region that is being used is counted, and
 * bus_del() waits for the count.
 */
#include "base/bus.h"

#include <errno.h>
#include <string.h>

void bus_init(struct bus *b, const char *name)
{
	memset(b, 0, sizeof(*b));
	b->name = name;
	pthread_mutex_init(&b->lock, NULL);
	pthread_cond_init(&b->idle, NULL);
}

void bus_fini(struct bus *b)
{
	pthread_cond_destroy(&b->idle);
	pthread_mutex_destroy(&b->lock);
}

/* Index of the first region that ends behind addr. Under the lock. */
static unsigned first_behind(const struct bus *b, uint64_t addr)
{
	unsigned lo = 0, hi = b->nr;

	while (lo < hi) {
		unsigned mid = (lo + hi) / 2;
		const struct bus_region *r = b->regions[mid];

		if (r->base + (r->size_bytes - 1) < addr)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

int bus_add(struct bus *b, struct bus_region *r)
{
	unsigned at;
	int rc = 0;

	if (!r->size_bytes || r->base + (r->size_bytes - 1) < r->base)
		return -EINVAL;
	pthread_mutex_lock(&b->lock);
	at = first_behind(b, r->base);
	if (at < b->nr && b->regions[at]->base <= r->base + (r->size_bytes - 1)) {
		rc = -EEXIST;
	} else if (b->nr == BUS_MAX_REGIONS) {
		rc = -ENOSPC;
	} else {
		memmove(&b->regions[at + 1], &b->regions[at], (b->nr - at) * sizeof(b->regions[0]));
		b->regions[at] = r;
		b->nr++;
		r->active = 0;
		r->on_bus = true;
	}
	pthread_mutex_unlock(&b->lock);
	return rc;
}

void bus_del(struct bus *b, struct bus_region *r)
{
	pthread_mutex_lock(&b->lock);
	if (r->on_bus) {
		unsigned at = first_behind(b, r->base);

		memmove(&b->regions[at], &b->regions[at + 1],
			(b->nr - at - 1) * sizeof(b->regions[0]));
		b->nr--;
		r->on_bus = false;
	}
	while (r->active)
		pthread_cond_wait(&b->idle, &b->lock);
	pthread_mutex_unlock(&b->lock);
}

static struct bus_region *region_get(struct bus *b, uint64_t addr, unsigned size)
{
	struct bus_region *r = NULL;
	unsigned at;

	pthread_mutex_lock(&b->lock);
	at = first_behind(b, addr);
	if (at < b->nr && b->regions[at]->base <= addr &&
	    size <= b->regions[at]->size_bytes - (addr - b->regions[at]->base)) {
		r = b->regions[at];
		r->active++;
	}
	pthread_mutex_unlock(&b->lock);
	return r;
}

static void region_put(struct bus *b, struct bus_region *r)
{
	pthread_mutex_lock(&b->lock);
	if (!--r->active && !r->on_bus)
		pthread_cond_broadcast(&b->idle);
	pthread_mutex_unlock(&b->lock);
}

static bool size_ok(unsigned size)
{
	return size == 1 || size == 2 || size == 4 || size == 8;
}

bool bus_read(struct bus *b, uint64_t addr, void *data, unsigned size)
{
	struct bus_region *r;
	uint64_t value = ~0ull;

	/* x86 can split an access over two pages into odd pieces; no device answers those. */
	r = size_ok(size) ? region_get(b, addr, size) : NULL;
	if (r) {
		if (r->ops->read)
			value = r->ops->read(r, addr - r->base, size);
		region_put(b, r);
		memcpy(data, &value, size); /* both architectures are little-endian */
		return true;
	}
	memset(data, 0xff, size);
	return false;
}

bool bus_write(struct bus *b, uint64_t addr, const void *data, unsigned size)
{
	struct bus_region *r;
	uint64_t value = 0;

	r = size_ok(size) ? region_get(b, addr, size) : NULL;
	if (!r)
		return false;
	memcpy(&value, data, size);
	if (r->ops->write)
		r->ops->write(r, addr - r->base, value, size);
	region_put(b, r);
	return true;
}
