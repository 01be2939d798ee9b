/* The entropy device. */
#include <check.h>
#include <linux/virtio_config.h>
#include <linux/virtio_ring.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/unit/mock_driver.h"
#include "virtio/devices.h"

#define PLAIN (1ull << VIRTIO_F_VERSION_1)

static struct mock_platform mp;
static struct mock_driver drv;
static struct loop loop;
static struct virtio_rng *rng;

static void setup(void)
{
	mock_platform_init(&mp, MIB(16), 0);
	ck_assert_int_eq(loop_init(&loop, "rng"), 0);
	ck_assert_int_eq(virtio_rng_create(&rng, "alpha.rng", &loop, &mp.plat), 0);
	mock_driver_init(&drv, &mp, virtio_rng_dev(rng));
	ck_assert_int_eq(loop_start(&loop), 0);
}

static void teardown(void)
{
	loop_stop(&loop);
	virtio_dev_stop(virtio_rng_dev(rng));
	virtio_rng_destroy(rng);
	loop_fini(&loop);
	mock_platform_fini(&mp);
}

static bool faulted(void)
{
	return mock_driver_status(&drv) & VIRTIO_CONFIG_S_NEEDS_RESET;
}

START_TEST(fills_buffers)
{
	uint8_t a[64] = { 0 }, b[64] = { 0 }, zero[64] = { 0 };
	uint32_t id, len;
	gpa_t buf;

	ck_assert_uint_eq(virtio_rng_dev(rng)->device_id, 4);
	ck_assert(mock_driver_start(&drv, PLAIN, 64));
	buf = mock_driver_alloc(&drv, 256, 1);
	ck_assert_int_eq(gmem_zero(&mp.mem, buf, 256), 0);
	mock_ring_add(&drv.ring[0], (struct mock_seg[]){ { buf, 64, true } }, 1);
	mock_ring_add(&drv.ring[0],
		      (struct mock_seg[]){ { buf + 64, 1, true }, { buf + 65, 63, true } }, 2);
	mock_driver_kick(&drv, 0);
	for (int i = 0; i < 2; i++) {
		ck_assert(mock_ring_used(&drv.ring[0], &id, &len));
		ck_assert_uint_eq(len, 64);
	}
	ck_assert_int_eq(gmem_read(&mp.mem, buf, a, 64), 0);
	ck_assert_int_eq(gmem_read(&mp.mem, buf + 64, b, 64), 0);
	ck_assert_mem_ne(a, zero, 64);
	ck_assert_mem_ne(b, zero, 64);
	ck_assert_mem_ne(a, b, 64);
	/* Not a byte beyond. */
	ck_assert_int_eq(gmem_read(&mp.mem, buf + 128, a, 64), 0);
	ck_assert_mem_eq(a, zero, 64);
	ck_assert(!faulted());
}
END_TEST

START_TEST(huge_request_gets_a_part)
{
	uint32_t id, len;
	struct mock_seg segs[16];
	gpa_t buf;

	ck_assert(mock_driver_start(&drv, PLAIN, 64));
	buf = mock_driver_alloc(&drv, MIB(8), 1);
	for (unsigned i = 0; i < ARRAY_SIZE(segs); i++)
		segs[i] = (struct mock_seg){ buf, MIB(8), true };
	mock_ring_add(&drv.ring[0], segs, ARRAY_SIZE(segs));
	mock_driver_kick(&drv, 0);
	ck_assert(mock_ring_used(&drv.ring[0], &id, &len));
	ck_assert_uint_gt(len, 0);
	ck_assert_uint_le(len, KIB(64));
}
END_TEST

START_TEST(a_full_ring_is_served_in_turns)
{
	uint32_t id, len;
	unsigned done = 0;
	gpa_t buf;

	ck_assert(mock_driver_start(&drv, PLAIN | 1ull << VIRTIO_RING_F_EVENT_IDX, 64));
	buf = mock_driver_alloc(&drv, KIB(64), 1);
	for (int i = 0; i < 64; i++)
		mock_ring_add(&drv.ring[0], (struct mock_seg[]){ { buf, 32768, true } }, 1);
	mock_driver_kick(&drv, 0);
	for (int i = 0; i < 1000 && done < 64; i++) {
		while (mock_ring_used(&drv.ring[0], &id, &len))
			done++;
		usleep(1000);
	}
	ck_assert_uint_eq(done, 64);
	mock_driver_status(&drv); /* the loop has finished its turn */
	ck_assert_uint_eq(mock_ring_avail_event(&drv.ring[0]), 64);
}
END_TEST

START_TEST(request_without_a_buffer)
{
	gpa_t buf;
	uint32_t id, len;

	ck_assert(mock_driver_start(&drv, PLAIN, 64));
	buf = mock_driver_alloc(&drv, 64, 1);
	mock_ring_add(&drv.ring[0], (struct mock_seg[]){ { buf, 64, false } }, 1);
	mock_driver_kick(&drv, 0);
	ck_assert(faulted());
	ck_assert(mock_driver_start(&drv, PLAIN, 64));
	mock_ring_add(&drv.ring[0], (struct mock_seg[]){ { MIB(16) - 8, 64, true } }, 1);
	mock_driver_kick(&drv, 0);
	ck_assert(faulted());
	ck_assert(mock_driver_start(&drv, PLAIN, 64));
	mock_ring_add(&drv.ring[0], (struct mock_seg[]){ { buf, 64, true } }, 1);
	mock_driver_kick(&drv, 0);
	ck_assert(mock_ring_used(&drv.ring[0], &id, &len));
	ck_assert_uint_eq(len, 64);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("virtio_rng");
	TCase *tc = tcase_create("rng");
	SRunner *sr;
	int failed;

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_set_timeout(tc, 60);
	tcase_add_test(tc, fills_buffers);
	tcase_add_test(tc, huge_request_gets_a_part);
	tcase_add_test(tc, a_full_ring_is_served_in_turns);
	tcase_add_test(tc, request_without_a_buffer);
	suite_add_tcase(s, tc);
	sr = srunner_create(s);
	srunner_run_all(sr, CK_NORMAL);
	failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
