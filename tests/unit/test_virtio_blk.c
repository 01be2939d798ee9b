/* The block device: every request, every layout, every error, and what a hostile driver tries. */
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/virtio_blk.h>
#include <linux/virtio_config.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include "tests/unit/mock_driver.h"
#include "virtio/devices.h"

#define SECTORS 2048 /* 1 MiB */
#define F(bit)	(1ull << (bit))
#define PLAIN	(F(VIRTIO_F_VERSION_1) | F(VIRTIO_BLK_F_FLUSH))
#define ALL                                                                                     \
	(PLAIN | F(VIRTIO_BLK_F_SEG_MAX) | F(VIRTIO_BLK_F_BLK_SIZE) | F(VIRTIO_BLK_F_DISCARD) | \
	 F(VIRTIO_BLK_F_WRITE_ZEROES))
#define NO_STATUS 0x55

static struct mock_platform mp;
static struct mock_driver drv;
static struct loop loop;
static struct virtio_blk *blk;
static char path[32];
static int fd;

static int create(const char *p, bool readonly)
{
	struct virtio_blk_params params = { .path = p, .readonly = readonly, .id = "alpha.root" };
	int ret = virtio_blk_create(&blk, "alpha.root", &params, &loop, &mp.plat);

	if (ret)
		blk = NULL;
	else
		mock_driver_init(&drv, &mp, virtio_blk_dev(blk));
	return ret;
}

static void start(uint64_t features)
{
	ck_assert_int_eq(create(path, false), 0);
	ck_assert_int_eq(loop_start(&loop), 0);
	ck_assert(mock_driver_start(&drv, features, 256));
}

static void stop(void)
{
	loop_stop(&loop);
	if (blk)
		virtio_dev_stop(virtio_blk_dev(blk));
	virtio_blk_destroy(blk);
	blk = NULL;
}

static void setup(void)
{
	strcpy(path, "/tmp/xvmm-blk-XXXXXX");
	fd = mkstemp(path);
	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(ftruncate(fd, SECTORS * 512), 0);
	mock_platform_init(&mp, MIB(16), 0);
	ck_assert_int_eq(loop_init(&loop, "disk"), 0);
}

static void teardown(void)
{
	stop();
	loop_fini(&loop);
	mock_platform_fini(&mp);
	close(fd);
	unlink(path);
}

/* The host's I/O, as wilful as it may be: these stand in for the C library's. */
static size_t max_io; /* transfers no more at once; 0: no limit */
static int fail_io;   /* errno for the next call */
static unsigned nr_ios;

static int shorten(const struct iovec *iov, int n, struct iovec *out)
{
	size_t left = max_io;
	int i;

	memcpy(out, iov, (size_t)n * sizeof(*iov));
	for (i = 0; max_io && i < n && left; i++) {
		if (out[i].iov_len > left)
			out[i].iov_len = left;
		left -= out[i].iov_len;
	}
	return max_io ? i : n;
}

static ssize_t wilful(long nr, int f, const struct iovec *iov, int n, off_t offset)
{
	struct iovec part[VIRTQ_MAX_SEGS];

	nr_ios++;
	if (fail_io) {
		errno = fail_io;
		fail_io = 0;
		return -1;
	}
	n = shorten(iov, n, part);
	return syscall(nr, f, part, n, offset, 0);
}

ssize_t preadv(int f, const struct iovec *iov, int n, off_t offset)
{
	return wilful(SYS_preadv, f, iov, n, offset);
}

ssize_t pwritev(int f, const struct iovec *iov, int n, off_t offset)
{
	return wilful(SYS_pwritev, f, iov, n, offset);
}

/* ---- one request ---- */

struct req {
	uint32_t type;
	uint64_t sector;
	gpa_t data;
	uint32_t len; /* of the data */
	bool in;      /* the device writes the data */
};

static uint8_t guest_byte(gpa_t gpa)
{
	uint8_t b;

	ck_assert_int_eq(gmem_read(&mp.mem, gpa, &b, 1), 0);
	return b;
}

static gpa_t put_header(uint32_t type, uint64_t sector)
{
	struct virtio_blk_outhdr h = { .type = type, .sector = sector };

	return mock_driver_put(&drv, &h, sizeof(h));
}

static gpa_t put_status(void)
{
	uint8_t none = NO_STATUS;

	return mock_driver_put(&drv, &none, 1);
}

/* Carries a prepared chain out; returns the status byte, *len the used length. */
static uint8_t run(const struct mock_seg *segs, unsigned n, gpa_t status, uint32_t *len)
{
	uint32_t id, used;
	uint16_t head = mock_ring_add(&drv.ring[0], segs, n);

	mock_driver_kick(&drv, 0);
	ck_assert(mock_ring_used(&drv.ring[0], &id, &used));
	ck_assert_uint_eq(id, head);
	if (len)
		*len = used;
	return guest_byte(status);
}

static uint8_t request_len(const struct req *r, uint32_t *len)
{
	gpa_t status = put_status();
	struct mock_seg segs[3] = { { put_header(r->type, r->sector), 16, false } };
	unsigned n = 1;

	if (r->len)
		segs[n++] = (struct mock_seg){ r->data, r->len, r->in };
	segs[n++] = (struct mock_seg){ status, 1, true };
	return run(segs, n, status, len);
}

static uint8_t request(uint32_t type, uint64_t sector, gpa_t data, uint32_t len, bool in)
{
	return request_len(&(struct req){ type, sector, data, len, in }, NULL);
}

static void pattern(uint8_t *buf, size_t len, unsigned seed)
{
	for (size_t i = 0; i < len; i++)
		buf[i] = (uint8_t)(i * 31 + i / 512 + seed);
}

static bool faulted(void)
{
	return mock_driver_status(&drv) & VIRTIO_CONFIG_S_NEEDS_RESET;
}

/* ---- configuration and opening ---- */

START_TEST(config_and_features)
{
	struct virtio_blk_config cfg;
	uint8_t past[8] = { 1, 1, 1, 1, 1, 1, 1, 1 };
	struct virtio_dev *dev;

	start(ALL);
	dev = virtio_blk_dev(blk);
	ck_assert_uint_eq(dev->device_id, 2);
	ck_assert(!(dev->offered & F(VIRTIO_BLK_F_RO)));
	ck_assert(!(dev->offered & F(VIRTIO_BLK_F_CONFIG_WCE)));
	ck_assert_uint_ge(dev->vq[0].max_size, 128);
	memset(&cfg, 0xff, sizeof(cfg));
	for (unsigned i = 0; i < sizeof(cfg); i += 4)
		mock_driver_config_read(&drv, i, (uint8_t *)&cfg + i,
					sizeof(cfg) - i < 4 ? sizeof(cfg) - i : 4);
	ck_assert_uint_eq(cfg.capacity, SECTORS);
	ck_assert_uint_eq(cfg.blk_size, 512);
	ck_assert_uint_eq(cfg.seg_max, VIRTQ_MAX_SEGS - 2);
	ck_assert_uint_gt(cfg.max_discard_sectors, 0);
	ck_assert_uint_gt(cfg.max_write_zeroes_sectors, 0);
	mock_driver_config_read(&drv, sizeof(cfg), past, 8);
	ck_assert_mem_eq(past, "\0\0\0\0\0\0\0\0", 8);
	memset(past, 1, 8);
	mock_driver_config_read(&drv, UINT32_MAX - 3, past, 8);
	ck_assert_mem_eq(past, "\0\0\0\0\0\0\0\0", 8);
	memset(past, 1, 8);
	mock_driver_config_read(&drv, sizeof(cfg) - 2, past, 8);
	ck_assert_mem_eq(past + 2, "\0\0\0\0\0\0", 6);
	mock_driver_config_write(&drv, 0, past, 8); /* ignored */
	mock_driver_config_read(&drv, 0, &cfg.capacity, 8);
	ck_assert_uint_eq(cfg.capacity, SECTORS);
}
END_TEST

START_TEST(what_cannot_be_opened)
{
	char fifo[64];

	ck_assert_int_eq(create("/nonexistent/disk", false), -ENOENT);
	ck_assert_int_eq(create("/tmp", true), -EINVAL);
	ck_assert_int_eq(create("/tmp", false), -EISDIR);
	ck_assert_int_eq(create("/dev/null", false), -EINVAL);
	snprintf(fifo, sizeof(fifo), "%s.fifo", path);
	ck_assert_int_eq(mkfifo(fifo, 0600), 0);
	ck_assert_int_eq(create(fifo, true), -EINVAL);
	unlink(fifo);
	ck_assert_int_eq(ftruncate(fd, 1000), 0);
	ck_assert_int_eq(create(path, false), -EINVAL);
	ck_assert_int_eq(ftruncate(fd, 0), 0);
	ck_assert_int_eq(create(path, false), 0); /* empty, but a disk */
}
END_TEST

START_TEST(disks_are_locked)
{
	struct virtio_blk_params rw = { .path = path }, ro = { .path = path, .readonly = true };
	struct virtio_blk *a, *b, *c;

	ck_assert_int_eq(virtio_blk_create(&a, "a", &rw, &loop, &mp.plat), 0);
	ck_assert_int_eq(virtio_blk_create(&b, "b", &rw, &loop, &mp.plat), -EWOULDBLOCK);
	ck_assert_int_eq(virtio_blk_create(&b, "b", &ro, &loop, &mp.plat), -EWOULDBLOCK);
	virtio_blk_destroy(a);
	ck_assert_int_eq(virtio_blk_create(&a, "a", &ro, &loop, &mp.plat), 0);
	ck_assert_int_eq(virtio_blk_create(&b, "b", &ro, &loop, &mp.plat), 0);
	ck_assert_int_eq(virtio_blk_create(&c, "c", &rw, &loop, &mp.plat), -EWOULDBLOCK);
	virtio_blk_destroy(b);
	virtio_blk_destroy(a);
}
END_TEST

/* ---- reading and writing ---- */

START_TEST(write_then_read)
{
	static uint8_t out[8192], back[8192];
	struct req r;
	gpa_t data, in;
	uint32_t len;

	start(PLAIN);
	pattern(out, sizeof(out), 1);
	data = mock_driver_put(&drv, out, sizeof(out));
	in = mock_driver_alloc(&drv, sizeof(back), 1);
	r = (struct req){ VIRTIO_BLK_T_OUT, 100, data, sizeof(out), false };
	ck_assert_uint_eq(request_len(&r, &len), VIRTIO_BLK_S_OK);
	ck_assert_uint_eq(len, 1);
	ck_assert_int_eq(pread(fd, back, sizeof(back), 100 * 512), sizeof(back));
	ck_assert_mem_eq(out, back, sizeof(out));
	r = (struct req){ VIRTIO_BLK_T_IN, 100, in, sizeof(out), true };
	ck_assert_uint_eq(request_len(&r, &len), VIRTIO_BLK_S_OK);
	ck_assert_uint_eq(len, sizeof(out) + 1);
	ck_assert_int_eq(gmem_read(&mp.mem, in, back, sizeof(back)), 0);
	ck_assert_mem_eq(out, back, sizeof(out));
	/* The first and the last sector, and nothing at all at the very end. */
	ck_assert_uint_eq(request(VIRTIO_BLK_T_OUT, 0, data, 512, false), 0);
	ck_assert_uint_eq(request(VIRTIO_BLK_T_OUT, SECTORS - 1, data, 512, false), 0);
	ck_assert_uint_eq(request(VIRTIO_BLK_T_IN, SECTORS - 1, in, 512, true), 0);
	ck_assert_uint_eq(request(VIRTIO_BLK_T_IN, SECTORS, in, 0, true), 0);
	ck_assert_uint_eq(atomic_load(&drv.queue_irqs[0]), 6);
	ck_assert(!faulted());
}
END_TEST

/* 2.7.4.1: the device must not assume how a request is cut into descriptors. */
START_TEST(any_layout)
{
	uint8_t out[1024], back[1024];
	gpa_t buf, hdr, status, in;

	start(PLAIN);
	pattern(out, sizeof(out), 9);
	/* Header and data in one descriptor. */
	hdr = put_header(VIRTIO_BLK_T_OUT, 7);
	buf = mock_driver_put(&drv, out, sizeof(out));
	ck_assert_uint_eq(buf, hdr + 16);
	status = put_status();
	ck_assert_uint_eq(run((struct mock_seg[]){ { hdr, 16 + 1024, false }, { status, 1, true } },
			      2, status, NULL),
			  0);
	/* Header byte by byte, data in odd pieces that also share one with the header. */
	{
		struct mock_seg segs[32];
		unsigned n = 0;

		hdr = put_header(VIRTIO_BLK_T_OUT, 20);
		mock_driver_put(&drv, out, sizeof(out));
		status = put_status();
		for (; n < 15; n++)
			segs[n] = (struct mock_seg){ hdr + n, 1, false };
		segs[n++] = (struct mock_seg){ hdr + 15, 1 + 3, false };
		segs[n++] = (struct mock_seg){ hdr + 19, 0, false };
		segs[n++] = (struct mock_seg){ hdr + 19, 1, false };
		segs[n++] = (struct mock_seg){ hdr + 20, 1020, false };
		segs[n++] = (struct mock_seg){ status, 1, true };
		ck_assert_uint_eq(run(segs, n, status, NULL), 0);
	}
	ck_assert_int_eq(pread(fd, back, 1024, 7 * 512), 1024);
	ck_assert_mem_eq(out, back, 1024);
	ck_assert_int_eq(pread(fd, back, 1024, 20 * 512), 1024);
	ck_assert_mem_eq(out, back, 1024);
	/* Data and status in one writable descriptor, and in three. */
	in = mock_driver_alloc(&drv, 1025, 1);
	hdr = put_header(VIRTIO_BLK_T_IN, 7);
	ck_assert_uint_eq(run((struct mock_seg[]){ { hdr, 16, false }, { in, 1025, true } }, 2,
			      in + 1024, NULL),
			  0);
	ck_assert_int_eq(gmem_read(&mp.mem, in, back, 1024), 0);
	ck_assert_mem_eq(out, back, 1024);
	ck_assert_int_eq(gmem_zero(&mp.mem, in, 1025), 0);
	ck_assert_uint_eq(run((struct mock_seg[]){ { hdr, 16, false },
						   { in, 700, true },
						   { in + 700, 324, true },
						   { in + 1024, 1, true } },
			      4, in + 1024, NULL),
			  0);
	ck_assert_int_eq(gmem_read(&mp.mem, in, back, 1024), 0);
	ck_assert_mem_eq(out, back, 1024);
	ck_assert(!faulted());
}
END_TEST

START_TEST(out_of_range_and_unaligned)
{
	static const struct {
		uint64_t sector;
		uint32_t len;
	} bad[] = {
		{ SECTORS, 512 },
		{ SECTORS - 1, 1024 },
		{ UINT64_MAX, 512 },
		{ UINT64_MAX - 1, 1024 },
		{ UINT64_MAX / 512, 512 },
		{ UINT64_MAX / 512 + 1, 512 },
		{ (uint64_t)INT64_MAX / 512, 512 },
		{ 1ull << 63, 0 },
		{ 0, 511 },
		{ 0, 513 },
		{ 0, 1 },
		{ 0, SECTORS * 512 + 512 },
	};
	struct stat st;
	gpa_t data;

	start(PLAIN);
	data = mock_driver_alloc(&drv, SECTORS * 512 + 512, 1);
	for (unsigned i = 0; i < ARRAY_SIZE(bad); i++) {
		ck_assert_uint_eq(request(VIRTIO_BLK_T_IN, bad[i].sector, data, bad[i].len, true),
				  VIRTIO_BLK_S_IOERR);
		ck_assert_uint_eq(request(VIRTIO_BLK_T_OUT, bad[i].sector, data, bad[i].len, false),
				  VIRTIO_BLK_S_IOERR);
	}
	ck_assert_int_eq(fstat(fd, &st), 0);
	ck_assert_int_eq(st.st_size, SECTORS * 512);
	ck_assert(!faulted());
	/* The whole disk at once is fine. */
	ck_assert_uint_eq(request(VIRTIO_BLK_T_IN, 0, data, SECTORS * 512, true), 0);
}
END_TEST

START_TEST(readonly_disk)
{
	uint8_t back[512];
	gpa_t data;

	ck_assert_int_eq(create(path, true), 0);
	ck_assert(virtio_blk_dev(blk)->offered & F(VIRTIO_BLK_F_RO));
	ck_assert(!(virtio_blk_dev(blk)->offered &
		    (F(VIRTIO_BLK_F_DISCARD) | F(VIRTIO_BLK_F_WRITE_ZEROES))));
	ck_assert_int_eq(loop_start(&loop), 0);
	/* Also a driver that does not know about RO cannot write. */
	ck_assert(mock_driver_start(&drv, PLAIN, 64));
	memset(back, 'w', sizeof(back));
	data = mock_driver_put(&drv, back, sizeof(back));
	ck_assert_uint_eq(request(VIRTIO_BLK_T_OUT, 0, data, 512, false), VIRTIO_BLK_S_IOERR);
	ck_assert_uint_eq(request(VIRTIO_BLK_T_IN, 0, data, 512, true), VIRTIO_BLK_S_OK);
	ck_assert_uint_eq(request(VIRTIO_BLK_T_FLUSH, 0, 0, 0, false), VIRTIO_BLK_S_OK);
	ck_assert_uint_eq(guest_byte(data), 0);
}
END_TEST

START_TEST(other_requests)
{
	char id[21] = "";
	gpa_t buf;
	struct req r;
	uint32_t len;

	start(PLAIN);
	buf = mock_driver_alloc(&drv, 512, 1);
	ck_assert_uint_eq(request(VIRTIO_BLK_T_FLUSH, 0, 0, 0, false), VIRTIO_BLK_S_OK);
	r = (struct req){ VIRTIO_BLK_T_GET_ID, 0, buf, 20, true };
	ck_assert_uint_eq(request_len(&r, &len), VIRTIO_BLK_S_OK);
	ck_assert_uint_eq(len, 21);
	ck_assert_int_eq(gmem_read(&mp.mem, buf, id, 20), 0);
	ck_assert_str_eq(id, "alpha.root");
	/* A longer buffer keeps what it had; a shorter one gets what fits. */
	ck_assert_int_eq(gmem_write(&mp.mem, buf + 20, "Z", 1), 0);
	ck_assert_uint_eq(request(VIRTIO_BLK_T_GET_ID, 0, buf, 512, true), VIRTIO_BLK_S_OK);
	ck_assert_uint_eq(guest_byte(buf + 20), 'Z');
	ck_assert_int_eq(gmem_write(&mp.mem, buf, "ZZZZZZ", 6), 0);
	ck_assert_uint_eq(request(VIRTIO_BLK_T_GET_ID, 0, buf, 5, true), VIRTIO_BLK_S_OK);
	ck_assert_uint_eq(guest_byte(buf + 4), 'a');
	ck_assert_uint_eq(guest_byte(buf + 5), 'Z');

	ck_assert_uint_eq(request(VIRTIO_BLK_T_SCSI_CMD, 0, buf, 512, true), VIRTIO_BLK_S_UNSUPP);
	ck_assert_uint_eq(request(99, 0, buf, 512, false), VIRTIO_BLK_S_UNSUPP);
	ck_assert_uint_eq(request(UINT32_MAX, 0, buf, 512, true), VIRTIO_BLK_S_UNSUPP);
	/* Not negotiated here. */
	ck_assert_uint_eq(request(VIRTIO_BLK_T_DISCARD, 0, buf, 16, false), VIRTIO_BLK_S_UNSUPP);
	ck_assert_uint_eq(request(VIRTIO_BLK_T_WRITE_ZEROES, 0, buf, 16, false),
			  VIRTIO_BLK_S_UNSUPP);
	ck_assert(!faulted());
}
END_TEST

/* ---- discard and write zeroes ---- */

static uint8_t ranges(uint32_t type, const struct virtio_blk_discard_write_zeroes *r, unsigned n)
{
	gpa_t data = mock_driver_put(&drv, r, n * sizeof(*r));

	return request(type, 0, data, n * (uint32_t)sizeof(*r), false);
}

static uint8_t range(uint32_t type, uint64_t sector, uint32_t nr, uint32_t flags)
{
	struct virtio_blk_discard_write_zeroes r = { sector, nr, flags };

	return ranges(type, &r, 1);
}

START_TEST(discard_and_write_zeroes)
{
	static uint8_t full[SECTORS * 512], back[SECTORS * 512];
	struct virtio_blk_discard_write_zeroes two[2] = { { 8, 8, 0 }, { 100, 1, 1 } };
	struct virtio_blk_discard_write_zeroes many[32] = { { 0, 1, 0 } };
	struct stat st;
	gpa_t data;

	memset(full, 'd', sizeof(full));
	ck_assert_int_eq(pwrite(fd, full, sizeof(full), 0), sizeof(full));
	start(ALL);
	ck_assert_uint_eq(ranges(VIRTIO_BLK_T_WRITE_ZEROES, two, 2), VIRTIO_BLK_S_OK);
	memset(full + 8 * 512, 0, 8 * 512);
	memset(full + 100 * 512, 0, 512);
	ck_assert_int_eq(pread(fd, back, sizeof(back), 0), sizeof(back));
	ck_assert_mem_eq(full, back, sizeof(full));
	ck_assert_uint_eq(range(VIRTIO_BLK_T_DISCARD, 1024, 1024, 0), VIRTIO_BLK_S_OK);
	ck_assert_int_eq(pread(fd, back, sizeof(back), 0), sizeof(back));
	ck_assert_mem_eq(full, back, sizeof(full) / 2);
	ck_assert_int_eq(fstat(fd, &st), 0);
	ck_assert_int_eq(st.st_size, SECTORS * 512);

	for (unsigned i = 0; i < 2; i++) {
		uint32_t type = i ? VIRTIO_BLK_T_DISCARD : VIRTIO_BLK_T_WRITE_ZEROES;

		ck_assert_uint_eq(range(type, SECTORS, 1, 0), VIRTIO_BLK_S_IOERR);
		ck_assert_uint_eq(range(type, SECTORS - 1, 2, 0), VIRTIO_BLK_S_IOERR);
		ck_assert_uint_eq(range(type, UINT64_MAX, 2, 0), VIRTIO_BLK_S_IOERR);
		ck_assert_uint_eq(range(type, 0, UINT32_MAX, 0), VIRTIO_BLK_S_IOERR);
		ck_assert_uint_eq(range(type, 0, 1, 2), VIRTIO_BLK_S_UNSUPP);
		ck_assert_uint_eq(ranges(type, many, 32), VIRTIO_BLK_S_IOERR);
		ck_assert_uint_eq(range(type, 0, 0, 0), VIRTIO_BLK_S_OK);
		data = mock_driver_put(&drv, many, 24);
		ck_assert_uint_eq(request(type, 0, data, 24, false), VIRTIO_BLK_S_IOERR);
		ck_assert_uint_eq(request(type, 0, data, 0, false), VIRTIO_BLK_S_IOERR);
	}
	ck_assert_uint_eq(range(VIRTIO_BLK_T_DISCARD, 0, 1, 1), VIRTIO_BLK_S_UNSUPP);
	ck_assert(!faulted());
}
END_TEST

/* ---- errors of the host ---- */

START_TEST(file_size_limit_is_an_error_to_the_guest)
{
	struct rlimit lim = { .rlim_cur = 512 * 512, .rlim_max = RLIM_INFINITY };
	static uint8_t out[4096];
	gpa_t data;

	start(PLAIN);
	signal(SIGXFSZ, SIG_IGN);
	ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &lim), 0);
	memset(out, 'x', sizeof(out));
	data = mock_driver_put(&drv, out, sizeof(out));
	ck_assert_uint_eq(request(VIRTIO_BLK_T_OUT, 512, data, 512, false), VIRTIO_BLK_S_IOERR);
	/* Half of it fits: continued, then refused. */
	ck_assert_uint_eq(request(VIRTIO_BLK_T_OUT, 508, data, 4096, false), VIRTIO_BLK_S_IOERR);
	ck_assert_uint_eq(request(VIRTIO_BLK_T_OUT, 504, data, 4096, false), VIRTIO_BLK_S_OK);
	ck_assert_uint_eq(request(VIRTIO_BLK_T_IN, 1024, data, 512, true), VIRTIO_BLK_S_OK);
	ck_assert(!faulted());
	lim.rlim_cur = RLIM_INFINITY;
	ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &lim), 0);
}
END_TEST

START_TEST(file_that_shrank)
{
	gpa_t data;
	struct req r;
	uint32_t len;

	start(PLAIN);
	data = mock_driver_alloc(&drv, 4096, 1);
	ck_assert_int_eq(ftruncate(fd, 4 * 512), 0);
	r = (struct req){ VIRTIO_BLK_T_IN, 0, data, 4096, true };
	ck_assert_uint_eq(request_len(&r, &len), VIRTIO_BLK_S_IOERR);
	ck_assert_uint_eq(len, 2048); /* what is really there */
	ck_assert_uint_eq(request(VIRTIO_BLK_T_IN, 100, data, 512, true), VIRTIO_BLK_S_IOERR);
	ck_assert(!faulted());
}
END_TEST

START_TEST(short_and_interrupted_transfers_go_on)
{
	static uint8_t out[8192], back[8192];
	struct mock_seg segs[6];
	gpa_t data, in, status;

	start(PLAIN);
	pattern(out, sizeof(out), 5);
	data = mock_driver_put(&drv, out, sizeof(out));
	in = mock_driver_alloc(&drv, sizeof(out), 1);
	for (unsigned step = 700; step < 5000; step += 1300) {
		max_io = step;
		fail_io = EINTR;
		nr_ios = 0;
		/* The data in four pieces, so that a part may end within one. */
		status = put_status();
		segs[0] = (struct mock_seg){ put_header(VIRTIO_BLK_T_OUT, step / 4), 16, false };
		for (unsigned i = 0; i < 4; i++)
			segs[1 + i] = (struct mock_seg){ data + 2048 * i, 2048, false };
		segs[5] = (struct mock_seg){ status, 1, true };
		ck_assert_uint_eq(run(segs, 6, status, NULL), VIRTIO_BLK_S_OK);
		ck_assert_uint_gt(nr_ios, 2);
		ck_assert_int_eq(pread(fd, back, sizeof(back), (off_t)(step / 4) * 512),
				 sizeof(back));
		ck_assert_mem_eq(out, back, sizeof(out));

		fail_io = EINTR;
		ck_assert_int_eq(gmem_zero(&mp.mem, in, sizeof(out)), 0);
		segs[0].gpa = put_header(VIRTIO_BLK_T_IN, step / 4);
		for (unsigned i = 0; i < 4; i++)
			segs[1 + i] = (struct mock_seg){ in + 2048 * i, 2048, true };
		ck_assert_uint_eq(run(segs, 6, status, NULL), VIRTIO_BLK_S_OK);
		ck_assert_int_eq(gmem_read(&mp.mem, in, back, sizeof(back)), 0);
		ck_assert_mem_eq(out, back, sizeof(out));
	}
	max_io = 0;
}
END_TEST

START_TEST(io_errors_reach_the_guest)
{
	gpa_t data;

	start(PLAIN);
	data = mock_driver_alloc(&drv, 512, 1);
	for (unsigned i = 0; i < 50; i++) { /* logged at a limited rate */
		fail_io = EIO;
		ck_assert_uint_eq(request(VIRTIO_BLK_T_IN, 0, data, 512, true), VIRTIO_BLK_S_IOERR);
		fail_io = i % 2 ? EIO : ENOSPC;
		ck_assert_uint_eq(request(VIRTIO_BLK_T_OUT, 0, data, 512, false),
				  VIRTIO_BLK_S_IOERR);
	}
	ck_assert_uint_eq(request(VIRTIO_BLK_T_OUT, 0, data, 512, false), VIRTIO_BLK_S_OK);
	ck_assert(!faulted());
}
END_TEST

/* A sparse disk on a full file system, in a mount namespace of its own. */
START_TEST(full_disk)
{
	static uint8_t out[65536];
	char dir[64], disk[80];
	unsigned ok = 0, failed = 0;
	gpa_t data;
	int f;

	snprintf(dir, sizeof(dir), "%s.d", path);
	snprintf(disk, sizeof(disk), "%s/disk", dir);
	ck_assert_int_eq(mkdir(dir, 0700), 0);
	if (unshare(CLONE_NEWNS) || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) ||
	    mount("tmpfs", dir, "tmpfs", 0, "size=256k")) {
		fprintf(stderr, "full_disk: skipped, no right to mount: %s\n", strerror(errno));
		rmdir(dir);
		return;
	}
	f = open(disk, O_RDWR | O_CREAT, 0600);
	ck_assert_int_eq(ftruncate(f, MIB(1)), 0);
	ck_assert_int_eq(create(disk, false), 0);
	ck_assert_int_eq(loop_start(&loop), 0);
	ck_assert(mock_driver_start(&drv, ALL, 256));
	memset(out, 'x', sizeof(out));
	data = mock_driver_put(&drv, out, sizeof(out));
	for (unsigned i = 0; i < 16; i++) {
		uint8_t s = request(VIRTIO_BLK_T_OUT, i * 128, data, sizeof(out), false);

		ok += s == VIRTIO_BLK_S_OK;
		failed += s == VIRTIO_BLK_S_IOERR;
	}
	ck_assert_uint_gt(ok, 0);
	ck_assert_uint_gt(failed, 0);
	ck_assert_uint_eq(ok + failed, 16);
	/* What was written is still there, and after a discard there is room again. */
	ck_assert_uint_eq(request(VIRTIO_BLK_T_IN, 0, data, 65536, true), VIRTIO_BLK_S_OK);
	ck_assert_uint_eq(guest_byte(data), 'x');
	ck_assert_uint_eq(request(VIRTIO_BLK_T_FLUSH, 0, 0, 0, false), VIRTIO_BLK_S_OK);
	ck_assert_uint_eq(range(VIRTIO_BLK_T_DISCARD, 0, 512, 0), VIRTIO_BLK_S_OK);
	ck_assert_uint_eq(request(VIRTIO_BLK_T_OUT, 1920, data, 65536, false), VIRTIO_BLK_S_OK);
	ck_assert(!faulted());
	stop();
	close(f);
	umount(dir);
	rmdir(dir);
}
END_TEST

/* ---- write-through ---- */

START_TEST(without_flush_writes_are_stable)
{
	uint8_t out[512];
	gpa_t data;

	/* That they are synchronous shows in strace only; that they work shows here. */
	start(F(VIRTIO_F_VERSION_1));
	pattern(out, sizeof(out), 3);
	data = mock_driver_put(&drv, out, sizeof(out));
	ck_assert_uint_eq(request(VIRTIO_BLK_T_OUT, 3, data, 512, false), VIRTIO_BLK_S_OK);
	memset(out, 0, sizeof(out));
	ck_assert_int_eq(pread(fd, out, 512, 3 * 512), 512);
	ck_assert_uint_eq(out[1], (uint8_t)(31 + 3));
}
END_TEST

/* ---- guests that break rules ---- */

START_TEST(chain_without_status)
{
	uint32_t id, len;

	start(PLAIN);
	mock_ring_add(&drv.ring[0],
		      (struct mock_seg[]){ { put_header(VIRTIO_BLK_T_FLUSH, 0), 16, false } }, 1);
	mock_driver_kick(&drv, 0);
	ck_assert(faulted());
	ck_assert(!mock_ring_used(&drv.ring[0], &id, &len));
	ck_assert_uint_eq(atomic_load(&drv.config_irqs), 1);
	/* After a reset it works again. */
	ck_assert(mock_driver_start(&drv, PLAIN, 64));
	ck_assert_uint_eq(request(VIRTIO_BLK_T_FLUSH, 0, 0, 0, false), VIRTIO_BLK_S_OK);
}
END_TEST

START_TEST(chain_with_a_short_header)
{
	start(PLAIN);
	mock_ring_add(&drv.ring[0],
		      (struct mock_seg[]){ { put_header(VIRTIO_BLK_T_FLUSH, 0), 15, false },
					   { put_status(), 1, true } },
		      2);
	mock_driver_kick(&drv, 0);
	ck_assert(faulted());
}
END_TEST

START_TEST(chain_with_a_writable_header)
{
	start(PLAIN);
	mock_ring_add(&drv.ring[0],
		      (struct mock_seg[]){ { put_header(VIRTIO_BLK_T_FLUSH, 0), 16, true },
					   { put_status(), 1, true } },
		      2);
	mock_driver_kick(&drv, 0);
	ck_assert(faulted());
}
END_TEST

START_TEST(buffer_outside_of_memory)
{
	start(PLAIN);
	mock_ring_add(&drv.ring[0],
		      (struct mock_seg[]){ { put_header(VIRTIO_BLK_T_IN, 0), 16, false },
					   { MIB(16) - 256, 512, true },
					   { put_status(), 1, true } },
		      3);
	mock_driver_kick(&drv, 0);
	ck_assert(faulted());
}
END_TEST

/* More requests than one turn takes, posted before a single doorbell. */
START_TEST(a_full_ring_is_served)
{
	gpa_t data, hdr, status[85];
	uint32_t id, len;
	unsigned done = 0;

	start(PLAIN);
	data = mock_driver_alloc(&drv, 512, 1);
	hdr = put_header(VIRTIO_BLK_T_IN, 0);
	for (unsigned i = 0; i < ARRAY_SIZE(status); i++) {
		status[i] = put_status();
		mock_ring_add(&drv.ring[0],
			      (struct mock_seg[]){ { hdr, 16, false },
						   { data, 512, true },
						   { status[i], 1, true } },
			      3);
	}
	mock_driver_kick(&drv, 0);
	for (unsigned i = 0; i < 400 && done < ARRAY_SIZE(status); i++) {
		while (mock_ring_used(&drv.ring[0], &id, &len))
			done++;
		usleep(1000);
	}
	ck_assert_uint_eq(done, ARRAY_SIZE(status));
	for (unsigned i = 0; i < ARRAY_SIZE(status); i++)
		ck_assert_uint_eq(guest_byte(status[i]), VIRTIO_BLK_S_OK);
	/* The doorbell is wanted again. */
	ck_assert(!mock_ring_no_notify(&drv.ring[0]));
}
END_TEST

int main(void)
{
	Suite *s = suite_create("virtio_blk");
	TCase *tc = tcase_create("blk");
	SRunner *sr;
	int failed;

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_set_timeout(tc, 60);
	tcase_add_test(tc, config_and_features);
	tcase_add_test(tc, what_cannot_be_opened);
	tcase_add_test(tc, disks_are_locked);
	tcase_add_test(tc, write_then_read);
	tcase_add_test(tc, any_layout);
	tcase_add_test(tc, out_of_range_and_unaligned);
	tcase_add_test(tc, readonly_disk);
	tcase_add_test(tc, other_requests);
	tcase_add_test(tc, discard_and_write_zeroes);
	tcase_add_test(tc, file_size_limit_is_an_error_to_the_guest);
	tcase_add_test(tc, file_that_shrank);
	tcase_add_test(tc, short_and_interrupted_transfers_go_on);
	tcase_add_test(tc, io_errors_reach_the_guest);
	tcase_add_test(tc, full_disk);
	tcase_add_test(tc, without_flush_writes_are_stable);
	tcase_add_test(tc, chain_without_status);
	tcase_add_test(tc, chain_with_a_short_header);
	tcase_add_test(tc, chain_with_a_writable_header);
	tcase_add_test(tc, buffer_outside_of_memory);
	tcase_add_test(tc, a_full_ring_is_served);
	suite_add_tcase(s, tc);
	sr = srunner_create(s);
	srunner_run_all(sr, CK_NORMAL);
	failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
