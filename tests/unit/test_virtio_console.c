/* The virtio console: output of any shape, input only as far as there are buffers. */
#include <check.h>
#include <linux/virtio_config.h>
#include <linux/virtio_console.h>
#include <linux/virtio_ring.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "tests/unit/mock_driver.h"
#include "virtio/devices.h"

#define RX    0
#define TX    1
#define PLAIN (1ull << VIRTIO_F_VERSION_1)
#define EVENT (PLAIN | 1ull << VIRTIO_RING_F_EVENT_IDX | 1ull << VIRTIO_RING_F_INDIRECT_DESC)

struct fake_chardev {
	struct chardev chr;
	pthread_mutex_t lock;
	char in[8192];
	size_t in_len, in_pos;
	char *out; /* what fits; out_len counts all */
	size_t out_len, out_size, longest_write;
};

static struct mock_platform mp;
static struct mock_driver drv;
static struct loop loop;
static struct fake_chardev con;
static struct virtio_console *dev;

static void fake_write(struct chardev *c, const void *data, size_t len)
{
	struct fake_chardev *f = container_of(c, struct fake_chardev, chr);

	pthread_mutex_lock(&f->lock);
	if (f->out_len + len <= f->out_size)
		memcpy(f->out + f->out_len, data, len);
	f->out_len += len;
	if (len > f->longest_write)
		f->longest_write = len;
	pthread_mutex_unlock(&f->lock);
}

static size_t fake_read(struct chardev *c, void *buf, size_t len)
{
	struct fake_chardev *f = container_of(c, struct fake_chardev, chr);
	size_t n;

	pthread_mutex_lock(&f->lock);
	n = f->in_len - f->in_pos;
	n = n < len ? n : len;
	memcpy(buf, f->in + f->in_pos, n);
	f->in_pos += n;
	pthread_mutex_unlock(&f->lock);
	return n;
}

static const struct chardev_ops fake_ops = { .write = fake_write, .read = fake_read };

static void setup(void)
{
	mock_platform_init(&mp, MIB(16), 0);
	memset(&con, 0, sizeof(con));
	con.chr.ops = &fake_ops;
	con.out_size = MIB(1);
	con.out = malloc(con.out_size);
	pthread_mutex_init(&con.lock, NULL);
	ck_assert_int_eq(loop_init(&loop, "console"), 0);
	ck_assert_int_eq(virtio_console_create(&dev, "alpha.hvc0", &con.chr, &loop, &mp.plat), 0);
	mock_driver_init(&drv, &mp, virtio_console_dev(dev));
	ck_assert_int_eq(loop_start(&loop), 0);
}

static void teardown(void)
{
	loop_stop(&loop);
	virtio_dev_stop(virtio_console_dev(dev));
	virtio_console_destroy(dev);
	ck_assert_ptr_null(con.chr.input);
	loop_fini(&loop);
	mock_platform_fini(&mp);
	free(con.out);
}

static size_t out_len(void)
{
	size_t n;

	pthread_mutex_lock(&con.lock);
	n = con.out_len;
	pthread_mutex_unlock(&con.lock);
	return n;
}

static bool wait_out(size_t len)
{
	for (int i = 0; i < 1000 && out_len() < len; i++)
		usleep(2000);
	return out_len() >= len;
}

static void do_input(void *arg)
{
	con.chr.input(con.chr.front);
}

static void type_text(const char *text)
{
	pthread_mutex_lock(&con.lock);
	memcpy(con.in + con.in_len, text, strlen(text));
	con.in_len += strlen(text);
	pthread_mutex_unlock(&con.lock);
	loop_call(&loop, do_input, NULL);
}

static bool faulted(void)
{
	return mock_driver_status(&drv) & VIRTIO_CONFIG_S_NEEDS_RESET;
}

START_TEST(identity_and_config)
{
	struct virtio_dev *d = virtio_console_dev(dev);
	uint8_t cfg[16];
	uint32_t emerg = 'E';

	ck_assert_uint_eq(d->device_id, 3);
	ck_assert_uint_eq(d->nr_queues, 2);
	ck_assert(!(d->offered & 1ull << VIRTIO_CONSOLE_F_MULTIPORT));
	ck_assert(!(d->offered & 1ull << VIRTIO_CONSOLE_F_SIZE));
	mock_driver_config_read(&drv, 0, cfg, 4);
	/* 5.3.4: emergency write, also before any initialisation. */
	mock_driver_config_write(&drv, offsetof(struct virtio_console_config, emerg_wr), &emerg, 4);
	ck_assert_uint_eq(out_len(), 1);
	ck_assert_int_eq(con.out[0], 'E');
	mock_driver_config_write(&drv, 0, &emerg, 4);
	mock_driver_config_write(&drv, 12, &emerg, 4);
	mock_driver_config_write(&drv, UINT32_MAX, &emerg, 4);
	ck_assert_uint_eq(out_len(), 1);
}
END_TEST

START_TEST(output)
{
	gpa_t buf;
	uint32_t id, len;

	ck_assert(mock_driver_start(&drv, PLAIN, 64));
	buf = mock_driver_put(&drv, "hello, world\n", 13);
	mock_ring_add(&drv.ring[TX], (struct mock_seg[]){ { buf, 13, false } }, 1);
	mock_ring_add(&drv.ring[TX],
		      (struct mock_seg[]){
			      { buf, 5, false }, { buf + 5, 1, false }, { buf + 12, 1, false } },
		      3);
	mock_driver_kick(&drv, TX);
	ck_assert_uint_eq(out_len(), 20);
	ck_assert_mem_eq(con.out, "hello, world\nhello,\n", 20);
	for (int i = 0; i < 2; i++) {
		ck_assert(mock_ring_used(&drv.ring[TX], &id, &len));
		ck_assert_uint_eq(len, 0);
	}
	/* An empty buffer is of no use, and of no harm. */
	mock_ring_add(&drv.ring[TX], (struct mock_seg[]){ { buf, 0, false } }, 1);
	mock_driver_kick(&drv, TX);
	ck_assert(mock_ring_used(&drv.ring[TX], &id, &len));
	ck_assert(!faulted());
}
END_TEST

static size_t seen_by_kick, seen_by_fd;

static void on_fd(struct loop_fd *h, uint32_t events)
{
	seen_by_fd = out_len();
	loop_del(&loop, h);
}

/* On the loop, so that how busy the machine is does not count. */
static void kick_and_add_fd(void *arg)
{
	mock_driver_kick(&drv, TX);
	seen_by_kick = out_len();
	ck_assert_int_eq(loop_add(&loop, arg, EPOLLIN), 0);
}

/* A single chain of 64 MiB through overlapping descriptors: it comes out whole, in turns, and the
 * loop does other things in between. */
START_TEST(huge_output_comes_in_turns)
{
	struct mock_seg segs[16];
	uint32_t id, len;
	gpa_t buf;
	struct loop_fd h = { .fd = eventfd(1, EFD_CLOEXEC), .fn = on_fd };

	ck_assert(mock_driver_start(&drv, PLAIN, 64));
	buf = mock_driver_alloc(&drv, MIB(4), 1);
	for (unsigned i = 0; i < ARRAY_SIZE(segs); i++)
		segs[i] = (struct mock_seg){ buf, MIB(4), false };
	mock_ring_add(&drv.ring[TX], segs, ARRAY_SIZE(segs));
	seen_by_fd = MIB(64);
	loop_call(&loop, kick_and_add_fd, &h);
	/* The kick has come back long before the end. */
	ck_assert_uint_lt(seen_by_kick, MIB(32));
	ck_assert(wait_out(MIB(64)));
	usleep(20000);
	ck_assert_uint_eq(out_len(), MIB(64));
	ck_assert_uint_lt(seen_by_fd, MIB(64)); /* descriptors had their turn, too */
	close(h.fd);
	ck_assert(mock_ring_used(&drv.ring[TX], &id, &len));
	ck_assert_uint_le(con.longest_write, 4096);
}
END_TEST

START_TEST(reset_in_the_middle_of_output)
{
	struct mock_seg segs[16];
	size_t at_reset;
	gpa_t buf;

	ck_assert(mock_driver_start(&drv, PLAIN, 64));
	buf = mock_driver_alloc(&drv, MIB(4), 1);
	for (unsigned i = 0; i < ARRAY_SIZE(segs); i++)
		segs[i] = (struct mock_seg){ buf, MIB(4), false };
	mock_ring_add(&drv.ring[TX], segs, ARRAY_SIZE(segs));
	mock_driver_kick(&drv, TX);
	mock_driver_set_status(&drv, 0);
	at_reset = out_len();
	ck_assert_uint_lt(at_reset, MIB(64));
	usleep(20000);
	ck_assert_uint_eq(out_len(), at_reset);
	/* What was left of it is forgotten. */
	ck_assert(mock_driver_start(&drv, PLAIN, 64));
	buf = mock_driver_put(&drv, "new", 3);
	mock_ring_add(&drv.ring[TX], (struct mock_seg[]){ { buf, 3, false } }, 1);
	mock_driver_kick(&drv, TX);
	ck_assert_uint_eq(out_len(), at_reset + 3);
}
END_TEST

static void input_needs_buffers(uint64_t features)
{
	char got[32] = "";
	uint32_t id, len;
	gpa_t buf;

	type_text("before the driver");
	ck_assert_uint_eq(con.in_pos, 0);
	ck_assert(mock_driver_start(&drv, features, 64));
	ck_assert_uint_eq(con.in_pos, 0);
	/* Two buffers of 4 bytes, one of them in two pieces: 8 bytes leave the console. */
	buf = mock_driver_alloc(&drv, 64, 1);
	mock_ring_add(&drv.ring[RX], (struct mock_seg[]){ { buf, 4, true } }, 1);
	mock_ring_add(&drv.ring[RX],
		      (struct mock_seg[]){ { buf + 4, 1, true }, { buf + 5, 3, true } }, 2);
	mock_driver_kick(&drv, RX);
	ck_assert_uint_eq(con.in_pos, 8);
	for (int i = 0; i < 2; i++) {
		ck_assert(mock_ring_used(&drv.ring[RX], &id, &len));
		ck_assert_uint_eq(len, 4);
	}
	ck_assert(!mock_ring_used(&drv.ring[RX], &id, &len));
	/* The device has run out: it wants the doorbell. */
	ck_assert(!mock_ring_no_notify(&drv.ring[RX]));
	if (features & 1ull << VIRTIO_RING_F_EVENT_IDX)
		ck_assert_uint_eq(mock_ring_avail_event(&drv.ring[RX]), 2);
	/* A large buffer takes the rest, and is given back at once. */
	mock_ring_add(&drv.ring[RX], (struct mock_seg[]){ { buf + 8, 56, true } }, 1);
	mock_driver_kick(&drv, RX);
	ck_assert(mock_ring_used(&drv.ring[RX], &id, &len));
	ck_assert_uint_eq(len, 9);
	ck_assert_int_eq(gmem_read(&mp.mem, buf, got, 17), 0);
	ck_assert_str_eq(got, "before the driver");
	/* A buffer that waits for input is filled when it comes, and not lost meanwhile. */
	mock_ring_add(&drv.ring[RX], (struct mock_seg[]){ { buf, 32, true } }, 1);
	mock_driver_kick(&drv, RX);
	mock_driver_kick(&drv, RX);
	ck_assert(!mock_ring_used(&drv.ring[RX], &id, &len));
	type_text("x");
	ck_assert(mock_ring_used(&drv.ring[RX], &id, &len));
	ck_assert_uint_eq(len, 1);
	ck_assert(!faulted());
}

START_TEST(input_waits_for_buffers)
{
	input_needs_buffers(PLAIN);
}
END_TEST

START_TEST(input_waits_for_buffers_event_idx)
{
	input_needs_buffers(EVENT);
}
END_TEST

START_TEST(receive_buffer_that_cannot_be_written)
{
	gpa_t buf;

	ck_assert(mock_driver_start(&drv, PLAIN, 64));
	buf = mock_driver_alloc(&drv, 64, 1);
	mock_ring_add(&drv.ring[RX], (struct mock_seg[]){ { buf, 64, false } }, 1);
	type_text("x");
	ck_assert(faulted());
	ck_assert_uint_eq(con.in_pos, 0); /* the input is still there for the next driver */
	type_text("y");
	ck_assert(mock_driver_start(&drv, PLAIN, 64));
	buf = mock_driver_alloc(&drv, 64, 1);
	mock_ring_add(&drv.ring[RX], (struct mock_seg[]){ { buf, 64, true } }, 1);
	mock_driver_kick(&drv, RX);
	ck_assert_uint_eq(con.in_pos, 2);
}
END_TEST

START_TEST(broken_queues)
{
	for (unsigned q = 0; q < 2; q++) {
		ck_assert(mock_driver_start(&drv, PLAIN, 64));
		type_text("x");
		mock_ring_add(&drv.ring[q], (struct mock_seg[]){ { MIB(16), 1, q == RX } }, 1);
		mock_driver_kick(&drv, q);
		ck_assert(faulted());
		mock_driver_kick(&drv, q);
	}
	ck_assert_uint_eq(out_len(), 0);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("virtio_console");
	TCase *tc = tcase_create("console");
	SRunner *sr;
	int failed;

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_set_timeout(tc, 60);
	tcase_add_test(tc, identity_and_config);
	tcase_add_test(tc, output);
	tcase_add_test(tc, huge_output_comes_in_turns);
	tcase_add_test(tc, reset_in_the_middle_of_output);
	tcase_add_test(tc, input_waits_for_buffers);
	tcase_add_test(tc, input_waits_for_buffers_event_idx);
	tcase_add_test(tc, receive_buffer_that_cannot_be_written);
	tcase_add_test(tc, broken_queues);
	suite_add_tcase(s, tc);
	sr = srunner_create(s);
	srunner_run_all(sr, CK_NORMAL);
	failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
