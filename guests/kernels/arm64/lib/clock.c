/* Time; see clock.h. */
#include "lib/clock.h"

#define TIMER_ON     1u
#define TIMER_MASKED 2u

static uint64_t start, tick_us;
static unsigned tick_vector;

static uint64_t counter(void)
{
	__asm__ volatile("isb" : : : "memory");
	return read_sysreg("cntvct_el0");
}

static uint64_t hz(void)
{
	return read_sysreg("cntfrq_el0");
}

void clock_init(void)
{
	CHECK(hz() > 1000000, "the counter has %lu Hz", (unsigned long)hz());
	start = counter();
}

uint64_t clock_us(void)
{
	uint64_t t = counter() - start;

	return t / hz() * 1000000 + t % hz() * 1000000 / hz();
}

static void set_timer(uint64_t us)
{
	write_sysreg("cntv_cval_el0", counter() + hz() * us / 1000000);
	write_sysreg("cntv_ctl_el0", (uint64_t)TIMER_ON);
}

void clock_alarm(unsigned vector, uint64_t us)
{
	intr_route_private(INTID_TIMER, vector);
	set_timer(us);
}

static void tick(void *arg)
{
	set_timer(tick_us); /* takes the interrupt back, too */
}

void clock_tick(uint64_t us)
{
	if (!tick_vector)
		tick_vector = intr_alloc(tick, NULL);
	tick_us = us;
	clock_alarm(tick_vector, us);
}

void clock_wait_us(uint64_t us)
{
	uint64_t end = clock_us() + us;

	while (clock_us() < end)
		cpu_pause();
}
