/*
 * Fuzzes the way of a frame from one NIC to another: the input chooses what both drivers
 * negotiated, the virtio-net headers and the first bytes of the frames that one sends, and how
 * their buffers are cut up. What arrives must be fit for what the receiver negotiated (the mock
 * driver checks lengths and buffer counts), and nothing crashes, hangs or leaves a NIC unusable.
 */
#include <string.h>

#include "tests/fuzz/input.h"
#include "tests/unit/mock_net.h"
#include "xtalk/deliver.h"

#define MAX_FRAMES 32
#define HEAD_BYTES 128

/* Carries what A sends straight to B's port. */
struct wire {
	struct carrier carrier;
	struct delivery delivery;
	struct port *to;
};

static void take_bytes(struct input *in, void *out, size_t n)
{
	memset(out, 0, n);
	if (n > in->left)
		n = in->left;
	memcpy(out, in->data, n);
	in->data += n;
	in->left -= n;
}

static int wire_send(struct carrier *c, const struct frame *f)
{
	struct wire *w = container_of(c, struct wire, carrier);

	require(f->len >= FRAME_MIN_BYTES && f->len <= FRAME_MAX_BYTES);
	delivery_put(&w->delivery, w->to, f);
	return 0;
}

static void wire_send_end(struct carrier *c)
{
	delivery_end(&container_of(c, struct wire, carrier)->delivery);
}

static void wire_rx_ready(struct carrier *c)
{
}

static int wire_start(struct carrier *c)
{
	return 0;
}

static void wire_stop(struct carrier *c)
{
}

static void wire_set_rx_features(struct carrier *c, uint64_t features)
{
}

static bool wire_link_up(struct carrier *c)
{
	return true;
}

static const struct carrier_ops wire_ops = {
	.send = wire_send,
	.send_end = wire_send_end,
	.rx_ready = wire_rx_ready,
	.start = wire_start,
	.stop = wire_stop,
	.set_rx_features = wire_set_rx_features,
	.link_up = wire_link_up,
};

static uint64_t take_features(struct input *in)
{
	static const uint64_t bits[] = {
		VNET_BIT(VIRTIO_NET_F_CSUM),	   VNET_BIT(VIRTIO_NET_F_GUEST_CSUM),
		VNET_BIT(VIRTIO_NET_F_HOST_TSO4),  VNET_BIT(VIRTIO_NET_F_HOST_TSO6),
		VNET_BIT(VIRTIO_NET_F_HOST_ECN),   VNET_BIT(VIRTIO_NET_F_GUEST_TSO4),
		VNET_BIT(VIRTIO_NET_F_GUEST_TSO6), VNET_BIT(VIRTIO_NET_F_GUEST_ECN),
		VNET_BIT(VIRTIO_NET_F_MRG_RXBUF),
	};
	unsigned without = (unsigned)take(in, 2);
	uint64_t f = MOCK_NET_BASE;

	for (unsigned i = 0; i < ARRAY_SIZE(bits); i++)
		f |= without & 1u << i ? 0 : bits[i];
	return f;
}

static void receive_all(struct mock_nic *b, uint64_t features)
{
	static struct mock_frame got;

	while (mock_nic_rx(b, &got)) {
		require(got.len >= FRAME_MIN_BYTES && got.len <= FRAME_MAX_BYTES);
		require(!(vnet_hdr_needs(&got.hdr) & ~features));
	}
}

static void send_frames(struct mock_nic *a, struct mock_nic *b, uint64_t features, struct input *in)
{
	static uint8_t frame[FRAME_MAX_BYTES + 64];
	struct virtio_net_hdr_v1 hdr;

	for (unsigned i = 0; in->left && i < MAX_FRAMES; i++) {
		uint8_t how = (uint8_t)take(in, 1);
		size_t head = take(in, 1) % HEAD_BYTES;
		size_t len = how & 1 ? take(in, 2) : take(in, 1);
		uint32_t buf = how & 2 ? 1526 : 65562;

		if (how & 0x80)
			len += 14;
		take_bytes(in, &hdr, sizeof(hdr));
		memset(frame, how, len);
		take_bytes(in, frame, head);
		for (unsigned n = (unsigned)(1 + len / buf); n < 60 && n; n--)
			mock_nic_rx_add(b, buf, 1 + (how >> 2) % 3);
		mock_nic_tx(a, &hdr, frame, len, 1 + (how >> 4) % 4);
		mock_driver_kick(&a->drv, 1);
		receive_all(b, features);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct mock_nic a, b;
	struct input in = { data, size };
	struct wire wire = { .carrier.ops = &wire_ops };
	struct wire idle = { .carrier.ops = &wire_ops };
	uint64_t a_features = take_features(&in), b_features = take_features(&in);

	mock_nic_init(&a, "a.eth0", 1);
	mock_nic_init(&b, "b.eth0", 2);
	wire.to = b.port;
	virtio_net_set_carrier(a.net, &wire.carrier);
	virtio_net_set_carrier(b.net, &idle.carrier);
	/* A feature may need another one: then the device refuses, and there is nothing to send. */
	if (mock_nic_start(&a, a_features, 64) && mock_nic_start(&b, b_features, 256))
		send_frames(&a, &b, b_features, &in);
	mock_nic_fini(&a);
	mock_nic_fini(&b);
	return 0;
}
