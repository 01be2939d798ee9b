/*
 * Each allocation of config_load() fails once: the result is -ENOMEM, an empty lab_config, and
 * nothing lost. The allocator below stands in for libc's; a sanitizer has one of its own, so there
 * this test has nothing to do.
 */
#include <check.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "vmm/config_internal.h"

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__) || !defined(__GLIBC__)
int main(void)
{
	puts("a sanitizer's or another libc's malloc cannot be replaced here");
	return 77; /* tests/run: skipped */
}
#else

void *__libc_malloc(size_t size);
void *__libc_calloc(size_t nr, size_t size);
void *__libc_realloc(void *p, size_t size);
void __libc_free(void *p);

static long countdown = -1; /* allocations until one fails; negative: none does */
static long live;

static bool fails(void)
{
	if (countdown < 0 || countdown-- > 0)
		return false;
	errno = ENOMEM;
	return true;
}

void *malloc(size_t size)
{
	void *p = fails() ? NULL : __libc_malloc(size);
	live += !!p;
	return p;
}

void *calloc(size_t nr, size_t size)
{
	void *p = fails() ? NULL : __libc_calloc(nr, size);
	live += !!p;
	return p;
}

void *realloc(void *old, size_t size)
{
	void *p = fails() ? NULL : __libc_realloc(old, size);
	live += p && !old;
	return p;
}

void free(void *p)
{
	live -= !!p;
	__libc_free(p);
}

#define BOOT "kernel = /proc/self/exe\n"

static const char good[] =
	"[lab]\nname = x\n[net n]\nuplink = tap:xv0\n"
	"[vm a]\n" BOOT "initrd = /proc/self/exe\nmodule = /proc/self/exe x\ncmdline = y\n"
	"console = file:/tmp/no-such-log\nvirtio-console = unix:/tmp/no-such-socket\ndomain = d\n"
	"[vm b]\n" BOOT "[nic a.x]\nnet = n\npeer = b.x\n[nic b.x]\nnet = n\n"
	"[disk a.d]\npath = /proc/self/exe\nreadonly = yes\nid = z\n";
static const char bad[] =
	"x\ny = z\n[vm a]\nkernl = k\ncpus = 0\nconsole = tty\nmemory = 1\n[vm]\n[wm b]\n[net n\n"
	"[net n]\nuplink = tap:a/b\n[nic a.x]\nnet = m\nmac = 0\npeer = b.x\n[nic q.x]\nnet = n\n"
	"[disk a.d]\npath = /nix\n[disk a.d]\n\001\n";

/* Loads with every allocation failing in turn, until none is left to fail. */
static void starve(const char *text, size_t size, int unhindered)
{
	static const struct lab_config empty;
	int result;
	long n = 0;

	do {
		struct lab_config lab;
		FILE *in = fmemopen((void *)(uintptr_t)text, size, "r");
		FILE *err = fopen("/dev/null", "we");
		ck_assert(in && err);
		/* Their buffers are not what is to fail. */
		ungetc(getc(in), in);
		setvbuf(err, NULL, _IONBF, 0);
		long before = live;
		countdown = n++;
		result = config_load_stream(in, "vm.ini", 0, err, &lab);
		bool failed = countdown < 0;
		countdown = -1;
		if (failed)
			ck_assert_msg(result == -ENOMEM, "allocation %ld: %d", n, result);
		else
			ck_assert_int_eq(result, unhindered);
		if (result)
			ck_assert_mem_eq(&lab, &empty, sizeof(lab));
		config_free(&lab);
		ck_assert_msg(live == before, "allocation %ld: %ld lost", n, live - before);
		fclose(in);
		fclose(err);
		if (!failed)
			break;
	} while (n < 10000);
	ck_assert_int_eq(result, unhindered);
	ck_assert_int_gt(n, 20);
}

START_TEST(good_file)
{
	starve(good, sizeof(good) - 1, 0);
}
END_TEST

START_TEST(bad_file)
{
	starve(bad, sizeof(bad) - 1, -EINVAL);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("config without memory");
	TCase *tc = tcase_create("starve");

	tcase_add_test(tc, good_file);
	tcase_add_test(tc, bad_file);
	suite_add_tcase(s, tc);

	SRunner *sr = srunner_create(s);
	srunner_run_all(sr, CK_NORMAL);
	int failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
#endif
