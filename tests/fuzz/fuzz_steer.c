/*
 * Fuzzes the switch of a net whose NICs have devices of their own: the input is a program of
 * frames, orders, resets, comings and goings, and of what the bridge between them does. Whatever it
 * is: frames from one NIC to another arrive in order and at most once, unchanged, only where they
 * are meant for, under their sender's own address; no guest ever sees a marker; and at the end
 * everybody can talk to everybody.
 */
#include <check.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "base/log.h"
#include "tests/fuzz/input.h"
#include "tests/unit/mock_bridge.h"
#include "xtalk/netswitch.h"
#include "xtalk/remapper.h"

#define NICS	  3
#define MAX_STEPS 400
#define RING_MOST 200 /* in flight on a ring */
#define RX_BYTES  2048
#define GROUP	  NICS	     /* as a destination */
#define WORLD	  (NICS + 1) /* likewise */

/* Behind the Ethernet header. */
struct stamp {
	uint32_t cookie; /* where a marker has it: whatever the input says */
	uint8_t from, to;
	uint16_t len;
	uint32_t number;
};

struct lab {
	struct mock_nic nic[NICS];
	struct mock_bridge bridge;
	struct netswitch *sw;
	struct remapper *remapper;
	bool attached[NICS], hostile[NICS];
	unsigned rx_given[NICS], tx_given[NICS];
	uint32_t sent[NICS][NICS + 2],
		seen[NICS][NICS][NICS + 2]; /* receiver, sender, destination */
	struct mock_frame got;
	uint8_t frame[6000];
};

static struct lab *lab;
static _Atomic uint64_t skew_ns;

/* In place of libc's: the input can put the clock forward, for as long as it runs. */
int clock_gettime(clockid_t id, struct timespec *ts)
{
	int rc = (int)syscall(SYS_clock_gettime, id, ts);

	if (id == CLOCK_MONOTONIC) {
		uint64_t ns = (uint64_t)ts->tv_nsec + atomic_load(&skew_ns);

		ts->tv_sec += (time_t)(ns / 1000000000);
		ts->tv_nsec = (long)(ns % 1000000000);
	}
	return rc;
}

/* In place of Check's, which want a test that runs: what the mocks assert. */
void _mark_point(const char *file, int line)
{
}

void _ck_assert_failed(const char *file, int line, const char *expr, const char *msg, ...)
{
	mock_fail(file, line, expr);
	abort();
}

static void attach(unsigned i)
{
	struct netswitch_port np = { .port = lab->nic[i].port,
				     .uplink = &lab->bridge.port[i].carrier };
	struct carrier *c;

	if (lab->attached[i])
		return;
	mock_require(netswitch_attach(lab->sw, &np, &c) == 0);
	virtio_net_set_carrier(lab->nic[i].net, c);
	lab->attached[i] = true;
}

static void detach(unsigned i)
{
	virtio_dev_stop(lab->nic[i].dev);
	netswitch_detach(lab->sw, lab->nic[i].port);
	virtio_net_set_carrier(lab->nic[i].net, NULL);
	lab->attached[i] = false;
}

static bool live(unsigned i)
{
	return lab->attached[i] && lab->nic[i].dev->live;
}

static void pump(unsigned i)
{
	mock_require(loop_start(&lab->nic[i].loop) == 0);
	loop_stop(&lab->nic[i].loop);
}

static void give(unsigned i, unsigned n)
{
	if (!live(i) || lab->hostile[i])
		return;
	for (; n && lab->rx_given[i] < RING_MOST; n--, lab->rx_given[i]++)
		mock_nic_rx_add(&lab->nic[i], RX_BYTES, 1);
	mock_driver_kick(&lab->nic[i].drv, 0);
}

static void mac_of(uint8_t *mac, unsigned dst)
{
	if (dst == GROUP)
		memset(mac, 0xff, ETH_ADDR_BYTES);
	else
		mock_nic_mac(mac, dst == WORLD ? 99 : (uint8_t)(dst + 1));
}

static void send_frame(unsigned i, unsigned dst, unsigned claim, size_t len, uint32_t cookie)
{
	struct virtio_net_hdr_v1 plain = { 0 };
	struct stamp s = {
		.cookie = cookie, .from = (uint8_t)i, .to = (uint8_t)dst, .len = (uint16_t)len
	};
	struct mock_ring *r = &lab->nic[i].drv.ring[1];

	if (!live(i) || lab->hostile[i])
		return;
	while (mock_ring_used(r, NULL, NULL))
		lab->tx_given[i]--;
	if (lab->tx_given[i] == RING_MOST)
		return;
	/* What is not its own must not arrive at all. */
	s.number = claim == i ? ++lab->sent[i][dst] : UINT32_MAX;
	mock_frame_fill(lab->frame, len, 0, (uint8_t)(claim + 1), s.number);
	mac_of(lab->frame, dst);
	memcpy(lab->frame + 14, &s, sizeof(s));
	mock_nic_tx(&lab->nic[i], &plain, lab->frame, len, 1 + len % 3);
	lab->tx_given[i]++;
	mock_driver_kick(&lab->nic[i].drv, 1);
}

/* What NIC i has received. */
static void receive(unsigned i)
{
	struct mock_frame *got = &lab->got;
	struct stamp s;
	unsigned from;

	if (!live(i) || lab->hostile[i])
		return;
	while (mock_nic_rx(&lab->nic[i], got)) {
		lab->rx_given[i] -= got->hdr.num_buffers;
		mock_require(got->len >= 14 + sizeof(s));
		memcpy(&s, got->data + 14, sizeof(s));
		from = got->data[11] - 1u;
		mock_require(from < NICS);
		if (lab->hostile[from])
			continue;
		mock_require(s.from == from && from != i && s.to <= WORLD);
		mock_require(s.number != UINT32_MAX && s.len == got->len);
		mock_frame_fill(lab->frame, got->len, 0, (uint8_t)(s.from + 1), s.number);
		mock_require(!memcmp(lab->frame + 14 + sizeof(s), got->data + 14 + sizeof(s),
				     got->len - 14 - sizeof(s)));
		mock_require(s.number > lab->seen[i][s.from][s.to]);
		lab->seen[i][s.from][s.to] = s.number;
	}
}

static void start(unsigned i, unsigned features)
{
	static const uint64_t sets[] = { MOCK_NET_ALL, MOCK_NET_ALL & ~MOCK_NET_MRG, MOCK_NET_BASE,
					 MOCK_NET_BASE | MOCK_NET_MRG };

	if (!lab->attached[i])
		return;
	if (lab->hostile[i]) {
		/* What it has sent is without meaning: take it from the world first. */
		for (unsigned n = 0; n < NICS; n++)
			receive(n);
		mock_bridge_clear(&lab->bridge);
	}
	mock_require(mock_nic_start(&lab->nic[i], sets[features % 4], 256));
	lab->rx_given[i] = 0;
	lab->tx_given[i] = 0;
	lab->hostile[i] = false;
}

/* Scribbles over rings, tables and frames; nothing that it sends or gets counts from then on. */
static void scribble(unsigned i, struct input *in)
{
	gpa_t at = MIB(1) + (take(in, 1) << 8 | take(in, 1));
	uint8_t bytes[8];

	if (!live(i))
		return;
	lab->hostile[i] = true;
	for (unsigned n = 0; n < sizeof(bytes); n++)
		bytes[n] = (uint8_t)take(in, 1);
	gmem_write(&lab->nic[i].mp.mem, at, bytes, sizeof(bytes));
	mock_driver_kick(&lab->nic[i].drv, take(in, 1) & 1);
}

static void step(struct input *in)
{
	unsigned op = take(in, 1), i = take(in, 1) % NICS, arg = take(in, 1);
	unsigned dst = (i + 1 + arg % (NICS - 1)) % NICS;

	switch (op % 16) {
	case 0:
	case 1:
	case 2:
		for (unsigned n = 0; n <= arg >> 4; n++)
			send_frame(i, dst, i, 60 + arg, 0x01020304);
		break;
	case 3:
		send_frame(i, arg & 1 ? GROUP : WORLD, i, 60, take(in, 1));
		break;
	case 4: /* too long for one buffer */
		send_frame(i, dst, i, 3000 + arg, 0);
		break;
	case 5:
		send_frame(i, dst, (i + 1) % NICS, 60, 0);
		break;
	case 6: /* may look like a marker */
		send_frame(i, dst, i, 60, (uint32_t)take(in, 1) << 8 | (arg & 2 ? i : dst));
		break;
	case 7:
	case 8:
		mock_bridge_read(&lab->bridge, i, arg & 1 ? MOCK_BRIDGE_ALL : arg >> 4);
		break;
	case 9:
		pump(i);
		break;
	case 10:
		receive(i);
		give(i, arg & 63);
		break;
	case 11:
		if (lab->attached[i])
			netswitch_command(lab->sw, lab->nic[i].port, arg & 3,
					  arg & 4 ? BINDING_DIRECT : BINDING_UPLINK);
		break;
	case 12:
		atomic_fetch_add(&skew_ns, (uint64_t)arg * arg * 1000000);
		break;
	case 13:
		lab->bridge.flood = arg & 1;
		lab->bridge.drop_markers = arg & 2;
		if (arg & 4)
			lab->bridge.nr_macs = 0;
		lab->bridge.port[i].full = arg >> 6;
		break;
	case 14:
		if (arg & 7)
			start(i, arg >> 4);
		else if (lab->attached[i])
			detach(i);
		else
			attach(i);
		break;
	case 15:
		if (arg & 1)
			scribble(i, in);
		else
			lab->nic[i].port->ops->tx_resume(lab->nic[i].port);
		break;
	}
}

/* Whatever it was, it has not left anybody waiting for good. */
static void all_talk(void)
{
	lab->bridge.drop_markers = false;
	for (unsigned i = 0; i < NICS; i++) {
		lab->bridge.port[i].full = 0;
		attach(i);
		receive(i);
		start(i, 0);
	}
	for (unsigned round = 0; round < 400; round++) {
		bool done = round > 10;

		for (unsigned i = 0; i < NICS; i++) {
			give(i, 150);
			if (round == 10) /* what was on its way has come by then */
				for (unsigned dst = 0; dst < NICS; dst++)
					if (dst != i)
						send_frame(i, dst, i, 60, 0);
			if (round >= 10)
				pump(i);
			mock_bridge_read(&lab->bridge, i, MOCK_BRIDGE_ALL);
			receive(i);
		}
		for (unsigned i = 0; i < NICS; i++)
			for (unsigned n = 0; n < NICS; n++)
				done &= i == n || lab->seen[i][n][i] == lab->sent[n][i];
		if (done)
			return;
		if (round > 200)
			usleep(1000);
	}
	mock_require(false);
}

static void once(void)
{
	static const char *const names[NICS] = { "a", "b", "c" };

	log_set_level(LOG_ERROR);
	lab = calloc(1, sizeof(*lab));
	mock_require(lab && remapper_create(&lab->remapper) == 0);
	for (unsigned i = 0; i < NICS; i++)
		mock_nic_init(&lab->nic[i], names[i], (uint8_t)(i + 1));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = { data, size };
	struct netswitch_params params = {
		.name = "lan0",
		.uplink_fd = -1,
		.own_uplinks = true,
		.rules = { .threshold = 4, .share_percent = 75, .window = 16 },
	};
	unsigned how;

	if (!lab)
		once();
	how = take(&in, 1);
	params.remapper = lab->remapper;
	params.rules.mode = how & 1 ? XTALK_STATIC : XTALK_DYNAMIC;
	params.rules.hold_us = how & 2 ? 1000 : 0;
	mock_bridge_init(&lab->bridge);
	mock_require(netswitch_create(&lab->sw, &params) == 0);
	memset(lab->sent, 0, sizeof(lab->sent));
	memset(lab->seen, 0, sizeof(lab->seen));
	for (unsigned i = 0; i < NICS; i++) {
		attach(i);
		start(i, how >> (2 + 2 * i));
		give(i, 32);
	}
	for (unsigned n = 0; n < MAX_STEPS && in.left; n++)
		step(&in);
	all_talk();
	for (unsigned i = 0; i < NICS; i++) {
		pump(i);
		detach(i);
	}
	netswitch_destroy(lab->sw);
	lab->sw = NULL;
	mock_bridge_fini(&lab->bridge);
	atomic_store(&skew_ns, 0);
	return 0;
}
