/*
 * Runs iproute2's `ip` and turns what it prints into one line. Main thread; no state, no locks.
 *
 * Input and output go through memfds, not pipes: nothing can block on a full pipe, and there is
 * nothing to poll.
 */
#include "vmm/hostnet_ip.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#define IP_OUTPUT_BYTES 4096

static bool is_program(const char *dir, size_t dir_len, char *path, size_t bytes)
{
	int n = snprintf(path, bytes, "%.*s/ip", (int)dir_len, dir);

	return dir_len && n > 0 && (size_t)n < bytes && path[0] == '/' && access(path, X_OK) == 0;
}

int ip_find(char *path, size_t bytes)
{
	/* secure_getenv: with file capabilities on xvmm, the caller's $PATH must not choose. */
	const char *lists[] = { secure_getenv("PATH"), "/usr/sbin:/sbin:/usr/bin:/bin" };

	for (size_t i = 0; i < sizeof(lists) / sizeof(lists[0]); i++) {
		for (const char *dir = lists[i]; dir;) {
			const char *end = strchr(dir, ':');
			size_t len = end ? (size_t)(end - dir) : strlen(dir);

			if (is_program(dir, len, path, bytes))
				return 0;
			dir = end ? end + 1 : NULL;
		}
	}
	return -ENOENT;
}

static int make_memfd(const char *content)
{
	int fd = memfd_create("ip", MFD_CLOEXEC);
	size_t len = content ? strlen(content) : 0;

	if (fd < 0)
		return -errno;
	if (len && (pwrite(fd, content, len, 0) != (ssize_t)len)) {
		close(fd);
		return -EIO;
	}
	return fd;
}

static int spawn(const char *path, char *const argv[], int in, int out, pid_t *pid)
{
	/* ip's messages are told apart by their text: keep them in English. */
	char *const env[] = { "LC_ALL=C", NULL };
	posix_spawn_file_actions_t files;
	posix_spawnattr_t attr;
	sigset_t none, all;
	int r;

	sigemptyset(&none);
	sigfillset(&all);
	r = posix_spawn_file_actions_init(&files);
	if (r)
		return -r;
	r = posix_spawnattr_init(&attr);
	if (r) {
		posix_spawn_file_actions_destroy(&files);
		return -r;
	}
	/* The caller may have blocked or ignored signals; and a Ctrl-C that ends xvmm must not end
	 * the clean-up: hence a process group of its own. */
	posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF |
						POSIX_SPAWN_SETPGROUP);
	posix_spawnattr_setsigmask(&attr, &none);
	posix_spawnattr_setsigdefault(&attr, &all);
	posix_spawnattr_setpgroup(&attr, 0);
	if ((r = posix_spawn_file_actions_adddup2(&files, in, 0)) == 0 &&
	    (r = posix_spawn_file_actions_adddup2(&files, out, 1)) == 0 &&
	    (r = posix_spawn_file_actions_adddup2(&files, out, 2)) == 0)
		r = posix_spawn(pid, path, &files, &attr, argv, env);
	posix_spawnattr_destroy(&attr);
	posix_spawn_file_actions_destroy(&files);
	return -r;
}

/* Runs it; `output` takes what it printed on either stream. 0: exit status 0; -EIO: any other. */
static int run(char *const argv[], const char *input, char *output, size_t output_bytes)
{
	char path[512];
	int in = -1, out = -1, status, r;
	ssize_t got;
	pid_t pid;

	output[0] = '\0';
	r = ip_find(path, sizeof(path));
	if (r) {
		snprintf(output, output_bytes, "the program ip is missing; install iproute2");
		return r;
	}
	in = make_memfd(input);
	out = in < 0 ? in : make_memfd(NULL);
	if (out < 0) {
		r = out;
		goto close_in;
	}
	r = spawn(path, argv, in, out, &pid);
	if (r)
		goto close_out;
	while (waitpid(pid, &status, 0) < 0) {
		if (errno != EINTR) {
			r = -errno;
			goto close_out;
		}
	}
	got = pread(out, output, output_bytes - 1, 0);
	output[got > 0 ? got : 0] = '\0';
	r = WIFEXITED(status) && WEXITSTATUS(status) == 0 ? 0 : -EIO;
close_out:
	close(out);
close_in:
	if (in >= 0)
		close(in);
	if (r && !output[0])
		snprintf(output, output_bytes, "%s", r == -EIO ? "no reason given" : strerror(-r));
	return r;
}

/* The n-th line (from 1) of the batch, without its newline. */
static int nth_line(const char *commands, unsigned n, const char **line)
{
	const char *p = commands;

	while (--n && p) {
		p = strchr(p, '\n');
		p = p ? p + 1 : NULL;
	}
	*line = p ? p : "";
	return (int)strcspn(*line, "\n");
}

int ip_batch(const char *commands, char *why, size_t why_bytes)
{
	char *const argv[] = { "ip", "-batch", "-", NULL };
	char output[IP_OUTPUT_BYTES];
	const char *where, *line;
	unsigned n;
	int r, len;

	why[0] = '\0';
	if (!commands[0])
		return 0;
	r = run(argv, commands, output, sizeof(output));
	if (!r)
		return 0;

	/* "RTNETLINK answers: File exists\nCommand failed -:3\n" */
	where = strstr(output, "Command failed -:");
	if (where && sscanf(where, "Command failed -:%u", &n) == 1 && n > 0) {
		len = nth_line(commands, n, &line);
		snprintf(why, why_bytes, "`ip %.*s`: %.*s", len, line, (int)strcspn(output, "\n"),
			 output);
	} else {
		snprintf(why, why_bytes, "ip -batch: %.*s", (int)strcspn(output, "\n"), output);
	}
	if (r == -EIO && strstr(output, "Operation not permitted"))
		return -EPERM;
	return r;
}

int ip_version(char *out, size_t bytes)
{
	char *const argv[] = { "ip", "-V", NULL };
	char output[IP_OUTPUT_BYTES];
	int r = run(argv, NULL, output, sizeof(output));

	snprintf(out, bytes, "%.*s", (int)strcspn(output, "\n"), output);
	return r;
}
