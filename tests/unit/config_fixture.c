/* See config_fixture.h. */
#include <check.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/unit/config_fixture.h"

static char folder[64];
static int before = -1;

void config_fixture_write(const char *name, const void *data, size_t size)
{
	FILE *f = fopen(name, "we");
	ck_assert_ptr_nonnull(f);
	ck_assert_uint_eq(fwrite(data, 1, size, f), size);
	ck_assert_int_eq(fclose(f), 0);
}

void config_fixture_setup(void)
{
	static const char *const files[] = { "k", "k2", "i", "m", "d", "e", "sub/k" };

	before = open(".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	ck_assert_int_ge(before, 0);
	strcpy(folder, "/tmp/xvmm-config-XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(folder));
	ck_assert_int_eq(chdir(folder), 0);
	ck_assert_int_eq(mkdir("sub", 0777), 0);
	for (unsigned i = 0; i < ARRAY_SIZE(files); i++) {
		config_fixture_write(files[i], "x", 1);
		ck_assert_int_eq(truncate(files[i], 4096), 0);
	}
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	return remove(path);
}

void config_fixture_teardown(void)
{
	ck_assert_int_eq(fchdir(before), 0);
	close(before);
	ck_assert_int_eq(nftw(folder, remove_one, 16, FTW_DEPTH | FTW_PHYS), 0);
}

int config_fixture_load(const char *text, size_t size, uint64_t host_memory_bytes,
			struct lab_config *lab, char **printed)
{
	size_t printed_size;
	FILE *err = open_memstream(printed, &printed_size);

	ck_assert_ptr_nonnull(err);
	config_fixture_write("vm.ini", text, size);
	int result = config_load("vm.ini", host_memory_bytes, err, lab);
	fclose(err);
	return result;
}

void config_fixture_load_good(const char *text, struct lab_config *lab)
{
	char *printed;

	int result = config_fixture_load(text, strlen(text), 0, lab, &printed);
	ck_assert_str_eq(printed, "");
	ck_assert_int_eq(result, 0);
	free(printed);
}
