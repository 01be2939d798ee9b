/*
 * ACPI tables. They describe a machine that does not change: which virtio-mmio slots are in use is
 * found out by the guest (see dsdt.asl). Source: ACPI Specification 6.3. Thread: any, no state.
 */
#ifndef ARCH_X86_ACPI_H
#define ARCH_X86_ACPI_H

#include "base/gmem.h"

/* Writes all tables at X86_ACPI_BASE. *rsdp: where the operating system begins to read. Errors:
 * -EINVAL (no CPU), -ENOSPC (too many), -EFAULT (no memory there). */
int acpi_write(const struct gmem *mem, unsigned cpus, gpa_t *rsdp);

#endif
