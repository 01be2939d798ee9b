/*
 * ELF kernels by the x86/HVM direct boot ABI ("PVH"): 32-bit entry, start info in ebx. Source: Xen,
 * docs/misc/pvh.pandoc and include/public/arch-x86/hvm/start_info.h. Runs on the thread that
 * creates the machine.
 */
#include <errno.h>
#include <inttypes.h>

#include "arch/x86/elf.h"
#include "arch/x86/layout.h"
#include "arch/x86/memmap.h"

#define START_INFO_MAGIC   0x336EC578
#define START_INFO_VERSION 1

struct start_info {
	uint32_t magic, version, flags, nr_modules;
	uint64_t modlist, cmdline, rsdp, memmap;
	uint32_t nr_memmap, reserved;
};
struct start_info_module {
	uint64_t base, size_bytes, cmdline, reserved;
};
struct start_info_range {
	uint64_t base, size_bytes;
	uint32_t type, reserved;
};

static int put_modules(struct loader *l, struct start_info *si)
{
	struct start_info_module list[LOADER_MAX_MODULES];
	struct loader_module mod[LOADER_MAX_MODULES];
	unsigned nr;

	int err = loader_load_modules(l, LOADER_HIGHEST, GIB(4), mod, &nr);
	if (err || nr == 0)
		return err;
	for (unsigned i = 0; i < nr; i++) {
		gpa_t string;
		err = loader_put_string(l, mod[i].path, mod[i].args, &string);
		if (err)
			return err;
		list[i] = (struct start_info_module){ mod[i].base, mod[i].size_bytes, string, 0 };
	}
	si->nr_modules = nr;
	return loader_put(l, list, nr * sizeof(list[0]), 8, &si->modlist);
}

static int put_memmap(struct loader *l, struct start_info *si)
{
	struct start_info_range list[MEMMAP_MAX];
	struct memmap_range map[MEMMAP_MAX];

	si->nr_memmap = memmap_build(l->mem, map);
	for (unsigned i = 0; i < si->nr_memmap; i++)
		list[i] =
			(struct start_info_range){ map[i].base, map[i].size_bytes, map[i].type, 0 };
	return loader_put(l, list, si->nr_memmap * sizeof(list[0]), 8, &si->memmap);
}

int boot_pvh(struct loader *l, const struct elf_kernel *k)
{
	struct start_info si = {
		.magic = START_INFO_MAGIC,
		.version = START_INFO_VERSION,
		.cmdline = X86_CMDLINE,
		.rsdp = l->rsdp,
	};
	gpa_t info;

	if (!elf_covers(k, k->pvh_entry))
		return loader_refuse(l, -ENOEXEC,
				     "the PVH entry point 0x%" PRIx32 " lies in no segment",
				     k->pvh_entry);
	int err = elf_load(l, k);
	if (!err)
		err = loader_put_cmdline(l, UINT64_MAX);
	if (!err)
		err = put_modules(l, &si);
	if (!err)
		err = put_memmap(l, &si);
	if (!err)
		err = loader_put(l, &si, sizeof(si), 8, &info);
	if (!err)
		err = loader_put_cpu_tables(l, false);
	if (err)
		return err;

	l->entry->mode = ARCH_ENTRY_X86_PROT32;
	l->entry->pc = k->pvh_entry;
	l->entry->arg = info;
	l->entry->protocol = "PVH";
	return 0;
}
