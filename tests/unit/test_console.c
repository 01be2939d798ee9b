/* Consoles: the terminal (interactive, prefixed, piped), files, ptys and UNIX sockets. */
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

#include "base/log.h"
#include "vmm/console.h"

static struct loop loop;
static _Atomic int ended;
static char dir[32];
static char path[64];

static void setup(void)
{
	log_set_level(LOG_INFO);
	strcpy(dir, "/tmp/xvmm-console-XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(dir));
	atomic_store(&ended, 0);
	snprintf(path, sizeof(path), "%s/console", dir);
	ck_assert_int_eq(loop_init(&loop, "console-test"), 0);
}

static void teardown(void)
{
	loop_stop(&loop);
	loop_fini(&loop);
	unlink(path);
	ck_assert_int_eq(rmdir(dir), 0);
}

/* ---- helpers ---- */

static void put(struct chardev *c, const char *text)
{
	c->ops->write(c, text, strlen(text));
}

/* Reads from fd until `text` has come or `ms` have passed without anything. */
static size_t collect(int fd, char *buf, size_t size, const char *text, int ms)
{
	size_t len = 0;

	for (;;) {
		struct pollfd p = { .fd = fd, .events = POLLIN };
		ssize_t n;

		buf[len] = 0;
		if (text && strstr(buf, text))
			return len;
		if (len + 1 >= size || poll(&p, 1, ms) <= 0)
			return len;
		n = read(fd, buf + len, size - 1 - len);
		if (n <= 0)
			return len;
		len += (size_t)n;
	}
}

static void expect(int fd, const char *text)
{
	char buf[4096];

	collect(fd, buf, sizeof(buf), text, 2000);
	ck_assert_msg(strstr(buf, text) != NULL, "wanted \"%s\", got \"%s\"", text, buf);
}

/* A front end that takes at most `room` bytes at a time into memory. */
struct front {
	struct chardev *chr;
	pthread_mutex_t lock;
	char got[200000];
	size_t len, room;
};

static void front_take(void *arg)
{
	struct front *f = arg;
	size_t n;

	pthread_mutex_lock(&f->lock);
	while (f->room) {
		size_t want = f->room < sizeof(f->got) - f->len ? f->room : sizeof(f->got) - f->len;

		n = f->chr->ops->read(f->chr, f->got + f->len, want);
		if (!n)
			break;
		f->len += n;
		f->room -= n;
	}
	pthread_mutex_unlock(&f->lock);
}

static void front_plug(struct front *f, struct chardev *chr, size_t room)
{
	memset(f, 0, sizeof(*f));
	pthread_mutex_init(&f->lock, NULL);
	f->chr = chr;
	f->room = room;
	chr->front = f;
	chr->input = front_take;
}

static void front_more(struct front *f, size_t room)
{
	pthread_mutex_lock(&f->lock);
	f->room += room;
	pthread_mutex_unlock(&f->lock);
	loop_call(&loop, front_take, f);
}

static size_t front_len(struct front *f)
{
	size_t n;

	pthread_mutex_lock(&f->lock);
	n = f->len;
	pthread_mutex_unlock(&f->lock);
	return n;
}

static bool front_wait(struct front *f, size_t len)
{
	for (int i = 0; i < 400 && front_len(f) < len; i++)
		usleep(5000);
	return front_len(f) >= len;
}

/* CPU time used by all threads, to tell waiting from spinning. */
static double cpu_s(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

static double now_s(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

static void open_pty_pair(int *master, int *slave)
{
	char name[64];

	*master = posix_openpt(O_RDWR | O_NOCTTY);
	ck_assert_int_ge(*master, 0);
	ck_assert_int_eq(grantpt(*master), 0);
	ck_assert_int_eq(unlockpt(*master), 0);
	ck_assert_int_eq(ptsname_r(*master, name, sizeof(name)), 0);
	*slave = open(name, O_RDWR | O_NOCTTY);
	ck_assert_int_ge(*slave, 0);
}

static const struct console_config stdio_cfg = { .kind = CONSOLE_STDIO };
static void on_end(void *arg)
{
	atomic_fetch_add((_Atomic int *)arg, 1);
}

/* ---- the terminal ---- */

START_TEST(interactive_is_raw_and_restored)
{
	struct console_terminal *t;
	struct termios before, raw, after;
	struct chardev *c;
	struct front f;
	int master, slave;

	open_pty_pair(&master, &slave);
	ck_assert_int_eq(tcgetattr(slave, &before), 0);
	ck_assert_int_eq(console_terminal_create(&t, slave, slave, 1, on_end, &ended), 0);
	ck_assert_int_eq(console_open(&c, &stdio_cfg, "alpha", t, &loop), 0);
	front_plug(&f, c, 1000);
	ck_assert_int_eq(loop_start(&loop), 0);

	ck_assert_int_eq(tcgetattr(slave, &raw), 0);
	ck_assert_uint_eq(raw.c_lflag & (ICANON | ECHO | ISIG), 0);
	ck_assert_uint_ne(raw.c_oflag & OPOST, 0);
	/* The user's own open file description stays blocking. */
	ck_assert_int_eq(fcntl(slave, F_GETFL) & O_NONBLOCK, 0);

	/* Every key, Ctrl-C and Ctrl-Z included. */
	ck_assert_int_eq(write(master, "ls\r\003\032", 5), 5);
	ck_assert(front_wait(&f, 5));
	ck_assert_mem_eq(f.got, "ls\r\003\032", 5);
	/* A partial line comes out without waiting for its end. */
	put(c, "login: ");
	expect(master, "login: ");
	put(c, "raw \033[1mbold\n");
	expect(master, "raw \033[1mbold\r\n");

	loop_stop(&loop);
	console_close(c);
	console_terminal_restore(t);
	console_terminal_restore(t);
	ck_assert_int_eq(tcgetattr(slave, &after), 0);
	ck_assert_mem_eq(&before, &after, sizeof(before));
	console_terminal_destroy(t);
	close(slave);
	close(master);
}
END_TEST

START_TEST(escape_keys)
{
	struct console_terminal *t;
	struct chardev *c;
	struct front f;
	int master, slave;

	open_pty_pair(&master, &slave);
	ck_assert_int_eq(console_terminal_create(&t, slave, slave, 1, on_end, &ended), 0);
	ck_assert_int_eq(console_open(&c, &stdio_cfg, "alpha", t, &loop), 0);
	front_plug(&f, c, 1000);
	ck_assert_int_eq(loop_start(&loop), 0);

	/* Ctrl-A a sends Ctrl-A; an unknown one sends nothing; x alone is a key. */
	ck_assert_int_eq(write(master, "\001a\001zx", 5), 5);
	ck_assert(front_wait(&f, 2));
	ck_assert_mem_eq(f.got, "\001x", 2);
	ck_assert_int_eq(atomic_load(&ended), 0);
	ck_assert_int_eq(write(master, "\001?", 2), 2);
	expect(master, "Ctrl-A x");
	ck_assert_uint_eq(front_len(&f), 2);
	/* The two keys may come apart. */
	ck_assert_int_eq(write(master, "\001", 1), 1);
	usleep(20000);
	ck_assert_int_eq(write(master, "x", 1), 1);
	for (int i = 0; i < 400 && !atomic_load(&ended); i++)
		usleep(5000);
	ck_assert_int_eq(atomic_load(&ended), 1);
	ck_assert_uint_eq(front_len(&f), 2);

	loop_stop(&loop);
	console_close(c);
	console_terminal_destroy(t);
	close(slave);
	close(master);
}
END_TEST

/* The user must get out even if the guest reads nothing and the keyboard buffer is full. */
START_TEST(ctrl_a_x_gets_through_to_a_deaf_guest)
{
	struct console_terminal *t;
	struct chardev *c;
	struct front f;
	char junk[1000];
	int master, slave;

	open_pty_pair(&master, &slave);
	ck_assert_int_eq(console_terminal_create(&t, slave, slave, 1, on_end, &ended), 0);
	ck_assert_int_eq(console_open(&c, &stdio_cfg, "alpha", t, &loop), 0);
	front_plug(&f, c, 0);
	ck_assert_int_eq(loop_start(&loop), 0);
	memset(junk, 'j', sizeof(junk));
	for (int i = 0; i < 200; i++)
		ck_assert_int_eq(write(master, junk, sizeof(junk)), sizeof(junk));
	ck_assert_int_eq(write(master, "\001x", 2), 2);
	for (int i = 0; i < 400 && !atomic_load(&ended); i++)
		usleep(5000);
	ck_assert_int_eq(atomic_load(&ended), 1);
	loop_stop(&loop);
	console_close(c);
	console_terminal_destroy(t);
	close(slave);
	close(master);
}
END_TEST

START_TEST(a_paste_loses_nothing)
{
	static char paste[10000];
	struct console_terminal *t;
	struct chardev *c;
	struct front f;
	int master, slave;

	for (size_t i = 0; i < sizeof(paste); i++)
		paste[i] = (char)('a' + i % 23);
	open_pty_pair(&master, &slave);
	ck_assert_int_eq(console_terminal_create(&t, slave, slave, 1, on_end, &ended), 0);
	ck_assert_int_eq(console_open(&c, &stdio_cfg, "alpha", t, &loop), 0);
	front_plug(&f, c, 1);
	ck_assert_int_eq(loop_start(&loop), 0);
	for (size_t i = 0; i < sizeof(paste);) {
		ssize_t n = write(master, paste + i, sizeof(paste) - i);

		ck_assert_int_gt(n, 0);
		i += (size_t)n;
	}
	for (int i = 0; i < 4000 && front_len(&f) < sizeof(paste); i++) {
		front_more(&f, 16);
		if (i % 100 == 0)
			usleep(2000);
	}
	front_more(&f, sizeof(paste));
	ck_assert(front_wait(&f, sizeof(paste)));
	ck_assert_mem_eq(f.got, paste, sizeof(paste));
	loop_stop(&loop);
	console_close(c);
	console_terminal_destroy(t);
	close(slave);
	close(master);
}
END_TEST

START_TEST(several_guests_get_prefixed_lines)
{
	struct console_terminal *t;
	struct chardev *a, *b;
	struct termios before, after;
	char got[8192], longline[1600];
	int out[2], master, slave;

	open_pty_pair(&master, &slave);
	ck_assert_int_eq(tcgetattr(slave, &before), 0);
	ck_assert_int_eq(pipe(out), 0);
	ck_assert_int_eq(console_terminal_create(&t, slave, out[1], 2, on_end, &ended), 0);
	ck_assert_int_eq(console_open(&a, &stdio_cfg, "alpha", t, &loop), 0);
	ck_assert_int_eq(console_open(&b, &stdio_cfg, "beta", t, &loop), 0);
	ck_assert_int_eq(loop_start(&loop), 0);
	ck_assert_int_eq(tcgetattr(slave, &after), 0);
	ck_assert_mem_eq(&before, &after, sizeof(before)); /* not raw */

	put(a, "one ");
	put(b, "uno\r\n");
	put(a, "line\n");
	put(a, "\n");
	memset(longline, 'x', sizeof(longline) - 1);
	longline[sizeof(longline) - 1] = 0;
	put(b, longline);
	put(b, "\n");
	put(a, "unfinished");
	loop_stop(&loop);
	console_close(a);
	console_close(b);
	console_terminal_destroy(t);
	close(out[1]);
	collect(out[0], got, sizeof(got), NULL, 1000);
	ck_assert_msg(!strncmp(got, "beta| uno\nalpha| one line\nalpha| \nbeta| xxx", 42), "%s",
		      got);
	/* Nothing of the long line is missing, and no piece is longer than 1 KiB. */
	{
		size_t x = 0, run = 0, longest = 0;

		for (const char *p = got; *p; p++) {
			run = *p == 'x' ? run + 1 : 0;
			x += *p == 'x';
			longest = run > longest ? run : longest;
		}
		ck_assert_uint_eq(x, sizeof(longline) - 1);
		ck_assert_uint_le(longest, 1024);
	}
	ck_assert_ptr_nonnull(strstr(got, "alpha| unfinished\n"));
	close(out[0]);
	close(slave);
	close(master);
}
END_TEST

START_TEST(prefixed_output_has_no_control_sequences)
{
	static const struct {
		const char *in, *out;
	} t[] = {
		{ "\033[2J\033[1;31mred\033[0m\n", "alpha| red\n" },
		{ "\033]0;title\007after osc\n", "alpha| after osc\n" },
		{ "\033]0;title\033\\after st\n", "alpha| after st\n" },
		{ "\033(Bcharset\n", "alpha| charset\n" },
		{ "\033Mreverse\n", "alpha| reverse\n" },
		{ "\033[31\nnext\n", "alpha| \nalpha| next\n" },
		{ "a\bb\007c\td\177\n", "alpha| abc\td\n" },
		{ "caf\303\251\n", "alpha| caf\303\251\n" },
		{ "c1\302\233"
		  "2Jx\n",
		  "alpha| c1x\n" },
		{ "\033\033[31mtwice\n", "alpha| [31mtwice\n" },
		{ "fake\rbeta| hello\n", "alpha| fakebeta| hello\n" },
	};
	struct console_terminal *term;
	struct chardev *c;
	char got[8192], want[8192] = "";
	int out[2];

	ck_assert_int_eq(pipe(out), 0);
	ck_assert_int_eq(console_terminal_create(&term, -1, out[1], 2, NULL, NULL), 0);
	ck_assert_int_eq(console_open(&c, &stdio_cfg, "alpha", term, &loop), 0);
	for (size_t i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
		/* Byte by byte, as a serial port does. */
		for (const char *p = t[i].in; *p; p++)
			c->ops->write(c, p, 1);
		strcat(want, t[i].out);
	}
	c->ops->write(c, "nul\0\n", 5);
	strcat(want, "alpha| nul\n");
	console_close(c);
	console_terminal_destroy(term);
	close(out[1]);
	collect(out[0], got, sizeof(got), NULL, 1000);
	ck_assert_str_eq(got, want);
	close(out[0]);
}
END_TEST

/* CI pipes commands in: all of it reaches the guest, also without a terminal, as the guest asks. */
START_TEST(piped_input_arrives_with_back_pressure)
{
	struct console_terminal *t;
	struct chardev *c;
	struct front f;
	static char text[150000];
	int in[2], out[2];
	size_t done = 0;

	for (size_t i = 0; i < sizeof(text); i++)
		text[i] = (char)(i % 251);
	ck_assert_int_eq(pipe(in), 0);
	ck_assert_int_eq(pipe(out), 0);
	fcntl(in[1], F_SETFL, O_NONBLOCK);
	ck_assert_int_eq(console_terminal_create(&t, in[0], out[1], 1, on_end, &ended), 0);
	ck_assert_int_eq(console_open(&c, &stdio_cfg, "alpha", t, &loop), 0);
	front_plug(&f, c, 0);
	ck_assert_int_eq(loop_start(&loop), 0);
	/* The guest takes nothing: the pipe fills up and stays full. */
	for (int i = 0; i < 40; i++) {
		ssize_t n = write(in[1], text + done, sizeof(text) - done);

		done += n > 0 ? (size_t)n : 0;
		usleep(2000);
	}
	ck_assert_uint_lt(done, sizeof(text));
	while (done < sizeof(text) || front_len(&f) < sizeof(text)) {
		ssize_t n = write(in[1], text + done, sizeof(text) - done);

		done += n > 0 ? (size_t)n : 0;
		if (done == sizeof(text) && in[1] >= 0) {
			close(in[1]);
			in[1] = -1;
		}
		front_more(&f, 4000);
		usleep(100);
	}
	ck_assert_mem_eq(f.got, text, sizeof(text));
	/* After the end of input the output still works, and nothing spins. */
	{
		double before = cpu_s();

		usleep(300000);
		ck_assert(cpu_s() - before < 0.15);
	}
	put(c, "still here\n");
	expect(out[0], "still here\n");
	ck_assert_int_eq(fcntl(out[1], F_GETFL) & O_NONBLOCK, 0);
	loop_stop(&loop);
	console_close(c);
	console_terminal_destroy(t);
	close(in[0]);
	close(out[0]);
	close(out[1]);
}
END_TEST

START_TEST(input_from_a_file_and_from_nowhere)
{
	static char text[100000];
	struct console_terminal *t;
	struct chardev *c;
	struct front f;
	int fd, null;

	memset(text, 'f', sizeof(text));
	fd = open(path, O_RDWR | O_CREAT, 0600);
	null = open("/dev/null", O_RDWR);
	ck_assert_int_eq(write(fd, text, sizeof(text)), sizeof(text));
	lseek(fd, 0, SEEK_SET);
	ck_assert_int_eq(loop_start(&loop), 0);
	for (int i = 0; i < 3; i++) {
		int in = i == 0 ? fd : i == 1 ? null : -1;
		double before;

		loop_stop(&loop);
		ck_assert_int_eq(console_terminal_create(&t, in, null, 1, NULL, NULL), 0);
		ck_assert_int_eq(console_open(&c, &stdio_cfg, "alpha", t, &loop), 0);
		front_plug(&f, c, 10);
		ck_assert_int_eq(loop_start(&loop), 0);
		if (i == 0) {
			while (front_len(&f) < sizeof(text)) {
				front_more(&f, 1000);
				usleep(10);
			}
			ck_assert_mem_eq(f.got, text, sizeof(text));
		}
		before = cpu_s();
		usleep(200000);
		ck_assert(cpu_s() - before < 0.1);
		ck_assert_uint_eq(front_len(&f), i == 0 ? sizeof(text) : 0);
		loop_stop(&loop);
		console_close(c);
		console_terminal_destroy(t);
	}
	close(fd);
	close(null);
}
END_TEST

struct slow_reader {
	int fd;
	size_t bytes, wrong;
	unsigned sleep_us;
};

static void *slow_reader(void *arg)
{
	struct slow_reader *r = arg;
	char buf[8192];
	ssize_t n;

	while ((n = read(r->fd, buf, sizeof(buf))) > 0) {
		for (ssize_t i = 0; i < n; i++)
			r->wrong += (uint8_t)buf[i] != (r->bytes + (size_t)i) % 251;
		r->bytes += (size_t)n;
		usleep(r->sleep_us);
	}
	return NULL;
}

START_TEST(a_slow_reader_gets_everything)
{
	struct console_terminal *t;
	struct chardev *c;
	struct slow_reader r = { .sleep_us = 1000 };
	pthread_t th;
	int out[2];
	size_t total = 1000000;
	uint8_t buf[1000];

	ck_assert_int_eq(pipe(out), 0);
	r.fd = out[0];
	ck_assert_int_eq(pthread_create(&th, NULL, slow_reader, &r), 0);
	ck_assert_int_eq(console_terminal_create(&t, -1, out[1], 1, NULL, NULL), 0);
	ck_assert_int_eq(console_open(&c, &stdio_cfg, "alpha", t, &loop), 0);
	for (size_t done = 0; done < total; done += sizeof(buf)) {
		for (size_t i = 0; i < sizeof(buf); i++)
			buf[i] = (uint8_t)((done + i) % 251);
		c->ops->write(c, buf, sizeof(buf));
	}
	console_close(c);
	console_terminal_destroy(t);
	close(out[1]);
	pthread_join(th, NULL);
	ck_assert_uint_eq(r.bytes, total);
	ck_assert_uint_eq(r.wrong, 0);
	close(out[0]);
}
END_TEST

START_TEST(a_stuck_reader_holds_nobody_up)
{
	struct console_terminal *t;
	struct chardev *c;
	char buf[4096];
	int out[2];
	double start = now_s();

	ck_assert_int_eq(pipe(out), 0);
	ck_assert_int_eq(console_terminal_create(&t, -1, out[1], 1, NULL, NULL), 0);
	ck_assert_int_eq(console_open(&c, &stdio_cfg, "alpha", t, &loop), 0);
	memset(buf, 's', sizeof(buf));
	for (int i = 0; i < 1000; i++)
		c->ops->write(c, buf, sizeof(buf));
	/* One wait, not one for each write. */
	ck_assert(now_s() - start < 2.0);
	console_close(c);
	start = now_s();
	console_terminal_destroy(t);
	ck_assert(now_s() - start < 5.0);
	close(out[1]);
	close(out[0]);
}
END_TEST

START_TEST(a_closed_reader_is_survived)
{
	struct console_terminal *t;
	struct chardev *c;
	int out[2];

	ck_assert_int_eq(pipe(out), 0);
	ck_assert_int_eq(console_terminal_create(&t, -1, out[1], 1, NULL, NULL), 0);
	ck_assert_int_eq(console_open(&c, &stdio_cfg, "alpha", t, &loop), 0);
	close(out[0]);
	for (int i = 0; i < 100; i++)
		put(c, "nobody reads this\n");
	console_close(c);
	console_terminal_destroy(t); /* SIGPIPE would have killed us */
	close(out[1]);
}
END_TEST

static void *shouting(void *arg)
{
	struct chardev *c = arg;

	for (int i = 0; i < 2000; i++)
		put(c, i % 3 ? "a line\n" : "partial ");
	return NULL;
}

/* Several vCPUs of several guests at once: every line is whole. */
START_TEST(lines_of_several_threads_stay_whole)
{
	struct console_terminal *t;
	struct chardev *c[2];
	pthread_t th[4];
	FILE *f;
	char line[2000];
	int fd;
	unsigned lines = 0;

	fd = open(path, O_RDWR | O_CREAT, 0600);
	ck_assert_int_eq(console_terminal_create(&t, -1, fd, 2, NULL, NULL), 0);
	ck_assert_int_eq(console_open(&c[0], &stdio_cfg, "alpha", t, &loop), 0);
	ck_assert_int_eq(console_open(&c[1], &stdio_cfg, "beta", t, &loop), 0);
	for (int i = 0; i < 4; i++)
		ck_assert_int_eq(pthread_create(&th[i], NULL, shouting, c[i % 2]), 0);
	for (int i = 0; i < 4; i++)
		pthread_join(th[i], NULL);
	console_close(c[0]);
	console_close(c[1]);
	console_terminal_destroy(t);
	f = fopen(path, "r");
	while (fgets(line, sizeof(line), f)) {
		const char *p = !strncmp(line, "alpha| ", 7)  ? line + 7
				: !strncmp(line, "beta| ", 6) ? line + 6
							      : NULL;

		ck_assert_msg(p != NULL, "%s", line);
		while (!strncmp(p, "partial ", 8))
			p += 8;
		ck_assert_msg(!strcmp(p, "a line\n") || !*p || *p == '\n', "%s", line);
		lines++;
	}
	ck_assert_uint_ge(lines, 4 * 1333);
	fclose(f);
	close(fd);
}
END_TEST

/* ---- file ---- */

START_TEST(file_gets_lines_as_they_come)
{
	struct console_config cfg = { .kind = CONSOLE_FILE, .path = path };
	struct chardev *c;
	char buf[100] = "";
	int fd;

	fd = open(path, O_RDWR | O_CREAT, 0600);
	ck_assert_int_eq(write(fd, "old", 3), 3);
	ck_assert_int_eq(console_open(&c, &cfg, "alpha", NULL, &loop), 0);
	ck_assert_int_eq(loop_start(&loop), 0);
	ck_assert_int_eq(c->ops->read(c, buf, 1), 0);
	put(c, "line\n");
	for (int i = 0; i < 400 && pread(fd, buf, 99, 0) < 5; i++)
		usleep(5000);
	ck_assert_str_eq(buf, "line\n"); /* and what was there is gone */
	put(c, "par");
	for (int i = 0; i < 400 && pread(fd, buf, 99, 0) < 8; i++)
		usleep(5000);
	ck_assert_str_eq(buf, "line\npar");
	loop_stop(&loop);
	put(c, "tial");
	console_close(c);
	ck_assert_int_eq(pread(fd, buf, 99, 0), 12);
	ck_assert_str_eq(buf, "line\npartial");
	close(fd);
}
END_TEST

static void *flooding(void *arg)
{
	struct chardev *c = arg;
	char line[100];

	for (int i = 0; i < 20000; i++) {
		int n = snprintf(line, sizeof(line), "line %d of a long log without gaps\n", i);

		c->ops->write(c, line, (size_t)n);
	}
	return NULL;
}

static void run_flooding(void *arg)
{
	flooding(arg);
}

/* From a vCPU, and from the loop itself (a virtio console). */
START_TEST(file_loses_nothing)
{
	struct console_config cfg = { .kind = CONSOLE_FILE, .path = path };
	struct chardev *c;
	char line[100];
	FILE *f;

	ck_assert_int_eq(console_open(&c, &cfg, "alpha", NULL, &loop), 0);
	ck_assert_int_eq(loop_start(&loop), 0);
	flooding(c);
	loop_call(&loop, run_flooding, c);
	loop_stop(&loop);
	console_close(c);
	f = fopen(path, "r");
	for (int i = 0; i < 40000; i++) {
		int n = -1;

		ck_assert_ptr_nonnull(fgets(line, sizeof(line), f));
		ck_assert_int_eq(sscanf(line, "line %d of", &n), 1);
		ck_assert_int_eq(n, i % 20000);
	}
	ck_assert_ptr_null(fgets(line, sizeof(line), f));
	fclose(f);
}
END_TEST

START_TEST(file_errors)
{
	struct console_config cfg = { .kind = CONSOLE_FILE, .path = "/nonexistent/file" };
	struct chardev *c;

	ck_assert_int_eq(console_open(&c, &cfg, "alpha", NULL, &loop), -ENOENT);
	cfg.path = dir;
	ck_assert_int_eq(console_open(&c, &cfg, "alpha", NULL, &loop), -EISDIR);
	/* A full disk. */
	cfg.path = "/dev/full";
	ck_assert_int_eq(console_open(&c, &cfg, "alpha", NULL, &loop), 0);
	ck_assert_int_eq(loop_start(&loop), 0);
	for (int i = 0; i < 100; i++)
		put(c, "no room\n");
	loop_stop(&loop);
	console_close(c);
	/* A FIFO that nobody reads must not make us wait for ever. */
	ck_assert_int_eq(mkfifo(path, 0600), 0);
	cfg.path = path;
	ck_assert_int_eq(console_open(&c, &cfg, "alpha", NULL, &loop), -ENXIO);
}
END_TEST

/* ---- none ---- */

START_TEST(none_drops_output)
{
	struct console_config cfg = { .kind = CONSOLE_NONE };
	struct chardev *c;
	char b;

	ck_assert_int_eq(console_open(&c, &cfg, "alpha", NULL, &loop), 0);
	put(c, "void\n");
	ck_assert_uint_eq(c->ops->read(c, &b, 1), 0);
	console_close(c);
	console_close(NULL);
	ck_assert_int_eq(console_open(&c, &stdio_cfg, "alpha", NULL, &loop), -EINVAL);
}
END_TEST

/* ---- UNIX socket ---- */

static int dial(void)
{
	struct sockaddr_un sa = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	strcpy(sa.sun_path, path);
	if (connect(fd, (struct sockaddr *)&sa, sizeof(sa))) {
		close(fd);
		return -errno;
	}
	return fd;
}

/* The client's own bytes prove that it has been accepted. */
static int dial_accepted(struct front *f)
{
	size_t before = front_len(f);
	int fd = dial();

	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(write(fd, "?", 1), 1);
	ck_assert(front_wait(f, before + 1));
	return fd;
}

START_TEST(unix_clients_come_and_go)
{
	struct console_config cfg = { .kind = CONSOLE_UNIX, .path = path };
	struct chardev *c;
	struct front f;
	struct stat st;
	int a, b;

	ck_assert_int_eq(console_open(&c, &cfg, "alpha", NULL, &loop), 0);
	front_plug(&f, c, 10000);
	ck_assert_int_eq(loop_start(&loop), 0);
	ck_assert_int_eq(stat(path, &st), 0);
	ck_assert_uint_eq(st.st_mode & 0777, 0600);

	put(c, "nobody hears this\n");
	a = dial_accepted(&f);
	put(c, "hello\n");
	expect(a, "hello\n");
	/* The second client waits until the first has gone. */
	b = dial();
	ck_assert_int_ge(b, 0);
	ck_assert_int_eq(write(b, "B", 1), 1);
	usleep(30000);
	ck_assert_uint_eq(front_len(&f), 1);
	ck_assert_int_eq(write(a, "last words", 10), 10);
	close(a);
	ck_assert(front_wait(&f, 12));
	ck_assert_mem_eq(f.got, "?last wordsB", 12);
	put(c, "for b\n");
	expect(b, "for b\n");
	/* Half-closed: it has said all, and still listens. */
	shutdown(b, SHUT_WR);
	usleep(30000);
	put(c, "answer\n");
	expect(b, "answer\n");
	{
		double before = cpu_s();

		usleep(200000);
		ck_assert(cpu_s() - before < 0.1);
	}
	close(b);
	a = dial_accepted(&f);
	close(a);

	loop_stop(&loop);
	console_close(c);
	ck_assert_int_eq(stat(path, &st), -1);
}
END_TEST

START_TEST(unix_path_rules)
{
	struct console_config cfg = { .kind = CONSOLE_UNIX, .path = path };
	struct sockaddr_un sa = { .sun_family = AF_UNIX };
	struct chardev *c, *second;
	char too_long[200];
	struct stat st;
	int fd;

	memset(too_long, 'p', sizeof(too_long) - 1);
	too_long[sizeof(too_long) - 1] = 0;
	cfg.path = too_long;
	ck_assert_int_eq(console_open(&c, &cfg, "alpha", NULL, &loop), -ENAMETOOLONG);
	cfg.path = path;
	/* Stale: bound once, nobody listens. */
	fd = socket(AF_UNIX, SOCK_STREAM, 0);
	strcpy(sa.sun_path, path);
	ck_assert_int_eq(bind(fd, (struct sockaddr *)&sa, sizeof(sa)), 0);
	close(fd);
	ck_assert_int_eq(console_open(&c, &cfg, "alpha", NULL, &loop), 0);
	/* Live. */
	ck_assert_int_eq(console_open(&second, &cfg, "beta", NULL, &loop), -EADDRINUSE);
	ck_assert_int_eq(stat(path, &st), 0);
	/* Somebody has put something else there: not ours to remove. */
	unlink(path);
	fd = open(path, O_RDWR | O_CREAT, 0600);
	close(fd);
	console_close(c);
	ck_assert_int_eq(stat(path, &st), 0);
	/* A file is in the way. */
	ck_assert_int_eq(console_open(&c, &cfg, "alpha", NULL, &loop), -EADDRINUSE);
	ck_assert_int_eq(stat(path, &st), 0);
}
END_TEST

START_TEST(unix_slow_client_blocks_nobody)
{
	struct console_config cfg = { .kind = CONSOLE_UNIX, .path = path };
	static char flood[4000];
	struct chardev *c;
	struct front f;
	char *got = malloc(2000000);
	double start;
	size_t len;
	int fd;

	ck_assert_int_eq(console_open(&c, &cfg, "alpha", NULL, &loop), 0);
	front_plug(&f, c, 100);
	ck_assert_int_eq(loop_start(&loop), 0);
	fd = dial_accepted(&f);
	memset(flood, 'f', sizeof(flood));
	start = now_s();
	for (int i = 0; i < 500; i++)
		c->ops->write(c, flood, sizeof(flood));
	ck_assert(now_s() - start < 1.0);
	start = cpu_s();
	usleep(200000);
	ck_assert(cpu_s() - start < 0.1); /* does not spin on the full socket */
	len = collect(fd, got, 2000000, NULL, 300);
	ck_assert_uint_ge(len, 65536);
	ck_assert_uint_lt(len, 1999999);
	/* It has caught up: things work as before. */
	put(c, "fresh\n");
	expect(fd, "fresh\n");
	/* Gone in the middle of a flood, with bytes unread in both directions. */
	ck_assert_int_eq(write(fd, flood, 1000), 1000);
	for (int i = 0; i < 100; i++)
		c->ops->write(c, flood, sizeof(flood));
	close(fd);
	usleep(50000);
	start = cpu_s();
	usleep(200000);
	ck_assert(cpu_s() - start < 0.1);
	front_more(&f, 10000);
	fd = dial_accepted(&f);
	put(c, "again\n");
	expect(fd, "again\n");
	close(fd);
	loop_stop(&loop);
	console_close(c);
	free(got);
}
END_TEST

/* ---- pty ---- */

/* The path is only told to the user: catch it. */
static int open_pty_console(struct chardev **c, char *name, size_t size)
{
	struct console_config cfg = { .kind = CONSOLE_PTY };
	char text[500];
	int log[2], saved = dup(2), ret;
	char *p;
	ssize_t n;

	ck_assert_int_eq(pipe(log), 0);
	dup2(log[1], 2);
	ret = console_open(c, &cfg, "alpha", NULL, &loop);
	dup2(saved, 2);
	close(saved);
	close(log[1]);
	n = read(log[0], text, sizeof(text) - 1);
	close(log[0]);
	ck_assert_int_gt(n, 0);
	text[n] = 0;
	p = strstr(text, "/dev/pts/");
	ck_assert_msg(p != NULL, "%s", text);
	snprintf(name, size, "%.*s", (int)strcspn(p, "\n"), p);
	return ret;
}

START_TEST(pty_clients_come_and_go)
{
	struct chardev *c;
	struct front f;
	struct termios tio;
	char name[64];
	int fd;
	double start;

	ck_assert_int_eq(open_pty_console(&c, name, sizeof(name)), 0);
	front_plug(&f, c, 100);
	ck_assert_int_eq(loop_start(&loop), 0);
	/* Nobody there: dropped, no spinning. */
	for (int i = 0; i < 10000; i++)
		put(c, "stale\n");
	start = cpu_s();
	usleep(600000);
	ck_assert(cpu_s() - start < 0.2);

	for (int round = 0; round < 2; round++) {
		size_t before = front_len(&f);
		char buf[100];

		fd = open(name, O_RDWR | O_NOCTTY);
		ck_assert_int_ge(fd, 0);
		ck_assert_int_eq(tcgetattr(fd, &tio), 0);
		ck_assert_uint_eq(tio.c_lflag & (ICANON | ECHO), 0);
		ck_assert_int_eq(write(fd, "in\003", 3), 3);
		ck_assert(front_wait(&f, before + 3));
		ck_assert_mem_eq(f.got + before, "in\003", 3);
		put(c, "fresh\n");
		collect(fd, buf, sizeof(buf), "\n", 2000);
		ck_assert_str_eq(buf, "fresh\n");
		close(fd);
		usleep(50000);
		put(c, "stale\n");
		start = cpu_s();
		usleep(200000);
		ck_assert(cpu_s() - start < 0.1);
	}
	loop_stop(&loop);
	console_close(c);
}
END_TEST

START_TEST(pty_client_that_does_not_read)
{
	struct chardev *c;
	struct front f;
	static char flood[4000];
	char name[64];
	double start;
	int fd;

	ck_assert_int_eq(open_pty_console(&c, name, sizeof(name)), 0);
	front_plug(&f, c, 1);
	ck_assert_int_eq(loop_start(&loop), 0);
	fd = open(name, O_RDWR | O_NOCTTY);
	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(write(fd, "x", 1), 1);
	ck_assert(front_wait(&f, 1));
	start = now_s();
	for (int i = 0; i < 500; i++)
		c->ops->write(c, flood, sizeof(flood));
	ck_assert(now_s() - start < 1.0);
	/* It hangs up with output pending; input is full too. */
	fcntl(fd, F_SETFL, O_NONBLOCK);
	for (int i = 0; i < 100; i++) {
		if (write(fd, flood, 4000) < 0)
			usleep(2000);
	}
	usleep(20000);
	close(fd);
	usleep(50000);
	start = cpu_s();
	usleep(300000);
	ck_assert(cpu_s() - start < 0.15);
	loop_stop(&loop);
	start = now_s();
	console_close(c);
	ck_assert(now_s() - start < 1.0);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("console");
	TCase *tc = tcase_create("console");
	SRunner *sr;
	int failed;

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_set_timeout(tc, 60);
	tcase_add_test(tc, interactive_is_raw_and_restored);
	tcase_add_test(tc, escape_keys);
	tcase_add_test(tc, ctrl_a_x_gets_through_to_a_deaf_guest);
	tcase_add_test(tc, a_paste_loses_nothing);
	tcase_add_test(tc, several_guests_get_prefixed_lines);
	tcase_add_test(tc, prefixed_output_has_no_control_sequences);
	tcase_add_test(tc, piped_input_arrives_with_back_pressure);
	tcase_add_test(tc, input_from_a_file_and_from_nowhere);
	tcase_add_test(tc, a_slow_reader_gets_everything);
	tcase_add_test(tc, a_stuck_reader_holds_nobody_up);
	tcase_add_test(tc, a_closed_reader_is_survived);
	tcase_add_test(tc, lines_of_several_threads_stay_whole);
	tcase_add_test(tc, file_gets_lines_as_they_come);
	tcase_add_test(tc, file_loses_nothing);
	tcase_add_test(tc, file_errors);
	tcase_add_test(tc, none_drops_output);
	tcase_add_test(tc, unix_clients_come_and_go);
	tcase_add_test(tc, unix_path_rules);
	tcase_add_test(tc, unix_slow_client_blocks_nobody);
	tcase_add_test(tc, pty_clients_come_and_go);
	tcase_add_test(tc, pty_client_that_does_not_read);
	suite_add_tcase(s, tc);
	sr = srunner_create(s);
	srunner_run_all(sr, CK_NORMAL);
	failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
