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
#define EXT1_ECX_CMP_LEGACY    (1u << 1)

/* Leaf 4, and AMD's leaf 0x8000001d, EAX. */
#define CACHE_TYPE	0x0000001fu
#define CACHE_SHARED_BY 0x03ffc000u
#define CACHE_CORES	0xfc000000u

#define VENDOR_EBX_AMD	 0x68747541u /* "Auth" of AuthenticAMD */
#define VENDOR_EBX_HYGON 0x6f677948u /* "Hygo" of HygonGenuine */

#define TOPOLOGY_LEVELS 3
_Static_assert(2 * TOPOLOGY_LEVELS - 2 <= CPUID_EXTRA,
	       "KVM reports at least one entry of each topology leaf");

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

	for (uint32_t level = 0; level < TOPOLOGY_LEVELS; level++) {
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
	return TOPOLOGY_LEVELS;
}

static void adjust(struct kvm_cpuid_entry2 *e, unsigned index, unsigned cpus, bool tsc_deadline,
		   bool amd)
{
	unsigned bits = id_bits(cpus);

	switch (e->function) {
	case 0x1:
		e->ebx = (e->ebx & 0x0000ffff) | index << 24 | (cpus & 0xff) << 16;
		e->ecx |= LEAF1_ECX_HYPERVISOR;
		if (tsc_deadline)
			e->ecx |= LEAF1_ECX_TSC_DEADLINE;
		e->edx &= ~LEAF1_EDX_HTT;
		if (cpus > 1)
			e->edx |= LEAF1_EDX_HTT;
		break;
	case 0x4: /* caches: none is shared with another core; cores in the package */
		if (!(e->eax & CACHE_TYPE))
			break; /* the end of the list */
		e->eax &= ~(CACHE_SHARED_BY | CACHE_CORES);
		e->eax |= ((1u << bits) - 1) << 26;
		break;
	case 0x6:
		e->ecx &= ~LEAF6_ECX_APERFMPERF;
		break;
	case 0x80000001:
		if (!amd)
			break;
		e->ecx &= ~EXT1_ECX_CMP_LEGACY; /* HTT means cores, not threads */
		if (cpus > 1)
			e->ecx |= EXT1_ECX_CMP_LEGACY;
		break;
	case 0x80000008:
		if (amd) /* reserved elsewhere */
			e->ecx = bits << 12 | ((cpus - 1) & 0xff);
		break;
	case 0x8000001d: /* AMD's list of caches */
		e->eax &= ~CACHE_SHARED_BY;
		break;
	case 0x8000001e:
		e->eax = index;
		e->ebx = index & 0xff;
		e->ecx = 0;
		break;
	}
}

static bool is_amd(const struct kvm_cpuid_entry2 *e, uint32_t nr)
{
	for (uint32_t i = 0; i < nr; i++) {
		if (e[i].function == 0)
			return e[i].ebx == VENDOR_EBX_AMD || e[i].ebx == VENDOR_EBX_HYGON;
	}
	return false;
}

uint32_t cpuid_for_vcpu(struct kvm_cpuid_entry2 *e, uint32_t nr, uint32_t max, unsigned index,
			unsigned cpus, bool tsc_deadline)
{
	bool has_0xb = false, has_0x1f = false, amd = is_amd(e, nr);
	uint32_t n = 0;

	for (uint32_t i = 0; i < nr; i++) {
		struct kvm_cpuid_entry2 one = e[i];

		if (one.function == 0xb || one.function == 0x1f) {
			has_0xb |= one.function == 0xb;
			has_0x1f |= one.function == 0x1f;
			continue;
		}
		if (one.function == 0x80000026) /* AMD's form of the same, of the host's topology */
			continue;
		adjust(&one, index, cpus, tsc_deadline, amd);
		e[n++] = one;
	}
	if (has_0xb && n + TOPOLOGY_LEVELS <= max)
		n += add_topology(&e[n], 0xb, index, cpus);
	if (has_0x1f && n + TOPOLOGY_LEVELS <= max)
		n += add_topology(&e[n], 0x1f, index, cpus);
	return n;
}

int cpuid_init(int kvm_fd, int vcpu_fd, unsigned index, unsigned cpus)
{
	struct {
		struct kvm_cpuid2 head;
		struct kvm_cpuid_entry2 entry[MAX_ENTRIES];
	} c = { .head.nent = MAX_ENTRIES - CPUID_EXTRA };
	/* Not in the supported set although the in-kernel local APIC has it. */
	bool tsc_deadline = ioctl(kvm_fd, KVM_CHECK_EXTENSION, KVM_CAP_TSC_DEADLINE_TIMER) > 0;

	if (ioctl(kvm_fd, KVM_GET_SUPPORTED_CPUID, &c))
		return -errno;
	c.head.nent = cpuid_for_vcpu(c.entry, c.head.nent, MAX_ENTRIES, index, cpus, tsc_deadline);
	if (ioctl(vcpu_fd, KVM_SET_CPUID2, &c))
		return -errno;
	return 0;
}
