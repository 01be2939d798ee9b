/*
 * Loads a kernel, its initrd and the device tree. They lie one behind the other from the start of
 * RAM on, which satisfies every version of Linux' boot protocol: kernel, initrd and tree within one
 * GiB where they fit, the tree within a 2 MiB block of its own.
 *
 * Runs on the thread that creates the machine.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "arch/arch.h"
#include "arch/arm64/boot_image.h"
#include "arch/arm64/fdt.h"
#include "arch/arm64/layout.h"

#define CMDLINE_MAX_BYTES 2047 /* COMMAND_LINE_SIZE less the NUL */
#define FDT_BLOCK_BYTES	  MIB(2)

_Static_assert(FDT_MAX_BYTES <= FDT_BLOCK_BYTES, "the tree crosses a 2 MiB boundary");

/* Everything about the initrd; on return `start` and `end` are where it lies, or equal. */
static int load_initrd(const struct arch_boot *boot, const struct gmem *mem, gpa_t from,
		       struct fdt_params *p, char *why, size_t bytes)
{
	struct image initrd;
	int rc;

	p->initrd_start = p->initrd_end = from;
	if (!boot->initrd)
		return 0;
	rc = image_open(&initrd, boot->initrd);
	if (rc) {
		snprintf(why, bytes, "%s: %s", boot->initrd, strerror(-rc));
		return rc;
	}
	rc = image_load(&initrd, 0, mem, from, initrd.size_bytes);
	if (rc == -EFAULT) {
		rc = -E2BIG;
		snprintf(why, bytes, "%s: %llu KiB, too big for the guest's memory", boot->initrd,
			 (unsigned long long)(initrd.size_bytes >> 10));
	} else if (rc) {
		snprintf(why, bytes, "%s: %s", boot->initrd, strerror(-rc));
	} else {
		p->initrd_end = from + initrd.size_bytes;
	}
	image_close(&initrd);
	return rc;
}

static int load_fdt(const struct gmem *mem, const struct fdt_params *p, gpa_t at, char *why,
		    size_t bytes)
{
	void *tree = calloc(1, FDT_MAX_BYTES);
	int rc;

	if (!tree) {
		snprintf(why, bytes, "the device tree: no memory");
		return -ENOMEM;
	}
	rc = fdt_build(p, tree);
	if (rc < 0) {
		snprintf(why, bytes, "the device tree: %s", strerror(-rc));
	} else if (gmem_write(mem, at, tree, (uint64_t)rc)) {
		snprintf(why, bytes, "no memory is left for the device tree");
		rc = -E2BIG;
	} else {
		rc = 0;
	}
	free(tree);
	return rc;
}

static int check(const struct arch_boot *boot, char *why, size_t bytes)
{
	if (boot->nr_modules) {
		snprintf(why, bytes, "modules are for Multiboot kernels, which are x86's");
		return -EINVAL;
	}
	if (strlen(boot->cmdline) > CMDLINE_MAX_BYTES) {
		snprintf(why, bytes, "the command line has %zu bytes; Linux takes %d on arm64",
			 strlen(boot->cmdline), CMDLINE_MAX_BYTES);
		return -EINVAL;
	}
	if (boot->irqchip == ARM64_GIC_V2 && boot->cpus > ARM64_GICV2_MAX_CPUS) {
		snprintf(why, bytes, "cpus = %u: this host's GICv2 serves at most %d", boot->cpus,
			 ARM64_GICV2_MAX_CPUS);
		return -EINVAL;
	}
	if (boot->cpus > ARM64_MAX_CPUS || boot->nr_virtio_mmio > ARCH_MAX_VIRTIO_MMIO) {
		snprintf(why, bytes, "at most %d CPUs and %d virtio-mmio devices", ARM64_MAX_CPUS,
			 ARCH_MAX_VIRTIO_MMIO);
		return -EINVAL;
	}
	return 0;
}

int arch_load_kernel(const struct gmem *mem, const struct arch_boot *boot, struct arch_entry *entry,
		     char *why, size_t why_bytes)
{
	struct fdt_params p = {
		.mem = mem,
		.cmdline = boot->cmdline,
		.cpus = boot->cpus,
		.nr_virtio_mmio = boot->nr_virtio_mmio,
		.gic = (enum arm64_gic)boot->irqchip,
	};
	struct boot_image kernel;
	struct image file;
	gpa_t fdt;
	int rc;

	rc = check(boot, why, why_bytes);
	if (rc)
		return rc;
	if (getrandom(p.rng_seed, sizeof(p.rng_seed), 0) != sizeof(p.rng_seed)) {
		snprintf(why, why_bytes, "no random numbers from this machine");
		return -EIO;
	}
	rc = image_open(&file, boot->kernel);
	if (rc) {
		snprintf(why, why_bytes, "%s: %s", boot->kernel, strerror(-rc));
		return rc;
	}
	rc = boot_image_load(&file, mem, &kernel, why, why_bytes);
	image_close(&file);
	if (rc)
		return rc;
	rc = load_initrd(boot, mem, ALIGN_UP(kernel.end, KIB(64)), &p, why, why_bytes);
	if (rc)
		return rc;
	fdt = ALIGN_UP(p.initrd_end, FDT_BLOCK_BYTES);
	rc = load_fdt(mem, &p, fdt, why, why_bytes);
	if (rc)
		return rc;
	*entry = (struct arch_entry){
		.mode = ARCH_ENTRY_ARM64_EL1,
		.pc = kernel.entry,
		.arg = fdt,
		.protocol = kernel.protocol,
	};
	return 0;
}
