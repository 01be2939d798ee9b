/*
 * 82540EM: what a driver's register accesses do; interrupt and statistics.
 *
 * vCPU threads, with no lock of the bus. What concerns rings and life of the device is carried to
 * its loop (e1000_write() in e1000.c); the rest is done here, by atomics or under the interrupt's
 * lock, so that the registers that a running driver touches for every interrupt and batch never
 * wait.
 *
 * Interrupt moderation (ITR, RDTR, RADV, TIDV, TADV) is not modelled: one interrupt is raised per
 * batch anyway, and delaying it costs latency without sparing anybody work.
 */
#include <string.h>

#include "nic/e1000_internal.h"

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

void e1000_irq_clear(struct e1000 *e, uint32_t causes, uint32_t mask_bits)
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

/* -- Registers -- */

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

/* One write on its way to the loop. */
struct reg_write {
	struct e1000 *e;
	unsigned reg;
	uint32_t value;
};

static void on_loop(void *arg)
{
	struct reg_write *w = arg;

	e1000_write(w->e, w->reg, w->value);
}

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
		e1000_see_buffers(e);
		atomic_store(&e->tx.tail, v);
		if (e1000_get(e, REG_TCTL) & TCTL_EN)
			loop_post(e->loop, &e->tx_work);
		break;
	case REG_RDT:
		atomic_fetch_add_explicit(&e->stats.doorbells, 1, memory_order_relaxed);
		e1000_see_buffers(e);
		atomic_store(&e->rx.tail, v);
		if (e1000_slots_watched(e, v) | atomic_exchange(&e->rx.starved, false))
			loop_post(e->loop, &e->rx_work);
		break;
	case REG_ICR:
		e1000_irq_clear(e, v, 0);
		break;
	case REG_ICS:
		e1000_raise(e, v);
		break;
	case REG_IMS:
		irq_unmask(e, v);
		break;
	case REG_IMC:
		e1000_irq_clear(e, 0, v);
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

static uint32_t status_read(const struct e1000 *e)
{
	uint32_t v = STATUS_FD | STATUS_SPEED_1000 | STATUS_ASDV_1000;

	return atomic_load(&e->link) ? v | STATUS_LU : v;
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

const struct bus_ops e1000_mmio_ops = { .read = mmio_read, .write = mmio_write };
const struct bus_ops e1000_io_ops = { .read = io_read, .write = io_write };
