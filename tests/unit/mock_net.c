/* See mock_net.h. */
#include <errno.h>
#include <linux/virtio_config.h>
#include <linux/virtio_ring.h>
#include <stdlib.h>

#include "tests/unit/mock_net.h"

void mock_nic_mac(uint8_t mac[ETH_ADDR_BYTES], uint8_t id)
{
	memcpy(mac, (uint8_t[]){ 0x52, 0x54, 0, 0, 0, id }, ETH_ADDR_BYTES);
}

void mock_nic_init(struct mock_nic *n, const char *name, uint8_t id)
{
	uint8_t mac[ETH_ADDR_BYTES];

	memset(n, 0, sizeof(*n));
	mock_platform_init(&n->mp, MIB(32), 0);
	mock_require(!loop_init(&n->loop, name));
	mock_nic_mac(mac, id);
	mock_require(!virtio_net_create(&n->net, name, mac, &n->loop, &n->mp.plat));
	n->dev = virtio_net_dev(n->net);
	n->port = virtio_net_port(n->net);
	mock_driver_init(&n->drv, &n->mp, n->dev);
}

void mock_nic_fini(struct mock_nic *n)
{
	loop_stop(&n->loop);
	virtio_dev_stop(n->dev);
	mock_driver_fini(&n->drv);
	virtio_net_destroy(n->net);
	loop_fini(&n->loop);
	mock_platform_fini(&n->mp);
}

bool mock_nic_start(struct mock_nic *n, uint64_t features, uint16_t queue_size)
{
	bool ok;

	n->drv.next = MIB(1);
	n->mergeable = features & MOCK_NET_MRG;
	ok = mock_driver_start(&n->drv, features, queue_size);
	n->free_mem = n->drv.next;
	return ok;
}

/* Test data goes round in the memory behind the rings. */
static gpa_t take(struct mock_nic *n, size_t len)
{
	if (n->drv.next + len > MIB(32))
		n->drv.next = n->free_mem;
	return mock_driver_alloc(&n->drv, len, 1);
}

static void split(gpa_t gpa, size_t len, unsigned segs, bool write, struct mock_seg *out)
{
	for (unsigned i = 0; i < segs; i++) {
		size_t part = i + 1 < segs ? len / segs : len - (segs - 1) * (len / segs);

		out[i] = (struct mock_seg){ gpa, (uint32_t)part, write };
		gpa += part;
	}
}

void mock_nic_rx_add(struct mock_nic *n, uint32_t len, unsigned segs)
{
	struct mock_seg s[256];
	gpa_t gpa = take(n, len);
	uint16_t head;

	mock_require(segs <= ARRAY_SIZE(s));
	split(gpa, len, segs, true, s);
	if (segs > 1)
		head = mock_ring_add_indirect(&n->drv.ring[0], take(n, 16 * segs), s, segs);
	else
		head = mock_ring_add(&n->drv.ring[0], s, 1);
	n->rx_buf[head] = gpa;
	n->rx_len[head] = len;
}

bool mock_nic_rx(struct mock_nic *n, struct mock_frame *f)
{
	uint32_t id, len;
	unsigned bufs;

	if (!n->drv.ring[0].mem || !mock_ring_used(&n->drv.ring[0], &id, &len))
		return false;
	mock_require(id < 256);
	mock_require(len >= VNET_HDR_BYTES);
	mock_require(len <= n->rx_len[id]);
	mock_require(!gmem_read(&n->mp.mem, n->rx_buf[id], &f->hdr, VNET_HDR_BYTES));
	f->len = len - VNET_HDR_BYTES;
	if (f->len)
		mock_require(
			!gmem_read(&n->mp.mem, n->rx_buf[id] + VNET_HDR_BYTES, f->data, f->len));
	bufs = f->hdr.num_buffers;
	mock_require(bufs >= 1);
	if (!n->mergeable)
		mock_require(bufs == 1);
	while (--bufs) {
		/* All buffers of a frame are published together. */
		mock_require(mock_ring_used(&n->drv.ring[0], &id, &len));
		mock_require(len <= n->rx_len[id]);
		mock_require(f->len + len <= sizeof(f->data));
		mock_require(!gmem_read(&n->mp.mem, n->rx_buf[id], f->data + f->len, len));
		f->len += len;
	}
	return true;
}

void mock_nic_tx(struct mock_nic *n, const struct virtio_net_hdr_v1 *hdr, const void *frame,
		 size_t len, unsigned segs)
{
	struct mock_seg s[256];
	gpa_t gpa = take(n, VNET_HDR_BYTES + len);

	mock_require(!gmem_write(&n->mp.mem, gpa, hdr, VNET_HDR_BYTES));
	if (len)
		mock_require(!gmem_write(&n->mp.mem, gpa + VNET_HDR_BYTES, frame, len));
	split(gpa, VNET_HDR_BYTES + len, segs, false, s);
	if (segs > 1)
		mock_ring_add_indirect(&n->drv.ring[1], take(n, 16 * segs), s, segs);
	else
		mock_ring_add(&n->drv.ring[1], s, 1);
}

/* -- Stable slots -- */

static void slot_desc(struct mock_nic *n, unsigned q, unsigned i, uint32_t len)
{
	struct mock_slots *s = &n->slots[q];
	struct mock_ring *r = &n->drv.ring[q];
	uint16_t write = q ? 0 : MOCK_DESC_WRITE;
	gpa_t table = s->indirect ? s->tables + 32 * i : r->desc;
	unsigned at = s->indirect ? 0 : 2 * i;

	mock_desc_set(r->mem, table, at, s->hdrs + MOCK_SLOT_HDR_BYTES * i, VNET_HDR_BYTES,
		      MOCK_DESC_NEXT | write, (uint16_t)(at + 1));
	mock_desc_set(r->mem, table, at + 1, mock_nic_slot_gpa(n, q, i), len, write, 0);
	if (s->indirect)
		mock_desc_set(r->mem, r->desc, i, table, 32, MOCK_DESC_INDIRECT, 0);
}

static void slots_init(struct mock_nic *n, unsigned q, unsigned nr, uint32_t slot_bytes, gpa_t base,
		       uint32_t offset)
{
	struct mock_slots *s = &n->slots[q];

	mock_require(nr && nr <= n->drv.ring[q].size / (n->slots_indirect ? 1u : 2u));
	mock_require(offset < slot_bytes);
	*s = (struct mock_slots){
		.nr = nr,
		.bytes = slot_bytes - offset,
		.first = base + offset,
		.stride = slot_bytes,
		.hdrs = mock_driver_alloc(&n->drv, (uint64_t)MOCK_SLOT_HDR_BYTES * nr, KIB(4)),
		.tables = mock_driver_alloc(&n->drv, 32ull * nr, KIB(4)),
		.indirect = n->slots_indirect,
	};
	n->drv.next = ALIGN_UP(n->drv.next, KIB(4));
	n->free_mem = n->drv.next; /* test data that goes round leaves the headers alone */
	for (unsigned i = 0; i < nr; i++)
		slot_desc(n, q, i, s->bytes);
}

void mock_nic_slots_tx_init(struct mock_nic *n, unsigned nr_slots, uint32_t slot_bytes, gpa_t base,
			    uint32_t offset)
{
	slots_init(n, 1, nr_slots, slot_bytes, base, offset);
}

void mock_nic_slots_rx_init(struct mock_nic *n, unsigned nr_slots, uint32_t slot_bytes, gpa_t base,
			    uint32_t offset)
{
	slots_init(n, 0, nr_slots, slot_bytes, base, offset);
}

gpa_t mock_nic_slot_gpa(struct mock_nic *n, unsigned q, unsigned i)
{
	return n->slots[q].first + (gpa_t)n->slots[q].stride * i;
}

void *mock_nic_slot_at(struct mock_nic *n, unsigned q, unsigned i)
{
	void *p = gmem_ptr(&n->mp.mem, mock_nic_slot_gpa(n, q, i), n->slots[q].bytes);

	mock_require(p);
	return p;
}

static void slot_offer(struct mock_nic *n, unsigned q, unsigned i)
{
	mock_require(i < n->slots[q].nr);
	mock_ring_offer(&n->drv.ring[q], (uint16_t)(n->slots[q].indirect ? i : 2 * i));
}

static bool slot_used(struct mock_nic *n, unsigned q, unsigned *i, uint32_t *len)
{
	uint32_t id;

	if (!mock_ring_used(&n->drv.ring[q], &id, len))
		return false;
	*i = n->slots[q].indirect ? id : id / 2;
	mock_require(*i < n->slots[q].nr && (n->slots[q].indirect || !(id & 1)));
	return true;
}

void mock_nic_slot_send(struct mock_nic *n, unsigned i, const struct virtio_net_hdr_v1 *hdr,
			const void *frame, size_t len)
{
	struct mock_slots *s = &n->slots[1];

	mock_require(i < s->nr && len <= s->bytes);
	mock_require(
		!gmem_write(&n->mp.mem, s->hdrs + MOCK_SLOT_HDR_BYTES * i, hdr, VNET_HDR_BYTES));
	if (frame && len)
		mock_require(!gmem_write(&n->mp.mem, mock_nic_slot_gpa(n, 1, i), frame, len));
	slot_desc(n, 1, i, (uint32_t)len);
	slot_offer(n, 1, i);
}

bool mock_nic_slot_sent(struct mock_nic *n, unsigned *i)
{
	uint32_t len;

	return slot_used(n, 1, i, &len);
}

void mock_nic_slot_give(struct mock_nic *n, unsigned i)
{
	slot_offer(n, 0, i);
}

void mock_nic_slots_give_all(struct mock_nic *n)
{
	for (unsigned i = 0; i < n->slots[0].nr; i++)
		mock_nic_slot_give(n, i);
}

bool mock_nic_slot_rx(struct mock_nic *n, unsigned *i, struct mock_frame *f)
{
	struct mock_slots *s = &n->slots[0];
	uint32_t len;

	if (!slot_used(n, 0, i, &len))
		return false;
	f->len = 0;
	if (!len)
		return true;
	mock_require(len > VNET_HDR_BYTES && len <= VNET_HDR_BYTES + s->bytes);
	mock_require(!gmem_read(&n->mp.mem, s->hdrs + MOCK_SLOT_HDR_BYTES * *i, &f->hdr,
				VNET_HDR_BYTES));
	mock_require(f->hdr.num_buffers == 1);
	f->len = len - VNET_HDR_BYTES;
	mock_require(f->len <= sizeof(f->data));
	mock_require(!gmem_read(&n->mp.mem, mock_nic_slot_gpa(n, 0, *i), f->data, f->len));
	return true;
}

void mock_frame_fill(uint8_t *frame, size_t len, uint8_t dst_id, uint8_t src_id, uint32_t seed)
{
	uint8_t head[14] = { [12] = 0x88, [13] = 0xb5 };

	mock_nic_mac(head, dst_id);
	mock_nic_mac(head + 6, src_id);
	for (size_t i = 0; i < len; i++) {
		seed = seed * 1664525 + 1013904223;
		frame[i] = i < sizeof(head) ? head[i] : (uint8_t)(seed >> 24);
	}
}

static struct mock_carrier *mock(struct carrier *c)
{
	return container_of(c, struct mock_carrier, carrier);
}

/* *n of the oldest kept frames are done. */
static void mc_done(struct mock_carrier *m, unsigned *n)
{
	unsigned done = *n < m->kept ? *n : m->kept;

	*n = 0;
	m->kept -= done;
	if (done)
		m->carrier.port->ops->tx_done(m->carrier.port, done);
}

static int mc_send(struct carrier *c, const struct frame *f)
{
	struct mock_carrier *m = mock(c);
	struct iov_cursor cur = iov_cursor(f->iov, f->iovcnt);

	mc_done(m, &m->done_in_send);
	if (m->eagain) {
		m->eagain--;
		return -EAGAIN;
	}
	m->sends++;
	m->hdr = f->hdr;
	m->len = f->len;
	m->slot = f->slot;
	m->slot_hdr = f->slot_hdr;
	mock_require(f->len <= FRAME_MAX_BYTES);
	mock_require(f->head_len == (f->len < FRAME_HEAD_BYTES ? f->len : FRAME_HEAD_BYTES));
	memcpy(m->data, f->head, f->head_len);
	mock_require(iov_read(&cur, m->data + f->head_len, sizeof(m->data)) ==
		     f->len - f->head_len);
	if (!m->keep)
		return 0;
	m->keep--;
	m->kept++;
	return CARRIER_KEPT;
}

static void mc_send_end(struct carrier *c)
{
	mock(c)->send_ends++;
	mc_done(mock(c), &mock(c)->done_in_end);
}

static void mc_rx_ready(struct carrier *c)
{
	mock(c)->rx_readies++;
}

static int mc_start(struct carrier *c)
{
	mock(c)->starts++;
	return mock(c)->start_err;
}

static void mc_stop(struct carrier *c)
{
	mock(c)->stops++;
	mc_done(mock(c), &mock(c)->done_in_stop);
	mock(c)->kept = 0;
}

static void mc_set_rx_features(struct carrier *c, uint64_t features)
{
	mock(c)->features = features;
}

static bool mc_link_up(struct carrier *c)
{
	return mock(c)->up;
}

static void mc_rx_refused(struct carrier *c)
{
	atomic_fetch_add(&mock(c)->rx_refused, 1);
}

static const struct carrier_ops mc_ops = {
	.send = mc_send,
	.send_end = mc_send_end,
	.rx_ready = mc_rx_ready,
	.start = mc_start,
	.stop = mc_stop,
	.set_rx_features = mc_set_rx_features,
	.link_up = mc_link_up,
	.rx_refused = mc_rx_refused,
};

void mock_carrier_init(struct mock_carrier *c)
{
	memset(c, 0, sizeof(*c));
	c->carrier.ops = &mc_ops;
	c->up = true;
}

int mock_deliver(struct port *p, const struct virtio_net_hdr_v1 *hdr, const void *frame, size_t len)
{
	struct iovec iov[FRAME_MAX_IOV];
	size_t done = 0;

	if (!p->ops->rx_begin(p))
		return -ENOTCONN;
	while (done < len) {
		unsigned cnt = ARRAY_SIZE(iov);
		ssize_t got = p->ops->rx_reserve(p, len - done, iov, &cnt);
		struct iov_cursor cur = iov_cursor(iov, cnt);

		if (got <= 0) {
			p->ops->rx_abort(p);
			p->ops->rx_end(p);
			return got < 0 ? (int)got : -ENOBUFS;
		}
		done += iov_write(&cur, (const uint8_t *)frame + done, len - done);
	}
	p->ops->rx_commit(p, hdr, len);
	p->ops->rx_end(p);
	return 0;
}

int mock_slots_map(struct port *p, struct slot_list *list, const char **why)
{
	int rc;

	*why = NULL;
	if (!p->ops->rx_begin(p))
		return -ENOTCONN;
	rc = p->ops->rx_slots_look(p, list, why);
	if (!rc)
		rc = p->ops->rx_slots_enter(p, list);
	p->ops->rx_end(p);
	return rc;
}

void mock_slots_leave(struct port *p)
{
	if (!p->ops->rx_begin(p))
		return;
	p->ops->rx_slots_leave(p);
	p->ops->rx_end(p);
}

int mock_slot_put(struct port *p, const struct virtio_net_hdr_v1 *hdr, size_t len)
{
	int rc;

	if (!p->ops->rx_begin(p))
		return -ENOTCONN;
	rc = p->ops->rx_slot_put(p, hdr, len);
	p->ops->rx_end(p);
	return rc;
}

unsigned mock_slots_given(struct port *p)
{
	unsigned n;

	if (!p->ops->rx_begin(p))
		return 0;
	n = p->ops->rx_slots_given(p);
	p->ops->rx_end(p);
	return n;
}

bool mock_slots_watch(struct port *p, unsigned n)
{
	bool r;

	if (!p->ops->rx_begin(p))
		return false;
	r = p->ops->rx_slots_watch(p, n);
	p->ops->rx_end(p);
	return r;
}
