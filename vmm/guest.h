/*
 * One guest: what outlives a reboot (I/O thread, consoles) and the policy of how it ends or starts
 * again. Its machine (machine.h) lives from power-on to power-off.
 *
 *   GUEST_OFF ──guest_build──▶ GUEST_BUILT ──guest_start──▶ GUEST_RUNNING ──▶ GUEST_ENDED
 *                                                              │   ▲
 *                                            reset, crash with │   │ new machine
 *                                            on-crash = restart└───┘
 *
 * Main thread only.
 */
#ifndef VMM_GUEST_H
#define VMM_GUEST_H

#include <pthread.h>

#include "base/loop.h"
#include "vmm/console.h"
#include "vmm/machine.h"

enum guest_state { GUEST_OFF, GUEST_BUILT, GUEST_RUNNING, GUEST_RESTARTING, GUEST_ENDED };

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
	struct loop_timer
		restart_timer; /* a guest that reboots at once, again and again, has to wait */
	unsigned quick_restarts;
	unsigned restarts;		/* in all */
	struct nic_counters *past_nics; /* of earlier machines: for each NIC, as in cfg */
	uint64_t started_ns;
	int exit_status; /* what it adds to the exit status of xvmm; see docs/exit-status in README
			  */
	void (*ended)(void *arg);
	void *ended_arg;

	pthread_mutex_t lock; /* guards the event */
	bool event_pending;
	enum machine_event event;
	int event_status;
};

/* Status that a guest adds to xvmm's own when it crashed or had to be killed. */
#define EXIT_GUEST_CRASHED 4

/* params: console, event and arg are filled in here. ended: called on the main loop when the guest
 * has ended for good. Errors: one line on standard error was logged. */
int guest_init(struct guest *g, const struct machine_params *params, struct console_terminal *term,
	       struct loop *main_loop, void (*ended)(void *arg), void *arg);
void guest_fini(struct guest *g); /* not running */

int guest_build(struct guest *g); /* the machine, not yet started; logs the reason if it can't */
int guest_start(struct guest *g);
/* Presses the power button. */
void guest_shutdown(struct guest *g);
/* Ends it now; ended() is called. why: for the log line. */
void guest_kill(struct guest *g, const char *why);

/* A NIC of this guest, by its index in cfg. Its counters go on over reboots. */
void guest_nic_info(struct guest *g, unsigned nic, struct nic_info *out);
/* -ENODEV: there is no machine now; -ENOTSUP: it is on no switch; those of netswitch_command(). A
 * new machine starts as vm.ini says. */
int guest_nic_swap(struct guest *g, unsigned nic, bool pin, enum binding b);

#endif
