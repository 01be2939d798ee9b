/*
 * From sections and entries to the data model: an object per section, its entries given to the
 * keys' setters.
 *
 * Used by the thread that called config_load(); no locks.
 */
#include <stdlib.h>
#include <string.h>

#include "vmm/config_internal.h"

const struct config_entry *config_entry(const struct config_section *s, const char *key)
{
	for (unsigned i = 0; i < s->nr_entries; i++) {
		if (!strcmp(s->entry[i].key, key))
			return &s->entry[i];
	}
	return NULL;
}

unsigned config_entry_line(const struct config_section *s, const char *key)
{
	const struct config_entry *e = config_entry(s, key);
	return e ? e->line : s->line;
}

static const struct config_key *find_key(const struct config_key *keys, const char *name)
{
	for (; keys->name; keys++) {
		if (!strcmp(keys->name, name))
			return keys;
	}
	return NULL;
}

static void unknown_key(struct config_build *b, struct config_section *s,
			const struct config_entry *e)
{
	struct config_nearest near = { .word = e->key };
	char show[CONFIG_SHOW_MAX], hint[64], known[256] = "";

	for (const struct config_key *k = config_keys[s->kind]; k->name; k++) {
		config_nearest_offer(&near, k->name);
		if (k != config_keys[s->kind])
			strcat(known, ", ");
		strcat(known, k->name);
	}
	/* Perhaps this is the key that will be found missing: not another mistake. */
	s->incomplete = true;
	if (near.best)
		config_nearest_hint(&near, "'", "'", hint, sizeof(hint));
	config_mistake(&b->report, e->line, s->title, "unknown key '%s'%s%s",
		       config_show(e->key, show),
		       near.best ? hint : "; there are: ", near.best ? "" : known);
}

static void set_entries(struct config_build *b, struct config_section *s)
{
	for (unsigned i = 0; i < s->nr_entries; i++) {
		const struct config_entry *e = &s->entry[i];
		const struct config_key *k = find_key(config_keys[s->kind], e->key);
		if (!k) {
			unknown_key(b, s, e);
			continue;
		}
		const struct config_entry *first = config_entry(s, e->key);
		if (first != e && !k->repeatable) {
			config_mistake(&b->report, e->line, s->title,
				       "'%s' was given already, in line %u", e->key, first->line);
			continue;
		}
		if (!*e->value && !k->may_be_empty) {
			config_mistake(&b->report, e->line, s->title,
				       "'%s' has no value: give it one, or leave the line out",
				       e->key);
			continue;
		}
		if (s->index != CONFIG_NONE || s->kind == KIND_LAB)
			k->set(&(struct config_setting){ b, s, e });
	}
}

static const struct config_section *find_same(struct config_build *b,
					      const struct config_section *s)
{
	for (const struct config_section *o = b->section; o < s; o++) {
		if (o->kind == s->kind && !strcmp(o->title, s->title))
			return o;
	}
	return NULL;
}

/* "alpha.eth0" for a NIC or a disk, "alpha" for others. The object keeps a bad name: what refers to
 * it is not wrong for that. */
static void check_name(struct config_build *b, const struct config_section *s)
{
	char guest[CONFIG_SHOW_MAX];

	if (s->kind == KIND_NET || s->kind == KIND_VM) {
		if (!config_valid_name(s->name))
			config_mistake(&b->report, s->line, s->title, CONFIG_NAME_RULE);
		return;
	}
	const char *dot = strchr(s->name, '.');
	if (!dot) {
		config_mistake(&b->report, s->line, s->title,
			       "the guest is missing: write [%s GUEST.%s]",
			       s->kind == KIND_NIC ? "nic" : "disk", config_show(s->name, guest));
		return;
	}
	/* The part before the dot must be a guest's name, which is looked up later. */
	if (!config_valid_name(dot + 1))
		config_mistake(&b->report, s->line, s->title, "behind the dot, " CONFIG_NAME_RULE);
}

/* The part of a NIC's or disk's name behind the dot. */
static const char *own_name(const char *full_name)
{
	const char *dot = strchr(full_name, '.');
	return dot ? dot + 1 : full_name;
}

static void make_object(struct config_build *b, struct config_section *s)
{
	struct lab_config *lab = b->lab;
	struct config_report *r = &b->report;
	char *name = config_strdup(r, s->name);

	switch (s->kind) {
	case KIND_NET:
		s->index = lab->nr_nets++;
		b->of_net[s->index] = s;
		lab->net[s->index] = (struct net_config){
			.name = name,
			.line = s->line,
			.uplink = UPLINK_NONE,
			.crosstalk = CROSSTALK_DYNAMIC,
			.sharing = SHARING_AUTO,
			.crosstalk_threshold = 8,
			.crosstalk_share = 75,
			.crosstalk_window = 32,
			.receiver_hold_us = 1000,
			.slot_deadline_us = 50000,
		};
		break;
	case KIND_VM:
		s->index = lab->nr_guests++;
		b->of_guest[s->index] = s;
		lab->guest[s->index] = (struct guest_config){
			.name = name,
			.line = s->line,
			.cmdline = config_strdup(r, ""),
			.domain = config_strdup(r, ""),
			.memory_bytes = MIB(256),
			.cpus = 1,
			.console = { .kind = CONSOLE_STDIO },
			.on_reboot = END_RESTART,
			.on_crash = END_STOP,
		};
		break;
	case KIND_NIC:
		s->index = lab->nr_nics++;
		b->of_nic[s->index] = s;
		lab->nic[s->index] = (struct nic_config){
			.guest = CONFIG_NONE,
			.net = CONFIG_NONE,
			.full_name = name,
			.name = config_strdup(r, own_name(s->name)),
			.line = s->line,
			.peer = -1,
		};
		break;
	case KIND_DISK:
		s->index = lab->nr_disks++;
		b->of_disk[s->index] = s;
		lab->disk[s->index] = (struct disk_config){
			.guest = CONFIG_NONE,
			.full_name = name,
			.name = config_strdup(r, own_name(s->name)),
			.id = config_strdup(r, s->name),
			.line = s->line,
		};
		break;
	default:
		free(name);
		break;
	}
}

static bool allocate(struct config_build *b)
{
	unsigned count[NR_KINDS] = { 0 };
	struct lab_config *lab = b->lab;

	for (unsigned i = 0; i < b->nr_sections; i++)
		count[b->section[i].kind]++;
	/* One more of each: calloc() of nothing may be NULL. */
	lab->net = calloc(count[KIND_NET] + 1, sizeof(*lab->net));
	lab->guest = calloc(count[KIND_VM] + 1, sizeof(*lab->guest));
	lab->nic = calloc(count[KIND_NIC] + 1, sizeof(*lab->nic));
	lab->disk = calloc(count[KIND_DISK] + 1, sizeof(*lab->disk));
	b->of_net = calloc(count[KIND_NET] + 1, sizeof(*b->of_net));
	b->of_guest = calloc(count[KIND_VM] + 1, sizeof(*b->of_guest));
	b->of_nic = calloc(count[KIND_NIC] + 1, sizeof(*b->of_nic));
	b->of_disk = calloc(count[KIND_DISK] + 1, sizeof(*b->of_disk));
	return lab->net && lab->guest && lab->nic && lab->disk && b->of_net && b->of_guest &&
	       b->of_nic && b->of_disk;
}

static void check_required(struct config_build *b, const struct config_section *s)
{
	const char *key = s->kind == KIND_VM	 ? "kernel"
			  : s->kind == KIND_NIC	 ? "net"
			  : s->kind == KIND_DISK ? "path"
						 : NULL;

	if (key && !s->incomplete && !config_entry(s, key))
		config_mistake(&b->report, s->line, s->title, "'%s' is missing", key);
}

void config_build_objects(struct config_build *b)
{
	if (!allocate(b)) {
		b->report.nomem = true;
		return;
	}
	for (unsigned i = 0; i < b->nr_sections; i++) {
		struct config_section *s = &b->section[i];
		if (s->kind == KIND_UNKNOWN)
			continue;
		const struct config_section *same = find_same(b, s);
		if (same) {
			config_mistake(&b->report, s->line, s->title,
				       "was given already, in line %u", same->line);
			set_entries(b, s); /* for its unknown keys; it has no object */
			continue;
		}
		if (s->kind != KIND_LAB) {
			check_name(b, s);
			make_object(b, s);
		}
		if (b->report.nomem)
			return;
		set_entries(b, s);
		check_required(b, s);
	}
}
