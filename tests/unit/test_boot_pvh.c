/*
 * ELF kernels by PVH, and everything that can be wrong with an ELF file.
 */
#include <check.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "arch/x86/layout.h"
#include "tests/unit/bootkit.h"

#define ENTRY (BOOTKIT_LOAD + 0x40)

struct start_info {
	uint32_t magic, version, flags, nr_modules;
	uint64_t modlist, cmdline, rsdp, memmap;
	uint32_t nr_memmap, reserved;
};
struct start_module {
	uint64_t base, size, cmdline, reserved;
};
struct start_range {
	uint64_t base, size;
	uint32_t type, reserved;
};

static struct bootkit kit;
static struct bootkit_elf64 f;
static struct bootkit_elf32 f32;

static void setup(void)
{
	bootkit_setup(&kit, MIB(64));
	bootkit_elf64(&f);
	f.eh.e_phnum = 2;
	f.ph[1] = (Elf64_Phdr){ .p_type = PT_NOTE,
				.p_offset = BOOTKIT_NOTE,
				.p_filesz = bootkit_pvh_note(&f, ENTRY),
				.p_align = 4 };
	bootkit_elf32(&f32);
	f32.eh.e_phnum = 2;
	f32.ph[1] = (Elf32_Phdr){ .p_type = PT_NOTE,
				  .p_offset = BOOTKIT_NOTE,
				  .p_filesz = bootkit_pvh_note(&f32, ENTRY),
				  .p_align = 4 };
}

static void teardown(void)
{
	bootkit_teardown(&kit);
}

static void refused(int err, const char *why)
{
	bootkit_kernel(&kit, &f, sizeof(f));
	bootkit_refused(&kit, err, why);
}

static const struct start_info *accepted(void)
{
	bootkit_kernel(&kit, &f, sizeof(f));
	bootkit_accepted(&kit, "PVH");
	ck_assert_int_eq(kit.entry.mode, ARCH_ENTRY_X86_PROT32);
	ck_assert_uint_eq(kit.entry.pc, ENTRY);
	return bootkit_at(&kit, kit.entry.arg, sizeof(struct start_info));
}

START_TEST(loads_64_bit)
{
	const struct start_info *si = accepted();

	ck_assert_uint_eq(si->magic, 0x336EC578);
	ck_assert_uint_eq(si->version, 1);
	ck_assert_uint_eq(si->flags, 0);
	ck_assert_uint_eq(si->nr_modules, 0);
	ck_assert_str_eq(bootkit_at(&kit, si->cmdline, 32), "console=ttyS0");
	ck_assert_mem_eq(bootkit_at(&kit, si->rsdp, 8), "RSD PTR ", 8);
	const uint8_t *image = bootkit_at(&kit, BOOTKIT_LOAD, 0x2000);
	ck_assert_uint_eq(image[0], 0x5A);
	ck_assert_uint_eq(image[0xFFF], 0x5A);
	ck_assert_uint_eq(image[0x1000], 0);
}
END_TEST

START_TEST(loads_32_bit)
{
	bootkit_kernel(&kit, &f32, sizeof(f32));
	bootkit_accepted(&kit, "PVH");
	ck_assert_uint_eq(kit.entry.pc, ENTRY);
	const uint64_t *gdt = bootkit_at(&kit, kit.entry.gdt, X86_GDT_BYTES);
	ck_assert_uint_eq(gdt[X86_CODE_SELECTOR / 8], 0x00CF9B000000FFFF);
}
END_TEST

START_TEST(memory_map)
{
	bootkit_resize(&kit, GIB(4));
	const struct start_info *si = accepted();

	ck_assert_uint_eq(si->nr_memmap, 6);
	const struct start_range *r = bootkit_at(&kit, si->memmap, 6 * sizeof(*r));
	for (unsigned i = 1; i < 6; i++)
		ck_assert_uint_le(r[i - 1].base + r[i - 1].size, r[i].base);
	ck_assert_uint_eq(r[5].base, GIB(4));
	ck_assert_uint_eq(r[5].size, GIB(1));
	ck_assert_uint_eq(r[5].type, 1);
}
END_TEST

START_TEST(initrd_and_modules)
{
	static const uint8_t initrd[5000] = { 1, 2, 3 };

	bootkit_initrd(&kit, initrd, sizeof(initrd));
	bootkit_module(&kit, "module", 6, "a b");
	const struct start_info *si = accepted();
	ck_assert_uint_eq(si->nr_modules, 2);
	const struct start_module *m = bootkit_at(&kit, si->modlist, 2 * sizeof(*m));
	ck_assert_uint_eq(m[0].base, MIB(64) - 8192);
	ck_assert_uint_eq(m[0].size, sizeof(initrd));
	ck_assert_mem_eq(bootkit_at(&kit, m[0].base, 5000), initrd, 5000);
	ck_assert_uint_eq(m[1].base, MIB(64) - 12288);
	ck_assert_mem_eq(bootkit_at(&kit, m[1].base, 6), "module", 6);
	const char *args = bootkit_at(&kit, m[1].cmdline, 100);
	ck_assert_mem_eq(args, kit.module, strlen(kit.module));
	ck_assert_str_eq(args + strlen(kit.module), " a b");
}
END_TEST

START_TEST(as_many_modules_as_there_can_be)
{
	bootkit_initrd(&kit, "i", 1);
	for (unsigned i = 0; i < ARCH_MAX_MODULES; i++)
		bootkit_module(&kit, "m", 1, "");
	ck_assert_uint_eq(accepted()->nr_modules, ARCH_MAX_MODULES + 1);
}
END_TEST

START_TEST(module_arguments_too_long)
{
	char *args = malloc(70000);

	memset(args, 'a', 70000);
	args[69999] = '\0';
	bootkit_module(&kit, "m", 1, args);
	refused(-EINVAL, "longer than 64 KiB");
	free(args);
}
END_TEST

START_TEST(module_that_is_missing)
{
	bootkit_module(&kit, "m", 1, "");
	kit.boot.module[0].path = "/nonexistent/module";
	refused(-ENOENT, "module /nonexistent/module: No such file");
}
END_TEST

START_TEST(command_line_too_long)
{
	char *line = malloc(65537);

	memset(line, 'a', 65537);
	line[65536] = '\0';
	kit.boot.cmdline = line;
	refused(-EINVAL, "65536 characters, this kernel takes at most 65535");
	line[65535] = '\0';
	accepted();
	free(line);
}
END_TEST

START_TEST(without_pvh_note)
{
	f.eh.e_phnum = 1;
	refused(-ENOEXEC, "neither a PVH note nor a Multiboot header");
}
END_TEST

START_TEST(note_aligned_to_8)
{
	static const uint32_t notes[] = { 4, 3, 1,  0x00756E47, 0x33,  0,
					  4, 8, 18, 0x006E6558, ENTRY, 0 };

	memcpy((uint8_t *)&f + BOOTKIT_NOTE, notes, sizeof(notes));
	f.ph[1].p_filesz = sizeof(notes);
	f.ph[1].p_align = 8;
	/* 12 + 4 bytes of name are 16: the description follows at once. */
	accepted();
}
END_TEST

/* Lengths that wrap or leave the segment end the search; nothing is read beyond. */
START_TEST(hostile_notes)
{
	uint32_t *n = (uint32_t *)((uint8_t *)&f + BOOTKIT_NOTE);

	n[0] = 0xFFFFFFFF;
	refused(-ENOEXEC, "neither a PVH note");
	n[0] = 4;
	n[1] = 0xFFFFFFFF;
	refused(-ENOEXEC, "neither a PVH note");
	n[1] = 3;
	f.ph[1].p_filesz -= 4; /* cut in the entry point */
	refused(-ENOEXEC, "neither a PVH note");
	f.ph[1].p_filesz = 11;
	refused(-ENOEXEC, "neither a PVH note");
	f.ph[1].p_filesz = 0;
	refused(-ENOEXEC, "neither a PVH note");
	f.ph[1].p_filesz = sizeof(f);
	refused(-ENOEXEC, "a note segment reaches beyond the end");
	f.ph[1].p_offset = UINT64_MAX - 4;
	refused(-ENOEXEC, "a note segment reaches beyond the end");
}
END_TEST

START_TEST(entry_outside_of_the_kernel)
{
	bootkit_pvh_note(&f, BOOTKIT_LOAD + 0x2000);
	refused(-ENOEXEC, "entry point 0x202000 lies in no segment");
	bootkit_pvh_note(&f, BOOTKIT_LOAD - 1);
	refused(-ENOEXEC, "lies in no segment");
}
END_TEST

START_TEST(truncated_anywhere)
{
	static const size_t len[] = {
		4, 15, 16, sizeof(f.eh) - 1, sizeof(f.eh), sizeof(f.eh) + 20, 0x1FFF
	};

	for (unsigned i = 0; i < ARRAY_SIZE(len); i++) {
		bootkit_kernel(&kit, &f, len[i]);
		bootkit_refused(&kit, -ENOEXEC, "truncated");
	}
	bootkit_kernel(&kit, &f32, sizeof(f32.eh) - 1);
	bootkit_refused(&kit, -ENOEXEC, "truncated");
	bootkit_kernel(&kit, &f32, 0x1FFF);
	bootkit_refused(&kit, -ENOEXEC, "truncated");
}
END_TEST

START_TEST(bad_header)
{
	f.eh.e_ident[EI_DATA] = ELFDATA2MSB;
	refused(-ENOEXEC, "not little-endian");
	f.eh.e_ident[EI_DATA] = ELFDATA2LSB;
	f.eh.e_ident[EI_CLASS] = 7;
	refused(-ENOEXEC, "class 7");
	f.eh.e_ident[EI_CLASS] = ELFCLASS64;
	f.eh.e_machine = EM_AARCH64;
	refused(-ENOEXEC, "another processor (machine 183");
	f.eh.e_machine = EM_X86_64;
	f.eh.e_type = ET_REL;
	refused(-ENOEXEC, "not linked");
	f.eh.e_type = ET_EXEC;
	f.eh.e_phentsize = 1;
	refused(-ENOEXEC, "program headers of 1 bytes");
	f.eh.e_phentsize = sizeof(f.ph[0]);
	f.eh.e_phnum = 0;
	refused(-ENOEXEC, "without program headers");
	f.eh.e_phnum = 0xFFFF;
	f.eh.e_phoff = UINT64_MAX - 8;
	refused(-ENOEXEC, "the program header table reaches beyond");
	f32.eh.e_phentsize = 1;
	bootkit_kernel(&kit, &f32, sizeof(f32));
	bootkit_refused(&kit, -ENOEXEC, "program headers of 1 bytes");
}
END_TEST

START_TEST(no_segments)
{
	f.ph[0].p_type = PT_NULL;
	refused(-ENOEXEC, "without a loadable segment");
	f.ph[0].p_type = PT_LOAD;
	f.ph[0].p_filesz = f.ph[0].p_memsz = 0;
	refused(-ENOEXEC, "without a loadable segment");
}
END_TEST

START_TEST(too_many_segments)
{
	static struct {
		Elf64_Ehdr eh;
		Elf64_Phdr ph[33];
	} many;

	memcpy(&many.eh, &f.eh, sizeof(f.eh));
	many.eh.e_phnum = 33;
	for (unsigned i = 0; i < 33; i++)
		many.ph[i] = (Elf64_Phdr){ .p_type = PT_LOAD,
					   .p_paddr = MIB(1) + i * 4096,
					   .p_memsz = 4096 };
	bootkit_kernel(&kit, &many, sizeof(many));
	bootkit_refused(&kit, -ENOEXEC, "more than 32 loadable segments");
}
END_TEST

START_TEST(bad_segments)
{
	Elf64_Phdr good = f.ph[0];

	f.ph[0].p_filesz = good.p_memsz + 1;
	refused(-ENOEXEC, "more bytes in the file");
	f.ph[0] = good;
	f.ph[0].p_offset = UINT64_MAX;
	refused(-ENOEXEC, "a segment reaches beyond the end");
	f.ph[0] = good;
	f.ph[0].p_paddr = UINT64_MAX - 0xFFF;
	refused(-ENOEXEC, "wraps around");
	f.ph[0] = good;
	f.ph[0].p_memsz = UINT64_MAX;
	refused(-ENOEXEC, "wraps around");
	f.ph[0] = good;
	f.ph[0].p_vaddr = 0;
	f.ph[0].p_memsz = MIB(62) + 1;
	refused(-E2BIG, "needs 63489 KiB of memory at 0x200000");
	f.ph[0].p_memsz = UINT64_MAX - GIB(1);
	refused(-E2BIG, "below 4 GiB ends at 0x4000000");
}
END_TEST

START_TEST(segment_on_top_of_something)
{
	f.ph[0].p_paddr = 0;
	bootkit_pvh_note(&f, 0x40);
	refused(-ENOEXEC, "overlaps the boot loader's own tables at 0x0-0x2ffff");
	f.ph[0].p_paddr = X86_LOADER_END - 1;
	bootkit_pvh_note(&f, X86_LOADER_END);
	refused(-ENOEXEC, "overlaps the boot loader's own tables");
	f.ph[0].p_paddr = 0x9FBFF;
	bootkit_pvh_note(&f, 0x9FC00);
	refused(-ENOEXEC, "overlaps the firmware's area");
	f.ph[0].p_paddr = X86_PCI_MMIO_BASE;
	bootkit_pvh_note(&f, X86_PCI_MMIO_BASE);
	refused(-E2BIG, "memory at 0xc0000000");
}
END_TEST

START_TEST(segments_on_top_of_each_other)
{
	struct {
		Elf64_Ehdr eh;
		Elf64_Phdr ph[3];
		uint8_t rest[0x1000];
	} e = { .eh = f.eh };

	e.eh.e_phnum = 3;
	e.ph[0] = (Elf64_Phdr){ .p_type = PT_LOAD, .p_paddr = BOOTKIT_LOAD, .p_memsz = 0x2000 };
	e.ph[1] = (Elf64_Phdr){ .p_type = PT_LOAD,
				.p_paddr = BOOTKIT_LOAD + 0x1FFF,
				.p_memsz = 0x10 };
	e.ph[2] = f.ph[1];
	bootkit_pvh_note(&e, ENTRY);
	bootkit_kernel(&kit, &e, sizeof(e));
	bootkit_refused(&kit, -ENOEXEC, "a kernel segment at 0x201fff-0x20200e overlaps a kernel");
	e.ph[1].p_paddr++;
	bootkit_kernel(&kit, &e, sizeof(e));
	bootkit_accepted(&kit, "PVH");
}
END_TEST

START_TEST(initrd_has_no_room)
{
	static uint8_t initrd[MIB(2)];

	f.ph[0].p_vaddr = 0;
	f.ph[0].p_memsz = MIB(61);
	bootkit_initrd(&kit, initrd, sizeof(initrd));
	refused(-E2BIG, "does not fit");
	f.ph[0].p_memsz -= MIB(1);
	accepted();
}
END_TEST

int main(void)
{
	Suite *s = suite_create("boot_pvh");
	TCase *t = tcase_create("ELF and PVH");

	tcase_add_checked_fixture(t, setup, teardown);
	tcase_add_test(t, loads_64_bit);
	tcase_add_test(t, loads_32_bit);
	tcase_add_test(t, memory_map);
	tcase_add_test(t, initrd_and_modules);
	tcase_add_test(t, as_many_modules_as_there_can_be);
	tcase_add_test(t, module_arguments_too_long);
	tcase_add_test(t, module_that_is_missing);
	tcase_add_test(t, command_line_too_long);
	tcase_add_test(t, without_pvh_note);
	tcase_add_test(t, note_aligned_to_8);
	tcase_add_test(t, hostile_notes);
	tcase_add_test(t, entry_outside_of_the_kernel);
	tcase_add_test(t, truncated_anywhere);
	tcase_add_test(t, bad_header);
	tcase_add_test(t, no_segments);
	tcase_add_test(t, too_many_segments);
	tcase_add_test(t, bad_segments);
	tcase_add_test(t, segment_on_top_of_something);
	tcase_add_test(t, segments_on_top_of_each_other);
	tcase_add_test(t, initrd_has_no_room);
	suite_add_tcase(s, t);
	SRunner *r = srunner_create(s);
	srunner_run_all(r, CK_ENV);
	int failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? 1 : 0;
}
