/*
 * Split virtqueue, device side: the one implementation for all devices and transports.
 * Source: Virtual I/O Device (VIRTIO) 1.2, section 2.7 (split virtqueues), with
 * VIRTIO_F_INDIRECT_DESC (2.7.5.3) and VIRTIO_F_EVENT_IDX (2.7.10).
 *
 * The driver is hostile until shown otherwise. Each descriptor is read once into private memory and
 * the copy is checked; indices are private cursors; whatever breaks a rule makes the queue
 * `broken`: it yields nothing more, and the device goes to DEVICE_NEEDS_RESET.
 *
 * One thread uses a queue at a time (the device's loop, or a sender that holds the port's receive
 * lock). Nothing here allocates.
 */
#ifndef VIRTIO_VIRTQUEUE_H
#define VIRTIO_VIRTQUEUE_H

#include <sys/uio.h>

#include "base/gmem.h"
#include "base/types.h"

#define VIRTQ_MAX_SIZE 1024
/* Segments in one chain that a device accepts; longer chains break the queue. */
#define VIRTQ_MAX_SEGS 128

struct virtq_desc;
struct virtq_avail;
struct virtq_used;

/* One buffer as the driver made it available: device-readable segments first, then writable. */
struct virtq_chain {
	uint16_t head;	 /* id for the used ring */
	uint16_t nr_out; /* iov[0 .. nr_out): the device reads */
	uint16_t nr_in;	 /* iov[nr_out .. nr_out + nr_in): the device writes */
	uint32_t out_bytes, in_bytes;
	struct iovec iov[VIRTQ_MAX_SEGS];
};

/* A buffer of one device-writable descriptor, which is what a driver gives for receiving. */
struct virtq_buf {
	void *ptr;
	uint32_t bytes;
	uint16_t head; /* id for the used ring */
};

/*
 * A buffer that the driver gives over and over: a chain of exactly two device-writable descriptors,
 * a header's and then the rest's, direct or in an indirect table. This is how it looked once;
 * virtq_slot_use() takes it as long as the driver gives it in the same form.
 */
struct virtq_slot {
	void *hdr;	/* host addresses, checked */
	void *at;	/* behind it */
	uint32_t bytes; /* at `at` */

	/* private: descriptors as read, and where */
	uint16_t head;
	uint64_t word[2][2];
	const void *desc[2];
	const void *indirect; /* the one that refers to their table; NULL: a direct chain */
	uint64_t indirect_word[2];
};

struct virtq {
	/* As the driver set them up through the transport; free to change until virtq_enable(). */
	uint16_t size;
	uint16_t max_size;
	gpa_t desc_gpa, avail_gpa, used_gpa;

	/* private */
	const struct gmem *mem;
	const struct gmem_region *near; /* where the last buffer lay; see gmem_ptr_near() */
	struct virtq_desc *desc;	/* guest memory */
	struct virtq_avail *avail;	/* guest memory */
	struct virtq_used *used;	/* guest memory */
	bool enabled, broken;
	bool event_idx, indirect; /* negotiated */
	uint16_t last_avail;	  /* next available entry to take */
	uint16_t seen_avail;	  /* avail->idx as last read and found good */
	uint16_t used_idx;	  /* next used entry to write */
	uint16_t published_used;  /* used->idx as the driver sees it */
	uint16_t signalled_used;  /* used index at the last interrupt; for EVENT_IDX */
	bool signalled_valid;
	const char *why_broken; /* a constant string, for one log line */
};

/* Everything off and forgotten, max_size kept: what device reset does to a queue. */
void virtq_reset(struct virtq *vq, uint16_t max_size);

/* Checks size (a power of two up to max_size), alignment and placement of the three areas in guest
 * memory, and starts the queue. Errors: -EINVAL, -EFAULT; the queue stays disabled. */
int virtq_enable(struct virtq *vq, const struct gmem *mem, bool event_idx, bool indirect);

/* Takes the next available chain. 1: taken; 0: none; -EPROTO: the queue is broken (now or before).
 */
int virtq_pop(struct virtq *vq, struct virtq_chain *chain);
/*
 * Takes many at once: the next available chains, as long as each is one device-writable descriptor
 * that is not empty, up to `max` of them or until they hold `want` bytes together, whichever comes
 * first. Returns how many; 0: none, or the next one is of another kind: virtq_pop() knows. -EPROTO:
 * the queue is broken, and what this call took before it found out is not told.
 */
int virtq_pop_bufs(struct virtq *vq, struct virtq_buf *buf, unsigned max, size_t want);
/* Gives back the last n chains taken, none of which was pushed: they are available again. Older
 * ones may be pushed later, in any order: only how many are in flight counts. */
void virtq_unpop(struct virtq *vq, unsigned n);
/* True if virtq_pop() would find something to look at. */
bool virtq_more(const struct virtq *vq);
/* How many chains are available now, or -EPROTO. */
int virtq_pending(struct virtq *vq);

/*
 * Slots. virtq_slot_look() fills in s from the i-th chain to come (0: the next one), taking none.
 * 1: s is good; 0: there is no such chain yet; -ENOTSUP: it is none with a header of hdr_bytes in a
 * descriptor of its own (*why: a constant string, else left alone); -EPROTO.
 *
 * virtq_slot_use() takes the next chain and stages its used entry, as virtq_pop() and virtq_push()
 * would, if its head and its descriptors are to the bit what s says. No table is walked and no
 * address looked up: the caller fills s->hdr and s->at before it publishes. 1; 0: none is
 * available; -ESTALE: it is another, and stays; -EPROTO.
 */
int virtq_slot_look(struct virtq *vq, unsigned i, uint32_t hdr_bytes, struct virtq_slot *s,
		    const char **why);
int virtq_slot_use(struct virtq *vq, const struct virtq_slot *s, uint32_t written);
/* Does [at, at + len) have a byte in common with the three areas? False for a disabled queue. */
bool virtq_touches(const struct virtq *vq, const void *at, size_t len);

/* Stages a used entry: `head` was written with `written` bytes. The driver does not see it yet. */
void virtq_push(struct virtq *vq, uint16_t head, uint32_t written);
/* The same for n of them: buf[i].bytes were written to buf[i].head. */
void virtq_push_bufs(struct virtq *vq, const struct virtq_buf *buf, unsigned n);
/* Publishes all staged entries at once (release). True if the driver wants an interrupt for them.
 */
bool virtq_publish(struct virtq *vq);

/* Ask the driver not to / to ring the doorbell. virtq_enable_doorbell() returns true if something
 * became available meanwhile: set the flag, full fence, check again, then sleep. */
void virtq_disable_doorbell(struct virtq *vq);
bool virtq_enable_doorbell(struct virtq *vq);
/* The same for who needs more than one chain: the doorbell is to ring when n are available that
 * were not taken yet, or earlier. True: so many are. */
bool virtq_enable_doorbell_at(struct virtq *vq, unsigned n);

/* Copies between a chain's segments and memory of ours, from `offset` bytes into the readable (or
 * writable) part; returns the number of bytes copied, less than len where the chain ends. */
size_t virtq_chain_read(const struct virtq_chain *c, size_t offset, void *dst, size_t len);
size_t virtq_chain_write(const struct virtq_chain *c, size_t offset, const void *src, size_t len);

#endif
