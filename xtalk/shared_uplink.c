/*
 * A physical device that all members of a net share: read on a thread of its own, written by
 * whoever sends.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

#include "xtalk/switch_internal.h"

#define BATCH_FRAMES 64
/* Longer than any frame, so that one that is too long shows. */
#define BUF_BYTES (FRAME_MAX_BYTES + 64)

struct shared_uplink {
	struct netswitch *sw;
	int fd;
	struct loop loop;
	struct loop_fd h;
	struct loop_work resume_work;
	struct delivery delivery;
	bool held; /* `frame` waits for a receiver; nothing is read meanwhile */
	struct frame frame;
	uint8_t buf[BUF_BYTES];
};

int shared_uplink_send(struct shared_uplink *u, const struct frame *f)
{
	struct iovec iov[FRAME_MAX_IOV + 2];
	ssize_t n;

	iov[0] = (struct iovec){ (void *)&f->hdr, sizeof(f->hdr) };
	iov[1] = (struct iovec){ (void *)f->head, f->head_len };
	memcpy(iov + 2, f->iov, f->iovcnt * sizeof(*iov));
	do {
		n = writev(u->fd, iov, (int)f->iovcnt + 2);
	} while (n < 0 && errno == EINTR);
	return n < 0 ? -errno : 0;
}

/* Reads one frame. 1; 0: there is none; -errno. */
static int read_one(struct shared_uplink *u)
{
	struct frame *f = &u->frame;
	struct iovec iov[2] = { { &f->hdr, sizeof(f->hdr) }, { u->buf, sizeof(u->buf) } };
	ssize_t n;

	do {
		n = readv(u->fd, iov, 2);
	} while (n < 0 && errno == EINTR);
	if (n < 0)
		return errno == EAGAIN ? 0 : -errno;
	if (n == 0)
		return -EIO;
	f->len = n > VNET_HDR_BYTES ? (uint32_t)n - VNET_HDR_BYTES : 0;
	if (f->len > FRAME_MAX_BYTES)
		f->len = 0;
	f->head_len = f->len < FRAME_HEAD_BYTES ? f->len : FRAME_HEAD_BYTES;
	memcpy(f->head, u->buf, f->head_len);
	f->iov[0] = (struct iovec){ u->buf + f->head_len, f->len - f->head_len };
	f->iovcnt = 1;
	return 1;
}

static void lost(struct shared_uplink *u, int err)
{
	/* Its error condition would be reported for ever. */
	loop_del(&u->loop, &u->h);
	log_error(u->sw->p.name, "the uplink is gone (%s): the net goes on without it",
		  strerror(err));
}

static void hold(struct shared_uplink *u, bool held)
{
	u->held = held;
	loop_mod(&u->loop, &u->h, held ? 0 : EPOLLIN);
}

static void on_resume(struct loop_work *w)
{
	struct shared_uplink *u = container_of(w, struct shared_uplink, resume_work);
	int rc;

	if (!u->held)
		return;
	pthread_rwlock_rdlock(&u->sw->lock);
	rc = steer_from_shared(u->sw, &u->delivery, &u->frame);
	delivery_end(&u->delivery);
	pthread_rwlock_unlock(&u->sw->lock);
	if (rc != -EAGAIN)
		hold(u, false);
}

void shared_uplink_resume(struct shared_uplink *u)
{
	loop_post(&u->loop, &u->resume_work);
}

static void on_event(struct loop_fd *h, uint32_t events)
{
	struct shared_uplink *u = container_of(h, struct shared_uplink, h);
	struct netswitch *sw = u->sw;
	int rc = 0;

	if (u->held)
		return;
	pthread_rwlock_rdlock(&sw->lock);
	for (unsigned n = 0; n < BATCH_FRAMES; n++) {
		rc = read_one(u);
		if (rc <= 0)
			break;
		switch_count(&sw->stats.uplink_rx, 1);
		if (steer_from_shared(sw, &u->delivery, &u->frame) == -EAGAIN) {
			hold(u, true);
			break;
		}
	}
	delivery_end(&u->delivery);
	pthread_rwlock_unlock(&sw->lock);
	if (rc < 0 || (rc == 0 && events & (EPOLLERR | EPOLLHUP)))
		lost(u, rc < 0 ? -rc : EIO);
}

int shared_uplink_create(struct shared_uplink **out, struct netswitch *sw, int fd)
{
	struct shared_uplink *u = calloc(1, sizeof(*u));
	int err;

	if (!u)
		return -ENOMEM;
	u->sw = sw;
	u->fd = fd;
	err = loop_init(&u->loop, sw->p.name);
	if (err)
		goto out_free;
	u->h.fd = fd;
	u->h.fn = on_event;
	u->resume_work.fn = on_resume;
	err = loop_add(&u->loop, &u->h, EPOLLIN);
	if (!err)
		err = loop_start(&u->loop);
	if (err)
		goto out_loop;
	*out = u;
	return 0;

out_loop:
	loop_del(&u->loop, &u->h);
	loop_fini(&u->loop);
out_free:
	free(u);
	return err;
}

void shared_uplink_destroy(struct shared_uplink *u)
{
	if (!u)
		return;
	loop_stop(&u->loop);
	loop_del(&u->loop, &u->h);
	loop_fini(&u->loop);
	free(u);
}
