/*
 * Network card Intel 82540EM ("e1000"), for guests without virtio: a PCI function with registers in
 * memory, two descriptor rings and one wired interrupt.
 *
 * Created stopped, before vCPUs run; belongs to the loop it was given; destroyed after the vCPUs
 * have stopped and e1000_stop() has run. `name` and `plat` outlive it. Its port is what carriers
 * see (base/carrier.h). What the driver can take on receive: no offloads at all (rx_features 0).
 */
#ifndef NIC_E1000_H
#define NIC_E1000_H

#include "base/carrier.h"
#include "base/loop.h"
#include "base/pci.h"

struct e1000;

/* Any thread may read them. */
struct e1000_stats {
	_Atomic uint64_t interrupts; /* times that the line was raised */
	_Atomic uint64_t doorbells;  /* writes to TDT and RDT */
	_Atomic uint64_t guest_faults;
};

/* Errors: -ENOMEM, errno of pthread_mutex_init. */
int e1000_create(struct e1000 **out, const char *name, const uint8_t mac[ETH_ADDR_BYTES],
		 struct loop *loop, struct platform *plat);
/* Lets the guest see it. Errors: of pci_host_add(). */
int e1000_plug(struct e1000 *e, struct pci_host *pci);
struct port *e1000_port(struct e1000 *e);
/* The launcher plugs the NIC into what carries its frames; before the device is live. */
void e1000_set_carrier(struct e1000 *e, struct carrier *carrier);
struct loop *e1000_loop(struct e1000 *e);
const struct e1000_stats *e1000_stats(const struct e1000 *e);
/* The device stops serving and its carrier is stopped. On its loop. */
void e1000_stop(struct e1000 *e);
void e1000_destroy(struct e1000 *e);

#endif
