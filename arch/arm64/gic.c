/*
 * KVM side of an arm64 machine's interrupts: GICv3 with its ITS; where the host has none, GICv3
 * alone or GICv2.
 *
 * The GIC wants to know all vCPUs, and interrupt descriptors want the GIC: so it is made when the
 * vCPUs are there, before any device. Without an ITS there are no messages: the device tree names
 * no MSI controller, and drivers take the wires (INTx) that are there in any case.
 */
#include "arch/arm64/gic.h"

#include <errno.h>
#include <linux/kvm.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "arch/arch.h"
#include "arch/arm64/layout.h"

static bool has_device(int vm_fd, uint32_t type)
{
	struct kvm_create_device dev = { .type = type, .flags = KVM_CREATE_DEVICE_TEST };

	return !ioctl(vm_fd, KVM_CREATE_DEVICE, &dev);
}

int arm64_gic_of(int vm_fd)
{
	if (has_device(vm_fd, KVM_DEV_TYPE_ARM_VGIC_V3))
		return has_device(vm_fd, KVM_DEV_TYPE_ARM_VGIC_ITS) ? ARM64_GIC_V3_ITS
								    : ARM64_GIC_V3;
	return has_device(vm_fd, KVM_DEV_TYPE_ARM_VGIC_V2) ? ARM64_GIC_V2 : -ENODEV;
}

int arch_irqchip(int kvm_fd)
{
	int gic, vm_fd = ioctl(kvm_fd, KVM_CREATE_VM, (unsigned long)arch_vm_type(kvm_fd));

	if (vm_fd < 0)
		return -errno;
	gic = arm64_gic_of(vm_fd);
	close(vm_fd);
	return gic;
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

static int create_v3(int vm_fd)
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

static int create_v2(int vm_fd)
{
	const uint64_t dist = ARM64_GICD_BASE, cpu = ARM64_GICC_BASE;
	const uint32_t nr_irqs = ARM64_INTID_SPI + ARM64_NR_SPI;
	int rc, fd = device_create(vm_fd, KVM_DEV_TYPE_ARM_VGIC_V2);

	if (fd < 0)
		return fd;
	rc = device_set(fd, KVM_DEV_ARM_VGIC_GRP_NR_IRQS, 0, &nr_irqs);
	if (!rc)
		rc = device_set(fd, KVM_DEV_ARM_VGIC_GRP_ADDR, KVM_VGIC_V2_ADDR_TYPE_DIST, &dist);
	if (!rc)
		rc = device_set(fd, KVM_DEV_ARM_VGIC_GRP_ADDR, KVM_VGIC_V2_ADDR_TYPE_CPU, &cpu);
	if (!rc)
		rc = device_set(fd, KVM_DEV_ARM_VGIC_GRP_CTRL, KVM_DEV_ARM_VGIC_CTRL_INIT, NULL);
	close(fd);
	return rc;
}

int arch_vm_ready(int vm_fd, int irqchip)
{
	int rc;

	if (irqchip == ARM64_GIC_V2)
		return create_v2(vm_fd);
	rc = create_v3(vm_fd);
	return rc || irqchip == ARM64_GIC_V3 ? rc : create_its(vm_fd);
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
