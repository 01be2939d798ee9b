/*
 * Block device on a raw file or host block device. Source: VIRTIO 1.2, section 5.2.
 *
 * Every request is carried out at once, straight between the file and the guest's buffers. That may
 * block, so the launcher gives each disk a loop of its own; and since a request is finished before
 * the next one is looked at, there is never anything to wait for in stop().
 *
 * What a guest believes to be stable is: FLUSH is fdatasync(2), and for a driver that did not
 * negotiate FLUSH every write is (5.2.6.2).
 *
 * The layout of a request is free (2.7.4): header and data may share a descriptor, and the status
 * is the last writable byte wherever that lies. The header is copied once and then decided on.
 *
 * Thread: the device's loop. No locks.
 */
#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <linux/virtio_blk.h>
#include <linux/virtio_ids.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "virtio/devices.h"

#define QUEUE_SIZE	    256
#define SECTOR_BYTES	    512
#define SEG_MAX		    (VIRTQ_MAX_SEGS - 2) /* header and status take one each */
#define REQUESTS_PER_TURN   64
#define MAX_DISCARD_SECTORS (GIB(1) / SECTOR_BYTES)
#define MAX_ZEROES_SECTORS  (MIB(64) / SECTOR_BYTES) /* may have to be written out */
#define MAX_RANGES	    16			     /* in one discard or write-zeroes request */

struct virtio_blk {
	struct virtio_dev dev;
	int fd;
	bool readonly;
	uint64_t capacity_sectors;
	uint32_t block_bytes; /* logical block size */
	char id[VIRTIO_BLK_ID_BYTES];
	struct loop_work again;
	struct log_limit limit;
	struct virtq_chain chain;
	struct iovec iov[VIRTQ_MAX_SEGS];
};

static struct virtio_blk *blk_of(struct virtio_dev *dev)
{
	return container_of(dev, struct virtio_blk, dev);
}

static uint8_t io_error(struct virtio_blk *blk, const char *what, uint64_t sector, int error)
{
	log_limited(&blk->limit, LOG_WARN, blk->dev.name, "%s at sector %llu: %s", what,
		    (unsigned long long)sector, strerror(error));
	return VIRTIO_BLK_S_IOERR;
}

static bool in_range(const struct virtio_blk *blk, uint64_t sector, uint64_t nr)
{
	return sector <= blk->capacity_sectors && nr <= blk->capacity_sectors - sector;
}

/* Puts the part [skip, skip + len) of iov[0 .. nr) into blk->iov; returns the segments used. */
static int slice(struct virtio_blk *blk, const struct iovec *iov, unsigned nr, uint64_t skip,
		 uint64_t len)
{
	int used = 0;

	for (unsigned i = 0; i < nr && len; i++) {
		uint64_t part = iov[i].iov_len;

		if (skip >= part) {
			skip -= part;
			continue;
		}
		part -= skip;
		if (part > len)
			part = len;
		blk->iov[used].iov_base = (uint8_t *)iov[i].iov_base + skip;
		blk->iov[used].iov_len = part;
		used++;
		len -= part;
		skip = 0;
	}
	return used;
}

/* A driver that cannot flush relies on every write. */
static bool write_through(const struct virtio_blk *blk)
{
	return !virtio_has(&blk->dev, VIRTIO_BLK_F_FLUSH);
}

static ssize_t transfer(struct virtio_blk *blk, bool write, int nr_iov, off_t offset)
{
	ssize_t n;

	if (!write)
		return preadv(blk->fd, blk->iov, nr_iov, offset);
	if (!write_through(blk))
		return pwritev(blk->fd, blk->iov, nr_iov, offset);
	n = pwritev2(blk->fd, blk->iov, nr_iov, offset, RWF_DSYNC);
	if (n >= 0 || (errno != EOPNOTSUPP && errno != ENOSYS))
		return n;
	n = pwritev(blk->fd, blk->iov, nr_iov, offset);
	return n > 0 && fdatasync(blk->fd) ? -1 : n;
}

/* Reads or writes len bytes between the file and a part of iov; *done says how far it got. */
static uint8_t blk_rw(struct virtio_blk *blk, bool write, uint64_t sector, const struct iovec *iov,
		      unsigned nr, uint64_t skip, uint64_t len, uint64_t *done)
{
	const char *what = write ? "write" : "read";

	*done = 0;
	if (len % SECTOR_BYTES || !in_range(blk, sector, len / SECTOR_BYTES) ||
	    (write && blk->readonly))
		return VIRTIO_BLK_S_IOERR;
	while (*done < len) {
		int used = slice(blk, iov, nr, skip + *done, len - *done);
		ssize_t n = transfer(blk, write, used, (off_t)(sector * SECTOR_BYTES + *done));

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return io_error(blk, what, sector, errno);
		/* The file has become shorter than it was. */
		if (n == 0)
			return io_error(blk, what, sector, EIO);
		*done += (uint64_t)n;
	}
	return VIRTIO_BLK_S_OK;
}

static uint8_t blk_flush(struct virtio_blk *blk)
{
	if (fdatasync(blk->fd))
		return io_error(blk, "flush", 0, errno);
	return VIRTIO_BLK_S_OK;
}

/* ---- discard and write zeroes ---- */

static int write_zeroes(struct virtio_blk *blk, off_t offset, uint64_t len)
{
	static const uint8_t zeroes[KIB(64)];

	while (len) {
		ssize_t n = pwrite(blk->fd, zeroes, len < sizeof(zeroes) ? len : sizeof(zeroes),
				   offset);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (n == 0)
			return -EIO;
		offset += n;
		len -= (uint64_t)n;
	}
	return 0;
}

static int do_fallocate(struct virtio_blk *blk, int mode, off_t offset, off_t len)
{
	int ret;

	do {
		ret = fallocate(blk->fd, mode | FALLOC_FL_KEEP_SIZE, offset, len);
	} while (ret && errno == EINTR);
	return ret ? -errno : 0;
}

static int blk_zero_range(struct virtio_blk *blk, uint64_t sector, uint64_t nr, bool unmap)
{
	off_t offset = (off_t)(sector * SECTOR_BYTES), len = (off_t)(nr * SECTOR_BYTES);
	int ret =
		do_fallocate(blk, unmap ? FALLOC_FL_PUNCH_HOLE : FALLOC_FL_ZERO_RANGE, offset, len);

	/* Not every file system can. */
	if (ret == -EOPNOTSUPP)
		ret = write_zeroes(blk, offset, (uint64_t)len);
	if (!ret && write_through(blk) && fdatasync(blk->fd))
		ret = -errno;
	return ret;
}

static int blk_discard_range(struct virtio_blk *blk, uint64_t sector, uint64_t nr)
{
	int ret = do_fallocate(blk, FALLOC_FL_PUNCH_HOLE, (off_t)(sector * SECTOR_BYTES),
			       (off_t)(nr * SECTOR_BYTES));

	/* A hint that the host cannot take is no error. */
	return ret == -EOPNOTSUPP ? 0 : ret;
}

static uint8_t check_range(struct virtio_blk *blk, bool zeroes, uint64_t sector, uint32_t nr,
			   uint32_t flags)
{
	/* Only write zeroes knows a flag (5.2.6.2). */
	if (flags & ~(zeroes ? (uint32_t)VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP : 0))
		return VIRTIO_BLK_S_UNSUPP;
	if (nr > (zeroes ? MAX_ZEROES_SECTORS : MAX_DISCARD_SECTORS) || !in_range(blk, sector, nr))
		return VIRTIO_BLK_S_IOERR;
	return VIRTIO_BLK_S_OK;
}

static uint8_t blk_ranges(struct virtio_blk *blk, bool zeroes, const struct virtq_chain *c)
{
	struct virtio_blk_discard_write_zeroes r[MAX_RANGES];
	size_t len = c->out_bytes - sizeof(struct virtio_blk_outhdr);
	unsigned nr = (unsigned)(len / sizeof(r[0]));

	if (!virtio_has(&blk->dev, zeroes ? VIRTIO_BLK_F_WRITE_ZEROES : VIRTIO_BLK_F_DISCARD))
		return VIRTIO_BLK_S_UNSUPP;
	if (!len || len % sizeof(r[0]) || nr > MAX_RANGES)
		return VIRTIO_BLK_S_IOERR;
	virtq_chain_read(c, sizeof(struct virtio_blk_outhdr), r, len);

	for (unsigned i = 0; i < nr; i++) {
		uint64_t sector = le64toh(r[i].sector);
		uint32_t sectors = le32toh(r[i].num_sectors), flags = le32toh(r[i].flags);
		uint8_t status = check_range(blk, zeroes, sector, sectors, flags);
		int ret = 0;

		if (status != VIRTIO_BLK_S_OK)
			return status;
		if (sectors)
			ret = zeroes ? blk_zero_range(blk, sector, sectors, flags)
				     : blk_discard_range(blk, sector, sectors);
		if (ret)
			return io_error(blk, zeroes ? "write zeroes" : "discard", sector, -ret);
	}
	return VIRTIO_BLK_S_OK;
}

/* ---- requests ---- */

/* Carries one request out and returns its status; *written: bytes of the data part that were
 * written to the guest. */
static uint8_t blk_request(struct virtio_blk *blk, const struct virtq_chain *c,
			   const struct virtio_blk_outhdr *hdr, uint64_t *written)
{
	uint64_t sector = le64toh(hdr->sector), done;

	switch (le32toh(hdr->type)) {
	case VIRTIO_BLK_T_IN:
		return blk_rw(blk, false, sector, c->iov + c->nr_out, c->nr_in, 0, c->in_bytes - 1,
			      written);
	case VIRTIO_BLK_T_OUT:
		return blk_rw(blk, true, sector, c->iov, c->nr_out, sizeof(*hdr),
			      c->out_bytes - sizeof(*hdr), &done);
	case VIRTIO_BLK_T_FLUSH:
		return blk_flush(blk);
	case VIRTIO_BLK_T_GET_ID:
		*written = c->in_bytes - 1 < sizeof(blk->id) ? c->in_bytes - 1 : sizeof(blk->id);
		virtq_chain_write(c, 0, blk->id, *written);
		return VIRTIO_BLK_S_OK;
	case VIRTIO_BLK_T_DISCARD:
		return blk_ranges(blk, false, c);
	case VIRTIO_BLK_T_WRITE_ZEROES:
		return blk_ranges(blk, true, c);
	default:
		return VIRTIO_BLK_S_UNSUPP;
	}
}

static void blk_serve_one(struct virtio_blk *blk)
{
	const struct virtq_chain *c = &blk->chain;
	struct virtio_blk_outhdr hdr;
	uint64_t written = 0;
	uint8_t status;

	if (!c->in_bytes) {
		virtio_guest_fault(&blk->dev, "request without a status byte");
		return;
	}
	if (virtq_chain_read(c, 0, &hdr, sizeof(hdr)) != sizeof(hdr)) {
		virtio_guest_fault(&blk->dev, "request without a complete header");
		return;
	}
	status = blk_request(blk, c, &hdr, &written);
	virtq_chain_write(c, c->in_bytes - 1, &status, 1);
	/* The used length counts from the first writable byte without a gap (2.7.8.2). */
	if (written == c->in_bytes - 1)
		written++;
	virtq_push(&blk->dev.vq[0], c->head, (uint32_t)written);
	/* At once: the next request may keep this thread for long. */
	virtio_publish(&blk->dev, 0);
}

static void blk_kick(struct virtio_dev *dev, unsigned q)
{
	struct virtio_blk *blk = blk_of(dev);
	struct virtq *vq = &dev->vq[0];
	unsigned n = 0;
	int ret = 0;

	virtq_disable_doorbell(vq);
	while (dev->live && n < REQUESTS_PER_TURN && (ret = virtq_pop(vq, &blk->chain)) > 0) {
		blk_serve_one(blk);
		n++;
	}
	if (ret < 0)
		virtio_guest_fault(dev, vq->why_broken);
	if (!dev->live)
		return;
	/* A guest that never pauses must not keep the loop from register accesses and the end. */
	if (n == REQUESTS_PER_TURN || virtq_enable_doorbell(vq))
		loop_post(dev->loop, &blk->again);
}

static void blk_again(struct loop_work *w)
{
	struct virtio_blk *blk = container_of(w, struct virtio_blk, again);

	if (blk->dev.live && blk->dev.vq[0].enabled)
		blk_kick(&blk->dev, 0);
}

static int blk_start(struct virtio_dev *dev)
{
	return 0;
}

static void blk_stop(struct virtio_dev *dev)
{
	/* Every request is finished before kick() returns. */
}

static void blk_config_read(struct virtio_dev *dev, unsigned offset, void *data, unsigned len)
{
	const struct virtio_blk *blk = blk_of(dev);
	bool writable = !blk->readonly;
	struct virtio_blk_config cfg = {
		.capacity = htole64(blk->capacity_sectors),
		.seg_max = htole32(SEG_MAX),
		.blk_size = htole32(blk->block_bytes),
		.num_queues = htole16(1),
		.max_discard_sectors = htole32(writable ? MAX_DISCARD_SECTORS : 0),
		.max_discard_seg = htole32(writable ? MAX_RANGES : 0),
		.discard_sector_alignment = htole32(blk->block_bytes / SECTOR_BYTES),
		.max_write_zeroes_sectors = htole32(writable ? MAX_ZEROES_SECTORS : 0),
		.max_write_zeroes_seg = htole32(writable ? MAX_RANGES : 0),
		.write_zeroes_may_unmap = writable,
	};

	memset(data, 0, len);
	if (offset < sizeof(cfg))
		memcpy(data, (const uint8_t *)&cfg + offset,
		       len < sizeof(cfg) - offset ? len : sizeof(cfg) - offset);
}

static const struct virtio_dev_ops blk_ops = {
	.start = blk_start,
	.stop = blk_stop,
	.kick = blk_kick,
	.config_read = blk_config_read,
};

/* ---- open and close ---- */

static int blk_measure(struct virtio_blk *blk)
{
	struct stat st;
	uint64_t bytes;
	int block_bytes = SECTOR_BYTES;

	if (fstat(blk->fd, &st))
		return -errno;
	if (S_ISREG(st.st_mode)) {
		bytes = (uint64_t)st.st_size;
	} else if (S_ISBLK(st.st_mode)) {
		if (ioctl(blk->fd, BLKGETSIZE64, &bytes) || ioctl(blk->fd, BLKSSZGET, &block_bytes))
			return -errno;
	} else {
		return -EINVAL;
	}
	if (bytes % SECTOR_BYTES)
		return -EINVAL;
	blk->capacity_sectors = bytes / SECTOR_BYTES;
	blk->block_bytes = (uint32_t)block_bytes;
	return 0;
}

static int blk_open(struct virtio_blk *blk, const char *path)
{
	int ret;

	/* O_NONBLOCK: do not wait for the other end if it is a FIFO; blk_measure() refuses it. */
	blk->fd =
		open(path, (blk->readonly ? O_RDONLY : O_RDWR) | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
	if (blk->fd < 0)
		return -errno;
	ret = blk_measure(blk);
	if (!ret && flock(blk->fd, (blk->readonly ? LOCK_SH : LOCK_EX) | LOCK_NB))
		ret = -errno;
	if (ret)
		close(blk->fd);
	return ret;
}

int virtio_blk_create(struct virtio_blk **out, const char *name,
		      const struct virtio_blk_params *params, struct loop *loop,
		      struct platform *plat)
{
	static const uint16_t sizes[] = { QUEUE_SIZE };
	struct virtio_blk *blk = calloc(1, sizeof(*blk));
	uint64_t offered = 1ull << VIRTIO_BLK_F_SEG_MAX | 1ull << VIRTIO_BLK_F_BLK_SIZE |
			   1ull << VIRTIO_BLK_F_FLUSH;
	int ret;

	if (!blk)
		return -ENOMEM;
	blk->readonly = params->readonly;
	if (params->id)
		memcpy(blk->id, params->id, strnlen(params->id, sizeof(blk->id)));
	ret = blk_open(blk, params->path);
	if (ret) {
		free(blk);
		return ret;
	}
	offered |= blk->readonly ? 1ull << VIRTIO_BLK_F_RO
				 : 1ull << VIRTIO_BLK_F_DISCARD | 1ull << VIRTIO_BLK_F_WRITE_ZEROES;
	virtio_dev_init(&blk->dev, name, VIRTIO_ID_BLOCK, offered, sizes, ARRAY_SIZE(sizes),
			&blk_ops, loop, plat);
	blk->again.fn = blk_again;
	*out = blk;
	return 0;
}

struct virtio_dev *virtio_blk_dev(struct virtio_blk *blk)
{
	return &blk->dev;
}

void virtio_blk_destroy(struct virtio_blk *blk)
{
	if (!blk)
		return;
	close(blk->fd);
	free(blk);
}
