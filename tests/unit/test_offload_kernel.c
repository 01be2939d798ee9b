/*
 * Segmentation and checksums against the kernel's own: the same GSO frame goes through struct
 * offload, and through a bridge from one TAP to another whose reader can take no offloads, so that
 * the kernel has to do the work. What comes out must be the same, byte by byte.
 */
#include <arpa/inet.h>
#include <check.h>
#include <linux/if_tun.h>
#include <poll.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/vnet.h"
#include "vmm/tap.h"
#include "xtalk/offload.h"

#define FIN 0x01
#define PSH 0x08
#define ACK 0x10
#define CWR 0x80

static int in_fd, out_fd;
static uint8_t buf[FRAME_MAX_BYTES], mine[2048], theirs[FRAME_MAX_BYTES + VNET_HDR_BYTES];
static struct frame frame;
static struct offload off;

static const struct shape {
	bool v6, vlan, gso;
	uint8_t proto, flags;
	unsigned options, payload;
	uint16_t mss;
} shapes[] = {
	{ false, false, true, IPPROTO_TCP, ACK, 0, 5000, 1400 },
	{ false, false, true, IPPROTO_TCP, ACK | PSH | FIN, 12, 60000, 1448 },
	{ false, false, true, IPPROTO_TCP, ACK | PSH | CWR, 12, 4001, 1333 },
	{ false, false, true, IPPROTO_TCP, ACK | PSH, 40, 2000, 536 },
	{ true, false, true, IPPROTO_TCP, ACK | PSH | FIN, 12, 60000, 1428 },
	{ true, false, true, IPPROTO_TCP, ACK | CWR, 0, 3001, 1001 },
	{ false, true, true, IPPROTO_TCP, ACK | PSH, 12, 9000, 1400 },
	{ true, true, true, IPPROTO_TCP, ACK | PSH, 12, 9000, 1400 },
	{ false, false, false, IPPROTO_TCP, ACK | PSH, 12, 777, 0 },
	{ true, false, false, IPPROTO_TCP, ACK | PSH, 0, 1, 0 },
	{ false, false, false, IPPROTO_UDP, 0, 0, 1001, 0 },
	{ true, false, false, IPPROTO_UDP, 0, 0, 1000, 0 },
	{ false, true, false, IPPROTO_UDP, 0, 0, 3, 0 },
};

/* A namespace with a bridge between two TAPs, or the name of what is missing. */
static const char *missing(void)
{
	bool created;

	if (unshare(CLONE_NEWNET))
		return "the right to make a network namespace";
	in_fd = tap_open("xt0", &created);
	out_fd = tap_open("xt1", &created);
	if (in_fd < 0 || out_fd < 0)
		return "/dev/net/tun";
	if (tap_set_offload(in_fd, VNET_RX_OFFLOADS) || tap_set_offload(out_fd, 0))
		return "a TAP with offloads";
	if (system("sysctl -qw net.ipv6.conf.all.disable_ipv6=1 net.ipv6.conf.default."
		   "disable_ipv6=1 2>/dev/null;"
		   "ip link add br0 type bridge mcast_snooping 0 2>/dev/null &&"
		   "ip link set xt0 master br0 up && ip link set xt1 master br0 up &&"
		   "ip link set br0 up"))
		return "`ip` and the kernel's bridge";
	return NULL;
}

static void put16(uint8_t *p, unsigned v)
{
	p[0] = (uint8_t)(v >> 8);
	p[1] = (uint8_t)v;
}

/* As a guest's stack would hand it over: IP checksum done, the pseudo header's sum in the field. */
static void build(const struct shape *s)
{
	bool tcp = s->proto == IPPROTO_TCP;
	unsigned l3 = s->vlan ? 18 : 14, l4 = l3 + (s->v6 ? 40 : 20);
	unsigned head = l4 + (tcp ? 20 + s->options : 8), len = head + s->payload;
	uint8_t *ip = buf + l3, *th = buf + l4;
	uint64_t pseudo = htons((uint16_t)(len - l4)) + (uint64_t)htons(s->proto);
	uint16_t sum;

	memset(buf, 0, head);
	memcpy(buf, (uint8_t[]){ 0x52, 0x54, 0, 0, 0, 2, 0x52, 0x54, 0, 0, 0, 1 }, 12);
	if (s->vlan) {
		put16(buf + 12, 0x8100);
		put16(buf + 14, 42);
	}
	put16(buf + l3 - 2, s->v6 ? 0x86dd : 0x0800);
	if (s->v6) {
		ip[0] = 0x60;
		put16(ip + 4, len - l3 - 40);
		ip[6] = s->proto;
		ip[7] = 64;
		memcpy(ip + 8, (uint8_t[32]){ 0xfd, [15] = 1, [16] = 0xfd, [31] = 2 }, 32);
		pseudo = csum_bytes(pseudo, false, ip + 8, 32);
	} else {
		ip[0] = 0x45;
		put16(ip + 2, len - l3);
		put16(ip + 4, 0xfff0);
		put16(ip + 6, 0x4000);
		ip[8] = 64;
		ip[9] = s->proto;
		memcpy(ip + 12, (uint8_t[]){ 10, 0, 0, 1, 10, 0, 0, 2 }, 8);
		sum = (uint16_t)~csum_fold(csum_bytes(0, false, ip, 20));
		memcpy(ip + 10, &sum, 2);
		pseudo = csum_bytes(pseudo, false, ip + 12, 8);
	}
	put16(th, 5000);
	put16(th + 2, 80);
	if (tcp) {
		put16(th + 4, 0xffff);
		put16(th + 6, 0xff00);
		th[12] = (uint8_t)((20 + s->options) << 2);
		th[13] = s->flags;
		put16(th + 14, 1000);
		memset(th + 20, 1, s->options);
	} else {
		put16(th + 4, len - l4);
	}
	sum = csum_fold(pseudo);
	memcpy(th + (tcp ? 16 : 6), &sum, 2);
	for (unsigned i = 0; i < s->payload; i++)
		buf[head + i] = (uint8_t)(i * 31 + (i >> 8) * 7);

	frame.hdr = (struct virtio_net_hdr_v1){ .flags = VIRTIO_NET_HDR_F_NEEDS_CSUM,
						.csum_start = (uint16_t)l4,
						.csum_offset = tcp ? 16 : 6,
						.hdr_len = (uint16_t)head };
	if (s->gso) {
		frame.hdr.gso_size = s->mss;
		frame.hdr.gso_type = s->v6 ? VIRTIO_NET_HDR_GSO_TCPV6 : VIRTIO_NET_HDR_GSO_TCPV4;
		if (s->flags & CWR)
			frame.hdr.gso_type |= VIRTIO_NET_HDR_GSO_ECN;
	}
	frame.len = len;
	frame.head_len = FRAME_HEAD_BYTES;
	memcpy(frame.head, buf, FRAME_HEAD_BYTES);
	frame.iov[0] = (struct iovec){ buf + FRAME_HEAD_BYTES, len - FRAME_HEAD_BYTES };
	frame.iovcnt = 1;
}

/* The next frame that the kernel made of it; skips what it says of its own. */
static size_t read_theirs(void)
{
	struct pollfd p = { .fd = out_fd, .events = POLLIN };

	for (;;) {
		ssize_t n;

		ck_assert_msg(poll(&p, 1, 5000) == 1, "the kernel has delivered nothing");
		n = read(out_fd, theirs, sizeof(theirs));
		ck_assert_int_gt(n, VNET_HDR_BYTES);
		if (!memcmp(theirs + VNET_HDR_BYTES, buf, 12))
			return (size_t)n - VNET_HDR_BYTES;
	}
}

START_TEST(same_as_the_kernel)
{
	struct iovec iov[2];
	unsigned n = 0;

	/* What an earlier test has left. */
	while (read(out_fd, theirs, sizeof(theirs)) > 0)
		;
	build(&shapes[_i]);
	iov[0] = (struct iovec){ &frame.hdr, sizeof(frame.hdr) };
	iov[1] = (struct iovec){ buf, frame.len };
	/* The bridge's ports need a moment until they forward. */
	for (unsigned ms = 0; ms < 3000; ms += 20) {
		struct pollfd p = { .fd = out_fd, .events = POLLIN };

		ck_assert_int_eq(writev(in_fd, iov, 2), (ssize_t)frame.len + VNET_HDR_BYTES);
		if (poll(&p, 1, 20) == 1)
			break;
	}
	ck_assert_int_eq(offload_begin(&off, &frame, 0), 0);
	while (offload_next(&off)) {
		size_t len = off.head_len + off.payload_len;
		struct iov_cursor c = off.payload;

		ck_assert_uint_le(len, sizeof(mine));
		memcpy(mine, off.head, off.head_len);
		iov_read(&c, mine + off.head_len, off.payload_len);
		ck_assert_uint_eq(read_theirs(), len);
		ck_assert_mem_eq(mine, theirs + VNET_HDR_BYTES, len);
		/* Checksums are done on both sides. */
		ck_assert_uint_eq(theirs[0] & VIRTIO_NET_HDR_F_NEEDS_CSUM, 0);
		ck_assert_uint_eq(off.hdr.flags, 0);
		n++;
	}
	ck_assert_uint_eq(
		n, shapes[_i].gso ? (shapes[_i].payload + shapes[_i].mss - 1) / shapes[_i].mss : 1);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("offload_kernel");
	TCase *tc = tcase_create("offload_kernel");
	SRunner *sr;
	int failed;
	const char *what = missing();

	if (what) {
		printf("SKIP test_offload_kernel: needs %s\n", what);
		return EXIT_SUCCESS;
	}
	tcase_set_timeout(tc, 60);
	tcase_add_loop_test(tc, same_as_the_kernel, 0, ARRAY_SIZE(shapes));
	suite_add_tcase(s, tc);
	sr = srunner_create(s);
	srunner_run_all(sr, CK_NORMAL);
	failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
