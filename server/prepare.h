/*
 * server/prepare.h: reading and checking all files of a configuration.
 *
 * What the master does before a number is given to anybody: sallyport.conf,
 * certificates and keys, the table, upstream logins, anchors.  The result
 * holds what each role needs as a sealed memfd, so that files that change
 * later do not matter.
 */
#ifndef SERVER_PREPARE_H
#define SERVER_PREPARE_H

#include <stdbool.h>
#include <stdint.h>

#include "../policy/reason.h"
#include "../policy/table.h"
#include "config.h"
#include "endings.h"
#include "messages.h"
#include "staple.h"
#include "watch.h"

enum { PREPARED_ALARMS = 16 };

/* Where an upstream login finds its tokens. */
struct token_source {
	char *login;            /* its name */
	const char *command[2]; /* argv; NULL: it is a file */
	char *path;
};

enum { CERTIFICATES_MOST = 64 }; /* the configuration has no more */

/* What was found of one of config's certificates: bits of enum check_word, for
 * a chain of so many and that SHA-256. */
struct prepared_certificate {
	uint32_t found;
	unsigned length;
	unsigned char digest[32];
};

struct prepared {
	struct config *config;
	struct prepared_certificate certificates[CERTIFICATES_MOST];
	struct endings endings; /* of certificates; not with only_check */
	struct staples staples;  /* for certificates of listeners */
	/* To be raised as alarms when it comes into force. */
	char *alarms[PREPARED_ALARMS];
	size_t alarm_count;
	struct token_source *sources;
	size_t source_count;
	char table[80];      /* file name in state/run/tables */
	char routes[80];     /* the same; "": there is none */
	struct table *sites; /* the same, open; NULL with only_check */
	int bundle[ROLES];   /* sealed memfd for each role, -1 for the master */
};

/* Each problem found, with its place; warnings do not make it fail. */
typedef void (*prepare_report)(void *context, bool is_error, const char *text);

struct prepare_options {
	const char *path; /* of sallyport.conf */
	bool only_check;  /* -t: nothing is written */
	bool last_table;  /* start: a table that does not compile is
			     replaced by the last good one */
	/* What is in force, which no certificate may be worse than; NULL. */
	const struct prepared *in_force;
	struct watch_list *files; /* certificates, keys and the like are noted
				     there, even if it fails; NULL: nowhere */
	prepare_report report;
	void *context;
};

/*
 * Read and check everything; all problems go to report, in the order of the
 * configuration.  False if one is an error.  With only_check *prepared_out has
 * no bundles.
 */
bool prepare(struct prepared **prepared_out,
    const struct prepare_options *options);
void prepared_free(struct prepared *prepared);

#endif
