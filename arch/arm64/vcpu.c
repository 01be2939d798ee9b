/*
 * KVM side of an arm64 machine: the state in which each vCPU starts. gic.c is its interrupts.
 *
 * The first vCPU enters the kernel; the others are off until the guest turns them on by PSCI, which
 * KVM answers.
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
