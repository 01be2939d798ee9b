/*
 * The devices that an x86 machine has besides PCI and virtio: serial port, clock, power management,
 * pvpanic, and the debug-exit port that kernels under test use.
 */
#include <errno.h>
#include <stdlib.h>

#include "arch/arch.h"
#include "arch/x86/cmos.h"
#include "arch/x86/layout.h"
#include "arch/x86/pm.h"
#include "vmm/serial.h"

#define PVPANIC_PANICKED     (1u << 0)
#define PVPANIC_CRASH_LOADED (1u << 1)

struct arch_devices {
	struct arch_devices_params p;
	struct pm pm;
	struct cmos cmos;
	struct serial *com1;
	struct bus_region pvpanic, debug_exit;
};

static uint64_t pvpanic_read(struct bus_region *r, uint64_t offset, unsigned size)
{
	return X86_PVPANIC_EVENTS;
}

static void pvpanic_write(struct bus_region *r, uint64_t offset, uint64_t value, unsigned size)
{
	struct arch_devices *d = r->opaque;

	/* "Crash loaded" means that the guest's own crash kernel takes over: not an end yet. */
	if (value & PVPANIC_PANICKED)
		d->p.event(d->p.arg, MACHINE_CRASH_PANIC, 0);
}

/* As the ISA debug-exit device that kernels under test expect: status = value * 2 + 1. */
static void debug_exit_write(struct bus_region *r, uint64_t offset, uint64_t value, unsigned size)
{
	struct arch_devices *d = r->opaque;

	d->p.event(d->p.arg, MACHINE_DEBUG_EXIT, (int)((value << 1 | 1) & 0xff));
}

static const struct bus_ops pvpanic_ops = { pvpanic_read, pvpanic_write };
static const struct bus_ops debug_exit_ops = { NULL, debug_exit_write };

int arch_devices_create(struct arch_devices **out, const struct arch_devices_params *params)
{
	struct platform *plat = params->plat;
	struct arch_devices *d = calloc(1, sizeof(*d));
	int rc;

	if (!d)
		return -ENOMEM;
	d->p = *params;
	rc = pm_init(&d->pm, params);
	if (rc)
		goto out_free;
	rc = cmos_init(&d->cmos, plat, params->loop);
	if (rc)
		goto out_pm;
	rc = serial_create(&d->com1, plat->name, plat, plat->pio, X86_PORT_COM1, X86_GSI_COM1,
			   params->console, params->loop);
	if (rc)
		goto out_cmos;
	d->pvpanic = (struct bus_region){ .name = "pvpanic",
					  .base = X86_PORT_PVPANIC,
					  .size_bytes = 1,
					  .ops = &pvpanic_ops,
					  .opaque = d };
	d->debug_exit = (struct bus_region){ .name = "debug-exit",
					     .base = X86_PORT_DEBUG_EXIT,
					     .size_bytes = 4,
					     .ops = &debug_exit_ops,
					     .opaque = d };
	rc = bus_add(plat->pio, &d->pvpanic);
	if (rc)
		goto out_serial;
	rc = bus_add(plat->pio, &d->debug_exit);
	if (rc)
		goto out_pvpanic;
	*out = d;
	return 0;

out_pvpanic:
	bus_del(plat->pio, &d->pvpanic);
out_serial:
	serial_destroy(d->com1);
out_cmos:
	cmos_fini(&d->cmos);
out_pm:
	pm_fini(&d->pm);
out_free:
	free(d);
	return rc;
}

void arch_devices_destroy(struct arch_devices *d)
{
	if (!d)
		return;
	bus_del(d->p.plat->pio, &d->debug_exit);
	bus_del(d->p.plat->pio, &d->pvpanic);
	serial_destroy(d->com1);
	cmos_fini(&d->cmos);
	pm_fini(&d->pm);
	free(d);
}

void arch_devices_power_button(struct arch_devices *d)
{
	pm_power_button(&d->pm);
}
