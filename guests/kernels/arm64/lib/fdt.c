/* The device tree, as far as a tiny guest needs it; see machine.h. Source: Devicetree Specification
 * 0.4, chapter 5. */
#include "lib/guest.h"

#define FDT_MAGIC 0xd00dfeed
#define MAX_PATH  128

enum { BEGIN_NODE = 1, END_NODE = 2, PROP = 3, NOP = 4 };

static const uint8_t *tree;

static uint32_t be32(const void *p)
{
	uint32_t v;

	memcpy(&v, p, 4);
	return __builtin_bswap32(v);
}

uint64_t fdt_number(const void *value, uint32_t bytes)
{
	CHECK(bytes == 4 || bytes == 8, "a number of %u bytes in the device tree", bytes);
	if (bytes == 4)
		return be32(value);
	return (uint64_t)be32(value) << 32 | be32((const uint8_t *)value + 4);
}

void fdt_set(const void *fdt)
{
	tree = fdt;
	CHECK(be32(tree) == FDT_MAGIC, "no device tree at %p", (void *)(uintptr_t)fdt);
}

const char *fdt_end(void)
{
	return (const char *)tree + be32(tree + 4);
}

/* Appends "/name" without the unit address. */
static size_t descend(char *path, size_t len, const char *name)
{
	if (!*name) /* the root */
		return len;
	CHECK(len + strlen(name) + 2 < MAX_PATH, "device tree is too deep");
	path[len++] = '/';
	for (; *name && *name != '@'; name++)
		path[len++] = *name;
	path[len] = '\0';
	return len;
}

const void *fdt_property(const char *path, unsigned index, const char *name, uint32_t *bytes)
{
	const uint8_t *p = tree + be32(tree + 8);
	const char *strings = (const char *)tree + be32(tree + 12);
	char at[MAX_PATH] = "";
	size_t len = 0;
	bool here = false;

	for (;;) {
		uint32_t token = be32(p);

		p += 4;
		if (token == BEGIN_NODE) {
			const char *node = (const char *)p;

			len = descend(at, len, node);
			here = !strcmp(at, path) && !index--;
			p += (strlen(node) + 4) & ~3ull;
		} else if (token == END_NODE) {
			while (len && at[len] != '/')
				len--;
			at[len] = '\0';
			here = false;
		} else if (token == PROP) {
			const char *prop = strings + be32(p + 4);

			*bytes = be32(p);
			if (here && !strcmp(prop, name))
				return p + 8;
			p += 8 + ((*bytes + 3) & ~3u);
		} else if (token != NOP) {
			return NULL;
		}
	}
}
