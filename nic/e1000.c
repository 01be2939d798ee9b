/*
 * 82540EM: the PCI function, its registers, interrupt and life. See e1000_internal.h for threads
 * and locks; e1000_tx.c and e1000_rx.c are the rings, e1000_eeprom.c and e1000_phy.c what is
 * attached.
 *
 * The carrier is started as long as the driver has either direction enabled. A ring that breaks a
 * rule stops its own direction only, until the driver sets it up anew: the hardware knows no such
 * state, it would have mastered an abort or worse.
 *
 * Interrupt moderation (ITR, RDTR, RADV, TIDV, TADV) is not modelled: one interrupt is raised per
 * batch anyway, and delaying it costs latency without sparing anybody work.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "nic/e1000_internal.h"

#define BAR_MMIO 0
#define BAR_IO	 1

/* -- Interrupt; any thread -- */

static void irq_update(struct e1000 *e)
{
	bool level = e->irq.cause & e->irq.mask;

	if (level == e->irq.level)
		return;
	e->irq.level = level;
	if (level)
		atomic_fetch_add_explicit(&e->stats.interrupts, 1, memory_order_relaxed);
	pci_intx_set(&e->fn, level);
}

void e1000_raise(struct e1000 *e, uint32_t causes)
{
	pthread_mutex_lock(&e->irq.lock);
	e->irq.cause |= causes & ICR_ALL;
	irq_update(e);
	pthread_mutex_unlock(&e->irq.lock);
}

static void irq_clear(struct e1000 *e, uint32_t causes, uint32_t mask_bits)
{
	pthread_mutex_lock(&e->irq.lock);
	e->irq.cause &= ~causes;
	e->irq.mask &= ~mask_bits;
	irq_update(e);
	pthread_mutex_unlock(&e->irq.lock);
}

static void irq_unmask(struct e1000 *e, uint32_t bits)
{
	pthread_mutex_lock(&e->irq.lock);
	e->irq.mask |= bits & ICR_ALL;
	irq_update(e);
	pthread_mutex_unlock(&e->irq.lock);
}

static uint32_t irq_read(struct e1000 *e, unsigned reg)
{
	uint32_t v;

	pthread_mutex_lock(&e->irq.lock);
	if (reg == REG_ICR) {
		v = e->irq.cause;
		e->irq.cause = 0;
		irq_update(e);
	} else {
		v = e->irq.mask;
	}
	pthread_mutex_unlock(&e->irq.lock);
	return v;
}

/* -- Statistics; any thread -- */

static const struct {
	unsigned low;
	enum e1000_octets which;
} octet_regs[] = {
	{ STAT_GORCL, OCTETS_GOOD_RX },
	{ STAT_GOTCL, OCTETS_GOOD_TX },
	{ STAT_TORL, OCTETS_RX },
	{ STAT_TOTL, OCTETS_TX },
};

void e1000_count_frame(struct e1000 *e, bool tx, const uint8_t *dst, size_t len)
{
	static const uint8_t broadcast[ETH_ADDR_BYTES] = { 255, 255, 255, 255, 255, 255 };
	size_t bytes = len + E1000_FCS_BYTES;
	unsigned size = 0;

	for (size_t limit = 64; size < 5 && bytes > limit;
	     limit = limit == 64 ? 127 : limit * 2 + 1)
		size++;
	e1000_count(e, (tx ? STAT_PTC64 : STAT_PRC64) + 4 * size, 1);
	e1000_count(e, tx ? STAT_GPTC : STAT_GPRC, 1);
	e1000_count(e, tx ? STAT_TPT : STAT_TPR, 1);
	if (!memcmp(dst, broadcast, sizeof(broadcast)))
		e1000_count(e, tx ? STAT_BPTC : STAT_BPRC, 1);
	else if (dst[0] & 1)
		e1000_count(e, tx ? STAT_MPTC : STAT_MPRC, 1);
	atomic_fetch_add_explicit(&e->octets[tx ? OCTETS_GOOD_TX : OCTETS_GOOD_RX], bytes,
				  memory_order_relaxed);
	atomic_fetch_add_explicit(&e->octets[tx ? OCTETS_TX : OCTETS_RX], bytes,
				  memory_order_relaxed);
}

/* Reading clears; a pair of registers is cleared by reading its high half. */
static uint32_t stat_read(struct e1000 *e, unsigned reg)
{
	uint64_t now;

	for (unsigned i = 0; i < ARRAY_SIZE(octet_regs); i++) {
		_Atomic uint64_t *octets = &e->octets[octet_regs[i].which];

		if (reg == octet_regs[i].low)
			return (uint32_t)atomic_load_explicit(octets, memory_order_relaxed);
		if (reg == octet_regs[i].low + 4)
			return (uint32_t)(atomic_exchange(octets, 0) >> 32);
	}
	if (reg == STAT_MPC) {
		/* Whoever found no buffer has counted it. */
		now = atomic_load_explicit(&e->port.stats.rx_dropped, memory_order_relaxed);
		return (uint32_t)(now - atomic_exchange(&e->missed_before, now));
	}
	return atomic_exchange(&e->reg[reg / 4], 0);
}

void e1000_complain(struct e1000 *e, const char *what, const char *why)
{
	atomic_fetch_add_explicit(&e->stats.guest_faults, 1, memory_order_relaxed);
	log_limited(&e->log, LOG_WARN, e->name, "%s stopped: %s", what, why);
}

void *e1000_ring(struct e1000 *e, unsigned base_reg, uint32_t *nr)
{
	uint32_t bytes = e1000_get(e, base_reg + (REG_TDLEN - REG_TDBAL));
	gpa_t base = e1000_get(e, base_reg) |
		     (gpa_t)e1000_get(e, base_reg + (REG_TDBAH - REG_TDBAL)) << 32;

	*nr = bytes / E1000_DESC_BYTES;
	return gmem_ptr(e->plat->mem, base, bytes);
}

/* -- Link; on the loop -- */

void e1000_link_check(struct e1000 *e)
{
	struct carrier *c = e->port.carrier;
	bool up = c && c->ops->link_up(c) && (e1000_get(e, REG_CTRL) & CTRL_SLU) &&
		  !(e->phy[PHY_CTRL] & PHY_CTRL_POWER);

	if (atomic_exchange(&e->link, up) != up)
		e1000_raise(e, ICR_LSC);
}

static uint32_t status_read(const struct e1000 *e)
{
	uint32_t v = STATUS_FD | STATUS_SPEED_1000 | STATUS_ASDV_1000;

	return atomic_load(&e->link) ? v | STATUS_LU : v;
}

/* -- Starting, stopping, reset; on the loop -- */

static bool enabled(const struct e1000 *e)
{
	return (e1000_get(e, REG_RCTL) & RCTL_EN) || (e1000_get(e, REG_TCTL) & TCTL_EN);
}

static void carrier_stop(struct e1000 *e)
{
	struct carrier *c = e->port.carrier;

	e1000_rx_stop(e);
	if (e->started && c)
		c->ops->stop(c);
	e->started = false;
	e->tx.blocked = false;
}

/* The carrier follows the enable bits. */
static void carrier_follow(struct e1000 *e)
{
	struct carrier *c = e->port.carrier;
	int err = 0;

	if (!enabled(e)) {
		carrier_stop(e);
		return;
	}
	if (e->started)
		return;
	e->started = true;
	e1000_rx_set(e, REG_RCTL, e1000_get(e, REG_RCTL)); /* live before the carrier delivers */
	if (c) {
		c->ops->set_rx_features(c, 0);
		err = c->ops->start(c);
	}
	if (!err)
		return;
	log_error(e->name, "cannot start what carries its frames: %s", strerror(-err));
	carrier_stop(e);
}

static void rx_ready(struct e1000 *e)
{
	struct carrier *c = e->port.carrier;

	if (c && e->started && (e1000_get(e, REG_RCTL) & RCTL_EN))
		c->ops->rx_ready(c);
}

static void device_reset(struct e1000 *e)
{
	const uint16_t *mac = e->eeprom.word;

	carrier_stop(e);
	for (unsigned reg = 0; reg < E1000_REG_BYTES; reg += 4)
		e1000_set(e, reg, 0);
	for (unsigned i = 0; i < ARRAY_SIZE(e->octets); i++)
		atomic_store(&e->octets[i], 0);
	atomic_store(&e->tx.head, 0);
	atomic_store(&e->tx.tail, 0);
	memset(e->tx.ctx, 0, sizeof(e->tx.ctx));
	e1000_tx_reset(e);
	atomic_store(&e->rx.tail, 0);
	e1000_rx_set(e, REG_RDH, 0);
	irq_clear(e, ICR_ALL, ICR_ALL);
	e1000_eecd_write(e, 0);
	e1000_set(e, REG_CTRL, CTRL_FD | CTRL_SLU | CTRL_SPD_1000);
	e1000_set(e, REG_PBA, 0x00100030); /* KiB of packet buffer: transmit, receive */
	e1000_set(e, REG_LEDCTL, 0x07061302);
	e1000_set(e, REG_VET, 0x8100);
	e1000_set(e, REG_RA, mac[0] | (uint32_t)mac[1] << 16);
	e1000_set(e, REG_RA + 4, mac[2] | RAH_AV);
}

static void ctrl_write(struct e1000 *e, uint32_t v)
{
	if (v & CTRL_RST) {
		device_reset(e);
		v = e1000_get(e, REG_CTRL);
	}
	if (v & CTRL_PHY_RST)
		e1000_phy_reset(e);
	e1000_set(e, REG_CTRL, v & ~(CTRL_RST | CTRL_PHY_RST));
	e1000_link_check(e);
	if (v & CTRL_PHY_RST)
		e1000_raise(e, ICR_LSC);
}

/* -- Registers -- */

/* One write on its way to the loop. */
struct reg_write {
	struct e1000 *e;
	unsigned reg;
	uint32_t value;
};

static void tx_ring_write(struct e1000 *e, unsigned reg, uint32_t v)
{
	if (reg == REG_TDH)
		atomic_store(&e->tx.head, v & 0xffff);
	else
		e1000_set(e, reg, v);
	e1000_tx_reset(e);
}

static void on_loop(void *arg)
{
	struct reg_write *w = arg;
	struct e1000 *e = w->e;
	uint32_t v = w->value;

	switch (w->reg) {
	case REG_CTRL:
	case REG_CTRL_DUP:
		ctrl_write(e, v);
		break;
	case REG_CTRL_EXT:
		e1000_set(e, REG_CTRL_EXT, v & ~CTRL_EXT_EE_RST);
		if (v & CTRL_EXT_EE_RST) /* reloads what the EEPROM holds; that is also */
			ctrl_write(e, CTRL_RST);
		break;
	case REG_MDIC:
		e1000_mdic_write(e, v);
		break;
	case REG_TCTL:
		e1000_set(e, REG_TCTL, v);
		carrier_follow(e);
		e1000_tx_serve(e);
		break;
	case REG_RCTL:
		e1000_rx_set(e, REG_RCTL, v);
		carrier_follow(e);
		rx_ready(e);
		break;
	case REG_TDBAL:
	case REG_TDBAH:
	case REG_TDLEN:
	case REG_TDH:
		tx_ring_write(e, w->reg, v);
		break;
	case REG_RDBAL:
	case REG_RDBAH:
	case REG_RDLEN:
	case REG_RDH:
		e1000_rx_set(e, w->reg, v);
		break;
	default:
		break;
	}
}

/* Where the bits that a register lacks are cut off. */
static uint32_t existing_bits(unsigned reg, uint32_t v)
{
	switch (reg) {
	case REG_TDBAL:
	case REG_RDBAL:
		return v & RING_BASE_MASK;
	case REG_TDLEN:
	case REG_RDLEN:
		return v & RING_LEN_MASK;
	case REG_TDH:
	case REG_TDT:
	case REG_RDH:
	case REG_RDT:
		return v & 0xffff;
	default:
		return v;
	}
}

static bool on_loop_only(unsigned reg)
{
	switch (reg) {
	case REG_CTRL:
	case REG_CTRL_DUP:
	case REG_CTRL_EXT:
	case REG_MDIC:
	case REG_TCTL:
	case REG_RCTL:
	case REG_TDBAL:
	case REG_TDBAH:
	case REG_TDLEN:
	case REG_TDH:
	case REG_RDBAL:
	case REG_RDBAH:
	case REG_RDLEN:
	case REG_RDH:
		return true;
	default:
		return false;
	}
}

/* vCPU threads, without any lock. */
static void reg_write(struct e1000 *e, unsigned reg, uint32_t v)
{
	v = existing_bits(reg, v);
	if (on_loop_only(reg)) {
		struct reg_write w = { .e = e, .reg = reg, .value = v };

		loop_call(e->loop, on_loop, &w);
		return;
	}
	switch (reg) {
	case REG_TDT:
		atomic_fetch_add_explicit(&e->stats.doorbells, 1, memory_order_relaxed);
		/* The value is the message, so no ioeventfd can carry it: latch it and be gone. */
		atomic_store(&e->tx.tail, v);
		if (e1000_get(e, REG_TCTL) & TCTL_EN)
			loop_post(e->loop, &e->tx_work);
		break;
	case REG_RDT:
		atomic_fetch_add_explicit(&e->stats.doorbells, 1, memory_order_relaxed);
		atomic_store(&e->rx.tail, v);
		if (atomic_exchange(&e->rx.starved, false))
			loop_post(e->loop, &e->rx_work);
		break;
	case REG_ICR:
		irq_clear(e, v, 0);
		break;
	case REG_ICS:
		e1000_raise(e, v);
		break;
	case REG_IMS:
		irq_unmask(e, v);
		break;
	case REG_IMC:
		irq_clear(e, 0, v);
		break;
	case REG_EECD:
		e1000_eecd_write(e, v);
		break;
	case REG_EERD:
		e1000_eerd_write(e, v);
		break;
	case REG_STATUS:
		break;
	default:
		if (reg < REG_STATS || (reg >= REG_STATS_END && reg < E1000_REG_BYTES))
			e1000_set(e, reg, v);
	}
}

static uint32_t reg_read(struct e1000 *e, unsigned reg)
{
	switch (reg) {
	case REG_CTRL_DUP:
		return e1000_get(e, REG_CTRL);
	case REG_STATUS:
		return status_read(e);
	case REG_ICR:
	case REG_IMS:
		return irq_read(e, reg);
	case REG_ICS:
	case REG_IMC:
		return 0;
	case REG_TDH:
		return atomic_load(&e->tx.head);
	case REG_TDT:
		return atomic_load(&e->tx.tail);
	case REG_RDH:
		return atomic_load(&e->rx.head);
	case REG_RDT:
		return atomic_load(&e->rx.tail);
	default:
		break;
	}
	if (reg >= REG_STATS && reg < REG_STATS_END)
		return stat_read(e, reg);
	return reg < E1000_REG_BYTES ? e1000_get(e, reg) : 0;
}

static uint64_t mmio_read(struct bus_region *r, uint64_t offset, unsigned size)
{
	struct e1000 *e = r->opaque;
	unsigned reg = (unsigned)offset & ~3u;
	uint64_t v = reg_read(e, reg) >> 8 * (offset & 3);

	if (size == 8 && !(offset & 3))
		v |= (uint64_t)reg_read(e, reg + 4) << 32;
	return v;
}

/* Registers are written whole: anything else is no access at all. */
static void mmio_write(struct bus_region *r, uint64_t offset, uint64_t value, unsigned size)
{
	struct e1000 *e = r->opaque;

	if (size < 4 || (offset & 3))
		return;
	reg_write(e, (unsigned)offset, (uint32_t)value);
	if (size == 8)
		reg_write(e, (unsigned)offset + 4, (uint32_t)(value >> 32));
}

/* The same registers through two ports, for drivers and resets that cannot rely on memory. */
static uint64_t io_read(struct bus_region *r, uint64_t offset, unsigned size)
{
	struct e1000 *e = r->opaque;
	uint32_t address = atomic_load(&e->io_address);

	if (size != 4)
		return 0;
	if (offset == E1000_IOADDR)
		return address;
	return offset == E1000_IODATA ? reg_read(e, address) : 0;
}

static void io_write(struct bus_region *r, uint64_t offset, uint64_t value, unsigned size)
{
	struct e1000 *e = r->opaque;

	if (size != 4)
		return;
	if (offset == E1000_IOADDR)
		atomic_store(&e->io_address, (uint32_t)value & (E1000_MMIO_BYTES - 1) & ~3u);
	else if (offset == E1000_IODATA)
		reg_write(e, atomic_load(&e->io_address), (uint32_t)value);
}

static const struct bus_ops mmio_ops = { .read = mmio_read, .write = mmio_write };
static const struct bus_ops io_ops = { .read = io_read, .write = io_write };

/* -- Posted work -- */

static void tx_work(struct loop_work *w)
{
	e1000_tx_serve(container_of(w, struct e1000, tx_work));
}

static void resume_work(struct loop_work *w)
{
	struct e1000 *e = container_of(w, struct e1000, resume_work);

	e->tx.blocked = false;
	e1000_tx_serve(e);
}

static void rx_work(struct loop_work *w)
{
	rx_ready(container_of(w, struct e1000, rx_work));
}

static void link_work(struct loop_work *w)
{
	e1000_link_check(container_of(w, struct e1000, link_work));
}

static void port_tx_resume(struct port *p)
{
	struct e1000 *e = container_of(p, struct e1000, port);

	loop_post(e->loop, &e->resume_work);
}

static void port_link_changed(struct port *p)
{
	struct e1000 *e = container_of(p, struct e1000, port);

	loop_post(e->loop, &e->link_work);
}

static const struct port_ops port_ops = {
	.rx_begin = e1000_rx_begin,
	.rx_reserve = e1000_rx_reserve,
	.rx_commit = e1000_rx_commit,
	.rx_abort = e1000_rx_abort,
	.rx_end = e1000_rx_end,
	.tx_resume = port_tx_resume,
	.link_changed = port_link_changed,
};

/* -- Life -- */

int e1000_create(struct e1000 **out, const char *name, const uint8_t mac[ETH_ADDR_BYTES],
		 struct loop *loop, struct platform *plat)
{
	static const struct pci_ids ids = {
		.vendor = E1000_VENDOR_ID,
		.device = E1000_DEVICE_ID,
		.subsystem_vendor = E1000_VENDOR_ID,
		.subsystem = E1000_SUBSYSTEM,
		.class_code = 0x020000,
		.revision = E1000_REVISION,
	};
	struct e1000 *e = calloc(1, sizeof(*e));
	int err;

	if (!e)
		return -ENOMEM;
	e->name = name;
	e->loop = loop;
	e->plat = plat;
	e->tx_work.fn = tx_work;
	e->resume_work.fn = resume_work;
	e->rx_work.fn = rx_work;
	e->link_work.fn = link_work;
	e->port.ops = &port_ops;
	e->port.name = name;
	memcpy(e->port.mac, mac, ETH_ADDR_BYTES);
	err = -pthread_mutex_init(&e->irq.lock, NULL);
	if (err)
		goto out_free;
	err = e1000_rx_init(e);
	if (err)
		goto out_irq;
	err = e1000_eeprom_init(e, mac);
	if (err)
		goto out_rx;
	pci_fn_init(&e->fn, name, plat, &ids, NULL);
	e1000_phy_reset(e);
	device_reset(e);
	*out = e;
	return 0;

out_rx:
	e1000_rx_fini(e);
out_irq:
	pthread_mutex_destroy(&e->irq.lock);
out_free:
	free(e);
	return err;
}

int e1000_plug(struct e1000 *e, struct pci_host *pci)
{
	int err = pci_set_bar(&e->fn, BAR_MMIO, PCI_BAR_MEM32, E1000_MMIO_BYTES, &mmio_ops, e);

	/* Where there are no ports there is no such BAR. */
	if (!err && e->plat->pio && pci->layout.io_bytes)
		err = pci_set_bar(&e->fn, BAR_IO, PCI_BAR_IO, E1000_IO_BYTES, &io_ops, e);
	return err ? err : pci_host_add(pci, &e->fn);
}

struct port *e1000_port(struct e1000 *e)
{
	return &e->port;
}

const struct e1000_stats *e1000_stats(const struct e1000 *e)
{
	return &e->stats;
}

struct loop *e1000_loop(struct e1000 *e)
{
	return e->loop;
}

void e1000_set_carrier(struct e1000 *e, struct carrier *carrier)
{
	e->port.carrier = carrier;
	if (carrier)
		carrier->port = &e->port;
	e1000_link_check(e);
	irq_clear(e, ICR_ALL, 0); /* that was no event */
}

void e1000_stop(struct e1000 *e)
{
	e1000_set(e, REG_TCTL, 0);
	e1000_set(e, REG_RCTL, 0);
	carrier_stop(e);
}

void e1000_destroy(struct e1000 *e)
{
	if (!e)
		return;
	pci_fn_fini(&e->fn);
	e1000_eeprom_fini(e);
	e1000_rx_fini(e);
	pthread_mutex_destroy(&e->irq.lock);
	free(e);
}
