/*
 * The devices that an arm64 machine has besides PCI and virtio: serial port, clock, power button,
 * and two that kernels under test use: pvpanic, and debug exit.
 *
 * Power-off and reset are not here: the guest asks its firmware, which is PSCI in KVM.
 */
#include <errno.h>
#include <stdlib.h>

#include "arch/arch.h"
#include "arch/arm64/layout.h"
#include "arch/arm64/pl031.h"
#include "arch/arm64/pl061.h"
#include "arch/guest_end.h"
#include "vmm/serial.h"

/* How long the button is held: longer than what drivers wait for it to stop bouncing. */
#define BUTTON_NS 100000000ull

struct arch_devices {
	struct arch_devices_params p;
	struct pl031 rtc;
	struct pl061 gpio;
	struct serial *uart;
	struct loop_work press;
	struct loop_timer release;
	struct guest_end end;
};

static void on_press(struct loop_work *w)
{
	struct arch_devices *d = container_of(w, struct arch_devices, press);

	pl061_set(&d->gpio, ARM64_GPIO_POWER_LINE, true);
	loop_timer_arm(&d->release, BUTTON_NS);
}

static void on_release(struct loop_timer *t)
{
	struct arch_devices *d = container_of(t, struct arch_devices, release);

	pl061_set(&d->gpio, ARM64_GPIO_POWER_LINE, false);
}

int arch_devices_create(struct arch_devices **out, const struct arch_devices_params *params)
{
	static const struct guest_end_places places = {
		.pvpanic = ARM64_PVPANIC_BASE,
		.pvpanic_bytes = 2,
		.debug_exit = ARM64_DEBUG_EXIT_BASE,
	};
	struct platform *plat = params->plat;
	struct arch_devices *d = calloc(1, sizeof(*d));
	int rc;

	if (!d)
		return -ENOMEM;
	d->p = *params;
	d->press.fn = on_press;
	rc = pl031_init(&d->rtc, plat, params->loop, ARM64_RTC_BASE, ARM64_SPI_RTC);
	if (rc)
		goto out_free;
	rc = pl061_init(&d->gpio, plat, ARM64_GPIO_BASE, ARM64_SPI_GPIO);
	if (rc)
		goto out_rtc;
	rc = loop_timer_init(params->loop, &d->release, on_release);
	if (rc)
		goto out_gpio;
	rc = serial_create(&d->uart, plat->name, plat, plat->mmio, ARM64_UART_BASE, ARM64_SPI_UART,
			   params->console, params->loop);
	if (rc)
		goto out_timer;
	rc = guest_end_init(&d->end, params, plat->mmio, &places);
	if (rc)
		goto out_serial;
	*out = d;
	return 0;

out_serial:
	serial_destroy(d->uart);
out_timer:
	loop_timer_fini(params->loop, &d->release);
out_gpio:
	pl061_fini(&d->gpio);
out_rtc:
	pl031_fini(&d->rtc);
out_free:
	free(d);
	return rc;
}

void arch_devices_destroy(struct arch_devices *d)
{
	if (!d)
		return;
	guest_end_fini(&d->end);
	serial_destroy(d->uart);
	loop_timer_fini(d->p.loop, &d->release);
	pl061_fini(&d->gpio);
	pl031_fini(&d->rtc);
	free(d);
}

void arch_devices_power_button(struct arch_devices *d)
{
	loop_post(d->p.loop, &d->press);
}
