/* See mock_device.h. */
#include "tests/unit/mock_device.h"

#include <string.h>

static struct mock_device *mock(struct virtio_dev *dev)
{
	return container_of(dev, struct mock_device, dev);
}

static int start(struct virtio_dev *dev)
{
	struct mock_device *d = mock(dev);

	d->starts++;
	if (d->start_fault)
		virtio_guest_fault(dev, d->start_fault);
	return d->start_rc;
}

static void stop(struct virtio_dev *dev)
{
	mock(dev)->stops++;
}

static void kick(struct virtio_dev *dev, unsigned q)
{
	struct virtq *vq = &dev->vq[q];
	struct virtq_chain c;
	int rc;

	mock(dev)->kicks[q]++;
	do {
		virtq_disable_doorbell(vq);
		while ((rc = virtq_pop(vq, &c)) == 1)
			virtq_push(vq, c.head, c.in_bytes);
	} while (virtq_enable_doorbell(vq));
	virtio_publish(dev, q);
	if (rc < 0)
		virtio_guest_fault(dev, vq->why_broken);
}

static void config_read(struct virtio_dev *dev, unsigned offset, void *data, unsigned len)
{
	if (offset <= MOCK_CONFIG_BYTES && len <= MOCK_CONFIG_BYTES - offset)
		memcpy(data, mock(dev)->config + offset, len);
}

static void config_write(struct virtio_dev *dev, unsigned offset, const void *data, unsigned len)
{
	if (offset <= MOCK_CONFIG_BYTES && len <= MOCK_CONFIG_BYTES - offset)
		memcpy(mock(dev)->config + offset, data, len);
}

static const struct virtio_dev_ops ops = {
	.start = start,
	.stop = stop,
	.kick = kick,
	.config_read = config_read,
	.config_write = config_write,
};

void mock_device_init(struct mock_device *d, uint16_t device_id, unsigned nr_queues,
		      uint16_t max_size, struct loop *loop, struct platform *plat)
{
	uint16_t sizes[VIRTIO_MAX_QUEUES];

	memset(d, 0, sizeof(*d));
	for (unsigned q = 0; q < VIRTIO_MAX_QUEUES; q++)
		sizes[q] = max_size;
	virtio_dev_init(&d->dev, "mock", device_id, 1ull << MOCK_FEATURE, sizes, nr_queues, &ops,
			loop, plat);
}
