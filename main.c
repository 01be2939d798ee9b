/*
 * The command line: sub-commands, nothing else. The only place that ends the process.
 */
#include <errno.h>
#include <getopt.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "vmm/client.h"
#include "vmm/config.h"
#include "vmm/doctor.h"
#include "vmm/lab.h"

static const char usage_text[] =
	"usage: xvmm COMMAND [OPTION]… [FILE]\n"
	"\n"
	"  run [-q|-v] FILE    run the guests of a vm.ini until the last one has ended\n"
	"  check FILE          say what is wrong with a vm.ini; start nothing\n"
	"  stat [--json] [LAB] show guests, NICs and counters of a running lab\n"
	"  events [--follow] [--json] [LAB]\n"
	"                      show the changes of its bindings\n"
	"  swap [LAB] NIC uplink|direct|mapped|auto\n"
	"                      bind what a NIC transmits by hand, or let the detector decide\n"
	"  doctor [--quiet]    say what this host can do, and how to mend what it can't\n"
	"  version             say which xvmm this is\n"
	"  help                this text\n"
	"\n"
	"Exit status of run: 0 all guests ended in good order; 1 the host failed; 2 the vm.ini is\n"
	"wrong; 3 rights are missing; 4 a guest crashed or had to be killed; a guest that ends\n"
	"through the debug-exit port gives its own (value * 2 + 1). stat, events and swap: 0 or "
	"1.\n"
	"LAB is the name of a lab or the path of its socket; it can be left out if only one "
	"runs.\n";

static int usage_error(const char *what, const char *arg)
{
	fprintf(stderr, "xvmm: %s%s%s; see xvmm help\n", what, arg ? ": " : "", arg ? arg : "");
	return LAB_BAD_CONFIG;
}

/* The one operand of a sub-command. */
static const char *operand(int argc, char **argv)
{
	return optind == argc - 1 ? argv[optind] : NULL;
}

static int load(const char *path, struct lab_config *cfg)
{
	int rc = config_load(path, config_host_memory_bytes(), stderr, cfg);

	if (rc == -ENOMEM)
		log_error(NULL, "out of memory");
	return rc;
}

static int cmd_run(int argc, char **argv)
{
	static const struct option options[] = {
		{ "quiet", no_argument, NULL, 'q' },
		{ "verbose", no_argument, NULL, 'v' },
		{ NULL, 0, NULL, 0 },
	};
	struct lab_config cfg;
	const char *path;
	int opt, status;

	while ((opt = getopt_long(argc, argv, "qv", options, NULL)) != -1) {
		switch (opt) {
		case 'q':
			log_set_level(LOG_WARN);
			break;
		case 'v':
			log_set_level(LOG_DEBUG);
			break;
		default:
			return usage_error("run: unknown option", NULL);
		}
	}
	path = operand(argc, argv);
	if (!path)
		return usage_error("run: needs one FILE", NULL);
	if (load(path, &cfg))
		return LAB_BAD_CONFIG;
	status = lab_run(&cfg);
	config_free(&cfg);
	return status;
}

static int cmd_check(int argc, char **argv)
{
	struct lab_config cfg;
	const char *path;

	if (getopt(argc, argv, "") != -1)
		return usage_error("check: unknown option", NULL);
	path = operand(argc, argv);
	if (!path)
		return usage_error("check: needs one FILE", NULL);
	if (load(path, &cfg))
		return LAB_BAD_CONFIG;
	printf("%s: %u guest%s, %u net%s: good\n", path, cfg.nr_guests,
	       cfg.nr_guests == 1 ? "" : "s", cfg.nr_nets, cfg.nr_nets == 1 ? "" : "s");
	config_free(&cfg);
	return 0;
}

/* [LAB], which may be left out (NULL). False: there is more. */
static bool optional_lab(int argc, char **argv, const char **lab)
{
	*lab = optind < argc ? argv[optind] : NULL;
	return argc - optind <= 1;
}

static int cmd_stat(int argc, char **argv)
{
	static const struct option options[] = {
		{ "json", no_argument, NULL, 'j' },
		{ NULL, 0, NULL, 0 },
	};
	const char *lab;
	bool json = false;
	int opt;

	while ((opt = getopt_long(argc, argv, "j", options, NULL)) != -1) {
		if (opt != 'j')
			return usage_error("stat: unknown option", NULL);
		json = true;
	}
	if (!optional_lab(argc, argv, &lab))
		return usage_error("stat: takes one LAB", NULL);
	return client_stat(lab, json, stdout);
}

static int cmd_events(int argc, char **argv)
{
	static const struct option options[] = {
		{ "follow", no_argument, NULL, 'f' },
		{ "json", no_argument, NULL, 'j' },
		{ NULL, 0, NULL, 0 },
	};
	bool follow = false, json = false;
	const char *lab;
	int opt;

	while ((opt = getopt_long(argc, argv, "fj", options, NULL)) != -1) {
		switch (opt) {
		case 'f':
			follow = true;
			break;
		case 'j':
			json = true;
			break;
		default:
			return usage_error("events: unknown option", NULL);
		}
	}
	if (!optional_lab(argc, argv, &lab))
		return usage_error("events: takes one LAB", NULL);
	return client_events(lab, follow, json, stdout);
}

static int cmd_swap(int argc, char **argv)
{
	const char *lab, *binding;

	if (getopt(argc, argv, "") != -1)
		return usage_error("swap: unknown option", NULL);
	if (argc - optind < 2 || argc - optind > 3)
		return usage_error("swap: needs [LAB] NIC uplink|direct|mapped|auto", NULL);
	lab = argc - optind == 3 ? argv[optind] : NULL;
	binding = argv[argc - 1];
	if (strcmp(binding, "uplink") && strcmp(binding, "direct") && strcmp(binding, "mapped") &&
	    strcmp(binding, "auto"))
		return usage_error("swap: no binding, it can be uplink, direct, mapped or auto",
				   binding);
	return client_swap(lab, argv[argc - 2], binding, stdout);
}

static int cmd_doctor(int argc, char **argv)
{
	static const struct option options[] = {
		{ "quiet", no_argument, NULL, 'q' },
		{ NULL, 0, NULL, 0 },
	};
	bool quiet = false;
	int opt;

	while ((opt = getopt_long(argc, argv, "q", options, NULL)) != -1) {
		if (opt != 'q')
			return usage_error("doctor: unknown option", NULL);
		quiet = true;
	}
	if (optind != argc)
		return usage_error("doctor: takes no FILE", NULL);
	return doctor_run(stdout, quiet);
}

static int cmd_version(int argc, char **argv)
{
	puts("xvmm " XVMM_VERSION);
	return 0;
}

static int cmd_help(int argc, char **argv)
{
	fputs(usage_text, stdout);
	return 0;
}

static const struct {
	const char *name;
	int (*fn)(int argc, char **argv);
} commands[] = {
	{ "run", cmd_run },	    { "check", cmd_check },   { "doctor", cmd_doctor },
	{ "stat", cmd_stat },	    { "events", cmd_events }, { "swap", cmd_swap },
	{ "version", cmd_version }, { "help", cmd_help },     { "--version", cmd_version },
	{ "--help", cmd_help },	    { "-h", cmd_help },
};

int main(int argc, char **argv)
{
	/* Threads allocate next to nothing: an arena for each would only cost memory. */
	mallopt(M_ARENA_MAX, 1);
	if (argc < 2) {
		fputs(usage_text, stderr);
		return LAB_BAD_CONFIG;
	}
	for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++) {
		if (!strcmp(argv[1], commands[i].name))
			return commands[i].fn(argc - 1, argv + 1);
	}
	return usage_error("unknown command", argv[1]);
}
