/*
 * See vcpu_gate.h. The lock is taken only where somebody holds or wakes; else entering costs one
 * store with a fence and two loads, leaving the same.
 */
#include "vmm/vcpu_gate.h"

#include <signal.h>

void vcpu_gate_init(struct vcpu_gate *g, const _Atomic bool *leave, int signal)
{
	*g = (struct vcpu_gate){ .leave = leave, .signal = signal };
	pthread_mutex_init(&g->lock, NULL);
	pthread_cond_init(&g->changed, NULL);
}

void vcpu_gate_fini(struct vcpu_gate *g)
{
	pthread_cond_destroy(&g->changed);
	pthread_mutex_destroy(&g->lock);
}

void vcpu_gate_join(struct vcpu_gate *g, struct vcpu_pass *p, uint8_t *immediate_exit)
{
	p->gate = g;
	p->immediate_exit = immediate_exit;
	p->thread = pthread_self();
	atomic_store(&p->inside, false);
	pthread_mutex_lock(&g->lock);
	p->next = g->pass;
	g->pass = p;
	pthread_mutex_unlock(&g->lock);
}

void vcpu_gate_part(struct vcpu_pass *p)
{
	struct vcpu_pass **at = &p->gate->pass;

	pthread_mutex_lock(&p->gate->lock);
	while (*at != p)
		at = &(*at)->next;
	*at = p->next;
	pthread_mutex_unlock(&p->gate->lock);
}

static void wait_for_release(struct vcpu_gate *g)
{
	pthread_mutex_lock(&g->lock);
	while (atomic_load(&g->held) && !atomic_load(g->leave))
		pthread_cond_wait(&g->changed, &g->lock);
	pthread_mutex_unlock(&g->lock);
}

bool vcpu_gate_enter(struct vcpu_pass *p)
{
	struct vcpu_gate *g = p->gate;

	for (;;) {
		/* An old kick. Its reason is looked at below: who kicks has set it before. */
		if (__atomic_load_n(p->immediate_exit, __ATOMIC_RELAXED))
			__atomic_store_n(p->immediate_exit, 0, __ATOMIC_SEQ_CST);
		atomic_store(&p->inside, true);
		if (atomic_load(g->leave)) {
			vcpu_gate_exit(p);
			return false;
		}
		if (!atomic_load(&g->held))
			return true;
		vcpu_gate_exit(p);
		wait_for_release(g);
	}
}

void vcpu_gate_exit(struct vcpu_pass *p)
{
	struct vcpu_gate *g = p->gate;

	atomic_store(&p->inside, false);
	if (!atomic_load(&g->held))
		return;
	/* With the lock: the holder either has not looked yet, or waits. */
	pthread_mutex_lock(&g->lock);
	pthread_cond_broadcast(&g->changed);
	pthread_mutex_unlock(&g->lock);
}

/* With the lock held: the thread has not parted, so it is there to be signalled. The byte catches
 * the moment before KVM_RUN; the signal ends one that is under way. */
static void kick(struct vcpu_pass *p)
{
	__atomic_store_n(p->immediate_exit, 1, __ATOMIC_SEQ_CST);
	pthread_kill(p->thread, p->gate->signal);
}

static bool any_inside(struct vcpu_gate *g)
{
	for (struct vcpu_pass *p = g->pass; p; p = p->next) {
		if (atomic_load(&p->inside))
			return true;
	}
	return false;
}

void vcpu_gate_hold(struct vcpu_gate *g)
{
	pthread_mutex_lock(&g->lock);
	atomic_fetch_add(&g->held, 1);
	for (struct vcpu_pass *p = g->pass; p; p = p->next) {
		if (atomic_load(&p->inside))
			kick(p);
	}
	while (any_inside(g))
		pthread_cond_wait(&g->changed, &g->lock);
	pthread_mutex_unlock(&g->lock);
}

void vcpu_gate_release(struct vcpu_gate *g)
{
	pthread_mutex_lock(&g->lock);
	if (atomic_fetch_sub(&g->held, 1) == 1)
		pthread_cond_broadcast(&g->changed);
	pthread_mutex_unlock(&g->lock);
}

void vcpu_gate_wake(struct vcpu_gate *g)
{
	pthread_mutex_lock(&g->lock);
	for (struct vcpu_pass *p = g->pass; p; p = p->next)
		kick(p);
	pthread_cond_broadcast(&g->changed);
	pthread_mutex_unlock(&g->lock);
}
