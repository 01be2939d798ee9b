/*
 * Host side of the nets: TAP devices and bridges, made with `ip -batch` and removed afterwards,
 * only what this process made.
 *
 * A record of what was made is kept in a run directory (/run/xvmm or $XDG_RUNTIME_DIR/xvmm), locked
 * (flock) by the process that lives; the next run removes what a killed one left behind.
 *
 * Main thread only.
 */
#ifndef VMM_HOSTNET_H
#define VMM_HOSTNET_H

#include "vmm/config.h"

struct hostnet;

/*
 * Opens (or creates, raises and enslaves) what every net of the lab needs. `fds[nic]` is then an
 * open TAP for each NIC on a bridge: net, -1 for others; `net_fds[net]` the one TAP of a tap: net
 * with at least one NIC, -1 for others. All are non-blocking, close-on-exec, IFF_VNET_HDR with a
 * header of VNET_HDR_BYTES. TAPs made for a bridge have no queueing discipline: frames leave the
 * bridge in the order in which they came, whatever flow they are of. Where that cannot be set, a
 * warning says so.
 *
 * tap:NAME that exists is used and left as it is found (but raised); one that does not is created
 * and removed afterwards. bridge:NAME must not be created silently on a user's host if it is
 * missing: it is created (and removed afterwards) too, without any address.
 *
 * Errors: -EPERM: rights are missing; the exact `sudo ip …` lines that would help were printed on
 * `err` (exit status 3). Others: one line was printed on `err`. On error everything made so far was
 * removed again.
 */
int hostnet_open(struct hostnet **out, const struct lab_config *cfg, FILE *err, int *fds,
		 int *net_fds);
/*
 * Whether the net's bridge decides who may talk to whom: it filters by VLAN, or a TAP that was
 * there is an isolated port. As hostnet_open() found it; false for other nets. What goes past such
 * a bridge would go past its rules.
 */
bool hostnet_bridge_filters(const struct hostnet *h, unsigned net);
/* Closes the TAPs and removes what hostnet_open() made. */
void hostnet_close(struct hostnet *h);

/* Removes what processes that no longer live have left behind (also done by hostnet_open). Returns
 * how many things were removed, or -errno. */
int hostnet_sweep(FILE *err);

#endif
