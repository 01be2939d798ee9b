/*
 * The control socket of a running lab: RUN_DIR/LAB.sock (rundir.h), mode 0600, for processes of the
 * same user and root's.
 *
 * Protocol: one JSON object a line, each way; a request is answered before the next one is read.
 *
 *   {"cmd":"stat"}                                    one object: see control_stat.c
 *   {"cmd":"events","after":SEQ}                      an object for each binding change after SEQ
 *                                                     (0: all that are kept), oldest first, then
 *                                                     {"ok":true,"seq":LAST}
 *   {"cmd":"events","after":SEQ,"follow":true}        without an end: those to come, too, until the
 *                                                     next request or the end of the connection
 *   {"cmd":"swap","nic":"alpha.eth0","binding":"direct"|"uplink"|"mapped"|"auto"}
 *                                                     {"ok":true}: asked for; carried out at the
 *                                                     NIC's next ring boundary
 *   anything else                                     {"error":"…"}
 *
 * A reader of events who is too slow loses the oldest: {"lost":N} takes their place. The server
 * keeps at most one reply for each connection, and does not read while it has one.
 *
 * Main thread.
 */
#ifndef VMM_CONTROL_H
#define VMM_CONTROL_H

#include <jansson.h>

#include "base/loop.h"
#include "vmm/config.h"
#include "vmm/guest.h"
#include "vmm/nic_info.h"
#include "vmm/rundir.h"
#include "xtalk/remapper.h"

#define CONTROL_MAX_CLIENTS 16
#define CONTROL_LINE_MAX    4096 /* of a request, newline included */

struct control;
struct lab_view;

/* How to look at what the view leads to, by index in its cfg; a test brings its own. */
struct lab_view_ops {
	void (*guest)(const struct lab_view *v, unsigned guest, enum guest_state *state,
		      unsigned *restarts);
	void (*nic)(const struct lab_view *v, unsigned nic, struct nic_info *out);
	/* NULL: the net has no switch */
	const struct netswitch_stats *(*net)(const struct lab_view *v, unsigned net);
	/* pin = false: the detector decides again. -ENODEV: its guest has no machine now; -ENOTSUP:
	 * the net has no such binding; others of netswitch_command(). */
	int (*swap)(const struct lab_view *v, unsigned nic, bool pin, enum binding b);
};

/* What the server shows and changes; all of it outlives the server. */
struct lab_view {
	const struct lab_config *cfg;
	struct guest *guest;	     /* one for each of cfg, initialised */
	struct netswitch *const *sw; /* one for each net of cfg; NULL: the net has no switch */
	struct remapper *remapper;   /* NULL: no events */
	const struct lab_view_ops *ops;
};

/* The real thing. */
extern const struct lab_view_ops lab_view_ops;

/*
 * Opens the socket in the run directory, or in `dir`; sockets that nobody listens on any more are
 * removed on the way. A lab runs well without one, so an error is logged as a warning, and the
 * caller may go on. Errors: -EADDRINUSE: a lab of this name is running; those of rundir_open(),
 * socket(2), bind(2), epoll_ctl(2).
 */
int control_create(struct control **out, struct loop *main_loop, const struct lab_view *view);
int control_create_in(struct control **out, struct loop *main_loop, const struct lab_view *view,
		      const struct rundir *dir);
/* Ends every connection and removes the socket. NULL is allowed. */
void control_destroy(struct control *c);

/* The answer to stat; NULL: out of memory. uptime_ms: of the lab. (control_stat.c) */
json_t *control_stat(const struct lab_view *view, uint64_t uptime_ms);
json_t *control_event(const struct xtalk_event *ev);
/* An error whose text need not be UTF-8. */
json_t *control_error(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

#endif
