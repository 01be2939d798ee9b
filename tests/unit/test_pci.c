/* PCI: configuration space by both mechanisms, BARs, INTx, MSI-X; good drivers and hostile ones. */
#include <check.h>
#include <errno.h>
#include <linux/pci_regs.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/pci.h"
#include "tests/unit/mock_platform.h"

#define ECAM	     0xb0000000ull
#define WINDOW	     0xc0000000ull
#define WINDOW_BYTES MIB(64)
#define NR_MSIX	     3
#define TABLE	     0x1000
#define PBA	     0x1800
#define BAR_BYTES    0x2000

struct toy {
	struct pci_fn fn;
	uint64_t reg;
	unsigned maps, unmaps;
	gpa_t mapped_at;
	uint32_t hook_value;
	unsigned hook_reads, hook_writes;
};

static struct mock_platform mp;
static struct pci_host host;
static struct toy toy, other;

static uint64_t toy_read(struct bus_region *r, uint64_t offset, unsigned size)
{
	struct toy *t = r->opaque;

	if (pci_msix_bar_covers(&t->fn, 0, offset))
		return pci_msix_bar_read(&t->fn, offset, size);
	return t->reg;
}

static void toy_write(struct bus_region *r, uint64_t offset, uint64_t value, unsigned size)
{
	struct toy *t = r->opaque;

	if (pci_msix_bar_covers(&t->fn, 0, offset))
		pci_msix_bar_write(&t->fn, offset, value, size);
	else
		t->reg = value;
}

static const struct bus_ops toy_bus_ops = { toy_read, toy_write };

static void toy_bar_mapped(struct pci_fn *fn, unsigned bar, bool mapped)
{
	struct toy *t = container_of(fn, struct toy, fn);

	if (bar)
		return;
	if (mapped) {
		t->maps++;
		t->mapped_at = fn->bar[bar].region.base;
	} else {
		t->unmaps++;
		t->mapped_at = 0;
	}
}

static uint32_t toy_hook_read(struct pci_fn *fn, unsigned offset, unsigned size)
{
	struct toy *t = container_of(fn, struct toy, fn);

	t->hook_reads++;
	return t->hook_value;
}

static void toy_hook_write(struct pci_fn *fn, unsigned offset, uint32_t value, unsigned size)
{
	struct toy *t = container_of(fn, struct toy, fn);

	t->hook_writes++;
	t->hook_value = value;
}

static const struct pci_fn_ops toy_ops = { toy_bar_mapped, toy_hook_read, toy_hook_write };

static const struct pci_ids toy_ids = { 0x1234, 0x5678, 0x9abc, 0xdef0, 0x020000, 7 };

/* BAR 0: 32-bit memory with MSI-X; BAR 1: I/O; BAR 2: 64-bit memory. */
static void toy_add(struct toy *t)
{
	int cap;

	memset(t, 0, sizeof(*t));
	pci_fn_init(&t->fn, "toy", &mp.plat, &toy_ids, &toy_ops);
	cap = pci_add_cap(&t->fn, 9, 8);
	ck_assert_int_eq(cap, 0x40);
	t->fn.hook_base = 0x44;
	t->fn.hook_bytes = 4;
	ck_assert_int_eq(pci_set_bar(&t->fn, 0, PCI_BAR_MEM32, BAR_BYTES, &toy_bus_ops, t), 0);
	ck_assert_int_eq(pci_set_bar(&t->fn, 1, PCI_BAR_IO, 32, &toy_bus_ops, t), 0);
	ck_assert_int_eq(pci_set_bar(&t->fn, 2, PCI_BAR_MEM64, MIB(1), &toy_bus_ops, t), 0);
	ck_assert_int_eq(pci_msix_init(&t->fn, NR_MSIX, 0, TABLE, PBA), 0);
	ck_assert_int_eq(pci_host_add(&host, &t->fn), 0);
}

static void setup(void)
{
	struct pci_layout l = {
		.ecam_base = ECAM,
		.ecam_bytes = MIB(2),
		.mmio_base = WINDOW,
		.mmio_bytes = WINDOW_BYTES,
		.io_base = 0xc000,
		.io_bytes = 0x1000,
		.intx_gsi = { 16, 17, 18, 19, 16, 17, 18, 19 },
		.conf1 = true,
	};

	log_set_level(LOG_ERROR);
	mock_platform_init(&mp, MIB(2), MIB(2));
	ck_assert_int_eq(pci_host_init(&host, &mp.plat, &l), 0);
	toy_add(&toy);
	toy_add(&other);
}

static void teardown(void)
{
	pci_fn_fini(&toy.fn);
	pci_fn_fini(&other.fn);
	pci_host_fini(&host);
	ck_assert_uint_eq(mp.mmio.nr, 0);
	ck_assert_uint_eq(mp.pio.nr, 0);
	ck_assert_uint_eq(mock_nr_routes(&mp), 0);
	mock_platform_fini(&mp);
}

static gpa_t ecam(unsigned dev, unsigned reg)
{
	return ECAM + (dev << 15) + reg;
}

static uint32_t rd(unsigned reg, unsigned size)
{
	return (uint32_t)mock_mmio_read(&mp, ecam(1, reg), size);
}

static void wr(unsigned reg, uint32_t value, unsigned size)
{
	mock_mmio_write(&mp, ecam(1, reg), value, size);
}

static gpa_t bar0(void)
{
	return rd(PCI_BASE_ADDRESS_0, 4);
}

START_TEST(identity)
{
	ck_assert_uint_eq(rd(PCI_VENDOR_ID, 4), 0x56781234);
	ck_assert_uint_eq(rd(PCI_DEVICE_ID, 2), 0x5678);
	ck_assert_uint_eq(rd(PCI_CLASS_REVISION, 4), 0x02000007);
	ck_assert_uint_eq(rd(PCI_CLASS_DEVICE + 1, 1), 0x02);
	ck_assert_uint_eq(rd(PCI_SUBSYSTEM_VENDOR_ID, 4), 0xdef09abc);
	ck_assert_uint_eq(rd(PCI_HEADER_TYPE, 1), 0);
	ck_assert_uint_eq(rd(PCI_STATUS, 2), PCI_STATUS_CAP_LIST);
	ck_assert_uint_eq(rd(PCI_CAPABILITY_LIST, 1), 0x40);
	ck_assert_uint_eq(rd(0x40, 2), 0x4809);
	ck_assert_uint_eq(rd(0x48, 2), PCI_CAP_ID_MSIX);
	ck_assert_uint_eq(rd(PCI_INTERRUPT_PIN, 1), 1);
	ck_assert_uint_eq(rd(PCI_INTERRUPT_LINE, 1), 17);
	ck_assert_uint_eq(rd(0x100, 4), 0); /* no extended capability */
	ck_assert_uint_eq(rd(0xffc, 4), 0);
	/* None of it can be written. */
	for (unsigned reg = 0; reg < 64; reg += 4) {
		uint32_t before = rd(reg, 4);

		if (reg == PCI_COMMAND || reg == PCI_CACHE_LINE_SIZE || reg == PCI_INTERRUPT_LINE ||
		    (reg >= PCI_BASE_ADDRESS_0 && reg < PCI_CARDBUS_CIS))
			continue;
		wr(reg, 0xffffffff, 4);
		ck_assert_uint_eq(rd(reg, 4), before);
		wr(reg, 0, 4);
		ck_assert_uint_eq(rd(reg, 4), before);
	}
	wr(0x48, 0, 2);
	ck_assert_uint_eq(rd(0x48, 2), PCI_CAP_ID_MSIX);
	wr(0x100, 0xffffffff, 4);
	wr(PCI_INTERRUPT_LINE, 0x55, 1);
	ck_assert_uint_eq(rd(PCI_INTERRUPT_LINE, 2), 0x155);
}
END_TEST

START_TEST(host_bridge)
{
	ck_assert_uint_eq(mock_mmio_read(&mp, ecam(0, 0), 4), 0x00081b36);
	ck_assert_uint_eq(mock_mmio_read(&mp, ecam(0, PCI_CLASS_REVISION), 4), 0x06000000);
	ck_assert_uint_eq(mock_mmio_read(&mp, ecam(0, PCI_INTERRUPT_PIN), 1), 0);
	mock_mmio_write(&mp, ecam(0, PCI_BASE_ADDRESS_0), 0xffffffff, 4);
	ck_assert_uint_eq(mock_mmio_read(&mp, ecam(0, PCI_BASE_ADDRESS_0), 4), 0);
	mock_mmio_write(&mp, ecam(0, PCI_COMMAND), 0xffff, 2);
}
END_TEST

START_TEST(absent_functions)
{
	ck_assert_uint_eq(mock_mmio_read(&mp, ecam(3, 0), 4), 0xffffffff);
	ck_assert_uint_eq(mock_mmio_read(&mp, ecam(31, 0xffc), 4), 0xffffffff);
	ck_assert_uint_eq(mock_mmio_read(&mp, ecam(1, 0x1000), 4), 0xffffffff); /* function 1 */
	ck_assert_uint_eq(mock_mmio_read(&mp, ECAM + MIB(1), 4), 0xffffffff);	/* bus 1 */
	ck_assert_uint_eq(mock_mmio_read(&mp, ECAM + MIB(2) - 1, 1), 0xff);
	mock_mmio_write(&mp, ecam(3, PCI_COMMAND), 0xffff, 2);
	mock_mmio_write(&mp, ECAM + MIB(1) + PCI_COMMAND, 0xffff, 2);
}
END_TEST

START_TEST(odd_accesses)
{
	uint64_t v;

	/* Eight bytes, and accesses across dwords and functions, mean their bytes. */
	ck_assert_uint_eq(mock_mmio_read(&mp, ecam(1, 0), 8), 0x0010000356781234ull);
	ck_assert_uint_eq(rd(1, 4), 0x03567812);
	ck_assert_uint_eq(rd(3, 2), 0x0356);
	v = mock_mmio_read(&mp, ecam(1, 0xffe), 4);
	ck_assert_uint_eq(v, 0xffff0000); /* function 1 is absent */
	v = mock_mmio_read(&mp, ecam(1, 0) - 2, 4);
	ck_assert_uint_eq(v, 0x1234ffff);
	mock_mmio_write(&mp, ecam(1, PCI_INTERRUPT_LINE - 3), 0xaabbccdd, 4);
	ck_assert_uint_eq(rd(PCI_INTERRUPT_LINE, 1), 0xaa);
	mock_mmio_write(&mp, ecam(1, PCI_INTERRUPT_LINE - 4), 0x1122334455667788ull, 8);
	ck_assert_uint_eq(rd(PCI_INTERRUPT_LINE, 1), 0x44);
	mock_mmio_write(&mp, ecam(1, 0xffd), ~0ull, 8);
}
END_TEST

START_TEST(conf1)
{
	mock_pio_write(&mp, 0xcf8, 0x80000800, 4);
	ck_assert_uint_eq(mock_pio_read(&mp, 0xcf8, 4), 0x80000800);
	ck_assert_uint_eq(mock_pio_read(&mp, 0xcfc, 4), 0x56781234);
	ck_assert_uint_eq(mock_pio_read(&mp, 0xcfe, 2), 0x5678);
	ck_assert_uint_eq(mock_pio_read(&mp, 0xcfd, 1), 0x12);
	ck_assert_uint_eq(mock_pio_read(&mp, 0xcfd, 2), 0x7812);
	ck_assert_uint_eq(mock_pio_read(&mp, 0xcfe, 4), 0xffffffff); /* leaves the register */
	mock_pio_write(&mp, 0xcf8, 0x8000083c, 4);
	mock_pio_write(&mp, 0xcfc, 0x77, 1);
	mock_pio_write(&mp, 0xcfd, 0x77, 1); /* pin: read-only */
	ck_assert_uint_eq(mock_pio_read(&mp, 0xcfc, 2), 0x0177);
	/* Narrow accesses to 0xcf8 are none to the address register. */
	mock_pio_write(&mp, 0xcf8, 0, 1);
	mock_pio_write(&mp, 0xcf9, 0x06, 1);
	ck_assert_uint_eq(mock_pio_read(&mp, 0xcf8, 4), 0x8000083c);
	ck_assert_uint_eq(mock_pio_read(&mp, 0xcf8, 2), 0xffff);
	/* Disabled; another function; another bus; absent. */
	mock_pio_write(&mp, 0xcf8, 0x00000800, 4);
	ck_assert_uint_eq(mock_pio_read(&mp, 0xcfc, 4), 0xffffffff);
	mock_pio_write(&mp, 0xcfc, 0, 4);
	mock_pio_write(&mp, 0xcf8, 0x80000900, 4);
	ck_assert_uint_eq(mock_pio_read(&mp, 0xcfc, 4), 0xffffffff);
	mock_pio_write(&mp, 0xcf8, 0x80010800, 4);
	ck_assert_uint_eq(mock_pio_read(&mp, 0xcfc, 4), 0xffffffff);
	mock_pio_write(&mp, 0xcf8, 0x8000f800, 4);
	ck_assert_uint_eq(mock_pio_read(&mp, 0xcfc, 4), 0xffffffff);
	mock_pio_write(&mp, 0xcf8, 0xffffffff, 4);
	ck_assert_uint_eq(mock_pio_read(&mp, 0xcf8, 4), 0x80fffffc);
	ck_assert_uint_eq(mock_pio_read(&mp, 0xcfc, 4), 0xffffffff);
}
END_TEST

/* The reset register lies under the address register: narrow accesses to it are not PCI's. */
static uint64_t under_last;

static void under_write(struct bus_region *r, uint64_t offset, uint64_t value, unsigned size)
{
	under_last = offset << 32 | size << 16 | value;
}

START_TEST(region_under_conf1)
{
	static const struct bus_ops under_ops = { NULL, under_write };
	struct bus_region under = { .base = 0xcf9, .size_bytes = 1, .ops = &under_ops };

	host.under_conf1 = &under;
	mock_pio_write(&mp, 0xcf9, 6, 1);
	ck_assert_uint_eq(under_last, 1 << 16 | 6);
	under_last = 0;
	mock_pio_write(&mp, 0xcf8, 6, 1);
	mock_pio_write(&mp, 0xcf8, 0x0606, 2);
	mock_pio_write(&mp, 0xcf9, 0x0606, 2);
	mock_pio_write(&mp, 0xcfa, 6, 1);
	mock_pio_write(&mp, 0xcf8, 0x80000800, 4);
	ck_assert_uint_eq(under_last, 0);
	ck_assert_uint_eq(mock_pio_read(&mp, 0xcfc, 4), 0x56781234);
	host.under_conf1 = NULL;
}
END_TEST

START_TEST(bars_are_placed)
{
	ck_assert_uint_eq(rd(PCI_COMMAND, 2), PCI_COMMAND_MEMORY | PCI_COMMAND_IO);
	ck_assert_uint_eq(bar0(), WINDOW);
	ck_assert_uint_eq(rd(PCI_BASE_ADDRESS_1, 4), 0xc001);
	ck_assert_uint_eq(rd(PCI_BASE_ADDRESS_2, 4), (WINDOW + MIB(1)) | 4);
	ck_assert_uint_eq(rd(PCI_BASE_ADDRESS_3, 4), 0);
	ck_assert_uint_eq(toy.mapped_at, WINDOW);
	mock_mmio_write(&mp, bar0(), 42, 4);
	ck_assert_uint_eq(toy.reg, 42);
	ck_assert_uint_eq(mock_mmio_read(&mp, WINDOW + MIB(1), 4), 42);
	ck_assert_uint_eq(mock_pio_read(&mp, 0xc000, 4), 42);
	ck_assert_uint_eq(other.reg, 0);
}
END_TEST

START_TEST(bar_sizing)
{
	static const struct {
		unsigned reg;
		uint32_t reads;
	} bars[] = {
		{ PCI_BASE_ADDRESS_0, ~(BAR_BYTES - 1u) },
		{ PCI_BASE_ADDRESS_1, 0xffffffe1 },
		{ PCI_BASE_ADDRESS_2, 0xfff00004 },
		{ PCI_BASE_ADDRESS_3, 0xffffffff },
		{ PCI_BASE_ADDRESS_4, 0 },
		{ PCI_BASE_ADDRESS_5, 0 },
		{ PCI_ROM_ADDRESS, 0 },
	};

	/* With decoding on, as Linux does it on some functions, and off. */
	for (int pass = 0; pass < 2; pass++) {
		for (size_t i = 0; i < ARRAY_SIZE(bars); i++) {
			uint32_t old = rd(bars[i].reg, 4);

			wr(bars[i].reg, 0xffffffff, 4);
			ck_assert_uint_eq(rd(bars[i].reg, 4), bars[i].reads);
			wr(bars[i].reg, old, 4);
			ck_assert_uint_eq(rd(bars[i].reg, 4), old);
		}
		ck_assert_uint_eq(toy.mapped_at, pass ? 0 : WINDOW);
		wr(PCI_COMMAND, 0, 2);
	}
}
END_TEST

START_TEST(decoding)
{
	toy.reg = 42;
	wr(PCI_COMMAND, PCI_COMMAND_IO, 2);
	ck_assert_uint_eq(toy.mapped_at, 0);
	ck_assert_uint_eq(mock_mmio_read(&mp, WINDOW, 4), 0xffffffff);
	ck_assert_uint_eq(mock_mmio_read(&mp, WINDOW + MIB(1), 4), 0xffffffff);
	ck_assert_uint_eq(mock_pio_read(&mp, 0xc000, 4), 42);
	wr(PCI_COMMAND, PCI_COMMAND_MEMORY, 1);
	ck_assert_uint_eq(mock_mmio_read(&mp, WINDOW, 4), 42);
	ck_assert_uint_eq(mock_pio_read(&mp, 0xc000, 4), 0xffffffff);
	ck_assert_uint_eq(toy.maps, 2);
	ck_assert_uint_eq(toy.unmaps, 1);
	wr(PCI_COMMAND, PCI_COMMAND_MEMORY, 1); /* no change, no callback */
	ck_assert_uint_eq(toy.maps, 2);
}
END_TEST

START_TEST(bars_move_while_decoded)
{
	toy.reg = 42;
	wr(PCI_BASE_ADDRESS_0, WINDOW + MIB(32), 4);
	ck_assert_uint_eq(toy.mapped_at, WINDOW + MIB(32));
	ck_assert_uint_eq(mock_mmio_read(&mp, WINDOW, 4), 0xffffffff);
	ck_assert_uint_eq(mock_mmio_read(&mp, WINDOW + MIB(32), 4), 42);
	/* Byte by byte. */
	wr(PCI_BASE_ADDRESS_0 + 2, 0x10, 1);
	wr(PCI_BASE_ADDRESS_0 + 3, 0xc1, 1);
	ck_assert_uint_eq(toy.mapped_at, 0xc1100000);
	wr(PCI_BASE_ADDRESS_1, 0xc801, 4);
	ck_assert_uint_eq(mock_pio_read(&mp, 0xc800, 4), 42);
}
END_TEST

START_TEST(bars_in_bad_places)
{
	static const uint32_t bad[] = {
		0,
		0x100000,   /* guest memory */
		0xb0000000, /* ECAM */
		0xfee00000, /* local APIC */
		0xffffe000,
		WINDOW - BAR_BYTES, /* before and behind the window */
		WINDOW + WINDOW_BYTES,
	};

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		wr(PCI_BASE_ADDRESS_0, bad[i], 4);
		ck_assert_uint_eq(bar0(), bad[i]); /* reads back, as on a real machine */
		ck_assert_uint_eq(toy.mapped_at, 0);
	}
	wr(PCI_BASE_ADDRESS_0, WINDOW + WINDOW_BYTES - BAR_BYTES, 4);
	ck_assert_uint_eq(toy.mapped_at, WINDOW + WINDOW_BYTES - BAR_BYTES);

	/* 64 bits: above 4 GiB, over guest memory, wrapping. */
	wr(PCI_BASE_ADDRESS_3, 1, 4);
	wr(PCI_BASE_ADDRESS_2, 0, 4);
	wr(PCI_BASE_ADDRESS_3, 0xffffffff, 4);
	wr(PCI_BASE_ADDRESS_2, 0xffffffff, 4);
	ck_assert(!toy.fn.bar[2].mapped);
	/* I/O outside of its window. */
	wr(PCI_BASE_ADDRESS_1, 0xcf8, 4);
	ck_assert(!toy.fn.bar[1].mapped);
	wr(PCI_BASE_ADDRESS_1, 0xffffffff, 4);
	ck_assert(!toy.fn.bar[1].mapped);
}
END_TEST

START_TEST(bars_over_each_other)
{
	gpa_t theirs = other.fn.bar[0].region.base;

	toy.reg = 1;
	other.reg = 2;
	wr(PCI_BASE_ADDRESS_0, (uint32_t)theirs, 4);
	ck_assert_uint_eq(toy.mapped_at, 0);
	ck_assert_uint_eq(mock_mmio_read(&mp, theirs, 4), 2); /* who was first stays */
	/* Its own BARs over one another. */
	wr(PCI_BASE_ADDRESS_0, WINDOW + MIB(1), 4);
	ck_assert_uint_eq(toy.mapped_at, 0);
	/* Once the other BAR is out of the way, it comes up. */
	wr(PCI_BASE_ADDRESS_2, WINDOW + MIB(48), 4);
	wr(PCI_COMMAND, PCI_COMMAND_MEMORY, 2);
	ck_assert_uint_eq(toy.mapped_at, WINDOW + MIB(1));
}
END_TEST

START_TEST(bar_arguments)
{
	struct pci_fn fn;
	uint64_t next = host.next_mmio;

	pci_fn_init(&fn, "x", &mp.plat, &toy_ids, NULL);
	ck_assert_int_eq(pci_set_bar(&fn, 6, PCI_BAR_MEM32, 4096, NULL, NULL), -EINVAL);
	ck_assert_int_eq(pci_set_bar(&fn, 5, PCI_BAR_MEM64, 4096, NULL, NULL), -EINVAL);
	ck_assert_int_eq(pci_set_bar(&fn, 0, PCI_BAR_MEM32, 3000, NULL, NULL), -EINVAL);
	ck_assert_int_eq(pci_set_bar(&fn, 0, PCI_BAR_MEM32, 8, NULL, NULL), -EINVAL);
	ck_assert_int_eq(pci_set_bar(&fn, 0, PCI_BAR_MEM32, GIB(4), NULL, NULL), -EINVAL);
	ck_assert_int_eq(pci_set_bar(&fn, 0, PCI_BAR_MEM64, GIB(4), NULL, NULL), 0);
	ck_assert_int_eq(pci_host_add(&host, &fn), -ENOSPC); /* larger than the window */
	ck_assert_ptr_null(fn.host);
	ck_assert_uint_eq(host.next_mmio, next);
	ck_assert_int_eq(pci_add_cap(&fn, 9, 0xc1), -ENOSPC);
	ck_assert_int_eq(pci_add_cap(&fn, 9, 0xbd), 0x40);
	ck_assert_int_eq(pci_add_cap(&fn, 9, 2), -ENOSPC);
	ck_assert_int_eq(pci_msix_init(&fn, PCI_MAX_MSIX + 1, 0, 0, 0), -ENOSPC);
	ck_assert_int_eq(pci_msix_init(&fn, 1, 0, 0, 0), -ENOSPC); /* no room for it */
	pci_fn_fini(&fn);
}
END_TEST

START_TEST(bus_is_full)
{
	static struct pci_fn fns[PCI_MAX_FN];
	unsigned n = 0;

	for (;; n++) {
		pci_fn_init(&fns[n], "many", &mp.plat, &toy_ids, NULL);
		if (pci_host_add(&host, &fns[n]))
			break;
	}
	ck_assert_uint_eq(n, PCI_MAX_FN - 3); /* bridge and two toys */
	for (unsigned i = 0; i <= n; i++)
		pci_fn_fini(&fns[i]);
	ck_assert_uint_eq(mock_mmio_read(&mp, ecam(9, 0), 4), 0xffffffff);
}
END_TEST

START_TEST(hook)
{
	toy.hook_value = 0x11223344;
	ck_assert_uint_eq(rd(0x44, 4), 0x11223344);
	wr(0x44, 0x55667788, 4);
	ck_assert_uint_eq(toy.hook_value, 0x55667788);
	ck_assert_uint_eq(rd(0x46, 2), 0x7788); /* the hook's business, not ours */
	wr(0x47, 1, 1);
	ck_assert_uint_eq(toy.hook_reads, 2);
	ck_assert_uint_eq(toy.hook_writes, 2);
	/* Three bytes are no access that it knows. */
	ck_assert_uint_eq(rd(0x45, 4) & 0xffffff, 0xffffff);
	wr(0x45, 0, 4);
	ck_assert_uint_eq(toy.hook_reads, 2);
	ck_assert_uint_eq(toy.hook_writes, 2);
}
END_TEST

START_TEST(intx)
{
	pci_intx_set(&toy.fn, true);
	ck_assert(mock_line_level(&mp, 17));
	ck_assert(rd(PCI_STATUS, 2) & PCI_STATUS_INTERRUPT);
	ck_assert(rd(PCI_STATUS, 1) & PCI_STATUS_INTERRUPT);
	/* Disabling takes it off the line, but not out of the status. */
	wr(PCI_COMMAND, PCI_COMMAND_MEMORY | PCI_COMMAND_INTX_DISABLE, 2);
	ck_assert(!mock_line_level(&mp, 17));
	ck_assert(rd(PCI_STATUS, 2) & PCI_STATUS_INTERRUPT);
	wr(PCI_COMMAND, PCI_COMMAND_MEMORY, 2);
	ck_assert(mock_line_level(&mp, 17));
	pci_intx_set(&toy.fn, false);
	ck_assert(!mock_line_level(&mp, 17));
	ck_assert(!(rd(PCI_STATUS, 2) & PCI_STATUS_INTERRUPT));
	wr(PCI_COMMAND + 1, PCI_COMMAND_INTX_DISABLE >> 8, 1);
	pci_intx_set(&toy.fn, true);
	ck_assert(!mock_line_level(&mp, 17));
	ck_assert_uint_eq(mp.line_rises[17], 2);
}
END_TEST

START_TEST(shared_intx)
{
	/* Devices 1 and 5 share a line. */
	static struct pci_fn fns[3];

	for (int i = 0; i < 3; i++) {
		pci_fn_init(&fns[i], "line", &mp.plat, &toy_ids, NULL);
		ck_assert_int_eq(pci_host_add(&host, &fns[i]), 0);
	}
	ck_assert_uint_eq(fns[2].gsi, 17);
	pci_intx_set(&toy.fn, true);
	pci_intx_set(&fns[2], true);
	pci_intx_set(&toy.fn, false);
	ck_assert(mock_line_level(&mp, 17));
	ck_assert(!mock_line_level(&mp, 18));
	pci_fn_fini(&fns[2]); /* takes its level with it */
	ck_assert(!mock_line_level(&mp, 17));
	ck_assert_uint_eq(mp.line_rises[17], 1);
	pci_fn_fini(&fns[0]);
	pci_fn_fini(&fns[1]);
}
END_TEST

/* MSI-X */

static void entry(unsigned vec, unsigned word, uint32_t value)
{
	mock_mmio_write(&mp, bar0() + TABLE + 16 * vec + 4 * word, value, 4);
}

static void msix_control(uint16_t bits)
{
	wr(0x48 + PCI_MSIX_FLAGS, bits, 2);
}

static void msix_setup(void)
{
	for (unsigned i = 0; i < NR_MSIX; i++) {
		entry(i, 0, 0xfee00000);
		entry(i, 1, 0);
		entry(i, 2, 0x40 + i);
		entry(i, 3, 0);
	}
	msix_control(PCI_MSIX_FLAGS_ENABLE);
}

static uint64_t count(unsigned vec)
{
	return mock_msi_count(&mp, 0xfee00000, 0x40 + vec);
}

START_TEST(msix_delivers)
{
	ck_assert_uint_eq(rd(0x48 + PCI_MSIX_FLAGS, 2), NR_MSIX - 1);
	ck_assert_uint_eq(rd(0x48 + PCI_MSIX_TABLE, 4), TABLE);
	ck_assert_uint_eq(rd(0x48 + PCI_MSIX_PBA, 4), PBA);
	pci_msix_signal(&toy.fn, 0); /* off: nothing, not even later */
	ck_assert(!pci_msix_enabled(&toy.fn));
	msix_setup();
	ck_assert(pci_msix_enabled(&toy.fn));
	ck_assert_uint_eq(mock_nr_routes(&mp), NR_MSIX);
	ck_assert_uint_eq(count(0), 0);
	pci_msix_signal(&toy.fn, 1);
	ck_assert_uint_eq(count(0), 0);
	ck_assert_uint_eq(count(1), 1);
	ck_assert_uint_eq(mp.routed[1].devid, 1 << 3);
	pci_msix_signal(&toy.fn, NR_MSIX);
	pci_msix_signal(&toy.fn, 0xffff);
	pci_msix_signal(&toy.fn, ~0u);
	for (unsigned i = 0; i < NR_MSIX; i++)
		ck_assert_uint_eq(count(i), 0);
	/* Off again: routes are given back. */
	msix_control(0);
	ck_assert_uint_eq(mock_nr_routes(&mp), 0);
	pci_msix_signal(&toy.fn, 1);
	msix_control(PCI_MSIX_FLAGS_ENABLE);
	ck_assert_uint_eq(count(1), 0);
}
END_TEST

START_TEST(msix_vector_mask)
{
	msix_setup();
	entry(1, 3, 1);
	pci_msix_signal(&toy.fn, 1);
	pci_msix_signal(&toy.fn, 1);
	pci_msix_signal(&toy.fn, 2);
	ck_assert_uint_eq(count(1), 0);
	ck_assert_uint_eq(count(2), 1);
	ck_assert_uint_eq(mock_mmio_read(&mp, bar0() + PBA, 4), 1 << 1);
	ck_assert_uint_eq(mock_mmio_read(&mp, bar0() + PBA, 8), 1 << 1);
	ck_assert_uint_eq(mock_mmio_read(&mp, bar0() + PBA + 4, 4), 0);
	mock_mmio_write(&mp, bar0() + PBA, 0, 8); /* read-only */
	/* A new message while masked is the one that counts. */
	entry(1, 2, 0x99);
	entry(1, 3, 0);
	ck_assert_uint_eq(mock_msi_count(&mp, 0xfee00000, 0x99), 1);
	ck_assert_uint_eq(mock_mmio_read(&mp, bar0() + PBA, 8), 0);
}
END_TEST

START_TEST(msix_function_mask)
{
	msix_setup();
	msix_control(PCI_MSIX_FLAGS_ENABLE | PCI_MSIX_FLAGS_MASKALL);
	entry(2, 3, 1);
	for (unsigned i = 0; i < NR_MSIX; i++)
		pci_msix_signal(&toy.fn, i);
	ck_assert_uint_eq(mock_mmio_read(&mp, bar0() + PBA, 8), 7);
	msix_control(PCI_MSIX_FLAGS_ENABLE);
	ck_assert_uint_eq(count(0), 1);
	ck_assert_uint_eq(count(1), 1);
	ck_assert_uint_eq(mock_mmio_read(&mp, bar0() + PBA, 8), 4);
	/* Switched off, what was pending is forgotten. */
	msix_control(0);
	ck_assert_uint_eq(mock_mmio_read(&mp, bar0() + PBA, 8), 0);
	msix_control(PCI_MSIX_FLAGS_ENABLE);
	entry(2, 3, 0);
	ck_assert_uint_eq(count(2), 0);
}
END_TEST

START_TEST(msix_table_accesses)
{
	gpa_t t = bar0() + TABLE;
	unsigned sets;

	ck_assert_uint_eq(mock_mmio_read(&mp, t + 12, 4), 1); /* masked after reset */
	mock_mmio_write(&mp, t, 0x11223344fee01000ull, 8);
	mock_mmio_write(&mp, t + 8, 0xffffffff00000077ull, 8);
	ck_assert_uint_eq(mock_mmio_read(&mp, t, 8), 0x11223344fee01000ull);
	ck_assert_uint_eq(mock_mmio_read(&mp, t + 4, 4), 0x11223344);
	ck_assert_uint_eq(mock_mmio_read(&mp, t + 8, 8), 0x0000000100000077ull);
	/* Other widths and alignments: undefined by the specification, harmless here. */
	mock_mmio_write(&mp, t, 0x55, 1);
	mock_mmio_write(&mp, t, 0x5555, 2);
	mock_mmio_write(&mp, t + 2, 0x55555555, 4);
	mock_mmio_write(&mp, t + 4, ~0ull, 8);
	ck_assert_uint_eq(mock_mmio_read(&mp, t, 8), 0x11223344fee01000ull);
	ck_assert_uint_eq(mock_mmio_read(&mp, t, 1), 0xff);
	ck_assert_uint_eq(mock_mmio_read(&mp, t + 1, 4), 0xffffffff);
	ck_assert_uint_eq(mock_mmio_read(&mp, t + 4, 8), ~0ull);
	/* Off the end: not the table's, and by direct call nothing. */
	toy.reg = 42;
	ck_assert_uint_eq(mock_mmio_read(&mp, t + 16 * NR_MSIX, 4), 42);
	ck_assert_uint_eq(mock_mmio_read(&mp, bar0() + PBA + 8, 4), 42);
	ck_assert_uint_eq(pci_msix_bar_read(&toy.fn, TABLE + 16 * NR_MSIX, 4), ~0ull);
	ck_assert_uint_eq(pci_msix_bar_read(&toy.fn, ~7ull, 8), ~0ull);
	pci_msix_bar_write(&toy.fn, TABLE + 16 * NR_MSIX, 1, 4);
	pci_msix_bar_write(&toy.fn, TABLE - 8, 1, 8);
	pci_msix_bar_write(&toy.fn, ~7ull, 1, 8);
	/* An unchanged message sets no route. */
	msix_setup();
	sets = mp.msi_sets;
	entry(0, 3, 1);
	entry(0, 3, 0);
	entry(0, 2, 0x40);
	ck_assert_uint_eq(mp.msi_sets, sets);
}
END_TEST

START_TEST(msix_route_fails)
{
	mp.fail_msi = -ENOSPC;
	log_set_level(LOG_ERROR);
	msix_setup();
	pci_msix_signal(&toy.fn, 0);
	ck_assert_uint_eq(mock_nr_routes(&mp), 0);
	/* The next change tries again. */
	mp.fail_msi = 0;
	entry(0, 3, 1);
	entry(0, 3, 0);
	pci_msix_signal(&toy.fn, 0);
	ck_assert_uint_eq(count(0), 1);
	/* A route that cannot be changed is gone, it does not stay where it was. */
	mp.fail_msi = -EINVAL;
	entry(0, 0, 0x1000);
	ck_assert_uint_eq(mock_nr_routes(&mp), 0);
	mp.fail_msi = 0;
}
END_TEST

/* One thread moves and switches, one accesses, one interrupts: no crash, no race, no deadlock. */
static _Atomic bool race_stop;

static void *race_access(void *arg)
{
	while (!race_stop) {
		mock_mmio_read(&mp, WINDOW, 4);
		mock_mmio_write(&mp, WINDOW + TABLE + 12, 0, 4);
		mock_mmio_write(&mp, WINDOW + MIB(32) + TABLE + 12, 1, 4);
		mock_mmio_read(&mp, WINDOW + MIB(32) + PBA, 8);
		rd(PCI_STATUS, 2);
	}
	return NULL;
}

static void *race_interrupt(void *arg)
{
	while (!race_stop) {
		pci_msix_signal(&toy.fn, 0);
		pci_intx_set(&toy.fn, true);
		pci_intx_set(&toy.fn, pci_msix_enabled(&other.fn));
	}
	return NULL;
}

START_TEST(races)
{
	pthread_t t[2];

	race_stop = false;
	ck_assert_int_eq(pthread_create(&t[0], NULL, race_access, NULL), 0);
	ck_assert_int_eq(pthread_create(&t[1], NULL, race_interrupt, NULL), 0);
	for (unsigned i = 0; i < 1000; i++) {
		wr(PCI_BASE_ADDRESS_0, (uint32_t)(WINDOW + (i & 1) * MIB(32)), 4);
		wr(PCI_COMMAND, i & 2 ? PCI_COMMAND_MEMORY : PCI_COMMAND_INTX_DISABLE, 2);
		msix_control(i & 4 ? PCI_MSIX_FLAGS_ENABLE : PCI_MSIX_FLAGS_MASKALL);
	}
	race_stop = true;
	pthread_join(t[0], NULL);
	pthread_join(t[1], NULL);
	wr(PCI_BASE_ADDRESS_0, WINDOW, 4);
	wr(PCI_COMMAND, PCI_COMMAND_MEMORY, 2);
	msix_setup();
	count(0);
	pci_msix_signal(&toy.fn, 0);
	ck_assert_uint_eq(count(0), 1);
	pci_intx_set(&toy.fn, false);
	ck_assert(!mock_line_level(&mp, 17));
}
END_TEST

int main(void)
{
	Suite *s = suite_create("pci");
	TCase *tc = tcase_create("pci");
	SRunner *sr;
	int failed;

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_set_timeout(tc, 60);
	tcase_add_test(tc, identity);
	tcase_add_test(tc, host_bridge);
	tcase_add_test(tc, absent_functions);
	tcase_add_test(tc, odd_accesses);
	tcase_add_test(tc, conf1);
	tcase_add_test(tc, region_under_conf1);
	tcase_add_test(tc, bars_are_placed);
	tcase_add_test(tc, bar_sizing);
	tcase_add_test(tc, decoding);
	tcase_add_test(tc, bars_move_while_decoded);
	tcase_add_test(tc, bars_in_bad_places);
	tcase_add_test(tc, bars_over_each_other);
	tcase_add_test(tc, bar_arguments);
	tcase_add_test(tc, bus_is_full);
	tcase_add_test(tc, hook);
	tcase_add_test(tc, intx);
	tcase_add_test(tc, shared_intx);
	tcase_add_test(tc, msix_delivers);
	tcase_add_test(tc, msix_vector_mask);
	tcase_add_test(tc, msix_function_mask);
	tcase_add_test(tc, msix_table_accesses);
	tcase_add_test(tc, msix_route_fails);
	tcase_add_test(tc, races);
	suite_add_tcase(s, tc);
	sr = srunner_create(s);
	srunner_run_all(sr, CK_ENV);
	failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
