/*
 * Socket files of labs: see lab_socket.h. Main thread; the run directory's file lock only.
 */
#include "vmm/lab_socket.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#define BACKLOG 16

static int address(struct sockaddr_un *sa, const char *dir, const char *name)
{
	int n;

	memset(sa, 0, sizeof(*sa));
	sa->sun_family = AF_UNIX;
	n = snprintf(sa->sun_path, sizeof(sa->sun_path), "%s%s%s", dir, *dir ? "/" : "", name);
	return n < 0 || (size_t)n >= sizeof(sa->sun_path) ? -ENAMETOOLONG : 0;
}

static int open_socket(int flags)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | flags, 0);

	return fd < 0 ? -errno : fd;
}

/* -- Others -- */

enum life { NO_SOCKET, STALE, ALIVE };

static enum life probe(const struct rundir *d, const char *name)
{
	enum life life = ALIVE;
	struct sockaddr_un sa;
	struct stat st;
	int fd;

	if (fstatat(d->fd, name, &st, AT_SYMLINK_NOFOLLOW) || !S_ISSOCK(st.st_mode) ||
	    address(&sa, d->path, name))
		return NO_SOCKET;
	fd = open_socket(SOCK_NONBLOCK);
	if (fd < 0)
		return ALIVE;
	/* One that lives may be too busy to answer (EAGAIN). */
	if (connect(fd, (struct sockaddr *)&sa, sizeof(sa)) < 0 && errno == ECONNREFUSED)
		life = STALE;
	close(fd);
	return life;
}

static int each_socket(const struct rundir *d,
		       void (*fn)(const struct rundir *d, void *arg, const char *name), void *arg)
{
	/* A description of its own: fdopendir() moves the offset and closes its descriptor. */
	int fd = openat(d->fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *dir = fd < 0 ? NULL : fdopendir(fd);
	struct dirent *e;

	if (!dir) {
		int err = -errno;

		if (fd >= 0)
			close(fd);
		return err;
	}
	while ((e = readdir(dir))) {
		size_t len = strlen(e->d_name), suffix = strlen(LAB_SOCKET_SUFFIX);

		if (len > suffix && len - suffix <= CONFIG_NAME_MAX &&
		    !strcmp(e->d_name + len - suffix, LAB_SOCKET_SUFFIX))
			fn(d, arg, e->d_name);
	}
	closedir(dir);
	return 0;
}

void lab_socket_set_timeout(int fd, unsigned timeout_s)
{
	struct timeval tv = { .tv_sec = timeout_s };

	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof(tv));
	setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &tv, sizeof(tv));
}

int lab_socket_connect(const char *path, unsigned timeout_s)
{
	struct sockaddr_un sa;
	int rc = address(&sa, "", path), fd;

	if (rc)
		return rc;
	fd = open_socket(0);
	if (fd < 0)
		return fd;
	lab_socket_set_timeout(fd, timeout_s);
	while (connect(fd, (struct sockaddr *)&sa, sizeof(sa)) < 0) {
		rc = -errno;
		if (rc == -EINTR)
			continue;
		close(fd);
		return rc;
	}
	return fd;
}

struct listing {
	void (*fn)(void *arg, const char *lab);
	void *arg;
	int nr;
};

static void list_one(const struct rundir *d, void *arg, const char *name)
{
	struct listing *l = arg;
	char lab[CONFIG_NAME_MAX + 1];

	if (probe(d, name) != ALIVE)
		return;
	snprintf(lab, sizeof(lab), "%.*s", (int)(strlen(name) - strlen(LAB_SOCKET_SUFFIX)), name);
	l->fn(l->arg, lab);
	l->nr++;
}

int lab_socket_each(const struct rundir *d, void (*fn)(void *arg, const char *lab), void *arg)
{
	struct listing l = { .fn = fn, .arg = arg };
	int rc = each_socket(d, list_one, &l);

	return rc ? rc : l.nr;
}

/* -- One's own -- */

static void remove_stale(const struct rundir *d, void *arg, const char *name)
{
	if (probe(d, name) == STALE)
		unlinkat(d->fd, name, 0);
}

static int bind_locked(struct lab_socket *s)
{
	struct sockaddr_un sa;
	struct stat st;
	int rc = address(&sa, s->dir.path, s->name);

	if (rc)
		return rc;
	s->fd = open_socket(SOCK_NONBLOCK);
	if (s->fd < 0)
		return s->fd;
	/* The file takes its mode from the socket, so it is never open to others. */
	if (fchmod(s->fd, 0600) < 0 || bind(s->fd, (struct sockaddr *)&sa, sizeof(sa)) < 0)
		return -errno;
	if (fstatat(s->dir.fd, s->name, &st, AT_SYMLINK_NOFOLLOW) == 0) {
		s->dev = st.st_dev;
		s->ino = st.st_ino;
	}
	return listen(s->fd, BACKLOG) < 0 ? -errno : 0;
}

int lab_socket_listen(struct lab_socket *s, const struct rundir *dir, const char *lab)
{
	int rc;

	*s = (struct lab_socket){ .fd = -1 };
	snprintf(s->name, sizeof(s->name), "%s" LAB_SOCKET_SUFFIX, lab);
	rc = rundir_open_at(&s->dir, dir->path, false);
	if (!rc)
		rc = rundir_lock(&s->dir);
	if (!rc) {
		/* Whatever their names: nobody else would. */
		each_socket(&s->dir, remove_stale, NULL);
		rc = bind_locked(s);
		rundir_unlock(&s->dir);
	}
	if (rc)
		lab_socket_close(s);
	return rc;
}

void lab_socket_close(struct lab_socket *s)
{
	struct stat st;

	if (s->ino && !rundir_lock(&s->dir)) {
		if (fstatat(s->dir.fd, s->name, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
		    st.st_dev == s->dev && st.st_ino == s->ino)
			unlinkat(s->dir.fd, s->name, 0);
		rundir_unlock(&s->dir);
		s->ino = 0;
	}
	if (s->fd >= 0)
		close(s->fd);
	s->fd = -1;
	rundir_close(&s->dir);
}
