/*
 * The control socket's server: see control.h for the protocol.
 *
 * Main thread, on its loop; no locks of its own. A connection is in one of three states:
 *
 *   reading    nothing to send: requests are read and answered
 *   sending    a reply has not gone out whole: nothing is read
 *   streaming  binding changes are fetched from the remapper whenever there is nothing to send
 *
 * So what a peer can make us keep is one request and one reply. Events are kept by the remapper
 * only, which forgets the oldest; a gap in their numbers shows that this reader was too slow.
 */
#include "vmm/control.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "base/log.h"
#include "vmm/lab_socket.h"

#define EVENTS_AT_ONCE	16
#define ACCEPT_PAUSE_NS UINT64_C(1000000000)

enum streaming { STREAM_NONE, STREAM_KEPT, STREAM_FOLLOW };

struct client {
	struct control *control;
	struct loop_fd h;
	bool used;
	uint32_t polled;
	bool eof;     /* the peer sends no more */
	bool closing; /* as soon as the reply is out */
	enum streaming streaming;
	uint64_t after; /* the last event that was sent, or is taken for lost */
	size_t in_len;
	char *out; /* the reply, NULL if there is none */
	size_t out_len, out_room, out_sent;
	char in[CONTROL_LINE_MAX];
};

struct control {
	const struct lab_view *view;
	struct loop *loop;
	struct lab_socket socket;
	uint64_t started_ms;
	struct loop_fd listener;
	struct loop_fd events;		/* of the remapper */
	struct loop_timer accept_timer; /* no descriptors left: listen again later */
	struct log_limit denied_log;
	struct client client[CONTROL_MAX_CLIENTS];
};

static uint64_t now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

/* -- Sending -- */

static void client_close(struct client *c)
{
	loop_del(c->control->loop, &c->h);
	close(c->h.fd);
	free(c->out);
	c->out = NULL;
	c->used = false;
}

static int append(const char *data, size_t len, void *arg)
{
	struct client *c = arg;

	if (len > c->out_room - c->out_len) {
		size_t room = 2 * c->out_room + len + 1024;
		char *out = realloc(c->out, room);

		if (!out)
			return -1;
		c->out = out;
		c->out_room = room;
	}
	memcpy(c->out + c->out_len, data, len);
	c->out_len += len;
	return 0;
}

/* Adds a line to the reply; takes the reference. Without memory the connection ends. */
static void reply(struct client *c, json_t *object)
{
	if (!object || json_dump_callback(object, append, c, JSON_COMPACT) || append("\n", 1, c))
		c->closing = true;
	json_decref(object);
}

static void reply_error(struct client *c, const char *why)
{
	reply(c, control_error("%s", why));
}

/* True: the reply is out, or there was none. False: later, or the peer is gone (c->used tells). */
static bool flush(struct client *c)
{
	while (c->out_sent < c->out_len) {
		ssize_t n = send(c->h.fd, c->out + c->out_sent, c->out_len - c->out_sent,
				 MSG_NOSIGNAL | MSG_DONTWAIT);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN)
			return false;
		if (n < 0) {
			client_close(c);
			return false;
		}
		c->out_sent += (size_t)n;
	}
	free(c->out);
	c->out = NULL;
	c->out_len = c->out_room = c->out_sent = 0;
	return true;
}

/* -- Requests -- */

static void do_stat(struct client *c, json_t *request)
{
	json_error_t err;
	const char *cmd;

	if (json_unpack_ex(request, &err, JSON_STRICT, "{s:s}", "cmd", &cmd)) {
		reply_error(c, err.text);
		return;
	}
	reply(c, control_stat(c->control->view, now_ms() - c->control->started_ms));
}

static void do_events(struct client *c, json_t *request)
{
	json_int_t after = 0;
	json_error_t err;
	const char *cmd;
	int follow = 0;

	if (json_unpack_ex(request, &err, JSON_STRICT, "{s:s, s?I, s?b}", "cmd", &cmd, "after",
			   &after, "follow", &follow)) {
		reply_error(c, err.text);
		return;
	}
	if (after < 0) {
		reply_error(c, "after must not be negative");
		return;
	}
	c->after = (uint64_t)after;
	c->streaming = follow ? STREAM_FOLLOW : STREAM_KEPT;
}

static int find_nic(const struct lab_config *cfg, const char *name)
{
	for (unsigned i = 0; i < cfg->nr_nics; i++) {
		if (!strcmp(cfg->nic[i].full_name, name))
			return (int)i;
	}
	return -1;
}

static void do_swap(struct client *c, json_t *request)
{
	const struct lab_view *v = c->control->view;
	const char *cmd, *name, *binding;
	enum binding b = BINDING_UPLINK;
	json_error_t err;
	bool pin = true;
	int nic, rc;

	if (json_unpack_ex(request, &err, JSON_STRICT, "{s:s, s:s, s:s}", "cmd", &cmd, "nic", &name,
			   "binding", &binding)) {
		reply_error(c, err.text);
		return;
	}
	if (!strcmp(binding, "direct")) {
		b = BINDING_DIRECT;
	} else if (!strcmp(binding, "mapped")) {
		b = BINDING_MAPPED;
	} else if (!strcmp(binding, "auto")) {
		pin = false;
	} else if (strcmp(binding, "uplink")) {
		reply(c, control_error("no binding %s: it can be uplink, direct, mapped or auto",
				       binding));
		return;
	}
	nic = find_nic(v->cfg, name);
	if (nic < 0) {
		reply(c, control_error("lab %s has no NIC %s", v->cfg->name, name));
		return;
	}
	rc = v->ops->swap(v, (unsigned)nic, pin, b);
	if (!rc)
		reply(c, json_pack("{s:b}", "ok", 1));
	else if (rc == -ENODEV)
		reply(c, control_error("the guest of %s is not running", name));
	else if (rc == -ENOTSUP)
		reply(c, control_error("%s on net %s cannot be bound like that", name,
				       v->cfg->net[v->cfg->nic[nic].net].name));
	else
		reply(c, control_error("%s: %s", name, strerror(-rc)));
}

static void handle(struct client *c, const char *line, size_t len)
{
	static const struct {
		const char *cmd;
		void (*fn)(struct client *c, json_t *request);
	} commands[] = { { "stat", do_stat }, { "events", do_events }, { "swap", do_swap } };
	json_t *request;
	json_error_t err;
	const char *cmd;

	c->streaming = STREAM_NONE;
	request = json_loadb(line, len, JSON_REJECT_DUPLICATES, &err);
	if (!request) {
		reply(c, control_error("not a JSON object: %s", err.text));
		return;
	}
	cmd = json_string_value(json_object_get(request, "cmd"));
	for (size_t i = 0; i < ARRAY_SIZE(commands); i++) {
		if (cmd && !strcmp(cmd, commands[i].cmd)) {
			commands[i].fn(c, request);
			json_decref(request);
			return;
		}
	}
	reply_error(c, cmd ? "unknown cmd: stat, events and swap are known"
			   : "not a request: {\"cmd\":\"stat\"} would be one");
	json_decref(request);
}

/* Sends some of the events that are due. False: there are none. */
static bool stream(struct client *c)
{
	struct xtalk_event ev[EVENTS_AT_ONCE];
	struct remapper *r = c->control->view->remapper;
	unsigned n = r ? remapper_events(r, c->after, ev, EVENTS_AT_ONCE) : 0;

	for (unsigned i = 0; i < n; i++) {
		if (ev[i].seq > c->after + 1)
			reply(c,
			      json_pack("{s:I}", "lost", (json_int_t)(ev[i].seq - c->after - 1)));
		reply(c, control_event(&ev[i]));
		c->after = ev[i].seq;
	}
	if (n || c->streaming == STREAM_FOLLOW)
		return n;
	c->streaming = STREAM_NONE;
	reply(c, json_pack("{s:b, s:I}", "ok", 1, "seq", (json_int_t)c->after));
	return true;
}

/* Answers the next request that is here whole. False: there is none. */
static bool next_request(struct client *c)
{
	char *end = memchr(c->in, '\n', c->in_len);
	size_t len = end ? (size_t)(end - c->in) : c->in_len, used = end ? len + 1 : len;

	if (!end && c->in_len == sizeof(c->in)) {
		reply_error(c, "the line is too long");
		c->closing = true;
		return true;
	}
	/* Without its newline, but nothing will follow: it is meant as a line. */
	if (!used || (!end && !c->eof))
		return false;
	if (len)
		handle(c, c->in, len);
	c->in_len -= used;
	memmove(c->in, c->in + used, c->in_len);
	return true;
}

/* Does all that can be done now, and asks to be called for the rest. */
static void client_run(struct client *c)
{
	bool sent;
	uint32_t want;

	while ((sent = flush(c))) {
		if (c->closing || (c->eof && !c->in_len && c->streaming == STREAM_NONE)) {
			client_close(c);
			return;
		}
		if (c->streaming != STREAM_NONE && stream(c))
			continue;
		if (!next_request(c))
			break;
	}
	if (!c->used)
		return;
	/* At the end of input only a stream goes on. */
	want = !sent ? EPOLLOUT : c->eof ? 0 : EPOLLIN;
	if (want != c->polled && loop_mod(c->control->loop, &c->h, want))
		client_close(c);
	c->polled = want;
}

static void on_client(struct loop_fd *h, uint32_t events)
{
	struct client *c = container_of(h, struct client, h);
	ssize_t n;

	if (events & EPOLLIN) {
		n = recv(h->fd, c->in + c->in_len, sizeof(c->in) - c->in_len, MSG_DONTWAIT);
		if (n > 0)
			c->in_len += (size_t)n;
		else if (n == 0)
			c->eof = true;
		else if (errno != EAGAIN && errno != EINTR)
			events |= EPOLLERR;
	}
	client_run(c);
	/* Nobody is there to read; but what was sent before that is still carried out. */
	if (c->used && (events & EPOLLERR || (events & EPOLLHUP && (c->eof || c->out))))
		client_close(c);
}

static void on_events(struct loop_fd *h, uint32_t events)
{
	struct control *k = container_of(h, struct control, events);
	uint64_t n;

	if (read(h->fd, &n, sizeof(n)) < 0)
		return;
	for (unsigned i = 0; i < CONTROL_MAX_CLIENTS; i++) {
		if (k->client[i].used && k->client[i].streaming != STREAM_NONE)
			client_run(&k->client[i]);
	}
}

/* -- Connections -- */

static bool peer_allowed(struct control *k, int fd)
{
	struct ucred peer;
	socklen_t len = sizeof(peer);

	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &len) < 0)
		return false;
	if (peer.uid == geteuid() || peer.uid == 0)
		return true;
	log_limited(&k->denied_log, LOG_WARN, NULL, "control socket: user %u was turned away",
		    (unsigned)peer.uid);
	return false;
}

static void welcome(struct control *k, int fd)
{
	static const char full[] = "{\"error\":\"too many connections\"}\n";
	struct client *c = k->client;

	while (c < k->client + CONTROL_MAX_CLIENTS && c->used)
		c++;
	if (c == k->client + CONTROL_MAX_CLIENTS) {
		send(fd, full, sizeof(full) - 1, MSG_NOSIGNAL | MSG_DONTWAIT);
		close(fd);
		return;
	}
	memset(c, 0, offsetof(struct client, in));
	c->control = k;
	c->h = (struct loop_fd){ .fd = fd, .fn = on_client };
	c->polled = EPOLLIN;
	if (loop_add(k->loop, &c->h, EPOLLIN)) {
		close(fd);
		return;
	}
	c->used = true;
}

static void on_connect(struct loop_fd *h, uint32_t events)
{
	struct control *k = container_of(h, struct control, listener);
	int fd = accept4(h->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

	if (fd < 0) {
		if (errno == EAGAIN || errno == EINTR || errno == ECONNABORTED)
			return;
		/* Out of descriptors or memory: the connection stays pending, and would wake us
		 * again and again. */
		loop_del(k->loop, h);
		loop_timer_arm(&k->accept_timer, ACCEPT_PAUSE_NS);
		return;
	}
	if (peer_allowed(k, fd))
		welcome(k, fd);
	else
		close(fd);
}

static void on_accept_timer(struct loop_timer *t)
{
	struct control *k = container_of(t, struct control, accept_timer);

	if (!k->listener.added && loop_add(k->loop, &k->listener, EPOLLIN))
		loop_timer_arm(t, ACCEPT_PAUSE_NS);
}

/* -- The server -- */

int control_create_in(struct control **out, struct loop *main_loop, const struct lab_view *view,
		      const struct rundir *dir)
{
	struct control *k = calloc(1, sizeof(*k));
	int rc;

	if (!k)
		return -ENOMEM;
	k->view = view;
	k->loop = main_loop;
	k->started_ms = now_ms();
	k->socket.fd = k->socket.dir.fd = -1;
	k->listener = (struct loop_fd){ .fd = -1, .fn = on_connect };
	k->events.fn = on_events;
	rc = loop_timer_init(main_loop, &k->accept_timer, on_accept_timer);
	if (!rc)
		rc = lab_socket_listen(&k->socket, dir, view->cfg->name);
	if (!rc) {
		k->listener.fd = k->socket.fd;
		rc = loop_add(main_loop, &k->listener, EPOLLIN);
	}
	if (!rc && view->remapper) {
		k->events.fd = remapper_event_fd(view->remapper);
		rc = loop_add(main_loop, &k->events, EPOLLIN);
	}
	if (!rc) {
		*out = k;
		return 0;
	}
	if (rc == -EADDRINUSE)
		log_warn(NULL,
			 "a lab of the name %s is running: this one has no control socket, "
			 "xvmm stat will show the other",
			 view->cfg->name);
	else
		log_warn(NULL, "no control socket in %s: %s", dir->path, strerror(-rc));
	control_destroy(k);
	return rc;
}

int control_create(struct control **out, struct loop *main_loop, const struct lab_view *view)
{
	struct rundir dir;
	int rc = rundir_open(&dir, true);

	if (rc) {
		log_warn(NULL, "no control socket: no run directory: %s", strerror(-rc));
		return rc;
	}
	rc = control_create_in(out, main_loop, view, &dir);
	rundir_close(&dir);
	return rc;
}

void control_destroy(struct control *k)
{
	if (!k)
		return;
	for (unsigned i = 0; i < CONTROL_MAX_CLIENTS; i++) {
		if (k->client[i].used)
			client_close(&k->client[i]);
	}
	loop_del(k->loop, &k->events);
	loop_del(k->loop, &k->listener);
	loop_timer_fini(k->loop, &k->accept_timer);
	lab_socket_close(&k->socket);
	free(k);
}
