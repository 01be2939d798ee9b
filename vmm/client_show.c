/*
 * What a lab answered, for people: tables with aligned columns, a line for an event. One thread.
 *
 * The other side is not trusted with the terminal: its text is shown without control characters.
 */
#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "vmm/client.h"

#define CELL_BYTES 160
#define MAX_COLS   16

struct table {
	const char *const *head; /* "<NAME": to the left; else to the right */
	unsigned cols, rows, room;
	char (*cell)[CELL_BYTES]; /* rows * cols */
	unsigned next;		  /* column of the row in progress */
	bool failed;		  /* out of memory: shows what there is */
};

static void add_cell(struct table *t, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

static void add_row(struct table *t)
{
	void *cell;

	if (t->rows == t->room) {
		t->room = 2 * t->room + 16;
		cell = realloc(t->cell, (size_t)t->room * t->cols * CELL_BYTES);
		if (!cell) {
			t->failed = true;
			return;
		}
		t->cell = cell;
	}
	memset(t->cell + (size_t)t->rows * t->cols, 0, (size_t)t->cols * CELL_BYTES);
	t->rows++;
	t->next = 0;
}

static void add_cell(struct table *t, const char *fmt, ...)
{
	char *cell;
	va_list ap;

	if (t->failed || t->next == t->cols)
		return;
	cell = t->cell[(size_t)(t->rows - 1) * t->cols + t->next++];
	va_start(ap, fmt);
	vsnprintf(cell, CELL_BYTES, fmt, ap);
	va_end(ap);
	for (; *cell; cell++) {
		if ((unsigned char)*cell < ' ' || *cell == 0x7f)
			*cell = '?';
	}
}

static void print_cell(const struct table *t, unsigned col, const char *s, int width, FILE *out)
{
	const char *gap = col ? "  " : "";
	bool last = col == t->cols - 1;

	if (t->head[col][0] != '<')
		fprintf(out, "%s%*s", gap, width, s);
	else if (last && *s) /* no blanks at the end of a line */
		fprintf(out, "%s%s", gap, s);
	else if (!last)
		fprintf(out, "%s%-*s", gap, width, s);
}

static void print_table(struct table *t, FILE *out)
{
	int width[MAX_COLS];

	for (unsigned c = 0; c < t->cols; c++) {
		width[c] = (int)strlen(t->head[c]) - (t->head[c][0] == '<');
		for (unsigned r = 0; r < t->rows; r++) {
			int len = (int)strlen(t->cell[(size_t)r * t->cols + c]);

			width[c] = len > width[c] ? len : width[c];
		}
	}
	for (unsigned c = 0; c < t->cols; c++)
		print_cell(t, c, t->head[c] + (t->head[c][0] == '<'), width[c], out);
	putc('\n', out);
	for (unsigned r = 0; r < t->rows; r++) {
		for (unsigned c = 0; c < t->cols; c++)
			print_cell(t, c, t->cell[(size_t)r * t->cols + c], width[c], out);
		putc('\n', out);
	}
	free(t->cell);
}

/* -- Members of objects -- */

static const char *str(const json_t *o, const char *key)
{
	const char *s = json_string_value(json_object_get(o, key));

	return s ? s : "";
}

static uint64_t num(const json_t *o, const char *key)
{
	json_int_t n = json_integer_value(json_object_get(o, key));

	return n < 0 ? 0 : (uint64_t)n;
}

/* Up to five digits as they are, then with a unit. */
static const char *short_num(uint64_t n, char buf[static 16])
{
	static const char unit[] = "kMGTPE";
	double d = (double)n;
	int u = -1;

	if (n < 100000) {
		snprintf(buf, 16, "%" PRIu64, n);
		return buf;
	}
	while (d >= 999.5 && unit[u + 1]) {
		d /= 1000;
		u++;
	}
	snprintf(buf, 16, d < 99.95 ? "%.1f%c" : "%.0f%c", d, unit[u]);
	return buf;
}

static void add_num(struct table *t, uint64_t n)
{
	char buf[16];

	add_cell(t, "%s", short_num(n, buf));
}

/* -- stat -- */

static void show_guests(const json_t *stat, FILE *out)
{
	static const char *const head[] = {
		"<GUEST", "<STATE", "CPUS", "MIB", "RESTARTS", "<DISKS"
	};
	struct table t = { .head = head, .cols = ARRAY_SIZE(head) };
	const json_t *g, *disk;
	size_t i, k;

	json_array_foreach(json_object_get(stat, "guests"), i, g)
	{
		char disks[CELL_BYTES] = "";

		json_array_foreach(json_object_get(g, "disks"), k, disk)
		{
			size_t len = strlen(disks);

			if (json_string_value(disk))
				snprintf(disks + len, sizeof(disks) - len, "%s%s", len ? "," : "",
					 json_string_value(disk));
		}
		add_row(&t);
		add_cell(&t, "%s", str(g, "name"));
		add_cell(&t, "%s", str(g, "state"));
		add_cell(&t, "%" PRIu64, num(g, "cpus"));
		add_cell(&t, "%" PRIu64, num(g, "memory_bytes") >> 20);
		add_cell(&t, "%" PRIu64, num(g, "restarts"));
		add_cell(&t, "%s", disks);
	}
	print_table(&t, out);
}

static void add_lanes(struct table *t, const json_t *nic)
{
	uint64_t open = num(nic, "open_lanes");
	char lanes[CELL_BYTES - 32] = "";
	const json_t *lane;
	size_t i, named = 0;

	json_array_foreach(json_object_get(nic, "lanes"), i, lane)
	{
		const char *name = json_string_value(lane), *mark = "";
		size_t len = strlen(lanes);
		char item[CELL_BYTES];
		int n;

		if (!name)
			continue;
		if (*name && !strcmp(name, str(nic, "mapped_to")))
			mark = " (mapped)";
		n = snprintf(item, sizeof(item), "%s%s%s", len ? "," : "", name, mark);
		if (n < 0 || (size_t)n >= sizeof(lanes) - len)
			continue;
		memcpy(lanes + len, item, (size_t)n + 1);
		named++;
	}
	if (open > named)
		add_cell(t, "%s +%" PRIu64, lanes, open - named);
	else
		add_cell(t, "%s", lanes);
}

static void show_nics(const json_t *stat, FILE *out)
{
	static const char *const head[] = { "<NIC",   "<NET",	  "<BINDING", "<LINK",
					    "TX",     "TX-BYTES", "RX",	      "RX-BYTES",
					    "UPLINK", "DIRECT",	  "MAPPED",   "DROPPED",
					    "HELD",   "SWAPS",	  "IRQS",     "<LANES TO" };
	struct table t = { .head = head, .cols = ARRAY_SIZE(head) };
	static const char *const paths[] = { "uplink", "direct", "mapped" };
	const json_t *nic;
	size_t i;

	_Static_assert(ARRAY_SIZE(head) <= MAX_COLS, "columns fit");
	json_array_foreach(json_object_get(stat, "nics"), i, nic)
	{
		const json_t *c = json_object_get(nic, "counters");
		const json_t *path = json_object_get(c, "path");
		const char *binding = str(nic, "binding");

		add_row(&t);
		add_cell(&t, "%s", str(nic, "name"));
		add_cell(&t, "%s", str(nic, "net"));
		add_cell(&t, "%s%s", *binding ? binding : "-",
			 json_is_true(json_object_get(nic, "pinned")) ? "!" : "");
		add_cell(&t, "%s", str(nic, "link"));
		add_num(&t, num(c, "tx_frames"));
		add_num(&t, num(c, "tx_bytes"));
		add_num(&t, num(c, "rx_frames"));
		add_num(&t, num(c, "rx_bytes"));
		for (size_t p = 0; p < ARRAY_SIZE(paths); p++) {
			const json_t *traffic = json_object_get(path, paths[p]);

			add_num(&t, num(traffic, "tx_frames") + num(traffic, "rx_frames"));
		}
		add_num(&t, num(c, "tx_dropped") + num(c, "rx_dropped") + num(c, "tx_invalid") +
				    num(c, "tx_spoofed"));
		add_num(&t, num(c, "tx_held"));
		add_num(&t, num(c, "swaps"));
		add_num(&t, num(c, "interrupts"));
		add_lanes(&t, nic);
	}
	if (t.rows)
		putc('\n', out);
	if (t.rows)
		print_table(&t, out);
}

/* Only for NICs that might be mapped: a table of its own, for there may be none. */
static void show_not_mapped(const json_t *stat, FILE *out)
{
	static const char *const head[] = { "<NIC", "MAPS", "RESCUES", "<NOT MAPPED" };
	struct table t = { .head = head, .cols = ARRAY_SIZE(head) };
	const json_t *nic;
	size_t i;

	json_array_foreach(json_object_get(stat, "nics"), i, nic)
	{
		const json_t *c = json_object_get(nic, "counters");

		if (!*str(nic, "not_mapped") && !num(c, "maps"))
			continue;
		add_row(&t);
		add_cell(&t, "%s", str(nic, "name"));
		add_num(&t, num(c, "maps"));
		add_num(&t, num(c, "rescues"));
		add_cell(&t, "%s", str(nic, "not_mapped"));
	}
	if (t.rows)
		putc('\n', out);
	if (t.rows)
		print_table(&t, out);
}

static void show_nets(const json_t *stat, FILE *out)
{
	static const char *const head[] = { "<NET",	 "<CROSSTALK", "<UPLINK",
					    "UPLINK-RX", "UPLINK-TX",  "DROPPED",
					    "SPOOFED",	 "SWAPS",      "TIMEOUTS" };
	struct table t = { .head = head, .cols = ARRAY_SIZE(head) };
	const json_t *net;
	size_t i;

	json_array_foreach(json_object_get(stat, "nets"), i, net)
	{
		const json_t *s = json_object_get(net, "switch");

		add_row(&t);
		add_cell(&t, "%s", str(net, "name"));
		add_cell(&t, "%s", str(net, "crosstalk"));
		add_cell(&t, "%s", str(net, "uplink"));
		add_num(&t, num(s, "uplink_rx"));
		add_num(&t, num(s, "uplink_tx"));
		add_num(&t, num(s, "uplink_tx_dropped"));
		add_num(&t, num(s, "spoofed"));
		add_num(&t, num(s, "swaps"));
		add_num(&t, num(s, "drain_timeouts"));
	}
	if (t.rows)
		putc('\n', out);
	if (t.rows)
		print_table(&t, out);
}

/* A table's cell without a table: text of the lab as it may be shown. */
static const char *clean(const char *s, char buf[static CELL_BYTES])
{
	snprintf(buf, CELL_BYTES, "%s", s);
	for (char *p = buf; *p; p++) {
		if ((unsigned char)*p < ' ' || *p == 0x7f)
			*p = '?';
	}
	return buf;
}

void client_show_stat(const json_t *stat, FILE *out)
{
	uint64_t s = num(stat, "uptime_ms") / 1000;
	char name[CELL_BYTES];

	fprintf(out, "lab %s: pid %" PRIu64 ", up %" PRIu64 ":%02u:%02u\n\n",
		clean(str(stat, "lab"), name), num(stat, "pid"), s / 3600, (unsigned)(s / 60 % 60),
		(unsigned)(s % 60));
	show_guests(stat, out);
	show_nics(stat, out);
	show_not_mapped(stat, out);
	show_nets(stat, out);
	fflush(out);
}

/* -- events -- */

void client_show_event(const json_t *ev, FILE *out)
{
	char nic[CELL_BYTES], peer[CELL_BYTES], net[CELL_BYTES], why[CELL_BYTES], from[CELL_BYTES],
		to[CELL_BYTES], detail[CELL_BYTES], at[16] = "";
	uint64_t us = num(ev, "time_us");
	time_t seconds = (time_t)(us / 1000000);
	struct tm tm;

	if (json_object_get(ev, "lost")) {
		fprintf(out, "(%" PRIu64 " earlier events are no longer known)\n", num(ev, "lost"));
		return;
	}
	if (localtime_r(&seconds, &tm))
		strftime(at, sizeof(at), "%H:%M:%S", &tm);
	clean(str(ev, "peer"), peer);
	clean(str(ev, "detail"), detail);
	fprintf(out, "%s.%06u %s: %s: %s -> %s%s%s: %s%s%s", at, (unsigned)(us % 1000000),
		clean(str(ev, "net"), net), clean(str(ev, "nic"), nic),
		clean(str(ev, "from"), from), clean(str(ev, "to"), to), *peer ? ", to " : "", peer,
		clean(str(ev, "why"), why), *detail ? ": " : "", detail);
	if (num(ev, "window"))
		fprintf(out, "; %" PRIu64 " of %" PRIu64 " frames in %" PRIu64 " us",
			num(ev, "frames"), num(ev, "window"), num(ev, "detect_us"));
	if (num(ev, "swap_us"))
		fprintf(out, "; swapped in %" PRIu64 " us", num(ev, "swap_us"));
	putc('\n', out);
}
