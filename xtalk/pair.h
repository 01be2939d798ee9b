/*
 * Which page of one guest becomes which page of the other, so that transmit slot i and receive slot
 * i of two rings are the same memory; or why that can't be.
 *
 * Pure functions on addresses; any thread. They do not look into the pages.
 */
#ifndef XTALK_PAIR_H
#define XTALK_PAIR_H

#include "base/carrier.h"

#define PAIR_PAGE_BYTES 4096u
/* Of one element: 1024 slots of 64 KiB. */
#define PAIR_MAX_PAGES 16384u
/* Pieces that either guest's pages are moved in: each is a mapping of the process, of which there
 * are not many (vm.max_map_count), and takes its time with vCPUs held. */
#define PAIR_MAX_RUNS 512u

struct page_pair {
	uint8_t *tx, *rx; /* first bytes of the two pages */
};

struct pairing {
	uint32_t stride;	/* bytes from a slot to the next, in both rings */
	uint32_t span;		/* bytes of a slot that may hold a frame, or hold nothing */
	unsigned skip;		/* receive slots to be passed over so that slots pair */
	unsigned nr;		/* pages */
	char why[64];		/* the rings can't be paired because … */
	struct page_pair *page; /* by ascending tx; the caller's, for PAIR_MAX_PAGES */
};

/*
 * tx and rx: all slots of both rings, the next to be used first. tx.bytes are unknown (0): a
 * transmit descriptor tells the length of a frame. Fills in *p. 0; -EXDEV: p->why says why not;
 * -ENOMEM.
 */
int pair_rings(struct pairing *p, const struct slot_list *tx, const struct slot_list *rx);

/* As many pages as a transmit ring will take, or a few more, whatever it is paired with. `tx` is
 * written to: bytes. 0, with p->nr, or as pair_rings(). */
int pair_estimate(struct pairing *p, struct slot_list *tx);

/* Do the pages of `list` (tx: of its transmit side) hold nothing but slots: is every byte that
 * belongs to none zero? Reads guest memory. */
bool pair_pages_clean(const struct pairing *p, const struct slot_list *list, bool tx);

#endif
