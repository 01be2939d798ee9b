/*
 * Reading a kernel, initrd or module with bounds. Used on the thread that creates the machine.
 */
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/image.h"

int image_open(struct image *img, const char *path)
{
	struct stat st;
	int err;

	/* O_NONBLOCK: opening a FIFO must not wait for a writer; it is refused below. */
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	if (fd < 0)
		return -errno;
	if (fstat(fd, &st) < 0) {
		err = -errno;
		goto fail;
	}
	if (!S_ISREG(st.st_mode)) {
		err = S_ISDIR(st.st_mode) ? -EISDIR : -ENOEXEC;
		goto fail;
	}
	*img = (struct image){ .fd = fd, .path = path, .size_bytes = (uint64_t)st.st_size };
	return 0;
fail:
	close(fd);
	return err;
}

void image_close(struct image *img)
{
	if (img->fd >= 0)
		close(img->fd);
	img->fd = -1;
}

bool image_covers(const struct image *img, uint64_t offset, uint64_t len)
{
	return offset <= img->size_bytes && len <= img->size_bytes - offset;
}

int image_read(const struct image *img, uint64_t offset, void *dst, uint64_t len)
{
	uint8_t *p = dst;

	if (!image_covers(img, offset, len))
		return -ENODATA;
	while (len) {
		ssize_t n = pread(img->fd, p, len, (off_t)offset);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (n == 0)
			return -ENODATA;
		p += n;
		offset += (uint64_t)n;
		len -= (uint64_t)n;
	}
	return 0;
}

int image_load(const struct image *img, uint64_t offset, const struct gmem *mem, gpa_t gpa,
	       uint64_t len)
{
	if (len == 0)
		return 0;
	void *dst = gmem_ptr(mem, gpa, len);
	return dst ? image_read(img, offset, dst, len) : -EFAULT;
}
