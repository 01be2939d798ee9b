/*
 * The thread of one vCPU: see vcpu.h.
 */
#include "vmm/vcpu.h"

#include <errno.h>
#include <linux/kvm.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "base/log.h"

/* Small: the handlers of devices are shallow, and a lab may have hundreds of vCPUs. */
#define VCPU_STACK_BYTES (256u << 10)

/* A write that is refused is tried again so often, after a pause of a millisecond, if the guest
 * makes no progress: it runs for no longer than that between two of them, and has no other exit. */
#define REFUSED_MAX	    1000
#define REFUSED_PAUSE_NS    1000000
#define REFUSED_PROGRESS_NS 20000000

static void on_kick(int sig)
{
}

void vcpu_setup_signal(void)
{
	struct sigaction sa = { .sa_handler = on_kick }; /* no SA_RESTART: KVM_RUN must return */

	sigaction(VCPU_SIGNAL, &sa, NULL);
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

static uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

/* KVM could not reach the guest's memory: a write to pages that are mapped for reading only, or
 * something worse. Who has mapped them may be about to take that back, on another thread. */
static bool try_again(struct vcpu *v)
{
	static const struct timespec pause = { .tv_nsec = REFUSED_PAUSE_NS };
	uint64_t now = now_ns();

	if (v->refused && now - v->refused_ns > REFUSED_PROGRESS_NS)
		v->refused = 0;
	if (v->refused >= REFUSED_MAX || !v->write_refused || !v->write_refused(v->arg))
		return false;
	if (v->refused++)
		nanosleep(&pause, NULL);
	v->refused_ns = now_ns();
	return true;
}

/*
 * A write to memory that KVM's instruction emulator was refused comes out as if a device were
 * there. Done here, once the page is the guest's own again; inside of the gate, as guest code would
 * do it, so that nobody moves the page meanwhile.
 */
static void write_memory(struct vcpu *v, void *at, const void *data, unsigned len)
{
	while (vcpu_gate_enter(&v->pass)) {
		bool own = !gmem_is_rebound(v->plat->mem, at, len);

		if (own)
			memcpy(at, data, len);
		vcpu_gate_exit(&v->pass);
		if (own)
			return;
		if (!try_again(v)) {
			crashed(v, "a write to memory that may only be read",
				v->run->mmio.phys_addr);
			return;
		}
	}
}

static void handle_mmio(struct vcpu *v)
{
	struct kvm_run *run = v->run;
	uint32_t len = run->mmio.len; /* comes from KVM and is at most 8 */
	void *ram;

	if (!run->mmio.is_write) {
		bus_read(v->plat->mmio, run->mmio.phys_addr, run->mmio.data, len);
		return;
	}
	ram = gmem_ptr(v->plat->mem, run->mmio.phys_addr, len);
	if (ram)
		write_memory(v, ram, run->mmio.data, len);
	else
		bus_write(v->plat->mmio, run->mmio.phys_addr, run->mmio.data, len);
}

static void handle_exit(struct vcpu *v)
{
	struct kvm_run *run = v->run;

	switch (run->exit_reason) {
	case KVM_EXIT_MMIO:
		handle_mmio(v);
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
	sigaddset(&set, VCPU_SIGNAL);
	pthread_sigmask(SIG_UNBLOCK, &set, NULL);

	vcpu_gate_join(v->gate, &v->pass, &v->run->immediate_exit);
	while (vcpu_gate_enter(&v->pass)) {
		int err = ioctl(v->fd, KVM_RUN, 0) ? errno : 0;

		vcpu_gate_exit(&v->pass);
		if (!err) {
			v->refused = 0;
			handle_exit(v);
			continue;
		}
		if (err == EINTR || err == EAGAIN || (err == EFAULT && try_again(v)))
			continue;
		log_error(v->guest, "CPU %u: KVM_RUN: %s", v->index, strerror(err));
		v->event(v->arg, err == EFAULT ? MACHINE_CRASH_KVM : MACHINE_HOST_FAULT, err);
		break;
	}
	vcpu_gate_part(&v->pass);
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

void vcpu_join(struct vcpu *v)
{
	if (!v->started)
		return;
	pthread_join(v->thread, NULL);
	v->started = false;
}
