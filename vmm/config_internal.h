/*
 * What the parts of the vm.ini reader share; nobody else includes this.
 *
 * The way of a file: config_read.c cuts it into sections and entries, each with its line;
 * config_model.c turns these into the data model of config.h, key by key with config_keys.c;
 * config_check.c and config_files.c look at what no single key can tell; config.c conducts. No step
 * stops at the first mistake, and none repeats as a mistake of its own what only follows from an
 * earlier one.
 *
 * All of it runs in the thread that called config_load(); no locks.
 */
#ifndef VMM_CONFIG_INTERNAL_H
#define VMM_CONFIG_INTERNAL_H

#include <stdarg.h>
#include <stdio.h>

#include "base/types.h"
#include "vmm/config.h"

#define CONFIG_FILE_MAX	       MIB(4) /* no vm.ini is so long: a wrong file, or one without end */
#define CONFIG_MAX_DEVICES     16     /* NICs, disks and the like of one guest */
#define CONFIG_MEMORY_MIN      MIB(1)
#define CONFIG_MEMORY_MAX      GIB(4096)
#define CONFIG_DISK_ID_MAX     20  /* VIRTIO_BLK_ID_BYTES */
#define CONFIG_WINDOW_MAX      256 /* frames; what the detector can hold */
#define CONFIG_HOLD_MAX_US     1000000
#define CONFIG_DEADLINE_MIN_US 1000
#define CONFIG_NONE	       UINT32_MAX /* an index that was looked for and not found */

/* Mistakes, collected so that they can be printed in the order of their lines. */
struct config_mistake {
	unsigned line;	/* 0: of the whole file */
	unsigned order; /* of reporting; decides between mistakes of one line */
	char *text;
};

struct config_report {
	struct config_mistake *mistake;
	unsigned nr;
	bool nomem; /* sticky: an allocation failed somewhere; the result is worth nothing */
};

enum config_kind {
	KIND_UNKNOWN, /* its entries are not looked at */
	KIND_LAB,
	KIND_NET,
	KIND_VM,
	KIND_NIC,
	KIND_DISK,
	NR_KINDS
};

struct config_entry {
	char *key, *value;
	unsigned line;
};

struct config_section {
	enum config_kind kind;
	char *title; /* what stands between the brackets, blanks normalised: "nic alpha.eth0" */
	const char *name; /* in title, behind the kind; "" if none */
	unsigned line;
	unsigned index;	 /* of its object in lab_config; CONFIG_NONE if it has none */
	bool incomplete; /* a line of it was refused: a missing key may just be misspelt */
	struct config_entry *entry;
	unsigned nr_entries;
};

/* A lab_config while it is made. The arrays of_*[i] give the section that object i came from. */
struct config_build {
	struct lab_config *lab;
	struct config_report report;
	struct config_section *section;
	unsigned nr_sections;
	const struct config_section **of_net, **of_guest, **of_nic, **of_disk;
	char *dir; /* of the vm.ini, with its last slash; "" if none */
	uint64_t host_memory_bytes;
};

/* config.c */

/* config_load() on an open stream, which stays open; path is for messages and relative paths. */
int config_load_stream(FILE *in, const char *path, uint64_t host_memory_bytes, FILE *err,
		       struct lab_config *out);

/* config_report.c */

/* section: its title, or NULL for a mistake outside of all. */
void config_mistake(struct config_report *r, unsigned line, const char *section, const char *fmt,
		    ...) __attribute__((format(printf, 4, 5)));
void config_report_print(struct config_report *r, const char *path, FILE *err);
void config_report_fini(struct config_report *r);

/* Room for one more element behind the nr there are; NULL (and nomem noted) if there is none. */
void *config_grow(struct config_report *r, void *array, unsigned nr, size_t size);
char *config_strdup(struct config_report *r, const char *text);
char *config_strndup(struct config_report *r, const char *text, size_t len);
char *config_format(struct config_report *r, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));

char *config_vformat(struct config_report *r, const char *fmt, va_list ap)
	__attribute__((format(printf, 2, 0)));

/* The candidate that was most likely meant by a misspelt word. */
struct config_nearest {
	const char *word, *best;
	unsigned distance;
};
void config_nearest_offer(struct config_nearest *n, const char *candidate);
/* "; did you mean [vm alpha]?" for before "[vm " and after "]", or "" if nothing is near. */
const char *config_nearest_hint(const struct config_nearest *n, const char *before,
				const char *after, char *buf, size_t size);

/* A value as it may stand in a message: cut if long. The result is buf or text. */
#define CONFIG_SHOW_MAX 64
const char *config_show(const char *text, char buf[static CONFIG_SHOW_MAX]);

/* config_read.c: fills b->section; mistakes go to the report. False if reading ended before the
 * file did: what is in b then tells nothing about the rest. */
bool config_read(struct config_build *b, FILE *in);

/* config_keys.c */

/* Where a setter is: which object, which section, which entry. */
struct config_setting {
	struct config_build *b;
	const struct config_section *s;
	const struct config_entry *e;
};

struct config_key {
	const char *name;
	void (*set)(const struct config_setting *at);
	bool repeatable;
	bool may_be_empty;
};

/* By kind of section; a table ends with a key without name. */
extern const struct config_key *const config_keys[NR_KINDS];

#define CONFIG_NAME_RULE                                                                          \
	"a name is made of letters, digits, '-' and '_', a letter or digit first, at most 31 of " \
	"them"

/* config_model.c */
void config_build_objects(struct config_build *b);
const struct config_entry *config_entry(const struct config_section *s, const char *key);
/* The line of the key, or of the section where the key was left out. */
unsigned config_entry_line(const struct config_section *s, const char *key);

/* config_check.c: references, addresses, sums. config_files.c: everything that asks the host. */
void config_check(struct config_build *b);
void config_check_files(struct config_build *b);

/* config_values.c */
bool config_valid_name(const char *name);
bool config_valid_ifname(const char *name);
int config_parse_number(const char *text, uint64_t max, uint64_t *number);
/* "75", "75%" or "75 %". -EINVAL, -ERANGE. */
int config_parse_percent(const char *text, uint64_t *percent);
/* "1500" and "1500us" are microseconds, "2ms" milliseconds. -EINVAL, -ERANGE. */
int config_parse_us(const char *text, uint64_t *us);
/* Index of the word in the NULL-terminated list, -1 if it is none of them. */
int config_parse_word(const char *text, const char *const words[]);
/* 268435456 as "256M": the largest unit that divides it. */
const char *config_format_size(uint64_t bytes, char *buf, size_t size);

#endif
