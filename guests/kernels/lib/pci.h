/*
 * PCI configuration space of bus 0, by ECAM; on x86, where that does not answer, by ports
 * 0xcf8/0xcfc (`pci=ecam` or `pci=conf1` on the command line decide otherwise).
 */
#ifndef LIB_PCI_H
#define LIB_PCI_H

#include "lib/guest.h"

#define PCI_VENDOR	0x00
#define PCI_COMMAND	0x04
#define PCI_STATUS	0x06
#define PCI_BAR0	0x10
#define PCI_CAPS	0x34
#define PCI_INT_LINE	0x3c
#define PCI_CMD_IO	0x1
#define PCI_CMD_MEM	0x2
#define PCI_CMD_MASTER	0x4
#define PCI_CMD_NO_INTX 0x400
#define PCI_CAP_VENDOR	0x09
#define PCI_CAP_MSIX	0x11

uint32_t pci_read32(unsigned dev, unsigned offset);
uint16_t pci_read16(unsigned dev, unsigned offset);
uint8_t pci_read8(unsigned dev, unsigned offset);
void pci_write32(unsigned dev, unsigned offset, uint32_t v);
void pci_write16(unsigned dev, unsigned offset, uint16_t v);
void pci_write8(unsigned dev, unsigned offset, uint8_t v);
bool pci_uses_ecam(void);

/* The `index`th device with these ids (0xffff: any); -1 if there is none. */
int pci_find(uint16_t vendor, uint16_t device, unsigned index);
/* Offset of the next capability `id` after `from` (0: the first); 0 if there is none. */
unsigned pci_find_cap(unsigned dev, uint8_t id, unsigned from);
/* Where a memory BAR lies; maps it if it is above 4 GiB. */
uint64_t pci_bar(unsigned dev, unsigned bar);

/* MSI-X: turns it on with every vector masked, INTx off; returns the number of vectors, 0: none. */
unsigned pci_msix_enable(unsigned dev);
void pci_msix_set(unsigned dev, unsigned entry, unsigned cpu, unsigned vector);
/* Address of an entry in the table. */
uintptr_t pci_msix_entry(unsigned dev, unsigned entry);

#endif
