/*
 * KVM side of an x86 machine: interrupt controllers, and the state in which each vCPU starts.
 *
 * The first vCPU enters the kernel in the mode that the boot protocol asks for; the others wait for
 * INIT and SIPI, which the in-kernel local APIC delivers.
 */
#include <errno.h>
#include <linux/kvm.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>

#include "arch/arch.h"
#include "arch/x86/cpuid.h"
#include "arch/x86/layout.h"

#define CR0_PE	 (1u << 0)
#define CR0_ET	 (1u << 4)
#define CR0_NE	 (1u << 5)
#define CR0_PG	 (1u << 31)
#define CR4_PAE	 (1u << 5)
#define EFER_LME (1u << 8)
#define EFER_LMA (1u << 10)

#define MSR_IA32_MISC_ENABLE	0x1a0
#define MISC_ENABLE_FAST_STRING 1ull
#define MSR_MTRR_DEF_TYPE	0x2ff
#define MTRR_ENABLE_WRITE_BACK	0x806ull

#define APIC_LVT0	 0x350
#define APIC_LVT1	 0x360
#define APIC_MODE_NMI	 (4u << 8)
#define APIC_MODE_EXTINT (7u << 8)

int arch_vm_type(int kvm_fd)
{
	return 0;
}

int arch_vm_init(int kvm_fd, int vm_fd)
{
	struct kvm_pit_config pit = { .flags = KVM_PIT_SPEAKER_DUMMY };
	uint64_t identity_map = X86_KVM_IDENTITY_MAP;

	/* Intel processors without unrestricted guest mode need these two in the hole. */
	if (ioctl(vm_fd, KVM_SET_IDENTITY_MAP_ADDR, &identity_map))
		return -errno;
	if (ioctl(vm_fd, KVM_SET_TSS_ADDR, X86_KVM_TSS))
		return -errno;
	if (ioctl(vm_fd, KVM_CREATE_IRQCHIP))
		return -errno;
	if (ioctl(vm_fd, KVM_CREATE_PIT2, &pit))
		return -errno;
	return 0;
}

int arch_irqchip(int kvm_fd)
{
	return 0; /* APICs, always */
}

int arch_vm_ready(int vm_fd, int irqchip)
{
	return 0;
}

unsigned arch_msi_gsi_base(void)
{
	return X86_IOAPIC_PINS;
}

uint32_t arch_irq_line(unsigned gsi)
{
	return gsi;
}

unsigned arch_irq_routes(struct kvm_irq_routing_entry *e, unsigned max)
{
	unsigned n = 0;

	for (unsigned gsi = 0; gsi < X86_IOAPIC_PINS; gsi++) {
		if (gsi < 16 && n < max) {
			e[n++] = (struct kvm_irq_routing_entry){
				.gsi = gsi,
				.type = KVM_IRQ_ROUTING_IRQCHIP,
				.u.irqchip = { .irqchip = gsi < 8 ? KVM_IRQCHIP_PIC_MASTER
								  : KVM_IRQCHIP_PIC_SLAVE,
					       .pin = gsi % 8 },
			};
		}
		/* The tables say that the timer, ISA interrupt 0, arrives at pin 2; nothing else
		 * does. */
		if (gsi == X86_GSI_TIMER_PIN || n == max)
			continue;
		e[n++] = (struct kvm_irq_routing_entry){
			.gsi = gsi,
			.type = KVM_IRQ_ROUTING_IRQCHIP,
			.u.irqchip = { .irqchip = KVM_IRQCHIP_IOAPIC,
				       .pin = gsi ? gsi : X86_GSI_TIMER_PIN },
		};
	}
	return n;
}

static void set_lvt(struct kvm_lapic_state *lapic, unsigned reg, uint32_t mode)
{
	uint32_t lvt;

	memcpy(&lvt, lapic->regs + reg, sizeof(lvt));
	lvt = (lvt & ~0x700u) | mode;
	memcpy(lapic->regs + reg, &lvt, sizeof(lvt));
}

/* What firmware leaves behind in the local APIC: the PIC behind LINT0, NMI behind LINT1. */
static int init_lapic(int fd)
{
	struct kvm_lapic_state lapic;

	if (ioctl(fd, KVM_GET_LAPIC, &lapic))
		return -errno;
	set_lvt(&lapic, APIC_LVT0, APIC_MODE_EXTINT);
	set_lvt(&lapic, APIC_LVT1, APIC_MODE_NMI);
	if (ioctl(fd, KVM_SET_LAPIC, &lapic))
		return -errno;
	return 0;
}

static int init_msrs(int fd)
{
	struct {
		struct kvm_msrs head;
		struct kvm_msr_entry entry[2];
	} m = {
		.head.nmsrs = 2,
		.entry = { { .index = MSR_IA32_MISC_ENABLE, .data = MISC_ENABLE_FAST_STRING },
			   { .index = MSR_MTRR_DEF_TYPE, .data = MTRR_ENABLE_WRITE_BACK } },
	};

	/* Returns how many it set; a host that lacks one of them is no reason not to start. */
	if (ioctl(fd, KVM_SET_MSRS, &m) < 0)
		return -errno;
	return 0;
}

static struct kvm_segment flat_segment(uint16_t selector, uint8_t type, bool long_mode)
{
	return (struct kvm_segment){
		.base = 0,
		.limit = 0xffffffff,
		.selector = selector,
		.type = type,
		.present = 1,
		.s = 1,
		.g = 1,
		.db = !long_mode,
		.l = long_mode,
	};
}

static int init_sregs(int fd, const struct arch_entry *entry)
{
	bool long_mode = entry->mode == ARCH_ENTRY_X86_LONG64;
	struct kvm_segment data = flat_segment(X86_DATA_SELECTOR, 0x3, false);
	struct kvm_sregs s;

	if (ioctl(fd, KVM_GET_SREGS, &s))
		return -errno;
	s.cs = flat_segment(X86_CODE_SELECTOR, 0xb, long_mode);
	s.ds = s.es = s.fs = s.gs = s.ss = data;
	s.tr = (struct kvm_segment){
		.limit = 0x67, .selector = X86_TSS_SELECTOR, .type = 0xb, .present = 1
	};
	s.ldt = (struct kvm_segment){ .unusable = 1 };
	s.gdt.base = entry->gdt;
	s.gdt.limit = entry->gdt ? X86_GDT_BYTES - 1 : 0; /* a 64-bit TSS takes two places */
	s.idt.base = 0;
	s.idt.limit = 0;
	s.cr0 = CR0_PE | CR0_ET | CR0_NE;
	if (long_mode) {
		s.cr0 |= CR0_PG;
		s.cr3 = entry->page_tables;
		s.cr4 |= CR4_PAE;
		s.efer |= EFER_LME | EFER_LMA;
	}
	if (ioctl(fd, KVM_SET_SREGS, &s))
		return -errno;
	return 0;
}

static int init_regs(int fd, const struct arch_entry *entry)
{
	struct kvm_regs r = { .rflags = 2, .rip = entry->pc };
	struct kvm_fpu fpu = { .fcw = 0x37f, .mxcsr = 0x1f80 };

	if (entry->mode == ARCH_ENTRY_X86_LONG64) {
		r.rsi = entry->arg;
	} else {
		r.rax = entry->magic;
		r.rbx = entry->arg;
	}
	if (ioctl(fd, KVM_SET_REGS, &r) || ioctl(fd, KVM_SET_FPU, &fpu))
		return -errno;
	return 0;
}

int arch_vcpu_init(int kvm_fd, int vm_fd, int vcpu_fd, unsigned index, unsigned cpus,
		   const struct arch_entry *entry)
{
	int rc = cpuid_init(kvm_fd, vcpu_fd, index, cpus);

	if (!rc)
		rc = init_msrs(vcpu_fd);
	if (!rc)
		rc = init_lapic(vcpu_fd);
	if (rc || index)
		return rc;
	rc = init_sregs(vcpu_fd, entry);
	if (!rc)
		rc = init_regs(vcpu_fd, entry);
	return rc;
}

void arch_vcpu_describe(int vcpu_fd, char *out, size_t bytes)
{
	struct kvm_regs r;
	struct kvm_sregs s;

	if (ioctl(vcpu_fd, KVM_GET_REGS, &r) || ioctl(vcpu_fd, KVM_GET_SREGS, &s)) {
		snprintf(out, bytes, "registers not available");
		return;
	}
	snprintf(out, bytes,
		 "rip %#llx rsp %#llx rflags %#llx rax %#llx cs %#x cr0 %#llx cr2 %#llx cr3 %#llx "
		 "cr4 %#llx efer %#llx",
		 r.rip, r.rsp, r.rflags, r.rax, s.cs.selector, s.cr0, s.cr2, s.cr3, s.cr4, s.efer);
}

int arch_vcpu_exit(struct platform *plat, int vcpu_fd, struct kvm_run *run)
{
	uint8_t *data;
	unsigned size;

	if (run->exit_reason != KVM_EXIT_IO)
		return 0;
	/* A string instruction gives several elements; KVM limits them to one page. */
	data = (uint8_t *)run + run->io.data_offset;
	size = run->io.size;
	for (uint32_t i = 0; i < run->io.count; i++, data += size) {
		if (run->io.direction == KVM_EXIT_IO_OUT)
			bus_write(plat->pio, run->io.port, data, size);
		else
			bus_read(plat->pio, run->io.port, data, size);
	}
	return 1;
}
