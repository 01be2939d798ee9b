/*
 * Rebinding of guest memory: see gmem.h. The remapper's thread; no lock.
 *
 * A page has two views, which are one where there is no GMEM_VCPU_VIEW: `map`, xvmm's own, and
 * `vcpu_map`, KVM's. mmap with MAP_FIXED exchanges what is behind an address under the lock of the
 * address space: other threads fault either before it or after it, and KVM forgets what it knew of
 * these pages before mmap returns.
 */
#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/gmem.h"

#ifndef MADV_POPULATE_READ
#define MADV_POPULATE_READ 22
#endif

#define PAGE	  GMEM_REBIND_BYTES
#define WORD_BITS (8 * sizeof(unsigned long))

static bool test_page(const struct gmem *m, uint64_t page)
{
	return m->rebound[page / WORD_BITS] >> page % WORD_BITS & 1;
}

static void mark_pages(struct gmem *m, uint64_t from, uint64_t end, bool rebound)
{
	for (uint64_t p = from; p < end; p++) {
		unsigned long bit = 1ul << p % WORD_BITS;

		if (rebound)
			m->rebound[p / WORD_BITS] |= bit;
		else
			m->rebound[p / WORD_BITS] &= ~bit;
	}
}

/* Offset of [at, at + len) in the file and in both views, or -EINVAL if it is not in one region. */
static int find(const struct gmem *m, const void *at, uint64_t len, uint64_t *offset)
{
	for (unsigned i = 0; i < m->nr_regions; i++) {
		const struct gmem_region *r = &m->region[i];
		uintptr_t from = (uintptr_t)at - (uintptr_t)r->hva;

		if ((uintptr_t)at < (uintptr_t)r->hva || from >= r->size_bytes)
			continue;
		if (len > r->size_bytes - from)
			return -EINVAL;
		*offset = r->file_offset + from;
		return 0;
	}
	return -EINVAL;
}

static int find_pages(const struct gmem *m, const void *at, uint64_t len, uint64_t *offset)
{
	if (m->page_bytes != PAGE || sysconf(_SC_PAGESIZE) != PAGE)
		return -EOPNOTSUPP;
	if (!len || len % PAGE || (uintptr_t)at % PAGE)
		return -EINVAL;
	return find(m, at, len, offset);
}

/* Not MAP_POPULATE: vCPUs wait meanwhile, see gmem_prefault(). */
static int map_pages(uint8_t *at, uint64_t len, int prot, int fd, uint64_t offset)
{
	if (mmap(at, len, prot, MAP_SHARED | MAP_FIXED | MAP_NORESERVE, fd, (off_t)offset) ==
	    MAP_FAILED)
		return -errno;
	madvise(at, len, MADV_DONTDUMP);
	madvise(at, len, MADV_DONTFORK);
	return 0;
}

static bool two_views(const struct gmem *m)
{
	return m->vcpu_map != m->map;
}

/* A mapping that can't join with others, to be given up when a process has all that it may have:
 * Linux then refuses even an mmap that would leave fewer. */
static void *spare_mapping(void)
{
	void *p = mmap(NULL, PAGE, PROT_NONE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	return p == MAP_FAILED ? NULL : p;
}

/* Private pages into one view. */
static int map_private(struct gmem *m, uint8_t *view, uint64_t offset, uint64_t len)
{
	int rc = map_pages(view + offset, len, PROT_READ | PROT_WRITE, m->fd, offset);

	if (rc == -ENOMEM && m->spare) {
		munmap(m->spare, PAGE);
		rc = map_pages(view + offset, len, PROT_READ | PROT_WRITE, m->fd, offset);
		m->spare = spare_mapping();
	}
	return rc;
}

/* What is needed before the first move. */
static int prepare(struct gmem *m)
{
	uint64_t words = m->map_bytes / PAGE / WORD_BITS + 1;

	if (!m->spare)
		m->spare = spare_mapping();
	if (!m->rebound)
		m->rebound = calloc(words, sizeof(*m->rebound));
	return m->spare && m->rebound ? 0 : -ENOMEM;
}

/*
 * After an mmap over private pages that was refused. They are still there if it was refused in
 * time, and mapping them again would be refused as well. But the kernel does not promise that.
 */
static int undo_failed(struct gmem *m, uint8_t *view, uint64_t offset, uint64_t len)
{
	if (!msync(view + offset, len, MS_ASYNC)) /* does nothing, but finds holes */
		return 0;
	return map_private(m, view, offset, len);
}

static int check_file(int fd, uint64_t offset, uint64_t len)
{
	struct stat st;

	if (fstat(fd, &st))
		return -errno;
	if (offset % PAGE || st.st_size < 0 || offset > (uint64_t)st.st_size ||
	    len > (uint64_t)st.st_size - offset)
		return -EINVAL;
	return 0;
}

int gmem_rebind(struct gmem *m, void *at, uint64_t len, int fd, uint64_t offset, unsigned flags)
{
	bool readonly = flags & GMEM_VCPU_READONLY;
	uint64_t own;
	int rc;

	rc = find_pages(m, at, len, &own);
	if (rc)
		return rc;
	if (flags & ~(unsigned)GMEM_VCPU_READONLY || (readonly && !two_views(m)))
		return -EINVAL;
	rc = check_file(fd, offset, len);
	if (rc)
		return rc;
	if (gmem_is_rebound(m, at, len))
		return -EBUSY;
	rc = prepare(m);
	if (rc)
		return rc;

	rc = map_pages(m->map + own, len, PROT_READ | PROT_WRITE, fd, offset);
	if (rc)
		return undo_failed(m, m->map, own, len) ? -ENOTRECOVERABLE : rc;
	if (two_views(m)) {
		rc = map_pages(m->vcpu_map + own, len, PROT_READ | (readonly ? 0 : PROT_WRITE), fd,
			       offset);
		if (rc &&
		    (undo_failed(m, m->vcpu_map, own, len) || map_private(m, m->map, own, len)))
			return -ENOTRECOVERABLE;
	}
	if (!rc)
		mark_pages(m, own / PAGE, (own + len) / PAGE, true);
	return rc;
}

/* Pages that are all rebound. */
static int restore_run(struct gmem *m, uint64_t offset, uint64_t len)
{
	int rc = map_private(m, m->map, offset, len);

	if (rc)
		return rc;
	if (two_views(m) && map_private(m, m->vcpu_map, offset, len))
		return -ENOTRECOVERABLE;
	mark_pages(m, offset / PAGE, (offset + len) / PAGE, false);
	return 0;
}

int gmem_restore(struct gmem *m, void *at, uint64_t len)
{
	uint64_t offset, page, end;
	int rc;

	rc = find_pages(m, at, len, &offset);
	if (rc || !m->rebound)
		return rc;
	page = offset / PAGE;
	end = (offset + len) / PAGE;
	while (page < end) {
		uint64_t from;

		if (!test_page(m, page)) {
			page++;
			continue;
		}
		for (from = page; page < end && test_page(m, page);)
			page++;
		rc = restore_run(m, from * PAGE, (page - from) * PAGE);
		if (rc)
			return rc;
	}
	return 0;
}

void gmem_prefault(struct gmem *m, void *at, uint64_t len)
{
	uint64_t offset;

	if (find_pages(m, at, len, &offset))
		return;
	/* Reading is enough: pages of a memfd are mapped writable at once. */
	madvise(m->map + offset, len, MADV_POPULATE_READ);
	if (two_views(m))
		madvise(m->vcpu_map + offset, len, MADV_POPULATE_READ);
}

int gmem_private_write(struct gmem *m, const void *at, const void *src, uint64_t len)
{
	const uint8_t *p = src;
	uint64_t offset;
	int rc;

	if (m->page_bytes != PAGE)
		return -EOPNOTSUPP;
	rc = find(m, at, len, &offset);
	while (!rc && len) {
		ssize_t n = pwrite(m->fd, p, len, (off_t)offset);

		if (n > 0) {
			p += n;
			offset += (uint64_t)n;
			len -= (uint64_t)n;
		} else if (n == 0) {
			rc = -EIO;
		} else if (errno != EINTR) {
			rc = -errno;
		}
	}
	return rc;
}

bool gmem_is_rebound(const struct gmem *m, const void *at, uint64_t len)
{
	uint64_t offset;

	if (!m->rebound || !len || find(m, at, len, &offset))
		return false;
	for (uint64_t p = offset / PAGE; p <= (offset + len - 1) / PAGE; p++) {
		if (test_page(m, p))
			return true;
	}
	return false;
}
