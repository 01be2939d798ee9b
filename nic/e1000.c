/*
 * 82540EM: the PCI function, and its life: carrier, link, reset. See e1000_internal.h for threads
 * and locks. Around it: e1000_reg.c (register accesses, interrupt), e1000_tx.c and e1000_rx.c
 * (rings), e1000_slots.c (the receive ring, mapped), e1000_eeprom.c and e1000_phy.c (what is
 * attached).
 *
 * The carrier is started as long as the driver has either direction enabled. A ring that breaks a
 * rule stops its own direction only, until the driver sets it up anew: the hardware knows no such
 * state, it would have mastered an abort or worse.
 *
 * Owned by the device's loop.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "nic/e1000_internal.h"

#define BAR_MMIO 0
#define BAR_IO	 1

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
	e1000_tx_stopped(e);
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
	log_limited(&e->log, LOG_ERROR, e->name, "cannot start what carries its frames: %s",
		    strerror(-err));
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

	e1000_tx_reset(e); /* before kept frames could be reported */
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
	e1000_irq_clear(e, ICR_ALL, ICR_ALL);
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

/* -- Register writes that concern the loop -- */

static void tx_ring_write(struct e1000 *e, unsigned reg, uint32_t v)
{
	if (reg == REG_TDH)
		atomic_store(&e->tx.head, v & 0xffff);
	else
		e1000_set(e, reg, v);
	e1000_tx_reset(e);
}

void e1000_write(struct e1000 *e, unsigned reg, uint32_t v)
{
	switch (reg) {
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
		e1000_tx_serve(e, false);
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
		tx_ring_write(e, reg, v);
		break;
	case REG_RDBAL:
	case REG_RDBAH:
	case REG_RDLEN:
	case REG_RDH:
		e1000_rx_set(e, reg, v);
		rx_ready(e);
		break;
	default:
		break;
	}
}

/* -- Posted work -- */

static void tx_work(struct loop_work *w)
{
	e1000_tx_serve(container_of(w, struct e1000, tx_work), false);
}

static void resume_work(struct loop_work *w)
{
	struct e1000 *e = container_of(w, struct e1000, resume_work);

	e->tx.blocked = false;
	e1000_tx_serve(e, true);
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
	.tx_done = e1000_tx_done,
	.link_changed = port_link_changed,
	.rx_slots_look = e1000_slots_look,
	.rx_slots_enter = e1000_slots_enter,
	.rx_slots_leave = e1000_slots_leave,
	.rx_slot_put = e1000_slot_put,
	.rx_slots_given = e1000_slots_given,
	.rx_slots_watch = e1000_slots_watch,
	.touches_rings = e1000_touches_rings,
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
	e->port.loop = loop;
	e->port.tx_left_out = 1; /* the one that TDT points at */
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
	int err =
		pci_set_bar(&e->fn, BAR_MMIO, PCI_BAR_MEM32, E1000_MMIO_BYTES, &e1000_mmio_ops, e);

	/* Where there are no ports there is no such BAR. */
	if (!err && e->plat->pio && pci->layout.io_bytes)
		err = pci_set_bar(&e->fn, BAR_IO, PCI_BAR_IO, E1000_IO_BYTES, &e1000_io_ops, e);
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
	e1000_irq_clear(e, ICR_ALL, 0); /* that was no event */
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
