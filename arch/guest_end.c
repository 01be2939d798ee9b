/*
 * pvpanic and debug exit: see guest_end.h. Sources: QEMU's docs/specs/pvpanic.rst; its
 * isa-debug-exit.
 */
#include "arch/guest_end.h"

#define PVPANIC_PANICKED (1u << 0)

static uint64_t pvpanic_read(struct bus_region *r, uint64_t offset, unsigned size)
{
	return GUEST_END_PVPANIC_EVENTS;
}

static void pvpanic_write(struct bus_region *r, uint64_t offset, uint64_t value, unsigned size)
{
	struct guest_end *g = r->opaque;

	/* "Crash loaded" means that the guest's own crash kernel takes over: not an end yet. */
	if (value & PVPANIC_PANICKED)
		g->event(g->arg, MACHINE_CRASH_PANIC, 0);
}

/* As kernels under test expect it: status = value * 2 + 1. */
static void debug_exit_write(struct bus_region *r, uint64_t offset, uint64_t value, unsigned size)
{
	struct guest_end *g = r->opaque;

	g->event(g->arg, MACHINE_DEBUG_EXIT, (int)((value << 1 | 1) & 0xff));
}

static const struct bus_ops pvpanic_ops = { pvpanic_read, pvpanic_write };
static const struct bus_ops debug_exit_ops = { NULL, debug_exit_write };

int guest_end_init(struct guest_end *g, const struct arch_devices_params *params, struct bus *bus,
		   const struct guest_end_places *places)
{
	int rc;

	g->bus = bus;
	g->event = params->event;
	g->arg = params->arg;
	g->pvpanic = (struct bus_region){ .name = "pvpanic",
					  .base = places->pvpanic,
					  .size_bytes = places->pvpanic_bytes,
					  .ops = &pvpanic_ops,
					  .opaque = g };
	g->debug_exit = (struct bus_region){ .name = "debug-exit",
					     .base = places->debug_exit,
					     .size_bytes = 4,
					     .ops = &debug_exit_ops,
					     .opaque = g };
	rc = bus_add(bus, &g->pvpanic);
	if (rc)
		return rc;
	rc = bus_add(bus, &g->debug_exit);
	if (rc)
		bus_del(bus, &g->pvpanic);
	return rc;
}

void guest_end_fini(struct guest_end *g)
{
	bus_del(g->bus, &g->debug_exit);
	bus_del(g->bus, &g->pvpanic);
}
