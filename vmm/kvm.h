/*
 * /dev/kvm: opened once per process, shared by all guests.
 */
#ifndef VMM_KVM_H
#define VMM_KVM_H

#include <stddef.h>

struct kvm_host {
	int fd;
	size_t run_bytes; /* of the area that a vCPU's descriptor is mapped for */
	int max_cpus;	  /* per guest */
	int irqchip;	  /* arch_irqchip()'s */
};

/* Opens /dev/kvm and checks that it can do what xvmm needs. On error one line in why[] says what is
 * wrong and what mends it. Errors: errno of open (-EACCES: rights), -ENOTSUP. */
int kvm_open(struct kvm_host *kvm, char *why, size_t why_bytes);
void kvm_close(struct kvm_host *kvm);

#endif
