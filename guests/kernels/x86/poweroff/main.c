/* Powers off through ACPI's PM1a control register. */
#include "lib/guest.h"

void guest_main(void)
{
	/* Neither of these is a power-off: a sleep type without SLP_EN, and a read. */
	outw(PORT_PM1_CTL, PM1_SLP_TYP_S5);
	CHECK(!(inw(PORT_PM1_CTL) & PM1_SLP_EN), "SLP_EN reads as one");
	print("SUCCESS\n");
	poweroff();
}
