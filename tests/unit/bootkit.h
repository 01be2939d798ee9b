/*
 * What the tests of arch/x86's boot code share: guest memory, small files in a directory of their
 * own, and builders for the smallest kernels that are right in every respect, so that a test can
 * break one thing at a time.
 */
#ifndef TESTS_UNIT_BOOTKIT_H
#define TESTS_UNIT_BOOTKIT_H

#include <elf.h>

#include "arch/arch.h"

struct bootkit {
	struct gmem mem;
	char dir[32];
	char kernel[64], initrd[64], module[64];
	struct arch_boot boot;
	struct arch_entry entry;
	char why[512];
};

void bootkit_setup(struct bootkit *k, uint64_t memory_bytes);
void bootkit_teardown(struct bootkit *k);
/* Another memory size for the same files. */
void bootkit_resize(struct bootkit *k, uint64_t memory_bytes);

/* Each writes a file into the kit's directory and sets k->boot accordingly. */
void bootkit_kernel(struct bootkit *k, const void *data, size_t len);
void bootkit_initrd(struct bootkit *k, const void *data, size_t len);
void bootkit_module(struct bootkit *k, const void *data, size_t len, const char *args);

int bootkit_load(struct bootkit *k);
/* Fails the test unless loading ends with err and a reason that contains `why`. */
void bootkit_refused(struct bootkit *k, int err, const char *why);
void bootkit_accepted(struct bootkit *k, const char *protocol);

/* Reads guest memory; fails the test if there is none. */
const void *bootkit_at(struct bootkit *k, gpa_t gpa, uint64_t len);

/* ELF32 for i386 with program headers right behind the header and the file's bytes from
 * BOOTKIT_ELF_DATA on. */
#define BOOTKIT_ELF_BYTES 0x2000
#define BOOTKIT_ELF_DATA  0x1000
struct bootkit_elf32 {
	Elf32_Ehdr eh;
	Elf32_Phdr ph[2]; /* PT_LOAD of 0x1000 bytes at 2 MiB, with 0x1000 of bss; PT_NOTE */
	uint8_t rest[BOOTKIT_ELF_BYTES - sizeof(Elf32_Ehdr) - 2 * sizeof(Elf32_Phdr)];
};
struct bootkit_elf64 {
	Elf64_Ehdr eh;
	Elf64_Phdr ph[2];
	uint8_t rest[BOOTKIT_ELF_BYTES - sizeof(Elf64_Ehdr) - 2 * sizeof(Elf64_Phdr)];
};
#define BOOTKIT_LOAD 0x200000
#define BOOTKIT_NOTE 0x800 /* file offset of the note */
void bootkit_elf32(struct bootkit_elf32 *e);
void bootkit_elf64(struct bootkit_elf64 *e);
/* Puts a PVH note into the file and returns its length. */
unsigned bootkit_pvh_note(void *file, uint32_t entry);

#endif
