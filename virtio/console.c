/*
 * Console device with one port, no multiport. Source: VIRTIO 1.2, section 5.3.
 *
 * Input is taken from the chardev only as far as the guest has posted buffers; the rest waits
 * there. Output of any length goes out in turns of a bounded size, so that a guest that sends
 * gigabytes in one buffer does not keep the loop from its other work.
 *
 * Thread: the device's loop. No locks.
 */
#include <endian.h>
#include <errno.h>
#include <linux/virtio_console.h>
#include <linux/virtio_ids.h>
#include <stdlib.h>
#include <string.h>

#include "virtio/devices.h"

#define QUEUE_SIZE	   64
#define QUEUE_RX	   0
#define QUEUE_TX	   1
#define COPY_BYTES	   4096
#define TX_BYTES_PER_TURN  KIB(64)
#define RX_CHAINS_PER_TURN 64

struct virtio_console {
	struct virtio_dev dev;
	struct chardev *chr;
	struct loop_work again;
	bool again_rx, again_tx;
	struct virtq_chain rx;
	/* The buffer being sent, and how much of it has gone out. */
	struct virtq_chain tx;
	bool tx_active;
	size_t tx_done;
};

static struct virtio_console *console_of(struct virtio_dev *dev)
{
	return container_of(dev, struct virtio_console, dev);
}

static void run_again(struct virtio_console *con, unsigned q)
{
	if (q == QUEUE_RX)
		con->again_rx = true;
	else
		con->again_tx = true;
	loop_post(con->dev.loop, &con->again);
}

/* True if a turn's worth was sent and there may be more. */
static bool send_some(struct virtio_console *con)
{
	struct virtq *vq = &con->dev.vq[QUEUE_TX];
	size_t budget = TX_BYTES_PER_TURN;
	unsigned chains = 0;

	while (budget && chains < QUEUE_SIZE) {
		uint8_t buf[COPY_BYTES];
		size_t n;

		if (!con->tx_active) {
			int ret = virtq_pop(vq, &con->tx);

			if (ret < 0)
				virtio_guest_fault(&con->dev, vq->why_broken);
			if (ret <= 0)
				return false;
			con->tx_active = true;
			con->tx_done = 0;
			chains++;
		}
		/* A private copy: what is written is what was looked at. */
		n = virtq_chain_read(&con->tx, con->tx_done, buf,
				     budget < sizeof(buf) ? budget : sizeof(buf));
		if (n) {
			con->chr->ops->write(con->chr, buf, n);
			con->tx_done += n;
			budget -= n;
		}
		if (con->tx_done == con->tx.out_bytes) {
			virtq_push(vq, con->tx.head, 0);
			con->tx_active = false;
		}
	}
	return true;
}

static void serve_tx(struct virtio_console *con)
{
	struct virtq *vq = &con->dev.vq[QUEUE_TX];
	bool more;

	virtq_disable_doorbell(vq);
	more = send_some(con);
	if (!con->dev.live)
		return;
	virtio_publish(&con->dev, QUEUE_TX);
	if (more || virtq_enable_doorbell(vq))
		run_again(con, QUEUE_TX);
}

enum rx_result { RX_FILLED, RX_NO_INPUT, RX_NO_BUFFER, RX_FAULT };

/* Fills one buffer. */
static enum rx_result receive_one(struct virtio_console *con)
{
	struct virtq *vq = &con->dev.vq[QUEUE_RX];
	uint8_t buf[COPY_BYTES];
	size_t n;
	int ret = virtq_pop(vq, &con->rx);

	if (!ret)
		return RX_NO_BUFFER;
	if (ret < 0) {
		virtio_guest_fault(&con->dev, vq->why_broken);
		return RX_FAULT;
	}
	if (!con->rx.in_bytes) {
		virtio_guest_fault(&con->dev, "receive buffer without room");
		return RX_FAULT;
	}
	n = con->chr->ops->read(con->chr, buf,
				con->rx.in_bytes < sizeof(buf) ? con->rx.in_bytes : sizeof(buf));
	if (!n) {
		virtq_unpop(vq, 1);
		return RX_NO_INPUT;
	}
	virtq_chain_write(&con->rx, 0, buf, n);
	virtq_push(vq, con->rx.head, (uint32_t)n);
	return RX_FILLED;
}

static void serve_rx(struct virtio_console *con)
{
	enum rx_result r = RX_FILLED;

	for (unsigned n = 0; n < RX_CHAINS_PER_TURN && r == RX_FILLED; n++) {
		r = receive_one(con);
		/* The doorbell matters only now that the buffers are used up. */
		if (r == RX_NO_BUFFER && virtq_enable_doorbell(&con->dev.vq[QUEUE_RX]))
			r = RX_FILLED;
	}
	if (r == RX_FAULT)
		return;
	virtio_publish(&con->dev, QUEUE_RX);
	if (r == RX_FILLED)
		run_again(con, QUEUE_RX);
}

static void console_kick(struct virtio_dev *dev, unsigned q)
{
	struct virtio_console *con = console_of(dev);

	if (q == QUEUE_TX)
		serve_tx(con);
	else
		serve_rx(con);
}

static void console_again(struct loop_work *w)
{
	struct virtio_console *con = container_of(w, struct virtio_console, again);
	bool rx = con->again_rx, tx = con->again_tx;

	con->again_rx = con->again_tx = false;
	if (rx && con->dev.live && con->dev.vq[QUEUE_RX].enabled)
		console_kick(&con->dev, QUEUE_RX);
	if (tx && con->dev.live && con->dev.vq[QUEUE_TX].enabled)
		console_kick(&con->dev, QUEUE_TX);
}

static void console_input(void *front)
{
	struct virtio_console *con = front;

	if (con->dev.live && con->dev.vq[QUEUE_RX].enabled)
		serve_rx(con);
}

/* 5.3.4: a character that a guest in trouble can get out without any queue. */
static void console_config_write(struct virtio_dev *dev, unsigned offset, const void *data,
				 unsigned len)
{
	struct virtio_console *con = console_of(dev);

	if (offset == offsetof(struct virtio_console_config, emerg_wr) && len)
		con->chr->ops->write(con->chr, data, 1); /* little-endian: the low byte is first */
}

static int console_start(struct virtio_dev *dev)
{
	return 0;
}

static void console_stop(struct virtio_dev *dev)
{
	console_of(dev)->tx_active = false;
}

static const struct virtio_dev_ops console_ops = {
	.start = console_start,
	.stop = console_stop,
	.kick = console_kick,
	.config_write = console_config_write,
};

int virtio_console_create(struct virtio_console **out, const char *name, struct chardev *chr,
			  struct loop *loop, struct platform *plat)
{
	static const uint16_t sizes[] = { QUEUE_SIZE, QUEUE_SIZE };
	struct virtio_console *con = calloc(1, sizeof(*con));

	if (!con)
		return -ENOMEM;
	virtio_dev_init(&con->dev, name, VIRTIO_ID_CONSOLE, 1ull << VIRTIO_CONSOLE_F_EMERG_WRITE,
			sizes, ARRAY_SIZE(sizes), &console_ops, loop, plat);
	con->again.fn = console_again;
	con->chr = chr;
	chr->front = con;
	chr->input = console_input;
	*out = con;
	return 0;
}

struct virtio_dev *virtio_console_dev(struct virtio_console *con)
{
	return &con->dev;
}

void virtio_console_destroy(struct virtio_console *con)
{
	if (!con)
		return;
	con->chr->input = NULL;
	con->chr->front = NULL;
	free(con);
}
