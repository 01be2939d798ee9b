/*
 * 82540EM, private to nic/e1000*.c.
 *
 * Threads. The guest's register accesses arrive on vCPU threads. Those of a running driver's every
 * packet stay there: the tails are latched and the loop is told, interrupt registers have a lock of
 * their own. All others are carried to the NIC's loop, which owns everything not said otherwise.
 *
 * Locks, in the order in which they are taken: rx.lock (the receive side, for whoever delivers),
 * then irq.lock, then those of base/pci.h's interrupt path. None is held while a carrier is called.
 */
#ifndef NIC_E1000_INTERNAL_H
#define NIC_E1000_INTERNAL_H

#include <pthread.h>

#include "base/log.h"
#include "nic/e1000.h"
#include "nic/e1000_regs.h"

/* Buffers of one received frame: 16 KiB in the smallest buffers, and some that are null. */
#define E1000_RX_MAX_BUFS 128
/* Descriptors of one transmitted frame, and its buffers: one segment of a frame is ours. */
#define E1000_TX_MAX_DESCS 256
#define E1000_TX_MAX_SEGS  (FRAME_MAX_IOV - 1)
/* The part of a frame that checksum offsets (8 bits) and headers can lie in, and a tag. */
#define E1000_TX_HEAD_BYTES 264
/* Descriptors of the longest ring. */
#define E1000_RING_MAX (RING_LEN_MASK / E1000_DESC_BYTES)

/* Wired interrupt: raised by whoever serves a ring, read and masked on vCPU threads. */
struct e1000_irq {
	pthread_mutex_t lock;
	uint32_t cause; /* ICR */
	uint32_t mask;	/* IMS */
	bool level;
};

/* The microwire serial EEPROM behind EECD. */
struct e1000_eeprom {
	pthread_mutex_t lock; /* guards all but the words, which never change */
	uint16_t word[EEPROM_WORDS];
	unsigned nr_in;	  /* bits clocked in since the start bit, which is one of them */
	uint32_t in;	  /* those bits */
	unsigned out_bit; /* of the words being read, from the first one on */
	bool reading;
};

/* What a context descriptor set up. */
struct e1000_tx_ctx {
	uint8_t ipcss, ipcso, tucss, tucso, hdr_len;
	uint16_t ipcse, tucse, mss;
	bool ip4, tcp;
};

/* Of a transmit descriptor that was fetched and is not done: see e1000_tx.c. */
enum e1000_tx_state {
	TX_REPORT = 1 << 0, /* RS: to be written back */
	TX_KEPT = 1 << 1,   /* the carrier keeps its frame … */
	TX_LAST = 1 << 2,   /* … which ends here */
};

/* The transmit side; the loop's. */
struct e1000_tx {
	_Atomic uint32_t head; /* TDH: the first descriptor that is not done; any thread reads */
	_Atomic uint32_t tail; /* TDT: any vCPU writes */
	_Atomic uint32_t done; /* counts frames; see e1000_see_buffers() */
	uint32_t first;	      /* of the frame in progress; from the head on: kept, or behind such */
	uint32_t next;	      /* the next one to fetch */
	unsigned kept;	      /* frames that the carrier keeps … */
	unsigned released;    /* … that it has said to be done, and `head` has not passed … */
	unsigned forgotten;   /* … and that it will say to be done, but nobody cares */
	bool broken;	      /* until reset, or other ring registers */
	bool blocked;	      /* send() said -EAGAIN: wait for tx_resume() */
	bool moved, reported; /* in this batch: the head has moved; a status was written back */
	struct e1000_tx_ctx ctx[2]; /* without and with segmentation */

	/* The frame being put together. */
	bool skipping; /* until its end: it is too long */
	bool ready;    /* its last descriptor was fetched */
	bool built;    /* `frame` is it: send that */
	bool has_data;
	bool tse, vlan, ext, insert; /* insert: legacy checksum */
	uint8_t popts, css, cso;
	uint16_t special;
	struct e1000_tx_ctx frame_ctx;
	uint32_t bytes;
	unsigned nr_descs, nr_segs;
	struct iovec seg[E1000_TX_MAX_SEGS];
	uint8_t head_bytes[E1000_TX_HEAD_BYTES]; /* private copy that offloads are applied to */
	struct frame frame;
	uint8_t state[E1000_RING_MAX]; /* enum e1000_tx_state, by descriptor */
};

/* The receive ring as one of mapped slots: see e1000_slots.c. Guarded by rx.lock. */
struct e1000_slots {
	bool mapped;
	unsigned next; /* in the list: where the next frame lies */
	uint32_t seen; /* the tail when the carrier was last told how many slots are given */
	struct slot_list list;
};

/*
 * The receive side. Everything in it, and the receive ring, belongs to whoever holds `lock`: the
 * NIC's loop, another guest's loop that delivers a frame, an uplink.
 */
struct e1000_rx {
	pthread_mutex_t lock;
	bool live;		/* RCTL.EN, and nothing broken */
	_Atomic uint32_t head;	/* RDH: written under the lock, read by any thread */
	_Atomic uint32_t tail;	/* RDT: any vCPU writes */
	_Atomic uint32_t done;	/* counts frames; see e1000_see_buffers() */
	_Atomic bool starved;	/* somebody waits for buffers: tell the carrier at the next RDT */
	_Atomic uint32_t watch; /* tail << 16 | n: tell it when RDT is n further; 0: never mind */
	uint32_t causes;	/* interrupts due at rx_end() */
	bool low;		/* RXDMT0 was raised for this shortage */
	unsigned nr_bufs;	/* of the frame in progress */
	size_t bytes;		/* room in them */
	size_t given;		/* of it, shown to the carrier */
	struct iovec buf[E1000_RX_MAX_BUFS]; /* a whole descriptor's buffer each */
	uint8_t *scratch;		     /* for the rest of a frame that is too long anyway */
	struct e1000_slots slots;
};

/* A received frame on its way to the driver. */
struct e1000_rx_frame {
	size_t len;			/* as it came */
	size_t total;			/* as the driver gets it */
	uint8_t head[FRAME_HEAD_BYTES]; /* private copy: read once */
	uint8_t status;
	uint16_t special;
};

struct e1000 {
	struct pci_fn fn;
	struct port port;
	const char *name;
	struct loop *loop;
	struct platform *plat;
	struct log_limit log;
	struct e1000_stats stats;
	struct e1000_irq irq;
	struct e1000_rx rx;
	struct e1000_tx tx;
	struct e1000_eeprom eeprom;

	/* Written on the loop; any thread may read. Only those without a place of their own count.
	 */
	_Atomic uint32_t reg[E1000_REG_BYTES / 4];
	_Atomic uint64_t octets[4]; /* good received, good sent, received, sent */
	uint16_t phy[PHY_NR_REGS];
	_Atomic uint64_t missed_before; /* frames without a buffer that MPC has told of */
	_Atomic uint32_t io_address;
	bool started;	   /* the carrier is */
	_Atomic bool link; /* what the driver was last told; any thread reads */

	struct loop_work tx_work, resume_work, rx_work, link_work;
};

static inline uint32_t e1000_get(const struct e1000 *e, unsigned reg)
{
	return atomic_load_explicit(&e->reg[reg / 4], memory_order_relaxed);
}

static inline void e1000_set(struct e1000 *e, unsigned reg, uint32_t v)
{
	atomic_store_explicit(&e->reg[reg / 4], v, memory_order_relaxed);
}

static inline void e1000_count(struct e1000 *e, unsigned stat, uint32_t n)
{
	atomic_fetch_add_explicit(&e->reg[stat / 4], n, memory_order_relaxed);
}

/*
 * A buffer that went back to the guest (DD) may come in again at once in the other ring, served by
 * another thread. The guest orders the two by reading DD before it writes a tail, which the
 * language knows nothing of: `done` is written before DD, and read before the tail is passed on.
 */
static inline void e1000_see_buffers(struct e1000 *e)
{
	(void)atomic_load_explicit(&e->rx.done, memory_order_acquire);
	(void)atomic_load_explicit(&e->tx.done, memory_order_acquire);
}

/* Descriptors of a ring of `nr` from one to another. */
static inline uint32_t e1000_distance(uint32_t from, uint32_t to, uint32_t nr)
{
	return to >= from ? to - from : to + nr - from;
}

enum e1000_octets { OCTETS_GOOD_RX, OCTETS_GOOD_TX, OCTETS_RX, OCTETS_TX };

/* e1000_reg.c; any thread. */
extern const struct bus_ops e1000_mmio_ops, e1000_io_ops; /* opaque: the e1000 */
void e1000_raise(struct e1000 *e, uint32_t causes);
void e1000_irq_clear(struct e1000 *e, uint32_t causes, uint32_t mask_bits);
/* Counts a good frame of `len` bytes (without FCS) in the registers that belong to its direction.
 */
void e1000_count_frame(struct e1000 *e, bool tx, const uint8_t *dst, size_t len);

/* e1000.c */
/* The guest broke a rule; says so, at a limited rate. Any thread. */
void e1000_complain(struct e1000 *e, const char *what, const char *why);
/* The ring whose base register is `base_reg`, with its number of descriptors; NULL: there is none
 * there. Whoever owns the registers of that ring. */
void *e1000_ring(struct e1000 *e, unsigned base_reg, uint32_t *nr);
/* On the loop: a write to one of the registers that concern it. */
void e1000_write(struct e1000 *e, unsigned reg, uint32_t v);
/* On the loop: the link may have changed; tells the driver. */
void e1000_link_check(struct e1000 *e);

/* e1000_eeprom.c; any thread. */
int e1000_eeprom_init(struct e1000 *e, const uint8_t mac[ETH_ADDR_BYTES]);
void e1000_eeprom_fini(struct e1000 *e);
void e1000_eecd_write(struct e1000 *e, uint32_t v);
void e1000_eerd_write(struct e1000 *e, uint32_t v);

/* e1000_phy.c; on the loop. */
void e1000_phy_reset(struct e1000 *e);
void e1000_mdic_write(struct e1000 *e, uint32_t v);

/* e1000_tx.c */
/* Sends what there is. `resumed`: the carrier has asked for its send_end() in any case. */
void e1000_tx_serve(struct e1000 *e, bool resumed);
void e1000_tx_reset(struct e1000 *e); /* forgets the frame in progress, and kept ones */
void e1000_tx_done(struct port *p, unsigned n);
/* The carrier is stopped and holds no frame any more: those that it kept are done. */
void e1000_tx_stopped(struct e1000 *e);

/* e1000_rx.c */
int e1000_rx_init(struct e1000 *e);
void e1000_rx_fini(struct e1000 *e);
/* On the loop, with the receive lock not held. Writes RCTL or a register of the ring; the port is
 * live afterwards if the registers and the carrier's state say so. */
void e1000_rx_set(struct e1000 *e, unsigned reg, uint32_t v);
/* After it no thread touches the ring. */
void e1000_rx_stop(struct e1000 *e);
bool e1000_rx_begin(struct port *p);
ssize_t e1000_rx_reserve(struct port *p, size_t want, struct iovec *iov, unsigned *iovcnt);
void e1000_rx_commit(struct port *p, const struct virtio_net_hdr_v1 *hdr, size_t len);
void e1000_rx_abort(struct port *p);
void e1000_rx_end(struct port *p);

/*
 * Of e1000_rx.c, shared with e1000_slots.c; all with the receive lock held.
 */
/* The guest broke a rule: the direction is dead until the driver sets it up anew. -EPROTO. */
int e1000_rx_fault(struct e1000 *e, const char *why);
size_t e1000_rx_buffer_bytes(uint32_t rctl);
/* The ring, its size, and how many of its descriptors are ours, from the head on. NULL: there is
 * none, or head or tail are not in it: faulted. */
uint8_t *e1000_rx_ring(struct e1000 *e, uint32_t *nr, uint32_t *ours);
/* A descriptor's buffer, read once; guest physical, 0: none. */
uint64_t e1000_rx_address(const uint8_t *ring, uint32_t index);
/* Looks at the frame of f->len bytes in rx.buf and fills in the rest of *f. False: the hardware
 * would not take it (too long, and counted; filtered out). */
bool e1000_rx_accept(struct e1000 *e, uint32_t rctl, struct e1000_rx_frame *f);
/* Its tag is to be cut out. */
bool e1000_rx_cuts_tag(const struct e1000 *e, const struct e1000_rx_frame *f);
/* Fills the accepted frame up behind its bytes, and stages it. */
void e1000_rx_deliver(struct e1000 *e, uint32_t rctl, struct e1000_rx_frame *f,
		      const struct virtio_net_hdr_v1 *hdr);
/* Stages the descriptor at the head as one without a frame. */
void e1000_rx_skip(struct e1000 *e, uint32_t rctl);

/* e1000_slots.c: the operations of struct port_ops. */
int e1000_slots_look(struct port *p, struct slot_list *out, const char **why);
int e1000_slots_enter(struct port *p, const struct slot_list *slots);
void e1000_slots_leave(struct port *p);
int e1000_slot_put(struct port *p, const struct virtio_net_hdr_v1 *hdr, size_t len);
unsigned e1000_slots_given(struct port *p);
bool e1000_slots_watch(struct port *p, unsigned n);
bool e1000_touches_rings(struct port *p, const void *at, size_t len);
/* Would this RCTL make other slots out of the same descriptors? */
bool e1000_slots_differ(uint32_t rctl, uint32_t other);
/* Somebody wants to reserve buffers of the mapped ring. */
void e1000_slots_refuse(struct e1000 *e);
/* The tail was written. Any thread, without the receive lock. True: the carrier is to be told. */
bool e1000_slots_watched(struct e1000 *e, uint32_t tail);

#endif
