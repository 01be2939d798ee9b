/*
 * Swaps between `uplink`, `direct` and `mapped` under load: two NICs whose drivers keep the
 * contract of slots (docs/mapped.md), and a third whose driver does not say so, each on a loop and
 * a TAP of its own, on a bridge in a network namespace of the test's own. Numbered frames with a
 * hash run between all of them while bindings are changed at random: none may be lost, doubled,
 * reordered or changed.
 *
 * Each check of Check's writes to a file: where there are millions, mock_require() stands for it.
 *
 * A driver is a thread that writes to guest memory only inside of steps, which hold() of the port's
 * memory keeps it out of, as the real one does with vCPUs. It leaves frames half written, and
 * received ones unread, for a while: what it finds then must be what was there.
 *
 * What is in flight is bounded, so that no queue of the host's can overflow; then every loss is
 * ours. XVMM_SWAPS: how many changes of binding, instead of 10,000 (1,000 with a sanitizer).
 */
#include <check.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "tests/unit/swap_kit.h"

#if defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__)
#define SWAPS	    1000
#define DEADLINE_US 200000
#else
#define SWAPS	    10000
#define DEADLINE_US 20000
#endif

#define NICS	  3
#define SLOT	  8192u
#define NR_MAX	  256
#define GSO_BYTES 5000
#define TX_BASE	  MIB(8)
#define RX_BASE	  MIB(16)
#define WINDOW	  200 /* frames from A to B, or back, that are on their way */
#define WINDOW_C  8   /* to and from C */
#define SAMPLES	  65536

enum { A, B, C };

/* ThreadSanitizer takes mmap(2) for a write to all bytes. When a mapping ends, the sender's NIC may
 * be looking at the header of a frame that waits: pages with the same bytes take the place of
 * others, which no reader can tell. */
const char *__tsan_default_suppressions(void);
const char *__tsan_default_suppressions(void)
{
	return "race:^map_pages$\n";
}

/* Lets a guest's driver take one step at a time, or none. */
struct gate {
	pthread_mutex_t lock;
	pthread_cond_t cond;
	bool stepping, held;
	uint64_t held_ns;
};

struct samples {
	unsigned n;
	uint32_t us[SAMPLES];
};

struct end {
	struct mock_nic nic;
	struct port_memory memory;
	struct gate gate;
	struct swap_tap tap;
};

static struct end end[NICS];
static struct netswitch *sw;
static struct remapper *remapper;
static struct flow flow[NICS][NICS]; /* from, to */
static _Atomic bool stop_sending, stop_all;
static struct samples to_direct, to_mapped, from_mapped, holds;
static unsigned nr_why[WHY_FRAME + 1]; /* ends of mappings */
static uint64_t last_event;

/* -- The gate -- */

static void step_begin(unsigned i)
{
	struct gate *g = &end[i].gate;

	pthread_mutex_lock(&g->lock);
	while (g->held)
		pthread_cond_wait(&g->cond, &g->lock);
	g->stepping = true;
	pthread_mutex_unlock(&g->lock);
}

static void step_end(unsigned i)
{
	struct gate *g = &end[i].gate;

	pthread_mutex_lock(&g->lock);
	g->stepping = false;
	if (g->held)
		pthread_cond_broadcast(&g->cond);
	pthread_mutex_unlock(&g->lock);
}

static void on_hold(void *arg)
{
	struct gate *g = &((struct end *)arg)->gate;

	pthread_mutex_lock(&g->lock);
	mock_require(!g->held);
	g->held = true;
	g->held_ns = swap_now_ns();
	while (g->stepping)
		pthread_cond_wait(&g->cond, &g->lock);
	pthread_mutex_unlock(&g->lock);
}

static void add_sample(struct samples *s, uint64_t us)
{
	if (s->n < SAMPLES)
		s->us[s->n++] = us > UINT32_MAX ? UINT32_MAX : (uint32_t)us;
}

static void on_release(void *arg)
{
	struct gate *g = &((struct end *)arg)->gate;

	pthread_mutex_lock(&g->lock);
	mock_require(g->held && !g->stepping);
	g->held = false;
	add_sample(&holds, (swap_now_ns() - g->held_ns) / 1000);
	pthread_cond_broadcast(&g->cond);
	pthread_mutex_unlock(&g->lock);
}

static void on_lost(void *arg)
{
	ck_abort_msg("memory was lost");
}

/* -- The net -- */

static void setup(void)
{
	swap_net_create(&sw, &remapper, DEADLINE_US);
	for (unsigned i = 0; i < NICS; i++) {
		struct end *e = &end[i];

		pthread_mutex_init(&e->gate.lock, NULL);
		pthread_cond_init(&e->gate.cond, NULL);
		e->memory = (struct port_memory){ .mem = &e->nic.mp.mem,
						  .domain = "lab",
						  .hold = on_hold,
						  .release = on_release,
						  .lost = on_lost,
						  .arg = e };
		swap_plug(sw, i, &e->nic, &e->tap, i == C ? NULL : &e->memory);
	}
}

static void start(unsigned nr)
{
	for (unsigned i = 0; i < NICS; i++) {
		struct mock_nic *n = &end[i].nic;

		n->slots_indirect = nr > 128;
		ck_assert(mock_nic_start(n, MOCK_NET_ALL, 256));
		mock_nic_slots_tx_init(n, nr, SLOT, TX_BASE, 0);
		mock_nic_slots_rx_init(n, nr, SLOT, RX_BASE, 0);
		ck_assert_int_eq(loop_start(&n->loop), 0);
	}
}

static void teardown(void)
{
	for (unsigned i = 0; i < NICS; i++)
		loop_stop(&end[i].nic.loop);
	for (unsigned i = 0; i < NICS; i++) {
		struct end *e = &end[i];

		swap_unplug(sw, &e->nic, &e->tap);
		ck_assert(!e->gate.held);
	}
	netswitch_destroy(sw);
	remapper_destroy(remapper);
}

/* -- A driver of a guest: one thread -- */

struct got {
	unsigned slot;
	uint32_t len; /* as used: header included; 0: no frame */
};

struct guest {
	unsigned me, seed, nr;
	uint8_t frame[SLOT];
	/* Transmit. */
	unsigned next; /* slot */
	unsigned busy_nr;
	bool busy[NR_MAX];
	bool draft; /* a frame is half in its slot */
	bool eager; /* takes no break */
	unsigned dst;
	uint32_t len;
	struct virtio_net_hdr_v1 hdr;
	/* Receive: taken from the used ring and not given back, oldest first. */
	struct got got[NR_MAX];
	unsigned first, nr_got;
	_Atomic unsigned barrier;
};

static unsigned pick(struct guest *g, unsigned n)
{
	return (unsigned)rand_r(&g->seed) % n;
}

/* One frame; a TCP segment too long for the wire now and then. */
static void make_frame(struct guest *g, uint32_t number)
{
	bool gso = pick(g, 16) == 0;
	size_t len = 60 + pick(g, gso ? GSO_BYTES : pick(g, 4) ? 200 : 1455);

	if (gso && len < 2000)
		len += 2000;
	swap_frame(g->frame, &g->hdr, len, (uint8_t)(g->dst + 1), (uint8_t)(g->me + 1), number,
		   gso);
	g->len = (uint32_t)len;
}

static bool room(const struct guest *g, unsigned dst)
{
	struct flow *f = &flow[g->me][dst];
	uint32_t sent = atomic_load(&f->sent), limit = dst == C || g->me == C ? WINDOW_C : WINDOW;

	/* C answers. */
	if (g->me == C && sent == atomic_load(&flow[dst][C].received))
		return false;
	return sent - atomic_load(&f->received) < limit;
}

/* To whom the next frame goes; false: to nobody. */
static bool pick_dst(struct guest *g)
{
	if (g->me == C) {
		for (unsigned i = 0; i < C; i++) {
			g->dst = i;
			if (room(g, i))
				return true;
		}
		return false;
	}
	g->dst = pick(g, 1024) ? !g->me : C;
	if (!room(g, g->dst))
		g->dst = !g->me;
	return room(g, g->dst);
}

/* The first half of the next frame into its slot. False: nothing to be sent now. */
static bool begin_frame(struct guest *g)
{
	if (g->busy[g->next] || (g->me != C && atomic_load(&stop_sending)) || !pick_dst(g))
		return false;
	make_frame(g, atomic_load(&flow[g->me][g->dst].sent));
	step_begin(g->me);
	memcpy(mock_nic_slot_at(&end[g->me].nic, 1, g->next), g->frame, g->len / 2);
	step_end(g->me);
	g->draft = true;
	return true;
}

static void finish_frame(struct guest *g)
{
	struct mock_nic *n = &end[g->me].nic;
	uint8_t *slot = mock_nic_slot_at(n, 1, g->next);

	step_begin(g->me);
	memcpy(slot + g->len / 2, g->frame + g->len / 2, g->len - g->len / 2);
	mock_nic_slot_send(n, g->next, &g->hdr, NULL, g->len);
	step_end(g->me);
	g->draft = false;
	g->busy[g->next] = true;
	g->busy_nr++;
	g->next = (g->next + 1) % g->nr;
	atomic_fetch_add(&flow[g->me][g->dst].sent, 1);
}

static bool wants_kick(struct guest *g, unsigned q)
{
	atomic_exchange(&g->barrier, 1); /* the index is out before the flag is read */
	return !mock_ring_no_notify(&end[g->me].nic.drv.ring[q]);
}

static void transmit(struct guest *g)
{
	struct mock_nic *n = &end[g->me].nic;
	unsigned burst = 1 + pick(g, 24), sent = 0, slot;

	step_begin(g->me);
	while (mock_nic_slot_sent(n, &slot)) {
		mock_require(g->busy[slot]);
		g->busy[slot] = false;
		g->busy_nr--;
	}
	step_end(g->me);
	while (sent < burst && (g->draft || begin_frame(g))) {
		if (pick(g, 16) == 0)
			break; /* the rest later */
		finish_frame(g);
		sent++;
	}
	if (sent && wants_kick(g, 1))
		mock_driver_kick(&n->drv, 1);
}

/* Takes what has come; it is looked at later. */
static bool receive(struct guest *g)
{
	struct mock_nic *n = &end[g->me].nic;
	bool any = false;
	uint32_t id, len;

	step_begin(g->me);
	while (mock_ring_used(&n->drv.ring[0], &id, &len)) {
		unsigned slot = n->slots[0].indirect ? id : id / 2;

		mock_require(g->nr_got < g->nr && slot < g->nr);
		g->got[(g->first + g->nr_got++) % g->nr] = (struct got){ slot, len };
		any = true;
	}
	step_end(g->me);
	return any;
}

static void check_frame(struct guest *g, const struct got *got)
{
	struct mock_nic *n = &end[g->me].nic;
	const uint8_t *data = mock_nic_slot_at(n, 0, got->slot);
	uint32_t len = got->len - VNET_HDR_BYTES, number;
	unsigned src = data[11] - 1u;
	size_t at = swap_stamp_at(data);
	struct virtio_net_hdr_v1 hdr;
	struct flow *f;
	struct stamp s;
	bool whole;

	/* The kernel may multicast something of its own, and a bridge floods until it has learnt.
	 */
	if (data[0] & 1 || data[5] != g->me + 1)
		return;
	mock_require(got->len > VNET_HDR_BYTES + 59 && len <= SLOT);
	mock_require(src < NICS && src != g->me);
	f = &flow[src][g->me];
	number = atomic_load(&f->received);
	memcpy(&s, data + at, sizeof(s));
	whole = s.len == len &&
		s.hash == swap_hash(s.number, data + at + sizeof(s), len - at - sizeof(s));
	if (s.number != number || !whole)
		ck_abort_msg("NIC %u got frame %u (%u of %u bytes, %s) of %u instead of %u", g->me,
			     s.number, len, s.len, whole ? "whole" : "changed", src, number);
	mock_require(!gmem_read(&n->mp.mem,
				n->slots[0].hdrs + (gpa_t)MOCK_SLOT_HDR_BYTES * got->slot, &hdr,
				VNET_HDR_BYTES));
	mock_require(hdr.num_buffers == 1);
	mock_require(hdr.gso_type ==
		     (at == 54 ? VIRTIO_NET_HDR_GSO_TCPV4 : VIRTIO_NET_HDR_GSO_NONE));
	atomic_store(&f->received, number + 1);
}

/* Reads the oldest n frames in place and gives their slots back. */
static void consume(struct guest *g, unsigned n)
{
	struct mock_nic *nic = &end[g->me].nic;

	if (!n || !g->nr_got)
		return;
	for (; n && g->nr_got; n--, g->nr_got--) {
		const struct got *got = &g->got[g->first];

		step_begin(g->me);
		if (got->len)
			check_frame(g, got);
		mock_nic_slot_give(nic, got->slot);
		step_end(g->me);
		g->first = (g->first + 1) % g->nr;
	}
	if (wants_kick(g, 0))
		mock_driver_kick(&nic->drv, 0);
}

static void *guest_main(void *arg)
{
	struct guest *g = arg;
	struct mock_nic *n = &end[g->me].nic;

	mock_nic_slots_give_all(n);
	mock_driver_kick(&n->drv, 0);
	while (!atomic_load(&stop_all)) {
		bool any;

		transmit(g);
		any = receive(g);
		/* All, a few, or none for a while. */
		switch (g->eager ? 7 : pick(g, 8)) {
		case 0:
			consume(g, 1);
			break;
		case 1:
			if (pick(g, 16) == 0)
				usleep(pick(g, 2000));
			else if (pick(g, 256) == 0)
				usleep(DEADLINE_US * 2);
			break;
		case 2:
		case 3:
			consume(g, pick(g, 20));
			break;
		default:
			consume(g, g->nr);
		}
		if (!any)
			usleep(20);
	}
	return NULL;
}

static struct guest *guest_new(unsigned me, unsigned seed, unsigned nr, bool eager)
{
	struct guest *g = calloc(1, sizeof(*g));

	ck_assert_ptr_nonnull(g);
	g->me = me;
	g->seed = seed * NICS + me;
	g->nr = nr;
	g->eager = eager;
	return g;
}

/* -- Swaps -- */

static void note_events(void)
{
	static struct xtalk_event ev[REMAPPER_EVENTS];
	unsigned n = remapper_events(remapper, last_event, ev, ARRAY_SIZE(ev));

	for (unsigned i = 0; i < n; i++) {
		last_event = ev[i].seq;
		if (ev[i].from == BINDING_MAPPED) {
			nr_why[ev[i].why]++;
			add_sample(&from_mapped, ev[i].swap_us);
		} else if (ev[i].to == BINDING_MAPPED) {
			add_sample(&to_mapped, ev[i].swap_us);
		} else if (ev[i].to == BINDING_DIRECT && ev[i].why == WHY_TRAFFIC) {
			/* One by command is bound at once; its lane opens later. */
			add_sample(&to_direct, ev[i].swap_us);
		}
	}
}

static int by_value(const void *x, const void *y)
{
	uint32_t a = *(const uint32_t *)x, b = *(const uint32_t *)y;

	return (a > b) - (a < b);
}

static void print_samples(const char *what, struct samples *s)
{
	qsort(s->us, s->n, sizeof(s->us[0]), by_value);
	if (s->n)
		printf("  %-40s p50 %6u us, p99 %6u us, most %6u us (%u)\n", what, s->us[s->n / 2],
		       s->us[s->n * 99 / 100], s->us[s->n - 1], s->n);
}

static struct netswitch_port_state state(unsigned i)
{
	struct netswitch_port_state s;

	mock_require(!netswitch_port_state(sw, end[i].nic.port, &s));
	return s;
}

static uint32_t received_of(unsigned i)
{
	return atomic_load(&flow[i][i == C ? A : !i].received);
}

/* One order, and some frames until the next. Some orders come in the middle of the last one's swap.
 */
static void swap_one(unsigned *seed, unsigned nr)
{
	unsigned i = (unsigned)rand_r(seed) % 16 ? (unsigned)rand_r(seed) % 2 : C;
	unsigned what = (unsigned)rand_r(seed) % 8;
	enum binding to = what < 3 ? BINDING_UPLINK : BINDING_DIRECT;
	uint32_t from = received_of(i), frames = (uint32_t)rand_r(seed) % 10;

	if (i == C) {
		frames = 0;
	} else if (what > 4) {
		to = BINDING_MAPPED;
		frames = (uint32_t)rand_r(seed) % (nr * 6);
	} else if (what == 0) {
		frames = (uint32_t)rand_r(seed) % 64;
	}
	ck_assert_int_eq(netswitch_command(sw, end[i].nic.port, what != 0, to), 0);
	for (unsigned n = 0;
	     n < (to == BINDING_MAPPED ? 2000 : 100) && received_of(i) - from < frames; n++) {
		usleep(20);
		if (to == BINDING_MAPPED && n % 8 == 7 && state(i).binding == to)
			frames = received_of(i) - from < frames ? frames % 16 : 0;
	}
	note_events();
}

/* All that was sent has come, and every slot is its driver's again. */
static void settle(struct guest *const g[])
{
	uint64_t last = swap_now_ms();

	atomic_store(&stop_sending, true);
	for (unsigned i = 0; i < NICS * NICS; i++) {
		struct flow *f = &flow[i / NICS][i % NICS];

		while (atomic_load(&f->received) != atomic_load(&f->sent) ||
		       (i % NICS == C &&
			atomic_load(&flow[C][i / NICS].sent) != atomic_load(&f->received))) {
			ck_assert_msg(swap_now_ms() - last < 20000,
				      "%u to %u: %u sent, %u received", i / NICS, i % NICS, f->sent,
				      f->received);
			usleep(1000);
		}
	}
	for (unsigned i = 0; i < NICS; i++) {
		while (mock_ring_used_idx(&end[i].nic.drv.ring[1]) !=
		       (uint16_t)(flow[i][A].sent + flow[i][B].sent + flow[i][C].sent)) {
			ck_assert_msg(swap_now_ms() - last < 20000, "NIC %u: frames never done", i);
			usleep(1000);
		}
	}
	atomic_store(&stop_all, true);
}

static uint64_t tx_by(enum port_path path)
{
	return end[A].nic.port->stats.path[path].tx_frames +
	       end[B].nic.port->stats.path[path].tx_frames;
}

static const struct {
	const char *name;
	unsigned nr, divide;
	bool eager;
} layouts[] = {
	{ "16 slots of 8 KiB", 16, 1, false },
	{ "256 slots of 8 KiB (2 MiB)", 256, 40, false },
	{ "256 slots of 8 KiB (2 MiB), eager drivers", 256, 16, true },
};

START_TEST(swaps_under_load)
{
	const struct netswitch_stats *st = netswitch_stats(sw);
	const char *env = getenv("XVMM_SWAPS");
	uint64_t swaps = env ? strtoull(env, NULL, 0) : SWAPS, began = swap_now_ms(), maps, rescues;
	unsigned seed = 1, nr = layouts[_i].nr;
	struct guest *g[NICS];
	pthread_t th[NICS];

	swaps /= layouts[_i].divide;
	start(nr);
	for (unsigned i = 0; i < NICS; i++) {
		g[i] = guest_new(i, seed, nr, layouts[_i].eager);
		pthread_create(&th[i], NULL, guest_main, g[i]);
	}
	while (atomic_load(&st->swaps) < swaps)
		swap_one(&seed, nr);
	settle(g);
	for (unsigned i = 0; i < NICS; i++) {
		const struct port_stats *s = &end[i].nic.port->stats;

		pthread_join(th[i], NULL);
		free(g[i]);
		ck_assert_uint_eq(s->rx_dropped, 0);
		ck_assert_uint_eq(s->tx_dropped, 0);
		ck_assert_uint_eq(s->tx_frames,
				  flow[i][A].sent + flow[i][B].sent + flow[i][C].sent);
	}
	note_events();
	maps = state(A).maps + state(B).maps;
	rescues = state(A).rescues + state(B).rescues;
	printf("%s: swaps %llu, of these to mapped %llu; ended by command %u, others %u, deadline "
	       "%u, traffic %u, slots %u, frames %u; drain timeouts %llu; frames by uplink %llu, "
	       "direct %llu, mapped %llu; %llu ms\n",
	       layouts[_i].name, (unsigned long long)st->swaps, (unsigned long long)maps,
	       nr_why[WHY_COMMAND], nr_why[WHY_OTHERS], nr_why[WHY_DEADLINE], nr_why[WHY_TRAFFIC],
	       nr_why[WHY_SLOTS], nr_why[WHY_FRAME], (unsigned long long)st->drain_timeouts,
	       (unsigned long long)tx_by(PATH_UPLINK), (unsigned long long)tx_by(PATH_DIRECT),
	       (unsigned long long)tx_by(PATH_MAPPED), (unsigned long long)(swap_now_ms() - began));
	print_samples("uplink to direct (sender held)", &to_direct);
	print_samples("to mapped (sender held)", &to_mapped);
	print_samples("from mapped (sender held)", &from_mapped);
	print_samples("vCPUs held, each way", &holds);
	ck_assert_uint_ge(nr_why[WHY_DEADLINE], rescues);
	ck_assert_uint_eq(nr_why[WHY_SLOTS] + nr_why[WHY_FRAME], 0);
	ck_assert_uint_gt(maps, 0);
	if (layouts[_i].divide > 1)
		return;
	/* All ways were used, and a good part of the swaps was to `mapped`. */
	ck_assert_uint_gt(maps, swaps / 8);
	ck_assert_uint_gt(nr_why[WHY_COMMAND], 0);
	ck_assert_uint_gt(tx_by(PATH_UPLINK), swaps);
	ck_assert_uint_gt(tx_by(PATH_DIRECT), swaps);
	for (unsigned i = A; i <= B; i++) {
		const struct path_stats *p = &end[i].nic.port->stats.path[PATH_MAPPED];

		ck_assert_uint_gt(p->tx_frames, swaps);
		ck_assert_uint_gt(p->rx_frames, swaps);
	}
}
END_TEST

int main(void)
{
	Suite *s = suite_create("mapped swap");
	TCase *tc = tcase_create("swap");
	const char *what = swap_missing();
	SRunner *sr;
	int failed;

	if (what) {
		printf("SKIP test_mapped_swap: needs %s\n", what);
		return EXIT_SUCCESS;
	}
	tcase_set_timeout(tc, 180);
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_loop_test(tc, swaps_under_load, 0, ARRAY_SIZE(layouts));
	suite_add_tcase(s, tc);
	sr = srunner_create(s);
	srunner_run_all(sr, CK_NORMAL);
	failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
