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

struct netswitch;

/* uplink_fd: a TAP with IFF_VNET_HDR, non-blocking, borrowed; -1: none. set_offload: tells the
 * uplink what its reader can take (always everything: the switch segments where a receiver can't);
 * may be NULL. Starts the uplink's thread. */
int netswitch_create(struct netswitch **out, const char *name, int uplink_fd);
void netswitch_destroy(struct netswitch *sw); /* all ports detached */

/* The carrier for one port, which is borrowed; before the port is live. -ENOSPC, -EEXIST (MAC). */
int netswitch_attach(struct netswitch *sw, struct port *port, struct carrier **out);
void netswitch_detach(struct netswitch *sw, struct port *port); /* its loop has stopped */

#endif
