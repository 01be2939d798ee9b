/* What differs between machines; see machine.h. */
#include "lib/acpi.h"
#include "lib/guest.h"

const uintptr_t machine_empty[] = { 0xc8000000, 0xd0000ffd, 0xdffffffc, 0xe00ffffc, 0xe0100000,
				    0xe7fffffc, 0xe8000ffc, 0xe8010000, 0xf0000000, 0xfebffffc,
				    0xfed00000, 0xfff00000, 0 };

unsigned machine_virtio_mmio_gsi(unsigned slot)
{
	/* As xvmm's DSDT and MP table say. */
	static const uint8_t gsi[] = { 5, 6, 7, 10, 11, 12, 13, 14, 15, 3, 16, 23, 22, 21, 20, 19 };

	return gsi[slot];
}

unsigned machine_intx_gsi(unsigned pci_dev)
{
	/* The line register is not trusted to be set by anyone: devices are wired 16 + n % 8. */
	return (unsigned)cmdline_u64("intx_gsi", 16 + pci_dev % 8);
}

unsigned machine_cpus(uint8_t *id, unsigned max)
{
	return acpi_cpus(id, max);
}

bool machine_memory(unsigned i, uint64_t *start, uint64_t *bytes, bool *ram)
{
	const struct pvh_start_info *info = boot_info();
	const struct pvh_memmap_entry *map = (const void *)(uintptr_t)info->memmap;

	CHECK(info->version >= 1 && map && info->memmap_entries, "start info has no memory map");
	if (i >= info->memmap_entries)
		return false;
	*start = map[i].addr;
	*bytes = map[i].size;
	*ram = map[i].type == PVH_TYPE_RAM;
	return true;
}

const void *machine_initrd(uint64_t *bytes)
{
	const struct pvh_start_info *info = boot_info();
	const struct pvh_module *mod = (const void *)(uintptr_t)info->modlist;

	CHECK(info->nr_modules == 1, "%u modules instead of one", info->nr_modules);
	*bytes = mod->size;
	return (const void *)(uintptr_t)mod->paddr;
}

static bool port_ends_machine(unsigned port)
{
	return (port >= 0xf1 && port <= 0xf4) || (port >= 0x502 && port <= 0x505) ||
	       (port >= 0x600 && port <= 0x60f) || (port >= 0xcf5 && port <= 0xcff) ||
	       (port >= 0x61 && port <= 0x64) || (port >= 0x8f && port <= 0x92) ||
	       (port >= 0xb0 && port <= 0xb3) || (port >= 0x3f5 && port <= 0x3ff) ||
	       (port >= 0x1d && port <= 0x21) || (port >= 0x9d && port <= 0xa1);
}

/* Accesses that straddle the registers of a device. */
static void straddle(void)
{
	inl(PORT_COM1 + 6);
	inl(PORT_PM1_EVENT + 2);
	inl(0x606);
	inl(0x60a);
	inw(0x71);
	inl(0x6f);
}

void machine_noise(uint64_t r)
{
	uint16_t port = (uint16_t)(r & 0x10000 ? r : r & 0xfff);

	if (port_ends_machine(port))
		return;
	switch (r >> 20 & 7) {
	case 0:
		outb(port, (uint8_t)(r >> 32));
		break;
	case 1:
		outw(port, (uint16_t)(r >> 32));
		break;
	case 2:
		outl(port, (uint32_t)(r >> 32));
		break;
	case 3:
		inb(port);
		break;
	case 4:
		inw(port);
		break;
	case 5:
		straddle();
		break;
	default:
		inl(port);
	}
}
