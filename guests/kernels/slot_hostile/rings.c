/* What slot_hostile does to rings and registers; see hostile.h. */
#include "lib/mem.h"
#include "slot_hostile/hostile.h"

static bool is_virtio(const struct slots *s)
{
	return s->dev.id;
}

void hostile_set_tx(struct slots *s, unsigned slot, const uint8_t *at)
{
	if (is_virtio(s))
		s->vtx.chains[2 * slot + 1].addr = (uintptr_t)at;
	else
		s->e1000.tx[slot].address = (uintptr_t)at;
}

void hostile_set_rx(struct slots *s, unsigned slot, const uint8_t *at)
{
	if (is_virtio(s))
		s->vrx.chains[2 * slot + 1].addr = (uintptr_t)at;
	else
		s->e1000.rx[slot].address = (uintptr_t)at;
}

void hostile_swap_given(struct slots *s, unsigned slot)
{
	struct vq *vq = &s->vtx.vq;
	unsigned before = slot ^ 1;

	/* Only odd ones, with an even one that is not told of either. */
	if (!(slot & 1) || s->tx_next == s->tx_told)
		return;
	if (is_virtio(s)) {
		uint16_t *a = &vq->avail->ring[s->tx_next & (vq->size - 1)];
		uint16_t *b = &vq->avail->ring[(s->tx_next - 1) & (vq->size - 1)], c = *a;

		*a = *b;
		*b = c;
	} else {
		struct e1000_tx_desc *a = &s->e1000.tx[slot], *b = &s->e1000.tx[before], c = *a;

		*a = *b;
		*b = c;
	}
}

void hostile_give_early(struct slots *s, unsigned slot)
{
	struct vq *vq = &s->vrx.vq;

	if (!is_virtio(s)) {
		s->e1000.rx[slot].status = 0;
		e1000_set(&s->e1000, E1000_RDT, slot);
		return;
	}
	vq->avail->ring[(s->rx_next + s->nr) & (vq->size - 1)] =
		vq->avail->ring[s->rx_next & (vq->size - 1)];
	barrier();
	*(volatile uint16_t *)&vq->avail->idx = (uint16_t)(s->rx_next + s->nr + 1);
	if (vq->dev->mmio)
		mmio_write32(vq->doorbell, vq->index);
	else
		mmio_write16(vq->doorbell, vq->index);
}

void hostile_move_headers(struct slots *s)
{
	if (!is_virtio(s))
		return;
	for (unsigned i = 0; i < s->nr; i++) {
		uint32_t at = s->slot_bytes - SLOTS_HDR_STEP;

		s->vtx.chains[2 * i].addr = (uintptr_t)slots_tx_at(s, i) + at;
		s->vrx.chains[2 * i].addr = (uintptr_t)slots_rx_at(s, i) + at;
		memset(slots_tx_at(s, i) + at, 0, SLOTS_HDR_BYTES);
	}
}

void hostile_share_pages(struct slots *s)
{
	CHECK(s->offset >= 1024 && s->nr <= 32, "breach=shared needs offset=1024 and slots=32");
	if (is_virtio(s)) {
		/* virtio_queue() takes what is there. */
		s->vtx.vq.desc = mem_alloc(16 * VQ_MAX_SIZE, 4096);
		s->vtx.vq.used = mem_alloc(6 + 8 * VQ_MAX_SIZE, 4096);
		s->vtx.vq.avail = (void *)s->tx_pages;
		s->vrx.vq.desc = mem_alloc(16 * VQ_MAX_SIZE, 4096);
		s->vrx.vq.used = mem_alloc(6 + 8 * VQ_MAX_SIZE, 4096);
		s->vrx.vq.avail = (void *)s->rx_pages;
	} else {
		s->e1000.tx = (void *)s->tx_pages;
		s->e1000.rx = (void *)s->rx_pages;
	}
}

static uint64_t odd_address(void)
{
	switch (any() % 6) {
	case 0:
		return any();
	case 1:
		return 0;
	case 2:
		return ~0ull - any() % 4096;
	case 3:
		return 0xfffff000u + any() % 8192; /* around 4 GiB */
	case 4:
		return MACHINE_RAM_BASE + any() % 0x1000000; /* its own memory, all of it */
	default:
		return PCI_ECAM_BASE + any() % 0x100000;
	}
}

static uint32_t odd_length(void)
{
	static const uint32_t lengths[] = {
		0, 1, 12, 13, 14, 59, 2048, 65535, 65549, 65562, 1 << 20
	};

	return any() & 3 ? lengths[any() % ARRAY_SIZE(lengths)] : (uint32_t)any();
}

static void virtio_nonsense(struct slots *s)
{
	struct slots_vq *q = any() & 1 ? &s->vtx : &s->vrx;
	struct vring_desc *d = &q->chains[any() % (2 * s->nr)];
	struct vq *vq = &q->vq;

	/* Never more of its own memory for the device to write to than its slots. */
	switch (any() % 8) {
	case 0:
		d->addr = q == &s->vtx ? odd_address() : any() << 32;
		break;
	case 1:
		d->len = q == &s->vtx ? odd_length() : any() % 64;
		break;
	case 2:
		d->flags = (uint16_t)(any() & 7 & ~(q == &s->vtx ? VRING_DESC_WRITE : 0));
		break;
	case 3:
		d->next = (uint16_t)any();
		break;
	case 4:
		vq->avail->ring[any() % vq->size] = (uint16_t)any();
		break;
	case 5:
		*(volatile uint16_t *)&vq->avail->idx += (uint16_t)(any() % (4u * vq->size));
		break;
	case 6:
		*(volatile uint16_t *)&vq->avail->idx -= (uint16_t)(any() % vq->size);
		break;
	default:
		vq->desc[any() % vq->size].flags = VRING_DESC_INDIRECT | VRING_DESC_NEXT;
	}
	barrier();
	if (vq->dev->mmio)
		mmio_write32(vq->doorbell, vq->index);
	else
		mmio_write16(vq->doorbell, vq->index);
}

static void e1000_nonsense(struct slots *s)
{
	struct e1000 *e = &s->e1000;

	switch (any() % 8) {
	case 0:
		e->tx[any() % s->nr].address = odd_address();
		break;
	case 1:
		e->tx[any() % s->nr].length = (uint16_t)odd_length();
		break;
	case 2:
		e->tx[any() % s->nr].cmd = (uint8_t)any();
		break;
	case 3:
		e->rx[any() % s->nr].address = any() << 32;
		break;
	case 4:
		e1000_set(e, E1000_TDH, (uint32_t)(any() % (2u * s->nr)));
		break;
	case 5:
		e1000_set(e, E1000_RDH, (uint32_t)(any() % (2u * s->nr)));
		break;
	case 6:
		e1000_set(e, E1000_TDLEN, (uint32_t)(any() % 8192));
		break;
	default:
		e1000_set(e, E1000_RDT, (uint32_t)any());
	}
	e1000_set(e, E1000_TDT, (uint32_t)(any() & 7 ? any() % s->nr : any()));
	e1000_set(e, E1000_RDT, (uint32_t)(any() & 7 ? any() % s->nr : any()));
}

void hostile_nonsense(struct slots *s)
{
	if (is_virtio(s))
		virtio_nonsense(s);
	else
		e1000_nonsense(s);
}
