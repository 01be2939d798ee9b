/*
 * The guest's memory map (e820). A pure function; any thread.
 */
#include "arch/x86/layout.h"
#include "arch/x86/memmap.h"

unsigned memmap_build(const struct gmem *mem, struct memmap_range out[MEMMAP_MAX])
{
	gpa_t low_end = mem->region[0].base + mem->region[0].size_bytes;
	unsigned n = 0;

	out[n++] = (struct memmap_range){ 0, X86_RESERVED_BASE, MEMMAP_RAM };
	out[n++] = (struct memmap_range){ X86_RESERVED_BASE, X86_RESERVED_END - X86_RESERVED_BASE,
					  MEMMAP_RESERVED };
	out[n++] =
		(struct memmap_range){ X86_RESERVED_END, low_end - X86_RESERVED_END, MEMMAP_RAM };
	/* Linux uses ECAM only where the map or ACPI reserves it; here both do. */
	out[n++] = (struct memmap_range){ X86_ECAM_BASE, X86_ECAM_BYTES, MEMMAP_RESERVED };
	/* KVM's pages are real mappings in the guest: nothing else may be put there. */
	out[n++] = (struct memmap_range){ X86_KVM_IDENTITY_MAP, 4 * 4096, MEMMAP_RESERVED };
	if (mem->nr_regions > 1)
		out[n++] = (struct memmap_range){ mem->region[1].base, mem->region[1].size_bytes,
						  MEMMAP_RAM };
	return n;
}
