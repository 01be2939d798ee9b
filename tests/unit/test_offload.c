/* Checksums and segmentation in software, against plain re-computation and against lies. */
#include <arpa/inet.h>
#include <check.h>
#include <errno.h>
#include <stdlib.h>

#include "base/vnet.h"
#include "xtalk/offload.h"

#define CSUM	VIRTIO_NET_HDR_F_NEEDS_CSUM
#define CWR	0x80
#define ECE	0x40
#define ACK	0x10
#define PSH	0x08
#define FIN	0x01
#define PARTIAL VNET_BIT(VIRTIO_NET_F_GUEST_CSUM)

static uint8_t buf[FRAME_MAX_BYTES + 64], out[FRAME_MAX_BYTES + 64];
static struct frame frame;
static struct offload off;

/* The checksum as RFC 1071 has it, byte by byte. */
static uint16_t slow_sum(uint32_t sum, const uint8_t *p, size_t len)
{
	for (size_t i = 0; i < len; i++) {
		sum += i & 1 ? p[i] : (uint32_t)p[i] << 8;
		sum = (sum & 0xffff) + (sum >> 16);
	}
	return (uint16_t)sum;
}

static uint16_t get16(const uint8_t *p)
{
	return (uint16_t)(p[0] << 8 | p[1]);
}

static uint32_t get32(const uint8_t *p)
{
	return (uint32_t)get16(p) << 16 | get16(p + 2);
}

static void put16(uint8_t *p, uint16_t v)
{
	p[0] = (uint8_t)(v >> 8);
	p[1] = (uint8_t)v;
}

struct shape {
	bool v6;
	unsigned vlans;
	unsigned ip_opt; /* bytes of IPv4 options, or of IPv6 extension headers */
	unsigned tcp_opt;
	uint8_t flags;
};

static struct layout {
	size_t l3, l4, payload;
} lay;

/* Writes a TCP frame with n bytes of payload and no checksums at all; returns its length. */
static size_t build_tcp(const struct shape *s, size_t n)
{
	size_t at = 12;
	uint8_t *ip, *tcp;

	memset(buf, 0, sizeof(buf));
	memcpy(buf, (uint8_t[]){ 0x52, 0x54, 0, 0, 0, 2, 0x52, 0x54, 0, 0, 0, 1 }, 12);
	for (unsigned i = 0; i < s->vlans; i++, at += 4) {
		put16(buf + at, i + 1 < s->vlans ? 0x88a8 : 0x8100);
		put16(buf + at + 2, (uint16_t)(100 + i));
	}
	put16(buf + at, s->v6 ? 0x86dd : 0x0800);
	lay.l3 = at + 2;
	lay.l4 = lay.l3 + (s->v6 ? 40 : 20) + s->ip_opt;
	lay.payload = lay.l4 + 20 + s->tcp_opt;
	ip = buf + lay.l3;
	if (s->v6) {
		ip[0] = 0x60;
		ip[6] = s->ip_opt ? 0 : IPPROTO_TCP;
		ip[7] = 64;
		for (unsigned i = 8; i < 40; i++)
			ip[i] = (uint8_t)(i * 7);
		if (s->ip_opt) {
			ip[40] = IPPROTO_TCP;
			ip[41] = (uint8_t)(s->ip_opt / 8 - 1);
		}
	} else {
		ip[0] = (uint8_t)(0x40 | (5 + s->ip_opt / 4));
		put16(ip + 4, 0xfffe); /* the id wraps */
		put16(ip + 6, 0x4000);
		ip[8] = 64;
		ip[9] = IPPROTO_TCP;
		memcpy(ip + 12, (uint8_t[]){ 10, 0, 0, 1, 10, 0, 0, 2 }, 8);
	}
	tcp = buf + lay.l4;
	put16(tcp, 1234);
	put16(tcp + 2, 80);
	memcpy(tcp + 4, (uint8_t[]){ 0xff, 0xff, 0xff, 0x00 }, 4); /* the sequence number wraps */
	tcp[12] = (uint8_t)((5 + s->tcp_opt / 4) << 4);
	tcp[13] = s->flags;
	for (unsigned i = 0; i < s->tcp_opt; i++)
		tcp[20 + i] = 1;
	for (size_t i = 0; i < n; i++)
		buf[lay.payload + i] = (uint8_t)(i * 31 + (i >> 8));
	return lay.payload + n;
}

static uint16_t l4_sum(const uint8_t *f, size_t len, bool v6)
{
	uint32_t sum = IPPROTO_TCP + (uint32_t)(len - lay.l4);
	uint16_t s;

	sum = (sum & 0xffff) + (sum >> 16);
	s = v6 ? slow_sum(sum, f + lay.l3 + 8, 32) : slow_sum(sum, f + lay.l3 + 12, 8);
	return slow_sum(s, f + lay.l4, len - lay.l4);
}

/* Presents buf[0 .. len) as a frame in segments of `seg` bytes (the last takes the rest). */
static void present(size_t len, size_t seg)
{
	size_t at;

	frame.len = (uint32_t)len;
	frame.head_len = len < FRAME_HEAD_BYTES ? (uint32_t)len : FRAME_HEAD_BYTES;
	memcpy(frame.head, buf, frame.head_len);
	frame.iovcnt = 0;
	for (at = frame.head_len; at < len; at += frame.iov[frame.iovcnt++].iov_len) {
		size_t n = frame.iovcnt == FRAME_MAX_IOV - 1 || seg > len - at ? len - at : seg;

		frame.iov[frame.iovcnt] = (struct iovec){ buf + at, n };
	}
}

static void set_gso(const struct shape *s, uint16_t mss)
{
	frame.hdr = (struct virtio_net_hdr_v1){
		.flags = CSUM,
		.gso_type = s->v6 ? VIRTIO_NET_HDR_GSO_TCPV6 : VIRTIO_NET_HDR_GSO_TCPV4,
		.gso_size = mss,
		.csum_start = (uint16_t)lay.l4,
		.csum_offset = 16,
	};
}

static size_t flatten(void)
{
	struct iov_cursor c = off.payload;

	memcpy(out, off.head, off.head_len);
	ck_assert_uint_eq(iov_read(&c, out + off.head_len, off.payload_len), off.payload_len);
	return off.head_len + off.payload_len;
}

START_TEST(sums)
{
	struct iovec iov[64];

	srand(1);
	for (size_t i = 0; i < 5000; i++)
		buf[i] = (uint8_t)rand();
	memset(buf + 5000, 0xff, 60000);
	for (unsigned round = 0; round < 500; round++) {
		size_t from = (size_t)rand() % 100, len = (size_t)rand() % 5000, at = 0;
		unsigned n = 0;
		uint16_t want, is;

		while (at < len && n < 63) {
			size_t part = (size_t)rand() % 200;

			if (part > len - at)
				part = len - at;
			iov[n++] = (struct iovec){ buf + from + at, part };
			at += part;
		}
		want = slow_sum(0, buf + from, at);
		is = csum_fold(csum_iov(0, false, iov_cursor(iov, n), at));
		ck_assert_uint_eq(ntohs(is), want);
	}
	ck_assert_uint_eq(csum_fold(csum_bytes(0, false, buf + 5000, 60000)), 0xffff);
	ck_assert_uint_eq(csum_fold(UINT64_MAX), 0xffff);
}
END_TEST

static const struct shape shapes[] = {
	{ false, 0, 0, 0, ACK },
	{ false, 0, 0, 12, ACK | PSH | FIN | CWR | ECE },
	{ false, 1, 0, 12, ACK | PSH },
	{ false, 2, 40, 40, ACK | CWR },
	{ false, 0, 4, 40, ACK | FIN },
	{ true, 0, 0, 0, ACK | PSH },
	{ true, 0, 0, 12, ACK | PSH | FIN | CWR | ECE },
	{ true, 1, 8, 12, ACK | CWR },
	{ true, 2, 64, 40, ACK },
};

static void check_segment(const struct shape *s, size_t len, size_t at, bool first, bool last,
			  uint16_t id, bool partial)
{
	uint8_t flags = s->flags;

	if (!last)
		flags &= (uint8_t) ~(FIN | PSH);
	if (!first)
		flags &= (uint8_t)~CWR;
	ck_assert_mem_eq(out, buf, lay.l3);
	ck_assert_uint_eq(out[lay.l4 + 13], flags);
	ck_assert_uint_eq(get32(out + lay.l4 + 4), (uint32_t)(0xffffff00u + at));
	ck_assert_mem_eq(out + lay.payload, buf + lay.payload + at, len - lay.payload);
	if (s->v6) {
		ck_assert_uint_eq(get16(out + lay.l3 + 4), len - lay.l3 - 40);
	} else {
		ck_assert_uint_eq(get16(out + lay.l3 + 2), len - lay.l3);
		ck_assert_uint_eq(get16(out + lay.l3 + 4), id);
		ck_assert_uint_eq(slow_sum(0, out + lay.l3, lay.l4 - lay.l3), 0xffff);
	}
	ck_assert_uint_eq(off.hdr.gso_type, 0);
	if (partial) {
		/* What the receiver makes of it: sum over all from csum_start, complemented. */
		uint16_t sum = (uint16_t)~slow_sum(0, out + lay.l4, len - lay.l4);

		ck_assert_uint_eq(off.hdr.flags, CSUM);
		ck_assert_uint_eq(off.hdr.csum_start, lay.l4);
		ck_assert_uint_eq(off.hdr.csum_offset, 16);
		put16(out + lay.l4 + 16, sum);
	} else {
		ck_assert_uint_eq(off.hdr.flags, 0);
	}
	ck_assert_uint_eq(l4_sum(out, len, s->v6), 0xffff);
}

START_TEST(segmentation)
{
	static const struct {
		size_t payload;
		uint16_t mss;
	} sizes[] = { { 0, 1448 },     { 1, 1448 }, { 1448, 1448 }, { 1449, 1448 },  { 2896, 1448 },
		      { 65000, 1448 }, { 9999, 8 }, { 30001, 777 }, { 65000, 65535 } };
	static const size_t segs[] = { 1 << 20, 1000, 37, 1 };
	const struct shape *s = &shapes[_i];

	for (unsigned i = 0; i < ARRAY_SIZE(sizes); i++) {
		for (unsigned j = 0; j < 2 * ARRAY_SIZE(segs); j++) {
			bool partial = j & 1;
			size_t len = build_tcp(s, sizes[i].payload), at = 0;
			uint16_t id = 0xfffe;

			present(len, segs[j / 2]);
			set_gso(s, sizes[i].mss);
			ck_assert_int_eq(offload_begin(&off, &frame, partial ? PARTIAL : 0), 0);
			while (offload_next(&off)) {
				size_t n = flatten();
				size_t end = at + n - lay.payload;

				ck_assert_uint_le(n - lay.payload, sizes[i].mss);
				check_segment(s, n, at, at == 0, end == sizes[i].payload, id++,
					      partial);
				at = end;
			}
			ck_assert_uint_eq(at, sizes[i].payload);
			ck_assert(!offload_next(&off));
		}
	}
}
END_TEST

START_TEST(checksum_only)
{
	for (unsigned i = 0; i < ARRAY_SIZE(shapes); i++) {
		const struct shape *s = &shapes[i];

		for (size_t n = 0; n < 100; n += 7) {
			size_t len = build_tcp(s, n);
			uint32_t sum = IPPROTO_TCP + (uint32_t)(len - lay.l4);

			/* A stack leaves the sum of the pseudo header in the field. */
			put16(buf + lay.l4 + 16, s->v6 ? slow_sum(sum, buf + lay.l3 + 8, 32)
						       : slow_sum(sum, buf + lay.l3 + 12, 8));
			present(len, 1 + n);
			set_gso(s, 0);
			frame.hdr.gso_type = 0;
			ck_assert_int_eq(offload_begin(&off, &frame, 0), 0);
			ck_assert(offload_next(&off));
			ck_assert_uint_eq(flatten(), len);
			ck_assert_uint_eq(l4_sum(out, len, s->v6), 0xffff);
			memcpy(out + lay.l4 + 16, buf + lay.l4 + 16, 2);
			ck_assert_mem_eq(out, buf, len);
			ck_assert(!offload_next(&off));
		}
	}
}
END_TEST

START_TEST(checksum_anywhere)
{
	/* Every start and offset that the NIC lets through, also those that make no sense. */
	for (size_t i = 0; i < 400; i++)
		buf[i] = (uint8_t)(i * 13 + 1);
	for (uint16_t start = 14; start < 120; start++) {
		for (uint16_t offset = 0; start + offset + 2 <= 120; offset += 3) {
			uint16_t field;

			present(120, 5);
			frame.hdr = (struct virtio_net_hdr_v1){ .flags = CSUM,
								.csum_start = start,
								.csum_offset = offset };
			ck_assert_int_eq(offload_begin(&off, &frame, 0), 0);
			ck_assert(offload_next(&off));
			ck_assert_uint_eq(flatten(), 120);
			field = (uint16_t)~slow_sum(0, buf + start, 120u - start);
			/* A field that starts in the middle of a word holds its bytes swapped. */
			ck_assert_uint_eq(get16(out + start + offset), field ? field : 0xffff);
			memcpy(out + start + offset, buf + start + offset, 2);
			ck_assert_mem_eq(out, buf, 120);
		}
	}
	/* Too far into the frame to be any protocol's. */
	present(400, 400);
	frame.hdr =
		(struct virtio_net_hdr_v1){ .flags = CSUM, .csum_start = 300, .csum_offset = 6 };
	ck_assert_int_eq(offload_begin(&off, &frame, 0), -EINVAL);
}
END_TEST

START_TEST(udp_zero_sum)
{
	/* 0 would say "no checksum". */
	memset(buf, 0, 60);
	buf[34] = 0xff;
	buf[35] = 0xff;
	present(60, 60);
	frame.hdr = (struct virtio_net_hdr_v1){ .flags = CSUM, .csum_start = 34, .csum_offset = 6 };
	ck_assert_int_eq(offload_begin(&off, &frame, 0), 0);
	ck_assert(offload_next(&off));
	flatten();
	ck_assert_uint_eq(get16(out + 40), 0xffff);
}
END_TEST

static void lie(size_t len)
{
	present(len, 40);
	ck_assert_int_eq(offload_begin(&off, &frame, 0), -EINVAL);
}

START_TEST(lies)
{
	const struct shape *v4 = &shapes[1], *v6 = &shapes[7];
	size_t len = build_tcp(v4, 3000);

	set_gso(v4, 1448);
	for (size_t cut = 14; cut < lay.payload; cut++)
		lie(cut); /* ends within its headers */

	frame.hdr.csum_start++; /* not where the IP header says */
	lie(len);
	set_gso(v4, OFFLOAD_GSO_MIN_BYTES - 1);
	lie(len);
	set_gso(v4, 1448);
	frame.hdr.gso_type = VIRTIO_NET_HDR_GSO_TCPV6;
	lie(len);
	frame.hdr.gso_type = 5; /* UDP_L4 */
	lie(len);
	set_gso(v4, 1448);
	buf[lay.l3] = 0x44; /* IP header of 16 bytes */
	lie(len);
	buf[lay.l3] = 0x65; /* version 6 */
	lie(len);
	buf[lay.l3] = 0x45;
	buf[lay.l3 + 9] = IPPROTO_UDP;
	lie(len);
	buf[lay.l3 + 9] = IPPROTO_TCP;
	put16(buf + lay.l3 + 6, 0x2000); /* a fragment */
	lie(len);
	put16(buf + lay.l3 + 6, 1);
	lie(len);
	put16(buf + lay.l3 + 6, 0);
	buf[lay.l4 + 12] = 4 << 4; /* TCP header of 16 bytes */
	lie(len);
	put16(buf + 12, 0x0806); /* ARP */
	lie(len);
	for (unsigned i = 12; i + 1 < 40; i += 4) /* nothing but VLAN tags */
		put16(buf + i, 0x8100);
	lie(len);

	len = build_tcp(v6, 3000);
	set_gso(v6, 1448);
	present(len, 40);
	ck_assert_int_eq(offload_begin(&off, &frame, 0), 0);
	for (size_t cut = 14; cut < lay.payload; cut++)
		lie(cut);
	buf[lay.l3 + 41] = 255; /* extension header that is longer than what we look at */
	lie(len);
	buf[lay.l3 + 41] = 0;
	buf[lay.l3 + 40] = 44; /* a fragment header */
	lie(len);
	buf[lay.l3 + 40] = 0; /* extension headers without end */
	memset(buf + lay.l3 + 48, 0, 1000);
	lie(len);
}
END_TEST

START_TEST(random_frames)
{
	srand(7);
	for (unsigned round = 0; round < 20000; round++) {
		const struct shape *s = &shapes[(unsigned)rand() % ARRAY_SIZE(shapes)];
		size_t len = build_tcp(s, (size_t)rand() % 600);
		unsigned n = 0;

		for (unsigned i = (unsigned)rand() % 4; i; i--)
			buf[12 + (size_t)rand() % 100] = (uint8_t)rand();
		if (rand() % 4 == 0)
			len = 14 + (size_t)rand() % (len - 14);
		present(len, 1 + (size_t)rand() % 300);
		set_gso(s, (uint16_t)(rand() % 300));
		if (rand() % 8 == 0)
			frame.hdr.gso_type = 0;
		if (rand() % 8 == 0)
			frame.hdr.csum_start = (uint16_t)(14 + rand() % 300);
		if (frame.hdr.csum_start + 18u > len)
			continue; /* the NIC would not let it pass */
		if (offload_begin(&off, &frame, rand() & 1 ? PARTIAL : 0))
			continue;
		while (offload_next(&off)) {
			flatten();
			ck_assert_uint_le(++n, 600 / OFFLOAD_GSO_MIN_BYTES + 40);
		}
	}
}
END_TEST

int main(void)
{
	Suite *s = suite_create("offload");
	TCase *tc = tcase_create("offload");
	SRunner *sr;
	int failed;

	tcase_set_timeout(tc, 60);
	tcase_add_test(tc, sums);
	tcase_add_loop_test(tc, segmentation, 0, ARRAY_SIZE(shapes));
	tcase_add_test(tc, checksum_only);
	tcase_add_test(tc, checksum_anywhere);
	tcase_add_test(tc, udp_zero_sum);
	tcase_add_test(tc, lies);
	tcase_add_test(tc, random_frames);
	suite_add_tcase(s, tc);
	sr = srunner_create(s);
	srunner_run_all(sr, CK_NORMAL);
	failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
