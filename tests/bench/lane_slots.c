/* See lane_slots.h. */
#include "tests/bench/lane_slots.h"

#include <linux/virtio_config.h>
#include <linux/virtio_net.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define HDR_STRIDE 16

static uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000 + (uint64_t)ts.tv_nsec;
}

static void on_hold(void *arg)
{
	struct lane_slots *s = arg;

	s->held_at_ns = now_ns();
	atomic_store(&s->hold, true);
	pthread_mutex_lock(&s->held);
}

static void on_release(void *arg)
{
	struct lane_slots *s = arg;

	atomic_store(&s->hold, false);
	pthread_mutex_unlock(&s->held);
	atomic_store(&s->held_us, (now_ns() - s->held_at_ns) / 1000);
}

void lane_slots_enter(struct lane_slots *s)
{
	while (atomic_load(&s->hold))
		sched_yield();
	pthread_mutex_lock(&s->held);
}

void lane_slots_exit(struct lane_slots *s)
{
	pthread_mutex_unlock(&s->held);
}

static void on_lost(void *arg)
{
	lane_die("a guest has lost memory");
}

void lane_slots_create(struct lane_slots *s, const char *name, unsigned id, uint32_t bytes)
{
	uint64_t ring = (uint64_t)LANE_SLOTS * bytes, hdrs = 4096;
	struct lane_nic *n = lane_nic_create_with(name, id, 2 * (ring + hdrs));

	*s = (struct lane_slots){ .nic = n, .bytes = bytes };
	for (unsigned q = 0; q < 2; q++) {
		s->at[q] = n->slots + q * ring;
		s->hdr[q] = n->slots + 2 * ring + q * hdrs;
	}
	pthread_mutex_init(&s->held, NULL);
	s->want = calloc(1, bytes);
	if (!s->want)
		lane_die("no memory");
	s->memory = (struct port_memory){ .mem = &n->mp.mem,
					  .domain = "bench",
					  .hold = on_hold,
					  .release = on_release,
					  .lost = on_lost,
					  .arg = s };
	n->port->memory = &s->memory;
	atomic_store(&n->port->slots_stable, true);
}

static uint8_t *slot_at(const struct lane_slots *s, unsigned q, unsigned i)
{
	return lane_nic_at(s->nic, s->at[q] + (gpa_t)i * s->bytes);
}

static struct virtio_net_hdr_v1 *hdr_at(const struct lane_slots *s, unsigned q, unsigned i)
{
	return lane_nic_at(s->nic, s->hdr[q] + (gpa_t)i * HDR_STRIDE);
}

static void describe(struct lane_slots *s, unsigned q, unsigned i, uint32_t len)
{
	struct vring_desc *d = &s->nic->ring[q].desc[2 * i];
	uint16_t flags = q == LANE_RX ? VRING_DESC_F_WRITE : 0;

	d[0] = (struct vring_desc){
		.addr = s->hdr[q] + (gpa_t)i * HDR_STRIDE,
		.len = VNET_HDR_BYTES,
		.flags = flags | VRING_DESC_F_NEXT,
		.next = (uint16_t)(2 * i + 1),
	};
	d[1] = (struct vring_desc){
		.addr = s->at[q] + (gpa_t)i * s->bytes,
		.len = len,
		.flags = flags,
	};
}

void lane_slots_start(struct lane_slots *s)
{
	lane_nic_begin(s->nic);
	for (unsigned i = 0; i < LANE_SLOTS; i++) {
		describe(s, LANE_RX, i, s->bytes);
		lane_nic_offer(s->nic, LANE_RX, (uint16_t)(2 * i));
	}
	lane_nic_live(s->nic);
	s->taken = 0;
}

/* -- Frames -- */

static void write_frame(const struct lane_shape *shape, uint8_t *f, const uint8_t *dst,
			const uint8_t *src, uint32_t seq)
{
	size_t seq_at = lane_nic_seq_at(shape), pos = shape->tcp ? lane_nic_head_bytes(shape) : 0;
	uint32_t v = seq * 2654435761u + shape->len;

	if (pos < seq_at + sizeof(seq))
		pos = seq_at + sizeof(seq);
	memset(f, 0, pos);
	lane_nic_headers(shape, f, dst, src);
	memcpy(f + seq_at, &seq, sizeof(seq));
	for (; pos < shape->len; pos++) {
		v = v * 1664525 + 1013904223;
		f[pos] = (uint8_t)(v >> 24);
	}
}

void lane_slots_shape(struct lane_slots *s, const struct lane_shape *shape, const uint8_t *dst)
{
	struct virtio_net_hdr_v1 hdr = lane_nic_vnet_hdr(shape);

	s->nic->tx_shape = shape;
	memcpy(s->dst, dst, sizeof(s->dst));
	for (unsigned i = 0; i < LANE_SLOTS; i++) {
		*hdr_at(s, LANE_TX, i) = hdr;
		describe(s, LANE_TX, i, shape->len);
		write_frame(shape, slot_at(s, LANE_TX, i), dst, s->nic->port->mac, 0);
	}
}

unsigned lane_slots_sent(struct lane_slots *s)
{
	struct lane_nic *n = s->nic;
	struct vring *r = &n->ring[LANE_TX];
	uint16_t used = load16(&r->used->idx);

	lane_nic_ack(n, LANE_TX);
	for (; n->used[LANE_TX] != used; n->used[LANE_TX]++)
		if (r->used->ring[n->used[LANE_TX] % LANE_RING].id !=
		    n->used[LANE_TX] % LANE_SLOTS * 2)
			lane_die("%s: sent frames were given back out of order", n->dev->name);
	return (uint16_t)(n->avail[LANE_TX] - used);
}

void lane_slots_post(struct lane_slots *s, unsigned frames, bool whole)
{
	struct lane_nic *n = s->nic;
	const struct lane_shape *shape = n->tx_shape;
	unsigned open = lane_slots_sent(s);
	size_t seq_at = lane_nic_seq_at(shape);

	if (frames > LANE_SLOTS - open)
		lane_die("%s: %u sent frames were not given back", n->dev->name, open);
	for (unsigned k = 0; k < frames; k++) {
		unsigned i = n->avail[LANE_TX] % LANE_SLOTS;
		uint8_t *f = slot_at(s, LANE_TX, i);

		if (whole)
			write_frame(shape, f, s->dst, n->port->mac, n->tx_seq);
		else
			memcpy(f + seq_at, &n->tx_seq, sizeof(n->tx_seq));
		n->tx_seq++;
		lane_nic_offer(n, LANE_TX, (uint16_t)(2 * i));
	}
	store16(&vring_used_event(&n->ring[LANE_TX]),
		(uint16_t)(n->used[LANE_TX] + open + frames * 3 / 4));
	lane_nic_publish(n, LANE_TX);
}

bool lane_slots_have(const struct lane_slots *s, unsigned slots)
{
	const struct lane_nic *n = s->nic;

	return (uint16_t)(load16(&n->ring[LANE_RX].used->idx) - n->used[LANE_RX]) >= slots;
}

static void check(struct lane_slots *s, const struct lane_slots *from, unsigned i, uint32_t len,
		  bool all_bytes)
{
	struct lane_nic *n = s->nic;
	const struct lane_shape *shape = from->nic->tx_shape;
	struct virtio_net_hdr_v1 hdr = *hdr_at(s, LANE_RX, i), want = lane_nic_vnet_hdr(shape);
	const uint8_t *f = slot_at(s, LANE_RX, i);

	want.num_buffers = 1;
	if (len != VNET_HDR_BYTES + shape->len) {
		lane_nic_foul(n, "wrong length");
		return;
	}
	if (memcmp(&hdr, &want, sizeof(hdr)))
		lane_nic_foul(n, "wrong virtio-net header");
	if (memcmp(f + lane_nic_seq_at(shape), &n->rx_seq, sizeof(n->rx_seq)))
		lane_nic_foul(n, "out of order, lost or doubled");
	if (!all_bytes)
		return;
	write_frame(shape, s->want, n->port->mac, from->nic->port->mac, n->rx_seq);
	if (memcmp(f, s->want, shape->len))
		lane_nic_foul(n, "damaged");
}

unsigned lane_slots_take(struct lane_slots *s, const struct lane_slots *from, bool all_bytes)
{
	struct lane_nic *n = s->nic;
	struct vring *r = &n->ring[LANE_RX];
	uint16_t used = load16(&r->used->idx);
	unsigned frames = 0;

	lane_nic_ack(n, LANE_RX);
	for (; n->used[LANE_RX] != used; n->used[LANE_RX]++, s->taken++) {
		struct vring_used_elem *e = &r->used->ring[n->used[LANE_RX] % LANE_RING];

		if (e->id != n->used[LANE_RX] % LANE_SLOTS * 2)
			lane_die("%s: receive slots come out of order", n->dev->name);
		if (!e->len)
			continue;
		check(s, from, e->id / 2, e->len, all_bytes);
		n->rx_seq++;
		frames++;
	}
	return frames;
}

void lane_slots_give(struct lane_slots *s)
{
	struct lane_nic *n = s->nic;

	for (; s->taken; s->taken--)
		lane_nic_offer(n, LANE_RX, (uint16_t)(n->avail[LANE_RX] % LANE_SLOTS * 2));
	store16(&vring_used_event(&n->ring[LANE_RX]), n->used[LANE_RX]);
	lane_nic_publish(n, LANE_RX);
}
