#include "tests/unit/swap_kit.h"

#include <check.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/log.h"
#include "xtalk/offload.h"

#define ETHERTYPE 0x88b6

const char *swap_missing(void)
{
	int fd;

	if (unshare(CLONE_NEWNET))
		return "the right to make a network namespace";
	fd = open("/dev/net/tun", O_RDWR);
	if (fd < 0)
		return "/dev/net/tun";
	close(fd);
	if (system("ip link add xvswap type bridge 2>/dev/null && ip link del xvswap"))
		return "`ip`, or bridges";
	return NULL;
}

void swap_sh(const char *cmd)
{
	ck_assert_msg(system(cmd) == 0, "%s", cmd);
}

uint64_t swap_now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * UINT64_C(1000000000) + (uint64_t)ts.tv_nsec;
}

uint64_t swap_now_ms(void)
{
	return swap_now_ns() / 1000000;
}

void swap_net_create(struct netswitch **sw, struct remapper **remapper, unsigned deadline_us)
{
	struct netswitch_params params = {
		.name = "lan0",
		.uplink_fd = -1,
		.own_uplinks = true,
		.rules = { .mode = XTALK_DYNAMIC,
			   .threshold = 8,
			   .share_percent = 75,
			   .window = 32,
			   .hold_us = 60000000,
			   .map = deadline_us != 0,
			   .slot_deadline_us = deadline_us },
	};

	log_set_level(LOG_WARN);
	ck_assert_int_eq(unshare(CLONE_NEWNET), 0);
	swap_sh("echo 1 >/proc/sys/net/ipv6/conf/default/disable_ipv6 2>/dev/null || true");
	swap_sh("ip link add br0 type bridge && ip link set br0 up");
	ck_assert_int_eq(remapper_create(remapper), 0);
	params.remapper = *remapper;
	ck_assert_int_eq(netswitch_create(sw, &params), 0);
}

void swap_plug(struct netswitch *sw, unsigned i, struct mock_nic *n, struct swap_tap *t,
	       struct port_memory *memory)
{
	static const char *const names[] = { "a.eth0", "b.eth0", "c.eth0" };
	struct netswitch_port np = { 0 };
	struct carrier *c;
	char cmd[64], ifname[8];
	bool created;

	snprintf(ifname, sizeof(ifname), "xs%u", i);
	t->fd = tap_open(ifname, &created);
	ck_assert_int_ge(t->fd, 0);
	snprintf(cmd, sizeof(cmd), "ip link set %s master br0 up", ifname);
	swap_sh(cmd);
	mock_nic_init(n, names[i], (uint8_t)(i + 1));
	ck_assert_int_eq(tap_create(&t->tap, names[i], t->fd, &n->loop), 0);
	np.port = n->port;
	np.uplink = tap_carrier(t->tap);
	if (memory) {
		np.port->memory = memory;
		atomic_store(&np.port->slots_stable, true);
	}
	ck_assert_int_eq(netswitch_attach(sw, &np, &c), 0);
	virtio_net_set_carrier(n->net, c);
}

void swap_unplug(struct netswitch *sw, struct mock_nic *n, struct swap_tap *t)
{
	virtio_dev_stop(n->dev);
	netswitch_detach(sw, n->port);
	tap_destroy(t->tap);
	mock_nic_fini(n);
	close(t->fd);
}

uint64_t swap_hash(uint64_t h, const uint8_t *p, size_t len)
{
	uint64_t v;

	for (; len >= 8; p += 8, len -= 8) {
		memcpy(&v, p, 8);
		h = (h ^ v) * UINT64_C(0x100000001b3);
		h ^= h >> 29;
	}
	while (len--)
		h = (h ^ *p++) * UINT64_C(0x100000001b3);
	return h;
}

size_t swap_stamp_at(const uint8_t *frame)
{
	return frame[12] == 8 ? 54 : 14;
}

void swap_frame(uint8_t *frame, struct virtio_net_hdr_v1 *hdr, size_t len, uint8_t dst_id,
		uint8_t src_id, uint32_t number, bool gso)
{
	struct stamp s = { .number = number, .len = (uint32_t)len };
	uint16_t sum;
	size_t at;

	mock_frame_fill(frame, len, dst_id, src_id, number);
	frame[12] = ETHERTYPE >> 8;
	frame[13] = ETHERTYPE & 0xff;
	*hdr = (struct virtio_net_hdr_v1){ 0 };
	if (gso) {
		memcpy(frame + 12, (uint8_t[]){ 8, 0, 0x45, 0,	0, 0, 0, 1,  0x40, 0, 64,
						6, 0, 0,    10, 0, 0, 1, 10, 0,	   0, 2 },
		       22);
		frame[16] = (uint8_t)((len - 14) >> 8);
		frame[17] = (uint8_t)(len - 14);
		/* A bridge that filters looks at it. */
		sum = (uint16_t)~csum_fold(csum_bytes(0, false, frame + 14, 20));
		memcpy(frame + 24, &sum, 2);
		frame[46] = 0x50;
		frame[47] = 0x10;
		*hdr = (struct virtio_net_hdr_v1){ .flags = VIRTIO_NET_HDR_F_NEEDS_CSUM,
						   .gso_type = VIRTIO_NET_HDR_GSO_TCPV4,
						   .hdr_len = 54,
						   .gso_size = 1448,
						   .csum_start = 34,
						   .csum_offset = 16 };
	}
	at = swap_stamp_at(frame);
	s.hash = swap_hash(number, frame + at + sizeof(s), len - at - sizeof(s));
	memcpy(frame + at, &s, sizeof(s));
}
