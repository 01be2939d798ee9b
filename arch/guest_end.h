/*
 * The two devices by which a guest says how it ends: pvpanic (a kernel that has panicked), and
 * debug exit (a kernel under test, with a status). Each architecture has them at places of its own.
 */
#ifndef ARCH_GUEST_END_H
#define ARCH_GUEST_END_H

#include "arch/arch.h"
#include "base/bus.h"

struct guest_end {
	struct bus *bus;
	struct bus_region pvpanic, debug_exit;
	void (*event)(void *arg, enum machine_event ev, int status);
	void *arg;
};

struct guest_end_places {
	gpa_t pvpanic, debug_exit;
	unsigned pvpanic_bytes; /* 1 as an ISA port, 2 in memory */
};

/* What pvpanic reads as: the events that it knows, panicked and crash loaded. */
#define GUEST_END_PVPANIC_EVENTS 0x03

/* Puts both on `bus`; params->event is called on the thread of the vCPU that wrote. Errors: of
 * bus_add(); nothing is there then. */
int guest_end_init(struct guest_end *g, const struct arch_devices_params *params, struct bus *bus,
		   const struct guest_end_places *places);
void guest_end_fini(struct guest_end *g);

#endif
