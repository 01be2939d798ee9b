/* Time; see clock.h. */
#include "lib/clock.h"

#define MEASURE_TICKS (PM_TIMER_HZ / 250) /* 4 ms */

static uint64_t tsc_start, tsc_per_ms;
static uint64_t lapic_per_ms;
static unsigned tick_vector;

static uint32_t pm_timer(void)
{
	return inl(PORT_PM_TIMER) & 0xffffff; /* 24 bits are there for sure */
}

void clock_init(void)
{
	uint32_t start, now, lapic_start, lapic_end;
	uint64_t tsc, spins = 0;

	lapic_write(LAPIC_TIMER_DIV, 0xb);
	lapic_write(LAPIC_LVT_TIMER, LAPIC_MASKED);
	lapic_write(LAPIC_TIMER_INIT, 0xffffffff);
	start = pm_timer();
	tsc = rdtsc();
	lapic_start = lapic_read(LAPIC_TIMER_NOW);
	do {
		now = (pm_timer() - start) & 0xffffff;
		CHECK(++spins < 10000000, "the PM timer stands still");
	} while (now < MEASURE_TICKS);
	tsc_start = rdtsc();
	lapic_end = lapic_read(LAPIC_TIMER_NOW);
	lapic_write(LAPIC_TIMER_INIT, 0);
	tsc_per_ms = (tsc_start - tsc) * (PM_TIMER_HZ / 1000) / now;
	lapic_per_ms = (uint64_t)(lapic_start - lapic_end) * (PM_TIMER_HZ / 1000) / now;
	CHECK(tsc_per_ms, "the TSC stands still");
	CHECK(lapic_per_ms, "the local APIC timer stands still");
}

uint64_t clock_tsc_per_ms(void)
{
	return tsc_per_ms;
}

uint64_t clock_us(void)
{
	return (rdtsc() - tsc_start) * 1000 / tsc_per_ms;
}

uint32_t clock_lapic_ticks(uint64_t us)
{
	uint64_t t = lapic_per_ms * us / 1000;

	return t > 0xffffffff ? 0xffffffff : t ? (uint32_t)t : 1;
}

static void tick(void *arg)
{
}

void clock_tick(uint64_t us)
{
	if (!tick_vector)
		tick_vector = intr_alloc(tick, NULL);
	lapic_timer(tick_vector, clock_lapic_ticks(us), true);
}

void clock_wait_us(uint64_t us)
{
	uint64_t end = clock_us() + us;

	while (clock_us() < end)
		cpu_pause();
}
