/* Ways for a guest to end. */
#include "lib/guest.h"

static void stop(void) __attribute__((noreturn));
static void stop(void)
{
	for (;;) {
		irq_disable();
		cpu_halt();
	}
}

void debug_exit(uint32_t value)
{
	outb(PORT_DEBUG_EXIT, (uint8_t)value);
	/* No such port here: better to be found silent than to run on. */
	stop();
}

void poweroff(void)
{
	outw(PORT_PM1_CTL, PM1_SLP_TYP_S5 | PM1_SLP_EN);
	/* Machines whose S5 is type 0. */
	outw(PORT_PM1_CTL, PM1_SLP_EN);
	stop();
}

void success(void)
{
	print("SUCCESS\n");
	if (cmdline_is("exit", "poweroff"))
		poweroff();
	debug_exit(EXIT_SUCCESS);
}
