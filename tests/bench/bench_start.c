/*
 * Measures of starting guests, taken from outside of xvmm: start_ms, overhead_kib_per_guest and the
 * echo of 64 tiny guests. Writes one JSON object on standard output.
 *
 *     bench_start XVMM GUESTS-DIR ROUNDS
 *
 * start_ms: from just before exec of xvmm to the line that it writes when the guest's first
 * instruction with an effect, a write to the debug-exit port, has come out. The line is written
 * after the exit was handled and carried to the main thread, so the figure is an upper bound.
 */
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define NR_GUESTS  64
#define MAX_ROUNDS 1000

static void die(const char *what)
{
	fprintf(stderr, "bench_start: %s: %s\n", what, strerror(errno));
	exit(1);
}

static double now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec * 1e3 + (double)ts.tv_nsec / 1e6;
}

static int by_value(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return x < y ? -1 : x > y;
}

static double median(double *v, unsigned n)
{
	qsort(v, n, sizeof(*v), by_value);
	return n % 2 ? v[n / 2] : (v[n / 2 - 1] + v[n / 2]) / 2;
}

/* Starts `xvmm run ini`; what it says (standard error) can be read from *err. */
static pid_t start(const char *xvmm, const char *ini, int *err)
{
	int p[2], null;
	pid_t pid;

	if (pipe2(p, O_CLOEXEC))
		die("pipe");
	pid = fork();
	if (pid < 0)
		die("fork");
	if (!pid) {
		null = open("/dev/null", O_RDWR);
		dup2(null, 0);
		dup2(null, 1);
		dup2(p[1], 2);
		execl(xvmm, xvmm, "run", ini, (char *)NULL);
		_exit(127);
	}
	close(p[1]);
	*err = p[0];
	return pid;
}

/* Reads until `word` has come n times; false at the end of the output. */
static bool wait_for(int fd, const char *word, unsigned n)
{
	static char buf[1 << 16];
	size_t len = 0;
	char *at;

	for (;;) {
		ssize_t got = read(fd, buf + len, sizeof(buf) - 1 - len);

		if (got <= 0)
			return false;
		len += (size_t)got;
		buf[len] = 0;
		while ((at = strstr(buf, word))) {
			if (!--n)
				return true;
			len -= (size_t)(at + strlen(word) - buf);
			memmove(buf, at + strlen(word), len + 1);
		}
		if (len > sizeof(buf) / 2) {
			memmove(buf, buf + len - 256, 257);
			len = 256;
		}
	}
}

static int finish(pid_t pid, int fd)
{
	char buf[4096];
	int status;

	while (read(fd, buf, sizeof(buf)) > 0)
		;
	close(fd);
	if (waitpid(pid, &status, 0) < 0)
		die("waitpid");
	return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static FILE *ini_open(char *path)
{
	int fd;

	strcpy(path, "/tmp/xvmm-bench-XXXXXX");
	fd = mkstemp(path);
	if (fd < 0)
		die("mkstemp");
	return fdopen(fd, "w");
}

static double start_ms(const char *xvmm, const char *guests, unsigned rounds)
{
	static double v[MAX_ROUNDS];
	char path[64];
	FILE *f = ini_open(path);

	fprintf(f, "[vm a]\nkernel = %s/first_port.elf\nmemory = 64M\nconsole = none\nrng = no\n",
		guests);
	fclose(f);
	for (unsigned i = 0; i < rounds; i++) {
		double t = now_ms();
		int fd, status;
		pid_t pid = start(xvmm, path, &fd);

		if (!wait_for(fd, "debug-exit", 1)) {
			fprintf(stderr, "bench_start: first_port did not end as it should\n");
			exit(1);
		}
		v[i] = now_ms() - t;
		status = finish(pid, fd);
		if (status != 33) {
			fprintf(stderr, "bench_start: first_port ended with %d\n", status);
			exit(1);
		}
	}
	unlink(path);
	return median(v, rounds);
}

static long status_kib(pid_t pid, const char *key)
{
	char path[64], line[256];
	long v = -1;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/status", (int)pid);
	f = fopen(path, "re");
	if (!f)
		die(path);
	while (fgets(line, sizeof(line), f)) {
		if (!strncmp(line, key, strlen(key)) && line[strlen(key)] == ':')
			v = atol(line + strlen(key) + 1);
	}
	fclose(f);
	return v;
}

/* 64 guests that wait for the power button: all that each costs but its memory, which is shared
 * memory and counted apart by the kernel. */
static double overhead_kib(const char *xvmm, const char *guests)
{
	char path[64];
	FILE *f = ini_open(path);
	long kib;
	pid_t pid;
	int fd;

	fprintf(f, "[net n]\nuplink = none\n");
	for (int i = 0; i < NR_GUESTS; i++)
		fprintf(f,
			"[vm g%d]\nkernel = %s/power_button.elf\nmemory = 16M\nconsole = none\n"
			"[nic g%d.eth0]\nnet = n\n",
			i, guests, i);
	fclose(f);
	pid = start(xvmm, path, &fd);
	if (!wait_for(fd, "starts:", NR_GUESTS))
		exit(1);
	sleep(2); /* until all of them have set up their devices and wait */
	kib = status_kib(pid, "RssAnon") + status_kib(pid, "RssFile");
	kill(pid, SIGTERM);
	if (finish(pid, fd)) {
		fprintf(stderr, "bench_start: power_button guests did not end in good order\n");
		exit(1);
	}
	unlink(path);
	return (double)kib / NR_GUESTS;
}

/* 32 pairs, each on a net of its own, echo 20 frames of 64 bytes; from exec until all have ended.
 */
static double echo_ms(const char *xvmm, const char *guests)
{
	char path[64];
	FILE *f = ini_open(path);
	double t;
	pid_t pid;
	int fd, status;

	for (int i = 0; i < NR_GUESTS / 2; i++)
		fprintf(f,
			"[net n%d]\nuplink = none\n"
			"[vm e%d]\nkernel = %s/net_echo.elf\nmemory = 16M\nconsole = none\n"
			"[nic e%d.eth0]\nnet = n%d\nmac = 52:54:00:00:01:%02x\n"
			"[vm s%d]\nkernel = %s/net_send.elf\nmemory = 16M\nconsole = none\n"
			"cmdline = frames=20 size=64 peer=52:54:00:00:01:%02x\n"
			"[nic s%d.eth0]\nnet = n%d\nmac = 52:54:00:00:02:%02x\n",
			i, i, guests, i, i, i, i, guests, i, i, i, i);
	fclose(f);
	t = now_ms();
	pid = start(xvmm, path, &fd);
	status = finish(pid, fd);
	t = now_ms() - t;
	unlink(path);
	if (status != 33) { /* the guests' own word for success */
		fprintf(stderr, "bench_start: echo guests ended with %d\n", status);
		exit(1);
	}
	return t;
}

int main(int argc, char **argv)
{
	unsigned rounds;
	json_t *o;

	if (argc != 4) {
		fprintf(stderr, "usage: bench_start XVMM GUESTS-DIR ROUNDS\n");
		return 2;
	}
	rounds = (unsigned)atoi(argv[3]);
	if (rounds < 1 || rounds > MAX_ROUNDS)
		return 2;
	o = json_object();
	json_object_set_new(o, "start_ms", json_real(start_ms(argv[1], argv[2], rounds)));
	json_object_set_new(o, "overhead_kib_per_guest", json_real(overhead_kib(argv[1], argv[2])));
	json_object_set_new(o, "echo_64_guests_ms", json_real(echo_ms(argv[1], argv[2])));
	json_dumpf(o, stdout, JSON_INDENT(2) | JSON_REAL_PRECISION(6));
	putchar('\n');
	json_decref(o);
	return 0;
}
