/*
 * 82540EM, transmit side: from descriptors to frames.
 *
 * Theory of operation. Descriptors [head, tail) are ours. They are fetched one by one, at `next`,
 * and their buffers collected until one ends the frame. The frame is then built once and offered to
 * the carrier until it takes it; only then are its descriptors done, for the carrier reads the
 * guest's buffers. A descriptor that carries no data is done as soon as no earlier one is open. The
 * tail may stand in the middle of a frame: what was collected stays.
 *
 *    head ──────────────▶ first ─────────────▶ next ─────────▶ tail
 *      kept, and done ones  the frame in         not fetched
 *      that wait for these  progress             yet
 *
 * Kept frames. A carrier may go on reading the buffers of a frame that it took (CARRIER_KEPT) until
 * it says tx_done(). The 82540EM completes in order, so `head` stops at the first descriptor of the
 * oldest kept frame, and what was done behind it waits: `state` remembers what is to be written
 * back. Nothing is fetched beyond the tail seen from `head`, so no entry of it is used twice. A
 * frame that is kept when the transmitter is disabled is in flight, and done as any other; a reset,
 * or a write to a register of the ring, forgets it. The carrier is not told of the latter, and will
 * say tx_done() for these too: as many are ignored.
 *
 * Offloads. Where one can be said in a virtio-net header (a checksum to the end of the frame, TCP
 * segmentation) it is passed on, and done only if the receiver can't. The rest is done here, in a
 * private copy of the first bytes; so is what the hardware does per segment and a receiver of
 * unsegmented frames relies on: IP length, and the TCP length in the pseudo header's sum.
 *
 * Owned by the device's loop; the tail alone is written by vCPUs. No lock.
 */
#include <endian.h>
#include <errno.h>

#include "base/iov.h"
#include "nic/e1000_internal.h"

/* Taken from one NIC before the loop's other devices get their turn. */
#define TX_BATCH_FRAMES 256
#define TX_BATCH_DESCS	2048

#define IP4_MIN_BYTES	20
#define IP6_BYTES	40
#define IP_LEN_AT	2 /* total length in an IPv4 header */
#define IP6_LEN_AT	4 /* payload length in an IPv6 header */
#define TCP_MIN_BYTES	20
#define TCP_CSUM_AT	16
#define TCP_FLAGS_AT	13
#define TCP_FLAG_CWR	0x80
#define MAC_ADDRS_BYTES 12

struct tx_desc {
	uint64_t address;
	uint32_t lower; /* second quadword, low half */
	uint32_t upper;
};

static uint16_t get16be(const uint8_t *p)
{
	return (uint16_t)(p[0] << 8 | p[1]);
}

static void put16be(uint8_t *p, uint32_t v)
{
	p[0] = (uint8_t)(v >> 8);
	p[1] = (uint8_t)v;
}

/* -- The frame's headers -- */

static uint32_t fold(uint64_t sum)
{
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return (uint32_t)sum;
}

/* Ones' complement sum of `len` bytes, big-endian words; `odd`: the first byte is a second half. */
static uint64_t sum_bytes(const uint8_t *p, size_t len, bool odd)
{
	uint64_t sum = 0;

	for (size_t i = 0; i < len; i++)
		sum += (i & 1) == odd ? (uint64_t)p[i] << 8 : p[i];
	return sum;
}

/* The frame as it is to be sent: `head` private, the rest still in the guest's buffers. */
struct tx_build {
	uint8_t *head;
	size_t head_len, len;
	struct iov_cursor rest;
};

/* Inserts the checksum of [start, end) at `at`, as the hardware does: the field's old content
 * counts. False: the field or the range is not within the frame. */
static bool insert_csum(struct tx_build *b, size_t start, size_t at, size_t end)
{
	struct iov_cursor rest = b->rest;
	size_t pos, run;
	uint64_t sum = 0;
	uint8_t *p;

	if (start < FRAME_MIN_BYTES || at < FRAME_MIN_BYTES || start >= end || end > b->len ||
	    at + 2 > b->head_len)
		return false;
	pos = end < b->head_len ? end : b->head_len;
	if (start < pos)
		sum = sum_bytes(b->head + start, pos - start, false);
	if (start > pos) {
		iov_skip(&rest, start - pos);
		pos = start;
	}
	while (pos < end && (run = iov_run(&rest, &p))) {
		if (run > end - pos)
			run = end - pos;
		sum += sum_bytes(p, run, (pos - start) & 1);
		rest.offset += run;
		pos += run;
	}
	sum = ~fold(sum) & 0xffff;
	/* To UDP a sum of zero means that there is none; for all others the two are the same. */
	put16be(b->head + at, sum ? (uint32_t)sum : 0xffff);
	return true;
}

/* The context's IP checksum. The field holds 0: the driver's business, as with the hardware. */
static bool insert_ip_csum(struct tx_build *b, const struct e1000_tx_ctx *c, size_t shift)
{
	size_t end = c->ipcse ? (size_t)c->ipcse + 1 + shift : b->len;

	return insert_csum(b, c->ipcss + shift, c->ipcso + shift, end);
}

/* A checksum that reaches to the end of the frame is left to whoever receives it, if it can be told
 * so; `end`: offset of the last byte that it covers, 0: to the end of the frame. */
static bool offload_csum(struct tx_build *b, struct virtio_net_hdr_v1 *h, size_t start, size_t at,
			 size_t end)
{
	if (end || at < start)
		return insert_csum(b, start, at, end ? end + 1 : b->len);
	/* Never over or into the Ethernet header: frames are steered and judged by it. */
	if (start < FRAME_MIN_BYTES || at + 2 > b->len)
		return false;
	h->flags = VIRTIO_NET_HDR_F_NEEDS_CSUM;
	h->csum_start = (uint16_t)start;
	h->csum_offset = (uint16_t)(at - start);
	return true;
}

/* Segmentation of TCP, to be done by whoever needs it. */
static bool offload_tso(struct tx_build *b, struct virtio_net_hdr_v1 *h,
			const struct e1000_tx_ctx *c, uint8_t popts, size_t shift)
{
	size_t l3 = c->ipcss + shift, l4 = c->tucss + shift, hdr_len = c->hdr_len + shift;
	size_t l3_bytes = b->len - l3;
	uint8_t *tcp_csum;

	/* UDP is never sent this way by any driver, and no header could say it. */
	if (!c->tcp || !c->mss || !(popts & TXD_POPTS_TXSM) || hdr_len > b->head_len ||
	    l3 < FRAME_MIN_BYTES || l3 + (c->ip4 ? IP4_MIN_BYTES : IP6_BYTES) > l4 ||
	    l4 + TCP_MIN_BYTES > hdr_len || c->tucso != c->tucss + TCP_CSUM_AT)
		return false;
	if (c->ip4 && l3_bytes > UINT16_MAX)
		return false;
	if (c->ip4)
		put16be(b->head + l3 + IP_LEN_AT, (uint32_t)l3_bytes);
	else
		put16be(b->head + l3 + IP6_LEN_AT, (uint32_t)(l3_bytes - IP6_BYTES));
	if ((popts & TXD_POPTS_IXSM) && !insert_ip_csum(b, c, shift))
		return false;
	tcp_csum = b->head + l4 + TCP_CSUM_AT;
	put16be(tcp_csum, fold(get16be(tcp_csum) + (uint64_t)(b->len - l4)));
	if (!offload_csum(b, h, l4, l4 + TCP_CSUM_AT, 0))
		return false;
	h->hdr_len = (uint16_t)hdr_len;
	if (b->len - hdr_len <= c->mss)
		return true; /* one segment */
	h->gso_type = c->ip4 ? VIRTIO_NET_HDR_GSO_TCPV4 : VIRTIO_NET_HDR_GSO_TCPV6;
	if (b->head[l4 + TCP_FLAGS_AT] & TCP_FLAG_CWR)
		h->gso_type |= VIRTIO_NET_HDR_GSO_ECN;
	h->gso_size = c->mss;
	return true;
}

static bool offload_all(struct e1000_tx *tx, struct tx_build *b, size_t shift)
{
	const struct e1000_tx_ctx *c = &tx->frame_ctx;
	struct virtio_net_hdr_v1 *h = &tx->frame.hdr;

	if (!tx->ext)
		return !tx->insert || offload_csum(b, h, tx->css + shift, tx->cso + shift, 0);
	if (tx->tse)
		return offload_tso(b, h, c, tx->popts, shift);
	if ((tx->popts & TXD_POPTS_IXSM) && !insert_ip_csum(b, c, shift))
		return false;
	return !(tx->popts & TXD_POPTS_TXSM) ||
	       offload_csum(b, h, c->tucss + shift, c->tucso + shift,
			    c->tucse ? c->tucse + shift : 0);
}

/* Puts the tag between addresses and type. */
static void insert_tag(struct e1000 *e, struct tx_build *b)
{
	uint8_t *to = b->head - E1000_TAG_BYTES;

	memmove(to, b->head, MAC_ADDRS_BYTES);
	put16be(to + MAC_ADDRS_BYTES, e1000_get(e, REG_VET) & 0xffff);
	put16be(to + MAC_ADDRS_BYTES + 2, e->tx.special);
	b->head = to;
	b->head_len += E1000_TAG_BYTES;
	b->len += E1000_TAG_BYTES;
}

/* Turns the collected buffers into a frame. False: it breaks a rule that concerns it alone. */
static bool tx_build(struct e1000 *e)
{
	struct e1000_tx *tx = &e->tx;
	struct frame *f = &tx->frame;
	bool tag = tx->vlan && (e1000_get(e, REG_CTRL) & CTRL_VME);
	bool plain = !tag && !tx->insert && !tx->tse && !(tx->ext && tx->popts);
	struct tx_build b = {
		.head = tx->head_bytes + E1000_TAG_BYTES,
		.len = tx->bytes,
		.rest = iov_cursor(tx->seg, tx->nr_segs),
	};
	unsigned n = 0;

	if (tx->bytes < FRAME_MIN_BYTES ||
	    tx->bytes > FRAME_MAX_BYTES - (tag ? E1000_TAG_BYTES : 0) ||
	    (!tx->tse && tx->bytes > E1000_TX_LONG))
		return false;
	/* The guest may change these bytes at any time: read once, decide on the copy. */
	b.head_len = iov_read(&b.rest, b.head,
			      plain ? FRAME_HEAD_BYTES : E1000_TX_HEAD_BYTES - E1000_TAG_BYTES);
	memset(&f->hdr, 0, sizeof(f->hdr));
	if (tag)
		insert_tag(e, &b);
	if (!plain && !offload_all(tx, &b, tag ? E1000_TAG_BYTES : 0))
		return false;

	f->len = (uint32_t)b.len;
	f->head_len = f->len < FRAME_HEAD_BYTES ? f->len : FRAME_HEAD_BYTES;
	memcpy(f->head, b.head, f->head_len);
	if (b.head_len > f->head_len)
		f->iov[n++] = (struct iovec){ b.head + f->head_len, b.head_len - f->head_len };
	f->iovcnt = n + iov_slice(b.rest, b.len - b.head_len, f->iov + n, FRAME_MAX_IOV - n);
	/* One descriptor, and nothing of it rewritten in the private copy. */
	f->slot = plain && tx->nr_descs == 1 ? tx->seg[0].iov_base : NULL;
	f->slot_hdr = NULL;
	return true;
}

/* -- Descriptors -- */

static void write_back(struct e1000_tx *tx, uint8_t *ring, uint32_t index)
{
	uint8_t *status = ring + (size_t)index * E1000_DESC_BYTES + TXD_STATUS_AT;

	__atomic_store_n(status, TXD_STAT_DD, __ATOMIC_RELEASE);
	tx->reported = true;
}

/* Passes what is done, up to the oldest kept frame or the one in progress. */
static void settle(struct e1000_tx *tx, uint8_t *ring, uint32_t nr)
{
	uint32_t from = atomic_load_explicit(&tx->head, memory_order_relaxed), at = from;

	atomic_fetch_add_explicit(&tx->done, 1, memory_order_release);
	while (at != tx->first) {
		uint8_t state = tx->state[at];

		if ((state & TX_KEPT) && !tx->released)
			break;
		if ((state & TX_KEPT) && (state & TX_LAST))
			tx->released--;
		if (state & TX_REPORT)
			write_back(tx, ring, at);
		at = at + 1 < nr ? at + 1 : 0;
	}
	if (at == from)
		return;
	atomic_store_explicit(&tx->head, at, memory_order_release);
	tx->moved = true;
}

/* Everything fetched so far is done, but for kept frames and what follows them. */
static void complete(struct e1000_tx *tx, uint8_t *ring, uint32_t nr)
{
	tx->first = tx->next;
	tx->nr_descs = 0;
	settle(tx, ring, nr);
}

/* The frame in progress is sent, and done at some other time. */
static void keep(struct e1000_tx *tx, uint32_t nr)
{
	uint32_t last = tx->next ? tx->next - 1 : nr - 1;

	for (uint32_t at = tx->first; at != tx->next; at = at + 1 < nr ? at + 1 : 0)
		tx->state[at] |= TX_KEPT;
	tx->state[last] |= TX_LAST;
	tx->kept++;
}

static void frame_begin(struct e1000_tx *tx)
{
	tx->skipping = false;
	tx->ready = false;
	tx->built = false;
	tx->has_data = false;
	tx->tse = false;
	tx->vlan = false;
	tx->ext = false;
	tx->insert = false;
	tx->popts = 0;
	tx->bytes = 0;
	tx->nr_segs = 0;
}

void e1000_tx_reset(struct e1000 *e)
{
	struct e1000_tx *tx = &e->tx;

	frame_begin(tx);
	tx->nr_descs = 0;
	tx->next = atomic_load_explicit(&tx->head, memory_order_relaxed);
	tx->first = tx->next;
	tx->forgotten += tx->kept;
	tx->kept = 0;
	tx->released = 0;
	tx->broken = false;
	tx->blocked = false;
}

static void take_context(struct e1000 *e, const struct tx_desc *d)
{
	bool tse = d->lower & TXD_CMD_TSE;

	e->tx.ctx[tse] = (struct e1000_tx_ctx){
		.ipcss = (uint8_t)d->address,
		.ipcso = (uint8_t)(d->address >> 8),
		.ipcse = (uint16_t)(d->address >> 16),
		.tucss = (uint8_t)(d->address >> 32),
		.tucso = (uint8_t)(d->address >> 40),
		.tucse = (uint16_t)(d->address >> 48),
		.hdr_len = (uint8_t)(d->upper >> 8),
		.mss = (uint16_t)(d->upper >> 16),
		.ip4 = d->lower & TXD_TUCMD_IP,
		.tcp = d->lower & TXD_TUCMD_TCP,
	};
	if (tse)
		e1000_count(e, STAT_TSCTC, 1);
}

/* What the first, and what the last, data descriptor of a frame says about all of it. */
static void take_options(struct e1000_tx *tx, const struct tx_desc *d)
{
	bool eop = d->lower & TXD_CMD_EOP;

	if (!tx->has_data) {
		tx->has_data = true;
		tx->ext = d->lower & TXD_CMD_DEXT;
		tx->tse = tx->ext && (d->lower & TXD_CMD_TSE);
		if (tx->ext)
			tx->popts = (uint8_t)(d->upper >> 8) & (TXD_POPTS_IXSM | TXD_POPTS_TXSM);
		else
			tx->css = (uint8_t)(d->upper >> 8);
		tx->frame_ctx = tx->ctx[tx->tse];
		if (tx->tse) {
			tx->vlan = d->lower & TXD_CMD_VLE;
			tx->special = (uint16_t)(d->upper >> 16);
		}
	}
	if (eop && !tx->tse) {
		tx->vlan = d->lower & TXD_CMD_VLE;
		tx->special = (uint16_t)(d->upper >> 16);
	}
	if (eop && !tx->ext) {
		tx->insert = d->lower & TXD_CMD_IC;
		tx->cso = (uint8_t)(d->lower >> 16);
	}
}

/* One descriptor, fetched. False: its buffer is not in guest memory. */
static bool take(struct e1000 *e, const struct tx_desc *d)
{
	struct e1000_tx *tx = &e->tx;
	bool ext = d->lower & TXD_CMD_DEXT;
	unsigned type = d->lower >> TXD_DTYP_SHIFT & 15;
	uint32_t len = d->lower & (ext ? 0xfffff : 0xffff);
	void *p;

	tx->state[tx->next] = d->lower & TXD_CMD_RS ? TX_REPORT : 0;
	tx->nr_descs++;
	if (ext && type != TXD_DTYP_DATA) {
		if (type == TXD_DTYP_CTX)
			take_context(e, d);
		return true;
	}
	take_options(tx, d);
	if (len && !tx->skipping) {
		p = gmem_ptr(e->plat->mem, d->address, len);
		if (!p)
			return false;
		if (tx->nr_segs == E1000_TX_MAX_SEGS || tx->bytes + len > FRAME_MAX_BYTES) {
			tx->skipping = true;
		} else {
			tx->seg[tx->nr_segs++] = (struct iovec){ p, len };
			tx->bytes += len;
		}
	}
	tx->ready = d->lower & TXD_CMD_EOP;
	return true;
}

static void fetch(const uint8_t *ring, uint32_t index, struct tx_desc *d)
{
	const uint64_t *p = (const uint64_t *)(ring + (size_t)index * E1000_DESC_BYTES);
	uint64_t second;

	/* Once: the guest may change it under us. */
	d->address = le64toh(__atomic_load_n(p, __ATOMIC_RELAXED));
	second = le64toh(__atomic_load_n(p + 1, __ATOMIC_RELAXED));
	d->lower = (uint32_t)second;
	d->upper = (uint32_t)(second >> 32);
}

/* -- Serving the ring -- */

/* As carrier->send(). */
static int tx_send(struct e1000 *e)
{
	struct carrier *c = e->port.carrier;
	const struct frame *f = &e->tx.frame;
	int rc;

	if (!c) {
		atomic_fetch_add_explicit(&e->port.stats.tx_dropped, 1, memory_order_relaxed);
		return 0;
	}
	rc = c->ops->send(c, f);
	if (rc == -EAGAIN)
		return rc;
	stat_add(&e->port.stats.tx_frames, 1);
	stat_add(&e->port.stats.tx_bytes, f->len);
	e1000_count_frame(e, true, f->head, f->len);
	return rc;
}

static void count_invalid(struct e1000 *e)
{
	atomic_fetch_add_explicit(&e->port.stats.tx_invalid, 1, memory_order_relaxed);
	if (e->tx.tse)
		e1000_count(e, STAT_TSCTFC, 1);
}

/* After each descriptor: sends the frame if it is whole, completes what is done. -EAGAIN: the
 * carrier does not take it now. */
static int advance(struct e1000 *e, uint8_t *ring, uint32_t nr)
{
	struct e1000_tx *tx = &e->tx;
	int rc = 0;

	/* Null descriptors may make up a frame of nothing. */
	if (tx->ready && !tx->built && (tx->bytes || tx->skipping)) {
		tx->built = !tx->skipping && tx_build(e);
		if (!tx->built)
			count_invalid(e);
	}
	if (tx->built)
		rc = tx_send(e);
	if (rc == -EAGAIN)
		return rc;
	if (rc == CARRIER_KEPT)
		keep(tx, nr);
	if (tx->ready) {
		complete(tx, ring, nr);
		frame_begin(tx);
		return 0;
	}
	if (tx->nr_descs == E1000_TX_MAX_DESCS)
		tx->skipping = true;
	/* No buffer is needed before the frame has begun, or where it is not to be sent. */
	if (!tx->has_data || tx->skipping)
		complete(tx, ring, nr);
	return 0;
}

static const char *serve_ring(struct e1000 *e)
{
	struct e1000_tx *tx = &e->tx;
	unsigned frames = 0;
	struct tx_desc d;
	uint32_t nr, tail, head;
	uint8_t *ring;

	for (unsigned n = 0;; n++) {
		tail = atomic_load_explicit(&tx->tail, memory_order_acquire);
		if (tx->next == tail && !tx->ready)
			return NULL;
		ring = e1000_ring(e, REG_TDBAL, &nr);
		if (!ring)
			return "the ring is not in guest memory";
		if (tx->next >= nr || tail >= nr)
			return "head or tail is beyond the ring";
		head = atomic_load_explicit(&tx->head, memory_order_relaxed);
		if (e1000_distance(head, tx->next, nr) > e1000_distance(head, tail, nr))
			return "the tail was moved back over what is being sent";
		if (frames == TX_BATCH_FRAMES || n == TX_BATCH_DESCS) {
			loop_post(e->loop, &e->tx_work);
			return NULL;
		}
		if (!tx->ready) {
			fetch(ring, tx->next, &d);
			if (!take(e, &d))
				return "a buffer is not in guest memory";
			tx->next = tx->next + 1 < nr ? tx->next + 1 : 0;
		}
		frames += tx->ready;
		if (advance(e, ring, nr) == -EAGAIN) {
			tx->blocked = true;
			return NULL;
		}
	}
}

/* After the carrier was called: what it has said to be done is passed, the driver told. */
static void publish(struct e1000 *e)
{
	struct e1000_tx *tx = &e->tx;
	uint32_t nr, causes = 0;
	uint8_t *ring;

	if (tx->released) {
		ring = e1000_ring(e, REG_TDBAL, &nr);
		/* They were fetched from there: whatever changes it has forgotten them. */
		if (ring)
			settle(tx, ring, nr);
	}
	if (tx->reported)
		causes |= ICR_TXDW;
	if (tx->moved && atomic_load(&tx->head) == atomic_load(&tx->tail))
		causes |= ICR_TXQE;
	tx->moved = false;
	tx->reported = false;
	if (causes)
		e1000_raise(e, causes);
}

void e1000_tx_serve(struct e1000 *e, bool resumed)
{
	struct e1000_tx *tx = &e->tx;
	struct carrier *c = e->port.carrier;
	bool able = (e1000_get(e, REG_TCTL) & TCTL_EN) && !tx->broken && !tx->blocked;
	const char *why = NULL;

	if (!e->started || (!able && !resumed))
		return;
	if (able)
		why = serve_ring(e);
	if (c)
		c->ops->send_end(c);
	if (why) {
		tx->broken = true;
		count_invalid(e);
		e1000_complain(e, "transmit", why);
	}
	publish(e);
}

void e1000_tx_done(struct port *p, unsigned n)
{
	struct e1000_tx *tx = &container_of(p, struct e1000, port)->tx;
	unsigned ignored = n < tx->forgotten ? n : tx->forgotten;

	tx->forgotten -= ignored;
	n -= ignored;
	if (n > tx->kept)
		n = tx->kept;
	tx->kept -= n;
	tx->released += n;
}

void e1000_tx_stopped(struct e1000 *e)
{
	struct e1000_tx *tx = &e->tx;

	tx->released += tx->kept;
	tx->kept = 0;
	tx->forgotten = 0;
	tx->blocked = false;
	publish(e);
}
