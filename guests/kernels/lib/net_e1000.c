/* The e1000 for net.c. */
#include "lib/net.h"

static struct net_buf *receive(struct net *n, uint32_t *frame_bytes)
{
	return e1000_receive(&n->e1000, frame_bytes);
}

static bool give(struct net *n, struct net_buf *b)
{
	return e1000_give(&n->e1000, b->frame, b);
}

static bool send(struct net *n, struct net_buf *b, uint32_t frame_bytes)
{
	return e1000_send(&n->e1000, b->frame, frame_bytes, b);
}

static struct net_buf *sent(struct net *n)
{
	return e1000_sent(&n->e1000);
}

static void kick(struct net *n)
{
	e1000_kick(&n->e1000);
}

static bool arm(struct net *n)
{
	return e1000_more(&n->e1000);
}

static void wait(struct net *n)
{
	e1000_wait(&n->e1000);
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

bool net_e1000_start(struct net *n, unsigned index)
{
	if (!e1000_find(&n->e1000, index))
		return false;
	n->ops = &ops;
	n->over = "e1000";
	e1000_mac(&n->e1000, n->mac);
	e1000_start(&n->e1000);
	if (n->nr_rx >= E1000_RING)
		n->nr_rx = E1000_RING - 1;
	for (unsigned i = 0; i < n->nr_rx; i++)
		net_give(n, net_buf_new());
	net_kick(n);
	return true;
}
