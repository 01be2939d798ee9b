/*
 * One virtual CPU: its KVM descriptor and the thread that runs it.
 *
 * The thread runs guest code until the machine asks it to leave, through the machine's gate
 * (vcpu_gate.h). It is never cancelled: vcpu_gate_wake() makes KVM_RUN return, and the thread sees
 * why.
 */
#ifndef VMM_VCPU_H
#define VMM_VCPU_H

#include <pthread.h>
#include <signal.h>

#include "arch/arch.h"
#include "base/platform.h"
#include "vmm/kvm.h"
#include "vmm/vcpu_gate.h"

struct vcpu {
	unsigned index;
	int fd;
	struct kvm_run *run; /* shared with KVM, `run_bytes` long */
	size_t run_bytes;
	struct platform *plat;
	const char *guest;					     /* name, for log lines */
	void (*event)(void *arg, enum machine_event ev, int status); /* see arch_devices_params */
	/* The guest wrote where it may only read. True: try again, it may soon. False: it never
	 * will. On this vCPU's thread, outside of the gate. */
	bool (*write_refused)(void *arg);
	void *arg;
	struct vcpu_gate *gate; /* the machine's: all of its vCPUs leave together */
	struct vcpu_pass pass;
	unsigned refused;    /* writes in a row that were refused */
	uint64_t refused_ns; /* the last of them; CLOCK_MONOTONIC */
	pthread_t thread;
	bool started;
};

/* Creates it in the VM; arch_vcpu_init() and vcpu_start() follow. Errors: errno of KVM and mmap. */
int vcpu_create(struct vcpu *v, const struct kvm_host *kvm, int vm_fd, unsigned index);
void vcpu_destroy(struct vcpu *v); /* joined, or never started */

int vcpu_start(struct vcpu *v); /* -errno of pthread_create */
void vcpu_join(struct vcpu *v); /* *gate->leave is set, and vcpu_gate_wake() was called */

/* The signal that ends KVM_RUN. */
#define VCPU_SIGNAL SIGRTMIN
/* Once per process, before any vCPU starts: it has a handler. */
void vcpu_setup_signal(void);

#endif
