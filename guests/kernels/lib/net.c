/* Whole frames over whichever network card there is; see net.h. */
#include "lib/mem.h"
#include "lib/net.h"

struct net_buf *net_buf_new(void)
{
	return mem_alloc(sizeof(struct net_buf), 256);
}

void net_start(struct net *n, unsigned index, unsigned nr_rx)
{
	unsigned nr_virtio = 0;
	struct virtio v;

	while (nr_virtio <= index && virtio_find(&v, VIRTIO_ID_NET, nr_virtio))
		nr_virtio++;
	n->nr_rx = nr_rx;
	if (index < nr_virtio)
		CHECK(virtio_net_start(n, index), "no NIC number %u", index);
	else
		CHECK(net_e1000_start(n, index - nr_virtio), "no NIC number %u", index);
}

struct net_buf *net_receive(struct net *n, uint32_t *frame_bytes)
{
	return n->ops->receive(n, frame_bytes);
}

void net_give(struct net *n, struct net_buf *b)
{
	CHECK(n->ops->give(n, b), "receive ring is full");
}

bool net_send(struct net *n, struct net_buf *b, uint32_t frame_bytes)
{
	return n->ops->send(n, b, frame_bytes);
}

struct net_buf *net_sent(struct net *n)
{
	return n->ops->sent(n);
}

void net_kick(struct net *n)
{
	n->ops->kick(n);
}

bool net_arm(struct net *n)
{
	return n->ops->arm(n);
}

void net_wait(struct net *n)
{
	n->ops->wait(n);
}

uint64_t net_interrupts(const struct net *n)
{
	return n->dev.interrupts + n->e1000.interrupts;
}

uint64_t net_kicks(const struct net *n)
{
	return n->tx.kicks + n->rx.kicks + n->e1000.kicks;
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
