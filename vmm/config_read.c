/*
 * A vm.ini as text: lines, sections, entries. What they mean is config_model.c's business.
 *
 * The lines are read here and libinih divides them into key, value and comment. It gets them one by
 * one through ini_parse_stream(), and only those with a key, because of what it does with the rest:
 *  - it cuts a line at INI_MAX_LINE (200) bytes and takes what is left for the next line. Debian's
 *    build has this limit in a variable, which is raised here; should a build ignore it, the line
 * is refused, never cut;
 *  - it cuts section names at 49 bytes ("[nic GUEST.NIC]" may have 67) and is silent about sections
 *    without keys, so headers are read here;
 *  - it takes an indented line for the continuation of the value above, so lines are handed over
 *    without their indentation;
 *  - it tells the handler no line number. But it calls the reader only after it is done with the
 * line before: the line that was read last is the one the handler sees, and a line with a key that
 * the handler never saw is one without '='.
 *
 * A " ;" begins a comment, except in the keys that carry a guest's command line: what a kernel may
 * be told is not ours to cut, so these run to the end of their line as they stand.
 *
 * Used by the thread that called config_load(); no locks. libinih's variables are set to the same
 * values each time.
 */
#include <errno.h>
#include <ini.h>
#include <stdlib.h>
#include <string.h>

#include "vmm/config_internal.h"

struct reader {
	struct config_build *b;
	FILE *in;
	uint64_t bytes; /* read so far */
	unsigned line;
	bool end;		       /* nothing more is to be read */
	bool given_up;		       /* and not because the file ends */
	bool pending;		       /* a line was handed to libinih, its key has not come yet */
	size_t len;		       /* of buf */
	char *text;		       /* in buf, behind the indentation */
	char buf[CONFIG_LINE_MAX + 2]; /* a byte for '\r', one for '\0' */
};

static struct config_section *current(struct reader *r)
{
	return r->b->nr_sections ? &r->b->section[r->b->nr_sections - 1] : NULL;
}

static const char *current_title(struct reader *r)
{
	struct config_section *s = current(r);
	return s ? s->title : NULL;
}

/* After a line that could not be used. */
static void note_incomplete(struct reader *r)
{
	struct config_section *s = current(r);
	if (s)
		s->incomplete = true;
}

static bool is_blank(char c)
{
	return c == ' ' || c == '\t';
}

static char *skip_blanks(const char *p)
{
	while (is_blank(*p))
		p++;
	return (char *)p;
}

static char *trim_end(char *text)
{
	size_t len = strlen(text);

	while (len && is_blank(text[len - 1]))
		len--;
	text[len] = '\0';
	return text;
}

/* Length of the UTF-8 sequence at p, which ends with a '\0' somewhere; 0 if it is none, or one for
 * a control character other than a tab, or spelt with more bytes than it needs. */
static unsigned utf8_length(const unsigned char *p)
{
	static const uint32_t smallest[] = { 0, 0, 0x80, 0x800, 0x10000 };
	unsigned n = p[0] < 0x80	     ? 1
		     : (p[0] & 0xe0) == 0xc0 ? 2
		     : (p[0] & 0xf0) == 0xe0 ? 3
		     : (p[0] & 0xf8) == 0xf0 ? 4
					     : 0;
	uint32_t code = n == 1 ? p[0] : p[0] & (0x7fu >> n);

	for (unsigned i = 1; i < n; i++) {
		if ((p[i] & 0xc0) != 0x80)
			return 0;
		code = code << 6 | (p[i] & 0x3f);
	}
	if (!n || code < smallest[n] || code > 0x10ffff || (code >= 0xd800 && code < 0xe000))
		return 0;
	if ((code < 0x20 && code != '\t') || (code >= 0x7f && code < 0xa0))
		return 0;
	return n;
}

/* The first byte of the line that does not belong into a text, NULL if all do. */
static const char *find_bad_byte(const char *text)
{
	for (unsigned n; *text; text += n) {
		n = utf8_length((const unsigned char *)text);
		if (!n)
			return text;
	}
	return NULL;
}

/* A header that can't be used begins a section too, of KIND_UNKNOWN: what follows must not be taken
 * for entries of the section before. */
static void begin_section(struct reader *r, enum config_kind kind, const char *title,
			  const char *name)
{
	struct config_report *report = &r->b->report;
	struct config_section *grown =
		config_grow(report, r->b->section, r->b->nr_sections, sizeof(*grown));
	if (!grown)
		return;
	r->b->section = grown;
	struct config_section *s = &grown[r->b->nr_sections];
	*s = (struct config_section){ .kind = kind, .line = r->line, .index = CONFIG_NONE };
	if (*name)
		s->title = config_format(report, "%s %s", title, name);
	else
		s->title = config_strdup(report, title);
	if (!s->title)
		return;
	s->name = s->title + strlen(s->title) - strlen(name);
	r->b->nr_sections++;
}

static void read_header(struct reader *r)
{
	static const char *const kinds[NR_KINDS + 1] = { "", "lab", "net", "vm", "nic", "disk" };
	struct config_report *report = &r->b->report;
	char show[CONFIG_SHOW_MAX], hint[128];
	char *title = skip_blanks(r->text + 1), *end = strchr(title, ']');

	if (!end) {
		trim_end(r->text);
		config_mistake(report, r->line, NULL, "'%s': the ']' is missing",
			       config_show(r->text, show));
		begin_section(r, KIND_UNKNOWN, "?", "");
		return;
	}
	*end = '\0';
	trim_end(title);
	/* The title in the form in which it will be shown: one blank between kind and name. */
	char *name = title + strcspn(title, " \t");
	if (*name)
		*name++ = '\0';
	name = skip_blanks(name);

	int kind = config_parse_word(title, kinds);
	if (kind <= KIND_UNKNOWN) {
		struct config_nearest near = { .word = title };
		for (int i = KIND_LAB; i < NR_KINDS; i++)
			config_nearest_offer(&near, kinds[i]);
		begin_section(r, KIND_UNKNOWN, title, name);
		if (near.best)
			snprintf(hint, sizeof(hint), "; did you mean [%s%s%s]?", near.best,
				 *name ? " " : "", config_show(name, show));
		else
			snprintf(hint, sizeof(hint),
				 "; there are [lab], [net NAME], [vm NAME], "
				 "[nic GUEST.NAME] and [disk GUEST.NAME]");
		config_mistake(report, r->line, current_title(r), "unknown kind of section%s",
			       hint);
	} else if (kind == KIND_LAB && *name) {
		begin_section(r, KIND_UNKNOWN, title, name);
		config_mistake(report, r->line, current_title(r),
			       "this section takes no name here: write [lab] and 'name = %s' in it",
			       config_show(name, show));
	} else if (kind != KIND_LAB && !*name) {
		begin_section(r, KIND_UNKNOWN, title, name);
		config_mistake(report, r->line, current_title(r), "has no name: write [%s %s]",
			       kinds[kind],
			       kind == KIND_NET || kind == KIND_VM ? "NAME" : "GUEST.NAME");
	} else {
		begin_section(r, (enum config_kind)kind, title, name);
	}

	char *rest = skip_blanks(end + 1);
	if (*rest && *rest != ';' && *rest != '#')
		config_mistake(report, r->line, current_title(r),
			       "'%s' behind the ']': put it on a line of its own",
			       config_show(trim_end(rest), show));
}

static bool give_up(struct reader *r)
{
	r->end = r->given_up = true;
	return false;
}

/* Reads one line into buf, without its end. False if it was refused, or there is none: then r->end.
 */
static bool read_line(struct reader *r)
{
	struct config_report *report = &r->b->report;
	bool too_long = false;
	int c;

	r->line++;
	r->len = 0;
	errno = 0;
	while ((c = getc_unlocked(r->in)) != EOF && c != '\n') {
		if (++r->bytes > CONFIG_FILE_MAX) {
			config_mistake(report, r->line, NULL,
				       "the file is longer than %u MiB: this is no vm.ini",
				       (unsigned)(CONFIG_FILE_MAX >> 20));
			return give_up(r);
		}
		if (c == '\0') {
			config_mistake(report, r->line, NULL,
				       "a zero byte: this is no text file; reading ends here");
			return give_up(r);
		}
		if (r->len < sizeof(r->buf) - 1)
			r->buf[r->len++] = (char)c;
		else
			too_long = true;
	}
	if (c == '\n')
		r->bytes++;
	if (c == EOF) {
		r->end = true;
		if (ferror(r->in)) {
			config_mistake(report, 0, NULL, "cannot be read: %s", strerror(errno));
			return give_up(r);
		}
		if (!r->len)
			return false;
	}
	if (r->len && r->buf[r->len - 1] == '\r' && !too_long)
		r->len--;
	r->buf[r->len] = '\0';
	r->text = skip_blanks(r->buf);
	if (r->line == 1 && !strncmp(r->text, "\xef\xbb\xbf", 3))
		r->text = skip_blanks(r->text + 3);

	if (too_long || r->len > CONFIG_LINE_MAX) {
		config_mistake(report, r->line, *r->text == '[' ? NULL : current_title(r),
			       "the line is longer than %d bytes", CONFIG_LINE_MAX);
	} else {
		const char *bad = find_bad_byte(r->text);
		if (!bad)
			return true;
		config_mistake(report, r->line, *r->text == '[' ? NULL : current_title(r),
			       "byte 0x%02x in column %u is not UTF-8 text", (unsigned char)*bad,
			       (unsigned)(bad - r->buf) + 1);
	}
	if (*r->text == '[')
		begin_section(r, KIND_UNKNOWN, "?", "");
	else
		note_incomplete(r);
	return false;
}

/* What became of the line that libinih got last? If it found a key, the handler has seen it. */
static void settle_pending(struct reader *r)
{
	char show[CONFIG_SHOW_MAX];

	if (!r->pending)
		return;
	r->pending = false;
	note_incomplete(r);
	config_mistake(&r->b->report, r->line, current_title(r),
		       "'%s': there is no '=' in this line: write KEY = VALUE",
		       config_show(trim_end(r->text), show));
}

/* ini_reader: the next line with a key. */
static char *next_line(char *str, int num, void *stream)
{
	struct reader *r = stream;

	settle_pending(r);
	while (!r->end && !r->b->report.nomem) {
		if (!read_line(r) || !*r->text || *r->text == ';' || *r->text == '#')
			continue;
		if (*r->text == '[') {
			read_header(r);
			continue;
		}
		size_t len = strlen(r->text);
		if (num < 2 || len > (size_t)num - 2) {
			config_mistake(
				&r->b->report, r->line, current_title(r),
				"the line is longer than the %d bytes that this libinih takes",
				num - 2);
			note_incomplete(r);
			continue;
		}
		memcpy(str, r->text, len);
		memcpy(str + len, "\n", 2);
		r->pending = true;
		return str;
	}
	return NULL;
}

static bool runs_to_end_of_line(const struct config_section *s, const char *key)
{
	return s->kind == KIND_VM && (!strcmp(key, "cmdline") || !strcmp(key, "module"));
}

/* ini_handler. Its return value would only tell libinih to remember a line; mistakes go to the
 * report, so it is always 1. */
static int on_entry(void *user, const char *section, const char *key, const char *value)
{
	struct reader *r = user;
	struct config_report *report = &r->b->report;
	struct config_section *s = current(r);
	char show[CONFIG_SHOW_MAX];

	r->pending = false;
	/* libinih lets ':' do as well as '='. One spelling is enough, and a forgotten '=' in front
	 * of "unix:PATH" would make a strange key. */
	const char *sep = r->text + strcspn(r->text, "=:");
	if (*sep != '=') {
		note_incomplete(r);
		config_mistake(report, r->line, current_title(r),
			       "'%s': a ':' where the '=' should be: write KEY = VALUE",
			       config_show(trim_end(r->text), show));
		return 1;
	}
	if (!*key) {
		note_incomplete(r);
		config_mistake(report, r->line, current_title(r), "no key in front of the '='");
		return 1;
	}
	if (!s) {
		config_mistake(
			report, r->line, NULL,
			"'%s' stands before the first section: put it below a header such as "
			"[vm NAME]",
			config_show(key, show));
		return 1;
	}
	if (runs_to_end_of_line(s, key))
		value = trim_end(skip_blanks(sep + 1));

	struct config_entry *grown = config_grow(report, s->entry, s->nr_entries, sizeof(*grown));
	if (!grown)
		return 1;
	s->entry = grown;
	struct config_entry *e = &s->entry[s->nr_entries++];
	e->line = r->line;
	e->key = config_strdup(report, key);
	e->value = config_strdup(report, value);
	return 1;
}

bool config_read(struct config_build *b, FILE *in)
{
	struct reader *r = calloc(1, sizeof(*r));
	if (!r) {
		b->report.nomem = true;
		return false;
	}
	r->b = b;
	r->in = in;
	ini_max_line = CONFIG_LINE_MAX + 3;
	/* -2 is libinih's own lack of memory; a line number is impossible with our handler. */
	if (ini_parse_stream(next_line, r, on_entry, r) == -2)
		b->report.nomem = true;
	settle_pending(r);
	bool complete = !r->given_up;
	free(r);
	return complete;
}
