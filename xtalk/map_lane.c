/*
 * The mapped lane, the sender's side: see map_lane.h. What happens to pages is in map_work.c.
 *
 * On the sender's loop, inside of a batch.
 */
#include "xtalk/map_lane.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "xtalk/switch_internal.h"

static void set_state(struct map_lane *l, enum map_state s)
{
	atomic_store_explicit(&l->state, s, memory_order_relaxed);
}

static enum map_state state_of(const struct map_lane *l)
{
	return (enum map_state)atomic_load_explicit(&l->state, memory_order_relaxed);
}

static struct member *receiver(struct member *m)
{
	return m->sw->members[m->map->to];
}

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

static uint64_t deadline_ns(const struct member *m)
{
	return m->sw->p.rules.slot_deadline_us * UINT64_C(1000);
}

/* Wakes this sender when `to` (NULL: nobody) has slots or buffers again, or at `until`. */
static void wait_for(struct member *m, struct member *to, uint64_t until, uint64_t now)
{
	atomic_store(&m->map_waits_for, to ? (int)to->slot : -1);
	atomic_store(&m->map_until, until);
	if (to)
		atomic_store(&to->awaited, true);
	switch_arm_tick(m->sw, until > now ? until - now : 0);
}

static void wait_over(struct member *m)
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

/* Back to ordinary `direct`, nothing was mapped. */
static void give_up(struct member *m)
{
	set_state(m->map, MAP_OFF);
	complete_all(m);
	wait_over(m);
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
	switch (state_of(l)) {
	case MAP_OFF:
		return false;
	case MAP_GATHER:
	case MAP_WAIT:
		give_up(m);
		return false;
	case MAP_ON:
		l->leave_to = to;
		l->why = why;
		snprintf(l->detail, sizeof(l->detail), "%s", detail ? detail : "");
		l->began_ns = switch_now_ns();
		wait_over(m);
		set_state(l, MAP_LEAVING);
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

/* -- Beginning -- */

/* Does anybody want it: vm.ini and the detector, or an order? An order for another binding stands
 * against it. */
static bool wanted(const struct member *m)
{
	if (m->ordered == BINDING_MAPPED)
		return true;
	return m->ordered == COMMAND_AUTO && m->sw->p.rules.mode != XTALK_OFF;
}

/* Whether a lane to that member could ever be mapped, or what is against it. */
static const char *obstacle(const struct member *m, const struct member *to)
{
	const struct port_memory *a = m->port->memory, *b = to->port->memory;
	const struct port_ops *ops = to->port->ops;

	if (!b)
		return "the receiver's slots are not to be mapped";
	if (!ops->rx_slots_look)
		return "the receiver's model has no slots";
	if (!atomic_load(&to->port->slots_stable))
		return "the receiver's slots are not stable";
	if (!a->domain[0] || strcmp(a->domain, b->domain))
		return "different domains";
	if (to->rx_mapped_by)
		return "the receiver is mapped to another sender";
	return NULL;
}

static void begin_gather(struct member *m, uint64_t now)
{
	m->map->began_ns = now;
	m->map->seen = 0;
	m->map->seen_ns = now;
	/* One slot may be left out: what is noted of it is of an earlier try, perhaps with another
	 * receiver. */
	memset(m->map->sent, 0, sizeof(m->map->sent));
	set_state(m->map, MAP_GATHER);
	wait_for(m, NULL, now + deadline_ns(m) / MAP_IDLE_PART, now);
}

/* False: it has to be made first. */
static bool buffer_ready(struct member *m)
{
	int none = MAP_BUFFER_NONE;

	if (atomic_load(&m->map->buffer) == MAP_BUFFER_READY)
		return true;
	if (atomic_compare_exchange_strong(&m->map->buffer, &none, MAP_BUFFER_WANTED))
		loop_post(remapper_loop(m->sw->p.remapper), &m->sw->map_work);
	return false;
}

/* A try has come to nothing. */
static void back_off(struct member *m, uint64_t now)
{
	int ready = MAP_BUFFER_READY;

	map_lane_back_off(m->map, now);
	if (atomic_compare_exchange_strong(&m->map->buffer, &ready, MAP_BUFFER_UNWANTED))
		loop_post(remapper_loop(m->sw->p.remapper), &m->sw->map_work);
}

/* At the end of a turn. */
static void consider(struct member *m, uint64_t now)
{
	struct map_lane *l = m->map;
	const struct slot_track *t = &l->track;
	const char *against;
	struct member *to;

	/* A driver that came after the one that m->map was made for may not have declared it. */
	if (!slot_track_stable(t) || !atomic_load(&m->port->slots_stable) || !wanted(m) ||
	    now < l->retry_ns || t->turn_dst >= NETSWITCH_MAX_PORTS ||
	    atomic_load(&m->binding) != BINDING_DIRECT || m->swap_pending)
		return;
	if (t->turn_to_dst * 100 < t->nr * m->sw->p.rules.share_percent)
		return;
	to = m->sw->members[t->turn_dst];
	if (!to || to == m || !to->started || (m->uplink && m->lane[to->slot] != LANE_OPEN))
		return;
	against = obstacle(m, to);
	if (!against && t->turn_ns > MAP_GATHER_LIMIT_NS / 2 && m->ordered != BINDING_MAPPED)
		against = "too little traffic";
	if (against) {
		map_lane_not_mapped(l, "%s", against);
		back_off(m, now);
		return;
	}
	if (l->sampled && (l->sampled_to != to->slot || l->to_mac != to->mac))
		l->sampled = false;
	l->to = to->slot;
	l->to_mac = to->mac;
	l->nr = t->nr;
	if (buffer_ready(m))
		begin_gather(m, now);
}

/* Has the receiver given back all of its slots? 1: yes, and l->rx is the list; 0: not yet; less:
 * never mind. */
static int receiver_empty(struct member *m, struct member *to, uint64_t now)
{
	struct map_lane *l = m->map;
	const char *why = "";
	int rc;

	if (!delivery_open(&m->delivery, to->port))
		return -ENOTCONN;
	rc = to->port->ops->rx_slots_look(to->port, &l->tx, &why); /* tx: not in use now */
	if (rc) {
		map_lane_not_mapped(l, "receiver: %s", rc == -ENOTSUP ? why : "stopped");
		return rc;
	}
	if (l->tx.nr == l->nr)
		return 1;
	if (l->tx.nr < l->nr && now - l->began_ns < deadline_ns(m))
		return 0;
	/* The same twice: so many there are. */
	if (l->tx.nr > l->nr || l->tx.nr == l->short_nr)
		map_lane_not_mapped(l, "rings %u/%u", l->nr, l->tx.nr);
	else
		map_lane_not_mapped(l, "the receiver sits on its slots");
	l->short_nr = l->tx.nr;
	return -EXDEV;
}

/* WAIT: all of the sender's slots are ours. */
static void wait_for_receiver(struct member *m, uint64_t now)
{
	struct map_lane *l = m->map;
	struct member *to = receiver(m);
	int rc = to && to->started ? receiver_empty(m, to, now) : -ENOTCONN;
	bool again;

	if (!rc) {
		wait_for(m, to, now + MAP_WAIT_STEP_NS, now);
		if (!to->port->ops->rx_slots_watch(to->port, l->nr - l->tx.nr))
			return;
		/* It gave them before it knew that they are awaited: no doorbell will come. */
		rc = receiver_empty(m, to, now);
		if (!rc)
			return;
	}
	if (rc < 0) {
		back_off(m, now);
		give_up(m);
		return;
	}
	if (l->sampled && slot_list_same_ring(&l->rx, &l->tx)) {
		wait_over(m);
		l->undo = false;
		set_state(l, MAP_MOVING);
		loop_post(remapper_loop(m->sw->p.remapper), &m->sw->map_work);
		return;
	}
	/* Once is no ring: it has to look the same after one more turn of the sender's. */
	again = !l->sampled;
	if (!again) {
		unsigned all = slot_lists_distinct(&l->rx, &l->tx);

		if (all > l->nr) /* some of them were with the driver, both times */
			map_lane_not_mapped(l, "rings %u/%u", l->nr, all);
		else
			map_lane_not_mapped(l, "receiver: slots come in another order");
		back_off(m, now);
	}
	l->rx = l->tx;
	l->sampled = again;
	l->sampled_to = to->slot;
	give_up(m);
	if (again)
		begin_gather(m, now);
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
		wait_for(m, to, l->progress_ns + deadline_ns(m), now);
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
	struct member *to = receiver(m);
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

/* Will the frame come to map_lane_put()? */
static bool for_receiver(const struct member *m, const struct frame *f)
{
	if (mac_is_group(f->head))
		return !m->sw->p.own_uplinks;
	return mac_value(f->head) == m->map->to_mac;
}

int map_lane_before(struct member *m, const struct frame *f, bool allowed)
{
	struct map_lane *l = m->map;
	struct member *to;
	int rc;

	switch (state_of(l)) {
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
	l->dst = NETSWITCH_MAX_PORTS;
	l->put_done = false;
	if (for_receiver(m, f))
		return 0;
	/* A frame for somebody else uses the receiver's slot up, too: the rings go in step. */
	to = receiver(m);
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

/* GATHER: the frame has gone its way; its slot stays ours. */
static int gather(struct member *m, const struct frame *f, unsigned at)
{
	struct map_lane *l = m->map;

	if (!slot_track_stable(&l->track)) {
		map_lane_not_mapped(l, "%s", l->track.why);
		give_up(m);
		return 0;
	}
	l->sent[at] = l->dst == l->to ? f->len : 0;
	if (++l->kept == l->nr - m->port->tx_left_out) {
		l->began_ns = switch_now_ns();
		set_state(l, MAP_WAIT);
	}
	return CARRIER_KEPT;
}

int map_lane_after(struct member *m, const struct frame *f)
{
	struct map_lane *l = m->map;
	unsigned at = l->track.at;

	slot_track_frame(&l->track, f->slot, f->slot_hdr, l->dst, m->batch_ns);
	switch (state_of(l)) {
	case MAP_GATHER:
		return gather(m, f, at);
	case MAP_ON:
	case MAP_LEAVING:
		return keep(m);
	default:
		if (!l->track.at)
			consider(m, m->batch_ns);
		return 0;
	}
}

/* -- The batch -- */

static void service_on(struct member *m, bool end)
{
	struct map_lane *l = m->map;
	struct member *to = receiver(m);
	uint64_t now = end ? switch_now_ns() : m->batch_ns, until;
	unsigned had = l->puts;

	complete(m, l->release);
	l->release = 0;
	if (!open_receiver(m, to))
		return;
	collect(m, to, now);
	if (!map_lane_is(l, MAP_ON) || !end)
		return;
	/* `again` without a slot to wait for: the frame waits for somebody else; or the receiver
	 * has taken slots back. */
	if (!l->puts && (!m->again || l->put_done)) {
		wait_over(m);
		return;
	}
	until = l->progress_ns + deadline_ns(m);
	if (now >= until) {
		l->rescues++;
		map_lane_end(m, BINDING_DIRECT, WHY_DEADLINE, NULL);
		return;
	}
	wait_for(m, to, until, now);
	/* Half of them at a time: fewer doorbells, and soon enough for a sender that waits. */
	if (to->port->ops->rx_slots_watch(to->port, l->puts > 1 ? l->puts / 2 : 1))
		collect(m, to, now);
	/* The slot that the frame waited for came after put() had looked, and with it all others:
	 * no doorbell will follow. */
	if (had && !l->puts && m->again && !l->put_done)
		m->port->ops->tx_resume(m->port);
}

/* A sender that waits for completions before its ring is full would wait for ever. */
static void service_gather(struct member *m, uint64_t now)
{
	struct map_lane *l = m->map;
	uint64_t idle = deadline_ns(m) / MAP_IDLE_PART;

	if (l->kept != l->seen) {
		l->seen = l->kept;
		l->seen_ns = now;
	}
	if (now - l->seen_ns < idle && now - l->began_ns < MAP_GATHER_LIMIT_NS) {
		wait_for(m, NULL, l->seen_ns + idle, now);
		return;
	}
	map_lane_not_mapped(l, "too little traffic to fill the ring");
	back_off(m, now);
	give_up(m);
}

void map_lane_service(struct member *m, bool end)
{
	struct map_lane *l = m->map;

	switch (state_of(l)) {
	case MAP_OFF:
		if (l->kept)
			complete_all(m);
		break;
	case MAP_GATHER:
		if (end)
			service_gather(m, switch_now_ns());
		break;
	case MAP_WAIT:
		if (end)
			wait_for_receiver(m, switch_now_ns());
		break;
	case MAP_ON:
		service_on(m, end);
		break;
	case MAP_MOVING:
	case MAP_LEAVING:
		break;
	}
}
