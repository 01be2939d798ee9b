/*
 * The switch of one net whose NICs share one uplink (tap:NAME) or have none: steers each frame by
 * its destination address to the ports that it is for, and to the uplink.
 *
 * It knows devices only as ports (base/carrier.h) and the uplink only as a file descriptor that
 * takes and gives Ethernet frames behind a virtio-net header; nothing of virtio registers or KVM.
 *
 * Delivery to another port is one copy, from the sender's buffers into the receiver's, made by the
 * sender's own loop thread under the receiver's lock. The uplink is read on a thread of the net.
 */
#ifndef XTALK_NETSWITCH_H
#define XTALK_NETSWITCH_H

#include "base/carrier.h"
#include "base/vnet.h"

struct netswitch;

#define NETSWITCH_MAX_PORTS 256

/* What the switch counts beside the counters of each port; any thread may read them. */
struct netswitch_stats {
	_Atomic uint64_t spoofed;   /* frames with another member's, or a group, source address */
	_Atomic uint64_t uplink_rx; /* frames read from the uplink */
	_Atomic uint64_t uplink_tx; /* frames written to it */
	_Atomic uint64_t uplink_tx_dropped;
};

/* uplink_fd: a TAP with IFF_VNET_HDR and a header of VNET_HDR_BYTES, non-blocking, borrowed, that
 * has been told that its reader can take every offload (tap_set_offload(fd, VNET_RX_OFFLOADS)): the
 * switch completes what a receiver can't. -1: none. Starts the uplink's thread. `name` outlives the
 * switch. Errors: -ENOMEM, errno of pthread_create and epoll. */
int netswitch_create(struct netswitch **out, const char *name, int uplink_fd);
void netswitch_destroy(struct netswitch *sw); /* all ports detached */

const struct netswitch_stats *netswitch_stats(const struct netswitch *sw);

/* The carrier for one port, which is borrowed; before the port is live. -ENOMEM, -ENOSPC, -EEXIST
 * (MAC, or the port is a member already), -EINVAL (the MAC is a group address). */
int netswitch_attach(struct netswitch *sw, struct port *port, struct carrier **out);
void netswitch_detach(struct netswitch *sw, struct port *port); /* its loop has stopped */

#endif
