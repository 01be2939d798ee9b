/*
 * One virtual CPU: its KVM descriptor and the thread that runs it.
 *
 * The thread runs guest code until the machine asks it to leave. It is never cancelled: vcpu_kick()
 * makes KVM_RUN return, and the thread sees why.
 */
#ifndef VMM_VCPU_H
#define VMM_VCPU_H

#include <pthread.h>
#include <stdatomic.h>

#include "arch/arch.h"
#include "base/platform.h"
#include "vmm/kvm.h"

struct vcpu {
	unsigned index;
	int fd;
	struct kvm_run *run; /* shared with KVM, `run_bytes` long */
	size_t run_bytes;
	struct platform *plat;
	const char *guest;					     /* name, for log lines */
	void (*event)(void *arg, enum machine_event ev, int status); /* see arch_devices_params */
	void *arg;
	pthread_t thread;
	bool started;
	const _Atomic bool *leave; /* the machine's: all of its vCPUs leave together */
};

/* Creates it in the VM; arch_vcpu_init() and vcpu_start() follow. Errors: errno of KVM and mmap. */
int vcpu_create(struct vcpu *v, const struct kvm_host *kvm, int vm_fd, unsigned index);
void vcpu_destroy(struct vcpu *v); /* joined, or never started */

int vcpu_start(struct vcpu *v); /* -errno of pthread_create */
/* Makes it look at *leave now. The thread that has the machine (machine.h). */
void vcpu_kick(struct vcpu *v);
void vcpu_join(struct vcpu *v); /* *leave is set, and it was kicked */

/* Once per process, before any vCPU starts: the signal that ends KVM_RUN has a handler. */
void vcpu_setup_signal(void);

#endif
