/*
 * The contract between a NIC and what carries its frames. It is the seam at which a binding is
 * swapped: the carrier behind the NIC changes, the guest's rings never do.
 *
 * Both sides know only this file. A NIC (virtio-net, later e1000) is a `struct port`; a TAP, a
 * switch of one net, later a lane, is a `struct carrier`.
 *
 *    guest ─▶ transmit ring ─▶ NIC ── carrier->ops->send() ──▶ carrier ─▶ TAP, other ports …
 *    guest ◀─ receive ring ◀── NIC ◀── port->ops->rx_*() ───── carrier ◀─ TAP, other ports …
 *
 * Threads. send(), rx_ready(), start() and stop() are called on the NIC's own loop only. The
 * receive side of a port may be driven by several threads (several senders, an uplink): whoever
 * does so brackets it with rx_begin() and rx_end(), which take and release the port's one receive
 * lock. Nobody holds the receive lock of two ports at a time, and a NIC calls its carrier without
 * its own: a carrier's locks always come before a receive lock.
 */
#ifndef BASE_CARRIER_H
#define BASE_CARRIER_H

#include <linux/virtio_net.h>
#include <stdatomic.h>
#include <sys/types.h>
#include <sys/uio.h>

#include "base/gmem.h"
#include "base/loop.h"
#include "base/types.h"

#define FRAME_HEAD_BYTES 18    /* Ethernet header and one VLAN tag */
#define FRAME_MIN_BYTES	 14    /* shorter than an Ethernet header: no frame */
#define FRAME_MAX_BYTES	 65549 /* 64 KiB of GSO payload and its headers: 65535 + 14 */
#define FRAME_MAX_IOV	 130   /* segments of one frame */
#define VNET_HDR_BYTES	 12    /* struct virtio_net_hdr_v1 */
#define ETH_ADDR_BYTES	 6

/*
 * A frame on its way out. `hdr` and `head` are private copies that the NIC has checked: decide on
 * them, send them. `iov` is the rest of the frame in guest memory: its bytes may change under you.
 */
struct frame {
	struct virtio_net_hdr_v1 hdr; /* checked: offsets lie within len, gso fields are sane */
	uint32_t len;		      /* of the whole frame, head included, hdr not */
	uint32_t head_len;	      /* min(len, FRAME_HEAD_BYTES) */
	uint8_t head[FRAME_HEAD_BYTES];
	unsigned iovcnt; /* len - head_len bytes in all */
	struct iovec iov[FRAME_MAX_IOV];
	/* Where it begins in guest memory, if all of it lies in one piece there and the header that
	 * the device model has (if any) in another; else NULL. Who decides reads the copies above.
	 */
	uint8_t *slot;
	const void *slot_hdr; /* where that header is; NULL: the model has none */
};

struct port;
struct carrier;

struct carrier_ops {
	/* Carry one frame. 0: done (delivered, or dropped and counted): its buffers are the guest's
	 * again. -EAGAIN: not now; keep it, and every later one, until port->ops->tx_resume().
	 * CARRIER_KEPT: it is on its way, but somebody still reads its buffers: they are the
	 * guest's again after port->ops->tx_done(). Only ports with tx_done() get that answer. Kept
	 * frames may be followed by ones that are done at once; a model whose descriptors complete
	 * in order makes these wait. */
	int (*send)(struct carrier *c, const struct frame *f);
	/* The NIC has taken all it wants for now: flush what was batched (one interrupt per batch).
	 */
	void (*send_end)(struct carrier *c);
	/* The guest has made receive buffers available (or the port has just been started). */
	void (*rx_ready)(struct carrier *c);
	/* Go on: deliver received frames to `port`. */
	int (*start)(struct carrier *c);
	/* Quiesce: after return the carrier touches neither the port's receive side nor any buffer
	 * of its guest, and holds no frame that it took from it. Idempotent. */
	void (*stop)(struct carrier *c);
	/* Offloads that the guest's driver can take (VIRTIO_NET_F_GUEST_*), negotiated: the carrier
	 * must not deliver frames that need others. */
	void (*set_rx_features)(struct carrier *c, uint64_t features);
	/* Is there a medium: guest-visible link state. */
	bool (*link_up)(struct carrier *c);
	/* Somebody came with a frame and found the receive element mapped by another (see
	 * rx_slots_enter()). Any thread, with the port's receive lock held: must not block. May be
	 * NULL. */
	void (*rx_refused)(struct carrier *c);
};

#define CARRIER_KEPT 1

/*
 * Who may look at the frames that come in from a physical device before the guest can see them:
 * the cross-talk layer swallows its own marker frames here.
 */
struct frame_filter {
	/* head: a private copy of the frame's first bytes. True: the frame ends here. On the NIC's
	 * loop, inside rx_begin() … rx_end() of its port: must not deliver, block, or take a lock
	 * that is held while a port's receive lock is taken. */
	bool (*swallow)(struct frame_filter *f, const uint8_t *head, uint32_t head_len);
};

struct carrier {
	const struct carrier_ops *ops;
	struct port *port;	     /* whom it serves; set by the launcher before start() */
	struct frame_filter *filter; /* of a carrier on a physical device; NULL: none. As port. */
};

/*
 * Slots: what a memory element is made of where a driver uses the same buffers over and over, in
 * the same order. The contract of such a driver (docs/mapped.md), which it or vm.ini declares: (a)
 * slot i of a ring always points at the same buffer, and slots are given in ring order; (b) the
 * pages of the buffers hold nothing but slots; a virtio-net header lies elsewhere; (c) a receive
 * slot is given back only after its content was consumed; a transmit slot's content is undefined
 * from its completion until it is written anew; (d) a received slot without a frame (virtio-net:
 * used length 0; e1000: an error bit) is skipped and given back. Nothing of it is believed that
 * could hurt anybody but the guest itself.
 */
#define SLOTS_MAX 1024

struct slot {
	uint8_t *at;	 /* where a frame begins; host address */
	uint32_t bytes;	 /* room for a frame, for a receive slot; 0 for a transmit slot */
	const void *hdr; /* where the model's header lies; NULL: it has none */
};

struct slot_list {
	unsigned nr;
	struct slot slot[SLOTS_MAX]; /* in ring order, the next one to be used first */
};

/*
 * The guest memory that a port's buffers lie in, for who rebinds parts of it: the remapper's thread
 * only, but for `mem` and `domain`, which never change. Each port has one of its own: ports of the
 * same guest have the same `mem`. It is there, and may be used, until the port is detached.
 */
struct port_memory {
	struct gmem *mem;
	const char *domain;    /* guests of different domains never share a page; "": with nobody */
	bool receive_readonly; /* mapped receive slots can't be written by this guest's vCPUs */
	/* Returns when no vCPU of the guest runs guest code, nor will until release(). A vCPU whose
	 * exit is being handled is not waited for, whatever it waits for itself. Nests: each hold
	 * has its release. */
	void (*hold)(void *arg);
	void (*release)(void *arg);
	/* The host could not give the guest its memory back: end it. Any thread. */
	void (*lost)(void *arg);
	void *arg;
	/* Set by the switch when the port is attached; NULL: none. The guest wrote to pages that
	 * its vCPUs can only read. True: they soon can, or nothing is known of it any more, it is
	 * to try again; false: not my doing. On a thread of a vCPU, which counts as held: may
	 * wait for loops and the remapper. Need not wait: it is asked again, for a second at least,
	 * with pauses. */
	bool (*write_refused)(void *arg);
	void *refused_arg;
};

/*
 * The receive side of a NIC. All between rx_begin() and rx_end():
 *
 *    rx_begin ─▶ { rx_reserve ─▶ [more rx_reserve] ─▶ rx_commit | rx_abort } … ─▶ rx_end
 */
struct port_ops {
	/* Takes the receive lock. False (lock not taken): the port is not live. */
	bool (*rx_begin)(struct port *p);
	/* Gets buffers for one frame, at least `want` bytes together if the ring has them: fills
	 * iov[0 .. *iovcnt) (in: room; out: used) and returns their bytes, which may be less than
	 * `want` (not enough buffers now) or more. A further call before commit extends the same
	 * frame: it fills iov with the additional segments only. 0: none. -EPROTO: the guest broke
	 * a rule, the port is dead until reset. The vnet header has its own place, outside of iov.
	 */
	ssize_t (*rx_reserve)(struct port *p, size_t want, struct iovec *iov, unsigned *iovcnt);
	/* The frame of len bytes is in place: stage it for the driver, with this header. Surplus
	 * buffers go back to the ring. */
	void (*rx_commit)(struct port *p, const struct virtio_net_hdr_v1 *hdr, size_t len);
	/* Forget the frame; its buffers go back to the ring. */
	void (*rx_abort)(struct port *p);
	/* Publishes what was staged, interrupts the guest at most once, releases the lock. */
	void (*rx_end)(struct port *p);
	/* After send() returned -EAGAIN: try again. Any thread; it is carried to the NIC's loop. In
	 * any case send_end() is called once, so that a carrier can see to what it has kept. */
	void (*tx_resume)(struct port *p);
	/* The n oldest frames that send() has kept are done. On the NIC's loop, from within send(),
	 * send_end() or stop() of its carrier; the NIC publishes afterwards, once a batch. NULL:
	 * the model can't keep frames. A reset of the device forgets kept frames without this. */
	void (*tx_done)(struct port *p, unsigned n);
	/* The carrier's link_up() has changed. Any thread. */
	void (*link_changed)(struct port *p);

	/*
	 * The receive element as a ring of slots. NULL where the model has no such thing. All
	 * between rx_begin() and rx_end(), no frame reserved.
	 *
	 * rx_slots_look(): the slots that the driver has given, in ring order, without taking any.
	 * 0; -ENOTSUP: a buffer that is no slot (*why: a constant string); -EPROTO: as
	 * rx_reserve().
	 */
	int (*rx_slots_look)(struct port *p, struct slot_list *out, const char **why);
	/* From now on the element is mapped: all of `slots`, which rx_slots_look() has just given,
	 * are used in that order, over and over, by rx_slot_put() alone; rx_reserve() finds nothing
	 * (0) and tells carrier->rx_refused(). The list is copied. 0; -ESTALE: the ring is not (or
	 * no longer) as the list says, nothing has changed; -EPROTO. */
	int (*rx_slots_enter)(struct port *p, const struct slot_list *slots);
	/* Back to ordinary buffers: what was given and not used is reserved next. Idempotent; a
	 * reset of the device does it too. */
	void (*rx_slots_leave)(struct port *p);
	/* The next slot holds a frame of len bytes with this header (len 0: none, the driver is to
	 * skip it): stages it for the driver. 0; -ENOBUFS: the driver has not given it back yet,
	 * the doorbell is asked for; -ESTALE: what it gave is not the slot that is next, nothing
	 * was taken; -EMSGSIZE: longer than the slot; -EPROTO: as rx_reserve(). */
	int (*rx_slot_put)(struct port *p, const struct virtio_net_hdr_v1 *hdr, size_t len);
	/* How many slots the driver has given and rx_slot_put() not used: all of them when every
	 * frame was consumed. No more than there are, whatever the driver claims. */
	unsigned (*rx_slots_given)(struct port *p);
	/* Asks for carrier->rx_ready() when n more slots (at least 1) have been given than the
	 * caller was last told by look() or given(), or earlier. True: they have been already, it
	 * may not come. An element that is not mapped may be watched, too. */
	bool (*rx_slots_watch)(struct port *p, unsigned n);
	/* While it is mapped, the lane's sender may follow the doorbell itself: h->fn is called on
	 * `loop`, whose thread this is, where carrier->rx_ready() was called, and perhaps without
	 * need. rx_ready() is called once more, for who has waited so far, and not again until
	 * rx_slots_leave(). h->fd is set; the caller ends with loop_del() and close(), when it
	 * likes. 0; -ENOTSUP: this device has no doorbell to lend; -EALREADY: it is lent; else
	 * errno of fcntl, epoll_ctl. May be NULL: -ENOTSUP. */
	int (*rx_slots_follow)(struct port *p, struct loop *loop, struct loop_fd *h);
	/* Do these bytes touch a ring of this device? Any thread while the port is live. */
	bool (*touches_rings)(struct port *p, const void *at, size_t len);
};

/* The ways that a frame can take. A group frame may take several. */
enum port_path {
	PATH_UPLINK, /* to or from the physical device */
	PATH_DIRECT, /* between guests, one copy */
	PATH_MAPPED, /* between guests, no copy */
	NR_PATHS,
};

struct path_stats {
	_Atomic uint64_t tx_frames, tx_bytes, rx_frames, rx_bytes;
};

/* Adds to a counter that one thread at a time writes (its owner, or who holds its lock) and any may
 * read: no locked instruction, which would cost more than the rest of a small frame. */
static inline void stat_add(_Atomic uint64_t *counter, uint64_t n)
{
	atomic_store_explicit(counter, atomic_load_explicit(counter, memory_order_relaxed) + n,
			      memory_order_relaxed);
}

/*
 * Counters of one NIC; any thread may read them. tx_frames, tx_bytes and path[].tx_* are written by
 * the NIC's loop, rx_frames, rx_bytes and path[].rx_* with the receive lock held, both by
 * stat_add(); the rare ones by whoever comes along, with an atomic addition.
 */
struct port_stats {
	_Atomic uint64_t tx_frames, tx_bytes, rx_frames, rx_bytes;
	struct path_stats path[NR_PATHS]; /* delivered or handed on, by way */
	_Atomic uint64_t tx_dropped;	  /* the carrier could not or would not take it */
	_Atomic uint64_t rx_dropped;	  /* no buffers, or too long for them */
	_Atomic uint64_t tx_invalid;	  /* the guest's header or length broke a rule */
	_Atomic uint64_t tx_spoofed;	  /* the source address is not this NIC's to use */
	_Atomic uint64_t tx_held; /* times that a receiver without buffers held this NIC back */
	_Atomic uint64_t rx_lent; /* rings of a doorbell that was lent (rx_slots_follow()) */
};

struct port {
	const struct port_ops *ops;
	const char *name; /* "alpha.eth0" */
	uint8_t mac[ETH_ADDR_BYTES];
	_Atomic uint64_t rx_features; /* VIRTIO_NET_F_GUEST_* negotiated, 0 while not live */
	_Atomic bool slots_stable;    /* vm.ini or the driver has declared the contract of slots */
	unsigned tx_left_out; /* transmit slots that a driver can't give together with the others:
			       * e1000: 1, the one that TDT points at; virtio-net: 0 */
	struct loop *loop;    /* the NIC's own */
	struct port_memory *memory; /* borrowed, set by the launcher; NULL: never mapped */
	struct carrier *carrier;
	struct port_stats stats;
};

#endif
