/* A virtio-net driver for whole frames; see virtio_net.h. Source: VIRTIO 1.2, section 5.1. */
#include "lib/mem.h"
#include "lib/virtio_net.h"

struct net_buf *net_buf_new(void)
{
	return mem_alloc(sizeof(struct net_buf), 256);
}

void net_start(struct net *n, unsigned index, unsigned nr_rx)
{
	CHECK(virtio_find(&n->dev, VIRTIO_ID_NET, index), "no NIC number %u", index);
	virtio_start(&n->dev, virtio_usual_features() | FEATURE(VIRTIO_NET_F_MAC));
	virtio_queue(&n->dev, &n->rx, 0, 256);
	virtio_queue(&n->dev, &n->tx, 1, 256);
	virtio_config(&n->dev, 0, n->mac, 6);
	n->nr_rx = nr_rx < n->rx.size ? nr_rx : n->rx.size;
	for (unsigned i = 0; i < n->nr_rx; i++)
		net_give(n, net_buf_new());
	virtio_driver_ok(&n->dev);
	vq_kick(&n->rx);
}

struct net_buf *net_receive(struct net *n, uint32_t *frame_bytes)
{
	uint32_t len;
	struct net_buf *b = vq_take(&n->rx, &len);

	if (!b)
		return NULL;
	CHECK(len > NET_HDR_BYTES && len <= sizeof(*b), "received %u bytes", len);
	*frame_bytes = len - NET_HDR_BYTES;
	return b;
}

void net_give(struct net *n, struct net_buf *b)
{
	struct buf v = { b, sizeof(*b) };

	CHECK(vq_add(&n->rx, &v, 0, 1, b), "receive ring is full");
}

bool net_send(struct net *n, struct net_buf *b, uint32_t frame_bytes)
{
	struct buf v[2] = { { b, NET_HDR_BYTES }, { b->frame, frame_bytes } };

	memset(b->hdr, 0, NET_HDR_BYTES);
	return vq_add(&n->tx, v, 2, 0, b);
}

struct net_buf *net_sent(struct net *n)
{
	return vq_take(&n->tx, NULL);
}

bool parse_mac(const char *text, uint8_t mac[6])
{
	for (unsigned i = 0; i < 6; i++) {
		unsigned v = 0;

		for (unsigned k = 0; k < 2; k++, text++) {
			char c = *text | 32;

			if (*text >= '0' && *text <= '9')
				v = v * 16 + (unsigned)(*text - '0');
			else if (c >= 'a' && c <= 'f')
				v = v * 16 + (unsigned)(c - 'a') + 10;
			else
				return false;
		}
		mac[i] = (uint8_t)v;
		if (i < 5 && *text++ != ':')
			return false;
	}
	return !*text;
}
