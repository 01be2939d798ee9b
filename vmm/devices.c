/*
 * The virtio devices and other network cards of one machine: see devices.h.
 *
 * All devices belong to the guest's I/O thread but disks, which have a thread each: reading and
 * syncing a file can block for long, and frames and keys must not wait for it.
 */
#include "vmm/devices.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "nic/e1000.h"
#include "virtio/devices.h"
#include "virtio/transport.h"
#include "vmm/tap.h"
#include "xtalk/netswitch.h"

enum device_kind { DEV_NET, DEV_E1000, DEV_BLK, DEV_CONSOLE, DEV_RNG };

struct device {
	enum device_kind kind;
	unsigned index;		/* of a NIC, in cfg */
	struct virtio_dev *dev; /* NULL: not a virtio device */
	union {
		struct virtio_net *net;
		struct e1000 *e1000;
		struct virtio_blk *blk;
		struct virtio_console *console;
		struct virtio_rng *rng;
	};
	/* NIC: its own physical device, if it has one, and the switch of its net */
	struct tap *tap;
	struct netswitch *sw;
	struct port_memory memory; /* as its switch may use it */
	/* disk: its own thread */
	struct loop own_loop;
	bool has_loop;
	struct virtio_pci *pci;
	struct virtio_mmio *mmio;
	char name[2 * CONFIG_NAME_MAX + 2];
};

struct devices {
	struct devices_params p;
	struct device *dev;
	unsigned nr;
	unsigned nr_mmio; /* virtio-mmio slots taken */
};

unsigned devices_count(const struct lab_config *cfg, unsigned guest)
{
	unsigned n = cfg->guest[guest].rng;

	n += cfg->guest[guest].virtio_console.kind != CONSOLE_NONE;
	for (unsigned i = 0; i < cfg->nr_nics; i++)
		n += cfg->nic[i].guest == guest && cfg->nic[i].model == NIC_VIRTIO;
	for (unsigned i = 0; i < cfg->nr_disks; i++)
		n += cfg->disk[i].guest == guest;
	return n;
}

static unsigned count_e1000(const struct lab_config *cfg, unsigned guest)
{
	unsigned n = 0;

	for (unsigned i = 0; i < cfg->nr_nics; i++)
		n += cfg->nic[i].guest == guest && cfg->nic[i].model == NIC_E1000;
	return n;
}

static int plug(struct devices *d, struct device *dev)
{
	gpa_t base;
	unsigned gsi;

	if (dev->kind == DEV_E1000)
		return e1000_plug(dev->e1000, d->p.pci); /* whatever the transport of others */
	if (d->p.cfg->guest[d->p.guest].transport == TRANSPORT_PCI)
		return virtio_pci_create(&dev->pci, dev->dev, d->p.pci);
	arch_virtio_mmio_slot(d->nr_mmio++, &base, &gsi);
	return virtio_mmio_create(&dev->mmio, dev->dev, base, gsi);
}

static int create_nic(struct devices *d, struct device *dev, const struct nic_config *nic)
{
	int rc;

	if (nic->model == NIC_E1000) {
		dev->kind = DEV_E1000;
		return e1000_create(&dev->e1000, nic->full_name, nic->mac, d->p.loop, d->p.plat);
	}
	dev->kind = DEV_NET;
	rc = virtio_net_create(&dev->net, nic->full_name, nic->mac, d->p.loop, d->p.plat);
	if (!rc)
		dev->dev = virtio_net_dev(dev->net);
	return rc;
}

static struct port *nic_port(const struct device *dev)
{
	return dev->kind == DEV_E1000 ? e1000_port(dev->e1000) : virtio_net_port(dev->net);
}

/* What may be mapped, and what vm.ini says of the driver. Before the port is attached. */
static void set_memory(struct devices *d, struct device *dev, const struct nic_config *nic)
{
	struct port *port = nic_port(dev);

	if (nic->slots == SLOTS_FRESH)
		return;
	dev->memory = d->p.memory;
	dev->memory.receive_readonly = nic->receive_readonly;
	port->memory = &dev->memory;
	if (nic->slots == SLOTS_STABLE)
		atomic_store(&port->slots_stable, true);
	else if (dev->kind == DEV_NET)
		virtio_net_offer_stable_slots(dev->net);
}

static int add_nic(struct devices *d, struct device *dev, unsigned index)
{
	const struct nic_config *nic = &d->p.cfg->nic[index];
	const struct nic_backend *b = &d->p.nics[index];
	struct netswitch_port np = { 0 };
	struct carrier *carrier;
	int rc;

	dev->index = index;
	rc = create_nic(d, dev, nic);
	if (rc)
		return rc;
	if (b->tap_fd >= 0) {
		rc = tap_create(&dev->tap, nic->full_name, b->tap_fd, d->p.loop);
		if (rc)
			return rc;
		np.uplink = tap_carrier(dev->tap);
	}
	set_memory(d, dev, nic);
	np.port = nic_port(dev);
	np.promiscuous = nic->promiscuous;
	if (nic->peer >= 0)
		np.peer_mac = d->p.cfg->nic[nic->peer].mac;
	rc = netswitch_attach(b->sw, &np, &carrier);
	if (rc)
		return rc;
	dev->sw = b->sw;
	if (dev->kind == DEV_E1000)
		e1000_set_carrier(dev->e1000, carrier);
	else
		virtio_net_set_carrier(dev->net, carrier);
	return 0;
}

static int add_disk(struct devices *d, struct device *dev, unsigned index)
{
	const struct disk_config *disk = &d->p.cfg->disk[index];
	struct virtio_blk_params params = {
		.path = disk->path,
		.readonly = disk->readonly,
		.id = disk->id,
	};
	int rc;

	dev->kind = DEV_BLK;
	snprintf(dev->name, sizeof(dev->name), "%s", disk->full_name);
	rc = loop_init(&dev->own_loop, dev->name);
	if (rc)
		return rc;
	dev->has_loop = true;
	rc = virtio_blk_create(&dev->blk, disk->full_name, &params, &dev->own_loop, d->p.plat);
	if (rc)
		return rc;
	dev->dev = virtio_blk_dev(dev->blk);
	return 0;
}

static int add_console(struct devices *d, struct device *dev)
{
	int rc;

	dev->kind = DEV_CONSOLE;
	snprintf(dev->name, sizeof(dev->name), "%s.virtio-console", d->p.plat->name);
	rc = virtio_console_create(&dev->console, dev->name, d->p.virtio_console, d->p.loop,
				   d->p.plat);
	if (!rc)
		dev->dev = virtio_console_dev(dev->console);
	return rc;
}

static int add_rng(struct devices *d, struct device *dev)
{
	int rc;

	dev->kind = DEV_RNG;
	snprintf(dev->name, sizeof(dev->name), "%s.rng", d->p.plat->name);
	rc = virtio_rng_create(&dev->rng, dev->name, d->p.loop, d->p.plat);
	if (!rc)
		dev->dev = virtio_rng_dev(dev->rng);
	return rc;
}

static int refused(char *why, size_t bytes, const char *what, int rc)
{
	snprintf(why, bytes, "%s: %s", what,
		 rc == -EWOULDBLOCK ? "in use: another guest or process has locked it"
				    : strerror(-rc));
	return rc;
}

int devices_create(struct devices **out, const struct devices_params *params, char *why,
		   size_t why_bytes)
{
	const struct lab_config *cfg = params->cfg;
	unsigned n = devices_count(cfg, params->guest) + count_e1000(cfg, params->guest);
	struct devices *d = calloc(1, sizeof(*d));
	const char *what = "devices";
	int rc = -ENOMEM;

	if (!d)
		return refused(why, why_bytes, what, rc);
	d->p = *params;
	d->dev = calloc(n ? n : 1, sizeof(*d->dev));
	if (!d->dev)
		goto fail;
	rc = 0;
	for (unsigned i = 0; !rc && i < cfg->nr_nics; i++) {
		if (cfg->nic[i].guest != params->guest)
			continue;
		what = cfg->nic[i].full_name;
		rc = add_nic(d, &d->dev[d->nr++], i);
	}
	for (unsigned i = 0; !rc && i < cfg->nr_disks; i++) {
		if (cfg->disk[i].guest != params->guest)
			continue;
		what = cfg->disk[i].path;
		rc = add_disk(d, &d->dev[d->nr++], i);
	}
	if (!rc && params->virtio_console) {
		what = "virtio-console";
		rc = add_console(d, &d->dev[d->nr++]);
	}
	if (!rc && cfg->guest[params->guest].rng) {
		what = "rng";
		rc = add_rng(d, &d->dev[d->nr++]);
	}
	for (unsigned i = 0; !rc && i < d->nr; i++) {
		what = d->dev[i].kind == DEV_E1000 ? "PCI slot" : "virtio transport";
		rc = plug(d, &d->dev[i]);
	}
	if (rc)
		goto fail;
	*out = d;
	return 0;

fail:
	refused(why, why_bytes, what, rc);
	devices_destroy(d);
	return rc;
}

int devices_start(struct devices *d)
{
	int rc = 0;

	for (unsigned i = 0; !rc && i < d->nr; i++) {
		if (d->dev[i].has_loop)
			rc = loop_start(&d->dev[i].own_loop);
	}
	return rc;
}

static struct loop *device_loop(const struct device *dev)
{
	return dev->kind == DEV_E1000 ? e1000_loop(dev->e1000) : dev->dev->loop;
}

static void stop_one(void *arg)
{
	struct device *dev = arg;

	if (dev->kind == DEV_E1000)
		e1000_stop(dev->e1000);
	else
		virtio_dev_stop(dev->dev);
}

void devices_stop(struct devices *d)
{
	/* The last thing that a guest does before it powers off may be to ring a doorbell. */
	for (unsigned i = 0; i < d->nr; i++)
		loop_flush(device_loop(&d->dev[i]));
	for (unsigned i = 0; i < d->nr; i++)
		loop_call(device_loop(&d->dev[i]), stop_one, &d->dev[i]);
	/* Work that a device posted before it stopped may still be queued: a loop that outlives the
	 * device must have run it. */
	for (unsigned i = 0; i < d->nr; i++)
		loop_flush(device_loop(&d->dev[i]));
	for (unsigned i = 0; i < d->nr; i++) {
		if (d->dev[i].has_loop)
			loop_stop(&d->dev[i].own_loop);
	}
}

static void destroy_one(struct device *dev)
{
	if (dev->pci)
		virtio_pci_destroy(dev->pci);
	if (dev->mmio)
		virtio_mmio_destroy(dev->mmio);
	switch (dev->kind) {
	case DEV_NET:
		if (dev->sw)
			netswitch_detach(dev->sw, virtio_net_port(dev->net));
		if (dev->tap)
			tap_destroy(dev->tap);
		if (dev->net)
			virtio_net_destroy(dev->net);
		break;
	case DEV_E1000:
		if (dev->sw)
			netswitch_detach(dev->sw, e1000_port(dev->e1000));
		if (dev->tap)
			tap_destroy(dev->tap);
		e1000_destroy(dev->e1000);
		break;
	case DEV_BLK:
		if (dev->blk)
			virtio_blk_destroy(dev->blk);
		if (dev->has_loop)
			loop_fini(&dev->own_loop);
		break;
	case DEV_CONSOLE:
		if (dev->console)
			virtio_console_destroy(dev->console);
		break;
	case DEV_RNG:
		if (dev->rng)
			virtio_rng_destroy(dev->rng);
		break;
	}
}

void devices_destroy(struct devices *d)
{
	if (!d)
		return;
	for (unsigned i = 0; i < d->nr; i++)
		destroy_one(&d->dev[i]);
	free(d->dev);
	free(d);
}

static bool is_nic(const struct device *dev)
{
	return dev->kind == DEV_NET || dev->kind == DEV_E1000;
}

static void read_signals(const struct device *dev, struct nic_signals *out)
{
	if (dev->kind == DEV_E1000) {
		const struct e1000_stats *s = e1000_stats(dev->e1000);

		out->interrupts = atomic_load(&s->interrupts);
		out->doorbells = atomic_load(&s->doorbells);
		out->guest_faults = atomic_load(&s->guest_faults);
	} else {
		out->interrupts = atomic_load(&dev->dev->interrupts);
		out->doorbells = atomic_load(&dev->dev->doorbells) +
				 atomic_load(&virtio_net_port(dev->net)->stats.rx_lent);
		out->guest_faults = atomic_load(&dev->dev->guest_faults);
	}
}

static struct device *find_nic(struct devices *d, unsigned nic)
{
	for (unsigned i = 0; i < d->nr; i++) {
		if (is_nic(&d->dev[i]) && d->dev[i].index == nic)
			return &d->dev[i];
	}
	return NULL;
}

int devices_nic_info(struct devices *d, unsigned nic, struct nic_info *out)
{
	struct device *dev = find_nic(d, nic);
	struct nic_signals signals;

	if (!dev)
		return -ENOENT;
	read_signals(dev, &signals);
	nic_info_read(out, nic_port(dev), &signals, dev->sw);
	return 0;
}

bool devices_write_refused(struct devices *d)
{
	for (unsigned i = 0; i < d->nr; i++) {
		const struct port_memory *mem = &d->dev[i].memory;

		if (mem->receive_readonly && mem->write_refused &&
		    mem->write_refused(mem->refused_arg))
			return true;
	}
	return false;
}

int devices_nic_swap(struct devices *d, unsigned nic, bool pin, enum binding b)
{
	struct device *dev = find_nic(d, nic);

	if (!dev)
		return -ENOENT;
	if (!dev->sw)
		return -ENOTSUP;
	return netswitch_command(dev->sw, nic_port(dev), pin, b);
}
