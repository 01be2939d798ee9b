/*
 * The switch of a net, shared by its files: netswitch.c (membership, life, state), steer.c (the
 * path of a frame), drain.c (markers), shared_uplink.c (a physical device that all members share).
 *
 * Threads and locks, in the order in which they are taken:
 *   1. sw->lock, for reading, by a sender from its first frame to send_end() (a batch), by the
 * shared uplink's thread for a batch, by the remapper's tick: nobody comes, goes, starts or stops
 *      meanwhile. For writing by attach, detach, start and stop, which thereby wait until no batch
 * is on its way. Writers are preferred: a stream of batches must not keep a guest from resetting
 * its NIC. A thread never reads twice.
 *   2. the receive lock of one port.
 *   3. sw->drain_lock: who waits for which marker. Taken by a receiver's loop with its port's
 * receive lock held (the filter), so sw->lock may not be taken there.
 */
#ifndef XTALK_SWITCH_INTERNAL_H
#define XTALK_SWITCH_INTERNAL_H

#include <endian.h>
#include <pthread.h>
#include <string.h>

#include "base/log.h"
#include "base/loop.h"
#include "xtalk/deliver.h"
#include "xtalk/detector.h"
#include "xtalk/map_lane.h"
#include "xtalk/netswitch.h"
#include "xtalk/remapper.h"

/* How long the old path may take to drain before a swap is given up, and how long before the next
 * try on that lane. */
#define DRAIN_LIMIT_NS		UINT64_C(50000000)
#define DRAIN_BACKOFF_NS	UINT64_C(1000000000) /* twice as long after each failure, … */
#define DRAIN_BACKOFF_DOUBLINGS 6		     /* … up to 64 s */
/* A bridge forgets an address after 300 s by default; remind it well before. */
#define BRIDGE_REFRESH_NS UINT64_C(30000000000)

_Static_assert(NETSWITCH_MAX_PORTS <= DETECTOR_MAX_PEERS, "a slot is a detector's destination");
_Static_assert(NETSWITCH_MAX_PORTS == 256, "a marker names its sender's slot in 8 bits");

/*
 * A lane from one member to another.
 *
 *   CLOSED    frames take the uplink.      ─▶ DRAINING: `direct`, a frame for it, no back-off
 *   DRAINING  a marker is on its way; the  ─▶ OPEN: it came through  ─▶ CLOSED: it did not in time,
 *             sender waits                       the binding ends, or the frame that waits is gone
 *   OPEN      frames are delivered at once ─▶ CLOSED: either side stops, or the binding ends
 *
 * A sender opens one lane at a time: the one that its first frame waits for.
 */
enum lane_state { LANE_CLOSED, LANE_DRAINING, LANE_OPEN };

/* What is known of the markers that a slot's member has sent. It outlives the member: they may
 * still be on their way. */
struct drain {
	/* guarded by sw->drain_lock */
	uint32_t cookie; /* awaited; 0: none */
	/* That may still come in late, where a bridge floods even from a member that has not read
	 * its device since the last drain of every lane. */
	uint32_t old[NETSWITCH_MAX_PORTS];
	unsigned next_old;
	bool done;
	unsigned slot; /* whose lane drains */
	uint64_t mac;  /* of the slot's last member */
};

struct member {
	struct carrier carrier;
	struct frame_filter filter;
	struct netswitch *sw;
	struct port *port;
	struct carrier *uplink; /* its own physical device, or NULL */
	uint64_t mac;
	unsigned slot; /* in sw->members, as long as it is attached */
	bool promiscuous;
	bool has_peer;

	bool started; /* guarded by sw->lock */

	/* Sender's loop, inside of a batch; or sw->lock held for writing. */
	bool in_batch;	   /* holds sw->lock */
	bool again;	   /* the next frame has been seen before: -EAGAIN was the answer */
	int opening;	   /* slot whose lane the next frame waits for, or -1 */
	bool waits_mapped; /* waits_for: until its mapped lane has ended, not for buffers */
	int ordered;	   /* the last netswitch_command() carried out, or COMMAND_AUTO */
	struct delivery delivery;
	struct detector detector;
	uint8_t lane[NETSWITCH_MAX_PORTS];
	uint64_t retry_ns[NETSWITCH_MAX_PORTS]; /* no drain of that lane before */
	uint8_t failures[NETSWITCH_MAX_PORTS];	/* drains of that lane in a row that came to nothing
						 */
	struct drain *drain;			/* of its slot */
	struct xtalk_event swap;		/* under way, if swap_pending */
	bool swap_pending;
	uint64_t swap_began_ns;
	uint64_t batch_ns;  /* time at the batch's first frame */
	uint64_t uplink_ns; /* the bridge last heard from it */

	/* Written by the sender's loop, read by others. */
	_Atomic int binding;	      /* enum binding */
	_Atomic int waits_for;	      /* slot of a receiver without buffers, or -1 */
	_Atomic uint64_t waits_until; /* ns, of that or of a drain; 0: waits for nothing */
	_Atomic uint64_t swaps, drain_timeouts;

	/* Written by any thread, carried out by the sender's loop at its next frame. */
	_Atomic int command; /* COMMAND_NONE, COMMAND_AUTO, or a binding */
	_Atomic bool pinned;

	/* As a receiver. */
	_Atomic bool awaited; /* somebody waits for its buffers */
	_Atomic bool stuck;   /* it held somebody back for too long: drop until it takes a frame */

	/* Mapped lanes; see map_lane.h. */
	struct map_lane *map;	     /* of its transmit element; NULL: never mapped */
	struct member *rx_mapped_by; /* whose lane its receive element is mapped to; guarded by
				      * sw->lock */
	_Atomic int map_waits_for;   /* slot of the receiver whose slots it waits for, or -1 */
	_Atomic uint64_t map_until;  /* its lane is looked at again; 0: it waits for nothing */
	_Atomic bool evict;	     /* its receive element is mapped, and others want it */
	_Atomic bool wrote;	     /* it wrote to mapped slots that it may only read */
	_Atomic bool rx_freed;	     /* its physical device may deliver again */
};

#define COMMAND_NONE -1
#define COMMAND_AUTO -2

#define MAC_SLOTS     (4 * NETSWITCH_MAX_PORTS) /* a power of two */
#define MAC_SLOT_BITS 10
_Static_assert(MAC_SLOTS == 1 << MAC_SLOT_BITS, "the hash fills the table");

struct shared_uplink;

struct netswitch {
	struct netswitch_params p;
	pthread_rwlock_t lock;
	pthread_mutex_t drain_lock;
	unsigned nr_slots;			     /* highest slot in use, plus one */
	struct member *members[NETSWITCH_MAX_PORTS]; /* by slot; NULL where free */
	struct member *by_mac[MAC_SLOTS];	     /* open addressing; at most a quarter full */
	struct drain *drains[NETSWITCH_MAX_PORTS];   /* by slot, from its first member on */
	struct shared_uplink *shared;		     /* NULL: none */
	struct netswitch_stats stats;
	struct log_limit spoof_log;
	/* Wakes senders whose time of waiting is over; on the remapper's loop. */
	struct loop_timer tick;
	_Atomic bool tick_armed;
	_Atomic uint32_t cookie_seed;
	struct loop_work map_work; /* on the remapper's loop: pages are to be moved */
};

uint64_t switch_now_ns(void);

static inline void switch_count(_Atomic uint64_t *counter, uint64_t n)
{
	atomic_fetch_add_explicit(counter, n, memory_order_relaxed);
}

/* Asked for several times a frame: two loads, where a loop over the bytes takes six. */
static inline uint64_t mac_value(const uint8_t *mac)
{
	uint32_t high;
	uint16_t low;

	memcpy(&high, mac, sizeof(high));
	memcpy(&low, mac + sizeof(high), sizeof(low));
	return (uint64_t)be32toh(high) << 16 | be16toh(low);
}

static inline bool mac_is_group(const uint8_t *mac)
{
	return mac[0] & 1;
}

/* netswitch.c */
struct member *switch_find(const struct netswitch *sw, uint64_t mac); /* sw->lock held */
/* Somebody waits: the remapper looks at it again within `delay_ns`. */
void switch_arm_tick(struct netswitch *sw, uint64_t delay_ns);

/* steer.c: one frame to whom it is for; inside of a batch. */
int steer_from_member(struct member *m, const struct frame *f);
/* 0, or -EAGAIN: keep it until shared_uplink_resume(). */
int steer_from_shared(struct netswitch *sw, struct delivery *d, const struct frame *f);
/* Carries out what netswitch_command() left, if anything. Inside of a batch. */
void steer_command(struct member *m);
/* The binding changes now; notes it. Sender's loop, or sw->lock held for writing. */
void steer_bind(struct member *m, enum binding to, enum xtalk_why why);
/* The lane that is being opened, if any, stays closed, and a swap that waits for it is off. As
 * above; the sender is not woken. */
void steer_abandon(struct member *m);

/* drain.c */
bool drain_filter(struct frame_filter *f, const uint8_t *head, uint32_t head_len);
/* Sends a marker after what is on its way to `to`. 0, or -EAGAIN: the uplink is full. */
int drain_begin(struct member *m, const struct member *to, uint64_t now_ns);
/* 1: drained; 0: not yet; -ETIMEDOUT. */
int drain_poll(struct member *m, uint64_t now_ns);
void drain_cancel(struct member *m);
/* Reminds the bridge of where this member lives, if it is time. */
void drain_refresh(struct member *m, uint64_t now_ns);

/* shared_uplink.c */
int shared_uplink_create(struct shared_uplink **out, struct netswitch *sw, int fd);
void shared_uplink_destroy(struct shared_uplink *u);
/* Frames that had to wait may go on. Any thread. */
void shared_uplink_resume(struct shared_uplink *u);
/* Writes one frame. 0, or -errno. */
int shared_uplink_send(struct shared_uplink *u, const struct frame *f);

#endif
