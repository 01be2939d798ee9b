/*
 * Multiboot 1: hobby, teaching and test kernels. Source: Multiboot Specification 0.6.96. Runs on
 * the thread that creates the machine.
 *
 * A kernel is loaded by its ELF program headers, or by the address fields of its Multiboot header
 * where it says that they are valid. Modules follow the kernel in memory, the initrd first. A wish
 * for a video mode is ignored, as a text-only machine must: the information says that there is
 * none.
 */
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "arch/x86/elf.h"
#include "arch/x86/layout.h"
#include "arch/x86/memmap.h"

#define HEADER_MAGIC	 0x1BADB002
#define LOADER_MAGIC	 0x2BADB002
#define HEADER_MIN_BYTES 12
#define LOADER_NAME	 "xvmm"

enum header_flags {
	HEADER_ALIGN_MODULES = 1 << 0, /* they always are */
	HEADER_MEMORY_INFO = 1 << 1,   /* it is always given */
	HEADER_VIDEO_MODE = 1 << 2,
	HEADER_ADDRESSES = 1 << 16,
};
#define HEADER_MANDATORY 0xFFFF
#define HEADER_KNOWN	 (HEADER_ALIGN_MODULES | HEADER_MEMORY_INFO | HEADER_VIDEO_MODE)

struct mb_header {
	uint32_t magic, flags, checksum;
	uint32_t header_addr, load_addr, load_end_addr, bss_end_addr, entry_addr;
};

enum info_flags {
	INFO_MEMORY = 1 << 0,
	INFO_CMDLINE = 1 << 2,
	INFO_MODULES = 1 << 3,
	INFO_MMAP = 1 << 6,
	INFO_LOADER_NAME = 1 << 9,
};

struct mb_info {
	uint32_t flags;
	uint32_t mem_lower_kib, mem_upper_kib;
	uint32_t boot_device;
	uint32_t cmdline;
	uint32_t mods_count, mods_addr;
	uint32_t syms[4];
	uint32_t mmap_bytes, mmap_addr;
	uint32_t drives_bytes, drives_addr;
	uint32_t config_table;
	uint32_t boot_loader_name;
	uint32_t apm_table;
	uint8_t video[48]; /* VBE and frame buffer: none */
};
struct mb_module {
	uint32_t start, end, string, reserved;
};
struct mb_range {
	uint32_t size; /* of what follows */
	uint64_t base, size_bytes;
	uint32_t type;
} __attribute__((packed));

/* Offset of the header in the file's head, or -1. */
static int find_header(const uint8_t *head, size_t len, struct mb_header *h)
{
	for (size_t pos = 0; pos + HEADER_MIN_BYTES <= len; pos += 4) {
		memset(h, 0, sizeof(*h));
		memcpy(h, head + pos, HEADER_MIN_BYTES);
		if (h->magic != HEADER_MAGIC || h->magic + h->flags + h->checksum != 0)
			continue;
		if (!(h->flags & HEADER_ADDRESSES))
			return (int)pos;
		if (pos + sizeof(*h) > len)
			continue;
		memcpy(h, head + pos, sizeof(*h));
		return (int)pos;
	}
	return -1;
}

bool boot_is_multiboot(const uint8_t *head, size_t len)
{
	struct mb_header h;

	return find_header(head, len, &h) >= 0;
}

/* Loads by the header's own address fields: a flat image, followed by zeroes. */
static int load_flat(struct loader *l, const struct mb_header *h, uint32_t header_offset, gpa_t *pc)
{
	if (h->header_addr < h->load_addr || h->header_addr - h->load_addr > header_offset)
		return loader_refuse(l, -ENOEXEC,
				     "the Multiboot header at offset 0x%" PRIx32
				     " says that it is at 0x%" PRIx32
				     " of an image from 0x%" PRIx32,
				     header_offset, h->header_addr, h->load_addr);

	uint64_t offset = header_offset - (h->header_addr - h->load_addr);
	uint64_t file_bytes = l->kernel.size_bytes - offset;
	if (h->load_end_addr) {
		if (h->load_end_addr <= h->load_addr)
			return loader_refuse(l, -ENOEXEC,
					     "the Multiboot image ends (0x%" PRIx32
					     ") before it begins (0x%" PRIx32 ")",
					     h->load_end_addr, h->load_addr);
		file_bytes = h->load_end_addr - h->load_addr;
	}
	if (!image_covers(&l->kernel, offset, file_bytes))
		return loader_refuse(l, -ENOEXEC,
				     "truncated: the Multiboot header says %" PRIu64
				     " bytes, the file has %" PRIu64,
				     offset + file_bytes, l->kernel.size_bytes);

	uint64_t mem_bytes = file_bytes;
	if (h->bss_end_addr) {
		if (h->bss_end_addr < h->load_addr || h->bss_end_addr - h->load_addr < file_bytes)
			return loader_refuse(l, -ENOEXEC,
					     "the Multiboot image's bss ends at 0x%" PRIx32
					     ", inside of what is loaded from the file",
					     h->bss_end_addr);
		mem_bytes = h->bss_end_addr - h->load_addr;
	}
	if (h->entry_addr < h->load_addr || h->entry_addr - h->load_addr >= mem_bytes)
		return loader_refuse(l, -ENOEXEC,
				     "the entry point 0x%" PRIx32 " lies outside of the kernel",
				     h->entry_addr);

	int err = loader_claim(l, h->load_addr, mem_bytes, "the kernel");
	if (err)
		return err;
	err = image_load(&l->kernel, offset, l->mem, h->load_addr, file_bytes);
	if (err)
		return loader_refuse(l, err, "%s", strerror(-err));
	*pc = h->entry_addr;
	return 0;
}

static int load_elf(struct loader *l, const struct elf_kernel *k, gpa_t *pc)
{
	if (!k)
		return loader_refuse(
			l, -ENOEXEC,
			"a Multiboot kernel that is no ELF file must give its addresses "
			"in the header (flag bit 16)");
	if (k->is_64bit)
		return loader_refuse(l, -ENOEXEC,
				     "a 64-bit ELF file with a Multiboot header: Multiboot takes "
				     "32-bit ones (objcopy -O elf32-i386)");
	if (!elf_entry_gpa(k, pc))
		return loader_refuse(l, -ENOEXEC,
				     "the entry point 0x%" PRIx64 " lies outside of the kernel",
				     k->entry);
	return elf_load(l, k);
}

static int put_modules(struct loader *l, struct mb_info *info)
{
	struct mb_module list[LOADER_MAX_MODULES];
	struct loader_module mod[LOADER_MAX_MODULES];
	unsigned nr;

	int err = loader_load_modules(l, LOADER_LOWEST, GIB(4), mod, &nr);
	if (err)
		return err;
	/* Kernels look at the count: it is valid even if it is zero. */
	info->flags |= INFO_MODULES;
	info->mods_count = nr;
	if (nr == 0)
		return 0;
	for (unsigned i = 0; i < nr; i++) {
		gpa_t string;
		err = loader_put_string(l, mod[i].path, mod[i].args, &string);
		if (err)
			return err;
		list[i] = (struct mb_module){
			.start = (uint32_t)mod[i].base,
			.end = (uint32_t)(mod[i].base + mod[i].size_bytes),
			.string = (uint32_t)string,
		};
	}
	gpa_t at;
	err = loader_put(l, list, nr * sizeof(list[0]), 8, &at);
	info->mods_addr = err ? 0 : (uint32_t)at;
	return err;
}

static int put_memory(struct loader *l, struct mb_info *info)
{
	struct mb_range list[MEMMAP_MAX];
	struct memmap_range map[MEMMAP_MAX];
	unsigned nr = memmap_build(l->mem, map);
	gpa_t at;

	for (unsigned i = 0; i < nr; i++)
		list[i] = (struct mb_range){ sizeof(list[i]) - sizeof(list[i].size), map[i].base,
					     map[i].size_bytes, map[i].type };
	int err = loader_put(l, list, nr * sizeof(list[0]), 8, &at);
	if (err)
		return err;
	info->flags |= INFO_MEMORY | INFO_MMAP;
	info->mem_lower_kib = X86_RESERVED_BASE / 1024;
	info->mem_upper_kib = (uint32_t)((loader_low_end(l) - X86_RESERVED_END) / 1024);
	info->mmap_bytes = (uint32_t)(nr * sizeof(list[0]));
	info->mmap_addr = (uint32_t)at;
	return 0;
}

static int put_info(struct loader *l, gpa_t *at)
{
	struct mb_info info = { .flags = INFO_CMDLINE | INFO_LOADER_NAME };
	gpa_t string;

	int err = loader_put_string(l, l->boot->kernel, l->boot->cmdline, &string);
	if (err)
		return err;
	info.cmdline = (uint32_t)string;
	err = loader_put_string(l, LOADER_NAME, NULL, &string);
	if (err)
		return err;
	info.boot_loader_name = (uint32_t)string;
	err = put_modules(l, &info);
	if (!err)
		err = put_memory(l, &info);
	return err ? err : loader_put(l, &info, sizeof(info), 8, at);
}

int boot_multiboot(struct loader *l, const struct elf_kernel *k)
{
	uint8_t head[BOOT_HEAD_BYTES];
	uint64_t len = l->kernel.size_bytes < sizeof(head) ? l->kernel.size_bytes : sizeof(head);
	struct mb_header h;
	gpa_t pc, info;

	int err = image_read(&l->kernel, 0, head, len);
	if (err)
		return loader_refuse(l, err, "%s", strerror(-err));
	int offset = find_header(head, len, &h);
	if (offset < 0)
		return loader_refuse(l, -ENOEXEC, "no Multiboot header in the first %d bytes",
				     BOOT_HEAD_BYTES);
	if (h.flags & HEADER_MANDATORY & ~HEADER_KNOWN)
		return loader_refuse(l, -ENOEXEC,
				     "the Multiboot header requires features that are not known "
				     "(flags 0x%04" PRIx32 ")",
				     h.flags & HEADER_MANDATORY & ~HEADER_KNOWN);

	err = h.flags & HEADER_ADDRESSES ? load_flat(l, &h, (uint32_t)offset, &pc)
					 : load_elf(l, k, &pc);
	if (!err)
		err = put_info(l, &info);
	if (!err)
		err = loader_put_cpu_tables(l, false);
	if (err)
		return err;

	l->entry->mode = ARCH_ENTRY_X86_PROT32;
	l->entry->pc = pc;
	l->entry->arg = info;
	l->entry->magic = LOADER_MAGIC;
	l->entry->protocol = "Multiboot";
	return 0;
}
