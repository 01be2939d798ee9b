/*
 * The values of a vm.ini by themselves: sizes, numbers, words, names, MAC addresses.
 *
 * Pure functions; any thread may call them.
 */
#include <ctype.h>
#include <errno.h>
#include <string.h>

#include "vmm/config_internal.h"

static bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

static bool is_name_char(char c)
{
	return is_digit(c) || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' ||
	       c == '-';
}

/* Digits at *text, which is moved behind them. -EINVAL: none; -ERANGE: over 64 bits. */
static int parse_digits(const char **text, uint64_t *number)
{
	const char *p = *text;
	uint64_t n = 0;

	if (!is_digit(*p))
		return -EINVAL;
	for (; is_digit(*p); p++) {
		if (__builtin_mul_overflow(n, 10, &n) ||
		    __builtin_add_overflow(n, (uint64_t)(*p - '0'), &n))
			return -ERANGE;
	}
	*text = p;
	*number = n;
	return 0;
}

int config_parse_number(const char *text, uint64_t max, uint64_t *number)
{
	uint64_t n;

	int err = parse_digits(&text, &n);
	if (err)
		return err;
	if (*text)
		return -EINVAL;
	if (n > max)
		return -ERANGE;
	*number = n;
	return 0;
}

int config_parse_size(const char *text, uint64_t *bytes)
{
	static const char units[] = "KMGT";
	unsigned shift = 0;
	uint64_t n;

	int err = parse_digits(&text, &n);
	if (err)
		return err;
	if (*text) {
		const char *unit = strchr(units, toupper((unsigned char)*text));
		if (!unit || text[1])
			return -EINVAL;
		shift = 10 * (unsigned)(unit - units + 1);
	}
	if (n > UINT64_MAX >> shift)
		return -ERANGE;
	*bytes = n << shift;
	return 0;
}

int config_parse_percent(const char *text, uint64_t *percent)
{
	uint64_t n;

	int err = parse_digits(&text, &n);
	if (err)
		return err;
	if (*text && strcmp(text + strspn(text, " \t"), "%"))
		return -EINVAL;
	*percent = n;
	return 0;
}

int config_parse_us(const char *text, uint64_t *us)
{
	uint64_t n, unit;

	int err = parse_digits(&text, &n);
	if (err)
		return err;
	if (!*text || !strcmp(text, "us"))
		unit = 1;
	else if (!strcmp(text, "ms"))
		unit = 1000;
	else
		return -EINVAL;
	if (__builtin_mul_overflow(n, unit, &n))
		return -ERANGE;
	*us = n;
	return 0;
}

const char *config_format_size(uint64_t bytes, char *buf, size_t size)
{
	static const char units[] = "\0KMGT";
	unsigned unit = 0;

	while (bytes && bytes % 1024 == 0 && unit < 4) {
		bytes /= 1024;
		unit++;
	}
	snprintf(buf, size, "%llu%.1s", (unsigned long long)bytes, units + unit);
	return buf;
}

int config_parse_word(const char *text, const char *const words[])
{
	for (int i = 0; words[i]; i++) {
		if (!strcmp(text, words[i]))
			return i;
	}
	return -1;
}

bool config_valid_name(const char *name)
{
	size_t len = strlen(name);

	if (!len || len > CONFIG_NAME_MAX || name[0] == '-' || name[0] == '_')
		return false;
	for (const char *p = name; *p; p++) {
		if (!is_name_char(*p))
			return false;
	}
	return true;
}

bool config_valid_ifname(const char *name)
{
	size_t len = strlen(name);

	/* The kernel's own rule (dev_valid_name), and no '%', which makes a pattern of it. A
	 * leading
	 * '-' would be an option to ip(8). */
	if (!len || len > 15 || name[0] == '-' || !strcmp(name, ".") || !strcmp(name, ".."))
		return false;
	for (const char *p = name; *p; p++) {
		if (*p <= ' ' || *p > '~' || strchr("/:%\"'\\", *p))
			return false;
	}
	return true;
}

static int hex_digit(char c)
{
	if (is_digit(c))
		return c - '0';
	c = (char)(c | 0x20);
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

int config_parse_mac(const char *text, uint8_t mac[6])
{
	uint8_t parsed[6], any = 0;

	if (strlen(text) != 17)
		return -EINVAL;
	for (int i = 0; i < 6; i++, text += 3) {
		int high = hex_digit(text[0]), low = hex_digit(text[1]);
		if (high < 0 || low < 0 || text[2] != (i < 5 ? ':' : '\0'))
			return -EINVAL;
		parsed[i] = (uint8_t)(high << 4 | low);
		any |= parsed[i];
	}
	if (!any || parsed[0] & 1)
		return -EINVAL;
	memcpy(mac, parsed, 6);
	return 0;
}

void config_derive_mac(const char *lab, const char *nic_full_name, uint8_t mac[6])
{
	/* FNV-1a, both names with their terminating zero, so that ("ab","c") and ("a","bc") differ.
	 * Not a security measure, only a spread that is the same on every machine. */
	uint64_t hash = 0xcbf29ce484222325;
	const char *names[] = { lab, nic_full_name };

	for (unsigned i = 0; i < ARRAY_SIZE(names); i++) {
		const char *p = names[i];
		do {
			hash = (hash ^ (uint8_t)*p) * 0x100000001b3;
		} while (*p++);
	}
	/* Folded: the low bits of FNV alone spread names that differ in their last letter badly. */
	uint32_t tail = (uint32_t)(hash ^ hash >> 24 ^ hash >> 48) & 0xffffff;
	const uint8_t derived[6] = {
		0x52, 0x54, 0x00, (uint8_t)(tail >> 16), (uint8_t)(tail >> 8), (uint8_t)tail
	};
	memcpy(mac, derived, 6);
}
