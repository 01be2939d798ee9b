/*
 * Traffic with figures, for the Linux guests of tests, bench and demo; linked statically, since a
 * guest has nothing but busybox. Prints "key=value" lines.
 *
 *     netprobe serve PORT                            answers all that follow, TCP and UDP
 *     netprobe rr HOST PORT MILLISECONDS             one byte to and fro: rr_count, rr_us
 *     netprobe stream HOST PORT MIB                  one way: stream_bytes, stream_us
 *     netprobe check HOST PORT MIB                   the same, and both ends hash: check_ok
 *     netprobe udp HOST PORT COUNT BYTES WINDOW      numbered datagrams that come back, at most
 *                                                    WINDOW on their way: udp_sent, udp_lost,
 *                                                    udp_doubled, udp_reordered, udp_us
 *
 * HOST is a numeric address, of IPv6 with "%INTERFACE" where it needs one.
 *
 * TCP: the client says what comes by one letter. R: each byte is sent back. S, C: data up to the
 * client's FIN; then number of bytes and hash (0 for S), 8 bytes each, little-endian.
 */
#include <arpa/inet.h>
#include <endian.h>
#include <errno.h>
#include <net/if.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#define CHUNK_BYTES   (256 * 1024)
#define MAX_DATAGRAMS 65536
#define SILENCE_S     3 /* what has not come back by then is lost */
#define CONNECT_TRIES 100

static _Noreturn void die(const char *what)
{
	fprintf(stderr, "netprobe: %s: %s\n", what, strerror(errno));
	exit(1);
}

static uint64_t now_us(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000 + (uint64_t)ts.tv_nsec / 1000;
}

static unsigned long number(const char *text, unsigned long max)
{
	char *end;
	unsigned long n = strtoul(text, &end, 10);

	if (!*text || *end || n > max) {
		fprintf(stderr, "netprobe: %s: not a number up to %lu\n", text, max);
		exit(2);
	}
	return n;
}

/* Everything is IPv6 to us; an address of IPv4 is mapped. */
static struct sockaddr_in6 address(const char *host, const char *port)
{
	struct sockaddr_in6 sa = { .sin6_family = AF_INET6 };
	char text[128], *scope;

	sa.sin6_port = htons((uint16_t)number(port, 65535));
	if (!host) {
		sa.sin6_addr = in6addr_any;
		return sa;
	}
	snprintf(text, sizeof(text), "%s%s", strchr(host, ':') ? "" : "::ffff:", host);
	scope = strchr(text, '%');
	if (scope) {
		*scope++ = 0;
		sa.sin6_scope_id = if_nametoindex(scope);
	}
	if (inet_pton(AF_INET6, text, &sa.sin6_addr) != 1) {
		fprintf(stderr, "netprobe: %s: no address\n", host);
		exit(2);
	}
	return sa;
}

static int open_socket(int type)
{
	int one = 1, zero = 0, fd = socket(AF_INET6, type, 0);

	if (fd < 0)
		die("socket");
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &zero, sizeof(zero));
	if (type == SOCK_STREAM)
		setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	return fd;
}

static void send_all(int fd, const void *data, size_t len)
{
	const uint8_t *p = data;

	while (len) {
		ssize_t n = send(fd, p, len, 0);

		if (n < 0)
			die("send");
		p += n;
		len -= (size_t)n;
	}
}

/* Less than len only at the end of the stream. */
static size_t receive_all(int fd, void *data, size_t len)
{
	uint8_t *p = data;
	size_t got = 0;

	while (got < len) {
		ssize_t n = recv(fd, p + got, len - got, 0);

		if (n < 0)
			die("recv");
		if (n == 0)
			break;
		got += (size_t)n;
	}
	return got;
}

/* FNV-1a over words of 64 bits; len is a multiple of 8. Depends on the order of all words. */
static uint64_t hash(uint64_t h, const uint64_t *words, size_t len)
{
	for (size_t i = 0; i < len / 8; i++)
		h = (h ^ words[i]) * UINT64_C(0x100000001b3);
	return h;
}
#define HASH_START UINT64_C(0xcbf29ce484222325)

/* -- Server -- */

static void serve_stream(int fd, bool check)
{
	static uint64_t buf[CHUNK_BYTES / 8];
	uint64_t answer[2] = { 0, check ? HASH_START : 0 };
	size_t n;

	do {
		if (check) {
			n = receive_all(fd, buf, sizeof(buf));
			answer[1] = hash(answer[1], buf, n);
		} else {
			ssize_t r = recv(fd, buf, sizeof(buf), 0);

			if (r < 0)
				die("recv");
			n = (size_t)r;
		}
		answer[0] += n;
	} while (n);
	answer[0] = htole64(answer[0]);
	answer[1] = htole64(answer[1]);
	send_all(fd, answer, sizeof(answer));
}

static void serve_connection(int fd)
{
	char what, byte;

	if (recv(fd, &what, 1, 0) != 1)
		return;
	if (what == 'R') {
		while (recv(fd, &byte, 1, 0) == 1)
			send_all(fd, &byte, 1);
	} else {
		serve_stream(fd, what == 'C');
	}
}

static void serve_udp(int fd)
{
	static uint8_t buf[65536];
	struct sockaddr_in6 from;
	socklen_t len;
	ssize_t n;

	for (;;) {
		len = sizeof(from);
		n = recvfrom(fd, buf, sizeof(buf), 0, (struct sockaddr *)&from, &len);
		if (n >= 0)
			sendto(fd, buf, (size_t)n, 0, (struct sockaddr *)&from, len);
	}
}

static int serve(const char *port)
{
	struct sockaddr_in6 sa = address(NULL, port);
	int tcp = open_socket(SOCK_STREAM), udp = open_socket(SOCK_DGRAM);

	signal(SIGCHLD, SIG_IGN);
	if (bind(tcp, (struct sockaddr *)&sa, sizeof(sa)) || listen(tcp, 16))
		die("TCP port");
	if (bind(udp, (struct sockaddr *)&sa, sizeof(sa)))
		die("UDP port");
	if (fork() == 0)
		serve_udp(udp);
	for (;;) {
		int fd = accept(tcp, NULL, NULL), one = 1;

		if (fd < 0)
			continue;
		if (fork() == 0) {
			setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
			serve_connection(fd);
			_exit(0);
		}
		close(fd);
	}
}

/* -- Client -- */

/* The server may not be up yet. */
static int connect_to(const char *host, const char *port, char what)
{
	struct sockaddr_in6 sa = address(host, port);

	for (int n = 0; n < CONNECT_TRIES; n++) {
		int fd = open_socket(SOCK_STREAM);

		if (!connect(fd, (struct sockaddr *)&sa, sizeof(sa))) {
			send_all(fd, &what, 1);
			return fd;
		}
		close(fd);
		usleep(100000);
	}
	die("connect");
}

static int rr(const char *host, const char *port, unsigned ms)
{
	int fd = connect_to(host, port, 'R');
	uint64_t from, now, count = 0;
	char byte = 'x';

	/* The connection itself is not measured. */
	send_all(fd, &byte, 1);
	if (receive_all(fd, &byte, 1) != 1)
		return 1;
	from = now = now_us();
	while (now - from < ms * UINT64_C(1000)) {
		send_all(fd, &byte, 1);
		if (receive_all(fd, &byte, 1) != 1)
			return 1;
		count++;
		now = now_us();
	}
	printf("rr_count=%llu\nrr_us=%llu\n", (unsigned long long)count,
	       (unsigned long long)(now - from));
	return 0;
}

static int stream(const char *host, const char *port, unsigned mib, bool check)
{
	static uint64_t buf[CHUNK_BYTES / 8];
	uint64_t left = (uint64_t)mib << 20, mine = check ? HASH_START : 0, answer[2], from, word;
	int fd = connect_to(host, port, check ? 'C' : 'S');
	bool ok;

	/* Each word is another one (splitmix64), so that no exchange of two of them goes unseen. */
	for (size_t i = 0; i < CHUNK_BYTES / 8; i++) {
		word = (i + 1) * UINT64_C(0x9e3779b97f4a7c15);
		word = (word ^ word >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
		buf[i] = word ^ word >> 27;
	}
	from = now_us();
	while (left) {
		send_all(fd, buf, sizeof(buf));
		left -= sizeof(buf);
		if (check) {
			mine = hash(mine, buf, sizeof(buf));
			for (size_t i = 0; i < CHUNK_BYTES / 8; i++)
				buf[i] += UINT64_C(0x9e3779b97f4a7c15);
		}
	}
	shutdown(fd, SHUT_WR);
	ok = receive_all(fd, answer, sizeof(answer)) == sizeof(answer) &&
	     le64toh(answer[0]) == (uint64_t)mib << 20 && le64toh(answer[1]) == mine;
	printf("stream_bytes=%llu\nstream_us=%llu\n%s=%d\n", (unsigned long long)mib << 20,
	       (unsigned long long)(now_us() - from), check ? "check_ok" : "stream_ok", ok);
	return !ok;
}

static int udp(const char *host, const char *port, unsigned count, unsigned bytes, unsigned window)
{
	static uint8_t seen[MAX_DATAGRAMS], buf[65536];
	struct sockaddr_in6 sa = address(host, port);
	struct timeval silence = { .tv_sec = SILENCE_S };
	unsigned sent = 0, got = 0, doubled = 0, reordered = 0, next = 0;
	int fd = open_socket(SOCK_DGRAM);
	uint64_t from = now_us();
	uint32_t n;

	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &silence, sizeof(silence));
	if (bytes < sizeof(n))
		bytes = sizeof(n);
	if (connect(fd, (struct sockaddr *)&sa, sizeof(sa)))
		die("connect");
	while (got < count) {
		for (; sent < count && sent - got < window; sent++) {
			n = htonl(sent);
			memcpy(buf, &n, sizeof(n));
			if (send(fd, buf, bytes, 0) < 0)
				die("send");
		}
		if (recv(fd, buf, sizeof(buf), 0) < (ssize_t)sizeof(n))
			break;
		memcpy(&n, buf, sizeof(n));
		n = ntohl(n);
		if (n >= count)
			continue;
		if (seen[n]) {
			doubled++;
			continue;
		}
		seen[n] = 1;
		got++;
		if (n < next)
			reordered++;
		else
			next = n + 1;
	}
	printf("udp_sent=%u\nudp_lost=%u\nudp_doubled=%u\nudp_reordered=%u\nudp_us=%llu\n", sent,
	       sent - got, doubled, reordered, (unsigned long long)(now_us() - from));
	return sent != count || got != count || doubled || reordered;
}

int main(int argc, char **argv)
{
	const char *what = argc > 1 ? argv[1] : "";

	if (!strcmp(what, "serve") && argc == 3)
		return serve(argv[2]);
	if (!strcmp(what, "rr") && argc == 5)
		return rr(argv[2], argv[3], (unsigned)number(argv[4], 1000000));
	if (!strcmp(what, "stream") && argc == 5)
		return stream(argv[2], argv[3], (unsigned)number(argv[4], 1 << 20), false);
	if (!strcmp(what, "check") && argc == 5)
		return stream(argv[2], argv[3], (unsigned)number(argv[4], 1 << 20), true);
	if (!strcmp(what, "udp") && argc == 7)
		return udp(argv[2], argv[3], (unsigned)number(argv[4], MAX_DATAGRAMS),
			   (unsigned)number(argv[5], 65000), (unsigned)number(argv[6], 1024));
	fprintf(stderr, "usage: netprobe serve|rr|stream|check|udp …; see the top of its source\n");
	return 2;
}
