/*
 * What the control socket says, as JSON: the state of a lab, events, errors. Main thread; nothing
 * is kept.
 *
 * All numbers are integers; times and sizes bear their unit in the name. Counters start with the
 * lab and go on when a guest reboots.
 */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "vmm/control.h"

/* Jansson takes UTF-8 only; the names of interfaces and files need not be. */
static json_t *text(const char *s)
{
	json_t *j = json_string(s);
	char ascii[256];
	size_t i;

	if (j)
		return j;
	for (i = 0; s[i] && i < sizeof(ascii) - 1; i++)
		ascii[i] = (signed char)s[i] < 0 ? '?' : s[i];
	ascii[i] = '\0';
	return json_string(ascii);
}

static json_t *number(uint64_t n)
{
	return json_integer(n > INT64_MAX ? INT64_MAX : (json_int_t)n);
}

json_t *control_error(const char *fmt, ...)
{
	char why[256];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(why, sizeof(why), fmt, ap);
	va_end(ap);
	return json_pack("{s:o}", "error", text(why));
}

/* An object from an array of names and values. Takes the references; NULL if one is missing. */
struct member {
	const char *name;
	json_t *value;
};

static json_t *object(const struct member *m, size_t nr)
{
	json_t *o = json_object();

	for (size_t i = 0; i < nr; i++) {
		if (json_object_set_new(o, m[i].name, m[i].value)) {
			/* It has taken this reference; the rest are still ours. */
			while (++i < nr)
				json_decref(m[i].value);
			json_decref(o);
			return NULL;
		}
	}
	return o;
}
json_t *control_event(const struct xtalk_event *ev)
{
	const struct member members[] = {
		{ "seq", number(ev->seq) },
		/* Microseconds: nanoseconds would not survive readers that compute in doubles. */
		{ "time_us", number(ev->time_ns / 1000) },
		{ "net", text(ev->net) },
		{ "nic", text(ev->nic) },
		{ "peer", text(ev->peer) },
		{ "from", text(binding_name(ev->from)) },
		{ "to", text(binding_name(ev->to)) },
		{ "why", text(xtalk_why_name(ev->why)) },
		{ "detail", text(ev->detail) },
		{ "frames", number(ev->frames) },
		{ "window", number(ev->window) },
		{ "detect_us", number(ev->detect_us) },
		{ "swap_us", number(ev->swap_us) },
	};

	return object(members, ARRAY_SIZE(members));
}

static const char *state_name(enum guest_state s)
{
	switch (s) {
	case GUEST_OFF:
		return "off";
	case GUEST_BUILT:
		return "built";
	case GUEST_RUNNING:
		return "running";
	case GUEST_STOPPING:
		return "stopping";
	case GUEST_RESTARTING:
		return "restarting";
	case GUEST_ENDED:
		return "ended";
	}
	return "unknown";
}

static json_t *disk_names(const struct lab_config *cfg, unsigned guest)
{
	json_t *a = json_array();

	for (unsigned i = 0; i < cfg->nr_disks; i++) {
		if (cfg->disk[i].guest == guest)
			json_array_append_new(a, text(cfg->disk[i].full_name));
	}
	return a;
}

static json_t *guest_object(const struct lab_view *v, unsigned i)
{
	const struct guest_config *g = &v->cfg->guest[i];
	enum guest_state state = GUEST_OFF;
	unsigned restarts = 0;

	v->ops->guest(v, i, &state, &restarts);
	const struct member members[] = {
		{ "name", text(g->name) },	  { "state", text(state_name(state)) },
		{ "cpus", number(g->cpus) },	  { "memory_bytes", number(g->memory_bytes) },
		{ "restarts", number(restarts) }, { "disks", disk_names(v->cfg, i) },
	};

	return object(members, ARRAY_SIZE(members));
}

static json_t *traffic_object(const struct nic_traffic *t)
{
	const struct member members[] = {
		{ "tx_frames", number(t->tx_frames) },
		{ "tx_bytes", number(t->tx_bytes) },
		{ "rx_frames", number(t->rx_frames) },
		{ "rx_bytes", number(t->rx_bytes) },
	};

	return object(members, ARRAY_SIZE(members));
}

static json_t *paths_object(const struct nic_counters *c)
{
	const struct member members[] = {
		{ "uplink", traffic_object(&c->path[PATH_UPLINK]) },
		{ "direct", traffic_object(&c->path[PATH_DIRECT]) },
		{ "mapped", traffic_object(&c->path[PATH_MAPPED]) },
	};

	return object(members, ARRAY_SIZE(members));
}

static json_t *counters_object(const struct nic_counters *c)
{
	const struct member members[] = {
		{ "tx_frames", number(c->total.tx_frames) },
		{ "tx_bytes", number(c->total.tx_bytes) },
		{ "rx_frames", number(c->total.rx_frames) },
		{ "rx_bytes", number(c->total.rx_bytes) },
		{ "path", paths_object(c) },
		{ "tx_dropped", number(c->tx_dropped) },
		{ "rx_dropped", number(c->rx_dropped) },
		{ "tx_invalid", number(c->tx_invalid) },
		{ "tx_spoofed", number(c->tx_spoofed) },
		{ "tx_held", number(c->tx_held) },
		{ "swaps", number(c->swaps) },
		{ "drain_timeouts", number(c->drain_timeouts) },
		{ "maps", number(c->maps) },
		{ "rescues", number(c->rescues) },
		{ "interrupts", number(c->interrupts) },
		{ "doorbells", number(c->doorbells) },
		{ "guest_faults", number(c->guest_faults) },
	};

	return object(members, ARRAY_SIZE(members));
}

static json_t *lane_names(const struct netswitch_port_state *s)
{
	json_t *a = json_array();

	for (size_t i = 0; i < ARRAY_SIZE(s->open_lanes) && s->open_lanes[i][0]; i++)
		json_array_append_new(a, text(s->open_lanes[i]));
	return a;
}

static json_t *nic_object(const struct lab_view *v, unsigned i)
{
	const struct nic_config *n = &v->cfg->nic[i];
	struct nic_info info = { 0 };
	char mac[18];

	v->ops->nic(v, i, &info);
	snprintf(mac, sizeof(mac), "%02x:%02x:%02x:%02x:%02x:%02x", n->mac[0], n->mac[1], n->mac[2],
		 n->mac[3], n->mac[4], n->mac[5]);
	const struct member members[] = {
		{ "name", text(n->full_name) },
		{ "guest", text(v->cfg->guest[n->guest].name) },
		{ "net", text(v->cfg->net[n->net].name) },
		{ "mac", text(mac) },
		/* Without a machine it is bound to nothing. */
		{ "binding", info.plugged ? text(binding_name(info.port.binding)) : json_null() },
		{ "pinned", json_boolean(info.port.pinned) },
		{ "link", text(info.link_up ? "up" : "down") },
		{ "open_lanes", number(info.port.nr_open_lanes) },
		{ "lanes", lane_names(&info.port) },
		{ "mapped_to", text(info.port.mapped_to) },
		{ "not_mapped", text(info.port.not_mapped) },
		{ "counters", counters_object(&info.counters) },
	};

	return object(members, ARRAY_SIZE(members));
}

static json_t *uplink_text(const struct net_config *n)
{
	char s[64];

	if (n->uplink == UPLINK_NONE)
		return text("none");
	snprintf(s, sizeof(s), "%s:%s", n->uplink == UPLINK_TAP ? "tap" : "bridge",
		 n->uplink_name ? n->uplink_name : "");
	return text(s);
}

static const char *mode_name(enum crosstalk_mode m)
{
	switch (m) {
	case CROSSTALK_OFF:
		return "off";
	case CROSSTALK_DYNAMIC:
		return "dynamic";
	case CROSSTALK_STATIC:
		return "static";
	}
	return "unknown";
}

static json_t *switch_object(const struct netswitch_stats *s)
{
	if (!s)
		return json_null();
	const struct member members[] = {
		{ "spoofed", number(s->spoofed) },
		{ "uplink_rx", number(s->uplink_rx) },
		{ "uplink_tx", number(s->uplink_tx) },
		{ "uplink_tx_dropped", number(s->uplink_tx_dropped) },
		{ "swaps", number(s->swaps) },
		{ "drain_timeouts", number(s->drain_timeouts) },
		{ "markers_sent", number(s->markers_sent) },
		{ "markers_swallowed", number(s->markers_swallowed) },
	};

	return object(members, ARRAY_SIZE(members));
}

static json_t *net_object(const struct lab_view *v, unsigned i)
{
	const struct net_config *n = &v->cfg->net[i];
	const struct member members[] = {
		{ "name", text(n->name) },
		{ "crosstalk", text(mode_name(n->crosstalk)) },
		{ "uplink", uplink_text(n) },
		{ "switch", switch_object(v->ops->net(v, i)) },
	};

	return object(members, ARRAY_SIZE(members));
}

static json_t *list(const struct lab_view *v, unsigned nr,
		    json_t *(*fn)(const struct lab_view *v, unsigned i))
{
	json_t *a = json_array();

	for (unsigned i = 0; i < nr; i++) {
		if (json_array_append_new(a, fn(v, i))) {
			json_decref(a);
			return NULL;
		}
	}
	return a;
}

json_t *control_stat(const struct lab_view *v, uint64_t uptime_ms)
{
	const struct member members[] = {
		{ "lab", text(v->cfg->name) },
		{ "config", text(v->cfg->path ? v->cfg->path : "") },
		{ "pid", number((uint64_t)getpid()) },
		{ "uptime_ms", number(uptime_ms) },
		{ "guests", list(v, v->cfg->nr_guests, guest_object) },
		{ "nics", list(v, v->cfg->nr_nics, nic_object) },
		{ "nets", list(v, v->cfg->nr_nets, net_object) },
	};

	return object(members, ARRAY_SIZE(members));
}
