/*
 * What a virtio-net header asks of the one who receives the frame. One answer for every NIC model
 * and every carrier.
 */
#ifndef BASE_VNET_H
#define BASE_VNET_H

#include <linux/virtio_net.h>

#include "base/types.h"

#define VNET_BIT(feature) (UINT64_C(1) << (feature))

/* All that xvmm offers of receive offloads; every carrier can do without each of them. */
#define VNET_RX_OFFLOADS                                                         \
	(VNET_BIT(VIRTIO_NET_F_GUEST_CSUM) | VNET_BIT(VIRTIO_NET_F_GUEST_TSO4) | \
	 VNET_BIT(VIRTIO_NET_F_GUEST_TSO6) | VNET_BIT(VIRTIO_NET_F_GUEST_ECN))

#define VNET_NEEDS_UNKNOWN VNET_BIT(63) /* a kind of GSO that xvmm never offers */

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__,
	       "virtio headers are little-endian and used in place");

/* The VIRTIO_NET_F_GUEST_* features without which a driver cannot take a frame with this header. */
static inline uint64_t vnet_hdr_needs(const struct virtio_net_hdr_v1 *h)
{
	uint64_t needs = 0;

	if (h->flags & VIRTIO_NET_HDR_F_NEEDS_CSUM)
		needs |= VNET_BIT(VIRTIO_NET_F_GUEST_CSUM);
	switch (h->gso_type & ~VIRTIO_NET_HDR_GSO_ECN) {
	case VIRTIO_NET_HDR_GSO_NONE:
		break;
	case VIRTIO_NET_HDR_GSO_TCPV4:
		needs |= VNET_BIT(VIRTIO_NET_F_GUEST_TSO4);
		break;
	case VIRTIO_NET_HDR_GSO_TCPV6:
		needs |= VNET_BIT(VIRTIO_NET_F_GUEST_TSO6);
		break;
	default:
		needs |= VNET_NEEDS_UNKNOWN;
	}
	if (h->gso_type & VIRTIO_NET_HDR_GSO_ECN)
		needs |= VNET_BIT(VIRTIO_NET_F_GUEST_ECN);
	return needs;
}

#endif
