#include "tests/unit/mapped_kit.h"

#include "tests/unit/mock_platform.h"

void mapped_net_create(struct netswitch **sw, struct remapper **remapper, enum xtalk_mode mode,
		       unsigned hold_us, unsigned deadline_us)
{
	struct netswitch_params params = {
		.name = "lan0",
		.uplink_fd = -1,
		.rules = { .mode = mode,
			   .threshold = 8,
			   .share_percent = 75,
			   .window = 32,
			   .hold_us = hold_us,
			   .map = true,
			   .slot_deadline_us = deadline_us },
	};

	mock_require(!remapper_create(remapper));
	params.remapper = *remapper;
	mock_require(!netswitch_create(sw, &params));
}

static void on_hold(void *arg)
{
	struct mapped_memory *m = arg;

	mock_require(!m->held);
	m->held = true;
	m->holds++;
}

static void on_release(void *arg)
{
	struct mapped_memory *m = arg;

	mock_require(m->held);
	m->held = false;
	m->releases++;
}

static void on_lost(void *arg)
{
	mock_require(!"memory was lost");
}

struct carrier *mapped_attach(struct netswitch *sw, struct port *port, struct gmem *mem,
			      struct mapped_memory *m)
{
	struct netswitch_port np = { .port = port };
	struct carrier *c;

	*m = (struct mapped_memory){ .port = { .mem = mem,
					       .domain = "lab",
					       .hold = on_hold,
					       .release = on_release,
					       .lost = on_lost,
					       .arg = m } };
	port->memory = &m->port;
	atomic_store(&port->slots_stable, true);
	mock_require(!netswitch_attach(sw, &np, &c));
	return c;
}

static void nothing(void *arg)
{
}

void mapped_flush(struct remapper *remapper)
{
	loop_call(remapper_loop(remapper), nothing, NULL);
}
