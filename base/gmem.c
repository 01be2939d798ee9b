/*
 * Guest memory: see gmem.h. No lock: the regions are constant between create and destroy.
 * Rebinding is in gmem_rebind.c.
 */
#include "base/gmem.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/memfd.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#ifndef MFD_HUGE_2MB
#define MFD_HUGE_2MB (21u << 26)
#endif
#ifndef MFD_HUGE_1GB
#define MFD_HUGE_1GB (30u << 26)
#endif

static int check_layout(struct gmem *m, const struct gmem_layout *layout, unsigned nr)
{
	uint64_t end = 0;

	if (!nr || nr > GMEM_MAX_REGIONS)
		return -EINVAL;
	for (unsigned i = 0; i < nr; i++) {
		const struct gmem_layout *l = &layout[i];

		if (!l->size_bytes || l->size_bytes % m->page_bytes || l->base % m->page_bytes ||
		    l->base < end || l->base + l->size_bytes < l->base)
			return -EINVAL;
		end = l->base + l->size_bytes;
		m->region[i] = (struct gmem_region){
			.base = l->base,
			.size_bytes = l->size_bytes,
			.file_offset = m->size_bytes,
		};
		m->size_bytes += l->size_bytes;
	}
	m->nr_regions = nr;
	return 0;
}

/*
 * The kernel fills pages of a file on first touch, and where there are none left the toucher gets
 * SIGBUS: with GMEM_PREALLOC that is found out here, by fallocate, which fails in the ordinary way.
 */
static int populate(struct gmem *m, unsigned flags)
{
	if (!(flags & (GMEM_PREALLOC | GMEM_HUGE_2M | GMEM_HUGE_1G)))
		return 0;
	/* Huge pages are always taken at once: a pool that runs dry later would be a SIGBUS. */
	while (fallocate(m->fd, 0, 0, (off_t)m->size_bytes)) {
		if (errno == EINTR)
			continue;
		return errno == ENOSPC ? -ENOMEM : -errno;
	}
	return 0;
}

/* All of the memfd, aligned to 2 MiB (or the huge page), so that transparent huge pages can be used
 * and parts can be rebound in 2 MiB units: reserve more, map inside, give the rest back. */
static int map_view(const struct gmem *m, uint8_t **out)
{
	uint64_t align = m->page_bytes > MIB(2) ? m->page_bytes : MIB(2);
	uint8_t *reserve, *map;
	int rc;

	reserve = mmap(NULL, m->map_bytes + align, PROT_NONE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (reserve == MAP_FAILED)
		return -errno;
	map = (uint8_t *)ALIGN_UP((uintptr_t)reserve, align);
	if (mmap(map, m->map_bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED | MAP_NORESERVE,
		 m->fd, 0) == MAP_FAILED) {
		rc = -errno;
		munmap(reserve, m->map_bytes + align);
		return rc;
	}
	if (map > reserve)
		munmap(reserve, (size_t)(map - reserve));
	if (map < reserve + align)
		munmap(map + m->map_bytes, (size_t)(reserve + align - map));
	/* A guest's memory has no place in a core dump of ours, nor in a child. */
	madvise(map, m->map_bytes, MADV_DONTDUMP);
	madvise(map, m->map_bytes, MADV_DONTFORK);
	*out = map;
	return 0;
}

int gmem_create(struct gmem *m, const char *name, const struct gmem_layout *layout,
		unsigned nr_regions, unsigned flags)
{
	unsigned mfd = MFD_CLOEXEC;
	int rc;

	memset(m, 0, sizeof(*m));
	m->fd = -1;
	m->page_bytes = 4096;
	if (flags & GMEM_HUGE_1G) {
		mfd |= MFD_HUGETLB | MFD_HUGE_1GB;
		m->page_bytes = GIB(1);
	} else if (flags & GMEM_HUGE_2M) {
		mfd |= MFD_HUGETLB | MFD_HUGE_2MB;
		m->page_bytes = MIB(2);
	}
	rc = check_layout(m, layout, nr_regions);
	if (rc)
		return rc;

	m->fd = memfd_create(name, mfd);
	if (m->fd < 0)
		return -errno;
	if (ftruncate(m->fd, (off_t)m->size_bytes)) {
		rc = -errno;
		goto out_close;
	}
	rc = populate(m, flags);
	if (rc)
		goto out_close;

	m->map_bytes = m->size_bytes;
	rc = map_view(m, &m->map);
	if (rc)
		goto out_close;
	m->vcpu_map = m->map;
	if (flags & GMEM_VCPU_VIEW)
		rc = map_view(m, &m->vcpu_map);
	if (rc) {
		munmap(m->map, m->map_bytes);
		goto out_close;
	}
	for (unsigned i = 0; i < nr_regions; i++)
		m->region[i].hva = m->map + m->region[i].file_offset;
	return 0;

out_close:
	close(m->fd);
	memset(m, 0, sizeof(*m));
	m->fd = -1;
	return rc;
}

void gmem_destroy(struct gmem *m)
{
	/* What is rebound goes with the rest: its file is somebody else's. */
	if (m->vcpu_map && m->vcpu_map != m->map)
		munmap(m->vcpu_map, m->map_bytes);
	if (m->map)
		munmap(m->map, m->map_bytes);
	if (m->spare)
		munmap(m->spare, GMEM_REBIND_BYTES);
	free(m->rebound);
	if (m->fd >= 0)
		close(m->fd);
	memset(m, 0, sizeof(*m));
	m->fd = -1;
}

void *gmem_ptr_search(const struct gmem *m, const struct gmem_region **near, gpa_t gpa,
		      uint64_t len)
{
	for (unsigned i = 0; i < m->nr_regions; i++) {
		void *p = gmem_region_ptr(&m->region[i], gpa, len);

		if (p) {
			*near = &m->region[i];
			return p;
		}
	}
	return NULL;
}

void *gmem_ptr(const struct gmem *m, gpa_t gpa, uint64_t len)
{
	const struct gmem_region *near;

	return gmem_ptr_search(m, &near, gpa, len);
}

int gmem_read(const struct gmem *m, gpa_t gpa, void *dst, uint64_t len)
{
	const void *p;

	if (!len)
		return 0;
	p = gmem_ptr(m, gpa, len);
	if (!p)
		return -EFAULT;
	memcpy(dst, p, len);
	return 0;
}

int gmem_write(const struct gmem *m, gpa_t gpa, const void *src, uint64_t len)
{
	void *p;

	if (!len)
		return 0;
	p = gmem_ptr(m, gpa, len);
	if (!p)
		return -EFAULT;
	memcpy(p, src, len);
	return 0;
}

int gmem_zero(const struct gmem *m, gpa_t gpa, uint64_t len)
{
	void *p;

	if (!len)
		return 0;
	p = gmem_ptr(m, gpa, len);
	if (!p)
		return -EFAULT;
	memset(p, 0, len);
	return 0;
}

gpa_t gmem_end(const struct gmem *m)
{
	const struct gmem_region *last;

	if (!m->nr_regions)
		return 0;
	last = &m->region[m->nr_regions - 1];
	return last->base + last->size_bytes;
}
