/*
 * ELF kernels: reading program headers and notes, and loading segments to their physical addresses.
 * Source: System V ABI, "Object Files"; Xen's elfnote.h for PVH. One thread at a time.
 */
#ifndef ARCH_X86_ELF_H
#define ARCH_X86_ELF_H

#include "arch/x86/loader.h"

/* Loadable segments; Linux has five. */
#define ELF_MAX_SEGMENTS 32

struct elf_segment {
	uint64_t offset;     /* in the file */
	uint64_t file_bytes; /* the rest up to mem_bytes is zero */
	uint64_t mem_bytes;
	gpa_t paddr;
	uint64_t vaddr;
};

struct elf_kernel {
	bool is_64bit;
	uint64_t entry; /* as the header says: may be virtual */
	unsigned nr_segments;
	struct elf_segment segment[ELF_MAX_SEGMENTS];
	bool has_pvh;
	uint32_t pvh_entry;
};

/* Reads and checks the headers of l->kernel; explained errors. */
int elf_parse(struct loader *l, struct elf_kernel *k);
/* Claims and loads every segment; explained errors. */
int elf_load(struct loader *l, const struct elf_kernel *k);
/* True if a segment holds the physical address. */
bool elf_covers(const struct elf_kernel *k, gpa_t gpa);
/* Physical address of the entry point, which linkers give as a virtual one. False: in no segment.
 */
bool elf_entry_gpa(const struct elf_kernel *k, gpa_t *gpa);

#endif
