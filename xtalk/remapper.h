/*
 * The remapper: the one thread of a lab that watches over swaps (time limits of drains and of held
 * senders), keeps the log of binding changes, and, once there are mapped lanes, the only one that
 * changes mappings.
 */
#ifndef XTALK_REMAPPER_H
#define XTALK_REMAPPER_H

#include <pthread.h>

#include "base/loop.h"
#include "xtalk/xtalk.h"

struct remapper;

#define REMAPPER_EVENTS 256 /* kept for who asks later */

/* Starts the thread. Errors: -ENOMEM, errno of epoll, timerfd and pthread_create. */
int remapper_create(struct remapper **out);
void remapper_destroy(struct remapper *r); /* all switches are gone */

struct loop *remapper_loop(struct remapper *r);

/* Notes a change: one log line, one event. Never blocks on anything but a short lock; any thread.
 * seq and time_ns are filled in here. */
void remapper_note(struct remapper *r, const struct xtalk_event *ev);

/* Copies events with seq > after, oldest first; returns how many (at most max). Any thread. */
unsigned remapper_events(struct remapper *r, uint64_t after, struct xtalk_event *out, unsigned max);
/* eventfd that becomes readable when there are new events; the one reader (control.c) reads it. */
int remapper_event_fd(struct remapper *r);

#endif
