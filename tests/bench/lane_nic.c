/* See lane_nic.h. */
#include "tests/bench/lane_nic.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/virtio_config.h>
#include <linux/virtio_net.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/iov.h"
#include "xtalk/offload.h"

#define MEM_BYTES     MIB(8) /* but for slots */
#define SMALL_BYTES   1536
#define LARGE_BYTES   4096
#define HEAD_STRIDE   704 /* of Linux's small skb heads: not a power of two, as in life */
#define HEAD_AT	      64  /* headroom in front of the virtio-net header */
#define TABLE_DESCS   4
#define TCP_HEAD      66 /* Ethernet, IPv4, TCP with time stamps */
#define UDP_HEAD      42
#define DATA_STRIDE   (LANE_FRAME_MAX + 1024)
#define SMALL_DATA    1536  /* stride where one page's worth of data goes with the head */
#define TX_FRAG_BYTES 32768 /* Linux fills transmit data in chunks of 32 KiB */
#define TCP_SEQ_AT    38
#define UDP_SEQ_AT    42

void lane_die(const char *fmt, ...)
{
	va_list ap;

	fputs("bench_lane: ", stderr);
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fputc('\n', stderr);
	exit(1);
}

void *lane_nic_at(const struct lane_nic *n, gpa_t gpa)
{
	return n->mp.mem.region[0].hva + gpa;
}

/* -- The device -- */

static void notify_queue(struct virtio_dev *dev, unsigned q)
{
	struct lane_nic *n = dev->transport_ctx;
	uint64_t one = 1;

	n->irqs[q]++;
	if (write(n->irqfd[q], &one, sizeof(one)) != sizeof(one))
		lane_die("eventfd: %s", strerror(errno));
}

static void notify_config(struct virtio_dev *dev)
{
}

static int lend_doorbell(struct virtio_dev *dev, unsigned q, struct loop *loop, struct loop_fd *h)
{
	struct lane_nic *n = dev->transport_ctx;

	return doorbell_lend(&n->doorbell[q], loop, h);
}

static void doorbell_is_back(struct virtio_dev *dev, unsigned q)
{
	struct lane_nic *n = dev->transport_ctx;

	doorbell_back(&n->doorbell[q]);
}

static const struct virtio_transport_ops transport = {
	.notify_queue = notify_queue,
	.notify_config = notify_config,
	.lend_doorbell = lend_doorbell,
	.doorbell_back = doorbell_is_back,
};

static gpa_t place(gpa_t *next, uint64_t bytes)
{
	gpa_t gpa = ALIGN_UP(*next, 4096);

	*next = gpa + bytes;
	if (*next > MEM_BYTES)
		lane_die("guest memory is too small");
	return gpa;
}

struct lane_nic *lane_nic_create_with(const char *name, unsigned id, uint64_t slots_bytes)
{
	const uint8_t mac[6] = { 0x52, 0x54, 0, 0, (uint8_t)(id >> 8), (uint8_t)id };
	struct lane_nic *n = calloc(1, sizeof(*n));
	gpa_t next = MIB(1);

	if (!n)
		lane_die("no memory");
	mock_platform_init(&n->mp, MEM_BYTES + slots_bytes, 0);
	n->slots = MEM_BYTES;
	if (loop_init(&n->loop, name))
		lane_die("loop: %s", strerror(errno));
	/* This thread turns it: what others post is carried to here. */
	n->loop.thread = pthread_self();
	atomic_store(&n->loop.running, true);
	if (virtio_net_create(&n->net, name, mac, &n->loop, &n->mp.plat))
		lane_die("virtio_net_create");
	n->dev = virtio_net_dev(n->net);
	n->port = virtio_net_port(n->net);
	n->dev->transport = &transport;
	n->dev->transport_ctx = n;
	for (unsigned q = 0; q < 2; q++) {
		n->irqfd[q] = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
		if (doorbell_open(&n->doorbell[q], n->dev, q) || doorbell_watch(&n->doorbell[q]))
			lane_die("doorbell: %s", strerror(errno));
		n->ring_gpa[q] = place(&next, vring_size(LANE_RING, 4));
	}
	n->rx_small = place(&next, LANE_RING * SMALL_BYTES);
	n->rx_large = place(&next, LANE_RING * LARGE_BYTES * 9 / 8);
	n->tx_head = place(&next, LANE_RING * HEAD_STRIDE);
	n->tx_table = place(&next, LANE_RING * TABLE_DESCS * sizeof(struct vring_desc));
	n->tx_data = place(&next, LANE_GSO_FRAMES * DATA_STRIDE);
	return n;
}

struct lane_nic *lane_nic_create(const char *name, unsigned id)
{
	return lane_nic_create_with(name, id, 0);
}

void lane_nic_plug(struct lane_nic *n, struct carrier *c)
{
	n->carrier = c;
	virtio_net_set_carrier(n->net, c);
}

void lane_nic_stop(struct lane_nic *n)
{
	virtio_set_status(n->dev, 0);
}

void lane_nic_destroy(struct lane_nic *n)
{
	virtio_dev_stop(n->dev);
	virtio_net_destroy(n->net);
	for (unsigned q = 0; q < 2; q++) {
		doorbell_unwatch(&n->doorbell[q]);
		doorbell_close(&n->doorbell[q]);
		close(n->irqfd[q]);
	}
	loop_fini(&n->loop);
	mock_platform_fini(&n->mp);
	free(n);
}

bool lane_nic_turn(struct lane_nic *n)
{
	return loop_turn(&n->loop, 0) > 0;
}

/* -- Rings -- */

void lane_nic_offer(struct lane_nic *n, unsigned q, uint16_t head)
{
	n->ring[q].avail->ring[n->avail[q]++ % LANE_RING] = head;
}

/* Publishes what was offered; rings if the device asked for it (2.7.10). */
void lane_nic_publish(struct lane_nic *n, unsigned q)
{
	uint16_t old = n->kicked[q];

	store16(&n->ring[q].avail->idx, n->avail[q]);
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	n->kicked[q] = n->avail[q];
	if (!vring_need_event(load16((uint16_t *)&vring_avail_event(&n->ring[q])), n->avail[q],
			      old))
		return;
	doorbell_ring(&n->doorbell[q]);
}

/* The interrupt was seen to: as an irqfd, whose count nobody reads while it is low. */
void lane_nic_ack(struct lane_nic *n, unsigned q)
{
	uint64_t v;

	if (read(n->irqfd[q], &v, sizeof(v)) < 0 && errno != EAGAIN)
		lane_die("eventfd: %s", strerror(errno));
}

static void give_rx(struct lane_nic *n, uint16_t slot, uint32_t bytes)
{
	struct lane_rx_buf *b = &n->rx_buf[slot];

	b->bytes = bytes;
	if (bytes > SMALL_BYTES) /* cut from pieces of 32 KiB that lie apart */
		b->gpa = n->rx_large + (gpa_t)(slot + slot / 8) * bytes;
	else
		b->gpa = n->rx_small + (gpa_t)slot * bytes;
	n->ring[LANE_RX].desc[slot] = (struct vring_desc){
		.addr = b->gpa,
		.len = bytes,
		.flags = VRING_DESC_F_WRITE,
	};
	lane_nic_offer(n, LANE_RX, slot);
}

void lane_nic_begin(struct lane_nic *n)
{
	uint8_t status = VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER;

	virtio_set_status(n->dev, 0);
	virtio_set_status(n->dev, status);
	virtio_set_driver_features(n->dev, 0, (uint32_t)n->dev->offered);
	virtio_set_driver_features(n->dev, 1, (uint32_t)(n->dev->offered >> 32));
	status |= VIRTIO_CONFIG_S_FEATURES_OK;
	virtio_set_status(n->dev, status);
	for (unsigned q = 0; q < 2; q++) {
		struct vring *r = &n->ring[q];
		uint8_t *base = lane_nic_at(n, n->ring_gpa[q]);

		memset(base, 0, vring_size(LANE_RING, 4));
		vring_init(r, LANE_RING, base, 4);
		n->dev->vq[q].size = LANE_RING;
		n->dev->vq[q].desc_gpa = n->ring_gpa[q];
		n->dev->vq[q].avail_gpa = n->ring_gpa[q] + (gpa_t)((uint8_t *)r->avail - base);
		n->dev->vq[q].used_gpa = n->ring_gpa[q] + (gpa_t)((uint8_t *)r->used - base);
		n->avail[q] = n->kicked[q] = n->used[q] = 0;
		virtio_queue_enable(n->dev, q);
	}
}

void lane_nic_live(struct lane_nic *n)
{
	lane_nic_publish(n, LANE_RX);
	virtio_set_status(n->dev, VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER |
					  VIRTIO_CONFIG_S_FEATURES_OK | VIRTIO_CONFIG_S_DRIVER_OK);
	if (!n->dev->live)
		lane_die("%s does not start", n->dev->name);
}

void lane_nic_start(struct lane_nic *n, uint32_t rx_bytes)
{
	lane_nic_begin(n);
	for (unsigned i = 0; i < LANE_RING; i++)
		give_rx(n, (uint16_t)i, rx_bytes);
	lane_nic_live(n);
}

/* -- Frames -- */

static uint8_t *slot_frame(const struct lane_nic *n, unsigned slot)
{
	return (uint8_t *)lane_nic_at(n, n->tx_head) + slot * HEAD_STRIDE + HEAD_AT +
	       VNET_HDR_BYTES;
}

/* What follows the head, and how much there is of it. */
static gpa_t slot_data(const struct lane_nic *n, const struct lane_shape *s, unsigned slot)
{
	if (s->gso_size)
		return n->tx_data + (gpa_t)(slot % LANE_GSO_FRAMES) * DATA_STRIDE;
	return n->tx_data + (gpa_t)slot * SMALL_DATA;
}

uint32_t lane_nic_head_bytes(const struct lane_shape *s)
{
	return s->tcp ? TCP_HEAD : s->len;
}

size_t lane_nic_seq_at(const struct lane_shape *s)
{
	return s->tcp ? TCP_SEQ_AT : UDP_SEQ_AT;
}

static void put16(uint8_t *p, unsigned v)
{
	p[0] = (uint8_t)(v >> 8);
	p[1] = (uint8_t)v;
}

void lane_nic_headers(const struct lane_shape *s, uint8_t *f, const uint8_t *dst,
		      const uint8_t *src)
{
	static const uint8_t ips[8] = { 10, 9, 0, 1, 10, 9, 0, 2 };
	uint8_t *ip = f + 14, *l4 = f + 34;
	unsigned l4_bytes = s->len - 34;
	uint16_t sum;

	memcpy(f, dst, 6);
	memcpy(f + 6, src, 6);
	put16(f + 12, 0x0800);
	ip[0] = 0x45;
	put16(ip + 2, s->len - 14);
	ip[6] = 0x40;
	ip[8] = 64;
	ip[9] = s->tcp ? IPPROTO_TCP : IPPROTO_UDP;
	memcpy(ip + 12, ips, 8);
	sum = (uint16_t)~csum_fold(csum_bytes(0, false, ip, 20));
	memcpy(ip + 10, &sum, 2);
	put16(l4, 4000);
	put16(l4 + 2, 5001);
	sum = csum_fold(
		csum_bytes((uint64_t)htons((uint16_t)l4_bytes) + htons(ip[9]), false, ips, 8));
	if (s->tcp) {
		l4[12] = 8 << 4;
		l4[13] = 0x10;
		put16(l4 + 14, 65000);
		memcpy(l4 + 16, &sum, 2);
		memcpy(l4 + 20, (uint8_t[]){ 1, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 1 }, 12);
	} else {
		put16(l4 + 4, l4_bytes);
		memcpy(l4 + 6, &sum, 2);
	}
}

struct virtio_net_hdr_v1 lane_nic_vnet_hdr(const struct lane_shape *s)
{
	return (struct virtio_net_hdr_v1){
		.flags = VIRTIO_NET_HDR_F_NEEDS_CSUM,
		.csum_start = 34,
		.csum_offset = s->tcp ? 16 : 6,
		.gso_type = s->gso_size ? VIRTIO_NET_HDR_GSO_TCPV4 : VIRTIO_NET_HDR_GSO_NONE,
		.gso_size = s->gso_size,
		.hdr_len = s->gso_size ? TCP_HEAD : 0,
	};
}

void lane_nic_shape(struct lane_nic *n, const struct lane_shape *s, const uint8_t *dst)
{
	struct virtio_net_hdr_v1 hdr = lane_nic_vnet_hdr(s);
	uint32_t head = lane_nic_head_bytes(s), rest = s->len - head;
	uint32_t seed = s->len;

	n->tx_shape = s;
	for (unsigned i = 0; i < LANE_RING; i++) {
		uint8_t *f = slot_frame(n, i);

		memset(f, 0, head);
		for (uint32_t b = s->tcp ? head : UDP_HEAD; b < head; b++)
			f[b] = (uint8_t)(i + b);
		lane_nic_headers(s, f, dst, n->port->mac);
		memcpy(f - VNET_HDR_BYTES, &hdr, VNET_HDR_BYTES);
		if (s->gso_size && i >= LANE_GSO_FRAMES)
			continue;
		uint8_t *d = lane_nic_at(n, slot_data(n, s, i));

		for (uint32_t b = 0; b < rest; b++) {
			seed = seed * 1664525 + 1013904223;
			d[b] = (uint8_t)(seed >> 24);
		}
	}
}

static void post_one(struct lane_nic *n, const struct lane_shape *s, uint16_t slot)
{
	uint8_t *f = slot_frame(n, slot);
	gpa_t head = n->tx_head + slot * HEAD_STRIDE + HEAD_AT;
	gpa_t data = slot_data(n, s, slot), table;
	uint32_t left = s->len - lane_nic_head_bytes(s);
	struct vring_desc *t;
	unsigned cnt = 1;

	memcpy(f + lane_nic_seq_at(s), &n->tx_seq, sizeof(n->tx_seq));
	n->tx_seq++;
	if (!left) {
		n->ring[LANE_TX].desc[slot] =
			(struct vring_desc){ .addr = head, .len = VNET_HDR_BYTES + s->len };
		lane_nic_offer(n, LANE_TX, slot);
		return;
	}
	table = n->tx_table + slot * TABLE_DESCS * sizeof(*t);
	t = lane_nic_at(n, table);
	t[0] = (struct vring_desc){
		.addr = head,
		.len = VNET_HDR_BYTES + lane_nic_head_bytes(s),
		.flags = VRING_DESC_F_NEXT,
		.next = 1,
	};
	while (left) {
		uint32_t part = left < TX_FRAG_BYTES ? left : TX_FRAG_BYTES;

		left -= part;
		t[cnt] = (struct vring_desc){
			.addr = data,
			.len = part,
			.flags = left ? VRING_DESC_F_NEXT : 0,
			.next = (uint16_t)(left ? cnt + 1 : 0),
		};
		data += part;
		cnt++;
	}
	n->ring[LANE_TX].desc[slot] = (struct vring_desc){
		.addr = table,
		.len = cnt * (uint32_t)sizeof(*t),
		.flags = VRING_DESC_F_INDIRECT,
	};
	lane_nic_offer(n, LANE_TX, slot);
}

void lane_nic_post(struct lane_nic *n, unsigned frames)
{
	struct vring *r = &n->ring[LANE_TX];
	uint16_t used = load16(&r->used->idx);

	lane_nic_ack(n, LANE_TX);
	if (used != n->avail[LANE_TX])
		lane_die("%s: %u sent frames were not given back", n->dev->name,
			 (uint16_t)(n->avail[LANE_TX] - used));
	for (; n->used[LANE_TX] != used; n->used[LANE_TX]++)
		if (r->used->ring[n->used[LANE_TX] % LANE_RING].id != n->used[LANE_TX] % LANE_RING)
			lane_die("%s: sent frames were given back out of order", n->dev->name);
	for (unsigned i = 0; i < frames; i++)
		post_one(n, n->tx_shape, n->avail[LANE_TX] % LANE_RING);
	/* As Linux: an interrupt when three quarters are done. */
	store16(&vring_used_event(r), (uint16_t)(n->used[LANE_TX] + frames * 3 / 4));
	lane_nic_publish(n, LANE_TX);
}

void lane_nic_refill(struct lane_nic *n, const struct lane_shape *s)
{
	struct vring *r = &n->ring[LANE_RX];
	uint16_t free_bufs = (uint16_t)(LANE_RING - (n->avail[LANE_RX] - n->used[LANE_RX]));

	for (uint16_t i = free_bufs; i; i--)
		give_rx(n, (uint16_t)r->used->ring[(uint16_t)(n->used[LANE_RX] - i) % LANE_RING].id,
			s->rx_bytes);
	store16(&vring_used_event(r), n->used[LANE_RX]);
	if (free_bufs)
		lane_nic_publish(n, LANE_RX);
}

bool lane_nic_has(const struct lane_nic *n, const struct lane_shape *s, unsigned frames)
{
	unsigned bufs = (s->len + VNET_HDR_BYTES + s->rx_bytes - 1) / s->rx_bytes;

	return (uint16_t)(load16(&n->ring[LANE_RX].used->idx) - n->used[LANE_RX]) >= frames * bufs;
}

void lane_nic_foul(struct lane_nic *n, const char *what)
{
	if (!n->foul)
		fprintf(stderr, "bench_lane: %s: frame %u: %s\n", n->dev->name, n->rx_seq, what);
	n->foul = true;
}

/* One frame that lies in iov, behind its header. */
static void check_frame(struct lane_nic *n, const struct lane_nic *from,
			const struct virtio_net_hdr_v1 *hdr, struct iov_cursor cur, size_t len,
			bool all_bytes)
{
	static uint8_t copy[LANE_FRAME_MAX + LARGE_BYTES];
	const struct lane_shape *s = from->tx_shape;
	struct virtio_net_hdr_v1 want = lane_nic_vnet_hdr(s);
	uint16_t slot = (uint16_t)(from->avail[LANE_TX] - (from->tx_seq - n->rx_seq)) % LANE_RING;
	const uint8_t *f = slot_frame(from, slot);
	uint32_t head = lane_nic_head_bytes(s);

	if (len != s->len) {
		lane_nic_foul(n, "wrong length");
		return;
	}
	iov_read(&cur, copy, all_bytes ? len : head);
	if (memcmp(copy + lane_nic_seq_at(s), &n->rx_seq, sizeof(n->rx_seq)))
		lane_nic_foul(n, "out of order, lost or doubled");
	if (hdr->flags != want.flags || hdr->csum_start != want.csum_start ||
	    hdr->csum_offset != want.csum_offset || hdr->gso_type != want.gso_type ||
	    hdr->gso_size != want.gso_size)
		lane_nic_foul(n, "wrong virtio-net header");
	if (!all_bytes)
		return;
	if (memcmp(copy, f, head) ||
	    memcmp(copy + head, lane_nic_at(from, slot_data(from, s, slot)), len - head))
		lane_nic_foul(n, "damaged");
}

unsigned lane_nic_take(struct lane_nic *n, const struct lane_nic *from, bool all_bytes)
{
	struct vring *r = &n->ring[LANE_RX];
	uint16_t used = load16(&r->used->idx);
	unsigned frames = 0;

	lane_nic_ack(n, LANE_RX);
	while (n->used[LANE_RX] != used) {
		struct iovec iov[LANE_RING];
		struct virtio_net_hdr_v1 hdr;
		unsigned cnt = 0;
		size_t len = 0;

		do {
			struct vring_used_elem *e = &r->used->ring[n->used[LANE_RX]++ % LANE_RING];
			struct lane_rx_buf *b = &n->rx_buf[e->id % LANE_RING];

			if (e->len > b->bytes || (!cnt && e->len < VNET_HDR_BYTES))
				lane_die("%s: bad used length", n->dev->name);
			iov[cnt] = (struct iovec){ lane_nic_at(n, b->gpa), e->len };
			len += e->len;
			if (!cnt++)
				memcpy(&hdr, iov[0].iov_base, sizeof(hdr));
		} while (cnt < hdr.num_buffers && n->used[LANE_RX] != used);
		if (cnt != hdr.num_buffers)
			lane_nic_foul(n, "wrong number of buffers");
		struct iov_cursor cur = iov_cursor(iov, cnt);

		iov_skip(&cur, VNET_HDR_BYTES);
		check_frame(n, from, &hdr, cur, len - VNET_HDR_BYTES, all_bytes);
		n->rx_seq++;
		frames++;
	}
	return frames;
}

void lane_nic_resync(struct lane_nic *n, const struct lane_nic *from)
{
	lane_nic_ack(n, LANE_RX);
	n->used[LANE_RX] = load16(&n->ring[LANE_RX].used->idx);
	n->rx_seq = from->tx_seq;
}

void lane_nic_memcpy(struct lane_nic *to, const struct lane_nic *from, unsigned k)
{
	uint32_t bufs = ALIGN_UP(from->tx_shape->len, LARGE_BYTES) / LARGE_BYTES;
	unsigned slots = LANE_RING / bufs;

	memcpy(lane_nic_at(to, to->rx_large + (gpa_t)(k % slots) * bufs * LARGE_BYTES),
	       lane_nic_at(from, slot_data(from, from->tx_shape, k)), from->tx_shape->len);
}
