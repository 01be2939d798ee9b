/*
 * Shared parts of the tests of arch/x86's boot code; see bootkit.h.
 */
#include <check.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/unit/bootkit.h"

static void make_memory(struct bootkit *k, uint64_t memory_bytes)
{
	struct gmem_layout layout[GMEM_MAX_REGIONS];

	int nr = arch_mem_layout(memory_bytes, layout);
	ck_assert_int_gt(nr, 0);
	ck_assert_int_eq(gmem_create(&k->mem, "test", layout, (unsigned)nr, 0), 0);
}

void bootkit_setup(struct bootkit *k, uint64_t memory_bytes)
{
	memset(k, 0, sizeof(*k));
	strcpy(k->dir, "/tmp/bootkit-XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(k->dir));
	snprintf(k->kernel, sizeof(k->kernel), "%s/kernel", k->dir);
	snprintf(k->initrd, sizeof(k->initrd), "%s/initrd", k->dir);
	snprintf(k->module, sizeof(k->module), "%s/module", k->dir);
	k->boot.kernel = k->kernel;
	k->boot.cmdline = "console=ttyS0";
	k->boot.cpus = 1;
	make_memory(k, memory_bytes);
}

void bootkit_resize(struct bootkit *k, uint64_t memory_bytes)
{
	gmem_destroy(&k->mem);
	make_memory(k, memory_bytes);
}

void bootkit_teardown(struct bootkit *k)
{
	gmem_destroy(&k->mem);
	unlink(k->kernel);
	unlink(k->initrd);
	unlink(k->module);
	rmdir(k->dir);
}

static void write_file(const char *path, const void *data, size_t len)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(write(fd, data, len), (ssize_t)len);
	close(fd);
}

void bootkit_kernel(struct bootkit *k, const void *data, size_t len)
{
	write_file(k->kernel, data, len);
}

void bootkit_initrd(struct bootkit *k, const void *data, size_t len)
{
	write_file(k->initrd, data, len);
	k->boot.initrd = k->initrd;
}

void bootkit_module(struct bootkit *k, const void *data, size_t len, const char *args)
{
	write_file(k->module, data, len);
	k->boot.module[k->boot.nr_modules].path = k->module;
	k->boot.module[k->boot.nr_modules++].args = args;
}

int bootkit_load(struct bootkit *k)
{
	return arch_load_kernel(&k->mem, &k->boot, &k->entry, k->why, sizeof(k->why));
}

void bootkit_refused(struct bootkit *k, int err, const char *why)
{
	int got = bootkit_load(k);

	ck_assert_msg(got == err, "got %d, not %d: %s", got, err, k->why);
	ck_assert_msg(strstr(k->why, why) != NULL, "reason: %s", k->why);
	ck_assert_msg(!strncmp(k->why, k->boot.kernel, strlen(k->boot.kernel)), "reason: %s",
		      k->why);
	ck_assert_msg(strchr(k->why, '\n') == NULL, "not one line: %s", k->why);
}

void bootkit_accepted(struct bootkit *k, const char *protocol)
{
	int got = bootkit_load(k);

	ck_assert_msg(got == 0, "refused (%d): %s", got, k->why);
	ck_assert_str_eq(k->entry.protocol, protocol);
}

const void *bootkit_at(struct bootkit *k, gpa_t gpa, uint64_t len)
{
	const void *p = gmem_ptr(&k->mem, gpa, len);

	ck_assert_ptr_nonnull(p);
	return p;
}

void bootkit_elf32(struct bootkit_elf32 *e)
{
	memset(e, 0, sizeof(*e));
	memcpy(e->eh.e_ident, ELFMAG, SELFMAG);
	e->eh.e_ident[EI_CLASS] = ELFCLASS32;
	e->eh.e_ident[EI_DATA] = ELFDATA2LSB;
	e->eh.e_type = ET_EXEC;
	e->eh.e_machine = EM_386;
	e->eh.e_entry = BOOTKIT_LOAD + 0x10;
	e->eh.e_phoff = sizeof(e->eh);
	e->eh.e_phentsize = sizeof(e->ph[0]);
	e->eh.e_phnum = 1;
	e->ph[0] = (Elf32_Phdr){ .p_type = PT_LOAD,
				 .p_offset = BOOTKIT_ELF_DATA,
				 .p_vaddr = BOOTKIT_LOAD,
				 .p_paddr = BOOTKIT_LOAD,
				 .p_filesz = BOOTKIT_ELF_BYTES - BOOTKIT_ELF_DATA,
				 .p_memsz = 0x2000 };
	memset((uint8_t *)e + BOOTKIT_ELF_DATA, 0x5A, BOOTKIT_ELF_BYTES - BOOTKIT_ELF_DATA);
}

void bootkit_elf64(struct bootkit_elf64 *e)
{
	memset(e, 0, sizeof(*e));
	memcpy(e->eh.e_ident, ELFMAG, SELFMAG);
	e->eh.e_ident[EI_CLASS] = ELFCLASS64;
	e->eh.e_ident[EI_DATA] = ELFDATA2LSB;
	e->eh.e_type = ET_EXEC;
	e->eh.e_machine = EM_X86_64;
	e->eh.e_entry = BOOTKIT_LOAD + 0x10;
	e->eh.e_phoff = sizeof(e->eh);
	e->eh.e_phentsize = sizeof(e->ph[0]);
	e->eh.e_phnum = 1;
	e->ph[0] = (Elf64_Phdr){ .p_type = PT_LOAD,
				 .p_offset = BOOTKIT_ELF_DATA,
				 .p_vaddr = 0xFFFFFFFF80200000,
				 .p_paddr = BOOTKIT_LOAD,
				 .p_filesz = BOOTKIT_ELF_BYTES - BOOTKIT_ELF_DATA,
				 .p_memsz = 0x2000 };
	memset((uint8_t *)e + BOOTKIT_ELF_DATA, 0x5A, BOOTKIT_ELF_BYTES - BOOTKIT_ELF_DATA);
}

unsigned bootkit_pvh_note(void *file, uint32_t entry)
{
	/* One note that is not for us, then the one that is. */
	const uint32_t notes[] = { 4, 3, 1, 0x00756E47, 0x00000033, 4, 4, 18, 0x006E6558, entry };

	memcpy((uint8_t *)file + BOOTKIT_NOTE, notes, sizeof(notes));
	return sizeof(notes);
}
