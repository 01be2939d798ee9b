/*
 * Consoles with a descriptor of their own: a file, a pseudo-terminal, a UNIX socket.
 *
 * write() (any thread) puts bytes into a bounded queue and tells the loop; the loop writes them
 * out, in bursts. A file gets everything: if the loop is behind, write() waits. On a pty or socket
 * there may be no client: then output is dropped, so that a client that comes hours later is not
 * greeted by stale bytes. A client that reads too slowly loses what the queue cannot hold; it never
 * holds up a vCPU.
 *
 * States of a pty or socket:
 *    waiting ──accept; pty: a probe finds the other side open──▶ connected
 *       ▲────────────── end of file, hang-up, error ──────────────────│
 *
 * A pty without a client reports a hang-up all the time, so it leaves the loop and a timer looks
 * every now and then whether somebody has opened it.
 *
 * Threads: `lock` guards the queue of output; all else belongs to the loop. Only the loop takes out
 * of the queue, and it writes without the lock: what is being written stays in place.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

#include "base/log.h"
#include "vmm/console_internal.h"

#define PTY_PROBE_NS  250000000ull
#define LAST_FLUSH_MS 100
#define FILE_WAIT_S   1 /* for the loop to write to a file */

struct stream {
	struct console con;
	enum console_kind kind;
	char *guest;
	struct loop *loop;
	char *socket_path; /* to be removed: set once it is bound */
	struct stat socket_stat;
	struct loop_fd h;	 /* file, pty master or client; fd -1: none */
	struct loop_fd listener; /* fd -1: none */
	struct loop_timer linger;
	struct loop_timer probe;
	struct loop_work work;
	bool out_blocked; /* wait until the descriptor is writable */
	bool in_eof;	  /* the client sends nothing more, but may still read */
	bool failed;	  /* a write error was logged */
	struct byte_ring input;
	struct log_limit limit;

	pthread_mutex_t lock; /* guards all below */
	struct byte_ring out;
	pthread_cond_t room; /* the loop has taken something out */
	bool connected;	     /* somebody takes output */
	bool posted;	     /* work is on its way to the loop */
	bool lingering;	     /* the timer runs */
	uint64_t dropped_bytes;
};

static bool is_connected(struct stream *s)
{
	bool yes;

	pthread_mutex_lock(&s->lock);
	yes = s->connected;
	pthread_mutex_unlock(&s->lock);
	return yes;
}

/* Watch for what we can use now. */
static void update_events(struct stream *s)
{
	bool can_read = s->kind != CONSOLE_FILE && !s->in_eof && byte_ring_room(&s->input);
	uint32_t want = (can_read ? EPOLLIN : 0) | (s->out_blocked ? EPOLLOUT : 0);

	/* After the end of input only the hang-up matters, and that is always reported. With the
	 * input full it would be reported all the time: stay away. */
	if (!want && !s->in_eof)
		loop_del(s->loop, &s->h);
	else if (s->h.added)
		loop_mod(s->loop, &s->h, want);
	else if (loop_add(s->loop, &s->h, want))
		log_limited(&s->limit, LOG_WARN, s->guest, "console: cannot be watched");
}

static void drop_output(struct stream *s)
{
	pthread_mutex_lock(&s->lock);
	byte_ring_consume(&s->out, s->out.len);
	pthread_mutex_unlock(&s->lock);
	s->out_blocked = false;
}

static void set_connected(struct stream *s, bool connected)
{
	pthread_mutex_lock(&s->lock);
	s->connected = connected;
	pthread_mutex_unlock(&s->lock);
	drop_output(s);
	s->in_eof = false;
}

static void disconnect(struct stream *s)
{
	loop_del(s->loop, &s->h);
	set_connected(s, false);
	if (s->kind == CONSOLE_PTY) {
		loop_timer_arm(&s->probe, PTY_PROBE_NS);
		return;
	}
	close(s->h.fd);
	s->h.fd = -1;
	if (loop_add(s->loop, &s->listener, EPOLLIN))
		log_warn(s->guest, "console: takes no further client");
}

/* ---- output ---- */

static ssize_t write_some(struct stream *s, const uint8_t *p, size_t len)
{
	if (s->kind == CONSOLE_UNIX)
		return send(s->h.fd, p, len, MSG_DONTWAIT | MSG_NOSIGNAL);
	return write(s->h.fd, p, len);
}

/* Writing to a file has failed: these bytes are lost. */
static void file_failed(struct stream *s, size_t len, int error)
{
	pthread_mutex_lock(&s->lock);
	byte_ring_consume(&s->out, len);
	pthread_cond_broadcast(&s->room);
	s->dropped_bytes += len;
	pthread_mutex_unlock(&s->lock);
	if (!s->failed)
		log_warn(s->guest, "console: output is lost: %s", strerror(error));
	s->failed = true;
}

static void flush(struct stream *s)
{
	while (s->h.fd >= 0 && !s->out_blocked && is_connected(s)) {
		const uint8_t *p;
		size_t len;
		ssize_t n;
		int error;

		pthread_mutex_lock(&s->lock);
		p = byte_ring_front(&s->out, &len);
		pthread_mutex_unlock(&s->lock);
		if (!len)
			break;
		n = write_some(s, p, len);
		error = n < 0 ? errno : 0;
		if (n > 0) {
			pthread_mutex_lock(&s->lock);
			byte_ring_consume(&s->out, (size_t)n);
			pthread_cond_broadcast(&s->room);
			pthread_mutex_unlock(&s->lock);
		} else if (error == EAGAIN) {
			s->out_blocked = true;
		} else if (s->kind == CONSOLE_FILE) {
			if (error != EINTR)
				file_failed(s, len, error);
		} else if (error != EINTR) {
			disconnect(s);
		}
	}
}

static void flush_and_watch(struct stream *s)
{
	flush(s);
	if (s->out_blocked)
		update_events(s);
}

static void on_linger(struct loop_timer *t)
{
	struct stream *s = container_of(t, struct stream, linger);

	pthread_mutex_lock(&s->lock);
	s->lingering = false;
	pthread_mutex_unlock(&s->lock);
	flush_and_watch(s);
}

static void on_work(struct loop_work *w)
{
	struct stream *s = container_of(w, struct stream, work);
	bool now;

	pthread_mutex_lock(&s->lock);
	s->posted = false;
	/* Was it posted a second time while the timer runs, it is urgent. */
	now = s->lingering || s->out.len >= CONSOLE_CHUNK_BYTES ||
	      (s->out.len && s->out.buf[(s->out.head + s->out.len - 1) % s->out.size] == '\n');
	s->lingering = !now;
	pthread_mutex_unlock(&s->lock);
	if (now) {
		loop_timer_cancel(&s->linger);
		flush_and_watch(s);
	} else {
		loop_timer_arm(&s->linger, CONSOLE_LINGER_NS);
	}
}

/* The queue is full. True if it is worth to try again; under the lock, which it gives up. */
static bool make_room(struct stream *s)
{
	struct timespec until;
	bool timed_out = false;

	if (loop_on_thread(s->loop)) {
		pthread_mutex_unlock(&s->lock);
		flush_and_watch(s);
		pthread_mutex_lock(&s->lock);
		return byte_ring_room(&s->out) > 0;
	}
	/* Nobody reads a file too slowly; only the loop has been busy. A log must be complete. */
	if (s->kind != CONSOLE_FILE)
		return false;
	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_sec += FILE_WAIT_S;
	while (!byte_ring_room(&s->out) && !timed_out)
		timed_out = pthread_cond_timedwait(&s->room, &s->lock, &until);
	return !timed_out;
}

static void stream_write(struct chardev *c, const void *data, size_t len)
{
	struct stream *s = container_of(c, struct stream, con.chr);
	const uint8_t *p = data;
	bool post;

	pthread_mutex_lock(&s->lock);
	while (len && s->connected) {
		size_t n = byte_ring_put(&s->out, p, len);

		post = !s->posted && (!s->lingering || console_urgent(&s->out, p, n));
		s->posted |= post;
		p += n;
		len -= n;
		if (post)
			loop_post(s->loop, &s->work);
		if (len && !make_room(s)) {
			s->dropped_bytes += len;
			break;
		}
	}
	pthread_mutex_unlock(&s->lock);
}

/* ---- input ---- */

/* False: the client is gone. */
static bool fill_input(struct stream *s)
{
	while (!s->in_eof && byte_ring_room(&s->input)) {
		uint8_t buf[1024];
		size_t room = byte_ring_room(&s->input);
		ssize_t n = read(s->h.fd, buf, room < sizeof(buf) ? room : sizeof(buf));

		if (n > 0)
			byte_ring_put(&s->input, buf, (size_t)n);
		else if (n < 0 && errno == EAGAIN)
			return true;
		else if (n == 0 && s->kind == CONSOLE_UNIX)
			s->in_eof = true;
		else if (n == 0 || errno != EINTR)
			return false;
	}
	return true;
}

static void on_ready(struct loop_fd *h, uint32_t events)
{
	struct stream *s = container_of(h, struct stream, h);
	bool gone = false;

	/* Nobody will read it any more; and with the input full we would come back for ever. */
	if (events & EPOLLHUP)
		drop_output(s);
	if (events & (EPOLLOUT | EPOLLERR)) {
		s->out_blocked = false;
		flush(s);
	}
	if (s->kind != CONSOLE_FILE && is_connected(s)) {
		/* Input that came before the hang-up is still there to be read. */
		gone = !fill_input(s) || (s->in_eof && (events & EPOLLHUP));
		if (gone)
			disconnect(s);
	}
	if (s->input.len && s->con.chr.input)
		s->con.chr.input(s->con.chr.front);
	if (is_connected(s))
		update_events(s);
}

static size_t stream_read(struct chardev *c, void *buf, size_t len)
{
	struct stream *s = container_of(c, struct stream, con.chr);
	size_t n;

	if (!s->input.len)
		return 0;
	n = byte_ring_get(&s->input, buf, len);
	if (!s->h.added && is_connected(s))
		update_events(s);
	return n;
}

static const struct chardev_ops stream_ops = { .write = stream_write, .read = stream_read };

/* ---- clients ---- */

static void on_client(struct loop_fd *h, uint32_t events)
{
	struct stream *s = container_of(h, struct stream, listener);
	int fd = accept4(h->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);

	if (fd < 0) {
		/* Out of descriptors, say: the client stays in the queue, and we would spin. */
		if (errno != EAGAIN && errno != EINTR && errno != ECONNABORTED) {
			log_warn(s->guest, "console: no further client: %s", strerror(errno));
			loop_del(s->loop, h);
		}
		return;
	}
	/* One client at a time; the next one waits in the listen queue. */
	loop_del(s->loop, h);
	s->h.fd = fd;
	set_connected(s, true);
	update_events(s);
}

static void on_probe(struct loop_timer *t)
{
	struct stream *s = container_of(t, struct stream, probe);
	struct pollfd pfd = { .fd = s->h.fd, .events = POLLIN };

	if (poll(&pfd, 1, 0) < 0 || (pfd.revents & POLLHUP)) {
		loop_timer_arm(&s->probe, PTY_PROBE_NS);
		return;
	}
	set_connected(s, true);
	update_events(s);
}

/* ---- open and close ---- */

static int open_file(struct stream *s, const char *path)
{
	/* O_NONBLOCK: a FIFO without a reader is an error instead of a wait without end. */
	s->h.fd = open(path,
		       O_WRONLY | O_CREAT | O_TRUNC | O_APPEND | O_NOCTTY | O_NONBLOCK | O_CLOEXEC,
		       0644);
	return s->h.fd < 0 ? -errno : 0;
}

static int open_pty(struct stream *s)
{
	struct termios tio;
	char path[64];
	int slave, ret;

	s->h.fd = posix_openpt(O_RDWR | O_NOCTTY | O_NONBLOCK | O_CLOEXEC);
	if (s->h.fd < 0)
		return -errno;
	if (grantpt(s->h.fd) || unlockpt(s->h.fd))
		return -errno;
	ret = ptsname_r(s->h.fd, path, sizeof(path));
	if (ret)
		return -ret;
	/* The hang-up that tells "no client" exists only once somebody has opened and closed it. */
	slave = open(path, O_RDWR | O_NOCTTY | O_CLOEXEC);
	if (slave < 0)
		return -errno;
	ret = tcgetattr(slave, &tio);
	if (!ret) {
		cfmakeraw(&tio);
		ret = tcsetattr(slave, TCSANOW, &tio);
	}
	if (ret)
		ret = -errno;
	close(slave);
	if (!ret)
		log_info(s->guest, "console: pty %s", path);
	return ret;
}

/* Is it a socket that nobody listens on any more? */
static bool is_stale(const struct sockaddr_un *sa)
{
	struct stat st;
	bool stale;
	int fd;

	if (lstat(sa->sun_path, &st) || !S_ISSOCK(st.st_mode))
		return false;
	/* Non-blocking: a live one with a full queue says EAGAIN. */
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return false;
	stale = connect(fd, (const struct sockaddr *)sa, sizeof(*sa)) && errno == ECONNREFUSED;
	close(fd);
	return stale;
}

static int open_unix(struct stream *s, const char *path)
{
	struct sockaddr_un sa = { .sun_family = AF_UNIX };
	int ret;

	if (strlen(path) >= sizeof(sa.sun_path))
		return -ENAMETOOLONG;
	strcpy(sa.sun_path, path);
	s->listener.fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (s->listener.fd < 0)
		return -errno;
	/* Whoever can connect is root in the guest: owner only. bind() takes the mode from here. */
	if (fchmod(s->listener.fd, 0600))
		return -errno;
	ret = bind(s->listener.fd, (struct sockaddr *)&sa, sizeof(sa));
	if (ret && errno == EADDRINUSE && is_stale(&sa)) {
		unlink(path);
		ret = bind(s->listener.fd, (struct sockaddr *)&sa, sizeof(sa));
	}
	if (ret)
		return -errno;
	s->socket_path = strdup(path);
	if (!s->socket_path || lstat(path, &s->socket_stat)) {
		unlink(path);
		free(s->socket_path);
		s->socket_path = NULL;
		return -ENOMEM;
	}
	if (listen(s->listener.fd, 4))
		return -errno;
	return loop_add(s->loop, &s->listener, EPOLLIN);
}

/* Only our own: somebody may have put another in its place. */
static void remove_socket(struct stream *s)
{
	struct stat st;

	if (s->socket_path && !lstat(s->socket_path, &st) && st.st_dev == s->socket_stat.st_dev &&
	    st.st_ino == s->socket_stat.st_ino)
		unlink(s->socket_path);
	free(s->socket_path);
}

static void stream_free(struct stream *s)
{
	loop_del(s->loop, &s->h);
	loop_del(s->loop, &s->listener);
	loop_timer_fini(s->loop, &s->linger);
	loop_timer_fini(s->loop, &s->probe);
	if (s->h.fd >= 0)
		close(s->h.fd);
	if (s->listener.fd >= 0)
		close(s->listener.fd);
	remove_socket(s);
	byte_ring_fini(&s->input);
	byte_ring_fini(&s->out);
	pthread_cond_destroy(&s->room);
	pthread_mutex_destroy(&s->lock);
	free(s->guest);
	free(s);
}

static void stream_close(struct console *con)
{
	struct stream *s = container_of(con, struct stream, con);
	struct pollfd pfd = { .fd = s->h.fd, .events = POLLOUT };

	s->out_blocked = false;
	flush(s);
	/* A client that is just busy gets a moment; one that hangs does not hold us up. */
	while (s->out_blocked && poll(&pfd, 1, LAST_FLUSH_MS) > 0 && (pfd.revents & POLLOUT)) {
		s->out_blocked = false;
		flush(s);
	}
	if (s->dropped_bytes)
		log_warn(s->guest, "console: %llu bytes of output were lost",
			 (unsigned long long)s->dropped_bytes);
	stream_free(s);
}

static int open_kind(struct stream *s, const struct console_config *cfg)
{
	int ret = byte_ring_init(&s->out, CONSOLE_OUT_BYTES);

	if (!ret)
		ret = loop_timer_init(s->loop, &s->linger, on_linger);
	if (ret)
		return ret;
	if (s->kind == CONSOLE_FILE) {
		s->connected = true;
		return open_file(s, cfg->path);
	}
	ret = byte_ring_init(&s->input, CONSOLE_IN_BYTES);
	if (ret)
		return ret;
	if (s->kind == CONSOLE_UNIX)
		return open_unix(s, cfg->path);
	ret = open_pty(s);
	if (!ret)
		ret = loop_timer_init(s->loop, &s->probe, on_probe);
	if (!ret)
		loop_timer_arm(&s->probe, 0);
	return ret;
}

int console_open_stream(struct console **out, const struct console_config *cfg, const char *guest,
			struct loop *loop)
{
	struct stream *s = calloc(1, sizeof(*s));
	pthread_condattr_t attr;
	int ret;

	if (!s)
		return -ENOMEM;
	s->con.chr.ops = &stream_ops;
	s->con.close = stream_close;
	s->kind = cfg->kind;
	s->loop = loop;
	s->h = (struct loop_fd){ .fd = -1, .fn = on_ready };
	s->listener = (struct loop_fd){ .fd = -1, .fn = on_client };
	s->work.fn = on_work;
	pthread_mutex_init(&s->lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&s->room, &attr);
	pthread_condattr_destroy(&attr);
	s->guest = strdup(guest);
	ret = s->guest ? open_kind(s, cfg) : -ENOMEM;
	if (ret) {
		stream_free(s);
		return ret;
	}
	*out = &s->con;
	return 0;
}
