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

/* How the message itself crosses. */
enum data_way {
	DATA_DOTS,   /* DATA, dot-stuffed */
	DATA_CHUNK,  /* BDAT LAST, once RCPT has been answered */
	DATA_FLIGHT, /* BDAT LAST in one flight with what is before it */
};

/*
 * Commands are numbered: 0 is MAIL, 1 to count the recipients in order[],
 * count + 1 DATA, or with DATA_FLIGHT BDAT, and then count + 2 RSET.
 */
struct transaction {
	struct upstream *up;
	struct delivery *delivery;
	struct delivery_recipient **order;
	bool *accepted; /* by number - 1 */
	size_t count, accepted_count, refused_count;
	enum data_way way;
	size_t chunk_len;  /* DATA_FLIGHT: the message, in up->in */
	bool crlf_missing; /* the message lacks its last one */
	bool mail_answered, mail_ok;
	bool data_sent;                   /* as a whole */
	bool data_answered;               /* with data_reply */
	struct upstream_reply data_reply; /* to DATA, or DATA_FLIGHT's BDAT */
	unsigned reset_code;              /* DATA_FLIGHT's, 0: no reply */
	bool service_closing;             /* a 421 was read */
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

/* The connection broke: whoever has no answer yet is tried again; if it is out
 * of step (REASON_PROTOCOL) whose answers they were is not known, and all are.
 */
void outcome_broken(struct transaction *t);
/* The same after the whole message was sent: it may have been taken, and is
 * counted and logged. */
void outcome_in_doubt(struct transaction *t);

/* The reply to the end of the message, for all accepted recipients. */
void outcome_of_data(struct transaction *t, const struct upstream_reply *reply);

/* Every reply but 354 is 2xx, 4xx or 5xx; with any other we are out of step
 * with the server, and the next one would be taken for something else's: then
 * the connection is dead.  good: a code, or a class. */
bool outcome_is_expected(struct transaction *t,
    const struct upstream_reply *reply, unsigned good);

/* --- server/upstream_command.c --- */

/* Can this path stand between angle brackets, beyond ASCII where the message
 * has SMTPUTF8?  The spool held it, but a command line is not where to find out
 * that it was damaged. */
bool command_path_fits(const char *path, const struct envelope *envelope);
/* The command of that number, with CRLF; its length. */
size_t command_make(const struct transaction *t, size_t number,
    char out[static COMMAND_OCTETS_MAX]);

/* --- server/upstream_flight.c --- */

/* MAIL to DATA; with DATA_FLIGHT to RSET, with DATA_CHUNK to the last RCPT.
 * False if the connection broke or is being closed. */
bool flight_run(struct transaction *t);

/* --- server/upstream_chunk.c --- */

/*
 * Would a server that takes these octets of a message for commands read MAIL or
 * RCPT in them?  Some offer CHUNKING and do not skip the octets of a BDAT that
 * they refuse; whoever wrote the message would then speak with our login, or
 * name recipients that nobody has judged.
 */
bool chunk_reads_as_mail(const unsigned char *octets, size_t len);

/* Choose t->way, and for DATA_FLIGHT read the message into up->in.  False with
 * why if the message cannot be read, or sent as it is. */
bool chunk_prepare(struct transaction *t);

/* BDAT's octets: the message, and the CRLF that it may lack. */
uint64_t chunk_size(const struct transaction *t);

/* Does this reply to BDAT say that CHUNKING is not known here? */
bool chunk_is_unknown(const struct upstream_reply *reply);
/* From now on this next hop is spoken to without. */
void chunk_forswear(struct transaction *t, const char *text);

/* --- server/upstream_data.c --- */

/* Up to want octets of the spooled body.  False: REASON_DAMAGED, or errno's. */
bool data_read(struct transaction *t, void *to, uint64_t at, size_t want,
    size_t *got_out);
/* By why the message cannot be read, or sent as it is. */
void data_unfit(struct transaction *t, bool accepted_only);

/* After 354, or for DATA_CHUNK after RCPT. */
enum mail_end data_run(struct transaction *t);

#endif
