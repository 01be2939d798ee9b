/*
 * Guest memory: the one place where a guest-physical address becomes host memory.
 *
 * A guest's memory is one memfd, mapped MAP_SHARED, so that parts of it can later be rebound
 * (MAP_FIXED) and shared with another guest. It is laid out in regions (below and above the hole
 * that the architecture keeps for devices); regions are fixed from gmem_create() to gmem_destroy().
 *
 * Every access takes an address and a length and can fail. A pointer that gmem_ptr() returns stays
 * valid until gmem_destroy(), but the bytes behind it belong to the guest and change at any time:
 * read a value once into private memory, then check the copy.
 *
 * All functions but create and destroy may be called from any thread.
 */
#ifndef BASE_GMEM_H
#define BASE_GMEM_H

#include <sys/uio.h>

#include "base/types.h"

#define GMEM_MAX_REGIONS 4

struct gmem_region {
	gpa_t base;
	uint64_t size_bytes;
	uint8_t *hva;
	uint64_t file_offset; /* of the region's first byte in the memfd */
};

struct gmem {
	int fd;
	unsigned nr_regions;
	struct gmem_region region[GMEM_MAX_REGIONS];
	uint64_t size_bytes; /* sum over the regions */
	uint8_t *map;	     /* all regions lie in one mapping, one behind the other */
	uint64_t map_bytes;
	uint64_t page_bytes; /* of the backing: 4 KiB, 2 MiB or 1 GiB */
};

struct gmem_layout {
	gpa_t base;
	uint64_t size_bytes;
};

enum gmem_flags {
	GMEM_HUGE_2M = 1 << 0,
	GMEM_HUGE_1G = 1 << 1,
	GMEM_PREALLOC = 1 << 2, /* touch every page now; -ENOMEM instead of a surprise later */
};

/*
 * Makes the memfd, maps it and fills in the regions. `name` shows in /proc/PID/maps.
 * Sizes and bases are multiples of the page size. Errors: -EINVAL, -ENOMEM, errno of memfd_create
 * and mmap. On error nothing is left behind.
 */
int gmem_create(struct gmem *m, const char *name, const struct gmem_layout *layout,
		unsigned nr_regions, unsigned flags);
void gmem_destroy(struct gmem *m);

/* Host address of [gpa, gpa + len), or NULL if any byte of it lies outside of one region. len > 0.
 */
void *gmem_ptr(const struct gmem *m, gpa_t gpa, uint64_t len);

/* The same for one region: the check that all others are made of. */
static inline void *gmem_region_ptr(const struct gmem_region *r, gpa_t gpa, uint64_t len)
{
	/* No sum that a guest's numbers could make wrap. */
	if (len && gpa >= r->base && gpa - r->base < r->size_bytes &&
	    len <= r->size_bytes - (gpa - r->base))
		return r->hva + (gpa - r->base);
	return NULL;
}

/* As gmem_ptr(), for many addresses that lie together: looks first where the last one was found.
 * *near is the caller's own, and never NULL: &m->region[0] to begin with. */
void *gmem_ptr_search(const struct gmem *m, const struct gmem_region **near, gpa_t gpa,
		      uint64_t len);
static inline void *gmem_ptr_near(const struct gmem *m, const struct gmem_region **near, gpa_t gpa,
				  uint64_t len)
{
	void *p = gmem_region_ptr(*near, gpa, len);

	return p ? p : gmem_ptr_search(m, near, gpa, len);
}

/* Copies; -EFAULT if any byte lies outside of guest memory (then nothing was copied). */
int gmem_read(const struct gmem *m, gpa_t gpa, void *dst, uint64_t len);
int gmem_write(const struct gmem *m, gpa_t gpa, const void *src, uint64_t len);
int gmem_zero(const struct gmem *m, gpa_t gpa, uint64_t len);

/*
 * For the thread sanitizer, nothing otherwise. A buffer that one thread filled goes to the guest
 * (used ring) and may come back to another thread (available ring of another queue). The guest
 * orders the two, where the sanitizer can't see it.
 */
#ifdef __SANITIZE_THREAD__
void __tsan_acquire(void *addr);
void __tsan_release(void *addr);
static inline void gmem_handed_over(const struct gmem *m)
{
	__tsan_release((void *)m);
}
static inline void gmem_taken_over(const struct gmem *m)
{
	__tsan_acquire((void *)m);
}
#else
static inline void gmem_handed_over(const struct gmem *m)
{
}
static inline void gmem_taken_over(const struct gmem *m)
{
}
#endif

/* The highest address that belongs to guest memory, plus one. */
gpa_t gmem_end(const struct gmem *m);

#endif
