/*
 * The device tree that tells a guest's kernel what machine it is on. Pure: needs no KVM, and is
 * compiled for any host, so that its content can be tested everywhere.
 */
#ifndef ARCH_ARM64_FDT_H
#define ARCH_ARM64_FDT_H

#include "arch/arm64/gic.h"
#include "base/gmem.h"

/* Enough for ARM64_MAX_CPUS and the longest command line; Linux wants at most 2 MiB. */
#define FDT_MAX_BYTES 0x20000

struct fdt_params {
	const struct gmem *mem;
	const char *cmdline;
	unsigned cpus;
	unsigned nr_virtio_mmio;
	gpa_t initrd_start, initrd_end; /* equal: none */
	enum arm64_gic gic;
	uint8_t rng_seed[64]; /* of the host's random number generator */
};

/* Writes the tree into buf (FDT_MAX_BYTES) and returns its size. -ENOSPC if it does not fit, -EIO:
 * libfdt refuses. */
int fdt_build(const struct fdt_params *p, void *buf);

/* What a CPU's MPIDR holds: as KVM makes it of the vCPU's number. */
uint64_t fdt_mpidr(unsigned cpu);

#endif
