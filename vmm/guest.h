/*
 * One guest: what outlives a reboot (I/O thread, consoles) and the policy of how it ends or starts
 * again. Its machine (machine.h) lives from power-on to power-off.
 *
 *   GUEST_OFF ──guest_build──▶ GUEST_BUILT ──guest_start──▶ GUEST_RUNNING ──▶ GUEST_STOPPING
 *                                                              ▲                 │      │
 *                            new machine, perhaps after a while│ reset, crash with│     │else
 *                              (GUEST_RESTARTING)              └─────────────────┘      ▼
 *                                                           on-crash = restart    GUEST_ENDED
 *
 * A machine is taken down on a thread of its own, GUEST_STOPPING meanwhile: the kernel lets the one
 * who closes a VM wait for tens of milliseconds, in which other guests' events must not wait too,
 * and many guests end side by side.
 *
 * Main thread only.
 */
#ifndef VMM_GUEST_H
#define VMM_GUEST_H

#include <pthread.h>

#include "base/loop.h"
#include "vmm/console.h"
#include "vmm/machine.h"

enum guest_state {
	GUEST_OFF,
	GUEST_BUILT,
	GUEST_RUNNING,
	GUEST_STOPPING,
	GUEST_RESTARTING,
	GUEST_ENDED,
};

/* What one of its NICs has counted. */
struct guest_nic {
	unsigned index;		     /* in cfg */
	struct nic_counters past;    /* in machines that are gone */
	struct nic_counters closing; /* GUEST_STOPPING: in the one that goes; guarded by the lock */
};

struct guest {
	const struct guest_config *cfg;
	struct machine_params params;
	enum guest_state state;
	struct machine *machine;
	struct loop io; /* runs while the machine does */
	char io_name[CONFIG_NAME_MAX + 4];
	struct chardev *console, *virtio_console;
	struct loop *main_loop;
	struct loop_work event_work; /* carries an event to the main thread */
	pthread_t teardown;	     /* GUEST_STOPPING: has the machine for itself */
	bool has_teardown;
	struct loop_work down_work; /* the machine is gone */
	bool again;		    /* GUEST_STOPPING: a new machine follows */
	bool asked_to_end;	    /* no new machine any more, whatever the guest does */
	struct loop_timer
		restart_timer; /* a guest that reboots at once, again and again, has to wait */
	unsigned quick_restarts;
	unsigned restarts; /* in all */
	struct guest_nic *nics;
	unsigned nr_nics;
	uint64_t started_ns;
	int exit_status; /* what it adds to the exit status of xvmm; see docs/exit-status in README
			  */
	void (*ended)(void *arg);
	void *ended_arg;

	pthread_mutex_t lock; /* guards the event, and nics[].closing */
	bool event_pending;
	enum machine_event event;
	int event_status;
};

/* Statuses that a guest adds to xvmm's own: the host could not go on with it; it crashed or had to
 * be killed. */
#define EXIT_HOST_FAULT	   1
#define EXIT_GUEST_CRASHED 4

/* params: console, event and arg are filled in here. ended: called on the main loop when the guest
 * has ended for good. Errors: one line on standard error was logged. */
int guest_init(struct guest *g, const struct machine_params *params, struct console_terminal *term,
	       struct loop *main_loop, void (*ended)(void *arg), void *arg);
void guest_fini(struct guest *g); /* not running */

int guest_build(struct guest *g); /* the machine, not yet started; logs the reason if it can't */
/* A guest whose threads can't be made ends: logged, ended() is called. */
void guest_start(struct guest *g);
/* Presses the power button; from now on a reset is an end too. */
void guest_shutdown(struct guest *g);
/* Ends it now; ended() is called soon. why: for the log line. */
void guest_kill(struct guest *g, const char *why);

/* A NIC of this guest, by its index in cfg. Its counters go on over reboots. */
void guest_nic_info(struct guest *g, unsigned nic, struct nic_info *out);
/* -ENODEV: there is no machine now; -ENOTSUP: it is on no switch; those of netswitch_command(). A
 * new machine starts as vm.ini says. */
int guest_nic_swap(struct guest *g, unsigned nic, bool pin, enum binding b);

#endif
