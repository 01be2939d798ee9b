/*
 * The guest's memory map as firmware would report it (e820). Each boot protocol hands it over in
 * its own format.
 */
#ifndef ARCH_X86_MEMMAP_H
#define ARCH_X86_MEMMAP_H

#include "base/gmem.h"

enum memmap_type { MEMMAP_RAM = 1, MEMMAP_RESERVED = 2 };

struct memmap_range {
	gpa_t base;
	uint64_t size_bytes;
	enum memmap_type type;
};

#define MEMMAP_MAX 8

/* Sorted by address; returns how many. */
unsigned memmap_build(const struct gmem *mem, struct memmap_range out[MEMMAP_MAX]);

#endif
