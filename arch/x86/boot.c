/*
 * What kind of kernel is it? Puts the firmware's tables into memory and hands the file to the boot
 * protocol that it is made for. Runs on the thread that creates the machine.
 */
#include <errno.h>
#include <string.h>

#include "arch/x86/acpi.h"
#include "arch/x86/elf.h"
#include "arch/x86/loader.h"
#include "arch/x86/mptable.h"

struct magic {
	unsigned offset, len;
	char bytes[8], hint[48]; /* arrays, so that the table needs no relocation */
};

/* Files that people are likely to name by mistake, and what to do instead. */
static const struct magic known_wrong[] = {
	{ 0, 2, "\x1F\x8B", "a gzip file: unpack it first" },
	{ 0, 6,
	  "\xFD"
	  "7zXZ",
	  "an xz file: unpack it first" },
	{ 0, 4, "\x28\xB5\x2F\xFD", "a Zstandard file: unpack it first" },
	{ 0, 6, "070701", "a cpio archive: an initrd, not a kernel" },
	{ 56, 4, "ARM\x64", "a Linux kernel for arm64, not x86" },
};

static const char *describe(const uint8_t *head, size_t len)
{
	if (len == 0)
		return "the file is empty";
	for (unsigned i = 0; i < ARRAY_SIZE(known_wrong); i++) {
		const struct magic *m = &known_wrong[i];
		if (m->offset + m->len <= len && !memcmp(head + m->offset, m->bytes, m->len))
			return m->hint;
	}
	return "neither a Linux bzImage, nor an ELF file, nor a Multiboot kernel";
}

static int load_elf(struct loader *l, bool multiboot)
{
	struct elf_kernel k;

	int err = elf_parse(l, &k);
	if (err)
		return err;
	if (k.has_pvh)
		return boot_pvh(l, &k);
	if (multiboot)
		return boot_multiboot(l, &k);
	return loader_refuse(
		l, -ENOEXEC,
		"an ELF file with neither a PVH note nor a Multiboot header: for Linux, "
		"give the bzImage (vmlinuz) or build with CONFIG_PVH");
}

static int load_kernel(struct loader *l)
{
	uint8_t head[BOOT_HEAD_BYTES];
	uint64_t len = l->kernel.size_bytes < sizeof(head) ? l->kernel.size_bytes : sizeof(head);

	int err = image_read(&l->kernel, 0, head, len);
	if (err)
		return loader_refuse(l, err, "%s", strerror(-err));
	bool multiboot = boot_is_multiboot(head, len);
	if (len >= 4 && !memcmp(head, "\177ELF", 4))
		return load_elf(l, multiboot);
	if (boot_is_linux(head, len))
		return boot_linux(l);
	if (multiboot)
		return boot_multiboot(l, NULL);
	return loader_refuse(l, -ENOEXEC, "%s", describe(head, len));
}

int arch_load_kernel(const struct gmem *mem, const struct arch_boot *boot, struct arch_entry *entry,
		     char *why, size_t why_bytes)
{
	struct loader l;

	int err = loader_init(&l, mem, boot, entry, why, why_bytes);
	if (err)
		return err;
	err = acpi_write(mem, boot->cpus, boot->nr_virtio_mmio, &l.rsdp);
	if (!err)
		err = mptable_write(mem, boot->cpus);
	if (err)
		loader_refuse(&l, err,
			      "no room in the tables for %u CPUs and %u virtio-mmio devices",
			      boot->cpus, boot->nr_virtio_mmio);
	else
		err = load_kernel(&l);
	loader_fini(&l);
	return err;
}
