/* Reports a panic through pvpanic; then `then=hang` (default), `then=poweroff` or `then=exit`. */
#include "lib/guest.h"

void guest_main(void)
{
	CHECK(inb(PORT_PVPANIC) & 1, "no pvpanic at 0x%x: it reads 0x%x", PORT_PVPANIC,
	      inb(PORT_PVPANIC));
	print("panicking\n");
	outb(PORT_PVPANIC, 1);
	if (cmdline_is("then", "poweroff"))
		poweroff();
	if (cmdline_is("then", "exit"))
		return;
	for (;;) {
		irq_disable();
		cpu_halt();
	}
}
