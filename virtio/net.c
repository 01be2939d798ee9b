/*
 * virtio-net: a network device with one receive and one transmit queue (VIRTIO 1.2, 5.1).
 *
 * This file: the device, its configuration space, and the transmit side. net_rx.c is the receive
 * side, net_slots.c the same as a ring of slots, net_hdr.c checks headers. Frames are carried by a
 * carrier (base/carrier.h) that can be exchanged behind the device.
 *
 * Owned by the device's loop: everything but the receive side. No lock is held while the carrier is
 * called.
 *
 * Offered are only features that every carrier can do, or complete in software: they cannot be
 * renegotiated when the binding of a live device changes.
 */
#include <assert.h>
#include <errno.h>
#include <linux/virtio_config.h>
#include <linux/virtio_ids.h>
#include <stdlib.h>
#include <string.h>

#include "base/iov.h"
#include "base/vnet.h"
#include "virtio/net_internal.h"

/* Frames taken from one NIC before the loop's other devices get their turn. */
#define TX_BATCH_FRAMES 256

#define NET_FEATURES                                                                     \
	(VNET_RX_OFFLOADS | VNET_BIT(VIRTIO_NET_F_MAC) | VNET_BIT(VIRTIO_NET_F_STATUS) | \
	 VNET_BIT(VIRTIO_NET_F_MRG_RXBUF) | VNET_BIT(VIRTIO_NET_F_CSUM) |                \
	 VNET_BIT(VIRTIO_NET_F_HOST_TSO4) | VNET_BIT(VIRTIO_NET_F_HOST_TSO6) |           \
	 VNET_BIT(VIRTIO_NET_F_HOST_ECN))

static struct virtio_net *net_of(struct virtio_dev *dev)
{
	return container_of(dev, struct virtio_net, dev);
}

static void count(_Atomic uint64_t *counter, uint64_t n)
{
	atomic_fetch_add_explicit(counter, n, memory_order_relaxed);
}

/* -- Transmit -- */

/* As most drivers send: header and frame in one piece or in two. False: some other way. */
static bool tx_gather_plain(const struct virtq_chain *chain, struct frame *f)
{
	const struct iovec *iov = chain->iov;
	size_t skip = chain->nr_out == 1 ? VNET_HDR_BYTES : 0;
	uint8_t *at;

	if (chain->nr_out > 2 || (!skip && iov[0].iov_len != VNET_HDR_BYTES) ||
	    f->len < FRAME_HEAD_BYTES)
		return false;
	at = skip ? (uint8_t *)iov[0].iov_base + skip : iov[1].iov_base;
	memcpy(&f->hdr, iov[0].iov_base, VNET_HDR_BYTES);
	memcpy(f->head, at, FRAME_HEAD_BYTES);
	f->head_len = FRAME_HEAD_BYTES;
	f->iov[0] = (struct iovec){ at + FRAME_HEAD_BYTES, f->len - FRAME_HEAD_BYTES };
	f->iovcnt = f->len > FRAME_HEAD_BYTES;
	f->slot = skip ? NULL : at;
	f->slot_hdr = skip ? NULL : iov[0].iov_base;
	return true;
}

static void tx_gather(const struct virtq_chain *chain, struct frame *f)
{
	struct iov_cursor cur = iov_cursor(chain->iov, chain->nr_out);

	f->head_len = f->len < FRAME_HEAD_BYTES ? f->len : FRAME_HEAD_BYTES;
	iov_read(&cur, &f->hdr, sizeof(f->hdr));
	iov_read(&cur, f->head, f->head_len);
	f->iovcnt = iov_slice(cur, f->len - f->head_len, f->iov, FRAME_MAX_IOV);
	f->slot = NULL;
	f->slot_hdr = NULL;
	if (chain->nr_out == 2 && chain->iov[0].iov_len == VNET_HDR_BYTES) {
		f->slot = chain->iov[1].iov_base;
		f->slot_hdr = chain->iov[0].iov_base;
	}
}

/* Turns the chain into a frame. False: the driver broke a rule that concerns this frame only. */
static bool tx_build(struct virtio_net *net)
{
	const struct virtq_chain *chain = &net->tx_chain;
	struct frame *f = &net->tx_frame;

	if (chain->nr_in || chain->out_bytes < VNET_HDR_BYTES + FRAME_MIN_BYTES ||
	    chain->out_bytes > VNET_HDR_BYTES + FRAME_MAX_BYTES)
		return false;
	f->len = chain->out_bytes - VNET_HDR_BYTES;

	/* The guest may change these bytes at any time: read once, decide on the copy. */
	if (!tx_gather_plain(chain, f))
		tx_gather(chain, f);
	atomic_signal_fence(memory_order_seq_cst);
	return net_hdr_check(&f->hdr, f->len, net->dev.acked) == 0;
}

/* Carries the frame that was built. -EAGAIN: the carrier is full; CARRIER_KEPT: not yet done. */
static int tx_send(struct virtio_net *net)
{
	struct carrier *c = net->port.carrier;
	const struct frame *f = &net->tx_frame;
	int rc;

	if (!c) {
		count(&net->port.stats.tx_dropped, 1);
		return 0;
	}
	rc = c->ops->send(c, f);
	if (rc != -EAGAIN) {
		stat_add(&net->port.stats.tx_frames, 1);
		stat_add(&net->port.stats.tx_bytes, f->len);
	}
	return rc;
}

/* Kept frames are in flight, and the queue lets no driver have more in flight than its size. */
static void tx_keep(struct virtio_net *net, uint16_t head)
{
	struct net_kept *k = &net->kept;

	assert(k->nr < NET_QUEUE_SIZE);
	k->head[(k->first + k->nr++) % NET_QUEUE_SIZE] = head;
}

static void tx_forget(struct virtio_net *net)
{
	net->kept.first = 0;
	net->kept.nr = 0;
}

/* Within a call to the carrier, so tx_serve() publishes; within stop() nobody is to know. */
static void net_tx_done(struct port *p, unsigned n)
{
	struct virtio_net *net = container_of(p, struct virtio_net, port);
	struct net_kept *k = &net->kept;

	assert(n <= k->nr); /* a carrier is done with no more than it has kept */
	for (; n; n--) {
		virtq_push(&net->dev.vq[NET_QUEUE_TX], k->head[k->first], 0);
		k->first = (k->first + 1) % NET_QUEUE_SIZE;
		k->nr--;
	}
}

/* Serves the transmit queue until it is empty, broken, blocked, or had its turn. */
static void tx_serve(struct virtio_net *net)
{
	struct virtq *vq = &net->dev.vq[NET_QUEUE_TX];
	struct carrier *c = net->port.carrier;
	unsigned taken = 0;
	int rc = 0, sent;

	if (!net->dev.live || net->tx_blocked)
		return;
	virtq_disable_doorbell(vq);
	for (;;) {
		if (taken == TX_BATCH_FRAMES) {
			loop_post(net->dev.loop, &net->tx_work);
			break;
		}
		rc = virtq_pop(vq, &net->tx_chain);
		if (rc < 0)
			break;
		if (!rc) {
			if (!virtq_enable_doorbell(vq))
				break;
			virtq_disable_doorbell(vq);
			taken++; /* an index that moves to and fro must not keep us here */
			continue;
		}
		taken++;
		if (!tx_build(net)) {
			count(&net->port.stats.tx_invalid, 1);
			sent = 0;
		} else {
			sent = tx_send(net);
		}
		if (sent == -EAGAIN) {
			virtq_unpop(vq, 1);
			net->tx_blocked = true;
			break;
		}
		if (sent == CARRIER_KEPT)
			tx_keep(net, net->tx_chain.head);
		else /* before those that are kept: a used ring has no order */
			virtq_push(vq, net->tx_chain.head, 0);
	}
	/* First let go of the receivers' locks: a fault below stops this NIC and its carrier. */
	if (c)
		c->ops->send_end(c);
	virtio_publish(&net->dev, NET_QUEUE_TX);
	if (rc < 0)
		virtio_guest_fault(&net->dev, vq->why_broken);
}

/* Serves even an empty queue: send_end() is where a carrier lets go of what it has kept. */
static void tx_work(struct loop_work *w)
{
	struct virtio_net *net = container_of(w, struct virtio_net, tx_work);

	net->tx_blocked = false;
	tx_serve(net);
}

static void net_tx_resume(struct port *p)
{
	struct virtio_net *net = container_of(p, struct virtio_net, port);

	loop_post(net->dev.loop, &net->tx_work);
}

/* -- Link state and faults, carried to the loop -- */

static bool net_link_up(const struct virtio_net *net)
{
	struct carrier *c = net->port.carrier;

	return c && c->ops->link_up(c);
}

static void link_work(struct loop_work *w)
{
	struct virtio_net *net = container_of(w, struct virtio_net, link_work);
	bool up = net_link_up(net);

	if (up == net->link_shown)
		return;
	net->link_shown = up;
	if (net->dev.live && virtio_has(&net->dev, VIRTIO_NET_F_STATUS))
		virtio_config_changed(&net->dev);
}

static void net_link_changed(struct port *p)
{
	struct virtio_net *net = container_of(p, struct virtio_net, port);

	loop_post(net->dev.loop, &net->link_work);
}

static void ready_work(struct loop_work *w)
{
	struct virtio_net *net = container_of(w, struct virtio_net, ready_work);
	struct carrier *c = net->port.carrier;

	if (net->dev.live && c)
		c->ops->rx_ready(c);
}

static void fault_work(struct loop_work *w)
{
	struct virtio_net *net = container_of(w, struct virtio_net, fault_work);
	const char *why;

	pthread_mutex_lock(&net->rx.lock);
	why = net->rx.fault; /* NULL if the driver has reset the device meanwhile */
	net->rx.fault = NULL;
	pthread_mutex_unlock(&net->rx.lock);
	if (why)
		virtio_guest_fault(&net->dev, why);
}

/* -- The device -- */

/* What the driver has declared holds while it is live; the launcher's word holds always. */
static void declare_slots(struct virtio_net *net)
{
	net->launcher_stable = atomic_load_explicit(&net->port.slots_stable, memory_order_relaxed);
	if (virtio_has(&net->dev, XVMM_F_SLOTS_STABLE))
		atomic_store_explicit(&net->port.slots_stable, true, memory_order_relaxed);
}

static void undeclare_slots(struct virtio_net *net)
{
	if (virtio_has(&net->dev, XVMM_F_SLOTS_STABLE))
		atomic_store_explicit(&net->port.slots_stable, net->launcher_stable,
				      memory_order_relaxed);
}

static int net_start(struct virtio_dev *dev)
{
	struct virtio_net *net = net_of(dev);
	struct carrier *c = net->port.carrier;
	uint64_t rx_features = dev->acked & VNET_RX_OFFLOADS;
	int err;

	net->tx_blocked = false;
	tx_forget(net);
	net->link_shown = net_link_up(net);
	atomic_store_explicit(&net->port.rx_features, rx_features, memory_order_relaxed);
	declare_slots(net);
	net_rx_start(net);
	if (c) {
		c->ops->set_rx_features(c, rx_features);
		err = c->ops->start(c);
		if (err) { /* net_stop() follows */
			net_rx_stop(net);
			return err;
		}
	}
	return 0; /* virtio.c kicks both queues now */
}

static void net_stop(struct virtio_dev *dev)
{
	struct virtio_net *net = net_of(dev);
	struct carrier *c = net->port.carrier;

	net_rx_stop(net);
	if (c)
		c->ops->stop(c);
	atomic_store_explicit(&net->port.rx_features, 0, memory_order_relaxed);
	net->tx_blocked = false;
	tx_forget(net);
	undeclare_slots(net);
}

static void net_kick(struct virtio_dev *dev, unsigned q)
{
	struct virtio_net *net = net_of(dev);
	struct carrier *c = net->port.carrier;

	if (q == NET_QUEUE_TX) {
		tx_serve(net);
		return;
	}
	net_rx_quiet(net);
	if (c)
		c->ops->rx_ready(c);
}

static void net_config_read(struct virtio_dev *dev, unsigned offset, void *data, unsigned len)
{
	struct virtio_net *net = net_of(dev);
	struct virtio_net_config cfg = { 0 };

	memset(data, 0, len);
	if (offset >= sizeof(cfg))
		return;
	if (len > sizeof(cfg) - offset)
		len = (unsigned)sizeof(cfg) - offset;
	memcpy(cfg.mac, net->port.mac, sizeof(cfg.mac));
	cfg.status = net_link_up(net) ? VIRTIO_NET_S_LINK_UP : 0;
	memcpy(data, (const uint8_t *)&cfg + offset, len);
}

static const struct virtio_dev_ops net_ops = {
	.start = net_start,
	.stop = net_stop,
	.kick = net_kick,
	.config_read = net_config_read,
};

static const struct port_ops net_port_ops = {
	.rx_begin = net_rx_begin,
	.rx_reserve = net_rx_reserve,
	.rx_commit = net_rx_commit,
	.rx_abort = net_rx_abort,
	.rx_end = net_rx_end,
	.tx_resume = net_tx_resume,
	.tx_done = net_tx_done,
	.rx_slots_look = net_rx_slots_look,
	.rx_slots_enter = net_rx_slots_enter,
	.rx_slots_leave = net_rx_slots_leave,
	.rx_slot_put = net_rx_slot_put,
	.rx_slots_given = net_rx_slots_given,
	.rx_slots_watch = net_rx_slots_watch,
	.rx_slots_follow = net_rx_slots_follow,
	.touches_rings = net_touches_rings,
	.link_changed = net_link_changed,
};

int virtio_net_create(struct virtio_net **out, const char *name, const uint8_t mac[6],
		      struct loop *loop, struct platform *plat)
{
	static const uint16_t sizes[NET_NR_QUEUES] = { NET_QUEUE_SIZE, NET_QUEUE_SIZE };
	struct virtio_net *net = calloc(1, sizeof(*net));
	int err;

	if (!net)
		return -ENOMEM;
	err = net_rx_init(net);
	if (err) {
		free(net);
		return err;
	}
	net->tx_work.fn = tx_work;
	net->link_work.fn = link_work;
	net->fault_work.fn = fault_work;
	net->ready_work.fn = ready_work;
	net->port.ops = &net_port_ops;
	net->port.name = name;
	net->port.loop = loop;
	memcpy(net->port.mac, mac, ETH_ADDR_BYTES);
	virtio_dev_init(&net->dev, name, VIRTIO_ID_NET, NET_FEATURES, sizes, NET_NR_QUEUES,
			&net_ops, loop, plat);
	*out = net;
	return 0;
}

struct virtio_dev *virtio_net_dev(struct virtio_net *net)
{
	return &net->dev;
}

void virtio_net_offer_stable_slots(struct virtio_net *net)
{
	net->dev.offered |= VNET_BIT(XVMM_F_SLOTS_STABLE);
}

struct port *virtio_net_port(struct virtio_net *net)
{
	return &net->port;
}

void virtio_net_set_carrier(struct virtio_net *net, struct carrier *carrier)
{
	net->port.carrier = carrier;
	if (carrier)
		carrier->port = &net->port;
}

void virtio_net_destroy(struct virtio_net *net)
{
	if (!net)
		return;
	net_rx_fini(net);
	free(net);
}
