/*
 * The device tree: see fdt.h. Written from front to back by libfdt's sequential functions, whose
 * errors stick to the blob: the last call reports the first one. One thread, no locks.
 *
 * Sources: Devicetree Specification 0.4; Linux' Documentation/devicetree/bindings for each node.
 */
#include "arch/arm64/fdt.h"

#include <errno.h>
#include <libfdt.h>
#include <stdio.h>
#include <string.h>

#include "arch/arm64/layout.h"

/* Nodes that others point at. */
enum { PHANDLE_GIC = 1, PHANDLE_ITS, PHANDLE_APB_CLOCK, PHANDLE_GPIO };

enum { GIC_SPI = 0, GIC_PPI = 1 };
enum { IRQ_EDGE_RISING = 1, IRQ_LEVEL_HIGH = 4 };

#define KEY_POWER	 116
#define GPIO_ACTIVE_HIGH 0
#define PCI_SPACE_MEM32	 0x02000000
#define PCI_DEVICE_SHIFT 11
#define PCI_PIN_A	 1

#define MAX_CELLS (10 * ARM64_NR_SPI_PCI)

struct tree {
	void *fdt;
	int err; /* the first error, of libfdt */
};

static void note(struct tree *t, int err)
{
	if (!t->err)
		t->err = err;
}

static void open_node(struct tree *t, const char *name, uint64_t unit)
{
	char full[64];

	if (unit)
		snprintf(full, sizeof(full), "%s@%llx", name, (unsigned long long)unit);
	else
		snprintf(full, sizeof(full), "%s", name);
	note(t, fdt_begin_node(t->fdt, full));
}

static void close_node(struct tree *t)
{
	note(t, fdt_end_node(t->fdt));
}

static void put_bytes(struct tree *t, const char *name, const void *data, size_t bytes)
{
	note(t, fdt_property(t->fdt, name, data, (int)bytes));
}

static void put_string(struct tree *t, const char *name, const char *value)
{
	note(t, fdt_property_string(t->fdt, name, value));
}

static void put_flag(struct tree *t, const char *name)
{
	put_bytes(t, name, NULL, 0);
}

static void put_cells(struct tree *t, const char *name, const uint32_t *cell, unsigned n)
{
	fdt32_t big_endian[MAX_CELLS];

	for (unsigned i = 0; i < n; i++)
		big_endian[i] = cpu_to_fdt32(cell[i]);
	put_bytes(t, name, big_endian, n * sizeof(big_endian[0]));
}

#define put(t, name, ...)                                         \
	put_cells((t), (name), (const uint32_t[]){ __VA_ARGS__ }, \
		  sizeof((const uint32_t[]){ __VA_ARGS__ }) / sizeof(uint32_t))
#define HI(v) (uint32_t)((uint64_t)(v) >> 32)
#define LO(v) (uint32_t)(v)

static void put_reg(struct tree *t, uint64_t base, uint64_t bytes)
{
	put(t, "reg", HI(base), LO(base), HI(bytes), LO(bytes));
}

static void put_spi(struct tree *t, unsigned spi, unsigned flags)
{
	put(t, "interrupts", GIC_SPI, spi, flags);
}

uint64_t fdt_mpidr(unsigned cpu)
{
	/* Clusters of 16: what a GICv3 can address with one interrupt to several CPUs. */
	return (cpu & 0xf) | (uint64_t)(cpu >> 4 & 0xff) << 8 | (uint64_t)(cpu >> 12 & 0xff) << 16;
}

static void chosen(struct tree *t, const struct fdt_params *p)
{
	char path[32];

	snprintf(path, sizeof(path), "/serial@%x", ARM64_UART_BASE);
	open_node(t, "chosen", 0);
	put_string(t, "bootargs", p->cmdline);
	put_string(t, "stdout-path", path);
	if (p->initrd_end > p->initrd_start) {
		put(t, "linux,initrd-start", HI(p->initrd_start), LO(p->initrd_start));
		put(t, "linux,initrd-end", HI(p->initrd_end), LO(p->initrd_end));
	}
	/* The kernel wipes both once it has used them: layout randomization, first entropy. */
	put_bytes(t, "kaslr-seed", p->rng_seed, 8);
	put_bytes(t, "rng-seed", p->rng_seed + 8, sizeof(p->rng_seed) - 8);
	close_node(t);
}

static void memory(struct tree *t, const struct gmem *mem)
{
	for (unsigned i = 0; i < mem->nr_regions; i++) {
		open_node(t, "memory", mem->region[i].base);
		put_string(t, "device_type", "memory");
		put_reg(t, mem->region[i].base, mem->region[i].size_bytes);
		close_node(t);
	}
}

static void cpus(struct tree *t, unsigned n)
{
	char name[32];

	open_node(t, "cpus", 0);
	put(t, "#address-cells", 2);
	put(t, "#size-cells", 0);
	for (unsigned i = 0; i < n; i++) {
		uint64_t mpidr = fdt_mpidr(i);

		/* The first one's address is 0, which open_node() takes for none. */
		snprintf(name, sizeof(name), "cpu@%llx", (unsigned long long)mpidr);
		open_node(t, name, 0);
		put_string(t, "device_type", "cpu");
		put_string(t, "compatible", "arm,armv8");
		put_string(t, "enable-method", "psci");
		put(t, "reg", HI(mpidr), LO(mpidr));
		close_node(t);
	}
	close_node(t);
}

static void firmware(struct tree *t)
{
	static const char compatible[] = "arm,psci-1.0\0arm,psci-0.2";

	open_node(t, "psci", 0);
	put_bytes(t, "compatible", compatible, sizeof(compatible));
	put_string(t, "method", "hvc");
	close_node(t);
}

static void timer(struct tree *t, const struct fdt_params *p)
{
	/* A GICv2 wants to be told of whose CPUs a per-CPU interrupt is. */
	uint32_t mask = p->gic == ARM64_GIC_V2 ? (1u << p->cpus) - 1 : 0;
	uint32_t flags = mask << 8 | IRQ_LEVEL_HIGH;

	open_node(t, "timer", 0);
	put_string(t, "compatible", "arm,armv8-timer");
	put(t, "interrupts", GIC_PPI, ARM64_PPI_TIMER_SECURE, flags, GIC_PPI,
	    ARM64_PPI_TIMER_PHYSICAL, flags, GIC_PPI, ARM64_PPI_TIMER_VIRTUAL, flags, GIC_PPI,
	    ARM64_PPI_TIMER_HYPERVISOR, flags);
	put_flag(t, "always-on");
	close_node(t);
}

static void msi_controller(struct tree *t)
{
	open_node(t, "msi-controller", ARM64_ITS_BASE);
	put_string(t, "compatible", "arm,gic-v3-its");
	put_flag(t, "msi-controller");
	put(t, "#msi-cells", 1);
	put_reg(t, ARM64_ITS_BASE, ARM64_ITS_BYTES);
	put(t, "phandle", PHANDLE_ITS);
	close_node(t);
}

static void interrupt_controller(struct tree *t, const struct fdt_params *p)
{
	uint64_t redist_bytes = (uint64_t)p->cpus * ARM64_GICR_BYTES_PER_CPU;

	open_node(t, "interrupt-controller", ARM64_GICD_BASE);
	put_string(t, "compatible", p->gic == ARM64_GIC_V2 ? "arm,gic-400" : "arm,gic-v3");
	put_flag(t, "interrupt-controller");
	put(t, "#interrupt-cells", 3);
	put(t, "#address-cells", 2);
	put(t, "#size-cells", 2);
	put_flag(t, "ranges");
	if (p->gic == ARM64_GIC_V2)
		put(t, "reg", 0, ARM64_GICD_BASE, 0, ARM64_GICV2D_BYTES, 0, ARM64_GICC_BASE, 0,
		    ARM64_GICC_BYTES);
	else
		put(t, "reg", 0, ARM64_GICD_BASE, 0, ARM64_GICD_BYTES, 0, ARM64_GICR_BASE,
		    HI(redist_bytes), LO(redist_bytes));
	put(t, "phandle", PHANDLE_GIC);
	if (p->gic == ARM64_GIC_V3_ITS)
		msi_controller(t);
	close_node(t);
}

static void serial(struct tree *t)
{
	open_node(t, "serial", ARM64_UART_BASE);
	put_string(t, "compatible", "ns16550a");
	put_reg(t, ARM64_UART_BASE, ARM64_UART_BYTES);
	put(t, "clock-frequency", ARM64_UART_HZ);
	put_spi(t, ARM64_SPI_UART, IRQ_LEVEL_HIGH);
	close_node(t);
}

/* An Arm peripheral that Linux finds by the identification registers at its end. */
static void primecell(struct tree *t, const char *name, const char *compatible, size_t bytes,
		      uint64_t base, unsigned spi)
{
	open_node(t, name, base);
	put_bytes(t, "compatible", compatible, bytes);
	put_reg(t, base, ARM64_PERIPHERAL_BYTES);
	put_spi(t, spi, IRQ_LEVEL_HIGH);
	put(t, "clocks", PHANDLE_APB_CLOCK);
	put_string(t, "clock-names", "apb_pclk");
}

static void peripherals(struct tree *t)
{
	static const char rtc[] = "arm,pl031\0arm,primecell", gpio[] = "arm,pl061\0arm,primecell";

	open_node(t, "apb-clock", 0);
	put_string(t, "compatible", "fixed-clock");
	put(t, "#clock-cells", 0);
	put(t, "clock-frequency", ARM64_APB_HZ);
	put(t, "phandle", PHANDLE_APB_CLOCK);
	close_node(t);

	primecell(t, "rtc", rtc, sizeof(rtc), ARM64_RTC_BASE, ARM64_SPI_RTC);
	close_node(t);

	primecell(t, "gpio", gpio, sizeof(gpio), ARM64_GPIO_BASE, ARM64_SPI_GPIO);
	put_flag(t, "gpio-controller");
	put(t, "#gpio-cells", 2);
	put_flag(t, "interrupt-controller");
	put(t, "#interrupt-cells", 2);
	put(t, "phandle", PHANDLE_GPIO);
	close_node(t);

	open_node(t, "gpio-keys", 0);
	put_string(t, "compatible", "gpio-keys");
	put_string(t, "label", "Power Button"); /* the input device's name */
	open_node(t, "power-button", 0);
	put_string(t, "label", "Power Button");
	put(t, "linux,code", KEY_POWER);
	put(t, "gpios", PHANDLE_GPIO, ARM64_GPIO_POWER_LINE, GPIO_ACTIVE_HIGH);
	close_node(t);
	close_node(t);

	open_node(t, "pvpanic", ARM64_PVPANIC_BASE);
	put_string(t, "compatible", "qemu,pvpanic-mmio");
	put_reg(t, ARM64_PVPANIC_BASE, 2);
	close_node(t);
}

static void pci(struct tree *t, bool msi)
{
	uint32_t map[MAX_CELLS];
	unsigned n = 0;

	/* INTx: device, two address cells, pin; then the GIC, its two address cells and the line.
	 */
	for (uint32_t dev = 0; dev < ARM64_NR_SPI_PCI; dev++) {
		const uint32_t row[] = { dev << PCI_DEVICE_SHIFT,
					 0,
					 0,
					 PCI_PIN_A,
					 PHANDLE_GIC,
					 0,
					 0,
					 GIC_SPI,
					 ARM64_SPI_PCI_FIRST + dev,
					 IRQ_LEVEL_HIGH };

		memcpy(map + n, row, sizeof(row));
		n += sizeof(row) / sizeof(row[0]);
	}
	open_node(t, "pcie", ARM64_ECAM_BASE);
	put_string(t, "compatible", "pci-host-ecam-generic");
	put_string(t, "device_type", "pci");
	put(t, "#address-cells", 3);
	put(t, "#size-cells", 2);
	put(t, "#interrupt-cells", 1);
	put(t, "bus-range", 0, 0);
	put(t, "linux,pci-domain", 0);
	put_reg(t, ARM64_ECAM_BASE, ARM64_ECAM_BYTES);
	put(t, "ranges", PCI_SPACE_MEM32, 0, ARM64_PCI_MMIO_BASE, 0, ARM64_PCI_MMIO_BASE, 0,
	    ARM64_PCI_MMIO_BYTES);
	put(t, "interrupt-map-mask", (ARM64_NR_SPI_PCI - 1) << PCI_DEVICE_SHIFT, 0, 0, 7);
	put_cells(t, "interrupt-map", map, n);
	/* A function's requester ID is its device ID at the ITS. */
	if (msi)
		put(t, "msi-map", 0, PHANDLE_ITS, 0, 0x10000);
	put_flag(t, "dma-coherent");
	close_node(t);
}

static void virtio_mmio(struct tree *t, unsigned n)
{
	for (unsigned slot = 0; slot < n; slot++) {
		uint64_t base = ARM64_VIRTIO_MMIO_BASE + (uint64_t)slot * ARM64_VIRTIO_MMIO_BYTES;

		open_node(t, "virtio_mmio", base);
		put_string(t, "compatible", "virtio,mmio");
		put_reg(t, base, 0x200);
		put_spi(t, ARM64_SPI_VIRTIO_FIRST + slot, IRQ_EDGE_RISING);
		put_flag(t, "dma-coherent");
		close_node(t);
	}
}

int fdt_build(const struct fdt_params *p, void *buf)
{
	struct tree t = { .fdt = buf };

	note(&t, fdt_create(buf, FDT_MAX_BYTES));
	note(&t, fdt_finish_reservemap(buf));
	open_node(&t, "", 0);
	put_string(&t, "model", "xvmm");
	put_string(&t, "compatible", "linux,dummy-virt");
	put(&t, "#address-cells", 2);
	put(&t, "#size-cells", 2);
	put(&t, "interrupt-parent", PHANDLE_GIC);
	chosen(&t, p);
	memory(&t, p->mem);
	cpus(&t, p->cpus);
	firmware(&t);
	timer(&t, p);
	interrupt_controller(&t, p);
	serial(&t);
	peripherals(&t);
	pci(&t, p->gic == ARM64_GIC_V3_ITS);
	virtio_mmio(&t, p->nr_virtio_mmio);
	close_node(&t);
	note(&t, fdt_finish(buf));
	if (t.err)
		return t.err == -FDT_ERR_NOSPACE ? -ENOSPC : -EIO;
	return (int)fdt_totalsize(buf);
}
