/* Exceptions and GICv3; see intr.h. Source: Arm GIC Architecture Specification, GICv3, IHI 0069. */
#include "lib/intr.h"

#define NR_VECTORS 48
#define NR_INTIDS  64 /* SGIs, PPIs, 32 SPIs */
#define NR_LPIS	   64
#define NO_VECTOR  0xff

#define KIND_SYNC 4
#define KIND_IRQ  5

#define GICD_CTLR	0x0000
#define GICD_IGROUPR	0x0080
#define GICD_ISENABLER	0x0100
#define GICD_ICENABLER	0x0180
#define GICD_IPRIORITYR 0x0400
#define GICD_ICFGR	0x0c00
#define GICD_IROUTER	0x6000
#define GICD_ENABLE	(1u << 1 | 1u << 4) /* group 1, affinity routing */
#define GICD_RWP	(1u << 31)

#define GICR_WAKER     0x0014
#define GICR_SGI       0x10000 /* the frame with the private interrupts' registers */
#define WAKER_SLEEP    (1u << 1)
#define WAKER_CHILDREN (1u << 2)

#define ICC_SRE	    "S3_0_C12_C12_5"
#define ICC_PMR	    "S3_0_C4_C6_0"
#define ICC_IGRPEN1 "S3_0_C12_C12_7"
#define ICC_IAR1    "S3_0_C12_C12_0"
#define ICC_EOIR1   "S3_0_C12_C12_1"
#define ICC_SGI1R   "S3_0_C12_C11_5"

extern const char isr_vectors[];
void intr_dispatch(uint64_t kind, struct trap_frame *f);

static struct {
	intr_handler handler;
	void *arg;
} handlers[NR_VECTORS];
static unsigned next_vector = 1;
static uint8_t vector_of[NR_INTIDS], lpi_vector[NR_LPIS]; /* 0: none */
static bool (*trap_hook)(struct trap_frame *f);

static uintptr_t redistributor(void)
{
	return GICR_BASE + (uintptr_t)cpu_id() * GICR_STEP;
}

unsigned cpu_id(void)
{
	uint64_t mpidr = read_sysreg("mpidr_el1");

	return (unsigned)((mpidr & 15) | (mpidr >> 4 & 0xf0));
}

void intr_send(unsigned cpu, unsigned vector)
{
	CHECK(vector < 16, "vector %u cannot be sent", vector);
	__asm__ volatile("dsb ish" : : : "memory");
	write_sysreg(ICC_SGI1R,
		     1ull << (cpu & 15) | (uint64_t)(cpu >> 4) << 16 | (uint64_t)vector << 24);
}

void intr_route(unsigned gsi, unsigned vector, bool level, unsigned cpu)
{
	unsigned intid = INTID_SPI + gsi, word = intid / 32 * 4, bit = intid % 32;
	uintptr_t config = GICD_BASE + GICD_ICFGR + intid / 16 * 4;
	uint32_t edge = 2u << intid % 16 * 2;

	CHECK(intid < NR_INTIDS, "no SPI %u", gsi);
	intr_mask(gsi);
	vector_of[intid] = (uint8_t)vector;
	mmio_write32(GICD_BASE + GICD_IGROUPR + word,
		     mmio_read32(GICD_BASE + GICD_IGROUPR + word) | 1u << bit);
	mmio_write32(config, (mmio_read32(config) & ~edge) | (level ? 0 : edge));
	mmio_write8(GICD_BASE + GICD_IPRIORITYR + intid, 0x80);
	mmio_write64(GICD_BASE + GICD_IROUTER + 8 * intid, (cpu & 15) | (uint64_t)(cpu >> 4) << 8);
	mmio_write32(GICD_BASE + GICD_ISENABLER + word, 1u << bit);
}

void intr_mask(unsigned gsi)
{
	unsigned intid = INTID_SPI + gsi;

	mmio_write32(GICD_BASE + GICD_ICENABLER + intid / 32 * 4, 1u << intid % 32);
	while (mmio_read32(GICD_BASE + GICD_CTLR) & GICD_RWP)
		cpu_pause();
}

void intr_route_private(unsigned intid, unsigned vector)
{
	vector_of[intid] = (uint8_t)vector;
	mmio_write32(redistributor() + GICR_SGI + GICD_ISENABLER, 1u << intid);
}

void intr_map_lpi(unsigned lpi, unsigned vector)
{
	CHECK(lpi - INTID_LPI < NR_LPIS, "no LPI %u", lpi);
	lpi_vector[lpi - INTID_LPI] = (uint8_t)vector;
}

void intr_init_ap(void)
{
	uintptr_t r = redistributor();

	write_sysreg("vbar_el1", (uintptr_t)isr_vectors);
	mmio_write32(r + GICR_WAKER, mmio_read32(r + GICR_WAKER) & ~WAKER_SLEEP);
	while (mmio_read32(r + GICR_WAKER) & WAKER_CHILDREN)
		cpu_pause();
	mmio_write32(r + GICR_SGI + GICD_IGROUPR, 0xffffffff);
	for (unsigned i = 0; i < 32; i += 4)
		mmio_write32(r + GICR_SGI + GICD_IPRIORITYR + i, 0x80808080);
	mmio_write32(r + GICR_SGI + GICD_ISENABLER, 0xffff); /* SGIs */
	write_sysreg(ICC_SRE, read_sysreg(ICC_SRE) | 1);
	write_sysreg(ICC_PMR, 0xff);
	write_sysreg(ICC_IGRPEN1, 1);
}

void intr_init(void)
{
	mmio_write32(GICD_BASE + GICD_CTLR, GICD_ENABLE);
	intr_init_ap();
}

unsigned intr_alloc(intr_handler handler, void *arg)
{
	unsigned v = next_vector++;

	CHECK(v < NR_VECTORS, "out of interrupt vectors");
	handlers[v].handler = handler;
	handlers[v].arg = arg;
	return v;
}

void intr_set_trap_hook(bool (*hook)(struct trap_frame *f))
{
	trap_hook = hook;
}

static void take_interrupt(void)
{
	uint64_t intid = read_sysreg(ICC_IAR1);
	unsigned v = 0;

	if (intid < 16)
		v = (unsigned)intid;
	else if (intid < NR_INTIDS)
		v = vector_of[intid];
	else if (intid - INTID_LPI < NR_LPIS)
		v = lpi_vector[intid - INTID_LPI];
	else if (intid >= 1020 && intid < 1024)
		return; /* spurious */
	if (v < NR_VECTORS && handlers[v].handler)
		handlers[v].handler(handlers[v].arg);
	__asm__ volatile("dsb sy" : : : "memory"); /* the source is quiet */
	write_sysreg(ICC_EOIR1, intid);
}

void intr_dispatch(uint64_t kind, struct trap_frame *f)
{
	if (kind == KIND_IRQ) {
		take_interrupt();
		return;
	}
	if (kind == KIND_SYNC && trap_hook && trap_hook(f))
		return;
	fail("exception %lu, esr 0x%lx at 0x%lx, far 0x%lx, lr 0x%lx", (unsigned long)kind,
	     (unsigned long)f->esr, (unsigned long)f->elr, (unsigned long)read_sysreg("far_el1"),
	     (unsigned long)f->x[30]);
}
