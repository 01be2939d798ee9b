/*
 * Real-time clock: see cmos.h. Time is the host's UTC clock plus an offset that the guest sets by
 * setting the time, in BCD and 24-hour form only. Update-ended and alarm interrupts are real; the
 * periodic interrupt and the square wave do not exist (drivers use other timers for these).
 */
#include "arch/x86/cmos.h"

#include <string.h>

#include "arch/x86/layout.h"

#define REG_SECONDS	  0x00
#define REG_SECONDS_ALARM 0x01
#define REG_MINUTES	  0x02
#define REG_MINUTES_ALARM 0x03
#define REG_HOURS	  0x04
#define REG_HOURS_ALARM	  0x05
#define REG_WEEKDAY	  0x06
#define REG_DAY		  0x07
#define REG_MONTH	  0x08
#define REG_YEAR	  0x09
#define REG_A		  0x0a
#define REG_B		  0x0b
#define REG_C		  0x0c
#define REG_D		  0x0d
#define REG_CENTURY	  0x32

#define A_UPDATE_IN_PROGRESS 0x80
#define A_DIVIDER	     0x26 /* 32768 Hz time base, 1024 Hz rate */
#define B_SET		     0x80
#define B_ALARM		     0x20
#define B_UPDATE	     0x10
#define B_24_HOURS	     0x02
#define B_WRITABLE	     (B_SET | B_ALARM | B_UPDATE)
#define C_IRQ		     0x80
#define C_ALARM		     0x20
#define C_UPDATE	     0x10
#define D_VALID		     0x80
#define ALARM_ANY	     0xc0

#define NS_PER_S	 1000000000l
#define UPDATE_WINDOW_NS 244000l /* how long UIP announces an update */
#define TICK_LATE_NS	 1000000l

/* The last two digits; a year that the guest has set to a nonsense century may be negative. */
static uint8_t to_bcd(int v)
{
	unsigned two = (unsigned)((v % 100 + 100) % 100);

	return (uint8_t)(two / 10 << 4 | two % 10);
}

/* Any byte gives a number; nonsense digits give a nonsense time, which is the guest's own affair.
 */
static int from_bcd(uint8_t v)
{
	return (v >> 4) * 10 + (v & 15);
}

static void guest_time(const struct cmos *c, struct tm *tm, long *ns)
{
	struct timespec ts;
	time_t t;

	clock_gettime(CLOCK_REALTIME, &ts);
	*ns = ts.tv_nsec;
	if (c->ram[REG_B] & B_SET) {
		*tm = c->set;
		return;
	}
	t = (time_t)(ts.tv_sec + c->offset_s);
	if (!gmtime_r(&t, tm))
		memset(tm, 0, sizeof(*tm));
}

static uint8_t read_reg(struct cmos *c, uint8_t reg)
{
	struct tm tm;
	uint8_t v;
	long ns;

	guest_time(c, &tm, &ns);
	switch (reg) {
	case REG_SECONDS:
		return to_bcd(tm.tm_sec);
	case REG_MINUTES:
		return to_bcd(tm.tm_min);
	case REG_HOURS:
		return to_bcd(tm.tm_hour);
	case REG_WEEKDAY:
		return to_bcd(tm.tm_wday + 1);
	case REG_DAY:
		return to_bcd(tm.tm_mday);
	case REG_MONTH:
		return to_bcd(tm.tm_mon + 1);
	case REG_YEAR:
		return to_bcd(tm.tm_year + 1900);
	case REG_CENTURY:
		return to_bcd((tm.tm_year + 1900) / 100);
	case REG_A:
		/* A reader that sees no update coming has this long for all of its reads. */
		if (!(c->ram[REG_B] & B_SET) && ns >= NS_PER_S - UPDATE_WINDOW_NS)
			return A_DIVIDER | A_UPDATE_IN_PROGRESS;
		return A_DIVIDER;
	case REG_C:
		v = c->ram[REG_C];
		c->ram[REG_C] = 0;
		return v;
	case REG_D:
		return D_VALID;
	default:
		return c->ram[reg];
	}
}

static void set_field(struct tm *tm, uint8_t reg, int v)
{
	switch (reg) {
	case REG_SECONDS:
		tm->tm_sec = v;
		break;
	case REG_MINUTES:
		tm->tm_min = v;
		break;
	case REG_HOURS:
		tm->tm_hour = v;
		break;
	case REG_DAY:
		tm->tm_mday = v;
		break;
	case REG_MONTH:
		tm->tm_mon = v - 1;
		break;
	case REG_YEAR:
		tm->tm_year = (tm->tm_year + 1900) / 100 * 100 - 1900 + v;
		break;
	case REG_CENTURY:
		tm->tm_year = v * 100 + (tm->tm_year + 1900) % 100 - 1900;
		break;
	}
}

static void adopt(struct cmos *c, struct tm *tm)
{
	struct timespec now;
	time_t t;

	/* The same clock as in guest_time(): time(2) may lag behind it by a second. */
	clock_gettime(CLOCK_REALTIME, &now);
	tm->tm_isdst = 0;
	t = timegm(tm);
	if (t != (time_t)-1)
		c->offset_s = (int64_t)t - (int64_t)now.tv_sec;
}

static void write_reg(struct cmos *c, uint8_t reg, uint8_t v)
{
	struct tm tm;
	long ns;

	guest_time(c, &tm, &ns);
	switch (reg) {
	case REG_SECONDS:
	case REG_MINUTES:
	case REG_HOURS:
	case REG_DAY:
	case REG_MONTH:
	case REG_YEAR:
	case REG_CENTURY:
		set_field(&tm, reg, from_bcd(v));
		if (c->ram[REG_B] & B_SET)
			c->set = tm;
		else
			adopt(c, &tm);
		break;
	case REG_B:
		if (v & B_SET && !(c->ram[REG_B] & B_SET))
			c->set = tm;
		if (!(v & B_SET) && c->ram[REG_B] & B_SET)
			adopt(c, &c->set);
		if (v & B_SET) /* as the data sheet says: no update ends while there are none */
			v &= (uint8_t)~B_UPDATE;
		c->ram[REG_B] = (v & B_WRITABLE) | B_24_HOURS;
		if (v & (B_ALARM | B_UPDATE))
			loop_post(c->loop, &c->rearm);
		break;
	case REG_WEEKDAY: /* follows from the date */
	case REG_A:
	case REG_C:
	case REG_D:
		break;
	default:
		c->ram[reg] = v;
		break;
	}
}

static uint64_t cmos_read(struct bus_region *r, uint64_t offset, unsigned size)
{
	struct cmos *c = r->opaque;
	uint8_t v;

	if (offset == 0 && size == 1)
		return 0xff;
	pthread_mutex_lock(&c->lock);
	v = read_reg(c, c->index);
	pthread_mutex_unlock(&c->lock);
	return offset == 0 ? 0xff | v << 8 : v;
}

static void cmos_write(struct bus_region *r, uint64_t offset, uint64_t value, unsigned size)
{
	struct cmos *c = r->opaque;

	pthread_mutex_lock(&c->lock);
	if (offset == 0)
		c->index = value & 0x7f; /* bit 7 masks NMI, which nothing here raises */
	if (offset == 0 && size == 2)
		write_reg(c, c->index, (uint8_t)(value >> 8));
	else if (offset == 1)
		write_reg(c, c->index, (uint8_t)value);
	pthread_mutex_unlock(&c->lock);
}

static const struct bus_ops cmos_ops = { cmos_read, cmos_write };

/* A little after the full second: the two clocks drift, and a tick that came just before it would
 * see the old second again. */
static void arm_tick(struct cmos *c, long ns)
{
	loop_timer_arm(&c->tick, (uint64_t)(NS_PER_S - ns + TICK_LATE_NS));
}

static bool alarm_matches(uint8_t alarm, int now)
{
	return (alarm & ALARM_ANY) == ALARM_ANY || from_bcd(alarm) == now;
}

/* On the loop, each full second while a cause is enabled. */
static void on_tick(struct loop_timer *t)
{
	struct cmos *c = container_of(t, struct cmos, tick);
	uint8_t cause = 0, enabled;
	struct tm tm;
	long ns;

	pthread_mutex_lock(&c->lock);
	guest_time(c, &tm, &ns);
	enabled = c->ram[REG_B];
	if (!(enabled & B_SET)) {
		cause |= C_UPDATE;
		if (alarm_matches(c->ram[REG_SECONDS_ALARM], tm.tm_sec) &&
		    alarm_matches(c->ram[REG_MINUTES_ALARM], tm.tm_min) &&
		    alarm_matches(c->ram[REG_HOURS_ALARM], tm.tm_hour))
			cause |= C_ALARM;
	}
	c->ram[REG_C] |= cause;
	if (cause & enabled) { /* the flags and the enables have the same places */
		c->ram[REG_C] |= C_IRQ;
		c->plat->ops->line_set(c->plat, X86_GSI_RTC, true);
		c->plat->ops->line_set(c->plat, X86_GSI_RTC, false);
	}
	if (enabled & (B_ALARM | B_UPDATE))
		arm_tick(c, ns);
	pthread_mutex_unlock(&c->lock);
}

static void on_rearm(struct loop_work *w)
{
	struct cmos *c = container_of(w, struct cmos, rearm);
	struct timespec ts;

	clock_gettime(CLOCK_REALTIME, &ts);
	arm_tick(c, ts.tv_nsec);
}

int cmos_init(struct cmos *c, struct platform *plat, struct loop *loop)
{
	int rc;

	memset(c, 0, sizeof(*c));
	c->plat = plat;
	c->loop = loop;
	c->ram[REG_B] = B_24_HOURS;
	c->rearm.fn = on_rearm;
	pthread_mutex_init(&c->lock, NULL);
	rc = loop_timer_init(loop, &c->tick, on_tick);
	if (rc)
		goto out_lock;
	c->region = (struct bus_region){
		.name = "rtc", .base = X86_PORT_RTC, .size_bytes = 2, .ops = &cmos_ops, .opaque = c
	};
	rc = bus_add(plat->pio, &c->region);
	if (rc)
		goto out_timer;
	return 0;

out_timer:
	loop_timer_fini(loop, &c->tick);
out_lock:
	pthread_mutex_destroy(&c->lock);
	return rc;
}

void cmos_fini(struct cmos *c)
{
	bus_del(c->plat->pio, &c->region);
	loop_timer_fini(c->loop, &c->tick);
	pthread_mutex_destroy(&c->lock);
}
