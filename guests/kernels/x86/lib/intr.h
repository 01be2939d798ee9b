/*
 * Exceptions, interrupts, local APIC and IOAPIC. One IDT for all CPUs; handlers run with interrupts
 * off and must not wait. An exception that nobody expected ends the guest with FAIL.
 */
#ifndef LIB_INTR_H
#define LIB_INTR_H

#include "lib/guest.h"

#define LAPIC_BASE  0xfee00000u
#define IOAPIC_BASE 0xfec00000u

#define LAPIC_ID	 0x020
#define LAPIC_EOI	 0x0b0
#define LAPIC_SPURIOUS	 0x0f0
#define LAPIC_ICR_LO	 0x300
#define LAPIC_ICR_HI	 0x310
#define LAPIC_LVT_TIMER	 0x320
#define LAPIC_TIMER_INIT 0x380
#define LAPIC_TIMER_NOW	 0x390
#define LAPIC_TIMER_DIV	 0x3e0

#define LAPIC_MASKED   (1u << 16)
#define LAPIC_PERIODIC (1u << 17)
#define ICR_INIT       0x4500u
#define ICR_STARTUP    0x4600u
#define ICR_FIXED      0x4000u

struct trap_frame {
	uint64_t r15, r14, r13, r12, r11, r10, r9, r8, rbp, rdi, rsi, rdx, rcx, rbx, rax;
	uint64_t vector, error, rip, cs, rflags, rsp, ss;
};

typedef void (*intr_handler)(void *arg);

/* IDT, 8259s masked, local APIC on. The first CPU, once. */
void intr_init(void);
/* The same for an AP that came up later: loads the IDT, switches its local APIC on. */
void intr_init_ap(void);
/* A vector of one's own; the handler is called before the end-of-interrupt. */
unsigned intr_alloc(intr_handler handler, void *arg);
/* May take an exception instead of failing: return true if it was expected and dealt with. */
void intr_set_trap_hook(bool (*hook)(struct trap_frame *f));

unsigned lapic_id(void);
uint32_t lapic_read(unsigned reg);
void lapic_write(unsigned reg, uint32_t v);
void lapic_ipi(unsigned apic_id, uint32_t icr_low);
/* Interrupt of the local APIC timer on `vector` after `ticks` (divided by 1). */
void lapic_timer(unsigned vector, uint32_t ticks, bool periodic);

uint32_t ioapic_read(unsigned reg);
void ioapic_write(unsigned reg, uint32_t v);
void ioapic_route(unsigned gsi, unsigned vector, bool level, unsigned apic_id);
void ioapic_mask(unsigned gsi);

/* What both architectures have, by the same names. `cpu`: as machine_cpus() gives them. */
static inline unsigned cpu_id(void)
{
	return lapic_id();
}

static inline void intr_send(unsigned cpu, unsigned vector)
{
	lapic_ipi(cpu, ICR_FIXED | vector);
}

static inline void intr_route(unsigned gsi, unsigned vector, bool level, unsigned cpu)
{
	ioapic_route(gsi, vector, level, cpu);
}

#endif
