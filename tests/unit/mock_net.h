/*
 * For tests of NICs and what carries their frames: a whole NIC (platform, driver, virtio-net) on a
 * loop, and a carrier that records.
 */
#ifndef TESTS_MOCK_NET_H
#define TESTS_MOCK_NET_H

#include <linux/virtio_config.h>
#include <linux/virtio_ring.h>

#include "base/iov.h"
#include "base/vnet.h"
#include "tests/unit/mock_driver.h"
#include "virtio/devices.h"

#define MOCK_NET_BASE                                                           \
	(VNET_BIT(VIRTIO_F_VERSION_1) | VNET_BIT(VIRTIO_RING_F_INDIRECT_DESC) | \
	 VNET_BIT(VIRTIO_NET_F_MAC) | VNET_BIT(VIRTIO_NET_F_STATUS))
#define MOCK_NET_TX_OFFLOADS                                              \
	(VNET_BIT(VIRTIO_NET_F_CSUM) | VNET_BIT(VIRTIO_NET_F_HOST_TSO4) | \
	 VNET_BIT(VIRTIO_NET_F_HOST_TSO6) | VNET_BIT(VIRTIO_NET_F_HOST_ECN))
#define MOCK_NET_MRG VNET_BIT(VIRTIO_NET_F_MRG_RXBUF)
#define MOCK_NET_ALL (MOCK_NET_BASE | MOCK_NET_TX_OFFLOADS | MOCK_NET_MRG | VNET_RX_OFFLOADS)

/* The ring of a driver that keeps the contract of slots (docs/mapped.md). */
struct mock_slots {
	unsigned nr;
	uint32_t bytes; /* room for a frame in each */
	gpa_t first;	/* where the frame of slot 0 begins */
	uint32_t stride;
	gpa_t hdrs; /* the virtio-net headers, MOCK_SLOT_HDR_BYTES apart */
	gpa_t tables;
	bool indirect;
};
#define MOCK_SLOT_HDR_BYTES 16

struct mock_nic {
	struct mock_platform mp;
	struct mock_driver drv;
	struct loop loop;
	struct virtio_net *net;
	struct virtio_dev *dev;
	struct port *port;
	gpa_t free_mem; /* where test data begins after mock_nic_start() */
	bool mergeable;
	gpa_t rx_buf[256]; /* of the chain with this head */
	uint32_t rx_len[256];
	struct mock_slots slots[2]; /* by queue: 0 receives, 1 transmits */
	bool slots_indirect;	    /* chains of slots go through indirect tables */
};

/* A frame as the driver got it. */
struct mock_frame {
	struct virtio_net_hdr_v1 hdr;
	size_t len;
	uint8_t data[FRAME_MAX_BYTES + 64];
};

/* id: last byte of the MAC 52:54:00:00:00:id. The loop is not running. */
void mock_nic_init(struct mock_nic *n, const char *name, uint8_t id);
void mock_nic_fini(struct mock_nic *n);
bool mock_nic_start(struct mock_nic *n, uint64_t features, uint16_t queue_size);
void mock_nic_mac(uint8_t mac[ETH_ADDR_BYTES], uint8_t id);

/* Makes a receive buffer of len bytes in `segs` segments available (no kick). */
void mock_nic_rx_add(struct mock_nic *n, uint32_t len, unsigned segs);
/* Takes the next received frame, if there is one: joins mergeable buffers, checks lengths. */
bool mock_nic_rx(struct mock_nic *n, struct mock_frame *f);

/* Makes header and frame available for transmission, in `segs` segments (no kick). */
void mock_nic_tx(struct mock_nic *n, const struct virtio_net_hdr_v1 *hdr, const void *frame,
		 size_t len, unsigned segs);

/*
 * Stable slots: slot i is a header descriptor of 12 bytes and one for the frame, which begins at
 * base + i * slot_bytes + offset and has the rest of slot_bytes for itself. Headers (and indirect
 * tables) lie in pages of their own. A direct chain takes two descriptors: nr_slots is half the
 * queue's size at most; set n->slots_indirect before for as many as the queue has. Nothing is given
 * to the device yet. After mock_nic_start(); base lies above what mock_driver_alloc() hands out.
 */
void mock_nic_slots_tx_init(struct mock_nic *n, unsigned nr_slots, uint32_t slot_bytes, gpa_t base,
			    uint32_t offset);
void mock_nic_slots_rx_init(struct mock_nic *n, unsigned nr_slots, uint32_t slot_bytes, gpa_t base,
			    uint32_t offset);
/* Where the frame of slot i of queue q lies (0: receive, 1: transmit). */
void *mock_nic_slot_at(struct mock_nic *n, unsigned q, unsigned i);
gpa_t mock_nic_slot_gpa(struct mock_nic *n, unsigned q, unsigned i);
/* Fills transmit slot i (frame NULL: it is filled already) and makes it available (no kick). */
void mock_nic_slot_send(struct mock_nic *n, unsigned i, const struct virtio_net_hdr_v1 *hdr,
			const void *frame, size_t len);
/* The next transmit slot that was completed. */
bool mock_nic_slot_sent(struct mock_nic *n, unsigned *i);
/* Gives receive slot i (no kick); slots 0 .. nr - 1. */
void mock_nic_slot_give(struct mock_nic *n, unsigned i);
void mock_nic_slots_give_all(struct mock_nic *n);
/* The next receive slot that was used; f->len 0: it holds no frame. */
bool mock_nic_slot_rx(struct mock_nic *n, unsigned *i, struct mock_frame *f);

/* dst, src, EtherType 0x88b5, then a pattern of `seed`. */
void mock_frame_fill(uint8_t *frame, size_t len, uint8_t dst_id, uint8_t src_id, uint32_t seed);

/* A carrier that keeps the last frame it was given. */
struct mock_carrier {
	struct carrier carrier;
	unsigned sends, send_ends, rx_readies, starts, stops;
	unsigned eagain;				  /* so many sends more are refused */
	unsigned keep;					  /* so many sends more are kept */
	unsigned kept;					  /* frames that are */
	unsigned done_in_send, done_in_end, done_in_stop; /* so many are done then, once */
	uint8_t *slot;					  /* of the last frame, as hdr and len */
	const void *slot_hdr;
	_Atomic unsigned rx_refused;
	int start_err;
	bool up;
	uint64_t features;
	struct virtio_net_hdr_v1 hdr;
	size_t len;
	uint8_t data[FRAME_MAX_BYTES];
};

void mock_carrier_init(struct mock_carrier *c);

/* What a lane does with a receive element, each between rx_begin() and rx_end(); -ENOTCONN (or 0,
 * false) if the port is not live. mock_slots_map(): look and enter; *list is what was found. */
int mock_slots_map(struct port *p, struct slot_list *list, const char **why);
void mock_slots_leave(struct port *p);
int mock_slot_put(struct port *p, const struct virtio_net_hdr_v1 *hdr, size_t len);
unsigned mock_slots_given(struct port *p);
bool mock_slots_watch(struct port *p, unsigned n);

/* Delivers a frame to the port as a carrier does. 0, -ENOBUFS, -ENOTCONN. */
int mock_deliver(struct port *p, const struct virtio_net_hdr_v1 *hdr, const void *frame,
		 size_t len);

#endif
