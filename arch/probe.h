/*
 * Finds out by trying what the machine's KVM can run. Implemented once per architecture.
 */
#ifndef ARCH_PROBE_H
#define ARCH_PROBE_H

#include <stddef.h>

enum probe_result {
	PROBE_HARDWARE, /* the guest kernel's instructions run on the processor: stock Linux runs */
	PROBE_SOFTWARE_ONLY, /* they are emulated, and not all of them: tiny guests only */
};

/*
 * Runs a tiny guest on kvm_fd (an open /dev/kvm; borrowed). Takes milliseconds; a guest that hangs
 * is stopped after a second or two. what[] gets one line: what was found, or what failed. Returns
 * an enum probe_result, or -errno: not even that guest runs (-EIO), a capability that xvmm needs is
 * missing (-ENOTSUP), or KVM refused something. Any thread; uses SIGALRM meanwhile.
 */
int arch_probe_kvm(int kvm_fd, char *what, size_t n);

#endif
