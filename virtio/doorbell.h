/*
 * The doorbell of one queue: an eventfd that the kernel fills when the driver writes to the
 * queue's notify register (an ioeventfd), and that the device's loop watches. For transports that
 * have one for each queue.
 */
#ifndef VIRTIO_DOORBELL_H
#define VIRTIO_DOORBELL_H

#include "base/loop.h"
#include "virtio/virtio.h"

struct doorbell {
	struct loop_fd h; /* h.fd: the eventfd; -1: not open */
	struct virtio_dev *dev;
	unsigned q;
};

/* Makes the eventfd. Errors: errno of eventfd. */
int doorbell_open(struct doorbell *d, struct virtio_dev *dev, unsigned q);
void doorbell_close(struct doorbell *d); /* idempotent; not watched any more */

/* The device's loop begins to watch it, ends. On the loop, or while it is not running. */
int doorbell_watch(struct doorbell *d);
void doorbell_unwatch(struct doorbell *d); /* idempotent; one that was never opened is zeros */

/* As if the driver had rung. Any thread. */
void doorbell_ring(const struct doorbell *d);

/* See struct virtio_transport_ops. */
int doorbell_lend(struct doorbell *d, struct loop *loop, struct loop_fd *h);
void doorbell_back(struct doorbell *d);

#endif
