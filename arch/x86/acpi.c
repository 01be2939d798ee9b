/*
 * ACPI tables: RSDP, RSDT and XSDT, FADT, FACS, DSDT, MADT, MCFG. Source: ACPI Specification 6.3,
 * chapter 5; PCI Firmware Specification 3.2 for MCFG. Runs on the thread that creates the machine;
 * tables are built in private memory and then copied as one.
 *
 * The FADT promises what arch/x86's devices must keep: fixed power button, PM1 event and control
 * blocks, a 24-bit PM timer, reset by writing X86_RESET_VALUE to X86_PORT_RESET. There is no
 * SMI_CMD, so the machine is always in ACPI mode and SCI_EN always reads as 1.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "arch/arch.h"
#include "arch/x86/acpi.h"
#include "arch/x86/layout.h"
#include "dsdt.h" /* made by iasl from dsdt.asl: dsdt_aml_code[] */

#define OEM_ID	   "XVMM  "
#define OEM_TABLE  "XVMMGUES"
#define CREATOR	   "XVMM"
#define FACS_ALIGN 64

struct sdt_header {
	char signature[4];
	uint32_t length;
	uint8_t revision, checksum;
	char oem_id[6], oem_table_id[8];
	uint32_t oem_revision;
	char creator[4];
	uint32_t creator_revision;
} __attribute__((packed));

struct rsdp {
	char signature[8];
	uint8_t checksum; /* of the first 20 bytes */
	char oem_id[6];
	uint8_t revision;
	uint32_t rsdt;
	uint32_t length;
	uint64_t xsdt;
	uint8_t extended_checksum, reserved[3];
} __attribute__((packed));
#define RSDP_V1_BYTES 20

enum gas_space { GAS_SYSTEM_IO = 1 };
enum gas_access { GAS_BYTE = 1, GAS_WORD = 2, GAS_DWORD = 3 };
struct gas {
	uint8_t space, bits, bit_offset, access;
	uint64_t address;
} __attribute__((packed));

enum fadt_flags {
	FADT_WBINVD = 1 << 0,
	FADT_PROC_C1 = 1 << 2,
	FADT_SLP_BUTTON =
		1 << 5,	       /* none in the fixed registers; bit 4 clear: the power button is */
	FADT_FIX_RTC = 1 << 6, /* the RTC wakes nobody */
	FADT_RESET_REG = 1 << 10,
};
enum fadt_boot_arch {
	BOOT_LEGACY_DEVICES = 1 << 0, /* COM1; bit 1 clear: no keyboard controller */
	BOOT_NO_VGA = 1 << 2,
	BOOT_NO_ASPM = 1 << 4,
};
#define FADT_ENTERPRISE_SERVER 4
#define RTC_CENTURY	       0x32

struct fadt {
	struct sdt_header h;
	uint32_t facs, dsdt;
	uint8_t reserved0, profile;
	uint16_t sci_int;
	uint32_t smi_cmd;
	uint8_t acpi_enable, acpi_disable, s4bios_req, pstate_cnt;
	uint32_t pm1a_evt, pm1b_evt, pm1a_cnt, pm1b_cnt, pm2_cnt, pm_tmr, gpe0, gpe1;
	uint8_t pm1_evt_len, pm1_cnt_len, pm2_cnt_len, pm_tmr_len, gpe0_len, gpe1_len, gpe1_base;
	uint8_t cst_cnt;
	uint16_t p_lvl2_lat, p_lvl3_lat, flush_size, flush_stride;
	uint8_t duty_offset, duty_width, day_alarm, month_alarm, century;
	uint16_t boot_arch;
	uint8_t reserved1;
	uint32_t flags;
	struct gas reset_reg;
	uint8_t reset_value;
	uint16_t arm_boot_arch;
	uint8_t minor_revision;
	uint64_t x_facs, x_dsdt;
	struct gas x_pm1a_evt, x_pm1b_evt, x_pm1a_cnt, x_pm1b_cnt, x_pm2_cnt, x_pm_tmr, x_gpe0,
		x_gpe1, sleep_control, sleep_status;
	uint64_t hypervisor;
} __attribute__((packed));
_Static_assert(sizeof(struct fadt) == 276, "FADT of ACPI 6.3");

struct facs {
	char signature[4];
	uint32_t length, hardware_signature, waking_vector, global_lock, flags;
	uint64_t x_waking_vector;
	uint8_t version, reserved[31];
} __attribute__((packed));
_Static_assert(sizeof(struct facs) == 64, "FACS of ACPI 6.3");

struct madt {
	struct sdt_header h;
	uint32_t lapic_base;
	uint32_t flags; /* bit 0: there is a dual 8259 as well */
} __attribute__((packed));
struct madt_lapic {
	uint8_t type, length, processor, apic_id;
	uint32_t flags; /* bit 0: enabled */
} __attribute__((packed));
struct madt_ioapic {
	uint8_t type, length, id, reserved;
	uint32_t base, gsi_base;
} __attribute__((packed));
struct madt_override {
	uint8_t type, length, bus, source;
	uint32_t gsi;
	uint16_t flags;
} __attribute__((packed));
struct madt_lapic_nmi {
	uint8_t type, length, processor;
	uint16_t flags;
	uint8_t lint;
} __attribute__((packed));
#define ACTIVE_HIGH_LEVEL 0x000D

struct mcfg {
	struct sdt_header h;
	uint64_t reserved0;
	uint64_t base;
	uint16_t segment;
	uint8_t first_bus, last_bus;
	uint32_t reserved1;
} __attribute__((packed));

/* The area under construction. */
struct area {
	uint8_t bytes[X86_ACPI_NR_VIRTIO - X86_ACPI_BASE];
	uint32_t used;
	bool full;
};

static uint8_t checksum(const void *data, size_t len)
{
	const uint8_t *p = data;
	uint8_t sum = 0;

	for (size_t i = 0; i < len; i++)
		sum = (uint8_t)(sum + p[i]);
	return (uint8_t)-sum;
}

/* Appends and returns the offset in the area. */
static uint32_t append(struct area *a, const void *data, size_t len, unsigned align)
{
	uint32_t at = (uint32_t)ALIGN_UP(a->used, align);

	if (at > sizeof(a->bytes) || len > sizeof(a->bytes) - at) {
		a->full = true;
		return 0;
	}
	memcpy(a->bytes + at, data, len);
	a->used = at + (uint32_t)len;
	return at;
}

static gpa_t gpa_of(uint32_t offset)
{
	return X86_ACPI_BASE + offset;
}

static struct sdt_header header(const char *signature, uint8_t revision)
{
	struct sdt_header h = { .revision = revision, .oem_revision = 1, .creator_revision = 1 };

	memcpy(h.signature, signature, sizeof(h.signature));
	memcpy(h.oem_id, OEM_ID, sizeof(h.oem_id));
	memcpy(h.oem_table_id, OEM_TABLE, sizeof(h.oem_table_id));
	memcpy(h.creator, CREATOR, sizeof(h.creator));
	return h;
}

/* Gives the table that reaches from `at` to the end of the area its length and checksum. */
static void seal(struct area *a, uint32_t at)
{
	if (a->full)
		return;
	struct sdt_header *h = (struct sdt_header *)(a->bytes + at);
	h->length = a->used - at;
	h->checksum = 0;
	h->checksum = checksum(h, h->length);
}

static struct gas io(uint16_t port, uint8_t bits, enum gas_access access)
{
	return (struct gas){
		.space = GAS_SYSTEM_IO, .bits = bits, .access = (uint8_t)access, .address = port
	};
}

static uint32_t add_facs(struct area *a)
{
	struct facs f = { .signature = { 'F', 'A', 'C', 'S' }, .length = sizeof(f), .version = 2 };

	return append(a, &f, sizeof(f), FACS_ALIGN);
}

static uint32_t add_fadt(struct area *a, gpa_t facs, gpa_t dsdt)
{
	struct fadt f = {
		.h = header("FACP", 6),
		.facs = (uint32_t)facs,
		.dsdt = (uint32_t)dsdt,
		.profile = FADT_ENTERPRISE_SERVER,
		.sci_int = X86_GSI_SCI,
		.pm1a_evt = X86_PORT_PM1_EVENT,
		.pm1a_cnt = X86_PORT_PM1_CTRL,
		.pm_tmr = X86_PORT_PM_TIMER,
		.pm1_evt_len = 4,
		.pm1_cnt_len = 2,
		.pm_tmr_len = 4,
		.p_lvl2_lat = 0xFFFF, /* no C2, no C3 */
		.p_lvl3_lat = 0xFFFF,
		.century = RTC_CENTURY,
		.boot_arch = BOOT_LEGACY_DEVICES | BOOT_NO_VGA | BOOT_NO_ASPM,
		.flags = FADT_WBINVD | FADT_PROC_C1 | FADT_SLP_BUTTON | FADT_FIX_RTC |
			 FADT_RESET_REG,
		.reset_reg = io(X86_PORT_RESET, 8, GAS_BYTE),
		.reset_value = X86_RESET_VALUE,
		.minor_revision = 3,
		/* Either the 32-bit or the 64-bit FACS address, not both. */
		.x_dsdt = dsdt,
		.x_pm1a_evt = io(X86_PORT_PM1_EVENT, 32, GAS_WORD),
		.x_pm1a_cnt = io(X86_PORT_PM1_CTRL, 16, GAS_WORD),
		.x_pm_tmr = io(X86_PORT_PM_TIMER, 32, GAS_DWORD),
	};
	uint32_t at = append(a, &f, sizeof(f), 8);

	seal(a, at);
	return at;
}

static uint32_t add_madt(struct area *a, unsigned cpus)
{
	struct madt m = { .h = header("APIC", 4), .lapic_base = X86_LAPIC_BASE, .flags = 1 };
	struct madt_ioapic ioapic = { 1, sizeof(ioapic), (uint8_t)cpus, 0, X86_IOAPIC_BASE, 0 };
	struct madt_override timer = { 2, sizeof(timer), 0, 0, X86_GSI_TIMER_PIN, 0 };
	struct madt_override sci = {
		2, sizeof(sci), 0, X86_GSI_SCI, X86_GSI_SCI, ACTIVE_HIGH_LEVEL
	};
	struct madt_lapic_nmi nmi = { 4, sizeof(nmi), 0xFF, 0, 1 };
	uint32_t at = append(a, &m, sizeof(m), 8);

	for (unsigned i = 0; i < cpus; i++) {
		struct madt_lapic lapic = { 0, sizeof(lapic), (uint8_t)i, (uint8_t)i, 1 };
		append(a, &lapic, sizeof(lapic), 1);
	}
	append(a, &ioapic, sizeof(ioapic), 1);
	append(a, &timer, sizeof(timer), 1);
	append(a, &sci, sizeof(sci), 1);
	append(a, &nmi, sizeof(nmi), 1);
	seal(a, at);
	return at;
}

static uint32_t add_mcfg(struct area *a)
{
	struct mcfg m = {
		.h = header("MCFG", 1),
		.base = X86_ECAM_BASE,
		.last_bus = (X86_ECAM_BYTES >> 20) - 1,
	};
	uint32_t at = append(a, &m, sizeof(m), 8);

	seal(a, at);
	return at;
}

/* RSDT (entry_bytes 4) or XSDT (8). */
static uint32_t add_root(struct area *a, const char *signature, unsigned entry_bytes,
			 const gpa_t *table, unsigned nr)
{
	struct sdt_header h = header(signature, 1);
	uint32_t at = append(a, &h, sizeof(h), 8);

	for (unsigned i = 0; i < nr; i++)
		append(a, &table[i], entry_bytes, 1);
	seal(a, at);
	return at;
}

static void put_rsdp(struct area *a, gpa_t rsdt, gpa_t xsdt)
{
	struct rsdp r = {
		.signature = { 'R', 'S', 'D', ' ', 'P', 'T', 'R', ' ' },
		.revision = 2,
		.rsdt = (uint32_t)rsdt,
		.length = sizeof(r),
		.xsdt = xsdt,
	};

	memcpy(r.oem_id, OEM_ID, sizeof(r.oem_id));
	r.checksum = checksum(&r, RSDP_V1_BYTES);
	r.extended_checksum = checksum(&r, sizeof(r));
	memcpy(a->bytes, &r, sizeof(r));
}

static void build(struct area *a, unsigned cpus)
{
	gpa_t table[3];

	a->used = sizeof(struct rsdp); /* comes first, filled in last */
	gpa_t facs = gpa_of(add_facs(a));
	gpa_t dsdt = gpa_of(append(a, dsdt_aml_code, sizeof(dsdt_aml_code), 8));
	table[0] = gpa_of(add_fadt(a, facs, dsdt));
	table[1] = gpa_of(add_madt(a, cpus));
	table[2] = gpa_of(add_mcfg(a));
	gpa_t rsdt = gpa_of(add_root(a, "RSDT", 4, table, ARRAY_SIZE(table)));
	gpa_t xsdt = gpa_of(add_root(a, "XSDT", 8, table, ARRAY_SIZE(table)));
	put_rsdp(a, rsdt, xsdt);
}

int acpi_write(const struct gmem *mem, unsigned cpus, unsigned nr_virtio_mmio, gpa_t *rsdp)
{
	if (cpus == 0)
		return -EINVAL;
	/* 8-bit APIC ids; the IOAPIC takes one, 255 is broadcast. */
	if (cpus >= 255 || nr_virtio_mmio > ARCH_MAX_VIRTIO_MMIO)
		return -ENOSPC;

	struct area *a = calloc(1, sizeof(*a));
	if (!a)
		return -ENOMEM;
	build(a, cpus);
	int err = a->full ? -ENOSPC : gmem_write(mem, X86_ACPI_BASE, a->bytes, a->used);
	free(a);
	if (!err)
		err = gmem_write(mem, X86_ACPI_NR_VIRTIO, &(uint32_t){ nr_virtio_mmio }, 4);
	if (!err)
		*rsdp = X86_ACPI_BASE;
	return err;
}
