/*
 * ACPI tables. The DSDT is the same for every guest; what differs are the processors, and how many
 * virtio-mmio slots are in use. Source: ACPI Specification 6.3. Thread: any, no state.
 */
#ifndef ARCH_X86_ACPI_H
#define ARCH_X86_ACPI_H

#include "base/gmem.h"

/* Writes all tables at X86_ACPI_BASE. nr_virtio_mmio: slots 0 to nr_virtio_mmio - 1 hold a device.
 * *rsdp: where the operating system begins to read. Errors: -EINVAL (no CPU), -ENOSPC (too many of
 * either), -EFAULT (no memory there). */
int acpi_write(const struct gmem *mem, unsigned cpus, unsigned nr_virtio_mmio, gpa_t *rsdp);

#endif
