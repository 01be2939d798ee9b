/*
 * Multiboot 1 kernels: flat images and ELF files, what they are told, and what is refused.
 */
#include <check.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "arch/x86/layout.h"
#include "tests/unit/bootkit.h"

#define MAGIC  0x1BADB002
#define LOAD   0x100000
#define HEADER 0x40 /* where the header lies in the flat image */

struct header {
	uint32_t magic, flags, checksum, header_addr, load_addr, load_end, bss_end, entry;
};
struct info {
	uint32_t flags, mem_lower, mem_upper, boot_device, cmdline, mods_count, mods_addr, syms[4],
		mmap_length, mmap_addr, drives[2], config, name, apm;
};
struct module {
	uint32_t start, end, string, reserved;
};
struct range {
	uint32_t size;
	uint64_t base, length;
	uint32_t type;
} __attribute__((packed));

static struct bootkit kit;
static struct {
	uint8_t code[HEADER];
	struct header h;
	uint8_t rest[0x1000];
} flat;
static struct bootkit_elf32 e;

static void set_flags(struct header *h, uint32_t flags)
{
	h->magic = MAGIC;
	h->flags = flags;
	h->checksum = -(MAGIC + flags);
}

static void setup(void)
{
	bootkit_setup(&kit, MIB(16));
	memset(&flat, 0x77, sizeof(flat));
	set_flags(&flat.h, 1 << 16);
	flat.h.header_addr = LOAD + HEADER;
	flat.h.load_addr = LOAD;
	flat.h.load_end = 0;
	flat.h.bss_end = 0;
	flat.h.entry = LOAD + 0x20;
	bootkit_elf32(&e);
	set_flags((struct header *)((uint8_t *)&e + BOOTKIT_ELF_DATA), 3);
}

static void teardown(void)
{
	bootkit_teardown(&kit);
}

static void refused(int err, const char *why)
{
	bootkit_kernel(&kit, &flat, sizeof(flat));
	bootkit_refused(&kit, err, why);
}

static const struct info *told(void)
{
	ck_assert_int_eq(kit.entry.mode, ARCH_ENTRY_X86_PROT32);
	ck_assert_uint_eq(kit.entry.magic, 0x2BADB002);
	return bootkit_at(&kit, kit.entry.arg, 116);
}

static const struct info *accepted(void)
{
	bootkit_kernel(&kit, &flat, sizeof(flat));
	bootkit_accepted(&kit, "Multiboot");
	return told();
}

static const struct info *accepted_elf(void)
{
	bootkit_kernel(&kit, &e, sizeof(e));
	bootkit_accepted(&kit, "Multiboot");
	return told();
}

START_TEST(flat_image)
{
	accepted();
	ck_assert_uint_eq(kit.entry.pc, LOAD + 0x20);
	ck_assert_mem_eq(bootkit_at(&kit, LOAD, sizeof(flat)), &flat, sizeof(flat));
}
END_TEST

START_TEST(flat_image_with_end_and_bss)
{
	flat.h.load_end = LOAD + 0x100;
	flat.h.bss_end = LOAD + 0x200;
	bootkit_module(&kit, "m", 1, "");
	const struct info *i = accepted();
	const uint8_t *p = bootkit_at(&kit, LOAD, 0x200);
	ck_assert_uint_eq(p[0xFF], 0x77);
	ck_assert_uint_eq(p[0x100], 0);
	const struct module *m = bootkit_at(&kit, i->mods_addr, sizeof(*m));
	ck_assert_uint_eq(m->start, LOAD + 0x1000); /* behind the bss, on a page */
}
END_TEST

START_TEST(elf_file)
{
	const struct info *i = accepted_elf();

	ck_assert_uint_eq(kit.entry.pc, BOOTKIT_LOAD + 0x10);
	ck_assert_uint_eq(i->mods_count, 0);
	const uint8_t *p = bootkit_at(&kit, BOOTKIT_LOAD, 0x2000);
	ck_assert_uint_eq(p[0xFFF], 0x5A);
	ck_assert_uint_eq(p[0x1000], 0);
}
END_TEST

START_TEST(virtual_entry_point)
{
	e.ph[0].p_vaddr = 0xC0200000;
	e.eh.e_entry = 0xC0200010;
	accepted_elf();
	ck_assert_uint_eq(kit.entry.pc, BOOTKIT_LOAD + 0x10);
	e.eh.e_entry = BOOTKIT_LOAD + 0x20;
	accepted_elf();
	ck_assert_uint_eq(kit.entry.pc, BOOTKIT_LOAD + 0x20);
}
END_TEST

START_TEST(elf_entry_outside_of_the_kernel)
{
	e.eh.e_entry = BOOTKIT_LOAD + 0x2000;
	bootkit_kernel(&kit, &e, sizeof(e));
	bootkit_refused(&kit, -ENOEXEC, "entry point 0x202000 lies outside");
}
END_TEST

START_TEST(elf_file_with_addresses)
{
	struct header *h = (struct header *)((uint8_t *)&e + BOOTKIT_ELF_DATA);

	set_flags(h, 1 << 16);
	h->load_addr = MIB(4);
	h->header_addr = MIB(4);
	h->load_end = 0;
	h->bss_end = 0;
	h->entry = MIB(4) + 0x30;
	accepted_elf();
	ck_assert_uint_eq(kit.entry.pc, MIB(4) + 0x30);
}
END_TEST

START_TEST(elf_file_for_64_bits)
{
	static struct bootkit_elf64 e64;

	bootkit_elf64(&e64);
	set_flags((struct header *)((uint8_t *)&e64 + BOOTKIT_ELF_DATA), 0);
	bootkit_kernel(&kit, &e64, sizeof(e64));
	bootkit_refused(&kit, -ENOEXEC, "64-bit ELF file with a Multiboot header");
}
END_TEST

START_TEST(pvh_note_comes_first)
{
	e.eh.e_phnum = 2;
	e.ph[1] = (Elf32_Phdr){ .p_type = PT_NOTE,
				.p_offset = BOOTKIT_NOTE,
				.p_filesz = bootkit_pvh_note(&e, BOOTKIT_LOAD) };
	bootkit_kernel(&kit, &e, sizeof(e));
	bootkit_accepted(&kit, "PVH");
}
END_TEST

START_TEST(what_the_kernel_is_told)
{
	char expected[128];
	const struct info *i = accepted();

	/* Memory, command line, modules, memory map, loader name: nothing else. */
	ck_assert_uint_eq(i->flags, 1 | 4 | 8 | 64 | 512);
	ck_assert_uint_eq(i->mem_lower, 639);
	ck_assert_uint_eq(i->mem_upper, 15 * 1024);
	snprintf(expected, sizeof(expected), "%s console=ttyS0", kit.kernel);
	ck_assert_str_eq(bootkit_at(&kit, i->cmdline, 128), expected);
	ck_assert_str_eq(bootkit_at(&kit, i->name, 5), "xvmm");
	ck_assert_uint_eq(i->mods_count, 0);
	ck_assert_uint_eq(i->mmap_length, 5 * 24);
	const struct range *r = bootkit_at(&kit, i->mmap_addr, 5 * 24);
	ck_assert_uint_eq(r[0].size, 20);
	ck_assert_uint_eq(r[0].length, 0x9FC00);
	ck_assert_uint_eq(r[2].base, 0x100000);
	ck_assert_uint_eq(r[2].length, MIB(15));
	ck_assert_uint_eq(r[2].type, 1);
}
END_TEST

START_TEST(no_command_line)
{
	kit.boot.cmdline = "";
	ck_assert_str_eq(bootkit_at(&kit, accepted()->cmdline, 64), kit.kernel);
}
END_TEST

START_TEST(initrd_is_the_first_module)
{
	char expected[128];

	bootkit_module(&kit, "module", 6, "a=1 b");
	bootkit_initrd(&kit, "initrd", 6);
	const struct info *i = accepted();
	ck_assert_uint_eq(i->mods_count, 2);
	const struct module *m = bootkit_at(&kit, i->mods_addr, 2 * sizeof(*m));
	ck_assert_mem_eq(bootkit_at(&kit, m[0].start, 6), "initrd", 6);
	ck_assert_uint_eq(m[0].end - m[0].start, 6);
	ck_assert_uint_eq(m[0].start % 4096, 0);
	ck_assert_uint_ge(m[0].start, LOAD + sizeof(flat));
	ck_assert_mem_eq(bootkit_at(&kit, m[1].start, 6), "module", 6);
	ck_assert_uint_eq(m[1].start, m[0].start + 4096);
	ck_assert_str_eq(bootkit_at(&kit, m[0].string, 64), kit.initrd);
	snprintf(expected, sizeof(expected), "%s a=1 b", kit.module);
	ck_assert_str_eq(bootkit_at(&kit, m[1].string, 64), expected);
}
END_TEST

START_TEST(command_line_too_long)
{
	char *line = malloc(70000);

	memset(line, 'a', 70000);
	line[69999] = '\0';
	kit.boot.cmdline = line;
	refused(-EINVAL, "longer than 64 KiB");
	/* Fits alone, but leaves no room for the rest. */
	line[65536 - strlen(kit.kernel) - 2] = '\0';
	refused(-EINVAL, "longer than 64 KiB");
	free(line);
}
END_TEST

START_TEST(module_has_no_room)
{
	static uint8_t data[MIB(15)];

	bootkit_module(&kit, data, MIB(15) - 0x2000, "");
	accepted();
	kit.boot.nr_modules = 0;
	bootkit_module(&kit, data, MIB(15) - 0x1FFF, "");
	refused(-E2BIG, "does not fit");
}
END_TEST

START_TEST(video_mode_is_ignored)
{
	set_flags(&flat.h, 1 << 16 | 7);
	ck_assert_uint_eq(accepted()->flags >> 11, 0);
}
END_TEST

START_TEST(unknown_features)
{
	set_flags(&flat.h, 1 << 16 | 1 << 3);
	refused(-ENOEXEC, "requires features that are not known (flags 0x0008)");
	set_flags(&flat.h, 1 << 16 | 1 << 17); /* the upper half is optional */
	accepted();
}
END_TEST

START_TEST(not_a_header)
{
	flat.h.checksum++;
	refused(-ENOEXEC, "neither a Linux bzImage");
	set_flags(&flat.h, 0);
	refused(-ENOEXEC, "must give its addresses");
}
END_TEST

START_TEST(header_at_the_end_of_the_first_8_kib)
{
	static uint8_t file[16384];
	struct header h = flat.h;

	h.header_addr = LOAD + 8192 - sizeof(h);
	memcpy(file + 8192 - sizeof(h), &h, sizeof(h));
	bootkit_kernel(&kit, file, sizeof(file));
	bootkit_accepted(&kit, "Multiboot");
	/* One step further it is cut. */
	memset(file, 0, sizeof(file));
	memcpy(file + 8192 - sizeof(h) + 4, &h, sizeof(h));
	bootkit_kernel(&kit, file, sizeof(file));
	bootkit_refused(&kit, -ENOEXEC, "neither a Linux bzImage");
	/* Not aligned. */
	memset(file, 0, sizeof(file));
	memcpy(file + 6, &h, sizeof(h));
	bootkit_kernel(&kit, file, sizeof(file));
	bootkit_refused(&kit, -ENOEXEC, "neither a Linux bzImage");
	/* File ends in the header. */
	bootkit_kernel(&kit, &flat, HEADER + 31);
	bootkit_refused(&kit, -ENOEXEC, "neither a Linux bzImage");
}
END_TEST

START_TEST(addresses_that_contradict)
{
	struct header good = flat.h;

	flat.h.header_addr = LOAD - 1;
	refused(-ENOEXEC, "says that it is at 0xfffff of an image from 0x100000");
	flat.h = good;
	flat.h.load_addr = LOAD - 1; /* begins before the file does */
	refused(-ENOEXEC, "of an image from 0xfffff");
	flat.h = good;
	flat.h.load_end = LOAD;
	refused(-ENOEXEC, "ends (0x100000) before it begins");
	flat.h.load_end = LOAD + sizeof(flat) + 1;
	refused(-ENOEXEC, "truncated");
	flat.h.load_end = 0xFFFFFFFF;
	refused(-ENOEXEC, "truncated");
	flat.h = good;
	flat.h.bss_end = LOAD + sizeof(flat) - 1;
	refused(-ENOEXEC, "bss ends");
	flat.h.bss_end = LOAD - 1;
	refused(-ENOEXEC, "bss ends");
	flat.h.bss_end = 0xFFFFFFFF;
	refused(-E2BIG, "the kernel needs");
	flat.h = good;
	flat.h.entry = LOAD - 1;
	refused(-ENOEXEC, "entry point 0xfffff lies outside");
	flat.h.entry = LOAD + sizeof(flat);
	refused(-ENOEXEC, "lies outside");
}
END_TEST

START_TEST(image_on_top_of_the_loader)
{
	flat.h.load_addr = 0x8000;
	flat.h.header_addr = 0x8000 + HEADER;
	flat.h.entry = 0x8000;
	refused(-ENOEXEC, "overlaps the boot loader's own tables");
	flat.h.load_addr = 0xFFFFFF00;
	flat.h.header_addr = 0xFFFFFF40;
	flat.h.entry = 0xFFFFFF00;
	refused(-E2BIG, "memory at 0xffffff00");
	flat.h.load_addr = X86_LOADER_END;
	flat.h.header_addr = X86_LOADER_END + HEADER;
	flat.h.entry = X86_LOADER_END;
	accepted();
}
END_TEST

int main(void)
{
	Suite *s = suite_create("boot_multiboot");
	TCase *t = tcase_create("Multiboot");

	tcase_add_checked_fixture(t, setup, teardown);
	tcase_add_test(t, flat_image);
	tcase_add_test(t, flat_image_with_end_and_bss);
	tcase_add_test(t, elf_file);
	tcase_add_test(t, virtual_entry_point);
	tcase_add_test(t, elf_entry_outside_of_the_kernel);
	tcase_add_test(t, elf_file_with_addresses);
	tcase_add_test(t, elf_file_for_64_bits);
	tcase_add_test(t, pvh_note_comes_first);
	tcase_add_test(t, what_the_kernel_is_told);
	tcase_add_test(t, no_command_line);
	tcase_add_test(t, initrd_is_the_first_module);
	tcase_add_test(t, command_line_too_long);
	tcase_add_test(t, module_has_no_room);
	tcase_add_test(t, video_mode_is_ignored);
	tcase_add_test(t, unknown_features);
	tcase_add_test(t, not_a_header);
	tcase_add_test(t, header_at_the_end_of_the_first_8_kib);
	tcase_add_test(t, addresses_that_contradict);
	tcase_add_test(t, image_on_top_of_the_loader);
	suite_add_tcase(s, t);
	SRunner *r = srunner_create(s);
	srunner_run_all(r, CK_ENV);
	int failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? 1 : 0;
}
