/*
 * virtio over PCI, modern devices only. Source: VIRTIO 1.2, section 4.1.
 *
 * One 32-bit memory BAR holds everything, one page each:
 *
 *    0x0000 common configuration   0x1000 ISR status   0x2000 device configuration
 *    0x3000 notifications          0x4000 MSI-X table  0x5000 MSI-X pending bits
 *
 * Threads. Register accesses arrive on vCPU threads. What concerns the device (common and device
 * configuration) is carried to its loop; the rest stays where it is: the ISR status is guarded by
 * isr_lock, MSI-X by the PCI function's lock. Doorbells are eventfds that the kernel fills
 * (ioeventfd) and the loop watches; a doorbell write that reaches user space after all (no
 * ioeventfd to be had, or the VIRTIO_PCI_CAP_PCI_CFG window) fills the same eventfd.
 *
 * Interrupts may be asked for by any thread: the vectors are atomic, and isr_lock keeps "status bit
 * set, line high" and "status read, line low" from interleaving. Order of locks: isr_lock, then
 * those of base/pci.h's interrupt path; never host->lock.
 */
#include "virtio/transport.h"

#include <endian.h>
#include <errno.h>
#include <linux/virtio_config.h>
#include <linux/virtio_ids.h>
#include <linux/virtio_pci.h>
#include <stdlib.h>
#include <string.h>

#include "virtio/doorbell.h"

#define BAR		  0
#define BAR_BYTES	  KIB(32)
#define PAGE		  0x1000
#define COMMON_OFFSET	  0x0000
#define COMMON_BYTES	  sizeof(struct virtio_pci_common_cfg)
#define ISR_OFFSET	  0x1000
#define DEVICE_OFFSET	  0x2000
#define NOTIFY_OFFSET	  0x3000
#define NOTIFY_MULTIPLIER 4
#define MSIX_TABLE_OFFSET 0x4000
#define MSIX_PBA_OFFSET	  0x5000

#define ISR_QUEUE  1
#define ISR_CONFIG 2

#define VENDOR_QUMRANET 0x1af4
#define DEVICE_MODERN	0x1040
#define SUBSYSTEM	0x1100 /* non-transitional devices: 0x40 or higher (4.1.2.1) */

struct virtio_pci;

struct notify {
	struct doorbell bell;
	gpa_t gpa; /* where the kernel watches; only while `set`; host->lock */
	bool set;
};

struct virtio_pci {
	struct pci_fn fn;
	struct virtio_dev *dev;
	struct notify notify[VIRTIO_MAX_QUEUES];
	unsigned pci_cfg_cap;

	/* the loop's */
	uint32_t device_feature_select, driver_feature_select;
	uint16_t queue_select;

	/* written on the loop, read by whoever interrupts */
	_Atomic uint16_t config_vector;
	_Atomic uint16_t queue_vector[VIRTIO_MAX_QUEUES];

	pthread_mutex_t isr_lock;
	uint8_t isr; /* guarded by isr_lock */
};

/* Interrupts; any thread */

static void interrupt(struct virtio_pci *vp, uint8_t isr_bit, uint16_t vector)
{
	if (pci_msix_enabled(&vp->fn)) {
		/* VIRTIO_MSI_NO_VECTOR is out of range and delivers nothing. */
		pci_msix_signal(&vp->fn, vector);
		return;
	}
	pthread_mutex_lock(&vp->isr_lock);
	vp->isr |= isr_bit;
	pci_intx_set(&vp->fn, true);
	pthread_mutex_unlock(&vp->isr_lock);
}

/* Reading clears and lowers the line (4.1.4.5). */
static uint8_t isr_take(struct virtio_pci *vp)
{
	uint8_t isr;

	pthread_mutex_lock(&vp->isr_lock);
	isr = vp->isr;
	vp->isr = 0;
	pci_intx_set(&vp->fn, false);
	pthread_mutex_unlock(&vp->isr_lock);
	return isr;
}

static void notify_queue(struct virtio_dev *dev, unsigned q)
{
	struct virtio_pci *vp = dev->transport_ctx;

	interrupt(vp, ISR_QUEUE, atomic_load(&vp->queue_vector[q]));
}

static void notify_config(struct virtio_dev *dev)
{
	struct virtio_pci *vp = dev->transport_ctx;

	interrupt(vp, ISR_CONFIG, atomic_load(&vp->config_vector));
}

static int lend_doorbell(struct virtio_dev *dev, unsigned q, struct loop *loop, struct loop_fd *h)
{
	struct virtio_pci *vp = dev->transport_ctx;

	return doorbell_lend(&vp->notify[q].bell, loop, h);
}

static void doorbell_is_back(struct virtio_dev *dev, unsigned q)
{
	struct virtio_pci *vp = dev->transport_ctx;

	doorbell_back(&vp->notify[q].bell);
}

static const struct virtio_transport_ops transport_ops = {
	.notify_queue = notify_queue,
	.notify_config = notify_config,
	.lend_doorbell = lend_doorbell,
	.doorbell_back = doorbell_is_back,
};

/* The BAR moves: the kernel has to watch other addresses. Under host->lock. */
static void bar_mapped(struct pci_fn *fn, unsigned bar, bool mapped)
{
	struct virtio_pci *vp = container_of(fn, struct virtio_pci, fn);
	struct platform *plat = vp->dev->plat;

	for (unsigned q = 0; q < vp->dev->nr_queues; q++) {
		struct notify *d = &vp->notify[q];

		if (d->set)
			plat->ops->doorbell_del(plat, d->gpa, 0, d->bell.h.fd);
		d->set = false;
		if (!mapped)
			continue;
		d->gpa = fn->bar[bar].region.base + NOTIFY_OFFSET + q * NOTIFY_MULTIPLIER;
		/* Without it doorbells come the slow way, through bar_write(). */
		d->set = plat->ops->doorbell_add(plat, d->gpa, 0, d->bell.h.fd) == 0;
		if (!d->set)
			log_limited(&fn->host->log, LOG_WARN, fn->name,
				    "queue %u has no ioeventfd: doorbells cost an exit", q);
	}
}

/* Common configuration (4.1.4.3); on the loop */

#define REG(field) offsetof(struct virtio_pci_common_cfg, field)

static struct virtq *selected(struct virtio_pci *vp)
{
	return vp->queue_select < vp->dev->nr_queues ? &vp->dev->vq[vp->queue_select] : NULL;
}

static uint32_t feature_word(uint64_t features, uint32_t select)
{
	return select < 2 ? (uint32_t)(features >> (32 * select)) : 0;
}

/* The registers of the selected queue; one that does not exist reads as 0 (size 0: no queue). */
static uint32_t queue_read(struct virtio_pci *vp, unsigned reg)
{
	struct virtq *vq = selected(vp);

	if (!vq)
		return reg == REG(queue_msix_vector) ? VIRTIO_MSI_NO_VECTOR : 0;
	switch (reg) {
	case REG(queue_size):
		return vq->size;
	case REG(queue_msix_vector):
		return atomic_load(&vp->queue_vector[vp->queue_select]);
	case REG(queue_enable):
		return vq->enabled;
	case REG(queue_notify_off):
		return vp->queue_select;
	case REG(queue_desc_lo):
		return (uint32_t)vq->desc_gpa;
	case REG(queue_desc_hi):
		return (uint32_t)(vq->desc_gpa >> 32);
	case REG(queue_avail_lo):
		return (uint32_t)vq->avail_gpa;
	case REG(queue_avail_hi):
		return (uint32_t)(vq->avail_gpa >> 32);
	case REG(queue_used_lo):
		return (uint32_t)vq->used_gpa;
	case REG(queue_used_hi):
		return (uint32_t)(vq->used_gpa >> 32);
	default:
		return 0;
	}
}

static uint32_t common_read(struct virtio_pci *vp, unsigned reg)
{
	struct virtio_dev *dev = vp->dev;

	switch (reg) {
	case REG(device_feature_select):
		return vp->device_feature_select;
	case REG(device_feature):
		return feature_word(dev->offered, vp->device_feature_select);
	case REG(guest_feature_select):
		return vp->driver_feature_select;
	case REG(guest_feature):
		return feature_word(dev->acked, vp->driver_feature_select);
	case REG(msix_config):
		return atomic_load(&vp->config_vector);
	case REG(num_queues):
		return dev->nr_queues;
	case REG(device_status):
		return dev->status;
	case REG(config_generation):
		return atomic_load(&dev->config_generation) & 0xff;
	case REG(queue_select):
		return vp->queue_select;
	default:
		return queue_read(vp, reg);
	}
}

/* A vector that there is not reads back as none: so the driver learns of it (4.1.5.1.2.1). */
static uint16_t usable_vector(const struct virtio_pci *vp, uint32_t vector)
{
	return vector < vp->fn.nr_msix ? (uint16_t)vector : VIRTIO_MSI_NO_VECTOR;
}

static void vectors_reset(struct virtio_pci *vp)
{
	atomic_store(&vp->config_vector, VIRTIO_MSI_NO_VECTOR);
	for (unsigned q = 0; q < VIRTIO_MAX_QUEUES; q++)
		atomic_store(&vp->queue_vector[q], VIRTIO_MSI_NO_VECTOR);
}

static void status_write(struct virtio_pci *vp, uint8_t status)
{
	virtio_set_status(vp->dev, status);
	if (status)
		return;
	vectors_reset(vp);
	isr_take(vp);
	vp->device_feature_select = 0;
	vp->driver_feature_select = 0;
	vp->queue_select = 0;
}

static void queue_write(struct virtio_pci *vp, unsigned reg, uint32_t value)
{
	struct virtio_dev *dev = vp->dev;
	unsigned q = vp->queue_select;

	if (!selected(vp))
		return;
	switch (reg) {
	case REG(queue_size):
		virtio_queue_set_size(dev, q, value);
		break;
	case REG(queue_msix_vector):
		atomic_store(&vp->queue_vector[q], usable_vector(vp, value));
		break;
	case REG(queue_enable):
		/* Writing 0 is forbidden to drivers (4.1.4.3.2). */
		if (value == 1)
			virtio_queue_enable(dev, q);
		break;
	case REG(queue_desc_lo):
	case REG(queue_desc_hi):
		virtio_queue_set_area(dev, q, VIRTIO_QUEUE_DESC, reg == REG(queue_desc_hi), value);
		break;
	case REG(queue_avail_lo):
	case REG(queue_avail_hi):
		virtio_queue_set_area(dev, q, VIRTIO_QUEUE_AVAIL, reg == REG(queue_avail_hi),
				      value);
		break;
	case REG(queue_used_lo):
	case REG(queue_used_hi):
		virtio_queue_set_area(dev, q, VIRTIO_QUEUE_USED, reg == REG(queue_used_hi), value);
		break;
	default:
		break; /* read-only */
	}
}

static void common_write(struct virtio_pci *vp, unsigned reg, uint32_t value)
{
	switch (reg) {
	case REG(device_feature_select):
		vp->device_feature_select = value;
		break;
	case REG(guest_feature_select):
		vp->driver_feature_select = value;
		break;
	case REG(guest_feature):
		virtio_set_driver_features(vp->dev, vp->driver_feature_select, value);
		break;
	case REG(msix_config):
		atomic_store(&vp->config_vector, usable_vector(vp, value));
		break;
	case REG(device_status):
		status_write(vp, (uint8_t)value);
		break;
	case REG(queue_select):
		vp->queue_select = (uint16_t)value;
		break;
	default:
		queue_write(vp, reg, value);
		break;
	}
}

/* Width of the register at an offset; 0: none begins there. */
static unsigned reg_width(unsigned reg)
{
	if (reg < REG(msix_config))
		return reg % 4 ? 0 : 4;
	if (reg == REG(device_status) || reg == REG(config_generation))
		return 1;
	if (reg < REG(queue_desc_lo))
		return reg % 2 ? 0 : 2;
	return reg < COMMON_BYTES && reg % 4 == 0 ? 4 : 0;
}

/* One access on its way to the loop. */
struct access {
	struct virtio_pci *vp;
	unsigned offset, size;
	bool write;
	uint64_t value;
};

static void common_access(struct access *a)
{
	unsigned width = reg_width(a->offset);

	/* Drivers use a register's own width (4.1.3.1); an address may also be written in one go.
	 * Any other access gives 0, or nothing. */
	if (a->size == 8 && width == 4 && a->offset >= REG(queue_desc_lo) && a->offset % 8 == 0) {
		if (a->write) {
			common_write(a->vp, a->offset, (uint32_t)a->value);
			common_write(a->vp, a->offset + 4, (uint32_t)(a->value >> 32));
		} else {
			a->value = common_read(a->vp, a->offset);
			a->value |= (uint64_t)common_read(a->vp, a->offset + 4) << 32;
		}
	} else if (width && a->size == width) {
		if (a->write)
			common_write(a->vp, a->offset, (uint32_t)a->value);
		else
			a->value = common_read(a->vp, a->offset);
	} else if (!a->write) {
		a->value = 0;
	}
}

static void on_loop(void *arg)
{
	struct access *a = arg;
	struct virtio_dev *dev = a->vp->dev;
	uint64_t le = 0;

	if (a->offset < COMMON_OFFSET + PAGE) {
		common_access(a);
	} else if (a->write) {
		le = htole64(a->value);
		if (dev->ops->config_write)
			dev->ops->config_write(dev, a->offset - DEVICE_OFFSET, &le, a->size);
	} else {
		if (dev->ops->config_read)
			dev->ops->config_read(dev, a->offset - DEVICE_OFFSET, &le, a->size);
		a->value = le64toh(le);
	}
}

/* The BAR; vCPU threads, without any lock */

static bool on_page(uint64_t offset, uint64_t page)
{
	return offset >= page && offset < page + PAGE;
}

static uint64_t access_read(struct virtio_pci *vp, uint64_t offset, unsigned size)
{
	if (on_page(offset, COMMON_OFFSET) || on_page(offset, DEVICE_OFFSET)) {
		struct access a = { .vp = vp, .offset = (unsigned)offset, .size = size };

		loop_call(vp->dev->loop, on_loop, &a);
		return a.value;
	}
	if (offset == ISR_OFFSET)
		return isr_take(vp);
	if (pci_msix_bar_covers(&vp->fn, BAR, offset))
		return pci_msix_bar_read(&vp->fn, offset, size);
	return 0;
}

static void access_write(struct virtio_pci *vp, uint64_t offset, uint64_t value, unsigned size)
{
	if (on_page(offset, COMMON_OFFSET) || on_page(offset, DEVICE_OFFSET)) {
		struct access a = { .vp = vp,
				    .offset = (unsigned)offset,
				    .size = size,
				    .write = true,
				    .value = value };

		loop_call(vp->dev->loop, on_loop, &a);
	} else if (on_page(offset, NOTIFY_OFFSET)) {
		unsigned q = (unsigned)(offset - NOTIFY_OFFSET) / NOTIFY_MULTIPLIER;

		if (q < vp->dev->nr_queues)
			doorbell_ring(&vp->notify[q].bell);
	} else if (pci_msix_bar_covers(&vp->fn, BAR, offset)) {
		pci_msix_bar_write(&vp->fn, offset, value, size);
	}
}

static uint64_t bar_read(struct bus_region *r, uint64_t offset, unsigned size)
{
	return access_read(r->opaque, offset, size);
}

static void bar_write(struct bus_region *r, uint64_t offset, uint64_t value, unsigned size)
{
	access_write(r->opaque, offset, value, size);
}

static const struct bus_ops bar_ops = { .read = bar_read, .write = bar_write };

/*
 * The window in configuration space (4.1.4.9): an access to its data field is one to the place in
 * the BAR that the guest has written into the other fields, so those are checked here.
 */
static bool window_target(struct virtio_pci *vp, unsigned offset, unsigned size, uint64_t *target)
{
	struct pci_fn *fn = &vp->fn;
	unsigned cap = vp->pci_cfg_cap;
	uint32_t bar = pci_cfg_peek(fn, cap + VIRTIO_PCI_CAP_BAR, 1);
	uint32_t length = pci_cfg_peek(fn, cap + VIRTIO_PCI_CAP_LENGTH, 4);

	*target = pci_cfg_peek(fn, cap + VIRTIO_PCI_CAP_OFFSET, 4);
	return offset == fn->hook_base && bar == BAR && size == length && *target % size == 0 &&
	       *target <= BAR_BYTES - size;
}

static uint32_t window_read(struct pci_fn *fn, unsigned offset, unsigned size)
{
	struct virtio_pci *vp = container_of(fn, struct virtio_pci, fn);
	uint64_t target;

	if (!window_target(vp, offset, size, &target))
		return 0;
	return (uint32_t)access_read(vp, target, size);
}

static void window_write(struct pci_fn *fn, unsigned offset, uint32_t value, unsigned size)
{
	struct virtio_pci *vp = container_of(fn, struct virtio_pci, fn);
	uint64_t target;

	if (window_target(vp, offset, size, &target))
		access_write(vp, target, value, size);
}

static const struct pci_fn_ops fn_ops = {
	.bar_mapped = bar_mapped,
	.cfg_hook_read = window_read,
	.cfg_hook_write = window_write,
};

/* Building it */

static int add_virtio_cap(struct pci_fn *fn, uint8_t type, uint32_t offset, uint32_t length,
			  unsigned extra)
{
	struct virtio_pci_cap cap = {
		.cap_len = (uint8_t)(sizeof(cap) + extra),
		.cfg_type = type,
		.bar = BAR,
		.offset = htole32(offset),
		.length = htole32(length),
	};
	int at = pci_add_cap(fn, 0x09 /* vendor specific */, cap.cap_len);

	/* The first two bytes, id and next, are the list's. */
	if (at >= 0)
		memcpy(&fn->cfg[at + 2], (char *)&cap + 2, sizeof(cap) - 2);
	return at;
}

static int add_caps(struct virtio_pci *vp)
{
	struct pci_fn *fn = &vp->fn;
	uint32_t multiplier = htole32(NOTIFY_MULTIPLIER);
	int at;

	at = add_virtio_cap(fn, VIRTIO_PCI_CAP_COMMON_CFG, COMMON_OFFSET, COMMON_BYTES, 0);
	if (at < 0)
		return at;
	at = add_virtio_cap(fn, VIRTIO_PCI_CAP_NOTIFY_CFG, NOTIFY_OFFSET,
			    vp->dev->nr_queues * NOTIFY_MULTIPLIER, 4);
	if (at < 0)
		return at;
	memcpy(&fn->cfg[at + sizeof(struct virtio_pci_cap)], &multiplier, 4);
	at = add_virtio_cap(fn, VIRTIO_PCI_CAP_ISR_CFG, ISR_OFFSET, 1, 0);
	if (at < 0)
		return at;
	at = add_virtio_cap(fn, VIRTIO_PCI_CAP_DEVICE_CFG, DEVICE_OFFSET, PAGE, 0);
	if (at < 0)
		return at;
	at = add_virtio_cap(fn, VIRTIO_PCI_CAP_PCI_CFG, 0, 0, 4);
	if (at < 0)
		return at;
	vp->pci_cfg_cap = (unsigned)at;
	fn->wmask[at + VIRTIO_PCI_CAP_BAR] = 0xff;
	memset(&fn->wmask[at + VIRTIO_PCI_CAP_OFFSET], 0xff, 8); /* offset and length */
	fn->hook_base = (unsigned)at + sizeof(struct virtio_pci_cap);
	fn->hook_bytes = 4;
	return pci_msix_init(fn, vp->dev->nr_queues + 1, BAR, MSIX_TABLE_OFFSET, MSIX_PBA_OFFSET);
}

static uint32_t class_code(uint16_t device_id)
{
	switch (device_id) {
	case VIRTIO_ID_NET:
		return 0x020000;
	case VIRTIO_ID_BLOCK:
		return 0x010000;
	case VIRTIO_ID_CONSOLE:
		return 0x078000;
	default:
		return 0xff0000;
	}
}

static void unwatch_doorbells(void *arg)
{
	struct virtio_pci *vp = arg;

	for (unsigned q = 0; q < vp->dev->nr_queues; q++)
		doorbell_unwatch(&vp->notify[q].bell);
}

struct watch {
	struct virtio_pci *vp;
	int rc;
};

static void watch_doorbells(void *arg)
{
	struct watch *w = arg;

	for (unsigned q = 0; q < w->vp->dev->nr_queues && !w->rc; q++)
		w->rc = doorbell_watch(&w->vp->notify[q].bell);
}

static int doorbells_init(struct virtio_pci *vp)
{
	struct watch w = { .vp = vp };

	for (unsigned q = 0; q < vp->dev->nr_queues; q++) {
		int err = doorbell_open(&vp->notify[q].bell, vp->dev, q);

		if (err)
			return err;
	}
	loop_call(vp->dev->loop, watch_doorbells, &w);
	return w.rc;
}

int virtio_pci_create(struct virtio_pci **out, struct virtio_dev *dev, struct pci_host *host)
{
	const struct pci_ids ids = {
		.vendor = VENDOR_QUMRANET,
		.device = DEVICE_MODERN + dev->device_id,
		.subsystem_vendor = VENDOR_QUMRANET,
		.subsystem = SUBSYSTEM,
		.class_code = class_code(dev->device_id),
		.revision = 1,
	};
	struct virtio_pci *vp = calloc(1, sizeof(*vp));
	int rc;

	if (!vp)
		return -ENOMEM;
	vp->dev = dev;
	for (unsigned q = 0; q < VIRTIO_MAX_QUEUES; q++)
		vp->notify[q].bell.h.fd = -1;
	pthread_mutex_init(&vp->isr_lock, NULL);
	vectors_reset(vp);
	pci_fn_init(&vp->fn, dev->name, dev->plat, &ids, &fn_ops);

	rc = doorbells_init(vp);
	if (rc)
		goto out;
	rc = pci_set_bar(&vp->fn, BAR, PCI_BAR_MEM32, BAR_BYTES, &bar_ops, vp);
	if (rc)
		goto out;
	rc = add_caps(vp);
	if (rc)
		goto out;
	dev->transport = &transport_ops;
	dev->transport_ctx = vp;
	rc = pci_host_add(host, &vp->fn);
	if (rc)
		goto out;
	*out = vp;
	return 0;
out:
	virtio_pci_destroy(vp);
	return rc;
}

void virtio_pci_destroy(struct virtio_pci *vp)
{
	if (!vp)
		return;
	pci_fn_fini(&vp->fn); /* unmaps the BAR, and the doorbells with it */
	loop_call(vp->dev->loop, unwatch_doorbells, vp);
	for (unsigned q = 0; q < VIRTIO_MAX_QUEUES; q++)
		doorbell_close(&vp->notify[q].bell);
	vp->dev->transport = NULL;
	vp->dev->transport_ctx = NULL;
	pthread_mutex_destroy(&vp->isr_lock);
	free(vp);
}
