/*
 * One virtual machine from power-on to power-off: memory, vCPUs, buses, devices. A guest that
 * reboots gets a new machine; what outlives a reboot (console, TAPs, I/O thread) belongs to the
 * guest.
 *
 *   machine_create ─▶ machine_start ─▶ … event … ─▶ machine_stop ─▶ machine_destroy
 *
 * One thread at a time, but for the event callback: the main thread, then the one that takes it
 * down.
 */
#ifndef VMM_MACHINE_H
#define VMM_MACHINE_H

#include "arch/arch.h"
#include "base/carrier.h"
#include "base/chardev.h"
#include "base/loop.h"
#include "vmm/config.h"
#include "vmm/kvm.h"
#include "vmm/nic_info.h"

struct machine;
struct netswitch;

/* What carries the frames of one NIC: the switch of its net, and a TAP of its own if it has one. */
struct nic_backend {
	int tap_fd; /* -1: none */
	struct netswitch *sw;
};

struct machine_params {
	const struct kvm_host *kvm;
	const struct lab_config *cfg;
	unsigned guest;			/* index into cfg->guest */
	const struct nic_backend *nics; /* one for each NIC of the lab, by its index */
	struct loop *loop;		/* the guest's I/O thread; not running now */
	struct chardev *console;	/* serial port */
	struct chardev *virtio_console; /* NULL: no such device */
	/* How the machine wants to end. Any thread; returns at once; may be called more than once.
	 */
	void (*event)(void *arg, enum machine_event ev, int status);
	void *arg;
};

/* Builds it, kernel loaded, vCPUs ready. On error one line in why[] (with the file at fault) and
 * -errno; nothing is left behind. */
int machine_create(struct machine **out, const struct machine_params *params, char *why,
		   size_t why_bytes);
/* Starts the disks' threads, the guest's loop and the vCPUs. */
int machine_start(struct machine *m);
/* Ends vCPUs first, then the loops. Idempotent. */
void machine_stop(struct machine *m);
void machine_destroy(struct machine *m); /* stopped */

void machine_power_button(struct machine *m);
/* A NIC of this guest, by its index in cfg; see devices.h. */
int machine_nic_info(struct machine *m, unsigned nic, struct nic_info *out);
int machine_nic_swap(struct machine *m, unsigned nic, bool pin, enum binding b);
/* Its memory, for who rebinds parts of it; receive_readonly is a NIC's matter. The machine outlives
 * it. May be called, and used, whether the machine runs, does not yet or no longer. */
void machine_memory(struct machine *m, struct port_memory *out);
/* How the kernel was entered, for the log: "Linux 64-bit", "PVH", "Multiboot". */
const char *machine_protocol(const struct machine *m);

#endif
