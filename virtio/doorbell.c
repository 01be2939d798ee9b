/*
 * Doorbells of queues: see doorbell.h. The counters are never read: watched for edges, each ring is
 * an event.
 */
#include "virtio/doorbell.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define WATCHED (EPOLLIN | EPOLLET)

static void on_ring(struct loop_fd *h, uint32_t events)
{
	struct doorbell *d = container_of(h, struct doorbell, h);

	virtio_kick(d->dev, d->q);
}

int doorbell_open(struct doorbell *d, struct virtio_dev *dev, unsigned q)
{
	d->dev = dev;
	d->q = q;
	d->h = (struct loop_fd){ .fn = on_ring, .fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK) };
	return d->h.fd < 0 ? -errno : 0;
}

void doorbell_close(struct doorbell *d)
{
	if (d->h.fd >= 0)
		close(d->h.fd);
	d->h.fd = -1;
}

int doorbell_watch(struct doorbell *d)
{
	return loop_add(d->dev->loop, &d->h, WATCHED);
}

void doorbell_unwatch(struct doorbell *d)
{
	if (d->h.added) /* it may never have been opened */
		loop_del(d->dev->loop, &d->h);
}

void doorbell_ring(const struct doorbell *d)
{
	uint64_t one = 1;

	/* EAGAIN: the counter is full, so the loop has yet to look. */
	while (write(d->h.fd, &one, sizeof(one)) < 0 && errno == EINTR)
		;
}

/* The borrower has a descriptor of its own, so that it can end later than the device. First it
 * watches, then the device's loop no longer does: no ring falls in between. */
int doorbell_lend(struct doorbell *d, struct loop *loop, struct loop_fd *h)
{
	int err;

	h->fd = fcntl(d->h.fd, F_DUPFD_CLOEXEC, 0);
	if (h->fd < 0)
		return -errno;
	err = loop_add(loop, h, WATCHED);
	if (!err)
		err = loop_mod(d->dev->loop, &d->h, 0);
	if (err) {
		loop_del(loop, h);
		close(h->fd);
		h->fd = -1;
	}
	return err;
}

/* Whatever was rung meanwhile is an event now: the counter has not been read. */
void doorbell_back(struct doorbell *d)
{
	loop_mod(d->dev->loop, &d->h, WATCHED);
}
