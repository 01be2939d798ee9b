/* PCI functions and their capabilities; see pci.h. Configuration accesses are in pci_access.c. */
#include "lib/mem.h"
#include "lib/pci.h"

int pci_find(uint16_t vendor, uint16_t device, unsigned index)
{
	for (unsigned dev = 0; dev < 32; dev++) {
		uint32_t id = pci_read32(dev, PCI_VENDOR);

		if (id == 0xffffffff || (vendor != 0xffff && (uint16_t)id != vendor) ||
		    (device != 0xffff && id >> 16 != device))
			continue;
		if (!index--)
			return (int)dev;
	}
	return -1;
}

unsigned pci_find_cap(unsigned dev, uint8_t id, unsigned from)
{
	unsigned at = pci_read8(dev, from ? from + 1 : PCI_CAPS) & 0xfc;

	/* A list that loops must not hang us. */
	for (unsigned i = 0; at && i < 48; i++) {
		if (pci_read8(dev, at) == id)
			return at;
		at = pci_read8(dev, at + 1) & 0xfc;
	}
	return 0;
}

uint64_t pci_bar(unsigned dev, unsigned bar)
{
	uint32_t lo = pci_read32(dev, PCI_BAR0 + 4 * bar);
	uint64_t at = lo & ~15u;

	if ((lo & 6) == 4)
		at |= (uint64_t)pci_read32(dev, PCI_BAR0 + 4 * bar + 4) << 32;
	if (at >> 32)
		mem_map_gib(at, true);
	return at;
}

uintptr_t pci_msix_entry(unsigned dev, unsigned entry)
{
	unsigned cap = pci_find_cap(dev, PCI_CAP_MSIX, 0);
	uint32_t table = pci_read32(dev, cap + 4);

	return pci_bar(dev, table & 7) + (table & ~7u) + 16 * entry;
}

unsigned pci_msix_enable(unsigned dev)
{
	unsigned cap = pci_find_cap(dev, PCI_CAP_MSIX, 0), n;

	if (!cap)
		return 0;
	pci_write16(dev, PCI_COMMAND,
		    pci_read16(dev, PCI_COMMAND) | PCI_CMD_MEM | PCI_CMD_MASTER | PCI_CMD_NO_INTX);
	n = (pci_read16(dev, cap + 2) & 0x7ff) + 1;
	pci_write16(dev, cap + 2, 0x8000);
	return n;
}
