/* Exceptions, interrupts, local APIC and IOAPIC; see intr.h. */
#include "lib/intr.h"

#define NR_VECTORS   96 /* as in isr.S */
#define FIRST_VECTOR 0x30
#define SPURIOUS     (NR_VECTORS - 1)

struct idt_gate {
	uint16_t offset_lo, selector;
	uint8_t ist, type;
	uint16_t offset_mid;
	uint32_t offset_hi, zero;
};

struct descriptor_pointer {
	uint16_t limit;
	uint64_t base;
} __attribute__((packed));

extern const char isr_stubs[];
void intr_dispatch(struct trap_frame *f);

static struct idt_gate idt[NR_VECTORS] __attribute__((aligned(16)));
static struct {
	intr_handler handler;
	void *arg;
} handlers[NR_VECTORS];
static unsigned next_vector = FIRST_VECTOR;
static bool (*trap_hook)(struct trap_frame *f);

static void set_gate(unsigned vector)
{
	uintptr_t at = (uintptr_t)isr_stubs + 16 * vector;

	idt[vector] = (struct idt_gate){
		.offset_lo = (uint16_t)at,
		.selector = 0x08,
		.type = 0x8e, /* present, interrupt gate, ring 0 */
		.offset_mid = (uint16_t)(at >> 16),
	};
}

uint32_t lapic_read(unsigned reg)
{
	return mmio_read32(LAPIC_BASE + reg);
}

void lapic_write(unsigned reg, uint32_t v)
{
	mmio_write32(LAPIC_BASE + reg, v);
}

unsigned lapic_id(void)
{
	return lapic_read(LAPIC_ID) >> 24;
}

void lapic_ipi(unsigned apic_id, uint32_t icr_low)
{
	lapic_write(LAPIC_ICR_HI, apic_id << 24);
	lapic_write(LAPIC_ICR_LO, icr_low);
	while (lapic_read(LAPIC_ICR_LO) & 1 << 12) /* delivery pending */
		cpu_pause();
}

void lapic_timer(unsigned vector, uint32_t ticks, bool periodic)
{
	lapic_write(LAPIC_TIMER_DIV, 0xb);
	lapic_write(LAPIC_LVT_TIMER, vector | (periodic ? LAPIC_PERIODIC : 0));
	lapic_write(LAPIC_TIMER_INIT, ticks);
}

uint32_t ioapic_read(unsigned reg)
{
	mmio_write32(IOAPIC_BASE, reg);
	return mmio_read32(IOAPIC_BASE + 0x10);
}

void ioapic_write(unsigned reg, uint32_t v)
{
	mmio_write32(IOAPIC_BASE, reg);
	mmio_write32(IOAPIC_BASE + 0x10, v);
}

void ioapic_route(unsigned gsi, unsigned vector, bool level, unsigned apic_id)
{
	ioapic_write(0x10 + 2 * gsi, LAPIC_MASKED);
	ioapic_write(0x11 + 2 * gsi, apic_id << 24);
	ioapic_write(0x10 + 2 * gsi, vector | (level ? 1u << 15 : 0));
}

void ioapic_mask(unsigned gsi)
{
	ioapic_write(0x10 + 2 * gsi, LAPIC_MASKED);
}

void intr_init_ap(void)
{
	struct descriptor_pointer p = { sizeof(idt) - 1, (uintptr_t)idt };

	__asm__ volatile("lidt %0" : : "m"(p));
	lapic_write(LAPIC_SPURIOUS, 0x100 | SPURIOUS);
}

void intr_init(void)
{
	for (unsigned v = 0; v < 32; v++)
		set_gate(v);
	set_gate(SPURIOUS);
	outb(0x21, 0xff); /* both 8259s: everything masked */
	outb(0xa1, 0xff);
	intr_init_ap();
}

unsigned intr_alloc(intr_handler handler, void *arg)
{
	unsigned v = next_vector++;

	CHECK(v < SPURIOUS, "out of interrupt vectors");
	handlers[v].handler = handler;
	handlers[v].arg = arg;
	set_gate(v);
	return v;
}

void intr_set_trap_hook(bool (*hook)(struct trap_frame *f))
{
	trap_hook = hook;
}

void intr_dispatch(struct trap_frame *f)
{
	uint64_t cr2;

	if (f->vector >= 32) {
		if (f->vector == SPURIOUS)
			return;
		if (handlers[f->vector].handler)
			handlers[f->vector].handler(handlers[f->vector].arg);
		lapic_write(LAPIC_EOI, 0);
		return;
	}
	if (trap_hook && trap_hook(f))
		return;
	__asm__ volatile("movq %%cr2, %0" : "=r"(cr2));
	fail("exception %lu (error 0x%lx) at 0x%lx, cs 0x%lx, cr2 0x%lx, rsp 0x%lx, "
	     "flags 0x%lx",
	     (unsigned long)f->vector, (unsigned long)f->error, (unsigned long)f->rip,
	     (unsigned long)f->cs, (unsigned long)cr2, (unsigned long)f->rsp,
	     (unsigned long)f->rflags);
}
