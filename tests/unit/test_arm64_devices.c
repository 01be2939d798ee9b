/*
 * PL031 and PL061, register by register. Runs on any architecture.
 */
#include <check.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "arch/arm64/pl031.h"
#include "arch/arm64/pl061.h"

#define BASE  0x1000
#define GSI   5
#define EVERY 0xff

static struct bus mmio;
static struct platform plat;
static struct loop loop;
static struct pl031 rtc;
static struct pl061 gpio;
static _Atomic bool line;
static unsigned nr_changes;

static int line_set(struct platform *p, unsigned gsi, bool level)
{
	ck_assert_uint_eq(gsi, GSI);
	line = level;
	nr_changes++;
	return 0;
}

static const struct platform_ops ops = { .line_set = line_set };

static uint32_t rd(uint64_t offset)
{
	uint32_t v;

	ck_assert(bus_read(&mmio, BASE + offset, &v, 4));
	return v;
}

static void wr(uint64_t offset, uint32_t v)
{
	ck_assert(bus_write(&mmio, BASE + offset, &v, 4));
}

static void setup(void)
{
	bus_init(&mmio, "mmio");
	plat = (struct platform){ .ops = &ops, .name = "t", .mmio = &mmio };
	line = false;
	nr_changes = 0;
	ck_assert_int_eq(loop_init(&loop, "t"), 0);
}

static void teardown(void)
{
	loop_fini(&loop);
	bus_fini(&mmio);
}

static void setup_rtc(void)
{
	setup();
	ck_assert_int_eq(pl031_init(&rtc, &plat, &loop, BASE, GSI), 0);
	ck_assert_int_eq(loop_start(&loop), 0);
}

static void teardown_rtc(void)
{
	loop_stop(&loop);
	pl031_fini(&rtc);
	teardown();
}

static void setup_gpio(void)
{
	setup();
	ck_assert_int_eq(pl061_init(&gpio, &plat, BASE, GSI), 0);
}

static void teardown_gpio(void)
{
	pl061_fini(&gpio);
	teardown();
}

START_TEST(rtc_identity)
{
	static const uint8_t id[] = { 0x31, 0x10, 0x04, 0x00, 0x0d, 0xf0, 0x05, 0xb1 };

	for (unsigned i = 0; i < 8; i++)
		ck_assert_uint_eq(rd(0xfe0 + 4 * i), id[i]);
}
END_TEST

START_TEST(rtc_tells_the_time)
{
	uint32_t now = (uint32_t)time(NULL), t = rd(0);

	ck_assert_uint_le(t - now, 1);
	/* Set by the guest, it goes on from there. */
	wr(8, 1000);
	ck_assert_uint_eq(rd(8), 1000);
	ck_assert_uint_le(rd(0) - 1000, 1);
	ck_assert_uint_eq(rd(0xc), 1);
	wr(0xc, 0); /* cannot be stopped */
	ck_assert_uint_eq(rd(0xc), 1);
	ck_assert(!line);
}
END_TEST

START_TEST(rtc_alarm)
{
	wr(0x10, 1);
	wr(4, rd(0) + 1);
	for (unsigned i = 0; i < 300 && !line; i++)
		usleep(10000);
	ck_assert(line);
	ck_assert_uint_eq(rd(0x14), 1);
	ck_assert_uint_eq(rd(0x18), 1);
	wr(0x10, 0); /* masked: the line falls, the reason stays */
	ck_assert(!line);
	ck_assert_uint_eq(rd(0x14), 1);
	ck_assert_uint_eq(rd(0x18), 0);
	wr(0x10, 1);
	ck_assert(line);
	wr(0x1c, 0);
	ck_assert(line);
	wr(0x1c, 1);
	ck_assert(!line);
	ck_assert_uint_eq(rd(0x14), 0);
}
END_TEST

static void sleep_long(struct loop_work *w)
{
	usleep(1500000);
}

/* A loop that is busy when the alarm is set, and when it comes, delays it but does not lose it. */
START_TEST(rtc_late_alarm)
{
	struct loop_work busy = { .fn = sleep_long };

	wr(0x10, 1);
	loop_post(&loop, &busy);
	wr(4, rd(0) + 1);
	for (unsigned i = 0; i < 500 && !line; i++)
		usleep(10000);
	ck_assert(line);
}
END_TEST

/* The alarm of a time that has gone, or that moves away again, does not come. */
START_TEST(rtc_no_alarm)
{
	wr(0x10, 1);
	wr(4, rd(0) - 10);
	wr(4, rd(0) + 1);
	wr(4, rd(0) + 100000);
	usleep(1300000);
	ck_assert(!line);
}
END_TEST

START_TEST(gpio_identity)
{
	static const uint8_t id[] = { 0x61, 0x10, 0x04, 0x00, 0x0d, 0xf0, 0x05, 0xb1 };

	for (unsigned i = 0; i < 8; i++)
		ck_assert_uint_eq(rd(0xfe0 + 4 * i), id[i]);
}
END_TEST

START_TEST(gpio_data_is_masked_by_address)
{
	wr(0x400, 0xf0); /* the upper four are outputs */
	wr(EVERY << 2, 0xff);
	ck_assert_uint_eq(rd(EVERY << 2), 0xf0);
	wr(0x30 << 2, 0x00);
	ck_assert_uint_eq(rd(EVERY << 2), 0xc0);
	pl061_set(&gpio, 0, true);
	pl061_set(&gpio, 7, true); /* an output: the machine does not get through */
	ck_assert_uint_eq(rd(EVERY << 2), 0xc1);
	ck_assert_uint_eq(rd(0x80 << 2), 0x80);
	ck_assert_uint_eq(rd(0), 0);
}
END_TEST

START_TEST(gpio_edges)
{
	wr(0x40c, 1 << 3); /* line 3 rising, the others falling */
	wr(0x410, 1 << 3 | 1 << 2);
	pl061_set(&gpio, 3, true);
	ck_assert(line);
	ck_assert_uint_eq(rd(0x418), 1 << 3);
	pl061_set(&gpio, 3, false); /* latched */
	ck_assert(line);
	wr(0x41c, 1 << 3);
	ck_assert(!line);
	pl061_set(&gpio, 2, true);
	ck_assert(!line);
	pl061_set(&gpio, 2, false);
	ck_assert(line);
	wr(0x410, 0);
	ck_assert(!line);
	ck_assert_uint_eq(rd(0x414), 1 << 2);
	wr(0x41c, EVERY);
	wr(0x408, 1 << 2); /* both */
	pl061_set(&gpio, 2, true);
	ck_assert_uint_eq(rd(0x414), 1 << 2);
	wr(0x41c, EVERY);
	pl061_set(&gpio, 2, false);
	ck_assert_uint_eq(rd(0x414), 1 << 2);
}
END_TEST

START_TEST(gpio_levels)
{
	wr(0x404, EVERY);
	wr(0x40c, EVERY); /* high */
	wr(0x410, 1 << 1);
	ck_assert(!line);
	pl061_set(&gpio, 1, true);
	ck_assert(line);
	wr(0x41c, EVERY); /* a level cannot be cleared away */
	ck_assert(line);
	pl061_set(&gpio, 1, false);
	ck_assert(!line);
	wr(0x40c, 0); /* low */
	ck_assert(line);
}
END_TEST

/* No write, whatever its place and width, is anything but a register write. */
START_TEST(any_access)
{
	uint8_t data[8];

	for (uint64_t at = 0; at < 0x1000; at++) {
		for (unsigned size = 1; size <= 8; size *= 2) {
			memset(data, 0xff, sizeof(data));
			bus_write(&mmio, BASE + at, data, size);
			bus_read(&mmio, BASE + at, data, size);
		}
	}
	ck_assert_uint_eq(rd(0xff0), 0x0d);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("arm64_devices");
	TCase *t = tcase_create("rtc"), *u = tcase_create("gpio");
	SRunner *sr;
	int failed;

	tcase_add_checked_fixture(t, setup_rtc, teardown_rtc);
	tcase_add_test(t, rtc_identity);
	tcase_add_test(t, rtc_tells_the_time);
	tcase_add_test(t, rtc_alarm);
	tcase_add_test(t, rtc_late_alarm);
	tcase_add_test(t, rtc_no_alarm);
	tcase_add_test(t, any_access);
	suite_add_tcase(s, t);
	tcase_add_checked_fixture(u, setup_gpio, teardown_gpio);
	tcase_add_test(u, gpio_identity);
	tcase_add_test(u, gpio_data_is_masked_by_address);
	tcase_add_test(u, gpio_edges);
	tcase_add_test(u, gpio_levels);
	tcase_add_test(u, any_access);
	suite_add_tcase(s, u);
	sr = srunner_create(s);
	srunner_run_all(sr, CK_NORMAL);
	failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
