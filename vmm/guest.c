/*
 * One guest: see guest.h. Main thread; on_event() comes from any and only leaves a note.
 */
#include "vmm/guest.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/log.h"

/* Five restarts of less than a second each are let through, then one a second. */
#define QUICK_NS	 1000000000ull
#define QUICK_MAX	 5
#define RESTART_DELAY_NS 1000000000ull

static uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000ull + (uint64_t)ts.tv_nsec;
}

/* Any thread. The first event counts: what a machine that is being stopped still says does not. */
static void on_event(void *arg, enum machine_event ev, int status)
{
	struct guest *g = arg;

	pthread_mutex_lock(&g->lock);
	if (!g->event_pending) {
		g->event_pending = true;
		g->event = ev;
		g->event_status = status;
	}
	pthread_mutex_unlock(&g->lock);
	loop_post(g->main_loop, &g->event_work);
}

static struct guest_nic *find_nic(struct guest *g, unsigned nic)
{
	for (unsigned i = 0; i < g->nr_nics; i++) {
		if (g->nics[i].index == nic)
			return &g->nics[i];
	}
	return NULL;
}

static int init_nics(struct guest *g)
{
	const struct lab_config *cfg = g->params.cfg;

	unsigned n = 0;

	for (unsigned i = 0; i < cfg->nr_nics; i++)
		n += cfg->nic[i].guest == g->params.guest;
	g->nics = calloc(n + 1, sizeof(*g->nics));
	if (!g->nics)
		return -ENOMEM;
	for (unsigned i = 0; i < cfg->nr_nics; i++) {
		if (cfg->nic[i].guest == g->params.guest)
			g->nics[g->nr_nics++].index = i;
	}
	return 0;
}

/* Who has the machine: once before it is stopped, so that counters never seem to go back, and once
 * after that, when they are final. */
static void note_counters(struct guest *g)
{
	struct nic_info info;

	for (unsigned i = 0; i < g->nr_nics; i++) {
		if (machine_nic_info(g->machine, g->nics[i].index, &info))
			continue;
		pthread_mutex_lock(&g->lock);
		g->nics[i].closing = info.counters;
		pthread_mutex_unlock(&g->lock);
	}
}

/* The machine is gone. */
static void keep_counters(struct guest *g)
{
	for (unsigned i = 0; i < g->nr_nics; i++) {
		nic_counters_add(&g->nics[i].past, &g->nics[i].closing);
		memset(&g->nics[i].closing, 0, sizeof(g->nics[i].closing));
	}
}

static void free_machine(struct guest *g)
{
	machine_stop(g->machine);
	note_counters(g);
	machine_destroy(g->machine);
	g->machine = NULL;
}

static void *teardown_main(void *arg)
{
	struct guest *g = arg;

	free_machine(g);
	loop_post(g->main_loop, &g->down_work);
	return NULL;
}

static void join_teardown(struct guest *g)
{
	if (g->has_teardown)
		pthread_join(g->teardown, NULL);
	g->has_teardown = false;
}

static void stop(struct guest *g, bool again)
{
	note_counters(g);
	g->state = GUEST_STOPPING;
	g->again = again;
	g->has_teardown = !pthread_create(&g->teardown, NULL, teardown_main, g);
	if (!g->has_teardown) /* then the others have to wait */
		teardown_main(g);
}

static void has_ended(struct guest *g)
{
	loop_timer_cancel(&g->restart_timer);
	g->state = GUEST_ENDED;
	g->ended(g->ended_arg);
}

static void build_and_start(struct guest *g)
{
	g->restarts++;
	if (guest_build(g)) {
		g->exit_status = EXIT_HOST_FAULT;
		has_ended(g);
		return;
	}
	guest_start(g);
}

static void on_down_work(struct loop_work *w)
{
	struct guest *g = container_of(w, struct guest, down_work);

	join_teardown(g);
	keep_counters(g);
	/* Nothing of the old machine runs any more. */
	pthread_mutex_lock(&g->lock);
	g->event_pending = false;
	pthread_mutex_unlock(&g->lock);
	if (!g->again || g->asked_to_end) {
		has_ended(g);
	} else if (g->quick_restarts > QUICK_MAX) {
		g->state = GUEST_RESTARTING;
		loop_timer_arm(&g->restart_timer, RESTART_DELAY_NS);
	} else {
		build_and_start(g);
	}
}

static void on_restart_timer(struct loop_timer *t)
{
	struct guest *g = container_of(t, struct guest, restart_timer);

	if (g->state == GUEST_RESTARTING)
		build_and_start(g);
}

static void restart(struct guest *g)
{
	bool quick = now_ns() - g->started_ns < QUICK_NS;

	g->quick_restarts = quick ? g->quick_restarts + 1 : 0;
	stop(g, true);
}

static void end(struct guest *g)
{
	stop(g, false);
}

static void reboot_or_end(struct guest *g, const char *what, const char *key,
			  enum end_action action, int status)
{
	if (action == END_RESTART && !g->asked_to_end) {
		log_info(g->cfg->name, "%s; starting again", what);
		restart(g);
		return;
	}
	if (action == END_RESTART)
		log_info(g->cfg->name, "%s; stopped, as it was asked to", what);
	else
		log_info(g->cfg->name, "%s; stopped (%s = stop)", what, key);
	if (status)
		g->exit_status = status;
	end(g);
}

static void on_event_work(struct loop_work *w)
{
	struct guest *g = container_of(w, struct guest, event_work);
	enum machine_event ev;
	bool pending;
	int status;

	pthread_mutex_lock(&g->lock);
	pending = g->event_pending;
	ev = g->event;
	status = g->event_status;
	pthread_mutex_unlock(&g->lock);
	if (!pending || g->state != GUEST_RUNNING)
		return;

	switch (ev) {
	case MACHINE_POWEROFF:
		log_info(g->cfg->name, "powered off");
		end(g);
		break;
	case MACHINE_RESET:
		reboot_or_end(g, "reset", "on-reboot", g->cfg->on_reboot, 0);
		break;
	case MACHINE_CRASH_TRIPLE_FAULT:
		reboot_or_end(g, "triple fault", "on-crash", g->cfg->on_crash, EXIT_GUEST_CRASHED);
		break;
	case MACHINE_CRASH_KVM:
		reboot_or_end(g, "crashed", "on-crash", g->cfg->on_crash, EXIT_GUEST_CRASHED);
		break;
	case MACHINE_CRASH_PANIC:
		reboot_or_end(g, "kernel panic", "on-crash", g->cfg->on_crash, EXIT_GUEST_CRASHED);
		break;
	case MACHINE_DEBUG_EXIT:
		log_info(g->cfg->name, "ended through the debug-exit port with status %d", status);
		g->exit_status = status;
		end(g);
		break;
	case MACHINE_HOST_FAULT:
		log_error(g->cfg->name, "ended: %s", strerror(status));
		g->exit_status = EXIT_HOST_FAULT;
		end(g);
		break;
	}
}

int guest_init(struct guest *g, const struct machine_params *params, struct console_terminal *term,
	       struct loop *main_loop, void (*ended)(void *arg), void *arg)
{
	const char *what = "counters";
	int rc;

	memset(g, 0, sizeof(*g));
	g->cfg = &params->cfg->guest[params->guest];
	g->params = *params;
	g->main_loop = main_loop;
	g->event_work.fn = on_event_work;
	g->down_work.fn = on_down_work;
	g->ended = ended;
	g->ended_arg = arg;
	pthread_mutex_init(&g->lock, NULL);
	rc = init_nics(g);
	if (rc)
		goto out_lock;
	what = "I/O thread";
	snprintf(g->io_name, sizeof(g->io_name), "%.12s/io", g->cfg->name);
	rc = loop_init(&g->io, g->io_name);
	if (rc)
		goto out_lock;
	rc = loop_timer_init(main_loop, &g->restart_timer, on_restart_timer);
	if (rc)
		goto out_loop;
	what = "console";
	rc = console_open(&g->console, &g->cfg->console, g->cfg->name, term, &g->io);
	if (rc)
		goto out_timer;
	if (g->cfg->virtio_console.kind != CONSOLE_NONE) {
		what = "virtio-console";
		rc = console_open(&g->virtio_console, &g->cfg->virtio_console, g->cfg->name, term,
				  &g->io);
		if (rc)
			goto out_console;
	}
	g->params.loop = &g->io;
	g->params.console = g->console;
	g->params.virtio_console = g->virtio_console;
	g->params.event = on_event;
	g->params.arg = g;
	return 0;

out_console:
	console_close(g->console);
out_timer:
	loop_timer_fini(main_loop, &g->restart_timer);
out_loop:
	loop_fini(&g->io);
out_lock:
	free(g->nics);
	pthread_mutex_destroy(&g->lock);
	log_error(g->cfg->name, "%s: %s", what, strerror(-rc));
	return rc;
}

void guest_fini(struct guest *g)
{
	join_teardown(g);
	if (g->machine)
		free_machine(g);
	if (g->virtio_console)
		console_close(g->virtio_console);
	console_close(g->console);
	loop_timer_fini(g->main_loop, &g->restart_timer);
	loop_fini(&g->io);
	free(g->nics);
	pthread_mutex_destroy(&g->lock);
}

int guest_build(struct guest *g)
{
	char why[512] = "";
	int rc;

	rc = machine_create(&g->machine, &g->params, why, sizeof(why));
	if (rc) {
		log_error(g->cfg->name, "%s", why);
		return rc;
	}
	g->state = GUEST_BUILT;
	return 0;
}

void guest_start(struct guest *g)
{
	int rc;

	/* Before the guest can say anything itself. */
	log_info(g->cfg->name, "starts: %s, %u CPU%s, %llu MiB", machine_protocol(g->machine),
		 g->cfg->cpus, g->cfg->cpus > 1 ? "s" : "",
		 (unsigned long long)(g->cfg->memory_bytes >> 20));
	g->started_ns = now_ns();
	g->state = GUEST_RUNNING;
	rc = machine_start(g->machine);
	if (rc) {
		log_error(g->cfg->name, "threads: %s", strerror(-rc));
		g->exit_status = EXIT_HOST_FAULT;
		end(g);
	}
}

void guest_shutdown(struct guest *g)
{
	g->asked_to_end = true;
	if (g->state == GUEST_RUNNING)
		machine_power_button(g->machine);
	else if (g->state == GUEST_RESTARTING)
		has_ended(g);
}

void guest_kill(struct guest *g, const char *why)
{
	g->asked_to_end = true;
	if (g->state == GUEST_RUNNING) {
		log_info(g->cfg->name, "%s", why);
		g->exit_status = EXIT_GUEST_CRASHED;
		end(g);
	} else if (g->state == GUEST_RESTARTING) {
		has_ended(g);
	}
}

void guest_nic_info(struct guest *g, unsigned nic, struct nic_info *out)
{
	bool has_machine = g->state == GUEST_BUILT || g->state == GUEST_RUNNING;
	struct guest_nic *n = find_nic(g, nic);

	if (!n || !has_machine || machine_nic_info(g->machine, nic, out))
		memset(out, 0, sizeof(*out));
	if (!n)
		return;
	nic_counters_add(&out->counters, &n->past);
	pthread_mutex_lock(&g->lock);
	nic_counters_add(&out->counters, &n->closing);
	pthread_mutex_unlock(&g->lock);
}

int guest_nic_swap(struct guest *g, unsigned nic, bool pin, enum binding b)
{
	return g->state == GUEST_RUNNING ? machine_nic_swap(g->machine, nic, pin, b) : -ENODEV;
}
