/*
 * Writes a line to a virtio console; `read=1`: then echoes what comes in until a line "end".
 * `lines=N`: writes many.
 */
#include "lib/mem.h"
#include "lib/virtio.h"

static struct virtio dev;
static struct vq rx, tx;

static void write_text(const char *s, uint32_t n)
{
	static char *copy;
	struct buf b;

	if (!copy)
		copy = mem_alloc(256, 64);
	memcpy(copy, s, n);
	b = (struct buf){ copy, n };
	CHECK(vq_add(&tx, &b, 1, 0, copy), "ring is full");
	vq_kick(&tx);
	while (!vq_take(&tx, NULL)) {
		if (!vq_arm(&tx))
			virtio_wait(&dev);
	}
}

static void read_until_end(void)
{
	char *in = mem_alloc(64, 64), line[80];
	struct buf b = { in, 64 };
	uint32_t len, n = 0;

	for (;;) {
		CHECK(vq_add(&rx, &b, 0, 1, in), "ring is full");
		vq_kick(&rx);
		while (!vq_take(&rx, &len)) {
			if (!vq_arm(&rx))
				virtio_wait(&dev);
		}
		CHECK(len && len <= 64, "device wrote %u bytes", len);
		for (uint32_t i = 0; i < len; i++) {
			if (n < sizeof(line) - 1)
				line[n++] = in[i];
			if (in[i] != '\n')
				continue;
			write_text("got: ", 5);
			write_text(line, n);
			if (n >= 4 && !memcmp(line, "end", 3))
				return;
			n = 0;
		}
	}
}

void guest_main(void)
{
	uint64_t lines = cmdline_u64("lines", 1);

	intr_init();
	CHECK(virtio_find(&dev, VIRTIO_ID_CONSOLE, 0), "no virtio console");
	virtio_start(&dev, virtio_usual_features());
	virtio_queue(&dev, &rx, 0, 16);
	virtio_queue(&dev, &tx, 1, 16);
	virtio_driver_ok(&dev);
	for (uint64_t i = 0; i < lines; i++)
		write_text("hello from hvc0\n", 16);
	if (cmdline_is("read", "1"))
		read_until_end();
}
