/*
 * Exceptions, the GICv3 and its ITS. One vector table for all CPUs; handlers run with interrupts
 * off and must not wait. An exception that nobody expected ends the guest with FAIL.
 *
 * A "vector" is a number that the guest gives to a handler, and that the GIC's interrupts are
 * mapped to: vectors below 16 can also be sent from CPU to CPU, as SGIs.
 */
#ifndef LIB_INTR_H
#define LIB_INTR_H

#include "lib/guest.h"

#define GICD_BASE 0x08000000u
#define ITS_BASE  0x08020000u
#define GICR_BASE 0x09000000u
#define GICR_STEP 0x20000u

#define INTID_TIMER 27 /* the virtual timer's, a PPI */
#define INTID_SPI   32
#define INTID_LPI   8192

struct trap_frame {
	uint64_t x[31], elr, spsr, esr;
};

typedef void (*intr_handler)(void *arg);

/* Vector table, GIC. The first CPU, once. */
void intr_init(void);
/* The same for a CPU that came up later. */
void intr_init_ap(void);
/* A vector of one's own. */
unsigned intr_alloc(intr_handler handler, void *arg);
/* May take an exception instead of failing: return true if it was expected and dealt with. */
void intr_set_trap_hook(bool (*hook)(struct trap_frame *f));

/* What both architectures have, by the same names. `cpu`: as machine_cpus() gives them. */
unsigned cpu_id(void);
void intr_send(unsigned cpu, unsigned vector);
void intr_route(unsigned gsi, unsigned vector, bool level, unsigned cpu);
void intr_mask(unsigned gsi);

/* A private interrupt of this CPU: the timer's. */
void intr_route_private(unsigned intid, unsigned vector);

/* its.c: the device's event `event` shall arrive at `vector`, at the first CPU; returns the LPI. */
unsigned its_map(unsigned devid, unsigned event, unsigned vector);
#define ITS_DOORBELL (ITS_BASE + 0x10040u)
/* The vector of an LPI. */
void intr_map_lpi(unsigned lpi, unsigned vector);

#endif
