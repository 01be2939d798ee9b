/* What both models of a driver with stable slots share; see slots.h. */
#include "lib/mem.h"
#include "lib/slots.h"

#define PAGE 4096u

static void take_pages(struct slots *s)
{
	size_t align = cmdline_u64("align", PAGE);

	s->page_bytes =
		(s->offset + (size_t)s->nr * s->slot_bytes + PAGE - 1) & ~(size_t)(PAGE - 1);
	s->tx_pages = mem_alloc(s->page_bytes, align);
	s->rx_pages = mem_alloc(s->page_bytes, align);
	/* What is taken next begins a page of its own. */
	mem_alloc(0, PAGE);
	s->tx = s->tx_pages + s->offset;
	s->rx = s->rx_pages + s->offset;
}

void slots_find(struct slots *s, bool polled)
{
	*s = (struct slots){
		.polled = polled,
		.wanted = (unsigned)cmdline_u64("slots", 0),
		.slot_bytes = (uint32_t)cmdline_u64("slot", 2048),
		.offset = (uint32_t)cmdline_u64("offset", 0),
	};
	CHECK(s->wanted <= SLOTS_MAX && !(s->wanted & (s->wanted - 1)), "slots=%u", s->wanted);
	CHECK(s->slot_bytes >= 64 && s->offset < PAGE, "slot=%u offset=%u", s->slot_bytes,
	      s->offset);
	CHECK(slots_virtio_find(s) || slots_e1000_find(s), "no NIC");
	take_pages(s);
}

void slots_restart(struct slots *s)
{
	s->ops->reset(s);
	s->tx_next = s->tx_done = s->tx_told = 0;
	s->rx_next = s->rx_told = 0;
	memset(s->tx_complete, 0, sizeof(s->tx_complete));
	s->ops->setup(s);
}

void slots_start(struct slots *s, bool polled)
{
	slots_find(s, polled);
	slots_restart(s);
}

void slots_reap(struct slots *s)
{
	s->ops->reap(s);
}

uint8_t *slots_tx_slot(struct slots *s)
{
	if (s->tx_next - s->tx_done >= s->can_give) {
		s->ops->reap(s);
		if (s->tx_next - s->tx_done >= s->can_give)
			return NULL;
	}
	return slots_tx_at(s, s->tx_next % s->nr);
}

void slots_tx_give(struct slots *s, uint32_t bytes)
{
	s->ops->tx_give(s, s->tx_next % s->nr, bytes);
	s->tx_next++;
}

uint8_t *slots_rx_slot(struct slots *s, uint32_t *bytes)
{
	for (;;) {
		unsigned slot = s->rx_next % s->nr;
		int rc = s->ops->received(s, slot, bytes);

		if (!rc)
			return NULL;
		if (rc > 0)
			return slots_rx_at(s, slot);
		s->skipped++;
		slots_rx_give(s);
	}
}

void slots_rx_give(struct slots *s)
{
	s->ops->rx_give(s, s->rx_next % s->nr);
	s->rx_next++;
}

void slots_kick_tx(struct slots *s)
{
	if (s->tx_told != s->tx_next)
		s->ops->kick_tx(s);
}

void slots_kick_rx(struct slots *s, bool now)
{
	if (s->rx_told != s->rx_next)
		s->ops->kick_rx(s, now);
}

bool slots_arm(struct slots *s, bool tx)
{
	return s->ops->arm(s, tx);
}

void slots_wait(struct slots *s)
{
	s->ops->wait(s);
}

uint64_t slots_interrupts(const struct slots *s)
{
	return s->dev.interrupts + s->e1000.interrupts;
}
