/*
 * tools/init.c: "sallyport init": a complete working set-up in one folder.
 *
 * sallyport.conf is written last: a folder with one is a set-up and is left
 * alone, and what a failed run has made is taken away again.
 */
#include "init.h"

#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../pki/cert.h"
#include "../pki/key.h"
#include "../pki/pkcs11.h"
#include "../server/config_value.h"
#include "../server/files.h"
#include "tool.h"

static void
usage(FILE *to)
{
	fprintf(to,
	    "usage: sallyport init DIR --hostname NAME\n"
	    "           --smarthost HOST:PORT | srv:DOMAIN\n"
	    "           [--smarthost-ca FILE] [--smarthost-tls "
	    "implicit|starttls]\n"
	    "           [--smarthost-user NAME [--password-stdin]]\n"
	    "           [--cert FILE --key FILE] [--realm DOMAIN]\n"
	    "           [--submission ADDR:PORT]... [--submissions "
	    "ADDR:PORT]...\n"
	    "What is not given is asked for on a terminal.\n");
}

/* --- asking ------------------------------------------------------------- */

static bool
is_terminal(void)
{
	return isatty(STDIN_FILENO) && isatty(STDOUT_FILENO);
}

/* A line from the terminal; standard if it is empty; NULL at its end. */
static const char *
ask(struct wish *w, const char *question, const char *standard)
{
	size_t size = 0;
	char *line = NULL;

	printf("%s%s%s%s: ", question, *standard != '\0' ? " [" : "", standard,
	    *standard != '\0' ? "]" : "");
	fflush(stdout);
	if (getline(&line, &size, stdin) < 0) {
		free(line);
		return NULL;
	}
	line[strcspn(line, "\r\n")] = '\0';
	w->asked[w->asked_count++] = line;
	return *line != '\0' ? line : standard;
}

static void
guess_hostname(char *out, size_t size)
{
	if (gethostname(out, size) != 0 || strchr(out, '.') == NULL ||
	    !value_is_host(out))
		out[0] = '\0';
}

/* What the options did not say. */
static bool
ask_missing(struct wish *w, const char **hostname, const char **smarthost,
    struct reason *why)
{
	char guess[254] = "";

	if (*hostname != NULL && *smarthost != NULL)
		return true;
	if (!is_terminal())
		return fail(why, REASON_SYNTAX, "no %s given, expected %s",
		    *hostname == NULL ? "host name" : "smarthost",
		    *hostname == NULL ? "--hostname NAME"
				      : "--smarthost HOST:PORT");
	if (*hostname == NULL) {
		guess_hostname(guess, sizeof(guess));
		*hostname = ask(w, "Host name that clients connect to", guess);
	}
	if (*smarthost == NULL) {
		*smarthost = ask(w, "Smarthost, HOST:PORT or srv:DOMAIN", "");
		if (*smarthost != NULL && w->user == NULL)
			w->user =
			    ask(w, "Login name there, empty for none", "");
	}
	if (*hostname == NULL || *smarthost == NULL)
		return fail(why, REASON_SYNTAX, "no answer");
	if (w->user != NULL && *w->user == '\0')
		w->user = NULL;
	return true;
}

/* --- checking ----------------------------------------------------------- */

/* Paths go into sallyport.conf in double quotes. */
static bool
check_path(const char *option, const char *path, struct reason *why)
{
	if (path == NULL)
		return true;
	for (const char *p = path; *p != '\0'; p++)
		if ((unsigned char)*p < 0x20 || *p == '"' || *p == '\\' ||
		    *p == 0x7f || (*p == '$' && p[1] == '{'))
			return fail(why, REASON_SYNTAX,
			    "%s: a path without quotes, backslashes and ${ "
			    "is expected",
			    option);
	return true;
}

static bool
set_names(struct wish *w, const char *hostname, const char *realm,
    struct reason *why)
{
	const char *dot;

	if (!value_is_host(hostname))
		return fail(why, REASON_SYNTAX,
		    "--hostname: \"%.100s\", expected a host name", hostname);
	snprintf(w->hostname, sizeof(w->hostname), "%s", hostname);
	dot = strchr(w->hostname, '.');
	if (realm == NULL)
		realm = dot != NULL && strchr(dot + 1, '.') != NULL
			    ? dot + 1
			    : w->hostname;
	if (!value_is_host(realm))
		return fail(why, REASON_SYNTAX,
		    "--realm: \"%.100s\", expected a domain", realm);
	snprintf(w->realm, sizeof(w->realm), "%s", realm);
	return true;
}

static bool
set_smarthost(struct wish *w, const char *smarthost, const char *tls,
    struct reason *why)
{
	bool srv;

	if (!value_next_hop(smarthost, w->smarthost, &w->port, &srv))
		return fail(why, REASON_SYNTAX,
		    "--smarthost: \"%.100s\", expected HOST:PORT, "
		    "[IPV6]:PORT or srv:DOMAIN",
		    smarthost);
	if (srv)
		return tls == NULL ||
		       fail(why, REASON_SYNTAX,
			   "--smarthost-tls beside srv:DOMAIN, expected none: "
			   "the SRV records tell");
	if (tls == NULL)
		w->implicit_tls = w->port == 465;
	else if (strcmp(tls, "implicit") == 0)
		w->implicit_tls = true;
	else if (strcmp(tls, "starttls") != 0)
		return fail(why, REASON_SYNTAX,
		    "--smarthost-tls: \"%.40s\", expected implicit or starttls",
		    tls);
	if (w->port == 0)
		w->port = w->implicit_tls ? 465 : 587;
	return true;
}

static bool
check_addresses(const char *option, const char *const *list, struct reason *why)
{
	struct sockaddr_storage address;
	socklen_t len;

	for (; *list != NULL; list++)
		if (!value_address(*list, &address, &len))
			return fail(why, REASON_SYNTAX,
			    "%s: \"%.80s\", expected ADDRESS:PORT or "
			    "[IPV6]:PORT",
			    option, *list);
	return true;
}

/* What can be told without a look at files. */
static bool
check_words(const struct wish *w, struct reason *why)
{
	if (w->from_stdin && w->user == NULL)
		return fail(why, REASON_SYNTAX,
		    "--password-stdin: no login, expected --smarthost-user "
		    "NAME beside it");
	if ((w->cert == NULL) != (w->key == NULL))
		return fail(why, REASON_SYNTAX,
		    "expected --cert and --key together");
	return check_addresses("--submission", w->submission, why) &&
	       check_addresses("--submissions", w->submissions, why);
}

/* Its URL is absolute as it is. */
static bool
check_token_key(struct wish *w, const char *chain_path, struct reason *why)
{
	struct pki_key key = { 0 };
	gnutls_datum_t chain;
	bool ok;

	if (!files_read(w->cert, &chain, why))
		return false;
	ok = pki_key_read(&key, w->key, NULL, why) &&
	     pki_key_fits(&key, &chain, why);
	pki_key_free(&key);
	files_free(&chain);
	if (ok && w->cert[0] != '/')
		w->cert = chain_path;
	return ok;
}

/* Make both absolute, and see that they belong together. */
static bool
check_own_certificate(struct wish *w, struct reason *why)
{
	static char chain_path[PATH_MAX], key_path[PATH_MAX];
	gnutls_datum_t chain = { NULL, 0 }, key = { NULL, 0 };
	struct reason differ;
	bool ok;

	if (w->cert == NULL)
		return true;
	if (realpath(w->cert, chain_path) == NULL)
		return fail_errno(why, "%s", w->cert);
	if (pkcs11_is_url(w->key))
		return check_token_key(w, chain_path, why);
	if (realpath(w->key, key_path) == NULL)
		return fail_errno(why, "%s", w->key);
	ok = files_read(w->cert, &chain, why) &&
	     files_read_secret(w->key, &key, why);
	if (ok && !cert_matches_key(&chain, &key, &differ))
		ok = fail(why, differ.code, "%s and %s: %s", w->cert, w->key,
		    differ.text);
	files_free(&chain);
	files_wipe(&key);
	/* By the name that was given: behind it a renewal may appear. */
	if (ok && w->cert[0] != '/')
		w->cert = chain_path;
	if (ok && w->key[0] != '/')
		w->key = key_path;
	return ok;
}

static bool
check_wish(struct wish *w, struct reason *why)
{
	return check_path("--smarthost-ca", w->smarthost_ca, why) &&
	       check_path("--cert", w->cert, why) &&
	       check_path("--key", w->key, why) &&
	       check_own_certificate(w, why);
}

/* DIR, made if absent, as an absolute path. */
static bool
set_folder(struct wish *w, const char *dir, struct reason *why)
{
	char path[PATH_MAX];
	bool is_new = mkdir(dir, 0755) == 0;

	if (!is_new && errno != EEXIST)
		return fail_errno(why, "%s", dir);
	if (realpath(dir, w->folder) == NULL)
		return fail_errno(why, "%s", dir);
	if (is_new)
		w->made_folder = true;
	if (!check_path("DIR", w->folder, why) ||
	    !init_path(w, "sallyport.conf", path, why))
		return false;
	if (access(path, F_OK) == 0)
		return fail(why, REASON_EXISTS,
		    "%s exists: this folder has a set-up already", path);
	return true;
}

static bool
get_secret(struct wish *w, struct reason *why)
{
	char prompt[320];

	if (w->user == NULL)
		return true;
	snprintf(prompt, sizeof(prompt),
	    "Password of %.200s at %.80s: ", w->user, w->smarthost);
	return tool_secret(prompt, w->from_stdin, !w->from_stdin, w->secret,
	    sizeof(w->secret), why);
}

static bool
make(struct wish *w, const char *dir, struct reason *why)
{
	return get_secret(w, why) && set_folder(w, dir, why) &&
	       init_users(why) && init_certificates(w, why) &&
	       init_smarthost_ca(w, why) && init_upstream(w, why) &&
	       init_sites(w, why) && init_state(w, why) &&
	       init_configuration(w, why) && init_try_out(w, why);
}

static void
print_done(const struct wish *w)
{
	printf("%s/sallyport.conf is ready.\n", w->folder);
	if (w->cert != NULL)
		printf("  clients see      %s\n", w->cert);
	else
		printf("  clients trust    %s/tls/ca.pem\n", w->folder);
	if (w->port == 0)
		printf("  smarthost        srv:%s, table row \"out lock\"\n",
		    w->smarthost);
	else
		printf(
		    "  smarthost        %s:%u, %s, table row \"out lock\"\n",
		    w->smarthost, w->port,
		    w->implicit_tls ? "implicit TLS" : "STARTTLS");
	printf("  next             sallyport -c %s/sallyport.conf user add "
	       "NAME\n",
	    w->folder);
	printf("                   sallyportd -c %s/sallyport.conf\n",
	    w->folder);
}

/* --- command line ------------------------------------------------------- */

static bool
add_listener(const char **list, const char *address)
{
	for (size_t i = 0; i < ADDRESSES_MOST; i++) {
		if (list[i] != NULL)
			continue;
		list[i] = address;
		return true;
	}
	fprintf(stderr, "sallyport: expected at most %d addresses\n",
	    ADDRESSES_MOST);
	return false;
}

struct words {
	const char *hostname, *realm, *smarthost, *tls, *dir;
	bool help;
};

static bool
read_option(struct wish *w, struct words *o, int c)
{
	switch (c) {
	case 'H':
		o->hostname = optarg;
		return true;
	case 'R':
		o->realm = optarg;
		return true;
	case 's':
		o->smarthost = optarg;
		return true;
	case 't':
		o->tls = optarg;
		return true;
	case 'a':
		w->smarthost_ca = optarg;
		return true;
	case 'u':
		w->user = optarg;
		return true;
	case 'p':
		w->from_stdin = true;
		return true;
	case 'C':
		w->cert = optarg;
		return true;
	case 'K':
		w->key = optarg;
		return true;
	case '1':
		return add_listener(w->submission, optarg);
	case '2':
		return add_listener(w->submissions, optarg);
	case 'h':
		o->help = true;
		return true;
	default:
		return false;
	}
}

static bool
read_words(struct wish *w, struct words *o, int argc, char **argv)
{
	static const struct option longs[] = {
		{ "hostname", required_argument, NULL, 'H' },
		{ "realm", required_argument, NULL, 'R' },
		{ "smarthost", required_argument, NULL, 's' },
		{ "smarthost-tls", required_argument, NULL, 't' },
		{ "smarthost-ca", required_argument, NULL, 'a' },
		{ "smarthost-user", required_argument, NULL, 'u' },
		{ "password-stdin", no_argument, NULL, 'p' },
		{ "cert", required_argument, NULL, 'C' },
		{ "key", required_argument, NULL, 'K' },
		{ "submission", required_argument, NULL, '1' },
		{ "submissions", required_argument, NULL, '2' },
		{ "help", no_argument, NULL, 'h' },
		{ NULL, 0, NULL, 0 },
	};
	int c;

	while ((c = getopt_long(argc, argv, "", longs, NULL)) != -1)
		if (!read_option(w, o, c))
			return false;
	if (o->help)
		return true;
	if (optind + 1 != argc) {
		fprintf(stderr, "sallyport: init: %d folders, expected one\n",
		    argc - optind);
		return false;
	}
	o->dir = argv[optind];
	return true;
}

static void
set_standard_addresses(struct wish *w)
{
	if (w->submission[0] == NULL) {
		w->submission[0] = "0.0.0.0:587";
		w->submission[1] = "[::]:587";
	}
	if (w->submissions[0] == NULL) {
		w->submissions[0] = "0.0.0.0:465";
		w->submissions[1] = "[::]:465";
	}
}

static int
init(struct wish *w, struct words *o)
{
	struct reason why;

	set_standard_addresses(w);
	if (!ask_missing(w, &o->hostname, &o->smarthost, &why) ||
	    !set_names(w, o->hostname, o->realm, &why) ||
	    !set_smarthost(w, o->smarthost, o->tls, &why) ||
	    !check_words(w, &why)) {
		tool_error(&why);
		return TOOL_USAGE;
	}
	if (!check_wish(w, &why) || !make(w, o->dir, &why)) {
		init_take_back(w);
		tool_error(&why);
		return TOOL_NO;
	}
	print_done(w);
	return TOOL_DONE;
}

int
tool_init(int argc, char **argv)
{
	struct wish *w = calloc(1, sizeof(*w));
	struct words o = { 0 };
	int rc;

	if (w == NULL) {
		fprintf(stderr, "sallyport: out of memory\n");
		return TOOL_NO;
	}
	umask(022);
	if (!read_words(w, &o, argc, argv)) {
		usage(stderr);
		rc = TOOL_USAGE;
	} else if (o.help) {
		usage(stdout);
		rc = TOOL_DONE;
	} else {
		rc = init(w, &o);
	}
	for (size_t i = 0; i < w->asked_count; i++)
		free(w->asked[i]);
	explicit_bzero(w->secret, sizeof(w->secret));
	free(w);
	return rc;
}
