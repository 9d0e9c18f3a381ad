/*
 * server/main.c: sallyportd's command line.
 */
#include <confuse.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <gnutls/gnutls.h>
#include <gsasl.h>
#include <jansson.h>
#include <kclangc.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <unbound.h>
#include <unistd.h>

#include "config.h"
#include "master.h"
#include "prepare.h"
#include "role.h"

enum { EXIT_USAGE = 2 };

static const char standard_path[] = "/etc/sallyport/sallyport.conf";

static void
usage(FILE *to)
{
	fprintf(to,
	    "usage: sallyportd [-c FILE] [-F] [-t] [-V] [--help]\n"
	    "  -c FILE  configuration, else %s\n"
	    "  -F       stay in the foreground and log to stderr\n"
	    "  -t       check the configuration and say what is wrong, and "
	    "where\n"
	    "  -V       print the versions of this program and its libraries\n",
	    standard_path);
}

/* Output that could not be written must not look like an answer: then status
 * is failure. */
static int
finish_output(int status)
{
	if (fflush(stdout) == 0 && !ferror(stdout))
		return status;
	fprintf(stderr, "sallyportd: standard output: %s\n", strerror(errno));
	return EXIT_FAILURE;
}

static void
print_versions(void)
{
	printf("sallyportd %s\n", SALLYPORT_VERSION);
	printf("GnuTLS %s\n", gnutls_check_version(NULL));
	printf("GNU SASL %s\n", gsasl_check_version(NULL));
	printf("Kyoto Cabinet %s\n", KCVERSION);
	printf("libconfuse %s\n", confuse_version);
	printf("libunbound %s\n", ub_version());
	printf("jansson %s\n", JANSSON_VERSION);
	printf("mechanisms");
	for (unsigned bit = 1; bit <= MECHANISM_LOGIN; bit <<= 1)
		if (mechanism_name(bit) != NULL)
			printf(" %s", mechanism_name(bit));
	printf("\n");
}

/* --- a role ------------------------------------------------------------- */

static int
run_role(const char *name)
{
	static int (*const mains[ROLES])(void) = {
		[ROLE_SESSION] = session_main,
		[ROLE_SIGNER] = signer_main,
		[ROLE_AUTH] = auth_main,
		[ROLE_HELPERS] = helpers_main,
		[ROLE_RELAY] = relay_main,
		[ROLE_LOOKUP] = lookup_main,
	};
	enum role role = role_by_name(name);
	char comm[16];
	struct stat st;

	if (role == ROLES || mains[role] == NULL ||
	    fstat(ROLE_MASTER_FD, &st) != 0 || !S_ISSOCK(st.st_mode)) {
		fprintf(stderr, "sallyportd: --role is for the server's own "
				"use\n");
		return EXIT_USAGE;
	}
	snprintf(comm, sizeof(comm), "sally-%s", name);
	prctl(PR_SET_NAME, comm, 0, 0, 0);
	return mains[role]();
}

/* --- -t ----------------------------------------------------------------- */

static void
print_problem(void *context, bool is_error, const char *text)
{
	(void)context;
	fprintf(stderr, "%s%s\n", is_error ? "" : "warning: ", text);
}

/* Modes the server itself would set right at its start are not judged. */
static bool
check_state(const struct config *c)
{
	static const char *const folders[] = { "", "/run/in", "/run/relay",
		"/store", "/helper" };
	bool ok = true;

	for (size_t i = 0; i < sizeof(folders) / sizeof(*folders); i++) {
		char path[PATH_MAX];
		struct stat st;

		snprintf(path, sizeof(path), "%s%s", c->state, folders[i]);
		if (stat(path, &st) != 0) {
			fprintf(stderr, "%s: %s\n", path, strerror(errno));
			ok = false;
		} else if (!S_ISDIR(st.st_mode) ||
			   (st.st_mode & S_IWOTH) != 0) {
			fprintf(stderr,
			    "%s: mode %04o, expected a folder that others "
			    "cannot write\n",
			    path, (unsigned)(st.st_mode & 07777));
			ok = false;
		}
	}
	return ok;
}

static bool
check_users(void)
{
	struct reason why;

	if (geteuid() != 0 || state_check_users(&why))
		return true;
	fprintf(stderr, "sallyportd: %s\n", why.text);
	return false;
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

/* Where it matters. */
static void
print_order(const struct config *c)
{
	const unsigned both = BACKEND_STORE | BACKEND_PAM;

	for (size_t i = 0; i < c->listener_count; i++) {
		const struct config_listener *l = &c->listeners[i];

		if ((l->backends & both) != both ||
		    (l->mechanisms & (MECHANISM_PLAIN | MECHANISM_LOGIN)) == 0)
			continue;
		printf("%s:%u: listener %s: passwords are checked by %s\n",
		    c->path, l->line, l->name,
		    l->pam_first ? "pam, then store" : "store, then pam");
	}
}

static int
check(const char *path)
{
	struct prepare_options options = { .path = path,
		.only_check = true,
		.report = print_problem };
	struct prepared *prepared;
	bool ok;

	occupy_streams();
	if (!prepare(&prepared, &options)) {
		check_users();
		return EXIT_FAILURE;
	}
	ok = check_state(prepared->config);
	ok = check_users() && ok;
	if (ok)
		print_order(prepared->config);
	prepared_free(prepared);
	if (ok)
		printf("%s: good\n", path);
	return finish_output(ok ? EXIT_SUCCESS : EXIT_FAILURE);
}

/* --- background --------------------------------------------------------- */

/* The starting process: its exit status says whether the server is ready. */
static int
wait_ready(int fd)
{
	char octet;
	ssize_t got;

	do
		got = read(fd, &octet, 1);
	while (got < 0 && errno == EINTR);
	return got == 1 ? EXIT_SUCCESS : EXIT_FAILURE;
}

static int
run_background(struct master_options *options)
{
	int ready[2];
	pid_t pid;

	if (pipe2(ready, O_CLOEXEC) != 0 || (pid = fork()) < 0) {
		perror("sallyportd");
		return EXIT_FAILURE;
	}
	if (pid > 0) {
		close(ready[1]);
		return wait_ready(ready[0]);
	}
	close(ready[0]);
	setsid();
	if (chdir("/") != 0)
		return EXIT_FAILURE;
	options->ready_fd = ready[1];
	return master_main(options);
}

static int
run_server(const char *path, bool foreground)
{
	char absolute[PATH_MAX];
	struct master_options options = { .conf_path = absolute,
		.foreground = foreground,
		.ready_fd = -1 };

	if (realpath(path, absolute) == NULL) {
		fprintf(stderr, "sallyportd: %s: %s\n", path, strerror(errno));
		return EXIT_FAILURE;
	}
	if (!foreground)
		return run_background(&options);
	return master_main(&options);
}

int
main(int argc, char **argv)
{
	static const struct option longs[] = {
		{ "help", no_argument, NULL, 'h' },
		{ "version", no_argument, NULL, 'V' },
		{ "role", required_argument, NULL, 'r' },
		{ NULL, 0, NULL, 0 },
	};
	const char *path = standard_path, *role = NULL;
	bool foreground = false, only_check = false;
	int c;

	while ((c = getopt_long(argc, argv, "c:FtV", longs, NULL)) != -1) {
		switch (c) {
		case 'c':
			path = optarg;
			break;
		case 'F':
			foreground = true;
			break;
		case 't':
			only_check = true;
			break;
		case 'V':
			print_versions();
			return finish_output(EXIT_SUCCESS);
		case 'h':
			usage(stdout);
			return finish_output(EXIT_SUCCESS);
		case 'r':
			role = optarg;
			break;
		default:
			usage(stderr);
			return EXIT_USAGE;
		}
	}
	if (optind != argc) {
		usage(stderr);
		return EXIT_USAGE;
	}
	if (role != NULL)
		return run_role(role);
	return only_check ? check(path) : run_server(path, foreground);
}
