/*
 * The detector of one transmit element: watches the destinations of what it sends and says when to
 * swap. design: "Cross-talk, precisely".
 *
 * It looks at the last `window` unicast frames, and forgets them after a second of silence. Group
 * frames (ARP, discovery, storms) say nothing about who talks to whom and are not counted. From
 * `uplink`, a guest that got at least `threshold` frames is cross-talk if at least `share` of the
 * window went to guests: to it and others together. For what is weighed is leaving the uplink, and
 * of a sender that divides itself among guests (a server of several, each member of a ring) no
 * single one may ever have the share, though nothing it sends needs the uplink. From `direct`,
 * frames to what is no guest swap back by the same measure with hysteresis: twice the threshold (or
 * the whole window, if that is less), half the remaining share more, and not before the binding has
 * lasted XTALK_DWELL_NS. So a NIC with mixed traffic stays where it is.
 *
 * Owned by the sender's loop; no locks, no allocation, O(1) per frame.
 */
#ifndef XTALK_DETECTOR_H
#define XTALK_DETECTOR_H

#include "xtalk/xtalk.h"

#define DETECTOR_MAX_PEERS  256
#define DETECTOR_OUTSIDE    DETECTOR_MAX_PEERS /* the destination is no guest of this net */
#define DETECTOR_SILENCE_NS 1000000000ull
#define XTALK_DWELL_NS	    100000000ull

struct detector {
	const struct xtalk_rules *rules;
	uint16_t ring[XTALK_WINDOW_MAX]; /* destinations, DETECTOR_OUTSIDE for the world */
	unsigned at, filled;		 /* next place, frames in the ring */
	uint16_t count[DETECTOR_MAX_PEERS + 1];
	uint64_t seen_ns[XTALK_WINDOW_MAX]; /* when the frame at the same place of ring came */
	uint64_t last_ns;
	uint64_t bound_ns; /* since when the binding is what it is */
};

enum verdict { VERDICT_STAY, VERDICT_DIRECT, VERDICT_UPLINK };

/* rules are borrowed and must not change. */
void detector_init(struct detector *d, const struct xtalk_rules *rules);
/* The binding has changed, or the element starts anew: forget what was seen. */
void detector_reset(struct detector *d, uint64_t now_ns);
/* A unicast frame to peer `dst` (a slot of the net) or DETECTOR_OUTSIDE. now_ns may be as coarse as
 * a batch. VERDICT_DIRECT means cross-talk with dst. A verdict that is not followed comes again
 * with the next frame that confirms it. */
enum verdict detector_frame(struct detector *d, enum binding now, unsigned dst, uint64_t now_ns);
/* For the event: frames to dst in the window, all frames in it, microseconds since the first of
 * those to dst. */
void detector_report(const struct detector *d, unsigned dst, uint64_t now_ns, uint32_t *frames,
		     uint32_t *window, uint64_t *detect_us);

#endif
