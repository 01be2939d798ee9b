/* Says hello, and what it was given to start with. */
#include "lib/guest.h"

void guest_main(void)
{
	char expect[128];

	/* A console that drops what nobody takes: says nothing until somebody has pressed a key. */
	if (cmdline_has("wait"))
		while (uart_getc() < 0)
			cpu_pause();
	print("hello\n");
	print("cmdline: %s\n", cmdline());
	/* `expect=WORD` must be the last word: the command line came through whole. */
	if (cmdline_get("expect", expect, sizeof(expect))) {
		size_t n = strlen(cmdline()), m = strlen(expect);

		CHECK(n >= m && !strcmp(cmdline() + n - m, expect), "command line was cut");
	}
	if (cmdline_has("hang")) {
		print("hanging\n");
		for (;;) {
			irq_disable();
			cpu_halt();
		}
	}
	if (cmdline_has("spin")) {
		print("spinning\n");
		for (;;)
			cpu_pause();
	}
	if (cmdline_has("module")) {
		uint64_t bytes;
		const char *initrd = machine_initrd(&bytes);

		print("module: %lu bytes: ", (unsigned long)bytes);
		print_bytes(initrd, bytes < 64 ? bytes : 64);
		print("\n");
	}
	if (cmdline_has("read")) { /* echo lines from COM1 until "end" */
		char line[80];
		size_t n = 0;
		int c;

		print("reading\n");
		for (;;) {
			c = uart_getc();
			if (c < 0) {
				cpu_pause();
				continue;
			}
			if (c != '\n' && c != '\r') {
				if (n < sizeof(line) - 1)
					line[n++] = (char)c;
				continue;
			}
			line[n] = '\0';
			n = 0;
			print("got: %s\n", line);
			if (!strcmp(line, "end"))
				break;
		}
	}
	if (cmdline_has("lines")) {
		uint64_t n = cmdline_u64("lines", 10);

		for (uint64_t i = 0; i < n; i++)
			print("line %lu of %lu\n", (unsigned long)i, (unsigned long)n);
	}
}
