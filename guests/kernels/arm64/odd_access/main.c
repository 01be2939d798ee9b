/*
 * Accesses to devices of which the processor does not tell a VMM what they were (pairs,
 * write-back): the guest gets an abort, as from an address where nothing is, and goes on.
 */
#include "lib/intr.h"

static volatile unsigned aborts;

static bool on_trap(struct trap_frame *f)
{
	unsigned class = (uint32_t)f->esr >> 26; /* some kernels set the upper half */

	if (class != 0x25) /* data abort at the same level */
		return false;
	aborts++;
	f->elr += 4;
	return true;
}

void guest_main(void)
{
	uint64_t a = 0, b = 0, at = RTC_BASE;

	intr_init();
	intr_set_trap_hook(on_trap);
	for (unsigned i = 1; i <= 20; i++) {
		__asm__ volatile("ldp %0, %1, [%2]" : "+r"(a), "+r"(b) : "r"(at) : "memory");
		CHECK(aborts == 2 * i - 1, "%u aborts after a load of a pair", aborts);
		__asm__ volatile("str %w1, [%0], #4" : "+r"(at) : "r"(0) : "memory");
		CHECK(aborts == 2 * i, "%u aborts after a store with write-back", aborts);
	}
	CHECK(mmio_read32(RTC_BASE + 0xfe0) == 0x31, "the device does not answer any more");
	print("odd accesses: %u aborts\n", aborts);
}
