/*
 * A driver with stable slots (docs/mapped.md) for the same device as lane_nic.h, in two directions:
 * slot i of a ring is always the same buffer, behind a header that lies elsewhere, in a chain of
 * two descriptors. On one thread, as there.
 *
 * What a frame holds follows from its number alone, so a receiver can compare all of it without
 * looking at what the sender has: where a lane is mapped both are the same memory.
 */
#ifndef TESTS_BENCH_LANE_SLOTS_H
#define TESTS_BENCH_LANE_SLOTS_H

#include "tests/bench/lane_nic.h"

#define LANE_SLOTS (LANE_RING / 2) /* two descriptors each */

struct lane_slots {
	struct lane_nic *nic;
	uint32_t bytes; /* of a slot */
	struct port_memory memory;
	uint8_t dst[6];
	_Atomic uint64_t held_us; /* so long its vCPUs were to be held for the last move */

	/* private */
	gpa_t hdr[2], at[2];
	pthread_mutex_t held;
	_Atomic bool hold;
	uint64_t held_at_ns;
	uint16_t taken; /* received and not given back */
	uint8_t *want;	/* what a frame should hold */
};

/* What a driver on another thread than the loop does is in between: its vCPU can be held. The same
 * as nothing on one thread. */
void lane_slots_enter(struct lane_slots *s);
void lane_slots_exit(struct lane_slots *s);

/* As lane_nic_create(), with slots of so many bytes: whole pages. */
void lane_slots_create(struct lane_slots *s, const char *name, unsigned id, uint32_t bytes);
void lane_slots_start(struct lane_slots *s);

/* From now on frames of this shape go to `dst`. All slots are written; nothing is under way. */
void lane_slots_shape(struct lane_slots *s, const struct lane_shape *shape, const uint8_t *dst);
/* Takes back what was sent. How many frames are still under way. */
unsigned lane_slots_sent(struct lane_slots *s);
/* Makes the next `frames` available, as many slots being free, and rings if that is wanted. whole:
 * each is written anew from its first byte to its last, else its number only. */
void lane_slots_post(struct lane_slots *s, unsigned frames, bool whole);
/* Have so many slots come in since the last lane_slots_take()? */
bool lane_slots_have(const struct lane_slots *s, unsigned slots);
/* Takes and checks all that came in from `from`; returns how many frames. */
unsigned lane_slots_take(struct lane_slots *s, const struct lane_slots *from, bool all_bytes);
/* Gives back what was taken, and rings if that is wanted. */
void lane_slots_give(struct lane_slots *s);

#endif
