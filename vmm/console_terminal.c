/*
 * The terminal that guests with `console = stdio` share; see console.h for what the user sees.
 * Output goes through one console_writer, input through the loop of the one guest that gets it.
 *
 * We never set O_NONBLOCK on descriptors that we were given: the flag belongs to the open file
 * description, which the user's shell shares. Terminals and pipes are opened once more instead;
 * where that is not allowed, the writer's poll(2) before each small write comes close.
 *
 * Threads. Output: any thread; a user's `lock` guards the line it is putting together. Input: the
 * user's loop. struct console_terminal itself changes only while guests are opened, but for `raw`.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <termios.h>
#include <unistd.h>

#include "base/log.h"
#include "vmm/console_internal.h"

#define TERM_OUT_BYTES	KIB(256)
#define TERM_LINE_BYTES 1024

#define CTRL_A 0x01
#define ESC    0x1b

struct console_terminal {
	int in_fd, out_fd;     /* as given; restore() uses in_fd */
	int read_fd, write_fd; /* the same, or opened once more without blocking */
	bool prefixed;	       /* several users: whole lines, each with its guest's name */
	bool interactive;
	bool input_taken;
	void (*end)(void *arg);
	void *arg;
	struct termios saved; /* written before raw is set */
	_Atomic bool raw;
	struct console_writer writer;
};

/* Where the filter of prefixed output stands in a control sequence (ECMA-48). */
enum esc_state { ESC_NONE, ESC_START, ESC_CSI, ESC_STRING };

struct term_user {
	struct console con;
	struct console_terminal *term;
	char *guest;
	pthread_mutex_t lock; /* guards the line and the filter's state */
	uint8_t line[CONFIG_NAME_MAX + 8 + TERM_LINE_BYTES]; /* begins with the prefix */
	size_t prefix_len, line_len;
	enum esc_state esc;
	/* on the loop */
	struct loop *loop;
	struct loop_fd in;
	struct loop_work in_work; /* input that epoll cannot watch: a file, /dev/null */
	bool in_file, in_eof;
	bool ctrl_a;
	struct byte_ring input;
	struct log_limit limit;
};

/* ---- output: any thread ---- */

static void put_line(struct term_user *u)
{
	u->line[u->line_len++] = '\n';
	console_writer_put(&u->term->writer, u->line, u->line_len);
	u->line_len = u->prefix_len;
}

/* Drops what would move the cursor or change colours: the lines of other guests share the screen.
 * Returns true if c is to be shown. A sequence never outlives its line, so one that is not ended
 * hides no more than that. */
static bool filter_byte(struct term_user *u, uint8_t c)
{
	switch (u->esc) {
	case ESC_START:
		if (c >= 0x20 && c <= 0x2f) /* intermediate byte: one more follows */
			return false;
		u->esc = c == '[' ? ESC_CSI : c && strchr("]PX^_", c) ? ESC_STRING : ESC_NONE;
		return false;
	case ESC_CSI:
		if (c >= 0x40 && c <= 0x7e)
			u->esc = ESC_NONE;
		return false;
	case ESC_STRING:
		if (c == 0x07)
			u->esc = ESC_NONE;
		else if (c == ESC)
			u->esc = ESC_START; /* ESC \ ends it */
		return false;
	case ESC_NONE:
		break;
	}
	if (c == ESC) {
		u->esc = ESC_START;
		return false;
	}
	/* U+0080 to U+009F are the same controls once more, in UTF-8 as c2 80 to c2 9f. */
	if (c >= 0x80 && c <= 0x9f && u->line_len > u->prefix_len &&
	    u->line[u->line_len - 1] == 0xc2) {
		u->line_len--;
		u->esc = c == 0x9b ? ESC_CSI : ESC_NONE;
		return false;
	}
	return c == '\t' || (c >= 0x20 && c != 0x7f);
}

static void put_prefixed(struct term_user *u, const uint8_t *data, size_t len)
{
	for (size_t i = 0; i < len; i++) {
		if (data[i] == '\n') {
			u->esc = ESC_NONE;
			put_line(u);
			continue;
		}
		if (!filter_byte(u, data[i]))
			continue;
		u->line[u->line_len++] = data[i];
		if (u->line_len == u->prefix_len + TERM_LINE_BYTES)
			put_line(u);
	}
}

static void term_write(struct chardev *c, const void *data, size_t len)
{
	struct term_user *u = container_of(c, struct term_user, con.chr);
	struct console_terminal *t = u->term;

	if (!t->prefixed) {
		console_writer_put(&t->writer, data, len);
		return;
	}
	/* Held while the writer may make us wait: the lines of one guest stay in order. */
	pthread_mutex_lock(&u->lock);
	put_prefixed(u, data, len);
	pthread_mutex_unlock(&u->lock);
}

/* ---- input: on the loop ---- */

static const char help_text[] =
	"\r\nxvmm: Ctrl-A x: end   Ctrl-A a: send Ctrl-A   Ctrl-A ?: this\r\n";

static void put_key(struct term_user *u, uint8_t c)
{
	/* Go on reading keys though the guest does not: Ctrl-A x must always get through. */
	if (!byte_ring_put(&u->input, &c, 1))
		log_limited(&u->limit, LOG_WARN, u->guest,
			    "console: input dropped, the guest reads none");
}

static void take_key(struct term_user *u, uint8_t c)
{
	if (!u->ctrl_a) {
		if (c == CTRL_A)
			u->ctrl_a = true;
		else
			put_key(u, c);
		return;
	}
	u->ctrl_a = false;
	switch (c) {
	case 'x':
	case 'X':
		if (u->term->end)
			u->term->end(u->term->arg);
		break;
	case 'a':
	case 'A':
	case CTRL_A:
		put_key(u, CTRL_A);
		break;
	case '?':
		console_writer_put(&u->term->writer, help_text, sizeof(help_text) - 1);
		break;
	default:
		break;
	}
}

/* One read(2). Returns false at the end of input. */
static bool fill_input(struct term_user *u)
{
	uint8_t buf[4096];
	size_t want = sizeof(buf);
	ssize_t n;

	if (!u->term->interactive && byte_ring_room(&u->input) < want)
		want = byte_ring_room(&u->input);
	if (!want)
		return true;
	n = read(u->term->read_fd, buf, want);
	if (n < 0)
		return errno == EAGAIN || errno == EINTR;
	if (u->term->interactive)
		for (ssize_t i = 0; i < n; i++)
			take_key(u, buf[i]);
	else
		byte_ring_put(&u->input, buf, (size_t)n);
	return n > 0;
}

/* Watch the input, if there is room for what it brings. */
static void watch_input(struct term_user *u)
{
	bool want = !u->in_eof && (u->term->interactive || byte_ring_room(&u->input));

	if (u->in_file) {
		if (want)
			loop_post(u->loop, &u->in_work);
	} else if (want && !u->in.added) {
		if (loop_add(u->loop, &u->in, EPOLLIN))
			u->in_eof = true;
	} else if (!want) {
		loop_del(u->loop, &u->in);
	}
}

static void input_ready(struct term_user *u)
{
	if (!fill_input(u))
		u->in_eof = true;
	watch_input(u);
	if (u->input.len && u->con.chr.input)
		u->con.chr.input(u->con.chr.front);
}

static void on_input(struct loop_fd *h, uint32_t events)
{
	input_ready(container_of(h, struct term_user, in));
}

static void on_input_work(struct loop_work *w)
{
	input_ready(container_of(w, struct term_user, in_work));
}

static size_t term_read(struct chardev *c, void *buf, size_t len)
{
	struct term_user *u = container_of(c, struct term_user, con.chr);
	size_t n = u->input.buf ? byte_ring_get(&u->input, buf, len) : 0;

	if (n)
		watch_input(u);
	return n;
}

static const struct chardev_ops term_ops = { .write = term_write, .read = term_read };

/* Character by character and unchanged to the guest; but the output keeps its post-processing, so
 * that log lines on the same terminal still begin on the left. */
static int enter_raw(struct console_terminal *t)
{
	struct termios tio;

	if (tcgetattr(t->in_fd, &t->saved))
		return -errno;
	tio = t->saved;
	cfmakeraw(&tio);
	tio.c_oflag |= OPOST;
	atomic_store(&t->raw, true);
	if (tcsetattr(t->in_fd, TCSANOW, &tio)) {
		int ret = -errno;

		atomic_store(&t->raw, false);
		return ret;
	}
	return 0;
}

static int open_input(struct term_user *u)
{
	struct console_terminal *t = u->term;
	int ret = byte_ring_init(&u->input, CONSOLE_IN_BYTES);

	if (ret)
		return ret;
	u->in.fd = t->read_fd;
	u->in.fn = on_input;
	u->in_work.fn = on_input_work;
	ret = loop_add(u->loop, &u->in, EPOLLIN);
	if (ret == -EPERM) { /* always readable */
		u->in_file = true;
		loop_post(u->loop, &u->in_work);
	} else if (ret) { /* standard input was closed, for example */
		log_debug(u->guest, "console: no input: %s", strerror(-ret));
		u->in_eof = true;
	}
	ret = 0;
	if (t->interactive)
		ret = enter_raw(t);
	if (ret)
		loop_del(u->loop, &u->in);
	else
		t->input_taken = true;
	return ret;
}

static void term_close(struct console *con)
{
	struct term_user *u = container_of(con, struct term_user, con);

	loop_del(u->loop, &u->in);
	if (u->line_len > u->prefix_len)
		put_line(u);
	pthread_mutex_destroy(&u->lock);
	byte_ring_fini(&u->input);
	free(u->guest);
	free(u);
}

int console_open_terminal(struct console **out, const char *guest, struct console_terminal *term,
			  struct loop *loop)
{
	struct term_user *u = calloc(1, sizeof(*u));
	int ret = -ENOMEM;

	if (!u)
		return ret;
	u->con.chr.ops = &term_ops;
	u->con.close = term_close;
	u->term = term;
	u->loop = loop;
	u->guest = strdup(guest);
	if (!u->guest)
		goto err_user;
	u->prefix_len = u->line_len = (size_t)snprintf((char *)u->line, CONFIG_NAME_MAX + 8,
						       "%.*s| ", CONFIG_NAME_MAX, guest);
	pthread_mutex_init(&u->lock, NULL);
	/* Keys for one guest only, or nobody could tell whose they are. */
	if (!term->prefixed && !term->input_taken && term->read_fd >= 0) {
		ret = open_input(u);
		if (ret)
			goto err;
	}
	*out = &u->con;
	return 0;
err:
	byte_ring_fini(&u->input);
	pthread_mutex_destroy(&u->lock);
	free(u->guest);
err_user:
	free(u);
	return ret;
}

/* ---- the terminal itself ---- */

/* A second open file description of a terminal or pipe, so that it can be non-blocking. */
static int reopen(int fd, int flags)
{
	char path[32];
	struct stat st;
	unsigned pty;

	/* Opening a pty master again would make a new pty. */
	if (fd < 0 || fstat(fd, &st) || !ioctl(fd, TIOCGPTN, &pty))
		return -1;
	if (!S_ISFIFO(st.st_mode) && !isatty(fd))
		return -1;
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	return open(path, flags | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
}

/* Is it a terminal that we may read from and change? Not if we run in its background. */
static bool is_ours(int fd)
{
	pid_t front;

	if (fd < 0 || !isatty(fd))
		return false;
	front = tcgetpgrp(fd);
	return front < 0 || front == getpgrp();
}

static void free_terminal(struct console_terminal *t)
{
	if (t->read_fd != t->in_fd)
		close(t->read_fd);
	if (t->write_fd != t->out_fd)
		close(t->write_fd);
	free(t);
}

int console_terminal_create(struct console_terminal **out, int in_fd, int out_fd, unsigned nr_users,
			    void (*end)(void *arg), void *arg)
{
	struct console_terminal *t = calloc(1, sizeof(*t));
	int ret, fd;

	if (!t)
		return -ENOMEM;
	t->in_fd = t->read_fd = in_fd;
	t->out_fd = t->write_fd = out_fd;
	t->prefixed = nr_users > 1;
	t->interactive = nr_users == 1 && is_ours(in_fd);
	t->end = end;
	t->arg = arg;

	/* A terminal that we are in the background of would stop us (SIGTTIN): no input then. */
	if (nr_users != 1 || (isatty(in_fd) && !t->interactive))
		t->in_fd = t->read_fd = -1;
	fd = reopen(t->in_fd, O_RDONLY);
	if (fd >= 0)
		t->read_fd = fd;
	fd = reopen(out_fd, O_WRONLY);
	if (fd >= 0)
		t->write_fd = fd;
	ret = nr_users ? console_writer_start(&t->writer, t->write_fd, TERM_OUT_BYTES, t->prefixed)
		       : 0;
	if (ret) {
		free_terminal(t);
		return ret;
	}
	*out = t;
	return 0;
}

void console_terminal_restore(struct console_terminal *t)
{
	/* Only calls that are async-signal-safe. */
	if (t && atomic_exchange(&t->raw, false))
		tcsetattr(t->in_fd, TCSANOW, &t->saved);
}

void console_terminal_destroy(struct console_terminal *t)
{
	uint64_t dropped;

	if (!t)
		return;
	dropped = console_writer_stop(&t->writer);
	console_terminal_restore(t);
	if (dropped)
		log_warn(NULL, "console: %llu bytes of output were lost, nobody took them",
			 (unsigned long long)dropped);
	free_terminal(t);
}
