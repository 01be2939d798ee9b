/*
 * What is common to all virtio devices: negotiation, device status, faults of the guest.
 * Source: VIRTIO 1.2, sections 2.1 (status), 2.2 (features), 3.1 (initialisation).
 *
 * Thread: the device's loop, for everything but virtio_publish() of a queue that another thread
 * serves under its own lock (the receive queue of a NIC). No locks.
 */
#include "virtio/virtio.h"

#include <errno.h>
#include <linux/virtio_config.h>
#include <linux/virtio_ring.h>
#include <string.h>

#define FEATURE(bit) (1ull << (bit))

/* Bits that a driver may set; NEEDS_RESET is ours. */
#define STATUS_DRIVER_BITS                                                                  \
	(VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER | VIRTIO_CONFIG_S_DRIVER_OK | \
	 VIRTIO_CONFIG_S_FEATURES_OK | VIRTIO_CONFIG_S_FAILED)

void virtio_dev_init(struct virtio_dev *dev, const char *name, uint16_t device_id, uint64_t offered,
		     const uint16_t *queue_sizes, unsigned nr_queues,
		     const struct virtio_dev_ops *ops, struct loop *loop, struct platform *plat)
{
	memset(dev, 0, sizeof(*dev));
	dev->name = name;
	dev->device_id = device_id;
	dev->offered = offered | FEATURE(VIRTIO_F_VERSION_1) |
		       FEATURE(VIRTIO_RING_F_INDIRECT_DESC) | FEATURE(VIRTIO_RING_F_EVENT_IDX);
	dev->ops = ops;
	dev->loop = loop;
	dev->plat = plat;
	dev->nr_queues = nr_queues;
	for (unsigned q = 0; q < nr_queues; q++)
		virtq_reset(&dev->vq[q], queue_sizes[q]);
}

/* No queue is served after this; status keeps what the driver is to see. */
static void quiesce(struct virtio_dev *dev)
{
	if (!dev->live)
		return;
	dev->live = false;
	dev->ops->stop(dev);
}

static void reset(struct virtio_dev *dev)
{
	quiesce(dev);
	dev->status = 0;
	dev->acked = 0;
	for (unsigned q = 0; q < dev->nr_queues; q++)
		virtq_reset(&dev->vq[q], dev->vq[q].max_size);
}

static void needs_reset(struct virtio_dev *dev)
{
	if (dev->status & VIRTIO_CONFIG_S_NEEDS_RESET)
		return;
	dev->status |= VIRTIO_CONFIG_S_NEEDS_RESET;
	quiesce(dev);
	/* 2.1.2: told only a driver that has come as far as DRIVER_OK. */
	if (dev->status & VIRTIO_CONFIG_S_DRIVER_OK && dev->transport) {
		atomic_fetch_add_explicit(&dev->interrupts, 1, memory_order_relaxed);
		dev->transport->notify_config(dev);
	}
}

void virtio_guest_fault(struct virtio_dev *dev, const char *what)
{
	dev->guest_faults++;
	log_limited(&dev->fault_log, LOG_WARN, dev->name, "guest fault: %s; device needs reset",
		    what);
	needs_reset(dev);
}

void virtio_set_driver_features(struct virtio_dev *dev, unsigned word, uint32_t bits)
{
	/* Nothing can be taken back after FEATURES_OK (3.1.1). */
	if (word > 1 || dev->status & VIRTIO_CONFIG_S_FEATURES_OK)
		return;
	dev->acked &= ~(0xffffffffull << (32 * word));
	dev->acked |= (uint64_t)bits << (32 * word);
}

/* A driver that reads FEATURES_OK back as 0 knows that its choice was refused. */
static bool features_ok(const struct virtio_dev *dev)
{
	return !(dev->acked & ~dev->offered) && virtio_has(dev, VIRTIO_F_VERSION_1);
}

static void driver_ok(struct virtio_dev *dev)
{
	int rc;

	if (!(dev->status & VIRTIO_CONFIG_S_FEATURES_OK)) {
		virtio_guest_fault(dev, "DRIVER_OK without FEATURES_OK");
		return;
	}
	dev->status |= VIRTIO_CONFIG_S_DRIVER_OK;
	dev->live = true;
	rc = dev->ops->start(dev);
	if (rc && dev->live) {
		log_error(dev->name, "cannot start: %s", strerror(-rc));
		needs_reset(dev);
	}
	/* What was made available before DRIVER_OK needs no doorbell afterwards. */
	for (unsigned q = 0; q < dev->nr_queues && dev->live; q++) {
		if (dev->vq[q].enabled)
			dev->ops->kick(dev, q);
	}
}

void virtio_set_status(struct virtio_dev *dev, uint8_t status)
{
	uint8_t set;

	if (!status) {
		reset(dev);
		return;
	}
	/* Only reset clears bits, and only reset leads out of NEEDS_RESET. */
	set = status & STATUS_DRIVER_BITS & ~dev->status;
	if (dev->status & VIRTIO_CONFIG_S_NEEDS_RESET)
		set &= VIRTIO_CONFIG_S_FAILED;

	dev->status |= set & ~(VIRTIO_CONFIG_S_FEATURES_OK | VIRTIO_CONFIG_S_DRIVER_OK);
	if (set & VIRTIO_CONFIG_S_FEATURES_OK && features_ok(dev))
		dev->status |= VIRTIO_CONFIG_S_FEATURES_OK;
	if (set & VIRTIO_CONFIG_S_DRIVER_OK)
		driver_ok(dev);
}

/* The queue, if the driver may still set it up. */
static struct virtq *queue_in_setup(struct virtio_dev *dev, unsigned q)
{
	if (q >= dev->nr_queues || dev->vq[q].enabled || dev->live)
		return NULL;
	return &dev->vq[q];
}

void virtio_queue_set_size(struct virtio_dev *dev, unsigned q, uint32_t size)
{
	struct virtq *vq = queue_in_setup(dev, q);

	/* 0 is refused by virtq_enable(), as is everything else that fits but is wrong. */
	if (vq)
		vq->size = size <= UINT16_MAX ? (uint16_t)size : 0;
}

void virtio_queue_set_area(struct virtio_dev *dev, unsigned q, enum virtio_queue_area area,
			   bool high, uint32_t bits)
{
	struct virtq *vq = queue_in_setup(dev, q);
	unsigned shift = high ? 32 : 0;
	gpa_t *gpa;

	if (!vq)
		return;
	switch (area) {
	case VIRTIO_QUEUE_DESC:
		gpa = &vq->desc_gpa;
		break;
	case VIRTIO_QUEUE_AVAIL:
		gpa = &vq->avail_gpa;
		break;
	case VIRTIO_QUEUE_USED:
		gpa = &vq->used_gpa;
		break;
	default:
		return;
	}
	*gpa = (*gpa & ~(0xffffffffull << shift)) | (uint64_t)bits << shift;
}

void virtio_queue_enable(struct virtio_dev *dev, unsigned q)
{
	struct virtq *vq = queue_in_setup(dev, q);

	if (!vq || dev->status & VIRTIO_CONFIG_S_NEEDS_RESET)
		return;
	if (!(dev->status & VIRTIO_CONFIG_S_FEATURES_OK)) {
		virtio_guest_fault(dev, "queue enabled before FEATURES_OK");
		return;
	}
	switch (virtq_enable(vq, dev->plat->mem, virtio_has(dev, VIRTIO_RING_F_EVENT_IDX),
			     virtio_has(dev, VIRTIO_RING_F_INDIRECT_DESC))) {
	case 0:
		break;
	case -EFAULT:
		virtio_guest_fault(dev, "queue outside of guest memory");
		break;
	default:
		virtio_guest_fault(dev, "queue of a bad size or alignment");
		break;
	}
}

void virtio_queue_disable(struct virtio_dev *dev, unsigned q)
{
	if (q < dev->nr_queues && !dev->live)
		virtq_reset(&dev->vq[q], dev->vq[q].max_size);
}

void virtio_kick(struct virtio_dev *dev, unsigned q)
{
	if (!dev->live || q >= dev->nr_queues || !dev->vq[q].enabled)
		return;
	atomic_fetch_add_explicit(&dev->doorbells, 1, memory_order_relaxed);
	dev->ops->kick(dev, q);
}

void virtio_publish(struct virtio_dev *dev, unsigned q)
{
	if (!virtq_publish(&dev->vq[q]) || !dev->transport)
		return;
	atomic_fetch_add_explicit(&dev->interrupts, 1, memory_order_relaxed);
	dev->transport->notify_queue(dev, q);
}

void virtio_config_changed(struct virtio_dev *dev)
{
	atomic_fetch_add(&dev->config_generation, 1);
	if (!(dev->status & VIRTIO_CONFIG_S_DRIVER_OK) || !dev->transport)
		return;
	atomic_fetch_add_explicit(&dev->interrupts, 1, memory_order_relaxed);
	dev->transport->notify_config(dev);
}

void virtio_dev_stop(struct virtio_dev *dev)
{
	quiesce(dev);
}
