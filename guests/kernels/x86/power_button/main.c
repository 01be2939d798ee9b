/* Waits for the ACPI power button (SCI, PM1 status bit 8), then powers off. */
#include "lib/acpi.h"
#include "lib/intr.h"

#define PM1_PWRBTN (1 << 8)

static volatile unsigned pressed, spurious;

static void sci(void *arg)
{
	if (inw(PORT_PM1_EVENT) & PM1_PWRBTN) {
		outw(PORT_PM1_EVENT, PM1_PWRBTN); /* write one to clear */
		pressed++;
	} else if (++spurious > 100) {
		fail("SCI without a reason");
	}
}

void guest_main(void)
{
	unsigned gsi = acpi_isa_gsi(acpi_sci());

	intr_init();
	outw(PORT_PM1_EVENT, PM1_PWRBTN);
	outw(PORT_PM1_EVENT + 2, PM1_PWRBTN);
	CHECK(inw(PORT_PM1_EVENT + 2) & PM1_PWRBTN, "PM1_EN does not keep the power button's bit");
	ioapic_route(gsi, intr_alloc(sci, NULL), true, lapic_id());
	print("waiting for the power button, SCI %u\n", gsi);
	while (!pressed)
		irq_wait();
	CHECK(!(inw(PORT_PM1_EVENT) & PM1_PWRBTN), "the power button's status does not clear");
	print("power button\nSUCCESS\n");
	poweroff();
}
