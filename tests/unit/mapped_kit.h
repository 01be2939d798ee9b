/*
 * What tests and the fuzzer of mapped lanes share: a net on which lanes may be mapped, and NICs
 * with memory of which hold and release are watched. What fails ends the program.
 */
#ifndef TESTS_UNIT_MAPPED_KIT_H
#define TESTS_UNIT_MAPPED_KIT_H

#include "base/carrier.h"
#include "xtalk/netswitch.h"
#include "xtalk/remapper.h"

/* A NIC's memory. That it is held twice, released unheld or lost ends the program. */
struct mapped_memory {
	struct port_memory port;
	bool held;
	unsigned holds, releases;
};

/* A net of its own with a remapper. */
void mapped_net_create(struct netswitch **sw, struct remapper **remapper, enum xtalk_mode mode,
		       unsigned hold_us, unsigned deadline_us);
/* Attaches a port whose slots are stable, and whose memory is mem. Returns its NIC's carrier. */
struct carrier *mapped_attach(struct netswitch *sw, struct port *port, struct gmem *mem,
			      struct mapped_memory *m);
/* Returns when the remapper has done what was posted to it. */
void mapped_flush(struct remapper *remapper);

#endif
