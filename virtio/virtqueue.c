/*
 * Split virtqueue, device side. Source: VIRTIO 1.2, section 2.7.
 *
 * Theory of operation. The three areas lie in memory that the driver can write at any time, so
 * nothing in them is looked at twice: an index or a descriptor is read once into a private copy,
 * and the copy is what gets checked and used. The cursors (last_avail, used_idx) are private.
 *
 * Order of memory accesses. The driver writes descriptors and ring entries, then avail->idx; we
 * read avail->idx (acquire), then the rest. We write used entries, then used->idx (release). The
 * two places where a store must be seen before a later load (doorbell wanted? interrupt wanted?)
 * need a full fence on every machine, x86 included: each side stores its index, then looks at what
 * the other side wants; without the fences both could look too early and both go to sleep.
 *
 * How far the driver may go. Every buffer that it made available stays unavailable to it until it
 * sees it used, so avail->idx is never more than the queue's size ahead of the published used
 * index. This bounds the chains in flight for the devices above.
 *
 * Thread: one at a time, the user of the queue. No locks.
 */
#include "virtio/virtqueue.h"

#include <endian.h>
#include <errno.h>
#include <stdatomic.h>
#include <string.h>

/* SAN=thread does not model fences; no access here needs them to be free of data races. */
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic ignored "-Wtsan"
#endif

#define DESC_NEXT     1
#define DESC_WRITE    2
#define DESC_INDIRECT 4

#define AVAIL_NO_INTERRUPT 1
#define USED_NO_NOTIFY	   1

struct virtq_desc {
	uint64_t addr;
	uint32_t len;
	uint16_t flags;
	uint16_t next;
};

/* Behind the ring follows used_event, written by the driver. */
struct virtq_avail {
	_Atomic uint16_t flags;
	_Atomic uint16_t idx;
	_Atomic uint16_t ring[];
};

struct virtq_used_elem {
	uint32_t id;
	uint32_t len;
};

/* Behind the ring follows avail_event, written by the device. */
struct virtq_used {
	_Atomic uint16_t flags;
	_Atomic uint16_t idx;
	struct virtq_used_elem ring[];
};

_Static_assert(sizeof(struct virtq_desc) == 16, "descriptor layout");
_Static_assert(sizeof(struct virtq_used_elem) == 8, "used element layout");
_Static_assert(offsetof(struct virtq_avail, ring) == 4, "available ring layout");
_Static_assert(offsetof(struct virtq_used, ring) == 4, "used ring layout");

static uint16_t load16(const _Atomic uint16_t *p, memory_order order)
{
	return le16toh(atomic_load_explicit(p, order));
}

static void store16(_Atomic uint16_t *p, uint16_t v, memory_order order)
{
	atomic_store_explicit(p, htole16(v), order);
}

static _Atomic uint16_t *avail_event(const struct virtq *vq)
{
	return (_Atomic uint16_t *)(void *)&vq->used->ring[vq->size];
}

static int virtq_break(struct virtq *vq, const char *why)
{
	vq->broken = true;
	vq->why_broken = why;
	return -EPROTO;
}

void virtq_reset(struct virtq *vq, uint16_t max_size)
{
	memset(vq, 0, sizeof(*vq));
	vq->max_size = max_size;
	vq->size = max_size;
}

static void *area(const struct gmem *mem, gpa_t gpa, uint64_t len, unsigned align, int *err)
{
	void *p;

	if (gpa % align) {
		*err = -EINVAL;
		return NULL;
	}
	p = gmem_ptr(mem, gpa, len);
	if (!p)
		*err = -EFAULT;
	return p;
}

int virtq_enable(struct virtq *vq, const struct gmem *mem, bool event_idx, bool indirect)
{
	void *desc, *avail, *used;
	int err = 0;

	if (vq->enabled || !is_pow2(vq->size) || vq->size > vq->max_size)
		return -EINVAL;

	desc = area(mem, vq->desc_gpa, (uint64_t)vq->size * sizeof(struct virtq_desc), 16, &err);
	avail = area(mem, vq->avail_gpa, 6 + 2 * (uint64_t)vq->size, 2, &err);
	used = area(mem, vq->used_gpa, 6 + 8 * (uint64_t)vq->size, 4, &err);
	if (!desc || !avail || !used)
		return err;

	gmem_taken_over(mem);
	vq->mem = mem;
	vq->near = &mem->region[0];
	vq->desc = desc;
	vq->avail = avail;
	vq->used = used;
	vq->event_idx = event_idx;
	vq->indirect = indirect;
	vq->last_avail = 0;
	vq->seen_avail = 0;
	vq->used_idx = 0;
	vq->published_used = 0;
	vq->signalled_used = 0;
	vq->signalled_valid = false;
	vq->broken = false;
	vq->why_broken = NULL;
	vq->enabled = true;
	return 0;
}

bool virtq_more(const struct virtq *vq)
{
	return vq->enabled && !vq->broken &&
	       load16(&vq->avail->idx, memory_order_acquire) != vq->last_avail;
}

/* A private copy: the fence keeps the compiler from reading guest memory again later on. An
 * indirect table has no alignment of its own, so its descriptors are copied, not loaded. Two words:
 * two registers, where a copy field by field would go through memory. */
static inline void desc_read(const void *desc, uint64_t word[2])
{
	memcpy(word, desc, 2 * sizeof(word[0]));
	atomic_signal_fence(memory_order_seq_cst);
}

static inline const void *desc_at(const struct virtq_desc *table, uint32_t index)
{
	return (const char *)table + (size_t)index * sizeof(*table);
}

static inline struct virtq_desc desc_decode(const uint64_t word[2])
{
	uint64_t rest = le64toh(word[1]);

	return (struct virtq_desc){
		.addr = le64toh(word[0]),
		.len = (uint32_t)rest,
		.flags = (uint16_t)(rest >> 32),
		.next = (uint16_t)(rest >> 48),
	};
}

static struct virtq_desc desc_copy(const struct virtq_desc *table, uint32_t index)
{
	uint64_t word[2];

	desc_read(desc_at(table, index), word);
	return desc_decode(word);
}

/* A chain of its own: most are, and all of Linux's receive buffers. */
static bool desc_is_plain(const struct virtq_desc *d)
{
	return !(d->flags & (DESC_NEXT | DESC_INDIRECT));
}

/* How many chains the driver has made available. -EPROTO: more than it can have, or the queue was
 * broken before. */
static int look(struct virtq *vq)
{
	uint16_t pending, in_flight;

	if (vq->broken)
		return -EPROTO;
	if (!vq->enabled)
		return 0;

	pending = load16(&vq->avail->idx, memory_order_acquire) - vq->last_avail;
	if (!pending)
		return 0;
	gmem_taken_over(vq->mem);
	in_flight = vq->last_avail - vq->published_used;
	if ((uint32_t)pending + in_flight > vq->size)
		return virtq_break(vq, "available index moved by more than the queue's size");
	vq->seen_avail = vq->last_avail + pending;
	return pending;
}

int virtq_pending(struct virtq *vq)
{
	return look(vq);
}

/* The head at `index` of the available ring, or -EPROTO. look() has found that it is there. */
static int head_at(struct virtq *vq, uint16_t index)
{
	uint16_t at = index & (vq->size - 1);
	uint16_t head = load16(&vq->avail->ring[at], memory_order_relaxed);

	if (head >= vq->size)
		return virtq_break(vq, "available entry out of range");
	return head;
}

/* Where the buffer of a descriptor that is not empty lies, or NULL: the queue is broken. */
static inline void *desc_buffer(struct virtq *vq, gpa_t addr, uint32_t len)
{
	void *p = gmem_ptr_near(vq->mem, &vq->near, addr, len);

	if (!p)
		virtq_break(vq, "buffer outside of guest memory");
	return p;
}

/* What a chain has so far: counted in registers, and written down at its end. */
struct chain_sum {
	unsigned nr_out, nr_in;
	uint64_t out_bytes, in_bytes;
};

static inline int chain_add(struct virtq *vq, struct virtq_chain *c, struct chain_sum *sum,
			    gpa_t addr, uint32_t len, bool in)
{
	unsigned n = sum->nr_out + sum->nr_in;
	void *p;

	/* The specification gives an empty buffer element no meaning and does not forbid it. */
	if (len == 0)
		return 0;
	if (!in && sum->nr_in)
		return virtq_break(vq, "device-readable descriptor after a device-writable one");
	if (n == VIRTQ_MAX_SEGS)
		return virtq_break(vq, "too many descriptors in a chain");
	if (sum->out_bytes + sum->in_bytes + len > UINT32_MAX)
		return virtq_break(vq, "chain of 4 GiB or more");
	p = desc_buffer(vq, addr, len);
	if (!p)
		return -EPROTO;

	c->iov[n].iov_base = p;
	c->iov[n].iov_len = len;
	if (in) {
		sum->nr_in++;
		sum->in_bytes += len;
	} else {
		sum->nr_out++;
		sum->out_bytes += len;
	}
	return 0;
}

/* Checks a descriptor that refers to an indirect table; *table and *nr are then the table. */
static int enter_indirect(struct virtq *vq, const struct virtq_desc *d,
			  const struct virtq_desc **table, uint32_t *nr)
{
	if (!vq->indirect)
		return virtq_break(vq, "indirect descriptor, not negotiated");
	if (d->flags & DESC_NEXT)
		return virtq_break(vq, "indirect descriptor with a next one");
	if (d->len == 0 || d->len % sizeof(struct virtq_desc))
		return virtq_break(vq, "indirect table of a bad length");
	*table = gmem_ptr(vq->mem, d->addr, d->len);
	if (!*table)
		return virtq_break(vq, "indirect table outside of guest memory");
	*nr = d->len / sizeof(struct virtq_desc);
	return 0;
}

static int chain_walk(struct virtq *vq, struct virtq_chain *c)
{
	const struct virtq_desc *table = vq->desc;
	uint32_t nr = vq->size, steps = 0;
	struct chain_sum sum = { 0 };
	uint64_t word[2];
	bool nested = false;
	int r;

	desc_read(desc_at(table, c->head), word);
	for (;;) {
		/* Never read again what was decided on. */
		struct virtq_desc d = desc_decode(word);

		/* More steps than the table has entries: the chain bites its tail. (Linux makes
		 * indirect chains longer than the queue, so that is no measure.) */
		if (steps++ == nr)
			return virtq_break(vq, "descriptor chain loops");
		if (steps > VIRTQ_MAX_SIZE)
			return virtq_break(vq, "too many descriptors in a chain");
		if (d.flags & DESC_INDIRECT) {
			if (nested)
				return virtq_break(vq, "indirect descriptor in an indirect table");
			r = enter_indirect(vq, &d, &table, &nr);
			if (r)
				return r;
			nested = true;
			steps = 0;
			desc_read(table, word);
			continue;
		}
		r = chain_add(vq, c, &sum, d.addr, d.len, d.flags & DESC_WRITE);
		if (r)
			return r;
		if (!(d.flags & DESC_NEXT))
			break;
		if (d.next >= nr)
			return virtq_break(vq, "next descriptor out of range");
		desc_read(desc_at(table, d.next), word);
	}
	c->nr_out = sum.nr_out;
	c->nr_in = sum.nr_in;
	c->out_bytes = (uint32_t)sum.out_bytes;
	c->in_bytes = (uint32_t)sum.in_bytes;
	return 0;
}

int virtq_pop(struct virtq *vq, struct virtq_chain *chain)
{
	int head, r = look(vq);

	if (r <= 0)
		return r;
	head = head_at(vq, vq->last_avail);
	if (head < 0)
		return head;

	chain->head = (uint16_t)head;
	r = chain_walk(vq, chain);
	if (r)
		return r;
	vq->last_avail++;
	return 1;
}

int virtq_pop_bufs(struct virtq *vq, struct virtq_buf *buf, unsigned max, size_t want)
{
	int pending = look(vq), err = 0;
	uint16_t first = vq->last_avail;
	unsigned n = 0;
	size_t got = 0;

	if (pending <= 0)
		return pending;
	if (max > (unsigned)pending)
		max = (unsigned)pending;
	while (n < max && got < want) {
		int head = head_at(vq, (uint16_t)(first + n));
		struct virtq_desc d;
		void *p;

		if (head < 0) {
			err = head;
			break;
		}
		d = desc_copy(vq->desc, (uint32_t)head);
		if (!desc_is_plain(&d) || !(d.flags & DESC_WRITE) || !d.len)
			break;
		p = desc_buffer(vq, d.addr, d.len);
		if (!p) {
			err = -EPROTO;
			break;
		}
		buf[n++] = (struct virtq_buf){ p, d.len, (uint16_t)head };
		got += d.len;
	}
	vq->last_avail = (uint16_t)(first + n);
	return err ? err : (int)n;
}

/* Reads one descriptor of a slot into the record and decodes that copy. */
static struct virtq_desc slot_desc(struct virtq_slot *s, unsigned i, const void *desc)
{
	s->desc[i] = desc;
	desc_read(desc, s->word[i]);
	return desc_decode(s->word[i]);
}

/* Why a chain with these descriptors is no slot, or NULL. */
static const char *slot_header_bad(const struct virtq_desc *d, uint32_t hdr_bytes)
{
	if (!(d->flags & DESC_WRITE))
		return "device-readable buffer";
	if (d->len > hdr_bytes || !(d->flags & DESC_NEXT))
		return "header within the slot";
	return d->len < hdr_bytes ? "header of several segments" : NULL;
}

static const char *slot_rest_bad(const struct virtq_desc *d)
{
	if (!desc_is_plain(d))
		return "slot of several segments";
	if (!(d->flags & DESC_WRITE))
		return "device-readable buffer";
	return d->len ? NULL : "slot without room";
}

int virtq_slot_look(struct virtq *vq, unsigned i, uint32_t hdr_bytes, struct virtq_slot *s,
		    const char **why)
{
	const struct virtq_desc *table = vq->desc;
	int pending = look(vq), head, r;
	struct virtq_desc hdr, rest;
	uint32_t nr = vq->size;
	const char *bad;

	if (pending < 0 || i >= (unsigned)pending)
		return pending < 0 ? pending : 0;
	head = head_at(vq, (uint16_t)(vq->last_avail + i));
	if (head < 0)
		return head;

	s->head = (uint16_t)head;
	s->indirect = NULL;
	hdr = slot_desc(s, 0, desc_at(table, (uint32_t)head));
	if (hdr.flags & DESC_INDIRECT) {
		s->indirect = s->desc[0];
		memcpy(s->indirect_word, s->word[0], sizeof(s->indirect_word));
		r = enter_indirect(vq, &hdr, &table, &nr);
		if (r)
			return r;
		hdr = slot_desc(s, 0, table);
		if (hdr.flags & DESC_INDIRECT)
			return virtq_break(vq, "indirect descriptor in an indirect table");
	}
	bad = slot_header_bad(&hdr, hdr_bytes);
	if (bad) {
		*why = bad;
		return -ENOTSUP;
	}
	if (hdr.next >= nr)
		return virtq_break(vq, "next descriptor out of range");
	rest = slot_desc(s, 1, desc_at(table, hdr.next));
	bad = slot_rest_bad(&rest);
	if (bad) {
		*why = bad;
		return -ENOTSUP;
	}
	s->hdr = desc_buffer(vq, hdr.addr, hdr.len);
	s->at = s->hdr ? desc_buffer(vq, rest.addr, rest.len) : NULL;
	s->bytes = rest.len;
	return s->at ? 1 : -EPROTO;
}

static inline bool desc_is(const void *desc, const uint64_t was[2])
{
	uint64_t word[2];

	desc_read(desc, word);
	return !((word[0] ^ was[0]) | (word[1] ^ was[1]));
}

static void used_set(struct virtq *vq, uint16_t index, uint16_t head, uint32_t written)
{
	struct virtq_used_elem *e = &vq->used->ring[index & (vq->size - 1)];

	e->id = htole32(head);
	e->len = htole32(written);
}

/*
 * The driver may change a descriptor right after it was compared. That harms nobody: the addresses
 * that are used are those of the record, which were checked when it was made and which the driver
 * has just confirmed. What it takes back too late, it gets filled as if it had been given.
 */
int virtq_slot_use(struct virtq *vq, const struct virtq_slot *s, uint32_t written)
{
	uint16_t at = vq->last_avail & (vq->size - 1);
	int r;

	/* The index lies in a cache line that the driver writes: it is read only when what it said
	 * the last time is used up. */
	if (vq->seen_avail == vq->last_avail || vq->broken) {
		r = look(vq);
		if (r <= 0)
			return r;
	}
	if (load16(&vq->avail->ring[at], memory_order_relaxed) != s->head ||
	    !desc_is(s->desc[0], s->word[0]) || !desc_is(s->desc[1], s->word[1]))
		return -ESTALE;
	if (s->indirect && !desc_is(s->indirect, s->indirect_word))
		return -ESTALE;
	vq->last_avail++;
	used_set(vq, vq->used_idx++, s->head, written);
	return 1;
}

static bool overlaps(const void *a, size_t a_len, const void *b, size_t b_len)
{
	uintptr_t x = (uintptr_t)a, y = (uintptr_t)b;

	return a_len && b_len && (x < y ? y - x < a_len : x - y < b_len);
}

bool virtq_touches(const struct virtq *vq, const void *at, size_t len)
{
	if (!vq->enabled)
		return false;
	return overlaps(at, len, vq->desc, vq->size * sizeof(struct virtq_desc)) ||
	       overlaps(at, len, vq->avail, 6 + 2 * (size_t)vq->size) ||
	       overlaps(at, len, vq->used, 6 + 8 * (size_t)vq->size);
}

void virtq_unpop(struct virtq *vq, unsigned n)
{
	uint16_t in_flight = vq->last_avail - vq->used_idx;

	if (!vq->enabled)
		return;
	/* Never back over what was pushed, whatever the caller believes. */
	vq->last_avail -= n < in_flight ? n : in_flight;
}

void virtq_push(struct virtq *vq, uint16_t head, uint32_t written)
{
	/* A reset may lie between a device's pop and its push. */
	if (vq->enabled)
		used_set(vq, vq->used_idx++, head, written);
}

void virtq_push_bufs(struct virtq *vq, const struct virtq_buf *buf, unsigned n)
{
	uint16_t first = vq->used_idx;

	if (!vq->enabled)
		return;
	for (unsigned i = 0; i < n; i++)
		used_set(vq, (uint16_t)(first + i), buf[i].head, buf[i].bytes);
	vq->used_idx = (uint16_t)(first + n);
}

/* 2.7.10: has the index passed `event` on its way from `from` to `to`? All modulo 2^16. */
static bool event_passed(uint16_t event, uint16_t to, uint16_t from)
{
	return (uint16_t)(to - event - 1) < (uint16_t)(to - from);
}

bool virtq_publish(struct virtq *vq)
{
	uint16_t from, event;
	bool valid;

	if (!vq->enabled || vq->used_idx == vq->published_used)
		return false;
	gmem_handed_over(vq->mem);
	store16(&vq->used->idx, vq->used_idx, memory_order_release);
	vq->published_used = vq->used_idx;
	/* The index must be visible before we look at what the driver wants; see the top. */
	atomic_thread_fence(memory_order_seq_cst);

	if (!vq->event_idx)
		return !(load16(&vq->avail->flags, memory_order_relaxed) & AVAIL_NO_INTERRUPT);

	from = vq->signalled_used;
	valid = vq->signalled_valid;
	vq->signalled_used = vq->used_idx;
	vq->signalled_valid = true;
	event = load16(&vq->avail->ring[vq->size], memory_order_relaxed);
	/* The first time there is nothing to compare with; an interrupt too many does no harm. */
	return !valid || event_passed(event, vq->used_idx, from);
}

void virtq_disable_doorbell(struct virtq *vq)
{
	/* With EVENT_IDX the driver rings only when it passes avail_event, which lies behind it
	 * from the moment on that it has rung: nothing to do. */
	if (vq->enabled && !vq->event_idx)
		store16(&vq->used->flags, USED_NO_NOTIFY, memory_order_relaxed);
}

bool virtq_enable_doorbell_at(struct virtq *vq, unsigned n)
{
	uint16_t idx;

	if (!vq->enabled || vq->broken)
		return false;
	/* The driver rings when its index passes avail_event: when it becomes one more than that.
	 */
	if (vq->event_idx)
		store16(avail_event(vq), (uint16_t)(vq->last_avail + n - 1), memory_order_relaxed);
	else
		store16(&vq->used->flags, 0, memory_order_relaxed);
	/* The wish must be visible before we look for the last time; see the top. */
	atomic_thread_fence(memory_order_seq_cst);
	idx = load16(&vq->avail->idx, memory_order_acquire);
	return (uint16_t)(idx - vq->last_avail) >= n;
}

bool virtq_enable_doorbell(struct virtq *vq)
{
	return virtq_enable_doorbell_at(vq, 1);
}

/* Copies between buf and iov[0 .. n), starting `offset` bytes into the latter. */
static size_t iov_copy(const struct iovec *iov, unsigned n, size_t offset, uint8_t *buf, size_t len,
		       bool to_iov)
{
	size_t done = 0;

	for (unsigned i = 0; i < n && done < len; i++) {
		size_t part = iov[i].iov_len;
		uint8_t *p = iov[i].iov_base;

		if (offset >= part) {
			offset -= part;
			continue;
		}
		p += offset;
		part -= offset;
		offset = 0;
		if (part > len - done)
			part = len - done;
		if (to_iov)
			memcpy(p, buf + done, part);
		else
			memcpy(buf + done, p, part);
		done += part;
	}
	return done;
}

size_t virtq_chain_read(const struct virtq_chain *c, size_t offset, void *dst, size_t len)
{
	return iov_copy(c->iov, c->nr_out, offset, dst, len, false);
}

size_t virtq_chain_write(const struct virtq_chain *c, size_t offset, const void *src, size_t len)
{
	/* iov_copy() only reads from the buffer in this direction. */
	return iov_copy(c->iov + c->nr_out, c->nr_in, offset, (uint8_t *)(uintptr_t)src, len, true);
}
