/*
 * vm.ini: from a path to a lab_config that was checked, or to all the mistakes in it.
 *
 * Used by one thread before any other starts; no locks. The steps are in config_internal.h.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "vmm/config_internal.h"

#define SHUTDOWN_TIMEOUT_S 30

/* The name of a lab without one: the file's, without its folders and its extension. TAPs and
 * addresses are named after it, so what a name can't have becomes '-'. */
static char *default_lab_name(struct config_report *r, const char *path)
{
	const char *slash = strrchr(path, '/'), *base = slash ? slash + 1 : path;
	const char *dot = strrchr(base, '.');
	size_t len = dot ? (size_t)(dot - base) : strlen(base);
	char *name = config_strndup(r, base, len < CONFIG_NAME_MAX ? len : CONFIG_NAME_MAX);

	for (char *p = name; p && *p; p++) {
		char one[] = { 'a', *p, '\0' };
		if (!config_valid_name(one))
			*p = '-';
	}
	if (name && !config_valid_name(name)) {
		free(name);
		name = config_strdup(r, "lab");
	}
	return name;
}

static char *folder_of(struct config_report *r, const char *path)
{
	const char *slash = strrchr(path, '/');
	return config_strndup(r, path, slash ? (size_t)(slash - path) + 1 : 0);
}

static void free_build(struct config_build *b)
{
	for (unsigned i = 0; i < b->nr_sections; i++) {
		struct config_section *s = &b->section[i];
		for (unsigned k = 0; k < s->nr_entries; k++) {
			free(s->entry[k].key);
			free(s->entry[k].value);
		}
		free(s->entry);
		free(s->title);
	}
	free(b->section);
	free(b->of_net);
	free(b->of_guest);
	free(b->of_nic);
	free(b->of_disk);
	free(b->dir);
	config_report_fini(&b->report);
}

int config_load_stream(FILE *in, const char *path, uint64_t host_memory_bytes, FILE *err,
		       struct lab_config *out)
{
	struct config_build b = { .lab = out, .host_memory_bytes = host_memory_bytes };
	int result = 0;

	*out = (struct lab_config){ .shutdown_timeout_s = SHUTDOWN_TIMEOUT_S };
	out->path = config_strdup(&b.report, path);
	out->name = default_lab_name(&b.report, path);
	b.dir = folder_of(&b.report, path);

	bool complete = !b.report.nomem && config_read(&b, in);
	if (complete && !b.report.nomem)
		config_build_objects(&b);
	if (complete && !b.report.nomem)
		config_check(&b);
	if (complete && !b.report.nomem)
		config_check_files(&b);

	if (b.report.nomem) {
		result = -ENOMEM;
	} else if (b.report.nr) {
		config_report_print(&b.report, path, err);
		result = -EINVAL;
	}
	free_build(&b);
	if (result)
		config_free(out);
	return result;
}

int config_load(const char *path, uint64_t host_memory_bytes, FILE *err, struct lab_config *out)
{
	*out = (struct lab_config){ 0 };
	FILE *in = fopen(path, "re");
	if (!in) {
		fprintf(err, "%s: cannot be read: %s\n", path, strerror(errno));
		return -EINVAL;
	}
	int result = config_load_stream(in, path, host_memory_bytes, err, out);
	fclose(in);
	return result;
}

static void free_guest(struct guest_config *g)
{
	free(g->name);
	free(g->kernel);
	free(g->initrd);
	free(g->cmdline);
	for (unsigned i = 0; i < g->nr_modules; i++) {
		free(g->module[i].path);
		free(g->module[i].args);
	}
	free(g->console.path);
	free(g->virtio_console.path);
	free(g->domain);
}

void config_free(struct lab_config *c)
{
	for (unsigned i = 0; i < c->nr_nets; i++) {
		free(c->net[i].name);
		free(c->net[i].uplink_name);
	}
	for (unsigned i = 0; i < c->nr_guests; i++)
		free_guest(&c->guest[i]);
	for (unsigned i = 0; i < c->nr_nics; i++) {
		free(c->nic[i].name);
		free(c->nic[i].full_name);
	}
	for (unsigned i = 0; i < c->nr_disks; i++) {
		free(c->disk[i].name);
		free(c->disk[i].full_name);
		free(c->disk[i].path);
		free(c->disk[i].id);
	}
	free(c->net);
	free(c->guest);
	free(c->nic);
	free(c->disk);
	free(c->path);
	free(c->name);
	*c = (struct lab_config){ 0 };
}
