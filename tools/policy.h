/*
 * tools/policy.h: what the files of "sallyport policy" share.
 */
#ifndef TOOLS_POLICY_H
#define TOOLS_POLICY_H

#include <gnutls/gnutls.h>
#include <stdbool.h>

#include "../auth/login.h"
#include "../policy/decide.h"
#include "../policy/table.h"
#include "../server/config.h"
#include "../server/book.h"
#include "../server/route.h"

/* A table's text, and the configuration that its names are looked up in. */
struct policy {
	struct config *config;   /* NULL: names are not checked */
	struct login_book *book; /* NULL: no upstream logins */
	struct table_names names;
	struct table_source source; /* text is malloc'd */
	unsigned errors, warnings;
	struct table *table; /* compiled, or NULL */
};

/* path NULL: the table of the configuration.  Errors are told. */
bool policy_load(struct policy *policy, const char *path);
/* Compile into a scratch folder and open; errors are told, dates that are
 * past only warned of. */
bool policy_open(struct policy *policy);
void policy_fini(struct policy *policy);

struct explain {
	const char *direction, *name;
	const char *port; /* or NULL */
	const char *from; /* reverse-path, or NULL */
	const char *ehlo; /* or NULL */
	bool json;
	/* Found when a recipient is asked about. */
	struct way way;
	unsigned held_by; /* line of the routes; 0: none */
};

/* Is it a direction that can be explained? */
bool policy_explains(const char *direction);
/* An exit status.  asked->direction is one of those. */
int policy_explain(struct policy *policy, struct explain *asked);

/* policy_record.c: an array of the records of the relay's book, from the relay
 * or else from its files; or NULL. */
json_t *policy_book_records(const struct config *config, enum book_verb verb,
    struct reason *why);

/* Commands with options of their own; argv[0] is the command's word. */
int policy_probe(int argc, char **argv);
int policy_audit(int argc, char **argv);
int policy_import(int argc, char **argv);
int policy_rehearsal(int argc, char **argv);
int policy_ratchet(int argc, char **argv);

#endif
