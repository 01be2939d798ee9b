/* What tests that need /dev/kvm share. */
#ifndef TESTS_UNIT_KVM_KIT_H
#define TESTS_UNIT_KVM_KIT_H

#include <stdbool.h>
#include <stdio.h>

#include "vmm/kvm.h"

/* Whether there is no KVM here; prints that the suite is skipped, and why. */
static inline bool kvm_missing(const char *suite)
{
	struct kvm_host kvm;
	char why[256];

	if (kvm_open(&kvm, why, sizeof(why))) {
		printf("SKIP %s: %s\n", suite, why);
		return true;
	}
	kvm_close(&kvm);
	return false;
}

#endif
