/*
 * A guest that breaks every rule it can reach. Each attack starts from a device that works; after
 * it the device is reset and has to work again.
 */
#ifndef HOSTILE_H
#define HOSTILE_H

#include "lib/mem.h"
#include "lib/virtio.h"

enum outcome {
	MAY_BREAK,  /* whatever happens, it can be reset and works again */
	MUST_BREAK, /* DEVICE_NEEDS_RESET */
};

struct target {
	const char *name;
	unsigned id, queue; /* the queue that is attacked */
	bool writes;	    /* the device writes to that queue's buffers */
	struct virtio dev;
	struct vq vq;
	uint8_t *data; /* 64 KiB to play with */
	uint64_t random;
};

struct attack {
	const char *name;
	enum outcome outcome;
	void (*run)(struct target *t); /* the device is live and works */
	uint64_t without;	       /* features that must not be negotiated for it */
	bool pci_only;
};

extern const struct attack ring_attacks[], register_attacks[], machine_attacks[];

/* Reset, negotiate (without the given features), queue set up, DRIVER_OK. */
void target_start(struct target *t, uint64_t without);
/* One honest request; FAIL with `after` if it is not served. */
void target_works(struct target *t, const char *after);
uint64_t target_random(struct target *t);
/* Fills descriptor `i` of the attacked queue. */
void set_desc(struct target *t, unsigned i, uint64_t addr, uint32_t len, unsigned flags,
	      unsigned next);
/* Makes the chain that starts at `head` available and rings the doorbell. */
void expose(struct target *t, unsigned head);
void doorbell(struct target *t);

#endif
