/*
 * What the tests of virtio-net's rings of slots share: one NIC on a carrier that records, and what
 * a lane and a driver do with its slots. All of it is a program's own: it includes this once, and
 * leaves out what it does not need.
 */
#ifndef TESTS_UNIT_NET_SLOTS_KIT_H
#define TESTS_UNIT_NET_SLOTS_KIT_H

#include <check.h>

#include "tests/unit/mock_net.h"

#define SLOTS_BASE MIB(16)
#define SLOT_BYTES 2048
#define EVENT_IDX  VNET_BIT(VIRTIO_RING_F_EVENT_IDX)

static struct mock_nic nic;
static struct mock_carrier car;
static uint8_t frame[FRAME_MAX_BYTES + 64];
static const struct virtio_net_hdr_v1 plain;
static struct slot_list list; /* as last looked at … */
static const char *why;	      /* … or what was wrong with it */
static struct mock_frame got; /* the last one that the driver took */

/* Receive rings: direct and indirect, full, partly used, and as small as they get. */
static const struct ring_kind {
	uint16_t size;
	unsigned nr;
	bool indirect, event;
} kinds[] = {
	{ 256, 128, false, false }, { 256, 128, false, true }, { 256, 256, true, true },
	{ 128, 100, true, false },  { 2, 1, false, true },     { 256, 3, false, false },
};

/* Check's fixture. */
static inline void setup(void)
{
	mock_nic_init(&nic, "a.eth0", 1);
	mock_carrier_init(&car);
	virtio_net_set_carrier(nic.net, &car.carrier);
}

static inline void teardown(void)
{
	mock_nic_fini(&nic);
}

/* The device has given up on its driver. */
static inline bool needs_reset(void)
{
	return mock_driver_status(&nic.drv) & VIRTIO_CONFIG_S_NEEDS_RESET;
}

/* -- The lane: calls between begin() and end(), or one call with both around it -- */

static inline const struct port_ops *ops(void)
{
	return nic.port->ops;
}

static inline void begin(void)
{
	ck_assert(ops()->rx_begin(nic.port));
}

static inline void end(void)
{
	ops()->rx_end(nic.port);
}

static inline int map_rx(void)
{
	return mock_slots_map(nic.port, &list, &why);
}

static inline int put(const struct virtio_net_hdr_v1 *hdr, size_t len)
{
	return mock_slot_put(nic.port, hdr, len);
}

static inline unsigned given(void)
{
	return mock_slots_given(nic.port);
}

static inline void leave(void)
{
	mock_slots_leave(nic.port);
}

/* -- The driver -- */

/* Starts anew, with a receive ring of this kind, all of whose slots are given. */
static inline void start_rx(const struct ring_kind *k, uint64_t features)
{
	nic.slots_indirect = k->indirect;
	ck_assert(mock_nic_start(&nic, features | (k->event ? EVENT_IDX : 0), k->size));
	mock_nic_slots_rx_init(&nic, k->nr, SLOT_BYTES, SLOTS_BASE, 64);
	mock_nic_slots_give_all(&nic);
}

/* The same, and the lane maps it. */
static inline void start_mapped(const struct ring_kind *k)
{
	start_rx(k, MOCK_NET_ALL);
	ck_assert_int_eq(map_rx(), 0);
}

/* The driver takes slot i with a frame of len bytes, or none, and nothing else. */
static inline void expect_rx(unsigned i, size_t len)
{
	unsigned at;

	ck_assert(mock_nic_slot_rx(&nic, &at, &got));
	ck_assert_uint_eq(at, i);
	ck_assert_uint_eq(got.len, len);
}

/* n frames, each put and taken before the next; *next: the slot that is the next one's. */
static inline void put_and_take(unsigned n, unsigned *next)
{
	for (; n; n--) {
		ck_assert_int_eq(put(&plain, 60), 0);
		expect_rx(*next, 60);
		*next = (*next + 1) % nic.slots[0].nr;
	}
}

#endif
