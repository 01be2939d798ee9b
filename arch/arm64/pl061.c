/*
 * PL061 GPIO controller: see pl061.h.
 */
#include "arch/arm64/pl061.h"

#include "arch/arm64/layout.h"
#include "arch/arm64/primecell.h"

#define PART_NUMBER 0x061

enum {
	REG_DATA = 0x000, /* up to 0x3ff: bits 9:2 of the address are a mask */
	REG_DATA_END = 0x400,
	REG_DIR = 0x400,
	REG_SENSE = 0x404, /* 1: level */
	REG_BOTH = 0x408,  /* 1: both edges */
	REG_EVENT = 0x40c, /* 1: rising edge, or high level */
	REG_ENABLE = 0x410,
	REG_RAW = 0x414,
	REG_MASKED = 0x418,
	REG_CLEAR = 0x41c,
	REG_AFSEL = 0x420,
};

/* All of these under the lock. */

static uint8_t levels(const struct pl061 *d)
{
	return (uint8_t)((d->output & d->dir) | (d->input & ~d->dir));
}

static uint8_t raw(const struct pl061 *d)
{
	uint8_t active = levels(d) ^ (uint8_t)~d->event;

	return (uint8_t)((active & d->sense) | (d->latched & ~d->sense));
}

static void latch(struct pl061 *d, uint8_t before)
{
	uint8_t now = levels(d), changed = now ^ before;
	uint8_t wanted = changed & (d->both | (uint8_t) ~(now ^ d->event));

	d->latched |= wanted & (uint8_t)~d->sense;
}

static void update_line(struct pl061 *d)
{
	bool level = raw(d) & d->enabled;

	if (level == d->line_level)
		return;
	d->line_level = level;
	d->plat->ops->line_set(d->plat, d->gsi, level);
}

static uint8_t *plain_register(struct pl061 *d, uint64_t offset)
{
	switch (offset) {
	case REG_DIR:
		return &d->dir;
	case REG_SENSE:
		return &d->sense;
	case REG_BOTH:
		return &d->both;
	case REG_EVENT:
		return &d->event;
	case REG_ENABLE:
		return &d->enabled;
	case REG_AFSEL:
		return &d->afsel;
	default:
		return NULL;
	}
}

static uint64_t pl061_read(struct bus_region *r, uint64_t offset, unsigned size)
{
	struct pl061 *d = r->opaque;
	uint8_t *reg, v = 0;

	if (offset >= PRIMECELL_ID)
		return primecell_id(PART_NUMBER, offset);
	pthread_mutex_lock(&d->lock);
	reg = plain_register(d, offset);
	if (offset < REG_DATA_END)
		v = levels(d) & (uint8_t)(offset >> 2);
	else if (offset == REG_RAW)
		v = raw(d);
	else if (offset == REG_MASKED)
		v = raw(d) & d->enabled;
	else if (reg)
		v = *reg;
	pthread_mutex_unlock(&d->lock);
	return v;
}

static void pl061_write(struct bus_region *r, uint64_t offset, uint64_t value, unsigned size)
{
	struct pl061 *d = r->opaque;
	uint8_t v = (uint8_t)value, mask = (uint8_t)(offset >> 2), before, *reg;

	pthread_mutex_lock(&d->lock);
	before = levels(d);
	reg = plain_register(d, offset);
	if (offset < REG_DATA_END)
		d->output = (uint8_t)((d->output & ~mask) | (v & mask));
	else if (offset == REG_CLEAR)
		d->latched &= (uint8_t)~v;
	else if (reg)
		*reg = v;
	latch(d, before);
	update_line(d);
	pthread_mutex_unlock(&d->lock);
}

void pl061_set(struct pl061 *d, unsigned line, bool level)
{
	uint8_t bit = (uint8_t)(1u << line), before;

	pthread_mutex_lock(&d->lock);
	before = levels(d);
	d->input = (uint8_t)(level ? d->input | bit : d->input & ~bit);
	latch(d, before);
	update_line(d);
	pthread_mutex_unlock(&d->lock);
}

static const struct bus_ops pl061_ops = { pl061_read, pl061_write };

int pl061_init(struct pl061 *d, struct platform *plat, gpa_t base, unsigned gsi)
{
	int rc;

	*d = (struct pl061){ .plat = plat, .gsi = gsi };
	pthread_mutex_init(&d->lock, NULL);
	d->region = (struct bus_region){ .name = "gpio",
					 .base = base,
					 .size_bytes = ARM64_PERIPHERAL_BYTES,
					 .ops = &pl061_ops,
					 .opaque = d };
	rc = bus_add(plat->mmio, &d->region);
	if (rc)
		pthread_mutex_destroy(&d->lock);
	return rc;
}

void pl061_fini(struct pl061 *d)
{
	bus_del(d->plat->mmio, &d->region);
	pthread_mutex_destroy(&d->lock);
}
