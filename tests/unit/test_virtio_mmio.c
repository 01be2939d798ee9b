/* virtio over MMIO, register by register. */
#include <check.h>
#include <errno.h>
#include <linux/virtio_config.h>
#include <linux/virtio_mmio.h>
#include <pthread.h>
#include <stdlib.h>
#include <time.h>

#include "tests/unit/mock_device.h"
#include "tests/unit/mock_driver.h"
#include "virtio/transport.h"

#define BASE	  0xd0000000ull
#define NR_QUEUES 2
#define GSI	  9
#define READY	  (VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER | VIRTIO_CONFIG_S_FEATURES_OK)

static struct mock_platform mp;
static struct mock_device md;
static struct mock_driver drv; /* for its rings only */
static struct loop loop;
static struct virtio_mmio *vm;

static void setup(void)
{
	log_set_level(LOG_ERROR);
	mock_platform_init(&mp, MIB(2), 0);
	ck_assert_int_eq(loop_init(&loop, "test"), 0);
	mock_device_init(&md, 2, NR_QUEUES, 64, &loop, &mp.plat);
	mock_driver_init(&drv, &mp, NULL);
	ck_assert_int_eq(virtio_mmio_create(&vm, &md.dev, BASE, GSI), 0);
	ck_assert_int_eq(loop_start(&loop), 0);
}

static void teardown(void)
{
	loop_stop(&loop);
	virtio_dev_stop(&md.dev);
	virtio_mmio_destroy(vm);
	ck_assert_uint_eq(mock_nr_doorbells(&mp), 0);
	ck_assert_int_eq(mp.line_efd[GSI], -1);
	ck_assert_uint_eq(mp.mmio.nr, 0);
	loop_fini(&loop);
	mock_platform_fini(&mp);
}

static uint32_t rd(unsigned reg)
{
	return (uint32_t)mock_mmio_read(&mp, BASE + reg, 4);
}

static void wr(unsigned reg, uint32_t value)
{
	mock_mmio_write(&mp, BASE + reg, value, 4);
}

static void negotiate(void)
{
	wr(VIRTIO_MMIO_STATUS, 0);
	wr(VIRTIO_MMIO_STATUS, VIRTIO_CONFIG_S_ACKNOWLEDGE);
	wr(VIRTIO_MMIO_STATUS, VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER);
	wr(VIRTIO_MMIO_DRIVER_FEATURES_SEL, 1);
	wr(VIRTIO_MMIO_DRIVER_FEATURES, 1);
	wr(VIRTIO_MMIO_STATUS, READY);
	ck_assert_uint_eq(rd(VIRTIO_MMIO_STATUS), READY);
}

static void queue_setup(unsigned q)
{
	struct mock_ring *r = &drv.ring[q];

	drv.next = mock_ring_init(r, &mp.mem, drv.next, 16);
	wr(VIRTIO_MMIO_QUEUE_SEL, q);
	ck_assert_uint_eq(rd(VIRTIO_MMIO_QUEUE_READY), 0);
	wr(VIRTIO_MMIO_QUEUE_NUM, 16);
	wr(VIRTIO_MMIO_QUEUE_DESC_LOW, (uint32_t)r->desc);
	wr(VIRTIO_MMIO_QUEUE_DESC_HIGH, 0);
	wr(VIRTIO_MMIO_QUEUE_AVAIL_LOW, (uint32_t)r->avail);
	wr(VIRTIO_MMIO_QUEUE_AVAIL_HIGH, 0);
	wr(VIRTIO_MMIO_QUEUE_USED_LOW, (uint32_t)r->used);
	wr(VIRTIO_MMIO_QUEUE_USED_HIGH, 0);
	wr(VIRTIO_MMIO_QUEUE_READY, 1);
	ck_assert_uint_eq(rd(VIRTIO_MMIO_QUEUE_READY), 1);
}

static void go_live(void)
{
	negotiate();
	drv.next = MIB(1);
	for (unsigned q = 0; q < NR_QUEUES; q++)
		queue_setup(q);
	wr(VIRTIO_MMIO_STATUS, READY | VIRTIO_CONFIG_S_DRIVER_OK);
	ck_assert_uint_eq(rd(VIRTIO_MMIO_STATUS), READY | VIRTIO_CONFIG_S_DRIVER_OK);
}

static void add(unsigned q)
{
	mock_ring_add(&drv.ring[q], (struct mock_seg[]){ { 0x8000, 64, true } }, 1);
}

static bool used_soon(unsigned q)
{
	for (int i = 0; i < 2000; i++) {
		if (mock_ring_used(&drv.ring[q], NULL, NULL))
			return true;
		nanosleep(&(struct timespec){ .tv_nsec = 1000000 }, NULL);
	}
	return false;
}

START_TEST(identity)
{
	ck_assert_uint_eq(rd(VIRTIO_MMIO_MAGIC_VALUE), 0x74726976);
	ck_assert_uint_eq(rd(VIRTIO_MMIO_VERSION), 2);
	ck_assert_uint_eq(rd(VIRTIO_MMIO_DEVICE_ID), 2);
	ck_assert_uint_eq(rd(VIRTIO_MMIO_VENDOR_ID), 0x4d4d5658);
	for (unsigned reg = 0; reg <= VIRTIO_MMIO_VENDOR_ID; reg += 4) {
		uint32_t before = rd(reg);

		wr(reg, 0);
		ck_assert_uint_eq(rd(reg), before);
	}
}
END_TEST

START_TEST(features)
{
	ck_assert_uint_eq(rd(VIRTIO_MMIO_DEVICE_FEATURES), (uint32_t)md.dev.offered);
	wr(VIRTIO_MMIO_DEVICE_FEATURES_SEL, 1);
	ck_assert_uint_eq(rd(VIRTIO_MMIO_DEVICE_FEATURES), md.dev.offered >> 32);
	wr(VIRTIO_MMIO_DEVICE_FEATURES_SEL, 2);
	ck_assert_uint_eq(rd(VIRTIO_MMIO_DEVICE_FEATURES), 0);
	wr(VIRTIO_MMIO_DEVICE_FEATURES_SEL, 0xffffffff);
	ck_assert_uint_eq(rd(VIRTIO_MMIO_DEVICE_FEATURES), 0);
	wr(VIRTIO_MMIO_DRIVER_FEATURES_SEL, 0x80000000);
	wr(VIRTIO_MMIO_DRIVER_FEATURES, 0xffffffff);
	ck_assert_uint_eq(md.dev.acked, 0);
	wr(VIRTIO_MMIO_STATUS, READY); /* no VERSION_1 */
	ck_assert(!(rd(VIRTIO_MMIO_STATUS) & VIRTIO_CONFIG_S_FEATURES_OK));
	negotiate();
}
END_TEST

START_TEST(queue_registers)
{
	negotiate();
	wr(VIRTIO_MMIO_QUEUE_SEL, 1);
	ck_assert_uint_eq(rd(VIRTIO_MMIO_QUEUE_NUM_MAX), 64);
	queue_setup(1);
	/* Frozen while ready, whatever is written. */
	wr(VIRTIO_MMIO_QUEUE_NUM, 64);
	wr(VIRTIO_MMIO_QUEUE_DESC_LOW, 0);
	wr(VIRTIO_MMIO_QUEUE_READY, 1);
	wr(VIRTIO_MMIO_QUEUE_READY, 2);
	ck_assert_uint_eq(md.dev.vq[1].size, 16);
	ck_assert_uint_eq(md.dev.vq[1].desc_gpa, drv.ring[1].desc);
	wr(VIRTIO_MMIO_QUEUE_READY, 0);
	ck_assert_uint_eq(rd(VIRTIO_MMIO_QUEUE_READY), 0);
	/* Write-only registers read as 0. */
	ck_assert_uint_eq(rd(VIRTIO_MMIO_QUEUE_SEL), 0);
	ck_assert_uint_eq(rd(VIRTIO_MMIO_QUEUE_DESC_LOW), 0);
	/* Queues that are not there. */
	for (unsigned i = 0; i < 3; i++) {
		wr(VIRTIO_MMIO_QUEUE_SEL, (uint32_t[]){ NR_QUEUES, 0x10000, 0xffffffff }[i]);
		ck_assert_uint_eq(rd(VIRTIO_MMIO_QUEUE_NUM_MAX), 0);
		wr(VIRTIO_MMIO_QUEUE_NUM, 16);
		wr(VIRTIO_MMIO_QUEUE_DESC_LOW, 0x1000);
		wr(VIRTIO_MMIO_QUEUE_READY, 1);
		ck_assert_uint_eq(rd(VIRTIO_MMIO_QUEUE_READY), 0);
		wr(VIRTIO_MMIO_QUEUE_READY, 0);
	}
	ck_assert_uint_eq(rd(VIRTIO_MMIO_STATUS), READY);
}
END_TEST

START_TEST(bad_queues)
{
	static const struct {
		uint32_t num, desc_low, desc_high;
	} bad[] = {
		{ 0, 0x1000, 0 },	   { 5, 0x1000, 0 },
		{ 65536 + 16, 0x1000, 0 }, { 128, 0x1000, 0 },
		{ 0x80000000, 0x1000, 0 }, { 16, 0x1008, 0 },
		{ 16, 0x1000, 0x10 },	   { 16, 0xfffffff0, 0xffffffff },
	};

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		negotiate();
		wr(VIRTIO_MMIO_QUEUE_SEL, 0);
		wr(VIRTIO_MMIO_QUEUE_NUM, bad[i].num);
		wr(VIRTIO_MMIO_QUEUE_DESC_LOW, bad[i].desc_low);
		wr(VIRTIO_MMIO_QUEUE_DESC_HIGH, bad[i].desc_high);
		wr(VIRTIO_MMIO_QUEUE_AVAIL_LOW, 0x2000);
		wr(VIRTIO_MMIO_QUEUE_USED_LOW, 0x3000);
		wr(VIRTIO_MMIO_QUEUE_READY, 1);
		ck_assert_uint_eq(rd(VIRTIO_MMIO_QUEUE_READY), 0);
		ck_assert_uint_eq(rd(VIRTIO_MMIO_STATUS), READY | VIRTIO_CONFIG_S_NEEDS_RESET);
	}
}
END_TEST

START_TEST(status_order)
{
	wr(VIRTIO_MMIO_STATUS, VIRTIO_CONFIG_S_DRIVER_OK);
	ck_assert_uint_eq(rd(VIRTIO_MMIO_STATUS), VIRTIO_CONFIG_S_NEEDS_RESET);
	wr(VIRTIO_MMIO_STATUS, 0x100); /* neither a reset nor a status */
	wr(VIRTIO_MMIO_STATUS, 0xffffff00);
	ck_assert_uint_eq(rd(VIRTIO_MMIO_STATUS), VIRTIO_CONFIG_S_NEEDS_RESET);
	wr(VIRTIO_MMIO_STATUS, 0);
	ck_assert_uint_eq(rd(VIRTIO_MMIO_STATUS), 0);
	go_live();
}
END_TEST

START_TEST(doorbell_and_interrupt)
{
	go_live();
	ck_assert_uint_eq(mock_nr_doorbells(&mp), 1);
	for (unsigned q = 0; q < NR_QUEUES; q++) {
		add(q);
		wr(VIRTIO_MMIO_QUEUE_NOTIFY, q);
		ck_assert(used_soon(q));
	}
	for (int i = 0; i < 2000 && md.dev.interrupts < NR_QUEUES; i++)
		nanosleep(&(struct timespec){ .tv_nsec = 1000000 }, NULL);
	rd(VIRTIO_MMIO_STATUS); /* behind the handler on the loop */
	ck_assert_uint_eq(mock_line_count(&mp, GSI), NR_QUEUES);
	ck_assert_uint_eq(rd(VIRTIO_MMIO_INTERRUPT_STATUS), VIRTIO_MMIO_INT_VRING);
	md.dev.transport->notify_config(&md.dev);
	ck_assert_uint_eq(mock_line_count(&mp, GSI), 1);
	ck_assert_uint_eq(rd(VIRTIO_MMIO_INTERRUPT_STATUS), 3);
	wr(VIRTIO_MMIO_INTERRUPT_ACK, VIRTIO_MMIO_INT_VRING);
	ck_assert_uint_eq(rd(VIRTIO_MMIO_INTERRUPT_STATUS), VIRTIO_MMIO_INT_CONFIG);
	wr(VIRTIO_MMIO_INTERRUPT_STATUS, 0); /* read-only */
	ck_assert_uint_eq(rd(VIRTIO_MMIO_INTERRUPT_STATUS), VIRTIO_MMIO_INT_CONFIG);
	wr(VIRTIO_MMIO_INTERRUPT_ACK, 0xffffffff);
	ck_assert_uint_eq(rd(VIRTIO_MMIO_INTERRUPT_STATUS), 0);
	md.dev.transport->notify_config(&md.dev);
	wr(VIRTIO_MMIO_STATUS, 0);
	ck_assert_uint_eq(rd(VIRTIO_MMIO_INTERRUPT_STATUS), 0);
}
END_TEST

START_TEST(broken_ring)
{
	go_live();
	mock_ring_offer(&drv.ring[1], 999);
	wr(VIRTIO_MMIO_QUEUE_NOTIFY, 0xffffffff);
	for (int i = 0; i < 2000 && !(rd(VIRTIO_MMIO_STATUS) & VIRTIO_CONFIG_S_NEEDS_RESET); i++)
		nanosleep(&(struct timespec){ .tv_nsec = 1000000 }, NULL);
	ck_assert(rd(VIRTIO_MMIO_STATUS) & VIRTIO_CONFIG_S_NEEDS_RESET);
	ck_assert(rd(VIRTIO_MMIO_INTERRUPT_STATUS) & VIRTIO_MMIO_INT_CONFIG);
}
END_TEST

START_TEST(no_shared_memory)
{
	wr(VIRTIO_MMIO_SHM_SEL, 0);
	ck_assert_uint_eq(rd(VIRTIO_MMIO_SHM_LEN_LOW), 0xffffffff);
	ck_assert_uint_eq(rd(VIRTIO_MMIO_SHM_LEN_HIGH), 0xffffffff);
	ck_assert_uint_eq(rd(VIRTIO_MMIO_SHM_BASE_LOW), 0xffffffff);
	ck_assert_uint_eq(rd(VIRTIO_MMIO_SHM_BASE_HIGH), 0xffffffff);
}
END_TEST

START_TEST(device_configuration)
{
	for (unsigned i = 0; i < MOCK_CONFIG_BYTES; i++)
		md.config[i] = (uint8_t)(i + 1);
	ck_assert_uint_eq(mock_mmio_read(&mp, BASE + 0x100, 1), 1);
	ck_assert_uint_eq(mock_mmio_read(&mp, BASE + 0x101, 2), 0x0302);
	ck_assert_uint_eq(mock_mmio_read(&mp, BASE + 0x108, 8), 0x100f0e0d0c0b0a09ull);
	ck_assert_uint_eq(mock_mmio_read(&mp, BASE + 0x1fc, 4), 0);
	ck_assert_uint_eq(mock_mmio_read(&mp, BASE + 0x1fc, 8), ~0ull); /* leaves the device */
	mock_mmio_write(&mp, BASE + 0x102, 0xaabb, 2);
	ck_assert_uint_eq(md.config[2], 0xbb);
	mock_mmio_write(&mp, BASE + 0x1ff, 0xff, 1);
	ck_assert_uint_eq(rd(VIRTIO_MMIO_CONFIG_GENERATION), 0);
	virtio_config_changed(&md.dev);
	ck_assert_uint_eq(rd(VIRTIO_MMIO_CONFIG_GENERATION), 1);
}
END_TEST

START_TEST(odd_widths)
{
	negotiate();
	for (unsigned reg = 0; reg < VIRTIO_MMIO_CONFIG; reg++) {
		for (unsigned size = 1; size <= 8; size *= 2) {
			if (size == 4 && reg % 4 == 0)
				continue;
			if (reg + size > VIRTIO_MMIO_CONFIG)
				continue;
			ck_assert_uint_eq(mock_mmio_read(&mp, BASE + reg, size), 0);
			mock_mmio_write(&mp, BASE + reg, 0, size);
		}
	}
	ck_assert_uint_eq(rd(VIRTIO_MMIO_STATUS), READY);
	for (unsigned reg = 0; reg < VIRTIO_MMIO_CONFIG; reg += 4)
		rd(reg);
}
END_TEST

START_TEST(doorbell_by_exit)
{
	struct mock_device d;
	struct virtio_mmio *v;

	mp.fail_doorbell = -ENOSPC;
	log_set_level(LOG_ERROR);
	mock_device_init(&d, 4, 1, 64, &loop, &mp.plat);
	ck_assert_int_eq(virtio_mmio_create(&v, &d.dev, BASE + 0x1000, GSI + 1), 0);
	mock_mmio_write(&mp, BASE + 0x1000 + VIRTIO_MMIO_STATUS, 1, 4);
	mock_mmio_write(&mp, BASE + 0x1000 + VIRTIO_MMIO_QUEUE_NOTIFY, 0, 4); /* not live */
	ck_assert_uint_eq(mock_mmio_read(&mp, BASE + 0x1000 + VIRTIO_MMIO_STATUS, 4), 1);
	virtio_mmio_destroy(v);
	mp.fail_doorbell = 0;
	/* And where another device already is: nothing is left over. */
	ck_assert_int_eq(virtio_mmio_create(&v, &d.dev, BASE + 0x100, GSI + 1), -EEXIST);
	ck_assert_int_eq(mp.line_efd[GSI + 1], -1);
	ck_assert_int_eq(virtio_mmio_create(&v, &d.dev, BASE + 0x1000, MOCK_LINES), -EINVAL);
}
END_TEST

/* The slow doorbell reaches the queue as well. */
START_TEST(doorbell_by_exit_works)
{
	gpa_t gpa = BASE + VIRTIO_MMIO_QUEUE_NOTIFY;

	go_live();
	mp.plat.ops->doorbell_del(&mp.plat, gpa, 4, mp.doorbell[0].efd);
	add(1);
	wr(VIRTIO_MMIO_QUEUE_NOTIFY, 1);
	ck_assert(used_soon(1));
}
END_TEST

static _Atomic bool race_stop;

static void *race_access(void *arg)
{
	while (!race_stop) {
		wr(VIRTIO_MMIO_QUEUE_NOTIFY, 0);
		wr(VIRTIO_MMIO_INTERRUPT_ACK, rd(VIRTIO_MMIO_INTERRUPT_STATUS));
		md.dev.transport->notify_queue(&md.dev, 0);
	}
	return NULL;
}

START_TEST(races)
{
	pthread_t t;

	race_stop = false;
	ck_assert_int_eq(pthread_create(&t, NULL, race_access, NULL), 0);
	for (int i = 0; i < 100; i++)
		go_live();
	race_stop = true;
	pthread_join(t, NULL);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("virtio_mmio");
	TCase *tc = tcase_create("virtio_mmio");
	SRunner *sr;
	int failed;

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_set_timeout(tc, 60);
	tcase_add_test(tc, identity);
	tcase_add_test(tc, features);
	tcase_add_test(tc, queue_registers);
	tcase_add_test(tc, bad_queues);
	tcase_add_test(tc, status_order);
	tcase_add_test(tc, doorbell_and_interrupt);
	tcase_add_test(tc, broken_ring);
	tcase_add_test(tc, no_shared_memory);
	tcase_add_test(tc, device_configuration);
	tcase_add_test(tc, odd_widths);
	tcase_add_test(tc, doorbell_by_exit);
	tcase_add_test(tc, doorbell_by_exit_works);
	tcase_add_test(tc, races);
	suite_add_tcase(s, tc);
	sr = srunner_create(s);
	srunner_run_all(sr, CK_ENV);
	failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
