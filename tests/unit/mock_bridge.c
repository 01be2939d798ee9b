/* See mock_bridge.h. */
#include <check.h>
#include <errno.h>
#include <stdlib.h>

#include "tests/unit/mock_bridge.h"

#define WORLD MOCK_BRIDGE_PORTS

static struct mock_bridge_port *port_of(struct carrier *c)
{
	return container_of(c, struct mock_bridge_port, carrier);
}

/* xvmm's, not a guest's: mock_frame_fill() never makes this many zeros. */
static bool is_marker(const uint8_t *data, size_t len)
{
	if (len != 60 || data[12] != 0x88 || data[13] != 0xb5)
		return false;
	for (size_t i = FRAME_HEAD_BYTES; i < len; i++)
		if (data[i])
			return false;
	return true;
}

static int *lookup(struct mock_bridge *b, const uint8_t *mac, bool make)
{
	for (unsigned i = 0; i < b->nr_macs; i++)
		if (!memcmp(b->mac[i], mac, ETH_ADDR_BYTES))
			return &b->at[i];
	if (!make)
		return NULL;
	ck_assert_uint_lt(b->nr_macs, 64);
	memcpy(b->mac[b->nr_macs], mac, ETH_ADDR_BYTES);
	return &b->at[b->nr_macs++];
}

void mock_bridge_learn(struct mock_bridge *b, const uint8_t *mac, unsigned port)
{
	*lookup(b, mac, true) = (int)port;
}

static void enqueue(struct mock_bridge_port *p, const struct virtio_net_hdr_v1 *hdr,
		    const uint8_t *data, size_t len)
{
	struct mock_bridge_frame *f = &p->queue[p->tail % MOCK_BRIDGE_QUEUE];

	if (p->tail - p->head == MOCK_BRIDGE_QUEUE)
		return;
	p->tail++;
	f->hdr = *hdr;
	f->len = len;
	f->data = malloc(len);
	ck_assert_ptr_nonnull(f->data);
	memcpy(f->data, data, len);
}

static void forward(struct mock_bridge *b, unsigned from, const struct virtio_net_hdr_v1 *hdr,
		    const uint8_t *data, size_t len)
{
	int *to;

	if (!b->flood)
		*lookup(b, data + 6, true) = (int)from;
	to = data[0] & 1 ? NULL : lookup(b, data, false);
	for (unsigned i = 0; i < MOCK_BRIDGE_PORTS; i++)
		if (i != from && b->port[i].carrier.port && (!to || *to == (int)i))
			enqueue(&b->port[i], hdr, data, len);
	if (from != WORLD && (!to || *to == WORLD))
		b->outside++;
}

static int mb_send(struct carrier *c, const struct frame *f)
{
	struct mock_bridge_port *p = port_of(c);
	struct iov_cursor cur = iov_cursor(f->iov, f->iovcnt);
	static uint8_t data[FRAME_MAX_BYTES];

	if (p->full) {
		p->full--;
		return -EAGAIN;
	}
	memcpy(data, f->head, f->head_len);
	ck_assert_uint_eq(iov_read(&cur, data + f->head_len, sizeof(data)), f->len - f->head_len);
	p->heard++;
	if (is_marker(data, f->len)) {
		if (!memcmp(data, data + 6, ETH_ADDR_BYTES)) {
			p->bridge->reminders++;
		} else {
			p->bridge->markers++;
			if (p->bridge->drop_markers)
				return 0;
		}
	}
	forward(p->bridge, p->number, &f->hdr, data, f->len);
	return 0;
}

void mock_bridge_give(struct mock_bridge *b, const void *frame, size_t len)
{
	forward(b, WORLD, &(struct virtio_net_hdr_v1){ 0 }, frame, len);
}

unsigned mock_bridge_waiting(const struct mock_bridge *b, unsigned port)
{
	return b->port[port].tail - b->port[port].head;
}

unsigned mock_bridge_read(struct mock_bridge *b, unsigned port, unsigned max)
{
	struct mock_bridge_port *p = &b->port[port];
	struct frame_filter *filter = p->carrier.filter;
	unsigned n = 0;

	while (n < max && p->started && p->head != p->tail) {
		struct mock_bridge_frame *f = &p->queue[p->head % MOCK_BRIDGE_QUEUE];
		uint32_t head_len = f->len < FRAME_HEAD_BYTES ? (uint32_t)f->len : FRAME_HEAD_BYTES;

		if (!(filter && filter->swallow(filter, f->data, head_len)) &&
		    mock_deliver(p->carrier.port, &f->hdr, f->data, f->len))
			break;
		free(f->data);
		p->head++;
		n++;
	}
	return n;
}

static void mb_nothing(struct carrier *c)
{
}

static int mb_start(struct carrier *c)
{
	port_of(c)->started = true;
	return 0;
}

static void mb_stop(struct carrier *c)
{
	port_of(c)->started = false;
}

static void mb_set_rx_features(struct carrier *c, uint64_t features)
{
}

static bool mb_link_up(struct carrier *c)
{
	return true;
}

static const struct carrier_ops mb_ops = {
	.send = mb_send,
	.send_end = mb_nothing,
	.rx_ready = mb_nothing,
	.start = mb_start,
	.stop = mb_stop,
	.set_rx_features = mb_set_rx_features,
	.link_up = mb_link_up,
};

void mock_bridge_init(struct mock_bridge *b)
{
	memset(b, 0, sizeof(*b));
	for (unsigned i = 0; i < MOCK_BRIDGE_PORTS; i++) {
		b->port[i].carrier.ops = &mb_ops;
		b->port[i].bridge = b;
		b->port[i].number = i;
	}
}

void mock_bridge_fini(struct mock_bridge *b)
{
	for (unsigned i = 0; i < MOCK_BRIDGE_PORTS; i++)
		for (struct mock_bridge_port *p = &b->port[i]; p->head != p->tail; p->head++)
			free(p->queue[p->head % MOCK_BRIDGE_QUEUE].data);
}
