/* Application processors; see smp.h and ap.S. */
#include "lib/clock.h"
#include "lib/mem.h"
#include "lib/smp.h"

#define AP_TRAMPOLINE  0x8000u
#define AP_STACK_BYTES 8192
#define PATIENCE_US    20000000u

extern const char ap_trampoline[], ap_trampoline_end[];
extern uint64_t ap_stacks;
void smp_ap_entry(unsigned index);

static void (*ap_fn)(unsigned index, void *arg);
static void *ap_arg;
static volatile unsigned nr_up;

void smp_ap_entry(unsigned index)
{
	intr_init_ap();
	__atomic_fetch_add(&nr_up, 1, __ATOMIC_SEQ_CST);
	ap_fn(index, ap_arg);
}

void smp_start(const uint8_t *apic_id, unsigned n, void (*fn)(unsigned index, void *arg), void *arg)
{
	ap_fn = fn;
	ap_arg = arg;
	ap_stacks = (uintptr_t)mem_alloc((size_t)n * AP_STACK_BYTES, 4096);
	memcpy((void *)(uintptr_t)AP_TRAMPOLINE, ap_trampoline,
	       (size_t)(ap_trampoline_end - ap_trampoline));
	for (unsigned i = 0; i < n; i++) {
		uint64_t end = clock_us() + PATIENCE_US;

		lapic_ipi(apic_id[i], ICR_INIT);
		clock_wait_us(200);
		lapic_ipi(apic_id[i], ICR_STARTUP | AP_TRAMPOLINE >> 12);
		while (nr_up <= i) {
			cpu_pause();
			CHECK(clock_us() < end, "AP with APIC id %u does not come up", apic_id[i]);
		}
	}
}
