/*
 * virtio-net with stable slots; see slots.h. A slot is a chain of two descriptors, its header's and
 * its own, which are written once; only the length of a frame to send changes. Source: VIRTIO 1.2,
 * sections 2.7 and 5.1.
 */
#include "lib/mem.h"
#include "lib/slots.h"

#define VIRTIO_NET_F_MAC 5
#define NO_INTERRUPT	 1
#define NO_NOTIFY	 1
#define FRAME_MAX	 65549 /* an Ethernet header and 64 KiB less one */

static volatile uint16_t *used_event(struct vq *vq)
{
	return &vq->avail->ring[vq->size];
}

static bool is_indirect(const struct slots *s)
{
	return s->dev.features & FEATURE(VIRTIO_F_INDIRECT_DESC);
}

static uint16_t head_of(const struct slots *s, unsigned slot)
{
	return (uint16_t)(is_indirect(s) ? slot : 2 * slot);
}

static struct vring_desc *chain_of(const struct slots_vq *q, unsigned slot)
{
	return q->chains + 2 * (size_t)slot;
}

/* Writes the chains of all slots. */
static void write_chains(struct slots *s, struct slots_vq *q, uint8_t *slot0, bool writable)
{
	uint16_t write = writable ? VRING_DESC_WRITE : 0;
	bool indirect = is_indirect(s);

	if (!indirect)
		q->chains = q->vq.desc;
	for (unsigned i = 0; i < s->nr; i++) {
		struct vring_desc *d = chain_of(q, i);

		d[0] = (struct vring_desc){
			.addr = (uintptr_t)q->hdr + SLOTS_HDR_STEP * i,
			.len = SLOTS_HDR_BYTES,
			.flags = VRING_DESC_NEXT | write,
			.next = (uint16_t)(indirect ? 1 : 2 * i + 1),
		};
		d[1] = (struct vring_desc){
			.addr = (uintptr_t)slot0 + (size_t)i * s->slot_bytes,
			.len = s->slot_bytes,
			.flags = write,
		};
		if (indirect)
			q->vq.desc[i] = (struct vring_desc){
				.addr = (uintptr_t)d,
				.len = 2 * sizeof(*d),
				.flags = VRING_DESC_INDIRECT,
			};
	}
}

static void queue_setup(struct slots *s, struct slots_vq *q, unsigned index)
{
	unsigned size = s->nr * (is_indirect(s) ? 1 : 2);

	virtio_queue(&s->dev, &q->vq, index, size);
	CHECK(q->vq.size == size, "queue %u has %u places for %u slots", index, q->vq.size, s->nr);
	q->last_used = 0;
	q->vq.avail->flags = q->vq.event_idx ? 0 : NO_INTERRUPT;
	*used_event(&q->vq) = 0x8000;
}

/* Tells the device that everything up to `next` is there; the caller knows that there is more. */
static void kick(struct slots *s, struct slots_vq *q, uint32_t *told, uint32_t next)
{
	struct vq *vq = &q->vq;
	uint16_t old = (uint16_t)*told, now = (uint16_t)next, event;
	bool ring;

	*told = next;
	barrier();
	*(volatile uint16_t *)&vq->avail->idx = now;
	full_fence();
	if (vq->event_idx) {
		event = *(volatile uint16_t *)&vq->used->ring[vq->size];
		ring = (uint16_t)(now - event - 1) < (uint16_t)(now - old);
	} else {
		ring = !(*(volatile uint16_t *)&vq->used->flags & NO_NOTIFY);
	}
	if (!ring)
		return;
	s->kicks++;
	if (vq->dev->mmio)
		mmio_write32(vq->doorbell, vq->index);
	else
		mmio_write16(vq->doorbell, vq->index);
}

static void kick_tx(struct slots *s)
{
	kick(s, &s->vtx, &s->tx_told, s->tx_next);
}

static void kick_rx(struct slots *s, bool now)
{
	/* The ring counts what was given, which is a whole turn more than was received. */
	uint32_t told = s->rx_told + s->nr;

	kick(s, &s->vrx, &told, s->rx_next + s->nr);
	s->rx_told = s->rx_next;
}

static void setup(struct slots *s)
{
	uint64_t wanted = virtio_usual_features() | FEATURE(VIRTIO_NET_F_MAC);
	uint32_t none = 0;
	unsigned max;

	if (cmdline_is("bit58", "1"))
		wanted |= FEATURE(XVMM_F_SLOTS_STABLE);
	virtio_start(&s->dev, wanted);
	max = virtio_queue_max(&s->dev, 0) / (is_indirect(s) ? 1 : 2);
	CHECK(s->nr <= max, "%u slots in a ring for %u", s->nr, max);
	s->can_give = s->nr;
	queue_setup(s, &s->vrx, 0);
	queue_setup(s, &s->vtx, 1);
	write_chains(s, &s->vrx, s->rx, true);
	write_chains(s, &s->vtx, s->tx, false);
	virtio_driver_ok(&s->dev);
	for (unsigned i = 0; i < s->nr; i++)
		s->vrx.vq.avail->ring[i] = head_of(s, i);
	kick(s, &s->vrx, &none, s->nr);
}

static void reset(struct slots *s)
{
	virtio_reset(&s->dev);
	if (s->wanted && s->wanted < s->nr)
		s->nr = s->wanted;
}

static void tx_give(struct slots *s, unsigned slot, uint32_t bytes)
{
	struct vq *vq = &s->vtx.vq;

	chain_of(&s->vtx, slot)[1].len = bytes;
	vq->avail->ring[s->tx_next & (vq->size - 1)] = head_of(s, slot);
}

/* They may complete in another order than they were given in; they are used in that order again. */
static void reap(struct slots *s)
{
	struct vq *vq = &s->vtx.vq;
	uint16_t idx = *(volatile uint16_t *)&vq->used->idx;

	barrier();
	for (; s->vtx.last_used != idx; s->vtx.last_used++) {
		uint32_t id = vq->used->ring[s->vtx.last_used & (vq->size - 1)].id;
		unsigned slot = is_indirect(s) ? id : id / 2;

		if (slot >= s->nr || head_of(s, slot) != id || s->tx_complete[slot] ||
		    (slot - s->tx_done) % s->nr >= s->tx_next - s->tx_done) {
			CHECK(s->tolerant, "used id %u was not available", id);
			s->odd++;
			continue;
		}
		s->tx_complete[slot] = true;
	}
	while (s->tx_done != s->tx_next && s->tx_complete[s->tx_done % s->nr])
		s->tx_complete[s->tx_done++ % s->nr] = false;
}

static int received(struct slots *s, unsigned slot, uint32_t *bytes)
{
	struct vq *vq = &s->vrx.vq;
	struct vring_used_elem *e = &vq->used->ring[s->vrx.last_used & (vq->size - 1)];
	uint32_t len;

	if (s->vrx.last_used == *(volatile uint16_t *)&vq->used->idx)
		return 0;
	barrier();
	len = e->len;
	if (e->id != head_of(s, slot) || (len && len <= SLOTS_HDR_BYTES) ||
	    len > SLOTS_HDR_BYTES + s->slot_bytes) {
		CHECK(s->tolerant, "receive slot %u: used id %u length %u", slot, e->id, len);
		s->odd++;
		return -1;
	}
	if (!len)
		return -1;
	*bytes = len - SLOTS_HDR_BYTES;
	return 1;
}

static void rx_give(struct slots *s, unsigned slot)
{
	struct vq *vq = &s->vrx.vq;

	s->vrx.last_used++;
	vq->avail->ring[(s->rx_next + s->nr) & (vq->size - 1)] = head_of(s, slot);
}

static bool more(struct slots_vq *q)
{
	return q->last_used != *(volatile uint16_t *)&q->vq.used->idx;
}

static void ask(struct slots_vq *q, bool wanted)
{
	if (!q->vq.event_idx)
		*(volatile uint16_t *)&q->vq.avail->flags = wanted ? 0 : NO_INTERRUPT;
	else if (wanted)
		*used_event(&q->vq) = q->last_used;
}

static bool arm(struct slots *s, bool tx)
{
	ask(&s->vrx, true);
	ask(&s->vtx, tx);
	full_fence();
	return more(&s->vrx) || (tx && more(&s->vtx));
}

static void wait(struct slots *s)
{
	virtio_wait(&s->dev);
	ask(&s->vrx, false);
	ask(&s->vtx, false);
}

static const struct slots_ops ops = {
	.setup = setup,
	.reset = reset,
	.reap = reap,
	.tx_give = tx_give,
	.received = received,
	.rx_give = rx_give,
	.kick_tx = kick_tx,
	.kick_rx = kick_rx,
	.arm = arm,
	.wait = wait,
};

static void queue_memory(struct slots *s, struct slots_vq *q)
{
	q->hdr = mem_alloc(SLOTS_HDR_STEP * SLOTS_MAX, 4096);
	q->chains = mem_alloc(2 * sizeof(*q->chains) * SLOTS_MAX, 4096);
}

bool slots_virtio_find(struct slots *s)
{
	unsigned max;

	if (!virtio_find(&s->dev, VIRTIO_ID_NET, 0))
		return false;
	s->ops = &ops;
	s->over = s->dev.mmio ? "mmio" : "pci";
	virtio_config(&s->dev, 0, s->mac, 6);
	max = virtio_queue_max(&s->dev, 0);
	if (max > SLOTS_MAX)
		max = SLOTS_MAX;
	if (cmdline_is("indirect", "0"))
		max /= 2;
	s->nr = s->wanted && s->wanted < max ? s->wanted : max;
	s->frame_max = s->slot_bytes < FRAME_MAX ? s->slot_bytes : FRAME_MAX;
	queue_memory(s, &s->vtx);
	queue_memory(s, &s->vrx);
	return true;
}
