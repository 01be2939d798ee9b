/*
 * The gate between xvmm and guest code: through it every vCPU of a machine goes into KVM_RUN and
 * comes out again, and another thread can shut it for a while.
 *
 *   vCPU thread: join ─▶ { enter ─▶ KVM_RUN ─▶ exit ─▶ handle } … enter says no ─▶ part
 *   remapper:    hold ─▶ … no vCPU is in KVM_RUN … ─▶ release
 *   main thread: *leave is set ─▶ wake
 *
 * A vCPU that handles an exit counts as outside, whatever it waits for there: who holds the gate
 * may be what that handler waits for.
 *
 * Both sides write their own mark and then look at the other's, each with sequential consistency: a
 * vCPU says "inside", then looks whether the gate is shut; a holder shuts it, then looks who is
 * inside, and makes these come out. So one of the two sees the other. What the vCPU wrote before is
 * seen by the holder, and the other way round after release.
 *
 * Knows nothing of KVM but the byte `immediate_exit` of struct kvm_run and the signal that ends
 * KVM_RUN.
 */
#ifndef VMM_VCPU_GATE_H
#define VMM_VCPU_GATE_H

#include <pthread.h>
#include <stdatomic.h>

#include "base/types.h"

struct vcpu_pass;

/* One for each machine. */
struct vcpu_gate {
	const _Atomic bool *leave; /* whose setter calls vcpu_gate_wake() */
	int signal;		   /* has a handler without SA_RESTART */
	_Atomic unsigned held;	   /* holds that are not released; written under the lock */
	pthread_mutex_t lock;	   /* guards the list, and who waits */
	pthread_cond_t changed;
	struct vcpu_pass *pass; /* of the threads that run */
};

/* One for each vCPU; its thread's but where it says otherwise. */
struct vcpu_pass {
	struct vcpu_gate *gate;
	uint8_t *immediate_exit; /* KVM_RUN returns at once while it is not 0; others set it */
	_Atomic bool inside;	 /* others read it */
	pthread_t thread;	 /* constant while it is in the list */
	struct vcpu_pass *next;	 /* under the lock */
};

void vcpu_gate_init(struct vcpu_gate *g, const _Atomic bool *leave, int signal);
void vcpu_gate_fini(struct vcpu_gate *g); /* nobody has a pass any more */

/* The vCPU's thread, first and last: what others do to it, they do in between. The signal is not
 * blocked. */
void vcpu_gate_join(struct vcpu_gate *g, struct vcpu_pass *p, uint8_t *immediate_exit);
void vcpu_gate_part(struct vcpu_pass *p); /* outside */

/* Waits while the gate is held. True: inside now. False: *leave is set, still outside. */
bool vcpu_gate_enter(struct vcpu_pass *p);
void vcpu_gate_exit(struct vcpu_pass *p);

/* Any thread but a vCPU's that is inside. On return no vCPU is inside, nor will be before
 * vcpu_gate_release(). Threads that have not started, or have ended, do not matter. Holds nest, and
 * each is released by its own call. */
void vcpu_gate_hold(struct vcpu_gate *g);
void vcpu_gate_release(struct vcpu_gate *g);

/* Any thread: every vCPU looks at *leave now. Does not wait for them. */
void vcpu_gate_wake(struct vcpu_gate *g);

#endif
