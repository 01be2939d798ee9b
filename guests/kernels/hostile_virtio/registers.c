/* Attacks through the transport's registers: negotiation, queue addresses, doorbells, noise. */
#include "hostile_virtio/hostile.h"

#define ACK_DRIVER (VIRTIO_ACKNOWLEDGE | VIRTIO_DRIVER)

static void begin(struct target *t)
{
	virtio_reset(&t->dev);
	virtio_set_status(&t->dev, VIRTIO_ACKNOWLEDGE);
	virtio_set_status(&t->dev, ACK_DRIVER);
}

static void refuse(struct target *t, uint64_t features, const char *what)
{
	begin(t);
	virtio_accept(&t->dev, features);
	virtio_set_status(&t->dev, ACK_DRIVER | VIRTIO_FEATURES_OK);
	CHECK(cmdline_is("strict", "0") || !(virtio_status(&t->dev) & VIRTIO_FEATURES_OK),
	      "FEATURES_OK sticks with %s", what);
	/* On regardless. */
	virtio_set_status(&t->dev, ACK_DRIVER | VIRTIO_FEATURES_OK | VIRTIO_DRIVER_OK);
	doorbell(t);
}

static void features_all(struct target *t)
{
	refuse(t, ~0ull, "every feature");
}

static void features_none(struct target *t)
{
	refuse(t, 0, "no VERSION_1");
}

static void features_late(struct target *t)
{
	virtio_accept(&t->dev, ~0ull); /* the device is live */
	target_works(t, "accepting features too late");
}

static void status_out_of_order(struct target *t)
{
	virtio_reset(&t->dev);
	virtio_set_status(&t->dev, VIRTIO_DRIVER_OK);
	doorbell(t);
	virtio_reset(&t->dev);
	virtio_set_status(&t->dev, 0xff);
	doorbell(t);
	virtio_reset(&t->dev);
	for (unsigned i = 0; i < 64; i++) {
		virtio_set_status(&t->dev, (uint8_t)target_random(t));
		doorbell(t);
	}
}

static void doorbell_before_start(struct target *t)
{
	begin(t);
	for (unsigned i = 0; i < 16; i++)
		doorbell(t);
}

static void queue_with(struct target *t, unsigned size, uint64_t desc, uint64_t avail,
		       uint64_t used)
{
	begin(t);
	virtio_accept(&t->dev, FEATURE(VIRTIO_F_VERSION_1));
	virtio_set_status(&t->dev, ACK_DRIVER | VIRTIO_FEATURES_OK);
	virtio_queue_set(&t->dev, t->queue, size, desc, avail, used);
	virtio_queue_ready(&t->dev, t->queue);
	virtio_set_status(&t->dev, ACK_DRIVER | VIRTIO_FEATURES_OK | VIRTIO_DRIVER_OK);
	for (unsigned i = 0; i < 4; i++)
		doorbell(t);
	virtio_status(&t->dev);
}

static void queue_addresses(struct target *t)
{
	static const uint64_t bad[] = { 0x7ffffffff000, ~0ull,	    ~0ull & ~4095ull, 0xfee00000,
					0xc0000000,	0xbffffff0, 0x100000000,      1,
					0xe0000000,	0xe8000000, 0xfffff000 };
	uint64_t d = (uintptr_t)t->vq.desc, a = (uintptr_t)t->vq.avail, u = (uintptr_t)t->vq.used;

	for (unsigned i = 0; i < ARRAY_SIZE(bad); i++) {
		queue_with(t, 16, bad[i], a, u);
		queue_with(t, 16, d, bad[i], u);
		queue_with(t, 16, d, a, bad[i]);
	}
	queue_with(t, 16, d + 1, a + 1, u + 1); /* misaligned */
	queue_with(t, 16, d, d, d);		/* on top of each other */
	queue_with(t, 16, (uintptr_t)t->data, (uintptr_t)t->data + 2, (uintptr_t)t->data + 4);
}

static void queue_sizes(struct target *t)
{
	static const unsigned bad[] = { 0, 3, 1, 0xffff, 0x8000, 0x7fff, 24 };
	uint64_t d = (uintptr_t)t->vq.desc, a = (uintptr_t)t->vq.avail, u = (uintptr_t)t->vq.used;

	for (unsigned i = 0; i < ARRAY_SIZE(bad); i++)
		queue_with(t, bad[i], d, a, u);
}

static void queue_moved_while_live(struct target *t)
{
	/* Other addresses and sizes for a queue that is in use: to be ignored until the next reset.
	 */
	virtio_queue_set(&t->dev, t->queue, 3, ~0ull, ~0ull, ~0ull);
	virtio_queue_ready(&t->dev, t->queue);
	doorbell(t);
}

static void absent_queues(struct target *t)
{
	static const unsigned absent[] = { 7, 64, 255, 0x7fff, 0xffff };

	for (unsigned i = 0; i < ARRAY_SIZE(absent); i++) {
		CHECK(!virtio_queue_max(&t->dev, absent[i]), "queue %u exists", absent[i]);
		if (t->dev.mmio) {
			mmio_write32(t->vq.doorbell, absent[i]);
			mmio_write32(t->vq.doorbell, absent[i] << 16);
		} else {
			/* The queue's number in the right doorbell, and doorbells behind the last.
			 */
			mmio_write16(t->vq.doorbell, (uint16_t)absent[i]);
			if (t->dev.notify_multiplier * absent[i] < 4096)
				mmio_write16(t->dev.notify + t->dev.notify_multiplier * absent[i],
					     (uint16_t)absent[i]);
		}
		virtio_queue_ready(&t->dev, absent[i]);
	}
	target_works(t, "doorbells of absent queues");
}

static void any_access(struct target *t, uintptr_t at)
{
	uint64_t r = target_random(t);

	switch (r & 7) {
	case 0:
		mmio_write8(at, (uint8_t)(r >> 8));
		break;
	case 1:
		mmio_write16(at, (uint16_t)(r >> 8));
		break;
	case 2:
		mmio_write32(at, (uint32_t)(r >> 8));
		break;
	case 3:
		mmio_write64(at, r);
		break;
	case 4:
		mmio_read8(at);
		break;
	case 5:
		mmio_read16(at);
		break;
	case 6:
		mmio_read32(at);
		break;
	default:
		mmio_read64(at);
	}
}

static void register_noise(struct target *t)
{
	uint64_t n = cmdline_u64("n", 500);

	for (uint64_t i = 0; i < n; i++) {
		uint64_t r = target_random(t);
		uintptr_t at;

		if (t->dev.mmio) {
			at = t->dev.base + (r & 0x1ff);
		} else {
			at = r & 0x10000   ? t->dev.common
			     : r & 0x20000 ? t->dev.config
			     : r & 0x40000 ? t->dev.notify
					   : t->dev.isr;
			at += r & 0x3f;
		}
		any_access(t, at);
	}
}

const struct attack register_attacks[] = {
	{ "features_all", MAY_BREAK, features_all },
	{ "features_none", MAY_BREAK, features_none },
	{ "features_late", MAY_BREAK, features_late },
	{ "status_out_of_order", MAY_BREAK, status_out_of_order },
	{ "doorbell_before_start", MAY_BREAK, doorbell_before_start },
	{ "queue_addresses", MAY_BREAK, queue_addresses },
	{ "queue_sizes", MAY_BREAK, queue_sizes },
	{ "queue_moved_while_live", MAY_BREAK, queue_moved_while_live },
	{ "absent_queues", MAY_BREAK, absent_queues },
	{ "register_noise", MAY_BREAK, register_noise },
	{ 0 },
};
