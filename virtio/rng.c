/*
 * Entropy device. Source: VIRTIO 1.2, section 5.4.
 *
 * Thread: the device's loop. No locks.
 */
#include <errno.h>
#include <linux/virtio_ids.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "virtio/devices.h"

#define QUEUE_SIZE 64
/* A guest may ask for gigabytes at once. The device may give less than the buffer holds (5.4.6),
 * and others on the loop want their turn. */
#define BYTES_PER_BUFFER KIB(16)
#define BUFFERS_PER_TURN 16

struct virtio_rng {
	struct virtio_dev dev;
	struct loop_work again;
	struct log_limit limit;
	struct virtq_chain chain;
};

static struct virtio_rng *rng_of(struct virtio_dev *dev)
{
	return container_of(dev, struct virtio_rng, dev);
}

static size_t fill(struct virtio_rng *rng, const struct iovec *iov, unsigned nr)
{
	size_t done = 0;

	for (unsigned i = 0; i < nr && done < BYTES_PER_BUFFER; i++) {
		size_t in_seg = 0;

		while (in_seg < iov[i].iov_len && done < BYTES_PER_BUFFER) {
			size_t want = iov[i].iov_len - in_seg;
			ssize_t n;

			if (want > BYTES_PER_BUFFER - done)
				want = BYTES_PER_BUFFER - done;
			n = getrandom((uint8_t *)iov[i].iov_base + in_seg, want, 0);
			if (n < 0 && errno == EINTR)
				continue;
			if (n <= 0) {
				log_limited(&rng->limit, LOG_WARN, rng->dev.name, "getrandom: %s",
					    strerror(errno));
				return done;
			}
			in_seg += (size_t)n;
			done += (size_t)n;
		}
	}
	return done;
}

/* True if there may be more to do. */
static bool serve(struct virtio_rng *rng)
{
	struct virtq *vq = &rng->dev.vq[0];

	for (unsigned i = 0; i < BUFFERS_PER_TURN; i++) {
		struct virtq_chain *c = &rng->chain;
		int ret = virtq_pop(vq, c);

		if (ret < 0) {
			virtio_guest_fault(&rng->dev, vq->why_broken);
			return false;
		}
		if (!ret)
			return false;
		if (!c->nr_in) {
			virtio_guest_fault(&rng->dev, "entropy request without a buffer");
			return false;
		}
		virtq_push(vq, c->head, (uint32_t)fill(rng, c->iov + c->nr_out, c->nr_in));
	}
	return true;
}

static void rng_kick(struct virtio_dev *dev, unsigned q)
{
	struct virtio_rng *rng = rng_of(dev);
	struct virtq *vq = &dev->vq[0];
	bool more;

	virtq_disable_doorbell(vq);
	more = serve(rng);
	if (!dev->live)
		return;
	virtio_publish(dev, 0);
	if (more || virtq_enable_doorbell(vq))
		loop_post(dev->loop, &rng->again);
}

static void rng_again(struct loop_work *w)
{
	struct virtio_rng *rng = container_of(w, struct virtio_rng, again);

	if (rng->dev.live && rng->dev.vq[0].enabled)
		rng_kick(&rng->dev, 0);
}

static int rng_start(struct virtio_dev *dev)
{
	return 0;
}

static void rng_stop(struct virtio_dev *dev)
{
	/* Every request is finished before kick() returns. */
}

static const struct virtio_dev_ops rng_ops = {
	.start = rng_start,
	.stop = rng_stop,
	.kick = rng_kick,
};

int virtio_rng_create(struct virtio_rng **out, const char *name, struct loop *loop,
		      struct platform *plat)
{
	static const uint16_t sizes[] = { QUEUE_SIZE };
	struct virtio_rng *rng = calloc(1, sizeof(*rng));

	if (!rng)
		return -ENOMEM;
	virtio_dev_init(&rng->dev, name, VIRTIO_ID_RNG, 0, sizes, ARRAY_SIZE(sizes), &rng_ops, loop,
			plat);
	rng->again.fn = rng_again;
	*out = rng;
	return 0;
}

struct virtio_dev *virtio_rng_dev(struct virtio_rng *rng)
{
	return &rng->dev;
}

void virtio_rng_destroy(struct virtio_rng *rng)
{
	free(rng);
}
