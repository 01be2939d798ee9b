/* Driver side of the Intel 82540EM; see e1000.h. */
#include "lib/e1000.h"
#include "lib/mem.h"

#define FCS_BYTES 4

uint32_t e1000_get(const struct e1000 *e, unsigned reg)
{
	return mmio_read32(e->regs + reg);
}

void e1000_set(const struct e1000 *e, unsigned reg, uint32_t v)
{
	mmio_write32(e->regs + reg, v);
}

bool e1000_find(struct e1000 *e, unsigned index)
{
	int dev = pci_find(0x8086, 0x100e, index);

	if (dev < 0)
		return false;
	*e = (struct e1000){ .pci_dev = (unsigned)dev };
	pci_write16(e->pci_dev, PCI_COMMAND,
		    (pci_read16(e->pci_dev, PCI_COMMAND) | PCI_CMD_MEM | PCI_CMD_MASTER) &
			    ~PCI_CMD_NO_INTX);
	e->regs = pci_bar(e->pci_dev, 0);
	e1000_set(e, E1000_IMC, ~0u);
	e1000_set(e, E1000_CTRL, E1000_CTRL_RST);
	for (unsigned i = 0; e1000_get(e, E1000_CTRL) & E1000_CTRL_RST; i++)
		CHECK(i < 1000000, "e1000 does not reset");
	return true;
}

void e1000_mac(const struct e1000 *e, uint8_t mac[6])
{
	uint32_t low = e1000_get(e, E1000_RAL), high = e1000_get(e, E1000_RAH);

	for (unsigned i = 0; i < 4; i++)
		mac[i] = (uint8_t)(low >> 8 * i);
	mac[4] = (uint8_t)high;
	mac[5] = (uint8_t)(high >> 8);
}

static void interrupt(void *arg)
{
	struct e1000 *e = arg;

	e1000_get(e, E1000_ICR); /* reading lowers the line */
	e->interrupted = true;
	e->interrupts++;
}

void e1000_route(struct e1000 *e)
{
	e->vector = intr_alloc(interrupt, e);
	intr_route(machine_intx_gsi(e->pci_dev), e->vector, true, cpu_id());
}

void e1000_start(struct e1000 *e)
{
	e->tx = mem_alloc(sizeof(*e->tx) * E1000_RING, 4096);
	e->rx = mem_alloc(sizeof(*e->rx) * E1000_RING, 4096);
	e1000_set(e, E1000_TDBAL, (uint32_t)(uintptr_t)e->tx);
	e1000_set(e, E1000_TDBAH, (uint32_t)((uintptr_t)e->tx >> 32));
	e1000_set(e, E1000_TDLEN, sizeof(*e->tx) * E1000_RING);
	e1000_set(e, E1000_RDBAL, (uint32_t)(uintptr_t)e->rx);
	e1000_set(e, E1000_RDBAH, (uint32_t)((uintptr_t)e->rx >> 32));
	e1000_set(e, E1000_RDLEN, sizeof(*e->rx) * E1000_RING);
	e1000_route(e);
	e1000_set(e, E1000_CTRL, e1000_get(e, E1000_CTRL) | E1000_CTRL_SLU);
	e1000_set(e, E1000_IMS, E1000_INT_TXDW | E1000_INT_RXT0);
	e1000_set(e, E1000_TCTL, E1000_TCTL_EN | E1000_TCTL_PSP);
	e1000_set(e, E1000_RCTL, E1000_RCTL_EN | E1000_RCTL_BAM);
}

bool e1000_give(struct e1000 *e, void *data, void *cookie)
{
	unsigned next = (e->rx_tail + 1) % E1000_RING;

	if (next == e->rx_next)
		return false; /* one stays empty: head = tail means that there is none */
	e->rx[e->rx_tail] = (struct e1000_rx_desc){ .address = (uintptr_t)data };
	e->rx_cookie[e->rx_tail] = cookie;
	e->rx_tail = next;
	return true;
}

bool e1000_send(struct e1000 *e, const void *data, uint32_t bytes, void *cookie)
{
	unsigned next = (e->tx_tail + 1) % E1000_RING;

	if (next == e->tx_done)
		return false;
	e->tx[e->tx_tail] = (struct e1000_tx_desc){
		.address = (uintptr_t)data,
		.length = (uint16_t)bytes,
		.cmd = E1000_TX_EOP | E1000_TX_IFCS | E1000_TX_RS,
	};
	e->tx_cookie[e->tx_tail] = cookie;
	e->tx_tail = next;
	return true;
}

static bool received(const struct e1000 *e)
{
	return e->rx_next != e->rx_told && (e->rx[e->rx_next].status & E1000_DD);
}

static bool done(const struct e1000 *e)
{
	return e->tx_done != e->tx_told && (e->tx[e->tx_done].status & E1000_DD);
}

void *e1000_receive(struct e1000 *e, uint32_t *bytes)
{
	struct e1000_rx_desc *d = &e->rx[e->rx_next];
	unsigned at = e->rx_next;

	if (!received(e))
		return NULL;
	barrier();
	CHECK((d->status & E1000_EOP) && !d->errors && d->length > FCS_BYTES,
	      "e1000 slot %u: status 0x%x errors 0x%x length %u", at, d->status, d->errors,
	      d->length);
	*bytes = d->length - FCS_BYTES;
	e->rx_next = (at + 1) % E1000_RING;
	return e->rx_cookie[at];
}

void *e1000_sent(struct e1000 *e)
{
	unsigned at = e->tx_done;

	if (!done(e))
		return NULL;
	e->tx_done = (at + 1) % E1000_RING;
	return e->tx_cookie[at];
}

void e1000_kick(struct e1000 *e)
{
	barrier();
	if (e->tx_told != e->tx_tail) {
		e->tx_told = e->tx_tail;
		e1000_set(e, E1000_TDT, e->tx_tail);
		e->kicks++;
	}
	if (e->rx_told != e->rx_tail) {
		e->rx_told = e->rx_tail;
		e1000_set(e, E1000_RDT, e->rx_tail);
		e->kicks++;
	}
}

bool e1000_more(const struct e1000 *e)
{
	return received(e) || done(e);
}

void e1000_wait(struct e1000 *e)
{
	if (!e->interrupted)
		irq_wait();
	e->interrupted = false;
}
