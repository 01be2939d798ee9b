/*
 * Ring 3: code that computes much runs there natively even where ring 0 is emulated. Ports may be
 * used (IOPL 3) and all memory is visible; `hlt` and other privileged instructions may not.
 * First CPU only, not from an interrupt handler, not nested.
 */
#ifndef LIB_USER_H
#define LIB_USER_H

#include "lib/intr.h"

void user_init(void); /* after intr_init(); takes the trap hook */
/* Runs fn(arg) in ring 3 and returns what it returned. */
uint64_t user_call(uint64_t (*fn)(void *arg), void *arg);

#endif
