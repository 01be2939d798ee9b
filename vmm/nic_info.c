/*
 * Snapshot of a NIC: see nic_info.h.
 */
#include "vmm/nic_info.h"

#include <string.h>

static uint64_t get(_Atomic uint64_t *counter)
{
	return atomic_load_explicit(counter, memory_order_relaxed);
}

static void read_counters(struct nic_counters *c, struct port_stats *s,
			  const struct nic_signals *signals)
{
	c->total = (struct nic_traffic){ get(&s->tx_frames), get(&s->tx_bytes), get(&s->rx_frames),
					 get(&s->rx_bytes) };
	for (unsigned i = 0; i < NR_PATHS; i++) {
		struct path_stats *p = &s->path[i];

		c->path[i] = (struct nic_traffic){ get(&p->tx_frames), get(&p->tx_bytes),
						   get(&p->rx_frames), get(&p->rx_bytes) };
	}
	c->tx_dropped = get(&s->tx_dropped);
	c->rx_dropped = get(&s->rx_dropped);
	c->tx_invalid = get(&s->tx_invalid);
	c->tx_spoofed = get(&s->tx_spoofed);
	c->tx_held = get(&s->tx_held);
	c->interrupts = signals->interrupts;
	c->doorbells = signals->doorbells;
	c->guest_faults = signals->guest_faults;
}

void nic_info_read(struct nic_info *out, struct port *port, const struct nic_signals *signals,
		   struct netswitch *sw)
{
	memset(out, 0, sizeof(*out));
	out->plugged = true;
	out->link_up = port->carrier && port->carrier->ops->link_up(port->carrier);
	out->port.binding = BINDING_UPLINK;
	if (sw && netswitch_port_state(sw, port, &out->port))
		memset(&out->port, 0, sizeof(out->port));
	read_counters(&out->counters, &port->stats, signals);
	out->counters.swaps = out->port.swaps;
	out->counters.drain_timeouts = out->port.drain_timeouts;
	out->counters.maps = out->port.maps;
	out->counters.rescues = out->port.rescues;
}

static void traffic_add(struct nic_traffic *to, const struct nic_traffic *more)
{
	to->tx_frames += more->tx_frames;
	to->tx_bytes += more->tx_bytes;
	to->rx_frames += more->rx_frames;
	to->rx_bytes += more->rx_bytes;
}

void nic_counters_add(struct nic_counters *to, const struct nic_counters *more)
{
	traffic_add(&to->total, &more->total);
	for (unsigned i = 0; i < NR_PATHS; i++)
		traffic_add(&to->path[i], &more->path[i]);
	to->tx_dropped += more->tx_dropped;
	to->rx_dropped += more->rx_dropped;
	to->tx_invalid += more->tx_invalid;
	to->tx_spoofed += more->tx_spoofed;
	to->tx_held += more->tx_held;
	to->swaps += more->swaps;
	to->drain_timeouts += more->drain_timeouts;
	to->maps += more->maps;
	to->rescues += more->rescues;
	to->interrupts += more->interrupts;
	to->doorbells += more->doorbells;
	to->guest_faults += more->guest_faults;
}
