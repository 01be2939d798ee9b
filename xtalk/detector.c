/*
 * The detector of one transmit element: a sliding window of destinations, with a count for each.
 *
 * Owned by the sender's loop; no locks.
 *
 * Invariant: the `filled` places of ring that end before `at` hold what the counts add up to. So a
 * count is never lowered but for a frame that had raised it.
 */
#include "xtalk/detector.h"

#include <string.h>

static unsigned window_frames(const struct detector *d)
{
	unsigned w = d->rules->window;

	return w < 1 ? 1 : w > XTALK_WINDOW_MAX ? XTALK_WINDOW_MAX : w;
}

static unsigned checked_dst(unsigned dst)
{
	return dst < DETECTOR_MAX_PEERS ? dst : DETECTOR_OUTSIDE;
}

/* The clock may be as coarse as a batch, and a batch may have started before the last reset. */
static uint64_t elapsed_ns(uint64_t since_ns, uint64_t now_ns)
{
	return now_ns > since_ns ? now_ns - since_ns : 0;
}

static void forget(struct detector *d)
{
	memset(d->count, 0, sizeof(d->count));
	d->at = 0;
	d->filled = 0;
}

void detector_init(struct detector *d, const struct xtalk_rules *rules)
{
	*d = (struct detector){ .rules = rules };
}

void detector_reset(struct detector *d, uint64_t now_ns)
{
	forget(d);
	d->last_ns = now_ns;
	d->bound_ns = now_ns;
}

static void push(struct detector *d, unsigned dst, uint64_t now_ns)
{
	unsigned window = window_frames(d);

	if (d->filled == window)
		d->count[d->ring[d->at]]--;
	else
		d->filled++;
	d->ring[d->at] = (uint16_t)dst;
	d->seen_ns[d->at] = now_ns;
	d->count[dst]++;
	if (++d->at == window)
		d->at = 0;
}

static bool is_crosstalk(const struct detector *d, unsigned dst)
{
	unsigned to_guests = d->filled - d->count[DETECTOR_OUTSIDE];

	return dst != DETECTOR_OUTSIDE && d->count[dst] >= d->rules->threshold &&
	       to_guests * 100 >= d->rules->share_percent * d->filled;
}

static bool is_outside(const struct detector *d, unsigned dst, uint64_t now_ns)
{
	unsigned window = window_frames(d), enough = 2 * d->rules->threshold;

	/* More than the window holds would never come together: no way back. */
	if (enough > window)
		enough = window;
	/* share + (100 - share) / 2 percent, without losing the half */
	return dst == DETECTOR_OUTSIDE && d->count[dst] >= enough &&
	       d->count[dst] * 200u >= (100 + d->rules->share_percent) * d->filled &&
	       elapsed_ns(d->bound_ns, now_ns) >= XTALK_DWELL_NS;
}

enum verdict detector_frame(struct detector *d, enum binding now, unsigned dst, uint64_t now_ns)
{
	dst = checked_dst(dst);
	if (elapsed_ns(d->last_ns, now_ns) > DETECTOR_SILENCE_NS)
		forget(d);
	if (now_ns > d->last_ns)
		d->last_ns = now_ns;
	push(d, dst, now_ns);

	if (now == BINDING_UPLINK)
		return is_crosstalk(d, dst) ? VERDICT_DIRECT : VERDICT_STAY;
	return is_outside(d, dst, now_ns) ? VERDICT_UPLINK : VERDICT_STAY;
}

void detector_report(const struct detector *d, unsigned dst, uint64_t now_ns, uint32_t *frames,
		     uint32_t *window, uint64_t *detect_us)
{
	unsigned size = window_frames(d);

	dst = checked_dst(dst);
	*frames = d->count[dst];
	*window = d->filled;
	*detect_us = 0;
	/* Once per swap: from the oldest on. */
	for (unsigned i = 0; i < d->filled; i++) {
		unsigned place = (d->at + size - d->filled + i) % size;

		if (d->ring[place] == dst) {
			*detect_us = elapsed_ns(d->seen_ns[place], now_ns) / 1000;
			return;
		}
	}
}
