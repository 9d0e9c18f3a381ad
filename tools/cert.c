/*
 * tools/cert.c: "sallyport cert": an authority of our own, certificates from
 * it and from others, and what certificates say: the command line.
 */
#include "cert.h"

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../pki/crl.h"
#include "../pki/ledger.h"
#include "acme.h"
#include "tool.h"

int
cert_status_of(bool ok, const struct reason *why)
{
	if (ok)
		return TOOL_DONE;
	tool_error(why);
	return TOOL_NO;
}

int
cert_wrong_usage(const char *text)
{
	fprintf(stderr, "sallyport cert: %s\nTry \"sallyport cert --help\".\n",
	    text);
	return TOOL_USAGE;
}

static int
do_show(const struct cert_arguments *a)
{
	if (a->count != 1)
		return cert_wrong_usage("show: expected one FILE");
	return cert_show(a->words[0], a->options->json);
}

/* Options, by their letters. */
enum {
	OPTION_ALGORITHM = 'a',
	OPTION_CA = 'c',
	OPTION_CLIENT = 'C',
	OPTION_DAYS = 'd',
	OPTION_DIRECTORY = 'u',
	OPTION_DIRECTORY_CA = 'A',
	OPTION_DNS_HOOK = 'H',
	OPTION_DUE = 'D',
	OPTION_EMAIL = 'E',
	OPTION_ENCRYPT = 'e',
	OPTION_EXCLUDE = 'x',
	OPTION_HELP = 'h',
	OPTION_HTTP = 'y',
	OPTION_JSON = 'j',
	OPTION_KEY = 'K',
	OPTION_MUST_STAPLE = 's',
	OPTION_NAME = 'n',
	OPTION_NEW_KEY = 'k',
	OPTION_NEXT = 'N',
	OPTION_OUT = 'o',
	OPTION_PARENT = 'P',
	OPTION_PATH_LENGTH = 'l',
	OPTION_PERMIT = 'p',
	OPTION_PORT = 't',
	OPTION_RELOAD = 'R',
	OPTION_RENEW = 'w',
	OPTION_REQUEST = 'q',
	OPTION_ROLE = 'r',
	OPTION_STDIN = 'i',
	OPTION_TIMEOUT = 'T',
	OPTION_WEBROOT = 'W',
};

static const struct action {
	const char *word;
	int (*run)(const struct cert_arguments *);
	const char *takes; /* options */
	const char *usage, *help;
} actions[] = {
	{ "ca", cert_ca, "ndaelpxPiK",
	    "ca DIR --name CN [--days N] [--algorithm ecdsa|ed25519|rsa] "
	    "[--encrypt]\n        [--key URL] "
	    "[--parent DIR] [--path-length N] [--permit NAME]...\n"
	    "        [--exclude NAME]...",
	    "make an authority, DIR/ca.pem and DIR/ca.key; --encrypt asks for "
	    "a passphrase,\n      --permit and --exclude say what it may "
	    "vouch for: domains, networks, @domain" },
	{ "issue", cert_issue, "rodcaqsiK",
	    "issue NAME... --role server|client|both --out PREFIX [--days N] "
	    "[--ca DIR]\n"
	    "        [--algorithm ecdsa|ed25519|rsa] [--key URL] "
	    "[--must-staple]\n        [--request FILE]",
	    "PREFIX.pem for these DNS names, addresses or mailboxes, signed "
	    "by the authority\n      in DIR (tls beside sallyport.conf); "
	    "PREFIX.key is made, or kept if it is there,\n      unless a "
	    "request brings its key (and names, if none are given)" },
	{ "list", cert_list, "cj", "list [--ca DIR] [--json]",
	    "what the authority has issued and revoked" },
	{ "revoke", cert_revoke, "cdi",
	    "revoke FILE|SERIAL... [--ca DIR] [--days N]",
	    "take certificates back, and make DIR/crl.pem anew" },
	{ "crl", cert_crl, "cdi", "crl [--ca DIR] [--days N]",
	    "make the list of revoked certificates anew, DIR/crl.pem" },
	{ "renew", cert_renew, "cdDkiR",
	    "renew [NAME]... [--due DAYS] [--days N] [--new-key] [--ca DIR] "
	    "[--reload]",
	    "issue those certificates of sallyport.conf again that end "
	    "within DAYS, and the\n      authority's list of revoked ones; "
	    "--new-key takes the next key; --reload has\n      the server "
	    "take what is new" },
	{ "tlsa", cert_tlsa, "tN", "tlsa [NAME]... [--port N]... [--next]",
	    "DANE records of the listeners' certificates, for the present key "
	    "and the next,\n      which --next makes if there is none" },
	{ "request", cert_request, "roakK",
	    "request NAME... --role server|client|both --out PREFIX\n"
	    "        [--algorithm ecdsa|ed25519|rsa] [--key URL] [--new-key]",
	    "PREFIX.csr for another authority; PREFIX.key is made, or kept if "
	    "it is there;\n      --new-key is for the next key" },
	{ "install", cert_install, "oKR",
	    "install FILE [NAME]... --out PREFIX [--key FILE|URL] [--reload]",
	    "put another authority's answer in place as PREFIX.pem, once it "
	    "fits the key\n      (or the one that is given, which becomes "
	    "PREFIX.key) and the names; --reload\n      has the server take "
	    "it" },
	{ "acme", cert_acme, "ouAEyWHCwDkaT",
	    "acme NAME... --out PREFIX --http [ADDRESS:]PORT|--webroot DIR|"
	    "--dns-hook PROGRAM\n"
	    "        [--email A] [--directory URL] [--directory-ca FILE] "
	    "[--new-key]\n"
	    "        [--client uacme|lego|certbot] [--algorithm "
	    "ecdsa|ed25519|rsa]\n"
	    "  acme --renew [NAME]... [--due DAYS] [--new-key] "
	    "[--timeout SECONDS]",
	    "PREFIX.pem for these DNS names, obtained by an ACME client that "
	    "is installed\n      (from Let's Encrypt, unless --directory "
	    "says otherwise); --renew does it again\n      for those of "
	    "sallyport.conf that are due; a running server takes them" },
	{ "export", cert_export, "oni",
	    "export PREFIX --out FILE [--name TEXT]",
	    "PREFIX.pem and PREFIX.key as PKCS#12 for a mail program" },
	{ "show", do_show, "j", "show FILE [--json]",
	    "what the certificates of a PEM file say, and their pins" },
	{ "check", cert_check, "rnKcj",
	    "check [--json]\n"
	    "  check FILE [--role server|client|both] [--name HOST] [--key "
	    "FILE|URL] [--ca DIR]\n"
	    "        [--json]",
	    "what is wrong with the certificates, keys and lists that "
	    "sallyport.conf and the\n      site table name, or with FILE" },
	{ "status", cert_status, "j", "status [--json]",
	    "every certificate in use and how long it lasts; 1 if one is near "
	    "its end" },
};

enum { ACTIONS = sizeof(actions) / sizeof(actions[0]) };

static void
print_help(FILE *to)
{
	fprintf(to, "usage: sallyport [-c FILE] cert COMMAND ...\n\n");
	for (int i = 0; i < ACTIONS; i++)
		fprintf(to, "  %s\n      %s\n", actions[i].usage,
		    actions[i].help);
	fprintf(to,
	    "\nAn authority lasts %d days, a certificate %d, a list of revoked "
	    "ones %d, unless\n--days says otherwise.  A passphrase is asked "
	    "for "
	    "at the terminal, or read from\nstandard input with "
	    "--password-stdin.  URL is the PKCS#11 URL of a key that is in\n"
	    "a token, and stands in the key file instead of one.\n"
	    "Exit status: 0 done, 1 not done or problems found, 2 wrong "
	    "usage.\n",
	    CERT_AUTHORITY_DAYS, CERT_DAYS, CERT_CRL_DAYS);
}

/* --- options ---------------------------------------------------------------
 */

static bool
read_number(const char *word, unsigned least, unsigned most, unsigned *out)
{
	char *end;
	unsigned long number = strtoul(word, &end, 10);

	if (word[0] < '0' || word[0] > '9' || *end != '\0' || number < least ||
	    number > most)
		return false;
	*out = (unsigned)number;
	return true;
}

static bool
add_word(struct cert_words *list, const char *word)
{
	if (list->count == CERT_WORDS_MAX)
		return false;
	list->words[list->count++] = word;
	return true;
}

static bool
add_port(struct cert_words *list, const char *word)
{
	uint16_t port;

	return tool_port(word, &port) && add_word(list, word);
}

/* What is wrong with it; NULL: nothing. */
static const char *
read_value(int letter, const char *word, struct cert_options *options)
{
	switch (letter) {
	case OPTION_ALGORITHM:
		return key_algorithm_parse(word, &options->algorithm)
			   ? NULL
			   : "--algorithm: expected ecdsa, ed25519 or rsa";
	case OPTION_DAYS:
		return read_number(word, 1, ISSUE_DAYS_MAX, &options->days)
			   ? NULL
			   : "--days: expected 1 to 36500";
	case OPTION_TIMEOUT:
		return read_number(word, 1, ACME_TIMEOUT_MAX_S,
			   &options->timeout)
			   ? NULL
			   : "--timeout: expected 1 to 3600";
	case OPTION_DUE:
		options->has_due = true;
		return read_number(word, 0, ISSUE_DAYS_MAX, &options->due)
			   ? NULL
			   : "--due: expected 0 to 36500";
	case OPTION_PATH_LENGTH:
		return read_number(word, 0, PATH_LENGTH_MAX,
			   &options->path_length)
			   ? NULL
			   : "--path-length: expected 0 to 8";
	case OPTION_ROLE:
		options->has_role = authority_role_parse(word, &options->role);
		return options->has_role
			   ? NULL
			   : "--role: expected server, client or both";
	case OPTION_PERMIT:
		return add_word(&options->permitted, word)
			   ? NULL
			   : "--permit: more than 64";
	case OPTION_EXCLUDE:
		return add_word(&options->excluded, word)
			   ? NULL
			   : "--exclude: more than 64";
	case OPTION_PORT:
		return add_port(&options->ports, word)
			   ? NULL
			   : "--port: expected 1 to 65535, up to 64 of them";
	default:
		return "unknown option";
	}
}

/* Where the word of an option that is taken as it is goes. */
static const char **
word_of(int letter, struct cert_options *options)
{
	switch (letter) {
	case OPTION_NAME:
		return &options->name;
	case OPTION_OUT:
		return &options->out;
	case OPTION_CA:
		return &options->authority;
	case OPTION_KEY:
		return &options->key;
	case OPTION_PARENT:
		return &options->parent;
	case OPTION_REQUEST:
		return &options->request;
	case OPTION_DIRECTORY:
		return &options->directory;
	case OPTION_DIRECTORY_CA:
		return &options->directory_ca;
	case OPTION_EMAIL:
		return &options->email;
	case OPTION_HTTP:
		return &options->http;
	case OPTION_WEBROOT:
		return &options->webroot;
	case OPTION_DNS_HOOK:
		return &options->dns_hook;
	case OPTION_CLIENT:
		return &options->client;
	default:
		return NULL;
	}
}

/* Those that are taken as they are; false if it is none of them. */
static bool
take_option(int letter, const char *word, struct cert_options *options)
{
	const char **taken = word_of(letter, options);

	if (taken != NULL) {
		*taken = word;
		return true;
	}
	switch (letter) {
	case OPTION_ENCRYPT:
		return options->encrypt = true;
	case OPTION_STDIN:
		return options->from_stdin = true;
	case OPTION_MUST_STAPLE:
		return options->must_staple = true;
	case OPTION_NEW_KEY:
		return options->new_key = true;
	case OPTION_NEXT:
		return options->next = true;
	case OPTION_RELOAD:
		return options->reload = true;
	case OPTION_RENEW:
		return options->renew = true;
	case OPTION_JSON:
		return options->json = true;
	default:
		return false;
	}
}

static const struct option longs[] = {
	{ "algorithm", required_argument, NULL, OPTION_ALGORITHM },
	{ "ca", required_argument, NULL, OPTION_CA },
	{ "client", required_argument, NULL, OPTION_CLIENT },
	{ "days", required_argument, NULL, OPTION_DAYS },
	{ "directory", required_argument, NULL, OPTION_DIRECTORY },
	{ "directory-ca", required_argument, NULL, OPTION_DIRECTORY_CA },
	{ "dns-hook", required_argument, NULL, OPTION_DNS_HOOK },
	{ "due", required_argument, NULL, OPTION_DUE },
	{ "email", required_argument, NULL, OPTION_EMAIL },
	{ "encrypt", no_argument, NULL, OPTION_ENCRYPT },
	{ "exclude", required_argument, NULL, OPTION_EXCLUDE },
	{ "help", no_argument, NULL, OPTION_HELP },
	{ "http", required_argument, NULL, OPTION_HTTP },
	{ "json", no_argument, NULL, OPTION_JSON },
	{ "key", required_argument, NULL, OPTION_KEY },
	{ "must-staple", no_argument, NULL, OPTION_MUST_STAPLE },
	{ "name", required_argument, NULL, OPTION_NAME },
	{ "new-key", no_argument, NULL, OPTION_NEW_KEY },
	{ "next", no_argument, NULL, OPTION_NEXT },
	{ "out", required_argument, NULL, OPTION_OUT },
	{ "parent", required_argument, NULL, OPTION_PARENT },
	{ "password-stdin", no_argument, NULL, OPTION_STDIN },
	{ "path-length", required_argument, NULL, OPTION_PATH_LENGTH },
	{ "permit", required_argument, NULL, OPTION_PERMIT },
	{ "port", required_argument, NULL, OPTION_PORT },
	{ "reload", no_argument, NULL, OPTION_RELOAD },
	{ "renew", no_argument, NULL, OPTION_RENEW },
	{ "request", required_argument, NULL, OPTION_REQUEST },
	{ "role", required_argument, NULL, OPTION_ROLE },
	{ "timeout", required_argument, NULL, OPTION_TIMEOUT },
	{ "webroot", required_argument, NULL, OPTION_WEBROOT },
	{ NULL, 0, NULL, 0 },
};

enum { GIVEN_SIZE = sizeof(longs) / sizeof(longs[0]) + 1 };

/* TOOL_USAGE after saying what is wrong, TOOL_DONE after the help; -1 to go
 * on.  given gets the letters of the options, each once. */
static int
read_options(int argc, char **argv, struct cert_options *options,
    char given[static GIVEN_SIZE])
{
	size_t count = 0;
	int c;

	optind = 0;
	while ((c = getopt_long(argc, argv, "h", longs, NULL)) != -1) {
		const char *wrong = NULL;

		if (c == OPTION_HELP) {
			print_help(stdout);
			return TOOL_DONE;
		}
		if (c == '?')
			return cert_wrong_usage("unknown option");
		if (strchr(given, c) == NULL)
			given[count++] = (char)c;
		if (!take_option(c, optarg, options))
			wrong = read_value(c, optarg, options);
		if (wrong != NULL)
			return cert_wrong_usage(wrong);
	}
	return -1;
}

int
tool_cert(int argc, char **argv)
{
	struct cert_options options = { .due = CERT_DUE_DAYS,
		.timeout = ACME_TIMEOUT_S };
	struct cert_arguments arguments = { .options = &options };
	char given[GIVEN_SIZE] = "";
	int status = read_options(argc, argv, &options, given);

	if (status >= 0)
		return status;
	if (optind >= argc) {
		print_help(stderr);
		return TOOL_USAGE;
	}
	arguments.words = argv + optind + 1;
	arguments.count = argc - optind - 1;
	for (int i = 0; i < ACTIONS; i++) {
		if (strcmp(argv[optind], actions[i].word) != 0)
			continue;
		if (given[strspn(given, actions[i].takes)] != '\0')
			return cert_wrong_usage("an option of another command");
		return actions[i].run(&arguments);
	}
	fprintf(stderr, "sallyport cert: unknown command \"%s\"\n",
	    argv[optind]);
	print_help(stderr);
	return TOOL_USAGE;
}
