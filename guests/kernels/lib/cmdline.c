/* The command line: words "key=value" separated by blanks. */
#include "lib/guest.h"

static const char *cmdline_text = "";

void cmdline_set(const char *text)
{
	cmdline_text = text ? text : "";
}

const char *cmdline(void)
{
	return cmdline_text;
}

static const char *find(const char *key)
{
	size_t n = strlen(key);
	const char *p = cmdline_text;

	while (*p) {
		while (*p == ' ')
			p++;
		if (!strncmp(p, key, n)) {
			if (p[n] == '=')
				return p + n + 1;
			if (p[n] == ' ' || !p[n])
				return p + n;
		}
		while (*p && *p != ' ')
			p++;
	}
	return NULL;
}

bool cmdline_get(const char *key, char *value, size_t bytes)
{
	const char *p = find(key);
	size_t n = 0;

	if (!p)
		return false;
	for (; *p && *p != ' ' && n + 1 < bytes; p++)
		value[n++] = *p;
	value[n] = '\0';
	return true;
}

bool cmdline_has(const char *key)
{
	return find(key) != NULL;
}

bool cmdline_is(const char *key, const char *value)
{
	char v[64];

	return cmdline_get(key, v, sizeof(v)) && !strcmp(v, value);
}

uint64_t cmdline_u64(const char *key, uint64_t fallback)
{
	char v[64];
	const char *p = v;
	uint64_t n = 0;
	unsigned d;
	bool hex;

	if (!cmdline_get(key, v, sizeof(v)) || !*v)
		return fallback;
	hex = v[0] == '0' && (v[1] == 'x' || v[1] == 'X');
	for (p += hex ? 2 : 0; *p; p++) {
		if (*p >= '0' && *p <= '9')
			d = *p - '0';
		else if (hex && (*p | 32) >= 'a' && (*p | 32) <= 'f')
			d = (*p | 32) - 'a' + 10;
		else
			fail("command line: %s is no number: %s", key, v);
		n = n * (hex ? 16 : 10) + d;
	}
	return n;
}
