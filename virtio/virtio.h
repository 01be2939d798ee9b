/*
 * A virtio device as its transport sees it. Source: VIRTIO 1.2, chapter 2.
 *
 * Ownership and threads. A device belongs to one loop (`loop`): the guest's I/O thread, or a thread
 * of its own where it may block (a disk). All state in struct virtio_dev and in its queues is
 * touched on that loop only. A transport gets register accesses on vCPU threads and carries each
 * to the loop with loop_call(); doorbells (ioeventfd) arrive on the loop by themselves.
 *
 * Life of a device (device_status, 2.1):
 *
 *   reset ──ACKNOWLEDGE, DRIVER──▶ features ──FEATURES_OK──▶ set up queues ──DRIVER_OK──▶ live
 *     ▲                                                                                   │
 *     └────────────── driver writes 0 ◀── DEVICE_NEEDS_RESET ◀── guest broke a rule ──────┘
 *
 *   Until `live` no queue is served. After DEVICE_NEEDS_RESET none is served until reset.
 */
#ifndef VIRTIO_VIRTIO_H
#define VIRTIO_VIRTIO_H

#include <stdatomic.h>

#include "base/log.h"
#include "base/loop.h"
#include "base/platform.h"
#include "virtio/virtqueue.h"

#define VIRTIO_MAX_QUEUES 4

struct virtio_dev;

struct virtio_dev_ops {
	/* The driver has set DRIVER_OK: features and queues are fixed. Errors put the device into
	 * NEEDS_RESET. */
	int (*start)(struct virtio_dev *dev);
	/* Stop serving. After return the device touches neither rings nor guest memory. Also called
	 * when the machine ends. Must be idempotent. */
	void (*stop)(struct virtio_dev *dev);
	/* The driver rang the doorbell of queue q (or may have; spurious calls are allowed). */
	void (*kick)(struct virtio_dev *dev, unsigned q);
	/* Device configuration space, [offset, offset + len), little-endian; len 1, 2, 4 or 8. Out
	 * of range: reads give zeros, writes are ignored. Either may be NULL. */
	void (*config_read)(struct virtio_dev *dev, unsigned offset, void *data, unsigned len);
	void (*config_write)(struct virtio_dev *dev, unsigned offset, const void *data,
			     unsigned len);
};

/* What a transport does for a device. Called on the device's loop, or (notify_queue of a receive
 * queue) by a sender that holds the port's receive lock. */
struct virtio_transport_ops {
	void (*notify_queue)(struct virtio_dev *dev, unsigned q);
	void (*notify_config)(struct virtio_dev *dev);
	/* Lends the doorbell of queue q: h, with a descriptor of its own that the borrower closes,
	 * is watched by `loop` (whose thread this is), and the device's own loop gets no kick any
	 * more, until doorbell_back(). NULL: there is no doorbell for one queue alone. Errors:
	 * errno of fcntl, epoll_ctl; nothing has changed then. */
	int (*lend_doorbell)(struct virtio_dev *dev, unsigned q, struct loop *loop,
			     struct loop_fd *h);
	/* Any thread. The device's loop gets a kick, if there ever was a ring. */
	void (*doorbell_back)(struct virtio_dev *dev, unsigned q);
};

struct virtio_dev {
	const char *name;   /* "alpha.eth0": for log lines */
	uint16_t device_id; /* VIRTIO_ID_* */
	uint64_t offered;   /* feature bits; VERSION_1, INDIRECT_DESC and EVENT_IDX are added by
			     * virtio_dev_init() */
	const struct virtio_dev_ops *ops;
	struct loop *loop;
	struct platform *plat;
	unsigned nr_queues;
	struct virtq vq[VIRTIO_MAX_QUEUES];

	/* private to virtio.c and the transports */
	const struct virtio_transport_ops *transport;
	void *transport_ctx; /* the transport's own */
	uint64_t acked;	     /* what the driver has accepted */
	uint8_t status;
	bool live; /* DRIVER_OK and not NEEDS_RESET */
	_Atomic uint32_t config_generation;
	_Atomic uint32_t guest_faults; /* rules broken since the machine started */
	_Atomic uint64_t interrupts, doorbells;
	struct log_limit fault_log;
};

/* queue_sizes: the maximum of each queue, powers of two up to VIRTQ_MAX_SIZE. */
void virtio_dev_init(struct virtio_dev *dev, const char *name, uint16_t device_id, uint64_t offered,
		     const uint16_t *queue_sizes, unsigned nr_queues,
		     const struct virtio_dev_ops *ops, struct loop *loop, struct platform *plat);

static inline bool virtio_has(const struct virtio_dev *dev, unsigned feature_bit)
{
	return dev->acked >> feature_bit & 1;
}

/* The rules of negotiation, once for every transport. On the device's loop. */
void virtio_set_driver_features(struct virtio_dev *dev, unsigned word, uint32_t bits);
/* The driver wrote device_status: 0 resets; DRIVER_OK enables the queues and starts the device;
 * FEATURES_OK sticks only if the accepted set is one that can be had (3.1.1). */
void virtio_set_status(struct virtio_dev *dev, uint8_t status);
/* The driver sets up queue q: its size, and either half of the address of an area. Ignored while
 * the queue is enabled; values are checked when it is. */
enum virtio_queue_area { VIRTIO_QUEUE_DESC, VIRTIO_QUEUE_AVAIL, VIRTIO_QUEUE_USED };
void virtio_queue_set_size(struct virtio_dev *dev, unsigned q, uint32_t size);
void virtio_queue_set_area(struct virtio_dev *dev, unsigned q, enum virtio_queue_area area,
			   bool high, uint32_t bits);
/* The driver wrote 1 to queue_enable / QueueReady. A second time, or while live: ignored. */
void virtio_queue_enable(struct virtio_dev *dev, unsigned q);
/* The driver wrote 0 to QueueReady. While live: ignored, only reset stops a live queue. */
void virtio_queue_disable(struct virtio_dev *dev, unsigned q);
/* A doorbell of queue q, on the loop; ignored unless live. */
void virtio_kick(struct virtio_dev *dev, unsigned q);

/* For devices: publish staged used entries of q and interrupt if the driver wants to know. */
void virtio_publish(struct virtio_dev *dev, unsigned q);
/* For devices: the guest broke a rule. Counted, logged at a limited rate, DEVICE_NEEDS_RESET and a
 * configuration interrupt; the device's stop() is called. */
void virtio_guest_fault(struct virtio_dev *dev, const char *what);
/* For devices: configuration has changed: new generation and a configuration interrupt. */
void virtio_config_changed(struct virtio_dev *dev);

/* The machine ends: stop serving. On the loop, or with the loop stopped. */
void virtio_dev_stop(struct virtio_dev *dev);

#endif
