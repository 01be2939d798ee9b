/*
 * A 32-bit Multiboot 1 kernel: checks magic, memory information, command line and modules.
 *
 *   expect=WORD  is the last word of the command line      modules=N  so many modules came
 *   mem=KIB      so much memory is above 1 MiB at least
 *
 * Each module must begin with its own arguments' first word (the runner writes them so).
 */
#include "lib/guest.h"

#define MB_BOOT_MAGIC	0x2badb002
#define MB_INFO_MEM	(1 << 0)
#define MB_INFO_CMDLINE (1 << 2)
#define MB_INFO_MODS	(1 << 3)
#define MB_INFO_MMAP	(1 << 6)

struct mb_info {
	uint32_t flags, mem_lower, mem_upper, boot_device, cmdline, mods_count, mods_addr, syms[4];
	uint32_t mmap_length, mmap_addr;
};

struct mb_module {
	uint32_t start, end, string, reserved;
};

void mb_main(uint32_t magic, const struct mb_info *info) __attribute__((noreturn));

extern const char image_end[];

static void check_module(unsigned i, const struct mb_module *m)
{
	const char *args = (const char *)(uintptr_t)m->string, *word;
	const char *data = (const char *)(uintptr_t)m->start;
	size_t n = 0;

	CHECK(m->end > m->start, "module %u is empty", i);
	CHECK(!(m->start & 0xfff), "module %u is not on a page boundary", i);
	CHECK(m->start >= (uintptr_t)image_end, "module %u lies on the kernel", i);
	print("module %u: %u bytes, args: %s\n", i, m->end - m->start, args);
	/* The string may begin with the path. */
	word = args;
	for (const char *p = args; *p; p++) {
		if (*p == ' ')
			word = p + 1;
	}
	while (word[n] && word[n] != ' ')
		n++;
	CHECK(m->end - m->start >= n && !memcmp(data, word, n),
	      "module %u is not the one called %s", i, word);
}

void mb_main(uint32_t magic, const struct mb_info *info)
{
	const struct mb_module *m = (const void *)(uintptr_t)info->mods_addr;
	char expect[64];

	CHECK(magic == MB_BOOT_MAGIC, "magic is 0x%x", magic);
	if (info->flags & MB_INFO_CMDLINE)
		cmdline_set((const char *)(uintptr_t)info->cmdline);
	print("hello by multiboot, flags 0x%x\ncmdline: %s\n", info->flags, cmdline());
	CHECK(info->flags & MB_INFO_MEM, "no memory information");
	CHECK(info->mem_lower >= 512 && info->mem_upper >= cmdline_u64("mem", 1024),
	      "memory is %u KiB below and %u KiB above 1 MiB", info->mem_lower, info->mem_upper);
	CHECK(info->flags & MB_INFO_MMAP && info->mmap_length, "no memory map");
	if (cmdline_get("expect", expect, sizeof(expect))) {
		size_t n = strlen(cmdline()), k = strlen(expect);

		CHECK(n >= k && !strcmp(cmdline() + n - k, expect), "command line was cut");
	}
	if (cmdline_has("modules")) {
		CHECK(info->flags & MB_INFO_MODS, "no module information");
		CHECK(info->mods_count == cmdline_u64("modules", 0), "%u modules",
		      info->mods_count);
		for (unsigned i = 0; i < info->mods_count; i++)
			check_module(i, &m[i]);
	}
	success();
}
