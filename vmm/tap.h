/*
 * Carrier on one TAP that serves one NIC (a bridge: net, or a tap: net with a single NIC).
 *
 * Frames go out with one writev(2) each, and come in with one readv(2) straight into the guest's
 * receive buffers; a spill area takes what did not fit so that no frame is ever cut.
 */
#ifndef VMM_TAP_H
#define VMM_TAP_H

#include "base/carrier.h"
#include "base/loop.h"

struct tap;

/* Opens /dev/net/tun and attaches to interface `ifname` (made if missing and allowed) with
 * IFF_TAP | IFF_NO_PI | IFF_VNET_HDR. Returns the descriptor or -errno. *created tells which. */
int tap_open(const char *ifname, bool *created);
/* Sets the header size and which offloads the reader can take (VIRTIO_NET_F_GUEST_* bits). */
int tap_set_offload(int fd, uint64_t guest_features);

/* fd is borrowed. On `loop`, the NIC's. */
int tap_create(struct tap **out, const char *name, int fd, struct loop *loop);
struct carrier *tap_carrier(struct tap *t);
void tap_destroy(struct tap *t);

#endif
