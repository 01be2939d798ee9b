/*
 * The device tree of an arm64 machine, read back with libfdt: what Linux looks for is there, at the
 * addresses that the machine has. Runs on any architecture.
 */
#include <check.h>
#include <errno.h>
#include <libfdt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "arch/arm64/fdt.h"
#include "arch/arm64/layout.h"

static uint8_t tree[FDT_MAX_BYTES];
static struct gmem mem;
static struct fdt_params params;

static void setup(void)
{
	mem = (struct gmem){ .fd = -1, .nr_regions = 1 };
	mem.region[0].base = ARM64_RAM_BASE;
	mem.region[0].size_bytes = GIB(6);
	params =
		(struct fdt_params){ .mem = &mem, .cmdline = "console=ttyS0 a=\"b c\"", .cpus = 4 };
	for (unsigned i = 0; i < sizeof(params.rng_seed); i++)
		params.rng_seed[i] = (uint8_t)(i + 1);
	memset(tree, 0xee, sizeof(tree));
}

static void build(void)
{
	int n = fdt_build(&params, tree);

	ck_assert_int_gt(n, 0);
	ck_assert_int_eq(n, (int)fdt_totalsize(tree));
	ck_assert_int_eq(fdt_check_full(tree, sizeof(tree)), 0);
}

static int node(const char *path)
{
	int at = fdt_path_offset(tree, path);

	ck_assert_msg(at >= 0, "no node %s: %s", path, fdt_strerror(at));
	return at;
}

static const void *prop(const char *path, const char *name, int bytes)
{
	int n;
	const void *v = fdt_getprop(tree, node(path), name, &n);

	ck_assert_msg(v != NULL, "%s has no %s", path, name);
	ck_assert_msg(bytes < 0 || n == bytes, "%s %s has %d bytes, not %d", path, name, n, bytes);
	return v;
}

static uint32_t cell(const char *path, const char *name, unsigned i, unsigned of)
{
	const fdt32_t *v = prop(path, name, (int)of * 4);

	return fdt32_to_cpu(v[i]);
}

static uint64_t cells64(const char *path, const char *name, unsigned i, unsigned of)
{
	return (uint64_t)cell(path, name, i, of) << 32 | cell(path, name, i + 1, of);
}

static void is_string(const char *path, const char *name, const char *text)
{
	ck_assert_str_eq(prop(path, name, (int)strlen(text) + 1), text);
}

static void is_compatible(const char *path, const char *with)
{
	ck_assert_msg(!fdt_node_check_compatible(tree, node(path), with), "%s is not %s", path,
		      with);
}

START_TEST(chosen)
{
	uint8_t seed[8] = { 1, 2, 3, 4, 5, 6, 7, 8 };
	const uint8_t *rng;

	build();
	is_string("/chosen", "bootargs", params.cmdline);
	ck_assert_int_gt(node(prop("/chosen", "stdout-path", -1)), 0);
	ck_assert_mem_eq(prop("/chosen", "kaslr-seed", 8), seed, 8);
	/* No byte is in both. */
	rng = prop("/chosen", "rng-seed", (int)sizeof(params.rng_seed) - 8);
	ck_assert_uint_eq(rng[0], 9);
	ck_assert_ptr_null(fdt_getprop(tree, node("/chosen"), "linux,initrd-start", NULL));
}
END_TEST

START_TEST(initrd)
{
	params.initrd_start = 0x141230000;
	params.initrd_end = 0x141234567;
	build();
	ck_assert_uint_eq(cells64("/chosen", "linux,initrd-start", 0, 2), 0x141230000);
	ck_assert_uint_eq(cells64("/chosen", "linux,initrd-end", 0, 2), 0x141234567);
}
END_TEST

START_TEST(memory_above_4_gib)
{
	build();
	is_string("/memory@40000000", "device_type", "memory");
	ck_assert_uint_eq(cells64("/memory@40000000", "reg", 0, 4), 0x40000000);
	ck_assert_uint_eq(cells64("/memory@40000000", "reg", 2, 4), GIB(6));
}
END_TEST

START_TEST(cpus)
{
	char path[64];
	int n = 0, at;

	params.cpus = ARM64_MAX_CPUS;
	build();
	fdt_for_each_subnode(at, tree, node("/cpus")) n++;
	ck_assert_int_eq(n, ARM64_MAX_CPUS);
	for (unsigned i = 0; i < ARM64_MAX_CPUS; i++) {
		/* Unique, 16 to a cluster, as KVM numbers them. */
		ck_assert_uint_eq(fdt_mpidr(i), i % 16 + (i / 16 << 8));
		snprintf(path, sizeof(path), "/cpus/cpu@%x", i % 16 + (i / 16 << 8));
		is_string(path, "enable-method", "psci");
		ck_assert_uint_eq(cells64(path, "reg", 0, 2), fdt_mpidr(i));
	}
	is_compatible("/psci", "arm,psci-1.0");
	is_string("/psci", "method", "hvc");
}
END_TEST

START_TEST(interrupts)
{
	static const char gic[] = "/interrupt-controller@8000000";
	static const char its[] = "/interrupt-controller@8000000/msi-controller@8020000";
	uint32_t phandle;

	build();
	phandle = fdt_get_phandle(tree, node(gic));
	is_compatible(gic, "arm,gic-v3");
	ck_assert_uint_eq(cell("/", "interrupt-parent", 0, 1), phandle);
	ck_assert_uint_eq(cells64(gic, "reg", 0, 8), ARM64_GICD_BASE);
	ck_assert_uint_eq(cells64(gic, "reg", 4, 8), ARM64_GICR_BASE);
	ck_assert_uint_eq(cells64(gic, "reg", 6, 8), 4 * ARM64_GICR_BYTES_PER_CPU);
	is_compatible(its, "arm,gic-v3-its");
	ck_assert_uint_eq(cells64(its, "reg", 0, 4), ARM64_ITS_BASE);
	/* The virtual timer is the third, interrupt ID 27. */
	ck_assert_uint_eq(cell("/timer", "interrupts", 6, 12), 1);
	ck_assert_uint_eq(cell("/timer", "interrupts", 7, 12) + ARM64_INTID_PPI, 27);
}
END_TEST

/* Where there is no ITS nothing points at one, and the wires are as they were. */
START_TEST(no_messages)
{
	static const char gic[] = "/interrupt-controller@8000000";
	int n;

	for (unsigned v2 = 0; v2 < 2; v2++) {
		params.gic = v2 ? ARM64_GIC_V2 : ARM64_GIC_V3;
		build();
		is_compatible(gic, v2 ? "arm,gic-400" : "arm,gic-v3");
		ck_assert_int_eq(fdt_first_subnode(tree, node(gic)), -FDT_ERR_NOTFOUND);
		ck_assert_ptr_null(fdt_getprop(tree, node("/pcie@30000000"), "msi-map", &n));
		ck_assert_uint_eq(cell("/pcie@30000000", "interrupt-map", 4, 80),
				  fdt_get_phandle(tree, node(gic)));
	}
	ck_assert_uint_eq(cells64(gic, "reg", 0, 8), ARM64_GICD_BASE);
	ck_assert_uint_eq(cells64(gic, "reg", 4, 8), ARM64_GICC_BASE);
	ck_assert_uint_eq(cells64(gic, "reg", 6, 8), ARM64_GICC_BYTES);
	/* Four CPUs, level high. */
	for (unsigned i = 0; i < 4; i++)
		ck_assert_uint_eq(cell("/timer", "interrupts", 3 * i + 2, 12), 0xf04);
}
END_TEST

START_TEST(pci)
{
	static const char pcie[] = "/pcie@30000000";

	build();
	is_compatible(pcie, "pci-host-ecam-generic");
	ck_assert_uint_eq(cells64(pcie, "reg", 0, 4), ARM64_ECAM_BASE);
	ck_assert_uint_eq(cells64(pcie, "reg", 2, 4), ARM64_ECAM_BYTES);
	ck_assert_uint_eq(cell(pcie, "bus-range", 1, 2),
			  0); /* as many as the window has room for */
	ck_assert_uint_eq(cells64(pcie, "ranges", 1, 7), ARM64_PCI_MMIO_BASE);
	ck_assert_uint_eq(cells64(pcie, "ranges", 3, 7), ARM64_PCI_MMIO_BASE);
	ck_assert_uint_eq(cells64(pcie, "ranges", 5, 7), ARM64_PCI_MMIO_BYTES);
	ck_assert_uint_eq(cell(pcie, "msi-map", 1, 4),
			  fdt_get_phandle(tree, node("/interrupt-controller@8000000/"
						     "msi-controller@8020000")));
	for (unsigned dev = 0; dev < ARM64_NR_SPI_PCI; dev++) {
		ck_assert_uint_eq(cell(pcie, "interrupt-map", dev * 10, 80), dev << 11);
		ck_assert_uint_eq(cell(pcie, "interrupt-map", dev * 10 + 3, 80), 1);
		ck_assert_uint_eq(cell(pcie, "interrupt-map", dev * 10 + 8, 80),
				  ARM64_SPI_PCI_FIRST + dev);
		ck_assert_uint_eq(cell(pcie, "interrupt-map", dev * 10 + 9, 80), 4);
	}
}
END_TEST

START_TEST(platform_devices)
{
	build();
	is_compatible("/serial@1000000", "ns16550a");
	ck_assert_uint_eq(cell("/serial@1000000", "interrupts", 1, 3), ARM64_SPI_UART);
	is_compatible("/rtc@1010000", "arm,pl031");
	is_compatible("/gpio@1020000", "arm,pl061");
	ck_assert_uint_eq(cell("/rtc@1010000", "clocks", 0, 1),
			  fdt_get_phandle(tree, node("/apb-clock")));
	is_compatible("/gpio-keys", "gpio-keys");
	ck_assert_uint_eq(cell("/gpio-keys/power-button", "linux,code", 0, 1), 116);
	ck_assert_uint_eq(cell("/gpio-keys/power-button", "gpios", 0, 3),
			  fdt_get_phandle(tree, node("/gpio@1020000")));
	ck_assert_uint_eq(cell("/gpio-keys/power-button", "gpios", 1, 3), ARM64_GPIO_POWER_LINE);
	ck_assert_int_lt(fdt_path_offset(tree, "/virtio_mmio@c000000"), 0);
}
END_TEST

START_TEST(virtio_mmio)
{
	char path[64];

	params.nr_virtio_mmio = 16;
	build();
	for (unsigned i = 0; i < 16; i++) {
		snprintf(path, sizeof(path), "/virtio_mmio@%x", 0x0c000000 + i * 0x1000);
		is_compatible(path, "virtio,mmio");
		ck_assert_uint_eq(cell(path, "interrupts", 1, 3), ARM64_SPI_VIRTIO_FIRST + i);
		ck_assert_uint_eq(cell(path, "interrupts", 2, 3), 1); /* edge */
	}
}
END_TEST

START_TEST(too_big)
{
	char *text = malloc(FDT_MAX_BYTES + 1);

	memset(text, 'a', FDT_MAX_BYTES);
	text[FDT_MAX_BYTES] = '\0';
	params.cmdline = text;
	ck_assert_int_eq(fdt_build(&params, tree), -ENOSPC);
	free(text);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("arm64_fdt");
	TCase *t = tcase_create("core");
	SRunner *sr;
	int failed;

	tcase_add_checked_fixture(t, setup, NULL);
	tcase_add_test(t, chosen);
	tcase_add_test(t, initrd);
	tcase_add_test(t, memory_above_4_gib);
	tcase_add_test(t, cpus);
	tcase_add_test(t, interrupts);
	tcase_add_test(t, no_messages);
	tcase_add_test(t, pci);
	tcase_add_test(t, platform_devices);
	tcase_add_test(t, virtio_mmio);
	tcase_add_test(t, too_big);
	suite_add_tcase(s, t);
	sr = srunner_create(s);
	srunner_run_all(sr, CK_NORMAL);
	failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
