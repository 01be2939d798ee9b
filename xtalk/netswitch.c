/*
 * The switch of one net: see netswitch.h for what it does.
 *
 * Theory of operation. Each member sends on its own guest's loop. The frame is judged by the NIC's
 * private copy of its Ethernet header: first whether the sender may send it (its source), then
 * whom it is for (its destination). steer() is the only place that decides this; delivery to a
 * port is deliver.c, the uplink is a write(2).
 *
 * Threads and locks, in the order in which they are taken:
 *   1. `lock`, for reading, by a sender from its first frame to send_end() (a batch), by the
 *      uplink's thread for a batch: nobody comes, goes, starts or stops meanwhile. For writing by
 *      attach, detach, start and stop, which thereby wait until no batch is on its way.
 *   2. the receive lock of one port, inside of a batch.
 * A NIC calls start and stop without its receive lock, so the order holds. Writers are preferred:
 * a stream of batches must not keep a guest from resetting its NIC. A thread never reads twice.
 */
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/log.h"
#include "base/loop.h"
#include "xtalk/deliver.h"
#include "xtalk/netswitch.h"

#define UPLINK_BATCH_FRAMES 64
/* Longer than any frame, so that one that is too long shows. */
#define UPLINK_BUF_BYTES (FRAME_MAX_BYTES + 64)
#define MAC_SLOTS	 (4 * NETSWITCH_MAX_PORTS) /* a power of two */
#define MAC_SLOT_BITS	 10

_Static_assert(MAC_SLOTS == 1 << MAC_SLOT_BITS, "the hash fills the table");

struct member {
	struct carrier carrier;
	struct netswitch *sw;
	struct port *port;
	uint64_t mac;
	bool started; /* guarded by sw->lock */

	/* The member's own loop. */
	bool in_batch; /* it holds sw->lock */
	struct delivery delivery;
};

struct uplink {
	int fd; /* -1: none */
	_Atomic bool gone;
	struct loop loop;
	struct loop_fd h;
	struct delivery delivery;
	struct frame frame;
	uint8_t buf[UPLINK_BUF_BYTES];
};

struct netswitch {
	const char *name;
	pthread_rwlock_t lock;
	unsigned nr_members;
	struct member *members[NETSWITCH_MAX_PORTS];
	struct member *by_mac[MAC_SLOTS]; /* open addressing; at most a quarter full */
	struct uplink uplink;
	struct netswitch_stats stats;
	struct log_limit spoof_log;
};

static struct member *member_of(struct carrier *c)
{
	return container_of(c, struct member, carrier);
}

static void count(_Atomic uint64_t *counter)
{
	atomic_fetch_add_explicit(counter, 1, memory_order_relaxed);
}

/* -- Addresses -- */

static uint64_t mac_value(const uint8_t *mac)
{
	uint64_t v = 0;

	for (unsigned i = 0; i < ETH_ADDR_BYTES; i++)
		v = v << 8 | mac[i];
	return v;
}

static bool mac_is_group(const uint8_t *mac)
{
	return mac[0] & 1;
}

static unsigned mac_slot(uint64_t mac)
{
	return (unsigned)(mac * UINT64_C(0x9e3779b97f4a7c15) >> (64 - MAC_SLOT_BITS));
}

static struct member *find_mac(const struct netswitch *sw, uint64_t mac)
{
	struct member *m;

	for (unsigned i = mac_slot(mac); (m = sw->by_mac[i]); i = (i + 1) % MAC_SLOTS)
		if (m->mac == mac)
			return m;
	return NULL;
}

/* Under the write lock. */
static void index_macs(struct netswitch *sw)
{
	memset(sw->by_mac, 0, sizeof(sw->by_mac));
	for (unsigned n = 0; n < sw->nr_members; n++) {
		unsigned i = mac_slot(sw->members[n]->mac);

		while (sw->by_mac[i])
			i = (i + 1) % MAC_SLOTS;
		sw->by_mac[i] = sw->members[n];
	}
}

/* -- Ways out -- */

/* `from`: the sender, NULL for the uplink. */
static void to_member(struct delivery *d, struct member *from, struct member *to,
		      const struct frame *f)
{
	int err = to->started ? delivery_put(d, to->port, f) : -ENOTCONN;

	if (err == -EINVAL && from)
		count(&from->port->stats.tx_invalid);
	else if (err) /* -ENOBUFS: this is where a sender is to be held back for a while */
		count(&to->port->stats.rx_dropped);
}

static void to_uplink(struct netswitch *sw, struct member *from, const struct frame *f)
{
	struct iovec iov[FRAME_MAX_IOV + 2];
	ssize_t n;

	if (sw->uplink.fd < 0)
		return;
	iov[0] = (struct iovec){ (void *)&f->hdr, sizeof(f->hdr) };
	iov[1] = (struct iovec){ (void *)f->head, f->head_len };
	memcpy(iov + 2, f->iov, f->iovcnt * sizeof(*iov));
	do {
		n = writev(sw->uplink.fd, iov, (int)f->iovcnt + 2);
	} while (n < 0 && errno == EINTR);
	if (n >= 0) {
		count(&sw->stats.uplink_tx);
		return;
	}
	/* Waiting for an uplink that is full would hold up what goes to other guests. */
	count(&sw->stats.uplink_tx_dropped);
	count(&from->port->stats.tx_dropped);
}

/* -- Steering -- */

static bool source_allowed(struct netswitch *sw, const struct member *from, const struct frame *f)
{
	const uint8_t *src = f->head + ETH_ADDR_BYTES;
	uint64_t mac = mac_value(src);

	if (from && mac == from->mac)
		return true;
	if (!mac_is_group(src) && !find_mac(sw, mac))
		return true;
	count(&sw->stats.spoofed);
	log_limited(&sw->spoof_log, LOG_WARN, sw->name,
		    "dropped a frame from %s that claims to be from %02x:%02x:%02x:%02x:%02x:%02x",
		    from ? from->port->name : "the uplink", src[0], src[1], src[2], src[3], src[4],
		    src[5]);
	return false;
}

/* Brings one frame to whom it is for. Inside of a batch. `from`: NULL for the uplink. */
static void steer(struct netswitch *sw, struct delivery *d, struct member *from,
		  const struct frame *f)
{
	struct member *to;

	if (f->head_len < FRAME_MIN_BYTES)
		return;
	if (!source_allowed(sw, from, f)) {
		if (from)
			count(&from->port->stats.tx_dropped);
		return;
	}
	if (mac_is_group(f->head)) {
		for (unsigned n = 0; n < sw->nr_members; n++)
			if (sw->members[n] != from && sw->members[n]->started)
				to_member(d, from, sw->members[n], f);
		if (from)
			to_uplink(sw, from, f);
		return;
	}
	to = find_mac(sw, mac_value(f->head));
	if (to && to != from)
		to_member(d, from, to, f);
	else if (from && !to && sw->uplink.fd >= 0)
		to_uplink(sw, from, f);
	else if (from)
		count(&from->port->stats.tx_dropped); /* to itself, or to nobody */
}

/* -- The carrier of a member -- */

static int sw_send(struct carrier *c, const struct frame *f)
{
	struct member *m = member_of(c);

	if (!m->in_batch) {
		pthread_rwlock_rdlock(&m->sw->lock);
		m->in_batch = true;
	}
	if (m->started)
		steer(m->sw, &m->delivery, m, f);
	else
		count(&m->port->stats.tx_dropped);
	return 0;
}

static void sw_send_end(struct carrier *c)
{
	struct member *m = member_of(c);

	if (!m->in_batch)
		return;
	delivery_end(&m->delivery);
	m->in_batch = false;
	pthread_rwlock_unlock(&m->sw->lock);
}

static void sw_rx_ready(struct carrier *c)
{
	/* Nobody waits: what finds no buffers is dropped. */
}

static void set_started(struct carrier *c, bool started)
{
	struct member *m = member_of(c);

	/* Waits for every batch that is on its way to this member. */
	pthread_rwlock_wrlock(&m->sw->lock);
	m->started = started;
	pthread_rwlock_unlock(&m->sw->lock);
}

static int sw_start(struct carrier *c)
{
	set_started(c, true);
	return 0;
}

static void sw_stop(struct carrier *c)
{
	sw_send_end(c);
	set_started(c, false);
}

static void sw_set_rx_features(struct carrier *c, uint64_t features)
{
	/* Each delivery looks at port->rx_features. */
}

static bool sw_link_up(struct carrier *c)
{
	return true;
}

static const struct carrier_ops sw_ops = {
	.send = sw_send,
	.send_end = sw_send_end,
	.rx_ready = sw_rx_ready,
	.start = sw_start,
	.stop = sw_stop,
	.set_rx_features = sw_set_rx_features,
	.link_up = sw_link_up,
};

/* -- The uplink's thread -- */

/* Reads one frame. 1; 0: there is none; -errno. */
static int uplink_read(struct uplink *u)
{
	struct frame *f = &u->frame;
	struct iovec iov[2] = { { &f->hdr, sizeof(f->hdr) }, { u->buf, sizeof(u->buf) } };
	ssize_t n;

	do {
		n = readv(u->fd, iov, 2);
	} while (n < 0 && errno == EINTR);
	if (n < 0)
		return errno == EAGAIN ? 0 : -errno;
	if (n == 0)
		return -EIO;
	f->len = n > VNET_HDR_BYTES ? (uint32_t)n - VNET_HDR_BYTES : 0;
	if (f->len > FRAME_MAX_BYTES)
		f->len = 0;
	f->head_len = f->len < FRAME_HEAD_BYTES ? f->len : FRAME_HEAD_BYTES;
	memcpy(f->head, u->buf, f->head_len);
	f->iov[0] = (struct iovec){ u->buf + f->head_len, f->len - f->head_len };
	f->iovcnt = 1;
	return 1;
}

static void uplink_lost(struct netswitch *sw, int err)
{
	/* Its error condition would be reported for ever. */
	loop_del(&sw->uplink.loop, &sw->uplink.h);
	atomic_store(&sw->uplink.gone, true);
	log_error(sw->name, "the uplink is gone (%s): the net goes on without it", strerror(err));
}

static void uplink_event(struct loop_fd *h, uint32_t events)
{
	struct uplink *u = container_of(h, struct uplink, h);
	struct netswitch *sw = container_of(u, struct netswitch, uplink);
	int rc = 0;

	pthread_rwlock_rdlock(&sw->lock);
	for (unsigned n = 0; n < UPLINK_BATCH_FRAMES; n++) {
		rc = uplink_read(u);
		if (rc <= 0)
			break;
		count(&sw->stats.uplink_rx);
		steer(sw, &u->delivery, NULL, &u->frame);
	}
	delivery_end(&u->delivery);
	pthread_rwlock_unlock(&sw->lock);
	if (rc < 0 || (rc == 0 && events & (EPOLLERR | EPOLLHUP)))
		uplink_lost(sw, rc < 0 ? -rc : EIO);
}

static int uplink_init(struct netswitch *sw, int fd)
{
	struct uplink *u = &sw->uplink;
	int err;

	u->fd = fd;
	if (fd < 0)
		return 0;
	err = loop_init(&u->loop, sw->name);
	if (err)
		return err;
	u->h.fd = fd;
	u->h.fn = uplink_event;
	err = loop_add(&u->loop, &u->h, EPOLLIN);
	if (!err)
		err = loop_start(&u->loop);
	if (err) {
		loop_del(&u->loop, &u->h);
		loop_fini(&u->loop);
	}
	return err;
}

static void uplink_fini(struct netswitch *sw)
{
	struct uplink *u = &sw->uplink;

	if (u->fd < 0)
		return;
	loop_stop(&u->loop);
	loop_del(&u->loop, &u->h);
	loop_fini(&u->loop);
}

/* -- Life -- */

static int lock_init(pthread_rwlock_t *lock)
{
	pthread_rwlockattr_t attr;
	int err = pthread_rwlockattr_init(&attr);

	if (err)
		return -err;
	pthread_rwlockattr_setkind_np(&attr, PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP);
	err = pthread_rwlock_init(lock, &attr);
	pthread_rwlockattr_destroy(&attr);
	return -err;
}

int netswitch_create(struct netswitch **out, const char *name, int uplink_fd)
{
	struct netswitch *sw = calloc(1, sizeof(*sw));
	int err;

	if (!sw)
		return -ENOMEM;
	sw->name = name;
	err = lock_init(&sw->lock);
	if (err)
		goto out_free;
	err = uplink_init(sw, uplink_fd);
	if (err)
		goto out_lock;
	*out = sw;
	return 0;

out_lock:
	pthread_rwlock_destroy(&sw->lock);
out_free:
	free(sw);
	return err;
}

void netswitch_destroy(struct netswitch *sw)
{
	if (!sw)
		return;
	uplink_fini(sw);
	pthread_rwlock_destroy(&sw->lock);
	free(sw);
}

const struct netswitch_stats *netswitch_stats(const struct netswitch *sw)
{
	return &sw->stats;
}

static int attach(struct netswitch *sw, struct member *m)
{
	if (sw->nr_members == NETSWITCH_MAX_PORTS)
		return -ENOSPC;
	if (find_mac(sw, m->mac))
		return -EEXIST;
	sw->members[sw->nr_members++] = m;
	index_macs(sw);
	return 0;
}

int netswitch_attach(struct netswitch *sw, struct port *port, struct carrier **out)
{
	struct member *m;
	int err;

	if (mac_is_group(port->mac))
		return -EINVAL;
	m = calloc(1, sizeof(*m));
	if (!m)
		return -ENOMEM;
	m->carrier.ops = &sw_ops;
	m->carrier.port = port;
	m->sw = sw;
	m->port = port;
	m->mac = mac_value(port->mac);

	pthread_rwlock_wrlock(&sw->lock);
	err = attach(sw, m);
	pthread_rwlock_unlock(&sw->lock);
	if (err) {
		free(m);
		return err;
	}
	*out = &m->carrier;
	return 0;
}

void netswitch_detach(struct netswitch *sw, struct port *port)
{
	struct member *m = NULL;

	pthread_rwlock_wrlock(&sw->lock);
	for (unsigned n = 0; n < sw->nr_members; n++) {
		if (sw->members[n]->port != port)
			continue;
		m = sw->members[n];
		sw->members[n] = sw->members[--sw->nr_members];
		index_macs(sw);
		break;
	}
	pthread_rwlock_unlock(&sw->lock);
	free(m);
}
