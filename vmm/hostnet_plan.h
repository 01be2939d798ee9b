/*
 * What a lab's nets need on the host, and what of it is not there yet: hostnet_open()'s first half.
 * It opens TAPs, but changes nothing else; the rest is two lists of commands.
 *
 * Main thread.
 */
#ifndef VMM_HOSTNET_PLAN_H
#define VMM_HOSTNET_PLAN_H

#include <stdio.h>

#include "vmm/config.h"
#include "vmm/hostnet_link.h"
#include "vmm/hostnet_record.h"

struct plan {
	const struct lab_config *cfg;
	FILE *err;
	struct link_table links; /* what there was before */

	int *opened; /* room for each net and NIC; to be closed by the caller, also after an error
		      */
	unsigned nr_opened;
	/* TAPs that the plan has made, each for a port of a bridge. */
	char (*new_port)[IFNAMSIZ];
	unsigned nr_new_ports;
	bool *filters; /* by net, see hostnet_bridge_filters(); the caller's */
	/* Bridges that xvmm made, or will by batch_text, and that this lab uses. */
	struct record_bridge ours[RECORD_MAX_BRIDGES];
	unsigned nr_ours;

	bool denied;			/* rights were missing to open a TAP */
	char *batch_text, *advice_text; /* for `ip -batch`; for the user: "sudo ip …" lines */
	size_t batch_bytes, advice_bytes;

	FILE *batch, *advice;
	bool ipv6;
	char user[40];
	char alias[64];
};

/* Whether the net has a NIC and needs anything of the host. */
bool plan_net_is_used(const struct lab_config *cfg, unsigned net);

/*
 * Fills in fds[] and net_fds[] as hostnet_open() says, filters[] (which is all false), and the
 * lists. Errors were reported on err;
 * rights that are missing are no error here. plan_fini() either way.
 */
int plan_make(struct plan *p, const struct lab_config *cfg, FILE *err, int *opened, int *fds,
	      int *net_fds, bool *filters);
void plan_fini(struct plan *p);

#endif
