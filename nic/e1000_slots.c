/*
 * 82540EM, the receive ring as one of mapped slots: frames are in place before they are announced.
 *
 * Theory of operation. A lane that has mapped another guest's transmit slots to this ring's buffers
 * announces each frame with e1000_slot_put(): the descriptor at the head is written back and the
 * head moves, as if the hardware had just filled the buffer. The driver's descriptor is read again
 * each time: if it does not point at the buffer that was mapped there, nothing is taken (-ESTALE)
 * and the lane goes back to copying.
 *
 * How many slots are given. The driver gives [head, tail), and by its contract (docs/mapped.md) it
 * has consumed the slot at the tail as well, or it would not have moved the tail there. So a ring
 * of N slots has N given when every frame was consumed, though no more than N - 1 can be filled.
 *
 * Bytes written to a slot. As on a copied frame: zeros that fill a short one up and stand for the
 * check sequence, directly behind the frame and within the slot. What can't be done behind the
 * frame (a tag to be cut out of it) is refused with -EMSGSIZE. A frame that the filters refuse has
 * its slot all the same: the driver gets it as one with an error and no length.
 *
 * Leaving. What makes other slots of the ring (a write to RDBAL, RDBAH, RDLEN or RDH, a buffer size
 * in RCTL, disabling), a broken rule and a reset end slot mode at once, without asking whoever
 * mapped it: -ESTALE from the next e1000_slot_put(), no slot given, or the port not live. RCTL's
 * filters may change at any time.
 *
 * Waiting is as in e1000_rx.c: `starved`, or `watch` where more than one slot is waited for, is set
 * before the tail is looked at a last time.
 *
 * Everything with the receive lock held, but for e1000_touches_rings().
 */
#include <assert.h>
#include <errno.h>
#include <string.h>

#include "nic/e1000_internal.h"

static struct e1000 *e1000_of(struct port *p)
{
	return container_of(p, struct e1000, port);
}

static uint32_t room(uint32_t rctl)
{
	return (uint32_t)e1000_rx_buffer_bytes(rctl) - (rctl & RCTL_SECRC ? 0 : E1000_FCS_BYTES);
}

bool e1000_slots_differ(uint32_t rctl, uint32_t other)
{
	return (rctl ^ other) & (RCTL_EN | RCTL_BSIZE_MASK | RCTL_BSEX | RCTL_SECRC);
}

/* -- Entering and leaving -- */

int e1000_slots_look(struct port *p, struct slot_list *out, const char **why)
{
	struct e1000 *e = e1000_of(p);
	struct e1000_rx *rx = &e->rx;
	uint32_t rctl = e1000_get(e, REG_RCTL), head = atomic_load(&rx->head), nr, ours;
	const uint8_t *ring;

	out->nr = 0;
	if (!rx->live)
		return -EPROTO;
	assert(!rx->nr_bufs); /* a carrier finishes its frame first */
	rx->slots.seen = head;
	if (head == atomic_load(&rx->tail))
		return 0; /* the slot at the tail may never have been filled in */
	ring = e1000_rx_ring(e, &nr, &ours);
	if (!ring)
		return -EPROTO;
	rx->slots.seen = (head + ours) % nr;
	if (nr > SLOTS_MAX) {
		*why = "too many slots";
		return -ENOTSUP;
	}
	for (uint32_t i = 0; i <= ours; i++) {
		uint64_t address = e1000_rx_address(ring, (head + i) % nr);
		uint8_t *at = gmem_ptr(e->plat->mem, address, e1000_rx_buffer_bytes(rctl));

		if (!address || !at) {
			*why = address ? "a slot is not in guest memory" : "a descriptor is null";
			return -ENOTSUP;
		}
		out->slot[i] = (struct slot){ .at = at, .bytes = room(rctl) };
		out->nr = i + 1;
	}
	return 0;
}

int e1000_slots_enter(struct port *p, const struct slot_list *slots)
{
	struct e1000 *e = e1000_of(p);
	struct e1000_rx *rx = &e->rx;
	struct e1000_slots *s = &rx->slots;
	uint32_t rctl = e1000_get(e, REG_RCTL), head = atomic_load(&rx->head), nr, ours;
	size_t size = e1000_rx_buffer_bytes(rctl);
	const uint8_t *ring;

	if (!rx->live)
		return -EPROTO;
	assert(!rx->nr_bufs);
	if (!slots->nr || slots->nr > SLOTS_MAX || head == atomic_load(&rx->tail))
		return -ESTALE;
	ring = e1000_rx_ring(e, &nr, &ours);
	if (!ring)
		return -EPROTO;
	if (slots->nr > ours + 1)
		return -ESTALE;
	for (unsigned i = 0; i < slots->nr; i++) {
		const struct slot *want = &slots->slot[i];
		uint64_t address = e1000_rx_address(ring, (head + i) % nr);

		if (gmem_ptr(e->plat->mem, address, size) != want->at || want->hdr ||
		    want->bytes != room(rctl))
			return -ESTALE;
	}
	s->list.nr = slots->nr;
	memcpy(s->list.slot, slots->slot, slots->nr * sizeof(slots->slot[0]));
	s->next = 0;
	s->mapped = true;
	return 0;
}

void e1000_slots_leave(struct port *p)
{
	struct e1000 *e = e1000_of(p);

	if (!e->rx.slots.mapped)
		return;
	e->rx.slots.mapped = false;
	atomic_store(&e->rx.watch, 0);
	/* Who was refused may have buffers now, and no tail may be written before they are used. */
	if (atomic_exchange(&e->rx.starved, false))
		loop_post(e->loop, &e->rx_work);
}

void e1000_slots_refuse(struct e1000 *e)
{
	struct carrier *c = e->port.carrier;

	atomic_store(&e->rx.starved, true);
	if (c && c->ops->rx_refused)
		c->ops->rx_refused(c);
}

/* -- Frames -- */

/* Is the slot that is next at the ring's head? 0, -ENOBUFS, -ESTALE, -EPROTO. */
static int slot_at_head(struct e1000 *e, const struct slot *slot, size_t size)
{
	uint32_t nr, ours;
	const uint8_t *ring = e1000_rx_ring(e, &nr, &ours);
	uint64_t address;

	if (!ring)
		return -EPROTO;
	if (!ours) {
		e->rx.slots.seen = atomic_load(&e->rx.head);
		return -ENOBUFS;
	}
	address = e1000_rx_address(ring, atomic_load(&e->rx.head));
	/* Not in guest memory, or null where there is memory: not the slot either. */
	return gmem_ptr(e->plat->mem, address, size) == slot->at ? 0 : -ESTALE;
}

int e1000_slot_put(struct port *p, const struct virtio_net_hdr_v1 *hdr, size_t len)
{
	struct e1000 *e = e1000_of(p);
	struct e1000_rx *rx = &e->rx;
	struct e1000_slots *s = &rx->slots;
	const struct slot *slot = &s->list.slot[s->next];
	uint32_t rctl = e1000_get(e, REG_RCTL);
	size_t size = e1000_rx_buffer_bytes(rctl);
	struct e1000_rx_frame f = { .len = len };
	bool take;
	int rc;

	if (!rx->live)
		return -EPROTO;
	if (!s->mapped)
		return -ESTALE;
	assert(!rx->nr_bufs);
	rc = slot_at_head(e, slot, size);
	if (rc == -ENOBUFS) {
		atomic_store(&rx->starved, true);
		rc = slot_at_head(e, slot, size);
	}
	if (rc)
		return rc;
	if (len > slot->bytes)
		return -EMSGSIZE;
	rx->buf[0] = (struct iovec){ slot->at, size };
	rx->nr_bufs = 1;
	take = e1000_rx_accept(e, rctl, &f);
	if (take && e1000_rx_cuts_tag(e, &f)) {
		rc = -EMSGSIZE;
	} else {
		if (take)
			e1000_rx_deliver(e, rctl, &f, hdr);
		else
			e1000_rx_skip(e, rctl);
		s->next = s->next + 1 < s->list.nr ? s->next + 1 : 0;
	}
	e1000_rx_abort(p);
	return rc;
}

unsigned e1000_slots_given(struct port *p)
{
	struct e1000 *e = e1000_of(p);
	struct e1000_slots *s = &e->rx.slots;
	uint32_t nr, ours;

	if (!e->rx.live || !s->mapped || !e1000_rx_ring(e, &nr, &ours))
		return 0;
	s->seen = (atomic_load(&e->rx.head) + ours) % nr;
	return ours < s->list.nr ? ours + 1 : s->list.nr;
}

/* Has the tail come as far as is waited for? One beyond the ring is worth a look, which finds the
 * fault. */
static bool reached(const struct e1000 *e, uint32_t watch, uint32_t tail)
{
	uint32_t nr = e1000_get(e, REG_RDLEN) / E1000_DESC_BYTES;

	return tail >= nr || e1000_distance(watch >> 16, tail, nr) >= (watch & 0xffff);
}

bool e1000_slots_watch(struct port *p, unsigned n)
{
	struct e1000 *e = e1000_of(p);
	struct e1000_rx *rx = &e->rx;
	struct e1000_slots *s = &rx->slots;
	uint32_t nr = e1000_get(e, REG_RDLEN) / E1000_DESC_BYTES, watch, tail, known, most;

	if (!rx->live || !nr)
		return false;
	/* Counted from what the carrier was told last, so that none that came since is missed; but
	 * never more than there are: such a doorbell would not come. */
	known = e1000_distance(atomic_load(&rx->head), s->seen, nr);
	most = (s->mapped && s->list.nr < nr ? s->list.nr : nr) - 1;
	most = most > known ? most - known : 1;
	if (n > most)
		n = most;
	watch = s->seen << 16 | (n ? n : 1);
	atomic_store(&rx->watch, watch);
	tail = atomic_load(&rx->tail);
	if (!reached(e, watch, tail))
		return false;
	atomic_store(&rx->watch, 0);
	if (tail >= nr)
		return s->mapped;
	s->seen = tail; /* the carrier knows now */
	return true;
}

bool e1000_slots_watched(struct e1000 *e, uint32_t tail)
{
	uint32_t watch = atomic_load(&e->rx.watch);

	/* Where it is another by now, whoever has set it looks at the tail afterwards. */
	return watch && reached(e, watch, tail) &&
	       atomic_compare_exchange_strong(&e->rx.watch, &watch, 0);
}

/* -- Rings -- */

static bool overlaps(struct e1000 *e, unsigned base_reg, const void *at, size_t len)
{
	uint32_t nr;
	uintptr_t ring = (uintptr_t)e1000_ring(e, base_reg, &nr), from = (uintptr_t)at;

	return ring && len && from < ring + (size_t)nr * E1000_DESC_BYTES && ring < from + len;
}

bool e1000_touches_rings(struct port *p, const void *at, size_t len)
{
	struct e1000 *e = e1000_of(p);

	return overlaps(e, REG_RDBAL, at, len) || overlaps(e, REG_TDBAL, at, len);
}
