/*
 * The contract between a console device (serial port, virtio-console) and where its bytes go
 * (terminal, file, pty, socket).
 */
#ifndef BASE_CHARDEV_H
#define BASE_CHARDEV_H

#include <stddef.h>

/* What a console device (serial port, virtio-console) is connected to;
 * vmm/console.c implements it. */
struct chardev;
struct chardev_ops {
	/* Guest output; never blocks, takes everything (what cannot be kept is dropped and
	 * counted). Any thread. */
	void (*write)(struct chardev *c, const void *data, size_t len);
	/* Guest input waits until the front end has room: returns bytes taken into buf. On the
	 * loop. */
	size_t (*read)(struct chardev *c, void *buf, size_t len);
};
struct chardev {
	const struct chardev_ops *ops;
	/* Set by the front end (the device): input has arrived, call ops->read. On the loop. */
	void (*input)(void *front);
	void *front;
};

#endif
