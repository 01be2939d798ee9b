/*
 * What can this machine's KVM run? On arm64 there is no KVM without virtualisation in hardware, so
 * the question is whether it has what the machine is made of, an interrupt controller above all,
 * and whether a guest of a few instructions runs. One thread, no locks.
 */
#include "arch/probe.h"

#include <errno.h>
#include <linux/kvm.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "arch/arch.h"
#include "arch/arm64/gic.h"
#include "arch/watchdog.h"

#define MEM_BYTES KIB(64) /* one page, whatever the host's page size */
#define CODE_BASE 0x40000000
#define PORT	  0x01000000
#define MAX_EXITS 16
#define ANSWER	  42

/* Multiplies, writes the product to PORT, and powers off by PSCI. */
static const uint32_t code[] = {
	0x528000c1, /* mov w1, #6 */
	0x528000e2, /* mov w2, #7 */
	0x1b027c21, /* mul w1, w1, w2 */
	0xd2a02000, /* mov x0, #PORT */
	0xb9000001, /* str w1, [x0] */
	0x52b08000, /* mov w0, #0x84000000 */
	0x72800100, /* movk w0, #0x0008: SYSTEM_OFF */
	0xd4000002, /* hvc #0 */
	0x14000000, /* b . */
};

struct probe {
	int vm_fd, vcpu_fd;
	uint8_t *mem;
	struct kvm_run *run;
	size_t run_bytes;
};

static int check_capabilities(int kvm_fd, char *what, size_t n)
{
	static const struct {
		int cap;
		const char name[24]; /* arrays, so that the table needs no relocation */
	} need[] = {
		{ KVM_CAP_IRQCHIP, "IRQCHIP" },
		{ KVM_CAP_IRQ_ROUTING, "IRQ_ROUTING" },
		{ KVM_CAP_IRQFD, "IRQFD" },
		{ KVM_CAP_IOEVENTFD, "IOEVENTFD" },
		{ KVM_CAP_SIGNAL_MSI, "SIGNAL_MSI" },
		{ KVM_CAP_ARM_PSCI_0_2, "ARM_PSCI_0_2" },
		{ KVM_CAP_DEVICE_CTRL, "DEVICE_CTRL" },
		{ KVM_CAP_ONE_REG, "ONE_REG" },
		{ KVM_CAP_IMMEDIATE_EXIT, "IMMEDIATE_EXIT" },
	};

	for (size_t i = 0; i < ARRAY_SIZE(need); i++) {
		if (ioctl(kvm_fd, KVM_CHECK_EXTENSION, need[i].cap) > 0)
			continue;
		snprintf(what, n, "KVM_CAP_%s is missing", need[i].name);
		return -ENOTSUP;
	}
	return 0;
}

static int set_pc(int vcpu_fd, uint64_t pc)
{
	struct kvm_one_reg reg = {
		.id = KVM_REG_ARM64 | KVM_REG_SIZE_U64 | KVM_REG_ARM_CORE |
		      KVM_REG_ARM_CORE_REG(regs.pc),
		.addr = (uintptr_t)&pc,
	};

	return ioctl(vcpu_fd, KVM_SET_ONE_REG, &reg) ? -errno : 0;
}

static int probe_create(struct probe *p, int kvm_fd)
{
	struct kvm_userspace_memory_region region = { .guest_phys_addr = CODE_BASE,
						      .memory_size = MEM_BYTES };
	struct kvm_vcpu_init init = { 0 };
	int bytes;

	p->mem = mmap(NULL, MEM_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (p->mem == MAP_FAILED)
		return -errno;
	memcpy(p->mem, code, sizeof(code));
	p->vm_fd = ioctl(kvm_fd, KVM_CREATE_VM, (unsigned long)arch_vm_type(kvm_fd));
	if (p->vm_fd < 0)
		return -errno;
	region.userspace_addr = (uintptr_t)p->mem;
	if (ioctl(p->vm_fd, KVM_SET_USER_MEMORY_REGION, &region) < 0)
		return -errno;
	p->vcpu_fd = ioctl(p->vm_fd, KVM_CREATE_VCPU, 0ul);
	if (p->vcpu_fd < 0)
		return -errno;
	bytes = ioctl(kvm_fd, KVM_GET_VCPU_MMAP_SIZE, 0);
	if (bytes < (int)sizeof(*p->run))
		return bytes < 0 ? -errno : -EIO;
	p->run = mmap(NULL, (size_t)bytes, PROT_READ | PROT_WRITE, MAP_SHARED, p->vcpu_fd, 0);
	if (p->run == MAP_FAILED)
		return -errno;
	p->run_bytes = (size_t)bytes;
	if (ioctl(p->vm_fd, KVM_ARM_PREFERRED_TARGET, &init) < 0)
		return -errno;
	init.features[0] |= 1u << KVM_ARM_VCPU_PSCI_0_2;
	if (ioctl(p->vcpu_fd, KVM_ARM_VCPU_INIT, &init) < 0)
		return -errno;
	return set_pc(p->vcpu_fd, CODE_BASE);
}

static void probe_destroy(struct probe *p)
{
	if (p->run != MAP_FAILED)
		munmap(p->run, p->run_bytes);
	if (p->vcpu_fd >= 0)
		close(p->vcpu_fd);
	if (p->vm_fd >= 0)
		close(p->vm_fd);
	if (p->mem != MAP_FAILED)
		munmap(p->mem, MEM_BYTES);
}

/* Runs the guest to its power-off. how[]: in what way it failed. */
static int run_guest(struct probe *p, char *how, size_t n)
{
	struct kvm_run *run = p->run;
	uint32_t answer = 0;

	for (unsigned i = 0; i < MAX_EXITS; i++) {
		if (ioctl(p->vcpu_fd, KVM_RUN, 0) < 0) {
			int err = errno;

			if (err == EINTR && !run->immediate_exit)
				continue;
			snprintf(how, n, "%s", err == EINTR ? "it hangs" : strerror(err));
			return err == EINTR ? -ETIMEDOUT : -err;
		}
		if (run->exit_reason == KVM_EXIT_MMIO && run->mmio.is_write &&
		    run->mmio.phys_addr == PORT) {
			memcpy(&answer, run->mmio.data, sizeof(answer));
		} else if (run->exit_reason == KVM_EXIT_SYSTEM_EVENT) {
			if (answer == ANSWER)
				return 0;
			snprintf(how, n, "wrong result");
			return -EIO;
		} else {
			snprintf(how, n, "KVM exit reason %u", run->exit_reason);
			return -EIO;
		}
	}
	snprintf(how, n, "too many exits");
	return -EIO;
}

static int run_probe(struct probe *p, char *what, size_t n)
{
	static const char gics[][40] = {
		[ARM64_GIC_V3_ITS] = "GICv3 with ITS",
		[ARM64_GIC_V3] = "GICv3 without ITS (no MSI)",
		[ARM64_GIC_V2] = "GICv2 (no MSI, 8 CPUs at most)",
	};
	int gic = arm64_gic_of(p->vm_fd);
	char how[64] = "";

	if (gic < 0) {
		snprintf(what, n, "no interrupt controller for guests: neither GICv3 nor GICv2");
		return gic;
	}
	if (run_guest(p, how, sizeof(how))) {
		snprintf(what, n, "a guest does not run: %s", how);
		return -EIO;
	}
	snprintf(what, n, "%s, PSCI", gics[gic]);
	return PROBE_HARDWARE;
}

int arch_probe_kvm(int kvm_fd, char *what, size_t n)
{
	struct probe p = { .vm_fd = -1, .vcpu_fd = -1, .mem = MAP_FAILED, .run = MAP_FAILED };
	struct watchdog w;
	int r;

	r = check_capabilities(kvm_fd, what, n);
	if (r)
		return r;
	r = probe_create(&p, kvm_fd);
	if (!r)
		r = watchdog_start(&w, p.run);
	if (r) {
		snprintf(what, n, "cannot make a virtual machine: %s", strerror(-r));
	} else {
		r = run_probe(&p, what, n);
		watchdog_stop(&w);
	}
	probe_destroy(&p);
	return r;
}
