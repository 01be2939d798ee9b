/*
 * DMA buffers: see dmabuf.h. The remapper's thread; no lock.
 */
#include "base/dmabuf.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23
#endif
#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25
#endif

#define PAGE 4096

/* See gmem.c: reserve more, map inside, give the rest back. */
static int map_aligned(struct dma_buf *b)
{
	uint8_t *reserve, *map;
	int rc;

	reserve = mmap(NULL, b->bytes + MIB(2), PROT_NONE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (reserve == MAP_FAILED)
		return -errno;
	map = (uint8_t *)ALIGN_UP((uintptr_t)reserve, MIB(2));
	if (mmap(map, b->bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, b->fd, 0) ==
	    MAP_FAILED) {
		rc = -errno;
		munmap(reserve, b->bytes + MIB(2));
		return rc;
	}
	if (map > reserve)
		munmap(reserve, (size_t)(map - reserve));
	if (map < reserve + MIB(2))
		munmap(map + b->bytes, (size_t)(reserve + MIB(2) - map));
	b->map = map;
	return 0;
}

/* Now, with an error that can be returned: later it would be a SIGBUS. */
static int populate(struct dma_buf *b)
{
	int rc;

	/* Pages larger than 4 KiB from the start, where the host is set up for it; this asks for
	 * them through the mapping, fallocate could not. */
	madvise(b->map, b->bytes, MADV_HUGEPAGE);
	do {
		rc = madvise(b->map, b->bytes, MADV_POPULATE_WRITE) ? -errno : 0;
	} while (rc == -EINTR || rc == -EAGAIN);
	if (rc == -EINVAL) { /* before Linux 5.14 */
		do {
			rc = fallocate(b->fd, 0, 0, (off_t)b->bytes) ? -errno : 0;
		} while (rc == -EINTR);
	}
	if (rc == -EFAULT || rc == -ENOSPC) /* no page to be had: EFAULT stands for SIGBUS */
		rc = -ENOMEM;
	/* Else put them together now: binding a huge page is one entry instead of 512. Does what it
	 * can (Linux 6.1). */
	if (!rc)
		madvise(b->map, b->bytes, MADV_COLLAPSE);
	return rc;
}

int dma_buf_create(struct dma_buf *b, const char *name, uint64_t bytes)
{
	int rc;

	*b = (struct dma_buf){ .fd = -1 };
	if (!bytes || bytes % PAGE || bytes > INT64_MAX - MIB(2))
		return -EINVAL;
	b->bytes = bytes;
	b->fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING);
	if (b->fd < 0 || ftruncate(b->fd, (off_t)bytes) ||
	    fcntl(b->fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL)) {
		rc = -errno;
		goto fail;
	}
	rc = map_aligned(b);
	if (rc)
		goto fail;
	rc = populate(b);
	if (rc)
		goto fail;
	/* What guests say to each other has no place in a core dump of ours, nor in a child. */
	madvise(b->map, b->bytes, MADV_DONTDUMP);
	madvise(b->map, b->bytes, MADV_DONTFORK);
	return 0;

fail:
	dma_buf_destroy(b);
	return rc;
}

void dma_buf_destroy(struct dma_buf *b)
{
	if (b->map)
		munmap(b->map, b->bytes);
	if (b->bytes && b->fd >= 0) /* of all zeros: none */
		close(b->fd);
	*b = (struct dma_buf){ .fd = -1 };
}
