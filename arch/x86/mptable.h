/*
 * The MP table, for small kernels that do not read ACPI. Source: Intel MultiProcessor
 * Specification 1.4. Thread: any, no state.
 */
#ifndef ARCH_X86_MPTABLE_H
#define ARCH_X86_MPTABLE_H

#include "base/gmem.h"

/* Writes it at X86_MPTABLE_BASE. Errors: -EINVAL (no CPU), -ENOSPC (too many), -EFAULT. */
int mptable_write(const struct gmem *mem, unsigned cpus);

#endif
