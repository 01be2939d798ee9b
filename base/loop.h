/*
 * Event loop: one epoll set and, once started, one thread that owns every handler in it.
 *
 * Who may call what: loop_call() and loop_post() from any thread; everything else from the loop's
 * own thread, or from any thread while the loop is not running (before loop_start(), after
 * loop_stop()). Handlers run on the loop's thread only, so what they own needs no lock.
 *
 * The structs loop_fd, loop_timer and loop_work are embedded in and owned by the caller's objects;
 * nothing here allocates after loop_init().
 */
#ifndef BASE_LOOP_H
#define BASE_LOOP_H

#include <pthread.h>
#include <stdatomic.h>
#include <sys/epoll.h>

#include "base/types.h"

#define LOOP_BATCH 64

struct loop_fd {
	int fd;
	void (*fn)(struct loop_fd *h, uint32_t epoll_events);
	bool added;
};

struct loop_timer {
	struct loop_fd h; /* a timerfd */
	void (*fn)(struct loop_timer *t);
};

struct loop_work {
	void (*fn)(struct loop_work *w);
	struct loop_work *next;
	bool queued; /* guarded by the loop's lock */
};

struct loop {
	const char *name;
	int epfd;
	int wakefd;
	struct loop_fd wake;
	pthread_t thread;
	_Atomic bool running; /* a thread serves the loop */
	_Atomic bool quit;
	pthread_mutex_t lock; /* guards work_head .. work_tail */
	pthread_cond_t done;
	struct loop_work *work_head, *work_tail;
	struct epoll_event batch[LOOP_BATCH]; /* loop thread only */
	int batch_len, batch_pos;
	bool in_turn, posted_here; /* loop thread only; what it posts to itself needs no wake-up */
};

/* name: shown as the thread's name (15 bytes of it); not copied. Errors: errno of epoll/eventfd. */
int loop_init(struct loop *l, const char *name);
void loop_fini(struct loop *l); /* not running, all handlers deleted */

int loop_start(struct loop *l); /* a thread of its own */
void loop_run(struct loop *l);	/* serve on the calling thread until loop_quit() */
/* One turn: waits for events, for timeout_ms at most (-1: for ever), handles them and work that is
 * posted meanwhile on this thread. How many events there were. */
unsigned loop_turn(struct loop *l, int timeout_ms);
void loop_quit(struct loop *l); /* any thread; loop_run() returns soon after */
void loop_stop(struct loop *l); /* quit and join; work still queued is run first */

bool loop_on_thread(const struct loop *l);

/* h->fd and h->fn are set by the caller; events as for epoll_ctl(2). Errors: errno of epoll_ctl. */
int loop_add(struct loop *l, struct loop_fd *h, uint32_t events);
/* Any thread, while h stays added. A descriptor that is ready is reported anew. */
int loop_mod(struct loop *l, struct loop_fd *h, uint32_t events);
/* After return h->fn is not called again, also not for events already fetched. Idempotent.
 * Does not close the descriptor. */
void loop_del(struct loop *l, struct loop_fd *h);

int loop_timer_init(struct loop *l, struct loop_timer *t, void (*fn)(struct loop_timer *t));
void loop_timer_fini(struct loop *l, struct loop_timer *t);
/* One shot after delay_ns (0: at once); a second call replaces the first. */
void loop_timer_arm(struct loop_timer *t, uint64_t delay_ns);
void loop_timer_cancel(struct loop_timer *t);

/* Runs fn(arg) on the loop's thread and returns when it has returned. On the loop's own thread, or
 * while the loop is not running, it runs directly. Never call it with a lock held that a handler of
 * this loop takes. */
void loop_call(struct loop *l, void (*fn)(void *arg), void *arg);
/* Returns when every descriptor that was ready before the call, and all work posted before it, has
 * been handled: a call alone may overtake a descriptor. Holds for loops of up to LOOP_BATCH
 * descriptors that are ready at once. As loop_call() otherwise. */
void loop_flush(struct loop *l);
/* Runs w->fn once on the loop's thread, soon. Posting work that is still queued does nothing. */
void loop_post(struct loop *l, struct loop_work *w);

#endif
