/*
 * The keys of a vm.ini: one table per kind of section, one setter per key. A setter looks at its
 * own value only; what depends on other sections is config_check.c's.
 *
 * Used by the thread that called config_load(); no locks.
 */
#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "vmm/config_internal.h"

/* "KEY = VALUE: " and the reason. */
static void __attribute__((format(printf, 2, 3)))
refuse(const struct config_setting *at, const char *fmt, ...)
{
	struct config_report *r = &at->b->report;
	char show[CONFIG_SHOW_MAX];
	va_list ap;

	va_start(ap, fmt);
	char *why = config_vformat(r, fmt, ap);
	va_end(ap);
	if (why)
		config_mistake(r, at->e->line, at->s->title, "%s = %s: %s", at->e->key,
			       config_show(at->e->value, show), why);
	free(why);
}

/* Refuses a value that is none of the words, with all of them and the nearest. */
static void refuse_word(const struct config_setting *at, const char *const words[],
			const char *what)
{
	struct config_nearest near = { .word = at->e->value };
	char hint[64];

	for (unsigned i = 0; words[i]; i++)
		config_nearest_offer(&near, words[i]);
	refuse(at, "must be %s%s", what, config_nearest_hint(&near, "'", "'", hint, sizeof(hint)));
}

static int set_word(const struct config_setting *at, const char *const words[], const char *what)
{
	int i = config_parse_word(at->e->value, words);
	if (i < 0)
		refuse_word(at, words, what);
	return i;
}

static void set_bool(const struct config_setting *at, bool *out)
{
	static const char *const words[] = { "no", "yes", NULL };
	int i = set_word(at, words, "yes or no");

	if (i >= 0)
		*out = i;
}

static void set_number(const struct config_setting *at, uint64_t min, uint64_t max, unsigned *out)
{
	uint64_t n;

	if (config_parse_number(at->e->value, max, &n) || n < min)
		refuse(at, "must be a whole number from %llu to %llu", (unsigned long long)min,
		       (unsigned long long)max);
	else
		*out = (unsigned)n;
}

static void set_text(const struct config_setting *at, char **out)
{
	free(*out);
	*out = config_strdup(&at->b->report, at->e->value);
}

/* A path as it is to be used from the working directory. */
static char *resolve(const struct config_setting *at, const char *path, size_t len)
{
	struct config_report *r = &at->b->report;

	return config_format(r, "%s%.*s", *path == '/' ? "" : at->b->dir, (int)len, path);
}

static void set_path(const struct config_setting *at, char **out)
{
	free(*out);
	*out = resolve(at, at->e->value, strlen(at->e->value));
}

static void set_name(const struct config_setting *at, char **out)
{
	if (!config_valid_name(at->e->value))
		refuse(at, CONFIG_NAME_RULE);
	else
		set_text(at, out);
}

/* lab */

static void set_lab_name(const struct config_setting *at)
{
	set_name(at, &at->b->lab->name);
}

static void set_shutdown_timeout(const struct config_setting *at)
{
	set_number(at, 0, 3600, &at->b->lab->shutdown_timeout_s);
}

/* net */

static struct net_config *net_of(const struct config_setting *at)
{
	return &at->b->lab->net[at->s->index];
}

static void set_uplink(const struct config_setting *at)
{
	struct net_config *net = net_of(at);
	const char *value = at->e->value, *name = NULL;
	enum uplink_kind kind = UPLINK_NONE;

	if (!strncmp(value, "tap:", 4)) {
		kind = UPLINK_TAP;
		name = value + 4;
	} else if (!strncmp(value, "bridge:", 7)) {
		kind = UPLINK_BRIDGE;
		name = value + 7;
	} else if (strcmp(value, "none")) {
		static const char *const words[] = { "none", "tap:", "bridge:", NULL };
		refuse_word(at, words, "none, tap:NAME or bridge:NAME");
		return;
	}
	if (name && strlen(name) > 15) {
		refuse(at, "a network interface's name has at most 15 bytes, this has %zu",
		       strlen(name));
		return;
	}
	if (name && !config_valid_ifname(name)) {
		refuse(at, "%s for a network interface: write %s:NAME",
		       *name ? "not a name" : "the name is missing",
		       kind == UPLINK_TAP ? "tap" : "bridge");
		return;
	}
	net->uplink = kind;
	if (name)
		net->uplink_name = config_strdup(&at->b->report, name);
}

static void set_crosstalk(const struct config_setting *at)
{
	static const char *const words[] = { "off", "dynamic", "static", NULL };
	int i = set_word(at, words, "off, dynamic or static");

	if (i >= 0)
		net_of(at)->crosstalk = (enum crosstalk_mode)i;
}

static void set_sharing(const struct config_setting *at)
{
	static const char *const words[] = { "copy", "auto", NULL };
	int i = set_word(at, words, "copy or auto");

	if (i >= 0)
		net_of(at)->sharing = (enum sharing_mode)i;
}

/* 0 if unusable, so that it is not compared with the window, or the threshold, as well. */
static void set_frames(const struct config_setting *at, unsigned *out)
{
	*out = 0;
	set_number(at, 1, CONFIG_WINDOW_MAX, out);
}

static void set_crosstalk_threshold(const struct config_setting *at)
{
	set_frames(at, &net_of(at)->crosstalk_threshold);
}

static void set_crosstalk_window(const struct config_setting *at)
{
	set_frames(at, &net_of(at)->crosstalk_window);
}

static void set_crosstalk_share(const struct config_setting *at)
{
	uint64_t percent;

	if (config_parse_percent(at->e->value, &percent) || percent < 51 || percent > 100)
		refuse(at, "must be a whole percentage from 51%% to 100%%");
	else
		net_of(at)->crosstalk_share = (unsigned)percent;
}

static void set_receiver_hold(const struct config_setting *at)
{
	uint64_t us;

	if (config_parse_us(at->e->value, &us) || us > CONFIG_HOLD_MAX_US)
		refuse(at, "must be from 0 to 1000ms: microseconds, or with a unit (us, ms)");
	else
		net_of(at)->receiver_hold_us = (unsigned)us;
}

static void set_slot_deadline(const struct config_setting *at)
{
	uint64_t us;

	if (config_parse_us(at->e->value, &us) || us < CONFIG_DEADLINE_MIN_US ||
	    us > CONFIG_HOLD_MAX_US)
		refuse(at, "must be from 1ms to 1000ms: microseconds, or with a unit (us, ms)");
	else
		net_of(at)->slot_deadline_us = (unsigned)us;
}

/* vm */

static struct guest_config *guest_of(const struct config_setting *at)
{
	return &at->b->lab->guest[at->s->index];
}

static void set_kernel(const struct config_setting *at)
{
	set_path(at, &guest_of(at)->kernel);
}

static void set_initrd(const struct config_setting *at)
{
	set_path(at, &guest_of(at)->initrd);
}

static void set_module(const struct config_setting *at)
{
	struct guest_config *g = guest_of(at);
	const char *value = at->e->value, *args;

	if (g->nr_modules == CONFIG_MAX_MODULES) {
		refuse(at, "a guest has at most %d modules", CONFIG_MAX_MODULES);
		return;
	}
	size_t len = strcspn(value, " \t");
	args = value + len + strspn(value + len, " \t");
	struct module_config *m = &g->module[g->nr_modules++];
	m->path = resolve(at, value, len);
	m->args = config_strdup(&at->b->report, args);
}

static void set_cmdline(const struct config_setting *at)
{
	set_text(at, &guest_of(at)->cmdline);
}

static void set_memory(const struct config_setting *at)
{
	struct guest_config *g = guest_of(at);
	uint64_t bytes;

	/* Unusable values count as nothing when all the guests' memory is added up. */
	g->memory_bytes = 0;
	int err = config_parse_size(at->e->value, &bytes);
	if (err == -EINVAL)
		refuse(at, "must be a size such as 256M or 4G (units K, M, G, T)");
	else if (err || bytes < CONFIG_MEMORY_MIN || bytes > CONFIG_MEMORY_MAX)
		refuse(at, "must be from 1M to 4T");
	else if (bytes % MIB(1))
		refuse(at, "must be a multiple of 1M; %lluM would do",
		       (unsigned long long)(ALIGN_UP(bytes, MIB(1)) >> 20));
	else
		g->memory_bytes = bytes;
}

static void set_cpus(const struct config_setting *at)
{
	set_number(at, 1, CONFIG_MAX_CPUS, &guest_of(at)->cpus);
}

static void set_any_console(const struct config_setting *at, struct console_config *console)
{
	static const char *const words[] = { "none", "stdio", "file:", "pty", "unix:", NULL };
	const char *value = at->e->value, *path = NULL;
	struct console_config parsed = { CONSOLE_NONE, NULL };

	if (!strncmp(value, "file:", 5)) {
		parsed.kind = CONSOLE_FILE;
		path = value + 5;
	} else if (!strncmp(value, "unix:", 5)) {
		parsed.kind = CONSOLE_UNIX;
		path = value + 5;
	} else {
		int i = config_parse_word(value, words);
		if (i < 0) {
			refuse_word(at, words, "none, stdio, file:PATH, pty or unix:PATH");
			return;
		}
		/* "file:" and "unix:" were taken above: the words left are in the enum's order. */
		parsed.kind = (enum console_kind)i;
	}
	if (path && !*path) {
		refuse(at, "the path is missing: write %sPATH", value);
		return;
	}
	if (path)
		parsed.path = resolve(at, path, strlen(path));
	*console = parsed;
}

static void set_console(const struct config_setting *at)
{
	set_any_console(at, &guest_of(at)->console);
}

static void set_virtio_console(const struct config_setting *at)
{
	set_any_console(at, &guest_of(at)->virtio_console);
}

static void set_domain(const struct config_setting *at)
{
	set_name(at, &guest_of(at)->domain);
}

static void set_transport(const struct config_setting *at)
{
	static const char *const words[] = { "pci", "mmio", NULL };
	int i = set_word(at, words, "pci or mmio");

	if (i >= 0)
		guest_of(at)->transport = (enum transport_kind)i;
}

static void set_hugepages(const struct config_setting *at)
{
	static const char *const words[] = { "no", "2M", "1G", "yes", NULL };
	int i = set_word(at, words, "no, 2M, 1G or yes (which is 2M)");

	if (i >= 0)
		guest_of(at)->hugepages = i == 3 ? HUGEPAGES_2M : (enum hugepages_mode)i;
}

static void set_prealloc(const struct config_setting *at)
{
	set_bool(at, &guest_of(at)->prealloc);
}

static void set_rng(const struct config_setting *at)
{
	set_bool(at, &guest_of(at)->rng);
}

static void set_end_action(const struct config_setting *at, enum end_action *out)
{
	static const char *const words[] = { "stop", "restart", NULL };
	int i = set_word(at, words, "stop or restart");

	if (i >= 0)
		*out = (enum end_action)i;
}

static void set_on_reboot(const struct config_setting *at)
{
	set_end_action(at, &guest_of(at)->on_reboot);
}

static void set_on_crash(const struct config_setting *at)
{
	set_end_action(at, &guest_of(at)->on_crash);
}

/* nic */

static void set_mac(const struct config_setting *at)
{
	struct nic_config *nic = &at->b->lab->nic[at->s->index];

	if (!config_parse_mac(at->e->value, nic->mac)) {
		nic->mac_given = true;
		return;
	}
	/* What is wrong with it? The second digit decides whether an address is a group's. */
	char unicast[18];
	uint8_t mac[6];
	if (!strcmp(at->e->value, "00:00:00:00:00:00")) {
		refuse(at, "all zero is nobody's address; 52:54:00:00:00:01 would do");
		return;
	}
	if (strlen(at->e->value) == 17) {
		strcpy(unicast, at->e->value);
		unicast[1] = '2';
		if (!config_parse_mac(unicast, mac)) {
			char bad = at->e->value[1];
			if (strchr("13579bdfBDF", bad)) {
				refuse(at, "a multicast address: the second digit of a NIC's own "
					   "address is even");
				return;
			}
		}
	}
	refuse(at, "must be six bytes such as 52:54:00:00:00:01");
}

static void set_model(const struct config_setting *at)
{
	static const char *const words[] = { [NIC_VIRTIO] = "virtio", [NIC_E1000] = "e1000", NULL };
	int model = set_word(at, words, "virtio or e1000");

	if (model >= 0)
		at->b->lab->nic[at->s->index].model = (enum nic_model)model;
}

static void set_promiscuous(const struct config_setting *at)
{
	set_bool(at, &at->b->lab->nic[at->s->index].promiscuous);
}

static void set_slots(const struct config_setting *at)
{
	static const char *const words[] = {
		[SLOTS_AUTO] = "auto", [SLOTS_STABLE] = "stable", [SLOTS_FRESH] = "fresh", NULL
	};
	int i = set_word(at, words, "auto, stable or fresh");

	if (i >= 0)
		at->b->lab->nic[at->s->index].slots = (enum slots_mode)i;
}

static void set_receive_view(const struct config_setting *at)
{
	static const char *const words[] = { "read-write", "read-only", NULL };
	int i = set_word(at, words, "read-write or read-only");

	if (i >= 0)
		at->b->lab->nic[at->s->index].receive_readonly = i;
}

/* net and peer name other sections: config_check.c looks them up when all are there. */
static void set_later(const struct config_setting *at)
{
	(void)at;
}

/* disk */

static void set_disk_path(const struct config_setting *at)
{
	set_path(at, &at->b->lab->disk[at->s->index].path);
}

static void set_readonly(const struct config_setting *at)
{
	set_bool(at, &at->b->lab->disk[at->s->index].readonly);
}

static void set_disk_id(const struct config_setting *at)
{
	size_t len = strlen(at->e->value);

	for (const char *p = at->e->value; *p; p++) {
		if (*p <= ' ' || *p > '~') {
			refuse(at, "an id is made of printable ASCII characters without blanks");
			return;
		}
	}
	if (len > CONFIG_DISK_ID_MAX)
		refuse(at, "an id has at most %d bytes, this has %zu", CONFIG_DISK_ID_MAX, len);
	else
		set_text(at, &at->b->lab->disk[at->s->index].id);
}

static const struct config_key lab_keys[] = {
	{ .name = "name", .set = set_lab_name },
	{ .name = "shutdown-timeout", .set = set_shutdown_timeout },
	{ 0 },
};

static const struct config_key net_keys[] = {
	{ .name = "uplink", .set = set_uplink },
	{ .name = "crosstalk", .set = set_crosstalk },
	{ .name = "crosstalk-threshold", .set = set_crosstalk_threshold },
	{ .name = "crosstalk-share", .set = set_crosstalk_share },
	{ .name = "crosstalk-window", .set = set_crosstalk_window },
	{ .name = "receiver-hold", .set = set_receiver_hold },
	{ .name = "slot-deadline", .set = set_slot_deadline },
	{ .name = "memory", .set = set_sharing },
	{ 0 },
};

static const struct config_key vm_keys[] = {
	{ .name = "kernel", .set = set_kernel },
	{ .name = "initrd", .set = set_initrd },
	{ .name = "module", .set = set_module, .repeatable = true },
	{ .name = "cmdline", .set = set_cmdline, .may_be_empty = true },
	{ .name = "memory", .set = set_memory },
	{ .name = "cpus", .set = set_cpus },
	{ .name = "console", .set = set_console },
	{ .name = "virtio-console", .set = set_virtio_console },
	{ .name = "domain", .set = set_domain },
	{ .name = "transport", .set = set_transport },
	{ .name = "hugepages", .set = set_hugepages },
	{ .name = "prealloc", .set = set_prealloc },
	{ .name = "rng", .set = set_rng },
	{ .name = "on-reboot", .set = set_on_reboot },
	{ .name = "on-crash", .set = set_on_crash },
	{ 0 },
};

static const struct config_key nic_keys[] = {
	{ .name = "net", .set = set_later },
	{ .name = "mac", .set = set_mac },
	{ .name = "peer", .set = set_later },
	{ .name = "model", .set = set_model },
	{ .name = "promiscuous", .set = set_promiscuous },
	{ .name = "slots", .set = set_slots },
	{ .name = "receive-view", .set = set_receive_view },
	{ 0 },
};

static const struct config_key disk_keys[] = {
	{ .name = "path", .set = set_disk_path },
	{ .name = "readonly", .set = set_readonly },
	{ .name = "id", .set = set_disk_id },
	{ 0 },
};

const struct config_key *const config_keys[NR_KINDS] = {
	[KIND_LAB] = lab_keys, [KIND_NET] = net_keys,	[KIND_VM] = vm_keys,
	[KIND_NIC] = nic_keys, [KIND_DISK] = disk_keys,
};
