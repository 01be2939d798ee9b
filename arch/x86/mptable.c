/*
 * The MP table: the same processors and interrupts as in ACPI's MADT and _PRT. Source: Intel
 * MultiProcessor Specification 1.4, chapter 4. Runs on the thread that creates the machine.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "arch/x86/layout.h"
#include "arch/x86/mptable.h"

enum mp_entry { MP_PROCESSOR = 0, MP_BUS = 1, MP_IOAPIC = 2, MP_IO_INT = 3, MP_LOCAL_INT = 4 };
enum mp_int_type { MP_INT = 0, MP_NMI = 1, MP_EXTINT = 3 };
enum mp_bus_id { MP_PCI = 0, MP_ISA = 1 };

/* Polarity and trigger mode; 0: as the bus has it. */
#define MP_ACTIVE_HIGH_LEVEL 0x000D
#define MP_ALL_LAPICS	     0xFF
#define MP_LAPIC_VERSION     0x14
#define MP_IOAPIC_VERSION    0x11
#define MP_CPU_ENABLED	     0x01
#define MP_CPU_BOOT	     0x02
#define ISA_INTERRUPTS	     16
#define PCI_DEVICES	     32

struct mp_floating {
	char signature[4];
	uint32_t table;
	uint8_t length, version, checksum, features[5];
} __attribute__((packed));
struct mp_table {
	char signature[4];
	uint16_t length;
	uint8_t version, checksum;
	char oem[8], product[12];
	uint32_t oem_table;
	uint16_t oem_table_bytes, nr_entries;
	uint32_t lapic_base;
	uint16_t extended_bytes;
	uint8_t extended_checksum, reserved;
} __attribute__((packed));
struct mp_processor {
	uint8_t type, apic_id, apic_version, flags;
	uint32_t signature, features, reserved[2];
} __attribute__((packed));
struct mp_bus {
	uint8_t type, id;
	char name[6];
} __attribute__((packed));
struct mp_ioapic {
	uint8_t type, id, version, flags;
	uint32_t base;
} __attribute__((packed));
/* I/O and local interrupts look alike. */
struct mp_interrupt {
	uint8_t type, int_type;
	uint16_t flags;
	uint8_t bus, bus_irq, apic, pin;
} __attribute__((packed));

struct area {
	uint8_t bytes[X86_MPTABLE_END - X86_MPTABLE_BASE];
	uint16_t used, nr_entries;
};

static uint8_t checksum(const void *data, size_t len)
{
	const uint8_t *p = data;
	uint8_t sum = 0;

	for (size_t i = 0; i < len; i++)
		sum = (uint8_t)(sum + p[i]);
	return (uint8_t)-sum;
}

/* Cannot overflow: 254 processors and 50 interrupts are less than 6 KiB. */
static void append(struct area *a, const void *entry, size_t len)
{
	memcpy(a->bytes + a->used, entry, len);
	a->used = (uint16_t)(a->used + len);
	a->nr_entries++;
}

static void add_interrupt(struct area *a, enum mp_entry type, enum mp_int_type int_type,
			  uint16_t flags, enum mp_bus_id bus, unsigned irq, unsigned apic,
			  unsigned pin)
{
	struct mp_interrupt e = { (uint8_t)type, (uint8_t)int_type, flags,	 (uint8_t)bus,
				  (uint8_t)irq,	 (uint8_t)apic,	    (uint8_t)pin };

	append(a, &e, sizeof(e));
}

static void add_interrupts(struct area *a, unsigned ioapic)
{
	for (unsigned irq = 0; irq < ISA_INTERRUPTS; irq++) {
		if (irq == X86_GSI_TIMER_PIN) /* the 8259s' cascade */
			continue;
		add_interrupt(a, MP_IO_INT, MP_INT, irq == X86_GSI_SCI ? MP_ACTIVE_HIGH_LEVEL : 0,
			      MP_ISA, irq, ioapic, irq == 0 ? X86_GSI_TIMER_PIN : irq);
	}
	/* Device 0 is the host bridge; the bus interrupt is device and pin, A = 0. */
	for (unsigned dev = 1; dev < PCI_DEVICES; dev++)
		add_interrupt(a, MP_IO_INT, MP_INT, 0, MP_PCI, dev << 2, ioapic,
			      X86_GSI_PCI_FIRST + dev % X86_NR_GSI_PCI);
	add_interrupt(a, MP_LOCAL_INT, MP_EXTINT, 0, MP_ISA, 0, 0, 0);
	add_interrupt(a, MP_LOCAL_INT, MP_NMI, 0, MP_ISA, 0, MP_ALL_LAPICS, 1);
}

static void build(struct area *a, unsigned cpus)
{
	struct mp_floating f = {
		.signature = { '_', 'M', 'P', '_' },
		.table = X86_MPTABLE_BASE + sizeof(f),
		.length = sizeof(f) / 16,
		.version = 4,
	};
	struct mp_table t = {
		.signature = { 'P', 'C', 'M', 'P' },
		.version = 4,
		.oem = { 'X', 'V', 'M', 'M', ' ', ' ', ' ', ' ' },
		.product = { 'G', 'U', 'E', 'S', 'T', ' ', ' ', ' ', ' ', ' ', ' ', ' ' },
		.lapic_base = X86_LAPIC_BASE,
	};
	struct mp_bus pci = { MP_BUS, MP_PCI, { 'P', 'C', 'I', ' ', ' ', ' ' } };
	struct mp_bus isa = { MP_BUS, MP_ISA, { 'I', 'S', 'A', ' ', ' ', ' ' } };
	struct mp_ioapic ioapic = { MP_IOAPIC, (uint8_t)cpus, MP_IOAPIC_VERSION, 1,
				    X86_IOAPIC_BASE };

	f.checksum = checksum(&f, sizeof(f));
	memcpy(a->bytes, &f, sizeof(f));
	a->used = sizeof(f) + sizeof(t);
	for (unsigned i = 0; i < cpus; i++) {
		struct mp_processor cpu = {
			.type = MP_PROCESSOR,
			.apic_id = (uint8_t)i,
			.apic_version = MP_LAPIC_VERSION,
			.flags = MP_CPU_ENABLED | (i == 0 ? MP_CPU_BOOT : 0),
			.signature = 0x600, /* family 6 */
			.features = 0x201,  /* FPU and local APIC; CPUID says more */
		};
		append(a, &cpu, sizeof(cpu));
	}
	append(a, &pci, sizeof(pci));
	append(a, &isa, sizeof(isa));
	append(a, &ioapic, sizeof(ioapic));
	add_interrupts(a, cpus);

	t.nr_entries = a->nr_entries;
	t.length = (uint16_t)(a->used - sizeof(f));
	memcpy(a->bytes + sizeof(f), &t, sizeof(t));
	a->bytes[sizeof(f) + offsetof(struct mp_table, checksum)] =
		checksum(a->bytes + sizeof(f), t.length);
}

int mptable_write(const struct gmem *mem, unsigned cpus)
{
	if (cpus == 0)
		return -EINVAL;
	if (cpus >= 255) /* 8-bit APIC ids; the IOAPIC takes one, 255 is broadcast */
		return -ENOSPC;

	struct area *a = calloc(1, sizeof(*a));
	if (!a)
		return -ENOMEM;
	build(a, cpus);
	int err = gmem_write(mem, X86_MPTABLE_BASE, a->bytes, a->used);
	free(a);
	return err;
}
