/* The values of a vm.ini by themselves: sizes, numbers, addresses, names, and the nearest word. */
#include <check.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "vmm/config_internal.h"

START_TEST(sizes)
{
	static const struct {
		const char *text;
		int result;
		uint64_t bytes;
	} cases[] = {
		{ "0", 0, 0 },
		{ "1048576", 0, MIB(1) },
		{ "256M", 0, MIB(256) },
		{ "256m", 0, MIB(256) },
		{ "4G", 0, GIB(4) },
		{ "1K", 0, 1024 },
		{ "2T", 0, GIB(2048) },
		{ "007K", 0, 7168 },
		{ "18446744073709551615", 0, UINT64_MAX },
		{ "18446744073709551616", -ERANGE, 0 },
		{ "99999999999999999999999999", -ERANGE, 0 },
		{ "16777215T", 0, UINT64_MAX - GIB(1024) + 1 },
		{ "16777216T", -ERANGE, 0 },
		{ "", -EINVAL, 0 },
		{ "M", -EINVAL, 0 },
		{ "-1", -EINVAL, 0 },
		{ "+1", -EINVAL, 0 },
		{ " 1", -EINVAL, 0 },
		{ "1 ", -EINVAL, 0 },
		{ "1 M", -EINVAL, 0 },
		{ "1MB", -EINVAL, 0 },
		{ "1MiB", -EINVAL, 0 },
		{ "1.5G", -EINVAL, 0 },
		{ "0x100", -EINVAL, 0 },
		{ "1P", -EINVAL, 0 },
	};

	for (unsigned i = 0; i < ARRAY_SIZE(cases); i++) {
		uint64_t bytes = 42;
		int result = config_parse_size(cases[i].text, &bytes);
		ck_assert_msg(result == cases[i].result, "'%s': %d", cases[i].text, result);
		ck_assert_msg(bytes == (result ? 42 : cases[i].bytes), "'%s'", cases[i].text);
	}
}
END_TEST

START_TEST(formatted_sizes)
{
	static const struct {
		uint64_t bytes;
		const char *text;
	} cases[] = { { 0, "0" },
		      { 1, "1" },
		      { 1024, "1K" },
		      { 1025, "1025" },
		      { MIB(256), "256M" },
		      { GIB(4), "4G" },
		      { GIB(2048), "2T" },
		      { GIB(1 << 20), "1024T" },
		      { UINT64_MAX, "18446744073709551615" } };

	for (unsigned i = 0; i < ARRAY_SIZE(cases); i++) {
		char buf[24];
		ck_assert_str_eq(config_format_size(cases[i].bytes, buf, sizeof(buf)),
				 cases[i].text);
	}
}
END_TEST

START_TEST(numbers)
{
	uint64_t n = 42;

	ck_assert_int_eq(config_parse_number("", 9, &n), -EINVAL);
	ck_assert_int_eq(config_parse_number("x", 9, &n), -EINVAL);
	ck_assert_int_eq(config_parse_number("1x", 9, &n), -EINVAL);
	ck_assert_int_eq(config_parse_number("10", 9, &n), -ERANGE);
	ck_assert_int_eq(config_parse_number("18446744073709551616", UINT64_MAX, &n), -ERANGE);
	ck_assert_uint_eq(n, 42);
	ck_assert_int_eq(config_parse_number("9", 9, &n), 0);
	ck_assert_uint_eq(n, 9);
}
END_TEST

START_TEST(percentages)
{
	static const char *const bad[] = { "", "%", "x", "7x", "7%%", "7%x", "7 8", "%7", "7.5%" };
	uint64_t n = 42;

	for (unsigned i = 0; i < ARRAY_SIZE(bad); i++)
		ck_assert_int_eq(config_parse_percent(bad[i], &n), -EINVAL);
	ck_assert_int_eq(config_parse_percent("18446744073709551616%", &n), -ERANGE);
	ck_assert_uint_eq(n, 42);
	ck_assert_int_eq(config_parse_percent("0", &n), 0);
	ck_assert_uint_eq(n, 0);
	ck_assert_int_eq(config_parse_percent("75%", &n), 0);
	ck_assert_uint_eq(n, 75);
	ck_assert_int_eq(config_parse_percent("51 \t%", &n), 0);
	ck_assert_uint_eq(n, 51);
}
END_TEST

START_TEST(times)
{
	static const char *const bad[] = { "",	  "us",	  "x",	"1s",  "1 us", "1m",
					   "1ns", "1usx", "1u", "1MS", "-1",   "1.5ms" };
	uint64_t us = 42;

	for (unsigned i = 0; i < ARRAY_SIZE(bad); i++)
		ck_assert_int_eq(config_parse_us(bad[i], &us), -EINVAL);
	ck_assert_int_eq(config_parse_us("18446744073709551616", &us), -ERANGE);
	ck_assert_int_eq(config_parse_us("18446744073709551615ms", &us), -ERANGE);
	ck_assert_uint_eq(us, 42);
	ck_assert_int_eq(config_parse_us("0", &us), 0);
	ck_assert_uint_eq(us, 0);
	ck_assert_int_eq(config_parse_us("1500us", &us), 0);
	ck_assert_uint_eq(us, 1500);
	ck_assert_int_eq(config_parse_us("7", &us), 0);
	ck_assert_uint_eq(us, 7);
	ck_assert_int_eq(config_parse_us("2ms", &us), 0);
	ck_assert_uint_eq(us, 2000);
	ck_assert_int_eq(config_parse_us("18446744073709551615us", &us), 0);
	ck_assert_uint_eq(us, UINT64_MAX);
}
END_TEST

START_TEST(macs)
{
	static const char *const bad[] = {
		"",
		"52:54:00:00:00",
		"52:54:00:00:00:1",
		"52:54:00:00:00:011",
		"52:54:00:00:00:01 ",
		"52-54-00-00-00-01",
		"52:54:00:00:00:0g",
		"52:54:00:00:00:-1",
		"5 :54:00:00:00:01",
		":::::::::::::::::",
		"00:00:00:00:00:00",
		"01:00:5e:00:00:01",
		"ff:ff:ff:ff:ff:ff",
	};
	static const uint8_t good[6] = { 0x52, 0x54, 0xab, 0xCD, 0x0e, 0xF9 };
	static const uint8_t untouched[6] = { 1, 2, 3, 4, 5, 6 };
	uint8_t mac[6];

	for (unsigned i = 0; i < ARRAY_SIZE(bad); i++) {
		memcpy(mac, untouched, 6);
		ck_assert_msg(config_parse_mac(bad[i], mac) == -EINVAL, "'%s'", bad[i]);
		ck_assert_mem_eq(mac, untouched, 6);
	}
	ck_assert_int_eq(config_parse_mac("52:54:ab:CD:0e:F9", mac), 0);
	ck_assert_mem_eq(mac, good, 6);
}
END_TEST

START_TEST(derived_macs)
{
	/* Addresses that guests have seen must be the same in every later version of xvmm. */
	static const uint8_t prefix[3] = { 0x52, 0x54, 0x00 }, tail[3] = { 0xf7, 0x5b, 0x04 };
	uint8_t a[6], b[6];
	unsigned same = 0;

	config_derive_mac("vm", "alpha.eth0", a);
	config_derive_mac("vm", "alpha.eth0", b);
	ck_assert_mem_eq(a, b, 6);
	ck_assert_mem_eq(a, prefix, 3);
	ck_assert_mem_eq(a + 3, tail, 3);
	config_derive_mac("lab", "alpha.eth0", b);
	ck_assert_mem_ne(a, b, 6);
	config_derive_mac("vma", "lpha.eth0", b);
	ck_assert_mem_ne(a, b, 6);

	/* Neighbours are spread: of 100 names, no two next to each other have one address. */
	for (unsigned i = 0; i < 100; i++) {
		char name[32];
		snprintf(name, sizeof(name), "guest%u.eth0", i);
		config_derive_mac("vm", name, b);
		same += !memcmp(a, b, 6);
		memcpy(a, b, 6);
	}
	ck_assert_uint_eq(same, 0);
}
END_TEST

START_TEST(names)
{
	static const char *const good[] = {
		"a", "0", "alpha", "A-b_c", "a--", "lan0", "abcdefghijklmnopqrstuvwxyz01234"
	};
	static const char *const bad[] = {
		"",    "-a",  "_a",	  "a.b", "a/b",
		"a b", "a\n", "\303\244", "a%s", "abcdefghijklmnopqrstuvwxyz012345"
	};

	for (unsigned i = 0; i < ARRAY_SIZE(good); i++)
		ck_assert_msg(config_valid_name(good[i]), "'%s'", good[i]);
	for (unsigned i = 0; i < ARRAY_SIZE(bad); i++)
		ck_assert_msg(!config_valid_name(bad[i]), "'%s'", bad[i]);
}
END_TEST

START_TEST(interface_names)
{
	static const char *const good[] = { "xv0", "eth0.5", "br-lan", "abcdefghijklmno" };
	static const char *const bad[] = { "",	  ".",	      "..",  "a/b", "a b",
					   "a:b", "%d",	      "-a",  "a\"", "a'",
					   "a\\", "\303\244", "a\t", "a\n", "abcdefghijklmnop" };

	for (unsigned i = 0; i < ARRAY_SIZE(good); i++)
		ck_assert_msg(config_valid_ifname(good[i]), "'%s'", good[i]);
	for (unsigned i = 0; i < ARRAY_SIZE(bad); i++)
		ck_assert_msg(!config_valid_ifname(bad[i]), "'%s'", bad[i]);
}
END_TEST

static const char *nearest(const char *word)
{
	static const char *const known[] = { "kernel", "initrd", "memory", "cpus", "rng" };
	struct config_nearest n = { .word = word };

	for (unsigned i = 0; i < ARRAY_SIZE(known); i++)
		config_nearest_offer(&n, known[i]);
	return n.best ? n.best : "";
}

START_TEST(nearest_words)
{
	char long_word[1000] = { 0 };

	ck_assert_str_eq(nearest("kernl"), "kernel");	/* one left out */
	ck_assert_str_eq(nearest("kkernel"), "kernel"); /* one too many */
	ck_assert_str_eq(nearest("kermel"), "kernel");	/* one other */
	ck_assert_str_eq(nearest("cpsu"), "cpus");	/* two changed places */
	ck_assert_str_eq(nearest("cpu"), "cpus");
	ck_assert_str_eq(nearest("initramfs"), "");
	ck_assert_str_eq(nearest("x"), "");
	ck_assert_str_eq(nearest(""), "");
	memset(long_word, 'k', sizeof(long_word) - 1);
	ck_assert_str_eq(nearest(long_word), "");
}
END_TEST

START_TEST(host_memory)
{
	/* Whatever it is, the machine that runs this has some. */
	ck_assert_uint_gt(config_host_memory_bytes(), MIB(1));
}
END_TEST

int main(void)
{
	Suite *s = suite_create("config values");
	TCase *tc = tcase_create("values");

	tcase_add_test(tc, sizes);
	tcase_add_test(tc, formatted_sizes);
	tcase_add_test(tc, numbers);
	tcase_add_test(tc, percentages);
	tcase_add_test(tc, times);
	tcase_add_test(tc, macs);
	tcase_add_test(tc, derived_macs);
	tcase_add_test(tc, names);
	tcase_add_test(tc, interface_names);
	tcase_add_test(tc, nearest_words);
	tcase_add_test(tc, host_memory);
	suite_add_tcase(s, tc);

	SRunner *sr = srunner_create(s);
	srunner_run_all(sr, CK_NORMAL);
	int failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
