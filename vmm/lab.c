/*
 * A running lab: see lab.h. Main thread.
 *
 * Signals are blocked in every thread and read from a signalfd, so that nothing but the terminal's
 * emergency restore runs in a handler.
 */
#include "vmm/lab.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "base/log.h"
#include "base/loop.h"
#include "base/vnet.h"
#include "vmm/control.h"
#include "vmm/guest.h"
#include "vmm/hostnet.h"
#include "vmm/tap.h"
#include "vmm/vcpu.h"
#include "xtalk/netswitch.h"
#include "xtalk/remapper.h"

struct lab {
	const struct lab_config *cfg;
	struct kvm_host kvm;
	struct loop loop;
	struct loop_fd signals;
	struct loop_timer kill_timer;
	struct loop_work end_work; /* Ctrl-A x on the terminal */
	bool shutting_down;
	struct console_terminal *terminal;
	struct hostnet *hostnet;
	int *tap_fds, *net_fds;
	struct nic_backend *nics;
	struct netswitch **sw;
	struct remapper *remapper;
	struct guest *guest;
	unsigned nr_guests; /* initialised */
	struct lab_view view;
	struct control *control;
};

/* For the handler of fatal signals only: whose terminal to restore before the process dies. */
static struct console_terminal *volatile lab_crash_terminal;

static void on_fatal_signal(int sig)
{
	struct console_terminal *t = lab_crash_terminal;

	if (t)
		console_terminal_restore(t);
	/* SA_RESETHAND: the default action follows. */
	raise(sig);
}

static void catch_fatal_signals(void)
{
	static const int fatal[] = { SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGABRT };
	struct sigaction sa = { .sa_handler = on_fatal_signal, .sa_flags = (int)SA_RESETHAND };

	for (size_t i = 0; i < ARRAY_SIZE(fatal); i++)
		sigaction(fatal[i], &sa, NULL);
	signal(SIGPIPE, SIG_IGN);
}

static void kill_all(struct lab *lab, const char *why)
{
	for (unsigned i = 0; i < lab->nr_guests; i++)
		guest_kill(&lab->guest[i], why);
}

static void shut_down(struct lab *lab)
{
	if (lab->shutting_down) {
		kill_all(lab, "killed");
		return;
	}
	lab->shutting_down = true;
	log_info(NULL,
		 "asking every guest to shut down; %u s until they are killed, or at once at a "
		 "second signal",
		 lab->cfg->shutdown_timeout_s);
	for (unsigned i = 0; i < lab->nr_guests; i++)
		guest_shutdown(&lab->guest[i]);
	loop_timer_arm(&lab->kill_timer, lab->cfg->shutdown_timeout_s * 1000000000ull);
}

static void on_kill_timer(struct loop_timer *t)
{
	kill_all(container_of(t, struct lab, kill_timer), "killed: did not shut down in time");
}

static void on_signal(struct loop_fd *h, uint32_t events)
{
	struct lab *lab = container_of(h, struct lab, signals);
	struct signalfd_siginfo si;

	while (read(h->fd, &si, sizeof(si)) == sizeof(si))
		shut_down(lab);
}

/* On the loop of the interactive guest. */
static void on_terminal_end(void *arg)
{
	struct lab *lab = arg;

	loop_post(&lab->loop, &lab->end_work);
}

static void on_end_work(struct loop_work *w)
{
	shut_down(container_of(w, struct lab, end_work));
}

static void on_guest_ended(void *arg)
{
	struct lab *lab = arg;

	for (unsigned i = 0; i < lab->nr_guests; i++) {
		if (lab->guest[i].state != GUEST_ENDED)
			return;
	}
	loop_quit(&lab->loop);
}

/* A lab of many guests needs many descriptors: take what the hard limit allows. */
static void raise_limits(void)
{
	struct rlimit r;

	if (!getrlimit(RLIMIT_NOFILE, &r) && r.rlim_cur < r.rlim_max) {
		r.rlim_cur = r.rlim_max;
		setrlimit(RLIMIT_NOFILE, &r);
	}
}

/* The signals that end a lab. One that whoever started us has ignored (nohup) stays ignored: a
 * blocked signal would come all the same. */
static void end_signals(sigset_t *set)
{
	struct sigaction hup;

	sigemptyset(set);
	sigaddset(set, SIGINT);
	sigaddset(set, SIGTERM);
	if (sigaction(SIGHUP, NULL, &hup) || hup.sa_handler != SIG_IGN)
		sigaddset(set, SIGHUP);
}

/* First of all: a signal while nets and guests are being built must not leave them behind. */
static void block_signals(void)
{
	sigset_t set;

	end_signals(&set);
	pthread_sigmask(SIG_BLOCK, &set, NULL);
}

static bool interrupted(void)
{
	sigset_t set;

	return !sigpending(&set) && (sigismember(&set, SIGINT) || sigismember(&set, SIGTERM) ||
				     sigismember(&set, SIGHUP));
}

static int open_signals(struct lab *lab)
{
	sigset_t set;
	int rc;

	end_signals(&set);
	lab->signals.fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	if (lab->signals.fd < 0)
		return -errno;
	lab->signals.fn = on_signal;
	rc = loop_add(&lab->loop, &lab->signals, EPOLLIN);
	if (rc)
		return rc;
	return loop_timer_init(&lab->loop, &lab->kill_timer, on_kill_timer);
}

static enum xtalk_mode net_mode(const struct net_config *net)
{
	switch (net->crosstalk) {
	case CROSSTALK_STATIC:
		return XTALK_STATIC;
	case CROSSTALK_DYNAMIC:
		return XTALK_DYNAMIC;
	default:
		return XTALK_OFF;
	}
}

static int open_switch(struct lab *lab, unsigned n)
{
	const struct net_config *net = &lab->cfg->net[n];
	struct netswitch_params params = {
		.name = net->name,
		.uplink_fd = -1,
		.rules = { .mode = net_mode(net),
			   .threshold = net->crosstalk_threshold,
			   .share_percent = net->crosstalk_share,
			   .window = net->crosstalk_window,
			   .hold_us = net->receiver_hold_us,
			   .map = net->sharing == SHARING_AUTO,
			   .slot_deadline_us = net->slot_deadline_us },
		.remapper = lab->remapper,
	};
	unsigned users = 0;
	int rc;

	for (unsigned i = 0; i < lab->cfg->nr_nics; i++)
		users += lab->cfg->nic[i].net == n;
	if (!users)
		return 0;
	/* A NIC that is alone on its TAP has a physical device of its own too. */
	params.own_uplinks =
		net->uplink == UPLINK_BRIDGE || (net->uplink == UPLINK_TAP && users == 1);
	if (net->uplink == UPLINK_TAP && !params.own_uplinks) {
		params.uplink_fd = lab->net_fds[n];
		/* The switch completes what a receiver can't: the host need not segment for it. */
		tap_set_offload(params.uplink_fd, VNET_RX_OFFLOADS);
	}
	if (hostnet_bridge_filters(lab->hostnet, n) && params.rules.mode != XTALK_OFF) {
		log_info(net->name, "the bridge has rules of its own about who may talk to whom: "
				    "cross-talk stays off");
		params.rules.mode = XTALK_OFF;
	}
	rc = netswitch_create(&lab->sw[n], &params);
	if (rc)
		log_error(net->name, "switch: %s", strerror(-rc));
	for (unsigned i = 0; !rc && i < lab->cfg->nr_nics; i++) {
		if (lab->cfg->nic[i].net != n)
			continue;
		lab->nics[i].sw = lab->sw[n];
		lab->nics[i].tap_fd = !params.own_uplinks	     ? -1
				      : net->uplink == UPLINK_BRIDGE ? lab->tap_fds[i]
								     : lab->net_fds[n];
	}
	return rc;
}

static int open_nets(struct lab *lab)
{
	const struct lab_config *cfg = lab->cfg;
	int rc;

	lab->tap_fds = calloc(cfg->nr_nics + 1, sizeof(int));
	lab->net_fds = calloc(cfg->nr_nets + 1, sizeof(int));
	lab->nics = calloc(cfg->nr_nics + 1, sizeof(*lab->nics));
	lab->sw = calloc(cfg->nr_nets + 1, sizeof(*lab->sw));
	if (!lab->tap_fds || !lab->net_fds || !lab->nics || !lab->sw) {
		log_error(NULL, "nets: %s", strerror(ENOMEM));
		return -ENOMEM;
	}
	rc = hostnet_open(&lab->hostnet, cfg, stderr, lab->tap_fds, lab->net_fds);
	if (rc)
		return rc;
	rc = remapper_create(&lab->remapper);
	if (rc) {
		log_error(NULL, "remapper: %s", strerror(-rc));
		return rc;
	}
	for (unsigned n = 0; n < cfg->nr_nets && !rc; n++)
		rc = open_switch(lab, n);
	return rc;
}

static void close_nets(struct lab *lab)
{
	for (unsigned n = 0; lab->sw && n < lab->cfg->nr_nets; n++) {
		if (lab->sw[n])
			netswitch_destroy(lab->sw[n]);
	}
	remapper_destroy(lab->remapper);
	if (lab->hostnet)
		hostnet_close(lab->hostnet);
	free(lab->sw);
	free(lab->nics);
	free(lab->net_fds);
	free(lab->tap_fds);
}

static int open_terminal(struct lab *lab)
{
	unsigned users = 0;

	for (unsigned i = 0; i < lab->cfg->nr_guests; i++) {
		users += lab->cfg->guest[i].console.kind == CONSOLE_STDIO;
		users += lab->cfg->guest[i].virtio_console.kind == CONSOLE_STDIO;
	}
	if (!users)
		return 0;
	return console_terminal_create(&lab->terminal, STDIN_FILENO, STDOUT_FILENO, users,
				       on_terminal_end, lab);
}

static int build_guests(struct lab *lab)
{
	struct machine_params params = { .kvm = &lab->kvm, .cfg = lab->cfg, .nics = lab->nics };
	int rc;

	lab->guest = calloc(lab->cfg->nr_guests, sizeof(*lab->guest));
	if (!lab->guest) {
		log_error(NULL, "guests: %s", strerror(ENOMEM));
		return -ENOMEM;
	}
	for (unsigned i = 0; i < lab->cfg->nr_guests; i++) {
		params.guest = i;
		rc = guest_init(&lab->guest[i], &params, lab->terminal, &lab->loop, on_guest_ended,
				lab);
		if (rc)
			return rc;
		lab->nr_guests++;
		if (interrupted())
			return -EINTR;
		rc = guest_build(&lab->guest[i]);
		if (rc)
			return rc;
	}
	return 0;
}

static int exit_status(const struct lab *lab)
{
	for (unsigned i = 0; i < lab->nr_guests; i++) {
		if (lab->guest[i].exit_status)
			return lab->guest[i].exit_status;
	}
	return LAB_OK;
}

static int build(struct lab *lab)
{
	char why[256] = "";
	int rc;

	rc = kvm_open(&lab->kvm, why, sizeof(why));
	if (rc) {
		log_error(NULL, "%s", why);
		return rc == -EACCES || rc == -EPERM ? LAB_NO_RIGHTS : LAB_HOST_FAULT;
	}
	rc = open_nets(lab);
	if (rc)
		return rc == -EPERM ? LAB_NO_RIGHTS : LAB_HOST_FAULT;
	rc = open_signals(lab);
	if (!rc)
		rc = open_terminal(lab);
	if (rc) {
		log_error(NULL, "set-up: %s", strerror(-rc));
		return LAB_HOST_FAULT;
	}
	lab_crash_terminal = lab->terminal;
	rc = build_guests(lab);
	if (rc == -EINTR || interrupted()) {
		log_info(NULL, "ended by a signal before any guest was started");
		return LAB_GUEST_CRASHED;
	}
	return rc ? LAB_HOST_FAULT : LAB_OK;
}

int lab_run(const struct lab_config *cfg)
{
	struct lab lab = { .cfg = cfg, .kvm.fd = -1, .signals.fd = -1 };
	int status, rc;

	block_signals();
	raise_limits();
	catch_fatal_signals();
	vcpu_setup_signal();
	lab.end_work.fn = on_end_work;
	rc = loop_init(&lab.loop, "xvmm");
	if (rc) {
		log_error(NULL, "set-up: %s", strerror(-rc));
		return LAB_HOST_FAULT;
	}

	status = build(&lab);
	if (status == LAB_OK) {
		lab.view = (struct lab_view){
			.cfg = cfg,
			.guest = lab.guest,
			.sw = lab.sw,
			.remapper = lab.remapper,
			.ops = &lab_view_ops,
		};
		/* Without it the lab runs just as well, and a warning was logged. */
		control_create(&lab.control, &lab.loop, &lab.view);
		for (unsigned i = 0; i < lab.nr_guests; i++)
			guest_start(&lab.guest[i]);
		loop_run(&lab.loop);
		status = exit_status(&lab);
	}

	control_destroy(lab.control);
	for (unsigned i = 0; i < lab.nr_guests; i++)
		guest_fini(&lab.guest[i]);
	free(lab.guest);
	lab_crash_terminal = NULL;
	if (lab.terminal)
		console_terminal_destroy(lab.terminal);
	close_nets(&lab);
	loop_timer_fini(&lab.loop, &lab.kill_timer);
	loop_del(&lab.loop, &lab.signals);
	if (lab.signals.fd >= 0)
		close(lab.signals.fd);
	kvm_close(&lab.kvm);
	loop_fini(&lab.loop);
	return status;
}
