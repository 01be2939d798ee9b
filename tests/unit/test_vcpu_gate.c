/*
 * The gate that vCPUs pass through, with threads in place of vCPUs: "guest code" writes plain
 * memory until it is kicked, as KVM_RUN would, and whoever holds the gate reads and writes the same
 * memory. The thread sanitizer sees whether they are ever there together.
 */
#include <check.h>
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "vmm/vcpu_gate.h"

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define ROUNDS 300
#else
#define ROUNDS 1000
#endif
#define MAX_VCPUS 4

struct vcpu_mock {
	struct world *w;
	struct vcpu_pass pass;
	pthread_t thread;
	uint8_t immediate_exit;
	unsigned mode;
	/* Of the guest: no atomics, on purpose. */
	uint64_t memory[8];
	_Atomic uint64_t runs, exits;
	_Atomic bool in_handler;
};

struct world {
	struct vcpu_gate gate;
	_Atomic bool leave;
	struct vcpu_mock vcpu[MAX_VCPUS];
	pthread_mutex_t big; /* that a handler waits for */
};

enum { SPINS, HALTS, EXITS, MIXED };

static struct world w;

static void on_signal(int sig)
{
}

static void nap(long us)
{
	struct timespec ts = { .tv_sec = us / 1000000, .tv_nsec = us % 1000000 * 1000 };

	nanosleep(&ts, NULL);
}

/* KVM_RUN, as far as the gate knows it. */
static void run_guest(struct vcpu_mock *v, unsigned n)
{
	sigset_t during;

	for (unsigned i = 0; i < 8; i++)
		v->memory[i]++;
	switch (v->mode == MIXED ? n % 3 : v->mode) {
	case SPINS:
		while (!__atomic_load_n(&v->immediate_exit, __ATOMIC_SEQ_CST))
			v->memory[0]++;
		v->memory[0] = v->memory[1];
		break;
	case HALTS:
		/* The signal is blocked but here, so that none comes too early: what KVM does by
		 * looking at immediate_exit, and at signals, before it lets the thread sleep. */
		sigemptyset(&during);
		if (!__atomic_load_n(&v->immediate_exit, __ATOMIC_SEQ_CST))
			ck_assert(sigsuspend(&during) && errno == EINTR);
		break;
	default:
		break;
	}
	v->memory[7] = v->memory[1];
}

static void *vcpu_main(void *arg)
{
	struct vcpu_mock *v = arg;
	sigset_t set;
	unsigned n = 0;

	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	pthread_sigmask(SIG_BLOCK, &set, NULL);
	vcpu_gate_join(&w.gate, &v->pass, &v->immediate_exit);
	while (vcpu_gate_enter(&v->pass)) {
		v->runs++;
		run_guest(v, n++);
		vcpu_gate_exit(&v->pass);
		v->exits++;
	}
	vcpu_gate_part(&v->pass);
	return NULL;
}

static void setup(void)
{
	struct sigaction sa = { .sa_handler = on_signal };

	sigaction(SIGUSR1, &sa, NULL);
	memset(&w, 0, sizeof(w));
	pthread_mutex_init(&w.big, NULL);
	vcpu_gate_init(&w.gate, &w.leave, SIGUSR1);
}

static void teardown(void)
{
	ck_assert_ptr_null(w.gate.pass);
	ck_assert_uint_eq(w.gate.held, 0);
	vcpu_gate_fini(&w.gate);
	pthread_mutex_destroy(&w.big);
}

static void start(unsigned i, unsigned mode)
{
	w.vcpu[i].mode = mode;
	ck_assert_int_eq(pthread_create(&w.vcpu[i].thread, NULL, vcpu_main, &w.vcpu[i]), 0);
}

static void stop(unsigned nr)
{
	atomic_store(&w.leave, true);
	vcpu_gate_wake(&w.gate);
	for (unsigned i = 0; i < nr; i++)
		pthread_join(w.vcpu[i].thread, NULL);
}

/* It has gone in again since. */
static void wait_for_run(unsigned i, uint64_t before)
{
	while (atomic_load(&w.vcpu[i].runs) <= before)
		nap(50);
}

/* While it is held nothing changes but what we change, and that is seen by the guest afterwards. */
static void look_around(unsigned nr, unsigned round)
{
	for (unsigned i = 0; i < nr; i++) {
		struct vcpu_mock *v = &w.vcpu[i];
		uint64_t seen = v->memory[7], runs = v->runs;

		for (unsigned k = 0; k < 8; k++)
			ck_assert_uint_eq(v->memory[k], seen);
		if (round % 16 == 0) {
			nap(200);
			ck_assert_uint_eq(v->memory[7], seen);
		}
		/* It may go in and find the gate shut, but never as far as to run. */
		ck_assert_uint_eq(v->runs, runs);
		for (unsigned k = 0; k < 8; k++)
			v->memory[k] = seen + 1000;
	}
}

START_TEST(held_again_and_again)
{
	unsigned nr = _i == MIXED ? MAX_VCPUS : 2;
	uint64_t before[MAX_VCPUS];

	for (unsigned i = 0; i < nr; i++)
		start(i, (unsigned)_i);
	for (unsigned i = 0; i < nr; i++)
		wait_for_run(i, 0);
	for (unsigned round = 0; round < ROUNDS; round++) {
		vcpu_gate_hold(&w.gate);
		for (unsigned i = 0; i < nr; i++)
			before[i] = w.vcpu[i].runs;
		look_around(nr, round);
		vcpu_gate_release(&w.gate);
		for (unsigned i = 0; i < nr && round % 64 == 0; i++)
			wait_for_run(i, before[i]);
	}
	stop(nr);
}
END_TEST

/* Nobody is there yet, or any more. */
START_TEST(hold_without_vcpus)
{
	vcpu_gate_hold(&w.gate);
	vcpu_gate_release(&w.gate);
	vcpu_gate_wake(&w.gate);
	/* Those who start while it is held wait. */
	vcpu_gate_hold(&w.gate);
	start(0, SPINS);
	start(1, EXITS);
	nap(20000);
	ck_assert_uint_eq(w.vcpu[0].runs + w.vcpu[1].runs, 0);
	vcpu_gate_release(&w.gate);
	wait_for_run(0, 0);
	wait_for_run(1, 0);
	stop(2);
	vcpu_gate_hold(&w.gate);
	vcpu_gate_release(&w.gate);
}
END_TEST

START_TEST(holds_nest)
{
	uint64_t before;

	start(0, SPINS);
	wait_for_run(0, 0);
	vcpu_gate_hold(&w.gate);
	vcpu_gate_hold(&w.gate);
	before = w.vcpu[0].runs;
	vcpu_gate_release(&w.gate);
	nap(10000);
	ck_assert_uint_eq(w.vcpu[0].runs, before);
	look_around(1, 0);
	vcpu_gate_release(&w.gate);
	wait_for_run(0, before);
	stop(1);
}
END_TEST

/* -- A handler that waits for who holds the gate -- */

static void *waits_in_handler(void *arg)
{
	struct vcpu_mock *v = arg;

	vcpu_gate_join(&w.gate, &v->pass, &v->immediate_exit);
	while (vcpu_gate_enter(&v->pass)) {
		v->runs++;
		v->memory[0]++;
		vcpu_gate_exit(&v->pass);
		v->in_handler = true;
		pthread_mutex_lock(&w.big);
		pthread_mutex_unlock(&w.big);
		v->in_handler = false;
	}
	vcpu_gate_part(&v->pass);
	return NULL;
}

START_TEST(a_handler_is_not_waited_for)
{
	struct vcpu_mock *v = &w.vcpu[0];

	pthread_mutex_lock(&w.big);
	ck_assert_int_eq(pthread_create(&v->thread, NULL, waits_in_handler, v), 0);
	while (!v->in_handler)
		nap(50);
	for (int i = 0; i < 100; i++) {
		vcpu_gate_hold(&w.gate); /* would never return */
		vcpu_gate_release(&w.gate);
	}
	vcpu_gate_hold(&w.gate);
	pthread_mutex_unlock(&w.big);
	nap(5000);
	ck_assert_uint_eq(v->runs, 1);
	vcpu_gate_release(&w.gate);
	wait_for_run(0, 1);
	stop(1);
}
END_TEST

/* -- The end, at any moment -- */

static void *holder_main(void *arg)
{
	_Atomic bool *end = arg;

	while (!atomic_load(end)) {
		vcpu_gate_hold(&w.gate);
		vcpu_gate_release(&w.gate);
	}
	return NULL;
}

START_TEST(the_end_comes_through)
{
	for (unsigned round = 0; round < ROUNDS / 10; round++) {
		_Atomic bool end = false;
		pthread_t holder[2];

		atomic_store(&w.leave, false);
		for (unsigned i = 0; i < 2; i++)
			ck_assert_int_eq(pthread_create(&holder[i], NULL, holder_main, &end), 0);
		for (unsigned i = 0; i < 3; i++)
			start(i, i);
		if (round % 4)
			nap(round % 7 * 50);
		stop(3);
		ck_assert_ptr_null(w.gate.pass);
		atomic_store(&end, true);
		for (unsigned i = 0; i < 2; i++)
			pthread_join(holder[i], NULL);
	}
}
END_TEST

/* A machine that ends does not wait until the gate is released. */
START_TEST(the_end_comes_while_held)
{
	for (unsigned i = 0; i < 3; i++)
		start(i, i);
	for (unsigned i = 0; i < 3; i++)
		wait_for_run(i, 0);
	vcpu_gate_hold(&w.gate);
	stop(3);
	vcpu_gate_release(&w.gate);
}
END_TEST

/* Kicks of a hold that is over are forgotten, and not forever. */
START_TEST(an_old_kick_does_no_harm)
{
	struct vcpu_mock *v = &w.vcpu[0];
	uint64_t before;

	start(0, SPINS);
	wait_for_run(0, 0);
	vcpu_gate_wake(&w.gate); /* for nothing */
	wait_for_run(0, 1);
	vcpu_gate_hold(&w.gate);
	vcpu_gate_release(&w.gate);
	wait_for_run(0, 2);
	nap(5000);
	before = v->runs;
	nap(20000);
	/* It runs: it does not come out again and again. */
	ck_assert_uint_eq(v->runs, before);
	ck_assert_uint_eq(__atomic_load_n(&v->immediate_exit, __ATOMIC_SEQ_CST), 0);
	stop(1);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("vcpu_gate");
	TCase *tc = tcase_create("gate");
	SRunner *r;
	int failed;

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_set_timeout(tc, 120);
	tcase_add_loop_test(tc, held_again_and_again, SPINS, MIXED + 1);
	tcase_add_test(tc, hold_without_vcpus);
	tcase_add_test(tc, holds_nest);
	tcase_add_test(tc, a_handler_is_not_waited_for);
	tcase_add_test(tc, the_end_comes_through);
	tcase_add_test(tc, the_end_comes_while_held);
	tcase_add_test(tc, an_old_kick_does_no_harm);
	suite_add_tcase(s, tc);
	r = srunner_create(s);
	srunner_run_all(r, CK_ENV);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
