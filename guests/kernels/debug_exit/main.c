/* Ends with the status that the command line names: xvmm's exit status is value * 2 + 1. */
#include "lib/guest.h"

void guest_main(void)
{
	uint64_t value = cmdline_u64("value", EXIT_SUCCESS);

	print("debug exit %lu\n", (unsigned long)value);
	debug_exit_write((uint32_t)value, (unsigned)cmdline_u64("width", 1));
	fail("still alive after the debug exit");
}
