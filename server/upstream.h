/*
 * server/upstream.h: the SMTP client: connections to a next hop.
 *
 * Straight-line blocking calls with deadlines, for the relay's own threads; a
 * connection belongs to one thread.  RFC 5321, 3207, 4954, 2920, 1870, 6152.
 * Not one octet of a message, nor AUTH, leaves before the site table's demand
 * has been judged against what the connection proved.
 */
#ifndef SERVER_UPSTREAM_H
#define SERVER_UPSTREAM_H

#include <stdatomic.h>
#include <stdbool.h>

#include "book.h"
#include "call.h"
#include "queue.h"
#include "relay_config.h"
#include "relay_judge.h"

/* What a relay thread brings along. */
struct upstream_thread {
	unsigned index; /* of its channels */
	struct call *auth, *lookup;
	struct book *book; /* what is remembered of sites */
	/* When waiting must end, by upstream_now_ms; 0: not soon. */
	const atomic_llong *stop_at_ms;
};

/* Why nothing could be sent over a hop; always temporary, for all recipients
 * but those the site table refused. */
struct upstream_failure {
	char status[12]; /* enhanced status code "4.4.1" */
	char text[512];  /* printable ASCII, no secret */
	char remote[64]; /* address tried last, or "" */
	bool loops;      /* the next hop is ourselves: for good */
};

struct upstream;

/*
 * Connect to hop as judgement's demands say, judge, greet, and log in where
 * the row says so.  True if at least one group of the judgement may be served.
 * On false with judgement->made, groups whose decision does not pass are
 * refused by it; everything else is failure's.
 */
bool upstream_open(struct upstream **upstream_out,
    const struct upstream_thread *thread, struct relay_config *config,
    const struct next_hop *hop, struct judgement *judgement,
    struct upstream_failure *failure);

/* May this kept connection serve a message of that judgement: same hop, same
 * configuration, same identity and login, and what it proved, and still holds,
 * passes all demands?  Makes the judgement. */
bool upstream_may_serve(struct upstream *upstream,
    const struct relay_config *config, const struct next_hop *hop,
    struct judgement *judgement);

enum mail_end {
	MAIL_KEEP,        /* the connection can take another transaction */
	MAIL_CLOSE,       /* it must be closed */
	MAIL_REFUSED_HOP, /* 421, a timeout, or a break before the reply to
			     MAIL: the site's trouble, not the message's */
	MAIL_AGAIN, /* recipients without an outcome are to be tried at once,
		       on a fresh connection: this one was kept and broke
		       before the reply to MAIL or has had enough mail, does not
		       know CHUNKING, or has served its number of transactions
		       */
};

/* Mail transactions for the recipients without an outcome whose decision
 * passes: one, or as many as the server takes recipients in.  Fills their
 * outcomes, and delivery->remote. */
enum mail_end upstream_mail(struct upstream *upstream,
    struct delivery *delivery, const struct judgement *judgement);

/* How often, since the process began, a whole message was sent and its reply
 * did not come: each may be a duplicate.  Threads: any. */
unsigned long long upstream_doubt_count(void);

/* Did the last transaction get as far as MAIL: has something of the message
 * crossed? */
bool upstream_said_mail(const struct upstream *upstream);

const struct next_hop *upstream_hop(const struct upstream *upstream);
/* Unfit to be kept: its configuration is retired, it served its number of
 * messages, or was refused too many, or the demand said reuse=no. */
bool upstream_is_spent(const struct upstream *upstream);

/* QUIT, close_notify, close; NULL is fine. */
void upstream_quit(struct upstream *upstream);
/* Close without a word of SMTP; NULL is fine. */
void upstream_close(struct upstream *upstream);

#endif
