/*
 * The probes' watchdog: see watchdog.h. The thread that probes.
 */
#include "arch/watchdog.h"

#include <errno.h>
#include <linux/kvm.h>
#include <pthread.h>
#include <sys/syscall.h>
#include <unistd.h>

#define TIME_LIMIT_MS 1000
#define AGAIN_MS      50

#ifndef sigev_notify_thread_id
#define sigev_notify_thread_id _sigev_un._tid
#endif

/* How the watchdog reaches the vCPU: by the signal itself if KVM_RUN is under way, by the flag if
 * it is just about to be. */
static void on_time_limit(int sig, siginfo_t *info, void *context)
{
	volatile struct kvm_run *run = info->si_value.sival_ptr;

	run->immediate_exit = 1;
}

int watchdog_start(struct watchdog *w, struct kvm_run *run)
{
	struct sigaction action = { .sa_sigaction = on_time_limit, .sa_flags = SA_SIGINFO };
	struct itimerspec limit = {
		.it_value = { .tv_sec = TIME_LIMIT_MS / 1000,
			      .tv_nsec = TIME_LIMIT_MS % 1000 * 1000000L },
		.it_interval = { .tv_nsec = AGAIN_MS * 1000000L },
	};
	struct sigevent event = { .sigev_notify = SIGEV_THREAD_ID, .sigev_signo = SIGALRM };
	sigset_t alarm_only;

	event.sigev_value.sival_ptr = run;
	event.sigev_notify_thread_id = (pid_t)syscall(SYS_gettid);
	if (timer_create(CLOCK_MONOTONIC, &event, &w->timer) < 0)
		return -errno;
	sigaction(SIGALRM, &action, &w->old_action);
	sigemptyset(&alarm_only);
	sigaddset(&alarm_only, SIGALRM);
	pthread_sigmask(SIG_UNBLOCK, &alarm_only, &w->old_mask);
	timer_settime(w->timer, 0, &limit, NULL);
	return 0;
}

void watchdog_stop(struct watchdog *w)
{
	timer_delete(w->timer);
	pthread_sigmask(SIG_SETMASK, &w->old_mask, NULL);
	sigaction(SIGALRM, &w->old_action, NULL);
}
