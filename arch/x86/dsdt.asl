/*
 * What ACPI says about the devices that the guest cannot find by itself. Compiled when xvmm is built
 * (arch.mk): C preprocessor with layout.h, then iasl; acpi.c includes the result. The table is the
 * same for every guest.
 *
 * What xvmm's devices must do for this to be true:
 *  - virtio-mmio devices fill the slots from 0 on without a gap (arch_boot.nr_virtio_mmio; acpi.c
 *    leaves the number in memory). _STA must not look into the slot itself: Linux maps what an
 *    operation region covers as cacheable, for good, and then refuses the driver's own mapping.
 *  - virtio-mmio interrupts are edges; a rising edge is an interrupt.
 *  - PCI device d raises pin A on GSI 16 + d % 8 (arch_pci_layout).
 *  - Devices are enumerated when the guest boots: there is no hot-plug and no GPE.
 *  - _S5: SLP_TYP 5 with SLP_EN in the PM1 control register powers the machine off.
 *  - pvpanic is always there.
 *
 * No expressions inside of resource templates: iasl 20200925 accepts them, but computes wrong
 * lengths; the derived constants come from layout.h instead.
 */
#include "arch/x86/layout.h"

#define PIN_A(device)                                                                              \
	Package () { ((device << 16) | 0xFFFF), 0, Zero, (X86_GSI_PCI_FIRST + (device % X86_NR_GSI_PCI)) }

#define VIRTIO_SLOT(name, slot, hex, gsi)                                                           \
	Device (name)                                                                              \
	{                                                                                          \
		Name (_HID, "LNRO0005")                                                            \
		Name (_UID, slot)                                                                  \
		Name (_CCA, One)                                                                   \
		Method (_STA, 0, NotSerialized)                                                    \
		{                                                                                  \
			If (LGreater (NVIO, slot)) { Return (0x0F) }                               \
			Return (Zero)                                                              \
		}                                                                                  \
		Name (_CRS, ResourceTemplate ()                                                    \
		{                                                                                  \
			Memory32Fixed (ReadWrite, X86_VIRTIO_MMIO_SLOT (hex), 0x200)               \
			Interrupt (ResourceConsumer, Edge, ActiveHigh, Exclusive) { gsi }          \
		})                                                                                 \
	}

DefinitionBlock ("dsdt.aml", "DSDT", 2, "XVMM  ", "XVMMGUES", 1)
{
	Name (_S5, Package () { X86_S5_SLP_TYP, Zero, Zero, Zero })

	Scope (\_SB)
	{
		OperationRegion (VARS, SystemMemory, X86_ACPI_NR_VIRTIO, 4)
		Field (VARS, DWordAcc, NoLock, Preserve) { NVIO, 32 }

		Device (PCI0)
		{
			Name (_HID, EisaId ("PNP0A08"))
			Name (_CID, EisaId ("PNP0A03"))
			Name (_UID, Zero)
			Name (_SEG, Zero)
			Name (_BBN, Zero)
			Name (_CRS, ResourceTemplate ()
			{
				WordBusNumber (ResourceProducer, MinFixed, MaxFixed, PosDecode,
					       0, 0, 0, 0, 1)
				IO (Decode16, 0xCF8, 0xCF8, 1, 8)
				WordIO (ResourceProducer, MinFixed, MaxFixed, PosDecode, EntireRange,
					0, X86_PCI_IO_BASE,
					X86_PCI_IO_LAST, 0,
					X86_PCI_IO_BYTES)
				DWordMemory (ResourceProducer, PosDecode, MinFixed, MaxFixed,
					     NonCacheable, ReadWrite, 0, X86_PCI_MMIO_BASE,
					     X86_PCI_MMIO_LAST, 0,
					     X86_PCI_MMIO_BYTES)
			})
			Name (_PRT, Package ()
			{
				PIN_A (1), PIN_A (2), PIN_A (3), PIN_A (4), PIN_A (5), PIN_A (6),
				PIN_A (7), PIN_A (8), PIN_A (9), PIN_A (10), PIN_A (11), PIN_A (12),
				PIN_A (13), PIN_A (14), PIN_A (15), PIN_A (16), PIN_A (17),
				PIN_A (18), PIN_A (19), PIN_A (20), PIN_A (21), PIN_A (22),
				PIN_A (23), PIN_A (24), PIN_A (25), PIN_A (26), PIN_A (27),
				PIN_A (28), PIN_A (29), PIN_A (30), PIN_A (31)
			})
		}

		/* Linux trusts MCFG only if its memory is reserved here (or in the memory map). */
		Device (ECAM)
		{
			Name (_HID, EisaId ("PNP0C02"))
			Name (_UID, One)
			Name (_CRS, ResourceTemplate ()
			{
				Memory32Fixed (ReadOnly, X86_ECAM_BASE, X86_ECAM_BYTES)
			})
		}

		Device (COM1)
		{
			Name (_HID, EisaId ("PNP0501"))
			Name (_UID, One)
			Name (_CRS, ResourceTemplate ()
			{
				IO (Decode16, X86_PORT_COM1, X86_PORT_COM1, 1, 8)
				IRQNoFlags () { X86_GSI_COM1 }
			})
		}

		Device (RTC)
		{
			Name (_HID, EisaId ("PNP0B00"))
			Name (_CRS, ResourceTemplate ()
			{
				IO (Decode16, X86_PORT_RTC, X86_PORT_RTC, 1, 2)
				IRQNoFlags () { X86_GSI_RTC }
			})
		}

		Device (PEVT)
		{
			Name (_HID, "QEMU0001")
			Name (_STA, 0x0F)
			Name (_CRS, ResourceTemplate ()
			{
				IO (Decode16, X86_PORT_PVPANIC, X86_PORT_PVPANIC, 1, 1)
			})
		}

		VIRTIO_SLOT (VM00, 0, 00, X86_GSI_VIRTIO_0)
		VIRTIO_SLOT (VM01, 1, 01, X86_GSI_VIRTIO_1)
		VIRTIO_SLOT (VM02, 2, 02, X86_GSI_VIRTIO_2)
		VIRTIO_SLOT (VM03, 3, 03, X86_GSI_VIRTIO_3)
		VIRTIO_SLOT (VM04, 4, 04, X86_GSI_VIRTIO_4)
		VIRTIO_SLOT (VM05, 5, 05, X86_GSI_VIRTIO_5)
		VIRTIO_SLOT (VM06, 6, 06, X86_GSI_VIRTIO_6)
		VIRTIO_SLOT (VM07, 7, 07, X86_GSI_VIRTIO_7)
		VIRTIO_SLOT (VM08, 8, 08, X86_GSI_VIRTIO_8)
		VIRTIO_SLOT (VM09, 9, 09, X86_GSI_VIRTIO_9)
		VIRTIO_SLOT (VM10, 10, 0A, X86_GSI_VIRTIO_10)
		VIRTIO_SLOT (VM11, 11, 0B, X86_GSI_VIRTIO_11)
		VIRTIO_SLOT (VM12, 12, 0C, X86_GSI_VIRTIO_12)
		VIRTIO_SLOT (VM13, 13, 0D, X86_GSI_VIRTIO_13)
		VIRTIO_SLOT (VM14, 14, 0E, X86_GSI_VIRTIO_14)
		VIRTIO_SLOT (VM15, 15, 0F, X86_GSI_VIRTIO_15)
	}
}
