/*
 * Machines and whole labs on /dev/kvm that are made, run, broken off and taken down again and
 * again: whatever fails, nothing may be left over. Needs a KVM that can run a few instructions;
 * skipped, by name, where there is none.
 */
#include <check.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/dmabuf.h"
#include "base/log.h"
#include "tests/unit/bootkit.h"
#include "tests/unit/kvm_kit.h"
#include "vmm/lab.h"
#include "vmm/machine.h"
#include "vmm/vcpu.h"
#include "xtalk/netswitch.h"
#include "xtalk/remapper.h"

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED 1
#else
#define SANITIZED 0
#endif

/* Flat 32-bit code, as PVH enters it. */
static const uint8_t code_exit[] = { 0xb0, 0x10, 0xe6, 0xf4, 0xeb, 0xfe }; /* 0x10 to port 0xf4 */
static const uint8_t code_reset[] = {
	0xb0, 0x06, 0x66, 0xba, 0xf9, 0x0c, 0xee, 0xeb, 0xfe
}; /* 6 to port 0xcf9 */
static const uint8_t code_spin[] = { 0xeb, 0xfe };
static const uint8_t code_triple[] = { 0x0f, 0x0b, 0xeb, 0xfe }; /* ud2; the IDT is empty */
/* pvpanic, and the reset register right behind it */
static const uint8_t code_panic_reset[] = { 0xb0, 0x01, 0x66, 0xba, 0x05, 0x05, 0xee, 0xb0,
					    0x06, 0x66, 0xba, 0xf9, 0x0c, 0xee, 0xeb, 0xfe };

/* Two CPUs that count, each its own number. The first copies the other's code, of real mode, to
 * 0x8000 and sends it INIT and SIPI. */
#define COUNTER_AP  0x9000
#define COUNTER_BSP 0xa000
static const uint8_t code_count[] = {
	0xc7, 0x05, 0x00, 0x80, 0x00, 0x00, 0x66, 0xff, 0x06, 0x00, /* movl inc [0x9000]; */
	0xc7, 0x05, 0x04, 0x80, 0x00, 0x00, 0x90, 0xeb, 0xf9, 0x90, /* … jmp back */
	0xc7, 0x05, 0x10, 0x03, 0xe0, 0xfe, 0x00, 0x00, 0x00, 0x01, /* to APIC 1: */
	0xc7, 0x05, 0x00, 0x03, 0xe0, 0xfe, 0x00, 0x45, 0x00, 0x00, /* INIT */
	0xc7, 0x05, 0x00, 0x03, 0xe0, 0xfe, 0x08, 0x46, 0x00, 0x00, /* SIPI to 0x8000 */
	0xff, 0x05, 0x00, 0xa0, 0x00, 0x00,			    /* incl 0xa000 */
	0xeb, 0xf8,
};

static struct bootkit kit;
static char ini[64], disk[64], log_path[64], console_path[64];

static void use_code(const void *code, size_t len)
{
	struct bootkit_elf64 f;

	bootkit_elf64(&f);
	f.eh.e_phnum = 2;
	f.ph[1] = (Elf64_Phdr){ .p_type = PT_NOTE,
				.p_offset = BOOTKIT_NOTE,
				.p_filesz = bootkit_pvh_note(&f, BOOTKIT_LOAD),
				.p_align = 4 };
	memcpy((uint8_t *)&f + BOOTKIT_ELF_DATA, code, len);
	bootkit_kernel(&kit, &f, sizeof(f));
}

static void setup(void)
{
	int fd;

	bootkit_setup(&kit, MIB(4));
	snprintf(ini, sizeof(ini), "%s/vm.ini", kit.dir);
	snprintf(disk, sizeof(disk), "%s/disk", kit.dir);
	snprintf(log_path, sizeof(log_path), "%s/log", kit.dir);
	snprintf(console_path, sizeof(console_path), "%s/console", kit.dir);
	fd = open(disk, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(ftruncate(fd, 65536), 0);
	close(fd);
	use_code(code_exit, sizeof(code_exit));
	log_set_level(LOG_ERROR);
}

static void teardown(void)
{
	unlink(ini);
	unlink(disk);
	unlink(log_path);
	unlink(console_path);
	bootkit_teardown(&kit);
}

/* Everything a guest can have, so that everything can fail. */
static void write_full_ini(unsigned cpus)
{
	FILE *f = fopen(ini, "we");

	ck_assert_ptr_nonnull(f);
	fprintf(f,
		"[net n]\nuplink = none\n"
		"[vm a]\nkernel = %s\nmemory = 4M\ncpus = %u\nconsole = file:%s\n"
		"virtio-console = none\nrng = yes\n"
		"[nic a.eth0]\nnet = n\n[disk a.root]\npath = %s\n",
		kit.kernel, cpus, console_path, disk);
	fclose(f);
}

static void write_ini(unsigned guests, unsigned cpus, const char *more)
{
	FILE *f = fopen(ini, "we");

	ck_assert_ptr_nonnull(f);
	fprintf(f, "[lab]\nshutdown-timeout = 1\n");
	for (unsigned i = 0; i < guests; i++)
		fprintf(f,
			"[vm g%u]\nkernel = %s\nmemory = 4M\ncpus = %u\nconsole = none\nrng = no\n"
			"%s\n",
			i, kit.kernel, cpus, more);
	fclose(f);
}

static unsigned entries(const char *path)
{
	DIR *d = opendir(path);
	unsigned n = 0;

	ck_assert_ptr_nonnull(d);
	while (readdir(d))
		n++;
	closedir(d);
	return n;
}

/* Mappings of KVM's descriptors and of guest memory. */
static unsigned mappings(void)
{
	FILE *f = fopen("/proc/self/maps", "re");
	char line[512];
	unsigned n = 0;

	ck_assert_ptr_nonnull(f);
	while (fgets(line, sizeof(line), f))
		n += strstr(line, "kvm-") || strstr(line, "memfd:");
	fclose(f);
	return n;
}

struct usage {
	unsigned fds, threads, maps;
};

static struct usage usage(void)
{
	return (struct usage){ entries("/proc/self/fd"), entries("/proc/self/task"), mappings() };
}

static void *nothing(void *arg)
{
	return NULL;
}

/* What the C library or a sanitizer sets up for the first thread is no leak. */
static void warm_up(void)
{
	pthread_t t;

	ck_assert_int_eq(pthread_create(&t, NULL, nothing, NULL), 0);
	pthread_join(t, NULL);
}

static void check_usage(struct usage before)
{
	struct usage now = usage();

	/* A thread that was joined may be seen for a moment yet. */
	for (int i = 0; i < 200 && now.threads != before.threads; i++) {
		struct timespec ts = { .tv_nsec = 5000000 };

		nanosleep(&ts, NULL);
		now = usage();
	}
	ck_assert_uint_eq(now.fds, before.fds);
	ck_assert_uint_eq(now.threads, before.threads);
	ck_assert_uint_eq(now.maps, before.maps);
}

static void load(struct lab_config *cfg)
{
	ck_assert_int_eq(config_load(ini, 0, stderr, cfg), 0);
}

/* -- One machine -- */

static _Atomic int events;

static void on_event(void *arg, enum machine_event ev, int status)
{
	events++;
}

struct parts {
	struct lab_config cfg;
	struct kvm_host kvm;
	struct loop loop;
	struct netswitch *sw;
	struct remapper *remapper;
	struct nic_backend nic;
	struct chardev console;
	struct machine_params params;
};

static void drop_output(struct chardev *c, const void *data, size_t len)
{
}

static size_t no_input(struct chardev *c, void *buf, size_t len)
{
	return 0;
}

static void parts_init(struct parts *p, unsigned cpus)
{
	static const struct chardev_ops ops = { drop_output, no_input };
	struct netswitch_params sw = {
		.name = "n",
		.uplink_fd = -1,
		.rules = { .threshold = 8, .share_percent = 75, .window = 32 },
	};
	char why[256];

	warm_up();
	memset(p, 0, sizeof(*p));
	write_full_ini(cpus);
	load(&p->cfg);
	ck_assert_int_eq(kvm_open(&p->kvm, why, sizeof(why)), 0);
	ck_assert_int_eq(loop_init(&p->loop, "io"), 0);
	ck_assert_int_eq(remapper_create(&p->remapper), 0);
	sw.remapper = p->remapper;
	ck_assert_int_eq(netswitch_create(&p->sw, &sw), 0);
	vcpu_setup_signal();
	p->console.ops = &ops;
	p->nic = (struct nic_backend){ .tap_fd = -1, .sw = p->sw };
	p->params = (struct machine_params){ .kvm = &p->kvm,
					     .cfg = &p->cfg,
					     .nics = &p->nic,
					     .loop = &p->loop,
					     .console = &p->console,
					     .event = on_event };
}

static void parts_fini(struct parts *p)
{
	netswitch_destroy(p->sw);
	remapper_destroy(p->remapper);
	loop_fini(&p->loop);
	kvm_close(&p->kvm);
	config_free(&p->cfg);
}

static void wait_for_event(void)
{
	struct timespec ts = { .tv_nsec = 200000 };

	for (int i = 0; !events && i < 100000; i++)
		nanosleep(&ts, NULL);
	ck_assert_int_ge(events, 1);
}

START_TEST(machine_again_and_again)
{
	struct parts p;
	struct machine *m;
	struct usage before;
	char why[512];

	parts_init(&p, 2);
	before = usage();
	for (int i = 0; i < 60; i++) {
		events = 0;
		ck_assert_msg(!machine_create(&m, &p.params, why, sizeof(why)), "%s", why);
		if (i % 3) {
			ck_assert_int_eq(machine_start(m), 0);
			if (i % 3 == 1)
				wait_for_event();
			machine_stop(m);
			machine_stop(m); /* idempotent */
		}
		machine_destroy(m);
		if (i % 10 == 0)
			check_usage(before);
	}
	check_usage(before);
	parts_fini(&p);
}
END_TEST

/* The n-th descriptor can't be had, for every n. */
START_TEST(machine_without_descriptors)
{
	struct parts p;
	struct usage before;
	struct rlimit old, few;
	struct machine *m;
	unsigned refused = 0;
	char why[512];
	int rc;

	parts_init(&p, 2);
	before = usage();
	getrlimit(RLIMIT_NOFILE, &old);
	few = old;
	for (few.rlim_cur = 3;; few.rlim_cur++) {
		why[0] = 0;
		ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &few), 0);
		rc = machine_create(&m, &p.params, why, sizeof(why));
		ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &old), 0);
		if (!rc)
			break;
		ck_assert_msg(rc == -EMFILE, "%s", why);
		ck_assert_ptr_nonnull(strstr(why, "Too many open files"));
		check_usage(before);
		refused++;
		ck_assert_uint_lt(refused, 1000);
	}
	ck_assert_uint_gt(refused, 10);
	events = 0;
	ck_assert_int_eq(machine_start(m), 0);
	wait_for_event();
	machine_stop(m);
	machine_destroy(m);
	check_usage(before);
	parts_fini(&p);
}
END_TEST

/* -- Held vCPUs -- */

static uint32_t counter(const struct port_memory *pm, gpa_t at)
{
	return __atomic_load_n((uint32_t *)gmem_ptr(pm->mem, at, 4), __ATOMIC_SEQ_CST);
}

static void wait_for_count(const struct port_memory *pm, gpa_t at, uint32_t before)
{
	struct timespec ts = { .tv_nsec = 100000 };

	while (counter(pm, at) == before)
		nanosleep(&ts, NULL);
}

START_TEST(held_a_thousand_times)
{
	unsigned rounds = SANITIZED ? 200 : 1000;
	struct port_memory pm;
	struct machine *m;
	struct parts p;
	char why[512];

	use_code(code_count, sizeof(code_count));
	parts_init(&p, 2);
	ck_assert_msg(!machine_create(&m, &p.params, why, sizeof(why)), "%s", why);
	machine_memory(m, &pm);
	/* Not yet started: nobody is there, and those who come wait. */
	pm.hold(pm.arg);
	ck_assert_int_eq(machine_start(m), 0);
	ck_assert_uint_eq(counter(&pm, COUNTER_BSP), 0);
	pm.release(pm.arg);
	wait_for_count(&pm, COUNTER_BSP, 0);
	wait_for_count(&pm, COUNTER_AP, 0);
	for (unsigned i = 0; i < rounds; i++) {
		struct timespec ts = { .tv_nsec = 300000 };
		uint32_t bsp, ap;

		pm.hold(pm.arg);
		bsp = counter(&pm, COUNTER_BSP);
		ap = counter(&pm, COUNTER_AP);
		if (i % 8 == 0)
			nanosleep(&ts, NULL);
		ck_assert_uint_eq(counter(&pm, COUNTER_BSP), bsp);
		ck_assert_uint_eq(counter(&pm, COUNTER_AP), ap);
		pm.release(pm.arg);
		if (i % 8 == 0) {
			wait_for_count(&pm, COUNTER_BSP, bsp);
			wait_for_count(&pm, COUNTER_AP, ap);
		}
	}
	/* Its end does not wait for a release, and a hold may come after it. */
	pm.hold(pm.arg);
	machine_stop(m);
	pm.release(pm.arg);
	pm.hold(pm.arg);
	pm.release(pm.arg);
	machine_destroy(m);
	parts_fini(&p);
}
END_TEST

/* Pages under the running guest's feet, and its own again: it counts on where it was. */
START_TEST(memory_is_rebound_under_a_guest)
{
	struct port_memory pm;
	struct dma_buf dma;
	struct machine *m;
	struct parts p;
	char why[512];

	use_code(code_count, sizeof(code_count));
	parts_init(&p, 2);
	ck_assert_int_eq(dma_buf_create(&dma, "dma", 4096), 0);
	ck_assert_msg(!machine_create(&m, &p.params, why, sizeof(why)), "%s", why);
	machine_memory(m, &pm);
	ck_assert_int_eq(machine_start(m), 0);
	wait_for_count(&pm, COUNTER_BSP, 0);
	for (unsigned i = 0; i < 50; i++) {
		void *page = gmem_ptr(pm.mem, COUNTER_BSP, 4096);
		uint32_t own, *shared = (uint32_t *)dma.map;

		pm.hold(pm.arg);
		own = counter(&pm, COUNTER_BSP);
		*shared = 0x40000000;
		ck_assert_int_eq(gmem_rebind(pm.mem, page, 4096, dma.fd, 0, 0), 0);
		pm.release(pm.arg);
		wait_for_count(&pm, COUNTER_BSP, 0x40000000);
		pm.hold(pm.arg);
		ck_assert_uint_gt(*shared, 0x40000000);
		ck_assert_uint_lt(*shared, 0x80000000);
		ck_assert_int_eq(gmem_restore(pm.mem, page, 4096), 0);
		ck_assert_uint_eq(counter(&pm, COUNTER_BSP), own);
		pm.release(pm.arg);
		wait_for_count(&pm, COUNTER_BSP, own);
		ck_assert_uint_lt(counter(&pm, COUNTER_BSP), 0x40000000);
	}
	machine_stop(m);
	machine_destroy(m);
	dma_buf_destroy(&dma);
	parts_fini(&p);
}
END_TEST

static _Atomic int last_event, last_status;

static void note_event(void *arg, enum machine_event ev, int status)
{
	last_event = (int)ev;
	last_status = status;
	events++;
}

START_TEST(memory_that_is_lost_ends_the_guest)
{
	struct port_memory pm;
	struct machine *m;
	struct parts p;
	char why[512];

	use_code(code_count, sizeof(code_count));
	parts_init(&p, 2);
	p.params.event = note_event;
	ck_assert_msg(!machine_create(&m, &p.params, why, sizeof(why)), "%s", why);
	machine_memory(m, &pm);
	ck_assert_int_eq(machine_start(m), 0);
	wait_for_count(&pm, COUNTER_BSP, 0);
	log_set_level(LOG_ERROR);
	events = 0;
	pm.hold(pm.arg);
	pm.lost(pm.arg);
	ck_assert_int_eq(events, 1);
	ck_assert_int_eq(last_event, MACHINE_HOST_FAULT);
	ck_assert_int_eq(last_status, ENOMEM);
	pm.release(pm.arg);
	machine_stop(m);
	machine_destroy(m);
	parts_fini(&p);
}
END_TEST

static uint64_t mapped_bytes(void)
{
	FILE *f = fopen("/proc/self/statm", "re");
	unsigned long pages = 0;

	ck_assert_int_eq(fscanf(f, "%lu", &pages), 1);
	fclose(f);
	return pages * (uint64_t)sysconf(_SC_PAGESIZE);
}

/* Memory runs out at every step: of the heap, of mappings, of threads' stacks. */
START_TEST(machine_without_memory)
{
	struct parts p;
	struct usage before;
	struct rlimit old, few;
	struct machine *m;
	unsigned refused = 0, not_started = 0;
	char why[512];
	int rc;

	if (SANITIZED) /* it maps terabytes for itself */
		return;
	parts_init(&p, 3);
	before = usage();
	getrlimit(RLIMIT_AS, &old);
	few = old;
	few.rlim_cur = mapped_bytes();
	for (;; few.rlim_cur += KIB(48)) {
		bool done = false;

		why[0] = 0;
		events = 0;
		ck_assert_int_eq(setrlimit(RLIMIT_AS, &few), 0);
		rc = machine_create(&m, &p.params, why, sizeof(why));
		if (rc) {
			refused++;
		} else {
			done = !machine_start(m);
			not_started += !done;
			if (done)
				wait_for_event();
			machine_stop(m);
			machine_destroy(m);
		}
		ck_assert_int_eq(setrlimit(RLIMIT_AS, &old), 0);
		ck_assert_msg(!rc || why[0], "%d without a reason", rc);
		check_usage(before);
		if (done)
			break;
		ck_assert_uint_lt(few.rlim_cur, mapped_bytes() + GIB(1));
	}
	ck_assert_uint_gt(refused, 10);
	ck_assert_uint_gt(not_started, 1);
	parts_fini(&p);
}
END_TEST

/* -- Whole labs, each in a process of its own -- */

/* What a lab left over shows in the exit status of its process. */
#define LEFT_OVER 99

static bool log_has(const char *text)
{
	FILE *f = fopen(log_path, "re");
	char line[1024];
	bool found = false;

	ck_assert_ptr_nonnull(f);
	while (!found && fgets(line, sizeof(line), f))
		found = strstr(line, text);
	fclose(f);
	return found;
}

static int lab_in_child(rlim_t max_fds, int sig, unsigned delay_ms)
{
	struct lab_config cfg;
	sigset_t set, old;
	int status;
	pid_t pid;

	load(&cfg);
	/* As if lab_run() had begun: a signal before that ends any process. */
	sigemptyset(&set);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGTERM);
	sigprocmask(SIG_BLOCK, &set, &old);
	pid = fork();
	ck_assert_int_ge(pid, 0);
	if (!pid) {
		struct rlimit r = { max_fds, max_fds };
		int fd = open(log_path, O_WRONLY | O_CREAT | O_TRUNC | O_APPEND | O_CLOEXEC, 0600);
		struct usage before, after;

		dup2(fd, 2);
		warm_up();
		before = usage();
		if (max_fds)
			setrlimit(RLIMIT_NOFILE, &r);
		status = lab_run(&cfg);
		r = (struct rlimit){ 1024, 1024 };
		setrlimit(RLIMIT_NOFILE, &r); /* where the rights allow it */
		if (max_fds && geteuid())
			_exit(status);
		after = usage();
		config_free(&cfg);
		_exit(after.fds == before.fds && after.threads == before.threads &&
				      after.maps == before.maps
			      ? status
			      : LEFT_OVER);
	}
	sigprocmask(SIG_SETMASK, &old, NULL);
	for (int n = 0; sig && n < 2; n++) { /* the second kills at once */
		struct timespec ts = { delay_ms / 1000, delay_ms % 1000 * 1000000 };

		nanosleep(&ts, NULL);
		kill(pid, sig);
	}
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	config_free(&cfg);
	ck_assert_msg(WIFEXITED(status), "ended by signal %d", WTERMSIG(status));
	ck_assert(!SANITIZED || !log_has("Sanitizer"));
	return WEXITSTATUS(status);
}

START_TEST(lab_again_and_again_in_one_process)
{
	struct lab_config cfg;
	struct usage before;

	write_full_ini(1);
	load(&cfg);
	ck_assert_int_eq(lab_run(&cfg), 33); /* what is made once per process is made */
	before = usage();
	for (int i = 0; i < 200; i++) {
		ck_assert_int_eq(lab_run(&cfg), 33);
		if (i % 20 == 0)
			check_usage(before);
	}
	check_usage(before);
	config_free(&cfg);
}
END_TEST

START_TEST(lab_without_descriptors)
{
	unsigned refused = 0;
	int status;

	write_full_ini(2);
	for (rlim_t n = 4;; n++) {
		status = lab_in_child(n, 0, 0);
		if (status == 33)
			break;
		ck_assert_int_eq(status, LAB_HOST_FAULT);
		ck_assert_msg(log_has("Too many open files"), "%lu: no word", (unsigned long)n);
		ck_assert_uint_lt(++refused, 1000);
	}
	ck_assert_uint_gt(refused, 10);
}
END_TEST

START_TEST(lab_of_many_guests_without_descriptors)
{
	write_ini(20, 1, "");
	ck_assert_int_eq(lab_in_child(60, 0, 0), LAB_HOST_FAULT);
	ck_assert(log_has("Too many open files"));
}
END_TEST

START_TEST(restarts)
{
	static const struct {
		const uint8_t *code;
		size_t len;
	} loops[] = {
		{ code_reset, sizeof(code_reset) },
		{ code_triple, sizeof(code_triple) },
		{ code_panic_reset, sizeof(code_panic_reset) },
	};

	log_set_level(LOG_INFO);
	for (unsigned i = 0; i < ARRAY_SIZE(loops); i++) {
		use_code(loops[i].code, loops[i].len);
		write_ini(3, 1, "on-reboot = restart\non-crash = restart");
		/* Both while it restarts quickly and while it has to wait a second. A guest that is
		 * between two machines just ends; one that runs may have to be killed. */
		for (unsigned ms = 50; ms <= 1650; ms += 400) {
			int status = lab_in_child(0, SIGTERM, ms);

			ck_assert_msg(status == LAB_OK || status == LAB_GUEST_CRASHED, "%d",
				      status);
		}
		ck_assert(log_has("starting again"));
	}
}
END_TEST

START_TEST(crash_ends_with_its_status)
{
	use_code(code_triple, sizeof(code_triple));
	write_ini(2, 1, "on-crash = stop");
	ck_assert_int_eq(lab_in_child(0, 0, 0), LAB_GUEST_CRASHED);
	use_code(code_reset, sizeof(code_reset));
	write_ini(2, 1, "on-reboot = stop");
	ck_assert_int_eq(lab_in_child(0, 0, 0), LAB_OK);
	/* The first event counts. */
	use_code(code_panic_reset, sizeof(code_panic_reset));
	write_ini(2, 1, "on-reboot = restart\non-crash = stop");
	ck_assert_int_eq(lab_in_child(0, 0, 0), LAB_GUEST_CRASHED);
}
END_TEST

/* A guest that does nothing at all is killed after the time limit, or at the second signal. */
START_TEST(signals_at_any_moment)
{
	use_code(code_spin, sizeof(code_spin));
	write_ini(4, 1, "");
	for (unsigned ms = 0; ms <= 60; ms += 6)
		ck_assert_int_eq(lab_in_child(0, ms % 4 ? SIGINT : SIGTERM, ms), LAB_GUEST_CRASHED);
}
END_TEST

/* The guest ends by itself about when the signal comes. */
START_TEST(signal_and_end_at_once)
{
	write_ini(2, 1, "");
	for (unsigned ms = 2; ms <= 50; ms += 4) {
		int status = lab_in_child(0, SIGTERM, ms);

		ck_assert_msg(status == 33 || status == LAB_GUEST_CRASHED, "%d", status);
	}
}
END_TEST

START_TEST(guest_of_64_cpus)
{
	write_ini(1, 64, "");
	ck_assert_int_eq(lab_in_child(0, 0, 0), 33);
	use_code(code_spin, sizeof(code_spin));
	ck_assert_int_eq(lab_in_child(0, SIGTERM, 300), LAB_GUEST_CRASHED);
}
END_TEST

START_TEST(guests_200)
{
	write_ini(200, 1, "");
	ck_assert_int_eq(lab_in_child(0, 0, 0), 33);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("machine");
	TCase *tc = tcase_create("life");
	SRunner *r;
	int failed;

	if (kvm_missing("machine"))
		return EXIT_SUCCESS;
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_set_timeout(tc, 240);
	tcase_add_test(tc, machine_again_and_again);
	tcase_add_test(tc, machine_without_descriptors);
	tcase_add_test(tc, machine_without_memory);
	tcase_add_test(tc, held_a_thousand_times);
	tcase_add_test(tc, memory_is_rebound_under_a_guest);
	tcase_add_test(tc, memory_that_is_lost_ends_the_guest);
	tcase_add_test(tc, lab_again_and_again_in_one_process);
	tcase_add_test(tc, lab_without_descriptors);
	tcase_add_test(tc, lab_of_many_guests_without_descriptors);
	tcase_add_test(tc, restarts);
	tcase_add_test(tc, crash_ends_with_its_status);
	tcase_add_test(tc, signals_at_any_moment);
	tcase_add_test(tc, signal_and_end_at_once);
	tcase_add_test(tc, guest_of_64_cpus);
	tcase_add_test(tc, guests_200);
	suite_add_tcase(s, tc);
	r = srunner_create(s);
	srunner_run_all(r, CK_NORMAL);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
