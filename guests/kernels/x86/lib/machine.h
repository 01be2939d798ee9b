/*
 * The machine that a guest runs on: what differs between architectures and is more than interrupts
 * (intr.h). arm64/lib has a file of the same name that declares the same functions.
 */
#ifndef LIB_MACHINE_H
#define LIB_MACHINE_H

#include "lib/io.h"

#define PORT_COM1	0x3f8
#define PORT_DEBUG_EXIT 0xf4
#define PORT_PVPANIC	0x505
#define PORT_PM1_EVENT	0x600
#define PORT_PM1_CTL	0x604
#define PORT_RESET	0xcf9
#define PM1_SLP_EN	(1 << 13)
#define PM1_SLP_TYP_S5	(5 << 10)

#define MACHINE_RAM_BASE  0ull
#define MACHINE_INTC_BASE 0xfee00000u
#define PCI_ECAM_BASE	  0xe0000000u
#define VIRTIO_MMIO_BASE  0xe8000000u
#define VIRTIO_MMIO_STEP  0x1000u

/* The loader's view (Xen's public/arch-x86/hvm/start_info.h). */
struct pvh_start_info {
	uint32_t magic, version, flags, nr_modules;
	uint64_t modlist, cmdline, rsdp;
	uint64_t memmap; /* from version 1 on */
	uint32_t memmap_entries, reserved;
};
struct pvh_module {
	uint64_t paddr, size, cmdline, reserved;
};
struct pvh_memmap_entry {
	uint64_t addr, size;
	uint32_t type, reserved;
};
#define PVH_MAGIC    0x336ec578
#define PVH_TYPE_RAM 1
const struct pvh_start_info *boot_info(void);

/* 16550 registers. */
static inline uint8_t uart_read(unsigned reg)
{
	return inb((uint16_t)(PORT_COM1 + reg));
}

static inline void uart_write(unsigned reg, uint8_t v)
{
	outb((uint16_t)(PORT_COM1 + reg), v);
}

static inline uint8_t pvpanic_read(void)
{
	return inb(PORT_PVPANIC);
}

static inline void pvpanic_write(uint8_t v)
{
	outb(PORT_PVPANIC, v);
}

/* width: 1, 2 or 4 bytes. */
void debug_exit_write(uint32_t value, unsigned width);

/* Which interrupt line it is wired to. */
unsigned machine_virtio_mmio_gsi(unsigned slot);
unsigned machine_intx_gsi(unsigned pci_dev);

/* Interrupt addresses of the usable CPUs; returns how many there are. */
unsigned machine_cpus(uint8_t *id, unsigned max);
/* Entry `i` of the loader's memory map; false: there are no more. */
bool machine_memory(unsigned i, uint64_t *start, uint64_t *bytes, bool *ram);
/* The one module, or the initrd; FAIL if there is none. */
const void *machine_initrd(uint64_t *bytes);

/* A read or write at random of what is not PCI or virtio, but nothing that ends the machine. */
void machine_noise(uint64_t random);
/* Addresses where nothing is, and edges of devices; ends with 0. */
extern const uintptr_t machine_empty[];

#endif
