/* What differs between machines; see machine.h. */
#include "lib/guest.h"

const uintptr_t machine_empty[] = { 0x00000ff8, 0x00fffffc, 0x01000008, 0x01011000, 0x01050000,
				    0x07fffffc, 0x0a000000, 0x0c010000, 0x0ffffffc, 0x2fffffe8,
				    0x300ffff8, 0x30100000, 0x3ffffffc, 0 };

int64_t psci(uint64_t function, uint64_t a, uint64_t b, uint64_t c)
{
	register uint64_t x0 __asm__("x0") = function;
	register uint64_t x1 __asm__("x1") = a;
	register uint64_t x2 __asm__("x2") = b;
	register uint64_t x3 __asm__("x3") = c;

	__asm__ volatile("hvc #0" : "+r"(x0), "+r"(x1), "+r"(x2), "+r"(x3) : : "memory");
	return (int64_t)x0;
}

void poweroff(void)
{
	psci(PSCI_SYSTEM_OFF, 0, 0, 0);
	stop();
}

void debug_exit_write(uint32_t value, unsigned width)
{
	if (width == 1)
		mmio_write8(DEBUG_EXIT_BASE, (uint8_t)value);
	else if (width == 2)
		mmio_write16(DEBUG_EXIT_BASE, (uint16_t)value);
	else
		mmio_write32(DEBUG_EXIT_BASE, value);
}

unsigned machine_virtio_mmio_gsi(unsigned slot)
{
	return 16 + slot;
}

unsigned machine_intx_gsi(unsigned pci_dev)
{
	return 8 + pci_dev % 8;
}

unsigned machine_cpus(uint8_t *id, unsigned max)
{
	unsigned n = 0;
	uint32_t bytes;
	const void *reg;

	while ((reg = fdt_property("/cpus/cpu", n, "reg", &bytes))) {
		uint64_t mpidr = fdt_number(reg, bytes);

		CHECK(mpidr < 0x1000, "CPU %u has MPIDR 0x%lx", n, (unsigned long)mpidr);
		if (n < max)
			id[n] = (uint8_t)(mpidr >> 4 | (mpidr & 15));
		n++;
	}
	return n;
}

bool machine_memory(unsigned i, uint64_t *start, uint64_t *bytes, bool *ram)
{
	uint32_t n;
	const uint8_t *reg = fdt_property("/memory", i, "reg", &n);

	if (!reg)
		return false;
	CHECK(n == 16, "memory node with %u bytes", n);
	*start = fdt_number(reg, 8);
	*bytes = fdt_number(reg + 8, 8);
	*ram = true;
	return true;
}

const void *machine_initrd(uint64_t *bytes)
{
	uint32_t n;
	const void *start = fdt_property("/chosen", 0, "linux,initrd-start", &n), *end;
	uintptr_t at;

	CHECK(start, "no initrd");
	at = fdt_number(start, n);
	end = fdt_property("/chosen", 0, "linux,initrd-end", &n);
	CHECK(end, "initrd without end");
	*bytes = fdt_number(end, n) - at;
	return (const void *)at;
}

void machine_noise(uint64_t r)
{
	static const uintptr_t base[] = { UART_BASE, RTC_BASE, GPIO_BASE };
	uintptr_t at = base[r % 3] + (r >> 8 & 0xfff);

	if (base[r % 3] == UART_BASE) /* reads only: what is written there is seen */
		at = UART_BASE + (r >> 8 & 7);
	switch (base[r % 3] == UART_BASE ? 2 : r >> 20 & 3) {
	case 0:
		mmio_write32(at & ~3ull, (uint32_t)(r >> 32));
		break;
	case 1:
		mmio_write8(at, (uint8_t)(r >> 32));
		break;
	case 2:
		mmio_read8(at);
		break;
	default:
		mmio_read32(at & ~3ull);
	}
}
