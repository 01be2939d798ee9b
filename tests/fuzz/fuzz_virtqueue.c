/*
 * Fuzzes the virtqueue from the driver's side: the input is a program of driver and device steps on
 * one small queue, and the bytes that the driver writes into rings and tables. Whatever they are:
 * no crash, no hang, every segment that a chain yields lies in guest memory, and taking buffers in
 * bulk, or as slots, gives what taking them one by one gives.
 */
#include <errno.h>
#include <string.h>

#include "tests/fuzz/input.h"
#include "tests/unit/mock_driver.h"

#define LOW_BYTES  0x10000
#define HIGH_BYTES 0x2000
#define RING_BASE  0x1000
#define TABLE	   0x4000
#define MAX_STEPS  4096

static bool in_guest_memory(const struct gmem *mem, const struct iovec *iov)
{
	const uint8_t *p = iov->iov_base;

	for (unsigned i = 0; i < mem->nr_regions; i++) {
		const struct gmem_region *r = &mem->region[i];

		if (p >= r->hva && p < r->hva + r->size_bytes)
			return iov->iov_len <= (size_t)(r->hva + r->size_bytes - p);
	}
	return false;
}

static void check_chain(const struct virtq *vq, const struct virtq_chain *c)
{
	uint64_t out = 0, in = 0;
	uint8_t buf[64] = { 0 };
	unsigned n = c->nr_out + c->nr_in;

	require(c->head < vq->size && n <= VIRTQ_MAX_SEGS);
	for (unsigned i = 0; i < n; i++) {
		require(c->iov[i].iov_len > 0 && in_guest_memory(vq->mem, &c->iov[i]));
		*(i < c->nr_out ? &out : &in) += c->iov[i].iov_len;
	}
	require(out == c->out_bytes && in == c->in_bytes);
	require(virtq_chain_read(c, 0, buf, sizeof(buf)) == (out < 64 ? out : 64));
	/* Into the rings as well, if that is where the driver wants it. */
	require(virtq_chain_write(c, in / 2, buf, sizeof(buf)) <= in - in / 2);
}

/* Mostly places that matter, sometimes anything. */
static gpa_t take_gpa(struct input *in)
{
	uint8_t how = (uint8_t)take(in, 1);

	if (how < 160)
		return take(in, 2);
	if (how < 200)
		return GIB(4) + take(in, 2);
	if (how < 230)
		return TABLE + how % 4 * 16;
	return take(in, 8);
}

static void driver_step(struct mock_ring *r, struct input *in, uint8_t op)
{
	struct gmem *mem = r->mem;
	unsigned index = (unsigned)take(in, 1);

	switch (op) {
	case 0: {
		gpa_t gpa = take_gpa(in);

		mock_desc_set(mem, r->desc, index % r->size, gpa, (uint32_t)take(in, 2),
			      (uint16_t)take(in, 1) & 7, (uint16_t)take(in, 1) % (r->size + 1));
		break;
	}
	case 1: {
		gpa_t gpa = take_gpa(in);

		mock_desc_set(mem, TABLE, index, gpa, (uint32_t)take(in, index & 1 ? 4 : 1),
			      (uint16_t)take(in, 1) & 7, (uint16_t)take(in, 1));
		break;
	}
	case 2:
		mock_desc_set(mem, r->desc, index % r->size, TABLE, (uint32_t)take(in, 1) * 16,
			      MOCK_DESC_INDIRECT, 0);
		break;
	case 3:
		mock_ring_offer(r, (uint16_t)(index % (r->size + 1u)));
		break;
	case 4:
		mock_ring_set_avail_idx(r, (uint16_t)(r->avail_idx + (int8_t)index));
		break;
	case 5:
		mock_ring_set_used_event(r, (uint16_t)take(in, 2));
		mock_ring_set_no_interrupt(r, index & 1);
		break;
	default: {
		uint64_t raw = take(in, 8);

		gmem_write(mem, RING_BASE + take(in, 2) % 0x4000, &raw, index % 8 + 1);
		break;
	}
	}
}

static void device_step(struct virtq *vq, struct input *in, uint8_t op, struct virtq_chain *c)
{
	switch (op) {
	case 0:
	case 1:
	case 2:
		if (virtq_pop(vq, c) != 1)
			break;
		check_chain(vq, c);
		if (op == 1)
			virtq_push(vq, c->head, c->in_bytes);
		if (op == 2)
			virtq_unpop(vq, 1);
		break;
	case 3:
		virtq_push(vq, (uint16_t)take(in, 1), (uint32_t)take(in, 1));
		break;
	case 4:
		virtq_publish(vq);
		break;
	case 5:
		virtq_unpop(vq, (unsigned)take(in, 1));
		break;
	case 6:
		virtq_disable_doorbell(vq);
		break;
	default:
		if (virtq_enable_doorbell(vq))
			require(virtq_more(vq) || vq->broken);
		break;
	}
}

/* Many buffers at once: the same as one by one, which mock_pop_bufs() sees to. */
static void bulk_step(struct virtq *vq, struct input *in, uint8_t op)
{
	struct virtq_buf buf[VIRTQ_MAX_SIZE];
	int n = mock_pop_bufs(vq, buf, (unsigned)take(in, 1) + 1, take(in, 2) + 1);

	if (n <= 0)
		return;
	for (int i = 0; i < n; i++)
		require(in_guest_memory(vq->mem, &(struct iovec){ buf[i].ptr, buf[i].bytes }));
	if (op & 1)
		virtq_push_bufs(vq, buf, (unsigned)n);
	if (op & 2)
		virtq_unpop(vq, (unsigned)n);
}

struct slots {
	struct virtq_slot slot[8];
	bool good[8];
};

/* What was used as a slot is the chain that an ordinary pop would have taken. */
static void use_slot(struct virtq *vq, const struct virtq_slot *s, uint32_t written)
{
	uint16_t first = vq->last_avail, used = vq->used_idx;
	struct virtq one = *vq;
	struct virtq_chain c;
	int popped = virtq_pop(&one, &c), rc = virtq_slot_use(vq, s, written);

	require(vq->last_avail == (uint16_t)(first + (rc == 1)));
	require(vq->used_idx == (uint16_t)(used + (rc == 1)));
	if (rc != 1)
		return;
	/* The index may have gone bad since it was read: popping found out, the slot was earlier.
	 */
	if (popped != 1) {
		require(popped == 0 || !strncmp(one.why_broken, "available index", 15));
		return;
	}
	require(c.head == s->head && !c.nr_out && c.nr_in == 2);
	require(c.iov[0].iov_base == s->hdr && c.iov[0].iov_len == 12);
	require(c.iov[1].iov_base == s->at && c.iov[1].iov_len == s->bytes);
}

static void slot_step(struct virtq *vq, struct input *in, uint8_t op, struct slots *slots)
{
	unsigned i = (unsigned)take(in, 1) % 8;
	struct virtq_slot s;
	const char *why = NULL;
	int rc;

	switch (op & 3) {
	case 0:
		rc = virtq_slot_look(vq, (unsigned)take(in, 1), 12, &s, &why);
		require(rc != -ENOTSUP || why);
		if (rc != 1)
			break;
		require(in_guest_memory(vq->mem, &(struct iovec){ s.hdr, 12 }));
		require(in_guest_memory(vq->mem, &(struct iovec){ s.at, s.bytes }));
		slots->slot[i] = s;
		slots->good[i] = true;
		break;
	case 1:
		rc = virtq_pending(vq);
		require(rc == -EPROTO || (rc >= 0 && rc <= vq->size));
		break;
	case 2:
		if (virtq_enable_doorbell_at(vq, (unsigned)take(in, 2)))
			require(vq->enabled);
		break;
	default:
		if (slots->good[i])
			use_slot(vq, &slots->slot[i], (uint32_t)take(in, 1));
		break;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const uint16_t sizes[] = { 1, 2, 8, 256 };
	struct input in = { data, size };
	struct mock_platform mp;
	struct mock_ring ring;
	struct virtq vq;
	struct virtq_chain chain;
	struct slots slots = { 0 };
	uint8_t mode = (uint8_t)take(&in, 1);

	mock_platform_init(&mp, LOW_BYTES, HIGH_BYTES);
	/* So that what a pop leaves unset is found. */
	memset(&chain, 0xff, sizeof(chain));
	mock_ring_init(&ring, &mp.mem, RING_BASE, sizes[mode & 3]);
	virtq_reset(&vq, 256);
	mock_ring_attach(&ring, &vq);
	if (mode & 0x10) {
		vq.size = (uint16_t)take(&in, 2);
		vq.desc_gpa = take_gpa(&in);
		vq.avail_gpa = take_gpa(&in);
		vq.used_gpa = take_gpa(&in);
	}
	virtq_enable(&vq, &mp.mem, mode & 4, mode & 8);
	for (unsigned i = 0; in.left && i < MAX_STEPS; i++) {
		uint8_t op = (uint8_t)take(&in, 1);

		if ((op & 0xa0) == 0xa0)
			bulk_step(&vq, &in, op);
		else if ((op & 0x90) == 0x90)
			slot_step(&vq, &in, op, &slots);
		else if (op & 0x80)
			device_step(&vq, &in, op & 7, &chain);
		else
			driver_step(&ring, &in, op & 7);
		/* A broken queue stays broken: start over, as a driver would by a reset. */
		if (vq.broken && op & 0x40) {
			memset(&slots, 0, sizeof(slots));
			virtq_reset(&vq, 256);
			mock_ring_init(&ring, &mp.mem, RING_BASE, sizes[op & 3]);
			mock_ring_attach(&ring, &vq);
			virtq_enable(&vq, &mp.mem, op & 4, op & 8);
		}
	}
	mock_platform_fini(&mp);
	return 0;
}
