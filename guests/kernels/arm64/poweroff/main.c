/* Powers off through PSCI. */
#include "lib/guest.h"

void guest_main(void)
{
	CHECK(psci(PSCI_VERSION, 0, 0, 0) >= 0x10000, "PSCI is older than 1.0");
	/* Not a power-off: a function that does not exist. */
	CHECK(psci(0x84001234, 0, 0, 0) == -1, "an unknown function is known");
	print("SUCCESS\n");
	poweroff();
}
