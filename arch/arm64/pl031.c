/*
 * PL031 real time clock: see pl031.h.
 */
#include "arch/arm64/pl031.h"

#include <time.h>

#include "arch/arm64/layout.h"
#include "arch/arm64/primecell.h"

#define PART_NUMBER 0x031
#define NS_PER_S    1000000000ull

enum {
	REG_DATA = 0x00,
	REG_MATCH = 0x04,
	REG_LOAD = 0x08,
	REG_CONTROL = 0x0c, /* bit 0: started; cannot be stopped */
	REG_MASK = 0x10,
	REG_RAW = 0x14,
	REG_MASKED = 0x18,
	REG_CLEAR = 0x1c,
};

static uint64_t host_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_REALTIME, &ts);
	return (uint64_t)ts.tv_sec * NS_PER_S + (uint64_t)ts.tv_nsec;
}

/* Under the lock. */
static uint32_t now_s(const struct pl031 *d)
{
	return (uint32_t)(host_ns() / NS_PER_S) + d->offset_s;
}

static void update_line(struct pl031 *d)
{
	bool level = d->raised && d->enabled;

	if (level == d->line_level)
		return;
	d->line_level = level;
	d->plat->ops->line_set(d->plat, d->gsi, level);
}

/* A match in the past comes when the 32 bits have gone round. It is decided here, when the guest
 * asks, what is past: the loop may come to it late. */
static void expect_match(struct pl031 *d)
{
	uint64_t host_s = host_ns() / NS_PER_S;
	uint32_t wait_s = d->match_s - ((uint32_t)host_s + d->offset_s);

	d->due_ns = (host_s + wait_s) * NS_PER_S;
}

/* On the loop. */
static void arm(struct pl031 *d)
{
	uint64_t now = host_ns(), due;

	pthread_mutex_lock(&d->lock);
	due = d->due_ns;
	pthread_mutex_unlock(&d->lock);
	loop_timer_arm(&d->alarm, due > now ? due - now : 0);
}

static void on_rearm(struct loop_work *w)
{
	arm(container_of(w, struct pl031, rearm));
}

static void on_alarm(struct loop_timer *t)
{
	struct pl031 *d = container_of(t, struct pl031, alarm);
	bool due;

	pthread_mutex_lock(&d->lock);
	/* The match may have moved, or the host's clock been set back, since the timer was armed.
	 */
	due = host_ns() >= d->due_ns;
	if (due) {
		d->raised = true;
		update_line(d);
	}
	pthread_mutex_unlock(&d->lock);
	if (!due)
		arm(d);
}

static uint64_t pl031_read(struct bus_region *r, uint64_t offset, unsigned size)
{
	struct pl031 *d = r->opaque;
	uint32_t v = 0;

	if (offset >= PRIMECELL_ID)
		return primecell_id(PART_NUMBER, offset);
	pthread_mutex_lock(&d->lock);
	switch (offset) {
	case REG_DATA:
		v = now_s(d);
		break;
	case REG_MATCH:
		v = d->match_s;
		break;
	case REG_LOAD:
		v = d->load_s;
		break;
	case REG_CONTROL:
		v = 1;
		break;
	case REG_MASK:
		v = d->enabled;
		break;
	case REG_RAW:
		v = d->raised;
		break;
	case REG_MASKED:
		v = d->raised && d->enabled;
		break;
	}
	pthread_mutex_unlock(&d->lock);
	return v;
}

static void pl031_write(struct bus_region *r, uint64_t offset, uint64_t value, unsigned size)
{
	struct pl031 *d = r->opaque;
	bool rearm = false;

	pthread_mutex_lock(&d->lock);
	switch (offset) {
	case REG_MATCH:
		d->match_s = (uint32_t)value;
		expect_match(d);
		rearm = true;
		break;
	case REG_LOAD:
		d->load_s = (uint32_t)value;
		d->offset_s = d->load_s - (uint32_t)(host_ns() / NS_PER_S);
		expect_match(d);
		rearm = true;
		break;
	case REG_MASK:
		d->enabled = value & 1;
		break;
	case REG_CLEAR:
		if (value & 1)
			d->raised = false;
		break;
	}
	update_line(d);
	pthread_mutex_unlock(&d->lock);
	if (rearm)
		loop_post(d->loop, &d->rearm);
}

static const struct bus_ops pl031_ops = { pl031_read, pl031_write };

int pl031_init(struct pl031 *d, struct platform *plat, struct loop *loop, gpa_t base, unsigned gsi)
{
	int rc;

	*d = (struct pl031){ .plat = plat, .loop = loop, .gsi = gsi };
	d->rearm.fn = on_rearm;
	d->region = (struct bus_region){ .name = "rtc",
					 .base = base,
					 .size_bytes = ARM64_PERIPHERAL_BYTES,
					 .ops = &pl031_ops,
					 .opaque = d };
	rc = loop_timer_init(loop, &d->alarm, on_alarm);
	if (rc)
		return rc;
	pthread_mutex_init(&d->lock, NULL);
	rc = bus_add(plat->mmio, &d->region);
	if (rc) {
		loop_timer_fini(loop, &d->alarm);
		pthread_mutex_destroy(&d->lock);
	}
	return rc;
}

void pl031_fini(struct pl031 *d)
{
	bus_del(d->plat->mmio, &d->region);
	loop_timer_fini(d->loop, &d->alarm);
	pthread_mutex_destroy(&d->lock);
}
