/*
 * The run directory: what a living xvmm shows of itself to others of the same user: records of what
 * it made on the host (hostnet_record.h), its control socket (control.h).
 *
 * The directory: /run/xvmm for root, else $XDG_RUNTIME_DIR/xvmm, else /tmp/xvmm-UID; mode 0700.
 *
 * Main thread. rundir_lock() serialises against other processes.
 */
#ifndef VMM_RUNDIR_H
#define VMM_RUNDIR_H

#include "base/types.h"

struct rundir {
	int fd; /* -1: none */
	char path[256];
};

/* create: make it if it is missing; otherwise -ENOENT. Errors: -EACCES: exists, but is not a
 * directory that only this user can enter; errno of mkdir(2), open(2). */
int rundir_open(struct rundir *d, bool create);
/* The same for a directory of the caller's choice. */
int rundir_open_at(struct rundir *d, const char *path, bool create);
void rundir_close(struct rundir *d);
int rundir_lock(struct rundir *d);
void rundir_unlock(struct rundir *d);

#endif
