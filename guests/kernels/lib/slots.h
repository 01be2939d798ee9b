/*
 * A network driver with stable slots, over virtio-net or an Intel 82540EM (e1000): it uses the same
 * buffers over and over, in the same order, and keeps the contract of docs/mapped.md. The buffers
 * of one direction lie side by side, from `offset` in a page on, in pages of their own; headers and
 * rings lie elsewhere.
 *
 * Everything from slots_tx_slot() to slots_kick_rx() is for the loop that handles frames: it may be
 * called in ring 3 (lib/user.h), doorbells included. No interrupt comes (but for a stray one in
 * 65536 frames) unless slots_arm() has asked for it; with the e1000, whose mask register costs an
 * exit, they are on from the start unless `polled`.
 *
 * Command line: slots=N each way (default: what the ring holds), slot=BYTES (2048), offset=BYTES
 * (0), align=BYTES of the first page (4096), bit58=1: accept the feature bit XVMM_F_SLOTS_STABLE,
 * secrc=1: e1000 without check sequences.
 */
#ifndef LIB_SLOTS_H
#define LIB_SLOTS_H

#include "lib/e1000.h"
#include "lib/virtio.h"

#define SLOTS_MAX	    256
#define XVMM_F_SLOTS_STABLE 58
#define SLOTS_HDR_BYTES	    12 /* of virtio-net */
#define SLOTS_HDR_STEP	    16

struct slots;

struct slots_ops {
	void (*setup)(struct slots *s); /* also after a reset */
	void (*reset)(struct slots *s);
	void (*reap)(struct slots *s);
	void (*tx_give)(struct slots *s, unsigned slot, uint32_t bytes);
	int (*received)(struct slots *s, unsigned slot, uint32_t *bytes);
	void (*rx_give)(struct slots *s, unsigned slot);
	void (*kick_tx)(struct slots *s);
	void (*kick_rx)(struct slots *s, bool now);
	bool (*arm)(struct slots *s, bool tx);
	void (*wait)(struct slots *s);
};

/* A queue of virtio-net. The rings are lib/vring.c's, what is done with them is not. */
struct slots_vq {
	struct vq vq;
	uint8_t *hdr;		   /* SLOTS_HDR_STEP for each slot */
	struct vring_desc *chains; /* two for each slot: the ring's own, or indirect tables */
	uint16_t last_used;
};

struct slots {
	const struct slots_ops *ops;
	const char *over; /* "pci", "mmio", "e1000" */
	uint8_t mac[6];
	bool polled;
	bool tolerant; /* nonsense from the device is counted in `odd`, not the end */

	unsigned wanted;   /* slots each way; 0: what the ring holds */
	unsigned nr;	   /* ... as it came */
	unsigned can_give; /* of them: all, or all but one */
	uint32_t slot_bytes, offset;
	uint32_t frame_max;	      /* what fits into a receive slot */
	uint8_t *tx_pages, *rx_pages; /* all of what the slots lie in */
	size_t page_bytes;	      /* each way */
	uint8_t *tx, *rx;	      /* slot 0 */

	/* Free-running: slot i is at index i % nr. */
	uint32_t tx_next, tx_done; /* next to give; oldest that is not complete */
	uint32_t rx_next;	   /* next to receive; all before were given back */
	bool tx_complete[SLOTS_MAX];

	struct virtio dev;
	struct slots_vq vtx, vrx;
	struct e1000 e1000;
	uint32_t fcs_bytes;	   /* that a received length counts too */
	uint32_t tx_told, rx_told; /* tx_next and rx_next as the device knows them */
	uint64_t skipped;	   /* slots that came without a frame */
	uint64_t kicks, odd;
};

/* Finds and starts the first NIC, virtio-net before e1000, with all receive slots given; FAIL if
 * there is none. intr_init() was called. */
void slots_start(struct slots *s, bool polled);
/* Only finds it and takes memory: what the pages hold can be decided before slots_restart(). */
void slots_find(struct slots *s, bool polled);
/* Resets the device and begins anew; `wanted` may have changed, downwards. */
void slots_restart(struct slots *s);

/* The slot to fill next; NULL: the oldest is not complete yet. */
uint8_t *slots_tx_slot(struct slots *s);
/* It holds a frame of so many bytes. The device is told by slots_kick_tx(). */
void slots_tx_give(struct slots *s, uint32_t bytes);
/* Looks for completed slots. */
void slots_reap(struct slots *s);
/* The next slot that has come in, and the bytes of its frame; NULL: none. Slots without a frame are
 * skipped. slots_rx_give() gives it back, then the next can be received. */
uint8_t *slots_rx_slot(struct slots *s, uint32_t *bytes);
void slots_rx_give(struct slots *s);
/* Tells the device of what was given; now: even if it is little. */
void slots_kick_tx(struct slots *s);
void slots_kick_rx(struct slots *s, bool now);

/* Ring 0. Asks for an interrupt at the next frame received and, with `tx`, slot completed; true:
 * there is one already. slots_wait() sleeps until this or any other interrupt. */
bool slots_arm(struct slots *s, bool tx);
void slots_wait(struct slots *s);
uint64_t slots_interrupts(const struct slots *s);

static inline uint8_t *slots_tx_at(const struct slots *s, unsigned slot)
{
	return s->tx + (size_t)slot * s->slot_bytes;
}

static inline uint8_t *slots_rx_at(const struct slots *s, unsigned slot)
{
	return s->rx + (size_t)slot * s->slot_bytes;
}

/* slots_virtio.c, slots_e1000.c: false: there is no such card. */
bool slots_virtio_find(struct slots *s);
bool slots_e1000_find(struct slots *s);

#endif
