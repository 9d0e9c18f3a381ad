/*
 * server/upstream_transaction.h: one mail transaction, as the files that carry
 * it out share it.
 */
#ifndef SERVER_UPSTREAM_TRANSACTION_H
#define SERVER_UPSTREAM_TRANSACTION_H

#include "smtp_parse.h"
#include "upstream_internal.h"

enum {
	PATH_OCTETS_MAX = 1024, /* far beyond RFC 5321, 4.5.3.1.3 */
	/* " NOTIFY=SUCCESS,FAILURE,DELAY ORCPT=", or the shorter RET, ENVID */
	DSN_OCTETS_MAX = SMTP_ORCPT_MAX + 64,
	/* "RCPT TO:<" and the parameters of MAIL. */
	COMMAND_OCTETS_MAX = PATH_OCTETS_MAX + 128 + DSN_OCTETS_MAX,
};

/*
 * Commands are numbered: 0 is MAIL, 1 to count the recipients in order[],
 * count + 1 DATA.
 */
struct transaction {
	struct upstream *up;
	struct delivery *delivery;
	struct delivery_recipient **order;
	bool *accepted; /* by number - 1 */
	size_t count, accepted_count;
	bool mail_answered, mail_ok;
	bool data_sent;
	unsigned data_code;
	bool service_closing; /* a 421 was read */
	struct reason why;
};

/* --- server/upstream_outcome.c --- */

void outcome_set(struct delivery_recipient *recipient, enum outcome outcome,
    const char *status, const char *text);

/* best: what a 2xx means.  A refusal for want of our login is ours to mend, and
 * must not bounce anybody's mail (RFC 4954, section 6). */
void outcome_from_reply(struct delivery_recipient *recipient,
    const struct upstream_reply *reply, enum outcome best);

/* For all recipients in order, or all accepted ones. */
void outcome_all(struct transaction *t, bool accepted_only,
    enum outcome outcome, const char *status, const char *text);
void outcome_all_from_reply(struct transaction *t, bool accepted_only,
    const struct upstream_reply *reply, enum outcome best);

/* The connection broke: whoever has no answer yet is tried again. */
void outcome_broken(struct transaction *t);

/* Every reply but 354 is 2xx, 4xx or 5xx; with any other we are out of step
 * with the server, and the next one would be taken for something else's: then
 * the connection is dead.  good: a code, or a class. */
bool outcome_is_expected(struct transaction *t,
    const struct upstream_reply *reply, unsigned good);

/* --- server/upstream_command.c --- */

/* Can this path stand between angle brackets?  The spool held it, but a
 * command line is not where to find out that it was damaged. */
bool command_path_fits(const char *path);
/* The command of that number, with CRLF; its length. */
size_t command_make(const struct transaction *t, size_t number,
    char out[static COMMAND_OCTETS_MAX]);

/* --- server/upstream_flight.c --- */

/* MAIL to DATA.  False if the connection broke or is being closed. */
bool flight_run(struct transaction *t);

/* --- server/upstream_data.c --- */

/* After 354.  False if the connection cannot be used any more. */
bool data_run(struct transaction *t);

#endif
