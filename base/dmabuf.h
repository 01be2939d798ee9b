/*
 * A DMA buffer: pages that are bound into the memory of two guests in place of their own
 * (gmem_rebind()), and into xvmm.
 *
 * No locks; the remapper's thread makes and destroys them. While pages of it are bound to guests
 * the buffer may be destroyed: the guests keep the pages until they are restored.
 */
#ifndef BASE_DMABUF_H
#define BASE_DMABUF_H

#include "base/types.h"

struct dma_buf {
	int fd; /* for gmem_rebind(); -1: none */
	uint8_t *map;
	uint64_t bytes;
};

/*
 * Zero-filled, every page there, aligned to 2 MiB in xvmm, of huge pages where the host has them
 * and `bytes` is 2 MiB or more; nobody can shrink the file any more. It may take milliseconds:
 * before vCPUs are held. bytes: a multiple of 4 KiB, not 0. `name` shows in /proc/PID/maps.
 * Errors: -EINVAL, -ENOMEM, errno of memfd_create, ftruncate, fcntl and mmap; then nothing is left
 * behind, and *b is as after dma_buf_destroy().
 */
int dma_buf_create(struct dma_buf *b, const char *name, uint64_t bytes);
void dma_buf_destroy(struct dma_buf *b); /* idempotent; one of all zeros is none */

#endif
