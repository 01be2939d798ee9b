/*
 * What can this machine's KVM run? Two tiny guests tell: one in real mode, which any KVM must be
 * able to run, and one in 64-bit ring 0 with instructions that every x86-64 processor has, that
 * stock kernels use, and that a KVM without hardware virtualisation (ring 0 interpreted in
 * software) fails on. One thread, no locks.
 *
 * Each step of a guest ends with one byte to a port. The bytes that came out say how far it got.
 */
#include "arch/probe.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "arch/watchdog.h"
#include "base/types.h"

#define PORT	  0x10
#define MAX_STEPS 5
#define MAX_EXITS 16

/* Where things are in the guest. */
enum {
	MEM_BYTES = 0x10000,
	CODE16 = 0x1000,
	CODE64 = 0x2000,
	HANDLER = 0x2800,
	PML4 = 0x3000,
	PDPT = 0x4000,
	PD = 0x5000,
	GDT = 0x6000,
	IDT = 0x7000,
	STACK = 0x9000,
	DATA = 0xa000,
};

static const uint8_t code16[] = {
	0xb0, 0x5a, /* mov $0x5a, %al */
	0xe6, PORT, /* out %al, $PORT */
	0xf4,	    /* hlt */
};

static const uint8_t code64[] = {
	0xb0, 0x01, 0xe6, PORT,	      /* mov $1, %al; out */
	0xbb, 0xff, 0x00, 0x00, 0x00, /* mov $0xff, %ebx */
	0xf3, 0x0f, 0xb8, 0xcb,	      /* popcnt %ebx, %ecx */
	0x88, 0xc8, 0xe6, PORT,	      /* mov %cl, %al; out: 8 */
	0x31, 0xc0, 0x31, 0xd2,	      /* xor %eax, %eax; xor %edx, %edx */
	0xbb, 0x55, 0x00, 0x00, 0x00, /* mov $0x55, %ebx */
	0x31, 0xc9,		      /* xor %ecx, %ecx */
	0xbf, 0x00, 0xa0, 0x00, 0x00, /* mov $DATA, %edi */
	0xf0, 0x48, 0x0f, 0xc7, 0x0f, /* lock cmpxchg16b (%rdi) */
	0x8a, 0x07, 0xe6, PORT,	      /* mov (%rdi), %al; out: 0x55 */
	0xcc,			      /* int3: the handler writes 0x33 */
	0xb0, 0x44, 0xe6, PORT,	      /* mov $0x44, %al; out */
	0xf4,			      /* hlt */
};

static const uint8_t handler[] = {
	0xb0, 0x33, 0xe6, PORT, /* mov $0x33, %al; out */
	0x48, 0xcf,		/* iretq */
};

static const struct step {
	uint8_t byte;
	const char *name;
} steps16[] = { { 0x5a, "port output in real mode" } }, steps64[] = {
	{ 0x01, "port output in 64-bit ring 0" },
	{ 0x08, "popcnt" },
	{ 0x55, "cmpxchg16b" },
	{ 0x33, "int3" },
	{ 0x44, "iretq" },
};

struct probe {
	int vm_fd, vcpu_fd;
	uint8_t *mem;
	struct kvm_run *run;
	size_t run_bytes;
	uint8_t out[MAX_STEPS];
	unsigned nr_out;
};

static int check_capabilities(int kvm_fd, char *what, size_t n)
{
	static const struct {
		int cap;
		const char *name;
	} need[] = {
		{ KVM_CAP_USER_MEMORY, "USER_MEMORY" },
		{ KVM_CAP_IRQCHIP, "IRQCHIP" },
		{ KVM_CAP_IRQ_ROUTING, "IRQ_ROUTING" },
		{ KVM_CAP_IRQFD, "IRQFD" },
		{ KVM_CAP_IOEVENTFD, "IOEVENTFD" },
		{ KVM_CAP_SIGNAL_MSI, "SIGNAL_MSI" },
		{ KVM_CAP_EXT_CPUID, "EXT_CPUID" },
		{ KVM_CAP_SET_TSS_ADDR, "SET_TSS_ADDR" },
		{ KVM_CAP_PIT2, "PIT2" },
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

static void put64(uint8_t *mem, unsigned at, uint64_t v)
{
	memcpy(mem + at, &v, sizeof(v));
}

static void fill_memory(uint8_t *mem)
{
	memcpy(mem + CODE16, code16, sizeof(code16));
	memcpy(mem + CODE64, code64, sizeof(code64));
	memcpy(mem + HANDLER, handler, sizeof(handler));
	/* The first 2 MiB, identity mapped with one large page: present, writable, large. */
	put64(mem, PML4, PDPT | 0x3);
	put64(mem, PDPT, PD | 0x3);
	put64(mem, PD, 0x83);
	/* Selector 8: 64-bit code, ring 0; 0x10: data. An interrupt gate for int3. */
	put64(mem, GDT + 8, UINT64_C(0x00af9b000000ffff));
	put64(mem, GDT + 16, UINT64_C(0x00cf93000000ffff));
	put64(mem, IDT + 3 * 16, UINT64_C(0x00008e0000080000) | HANDLER);
}

static int set_cpuid(int kvm_fd, int vcpu_fd)
{
	enum { ENTRIES = 256 };
	struct kvm_cpuid2 *cpuid;
	int r = 0;

	cpuid = calloc(1, sizeof(*cpuid) + ENTRIES * sizeof(cpuid->entries[0]));
	if (!cpuid)
		return -ENOMEM;
	cpuid->nent = ENTRIES;
	if (ioctl(kvm_fd, KVM_GET_SUPPORTED_CPUID, cpuid) < 0 ||
	    ioctl(vcpu_fd, KVM_SET_CPUID2, cpuid) < 0)
		r = -errno;
	free(cpuid);
	return r;
}

static int probe_create(struct probe *p, int kvm_fd)
{
	struct kvm_userspace_memory_region region = { .memory_size = MEM_BYTES };
	int bytes;

	p->mem = mmap(NULL, MEM_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (p->mem == MAP_FAILED)
		return -errno;
	fill_memory(p->mem);
	p->vm_fd = ioctl(kvm_fd, KVM_CREATE_VM, 0);
	/* Intel processors without "unrestricted guest" need it for real mode. */
	if (p->vm_fd < 0 || ioctl(p->vm_fd, KVM_SET_TSS_ADDR, 0xfffbd000) < 0)
		return -errno;
	region.userspace_addr = (uintptr_t)p->mem;
	if (ioctl(p->vm_fd, KVM_SET_USER_MEMORY_REGION, &region) < 0)
		return -errno;
	p->vcpu_fd = ioctl(p->vm_fd, KVM_CREATE_VCPU, 0);
	if (p->vcpu_fd < 0)
		return -errno;
	bytes = ioctl(kvm_fd, KVM_GET_VCPU_MMAP_SIZE, 0);
	if (bytes < (int)sizeof(*p->run))
		return bytes < 0 ? -errno : -EIO;
	p->run = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, p->vcpu_fd, 0);
	if (p->run == MAP_FAILED)
		return -errno;
	p->run_bytes = bytes;
	return set_cpuid(kvm_fd, p->vcpu_fd);
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

/* Runs until the guest halts (0), or cannot go on: how[] says in what way. -ETIMEDOUT: it hangs. */
static int run_guest(struct probe *p, char *how, size_t n)
{
	struct kvm_run *run = p->run;

	p->nr_out = 0;
	for (unsigned i = 0; i < MAX_EXITS; i++) {
		if (ioctl(p->vcpu_fd, KVM_RUN, 0) < 0) {
			int err = errno;

			if (err == EINTR && !run->immediate_exit)
				continue;
			snprintf(how, n, "%s", err == EINTR ? "it hangs" : strerror(err));
			return err == EINTR ? -ETIMEDOUT : -err;
		}
		switch (run->exit_reason) {
		case KVM_EXIT_HLT:
			return 0;
		case KVM_EXIT_IO:
			if (run->io.port == PORT && run->io.direction == KVM_EXIT_IO_OUT &&
			    run->io.size == 1 && run->io.count == 1 && p->nr_out < MAX_STEPS) {
				p->out[p->nr_out++] = *((uint8_t *)run + run->io.data_offset);
				continue;
			}
			snprintf(how, n, "unexpected port access");
			return -EIO;
		case KVM_EXIT_SHUTDOWN:
			snprintf(how, n, "triple fault");
			return -EIO;
		case KVM_EXIT_INTERNAL_ERROR:
			snprintf(how, n, "KVM internal error %u", run->internal.suberror);
			return -EIO;
		default:
			snprintf(how, n, "KVM exit reason %u", run->exit_reason);
			return -EIO;
		}
	}
	snprintf(how, n, "too many exits");
	return -EIO;
}

/* How many of the steps were done, from the first on. */
static unsigned count_steps(const struct probe *p, const struct step *step, unsigned nr)
{
	unsigned done = 0;

	while (done < nr && done < p->nr_out && p->out[done] == step[done].byte)
		done++;
	return done;
}

static int start_real_mode(struct probe *p)
{
	struct kvm_regs regs = { .rip = CODE16, .rsp = STACK, .rflags = 2 };
	struct kvm_sregs sregs;

	if (ioctl(p->vcpu_fd, KVM_GET_SREGS, &sregs) < 0)
		return -errno;
	sregs.cs.base = 0;
	sregs.cs.selector = 0;
	if (ioctl(p->vcpu_fd, KVM_SET_SREGS, &sregs) < 0 ||
	    ioctl(p->vcpu_fd, KVM_SET_REGS, &regs) < 0)
		return -errno;
	return 0;
}

static int start_long_mode(struct probe *p)
{
	struct kvm_regs regs = { .rip = CODE64, .rsp = STACK, .rflags = 2 };
	struct kvm_segment code = {
		.limit = 0xffffffff, .selector = 8, .type = 11, .present = 1, .s = 1, .l = 1, .g = 1
	};
	struct kvm_segment data = { .limit = 0xffffffff,
				    .selector = 16,
				    .type = 3,
				    .present = 1,
				    .s = 1,
				    .db = 1,
				    .g = 1 };
	struct kvm_sregs sregs;

	if (ioctl(p->vcpu_fd, KVM_GET_SREGS, &sregs) < 0)
		return -errno;
	sregs.cs = code;
	sregs.ds = sregs.es = sregs.fs = sregs.gs = sregs.ss = data;
	sregs.gdt.base = GDT;
	sregs.gdt.limit = 3 * 8 - 1;
	sregs.idt.base = IDT;
	sregs.idt.limit = 4 * 16 - 1; /* anything but int3 is a triple fault */
	sregs.cr3 = PML4;
	sregs.cr4 = 1u << 5;		     /* PAE */
	sregs.cr0 = 1u << 31 | 1u << 4 | 1u; /* PG, ET, PE */
	sregs.efer = 1u << 8 | 1u << 10;     /* LME, LMA */
	if (ioctl(p->vcpu_fd, KVM_SET_SREGS, &sregs) < 0 ||
	    ioctl(p->vcpu_fd, KVM_SET_REGS, &regs) < 0)
		return -errno;
	return 0;
}

static int run_probes(struct probe *p, char *what, size_t n)
{
	char how[64] = "";
	unsigned done;
	int r;

	r = start_real_mode(p);
	if (r) {
		snprintf(what, n, "cannot set a vCPU's registers: %s", strerror(-r));
		return r;
	}
	r = run_guest(p, how, sizeof(how));
	if (r || count_steps(p, steps16, ARRAY_SIZE(steps16)) < ARRAY_SIZE(steps16)) {
		snprintf(what, n, "a real-mode guest does not run: %s", r ? how : "wrong output");
		return -EIO;
	}
	r = start_long_mode(p);
	if (r) {
		snprintf(what, n, "cannot start a vCPU in 64-bit mode: %s", strerror(-r));
		return r;
	}
	r = run_guest(p, how, sizeof(how));
	done = count_steps(p, steps64, ARRAY_SIZE(steps64));
	if (done == 0) {
		snprintf(what, n, "a 64-bit guest does not run: %s", r ? how : "wrong output");
		return -EIO;
	}
	if (r || done < ARRAY_SIZE(steps64)) {
		snprintf(what, n, "%s fails in guest ring 0 (%s)",
			 done < ARRAY_SIZE(steps64) ? steps64[done].name : "hlt",
			 r ? how : "wrong result");
		return PROBE_SOFTWARE_ONLY;
	}
	snprintf(what, n, "popcnt, cmpxchg16b, int3 and iretq work in guest ring 0");
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
		r = run_probes(&p, what, n);
		watchdog_stop(&w);
	}
	probe_destroy(&p);
	return r;
}
