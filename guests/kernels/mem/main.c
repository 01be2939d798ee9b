/*
 * Walks the loader's memory map, and writes to and reads from all of it in steps, above 4 GiB too.
 * `ram=BYTES`: so much RAM there must be, give or take 2 MiB that firmware or tables may take.
 */
#include "lib/mem.h"

#define STEP	   (64ull << 20)
#define FIRST	   (16ull << 20) /* below: the guest itself, and what the loader left */
#define FOUR_GIB   (1ull << 32)
#define MAX_PROBES 8192
#define SLACK	   (2ull << 20)

static uint64_t probe[MAX_PROBES];
static unsigned nr_probes;

static void probe_at(uint64_t gpa)
{
	gpa &= ~7ull;
	CHECK(nr_probes < MAX_PROBES, "too much memory");
	if (gpa >= FOUR_GIB)
		mem_map_gib(gpa, false);
	*(volatile uint64_t *)(uintptr_t)gpa = gpa ^ 0x5a5a5a5a5a5a5a5aull;
	probe[nr_probes++] = gpa;
}

void guest_main(void)
{
	uint64_t ram = 0, high = 0, expect = cmdline_u64("ram", 0), last = 0, start, bytes;
	bool is_ram;

	for (unsigned i = 0; machine_memory(i, &start, &bytes, &is_ram); i++) {
		uint64_t end = start + bytes;

		print("memmap: %012lx-%012lx type %u\n", (unsigned long)start, (unsigned long)end,
		      is_ram ? 1 : 2);
		CHECK(end > start, "entry %u is empty", i);
		CHECK(start >= last, "entry %u overlaps the one before", i);
		last = end;
		if (!is_ram)
			continue;
		ram += bytes;
		if (end > FOUR_GIB)
			high += start > FOUR_GIB ? bytes : end - FOUR_GIB;
		if (start < MACHINE_RAM_BASE + FIRST)
			start = MACHINE_RAM_BASE + FIRST;
		if (start >= end)
			continue;
		for (uint64_t at = start; at < end; at += STEP)
			probe_at(at);
		probe_at(end - 8);
	}
	for (unsigned i = 0; i < nr_probes; i++) {
		uint64_t v = *(volatile uint64_t *)(uintptr_t)probe[i];

		CHECK(v == (probe[i] ^ 0x5a5a5a5a5a5a5a5aull), "0x%lx reads 0x%lx",
		      (unsigned long)probe[i], (unsigned long)v);
	}
	print("mem: %lu KiB of RAM, %lu KiB above 4 GiB, %u probes\n", (unsigned long)(ram >> 10),
	      (unsigned long)(high >> 10), nr_probes);
	CHECK(!expect || (ram <= expect && ram + SLACK >= expect),
	      "RAM is %lu bytes instead of %lu", (unsigned long)ram, (unsigned long)expect);
	if (expect > FOUR_GIB)
		CHECK(high, "nothing above 4 GiB");
}
