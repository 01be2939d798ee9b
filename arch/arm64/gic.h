/*
 * Which interrupt controller KVM makes for a VM on this host. What arch_irqchip() answers.
 */
#ifndef ARCH_ARM64_GIC_H
#define ARCH_ARM64_GIC_H

enum arm64_gic {
	ARM64_GIC_V3_ITS, /* messages (MSI) by the ITS */
	ARM64_GIC_V3,	  /* no messages: devices interrupt by wire */
	ARM64_GIC_V2,	  /* as that, and no more than ARM64_GICV2_MAX_CPUS */
};

/* By asking an empty VM. enum arm64_gic, or -ENODEV: none that we know. */
int arm64_gic_of(int vm_fd);

#endif
