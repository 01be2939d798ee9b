/* Split virtqueue, driver side; see virtio.h. Source: VIRTIO 1.2, section 2.7. */
#include "lib/mem.h"
#include "lib/virtio.h"

#define COMMON_Q_NOTIFY_OFF 30
#define MMIO_Q_NOTIFY	    0x050

static volatile uint16_t *used_event(struct vq *vq)
{
	return &vq->avail->ring[vq->size];
}

static volatile uint16_t *avail_event(struct vq *vq)
{
	return (volatile uint16_t *)&vq->used->ring[vq->size];
}

void virtio_queue(struct virtio *v, struct vq *vq, unsigned q, unsigned size)
{
	unsigned max = virtio_queue_max(v, q);

	CHECK(max, "device %u has no queue %u", v->id, q);
	if (size > max)
		size = max;
	if (size > VQ_MAX_SIZE)
		size = VQ_MAX_SIZE;
	if (!vq->desc) {
		/* For the largest size: it may be another after the next reset. */
		vq->desc = mem_alloc(16 * VQ_MAX_SIZE, 4096);
		vq->avail = mem_alloc(6 + 2 * VQ_MAX_SIZE, 4096);
		vq->used = mem_alloc(6 + 8 * VQ_MAX_SIZE, 4096);
	}
	vq->dev = v;
	vq->index = (uint16_t)q;
	vq->size = (uint16_t)size;
	vq->event_idx = v->features & FEATURE(VIRTIO_F_EVENT_IDX);
	if (!(v->features & FEATURE(VIRTIO_F_INDIRECT_DESC)))
		vq->indirect = NULL;
	else if (!vq->indirect)
		vq->indirect =
			mem_alloc(sizeof(struct vring_desc) * VQ_MAX_INDIRECT * VQ_MAX_SIZE, 16);
	vq->avail_idx = vq->kicked_idx = vq->last_used = 0;
	vq->avail->flags = vq->avail->idx = 0;
	vq->used->flags = vq->used->idx = 0;
	*used_event(vq) = 0;
	*avail_event(vq) = 0;
	for (unsigned i = 0; i < size; i++)
		vq->desc[i].next = (uint16_t)(i + 1);
	vq->free_head = 0;
	vq->nr_free = (uint16_t)size;
	virtio_queue_set(v, q, size, (uintptr_t)vq->desc, (uintptr_t)vq->avail,
			 (uintptr_t)vq->used);
	if (v->mmio)
		vq->doorbell = v->base + MMIO_Q_NOTIFY;
	else
		vq->doorbell = v->notify +
			       v->notify_multiplier * mmio_read16(v->common + COMMON_Q_NOTIFY_OFF);
	virtio_queue_ready(v, q);
}

static void publish(struct vq *vq, uint16_t head)
{
	vq->avail->ring[vq->avail_idx & (vq->size - 1)] = head;
	barrier();
	vq->avail_idx++;
	*(volatile uint16_t *)&vq->avail->idx = vq->avail_idx;
}

bool vq_add(struct vq *vq, const struct buf *bufs, unsigned nr_out, unsigned nr_in, void *cookie)
{
	unsigned n = nr_out + nr_in;
	bool indirect = vq->indirect && n > 1 && n <= VQ_MAX_INDIRECT;
	uint16_t head = vq->free_head, at = head;
	struct vring_desc *table = vq->desc;

	if (vq->nr_free < (indirect ? 1 : n))
		return false;
	if (indirect) {
		struct vring_desc *d = &vq->desc[head];

		table = vq->indirect + VQ_MAX_INDIRECT * head;
		vq->free_head = d->next;
		vq->nr_free--;
		d->addr = (uintptr_t)table;
		d->len = n * sizeof(*d);
		d->flags = VRING_DESC_INDIRECT;
		at = 0;
	}
	for (unsigned i = 0; i < n; i++) {
		struct vring_desc *d = &table[at];

		d->addr = (uintptr_t)bufs[i].data;
		d->len = bufs[i].len;
		d->flags = (i >= nr_out ? VRING_DESC_WRITE : 0) | (i + 1 < n ? VRING_DESC_NEXT : 0);
		if (indirect)
			d->next = at + 1;
		at = d->next;
	}
	if (!indirect) {
		vq->free_head = at;
		vq->nr_free -= n;
	}
	vq->cookie[head] = cookie;
	publish(vq, head);
	return true;
}

void vq_kick(struct vq *vq)
{
	uint16_t old = vq->kicked_idx, now = vq->avail_idx, event;
	bool ring;

	if (old == now)
		return;
	full_fence();
	if (vq->event_idx) {
		event = *avail_event(vq);
		ring = (uint16_t)(now - event - 1) < (uint16_t)(now - old);
	} else {
		ring = !(*(volatile uint16_t *)&vq->used->flags & 1);
	}
	vq->kicked_idx = now;
	if (!ring) {
		vq->kicks_saved++;
		return;
	}
	vq->kicks++;
	if (vq->dev->mmio)
		mmio_write32(vq->doorbell, vq->index);
	else
		mmio_write16(vq->doorbell, vq->index);
}

static void free_chain(struct vq *vq, uint16_t head)
{
	uint16_t last = head, n = 1;

	if (!(vq->desc[head].flags & VRING_DESC_INDIRECT)) {
		while (vq->desc[last].flags & VRING_DESC_NEXT) {
			last = vq->desc[last].next;
			n++;
		}
	}
	vq->desc[last].next = vq->free_head;
	vq->free_head = head;
	vq->nr_free += n;
}

void *vq_take(struct vq *vq, uint32_t *len)
{
	struct vring_used_elem *e;
	uint16_t idx = *(volatile uint16_t *)&vq->used->idx;
	void *cookie;

	if (vq->last_used == idx)
		return NULL;
	barrier();
	CHECK((uint16_t)(idx - vq->last_used) <= vq->size,
	      "queue %u: used index jumped from %u to %u", vq->index, vq->last_used, idx);
	e = &vq->used->ring[vq->last_used & (vq->size - 1)];
	vq->last_used++;
	CHECK(e->id < vq->size && vq->cookie[e->id], "queue %u: used id %u was not available",
	      vq->index, e->id);
	if (len)
		*len = e->len;
	cookie = vq->cookie[e->id];
	vq->cookie[e->id] = NULL;
	free_chain(vq, (uint16_t)e->id);
	return cookie;
}

bool vq_arm(struct vq *vq)
{
	*used_event(vq) = vq->last_used;
	full_fence();
	return vq->last_used != *(volatile uint16_t *)&vq->used->idx;
}
