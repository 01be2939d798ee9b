/*
 * virtio-net, receive side: the port that carriers deliver frames to.
 *
 * Theory of operation. A carrier that has a frame reserves chains until they hold it, fills them,
 * and commits. Reserved chains are popped but not pushed, so what a frame did not need is simply
 * un-popped. The vnet header goes into the first bytes of the first chain; with mergeable buffers
 * a frame may span many chains, without it must fit one.
 *
 * Threads and locks. Several threads may deliver to one NIC. The receive lock (struct net_rx)
 * is held from rx_begin() to rx_end() and covers the receive queue while the device is live. A
 * thread holds the receive lock of at most one NIC, and the NIC's own loop calls no carrier with
 * its lock held, so the lock is always the last one taken.
 *
 * A rule that the driver broke may be found by a foreign thread. The port is dead from that moment
 * on (`live` is false), and the fault is carried to the NIC's loop, the only thread that may change
 * the device's status.
 *
 * Doorbell. The driver is asked to ring only once a carrier found too few buffers: that is when
 * somebody waits for it.
 */
#include <assert.h>
#include <errno.h>

#include "base/iov.h"
#include "virtio/net_internal.h"

static struct virtio_net *net_of(struct port *p)
{
	return container_of(p, struct virtio_net, port);
}

static struct virtq *rx_queue(struct virtio_net *net)
{
	return &net->dev.vq[NET_QUEUE_RX];
}

int net_rx_init(struct virtio_net *net)
{
	return -pthread_mutex_init(&net->rx.lock, NULL);
}

void net_rx_fini(struct virtio_net *net)
{
	pthread_mutex_destroy(&net->rx.lock);
}

void net_rx_start(struct virtio_net *net)
{
	struct net_rx *rx = &net->rx;

	pthread_mutex_lock(&rx->lock);
	rx->mergeable = virtio_has(&net->dev, VIRTIO_NET_F_MRG_RXBUF);
	rx->fault = NULL;
	rx->nr_bufs = 0;
	rx->nr_staged = 0;
	rx->live = true;
	virtq_disable_doorbell(rx_queue(net));
	pthread_mutex_unlock(&rx->lock);
}

void net_rx_stop(struct virtio_net *net)
{
	pthread_mutex_lock(&net->rx.lock);
	net->rx.live = false;
	net->rx.fault = NULL;
	pthread_mutex_unlock(&net->rx.lock);
}

void net_rx_quiet(struct virtio_net *net)
{
	/* Whoever holds the lock is busy delivering and will ask for the doorbell again if it has
	 * to; waiting for him would only hold up this guest's other devices. */
	if (pthread_mutex_trylock(&net->rx.lock))
		return;
	if (net->rx.live)
		virtq_disable_doorbell(rx_queue(net));
	pthread_mutex_unlock(&net->rx.lock);
}

bool net_rx_begin(struct port *p)
{
	struct net_rx *rx = &net_of(p)->rx;

	pthread_mutex_lock(&rx->lock);
	if (rx->live)
		return true;
	pthread_mutex_unlock(&rx->lock);
	return false;
}

static ssize_t rx_fault(struct virtio_net *net, const char *why)
{
	net->rx.live = false;
	net->rx.fault = why;
	atomic_store_explicit(&net->port.rx_features, 0, memory_order_relaxed);
	loop_post(net->dev.loop, &net->fault_work);
	return -EPROTO;
}

/* As virtq_pop(); where there is nothing, the doorbell is asked for. */
static int rx_pop(struct virtio_net *net)
{
	struct virtq *vq = rx_queue(net);
	int rc = virtq_pop(vq, &net->rx.chain);

	/* Bounded: a driver that moves its index to and fro must not keep us here. */
	for (unsigned tries = 0; !rc && tries < 4; tries++) {
		if (!virtq_enable_doorbell(vq))
			break;
		rc = virtq_pop(vq, &net->rx.chain);
	}
	return rc;
}

/* Buffers that lie one behind the other in guest memory, as Linux cuts them from larger pieces,
 * are one run to whoever fills them: a long copy is cheaper than many short ones. Returns the
 * number of segments then in iov. */
static unsigned join(struct iovec *iov, unsigned used, unsigned added)
{
	struct iovec *last;

	if (!used || !added)
		return used + added;
	last = &iov[used - 1];
	if ((uint8_t *)last->iov_base + last->iov_len != iov[used].iov_base)
		return used + added;
	last->iov_len += iov[used].iov_len;
	if (added > 1)
		memmove(&iov[used], &iov[used + 1], (added - 1) * sizeof(*iov));
	return used + added - 1;
}

ssize_t net_rx_reserve(struct port *p, size_t want, struct iovec *iov, unsigned *iovcnt)
{
	struct virtio_net *net = net_of(p);
	struct net_rx *rx = &net->rx;
	struct virtq_chain *chain = &rx->chain;
	unsigned max_bufs = rx->mergeable ? NET_QUEUE_SIZE : 1;
	unsigned room = *iovcnt, used = 0;
	size_t got = 0;

	*iovcnt = 0;
	if (!rx->live)
		return -EPROTO;
	while (got < want && rx->nr_bufs < max_bufs) {
		int rc = rx_pop(net);

		if (!rc)
			break;
		if (rc < 0)
			return rx_fault(net, rx_queue(net)->why_broken);
		if (chain->nr_out)
			return rx_fault(net, "receive buffer with device-readable part");
		if (chain->in_bytes < VNET_HDR_BYTES)
			return rx_fault(net, "receive buffer shorter than a header");

		struct iov_cursor cur = iov_cursor(chain->iov, chain->nr_in);
		uint32_t bytes = chain->in_bytes;

		if (!rx->nr_bufs) {
			rx->nr_hdr_segs =
				iov_slice(cur, VNET_HDR_BYTES, rx->hdr_segs, VNET_HDR_BYTES);
			iov_skip(&cur, VNET_HDR_BYTES);
			bytes -= VNET_HDR_BYTES;
		}
		if (cur.cnt > room - used) {
			virtq_unpop(rx_queue(net), 1);
			break;
		}
		used = join(iov, used, iov_slice(cur, bytes, iov + used, room - used));
		rx->bufs[rx->nr_bufs++] =
			(struct net_rx_buf){ .head = chain->head, .bytes = bytes };
		got += bytes;
	}
	*iovcnt = used;
	return (ssize_t)got;
}

void net_rx_commit(struct port *p, const struct virtio_net_hdr_v1 *hdr, size_t len)
{
	struct virtio_net *net = net_of(p);
	struct net_rx *rx = &net->rx;
	struct virtq *vq = rx_queue(net);
	struct virtio_net_hdr_v1 out = *hdr;
	struct iov_cursor cur = iov_cursor(rx->hdr_segs, rx->nr_hdr_segs);
	unsigned n = 0;
	size_t left = len;

	if (!rx->live || !rx->nr_bufs) {
		net_rx_abort(p);
		return;
	}
	while (n < rx->nr_bufs && (left || !n)) {
		struct net_rx_buf *b = &rx->bufs[n];

		if (b->bytes > left)
			b->bytes = (uint32_t)left;
		left -= b->bytes;
		n++;
	}
	assert(!left); /* a carrier commits no more than it reserved */

	virtq_unpop(vq, rx->nr_bufs - n);
	net_hdr_finish(&out, (uint16_t)n, net->dev.acked);
	iov_write(&cur, &out, sizeof(out));
	for (unsigned i = 0; i < n; i++)
		virtq_push(vq, rx->bufs[i].head, rx->bufs[i].bytes + (i ? 0 : VNET_HDR_BYTES));
	rx->nr_bufs = 0;
	rx->nr_staged += n;
	stat_add(&p->stats.rx_frames, 1);
	stat_add(&p->stats.rx_bytes, len);
}

void net_rx_abort(struct port *p)
{
	struct virtio_net *net = net_of(p);

	if (net->rx.nr_bufs && net->rx.live)
		virtq_unpop(rx_queue(net), net->rx.nr_bufs);
	net->rx.nr_bufs = 0;
}

void net_rx_end(struct port *p)
{
	struct virtio_net *net = net_of(p);

	net_rx_abort(p); /* a frame that was neither committed nor aborted is forgotten */
	if (net->rx.nr_staged && net->rx.live)
		virtio_publish(&net->dev, NET_QUEUE_RX);
	net->rx.nr_staged = 0;
	pthread_mutex_unlock(&net->rx.lock);
}
