/*
 * The driver's side of a virtio-net device for benches: real device code on real virtqueues in real
 * guest memory, driven as Linux's virtio_net drives it, without a vCPU.
 *
 * As Linux does: EVENT_IDX; a frame in one piece goes out behind its header in one descriptor, one
 * in several pieces through an indirect table; receive buffers are mergeable, 1536 bytes each, or
 * a page each where large frames are what comes in; one doorbell per batch and queue at most, one
 * interrupt wanted per batch. Doorbells come in, and interrupts go out, through eventfds, so that a
 * batch costs the system calls that it costs in xvmm.
 *
 * Frames are numbered. What is received is checked: number, length and header of every frame
 * always, all of its bytes where lane_nic_take() is told so.
 *
 * All on one thread, which also turns the device's loop by hand.
 */
#ifndef TESTS_BENCH_LANE_NIC_H
#define TESTS_BENCH_LANE_NIC_H

#include <linux/virtio_ring.h>

#include "base/loop.h"
#include "tests/unit/mock_platform.h"
#include "virtio/devices.h"
#include "virtio/doorbell.h"

#define LANE_RING	256
#define LANE_FRAME_MAX	65536
#define LANE_GSO_FRAMES 16 /* so many different large frames; as many as the receive ring holds */

/* A kind of frame, valid in every layer: what the host's stack wants to see. */
struct lane_shape {
	const char *name;
	uint32_t len;	   /* of the frame */
	uint16_t gso_size; /* 0: none */
	bool tcp;	   /* or UDP */
	unsigned batch;	   /* frames per doorbell */
	uint32_t rx_bytes; /* of a receive buffer */
};

enum { LANE_RX, LANE_TX };

struct lane_nic {
	struct mock_platform mp;
	struct loop loop;
	struct virtio_net *net;
	struct virtio_dev *dev;
	struct port *port;
	struct carrier *carrier;
	uint64_t irqs[2]; /* per queue */

	/* private */
	struct doorbell doorbell[2];
	int irqfd[2];
	struct vring ring[2];
	gpa_t ring_gpa[2];
	uint16_t avail[2], kicked[2], used[2];
	struct lane_rx_buf {
		gpa_t gpa;
		uint32_t bytes;
	} rx_buf[LANE_RING];
	gpa_t slots; /* memory for lane_slots.h */
	gpa_t rx_small, rx_large, tx_head, tx_table, tx_data;
	const struct lane_shape *tx_shape;
	uint32_t tx_seq, rx_seq;
	bool foul; /* something was lost, doubled, reordered or damaged; said on standard error */
};

/* Ends the program with a message: a bench has no other use for an error. */
void lane_die(const char *fmt, ...) __attribute__((format(printf, 1, 2), noreturn));

/* id: last two bytes of the MAC 52:54:00:00:id. */
struct lane_nic *lane_nic_create(const char *name, unsigned id);
/* With as much memory more, at n->slots. */
struct lane_nic *lane_nic_create_with(const char *name, unsigned id, uint64_t slots_bytes);
void lane_nic_plug(struct lane_nic *n, struct carrier *c);
/* Negotiates everything that is offered and fills the receive ring. */
void lane_nic_start(struct lane_nic *n, uint32_t rx_bytes);
void lane_nic_stop(struct lane_nic *n); /* device reset */
void lane_nic_destroy(struct lane_nic *n);

/* One turn of the device's loop, as base/loop.c makes it. False: nothing was to be done. */
bool lane_nic_turn(struct lane_nic *n);

/* Writes frames of this shape to `dst` into the transmit buffers. */
void lane_nic_shape(struct lane_nic *n, const struct lane_shape *s, const uint8_t *dst);
/* Makes the next `frames` available, and rings if the device wants to know. Takes back first what
 * was sent before. */
void lane_nic_post(struct lane_nic *n, unsigned frames);
/* Gives received buffers back, with the size that `s` wants. */
void lane_nic_refill(struct lane_nic *n, const struct lane_shape *s);
/* Have `frames` of this shape come in since the last lane_nic_take()? */
bool lane_nic_has(const struct lane_nic *n, const struct lane_shape *s, unsigned frames);
/* Takes all that came in from `from`, which has sent nothing since; returns how many frames. Their
 * buffers go back to the ring with lane_nic_refill(). */
unsigned lane_nic_take(struct lane_nic *n, const struct lane_nic *from, bool all_bytes);
/* Forgets what came in, and expects the next frame that `from` sends. */
void lane_nic_resync(struct lane_nic *n, const struct lane_nic *from);

/* Plain memcpy of the bytes of frame k to where the receive ring would have it. */
void lane_nic_memcpy(struct lane_nic *to, const struct lane_nic *from, unsigned k);

/* -- For drivers of another kind on the same device: lane_slots.c -- */

void *lane_nic_at(const struct lane_nic *n, gpa_t gpa);
/* Negotiates everything; rings are empty. */
void lane_nic_begin(struct lane_nic *n);
/* The receive ring has been filled. */
void lane_nic_live(struct lane_nic *n);
/* Puts a head into the available ring. */
void lane_nic_offer(struct lane_nic *n, unsigned q, uint16_t head);
/* Publishes what was offered; rings if the device asked for it (2.7.10). */
void lane_nic_publish(struct lane_nic *n, unsigned q);
/* The interrupt was seen to. */
void lane_nic_ack(struct lane_nic *n, unsigned q);
/* What a frame of this shape begins with, and its length; where in it its number lies. */
void lane_nic_headers(const struct lane_shape *s, uint8_t *f, const uint8_t *dst,
		      const uint8_t *src);
uint32_t lane_nic_head_bytes(const struct lane_shape *s);
size_t lane_nic_seq_at(const struct lane_shape *s);
struct virtio_net_hdr_v1 lane_nic_vnet_hdr(const struct lane_shape *s);
void lane_nic_foul(struct lane_nic *n, const char *what);

static inline uint16_t load16(const uint16_t *p)
{
	return __atomic_load_n(p, __ATOMIC_ACQUIRE);
}

static inline void store16(uint16_t *p, uint16_t v)
{
	__atomic_store_n(p, v, __ATOMIC_RELEASE);
}

#endif
