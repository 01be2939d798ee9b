/*
 * Records in the run directory. Theory of operation: hostnet_record.h. Main thread; file locks
 * only.
 */
#include "vmm/hostnet_record.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#define RECORD_PREFIX "net-"
#define RECORD_MAGIC  "xvmm-record 1\n"
#define RECORD_BYTES  4096

/* Several network namespaces may share one /run; what a record says holds in its own only. */
static unsigned long long this_netns(void)
{
	struct stat st;

	return stat("/proc/self/ns/net", &st) < 0 ? 0 : (unsigned long long)st.st_ino;
}

int record_create(struct record *r, const struct rundir *d, const char *who,
		  const struct record_bridge *bridge, unsigned nr)
{
	char text[RECORD_BYTES];
	int len, err;

	len = snprintf(text, sizeof(text), RECORD_MAGIC "netns %llu\npid %d\nfor %.64s\n",
		       this_netns(), (int)getpid(), who);
	for (unsigned i = 0; i < nr; i++) {
		const uint8_t *m = bridge[i].mac;

		len += snprintf(text + len, sizeof(text) - len,
				"bridge %s %02x:%02x:%02x:%02x:%02x:%02x\n", bridge[i].name, m[0],
				m[1], m[2], m[3], m[4], m[5]);
		if ((size_t)len >= sizeof(text))
			return -E2BIG;
	}

	/* Process ids are unique in one PID namespace only, and namespaces may share /run. */
	for (unsigned i = 0;; i++) {
		snprintf(r->name, sizeof(r->name), RECORD_PREFIX "%d-%u", (int)getpid(), i);
		r->fd = openat(d->fd, r->name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW,
			       0600);
		if (r->fd >= 0)
			break;
		if (errno != EEXIST || i == 1000)
			return -errno;
	}
	err = flock(r->fd, LOCK_EX | LOCK_NB) < 0 ? -errno : 0;
	if (!err && pwrite(r->fd, text, len, 0) != len)
		err = -EIO;
	if (err)
		record_remove(r, d);
	return err;
}

void record_remove(struct record *r, const struct rundir *d)
{
	if (r->fd < 0)
		return;
	unlinkat(d->fd, r->name, 0);
	close(r->fd);
	r->fd = -1;
}

/* -EINVAL: no record, or cut off before anything was made. -ESTALE: of another namespace. */
static int record_parse(int fd, struct record_bridge *bridge, unsigned *nr)
{
	char text[RECORD_BYTES + 1], *save = NULL;
	unsigned long long netns = 0;
	ssize_t got = pread(fd, text, sizeof(text) - 1, 0);

	*nr = 0;
	if (got < 0)
		return -errno;
	text[got] = '\0';
	if (strncmp(text, RECORD_MAGIC, strlen(RECORD_MAGIC)) || text[got - 1] != '\n')
		return -EINVAL;
	for (char *line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
		struct record_bridge *b = &bridge[*nr];
		uint8_t *m = b->mac;

		if (sscanf(line, "netns %llu", &netns) == 1)
			continue;
		if (*nr < RECORD_MAX_BRIDGES &&
		    sscanf(line, "bridge %15s %2hhx:%2hhx:%2hhx:%2hhx:%2hhx:%2hhx", b->name, &m[0],
			   &m[1], &m[2], &m[3], &m[4], &m[5]) == 7)
			(*nr)++;
	}
	return netns == this_netns() ? 0 : -ESTALE;
}

int record_each_dead(const struct rundir *d,
		     bool (*fn)(void *arg, const struct record_bridge *bridge, unsigned nr),
		     void *arg)
{
	struct record_bridge bridge[RECORD_MAX_BRIDGES];
	struct dirent *e;
	/* A description of its own: fdopendir() moves the offset and closes its descriptor. */
	int fd = openat(d->fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *dir = fd < 0 ? NULL : fdopendir(fd);

	if (!dir) {
		int err = -errno;

		if (fd >= 0)
			close(fd);
		return err;
	}
	while ((e = readdir(dir))) {
		unsigned nr;
		int file, r;

		if (strncmp(e->d_name, RECORD_PREFIX, strlen(RECORD_PREFIX)))
			continue;
		file = openat(d->fd, e->d_name, O_RDWR | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
		if (file < 0)
			continue;
		if (flock(file, LOCK_EX | LOCK_NB) == 0) {
			r = record_parse(file, bridge, &nr);
			if (r == -EINVAL || (r == 0 && fn(arg, bridge, nr)))
				unlinkat(d->fd, e->d_name, 0);
		}
		close(file);
	}
	closedir(dir);
	return 0;
}
