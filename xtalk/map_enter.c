/*
 * How a mapped lane begins, the sender's side: see map_lane.h. Whole turns of stable slots are seen
 * (OFF), the sender's slots are gathered (GATHER), the receiver gives back its own (WAIT); the rest
 * is the remapper's (map_work.c).
 *
 * On the sender's loop, inside of a batch.
 */
#include <errno.h>
#include <string.h>

#include "xtalk/map_internal.h"

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
	map_set_state(m->map, MAP_GATHER);
	map_wait_for(m, NULL, now + map_deadline_ns(m) / MAP_IDLE_PART, now);
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

void map_enter_consider(struct member *m, uint64_t now)
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
	if (l->tx.nr < l->nr && now - l->began_ns < map_deadline_ns(m))
		return 0;
	/* The same twice: so many there are. */
	if (l->tx.nr > l->nr || l->tx.nr == l->short_nr)
		map_lane_not_mapped(l, "rings %u/%u", l->nr, l->tx.nr);
	else
		map_lane_not_mapped(l, "the receiver sits on its slots");
	l->short_nr = l->tx.nr;
	return -EXDEV;
}

void map_enter_wait(struct member *m, uint64_t now)
{
	struct map_lane *l = m->map;
	struct member *to = map_receiver(m);
	int rc = to && to->started ? receiver_empty(m, to, now) : -ENOTCONN;
	bool again;

	if (!rc) {
		map_wait_for(m, to, now + MAP_WAIT_STEP_NS, now);
		if (!to->port->ops->rx_slots_watch(to->port, l->nr - l->tx.nr))
			return;
		/* It gave them before it knew that they are awaited: no doorbell will come. */
		rc = receiver_empty(m, to, now);
		if (!rc)
			return;
	}
	if (rc < 0) {
		back_off(m, now);
		map_give_up(m);
		return;
	}
	if (l->sampled && slot_list_same_ring(&l->rx, &l->tx)) {
		map_wait_over(m);
		l->undo = false;
		map_set_state(l, MAP_MOVING);
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
	map_give_up(m);
	if (again)
		begin_gather(m, now);
}

int map_enter_gather(struct member *m, const struct frame *f, unsigned at)
{
	struct map_lane *l = m->map;

	if (!slot_track_stable(&l->track)) {
		map_lane_not_mapped(l, "%s", l->track.why);
		map_give_up(m);
		return 0;
	}
	l->sent[at] = l->dst == l->to ? f->len : 0;
	if (++l->kept == l->nr - m->port->tx_left_out) {
		l->began_ns = switch_now_ns();
		map_set_state(l, MAP_WAIT);
	}
	return CARRIER_KEPT;
}

/* A sender that waits for completions before its ring is full would wait for ever. */
void map_enter_look(struct member *m, uint64_t now)
{
	struct map_lane *l = m->map;
	uint64_t idle = map_deadline_ns(m) / MAP_IDLE_PART;

	if (l->kept != l->seen) {
		l->seen = l->kept;
		l->seen_ns = now;
	}
	if (now - l->seen_ns < idle && now - l->began_ns < MAP_GATHER_LIMIT_NS) {
		map_wait_for(m, NULL, l->seen_ns + idle, now);
		return;
	}
	map_lane_not_mapped(l, "too little traffic to fill the ring");
	back_off(m, now);
	map_give_up(m);
}
