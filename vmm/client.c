/*
 * Commands that talk to a running lab: see client.h; the protocol is in control.h. One thread.
 */
#include "vmm/client.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/log.h"
#include "vmm/lab_socket.h"

/* The names of the labs that run, for messages. */
struct labs {
	char names[512];
	char only[CONFIG_NAME_MAX + 1];
	int nr;
};

static void add_lab(void *arg, const char *lab)
{
	struct labs *l = arg;
	size_t len = strlen(l->names);

	snprintf(l->names + len, sizeof(l->names) - len, "%s%s", len ? ", " : "", lab);
	snprintf(l->only, sizeof(l->only), "%s", lab);
}

static void find_labs(struct labs *l)
{
	struct rundir dir;

	memset(l, 0, sizeof(*l));
	if (rundir_open(&dir, false))
		return;
	l->nr = lab_socket_each(&dir, add_lab, l);
	rundir_close(&dir);
}

static int no_such_lab(const char *lab, const struct labs *l)
{
	if (l->nr > 0)
		log_error(NULL, "no lab %s is running; these are: %s", lab, l->names);
	else
		log_error(NULL, "no lab %s is running, nor any other of this user", lab);
	return -ENOENT;
}

/* A connection, or a line on standard error and -errno. */
static int connect_lab(const char *lab)
{
	char path[sizeof(((struct rundir *)0)->path) + CONFIG_NAME_MAX + 8];
	struct rundir dir;
	struct labs labs;
	int rc;

	if (lab && strchr(lab, '/')) {
		rc = lab_socket_connect(lab, CLIENT_TIMEOUT_S);
		if (rc < 0)
			log_error(NULL, "%s: %s", lab,
				  rc == -ECONNREFUSED ? "no lab listens there" : strerror(-rc));
		return rc;
	}
	find_labs(&labs);
	if (!lab) {
		if (labs.nr > 1) {
			log_error(NULL, "which lab? these are running: %s", labs.names);
			return -EINVAL;
		}
		if (labs.nr < 1) {
			log_error(NULL, "no lab of this user is running");
			return -ENOENT;
		}
		lab = labs.only;
	}
	if (strlen(lab) > CONFIG_NAME_MAX || rundir_open(&dir, false))
		return no_such_lab(lab, &labs);
	snprintf(path, sizeof(path), "%s/%s" LAB_SOCKET_SUFFIX, dir.path, lab);
	rundir_close(&dir);
	rc = lab_socket_connect(path, CLIENT_TIMEOUT_S);
	if (rc == -ENOENT || rc == -ECONNREFUSED)
		return no_such_lab(lab, &labs);
	if (rc < 0)
		log_error(NULL, "lab %s: %s", lab, strerror(-rc));
	return rc;
}

/* -- One connection -- */

struct session {
	FILE *in;
	char *line;
	size_t room;
};

static int send_all(int fd, const char *data, size_t len)
{
	while (len) {
		ssize_t n = send(fd, data, len, MSG_NOSIGNAL);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		data += n;
		len -= (size_t)n;
	}
	return 0;
}

static void session_end(struct session *s)
{
	if (s->in)
		fclose(s->in);
	free(s->line);
}

/* Connects and sends the request (takes its reference). Errors: a line on standard error. */
static int session_begin(struct session *s, const char *lab, json_t *request)
{
	char *line = request ? json_dumps(request, JSON_COMPACT) : NULL;
	int fd, rc = -ENOMEM;

	memset(s, 0, sizeof(*s));
	json_decref(request);
	if (!line) {
		/* Text that is no UTF-8 can name nothing of a lab, either. */
		log_error(NULL, "not a request that can be sent");
		return -EINVAL;
	}
	fd = connect_lab(lab);
	if (fd < 0) {
		free(line);
		return fd;
	}
	s->in = fdopen(fd, "r");
	if (!s->in)
		close(fd);
	else
		rc = send_all(fd, line, strlen(line));
	if (!rc)
		rc = send_all(fd, "\n", 1);
	free(line);
	if (rc) {
		log_error(NULL, "the lab cannot be asked: %s", strerror(-rc));
		session_end(s);
	}
	return rc;
}

/* The next object, or NULL at the end (*rc = 0) or after a line on standard error. An error that
 * the lab reports is one, too. */
static json_t *session_next(struct session *s, int *rc)
{
	json_error_t err;
	const char *why;
	json_t *j;

	errno = 0;
	*rc = 0;
	if (getline(&s->line, &s->room, s->in) < 0) {
		*rc = -errno;
		if (*rc == -EAGAIN)
			log_error(NULL, "the lab has not answered for %u s", CLIENT_TIMEOUT_S);
		else if (*rc && *rc != -ECONNRESET)
			log_error(NULL, "the lab's answer: %s", strerror(-*rc));
		else
			*rc = 0;
		return NULL;
	}
	j = json_loads(s->line, 0, &err);
	if (!json_is_object(j)) {
		json_decref(j);
		log_error(NULL, "the lab's answer is no JSON object");
		*rc = -EPROTO;
		return NULL;
	}
	why = json_string_value(json_object_get(j, "error"));
	if (why) {
		log_error(NULL, "%s", why);
		json_decref(j);
		*rc = -EINVAL;
		return NULL;
	}
	return j;
}

/* The only object of an answer. */
static json_t *session_one(struct session *s)
{
	int rc;
	json_t *j = session_next(s, &rc);

	if (!j && !rc)
		log_error(NULL, "the lab has ended");
	return j;
}

/* -- Commands -- */

/* Shows one object. Errors: who would have read it is gone, or the disk is full. */
static int show(const json_t *j, bool json, void (*fn)(const json_t *j, FILE *out), FILE *out)
{
	if (json) {
		json_dumpf(j, out, JSON_COMPACT);
		putc('\n', out);
	} else {
		fn(j, out);
	}
	if (!fflush(out) && !ferror(out))
		return 0;
	log_error(NULL, "output: %s", strerror(errno));
	return -EIO;
}

int client_stat(const char *lab, bool json, FILE *out)
{
	struct session s;
	json_t *stat;
	int rc;

	if (session_begin(&s, lab, json_pack("{s:s}", "cmd", "stat")))
		return 1;
	stat = session_one(&s);
	session_end(&s);
	if (!stat)
		return 1;
	rc = show(stat, json, client_show_stat, out);
	json_decref(stat);
	return rc ? 1 : 0;
}

int client_events(const char *lab, bool follow, bool json, FILE *out)
{
	struct session s;
	bool complete = false;
	json_t *event;
	int rc;

	if (session_begin(&s, lab, json_pack("{s:s, s:b}", "cmd", "events", "follow", follow)))
		return 1;
	if (follow)
		lab_socket_set_timeout(fileno(s.in), 0);
	while (!complete && (event = session_next(&s, &rc))) {
		complete = json_object_get(event, "ok");
		if (!complete)
			rc = show(event, json, client_show_event, out);
		json_decref(event);
		if (rc)
			break;
	}
	session_end(&s);
	if (!rc && !complete && !follow) {
		log_error(NULL, "the lab has ended");
		rc = -EPIPE;
	}
	return rc ? 1 : 0;
}

int client_swap(const char *lab, const char *nic, const char *binding, FILE *out)
{
	struct session s;
	json_t *answer;

	if (session_begin(
		    &s, lab,
		    json_pack("{s:s, s:s, s:s}", "cmd", "swap", "nic", nic, "binding", binding)))
		return 1;
	answer = session_one(&s);
	session_end(&s);
	if (!answer)
		return 1;
	json_decref(answer);
	fprintf(out, "%s: %s asked for\n", nic, binding);
	return 0;
}
