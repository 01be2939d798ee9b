/*
 * The mapped lanes of a net, the remapper's side: moves pages, when both guests have nothing under
 * way in them, and says so. See map_lane.h.
 *
 * Theory of operation. A move has three steps. With sw->lock held for writing, which no batch
 * survives, what is to be done is looked at and the receiver's ring is set up; then, without the
 * lock, so that other members of the net go on, pages move, while the lane's state keeps its sender
 * and its receiver's others away; then, with the lock again, the lane is open, or one of the two
 * has stopped meanwhile and the pages go back.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "xtalk/map_internal.h"

/* Everybody who may wait for this receiver looks again. sw->lock is held. */
static void wake_senders(struct netswitch *sw, struct member *to)
{
	for (unsigned n = 0; n < sw->nr_slots; n++) {
		struct member *from = sw->members[n];

		if (from && atomic_load(&from->waits_for) == (int)to->slot)
			from->port->ops->tx_resume(from->port);
	}
	/* Its own physical device, on its own loop. */
	atomic_store(&to->rx_freed, true);
	to->port->ops->tx_resume(to->port);
	if (sw->shared)
		shared_uplink_resume(sw->shared);
}

/* sw->lock is held for writing. */
static void bind(struct member *m, enum binding to, enum xtalk_why why, const char *detail)
{
	struct map_lane *l = m->map;
	const struct member *peer = map_receiver(m);

	memset(&m->swap, 0, sizeof(m->swap));
	if (peer)
		snprintf(m->swap.peer, sizeof(m->swap.peer), "%s", peer->port->name);
	snprintf(m->swap.detail, sizeof(m->swap.detail), "%s", detail);
	if (to == BINDING_MAPPED) {
		m->swap.frames = l->track.turn_to_dst;
		m->swap.window = l->track.nr;
		m->swap.detect_us = l->track.turn_ns / 1000;
	}
	m->swap_pending = true;
	m->swap_began_ns = l->began_ns;
	steer_bind(m, to, why);
	/* Where the binding has not changed nobody was told. */
	m->swap_pending = false;
	memset(&m->swap, 0, sizeof(m->swap));
}

/* -- On -- */

/* The sender's ring from the next slot on. */
static void sender_ring(const struct map_lane *l, struct slot_list *out)
{
	const struct slot_track *t = &l->track;

	out->nr = t->nr;
	for (unsigned i = 0; i < t->nr; i++)
		out->slot[i] = t->list.slot[(t->at + i) % t->nr];
}

static const uint8_t *page_at(const struct pairing *p, unsigned i, bool tx)
{
	return tx ? p->page[i].tx : p->page[i].rx;
}

/* Does a header of these slots lie in one of the pages? */
static bool headers_among(const struct pairing *p, const struct slot_list *list, bool tx)
{
	uintptr_t low = UINTPTR_MAX, high = 0;

	for (unsigned k = 0; k < p->nr; k++) {
		uintptr_t page = (uintptr_t)page_at(p, k, tx);

		low = page < low ? page : low;
		high = page + PAIR_PAGE_BYTES > high ? page + PAIR_PAGE_BYTES : high;
	}
	for (unsigned i = 0; i < list->nr; i++) {
		uintptr_t hdr = (uintptr_t)list->slot[i].hdr;

		/* Everybody in the net waits meanwhile, and almost always they are far away. */
		if (!hdr || hdr + VNET_HDR_BYTES <= low || hdr >= high)
			continue;
		for (unsigned k = 0; k < p->nr; k++) {
			uintptr_t page = (uintptr_t)page_at(p, k, tx);

			if (hdr + VNET_HDR_BYTES > page && hdr < page + PAIR_PAGE_BYTES)
				return true;
		}
	}
	return false;
}

/* Do the pages hold anything that is no slot? A reason, or NULL. */
static const char *shared_with(const struct map_lane *l, const struct pairing *p, struct member *m,
			       struct member *to)
{
	struct port *a = m->port, *b = to->port;

	for (unsigned i = 0; i < p->nr; i++) {
		if (a->ops->touches_rings(a, p->page[i].tx, PAIR_PAGE_BYTES) ||
		    b->ops->touches_rings(b, p->page[i].rx, PAIR_PAGE_BYTES))
			return "slot page shared with a ring";
		if (gmem_is_rebound(a->memory->mem, p->page[i].tx, PAIR_PAGE_BYTES) ||
		    gmem_is_rebound(b->memory->mem, p->page[i].rx, PAIR_PAGE_BYTES))
			return "slot page shared with another lane";
	}
	if (headers_among(p, &l->tx, true) || headers_among(p, &l->rx, false))
		return "slot page shared with headers";
	if (!pair_pages_clean(p, &l->tx, true) || !pair_pages_clean(p, &l->rx, false))
		return "slot page shared with other data";
	return NULL;
}

/* Looks at both rings; leaves the receiver's in the state of slots. sw->lock is held for writing.
 * 0, or -errno: l->not_mapped says why. */
static int prepare(struct member *m, struct member *to, struct pairing *p)
{
	struct map_lane *l = m->map;
	const struct port_ops *ops = to->port->ops;
	const char *why = "stopped";
	int rc;

	if (to->rx_mapped_by) {
		map_lane_not_mapped(l, "the receiver is mapped to another sender");
		return -EBUSY;
	}
	sender_ring(l, &l->tx);
	if (!ops->rx_begin(to->port)) {
		map_lane_not_mapped(l, "receiver: %s", why);
		return -ENOTCONN;
	}
	rc = ops->rx_slots_look(to->port, &l->rx, &why);
	if (rc)
		map_lane_not_mapped(l, "receiver: %s", why);
	if (!rc) {
		rc = pair_rings(p, &l->tx, &l->rx);
		if (rc)
			map_lane_not_mapped(l, "%s", rc == -ENOMEM ? "no memory" : p->why);
	}
	if (!rc) {
		why = shared_with(l, p, m, to);
		if (why) {
			map_lane_not_mapped(l, "%s", why);
			rc = -EXDEV;
		}
	}
	if (!rc) {
		rc = ops->rx_slots_enter(to->port, &l->rx);
		if (rc)
			map_lane_not_mapped(l, "receiver: %s", strerror(-rc));
	}
	/* From here on its slots are used in step with the sender's, from `skip` on. */
	l->first = 0;
	l->puts = 0;
	l->pos = 0;
	l->rxpos = 0;
	for (unsigned i = 0; !rc && i < p->skip; i++) {
		static const struct virtio_net_hdr_v1 none;

		rc = ops->rx_slot_put(to->port, &none, 0);
		if (rc) {
			map_lane_not_mapped(l, "receiver: its slots changed");
			break;
		}
		l->put[l->puts++] = (struct map_put){ .rx = (uint16_t)i };
		l->rxpos++;
	}
	if (rc)
		ops->rx_slots_leave(to->port);
	ops->rx_end(to->port);
	return rc;
}

/* For a lane that is about to gather. If it can't be had, entering says why. sw->lock is held for
 * writing; so it is on return, but not all the time. */
static void make_buffer(struct netswitch *sw, unsigned slot)
{
	struct member *m = sw->members[slot];
	struct pairing p = { .page = malloc(PAIR_MAX_PAGES * sizeof(*p.page)) };
	struct dma_buf b = { .fd = -1 };

	sender_ring(m->map, &m->map->tx);
	if (p.page && slot_track_stable(&m->map->track) && !pair_estimate(&p, &m->map->tx)) {
		pthread_rwlock_unlock(&sw->lock);
		mapping_buffer(&b, p.nr);
		pthread_rwlock_wrlock(&sw->lock);
	}
	free(p.page);
	m = sw->members[slot]; /* perhaps another, or none */
	if (!m || !m->map || atomic_load(&m->map->buffer) != MAP_BUFFER_WANTED) {
		dma_buf_destroy(&b);
		return;
	}
	dma_buf_destroy(&m->map->ready);
	m->map->ready = b;
	atomic_store(&m->map->buffer, MAP_BUFFER_READY);
}

static void drop_buffer(struct map_lane *l)
{
	dma_buf_destroy(&l->ready);
	atomic_store(&l->buffer, MAP_BUFFER_NONE);
}

/* What of the sender's slots its receiver has been sent anyway. */
static unsigned sent_parts(const struct map_lane *l, struct mapping_part *out)
{
	const struct slot_track *t = &l->track;
	unsigned n = 0;

	for (unsigned i = 0; i < t->nr; i++) {
		uint32_t len = l->sent[(t->at + i) % t->nr];

		if (len)
			out[n++] = (struct mapping_part){ l->tx.slot[i].at, NULL, len };
	}
	return n;
}

static void span_of(struct map_lane *l)
{
	const struct mapping *mp = &l->mapping;

	l->low = (uintptr_t)mp->page[0].tx;
	l->high = (uintptr_t)mp->page[mp->nr - 1].tx + PAIR_PAGE_BYTES;
}

/* An order that came when the move was under way already. sw->lock is held for writing. */
static bool ordered_elsewhere(const struct member *m)
{
	return m->ordered != COMMAND_AUTO && m->ordered != BINDING_MAPPED;
}

/* The move has come to nothing: what was asked for meanwhile is done now. As bind(). */
static void bind_after_all(struct member *m)
{
	if (!m->uplink)
		return;
	if (!m->started)
		bind(m, BINDING_UPLINK, WHY_RESET, "");
	else if (m->ordered == BINDING_UPLINK)
		bind(m, BINDING_UPLINK, WHY_COMMAND, "");
}

/* sw->lock is held for writing; so it is on return, but not all the time. */
static void move_in(struct netswitch *sw, struct member *m)
{
	struct map_lane *l = m->map;
	struct member *to = map_receiver(m);
	struct mapping_part *keep = calloc(SLOTS_MAX, sizeof(*keep));
	struct pairing p = { .page = malloc(PAIR_MAX_PAGES * sizeof(*p.page)) };
	enum xtalk_why why = WHY_TRAFFIC;
	int rc = -ENOMEM;
	unsigned n = 0;

	if (!keep || !p.page)
		map_lane_not_mapped(l, "no memory");
	else if (!to || !to->started || !m->started || l->undo)
		rc = -ENOTCONN;
	else
		rc = prepare(m, to, &p);
	if (!rc) {
		n = sent_parts(l, keep);
		to->rx_mapped_by = m;
		pthread_rwlock_unlock(&sw->lock);
		rc = mapping_enter(&l->mapping, m->port->memory, to->port->memory, &p, keep, n,
				   &l->ready);
		pthread_rwlock_wrlock(&sw->lock);
		if (rc) {
			map_lane_not_mapped(l, "memory: %s", strerror(-rc));
			to->rx_mapped_by = NULL;
			if (to->port->ops->rx_begin(to->port)) {
				to->port->ops->rx_slots_leave(to->port);
				to->port->ops->rx_end(to->port);
			}
			wake_senders(sw, to);
		}
	}
	free(keep);
	free(p.page);
	drop_buffer(l);
	if (rc) {
		map_lane_back_off(l, switch_now_ns());
		l->undo = false;
		map_set_state(l, MAP_OFF);
		bind_after_all(m);
		m->port->ops->tx_resume(m->port);
		return;
	}
	span_of(l);
	l->release = l->kept; /* these went before the first one that is mapped */
	l->since_ns = switch_now_ns();
	l->progress_ns = l->since_ns;
	l->not_mapped[0] = '\0';
	l->follow = true;
	l->maps++;
	if (l->undo || ordered_elsewhere(m)) {
		l->leave_to = l->undo ? BINDING_DIRECT : (enum binding)m->ordered;
		l->why = l->undo ? WHY_RESET : WHY_COMMAND;
		l->detail[0] = '\0';
		map_set_state(l, MAP_LEAVING);
		return;
	}
	if (m->ordered == BINDING_MAPPED)
		why = WHY_COMMAND;
	else if (m->has_peer)
		why = WHY_PEER;
	else if (sw->p.rules.mode == XTALK_STATIC)
		why = WHY_STATIC;
	bind(m, BINDING_MAPPED, why, "");
	map_set_state(l, MAP_ON);
	m->port->ops->tx_resume(m->port);
}

/* -- Off -- */

/* Frames that the receiver has not given back are its own from now on. */
static unsigned open_parts(const struct map_lane *l, struct mapping_part *out)
{
	unsigned n = 0;

	for (unsigned i = 0; i < l->puts; i++) {
		const struct map_put *p = &l->put[(l->first + i) % l->nr];

		if (p->len)
			out[n++] = (struct mapping_part){ l->tx.slot[p->tx].at,
							  l->rx.slot[p->rx].at, p->len };
	}
	return n;
}

/* sw->lock as with move_in(). */
static void move_out(struct netswitch *sw, struct member *m)
{
	struct map_lane *l = m->map;
	struct member *to = map_receiver(m);
	struct mapping_part keep[SLOTS_MAX];
	unsigned n = open_parts(l, keep);
	uint64_t now;

	pthread_rwlock_unlock(&sw->lock);
	mapping_leave(&l->mapping, keep, n);
	pthread_rwlock_wrlock(&sw->lock);
	to->rx_mapped_by = NULL;
	if (to->port->ops->rx_begin(to->port)) {
		to->port->ops->rx_slots_leave(to->port);
		to->port->ops->rx_end(to->port);
	}
	now = switch_now_ns();
	if (now - l->since_ns > MAP_LASTING_NS)
		l->failures = 0;
	if (l->why != WHY_COMMAND)
		map_lane_back_off(l, now);
	l->undo = false;
	map_set_state(l, MAP_OFF);
	if (!m->started) {
		l->kept = 0; /* the device has forgotten them */
		l->leave_to = m->uplink ? BINDING_UPLINK : BINDING_DIRECT;
	} else if (l->leave_to == BINDING_UPLINK && !m->uplink) {
		l->leave_to = BINDING_DIRECT;
	}
	bind(m, l->leave_to, l->why, l->detail);
	m->port->ops->tx_resume(m->port);
	wake_senders(sw, to);
}

/* -- All of a net -- */

/* The receiver is wanted by others, or writes where it must not. True: its lane ends. */
static bool evict(struct member *to)
{
	struct member *m = to->rx_mapped_by;
	bool wrote;

	if (m && map_lane_is(m->map, MAP_MOVING))
		return false; /* once it is open */
	wrote = atomic_exchange(&to->wrote, false);
	if (!atomic_exchange(&to->evict, false) && !wrote)
		return false;
	if (!m || !map_lane_is(m->map, MAP_ON))
		return false;
	m->map->leave_to = BINDING_DIRECT;
	m->map->why = wrote ? WHY_SLOTS : WHY_OTHERS;
	snprintf(m->map->detail, sizeof(m->map->detail), "%s",
		 wrote ? "the receiver wrote to a slot that it only reads" : "");
	m->map->began_ns = switch_now_ns();
	map_set_state(m->map, MAP_LEAVING);
	return true;
}

static bool work_once(struct netswitch *sw)
{
	bool moved = false;

	for (unsigned n = 0; n < sw->nr_slots; n++) {
		struct member *m = sw->members[n];

		if (m && evict(m))
			moved = true;
		if (!m || !m->map)
			continue;
		if (atomic_load(&m->map->buffer) == MAP_BUFFER_UNWANTED)
			drop_buffer(m->map);
		if (atomic_load(&m->map->buffer) == MAP_BUFFER_WANTED) {
			make_buffer(sw, n);
			return true; /* the lock was given up */
		}
		if (map_lane_is(m->map, MAP_MOVING)) {
			move_in(sw, m);
			moved = true;
		}
		/* Who is mapped can't be detached before he has stopped, which waits for us. */
		if (map_lane_is(m->map, MAP_LEAVING)) {
			move_out(sw, m);
			moved = true;
		}
	}
	return moved;
}

static void work(void *arg)
{
	struct netswitch *sw = arg;

	pthread_rwlock_wrlock(&sw->lock);
	while (work_once(sw))
		;
	pthread_rwlock_unlock(&sw->lock);
}

void map_lane_work(struct loop_work *w)
{
	work(container_of(w, struct netswitch, map_work));
}

void map_lane_settle(struct netswitch *sw)
{
	loop_call(remapper_loop(sw->p.remapper), work, sw);
}

/* -- Members come and go -- */

void map_lane_start(struct member *m)
{
	const struct port *p = m->port;

	if (m->map || !m->sw->p.rules.map || !p->memory || !p->ops->tx_done ||
	    !atomic_load(&p->slots_stable))
		return;
	m->map = calloc(1, sizeof(*m->map));
	if (!m->map) {
		log_warn(p->name, "no memory to map its slots: it stays direct");
		return;
	}
	m->map->ready.fd = -1;
	slot_track_reset(&m->map->track, "not seen yet");
}

/* Made for a try that will not be. */
static void drop_unused_buffer(struct member *m)
{
	int ready = MAP_BUFFER_READY;

	if (atomic_compare_exchange_strong(&m->map->buffer, &ready, MAP_BUFFER_UNWANTED))
		loop_post(remapper_loop(m->sw->p.remapper), &m->sw->map_work);
}

bool map_lane_stop(struct member *m)
{
	struct netswitch *sw = m->sw;
	bool settle = false;

	for (unsigned n = 0; n < sw->nr_slots; n++) {
		struct member *from = sw->members[n];
		struct map_lane *l = from ? from->map : NULL;

		if (!l || (from != m && l->to != m->slot))
			continue;
		switch ((enum map_state)atomic_load(&l->state)) {
		case MAP_OFF:
			break;
		case MAP_GATHER:
		case MAP_WAIT:
			map_set_state(l, MAP_OFF); /* what is kept is completed at its next turn */
			from->port->ops->tx_resume(from->port);
			break;
		case MAP_MOVING:
			l->undo = true;
			settle = true;
			break;
		case MAP_ON:
			l->leave_to = BINDING_DIRECT;
			l->why = WHY_RESET;
			l->detail[0] = '\0';
			l->began_ns = switch_now_ns();
			map_set_state(l, MAP_LEAVING);
			settle = true;
			break;
		case MAP_LEAVING:
			settle = true;
			break;
		}
		if (from == m) {
			l->kept = 0; /* a device that is reset forgets them */
			slot_track_reset(&l->track, "not seen yet");
			l->sampled = false;
			drop_unused_buffer(m);
		}
		if (l->sampled && l->sampled_to == m->slot)
			l->sampled = false;
	}
	return settle;
}

void map_lane_free(struct member *m)
{
	if (m->map)
		dma_buf_destroy(&m->map->ready);
	free(m->map);
	m->map = NULL;
}
