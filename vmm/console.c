/*
 * Consoles: which kind a guest gets, the kind that drops everything, and the byte queue that the
 * other kinds share. The kinds themselves: console_terminal.c, console_stream.c.
 *
 * Threads: as in console.h; nothing here has state of its own.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "vmm/console_internal.h"

int byte_ring_init(struct byte_ring *r, size_t size)
{
	*r = (struct byte_ring){ .buf = malloc(size), .size = size };
	return r->buf ? 0 : -ENOMEM;
}

void byte_ring_fini(struct byte_ring *r)
{
	free(r->buf);
	r->buf = NULL;
}

size_t byte_ring_put(struct byte_ring *r, const void *data, size_t len)
{
	size_t tail = (r->head + r->len) % r->size, piece;

	if (len > byte_ring_room(r))
		len = byte_ring_room(r);
	piece = r->size - tail < len ? r->size - tail : len;
	memcpy(r->buf + tail, data, piece);
	memcpy(r->buf, (const uint8_t *)data + piece, len - piece);
	r->len += len;
	return len;
}

const uint8_t *byte_ring_front(const struct byte_ring *r, size_t *len)
{
	size_t to_end = r->size - r->head;

	*len = r->len < to_end ? r->len : to_end;
	return r->buf + r->head;
}

void byte_ring_consume(struct byte_ring *r, size_t len)
{
	r->len -= len;
	/* Start over when empty: a console that keeps up touches only the first page. */
	r->head = r->len ? (r->head + len) % r->size : 0;
}

size_t byte_ring_get(struct byte_ring *r, void *buf, size_t len)
{
	size_t done = 0;

	while (done < len && r->len) {
		size_t piece;
		const uint8_t *front = byte_ring_front(r, &piece);

		if (piece > len - done)
			piece = len - done;
		memcpy((uint8_t *)buf + done, front, piece);
		byte_ring_consume(r, piece);
		done += piece;
	}
	return done;
}

bool console_urgent(const struct byte_ring *r, const void *added, size_t len)
{
	return r->len >= CONSOLE_CHUNK_BYTES || memchr(added, '\n', len);
}

static void null_write(struct chardev *c, const void *data, size_t len)
{
}

static size_t null_read(struct chardev *c, void *buf, size_t len)
{
	return 0;
}

static const struct chardev_ops null_ops = { .write = null_write, .read = null_read };

static void null_close(struct console *con)
{
	free(con);
}

static int open_null(struct console **out)
{
	struct console *con = calloc(1, sizeof(*con));

	if (!con)
		return -ENOMEM;
	con->chr.ops = &null_ops;
	con->close = null_close;
	*out = con;
	return 0;
}

int console_open(struct chardev **out, const struct console_config *cfg, const char *guest,
		 struct console_terminal *term, struct loop *loop)
{
	struct console *con = NULL;
	int ret = -EINVAL;

	switch (cfg->kind) {
	case CONSOLE_NONE:
		ret = open_null(&con);
		break;
	case CONSOLE_STDIO:
		if (term)
			ret = console_open_terminal(&con, guest, term, loop);
		break;
	case CONSOLE_FILE:
	case CONSOLE_PTY:
	case CONSOLE_UNIX:
		ret = console_open_stream(&con, cfg, guest, loop);
		break;
	}
	if (ret)
		return ret;
	*out = &con->chr;
	return 0;
}

void console_close(struct chardev *chr)
{
	struct console *con;

	if (!chr)
		return;
	con = container_of(chr, struct console, chr);
	con->close(con);
}
