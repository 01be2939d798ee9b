/*
 * Mistakes in a vm.ini: collected, sorted by line, printed in one go. And what their texts need:
 * growing arrays, and the nearest spelling.
 *
 * Used by the thread that called config_load(); no locks.
 */
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "vmm/config_internal.h"

#define NEAREST_WORD_MAX 80

void *config_grow(struct config_report *r, void *array, unsigned nr, size_t size)
{
	/* Capacities are powers of two, so the count alone tells when one is used up. */
	if (nr && !is_pow2(nr))
		return array;
	void *bigger = reallocarray(array, nr ? 2 * (size_t)nr : 1, size);
	if (!bigger)
		r->nomem = true;
	return bigger;
}

char *config_strndup(struct config_report *r, const char *text, size_t len)
{
	char *copy = strndup(text, len);
	if (!copy)
		r->nomem = true;
	return copy;
}

char *config_strdup(struct config_report *r, const char *text)
{
	return config_strndup(r, text, strlen(text));
}

char *config_vformat(struct config_report *r, const char *fmt, va_list ap)
{
	va_list again;

	va_copy(again, ap);
	int len = vsnprintf(NULL, 0, fmt, again);
	va_end(again);
	char *text = len < 0 ? NULL : malloc((size_t)len + 1);
	if (text)
		vsnprintf(text, (size_t)len + 1, fmt, ap);
	else
		r->nomem = true;
	return text;
}

char *config_format(struct config_report *r, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	char *text = config_vformat(r, fmt, ap);
	va_end(ap);
	return text;
}

void config_mistake(struct config_report *r, unsigned line, const char *section, const char *fmt,
		    ...)
{
	va_list ap;

	struct config_mistake *grown = config_grow(r, r->mistake, r->nr, sizeof(*grown));
	if (!grown)
		return;
	r->mistake = grown;

	va_start(ap, fmt);
	char *what = config_vformat(r, fmt, ap);
	va_end(ap);
	if (!what)
		return;

	char *text = what;
	if (section) {
		text = config_format(r, "[%s]: %s", section, what);
		free(what);
		if (!text)
			return;
	}
	r->mistake[r->nr] = (struct config_mistake){ line, r->nr, text };
	r->nr++;
}

static int compare_mistakes(const void *a, const void *b)
{
	const struct config_mistake *x = a, *y = b;

	if (x->line != y->line)
		return x->line < y->line ? -1 : 1;
	return x->order < y->order ? -1 : 1;
}

void config_report_print(struct config_report *r, const char *path, FILE *err)
{
	if (r->nr)
		qsort(r->mistake, r->nr, sizeof(*r->mistake), compare_mistakes);
	for (unsigned i = 0; i < r->nr; i++) {
		if (r->mistake[i].line)
			fprintf(err, "%s:%u: %s\n", path, r->mistake[i].line, r->mistake[i].text);
		else
			fprintf(err, "%s: %s\n", path, r->mistake[i].text);
	}
}

void config_report_fini(struct config_report *r)
{
	for (unsigned i = 0; i < r->nr; i++)
		free(r->mistake[i].text);
	free(r->mistake);
	*r = (struct config_report){ 0 };
}

static unsigned min3(unsigned a, unsigned b, unsigned c)
{
	unsigned ab = a < b ? a : b;
	return ab < c ? ab : c;
}

/* Levenshtein distance with two neighbours that changed places counted as one slip, the commonest
 * of all. Words that are too long for a slip of the pen to matter are infinitely far. */
static unsigned distance(const char *a, const char *b)
{
	size_t la = strlen(a), lb = strlen(b);
	unsigned row[3][NEAREST_WORD_MAX + 1];
	unsigned *before = row[0], *above = row[1], *now = row[2];

	if (la > NEAREST_WORD_MAX || lb > NEAREST_WORD_MAX)
		return UINT32_MAX;
	for (size_t j = 0; j <= lb; j++)
		above[j] = (unsigned)j;
	for (size_t i = 1; i <= la; i++) {
		now[0] = (unsigned)i;
		for (size_t j = 1; j <= lb; j++) {
			now[j] = min3(above[j] + 1, now[j - 1] + 1,
				      above[j - 1] + (a[i - 1] != b[j - 1]));
			if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] &&
			    before[j - 2] + 1 < now[j])
				now[j] = before[j - 2] + 1;
		}
		unsigned *oldest = before;
		before = above;
		above = now;
		now = oldest;
	}
	return above[lb];
}

void config_nearest_offer(struct config_nearest *n, const char *candidate)
{
	unsigned d = distance(n->word, candidate);
	size_t len = strlen(n->word);
	/* One slip in a short word, two in a longer one; more is a guess that misleads. */
	unsigned limit = len < 3 ? 1 : len < 9 ? 2 : 3;

	if (d > limit || d >= strlen(candidate))
		return;
	if (!n->best || d < n->distance) {
		n->best = candidate;
		n->distance = d;
	}
}

const char *config_nearest_hint(const struct config_nearest *n, const char *before,
				const char *after, char *buf, size_t size)
{
	if (!n->best)
		return "";
	snprintf(buf, size, "; did you mean %s%s%s?", before, n->best, after);
	return buf;
}

const char *config_show(const char *text, char buf[static CONFIG_SHOW_MAX])
{
	if (strlen(text) < CONFIG_SHOW_MAX)
		return text;
	size_t keep = CONFIG_SHOW_MAX - sizeof("...");
	/* Not in the middle of a UTF-8 sequence. */
	while (keep && ((unsigned char)text[keep] & 0xc0) == 0x80)
		keep--;
	memcpy(buf, text, keep);
	strcpy(buf + keep, "...");
	return buf;
}
