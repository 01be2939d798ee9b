/* The ACPI tables, as far as a tiny guest needs them. */
#ifndef LIB_ACPI_H
#define LIB_ACPI_H

#include "lib/guest.h"

struct acpi_header {
	char signature[4];
	uint32_t length;
	uint8_t revision, checksum;
	char oem_id[6], oem_table_id[8];
	uint32_t oem_revision, creator_id, creator_revision;
} __attribute__((packed));

/* The table with this signature, its checksum verified; NULL if there is none. A damaged table ends
 * the guest with FAIL. */
const struct acpi_header *acpi_find(const char signature[4]);

/* APIC ids of the usable CPUs in the MADT; returns how many there are. */
unsigned acpi_cpus(uint8_t *apic_id, unsigned max);
/* The GSI that an ISA interrupt is wired to (MADT overrides). */
unsigned acpi_isa_gsi(unsigned irq);
/* From the FADT: the SCI's GSI. */
unsigned acpi_sci(void);

#endif
