/*
 * The machine that a guest runs on: what differs between architectures and is more than interrupts
 * (intr.h). x86/lib has a file of the same name that declares the same functions. Addresses are
 * those of xvmm's arch/arm64/layout.h.
 */
#ifndef LIB_MACHINE_H
#define LIB_MACHINE_H

#include "lib/io.h"

#define UART_BASE	  0x01000000u
#define RTC_BASE	  0x01010000u
#define GPIO_BASE	  0x01020000u
#define PVPANIC_BASE	  0x01030000u
#define DEBUG_EXIT_BASE	  0x01040000u
#define GPIO_POWER_LINE	  3
#define MACHINE_RAM_BASE  0x40000000ull
#define MACHINE_INTC_BASE 0x08000000u
#define PCI_ECAM_BASE	  0x30000000u
#define VIRTIO_MMIO_BASE  0x0c000000u
#define VIRTIO_MMIO_STEP  0x1000u

#define SPI_UART 1
#define SPI_RTC	 2
#define SPI_GPIO 3

#define PSCI_SYSTEM_OFF	  0x84000008u
#define PSCI_SYSTEM_RESET 0x84000009u
#define PSCI_VERSION	  0x84000000u
#define PSCI_CPU_ON	  0xc4000003u
#define PSCI_AFFINITY	  0xc4000004u
int64_t psci(uint64_t function, uint64_t a, uint64_t b, uint64_t c);

/* fdt.c: a property's value in the device tree; node: the path without unit addresses; index: of
 * the nodes with that path. NULL: none. */
const void *fdt_property(const char *path, unsigned index, const char *name, uint32_t *bytes);
void fdt_set(const void *fdt);
const char *fdt_end(void);
uint64_t fdt_number(const void *value, uint32_t bytes); /* big-endian, 4 or 8 bytes */

/* 16550 registers. */
static inline uint8_t uart_read(unsigned reg)
{
	return mmio_read8(UART_BASE + reg);
}

static inline void uart_write(unsigned reg, uint8_t v)
{
	mmio_write8(UART_BASE + reg, v);
}

static inline uint8_t pvpanic_read(void)
{
	return mmio_read8(PVPANIC_BASE);
}

static inline void pvpanic_write(uint8_t v)
{
	mmio_write8(PVPANIC_BASE, v);
}

/* width: 1, 2 or 4 bytes. */
void debug_exit_write(uint32_t value, unsigned width);

/* Which interrupt line it is wired to. */
unsigned machine_virtio_mmio_gsi(unsigned slot);
unsigned machine_intx_gsi(unsigned pci_dev);

/* Interrupt addresses of the usable CPUs; returns how many there are. */
unsigned machine_cpus(uint8_t *id, unsigned max);
/* Entry `i` of the memory map; false: there are no more. */
bool machine_memory(unsigned i, uint64_t *start, uint64_t *bytes, bool *ram);
/* The initrd; FAIL if there is none. */
const void *machine_initrd(uint64_t *bytes);

/* A read or write at random of what is not PCI or virtio, but nothing that ends the machine. */
void machine_noise(uint64_t random);
/* Addresses where nothing is, and edges of devices; ends with 0. */
extern const uintptr_t machine_empty[];

#endif
