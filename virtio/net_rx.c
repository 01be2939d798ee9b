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
 * While the element is mapped, net_slots.c alone uses the queue, and nothing is reserved here.
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
	rx->slots.mapped = false;
	rx->live = true;
	virtq_disable_doorbell(rx_queue(net));
	pthread_mutex_unlock(&rx->lock);
}

void net_rx_stop(struct virtio_net *net)
{
	pthread_mutex_lock(&net->rx.lock);
	net->rx.live = false;
	net->rx.fault = NULL;
	net_rx_slots_end(net);
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

int net_rx_fault(struct virtio_net *net, const char *why)
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

/* Segments for whoever fills them. */
struct rx_iov {
	struct iovec *iov;
	unsigned used, room;
	uint8_t *end; /* of the last one */
};

/* Buffers that lie one behind the other in guest memory, as Linux cuts them from larger pieces,
 * are one run: a long copy is cheaper than many short ones. The caller knows that there is room. */
static inline void rx_iov_add(struct rx_iov *r, uint8_t *ptr, size_t len)
{
	if (!len)
		return;
	if (!r->used || ptr != r->end) {
		assert(r->used < r->room);
		r->iov[r->used++].iov_base = ptr;
	}
	r->end = ptr + len;
	r->iov[r->used - 1].iov_len = (size_t)(r->end - (uint8_t *)r->iov[r->used - 1].iov_base);
}

/* One more chain, of whatever kind. 1: taken; 0: there is none, or no room for its segments;
 * -EPROTO. */
static int reserve_chain(struct virtio_net *net, struct rx_iov *r)
{
	struct net_rx *rx = &net->rx;
	struct virtq_chain *chain = &rx->chain;
	struct iov_cursor cur;
	uint8_t *ptr;
	int rc = rx_pop(net);

	if (rc < 0)
		return net_rx_fault(net, rx_queue(net)->why_broken);
	if (!rc)
		return 0;
	if (chain->nr_out)
		return net_rx_fault(net, "receive buffer with device-readable part");
	if (chain->in_bytes < VNET_HDR_BYTES)
		return net_rx_fault(net, "receive buffer shorter than a header");

	cur = iov_cursor(chain->iov, chain->nr_in);
	if (!rx->nr_bufs) {
		rx->nr_hdr_segs = iov_slice(cur, VNET_HDR_BYTES, rx->hdr_segs, VNET_HDR_BYTES);
		iov_skip(&cur, VNET_HDR_BYTES);
	}
	if (cur.cnt > r->room - r->used) {
		virtq_unpop(rx_queue(net), 1);
		return 0;
	}
	for (size_t len; (len = iov_run(&cur, &ptr)); cur.offset += len)
		rx_iov_add(r, ptr, len);
	rx->bufs[rx->nr_bufs++] =
		(struct virtq_buf){ .head = chain->head, .bytes = chain->in_bytes };
	rx->room += chain->in_bytes;
	return 1;
}

/* As many more as it takes, as long as they are plain ones: `want` bytes, `max` buffers, one
 * segment each at most. Returns how many, or -EPROTO. */
static int reserve_bufs(struct virtio_net *net, struct rx_iov *r, unsigned max, size_t want)
{
	struct net_rx *rx = &net->rx;
	struct virtq_buf *b = &rx->bufs[rx->nr_bufs];
	struct rx_iov run = *r; /* a copy that no store below can change: it stays in registers */
	uint32_t skip = 0;
	size_t got = 0;
	int n;

	if (max > r->room - r->used)
		max = r->room - r->used;
	n = virtq_pop_bufs(rx_queue(net), b, max, want);
	if (n < 0)
		return net_rx_fault(net, rx_queue(net)->why_broken);
	if (n && !rx->nr_bufs)
		skip = VNET_HDR_BYTES;
	for (int i = 0; i < n; i++) {
		if (b[i].bytes < VNET_HDR_BYTES)
			return net_rx_fault(net, "receive buffer shorter than a header");
		rx_iov_add(&run, (uint8_t *)b[i].ptr + skip, b[i].bytes - skip);
		got += b[i].bytes;
		skip = 0;
	}
	if (n && !rx->nr_bufs) {
		rx->nr_hdr_segs = 1;
		rx->hdr_segs[0] = (struct iovec){ b[0].ptr, VNET_HDR_BYTES };
	}
	rx->nr_bufs += (unsigned)n;
	rx->room += got;
	*r = run;
	return n;
}

/* The buffers are another sender's slots. */
static void rx_refuse(struct virtio_net *net)
{
	struct carrier *c = net->port.carrier;

	net->rx.slots.refused = true;
	if (c && c->ops->rx_refused)
		c->ops->rx_refused(c);
}

ssize_t net_rx_reserve(struct port *p, size_t want, struct iovec *iov, unsigned *iovcnt)
{
	struct virtio_net *net = net_of(p);
	struct net_rx *rx = &net->rx;
	unsigned max_bufs = rx->mergeable ? NET_QUEUE_SIZE : 1;
	struct rx_iov r = { .iov = iov, .room = *iovcnt };
	size_t had, until;
	int n = 0;

	*iovcnt = 0;
	if (!rx->live)
		return -EPROTO;
	if (rx->slots.mapped) {
		rx_refuse(net);
		return 0;
	}
	if (!rx->nr_bufs)
		rx->room = 0;
	had = rx->nr_bufs ? rx->room : VNET_HDR_BYTES;
	until = had + want;
	while (rx->room < until && rx->nr_bufs < max_bufs) {
		n = reserve_bufs(net, &r, max_bufs - rx->nr_bufs, until - rx->room);
		if (!n)
			n = reserve_chain(net, &r);
		if (n <= 0)
			break;
	}
	if (n < 0)
		return n;
	*iovcnt = r.used;
	return rx->nr_bufs ? (ssize_t)(rx->room - had) : 0;
}

static void write_hdr(struct virtio_net *net, const struct virtio_net_hdr_v1 *hdr, uint16_t n)
{
	const struct net_rx *rx = &net->rx;
	struct iov_cursor cur = iov_cursor(rx->hdr_segs, rx->nr_hdr_segs);
	struct virtio_net_hdr_v1 out;

	if (rx->nr_hdr_segs == 1) {
		net_hdr_write(rx->hdr_segs[0].iov_base, hdr, n, net->dev.acked);
		return;
	}
	net_hdr_write(&out, hdr, n, net->dev.acked);
	iov_write(&cur, &out, sizeof(out));
}

void net_rx_commit(struct port *p, const struct virtio_net_hdr_v1 *hdr, size_t len)
{
	struct virtio_net *net = net_of(p);
	struct net_rx *rx = &net->rx;
	struct virtq *vq = rx_queue(net);
	unsigned n = rx->nr_bufs;
	size_t surplus;

	if (!rx->live || !n) {
		net_rx_abort(p);
		return;
	}
	assert(VNET_HDR_BYTES + len <= rx->room); /* a carrier commits no more than it reserved */
	surplus = rx->room - VNET_HDR_BYTES - len;
	while (n > 1 && rx->bufs[n - 1].bytes <= surplus)
		surplus -= rx->bufs[--n].bytes;
	rx->bufs[n - 1].bytes -= (uint32_t)surplus;

	virtq_unpop(vq, rx->nr_bufs - n);
	write_hdr(net, hdr, (uint16_t)n);
	virtq_push_bufs(vq, rx->bufs, n);
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
