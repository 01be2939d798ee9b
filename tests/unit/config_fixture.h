/*
 * A folder of its own for each test of vm.ini, with files to refer to: k and k2 (kernels), i (an
 * initrd), m (a module), d and e (disks of 4 KiB), sub/ (a folder) with sub/k.
 */
#ifndef TESTS_UNIT_CONFIG_FIXTURE_H
#define TESTS_UNIT_CONFIG_FIXTURE_H

#include <stddef.h>
#include <stdint.h>

#include "vmm/config.h"

/* For tcase_add_checked_fixture(). The working directory is the folder in between. */
void config_fixture_setup(void);
void config_fixture_teardown(void);

/* Writes a file of the folder. */
void config_fixture_write(const char *name, const void *data, size_t size);

/* Writes text to the file "vm.ini" and loads it. The result is config_load()'s; *printed is what it
 * wrote to its error stream, for the caller to free. */
int config_fixture_load(const char *text, size_t size, uint64_t host_memory_bytes,
			struct lab_config *lab, char **printed);

/* Loads text that must be without fault. */
void config_fixture_load_good(const char *text, struct lab_config *lab);

#endif
