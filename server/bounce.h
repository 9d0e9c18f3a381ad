/*
 * server/bounce.h: a delivery status notification for mail that failed, is
 * delayed, or was relayed to where nobody will notify (RFC 3464, in the
 * multipart/report of RFC 6522), from the null reverse-path.
 *
 * Of a message with SMTPUTF8 (RFC 6533): if its sender's address needs that
 * extension, so does the notification, which is in UTF-8 throughout.  If not,
 * addresses and what is returned are encoded, so that ASCII suffices and it
 * reaches everyone whom the message could have come from.
 */
#ifndef SERVER_BOUNCE_H
#define SERVER_BOUNCE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "envelope.h"

enum {
	BOUNCE_RECIPIENTS_MAX = 200,   /* told in one notification */
	BOUNCE_HEADER_MAX = 64 * 1024, /* octets of the original's header */
	/* Octets of an original that is returned whole (RET=FULL). */
	BOUNCE_FULL_MAX = 256 * 1024,
};

/* RFC 3464, section 2.3.3: what became of the recipients that are told. */
enum bounce_action {
	BOUNCE_FAILED,
	BOUNCE_DELAYED, /* not yet delivered; it is tried again */
	BOUNCE_RELAYED, /* to a server that does not offer DSN */
};

struct bounce_recipient {
	unsigned index;     /* in original->recipients */
	const char *status; /* enhanced status code, or "" */
	const char *text;   /* remote reply or decision, escaped */
	bool remote;        /* text is a reply of remote_host */
	bool undecided;     /* bounce.decision is not about this one */
};

struct bounce {
	enum bounce_action action;
	const char *hostname; /* ours: Reporting-MTA, From */
	int64_t now_ms;       /* Unix */
	const struct envelope *original;
	/* Head and as much of the body as holds the header; or whole, all of
	 * the message.  What follows the first empty line is used only if it
	 * is whole, was wanted (RET=FULL) and has failed. */
	const void *octets;
	size_t octets_len;
	bool whole;
	int64_t retry_until_ms; /* Unix; delayed: when it is given up; 0: never,
				   or not known */
	const char *remote_host; /* next hop tried last, or "" */
	const char *decision;    /* the decision's line, or "" */
	const struct bounce_recipient *recipients;
	size_t recipient_count; /* at most BOUNCE_RECIPIENTS_MAX */
};

/* "failed", "delayed", "relayed". */
const char *bounce_word(enum bounce_action action);

/* May a notification be sent?  Never about one that has the null reverse-path
 * (RFC 5321, section 6.1). */
bool bounce_is_possible(const struct envelope *original);
/* Is this to be told of the recipient (RFC 3461, section 4.1)?  Where NOTIFY
 * was not given: failures and delays. */
bool bounce_is_wanted(const struct envelope_recipient *recipient,
    enum bounce_action action);

/*
 * Make the notification: its envelope (to be ended with envelope_fini) and its
 * octets (malloc'd; canonical CRLF; not dot-stuffed).  False without memory.
 *
 * Of a message with REQUIRETLS (RFC 8689, section 5) the notification has
 * REQUIRETLS too, as it returns the header.  Where a remote reply does not show
 * that the next hop has kept that promise, the notification would be lost by
 * it: then it returns nothing of the message, and promises nothing.
 */
bool bounce_make(const struct bounce *bounce, struct envelope *envelope_out,
    char **octets_out, size_t *len_out, struct reason *why);

#endif
