/* Negotiation, device status and guest faults: the rules that every transport shares. */
#include <check.h>
#include <errno.h>
#include <linux/virtio_config.h>
#include <linux/virtio_ring.h>
#include <stdlib.h>

#include "tests/unit/mock_device.h"
#include "tests/unit/mock_driver.h"

#define ACK	    VIRTIO_CONFIG_S_ACKNOWLEDGE
#define DRIVER	    VIRTIO_CONFIG_S_DRIVER
#define DRIVER_OK   VIRTIO_CONFIG_S_DRIVER_OK
#define FEATURES_OK VIRTIO_CONFIG_S_FEATURES_OK
#define NEEDS_RESET VIRTIO_CONFIG_S_NEEDS_RESET
#define FAILED	    VIRTIO_CONFIG_S_FAILED

#define V1	  (1ull << VIRTIO_F_VERSION_1)
#define EVENT_IDX (1ull << VIRTIO_RING_F_EVENT_IDX)
#define INDIRECT  (1ull << VIRTIO_RING_F_INDIRECT_DESC)

static struct mock_platform mp;
static struct mock_device md;
static struct mock_driver drv;
static struct loop loop;
static struct virtio_dev *dev = &md.dev;

static void setup(void)
{
	log_set_level(LOG_ERROR);
	mock_platform_init(&mp, MIB(2), 0);
	ck_assert_int_eq(loop_init(&loop, "test"), 0);
	mock_device_init(&md, 4, 2, 64, &loop, &mp.plat);
	mock_driver_init(&drv, &mp, dev);
}

static void teardown(void)
{
	loop_fini(&loop);
	mock_platform_fini(&mp);
}

START_TEST(good_driver)
{
	uint32_t id, len;
	gpa_t buf;

	ck_assert_uint_eq(dev->offered, V1 | EVENT_IDX | INDIRECT | 1 << MOCK_FEATURE);
	ck_assert(mock_driver_start(&drv, V1 | EVENT_IDX, 16));
	ck_assert(dev->live);
	ck_assert(virtio_has(dev, VIRTIO_RING_F_EVENT_IDX));
	ck_assert(!virtio_has(dev, MOCK_FEATURE));
	ck_assert(dev->vq[0].event_idx && !dev->vq[0].indirect);
	ck_assert_uint_eq(md.starts, 1);

	buf = mock_driver_alloc(&drv, 64, 1);
	mock_ring_add(&drv.ring[1], (struct mock_seg[]){ { buf, 64, true } }, 1);
	mock_driver_kick(&drv, 1);
	ck_assert(mock_ring_used(&drv.ring[1], &id, &len));
	ck_assert_uint_eq(len, 64);
	ck_assert_uint_eq(drv.queue_irqs[1], 1);
	ck_assert_uint_eq(drv.queue_irqs[0], 0);
	ck_assert_uint_eq(dev->doorbells, 1);
	ck_assert_uint_eq(dev->interrupts, 1);
}
END_TEST

START_TEST(buffers_before_driver_ok_are_seen)
{
	ck_assert(mock_driver_negotiate(&drv, V1));
	mock_ring_init(&drv.ring[0], &mp.mem, 0x1000, 16);
	mock_ring_attach(&drv.ring[0], &dev->vq[0]);
	virtio_queue_enable(dev, 0);
	mock_ring_add(&drv.ring[0], (struct mock_seg[]){ { 0x8000, 64, true } }, 1);
	mock_driver_kick(&drv, 0); /* too early: ignored */
	ck_assert_uint_eq(md.kicks[0], 0);
	mock_driver_set_status(&drv, ACK | DRIVER | FEATURES_OK | DRIVER_OK);
	ck_assert(mock_ring_used(&drv.ring[0], NULL, NULL));
	ck_assert_uint_eq(md.kicks[1], 0); /* never enabled */
	mock_driver_kick(&drv, 1);
	mock_driver_kick(&drv, 2);
	mock_driver_kick(&drv, ~0u);
	ck_assert_uint_eq(md.kicks[1], 0);
}
END_TEST

START_TEST(features_that_were_not_offered)
{
	ck_assert(!mock_driver_negotiate(&drv, V1 | 1 << 6));
	ck_assert(!mock_driver_negotiate(&drv, V1 | 1ull << VIRTIO_F_RING_PACKED));
	ck_assert(!mock_driver_negotiate(&drv, V1 | 1ull << 63));
	/* It may try again with fewer, without a reset in between. */
	virtio_set_driver_features(dev, 0, 1 << MOCK_FEATURE);
	virtio_set_driver_features(dev, 1, 1);
	mock_driver_set_status(&drv, ACK | DRIVER | FEATURES_OK);
	ck_assert_uint_eq(dev->status, ACK | DRIVER | FEATURES_OK);
	ck_assert_uint_eq(dev->acked, V1 | 1 << MOCK_FEATURE);
	ck_assert_uint_eq(dev->guest_faults, 0);
}
END_TEST

START_TEST(legacy_driver)
{
	ck_assert(!mock_driver_negotiate(&drv, 0));
	ck_assert(!mock_driver_negotiate(&drv, EVENT_IDX));
}
END_TEST

START_TEST(features_are_final)
{
	ck_assert(mock_driver_negotiate(&drv, V1));
	virtio_set_driver_features(dev, 0, ~0u);
	virtio_set_driver_features(dev, 1, 0);
	ck_assert_uint_eq(dev->acked, V1);
	/* Words that there are not, while features can be set. */
	mock_driver_set_status(&drv, 0);
	for (unsigned word = 2; word < 70; word++)
		virtio_set_driver_features(dev, word, ~0u);
	virtio_set_driver_features(dev, ~0u, ~0u);
	ck_assert_uint_eq(dev->acked, 0);
}
END_TEST

START_TEST(driver_ok_without_features_ok)
{
	mock_driver_set_status(&drv, ACK | DRIVER);
	mock_driver_set_status(&drv, ACK | DRIVER | DRIVER_OK);
	ck_assert_uint_eq(dev->status, ACK | DRIVER | NEEDS_RESET);
	ck_assert_uint_eq(md.starts, 0);
	ck_assert_uint_eq(dev->guest_faults, 1);
	ck_assert_uint_eq(drv.config_irqs, 0); /* not before DRIVER_OK */
	/* Nothing but reset leads out. */
	virtio_set_driver_features(dev, 1, 1);
	mock_driver_set_status(&drv, ACK | DRIVER | FEATURES_OK | DRIVER_OK);
	ck_assert_uint_eq(dev->status, ACK | DRIVER | NEEDS_RESET);
	ck_assert_uint_eq(md.starts, 0);
	ck_assert(mock_driver_start(&drv, V1, 16));
}
END_TEST

START_TEST(everything_in_one_write)
{
	virtio_set_driver_features(dev, 1, 1);
	mock_driver_set_status(&drv, 0xff);
	ck_assert_uint_eq(dev->status, 0xff & ~(NEEDS_RESET | 0x30));
	ck_assert(dev->live);
	/* The same with features that cannot be had. */
	mock_driver_set_status(&drv, 0);
	mock_driver_set_status(&drv, 0xff);
	ck_assert_uint_eq(dev->status, ACK | DRIVER | FAILED | NEEDS_RESET);
	ck_assert(!dev->live);
}
END_TEST

START_TEST(bits_are_only_cleared_by_reset)
{
	ck_assert(mock_driver_start(&drv, V1, 16));
	mock_driver_set_status(&drv, ACK);
	ck_assert_uint_eq(dev->status, ACK | DRIVER | FEATURES_OK | DRIVER_OK);
	mock_driver_set_status(&drv, ACK | DRIVER | FEATURES_OK | DRIVER_OK);
	ck_assert_uint_eq(md.starts, 1); /* DRIVER_OK again starts nothing */
	ck_assert_uint_eq(md.stops, 0);
	mock_driver_set_status(&drv, 0);
	ck_assert_uint_eq(dev->status, 0);
	ck_assert_uint_eq(dev->acked, 0);
	ck_assert_uint_eq(md.stops, 1);
	ck_assert(!dev->live && !dev->vq[0].enabled);
	ck_assert_uint_eq(dev->vq[0].size, 64);
	ck_assert_uint_eq(dev->vq[0].desc_gpa, 0);
	mock_driver_set_status(&drv, 0);
	virtio_dev_stop(dev);
	ck_assert_uint_eq(md.stops, 1);
	ck_assert(mock_driver_start(&drv, V1, 16));
}
END_TEST

START_TEST(driver_cannot_set_needs_reset)
{
	mock_driver_set_status(&drv, ACK | NEEDS_RESET);
	ck_assert_uint_eq(dev->status, ACK);
}
END_TEST

START_TEST(machine_ends)
{
	ck_assert(mock_driver_start(&drv, V1, 16));
	virtio_dev_stop(dev);
	virtio_dev_stop(dev);
	ck_assert_uint_eq(md.stops, 1);
	mock_driver_kick(&drv, 0);
	ck_assert_uint_eq(md.kicks[0], 1); /* the one of the start */
}
END_TEST

START_TEST(start_fails)
{
	md.start_rc = -EIO;
	ck_assert(!mock_driver_start(&drv, V1, 16));
	ck_assert_uint_eq(dev->status, ACK | DRIVER | FEATURES_OK | DRIVER_OK | NEEDS_RESET);
	ck_assert(!dev->live);
	ck_assert_uint_eq(md.stops, 1);
	ck_assert_uint_eq(drv.config_irqs, 1);
	ck_assert_uint_eq(md.kicks[0], 0);
	ck_assert_uint_eq(dev->guest_faults, 0); /* it was ours */
	md.start_rc = 0;
	ck_assert(mock_driver_start(&drv, V1, 16));
}
END_TEST

START_TEST(fault_within_start)
{
	md.start_fault = "made up";
	md.start_rc = -EPROTO;
	ck_assert(!mock_driver_start(&drv, V1, 16));
	ck_assert_uint_eq(md.stops, 1);
	ck_assert_uint_eq(drv.config_irqs, 1);
	ck_assert_uint_eq(dev->guest_faults, 1);
}
END_TEST

START_TEST(broken_ring)
{
	ck_assert(mock_driver_start(&drv, V1, 16));
	mock_ring_offer(&drv.ring[0], 999);
	mock_driver_kick(&drv, 0);
	ck_assert(dev->status & NEEDS_RESET);
	ck_assert(!dev->live);
	ck_assert_uint_eq(md.stops, 1);
	ck_assert_uint_eq(drv.config_irqs, 1);
	ck_assert_uint_eq(dev->guest_faults, 1);
	/* The other queue is no longer served either; the second fault makes no noise. */
	mock_ring_add(&drv.ring[1], (struct mock_seg[]){ { 0x8000, 64, true } }, 1);
	mock_driver_kick(&drv, 1);
	ck_assert(!mock_ring_used(&drv.ring[1], NULL, NULL));
	virtio_guest_fault(dev, "again");
	ck_assert_uint_eq(drv.config_irqs, 1);
	ck_assert_uint_eq(md.stops, 1);
	/* Reset, and all is well. */
	ck_assert(mock_driver_start(&drv, V1, 16));
	mock_ring_add(&drv.ring[1], (struct mock_seg[]){ { 0x8000, 64, true } }, 1);
	mock_driver_kick(&drv, 1);
	ck_assert(mock_ring_used(&drv.ring[1], NULL, NULL));
}
END_TEST

START_TEST(queue_before_features_ok)
{
	mock_driver_set_status(&drv, ACK | DRIVER);
	virtio_queue_enable(dev, 0);
	ck_assert(dev->status & NEEDS_RESET);
	ck_assert(!dev->vq[0].enabled);
}
END_TEST

static void set_addresses(unsigned q, gpa_t desc, gpa_t avail, gpa_t used)
{
	virtio_queue_set_area(dev, q, VIRTIO_QUEUE_DESC, false, (uint32_t)desc);
	virtio_queue_set_area(dev, q, VIRTIO_QUEUE_DESC, true, (uint32_t)(desc >> 32));
	virtio_queue_set_area(dev, q, VIRTIO_QUEUE_AVAIL, false, (uint32_t)avail);
	virtio_queue_set_area(dev, q, VIRTIO_QUEUE_AVAIL, true, (uint32_t)(avail >> 32));
	virtio_queue_set_area(dev, q, VIRTIO_QUEUE_USED, false, (uint32_t)used);
	virtio_queue_set_area(dev, q, VIRTIO_QUEUE_USED, true, (uint32_t)(used >> 32));
}

START_TEST(bad_queues)
{
	static const struct {
		uint32_t size;
		gpa_t desc, avail, used;
	} bad[] = {
		{ 0, 0x1000, 0x2000, 0x3000 },		{ 12, 0x1000, 0x2000, 0x3000 },
		{ 128, 0x1000, 0x2000, 0x3000 },	{ 65536 + 16, 0x1000, 0x2000, 0x3000 },
		{ 0xffffffff, 0x1000, 0x2000, 0x3000 }, { 16, 0x1001, 0x2000, 0x3000 },
		{ 16, MIB(2), 0x2000, 0x3000 },		{ 16, 0x1000, 1ull << 32, 0x3000 },
		{ 16, 0x1000, 0x2000, ~3ull },
	};

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		ck_assert(mock_driver_negotiate(&drv, V1));
		virtio_queue_set_size(dev, 0, bad[i].size);
		set_addresses(0, bad[i].desc, bad[i].avail, bad[i].used);
		virtio_queue_enable(dev, 0);
		ck_assert_msg(dev->status & NEEDS_RESET, "case %zu", i);
		ck_assert(!dev->vq[0].enabled);
		mock_driver_set_status(&drv, dev->status | DRIVER_OK);
		ck_assert(!dev->live);
	}
	ck_assert_uint_eq(dev->guest_faults, ARRAY_SIZE(bad));
}
END_TEST

START_TEST(queue_is_frozen_while_enabled)
{
	ck_assert(mock_driver_negotiate(&drv, V1));
	virtio_queue_set_size(dev, 0, 16);
	set_addresses(0, 0x1000, 0x2000, 0x3000);
	virtio_queue_enable(dev, 0);
	ck_assert(dev->vq[0].enabled);
	virtio_queue_set_size(dev, 0, 64);
	set_addresses(0, ~0ull, ~0ull, ~0ull);
	virtio_queue_enable(dev, 0);
	ck_assert_uint_eq(dev->vq[0].size, 16);
	ck_assert_uint_eq(dev->vq[0].desc_gpa, 0x1000);
	ck_assert_uint_eq(dev->guest_faults, 0);
	virtio_queue_disable(dev, 0);
	ck_assert(!dev->vq[0].enabled);

	/* While live neither is possible, also for a queue that was left out. */
	ck_assert(mock_driver_start(&drv, V1, 16));
	virtio_queue_disable(dev, 0);
	ck_assert(dev->vq[0].enabled);
	/* No such queue. */
	virtio_queue_set_size(dev, 2, 16);
	set_addresses(~0u, 0, 0, 0);
	virtio_queue_set_area(dev, 0, 7, false, 0);
	virtio_queue_enable(dev, 2);
	virtio_queue_disable(dev, ~0u);
	ck_assert(dev->live);
}
END_TEST

START_TEST(config_change)
{
	virtio_config_changed(dev);
	ck_assert_uint_eq(dev->config_generation, 1);
	ck_assert_uint_eq(drv.config_irqs, 0); /* nobody is there yet */
	ck_assert(mock_driver_start(&drv, V1, 16));
	virtio_config_changed(dev);
	ck_assert_uint_eq(dev->config_generation, 2);
	ck_assert_uint_eq(drv.config_irqs, 1);
}
END_TEST

/* The mock's steps are carried to the loop's thread: no data race (SAN=thread). */
START_TEST(on_a_running_loop)
{
	ck_assert_int_eq(loop_start(&loop), 0);
	for (int i = 0; i < 50; i++) {
		ck_assert(mock_driver_start(&drv, V1 | INDIRECT, 16));
		drv.next = MIB(1);
		mock_ring_add(&drv.ring[0], (struct mock_seg[]){ { 0x8000, 64, true } }, 1);
		mock_driver_kick(&drv, 0);
		ck_assert(mock_ring_used(&drv.ring[0], NULL, NULL));
	}
	loop_stop(&loop);
	virtio_dev_stop(dev);
	ck_assert_uint_eq(md.starts, 50);
	ck_assert_uint_eq(md.stops, 50);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("virtio");
	TCase *tc = tcase_create("virtio");
	SRunner *sr;
	int failed;

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, good_driver);
	tcase_add_test(tc, buffers_before_driver_ok_are_seen);
	tcase_add_test(tc, features_that_were_not_offered);
	tcase_add_test(tc, legacy_driver);
	tcase_add_test(tc, features_are_final);
	tcase_add_test(tc, driver_ok_without_features_ok);
	tcase_add_test(tc, everything_in_one_write);
	tcase_add_test(tc, bits_are_only_cleared_by_reset);
	tcase_add_test(tc, driver_cannot_set_needs_reset);
	tcase_add_test(tc, machine_ends);
	tcase_add_test(tc, start_fails);
	tcase_add_test(tc, fault_within_start);
	tcase_add_test(tc, broken_ring);
	tcase_add_test(tc, queue_before_features_ok);
	tcase_add_test(tc, bad_queues);
	tcase_add_test(tc, queue_is_frozen_while_enabled);
	tcase_add_test(tc, config_change);
	tcase_add_test(tc, on_a_running_loop);
	suite_add_tcase(s, tc);
	sr = srunner_create(s);
	srunner_run_all(sr, CK_ENV);
	failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
