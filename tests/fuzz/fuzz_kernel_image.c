/*
 * An arbitrary file as the kernel: it is loaded, or refused with a reason; nothing else happens.
 * libFuzzer; the first byte chooses memory size and company.
 *
 *   clang -g -O1 -fsanitize=fuzzer,address,undefined … tests/fuzz/fuzz_kernel_image.c
 */
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "arch/arch.h"
#include "arch/x86/layout.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* An entry point must lie in memory; what the tables name as well. */
static void check(const struct gmem *mem, const struct arch_entry *e)
{
	if (!e->protocol || !gmem_ptr(mem, e->pc, 1) || !gmem_ptr(mem, e->arg, 52) ||
	    !gmem_ptr(mem, e->gdt, X86_GDT_BYTES))
		abort();
	if (e->mode == ARCH_ENTRY_X86_LONG64 && !gmem_ptr(mem, e->page_tables, 6 * 4096))
		abort();
	/* What the loader wrote must have survived the kernel's own parts. */
	if (memcmp(gmem_ptr(mem, X86_ACPI_BASE, 8), "RSD PTR ", 8) ||
	    memcmp(gmem_ptr(mem, X86_MPTABLE_BASE, 4), "_MP_", 4))
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct gmem_layout layout[GMEM_MAX_REGIONS];
	struct arch_boot boot = { .cmdline = "console=ttyS0", .cpus = 2 };
	struct arch_entry entry;
	struct gmem mem;
	char path[32], self[32], why[256];

	if (size == 0)
		return 0;
	uint8_t choice = *data++;
	size--;

	int fd = memfd_create("kernel", MFD_CLOEXEC);
	int initrd = memfd_create("initrd", MFD_CLOEXEC);
	if (fd < 0 || initrd < 0 || write(fd, data, size) != (ssize_t)size ||
	    ftruncate(initrd, choice & 2 ? MIB(1) : 5000))
		abort();
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	snprintf(self, sizeof(self), "/proc/self/fd/%d", initrd);
	boot.kernel = path;
	boot.initrd = choice & 1 ? self : NULL;
	if (choice & 4) {
		boot.module[0].path = path;
		boot.module[0].args = "args";
		boot.nr_modules = 1;
	}

	int nr = arch_mem_layout(choice & 8 ? GIB(4) : MIB(8), layout);
	if (nr < 0 || gmem_create(&mem, "fuzz", layout, (unsigned)nr, 0))
		abort();
	int err = arch_load_kernel(&mem, &boot, &entry, why, sizeof(why));
	if (err == 0)
		check(&mem, &entry);
	else if (err > 0 || !memchr(why, '\0', sizeof(why)) || why[0] == '\0')
		abort();
	gmem_destroy(&mem);
	close(fd);
	close(initrd);
	return 0;
}
