/*
 * ACPI fixed hardware: see pm.h. The addresses are those that the FADT names (acpi.c, layout.h).
 */
#include "arch/x86/pm.h"

#include <time.h>

#include "arch/x86/layout.h"

#define PM1_RTC	   (1u << 10)
#define PM1_PWRBTN (1u << 8)
#define PM1_GBL	   (1u << 5)
#define PM1_TMR	   (1u << 0)
/* What the driver enables reads back as enabled, or it complains; of the events only the power
 * button ever comes. The FADT says that the RTC wakes nobody (FIX_RTC), but Linux enables its event
 * without looking. */
#define PM1_ENABLE_BITS	      (PM1_RTC | PM1_PWRBTN | PM1_GBL | PM1_TMR)
#define CONTROL_SCI_EN	      (1u << 0)
#define CONTROL_SLP_TYP_SHIFT 10
#define CONTROL_SLP_EN	      (1u << 13)
#define CONTROL_GBL_RLS	      (1u << 2) /* write-only, as SLP_EN is */

#define PM_TIMER_HZ   3579545ull
#define PM_TIMER_MASK 0xffffffu

#define KBD_COMMAND_RESET 0xfe
#define KBD_INPUT_FULL	  0x02u
#define PORT92_RESET	  1u
#define RESET_CPU	  (1u << 2)

/* Under the lock. */
static void update_sci(struct pm *pm)
{
	bool level = pm->status & pm->enable & PM1_ENABLE_BITS;

	if (level == pm->sci_level)
		return;
	pm->sci_level = level;
	pm->plat->ops->line_set(pm->plat, X86_GSI_SCI, level);
}

/* A register of 16 bits seen through an access of 1 to 4 bytes at `offset` into a block. */
static uint64_t block_read(uint64_t block, uint64_t offset)
{
	return block >> (8 * offset);
}

static uint64_t event_read(struct bus_region *r, uint64_t offset, unsigned size)
{
	struct pm *pm = r->opaque;
	uint64_t block;

	pthread_mutex_lock(&pm->lock);
	block = pm->status | (uint64_t)pm->enable << 16;
	pthread_mutex_unlock(&pm->lock);
	return block_read(block, offset);
}

static void event_write(struct bus_region *r, uint64_t offset, uint64_t value, unsigned size)
{
	struct pm *pm = r->opaque;
	uint64_t mask = (size == 8 ? ~0ull : (1ull << 8 * size) - 1) << 8 * offset;
	uint64_t bits = value << 8 * offset & mask;

	pthread_mutex_lock(&pm->lock);
	/* Status bits are cleared by writing 1. */
	pm->status &= (uint16_t)~bits;
	pm->enable = (uint16_t)((pm->enable & ~(mask >> 16)) | (bits >> 16)) & PM1_ENABLE_BITS;
	update_sci(pm);
	pthread_mutex_unlock(&pm->lock);
}

static uint64_t control_read(struct bus_region *r, uint64_t offset, unsigned size)
{
	struct pm *pm = r->opaque;
	uint64_t block;

	pthread_mutex_lock(&pm->lock);
	block = pm->control | CONTROL_SCI_EN; /* always in ACPI mode: there is no SMI command */
	pthread_mutex_unlock(&pm->lock);
	return block_read(block, offset);
}

static void control_write(struct bus_region *r, uint64_t offset, uint64_t value, unsigned size)
{
	struct pm *pm = r->opaque;
	uint16_t mask = size == 1 ? (uint16_t)(0xff << 8 * offset) : 0xffff;
	uint16_t bits = (uint16_t)(value << 8 * offset) & mask;
	bool sleep = bits & CONTROL_SLP_EN;
	unsigned type;

	pthread_mutex_lock(&pm->lock);
	pm->control = (uint16_t)((pm->control & ~mask) | bits) &
		      (uint16_t) ~(CONTROL_SLP_EN | CONTROL_GBL_RLS);
	type = pm->control >> CONTROL_SLP_TYP_SHIFT & 7;
	pthread_mutex_unlock(&pm->lock);
	if (sleep && type == X86_S5_SLP_TYP)
		pm->event(pm->arg, MACHINE_POWEROFF, 0);
}

static uint64_t timer_read(struct bus_region *r, uint64_t offset, unsigned size)
{
	struct timespec ts;
	uint64_t ticks;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	ticks = (uint64_t)ts.tv_sec * PM_TIMER_HZ +
		(uint64_t)ts.tv_nsec * PM_TIMER_HZ / 1000000000ull;
	return block_read(ticks & PM_TIMER_MASK, offset);
}

static void reset_if(struct pm *pm, bool reset)
{
	if (reset)
		pm->event(pm->arg, MACHINE_RESET, 0);
}

/* All ones is how drivers notice that there is no keyboard controller; but for "input buffer full",
 * which small kernels wait to see clear before they pull the reset line. */
static uint64_t kbd_read(struct bus_region *r, uint64_t offset, unsigned size)
{
	return 0xff & ~KBD_INPUT_FULL;
}

static void kbd_write(struct bus_region *r, uint64_t offset, uint64_t value, unsigned size)
{
	reset_if(r->opaque, (value & 0xff) == KBD_COMMAND_RESET);
}

static uint64_t port92_read(struct bus_region *r, uint64_t offset, unsigned size)
{
	return 2; /* the A20 gate is open */
}

static void port92_write(struct bus_region *r, uint64_t offset, uint64_t value, unsigned size)
{
	reset_if(r->opaque, value & PORT92_RESET);
}

static uint64_t reset_read(struct bus_region *r, uint64_t offset, unsigned size)
{
	return 0;
}

static void reset_write(struct bus_region *r, uint64_t offset, uint64_t value, unsigned size)
{
	reset_if(r->opaque, value & RESET_CPU);
}

static const struct bus_ops event_ops = { event_read, event_write };
static const struct bus_ops control_ops = { control_read, control_write };
static const struct bus_ops timer_ops = { timer_read, NULL };
static const struct bus_ops kbd_ops = { kbd_read, kbd_write };
static const struct bus_ops port92_ops = { port92_read, port92_write };
static const struct bus_ops reset_ops = { reset_read, reset_write };

static int add(struct pm *pm, struct bus_region *r, const char *name, uint64_t port, unsigned bytes,
	       const struct bus_ops *ops)
{
	*r = (struct bus_region){
		.name = name, .base = port, .size_bytes = bytes, .ops = ops, .opaque = pm
	};
	return bus_add(pm->plat->pio, r);
}

int pm_init(struct pm *pm, const struct arch_devices_params *params)
{
	int rc;

	*pm = (struct pm){ .plat = params->plat, .event = params->event, .arg = params->arg };
	pthread_mutex_init(&pm->lock, NULL);
	rc = add(pm, &pm->event_block, "pm1-event", X86_PORT_PM1_EVENT, 4, &event_ops);
	if (!rc)
		rc = add(pm, &pm->control_block, "pm1-control", X86_PORT_PM1_CTRL, 2, &control_ops);
	if (!rc)
		rc = add(pm, &pm->timer_block, "pm-timer", X86_PORT_PM_TIMER, 4, &timer_ops);
	if (!rc)
		rc = add(pm, &pm->kbd, "kbd-reset", X86_PORT_KBD_COMMAND, 1, &kbd_ops);
	if (!rc)
		rc = add(pm, &pm->port92, "port92", X86_PORT_92, 1, &port92_ops);
	if (rc) {
		pm_fini(pm);
		return rc;
	}
	/* Inside PCI's address register, which passes on what is not its own. */
	pm->reset = (struct bus_region){ .name = "reset",
					 .base = X86_PORT_RESET,
					 .size_bytes = 1,
					 .ops = &reset_ops,
					 .opaque = pm };
	params->pci->under_conf1 = &pm->reset;
	return rc;
}

void pm_fini(struct pm *pm)
{
	bus_del(pm->plat->pio, &pm->event_block);
	bus_del(pm->plat->pio, &pm->control_block);
	bus_del(pm->plat->pio, &pm->timer_block);
	bus_del(pm->plat->pio, &pm->kbd);
	bus_del(pm->plat->pio, &pm->port92);
	pthread_mutex_destroy(&pm->lock);
}

void pm_power_button(struct pm *pm)
{
	pthread_mutex_lock(&pm->lock);
	pm->status |= PM1_PWRBTN;
	update_sci(pm);
	pthread_mutex_unlock(&pm->lock);
}
