/*
 * The virtio devices of one machine: see devices.h.
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
#include "virtio/devices.h"
#include "virtio/transport.h"
#include "vmm/tap.h"
#include "xtalk/netswitch.h"

enum device_kind { DEV_NET, DEV_BLK, DEV_CONSOLE, DEV_RNG };

struct device {
	enum device_kind kind;
	unsigned index; /* of a NIC, in cfg */
	struct virtio_dev *dev;
	union {
		struct virtio_net *net;
		struct virtio_blk *blk;
		struct virtio_console *console;
		struct virtio_rng *rng;
	};
	/* NIC: its own physical device, if it has one, and the switch of its net */
	struct tap *tap;
	struct netswitch *sw;
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
};

unsigned devices_count(const struct lab_config *cfg, unsigned guest)
{
	unsigned n = cfg->guest[guest].rng;

	n += cfg->guest[guest].virtio_console.kind != CONSOLE_NONE;
	for (unsigned i = 0; i < cfg->nr_nics; i++)
		n += cfg->nic[i].guest == guest;
	for (unsigned i = 0; i < cfg->nr_disks; i++)
		n += cfg->disk[i].guest == guest;
	return n;
}

static int plug(struct devices *d, struct device *dev)
{
	gpa_t base;
	unsigned gsi;

	if (d->p.cfg->guest[d->p.guest].transport == TRANSPORT_PCI)
		return virtio_pci_create(&dev->pci, dev->dev, d->p.pci);
	arch_virtio_mmio_slot((unsigned)(dev - d->dev), &base, &gsi);
	return virtio_mmio_create(&dev->mmio, dev->dev, base, gsi);
}

static int add_nic(struct devices *d, struct device *dev, unsigned index)
{
	const struct nic_config *nic = &d->p.cfg->nic[index];
	const struct nic_backend *b = &d->p.nics[index];
	struct netswitch_port np = { 0 };
	struct carrier *carrier;
	int rc;

	dev->kind = DEV_NET;
	dev->index = index;
	rc = virtio_net_create(&dev->net, nic->full_name, nic->mac, d->p.loop, d->p.plat);
	if (rc)
		return rc;
	dev->dev = virtio_net_dev(dev->net);
	if (b->tap_fd >= 0) {
		rc = tap_create(&dev->tap, nic->full_name, b->tap_fd, d->p.loop);
		if (rc)
			return rc;
		np.uplink = tap_carrier(dev->tap);
	}
	np.port = virtio_net_port(dev->net);
	np.promiscuous = nic->promiscuous;
	if (nic->peer >= 0)
		np.peer_mac = d->p.cfg->nic[nic->peer].mac;
	rc = netswitch_attach(b->sw, &np, &carrier);
	if (rc)
		return rc;
	dev->sw = b->sw;
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
	unsigned n = devices_count(cfg, params->guest);
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
		what = "virtio transport";
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

static void stop_one(void *arg)
{
	virtio_dev_stop(arg);
}

void devices_stop(struct devices *d)
{
	for (unsigned i = 0; i < d->nr; i++)
		loop_call(d->dev[i].dev->loop, stop_one, d->dev[i].dev);
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

static struct device *find_nic(struct devices *d, unsigned nic)
{
	for (unsigned i = 0; i < d->nr; i++) {
		if (d->dev[i].kind == DEV_NET && d->dev[i].index == nic)
			return &d->dev[i];
	}
	return NULL;
}

int devices_nic_info(struct devices *d, unsigned nic, struct nic_info *out)
{
	struct device *dev = find_nic(d, nic);

	if (!dev)
		return -ENOENT;
	nic_info_read(out, virtio_net_port(dev->net), dev->dev, dev->sw);
	return 0;
}

int devices_nic_swap(struct devices *d, unsigned nic, bool pin, enum binding b)
{
	struct device *dev = find_nic(d, nic);

	if (!dev)
		return -ENOENT;
	if (!dev->sw)
		return -ENOTSUP;
	return netswitch_command(dev->sw, virtio_net_port(dev->net), pin, b);
}
