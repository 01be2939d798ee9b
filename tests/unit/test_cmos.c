/* The real-time clock, register by register: time, setting it, interrupts, memory, hostile bytes.
 */
#include <check.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "arch/x86/cmos.h"
#include "arch/x86/layout.h"
#include "tests/unit/mock_platform.h"

enum {
	SECONDS,
	SECONDS_ALARM,
	MINUTES,
	MINUTES_ALARM,
	HOURS,
	HOURS_ALARM,
	WEEKDAY,
	DAY,
	MONTH,
	YEAR,
	A,
	B,
	C,
	D,
	CENTURY = 0x32
};

#define B_SET	 0x80
#define B_PERIOD 0x40
#define B_ALARM	 0x20
#define B_UPDATE 0x10
#define B_BINARY 0x04
#define B_24H	 0x02

static struct mock_platform mp;
static struct loop loop;
static struct cmos cmos;

static void setup(void)
{
	mock_platform_init(&mp, MIB(1), 0);
	ck_assert_int_eq(loop_init(&loop, "test"), 0);
	ck_assert_int_eq(cmos_init(&cmos, &mp.plat, &loop), 0);
	ck_assert_int_eq(loop_start(&loop), 0);
}

static void teardown(void)
{
	loop_stop(&loop);
	cmos_fini(&cmos);
	loop_fini(&loop);
	mock_platform_fini(&mp);
}

static uint8_t get(uint8_t reg)
{
	mock_pio_write(&mp, X86_PORT_RTC, reg, 1);
	return (uint8_t)mock_pio_read(&mp, X86_PORT_RTC + 1, 1);
}

static void put(uint8_t reg, uint8_t v)
{
	mock_pio_write(&mp, X86_PORT_RTC, reg, 1);
	mock_pio_write(&mp, X86_PORT_RTC + 1, v, 1);
}

static int bcd(uint8_t v)
{
	ck_assert_uint_le(v & 15, 9);
	ck_assert_uint_le(v >> 4, 9);
	return (v >> 4) * 10 + (v & 15);
}

/* As drivers read it: again, if an update came between. */
static time_t get_time(void)
{
	struct tm tm;
	uint8_t s;

	do {
		while (get(A) & 0x80)
			;
		s = get(SECONDS);
		tm = (struct tm){ .tm_sec = bcd(s),
				  .tm_min = bcd(get(MINUTES)),
				  .tm_hour = bcd(get(HOURS)),
				  .tm_mday = bcd(get(DAY)),
				  .tm_mon = bcd(get(MONTH)) - 1,
				  .tm_year = bcd(get(CENTURY)) * 100 + bcd(get(YEAR)) - 1900 };
	} while (get(SECONDS) != s);
	return timegm(&tm);
}

static void put_time(uint8_t century, uint8_t y, uint8_t mon, uint8_t d, uint8_t h, uint8_t min,
		     uint8_t s)
{
	put(CENTURY, century);
	put(YEAR, y);
	put(MONTH, mon);
	put(DAY, d);
	put(HOURS, h);
	put(MINUTES, min);
	put(SECONDS, s);
}

static void sleep_ms(long ms)
{
	struct timespec ts = { ms / 1000, ms % 1000 * 1000000 };

	nanosleep(&ts, NULL);
}

static unsigned rises(void)
{
	unsigned n;

	pthread_mutex_lock(&mp.lock);
	n = mp.line_rises[X86_GSI_RTC];
	ck_assert(!mp.line[X86_GSI_RTC]); /* a pulse each */
	pthread_mutex_unlock(&mp.lock);
	return n;
}

START_TEST(tells_the_hosts_time_in_bcd)
{
	time_t before = time(NULL), t = get_time(), after = time(NULL);
	struct tm tm;

	ck_assert_int_ge(t, before - 1); /* time(2) may run ahead of nothing, but lag a tick */
	ck_assert_int_le(t, after + 1);
	gmtime_r(&t, &tm);
	ck_assert_int_eq(get(B), B_24H);
	ck_assert_int_eq(get(D), 0x80);
	ck_assert_int_ge(get(WEEKDAY), 1);
	ck_assert_int_le(get(WEEKDAY), 7);
}
END_TEST

START_TEST(sets_the_time)
{
	put(B, B_SET | B_24H);
	put_time(0x20, 0x01, 0x12, 0x31, 0x23, 0x59, 0x58);
	/* While SET is on, the registers say what was written, and stand still. */
	ck_assert_uint_eq(get(SECONDS), 0x58);
	ck_assert_uint_eq(get(YEAR), 0x01);
	ck_assert_uint_eq(get(A) & 0x80, 0);
	sleep_ms(1100);
	ck_assert_uint_eq(get(SECONDS), 0x58);
	put(B, B_24H);
	ck_assert_int_ge(get_time(), 1009843198); /* 2001-12-31 23:59:58 UTC */
	ck_assert_int_le(get_time(), 1009843198 + 5);
	put(HOURS, 0x05); /* without SET each field counts at once */
	ck_assert_uint_eq(get(HOURS), 0x05);
	ck_assert_int_le(llabs(cmos.offset_s), (long long)200 * 366 * 86400);
}
END_TEST

START_TEST(runs_on_and_carries_over)
{
	put(B, B_SET);
	put_time(0x19, 0x99, 0x12, 0x31, 0x23, 0x59, 0x59);
	put(B, 0);
	sleep_ms(1100);
	ck_assert_uint_eq(get(CENTURY), 0x20);
	ck_assert_uint_eq(get(YEAR), 0x00);
	ck_assert_uint_eq(get(MONTH), 0x01);
	ck_assert_uint_eq(get(DAY), 0x01);
	ck_assert_uint_eq(get(WEEKDAY), 7); /* a Saturday */
}
END_TEST

START_TEST(setting_does_not_lose_a_second)
{
	/* Written as it reads, the clock stays where it was, at any moment of the second. */
	for (int i = 0; i < 300; i++) {
		uint8_t h = get(HOURS);
		int64_t offset = cmos.offset_s;

		put(HOURS, h);
		if (get(HOURS) == h) /* not over the full hour */
			ck_assert_int_le(llabs(cmos.offset_s - offset), 1);
		sleep_ms(1);
	}
	ck_assert_int_le(llabs(cmos.offset_s), 2);
}
END_TEST

START_TEST(any_byte_gives_some_time)
{
	static const uint8_t nasty[] = { 0x00, 0x0f, 0x99, 0xa0, 0xff, 0x80, 0x13 };
	uint8_t reg[] = { SECONDS, MINUTES, HOURS, WEEKDAY, DAY, MONTH, YEAR, CENTURY };

	for (unsigned set = 0; set < 2; set++) {
		for (unsigned v = 0; v < sizeof(nasty); v++) {
			put(B, set ? B_SET : 0);
			for (unsigned i = 0; i < sizeof(reg); i++) {
				put(reg[i], nasty[v]);
				for (unsigned j = 0; j < sizeof(reg); j++)
					bcd(get(reg[j]));
			}
			put(CENTURY, 0); /* the years before our own count */
			put(YEAR, 0x05);
			bcd(get(YEAR));
			bcd(get(CENTURY));
			put(B, 0);
			get_time();
		}
	}
	/* And the way back. */
	put(B, B_SET);
	put_time(0x20, 0x20, 0x02, 0x29, 0x12, 0x00, 0x00);
	put(B, 0);
	ck_assert_int_ge(get_time(), 1582977600);
	ck_assert_int_le(get_time(), 1582977600 + 5);
}
END_TEST

START_TEST(update_is_announced)
{
	struct timespec ts;
	bool seen = false;
	time_t end = time(NULL) + 5;

	while (!seen && time(NULL) < end)
		seen = get(A) & 0x80;
	if (seen) { /* a busy machine may look away for that long */
		clock_gettime(CLOCK_REALTIME, &ts);
		ck_assert(ts.tv_nsec >= 999000000 || ts.tv_nsec < 500000000);
	}
	ck_assert_uint_eq(get(A) & 0x7f, 0x26);
	put(A, 0x00); /* the divider is not for the guest */
	ck_assert_uint_eq(get(A) & 0x7f, 0x26);
}
END_TEST

START_TEST(only_what_exists_can_be_enabled)
{
	put(B, 0xff);
	ck_assert_uint_eq(get(B), B_SET | B_ALARM | B_24H); /* SET clears the update interrupt */
	put(B, 0x7f);
	ck_assert_uint_eq(get(B), B_ALARM | B_UPDATE | B_24H);
	put(B, B_PERIOD | B_BINARY);
	ck_assert_uint_eq(get(B), B_24H);
}
END_TEST

START_TEST(update_interrupt)
{
	put(B, B_UPDATE | B_24H);
	sleep_ms(2300);
	ck_assert_uint_ge(rises(), 1);
	ck_assert_uint_le(rises(), 3);
	ck_assert_uint_eq(get(C) & 0x90, 0x90);
	put(B, B_24H);
	sleep_ms(50);
	get(C);
	ck_assert_uint_eq(get(C), 0); /* reading clears */
	{
		unsigned n = rises();

		sleep_ms(1300);
		ck_assert_uint_eq(rises(), n);
	}
}
END_TEST

START_TEST(alarm_interrupt)
{
	put(B, B_SET);
	put_time(0x20, 0x10, 0x06, 0x15, 0x08, 0x30, 0x00);
	put(HOURS_ALARM, 0xff);
	put(MINUTES_ALARM, 0x30);
	put(SECONDS_ALARM, 0x02);
	put(B, B_ALARM | B_24H);
	sleep_ms(3500);
	ck_assert_uint_eq(rises(), 1);
	ck_assert_uint_eq(get(C) & 0xa0, 0xa0);
	ck_assert_uint_eq(get(SECONDS_ALARM), 0x02); /* as written */
}
END_TEST

START_TEST(alarm_that_never_comes)
{
	put(HOURS_ALARM, 0x3f); /* not a time, not "any" */
	put(MINUTES_ALARM, 0xff);
	put(SECONDS_ALARM, 0xff);
	put(B, B_ALARM | B_24H);
	sleep_ms(1300);
	ck_assert_uint_eq(rises(), 0);
	ck_assert_uint_eq(get(C) & 0xa0, 0);
}
END_TEST

START_TEST(memory_keeps_what_it_is_given)
{
	for (unsigned reg = 0x0e; reg < 0x80; reg++) {
		if (reg != CENTURY)
			put((uint8_t)reg, (uint8_t)(reg ^ 0xa5));
	}
	for (unsigned reg = 0x0e; reg < 0x80; reg++) {
		if (reg != CENTURY)
			ck_assert_uint_eq(get((uint8_t)reg), reg ^ 0xa5);
	}
	/* Bit 7 of the index is the NMI mask, not a second bank. */
	ck_assert_uint_eq(get(0x80 | 0x10), 0x10 ^ 0xa5);
}
END_TEST

START_TEST(odd_accesses)
{
	mock_pio_write(&mp, X86_PORT_RTC, 0x5a << 8 | 0x40, 2); /* index and data at once */
	ck_assert_uint_eq(get(0x40), 0x5a);
	mock_pio_write(&mp, X86_PORT_RTC, 0x40, 1);
	ck_assert_uint_eq(mock_pio_read(&mp, X86_PORT_RTC, 1), 0xff); /* write-only */
	ck_assert_uint_eq(mock_pio_read(&mp, X86_PORT_RTC, 2), 0x5aff);
	mock_pio_write(&mp, X86_PORT_RTC + 1, 0x11223344, 4); /* leaves the device */
	ck_assert_uint_eq(get(0x40), 0x5a);
	ck_assert_uint_eq(mock_pio_read(&mp, X86_PORT_RTC + 1, 2), 0xffff);
	put(D, 0);
	put(C, 0xff);
	ck_assert_uint_eq(get(D), 0x80);
	ck_assert_uint_eq(get(C), 0);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("cmos");
	TCase *tc = tcase_create("registers");
	SRunner *r;
	int failed;

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_set_timeout(tc, 30);
	tcase_add_test(tc, tells_the_hosts_time_in_bcd);
	tcase_add_test(tc, sets_the_time);
	tcase_add_test(tc, runs_on_and_carries_over);
	tcase_add_test(tc, setting_does_not_lose_a_second);
	tcase_add_test(tc, any_byte_gives_some_time);
	tcase_add_test(tc, update_is_announced);
	tcase_add_test(tc, only_what_exists_can_be_enabled);
	tcase_add_test(tc, update_interrupt);
	tcase_add_test(tc, alarm_interrupt);
	tcase_add_test(tc, alarm_that_never_comes);
	tcase_add_test(tc, memory_keeps_what_it_is_given);
	tcase_add_test(tc, odd_accesses);
	suite_add_tcase(s, tc);
	r = srunner_create(s);
	srunner_run_all(r, CK_NORMAL);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
