/*
 * tools/main.c: sallyport's command line: which tool, which configuration.
 */
#include <fcntl.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "acme.h"
#include "tool.h"

static const struct command {
	const char *name;
	int (*run)(int argc, char **argv);
	const char *words, *help;
} commands[] = {
	{ "init", tool_init, "DIR", "make a complete set-up" },
	{ "user", tool_user, "add|passwd|list|show|remove ...",
	    "logins in the credential store" },
	{ "device", tool_device, "enrol|list|show|sent|revoke ...",
	    "logins of single devices" },
	{ "policy", tool_policy, "check|build|list|explain ...",
	    "the per-site table" },
	{ "route", tool_route, "check|list|explain ...",
	    "which way mail takes" },
	{ "cert", tool_cert, "ca|issue|show|check ...",
	    "keys and certificates" },
	{ "queue", tool_queue, "list|show|flush|hold|remove ...",
	    "messages on their way" },
	{ "trace", tool_trace, "ID", "a message's story" },
	{ "report", tool_report, "legacy ...", "old ways of logging in" },
	{ "status", tool_status, "[--json]", "the running server" },
};

static void
usage(FILE *to)
{
	fprintf(to, "usage: sallyport [-c FILE] COMMAND ...\n"
		    "       sallyport COMMAND --help\n");
	for (size_t i = 0; i < sizeof(commands) / sizeof(*commands); i++)
		fprintf(to, "  %-7s %-33s %s\n", commands[i].name,
		    commands[i].words, commands[i].help);
	fprintf(to, "  -c FILE  configuration, else %s\n", tool_config_path);
}

static int
run(int argc, char **argv)
{
	for (size_t i = 0; i < sizeof(commands) / sizeof(*commands); i++) {
		if (strcmp(argv[0], commands[i].name) != 0)
			continue;
		optind = 0; /* getopt starts anew with the tool's words */
		return commands[i].run(argc, argv);
	}
	fprintf(stderr, "sallyport: no command \"%s\"\n", argv[0]);
	usage(stderr);
	return TOOL_USAGE;
}

static int
command_line(int argc, char **argv)
{
	static const struct option longs[] = {
		{ "help", no_argument, NULL, 'h' },
		{ "version", no_argument, NULL, 'V' },
		{ NULL, 0, NULL, 0 },
	};
	int c;

	/* "+": options after the command are the command's. */
	while ((c = getopt_long(argc, argv, "+c:hV", longs, NULL)) != -1) {
		switch (c) {
		case 'c':
			tool_config_path = optarg;
			break;
		case 'h':
			usage(stdout);
			return TOOL_DONE;
		case 'V':
			printf("sallyport %s\n", SALLYPORT_VERSION);
			return TOOL_DONE;
		default:
			usage(stderr);
			return TOOL_USAGE;
		}
	}
	if (optind == argc) {
		usage(stderr);
		return TOOL_USAGE;
	}
	return run(argc - optind, argv + optind);
}

/* A file opened later must not get the number of a stream that was closed:
 * what is printed would go into it. */
static void
occupy_streams(void)
{
	int fd;

	do
		fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
	while (fd >= 0 && fd <= STDERR_FILENO);
	if (fd > STDERR_FILENO)
		close(fd);
}

int
main(int argc, char **argv)
{
	const char *name = argc > 0 ? strrchr(argv[0], '/') : NULL;
	int status;

	occupy_streams();
	/* Whoever calls us by that name gives no command. */
	if (name != NULL && strcmp(name + 1, ACME_HOOK_NAME) == 0)
		status = acme_hook(argc, argv);
	else
		status = command_line(argc, argv);
	if (fflush(stdout) == 0 && !ferror(stdout))
		return status;
	fprintf(stderr, "sallyport: standard output could not be written\n");
	return status == TOOL_DONE ? TOOL_NO : status;
}
