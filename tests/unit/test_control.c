/*
 * The control socket: a real server on a loop of its own in a temporary run directory, with a made
 * up lab behind it; its commands, hostile and slow peers, stale sockets; and the commands that talk
 * to it.
 */
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/log.h"
#include "vmm/client.h"
#include "vmm/control.h"
#include "vmm/lab_socket.h"

#define NOBODY	  65534
#define ANSWER_MS 5000
#define LINE_ROOM 65536

/* ---- a lab that is not there ---- */

static struct net_config nets[] = {
	{ .name = "lan0",
	  .uplink = UPLINK_BRIDGE,
	  .uplink_name = "br0",
	  .crosstalk = CROSSTALK_DYNAMIC },
	{ .name = "quiet", .uplink = UPLINK_NONE, .crosstalk = CROSSTALK_OFF },
};
static struct guest_config guests[] = {
	{ .name = "alpha", .memory_bytes = 256ull << 20, .cpus = 2 },
	{ .name = "beta", .memory_bytes = 64ull << 20, .cpus = 1 },
};
static struct nic_config nics[] = {
	{ .guest = 0, .net = 0, .full_name = "alpha.eth0", .mac = { 0x52, 0x54, 0, 0, 0, 1 } },
	{ .guest = 1, .net = 0, .full_name = "beta.eth0", .mac = { 0x52, 0x54, 0, 0, 0, 0xfe } },
	{ .guest = 1, .net = 1, .full_name = "beta.eth1", .mac = { 0x52, 0x54, 0, 0, 0, 3 } },
};
static struct disk_config disks[] = { { .guest = 1, .full_name = "beta.root" } };
static const struct lab_config the_cfg = {
	.path = "demo.ini",
	.name = "demo",
	.net = nets,
	.nr_nets = ARRAY_SIZE(nets),
	.guest = guests,
	.nr_guests = ARRAY_SIZE(guests),
	.nic = nics,
	.nr_nics = ARRAY_SIZE(nics),
	.disk = disks,
	.nr_disks = ARRAY_SIZE(disks),
};

static _Atomic int swapped_nic, swapped_pin, swapped_to, swap_rc;
static struct netswitch_stats switch_stats;

static void fake_guest(const struct lab_view *v, unsigned guest, enum guest_state *state,
		       unsigned *restarts)
{
	*state = guest ? GUEST_RESTARTING : GUEST_RUNNING;
	*restarts = guest ? 7 : 0;
}

static void fake_nic(const struct lab_view *v, unsigned nic, struct nic_info *out)
{
	uint64_t *n = (uint64_t *)&out->counters;

	memset(out, 0, sizeof(*out));
	for (size_t i = 0; i < sizeof(out->counters) / sizeof(*n); i++)
		n[i] = 100 * (nic + 1) + i;
	if (nic == 0) {
		out->plugged = true;
		out->link_up = true;
		out->port.binding = BINDING_DIRECT;
		out->port.pinned = true;
		out->port.nr_open_lanes = 12;
		for (unsigned i = 0; i < 8; i++)
			snprintf(out->port.open_lanes[i], sizeof(out->port.open_lanes[i]),
				 "g%u.eth0", i);
		strcpy(out->port.mapped_to, "g6.eth0");
	}
	if (nic == 2)
		strcpy(out->port.not_mapped, "rings 256/128");
}

static const struct netswitch_stats *fake_net(const struct lab_view *v, unsigned net)
{
	return net ? NULL : &switch_stats;
}

static int fake_swap(const struct lab_view *v, unsigned nic, bool pin, enum binding b)
{
	swapped_nic = (int)nic;
	swapped_pin = pin;
	swapped_to = b;
	return swap_rc;
}

static const struct lab_view_ops fake_ops = {
	.guest = fake_guest,
	.nic = fake_nic,
	.net = fake_net,
	.swap = fake_swap,
};

/* ---- the server ---- */

static char dir_path[64], sock_path[96];
static struct rundir dir;
static struct remapper *remapper;
static struct loop loop;
static struct lab_view view;
static struct control *control;

static void setup_dir(void)
{
	signal(SIGPIPE, SIG_IGN);
	log_set_level(LOG_ERROR);
	strcpy(dir_path, "/tmp/test_control.XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(dir_path));
	snprintf(sock_path, sizeof(sock_path), "%s/demo.sock", dir_path);
	ck_assert_int_eq(rundir_open_at(&dir, dir_path, true), 0);
	ck_assert_int_eq(remapper_create(&remapper), 0);
	ck_assert_int_eq(loop_init(&loop, "control"), 0);
	view = (struct lab_view){ .cfg = &the_cfg, .remapper = remapper, .ops = &fake_ops };
	swap_rc = 0;
	swapped_nic = -1;
}

static void teardown_dir(void)
{
	char cmd[128];

	loop_fini(&loop);
	remapper_destroy(remapper);
	rundir_close(&dir);
	snprintf(cmd, sizeof(cmd), "rm -rf %s", dir_path);
	ck_assert_int_eq(system(cmd), 0);
}

static void setup(void)
{
	setup_dir();
	ck_assert_int_eq(control_create_in(&control, &loop, &view, &dir), 0);
	ck_assert_int_eq(loop_start(&loop), 0);
}

static void stop_server(void)
{
	loop_stop(&loop);
	control_destroy(control);
	control = NULL;
}

static void teardown(void)
{
	stop_server();
	ck_assert_int_eq(access(sock_path, F_OK), -1);
	teardown_dir();
}

/* ---- a peer ---- */

struct peer {
	int fd;
	size_t len;
	char buf[LINE_ROOM];
};

static struct peer *peer_new(void)
{
	struct peer *p = calloc(1, sizeof(*p));

	ck_assert_ptr_nonnull(p);
	p->fd = lab_socket_connect(sock_path, 0);
	ck_assert_int_ge(p->fd, 0);
	return p;
}

static void peer_free(struct peer *p)
{
	close(p->fd);
	free(p);
}

static void say(struct peer *p, const char *text)
{
	ck_assert_int_eq(send(p->fd, text, strlen(text), MSG_NOSIGNAL), (int)strlen(text));
}

/* The next line as an object; NULL: the server has closed the connection. */
static json_t *hear(struct peer *p)
{
	json_error_t err;
	json_t *j;
	char *end;

	while (!(end = memchr(p->buf, '\n', p->len))) {
		struct pollfd pfd = { .fd = p->fd, .events = POLLIN };
		ssize_t n;

		ck_assert_uint_lt(p->len, sizeof(p->buf));
		ck_assert_msg(poll(&pfd, 1, ANSWER_MS) == 1, "no answer");
		n = read(p->fd, p->buf + p->len, sizeof(p->buf) - p->len);
		if (n <= 0) {
			ck_assert_uint_eq(p->len, 0);
			return NULL;
		}
		p->len += (size_t)n;
	}
	j = json_loadb(p->buf, (size_t)(end - p->buf), 0, &err);
	ck_assert_msg(json_is_object(j), "answer: %.*s", (int)(end - p->buf), p->buf);
	p->len -= (size_t)(end + 1 - p->buf);
	memmove(p->buf, end + 1, p->len);
	return j;
}

static void hear_end(struct peer *p)
{
	ck_assert_ptr_null(hear(p));
}

static bool hear_nothing(struct peer *p, int ms)
{
	struct pollfd pfd = { .fd = p->fd, .events = POLLIN };

	return !p->len && poll(&pfd, 1, ms) == 0;
}

static void hear_error(struct peer *p, const char *what)
{
	json_t *j = hear(p);
	const char *why = json_string_value(json_object_get(j, "error"));

	ck_assert_ptr_nonnull(why);
	ck_assert_msg(strstr(why, what), "\"%s\" does not say \"%s\"", why, what);
	json_decref(j);
}

static void hear_ok(struct peer *p)
{
	json_t *j = hear(p);

	ck_assert(json_is_true(json_object_get(j, "ok")));
	json_decref(j);
}

static void hear_stat(struct peer *p)
{
	json_t *j = hear(p);

	ck_assert_str_eq(json_string_value(json_object_get(j, "lab")), "demo");
	json_decref(j);
}

static long long number_of(const json_t *o, const char *key)
{
	json_t *n = json_object_get(o, key);

	ck_assert_msg(json_is_integer(n), "%s is missing or no integer", key);
	return json_integer_value(n);
}

static const char *string_of(const json_t *o, const char *key)
{
	const char *s = json_string_value(json_object_get(o, key));

	ck_assert_msg(s != NULL, "%s is missing or no string", key);
	return s;
}

static void hear_event(struct peer *p, long long seq)
{
	json_t *j = hear(p);

	ck_assert_int_eq(number_of(j, "seq"), seq);
	json_decref(j);
}

static void note(unsigned nr)
{
	struct xtalk_event ev = {
		.net = "lan0",
		.nic = "alpha.eth0",
		.peer = "beta.eth0",
		.from = BINDING_UPLINK,
		.to = BINDING_DIRECT,
		.why = WHY_TRAFFIC,
		.detail = "more of it",
		.frames = 24,
		.window = 32,
		.detect_us = 120,
		.swap_us = 80,
	};

	while (nr--)
		remapper_note(remapper, &ev);
}

/* ---- commands ---- */

START_TEST(stat_shows_the_lab)
{
	struct peer *p = peer_new();
	json_t *j, *o, *c, *path;

	switch_stats.swaps = 11;
	switch_stats.markers_swallowed = 12;
	say(p, "{\"cmd\":\"stat\"}\n");
	j = hear(p);
	ck_assert_str_eq(string_of(j, "lab"), "demo");
	ck_assert_str_eq(string_of(j, "config"), "demo.ini");
	ck_assert_int_eq(number_of(j, "pid"), getpid());
	ck_assert_int_lt(number_of(j, "uptime_ms"), 60000);

	o = json_object_get(j, "guests");
	ck_assert_uint_eq(json_array_size(o), 2);
	o = json_array_get(o, 1);
	ck_assert_str_eq(string_of(o, "name"), "beta");
	ck_assert_str_eq(string_of(o, "state"), "restarting");
	ck_assert_int_eq(number_of(o, "cpus"), 1);
	ck_assert_int_eq(number_of(o, "memory_bytes"), 64 << 20);
	ck_assert_int_eq(number_of(o, "restarts"), 7);
	o = json_object_get(o, "disks");
	ck_assert_uint_eq(json_array_size(o), 1);
	ck_assert_str_eq(json_string_value(json_array_get(o, 0)), "beta.root");

	o = json_object_get(j, "nics");
	ck_assert_uint_eq(json_array_size(o), 3);
	o = json_array_get(o, 0);
	ck_assert_str_eq(string_of(o, "name"), "alpha.eth0");
	ck_assert_str_eq(string_of(o, "guest"), "alpha");
	ck_assert_str_eq(string_of(o, "net"), "lan0");
	ck_assert_str_eq(string_of(o, "mac"), "52:54:00:00:00:01");
	ck_assert_str_eq(string_of(o, "binding"), "direct");
	ck_assert_str_eq(string_of(o, "link"), "up");
	ck_assert(json_is_true(json_object_get(o, "pinned")));
	ck_assert_int_eq(number_of(o, "open_lanes"), 12);
	ck_assert_uint_eq(json_array_size(json_object_get(o, "lanes")), 8);
	/* fake_nic() counts up in the order of struct nic_counters. */
	c = json_object_get(o, "counters");
	path = json_object_get(c, "path");
	ck_assert_int_eq(number_of(c, "tx_frames"), 100);
	ck_assert_int_eq(number_of(c, "rx_bytes"), 103);
	ck_assert_int_eq(number_of(json_object_get(path, "uplink"), "tx_frames"), 104);
	ck_assert_int_eq(number_of(json_object_get(path, "direct"), "tx_bytes"), 109);
	ck_assert_int_eq(number_of(json_object_get(path, "mapped"), "rx_bytes"), 115);
	ck_assert_int_eq(number_of(c, "tx_dropped"), 116);
	ck_assert_int_eq(number_of(c, "rx_dropped"), 117);
	ck_assert_int_eq(number_of(c, "tx_invalid"), 118);
	ck_assert_int_eq(number_of(c, "tx_spoofed"), 119);
	ck_assert_int_eq(number_of(c, "tx_held"), 120);
	ck_assert_int_eq(number_of(c, "swaps"), 121);
	ck_assert_int_eq(number_of(c, "drain_timeouts"), 122);
	ck_assert_int_eq(number_of(c, "maps"), 123);
	ck_assert_int_eq(number_of(c, "rescues"), 124);
	ck_assert_int_eq(number_of(c, "interrupts"), 125);
	ck_assert_int_eq(number_of(c, "doorbells"), 126);
	ck_assert_int_eq(number_of(c, "guest_faults"), 127);
	ck_assert_str_eq(string_of(o, "mapped_to"), "g6.eth0");
	ck_assert_str_eq(string_of(o, "not_mapped"), "");
	/* A guest without a machine: bound to nothing, but what it has counted is kept. */
	o = json_array_get(json_object_get(j, "nics"), 1);
	ck_assert(json_is_null(json_object_get(o, "binding")));
	ck_assert_str_eq(string_of(o, "mac"), "52:54:00:00:00:fe");
	ck_assert_int_eq(number_of(json_object_get(o, "counters"), "tx_frames"), 200);
	ck_assert_str_eq(string_of(o, "mapped_to"), "");
	o = json_array_get(json_object_get(j, "nics"), 2);
	ck_assert_str_eq(string_of(o, "not_mapped"), "rings 256/128");

	o = json_array_get(json_object_get(j, "nets"), 0);
	ck_assert_str_eq(string_of(o, "crosstalk"), "dynamic");
	ck_assert_str_eq(string_of(o, "uplink"), "bridge:br0");
	ck_assert_int_eq(number_of(json_object_get(o, "switch"), "swaps"), 11);
	ck_assert_int_eq(number_of(json_object_get(o, "switch"), "markers_swallowed"), 12);
	o = json_array_get(json_object_get(j, "nets"), 1);
	ck_assert(json_is_null(json_object_get(o, "switch")));
	json_decref(j);
	peer_free(p);
}
END_TEST

START_TEST(events_that_are_kept)
{
	struct peer *p = peer_new();
	json_t *j;

	say(p, "{\"cmd\":\"events\"}\n");
	j = hear(p);
	ck_assert(json_is_true(json_object_get(j, "ok")));
	ck_assert_int_eq(number_of(j, "seq"), 0);
	json_decref(j);

	note(40);
	say(p, "{\"cmd\":\"events\",\"after\":0}\n");
	j = hear(p);
	ck_assert_int_eq(number_of(j, "seq"), 1);
	ck_assert_int_gt(number_of(j, "time_us"), 1600000000000000ll);
	ck_assert_str_eq(string_of(j, "net"), "lan0");
	ck_assert_str_eq(string_of(j, "nic"), "alpha.eth0");
	ck_assert_str_eq(string_of(j, "peer"), "beta.eth0");
	ck_assert_str_eq(string_of(j, "from"), "uplink");
	ck_assert_str_eq(string_of(j, "to"), "direct");
	ck_assert_str_eq(string_of(j, "why"), xtalk_why_name(WHY_TRAFFIC));
	ck_assert_str_eq(string_of(j, "detail"), "more of it");
	ck_assert_int_eq(number_of(j, "frames"), 24);
	ck_assert_int_eq(number_of(j, "window"), 32);
	ck_assert_int_eq(number_of(j, "detect_us"), 120);
	ck_assert_int_eq(number_of(j, "swap_us"), 80);
	json_decref(j);
	for (int seq = 2; seq <= 40; seq++)
		hear_event(p, seq);
	j = hear(p);
	ck_assert_int_eq(number_of(j, "seq"), 40);
	ck_assert(json_is_true(json_object_get(j, "ok")));
	json_decref(j);

	say(p, "{\"cmd\":\"events\",\"after\":39}\n");
	hear_event(p, 40);
	hear_ok(p);
	say(p, "{\"cmd\":\"events\",\"after\":9223372036854775807}\n");
	hear_ok(p);
	peer_free(p);
}
END_TEST

START_TEST(events_are_followed)
{
	struct peer *p = peer_new(), *q = peer_new();

	note(2);
	say(p, "{\"cmd\":\"events\",\"after\":1,\"follow\":true}\n");
	say(q, "{\"cmd\":\"events\",\"after\":0,\"follow\":true}\n");
	hear_event(p, 2);
	hear_event(q, 1);
	hear_event(q, 2);
	ck_assert(hear_nothing(p, 50));
	note(2);
	hear_event(p, 3);
	hear_event(q, 3);
	/* One that sends no more still reads. */
	ck_assert_int_eq(shutdown(q->fd, SHUT_WR), 0);
	/* A request ends the stream. */
	say(p, "{\"cmd\":\"stat\"}\n");
	hear_event(p, 4);
	hear_stat(p);
	note(1);
	hear_event(q, 4);
	hear_event(q, 5);
	ck_assert(hear_nothing(p, 50));
	peer_free(p);
	peer_free(q);
}
END_TEST

START_TEST(kept_events_that_were_forgotten)
{
	struct peer *p = peer_new();
	json_t *j;

	note(REMAPPER_EVENTS + 44);
	say(p, "{\"cmd\":\"events\"}\n");
	j = hear(p);
	ck_assert_int_eq(number_of(j, "lost"), 44);
	json_decref(j);
	for (int i = 0; i < REMAPPER_EVENTS; i++)
		hear_event(p, 45 + i);
	hear_ok(p);
	peer_free(p);
}
END_TEST

START_TEST(swap_asks_for_a_binding)
{
	struct peer *p = peer_new();

	say(p, "{\"cmd\":\"swap\",\"nic\":\"beta.eth0\",\"binding\":\"direct\"}\n");
	hear_ok(p);
	ck_assert_int_eq(swapped_nic, 1);
	ck_assert_int_eq(swapped_pin, 1);
	ck_assert_int_eq(swapped_to, BINDING_DIRECT);
	say(p, "{\"cmd\":\"swap\",\"nic\":\"alpha.eth0\",\"binding\":\"uplink\"}\n");
	hear_ok(p);
	ck_assert_int_eq(swapped_nic, 0);
	ck_assert_int_eq(swapped_pin, 1);
	ck_assert_int_eq(swapped_to, BINDING_UPLINK);
	say(p, "{\"cmd\":\"swap\",\"nic\":\"beta.eth1\",\"binding\":\"mapped\"}\n");
	hear_ok(p);
	ck_assert_int_eq(swapped_nic, 2);
	ck_assert_int_eq(swapped_pin, 1);
	ck_assert_int_eq(swapped_to, BINDING_MAPPED);
	say(p, "{\"cmd\":\"swap\",\"nic\":\"beta.eth1\",\"binding\":\"auto\"}\n");
	hear_ok(p);
	ck_assert_int_eq(swapped_nic, 2);
	ck_assert_int_eq(swapped_pin, 0);
	peer_free(p);
}
END_TEST

START_TEST(swap_says_what_is_wrong)
{
	struct peer *p = peer_new();

	say(p, "{\"cmd\":\"swap\",\"nic\":\"gamma.eth0\",\"binding\":\"direct\"}\n");
	hear_error(p, "lab demo has no NIC gamma.eth0");
	say(p, "{\"cmd\":\"swap\",\"nic\":\"beta.eth0\",\"binding\":\"sideways\"}\n");
	hear_error(p, "no binding sideways");
	say(p, "{\"cmd\":\"swap\",\"nic\":\"beta.eth0\"}\n");
	hear_error(p, "binding");
	say(p, "{\"cmd\":\"swap\",\"nic\":7,\"binding\":\"auto\"}\n");
	hear_error(p, "xpected string");
	ck_assert_int_eq(swapped_nic, -1);
	swap_rc = -ENODEV;
	say(p, "{\"cmd\":\"swap\",\"nic\":\"beta.eth0\",\"binding\":\"auto\"}\n");
	hear_error(p, "not running");
	swap_rc = -ENOTSUP;
	say(p, "{\"cmd\":\"swap\",\"nic\":\"beta.eth0\",\"binding\":\"auto\"}\n");
	hear_error(p, "net lan0");
	swap_rc = -EBUSY;
	say(p, "{\"cmd\":\"swap\",\"nic\":\"beta.eth0\",\"binding\":\"auto\"}\n");
	hear_error(p, strerror(EBUSY));
	peer_free(p);
}
END_TEST

/* ---- hostile and clumsy peers ---- */

START_TEST(garbage_is_answered)
{
	static const char *const bad[] = {
		"hello",
		"{",
		"[]",
		"{}",
		"null",
		"7",
		"\"stat\"",
		"{\"cmd\":7}",
		"{\"cmd\":\"\"}",
		"{\"cmd\":\"stat\"",
		"{\"cmd\":\"stat\"}}",
		"{\"cmd\":\"stat\",\"cmd\":\"stat\"}",
		"{\"cmd\":\"stat\",\"x\":1}",
		"{\"cmd\":\"events\",\"after\":-1}",
		"{\"cmd\":\"events\",\"after\":\"1\"}",
		"{\"cmd\":\"events\",\"after\":1.5}",
		"{\"cmd\":\"events\",\"after\":99999999999999999999}",
		"{\"cmd\":\"events\",\"follow\":1}",
		"{\"cmd\":\"events\",\"folow\":true}",
		"{\"cmd\":\"quit\"}",
		"\xff\xfe\x01",
		"{\"cmd\":\"\xff\"}",
		"{\"cmd\":\"st\\u0000at\"}",
		" ",
		"\r",
		"{\"cmd\":\"swap\"}",
	};
	struct peer *p = peer_new();

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		say(p, bad[i]);
		say(p, "\n");
		hear_error(p, "");
	}
	/* A zero byte, and empty lines, which mean nothing. */
	ck_assert_int_eq(send(p->fd, "{\"cmd\"\0:\"stat\"}\n", 16, 0), 16);
	hear_error(p, "");
	say(p, "\n\n\n{\"cmd\":\"stat\"}\n");
	hear_stat(p);
	ck_assert_int_eq(swapped_nic, -1);
	peer_free(p);
}
END_TEST

START_TEST(deep_nesting_is_an_error)
{
	struct peer *p = peer_new();
	char line[CONTROL_LINE_MAX];

	memset(line, '[', sizeof(line));
	line[sizeof(line) - 1] = '\n';
	ck_assert_int_eq(send(p->fd, line, sizeof(line), 0), sizeof(line));
	hear_error(p, "");
	say(p, "{\"cmd\":\"stat\"}\n");
	hear_stat(p);
	peer_free(p);
}
END_TEST

START_TEST(line_in_pieces)
{
	static const char line[] = "{\"cmd\":\"stat\"}\n";
	struct peer *p = peer_new(), *q = peer_new();

	for (size_t i = 0; i < sizeof(line) - 1; i++) {
		ck_assert_int_eq(send(p->fd, line + i, 1, 0), 1);
		if (i % 4 == 0)
			ck_assert(hear_nothing(p, 2));
		/* It keeps nobody else waiting. */
		say(q, line);
		hear_stat(q);
	}
	hear_stat(p);
	peer_free(p);
	peer_free(q);
}
END_TEST

START_TEST(line_without_newline)
{
	struct peer *p = peer_new();

	say(p, "{\"cmd\":\"stat\"}\n{\"cmd\":\"stat\"}");
	hear_stat(p);
	ck_assert(hear_nothing(p, 50));
	ck_assert_int_eq(shutdown(p->fd, SHUT_WR), 0);
	hear_stat(p);
	hear_end(p);
	peer_free(p);
	p = peer_new();
	say(p, "{\"cmd\":");
	ck_assert_int_eq(shutdown(p->fd, SHUT_WR), 0);
	hear_error(p, "");
	hear_end(p);
	peer_free(p);
}
END_TEST

START_TEST(line_too_long)
{
	struct peer *p = peer_new(), *q = peer_new();
	char blanks[CONTROL_LINE_MAX];

	/* The longest one that is allowed. */
	memset(blanks, ' ', sizeof(blanks));
	memcpy(blanks, "{\"cmd\":\"stat\"}", 14);
	blanks[sizeof(blanks) - 1] = '\n';
	ck_assert_int_eq(send(p->fd, blanks, sizeof(blanks), 0), sizeof(blanks));
	hear_stat(p);

	blanks[sizeof(blanks) - 1] = ' ';
	ck_assert_int_eq(send(p->fd, blanks, sizeof(blanks), 0), sizeof(blanks));
	hear_error(p, "too long");
	hear_end(p);
	peer_free(p);
	say(q, "{\"cmd\":\"stat\"}\n");
	hear_stat(q);
	peer_free(q);
}
END_TEST

START_TEST(many_requests_at_once)
{
	struct peer *p = peer_new();
	unsigned sent = 0;

	/* More than the replies that fit the socket, unread: the server stops reading. */
	while (sent < 5000) {
		if (send(p->fd, "{\"cmd\":\"stat\"}\n", 15, MSG_DONTWAIT | MSG_NOSIGNAL) < 15) {
			struct pollfd pfd = { .fd = p->fd, .events = POLLOUT };

			ck_assert_int_eq(errno, EAGAIN);
			if (poll(&pfd, 1, 100) == 0)
				break;
		} else {
			sent++;
		}
	}
	ck_assert_uint_lt(sent, 5000);
	for (unsigned i = 0; i < sent; i++)
		hear_stat(p);
	ck_assert(hear_nothing(p, 20));
	say(p, "{\"cmd\":\"stat\"}\n");
	hear_stat(p);
	peer_free(p);
}
END_TEST

START_TEST(peers_that_leave)
{
	struct peer *p;

	for (int i = 0; i < 200; i++) {
		p = peer_new();
		switch (i % 5) {
		case 0:
			break;
		case 1:
			say(p, "{\"cmd\":");
			break;
		case 2:
			for (int k = 0; k < 50; k++)
				say(p, "{\"cmd\":\"stat\"}\n");
			break;
		case 3:
			say(p, "{\"cmd\":\"events\",\"follow\":true}\n");
			break;
		case 4:
			say(p, "{\"cmd\":\"events\",\"follow\":true}\n");
			shutdown(p->fd, SHUT_WR);
			break;
		}
		if (i % 2)
			note(1);
		peer_free(p);
	}
	/* None of them has kept its place. */
	for (int i = 0; i < 2 * CONTROL_MAX_CLIENTS; i++) {
		p = peer_new();
		say(p, "{\"cmd\":\"stat\"}\n");
		hear_stat(p);
		peer_free(p);
	}
}
END_TEST

/* One that has said all it will say, and then is gone without an event to tell. */
START_TEST(silent_followers_that_leave)
{
	struct peer *p;

	for (int i = 0; i < CONTROL_MAX_CLIENTS + 4; i++) {
		p = peer_new();
		say(p, "{\"cmd\":\"events\",\"follow\":true}\n");
		ck_assert_int_eq(shutdown(p->fd, SHUT_WR), 0);
		ck_assert(hear_nothing(p, 5));
		peer_free(p);
	}
	usleep(50000);
	p = peer_new();
	say(p, "{\"cmd\":\"stat\"}\n");
	hear_stat(p);
	peer_free(p);
}
END_TEST

START_TEST(request_of_one_that_left)
{
	struct peer *p = peer_new();

	say(p, "{\"cmd\":\"swap\",\"nic\":\"beta.eth0\",\"binding\":\"direct\"}\n");
	peer_free(p);
	for (int i = 0; i < 500 && swapped_nic < 0; i++)
		usleep(10000);
	ck_assert_int_eq(swapped_nic, 1);
}
END_TEST

START_TEST(too_many_peers)
{
	struct peer *p[CONTROL_MAX_CLIENTS], *more;

	for (int i = 0; i < CONTROL_MAX_CLIENTS; i++) {
		p[i] = peer_new();
		say(p[i], "{\"cmd\":\"stat\"}\n");
		hear_stat(p[i]);
	}
	more = peer_new();
	hear_error(more, "too many");
	hear_end(more);
	peer_free(more);
	say(p[3], "{\"cmd\":\"stat\"}\n");
	hear_stat(p[3]);
	peer_free(p[3]);
	usleep(50000);
	p[3] = peer_new();
	say(p[3], "{\"cmd\":\"stat\"}\n");
	hear_stat(p[3]);
	for (int i = 0; i < CONTROL_MAX_CLIENTS; i++)
		peer_free(p[i]);
}
END_TEST

START_TEST(slow_reader_of_events)
{
	const long long nr = 20000;
	struct peer *p = peer_new(), *q = peer_new();
	long long last = 0, lost = 0;

	say(p, "{\"cmd\":\"events\",\"follow\":true}\n");
	for (int i = 0; i < nr / 100; i++) {
		note(100);
		usleep(500);
	}
	/* Others are served meanwhile. */
	say(q, "{\"cmd\":\"stat\"}\n");
	hear_stat(q);
	while (last < nr) {
		json_t *j = hear(p);

		ck_assert_ptr_nonnull(j);
		if (json_object_get(j, "lost")) {
			lost += number_of(j, "lost");
			last += number_of(j, "lost");
		} else {
			ck_assert_int_eq(number_of(j, "seq"), last + 1);
			last++;
		}
		json_decref(j);
	}
	ck_assert_int_eq(last, nr);
	ck_assert_int_gt(lost, 0);
	ck_assert_int_lt(lost, nr - REMAPPER_EVENTS);
	/* It goes on with those to come. */
	note(1);
	hear_event(p, nr + 1);
	peer_free(p);
	peer_free(q);
}
END_TEST

START_TEST(other_users_are_turned_away)
{
	int status;
	pid_t pid;

	if (geteuid() != 0)
		return; /* cannot become somebody else */
	/* Even if rights of files were wrong. */
	ck_assert_int_eq(chmod(dir_path, 0755), 0);
	ck_assert_int_eq(chmod(sock_path, 0666), 0);
	pid = fork();
	ck_assert_int_ge(pid, 0);
	if (pid == 0) {
		char c;
		int fd;

		if (setgid(NOBODY) || setuid(NOBODY))
			_exit(2);
		fd = lab_socket_connect(sock_path, 0);
		if (fd < 0)
			_exit(3);
		send(fd, "{\"cmd\":\"stat\"}\n", 15, MSG_NOSIGNAL);
		_exit(recv(fd, &c, 1, 0) > 0 ? 1 : 0);
	}
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert(WIFEXITED(status));
	ck_assert_int_eq(WEXITSTATUS(status), 0);
	ck_assert_int_eq(chmod(dir_path, 0700), 0);
}
END_TEST

START_TEST(out_of_descriptors)
{
	struct rlimit old, few;
	struct timespec cpu;
	struct peer *p = calloc(1, sizeof(*p));
	struct sockaddr_un sa = { .sun_family = AF_UNIX };
	double before;

	ck_assert_ptr_nonnull(p);
	p->fd = socket(AF_UNIX, SOCK_STREAM, 0);
	ck_assert_int_ge(p->fd, 0);
	strcpy(sa.sun_path, sock_path);
	ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &old), 0);
	few = old;
	few.rlim_cur = (rlim_t)p->fd + 1;
	ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &few), 0);
	ck_assert_int_eq(connect(p->fd, (struct sockaddr *)&sa, sizeof(sa)), 0);
	say(p, "{\"cmd\":\"stat\"}\n");
	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &cpu);
	before = (double)cpu.tv_sec + (double)cpu.tv_nsec / 1e9;
	ck_assert(hear_nothing(p, 300));
	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &cpu);
	/* It waits; it does not spin. */
	ck_assert_double_lt((double)cpu.tv_sec + (double)cpu.tv_nsec / 1e9 - before, 0.02);
	ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &old), 0);
	hear_stat(p);
	peer_free(p);
}
END_TEST

/* ---- the file ---- */

/* A socket file with nobody behind it. */
static void make_stale(const char *name)
{
	struct sockaddr_un sa = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);

	ck_assert_int_ge(fd, 0);
	snprintf(sa.sun_path, sizeof(sa.sun_path), "%s/%s", dir_path, name);
	ck_assert_int_eq(bind(fd, (struct sockaddr *)&sa, sizeof(sa)), 0);
	ck_assert_int_eq(listen(fd, 1), 0);
	close(fd);
}

static bool in_dir(const char *name)
{
	return faccessat(dir.fd, name, F_OK, AT_SYMLINK_NOFOLLOW) == 0;
}

static void touch(const char *name)
{
	int fd = openat(dir.fd, name, O_CREAT | O_WRONLY, 0600);

	ck_assert_int_ge(fd, 0);
	close(fd);
}

START_TEST(file_is_private_and_removed)
{
	struct stat st;

	ck_assert_int_eq(control_create_in(&control, &loop, &view, &dir), 0);
	ck_assert_int_eq(stat(sock_path, &st), 0);
	ck_assert(S_ISSOCK(st.st_mode));
	ck_assert_uint_eq(st.st_mode & 07777, 0600);
	control_destroy(control);
	ck_assert(!in_dir("demo.sock"));
	control_destroy(NULL);
}
END_TEST

START_TEST(stale_sockets_are_replaced)
{
	make_stale("demo.sock");
	make_stale("gone.sock");
	touch("net-1-0");
	touch("note.sock"); /* no socket: not ours to remove */
	ck_assert_int_eq(control_create_in(&control, &loop, &view, &dir), 0);
	ck_assert(!in_dir("gone.sock"));
	ck_assert(in_dir("net-1-0"));
	ck_assert(in_dir("note.sock"));
	ck_assert_int_eq(loop_start(&loop), 0);
	struct peer *p = peer_new();
	say(p, "{\"cmd\":\"stat\"}\n");
	hear_stat(p);
	peer_free(p);
	stop_server();
}
END_TEST

START_TEST(living_lab_keeps_its_name)
{
	struct control *second = NULL;
	struct lab_socket other;
	struct peer *p;

	ck_assert_int_eq(control_create_in(&control, &loop, &view, &dir), 0);
	ck_assert_int_eq(lab_socket_listen(&other, &dir, "other"), 0);
	log_set_level(LOG_ERROR);
	ck_assert_int_eq(control_create_in(&second, &loop, &view, &dir), -EADDRINUSE);
	ck_assert_ptr_null(second);
	ck_assert(in_dir("other.sock"));
	ck_assert_int_eq(loop_start(&loop), 0);
	p = peer_new();
	say(p, "{\"cmd\":\"stat\"}\n");
	hear_stat(p);
	peer_free(p);
	lab_socket_close(&other);
	lab_socket_close(&other);
	ck_assert(!in_dir("other.sock"));
	stop_server();
}
END_TEST

START_TEST(file_in_the_way)
{
	touch("demo.sock");
	ck_assert_int_eq(control_create_in(&control, &loop, &view, &dir), -EADDRINUSE);
	ck_assert(in_dir("demo.sock"));
	ck_assert_int_eq(unlinkat(dir.fd, "demo.sock", 0), 0);
	ck_assert_int_eq(symlinkat("/nowhere", dir.fd, "demo.sock"), 0);
	ck_assert_int_eq(control_create_in(&control, &loop, &view, &dir), -EADDRINUSE);
	ck_assert(in_dir("demo.sock"));
}
END_TEST

START_TEST(only_our_own_is_removed)
{
	struct lab_socket other;

	ck_assert_int_eq(control_create_in(&control, &loop, &view, &dir), 0);
	ck_assert_int_eq(unlinkat(dir.fd, "demo.sock", 0), 0);
	ck_assert_int_eq(lab_socket_listen(&other, &dir, "demo"), 0);
	control_destroy(control);
	ck_assert(in_dir("demo.sock"));
	lab_socket_close(&other);
	ck_assert(!in_dir("demo.sock"));
}
END_TEST

START_TEST(path_too_long)
{
	struct rundir deep;
	char path[200];

	snprintf(path, sizeof(path), "%s/%0100d", dir_path, 0);
	ck_assert_int_eq(rundir_open_at(&deep, path, true), 0);
	log_set_level((enum log_level) - 1);
	ck_assert_int_eq(control_create_in(&control, &loop, &view, &deep), -ENAMETOOLONG);
	rundir_close(&deep);
}
END_TEST

START_TEST(end_with_peers)
{
	struct peer *p, *q;

	ck_assert_int_eq(control_create_in(&control, &loop, &view, &dir), 0);
	ck_assert_int_eq(loop_start(&loop), 0);
	p = peer_new();
	q = peer_new();
	say(p, "{\"cmd\":\"events\",\"follow\":true}\n");
	say(q, "{\"cmd\":\"stat\"}\n");
	hear_stat(q);
	stop_server();
	hear_end(p);
	hear_end(q);
	peer_free(p);
	peer_free(q);
	note(3);
}
END_TEST

START_TEST(without_a_remapper)
{
	struct peer *p;

	view.remapper = NULL;
	ck_assert_int_eq(control_create_in(&control, &loop, &view, &dir), 0);
	ck_assert_int_eq(loop_start(&loop), 0);
	p = peer_new();
	say(p, "{\"cmd\":\"events\"}\n");
	hear_ok(p);
	peer_free(p);
	stop_server();
}
END_TEST

/* ---- the commands ---- */

static char output[65536];

static FILE *out_open(void)
{
	FILE *f;

	memset(output, 0, sizeof(output));
	f = fmemopen(output, sizeof(output) - 1, "w");
	ck_assert_ptr_nonnull(f);
	return f;
}

START_TEST(client_stat_prints)
{
	json_t *j;
	FILE *f = out_open();

	ck_assert_int_eq(client_stat(sock_path, false, f), 0);
	fclose(f);
	ck_assert_ptr_nonnull(strstr(output, "lab demo: pid "));
	ck_assert_ptr_nonnull(strstr(output, "GUEST  STATE       CPUS  MIB  RESTARTS  DISKS\n"));
	ck_assert_ptr_nonnull(
		strstr(output, "beta   restarting     1   64         7  beta.root\n"));
	ck_assert_ptr_nonnull(strstr(output, "alpha.eth0  lan0   direct!  up "));
	ck_assert_ptr_nonnull(strstr(output, ",g6.eth0 (mapped),g7.eth0 +4\n"));
	ck_assert_ptr_nonnull(strstr(output, "NIC         MAPS  RESCUES  NOT MAPPED\n"
					     "alpha.eth0   123      124\n"));
	ck_assert_ptr_nonnull(strstr(output, "beta.eth1    323      324  rings 256/128\n"));
	ck_assert_ptr_nonnull(strstr(output, "bridge:br0"));
	f = out_open();
	ck_assert_int_eq(client_stat(sock_path, true, f), 0);
	fclose(f);
	j = json_loads(output, 0, NULL);
	ck_assert_int_eq(number_of(j, "pid"), getpid());
	json_decref(j);
}
END_TEST

START_TEST(client_events_prints)
{
	FILE *f = out_open();

	note(2);
	ck_assert_int_eq(client_events(sock_path, false, false, f), 0);
	fclose(f);
	ck_assert_ptr_nonnull(strstr(
		output, " lan0: alpha.eth0: uplink -> direct, to beta.eth0: traffic: more of it; "
			"24 of 32 frames in 120 us; swapped in 80 us\n"));
	f = out_open();
	ck_assert_int_eq(client_events(sock_path, false, true, f), 0);
	fclose(f);
	ck_assert_ptr_nonnull(strstr(output, "\"seq\":2"));
	ck_assert_ptr_null(strstr(output, "\"ok\""));
	note(REMAPPER_EVENTS);
	f = out_open();
	ck_assert_int_eq(client_events(sock_path, false, false, f), 0);
	fclose(f);
	ck_assert_ptr_eq(strstr(output, "(2 earlier events are no longer known)\n"), output);
}
END_TEST

/* The line of the log, by the remapper's thread. */
START_TEST(changes_are_logged)
{
	struct xtalk_event ev = { .net = "lan0",
				  .nic = "alpha.eth0",
				  .peer = "beta.eth0",
				  .from = BINDING_MAPPED,
				  .to = BINDING_DIRECT,
				  .why = WHY_SLOTS,
				  .detail = "a buffer moved",
				  .swap_us = 80 };
	char path[128], text[2048];
	int saved = dup(2), fd;
	struct remapper *r;
	FILE *f;

	snprintf(path, sizeof(path), "%s/log", dir_path);
	fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	ck_assert_int_ge(fd, 0);
	log_set_level(LOG_INFO);
	dup2(fd, 2);
	ck_assert_int_eq(remapper_create(&r), 0);
	remapper_note(r, &ev);
	ev.to = ev.from;
	ev.swap_us = 0;
	ev.detail[0] = '\0';
	remapper_note(r, &ev);
	remapper_destroy(r);
	dup2(saved, 2);
	close(saved);
	f = fdopen(fd, "r");
	rewind(f);
	text[fread(text, 1, sizeof(text) - 1, f)] = '\0';
	fclose(f);
	ck_assert_ptr_nonnull(strstr(text, "alpha.eth0: mapped to direct (slots: a buffer moved, "
					   "swapped in 80 us)\n"));
	ck_assert_ptr_nonnull(strstr(text, "alpha.eth0: stays mapped (slots)\n"));
}
END_TEST

START_TEST(client_follows_until_the_lab_ends)
{
	int pipes[2], status;
	char buf[1024] = "";
	size_t len = 0;
	pid_t pid;

	ck_assert_int_eq(pipe(pipes), 0);
	note(1);
	pid = fork();
	ck_assert_int_ge(pid, 0);
	if (pid == 0) {
		FILE *f = fdopen(pipes[1], "w");

		close(pipes[0]);
		_exit(f ? client_events(sock_path, true, false, f) : 9);
	}
	close(pipes[1]);
	while (!strchr(buf, '\n')) {
		ssize_t n = read(pipes[0], buf + len, sizeof(buf) - 1 - len);

		ck_assert_int_gt(n, 0);
		len += (size_t)n;
	}
	note(1);
	ck_assert_int_gt(read(pipes[0], buf, sizeof(buf)), 0);
	stop_server();
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert(WIFEXITED(status));
	ck_assert_int_eq(WEXITSTATUS(status), 0);
	close(pipes[0]);
}
END_TEST

START_TEST(client_says_if_it_cannot_write)
{
	FILE *full = fopen("/dev/full", "w");

	if (!full)
		return;
	note(1);
	ck_assert_int_eq(client_stat(sock_path, false, full), 1);
	clearerr(full);
	ck_assert_int_eq(client_events(sock_path, true, true, full), 1);
	fclose(full);
}
END_TEST

START_TEST(one_that_does_not_answer)
{
	struct lab_socket s;
	int fd[64];
	char c;
	int nr;

	ck_assert_int_eq(lab_socket_listen(&s, &dir, "hung"), 0);
	snprintf(output, sizeof(output), "%s/hung.sock", dir_path);
	fd[0] = lab_socket_connect(output, 1);
	ck_assert_int_ge(fd[0], 0);
	ck_assert_int_eq(read(fd[0], &c, 1), -1);
	ck_assert_int_eq(errno, EAGAIN);
	/* Nor does it accept. */
	for (nr = 1; nr < 64; nr++) {
		fd[nr] = lab_socket_connect(output, 1);
		if (fd[nr] < 0)
			break;
	}
	ck_assert_int_lt(nr, 64);
	ck_assert_int_eq(fd[nr], -EAGAIN);
	while (nr--)
		close(fd[nr]);
	lab_socket_close(&s);
}
END_TEST

START_TEST(client_swap_asks)
{
	FILE *f = out_open();

	ck_assert_int_eq(client_swap(sock_path, "beta.eth0", "direct", f), 0);
	ck_assert_int_eq(swapped_nic, 1);
	log_set_level((enum log_level) - 1);
	ck_assert_int_eq(client_swap(sock_path, "nobody.eth0", "direct", f), 1);
	ck_assert_int_eq(client_swap(sock_path, "\xff", "direct", f), 1);
	swap_rc = -ENODEV;
	ck_assert_int_eq(client_swap(sock_path, "beta.eth0", "direct", f), 1);
	ck_assert_int_eq(client_stat("/nowhere/lab.sock", false, f), 1);
	fclose(f);
	ck_assert_str_eq(output, "beta.eth0: direct asked for\n");
}
END_TEST

/* A server that answers anything with `answer` (n bytes), then closes. */
static int against(const char *answer, size_t n, FILE *f)
{
	struct lab_socket s;
	char path[96];
	int status, rc;
	pid_t pid;

	ck_assert_int_eq(lab_socket_listen(&s, &dir, "fake"), 0);
	snprintf(path, sizeof(path), "%s/fake.sock", dir_path);
	pid = fork();
	ck_assert_int_ge(pid, 0);
	if (pid == 0) {
		struct pollfd pfd = { .fd = s.fd, .events = POLLIN };
		char c[256];
		int fd;

		poll(&pfd, 1, ANSWER_MS);
		fd = accept4(s.fd, NULL, NULL, 0);
		recv(fd, c, sizeof(c), 0);
		send(fd, answer, n, MSG_NOSIGNAL);
		_exit(0);
	}
	rc = client_stat(path, false, f);
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	lab_socket_close(&s);
	return rc;
}

START_TEST(client_meets_nonsense)
{
	static const char terminal[] =
		"{\"lab\":\"\\u001b[31m\",\"guests\":[{\"name\":\"\\u001b]0;x\\u0007\"},7],"
		"\"nics\":{},\"nets\":[[]],\"pid\":-5}\n";
	static const char none[] = "{\"guests\":null,\"nics\":[null],\"uptime_ms\":\"x\"}\n";
	FILE *f = out_open();

	log_set_level((enum log_level) - 1);
	ck_assert_int_eq(against("", 0, f), 1);
	ck_assert_int_eq(against("nonsense\n", 9, f), 1);
	ck_assert_int_eq(against("[1]\n", 4, f), 1);
	ck_assert_int_eq(against("\0\0\0\n", 4, f), 1);
	ck_assert_int_eq(against(none, strlen(none), f), 0);
	ck_assert_int_eq(against(terminal, strlen(terminal), f), 0);
	fclose(f);
	ck_assert_ptr_null(strchr(output, '\x1b'));
	ck_assert_ptr_null(strchr(output, '\x07'));
	ck_assert_ptr_nonnull(strstr(output, "lab ?[31m: pid 0"));
}
END_TEST

START_TEST(client_finds_the_lab)
{
	struct lab_socket second;
	struct rundir run;
	FILE *f = out_open();

	if (unshare(CLONE_NEWNS) || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) ||
	    mount("none", "/run", "tmpfs", 0, "mode=755")) {
		fclose(f);
		return; /* not permitted here */
	}
	log_set_level((enum log_level) - 1);
	ck_assert_int_eq(client_stat(NULL, false, f), 1);
	ck_assert_int_eq(control_create(&control, &loop, &view), 0);
	ck_assert_int_eq(access("/run/xvmm/demo.sock", F_OK), 0);
	ck_assert_int_eq(loop_start(&loop), 0);
	ck_assert_int_eq(client_stat(NULL, false, f), 0);
	ck_assert_int_eq(client_stat("demo", false, f), 0);
	ck_assert_int_eq(client_stat("dem", false, f), 1);
	ck_assert_int_eq(client_stat("../xvmm/demo", false, f), 1);
	ck_assert_int_eq(client_stat("a-name-that-is-longer-than-any-name-of-a-lab", false, f), 1);
	ck_assert_int_eq(rundir_open(&run, false), 0);
	ck_assert_int_eq(lab_socket_listen(&second, &run, "second"), 0);
	ck_assert_int_eq(client_stat(NULL, false, f), 1);
	ck_assert_int_eq(client_stat("demo", false, f), 0);
	lab_socket_close(&second);
	rundir_close(&run);
	stop_server();
	ck_assert_int_eq(client_stat("demo", false, f), 1);
	fclose(f);
}
END_TEST

/* ---- counters ---- */

START_TEST(counters_add_up)
{
	struct nic_counters a, b;
	uint64_t *x = (uint64_t *)&a, *y = (uint64_t *)&b;
	size_t nr = sizeof(a) / sizeof(*x);

	for (size_t i = 0; i < nr; i++) {
		x[i] = i + 1;
		y[i] = 1000 * (i + 1);
	}
	nic_counters_add(&a, &b);
	for (size_t i = 0; i < nr; i++)
		ck_assert_uint_eq(x[i], 1001 * (i + 1));
}
END_TEST

/* What earlier machines counted stays, also while nobody may touch the one that goes. */
START_TEST(counters_of_a_guest_between_machines)
{
	struct guest_nic kept[2] = { { .index = 1 }, { .index = 2 } };
	struct guest g = { .nics = kept, .nr_nics = 2, .lock = PTHREAD_MUTEX_INITIALIZER };
	struct nic_info info;

	kept[1].past.total.tx_frames = 100;
	kept[1].past.swaps = 3;
	kept[1].closing.total.tx_frames = 11;
	g.state = GUEST_STOPPING;
	g.machine = (struct machine *)8; /* another thread's now */
	guest_nic_info(&g, 2, &info);
	ck_assert(!info.plugged);
	ck_assert_uint_eq(info.counters.total.tx_frames, 111);
	ck_assert_uint_eq(info.counters.swaps, 3);
	ck_assert_int_eq(guest_nic_swap(&g, 2, true, BINDING_DIRECT), -ENODEV);
	guest_nic_info(&g, 1, &info);
	ck_assert_uint_eq(info.counters.total.tx_frames, 0);
	/* Not this guest's. */
	guest_nic_info(&g, 0, &info);
	ck_assert(!info.plugged);
	g.state = GUEST_ENDED;
	g.machine = NULL;
	guest_nic_info(&g, 2, &info);
	ck_assert_uint_eq(info.counters.total.tx_frames, 111);
}
END_TEST

static TCase *add_case(Suite *s, const char *name, void (*before)(void), void (*after)(void))
{
	TCase *tc = tcase_create(name);

	tcase_add_checked_fixture(tc, before, after);
	tcase_set_timeout(tc, 60);
	suite_add_tcase(s, tc);
	return tc;
}

int main(void)
{
	Suite *s = suite_create("control");
	SRunner *sr;
	TCase *tc;
	int failed;

	tc = add_case(s, "commands", setup, teardown);
	tcase_add_test(tc, stat_shows_the_lab);
	tcase_add_test(tc, events_that_are_kept);
	tcase_add_test(tc, events_are_followed);
	tcase_add_test(tc, kept_events_that_were_forgotten);
	tcase_add_test(tc, swap_asks_for_a_binding);
	tcase_add_test(tc, swap_says_what_is_wrong);
	tc = add_case(s, "peers", setup, teardown);
	tcase_add_test(tc, garbage_is_answered);
	tcase_add_test(tc, deep_nesting_is_an_error);
	tcase_add_test(tc, line_in_pieces);
	tcase_add_test(tc, line_without_newline);
	tcase_add_test(tc, line_too_long);
	tcase_add_test(tc, many_requests_at_once);
	tcase_add_test(tc, peers_that_leave);
	tcase_add_test(tc, silent_followers_that_leave);
	tcase_add_test(tc, request_of_one_that_left);
	tcase_add_test(tc, too_many_peers);
	tcase_add_test(tc, slow_reader_of_events);
	tcase_add_test(tc, other_users_are_turned_away);
	tcase_add_test(tc, out_of_descriptors);
	tc = add_case(s, "file", setup_dir, teardown_dir);
	tcase_add_test(tc, file_is_private_and_removed);
	tcase_add_test(tc, stale_sockets_are_replaced);
	tcase_add_test(tc, living_lab_keeps_its_name);
	tcase_add_test(tc, file_in_the_way);
	tcase_add_test(tc, only_our_own_is_removed);
	tcase_add_test(tc, path_too_long);
	tcase_add_test(tc, end_with_peers);
	tcase_add_test(tc, without_a_remapper);
	tc = add_case(s, "client", setup, teardown);
	tcase_add_test(tc, client_stat_prints);
	tcase_add_test(tc, client_events_prints);
	tcase_add_test(tc, changes_are_logged);
	tcase_add_test(tc, client_follows_until_the_lab_ends);
	tcase_add_test(tc, client_says_if_it_cannot_write);
	tcase_add_test(tc, one_that_does_not_answer);
	tcase_add_test(tc, client_swap_asks);
	tcase_add_test(tc, client_meets_nonsense);
	tc = add_case(s, "client finds", setup_dir, teardown_dir);
	tcase_add_test(tc, client_finds_the_lab);
	tc = tcase_create("counters");
	tcase_add_test(tc, counters_add_up);
	tcase_add_test(tc, counters_of_a_guest_between_machines);
	suite_add_tcase(s, tc);

	sr = srunner_create(s);
	srunner_run_all(sr, CK_ENV);
	failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed != 0;
}
