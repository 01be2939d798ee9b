/*
 * The mapped lane, the sender's side: see map_lane.h. How it begins is in map_enter.c, what happens
 * to pages in map_work.c.
 *
 * On the sender's loop, inside of a batch.
 */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "xtalk/map_internal.h"

void map_lane_not_mapped(struct map_lane *l, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(l->not_mapped, sizeof(l->not_mapped), fmt, ap);
	va_end(ap);
}

void map_lane_back_off(struct map_lane *l, uint64_t now)
{
	l->retry_ns = now + (MAP_BACKOFF_NS << l->failures);
	if (l->failures < MAP_BACKOFF_DOUBLINGS)
		l->failures++;
}

/* -- Waiting -- */

void map_wait_for(struct member *m, struct member *to, uint64_t until, uint64_t now)
{
	atomic_store(&m->map_waits_for, to ? (int)to->slot : -1);
	atomic_store(&m->map_until, until);
	if (to)
		atomic_store(&to->awaited, true);
	switch_arm_tick(m->sw, until > now ? until - now : 0);
}

void map_wait_over(struct member *m)
{
	if (!atomic_load_explicit(&m->map_until, memory_order_relaxed))
		return;
	atomic_store(&m->map_waits_for, -1);
	atomic_store(&m->map_until, 0);
}

/* -- Completing -- */

static void complete(struct member *m, unsigned n)
{
	struct map_lane *l = m->map;

	if (!n)
		return;
	m->port->ops->tx_done(m->port, n);
	l->kept -= n;
}

static void complete_all(struct member *m)
{
	complete(m, m->map->kept);
}

void map_give_up(struct member *m)
{
	map_set_state(m->map, MAP_OFF);
	complete_all(m);
	map_wait_over(m);
}

/* A sender that writes to a slot after it has sent it breaks the contract. Its receiver may write
 * to what it got, so this can be told only where that one can't. */
static bool rewritten(const struct map_lane *l, const struct map_put *p, const uint8_t *slot)
{
	uint32_t n = p->len < FRAME_HEAD_BYTES ? p->len : FRAME_HEAD_BYTES;

	return l->mapping.rx->receive_readonly && memcmp(p->head, slot, n) != 0;
}

/* Completes what the receiver has given back. Its receive side is open. */
static void collect(struct member *m, struct member *to, uint64_t now)
{
	struct map_lane *l = m->map;
	unsigned given = to->port->ops->rx_slots_given(to->port), done = 0, back;
	bool bad = false;

	if (given > l->nr)
		given = l->nr;
	if (l->puts + given <= l->nr)
		return;
	back = l->puts + given - l->nr;
	for (unsigned i = 0; i < back; i++) {
		const struct map_put *p = &l->put[l->first];

		bad = bad || (p->kept && rewritten(l, p, l->tx.slot[p->tx].at));
		done += p->kept;
		l->first = l->first + 1 < l->nr ? l->first + 1 : 0;
		l->puts--;
	}
	l->progress_ns = now;
	complete(m, done);
	if (bad)
		map_lane_end(m, BINDING_DIRECT, WHY_SLOTS, "a frame was changed after it was sent");
}

/* -- Ending -- */

bool map_lane_end(struct member *m, enum binding to, enum xtalk_why why, const char *detail)
{
	struct map_lane *l = m->map;

	if (!l)
		return false;
	switch (map_state_of(l)) {
	case MAP_OFF:
		return false;
	case MAP_GATHER:
	case MAP_WAIT:
		map_give_up(m);
		return false;
	case MAP_ON:
		l->leave_to = to;
		l->why = why;
		snprintf(l->detail, sizeof(l->detail), "%s", detail ? detail : "");
		l->began_ns = switch_now_ns();
		map_wait_over(m);
		map_set_state(l, MAP_LEAVING);
		loop_post(remapper_loop(m->sw->p.remapper), &m->sw->map_work);
		return true;
	case MAP_MOVING:
	case MAP_LEAVING:
		l->leave_to = to;
		return true;
	}
	return false;
}

void map_lane_hurry(struct member *m)
{
	struct map_lane *l = m->map;

	if (!l)
		return;
	l->retry_ns = 0;
	l->failures = 0;
}

/* -- One frame -- */

/* ON: a receiver that is not live takes the lane down, whether it says so (it stops) or not (a ring
 * that breaks a rule). */
static bool open_receiver(struct member *m, struct member *to)
{
	if (!map_lane_is(m->map, MAP_ON))
		return false;
	if (delivery_open(&m->delivery, to->port))
		return true;
	map_lane_end(m, BINDING_DIRECT, WHY_RESET, NULL);
	return false;
}

/* n: less than l->nr. */
static struct map_put *put_at(struct map_lane *l, unsigned n)
{
	unsigned at = l->first + n;

	return &l->put[at < l->nr ? at : at - l->nr];
}

/* put[] has a place for each slot. They may all be taken although the receiver has given some back,
 * or claims so: these are collected first. */
static int put_next(const struct map_lane *l, struct member *to, const struct frame *f,
		    uint32_t len)
{
	if (l->puts >= l->nr)
		return -ENOBUFS;
	return to->port->ops->rx_slot_put(to->port, &f->hdr, len);
}

/* Uses up the receiver's next slot. Its receive side is open. */
static int put(struct member *m, struct member *to, const struct frame *f, uint32_t len)
{
	struct map_lane *l = m->map;
	struct map_put *p;
	int rc = put_next(l, to, f, len);

	if (rc == -ENOBUFS) {
		uint64_t now = switch_now_ns();

		collect(m, to, now);
		map_wait_for(m, to, l->progress_ns + map_deadline_ns(m), now);
		/* It may have given some before it knew that it is awaited. */
		rc = put_next(l, to, f, len);
	}
	if (rc)
		return rc;
	if (!l->puts)
		l->progress_ns = m->batch_ns;
	p = put_at(l, l->puts++);
	p->len = len;
	p->kept = false;
	p->tx = (uint16_t)l->pos;
	p->rx = (uint16_t)l->rxpos;
	if (l->mapping.rx->receive_readonly)
		memcpy(p->head, f->head, FRAME_HEAD_BYTES);
	m->delivery.frames++;
	l->rxpos = l->rxpos + 1 < l->nr ? l->rxpos + 1 : 0;
	l->put_done = true;
	return 0;
}

/* What a put that failed means: always -EAGAIN, the frame will take another way then. */
static int put_failed(struct member *m, int err, uint32_t len)
{
	char detail[64];

	switch (err) {
	case -ESTALE:
		map_lane_end(m, BINDING_DIRECT, WHY_SLOTS, "a receive slot has moved");
		break;
	case -EMSGSIZE:
		snprintf(detail, sizeof(detail), "%u bytes do not fit its slot as they are", len);
		map_lane_end(m, BINDING_DIRECT, WHY_FRAME, detail);
		break;
	default:
		break; /* no slot yet; or it stops, and takes the lane down with it */
	}
	return -EAGAIN;
}

int map_lane_put(struct member *m, const struct frame *f)
{
	struct member *to = map_receiver(m);
	uint64_t features;
	int rc;

	if (!open_receiver(m, to))
		return -EAGAIN;
	features = atomic_load_explicit(&to->port->rx_features, memory_order_relaxed);
	if (vnet_hdr_needs(&f->hdr) & ~features) {
		map_lane_end(m, BINDING_DIRECT, WHY_FRAME, "it can't take the frame's offloads");
		return -EAGAIN;
	}
	rc = put(m, to, f, f->len);
	return rc ? put_failed(m, rc, f->len) : 0;
}

/* Does a group frame come to map_lane_put() on its way to all? */
static bool group_comes_by(const struct member *m, const struct frame *f)
{
	return mac_is_group(f->head) && !m->sw->p.own_uplinks;
}

int map_lane_before(struct member *m, const struct frame *f, bool allowed)
{
	struct map_lane *l = m->map;
	struct member *to;
	int rc;

	switch (map_state_of(l)) {
	case MAP_OFF:
	case MAP_GATHER:
		l->dst = NETSWITCH_MAX_PORTS;
		return 0;
	case MAP_WAIT:
	case MAP_MOVING:
	case MAP_LEAVING:
		return -EAGAIN;
	case MAP_ON:
		break;
	}
	if (f->slot != l->tx.slot[l->pos].at) {
		map_lane_end(m, BINDING_DIRECT, WHY_SLOTS, "a transmit slot has moved");
		return -EAGAIN;
	}
	if (f->slot_hdr && (uintptr_t)f->slot_hdr >= l->low && (uintptr_t)f->slot_hdr < l->high) {
		map_lane_end(m, BINDING_DIRECT, WHY_SLOTS, "a header lies among the slots");
		return -EAGAIN;
	}
	if (!allowed) {
		/* Its own doing, or its receiver writes to slots that are not its turn: either way
		 * the two had better not share them. */
		map_lane_end(m, BINDING_DIRECT, WHY_SLOTS, "a frame with a foreign source address");
		return -EAGAIN;
	}
	if (m->again && l->put_done)
		return 0; /* it waits for somebody else */
	l->put_done = false;
	if (mac_value(f->head) == l->to_mac) {
		l->dst = l->to;
		return MAP_LANE_OWN;
	}
	l->dst = NETSWITCH_MAX_PORTS;
	if (group_comes_by(m, f))
		return 0;
	/* A frame for somebody else uses the receiver's slot up, too: the rings go in step. */
	to = map_receiver(m);
	if (!open_receiver(m, to))
		return -EAGAIN;
	rc = put(m, to, f, 0);
	return rc ? put_failed(m, rc, 0) : 0;
}

/* ON: the frame is done. */
static int keep(struct member *m)
{
	struct map_lane *l = m->map;
	const struct slot_track *t = &l->track;

	if (map_lane_is(l, MAP_ON) && l->put_done && !l->puts)
		; /* given back already, and everything before it */
	else if (map_lane_is(l, MAP_ON) && l->put_done)
		put_at(l, l->puts - 1)->kept = true;
	else if (map_lane_is(l, MAP_ON)) /* it should have gone to the receiver, and did not */
		map_lane_end(m, BINDING_DIRECT, WHY_FRAME, NULL);
	l->pos = l->pos + 1 < l->nr ? l->pos + 1 : 0;
	if (map_lane_is(l, MAP_ON) && !t->at &&
	    (t->turn_dst != l->to || t->turn_to_dst * 200 < t->nr * m->sw->p.rules.share_percent) &&
	    m->batch_ns - l->since_ns > MAP_DWELL_NS && m->ordered != BINDING_MAPPED)
		map_lane_end(m, BINDING_DIRECT, WHY_TRAFFIC, NULL);
	if (l->put_done && !l->puts)
		return 0;
	l->kept++;
	return CARRIER_KEPT;
}

int map_lane_after(struct member *m, const struct frame *f)
{
	struct map_lane *l = m->map;
	unsigned at = l->track.at;

	slot_track_frame(&l->track, f->slot, f->slot_hdr, l->dst, m->batch_ns);
	switch (map_state_of(l)) {
	case MAP_GATHER:
		return map_enter_gather(m, f, at);
	case MAP_ON:
	case MAP_LEAVING:
		return keep(m);
	default:
		if (!l->track.at)
			map_enter_consider(m, m->batch_ns);
		return 0;
	}
}

/* -- The receiver's doorbell -- */

static void bell_rung(struct loop_fd *h, uint32_t events)
{
	struct map_lane *l = container_of(h, struct map_lane, bell);

	l->rung = true;
	l->sender->ops->tx_resume(l->sender);
}

/* Without it the receiver's loop says when slots have been given. Its receive side is open. */
static void follow(struct member *m, struct member *to)
{
	struct map_lane *l = m->map;
	const struct port_ops *ops = to->port->ops;

	l->follow = false;
	l->sender = m->port;
	l->bell.fn = bell_rung;
	if (ops->rx_slots_follow)
		ops->rx_slots_follow(to->port, m->port->loop, &l->bell);
}

void map_lane_unfollow(struct member *m)
{
	struct loop_fd *bell = m->map ? &m->map->bell : NULL;

	if (!bell || !bell->added)
		return;
	loop_del(m->port->loop, bell);
	close(bell->fd);
}

/* -- The batch -- */

static void service_on(struct member *m, bool end)
{
	struct map_lane *l = m->map;
	struct member *to = map_receiver(m);
	uint64_t now = end ? switch_now_ns() : m->batch_ns, until;
	unsigned had = l->puts;

	complete(m, l->release);
	l->release = 0;
	if (!open_receiver(m, to))
		return;
	if (l->follow)
		follow(m, to);
	if (l->rung)
		stat_add(&to->port->stats.rx_lent, 1);
	l->rung = false;
	collect(m, to, now);
	if (!map_lane_is(l, MAP_ON) || !end)
		return;
	/* `again` without a slot to wait for: the frame waits for somebody else; or the receiver
	 * has taken slots back. */
	if (!l->puts && (!m->again || l->put_done)) {
		map_wait_over(m);
		return;
	}
	until = l->progress_ns + map_deadline_ns(m);
	if (now >= until) {
		l->rescues++;
		map_lane_end(m, BINDING_DIRECT, WHY_DEADLINE, NULL);
		return;
	}
	map_wait_for(m, to, until, now);
	/* Half of them at a time: fewer doorbells, and soon enough for a sender that waits. */
	if (to->port->ops->rx_slots_watch(to->port, l->puts > 1 ? l->puts / 2 : 1))
		collect(m, to, now);
	/* The slot that the frame waited for came after put() had looked, and with it all others:
	 * no doorbell will follow. */
	if (had && !l->puts && m->again && !l->put_done)
		m->port->ops->tx_resume(m->port);
}

void map_lane_service(struct member *m, bool end)
{
	struct map_lane *l = m->map;

	if (l->bell.added && !map_lane_is(l, MAP_ON))
		map_lane_unfollow(m);
	switch (map_state_of(l)) {
	case MAP_OFF:
		if (l->kept)
			complete_all(m);
		break;
	case MAP_GATHER:
		if (end)
			map_enter_look(m, switch_now_ns());
		break;
	case MAP_WAIT:
		if (end)
			map_enter_wait(m, switch_now_ns());
		break;
	case MAP_ON:
		service_on(m, end);
		break;
	case MAP_MOVING:
	case MAP_LEAVING:
		break;
	}
}
