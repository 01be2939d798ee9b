/*
 * Where everything lies in an x86 guest: every fixed guest-physical address, I/O port and interrupt
 * line, in one place. Constants only, because dsdt.asl is run through the C preprocessor with this
 * file included.
 *
 *   0000_0000    page 0: never used by the loader
 *   0000_1000    loader structures: GDT, boot parameters, page tables, command line (usable RAM)
 *   0009_FC00    reserved up to 1 MiB; ACPI tables from E_0000, MP table from F_0000
 *   0010_0000    RAM, up to min(memory, 3 GiB)
 *   C000_0000    hole: PCI memory window, ECAM, virtio-mmio slots, IOAPIC, local APIC, KVM's pages
 *   1_0000_0000  the rest of RAM
 */
#ifndef ARCH_X86_LAYOUT_H
#define ARCH_X86_LAYOUT_H

/* RAM and the hole. */
#define X86_LOW_RAM_MAX	  0xC0000000
#define X86_HIGH_RAM_BASE 0x100000000
/* One megabyte more than the BIOS area, so that a kernel has anywhere to go. */
#define X86_MEM_MIN_BYTES 0x200000
/* 40 physical address bits are what any 64-bit processor with virtualisation has. */
#define X86_MEM_MAX_BYTES 0xF000000000

/* What the loader leaves below 640 KiB; the guest may use all of it once it is done with it. */
#define X86_LOADER_BASE 0x1000
#define X86_GDT		0x1000
#define X86_GDT_BYTES	48
#define X86_ZERO_PAGE	0x7000	/* struct boot_params; one page */
#define X86_PAGE_TABLES 0x9000	/* PML4, PDPT, 4 page directories of 2 MiB pages */
#define X86_INFO_BASE	0x10000 /* PVH start info or Multiboot info, with its lists and strings */
#define X86_INFO_END	0x20000
#define X86_CMDLINE	0x20000
#define X86_CMDLINE_END 0x30000
#define X86_LOADER_END	0x30000

#define X86_CODE_SELECTOR 0x10
#define X86_DATA_SELECTOR 0x18
#define X86_TSS_SELECTOR  0x20

/* Reserved area below 1 MiB. */
#define X86_RESERVED_BASE 0x9FC00
#define X86_ACPI_BASE	  0xE0000 /* the RSDP is the first thing here */
#define X86_ACPI_END	  0xF0000
/* 4 bytes that the DSDT reads: how many virtio-mmio slots are in use. Tables end before. */
#define X86_ACPI_NR_VIRTIO 0xEFFFC
#define X86_MPTABLE_BASE   0xF0000
#define X86_MPTABLE_END	   0x100000
#define X86_RESERVED_END   0x100000

/* The hole. */
#define X86_PCI_MMIO_BASE	  0xC0000000
#define X86_PCI_MMIO_BYTES	  0x20000000
#define X86_PCI_MMIO_LAST	  0xDFFFFFFF /* for iasl, which does not compute here */
#define X86_ECAM_BASE		  0xE0000000
#define X86_ECAM_BYTES		  0x00100000 /* one bus */
#define X86_VIRTIO_MMIO_BASE	  0xE8000000
#define X86_VIRTIO_MMIO_BYTES	  0x1000	  /* from slot to slot */
#define X86_VIRTIO_MMIO_SLOT(hex) 0xE80##hex##000 /* for iasl, which miscounts expressions */
#define X86_IOAPIC_BASE		  0xFEC00000
#define X86_LAPIC_BASE		  0xFEE00000
#define X86_KVM_IDENTITY_MAP	  0xFFFBC000 /* one page, KVM_SET_IDENTITY_MAP_ADDR */
#define X86_KVM_TSS		  0xFFFBD000 /* three pages, KVM_SET_TSS_ADDR */

/* I/O ports. */
#define X86_PORT_RTC	     0x70
#define X86_PORT_KBD_COMMAND 0x64
#define X86_PORT_92	     0x92
#define X86_PORT_DEBUG_EXIT  0xF4
#define X86_PORT_COM1	     0x3F8
#define X86_PORT_PVPANIC     0x505
#define X86_PORT_PM1_EVENT   0x600 /* status, enable: 2 bytes each */
#define X86_PORT_PM1_CTRL    0x604 /* 2 bytes */
#define X86_PORT_PM_TIMER    0x608 /* 4 bytes, 24 bits wide, 3.579545 MHz */
#define X86_PORT_RESET	     0xCF9
#define X86_PCI_IO_BASE	     0x1000
#define X86_PCI_IO_BYTES     0xE000
#define X86_PCI_IO_LAST	     0xEFFF

#define X86_RESET_VALUE 0x06
#define X86_S5_SLP_TYP	5

/*
 * Interrupt lines (IOAPIC pins). The tables say that ISA interrupt 0, the timer, arrives at pin 2:
 * the machine must therefore route GSI 0 to IOAPIC pin 2 (KVM's default routing does not).
 */
#define X86_IOAPIC_PINS	  24
#define X86_GSI_COM1	  4
#define X86_GSI_RTC	  8
#define X86_GSI_SCI	  9  /* level-triggered, active high */
#define X86_GSI_PCI_FIRST 16 /* device d, pin A: 16 + d % 8; level-triggered */
#define X86_NR_GSI_PCI	  8
#define X86_GSI_TIMER_PIN 2

/* Edge-triggered, active high, one for each virtio-mmio slot. The last six lie in the PCI range,
 * beginning where the fewest PCI devices come. */
#define X86_GSI_VIRTIO_0  5
#define X86_GSI_VIRTIO_1  6
#define X86_GSI_VIRTIO_2  7
#define X86_GSI_VIRTIO_3  10
#define X86_GSI_VIRTIO_4  11
#define X86_GSI_VIRTIO_5  12
#define X86_GSI_VIRTIO_6  13
#define X86_GSI_VIRTIO_7  14
#define X86_GSI_VIRTIO_8  15
#define X86_GSI_VIRTIO_9  3
#define X86_GSI_VIRTIO_10 16
#define X86_GSI_VIRTIO_11 23
#define X86_GSI_VIRTIO_12 22
#define X86_GSI_VIRTIO_13 21
#define X86_GSI_VIRTIO_14 20
#define X86_GSI_VIRTIO_15 19

#endif
