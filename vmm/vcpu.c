/*
 * The thread of one vCPU: see vcpu.h.
 */
#include "vmm/vcpu.h"

#include <errno.h>
#include <linux/kvm.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/log.h"

#define KICK_SIGNAL SIGRTMIN

/* Small: the handlers of devices are shallow, and a lab may have hundreds of vCPUs. */
#define VCPU_STACK_BYTES (256u << 10)

static void on_kick(int sig)
{
}

void vcpu_setup_signal(void)
{
	struct sigaction sa = { .sa_handler = on_kick }; /* no SA_RESTART: KVM_RUN must return */

	sigaction(KICK_SIGNAL, &sa, NULL);
}

int vcpu_create(struct vcpu *v, const struct kvm_host *kvm, int vm_fd, unsigned index)
{
	int rc;

	v->index = index;
	v->run_bytes = kvm->run_bytes;
	v->fd = ioctl(vm_fd, KVM_CREATE_VCPU, (unsigned long)index);
	if (v->fd < 0)
		return -errno;
	v->run = mmap(NULL, v->run_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, v->fd, 0);
	if (v->run == MAP_FAILED) {
		rc = -errno;
		v->run = NULL;
		close(v->fd);
		v->fd = -1;
		return rc;
	}
	return 0;
}

void vcpu_destroy(struct vcpu *v)
{
	if (v->run)
		munmap(v->run, v->run_bytes);
	if (v->fd >= 0)
		close(v->fd);
	v->run = NULL;
	v->fd = -1;
}

static void crashed(struct vcpu *v, const char *what, uint64_t detail)
{
	char regs[512];

	arch_vcpu_describe(v->fd, regs, sizeof(regs));
	log_warn(v->guest, "CPU %u: %s (%#llx): %s", v->index, what, (unsigned long long)detail,
		 regs);
	v->event(v->arg, MACHINE_CRASH_KVM, 0);
}

static void system_event(struct vcpu *v)
{
	switch (v->run->system_event.type) {
	case KVM_SYSTEM_EVENT_SHUTDOWN:
		v->event(v->arg, MACHINE_POWEROFF, 0);
		break;
	case KVM_SYSTEM_EVENT_RESET:
		v->event(v->arg, MACHINE_RESET, 0);
		break;
	default:
		v->event(v->arg, MACHINE_CRASH_PANIC, 0);
		break;
	}
}

static void handle_exit(struct vcpu *v)
{
	struct kvm_run *run = v->run;

	switch (run->exit_reason) {
	case KVM_EXIT_MMIO:
		/* The length comes from KVM and is at most 8. */
		if (run->mmio.is_write)
			bus_write(v->plat->mmio, run->mmio.phys_addr, run->mmio.data,
				  run->mmio.len);
		else
			bus_read(v->plat->mmio, run->mmio.phys_addr, run->mmio.data, run->mmio.len);
		return;
	case KVM_EXIT_INTR:
	case KVM_EXIT_IRQ_WINDOW_OPEN:
		return;
	case KVM_EXIT_SHUTDOWN:
		v->event(v->arg, MACHINE_CRASH_TRIPLE_FAULT, 0);
		return;
	case KVM_EXIT_SYSTEM_EVENT:
		system_event(v);
		return;
	case KVM_EXIT_INTERNAL_ERROR:
		crashed(v, "KVM can't emulate what the guest does", run->internal.suberror);
		return;
	case KVM_EXIT_FAIL_ENTRY:
		crashed(v, "the processor refuses the guest's state",
			run->fail_entry.hardware_entry_failure_reason);
		return;
	default:
		if (arch_vcpu_exit(v->plat, v->fd, run) != 1)
			crashed(v, "unexpected exit reason", run->exit_reason);
		return;
	}
}

static void *vcpu_main(void *arg)
{
	struct vcpu *v = arg;
	char name[16];
	sigset_t set;

	snprintf(name, sizeof(name), "%.10s/%u", v->guest, v->index);
	pthread_setname_np(pthread_self(), name);
	sigemptyset(&set);
	sigaddset(&set, KICK_SIGNAL);
	pthread_sigmask(SIG_UNBLOCK, &set, NULL);

	while (!atomic_load(v->leave)) {
		if (!ioctl(v->fd, KVM_RUN, 0)) {
			handle_exit(v);
			continue;
		}
		if (errno == EINTR || errno == EAGAIN)
			continue;
		log_error(v->guest, "CPU %u: KVM_RUN: %s", v->index, strerror(errno));
		v->event(v->arg, errno == EFAULT ? MACHINE_CRASH_KVM : MACHINE_HOST_FAULT, errno);
		break;
	}
	return NULL;
}

int vcpu_start(struct vcpu *v)
{
	pthread_attr_t attr;
	int rc;

	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, VCPU_STACK_BYTES);
	rc = pthread_create(&v->thread, &attr, vcpu_main, v);
	pthread_attr_destroy(&attr);
	v->started = !rc;
	return -rc;
}

void vcpu_kick(struct vcpu *v)
{
	if (!v->started)
		return;
	/* The flag catches the moment between the test of `leave` and KVM_RUN; the signal ends a
	 * KVM_RUN that is under way. */
	__atomic_store_n(&v->run->immediate_exit, 1, __ATOMIC_SEQ_CST);
	pthread_kill(v->thread, KICK_SIGNAL);
}

void vcpu_join(struct vcpu *v)
{
	if (!v->started)
		return;
	pthread_join(v->thread, NULL);
	v->started = false;
}
