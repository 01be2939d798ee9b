/*
 * The virtio device models. Each is created stopped, before vCPUs run, belongs to the loop it was
 * given, and is destroyed after vCPUs and loop have stopped. `name` and all pointers in the
 * parameters outlive the device.
 */
#ifndef VIRTIO_DEVICES_H
#define VIRTIO_DEVICES_H

#include "base/carrier.h"
#include "base/chardev.h"
#include "virtio/virtio.h"

/* Network device (VIRTIO 1.2, 5.1). Its port is what carriers see. */
struct virtio_net;
int virtio_net_create(struct virtio_net **out, const char *name, const uint8_t mac[6],
		      struct loop *loop, struct platform *plat);
struct virtio_dev *virtio_net_dev(struct virtio_net *net);
struct port *virtio_net_port(struct virtio_net *net);
/* Feature bit of ours, without meaning in VIRTIO 1.3: a driver that accepts it declares that it
 * keeps the contract of slots (docs/mapped.md). */
#define XVMM_F_SLOTS_STABLE 58
/* Makes the device offer it; before the device is seen by a driver. While a driver that accepted it
 * is live, port.slots_stable is true; otherwise it is what the launcher has set. */
void virtio_net_offer_stable_slots(struct virtio_net *net);
/* The launcher plugs the NIC into what carries its frames; before the device is live. */
void virtio_net_set_carrier(struct virtio_net *net, struct carrier *carrier);
void virtio_net_destroy(struct virtio_net *net);

/* Block device (5.2) on a raw file. */
struct virtio_blk;
struct virtio_blk_params {
	const char *path;
	bool readonly;
	const char *id; /* for GET_ID; at most 20 bytes count */
};
/* Opens the file, and locks it (flock) shared or exclusive, so that no two guests write to one
 * disk. Errors: errno of open; -EWOULDBLOCK: locked by another; -EINVAL: neither a file nor a block
 * device, or not a multiple of 512 bytes. */
int virtio_blk_create(struct virtio_blk **out, const char *name,
		      const struct virtio_blk_params *params, struct loop *loop,
		      struct platform *plat);
struct virtio_dev *virtio_blk_dev(struct virtio_blk *blk);
void virtio_blk_destroy(struct virtio_blk *blk);

/* Console device (5.3), one port, no multiport. */
struct virtio_console;
int virtio_console_create(struct virtio_console **out, const char *name, struct chardev *chr,
			  struct loop *loop, struct platform *plat);
struct virtio_dev *virtio_console_dev(struct virtio_console *con);
void virtio_console_destroy(struct virtio_console *con);

/* Entropy device (5.4), fed from getrandom(2). */
struct virtio_rng;
int virtio_rng_create(struct virtio_rng **out, const char *name, struct loop *loop,
		      struct platform *plat);
struct virtio_dev *virtio_rng_dev(struct virtio_rng *rng);
void virtio_rng_destroy(struct virtio_rng *rng);

#endif
