/* PCI configuration space; see pci.h. */
#include "lib/mem.h"
#include "lib/pci.h"

enum method { UNKNOWN, CONF1, ECAM };

static enum method method;

static uint32_t conf1_read32(unsigned dev, unsigned offset)
{
	outl(0xcf8, 0x80000000u | dev << 11 | (offset & 0xfc));
	return inl(0xcfc);
}

static uintptr_t ecam(unsigned dev, unsigned offset)
{
	return PCI_ECAM_BASE + (dev << 15) + offset;
}

bool pci_uses_ecam(void)
{
	uint32_t a;

	if (method == UNKNOWN) {
		a = conf1_read32(0, 0);
		if (cmdline_is("pci", "conf1"))
			method = CONF1;
		else if (cmdline_is("pci", "ecam"))
			method = ECAM;
		else
			method = mmio_read32(ecam(0, 0)) == a && a != 0xffffffff ? ECAM : CONF1;
	}
	return method == ECAM;
}

uint32_t pci_read32(unsigned dev, unsigned offset)
{
	return pci_uses_ecam() ? mmio_read32(ecam(dev, offset)) : conf1_read32(dev, offset);
}

uint16_t pci_read16(unsigned dev, unsigned offset)
{
	if (pci_uses_ecam())
		return mmio_read16(ecam(dev, offset));
	return (uint16_t)(conf1_read32(dev, offset) >> 8 * (offset & 2));
}

uint8_t pci_read8(unsigned dev, unsigned offset)
{
	if (pci_uses_ecam())
		return mmio_read8(ecam(dev, offset));
	return (uint8_t)(conf1_read32(dev, offset) >> 8 * (offset & 3));
}

void pci_write32(unsigned dev, unsigned offset, uint32_t v)
{
	if (pci_uses_ecam()) {
		mmio_write32(ecam(dev, offset), v);
		return;
	}
	outl(0xcf8, 0x80000000u | dev << 11 | (offset & 0xfc));
	outl(0xcfc, v);
}

void pci_write16(unsigned dev, unsigned offset, uint16_t v)
{
	if (pci_uses_ecam()) {
		mmio_write16(ecam(dev, offset), v);
		return;
	}
	outl(0xcf8, 0x80000000u | dev << 11 | (offset & 0xfc));
	outw(0xcfc + (offset & 2), v);
}

void pci_write8(unsigned dev, unsigned offset, uint8_t v)
{
	if (pci_uses_ecam()) {
		mmio_write8(ecam(dev, offset), v);
		return;
	}
	outl(0xcf8, 0x80000000u | dev << 11 | (offset & 0xfc));
	outb(0xcfc + (offset & 3), v);
}

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

void pci_msix_set(unsigned dev, unsigned entry, unsigned apic_id, unsigned vector)
{
	uintptr_t e = pci_msix_entry(dev, entry);

	mmio_write32(e + 0, 0xfee00000u | apic_id << 12);
	mmio_write32(e + 4, 0);
	mmio_write32(e + 8, vector);
	mmio_write32(e + 12, 0);
}
