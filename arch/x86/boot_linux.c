/*
 * Linux bzImage by the 64-bit boot protocol. Source: Linux, Documentation/arch/x86/boot.rst. Runs
 * on the thread that creates the machine.
 *
 * The kernel always goes to its preferred address: a relocatable one that is loaded lower moves
 * itself there anyway, so memory that is too small for that is too small for the kernel.
 */
#include <asm/bootparam.h>
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "arch/x86/layout.h"
#include "arch/x86/loader.h"
#include "arch/x86/memmap.h"

#define HDR_OFFSET	    0x1F1
#define HDR_MAGIC_OFFSET    0x202
#define HDR_MAGIC	    "HdrS"
#define BOOT_FLAG	    0xAA55
#define SECTOR_BYTES	    512
#define DEFAULT_SETUP_SECTS 4
#define PROTOCOL_64BIT	    0x020C /* 2.12: xloadflags */
#define ENTRY_64BIT	    0x200  /* from the start of the protected-mode code */
#define LOADER_UNDEFINED    0xFF
#define VID_MODE_NORMAL	    0xFFFF

struct bzimage {
	struct setup_header hdr;
	uint64_t payload_offset, payload_bytes;
	gpa_t load;
	uint64_t run_bytes; /* what it needs from load on until it has set up its own memory */
};

bool boot_is_linux(const uint8_t *head, size_t len)
{
	return len >= HDR_MAGIC_OFFSET + 4 && head[0x1FE] == (BOOT_FLAG & 0xFF) &&
	       head[0x1FF] == BOOT_FLAG >> 8 && !memcmp(head + HDR_MAGIC_OFFSET, HDR_MAGIC, 4);
}

static int read_header(struct loader *l, struct bzimage *bz)
{
	struct setup_header *h = &bz->hdr;
	uint8_t raw[sizeof(*h)];

	int err = image_read(&l->kernel, HDR_OFFSET, raw, sizeof(raw));
	if (err == -ENODATA)
		return loader_refuse(l, -ENOEXEC,
				     "truncated: the file ends inside the Linux header");
	if (err)
		return loader_refuse(l, err, "%s", strerror(-err));
	memcpy(h, raw, sizeof(*h));
	if (h->version < PROTOCOL_64BIT)
		return loader_refuse(l, -ENOEXEC,
				     "Linux boot protocol %u.%02u is too old: 2.12 or later "
				     "(Linux 3.8) is needed",
				     h->version >> 8, h->version & 0xFF);
	if (!(h->xloadflags & XLF_KERNEL_64))
		return loader_refuse(l, -ENOEXEC,
				     "a 32-bit Linux kernel: a 64-bit one (x86-64) is needed");
	if (!(h->loadflags & LOADED_HIGH))
		return loader_refuse(l, -ENOEXEC, "a zImage: a bzImage is needed");

	/* How long the header is, is the operand of the jump over it. */
	size_t len = HDR_MAGIC_OFFSET + (h->jump >> 8) - HDR_OFFSET;
	if (len < offsetof(struct setup_header, handover_offset))
		return loader_refuse(l, -ENOEXEC, "the Linux header is only %zu bytes long", len);
	if (len < sizeof(*h))
		memset((uint8_t *)h + len, 0, sizeof(*h) - len);
	return 0;
}

static int check_sizes(struct loader *l, struct bzimage *bz)
{
	const struct setup_header *h = &bz->hdr;
	unsigned setup_sects = h->setup_sects ? h->setup_sects : DEFAULT_SETUP_SECTS;

	bz->payload_offset = (uint64_t)(setup_sects + 1) * SECTOR_BYTES;
	bz->payload_bytes = (uint64_t)h->syssize * 16;
	if (bz->payload_bytes <= ENTRY_64BIT)
		return loader_refuse(l, -ENOEXEC, "the Linux header says that there is no code");
	if (!image_covers(&l->kernel, bz->payload_offset, bz->payload_bytes))
		return loader_refuse(l, -ENOEXEC,
				     "truncated: the Linux header says %" PRIu64
				     " bytes, the file has %" PRIu64,
				     bz->payload_offset + bz->payload_bytes, l->kernel.size_bytes);

	bz->run_bytes = h->init_size > bz->payload_bytes ? h->init_size : bz->payload_bytes;
	bz->load = h->pref_address;
	if (h->relocatable_kernel) {
		if (!is_pow2(h->kernel_alignment))
			return loader_refuse(l, -ENOEXEC,
					     "the kernel's alignment 0x%x is no power of two",
					     h->kernel_alignment);
		if (bz->load < X86_RESERVED_END)
			bz->load = X86_RESERVED_END;
		if (bz->load > loader_low_end(l))
			return loader_no_memory(l, bz->load, bz->run_bytes, "the kernel");
		bz->load = ALIGN_UP(bz->load, h->kernel_alignment);
	}
	/* The identity map that the kernel is entered with covers no more. */
	if (bz->load >= loader_low_end(l) || bz->run_bytes > loader_low_end(l) - bz->load)
		return loader_no_memory(l, bz->load, bz->run_bytes, "the kernel");
	return loader_claim(l, bz->load, bz->run_bytes, "the kernel");
}

static int put_zero_page(struct loader *l, const struct bzimage *bz,
			 const struct loader_module *initrd)
{
	struct memmap_range map[MEMMAP_MAX];
	struct boot_params bp;

	memset(&bp, 0, sizeof(bp));
	bp.hdr = bz->hdr;
	bp.hdr.type_of_loader = LOADER_UNDEFINED;
	bp.hdr.vid_mode = VID_MODE_NORMAL;
	bp.hdr.code32_start = (uint32_t)bz->load;
	bp.hdr.cmd_line_ptr = X86_CMDLINE;
	bp.hdr.ramdisk_image = initrd ? (uint32_t)initrd->base : 0;
	bp.hdr.ramdisk_size = initrd ? (uint32_t)initrd->size_bytes : 0;
	bp.hdr.setup_data = 0;
	bp.acpi_rsdp_addr = l->rsdp;

	bp.e820_entries = (uint8_t)memmap_build(l->mem, map);
	for (unsigned i = 0; i < bp.e820_entries; i++)
		bp.e820_table[i] =
			(struct boot_e820_entry){ map[i].base, map[i].size_bytes, map[i].type };
	return gmem_write(l->mem, X86_ZERO_PAGE, &bp, sizeof(bp));
}

int boot_linux(struct loader *l)
{
	struct loader_module mod[LOADER_MAX_MODULES];
	struct bzimage bz;
	unsigned nr = 0;

	int err = read_header(l, &bz);
	if (!err)
		err = check_sizes(l, &bz);
	if (err)
		return err;
	if (l->boot->nr_modules)
		return loader_refuse(l, -ENOEXEC,
				     "a Linux bzImage takes an initrd, but no modules");
	err = image_load(&l->kernel, bz.payload_offset, l->mem, bz.load, bz.payload_bytes);
	if (err)
		return loader_refuse(l, err, "%s", strerror(-err));

	err = loader_put_cmdline(l, bz.hdr.cmdline_size);
	if (err)
		return err;

	/* Inclusive in the header. */
	gpa_t initrd_end = (gpa_t)bz.hdr.initrd_addr_max + 1;
	err = loader_load_modules(l, LOADER_HIGHEST, initrd_end, mod, &nr);
	if (!err)
		err = put_zero_page(l, &bz, nr ? &mod[0] : NULL);
	if (!err)
		err = loader_put_cpu_tables(l, true);
	if (err)
		return err;

	l->entry->mode = ARCH_ENTRY_X86_LONG64;
	l->entry->pc = bz.load + ENTRY_64BIT;
	l->entry->arg = X86_ZERO_PAGE;
	l->entry->protocol = "Linux 64-bit";
	return 0;
}
