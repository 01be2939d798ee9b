/*
 * The platform (base/platform.h) on a KVM virtual machine: interrupt lines, MSI routes and
 * doorbells.
 *
 * Any thread. One lock guards the routing table, which KVM takes only as a whole.
 */
#ifndef VMM_PLATFORM_KVM_H
#define VMM_PLATFORM_KVM_H

#include "base/platform.h"

struct platform_kvm;

/* Installs the architecture's wired routes. The pointers in `plat` (mem, mmio, pio) are for the
 * caller to set; they outlive it. Errors: -ENOMEM, errno of KVM_SET_GSI_ROUTING. */
int platform_kvm_create(struct platform_kvm **out, const char *name, int vm_fd);
void platform_kvm_destroy(struct platform_kvm *p);
struct platform *platform_kvm_base(struct platform_kvm *p);

#endif
