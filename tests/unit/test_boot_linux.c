/*
 * bzImage loading: what a right one finds in memory, and each way in which one is refused.
 */
#include <asm/bootparam.h>
#include <check.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "arch/x86/layout.h"
#include "tests/unit/bootkit.h"

#define SETUP_SECTS   3
#define PAYLOAD	      ((SETUP_SECTS + 1) * 512)
#define PAYLOAD_BYTES 0x4000
#define PREF	      0x1000000

static struct bootkit kit;
static uint8_t file[PAYLOAD + PAYLOAD_BYTES];
static struct setup_header *hdr;

static void setup(void)
{
	bootkit_setup(&kit, MIB(64));
	memset(file, 0, PAYLOAD);
	for (unsigned i = 0; i < PAYLOAD_BYTES; i++)
		file[PAYLOAD + i] = (uint8_t)(i * 7 + 1);
	hdr = (struct setup_header *)(file + 0x1F1);
	hdr->setup_sects = SETUP_SECTS;
	hdr->syssize = PAYLOAD_BYTES / 16;
	hdr->boot_flag = 0xAA55;
	hdr->jump = 0x6AEB; /* header ends at 0x26c */
	memcpy(&hdr->header, "HdrS", 4);
	hdr->version = 0x020F;
	hdr->loadflags = LOADED_HIGH;
	hdr->initrd_addr_max = 0x7FFFFFFF;
	hdr->kernel_alignment = 0x200000;
	hdr->relocatable_kernel = 1;
	hdr->xloadflags = XLF_KERNEL_64;
	hdr->cmdline_size = 2047;
	hdr->pref_address = PREF;
	hdr->init_size = 0x800000;
	hdr->setup_data = 0xDEADBEEF;
	file[0x1EF] = 0xFF; /* the sentinel, which a loader must not copy */
}

static void teardown(void)
{
	bootkit_teardown(&kit);
}

static void refused(int err, const char *why)
{
	bootkit_kernel(&kit, file, sizeof(file));
	bootkit_refused(&kit, err, why);
}

static void accepted(void)
{
	bootkit_kernel(&kit, file, sizeof(file));
	bootkit_accepted(&kit, "Linux 64-bit");
}

START_TEST(loads)
{
	accepted();
	ck_assert_int_eq(kit.entry.mode, ARCH_ENTRY_X86_LONG64);
	ck_assert_uint_eq(kit.entry.pc, PREF + 0x200);
	ck_assert_uint_eq(kit.entry.arg, X86_ZERO_PAGE);
	ck_assert_uint_eq(kit.entry.gdt, X86_GDT);
	ck_assert_mem_eq(bootkit_at(&kit, PREF, PAYLOAD_BYTES), file + PAYLOAD, PAYLOAD_BYTES);
}
END_TEST

START_TEST(zero_page)
{
	accepted();
	const struct boot_params *bp = bootkit_at(&kit, X86_ZERO_PAGE, sizeof(*bp));
	ck_assert_uint_eq(bp->sentinel, 0);
	ck_assert_mem_eq(&bp->hdr.header, "HdrS", 4);
	ck_assert_uint_eq(bp->hdr.type_of_loader, 0xFF);
	ck_assert_uint_eq(bp->hdr.code32_start, PREF);
	ck_assert_uint_eq(bp->hdr.setup_data, 0);
	ck_assert_uint_eq(bp->hdr.ramdisk_size, 0);
	ck_assert_uint_eq(bp->hdr.ramdisk_image, 0);
	ck_assert_uint_eq(bp->hdr.init_size, 0x800000);
	ck_assert_uint_eq(bp->acpi_rsdp_addr, X86_ACPI_BASE);
	ck_assert_str_eq(bootkit_at(&kit, bp->hdr.cmd_line_ptr, 32), "console=ttyS0");
	ck_assert_mem_eq(bootkit_at(&kit, bp->acpi_rsdp_addr, 8), "RSD PTR ", 8);
	ck_assert_uint_eq(bp->e820_entries, 5);
	ck_assert_uint_eq(bp->e820_table[0].addr, 0);
	ck_assert_uint_eq(bp->e820_table[0].size, 0x9FC00);
	ck_assert_uint_eq(bp->e820_table[0].type, 1);
	ck_assert_uint_eq(bp->e820_table[1].type, 2);
	ck_assert_uint_eq(bp->e820_table[2].addr, 0x100000);
	ck_assert_uint_eq(bp->e820_table[2].size, MIB(63));
	ck_assert_uint_eq(bp->e820_table[2].type, 1);
	ck_assert_uint_eq(bp->e820_table[3].addr, X86_ECAM_BASE);
	ck_assert_uint_eq(bp->e820_table[3].type, 2);
}
END_TEST

/* The loader takes only as much of the header as the kernel says it has. */
START_TEST(short_header_is_not_overread)
{
	hdr->jump = 0x62EB; /* ends at 0x264: without handover_offset */
	hdr->handover_offset = 0x12345678;
	accepted();
	const struct boot_params *bp = bootkit_at(&kit, X86_ZERO_PAGE, sizeof(*bp));
	ck_assert_uint_eq(bp->hdr.handover_offset, 0);
	ck_assert_uint_eq(bp->hdr.init_size, 0x800000);
}
END_TEST

START_TEST(page_tables_map_4_gib_to_themselves)
{
	accepted();
	const uint64_t *pml4 = bootkit_at(&kit, kit.entry.page_tables, 4096);
	ck_assert_uint_eq(pml4[0] & 3, 3);
	const uint64_t *pdpt = bootkit_at(&kit, pml4[0] & ~0xFFFull, 4096);
	for (uint64_t gpa = 0; gpa < GIB(4); gpa += MIB(2)) {
		uint64_t pdpte = pdpt[gpa >> 30];
		ck_assert_uint_eq(pdpte & 3, 3);
		const uint64_t *pd = bootkit_at(&kit, pdpte & ~0xFFFull, 4096);
		ck_assert_uint_eq(pd[gpa >> 21 & 511], gpa | 0x83);
	}
	ck_assert_uint_eq(pdpt[4], 0);
}
END_TEST

START_TEST(gdt_has_flat_64_bit_segments)
{
	accepted();
	const uint64_t *gdt = bootkit_at(&kit, kit.entry.gdt, X86_GDT_BYTES);
	ck_assert_uint_eq(gdt[0], 0);
	ck_assert_uint_eq(gdt[X86_CODE_SELECTOR / 8], 0x00AF9B000000FFFF);
	ck_assert_uint_eq(gdt[X86_DATA_SELECTOR / 8], 0x00CF93000000FFFF);
}
END_TEST

START_TEST(initrd_is_high_and_page_aligned)
{
	static uint8_t data[5000];

	memset(data, 0xC3, sizeof(data));
	bootkit_initrd(&kit, data, sizeof(data));
	accepted();
	const struct boot_params *bp = bootkit_at(&kit, X86_ZERO_PAGE, sizeof(*bp));
	ck_assert_uint_eq(bp->hdr.ramdisk_size, sizeof(data));
	ck_assert_uint_eq(bp->hdr.ramdisk_image, MIB(64) - 8192);
	ck_assert_mem_eq(bootkit_at(&kit, bp->hdr.ramdisk_image, sizeof(data)), data, sizeof(data));
}
END_TEST

START_TEST(initrd_stays_below_its_limit)
{
	hdr->initrd_addr_max = 0x27FFFFF;
	bootkit_initrd(&kit, "x", 1);
	accepted();
	const struct boot_params *bp = bootkit_at(&kit, X86_ZERO_PAGE, sizeof(*bp));
	ck_assert_uint_eq(bp->hdr.ramdisk_image, 0x27FF000);
}
END_TEST

/* Where the limit lies inside of the kernel, the gap below the kernel is used. */
START_TEST(initrd_goes_around_the_kernel)
{
	hdr->initrd_addr_max = PREF + 0x100000;
	bootkit_initrd(&kit, "x", 1);
	accepted();
	const struct boot_params *bp = bootkit_at(&kit, X86_ZERO_PAGE, sizeof(*bp));
	ck_assert_uint_eq(bp->hdr.ramdisk_image, PREF - 0x1000);
}
END_TEST

START_TEST(initrd_that_is_missing)
{
	kit.boot.initrd = kit.initrd;
	refused(-ENOENT, "initrd");
	bootkit_refused(&kit, -ENOENT, "No such file");
}
END_TEST

START_TEST(initrd_that_is_a_directory)
{
	kit.boot.initrd = kit.dir;
	refused(-EISDIR, "Is a directory");
}
END_TEST

START_TEST(initrd_that_is_a_device)
{
	kit.boot.initrd = "/dev/zero";
	refused(-ENOEXEC, "not a regular file");
}
END_TEST

START_TEST(initrd_that_is_empty)
{
	bootkit_initrd(&kit, "", 0);
	refused(-ENOEXEC, "is empty");
}
END_TEST

START_TEST(initrd_that_is_too_big)
{
	static uint8_t data[MIB(9)];

	bootkit_resize(&kit, MIB(25));
	hdr->pref_address = MIB(8);
	bootkit_initrd(&kit, data, sizeof(data));
	accepted(); /* 16 to 25 MiB */
	hdr->init_size += 0x1000;
	refused(-E2BIG, "does not fit");
}
END_TEST

START_TEST(initrd_limit_of_zero)
{
	hdr->initrd_addr_max = 0;
	bootkit_initrd(&kit, "x", 1);
	refused(-E2BIG, "does not fit");
}
END_TEST

START_TEST(modules_are_refused)
{
	bootkit_module(&kit, "x", 1, "");
	refused(-ENOEXEC, "no modules");
}
END_TEST

START_TEST(old_protocol)
{
	hdr->version = 0x020B;
	refused(-ENOEXEC, "boot protocol 2.11 is too old");
}
END_TEST

START_TEST(kernel_for_32_bits)
{
	hdr->xloadflags = 0;
	refused(-ENOEXEC, "32-bit Linux kernel");
}
END_TEST

START_TEST(zimage)
{
	hdr->loadflags = 0;
	refused(-ENOEXEC, "zImage");
}
END_TEST

START_TEST(header_too_short)
{
	hdr->jump = 0x10EB;
	refused(-ENOEXEC, "header is only");
}
END_TEST

START_TEST(file_ends_in_header)
{
	bootkit_kernel(&kit, file, 0x210);
	bootkit_refused(&kit, -ENOEXEC, "inside the Linux header");
}
END_TEST

START_TEST(truncated)
{
	bootkit_kernel(&kit, file, sizeof(file) - 1);
	bootkit_refused(&kit, -ENOEXEC, "truncated");
}
END_TEST

START_TEST(sizes_at_their_limits)
{
	hdr->syssize = 0xFFFFFFFF;
	refused(-ENOEXEC, "truncated");
	hdr->syssize = 0;
	refused(-ENOEXEC, "no code");
	hdr->syssize = PAYLOAD_BYTES / 16;
	hdr->setup_sects = 255;
	refused(-ENOEXEC, "truncated");
	hdr->setup_sects = 0; /* means 4 */
	refused(-ENOEXEC, "truncated");
	hdr->syssize -= 512 / 16;
	accepted();
}
END_TEST

/* Signatures are appended to a kernel. */
START_TEST(bytes_behind_the_kernel_do_not_matter)
{
	hdr->syssize = PAYLOAD_BYTES / 16 - 8;
	accepted();
	const uint8_t *p = bootkit_at(&kit, PREF + PAYLOAD_BYTES - 129, 2);
	ck_assert_uint_eq(p[0], file[PAYLOAD + PAYLOAD_BYTES - 129]);
	ck_assert_uint_eq(p[1], 0);
}
END_TEST

START_TEST(too_big_for_the_memory)
{
	hdr->init_size = (uint32_t)(MIB(48));
	accepted();
	hdr->init_size++;
	refused(-E2BIG, "below 4 GiB ends at 0x4000000");
	hdr->init_size = 0xFFFFFFFF;
	refused(-E2BIG, "needs 4194304 KiB");
}
END_TEST

START_TEST(init_size_smaller_than_the_file)
{
	hdr->init_size = 1;
	accepted();
}
END_TEST

START_TEST(preferred_address_outside_of_memory)
{
	hdr->pref_address = MIB(64);
	refused(-E2BIG, "memory below 4 GiB");
	hdr->pref_address = UINT64_MAX;
	refused(-E2BIG, "memory below 4 GiB");
	hdr->relocatable_kernel = 0;
	refused(-E2BIG, "memory below 4 GiB");
	bootkit_resize(&kit, GIB(4));
	hdr->pref_address = GIB(4);
	refused(-E2BIG, "memory below 4 GiB");
}
END_TEST

START_TEST(relocatable_kernel_is_moved_out_of_low_memory)
{
	hdr->pref_address = 0x1000;
	accepted();
	ck_assert_uint_eq(kit.entry.pc, 0x200000 + 0x200);
}
END_TEST

START_TEST(fixed_kernel_on_top_of_the_loader)
{
	hdr->relocatable_kernel = 0;
	hdr->pref_address = X86_ZERO_PAGE;
	refused(-ENOEXEC, "overlaps the boot loader's own tables");
	hdr->pref_address = 0x90000;
	refused(-ENOEXEC, "overlaps the firmware's area");
}
END_TEST

START_TEST(alignment)
{
	hdr->kernel_alignment = 0;
	refused(-ENOEXEC, "no power of two");
	hdr->kernel_alignment = 0x300000;
	refused(-ENOEXEC, "no power of two");
	hdr->kernel_alignment = 0x80000000;
	refused(-E2BIG, "memory at 0x80000000");
}
END_TEST

START_TEST(command_line_too_long)
{
	char *line = malloc(70000);

	memset(line, 'a', 70000);
	line[2047] = '\0';
	kit.boot.cmdline = line;
	accepted();
	ck_assert_mem_eq(bootkit_at(&kit, X86_CMDLINE, 2048), line, 2048);
	line[2047] = 'a';
	line[2048] = '\0';
	refused(-EINVAL, "2048 characters, this kernel takes at most 2047");
	/* Whatever the kernel says: never beyond our own area. */
	hdr->cmdline_size = 0xFFFFFFFF;
	line[2048] = 'a';
	line[65536] = '\0';
	refused(-EINVAL, "at most 65535");
	free(line);
}
END_TEST

START_TEST(no_command_line)
{
	kit.boot.cmdline = NULL;
	accepted();
	ck_assert_str_eq(bootkit_at(&kit, X86_CMDLINE, 1), "");
}
END_TEST

START_TEST(six_gib)
{
	bootkit_resize(&kit, GIB(6));
	bootkit_initrd(&kit, "x", 1);
	hdr->initrd_addr_max = 0xFFFFFFFF;
	accepted();
	const struct boot_params *bp = bootkit_at(&kit, X86_ZERO_PAGE, sizeof(*bp));
	ck_assert_uint_eq(bp->e820_entries, 6);
	ck_assert_uint_eq(bp->e820_table[5].addr, GIB(4));
	ck_assert_uint_eq(bp->e820_table[5].size, GIB(3));
	ck_assert_uint_eq(bp->hdr.ramdisk_image, GIB(3) - 4096);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("boot_linux");
	TCase *t = tcase_create("bzImage");

	tcase_add_checked_fixture(t, setup, teardown);
	tcase_add_test(t, loads);
	tcase_add_test(t, zero_page);
	tcase_add_test(t, short_header_is_not_overread);
	tcase_add_test(t, page_tables_map_4_gib_to_themselves);
	tcase_add_test(t, gdt_has_flat_64_bit_segments);
	tcase_add_test(t, initrd_is_high_and_page_aligned);
	tcase_add_test(t, initrd_stays_below_its_limit);
	tcase_add_test(t, initrd_goes_around_the_kernel);
	tcase_add_test(t, initrd_that_is_missing);
	tcase_add_test(t, initrd_that_is_a_directory);
	tcase_add_test(t, initrd_that_is_a_device);
	tcase_add_test(t, initrd_that_is_empty);
	tcase_add_test(t, initrd_that_is_too_big);
	tcase_add_test(t, initrd_limit_of_zero);
	tcase_add_test(t, modules_are_refused);
	tcase_add_test(t, old_protocol);
	tcase_add_test(t, kernel_for_32_bits);
	tcase_add_test(t, zimage);
	tcase_add_test(t, header_too_short);
	tcase_add_test(t, file_ends_in_header);
	tcase_add_test(t, truncated);
	tcase_add_test(t, sizes_at_their_limits);
	tcase_add_test(t, bytes_behind_the_kernel_do_not_matter);
	tcase_add_test(t, too_big_for_the_memory);
	tcase_add_test(t, init_size_smaller_than_the_file);
	tcase_add_test(t, preferred_address_outside_of_memory);
	tcase_add_test(t, relocatable_kernel_is_moved_out_of_low_memory);
	tcase_add_test(t, fixed_kernel_on_top_of_the_loader);
	tcase_add_test(t, alignment);
	tcase_add_test(t, command_line_too_long);
	tcase_add_test(t, no_command_line);
	tcase_add_test(t, six_gib);
	suite_add_tcase(s, t);
	SRunner *r = srunner_create(s);
	srunner_run_all(r, CK_ENV);
	int failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? 1 : 0;
}
