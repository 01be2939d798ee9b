/* Takes random bytes from a virtio-rng and checks that they are not obviously none. */
#include "lib/mem.h"
#include "lib/virtio.h"

#define BYTES 64

static struct virtio dev;
static struct vq vq;

static void take(uint8_t *data)
{
	struct buf b = { data, BYTES };
	uint32_t got = 0, len;

	while (got < BYTES) {
		b.data = data + got;
		b.len = BYTES - got;
		CHECK(vq_add(&vq, &b, 0, 1, data), "ring is full");
		vq_kick(&vq);
		while (!vq_take(&vq, &len)) {
			if (!vq_arm(&vq))
				virtio_wait(&dev);
		}
		CHECK(len && len <= b.len, "device wrote %u of %u bytes", len, b.len);
		got += len;
	}
}

void guest_main(void)
{
	uint8_t *a = mem_alloc(BYTES, 64), *b = mem_alloc(BYTES, 64);
	unsigned zeros = 0, n = (unsigned)cmdline_u64("n", 20);

	intr_init();
	CHECK(virtio_find(&dev, VIRTIO_ID_RNG, 0), "no virtio-rng");
	virtio_start(&dev, virtio_usual_features());
	virtio_queue(&dev, &vq, 0, 8);
	virtio_driver_ok(&dev);
	take(a);
	for (unsigned i = 0; i < n; i++) { /* more than the ring has slots: it wraps */
		take(b);
		CHECK(memcmp(a, b, BYTES), "the same %u bytes twice", BYTES);
		memcpy(a, b, BYTES);
	}
	for (unsigned i = 0; i < BYTES; i++)
		zeros += !b[i];
	CHECK(zeros < BYTES / 4, "%u zeros in %u bytes", zeros, BYTES);
	print("rng: ok over %s, %lu interrupts\n", dev.mmio ? "mmio" : "pci",
	      (unsigned long)dev.interrupts);
}
