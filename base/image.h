/*
 * A file that is to be put into guest memory, read with bounds: no offset or length that the file
 * itself names is believed. One thread at a time.
 */
#ifndef BASE_IMAGE_H
#define BASE_IMAGE_H

#include "base/gmem.h"

struct image {
	int fd;
	const char *path; /* not copied */
	uint64_t size_bytes;
};

/* Regular files only. Errors: errno of open and fstat, -EISDIR, -ENOEXEC for anything else. */
int image_open(struct image *img, const char *path);
void image_close(struct image *img);

/* True if [offset, offset + len) lies within the file; any 64-bit values. */
bool image_covers(const struct image *img, uint64_t offset, uint64_t len);

/* Both read exactly len bytes. Errors: -ENODATA (beyond the end, or the file has become shorter
 * meanwhile), -EFAULT (not guest memory), errno of pread. */
int image_read(const struct image *img, uint64_t offset, void *dst, uint64_t len);
int image_load(const struct image *img, uint64_t offset, const struct gmem *mem, gpa_t gpa,
	       uint64_t len);

#endif
