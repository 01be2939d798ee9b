/*
 * Reads, writes, flushes and identifies a virtio disk, and asks for what must be refused.
 *
 *   sectors=N   the capacity must be N            id=TEXT   GET_ID must answer this
 *   readonly=1  writes must fail, others work     full=1    writing the last sector must fail (the
 * host has no room)
 *
 * The disk's first sector must begin with "xvmm-disk". What is written: sector s at the end of the
 * disk gets s in every 64-bit word.
 */
#include "lib/mem.h"
#include "lib/virtio.h"

#define VIRTIO_BLK_F_RO	   5
#define VIRTIO_BLK_F_FLUSH 9
#define SECTOR		   512u
#define BIG		   128u /* sectors in the big transfers */

enum { T_IN = 0, T_OUT = 1, T_FLUSH = 4, T_GET_ID = 8, T_NONSENSE = 99 };
enum { S_OK = 0, S_IOERR = 1, S_UNSUPP = 2 };

struct request {
	uint32_t type, reserved;
	uint64_t sector;
};

static struct virtio dev;
static struct vq vq;
static struct request *req;
static uint8_t *status;

static uint8_t submit(uint32_t type, uint64_t sector, void *data, uint32_t bytes, uint32_t *written)
{
	struct buf b[4] = { { req, sizeof(*req) } };
	unsigned out = 1, in = 0;
	uint32_t len, half = bytes > SECTOR ? bytes / 2 : bytes;

	*req = (struct request){ .type = type, .sector = sector };
	*status = 0xaa;
	if (bytes) { /* in two pieces if it can be */
		b[1] = (struct buf){ data, half };
		if (half < bytes)
			b[2] = (struct buf){ (uint8_t *)data + half, bytes - half };
		*(type == T_OUT ? &out : &in) += half < bytes ? 2 : 1;
	}
	b[out + in] = (struct buf){ status, 1 };
	in++;
	CHECK(vq_add(&vq, b, out, in, req), "ring is full");
	vq_kick(&vq);
	while (!vq_take(&vq, &len)) {
		if (!vq_arm(&vq))
			virtio_wait(&dev);
	}
	CHECK(*status != 0xaa, "request %u came back without a status", type);
	/* len counts from the first writable byte on: 0 if a refused read left the data alone. */
	CHECK(len >= 1 || *status != S_OK, "request %u came back with %u bytes written", type, len);
	if (written)
		*written = len;
	return *status;
}

static void write_and_read_back(uint64_t capacity)
{
	uint64_t *w = mem_alloc(BIG * SECTOR, 4096), *r = mem_alloc(BIG * SECTOR, 4096);
	unsigned n = capacity - 1 < BIG ? (unsigned)(capacity - 1) : BIG;
	uint64_t first = capacity - n;
	uint32_t written;

	for (unsigned s = 0; s < n; s++) {
		w[s * 64] = first + s;
		memcpy(&w[s * 64 + 1], &w[s * 64], SECTOR - 8);
	}
	CHECK(submit(T_OUT, first, w, n * SECTOR, &written) == S_OK, "write fails");
	CHECK(written == 1, "write says it wrote %u bytes to memory", written);
	CHECK(submit(T_FLUSH, 0, NULL, 0, NULL) == S_OK, "flush fails");
	CHECK(submit(T_IN, first, r, n * SECTOR, &written) == S_OK, "read fails");
	CHECK(written == n * SECTOR + 1, "read says it wrote %u bytes to memory", written);
	CHECK(hash_bytes(w, n * SECTOR, 0) == hash_bytes(r, n * SECTOR, 0),
	      "what was read is not what was written");
}

void guest_main(void)
{
	uint8_t *data = mem_alloc(4096, 4096);
	bool readonly = cmdline_is("readonly", "1");
	uint64_t capacity = 0;
	char id[32];

	intr_init();
	CHECK(virtio_find(&dev, VIRTIO_ID_BLOCK, (unsigned)cmdline_u64("disk", 0)), "no disk");
	virtio_start(&dev, virtio_usual_features() | FEATURE(VIRTIO_BLK_F_RO) |
				   FEATURE(VIRTIO_BLK_F_FLUSH));
	virtio_queue(&dev, &vq, 0, 64);
	virtio_driver_ok(&dev);
	req = mem_alloc(sizeof(*req), 16);
	status = mem_alloc(1, 16);
	virtio_config(&dev, 0, &capacity, 8);
	print("blk: %lu sectors over %s\n", (unsigned long)capacity, dev.mmio ? "mmio" : "pci");
	CHECK(capacity == cmdline_u64("sectors", capacity), "capacity is %lu sectors",
	      (unsigned long)capacity);
	CHECK(capacity > 1, "disk is too small");
	CHECK(!(dev.features & FEATURE(VIRTIO_BLK_F_RO)) == !readonly, "F_RO is %u",
	      !!(dev.features & FEATURE(VIRTIO_BLK_F_RO)));

	CHECK(submit(T_IN, 0, data, SECTOR, NULL) == S_OK, "reading sector 0 fails");
	CHECK(!memcmp(data, "xvmm-disk", 9), "sector 0 holds something else");
	memset(data, 0, SECTOR);
	CHECK(submit(T_GET_ID, 0, data, 20, NULL) == S_OK, "GET_ID fails");
	data[20] = 0;
	print("id: %s\n", (char *)data);
	if (cmdline_get("id", id, sizeof(id)))
		CHECK(!strcmp((char *)data, id), "GET_ID answers %s", (char *)data);

	if (readonly)
		CHECK(submit(T_OUT, 1, data, SECTOR, NULL) == S_IOERR,
		      "a write to a read-only disk works");
	else if (cmdline_is("full", "1"))
		CHECK(submit(T_OUT, capacity - 1, data, SECTOR, NULL) == S_IOERR,
		      "a write to a full disk works");
	else
		write_and_read_back(capacity);

	CHECK(submit(T_IN, capacity, data, SECTOR, NULL) == S_IOERR, "a read past the end works");
	CHECK(submit(T_IN, capacity - 1, data, 2 * SECTOR, NULL) == S_IOERR,
	      "a read across the end works");
	CHECK(submit(T_IN, ~0ull, data, SECTOR, NULL) == S_IOERR, "a read at sector -1 works");
	CHECK(submit(T_IN, ~0ull >> 9, data, SECTOR, NULL) == S_IOERR, "a read past 2^63 works");
	if (!readonly)
		CHECK(submit(T_OUT, capacity, data, SECTOR, NULL) == S_IOERR,
		      "a write past the end works");
	CHECK(submit(T_NONSENSE, 0, data, SECTOR, NULL) == S_UNSUPP, "request 99 is not refused");
	/* Refusals do not stop the device. */
	CHECK(submit(T_IN, 0, data, SECTOR, NULL) == S_OK && !memcmp(data, "xvmm-disk", 9),
	      "the disk does not work any more");
}
