/* See mock_driver.h. */
#include "tests/unit/mock_driver.h"

#include <endian.h>
#include <linux/virtio_config.h>
#include <linux/virtio_ring.h>
#include <string.h>

static void *at(const struct gmem *mem, gpa_t gpa, uint64_t len)
{
	void *p = gmem_ptr(mem, gpa, len);

	mock_require(p);
	return p;
}

static void put16(struct gmem *mem, gpa_t gpa, uint16_t v)
{
	__atomic_store_n((uint16_t *)at(mem, gpa, 2), htole16(v), __ATOMIC_RELEASE);
}

static uint16_t get16(const struct gmem *mem, gpa_t gpa)
{
	return le16toh(__atomic_load_n((uint16_t *)at(mem, gpa, 2), __ATOMIC_ACQUIRE));
}

gpa_t mock_ring_init(struct mock_ring *r, struct gmem *mem, gpa_t base, uint16_t size)
{
	uint64_t bytes;

	memset(r, 0, sizeof(*r));
	r->mem = mem;
	r->size = size;
	r->desc = ALIGN_UP(base, 16);
	r->avail = r->desc + 16ull * size;
	r->used = ALIGN_UP(r->avail + 6 + 2ull * size, 4);
	bytes = r->used + 6 + 8ull * size - r->desc;
	memset(at(mem, r->desc, bytes), 0, bytes);
	return r->desc + bytes;
}

void mock_ring_attach(const struct mock_ring *r, struct virtq *vq)
{
	vq->size = r->size;
	vq->desc_gpa = r->desc;
	vq->avail_gpa = r->avail;
	vq->used_gpa = r->used;
}

void mock_desc_set(struct gmem *mem, gpa_t table, unsigned index, gpa_t addr, uint32_t len,
		   uint16_t flags, uint16_t next)
{
	struct vring_desc d = {
		.addr = htole64(addr),
		.len = htole32(len),
		.flags = htole16(flags),
		.next = htole16(next),
	};

	memcpy(at(mem, table + 16ull * index, 16), &d, 16);
}

void mock_ring_set_avail_idx(struct mock_ring *r, uint16_t idx)
{
	r->avail_idx = idx;
	put16(r->mem, r->avail + 2, idx);
}

void mock_ring_offer(struct mock_ring *r, uint16_t head)
{
	put16(r->mem, r->avail + 4 + 2 * (r->avail_idx % r->size), head);
	mock_ring_set_avail_idx(r, r->avail_idx + 1);
}

uint16_t mock_ring_add(struct mock_ring *r, const struct mock_seg *segs, unsigned n)
{
	uint16_t head = r->next_desc;

	for (unsigned i = 0; i < n; i++) {
		uint16_t next = (r->next_desc + 1) % r->size;
		uint16_t flags =
			(segs[i].write ? MOCK_DESC_WRITE : 0) | (i + 1 < n ? MOCK_DESC_NEXT : 0);

		mock_desc_set(r->mem, r->desc, r->next_desc, segs[i].gpa, segs[i].len, flags, next);
		r->next_desc = next;
	}
	mock_ring_offer(r, head);
	return head;
}

uint16_t mock_ring_add_indirect(struct mock_ring *r, gpa_t table, const struct mock_seg *segs,
				unsigned n)
{
	uint16_t head = r->next_desc;

	for (unsigned i = 0; i < n; i++) {
		uint16_t flags =
			(segs[i].write ? MOCK_DESC_WRITE : 0) | (i + 1 < n ? MOCK_DESC_NEXT : 0);

		mock_desc_set(r->mem, table, i, segs[i].gpa, segs[i].len, flags, i + 1);
	}
	mock_desc_set(r->mem, r->desc, head, table, 16 * n, MOCK_DESC_INDIRECT, 0);
	r->next_desc = (r->next_desc + 1) % r->size;
	mock_ring_offer(r, head);
	return head;
}

uint16_t mock_ring_used_idx(const struct mock_ring *r)
{
	return get16(r->mem, r->used + 2);
}

bool mock_ring_used(struct mock_ring *r, uint32_t *id, uint32_t *len)
{
	struct vring_used_elem e;

	if (mock_ring_used_idx(r) == r->last_used)
		return false;
	memcpy(&e, at(r->mem, r->used + 4 + 8 * (r->last_used % r->size), 8), 8);
	r->last_used++;
	if (id)
		*id = le32toh(e.id);
	if (len)
		*len = le32toh(e.len);
	return true;
}

void mock_ring_set_used_event(struct mock_ring *r, uint16_t idx)
{
	put16(r->mem, r->avail + 4 + 2ull * r->size, idx);
}

uint16_t mock_ring_avail_event(const struct mock_ring *r)
{
	return get16(r->mem, r->used + 4 + 8ull * r->size);
}

void mock_ring_set_no_interrupt(struct mock_ring *r, bool on)
{
	put16(r->mem, r->avail, on ? VRING_AVAIL_F_NO_INTERRUPT : 0);
}

bool mock_ring_no_notify(const struct mock_ring *r)
{
	return get16(r->mem, r->used) & VRING_USED_F_NO_NOTIFY;
}

static void notify_queue(struct virtio_dev *dev, unsigned q)
{
	struct mock_driver *d = dev->transport_ctx;

	atomic_fetch_add(&d->queue_irqs[q], 1);
}

static void notify_config(struct virtio_dev *dev)
{
	struct mock_driver *d = dev->transport_ctx;

	atomic_fetch_add(&d->config_irqs, 1);
}

static int lend_doorbell(struct virtio_dev *dev, unsigned q, struct loop *loop, struct loop_fd *h)
{
	struct mock_driver *d = dev->transport_ctx;
	struct doorbell *bell = &d->bell[q];
	int err;

	if (!bell->dev)
		mock_require(!doorbell_open(bell, dev, q) && !doorbell_watch(bell));
	err = doorbell_lend(bell, loop, h);
	if (!err)
		atomic_store(&d->lent[q], true);
	return err;
}

static void doorbell_is_back(struct virtio_dev *dev, unsigned q)
{
	struct mock_driver *d = dev->transport_ctx;

	mock_require(atomic_exchange(&d->lent[q], false));
	doorbell_back(&d->bell[q]);
}

static const struct virtio_transport_ops mock_transport = {
	.notify_queue = notify_queue,
	.notify_config = notify_config,
	.lend_doorbell = lend_doorbell,
	.doorbell_back = doorbell_is_back,
};

/* Is the next available chain, as the driver wrote it, of a kind that virtq_pop_bufs() leaves
 * alone? A head that is out of range is no chain. */
static bool next_is_other(const struct virtq *vq)
{
	uint16_t head = get16(vq->mem, vq->avail_gpa + 4 + 2 * (vq->last_avail % vq->size));
	gpa_t desc = vq->desc_gpa + 16ull * head;
	uint32_t len;
	uint16_t flags;

	if (head >= vq->size)
		return false;
	memcpy(&len, at(vq->mem, desc + 8, 4), 4);
	memcpy(&flags, at(vq->mem, desc + 12, 2), 2);
	return !len ||
	       (flags & (MOCK_DESC_NEXT | MOCK_DESC_INDIRECT | MOCK_DESC_WRITE)) != MOCK_DESC_WRITE;
}

int mock_pop_bufs(struct virtq *vq, struct virtq_buf *buf, unsigned max, size_t want)
{
	static const char *const index = "available index moved by more than the queue's size";
	struct virtq one = *vq;
	int n = virtq_pop_bufs(vq, buf, max, want), i = 0, rc = 1;
	struct virtq_chain c;
	size_t got = 0;

	while (rc == 1 && (unsigned)i < max && got < want) {
		struct virtq before = one;

		rc = virtq_pop(&one, &c);
		if (rc && !before.broken && next_is_other(&before) &&
		    (rc == 1 || strcmp(one.why_broken, index))) {
			one = before; /* good or bad: none of its business */
			rc = 0;
		} else if (rc == 1) {
			mock_require(n < 0 || i < n);
			mock_require(!c.nr_out && c.nr_in == 1 && buf[i].head == c.head &&
				     buf[i].ptr == c.iov[0].iov_base && buf[i].bytes == c.in_bytes);
			got += c.in_bytes;
			i++;
		}
	}
	mock_require(n == (rc < 0 ? rc : i));
	mock_require(vq->last_avail == one.last_avail && vq->broken == one.broken);
	mock_require(!vq->broken || !strcmp(vq->why_broken, one.why_broken));
	return n;
}

void mock_driver_init(struct mock_driver *d, struct mock_platform *mp, struct virtio_dev *dev)
{
	memset(d, 0, sizeof(*d));
	d->mp = mp;
	d->dev = dev;
	d->next = MIB(1);
	if (dev) {
		dev->transport = &mock_transport;
		dev->transport_ctx = d;
	}
}

void mock_driver_fini(struct mock_driver *d)
{
	for (unsigned q = 0; q < VIRTIO_MAX_QUEUES; q++) {
		mock_require(!atomic_load(&d->lent[q]));
		doorbell_unwatch(&d->bell[q]);
		if (d->bell[q].dev)
			doorbell_close(&d->bell[q]);
	}
}

gpa_t mock_driver_alloc(struct mock_driver *d, uint64_t len, unsigned align)
{
	gpa_t gpa = ALIGN_UP(d->next, align);

	at(&d->mp->mem, gpa, len ? len : 1);
	d->next = gpa + len;
	return gpa;
}

gpa_t mock_driver_put(struct mock_driver *d, const void *data, uint64_t len)
{
	gpa_t gpa = mock_driver_alloc(d, len, 1);

	mock_require(gmem_write(&d->mp->mem, gpa, data, len) == 0);
	return gpa;
}

/* One register access, carried to the loop as a transport does it. */
struct step {
	struct mock_driver *d;
	void (*fn)(struct step *s);
	uint64_t features;
	uint8_t status;
	unsigned q, offset, len;
	void *data;
	const void *cdata;
};

static void step_run(void *arg)
{
	struct step *s = arg;

	s->fn(s);
}

static void step(struct step *s)
{
	loop_call(s->d->dev->loop, step_run, s);
}

static void do_set_status(struct step *s)
{
	virtio_set_status(s->d->dev, s->status);
}

static void do_get_status(struct step *s)
{
	s->status = s->d->dev->status;
}

static void do_features(struct step *s)
{
	virtio_set_driver_features(s->d->dev, 0, (uint32_t)s->features);
	virtio_set_driver_features(s->d->dev, 1, (uint32_t)(s->features >> 32));
}

static void do_queue(struct step *s)
{
	mock_ring_attach(&s->d->ring[s->q], &s->d->dev->vq[s->q]);
	virtio_queue_enable(s->d->dev, s->q);
}

static void do_kick(struct step *s)
{
	if (s->q < VIRTIO_MAX_QUEUES && atomic_load(&s->d->lent[s->q]))
		doorbell_ring(&s->d->bell[s->q]);
	else
		virtio_kick(s->d->dev, s->q);
}

static void do_config_read(struct step *s)
{
	struct virtio_dev *dev = s->d->dev;

	memset(s->data, 0, s->len);
	if (dev->ops->config_read)
		dev->ops->config_read(dev, s->offset, s->data, s->len);
}

static void do_config_write(struct step *s)
{
	struct virtio_dev *dev = s->d->dev;

	if (dev->ops->config_write)
		dev->ops->config_write(dev, s->offset, s->cdata, s->len);
}

void mock_driver_set_status(struct mock_driver *d, uint8_t status)
{
	step(&(struct step){ .d = d, .fn = do_set_status, .status = status });
}

uint8_t mock_driver_status(struct mock_driver *d)
{
	struct step s = { .d = d, .fn = do_get_status };

	step(&s);
	return s.status;
}

bool mock_driver_negotiate(struct mock_driver *d, uint64_t features)
{
	uint8_t status = VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER;

	mock_driver_set_status(d, 0);
	mock_driver_set_status(d, VIRTIO_CONFIG_S_ACKNOWLEDGE);
	mock_driver_set_status(d, status);
	step(&(struct step){ .d = d, .fn = do_features, .features = features });
	mock_driver_set_status(d, status | VIRTIO_CONFIG_S_FEATURES_OK);
	return mock_driver_status(d) & VIRTIO_CONFIG_S_FEATURES_OK;
}

bool mock_driver_start(struct mock_driver *d, uint64_t features, uint16_t queue_size)
{
	uint8_t status;

	if (!mock_driver_negotiate(d, features))
		return false;
	for (unsigned q = 0; q < d->dev->nr_queues; q++) {
		uint16_t max = d->dev->vq[q].max_size;
		uint16_t size = queue_size < max ? queue_size : max;

		d->next = mock_ring_init(&d->ring[q], &d->mp->mem, d->next, size);
		step(&(struct step){ .d = d, .fn = do_queue, .q = q });
	}
	status = mock_driver_status(d);
	mock_driver_set_status(d, status | VIRTIO_CONFIG_S_DRIVER_OK);
	status = mock_driver_status(d);
	return status & VIRTIO_CONFIG_S_DRIVER_OK && !(status & VIRTIO_CONFIG_S_NEEDS_RESET);
}

void mock_driver_kick(struct mock_driver *d, unsigned q)
{
	step(&(struct step){ .d = d, .fn = do_kick, .q = q });
}

void mock_driver_config_read(struct mock_driver *d, unsigned offset, void *data, unsigned len)
{
	step(&(struct step){
		.d = d, .fn = do_config_read, .offset = offset, .data = data, .len = len });
}

void mock_driver_config_write(struct mock_driver *d, unsigned offset, const void *data,
			      unsigned len)
{
	step(&(struct step){
		.d = d, .fn = do_config_write, .offset = offset, .cdata = data, .len = len });
}
