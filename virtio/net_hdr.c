/*
 * The virtio-net header (VIRTIO 1.2, 5.1.6): one checker for what drivers write, and the last word
 * on what they get to read. Pure functions; any thread.
 *
 * A header crosses from one guest into another, or into the host's kernel, so nothing in it is
 * passed on that was not checked here against the frame and against what was negotiated.
 */
#include <errno.h>

#include "base/vnet.h"
#include "virtio/net_internal.h"

#define TCP_CSUM_OFFSET	  16
#define TCP_HDR_MIN_BYTES 20

static int check_csum(struct virtio_net_hdr_v1 *h, size_t len, uint64_t acked)
{
	/* Bits that we do not know are to be ignored (5.1.6.2.2), DATA_VALID and RSC_INFO are for
	 * the other direction. */
	h->flags &= VIRTIO_NET_HDR_F_NEEDS_CSUM;
	if (!h->flags) {
		h->csum_start = 0;
		h->csum_offset = 0;
		return 0;
	}
	if (!(acked & VNET_BIT(VIRTIO_NET_F_CSUM)))
		return -EINVAL;
	/* A checksum over or into the Ethernet header would change the addresses after the frame
	 * was steered and judged by them. */
	if (h->csum_start < FRAME_MIN_BYTES)
		return -EINVAL;
	if ((size_t)h->csum_start + h->csum_offset + 2 > len)
		return -EINVAL;
	return 0;
}

static int check_gso(struct virtio_net_hdr_v1 *h, size_t len, uint64_t acked)
{
	unsigned feature;

	switch (h->gso_type & ~VIRTIO_NET_HDR_GSO_ECN) {
	case VIRTIO_NET_HDR_GSO_NONE:
		h->gso_size = 0;
		return h->gso_type ? -EINVAL : 0;
	case VIRTIO_NET_HDR_GSO_TCPV4:
		feature = VIRTIO_NET_F_HOST_TSO4;
		break;
	case VIRTIO_NET_HDR_GSO_TCPV6:
		feature = VIRTIO_NET_F_HOST_TSO6;
		break;
	default:
		return -EINVAL;
	}
	if (!(acked & VNET_BIT(feature)))
		return -EINVAL;
	if ((h->gso_type & VIRTIO_NET_HDR_GSO_ECN) && !(acked & VNET_BIT(VIRTIO_NET_F_HOST_ECN)))
		return -EINVAL;
	/* Segments need new checksums, so the driver must leave them to us (5.1.6.2.1). */
	if (!h->flags || h->csum_offset != TCP_CSUM_OFFSET || !h->gso_size)
		return -EINVAL;
	if ((size_t)h->csum_start + TCP_HDR_MIN_BYTES > len)
		return -EINVAL;
	return 0;
}

int net_hdr_check(struct virtio_net_hdr_v1 *h, size_t len, uint64_t acked)
{
	int err = check_csum(h, len, acked);

	if (!err)
		err = check_gso(h, len, acked);
	if (err)
		return err;
	/* A hint, and often a wrong one. */
	if (h->hdr_len > len)
		h->hdr_len = (uint16_t)len;
	h->num_buffers = 0;
	return 0;
}

/* Field by field into its place: a copy made first would be read back in words that are wider than
 * what was just written, which a processor can't forward. */
void net_hdr_write(void *to, const struct virtio_net_hdr_v1 *h, uint16_t num_buffers,
		   uint64_t acked)
{
	struct __attribute__((packed)) {
		struct virtio_net_hdr_v1 h;
	} *out = to;
	bool csum = acked & VNET_BIT(VIRTIO_NET_F_GUEST_CSUM);
	bool sum = csum && h->flags & VIRTIO_NET_HDR_F_NEEDS_CSUM;
	/* Carriers do not deliver what the driver cannot take; should one ever do so, the driver
	 * must still not see a field that it did not negotiate. */
	bool gso = !(vnet_hdr_needs(h) & ~acked & ~VNET_BIT(VIRTIO_NET_F_GUEST_CSUM));
	uint8_t known = VIRTIO_NET_HDR_F_NEEDS_CSUM | VIRTIO_NET_HDR_F_DATA_VALID;

	out->h.flags = csum ? h->flags & known : 0;
	out->h.gso_type = gso ? h->gso_type : VIRTIO_NET_HDR_GSO_NONE;
	out->h.hdr_len = h->hdr_len;
	out->h.gso_size = gso ? h->gso_size : 0;
	out->h.csum_start = sum ? h->csum_start : 0;
	out->h.csum_offset = sum ? h->csum_offset : 0;
	out->h.num_buffers = num_buffers;
}
