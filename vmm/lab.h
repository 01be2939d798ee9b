/*
 * A running lab: all guests and nets of one vm.ini, and what ends them.
 */
#ifndef VMM_LAB_H
#define VMM_LAB_H

#include "vmm/config.h"

/* Exit statuses of `xvmm run`; a guest that ended through the debug-exit port gives its own. */
enum lab_status {
	LAB_OK = 0,
	LAB_HOST_FAULT = 1,
	LAB_BAD_CONFIG = 2,
	LAB_NO_RIGHTS = 3,
	LAB_GUEST_CRASHED = 4,
};

/*
 * Builds every guest, starts them all, and returns when the last one has ended: the exit status.
 * Nothing is started unless everything could be built. SIGINT, SIGTERM and SIGHUP press every
 * guest's power button; those that have not ended after the lab's time limit are killed; a second
 * signal kills at once. On the main thread, before any other thread exists.
 */
int lab_run(const struct lab_config *cfg);

#endif
