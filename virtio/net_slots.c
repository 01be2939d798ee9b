/*
 * virtio-net, receive side as a ring of slots: what a mapped lane delivers to (docs/mapped.md).
 *
 * Theory of operation. The driver gives the same buffers over and over in the same order. Each was
 * looked at and checked once, when the element was mapped, and what was read of it recorded: its
 * head, its descriptors bit by bit, the addresses that came out. A frame is in its slot already
 * (the sender's driver wrote it there), so to deliver it is to see that the next available chain is
 * the recorded one, write the header, and stage a used entry.
 *
 * Nothing is taken from the available ring before its frame is there, so there is nothing to give
 * back on the way out: the ordinary path (net_rx.c) goes on with the next available entry.
 *
 * Threads and locks: as net_rx.c; all but net_touches_rings() with the receive lock held.
 */
#include <assert.h>
#include <errno.h>
#include <string.h>

#include "virtio/net_internal.h"

static struct virtio_net *net_of(struct port *p)
{
	return container_of(p, struct virtio_net, port);
}

static struct virtq *rx_queue(struct virtio_net *net)
{
	return &net->dev.vq[NET_QUEUE_RX];
}

/* As virtq_slot_look(), and a broken queue is the end of the port. */
static int slot_look(struct virtio_net *net, unsigned i, struct virtq_slot *s, const char **why)
{
	int rc = virtq_slot_look(rx_queue(net), i, VNET_HDR_BYTES, s, why);

	return rc == -EPROTO ? net_rx_fault(net, rx_queue(net)->why_broken) : rc;
}

/* How many slots the driver has given and nobody used, and the carrier is about to know of them. */
static int slots_tell(struct virtio_net *net)
{
	struct virtq *vq = rx_queue(net);
	int pending = virtq_pending(vq);

	if (pending < 0)
		return net_rx_fault(net, vq->why_broken);
	net->rx.slots.told = (uint16_t)(vq->last_avail + pending);
	return pending;
}

int net_rx_slots_look(struct port *p, struct slot_list *out, const char **why)
{
	struct virtio_net *net = net_of(p);
	struct virtq_slot s;
	int rc;

	out->nr = 0;
	if (!net->rx.live)
		return -EPROTO;
	assert(!net->rx.nr_bufs); /* a carrier finishes its frame first */
	while (out->nr < SLOTS_MAX) {
		rc = slot_look(net, out->nr, &s, why);
		if (rc < 0)
			return rc;
		if (!rc)
			break;
		out->slot[out->nr++] = (struct slot){ s.at, s.bytes, s.hdr };
	}
	net->rx.slots.told = (uint16_t)(rx_queue(net)->last_avail + out->nr);
	return 0;
}

int net_rx_slots_enter(struct port *p, const struct slot_list *slots)
{
	struct virtio_net *net = net_of(p);
	struct net_slots *m = &net->rx.slots;
	const char *why;
	int rc;

	if (!net->rx.live)
		return -EPROTO;
	assert(!net->rx.nr_bufs);
	m->mapped = false;
	if (!slots->nr || slots->nr > ARRAY_SIZE(m->slot))
		return -ESTALE;
	/* The list was made from what the driver showed a moment ago. It is read again, this time
	 * to be kept, and must be the same. */
	for (unsigned i = 0; i < slots->nr; i++) {
		const struct slot *want = &slots->slot[i];
		struct virtq_slot *s = &m->slot[i];

		rc = slot_look(net, i, s, &why);
		if (rc == -EPROTO)
			return rc;
		if (rc != 1 || s->at != want->at || s->bytes != want->bytes || s->hdr != want->hdr)
			return -ESTALE;
	}
	m->nr = slots->nr;
	m->next = 0;
	m->refused = false;
	m->told = (uint16_t)(rx_queue(net)->last_avail + m->nr);
	m->mapped = true;
	return 0;
}

int net_rx_slots_follow(struct port *p, struct loop *loop, struct loop_fd *h)
{
	struct virtio_net *net = net_of(p);
	struct virtio_dev *dev = &net->dev;
	int err;

	if (!net->rx.live || !net->rx.slots.mapped || !dev->transport->lend_doorbell)
		return -ENOTSUP;
	if (net->rx.slots.lent)
		return -EALREADY;
	err = dev->transport->lend_doorbell(dev, NET_QUEUE_RX, loop, h);
	if (err)
		return err;
	net->rx.slots.lent = true;
	net->rx.slots.asked = false;
	/* What was rung for before may have been for this NIC's own carrier, and is the borrower's
	 * now: nobody else would ever tell it. */
	loop_post(dev->loop, &net->ready_work);
	return 0;
}

void net_rx_slots_end(struct virtio_net *net)
{
	struct net_slots *m = &net->rx.slots;

	m->mapped = false;
	if (m->lent)
		net->dev.transport->doorbell_back(&net->dev, NET_QUEUE_RX);
	m->lent = false;
}

void net_rx_slots_leave(struct port *p)
{
	struct virtio_net *net = net_of(p);
	struct net_slots *m = &net->rx.slots;

	if (!m->mapped)
		return;
	net_rx_slots_end(net);
	/* Who was refused waits for buffers. There may be some, so no doorbell may come for them.
	 */
	if (m->refused && net->rx.live)
		loop_post(net->dev.loop, &net->ready_work);
}

/* No slot is there: ask for the doorbell, look once more. As virtq_slot_use(). */
static int use_later(struct virtio_net *net, const struct virtq_slot *s, uint32_t written)
{
	struct virtq *vq = rx_queue(net);
	int rc = 0;

	/* Bounded: a driver that moves its index to and fro must not keep us here. */
	for (unsigned tries = 0; !rc && tries < 4; tries++) {
		if (!virtq_enable_doorbell(vq))
			return 0;
		rc = virtq_slot_use(vq, s, written);
	}
	return rc;
}

int net_rx_slot_put(struct port *p, const struct virtio_net_hdr_v1 *hdr, size_t len)
{
	struct virtio_net *net = net_of(p);
	struct net_slots *m = &net->rx.slots;
	const struct virtq_slot *s = &m->slot[m->next];
	uint32_t written = len ? (uint32_t)(VNET_HDR_BYTES + len) : 0;
	int rc;

	if (!net->rx.live)
		return -EPROTO;
	if (!m->mapped)
		return -ESTALE;
	if (len > s->bytes)
		return -EMSGSIZE;
	rc = virtq_slot_use(rx_queue(net), s, written);
	if (!rc)
		rc = use_later(net, s, written);
	if (rc != 1) {
		if (rc == -EPROTO)
			net_rx_fault(net, rx_queue(net)->why_broken);
		return rc ? rc : -ENOBUFS;
	}
	m->next = m->next + 1 < m->nr ? m->next + 1 : 0;
	net->rx.nr_staged++;
	if (!len)
		return 0;

	net_hdr_write(s->hdr, hdr, 1, net->dev.acked);
	stat_add(&p->stats.rx_frames, 1);
	stat_add(&p->stats.rx_bytes, len);
	return 0;
}

unsigned net_rx_slots_given(struct port *p)
{
	struct virtio_net *net = net_of(p);
	struct net_slots *m = &net->rx.slots;
	int pending;

	if (!net->rx.live || !m->mapped)
		return 0;
	if (m->lent && !m->asked) /* as net_rx_quiet() */
		virtq_disable_doorbell(rx_queue(net));
	m->asked = false;
	pending = slots_tell(net);
	if (pending < 0)
		return 0;
	/* A ring may hold more chains than there are slots. */
	return (unsigned)pending < m->nr ? (unsigned)pending : m->nr;
}

/*
 * Counted from what the carrier was told last, not from this moment: none that came since is
 * missed. An element that is not mapped is watched, too: a lane waits for all of its slots before
 * it maps it.
 */
bool net_rx_slots_watch(struct port *p, unsigned n)
{
	struct virtio_net *net = net_of(p);
	struct net_slots *m = &net->rx.slots;
	struct virtq *vq = rx_queue(net);
	unsigned all = m->mapped ? m->nr : vq->size, known, until;
	uint16_t told = m->told;
	int pending;

	if (!net->rx.live)
		return false;
	pending = slots_tell(net);
	if (pending < 0)
		return false;
	known = (uint16_t)(told - vq->last_avail);
	if (known > (unsigned)pending)
		known = 0; /* told long ago, and used since */
	/* Never up to more than there are: that doorbell would not come. */
	until = known + (n < all ? n : all);
	if (until > all)
		until = all;
	if (until <= known)
		until = known + 1;
	if (!virtq_enable_doorbell_at(vq, until)) {
		m->told = (uint16_t)(vq->last_avail + known);
		return false;
	}
	/* It does not ring for these. For the next one it does, should the carrier leave it at
	 * having another look; a few times at most, if they keep coming. */
	for (unsigned tries = 0; tries < 4; tries++) {
		pending = slots_tell(net);
		if (pending < 0 || !virtq_enable_doorbell_at(vq, (unsigned)pending + 1))
			break;
	}
	m->asked = true;
	return true;
}

bool net_touches_rings(struct port *p, const void *at, size_t len)
{
	struct virtio_net *net = net_of(p);

	return virtq_touches(&net->dev.vq[NET_QUEUE_RX], at, len) ||
	       virtq_touches(&net->dev.vq[NET_QUEUE_TX], at, len);
}
