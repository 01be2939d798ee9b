/*
 * Shows whether the transmit slots of one guest are the receive slots of another: the writer puts a
 * number into a transmit slot that it has not given, rings no doorbell, and the watcher looks for
 * that number in all its receive slots.
 *
 *   role=writer     announce ─▶   ... writes, waits ...   written ─▶
 *   role=watcher    ◀─ ready     looks all the time              ◀─ answer
 *
 * "alias=yes" if the number is there; "early" counts those that were there before any frame told of
 * them. Rounds go on until the watcher has seen, each `stable=N` (3) times on end, what
 * `want=no,yes,no` says, in that order and nothing else; both ends say so and end.
 *
 * Command line: role=, peer=MAC, want=, stable=, wait=MS (10) between writing and telling, calm=1:
 * no traffic that calls for a mapping until the first phase was seen, timeout=S (60) without a new
 * phase; and that of lib/slots.h.
 */
#include "lib/clock.h"
#include "lib/loopback.h"
#include "lib/net.h"
#include "lib/slots.h"
#include "lib/user.h"

#define REPEAT_US    20000
#define LINGER_US    300000
#define MASK	     0x0f1e2d3c4b5a6978u /* the number itself is in no frame */
#define MAX_WANT     8
#define FILLER_TURNS 8

enum kind { KIND_ANNOUNCE = 32, KIND_READY, KIND_WRITTEN, KIND_ANSWER, KIND_FILLER };

/* The payload of every frame. */
struct message {
	uint64_t masked;
	uint32_t over;	 /* answer: the watcher has seen all that it wanted */
	uint32_t phases; /* answer: how many of them it has seen */
	uint32_t filler;
} __attribute__((packed));

static struct slots slots;
static uint8_t peer[6];
static uint64_t random_state, timeout_us, wait_us, phase_us;
static bool calm; /* writer: no filler yet */

static bool send(enum kind kind, uint32_t round, uint64_t number, unsigned phases, bool over)
{
	uint8_t *slot = slots_tx_slot(&slots);
	struct loopback_frame *f = (void *)slot;
	struct message m = { .masked = number ^ MASK, .over = over, .phases = phases };

	if (!slot)
		return false;
	memcpy(f->dst, peer, 6);
	memcpy(f->src, slots.mac, 6);
	f->type = LOOPBACK_ETHERTYPE;
	f->kind = (uint16_t)kind;
	f->magic = LOOPBACK_MAGIC;
	f->seq = round;
	f->bytes = LOOPBACK_MIN;
	f->pad = 0;
	memcpy(f->payload, &m, sizeof(m));
	f->hash = loopback_hash(f);
	slots_tx_give(&slots, LOOPBACK_MIN);
	/* Filler is told of by the quarter of a ring. */
	if (kind != KIND_FILLER || slots.tx_next - slots.tx_told >= slots.nr / 4)
		slots_kick_tx(&slots);
	return true;
}

/* The next message from the peer, copied; 0: none. */
static unsigned receive(uint32_t *round, struct message *m)
{
	uint32_t bytes;
	uint8_t *slot = slots_rx_slot(&slots, &bytes);
	const struct loopback_frame *f = (const void *)slot;
	unsigned kind = 0;

	if (!slot)
		return 0;
	if (loopback_is(f, bytes) && f->bytes == LOOPBACK_MIN && !memcmp(f->src, peer, 6) &&
	    f->hash == loopback_hash(f)) {
		kind = f->kind;
		*round = f->seq;
		memcpy(m, f->payload, sizeof(*m));
	}
	slots_rx_give(&slots);
	slots_kick_rx(&slots, true);
	return kind;
}

static void check_time(void)
{
	CHECK(clock_us() - phase_us < timeout_us, "nothing new for %lu s",
	      (unsigned long)(timeout_us / 1000000));
}

/* -- Writer -- */

/* Sends until it is answered; true: the peer has seen enough. */
static bool ask(enum kind kind, enum kind answer, uint32_t round, uint64_t number)
{
	struct message m;
	uint64_t due = 0;
	uint32_t r;

	for (;;) {
		uint64_t now = clock_us();
		unsigned k = receive(&r, &m);

		if (k == answer && r == round) {
			calm = calm && !m.phases;
			return m.over;
		}
		if (k)
			continue;
		if (now >= due && send(kind, round, number, 0, false))
			due = now + REPEAT_US;
		check_time();
		cpu_pause();
	}
}

/* Some turns of the ring without a pause: whoever maps wants to see traffic. */
static void send_filler(uint32_t round)
{
	for (unsigned i = 0; i < FILLER_TURNS * slots.nr;) {
		if (send(KIND_FILLER, round, 0, 0, false)) {
			i++;
			continue;
		}
		slots_kick_tx(&slots);
		check_time();
		cpu_pause();
	}
	slots_kick_tx(&slots);
}

static uint64_t write_all(void *arg)
{
	uint32_t round = 0;
	bool over;

	do {
		uint64_t number = random_next(&random_state);
		volatile uint64_t *at;

		round++;
		if (!calm)
			send_filler(round);
		ask(KIND_ANNOUNCE, KIND_READY, round, number);
		phase_us = clock_us(); /* whoever answers looks after the rest */
		/* Not given, and far from those that are. */
		do {
			slots_reap(&slots);
			check_time();
		} while (slots.tx_next - slots.tx_done >= slots.nr / 4);
		at = (volatile uint64_t *)(slots_tx_at(&slots,
						       (slots.tx_next + slots.nr / 2) % slots.nr) +
					   (slots.slot_bytes / 2 & ~7u));
		clock_wait_us(1000);
		*at = number;
		clock_wait_us(wait_us);
		over = ask(KIND_WRITTEN, KIND_ANSWER, round, number);
	} while (!over);
	return round;
}

/* -- Watcher -- */

static bool is_there(uint64_t number)
{
	const volatile uint64_t *at = (const volatile void *)slots.rx_pages;

	for (size_t i = 0; i < slots.page_bytes / 8; i++) {
		if (at[i] == number)
			return true;
	}
	return false;
}

struct watch {
	bool want[MAX_WANT];
	unsigned nr_want, phase; /* phase: how many of them were seen, the current one included */
	unsigned stable, same, early;
	bool last;
};

/* True: all was seen. */
static bool note(struct watch *w, uint32_t round, bool yes, bool early)
{
	if (!w->same || yes != w->last) {
		w->same = w->early = 0;
		w->last = yes;
	}
	w->same++;
	w->early += early;
	if (w->same < w->stable || (yes && !w->early))
		return false;
	if (w->phase && yes == w->want[w->phase - 1])
		return w->phase == w->nr_want;
	CHECK(w->phase < w->nr_want && yes == w->want[w->phase], "alias=%s in round %u",
	      yes ? "yes" : "no", round);
	print("alias=%s early=%u round=%u\n", yes ? "yes" : "no", w->early, round);
	w->phase++;
	phase_us = clock_us();
	return w->phase == w->nr_want;
}

static void parse_want(struct watch *w)
{
	char text[64], *p = text;

	if (!cmdline_get("want", text, sizeof(text)))
		memcpy(text, "no", 3);
	while (*p && w->nr_want < MAX_WANT) {
		w->want[w->nr_want++] = *p == 'y';
		while (*p && *p++ != ',')
			;
	}
	CHECK(w->nr_want, "want=%s", text);
}

static uint64_t watch_all(void *arg)
{
	struct watch *w = arg;
	uint32_t round = 0, answered = 0, r;
	uint64_t number = 0, over_us = 0;
	bool early = false;
	struct message m;

	while (!over_us || clock_us() - over_us < LINGER_US) {
		unsigned kind = receive(&r, &m);

		check_time();
		if (kind == KIND_ANNOUNCE) {
			/* Once it was answered, its number may be there at any time. */
			if (r != round) {
				early = false;
				round = r;
				number = m.masked ^ MASK;
				CHECK(!is_there(number), "the number of round %u is there too soon",
				      r);
			}
			send(KIND_READY, r, 0, w->phase, false);
		} else if (kind == KIND_WRITTEN && r == round) {
			if (answered != r && note(w, r, early || is_there(number), early))
				over_us = clock_us();
			answered = r;
			send(KIND_ANSWER, r, 0, w->phase, over_us);
		} else if (!kind && round != answered && !early) {
			early = is_there(number);
		}
		cpu_pause();
	}
	return round;
}

void guest_main(void)
{
	struct watch watch = { .stable = (unsigned)cmdline_u64("stable", 3) };
	bool writer = cmdline_is("role", "writer");
	char text[32];
	uint64_t rounds;

	CHECK(cmdline_get("peer", text, sizeof(text)) && parse_mac(text, peer),
	      "peer=MAC is missing");
	intr_init();
	clock_init();
	user_init();
	slots_start(&slots, true);
	timeout_us = cmdline_u64("timeout", 60) * 1000000;
	wait_us = cmdline_u64("wait", 10) * 1000;
	random_state = hash_bytes(slots.mac, 6, clock_us());
	phase_us = clock_us();
	calm = cmdline_is("calm", "1");
	parse_want(&watch);
	rounds = user_call(writer ? write_all : watch_all, &watch);
	print("%s: %lu rounds over %s, %u slots of %u bytes\n", writer ? "writer" : "watcher",
	      (unsigned long)rounds, slots.over, slots.nr, slots.slot_bytes);
}
