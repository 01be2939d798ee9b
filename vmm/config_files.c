/*
 * What a vm.ini says about the host: files that must be there, files that only one may use, memory.
 *
 * Nothing is opened for good here, and nothing made: these checks are for the user, who shall hear
 * of every mistake at once. Who opens a file later meets its errors again.
 *
 * Used by the thread that called config_load(); no locks.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "vmm/config_internal.h"

/* Identity of a file that exists, of a device node's device, or of a name in a folder. */
struct file_id {
	dev_t dev;
	ino_t ino;
	dev_t rdev;	  /* of a block device: two nodes may lead to one device */
	const char *base; /* NULL, or the name below the folder (dev, ino) */
};

static bool same_file(const struct file_id *a, const struct file_id *b)
{
	if (a->rdev || b->rdev)
		return a->rdev == b->rdev;
	if (!a->base != !b->base || (a->base && strcmp(a->base, b->base)))
		return false;
	return a->dev == b->dev && a->ino == b->ino;
}

static struct file_id id_of(const struct stat *st)
{
	return (struct file_id){ st->st_dev, st->st_ino, S_ISBLK(st->st_mode) ? st->st_rdev : 0,
				 NULL };
}

/* Files that guests boot from or write to, with who uses them. */
struct use {
	struct file_id id;
	bool write;
	unsigned line;
	const char *title;
};

struct uses {
	struct use *use;
	unsigned nr;
};

static void add_use(struct config_build *b, struct uses *u, struct use use)
{
	struct use *grown = config_grow(&b->report, u->use, u->nr, sizeof(*grown));
	if (!grown)
		return;
	u->use = grown;
	u->use[u->nr++] = use;
}

/* The first use of the same file that this one can't go together with: only readers can. */
static const struct use *find_conflict(const struct uses *u, const struct use *use)
{
	for (unsigned i = 0; i < u->nr; i++) {
		if ((use->write || u->use[i].write) && same_file(&u->use[i].id, &use->id))
			return &u->use[i];
	}
	return NULL;
}

static bool is_regular_or_block(const struct stat *st, bool block)
{
	return S_ISREG(st->st_mode) || (block && S_ISBLK(st->st_mode));
}

/* Reports what is wrong with a file that is to be read (and written). True if nothing is. */
static bool check_file(struct config_build *b, const struct config_section *s, unsigned line,
		       const char *key, const char *path, bool disk, bool write, struct stat *st)
{
	struct config_report *r = &b->report;
	char show[CONFIG_SHOW_MAX];
	const char *shown = config_show(path, show);

	if (stat(path, st)) {
		if (errno == ENOENT)
			config_mistake(r, line, s->title, "%s: there is no file %s", key, path);
		else
			config_mistake(r, line, s->title, "%s: %s: %s", key, shown,
				       strerror(errno));
		return false;
	}
	if (S_ISDIR(st->st_mode)) {
		config_mistake(r, line, s->title, "%s: %s is a folder, not a file", key, path);
		return false;
	}
	if (!is_regular_or_block(st, disk)) {
		config_mistake(r, line, s->title, "%s: %s is neither a file%s", key, path,
			       disk ? " nor a block device" : " nor a link to one");
		return false;
	}
	if (faccessat(AT_FDCWD, path, R_OK, AT_EACCESS)) {
		config_mistake(r, line, s->title, "%s: %s may not be read: %s", key, path,
			       strerror(errno));
		return false;
	}
	if (write && faccessat(AT_FDCWD, path, W_OK, AT_EACCESS)) {
		config_mistake(r, line, s->title,
			       "%s: %s may not be written: %s; 'readonly = yes' would do", key,
			       path, strerror(errno));
		return false;
	}
	return true;
}

static void check_boot_file(struct config_build *b, struct uses *u, const struct config_section *s,
			    unsigned line, const char *key, const char *path)
{
	struct stat st;

	if (path && check_file(b, s, line, key, path, false, false, &st))
		add_use(b, u, (struct use){ .id = id_of(&st), .line = line, .title = s->title });
}

static void check_boot_files(struct config_build *b, struct uses *u, unsigned g)
{
	const struct guest_config *guest = &b->lab->guest[g];
	const struct config_section *s = b->of_guest[g];
	unsigned m = 0;

	check_boot_file(b, u, s, config_entry_line(s, "kernel"), "kernel", guest->kernel);
	check_boot_file(b, u, s, config_entry_line(s, "initrd"), "initrd", guest->initrd);
	/* The modules are the entries with that key, in the same order, less those without a value.
	 */
	for (unsigned i = 0; i < s->nr_entries && m < guest->nr_modules; i++) {
		if (!strcmp(s->entry[i].key, "module") && *s->entry[i].value)
			check_boot_file(b, u, s, s->entry[i].line, "module",
					guest->module[m++].path);
	}
}

static void check_disk(struct config_build *b, struct uses *u, unsigned i)
{
	const struct disk_config *disk = &b->lab->disk[i];
	const struct config_section *s = b->of_disk[i];
	unsigned line = config_entry_line(s, "path");
	struct stat st;

	if (!disk->path || !check_file(b, s, line, "path", disk->path, true, !disk->readonly, &st))
		return;
	if (S_ISREG(st.st_mode) && st.st_size < 512) {
		config_mistake(
			&b->report, line, s->title,
			"path: %s is shorter than one sector (512 bytes): 'truncate -s SIZE' "
			"makes it longer",
			disk->path);
		return;
	}
	struct use use = {
		.id = id_of(&st), .write = !disk->readonly, .line = line, .title = s->title
	};
	const struct use *other = find_conflict(u, &use);
	if (other)
		config_mistake(&b->report, line, s->title,
			       "path: %s is used by [%s] already (line %u); a file is shared only "
			       "where all have 'readonly = yes'",
			       disk->path, other->title, other->line);
	add_use(b, u, use);
}

/* The folder that a console's file or socket is to be made in. */
static bool stat_folder(const char *path, struct stat *st, struct config_report *r)
{
	const char *slash = strrchr(path, '/');
	char *folder =
		slash ? config_strndup(r, path, (size_t)(slash - path) + 1) : config_strdup(r, ".");

	int err = folder ? stat(folder, st) : -1;
	free(folder);
	return !err && S_ISDIR(st->st_mode);
}

static void check_console(struct config_build *b, struct uses *u, const struct config_section *s,
			  const char *key, const struct console_config *console)
{
	struct config_report *r = &b->report;
	const char *path = console->path;
	struct stat st;

	if (!path)
		return;
	unsigned line = config_entry_line(s, key);
	bool exists = !stat(path, &st);
	struct use use = { .write = true, .line = line, .title = s->title };

	if (console->kind == CONSOLE_UNIX &&
	    strlen(path) >= sizeof(((struct sockaddr_un *)NULL)->sun_path)) {
		config_mistake(r, line, s->title,
			       "%s: a socket's path has at most %zu bytes, this has %zu", key,
			       sizeof(((struct sockaddr_un *)NULL)->sun_path) - 1, strlen(path));
		return;
	}
	if (exists && S_ISDIR(st.st_mode)) {
		config_mistake(r, line, s->title, "%s: %s is a folder", key, path);
		return;
	}
	if (exists && console->kind == CONSOLE_UNIX && !S_ISSOCK(st.st_mode)) {
		config_mistake(r, line, s->title, "%s: %s is there and is no socket", key, path);
		return;
	}
	if (exists && console->kind == CONSOLE_FILE && !S_ISREG(st.st_mode)) {
		if (S_ISSOCK(st.st_mode))
			config_mistake(r, line, s->title,
				       "%s: %s is a socket: write unix:PATH for one", key, path);
		return; /* a device or a pipe: not made, not truncated, may be shared */
	}
	if (exists) {
		use.id = id_of(&st);
	} else {
		if (!stat_folder(path, &st, r)) {
			config_mistake(r, line, s->title, "%s: there is no folder for %s", key,
				       path);
			return;
		}
		const char *slash = strrchr(path, '/');
		use.id = id_of(&st);
		use.id.base = slash ? slash + 1 : path;
	}
	const struct use *other = find_conflict(u, &use);
	if (other)
		config_mistake(r, line, s->title, "%s: %s is used by [%s] already (line %u)", key,
			       path, other->title, other->line);
	add_use(b, u, use);
}

void config_check_files(struct config_build *b)
{
	struct lab_config *lab = b->lab;
	struct uses u = { 0 };

	for (unsigned g = 0; g < lab->nr_guests; g++)
		check_boot_files(b, &u, g);
	for (unsigned i = 0; i < lab->nr_disks; i++)
		check_disk(b, &u, i);
	for (unsigned g = 0; g < lab->nr_guests; g++) {
		check_console(b, &u, b->of_guest[g], "console", &lab->guest[g].console);
		check_console(b, &u, b->of_guest[g], "virtio-console",
			      &lab->guest[g].virtio_console);
	}
	free(u.use);
}

/* A line "NAME:   123 kB". 0 if there is none. */
static uint64_t meminfo_bytes(const char *name)
{
	char line[128];
	unsigned long long kib = 0;
	size_t len = strlen(name);
	FILE *f = fopen("/proc/meminfo", "re");

	if (!f)
		return 0;
	while (fgets(line, sizeof(line), f)) {
		if (!strncmp(line, name, len) && line[len] == ':') {
			kib = strtoull(line + len + 1, NULL, 10);
			break;
		}
	}
	fclose(f);
	return KIB(kib);
}

/* Of all sizes; /proc/meminfo knows only the default one. */
static uint64_t free_hugepages_bytes(void)
{
	uint64_t sum = 0;
	DIR *dir = opendir("/sys/kernel/mm/hugepages");

	if (!dir)
		return 0;
	for (struct dirent *d; (d = readdir(dir));) {
		unsigned long long kib, pages;
		char path[512];
		if (sscanf(d->d_name, "hugepages-%llukB", &kib) != 1)
			continue;
		snprintf(path, sizeof(path), "/sys/kernel/mm/hugepages/%s/free_hugepages",
			 d->d_name);
		FILE *f = fopen(path, "re");
		if (!f)
			continue;
		if (fscanf(f, "%llu", &pages) == 1)
			sum += KIB(kib) * pages;
		fclose(f);
	}
	closedir(dir);
	return sum;
}

uint64_t config_host_memory_bytes(void)
{
	uint64_t available = meminfo_bytes("MemAvailable");

	/* MemAvailable does not count the pages that are set aside as hugepages. */
	return available ? available + free_hugepages_bytes() : 0;
}
