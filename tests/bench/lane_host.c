/* See lane_host.h. */
#include "tests/bench/lane_host.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/vnet.h"
#include "tests/bench/lane_nic.h"
#include "vmm/hostnet_link.h"
#include "vmm/tap.h"

static void ip(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
static void ip(const char *fmt, ...)
{
	char cmd[256] = "ip ";
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(cmd + 3, sizeof(cmd) - 3, fmt, ap);
	va_end(ap);
	if (system(cmd))
		lane_die("failed: %s", cmd);
}

bool lane_host_enter(void)
{
	FILE *f;
	int fd;

	if (unshare(CLONE_NEWNET) && unshare(CLONE_NEWUSER | CLONE_NEWNET)) {
		perror("bench_lane: no network namespace");
		return false;
	}
	fd = open("/dev/net/tun", O_RDWR | O_CLOEXEC);
	if (fd < 0) {
		perror("bench_lane: /dev/net/tun");
		return false;
	}
	close(fd);
	/* Nobody but the bench is to send anything. */
	f = fopen("/proc/sys/net/ipv6/conf/default/disable_ipv6", "we");
	if (f) {
		fputs("1", f);
		fclose(f);
	}
	return true;
}

void lane_host_bridge(const char *br)
{
	ip("link add name %s type bridge forward_delay 0 stp_state 0 mcast_snooping 0", br);
	ip("link set dev %s up", br);
}

int lane_host_tap(const char *ifname, const char *br)
{
	bool created;
	int fd = tap_open(ifname, &created);

	if (fd < 0)
		lane_die("%s: %s", ifname, strerror(-fd));
	/* As vmm/hostnet.c makes them. */
	if (link_set_noqueue(ifname))
		lane_die("%s: noqueue", ifname);
	ip("link set dev %s master %s up", ifname, br);
	return fd;
}

int lane_host_outside(const char *ifname, const char *br, const char *mac)
{
	int fd = lane_host_tap(ifname, br);
	char cmd[128];

	if (tap_set_offload(fd, VNET_RX_OFFLOADS))
		lane_die("%s: offloads", ifname);
	snprintf(cmd, sizeof(cmd), "bridge fdb add %s dev %s master static", mac, ifname);
	if (system(cmd))
		lane_die("failed: %s", cmd);
	return fd;
}

void lane_host_qdisc(const char *ifname, char *out, size_t len)
{
	char cmd[64], line[256] = "";
	FILE *f;

	snprintf(cmd, sizeof(cmd), "ip -o link show dev %s", ifname);
	snprintf(out, len, "unknown");
	f = popen(cmd, "re");
	if (!f)
		return;
	if (fgets(line, sizeof(line), f)) {
		char *q = strstr(line, " qdisc ");

		if (q)
			snprintf(out, len, "%.*s", (int)strcspn(q + 7, " "), q + 7);
	}
	pclose(f);
}

uint64_t lane_cpu_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &ts);
	return (uint64_t)ts.tv_sec * 1000000000 + (uint64_t)ts.tv_nsec;
}

static bool is_ksoftirqd(const char *pid)
{
	char path[300], comm[32] = "";
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%s/comm", pid);
	f = fopen(path, "re");
	if (!f)
		return false;
	if (!fgets(comm, sizeof(comm), f))
		comm[0] = 0;
	fclose(f);
	return !strncmp(comm, "ksoftirqd/", 10);
}

uint64_t lane_ksoftirqd_ns(void)
{
	DIR *d = opendir("/proc");
	struct dirent *e;
	uint64_t sum = 0;

	while (d && (e = readdir(d))) {
		unsigned long long ns;
		char path[300];
		FILE *f;

		if (e->d_name[0] < '0' || e->d_name[0] > '9' || !is_ksoftirqd(e->d_name))
			continue;
		snprintf(path, sizeof(path), "/proc/%s/schedstat", e->d_name);
		f = fopen(path, "re");
		if (!f)
			continue;
		if (fscanf(f, "%llu", &ns) == 1)
			sum += ns;
		fclose(f);
	}
	if (d)
		closedir(d);
	return sum;
}
