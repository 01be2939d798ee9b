/*
 * Says "boot" and resets the machine through PSCI. Whoever runs it counts the boots: what a machine
 * remembers over a reset is not the matter here.
 */
#include "lib/guest.h"

static unsigned boots; /* memory must be as new after each reset */

void guest_main(void)
{
	print("boot\n");
	CHECK(!boots++, "memory was not cleared by the reset");
	psci(PSCI_SYSTEM_RESET, 0, 0, 0);
	fail("still alive after the reset");
}
