/*
 * The driver's side of a split virtqueue, for unit tests and fuzzers: lays out rings in guest
 * memory, makes chains available, reads what was used. It writes whatever it is told to, right or
 * wrong. Not for several threads at once.
 *
 * With a device: mock_driver_init() plugs a transport into it that counts interrupts, then
 * mock_driver_start() negotiates and sets up all queues as a well-behaved driver would:
 *
 *    mock_driver_init(&drv, &mp, dev);
 *    mock_driver_start(&drv, 1ull << VIRTIO_F_VERSION_1, 64);
 *    gpa_t buf = mock_driver_alloc(&drv, 2048, 16);
 *    mock_ring_add(&drv.ring[0], (struct mock_seg[]){ { buf, 2048, true } }, 1);
 *    mock_driver_kick(&drv, 0);
 *    while (mock_ring_used(&drv.ring[0], &id, &len)) …
 */
#ifndef TESTS_MOCK_DRIVER_H
#define TESTS_MOCK_DRIVER_H

#include <stdatomic.h>

#include "tests/unit/mock_platform.h"
#include "virtio/doorbell.h"
#include "virtio/virtio.h"

/* Not the device's names, on purpose: nothing here shares code with virtqueue.c. */
#define MOCK_DESC_NEXT	   1
#define MOCK_DESC_WRITE	   2
#define MOCK_DESC_INDIRECT 4

struct mock_seg {
	gpa_t gpa;
	uint32_t len;
	bool write; /* the device writes */
};

struct mock_ring {
	struct gmem *mem;
	uint16_t size;
	gpa_t desc, avail, used;
	uint16_t next_desc; /* next descriptor to take; wraps without looking who still uses it */
	uint16_t avail_idx; /* as last written */
	uint16_t last_used; /* next used entry to read */
};

/* Places the three areas at `base` (aligned up) and clears them. Returns the first address behind.
 */
gpa_t mock_ring_init(struct mock_ring *r, struct gmem *mem, gpa_t base, uint16_t size);
/* Puts addresses and size into a queue that is not enabled. */
void mock_ring_attach(const struct mock_ring *r, struct virtq *vq);

/* A chain from the next n descriptors, made available. Returns its head. */
uint16_t mock_ring_add(struct mock_ring *r, const struct mock_seg *segs, unsigned n);
/* The same through an indirect table of n entries at `table`. */
uint16_t mock_ring_add_indirect(struct mock_ring *r, gpa_t table, const struct mock_seg *segs,
				unsigned n);

/* Raw: one descriptor of a table (r->desc, or an indirect one); an available entry; the index. */
void mock_desc_set(struct gmem *mem, gpa_t table, unsigned index, gpa_t addr, uint32_t len,
		   uint16_t flags, uint16_t next);
void mock_ring_offer(struct mock_ring *r, uint16_t head);
void mock_ring_set_avail_idx(struct mock_ring *r, uint16_t idx);

/* Next used entry, if the device has published one. */
bool mock_ring_used(struct mock_ring *r, uint32_t *id, uint32_t *len);
uint16_t mock_ring_used_idx(const struct mock_ring *r);

/* What driver and device want to be told. */
void mock_ring_set_used_event(struct mock_ring *r, uint16_t idx);
uint16_t mock_ring_avail_event(const struct mock_ring *r);
void mock_ring_set_no_interrupt(struct mock_ring *r, bool on);
bool mock_ring_no_notify(const struct mock_ring *r);

/* virtq_pop_bufs(), checked against virtq_pop() one by one on a copy of the queue: aborts unless
 * both give the same buffers, the same verdict and the same cursor. max and want are not 0. */
int mock_pop_bufs(struct virtq *vq, struct virtq_buf *buf, unsigned max, size_t want);

struct mock_driver {
	struct mock_platform *mp;
	struct virtio_dev *dev;
	struct mock_ring ring[VIRTIO_MAX_QUEUES];
	gpa_t next;				 /* free guest memory */
	struct doorbell bell[VIRTIO_MAX_QUEUES]; /* made when it is lent for the first time */
	_Atomic bool lent[VIRTIO_MAX_QUEUES];	 /* it rings instead of a kick */
	_Atomic unsigned queue_irqs[VIRTIO_MAX_QUEUES], config_irqs;
};

/* Guest memory from 1 MiB up is handed out. */
void mock_driver_init(struct mock_driver *d, struct mock_platform *mp, struct virtio_dev *dev);
/* Where doorbells may have been lent; the device is stopped, its loop not running. */
void mock_driver_fini(struct mock_driver *d);
gpa_t mock_driver_alloc(struct mock_driver *d, uint64_t len, unsigned align);
/* Allocates and fills guest memory. */
gpa_t mock_driver_put(struct mock_driver *d, const void *data, uint64_t len);

/* Reset, negotiation, queues of min(queue_size, maximum) entries, DRIVER_OK. True if the device
 * took the features and is live. Each step is carried to the device's loop. */
bool mock_driver_start(struct mock_driver *d, uint64_t features, uint16_t queue_size);
/* Up to and including FEATURES_OK only. */
bool mock_driver_negotiate(struct mock_driver *d, uint64_t features);
void mock_driver_set_status(struct mock_driver *d, uint8_t status);
uint8_t mock_driver_status(struct mock_driver *d);
void mock_driver_kick(struct mock_driver *d, unsigned q);
/* Device configuration, on the loop. */
void mock_driver_config_read(struct mock_driver *d, unsigned offset, void *data, unsigned len);
void mock_driver_config_write(struct mock_driver *d, unsigned offset, const void *data,
			      unsigned len);

#endif
