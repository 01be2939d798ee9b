/*
 * What the boot protocols have in common: a record of which guest memory is taken by what, so that
 * no part of a kernel lands on another or on the loader's own structures, and the way to refuse.
 *
 * Used on the thread that creates the machine; no locks.
 */
#ifndef ARCH_X86_LOADER_H
#define ARCH_X86_LOADER_H

#include "arch/arch.h"
#include "base/image.h"

/* A kernel's segments, initrd and modules, and the loader's own areas. */
#define LOADER_MAX_CLAIMS 64

struct loader_claim {
	gpa_t start, end;
	const char *what;
};

struct loader {
	const struct gmem *mem;
	const struct arch_boot *boot;
	struct arch_entry *entry;
	char *why;
	size_t why_bytes;
	struct image kernel;
	gpa_t rsdp;
	gpa_t info_next; /* first free byte of the info area */
	struct loader_claim claim[LOADER_MAX_CLAIMS];
	unsigned nr_claims;
};

/* A file in guest memory. */
struct loader_module {
	gpa_t base;
	uint64_t size_bytes;
	const char *path, *args;
};
/* initrd and modules */
#define LOADER_MAX_MODULES (ARCH_MAX_MODULES + 1)

/* Opens the kernel. Errors are explained in why[]. */
int loader_init(struct loader *l, const struct gmem *mem, const struct arch_boot *boot,
		struct arch_entry *entry, char *why, size_t why_bytes);
void loader_fini(struct loader *l);

/* Puts "PATH: text" into why[] and returns err. */
int loader_refuse(struct loader *l, int err, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

/* Refuses with -E2BIG: there is no memory for `what`. */
int loader_no_memory(struct loader *l, gpa_t start, uint64_t len, const char *what);

/* Takes [start, start + len) for `what`: it must be RAM that is not taken. len 0 takes nothing.
 * Errors: -E2BIG (no RAM there), -ENOEXEC (taken, or too many parts), both explained. */
int loader_claim(struct loader *l, gpa_t start, uint64_t len, const char *what);

/* End of the RAM below the hole. */
gpa_t loader_low_end(const struct loader *l);

enum loader_place {
	LOADER_HIGHEST, /* as high as possible, below `limit`: where an initrd is out of the way */
	LOADER_LOWEST,	/* behind the highest claim: where small kernels have it mapped */
};

/* Loads initrd (first) and modules, page aligned, below `limit` (exclusive). *nr: how many. */
int loader_load_modules(struct loader *l, enum loader_place place, gpa_t limit,
			struct loader_module out[LOADER_MAX_MODULES], unsigned *nr);

/* Copies into the info area; *gpa: where it is. Errors: -EINVAL (full), explained. */
int loader_put(struct loader *l, const void *data, uint64_t len, unsigned align, gpa_t *gpa);
/* The string "path args", or "path" if there are no args. */
int loader_put_string(struct loader *l, const char *path, const char *args, gpa_t *gpa);

/* The command line, alone, at X86_CMDLINE. max_bytes: without the terminating NUL. */
int loader_put_cmdline(struct loader *l, uint64_t max_bytes);

/* GDT with flat segments; with long_mode also page tables that map the first 4 GiB to themselves.
 */
int loader_put_cpu_tables(struct loader *l, bool long_mode);

/* The boot protocols. Each fills in the guest's memory and l->entry; explained errors. */
struct elf_kernel;
int boot_linux(struct loader *l);
int boot_pvh(struct loader *l, const struct elf_kernel *k);
int boot_multiboot(struct loader *l, const struct elf_kernel *k); /* k: NULL if no ELF file */

#define BOOT_HEAD_BYTES 8192 /* the part of a file that decides what it is */
bool boot_is_linux(const uint8_t *head, size_t len);
bool boot_is_multiboot(const uint8_t *head, size_t len);

#endif
