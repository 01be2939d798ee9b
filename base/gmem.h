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
 * All functions but create, destroy and those of rebinding may be called from any thread.
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
	/* A second mapping of all of it for KVM's memory slots, so that vCPUs can be refused a
	 * write that xvmm's own devices may make; == map unless GMEM_VCPU_VIEW. */
	uint8_t *vcpu_map;
	unsigned long *rebound; /* a bit for each page of 4 KiB; NULL until the first rebind */
	void *spare;		/* gmem_rebind.c's own */
};

struct gmem_layout {
	gpa_t base;
	uint64_t size_bytes;
};

enum gmem_flags {
	GMEM_HUGE_2M = 1 << 0,
	GMEM_HUGE_1G = 1 << 1,
	GMEM_PREALLOC = 1 << 2,	 /* touch every page now; -ENOMEM instead of a surprise later */
	GMEM_VCPU_VIEW = 1 << 3, /* vcpu_map is a mapping of its own */
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

/*
 * Rebinding: pages of the guest's memory are exchanged for pages of another file, in place. KVM's
 * memory slots do not change, host addresses stay valid; what the guest had in them stays in its
 * own file (its private pages) and is not visible until they are restored.
 *
 * The remapper's thread only, with the guest's vCPUs held; `at` and `len` in whole pages of 4 KiB
 * within one region (`at` an address that gmem_ptr() gave), `offset` too. A guest whose memory is
 * of huge pages (page_bytes), or a host whose pages are larger than 4 KiB, can't rebind:
 * -EOPNOTSUPP. Any thread of xvmm may access the pages meanwhile: it sees the old or the new ones.
 */
#define GMEM_REBIND_BYTES 4096

enum gmem_rebind_flags {
	GMEM_VCPU_READONLY = 1 << 0, /* the guest's vCPUs can't write it; xvmm still can. Needs
				      * GMEM_VCPU_VIEW at gmem_create(), else -EINVAL. */
};
/*
 * None of the pages is rebound yet, else -EBUSY: restore first. The pages of the file are there
 * (prefaulted, and nobody can shrink it): an access to one that is not would be a SIGBUS.
 * Other errors: -EINVAL (also: the file is too short), -ENOMEM (mappings), errno of mmap and fstat;
 * then all of it is bound as before, or, if even that fails, -ENOTRECOVERABLE.
 */
int gmem_rebind(struct gmem *m, void *at, uint64_t len, int fd, uint64_t offset, unsigned flags);
/*
 * Idempotent: passes over pages that are not rebound. Errors: -EINVAL; -ENOMEM, errno of mmap: some
 * of it is still rebound (gmem_is_rebound()), the rest is not; -ENOTRECOVERABLE: vCPUs and xvmm see
 * different pages. What was rebound in one piece, restored in one piece, needs no new mapping and
 * so does not run out of them.
 */
int gmem_restore(struct gmem *m, void *at, uint64_t len);
/* Fills the page tables of both views after a move, so that the first access to each page does not
 * fault. It takes longer than the move: call it when the vCPUs have been released. Does what it
 * can, and nothing before Linux 5.14. */
void gmem_prefault(struct gmem *m, void *at, uint64_t len);
/* Writes to the private pages behind [at, at + len), any bytes of one region, rebound or not.
 * -EINVAL, -EOPNOTSUPP (huge pages), errno of pwrite. */
int gmem_private_write(struct gmem *m, const void *at, const void *src, uint64_t len);
/* Is any page of it rebound? Any bytes of one region; false if they are not. Also for a vCPU's
 * thread that can't be held now. */
bool gmem_is_rebound(const struct gmem *m, const void *at, uint64_t len);

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
