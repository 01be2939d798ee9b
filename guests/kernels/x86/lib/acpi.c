/* The ACPI tables; see acpi.h. Source: ACPI 6.4, chapter 5. */
#include "lib/acpi.h"

struct rsdp {
	char signature[8];
	uint8_t checksum;
	char oem_id[6];
	uint8_t revision;
	uint32_t rsdt;
	uint32_t length;
	uint64_t xsdt;
} __attribute__((packed));

struct madt_entry {
	uint8_t type, length;
	union {
		struct {
			uint8_t acpi_id, apic_id;
			uint32_t flags;
		} __attribute__((packed)) lapic;
		struct {
			uint8_t bus, irq;
			uint32_t gsi;
			uint16_t flags;
		} __attribute__((packed)) override;
	};
} __attribute__((packed));

#define MADT_ENTRIES 44

static bool sum_ok(const void *table, size_t n)
{
	const uint8_t *p = table;
	uint8_t sum = 0;

	while (n--)
		sum += *p++;
	return sum == 0;
}

static const struct acpi_header *table_at(uint64_t gpa)
{
	return (const struct acpi_header *)(uintptr_t)gpa;
}

const struct acpi_header *acpi_find(const char signature[4])
{
	const struct rsdp *rsdp = (const struct rsdp *)(uintptr_t)boot_info()->rsdp;
	const struct acpi_header *root, *t;
	unsigned width;

	CHECK(rsdp, "start info names no RSDP");
	CHECK(!memcmp(rsdp->signature, "RSD PTR ", 8) && sum_ok(rsdp, 20), "RSDP is damaged");
	width = rsdp->revision >= 2 && rsdp->xsdt ? 8 : 4;
	root = table_at(width == 8 ? rsdp->xsdt : rsdp->rsdt);
	CHECK(sum_ok(root, root->length), "root table is damaged");
	for (size_t i = sizeof(*root); i + width <= root->length; i += width) {
		const uint8_t *p = (const uint8_t *)root + i;

		t = table_at(width == 8 ? *(const uint64_t *)p : *(const uint32_t *)p);
		if (memcmp(t->signature, signature, 4))
			continue;
		CHECK(sum_ok(t, t->length), "table %c%c%c%c is damaged", signature[0], signature[1],
		      signature[2], signature[3]);
		return t;
	}
	return NULL;
}

static const struct madt_entry *madt_next(const struct acpi_header *madt, size_t *at)
{
	const struct madt_entry *e = (const void *)((const uint8_t *)madt + *at);

	if (*at + 2 > madt->length || !e->length)
		return NULL;
	*at += e->length;
	return e;
}

unsigned acpi_cpus(uint8_t *apic_id, unsigned max)
{
	const struct acpi_header *madt = acpi_find("APIC");
	const struct madt_entry *e;
	size_t at = MADT_ENTRIES;
	unsigned n = 0;

	CHECK(madt, "no MADT");
	while ((e = madt_next(madt, &at))) {
		if (e->type != 0 || !(e->lapic.flags & 1))
			continue;
		if (n < max)
			apic_id[n] = e->lapic.apic_id;
		n++;
	}
	return n;
}

unsigned acpi_isa_gsi(unsigned irq)
{
	const struct acpi_header *madt = acpi_find("APIC");
	const struct madt_entry *e;
	size_t at = MADT_ENTRIES;

	CHECK(madt, "no MADT");
	while ((e = madt_next(madt, &at))) {
		if (e->type == 2 && e->override.irq == irq)
			return e->override.gsi;
	}
	return irq;
}

unsigned acpi_sci(void)
{
	const struct acpi_header *fadt = acpi_find("FACP");

	CHECK(fadt, "no FADT");
	return *(const uint16_t *)((const uint8_t *)fadt + 46);
}
