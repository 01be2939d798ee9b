/* PCI configuration space by ECAM, and messages through the ITS; see pci.h. */
#include "lib/intr.h"
#include "lib/pci.h"

static uintptr_t ecam(unsigned dev, unsigned offset)
{
	return PCI_ECAM_BASE + (dev << 15) + offset;
}

bool pci_uses_ecam(void)
{
	return true;
}

uint32_t pci_read32(unsigned dev, unsigned offset)
{
	return mmio_read32(ecam(dev, offset));
}

uint16_t pci_read16(unsigned dev, unsigned offset)
{
	return mmio_read16(ecam(dev, offset));
}

uint8_t pci_read8(unsigned dev, unsigned offset)
{
	return mmio_read8(ecam(dev, offset));
}

void pci_write32(unsigned dev, unsigned offset, uint32_t v)
{
	mmio_write32(ecam(dev, offset), v);
}

void pci_write16(unsigned dev, unsigned offset, uint16_t v)
{
	mmio_write16(ecam(dev, offset), v);
}

void pci_write8(unsigned dev, unsigned offset, uint8_t v)
{
	mmio_write8(ecam(dev, offset), v);
}

void pci_msix_set(unsigned dev, unsigned entry, unsigned cpu, unsigned vector)
{
	static bool mapped[32][64];
	uintptr_t e = pci_msix_entry(dev, entry);

	CHECK(dev < 32 && entry < 64, "no MSI-X entry %u of device %u", entry, dev);
	if (!mapped[dev][entry])
		its_map(dev << 3, entry, vector);
	mapped[dev][entry] = true;
	mmio_write32(e + 0, ITS_DOORBELL);
	mmio_write32(e + 4, 0);
	mmio_write32(e + 8, entry);
	mmio_write32(e + 12, 0);
}
