/*
 * Joins JSON objects: one on standard output with all keys of the files named.
 *
 *     bench_merge FILE…
 */
#include <jansson.h>
#include <stdio.h>

int main(int argc, char **argv)
{
	json_t *all = json_object();

	for (int i = 1; i < argc; i++) {
		json_error_t err;
		json_t *o = json_load_file(argv[i], 0, &err);

		if (!o || json_object_update(all, o)) {
			fprintf(stderr, "bench_merge: %s: %s\n", argv[i],
				o ? "no object" : err.text);
			return 1;
		}
		json_decref(o);
	}
	json_dumpf(all, stdout, JSON_INDENT(2) | JSON_REAL_PRECISION(6));
	putchar('\n');
	json_decref(all);
	return 0;
}
