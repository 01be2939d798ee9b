/*
 * Records in the run directory (rundir.h): what each living xvmm has made on the host that outlives
 * a kill -9.
 *
 * One file per process, locked (flock) while the process lives; the kernel drops the lock however
 * it dies. A file that nobody has locked tells the next run what to remove. Only bridges need it:
 * TAPs that xvmm makes are not persistent, the kernel removes them with their descriptor.
 *
 * A bridge is recognised by name and by MAC address. xvmm draws the address at random, writes it
 * down, and only then creates the bridge with it: there is no moment at which a bridge of ours
 * exists unrecorded, and a bridge of the same name that somebody else made is never taken for ours.
 *
 * Main thread. Hold rundir_lock() around every function here and around what it is to be in step
 * with.
 */
#ifndef VMM_HOSTNET_RECORD_H
#define VMM_HOSTNET_RECORD_H

#include <net/if.h>

#include "base/types.h"
#include "vmm/rundir.h"

#define RECORD_MAX_BRIDGES 32

struct record_bridge {
	char name[IFNAMSIZ];
	uint8_t mac[6];
};

struct record {
	int fd; /* -1: none; holds the lock that says "alive" */
	char name[32];
};

/* Writes this process's record; call it before anything is made. who: for readers, without control
 * characters. */
int record_create(struct record *r, const struct rundir *d, const char *who,
		  const struct record_bridge *bridge, unsigned nr);
void record_remove(struct record *r, const struct rundir *d);

/*
 * Calls fn for each record of this network namespace whose process is dead. fn returns true if the
 * record is settled and can go. Returns 0 or -errno of reading the directory; a file that cannot
 * be understood is removed.
 */
int record_each_dead(const struct rundir *d,
		     bool (*fn)(void *arg, const struct record_bridge *bridge, unsigned nr),
		     void *arg);

#endif
