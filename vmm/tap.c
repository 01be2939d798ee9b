/*
 * Carrier on one TAP that serves one NIC.
 *
 * Owned by the NIC's loop; no locks but the port's receive lock, which is held for one batch of
 * frames. The kernel side is told (TUNSETOFFLOAD) what the guest's driver can take, and does the
 * rest itself.
 *
 * Receive. The length of a frame is known only once it has been read, so buffers for a likely
 * length are reserved first, and `hold` follows them as the last segment of the readv(2): what does
 * not fit them lands there, is copied into further buffers, and no frame is ever cut. A frame that
 * needs more buffers than the driver has given is assembled in `hold` and waits for more, but not
 * for ever: a driver whose whole ring is too small for it will never give more.
 *
 * Polling is level-triggered, so interest in the descriptor must be dropped whenever we would not
 * read it (no buffers, not started), or the loop would spin; and wholly so once the TAP is gone,
 * because an error condition is reported whatever one asked for.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "base/iov.h"
#include "base/log.h"
#include "base/vnet.h"
#include "vmm/tap.h"

#define TAP_BATCH_FRAMES 64
#define TAP_HOLD_NS	 UINT64_C(10000000)
#define TAP_GUESS_MIN	 2048
/* Longer than any frame, so that one that is too long shows. */
#define TAP_HOLD_BYTES (FRAME_MAX_BYTES + 64)

struct tap {
	struct carrier carrier;
	const char *name;
	struct loop *loop;
	struct loop_fd h;
	struct loop_timer hold_timer;
	uint32_t polled; /* events asked for while h.added */
	bool started;
	_Atomic bool gone; /* the interface was deleted; link_up() may be asked by any thread */
	bool rx_wait;	   /* do not read until rx_ready() or hold_timer: no buffers, or ... */
	bool rx_failed;	   /* ... reading failed, and nobody has been asked for a doorbell */
	bool tx_wait;	   /* send() said -EAGAIN: tx_resume() when writable */
	uint64_t features; /* VIRTIO_NET_F_GUEST_* of the driver */
	size_t guess;	   /* likely length of the next frame */
	size_t held_len;   /* of the frame in hold, 0: none */
	struct virtio_net_hdr_v1 held_hdr;
	uint8_t head[FRAME_HEAD_BYTES];	  /* of the frame read: a private copy for the filter */
	struct iovec bufs[FRAME_MAX_IOV]; /* reserved for the frame being read */
	struct iovec iov[FRAME_MAX_IOV + 3], more[FRAME_MAX_IOV];
	uint8_t hold[TAP_HOLD_BYTES];
};

static struct tap *tap_of(struct carrier *c)
{
	return container_of(c, struct tap, carrier);
}

static void count(_Atomic uint64_t *counter)
{
	atomic_fetch_add_explicit(counter, 1, memory_order_relaxed);
}

/* -- The device file -- */

static int tap_attach(const char *ifname, short flags)
{
	struct ifreq ifr = { .ifr_flags = flags };
	int fd = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
	int err;

	if (fd < 0)
		return -errno;
	memcpy(ifr.ifr_name, ifname, strlen(ifname));
	if (ioctl(fd, TUNSETIFF, &ifr) < 0) {
		err = -errno;
		close(fd);
		return err;
	}
	return fd;
}

int tap_open(const char *ifname, bool *created)
{
	short flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR;
	size_t len = strlen(ifname);
	int fd, err;

	*created = false;
	/* The kernel would take "%d" as a template and pick a number. */
	if (!len || len >= IFNAMSIZ || strpbrk(ifname, "%/"))
		return -EINVAL;
	/* The kernel, not a look beforehand, says which of the two it was. */
	fd = tap_attach(ifname, (short)(flags | IFF_TUN_EXCL));
	if (fd >= 0)
		*created = true;
	else if (fd == -EBUSY)
		fd = tap_attach(ifname, flags);
	if (fd < 0)
		return fd;
	err = tap_set_offload(fd, 0);
	if (err) {
		close(fd);
		return err;
	}
	return fd;
}

int tap_set_offload(int fd, uint64_t features)
{
	int hdr_bytes = VNET_HDR_BYTES;
	unsigned long offload = 0;

	/* The kernel grants segmentation only on top of checksums, ECN only on top of segmentation.
	 */
	if (features & VNET_BIT(VIRTIO_NET_F_GUEST_CSUM)) {
		offload = TUN_F_CSUM;
		if (features & VNET_BIT(VIRTIO_NET_F_GUEST_TSO4))
			offload |= TUN_F_TSO4;
		if (features & VNET_BIT(VIRTIO_NET_F_GUEST_TSO6))
			offload |= TUN_F_TSO6;
		if (features & VNET_BIT(VIRTIO_NET_F_GUEST_ECN) &&
		    offload & (TUN_F_TSO4 | TUN_F_TSO6))
			offload |= TUN_F_TSO_ECN;
	}
	if (ioctl(fd, TUNSETVNETHDRSZ, &hdr_bytes) < 0)
		return -errno;
	if (ioctl(fd, TUNSETOFFLOAD, offload) < 0)
		return -errno;
	return 0;
}

/* -- Polling -- */

static int tap_poll(struct tap *t)
{
	uint32_t want = (t->rx_wait ? 0 : EPOLLIN) | (t->tx_wait ? EPOLLOUT : 0);
	int err = 0;

	if (!t->started || t->gone)
		loop_del(t->loop, &t->h);
	else if (!t->h.added)
		err = loop_add(t->loop, &t->h, want);
	else if (t->polled != want)
		err = loop_mod(t->loop, &t->h, want);
	t->polled = want;
	return err;
}

/* Some errors only mean that the interface is down for now; which it is only the kernel knows. */
static bool tap_check_gone(struct tap *t, int err)
{
	struct ifreq ifr;

	if (t->gone)
		return true;
	if (ioctl(t->h.fd, TUNGETIFF, &ifr) == 0)
		return false;
	t->gone = true;
	log_error(t->name, "the TAP is gone (%s): link down", strerror(err));
	tap_poll(t);
	t->carrier.port->ops->link_changed(t->carrier.port);
	return true;
}

/* -- Transmit -- */

static int tap_send(struct carrier *c, const struct frame *f)
{
	struct tap *t = tap_of(c);
	struct iovec *iov = t->iov;
	ssize_t n;

	if (!t->started || t->gone) {
		count(&c->port->stats.tx_dropped);
		return 0;
	}
	iov[0] = (struct iovec){ (void *)&f->hdr, sizeof(f->hdr) };
	iov[1] = (struct iovec){ (void *)f->head, f->head_len };
	memcpy(iov + 2, f->iov, f->iovcnt * sizeof(*iov));
	do {
		n = writev(t->h.fd, iov, (int)f->iovcnt + 2);
	} while (n < 0 && errno == EINTR);
	if (n >= 0)
		return 0;
	if (errno == EAGAIN) {
		t->tx_wait = true;
		if (tap_poll(t) == 0)
			return -EAGAIN;
		t->tx_wait = false;
	} else if (errno == EIO || errno == EBADFD || errno == ENODEV) {
		tap_check_gone(t, errno);
	}
	count(&c->port->stats.tx_dropped);
	return 0;
}

static void tap_send_end(struct carrier *c)
{
	/* Every frame has had its system call. */
}

/* -- Receive -- */

/* Copies what is left of a frame into further buffers: all of it, or the ring is too small now. */
static bool tap_fill(struct tap *t, const uint8_t *src, size_t len)
{
	struct port *p = t->carrier.port;

	while (len) {
		unsigned cnt = ARRAY_SIZE(t->more);
		ssize_t got = p->ops->rx_reserve(p, len, t->more, &cnt);
		struct iov_cursor cur = iov_cursor(t->more, cnt);
		size_t n;

		if (got <= 0)
			return false;
		n = iov_write(&cur, src, len);
		src += n;
		len -= n;
	}
	return true;
}

static void tap_wait_for_buffers(struct tap *t)
{
	t->rx_wait = true;
}

/* The frame with held_hdr lies in the reserved buffers. */
static void tap_commit(struct tap *t, size_t len)
{
	struct port *p = t->carrier.port;

	p->ops->rx_commit(p, &t->held_hdr, len);
	stat_add(&p->stats.path[PATH_UPLINK].rx_frames, 1);
	stat_add(&p->stats.path[PATH_UPLINK].rx_bytes, len);
}

/* The frame that waits in hold. False: it still has to. */
static bool tap_deliver_held(struct tap *t, bool last_chance)
{
	struct port *p = t->carrier.port;

	if (tap_fill(t, t->hold, t->held_len)) {
		tap_commit(t, t->held_len);
	} else {
		p->ops->rx_abort(p);
		if (!last_chance)
			return false;
		count(&p->stats.rx_dropped);
	}
	t->held_len = 0;
	loop_timer_cancel(&t->hold_timer);
	return true;
}

/* A frame of len bytes was read: its first bytes into head, what follows into the first `got` bytes
 * of bufs at the offset it has in the frame, the rest into hold[got ..]. */
static void tap_deliver(struct tap *t, unsigned cnt, size_t got, size_t len)
{
	struct frame_filter *filter = t->carrier.filter;
	struct port *p = t->carrier.port;
	uint32_t head_len = len < FRAME_HEAD_BYTES ? (uint32_t)len : FRAME_HEAD_BYTES;
	struct iov_cursor cur = iov_cursor(t->bufs, cnt);

	if (filter && filter->swallow(filter, t->head, head_len)) {
		p->ops->rx_abort(p);
		return;
	}
	if (got)
		iov_write(&cur, t->head, head_len);
	else
		memcpy(t->hold, t->head, head_len);
	if (len > FRAME_MAX_BYTES || (vnet_hdr_needs(&t->held_hdr) & ~t->features)) {
		/* Queued in the kernel since before the driver said what it can take. */
		p->ops->rx_abort(p);
		count(&p->stats.rx_dropped);
	} else if (len < FRAME_MIN_BYTES) {
		p->ops->rx_abort(p);
	} else if (len <= got || tap_fill(t, t->hold + got, len - got)) {
		tap_commit(t, len);
	} else {
		cur = iov_cursor(t->bufs, cnt);
		iov_read(&cur, t->hold, got);
		p->ops->rx_abort(p);
		t->held_len = len;
		tap_wait_for_buffers(t);
		loop_timer_arm(&t->hold_timer, TAP_HOLD_NS);
	}
	t->guess = len > t->guess ? len : t->guess - (t->guess - len) / 8;
	if (t->guess < TAP_GUESS_MIN)
		t->guess = TAP_GUESS_MIN;
}

/* Where the next frame goes: header and first bytes to private memory, the rest to the guest's
 * `got` bytes of buffers, and behind them to hold. Returns the number of segments. */
static int tap_read_layout(struct tap *t, unsigned cnt, size_t got)
{
	struct iov_cursor cur = iov_cursor(t->bufs, cnt);
	size_t spill = got > FRAME_HEAD_BYTES ? got : FRAME_HEAD_BYTES;
	unsigned n = 0;

	t->iov[0] = (struct iovec){ &t->held_hdr, sizeof(t->held_hdr) };
	t->iov[1] = (struct iovec){ t->head, sizeof(t->head) };
	if (got > FRAME_HEAD_BYTES) {
		iov_skip(&cur, FRAME_HEAD_BYTES);
		n = iov_slice(cur, got - FRAME_HEAD_BYTES, t->iov + 2, FRAME_MAX_IOV);
	}
	t->iov[n + 2] = (struct iovec){ t->hold + spill, TAP_HOLD_BYTES - spill };
	return (int)n + 3;
}

/* One frame. False: stop reading for now. */
static bool tap_read_one(struct tap *t)
{
	struct port *p = t->carrier.port;
	unsigned cnt = FRAME_MAX_IOV;
	ssize_t got = p->ops->rx_reserve(p, t->guess, t->bufs, &cnt);
	ssize_t n;
	int segs;

	if (got <= 0) {
		p->ops->rx_abort(p);
		tap_wait_for_buffers(t);
		return false;
	}
	if (got > FRAME_MAX_BYTES)
		got = FRAME_MAX_BYTES;
	if (got < FRAME_HEAD_BYTES) {
		/* Hardly a buffer: assemble the frame in hold. */
		p->ops->rx_abort(p);
		got = 0;
		cnt = 0;
	}
	segs = tap_read_layout(t, cnt, (size_t)got);
	do {
		n = readv(t->h.fd, t->iov, segs);
	} while (n < 0 && errno == EINTR);
	if (n >= VNET_HDR_BYTES) {
		tap_deliver(t, cnt, (size_t)got, (size_t)n - VNET_HDR_BYTES);
		return !t->held_len;
	}
	n = n < 0 ? -errno : -EIO;
	p->ops->rx_abort(p);
	if (n == -EFAULT) {
		/* Guest memory that the host cannot provide: the frame is lost, others may not be.
		 */
		count(&p->stats.rx_dropped);
		return true;
	}
	if (n != -EAGAIN && !tap_check_gone(t, (int)-n)) {
		/* Not at once again, or the loop would spin. But buffers there are, so the driver
		 * will not ring for us. */
		t->rx_failed = true;
		tap_wait_for_buffers(t);
		loop_timer_arm(&t->hold_timer, TAP_HOLD_NS);
	}
	return false;
}

static void tap_receive(struct tap *t, bool last_chance)
{
	struct port *p = t->carrier.port;

	if (!p->ops->rx_begin(p)) {
		tap_wait_for_buffers(t);
		tap_poll(t);
		return;
	}
	t->rx_wait = false;
	t->rx_failed = false;
	if (t->held_len && !tap_deliver_held(t, last_chance))
		tap_wait_for_buffers(t);
	for (unsigned i = 0; i < TAP_BATCH_FRAMES && !t->rx_wait && !t->gone; i++)
		if (!tap_read_one(t))
			break;
	p->ops->rx_end(p);
	tap_poll(t);
}

static void tap_rx_ready(struct carrier *c)
{
	struct tap *t = tap_of(c);

	if (t->started && !t->gone && t->rx_wait)
		tap_receive(t, false);
}

static void tap_hold_over(struct loop_timer *timer)
{
	struct tap *t = container_of(timer, struct tap, hold_timer);

	if (!t->started || t->gone || !(t->held_len || t->rx_failed))
		return;
	tap_receive(t, true);
	/* The port is not live now. When it is again, the frame must not wait for ever either. */
	if (t->held_len && t->rx_wait)
		loop_timer_arm(&t->hold_timer, TAP_HOLD_NS);
}

static void tap_event(struct loop_fd *h, uint32_t events)
{
	struct tap *t = container_of(h, struct tap, h);

	if (events & (EPOLLERR | EPOLLHUP) && tap_check_gone(t, EIO))
		return;
	if (events & EPOLLOUT && t->tx_wait) {
		t->tx_wait = false;
		tap_poll(t);
		t->carrier.port->ops->tx_resume(t->carrier.port);
	}
	if (events & EPOLLIN && !t->rx_wait)
		tap_receive(t, false);
}

/* -- The carrier -- */

static int tap_start(struct carrier *c)
{
	struct tap *t = tap_of(c);

	t->started = true;
	t->rx_wait = false;
	t->rx_failed = false;
	t->tx_wait = false;
	return tap_poll(t);
}

static void tap_stop(struct carrier *c)
{
	struct tap *t = tap_of(c);

	t->started = false;
	t->rx_wait = false;
	t->rx_failed = false;
	t->tx_wait = false;
	if (t->held_len)
		count(&c->port->stats.rx_dropped);
	t->held_len = 0;
	loop_timer_cancel(&t->hold_timer);
	tap_poll(t);
}

static void tap_set_rx_features(struct carrier *c, uint64_t features)
{
	struct tap *t = tap_of(c);
	int err;

	t->features = features;
	if (t->gone)
		return;
	err = tap_set_offload(t->h.fd, features);
	if (err)
		log_warn(t->name, "the TAP refuses offloads: %s", strerror(-err));
}

static bool tap_link_up(struct carrier *c)
{
	return !tap_of(c)->gone;
}

static const struct carrier_ops tap_ops = {
	.send = tap_send,
	.send_end = tap_send_end,
	.rx_ready = tap_rx_ready,
	.start = tap_start,
	.stop = tap_stop,
	.set_rx_features = tap_set_rx_features,
	.link_up = tap_link_up,
};

int tap_create(struct tap **out, const char *name, int fd, struct loop *loop)
{
	struct tap *t = calloc(1, sizeof(*t));
	int err;

	if (!t)
		return -ENOMEM;
	t->carrier.ops = &tap_ops;
	t->name = name;
	t->loop = loop;
	t->guess = TAP_GUESS_MIN;
	t->h.fd = fd;
	t->h.fn = tap_event;
	err = loop_timer_init(loop, &t->hold_timer, tap_hold_over);
	if (err) {
		free(t);
		return err;
	}
	*out = t;
	return 0;
}

struct carrier *tap_carrier(struct tap *t)
{
	return &t->carrier;
}

void tap_destroy(struct tap *t)
{
	if (!t)
		return;
	loop_del(t->loop, &t->h);
	loop_timer_fini(t->loop, &t->hold_timer);
	free(t);
}
