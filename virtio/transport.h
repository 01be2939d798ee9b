/*
 * The two virtio transports: PCI (VIRTIO 1.2, section 4.1, modern only) and MMIO (4.2, version 2).
 * Both only translate registers; what a register means to the device is decided once, in virtio.c.
 */
#ifndef VIRTIO_TRANSPORT_H
#define VIRTIO_TRANSPORT_H

#include "base/pci.h"
#include "virtio/virtio.h"

struct virtio_pci; /* opaque; one per device */

/* Makes `dev` a PCI function on `host`, with MSI-X (one vector a queue and one for configuration),
 * INTx as the fallback, and doorbells by ioeventfd, one address a queue. Errors: -ENOMEM, -ENOSPC,
 * errno of eventfd. Before vCPUs run. */
int virtio_pci_create(struct virtio_pci **out, struct virtio_dev *dev, struct pci_host *host);
/* After vCPUs have ended and the device's loop has stopped. */
void virtio_pci_destroy(struct virtio_pci *vp);

struct virtio_mmio;

#define VIRTIO_MMIO_BYTES 0x200

/* Makes `dev` answer at [base, base + VIRTIO_MMIO_BYTES) with edge-triggered interrupt `gsi`. */
int virtio_mmio_create(struct virtio_mmio **out, struct virtio_dev *dev, gpa_t base, unsigned gsi);
void virtio_mmio_destroy(struct virtio_mmio *vm);

#endif
