/* virtio over PCI, register by register: as Linux drives it, and as a hostile guest would. */
#include <check.h>
#include <errno.h>
#include <linux/pci_regs.h>
#include <linux/virtio_config.h>
#include <linux/virtio_pci.h>
#include <pthread.h>
#include <stdlib.h>
#include <time.h>

#include "tests/unit/mock_device.h"
#include "tests/unit/mock_driver.h"
#include "virtio/transport.h"

#define ECAM	   0xb0000000ull
#define WINDOW	   0xc0000000ull
#define NR_QUEUES  2
#define GSI	   17
#define MSI	   0xfee00000ull
#define VENDOR_CAP 9
#define REG(field) offsetof(struct virtio_pci_common_cfg, field)
#define READY	   (VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER | VIRTIO_CONFIG_S_FEATURES_OK)

static struct mock_platform mp;
static struct pci_host host;
static struct mock_device md;
static struct mock_driver drv; /* for its rings and its allocator only */
static struct loop loop;
static struct virtio_pci *vp;
static gpa_t common, isr, devcfg, notify;
static uint32_t multiplier;
static unsigned window_cap;

static uint32_t cfg_rd(unsigned reg, unsigned size)
{
	return (uint32_t)mock_mmio_read(&mp, ECAM + (1 << 15) + reg, size);
}

static void cfg_wr(unsigned reg, uint32_t value, unsigned size)
{
	mock_mmio_write(&mp, ECAM + (1 << 15) + reg, value, size);
}

/* As a driver does it: everything is found through the capability list. */
static void find_structures(void)
{
	gpa_t bar = cfg_rd(PCI_BASE_ADDRESS_0, 4) & ~0xfull;

	for (unsigned at = cfg_rd(PCI_CAPABILITY_LIST, 1); at; at = cfg_rd(at + 1, 1)) {
		gpa_t where = bar + cfg_rd(at + VIRTIO_PCI_CAP_OFFSET, 4);

		if (cfg_rd(at, 1) != VENDOR_CAP)
			continue;
		switch (cfg_rd(at + VIRTIO_PCI_CAP_CFG_TYPE, 1)) {
		case VIRTIO_PCI_CAP_COMMON_CFG:
			common = where;
			ck_assert_uint_ge(cfg_rd(at + VIRTIO_PCI_CAP_LENGTH, 4),
					  sizeof(struct virtio_pci_common_cfg));
			break;
		case VIRTIO_PCI_CAP_NOTIFY_CFG:
			notify = where;
			multiplier = cfg_rd(at + 16, 4);
			break;
		case VIRTIO_PCI_CAP_ISR_CFG:
			isr = where;
			break;
		case VIRTIO_PCI_CAP_DEVICE_CFG:
			devcfg = where;
			break;
		case VIRTIO_PCI_CAP_PCI_CFG:
			window_cap = at;
			break;
		}
	}
	ck_assert(common && notify && isr && devcfg && window_cap);
}

static void setup(void)
{
	struct pci_layout l = {
		.ecam_base = ECAM,
		.ecam_bytes = MIB(1),
		.mmio_base = WINDOW,
		.mmio_bytes = MIB(64),
		.intx_gsi = { 16, GSI, 18, 19, 16, 17, 18, 19 },
	};

	log_set_level(LOG_ERROR);
	mock_platform_init(&mp, MIB(2), 0);
	ck_assert_int_eq(pci_host_init(&host, &mp.plat, &l), 0);
	ck_assert_int_eq(loop_init(&loop, "test"), 0);
	mock_device_init(&md, 1, NR_QUEUES, 64, &loop, &mp.plat);
	mock_driver_init(&drv, &mp, NULL);
	ck_assert_int_eq(virtio_pci_create(&vp, &md.dev, &host), 0);
	ck_assert_int_eq(loop_start(&loop), 0);
	find_structures();
}

static void teardown(void)
{
	loop_stop(&loop);
	virtio_dev_stop(&md.dev);
	virtio_pci_destroy(vp);
	ck_assert_uint_eq(mock_nr_doorbells(&mp), 0);
	ck_assert_uint_eq(mock_nr_routes(&mp), 0);
	pci_host_fini(&host);
	ck_assert_uint_eq(mp.mmio.nr, 0);
	loop_fini(&loop);
	mock_platform_fini(&mp);
}

static uint32_t rd(unsigned reg, unsigned size)
{
	return (uint32_t)mock_mmio_read(&mp, common + reg, size);
}

static void wr(unsigned reg, uint32_t value, unsigned size)
{
	mock_mmio_write(&mp, common + reg, value, size);
}

static void negotiate(void)
{
	wr(REG(device_status), 0, 1);
	wr(REG(device_status), VIRTIO_CONFIG_S_ACKNOWLEDGE, 1);
	wr(REG(device_status), VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER, 1);
	wr(REG(guest_feature_select), 1, 4);
	wr(REG(guest_feature), 1, 4);
	wr(REG(device_status), READY, 1);
	ck_assert_uint_eq(rd(REG(device_status), 1), READY);
}

static void queue_setup(unsigned q)
{
	struct mock_ring *r = &drv.ring[q];

	drv.next = mock_ring_init(r, &mp.mem, drv.next, 16);
	wr(REG(queue_select), q, 2);
	wr(REG(queue_size), 16, 2);
	wr(REG(queue_desc_lo), (uint32_t)r->desc, 4);
	wr(REG(queue_desc_hi), 0, 4);
	wr(REG(queue_avail_lo), (uint32_t)r->avail, 4);
	wr(REG(queue_avail_hi), 0, 4);
	wr(REG(queue_used_lo), (uint32_t)r->used, 4);
	wr(REG(queue_used_hi), 0, 4);
	wr(REG(queue_enable), 1, 2);
	ck_assert_uint_eq(rd(REG(queue_enable), 2), 1);
}

static void go_live(void)
{
	negotiate();
	for (unsigned q = 0; q < NR_QUEUES; q++)
		queue_setup(q);
	wr(REG(device_status), READY | VIRTIO_CONFIG_S_DRIVER_OK, 1);
	ck_assert_uint_eq(rd(REG(device_status), 1), READY | VIRTIO_CONFIG_S_DRIVER_OK);
}

static gpa_t doorbell(unsigned q)
{
	wr(REG(queue_select), q, 2);
	return notify + rd(REG(queue_notify_off), 2) * multiplier;
}

static void add(unsigned q)
{
	mock_ring_add(&drv.ring[q], (struct mock_seg[]){ { 0x8000, 64, true } }, 1);
}

/* A register access goes through the loop, behind the doorbells that arrived before; but the
 * eventfd and the posted access are two events, so look more than once. */
static bool used_soon(unsigned q)
{
	for (int i = 0; i < 2000; i++) {
		if (mock_ring_used(&drv.ring[q], NULL, NULL))
			return true;
		nanosleep(&(struct timespec){ .tv_nsec = 1000000 }, NULL);
	}
	return false;
}

static void msix_setup(void)
{
	gpa_t bar = cfg_rd(PCI_BASE_ADDRESS_0, 4);
	unsigned at = cfg_rd(PCI_CAPABILITY_LIST, 1);

	while (at && cfg_rd(at, 1) != PCI_CAP_ID_MSIX)
		at = cfg_rd(at + 1, 1);
	/* One vector more than queues; the field holds the number minus one. */
	ck_assert_uint_eq(cfg_rd(at + PCI_MSIX_FLAGS, 2) & PCI_MSIX_FLAGS_QSIZE, NR_QUEUES);
	for (unsigned i = 0; i <= NR_QUEUES; i++) {
		gpa_t e = bar + (cfg_rd(at + PCI_MSIX_TABLE, 4) & ~7u) + 16 * i;

		mock_mmio_write(&mp, e, MSI, 8);
		mock_mmio_write(&mp, e + 8, 0x40 + i, 4);
		mock_mmio_write(&mp, e + 12, 0, 4);
	}
	cfg_wr(at + PCI_MSIX_FLAGS, PCI_MSIX_FLAGS_ENABLE, 2);
}

START_TEST(identity)
{
	static const struct {
		uint16_t id;
		uint32_t class_code;
	} ids[] = { { 1, 0x020000 }, { 2, 0x010000 }, { 3, 0x078000 }, { 4, 0xff0000 } };

	ck_assert_uint_eq(cfg_rd(PCI_VENDOR_ID, 4), 0x10411af4);
	ck_assert_uint_eq(cfg_rd(PCI_CLASS_REVISION, 4), 0x02000001);
	ck_assert_uint_eq(cfg_rd(PCI_SUBSYSTEM_VENDOR_ID, 4), 0x11001af4);
	ck_assert_uint_eq(multiplier, 4);
	for (size_t i = 0; i < ARRAY_SIZE(ids); i++) {
		struct mock_device d;
		struct virtio_pci *v;
		gpa_t at = ECAM + (2 << 15);

		mock_device_init(&d, ids[i].id, 1, 64, &loop, &mp.plat);
		ck_assert_int_eq(virtio_pci_create(&v, &d.dev, &host), 0); /* the loop runs */
		ck_assert_uint_eq(mock_mmio_read(&mp, at, 4), 0x10401af4 + (ids[i].id << 16));
		ck_assert_uint_eq(mock_mmio_read(&mp, at + PCI_CLASS_REVISION, 4),
				  ids[i].class_code << 8 | 1);
		virtio_pci_destroy(v);
	}
}
END_TEST

START_TEST(common_registers)
{
	ck_assert_uint_eq(rd(REG(num_queues), 2), NR_QUEUES);
	wr(REG(device_feature_select), 0, 4);
	ck_assert_uint_eq(rd(REG(device_feature), 4), (uint32_t)md.dev.offered);
	wr(REG(device_feature_select), 1, 4);
	ck_assert_uint_eq(rd(REG(device_feature), 4), md.dev.offered >> 32);
	ck_assert_uint_eq(rd(REG(device_feature_select), 4), 1);
	wr(REG(device_feature_select), 2, 4);
	ck_assert_uint_eq(rd(REG(device_feature), 4), 0);
	wr(REG(device_feature_select), 0xffffffff, 4);
	ck_assert_uint_eq(rd(REG(device_feature), 4), 0);
	wr(REG(guest_feature_select), 0, 4);
	wr(REG(guest_feature), 0x12345678, 4);
	ck_assert_uint_eq(rd(REG(guest_feature), 4), 0x12345678);
	wr(REG(guest_feature_select), 32, 4);
	wr(REG(guest_feature), 0xffffffff, 4);
	ck_assert_uint_eq(rd(REG(guest_feature), 4), 0);
	ck_assert_uint_eq(md.dev.acked, 0x12345678);

	wr(REG(queue_select), 1, 2);
	ck_assert_uint_eq(rd(REG(queue_size), 2), 64);
	ck_assert_uint_eq(rd(REG(queue_notify_off), 2), 1);
	ck_assert_uint_eq(rd(REG(queue_enable), 2), 0);
	wr(REG(queue_desc_hi), 0x11223344, 4);
	wr(REG(queue_desc_lo), 0x55667788, 4);
	ck_assert_uint_eq(rd(REG(queue_desc_hi), 4), 0x11223344);
	ck_assert_uint_eq(rd(REG(queue_desc_lo), 4), 0x55667788);
	/* An address in one go. */
	mock_mmio_write(&mp, common + REG(queue_used_lo), 0x123456789abcdef0ull, 8);
	ck_assert_uint_eq(md.dev.vq[1].used_gpa, 0x123456789abcdef0ull);
	ck_assert_uint_eq(mock_mmio_read(&mp, common + REG(queue_used_lo), 8),
			  0x123456789abcdef0ull);
	ck_assert_uint_eq(md.dev.vq[0].used_gpa, 0);

	virtio_config_changed(&md.dev); /* not live: no interrupt, a new generation */
	ck_assert_uint_eq(rd(REG(config_generation), 1), 1);
}
END_TEST

START_TEST(queue_that_is_not_there)
{
	static const uint16_t none[] = { NR_QUEUES, VIRTIO_MAX_QUEUES, 0x7fff, 0xffff };

	for (size_t i = 0; i < ARRAY_SIZE(none); i++) {
		wr(REG(queue_select), none[i], 2);
		ck_assert_uint_eq(rd(REG(queue_select), 2), none[i]);
		ck_assert_uint_eq(rd(REG(queue_size), 2), 0);
		for (unsigned reg = REG(queue_size); reg < REG(queue_desc_lo); reg += 2)
			wr(reg, 1, 2);
		for (unsigned reg = REG(queue_desc_lo); reg < 0x38; reg += 4)
			wr(reg, 0x1000, 4);
		ck_assert_uint_eq(rd(REG(queue_enable), 2), 0);
		ck_assert_uint_eq(rd(REG(queue_desc_lo), 4), 0);
		ck_assert_uint_eq(rd(REG(queue_msix_vector), 2), VIRTIO_MSI_NO_VECTOR);
	}
	ck_assert_uint_eq(rd(REG(device_status), 1), 0);
}
END_TEST

START_TEST(odd_widths)
{
	negotiate();
	/* Every offset in every width: reads give something, writes with the wrong width nothing.
	 */
	for (unsigned reg = 0; reg < 0x100; reg++) {
		for (unsigned size = 1; size <= 8; size *= 2)
			mock_mmio_read(&mp, common + reg, size);
	}
	wr(REG(device_feature_select), 0, 4);
	ck_assert_uint_eq(rd(REG(device_feature), 1), 0);
	ck_assert_uint_eq(rd(REG(device_feature), 2), 0);
	ck_assert_uint_eq(rd(REG(device_status), 4), 0);
	ck_assert_uint_eq(mock_mmio_read(&mp, common, 8), 0);
	wr(REG(device_status), 0, 4);
	wr(REG(device_status), 0, 2);
	wr(REG(queue_select), 0x0101, 1);
	wr(REG(queue_size), 0, 1);
	mock_mmio_write(&mp, common + REG(queue_desc_hi), ~0ull, 8);
	mock_mmio_write(&mp, common + REG(queue_desc_lo) + 1, ~0ull, 4);
	mock_mmio_write(&mp, common + 0x38, ~0ull, 8);
	mock_mmio_write(&mp, common + 0xffc, ~0ull, 8);
	ck_assert_uint_eq(rd(REG(device_status), 1), READY);
	ck_assert_uint_eq(rd(REG(queue_size), 2), 64);
	ck_assert_uint_eq(rd(REG(queue_desc_lo), 4), 0);
	/* Read-only registers. */
	wr(REG(device_feature), 0, 4);
	wr(REG(num_queues), 99, 2);
	wr(REG(config_generation), 99, 1);
	wr(REG(queue_notify_off), 99, 2);
	ck_assert_uint_eq(rd(REG(num_queues), 2), NR_QUEUES);
	ck_assert_uint_eq(rd(REG(config_generation), 1), 0);
	ck_assert_uint_eq(rd(REG(queue_notify_off), 2), 0);
}
END_TEST

START_TEST(bad_sizes_and_addresses)
{
	static const struct {
		uint16_t size;
		uint32_t lo, hi;
	} bad[] = {
		{ 0, 0x1000, 0 },
		{ 17, 0x1000, 0 },
		{ 0xffff, 0x1000, 0 },
		{ 128, 0x1000, 0 },
		{ 16, 0x1004, 0 },
		{ 16, 0x1000, 1 },
		{ 16, 0xfffffff0, 0xffffffff },
		{ 16, MIB(2) - 16, 0 },
	};

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		negotiate();
		queue_setup(1);
		wr(REG(queue_select), 0, 2);
		wr(REG(queue_size), bad[i].size, 2);
		wr(REG(queue_desc_lo), bad[i].lo, 4);
		wr(REG(queue_desc_hi), bad[i].hi, 4);
		wr(REG(queue_avail_lo), 0x2000, 4);
		wr(REG(queue_used_lo), 0x3000, 4);
		wr(REG(queue_enable), 1, 2);
		ck_assert_uint_eq(rd(REG(queue_enable), 2), 0);
		ck_assert_uint_eq(rd(REG(device_status), 1), READY | VIRTIO_CONFIG_S_NEEDS_RESET);
		drv.next = MIB(1);
	}
}
END_TEST

START_TEST(frozen_while_enabled)
{
	gpa_t desc;

	go_live();
	wr(REG(queue_select), 0, 2);
	desc = rd(REG(queue_desc_lo), 4);
	wr(REG(queue_size), 64, 2);
	wr(REG(queue_desc_lo), 0, 4);
	wr(REG(queue_enable), 0, 2);
	wr(REG(queue_enable), 1, 2);
	wr(REG(queue_enable), 2, 2);
	ck_assert_uint_eq(rd(REG(queue_size), 2), 16);
	ck_assert_uint_eq(rd(REG(queue_desc_lo), 4), desc);
	ck_assert_uint_eq(rd(REG(queue_enable), 2), 1);
	ck_assert_uint_eq(rd(REG(device_status), 1), READY | VIRTIO_CONFIG_S_DRIVER_OK);
}
END_TEST

START_TEST(doorbell_by_ioeventfd)
{
	go_live();
	ck_assert_uint_eq(mock_nr_doorbells(&mp), NR_QUEUES);
	for (unsigned q = 0; q < NR_QUEUES; q++) {
		add(q);
		mock_mmio_write(&mp, doorbell(q), q, 2);
		ck_assert(used_soon(q));
	}
}
END_TEST

START_TEST(doorbell_by_exit)
{
	/* No ioeventfd to be had: the BAR moves, and the new places cannot be watched. */
	mp.fail_doorbell = -ENOSPC;
	cfg_wr(PCI_BASE_ADDRESS_0, WINDOW + MIB(8), 4);
	ck_assert_uint_eq(mock_nr_doorbells(&mp), 0);
	find_structures();
	go_live();
	for (unsigned q = 0; q < NR_QUEUES; q++) {
		add(q);
		mock_mmio_write(&mp, doorbell(q), 0xffffffff, 4);
		ck_assert(used_soon(q));
	}
	/* Queues that are not there. */
	mock_mmio_write(&mp, notify + NR_QUEUES * 4, 0, 2);
	mock_mmio_write(&mp, notify + 0xffe, 0, 2);
	mock_mmio_write(&mp, notify + 0xffc, 0, 8);
	ck_assert_uint_eq(mock_mmio_read(&mp, notify, 4), 0);
	mp.fail_doorbell = 0;
}
END_TEST

START_TEST(doorbells_follow_the_bar)
{
	gpa_t old = notify;

	go_live();
	cfg_wr(PCI_BASE_ADDRESS_0, WINDOW + MIB(16), 4);
	ck_assert_uint_eq(mock_nr_doorbells(&mp), NR_QUEUES);
	find_structures();
	ck_assert_uint_ne(old, notify);
	add(0);
	mock_mmio_write(&mp, old, 0, 2); /* nothing is there any more */
	ck_assert_uint_eq(rd(REG(device_status), 1), READY | VIRTIO_CONFIG_S_DRIVER_OK);
	ck_assert(!mock_ring_used(&drv.ring[0], NULL, NULL));
	mock_mmio_write(&mp, notify, 0, 2);
	ck_assert(used_soon(0));
	cfg_wr(PCI_COMMAND, 0, 2);
	ck_assert_uint_eq(mock_nr_doorbells(&mp), 0);
	cfg_wr(PCI_COMMAND, PCI_COMMAND_MEMORY, 2);
	ck_assert_uint_eq(mock_nr_doorbells(&mp), NR_QUEUES);
}
END_TEST

START_TEST(interrupts_by_intx)
{
	go_live();
	ck_assert(!mock_line_level(&mp, GSI));
	add(0);
	mock_mmio_write(&mp, doorbell(0), 0, 2);
	ck_assert(used_soon(0));
	/* The line follows the used index; give it its moment. */
	for (int i = 0; i < 2000 && !mock_line_level(&mp, GSI); i++)
		rd(REG(device_status), 1);
	ck_assert(mock_line_level(&mp, GSI));
	ck_assert_uint_eq(mock_mmio_read(&mp, isr, 1), 1);
	ck_assert(!mock_line_level(&mp, GSI));
	ck_assert_uint_eq(mock_mmio_read(&mp, isr, 1), 0);
	/* A broken ring: configuration interrupt. */
	mock_ring_offer(&drv.ring[0], 999);
	mock_mmio_write(&mp, doorbell(0), 0, 2);
	for (int i = 0; i < 2000 && !mock_line_level(&mp, GSI); i++)
		nanosleep(&(struct timespec){ .tv_nsec = 1000000 }, NULL);
	ck_assert(rd(REG(device_status), 1) & VIRTIO_CONFIG_S_NEEDS_RESET);
	ck_assert_uint_eq(mock_mmio_read(&mp, isr, 4), 2);
	mock_mmio_write(&mp, isr, 0xff, 1); /* read-only */
	ck_assert_uint_eq(mock_mmio_read(&mp, isr + 1, 1), 0);
	/* Reset lowers the line. */
	md.dev.transport->notify_config(&md.dev);
	ck_assert(mock_line_level(&mp, GSI));
	wr(REG(device_status), 0, 1);
	ck_assert(!mock_line_level(&mp, GSI));
	ck_assert_uint_eq(mock_mmio_read(&mp, isr, 1), 0);
}
END_TEST

START_TEST(interrupts_by_msix)
{
	msix_setup();
	negotiate();
	wr(REG(msix_config), 0, 2);
	for (unsigned q = 0; q < NR_QUEUES; q++) {
		queue_setup(q);
		wr(REG(queue_msix_vector), q + 1, 2);
		ck_assert_uint_eq(rd(REG(queue_msix_vector), 2), q + 1);
	}
	wr(REG(device_status), READY | VIRTIO_CONFIG_S_DRIVER_OK, 1);
	md.dev.transport->notify_queue(&md.dev, 1);
	ck_assert_uint_eq(mock_msi_count(&mp, MSI, 0x42), 1);
	ck_assert_uint_eq(mock_msi_count(&mp, MSI, 0x41), 0);
	md.dev.transport->notify_config(&md.dev);
	ck_assert_uint_eq(mock_msi_count(&mp, MSI, 0x40), 1);
	ck_assert(!mock_line_level(&mp, GSI));
	ck_assert_uint_eq(mock_mmio_read(&mp, isr, 1), 0);

	/* Vectors that there are not read back as none, and interrupt nobody. */
	wr(REG(queue_select), 1, 2);
	wr(REG(queue_msix_vector), NR_QUEUES + 1, 2);
	ck_assert_uint_eq(rd(REG(queue_msix_vector), 2), VIRTIO_MSI_NO_VECTOR);
	wr(REG(msix_config), 0xfffe, 2);
	ck_assert_uint_eq(rd(REG(msix_config), 2), VIRTIO_MSI_NO_VECTOR);
	wr(REG(queue_msix_vector), 0xffff, 2);
	md.dev.transport->notify_queue(&md.dev, 1);
	md.dev.transport->notify_config(&md.dev);
	for (unsigned i = 0; i <= NR_QUEUES; i++)
		ck_assert_uint_eq(mock_msi_count(&mp, MSI, 0x40 + i), 0);
	/* Reset forgets vectors. */
	wr(REG(queue_msix_vector), 1, 2);
	wr(REG(device_status), 0, 1);
	wr(REG(queue_select), 1, 2);
	ck_assert_uint_eq(rd(REG(queue_msix_vector), 2), VIRTIO_MSI_NO_VECTOR);
}
END_TEST

START_TEST(device_configuration)
{
	for (unsigned i = 0; i < MOCK_CONFIG_BYTES; i++)
		md.config[i] = (uint8_t)(i + 1);
	ck_assert_uint_eq(mock_mmio_read(&mp, devcfg, 1), 1);
	ck_assert_uint_eq(mock_mmio_read(&mp, devcfg + 2, 2), 0x0403);
	ck_assert_uint_eq(mock_mmio_read(&mp, devcfg + 4, 4), 0x08070605);
	ck_assert_uint_eq(mock_mmio_read(&mp, devcfg + 8, 8), 0x100f0e0d0c0b0a09ull);
	ck_assert_uint_eq(mock_mmio_read(&mp, devcfg + 12, 8), 0); /* off the end */
	ck_assert_uint_eq(mock_mmio_read(&mp, devcfg + 0xfff, 8), 0);
	mock_mmio_write(&mp, devcfg + 2, 0xaabb, 2);
	ck_assert_uint_eq(md.config[2], 0xbb);
	ck_assert_uint_eq(md.config[3], 0xaa);
	mock_mmio_write(&mp, devcfg + 0xfff, ~0ull, 8);
}
END_TEST

static void window(uint32_t bar, uint32_t offset, uint32_t length)
{
	cfg_wr(window_cap + VIRTIO_PCI_CAP_BAR, bar, 1);
	cfg_wr(window_cap + VIRTIO_PCI_CAP_OFFSET, offset, 4);
	cfg_wr(window_cap + VIRTIO_PCI_CAP_LENGTH, length, 4);
}

START_TEST(configuration_window)
{
	static const struct {
		uint32_t bar, offset, length;
	} bad[] = {
		{ 0, 0x8000, 4 }, { 0, 0xfffffffc, 4 }, { 0, 0x7ffe, 4 }, { 0, 2, 4 },
		{ 0, 0, 0 },	  { 0, 0, 2 },		{ 0, 0, 8 },	  { 0, 0, 0xffffffff },
		{ 1, 0, 4 },	  { 255, 0, 4 },
	};
	unsigned data = window_cap + sizeof(struct virtio_pci_cap);
	unsigned off = (unsigned)(common & 0x7fff);

	/* It works with memory decoding off: that is what it is for. */
	cfg_wr(PCI_COMMAND, 0, 2);
	window(0, off + REG(num_queues), 2);
	ck_assert_uint_eq(cfg_rd(data, 2), NR_QUEUES);
	window(0, off + REG(device_status), 1);
	cfg_wr(data, VIRTIO_CONFIG_S_ACKNOWLEDGE, 1);
	ck_assert_uint_eq(cfg_rd(data, 1), VIRTIO_CONFIG_S_ACKNOWLEDGE);
	window(0, off + REG(device_feature), 4);
	ck_assert_uint_eq(cfg_rd(data, 4), (uint32_t)md.dev.offered);
	window(0, (unsigned)(isr & 0x7fff), 1);
	md.dev.transport->notify_queue(&md.dev, 0);
	ck_assert_uint_eq(cfg_rd(data, 1), 1);
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		window(bad[i].bar, bad[i].offset, bad[i].length);
		ck_assert_uint_eq(cfg_rd(data, 4), 0);
		cfg_wr(data, 0xffffffff, 4);
	}
	window(0, off + REG(device_status), 1);
	cfg_rd(data + 1, 1);
	cfg_wr(data + 3, 0xff, 1);
	cfg_wr(data - 1, 0xffffffff, 4);
	cfg_rd(data - 3, 4);
	cfg_rd(data + 2, 4);
	ck_assert_uint_eq(cfg_rd(data, 1), 0); /* the length has been overwritten */
	window(0, off + REG(device_status), 1);
	ck_assert_uint_eq(cfg_rd(data, 1), VIRTIO_CONFIG_S_ACKNOWLEDGE);
	cfg_wr(PCI_COMMAND, PCI_COMMAND_MEMORY, 2);
}
END_TEST

START_TEST(doorbell_through_the_window)
{
	unsigned data = window_cap + sizeof(struct virtio_pci_cap);

	go_live();
	add(1);
	window(0, (unsigned)(doorbell(1) & 0x7fff), 2);
	cfg_wr(data, 1, 2);
	ck_assert(used_soon(1));
}
END_TEST

START_TEST(no_room_on_the_bus)
{
	struct mock_device d[PCI_MAX_FN];
	struct virtio_pci *v[PCI_MAX_FN], *extra = NULL;
	unsigned n = 0;

	for (;; n++) {
		mock_device_init(&d[n], 4, 1, 64, &loop, &mp.plat);
		if (virtio_pci_create(&v[n], &d[n].dev, &host))
			break;
	}
	ck_assert_uint_eq(n, PCI_MAX_FN - 2);
	ck_assert_int_eq(virtio_pci_create(&extra, &d[n].dev, &host), -ENOSPC);
	ck_assert_ptr_null(extra);
	while (n--)
		virtio_pci_destroy(v[n]);
}
END_TEST

/* A vCPU that resets and moves the device, one that rings it, a sender that interrupts. */
static _Atomic bool race_stop;

static void *race_ring(void *arg)
{
	gpa_t bell = notify;

	while (!race_stop) {
		mock_mmio_write(&mp, bell, 0, 2);
		mock_mmio_write(&mp, bell + 4, 0, 2);
		mock_mmio_read(&mp, isr, 1);
		mock_mmio_read(&mp, common + REG(device_status), 1);
	}
	return NULL;
}

static void *race_interrupt(void *arg)
{
	while (!race_stop) {
		md.dev.transport->notify_queue(&md.dev, 0);
		md.dev.transport->notify_config(&md.dev);
	}
	return NULL;
}

START_TEST(races)
{
	pthread_t t[2];

	race_stop = false;
	ck_assert_int_eq(pthread_create(&t[0], NULL, race_ring, NULL), 0);
	ck_assert_int_eq(pthread_create(&t[1], NULL, race_interrupt, NULL), 0);
	for (int i = 0; i < 100; i++) {
		drv.next = MIB(1);
		go_live();
		msix_setup();
		cfg_wr(PCI_COMMAND, 0, 2);
		cfg_wr(PCI_BASE_ADDRESS_0, WINDOW + MIB(8), 4);
		cfg_wr(PCI_COMMAND, PCI_COMMAND_MEMORY, 2);
		cfg_wr(PCI_BASE_ADDRESS_0, WINDOW, 4);
	}
	race_stop = true;
	pthread_join(t[0], NULL);
	pthread_join(t[1], NULL);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("virtio_pci");
	TCase *tc = tcase_create("virtio_pci");
	SRunner *sr;
	int failed;

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_set_timeout(tc, 60);
	tcase_add_test(tc, identity);
	tcase_add_test(tc, common_registers);
	tcase_add_test(tc, queue_that_is_not_there);
	tcase_add_test(tc, odd_widths);
	tcase_add_test(tc, bad_sizes_and_addresses);
	tcase_add_test(tc, frozen_while_enabled);
	tcase_add_test(tc, doorbell_by_ioeventfd);
	tcase_add_test(tc, doorbell_by_exit);
	tcase_add_test(tc, doorbells_follow_the_bar);
	tcase_add_test(tc, interrupts_by_intx);
	tcase_add_test(tc, interrupts_by_msix);
	tcase_add_test(tc, device_configuration);
	tcase_add_test(tc, configuration_window);
	tcase_add_test(tc, doorbell_through_the_window);
	tcase_add_test(tc, no_room_on_the_bus);
	tcase_add_test(tc, races);
	suite_add_tcase(s, tc);
	sr = srunner_create(s);
	srunner_run_all(sr, CK_ENV);
	failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
