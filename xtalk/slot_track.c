/*
 * Stable slots of a transmit ring: see slot_track.h.
 */
#include "xtalk/slot_track.h"

void slot_track_reset(struct slot_track *t, const char *why)
{
	t->nr = 0;
	t->known = 0;
	t->at = 0;
	t->turns = 0;
	t->turn_ns = 0;
	t->turn_to_dst = 0;
	t->to_dst = 0;
	t->why = why;
}

static void turn_over(struct slot_track *t, uint64_t now)
{
	t->turns += t->turns < SLOT_TURNS_MIN;
	t->turn_ns = now - t->began_ns;
	t->turn_dst = t->dst;
	t->turn_to_dst = t->to_dst;
	t->at = 0;
}

static void count_dst(struct slot_track *t, unsigned dst, uint64_t now)
{
	if (t->at == 0) {
		t->began_ns = now;
		t->dst = dst;
		t->to_dst = 0;
	}
	t->to_dst += dst == t->dst;
}

void slot_track_frame(struct slot_track *t, uint8_t *slot, const void *hdr, unsigned dst,
		      uint64_t now)
{
	if (!slot) {
		slot_track_reset(t, "frames in several pieces, or behind a header in the same one");
		return;
	}
	/* The first address again: that was a turn. */
	if (!t->nr && t->known && slot == t->list.slot[0].at) {
		t->nr = t->known;
		turn_over(t, now);
	}
	if (t->nr && slot != t->list.slot[t->at].at)
		slot_track_reset(t, "buffers move, or come in another order");
	if (t->known == SLOTS_MAX && !t->nr)
		slot_track_reset(t, "no buffer came back in 1024 frames");
	count_dst(t, dst, now);
	t->list.slot[t->at].at = slot;
	t->list.slot[t->at].hdr = hdr;
	t->at++;
	if (!t->nr) {
		t->known = t->at;
		return;
	}
	if (t->at == t->nr)
		turn_over(t, now);
}

unsigned slot_lists_distinct(const struct slot_list *a, const struct slot_list *b)
{
	unsigned n = a->nr;

	for (unsigned i = 0; i < b->nr; i++) {
		unsigned k = 0;

		while (k < a->nr && a->slot[k].at != b->slot[i].at)
			k++;
		n += k == a->nr;
	}
	return n;
}

bool slot_list_same_ring(const struct slot_list *a, const struct slot_list *b)
{
	unsigned shift = 0;

	if (a->nr != b->nr || !a->nr)
		return false;
	while (shift < b->nr && b->slot[shift].at != a->slot[0].at)
		shift++;
	for (unsigned i = 0; i < a->nr; i++) {
		const struct slot *x = &a->slot[i], *y = &b->slot[(i + shift) % b->nr];

		if (x->at != y->at || x->bytes != y->bytes || x->hdr != y->hdr)
			return false;
	}
	return true;
}
