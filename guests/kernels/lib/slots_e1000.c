/*
 * Intel 82540EM with stable slots; see slots.h. A ring of n descriptors has n slots, of which n - 1
 * can be given: the descriptor that the tail points at is left out. RDT always points at the slot
 * that was consumed last. Source: as of e1000.h, sections 3.2 and 3.3.
 */
#include "lib/mem.h"
#include "lib/slots.h"

#define FCS_BYTES  4
#define RCTL_LPE   (1u << 5)
#define RCTL_BSEX  (1u << 25)
#define RCTL_SECRC (1u << 26)

/* RCTL's words for the size of a buffer. */
static uint32_t rctl_size(uint32_t bytes)
{
	switch (bytes) {
	case 2048:
		return 0;
	case 4096:
		return RCTL_BSEX | 3u << 16;
	case 8192:
		return RCTL_BSEX | 2u << 16;
	case 16384:
		return RCTL_BSEX | 1u << 16;
	}
	fail("an e1000 has no slots of %u bytes", bytes);
}

static void setup(struct slots *s)
{
	struct e1000 *e = &s->e1000;
	uint32_t ring_bytes = (uint32_t)(sizeof(*e->tx) * s->nr);
	uint32_t rctl = E1000_RCTL_EN | E1000_RCTL_BAM | rctl_size(s->slot_bytes);

	if (s->slot_bytes > 2048)
		rctl |= RCTL_LPE;
	if (!s->fcs_bytes)
		rctl |= RCTL_SECRC;
	s->can_give = s->nr - 1;
	for (unsigned i = 0; i < s->nr; i++) {
		e->tx[i] = (struct e1000_tx_desc){ .address = (uintptr_t)slots_tx_at(s, i) };
		e->rx[i] = (struct e1000_rx_desc){ .address = (uintptr_t)slots_rx_at(s, i) };
	}
	e1000_set(e, E1000_TDBAL, (uint32_t)(uintptr_t)e->tx);
	e1000_set(e, E1000_TDBAH, (uint32_t)((uintptr_t)e->tx >> 32));
	e1000_set(e, E1000_TDLEN, ring_bytes);
	e1000_set(e, E1000_TDH, 0);
	e1000_set(e, E1000_TDT, 0);
	e1000_set(e, E1000_RDBAL, (uint32_t)(uintptr_t)e->rx);
	e1000_set(e, E1000_RDBAH, (uint32_t)((uintptr_t)e->rx >> 32));
	e1000_set(e, E1000_RDLEN, ring_bytes);
	e1000_set(e, E1000_RDH, 0);
	e1000_set(e, E1000_RDT, s->nr - 1);
	e1000_set(e, E1000_CTRL, e1000_get(e, E1000_CTRL) | E1000_CTRL_SLU);
	if (!s->polled)
		e1000_set(e, E1000_IMS, E1000_INT_TXDW | E1000_INT_RXT0);
	e1000_set(e, E1000_TCTL, E1000_TCTL_EN | E1000_TCTL_PSP);
	e1000_set(e, E1000_RCTL, rctl);
}

static void reset(struct slots *s)
{
	struct e1000 *e = &s->e1000;

	e1000_set(e, E1000_IMC, ~0u);
	e1000_set(e, E1000_CTRL, E1000_CTRL_RST);
	for (unsigned i = 0; e1000_get(e, E1000_CTRL) & E1000_CTRL_RST; i++)
		CHECK(i < 1000000, "e1000 does not reset");
	if (s->wanted && s->wanted < s->nr)
		s->nr = s->wanted;
}

static void tx_give(struct slots *s, unsigned slot, uint32_t bytes)
{
	struct e1000_tx_desc *d = &s->e1000.tx[slot];

	d->length = (uint16_t)bytes;
	d->cmd = E1000_TX_EOP | E1000_TX_IFCS | E1000_TX_RS;
	d->status = 0;
}

static void reap(struct slots *s)
{
	while (s->tx_done != s->tx_told && (s->e1000.tx[s->tx_done % s->nr].status & E1000_DD))
		s->tx_done++;
	barrier();
}

static int received(struct slots *s, unsigned slot, uint32_t *bytes)
{
	struct e1000_rx_desc *d = &s->e1000.rx[slot];

	if (!(d->status & E1000_DD))
		return 0;
	barrier();
	if (d->errors)
		return -1;
	if (!(d->status & E1000_EOP) || d->length <= s->fcs_bytes || d->length > s->slot_bytes) {
		CHECK(s->tolerant, "receive slot %u: status 0x%x length %u", slot, d->status,
		      d->length);
		s->odd++;
		return -1;
	}
	*bytes = d->length - s->fcs_bytes;
	return 1;
}

static void rx_give(struct slots *s, unsigned slot)
{
	struct e1000_rx_desc *d = &s->e1000.rx[slot];

	d->length = 0;
	d->errors = 0;
	d->status = 0;
}

static void kick_tx(struct slots *s)
{
	s->tx_told = s->tx_next;
	s->kicks++;
	e1000_set(&s->e1000, E1000_TDT, s->tx_next % s->nr);
}

static void kick_rx(struct slots *s, bool now)
{
	/* Each is an exit: not for every frame. */
	if (!now && s->rx_next - s->rx_told < s->nr / 4)
		return;
	s->rx_told = s->rx_next;
	s->kicks++;
	e1000_set(&s->e1000, E1000_RDT, (s->rx_next - 1) % s->nr);
}

static bool arm(struct slots *s, bool tx)
{
	return (s->e1000.rx[s->rx_next % s->nr].status & E1000_DD) ||
	       (tx && s->tx_done != s->tx_told &&
		(s->e1000.tx[s->tx_done % s->nr].status & E1000_DD));
}

static void wait(struct slots *s)
{
	e1000_wait(&s->e1000);
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

bool slots_e1000_find(struct slots *s)
{
	if (!e1000_find(&s->e1000, 0))
		return false;
	s->ops = &ops;
	s->over = "e1000";
	e1000_mac(&s->e1000, s->mac);
	s->nr = s->wanted ? s->wanted : SLOTS_MAX;
	CHECK(s->nr >= 8, "a ring of an e1000 has 8 descriptors at least, not %u", s->nr);
	s->e1000.tx = mem_alloc(sizeof(*s->e1000.tx) * SLOTS_MAX, 4096);
	s->e1000.rx = mem_alloc(sizeof(*s->e1000.rx) * SLOTS_MAX, 4096);
	s->fcs_bytes = cmdline_is("secrc", "1") ? 0 : FCS_BYTES;
	s->frame_max = s->slot_bytes - FCS_BYTES; /* the card wants the room for it in any case */
	e1000_route(&s->e1000);
	return true;
}
