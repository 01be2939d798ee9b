/*
 * Is a transmit ring one of stable slots? Watches where the frames of one element begin, finds the
 * period, and checks it over whole turns of the ring.
 *
 * Owned by the sender's loop; no locks, no allocation, O(1) per frame.
 */
#ifndef XTALK_SLOT_TRACK_H
#define XTALK_SLOT_TRACK_H

#include "base/carrier.h"

/* Whole turns, the first one included, that a ring must have been seen to repeat. */
#define SLOT_TURNS_MIN 3

struct slot_track {
	unsigned nr;	 /* slots of a turn; 0: not known yet */
	unsigned known;	 /* addresses in list.slot */
	unsigned at;	 /* the next frame should be in this one */
	unsigned turns;	 /* whole ones in a row without a difference */
	const char *why; /* not stable; a constant string */
	/* Of the last whole turn, and of the one under way: how long it took, and how many of its
	 * frames went to the same destination as its first. */
	uint64_t began_ns, turn_ns;
	unsigned dst, to_dst;
	unsigned turn_dst, turn_to_dst;
	struct slot_list list; /* bytes: 0 */
};

void slot_track_reset(struct slot_track *t, const char *why);
/* A frame that is being sent, to `dst` (a slot of the net, or any number that is none). */
void slot_track_frame(struct slot_track *t, uint8_t *slot, const void *hdr, unsigned dst,
		      uint64_t now_ns);

static inline bool slot_track_stable(const struct slot_track *t)
{
	return t->nr && t->turns >= SLOT_TURNS_MIN;
}

/* How many different slots both lists have together. */
unsigned slot_lists_distinct(const struct slot_list *a, const struct slot_list *b);
/* Is `b` the same ring as `a`, seen from another slot on? */
bool slot_list_same_ring(const struct slot_list *a, const struct slot_list *b);

#endif
