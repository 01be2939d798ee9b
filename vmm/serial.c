/*
 * 16550A serial port: the complete register model of the PC16550D data sheet, on a line without a
 * bit rate. A byte that the guest writes has left at once, so THR and shift register are always
 * empty; a burst of input arrives in no time, and the silence of four characters after which the
 * chip reports a time-out follows immediately.
 *
 * Threads: register accesses on vCPU threads, input on the chardev's loop. `lock` guards all
 * registers, the receive FIFO and the level of the interrupt line. It is never held while output
 * is written, so a slow console holds up only the vCPU that writes.
 *
 * Input is never lost. The port takes from the chardev only what the FIFO has room for, and only
 * once the driver listens (see line_open()); what lies unread in the FIFO when the driver clears it
 * goes back to the line. Otherwise the first bytes of what a script pipes in would vanish while
 * Linux probes and re-initialises the port.
 *
 * Not as on a PC: the interrupt is not gated by MCR.OUT2. Kernels that were only ever tried on
 * emulators forget to set it, and no driver is known to depend on the gate.
 */
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "vmm/serial.h"

#define SERIAL_FIFO_BYTES    16
#define SERIAL_NR_REGS	     8
#define SERIAL_RESET_DIVISOR 12 /* 9600 bit/s; some probes divide by it */

/* Register offsets. */
enum {
	REG_DATA = 0, /* RBR, THR, with DLAB: DLL */
	REG_IER = 1,  /* with DLAB: DLM */
	REG_IIR = 2,  /* write: FCR */
	REG_LCR = 3,
	REG_MCR = 4,
	REG_LSR = 5,
	REG_MSR = 6,
	REG_SCR = 7,
};

#define IER_RDA	 0x01
#define IER_THRE 0x02
#define IER_RLS	 0x04
#define IER_MS	 0x08
#define IER_MASK 0x0f

#define IIR_MS	    0x00
#define IIR_NONE    0x01
#define IIR_THRE    0x02
#define IIR_RDA	    0x04
#define IIR_RLS	    0x06
#define IIR_TIMEOUT 0x0c
#define IIR_FIFO    0xc0

#define FCR_ENABLE   0x01
#define FCR_CLEAR_RX 0x02

#define LCR_DLAB 0x80

#define MCR_DTR	 0x01
#define MCR_RTS	 0x02
#define MCR_OUT1 0x04
#define MCR_OUT2 0x08
#define MCR_LOOP 0x10
#define MCR_MASK 0x1f

#define LSR_DR	  0x01
#define LSR_OE	  0x02
#define LSR_THRE  0x20
#define LSR_TEMT  0x40
#define LSR_ERROR 0x1e /* OE, PE, FE, BI: the receiver line status interrupt */

#define MSR_DCTS  0x01
#define MSR_DDSR  0x02
#define MSR_TERI  0x04
#define MSR_DDCD  0x08
#define MSR_CTS	  0x10
#define MSR_DSR	  0x20
#define MSR_RI	  0x40
#define MSR_DCD	  0x80
#define MSR_DELTA 0x0f

/* A driver without receive interrupts that reads LSR this often in a row, though the transmitter is
 * always ready, polls for input. */
#define POLLS_TO_LISTEN 3

struct serial {
	const char *name;
	struct platform *plat;
	struct bus *bus;
	struct bus_region region;
	unsigned gsi;
	struct chardev *chr;
	struct loop *loop;
	struct loop_work refill;

	pthread_mutex_t lock; /* guards all below */
	uint8_t ier, lcr, mcr, lsr_errors, msr, scr;
	uint16_t divisor;
	bool fifo_on;
	uint8_t trigger; /* receive FIFO level of the data available interrupt, in bytes */
	bool thre_pending;
	bool line_level;
	unsigned lsr_polls;
	bool polled;  /* the driver polls for input */
	bool drained; /* the chardev had nothing more; it will call when it has */
	/* The receive FIFO, oldest byte first. The first `nr_looped` bytes were sent by the guest
	 * itself, in loopback mode. */
	uint8_t rx[SERIAL_FIFO_BYTES];
	unsigned nr_rx, nr_looped;
	/* Input that was taken from the chardev and is not, or no longer, in the FIFO. The bytes of
	 * chr in rx and held together never exceed one FIFO. */
	uint8_t held[SERIAL_FIFO_BYTES];
	unsigned nr_held;
};

static unsigned rx_depth(const struct serial *s)
{
	return s->fifo_on ? SERIAL_FIFO_BYTES : 1;
}

/* May bytes travel from the console to the guest? */
static bool line_open(const struct serial *s)
{
	return !(s->mcr & MCR_LOOP) && ((s->ier & IER_RDA) || s->polled);
}

static uint8_t iir_source(const struct serial *s)
{
	if ((s->ier & IER_RLS) && (s->lsr_errors & LSR_ERROR))
		return IIR_RLS;
	if ((s->ier & IER_RDA) && s->nr_rx)
		return !s->fifo_on || s->nr_rx >= s->trigger ? IIR_RDA : IIR_TIMEOUT;
	if ((s->ier & IER_THRE) && s->thre_pending)
		return IIR_THRE;
	if ((s->ier & IER_MS) && (s->msr & MSR_DELTA))
		return IIR_MS;
	return IIR_NONE;
}

/* Under the lock, so that the line follows the registers in their order. */
static void update_line(struct serial *s)
{
	bool level = iir_source(s) != IIR_NONE;

	if (level == s->line_level)
		return;
	s->line_level = level;
	s->plat->ops->line_set(s->plat, s->gsi, level);
}

/* On the loop. */
static void serial_refill(struct serial *s)
{
	pthread_mutex_lock(&s->lock);
	while (line_open(s) && s->nr_rx < rx_depth(s)) {
		if (!s->nr_held) {
			s->nr_held = (unsigned)s->chr->ops->read(s->chr, s->held,
								 rx_depth(s) - s->nr_rx);
			if (!s->nr_held) {
				s->drained = true;
				break;
			}
		}
		s->rx[s->nr_rx++] = s->held[0];
		memmove(s->held, s->held + 1, --s->nr_held);
	}
	update_line(s);
	pthread_mutex_unlock(&s->lock);
}

static void refill_work(struct loop_work *w)
{
	serial_refill(container_of(w, struct serial, refill));
}

static void serial_input(void *front)
{
	struct serial *s = front;

	pthread_mutex_lock(&s->lock);
	s->drained = false;
	pthread_mutex_unlock(&s->lock);
	serial_refill(s);
}

/* There may be room for input now: fetch it, on the loop. Under the lock. */
static void want_refill(struct serial *s)
{
	if (line_open(s) && s->nr_rx < rx_depth(s) && (s->nr_held || !s->drained))
		loop_post(s->loop, &s->refill);
}

/* Empties the receive FIFO. What came from the console goes back to where it will come from again.
 */
static void rx_clear(struct serial *s)
{
	unsigned from_line = s->nr_rx - s->nr_looped;

	memmove(s->held + from_line, s->held, s->nr_held);
	memcpy(s->held, s->rx + s->nr_looped, from_line);
	s->nr_held += from_line;
	s->nr_rx = s->nr_looped = 0;
}

static uint8_t rx_take(struct serial *s)
{
	uint8_t byte = s->rx[0];

	if (!s->nr_rx)
		return 0;
	memmove(s->rx, s->rx + 1, --s->nr_rx);
	if (s->nr_looped)
		s->nr_looped--;
	/* Refill at the end of a FIFO load, not after each of its bytes. */
	if (!s->nr_rx)
		want_refill(s);
	return byte;
}

/* A byte sent in loopback mode arrives at the own receiver. rx holds only looped bytes then. */
static void rx_loop(struct serial *s, uint8_t byte)
{
	if (s->nr_rx < rx_depth(s)) {
		s->rx[s->nr_rx++] = byte;
		s->nr_looped = s->nr_rx;
		return;
	}
	s->lsr_errors |= LSR_OE;
	/* Without a FIFO the new character overwrites the old one; with it, it is lost. */
	if (!s->fifo_on)
		s->rx[0] = byte;
}

static void msr_update(struct serial *s)
{
	uint8_t now = MSR_CTS | MSR_DSR | MSR_DCD, changed;

	if (s->mcr & MCR_LOOP)
		now = (s->mcr & MCR_RTS ? MSR_CTS : 0) | (s->mcr & MCR_DTR ? MSR_DSR : 0) |
		      (s->mcr & MCR_OUT1 ? MSR_RI : 0) | (s->mcr & MCR_OUT2 ? MSR_DCD : 0);
	changed = (now ^ s->msr) & ~MSR_DELTA;
	s->msr = now | (s->msr & MSR_DELTA) | (changed & MSR_CTS ? MSR_DCTS : 0) |
		 (changed & MSR_DSR ? MSR_DDSR : 0) | (changed & ~now & MSR_RI ? MSR_TERI : 0) |
		 (changed & MSR_DCD ? MSR_DDCD : 0);
}

static void mcr_write(struct serial *s, uint8_t value)
{
	bool was_loop = s->mcr & MCR_LOOP;

	s->mcr = value & MCR_MASK;
	/* In loopback the receiver is cut off from the line: keep the two streams apart. */
	if (!was_loop && (s->mcr & MCR_LOOP))
		rx_clear(s);
	msr_update(s);
}

static void fcr_write(struct serial *s, uint8_t value)
{
	static const uint8_t levels[] = { 1, 4, 8, 14 };
	bool on = value & FCR_ENABLE;

	/* Switching the FIFOs on or off empties them. The other bits count only while they are on.
	 * Clearing the transmitter means nothing here: it is always empty. */
	if (on != s->fifo_on || (on && (value & FCR_CLEAR_RX)))
		rx_clear(s);
	s->fifo_on = on;
	s->trigger = on ? levels[value >> 6] : 1;
}

static void ier_write(struct serial *s, uint8_t value)
{
	uint8_t rising = value & ~s->ier;

	s->ier = value & IER_MASK;
	/* Enabling it while the transmitter is empty, as it always is, raises it again. */
	if (rising & IER_THRE)
		s->thre_pending = true;
}

static uint8_t iir_read(struct serial *s)
{
	uint8_t source = iir_source(s);

	if (source == IIR_THRE)
		s->thre_pending = false;
	return source | (s->fifo_on ? IIR_FIFO : 0);
}

static uint8_t lsr_read(struct serial *s)
{
	uint8_t lsr = LSR_THRE | LSR_TEMT | s->lsr_errors | (s->nr_rx ? LSR_DR : 0);

	s->lsr_errors = 0;
	if (!s->polled && ++s->lsr_polls >= POLLS_TO_LISTEN)
		s->polled = true;
	if (!s->nr_rx)
		want_refill(s);
	return lsr;
}

static uint8_t msr_read(struct serial *s)
{
	uint8_t msr = s->msr;

	s->msr &= ~MSR_DELTA;
	return msr;
}

static uint8_t reg_read(struct serial *s, unsigned reg)
{
	bool dlab = s->lcr & LCR_DLAB;

	if (reg != REG_LSR)
		s->lsr_polls = 0;
	switch (reg) {
	case REG_DATA:
		return dlab ? s->divisor & 0xff : rx_take(s);
	case REG_IER:
		return dlab ? s->divisor >> 8 : s->ier;
	case REG_IIR:
		return iir_read(s);
	case REG_LCR:
		return s->lcr;
	case REG_MCR:
		return s->mcr;
	case REG_LSR:
		return lsr_read(s);
	case REG_MSR:
		return msr_read(s);
	default:
		return s->scr;
	}
}

/* True if the byte goes out to the console. */
static bool reg_write(struct serial *s, unsigned reg, uint8_t value)
{
	bool dlab = s->lcr & LCR_DLAB;

	s->lsr_polls = 0;
	switch (reg) {
	case REG_DATA:
		if (dlab) {
			s->divisor = (s->divisor & 0xff00) | value;
			return false;
		}
		s->thre_pending = true; /* empty again before the driver can look */
		if (!(s->mcr & MCR_LOOP))
			return true;
		rx_loop(s, value);
		return false;
	case REG_IER:
		if (dlab)
			s->divisor = (uint16_t)(value << 8) | (s->divisor & 0xff);
		else
			ier_write(s, value);
		break;
	case REG_IIR:
		fcr_write(s, value);
		break;
	case REG_LCR:
		s->lcr = value;
		break;
	case REG_MCR:
		mcr_write(s, value);
		break;
	case REG_SCR:
		s->scr = value;
		break;
	default: /* LSR and MSR: factory test only */
		break;
	}
	want_refill(s);
	return false;
}

/* The bus splits a wide access to an 8-bit device into bytes. */
static uint64_t serial_read(struct bus_region *r, uint64_t offset, unsigned size)
{
	struct serial *s = r->opaque;
	uint64_t value = 0;

	pthread_mutex_lock(&s->lock);
	for (unsigned i = 0; i < size; i++)
		value |= (uint64_t)reg_read(s, (unsigned)offset + i) << (8 * i);
	update_line(s);
	pthread_mutex_unlock(&s->lock);
	return value;
}

static void serial_write(struct bus_region *r, uint64_t offset, uint64_t value, unsigned size)
{
	struct serial *s = r->opaque;
	uint8_t out = 0;
	bool send = false;

	pthread_mutex_lock(&s->lock);
	for (unsigned i = 0; i < size; i++) {
		uint8_t byte = (uint8_t)(value >> (8 * i));

		/* At most one byte of an access hits THR: the one at offset 0. */
		if (reg_write(s, (unsigned)offset + i, byte)) {
			send = true;
			out = byte;
		}
	}
	update_line(s);
	pthread_mutex_unlock(&s->lock);
	if (send)
		s->chr->ops->write(s->chr, &out, 1);
}

static const struct bus_ops serial_bus_ops = { .read = serial_read, .write = serial_write };

int serial_create(struct serial **out, const char *name, struct platform *plat, struct bus *bus,
		  uint64_t base, unsigned gsi, struct chardev *chr, struct loop *loop)
{
	struct serial *s = calloc(1, sizeof(*s));
	int ret;

	if (!s)
		return -ENOMEM;
	s->name = name;
	s->plat = plat;
	s->bus = bus;
	s->gsi = gsi;
	s->chr = chr;
	s->loop = loop;
	s->refill.fn = refill_work;
	s->divisor = SERIAL_RESET_DIVISOR;
	s->trigger = 1;
	s->msr = MSR_CTS | MSR_DSR | MSR_DCD;
	pthread_mutex_init(&s->lock, NULL);
	s->region = (struct bus_region){
		.name = name,
		.base = base,
		.size_bytes = SERIAL_NR_REGS,
		.ops = &serial_bus_ops,
		.opaque = s,
	};
	ret = bus_add(bus, &s->region);
	if (ret)
		goto err;
	chr->front = s;
	chr->input = serial_input;
	*out = s;
	return 0;
err:
	pthread_mutex_destroy(&s->lock);
	free(s);
	return ret;
}

void serial_destroy(struct serial *s)
{
	if (!s)
		return;
	bus_del(s->bus, &s->region);
	s->chr->input = NULL;
	s->chr->front = NULL;
	pthread_mutex_destroy(&s->lock);
	free(s);
}
