/*
 * The virtio devices of one machine, as vm.ini asks for them, on the transport that it asks for,
 * and its network cards of other models, on PCI. The thread that has the machine (machine.h).
 */
#ifndef VMM_DEVICES_H
#define VMM_DEVICES_H

#include "vmm/machine.h"
#include "vmm/nic_info.h"

struct devices;

struct devices_params {
	const struct lab_config *cfg;
	unsigned guest;
	const struct nic_backend *nics;
	struct loop *loop;
	struct chardev *virtio_console;
	struct platform *plat;
	struct pci_host *pci;
	struct port_memory memory; /* copied for each NIC */
};

/* How many virtio devices a guest has: NICs of other models are none. */
unsigned devices_count(const struct lab_config *cfg, unsigned guest);

/* On error one line in why[] and -errno; nothing is left behind. */
int devices_create(struct devices **out, const struct devices_params *params, char *why,
		   size_t why_bytes);
/* Starts the threads of devices that have their own (disks: a file can block). */
int devices_start(struct devices *d);
/* Every device stops serving, on its own loop; then the threads that devices_start() made end. */
void devices_stop(struct devices *d);
void devices_destroy(struct devices *d);

/* A NIC of the lab, by its index in cfg. -ENOENT: it is not this guest's. */
int devices_nic_info(struct devices *d, unsigned nic, struct nic_info *out);
/* A vCPU has written where it may only read: does the switch of a NIC take that back? vCPU threads;
 * may wait for loops and the remapper. */
bool devices_write_refused(struct devices *d);
/* netswitch_command() for it. -ENOTSUP: it is on no switch. */
int devices_nic_swap(struct devices *d, unsigned nic, bool pin, enum binding b);

#endif
