/*
 * The doorbell of a queue: who is called when it rings, while it is lent and after.
 */
#include <check.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "tests/unit/mock_platform.h"
#include "virtio/doorbell.h"

static struct mock_platform mp;
static struct loop own, other;
static struct virtio_dev dev;
static struct doorbell bell;
static struct loop_fd borrowed;
static unsigned kicks, rings, kicked;

static void on_kick(struct virtio_dev *d, unsigned q)
{
	kicked = q;
	kicks++;
}

static void on_ring(struct loop_fd *h, uint32_t events)
{
	ck_assert_ptr_eq(h, &borrowed);
	rings++;
}

static const struct virtio_dev_ops ops = { .kick = on_kick };

static void setup(void)
{
	static const uint16_t sizes[2] = { 8, 8 };

	mock_platform_init(&mp, MIB(1), 0);
	ck_assert_int_eq(loop_init(&own, "own"), 0);
	ck_assert_int_eq(loop_init(&other, "other"), 0);
	virtio_dev_init(&dev, "dev", 1, 0, sizes, 2, &ops, &own, &mp.plat);
	dev.live = true;
	dev.vq[1].enabled = true;
	borrowed.fn = on_ring;
	ck_assert_int_eq(doorbell_open(&bell, &dev, 1), 0);
	ck_assert_int_eq(doorbell_watch(&bell), 0);
}

static void give_up_borrowed(void)
{
	loop_del(&other, &borrowed);
	ck_assert_int_eq(close(borrowed.fd), 0);
}

static void teardown(void)
{
	doorbell_unwatch(&bell);
	doorbell_close(&bell);
	loop_fini(&own);
	loop_fini(&other);
	mock_platform_fini(&mp);
}

static void expect(unsigned k, unsigned r)
{
	mock_loop_run(&own);
	mock_loop_run(&other);
	ck_assert_uint_eq(kicks, k);
	ck_assert_uint_eq(rings, r);
	kicks = rings = 0;
}

/* What was rung before may still be told to the borrower: that much is said of it. */
static void lend(void)
{
	ck_assert_int_eq(doorbell_lend(&bell, &other, &borrowed), 0);
	mock_loop_run(&own);
	mock_loop_run(&other);
	kicks = rings = 0;
}

START_TEST(rings_its_own_queue)
{
	expect(0, 0);
	for (unsigned n = 0; n < 3; n++) {
		doorbell_ring(&bell);
		expect(1, 0);
		ck_assert_uint_eq(kicked, 1);
	}
	doorbell_ring(&bell);
	doorbell_ring(&bell); /* nobody has looked yet: one is enough */
	expect(1, 0);
}
END_TEST

START_TEST(lent_it_rings_elsewhere_alone)
{
	lend();
	for (unsigned n = 0; n < 3; n++) {
		doorbell_ring(&bell);
		expect(0, 1);
	}
	doorbell_back(&bell);
	expect(1, 0); /* something may have been rung */
	give_up_borrowed();
	doorbell_ring(&bell);
	expect(1, 0);
}
END_TEST

/* What is rung while it changes hands is heard by one of the two, or by both. */
START_TEST(nothing_falls_in_between)
{
	doorbell_ring(&bell);
	ck_assert_int_eq(doorbell_lend(&bell, &other, &borrowed), 0);
	mock_loop_run(&own);
	mock_loop_run(&other);
	ck_assert_uint_ge(kicks + rings, 1);
	kicks = rings = 0;
	doorbell_ring(&bell);
	doorbell_back(&bell);
	mock_loop_run(&own);
	ck_assert_uint_eq(kicks, 1);
	kicks = 0;
	give_up_borrowed();
	/* Given up before it is back, as a sender's loop does. */
	lend();
	give_up_borrowed();
	doorbell_ring(&bell);
	expect(0, 0);
	doorbell_back(&bell);
	expect(1, 0);
}
END_TEST

START_TEST(the_borrower_outlives_it)
{
	lend();
	doorbell_back(&bell);
	doorbell_unwatch(&bell);
	doorbell_close(&bell);
	doorbell_close(&bell);
	doorbell_unwatch(&bell);
	expect(0, 0);
	give_up_borrowed();
}
END_TEST

/* No descriptor to be had, or no place in the other's epoll set. */
START_TEST(what_cannot_be_lent_stays)
{
	struct rlimit was, none = { 0 };
	int epfd = other.epfd;

	ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &was), 0);
	none.rlim_max = was.rlim_max;
	ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &none), 0);
	ck_assert_int_lt(doorbell_lend(&bell, &other, &borrowed), 0);
	ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &was), 0);
	ck_assert(!borrowed.added);
	other.epfd = -1;
	ck_assert_int_eq(doorbell_lend(&bell, &other, &borrowed), -EBADF);
	other.epfd = epfd;
	ck_assert_int_eq(borrowed.fd, -1);
	ck_assert(!borrowed.added);
	doorbell_ring(&bell);
	expect(1, 0);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("doorbell");
	TCase *tc = tcase_create("doorbell");
	SRunner *sr;
	int failed;

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, rings_its_own_queue);
	tcase_add_test(tc, lent_it_rings_elsewhere_alone);
	tcase_add_test(tc, nothing_falls_in_between);
	tcase_add_test(tc, the_borrower_outlives_it);
	tcase_add_test(tc, what_cannot_be_lent_stays);
	suite_add_tcase(s, tc);
	sr = srunner_create(s);
	srunner_run_all(sr, CK_NORMAL);
	failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
