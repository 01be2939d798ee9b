/*
 * The frames that net_send and net_echo exchange: EtherType 0x9000 (loopback), a number and a hash
 * over everything behind the addresses, so that a frame is recognised after the echo swapped them.
 */
#ifndef LIB_LOOPBACK_H
#define LIB_LOOPBACK_H

#include "lib/guest.h"

#define LOOPBACK_ETHERTYPE 0x0090 /* as a little-endian CPU reads it */
#define LOOPBACK_MAGIC	   0x6c70626b
#define LOOPBACK_MIN	   60

enum loopback_kind { LOOPBACK_DATA = 1, LOOPBACK_PROBE = 2, LOOPBACK_QUIT = 3 };

struct loopback_frame {
	uint8_t dst[6], src[6];
	uint16_t type;
	uint16_t kind;
	uint32_t magic;
	uint32_t seq;
	uint32_t bytes; /* of the whole frame */
	uint32_t pad;
	uint64_t hash; /* of what follows, seeded with seq */
	uint8_t payload[];
} __attribute__((packed));

static inline uint64_t loopback_hash(const struct loopback_frame *f)
{
	return hash_bytes(f->payload, f->bytes - sizeof(*f), (uint64_t)f->kind << 32 | f->seq);
}

static inline bool loopback_is(const void *frame, uint32_t bytes)
{
	const struct loopback_frame *f = frame;

	return bytes >= sizeof(*f) && f->type == LOOPBACK_ETHERTYPE && f->magic == LOOPBACK_MAGIC;
}

#endif
