/*
 * tools/cert_status.h: what the files of "sallyport cert status" share.
 *
 *     cert_status.c        what sallyport.conf and the site table name
 *     cert_status_seen.c   what logins are bound to, and pinned peers
 *     cert_status_print.c  the screen
 *
 * A certificate, list or key in use is one JSON object, as --json prints it:
 *     kind   own, client, authority, peer or list
 *     name   subject, issuer of a list, login or site
 *     use    who uses it, several with ", " between
 *     file   where it lies, if in a file
 *     pin    sha256:HEX, of what is bound or pinned
 *     not_before, not_after  RFC 3339, left out where they are not known
 *     days   whole days left, -1 once it has ended
 *     alarm_days  when so many are left
 *     state  good, near, ended, not-yet, revoked, unreadable, unknown
 *     alarm  is it within its alarm, or worse?
 */
#ifndef TOOLS_CERT_STATUS_H
#define TOOLS_CERT_STATUS_H

#include <jansson.h>
#include <stdint.h>

#include "../policy/table.h"
#include "../server/config.h"

enum cert_kind {
	CERT_OWN,
	CERT_CLIENT,
	CERT_AUTHORITY,
	CERT_PEER,
	CERT_LIST,
	CERT_KINDS
};

const char *cert_kind_word(enum cert_kind kind);

struct cert_status {
	json_t *items;
	const char *folder; /* of the configuration; borrowed */
	int64_t now;
	unsigned alarms; /* how many are within theirs */
	bool failed;     /* something could not be asked; it was told */
};

/* One to be added; NULL and 0 are left out. */
struct cert_item {
	enum cert_kind kind;
	const char *name, *use, *file, *pin;
	int64_t from, until;
	const char *state; /* NULL: by its times */
};
/* The object, which is the status's; NULL without memory. */
json_t *cert_status_add(struct cert_status *status,
    const struct cert_item *item);

/* Logins that are bound to keys, or to names under an authority. */
void cert_status_clients(struct cert_status *status,
    const struct config *config);
/* Rows with pin=. */
void cert_status_peers(struct cert_status *status, const struct config *config,
    const struct table *table);

void cert_status_print(const struct cert_status *status);

#endif
