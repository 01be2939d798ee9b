/*
 * The memory side of a mapped lane: one DMA buffer under two rings.
 *
 * Both guests' vCPUs are held while pages move, and only then. What the sender's slots held is kept
 * for it as far as its receiver may see it: the frames that it sent to that receiver; everything
 * else of the buffer begins as zeros. When the mapping ends, the sender gets all of its slots as
 * they are now, the receiver those frames that it has not given back; the buffer's pages are freed,
 * so nobody finds anything in them later.
 *
 * The remapper's thread only. The two guests' memory outlives the mapping.
 */
#ifndef XTALK_MAPPING_H
#define XTALK_MAPPING_H

#include "base/dmabuf.h"
#include "xtalk/pair.h"

struct mapping {
	const struct port_memory *tx, *rx;
	struct dma_buf dma;
	unsigned nr;		/* pages */
	struct page_pair *page; /* page[i] of both is page i of the buffer */
};

/* Bytes that the receiver has, or may have, in a transmit slot. */
struct mapping_part {
	const uint8_t *tx; /* where they are in the sender's slot, … */
	uint8_t *rx;	   /* … and in the receiver's */
	uint32_t len;
};

/*
 * Puts one buffer under both rings as `p` says. keep[0 .. nr_keep): what of the sender's slots goes
 * along; the rest reads as zeros. `ready`: a buffer that was made before, so that nobody waits for
 * it; taken if it is large enough and not much larger, else one is made. 0, or -errno with
 * everything as before: -ENOMEM, those of gmem_rebind(). -ENOTRECOVERABLE: a guest has lost memory
 * and was told to end.
 */
int mapping_enter(struct mapping *m, const struct port_memory *tx, const struct port_memory *rx,
		  const struct pairing *p, const struct mapping_part *keep, unsigned nr_keep,
		  struct dma_buf *ready);
/* Makes one for so many pages; errors as dma_buf_create(). */
int mapping_buffer(struct dma_buf *b, unsigned nr_pages);

/* Gives both their private pages back. keep[]: frames that the receiver still has. Errors: as
 * above; the mapping is gone in any case. */
int mapping_leave(struct mapping *m, const struct mapping_part *keep, unsigned nr_keep);

#endif
