/*
 * xvmm doctor: the line that scripts rely on, and its verdict with devices missing or false, each
 * in a mount namespace of its own.
 */
#include <check.h>
#include <fcntl.h>
#include <grp.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <unistd.h>

#include "arch/probe.h"
#include "vmm/doctor.h"

static char text[16384];

static int run(bool quiet)
{
	FILE *f = fmemopen(text, sizeof(text) - 1, "w");
	int r;

	ck_assert_ptr_nonnull(f);
	memset(text, 0, sizeof(text));
	r = doctor_run(f, quiet);
	fclose(f);
	return r;
}

static bool own_dev(void)
{
	return unshare(CLONE_NEWNS) == 0 &&
	       mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0 &&
	       mount("none", "/dev", "tmpfs", 0, "mode=755") == 0 && mkdir("/dev/net", 0755) == 0 &&
	       mknod("/dev/null", S_IFCHR | 0666, makedev(1, 3)) == 0;
}

static void check_last_line(const char *want)
{
	char *end = text + strlen(text);

	ck_assert(end > text && end[-1] == '\n');
	end[-1] = '\0';
	end = strrchr(text, '\n');
	ck_assert_msg(!strncmp(end ? end + 1 : text, want, strlen(want)), "%s", text);
}

START_TEST(quiet_says_one_line)
{
	int r = run(true);

	ck_assert_ptr_eq(strchr(text, '\n'), text + strlen(text) - 1);
	check_last_line("doctor: kvm=");
	ck_assert_int_eq(r, strstr(text, "kvm=none") != NULL);
	ck_assert_ptr_nonnull(strstr(text, " tun="));
	ck_assert_ptr_nonnull(strstr(text, " net-admin="));
}
END_TEST

START_TEST(says_every_item)
{
	static const char *const items[] = {
		"/dev/kvm: ", "/dev/net/tun: ", "bridge rights: ", "ip: ",
		"hugepages",  "memory: ",	"open files: ",	   "qemu-system-x86_64: "
	};

	run(false);
	for (unsigned i = 0; i < sizeof(items) / sizeof(items[0]); i++)
		ck_assert_msg(strstr(text, items[i]), "%s not in %s", items[i], text);
	for (char *line = strtok(text, "\n"); line; line = strtok(NULL, "\n"))
		ck_assert_msg(!strncmp(line, "ok    ", 6) || !strncmp(line, "warn  ", 6) ||
				      !strncmp(line, "FAIL  ", 6) || !strncmp(line, "doctor: ", 8),
			      "%s", line);
}
END_TEST

START_TEST(devices_missing)
{
	ck_assert(own_dev());
	ck_assert_int_eq(run(false), 1);
	ck_assert_ptr_nonnull(strstr(text, "FAIL  /dev/kvm: missing"));
	ck_assert_ptr_nonnull(strstr(text, "modprobe kvm"));
	ck_assert_ptr_nonnull(strstr(text, "(fix: sudo modprobe tun)"));
	check_last_line("doctor: kvm=none tun=no ");
}
END_TEST

/* A node that opens but is something else. */
START_TEST(devices_false)
{
	ck_assert(own_dev());
	ck_assert_int_eq(mknod("/dev/kvm", S_IFCHR | 0666, makedev(1, 3)), 0);
	ck_assert_int_eq(mknod("/dev/net/tun", S_IFCHR | 0666, makedev(1, 3)), 0);
	ck_assert_int_eq(run(false), 1);
	ck_assert_ptr_nonnull(strstr(text, "FAIL  /dev/kvm: API version -1, not 12"));
	check_last_line("doctor: kvm=none tun=no ");
}
END_TEST

START_TEST(probe_survives_what_is_no_kvm)
{
	char what[80] = "";
	int fd;

	ck_assert(own_dev());
	fd = open("/dev/null", O_RDWR);
	ck_assert_int_ge(fd, 0);
	ck_assert_int_lt(arch_probe_kvm(fd, what, sizeof(what)), 0);
	ck_assert_str_ne(what, "");
	ck_assert_int_lt(arch_probe_kvm(-1, what, sizeof(what)), 0);
	close(fd);
}
END_TEST

START_TEST(probe_leaves_nothing_behind)
{
	char what[200] = "";
	int kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC), fd, first = -1;

	if (kvm < 0)
		return;
	for (int i = 0; i < 5; i++) {
		int r = arch_probe_kvm(kvm, what, sizeof(what));

		ck_assert_msg(r == PROBE_HARDWARE || r == PROBE_SOFTWARE_ONLY, "%d %s", r, what);
		ck_assert_msg(first == -1 || r == first, "%s", what);
		first = r;
	}
	fd = dup(kvm);
	ck_assert_int_eq(fd, kvm + 1);
	close(fd);
	close(kvm);
}
END_TEST

START_TEST(without_rights)
{
	ck_assert(own_dev());
	ck_assert_int_eq(mknod("/dev/kvm", S_IFCHR | 0600, makedev(10, 232)), 0);
	ck_assert_int_eq(mknod("/dev/net/tun", S_IFCHR | 0600, makedev(10, 200)), 0);
	ck_assert_int_eq(chmod("/dev/kvm", 0600), 0);
	ck_assert(setgroups(0, NULL) == 0 && setresgid(65534, 65534, 65534) == 0 &&
		  setresuid(65534, 65534, 65534) == 0);
	ck_assert_int_eq(run(false), 1);
	ck_assert_ptr_nonnull(strstr(text, "usermod -aG kvm"));
	ck_assert_ptr_nonnull(strstr(text, "(fix: sudo chmod 0666 /dev/net/tun)"));
	ck_assert_ptr_nonnull(strstr(text, "warn  bridge rights"));
	check_last_line("doctor: kvm=none tun=no net-admin=no");
}
END_TEST

static bool can_own_dev(void)
{
	pid_t pid = fork();
	int status;

	if (pid == 0)
		_exit(!own_dev());
	return pid > 0 && waitpid(pid, &status, 0) == pid && status == 0;
}

int main(void)
{
	Suite *s = suite_create("doctor");
	TCase *t = tcase_create("doctor");
	SRunner *sr;
	int failed;

	tcase_set_timeout(t, 30);
	tcase_add_test(t, quiet_says_one_line);
	tcase_add_test(t, says_every_item);
	tcase_add_test(t, probe_leaves_nothing_behind);
	if (can_own_dev()) {
		tcase_add_test(t, devices_missing);
		tcase_add_test(t, devices_false);
		tcase_add_test(t, probe_survives_what_is_no_kvm);
		tcase_add_test(t, without_rights);
	} else {
		printf("skipped: tests with a /dev of their own need root\n");
	}
	suite_add_tcase(s, t);
	sr = srunner_create(s);
	srunner_run_all(sr, CK_NORMAL);
	failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
