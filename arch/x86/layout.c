/*
 * The x86 memory map and interrupt lines as the rest of xvmm asks for them. Pure functions of
 * layout.h; any thread, no locks.
 */
#include <errno.h>

#include "arch/arch.h"
#include "arch/x86/layout.h"

int arch_mem_layout(uint64_t memory_bytes, struct gmem_layout *out)
{
	if (memory_bytes < X86_MEM_MIN_BYTES || memory_bytes > X86_MEM_MAX_BYTES ||
	    memory_bytes % KIB(4))
		return -ERANGE;
	out[0] = (struct gmem_layout){ .base = 0, .size_bytes = memory_bytes };
	if (memory_bytes <= X86_LOW_RAM_MAX)
		return 1;
	out[0].size_bytes = X86_LOW_RAM_MAX;
	out[1] = (struct gmem_layout){
		.base = X86_HIGH_RAM_BASE,
		.size_bytes = memory_bytes - X86_LOW_RAM_MAX,
	};
	return 2;
}

void arch_pci_layout(struct pci_layout *out)
{
	*out = (struct pci_layout){
		.ecam_base = X86_ECAM_BASE,
		.ecam_bytes = X86_ECAM_BYTES,
		.mmio_base = X86_PCI_MMIO_BASE,
		.mmio_bytes = X86_PCI_MMIO_BYTES,
		.io_base = X86_PCI_IO_BASE,
		.io_bytes = X86_PCI_IO_BYTES,
		.conf1 = true,
	};
	for (unsigned i = 0; i < X86_NR_GSI_PCI; i++)
		out->intx_gsi[i] = X86_GSI_PCI_FIRST + i;
}

void arch_virtio_mmio_slot(unsigned slot, gpa_t *base, unsigned *gsi)
{
	static const uint8_t slot_gsi[ARCH_MAX_VIRTIO_MMIO] = {
		X86_GSI_VIRTIO_0,  X86_GSI_VIRTIO_1,  X86_GSI_VIRTIO_2,	 X86_GSI_VIRTIO_3,
		X86_GSI_VIRTIO_4,  X86_GSI_VIRTIO_5,  X86_GSI_VIRTIO_6,	 X86_GSI_VIRTIO_7,
		X86_GSI_VIRTIO_8,  X86_GSI_VIRTIO_9,  X86_GSI_VIRTIO_10, X86_GSI_VIRTIO_11,
		X86_GSI_VIRTIO_12, X86_GSI_VIRTIO_13, X86_GSI_VIRTIO_14, X86_GSI_VIRTIO_15,
	};

	*base = X86_VIRTIO_MMIO_BASE + (uint64_t)slot * X86_VIRTIO_MMIO_BYTES;
	*gsi = slot_gsi[slot % ARCH_MAX_VIRTIO_MMIO];
}

_Static_assert(X86_PCI_MMIO_LAST == X86_PCI_MMIO_BASE + X86_PCI_MMIO_BYTES - 1,
	       "PCI memory window");
_Static_assert(X86_PCI_IO_LAST == X86_PCI_IO_BASE + X86_PCI_IO_BYTES - 1, "PCI I/O window");
_Static_assert(X86_VIRTIO_MMIO_SLOT(0F) == X86_VIRTIO_MMIO_BASE + 15 * X86_VIRTIO_MMIO_BYTES,
	       "virtio-mmio slots");
