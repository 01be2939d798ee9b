/*
 * Host network set-up, each test in a network and mount namespace of its own: what is made, what is
 * left alone, what a user without rights is told, what is removed after kill -9.
 */
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/if_link.h>
#include <linux/if_tun.h>
#include <linux/rtnetlink.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <unistd.h>

#include "vmm/hostnet.h"
#include "vmm/hostnet_ip.h"
#include "vmm/hostnet_link.h"
#include "vmm/hostnet_record.h"
#include "vmm/tap.h"

#define NOBODY	     65534
#define EXIT_SKIPPED 77

/* ---- surroundings ---- */

static bool enter_namespaces(void)
{
	return unshare(CLONE_NEWNET | CLONE_NEWNS) == 0 &&
	       mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0 &&
	       mount("none", "/run", "tmpfs", 0, "mode=755") == 0 &&
	       mount("none", "/tmp", "tmpfs", 0, "mode=1777") == 0 &&
	       mount("none", "/dev/net", "tmpfs", 0, "mode=755") == 0 &&
	       mknod("/dev/net/tun", S_IFCHR | 0666, makedev(10, 200)) == 0 &&
	       chmod("/dev/net/tun", 0666) == 0;
}

__attribute__((format(printf, 1, 2))) static int sh(const char *fmt, ...)
{
	char cmd[1024];
	va_list args;

	va_start(args, fmt);
	vsnprintf(cmd, sizeof(cmd), fmt, args);
	va_end(args);
	return system(cmd);
}

/* Interfaces as `ip` shows them, but for the carrier, which lags behind; the caller frees. */
static char *links_now(void)
{
	char *text = calloc(1, 16384);
	FILE *f = popen("ip -o link | sed 's/NO-CARRIER,//;s/,LOWER_UP//;s/ state [A-Z]*//'", "r");

	ck_assert(text && f);
	text[fread(text, 1, 16383, f)] = '\0';
	pclose(f);
	return text;
}

static char *before;

static void setup(void)
{
	unsetenv("XDG_RUNTIME_DIR");
	signal(SIGPIPE, SIG_IGN);
	ck_assert(enter_namespaces());
	before = links_now();
}

static void check_nothing_left(void)
{
	char *after = links_now();

	ck_assert_str_eq(before, after);
	free(after);
	/* The run directory may stay, empty. */
	ck_assert_int_ne(sh("ls /run/xvmm 2>/dev/null | grep -q ."), 0);
}

static struct link link_get(const char *name)
{
	struct link_table t;
	struct link l = { 0 };
	const struct link *found;

	ck_assert_int_eq(link_table_read(&t), 0);
	found = link_find(&t, name);
	if (found)
		l = *found;
	link_table_free(&t);
	return l;
}

static bool link_exists(const char *name)
{
	return link_get(name).index != 0;
}

/* The n-th port of a bridge, by index order; "" if there are fewer. */
static struct link port_get(const char *bridge, unsigned n)
{
	struct link br = link_get(bridge), l = { 0 };
	struct link_table t;

	ck_assert_int_eq(link_table_read(&t), 0);
	for (unsigned i = 0; i < t.nr; i++)
		if (t.link[i].master == br.index && br.index && n-- == 0)
			l = t.link[i];
	link_table_free(&t);
	return l;
}

/* ---- labs ---- */

struct lab {
	struct lab_config cfg;
	struct net_config net[2];
	struct nic_config nic[2];
	int fds[2], net_fds[2];
	struct hostnet *h;
	char err[4096];
};

/* Two NICs: on one net, or, if there is a second, on a net each. */
static void lab_init(struct lab *l, enum uplink_kind kind, char *name, enum uplink_kind kind2,
		     char *name2)
{
	*l = (struct lab){ 0 };
	l->net[0] = (struct net_config){
		.name = "lan0", .line = 3, .uplink = kind, .uplink_name = name
	};
	l->net[1] = (struct net_config){
		.name = "lan1", .line = 7, .uplink = kind2, .uplink_name = name2
	};
	l->nic[0] = (struct nic_config){ .name = "eth0", .full_name = "alpha.eth0", .net = 0 };
	l->nic[1] = (struct nic_config){
		.name = "eth0", .full_name = "beta.eth0", .guest = 1, .net = name2 ? 1 : 0
	};
	l->cfg = (struct lab_config){ .path = "vm.ini",
				      .name = "lab",
				      .net = l->net,
				      .nr_nets = name2 ? 2 : 1,
				      .nic = l->nic,
				      .nr_nics = 2 };
}

static int lab_open(struct lab *l)
{
	FILE *f = fmemopen(l->err, sizeof(l->err) - 1, "w");
	int r;

	ck_assert_ptr_nonnull(f);
	memset(l->fds, 0x55, sizeof(l->fds));
	memset(l->net_fds, 0x55, sizeof(l->net_fds));
	memset(l->err, 0, sizeof(l->err));
	r = hostnet_open(&l->h, &l->cfg, f, l->fds, l->net_fds);
	fclose(f);
	if (r) {
		ck_assert_ptr_null(l->h);
		for (unsigned i = 0; i < 2; i++) {
			ck_assert_int_eq(l->fds[i], -1);
			if (i < l->cfg.nr_nets)
				ck_assert_int_eq(l->net_fds[i], -1);
		}
		ck_assert_msg(l->err[0], "an error without a word");
	} else {
		ck_assert_str_eq(l->err, "");
	}
	return r;
}

static void check_one_line(const char *text, const char *part)
{
	ck_assert_msg(strstr(text, part), "\"%s\" not in: %s", part, text);
	ck_assert_ptr_eq(strchr(text, '\n'), text + strlen(text) - 1);
}

/* A process that runs fn, says so, and then waits to be told to end (or be killed). */
struct helper {
	pid_t pid;
	int ready, end;
};

static struct helper helper_start(void (*fn)(struct lab *l), struct lab *l)
{
	struct helper h;
	int up[2], down[2];
	char c;

	ck_assert(pipe2(up, O_CLOEXEC) == 0 && pipe2(down, O_CLOEXEC) == 0);
	h.pid = fork();
	ck_assert_int_ge(h.pid, 0);
	if (h.pid == 0) {
		close(up[0]);
		close(down[1]);
		fn(l);
		if (write(up[1], "r", 1) != 1 || read(down[0], &c, 1) < 0)
			_exit(1);
		hostnet_close(l->h);
		_exit(0);
	}
	close(up[1]);
	close(down[0]);
	h.ready = up[0];
	h.end = down[1];
	ck_assert_int_eq(read(h.ready, &c, 1), 1);
	return h;
}

static int helper_wait(struct helper *h)
{
	int status;

	/* Not by closing alone: a helper that was forked later holds a copy. */
	if (write(h->end, "e", 1) != 1)
		ck_assert_int_eq(errno, EPIPE);
	close(h->end);
	close(h->ready);
	ck_assert_int_eq(waitpid(h->pid, &status, 0), h->pid);
	return status;
}

static void open_or_die(struct lab *l)
{
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (lab_open(l))
		_exit(1);
}

/* Opens the lab as user nobody, in another process; err text comes back in l->err. */
static int open_as_nobody(struct lab *l)
{
	int p[2], status;
	ssize_t got;
	pid_t pid;

	ck_assert_int_eq(pipe2(p, O_CLOEXEC), 0);
	pid = fork();
	ck_assert_int_ge(pid, 0);
	if (pid == 0) {
		int r = 1;

		if (setgroups(0, NULL) == 0 && setresgid(NOBODY, NOBODY, NOBODY) == 0 &&
		    setresuid(NOBODY, NOBODY, NOBODY) == 0)
			r = lab_open(l);
		got = write(p[1], l->err, strlen(l->err));
		if (!r)
			hostnet_close(l->h);
		_exit(-r);
	}
	close(p[1]);
	memset(l->err, 0, sizeof(l->err));
	for (size_t n = 0; (got = read(p[0], l->err + n, sizeof(l->err) - 1 - n)) > 0;)
		n += got;
	close(p[0]);
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert(WIFEXITED(status));
	return -WEXITSTATUS(status);
}

/* Does what the printed lines say. */
static void follow_advice(const char *text)
{
	FILE *f = fopen("/tmp/advice", "w");

	ck_assert_ptr_nonnull(f);
	fputs(text, f);
	fclose(f);
	ck_assert_int_eq(sh("grep ^sudo /tmp/advice | sed 's/^sudo //' | sh -ex"), 0);
}

/* ---- made and removed ---- */

START_TEST(makes_bridge_and_taps_and_removes_them)
{
	struct lab l;
	struct link br, t0, t1;

	lab_init(&l, UPLINK_BRIDGE, "br7", UPLINK_NONE, NULL);
	ck_assert_int_eq(lab_open(&l), 0);
	br = link_get("br7");
	ck_assert_int_eq(br.kind, LINK_BRIDGE);
	ck_assert(br.up);
	ck_assert_int_eq(strncmp(br.alias, "xvmm:lab:", 9), 0);
	ck_assert_int_eq(sh("ip -d link show dev br7 | grep -q 'forward_delay 0 .*stp_state 0 '"),
			 0);
	ck_assert_int_eq(sh("ip addr show dev br7 | grep -q inet"), 256);

	t0 = port_get("br7", 0);
	t1 = port_get("br7", 1);
	ck_assert_int_eq(t0.kind, LINK_TAP);
	ck_assert_int_eq(t1.kind, LINK_TAP);
	ck_assert(t0.up && t1.up);
	ck_assert_int_eq(strncmp(t0.alias, "xvmm:lab:", 9), 0);
	ck_assert_int_eq(port_get("br7", 2).index, 0);
	ck_assert(l.fds[0] >= 0 && l.fds[1] >= 0 && l.fds[0] != l.fds[1]);
	ck_assert_int_eq(l.net_fds[0], -1);

	hostnet_close(l.h);
	check_nothing_left();
}
END_TEST

START_TEST(makes_shared_tap_and_removes_it)
{
	struct lab l;

	lab_init(&l, UPLINK_TAP, "xv0", UPLINK_NONE, NULL);
	ck_assert_int_eq(lab_open(&l), 0);
	ck_assert_int_eq(link_get("xv0").kind, LINK_TAP);
	ck_assert(link_get("xv0").up);
	ck_assert_int_ge(l.net_fds[0], 0);
	ck_assert_int_eq(l.fds[0], -1);
	hostnet_close(l.h);
	check_nothing_left();
}
END_TEST

START_TEST(nets_without_uplink_or_nics_need_nothing)
{
	struct lab l;

	lab_init(&l, UPLINK_NONE, "", UPLINK_BRIDGE, "br7");
	l.cfg.nr_nics = 1; /* on lan0 */
	ck_assert_int_eq(open_as_nobody(&l), 0);
	ck_assert_int_eq(lab_open(&l), 0);
	ck_assert_int_eq(l.fds[0], -1);
	ck_assert(!link_exists("br7"));
	hostnet_close(l.h);
	check_nothing_left();
}
END_TEST

START_TEST(two_nets_may_name_one_bridge)
{
	struct lab l;

	lab_init(&l, UPLINK_BRIDGE, "br7", UPLINK_BRIDGE, "br7");
	ck_assert_int_eq(lab_open(&l), 0);
	ck_assert_int_ne(port_get("br7", 1).index, 0);
	hostnet_close(l.h);
	check_nothing_left();
}
END_TEST

START_TEST(tap_names_are_the_same_every_time)
{
	char first[IFNAMSIZ];
	struct lab l;

	lab_init(&l, UPLINK_BRIDGE, "br7", UPLINK_NONE, NULL);
	ck_assert_int_eq(lab_open(&l), 0);
	strcpy(first, port_get("br7", 0).name);
	hostnet_close(l.h);
	ck_assert_int_eq(lab_open(&l), 0);
	ck_assert_str_eq(first, port_get("br7", 0).name);
	hostnet_close(l.h);
}
END_TEST

/* ---- queueing disciplines ---- */

static bool has_noqueue(const char *dev)
{
	return sh("tc qdisc show dev %s root | grep -q 'qdisc noqueue '", dev) == 0;
}

START_TEST(new_ports_have_no_queue)
{
	struct lab l;

	/* What a distribution may set; otherwise as the kernel was built. */
	sh("sysctl -q net.core.default_qdisc=fq_codel 2>/dev/null");
	lab_init(&l, UPLINK_BRIDGE, "br7", UPLINK_TAP, "xv0");
	ck_assert_int_eq(lab_open(&l), 0);
	ck_assert(has_noqueue(port_get("br7", 0).name));
	ck_assert(!has_noqueue("xv0")); /* so the default is another */
	/* It survives going down and up. */
	ck_assert_int_eq(sh("ip link set %s down", port_get("br7", 0).name), 0);
	ck_assert_int_eq(sh("ip link set %s up", port_get("br7", 0).name), 0);
	ck_assert(has_noqueue(port_get("br7", 0).name));
	hostnet_close(l.h);
	check_nothing_left();
}
END_TEST

START_TEST(existing_port_keeps_its_queue)
{
	struct lab l;
	char name[IFNAMSIZ];

	lab_init(&l, UPLINK_BRIDGE, "br7", UPLINK_NONE, NULL);
	ck_assert_int_eq(lab_open(&l), 0);
	strcpy(name, port_get("br7", 0).name);
	hostnet_close(l.h);

	ck_assert_int_eq(sh("ip tuntap add dev %s mode tap && "
			    "tc qdisc replace dev %s root handle 7: pfifo limit 9",
			    name, name),
			 0);
	ck_assert_int_eq(lab_open(&l), 0);
	ck_assert_int_ne(link_get(name).master, 0);
	ck_assert_int_eq(sh("tc qdisc show dev %s root | grep -q 'qdisc pfifo 7:'", name), 0);
	ck_assert(has_noqueue(port_get("br7", 1).index == link_get(name).index
				      ? port_get("br7", 0).name
				      : port_get("br7", 1).name));
	hostnet_close(l.h);
	ck_assert(link_exists(name));
}
END_TEST

START_TEST(noqueue_errors)
{
	pid_t pid;
	int status;

	ck_assert_int_eq(link_set_noqueue("nosuch0"), -ENODEV);
	ck_assert_int_eq(link_set_noqueue(""), -ENODEV);
	ck_assert_int_eq(sh("ip tuntap add dev d0 mode tap"), 0);
	pid = fork();
	if (pid == 0)
		_exit(setresuid(NOBODY, NOBODY, NOBODY) ? 99 : -link_set_noqueue("d0"));
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert_int_eq(WEXITSTATUS(status), EPERM);
	ck_assert_int_eq(link_set_noqueue("d0"), 0);
	ck_assert(has_noqueue("d0"));
	ck_assert_int_eq(link_set_noqueue("d0"), 0); /* again */
}
END_TEST

/* ---- bridges with rules of their own ---- */

/* The bridge that the kernel's answers call one that filters, if the kernel itself has no such
 * thing (CONFIG_BRIDGE_VLAN_FILTERING). */
static char forged[IFNAMSIZ];

static struct rtattr *find_attr(void *first, int len, int type)
{
	for (struct rtattr *a = first; RTA_OK(a, len); a = RTA_NEXT(a, len))
		if ((a->rta_type & NLA_TYPE_MASK) == type)
			return a;
	return NULL;
}

static void forge_filtering(struct nlmsghdr *h)
{
	struct ifinfomsg *msg = NLMSG_DATA(h);
	int len = (int)(h->nlmsg_len - NLMSG_LENGTH(sizeof(*msg)));
	struct rtattr *a = find_attr(IFLA_RTA(msg), len, IFLA_IFNAME);

	if (h->nlmsg_type != RTM_NEWLINK || !a || strcmp(RTA_DATA(a), forged))
		return;
	a = find_attr(IFLA_RTA(msg), len, IFLA_LINKINFO);
	ck_assert_ptr_nonnull(a);
	a = find_attr(RTA_DATA(a), RTA_PAYLOAD(a), IFLA_INFO_DATA);
	ck_assert_ptr_nonnull(a);
	a = find_attr(RTA_DATA(a), RTA_PAYLOAD(a), IFLA_BR_VLAN_FILTERING);
	ck_assert_ptr_nonnull(a);
	*(uint8_t *)RTA_DATA(a) = 1;
}

/* In place of the C library's. */
ssize_t recv(int fd, void *buf, size_t len, int flags)
{
	ssize_t got = recvfrom(fd, buf, len, flags, NULL, NULL), left = got;

	if (forged[0] && got > 0)
		for (struct nlmsghdr *h = buf; NLMSG_OK(h, left); h = NLMSG_NEXT(h, left))
			forge_filtering(h);
	return got;
}

static void make_filtering_bridge(const char *name)
{
	if (sh("ip link add %s type bridge vlan_filtering 1 2>/dev/null", name)) {
		ck_assert_int_eq(sh("ip link add %s type bridge", name), 0);
		strcpy(forged, name);
	}
	ck_assert_int_eq(sh("ip link set %s up", name), 0);
}

START_TEST(tells_bridges_that_filter)
{
	struct lab l;

	make_filtering_bridge("br7");
	ck_assert_int_eq(sh("ip link add br8 type bridge && ip link set br8 up"), 0);
	ck_assert(link_get("br7").vlan_filtering);
	ck_assert(!link_get("br8").vlan_filtering);
	lab_init(&l, UPLINK_BRIDGE, "br7", UPLINK_BRIDGE, "br8");
	ck_assert_int_eq(lab_open(&l), 0);
	ck_assert(hostnet_bridge_filters(l.h, 0));
	ck_assert(!hostnet_bridge_filters(l.h, 1));
	ck_assert(!hostnet_bridge_filters(l.h, 2)); /* there is none */
	hostnet_close(l.h);

	lab_init(&l, UPLINK_TAP, "xv0", UPLINK_BRIDGE, "br7");
	ck_assert_int_eq(lab_open(&l), 0);
	ck_assert(!hostnet_bridge_filters(l.h, 0));
	ck_assert(hostnet_bridge_filters(l.h, 1));
	hostnet_close(l.h);

	/* One that xvmm makes, and a net that needs nothing of the host. */
	lab_init(&l, UPLINK_BRIDGE, "br9", UPLINK_NONE, "");
	ck_assert_int_eq(lab_open(&l), 0);
	ck_assert(!hostnet_bridge_filters(l.h, 0));
	ck_assert(!hostnet_bridge_filters(l.h, 1));
	hostnet_close(l.h);
}
END_TEST

START_TEST(tells_isolated_ports)
{
	struct lab l;
	char name[IFNAMSIZ];

	lab_init(&l, UPLINK_BRIDGE, "br7", UPLINK_NONE, NULL);
	ck_assert_int_eq(open_as_nobody(&l), -EPERM);
	follow_advice(l.err);
	strcpy(name, port_get("br7", 1).name);
	ck_assert_int_eq(lab_open(&l), 0);
	ck_assert(!hostnet_bridge_filters(l.h, 0));
	hostnet_close(l.h);
	ck_assert_int_eq(sh("bridge link set dev %s isolated on", name), 0);
	ck_assert(link_get(name).isolated);
	ck_assert_int_eq(link_get(name).kind, LINK_TAP);
	ck_assert(!link_get(port_get("br7", 0).name).isolated);
	ck_assert_int_eq(lab_open(&l), 0);
	ck_assert(hostnet_bridge_filters(l.h, 0));
	hostnet_close(l.h);
}
END_TEST

/* ---- what was there before ---- */

START_TEST(keeps_existing_bridge)
{
	struct lab l;
	char *middle;

	ck_assert_int_eq(sh("ip link add br7 type bridge && ip addr add 192.0.2.1/24 dev br7 && "
			    "ip tuntap add dev d0 mode tap && ip link set d0 mtu 9000 && "
			    "ip link set d0 master br7 up && ip link set br7 mtu 9000 up && "
			    "ip link set br7 address 02:00:00:00:00:07"),
			 0);
	free(before);
	before = links_now();
	lab_init(&l, UPLINK_BRIDGE, "br7", UPLINK_NONE, NULL);
	ck_assert_int_eq(lab_open(&l), 0);
	middle = links_now();
	ck_assert_ptr_nonnull(strstr(middle, "master br7"));
	free(middle);
	ck_assert_uint_eq(port_get("br7", 1).mtu_bytes, 9000);
	ck_assert_uint_eq(link_get("br7").mtu_bytes, 9000);
	hostnet_close(l.h);
	check_nothing_left();
	ck_assert_int_eq(sh("ip addr show dev br7 | grep -q 192.0.2.1/24"), 0);
}
END_TEST

START_TEST(keeps_existing_tap)
{
	struct lab l;

	ck_assert_int_eq(sh("ip tuntap add dev xv0 mode tap"), 0);
	lab_init(&l, UPLINK_TAP, "xv0", UPLINK_NONE, NULL);
	ck_assert_int_eq(lab_open(&l), 0);
	ck_assert(link_get("xv0").up);
	hostnet_close(l.h);
	ck_assert(link_exists("xv0"));
	ck_assert_str_eq(link_get("xv0").alias, "");
	ck_assert_int_eq(sh("ip tuntap del dev xv0 mode tap"), 0);
	check_nothing_left();
}
END_TEST

START_TEST(keeps_bridge_that_user_added_port_to)
{
	struct lab l;

	lab_init(&l, UPLINK_BRIDGE, "br7", UPLINK_NONE, NULL);
	ck_assert_int_eq(lab_open(&l), 0);
	ck_assert_int_eq(sh("ip tuntap add dev d0 mode tap && ip link set d0 master br7"), 0);
	hostnet_close(l.h);
	ck_assert(link_exists("br7"));
	ck_assert_int_eq(sh("ip link del d0 && ip link del br7"), 0);
	check_nothing_left();
}
END_TEST

START_TEST(last_lab_removes_shared_bridge)
{
	struct lab l;
	struct helper first, second;

	lab_init(&l, UPLINK_BRIDGE, "br7", UPLINK_NONE, NULL);
	first = helper_start(open_or_die, &l);
	second = helper_start(open_or_die, &l);
	/* The same lab twice: the names are taken, others are found. */
	ck_assert_int_ne(port_get("br7", 3).index, 0);
	ck_assert_int_eq(port_get("br7", 4).index, 0);
	ck_assert_int_eq(helper_wait(&first), 0);
	ck_assert(link_exists("br7"));
	ck_assert_int_ne(port_get("br7", 1).index, 0);
	ck_assert_int_eq(port_get("br7", 2).index, 0);
	ck_assert_int_eq(hostnet_sweep(stderr), 0);
	ck_assert_int_eq(helper_wait(&second), 0);
	check_nothing_left();
}
END_TEST

/* ---- refused ---- */

START_TEST(refuses_interface_of_another_kind)
{
	struct lab l;

	ck_assert_int_eq(sh("ip link add b0 type bridge && ip tuntap add dev u0 mode tun"), 0);
	free(before);
	before = links_now();

	lab_init(&l, UPLINK_TAP, "lo", UPLINK_NONE, NULL);
	ck_assert_int_eq(lab_open(&l), -EINVAL);
	check_one_line(l.err, "vm.ini:3: [net lan0]: uplink tap:lo: lo is neither");
	lab_init(&l, UPLINK_TAP, "b0", UPLINK_NONE, NULL);
	ck_assert_int_eq(lab_open(&l), -EINVAL);
	check_one_line(l.err, "b0 is a bridge");
	lab_init(&l, UPLINK_TAP, "u0", UPLINK_NONE, NULL);
	ck_assert_int_eq(lab_open(&l), -EINVAL);
	check_one_line(l.err, "u0 is neither");
	/* The second net fails: what the first has opened goes away again. */
	lab_init(&l, UPLINK_BRIDGE, "br7", UPLINK_BRIDGE, "lo");
	ck_assert_int_eq(lab_open(&l), -EINVAL);
	check_one_line(l.err, "vm.ini:7: [net lan1]: uplink bridge:lo: lo is neither");
	check_nothing_left();
}
END_TEST

START_TEST(refuses_tap_in_use)
{
	struct lab l, other;
	struct helper h;

	lab_init(&other, UPLINK_TAP, "xv0", UPLINK_NONE, NULL);
	h = helper_start(open_or_die, &other);
	lab_init(&l, UPLINK_TAP, "xv0", UPLINK_NONE, NULL);
	ck_assert_int_eq(lab_open(&l), -EBUSY);
	check_one_line(l.err, "vm.ini:3: [net lan0]: xv0 is in use by another program");
	ck_assert(link_exists("xv0"));
	ck_assert_int_eq(helper_wait(&h), 0);
	check_nothing_left();
}
END_TEST

START_TEST(refuses_bad_names)
{
	static char *const bad[] = { "",
				     "a b",
				     "x%d",
				     "a/b",
				     "-x",
				     ".",
				     "..",
				     "a;id",
				     "$(reboot)",
				     "sixteen-letters1",
				     "a\nlink del lo" };
	struct lab l;

	for (unsigned i = 0; i < ARRAY_SIZE(bad); i++) {
		lab_init(&l, i & 1 ? UPLINK_TAP : UPLINK_BRIDGE, bad[i], UPLINK_NONE, NULL);
		ck_assert_int_eq(lab_open(&l), -EINVAL);
		ck_assert_ptr_nonnull(strstr(l.err, "name of a network interface"));
	}
	ck_assert(link_name_valid("br-lan.100"));
	ck_assert(link_name_valid("fifteen-letters"));
	check_nothing_left();
}
END_TEST

START_TEST(odd_lab_name_does_no_harm)
{
	struct lab l;

	lab_init(&l, UPLINK_BRIDGE, "br7", UPLINK_NONE, NULL);
	l.cfg.name = "x\nlink del lo \"'$(id) \xc3\xa4 and a name far too long for an alias";
	ck_assert_int_eq(lab_open(&l), 0);
	ck_assert_int_eq(strncmp(link_get("br7").alias, "xvmm:x_link_del_lo_", 19), 0);
	hostnet_close(l.h);
	check_nothing_left();
}
END_TEST

START_TEST(undoes_all_when_a_command_fails)
{
	struct lab l;

	/* An alternative name is no name that a listing shows, but it is taken. */
	ck_assert_int_eq(sh("ip tuntap add dev d0 mode tap && "
			    "ip link property add dev d0 altname br9"),
			 0);
	free(before);
	before = links_now();
	lab_init(&l, UPLINK_BRIDGE, "br7", UPLINK_BRIDGE, "br9");
	ck_assert_int_eq(lab_open(&l), -EIO);
	check_one_line(l.err, "`ip link add name br9 ");
	ck_assert_ptr_nonnull(strstr(l.err, "File exists"));
	check_nothing_left();
}
END_TEST

START_TEST(says_that_ip_is_missing)
{
	struct lab l;
	int r;

	lab_init(&l, UPLINK_BRIDGE, "br7", UPLINK_NONE, NULL);
	ck_assert_int_eq(mount("/dev/null", "/usr/sbin/ip", NULL, MS_BIND, NULL), 0);
	if (access("/usr/bin/ip", F_OK) == 0)
		ck_assert_int_eq(mount("/dev/null", "/usr/bin/ip", NULL, MS_BIND, NULL), 0);
	r = lab_open(&l);
	umount("/usr/sbin/ip");
	umount("/usr/bin/ip");
	ck_assert_int_eq(r, -ENOENT);
	ck_assert_ptr_nonnull(strstr(l.err, "install iproute2"));
	check_nothing_left();
}
END_TEST

START_TEST(finds_ip_without_sbin_in_path)
{
	char path[512], why[256];

	setenv("PATH", "/nonexistent:::relative", 1);
	ck_assert_int_eq(ip_find(path, sizeof(path)), 0);
	ck_assert_int_eq(path[0], '/');
	ck_assert_int_eq(ip_version(why, sizeof(why)), 0);
	ck_assert_int_eq(strncmp(why, "ip utility", 10), 0);
	ck_assert_int_eq(ip_find(path, 4), -ENOENT);
}
END_TEST

/* ---- without rights ---- */

START_TEST(printed_lines_make_the_next_run_work)
{
	static const enum uplink_kind kind[] = { UPLINK_BRIDGE, UPLINK_TAP };
	struct lab l;

	lab_init(&l, kind[_i], "up7", UPLINK_TAP, "xv0");
	ck_assert_int_eq(open_as_nobody(&l), -EPERM);
	ck_assert_ptr_nonnull(strstr(l.err, "sudo ip tuntap add dev xv0 mode tap user nobody "
					    "vnet_hdr\nsudo ip link set dev xv0 up\n"));
	check_nothing_left();
	follow_advice(l.err);
	ck_assert_int_eq(open_as_nobody(&l), 0);
	if (kind[_i] == UPLINK_BRIDGE)
		ck_assert(has_noqueue(port_get("up7", 0).name));
	/* The lines are for good: nothing of it was removed. */
	ck_assert(link_exists("up7"));
	ck_assert(link_exists("xv0"));
	ck_assert_int_eq(open_as_nobody(&l), 0);
}
END_TEST

START_TEST(lines_only_for_what_is_missing)
{
	struct lab l;

	ck_assert_int_eq(sh("ip link add br7 type bridge && ip link set br7 up && "
			    "ip tuntap add dev xv0 mode tap user nobody"),
			 0);
	lab_init(&l, UPLINK_BRIDGE, "br7", UPLINK_TAP, "xv0");
	ck_assert_int_eq(open_as_nobody(&l), -EPERM);
	ck_assert_ptr_null(strstr(l.err, "type bridge"));
	ck_assert_ptr_null(strstr(l.err, "tuntap add dev xv0"));
	ck_assert_ptr_nonnull(strstr(l.err, "sudo ip link set dev xv0 up"));
	follow_advice(l.err);
	ck_assert_int_eq(open_as_nobody(&l), 0);
}
END_TEST

START_TEST(taps_of_another_user_are_told_apart)
{
	struct lab l;

	ck_assert_int_eq(sh("ip tuntap add dev xv0 mode tap user daemon"), 0);
	lab_init(&l, UPLINK_TAP, "xv0", UPLINK_NONE, NULL);
	ck_assert_int_eq(open_as_nobody(&l), -EACCES);
	check_one_line(l.err, "TAP xv0 belongs to another user");

	/* On a bridge, a name that another user's TAP has is passed over. */
	lab_init(&l, UPLINK_BRIDGE, "br7", UPLINK_NONE, NULL);
	ck_assert_int_eq(open_as_nobody(&l), -EPERM);
	follow_advice(l.err);
	ck_assert_int_eq(
		sh("t=$(ip -o link show master br7 | head -1 | sed 's/^[0-9]*: //;s/:.*//'); "
		   "ip tuntap del dev $t mode tap; "
		   "ip tuntap add dev $t mode tap user daemon"),
		0);
	ck_assert_int_eq(open_as_nobody(&l), -EPERM);
	follow_advice(l.err);
	ck_assert_int_eq(open_as_nobody(&l), 0);
}
END_TEST

START_TEST(device_node_without_rights)
{
	struct lab l;

	ck_assert_int_eq(chmod("/dev/net/tun", 0600), 0);
	lab_init(&l, UPLINK_BRIDGE, "br7", UPLINK_TAP, "xv0");
	ck_assert_int_eq(open_as_nobody(&l), -EPERM);
	ck_assert_ptr_nonnull(strstr(l.err, "sudo chmod 0666 /dev/net/tun\n"));
	follow_advice(l.err);
	ck_assert_int_eq(open_as_nobody(&l), 0);
}
END_TEST

START_TEST(device_node_missing)
{
	struct lab l;

	ck_assert_int_eq(unlink("/dev/net/tun"), 0);
	lab_init(&l, UPLINK_TAP, "xv0", UPLINK_NONE, NULL);
	ck_assert_int_eq(lab_open(&l), -ENOENT);
	check_one_line(l.err, "modprobe tun");
}
END_TEST

/* ---- kill -9 ---- */

static void kill_holder(struct lab *l)
{
	struct helper h = helper_start(open_or_die, l);

	ck_assert_int_eq(kill(h.pid, SIGKILL), 0);
	ck_assert(WIFSIGNALED(helper_wait(&h)));
}

START_TEST(sweeps_what_a_killed_one_left)
{
	struct lab l;

	lab_init(&l, UPLINK_BRIDGE, "br7", UPLINK_TAP, "xv0");
	kill_holder(&l);
	ck_assert(link_exists("br7"));
	ck_assert(!link_exists("xv0"));
	ck_assert_int_eq(hostnet_sweep(stderr), 1);
	check_nothing_left();
	ck_assert_int_eq(hostnet_sweep(stderr), 0);
}
END_TEST

START_TEST(next_run_sweeps)
{
	struct lab l, other;

	lab_init(&l, UPLINK_BRIDGE, "br7", UPLINK_NONE, NULL);
	lab_init(&other, UPLINK_NONE, "", UPLINK_NONE, NULL);
	kill_holder(&l);
	ck_assert_int_eq(lab_open(&other), 0);
	check_nothing_left();
	hostnet_close(other.h);

	/* The same lab again makes the bridge anew. */
	kill_holder(&l);
	ck_assert_int_eq(lab_open(&l), 0);
	ck_assert(link_get("br7").up);
	hostnet_close(l.h);
	check_nothing_left();
}
END_TEST

START_TEST(sweep_spares_a_bridge_made_by_hand_since)
{
	struct lab l;

	lab_init(&l, UPLINK_BRIDGE, "br7", UPLINK_NONE, NULL);
	kill_holder(&l);
	ck_assert_int_eq(sh("ip link del br7 && ip link add br7 type bridge"), 0);
	ck_assert_int_eq(hostnet_sweep(stderr), 0);
	ck_assert(link_exists("br7"));
	ck_assert_int_eq(sh("ip link del br7"), 0);
	check_nothing_left();
}
END_TEST

START_TEST(sweep_spares_the_living_and_other_namespaces)
{
	struct lab l, shared;

	lab_init(&l, UPLINK_BRIDGE, "br7", UPLINK_NONE, NULL);
	lab_init(&shared, UPLINK_BRIDGE, "br7", UPLINK_NONE, NULL);
	ck_assert_int_eq(lab_open(&l), 0);
	kill_holder(&shared);
	ck_assert_int_eq(hostnet_sweep(stderr), 0);
	ck_assert_int_ne(port_get("br7", 1).index, 0);
	hostnet_close(l.h);
	check_nothing_left();

	kill_holder(&l);
	if (fork() == 0) {
		int r = unshare(CLONE_NEWNET) ? 99 : hostnet_sweep(stderr);

		_exit(r);
	} else {
		int status;

		wait(&status);
		ck_assert_int_eq(status, 0);
	}
	ck_assert_int_eq(hostnet_sweep(stderr), 1);
	check_nothing_left();
}
END_TEST

START_TEST(odd_files_in_run_directory)
{
	struct lab l;

	ck_assert_int_eq(sh("mkdir -m 700 /run/xvmm && cd /run/xvmm && : >net-1-0 && "
			    "head -c 9000 /dev/urandom >net-2-0 && ln -s /etc/passwd net-3-0 && "
			    "mkdir net-4-0 && mkfifo net-5-0 && echo 'xvmm-record 1' >net-6-0 && "
			    "printf 'xvmm-record 1\\nbridge lo' >net-7-0 && echo hi >other"),
			 0);
	ck_assert_int_eq(hostnet_sweep(stderr), 0);
	ck_assert_int_eq(access("/run/xvmm/other", F_OK), 0);
	ck_assert_int_eq(access("/run/xvmm/net-2-0", F_OK), -1);
	lab_init(&l, UPLINK_BRIDGE, "br7", UPLINK_NONE, NULL);
	ck_assert_int_eq(lab_open(&l), 0);
	hostnet_close(l.h);
	ck_assert(!link_exists("br7"));
}
END_TEST

START_TEST(run_directory_of_others_is_not_used)
{
	struct rundir d;

	ck_assert_int_eq(sh("mkdir -m 777 /run/xvmm; chmod 777 /run/xvmm; "
			    "mkdir /tmp/xvmm-0; chown nobody /tmp/xvmm-0; chmod 700 /tmp/xvmm-0"),
			 0);
	ck_assert_int_eq(rundir_open(&d, true), -EACCES);
	ck_assert_int_eq(d.fd, -1);
	ck_assert_int_eq(sh("rmdir /tmp/xvmm-0; ln -s /etc /tmp/xvmm-0"), 0);
	ck_assert_int_eq(rundir_open(&d, true), -EACCES);
	ck_assert_int_eq(unlink("/tmp/xvmm-0"), 0);
	ck_assert_int_eq(rundir_open(&d, true), 0);
	ck_assert_str_eq(d.path, "/tmp/xvmm-0");
	rundir_close(&d);
	setenv("XDG_RUNTIME_DIR", "/run/user0", 1);
	ck_assert_int_eq(mkdir("/run/user0", 0700), 0);
	ck_assert_int_eq(rundir_open(&d, true), 0);
	ck_assert_str_eq(d.path, "/run/user0/xvmm");
	rundir_close(&d);
}
END_TEST

START_TEST(works_without_run_directory)
{
	struct lab l;

	ck_assert_int_eq(
		sh("mkdir -m 777 /run/xvmm && chmod 777 /run/xvmm && ln -s /etc /tmp/xvmm-0"), 0);
	lab_init(&l, UPLINK_BRIDGE, "br7", UPLINK_TAP, "xv0");
	ck_assert_int_eq(lab_open(&l), 0);
	ck_assert(link_exists("br7"));
	hostnet_close(l.h);
	check_nothing_left();
}
END_TEST

START_TEST(open_and_close_many_times)
{
	struct lab l;
	int fd;

	lab_init(&l, UPLINK_BRIDGE, "br7", UPLINK_TAP, "xv0");
	fd = dup(0);
	close(fd);
	for (int i = 0; i < 20; i++) {
		ck_assert_int_eq(lab_open(&l), 0);
		hostnet_close(l.h);
	}
	ck_assert_int_eq(dup(0), fd); /* no descriptor was lost */
	check_nothing_left();
}
END_TEST

static Suite *suite(void)
{
	Suite *s = suite_create("hostnet");
	TCase *t = tcase_create("hostnet");

	tcase_set_timeout(t, 60);
	tcase_add_checked_fixture(t, setup, NULL);
	tcase_add_test(t, makes_bridge_and_taps_and_removes_them);
	tcase_add_test(t, makes_shared_tap_and_removes_it);
	tcase_add_test(t, nets_without_uplink_or_nics_need_nothing);
	tcase_add_test(t, two_nets_may_name_one_bridge);
	tcase_add_test(t, tap_names_are_the_same_every_time);
	tcase_add_test(t, new_ports_have_no_queue);
	tcase_add_test(t, existing_port_keeps_its_queue);
	tcase_add_test(t, noqueue_errors);
	tcase_add_test(t, tells_bridges_that_filter);
	tcase_add_test(t, tells_isolated_ports);
	tcase_add_test(t, keeps_existing_bridge);
	tcase_add_test(t, keeps_existing_tap);
	tcase_add_test(t, keeps_bridge_that_user_added_port_to);
	tcase_add_test(t, last_lab_removes_shared_bridge);
	tcase_add_test(t, refuses_interface_of_another_kind);
	tcase_add_test(t, refuses_tap_in_use);
	tcase_add_test(t, refuses_bad_names);
	tcase_add_test(t, odd_lab_name_does_no_harm);
	tcase_add_test(t, undoes_all_when_a_command_fails);
	tcase_add_test(t, says_that_ip_is_missing);
	tcase_add_test(t, finds_ip_without_sbin_in_path);
	tcase_add_loop_test(t, printed_lines_make_the_next_run_work, 0, 2);
	tcase_add_test(t, lines_only_for_what_is_missing);
	tcase_add_test(t, taps_of_another_user_are_told_apart);
	tcase_add_test(t, device_node_without_rights);
	tcase_add_test(t, device_node_missing);
	tcase_add_test(t, sweeps_what_a_killed_one_left);
	tcase_add_test(t, next_run_sweeps);
	tcase_add_test(t, sweep_spares_a_bridge_made_by_hand_since);
	tcase_add_test(t, sweep_spares_the_living_and_other_namespaces);
	tcase_add_test(t, odd_files_in_run_directory);
	tcase_add_test(t, run_directory_of_others_is_not_used);
	tcase_add_test(t, works_without_run_directory);
	tcase_add_test(t, open_and_close_many_times);
	suite_add_tcase(s, t);
	return s;
}

/* Namespaces, mounts and a device node of one's own take root. */
static bool can_run(void)
{
	pid_t pid = fork();
	int status;

	if (pid == 0)
		_exit(enter_namespaces() && open("/dev/net/tun", O_RDWR) >= 0 ? 0 : 1);
	return pid > 0 && waitpid(pid, &status, 0) == pid && status == 0;
}

int main(void)
{
	SRunner *sr;
	int failed;

	if (!can_run()) {
		printf("skipped: needs root, network namespaces and /dev/net/tun\n");
		return EXIT_SKIPPED;
	}
	sr = srunner_create(suite());
	srunner_run_all(sr, CK_NORMAL);
	failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
