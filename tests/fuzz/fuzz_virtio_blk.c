/*
 * Fuzzes the block device's requests: the input chooses type, sector and the layout of the chain.
 * Whatever they are: no crash, no hang, the image keeps its size, a read-only one its content, and
 * after a reset the device serves a good request.
 */
#include <linux/virtio_blk.h>
#include <linux/virtio_config.h>
#include <linux/virtio_ring.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/fuzz/input.h"
#include "tests/unit/mock_driver.h"
#include "virtio/devices.h"

#define SECTORS	     64
#define MAX_REQUESTS 64
#define MAX_SEGS     8
#define DATA	     MIB(2)
#define DATA_BYTES   0x8000
#define F(bit)	     (1ull << (bit))

/* Mostly what a request may be, sometimes anything. */
static void put_header(struct mock_driver *d, struct input *in)
{
	static const uint32_t types[] = { VIRTIO_BLK_T_IN,	VIRTIO_BLK_T_OUT,
					  VIRTIO_BLK_T_FLUSH,	VIRTIO_BLK_T_GET_ID,
					  VIRTIO_BLK_T_DISCARD, VIRTIO_BLK_T_WRITE_ZEROES };
	uint8_t how = (uint8_t)take(in, 1);
	struct virtio_blk_outhdr h = {
		.type = how < 240 ? types[how % ARRAY_SIZE(types)] : (uint32_t)take(in, 4),
		.sector = how & 0x10 ? take(in, 8) : take(in, 1) % (SECTORS + 2),
	};

	require(!gmem_write(&d->mp->mem, DATA, &h, sizeof(h)));
}

static void request(struct mock_driver *d, struct input *in)
{
	struct mock_seg segs[MAX_SEGS];
	uint8_t shape = (uint8_t)take(in, 1);
	unsigned n = shape % MAX_SEGS + 1;
	uint64_t writable = 0;
	uint32_t id, len;

	put_header(d, in);
	for (unsigned i = 0; i < n; i++) {
		uint8_t how = (uint8_t)take(in, 1);

		segs[i] = (struct mock_seg){
			.gpa = DATA + (how & 1 ? take(in, 2) % DATA_BYTES : 0x1000),
			.len = how & 2 ? (uint32_t)take(in, 2) : (how >> 3) * 512u + (how >> 2 & 1),
			.write = how & 4,
		};
		if (shape & 0x80) {
			/* A well-formed frame around what lies between. */
			if (!i)
				segs[i] = (struct mock_seg){ DATA, 16, false };
			else if (i + 1 == n)
				segs[i] = (struct mock_seg){ DATA + 0x800, 1, true };
		}
		writable += segs[i].write ? segs[i].len : 0;
	}
	/* A range for discard and write zeroes, at the place where data lie by default. */
	if (shape & 0x40) {
		uint64_t raw[2] = { take(in, 1), take(in, 8) };

		require(!gmem_write(&d->mp->mem, DATA + 0x1000, raw, sizeof(raw)));
	}
	if (shape & 0x20)
		mock_ring_add_indirect(&d->ring[0], DATA + DATA_BYTES * 4, segs, n);
	else
		mock_ring_add(&d->ring[0], segs, n);
	mock_driver_kick(d, 0);
	while (mock_ring_used(&d->ring[0], &id, &len))
		require(len <= writable);
}

static void good_read(struct mock_driver *d)
{
	struct mock_seg segs[] = { { DATA, 16, false },
				   { DATA + 0x1000, 512, true },
				   { DATA + 0x800, 1, true } };
	struct virtio_blk_outhdr h = { .type = VIRTIO_BLK_T_IN, .sector = SECTORS - 1 };
	uint8_t status = 0x55;
	uint32_t len;

	require(!gmem_write(&d->mp->mem, DATA, &h, sizeof(h)));
	mock_ring_add(&d->ring[0], segs, 3);
	mock_driver_kick(d, 0);
	require(mock_ring_used(&d->ring[0], NULL, &len) && len == 513);
	require(!gmem_read(&d->mp->mem, DATA + 0x800, &status, 1) && status == VIRTIO_BLK_S_OK);
}

static void require_image(int fd, bool readonly)
{
	uint8_t buf[512];
	struct stat st;

	require(!fstat(fd, &st) && st.st_size == SECTORS * 512);
	for (unsigned i = 0; readonly && i < SECTORS; i++) {
		require(pread(fd, buf, sizeof(buf), i * 512) == sizeof(buf));
		for (unsigned k = 0; k < sizeof(buf); k++)
			require(buf[k] == (uint8_t)(i + 1));
	}
}

static int make_image(void)
{
	int fd = memfd_create("disk", MFD_CLOEXEC);
	uint8_t buf[512];

	require(fd >= 0);
	for (unsigned i = 0; i < SECTORS; i++) {
		memset(buf, (int)(i + 1), sizeof(buf));
		require(write(fd, buf, sizeof(buf)) == sizeof(buf));
	}
	return fd;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = { data, size };
	unsigned mode = (unsigned)take(&in, 1);
	char path[64];
	struct virtio_blk_params params = { .path = path, .readonly = mode & 1, .id = "a.root" };
	uint64_t features = F(VIRTIO_F_VERSION_1) | F(VIRTIO_RING_F_INDIRECT_DESC);
	static struct mock_driver drv;
	struct mock_platform mp;
	struct virtio_blk *blk;
	struct loop loop;
	int fd = make_image();

	if (mode & 2)
		features |= F(VIRTIO_BLK_F_FLUSH);
	if (mode & 4)
		features |= F(VIRTIO_BLK_F_DISCARD) | F(VIRTIO_BLK_F_WRITE_ZEROES);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	mock_platform_init(&mp, MIB(4), 0);
	require(!loop_init(&loop, "disk"));
	require(!virtio_blk_create(&blk, "a.root", &params, &loop, &mp.plat));
	mock_driver_init(&drv, &mp, virtio_blk_dev(blk));
	/* A read-only disk offers neither discard nor write zeroes. */
	features &= virtio_blk_dev(blk)->offered;
	require(mock_driver_start(&drv, features, 32));
	for (unsigned i = 0; in.left && i < MAX_REQUESTS; i++) {
		request(&drv, &in);
		if (virtio_blk_dev(blk)->status & VIRTIO_CONFIG_S_NEEDS_RESET) {
			drv.next = MIB(1);
			require(mock_driver_start(&drv, features, 32));
		}
	}
	drv.next = MIB(1);
	require(mock_driver_start(&drv, features, 32));
	good_read(&drv);
	require_image(fd, mode & 1);
	virtio_dev_stop(virtio_blk_dev(blk));
	virtio_blk_destroy(blk);
	loop_fini(&loop);
	mock_platform_fini(&mp);
	close(fd);
	return 0;
}
