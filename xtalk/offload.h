/*
 * Offloads in software: what the sender of a frame left to be done (a checksum, segmentation) and
 * its receiver cannot do. One frame in, one or more frames out, each with private headers.
 *
 * Headers are copied out of the sender's memory once; everything is decided on that copy. The
 * payload is read twice (sum, copy): a sender that changes it in between gets a wrong checksum.
 *
 * Used by whoever delivers; a struct offload belongs to one thread. Nothing allocates.
 */
#ifndef XTALK_OFFLOAD_H
#define XTALK_OFFLOAD_H

#include "base/carrier.h"
#include "base/iov.h"

/* Room for all headers of a frame up to the TCP options, or up to the checksum. */
#define OFFLOAD_HEAD_MAX 256
/* Smaller segments than any real MSS would only multiply the work. */
#define OFFLOAD_GSO_MIN_BYTES 8

struct offload {
	/* The frame that offload_next() made: head, then payload_len bytes from payload. */
	struct virtio_net_hdr_v1 hdr;
	uint8_t head[OFFLOAD_HEAD_MAX];
	size_t head_len;
	struct iov_cursor payload;
	size_t payload_len;

	/* private */
	struct iov_cursor rest;
	size_t rest_len; /* payload not yet given out */
	size_t gso_size; /* 0: not segmented */
	size_t l3, l4;	 /* offsets of the IP and TCP headers, or of the checksummed part in l4 */
	size_t csum_at;	 /* offset of the checksum field */
	uint32_t seq;
	uint16_t ip_id;
	uint8_t tcp_flags;
	bool ipv6;
	bool first;
	bool partial; /* the receiver completes checksums itself */
	bool done;
};

/* Starts on a frame for a receiver with the VIRTIO_NET_F_GUEST_* in `features`. -EINVAL: its
 * headers do not fit its virtio-net header, or are of a kind that cannot be completed. */
int offload_begin(struct offload *o, const struct frame *f, uint64_t features);

/* Makes the next frame. False: there are no more. */
bool offload_next(struct offload *o);

/* Ones' complement sum of scattered bytes, starting from `sum` with `odd` bytes (0 or 1) already
 * taken of a 16-bit word; and its folding into the value of a checksum field. For tests, too. */
uint64_t csum_iov(uint64_t sum, bool odd, struct iov_cursor c, size_t len);
uint64_t csum_bytes(uint64_t sum, bool odd, const void *data, size_t len);
uint16_t csum_fold(uint64_t sum); /* not complemented */

#endif
