/*
 * Where everything lies in an arm64 guest: every fixed guest-physical address and interrupt line,
 * in one place. Devices are below RAM, and RAM is one piece, so it grows past 4 GiB by itself.
 *
 *   0000_0000  nothing: a NULL pointer of a guest faults
 *   0100_0000  serial port, RTC, GPIO, and the two ends for guests under test; a 64 KiB page each
 *   0800_0000  GICv3: distributor, ITS; redistributors from 0900_0000; or GICv2
 *   0C00_0000  virtio-mmio slots
 *   1000_0000  PCI memory window
 *   3000_0000  PCI configuration space (ECAM), one bus
 *   4000_0000  RAM
 *
 * A gsi is the number of a shared peripheral interrupt (SPI): the GIC's interrupt ID less 32.
 */
#ifndef ARCH_ARM64_LAYOUT_H
#define ARCH_ARM64_LAYOUT_H

#define ARM64_RAM_BASE	    0x40000000
#define ARM64_MEM_MIN_BYTES 0x400000
/* 40 bits of guest-physical addresses are what any VM may have; less where the host has less. */
#define ARM64_MEM_MAX_BYTES 0xF000000000

#define ARM64_UART_BASE	       0x01000000
#define ARM64_UART_BYTES       8
#define ARM64_RTC_BASE	       0x01010000
#define ARM64_GPIO_BASE	       0x01020000
#define ARM64_PVPANIC_BASE     0x01030000
#define ARM64_DEBUG_EXIT_BASE  0x01040000
#define ARM64_PERIPHERAL_BYTES 0x1000 /* RTC, GPIO */

/* Linux asks the UART's clock for the divisor of 115200 bit/s; 16 * 115200 gives 1. */
#define ARM64_UART_HZ 1843200
#define ARM64_APB_HZ  24000000

#define ARM64_GICD_BASE		 0x08000000
#define ARM64_GICD_BYTES	 0x10000
#define ARM64_ITS_BASE		 0x08020000
#define ARM64_ITS_BYTES		 0x20000
#define ARM64_GICR_BASE		 0x09000000
#define ARM64_GICR_BYTES_PER_CPU 0x20000
#define ARM64_MAX_CPUS		 256
/* A GICv2 has its distributor at the same place, and behind it what each CPU sees as its own. */
#define ARM64_GICV2D_BYTES   0x1000
#define ARM64_GICC_BASE	     0x08010000
#define ARM64_GICC_BYTES     0x2000
#define ARM64_GICV2_MAX_CPUS 8
#define ARM64_GICR_END	     (ARM64_GICR_BASE + ARM64_MAX_CPUS * ARM64_GICR_BYTES_PER_CPU)

#define ARM64_VIRTIO_MMIO_BASE	0x0C000000
#define ARM64_VIRTIO_MMIO_BYTES 0x1000 /* from slot to slot */

#define ARM64_PCI_MMIO_BASE  0x10000000
#define ARM64_PCI_MMIO_BYTES 0x20000000
#define ARM64_ECAM_BASE	     0x30000000
#define ARM64_ECAM_BYTES     0x00100000 /* one bus */

/* Shared peripheral interrupts. Level-triggered, but for virtio-mmio's, which are edges. */
#define ARM64_NR_SPI	       32
#define ARM64_SPI_UART	       1
#define ARM64_SPI_RTC	       2
#define ARM64_SPI_GPIO	       3
#define ARM64_SPI_PCI_FIRST    8 /* device d, pin A: 8 + d % 8 */
#define ARM64_NR_SPI_PCI       8
#define ARM64_SPI_VIRTIO_FIRST 16 /* one a slot */

/* The GIC's interrupt IDs of SPIs begin here; those of per-CPU interrupts (PPIs) at 16. */
#define ARM64_INTID_SPI 32
#define ARM64_INTID_PPI 16
/* The architected timer's PPIs, as the Base System Architecture has them and KVM assumes. */
#define ARM64_PPI_TIMER_SECURE	   13
#define ARM64_PPI_TIMER_PHYSICAL   14
#define ARM64_PPI_TIMER_VIRTUAL	   11
#define ARM64_PPI_TIMER_HYPERVISOR 10

/* The power button is this line of the GPIO controller. */
#define ARM64_GPIO_POWER_LINE 3

#endif
