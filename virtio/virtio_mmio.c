/*
 * virtio over MMIO, version 2. Source: VIRTIO 1.2, section 4.2.
 *
 * Threads. Register accesses arrive on vCPU threads and are carried to the device's loop;
 * InterruptStatus is atomic. Interrupts may be asked for by any thread: the line is edge-triggered
 * through an eventfd, so there is no level to keep in step with the status bits.
 *
 * Doorbells. All queues share QueueNotify, and an ioeventfd that matches every value does not tell
 * which one was meant: each ring of it looks at all queues (virtio_kick() may be called for
 * nothing). A write that reaches user space after all rings the same eventfd.
 */
#include "virtio/transport.h"

#include <endian.h>
#include <errno.h>
#include <linux/virtio_mmio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define MAGIC	0x74726976 /* "virt" */
#define VERSION 2
#define VENDOR	0x4d4d5658 /* "XVMM" */

struct virtio_mmio {
	struct virtio_dev *dev;
	struct bus_region region;
	struct loop_fd doorbell; /* an eventfd */
	unsigned gsi;
	int irq_efd;
	bool mapped, doorbell_set, irq_set;

	/* the loop's */
	uint32_t device_features_sel, driver_features_sel, queue_sel;

	_Atomic uint32_t interrupt_status; /* VIRTIO_MMIO_INT_* */
};

/* Interrupts; any thread */

static void ring(int efd)
{
	uint64_t one = 1;

	/* EAGAIN: the counter is full, so the other side has yet to look. */
	while (write(efd, &one, sizeof(one)) < 0 && errno == EINTR)
		;
}

/* Status first: the driver reads it as soon as the edge arrives. One edge a call, also while bits
 * are still set: the driver may have read them just before. */
static void interrupt(struct virtio_mmio *vm, uint32_t bit)
{
	atomic_fetch_or(&vm->interrupt_status, bit);
	ring(vm->irq_efd);
}

static void notify_queue(struct virtio_dev *dev, unsigned q)
{
	interrupt(dev->transport_ctx, VIRTIO_MMIO_INT_VRING);
}

static void notify_config(struct virtio_dev *dev)
{
	interrupt(dev->transport_ctx, VIRTIO_MMIO_INT_CONFIG);
}

static const struct virtio_transport_ops transport_ops = {
	.notify_queue = notify_queue,
	.notify_config = notify_config,
};

/* The counter is never read: watched for edges, each ring is an event. */
static void on_doorbell(struct loop_fd *h, uint32_t events)
{
	struct virtio_mmio *vm = container_of(h, struct virtio_mmio, doorbell);

	for (unsigned q = 0; q < vm->dev->nr_queues; q++)
		virtio_kick(vm->dev, q);
}

/* Registers (4.2.2); on the loop */

static uint32_t feature_word(uint64_t features, uint32_t select)
{
	return select < 2 ? (uint32_t)(features >> (32 * select)) : 0;
}

static uint32_t reg_read(struct virtio_mmio *vm, unsigned reg)
{
	struct virtio_dev *dev = vm->dev;
	const struct virtq *vq = vm->queue_sel < dev->nr_queues ? &dev->vq[vm->queue_sel] : NULL;

	switch (reg) {
	case VIRTIO_MMIO_MAGIC_VALUE:
		return MAGIC;
	case VIRTIO_MMIO_VERSION:
		return VERSION;
	case VIRTIO_MMIO_DEVICE_ID:
		return dev->device_id;
	case VIRTIO_MMIO_VENDOR_ID:
		return VENDOR;
	case VIRTIO_MMIO_DEVICE_FEATURES:
		return feature_word(dev->offered, vm->device_features_sel);
	case VIRTIO_MMIO_QUEUE_NUM_MAX:
		return vq ? vq->max_size : 0;
	case VIRTIO_MMIO_QUEUE_READY:
		return vq ? vq->enabled : 0;
	case VIRTIO_MMIO_INTERRUPT_STATUS:
		return atomic_load(&vm->interrupt_status);
	case VIRTIO_MMIO_STATUS:
		return dev->status;
	case VIRTIO_MMIO_SHM_LEN_LOW:
	case VIRTIO_MMIO_SHM_LEN_HIGH:
	case VIRTIO_MMIO_SHM_BASE_LOW:
	case VIRTIO_MMIO_SHM_BASE_HIGH:
		return ~0u; /* no shared memory region has any id */
	case VIRTIO_MMIO_CONFIG_GENERATION:
		return atomic_load(&dev->config_generation);
	default:
		return 0; /* write-only, or none */
	}
}

static void status_write(struct virtio_mmio *vm, uint32_t status)
{
	/* Only the low byte is defined, and only a true 0 is a reset. */
	if (status > 0xff)
		return;
	virtio_set_status(vm->dev, (uint8_t)status);
	if (status)
		return;
	atomic_store(&vm->interrupt_status, 0);
	vm->device_features_sel = 0;
	vm->driver_features_sel = 0;
	vm->queue_sel = 0;
}

static void reg_write(struct virtio_mmio *vm, unsigned reg, uint32_t value)
{
	struct virtio_dev *dev = vm->dev;
	unsigned q = vm->queue_sel;

	switch (reg) {
	case VIRTIO_MMIO_DEVICE_FEATURES_SEL:
		vm->device_features_sel = value;
		break;
	case VIRTIO_MMIO_DRIVER_FEATURES:
		virtio_set_driver_features(dev, vm->driver_features_sel, value);
		break;
	case VIRTIO_MMIO_DRIVER_FEATURES_SEL:
		vm->driver_features_sel = value;
		break;
	case VIRTIO_MMIO_QUEUE_SEL:
		vm->queue_sel = value;
		break;
	case VIRTIO_MMIO_QUEUE_NUM:
		virtio_queue_set_size(dev, q, value);
		break;
	case VIRTIO_MMIO_QUEUE_READY:
		if (value == 1)
			virtio_queue_enable(dev, q);
		else if (value == 0)
			virtio_queue_disable(dev, q);
		break;
	case VIRTIO_MMIO_INTERRUPT_ACK:
		atomic_fetch_and(&vm->interrupt_status, ~value);
		break;
	case VIRTIO_MMIO_STATUS:
		status_write(vm, value);
		break;
	case VIRTIO_MMIO_QUEUE_DESC_LOW:
	case VIRTIO_MMIO_QUEUE_DESC_HIGH:
		virtio_queue_set_area(dev, q, VIRTIO_QUEUE_DESC, reg == VIRTIO_MMIO_QUEUE_DESC_HIGH,
				      value);
		break;
	case VIRTIO_MMIO_QUEUE_AVAIL_LOW:
	case VIRTIO_MMIO_QUEUE_AVAIL_HIGH:
		virtio_queue_set_area(dev, q, VIRTIO_QUEUE_AVAIL,
				      reg == VIRTIO_MMIO_QUEUE_AVAIL_HIGH, value);
		break;
	case VIRTIO_MMIO_QUEUE_USED_LOW:
	case VIRTIO_MMIO_QUEUE_USED_HIGH:
		virtio_queue_set_area(dev, q, VIRTIO_QUEUE_USED, reg == VIRTIO_MMIO_QUEUE_USED_HIGH,
				      value);
		break;
	default:
		break; /* read-only, or none */
	}
}

/* One access on its way to the loop. */
struct access {
	struct virtio_mmio *vm;
	unsigned offset, size;
	bool write;
	uint64_t value;
};

static void config_access(struct access *a)
{
	struct virtio_dev *dev = a->vm->dev;
	unsigned offset = a->offset - VIRTIO_MMIO_CONFIG;
	uint64_t le = htole64(a->value);

	if (a->write) {
		if (dev->ops->config_write)
			dev->ops->config_write(dev, offset, &le, a->size);
		return;
	}
	le = 0;
	if (dev->ops->config_read)
		dev->ops->config_read(dev, offset, &le, a->size);
	a->value = le64toh(le);
}

static void on_loop(void *arg)
{
	struct access *a = arg;

	if (a->offset >= VIRTIO_MMIO_CONFIG)
		config_access(a);
	else if (a->write)
		reg_write(a->vm, a->offset, (uint32_t)a->value);
	else
		a->value = reg_read(a->vm, a->offset);
}

/* 4.2.2.2: control registers take aligned 32-bit accesses only; others give 0, or nothing. */
static bool access_ok(uint64_t offset, unsigned size)
{
	return offset >= VIRTIO_MMIO_CONFIG || (size == 4 && offset % 4 == 0);
}

/* vCPU threads */

static uint64_t mmio_read(struct bus_region *r, uint64_t offset, unsigned size)
{
	struct access a = { .vm = r->opaque, .offset = (unsigned)offset, .size = size };

	if (!access_ok(offset, size))
		return 0;
	loop_call(a.vm->dev->loop, on_loop, &a);
	return a.value;
}

static void mmio_write(struct bus_region *r, uint64_t offset, uint64_t value, unsigned size)
{
	struct access a = { .vm = r->opaque,
			    .offset = (unsigned)offset,
			    .size = size,
			    .write = true,
			    .value = value };

	if (!access_ok(offset, size))
		return;
	if (offset == VIRTIO_MMIO_QUEUE_NOTIFY)
		ring(a.vm->doorbell.fd);
	else
		loop_call(a.vm->dev->loop, on_loop, &a);
}

static const struct bus_ops mmio_ops = { .read = mmio_read, .write = mmio_write };

struct watch {
	struct virtio_mmio *vm;
	int rc;
};

static void watch_doorbell(void *arg)
{
	struct watch *w = arg;

	w->rc = loop_add(w->vm->dev->loop, &w->vm->doorbell, EPOLLIN | EPOLLET);
}

static void unwatch_doorbell(void *arg)
{
	struct virtio_mmio *vm = arg;

	loop_del(vm->dev->loop, &vm->doorbell);
}

static int connect_platform(struct virtio_mmio *vm)
{
	struct platform *plat = vm->dev->plat;
	struct watch w = { .vm = vm };
	int rc;

	loop_call(vm->dev->loop, watch_doorbell, &w);
	if (w.rc)
		return w.rc;
	rc = plat->ops->line_irqfd(plat, vm->gsi, vm->irq_efd, true);
	if (rc)
		return rc;
	vm->irq_set = true;
	rc = bus_add(plat->mmio, &vm->region);
	if (rc)
		return rc;
	vm->mapped = true;
	/* Without it doorbells come the slow way, through mmio_write(). */
	vm->doorbell_set = plat->ops->doorbell_add(plat, vm->region.base + VIRTIO_MMIO_QUEUE_NOTIFY,
						   4, vm->doorbell.fd) == 0;
	if (!vm->doorbell_set)
		log_warn(vm->dev->name, "no ioeventfd: doorbells cost an exit");
	return 0;
}

int virtio_mmio_create(struct virtio_mmio **out, struct virtio_dev *dev, gpa_t base, unsigned gsi)
{
	struct virtio_mmio *vm = calloc(1, sizeof(*vm));
	int rc;

	if (!vm)
		return -ENOMEM;
	vm->dev = dev;
	vm->gsi = gsi;
	vm->region = (struct bus_region){
		.name = dev->name,
		.base = base,
		.size_bytes = VIRTIO_MMIO_BYTES,
		.ops = &mmio_ops,
		.opaque = vm,
	};
	vm->doorbell.fn = on_doorbell;
	vm->doorbell.fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	vm->irq_efd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (vm->doorbell.fd < 0 || vm->irq_efd < 0) {
		rc = -errno;
		goto out;
	}
	dev->transport = &transport_ops;
	dev->transport_ctx = vm;
	rc = connect_platform(vm);
	if (rc)
		goto out;
	*out = vm;
	return 0;
out:
	virtio_mmio_destroy(vm);
	return rc;
}

void virtio_mmio_destroy(struct virtio_mmio *vm)
{
	struct platform *plat;

	if (!vm)
		return;
	plat = vm->dev->plat;
	if (vm->doorbell_set)
		plat->ops->doorbell_del(plat, vm->region.base + VIRTIO_MMIO_QUEUE_NOTIFY, 4,
					vm->doorbell.fd);
	if (vm->mapped)
		bus_del(plat->mmio, &vm->region);
	if (vm->irq_set)
		plat->ops->line_irqfd(plat, vm->gsi, vm->irq_efd, false);
	loop_call(vm->dev->loop, unwatch_doorbell, vm);
	if (vm->doorbell.fd >= 0)
		close(vm->doorbell.fd);
	if (vm->irq_efd >= 0)
		close(vm->irq_efd);
	vm->dev->transport = NULL;
	vm->dev->transport_ctx = NULL;
	free(vm);
}
