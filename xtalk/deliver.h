/*
 * Delivery of frames to ports: one copy, from the sender's buffers into the receiver's, with the
 * receiver's missing offloads made up for on the way.
 *
 * A struct delivery belongs to one sending thread. It keeps the receive side of the last receiver
 * open from frame to frame, so that a batch costs one lock and one interrupt; it never has two
 * open, and delivery_end() must be called before the thread does anything else.
 */
#ifndef XTALK_DELIVER_H
#define XTALK_DELIVER_H

#include "xtalk/offload.h"

/* Frames after which a receiver gets its interrupt and others their turn, even if the sender's
 * batch goes on. */
#define DELIVERY_BATCH_FRAMES 64

struct delivery {
	struct port *open; /* whose receive lock this thread holds, or NULL */
	unsigned frames;   /* delivered since it was opened */
	struct offload offload;
	struct iovec iov[FRAME_MAX_IOV];
};

/* Copies the frame into buffers of `to`. 0; -ENOTCONN: not live; -ENOBUFS: too few buffers, nothing
 * of it has arrived; -EMSGSIZE: too few, but of a frame that had to be segmented a part has
 * arrived: to try again would double that; -EINVAL: cannot be made fit for it. */
int delivery_put(struct delivery *d, struct port *to, const struct frame *f);

/* Opens the receive side of `to`, if it is not the open one (and lets go of that one). False: it is
 * not live. */
bool delivery_begin(struct delivery *d, struct port *to); /* anew, in any case */
static inline bool delivery_open(struct delivery *d, struct port *to)
{
	return (d->open == to && d->frames < DELIVERY_BATCH_FRAMES) || delivery_begin(d, to);
}

/* Interrupts the last receiver and lets go of it. */
void delivery_end(struct delivery *d);

#endif
