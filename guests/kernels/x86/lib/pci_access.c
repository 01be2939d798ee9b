/* PCI configuration space by ECAM or by ports, and messages to local APICs; see pci.h. */
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

void pci_msix_set(unsigned dev, unsigned entry, unsigned apic_id, unsigned vector)
{
	uintptr_t e = pci_msix_entry(dev, entry);

	mmio_write32(e + 0, 0xfee00000u | apic_id << 12);
	mmio_write32(e + 4, 0);
	mmio_write32(e + 8, vector);
	mmio_write32(e + 12, 0);
}
