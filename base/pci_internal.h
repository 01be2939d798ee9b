/*
 * Between pci.c and pci_msix.c; nobody else includes it.
 */
#ifndef BASE_PCI_INTERNAL_H
#define BASE_PCI_INTERNAL_H

#include "base/pci.h"

/* The guest has written the message control word (its new value is passed); host->lock is held. */
void pci_msix_control_write(struct pci_fn *fn, uint16_t control);
/* Releases routes and eventfds. */
void pci_msix_fini(struct pci_fn *fn);

#endif
