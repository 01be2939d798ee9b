/*
 * Event loop: see loop.h.
 *
 * The lock guards the list of posted work and loop_call()'s completion flags; epoll itself needs
 * none. Level-triggered throughout.
 */
#include "base/loop.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

struct call {
	struct loop_work work;
	struct loop *loop;
	void (*fn)(void *arg);
	void *arg;
	bool finished;
};

/* Runs what is queued now. Work that is posted meanwhile waits for the next turn, so that work that
 * keeps posting itself cannot starve descriptors. */
static bool run_posted(struct loop *l)
{
	struct loop_work *last, *w;
	bool end;

	pthread_mutex_lock(&l->lock);
	last = l->work_tail;
	pthread_mutex_unlock(&l->lock);
	if (!last)
		return false;
	do {
		pthread_mutex_lock(&l->lock);
		w = l->work_head;
		l->work_head = w->next;
		if (!l->work_head)
			l->work_tail = NULL;
		w->queued = false;
		pthread_mutex_unlock(&l->lock);
		end = w == last; /* w may be gone once it has run */
		w->fn(w);
	} while (!end);
	return true;
}

/* The counter is never read: watched for edges, each write is an event. */
static void on_wake(struct loop_fd *h, uint32_t events)
{
	run_posted(container_of(h, struct loop, wake));
}

static void wake(struct loop *l)
{
	uint64_t one = 1;

	/* Fails only when the counter is full, and then the loop is awake anyway. */
	while (write(l->wakefd, &one, sizeof(one)) < 0 && errno == EINTR)
		;
}

int loop_init(struct loop *l, const char *name)
{
	int rc;

	memset(l, 0, sizeof(*l));
	l->name = name;
	l->epfd = epoll_create1(EPOLL_CLOEXEC);
	if (l->epfd < 0)
		return -errno;
	l->wakefd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (l->wakefd < 0) {
		rc = -errno;
		goto out_epoll;
	}
	pthread_mutex_init(&l->lock, NULL);
	pthread_cond_init(&l->done, NULL);
	l->wake = (struct loop_fd){ .fd = l->wakefd, .fn = on_wake };
	rc = loop_add(l, &l->wake, EPOLLIN | EPOLLET);
	if (rc)
		goto out_wake;
	return 0;

out_wake:
	pthread_cond_destroy(&l->done);
	pthread_mutex_destroy(&l->lock);
	close(l->wakefd);
out_epoll:
	close(l->epfd);
	return rc;
}

void loop_fini(struct loop *l)
{
	pthread_cond_destroy(&l->done);
	pthread_mutex_destroy(&l->lock);
	close(l->wakefd);
	close(l->epfd);
}

unsigned loop_turn(struct loop *l, int timeout_ms)
{
	int n = epoll_wait(l->epfd, l->batch, LOOP_BATCH, l->posted_here ? 0 : timeout_ms);

	if (n < 0)
		n = 0; /* EINTR; nothing else can happen to a valid set */
	l->in_turn = true;
	l->batch_len = n;
	for (l->batch_pos = 0; l->batch_pos < l->batch_len; l->batch_pos++) {
		struct epoll_event *ev = &l->batch[l->batch_pos];
		struct loop_fd *h = ev->data.ptr;

		/* NULL: deleted by an earlier handler of this batch. */
		if (h)
			h->fn(h, ev->events);
	}
	l->batch_len = 0;
	if (l->posted_here) {
		l->posted_here = false;
		run_posted(l);
	}
	l->in_turn = false;
	return (unsigned)n;
}

void loop_run(struct loop *l)
{
	while (!atomic_load(&l->quit))
		loop_turn(l, -1);
}

static void *loop_main(void *arg)
{
	struct loop *l = arg;
	char name[16];

	strncpy(name, l->name, sizeof(name) - 1);
	name[sizeof(name) - 1] = 0;
	pthread_setname_np(pthread_self(), name);
	/* l->thread and l->running are set under the lock: wait for them. */
	pthread_mutex_lock(&l->lock);
	pthread_mutex_unlock(&l->lock);
	loop_run(l);
	return NULL;
}

int loop_start(struct loop *l)
{
	sigset_t all, old;
	int rc;

	atomic_store(&l->quit, false);
	/* Signals are the main thread's business. */
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	pthread_mutex_lock(&l->lock);
	rc = pthread_create(&l->thread, NULL, loop_main, l);
	if (!rc)
		atomic_store(&l->running, true);
	pthread_mutex_unlock(&l->lock);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	return -rc;
}

void loop_quit(struct loop *l)
{
	atomic_store(&l->quit, true);
	wake(l);
}

void loop_stop(struct loop *l)
{
	if (!atomic_load(&l->running))
		return;
	loop_quit(l);
	pthread_join(l->thread, NULL);
	pthread_mutex_lock(&l->lock);
	atomic_store(&l->running, false);
	pthread_mutex_unlock(&l->lock);
	/* Somebody may be waiting in loop_call() for work that the thread no longer took. */
	while (run_posted(l))
		;
}

bool loop_on_thread(const struct loop *l)
{
	return atomic_load(&l->running) && pthread_equal(pthread_self(), l->thread);
}

int loop_add(struct loop *l, struct loop_fd *h, uint32_t events)
{
	struct epoll_event ev = { .events = events, .data.ptr = h };

	if (epoll_ctl(l->epfd, EPOLL_CTL_ADD, h->fd, &ev))
		return -errno;
	h->added = true;
	return 0;
}

int loop_mod(struct loop *l, struct loop_fd *h, uint32_t events)
{
	struct epoll_event ev = { .events = events, .data.ptr = h };

	if (epoll_ctl(l->epfd, EPOLL_CTL_MOD, h->fd, &ev))
		return -errno;
	return 0;
}

void loop_del(struct loop *l, struct loop_fd *h)
{
	if (!h->added)
		return;
	epoll_ctl(l->epfd, EPOLL_CTL_DEL, h->fd, NULL);
	h->added = false;
	for (int i = l->batch_pos + 1; i < l->batch_len; i++) {
		if (l->batch[i].data.ptr == h)
			l->batch[i].data.ptr = NULL;
	}
}

static void on_timer(struct loop_fd *h, uint32_t events)
{
	struct loop_timer *t = container_of(h, struct loop_timer, h);
	uint64_t n;

	/* EAGAIN: cancelled or armed anew after epoll saw it expire. */
	if (read(h->fd, &n, sizeof(n)) == sizeof(n))
		t->fn(t);
}

int loop_timer_init(struct loop *l, struct loop_timer *t, void (*fn)(struct loop_timer *t))
{
	int rc;

	memset(t, 0, sizeof(*t));
	t->fn = fn;
	t->h.fn = on_timer;
	t->h.fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
	if (t->h.fd < 0)
		return -errno;
	rc = loop_add(l, &t->h, EPOLLIN);
	if (rc) {
		close(t->h.fd);
		t->h.fd = -1;
	}
	return rc;
}

void loop_timer_fini(struct loop *l, struct loop_timer *t)
{
	if (!t->fn || t->h.fd < 0)
		return;
	loop_del(l, &t->h);
	close(t->h.fd);
	t->h.fd = -1;
}

void loop_timer_arm(struct loop_timer *t, uint64_t delay_ns)
{
	/* A value of zero would disarm. */
	uint64_t ns = delay_ns ? delay_ns : 1;
	struct itimerspec its = { .it_value = { .tv_sec = (time_t)(ns / 1000000000ull),
						.tv_nsec = (long)(ns % 1000000000ull) } };

	timerfd_settime(t->h.fd, 0, &its, NULL);
}

void loop_timer_cancel(struct loop_timer *t)
{
	struct itimerspec its = { 0 };

	timerfd_settime(t->h.fd, 0, &its, NULL);
}

/* Under the lock. */
static void enqueue(struct loop *l, struct loop_work *w)
{
	if (w->queued)
		return;
	w->queued = true;
	w->next = NULL;
	if (l->work_tail)
		l->work_tail->next = w;
	else
		l->work_head = w;
	l->work_tail = w;
}

void loop_post(struct loop *l, struct loop_work *w)
{
	pthread_mutex_lock(&l->lock);
	enqueue(l, w);
	pthread_mutex_unlock(&l->lock);
	/* in_turn is its thread's: nobody else may look. */
	if (loop_on_thread(l) && l->in_turn)
		l->posted_here = true;
	else
		wake(l);
}

static void run_call(struct loop_work *w)
{
	struct call *c = container_of(w, struct call, work);
	struct loop *l = c->loop;

	c->fn(c->arg);
	pthread_mutex_lock(&l->lock);
	c->finished = true;
	pthread_cond_broadcast(&l->done);
	pthread_mutex_unlock(&l->lock);
}

void loop_call(struct loop *l, void (*fn)(void *arg), void *arg)
{
	struct call c = { .work = { .fn = run_call }, .loop = l, .fn = fn, .arg = arg };

	pthread_mutex_lock(&l->lock);
	if (!atomic_load(&l->running) || pthread_equal(pthread_self(), l->thread)) {
		pthread_mutex_unlock(&l->lock);
		fn(arg);
		return;
	}
	enqueue(l, &c.work);
	wake(l);
	while (!c.finished)
		pthread_cond_wait(&l->done, &l->lock);
	pthread_mutex_unlock(&l->lock);
}

static void nothing(void *arg)
{
}

void loop_flush(struct loop *l)
{
	/* A turn may take two calls, one when it is woken and one at its end, and two may be taken
	 * in one for which epoll was asked before the descriptor was ready. The turn of the third
	 * has the descriptor, but perhaps behind the call. When the fourth is taken, all of that
	 * turn has been handled. */
	for (unsigned i = 0; i < 4; i++)
		loop_call(l, nothing, NULL);
}
