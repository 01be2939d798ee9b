/*
 * CPUID of a vCPU: what KVM supports on this host, with the topology of the guest.
 */
#ifndef ARCH_X86_CPUID_H
#define ARCH_X86_CPUID_H

/* Errors: errno of KVM_GET_SUPPORTED_CPUID and KVM_SET_CPUID2. */
int cpuid_init(int kvm_fd, int vcpu_fd, unsigned index, unsigned cpus);

#endif
