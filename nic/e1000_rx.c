/*
 * 82540EM, receive side: the port that carriers deliver frames to.
 *
 * Theory of operation. The driver owns the descriptors [tail, head), we own [head, tail). A carrier
 * that has a frame reserves descriptors until their buffers hold it, fills them and commits.
 * Nothing is written to the ring before the commit, so what a frame did not need is simply not
 * taken. What the hardware does to a frame (filter by address, cut a tag out, fill up short ones,
 * append the check sequence) happens at the commit, for only then its first bytes are known. Room
 * for the check sequence is kept back from the carrier: the last bytes of each reservation are
 * shown to it only as the first ones of the next.
 *
 * A frame that is longer than the driver allows goes to its end in private memory and is dropped.
 *
 * While the ring is used as one of mapped slots (e1000_slots.c) there is nothing to reserve. What
 * the hardware does to a frame is the same for both, and here.
 *
 * Threads and locks. Several threads may deliver to one NIC: the receive lock is held from
 * rx_begin() to rx_end(). It is always the last one taken but for the interrupt's. Tails are
 * latched by vCPUs without it.
 *
 * Waiting for buffers. `starved` is set before the tail is looked at a last time, and the tail is
 * written before `starved` is looked at: one of the two sees the other.
 */
#include <assert.h>
#include <endian.h>
#include <errno.h>
#include <stdlib.h>

#include "base/iov.h"
#include "nic/e1000_internal.h"

#define SCRATCH_BYTES (FRAME_MAX_BYTES + 64)
#define TYPE_AT	      12
#define TAG_AT	      14

static struct e1000 *e1000_of(struct port *p)
{
	return container_of(p, struct e1000, port);
}

int e1000_rx_init(struct e1000 *e)
{
	int err;

	e->rx.scratch = malloc(SCRATCH_BYTES);
	if (!e->rx.scratch)
		return -ENOMEM;
	err = pthread_mutex_init(&e->rx.lock, NULL);
	if (err)
		free(e->rx.scratch);
	return -err;
}

void e1000_rx_fini(struct e1000 *e)
{
	pthread_mutex_destroy(&e->rx.lock);
	free(e->rx.scratch);
}

/* The ring is not the one that was mapped any more. Whoever has mapped it is told at once: until its
 * pages are back, what others deliver would be seen by the sender, too. */
static void slots_gone(struct e1000 *e)
{
	if (!e->rx.slots.mapped)
		return;
	e->rx.slots.mapped = false;
	e1000_slots_refuse(e);
}

void e1000_rx_set(struct e1000 *e, unsigned reg, uint32_t v)
{
	struct e1000_rx *rx = &e->rx;

	pthread_mutex_lock(&rx->lock);
	if (reg != REG_RCTL || e1000_slots_differ(e1000_get(e, REG_RCTL), v))
		slots_gone(e);
	if (reg == REG_RDH)
		atomic_store(&rx->head, v);
	else
		e1000_set(e, reg, v);
	/* What was wrong may have been put right. */
	rx->live = e->started && (e1000_get(e, REG_RCTL) & RCTL_EN);
	rx->low = false;
	pthread_mutex_unlock(&rx->lock);
}

void e1000_rx_stop(struct e1000 *e)
{
	pthread_mutex_lock(&e->rx.lock);
	e->rx.live = false;
	e->rx.slots.mapped = false;
	atomic_store(&e->rx.starved, false);
	atomic_store(&e->rx.watch, 0);
	pthread_mutex_unlock(&e->rx.lock);
}

bool e1000_rx_begin(struct port *p)
{
	struct e1000_rx *rx = &e1000_of(p)->rx;

	pthread_mutex_lock(&rx->lock);
	if (rx->live)
		return true;
	pthread_mutex_unlock(&rx->lock);
	return false;
}

/* -- Reserving -- */

int e1000_rx_fault(struct e1000 *e, const char *why)
{
	e->rx.live = false;
	slots_gone(e);
	e1000_complain(e, "receive", why);
	return -EPROTO;
}

size_t e1000_rx_buffer_bytes(uint32_t rctl)
{
	unsigned bsize = rctl >> RCTL_BSIZE_SHIFT & 3;

	if (!(rctl & RCTL_BSEX) || !bsize)
		return 2048u >> (rctl & RCTL_BSEX ? 0 : bsize);
	return 32768u >> bsize;
}

static size_t frame_limit(uint32_t rctl)
{
	return rctl & RCTL_LPE ? E1000_FRAME_LONG : E1000_FRAME_MAX;
}

/* Room for a frame in what is reserved. */
static size_t usable(const struct e1000_rx *rx)
{
	return rx->bytes > E1000_FCS_BYTES ? rx->bytes - E1000_FCS_BYTES : 0;
}

uint8_t *e1000_rx_ring(struct e1000 *e, uint32_t *nr, uint32_t *ours)
{
	uint32_t head = atomic_load(&e->rx.head), tail = atomic_load(&e->rx.tail);
	uint8_t *ring = e1000_ring(e, REG_RDBAL, nr);

	if (!ring) {
		e1000_rx_fault(e, "the ring is not in guest memory");
		return NULL;
	}
	if (head >= *nr || tail >= *nr) {
		e1000_rx_fault(e, "head or tail is beyond the ring");
		return NULL;
	}
	*ours = e1000_distance(head, tail, *nr);
	return ring;
}

uint64_t e1000_rx_address(const uint8_t *ring, uint32_t index)
{
	const uint64_t *desc = (const uint64_t *)(ring + (size_t)index * E1000_DESC_BYTES);

	return le64toh(__atomic_load_n(desc, __ATOMIC_RELAXED));
}

/* The next descriptor's buffer. 1: reserved; 0: there is none; -EPROTO. */
static int reserve_one(struct e1000 *e, uint32_t rctl)
{
	struct e1000_rx *rx = &e->rx;
	size_t len = e1000_rx_buffer_bytes(rctl);
	uint32_t nr, ours;
	const uint8_t *ring;
	uint64_t address;
	void *p = NULL;

	if (atomic_load(&rx->head) == atomic_load(&rx->tail))
		return 0; /* whatever the ring is */
	ring = e1000_rx_ring(e, &nr, &ours);
	if (!ring)
		return -EPROTO;
	if (rx->nr_bufs >= ours)
		return 0;
	if (rx->nr_bufs == E1000_RX_MAX_BUFS)
		return e1000_rx_fault(e, "too many null descriptors");
	address = e1000_rx_address(ring, (atomic_load(&rx->head) + rx->nr_bufs) % nr);
	if (!address) {
		len = 0; /* a null descriptor: skipped */
	} else {
		p = gmem_ptr(e->plat->mem, address, len);
		if (!p)
			return e1000_rx_fault(e, "a buffer is not in guest memory");
	}
	rx->buf[rx->nr_bufs++] = (struct iovec){ p, len };
	rx->bytes += len;
	return 1;
}

/* As reserve_one(); where there is none, the next tail is waited for. */
static int reserve_or_wait(struct e1000 *e, uint32_t rctl)
{
	int rc = reserve_one(e, rctl);

	if (rc)
		return rc;
	atomic_store(&e->rx.starved, true);
	rc = reserve_one(e, rctl);
	if (!rc)
		e->rx.causes |= ICR_RXO;
	return rc;
}

ssize_t e1000_rx_reserve(struct port *p, size_t want, struct iovec *iov, unsigned *iovcnt)
{
	struct e1000 *e = e1000_of(p);
	struct e1000_rx *rx = &e->rx;
	uint32_t rctl = e1000_get(e, REG_RCTL);
	size_t limit = frame_limit(rctl), goal, got = 0;
	struct iov_cursor cur;
	unsigned room = *iovcnt;
	int rc;

	*iovcnt = 0;
	if (!rx->live)
		return -EPROTO;
	if (rx->slots.mapped) {
		e1000_slots_refuse(e);
		return 0;
	}
	if (rx->given >= limit && room) {
		/* It will be dropped. */
		iov[0] = (struct iovec){ rx->scratch, SCRATCH_BYTES };
		*iovcnt = 1;
		rx->given += SCRATCH_BYTES;
		return SCRATCH_BYTES;
	}
	goal = want < limit - rx->given ? rx->given + want : limit;
	while (usable(rx) < goal) {
		rc = reserve_or_wait(e, rctl);
		if (rc < 0)
			return rc;
		if (!rc)
			break;
	}
	cur = iov_cursor(rx->buf, rx->nr_bufs);
	iov_skip(&cur, rx->given);
	*iovcnt = iov_slice(cur, usable(rx) - rx->given, iov, room);
	for (unsigned i = 0; i < *iovcnt; i++)
		got += iov[i].iov_len;
	rx->given += got;
	return (ssize_t)got;
}

void e1000_rx_abort(struct port *p)
{
	struct e1000_rx *rx = &e1000_of(p)->rx;

	rx->nr_bufs = 0;
	rx->bytes = 0;
	rx->given = 0;
}

/* -- Filters -- */

static bool mta_hit(const struct e1000 *e, uint32_t rctl, const uint8_t *mac)
{
	static const uint8_t shift[] = { 4, 3, 2, 0 };
	unsigned hash =
		(mac[4] | (unsigned)mac[5] << 8) >> shift[rctl >> RCTL_MO_SHIFT & 3] & 0xfff;

	return e1000_get(e, REG_MTA + 4 * (hash >> 5)) >> (hash & 31) & 1;
}

static bool address_hit(const struct e1000 *e, const uint8_t *mac)
{
	uint32_t low =
		mac[0] | (uint32_t)mac[1] << 8 | (uint32_t)mac[2] << 16 | (uint32_t)mac[3] << 24;
	uint32_t high = mac[4] | (uint32_t)mac[5] << 8;

	for (unsigned i = 0; i < E1000_NR_RA; i++) {
		uint32_t rah = e1000_get(e, REG_RA + 8 * i + 4);

		if ((rah & RAH_AV) && (rah & 0xffff) == high && e1000_get(e, REG_RA + 8 * i) == low)
			return true;
	}
	return false;
}

static bool is_tagged(const struct e1000 *e, const uint8_t *head, size_t len)
{
	return len >= TAG_AT + E1000_TAG_BYTES &&
	       (head[TYPE_AT] << 8 | head[TYPE_AT + 1]) == (int)(e1000_get(e, REG_VET) & 0xffff);
}

/* Does the driver want this frame? *status: bits that say why. */
static bool wanted(const struct e1000 *e, uint32_t rctl, const uint8_t *head, size_t len,
		   uint8_t *status)
{
	static const uint8_t broadcast[ETH_ADDR_BYTES] = { 255, 255, 255, 255, 255, 255 };
	bool group = head[0] & 1;

	if ((rctl & RCTL_VFE) && is_tagged(e, head, len)) {
		unsigned id = (head[TAG_AT] << 8 | head[TAG_AT + 1]) & 0xfff;

		if (!(e1000_get(e, REG_VFTA + 4 * (id >> 5)) >> (id & 31) & 1))
			return false;
	}
	if ((rctl & RCTL_BAM) && !memcmp(head, broadcast, sizeof(broadcast)))
		return true;
	if (address_hit(e, head))
		return true;
	if (group && mta_hit(e, rctl, head)) {
		*status |= RXD_STAT_PIF;
		return true;
	}
	return rctl & (group ? RCTL_MPE : RCTL_UPE);
}

bool e1000_rx_accept(struct e1000 *e, uint32_t rctl, struct e1000_rx_frame *f)
{
	struct iov_cursor cur = iov_cursor(e->rx.buf, e->rx.nr_bufs);

	if (f->len < FRAME_MIN_BYTES)
		return false;
	if (f->len > frame_limit(rctl)) {
		e1000_count(e, STAT_ROC, 1);
		atomic_fetch_add_explicit(&e->port.stats.rx_dropped, 1, memory_order_relaxed);
		return false;
	}
	f->total = f->len;
	f->status = RXD_STAT_IXSM;
	f->special = 0;
	iov_read(&cur, f->head, f->len < sizeof(f->head) ? f->len : sizeof(f->head));
	return wanted(e, rctl, f->head, f->len, &f->status);
}

/* -- Committing -- */

bool e1000_rx_cuts_tag(const struct e1000 *e, const struct e1000_rx_frame *f)
{
	return (e1000_get(e, REG_CTRL) & CTRL_VME) && is_tagged(e, f->head, f->len);
}

/* Moves the frame behind its tag to the left, over it. */
static void cut_tag(const struct e1000_rx *rx, struct e1000_rx_frame *f)
{
	struct iov_cursor from = iov_cursor(rx->buf, rx->nr_bufs), to = from;
	uint8_t part[512];

	iov_skip(&from, TYPE_AT + E1000_TAG_BYTES);
	iov_skip(&to, TYPE_AT);
	f->special = (uint16_t)(f->head[TAG_AT] << 8 | f->head[TAG_AT + 1]);
	f->status |= RXD_STAT_VP;
	f->total -= E1000_TAG_BYTES;
	for (size_t left = f->len - TYPE_AT - E1000_TAG_BYTES, n; left; left -= n) {
		n = iov_read(&from, part, left < sizeof(part) ? left : sizeof(part));
		if (!n)
			return;
		iov_write(&to, part, n);
	}
}

/* Zeros from `from` on: what fills short frames up, and the place of the check sequence. */
static void fill(const struct e1000_rx *rx, size_t from, size_t len)
{
	static const uint8_t zeros[E1000_FRAME_MIN + E1000_FCS_BYTES];
	struct iov_cursor to = iov_cursor(rx->buf, rx->nr_bufs);

	iov_skip(&to, from);
	iov_write(&to, zeros, len);
}

/* The frame of len bytes fills descriptors from the head on; they go to the driver. Of none the
 * first descriptor says so. `status`: with the errors. */
static void write_back(struct e1000 *e, size_t len, uint16_t status, uint16_t special)
{
	struct e1000_rx *rx = &e->rx;
	uint32_t nr, at = atomic_load(&rx->head);
	uint8_t *ring = e1000_ring(e, REG_RDBAL, &nr);
	unsigned i = 0;

	atomic_fetch_add_explicit(&rx->done, 1, memory_order_release);
	do {
		size_t n = len < rx->buf[i].iov_len ? len : rx->buf[i].iov_len;
		uint64_t *desc = (uint64_t *)(ring + (size_t)at * E1000_DESC_BYTES);
		uint16_t bits = status | RXD_STAT_DD;

		len -= n;
		if (!len)
			bits |= RXD_STAT_EOP;
		/* In one go: a driver that sees DD sees all of it. */
		__atomic_store_n(desc + 1,
				 htole64(n | (uint64_t)bits << 32 | (uint64_t)special << 48),
				 __ATOMIC_RELEASE);
		at = at + 1 < nr ? at + 1 : 0;
	} while (len && ++i < rx->nr_bufs);
	atomic_store(&rx->head, at);
}

static void note_low(struct e1000 *e, uint32_t rctl)
{
	struct e1000_rx *rx = &e->rx;
	uint32_t nr = e1000_get(e, REG_RDLEN) / E1000_DESC_BYTES;
	uint32_t ours = e1000_distance(atomic_load(&rx->head), atomic_load(&rx->tail), nr);
	bool low = ours <= nr >> ((rctl >> RCTL_RDMTS_SHIFT & 3) + 1);

	if (low && !rx->low)
		rx->causes |= ICR_RXDMT0;
	rx->low = low;
}

static void hand_over(struct e1000 *e, uint32_t rctl, size_t len, uint16_t status, uint16_t special)
{
	write_back(e, len, status, special);
	e->rx.causes |= ICR_RXT0;
	note_low(e, rctl);
}

void e1000_rx_deliver(struct e1000 *e, uint32_t rctl, struct e1000_rx_frame *f,
		      const struct virtio_net_hdr_v1 *hdr)
{
	struct port *p = &e->port;

	if (f->total < E1000_FRAME_MIN) {
		fill(&e->rx, f->total, E1000_FRAME_MIN - f->total);
		f->total = E1000_FRAME_MIN;
	}
	if (!(rctl & RCTL_SECRC)) {
		fill(&e->rx, f->total, E1000_FCS_BYTES);
		f->total += E1000_FCS_BYTES;
	}
	/* Nobody has looked at the IP header's checksum, so nothing is said of it. */
	if ((hdr->flags & VIRTIO_NET_HDR_F_DATA_VALID) && (e1000_get(e, REG_RXCSUM) & RXCSUM_TUOFL))
		f->status = (uint8_t)((f->status & ~RXD_STAT_IXSM) | RXD_STAT_TCPCS);
	hand_over(e, rctl, f->total, f->status, f->special);
	e1000_count_frame(e, false, f->head, f->len);
	stat_add(&p->stats.rx_frames, 1);
	stat_add(&p->stats.rx_bytes, f->len);
}

void e1000_rx_skip(struct e1000 *e, uint32_t rctl)
{
	hand_over(e, rctl, 0, RXD_ERR_RXE << 8, 0);
}

void e1000_rx_commit(struct port *p, const struct virtio_net_hdr_v1 *hdr, size_t len)
{
	struct e1000 *e = e1000_of(p);
	struct e1000_rx *rx = &e->rx;
	uint32_t rctl = e1000_get(e, REG_RCTL);
	struct e1000_rx_frame f = { .len = len };

	if (rx->live && rx->bytes) {
		assert(len <= rx->given); /* a carrier commits no more than it reserved */
		if (e1000_rx_accept(e, rctl, &f)) {
			if (e1000_rx_cuts_tag(e, &f))
				cut_tag(rx, &f);
			e1000_rx_deliver(e, rctl, &f, hdr);
		}
	}
	e1000_rx_abort(p);
}

void e1000_rx_end(struct port *p)
{
	struct e1000 *e = e1000_of(p);
	uint32_t causes = e->rx.causes;

	e1000_rx_abort(p); /* a frame that was neither committed nor aborted is forgotten */
	e->rx.causes = 0;
	if (causes)
		e1000_raise(e, causes);
	pthread_mutex_unlock(&e->rx.lock);
}
