/*
 * Fuzzes a mapped lane between two whole NICs, with a third one on the net. The lane is entered by
 * drivers that keep the contract of slots; from then on those that the input chose do with their
 * rings and memory whatever it says, while time passes, NICs are reset, frames come from elsewhere
 * and bindings are ordered. Whoever stays honest must see a sound ring: frames that fit, each slot
 * once, nothing of a third NIC's memory; and when all are honest again, frames arrive.
 */
#include <errno.h>
#include <string.h>

#include "base/log.h"
#include "tests/fuzz/input.h"
#include "tests/unit/mapped_kit.h"
#include "tests/unit/mock_net.h"
#include "tests/unit/still_clock.h"

#define NICS	   3
#define NR	   16
#define SLOT	   4096u
#define QUEUE	   64
#define BYTES	   100
#define BASE(q)	   ((q) ? MIB(8) : MIB(16))
#define MAX_OPS	   400
#define MAX_STARTS 64
#define CANARY	   0xa5
#define SECRET	   "what the third one keeps to itself"

enum { A, B, C };

struct end {
	struct mock_nic nic;
	struct mapped_memory memory;
	bool hostile;
	bool was_hostile; /* at any time: its device writes where it says */
	unsigned tx_next;
	uint32_t number;
	bool open[NR];	/* transmit slots that the device has */
	bool given[NR]; /* receive slots that the device has */
	unsigned received, starts;
};

static struct end end[NICS];
static struct netswitch *sw;
static struct remapper *remapper;
static const struct virtio_net_hdr_v1 plain;

/* Lets all that was posted run: loops of NICs, the remapper. */
static void pump(void)
{
	for (unsigned turn = 0; turn < 3; turn++) {
		for (unsigned i = 0; i < NICS; i++)
			loop_flush(&end[i].nic.loop);
		mapped_flush(remapper);
	}
}

/* The pages next to a queue's slots, which belong to nobody else. */
static void canaries(struct mock_nic *n, unsigned q, bool check)
{
	const gpa_t at[] = { BASE(q) - SLOT, BASE(q) + NR * SLOT };

	for (unsigned i = 0; i < ARRAY_SIZE(at); i++) {
		uint8_t *p = gmem_ptr(&n->mp.mem, at[i], SLOT);

		if (!check)
			memset(p, CANARY, SLOT);
		for (unsigned k = 0; check && k < SLOT; k++)
			require(p[k] == CANARY);
	}
}

/* A driver that keeps the contract, from the beginning. */
static void start(struct end *e)
{
	struct mock_nic *n = &e->nic;

	require(mock_nic_start(n, MOCK_NET_BASE, QUEUE));
	for (unsigned q = 0; q < 2 && !e->was_hostile; q++)
		canaries(n, q, false);
	mock_nic_slots_tx_init(n, NR, SLOT, BASE(1), 0);
	mock_nic_slots_rx_init(n, NR, SLOT, BASE(0), 0);
	mock_nic_slots_give_all(n);
	for (unsigned i = 0; i < NR; i++) {
		e->open[i] = false;
		e->given[i] = true;
	}
	e->tx_next = 0;
	e->hostile = false;
	mock_driver_kick(&n->drv, 0);
}

static void setup(void)
{
	static const char *const names[NICS] = { "a.eth0", "b.eth0", "c.eth0" };

	memset(end, 0, sizeof(end));
	mapped_net_create(&sw, &remapper, XTALK_STATIC, 1000, 5000);
	for (unsigned i = 0; i < NICS; i++) {
		struct end *e = &end[i];

		mock_nic_init(&e->nic, names[i], (uint8_t)(i + 1));
		virtio_net_set_carrier(e->nic.net,
				       mapped_attach(sw, e->nic.port, &e->nic.mp.mem, &e->memory));
	}
	for (unsigned i = 0; i < NICS; i++) {
		require(!loop_start(&end[i].nic.loop));
		start(&end[i]);
	}
	for (unsigned i = 0; i < NR; i++)
		memcpy(mock_nic_slot_at(&end[C].nic, 1, i), SECRET, sizeof(SECRET));
}

static void stop(void *dev)
{
	virtio_dev_stop(dev);
}

static void teardown(void)
{
	for (unsigned i = 0; i < NICS; i++)
		loop_call(&end[i].nic.loop, stop, end[i].nic.dev);
	for (unsigned i = 0; i < NICS; i++)
		loop_stop(&end[i].nic.loop);
	for (unsigned i = 0; i < NICS; i++) {
		require(!end[i].memory.held);
		for (unsigned q = 0; q < 2 && !end[i].was_hostile; q++)
			canaries(&end[i].nic, q, true);
		netswitch_detach(sw, end[i].nic.port);
		mock_nic_fini(&end[i].nic);
	}
	netswitch_destroy(sw);
	remapper_destroy(remapper);
}

/* -- Honest drivers -- */

static void collect_sent(struct end *e)
{
	unsigned slot;

	while (mock_nic_slot_sent(&e->nic, &slot)) {
		require(e->open[slot]);
		e->open[slot] = false;
	}
}

static void send(unsigned src, uint8_t dst_id, unsigned n, size_t len)
{
	static uint8_t frame[SLOT];
	struct end *e = &end[src];

	collect_sent(e);
	for (; n && !e->open[e->tx_next]; n--) {
		mock_frame_fill(frame, len, dst_id, (uint8_t)(src + 1), e->number++);
		if (dst_id == 0xff)
			memset(frame, 0xff, ETH_ADDR_BYTES);
		mock_nic_slot_send(&e->nic, e->tx_next, &plain, frame, len);
		e->open[e->tx_next] = true;
		e->tx_next = (e->tx_next + 1) % NR;
	}
	mock_driver_kick(&e->nic.drv, 1);
}

/* Takes up to n frames and gives their slots back. */
static void receive(unsigned i, unsigned n)
{
	static struct mock_frame got;
	struct end *e = &end[i];
	unsigned slot;

	for (; n && mock_nic_slot_rx(&e->nic, &slot, &got); n--) {
		require(e->given[slot]);
		/* Neither checksums nor segments were negotiated. */
		require(!got.len || (got.len >= FRAME_MIN_BYTES && !vnet_hdr_needs(&got.hdr)));
		e->received += got.len != 0;
		mock_nic_slot_give(&e->nic, slot);
	}
	mock_driver_kick(&e->nic.drv, 0);
}

static enum binding binding(unsigned i)
{
	struct netswitch_port_state s;

	require(!netswitch_port_state(sw, end[i].nic.port, &s));
	return s.binding;
}

static void map(unsigned src, unsigned dst)
{
	for (unsigned n = 0; n < 40 && binding(src) != BINDING_MAPPED; n++) {
		send(src, (uint8_t)(dst + 1), NR, BYTES);
		pump();
		receive(dst, NR);
		pump();
	}
	require(binding(src) == BINDING_MAPPED);
}

/* -- Hostile ones -- */

static gpa_t some_address(const struct end *e, struct input *in)
{
	uint32_t how = take(in, 1), v = take(in, 2);

	switch (how & 7) {
	case 0:
		return BASE(0) + v * 64;
	case 1:
		return BASE(1) + v * 64;
	case 2:
		return e->nic.slots[how >> 3 & 1].hdrs + v % (NR * MOCK_SLOT_HDR_BYTES);
	case 3:
		return e->nic.drv.ring[how >> 3 & 1].desc + v % 4096;
	case 4:
		return (gpa_t)v << 48 | v;
	case 5:
		return e->nic.mp.mem.size_bytes - v;
	default:
		return (gpa_t)v * SLOT;
	}
}

static void disable_rx(void *dev)
{
	virtio_queue_disable(dev, 0);
}

static void disable_tx(void *dev)
{
	virtio_queue_disable(dev, 1);
}

static void attack(struct end *e, struct input *in)
{
	uint32_t how = take(in, 1), v = take(in, 2);
	unsigned q = how & 1;
	struct mock_ring *r = &e->nic.drv.ring[q];
	struct gmem *mem = &e->nic.mp.mem;
	uint8_t bytes[16];
	gpa_t at;

	e->hostile = true;
	e->was_hostile = true;
	switch (how >> 1 & 7) {
	case 0: {
		uint32_t len = how & 0x10 ? take(in, 4) : take(in, 1);

		at = some_address(e, in);
		mock_desc_set(mem, r->desc, v % QUEUE, at, len, (uint16_t)(how >> 5),
			      (uint16_t)(v >> 6));
		break;
	}
	case 1:
		mock_ring_set_avail_idx(r, (uint16_t)(how & 0x10 ? v : r->avail_idx + v % 4));
		break;
	case 2:
		mock_ring_offer(r, (uint16_t)(how & 0x10 ? v : v % QUEUE));
		break;
	case 3: /* writes after sending, header fields */
	case 4:
		for (unsigned i = 0; i < sizeof(bytes); i++)
			bytes[i] = (uint8_t)take(in, 1);
		at = how >> 1 & 4 ? e->nic.slots[q].hdrs + v % (NR * MOCK_SLOT_HDR_BYTES)
				  : mock_nic_slot_gpa(&e->nic, q, v % NR) + (v >> 4) % 64;
		gmem_write(mem, at, bytes, sizeof(bytes));
		break;
	case 5:
		mock_nic_slot_give(&e->nic, v % NR);
		break;
	case 6:
		mock_nic_slot_send(&e->nic, v % NR, &plain, NULL, 14 + (v >> 4) % 2000);
		break;
	default:
		if (v & 1)
			mock_driver_set_status(&e->nic.drv, 0);
		else
			loop_call(&e->nic.loop, q ? disable_tx : disable_rx, e->nic.dev);
		break;
	}
	if (how & 0x80)
		mock_driver_kick(&e->nic.drv, q);
}

static void step(struct input *in)
{
	uint32_t op = take(in, 1), v = take(in, 1);
	unsigned i = op >> 4 & 1; /* A or B */
	struct end *e = &end[i];

	switch (op & 15) {
	case 0:
	case 1:
	case 2:
		if (e->hostile)
			attack(e, in);
		else
			send(i, (uint8_t)(2 - i), v % (NR + 1), FRAME_MIN_BYTES + v * 7);
		break;
	case 3:
	case 4:
	case 5:
		if (e->hostile)
			attack(e, in);
		else
			receive(i, v % (NR + 1));
		break;
	case 6:
	case 7:
	case 8:
		pump();
		break;
	case 9:
		pass((v & 63) * MS);
		break;
	case 10:
		netswitch_command(sw, end[v % NICS].nic.port, v & 0x80,
				  (enum binding)(v >> 2 & 3) % 3);
		break;
	case 11:
		send(C, v & 1 ? 0xff : (uint8_t)(1 + (v >> 1 & 1)), 1 + (v >> 4), BYTES);
		receive(C, NR);
		break;
	case 12:
		if (v % 4 == 0 && e->starts++ < MAX_STARTS)
			start(e);
		break;
	case 13: /* to the third, or to nobody */
		if (!e->hostile)
			send(i, v & 1 ? 3 : 0x77, v % 4, BYTES);
		break;
	default:
		attack(e, in);
		break;
	}
}

static void no_secret(unsigned i)
{
	for (unsigned q = 0; q < 2; q++) {
		void *p = gmem_ptr(&end[i].nic.mp.mem, BASE(q), NR * SLOT);

		require(!memmem(p, NR * SLOT, SECRET, sizeof(SECRET)));
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = { data, size };
	unsigned before;

	log_set_level(LOG_ERROR);
	setup();
	map(A, B);
	if (take(&in, 1) & 1)
		map(B, A);
	for (unsigned n = 0; in.left && n < MAX_OPS; n++)
		step(&in);
	no_secret(A);
	no_secret(B);

	for (unsigned i = 0; i < NICS; i++)
		netswitch_command(sw, end[i].nic.port, true, BINDING_DIRECT);
	pump();
	pass(1000 * MS);
	pump();
	for (unsigned i = 0; i < NICS; i++)
		start(&end[i]);
	pump();
	before = end[B].received;
	send(A, 2, NR / 2, BYTES);
	pump();
	receive(B, NR);
	pump();
	require(end[B].received >= before + NR / 2);
	teardown();
	return 0;
}
