/*
 * The socket files of running labs in the run directory, RUN_DIR/LAB.sock: how to open one's own,
 * and to find those of others. A file that nobody listens on is what a killed lab has left behind.
 *
 * Main thread. The run directory's lock is taken where needed.
 */
#ifndef VMM_LAB_SOCKET_H
#define VMM_LAB_SOCKET_H

#include <sys/types.h>

#include "vmm/config.h"
#include "vmm/rundir.h"

#define LAB_SOCKET_SUFFIX ".sock"

struct lab_socket {
	int fd;		   /* listens, non-blocking; -1: none */
	struct rundir dir; /* a descriptor of its own */
	char name[CONFIG_NAME_MAX + sizeof(LAB_SOCKET_SUFFIX)];
	/* Of the file, to remove only our own. */
	dev_t dev;
	ino_t ino;
};

/* Makes the file (mode 0600) and listens; removes stale ones of any name. Errors: -EADDRINUSE: a
 * lab of this name is running; those of socket(2), bind(2). On error nothing is left. */
int lab_socket_listen(struct lab_socket *s, const struct rundir *dir, const char *lab);
/* Closes and removes it, unless somebody else's has taken its place. Idempotent. */
void lab_socket_close(struct lab_socket *s);

/* A connected, blocking socket, on which nothing takes longer than timeout_s (0: no limit), or
 * -errno: -ENOENT, -ECONNREFUSED: no such lab is running; -EAGAIN: it does not answer. */
int lab_socket_connect(const char *path, unsigned timeout_s);
void lab_socket_set_timeout(int fd, unsigned timeout_s);
/* Calls fn for each lab that listens. Returns how many there are, or -errno. */
int lab_socket_each(const struct rundir *d, void (*fn)(void *arg, const char *lab), void *arg);

#endif
