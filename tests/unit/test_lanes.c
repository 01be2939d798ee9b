/*
 * Lanes between NICs with physical devices of their own: detection, markers, swaps both ways, and
 * what can go wrong in the middle of one. Whole NICs with mock drivers on a mock bridge, in which
 * frames stay until the test lets them through; the clock goes on when the test says so.
 */
#include <check.h>
#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "tests/unit/mock_bridge.h"
#include "tests/unit/still_clock.h"
#include "xtalk/netswitch.h"
#include "xtalk/remapper.h"

#define NICS  3
#define WORLD 99   /* as an id: nobody of this net */
#define BROAD 0xff /* as an id: the broadcast address */

static struct mock_nic nic[NICS];
static struct mock_bridge bridge;
static struct netswitch *sw;
static struct remapper *remapper;
static struct mock_frame got;
static uint8_t frame[FRAME_MAX_BYTES + 64];
static const struct virtio_net_hdr_v1 plain;
static const uint8_t *peer_mac[NICS];
static bool promiscuous[NICS];
static uint32_t hold_us;

static void plug(unsigned i)
{
	struct netswitch_port np = { .port = nic[i].port,
				     .uplink = &bridge.port[i].carrier,
				     .promiscuous = promiscuous[i],
				     .peer_mac = peer_mac[i] };
	struct carrier *c;

	ck_assert_int_eq(netswitch_attach(sw, &np, &c), 0);
	virtio_net_set_carrier(nic[i].net, c);
}

static void start(unsigned i)
{
	ck_assert(mock_nic_start(&nic[i], MOCK_NET_ALL, 256));
	for (unsigned n = 0; n < 128; n++)
		mock_nic_rx_add(&nic[i], 2048, 1);
	mock_driver_kick(&nic[i].drv, 0);
}

static void fill(uint8_t dst, uint8_t src, uint32_t number)
{
	mock_frame_fill(frame, 100, dst, src, number);
	if (dst == BROAD)
		memset(frame, 0xff, 6);
	memcpy(frame + 20, &number, sizeof(number));
}

static void setup_mode(enum xtalk_mode mode)
{
	static const char *const names[NICS] = { "a.eth0", "b.eth0", "c.eth0" };
	struct netswitch_params params = {
		.name = "lan0",
		.uplink_fd = -1,
		.own_uplinks = true,
		.rules = { .mode = mode,
			   .threshold = 8,
			   .share_percent = 75,
			   .window = 32,
			   .hold_us = hold_us },
	};

	mock_bridge_init(&bridge);
	ck_assert_int_eq(remapper_create(&remapper), 0);
	params.remapper = remapper;
	ck_assert_int_eq(netswitch_create(&sw, &params), 0);
	for (unsigned i = 0; i < NICS; i++) {
		mock_nic_init(&nic[i], names[i], (uint8_t)(i + 1));
		plug(i);
		start(i);
		mock_bridge_learn(&bridge, nic[i].port->mac, i);
	}
	fill(0, WORLD, 0);
	mock_bridge_learn(&bridge, frame + 6, MOCK_BRIDGE_PORTS);
}

static void setup(void)
{
	setup_mode(XTALK_DYNAMIC);
}

static void setup_static(void)
{
	setup_mode(XTALK_STATIC);
}

static void setup_off(void)
{
	setup_mode(XTALK_OFF);
}

static void setup_peer(void)
{
	static uint8_t mac[ETH_ADDR_BYTES];

	mock_nic_mac(mac, 2);
	peer_mac[0] = mac;
	setup();
}

static void setup_promiscuous(void)
{
	promiscuous[0] = true;
	setup();
}

static void setup_hold(void)
{
	hold_us = 1000000;
	setup();
}

static void teardown(void)
{
	for (unsigned i = 0; i < NICS; i++) {
		loop_stop(&nic[i].loop);
		virtio_dev_stop(nic[i].dev);
		netswitch_detach(sw, nic[i].port);
		mock_nic_fini(&nic[i]);
	}
	netswitch_destroy(sw);
	remapper_destroy(remapper);
	mock_bridge_fini(&bridge);
}

/* Runs what was posted to the loop of NIC i. */
static void pump(unsigned i)
{
	mock_loop_run(&nic[i].loop);
}

static void send_filled(unsigned i)
{
	mock_nic_tx(&nic[i], &plain, frame, 100, 1);
	mock_driver_kick(&nic[i].drv, 1);
}

/* Frames from NIC i, numbers [from, to]. */
static void send_some(unsigned i, uint8_t dst, uint32_t from, uint32_t to)
{
	for (; from <= to; from++) {
		fill(dst, (uint8_t)(i + 1), from);
		send_filled(i);
	}
}

static bool take(unsigned i)
{
	if (!mock_nic_rx(&nic[i], &got))
		return false;
	mock_nic_rx_add(&nic[i], 2048, 1);
	return true;
}

/* NIC i has received frames from..to of NIC `src`, in order, and nothing else. */
static void expect_some(unsigned i, uint8_t src, uint32_t from, uint32_t to)
{
	for (; from <= to; from++) {
		ck_assert_msg(take(i), "frame %u did not come", from);
		ck_assert_uint_eq(got.len, 100);
		fill((uint8_t)(i + 1), src, from);
		ck_assert_mem_eq(got.data + 6, frame + 6, 94);
	}
	ck_assert(!take(i));
}

static unsigned read_all(unsigned i)
{
	return mock_bridge_read(&bridge, i, MOCK_BRIDGE_ALL);
}

static struct netswitch_port_state state(unsigned i)
{
	struct netswitch_port_state st;

	ck_assert_int_eq(netswitch_port_state(sw, nic[i].port, &st), 0);
	return st;
}

static unsigned events(struct xtalk_event *last)
{
	static struct xtalk_event ev[REMAPPER_EVENTS];
	unsigned n = remapper_events(remapper, 0, ev, REMAPPER_EVENTS);

	if (n)
		*last = ev[n - 1];
	return n;
}

static void command(unsigned i, bool pin, enum binding b)
{
	ck_assert_int_eq(netswitch_command(sw, nic[i].port, pin, b), 0);
	pump(i);
}

static uint64_t direct(unsigned i)
{
	return nic[i].port->stats.path[PATH_DIRECT].tx_frames;
}

/* A talks to B until the lane is open; numbers up to 8. */
static void open_lane(void)
{
	send_some(0, 2, 1, 8);
	read_all(1);
	pump(0);
	expect_some(1, 1, 1, 8);
	ck_assert_int_eq(state(0).binding, BINDING_DIRECT);
	ck_assert_uint_eq(state(0).nr_open_lanes, 1);
	ck_assert_str_eq(state(0).open_lanes[0], "b.eth0");
}

START_TEST(swap_waits_for_the_marker)
{
	struct xtalk_event ev;

	send_some(0, 2, 1, 7);
	ck_assert_uint_eq(bridge.markers, 0);
	send_some(0, 2, 8, 20);
	ck_assert_uint_eq(bridge.markers, 1);
	/* What is in the bridge stays there, so everything else stays in the ring. */
	pump(0);
	ck_assert(!take(1));
	ck_assert_uint_eq(direct(0), 0);
	for (unsigned n = 1; n <= 7; n++) {
		pass(MS);
		ck_assert_uint_eq(mock_bridge_read(&bridge, 1, 1), 1);
		pump(0);
		expect_some(1, 1, n, n);
	}
	ck_assert_int_eq(state(0).binding, BINDING_UPLINK);
	ck_assert_uint_eq(events(&ev), 0);
	ck_assert_uint_eq(mock_bridge_read(&bridge, 1, 1), 1);
	ck_assert(!take(1)); /* the marker is not for the guest */
	pump(0);
	expect_some(1, 1, 8, 20);
	ck_assert_uint_eq(direct(0), 13);
	ck_assert_uint_eq(netswitch_stats(sw)->markers_sent, 1);
	ck_assert_uint_eq(netswitch_stats(sw)->markers_swallowed, 1);
	ck_assert_uint_eq(netswitch_stats(sw)->swaps, 1);

	ck_assert_uint_eq(events(&ev), 1);
	ck_assert_uint_eq(ev.seq, 1);
	ck_assert_str_eq(ev.net, "lan0");
	ck_assert_str_eq(ev.nic, "a.eth0");
	ck_assert_str_eq(ev.peer, "b.eth0");
	ck_assert_int_eq(ev.from, BINDING_UPLINK);
	ck_assert_int_eq(ev.to, BINDING_DIRECT);
	ck_assert_int_eq(ev.why, WHY_TRAFFIC);
	ck_assert_uint_eq(ev.frames, 8);
	ck_assert_uint_eq(ev.window, 8);
	ck_assert_uint_eq(ev.detect_us, 0);
	ck_assert_uint_eq(ev.swap_us, 7000);
	ck_assert_uint_gt(ev.time_ns, UINT64_C(1600000000000000000));
	ck_assert_uint_eq(remapper_events(remapper, UINT64_MAX, &ev, 1), 0);
	ck_assert_uint_eq(remapper_events(remapper, 1, &ev, 1), 0);
	/* The other direction is a matter of its own. */
	ck_assert_int_eq(state(1).binding, BINDING_UPLINK);
}
END_TEST

/* The 9th frame to each is what the lane of an element that is bound already waits for. */
START_TEST(each_lane_drains_for_itself)
{
	open_lane();
	send_some(0, 3, 1, 1);
	ck_assert_uint_eq(bridge.markers, 2);
	send_some(0, 2, 9, 9); /* behind it in the ring */
	ck_assert(!take(1));
	read_all(2);
	pump(0);
	expect_some(2, 1, 1, 1);
	expect_some(1, 1, 9, 9);
	ck_assert_uint_eq(state(0).nr_open_lanes, 2);
	ck_assert_uint_eq(netswitch_stats(sw)->swaps, 1);
}
END_TEST

/* The clock has been put forward beyond the limit: the tick wakes the sender. */
static void wait_for_tick(uint64_t timeouts)
{
	for (unsigned ms = 0; state(0).drain_timeouts < timeouts; ms++) {
		ck_assert_uint_lt(ms, 5000);
		usleep(1000);
		pump(0);
	}
}

START_TEST(marker_lost)
{
	struct xtalk_event ev;
	uint64_t backoff = 1000 * MS;

	bridge.drop_markers = true;
	send_some(0, 2, 1, 12);
	ck_assert_uint_eq(bridge.markers, 1);
	ck_assert_uint_eq(mock_bridge_waiting(&bridge, 1), 7);
	pass(60 * MS);
	wait_for_tick(1);
	ck_assert_uint_eq(netswitch_stats(sw)->drain_timeouts, 1);
	read_all(1);
	expect_some(1, 1, 1, 12);
	ck_assert_int_eq(state(0).binding, BINDING_UPLINK);
	ck_assert_uint_eq(events(&ev), 1);
	ck_assert_int_eq(ev.why, WHY_TIMEOUT);
	ck_assert_int_eq(ev.from, BINDING_UPLINK);
	ck_assert_int_eq(ev.to, BINDING_UPLINK);
	ck_assert_str_eq(ev.peer, "b.eth0");
	ck_assert_uint_eq(netswitch_stats(sw)->swaps, 0);

	/* Not again at once, and ever more seldom. */
	for (unsigned n = 1; n < 4; n++) {
		send_some(0, 2, 13, 60);
		ck_assert_uint_eq(bridge.markers, n);
		pass(backoff - 100 * MS);
		send_some(0, 2, 61, 70);
		ck_assert_uint_eq(bridge.markers, n);
		read_all(1);
		expect_some(1, 1, 13, 70);
		pass(200 * MS);
		send_some(0, 2, 1, 8);
		ck_assert_uint_eq(bridge.markers, n + 1);
		pass(60 * MS);
		wait_for_tick(n + 1);
		read_all(1);
		expect_some(1, 1, 1, 8);
		backoff *= 2;
	}
	/* The host has mended its filter. */
	bridge.drop_markers = false;
	pass(backoff + 100 * MS);
	open_lane();
}
END_TEST

START_TEST(marker_late)
{
	send_some(0, 2, 1, 8);
	pass(60 * MS);
	wait_for_tick(1);
	/* It went out before frame 8, which has given up waiting, and comes only now. */
	send_some(0, 2, 9, 20);
	ck_assert_uint_eq(mock_bridge_waiting(&bridge, 1), 21);
	read_all(1);
	expect_some(1, 1, 1, 20);
	ck_assert_uint_eq(netswitch_stats(sw)->markers_swallowed, 1);
	ck_assert_int_eq(state(0).binding, BINDING_UPLINK);
	pass(2000 * MS);
	send_some(0, 2, 21, 28);
	ck_assert(!take(1));
	pump(0);
	ck_assert_int_eq(state(0).binding, BINDING_UPLINK); /* the late one opened nothing */
	read_all(1);
	pump(0);
	expect_some(1, 1, 21, 28);
	ck_assert_int_eq(state(0).binding, BINDING_DIRECT);
}
END_TEST

START_TEST(marker_flooded)
{
	bridge.flood = true;
	bridge.nr_macs = 0;
	send_some(0, 2, 1, 8);
	ck_assert_uint_eq(read_all(2), 8);
	pump(0);
	/* C sees the flooded frames, not the marker; and that it came to C means nothing. */
	for (unsigned n = 1; n < 8; n++)
		ck_assert(take(2));
	ck_assert(!take(2));
	ck_assert_int_eq(state(0).binding, BINDING_UPLINK);
	ck_assert_uint_eq(netswitch_stats(sw)->markers_swallowed, 1);
	read_all(1);
	pump(0);
	expect_some(1, 1, 1, 8);
	ck_assert_int_eq(state(0).binding, BINDING_DIRECT);
}
END_TEST

/* Copies of markers of swaps long past lie in the queue of a member that does not read. */
START_TEST(flooded_markers_pile_up)
{
	bridge.flood = true;
	bridge.nr_macs = 0;
	for (uint32_t n = 1; n <= 100; n++) {
		command(0, true, BINDING_DIRECT);
		send_some(0, 2, n, n);
		read_all(1);
		pump(0);
		expect_some(1, 1, n, n);
		command(0, true, BINDING_UPLINK);
	}
	ck_assert_uint_eq(bridge.markers, 100);
	ck_assert_uint_ge(read_all(2), 100);
	ck_assert(!take(2));
}
END_TEST

/* What looks like a marker and is none: of C under its own name, from the world under A's. */
START_TEST(forged_markers)
{
	uint32_t cookie;

	/* 0x88b5 is the guests', too: all test frames are of that type. */
	open_lane();
	command(2, true, BINDING_UPLINK);
	command(0, true, BINDING_UPLINK);
	command(0, true, BINDING_DIRECT);
	for (unsigned n = 0; n < 400; n++) {
		fill(2, n & 1 ? 3 : 1, n);
		memset(frame + 14, 0, 46);
		cookie = (n & 4 ? n * 0x9e3779b1 : n) << 8 | (n & 2 ? 2 : 0);
		memcpy(frame + 14, &cookie, sizeof(cookie));
		if (n & 1) {
			mock_nic_tx(&nic[2], &plain, frame, 60, 1);
			mock_driver_kick(&nic[2].drv, 1);
		} else {
			mock_bridge_give(&bridge, frame, 60);
		}
		if (n == 0)
			send_some(0, 2, 9, 9); /* its marker is behind the first of them */
		ck_assert_uint_eq(mock_bridge_waiting(&bridge, 1), 2);
		if (n) {
			/* The genuine one stays where it is: take the forged one out of turn. */
			struct mock_bridge_port *p = &bridge.port[1];
			struct mock_bridge_frame first = p->queue[p->head % MOCK_BRIDGE_QUEUE];

			p->queue[p->head % MOCK_BRIDGE_QUEUE] =
				p->queue[(p->head + 1) % MOCK_BRIDGE_QUEUE];
			p->queue[(p->head + 1) % MOCK_BRIDGE_QUEUE] = first;
		}
		ck_assert_uint_eq(mock_bridge_read(&bridge, 1, 1), 1);
		ck_assert(take(1)); /* the guest's business */
		ck_assert_uint_eq(got.len, 60);
		ck_assert_mem_eq(got.data + 14, &cookie, 4);
		if (n % 50 == 0)
			pump(0);
		ck_assert_uint_eq(direct(0), 1);
	}
	ck_assert_uint_eq(netswitch_stats(sw)->markers_swallowed, 1);
	read_all(1);
	pump(0);
	expect_some(1, 1, 9, 9);
}
END_TEST

START_TEST(refreshes_the_bridge)
{
	open_lane();
	ck_assert_uint_eq(bridge.reminders, 0); /* the marker's batch told it */
	pass(20000 * MS);
	send_some(0, 2, 9, 9);
	ck_assert_uint_eq(bridge.reminders, 0);
	pass(10100 * MS);
	send_some(0, 2, 10, 12);
	ck_assert_uint_eq(bridge.reminders, 1);
	expect_some(1, 1, 9, 12);
	/* A bridge that learns nothing floods it: nobody's guest sees it. */
	bridge.flood = true;
	bridge.nr_macs = 0;
	pass(31000 * MS);
	send_some(0, 2, 13, 13);
	ck_assert_uint_eq(bridge.reminders, 2);
	expect_some(1, 1, 13, 13);
	for (unsigned i = 1; i < NICS; i++) {
		ck_assert_uint_eq(read_all(i), 1);
		ck_assert(!take(i));
	}
	/* What goes out anyway is reminder enough. */
	pass(25000 * MS);
	send_some(0, WORLD, 1, 1);
	pass(25000 * MS);
	send_some(0, 2, 14, 14);
	ck_assert_uint_eq(bridge.reminders, 2);
}
END_TEST

START_TEST(receiver_stops_while_it_drains)
{
	send_some(0, 2, 1, 10);
	ck_assert_uint_eq(bridge.markers, 1);
	if (_i == 0) {
		mock_driver_set_status(&nic[1].drv, 0);
	} else {
		virtio_dev_stop(nic[1].dev);
		netswitch_detach(sw, nic[1].port);
		bridge.port[1].carrier.port = NULL;
	}
	/* Nobody has to wait for the limit. */
	pump(0);
	ck_assert_int_eq(state(0).binding, BINDING_UPLINK);
	ck_assert_uint_eq(nic[0].port->stats.path[PATH_UPLINK].tx_frames, 10);
	ck_assert_uint_eq(state(0).drain_timeouts, 0);
	/* Nothing of it is left: the detector goes on, for others and for B when it is back. */
	send_some(0, 3, 1, 30);
	read_all(2);
	pump(0);
	expect_some(2, 1, 1, 30);
	ck_assert_str_eq(state(0).open_lanes[0], "c.eth0");
	if (_i)
		plug(1);
	start(1);
	send_some(0, 2, 11, 12);
	ck_assert(!take(1));
	/* The old marker, which B reads first, is not the one that A waits for now. */
	if (!_i)
		mock_bridge_read(&bridge, 1, 8);
	pump(0);
	while (take(1))
		ck_assert_uint_le(got.data[20], 10);
	read_all(1);
	pump(0);
	for (uint32_t last = 0; take(1); last = got.data[20])
		ck_assert_uint_gt(got.data[20], last);
	ck_assert_uint_eq(got.data[20], 12);
	ck_assert_uint_eq(state(0).nr_open_lanes, 2);
}
END_TEST

START_TEST(receiver_stops_with_the_lane_open)
{
	open_lane();
	mock_driver_set_status(&nic[1].drv, 0);
	ck_assert_uint_eq(state(0).nr_open_lanes, 0);
	send_some(0, 2, 9, 12);
	ck_assert_uint_eq(mock_bridge_waiting(&bridge, 1), 4);
	start(1);
	send_some(0, 2, 13, 14);
	ck_assert(!take(1));
	read_all(1);
	pump(0);
	expect_some(1, 1, 9, 14);
}
END_TEST

START_TEST(sender_resets_while_it_drains)
{
	struct xtalk_event ev;

	send_some(0, 2, 1, 10);
	start(0);
	ck_assert_int_eq(state(0).binding, BINDING_UPLINK);
	ck_assert_uint_eq(events(&ev), 0);
	/* The marker of before the reset is swallowed, and opens nothing. */
	send_some(0, 2, 8, 14);
	read_all(1);
	pump(0);
	expect_some(1, 1, 1, 14);
	ck_assert_int_eq(state(0).binding, BINDING_UPLINK);
	send_some(0, 2, 15, 16);
	read_all(1);
	pump(0);
	expect_some(1, 1, 15, 16);
	ck_assert_int_eq(state(0).binding, BINDING_DIRECT);
	/* And with the lane open. */
	start(0);
	ck_assert_int_eq(state(0).binding, BINDING_UPLINK);
	ck_assert_uint_eq(events(&ev), 2);
	ck_assert_int_eq(ev.why, WHY_RESET);
	ck_assert_str_eq(ev.peer, "");
	ck_assert_uint_eq(ev.frames, 0);
	send_some(0, 2, 17, 18);
	ck_assert_uint_eq(mock_bridge_waiting(&bridge, 1), 2);
}
END_TEST

START_TEST(sender_detached_while_it_drains)
{
	send_some(0, 2, 1, 10);
	virtio_dev_stop(nic[0].dev);
	netswitch_detach(sw, nic[0].port);
	ck_assert_uint_eq(mock_bridge_waiting(&bridge, 1), 8);
	read_all(1);
	expect_some(1, 1, 1, 7);
	ck_assert_uint_eq(netswitch_stats(sw)->markers_swallowed, 1);
	plug(0);
	start(0);
	send_some(0, 2, 1, 8);
	read_all(1);
	pump(0);
	expect_some(1, 1, 1, 8);
	ck_assert_int_eq(state(0).binding, BINDING_DIRECT);
}
END_TEST

/* A guest that puts another frame where the waiting one was gains and breaks nothing. */
START_TEST(frame_that_waits_is_exchanged)
{
	gpa_t gpa;

	send_some(0, 2, 1, 8);
	gpa = nic[0].drv.next - 100;
	ck_assert_int_eq(gmem_write(&nic[0].mp.mem, gpa, (uint8_t[]){ 0x52, 0x54, 0, 0, 0, 3 }, 6),
			 0);
	netswitch_command(sw, nic[0].port, false, 0); /* looks again */
	pump(0);
	/* It is C's first frame, so it goes up; B's marker comes and nobody waits. */
	ck_assert_uint_eq(read_all(2), 1);
	read_all(1);
	pump(0);
	expect_some(1, 1, 1, 7);
	ck_assert_int_eq(state(0).binding, BINDING_UPLINK);
	send_some(0, 2, 9, 9);
	ck_assert_uint_eq(bridge.markers, 2);
	pump(0);
	ck_assert(!take(1));
	read_all(1);
	pump(0);
	expect_some(1, 1, 9, 9);
}
END_TEST

START_TEST(orders_in_the_middle_of_a_drain)
{
	struct xtalk_event ev;

	send_some(0, 2, 1, 8);
	command(0, false, 0); /* the detector decides, and has decided */
	ck_assert_uint_eq(direct(0), 0);
	command(0, true, BINDING_UPLINK);
	ck_assert_uint_eq(mock_bridge_waiting(&bridge, 1), 9);
	command(0, true, BINDING_DIRECT);
	ck_assert_uint_eq(events(&ev), 1);
	ck_assert_int_eq(ev.why, WHY_COMMAND);
	ck_assert_str_eq(ev.peer, "");
	ck_assert_uint_eq(ev.frames, 0);
	send_some(0, 2, 9, 9);
	ck_assert_uint_eq(bridge.markers, 2);
	mock_bridge_read(&bridge, 1, 9); /* the first marker among them */
	pump(0);
	expect_some(1, 1, 1, 8);
	read_all(1);
	pump(0);
	expect_some(1, 1, 9, 9);
	ck_assert(state(0).pinned);
	/* Pinned: nothing moves it. */
	pass(1000 * MS);
	send_some(0, WORLD, 1, 200);
	ck_assert_int_eq(state(0).binding, BINDING_DIRECT);
	command(0, true, BINDING_UPLINK);
	send_some(0, 2, 10, 50);
	ck_assert_uint_eq(mock_bridge_waiting(&bridge, 1), 41);
	/* An order outlives the driver. */
	start(0);
	ck_assert(state(0).pinned);
	command(0, true, BINDING_DIRECT);
	start(0);
	ck_assert_int_eq(state(0).binding, BINDING_DIRECT);
	ck_assert(state(0).pinned);
	command(0, false, 0);
	ck_assert(!state(0).pinned);
	pass(1000 * MS);
	send_some(0, WORLD, 1, 40);
	ck_assert_int_eq(state(0).binding, BINDING_UPLINK);
}
END_TEST

START_TEST(orders_refused)
{
	struct port stranger = *nic[0].port;

	ck_assert_int_eq(netswitch_command(sw, &stranger, true, BINDING_DIRECT), -ENOENT);
	ck_assert_int_eq(netswitch_command(sw, nic[0].port, true, BINDING_MAPPED), -ENOTSUP);
	ck_assert_int_eq(netswitch_port_state(sw, &stranger, &(struct netswitch_port_state){ 0 }),
			 -ENOENT);
}
END_TEST

START_TEST(uplink_full)
{
	/* At the marker. */
	send_some(0, 2, 1, 7);
	bridge.port[0].full = 1;
	send_some(0, 2, 8, 9);
	ck_assert_uint_eq(bridge.markers, 0);
	nic[0].port->ops->tx_resume(nic[0].port);
	pump(0);
	ck_assert_uint_eq(bridge.markers, 1);
	read_all(1);
	pump(0);
	expect_some(1, 1, 1, 9);
	/* At a frame to the outside, with the lane open. */
	bridge.port[0].full = 1;
	send_some(0, WORLD, 1, 1);
	send_some(0, 2, 10, 10);
	ck_assert(!take(1));
	nic[0].port->ops->tx_resume(nic[0].port);
	pump(0);
	expect_some(1, 1, 10, 10);
	ck_assert_uint_eq(bridge.outside, 1);
}
END_TEST

START_TEST(group_frames_once)
{
	open_lane();
	send_some(0, BROAD, 1, 20);
	ck_assert_uint_eq(bridge.outside, 20);
	for (unsigned i = 1; i < NICS; i++) {
		read_all(i);
		for (unsigned n = 0; n < 20; n++)
			ck_assert_msg(take(i), "NIC %u frame %u", i, n);
		ck_assert(!take(i));
	}
	/* A storm is no talk. */
	pass(1000 * MS);
	for (unsigned n = 0; n < 10; n++) {
		send_some(2, BROAD, 1, 50);
		read_all(0);
		read_all(1);
		while (take(0) || take(1))
			;
	}
	ck_assert_int_eq(state(2).binding, BINDING_UPLINK);
	ck_assert_int_eq(state(0).binding, BINDING_DIRECT);
	ck_assert_uint_eq(netswitch_stats(sw)->swaps, 1);
}
END_TEST

/* bound: before the mixed traffic begins. */
START_TEST(mixed_traffic_does_not_flap)
{
	uint32_t b = 0;

	if (_i)
		open_lane();
	for (uint32_t n = 0; n < 100000; n++) {
		fill(n & 1 ? 2 : WORLD, 1, n & 1 ? b++ : n);
		send_filled(0);
		read_all(1);
		while (take(1))
			;
		if (n % 100 == 0)
			pass(10 * MS);
	}
	ck_assert_uint_eq(netswitch_stats(sw)->swaps, _i);
	ck_assert_uint_eq(bridge.markers, _i);
	ck_assert_int_eq(state(0).binding, _i ? BINDING_DIRECT : BINDING_UPLINK);
	ck_assert_uint_eq(nic[1].port->stats.rx_frames, 50000 + 8 * (unsigned)_i);
	ck_assert_uint_eq(nic[1].port->stats.path[PATH_DIRECT].rx_frames, 50001 * (unsigned)_i);
}
END_TEST

START_TEST(back_to_the_uplink)
{
	struct xtalk_event ev;

	open_lane();
	send_some(0, WORLD, 1, 200);
	ck_assert_int_eq(state(0).binding, BINDING_DIRECT); /* has only just been bound */
	pass(150 * MS);
	send_some(0, WORLD, 1, 1);
	ck_assert_int_eq(state(0).binding, BINDING_UPLINK);
	ck_assert_uint_eq(events(&ev), 2);
	ck_assert_int_eq(ev.why, WHY_OUTSIDE);
	ck_assert_str_eq(ev.peer, "");
	ck_assert_uint_eq(ev.frames, 32);
	ck_assert_uint_eq(ev.window, 32);
	ck_assert_uint_eq(state(0).nr_open_lanes, 0);
	ck_assert_uint_eq(state(0).swaps, 2);
	/* And direct again, behind what went up meanwhile. */
	send_some(0, 2, 9, 15);
	ck_assert(!take(1));
	send_some(0, 2, 16, 40);
	read_all(1);
	pump(0);
	expect_some(1, 1, 9, 40);
	ck_assert_uint_eq(state(0).swaps, 3);
}
END_TEST

START_TEST(vlan_tags)
{
	for (uint32_t n = 1; n <= 12; n++) {
		fill(2, 1, n);
		memcpy(frame + 12, (uint8_t[]){ 0x81, 0x00, 0x00, 0x0a }, 4);
		send_filled(0);
	}
	ck_assert_uint_eq(bridge.markers, 1);
	read_all(1);
	pump(0);
	for (uint32_t n = 1; n <= 12; n++) {
		ck_assert(take(1));
		ck_assert_mem_eq(got.data + 12, ((uint8_t[]){ 0x81, 0x00, 0x00, 0x0a }), 4);
		ck_assert_mem_eq(got.data + 20, &n, 4);
	}
	ck_assert_uint_eq(direct(0), 5);
}
END_TEST

START_TEST(sources)
{
	fill(2, 3, 1); /* another member's */
	send_filled(0);
	fill(WORLD, 3, 1);
	send_filled(0);
	fill(2, 1, 1);
	frame[6] |= 1;
	send_filled(0);
	ck_assert_uint_eq(bridge.port[0].heard, 0);
	ck_assert_uint_eq(nic[0].port->stats.tx_spoofed, 3);
	fill(2, 77, 1); /* nobody's */
	send_filled(0);
	ck_assert_uint_eq(bridge.port[0].heard, promiscuous[0] ? 1 : 0);
	ck_assert_uint_eq(nic[0].port->stats.tx_spoofed, promiscuous[0] ? 3 : 4);
	fill(1, 1, 1); /* to itself */
	send_filled(0);
	ck_assert_uint_eq(bridge.port[0].heard, promiscuous[0] ? 1 : 0);
	/* Nor by a frame that would go directly. */
	command(0, true, BINDING_DIRECT);
	fill(2, 3, 1);
	send_filled(0);
	ck_assert_uint_eq(bridge.markers, 0);
}
END_TEST

/* static, and peer = : bound from the start, by the same care for what is on its way. */
static void bound_from_the_start(enum xtalk_why why)
{
	struct xtalk_event ev[NICS];

	ck_assert_uint_ge(remapper_events(remapper, 0, ev, NICS), 1);
	ck_assert_int_eq(ev[0].why, why);
	ck_assert_str_eq(ev[0].nic, "a.eth0");
	ck_assert(state(0).pinned);
	ck_assert_int_eq(state(0).binding, BINDING_DIRECT);
	send_some(0, 2, 1, 3);
	ck_assert_uint_eq(bridge.markers, 1);
	read_all(1);
	pump(0);
	expect_some(1, 1, 1, 3);
	ck_assert_uint_eq(direct(0), 3);
	pass(1000 * MS);
	send_some(0, WORLD, 1, 100);
	ck_assert_int_eq(state(0).binding, BINDING_DIRECT);
	start(0);
	ck_assert_int_eq(state(0).binding, BINDING_DIRECT);
}

START_TEST(bound_static)
{
	bound_from_the_start(WHY_STATIC);
	ck_assert_int_eq(state(2).binding, BINDING_DIRECT);
}
END_TEST

START_TEST(bound_peer)
{
	bound_from_the_start(WHY_PEER);
	ck_assert_int_eq(state(2).binding, BINDING_UPLINK);
	ck_assert(!state(2).pinned);
}
END_TEST

START_TEST(never)
{
	send_some(0, 2, 1, 100);
	ck_assert_uint_eq(mock_bridge_waiting(&bridge, 1), 100);
	ck_assert_int_eq(netswitch_command(sw, nic[0].port, true, BINDING_DIRECT), -ENOTSUP);
	ck_assert_uint_eq(netswitch_stats(sw)->markers_sent, 0);
}
END_TEST

START_TEST(receiver_stops_while_it_holds)
{
	open_lane();
	for (unsigned n = 0; n < 200; n++)
		send_some(0, 2, n, n);
	ck_assert_uint_eq(nic[0].port->stats.tx_held, 1);
	if (_i)
		command(0, true, BINDING_UPLINK); /* takes the frames that wait along */
	else
		mock_driver_set_status(&nic[1].drv, 0);
	pump(0);
	ck_assert_uint_gt(mock_bridge_waiting(&bridge, 1), 60);
	ck_assert_uint_eq(direct(0) + mock_bridge_waiting(&bridge, 1), 201);
	ck_assert_uint_eq(nic[1].port->stats.rx_dropped, 0);
}
END_TEST

int main(void)
{
	static const struct {
		const char *name;
		void (*setup)(void);
	} fixtures[] = { { "dynamic", setup },	 { "static", setup_static },
			 { "peer", setup_peer }, { "promiscuous", setup_promiscuous },
			 { "off", setup_off },	 { "hold", setup_hold } };
	Suite *s = suite_create("lanes");
	TCase *tc[ARRAY_SIZE(fixtures)];
	SRunner *sr;
	int failed;

	for (unsigned i = 0; i < ARRAY_SIZE(fixtures); i++) {
		tc[i] = tcase_create(fixtures[i].name);
		tcase_set_timeout(tc[i], 120);
		tcase_add_checked_fixture(tc[i], fixtures[i].setup, teardown);
		suite_add_tcase(s, tc[i]);
	}
	tcase_add_test(tc[0], swap_waits_for_the_marker);
	tcase_add_test(tc[0], each_lane_drains_for_itself);
	tcase_add_test(tc[0], marker_lost);
	tcase_add_test(tc[0], marker_late);
	tcase_add_test(tc[0], marker_flooded);
	tcase_add_test(tc[0], flooded_markers_pile_up);
	tcase_add_test(tc[0], forged_markers);
	tcase_add_test(tc[0], refreshes_the_bridge);
	tcase_add_loop_test(tc[0], receiver_stops_while_it_drains, 0, 2);
	tcase_add_test(tc[0], receiver_stops_with_the_lane_open);
	tcase_add_test(tc[0], sender_resets_while_it_drains);
	tcase_add_test(tc[0], sender_detached_while_it_drains);
	tcase_add_test(tc[0], frame_that_waits_is_exchanged);
	tcase_add_test(tc[0], orders_in_the_middle_of_a_drain);
	tcase_add_test(tc[0], orders_refused);
	tcase_add_test(tc[0], uplink_full);
	tcase_add_test(tc[0], group_frames_once);
	tcase_add_loop_test(tc[0], mixed_traffic_does_not_flap, 0, 2);
	tcase_add_test(tc[0], back_to_the_uplink);
	tcase_add_test(tc[0], vlan_tags);
	tcase_add_test(tc[0], sources);
	tcase_add_test(tc[1], bound_static);
	tcase_add_test(tc[2], bound_peer);
	tcase_add_test(tc[3], sources);
	tcase_add_test(tc[4], never);
	tcase_add_loop_test(tc[5], receiver_stops_while_it_holds, 0, 2);
	sr = srunner_create(s);
	srunner_run_all(sr, CK_NORMAL);
	failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
