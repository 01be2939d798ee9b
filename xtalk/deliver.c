/*
 * Delivery of frames to ports: see deliver.h for the contract.
 *
 * Runs on the sender's thread, under the receiver's lock.
 */
#include <errno.h>

#include "base/vnet.h"
#include "xtalk/deliver.h"

void delivery_end(struct delivery *d)
{
	if (d->open)
		d->open->ops->rx_end(d->open);
	d->open = NULL;
}

bool delivery_begin(struct delivery *d, struct port *to)
{
	delivery_end(d);
	if (!to->ops->rx_begin(to))
		return false;
	d->open = to;
	d->frames = 0;
	return true;
}

static int put_one(struct delivery *d, const struct virtio_net_hdr_v1 *hdr, const uint8_t *head,
		   size_t head_len, struct iov_cursor *payload, size_t payload_len)
{
	struct port *to = d->open;
	size_t len = head_len + payload_len, done = 0;

	while (done < len) {
		unsigned cnt = ARRAY_SIZE(d->iov);
		ssize_t got = to->ops->rx_reserve(to, len - done, d->iov, &cnt);
		struct iov_cursor dst = iov_cursor(d->iov, cnt);

		if (got <= 0) {
			to->ops->rx_abort(to);
			return got == -EPROTO ? -ENOTCONN : -ENOBUFS;
		}
		if (done < head_len)
			done += iov_write(&dst, head + done, head_len - done);
		if (done >= head_len)
			done += iov_copy(&dst, payload, len - done);
	}
	to->ops->rx_commit(to, hdr, len);
	d->frames++;
	return 0;
}

int delivery_put(struct delivery *d, struct port *to, const struct frame *f)
{
	struct iov_cursor payload = iov_cursor(f->iov, f->iovcnt);
	struct offload *o = &d->offload;
	unsigned before;
	uint64_t features;
	int err;

	if (!delivery_open(d, to))
		return -ENOTCONN;
	/* Under the lock: a driver that has reset the device may have chosen others since. */
	features = atomic_load_explicit(&to->rx_features, memory_order_relaxed);
	if (!(vnet_hdr_needs(&f->hdr) & ~features))
		return put_one(d, &f->hdr, f->head, f->head_len, &payload, f->len - f->head_len);

	before = d->frames;
	err = offload_begin(o, f, features);
	while (!err && offload_next(o))
		err = put_one(d, &o->hdr, o->head, o->head_len, &o->payload, o->payload_len);
	return err == -ENOBUFS && d->frames != before ? -EMSGSIZE : err;
}
