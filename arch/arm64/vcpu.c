/*
 * KVM side of an arm64 machine: GICv3 with its ITS, and the state in which each vCPU starts.
 *
 * The first vCPU enters the kernel; the others are off until the guest turns them on by PSCI, which
 * KVM answers. The GIC wants to know all vCPUs, and interrupt descriptors want the GIC: so it is
 * made when the vCPUs are there, before any device.
 */
#include <errno.h>
#include <linux/kvm.h>
#include <stddef.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "arch/arch.h"
#include "arch/arm64/layout.h"

#define CORE_REG(name) \
	(KVM_REG_ARM64 | KVM_REG_SIZE_U64 | KVM_REG_ARM_CORE | KVM_REG_ARM_CORE_REG(name))

/* What a VM can address without being asked. */
#define USUAL_ADDRESS_BITS 40

int arch_vm_type(int kvm_fd)
{
	int bits = ioctl(kvm_fd, KVM_CHECK_EXTENSION, KVM_CAP_ARM_VM_IPA_SIZE);

	/* Some processors address less than KVM assumes; no guest of ours needs more. */
	return bits > 0 && bits < USUAL_ADDRESS_BITS ? (int)KVM_VM_TYPE_ARM_IPA_SIZE(bits) : 0;
}

int arch_vm_init(int kvm_fd, int vm_fd)
{
	struct kvm_enable_cap nisv = { .cap = KVM_CAP_ARM_NISV_TO_USER };

	/* Without it, a guest that uses an odd instruction on a device makes KVM_RUN fail; see
	 * arch_vcpu_exit(). Linux has it from 5.5 on. */
	return ioctl(vm_fd, KVM_ENABLE_CAP, &nisv) ? -errno : 0;
}

static int device_create(int vm_fd, uint32_t type)
{
	struct kvm_create_device dev = { .type = type };

	return ioctl(vm_fd, KVM_CREATE_DEVICE, &dev) ? -errno : (int)dev.fd;
}

static int device_set(int fd, uint32_t group, uint64_t attr, const void *value)
{
	struct kvm_device_attr a = { .group = group, .attr = attr, .addr = (uintptr_t)value };

	return ioctl(fd, KVM_SET_DEVICE_ATTR, &a) ? -errno : 0;
}

static int create_gic(int vm_fd)
{
	const uint64_t dist = ARM64_GICD_BASE, redist = ARM64_GICR_BASE;
	const uint32_t nr_irqs = ARM64_INTID_SPI + ARM64_NR_SPI;
	int rc, fd = device_create(vm_fd, KVM_DEV_TYPE_ARM_VGIC_V3);

	if (fd < 0)
		return fd;
	rc = device_set(fd, KVM_DEV_ARM_VGIC_GRP_NR_IRQS, 0, &nr_irqs);
	if (!rc)
		rc = device_set(fd, KVM_DEV_ARM_VGIC_GRP_ADDR, KVM_VGIC_V3_ADDR_TYPE_DIST, &dist);
	if (!rc)
		rc = device_set(fd, KVM_DEV_ARM_VGIC_GRP_ADDR, KVM_VGIC_V3_ADDR_TYPE_REDIST,
				&redist);
	if (!rc)
		rc = device_set(fd, KVM_DEV_ARM_VGIC_GRP_CTRL, KVM_DEV_ARM_VGIC_CTRL_INIT, NULL);
	close(fd); /* the device lives as long as the VM */
	return rc;
}

static int create_its(int vm_fd)
{
	const uint64_t base = ARM64_ITS_BASE;
	int rc, fd = device_create(vm_fd, KVM_DEV_TYPE_ARM_VGIC_ITS);

	if (fd < 0)
		return fd;
	rc = device_set(fd, KVM_DEV_ARM_VGIC_GRP_ADDR, KVM_VGIC_ITS_ADDR_TYPE, &base);
	if (!rc)
		rc = device_set(fd, KVM_DEV_ARM_VGIC_GRP_CTRL, KVM_DEV_ARM_VGIC_CTRL_INIT, NULL);
	close(fd);
	return rc;
}

int arch_vm_ready(int vm_fd, unsigned cpus)
{
	int rc = create_gic(vm_fd);

	return rc ? rc : create_its(vm_fd);
}

unsigned arch_msi_gsi_base(void)
{
	return ARM64_NR_SPI;
}

uint32_t arch_irq_line(unsigned gsi)
{
	return KVM_ARM_IRQ_TYPE_SPI << KVM_ARM_IRQ_TYPE_SHIFT | (ARM64_INTID_SPI + gsi);
}

/* The same as KVM's default, which the first KVM_SET_GSI_ROUTING for a message replaces. */
unsigned arch_irq_routes(struct kvm_irq_routing_entry *e, unsigned max)
{
	unsigned n = 0;

	for (; n < ARM64_NR_SPI && n < max; n++) {
		e[n] = (struct kvm_irq_routing_entry){
			.gsi = n,
			.type = KVM_IRQ_ROUTING_IRQCHIP,
			.u.irqchip = { .irqchip = 0, .pin = n },
		};
	}
	return n;
}

static int set_reg(int fd, uint64_t id, uint64_t value)
{
	struct kvm_one_reg reg = { .id = id, .addr = (uintptr_t)&value };

	return ioctl(fd, KVM_SET_ONE_REG, &reg) ? -errno : 0;
}

static uint64_t get_reg(int fd, uint64_t id)
{
	uint64_t value = 0;
	struct kvm_one_reg reg = { .id = id, .addr = (uintptr_t)&value };

	return ioctl(fd, KVM_GET_ONE_REG, &reg) ? 0 : value;
}

static void feature(struct kvm_vcpu_init *init, unsigned bit)
{
	init->features[bit / 32] |= 1u << bit % 32;
}

int arch_vcpu_init(int kvm_fd, int vm_fd, int vcpu_fd, unsigned index, unsigned cpus,
		   const struct arch_entry *entry)
{
	struct kvm_vcpu_init init = { 0 };
	int rc;

	if (ioctl(vm_fd, KVM_ARM_PREFERRED_TARGET, &init))
		return -errno;
	feature(&init, KVM_ARM_VCPU_PSCI_0_2);
	if (index)
		feature(&init, KVM_ARM_VCPU_POWER_OFF);
	/* Pointer authentication: both kinds or none. */
	if (ioctl(kvm_fd, KVM_CHECK_EXTENSION, KVM_CAP_ARM_PTRAUTH_ADDRESS) > 0 &&
	    ioctl(kvm_fd, KVM_CHECK_EXTENSION, KVM_CAP_ARM_PTRAUTH_GENERIC) > 0) {
		feature(&init, KVM_ARM_VCPU_PTRAUTH_ADDRESS);
		feature(&init, KVM_ARM_VCPU_PTRAUTH_GENERIC);
	}
	if (ioctl(vcpu_fd, KVM_ARM_VCPU_INIT, &init))
		return -errno;
	if (index)
		return 0;
	/* At reset KVM has it at EL1 with the MMU and interrupts off, as the boot protocol says. */
	rc = set_reg(vcpu_fd, CORE_REG(regs.pc), entry->pc);
	if (!rc)
		rc = set_reg(vcpu_fd, CORE_REG(regs.regs[0]), entry->arg);
	return rc;
}

void arch_vcpu_describe(int vcpu_fd, char *out, size_t bytes)
{
	snprintf(out, bytes, "pc %#llx lr %#llx sp_el1 %#llx pstate %#llx x0 %#llx",
		 (unsigned long long)get_reg(vcpu_fd, CORE_REG(regs.pc)),
		 (unsigned long long)get_reg(vcpu_fd, CORE_REG(regs.regs[30])),
		 (unsigned long long)get_reg(vcpu_fd, CORE_REG(sp_el1)),
		 (unsigned long long)get_reg(vcpu_fd, CORE_REG(regs.pstate)),
		 (unsigned long long)get_reg(vcpu_fd, CORE_REG(regs.regs[0])));
}

int arch_vcpu_exit(struct platform *plat, int vcpu_fd, struct kvm_run *run)
{
	struct kvm_vcpu_events events = { 0 };

	if (run->exit_reason != KVM_EXIT_ARM_NISV)
		return 0;
	/* A load or store pair, or the like, outside of RAM: the processor does not say what it
	 * was. The guest gets what a bus would give it that nobody answers on. */
	events.exception.ext_dabt_pending = 1;
	return ioctl(vcpu_fd, KVM_SET_VCPU_EVENTS, &events) ? -errno : 1;
}
