/* Time, from the virtual counter; its frequency is known. */
#ifndef LIB_CLOCK_H
#define LIB_CLOCK_H

#include "lib/intr.h"

void clock_init(void);
uint64_t clock_us(void);
/* One interrupt on `vector` of this CPU in `us` from now. */
void clock_alarm(unsigned vector, uint64_t us);
/* Interrupts every `us` from now on (does nothing but end a halt); needs intr_init(). */
void clock_tick(uint64_t us);
void clock_wait_us(uint64_t us);

#endif
