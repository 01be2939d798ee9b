/*
 * Sends every frame back to where it came from. Ends after `quits=N` (default 1) different senders
 * have said that they are done; their repeated goodbyes are answered too.
 */
#include "lib/clock.h"
#include "lib/loopback.h"
#include "lib/net.h"

#define MAX_SENDERS 64

static struct net net;
static uint8_t gone[MAX_SENDERS][6];
static unsigned nr_gone;
static uint64_t received, echoed, ignored, dropped;

static void note_goodbye(const uint8_t *mac)
{
	for (unsigned i = 0; i < nr_gone; i++) {
		if (!memcmp(gone[i], mac, 6))
			return;
	}
	if (nr_gone < MAX_SENDERS)
		memcpy(gone[nr_gone++], mac, 6);
}

static bool for_us(const uint8_t *frame)
{
	return !memcmp(frame, net.mac, 6);
}

static void echo(struct net_buf *b, uint32_t bytes)
{
	received++;
	if (!for_us(b->frame)) {
		ignored++;
		net_give(&net, b);
		return;
	}
	if (loopback_is(b->frame, bytes)) {
		const struct loopback_frame *f = (const void *)b->frame;

		if (f->kind == LOOPBACK_QUIT)
			note_goodbye(f->src);
	}
	memcpy(b->frame, b->frame + 6, 6);
	memcpy(b->frame + 6, net.mac, 6);
	if (net_send(&net, b, bytes)) {
		echoed++;
		return;
	}
	dropped++;
	net_give(&net, b);
}

static bool serve(void)
{
	struct net_buf *b;
	uint32_t bytes;
	bool any = false;

	while ((b = net_sent(&net))) {
		net_give(&net, b);
		any = true;
	}
	while ((b = net_receive(&net, &bytes))) {
		echo(b, bytes);
		any = true;
	}
	if (any)
		net_kick(&net);
	return any;
}

void guest_main(void)
{
	unsigned quits = (unsigned)cmdline_u64("quits", 1);
	uint64_t linger_ticks = 0;

	intr_init();
	net_start(&net, 0, (unsigned)cmdline_u64("buffers", 64));
	print("echo: mac %02x:%02x:%02x:%02x:%02x:%02x over %s\n", net.mac[0], net.mac[1],
	      net.mac[2], net.mac[3], net.mac[4], net.mac[5], net.over);
	while (nr_gone < quits || linger_ticks < 2) {
		if (nr_gone >= quits) {
			/* The answer to the last goodbye may get lost: stay a little for another.
			 */
			if (!linger_ticks++) {
				clock_init();
				clock_tick(200000);
			}
		}
		while (serve())
			;
		if (!net_arm(&net))
			net_wait(&net);
	}
	print("echo: received %lu echoed %lu ignored %lu dropped %lu interrupts %lu kicks %lu\n",
	      (unsigned long)received, (unsigned long)echoed, (unsigned long)ignored,
	      (unsigned long)dropped, (unsigned long)net_interrupts(&net),
	      (unsigned long)net_kicks(&net));
}
