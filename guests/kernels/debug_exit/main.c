/* Ends with the status that the command line names: xvmm's exit status is value * 2 + 1. */
#include "lib/guest.h"

void guest_main(void)
{
	uint64_t value = cmdline_u64("value", EXIT_SUCCESS);

	print("debug exit %lu\n", (unsigned long)value);
	switch (cmdline_u64("width", 1)) {
	case 2:
		outw(PORT_DEBUG_EXIT, (uint16_t)value);
		break;
	case 4:
		outl(PORT_DEBUG_EXIT, (uint32_t)value);
		break;
	default:
		debug_exit((uint32_t)value);
	}
	fail("still alive after the debug exit");
}
