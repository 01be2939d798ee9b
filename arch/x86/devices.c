/*
 * The devices that an x86 machine has besides PCI and virtio: serial port, clock, power management,
 * pvpanic, and the debug-exit port that kernels under test use.
 */
#include <errno.h>
#include <stdlib.h>

#include "arch/arch.h"
#include "arch/guest_end.h"
#include "arch/x86/cmos.h"
#include "arch/x86/layout.h"
#include "arch/x86/pm.h"
#include "vmm/serial.h"

struct arch_devices {
	struct arch_devices_params p;
	struct pm pm;
	struct cmos cmos;
	struct serial *com1;
	struct guest_end end;
};

int arch_devices_create(struct arch_devices **out, const struct arch_devices_params *params)
{
	static const struct guest_end_places places = {
		.pvpanic = X86_PORT_PVPANIC,
		.pvpanic_bytes = 1,
		.debug_exit = X86_PORT_DEBUG_EXIT,
	};
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
	rc = guest_end_init(&d->end, params, plat->pio, &places);
	if (rc)
		goto out_serial;
	*out = d;
	return 0;

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
	guest_end_fini(&d->end);
	serial_destroy(d->com1);
	cmos_fini(&d->cmos);
	pm_fini(&d->pm);
	free(d);
}

void arch_devices_power_button(struct arch_devices *d)
{
	pm_power_button(&d->pm);
}
