/* Time, from the TSC; its frequency is measured once against the ACPI power management timer. */
#ifndef LIB_CLOCK_H
#define LIB_CLOCK_H

#include "lib/intr.h"

#define PORT_PM_TIMER 0x608
#define PM_TIMER_HZ   3579545u

void clock_init(void); /* takes a few milliseconds */
uint64_t clock_us(void);
uint64_t clock_tsc_per_ms(void);
uint32_t clock_lapic_ticks(uint64_t us); /* at least 1 */
/* Interrupts every `us` from now on (does nothing but end a halt); needs intr_init(). */
void clock_tick(uint64_t us);
void clock_wait_us(uint64_t us);

#endif
