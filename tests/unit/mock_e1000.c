/* See mock_e1000.h. */
#include <stdlib.h>
#include <string.h>

#include "tests/unit/mock_e1000.h"

void mock_e1000_init(struct mock_e1000 *m, const char *name, uint8_t id)
{
	static const struct pci_layout layout = {
		.ecam_base = 0xb0000000,
		.ecam_bytes = MIB(1),
		.mmio_base = 0xc0000000,
		.mmio_bytes = MIB(16),
		.io_base = 0xc000,
		.io_bytes = 0x1000,
		.intx_gsi = { 16, 17, 18, 19, 20, 21, 22, 23 },
		.conf1 = true,
	};
	const uint8_t mac[ETH_ADDR_BYTES] = { 0x52, 0x54, 0, 0, 0, id };

	memset(m, 0, sizeof(*m));
	mock_platform_init(&m->mp, ME_MEM, 0);
	mock_require(loop_init(&m->loop, name) == 0);
	mock_require(pci_host_init(&m->host, &m->mp.plat, &layout) == 0);
	mock_require(e1000_create(&m->e, name, mac, &m->loop, &m->mp.plat) == 0);
	mock_require(e1000_plug(m->e, &m->host) == 0);
	m->port = e1000_port(m->e);
	m->bar = m->host.fn[1]->bar[0].region.base;
	m->io = (uint16_t)m->host.fn[1]->bar[1].region.base;
}

void mock_e1000_fini(struct mock_e1000 *m)
{
	loop_stop(&m->loop);
	mock_e1000_run(m);
	e1000_stop(m->e);
	mock_e1000_run(m);
	e1000_destroy(m->e);
	pci_host_fini(&m->host);
	mock_require(!m->mp.mmio.nr && !m->mp.pio.nr);
	loop_fini(&m->loop);
	mock_platform_fini(&m->mp);
}

void mock_e1000_run(struct mock_e1000 *m)
{
	mock_loop_run(&m->loop);
}

uint32_t me_get(struct mock_e1000 *m, unsigned reg)
{
	return (uint32_t)mock_mmio_read(&m->mp, m->bar + reg, 4);
}

void me_set(struct mock_e1000 *m, unsigned reg, uint32_t v)
{
	mock_mmio_write(&m->mp, m->bar + reg, v, 4);
}

void me_start(struct mock_e1000 *m, uint32_t nr, uint32_t rctl)
{
	m->nr = nr;
	m->tx_tail = 0;
	m->rx_tail = 0;
	m->rx_next = 0;
	gmem_zero(&m->mp.mem, ME_TX_RING, (uint64_t)nr * E1000_DESC_BYTES);
	gmem_zero(&m->mp.mem, ME_RX_RING, (uint64_t)nr * E1000_DESC_BYTES);
	me_set(m, REG_TDBAL, ME_TX_RING);
	me_set(m, REG_TDBAH, 0);
	me_set(m, REG_TDLEN, nr * E1000_DESC_BYTES);
	me_set(m, REG_TDH, 0);
	me_set(m, REG_TDT, 0);
	me_set(m, REG_RDBAL, ME_RX_RING);
	me_set(m, REG_RDBAH, 0);
	me_set(m, REG_RDLEN, nr * E1000_DESC_BYTES);
	me_set(m, REG_RDH, 0);
	me_set(m, REG_RDT, 0);
	me_set(m, REG_TCTL, TCTL_EN);
	me_set(m, REG_RCTL, RCTL_EN | rctl);
}

static void put_desc(struct mock_e1000 *m, gpa_t ring, uint32_t index, uint64_t first,
		     uint64_t second)
{
	uint64_t d[2] = { first, second };

	mock_require(gmem_write(&m->mp.mem, ring + (gpa_t)index * sizeof(d), d, sizeof(d)) == 0);
}

void me_tx_desc(struct mock_e1000 *m, uint64_t address, uint64_t second)
{
	put_desc(m, ME_TX_RING, m->tx_tail, address, second);
	m->tx_tail = (m->tx_tail + 1) % m->nr;
}

void me_tx_kick(struct mock_e1000 *m)
{
	me_set(m, REG_TDT, m->tx_tail);
	if (!atomic_load(&m->loop.running))
		mock_e1000_run(m);
}

void me_tx(struct mock_e1000 *m, const void *frame, size_t len)
{
	mock_require(!len || gmem_write(&m->mp.mem, ME_DATA, frame, len) == 0);
	me_tx_desc(m, ME_DATA, len | TXD_CMD_EOP | TXD_CMD_RS);
	me_tx_kick(m);
}

static uint64_t second_of(struct mock_e1000 *m, gpa_t ring, uint32_t index)
{
	void *p = gmem_ptr(&m->mp.mem, ring + (gpa_t)index * E1000_DESC_BYTES + 8, 8);

	mock_require(p);
	return __atomic_load_n((uint64_t *)p, __ATOMIC_ACQUIRE);
}

uint8_t me_tx_status(struct mock_e1000 *m, uint32_t index)
{
	uint8_t *desc = gmem_ptr(&m->mp.mem, ME_TX_RING + (gpa_t)index * E1000_DESC_BYTES,
				 E1000_DESC_BYTES);

	mock_require(desc);
	/* By the byte, as it is written. */
	return __atomic_load_n(desc + TXD_STATUS_AT, __ATOMIC_ACQUIRE);
}

void me_rx_give(struct mock_e1000 *m, unsigned n)
{
	while (n--) {
		put_desc(m, ME_RX_RING, m->rx_tail,
			 ME_BUFS + (m->rx_tail % 256) * (gpa_t)ME_BUF_STEP, 0);
		m->rx_tail = (m->rx_tail + 1) % m->nr;
	}
	me_set(m, REG_RDT, m->rx_tail);
}

uint64_t me_rx_second(struct mock_e1000 *m, uint32_t index)
{
	return second_of(m, ME_RX_RING, index);
}

/* -- Stable slots -- */

void me_slots_start(struct mock_e1000 *m, uint32_t nr, uint32_t rctl, gpa_t tx_base, gpa_t rx_base,
		    uint32_t stride)
{
	m->tx_base = tx_base;
	m->rx_base = rx_base;
	m->stride = stride;
	me_start(m, nr, rctl);
	for (uint32_t i = 0; i < nr; i++)
		put_desc(m, ME_RX_RING, i, rx_base + (gpa_t)i * stride, 0);
	m->rx_tail = nr - 1;
	me_set(m, REG_RDT, m->rx_tail);
}

gpa_t me_tx_slot(struct mock_e1000 *m, uint32_t index)
{
	return m->tx_base + (gpa_t)index * m->stride;
}

gpa_t me_rx_slot(struct mock_e1000 *m, uint32_t index)
{
	return m->rx_base + (gpa_t)index * m->stride;
}

bool me_slot_send(struct mock_e1000 *m, const void *frame, size_t len)
{
	gpa_t at = me_tx_slot(m, m->tx_tail);

	if ((m->tx_tail + 1) % m->nr == me_get(m, REG_TDH))
		return false;
	mock_require(len <= m->stride && !gmem_write(&m->mp.mem, at, frame, len));
	me_tx_desc(m, at, len | TXD_CMD_EOP | TXD_CMD_RS);
	return true;
}

int me_slot_read(struct mock_e1000 *m, void *frame)
{
	uint64_t second = me_rx_second(m, m->rx_next);
	int len = (int)(second & 0xffff);

	if (!(second >> 32 & RXD_STAT_DD))
		return -1;
	mock_require(second >> 32 & RXD_STAT_EOP);
	if (second >> 40 & RXD_ERR_RXE)
		mock_require(!len);
	else
		mock_require(
			!gmem_read(&m->mp.mem, me_rx_slot(m, m->rx_next), frame, (uint64_t)len));
	put_desc(m, ME_RX_RING, m->rx_next, me_rx_slot(m, m->rx_next), 0);
	m->rx_next = (m->rx_next + 1) % m->nr;
	return len;
}

void me_slot_give(struct mock_e1000 *m, unsigned n)
{
	m->rx_tail = (m->rx_tail + n) % m->nr;
	me_set(m, REG_RDT, m->rx_tail);
}
