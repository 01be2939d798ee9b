/*
 * Sends numbered, hashed frames to `peer=MAC`, whose net_echo sends them back, and checks every
 * one.
 *
 *   frames=N   how many (default 100)         size=BYTES  of a frame (default 1514; 0: mixed)
 *   window=N   how many are under way (16)    timeout=S   without an echo: what is out is lost (10)
 *   loss=N     so many lost ones are no failure (default 0)
 *   quit=0     leave the peer running         ring3=0    hash long frames in ring 0 too
 *   quit=last  end right after saying goodbye, without waiting for the answer
 */
#include "lib/clock.h"
#include "lib/loopback.h"
#include "lib/mem.h"
#include "lib/user.h"
#include "lib/net.h"

#define MAX_FRAMES  (1u << 20)
#define MAX_WINDOW  128
#define RETRY_US    100000
#define MAX_RETRIES 600
#define RING3_BYTES 512 /* from here on the way to ring 3 and back is the cheaper one */

static struct net net;
static uint8_t peer[6];
static struct net_buf *free_bufs[MAX_WINDOW];
static unsigned nr_free;

static uint8_t *seen; /* one bit a frame */
static uint64_t sent, received, doubled, reordered, corrupt, foreign;
static uint32_t highest;
static unsigned answered[4]; /* per kind */
static uint64_t last_echo_us;

static uint32_t size_of(uint32_t seq)
{
	uint64_t fixed = cmdline_u64("size", NET_FRAME_MAX), r = seq + 1;

	if (fixed)
		return (uint32_t)fixed;
	return LOOPBACK_MIN + (uint32_t)(random_next(&r) % (NET_FRAME_MAX - LOOPBACK_MIN + 1));
}

static uint64_t hash_in_ring3(void *arg)
{
	return loopback_hash(arg);
}

static uint64_t frame_hash(const struct loopback_frame *f)
{
	if (f->bytes < RING3_BYTES || cmdline_is("ring3", "0"))
		return loopback_hash(f);
	return user_call(hash_in_ring3, (void *)f);
}

static void send_frame(enum loopback_kind kind, uint32_t seq, uint32_t bytes)
{
	struct net_buf *b = free_bufs[--nr_free];
	struct loopback_frame *f = (void *)b->frame;

	/* The payload is what was there before, made different by the number in front of it. */
	memcpy(f->dst, peer, 6);
	memcpy(f->src, net.mac, 6);
	f->type = LOOPBACK_ETHERTYPE;
	f->kind = (uint16_t)kind;
	f->magic = LOOPBACK_MAGIC;
	f->seq = seq;
	f->bytes = bytes;
	f->pad = 0;
	*(uint64_t *)f->payload = seq * 0x9e3779b97f4a7c15u;
	f->hash = frame_hash(f);
	CHECK(net_send(&net, b, bytes), "transmit ring is full with %u buffers", MAX_WINDOW);
	net_kick(&net);
}

static void check_data(const struct loopback_frame *f)
{
	uint8_t bit = (uint8_t)(1 << (f->seq & 7));

	if (f->seq >= sent) {
		corrupt++;
		return;
	}
	if (seen[f->seq >> 3] & bit) {
		doubled++;
		return;
	}
	seen[f->seq >> 3] |= bit;
	if (received && f->seq < highest)
		reordered++;
	if (f->seq > highest)
		highest = f->seq;
	received++;
	last_echo_us = clock_us();
}

static void check_frame(const struct net_buf *b, uint32_t bytes)
{
	const struct loopback_frame *f = (const void *)b->frame;

	if (memcmp(f->dst, net.mac, 6) || !loopback_is(f, bytes)) {
		foreign++;
		return;
	}
	if (f->bytes != bytes || memcmp(f->src, peer, 6) || f->hash != frame_hash(f) ||
	    f->kind < LOOPBACK_DATA || f->kind > LOOPBACK_QUIT) {
		corrupt++;
		return;
	}
	answered[f->kind]++;
	if (f->kind == LOOPBACK_DATA)
		check_data(f);
}

static bool serve(void)
{
	struct net_buf *b;
	uint32_t bytes;
	bool any = false;

	while ((b = net_sent(&net))) {
		free_bufs[nr_free++] = b;
		any = true;
	}
	while ((b = net_receive(&net, &bytes))) {
		check_frame(b, bytes);
		net_give(&net, b);
		any = true;
	}
	if (any)
		net_kick(&net);
	return any;
}

static void wait(void)
{
	if (!net_arm(&net))
		net_wait(&net);
}

/* The peer may not be up yet, or gone already: ask until it answers. */
static bool ask(enum loopback_kind kind, unsigned retries)
{
	for (unsigned i = 0; i < retries; i++) {
		uint64_t end = clock_us() + RETRY_US;

		if (nr_free)
			send_frame(kind, i, LOOPBACK_MIN);
		while (clock_us() < end) {
			while (serve())
				;
			if (answered[kind])
				return true;
			wait();
		}
	}
	return false;
}

static void run(uint32_t frames, unsigned window, uint64_t timeout_us)
{
	last_echo_us = clock_us();
	while (received < frames) {
		while (sent < frames && sent - received < window && nr_free) {
			uint32_t bytes = size_of((uint32_t)sent);

			send_frame(LOOPBACK_DATA, (uint32_t)sent++, bytes);
		}
		if (serve())
			continue;
		if (clock_us() - last_echo_us > timeout_us) {
			if (sent == frames || sent - received >= window)
				break;
		}
		wait();
	}
}

void guest_main(void)
{
	uint64_t frames = cmdline_u64("frames", 100), window = cmdline_u64("window", 16), us, lost;
	char text[32];

	CHECK(cmdline_get("peer", text, sizeof(text)) && parse_mac(text, peer),
	      "peer=MAC is missing");
	CHECK(frames && frames <= MAX_FRAMES, "frames=%lu", (unsigned long)frames);
	CHECK(window && window <= MAX_WINDOW, "window=%lu", (unsigned long)window);
	intr_init();
	clock_init();
	user_init();
	net_start(&net, 0, 128);
	for (nr_free = 0; nr_free < MAX_WINDOW; nr_free++) {
		uint64_t state = nr_free + 1;
		struct net_buf *b = free_bufs[nr_free] = net_buf_new();

		/* A few words are enough to tell buffers apart; the rest comes by string copy. */
		for (unsigned i = 0; i < 8; i++)
			((uint64_t *)b->frame)[i] = random_next(&state);
		memcpy(b->frame + 64, b->frame, NET_FRAME_MAX - 64);
	}
	seen = mem_alloc(frames / 8 + 1, 8);
	clock_tick(RETRY_US / 2); /* so that waiting ends */

	CHECK(ask(LOOPBACK_PROBE, MAX_RETRIES), "the peer does not answer");
	us = clock_us();
	run((uint32_t)frames, (unsigned)window, cmdline_u64("timeout", 10) * 1000000);
	us = clock_us() - us;
	lost = sent - received;
	print("send: sent %lu received %lu lost %lu doubled %lu reordered %lu corrupt %lu foreign "
	      "%lu "
	      "us %lu interrupts %lu kicks %lu\n",
	      (unsigned long)sent, (unsigned long)received, (unsigned long)lost,
	      (unsigned long)doubled, (unsigned long)reordered, (unsigned long)corrupt,
	      (unsigned long)foreign, (unsigned long)us, (unsigned long)net_interrupts(&net),
	      (unsigned long)net_kicks(&net));
	if (!cmdline_is("quit", "0") && !cmdline_is("quit", "last") && !ask(LOOPBACK_QUIT, 20))
		print("send: the peer did not say goodbye\n");
	CHECK(!corrupt, "%lu corrupt frames", (unsigned long)corrupt);
	CHECK(!doubled, "%lu doubled frames", (unsigned long)doubled);
	CHECK(!reordered, "%lu reordered frames", (unsigned long)reordered);
	CHECK(lost <= cmdline_u64("loss", 0), "%lu lost frames", (unsigned long)lost);
	if (cmdline_is("quit", "last")) {
		print("SUCCESS\n");
		send_frame(LOOPBACK_QUIT, 0, LOOPBACK_MIN);
		debug_exit(EXIT_SUCCESS);
	}
}
