/*
 * Offloads in software: see offload.h for the contract.
 *
 * Sources: RFC 1071 (checksum), RFC 791/8200/9293 (IPv4, IPv6, TCP), RFC 3168 (CWR only once),
 * VIRTIO 1.2, 5.1.6 (what the header's fields mean).
 *
 * Pure functions on a struct offload of the caller's; no locks.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <linux/if_ether.h>
#include <string.h>

#include "base/vnet.h"
#include "xtalk/offload.h"

#define VLAN_TAG_BYTES	   4
#define MAX_VLAN_TAGS	   2
#define IP6_HDR_BYTES	   40
#define TCP_HDR_BYTES	   20
#define TCP_CSUM_OFFSET	   16
#define TCP_FLAGS_OFFSET   13
#define TCP_FIN		   0x01
#define TCP_PSH		   0x08
#define TCP_CWR		   0x80
#define IP4_MORE_OR_OFFSET 0x3fff

/* -- Checksum -- */

uint16_t csum_fold(uint64_t sum)
{
	sum = (sum & 0xffffffff) + (sum >> 32);
	sum = (sum & 0xffffffff) + (sum >> 32);
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	return (uint16_t)sum;
}

/* Words are summed as they lie in memory: the sum does not depend on byte order (RFC 1071, 2B),
 * and a run that starts in the middle of a word is a sum with its bytes swapped. */
uint64_t csum_bytes(uint64_t sum, bool odd, const void *data, size_t len)
{
	const uint8_t *p = data;
	uint64_t s = 0;
	uint16_t folded;

	for (; len >= 4; p += 4, len -= 4) {
		uint32_t w;

		memcpy(&w, p, sizeof(w));
		s += w;
	}
	if (len >= 2) {
		uint16_t w;

		memcpy(&w, p, sizeof(w));
		s += w;
		p += 2;
		len -= 2;
	}
	if (len) {
		uint8_t pair[2] = { *p, 0 };
		uint16_t w;

		memcpy(&w, pair, sizeof(w));
		s += w;
	}
	folded = csum_fold(s);
	return sum + (odd ? __builtin_bswap16(folded) : folded);
}

uint64_t csum_iov(uint64_t sum, bool odd, struct iov_cursor c, size_t len)
{
	size_t run;
	uint8_t *ptr;

	while (len && (run = iov_run(&c, &ptr))) {
		if (run > len)
			run = len;
		sum = csum_bytes(sum, odd, ptr, run);
		odd ^= run & 1;
		c.offset += run;
		len -= run;
	}
	return sum;
}

static uint16_t get16(const uint8_t *p)
{
	return (uint16_t)(p[0] << 8 | p[1]);
}

static void put16(uint8_t *p, uint16_t v)
{
	p[0] = (uint8_t)(v >> 8);
	p[1] = (uint8_t)v;
}

static uint32_t get32(const uint8_t *p)
{
	return (uint32_t)get16(p) << 16 | get16(p + 2);
}

static void put32(uint8_t *p, uint32_t v)
{
	put16(p, (uint16_t)(v >> 16));
	put16(p + 2, (uint16_t)v);
}

/* Sums the checksummed part of the frame made, field included, and fills the field in. */
static void fill_csum(struct offload *o, uint64_t sum)
{
	size_t in_head = o->head_len - o->l4;
	uint16_t field;

	sum = csum_bytes(sum, false, o->head + o->l4, in_head);
	sum = csum_iov(sum, in_head & 1, o->payload, o->payload_len);
	field = (uint16_t)~csum_fold(sum);
	if (!field)
		field = 0xffff; /* UDP takes 0 for "no checksum"; to all others both are the same */
	memcpy(o->head + o->csum_at, &field, sizeof(field));
}

/* -- Parsing -- */

/* Finds the IP header. 0: there is none that we know. */
static uint16_t find_l3(struct offload *o, size_t avail)
{
	size_t at = 2 * ETH_ADDR_BYTES;
	uint16_t type;

	for (unsigned tags = 0;; tags++, at += VLAN_TAG_BYTES) {
		if (at + 2 > avail)
			return 0;
		type = get16(o->head + at);
		if ((type != ETH_P_8021Q && type != ETH_P_8021AD) || tags == MAX_VLAN_TAGS)
			break;
	}
	o->l3 = at + 2;
	return type;
}

static int parse_ip4(struct offload *o, size_t avail)
{
	const uint8_t *ip = o->head + o->l3;
	size_t ihl;

	if (o->l3 + 20 > avail || ip[0] >> 4 != 4)
		return -EINVAL;
	ihl = (size_t)(ip[0] & 15) * 4;
	if (ihl < 20 || o->l3 + ihl > avail || ip[9] != IPPROTO_TCP)
		return -EINVAL;
	if (get16(ip + 6) & IP4_MORE_OR_OFFSET)
		return -EINVAL; /* a fragment has no TCP header, or not all of its data */
	o->l4 = o->l3 + ihl;
	o->ip_id = get16(ip + 4);
	return 0;
}

static int parse_ip6(struct offload *o, size_t avail)
{
	const uint8_t *ip = o->head + o->l3;
	size_t at = o->l3 + IP6_HDR_BYTES;
	uint8_t next;

	if (at > avail || ip[0] >> 4 != 6)
		return -EINVAL;
	next = ip[6];
	while (next == IPPROTO_HOPOPTS || next == IPPROTO_ROUTING || next == IPPROTO_DSTOPTS) {
		if (at + 8 > avail)
			return -EINVAL;
		next = o->head[at];
		at += ((size_t)o->head[at + 1] + 1) * 8;
	}
	if (next != IPPROTO_TCP || at > avail)
		return -EINVAL;
	o->l4 = at;
	o->ipv6 = true;
	return 0;
}

/* -- Segmentation -- */

static int begin_gso(struct offload *o, const struct frame *f, size_t avail)
{
	uint8_t kind = f->hdr.gso_type & (uint8_t)~VIRTIO_NET_HDR_GSO_ECN;
	bool want6 = kind == VIRTIO_NET_HDR_GSO_TCPV6;
	uint16_t type = find_l3(o, avail);
	size_t hlen;
	int err;

	if (!want6 && kind != VIRTIO_NET_HDR_GSO_TCPV4)
		return -EINVAL;
	if (type != (want6 ? ETH_P_IPV6 : ETH_P_IP))
		return -EINVAL;
	err = want6 ? parse_ip6(o, avail) : parse_ip4(o, avail);
	if (err)
		return err;
	if (o->l4 != f->hdr.csum_start || f->hdr.csum_offset != TCP_CSUM_OFFSET ||
	    f->hdr.gso_size < OFFLOAD_GSO_MIN_BYTES || o->l4 + TCP_HDR_BYTES > avail)
		return -EINVAL;
	hlen = (size_t)(o->head[o->l4 + 12] >> 4) * 4;
	if (hlen < TCP_HDR_BYTES || o->l4 + hlen > avail)
		return -EINVAL;
	o->csum_at = o->l4 + TCP_CSUM_OFFSET;
	o->seq = get32(o->head + o->l4 + 4);
	o->tcp_flags = o->head[o->l4 + TCP_FLAGS_OFFSET];
	o->gso_size = f->hdr.gso_size;
	o->head_len = o->l4 + hlen;
	return 0;
}

static void fix_ip(struct offload *o)
{
	uint8_t *ip = o->head + o->l3;
	size_t bytes = o->head_len - o->l3 + o->payload_len;
	uint16_t sum;

	if (o->ipv6) {
		put16(ip + 4, (uint16_t)(bytes - IP6_HDR_BYTES));
		return;
	}
	put16(ip + 2, (uint16_t)bytes);
	put16(ip + 4, o->ip_id++);
	put16(ip + 10, 0);
	sum = (uint16_t)~csum_fold(csum_bytes(0, false, ip, o->l4 - o->l3));
	memcpy(ip + 10, &sum, sizeof(sum));
}

static uint64_t pseudo_sum(const struct offload *o)
{
	const uint8_t *ip = o->head + o->l3;
	uint64_t sum = htons((uint16_t)(o->head_len - o->l4 + o->payload_len));

	sum += htons(IPPROTO_TCP);
	return o->ipv6 ? csum_bytes(sum, false, ip + 8, 32) : csum_bytes(sum, false, ip + 12, 8);
}

static void make_segment(struct offload *o)
{
	uint8_t *tcp = o->head + o->l4;
	bool last = !o->rest_len;
	uint64_t sum;

	fix_ip(o);
	put32(tcp + 4, o->seq);
	o->seq += (uint32_t)o->payload_len;
	tcp[TCP_FLAGS_OFFSET] = o->tcp_flags;
	if (!last)
		tcp[TCP_FLAGS_OFFSET] &= (uint8_t) ~(TCP_FIN | TCP_PSH);
	if (!o->first)
		tcp[TCP_FLAGS_OFFSET] &= (uint8_t)~TCP_CWR;

	sum = pseudo_sum(o);
	memset(&o->hdr, 0, sizeof(o->hdr));
	if (o->partial) {
		uint16_t field = csum_fold(sum);

		memcpy(o->head + o->csum_at, &field, sizeof(field));
		o->hdr.flags = VIRTIO_NET_HDR_F_NEEDS_CSUM;
		o->hdr.csum_start = (uint16_t)o->l4;
		o->hdr.csum_offset = TCP_CSUM_OFFSET;
	} else {
		memset(o->head + o->csum_at, 0, 2);
		fill_csum(o, sum);
	}
}

/* -- Both -- */

int offload_begin(struct offload *o, const struct frame *f, uint64_t features)
{
	struct iov_cursor rest = iov_cursor(f->iov, f->iovcnt);
	size_t avail = f->len < OFFLOAD_HEAD_MAX ? f->len : OFFLOAD_HEAD_MAX;
	int err;

	memcpy(o->head, f->head, f->head_len);
	iov_read(&rest, o->head + f->head_len, avail - f->head_len);
	o->first = true;
	o->done = false;
	o->ipv6 = false;
	o->gso_size = 0;
	o->partial = features & VNET_BIT(VIRTIO_NET_F_GUEST_CSUM);

	if (f->hdr.gso_type != VIRTIO_NET_HDR_GSO_NONE) {
		err = begin_gso(o, f, avail);
		if (err)
			return err;
	} else if (f->hdr.flags & VIRTIO_NET_HDR_F_NEEDS_CSUM) {
		o->l4 = f->hdr.csum_start;
		o->csum_at = o->l4 + f->hdr.csum_offset;
		o->head_len = o->csum_at + 2;
		if (o->head_len > avail)
			return -EINVAL;
	} else {
		return -EINVAL; /* nothing to complete */
	}
	/* What was copied beyond the headers is payload, and goes the way of payload. */
	o->rest = iov_cursor(f->iov, f->iovcnt);
	if (o->head_len >= f->head_len) {
		iov_skip(&o->rest, o->head_len - f->head_len);
	} else {
		/* Headers end within the part that the NIC has copied, so all of that is head. */
		o->head_len = f->head_len;
	}
	o->rest_len = f->len - o->head_len;
	return 0;
}

bool offload_next(struct offload *o)
{
	if (o->done)
		return false;
	o->payload = o->rest;
	o->payload_len = o->rest_len;
	if (o->gso_size && o->payload_len > o->gso_size)
		o->payload_len = o->gso_size;
	iov_skip(&o->rest, o->payload_len);
	o->rest_len -= o->payload_len;
	o->done = !o->rest_len;

	if (o->gso_size) {
		make_segment(o);
	} else {
		memset(&o->hdr, 0, sizeof(o->hdr));
		fill_csum(o, 0);
	}
	o->first = false;
	return true;
}
