/* Every source of time and wired interrupts: virtual timer, serial port, RTC and its alarm. */
#include "lib/clock.h"

#define UNIX_2020   1577836800u
#define PATIENCE_US 20000000u

#define RTC_DATA  0x00
#define RTC_MATCH 0x04
#define RTC_MASK  0x10
#define RTC_RAW	  0x14
#define RTC_CLEAR 0x1c

static volatile unsigned timer_count, uart_count, rtc_count;

static void timer_interrupt(void *arg)
{
	write_sysreg("cntv_ctl_el0", 0ull);
	timer_count++;
}

static void uart_interrupt(void *arg)
{
	uart_read(2); /* reading IIR takes the transmitter's interrupt back */
	uart_count++;
}

static void rtc_interrupt(void *arg)
{
	mmio_write32(RTC_BASE + RTC_CLEAR, 1);
	rtc_count++;
}

static void wait_for(volatile unsigned *counter, unsigned n, const char *what)
{
	uint64_t end = clock_us() + PATIENCE_US;

	while (*counter < n) {
		irq_wait(); /* the tick ends it, at the latest */
		CHECK(clock_us() < end, "%s: %u interrupts instead of %u", what, *counter, n);
	}
}

static void test_timer(void)
{
	unsigned v = intr_alloc(timer_interrupt, NULL);

	for (unsigned i = 1; i <= 5; i++) {
		uint64_t start = clock_us();

		clock_alarm(v, 20000);
		while (timer_count < i)
			irq_wait();
		CHECK(clock_us() - start >= 19999, "timer of 20 ms fired after %lu us",
		      (unsigned long)(clock_us() - start));
		CHECK(timer_count == i, "one alarm fired %u times", timer_count - i + 1);
	}
	print("timer: ok\n");
}

static void test_uart(void)
{
	intr_route(SPI_UART, intr_alloc(uart_interrupt, NULL), true, cpu_id());
	for (unsigned i = 1; i <= 3; i++) {
		uart_write(1, 0x02); /* transmitter empty: at once */
		wait_for(&uart_count, i, "serial port");
		uart_write(1, 0);
	}
	intr_mask(SPI_UART);
	print("serial interrupt: ok\n");
}

static void test_rtc(void)
{
	uint32_t now = mmio_read32(RTC_BASE + RTC_DATA);

	CHECK(mmio_read32(RTC_BASE + 0xfe0) == 0x31 && mmio_read32(RTC_BASE + 0xff0) == 0x0d,
	      "no PL031");
	CHECK(now > UNIX_2020, "RTC says %u s", now);
	intr_route(SPI_RTC, intr_alloc(rtc_interrupt, NULL), true, cpu_id());
	mmio_write32(RTC_BASE + RTC_MATCH, now + 2);
	mmio_write32(RTC_BASE + RTC_MASK, 1);
	wait_for(&rtc_count, 1, "RTC alarm");
	CHECK(mmio_read32(RTC_BASE + RTC_DATA) >= now + 2, "the alarm is early");
	CHECK(!mmio_read32(RTC_BASE + RTC_RAW), "the alarm does not clear");
	intr_mask(SPI_RTC);
	print("rtc: ok\n");
}

void guest_main(void)
{
	intr_init();
	clock_init();
	test_timer();
	clock_tick(50000);
	test_uart();
	test_rtc();
}
