/* Driver of virtio-net for net.c. Source: VIRTIO 1.2, section 5.1. */
#include "lib/net.h"

#define VIRTIO_NET_F_MAC 5

static struct net_buf *receive(struct net *n, uint32_t *frame_bytes)
{
	uint32_t len;
	struct net_buf *b = vq_take(&n->rx, &len);

	if (!b)
		return NULL;
	CHECK(len > NET_HDR_BYTES && len <= sizeof(*b), "received %u bytes", len);
	*frame_bytes = len - NET_HDR_BYTES;
	return b;
}

static bool give(struct net *n, struct net_buf *b)
{
	struct buf v = { b, sizeof(*b) };

	return vq_add(&n->rx, &v, 0, 1, b);
}

static bool send(struct net *n, struct net_buf *b, uint32_t frame_bytes)
{
	struct buf v[2] = { { b, NET_HDR_BYTES }, { b->frame, frame_bytes } };

	memset(b->hdr, 0, NET_HDR_BYTES);
	return vq_add(&n->tx, v, 2, 0, b);
}

static struct net_buf *sent(struct net *n)
{
	return vq_take(&n->tx, NULL);
}

static void kick(struct net *n)
{
	vq_kick(&n->tx);
	vq_kick(&n->rx);
}

static bool arm(struct net *n)
{
	return vq_arm(&n->rx) || vq_arm(&n->tx);
}

static void wait(struct net *n)
{
	virtio_wait(&n->dev);
}

static const struct net_ops ops = {
	.receive = receive,
	.give = give,
	.send = send,
	.sent = sent,
	.kick = kick,
	.arm = arm,
	.wait = wait,
};

bool virtio_net_start(struct net *n, unsigned index)
{
	if (!virtio_find(&n->dev, VIRTIO_ID_NET, index))
		return false;
	n->ops = &ops;
	n->over = n->dev.mmio ? "mmio" : "pci";
	virtio_start(&n->dev, virtio_usual_features() | FEATURE(VIRTIO_NET_F_MAC));
	virtio_queue(&n->dev, &n->rx, 0, 256);
	virtio_queue(&n->dev, &n->tx, 1, 256);
	virtio_config(&n->dev, 0, n->mac, 6);
	if (n->nr_rx > n->rx.size)
		n->nr_rx = n->rx.size;
	for (unsigned i = 0; i < n->nr_rx; i++)
		net_give(n, net_buf_new());
	virtio_driver_ok(&n->dev);
	vq_kick(&n->rx);
	return true;
}
