/*
 * Markers: how a sender learns that the path through its physical device is empty.
 *
 * Theory of operation. Before frames from A to B may go directly, those that A sent to B before
 * must have come out of B's physical device. A sends a marker after them, on the same path and to
 * the same address; B's side swallows it when it comes through, and tells A. The marker is an
 * Ethernet frame of the local experimental EtherType 0x88b5 (IEEE 802, clause 9.2.4) with a cookie:
 * the sender's slot and 24 bits that only the two sides know. A frame of that type with any other
 * cookie is a guest's own and is left alone. Where a bridge does not yet know B it floods, so any
 * member's filter swallows a marker, but only B's counts.
 *
 * A marker that does not come through in time (dropped, filtered) ends the swap: the lane stays
 * closed, nothing is lost or overtaken. Should it come later, it is still known and swallowed.
 *
 * The same frame, addressed to its own sender, reminds a bridge of where that address lives: the
 * bridge learns from it and forwards it to nobody; one that learns nothing floods it, and then it
 * is swallowed, too.
 */
#include <errno.h>
#include <string.h>

#include "xtalk/switch_internal.h"

#define ETHERTYPE_EXPERIMENTAL 0x88b5
#define MARKER_BYTES	       60

static void build(struct frame *f, const uint8_t *dst, const uint8_t *src, uint32_t cookie)
{
	static const uint8_t zeros[MARKER_BYTES];

	memset(&f->hdr, 0, sizeof(f->hdr));
	memcpy(f->head, dst, ETH_ADDR_BYTES);
	memcpy(f->head + 6, src, ETH_ADDR_BYTES);
	f->head[12] = ETHERTYPE_EXPERIMENTAL >> 8;
	f->head[13] = ETHERTYPE_EXPERIMENTAL & 0xff;
	memcpy(f->head + 14, &cookie, sizeof(cookie));
	f->head_len = FRAME_HEAD_BYTES;
	f->len = MARKER_BYTES;
	f->iov[0] = (struct iovec){ (void *)zeros, MARKER_BYTES - FRAME_HEAD_BYTES };
	f->iovcnt = 1;
}

static int send_marker(struct member *m, const uint8_t *dst, uint32_t cookie)
{
	struct frame f;
	int rc;

	build(&f, dst, m->port->mac, cookie);
	rc = m->uplink->ops->send(m->uplink, &f);
	if (!rc)
		switch_count(&m->sw->stats.markers_sent, 1);
	return rc;
}

/* Never 0; the slot in the low byte, a different number each time. */
static uint32_t new_cookie(struct member *m)
{
	uint32_t n = atomic_fetch_add(&m->sw->cookie_seed, 1);

	/* A bijection of the counter (Knuth's multiplicative hash): no two of 2^24 in a row are
	 * equal. */
	n = (n * UINT32_C(2654435761)) & 0xffffff;
	return (n ? n : 1) << 8 | m->slot;
}

/* Under drain_lock: swallow a marker with this cookie if it still comes, without counting it. */
static void remember(struct drain *d, uint32_t cookie)
{
	d->old[d->next_old] = cookie;
	d->next_old = (d->next_old + 1) % ARRAY_SIZE(d->old);
}

/* Under drain_lock: the cookie is no longer awaited, but may still come. */
static void retire(struct drain *d)
{
	if (d->cookie)
		remember(d, d->cookie);
	d->cookie = 0;
	d->done = false;
}

int drain_begin(struct member *m, const struct member *to, uint64_t now_ns)
{
	struct drain *d = &m->drain;
	uint32_t cookie = new_cookie(m);
	int rc;

	/* Before it is sent: it may be back before send() returns. */
	pthread_mutex_lock(&m->sw->drain_lock);
	retire(d);
	d->cookie = cookie;
	d->slot = to->slot;
	d->done = false;
	pthread_mutex_unlock(&m->sw->drain_lock);
	rc = send_marker(m, to->port->mac, cookie);
	if (rc) {
		drain_cancel(m);
		return rc;
	}
	m->uplink->ops->send_end(m->uplink);
	atomic_store(&m->waits_until, now_ns + DRAIN_LIMIT_NS);
	switch_arm_tick(m->sw, DRAIN_LIMIT_NS);
	return 0;
}

int drain_poll(struct member *m, uint64_t now_ns)
{
	struct drain *d = &m->drain;
	int rc = 0;

	pthread_mutex_lock(&m->sw->drain_lock);
	if (d->done) {
		/* Where the bridge floods, copies of it are still under way to others. */
		retire(d);
		rc = 1;
	} else if (now_ns >= atomic_load(&m->waits_until)) {
		retire(d);
		rc = -ETIMEDOUT;
	}
	pthread_mutex_unlock(&m->sw->drain_lock);
	if (rc)
		atomic_store(&m->waits_until, 0);
	return rc;
}

void drain_cancel(struct member *m)
{
	pthread_mutex_lock(&m->sw->drain_lock);
	retire(&m->drain);
	pthread_mutex_unlock(&m->sw->drain_lock);
	atomic_store(&m->waits_until, 0);
}

/* Under drain_lock. */
static bool knows(const struct drain *d, uint32_t cookie)
{
	if (cookie == d->cookie)
		return true;
	for (unsigned i = 0; i < ARRAY_SIZE(d->old); i++) {
		if (d->old[i] == cookie)
			return true;
	}
	return false;
}

/* On the loop of the member whose physical device the frame came in from, its receive lock held. */
bool drain_filter(struct frame_filter *filter, const uint8_t *head, uint32_t head_len)
{
	struct member *to = container_of(filter, struct member, filter);
	struct netswitch *sw = to->sw;
	struct member *from;
	uint32_t cookie;
	bool ours = false;

	if (head_len < FRAME_HEAD_BYTES || head[12] != ETHERTYPE_EXPERIMENTAL >> 8 ||
	    head[13] != (ETHERTYPE_EXPERIMENTAL & 0xff))
		return false;
	memcpy(&cookie, head + 14, sizeof(cookie));
	if (!cookie)
		return false;
	pthread_mutex_lock(&sw->drain_lock);
	/* Members change under sw->lock *and* drain_lock, so one of them suffices to read. */
	from = sw->members[cookie & 0xff];
	if (from && !memcmp(head + 6, from->port->mac, ETH_ADDR_BYTES) &&
	    knows(&from->drain, cookie)) {
		ours = true;
		if (cookie == from->drain.cookie && !from->drain.done &&
		    from->drain.slot == to->slot) {
			from->drain.done = true;
			from->port->ops->tx_resume(from->port);
		}
	}
	pthread_mutex_unlock(&sw->drain_lock);
	if (ours)
		switch_count(&sw->stats.markers_swallowed, 1);
	return ours;
}

void drain_refresh(struct member *m, uint64_t now_ns)
{
	uint32_t cookie;

	if (!m->uplink || now_ns - m->uplink_ns < BRIDGE_REFRESH_NS)
		return;
	m->uplink_ns = now_ns;
	cookie = new_cookie(m);
	pthread_mutex_lock(&m->sw->drain_lock);
	remember(&m->drain, cookie);
	pthread_mutex_unlock(&m->sw->drain_lock);
	/* A full uplink is being heard from anyway. */
	if (!send_marker(m, m->port->mac, cookie))
		m->uplink->ops->send_end(m->uplink);
}
