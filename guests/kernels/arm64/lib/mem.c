/* Memory for rings and buffers; see mem.h. All of it is mapped from the start. */
#include "lib/mem.h"

extern const char image_end[];

static uintptr_t heap_next;

/* Past the image and what the loader puts behind it: initrd, then the device tree. */
void *mem_alloc(size_t bytes, size_t align)
{
	uintptr_t at;

	if (!heap_next) {
		heap_next = (uintptr_t)fdt_end();
		CHECK(heap_next > (uintptr_t)image_end, "the device tree lies below the image");
	}
	at = (heap_next + align - 1) & ~(align - 1);
	heap_next = at + bytes;
	return (void *)at;
}

void mem_map_gib(uint64_t gpa, bool device)
{
	CHECK(gpa >> 39 == 0, "no page tables for 0x%lx", (unsigned long)gpa);
}
