/* Secondary CPUs, turned on by PSCI; see smp.h and start.S. */
#include "lib/clock.h"
#include "lib/mem.h"
#include "lib/smp.h"

#define STACK_BYTES 8192
#define PATIENCE_US 20000000u

extern const char ap_start[];
void smp_ap_entry(uint64_t index);

static void (*ap_fn)(unsigned index, void *arg);
static void *ap_arg;
static volatile unsigned nr_up;

void smp_ap_entry(uint64_t index)
{
	intr_init_ap();
	__atomic_fetch_add(&nr_up, 1, __ATOMIC_SEQ_CST);
	ap_fn((unsigned)index, ap_arg);
}

void smp_start(const uint8_t *id, unsigned n, void (*fn)(unsigned index, void *arg), void *arg)
{
	ap_fn = fn;
	ap_arg = arg;
	for (unsigned i = 0; i < n; i++) {
		uint64_t end = clock_us() + PATIENCE_US;
		uint64_t *top =
			(uint64_t *)((uintptr_t)mem_alloc(STACK_BYTES, 4096) + STACK_BYTES - 16);
		int64_t rc;

		*top = i;
		__asm__ volatile("dsb sy" : : : "memory");
		rc = psci(PSCI_CPU_ON, (id[i] & 15) | (uint64_t)(id[i] >> 4) << 8,
			  (uintptr_t)ap_start, (uintptr_t)top);
		CHECK(!rc, "CPU_ON of CPU %u: %ld", id[i], (long)rc);
		while (nr_up <= i) {
			cpu_pause();
			CHECK(clock_us() < end, "CPU %u does not come up", id[i]);
		}
	}
}
