/*
 * What an architecture provides: the only header through which arch/ is called. Each function is
 * implemented once in arch/x86 and once in arch/arm64.
 *
 * Functions that take a vCPU's descriptor run on the thread that creates the machine, before vCPUs
 * run, unless said otherwise.
 */
#ifndef ARCH_ARCH_H
#define ARCH_ARCH_H

#include <stdio.h>

#include "arch/probe.h"
#include "base/gmem.h"
#include "base/loop.h"
#include "base/pci.h"
#include "base/platform.h"

struct kvm_run;
struct kvm_irq_routing_entry;

#define ARCH_MAX_MODULES     8
#define ARCH_MAX_VIRTIO_MMIO 16

/* What a guest is started with; paths have been checked to exist. */
struct arch_boot {
	const char *kernel;
	const char *initrd; /* NULL: none */
	const char *cmdline;
	struct {
		const char *path, *args;
	} module[ARCH_MAX_MODULES];
	unsigned nr_modules;
	unsigned cpus;
	unsigned nr_virtio_mmio; /* devices in the virtio-mmio slots 0 … nr - 1 */
	int irqchip;		 /* arch_irqchip()'s */
};

/* How the first vCPU enters the kernel; filled in by arch_load_kernel(). */
enum arch_entry_mode {
	ARCH_ENTRY_X86_LONG64, /* paging on, identity mapped: the 64-bit boot protocol */
	ARCH_ENTRY_X86_PROT32, /* paging off, flat 32-bit segments: PVH, Multiboot */
	ARCH_ENTRY_ARM64_EL1,
};
struct arch_entry {
	enum arch_entry_mode mode;
	gpa_t pc;
	gpa_t arg;	/* x86 long: rsi; prot32: ebx; arm64: x0 */
	uint64_t magic; /* prot32: eax */
	gpa_t page_tables, gdt;
	const char *protocol; /* "Linux 64-bit", "PVH", "Multiboot": for log lines */
};

/* Guest memory as regions around the architecture's hole. Returns the number of regions, or
 * -ERANGE. */
int arch_mem_layout(uint64_t memory_bytes, struct gmem_layout *out);

void arch_pci_layout(struct pci_layout *out);
void arch_virtio_mmio_slot(unsigned slot, gpa_t *base, unsigned *gsi);

/*
 * Puts kernel, initrd or modules, command line and tables into fresh (zeroed) guest memory. A file
 * that cannot be booted is refused: one line in why[] says what is wrong with it and what would be
 * right. Errors: -ENOEXEC (no kernel that we know, or truncated), -E2BIG (too big for the guest's
 * memory), -EINVAL (command line too long), errno of open and read.
 */
int arch_load_kernel(const struct gmem *mem, const struct arch_boot *boot, struct arch_entry *entry,
		     char *why, size_t why_bytes);

/*
 * Routes of the wired interrupt lines, for KVM_SET_GSI_ROUTING. Returns how many of `max` entries
 * it filled. GSIs from arch_msi_gsi_base() on are free for message-signalled interrupts.
 */
unsigned arch_irq_routes(struct kvm_irq_routing_entry *entry, unsigned max);
unsigned arch_msi_gsi_base(void);
/* What KVM_IRQ_LINE calls the wired line `gsi`. */
uint32_t arch_irq_line(unsigned gsi);

/* What a VM's interrupt controller is on this host, where there is a choice: a number of the
 * architecture's own, or -errno (-ENODEV: there is none). Once a process. */
int arch_irqchip(int kvm_fd);

/* KVM side, in this order: the argument of KVM_CREATE_VM; then what must be there before the first
 * vCPU; arch_vcpu_init() for each vCPU; and what needs all of them (arm64's interrupt controller).
 * Interrupt descriptors and routes come after that. */
int arch_vm_type(int kvm_fd);
int arch_vm_init(int kvm_fd, int vm_fd);
int arch_vm_ready(int vm_fd, int irqchip);
int arch_vcpu_init(int kvm_fd, int vm_fd, int vcpu_fd, unsigned index, unsigned cpus,
		   const struct arch_entry *entry);
/* One line of registers for a vCPU that stopped in a way it should not have. vCPU's thread. */
void arch_vcpu_describe(int vcpu_fd, char *out, size_t bytes);

/* How the machine ends, as the guest asked for it. */
enum machine_event {
	MACHINE_POWEROFF,
	MACHINE_RESET,
	MACHINE_CRASH_TRIPLE_FAULT,
	MACHINE_CRASH_KVM,   /* KVM could not go on with what the guest did */
	MACHINE_CRASH_PANIC, /* pvpanic: panicked; the guest may go on to kdump or reboot */
	MACHINE_DEBUG_EXIT,  /* status */
	MACHINE_HOST_FAULT,  /* KVM could not go on; status: errno */
};

/* The architecture's own devices: serial port, RTC, power control, pvpanic, debug exit. */
struct arch_devices;
struct arch_devices_params {
	struct platform *plat;
	struct loop *loop;
	struct chardev *console;
	struct pci_host *pci;
	unsigned cpus;
	/* Any thread; returns at once. status: see machine_event. */
	void (*event)(void *arg, enum machine_event ev, int status);
	void *arg;
};
int arch_devices_create(struct arch_devices **out, const struct arch_devices_params *params);
void arch_devices_destroy(struct arch_devices *d);
/* Presses the power button (ACPI fixed button, or GPIO). Any thread. */
void arch_devices_power_button(struct arch_devices *d);

/* 1: exit reason handled; 0: not known here; -errno. vCPU's thread. */
int arch_vcpu_exit(struct platform *plat, int vcpu_fd, struct kvm_run *run);

#endif
