/*
 * virtio-net, private to virtio/net*.c.
 */
#ifndef VIRTIO_NET_INTERNAL_H
#define VIRTIO_NET_INTERNAL_H

#include <pthread.h>

#include "base/carrier.h"
#include "virtio/devices.h"
#include "virtio/virtio.h"

enum { NET_QUEUE_RX, NET_QUEUE_TX, NET_NR_QUEUES };

#define NET_QUEUE_SIZE 256

/* The receive queue as a ring of slots (net_slots.c). As struct net_rx, which it is part of. */
struct net_slots {
	bool mapped;   /* between rx_slots_enter() and rx_slots_leave() */
	unsigned nr;   /* of the slots below, in ring order; not 0 while mapped */
	unsigned next; /* to be put */
	uint16_t told; /* available index that the carrier knows of */
	bool refused;  /* somebody came with a frame while mapped */
	bool lent;     /* the sender's loop has the doorbell */
	bool asked;    /* for it, by net_rx_slots_watch() that found some there: not to be undone by
			* the look at them that follows */
	struct virtq_slot slot[NET_QUEUE_SIZE];
};

/*
 * The receive side. Everything in it, and the receive queue while the device is live, belongs to
 * whoever holds `lock`: the NIC's loop, another guest's loop that delivers a frame, an uplink.
 */
struct net_rx {
	pthread_mutex_t lock;
	bool live;
	bool mergeable;
	const char *fault; /* a rule that the driver broke, on its way to the loop; or NULL */
	unsigned nr_staged;
	unsigned nr_bufs;		       /* reserved for the frame in progress */
	size_t room;			       /* their bytes, the header's included */
	struct virtq_buf bufs[NET_QUEUE_SIZE]; /* ptr: none, if there are several segments */
	unsigned nr_hdr_segs;
	struct iovec hdr_segs[VNET_HDR_BYTES]; /* where its header goes */
	struct virtq_chain chain;
	struct net_slots slots;
};

/* Frames whose buffers somebody still reads (CARRIER_KEPT), oldest first. */
struct net_kept {
	uint16_t head[NET_QUEUE_SIZE];
	unsigned first, nr;
};

struct virtio_net {
	struct virtio_dev dev;
	struct port port;
	struct net_rx rx;

	/* The NIC's loop only. */
	struct loop_work tx_work;    /* serve the transmit queue (again) */
	struct loop_work link_work;  /* the carrier's link may have changed */
	struct loop_work fault_work; /* rx.fault is set */
	struct loop_work ready_work; /* ordinary buffers are there again */
	bool tx_blocked;	     /* send() said -EAGAIN: wait for tx_resume() */
	bool link_shown;	     /* what the driver was last told */
	bool launcher_stable;	     /* port.slots_stable as it was before the driver's word */
	struct net_kept kept;	     /* taken and not pushed; no more than the queue's size */
	struct virtq_chain tx_chain;
	struct frame tx_frame;
};

/*
 * Checks a header that a driver wrote for a frame of `len` bytes, and puts it into the one form
 * that carriers get to see: unused fields zero, hdr_len within the frame. `acked`: the negotiated
 * features. -EINVAL: a field breaks a rule.
 */
int net_hdr_check(struct virtio_net_hdr_v1 *hdr, size_t len, uint64_t acked);

/* Writes a header to `to` (VNET_HDR_BYTES, any alignment), made fit for a driver that negotiated
 * `acked`. */
void net_hdr_write(void *to, const struct virtio_net_hdr_v1 *h, uint16_t num_buffers,
		   uint64_t acked);

/* The receive side of the port (net_rx.c). */
int net_rx_init(struct virtio_net *net);
void net_rx_fini(struct virtio_net *net);
/* On the loop, with the receive lock not held. After net_rx_stop() no thread touches the ring. */
void net_rx_start(struct virtio_net *net);
void net_rx_stop(struct virtio_net *net);
/* The driver rang the receive doorbell. */
void net_rx_quiet(struct virtio_net *net);

/* A rule that the driver broke: the port is dead. -EPROTO. With the receive lock held. */
int net_rx_fault(struct virtio_net *net, const char *why);

bool net_rx_begin(struct port *p);
ssize_t net_rx_reserve(struct port *p, size_t want, struct iovec *iov, unsigned *iovcnt);
void net_rx_commit(struct port *p, const struct virtio_net_hdr_v1 *hdr, size_t len);
void net_rx_abort(struct port *p);
void net_rx_end(struct port *p);

/* The same as a ring of slots (net_slots.c). */
int net_rx_slots_look(struct port *p, struct slot_list *out, const char **why);
int net_rx_slots_enter(struct port *p, const struct slot_list *slots);
void net_rx_slots_leave(struct port *p);
/* As that one, and nobody is to know. With the receive lock held. */
void net_rx_slots_end(struct virtio_net *net);
int net_rx_slot_put(struct port *p, const struct virtio_net_hdr_v1 *hdr, size_t len);
unsigned net_rx_slots_given(struct port *p);
bool net_rx_slots_watch(struct port *p, unsigned n);
int net_rx_slots_follow(struct port *p, struct loop *loop, struct loop_fd *h);
bool net_touches_rings(struct port *p, const void *at, size_t len);

#endif
