/*
 * One vCPU on /dev/kvm, in real mode, without any of arch/x86's boot code: what becomes of a write
 * to pages that vCPUs may only read. Skipped, by name, where there is no KVM.
 */
#include <check.h>
#include <errno.h>
#include <linux/kvm.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#include "base/dmabuf.h"
#include "base/gmem.h"
#include "base/log.h"
#include "tests/unit/kvm_kit.h"
#include "vmm/vcpu.h"

#define CODE   0x1000
#define TARGET 0x3000 /* rebound, read-only for vCPUs */
#define OWN    0x5000

/* 1: inc ax; mov [TARGET], ax; mov [OWN], ax; jmp 1 */
static const uint8_t code_write[] = { 0x40, 0xa3, 0x00, 0x30, 0xa3, 0x00, 0x50, 0xeb, 0xf7 };
/* 1: mov ax, [TARGET]; mov [OWN], ax; jmp 1 */
static const uint8_t code_read[] = { 0xa1, 0x00, 0x30, 0xa3, 0x00, 0x50, 0xeb, 0xf8 };

static struct {
	struct kvm_host kvm;
	int vm_fd;
	struct gmem mem;
	struct dma_buf dma;
	struct bus mmio, pio;
	struct platform plat;
	struct vcpu_gate gate;
	struct vcpu vcpu;
	_Atomic bool leave;
	_Atomic int event, nr_events;
	_Atomic unsigned asked, give_back_after; /* 0: never */
	_Atomic bool answer;
} t;

/* Looks at the guest while it runs: no matter of the thread sanitizer's. */
__attribute__((no_sanitize("thread"))) static uint16_t word(uint8_t *view, gpa_t at)
{
	return *(volatile uint16_t *)(view + at);
}

static void nap(void)
{
	struct timespec ts = { .tv_nsec = 200000 };

	nanosleep(&ts, NULL);
}

static void on_event(void *arg, enum machine_event ev, int status)
{
	t.event = (int)ev;
	t.nr_events++;
	t.leave = true;
}

/* What the remapper would do, on the vCPU's own thread: it counts as held. */
static bool on_write_refused(void *arg)
{
	if (++t.asked == t.give_back_after) {
		vcpu_gate_hold(&t.gate);
		ck_assert_int_eq(gmem_restore(&t.mem, t.mem.map + TARGET, 4096), 0);
		vcpu_gate_release(&t.gate);
	}
	return t.answer;
}

static void real_mode(void)
{
	struct kvm_sregs s;
	struct kvm_regs r = { .rip = CODE, .rflags = 2, .rsp = 0x800 };

	ck_assert_int_eq(ioctl(t.vcpu.fd, KVM_GET_SREGS, &s), 0);
	s.cs.selector = 0;
	s.cs.base = 0;
	ck_assert_int_eq(ioctl(t.vcpu.fd, KVM_SET_SREGS, &s), 0);
	ck_assert_int_eq(ioctl(t.vcpu.fd, KVM_SET_REGS, &r), 0);
}

static void setup(void)
{
	static const struct gmem_layout layout = { 0, MIB(2) };
	struct kvm_userspace_memory_region slot = { .memory_size = MIB(2) };
	char why[256];

	memset(&t, 0, sizeof(t));
	ck_assert_int_eq(kvm_open(&t.kvm, why, sizeof(why)), 0);
	ck_assert_int_eq(gmem_create(&t.mem, "guest", &layout, 1, GMEM_VCPU_VIEW), 0);
	ck_assert_int_eq(dma_buf_create(&t.dma, "dma", 4096), 0);
	t.vm_fd = ioctl(t.kvm.fd, KVM_CREATE_VM, 0);
	ck_assert_int_ge(t.vm_fd, 0);
	ck_assert_int_eq(ioctl(t.vm_fd, KVM_SET_TSS_ADDR, 0xfffbd000), 0);
	slot.userspace_addr = (uintptr_t)t.mem.vcpu_map;
	ck_assert_int_eq(ioctl(t.vm_fd, KVM_SET_USER_MEMORY_REGION, &slot), 0);
	bus_init(&t.mmio, "mmio");
	bus_init(&t.pio, "pio");
	t.plat = (struct platform){ .mem = &t.mem, .mmio = &t.mmio, .pio = &t.pio };
	vcpu_setup_signal();
	vcpu_gate_init(&t.gate, &t.leave, VCPU_SIGNAL);
	t.vcpu = (struct vcpu){ .plat = &t.plat,
				.guest = "g",
				.event = on_event,
				.write_refused = on_write_refused,
				.gate = &t.gate };
	ck_assert_int_eq(vcpu_create(&t.vcpu, &t.kvm, t.vm_fd, 0), 0);
	real_mode();
	t.answer = true;
	log_set_level(LOG_ERROR);
}

static void stop(void)
{
	t.leave = true;
	vcpu_gate_wake(&t.gate);
	vcpu_join(&t.vcpu);
}

static void teardown(void)
{
	stop();
	vcpu_destroy(&t.vcpu);
	close(t.vm_fd);
	vcpu_gate_fini(&t.gate);
	bus_fini(&t.mmio);
	bus_fini(&t.pio);
	dma_buf_destroy(&t.dma);
	gmem_destroy(&t.mem);
	kvm_close(&t.kvm);
}

static void run(const void *code, size_t len)
{
	ck_assert_int_eq(gmem_write(&t.mem, CODE, code, len), 0);
	ck_assert_int_eq(vcpu_start(&t.vcpu), 0);
}

static void rebind(unsigned flags)
{
	vcpu_gate_hold(&t.gate);
	ck_assert_int_eq(gmem_rebind(&t.mem, t.mem.map + TARGET, 4096, t.dma.fd, 0, flags), 0);
	vcpu_gate_release(&t.gate);
}

static void wait_for_count(gpa_t at)
{
	uint16_t before = word(t.mem.map, at);

	while (word(t.mem.map, at) == before)
		nap();
}

/* Reading costs nothing; xvmm's writes are seen. */
START_TEST(reads_are_not_refused)
{
	run(code_read, sizeof(code_read));
	rebind(GMEM_VCPU_READONLY);
	for (uint16_t i = 1; i < 20; i++) {
		__atomic_store_n((uint16_t *)t.dma.map, i, __ATOMIC_SEQ_CST);
		while (word(t.mem.map, OWN) != i)
			nap();
	}
	ck_assert_uint_eq(t.asked, 0);
	ck_assert_int_eq(t.nr_events, 0);
}
END_TEST

/* The write comes through when the page is the guest's own again; nothing is lost, and the shared
 * page has seen nothing of it. */
START_TEST(a_refused_write_is_tried_again)
{
	uint16_t own;

	t.give_back_after = (unsigned)_i;
	run(code_write, sizeof(code_write));
	wait_for_count(TARGET);
	rebind(GMEM_VCPU_READONLY);
	while (t.asked < t.give_back_after)
		nap();
	own = word(t.mem.map, OWN);
	wait_for_count(TARGET);
	wait_for_count(OWN);
	ck_assert_uint_ge((uint16_t)(word(t.mem.map, OWN) - own), 1);
	ck_assert_uint_eq(word(t.dma.map, 0), 0);
	ck_assert_int_eq(t.nr_events, 0);
	stop();
	ck_assert_int_le(abs((int16_t)(word(t.mem.map, OWN) - word(t.mem.map, TARGET))), 1);
}
END_TEST

/* -- None that could help -- */

static void is_given_up(void)
{
	while (!t.nr_events)
		nap();
	ck_assert_int_eq(t.event, MACHINE_CRASH_KVM);
	vcpu_join(&t.vcpu);
	ck_assert_uint_eq(word(t.dma.map, 0), 0);
}

START_TEST(nobody_has_done_it)
{
	t.answer = false;
	run(code_write, sizeof(code_write));
	rebind(GMEM_VCPU_READONLY);
	is_given_up();
	ck_assert_uint_eq(t.asked, 1);
}
END_TEST

START_TEST(nobody_is_there_to_ask)
{
	t.vcpu.write_refused = NULL;
	run(code_write, sizeof(code_write));
	rebind(GMEM_VCPU_READONLY);
	is_given_up();
}
END_TEST

START_TEST(an_empty_promise_is_not_believed_forever)
{
	run(code_write, sizeof(code_write));
	rebind(GMEM_VCPU_READONLY);
	is_given_up();
	ck_assert_uint_ge(t.asked, 100);
	ck_assert_uint_le(t.asked, 1001);
}
END_TEST

/* Meanwhile it can be stopped as ever. */
START_TEST(the_end_comes_between_two_tries)
{
	run(code_write, sizeof(code_write));
	rebind(GMEM_VCPU_READONLY);
	while (t.asked < 3)
		nap();
	stop();
	ck_assert_int_eq(t.nr_events, 0);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("vcpu");
	TCase *tc = tcase_create("readonly");
	SRunner *r;
	int failed;

	if (kvm_missing("vcpu"))
		return EXIT_SUCCESS;
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_set_timeout(tc, 120);
	tcase_add_test(tc, reads_are_not_refused);
	tcase_add_loop_test(tc, a_refused_write_is_tried_again, 1, 4);
	tcase_add_test(tc, nobody_has_done_it);
	tcase_add_test(tc, nobody_is_there_to_ask);
	tcase_add_test(tc, an_empty_promise_is_not_believed_forever);
	tcase_add_test(tc, the_end_comes_between_two_tries);
	suite_add_tcase(s, tc);
	r = srunner_create(s);
	srunner_run_all(r, CK_ENV);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
