/* Reports a panic through pvpanic; then `then=hang` (default), `then=poweroff` or `then=exit`. */
#include "lib/guest.h"

void guest_main(void)
{
	CHECK(pvpanic_read() & 1, "no pvpanic: it reads 0x%x", pvpanic_read());
	print("panicking\n");
	pvpanic_write(1);
	if (cmdline_is("then", "poweroff"))
		poweroff();
	if (cmdline_is("then", "exit"))
		return;
	for (;;) {
		irq_disable();
		cpu_halt();
	}
}
