/* A virtio-net driver for whole frames, one buffer each. */
#ifndef LIB_VIRTIO_NET_H
#define LIB_VIRTIO_NET_H

#include "lib/virtio.h"

#define NET_FRAME_MAX 1514
#define NET_HDR_BYTES 12
#define NET_BUF_BYTES 1792

#define VIRTIO_NET_F_MAC    5
#define VIRTIO_NET_F_STATUS 16

struct net_buf {
	uint8_t hdr[NET_HDR_BYTES];
	uint8_t frame[NET_BUF_BYTES - NET_HDR_BYTES];
};

struct net {
	struct virtio dev;
	struct vq rx, tx;
	uint8_t mac[6];
	unsigned nr_rx;
};

/* Finds and starts the `index`th NIC with `nr_rx` receive buffers posted; FAIL if there is none. */
void net_start(struct net *n, unsigned index, unsigned nr_rx);
/* A frame that has come in, and its length; NULL: none. It is given back by net_give(). */
struct net_buf *net_receive(struct net *n, uint32_t *frame_bytes);
void net_give(struct net *n, struct net_buf *b);
/* False: the ring is full. The buffer comes back from net_sent(). The caller kicks. */
bool net_send(struct net *n, struct net_buf *b, uint32_t frame_bytes);
struct net_buf *net_sent(struct net *n);
struct net_buf *net_buf_new(void);

bool parse_mac(const char *text, uint8_t mac[6]);

#endif
