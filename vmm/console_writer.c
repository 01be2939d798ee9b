/*
 * Output to a descriptor that may block and must not be made non-blocking (standard output): a
 * bounded queue, and a thread of its own that writes it out in bursts.
 *
 * No vCPU ever waits in write(2): standard output may be a pipe that nobody reads, or a terminal
 * stopped with Ctrl-S. When the queue is full, put() waits at most ROOM_WAIT_MS for room, so a
 * reader that is merely slower than the guest (a CI log) loses nothing; one that makes no progress
 * at all is `stalled`, and until it moves again output is dropped and counted without any waiting.
 *
 * Threads: the writer thread is the one consumer of the queue. It takes and consumes under `lock`
 * and writes without it; put() only ever appends, so the bytes being written stay where they are.
 */
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "vmm/console_internal.h"

#define ROOM_WAIT_MS  500
#define POLL_MS	      100
#define RETRY_MS      5
#define LAST_FLUSH_MS 2000 /* at the end, without any progress */

static struct timespec deadline_in(uint64_t ns)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	ns += (uint64_t)ts.tv_nsec;
	ts.tv_sec += (time_t)(ns / 1000000000ull);
	ts.tv_nsec = (long)(ns % 1000000000ull);
	return ts;
}

static bool is_past(const struct timespec *deadline)
{
	struct timespec now = deadline_in(0);

	return now.tv_sec > deadline->tv_sec ||
	       (now.tv_sec == deadline->tv_sec && now.tv_nsec >= deadline->tv_nsec);
}

static const uint8_t *next_chunk(struct console_writer *w, size_t *len)
{
	const uint8_t *p = byte_ring_front(&w->out, len), *nl;

	if (*len > CONSOLE_CHUNK_BYTES)
		*len = CONSOLE_CHUNK_BYTES;
	nl = w->whole_lines ? memrchr(p, '\n', *len) : NULL;
	if (nl)
		*len = (size_t)(nl - p) + 1;
	return p;
}

/* Bytes written, 0: not now, -1: never again. Without the lock. */
static ssize_t write_chunk(struct console_writer *w, const uint8_t *p, size_t len)
{
	struct pollfd pfd = { .fd = w->fd, .events = POLLOUT };
	ssize_t n;

	if (poll(&pfd, 1, POLL_MS) <= 0)
		return 0;
	n = w->is_socket ? send(w->fd, p, len, MSG_DONTWAIT | MSG_NOSIGNAL) : write(w->fd, p, len);
	if (n >= 0)
		return n;
	if (errno == EINTR)
		return 0;
	if (errno != EAGAIN)
		return -1;
	/* It said that it was writable. Do not spin on a descriptor that keeps saying so. */
	poll(NULL, 0, RETRY_MS);
	return 0;
}

/* One chunk. False if nothing could be written. Under the lock, which it gives up meanwhile. */
static bool writer_step(struct console_writer *w)
{
	size_t len;
	const uint8_t *p = next_chunk(w, &len);
	ssize_t n;

	pthread_mutex_unlock(&w->lock);
	n = write_chunk(w, p, len);
	pthread_mutex_lock(&w->lock);
	if (n < 0) {
		w->broken = true;
		w->dropped_bytes += w->out.len;
		byte_ring_consume(&w->out, w->out.len);
	} else {
		byte_ring_consume(&w->out, (size_t)n);
	}
	if (!w->out.len)
		w->urgent = false;
	if (n)
		w->stalled = false;
	pthread_cond_broadcast(&w->room);
	return n != 0;
}

static void *writer_main(void *arg)
{
	struct console_writer *w = arg;
	struct timespec give_up = deadline_in(LAST_FLUSH_MS * 1000000ull);

	pthread_setname_np(pthread_self(), "console");
	pthread_mutex_lock(&w->lock);
	while (w->out.len || !w->quit) {
		if (!w->out.len) {
			pthread_cond_wait(&w->data, &w->lock);
			continue;
		}
		if (!w->urgent && !w->quit) {
			struct timespec until = deadline_in(CONSOLE_LINGER_NS);

			while (!w->urgent && !w->quit &&
			       !pthread_cond_timedwait(&w->data, &w->lock, &until))
				;
		}
		if (writer_step(w) || !w->quit) {
			give_up = deadline_in(LAST_FLUSH_MS * 1000000ull);
		} else if (is_past(&give_up)) {
			w->dropped_bytes += w->out.len;
			break;
		}
	}
	pthread_mutex_unlock(&w->lock);
	return NULL;
}

/* Waits for room for len bytes. False: there is none, drop them. Under the lock. */
static bool wait_room(struct console_writer *w, size_t len)
{
	struct timespec until;

	if (w->broken || byte_ring_room(&w->out) >= len)
		return !w->broken;
	until = deadline_in(ROOM_WAIT_MS * 1000000ull);
	while (!w->stalled && !w->broken && byte_ring_room(&w->out) < len) {
		if (pthread_cond_timedwait(&w->room, &w->lock, &until) &&
		    byte_ring_room(&w->out) < len)
			w->stalled = true;
	}
	return !w->broken && byte_ring_room(&w->out) >= len;
}

static void put_piece(struct console_writer *w, const uint8_t *data, size_t len)
{
	bool was_empty, was_urgent;

	if (!wait_room(w, len)) {
		w->dropped_bytes += len;
		return;
	}
	was_empty = !w->out.len;
	was_urgent = w->urgent;
	byte_ring_put(&w->out, data, len);
	if (console_urgent(&w->out, data, len))
		w->urgent = true;
	/* Wake the thread only when it has something new to decide. */
	if (was_empty || w->urgent != was_urgent)
		pthread_cond_signal(&w->data);
}

void console_writer_put(struct console_writer *w, const void *data, size_t len)
{
	const uint8_t *p = data;

	pthread_mutex_lock(&w->lock);
	while (len) {
		size_t piece = len < CONSOLE_CHUNK_BYTES ? len : CONSOLE_CHUNK_BYTES;

		put_piece(w, p, piece);
		p += piece;
		len -= piece;
	}
	pthread_mutex_unlock(&w->lock);
}

int console_writer_start(struct console_writer *w, int fd, size_t bytes, bool whole_lines)
{
	pthread_condattr_t attr;
	struct stat st;
	sigset_t all, old;
	int ret;

	*w = (struct console_writer){ .fd = fd, .whole_lines = whole_lines };
	w->is_socket = !fstat(fd, &st) && S_ISSOCK(st.st_mode);
	ret = byte_ring_init(&w->out, bytes);
	if (ret)
		return ret;
	pthread_mutex_init(&w->lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&w->data, &attr);
	pthread_cond_init(&w->room, &attr);
	pthread_condattr_destroy(&attr);

	/* Signals are the main thread's business; SIGPIPE stays pending, and EPIPE tells. */
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	ret = -pthread_create(&w->thread, NULL, writer_main, w);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	if (!ret) {
		w->started = true;
		return 0;
	}
	pthread_cond_destroy(&w->room);
	pthread_cond_destroy(&w->data);
	pthread_mutex_destroy(&w->lock);
	byte_ring_fini(&w->out);
	return ret;
}

uint64_t console_writer_stop(struct console_writer *w)
{
	if (!w->started)
		return 0;
	pthread_mutex_lock(&w->lock);
	w->quit = true;
	pthread_cond_signal(&w->data);
	pthread_mutex_unlock(&w->lock);
	pthread_join(w->thread, NULL);
	w->started = false;
	pthread_cond_destroy(&w->room);
	pthread_cond_destroy(&w->data);
	pthread_mutex_destroy(&w->lock);
	byte_ring_fini(&w->out);
	return w->dropped_bytes;
}
