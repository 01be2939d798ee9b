/*
 * Ring 3 and back: code runs there at full speed even where ring 0 is emulated, may use ports (IOPL
 * 3), is interrupted by the local APIC timer, and comes back with its value.
 */
#include "lib/clock.h"
#include "lib/user.h"

#define CALLS	    10
#define PATIENCE_US 20000000u

static volatile unsigned ticks;

static void tick(void *arg)
{
	ticks++;
}

static uint64_t ring_of_this(void *arg)
{
	uint64_t cs;

	__asm__ volatile("mov %%cs, %0" : "=r"(cs));
	print("%s from ring %lu\n", (const char *)arg, (unsigned long)(cs & 3));
	return cs & 3;
}

static uint64_t hash_much(void *arg)
{
	static const char text[] = "the same in every ring, whoever emulates it";
	uint64_t h = 0;

	for (unsigned i = 0; i < 10000; i++)
		h = hash_bytes(text, sizeof(text), h);
	return h;
}

static uint64_t wait_for_tick(void *arg)
{
	uint64_t end = clock_us() + PATIENCE_US;

	while (!ticks && clock_us() < end)
		cpu_pause();
	return ticks;
}

void guest_main(void)
{
	uint64_t h, start, us0, us3;

	intr_init();
	clock_init();
	user_init();
	CHECK(user_call(ring_of_this, "hello") == 3, "that was not ring 3");
	start = clock_us();
	h = hash_much(NULL);
	us0 = clock_us() - start;
	start = clock_us();
	for (unsigned i = 0; i < CALLS; i++)
		CHECK(user_call(hash_much, NULL) == h, "ring 3 computes something else");
	us3 = (clock_us() - start) / CALLS;
	print("ring 0: %lu us, ring 3: %lu us\n", (unsigned long)us0, (unsigned long)us3);
	lapic_timer(intr_alloc(tick, NULL), clock_lapic_ticks(5000), false);
	CHECK(user_call(wait_for_tick, NULL) == 1, "no timer interrupt in ring 3");
	CHECK(user_call(ring_of_this, "goodbye") == 3, "that was not ring 3");
}
