/*
 * Fuzzes all that a guest can reach of an e1000: registers through both BARs, descriptors and
 * buffers in its memory; while a carrier takes frames, delivers some, and now and then holds the
 * card back, keeps frames, or uses the receive ring as one of mapped slots. Whatever is written: no
 * crash, no hang; each frame that gets out is within the carrier's contract.
 */
#include <errno.h>
#include <string.h>

#include "base/iov.h"
#include "base/vnet.h"
#include "tests/fuzz/input.h"
#include "tests/unit/mock_e1000.h"

#define MAX_STEPS 512

struct sink {
	struct carrier carrier;
	struct input *in;
	unsigned refuse; /* so many sends more */
	unsigned keep;	 /* then so many */
	unsigned done;	 /* of these, at the next occasion */
	struct gmem *mem;
	struct slot_list slots; /* as looked at last */
	unsigned nr_slots;	/* as entered last */
	uint8_t frame[FRAME_MAX_BYTES];
};

static int sink_send(struct carrier *c, const struct frame *f)
{
	struct sink *s = container_of(c, struct sink, carrier);
	struct iov_cursor cur = iov_cursor(f->iov, f->iovcnt);
	const struct virtio_net_hdr_v1 *h = &f->hdr;

	require(f->len >= FRAME_MIN_BYTES && f->len <= FRAME_MAX_BYTES);
	require(f->head_len == (f->len < FRAME_HEAD_BYTES ? f->len : FRAME_HEAD_BYTES));
	require(f->iovcnt <= FRAME_MAX_IOV);
	require(iov_read(&cur, s->frame, sizeof(s->frame)) == f->len - f->head_len);
	require(!(vnet_hdr_needs(h) & ~VNET_RX_OFFLOADS));
	if (h->flags & VIRTIO_NET_HDR_F_NEEDS_CSUM)
		require(h->csum_start >= FRAME_MIN_BYTES &&
			(size_t)h->csum_start + h->csum_offset + 2 <= f->len);
	else
		require(!h->csum_start && !h->csum_offset && !h->gso_type);
	if (h->gso_type)
		require(h->gso_size && h->csum_offset == 16 && h->csum_start + 20u <= f->len &&
			h->hdr_len <= f->len);
	require(!f->slot_hdr);
	require(!f->slot ||
		(f->slot >= s->mem->map && f->slot + f->len <= s->mem->map + s->mem->map_bytes));
	if (s->refuse) {
		s->refuse--;
		return -EAGAIN;
	}
	if (!s->keep)
		return 0;
	s->keep--;
	return CARRIER_KEPT;
}

/* At the end of a batch and when it is stopped; not always the truth. */
static void sink_done(struct carrier *c)
{
	struct sink *s = container_of(c, struct sink, carrier);

	c->port->ops->tx_done(c->port, s->done);
	s->done = 0;
}

static void sink_nothing(struct carrier *c)
{
}

static int sink_start(struct carrier *c)
{
	return 0;
}

static void sink_features(struct carrier *c, uint64_t features)
{
	require(!features);
}

static bool sink_link(struct carrier *c)
{
	return true;
}

static const struct carrier_ops sink_ops = {
	.send = sink_send,
	.send_end = sink_done,
	.rx_ready = sink_nothing,
	.rx_refused = sink_nothing,
	.start = sink_start,
	.stop = sink_done,
	.set_rx_features = sink_features,
	.link_up = sink_link,
};

static void deliver(struct port *p, struct input *in)
{
	static const uint8_t pattern[FRAME_MAX_BYTES];
	struct virtio_net_hdr_v1 hdr = { .flags = (uint8_t)take(in, 1) };
	size_t len = take(in, 2), want = take(in, 1) * 16, done = 0;
	struct iovec iov[FRAME_MAX_IOV];

	if (!p->ops->rx_begin(p))
		return;
	for (unsigned i = 0; done < len && i < 1000; i++) {
		/* Some carriers ask for more than the frame needs, some for less; some have little
		 * room. */
		unsigned cnt = i || !(want & 16) ? FRAME_MAX_IOV : 2;
		ssize_t got = p->ops->rx_reserve(p, i ? len - done : want + 1, iov, &cnt);
		struct iov_cursor cur = iov_cursor(iov, cnt);

		if (got <= 0)
			break;
		done += iov_write(&cur, pattern + done, len - done);
	}
	if (done == len && len)
		p->ops->rx_commit(p, &hdr, len);
	else if (len & 1)
		p->ops->rx_abort(p);
	p->ops->rx_end(p);
}

static void slots(struct sink *s, struct port *p, struct input *in)
{
	static const struct virtio_net_hdr_v1 plain;
	uint8_t op = (uint8_t)take(in, 1);
	const char *why;

	if (!p->ops->rx_begin(p))
		return;
	for (unsigned i = 0; i <= op >> 4; i++) {
		switch (op & 7) {
		case 0:
			if (p->ops->rx_slots_look(p, &s->slots, &why) || !s->slots.nr)
				break;
			require(!p->ops->rx_slots_enter(p, &s->slots));
			s->nr_slots = s->slots.nr;
			break;
		case 1:
			p->ops->rx_slots_leave(p);
			break;
		case 2:
			require(p->ops->rx_slots_given(p) <= s->nr_slots);
			break;
		case 3:
			p->ops->rx_slots_watch(p, op >> 4);
			break;
		case 4:
			p->ops->touches_rings(p, s->mem->map + take(in, 3), take(in, 2));
			break;
		default:
			p->ops->rx_slot_put(p, &plain, take(in, 2) >> (op & 15));
			break;
		}
	}
	p->ops->rx_end(p);
}

/* Mostly in memory, at rings and buffers; sometimes anywhere. */
static uint64_t take_gpa(struct input *in)
{
	uint8_t how = (uint8_t)take(in, 1);

	if (how < 224)
		return (uint64_t)how << 12;
	if (how < 240)
		return ME_MEM - (how & 15) * 16;
	return take(in, 8);
}

static unsigned take_reg(struct input *in)
{
	static const uint16_t usual[] = {
		REG_CTRL,   REG_EECD,  REG_EERD,  REG_MDIC,   REG_ICR,	 REG_ICS,
		REG_IMS,    REG_RCTL,  REG_TCTL,  REG_RDBAL,  REG_RDLEN, REG_RDH,
		REG_RDT,    REG_TDBAL, REG_TDLEN, REG_TDH,    REG_TDT,	 REG_RA,
		REG_RA + 4, REG_MTA,   REG_VFTA,  REG_RXCSUM, REG_VET,	 STAT_GORCH,
	};
	uint8_t how = (uint8_t)take(in, 1);

	if (how < 240)
		return usual[how % ARRAY_SIZE(usual)];
	return (unsigned)take(in, 3) % E1000_MMIO_BYTES;
}

static void step(struct mock_e1000 *m, struct sink *s, struct input *in)
{
	uint8_t op = (uint8_t)take(in, 1);
	uint64_t first, second;
	unsigned reg;

	switch (op & 15) {
	case 0:
	case 1:
	case 2:
		reg = take_reg(in);
		mock_mmio_write(&m->mp, m->bar + reg, take(in, op & 16 ? 4 : 1), 4);
		break;
	case 3:
		mock_mmio_write(&m->mp, m->bar + take_reg(in), take(in, 4), 1u << (op >> 6));
		break;
	case 4:
		mock_mmio_read(&m->mp, m->bar + take_reg(in), 1u << (op >> 6));
		break;
	case 5:
		mock_pio_write(&m->mp, m->io + (op >> 5 & 4u), (uint32_t)take(in, 4), 4);
		mock_pio_read(&m->mp, m->io + (op >> 4 & 4u), 4);
		break;
	case 6:
	case 7:
	case 8:
	case 9:
		/* A descriptor, in either ring. */
		first = take_gpa(in);
		second = take(in, 2) | take(in, 2) << 16 | take(in, 1) << 40 | take(in, 2) << 48;
		if (op & 32)
			first = take(in, 8);
		if (op & 16)
			me_rx_give(m, (op >> 6) + 1);
		else if (op & 128)
			me_slot_give(m, (op >> 6) + 1);
		else
			me_tx_desc(m, first, second);
		break;
	case 10:
		me_set(m, REG_TDT, m->tx_tail);
		break;
	case 11:
		deliver(m->port, in);
		break;
	case 12:
		slots(s, m->port, in);
		break;
	case 13:
		s->refuse = op >> 4 & 3;
		s->keep = (op >> 6) * 3;
		s->done = (unsigned)take(in, 1) % 10;
		m->port->ops->tx_resume(m->port);
		break;
	case 14:
		first = take(in, 8);
		gmem_write(&m->mp.mem, ME_RX_RING + take(in, 1) * 16, &first, 8);
		break;
	default:
		me_start(m, 8u << (op >> 5), (uint32_t)take(in, 4));
		break;
	}
	/* What the loop's thread would do; posted work may post more. */
	if (m->loop.work_head)
		mock_e1000_run(m);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = { data, size };
	static struct mock_e1000 m;
	static struct sink s;

	log_set_level(LOG_ERROR);
	mock_e1000_init(&m, "fuzz", 1);
	memset(&s, 0, sizeof(s));
	s.carrier.ops = &sink_ops;
	s.mem = &m.mp.mem;
	e1000_set_carrier(m.e, &s.carrier);
	me_slots_start(&m, 64, RCTL_UPE | RCTL_BAM, ME_DATA, ME_BUFS, 2048);
	for (unsigned i = 0; in.left && i < MAX_STEPS; i++)
		step(&m, &s, &in);
	mock_e1000_fini(&m);
	return 0;
}
