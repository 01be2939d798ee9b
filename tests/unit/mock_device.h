/*
 * A virtio device for tests of what lies below devices: it counts calls, completes every chain at
 * once (writing nothing, claiming all), and has 16 bytes of configuration.
 */
#ifndef TESTS_MOCK_DEVICE_H
#define TESTS_MOCK_DEVICE_H

#include "tests/unit/mock_platform.h"
#include "virtio/virtio.h"

#define MOCK_CONFIG_BYTES 16
#define MOCK_FEATURE	  5 /* the one bit of its own that it offers */

struct mock_device {
	struct virtio_dev dev;
	_Atomic unsigned starts, stops, kicks[VIRTIO_MAX_QUEUES];
	int start_rc;		 /* what start() returns */
	const char *start_fault; /* start() reports this guest fault */
	uint8_t config[MOCK_CONFIG_BYTES];
};

/* nr_queues queues of at most max_size entries. */
void mock_device_init(struct mock_device *d, uint16_t device_id, unsigned nr_queues,
		      uint16_t max_size, struct loop *loop, struct platform *plat);

#endif
