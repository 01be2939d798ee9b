/*
 * The path of one frame: may the sender send it, whom is it for, and which way does it take.
 *
 * Theory of operation. The frame is judged by the NIC's private copy of its Ethernet header. On a
 * net with a shared physical device (or none) this file is a switch. On a net where each member has
 * its own, everything takes the sender's uplink while its element is bound to it; bound `direct`,
 * frames for other members go straight into their rings, and all others, group frames too (the
 * bridge brings these to every member once), still take the uplink.
 *
 * Whatever cannot go on now answers -EAGAIN: the frame stays in the sender's ring, and with it all
 * later ones, so nothing can be lost, doubled or overtaken. Somebody then calls tx_resume(): the
 * receiver that has buffers again, the filter that saw the marker, or the remapper's tick when
 * waiting has lasted long enough.
 *
 * On the sender's loop, inside of a batch; or, from the shared uplink, on its thread.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "xtalk/switch_internal.h"

/* A sender that waits for a mapped receiver looks again after that, should nobody wake it. */
#define EVICT_STEP_NS UINT64_C(10000000)

/* from: its loop is this thread; to: its receive lock is held, as it is right after a delivery. */
static void note_path(struct member *from, struct member *to, enum port_path path, uint32_t bytes)
{
	if (from) {
		stat_add(&from->port->stats.path[path].tx_frames, 1);
		stat_add(&from->port->stats.path[path].tx_bytes, bytes);
	}
	if (to) {
		stat_add(&to->port->stats.path[path].rx_frames, 1);
		stat_add(&to->port->stats.path[path].rx_bytes, bytes);
	}
}

/* -- Bindings -- */

static void forget_swap(struct member *m)
{
	m->swap_pending = false;
	memset(&m->swap, 0, sizeof(m->swap));
}

void steer_abandon(struct member *m)
{
	if (m->opening < 0)
		return;
	if (m->lane[m->opening] == LANE_DRAINING) {
		m->lane[m->opening] = LANE_CLOSED;
		drain_cancel(m);
	}
	m->opening = -1;
	forget_swap(m);
}

static void note_swap(struct member *m, enum binding from, enum binding to, enum xtalk_why why,
		      uint64_t now)
{
	struct xtalk_event *ev = &m->swap;

	ev->from = from;
	ev->to = to;
	ev->why = why;
	snprintf(ev->net, sizeof(ev->net), "%s", m->sw->p.name);
	snprintf(ev->nic, sizeof(ev->nic), "%s", m->port->name);
	ev->swap_us = m->swap_pending ? (now - m->swap_began_ns) / 1000 : 0;
	remapper_note(m->sw->p.remapper, ev);
	forget_swap(m);
}

void steer_bind(struct member *m, enum binding to, enum xtalk_why why)
{
	enum binding from = (enum binding)atomic_load(&m->binding);
	uint64_t now = switch_now_ns();

	/* What is mapped gets its pages back first; then this is called again. */
	if (to != BINDING_MAPPED && map_lane_end(m, to, why, NULL))
		return;
	if (to == BINDING_UPLINK) {
		/* What went directly is in its receiver's ring already: nothing to drain. */
		steer_abandon(m);
		memset(m->lane, LANE_CLOSED, sizeof(m->lane));
	}
	detector_reset(&m->detector, now);
	if (from == to)
		return;
	atomic_store(&m->binding, to);
	atomic_fetch_add(&m->swaps, 1);
	switch_count(&m->sw->stats.swaps, 1);
	note_swap(m, from, to, why, now);
}

static void fill_report(struct member *m, unsigned dst, uint64_t now)
{
	struct xtalk_event *ev = &m->swap;

	memset(ev, 0, sizeof(*ev));
	detector_report(&m->detector, dst, now, &ev->frames, &ev->window, &ev->detect_us);
	if (dst < NETSWITCH_MAX_PORTS && m->sw->members[dst])
		snprintf(ev->peer, sizeof(ev->peer), "%s", m->sw->members[dst]->port->name);
}

void steer_command(struct member *m)
{
	int command;

	/* Asked for every frame: an exchange costs more than a look. */
	if (atomic_load_explicit(&m->command, memory_order_relaxed) == COMMAND_NONE)
		return;
	command = atomic_exchange(&m->command, COMMAND_NONE);
	m->ordered = command;
	atomic_store(&m->pinned, command != COMMAND_AUTO);
	if (command == COMMAND_AUTO)
		return; /* what the detector has begun goes on */
	if (m->swap_pending)
		forget_swap(m); /* a lane that drains goes on doing so */
	if (command == BINDING_MAPPED) {
		/* Through `direct`, as soon as its slots are seen to be stable. */
		map_lane_hurry(m);
		if (atomic_load(&m->binding) == BINDING_UPLINK)
			steer_bind(m, BINDING_DIRECT, WHY_COMMAND);
		return;
	}
	steer_bind(m, (enum binding)command, WHY_COMMAND);
}

/* -- Ways out -- */

static int to_uplink(struct member *m, const struct frame *f)
{
	int rc;

	/* A system call is no moment to hold another port's lock. */
	delivery_end(&m->delivery);
	if (m->uplink) {
		rc = m->uplink->ops->send(m->uplink, f);
		if (rc)
			return rc;
		m->uplink_ns = m->batch_ns;
		note_path(m, NULL, PATH_UPLINK, f->len);
		return 0;
	}
	if (!m->sw->shared)
		return 0;
	if (shared_uplink_send(m->sw->shared, f)) {
		/* Waiting for an uplink that all share would hold up what goes to other guests. */
		switch_count(&m->sw->stats.uplink_tx_dropped, 1);
		switch_count(&m->port->stats.tx_dropped, 1);
		return 0;
	}
	switch_count(&m->sw->stats.uplink_tx, 1);
	note_path(m, NULL, PATH_UPLINK, f->len);
	return 0;
}

/* A receiver is out of buffers. -EAGAIN: wait for it; 0: it has had its time, drop. */
static int hold_for(struct member *m, struct member *to)
{
	uint64_t now, until;

	/* Waiting until nobody was mapped to it any more was not its fault. */
	if (atomic_load(&m->waits_for) == (int)to->slot && !m->waits_mapped) {
		now = switch_now_ns();
		if (now < atomic_load(&m->waits_until)) {
			/* It gave something, but not enough. */
			atomic_store(&to->awaited, true);
			return -EAGAIN;
		}
		/* From now on nobody waits for it, until it has taken a frame again. */
		atomic_store(&to->stuck, true);
		atomic_store(&m->waits_for, -1);
		atomic_store(&m->waits_until, 0);
		return 0;
	}
	until = m->sw->p.rules.hold_us * UINT64_C(1000);
	if (!until || atomic_load(&to->stuck))
		return 0;
	now = switch_now_ns();
	m->waits_mapped = false;
	atomic_store(&m->waits_for, (int)to->slot);
	atomic_store(&m->waits_until, now + until);
	atomic_store(&to->awaited, true);
	switch_count(&m->port->stats.tx_held, 1);
	switch_arm_tick(m->sw, until);
	return -EAGAIN;
}

static void hold_over(struct member *m)
{
	if (atomic_load(&m->waits_for) < 0)
		return;
	atomic_store(&m->waits_for, -1);
	atomic_store(&m->waits_until, 0);
}

/* A receiver whose element is mapped to another sender: that one has to leave, which always comes
 * to pass. No frame is dropped for it. */
static int hold_for_mapped(struct member *m, struct member *to)
{
	m->waits_mapped = true;
	atomic_store(&m->waits_for, (int)to->slot);
	atomic_store(&m->waits_until, switch_now_ns() + EVICT_STEP_NS);
	atomic_store(&to->evict, true);
	loop_post(remapper_loop(m->sw->p.remapper), &m->sw->map_work);
	switch_arm_tick(m->sw, EVICT_STEP_NS);
	return -EAGAIN;
}

static bool mapped_to_another(const struct member *to, const struct member *m)
{
	return to->rx_mapped_by && to->rx_mapped_by != m;
}

/* The frame's slot is its receiver's: it only has to be told. */
static int along_mapped(struct member *m, struct member *to, const struct frame *f)
{
	int rc = map_lane_put(m, f);

	if (!rc)
		note_path(m, to, PATH_MAPPED, f->len);
	return rc;
}

/* Whom its slots are mapped to, or NULL. */
static struct member *map_lane_to(const struct member *m)
{
	return m->map && map_lane_is(m->map, MAP_ON) ? m->sw->members[m->map->to] : NULL;
}

static bool is_mapped_to(const struct member *m, const struct member *to)
{
	return m->map && to->rx_mapped_by == m;
}

/* Delivery of a unicast frame. */
static int to_member(struct member *m, struct member *to, const struct frame *f)
{
	int err;

	if (mapped_to_another(to, m))
		return hold_for_mapped(m, to);
	err = to->started ? delivery_put(&m->delivery, to->port, f) : -ENOTCONN;
	if (err == -ENOBUFS) {
		if (hold_for(m, to) == -EAGAIN) {
			/* It may have given buffers before it knew that it is awaited. */
			err = delivery_put(&m->delivery, to->port, f);
			if (err == -ENOBUFS)
				return -EAGAIN;
		}
	}
	if (!err) {
		note_path(m, to, PATH_DIRECT, f->len);
		/* Buffers count, not a doorbell: a guest that only rings must not hold anybody. */
		if (atomic_load_explicit(&to->stuck, memory_order_relaxed))
			atomic_store(&to->stuck, false);
		return 0;
	}
	if (err == -EINVAL)
		switch_count(&m->port->stats.tx_invalid, 1);
	else
		switch_count(&to->port->stats.rx_dropped, 1);
	return 0;
}

/* Delivery of a copy of a group frame, or of a frame from outside: nobody waits. `from`: NULL from
 * outside. */
static void to_member_now(struct delivery *d, struct member *from, struct member *to,
			  const struct frame *f)
{
	int err = to->started ? delivery_put(d, to->port, f) : -ENOTCONN;

	if (!err)
		note_path(from, to, from ? PATH_DIRECT : PATH_UPLINK, f->len);
	else if (err == -EINVAL && from)
		switch_count(&from->port->stats.tx_invalid, 1);
	else
		switch_count(&to->port->stats.rx_dropped, 1);
}

/* -- Steering -- */

static bool source_allowed(struct netswitch *sw, const struct member *from, const struct frame *f)
{
	const uint8_t *src = f->head + ETH_ADDR_BYTES;
	uint64_t mac = mac_value(src);

	if (from && mac == from->mac)
		return true;
	if (!mac_is_group(src) && !switch_find(sw, mac) && (!from || from->promiscuous))
		return true;
	switch_count(&sw->stats.spoofed, 1);
	if (from)
		switch_count(&from->port->stats.tx_spoofed, 1);
	log_limited(&sw->spoof_log, LOG_WARN, sw->p.name,
		    "dropped a frame from %s that claims to be from %02x:%02x:%02x:%02x:%02x:%02x",
		    from ? from->port->name : "the uplink", src[0], src[1], src[2], src[3], src[4],
		    src[5]);
	return false;
}

static void drain_failed(struct member *m, const struct member *to, uint64_t now)
{
	unsigned slot = to->slot;

	m->lane[slot] = LANE_CLOSED;
	m->opening = -1;
	/* Each try holds the sender for the whole limit: where markers never come through (a host
	 * filters them, a receiver gives no buffers) that must not add up. */
	m->retry_ns[slot] = now + (DRAIN_BACKOFF_NS << m->failures[slot]);
	if (m->failures[slot] < DRAIN_BACKOFF_DOUBLINGS)
		m->failures[slot]++;
	atomic_fetch_add(&m->drain_timeouts, 1);
	switch_count(&m->sw->stats.drain_timeouts, 1);
	log_debug(m->sw->p.name, "%s: the path to %s did not drain in time; it stays as it was",
		  m->port->name, to->port->name);
	if (m->swap_pending)
		note_swap(m, BINDING_UPLINK, BINDING_UPLINK, WHY_TIMEOUT, now);
}

/* Bound `direct`, a frame for another member: along its lane, or along the uplink while that is
 * closed. */
static int along_lane(struct member *m, struct member *to, const struct frame *f)
{
	uint64_t now;
	int rc;

	if (m->lane[to->slot] == LANE_OPEN)
		return to_member(m, to, f);
	now = switch_now_ns();
	if (m->lane[to->slot] == LANE_CLOSED) {
		if (now < m->retry_ns[to->slot])
			return to_uplink(m, f);
		delivery_end(&m->delivery);
		rc = drain_begin(m, to, now);
		if (rc)
			return rc;
		m->lane[to->slot] = LANE_DRAINING;
		m->opening = (int)to->slot;
	}
	rc = drain_poll(m, now);
	if (!rc)
		return -EAGAIN;
	if (rc > 0) {
		m->lane[to->slot] = LANE_OPEN;
		m->opening = -1;
		m->failures[to->slot] = 0;
		if (m->swap_pending)
			steer_bind(m, BINDING_DIRECT, m->swap.why);
		return to_member(m, to, f);
	}
	drain_failed(m, to, now);
	return to_uplink(m, f);
}

/* What the detector makes of a unicast frame. */
static void detect(struct member *m, const struct member *to, uint64_t now)
{
	enum binding bound = (enum binding)atomic_load(&m->binding);
	unsigned dst = to ? to->slot : DETECTOR_OUTSIDE;

	if (m->sw->p.rules.mode != XTALK_DYNAMIC || m->again || m->swap_pending)
		return;
	switch (detector_frame(&m->detector, bound, dst, now)) {
	case VERDICT_STAY:
		break;
	case VERDICT_DIRECT:
		if (atomic_load(&m->pinned) || !to || now < m->retry_ns[dst])
			break;
		fill_report(m, dst, now);
		m->swap.why = WHY_TRAFFIC;
		m->swap_pending = true;
		m->opening = (int)dst;
		m->swap_began_ns = switch_now_ns();
		break;
	case VERDICT_UPLINK:
		if (atomic_load(&m->pinned))
			break;
		fill_report(m, dst, now);
		steer_bind(m, BINDING_UPLINK, WHY_OUTSIDE);
		break;
	}
}

static int steer_own_uplink(struct member *m, const struct frame *f)
{
	struct member *to;

	to = mac_is_group(f->head) ? NULL : switch_find(m->sw, mac_value(f->head));
	if (m->map && to)
		m->map->dst = to->slot;
	/* The frame that waited for a lane is no longer there, or its receiver has stopped. */
	if (m->opening >= 0 && (!to || !to->started || (int)to->slot != m->opening))
		steer_abandon(m);
	if (mac_is_group(f->head))
		return to_uplink(m, f);
	if (to == m) {
		switch_count(&m->port->stats.tx_dropped, 1);
		return 0;
	}
	/* A member whose driver is not up has no receive element: nobody to talk to, but the bridge
	 * may know better. */
	if (to && !to->started)
		return to_uplink(m, f);
	detect(m, to, m->batch_ns);
	if (to && (atomic_load(&m->binding) != BINDING_UPLINK || m->swap_pending))
		return along_lane(m, to, f);
	return to_uplink(m, f);
}

/* A member that a group frame would have to wait for. */
static struct member *first_in_the_way(const struct netswitch *sw, const struct member *m)
{
	for (unsigned n = 0; n < sw->nr_slots; n++) {
		struct member *to = sw->members[n];

		if (to && to != m && to->started && mapped_to_another(to, m))
			return to;
	}
	return NULL;
}

static int steer_shared(struct member *m, const struct frame *f)
{
	struct netswitch *sw = m->sw;
	struct member *to;

	if (mac_is_group(f->head)) {
		/* Before anybody has got it: it must not be sent twice. */
		to = first_in_the_way(sw, m);
		if (to)
			return hold_for_mapped(m, to);
		to = map_lane_to(m);
		if (to && !m->map->put_done && along_mapped(m, to, f))
			return -EAGAIN;
		for (unsigned n = 0; n < sw->nr_slots; n++) {
			to = sw->members[n];
			if (to && to != m && to->started && !is_mapped_to(m, to))
				to_member_now(&m->delivery, m, to, f);
		}
		return to_uplink(m, f);
	}
	to = switch_find(sw, mac_value(f->head));
	if (m->map && to)
		m->map->dst = to->slot;
	if (to && to != m)
		return to_member(m, to, f);
	if (!to && sw->shared)
		return to_uplink(m, f);
	switch_count(&m->port->stats.tx_dropped, 1); /* to itself, or to nobody */
	return 0;
}

/* For whom its slots are mapped to, by its address: no need to look for the way. */
static int steer_mapped(struct member *m, const struct frame *f)
{
	struct member *to = m->sw->members[m->map->to];

	/* The frame that waited for a lane is no longer there. */
	if (m->opening >= 0)
		steer_abandon(m);
	if (m->sw->p.own_uplinks)
		detect(m, to, m->batch_ns);
	return along_mapped(m, to, f);
}

static int steer(struct member *m, const struct frame *f, bool allowed)
{
	if (allowed)
		return m->sw->p.own_uplinks ? steer_own_uplink(m, f) : steer_shared(m, f);
	switch_count(&m->port->stats.tx_dropped, 1);
	return 0;
}

int steer_from_member(struct member *m, const struct frame *f)
{
	bool allowed;
	int rc = 0;

	if (f->head_len < FRAME_MIN_BYTES)
		return 0;
	steer_command(m);
	allowed = source_allowed(m->sw, m, f);
	if (m->map)
		rc = map_lane_before(m, f, allowed);
	if (rc == MAP_LANE_OWN)
		rc = steer_mapped(m, f);
	else if (!rc)
		rc = steer(m, f, allowed);
	if (m->map && !rc)
		rc = map_lane_after(m, f);
	m->again = rc == -EAGAIN;
	if (!m->again)
		hold_over(m); /* whichever way it went */
	return rc;
}

static int hold_shared(struct netswitch *sw, struct member *to)
{
	atomic_store(&to->evict, true);
	loop_post(remapper_loop(sw->p.remapper), &sw->map_work);
	return -EAGAIN;
}

int steer_from_shared(struct netswitch *sw, struct delivery *d, const struct frame *f)
{
	struct member *to;

	if (f->head_len < FRAME_MIN_BYTES || !source_allowed(sw, NULL, f))
		return 0;
	if (mac_is_group(f->head)) {
		to = first_in_the_way(sw, NULL);
		if (to)
			return hold_shared(sw, to);
		for (unsigned n = 0; n < sw->nr_slots; n++) {
			to = sw->members[n];
			if (to && to->started)
				to_member_now(d, NULL, to, f);
		}
		return 0;
	}
	to = switch_find(sw, mac_value(f->head));
	if (to && to->started && to->rx_mapped_by)
		return hold_shared(sw, to);
	if (to)
		to_member_now(d, NULL, to, f);
	return 0;
}
