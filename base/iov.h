/*
 * A cursor over an array of segments: copying to, from and between scattered memory. Any thread;
 * a cursor belongs to whoever made it. Lengths are bytes; nothing here goes beyond the segments.
 */
#ifndef BASE_IOV_H
#define BASE_IOV_H

#include <string.h>
#include <sys/uio.h>

#include "base/types.h"

struct iov_cursor {
	const struct iovec *iov; /* the segment that the cursor stands in */
	unsigned cnt;		 /* segments left, that one included */
	size_t offset;		 /* into it */
};

static inline struct iov_cursor iov_cursor(const struct iovec *iov, unsigned cnt)
{
	return (struct iov_cursor){ .iov = iov, .cnt = cnt };
}

/* The contiguous bytes at the cursor, 0 at its end; skips empty segments. */
static inline size_t iov_run(struct iov_cursor *c, uint8_t **ptr)
{
	while (c->cnt && c->offset >= c->iov->iov_len) {
		c->iov++;
		c->cnt--;
		c->offset = 0;
	}
	if (!c->cnt)
		return 0;
	*ptr = (uint8_t *)c->iov->iov_base + c->offset;
	return c->iov->iov_len - c->offset;
}

/* Each returns the number of bytes it got through: less than len where the segments end. */
static inline size_t iov_skip(struct iov_cursor *c, size_t len)
{
	size_t done = 0, run;
	uint8_t *ptr;

	while (done < len && (run = iov_run(c, &ptr))) {
		if (run > len - done)
			run = len - done;
		c->offset += run;
		done += run;
	}
	return done;
}

static inline size_t iov_read(struct iov_cursor *c, void *dst, size_t len)
{
	size_t done = 0, run;
	uint8_t *ptr;

	while (done < len && (run = iov_run(c, &ptr))) {
		if (run > len - done)
			run = len - done;
		memcpy((uint8_t *)dst + done, ptr, run);
		c->offset += run;
		done += run;
	}
	return done;
}

static inline size_t iov_write(struct iov_cursor *c, const void *src, size_t len)
{
	size_t done = 0, run;
	uint8_t *ptr;

	while (done < len && (run = iov_run(c, &ptr))) {
		if (run > len - done)
			run = len - done;
		memcpy(ptr, (const uint8_t *)src + done, run);
		c->offset += run;
		done += run;
	}
	return done;
}

static inline size_t iov_copy(struct iov_cursor *dst, struct iov_cursor *src, size_t len)
{
	size_t done = 0, run;
	uint8_t *ptr;

	while (done < len && (run = iov_run(src, &ptr))) {
		if (run > len - done)
			run = len - done;
		run = iov_write(dst, ptr, run);
		if (!run)
			break;
		src->offset += run;
		done += run;
	}
	return done;
}

/* Writes the segments from the cursor on, len bytes of them at most, to out[0 .. room); returns
 * how many segments that took. Stops early where there is no room. */
static inline unsigned iov_slice(struct iov_cursor c, size_t len, struct iovec *out, unsigned room)
{
	unsigned n = 0;
	size_t run;
	uint8_t *ptr;

	while (len && n < room && (run = iov_run(&c, &ptr))) {
		if (run > len)
			run = len;
		out[n++] = (struct iovec){ .iov_base = ptr, .iov_len = run };
		c.offset += run;
		len -= run;
	}
	return n;
}

#endif
