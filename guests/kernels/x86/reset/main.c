/*
 * Says "boot" and resets the machine, by `how=cf9`, `how=kbd` or `how=triple`. Whoever runs it
 * counts the boots: what a machine remembers over a reset is not the matter here.
 */
#include "lib/guest.h"

static void triple_fault(void)
{
	struct {
		uint16_t limit;
		uint64_t base;
	} __attribute__((packed)) none = { 0, 0 };

	__asm__ volatile("lidt %0; ud2" : : "m"(none));
}

static unsigned boots; /* memory must be as new after each reset */

void guest_main(void)
{
	print("boot\n");
	CHECK(!boots++, "memory was not cleared by the reset");
	if (cmdline_is("how", "kbd")) {
		outb(0x64, 0xfe);
	} else if (cmdline_is("how", "triple")) {
		triple_fault();
	} else {
		outb(PORT_RESET, 0x02);
		outb(PORT_RESET, 0x06);
	}
	for (unsigned i = 0; i < 1000000; i++) /* it may take effect a little later */
		cpu_pause();
	fail("still alive after the reset");
}
