/*
 * CPUID of a vCPU. The guest sees the host's features as far as KVM can virtualise them, one
 * socket, and each vCPU as a core of its own. Leaves 0x40000000 and up (KVM's signature, and with
 * it kvmclock) are passed on as KVM reports them.
 *
 * Sources: Intel SDM volume 2A (CPUID), AMD APM volume 3 appendix E.
 */
#include "arch/x86/cpuid.h"

#include <errno.h>
#include <linux/kvm.h>
#include <string.h>
#include <sys/ioctl.h>

#include "base/types.h"

#define MAX_ENTRIES 256

#define LEAF1_ECX_TSC_DEADLINE (1u << 24)
#define LEAF1_ECX_HYPERVISOR   (1u << 31)
#define LEAF1_EDX_HTT	       (1u << 28)
#define LEAF6_ECX_APERFMPERF   (1u << 0)

/* Width of an APIC id field that holds `cpus` different values. */
static unsigned id_bits(unsigned cpus)
{
	unsigned bits = 0;

	while ((1u << bits) < cpus)
		bits++;
	return bits;
}

/*
 * The extended topology leaf, written anew: KVM hands on the host's, which may have fewer levels
 * than this guest needs. One level for threads (one per core), one for cores, and the end of the
 * list.
 */
static uint32_t add_topology(struct kvm_cpuid_entry2 *e, uint32_t function, unsigned index,
			     unsigned cpus)
{
	unsigned bits = id_bits(cpus);

	for (uint32_t level = 0; level < 3; level++) {
		e[level] = (struct kvm_cpuid_entry2){
			.function = function,
			.index = level,
			.flags = KVM_CPUID_FLAG_SIGNIFCANT_INDEX,
			.eax = level == 1 ? bits : 0,
			.ebx = level == 0   ? 1
			       : level == 1 ? cpus
					    : 0,
			.ecx = level | (level < 2 ? (level + 1) << 8 : 0),
			.edx = index,
		};
	}
	return 3;
}

static void adjust(struct kvm_cpuid_entry2 *e, unsigned index, unsigned cpus, bool tsc_deadline)
{
	unsigned bits = id_bits(cpus);

	switch (e->function) {
	case 0x1:
		e->ebx = (e->ebx & 0x0000ffff) | index << 24 | cpus << 16;
		e->ecx |= LEAF1_ECX_HYPERVISOR;
		if (tsc_deadline)
			e->ecx |= LEAF1_ECX_TSC_DEADLINE;
		e->edx &= ~LEAF1_EDX_HTT;
		if (cpus > 1)
			e->edx |= LEAF1_EDX_HTT;
		break;
	case 0x4: /* caches: none is shared with another core; cores in the package */
		e->eax &= ~0xffffc000u;
		e->eax |= ((1u << bits) - 1) << 26;
		break;
	case 0x6:
		e->ecx &= ~LEAF6_ECX_APERFMPERF;
		break;
	case 0x80000008:
		e->ecx = bits << 12 | (cpus - 1);
		break;
	case 0x8000001e:
		e->eax = index;
		e->ebx = index;
		e->ecx = 0;
		break;
	}
}

int cpuid_init(int kvm_fd, int vcpu_fd, unsigned index, unsigned cpus)
{
	struct {
		struct kvm_cpuid2 head;
		struct kvm_cpuid_entry2 entry[MAX_ENTRIES];
	} c = { .head.nent = MAX_ENTRIES };
	/* Not in the supported set although the in-kernel local APIC has it. */
	bool tsc_deadline = ioctl(kvm_fd, KVM_CHECK_EXTENSION, KVM_CAP_TSC_DEADLINE_TIMER) > 0;
	bool has_0xb = false, has_0x1f = false;
	uint32_t n = 0;

	if (ioctl(kvm_fd, KVM_GET_SUPPORTED_CPUID, &c))
		return -errno;
	for (uint32_t i = 0; i < c.head.nent; i++) {
		struct kvm_cpuid_entry2 *e = &c.entry[i];

		if (e->function == 0xb || e->function == 0x1f) {
			has_0xb |= e->function == 0xb;
			has_0x1f |= e->function == 0x1f;
			continue;
		}
		if (e->function == 0x80000026) /* AMD's form of the same, of the host's topology */
			continue;
		adjust(e, index, cpus, tsc_deadline);
		c.entry[n++] = *e;
	}
	if (has_0xb && n + 3 <= MAX_ENTRIES)
		n += add_topology(&c.entry[n], 0xb, index, cpus);
	if (has_0x1f && n + 3 <= MAX_ENTRIES)
		n += add_topology(&c.entry[n], 0x1f, index, cpus);
	c.head.nent = n;
	if (ioctl(vcpu_fd, KVM_SET_CPUID2, &c))
		return -errno;
	return 0;
}
