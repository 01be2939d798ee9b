/*
 * What the boot protocols have in common; see loader.h. Runs on the thread that creates the
 * machine, before any vCPU.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <string.h>

#include "arch/x86/layout.h"
#include "arch/x86/loader.h"

#define PAGE_BYTES 4096

int loader_refuse(struct loader *l, int err, const char *fmt, ...)
{
	va_list ap;
	int n = snprintf(l->why, l->why_bytes, "%s: ", l->boot->kernel);

	if (n < 0 || (size_t)n >= l->why_bytes)
		return err;
	va_start(ap, fmt);
	vsnprintf(l->why + n, l->why_bytes - (size_t)n, fmt, ap);
	va_end(ap);
	return err;
}

int loader_init(struct loader *l, const struct gmem *mem, const struct arch_boot *boot,
		struct arch_entry *entry, char *why, size_t why_bytes)
{
	*l = (struct loader){
		.mem = mem,
		.boot = boot,
		.entry = entry,
		.why = why,
		.why_bytes = why_bytes,
		.kernel = { .fd = -1 },
		.info_next = X86_INFO_BASE,
	};
	if (why_bytes)
		why[0] = '\0';
	*entry = (struct arch_entry){ .gdt = X86_GDT };

	if (mem->nr_regions == 0 || mem->region[0].base != 0 ||
	    mem->region[0].size_bytes < X86_MEM_MIN_BYTES)
		return loader_refuse(l, -E2BIG, "an x86 guest needs at least %d MiB of memory",
				     X86_MEM_MIN_BYTES >> 20);

	/* Neither fails: the areas are distinct and lie below X86_MEM_MIN_BYTES. */
	loader_claim(l, 0, X86_LOADER_END, "the boot loader's own tables");
	loader_claim(l, X86_RESERVED_BASE, X86_RESERVED_END - X86_RESERVED_BASE,
		     "the firmware's area below 1 MiB");

	int err = image_open(&l->kernel, boot->kernel);
	if (err == -ENOEXEC)
		return loader_refuse(l, err, "not a regular file");
	if (err)
		return loader_refuse(l, err, "%s", strerror(-err));
	return 0;
}

void loader_fini(struct loader *l)
{
	image_close(&l->kernel);
}

gpa_t loader_low_end(const struct loader *l)
{
	return l->mem->region[0].base + l->mem->region[0].size_bytes;
}

int loader_no_memory(struct loader *l, gpa_t start, uint64_t len, const char *what)
{
	return loader_refuse(l, -E2BIG,
			     "%s needs %" PRIu64 " KiB of memory at 0x%" PRIx64
			     ", but the guest's memory below 4 GiB ends at 0x%" PRIx64,
			     what, len / 1024 + (len % 1024 != 0), start, loader_low_end(l));
}

int loader_claim(struct loader *l, gpa_t start, uint64_t len, const char *what)
{
	if (len == 0)
		return 0;
	if (!gmem_ptr(l->mem, start, len))
		return loader_no_memory(l, start, len, what);

	gpa_t end = start + len;
	for (unsigned i = 0; i < l->nr_claims; i++) {
		const struct loader_claim *c = &l->claim[i];
		if (start < c->end && c->start < end)
			return loader_refuse(l, -ENOEXEC,
					     "%s at 0x%" PRIx64 "-0x%" PRIx64
					     " overlaps %s at 0x%" PRIx64 "-0x%" PRIx64,
					     what, start, end - 1, c->what, c->start, c->end - 1);
	}
	if (l->nr_claims == LOADER_MAX_CLAIMS)
		return loader_refuse(l, -ENOEXEC, "has too many parts (more than %d)",
				     LOADER_MAX_CLAIMS);
	l->claim[l->nr_claims++] = (struct loader_claim){ start, end, what };
	return 0;
}

/* The lowest page from which on nothing below the hole is taken. */
static gpa_t behind_claims(const struct loader *l)
{
	gpa_t end = X86_RESERVED_END;

	for (unsigned i = 0; i < l->nr_claims; i++) {
		if (l->claim[i].end > end && l->claim[i].end <= loader_low_end(l))
			end = l->claim[i].end;
	}
	return ALIGN_UP(end, PAGE_BYTES);
}

/* The highest page at which len bytes fit between claims and below limit, or 0. */
static gpa_t highest_gap(const struct loader *l, uint64_t len, gpa_t limit)
{
	gpa_t top = limit < loader_low_end(l) ? limit : loader_low_end(l);

	while (top >= X86_RESERVED_END && len <= top - X86_RESERVED_END) {
		gpa_t base = ALIGN_DOWN(top - len, PAGE_BYTES);
		const struct loader_claim *hit = NULL;

		for (unsigned i = 0; i < l->nr_claims && !hit; i++) {
			if (base < l->claim[i].end && l->claim[i].start < base + len)
				hit = &l->claim[i];
		}
		if (!hit)
			return base >= X86_RESERVED_END ? base : 0;
		top = hit->start;
	}
	return 0;
}

static int load_module(struct loader *l, enum loader_place place, gpa_t limit, const char *what,
		       struct loader_module *m)
{
	struct image img;
	gpa_t base;

	int err = image_open(&img, m->path);
	if (err)
		return loader_refuse(l, err, "%s %s: %s", what, m->path,
				     err == -ENOEXEC ? "not a regular file" : strerror(-err));
	if (img.size_bytes == 0) {
		err = loader_refuse(l, -ENOEXEC, "%s %s is empty", what, m->path);
		goto out;
	}
	base = place == LOADER_HIGHEST ? highest_gap(l, img.size_bytes, limit) : behind_claims(l);
	if (base == 0 || base > limit || img.size_bytes > limit - base) {
		err = loader_refuse(l, -E2BIG,
				    "%s %s (%" PRIu64 " KiB) does not fit into the guest's memory "
				    "below 0x%" PRIx64 " beside the kernel",
				    what, m->path, img.size_bytes / 1024, limit);
		goto out;
	}
	err = loader_claim(l, base, img.size_bytes, what);
	if (err)
		goto out;
	err = image_load(&img, 0, l->mem, base, img.size_bytes);
	if (err) {
		err = loader_refuse(l, err, "%s %s: %s", what, m->path, strerror(-err));
		goto out;
	}
	m->base = base;
	m->size_bytes = img.size_bytes;
out:
	image_close(&img);
	return err;
}

int loader_load_modules(struct loader *l, enum loader_place place, gpa_t limit,
			struct loader_module out[LOADER_MAX_MODULES], unsigned *nr)
{
	const struct arch_boot *b = l->boot;
	unsigned n = 0;

	if (limit > loader_low_end(l))
		limit = loader_low_end(l);
	if (b->initrd) {
		out[n] = (struct loader_module){ .path = b->initrd, .args = "" };
		int err = load_module(l, place, limit, "initrd", &out[n++]);
		if (err)
			return err;
	}
	for (unsigned i = 0; i < b->nr_modules && i < ARCH_MAX_MODULES; i++) {
		out[n] = (struct loader_module){
			.path = b->module[i].path,
			.args = b->module[i].args ? b->module[i].args : "",
		};
		int err = load_module(l, place, limit, "module", &out[n++]);
		if (err)
			return err;
	}
	*nr = n;
	return 0;
}

int loader_put(struct loader *l, const void *data, uint64_t len, unsigned align, gpa_t *gpa)
{
	gpa_t at = ALIGN_UP(l->info_next, align);

	if (at > X86_INFO_END || len > X86_INFO_END - at)
		return loader_refuse(
			l, -EINVAL,
			"command line, module names and arguments are longer than %d KiB",
			(X86_INFO_END - X86_INFO_BASE) / 1024);
	int err = gmem_write(l->mem, at, data, len);
	if (err)
		return err;
	l->info_next = at + len;
	*gpa = at;
	return 0;
}

int loader_put_string(struct loader *l, const char *path, const char *args, gpa_t *gpa)
{
	bool has_args = args && args[0];
	gpa_t next;

	int err = loader_put(l, path, strlen(path), 1, gpa);
	if (!err && has_args)
		err = loader_put(l, " ", 1, 1, &next);
	if (!err && has_args)
		err = loader_put(l, args, strlen(args), 1, &next);
	if (!err)
		err = loader_put(l, "", 1, 1, &next);
	return err;
}

int loader_put_cmdline(struct loader *l, uint64_t max_bytes)
{
	const char *cmdline = l->boot->cmdline ? l->boot->cmdline : "";
	uint64_t len = strlen(cmdline);

	if (max_bytes > X86_CMDLINE_END - X86_CMDLINE - 1)
		max_bytes = X86_CMDLINE_END - X86_CMDLINE - 1;
	if (len > max_bytes)
		return loader_refuse(l, -EINVAL,
				     "the command line has %" PRIu64
				     " characters, this kernel takes at most %" PRIu64,
				     len, max_bytes);
	return gmem_write(l->mem, X86_CMDLINE, cmdline, len + 1);
}

/* Identity map of the first 4 GiB in 2 MiB pages. */
static int put_page_tables(struct loader *l)
{
	enum { PRESENT_RW = 0x3, LARGE = 0x80, ENTRIES = 512, TABLES = 6 };
	uint64_t *t = gmem_ptr(l->mem, X86_PAGE_TABLES, TABLES * PAGE_BYTES);

	if (!t)
		return -EFAULT;
	memset(t, 0, TABLES * PAGE_BYTES);
	t[0] = (X86_PAGE_TABLES + PAGE_BYTES) | PRESENT_RW;
	for (unsigned i = 0; i < 4; i++)
		t[ENTRIES + i] = (uint64_t)(X86_PAGE_TABLES + (2 + i) * PAGE_BYTES) | PRESENT_RW;
	for (uint64_t i = 0; i < 4 * ENTRIES; i++)
		t[2 * ENTRIES + i] = i * MIB(2) | LARGE | PRESENT_RW;
	return 0;
}

int loader_put_cpu_tables(struct loader *l, bool long_mode)
{
	/* Flat code (64-bit or 32-bit), flat data, and a TSS at address 0 that no one enters. */
	const uint64_t gdt[X86_GDT_BYTES / 8] = {
		[X86_CODE_SELECTOR / 8] = long_mode ? 0x00AF9B000000FFFF : 0x00CF9B000000FFFF,
		[X86_DATA_SELECTOR / 8] = 0x00CF93000000FFFF,
		[X86_TSS_SELECTOR / 8] = 0x00008B0000000067,
	};

	int err = gmem_write(l->mem, X86_GDT, gdt, sizeof(gdt));
	if (err || !long_mode)
		return err;
	l->entry->page_tables = X86_PAGE_TABLES;
	return put_page_tables(l);
}
