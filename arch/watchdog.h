/*
 * Ends a KVM_RUN of the calling thread that takes too long, for the probes: by SIGALRM, and by the
 * vCPU's immediate_exit for the moment just before KVM_RUN. One at a time in a process.
 */
#ifndef ARCH_WATCHDOG_H
#define ARCH_WATCHDOG_H

#include <signal.h>
#include <time.h>

struct kvm_run;

struct watchdog {
	timer_t timer;
	struct sigaction old_action;
	sigset_t old_mask;
};

/* From now on until watchdog_stop(), once a second is over, KVM_RUN on `run` fails with EINTR and
 * run->immediate_exit is set. Errors: errno of timer_create. */
int watchdog_start(struct watchdog *w, struct kvm_run *run);
void watchdog_stop(struct watchdog *w);

#endif
