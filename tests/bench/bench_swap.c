/*
 * How long a swap holds a sender: see bench_swap.h. As xvmm says it itself in the event of each
 * swap, with loops on threads of their own, under traffic that never stops.
 *
 *   direct   from the detector's verdict until the marker has come through TAP, bridge and TAP and
 *            the ring is served again. The way back holds nobody.
 *   mapped   an element of 2 MiB: in, from a full ring of the sender's until its pages have moved;
 *            out, from the decision until both guests have their pages back
 *
 * To hold a driver is to wait until it has done what it is at; in a machine its vCPU has to be
 * kicked. The time of a thread that waits for a processor is in it: on a busy machine that is what
 * the highest percentile shows.
 */
#include "tests/bench/bench_swap.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/bench/lane_host.h"
#include "tests/bench/lane_slots.h"
#include "vmm/tap.h"

#define SWAPS	   200
#define SWAP_TURNS 2000000
#define SLOT_BYTES (2 * 1024 * 1024 / LANE_SLOTS)

static const struct lane_shape swap_shape = { .name = "64", .len = 64, .batch = 16 };

struct swap_pair {
	struct netswitch *sw;
	struct lane_slots a, b;
	struct tap *tap_a, *tap_b;
	uint64_t seq; /* of the last event looked at */
	unsigned timeouts;
};

struct swap_figure {
	double us[SWAPS];
	unsigned n;
};

/* -- Loops on threads of their own -- */

static void run(struct lane_slots *s)
{
	atomic_store(&s->nic->loop.running, false);
	if (loop_start(&s->nic->loop))
		lane_die("loop_start");
}

static void halt(struct lane_slots *s)
{
	loop_stop(&s->nic->loop);
	s->nic->loop.thread = pthread_self();
	atomic_store(&s->nic->loop.running, true);
}

/* -- Traffic -- */

/* One turn of both drivers. */
static void drive(struct swap_pair *p)
{
	unsigned room, frames;

	lane_slots_enter(&p->a);
	lane_slots_enter(&p->b);
	room = LANE_SLOTS - lane_slots_sent(&p->a);
	if (room)
		lane_slots_post(&p->a, room < swap_shape.batch ? room : swap_shape.batch, true);
	frames = lane_slots_take(&p->b, &p->a, true);
	if (p->b.nic->foul)
		lane_die("wrong frames in a swap");
	if (frames)
		lane_slots_give(&p->b);
	lane_slots_exit(&p->b);
	lane_slots_exit(&p->a);
	if (!room && !frames)
		usleep(20);
}

static void command(struct swap_pair *p, bool pin, enum binding to)
{
	int err = netswitch_command(p->sw, p->a.nic->port, pin, to);

	if (err)
		lane_die("netswitch_command: %s", strerror(-err));
}

/* Sends until the event of a swap to `to` has come. */
static uint64_t swapped_us(struct bench *b, struct swap_pair *p, enum binding to)
{
	struct xtalk_event ev[8];

	for (unsigned n = 0; n < SWAP_TURNS; n++) {
		unsigned cnt = remapper_events(b->remapper, p->seq, ev, ARRAY_SIZE(ev));

		for (unsigned i = 0; i < cnt; i++) {
			p->seq = ev[i].seq;
			p->timeouts += ev[i].why == WHY_TIMEOUT;
			if (!strcmp(ev[i].nic, p->a.nic->port->name) && ev[i].from != ev[i].to &&
			    ev[i].to == to)
				return ev[i].swap_us;
		}
		drive(p);
	}
	lane_die("%s: no swap", p->a.nic->port->name);
}

static void put(struct swap_figure *f, uint64_t us)
{
	if (f->n < SWAPS)
		f->us[f->n++] = (double)us;
}

/* -- Both kinds -- */

static void join(struct bench *b, struct swap_pair *p, unsigned id, const char *name, bool uplinks)
{
	char a[16], z[16];

	snprintf(a, sizeof(a), "%s.a", name);
	snprintf(z, sizeof(z), "%s.b", name);
	p->sw = net_create(b, name, uplinks, XTALK_DYNAMIC);
	lane_slots_create(&p->a, strdup(a), id, SLOT_BYTES);
	lane_slots_create(&p->b, strdup(z), id + 1, SLOT_BYTES);
	if (uplinks)
		lane_host_bridge("brs");
	net_join(p->sw, p->a.nic, uplinks ? tap_for(&p->tap_a, p->a.nic, "sa", "brs") : NULL);
	net_join(p->sw, p->b.nic, uplinks ? tap_for(&p->tap_b, p->b.nic, "sb", "brs") : NULL);
	if (uplinks) { /* never mapped */
		p->a.nic->port->memory = NULL;
		p->b.nic->port->memory = NULL;
	}
	lane_slots_start(&p->a);
	lane_slots_start(&p->b);
	lane_slots_shape(&p->a, &swap_shape, p->b.nic->port->mac);
	lane_slots_shape(&p->b, &swap_shape, p->a.nic->port->mac);
	lane_slots_post(&p->b, 1, true); /* the bridge learns where it is */
	for (unsigned i = 0; i < 4; i++) {
		lane_nic_turn(p->b.nic);
		lane_nic_turn(p->a.nic);
	}
	lane_slots_take(&p->a, &p->b, true);
	lane_slots_give(&p->a);
	run(&p->a);
	run(&p->b);
}

static void leave(struct swap_pair *p)
{
	for (unsigned n = 0; n < SWAP_TURNS && lane_slots_sent(&p->a); n++) {
		if (lane_slots_take(&p->b, &p->a, true))
			lane_slots_give(&p->b);
		usleep(20);
	}
	halt(&p->a);
	halt(&p->b);
	lane_nic_stop(p->a.nic);
	lane_nic_stop(p->b.nic);
}

static void swap_direct(struct bench *b, unsigned id, struct swap_figure *in)
{
	struct swap_pair p = { .seq = 0 };

	join(b, &p, id, "swap", true);
	while (in->n < SWAPS) {
		command(&p, false, BINDING_UPLINK);
		put(in, swapped_us(b, &p, BINDING_DIRECT));
		for (unsigned i = 0; i < 8; i++)
			drive(&p);
		command(&p, true, BINDING_UPLINK);
		swapped_us(b, &p, BINDING_UPLINK);
	}
	if (p.timeouts)
		fprintf(stderr, "bench_lane: %u swaps to direct were given up\n", p.timeouts);
	leave(&p);
}

static void swap_mapped(struct bench *b, unsigned id, struct swap_figure *in,
			struct swap_figure *out, struct swap_figure *moving)
{
	struct swap_pair p = { .seq = 0 };

	join(b, &p, id, "swapm", false);
	while (in->n < SWAPS) {
		command(&p, true, BINDING_MAPPED);
		put(in, swapped_us(b, &p, BINDING_MAPPED));
		put(moving, p.a.held_us);
		for (unsigned i = 0; i < 8; i++)
			drive(&p);
		command(&p, true, BINDING_DIRECT);
		put(out, swapped_us(b, &p, BINDING_DIRECT));
	}
	leave(&p);
}

static void report_us(struct bench *b, const char *key, struct swap_figure *f, unsigned p)
{
	json_object_set_new(b->out, key,
			    f->n ? json_real(percentile(f->us, f->n, p)) : json_null());
}

void swap_measure(struct bench *b, unsigned id)
{
	static struct swap_figure direct, in, out, moving, both;

	if (b->host)
		swap_direct(b, id, &direct);
	swap_mapped(b, id + 2, &in, &out, &moving);
	report_us(b, "swap_direct_us_p50", &direct, 50);
	report_us(b, "swap_direct_us_p99", &direct, 99);
	report_us(b, "swap_mapped_in_us_p50", &in, 50);
	report_us(b, "swap_mapped_in_us_p99", &in, 99);
	report_us(b, "swap_mapped_move_us_p50", &moving, 50);
	report_us(b, "swap_mapped_out_us_p50", &out, 50);
	report_us(b, "swap_mapped_out_us_p99", &out, 99);
	both = percentile(in.us, in.n, 99) > percentile(out.us, out.n, 99) ? in : out;
	report_us(b, "swap_mapped_us_p99", &both, 99);
	if (direct.n)
		aim("a swap to direct holds the sender for, us, p99",
		    percentile(direct.us, direct.n, 99), 50, false);
	aim("a swap to or from mapped, 2 MiB, us, p99", percentile(both.us, both.n, 99), 500,
	    false);
}
