/*
 * Driver side of virtio 1.x: modern PCI or MMIO version 2 (found by itself), split rings with
 * INDIRECT_DESC and EVENT_IDX. The registers stay reachable one by one, for guests that want to
 * misuse them. Source: VIRTIO 1.2, chapters 2 to 4.
 */
#ifndef LIB_VIRTIO_H
#define LIB_VIRTIO_H

#include "lib/intr.h"
#include "lib/pci.h"

#define VIRTIO_ID_NET	  1
#define VIRTIO_ID_BLOCK	  2
#define VIRTIO_ID_CONSOLE 3
#define VIRTIO_ID_RNG	  4

#define VIRTIO_ACKNOWLEDGE 1
#define VIRTIO_DRIVER	   2
#define VIRTIO_DRIVER_OK   4
#define VIRTIO_FEATURES_OK 8
#define VIRTIO_NEEDS_RESET 64
#define VIRTIO_FAILED	   128

#define VIRTIO_F_INDIRECT_DESC 28
#define VIRTIO_F_EVENT_IDX     29
#define VIRTIO_F_VERSION_1     32
#define FEATURE(bit)	       (1ull << (bit))

#define VIRTIO_MMIO_SLOTS 16

#define VRING_DESC_NEXT	    1
#define VRING_DESC_WRITE    2
#define VRING_DESC_INDIRECT 4

struct vring_desc {
	uint64_t addr;
	uint32_t len;
	uint16_t flags, next;
};
struct vring_avail {
	uint16_t flags, idx, ring[]; /* behind ring[size]: used_event */
};
struct vring_used_elem {
	uint32_t id, len;
};
struct vring_used {
	uint16_t flags, idx;
	struct vring_used_elem ring[]; /* behind ring[size]: avail_event */
};

#define VQ_MAX_SIZE	256
#define VQ_MAX_INDIRECT 8

struct vq {
	struct virtio *dev;
	uint16_t index, size;
	struct vring_desc *desc;
	struct vring_avail *avail;
	struct vring_used *used;
	uintptr_t doorbell;
	uint16_t free_head, nr_free;
	uint16_t avail_idx;  /* ours; published by vq_kick() */
	uint16_t kicked_idx; /* avail_idx at the last doorbell decision */
	uint16_t last_used;
	bool event_idx;
	struct vring_desc *indirect; /* VQ_MAX_INDIRECT for each head; NULL: direct chains */
	void *cookie[VQ_MAX_SIZE];
	uint64_t kicks, kicks_saved;
};

struct virtio {
	bool mmio;
	unsigned id;
	/* PCI */
	unsigned pci_dev;
	uintptr_t common, notify, isr, config;
	uint32_t notify_multiplier;
	unsigned nr_vectors; /* 0: INTx */
	/* MMIO */
	uintptr_t base;
	unsigned gsi;

	uint64_t features; /* as negotiated */
	unsigned vector;   /* interrupt vector of all its queues */
	volatile bool interrupted;
	volatile uint64_t interrupts;
};

/* Finds the `index`th device of this kind. */
bool virtio_find(struct virtio *v, unsigned id, unsigned index);

/* Registers, over either transport. */
uint8_t virtio_status(struct virtio *v);
void virtio_set_status(struct virtio *v, uint8_t status);
uint64_t virtio_offered(struct virtio *v);
void virtio_accept(struct virtio *v, uint64_t features);
unsigned virtio_queue_max(struct virtio *v, unsigned q);
void virtio_queue_set(struct virtio *v, unsigned q, unsigned size, uint64_t desc, uint64_t avail,
		      uint64_t used);
void virtio_queue_ready(struct virtio *v, unsigned q);
void virtio_config(struct virtio *v, unsigned offset, void *data, unsigned len);

/* Writes 0 and waits until the device has reset. */
void virtio_reset(struct virtio *v);
/* Reset, acknowledge, negotiate VERSION_1 and what is both offered and wanted; FAIL if the device
 * refuses. Takes an interrupt vector (intr_init() was called) and routes the device's to it. */
void virtio_start(struct virtio *v, uint64_t wanted);
/* Sets up queue `q`; its memory is taken once and kept if `vq` is used again after a reset. */
void virtio_queue(struct virtio *v, struct vq *vq, unsigned q, unsigned size);
void virtio_driver_ok(struct virtio *v);
/* What drivers usually accept: INDIRECT_DESC and EVENT_IDX unless the command line says
 * `indirect=0`, `event_idx=0`. */
uint64_t virtio_usual_features(void);
/* Sleeps until an interrupt of this device, or any other, has come. Interrupts are off before and
 * after. */
void virtio_wait(struct virtio *v);

struct buf {
	void *data;
	uint32_t len;
};
/* Makes a chain available: nr_out buffers to read, then nr_in to write; false: ring is full. The
 * device may see it from here on; vq_kick() rings the doorbell if it has to be. */
bool vq_add(struct vq *vq, const struct buf *bufs, unsigned nr_out, unsigned nr_in, void *cookie);
void vq_kick(struct vq *vq);
/* Next buffer that the device has used; NULL: none. */
void *vq_take(struct vq *vq, uint32_t *len);
/* Asks for an interrupt when more is used; true if more is there already. */
bool vq_arm(struct vq *vq);

#endif
