/*
 * Whole frames over whichever network card there is: virtio-net, or an Intel 82540EM (e1000). One
 * buffer a frame; interrupts only end a wait.
 */
#ifndef LIB_NET_H
#define LIB_NET_H

#include "lib/e1000.h"
#include "lib/virtio.h"

#define NET_FRAME_MAX 1514
#define NET_HDR_BYTES 12 /* virtio's; unused with other cards */
#define NET_BUF_BYTES 1792

struct net_buf {
	uint8_t hdr[NET_HDR_BYTES];
	uint8_t frame[NET_BUF_BYTES - NET_HDR_BYTES];
};

struct net;

/* What a driver has to do; as the functions below. */
struct net_ops {
	struct net_buf *(*receive)(struct net *n, uint32_t *frame_bytes);
	bool (*give)(struct net *n, struct net_buf *b);
	bool (*send)(struct net *n, struct net_buf *b, uint32_t frame_bytes);
	struct net_buf *(*sent)(struct net *n);
	void (*kick)(struct net *n);
	bool (*arm)(struct net *n);
	void (*wait)(struct net *n);
};

struct net {
	const struct net_ops *ops;
	const char *over; /* "pci", "mmio", "e1000" */
	uint8_t mac[6];
	unsigned nr_rx;
	/* virtio-net */
	struct virtio dev;
	struct vq rx, tx;
	/* e1000 */
	struct e1000 e1000;
};

/* Finds and starts the `index`th NIC, those with virtio first, with `nr_rx` receive buffers posted;
 * FAIL if there is none. */
void net_start(struct net *n, unsigned index, unsigned nr_rx);
/* A frame that has come in, and its length; NULL: none. It is given back by net_give(). */
struct net_buf *net_receive(struct net *n, uint32_t *frame_bytes);
void net_give(struct net *n, struct net_buf *b);
/* False: the ring is full. The buffer comes back from net_sent(). The caller kicks. */
bool net_send(struct net *n, struct net_buf *b, uint32_t frame_bytes);
struct net_buf *net_sent(struct net *n);
struct net_buf *net_buf_new(void);
/* Tells the device of what was sent and given. */
void net_kick(struct net *n);
/* Asks for an interrupt when there is more; true if there is more already. */
bool net_arm(struct net *n);
/* Sleeps until an interrupt of this device, or any other. */
void net_wait(struct net *n);
uint64_t net_interrupts(const struct net *n);
uint64_t net_kicks(const struct net *n);

bool parse_mac(const char *text, uint8_t mac[6]);

/* virtio_net.c, net_e1000.c: false: there is no such card. */
bool virtio_net_start(struct net *n, unsigned index);
bool net_e1000_start(struct net *n, unsigned index);

#endif
