/* Numbered, hashed frames between drivers with stable slots; see traffic.h. */
#include "lib/clock.h"
#include "lib/loopback.h"
#include "lib/mem.h"
#include "lib/net.h"
#include "lib/traffic.h"
#include "lib/user.h"

#define RX_BURST   64
#define REPEAT_US  20000
#define LINGER_US  300000
#define STALL_US   3000000 /* a busy machine may take its time */
#define PATIENCE   10	   /* ... but part of it if loss is nothing special */
#define SCAN_US	   5000
#define TICK_US	   10000
#define TURNS_MASK 63 /* so many turns between two looks at the clock */
#define HEAD_BYTES 16
#define SIZE_MIXED 1514

/* Beside LOOPBACK_DATA. `pad` is the number that the sender expects next from who gets it. */
enum kind {
	KIND_DATA = LOOPBACK_DATA,
	KIND_HELLO = 16,   /* seq: the sender's window */
	KIND_HELLO_ANSWER, /* seq: as asked */
	KIND_END,	   /* seq: how many frames there were */
	KIND_END_ANSWER,
	KIND_ACK,
	KIND_NOISE, /* for nobody in particular */
	KIND_HEAD,  /* data whose first HEAD_BYTES only are hashed */
};

enum { WORK_IDLE, WORK_ENDED };

/* -- Sending -- */

static uint32_t size_of(struct traffic *t)
{
	uint32_t max = t->slots.frame_max < SIZE_MIXED ? t->slots.frame_max : SIZE_MIXED;

	if (t->size)
		return t->size;
	return LOOPBACK_MIN + (uint32_t)(random_next(&t->random) % (max - LOOPBACK_MIN + 1));
}

static void compose(struct traffic *t, struct traffic_peer *p, uint8_t *slot, enum kind kind,
		    uint32_t seq, uint32_t bytes)
{
	struct loopback_frame *f = (void *)slot;
	uint64_t word = (seq + 1) * 0x9e3779b97f4a7c15u + (uint64_t)kind;
	uint32_t n = bytes - (uint32_t)sizeof(*f), filled = kind == KIND_HEAD ? HEAD_BYTES : n, i;

	if (kind == KIND_NOISE)
		memset(f->dst, 0xff, 6);
	else
		memcpy(f->dst, p->mac, 6);
	memcpy(f->src, t->slots.mac, 6);
	f->type = LOOPBACK_ETHERTYPE;
	f->kind = (uint16_t)kind;
	f->magic = LOOPBACK_MAGIC;
	f->seq = seq;
	f->bytes = bytes;
	f->pad = p->next;
	/* All of it anew: what the slot held before means nothing. */
	for (i = 0; i + 8 <= filled; i += 8, word += 0x632be59bd9b4e019u)
		*(uint64_t *)(f->payload + i) = word;
	for (; i < filled; i++)
		f->payload[i] = (uint8_t)(word >> 8 * (i & 7));
	f->hash = hash_bytes(f->payload, filled, (uint64_t)kind << 32 | seq);
	p->told = p->next;
	p->owe_ack = false;
}

static bool send_one(struct traffic *t, struct traffic_peer *p, enum kind kind, uint32_t seq,
		     uint32_t bytes)
{
	uint8_t *slot = slots_tx_slot(&t->slots);

	if (!slot) {
		t->tx_full = true;
		return false;
	}
	compose(t, p, slot, kind, seq, bytes);
	slots_tx_give(&t->slots, bytes);
	return true;
}

static bool send_owed(struct traffic *t, struct traffic_peer *p, bool *owed, enum kind kind,
		      uint32_t seq)
{
	if (!*owed || !send_one(t, p, kind, seq, LOOPBACK_MIN))
		return false;
	*owed = false;
	return true;
}

static unsigned send_control(struct traffic *t, struct traffic_peer *p)
{
	unsigned n = 0;

	n += send_owed(t, p, &p->owe_hello, KIND_HELLO, p->window);
	n += send_owed(t, p, &p->owe_hello_answer, KIND_HELLO_ANSWER, 0);
	n += send_owed(t, p, &p->owe_end, KIND_END, p->frames);
	n += send_owed(t, p, &p->owe_end_answer, KIND_END_ANSWER, 0);
	n += send_owed(t, p, &p->owe_ack, KIND_ACK, 0);
	return n;
}

static bool may_send(const struct traffic_peer *p)
{
	return p->greeted && p->sent < p->frames && (!p->window || p->sent - p->acked < p->window);
}

/* Whose turn it is; NULL: nobody can be sent to. */
static struct traffic_peer *choose(struct traffic *t)
{
	struct traffic_peer *p = &t->peer[0], *o = &t->peer[1];

	if (t->nr_peers > 1 && o->sent < o->frames && t->sent % t->every == t->every - 1)
		return may_send(o) ? o : NULL;
	if (p->sent < p->frames)
		return may_send(p) ? p : NULL;
	return t->nr_peers > 1 && may_send(o) ? o : NULL;
}

static bool send_data(struct traffic *t)
{
	struct traffic_peer *p;

	if (t->flood_due) {
		if (!send_one(t, &t->peer[0], KIND_NOISE, (uint32_t)t->sent, LOOPBACK_MIN))
			return false;
		t->flood_due = false;
	}
	p = choose(t);
	if (!p)
		return false;
	if (t->rate) {
		uint64_t now = clock_us();

		if (!t->start_us)
			t->start_us = now;
		if (t->sent * 1000000 > (now - t->start_us) * t->rate)
			return false;
	}
	if (!send_one(t, p, t->whole_hash ? KIND_DATA : KIND_HEAD, p->sent, size_of(t)))
		return false;
	if (!p->sent++)
		p->first_us = clock_us();
	if (p->sent == p->frames)
		p->owe_end = true;
	t->sent++;
	t->flood_due = t->flood && t->sent % t->flood == 0;
	return true;
}

static bool send_burst(struct traffic *t)
{
	unsigned n = 0;

	t->tx_full = false;
	for (unsigned i = 0; i < t->nr_peers; i++)
		n += send_control(t, &t->peer[i]);
	while (n < t->batch && send_data(t))
		n++;
	slots_kick_tx(&t->slots);
	return n;
}

/* -- Receiving -- */

static void skip_to(struct traffic_peer *p, uint32_t seq)
{
	uint32_t n = seq - p->next;

	p->lost += n;
	if (n > TRAFFIC_HISTORY)
		n = TRAFFIC_HISTORY;
	for (uint32_t i = seq - n; i != seq; i++)
		p->seen[i % TRAFFIC_HISTORY / 8] &= (uint8_t) ~(1 << (i & 7));
	p->next = seq;
}

static void check_number(struct traffic_peer *p, uint32_t seq)
{
	uint8_t *byte = &p->seen[seq % TRAFFIC_HISTORY / 8], bit = (uint8_t)(1 << (seq & 7));

	if ((int32_t)(seq - p->next) >= 0) {
		skip_to(p, seq);
		p->next++;
	} else if (p->next - seq > TRAFFIC_HISTORY || (*byte & bit)) {
		p->doubled++;
		return;
	} else {
		p->reordered++;
		p->lost--;
	}
	*byte |= bit;
	if (!p->received++)
		p->rx_first_us = clock_us();
}

static struct traffic_peer *peer_of(struct traffic *t, const uint8_t *mac)
{
	for (unsigned i = 0; i < t->nr_peers; i++) {
		if (!memcmp(t->peer[i].mac, mac, 6))
			return &t->peer[i];
	}
	return NULL;
}

static bool is_whole(const struct loopback_frame *f, uint32_t bytes)
{
	uint32_t n = f->kind == KIND_HEAD ? HEAD_BYTES : bytes - (uint32_t)sizeof(*f);

	return f->bytes == bytes && bytes >= LOOPBACK_MIN &&
	       f->hash == hash_bytes(f->payload, n, (uint64_t)f->kind << 32 | f->seq);
}

static void note_ack(struct traffic_peer *p, uint32_t ack)
{
	if (ack - p->acked <= p->sent - p->acked && ack != p->acked) {
		p->acked = ack;
		p->stalled_us = 0;
	}
}

static void control(struct traffic *t, struct traffic_peer *p, enum kind kind, uint32_t seq)
{
	switch (kind) {
	case KIND_HELLO:
		p->their_window = seq;
		p->owe_hello_answer = true;
		break;
	case KIND_HELLO_ANSWER:
		p->greeted = true;
		if (!p->frames && !p->ended)
			p->owe_end = true;
		break;
	case KIND_END:
		if (!p->end_seen) {
			p->end_seen = true;
			p->rx_last_us = clock_us();
			if ((int32_t)(seq - p->next) > 0)
				skip_to(p, seq);
		}
		p->owe_end_answer = true;
		break;
	case KIND_END_ANSWER:
		if (!p->ended)
			p->last_us = clock_us();
		p->ended = true;
		break;
	default:
		return;
	}
	t->control_us = clock_us();
}

static void check_frame(struct traffic *t, const uint8_t *slot, uint32_t bytes)
{
	const struct loopback_frame *f = (const void *)slot;
	struct traffic_peer *p;

	p = peer_of(t, f->src);
	if (!p || memcmp(f->dst, t->slots.mac, 6)) {
		t->foreign++;
		return;
	}
	if (!loopback_is(f, bytes) || !is_whole(f, bytes)) {
		p->corrupt++;
		return;
	}
	p->heard_us = 0;
	note_ack(p, f->pad);
	if (f->kind == KIND_DATA || f->kind == KIND_HEAD) {
		check_number(p, f->seq);
		if (p->their_window && p->next - p->told >= (p->their_window + 3) / 4)
			p->owe_ack = true;
		return;
	}
	control(t, p, f->kind, f->seq);
}

static bool holding(struct traffic *t)
{
	if (t->sitting)
		return true;
	if (!t->hold_us || t->peer[0].received < t->hold_at)
		return false;
	if (!t->hold_until)
		t->hold_until = clock_us() + t->hold_us;
	if (clock_us() < t->hold_until)
		return true;
	t->hold_us = 0;
	return false;
}

static bool receive_burst(struct traffic *t)
{
	unsigned n = 0;
	uint32_t bytes;
	uint8_t *slot;

	if (holding(t))
		return false;
	while (n < RX_BURST && (slot = slots_rx_slot(&t->slots, &bytes))) {
		check_frame(t, slot, bytes);
		slots_rx_give(&t->slots);
		n++;
	}
	slots_kick_rx(&t->slots, n < RX_BURST);
	return n;
}

/* -- Time -- */

static uint64_t secret_of(const uint8_t *mac)
{
	return 0x5ec2e7a9d1f30b64u ^ hash_bytes(mac, 6, 1) << 8;
}

static void scan(struct traffic *t)
{
	const uint64_t *tx = (const void *)t->slots.tx_pages, *rx = (const void *)t->slots.rx_pages;

	for (unsigned k = 0; k < t->nr_peers; k++) {
		uint64_t secret = t->peer[k].secret;

		for (size_t i = 0; i < t->slots.page_bytes / 8; i++)
			t->leaks += (tx[i] == secret) + (rx[i] == secret);
	}
	t->scans++;
}

static void look_at_peer(struct traffic *t, struct traffic_peer *p, uint64_t now)
{
	if (!p->heard_us)
		p->heard_us = now;
	if (now - p->heard_us > t->timeout_us && !(p->ended && p->end_seen)) {
		CHECK(t->tolerate, "%s is silent: sent %u of %u, acked %u, received %lu",
		      p == t->peer ? "the peer" : "the other", p->sent, p->frames, p->acked,
		      (unsigned long)p->received);
		print("traffic: a peer fell silent\n");
		p->ended = p->end_seen = true;
		p->greeted = true;
	}
	if (p->window && p->sent - p->acked >= p->window) {
		if (!p->stalled_us)
			p->stalled_us = now;
		if (now - p->stalled_us > STALL_US / (t->tolerate ? PATIENCE : 1)) {
			/* What is under way was lost, or its answer. */
			p->acked = p->sent;
			p->stalled_us = 0;
			t->stalls++;
		}
	}
}

static void repeat(struct traffic_peer *p)
{
	if (!p->greeted)
		p->owe_hello = true;
	else if (p->sent == p->frames && !p->ended)
		p->owe_end = true;
	if (p->their_window && !p->end_seen && p->received)
		p->owe_ack = true;
}

/* True: everything is over. */
static bool look_at_clock(struct traffic *t)
{
	uint64_t now = clock_us();
	bool over = true;

	for (unsigned i = 0; i < t->nr_peers; i++) {
		struct traffic_peer *p = &t->peer[i];

		look_at_peer(t, p, now);
		if (now >= t->repeat_due)
			repeat(p);
		over = over && p->ended && p->end_seen;
	}
	if (now >= t->repeat_due)
		t->repeat_due = now + REPEAT_US;
	if (t->secret && now >= t->scan_due) {
		scan(t);
		t->scan_due = clock_us() + SCAN_US;
	}
	/* The answer to the last end may get lost: stay a little for another. */
	return t->quit || (over && now - t->control_us > LINGER_US);
}

static uint64_t work(void *arg)
{
	struct traffic *t = arg;
	unsigned idle = 0;

	for (;;) {
		bool any = receive_burst(t);

		any |= send_burst(t);
		if (t->mischief)
			t->mischief(t);
		idle = any ? 0 : idle + 1;
		if ((!(t->turns++ & TURNS_MASK) || idle > t->spin) && look_at_clock(t))
			return WORK_ENDED;
		if (!t->polled && idle > t->spin)
			return WORK_IDLE;
		if (idle)
			cpu_pause();
	}
}

/* -- The whole -- */

static void add_peer(struct traffic *t, const char *key, uint64_t frames)
{
	struct traffic_peer *p = &t->peer[t->nr_peers];
	char text[32];

	if (!cmdline_get(key, text, sizeof(text)))
		return;
	CHECK(parse_mac(text, p->mac), "%s=%s", key, text);
	p->frames = (uint32_t)frames;
	p->window = (uint32_t)cmdline_u64("window", t->slots.nr / 4);
	p->secret = secret_of(p->mac);
	p->seen = mem_alloc(TRAFFIC_HISTORY / 8, 64);
	t->nr_peers++;
}

static void fill_secret(struct traffic *t)
{
	uint64_t secret = secret_of(t->slots.mac);
	uint64_t *tx = (void *)t->slots.tx_pages, *rx = (void *)t->slots.rx_pages;

	for (size_t i = 0; i < t->slots.page_bytes / 8; i++)
		tx[i] = rx[i] = secret;
}

static uint64_t fill_in_ring3(void *arg)
{
	fill_secret(arg);
	return 0;
}

void traffic_setup(struct traffic *t, void (*prepare)(struct traffic *t))
{
	uint64_t others;

	intr_init();
	clock_init();
	user_init();
	*t = (struct traffic){
		.polled = cmdline_is("mode", "polled"),
		.ring3 = !cmdline_is("ring3", "0"),
		.whole_hash = !cmdline_is("hash", "head"),
		.tolerate = cmdline_is("tolerate", "1"),
		.secret = cmdline_is("secret", "1"),
		.frames = cmdline_u64("frames", 0),
		.size = (unsigned)cmdline_u64("size", 64),
		.rate = cmdline_u64("rate", 0),
		.every = (unsigned)cmdline_u64("every", 16),
		.batch = (unsigned)cmdline_u64("batch", 32),
		.spin = (unsigned)cmdline_u64("spin", 1000),
		.flood = (unsigned)cmdline_u64("flood", 0),
		.hold_us = cmdline_u64("hold", 0) * 1000,
		.loss = cmdline_u64("loss", 0),
		.timeout_us = cmdline_u64("timeout", 20) * 1000000,
		.random = 1,
	};
	CHECK(t->every && t->batch && t->frames < 1u << 31, "every=0, batch=0 or frames=%lu",
	      (unsigned long)t->frames);
	slots_find(&t->slots, t->polled);
	t->slots.tolerant = t->tolerate;
	CHECK(!t->size || (t->size >= LOOPBACK_MIN && t->size <= t->slots.frame_max),
	      "size=%u does not fit into slots of %u bytes", t->size, t->slots.slot_bytes);
	others = cmdline_has("other") ? t->frames / t->every : 0;
	add_peer(t, "peer", t->frames - others);
	CHECK(t->nr_peers == 1, "peer=MAC is missing");
	add_peer(t, "other", others);
	t->hold_at = (uint32_t)cmdline_u64("hold_at", t->frames / 2);
	if (t->secret) {
		if (t->ring3)
			user_call(fill_in_ring3, t);
		else
			fill_secret(t);
	}
	if (prepare)
		prepare(t);
	slots_restart(&t->slots);
	print("traffic: mac %02x:%02x:%02x:%02x:%02x:%02x over %s, %u slots of %u bytes\n",
	      t->slots.mac[0], t->slots.mac[1], t->slots.mac[2], t->slots.mac[3], t->slots.mac[4],
	      t->slots.mac[5], t->slots.over, t->slots.nr, t->slots.slot_bytes);
}

void traffic_run(struct traffic *t)
{
	if (!t->polled)
		clock_tick(TICK_US); /* so that waiting ends */
	for (;;) {
		uint64_t what = t->ring3 ? user_call(work, t) : work(t);

		if (what == WORK_ENDED)
			break;
		if (holding(t) || !slots_arm(&t->slots, t->tx_full))
			slots_wait(&t->slots);
	}
}

static void print_rate(const char *what, uint64_t frames, uint64_t us)
{
	if (!frames || !us)
		return;
	print("%s: frames=%lu us=%lu per_second=%lu ns=%lu\n", what, (unsigned long)frames,
	      (unsigned long)us, (unsigned long)(frames * 1000000 / us),
	      (unsigned long)(us * 1000 / frames));
}

void traffic_report(struct traffic *t)
{
	uint64_t lost = 0, doubled = 0, reordered = 0, corrupt = 0, received = 0;

	for (unsigned i = 0; i < t->nr_peers; i++) {
		struct traffic_peer *p = &t->peer[i];

		print_rate(i ? "sent other" : "sent", p->sent, p->last_us - p->first_us);
		print_rate(i ? "received other" : "received", p->received,
			   p->rx_last_us - p->rx_first_us);
		lost += p->lost;
		doubled += p->doubled;
		reordered += p->reordered;
		corrupt += p->corrupt;
		received += p->received;
	}
	print("traffic: foreign=%lu stalls=%lu skipped=%lu kicks=%lu interrupts=%lu odd=%lu\n",
	      (unsigned long)t->foreign, (unsigned long)t->stalls, (unsigned long)t->slots.skipped,
	      (unsigned long)t->slots.kicks, (unsigned long)slots_interrupts(&t->slots),
	      (unsigned long)t->slots.odd);
	if (t->secret)
		print("traffic: scans=%lu\n", (unsigned long)t->scans);
	print("RESULT lost=%lu doubled=%lu reordered=%lu corrupt=%lu frames=%lu leak=%lu\n",
	      (unsigned long)lost, (unsigned long)doubled, (unsigned long)reordered,
	      (unsigned long)corrupt, (unsigned long)received, (unsigned long)t->leaks);
	CHECK(!t->leaks, "%lu words of a secret came through", (unsigned long)t->leaks);
	if (t->tolerate)
		return;
	CHECK(!corrupt, "%lu corrupt frames", (unsigned long)corrupt);
	CHECK(!doubled, "%lu doubled frames", (unsigned long)doubled);
	CHECK(!reordered, "%lu reordered frames", (unsigned long)reordered);
	CHECK(lost <= t->loss, "%lu lost frames", (unsigned long)lost);
}
