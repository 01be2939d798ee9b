/* The 16550A, register by register, and the sequences that Linux's 8250 driver probes it with. */
#include <check.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/unit/mock_platform.h"
#include "vmm/serial.h"

#define BASE 0x3f8
#define GSI  4

enum { RBR, IER, IIR, LCR, MCR, LSR, MSR, SCR, THR = RBR, FCR = IIR };

/* A console in memory. */
struct fake_chardev {
	struct chardev chr;
	pthread_mutex_t lock;
	char in[20000];
	size_t in_len, in_pos, max_read;
	char out[4096];
	size_t out_len;
};

static void fake_write(struct chardev *c, const void *data, size_t len)
{
	struct fake_chardev *f = container_of(c, struct fake_chardev, chr);

	pthread_mutex_lock(&f->lock);
	ck_assert_uint_le(f->out_len + len, sizeof(f->out));
	memcpy(f->out + f->out_len, data, len);
	f->out_len += len;
	pthread_mutex_unlock(&f->lock);
}

static size_t fake_read(struct chardev *c, void *buf, size_t len)
{
	struct fake_chardev *f = container_of(c, struct fake_chardev, chr);
	size_t n;

	pthread_mutex_lock(&f->lock);
	n = f->in_len - f->in_pos;
	n = n < len ? n : len;
	if (len > f->max_read)
		f->max_read = len;
	memcpy(buf, f->in + f->in_pos, n);
	f->in_pos += n;
	pthread_mutex_unlock(&f->lock);
	return n;
}

static const struct chardev_ops fake_ops = { .write = fake_write, .read = fake_read };

static struct mock_platform mp;
static struct fake_chardev con;
static struct loop loop;
static struct serial *ser;

static void setup(void)
{
	mock_platform_init(&mp, MIB(1), 0);
	memset(&con, 0, sizeof(con));
	con.chr.ops = &fake_ops;
	pthread_mutex_init(&con.lock, NULL);
	ck_assert_int_eq(loop_init(&loop, "serial"), 0);
	ck_assert_int_eq(
		serial_create(&ser, "ttyS0", &mp.plat, &mp.pio, BASE, GSI, &con.chr, &loop), 0);
	ck_assert_int_eq(loop_start(&loop), 0);
}

static void teardown(void)
{
	loop_stop(&loop);
	serial_destroy(ser);
	ck_assert_ptr_null(con.chr.input);
	loop_fini(&loop);
	mock_platform_fini(&mp);
}

static uint8_t in(unsigned reg)
{
	return (uint8_t)mock_pio_read(&mp, BASE + reg, 1);
}

static void out(unsigned reg, uint8_t value)
{
	mock_pio_write(&mp, BASE + reg, value, 1);
}

static bool line(void)
{
	bool level;

	pthread_mutex_lock(&mp.lock);
	level = mp.line[GSI];
	pthread_mutex_unlock(&mp.lock);
	return level;
}

static void nothing(void *arg)
{
}

/* Lets the loop finish what was posted. */
static void settle(void)
{
	loop_call(&loop, nothing, NULL);
	loop_call(&loop, nothing, NULL);
}

static void do_input(void *arg)
{
	con.chr.input(con.chr.front);
}

static void type_bytes(const void *data, size_t len)
{
	pthread_mutex_lock(&con.lock);
	ck_assert_uint_le(con.in_len + len, sizeof(con.in));
	memcpy(con.in + con.in_len, data, len);
	con.in_len += len;
	pthread_mutex_unlock(&con.lock);
	loop_call(&loop, do_input, NULL);
	settle();
}

static void type_text(const char *text)
{
	type_bytes(text, strlen(text));
}

START_TEST(state_after_reset)
{
	ck_assert_uint_eq(in(IER), 0);
	ck_assert_uint_eq(in(IIR), 0x01);
	ck_assert_uint_eq(in(LCR), 0);
	ck_assert_uint_eq(in(MCR), 0);
	ck_assert_uint_eq(in(LSR), 0x60);
	ck_assert_uint_eq(in(MSR), 0xb0);
	ck_assert_uint_eq(in(SCR), 0);
	ck_assert_uint_eq(in(RBR), 0);
	ck_assert(!line());
}
END_TEST

START_TEST(plain_registers_hold_their_bits)
{
	for (unsigned v = 0; v < 256; v++) {
		out(SCR, (uint8_t)v);
		ck_assert_uint_eq(in(SCR), v);
		out(LCR, (uint8_t)v);
		ck_assert_uint_eq(in(LCR), v);
		out(LCR, 0);
		out(IER, (uint8_t)v);
		ck_assert_uint_eq(in(IER), v & 0x0f);
		out(MCR, (uint8_t)v);
		ck_assert_uint_eq(in(MCR), v & 0x1f);
	}
	/* Status registers are not to be written. */
	out(MCR, 0);
	in(MSR);
	out(LSR, 0x1f);
	out(MSR, 0xff);
	ck_assert_uint_eq(in(LSR), 0x60);
	ck_assert_uint_eq(in(MSR), 0xb0);
}
END_TEST

START_TEST(divisor_latch_hides_data_and_ier)
{
	out(IER, 0x05);
	out(LCR, 0x83);
	out(RBR, 0x34);
	out(IER, 0x12);
	ck_assert_uint_eq(in(RBR), 0x34);
	ck_assert_uint_eq(in(IER), 0x12);
	out(LCR, 0x03);
	ck_assert_uint_eq(in(IER), 0x05);
	ck_assert_uint_eq(con.out_len, 0);
	out(LCR, 0x80);
	ck_assert_uint_eq(in(RBR), 0x34);
	ck_assert_uint_eq(in(IER), 0x12);
}
END_TEST

START_TEST(wide_access_is_split_into_bytes)
{
	mock_pio_write(&mp, BASE + SCR, 0x55, 1);
	mock_pio_write(&mp, BASE + LCR, 0x0b03, 2); /* LCR, MCR */
	ck_assert_uint_eq(in(LCR), 0x03);
	ck_assert_uint_eq(in(MCR), 0x0b);
	ck_assert_uint_eq(mock_pio_read(&mp, BASE + LCR, 2), 0x0b03);
	mock_pio_write(&mp, BASE + THR, 0x00000041, 4);
	ck_assert_uint_eq(con.out_len, 1);
	ck_assert_int_eq(con.out[0], 'A');
	ck_assert_uint_eq(mock_pio_read(&mp, BASE + SCR, 1), 0x55);
	ck_assert_uint_eq(mock_pio_read(&mp, BASE + SCR, 2), 0xffff); /* leaves the device */
}
END_TEST

START_TEST(output_goes_out_in_order)
{
	for (const char *p = "hello\n"; *p; p++) {
		ck_assert_uint_eq(in(LSR)&0x60, 0x60);
		out(THR, (uint8_t)*p);
	}
	ck_assert_uint_eq(con.out_len, 6);
	ck_assert_mem_eq(con.out, "hello\n", 6);
}
END_TEST

START_TEST(fifo_bits_in_iir)
{
	out(FCR, 0x00);
	ck_assert_uint_eq(in(IIR), 0x01);
	out(FCR, 0x01);
	ck_assert_uint_eq(in(IIR), 0xc1);
	/* 64-byte FIFOs are another chip's. */
	out(FCR, 0x21);
	ck_assert_uint_eq(in(IIR), 0xc1);
	/* Without the enable bit the others do not count. */
	out(FCR, 0xc0);
	ck_assert_uint_eq(in(IIR), 0x01);
}
END_TEST

START_TEST(receive_without_fifo)
{
	out(IER, 0x01);
	type_text("ab");
	ck_assert(line());
	ck_assert_uint_eq(in(IIR), 0x04);
	ck_assert_uint_eq(in(LSR), 0x61);
	ck_assert_uint_eq(in(RBR), 'a');
	settle();
	ck_assert_uint_eq(in(RBR), 'b');
	settle();
	ck_assert_uint_eq(in(LSR), 0x60);
	ck_assert_uint_eq(in(IIR), 0x01);
	ck_assert(!line());
}
END_TEST

START_TEST(trigger_levels_and_timeout)
{
	static const struct {
		uint8_t fcr;
		unsigned level;
	} t[] = { { 0x01, 1 }, { 0x41, 4 }, { 0x81, 8 }, { 0xc1, 14 } };

	for (unsigned i = 0; i < ARRAY_SIZE(t); i++) {
		uint8_t bytes[16] = "0123456789abcdef";

		out(FCR, 0x00);
		out(FCR, t[i].fcr);
		out(IER, 0x01);
		type_bytes(bytes, t[i].level);
		ck_assert_uint_eq(in(IIR), 0xc4);
		ck_assert(line());
		ck_assert_uint_eq(in(RBR), '0');
		/* Below the level and no more coming: the time-out, until all is read. */
		for (unsigned n = 1; n < t[i].level; n++) {
			ck_assert_uint_eq(in(IIR), 0xcc);
			ck_assert(line());
			ck_assert_uint_eq(in(LSR), 0x61);
			ck_assert_uint_eq(in(RBR), bytes[n]);
		}
		ck_assert_uint_eq(in(IIR), 0xc1);
		ck_assert(!line());
	}
}
END_TEST

START_TEST(receive_interrupt_only_if_enabled)
{
	out(FCR, 0x01);
	out(IER, 0x01);
	type_text("x");
	ck_assert(line());
	out(IER, 0x00);
	ck_assert(!line());
	ck_assert_uint_eq(in(IIR), 0xc1);
	ck_assert_uint_eq(in(LSR), 0x61);
	out(IER, 0x01);
	ck_assert(line());
	ck_assert_uint_eq(in(RBR), 'x');
	ck_assert(!line());
}
END_TEST

START_TEST(thre_interrupt)
{
	/* Enabling it while empty raises it; reading IIR takes it back. */
	out(IER, 0x02);
	ck_assert(line());
	ck_assert_uint_eq(in(IIR), 0x02);
	ck_assert(!line());
	ck_assert_uint_eq(in(IIR), 0x01);
	/* Enabled again without an edge: nothing new. */
	out(IER, 0x02);
	ck_assert(!line());
	/* Each byte sent raises it again. */
	out(THR, 'x');
	ck_assert(line());
	ck_assert_uint_eq(in(IIR), 0x02);
	ck_assert(!line());
	/* Reading IIR for a more urgent cause leaves it pending. */
	out(THR, 'y');
	out(IER, 0x03);
	type_text("z");
	ck_assert_uint_eq(in(IIR), 0x04);
	ck_assert_uint_eq(in(IIR), 0x04);
	ck_assert_uint_eq(in(RBR), 'z');
	ck_assert(line());
	ck_assert_uint_eq(in(IIR), 0x02);
	ck_assert(!line());
}
END_TEST

START_TEST(interrupt_priorities)
{
	/* All four causes at once: overrun and modem status by loopback. */
	out(FCR, 0x01);
	in(MSR);
	out(MCR, 0x10);
	for (unsigned i = 0; i < 17; i++)
		out(THR, (uint8_t)i);
	out(IER, 0x0f);
	ck_assert(line());
	ck_assert_uint_eq(in(IIR), 0xc6);
	ck_assert_uint_eq(in(LSR), 0x63); /* overrun, data ready */
	ck_assert_uint_eq(in(LSR), 0x61); /* reading cleared it */
	ck_assert_uint_eq(in(IIR), 0xc4);
	for (unsigned i = 0; i < 16; i++)
		ck_assert_uint_eq(in(RBR), i); /* the 17th was lost */
	ck_assert_uint_eq(in(IIR), 0xc2);
	ck_assert_uint_eq(in(IIR), 0xc0);
	ck_assert(line());
	ck_assert_uint_eq(in(MSR)&0x0f, 0x0b); /* CTS, DSR and DCD fell */
	ck_assert_uint_eq(in(IIR), 0xc1);
	ck_assert(!line());
}
END_TEST

START_TEST(loopback_modem_lines)
{
	static const struct {
		uint8_t mcr, msr;
	} t[] = { { 0x11, 0x20 }, { 0x12, 0x10 }, { 0x14, 0x40 }, { 0x18, 0x80 }, { 0x1f, 0xf0 } };

	out(MCR, 0x10);
	for (unsigned i = 0; i < ARRAY_SIZE(t); i++) {
		out(MCR, t[i].mcr);
		ck_assert_uint_eq(in(MSR)&0xf0, t[i].msr);
		ck_assert_uint_eq(in(MSR)&0x0f, 0); /* read before: deltas are gone */
	}
	/* RI counts only when it goes away. */
	out(MCR, 0x10);
	in(MSR);
	out(MCR, 0x14);
	ck_assert_uint_eq(in(MSR), 0x40);
	out(MCR, 0x10);
	ck_assert_uint_eq(in(MSR), 0x04);
	out(MCR, 0x00);
	ck_assert_uint_eq(in(MSR), 0xbb);
	ck_assert_uint_eq(in(MSR), 0xb0);
}
END_TEST

START_TEST(loopback_data)
{
	out(FCR, 0x01);
	out(IER, 0x01);
	type_text("K"); /* from outside, unread */
	out(MCR, 0x1e);
	ck_assert_uint_eq(in(LSR), 0x60); /* the receiver is cut off from the line */
	out(THR, 0xae);
	ck_assert_uint_eq(in(LSR), 0x61);
	type_text("L");
	ck_assert_uint_eq(in(RBR), 0xae);
	settle();
	ck_assert_uint_eq(in(LSR), 0x60);
	ck_assert_uint_eq(con.out_len, 0); /* nothing left the chip */
	out(MCR, 0x0f);
	settle();
	ck_assert_uint_eq(in(RBR), 'K');
	ck_assert_uint_eq(in(RBR), 'L');
	/* Without FIFOs an overrun loses the old byte. */
	out(FCR, 0x00);
	out(MCR, 0x10);
	out(THR, 1);
	out(THR, 2);
	ck_assert_uint_eq(in(LSR), 0x63);
	ck_assert_uint_eq(in(RBR), 2);
}
END_TEST

START_TEST(clearing_the_fifo_drops_looped_bytes)
{
	out(FCR, 0x01);
	out(MCR, 0x10);
	out(THR, 'l');
	out(FCR, 0x03);
	ck_assert_uint_eq(in(LSR), 0x60);
	/* ... also those that are still there when the loop has been opened. */
	out(THR, 'l');
	out(MCR, 0x00);
	out(IER, 0x01);
	type_text("a");
	out(FCR, 0x03);
	settle();
	ck_assert_uint_eq(in(RBR), 'a');
	ck_assert_uint_eq(in(LSR), 0x60);
}
END_TEST

/* drivers/tty/serial/8250: autoconfig(), autoconfig_16550a(), serial8250_do_startup() as to what
 * they write and expect. */
START_TEST(linux_probe)
{
	uint8_t iir1, iir2;

	/* Is anything there: IER. */
	out(IER, 0);
	ck_assert_uint_eq(in(IER)&0x0f, 0);
	out(IER, 0x0f);
	ck_assert_uint_eq(in(IER)&0x0f, 0x0f);
	out(IER, 0);
	/* Loopback: RTS and OUT2 come back as CTS and DCD. */
	out(MCR, 0x1a);
	ck_assert_uint_eq(in(MSR)&0xf0, 0x90);
	out(MCR, 0);
	/* Which chip: EFR of later ones is not there. */
	out(LCR, 0xbf);
	out(FCR, 0);
	out(LCR, 0);
	out(FCR, 0x01);
	ck_assert_uint_eq(in(IIR) >> 6, 3);
	out(LCR, 0x80);
	ck_assert_uint_ne(in(IIR), 0);
	out(LCR, 0xbf);
	ck_assert_uint_ne(in(IIR), 0);
	/* 64-byte FIFO of the 16750. */
	out(LCR, 0);
	out(FCR, 0x01);
	ck_assert_uint_eq(in(IIR) >> 5, 6);
	out(FCR, 0x21);
	ck_assert_uint_eq(in(IIR) >> 5, 6);
	out(LCR, 0x80);
	out(FCR, 0x21);
	ck_assert_uint_eq(in(IIR) >> 5, 6);
	out(LCR, 0);
	out(FCR, 0x01);
	/* UUE bit of the XScale. */
	out(IER, 0x40);
	ck_assert_uint_eq(in(IER)&0x40, 0);
	/* size_fifo(): in loopback at full speed, 256 bytes, 16 stay. */
	out(MCR, 0x10);
	for (unsigned i = 0; i < 256; i++)
		out(THR, (uint8_t)i);
	for (unsigned i = 0; i < 16; i++) {
		ck_assert_uint_eq(in(LSR)&1, 1);
		in(RBR);
	}
	ck_assert_uint_eq(in(LSR)&1, 0);
	out(MCR, 0);
	/* Startup: clear all, nothing pending. */
	out(FCR, 0x01);
	out(FCR, 0x07);
	out(FCR, 0x00);
	in(LSR);
	in(RBR);
	in(IIR);
	in(MSR);
	ck_assert_uint_ne(in(LSR), 0xff);
	/* Does THRE come again when it is enabled a second time? */
	out(IER, 0x02);
	iir1 = in(IIR);
	out(IER, 0);
	out(IER, 0x02);
	iir2 = in(IIR);
	out(IER, 0);
	ck_assert_uint_eq(iir1 & 1, 0);
	ck_assert_uint_eq(iir2 & 1, 0);
	/* Quick test for a transmitter that does not interrupt. */
	out(IER, 0x02);
	ck_assert_uint_eq(in(LSR)&0x40, 0x40);
	ck_assert_uint_eq(in(IIR)&1, 0);
	out(IER, 0);
	ck_assert(!line());
	ck_assert_uint_eq(con.out_len, 0);
}
END_TEST

START_TEST(nothing_is_taken_before_the_guest_listens)
{
	type_text("boot commands\n");
	ck_assert_uint_eq(con.in_pos, 0);
	in(LSR);
	out(THR, 'x'); /* printing is not listening */
	in(LSR);
	out(THR, 'y');
	in(LSR);
	out(FCR, 0x07);
	out(MCR, 0x0b);
	settle();
	ck_assert_uint_eq(con.in_pos, 0);
	out(IER, 0x01);
	settle();
	ck_assert_uint_eq(con.in_pos, 14);
	/* Re-initialising the FIFO in the middle gives everything back, in order. */
	ck_assert_uint_eq(in(RBR), 'b');
	out(FCR, 0x00);
	out(FCR, 0x01);
	out(FCR, 0x07);
	settle();
	for (const char *p = "oot commands\n"; *p; p++) {
		ck_assert_uint_eq(in(LSR), 0x61);
		ck_assert_uint_eq(in(RBR), *p);
	}
	ck_assert_uint_eq(in(LSR), 0x60);
}
END_TEST

START_TEST(polling_driver_gets_input)
{
	type_text("hi");
	for (unsigned i = 0; i < 8 && !(in(LSR)&1); i++)
		settle();
	ck_assert_uint_eq(in(RBR), 'h');
	settle();
	ck_assert_uint_eq(in(LSR), 0x61);
	ck_assert_uint_eq(in(RBR), 'i');
	/* Once it polls, later input comes without further ado. */
	settle();
	type_text("!");
	ck_assert_uint_eq(in(LSR), 0x61);
	ck_assert_uint_eq(in(RBR), '!');
}
END_TEST

START_TEST(a_paste_of_10_kb_loses_nothing)
{
	static char paste[10000];
	size_t n = 0;

	for (size_t i = 0; i < sizeof(paste); i++)
		paste[i] = (char)(i * 7 + i / 251);
	out(FCR, 0x81);
	out(IER, 0x01);
	type_bytes(paste, sizeof(paste));
	for (unsigned idle = 0; n < sizeof(paste) && idle < 1000; idle++) {
		/* As the interrupt handler does: drain while there is data, at most 256. */
		for (unsigned i = 0; i < 256 && (in(LSR)&1); i++) {
			ck_assert_uint_eq(in(RBR), (uint8_t)paste[n]);
			n++;
			idle = 0;
		}
		settle();
	}
	ck_assert_uint_eq(n, sizeof(paste));
	ck_assert_uint_eq(in(LSR)&0x02, 0);
	ck_assert_uint_le(con.max_read, 16);
}
END_TEST

static void *hammer(void *arg)
{
	unsigned seed = *(unsigned *)arg;

	for (unsigned i = 0; i < 20000; i++) {
		unsigned reg = (unsigned)rand_r(&seed) % 8;

		if (rand_r(&seed) & 1)
			in(reg);
		else if (reg != THR || in(MCR)&0x10)
			out(reg, (uint8_t)rand_r(&seed));
	}
	return NULL;
}

/* Whatever several vCPUs do to it at once, it stays a serial port. (For the sanitizers.) */
START_TEST(hostile_register_traffic)
{
	unsigned seed[2] = { 1, 2 };
	pthread_t t[2];

	con.in_len = sizeof(con.in);
	con.out_len = 0;
	for (unsigned i = 0; i < 2; i++)
		ck_assert_int_eq(pthread_create(&t[i], NULL, hammer, &seed[i]), 0);
	for (unsigned i = 0; i < 100; i++)
		loop_call(&loop, do_input, NULL);
	for (unsigned i = 0; i < 2; i++)
		pthread_join(t[i], NULL);
	settle();
	out(LCR, 0);
	out(MCR, 0);
	out(SCR, 0x5a);
	ck_assert_uint_eq(in(SCR), 0x5a);
	out(IER, 0);
	in(MSR);
	in(LSR);
	ck_assert(!line());
}
END_TEST

START_TEST(an_occupied_port_is_refused)
{
	struct serial *second;
	struct fake_chardev other = { .chr.ops = &fake_ops };

	ck_assert_int_lt(serial_create(&second, "ttyS1", &mp.plat, &mp.pio, BASE + 4, GSI,
				       &other.chr, &loop),
			 0);
	ck_assert_ptr_null(other.chr.input);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("serial");
	TCase *tc = tcase_create("16550A");
	SRunner *sr;
	int failed;

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_set_timeout(tc, 60);
	tcase_add_test(tc, state_after_reset);
	tcase_add_test(tc, plain_registers_hold_their_bits);
	tcase_add_test(tc, divisor_latch_hides_data_and_ier);
	tcase_add_test(tc, wide_access_is_split_into_bytes);
	tcase_add_test(tc, output_goes_out_in_order);
	tcase_add_test(tc, fifo_bits_in_iir);
	tcase_add_test(tc, receive_without_fifo);
	tcase_add_test(tc, trigger_levels_and_timeout);
	tcase_add_test(tc, receive_interrupt_only_if_enabled);
	tcase_add_test(tc, thre_interrupt);
	tcase_add_test(tc, interrupt_priorities);
	tcase_add_test(tc, loopback_modem_lines);
	tcase_add_test(tc, loopback_data);
	tcase_add_test(tc, clearing_the_fifo_drops_looped_bytes);
	tcase_add_test(tc, linux_probe);
	tcase_add_test(tc, nothing_is_taken_before_the_guest_listens);
	tcase_add_test(tc, polling_driver_gets_input);
	tcase_add_test(tc, a_paste_of_10_kb_loses_nothing);
	tcase_add_test(tc, hostile_register_traffic);
	tcase_add_test(tc, an_occupied_port_is_refused);
	suite_add_tcase(s, tc);
	sr = srunner_create(s);
	srunner_run_all(sr, CK_NORMAL);
	failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
