/*
 * Text on the serial port, polled. The FIFO is on, so the line status is read once for 16 bytes,
 * not once for each: every access is an exit to the VMM.
 */
#include <stdarg.h>

#include "lib/guest.h"

#define COM_FCR	     2
#define COM_LSR	     5
#define COM_LSR_DR   0x01
#define COM_LSR_THRE 0x20
#define COM_FIFO     16

struct out {
	char buf[256];
	size_t n;
};

static bool uart_ready; /* the FIFO has been switched on */

void print_bytes(const char *s, size_t n)
{
	if (!uart_ready) {
		uart_write(COM_FCR, 0x01);
		uart_ready = true;
	}
	while (n) {
		while (!(uart_read(COM_LSR) & COM_LSR_THRE))
			cpu_pause();
		for (unsigned i = 0; i < COM_FIFO && n; i++, n--)
			uart_write(0, (uint8_t)*s++);
	}
}

int uart_getc(void)
{
	return uart_read(COM_LSR) & COM_LSR_DR ? uart_read(0) : -1;
}

static void put(struct out *o, char c)
{
	if (o->n == sizeof(o->buf)) {
		print_bytes(o->buf, o->n);
		o->n = 0;
	}
	o->buf[o->n++] = c;
}

/* Division by a variable would need libgcc in 32-bit code; shifts and 32-bit steps do not. */
static unsigned div10(uint64_t *v)
{
	uint32_t hi = *v >> 32, mid, lo;
	uint64_t rest;

	rest = hi % 10;
	hi /= 10;
	mid = (uint32_t)(rest << 16 | (*v >> 16 & 0xffff));
	lo = (mid % 10) << 16 | (*v & 0xffff);
	mid /= 10;
	*v = (uint64_t)hi << 32 | (uint64_t)mid << 16 | lo / 10;
	return lo % 10;
}

static void put_number(struct out *o, uint64_t v, bool negative, unsigned base, bool upper,
		       unsigned width, char pad)
{
	char digits[24];
	unsigned n = 0, d;

	do {
		if (base == 10) {
			d = div10(&v);
		} else {
			d = v & 15;
			v >>= 4;
		}
		digits[n++] = d < 10 ? '0' + d : (upper ? 'A' : 'a') + d - 10;
	} while (v);
	if (negative && pad == '0')
		put(o, '-');
	for (unsigned i = n + negative; i < width; i++)
		put(o, pad);
	if (negative && pad != '0')
		put(o, '-');
	while (n)
		put(o, digits[--n]);
}

static uint64_t next_unsigned(va_list *ap, unsigned longs)
{
	if (longs == 0)
		return va_arg(*ap, unsigned);
	return longs == 1 ? va_arg(*ap, unsigned long) : va_arg(*ap, unsigned long long);
}

static int64_t next_signed(va_list *ap, unsigned longs)
{
	if (longs == 0)
		return va_arg(*ap, int);
	return longs == 1 ? va_arg(*ap, long) : va_arg(*ap, long long);
}

static void vformat(struct out *o, const char *fmt, va_list *ap)
{
	unsigned width, longs;
	const char *s;
	int64_t i;
	char pad;

	for (; *fmt; fmt++) {
		if (*fmt != '%') {
			put(o, *fmt);
			continue;
		}
		fmt++;
		pad = ' ';
		if (*fmt == '0') {
			pad = '0';
			fmt++;
		}
		for (width = 0; *fmt >= '0' && *fmt <= '9'; fmt++)
			width = width * 10 + (*fmt - '0');
		for (longs = 0; *fmt == 'l' || *fmt == 'z'; fmt++)
			longs++;
		switch (*fmt) {
		case 'd':
		case 'i':
			i = next_signed(ap, longs);
			put_number(o, i < 0 ? -(uint64_t)i : (uint64_t)i, i < 0, 10, false, width,
				   pad);
			break;
		case 'u':
			put_number(o, next_unsigned(ap, longs), false, 10, false, width, pad);
			break;
		case 'x':
		case 'X':
			put_number(o, next_unsigned(ap, longs), false, 16, *fmt == 'X', width, pad);
			break;
		case 'p':
			put_number(o, (uintptr_t)va_arg(*ap, void *), false, 16, false, width, pad);
			break;
		case 'c':
			put(o, (char)va_arg(*ap, int));
			break;
		case 's':
			for (s = va_arg(*ap, const char *); *s; s++)
				put(o, *s);
			break;
		case '\0':
			return;
		default:
			put(o, *fmt);
		}
	}
}

void print(const char *fmt, ...)
{
	struct out o;
	va_list ap;

	o.n = 0;
	va_start(ap, fmt);
	vformat(&o, fmt, &ap);
	va_end(ap);
	print_bytes(o.buf, o.n);
}

void fail(const char *fmt, ...)
{
	struct out o;
	va_list ap;

	print("FAIL: ");
	o.n = 0;
	va_start(ap, fmt);
	vformat(&o, fmt, &ap);
	va_end(ap);
	put(&o, '\n');
	print_bytes(o.buf, o.n);
	debug_exit(EXIT_FAILURE);
}
