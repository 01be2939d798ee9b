/* The parts of slot_hostile. main.c: what is done when; rings.c: how, for each model. */
#ifndef SLOT_HOSTILE_H
#define SLOT_HOSTILE_H

#include "lib/traffic.h"

extern struct traffic traffic;

uint64_t any(void); /* a number at random */

/* Where a slot's descriptor points from now on. */
void hostile_set_tx(struct slots *s, unsigned slot, const uint8_t *at);
void hostile_set_rx(struct slots *s, unsigned slot, const uint8_t *at);
/* The slot that has just been given, and not told of, changes places with the one before it. */
void hostile_swap_given(struct slots *s, unsigned slot);
/* Gives a slot back that was received and not read yet, and tells the device. */
void hostile_give_early(struct slots *s, unsigned slot);
/* Once the device is set up: headers into the slots' last bytes. */
void hostile_move_headers(struct slots *s);
/* Before it is set up: rings into the room before the first slot. */
void hostile_share_pages(struct slots *s);
/* One piece of nonsense in what the device reads; it needs a reset afterwards. */
void hostile_nonsense(struct slots *s);

#endif
