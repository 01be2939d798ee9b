/* From the assembler entry to the guest's own main. */
#include "lib/guest.h"

void guest_start(const void *fdt) __attribute__((noreturn));

void guest_start(const void *fdt)
{
	const char *text;
	uint32_t bytes;

	fdt_set(fdt);
	text = fdt_property("/chosen", 0, "bootargs", &bytes);
	CHECK(text && bytes && !text[bytes - 1], "the device tree has no command line");
	cmdline_set(text);
	guest_main();
	success();
}
