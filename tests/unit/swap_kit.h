/*
 * What the tests of swaps under load share: NICs on TAPs on a bridge, in a network namespace of the
 * test's own, and numbered frames with a hash. Fails the test on error.
 */
#ifndef TESTS_UNIT_SWAP_KIT_H
#define TESTS_UNIT_SWAP_KIT_H

#include "tests/unit/mock_net.h"
#include "vmm/tap.h"
#include "xtalk/netswitch.h"
#include "xtalk/remapper.h"

/* In front of each frame's payload. */
struct stamp {
	uint32_t number, len;
	uint64_t hash;
};

/* One direction; each field has one writer. */
struct flow {
	_Atomic uint32_t sent, received;
};

struct swap_tap {
	struct tap *tap;
	int fd;
};

/* What this machine lacks for these tests; NULL: nothing. */
const char *swap_missing(void);
/* Runs a command of the shell, which must succeed. */
void swap_sh(const char *cmd);
/* The monotonic clock. */
uint64_t swap_now_ns(void);
uint64_t swap_now_ms(void);

/* A namespace with a bridge, and a net of NICs with uplinks of their own. deadline_us: of mapped
 * lanes; 0: none is mapped. */
void swap_net_create(struct netswitch **sw, struct remapper **remapper, unsigned deadline_us);
/* NIC i of at most 3, its TAP on the bridge, both on the net. memory: NULL, or what it may be
 * mapped from. Its loop is not running. */
void swap_plug(struct netswitch *sw, unsigned i, struct mock_nic *n, struct swap_tap *t,
	       struct port_memory *memory);
/* The other way round; loops have been stopped. */
void swap_unplug(struct netswitch *sw, struct mock_nic *n, struct swap_tap *t);

/* Goes on from h. */
uint64_t swap_hash(uint64_t h, const uint8_t *p, size_t len);
/* Where the stamp of a frame is: it looks like TCP, or not. */
size_t swap_stamp_at(const uint8_t *frame);
/* Makes the frame, and its header: gso, a TCP segment to be cut up. */
void swap_frame(uint8_t *frame, struct virtio_net_hdr_v1 *hdr, size_t len, uint8_t dst_id,
		uint8_t src_id, uint32_t number, bool gso);

#endif
