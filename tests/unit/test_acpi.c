/*
 * ACPI and MP tables, read as an operating system reads them: by signature, pointer, length and
 * checksum. Where iasl is installed, every table is also disassembled by it, without a complaint.
 */
#include <check.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "arch/x86/acpi.h"
#include "arch/x86/layout.h"
#include "arch/x86/mptable.h"
#include "tests/unit/bootkit.h"

static struct bootkit kit;

static void setup(void)
{
	bootkit_setup(&kit, MIB(16));
}

static void teardown(void)
{
	bootkit_teardown(&kit);
}

static uint32_t u32(const uint8_t *p)
{
	uint32_t v;
	memcpy(&v, p, sizeof(v));
	return v;
}

static uint64_t u64(const uint8_t *p)
{
	uint64_t v;
	memcpy(&v, p, sizeof(v));
	return v;
}

static unsigned u16(const uint8_t *p)
{
	return p[0] | (unsigned)p[1] << 8;
}

static uint8_t sum(const uint8_t *p, size_t len)
{
	uint8_t s = 0;

	while (len--)
		s = (uint8_t)(s + *p++);
	return s;
}

/* A table whose length and checksum are right. */
static const uint8_t *table_at(gpa_t gpa)
{
	const uint8_t *p = bootkit_at(&kit, gpa, 36);
	uint32_t len = u32(p + 4);

	ck_assert_uint_ge(gpa, X86_ACPI_BASE);
	ck_assert_uint_le(gpa + len, X86_ACPI_END);
	p = bootkit_at(&kit, gpa, len);
	ck_assert_msg(sum(p, len) == 0, "checksum of %.4s", (const char *)p);
	return p;
}

static const uint8_t *rsdp(void)
{
	return bootkit_at(&kit, X86_ACPI_BASE, 36);
}

static const uint8_t *find(const char *signature)
{
	const uint8_t *xsdt = table_at(u64(rsdp() + 24));
	const uint8_t *rsdt = table_at(u32(rsdp() + 16));
	unsigned nr = (u32(xsdt + 4) - 36) / 8;

	ck_assert_uint_eq((u32(rsdt + 4) - 36) / 4, nr);
	for (unsigned i = 0; i < nr; i++) {
		const uint8_t *t = table_at(u64(xsdt + 36 + 8 * i));
		ck_assert_uint_eq(u64(xsdt + 36 + 8 * i), u32(rsdt + 36 + 4 * i));
		if (!memcmp(t, signature, 4))
			return t;
	}
	ck_abort_msg("no %s", signature);
}

static void write_tables(unsigned cpus)
{
	gpa_t at = 0;

	ck_assert_int_eq(acpi_write(&kit.mem, cpus, 3, &at), 0);
	ck_assert_uint_eq(at, X86_ACPI_BASE);
}

START_TEST(root_pointer)
{
	write_tables(1);
	const uint8_t *p = rsdp();
	ck_assert_mem_eq(p, "RSD PTR ", 8);
	ck_assert_uint_eq(sum(p, 20), 0);
	ck_assert_uint_eq(sum(p, 36), 0);
	ck_assert_uint_eq(p[15], 2);
	ck_assert_mem_eq(table_at(u32(p + 16)), "RSDT", 4);
	ck_assert_mem_eq(table_at(u64(p + 24)), "XSDT", 4);
}
END_TEST

START_TEST(fixed_hardware)
{
	write_tables(1);
	const uint8_t *f = find("FACP");
	ck_assert_uint_eq(u32(f + 4), 276);
	ck_assert_uint_eq(u16(f + 46), X86_GSI_SCI);
	ck_assert_uint_eq(u32(f + 48), 0); /* no SMI_CMD: always ACPI mode */
	ck_assert_uint_eq(u32(f + 56), X86_PORT_PM1_EVENT);
	ck_assert_uint_eq(u32(f + 64), X86_PORT_PM1_CTRL);
	ck_assert_uint_eq(u32(f + 76), X86_PORT_PM_TIMER);
	ck_assert_uint_eq(f[88], 4);
	ck_assert_uint_eq(f[89], 2);
	ck_assert_uint_eq(f[91], 4);
	ck_assert_uint_eq(f[108], 0x32);
	ck_assert_uint_eq(u16(f + 109) & 0x22, 0); /* no 8042; a CMOS RTC */
	uint32_t flags = u32(f + 112);
	ck_assert_uint_eq(flags & 1 << 4, 0);	/* power button in PM1 */
	ck_assert_uint_ne(flags & 1 << 5, 0);	/* no sleep button in PM1 */
	ck_assert_uint_eq(flags & 1 << 8, 0);	/* 24-bit timer */
	ck_assert_uint_ne(flags & 1 << 10, 0);	/* reset register */
	ck_assert_uint_eq(flags & 1u << 20, 0); /* not hardware-reduced */
	ck_assert_uint_eq(f[116], 1);		/* in I/O space */
	ck_assert_uint_eq(u64(f + 120), X86_PORT_RESET);
	ck_assert_uint_eq(f[128], X86_RESET_VALUE);
	ck_assert_uint_eq(u64(f + 152), X86_PORT_PM1_EVENT);
	ck_assert_uint_eq(u64(f + 176), X86_PORT_PM1_CTRL);
	ck_assert_uint_eq(u64(f + 212), X86_PORT_PM_TIMER);
}
END_TEST

START_TEST(facs_and_dsdt)
{
	write_tables(1);
	const uint8_t *f = find("FACP");
	gpa_t facs = u32(f + 36);
	ck_assert_uint_eq(facs % 64, 0);
	ck_assert_mem_eq(bootkit_at(&kit, facs, 64), "FACS\x40\0\0\0", 8);
	ck_assert_uint_eq(u32(f + 40), u64(f + 140));
	ck_assert_mem_eq(table_at(u32(f + 40)), "DSDT", 4);
}
END_TEST

START_TEST(processors_and_interrupts)
{
	static const unsigned counts[] = { 1, 2, 64, 254 };

	for (unsigned c = 0; c < ARRAY_SIZE(counts); c++) {
		unsigned cpus = 0, ioapics = 0, overrides = 0;
		write_tables(counts[c]);
		const uint8_t *m = find("APIC");
		ck_assert_uint_eq(u32(m + 36), X86_LAPIC_BASE);
		const uint8_t *end = m + u32(m + 4);
		const uint8_t *p = m + 44;
		for (; p < end; p += p[1]) {
			ck_assert_uint_ge(p[1], 6);
			switch (p[0]) {
			case 0:
				ck_assert_uint_eq(p[3], cpus++);
				ck_assert_uint_eq(u32(p + 4), 1);
				break;
			case 1:
				ioapics++;
				ck_assert_uint_eq(u32(p + 4), X86_IOAPIC_BASE);
				ck_assert_uint_eq(u32(p + 8), 0);
				break;
			case 2:
				overrides++;
				if (p[3] == 0) {
					ck_assert_uint_eq(u32(p + 4), 2);
					ck_assert_uint_eq(u16(p + 8), 0);
				} else {
					ck_assert_uint_eq(p[3], X86_GSI_SCI);
					ck_assert_uint_eq(u32(p + 4), X86_GSI_SCI);
					ck_assert_uint_eq(u16(p + 8), 0xD); /* high, level */
				}
				break;
			}
		}
		ck_assert_ptr_eq(p, end);
		ck_assert_uint_eq(cpus, counts[c]);
		ck_assert_uint_eq(ioapics, 1);
		ck_assert_uint_eq(overrides, 2);
	}
}
END_TEST

START_TEST(pci_configuration)
{
	write_tables(1);
	const uint8_t *m = find("MCFG");
	ck_assert_uint_eq(u32(m + 4), 60);
	ck_assert_uint_eq(u64(m + 44), X86_ECAM_BASE);
	ck_assert_uint_eq(m[54], 0);
	ck_assert_uint_eq(m[55], 0);
}
END_TEST

START_TEST(counts_that_cannot_be)
{
	gpa_t at;

	ck_assert_int_eq(acpi_write(&kit.mem, 0, 3, &at), -EINVAL);
	ck_assert_int_eq(acpi_write(&kit.mem, 255, 3, &at), -ENOSPC);
	ck_assert_int_eq(acpi_write(&kit.mem, UINT32_MAX, 3, &at), -ENOSPC);
	ck_assert_int_eq(acpi_write(&kit.mem, 1, ARCH_MAX_VIRTIO_MMIO + 1, &at), -ENOSPC);
	ck_assert_int_eq(mptable_write(&kit.mem, 0), -EINVAL);
	ck_assert_int_eq(mptable_write(&kit.mem, 255), -ENOSPC);
}
END_TEST

START_TEST(nowhere_to_write)
{
	struct gmem_layout tiny = { .base = 0, .size_bytes = KIB(64) };
	gpa_t at;

	gmem_destroy(&kit.mem);
	ck_assert_int_eq(gmem_create(&kit.mem, "test", &tiny, 1, 0), 0);
	ck_assert_int_eq(acpi_write(&kit.mem, 1, 3, &at), -EFAULT);
	ck_assert_int_eq(mptable_write(&kit.mem, 1), -EFAULT);
}
END_TEST

static void disassemble(const uint8_t *table, const char *name)
{
	char path[80], command[400];

	snprintf(path, sizeof(path), "%s/%s.dat", kit.dir, name);
	FILE *f = fopen(path, "w");
	ck_assert_ptr_nonnull(f);
	ck_assert_uint_eq(fwrite(table, 1, u32(table + 4), f), u32(table + 4));
	fclose(f);
	/* iasl's exit status does not tell: its words do. */
	snprintf(command, sizeof(command),
		 "cd %s && iasl -d %s.dat >log 2>&1 && test -s %s.dsl && "
		 "! grep -iE 'warning|error|could not|invalid' log && "
		 "! grep -iE 'warning|error|unknown|invalid' %s.dsl; rc=$?; "
		 "rm -f log %s.dat %s.dsl; exit $rc",
		 kit.dir, name, name, name, name, name);
	ck_assert_msg(system(command) == 0, "iasl does not like %s", name);
}

START_TEST(iasl_reads_every_table)
{
	if (system("command -v iasl >/dev/null 2>&1") != 0) {
		fprintf(stderr, "skipped: iasl (package acpica-tools) is not installed\n");
		return;
	}
	write_tables(64);
	const uint8_t *f = find("FACP");
	disassemble(f, "facp");
	disassemble(find("APIC"), "apic");
	disassemble(find("MCFG"), "mcfg");
	disassemble(table_at(u32(f + 40)), "dsdt");
	disassemble(table_at(u32(rsdp() + 16)), "rsdt");
	disassemble(table_at(u64(rsdp() + 24)), "xsdt");
}
END_TEST

START_TEST(slots_in_use_are_counted_where_the_dsdt_reads)
{
	gpa_t at;

	write_tables(1);
	ck_assert_uint_eq(u32(bootkit_at(&kit, X86_ACPI_NR_VIRTIO, 4)), 3);
	ck_assert_int_eq(acpi_write(&kit.mem, 1, ARCH_MAX_VIRTIO_MMIO, &at), 0);
	ck_assert_uint_eq(u32(bootkit_at(&kit, X86_ACPI_NR_VIRTIO, 4)), ARCH_MAX_VIRTIO_MMIO);
	/* OperationRegion (VARS, SystemMemory, X86_ACPI_NR_VIRTIO, 4) */
	const uint8_t region[] = { 0x5B, 0x80, 'V',  'A',  'R',	 'S',  0x00,
				   0x0C, 0xFC, 0xFF, 0x0E, 0x00, 0x0A, 0x04 };
	const uint8_t *d = table_at(u32(find("FACP") + 40));
	ck_assert_ptr_nonnull(memmem(d, u32(d + 4), region, sizeof(region)));
}
END_TEST

/* The AML holds what layout.c says: addresses and lines of all virtio-mmio slots. */
START_TEST(dsdt_agrees_with_the_layout)
{
	write_tables(1);
	const uint8_t *d = table_at(u32(find("FACP") + 40));
	uint32_t len = u32(d + 4);

	for (unsigned slot = 0; slot < ARCH_MAX_VIRTIO_MMIO; slot++) {
		/* Memory32Fixed, read-write, and the extended interrupt that follows it: consumer,
		 * edge, active high, exclusive, one line. */
		uint8_t crs[] = { 0x86, 9,    0, 1, 0, 0, 0, 0, 0, 2, 0,
				  0,	0x89, 6, 0, 3, 1, 0, 0, 0, 0 };
		gpa_t base;
		unsigned gsi;
		arch_virtio_mmio_slot(slot, &base, &gsi);
		uint32_t base32 = (uint32_t)base, gsi32 = gsi;
		memcpy(crs + 4, &base32, 4);
		memcpy(crs + 17, &gsi32, 4);
		ck_assert_msg(memmem(d, len, crs, sizeof(crs)) != NULL, "slot %u", slot);
	}
}
END_TEST

START_TEST(mp_table)
{
	static const unsigned counts[] = { 1, 4, 254 };

	for (unsigned c = 0; c < ARRAY_SIZE(counts); c++) {
		unsigned kinds[5] = { 0 }, cpus = counts[c];
		ck_assert_int_eq(mptable_write(&kit.mem, cpus), 0);
		const uint8_t *f = bootkit_at(&kit, X86_MPTABLE_BASE, 16);
		ck_assert_mem_eq(f, "_MP_", 4);
		ck_assert_uint_eq(sum(f, 16), 0);
		const uint8_t *t = bootkit_at(&kit, u32(f + 4), 44);
		ck_assert_mem_eq(t, "PCMP", 4);
		unsigned len = u16(t + 4);
		t = bootkit_at(&kit, u32(f + 4), len);
		ck_assert_uint_eq(sum(t, len), 0);
		ck_assert_uint_eq(u32(t + 36), X86_LAPIC_BASE);
		const uint8_t *p = t + 44;
		unsigned nr = 0;
		for (; p < t + len; nr++) {
			ck_assert_uint_le(p[0], 4);
			kinds[p[0]]++;
			if (p[0] == 0)
				ck_assert_uint_eq(p[3], p[1] == 0 ? 3 : 1);
			if (p[0] == 2)
				ck_assert_uint_eq(p[1], cpus);
			if (p[0] == 3 && p[4] == 0) /* PCI */
				ck_assert_uint_eq(p[7], 16 + (p[5] >> 2) % 8);
			if (p[0] == 3 && p[4] == 1 && p[5] == X86_GSI_SCI)
				ck_assert_uint_eq(u16(p + 2), 0xD);
			p += p[0] == 0 ? 20 : 8;
		}
		ck_assert_ptr_eq(p, t + len);
		ck_assert_uint_eq(nr, u16(t + 34));
		ck_assert_uint_eq(kinds[0], cpus);
		ck_assert_uint_eq(kinds[1], 2);
		ck_assert_uint_eq(kinds[2], 1);
		ck_assert_uint_eq(kinds[3], 15 + 31);
		ck_assert_uint_eq(kinds[4], 2);
	}
}
END_TEST

int main(void)
{
	Suite *s = suite_create("acpi");
	TCase *t = tcase_create("tables");

	tcase_add_checked_fixture(t, setup, teardown);
	tcase_set_timeout(t, 30);
	tcase_add_test(t, root_pointer);
	tcase_add_test(t, fixed_hardware);
	tcase_add_test(t, facs_and_dsdt);
	tcase_add_test(t, processors_and_interrupts);
	tcase_add_test(t, pci_configuration);
	tcase_add_test(t, counts_that_cannot_be);
	tcase_add_test(t, nowhere_to_write);
	tcase_add_test(t, iasl_reads_every_table);
	tcase_add_test(t, dsdt_agrees_with_the_layout);
	tcase_add_test(t, slots_in_use_are_counted_where_the_dsdt_reads);
	tcase_add_test(t, mp_table);
	suite_add_tcase(s, t);
	SRunner *r = srunner_create(s);
	srunner_run_all(r, CK_ENV);
	int failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? 1 : 0;
}
