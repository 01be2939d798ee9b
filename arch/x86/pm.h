/*
 * ACPI fixed hardware (ACPI 6.4, section 4.8): PM1a event and control blocks, PM timer, the reset
 * register and the keyboard controller's reset line.
 *
 * Registers are accessed on vCPU threads, the power button on any; one lock guards them.
 */
#ifndef ARCH_X86_PM_H
#define ARCH_X86_PM_H

#include <pthread.h>

#include "arch/arch.h"

struct pm {
	struct platform *plat;
	void (*event)(void *arg, enum machine_event ev, int status);
	void *arg;
	pthread_mutex_t lock;
	uint16_t status, enable, control; /* PM1_STS, PM1_EN, PM1_CNT */
	bool sci_level;
	struct bus_region event_block, control_block, timer_block, kbd, port92, reset;
};

int pm_init(struct pm *pm, const struct arch_devices_params *params);
void pm_fini(struct pm *pm);
void pm_power_button(struct pm *pm);

#endif
