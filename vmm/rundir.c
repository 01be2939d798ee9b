/*
 * The run directory: see rundir.h. Main thread; a file lock only.
 */
#include "vmm/rundir.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

static int rundir_try(struct rundir *d, bool create)
{
	struct stat st;

	if (create && mkdir(d->path, 0700) < 0 && errno != EEXIST)
		return -errno;
	d->fd = open(d->path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (d->fd < 0)
		return errno == ENOTDIR || errno == ELOOP ? -EACCES : -errno;
	/* In /tmp anybody may have been here first. */
	if (fstat(d->fd, &st) < 0 || st.st_uid != geteuid() || (st.st_mode & 077) ||
	    (create && access(d->path, W_OK) < 0)) {
		rundir_close(d);
		return -EACCES;
	}
	return 0;
}

__attribute__((format(printf, 3, 4))) static int rundir_tryf(struct rundir *d, bool create,
							     const char *fmt, ...)
{
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(d->path, sizeof(d->path), fmt, ap);
	va_end(ap);
	if (n < 0 || (size_t)n >= sizeof(d->path))
		return -ENAMETOOLONG;
	return rundir_try(d, create);
}

int rundir_open_at(struct rundir *d, const char *path, bool create)
{
	d->fd = -1;
	return rundir_tryf(d, create, "%s", path);
}

int rundir_open(struct rundir *d, bool create)
{
	const char *xdg = secure_getenv("XDG_RUNTIME_DIR");
	int r = -ENOENT;

	d->fd = -1;
	if (geteuid() == 0)
		r = rundir_tryf(d, create, "/run/xvmm");
	if (r && xdg && xdg[0] == '/')
		r = rundir_tryf(d, create, "%s/xvmm", xdg);
	if (r)
		r = rundir_tryf(d, create, "/tmp/xvmm-%u", (unsigned)geteuid());
	return r;
}

void rundir_close(struct rundir *d)
{
	if (d->fd >= 0)
		close(d->fd);
	d->fd = -1;
}

int rundir_lock(struct rundir *d)
{
	while (flock(d->fd, LOCK_EX) < 0)
		if (errno != EINTR)
			return -errno;
	return 0;
}

void rundir_unlock(struct rundir *d)
{
	if (d->fd >= 0)
		flock(d->fd, LOCK_UN);
}
