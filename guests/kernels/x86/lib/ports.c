/* Ways to end, by ports; in 32-bit guests too. See machine.h. */
#include "lib/guest.h"

void poweroff(void)
{
	outw(PORT_PM1_CTL, PM1_SLP_TYP_S5 | PM1_SLP_EN);
	/* Machines whose S5 is type 0. */
	outw(PORT_PM1_CTL, PM1_SLP_EN);
	stop();
}

void debug_exit_write(uint32_t value, unsigned width)
{
	if (width == 1)
		outb(PORT_DEBUG_EXIT, (uint8_t)value);
	else if (width == 2)
		outw(PORT_DEBUG_EXIT, (uint16_t)value);
	else
		outl(PORT_DEBUG_EXIT, value);
}
