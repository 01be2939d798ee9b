/* ACPI fixed hardware and the reset lines, register by register. */
#include <check.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "arch/x86/layout.h"
#include "arch/x86/pm.h"
#include "tests/unit/mock_platform.h"

#define STATUS	X86_PORT_PM1_EVENT
#define ENABLE	(X86_PORT_PM1_EVENT + 2)
#define CONTROL X86_PORT_PM1_CTRL

#define PWRBTN (1u << 8)
#define RTC    (1u << 10)
#define GBL    (1u << 5)
#define TMR    (1u << 0)
#define SCI_EN (1u << 0)
#define SLP_EN (1u << 13)

static struct mock_platform mp;
static struct pci_host pci;
static struct pm pm;
static unsigned nr_events;
static enum machine_event last_event;

static void on_event(void *arg, enum machine_event ev, int status)
{
	ck_assert_ptr_eq(arg, &nr_events);
	nr_events++;
	last_event = ev;
}

static void setup(void)
{
	struct arch_devices_params params = {
		.plat = &mp.plat, .pci = &pci, .event = on_event, .arg = &nr_events
	};
	struct pci_layout layout;

	nr_events = 0;
	mock_platform_init(&mp, MIB(1), 0);
	arch_pci_layout(&layout);
	ck_assert_int_eq(pci_host_init(&pci, &mp.plat, &layout), 0);
	ck_assert_int_eq(pm_init(&pm, &params), 0);
}

static void teardown(void)
{
	pm_fini(&pm);
	pci_host_fini(&pci);
	mock_platform_fini(&mp);
}

static uint32_t in(uint64_t port, unsigned size)
{
	return mock_pio_read(&mp, port, size);
}

static void out(uint64_t port, uint32_t value, unsigned size)
{
	mock_pio_write(&mp, port, value, size);
}

static bool sci(void)
{
	return mp.line[X86_GSI_SCI];
}

static void check_event(enum machine_event ev)
{
	ck_assert_uint_eq(nr_events, 1);
	ck_assert_int_eq(last_event, ev);
	nr_events = 0;
}

START_TEST(at_reset_nothing_is_pending_or_enabled)
{
	ck_assert_uint_eq(in(STATUS, 2), 0);
	ck_assert_uint_eq(in(ENABLE, 2), 0);
	ck_assert_uint_eq(in(CONTROL, 2), SCI_EN);
	ck_assert(!sci());
}
END_TEST

START_TEST(button_raises_the_sci_only_where_enabled)
{
	pm_power_button(&pm);
	ck_assert_uint_eq(in(STATUS, 2), PWRBTN);
	ck_assert(!sci());
	out(ENABLE, PWRBTN, 2);
	ck_assert(sci());
	out(ENABLE, 0, 2);
	ck_assert(!sci());
	ck_assert_uint_eq(in(STATUS, 2), PWRBTN);
}
END_TEST

START_TEST(status_is_cleared_by_writing_one)
{
	out(ENABLE, PWRBTN, 2);
	pm_power_button(&pm);
	ck_assert(sci());
	out(STATUS, 0, 2);
	out(STATUS, 0xffff & ~PWRBTN, 2);
	ck_assert(sci());
	out(STATUS, PWRBTN, 2);
	ck_assert(!sci());
	ck_assert_uint_eq(in(STATUS, 2), 0);
	ck_assert_uint_eq(in(ENABLE, 2), PWRBTN);
	/* Another press, another interrupt. */
	pm_power_button(&pm);
	ck_assert_uint_eq(mp.line_rises[X86_GSI_SCI], 2);
	/* Pressed twice before it was served: one level, no second edge. */
	pm_power_button(&pm);
	ck_assert_uint_eq(mp.line_rises[X86_GSI_SCI], 2);
}
END_TEST

START_TEST(writing_cannot_set_status)
{
	out(STATUS, 0xffffffff, 4);
	ck_assert_uint_eq(in(STATUS, 2), 0);
	ck_assert(!sci());
}
END_TEST

START_TEST(event_block_by_bytes_and_as_one)
{
	pm_power_button(&pm);
	ck_assert_uint_eq(in(STATUS, 1), 0);
	ck_assert_uint_eq(in(STATUS + 1, 1), PWRBTN >> 8);
	out(ENABLE + 1, PWRBTN >> 8, 1);
	ck_assert(sci());
	ck_assert_uint_eq(in(STATUS, 4), PWRBTN << 16 | PWRBTN);
	out(ENABLE, TMR, 1); /* the other byte stays */
	ck_assert_uint_eq(in(ENABLE, 2), PWRBTN | TMR);
	/* In the middle: the high byte of status, the low byte of enable. */
	ck_assert_uint_eq(in(STATUS + 1, 2), (PWRBTN >> 8) | TMR << 8);
	out(STATUS + 1, (PWRBTN >> 8) | GBL << 8, 2);
	ck_assert_uint_eq(in(STATUS, 2), 0);
	ck_assert_uint_eq(in(ENABLE, 2), PWRBTN | GBL);
	ck_assert(!sci());
	/* Both at once: clears and disables. */
	pm_power_button(&pm);
	out(STATUS, PWRBTN, 4);
	ck_assert_uint_eq(in(STATUS, 4), 0);
}
END_TEST

START_TEST(accesses_beyond_the_block_are_nobodys)
{
	out(ENABLE, PWRBTN, 2);
	out(STATUS + 3, 0, 2); /* leaves the block */
	ck_assert_uint_eq(in(ENABLE, 2), PWRBTN);
	ck_assert_uint_eq(in(STATUS + 3, 2), 0xffff);
	ck_assert_uint_eq(in(CONTROL, 4), 0xffffffff);
	ck_assert_uint_eq(in(STATUS, 3) & 0xffffff, 0xffffff); /* an odd piece */
}
END_TEST

START_TEST(only_real_enables_stick)
{
	out(ENABLE, 0xffff, 2);
	/* The RTC's too: Linux reads it back, whatever the FADT says. */
	ck_assert_uint_eq(in(ENABLE, 2), PWRBTN | RTC | GBL | TMR);
	ck_assert(!sci());
}
END_TEST

START_TEST(s5_powers_off)
{
	out(CONTROL, X86_S5_SLP_TYP << 10, 2); /* the type alone does nothing */
	ck_assert_uint_eq(nr_events, 0);
	ck_assert_uint_eq(in(CONTROL, 2), X86_S5_SLP_TYP << 10 | SCI_EN);
	out(CONTROL, X86_S5_SLP_TYP << 10 | SLP_EN, 2);
	check_event(MACHINE_POWEROFF);
	ck_assert_uint_eq(in(CONTROL, 2) & SLP_EN, 0); /* write-only */
}
END_TEST

START_TEST(s5_by_the_high_byte)
{
	out(CONTROL + 1, (X86_S5_SLP_TYP << 10 | SLP_EN) >> 8, 1);
	check_event(MACHINE_POWEROFF);
}
END_TEST

START_TEST(other_sleep_states_are_ignored)
{
	for (unsigned type = 0; type < 8; type++) {
		if (type != X86_S5_SLP_TYP)
			out(CONTROL, type << 10 | SLP_EN, 2);
	}
	ck_assert_uint_eq(nr_events, 0);
	/* SLP_EN in the low byte's place is another bit. */
	out(CONTROL, X86_S5_SLP_TYP << 10, 2);
	out(CONTROL, SLP_EN >> 8, 1);
	ck_assert_uint_eq(nr_events, 0);
}
END_TEST

START_TEST(acpi_mode_cannot_be_left)
{
	out(CONTROL, 0, 2);
	ck_assert_uint_eq(in(CONTROL, 2), SCI_EN);
	out(CONTROL, 1u << 2, 2); /* GBL_RLS is write-only */
	ck_assert_uint_eq(in(CONTROL, 2), SCI_EN);
}
END_TEST

START_TEST(timer_runs_at_its_rate_in_24_bits)
{
	struct timespec pause = { .tv_nsec = 50000000 }, a, b;
	uint32_t from, to;
	double expected, ticks;

	clock_gettime(CLOCK_MONOTONIC, &a);
	from = in(X86_PORT_PM_TIMER, 4);
	nanosleep(&pause, NULL);
	to = in(X86_PORT_PM_TIMER, 4);
	clock_gettime(CLOCK_MONOTONIC, &b);
	ck_assert_uint_eq(from >> 24, 0);
	ck_assert_uint_eq(to >> 24, 0);
	ticks = (to - from) & 0xffffff;
	expected =
		((double)(b.tv_sec - a.tv_sec) + 1e-9 * (double)(b.tv_nsec - a.tv_nsec)) * 3579545;
	ck_assert_double_le(ticks, expected);
	/* The bounds are taken outside of the reads: a busy machine only makes `expected` larger.
	 */
	ck_assert_double_ge(ticks, 0.05 * 3579545 - 1);
	out(X86_PORT_PM_TIMER, 0, 4); /* read-only */
	ck_assert_uint_eq(nr_events, 0);
}
END_TEST

START_TEST(timer_by_bytes)
{
	uint32_t before, bytes, after;

	do { /* until no carry came between the two reads */
		before = in(X86_PORT_PM_TIMER, 4);
		bytes = in(X86_PORT_PM_TIMER + 1, 1) << 8 | in(X86_PORT_PM_TIMER + 2, 1) << 16;
		after = in(X86_PORT_PM_TIMER, 4);
	} while (before >> 16 != after >> 16);
	ck_assert_uint_ge(bytes, before & 0xffff00);
	ck_assert_uint_le(bytes, after & 0xffff00);
	ck_assert_uint_eq(in(X86_PORT_PM_TIMER + 3, 1), 0);
}
END_TEST

START_TEST(reset_register)
{
	out(X86_PORT_RESET, 0x02, 1); /* "hard" chosen, not yet pulled */
	ck_assert_uint_eq(nr_events, 0);
	ck_assert_uint_eq(in(X86_PORT_RESET, 1), 0);
	out(X86_PORT_RESET, X86_RESET_VALUE, 1);
	check_event(MACHINE_RESET);
	/* PCI's address register above it is not disturbed, nor does it reset. */
	out(0xcf8, 0x80000000 | X86_RESET_VALUE << 8, 4);
	ck_assert_uint_eq(in(0xcf8, 4), 0x80000000 | X86_RESET_VALUE << 8);
	ck_assert_uint_eq(nr_events, 0);
}
END_TEST

START_TEST(keyboard_controller_reset)
{
	out(X86_PORT_KBD_COMMAND, 0xd1, 1);
	out(X86_PORT_KBD_COMMAND, 0x20, 1);
	ck_assert_uint_eq(nr_events, 0);
	/* Nobody is there (output always full), but nobody has to wait for it either. */
	ck_assert_uint_eq(in(X86_PORT_KBD_COMMAND, 1), 0xfd);
	out(X86_PORT_KBD_COMMAND, 0xfe, 1);
	check_event(MACHINE_RESET);
}
END_TEST

START_TEST(port_92)
{
	ck_assert_uint_eq(in(X86_PORT_92, 1), 2);
	out(X86_PORT_92, 0, 1);
	out(X86_PORT_92, 2, 1);
	ck_assert_uint_eq(in(X86_PORT_92, 1), 2); /* the A20 gate stays open */
	ck_assert_uint_eq(nr_events, 0);
	out(X86_PORT_92, 3, 1);
	check_event(MACHINE_RESET);
}
END_TEST

START_TEST(ports_are_free_again_afterwards)
{
	struct arch_devices_params params = {
		.plat = &mp.plat, .pci = &pci, .event = on_event, .arg = &nr_events
	};
	struct bus_region other = { .name = "other", .base = X86_PORT_92, .size_bytes = 1 };
	struct pm second;
	unsigned nr = mp.pio.nr;

	/* A second one finds its ports taken, and leaves nothing behind. */
	ck_assert_int_eq(pm_init(&second, &params), -EEXIST);
	ck_assert_uint_eq(mp.pio.nr, nr);
	pm_fini(&pm);
	/* The last port taken: the others are given back. */
	ck_assert_int_eq(bus_add(&mp.pio, &other), 0);
	nr = mp.pio.nr;
	ck_assert_int_eq(pm_init(&pm, &params), -EEXIST);
	ck_assert_uint_eq(mp.pio.nr, nr);
	bus_del(&mp.pio, &other);
	ck_assert_int_eq(pm_init(&pm, &params), 0);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("pm");
	TCase *tc = tcase_create("registers");
	SRunner *r;
	int failed;

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, at_reset_nothing_is_pending_or_enabled);
	tcase_add_test(tc, button_raises_the_sci_only_where_enabled);
	tcase_add_test(tc, status_is_cleared_by_writing_one);
	tcase_add_test(tc, writing_cannot_set_status);
	tcase_add_test(tc, event_block_by_bytes_and_as_one);
	tcase_add_test(tc, accesses_beyond_the_block_are_nobodys);
	tcase_add_test(tc, only_real_enables_stick);
	tcase_add_test(tc, s5_powers_off);
	tcase_add_test(tc, s5_by_the_high_byte);
	tcase_add_test(tc, other_sleep_states_are_ignored);
	tcase_add_test(tc, acpi_mode_cannot_be_left);
	tcase_add_test(tc, timer_runs_at_its_rate_in_24_bits);
	tcase_add_test(tc, timer_by_bytes);
	tcase_add_test(tc, reset_register);
	tcase_add_test(tc, keyboard_controller_reset);
	tcase_add_test(tc, port_92);
	tcase_add_test(tc, ports_are_free_again_afterwards);
	suite_add_tcase(s, tc);
	r = srunner_create(s);
	srunner_run_all(r, CK_NORMAL);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
