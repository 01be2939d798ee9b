/*
 * The mapped lane of one member: from its transmit element to the receive element of one other.
 * Private to the switch.
 *
 *            whole turns of stable slots, most frames to one member
 *   OFF ───────────────────────────────▶ GATHER   frames go on `direct`, but stay the NIC's: until
 *    ▲                                      │     all of the sender's slots are ours
 *    │◀── too slow, not stable ─────────────┤
 *    │                                      ▼
 *    │◀── receiver sits on its slots,     WAIT     the sender's ring is full; until the receiver
 * has │    rings do not pair                 │     given back all of its slots: they are ours too
 *    │                                      ▼
 *    │                                   MOVING   the remapper binds one DMA buffer under both
 *    │                                      ▼
 *    │◀── LEAVING ◀────────────────────────ON     slot i of both is the same memory
 *    │    the remapper gives both their pages back
 *
 * While ON the hand-shake is: the sender's tail has moved; the receiver's next slot is staged with
 * length and header, one interrupt a batch; the receiver gives the slot back; the sender's slot is
 * done. Both rings move in lockstep: a frame for somebody else, which is copied out, uses the
 * receiver's slot up as well, without a frame in it. No slot of the sender's is ever completed
 * before the receiver has given its own back, or has got a copy.
 *
 * Order of memory accesses. The receiver's reads of a frame come before its available index (or
 * RDT) moves, a release; rx_slots_given() reads that anew each time it is called, an acquire; only
 * then comes tx_done(), and the sender's used index (or DD), a release, which its driver reads
 * before it writes to the slot. The other way round: the sender's available index (or TDT), the
 * staged slot, the receiver's used index (or DD). The pages' own way through the remapper is
 * ordered by sw->lock and by the vCPUs' hold.
 *
 * Threads. In OFF, GATHER, WAIT and ON everything belongs to the sender's loop, inside of a batch
 * (sw->lock held for reading). In MOVING and LEAVING it belongs to the remapper's thread. Changes
 * from one to the other, and whatever start and stop do to it, are made with sw->lock held: for
 * reading by the sender's loop, for writing by all others.
 */
#ifndef XTALK_MAP_LANE_H
#define XTALK_MAP_LANE_H

#include "base/loop.h"
#include "xtalk/mapping.h"
#include "xtalk/slot_track.h"
#include "xtalk/xtalk.h"

enum map_state { MAP_OFF, MAP_GATHER, MAP_WAIT, MAP_MOVING, MAP_ON, MAP_LEAVING };

/* How long the sender may take to fill its ring before that is given up. It may pause for a part of
 * the net's slot deadline meanwhile; the receiver has all of that to give back what it has, and is
 * looked at again every step. */
#define MAP_GATHER_LIMIT_NS UINT64_C(200000000)
#define MAP_IDLE_PART	    5
#define MAP_WAIT_STEP_NS    UINT64_C(100000)
/* No try within that time after one that failed, or after a mapping that ended against its will;
 * twice as long each time in a row, up to the limit. A mapping that lasts is no failure. */
#define MAP_BACKOFF_NS	      UINT64_C(50000000)
#define MAP_BACKOFF_DOUBLINGS 10
#define MAP_LASTING_NS	      UINT64_C(2000000000)
/* Not before that does a change of traffic end it. */
#define MAP_DWELL_NS UINT64_C(100000000)

/* The buffer that it will be mapped with takes milliseconds to make: that is done before the sender
 * is held. Changed by the sender's loop (to WANTED, UNWANTED) and the remapper's thread. */
enum map_buffer { MAP_BUFFER_NONE, MAP_BUFFER_WANTED, MAP_BUFFER_READY, MAP_BUFFER_UNWANTED };

/* One of the receiver's slots that it has not given back. */
struct map_put {
	uint32_t len;	 /* of the frame in it; 0: none */
	uint16_t tx, rx; /* where it is in both lists */
	bool kept;	 /* there is a frame of the sender's to be completed for it */
	uint8_t head[FRAME_HEAD_BYTES];
};

struct map_lane {
	_Atomic int state; /* enum map_state */
	struct slot_track track;
	unsigned dst;  /* of the frame at hand: a slot of the net, or none */
	unsigned to;   /* the receiver's slot in the net */
	unsigned nr;   /* slots of each ring */
	unsigned kept; /* frames that the NIC keeps for us */
	bool put_done; /* the frame at hand has used up the receiver's next slot */

	/* GATHER, WAIT */
	uint64_t began_ns;
	unsigned seen;		  /* frames kept, when that was looked at last, … */
	uint64_t seen_ns;	  /* … and when they became so many */
	uint32_t sent[SLOTS_MAX]; /* bytes of the frame in each slot of `track`, if it was for `to`
				   */
	bool sampled;		  /* rx is how that receiver's ring looked the last time … */
	unsigned sampled_to;	  /* … with this slot of the net */
	uint64_t to_mac;	  /* the receiver's */
	unsigned short_nr;	  /* so few it had given the last time */
	_Atomic int buffer;	  /* enum map_buffer */
	struct dma_buf ready;	  /* the remapper's */

	/* ON: both lists in ring order; pos: the next slot of both */
	struct slot_list tx, rx;
	unsigned pos;	      /* in tx */
	unsigned rxpos;	      /* in rx */
	unsigned release;     /* of `kept`: from before, to be completed at once */
	unsigned first, puts; /* the oldest of put[], and how many */
	struct map_put put[SLOTS_MAX];
	uint64_t progress_ns; /* the receiver has given something back, or had nothing */
	uint64_t since_ns;    /* mapped */
	struct mapping mapping;
	uintptr_t low, high; /* the sender's pages lie between them */
	/* The receiver's doorbell, if it can be lent: what it gives back needs no word from its
	 * loop then. The sender's loop alone has it, and closes it some time after ON. */
	struct loop_fd bell;
	struct port *sender;
	bool follow; /* ask for it */
	bool rung;

	/* LEAVING, and from LEAVING to OFF */
	enum binding leave_to;
	enum xtalk_why why;
	char detail[96];
	bool undo; /* MOVING: one of the two has stopped meanwhile */

	uint64_t retry_ns; /* no try before */
	unsigned failures;
	char not_mapped[96]; /* why not, for people */
	uint64_t maps, rescues;
};

/* Said by map_work.c, too. */
void map_lane_not_mapped(struct map_lane *l, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));
void map_lane_back_off(struct map_lane *l, uint64_t now);

struct member;
struct netswitch;

/* netswitch.c, when a member starts; with sw->lock held for writing. Without stable slots, memory
 * that may be shared or a net that allows it there is none. */
void map_lane_start(struct member *m);
/* A member stops: with sw->lock held for writing. True: map_lane_settle() must follow. */
bool map_lane_stop(struct member *m);
/* Returns when no page of anybody who has stopped is mapped; no lock held, any loop. */
void map_lane_settle(struct netswitch *sw);
void map_lane_free(struct member *m);

/* On the sender's loop, inside of a batch, for a member that has one. */
/* Before a frame is steered (`allowed`), or dropped: 0; MAP_LANE_OWN: it is for the lane's receiver
 * alone, for map_lane_put(); -EAGAIN: not now. */
#define MAP_LANE_OWN 1
int map_lane_before(struct member *m, const struct frame *f, bool allowed);
/* A frame for its receiver, while it is ON. 0, -EAGAIN. */
int map_lane_put(struct member *m, const struct frame *f);
/* The frame is done, one way or the other: 0, or CARRIER_KEPT. */
int map_lane_after(struct member *m, const struct frame *f);
/* At the beginning and at the end of each batch, and when somebody has called tx_resume():
 * completes what has been given back, goes on with what waits. */
void map_lane_service(struct member *m, bool end);
/* What was begun is ended: GATHER, WAIT and ON go back to OFF, on the way to `to`. True: the
 * binding changes later, when the pages are back. */
bool map_lane_end(struct member *m, enum binding to, enum xtalk_why why, const char *detail);
/* On the sender's loop, not inside of a batch: it stops, and has no lane. */
void map_lane_unfollow(struct member *m);
/* An order: try at once, whatever has failed before. */
void map_lane_hurry(struct member *m);

/* On the remapper's loop: does what is to be done to any member's pages. */
void map_lane_work(struct loop_work *w);

static inline bool map_lane_is(const struct map_lane *l, enum map_state s)
{
	return atomic_load_explicit(&l->state, memory_order_relaxed) == (int)s;
}

#endif
