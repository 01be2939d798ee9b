/*
 * The mapped lane, shared by its files: map_lane.c (the sender's side: one frame, the batch, the
 * end), map_enter.c (the sender's side: the beginning), map_work.c (the remapper's side). See
 * map_lane.h.
 */
#ifndef XTALK_MAP_INTERNAL_H
#define XTALK_MAP_INTERNAL_H

#include "xtalk/switch_internal.h"

static inline void map_set_state(struct map_lane *l, enum map_state s)
{
	atomic_store_explicit(&l->state, s, memory_order_relaxed);
}

static inline enum map_state map_state_of(const struct map_lane *l)
{
	return (enum map_state)atomic_load_explicit(&l->state, memory_order_relaxed);
}

static inline struct member *map_receiver(struct member *m)
{
	return m->sw->members[m->map->to];
}

/* On the sender's loop, inside of a batch: */

/* map_lane.c */
static inline uint64_t map_deadline_ns(const struct member *m)
{
	return m->sw->p.rules.slot_deadline_us * UINT64_C(1000);
}
/* Wakes this sender when `to` (NULL: nobody) has slots or buffers again, or at `until`. */
void map_wait_for(struct member *m, struct member *to, uint64_t until, uint64_t now);
void map_wait_over(struct member *m);
/* Back to ordinary `direct`, nothing was mapped: what is kept is completed. */
void map_give_up(struct member *m);

/* map_enter.c */
/* OFF, at the end of a turn: is it time to begin? */
void map_enter_consider(struct member *m, uint64_t now);
/* GATHER: the frame at `at` of the track has gone its way; its slot stays ours. 0, CARRIER_KEPT. */
int map_enter_gather(struct member *m, const struct frame *f, unsigned at);
/* GATHER, at the end of a batch. */
void map_enter_look(struct member *m, uint64_t now);
/* WAIT, at the end of a batch: all of the sender's slots are ours. */
void map_enter_wait(struct member *m, uint64_t now);

#endif
