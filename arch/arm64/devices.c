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
#include "vmm/serial.h"

#define PVPANIC_PANICKED     (1u << 0)
#define PVPANIC_CRASH_LOADED (1u << 1)

/* How long the button is held: longer than what drivers wait for it to stop bouncing. */
#define BUTTON_NS 100000000ull

struct arch_devices {
	struct arch_devices_params p;
	struct pl031 rtc;
	struct pl061 gpio;
	struct serial *uart;
	struct loop_work press;
	struct loop_timer release;
	struct bus_region pvpanic, debug_exit;
};

static uint64_t pvpanic_read(struct bus_region *r, uint64_t offset, unsigned size)
{
	return PVPANIC_PANICKED | PVPANIC_CRASH_LOADED;
}

static void pvpanic_write(struct bus_region *r, uint64_t offset, uint64_t value, unsigned size)
{
	struct arch_devices *d = r->opaque;

	/* "Crash loaded" means that the guest's own crash kernel takes over: not an end yet. */
	if (value & PVPANIC_PANICKED)
		d->p.event(d->p.arg, MACHINE_CRASH_PANIC, 0);
}

/* As on x86: status = value * 2 + 1. */
static void debug_exit_write(struct bus_region *r, uint64_t offset, uint64_t value, unsigned size)
{
	struct arch_devices *d = r->opaque;

	d->p.event(d->p.arg, MACHINE_DEBUG_EXIT, (int)((value << 1 | 1) & 0xff));
}

static const struct bus_ops pvpanic_ops = { pvpanic_read, pvpanic_write };
static const struct bus_ops debug_exit_ops = { NULL, debug_exit_write };

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
	d->pvpanic = (struct bus_region){ .name = "pvpanic",
					  .base = ARM64_PVPANIC_BASE,
					  .size_bytes = 2,
					  .ops = &pvpanic_ops,
					  .opaque = d };
	d->debug_exit = (struct bus_region){ .name = "debug-exit",
					     .base = ARM64_DEBUG_EXIT_BASE,
					     .size_bytes = 4,
					     .ops = &debug_exit_ops,
					     .opaque = d };
	rc = bus_add(plat->mmio, &d->pvpanic);
	if (rc)
		goto out_serial;
	rc = bus_add(plat->mmio, &d->debug_exit);
	if (rc)
		goto out_pvpanic;
	*out = d;
	return 0;

out_pvpanic:
	bus_del(plat->mmio, &d->pvpanic);
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
	bus_del(d->p.plat->mmio, &d->debug_exit);
	bus_del(d->p.plat->mmio, &d->pvpanic);
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
