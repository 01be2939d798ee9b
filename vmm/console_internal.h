/*
 * What the kinds of console share. Only vmm/console*.c include this.
 */
#ifndef VMM_CONSOLE_INTERNAL_H
#define VMM_CONSOLE_INTERNAL_H

#include "vmm/console.h"

/* Output that may wait for its consumer, and input that may wait for the guest. */
#define CONSOLE_OUT_BYTES KIB(64)
#define CONSOLE_IN_BYTES  KIB(64)
/* A partial line waits this long for the rest of its burst: a serial port delivers single bytes. */
#define CONSOLE_LINGER_NS 2000000ull
/* With this much to write there is nothing to wait for; it also bounds one write(2). */
#define CONSOLE_CHUNK_BYTES 4096

struct console {
	struct chardev chr;
	void (*close)(struct console *con); /* frees it */
};

/* A bounded queue of bytes; the owner locks. */
struct byte_ring {
	uint8_t *buf;
	size_t size, head, len; /* head: the oldest byte */
};

int byte_ring_init(struct byte_ring *r, size_t size);
void byte_ring_fini(struct byte_ring *r);
/* Both return how many bytes were moved. */
size_t byte_ring_put(struct byte_ring *r, const void *data, size_t len);
size_t byte_ring_get(struct byte_ring *r, void *buf, size_t len);
/* The oldest bytes that lie in one piece; they stay valid until consumed. */
const uint8_t *byte_ring_front(const struct byte_ring *r, size_t *len);
void byte_ring_consume(struct byte_ring *r, size_t len);
static inline size_t byte_ring_room(const struct byte_ring *r)
{
	return r->size - r->len;
}

/* True if what was just added should be written without waiting for more. */
bool console_urgent(const struct byte_ring *r, const void *added, size_t len);

/*
 * A bounded queue of output and a thread that writes it out: console_writer.c. put() may be called
 * by any thread, the rest by one.
 */
struct console_writer {
	int fd;
	bool is_socket;
	bool whole_lines; /* write whole lines if possible: others write to the same terminal */
	bool started;
	pthread_t thread;

	pthread_mutex_t lock; /* guards all below */
	pthread_cond_t data;  /* for the thread: something to do */
	pthread_cond_t room;  /* for put(): the thread has made room */
	struct byte_ring out;
	bool urgent;  /* do not wait for more of the line */
	bool quit;    /* flush and end */
	bool stalled; /* full, and no progress for a while */
	bool broken;  /* the other end is gone */
	uint64_t dropped_bytes;
};

/* Errors: -ENOMEM, errno of pthread_create. */
int console_writer_start(struct console_writer *w, int fd, size_t bytes, bool whole_lines);
/* Up to CONSOLE_CHUNK_BYTES stay together. */
void console_writer_put(struct console_writer *w, const void *data, size_t len);
/* Flushes as long as there is progress; returns how many bytes were lost since the start. */
uint64_t console_writer_stop(struct console_writer *w);

int console_open_terminal(struct console **out, const char *guest, struct console_terminal *term,
			  struct loop *loop);
int console_open_stream(struct console **out, const struct console_config *cfg, const char *guest,
			struct loop *loop);

#endif
