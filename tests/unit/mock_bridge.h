/*
 * A bridge for tests of lanes: a carrier for each NIC, which stands for its TAP. It learns and
 * floods as a bridge does, and puts frames into the queue of each port that they are for; there
 * they stay until the test lets that port read them. One thread only, loops at rest.
 */
#ifndef TESTS_MOCK_BRIDGE_H
#define TESTS_MOCK_BRIDGE_H

#include "tests/unit/mock_net.h"

#define MOCK_BRIDGE_PORTS 4
#define MOCK_BRIDGE_QUEUE 1024 /* a power of two */
#define MOCK_BRIDGE_ALL	  UINT32_MAX

struct mock_bridge_frame {
	struct virtio_net_hdr_v1 hdr;
	size_t len;
	uint8_t *data;
};

struct mock_bridge;

struct mock_bridge_port {
	struct carrier carrier;
	struct mock_bridge *bridge;
	unsigned number;
	bool started;
	unsigned full;	/* so many frames more are refused with -EAGAIN */
	unsigned heard; /* frames sent, markers and all */
	struct mock_bridge_frame queue[MOCK_BRIDGE_QUEUE];
	unsigned head, tail;
};

struct mock_bridge {
	struct mock_bridge_port port[MOCK_BRIDGE_PORTS];
	uint8_t mac[64][ETH_ADDR_BYTES]; /* learnt … */
	int at[64];			 /* … on this port */
	unsigned nr_macs;
	bool flood;	    /* learn nothing */
	bool drop_markers;  /* as a host that filters them would */
	unsigned markers;   /* sent by xvmm to somebody else */
	unsigned reminders; /* to the sender itself */
	unsigned outside;   /* frames that left for the world */
};

void mock_bridge_init(struct mock_bridge *b);
void mock_bridge_fini(struct mock_bridge *b);
unsigned mock_bridge_waiting(const struct mock_bridge *b, unsigned port);
/* Port reads up to max frames; fewer if its NIC is not started or has no buffers. Returns how many
 * left the queue. */
unsigned mock_bridge_read(struct mock_bridge *b, unsigned port, unsigned max);
/* As if a frame from `mac` had come in on `port` (MOCK_BRIDGE_PORTS: from the world). */
void mock_bridge_learn(struct mock_bridge *b, const uint8_t *mac, unsigned port);
/* A frame from the world. */
void mock_bridge_give(struct mock_bridge *b, const void *frame, size_t len);

#endif
