/* Time; see clock.h. */
#include "lib/clock.h"

#define MEASURE_TICKS (PM_TIMER_HZ / 250) /* 4 ms */
#define PM_TIMER_MASK 0xffffffu
#define TRIES	      5

static uint64_t tsc_start, tsc_per_ms;
static uint64_t lapic_per_ms;
static unsigned tick_vector;

static uint32_t pm_timer(void)
{
	return inl(PORT_PM_TIMER) & PM_TIMER_MASK; /* 24 bits are there for sure */
}

/* The three counters at one moment, as far as that goes: the vCPU may be put off between any two
 * reads, so the tightest of several tries counts. */
struct moment {
	uint64_t tsc;
	uint32_t pm, lapic;
};

static struct moment take_moment(void)
{
	struct moment best = { 0 };
	uint64_t best_width = ~0ull;

	for (unsigned i = 0; i < TRIES; i++) {
		uint64_t before = rdtsc(), after;
		uint32_t lapic = lapic_read(LAPIC_TIMER_NOW);
		uint32_t pm = pm_timer();

		after = rdtsc();
		if (after - before >= best_width)
			continue;
		best_width = after - before;
		best = (struct moment){ before + (after - before) / 2, pm, lapic };
	}
	return best;
}

void clock_init(void)
{
	struct moment a, b;
	uint64_t spins = 0;
	uint32_t ticks;

	lapic_write(LAPIC_TIMER_DIV, 0xb);
	lapic_write(LAPIC_LVT_TIMER, LAPIC_MASKED);
	lapic_write(LAPIC_TIMER_INIT, 0xffffffff);
	a = take_moment();
	do {
		CHECK(++spins < 10000000, "the PM timer stands still");
	} while (((pm_timer() - a.pm) & PM_TIMER_MASK) < MEASURE_TICKS);
	b = take_moment();
	lapic_write(LAPIC_TIMER_INIT, 0);
	ticks = (b.pm - a.pm) & PM_TIMER_MASK;
	tsc_start = b.tsc;
	tsc_per_ms = (b.tsc - a.tsc) * (PM_TIMER_HZ / 1000) / ticks;
	lapic_per_ms = (uint64_t)(a.lapic - b.lapic) * (PM_TIMER_HZ / 1000) / ticks;
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
