/*
 * The x86 memory map and interrupt lines, and telling kernels from other files.
 */
#include <check.h>
#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "arch/x86/layout.h"
#include "arch/x86/memmap.h"
#include "tests/unit/bootkit.h"

static struct bootkit kit;

static void setup(void)
{
	bootkit_setup(&kit, MIB(16));
}

static void teardown(void)
{
	bootkit_teardown(&kit);
}

START_TEST(memory_layout)
{
	struct gmem_layout l[GMEM_MAX_REGIONS];

	ck_assert_int_eq(arch_mem_layout(MIB(64), l), 1);
	ck_assert_uint_eq(l[0].base, 0);
	ck_assert_uint_eq(l[0].size_bytes, MIB(64));
	ck_assert_int_eq(arch_mem_layout(GIB(3), l), 1);
	ck_assert_int_eq(arch_mem_layout(GIB(3) + 4096, l), 2);
	ck_assert_uint_eq(l[0].size_bytes, GIB(3));
	ck_assert_uint_eq(l[1].base, GIB(4));
	ck_assert_uint_eq(l[1].size_bytes, 4096);
	ck_assert_int_eq(arch_mem_layout(GIB(6), l), 2);
	ck_assert_uint_eq(l[1].size_bytes, GIB(3));
}
END_TEST

START_TEST(memory_sizes_that_cannot_be)
{
	struct gmem_layout l[GMEM_MAX_REGIONS];

	ck_assert_int_eq(arch_mem_layout(0, l), -ERANGE);
	ck_assert_int_eq(arch_mem_layout(MIB(2) - 4096, l), -ERANGE);
	ck_assert_int_eq(arch_mem_layout(MIB(2), l), 1);
	ck_assert_int_eq(arch_mem_layout(MIB(64) + 1, l), -ERANGE);
	ck_assert_int_eq(arch_mem_layout(X86_MEM_MAX_BYTES, l), 2);
	ck_assert_int_eq(arch_mem_layout(X86_MEM_MAX_BYTES + 4096, l), -ERANGE);
	ck_assert_int_eq(arch_mem_layout(UINT64_MAX & ~0xFFFull, l), -ERANGE);
}
END_TEST

START_TEST(slots_have_places_and_lines_of_their_own)
{
	const unsigned taken[] = {
		0, 1, X86_GSI_TIMER_PIN, X86_GSI_COM1, X86_GSI_RTC, X86_GSI_SCI
	};
	bool used[X86_IOAPIC_PINS] = { false };

	for (unsigned i = 0; i < ARRAY_SIZE(taken); i++)
		used[taken[i]] = true;
	for (unsigned i = 0; i < ARCH_MAX_VIRTIO_MMIO; i++) {
		gpa_t base;
		unsigned gsi;
		arch_virtio_mmio_slot(i, &base, &gsi);
		ck_assert_uint_eq(base, 0xE8000000 + i * 0x1000);
		ck_assert_uint_lt(gsi, X86_IOAPIC_PINS);
		ck_assert_msg(!used[gsi], "slot %u shares line %u", i, gsi);
		used[gsi] = true;
	}
}
END_TEST

START_TEST(pci_lines_and_windows)
{
	struct pci_layout p;

	arch_pci_layout(&p);
	for (unsigned d = 0; d < 8; d++)
		ck_assert_uint_eq(p.intx_gsi[d], 16 + d);
	ck_assert_uint_eq(p.mmio_base + p.mmio_bytes, p.ecam_base);
	ck_assert_uint_le(p.ecam_base + p.ecam_bytes, X86_VIRTIO_MMIO_BASE);
	ck_assert_uint_ge(p.mmio_base, X86_LOW_RAM_MAX);
	ck_assert_uint_gt(p.io_base, X86_PORT_RESET);
	ck_assert(p.conf1);
}
END_TEST

START_TEST(memory_map_covers_all_ram_once)
{
	static const uint64_t sizes[] = { MIB(2), MIB(64), GIB(3), GIB(3) + MIB(1), GIB(6) };

	for (unsigned i = 0; i < ARRAY_SIZE(sizes); i++) {
		struct memmap_range r[MEMMAP_MAX];
		uint64_t ram = 0;
		bootkit_resize(&kit, sizes[i]);
		unsigned nr = memmap_build(&kit.mem, r);
		for (unsigned j = 0; j < nr; j++) {
			ck_assert_uint_gt(r[j].size_bytes, 0);
			if (j)
				ck_assert_uint_le(r[j - 1].base + r[j - 1].size_bytes, r[j].base);
			if (r[j].type == MEMMAP_RAM || r[j].base < MIB(1))
				ram += r[j].size_bytes;
			if (r[j].type == MEMMAP_RAM)
				bootkit_at(&kit, r[j].base, r[j].size_bytes);
		}
		ck_assert_uint_eq(ram, sizes[i]);
	}
}
END_TEST

START_TEST(files_that_are_no_kernels)
{
	static const struct {
		const char *bytes;
		size_t len;
		const char *why;
	} files[] = {
		{ "", 0, "the file is empty" },
		{ "x", 1, "neither a Linux bzImage, nor an ELF file, nor a Multiboot kernel" },
		{ "\x7f"
		  "EL",
		  3, "neither a Linux" },
		{ "\x1f\x8b\x08", 3, "gzip file: unpack it" },
		{ "\xfd"
		  "7zXZ\0",
		  6, "xz file: unpack it" },
		{ "\x28\xb5\x2f\xfd", 4, "Zstandard file: unpack it" },
		{ "070701", 6, "an initrd, not a kernel" },
	};

	for (unsigned i = 0; i < ARRAY_SIZE(files); i++) {
		bootkit_kernel(&kit, files[i].bytes, files[i].len);
		bootkit_refused(&kit, -ENOEXEC, files[i].why);
	}
	uint8_t arm[64] = { 0 };
	memcpy(arm + 56, "ARM\x64", 4);
	bootkit_kernel(&kit, arm, sizeof(arm));
	bootkit_refused(&kit, -ENOEXEC, "for arm64");
}
END_TEST

START_TEST(paths_that_are_no_files)
{
	bootkit_refused(&kit, -ENOENT, "No such file or directory");
	kit.boot.kernel = kit.dir;
	bootkit_refused(&kit, -EISDIR, "Is a directory");
	kit.boot.kernel = "/dev/null";
	bootkit_refused(&kit, -ENOEXEC, "not a regular file");
	/* Must not wait for a writer. */
	kit.boot.kernel = kit.kernel;
	ck_assert_int_eq(mkfifo(kit.kernel, 0600), 0);
	bootkit_refused(&kit, -ENOEXEC, "not a regular file");
}
END_TEST

/* A reason is cut to the caller's buffer, whatever its size. */
START_TEST(small_buffer_for_the_reason)
{
	char why[40];

	for (size_t len = 0; len < sizeof(why); len++) {
		memset(why, '#', sizeof(why));
		ck_assert_int_eq(arch_load_kernel(&kit.mem, &kit.boot, &kit.entry, why, len),
				 -ENOENT);
		ck_assert(len == 0 || memchr(why, '\0', len) != NULL);
		ck_assert_int_eq(why[len], '#');
	}
}
END_TEST

START_TEST(memory_without_room_for_anything)
{
	struct gmem_layout tiny = { .base = 0, .size_bytes = MIB(1) };

	gmem_destroy(&kit.mem);
	ck_assert_int_eq(gmem_create(&kit.mem, "test", &tiny, 1, 0), 0);
	bootkit_kernel(&kit, "x", 1);
	bootkit_refused(&kit, -E2BIG, "at least 2 MiB");
}
END_TEST

START_TEST(processors_that_the_tables_cannot_name)
{
	bootkit_kernel(&kit, "x", 1);
	kit.boot.cpus = 0;
	bootkit_refused(&kit, -EINVAL, "tables for 0 CPUs");
	kit.boot.cpus = 255;
	bootkit_refused(&kit, -ENOSPC, "tables for 255 CPUs");
	kit.boot.cpus = 1;
	kit.boot.nr_virtio_mmio = ARCH_MAX_VIRTIO_MMIO + 1;
	bootkit_refused(&kit, -ENOSPC, "17 virtio-mmio devices");
}
END_TEST

int main(void)
{
	Suite *s = suite_create("boot_layout");
	TCase *t = tcase_create("layout");

	tcase_add_checked_fixture(t, setup, teardown);
	tcase_add_test(t, memory_layout);
	tcase_add_test(t, memory_sizes_that_cannot_be);
	tcase_add_test(t, slots_have_places_and_lines_of_their_own);
	tcase_add_test(t, pci_lines_and_windows);
	tcase_add_test(t, memory_map_covers_all_ram_once);
	tcase_add_test(t, files_that_are_no_kernels);
	tcase_add_test(t, paths_that_are_no_files);
	tcase_add_test(t, small_buffer_for_the_reason);
	tcase_add_test(t, memory_without_room_for_anything);
	tcase_add_test(t, processors_that_the_tables_cannot_name);
	suite_add_tcase(s, t);
	SRunner *r = srunner_create(s);
	srunner_run_all(r, CK_ENV);
	int failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? 1 : 0;
}
