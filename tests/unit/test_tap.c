/*
 * The TAP carrier with a whole NIC on it, in a network namespace of the test's own; and the switch
 * with a TAP as its uplink. The other side is the kernel: a packet socket on the interface, and
 * real UDP and TCP sockets where checksums and segmentation count.
 */
#include <arpa/inet.h>
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/if_packet.h>
#include <linux/if_tun.h>
#include <net/ethernet.h>
#include <net/if_arp.h>
#include <net/if.h>
#include <poll.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#include "tests/unit/mock_net.h"
#include "vmm/tap.h"
#include "xtalk/netswitch.h"
#include "xtalk/remapper.h"
#include "xtalk/offload.h"

static struct mock_nic nic;
static struct tap *tap;
static struct netswitch *sw;
static struct remapper *remapper; /* in some tests the NIC is on a switch whose uplink is the TAP */
static int tapfd, pkt, ctl;
static struct mock_frame got;
static uint8_t frame[FRAME_MAX_BYTES + 64];
static const struct virtio_net_hdr_v1 plain;

/* What the next read of the TAP fails with; 0: it does not. */
static _Atomic int read_error;

/* Instead of the C library's. */
ssize_t readv(int fd, const struct iovec *iov, int cnt)
{
	int err = fd == tapfd ? atomic_exchange(&read_error, 0) : 0;

	if (!err)
		return syscall(SYS_readv, fd, iov, cnt);
	errno = err;
	return -1;
}

/* The port lets its receive side be begun so many times; then it is not live. */
static _Atomic int begins;
static struct port_ops gated;
static const struct port_ops *ungated;

static bool gated_begin(struct port *p)
{
	return atomic_fetch_sub(&begins, 1) > 0 && ungated->rx_begin(p);
}

/* A namespace, or the name of what is missing. */
static const char *missing(void)
{
	int fd;

	if (unshare(CLONE_NEWNET))
		return "the right to make a network namespace";
	fd = open("/dev/net/tun", O_RDWR);
	if (fd < 0)
		return "/dev/net/tun";
	close(fd);
	return NULL;
}

static void if_ioctl(unsigned long req, struct ifreq *ifr)
{
	strcpy(ifr->ifr_name, "xt0");
	ck_assert_msg(ioctl(ctl, req, ifr) == 0, "ioctl %lx: %s", req, strerror(errno));
}

static void if_flags(short set, short clear)
{
	struct ifreq ifr = { 0 };

	if_ioctl(SIOCGIFFLAGS, &ifr);
	ifr.ifr_flags = (short)((ifr.ifr_flags | set) & ~clear);
	if_ioctl(SIOCSIFFLAGS, &ifr);
}

static void if_mtu(int mtu)
{
	struct ifreq ifr = { .ifr_mtu = mtu };

	if_ioctl(SIOCSIFMTU, &ifr);
}

static void quiet_ipv6(void)
{
	FILE *f = fopen("/proc/sys/net/ipv6/conf/default/disable_ipv6", "w");

	if (f) {
		fputs("1", f);
		fclose(f);
	}
}

static void setup(void)
{
	struct sockaddr_ll sll = { .sll_family = AF_PACKET, .sll_protocol = htons(ETH_P_ALL) };
	bool created;

	ck_assert_int_eq(unshare(CLONE_NEWNET), 0);
	quiet_ipv6();
	ctl = socket(AF_INET, SOCK_DGRAM, 0);
	tapfd = tap_open("xt0", &created);
	ck_assert_int_ge(tapfd, 0);
	ck_assert(created);
	if_flags(IFF_UP, 0);
	pkt = socket(AF_PACKET, SOCK_RAW | SOCK_NONBLOCK, htons(ETH_P_ALL));
	sll.sll_ifindex = (int)if_nametoindex("xt0");
	ck_assert_int_eq(bind(pkt, (struct sockaddr *)&sll, sizeof(sll)), 0);

	mock_nic_init(&nic, "a.eth0", 1);
	ck_assert_int_eq(tap_create(&tap, "a.eth0", tapfd, &nic.loop), 0);
	virtio_net_set_carrier(nic.net, tap_carrier(tap));
}

static void teardown(void)
{
	loop_stop(&nic.loop);
	virtio_dev_stop(nic.dev);
	if (sw) {
		netswitch_detach(sw, nic.port);
		netswitch_destroy(sw);
		remapper_destroy(remapper);
	}
	tap_destroy(tap);
	mock_nic_fini(&nic);
	close(pkt);
	close(ctl);
	close(tapfd);
}

static void start(uint64_t features, unsigned bufs, uint32_t bytes)
{
	ck_assert(mock_nic_start(&nic, features, 256));
	while (bufs--)
		mock_nic_rx_add(&nic, bytes, 1 + bufs % 5);
	mock_driver_kick(&nic.drv, 0);
}

static void use_switch(void)
{
	struct netswitch_params params = {
		.name = "lan0",
		.rules = { .mode = XTALK_OFF, .threshold = 8, .share_percent = 75, .window = 32 },
	};
	struct netswitch_port np = { 0 };
	struct carrier *c;

	ck_assert_int_eq(tap_set_offload(tapfd, VNET_RX_OFFLOADS), 0);
	ck_assert_int_eq(remapper_create(&remapper), 0);
	params.remapper = remapper;
	params.uplink_fd = tapfd;
	ck_assert_int_eq(netswitch_create(&sw, &params), 0);
	np.port = nic.port;
	ck_assert_int_eq(netswitch_attach(sw, &np, &c), 0);
	virtio_net_set_carrier(nic.net, c);
}

static void run(void)
{
	ck_assert_int_eq(loop_start(&nic.loop), 0);
}

static void send_frame(const struct virtio_net_hdr_v1 *hdr, size_t len)
{
	mock_nic_tx(&nic, hdr, frame, len, 1 + len % 7);
	mock_driver_kick(&nic.drv, 1);
}

static bool wait_rx(void)
{
	for (unsigned ms = 0; ms < 3000; ms++) {
		if (mock_nic_rx(&nic, &got))
			return true;
		usleep(1000);
	}
	return false;
}

/* A frame that came out of the interface, as the host sees it. */
static ssize_t host_take(uint8_t *buf, size_t len)
{
	struct pollfd p = { .fd = pkt, .events = POLLIN };

	return poll(&p, 1, 3000) == 1 ? recv(pkt, buf, len, 0) : -1;
}

static void host_give(size_t len)
{
	ck_assert_int_eq(send(pkt, frame, len, 0), (ssize_t)len);
}

static uint64_t cpu_us(void)
{
	struct rusage ru;

	getrusage(RUSAGE_SELF, &ru);
	return (uint64_t)(ru.ru_utime.tv_sec + ru.ru_stime.tv_sec) * 1000000 +
	       (uint64_t)(ru.ru_utime.tv_usec + ru.ru_stime.tv_usec);
}

/* The loop's thread sleeps: it must not spin on a condition that it cannot clear. */
static void expect_idle(void)
{
	uint64_t before = cpu_us();

	usleep(300000);
	ck_assert_uint_lt(cpu_us() - before, 100000);
}

START_TEST(opening)
{
	bool created = true;
	struct ifreq ifr = { 0 };
	int fd, hdr;

	ck_assert_int_eq(ioctl(tapfd, TUNGETIFF, &ifr), 0);
	ck_assert_int_eq(ifr.ifr_flags & IFF_VNET_HDR, IFF_VNET_HDR);
	ck_assert_int_eq(ifr.ifr_flags & IFF_NO_PI, IFF_NO_PI);
	ck_assert_int_eq(ifr.ifr_flags & IFF_TAP, IFF_TAP);
	ck_assert_int_eq(ioctl(tapfd, TUNGETVNETHDRSZ, &hdr), 0);
	ck_assert_int_eq(hdr, VNET_HDR_BYTES);
	ck_assert(fcntl(tapfd, F_GETFL) & O_NONBLOCK);
	ck_assert(fcntl(tapfd, F_GETFD) & FD_CLOEXEC);

	ck_assert_int_eq(tap_open("xt0", &created), -EBUSY); /* in use */
	ck_assert(!created);
	ck_assert_int_eq(tap_open("", &created), -EINVAL);
	ck_assert_int_eq(tap_open("xv%d", &created), -EINVAL);
	ck_assert_int_eq(tap_open("a/b", &created), -EINVAL);
	ck_assert_int_eq(tap_open("sixteen-bytes-xx", &created), -EINVAL);
	ck_assert_int_lt(tap_open("lo", &created), 0);

	fd = tap_open("fifteen-bytes-x", &created);
	ck_assert_int_ge(fd, 0);
	ck_assert(created);
	ck_assert_int_eq(ioctl(fd, TUNSETPERSIST, 1), 0);
	close(fd);
	fd = tap_open("fifteen-bytes-x", &created);
	ck_assert_int_ge(fd, 0);
	ck_assert(!created);
	ioctl(fd, TUNSETPERSIST, 0);
	close(fd);
	ck_assert_uint_eq(if_nametoindex("fifteen-bytes-x"), 0);
}
END_TEST

START_TEST(offloads)
{
	/* Everything, nothing, and what depends on something that is missing. */
	for (unsigned i = 0; i < 16; i++) {
		uint64_t f = (i & 1 ? VNET_BIT(VIRTIO_NET_F_GUEST_CSUM) : 0) |
			     (i & 2 ? VNET_BIT(VIRTIO_NET_F_GUEST_TSO4) : 0) |
			     (i & 4 ? VNET_BIT(VIRTIO_NET_F_GUEST_TSO6) : 0) |
			     (i & 8 ? VNET_BIT(VIRTIO_NET_F_GUEST_ECN) : 0);

		ck_assert_int_eq(tap_set_offload(tapfd, f), 0);
	}
	ck_assert_int_eq(tap_set_offload(-1, 0), -EBADF);
}
END_TEST

START_TEST(transmit)
{
	static const size_t lens[] = { 14, 60, 61, 1514 };
	static uint8_t buf[2048];

	start(MOCK_NET_ALL, 0, 0);
	for (unsigned i = 0; i < ARRAY_SIZE(lens); i++) {
		mock_frame_fill(frame, lens[i], 2, 1, i);
		send_frame(&plain, lens[i]);
		ck_assert_int_eq(host_take(buf, sizeof(buf)), (ssize_t)lens[i]);
		ck_assert_mem_eq(buf, frame, lens[i]);
	}
	ck_assert_uint_eq(nic.port->stats.tx_frames, ARRAY_SIZE(lens));
	ck_assert_uint_eq(nic.port->stats.tx_dropped, 0);
}
END_TEST

START_TEST(interface_down)
{
	static uint8_t buf[2048];

	start(MOCK_NET_ALL, 16, 1526);
	run();
	mock_frame_fill(frame, 60, 2, 1, 1);
	if_flags(0, IFF_UP);
	send_frame(&plain, 60);
	ck_assert_uint_eq(nic.port->stats.tx_dropped, 1);
	expect_idle();
	ck_assert(tap_carrier(tap)->ops->link_up(tap_carrier(tap)));
	/* It was only down. */
	if_flags(IFF_UP, 0);
	recv(pkt, buf, sizeof(buf), 0); /* ENETDOWN */
	send_frame(&plain, 60);
	ck_assert_int_eq(host_take(buf, sizeof(buf)), 60);
	host_give(60);
	ck_assert(wait_rx());
}
END_TEST

START_TEST(receive)
{
	static const uint64_t features[] = { MOCK_NET_ALL, MOCK_NET_ALL & ~MOCK_NET_MRG,
					     MOCK_NET_BASE, MOCK_NET_BASE | MOCK_NET_MRG };

	start(features[_i], 64, 2048);
	run();
	for (unsigned i = 0; i < 50; i++) {
		size_t len = 14 + (i * 257) % 1501;

		mock_frame_fill(frame, len, 1, 9, i);
		host_give(len);
		ck_assert(wait_rx());
		ck_assert_uint_eq(got.len, len);
		ck_assert_mem_eq(got.data, frame, len);
	}
	ck_assert_uint_eq(nic.port->stats.rx_frames, 50);
}
END_TEST

START_TEST(receive_burst_in_order)
{
	if_mtu(9000);
	start(MOCK_NET_ALL, 250, 400);
	run();
	for (unsigned round = 0; round < 20; round++) {
		for (unsigned i = 0; i < 8; i++) {
			size_t len = 100 + (i * 1237 + round * 311) % 8900;

			mock_frame_fill(frame, len, 1, 9, round * 8 + i);
			host_give(len);
		}
		for (unsigned i = 0; i < 8; i++) {
			size_t len = 100 + (i * 1237 + round * 311) % 8900;

			mock_frame_fill(frame, len, 1, 9, round * 8 + i);
			while (!mock_nic_rx(&nic, &got)) {
				/* A driver that is asked to, rings. */
				if (!mock_ring_no_notify(&nic.drv.ring[0]))
					mock_driver_kick(&nic.drv, 0);
				usleep(100);
			}
			ck_assert_uint_eq(got.len, len);
			ck_assert_mem_eq(got.data, frame, len);
			for (unsigned n = got.hdr.num_buffers; n; n--)
				mock_nic_rx_add(&nic, 400, 1);
		}
	}
	ck_assert_uint_eq(nic.port->stats.rx_frames, 160);
	ck_assert_uint_eq(nic.port->stats.rx_dropped, 0);
}
END_TEST

START_TEST(waits_for_buffers)
{
	start(MOCK_NET_ALL, 0, 0);
	run();
	for (unsigned i = 0; i < 5; i++) {
		mock_frame_fill(frame, 60 + i, 1, 9, i);
		host_give(60 + i);
	}
	expect_idle();
	ck_assert(!mock_nic_rx(&nic, &got));
	ck_assert(!mock_ring_no_notify(&nic.drv.ring[0]));
	for (unsigned i = 0; i < 5; i++) {
		mock_nic_rx_add(&nic, 1526, 1);
		mock_driver_kick(&nic.drv, 0);
		ck_assert(wait_rx());
		ck_assert_uint_eq(got.len, 60 + i);
	}
	ck_assert_uint_eq(nic.port->stats.rx_dropped, 0);
}
END_TEST

START_TEST(holds_a_frame_that_fits_in_part)
{
	start(MOCK_NET_ALL, 2, 500);
	mock_frame_fill(frame, 1400, 1, 9, 7);
	host_give(1400);
	run();
	usleep(2000);
	mock_nic_rx_add(&nic, 500, 1);
	mock_driver_kick(&nic.drv, 0);
	if (wait_rx()) {
		ck_assert_uint_eq(got.len, 1400);
		ck_assert_mem_eq(got.data, frame, 1400);
		ck_assert_uint_eq(got.hdr.num_buffers, 3);
	} else {
		/* Too late, on a machine that was busy: dropped whole. */
		ck_assert_uint_eq(nic.port->stats.rx_dropped, 1);
	}
}
END_TEST

START_TEST(gives_up_a_frame_that_never_fits)
{
	start(MOCK_NET_ALL, 2, 500);
	run();
	mock_frame_fill(frame, 1400, 1, 9, 7);
	host_give(1400);
	mock_frame_fill(frame, 300, 1, 9, 8);
	host_give(300);
	/* It does not stand in the way of the next for ever. */
	ck_assert(wait_rx());
	ck_assert_uint_eq(got.len, 300);
	ck_assert_mem_eq(got.data, frame, 300);
	ck_assert_uint_eq(nic.port->stats.rx_dropped, 1);
	expect_idle();
}
END_TEST

/* Nobody rings a doorbell for a driver that has given enough buffers. */
START_TEST(goes_on_after_a_failed_read)
{
	start(MOCK_NET_ALL, 16, 1526);
	run();
	for (unsigned i = 0; i < 3; i++) {
		atomic_store(&read_error, i ? EINVAL : ENOMEM);
		mock_frame_fill(frame, 300, 1, 9, i);
		host_give(300);
		ck_assert(wait_rx());
		ck_assert_mem_eq(got.data, frame, 300);
		ck_assert_int_eq(atomic_load(&read_error), 0);
	}
	expect_idle();
}
END_TEST

/* The time of a frame that waits is over while the port is not live. */
START_TEST(gives_up_a_frame_when_live_again)
{
	start(MOCK_NET_ALL, 2, 500);
	ungated = nic.port->ops;
	gated = *ungated;
	gated.rx_begin = gated_begin;
	nic.port->ops = &gated;
	atomic_store(&begins, 1);
	run();
	host_give(1400);
	usleep(50000);
	ck_assert_int_lt(atomic_load(&begins), 0);
	atomic_store(&begins, INT_MAX);
	mock_driver_kick(&nic.drv, 0);
	mock_frame_fill(frame, 300, 1, 9, 8);
	host_give(300);
	ck_assert(wait_rx());
	ck_assert_uint_eq(got.len, 300);
	ck_assert_uint_eq(nic.port->stats.rx_dropped, 1);
	expect_idle();
}
END_TEST

START_TEST(one_chain_too_small)
{
	start(MOCK_NET_BASE, 4, 500); /* not mergeable */
	run();
	mock_frame_fill(frame, 1400, 1, 9, 7);
	host_give(1400);
	host_give(300);
	ck_assert(wait_rx());
	ck_assert_uint_eq(got.len, 300);
	ck_assert_uint_eq(nic.port->stats.rx_dropped, 1);
}
END_TEST

START_TEST(not_started_is_quiet)
{
	run();
	mock_frame_fill(frame, 60, 1, 9, 7);
	host_give(60);
	expect_idle();
	start(MOCK_NET_ALL, 16, 1526);
	ck_assert(wait_rx());
	mock_driver_set_status(&nic.drv, 0);
	host_give(60);
	expect_idle();
}
END_TEST

START_TEST(tap_deleted)
{
	char cmd[] = "ip link del xt0";

	start(_i ? MOCK_NET_ALL : MOCK_NET_BASE, _i ? 16 : 0, 1526);
	run();
	if (system(cmd)) {
		fprintf(stderr, "SKIP tap_deleted: no `ip`\n");
		return;
	}
	for (unsigned ms = 0; !nic.drv.config_irqs && ms < 3000; ms++)
		usleep(1000);
	ck_assert_uint_eq(nic.drv.config_irqs, 1);
	ck_assert(!tap_carrier(tap)->ops->link_up(tap_carrier(tap)));
	expect_idle();
	mock_frame_fill(frame, 60, 2, 1, 1);
	send_frame(&plain, 60);
	ck_assert_uint_eq(nic.port->stats.tx_dropped, 1);
	/* A driver that starts again sees the link down, and nothing breaks. */
	start(MOCK_NET_ALL, 16, 1526);
	expect_idle();
}
END_TEST

/* -- The kernel's own checksums and segmentation -- */

static void host_address(void)
{
	struct ifreq ifr = { 0 };
	struct sockaddr_in *sin = (struct sockaddr_in *)(void *)&ifr.ifr_addr;
	struct arpreq arp = { .arp_flags = ATF_PERM | ATF_COM };

	sin->sin_family = AF_INET;
	sin->sin_addr.s_addr = inet_addr("10.9.0.1");
	if_ioctl(SIOCSIFADDR, &ifr);
	sin->sin_addr.s_addr = inet_addr("255.255.255.0");
	if_ioctl(SIOCSIFNETMASK, &ifr);

	sin = (struct sockaddr_in *)(void *)&arp.arp_pa;
	sin->sin_family = AF_INET;
	sin->sin_addr.s_addr = inet_addr("10.9.0.2");
	mock_nic_mac((uint8_t *)arp.arp_ha.sa_data, 1);
	strcpy(arp.arp_dev, "xt0");
	ck_assert_int_eq(ioctl(ctl, SIOCSARP, &arp), 0);
}

/* Sums TCP or UDP of an IPv4 frame without options: 0xffff is right. */
static uint16_t l4_sum(const uint8_t *f, size_t len)
{
	uint64_t sum = htons((uint16_t)(len - 34)) + (uint64_t)htons(f[23]);

	sum = csum_bytes(sum, false, f + 26, 8);
	return csum_fold(csum_bytes(sum, false, f + 34, len - 34));
}

START_TEST(udp_from_host)
{
	struct sockaddr_in to = { .sin_family = AF_INET,
				  .sin_port = htons(7777),
				  .sin_addr.s_addr = inet_addr("10.9.0.2") };
	bool csum = _i & 1;

	if (_i & 2)
		use_switch();
	host_address();
	start(csum ? MOCK_NET_ALL : MOCK_NET_BASE, 16, 2048);
	run();
	ck_assert_int_eq(sendto(ctl, "hello, guest", 12, 0, (struct sockaddr *)&to, sizeof(to)),
			 12);
	do
		ck_assert(wait_rx());
	while (got.len < 54 || got.data[23] != IPPROTO_UDP);
	ck_assert_mem_eq(got.data + 42, "hello, guest", 12);
	if (csum) {
		ck_assert_uint_eq(got.hdr.flags, VIRTIO_NET_HDR_F_NEEDS_CSUM);
		ck_assert_uint_eq(got.hdr.csum_start, 34);
		ck_assert_uint_eq(got.hdr.csum_offset, 6);
	} else {
		ck_assert_uint_eq(got.hdr.flags, 0);
		ck_assert_uint_eq(l4_sum(got.data, 54), 0xffff);
	}
}
END_TEST

/* A frame from the guest whose checksum the kernel has to complete reaches a socket. */
START_TEST(udp_to_host)
{
	struct virtio_net_hdr_v1 hdr = { .flags = VIRTIO_NET_HDR_F_NEEDS_CSUM,
					 .csum_start = 34,
					 .csum_offset = 6 };
	struct sockaddr_in me = { .sin_family = AF_INET, .sin_port = htons(7777) };
	struct pollfd p = { .fd = ctl, .events = POLLIN };
	struct ifreq ifr = { 0 };
	char buf[64];
	uint16_t sum;

	if (_i)
		use_switch();
	host_address();
	if_ioctl(SIOCGIFHWADDR, &ifr);
	ck_assert_int_eq(bind(ctl, (struct sockaddr *)&me, sizeof(me)), 0);
	start(MOCK_NET_ALL, 0, 0);
	memcpy(frame, ifr.ifr_hwaddr.sa_data, 6);
	mock_nic_mac(frame + 6, 1);
	memcpy(frame + 12,
	       (uint8_t[]){ 8, 0, 0x45, 0,  0, 33, 0, 1,    0x40, 0,	64,   17, 0,  0, 10,
			    9, 0, 2,	10, 9, 0,  1, 0x1e, 0x61, 0x1e, 0x61, 0,  13, 0, 0 },
	       30);
	memcpy(frame + 42, "howdy", 5);
	sum = (uint16_t)~csum_fold(csum_bytes(0, false, frame + 14, 20));
	memcpy(frame + 24, &sum, 2);
	sum = csum_fold(csum_bytes(htons(13) + htons(17), false, frame + 26, 8));
	memcpy(frame + 40, &sum, 2);
	send_frame(&hdr, 47);
	ck_assert_int_eq(poll(&p, 1, 3000), 1);
	ck_assert_int_eq(recv(ctl, buf, sizeof(buf), 0), 5);
	ck_assert_mem_eq(buf, "howdy", 5);
	/* What the kernel refuses is dropped and counted, no more: GSO of what is no TCP. */
	hdr.gso_type = VIRTIO_NET_HDR_GSO_TCPV4;
	hdr.gso_size = 8;
	hdr.csum_offset = 16;
	frame[23] = 1;
	send_frame(&hdr, 60);
	send_frame(&plain, 60);
	ck_assert_uint_eq(nic.port->stats.tx_frames, 3);
}
END_TEST

START_TEST(switch_outlives_its_uplink)
{
	use_switch();
	start(MOCK_NET_ALL, 16, 1526);
	run();
	if (system("ip link del xt0")) {
		fprintf(stderr, "SKIP switch_outlives_its_uplink: no `ip`\n");
		return;
	}
	expect_idle();
	mock_frame_fill(frame, 60, 2, 1, 1);
	send_frame(&plain, 60);
	ck_assert_uint_eq(nic.port->stats.tx_dropped, 1);
}
END_TEST

/* A TAP has as good as no limit to what it takes, so a socket stands in for one that has. */
START_TEST(blocked_and_resumed)
{
	unsigned sent = 0, taken = 0, completed = 0;
	uint8_t buf[2048];
	struct tap *other;
	int sv[2];

	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK, 0, sv), 0);
	ck_assert_int_eq(tap_create(&other, "a.eth0", sv[0], &nic.loop), 0);
	virtio_net_set_carrier(nic.net, tap_carrier(other));
	start(MOCK_NET_ALL, 0, 0);
	run();
	while (taken < 3000) {
		bool progress = false;
		ssize_t n;

		while (mock_ring_used(&nic.drv.ring[1], NULL, NULL))
			completed++;
		/* Far more than the socket takes, so that it is full most of the time. */
		if (sent < 3000 && sent - completed < 256) {
			mock_frame_fill(frame, 1514, 2, 1, sent++);
			mock_nic_tx(&nic, &plain, frame, 1514, 3);
			mock_driver_kick(&nic.drv, 1);
			progress = true;
		}
		if (sent - completed == 256 || sent == 3000)
			n = read(sv[1], buf, sizeof(buf));
		else
			n = -1;
		if (n > 0) {
			mock_frame_fill(frame, 1514, 2, 1, taken++);
			ck_assert_int_eq(n, 1514 + VNET_HDR_BYTES);
			ck_assert_mem_eq(buf + VNET_HDR_BYTES, frame, 1514);
			progress = true;
		}
		if (!progress)
			usleep(100);
	}
	ck_assert_uint_eq(nic.port->stats.tx_frames, 3000);
	ck_assert_uint_eq(nic.port->stats.tx_dropped, 0);
	expect_idle();
	loop_stop(&nic.loop);
	virtio_dev_stop(nic.dev);
	virtio_net_set_carrier(nic.net, tap_carrier(tap));
	tap_destroy(other);
	close(sv[0]);
	close(sv[1]);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("tap");
	TCase *tc = tcase_create("tap");
	SRunner *sr;
	int failed;
	const char *what = missing();

	if (what) {
		printf("SKIP test_tap: needs %s\n", what);
		return EXIT_SUCCESS;
	}
	tcase_set_timeout(tc, 60);
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, opening);
	tcase_add_test(tc, offloads);
	tcase_add_test(tc, transmit);
	tcase_add_test(tc, interface_down);
	tcase_add_loop_test(tc, receive, 0, 4);
	tcase_add_test(tc, receive_burst_in_order);
	tcase_add_test(tc, waits_for_buffers);
	tcase_add_test(tc, holds_a_frame_that_fits_in_part);
	tcase_add_test(tc, gives_up_a_frame_that_never_fits);
	tcase_add_test(tc, goes_on_after_a_failed_read);
	tcase_add_test(tc, gives_up_a_frame_when_live_again);
	tcase_add_test(tc, one_chain_too_small);
	tcase_add_test(tc, not_started_is_quiet);
	tcase_add_loop_test(tc, tap_deleted, 0, 2);
	tcase_add_loop_test(tc, udp_from_host, 0, 4);
	tcase_add_loop_test(tc, udp_to_host, 0, 2);
	tcase_add_test(tc, blocked_and_resumed);
	tcase_add_test(tc, switch_outlives_its_uplink);
	suite_add_tcase(s, tc);
	sr = srunner_create(s);
	srunner_run_all(sr, CK_NORMAL);
	failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
