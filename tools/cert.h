/*
 * tools/cert.h: what the files of "sallyport cert" share.
 *
 *     cert.c            the command line
 *     cert_authority.c  ca, issue, list, revoke, crl
 *     cert_request.c    request, export
 *     cert_install.c    install
 *     cert_server.c     the reload after it
 *     cert_renew.c      renew, tlsa
 *     cert_acme.c       acme (with acme.h)
 *     cert_show.c       show
 *     cert_check.c      check
 *     cert_status.c     status (see cert_status.h)
 */
#ifndef TOOLS_CERT_H
#define TOOLS_CERT_H

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <time.h>

#include "../pki/authority.h"
#include "../policy/reason.h"
#include "../server/config.h"

enum {
	CERT_TIME_SIZE = 32,
	CERT_WORDS_MAX = 64, /* of one option that may be repeated */
	CERT_DAYS = 825,     /* more is refused by some mail clients */
	CERT_AUTHORITY_DAYS = 3650,
	CERT_CRL_DAYS = 30,
	CERT_DUE_DAYS = 30,
};

/* What an option said that may be given again and again. */
struct cert_words {
	const char *words[CERT_WORDS_MAX];
	size_t count;
};

struct cert_options {
	const char *name, *out, *authority, *parent, *key, *request;
	/* acme */
	const char *directory, *directory_ca, *email, *client;
	const char *http, *webroot, *dns_hook;
	unsigned timeout; /* seconds */
	bool renew, has_due;
	unsigned days; /* 0: not given */
	unsigned due;
	unsigned path_length;
	enum authority_role role;
	enum key_algorithm algorithm;
	bool has_role, json, encrypt, from_stdin, must_staple, new_key, next;
	bool reload;
	struct cert_words permitted, excluded, ports;
};

struct cert_arguments {
	char **words;
	int count;
	const struct cert_options *options;
};

/* Each does one command and returns an exit status. */
int cert_ca(const struct cert_arguments *a);
int cert_issue(const struct cert_arguments *a);
int cert_list(const struct cert_arguments *a);
int cert_revoke(const struct cert_arguments *a);
int cert_crl(const struct cert_arguments *a);
int cert_request(const struct cert_arguments *a);
int cert_install(const struct cert_arguments *a);
int cert_export(const struct cert_arguments *a);
int cert_renew(const struct cert_arguments *a);
int cert_tlsa(const struct cert_arguments *a);
int cert_check(const struct cert_arguments *a);
int cert_acme(const struct cert_arguments *a);
int cert_status(const struct cert_arguments *a);

/* cert.c: says it, TOOL_USAGE. */
int cert_wrong_usage(const char *text);
/* TOOL_DONE, or TOOL_NO after why was said. */
int cert_status_of(bool ok, const struct reason *why);

/* cert_authority.c */

/* --ca DIR, else the folder tls beside the configuration; opened. */
bool cert_authority_folder(const struct cert_options *options,
    char out[static PATH_MAX], struct reason *why);
bool cert_authority_open(const struct cert_options *options,
    struct authority **out, struct reason *why);
/* PREFIX.pem and the like; false if that is too long. */
bool cert_path(char out[static PATH_MAX], const char *prefix,
    const char *ending, struct reason *why);

/* cert_install.c */

/* Are these two names of one file? */
bool cert_is_same_file(const char *a, const char *b);

/* What came from another authority. */
struct cert_answer {
	const char *from; /* file of it, for messages; NULL: no file */
	const gnutls_datum_t *pem; /* certificates in any order */
	const char *key; /* file of its key; NULL: that of prefix, or the next
			  */
	const char *const *names; /* it has to be for these DNS names */
	size_t name_count;
	/* It is for those of the one that is there, if none are given, and for
	 * what the configuration uses that for. */
	bool is_replacement;
};

/*
 * Check it, and put it in place as PREFIX.pem and, if it brings a key,
 * PREFIX.key: each written aside, synced and renamed; then have the server of
 * config read its files anew (NULL: not; that none is running is no failure).
 * If anything is wrong, or the server refuses it, all is as it was.
 */
bool cert_put(const struct cert_answer *answer, const char *prefix,
    const struct config *config, struct reason *why);

/* cert_server.c */

enum cert_taken {
	CERT_TAKEN,
	CERT_NO_SERVER, /* none is running */
	CERT_REFUSED,   /* why: in its words; what it had stays in force */
	CERT_UNKNOWN,   /* why: it did not answer */
};

/* Have the server of config read its files anew; the first two are said on
 * stdout. */
enum cert_taken cert_have_taken(const struct config *config,
    struct reason *why);
/* Does the server take its files as they are?  False if it refuses them: it
 * would refuse whatever is put in place. */
bool cert_server_is_well(const struct config *config, struct reason *why);

/* cert_acme.c: PREFIX of a certificate that it has obtained; false: it has
 * not. */
bool cert_acme_prefix(const struct config_certificate *certificate,
    char out[static PATH_MAX]);

/* RFC 3339, UTC. */
void cert_print_time(char out[static CERT_TIME_SIZE], time_t when);

/* Describe all certificates of a PEM file on stdout; an exit status. */
int cert_show(const char *path, bool json);

#endif
