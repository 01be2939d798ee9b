/*
 * The remapper's thread and the log of binding changes: see remapper.h.
 *
 * A change is noted by the sender's loop in the middle of a batch; writing the log line is this
 * thread's work. `lock` guards the ring of events.
 */
#include "xtalk/remapper.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "base/log.h"

struct remapper {
	struct loop loop;
	struct loop_work log_work;
	int event_fd;
	pthread_mutex_t lock;
	uint64_t last;				  /* seq of the newest event; the first is 1 */
	uint64_t logged;			  /* up to here */
	struct xtalk_event ring[REMAPPER_EVENTS]; /* seq s is at s % REMAPPER_EVENTS */
};

static void log_event(const struct xtalk_event *ev)
{
	char frames[192] = "", swap[48] = "", detail[sizeof(ev->detail) + 2] = "";

	if (ev->window)
		snprintf(frames, sizeof(frames),
			 ", %u of the last %u frames%s%s, detected in %llu us", ev->frames,
			 ev->window, ev->peer[0] ? " to " : " to no guest", ev->peer,
			 (unsigned long long)ev->detect_us);
	if (ev->swap_us)
		snprintf(swap, sizeof(swap), ", swapped in %llu us",
			 (unsigned long long)ev->swap_us);
	if (ev->detail[0])
		snprintf(detail, sizeof(detail), ": %s", ev->detail);
	if (ev->from == ev->to)
		log_info(ev->net, "%s: stays %s (%s%s%s)", ev->nic, binding_name(ev->to),
			 xtalk_why_name(ev->why), detail, frames);
	else
		log_info(ev->net, "%s: %s to %s (%s%s%s%s)", ev->nic, binding_name(ev->from),
			 binding_name(ev->to), xtalk_why_name(ev->why), detail, frames, swap);
}

/* On the remapper's loop. */
static void on_log(struct loop_work *w)
{
	struct remapper *r = container_of(w, struct remapper, log_work);
	struct xtalk_event ev;

	for (;;) {
		pthread_mutex_lock(&r->lock);
		if (r->logged == r->last) {
			pthread_mutex_unlock(&r->lock);
			return;
		}
		if (r->last - r->logged > REMAPPER_EVENTS)
			r->logged = r->last - REMAPPER_EVENTS; /* overwritten unread */
		ev = r->ring[++r->logged % REMAPPER_EVENTS];
		pthread_mutex_unlock(&r->lock);
		log_event(&ev);
	}
}

int remapper_create(struct remapper **out)
{
	struct remapper *r = calloc(1, sizeof(*r));
	int rc;

	if (!r)
		return -ENOMEM;
	r->log_work.fn = on_log;
	pthread_mutex_init(&r->lock, NULL);
	r->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (r->event_fd < 0) {
		rc = -errno;
		goto out_free;
	}
	rc = loop_init(&r->loop, "remapper");
	if (rc)
		goto out_fd;
	rc = loop_start(&r->loop);
	if (rc)
		goto out_loop;
	*out = r;
	return 0;

out_loop:
	loop_fini(&r->loop);
out_fd:
	close(r->event_fd);
out_free:
	pthread_mutex_destroy(&r->lock);
	free(r);
	return rc;
}

void remapper_destroy(struct remapper *r)
{
	if (!r)
		return;
	loop_stop(&r->loop);
	loop_fini(&r->loop);
	close(r->event_fd);
	pthread_mutex_destroy(&r->lock);
	free(r);
}

struct loop *remapper_loop(struct remapper *r)
{
	return &r->loop;
}

void remapper_note(struct remapper *r, const struct xtalk_event *ev)
{
	struct xtalk_event *slot;
	uint64_t one = 1;
	struct timespec ts;

	clock_gettime(CLOCK_REALTIME, &ts);
	pthread_mutex_lock(&r->lock);
	slot = &r->ring[++r->last % REMAPPER_EVENTS];
	*slot = *ev;
	slot->seq = r->last;
	slot->time_ns = (uint64_t)ts.tv_sec * UINT64_C(1000000000) + (uint64_t)ts.tv_nsec;
	pthread_mutex_unlock(&r->lock);
	/* Fails only when nobody reads it, and then the counter is high enough. */
	if (write(r->event_fd, &one, sizeof(one)) < 0)
		log_debug(NULL, "event counter is full");
	loop_post(&r->loop, &r->log_work);
}

unsigned remapper_events(struct remapper *r, uint64_t after, struct xtalk_event *out, unsigned max)
{
	uint64_t seq;
	unsigned n = 0;

	pthread_mutex_lock(&r->lock);
	seq = after < r->last ? after + 1 : r->last + 1; /* whatever a client asks for */
	if (r->last > REMAPPER_EVENTS && seq <= r->last - REMAPPER_EVENTS)
		seq = r->last - REMAPPER_EVENTS + 1;
	for (; seq <= r->last && n < max; seq++)
		out[n++] = r->ring[seq % REMAPPER_EVENTS];
	pthread_mutex_unlock(&r->lock);
	return n;
}

int remapper_event_fd(struct remapper *r)
{
	return r->event_fd;
}
