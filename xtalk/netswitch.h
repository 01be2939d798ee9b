/*
 * The switch of one net: steers each frame by its destination address to the ports that it is for,
 * or to the physical device, as the binding of the sender's transmit element says; detects
 * cross-talk, and swaps bindings while traffic flows.
 *
 * Two kinds of net:
 *  - its NICs share one physical device (tap:NAME), or have none: whoever talks here is assumed to
 *    talk to the others, and every element is `direct` from the start;
 *  - each NIC has a physical device of its own (bridge:NAME), a carrier (its TAP) that it is
 * attached with: elements are `uplink` until the detector, vm.ini or a command says otherwise.
 *
 * A lane leads from one element to one other port. It opens only when nothing that was sent to that
 * port through the physical device is still on its way: a marker frame is sent after it, and
 * swallowed by the receiver's side when it comes through. Until then the sender's frames stay in
 * its own ring.
 *
 * It knows devices only as ports (base/carrier.h) and the uplink only as a file descriptor that
 * takes and gives Ethernet frames behind a virtio-net header; nothing of virtio registers or KVM.
 *
 * Delivery to another port is one copy, from the sender's buffers into the receiver's, made by the
 * sender's own loop thread under the receiver's lock. The uplink is read on a thread of the net.
 */
#ifndef XTALK_NETSWITCH_H
#define XTALK_NETSWITCH_H

#include "xtalk/xtalk.h"
#include "base/vnet.h"

struct netswitch;
struct remapper;

#define NETSWITCH_MAX_PORTS 256

/* What the switch counts beside the counters of each port; any thread may read them. */
struct netswitch_stats {
	_Atomic uint64_t spoofed;   /* frames with another member's, or a group, source address */
	_Atomic uint64_t uplink_rx; /* frames read from the shared uplink */
	_Atomic uint64_t uplink_tx; /* frames written to it */
	_Atomic uint64_t uplink_tx_dropped;
	_Atomic uint64_t swaps;		 /* changes of binding */
	_Atomic uint64_t drain_timeouts; /* swaps given up because the old path did not drain */
	_Atomic uint64_t markers_sent, markers_swallowed;
};

struct netswitch_params {
	const char *name; /* outlives the switch, as everything here does */
	/* The shared physical device: a TAP with IFF_VNET_HDR and a header of VNET_HDR_BYTES,
	 * non-blocking, borrowed, that has been told that its reader can take every offload
	 * (tap_set_offload(fd, VNET_RX_OFFLOADS)): the switch completes what a receiver can't. -1:
	 * none. */
	int uplink_fd;
	bool own_uplinks; /* every port brings a carrier on a physical device of its own */
	struct xtalk_rules rules;
	struct remapper *remapper;
};

/* Starts the shared uplink's thread. Errors: -EINVAL (rules), -ENOMEM, errno of pthread_create and
 * epoll. */
int netswitch_create(struct netswitch **out, const struct netswitch_params *params);
void netswitch_destroy(struct netswitch *sw); /* all ports detached */

const char *netswitch_name(const struct netswitch *sw);
const struct netswitch_stats *netswitch_stats(const struct netswitch *sw);

struct netswitch_port {
	struct port *port; /* borrowed */
	struct carrier
		*uplink;  /* borrowed; NULL unless own_uplinks. The switch becomes its filter */
	bool promiscuous; /* may send from any address that is not another member's */
	const uint8_t *peer_mac; /* explicit coupling (peer =): the lane to it is open from the
				  * start and stays; NULL: none */
};

/* The carrier for one port; before the port is live. -ENOMEM, -ENOSPC, -EEXIST (MAC, or the port is
 * a member already), -EINVAL (the MAC is a group address; uplink missing or not wanted). */
int netswitch_attach(struct netswitch *sw, const struct netswitch_port *np, struct carrier **out);
void netswitch_detach(struct netswitch *sw, struct port *port); /* its loop has stopped */

/* What `port` is bound to now, for xvmm stat; any thread. */
struct netswitch_port_state {
	enum binding binding;
	bool pinned;		/* by command, static or peer: the detector does not move it */
	char open_lanes[8][72]; /* names of ports that it has open lanes to; "" at the end */
	unsigned nr_open_lanes; /* may be more than are named */
	uint64_t swaps, drain_timeouts;
	char mapped_to[72];  /* the port whose receive element is mapped to it; "" */
	char not_mapped[96]; /* why it is not mapped although it might be: "rings 256/128"; "" */
	uint64_t maps;	     /* times that it was mapped */
	uint64_t rescues;    /* of these, ended because the receiver sat on its slots */
};
int netswitch_port_state(struct netswitch *sw, const struct port *port,
			 struct netswitch_port_state *out); /* -ENOENT */

/* Asks for a binding by hand, or (pin = false) leaves it to the detector again. Carried out at the
 * next ring boundary of that NIC. Any thread. -ENOENT; -ENOTSUP: this net has no such binding. */
int netswitch_command(struct netswitch *sw, const struct port *port, bool pin, enum binding b);

#endif
