/* Memory for rings and buffers, and page tables for what lies above 4 GiB; see mem.h. */
#include "lib/mem.h"

#define HEAP_START 0x200000u /* past the image and what a loader puts beside it */

extern uint64_t boot_pdpt[];
extern const char image_end[];

static uintptr_t heap_next = HEAP_START;

void *mem_alloc(size_t bytes, size_t align)
{
	uintptr_t at = (heap_next + align - 1) & ~(align - 1);

	CHECK((uintptr_t)image_end <= HEAP_START, "image is too big");
	heap_next = at + bytes;
	return (void *)at;
}

void mem_map_gib(uint64_t gpa, bool device)
{
	uint64_t gib = gpa >> 30, *pd;

	CHECK(gib < 512, "no page tables for 0x%lx", (unsigned long)gpa);
	if (boot_pdpt[gib])
		return;
	pd = mem_alloc(4096, 4096);
	for (unsigned i = 0; i < 512; i++)
		pd[i] = (gib << 30 | (uint64_t)i << 21) + (device ? 0xff : 0xe7);
	boot_pdpt[gib] = (uintptr_t)pd + 0x27;
}
