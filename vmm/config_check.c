/*
 * What no single key of a vm.ini can tell: references between sections, addresses, sums. All of it
 * from the file alone; config_files.c asks the host.
 *
 * Each check skips what an earlier one has found fault with, so that one slip makes one message.
 *
 * Used by the thread that called config_load(); no locks.
 */
#include <stdlib.h>
#include <string.h>

#include "vmm/config_internal.h"

static const char *title_of_nic(const struct config_build *b, unsigned i)
{
	return b->of_nic[i]->title;
}

/* Finds names in one kind of section; near gathers what may have been meant. */
static unsigned find_net(const struct config_build *b, const char *name,
			 struct config_nearest *near)
{
	for (unsigned i = 0; i < b->lab->nr_nets; i++) {
		if (!strcmp(b->lab->net[i].name, name))
			return i;
		config_nearest_offer(near, b->lab->net[i].name);
	}
	return CONFIG_NONE;
}

static unsigned find_guest(const struct config_build *b, const char *name, size_t len,
			   struct config_nearest *near)
{
	for (unsigned i = 0; i < b->lab->nr_guests; i++) {
		const char *other = b->lab->guest[i].name;
		if (strlen(other) == len && !memcmp(other, name, len))
			return i;
		config_nearest_offer(near, other);
	}
	return CONFIG_NONE;
}

static unsigned find_nic(const struct config_build *b, const char *full_name,
			 struct config_nearest *near)
{
	for (unsigned i = 0; i < b->lab->nr_nics; i++) {
		if (!strcmp(b->lab->nic[i].full_name, full_name))
			return i;
		config_nearest_offer(near, b->lab->nic[i].full_name);
	}
	return CONFIG_NONE;
}

/* The guest that a NIC or a disk belongs to. */
static unsigned link_guest(struct config_build *b, const struct config_section *s)
{
	char hint[64], show[CONFIG_SHOW_MAX];
	size_t len = strcspn(s->name, ".");

	if (!s->name[len])
		return CONFIG_NONE; /* no dot: reported with the name */
	char *name = config_strndup(&b->report, s->name, len);
	if (!name)
		return CONFIG_NONE;
	struct config_nearest near = { .word = name };
	unsigned guest = find_guest(b, name, len, &near);
	if (guest == CONFIG_NONE)
		config_mistake(&b->report, s->line, s->title, "there is no [vm %s]%s",
			       config_show(name, show),
			       config_nearest_hint(&near, "[vm ", "]", hint, sizeof(hint)));
	free(name);
	return guest;
}

static void link_guests(struct config_build *b)
{
	for (unsigned i = 0; i < b->lab->nr_nics; i++)
		b->lab->nic[i].guest = link_guest(b, b->of_nic[i]);
	for (unsigned i = 0; i < b->lab->nr_disks; i++)
		b->lab->disk[i].guest = link_guest(b, b->of_disk[i]);
}

static void link_nets(struct config_build *b)
{
	char hint[64], show[CONFIG_SHOW_MAX];

	for (unsigned i = 0; i < b->lab->nr_nics; i++) {
		const struct config_entry *e = config_entry(b->of_nic[i], "net");
		if (!e || !*e->value)
			continue;
		struct config_nearest near = { .word = e->value };
		b->lab->nic[i].net = find_net(b, e->value, &near);
		if (b->lab->nic[i].net != CONFIG_NONE)
			continue;
		config_mistake(&b->report, e->line, title_of_nic(b, i),
			       "net = %s: there is no [net %s]%s", config_show(e->value, show),
			       config_show(e->value, show),
			       config_nearest_hint(&near, "[net ", "]", hint, sizeof(hint)));
	}
}

/* What speaks against coupling NIC i with the one that its entry e names? */
static void link_peer(struct config_build *b, unsigned i, const struct config_entry *e)
{
	struct lab_config *lab = b->lab;
	struct nic_config *nic = &lab->nic[i];
	const char *title = title_of_nic(b, i);
	char hint[128], show[CONFIG_SHOW_MAX];
	struct config_nearest near = { .word = e->value };

	unsigned p = find_nic(b, e->value, &near);
	if (p == CONFIG_NONE) {
		config_mistake(&b->report, e->line, title, "peer = %s: there is no [nic %s]%s",
			       config_show(e->value, show), config_show(e->value, show),
			       config_nearest_hint(&near, "[nic ", "]", hint, sizeof(hint)));
		return;
	}
	struct nic_config *peer = &lab->nic[p];
	if (p == i) {
		config_mistake(&b->report, e->line, title, "peer = %s: a NIC can't be its own peer",
			       e->value);
		return;
	}
	if (nic->net != CONFIG_NONE && peer->net != CONFIG_NONE && nic->net != peer->net) {
		config_mistake(
			&b->report, e->line, title,
			"peer = %s: sits on [net %s], this NIC on [net %s]; peers share a net",
			e->value, lab->net[peer->net].name, lab->net[nic->net].name);
		return;
	}
	if (nic->net != CONFIG_NONE && lab->net[nic->net].crosstalk == CROSSTALK_OFF) {
		config_mistake(&b->report, e->line, title,
			       "peer = %s: [net %s] has crosstalk = off (line %u): on it no NICs "
			       "are coupled",
			       e->value, lab->net[nic->net].name,
			       config_entry_line(b->of_net[nic->net], "crosstalk"));
		return;
	}
	/* Its own word counts: a NIC that names a peer is coupled with that one or with none. */
	const struct config_entry *back = config_entry(b->of_nic[p], "peer");
	if (back && *back->value && strcmp(back->value, nic->full_name)) {
		config_mistake(&b->report, e->line, title,
			       "peer = %s: whose own peer is %s (line %u)", e->value,
			       config_show(back->value, show), back->line);
		return;
	}
	if (peer->peer >= 0 && peer->peer != (int)i) {
		config_mistake(&b->report, e->line, title,
			       "peer = %s: is coupled with %s already (line %u)", e->value,
			       lab->nic[peer->peer].full_name,
			       config_entry_line(b->of_nic[peer->peer], "peer"));
		return;
	}
	nic->peer = (int)p;
	peer->peer = (int)i;
}

static void link_peers(struct config_build *b)
{
	for (unsigned i = 0; i < b->lab->nr_nics; i++) {
		const struct config_entry *e = config_entry(b->of_nic[i], "peer");
		if (e && *e->value)
			link_peer(b, i, e);
	}
}

/* More frames than the window holds would never be seen together. */
static void check_windows(struct config_build *b)
{
	for (unsigned i = 0; i < b->lab->nr_nets; i++) {
		const struct net_config *net = &b->lab->net[i];
		const struct config_section *s = b->of_net[i];
		unsigned threshold = net->crosstalk_threshold, window = net->crosstalk_window;
		if (!threshold || !window || threshold <= window)
			continue;
		/* To blame is the one that was given; the threshold if both were. */
		if (!config_entry(s, "crosstalk-threshold"))
			config_mistake(&b->report, config_entry_line(s, "crosstalk-window"),
				       s->title,
				       "crosstalk-window = %u: must hold crosstalk-threshold, "
				       "which is %u where it is left out",
				       window, threshold);
		else
			config_mistake(
				&b->report, config_entry_line(s, "crosstalk-threshold"), s->title,
				"crosstalk-threshold = %u: must not be above "
				"crosstalk-window, which is %u%s",
				threshold, window,
				config_entry(s, "crosstalk-window") ? "" : " where it is left out");
	}
}

/* Cross-talk never crosses from one net to another; one interface below two nets would let it. */
static void check_uplinks(struct config_build *b)
{
	struct lab_config *lab = b->lab;

	for (unsigned i = 0; i < lab->nr_nets; i++) {
		const char *name = lab->net[i].uplink_name;
		for (unsigned j = 0; name && j < i; j++) {
			if (!lab->net[j].uplink_name || strcmp(lab->net[j].uplink_name, name))
				continue;
			config_mistake(&b->report, config_entry_line(b->of_net[i], "uplink"),
				       b->of_net[i]->title,
				       "uplink = %s:%s: the interface is [net %s]'s already "
				       "(line %u); nets that share one are one net",
				       lab->net[i].uplink == UPLINK_TAP ? "tap" : "bridge", name,
				       lab->net[j].name, config_entry_line(b->of_net[j], "uplink"));
			break;
		}
	}
}

static unsigned find_mac(const struct lab_config *lab, const uint8_t mac[6], const bool *settled,
			 unsigned except)
{
	for (unsigned i = 0; i < lab->nr_nics; i++) {
		if (i != except && settled[i] && !memcmp(lab->nic[i].mac, mac, 6))
			return i;
	}
	return CONFIG_NONE;
}

static void check_given_macs(struct config_build *b, bool *settled)
{
	struct lab_config *lab = b->lab;

	for (unsigned i = 0; i < lab->nr_nics; i++) {
		if (!lab->nic[i].mac_given)
			continue;
		unsigned other = find_mac(lab, lab->nic[i].mac, settled, i);
		settled[i] = true;
		if (other != CONFIG_NONE)
			config_mistake(&b->report, config_entry_line(b->of_nic[i], "mac"),
				       title_of_nic(b, i), "mac = %s: is %s's already (line %u)",
				       config_entry(b->of_nic[i], "mac")->value,
				       lab->nic[other].full_name,
				       config_entry_line(b->of_nic[other], "mac"));
	}
}

struct by_name {
	const char *full_name;
	unsigned nic;
};

static int compare_names(const void *a, const void *b)
{
	return strcmp(((const struct by_name *)a)->full_name,
		      ((const struct by_name *)b)->full_name);
}

/* The addresses that were left out. Two names may hash to one address: the later name moves on to
 * the next free one. By name and not by place in the file, so that moving a section changes no
 * address. */
static void derive_macs(struct config_build *b, bool *settled)
{
	struct lab_config *lab = b->lab;
	struct by_name *order = calloc(lab->nr_nics + 1, sizeof(*order));

	if (!order) {
		b->report.nomem = true;
		return;
	}
	for (unsigned i = 0; i < lab->nr_nics; i++)
		order[i] = (struct by_name){ lab->nic[i].full_name, i };
	qsort(order, lab->nr_nics, sizeof(*order), compare_names);
	for (unsigned k = 0; k < lab->nr_nics; k++) {
		unsigned i = order[k].nic;
		uint8_t *mac = lab->nic[i].mac;
		if (settled[i])
			continue;
		config_derive_mac(lab->name, lab->nic[i].full_name, mac);
		while (find_mac(lab, mac, settled, i) != CONFIG_NONE) {
			if (!++mac[5] && !++mac[4])
				++mac[3];
		}
		settled[i] = true;
	}
	free(order);
}

static void assign_macs(struct config_build *b)
{
	bool *settled = calloc(b->lab->nr_nics + 1, sizeof(*settled));

	if (!settled) {
		b->report.nomem = true;
		return;
	}
	check_given_macs(b, settled);
	derive_macs(b, settled);
	free(settled);
}

static const char *plural(unsigned n)
{
	return n == 1 ? "" : "s";
}

static void check_device_counts(struct config_build *b)
{
	struct lab_config *lab = b->lab;

	for (unsigned g = 0; g < lab->nr_guests; g++) {
		const struct guest_config *guest = &lab->guest[g];
		unsigned nics = 0, disks = 0;
		for (unsigned i = 0; i < lab->nr_nics; i++)
			nics += lab->nic[i].guest == g;
		for (unsigned i = 0; i < lab->nr_disks; i++)
			disks += lab->disk[i].guest == g;
		bool console = guest->virtio_console.kind != CONSOLE_NONE;
		unsigned sum = nics + disks + guest->rng + console;
		if (sum > CONFIG_MAX_DEVICES)
			config_mistake(&b->report, guest->line, b->of_guest[g]->title,
				       "has %u devices (%u NIC%s, %u disk%s%s%s), at most %d "
				       "are possible",
				       sum, nics, plural(nics), disks, plural(disks),
				       guest->rng ? ", rng" : "", console ? ", virtio-console" : "",
				       CONFIG_MAX_DEVICES);
	}
}

static void check_memory(struct config_build *b)
{
	static const uint64_t page_bytes[] = {
		[HUGEPAGES_NO] = MIB(1), [HUGEPAGES_2M] = MIB(2), [HUGEPAGES_1G] = GIB(1)
	};
	struct lab_config *lab = b->lab;
	char text[3][24];
	uint64_t sum = 0;
	bool over = false;

	for (unsigned g = 0; g < lab->nr_guests; g++) {
		const struct guest_config *guest = &lab->guest[g];
		unsigned line = config_entry_line(b->of_guest[g], "memory");
		const char *memory =
			config_format_size(guest->memory_bytes, text[0], sizeof(text[0]));
		uint64_t page = page_bytes[guest->hugepages];
		if (guest->memory_bytes % page)
			config_mistake(&b->report, line, b->of_guest[g]->title,
				       "memory = %s: must be a multiple of the hugepages' %s",
				       memory, config_format_size(page, text[1], sizeof(text[1])));
		/* The first that does not fit any more; whoever comes behind it is not to blame. */
		sum += guest->memory_bytes;
		if (!b->host_memory_bytes || sum <= b->host_memory_bytes || over)
			continue;
		over = true;
		config_mistake(&b->report, line, b->of_guest[g]->title,
			       "memory = %s: too much: with it the guests have %s, the host has %s "
			       "available",
			       memory, config_format_size(sum, text[1], sizeof(text[1])),
			       config_format_size(ALIGN_DOWN(b->host_memory_bytes, MIB(1)), text[2],
						  sizeof(text[2])));
	}
}

static bool same_id(const char *a, const char *b)
{
	return !strncmp(a, b, CONFIG_DISK_ID_MAX);
}

/* A guest tells its disks apart by their ids, of which it sees the first bytes only. */
static void check_disk_ids(struct config_build *b)
{
	struct lab_config *lab = b->lab;

	for (unsigned i = 0; i < lab->nr_disks; i++) {
		const struct disk_config *disk = &lab->disk[i];
		for (unsigned j = 0; j < i; j++) {
			const struct disk_config *other = &lab->disk[j];
			if (disk->guest == CONFIG_NONE || other->guest != disk->guest ||
			    !same_id(disk->id, other->id))
				continue;
			config_mistake(
				&b->report, config_entry_line(b->of_disk[i], "id"),
				b->of_disk[i]->title,
				"id = %s: is in its first %d bytes [disk %s]'s as well (line "
				"%u): give it another",
				disk->id, CONFIG_DISK_ID_MAX, other->full_name,
				config_entry_line(b->of_disk[j], "id"));
			break;
		}
	}
}

void config_check(struct config_build *b)
{
	if (!b->lab->nr_guests) {
		bool perhaps = false;
		for (unsigned i = 0; i < b->nr_sections; i++)
			perhaps |= b->section[i].kind == KIND_UNKNOWN;
		/* A header that could not be read may have been one. */
		if (!perhaps)
			config_mistake(&b->report, 0, NULL,
				       "there is no guest in it: add a section [vm NAME]");
	}
	link_guests(b);
	link_nets(b);
	link_peers(b);
	check_windows(b);
	check_uplinks(b);
	assign_macs(b);
	check_device_counts(b);
	check_memory(b);
	check_disk_ids(b);
}
