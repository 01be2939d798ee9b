/*
 * The switch of one net: who is a member, and the life of each. See netswitch.h for what it does,
 * switch_internal.h for threads and locks.
 */
#include "xtalk/netswitch.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "xtalk/switch_internal.h"

static struct member *member_of(struct carrier *c)
{
	return container_of(c, struct member, carrier);
}

uint64_t switch_now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * UINT64_C(1000000000) + (uint64_t)ts.tv_nsec;
}

/* -- Addresses -- */

static unsigned mac_slot(uint64_t mac)
{
	return (unsigned)(mac * UINT64_C(0x9e3779b97f4a7c15) >> (64 - MAC_SLOT_BITS));
}

struct member *switch_find(const struct netswitch *sw, uint64_t mac)
{
	struct member *m;

	for (unsigned i = mac_slot(mac); (m = sw->by_mac[i]); i = (i + 1) % MAC_SLOTS)
		if (m->mac == mac)
			return m;
	return NULL;
}

/* Under the write lock. */
static void index_macs(struct netswitch *sw)
{
	memset(sw->by_mac, 0, sizeof(sw->by_mac));
	for (unsigned n = 0; n < sw->nr_slots; n++) {
		unsigned i;

		if (!sw->members[n])
			continue;
		i = mac_slot(sw->members[n]->mac);
		while (sw->by_mac[i])
			i = (i + 1) % MAC_SLOTS;
		sw->by_mac[i] = sw->members[n];
	}
}

/* -- Waking senders that wait -- */

void switch_arm_tick(struct netswitch *sw, uint64_t delay_ns)
{
	/* Several may wait: the tick comes back as long as anybody does. */
	if (!atomic_exchange(&sw->tick_armed, true))
		loop_timer_arm(&sw->tick, delay_ns < 1000000 ? delay_ns : 1000000);
}

static void on_tick(struct loop_timer *t)
{
	struct netswitch *sw = container_of(t, struct netswitch, tick);
	uint64_t now = switch_now_ns(), next = UINT64_MAX;

	atomic_store(&sw->tick_armed, false);
	pthread_rwlock_rdlock(&sw->lock);
	for (unsigned n = 0; n < sw->nr_slots; n++) {
		struct member *m = sw->members[n];
		uint64_t until = m ? atomic_load(&m->waits_until) : 0;
		uint64_t mapped = m ? atomic_load(&m->map_until) : 0;

		if (mapped && (!until || mapped < until))
			until = mapped;
		if (!until)
			continue;
		if (until <= now) {
			m->port->ops->tx_resume(m->port);
			continue; /* it looks at the clock itself, and says so if it waits on */
		}
		if (until - now < next)
			next = until - now;
	}
	pthread_rwlock_unlock(&sw->lock);
	if (next != UINT64_MAX)
		switch_arm_tick(sw, next);
}

/* -- The carrier of a member -- */

static int sw_send(struct carrier *c, const struct frame *f)
{
	struct member *m = member_of(c);

	if (!m->in_batch) {
		pthread_rwlock_rdlock(&m->sw->lock);
		m->in_batch = true;
		m->batch_ns = switch_now_ns();
		if (atomic_load(&m->binding) != BINDING_UPLINK)
			drain_refresh(m, m->batch_ns);
		if (m->map)
			map_lane_service(m, false);
	}
	if (m->started)
		return steer_from_member(m, f);
	switch_count(&m->port->stats.tx_dropped, 1);
	return 0;
}

static void batch_end(struct member *m)
{
	if (!m->in_batch) {
		if (atomic_load(&m->command) == COMMAND_NONE && !m->map)
			return;
		/* An order, and no frame that it could be carried out with; or kept ones. */
		pthread_rwlock_rdlock(&m->sw->lock);
		m->in_batch = true;
		m->batch_ns = switch_now_ns();
		if (m->started)
			steer_command(m);
	}
	if (m->map && m->started)
		map_lane_service(m, true);
	delivery_end(&m->delivery);
	if (m->uplink)
		m->uplink->ops->send_end(m->uplink);
	m->in_batch = false;
	pthread_rwlock_unlock(&m->sw->lock);
}

static void sw_send_end(struct carrier *c)
{
	struct member *m = member_of(c);

	batch_end(m);
	/* It takes this port's receive lock: not before that of another one is released. */
	if (atomic_load_explicit(&m->rx_freed, memory_order_relaxed) &&
	    atomic_exchange(&m->rx_freed, false) && m->uplink)
		m->uplink->ops->rx_ready(m->uplink);
}

static void sw_rx_ready(struct carrier *c)
{
	struct member *m = member_of(c);
	struct netswitch *sw = m->sw;

	if (atomic_exchange(&m->awaited, false)) {
		pthread_rwlock_rdlock(&sw->lock);
		for (unsigned n = 0; n < sw->nr_slots; n++) {
			struct member *from = sw->members[n];

			if (from && (atomic_load(&from->waits_for) == (int)m->slot ||
				     atomic_load(&from->map_waits_for) == (int)m->slot))
				from->port->ops->tx_resume(from->port);
		}
		pthread_rwlock_unlock(&sw->lock);
	}
	if (m->uplink)
		m->uplink->ops->rx_ready(m->uplink);
}

/* The binding that an element begins with. */
static void bind_first(struct member *m)
{
	const struct netswitch *sw = m->sw;

	if (!m->uplink || sw->p.rules.mode == XTALK_OFF)
		return;
	if (m->ordered != COMMAND_AUTO) {
		/* An order outlives the guest's driver. */
		steer_bind(m,
			   m->ordered == BINDING_MAPPED ? BINDING_DIRECT : (enum binding)m->ordered,
			   WHY_COMMAND);
		return;
	}
	if (m->has_peer || sw->p.rules.mode == XTALK_STATIC) {
		atomic_store(&m->pinned, true);
		steer_bind(m, BINDING_DIRECT, m->has_peer ? WHY_PEER : WHY_STATIC);
	}
}

/* Nobody has a lane to it from now on; who waits for one, or for its buffers, looks again. Under
 * the write lock. */
static void close_lanes_to(struct netswitch *sw, const struct member *to)
{
	for (unsigned n = 0; n < sw->nr_slots; n++) {
		struct member *from = sw->members[n];

		if (!from)
			continue;
		if (from->opening == (int)to->slot)
			steer_abandon(from);
		else if (atomic_load(&from->waits_for) != (int)to->slot &&
			 from->lane[to->slot] == LANE_CLOSED)
			continue;
		from->lane[to->slot] = LANE_CLOSED;
		from->port->ops->tx_resume(from->port);
	}
}

static void set_started(struct member *m, bool started)
{
	struct netswitch *sw = m->sw;
	bool settle = false;

	/* Waits for every batch that is on its way to this member. */
	pthread_rwlock_wrlock(&sw->lock);
	if (m->started != started) {
		m->started = started;
		if (started)
			map_lane_start(m);
		else
			settle = map_lane_stop(m);
		/* Its lanes, and those of others to it, begin anew: what its physical device still
		 * holds must come first. */
		close_lanes_to(sw, m);
		steer_abandon(m);
		memset(m->lane, LANE_CLOSED, sizeof(m->lane));
		memset(m->retry_ns, 0, sizeof(m->retry_ns));
		memset(m->failures, 0, sizeof(m->failures));
		m->again = false;
		m->uplink_ns = 0;
		atomic_store(&m->waits_for, -1);
		atomic_store(&m->waits_until, 0);
		atomic_store(&m->stuck, false);
		atomic_store(&m->map_waits_for, -1);
		atomic_store(&m->map_until, 0);
		if (started)
			bind_first(m);
		else if (m->uplink)
			steer_bind(m, BINDING_UPLINK, WHY_RESET);
	}
	pthread_rwlock_unlock(&sw->lock);
	if (settle)
		map_lane_settle(sw);
}

static int sw_start(struct carrier *c)
{
	struct member *m = member_of(c);
	int err = m->uplink ? m->uplink->ops->start(m->uplink) : 0;

	if (!err)
		set_started(m, true);
	return err;
}

static void sw_stop(struct carrier *c)
{
	struct member *m = member_of(c);

	sw_send_end(c);
	set_started(m, false);
	map_lane_unfollow(m);
	if (m->uplink)
		m->uplink->ops->stop(m->uplink);
}

static void sw_set_rx_features(struct carrier *c, uint64_t features)
{
	struct member *m = member_of(c);

	/* Each delivery looks at port->rx_features; a physical device has to be told. */
	if (m->uplink)
		m->uplink->ops->set_rx_features(m->uplink, features);
}

static bool sw_link_up(struct carrier *c)
{
	struct member *m = member_of(c);

	return !m->uplink || m->uplink->ops->link_up(m->uplink);
}

static void sw_rx_refused(struct carrier *c)
{
	struct member *m = member_of(c);

	atomic_store(&m->evict, true);
	loop_post(remapper_loop(m->sw->p.remapper), &m->sw->map_work);
}

static const struct carrier_ops sw_ops = {
	.send = sw_send,
	.send_end = sw_send_end,
	.rx_ready = sw_rx_ready,
	.start = sw_start,
	.stop = sw_stop,
	.set_rx_features = sw_set_rx_features,
	.link_up = sw_link_up,
	.rx_refused = sw_rx_refused,
};

/* -- Life of the switch -- */

static int lock_init(pthread_rwlock_t *lock)
{
	pthread_rwlockattr_t attr;
	int err = pthread_rwlockattr_init(&attr);

	if (err)
		return -err;
	pthread_rwlockattr_setkind_np(&attr, PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP);
	err = pthread_rwlock_init(lock, &attr);
	pthread_rwlockattr_destroy(&attr);
	return -err;
}

static bool rules_ok(const struct xtalk_rules *r)
{
	return r->threshold >= 1 && r->threshold <= r->window && r->window <= XTALK_WINDOW_MAX &&
	       r->share_percent >= 1 && r->share_percent <= 100;
}

struct tick_init {
	struct netswitch *sw;
	int err;
};

static void tick_init(void *arg)
{
	struct tick_init *t = arg;

	t->err = loop_timer_init(remapper_loop(t->sw->p.remapper), &t->sw->tick, on_tick);
}

static void tick_fini(void *arg)
{
	struct netswitch *sw = arg;

	loop_timer_fini(remapper_loop(sw->p.remapper), &sw->tick);
}

int netswitch_create(struct netswitch **out, const struct netswitch_params *params)
{
	struct netswitch *sw;
	struct tick_init t;
	struct timespec ts;
	int err;

	if (!rules_ok(&params->rules) || !params->remapper ||
	    (params->own_uplinks && params->uplink_fd >= 0))
		return -EINVAL;
	sw = calloc(1, sizeof(*sw));
	if (!sw)
		return -ENOMEM;
	sw->p = *params;
	sw->map_work.fn = map_lane_work;
	clock_gettime(CLOCK_REALTIME, &ts);
	atomic_store(&sw->cookie_seed, (uint32_t)ts.tv_nsec);
	pthread_mutex_init(&sw->drain_lock, NULL);
	err = lock_init(&sw->lock);
	if (err)
		goto out_free;
	t = (struct tick_init){ .sw = sw };
	loop_call(remapper_loop(params->remapper), tick_init, &t);
	err = t.err;
	if (err)
		goto out_lock;
	if (params->uplink_fd >= 0)
		err = shared_uplink_create(&sw->shared, sw, params->uplink_fd);
	if (err)
		goto out_tick;
	*out = sw;
	return 0;

out_tick:
	loop_call(remapper_loop(params->remapper), tick_fini, sw);
out_lock:
	pthread_rwlock_destroy(&sw->lock);
out_free:
	pthread_mutex_destroy(&sw->drain_lock);
	free(sw);
	return err;
}

void netswitch_destroy(struct netswitch *sw)
{
	if (!sw)
		return;
	shared_uplink_destroy(sw->shared);
	loop_call(remapper_loop(sw->p.remapper), tick_fini, sw);
	for (unsigned n = 0; n < NETSWITCH_MAX_PORTS; n++)
		free(sw->drains[n]);
	pthread_rwlock_destroy(&sw->lock);
	pthread_mutex_destroy(&sw->drain_lock);
	free(sw);
}

const char *netswitch_name(const struct netswitch *sw)
{
	return sw->p.name;
}

const struct netswitch_stats *netswitch_stats(const struct netswitch *sw)
{
	return &sw->stats;
}

/* -- Membership -- */

/* On a vCPU's thread, which is outside of guest code and so holds nobody up. */
static bool sw_write_refused(void *arg)
{
	struct member *m = arg;
	bool mapped;

	pthread_rwlock_rdlock(&m->sw->lock);
	mapped = m->rx_mapped_by != NULL;
	pthread_rwlock_unlock(&m->sw->lock);
	if (!mapped)
		return false;
	atomic_store(&m->wrote, true);
	map_lane_settle(m->sw);
	return true;
}

/* A free slot: the one that this address had, or else one that nobody had, because markers of who
 * had a slot may still be on their way; or else any. */
static unsigned free_slot(const struct netswitch *sw, uint64_t mac)
{
	unsigned fresh = NETSWITCH_MAX_PORTS, any = NETSWITCH_MAX_PORTS;

	for (unsigned n = NETSWITCH_MAX_PORTS; n--;) {
		if (sw->members[n])
			continue;
		if (sw->drains[n] && sw->drains[n]->mac == mac)
			return n;
		if (!sw->drains[n])
			fresh = n;
		any = n;
	}
	return fresh < NETSWITCH_MAX_PORTS ? fresh : any;
}

/* Under the write lock. */
static int attach(struct netswitch *sw, struct member *m)
{
	struct drain *drain;
	unsigned slot;

	if (switch_find(sw, m->mac))
		return -EEXIST;
	slot = free_slot(sw, m->mac);
	if (slot == NETSWITCH_MAX_PORTS)
		return -ENOSPC;
	drain = sw->drains[slot] ? sw->drains[slot] : calloc(1, sizeof(*drain));
	if (!drain)
		return -ENOMEM;
	m->slot = slot;
	m->drain = drain;
	pthread_mutex_lock(&sw->drain_lock);
	drain->mac = m->mac;
	sw->drains[slot] = drain;
	sw->members[slot] = m;
	pthread_mutex_unlock(&sw->drain_lock);
	if (slot >= sw->nr_slots)
		sw->nr_slots = slot + 1;
	index_macs(sw);
	return 0;
}

int netswitch_attach(struct netswitch *sw, const struct netswitch_port *np, struct carrier **out)
{
	struct member *m;
	int err;

	if (mac_is_group(np->port->mac) || !np->uplink == sw->p.own_uplinks)
		return -EINVAL;
	m = calloc(1, sizeof(*m));
	if (!m)
		return -ENOMEM;
	m->carrier.ops = &sw_ops;
	m->carrier.port = np->port;
	m->filter.swallow = drain_filter;
	m->sw = sw;
	m->port = np->port;
	m->uplink = np->uplink;
	if (np->port->memory) {
		np->port->memory->write_refused = sw_write_refused;
		np->port->memory->refused_arg = m;
	}
	m->mac = mac_value(np->port->mac);
	m->promiscuous = np->promiscuous;
	m->has_peer = np->peer_mac;
	atomic_store(&m->binding, m->uplink ? BINDING_UPLINK : BINDING_DIRECT);
	m->opening = -1;
	m->ordered = COMMAND_AUTO;
	atomic_store(&m->waits_for, -1);
	atomic_store(&m->map_waits_for, -1);
	atomic_store(&m->command, COMMAND_NONE);
	atomic_store(&m->pinned, !m->uplink);
	detector_init(&m->detector, &sw->p.rules);

	pthread_rwlock_wrlock(&sw->lock);
	err = attach(sw, m);
	pthread_rwlock_unlock(&sw->lock);
	if (err) {
		free(m);
		return err;
	}
	if (m->uplink) {
		m->uplink->port = m->port;
		m->uplink->filter = &m->filter;
	}
	*out = &m->carrier;
	return 0;
}

/* Under sw->lock. */
static struct member *find_port(struct netswitch *sw, const struct port *port)
{
	for (unsigned n = 0; n < sw->nr_slots; n++) {
		if (sw->members[n] && sw->members[n]->port == port)
			return sw->members[n];
	}
	return NULL;
}

void netswitch_detach(struct netswitch *sw, struct port *port)
{
	struct member *m;

	pthread_rwlock_wrlock(&sw->lock);
	m = find_port(sw, port);
	if (m) {
		drain_cancel(m);
		pthread_mutex_lock(&sw->drain_lock);
		sw->members[m->slot] = NULL;
		pthread_mutex_unlock(&sw->drain_lock);
		close_lanes_to(sw, m);
		index_macs(sw);
		if (m->uplink)
			m->uplink->filter = NULL;
		if (m->port->memory)
			m->port->memory->write_refused = NULL;
	}
	pthread_rwlock_unlock(&sw->lock);
	if (m)
		map_lane_free(m);
	free(m);
}

/* -- Looking in, and orders -- */

int netswitch_port_state(struct netswitch *sw, const struct port *port,
			 struct netswitch_port_state *out)
{
	struct member *m;
	int rc = 0;

	memset(out, 0, sizeof(*out));
	/* For writing: the lanes belong to the sender's batches. */
	pthread_rwlock_wrlock(&sw->lock);
	m = find_port(sw, port);
	if (!m) {
		rc = -ENOENT;
		goto out;
	}
	out->binding = (enum binding)atomic_load(&m->binding);
	out->pinned = atomic_load(&m->pinned);
	out->swaps = atomic_load(&m->swaps);
	out->drain_timeouts = atomic_load(&m->drain_timeouts);
	if (m->map) {
		if (map_lane_is(m->map, MAP_ON))
			snprintf(out->mapped_to, sizeof(out->mapped_to), "%s",
				 sw->members[m->map->to]->port->name);
		snprintf(out->not_mapped, sizeof(out->not_mapped), "%s", m->map->not_mapped);
		out->maps = m->map->maps;
		out->rescues = m->map->rescues;
	}
	for (unsigned n = 0; n < sw->nr_slots; n++) {
		const struct member *to = sw->members[n];

		if (!to || to == m || (m->uplink && m->lane[n] != LANE_OPEN) || !to->started)
			continue;
		if (out->nr_open_lanes < ARRAY_SIZE(out->open_lanes))
			snprintf(out->open_lanes[out->nr_open_lanes], sizeof(out->open_lanes[0]),
				 "%s", to->port->name);
		out->nr_open_lanes++;
	}
out:
	pthread_rwlock_unlock(&sw->lock);
	return rc;
}

int netswitch_command(struct netswitch *sw, const struct port *port, bool pin, enum binding b)
{
	struct member *m;
	int rc = 0;

	if (sw->p.rules.mode == XTALK_OFF || (!sw->p.own_uplinks && !sw->p.rules.map) ||
	    (pin && b == BINDING_UPLINK && !sw->p.own_uplinks))
		return -ENOTSUP;
	pthread_rwlock_rdlock(&sw->lock);
	m = find_port(sw, port);
	if (m && pin && b == BINDING_MAPPED && (!sw->p.rules.map || !m->port->memory)) {
		rc = -ENOTSUP;
	} else if (m) {
		atomic_store(&m->command, pin ? (int)b : COMMAND_AUTO);
		port->ops->tx_resume(m->port);
	} else {
		rc = -ENOENT;
	}
	pthread_rwlock_unlock(&sw->lock);
	return rc;
}
