/* Ways for a guest to end. */
#include "lib/guest.h"

void stop(void)
{
	for (;;) {
		irq_disable();
		cpu_halt();
	}
}

void debug_exit(uint32_t value)
{
	debug_exit_write(value, 1);
	/* No such thing here: better to be found silent than to run on. */
	stop();
}

void success(void)
{
	print("SUCCESS\n");
	if (cmdline_is("exit", "poweroff"))
		poweroff();
	debug_exit(EXIT_SUCCESS);
}
