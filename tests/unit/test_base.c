/* Guest memory, buses and the event loop. */
#include <check.h>
#include <errno.h>
#include <semaphore.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/bus.h"
#include "base/gmem.h"
#include "base/loop.h"

static const struct gmem_layout two[] = { { 0, MIB(4) }, { GIB(4), MIB(2) } };

START_TEST(gmem_checks_every_address)
{
	struct gmem m;
	char buf[16] = "hello";

	ck_assert_int_eq(gmem_create(&m, "test", two, 2, 0), 0);
	ck_assert_uint_eq(gmem_end(&m), GIB(4) + MIB(2));
	ck_assert_ptr_nonnull(gmem_ptr(&m, 0, MIB(4)));
	ck_assert_ptr_null(gmem_ptr(&m, 0, MIB(4) + 1));
	ck_assert_ptr_null(gmem_ptr(&m, 0, 0));
	ck_assert_ptr_null(gmem_ptr(&m, MIB(4), 1));
	ck_assert_ptr_nonnull(gmem_ptr(&m, MIB(4) - 1, 1));
	ck_assert_ptr_null(gmem_ptr(&m, MIB(4) - 1, 2));
	ck_assert_ptr_null(gmem_ptr(&m, 1, UINT64_MAX));
	ck_assert_ptr_null(gmem_ptr(&m, UINT64_MAX, 1));
	ck_assert_ptr_null(gmem_ptr(&m, UINT64_MAX - 3, 8));
	ck_assert_ptr_nonnull(gmem_ptr(&m, GIB(4), MIB(2)));
	ck_assert_ptr_null(gmem_ptr(&m, GIB(4) - 1, 2));
	ck_assert_int_eq(gmem_write(&m, GIB(4) + 8, "abc", 3), 0);
	ck_assert_int_eq(gmem_read(&m, GIB(4) + 8, buf, 3), 0);
	ck_assert_mem_eq(buf, "abclo", 5);
	ck_assert_int_eq(gmem_write(&m, MIB(4) - 2, "abc", 3), -EFAULT);
	ck_assert_int_eq(gmem_read(&m, MIB(4) - 2, buf, 3), -EFAULT);
	/* Both regions are one file, one behind the other: the file's bytes are the guest's bytes.
	 */
	ck_assert_int_eq(pread(m.fd, buf, 3, (off_t)MIB(4) + 8), 3);
	ck_assert_mem_eq(buf, "abc", 3);
	gmem_destroy(&m);
}
END_TEST

/* The hint changes where it looks first, never the answer. */
START_TEST(gmem_near_is_only_a_hint)
{
	static const gpa_t at[] = {
		0,	MIB(4) - 8,  MIB(4) - 7,	  MIB(4),	   GIB(4) - 1,
		GIB(4), GIB(4) + 64, GIB(4) + MIB(2) - 8, GIB(4) + MIB(2), UINT64_MAX - 3
	};
	struct gmem_layout layout[] = { { 0, MIB(4) }, { GIB(4), MIB(2) } };
	const struct gmem_region *near;
	struct gmem m;

	ck_assert_int_eq(gmem_create(&m, "t", layout, 2, 0), 0);
	for (unsigned r = 0; r < 2; r++)
		for (unsigned i = 0; i < ARRAY_SIZE(at); i++) {
			void *p = gmem_ptr(&m, at[i], 8);

			near = &m.region[r];
			ck_assert_ptr_eq(gmem_ptr_near(&m, &near, at[i], 8), p);
			ck_assert_ptr_eq(near, &m.region[p ? at[i] >= GIB(4) : r]);
			ck_assert_ptr_null(gmem_ptr_near(&m, &near, at[i], 0));
		}
	gmem_destroy(&m);
}
END_TEST

START_TEST(gmem_refuses_bad_layouts)
{
	static const struct gmem_layout overlap[] = { { 0, MIB(4) }, { MIB(2), MIB(4) } };
	static const struct gmem_layout odd[] = { { 0, 4097 } };
	static const struct gmem_layout wraps[] = { { UINT64_MAX - 4095, MIB(1) } };
	struct gmem m;

	ck_assert_int_eq(gmem_create(&m, "t", overlap, 2, 0), -EINVAL);
	ck_assert_int_eq(gmem_create(&m, "t", odd, 1, 0), -EINVAL);
	ck_assert_int_eq(gmem_create(&m, "t", wraps, 1, 0), -EINVAL);
	ck_assert_int_eq(gmem_create(&m, "t", two, 0, 0), -EINVAL);
	ck_assert_int_eq(gmem_create(&m, "t", two, 5, 0), -EINVAL);
}
END_TEST

struct reg {
	struct bus_region r;
	uint64_t last, offset;
	unsigned size;
};

static uint64_t reg_read(struct bus_region *r, uint64_t offset, unsigned size)
{
	struct reg *g = r->opaque;

	g->offset = offset;
	g->size = size;
	return 0x1122334455667788;
}

static void reg_write(struct bus_region *r, uint64_t offset, uint64_t value, unsigned size)
{
	struct reg *g = r->opaque;

	g->offset = offset;
	g->size = size;
	g->last = value;
}

static const struct bus_ops reg_ops = { reg_read, reg_write };

static struct reg *reg_make(uint64_t base, uint64_t size)
{
	struct reg *g = calloc(1, sizeof(*g));

	g->r = (struct bus_region){
		.base = base, .size_bytes = size, .ops = &reg_ops, .opaque = g
	};
	return g;
}

START_TEST(bus_dispatches)
{
	struct bus b;
	struct reg *lo = reg_make(0x100, 0x10), *hi = reg_make(0x110, 0x10);
	struct reg *clash = reg_make(0x11f, 2), *top = reg_make(UINT64_MAX - 7, 8);
	uint64_t v = 0;

	bus_init(&b, "test");
	ck_assert_int_eq(bus_add(&b, &hi->r), 0);
	ck_assert_int_eq(bus_add(&b, &lo->r), 0);
	ck_assert_int_eq(bus_add(&b, &clash->r), -EEXIST);
	ck_assert_int_eq(bus_add(&b, &lo->r), -EEXIST);
	ck_assert_int_eq(bus_add(&b, &top->r), 0);
	ck_assert(bus_read(&b, 0x10f, &v, 1));
	ck_assert_uint_eq(v, 0x88);
	ck_assert_uint_eq(lo->offset, 0xf);
	/* From one region into the next: nobody's. */
	ck_assert(!bus_read(&b, 0x10f, &v, 2));
	ck_assert_uint_eq(v & 0xffff, 0xffff);
	v = 0xabcd;
	ck_assert(bus_write(&b, 0x11e, &v, 2));
	ck_assert_uint_eq(hi->last, 0xabcd);
	ck_assert(!bus_write(&b, 0x11e, &v, 4));
	ck_assert(!bus_write(&b, 0x110, &v, 3));
	ck_assert(bus_read(&b, UINT64_MAX - 7, &v, 8));
	ck_assert(!bus_read(&b, UINT64_MAX, &v, 2));
	bus_del(&b, &hi->r);
	bus_del(&b, &hi->r);
	ck_assert(!bus_read(&b, 0x110, &v, 4));
	ck_assert(bus_read(&b, 0x100, &v, 4));
	bus_fini(&b);
	free(lo);
	free(hi);
	free(clash);
	free(top);
}
END_TEST

struct slow {
	struct bus_region r;
	_Atomic bool inside, release;
	struct bus *bus;
};

static uint64_t slow_read(struct bus_region *r, uint64_t offset, unsigned size)
{
	struct slow *s = r->opaque;

	atomic_store(&s->inside, true);
	while (!atomic_load(&s->release))
		usleep(1000);
	atomic_store(&s->inside, false);
	return 0;
}

static const struct bus_ops slow_ops = { slow_read, NULL };

static void *slow_access(void *arg)
{
	struct slow *s = arg;
	uint32_t v;

	bus_read(s->bus, 0, &v, 4);
	return NULL;
}

static void *slow_release(void *arg)
{
	struct slow *s = arg;

	usleep(20000);
	atomic_store(&s->release, true);
	return NULL;
}

START_TEST(bus_del_waits_for_handlers)
{
	struct bus b;
	struct slow s = { .r = { .base = 0, .size_bytes = 4, .ops = &slow_ops }, .bus = &b };
	pthread_t t, u;

	s.r.opaque = &s;
	bus_init(&b, "test");
	ck_assert_int_eq(bus_add(&b, &s.r), 0);
	pthread_create(&t, NULL, slow_access, &s);
	while (!atomic_load(&s.inside))
		usleep(1000);
	pthread_create(&u, NULL, slow_release, &s);
	bus_del(&b, &s.r);
	ck_assert(!atomic_load(&s.inside));
	pthread_join(t, NULL);
	pthread_join(u, NULL);
	bus_fini(&b);
}
END_TEST

struct two_fds {
	struct loop loop;
	struct loop_fd a, b;
	int calls;
};

static void a_deletes_b(struct loop_fd *h, uint32_t events)
{
	struct two_fds *t = container_of(h, struct two_fds, a);

	t->calls++;
	loop_del(&t->loop, &t->b);
	loop_del(&t->loop, &t->a);
}

static void b_deletes_a(struct loop_fd *h, uint32_t events)
{
	struct two_fds *t = container_of(h, struct two_fds, b);

	t->calls++;
	loop_del(&t->loop, &t->a);
	loop_del(&t->loop, &t->b);
}

static void nothing(void *arg)
{
}

START_TEST(loop_del_stops_fetched_events)
{
	struct two_fds t = { 0 };

	ck_assert_int_eq(loop_init(&t.loop, "test"), 0);
	t.a = (struct loop_fd){ .fd = eventfd(1, 0), .fn = a_deletes_b };
	t.b = (struct loop_fd){ .fd = eventfd(1, 0), .fn = b_deletes_a };
	ck_assert_int_eq(loop_add(&t.loop, &t.a, EPOLLIN), 0);
	ck_assert_int_eq(loop_add(&t.loop, &t.b, EPOLLIN), 0);
	/* Both are ready before the thread runs, so both are in its first batch. */
	ck_assert_int_eq(loop_start(&t.loop), 0);
	for (int i = 0; i < 3; i++)
		loop_call(&t.loop, nothing, NULL);
	loop_stop(&t.loop);
	ck_assert_int_eq(t.calls, 1);
	close(t.a.fd);
	close(t.b.fd);
	loop_fini(&t.loop);
}
END_TEST

struct where {
	struct loop *l;
	bool on_thread;
	struct loop_work w;
	int posted;
};

static void where_am_i(void *arg)
{
	struct where *w = arg;

	w->on_thread = loop_on_thread(w->l);
	loop_call(w->l, nothing, NULL); /* from its own thread: no deadlock */
}

static void posted(struct loop_work *work)
{
	struct where *w = container_of(work, struct where, w);

	if (++w->posted < 3)
		loop_post(w->l, &w->w);
}

START_TEST(loop_call_and_post)
{
	struct loop l;
	struct where w = { .l = &l, .w = { .fn = posted } };

	ck_assert_int_eq(loop_init(&l, "test"), 0);
	where_am_i(&w);
	ck_assert(!w.on_thread);
	ck_assert_int_eq(loop_start(&l), 0);
	loop_call(&l, where_am_i, &w);
	ck_assert(w.on_thread);
	loop_post(&l, &w.w);
	loop_stop(&l);
	ck_assert_int_eq(w.posted, 3);
	loop_fini(&l);
}
END_TEST

struct chain {
	struct loop l;
	struct loop_fd h;
	struct loop_work first, second;
	unsigned order[3], nr;
};

static void chain_event(struct loop_fd *h, uint32_t events)
{
	struct chain *c = container_of(h, struct chain, h);

	c->order[c->nr++] = 0;
	loop_post(&c->l, &c->first);
}

static void chain_first(struct loop_work *w)
{
	struct chain *c = container_of(w, struct chain, first);

	c->order[c->nr++] = 1;
	loop_post(&c->l, &c->second);
}

static void chain_second(struct loop_work *w)
{
	struct chain *c = container_of(w, struct chain, second);

	c->order[c->nr++] = 2;
}

/* What a loop posts to itself is run at the end of the turn, or in the next one, without a write to
 * its wake-up descriptor; what others post is announced there. */
START_TEST(loop_posts_to_itself)
{
	struct chain c = { .first.fn = chain_first, .second.fn = chain_second };
	struct loop_work other = { .fn = NULL };
	uint64_t n;

	ck_assert_int_eq(loop_init(&c.l, "test"), 0);
	c.l.thread = pthread_self();
	atomic_store(&c.l.running, true);
	c.h = (struct loop_fd){ .fd = eventfd(1, EFD_NONBLOCK), .fn = chain_event };
	ck_assert_int_eq(loop_add(&c.l, &c.h, EPOLLIN | EPOLLET), 0);
	ck_assert_uint_eq(loop_turn(&c.l, -1), 1);
	ck_assert_uint_eq(c.nr, 2);
	ck_assert_uint_eq(loop_turn(&c.l, -1), 0); /* does not wait */
	ck_assert_uint_eq(c.nr, 3);
	for (unsigned i = 0; i < 3; i++)
		ck_assert_uint_eq(c.order[i], i);
	ck_assert_int_lt(read(c.l.wakefd, &n, sizeof(n)), 0);
	loop_post(&c.l, &other); /* not in a turn: as from any other thread */
	ck_assert_int_eq(read(c.l.wakefd, &n, sizeof(n)), sizeof(n));
	loop_del(&c.l, &c.h);
	close(c.h.fd);
	loop_fini(&c.l);
}
END_TEST

/* A loop that is kept busy while a descriptor becomes ready. */
struct busy {
	struct loop l;
	struct loop_work work;
	struct loop_fd h;
	sem_t entered, go_on;
	bool handled, before_call;
};

static void keep_busy(struct loop_work *w)
{
	struct busy *b = container_of(w, struct busy, work);

	sem_post(&b->entered);
	sem_wait(&b->go_on);
}

static void handle(struct loop_fd *h, uint32_t events)
{
	struct busy *b = container_of(h, struct busy, h);
	uint64_t n;

	ck_assert_int_eq(read(h->fd, &n, sizeof(n)), sizeof(n));
	b->handled = true;
}

static void *let_go_on(void *arg)
{
	struct busy *b = arg;

	usleep(20000);
	sem_post(&b->go_on);
	return NULL;
}

static void look(void *arg)
{
	struct busy *b = arg;

	b->before_call = b->handled;
}

/* A posted work that is under way leaves the loop's own descriptor first in epoll's list. */
START_TEST(loop_flush_handles_what_is_ready)
{
	struct busy b = { .work = { .fn = keep_busy } };
	uint64_t one = 1;
	pthread_t t;

	sem_init(&b.entered, 0, 0);
	sem_init(&b.go_on, 0, 0);
	ck_assert_int_eq(loop_init(&b.l, "test"), 0);
	b.h = (struct loop_fd){ .fd = eventfd(0, 0), .fn = handle };
	ck_assert_int_eq(loop_add(&b.l, &b.h, EPOLLIN), 0);
	ck_assert_int_eq(loop_start(&b.l), 0);
	loop_post(&b.l, &b.work);
	sem_wait(&b.entered);
	ck_assert_int_eq(write(b.h.fd, &one, sizeof(one)), sizeof(one));
	ck_assert_int_eq(pthread_create(&t, NULL, let_go_on, &b), 0);
	loop_flush(&b.l); /* without it the call comes first */
	loop_call(&b.l, look, &b);
	pthread_join(t, NULL);
	loop_stop(&b.l);
	ck_assert(b.before_call);
	loop_flush(&b.l); /* of a loop that has stopped */
	loop_del(&b.l, &b.h);
	close(b.h.fd);
	loop_fini(&b.l);
}
END_TEST

/* A turn that takes two calls of a flush, and another whose calls come before the descriptor. */
struct crowd {
	struct loop l;
	struct loop_fd first, h;
	struct loop_work before, slow, second, third;
	sem_t entered, go_on;
	_Atomic bool handled;
};

static void crowd_enter(struct loop_fd *h, uint32_t events)
{
	struct crowd *c = container_of(h, struct crowd, first);

	sem_post(&c->entered);
	sem_wait(&c->go_on);
}

static void crowd_handle(struct loop_fd *h, uint32_t events)
{
	atomic_store(&container_of(h, struct crowd, h)->handled, true);
}

static void crowd_nothing(struct loop_work *w)
{
}

/* Meanwhile the next call is queued. */
static void crowd_slow(struct loop_work *w)
{
	struct crowd *c = container_of(w, struct crowd, slow);

	usleep(20000);
	loop_post(&c->l, &c->second);
}

static void crowd_second(struct loop_work *w)
{
	struct crowd *c = container_of(w, struct crowd, second);

	usleep(20000);
	loop_post(&c->l, &c->third);
}

static void crowd_third(struct loop_work *w)
{
	usleep(20000);
}

static void *crowd_go_on(void *arg)
{
	struct crowd *c = arg;

	usleep(20000); /* the first call is queued */
	loop_post(&c->l, &c->slow);
	sem_post(&c->go_on);
	return NULL;
}

START_TEST(loop_flush_among_work)
{
	struct crowd c = { .before.fn = crowd_nothing,
			   .slow.fn = crowd_slow,
			   .second.fn = crowd_second,
			   .third.fn = crowd_third };
	uint64_t one = 1;
	pthread_t t;

	sem_init(&c.entered, 0, 0);
	sem_init(&c.go_on, 0, 0);
	ck_assert_int_eq(loop_init(&c.l, "test"), 0);
	c.first = (struct loop_fd){ .fd = eventfd(1, 0), .fn = crowd_enter };
	c.h = (struct loop_fd){ .fd = eventfd(0, 0), .fn = crowd_handle };
	ck_assert_int_eq(loop_add(&c.l, &c.first, EPOLLIN | EPOLLET), 0);
	ck_assert_int_eq(loop_add(&c.l, &c.h, EPOLLIN | EPOLLET), 0);
	loop_post(&c.l, &c.before); /* so that its first turn has `first`, then work */
	ck_assert_int_eq(loop_start(&c.l), 0);
	sem_wait(&c.entered);
	loop_post(&c.l, &c.before); /* so that its second has work, then `h` */
	ck_assert_int_eq(write(c.h.fd, &one, sizeof(one)), sizeof(one));
	ck_assert_int_eq(pthread_create(&t, NULL, crowd_go_on, &c), 0);
	loop_flush(&c.l);
	ck_assert(atomic_load(&c.handled));
	pthread_join(t, NULL);
	loop_stop(&c.l);
	loop_del(&c.l, &c.first);
	loop_del(&c.l, &c.h);
	close(c.first.fd);
	close(c.h.fd);
	loop_fini(&c.l);
}
END_TEST

struct ticker {
	struct loop l;
	struct loop_timer t;
	_Atomic int ticks;
};

static void tick(struct loop_timer *t)
{
	struct ticker *k = container_of(t, struct ticker, t);

	if (atomic_fetch_add(&k->ticks, 1) < 2)
		loop_timer_arm(t, 1000000);
}

START_TEST(loop_timers)
{
	struct ticker k = { .ticks = 0 };

	ck_assert_int_eq(loop_init(&k.l, "test"), 0);
	ck_assert_int_eq(loop_timer_init(&k.l, &k.t, tick), 0);
	loop_timer_arm(&k.t, 0);
	ck_assert_int_eq(loop_start(&k.l), 0);
	while (atomic_load(&k.ticks) < 3)
		usleep(1000);
	loop_stop(&k.l);
	ck_assert_int_eq(k.ticks, 3);
	loop_timer_fini(&k.l, &k.t);
	loop_fini(&k.l);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("base");
	TCase *tc = tcase_create("base");
	SRunner *r;
	int failed;

	tcase_add_test(tc, gmem_checks_every_address);
	tcase_add_test(tc, gmem_near_is_only_a_hint);
	tcase_add_test(tc, gmem_refuses_bad_layouts);
	tcase_add_test(tc, bus_dispatches);
	tcase_add_test(tc, bus_del_waits_for_handlers);
	tcase_add_test(tc, loop_del_stops_fetched_events);
	tcase_add_test(tc, loop_call_and_post);
	tcase_add_test(tc, loop_posts_to_itself);
	tcase_add_test(tc, loop_flush_among_work);
	tcase_add_test(tc, loop_flush_handles_what_is_ready);
	tcase_add_test(tc, loop_timers);
	suite_add_tcase(s, tc);
	r = srunner_create(s);
	srunner_run_all(r, CK_ENV);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
