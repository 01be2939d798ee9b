/*
 * CPUID of a vCPU: what KVM supports on this host, with the topology of the guest.
 */
#ifndef ARCH_X86_CPUID_H
#define ARCH_X86_CPUID_H

#include "base/types.h"

struct kvm_cpuid_entry2;

/* Turns the `nr` entries that KVM supports into those of vCPU `index` of `cpus`, in place; `max` is
 * the room there is, which should be CPUID_EXTRA more than nr. Returns how many there are then.
 * tsc_deadline: KVM's local APIC has that timer. Any thread. */
#define CPUID_EXTRA 4
uint32_t cpuid_for_vcpu(struct kvm_cpuid_entry2 *e, uint32_t nr, uint32_t max, unsigned index,
			unsigned cpus, bool tsc_deadline);

/* Errors: errno of KVM_GET_SUPPORTED_CPUID and KVM_SET_CPUID2. */
int cpuid_init(int kvm_fd, int vcpu_fd, unsigned index, unsigned cpus);

#endif
