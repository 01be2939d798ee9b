/*
 * The arm64 memory map and interrupt lines as the rest of xvmm asks for them. Pure functions of
 * layout.h; any thread, no locks.
 */
#include "arch/arm64/layout.h"

#include <errno.h>

#include "arch/arch.h"

int arch_mem_layout(uint64_t memory_bytes, struct gmem_layout *out)
{
	if (memory_bytes < ARM64_MEM_MIN_BYTES || memory_bytes > ARM64_MEM_MAX_BYTES ||
	    memory_bytes % KIB(64))
		return -ERANGE;
	out[0] = (struct gmem_layout){ .base = ARM64_RAM_BASE, .size_bytes = memory_bytes };
	return 1;
}

void arch_pci_layout(struct pci_layout *out)
{
	*out = (struct pci_layout){
		.ecam_base = ARM64_ECAM_BASE,
		.ecam_bytes = ARM64_ECAM_BYTES,
		.mmio_base = ARM64_PCI_MMIO_BASE,
		.mmio_bytes = ARM64_PCI_MMIO_BYTES,
	};
	for (unsigned i = 0; i < ARM64_NR_SPI_PCI; i++)
		out->intx_gsi[i] = ARM64_SPI_PCI_FIRST + i;
}

void arch_virtio_mmio_slot(unsigned slot, gpa_t *base, unsigned *gsi)
{
	*base = ARM64_VIRTIO_MMIO_BASE + (uint64_t)slot * ARM64_VIRTIO_MMIO_BYTES;
	*gsi = ARM64_SPI_VIRTIO_FIRST + slot % ARCH_MAX_VIRTIO_MMIO;
}

_Static_assert(ARM64_SPI_PCI_FIRST + ARM64_NR_SPI_PCI <= ARM64_SPI_VIRTIO_FIRST, "interrupt lines");
_Static_assert(ARM64_SPI_VIRTIO_FIRST + ARCH_MAX_VIRTIO_MMIO <= ARM64_NR_SPI, "interrupt lines");
_Static_assert(ARM64_GICR_END <= ARM64_VIRTIO_MMIO_BASE, "redistributors");
_Static_assert(ARM64_PCI_MMIO_BASE + ARM64_PCI_MMIO_BYTES <= ARM64_ECAM_BASE, "PCI windows");
_Static_assert(ARM64_ECAM_BASE + ARM64_ECAM_BYTES <= ARM64_RAM_BASE, "devices and RAM");
