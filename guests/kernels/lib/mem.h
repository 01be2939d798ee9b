/* Memory for rings and buffers, and page tables for what lies above 4 GiB. */
#ifndef LIB_MEM_H
#define LIB_MEM_H

#include "lib/guest.h"

/* Never freed, zero as the machine starts with zeroed memory; align: a power of two. */
void *mem_alloc(size_t bytes, size_t align);
/* Makes the GiB that `gpa` lies in visible at the same address. */
void mem_map_gib(uint64_t gpa, bool device);

#endif
