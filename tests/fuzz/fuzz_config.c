/*
 * libFuzzer target: any bytes as a vm.ini. No input may crash, leak or hang the reader; one that is
 * refused must say why, and one that is accepted must be consistent.
 *
 *   clang -g -O1 -std=c11 -D_GNU_SOURCE -fsanitize=fuzzer,address,undefined -I. \
 *         tests/fuzz/fuzz_config.c vmm/config*.c -linih -o build/fuzz_config
 *   build/fuzz_config -max_total_time=60 -dict=tests/fuzz/config.dict
 */
#include <errno.h>
#include <stdlib.h>

#include "vmm/config_internal.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define require(condition)        \
	do {                      \
		if (!(condition)) \
			abort();  \
	} while (0)

static void check_accepted(const struct lab_config *c)
{
	require(c->name && c->nr_guests);
	for (unsigned i = 0; i < c->nr_guests; i++) {
		const struct guest_config *g = &c->guest[i];
		require(config_valid_name(g->name) && g->kernel && g->cmdline && g->domain);
		require(g->memory_bytes >= CONFIG_MEMORY_MIN && g->memory_bytes % MIB(1) == 0);
		require(g->cpus >= 1 && g->cpus <= CONFIG_MAX_CPUS);
	}
	for (unsigned i = 0; i < c->nr_nics; i++) {
		const struct nic_config *nic = &c->nic[i];
		require(nic->guest < c->nr_guests && nic->net < c->nr_nets);
		require(config_valid_name(nic->name) && !(nic->mac[0] & 1));
		require(nic->peer < (int)c->nr_nics && nic->peer != (int)i);
		require(nic->peer < 0 || c->nic[nic->peer].peer == (int)i);
		require(nic->peer < 0 || c->nic[nic->peer].net == nic->net);
	}
	for (unsigned i = 0; i < c->nr_disks; i++)
		require(c->disk[i].guest < c->nr_guests && c->disk[i].path && c->disk[i].id);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct lab_config lab;
	char *printed = NULL;
	size_t printed_size;

	if (!size)
		return 0;
	FILE *in = fmemopen((void *)(uintptr_t)data, size, "r");
	FILE *err = open_memstream(&printed, &printed_size);
	require(in && err);
	int result = config_load_stream(in, "fuzz.ini", GIB(8), err, &lab);
	fclose(err);
	fclose(in);
	require(result == 0 || result == -EINVAL);
	require((result == 0) == (printed_size == 0));
	if (!result)
		check_accepted(&lab);
	config_free(&lab);
	free(printed);
	return 0;
}
