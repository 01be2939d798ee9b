/*
 * arm64 kernel images, plain and packed, and everything that can be wrong with one; then what lies
 * where in guest memory. Runs on any architecture.
 */
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <libfdt.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <zlib.h>

#include "arch/arch.h"
#include "arch/arm64/boot_image.h"
#include "arch/arm64/gic.h"
#include "arch/arm64/layout.h"

#define BODY_BYTES 200000u
#define IMAGE_SIZE 0x80000ull

struct header {
	uint32_t code[2];
	uint64_t text_offset, image_size, flags, reserved[3];
	char magic[4];
	uint32_t pe_offset;
};

static char dir[32], kernel_path[64], initrd_path[64];
static struct gmem mem;
static union {
	struct header h;
	uint8_t bytes[BODY_BYTES];
} file;
static struct boot_image image;
static struct arch_boot boot;
static struct arch_entry entry;
static char why[256];

static void make_memory(uint64_t bytes)
{
	struct gmem_layout l = { .base = ARM64_RAM_BASE, .size_bytes = bytes };

	ck_assert_int_eq(gmem_create(&mem, "test", &l, 1, 0), 0);
}

static void setup(void)
{
	strcpy(dir, "/tmp/arm64-boot-XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(dir));
	snprintf(kernel_path, sizeof(kernel_path), "%s/kernel", dir);
	snprintf(initrd_path, sizeof(initrd_path), "%s/initrd", dir);
	for (unsigned i = 0; i < BODY_BYTES; i++)
		file.bytes[i] = (uint8_t)(i * 7 + i / 256);
	file.h = (struct header){ .image_size = IMAGE_SIZE, .flags = 0xa, .magic = "ARM\x64" };
	make_memory(MIB(16));
	boot = (struct arch_boot){ .kernel = kernel_path, .cmdline = "console=ttyS0", .cpus = 2 };
	why[0] = '\0';
}

static void teardown(void)
{
	gmem_destroy(&mem);
	unlink(kernel_path);
	unlink(initrd_path);
	rmdir(dir);
}

static void write_file(const char *path, const void *data, size_t bytes)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(write(fd, data, bytes), (ssize_t)bytes);
	close(fd);
}

static int load(const void *data, size_t bytes)
{
	struct image f;
	int rc;

	write_file(kernel_path, data, bytes);
	ck_assert_int_eq(image_open(&f, kernel_path), 0);
	rc = boot_image_load(&f, &mem, &image, why, sizeof(why));
	image_close(&f);
	return rc;
}

static void refused(const void *data, size_t bytes, int err, const char *word)
{
	ck_assert_int_eq(load(data, bytes), err);
	ck_assert_msg(!strncmp(why, kernel_path, strlen(kernel_path)), "no path: %s", why);
	ck_assert_msg(strstr(why, word) != NULL, "not \"%s\": %s", word, why);
}

static void loaded_at(gpa_t at)
{
	ck_assert_uint_eq(image.entry, at);
	ck_assert_uint_eq(image.end, at + IMAGE_SIZE);
	ck_assert_mem_eq(gmem_ptr(&mem, at, BODY_BYTES), file.bytes, BODY_BYTES);
}

/* The file as gzip packs it, behind `gap` bytes. */
static uint8_t *packed(size_t gap, size_t *bytes)
{
	size_t room = gap + BODY_BYTES * 2;
	uint8_t *out = calloc(1, room);
	z_stream z = { .next_in = file.bytes, .avail_in = BODY_BYTES };

	ck_assert_int_eq(deflateInit2(&z, 6, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY), Z_OK);
	z.next_out = out + gap;
	z.avail_out = (uInt)(room - gap);
	ck_assert_int_eq(deflate(&z, Z_FINISH), Z_STREAM_END);
	*bytes = gap + z.total_out;
	deflateEnd(&z);
	return out;
}

START_TEST(plain)
{
	ck_assert_int_eq(load(&file, sizeof(file)), 0);
	ck_assert_str_eq(image.protocol, "Linux Image");
	loaded_at(ARM64_RAM_BASE);
}
END_TEST

START_TEST(text_offset)
{
	file.h.text_offset = 0x80000;
	ck_assert_int_eq(load(&file, sizeof(file)), 0);
	loaded_at(ARM64_RAM_BASE + 0x80000);
}
END_TEST

START_TEST(gzip)
{
	size_t n;
	uint8_t *gz = packed(0, &n);

	ck_assert_int_eq(load(gz, n), 0);
	ck_assert_str_eq(image.protocol, "Linux Image.gz");
	loaded_at(ARM64_RAM_BASE);
	free(gz);
}
END_TEST

static uint8_t *zboot(size_t *bytes)
{
	uint8_t *f = packed(4096, bytes);
	uint32_t at = 4096, size = (uint32_t)*bytes - 4096;

	memcpy(f, "MZ\0\0zimg", 8);
	memcpy(f + 8, &at, 4);
	memcpy(f + 12, &size, 4);
	strcpy((char *)f + 24, "gzip");
	return f;
}

START_TEST(efi_zboot)
{
	size_t n;
	uint8_t *f = zboot(&n);

	ck_assert_int_eq(load(f, n), 0);
	ck_assert_str_eq(image.protocol, "Linux EFI Image");
	loaded_at(ARM64_RAM_BASE);
	refused(f, n - 1, -ENOEXEC, "truncated");
	memset(f + 8, 0xff, 8);
	refused(f, n, -ENOEXEC, "truncated");
	strcpy((char *)f + 24, "zstd22");
	refused(f, n, -ENOEXEC, "gzip");
	free(f);
}
END_TEST

START_TEST(not_a_kernel)
{
	char bz[0x300] = "";

	refused("", 0, -ENOEXEC, "empty");
	refused("this is no kernel at all", 24, -ENOEXEC, "not an arm64 Linux Image");
	refused("070701", 6, -ENOEXEC, "cpio");
	refused("\177ELF", 4, -ENOEXEC, "ELF");
	refused("\xFD"
		"7zXZ\0",
		6, -ENOEXEC, "xz");
	memcpy(bz + 0x202, "HdrS", 4);
	refused(bz, sizeof(bz), -ENOEXEC, "x86");
	refused(&file, 63, -ENOEXEC, "not an arm64 Linux Image");
}
END_TEST

START_TEST(hostile_header)
{
	file.h.image_size = 0;
	refused(&file, sizeof(file), -ENOEXEC, "3.17");
	file.h.image_size = 63;
	refused(&file, sizeof(file), -ENOEXEC, "3.17");
	file.h.image_size = ~0ull;
	refused(&file, sizeof(file), -E2BIG, "too big");
	file.h.image_size = MIB(16) + 1;
	refused(&file, sizeof(file), -E2BIG, "too big");
	file.h.image_size = MIB(16);
	ck_assert_int_eq(load(&file, sizeof(file)), 0);
	file.h.text_offset = 0x1000;
	refused(&file, sizeof(file), -E2BIG, "too big");
	file.h.image_size = IMAGE_SIZE;
	file.h.text_offset = ~0ull & ~4095ull;
	refused(&file, sizeof(file), -ENOEXEC, "offset");
	file.h.text_offset = MIB(2);
	refused(&file, sizeof(file), -ENOEXEC, "offset");
	file.h.text_offset = 4;
	refused(&file, sizeof(file), -ENOEXEC, "offset");
	file.h.text_offset = 0;
	file.h.flags = 1;
	refused(&file, sizeof(file), -ENOEXEC, "big-endian");
}
END_TEST

/* A file that goes on behind what its header says is not believed to be longer. */
START_TEST(longer_than_it_says)
{
	file.h.image_size = 4096;
	ck_assert_int_eq(load(&file, sizeof(file)), 0);
	ck_assert_uint_eq(*(uint8_t *)gmem_ptr(&mem, ARM64_RAM_BASE + 4095, 1), file.bytes[4095]);
	ck_assert_uint_eq(*(uint8_t *)gmem_ptr(&mem, ARM64_RAM_BASE + 4097, 1), 0);
}
END_TEST

/* Linux' Image is an EFI program, too, whose sections say how long the file must be. */
START_TEST(truncated_plain)
{
	uint8_t *pe = file.bytes + 64;
	uint16_t sections = 2, optional = 0xa0;
	uint32_t size = 100000, at = 1000;

	file.h.pe_offset = 64;
	memset(pe, 0, 1024);
	memcpy(pe, "PE\0\0", 4);
	memcpy(pe + 6, &sections, 2);
	memcpy(pe + 20, &optional, 2);
	memcpy(pe + 24 + 0xa0 + 40 + 16, &size, 4);
	memcpy(pe + 24 + 0xa0 + 40 + 20, &at, 4);
	ck_assert_int_eq(load(&file, 101000), 0);
	refused(&file, 100999, -ENOEXEC, "truncated");
	/* Numbers that lead out of the image or wrap. */
	memset(pe + 6, 0xff, 2);
	memset(pe + 20, 0xff, 2);
	refused(&file, 101000, -ENOEXEC, "truncated");
	file.h.pe_offset = 0xffffffff;
	ck_assert_int_eq(load(&file, 101000), 0);
}
END_TEST

START_TEST(damaged_gz)
{
	size_t n;
	uint8_t *gz = packed(0, &n);

	refused(gz, n / 2, -ENOEXEC, "truncated");
	refused(gz, 10, -ENOEXEC, "truncated");
	refused(gz, 2, -ENOEXEC, "truncated");
	gz[n - 8] ^= 1; /* the checksum */
	refused(gz, n, -ENOEXEC, "damaged");
	free(gz);
	file.h.magic[0] = 'X';
	gz = packed(0, &n);
	refused(gz, n, -ENOEXEC, "not an arm64");
	free(gz);
}
END_TEST

static int load_all(void)
{
	write_file(kernel_path, &file, sizeof(file));
	return arch_load_kernel(&mem, &boot, &entry, why, sizeof(why));
}

START_TEST(everything_in_place)
{
	const void *fdt;
	const fdt32_t *start;
	int chosen;

	boot.initrd = initrd_path;
	write_file(initrd_path, "what the initrd holds", 21);
	ck_assert_int_eq(load_all(), 0);
	ck_assert_int_eq(entry.mode, ARCH_ENTRY_ARM64_EL1);
	ck_assert_uint_eq(entry.pc, ARM64_RAM_BASE);
	ck_assert_uint_eq(entry.arg % MIB(2), 0);
	fdt = gmem_ptr(&mem, entry.arg, 4096);
	ck_assert_int_eq(fdt_check_header(fdt), 0);
	chosen = fdt_path_offset(fdt, "/chosen");
	start = fdt_getprop(fdt, chosen, "linux,initrd-start", NULL);
	ck_assert_ptr_nonnull(start);
	ck_assert_uint_ge(fdt32_to_cpu(start[1]), ARM64_RAM_BASE + IMAGE_SIZE);
	ck_assert_mem_eq(gmem_ptr(&mem, fdt32_to_cpu(start[1]), 21), "what the initrd holds", 21);
	ck_assert_str_eq(fdt_getprop(fdt, chosen, "bootargs", NULL), "console=ttyS0");
}
END_TEST

START_TEST(no_room)
{
	static uint8_t big[MIB(3)];

	gmem_destroy(&mem);
	make_memory(MIB(4));
	boot.initrd = initrd_path;
	write_file(initrd_path, big, sizeof(big));
	/* The initrd fits, the tree behind it does not. */
	ck_assert_int_eq(load_all(), -E2BIG);
	ck_assert_ptr_nonnull(strstr(why, "device tree"));
	file.h.image_size = MIB(2);
	ck_assert_int_eq(load_all(), -E2BIG);
	ck_assert_ptr_nonnull(strstr(why, initrd_path));
	boot.initrd = "/nowhere/at/all";
	ck_assert_int_eq(load_all(), -ENOENT);
}
END_TEST

START_TEST(what_arm64_does_not_take)
{
	static char text[2049];

	memset(text, 'a', 2048);
	boot.cmdline = text;
	ck_assert_int_eq(load_all(), -EINVAL);
	text[2047] = '\0';
	ck_assert_int_eq(load_all(), 0);
	boot.nr_modules = 1;
	ck_assert_int_eq(load_all(), -EINVAL);
	ck_assert_ptr_nonnull(strstr(why, "Multiboot"));
	boot.nr_modules = 0;
	boot.irqchip = ARM64_GIC_V2;
	boot.cpus = ARM64_GICV2_MAX_CPUS;
	ck_assert_int_eq(load_all(), 0);
	boot.cpus = ARM64_GICV2_MAX_CPUS + 1;
	ck_assert_int_eq(load_all(), -EINVAL);
	ck_assert_ptr_nonnull(strstr(why, "cpus = 9: this host's GICv2 serves at most 8"));
	boot.irqchip = ARM64_GIC_V3_ITS;
	ck_assert_int_eq(load_all(), 0);
	boot.cpus = ARM64_MAX_CPUS + 1;
	ck_assert_int_eq(load_all(), -EINVAL);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("arm64_boot");
	TCase *t = tcase_create("core");
	SRunner *sr;
	int failed;

	tcase_add_checked_fixture(t, setup, teardown);
	tcase_add_test(t, plain);
	tcase_add_test(t, text_offset);
	tcase_add_test(t, gzip);
	tcase_add_test(t, efi_zboot);
	tcase_add_test(t, not_a_kernel);
	tcase_add_test(t, hostile_header);
	tcase_add_test(t, longer_than_it_says);
	tcase_add_test(t, truncated_plain);
	tcase_add_test(t, damaged_gz);
	tcase_add_test(t, everything_in_place);
	tcase_add_test(t, no_room);
	tcase_add_test(t, what_arm64_does_not_take);
	suite_add_tcase(s, t);
	sr = srunner_create(s);
	srunner_run_all(sr, CK_NORMAL);
	failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
