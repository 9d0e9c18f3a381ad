/*
 * server/lookup_resolver_internal.h: what the files of the resolver share.
 */
#ifndef SERVER_LOOKUP_RESOLVER_INTERNAL_H
#define SERVER_LOOKUP_RESOLVER_INTERNAL_H

#include <unbound.h>

#include "lookup_resolver.h"

struct resolver {
	struct ub_ctx *plain;  /* addresses */
	struct ub_ctx *strict; /* what DNSSEC has to prove; NULL: no anchor */
	int epoll;             /* both have an answer to take */
};

/* What can be open at libunbound for one question. */
enum {
	ASK_SIX,
	ASK_FOUR,
	ASK_ALIAS,
	ASK_TLSA,
	ASK_SUBMISSIONS,
	ASK_SUBMISSION,
	ASKS
};

struct resolver_question {
	struct ub_ctx *ub;
	struct ub_ctx *plain; /* the resolver's */
	void (*done)(void *context, const struct resolver_answer *answer);
	void (*done_tlsa)(void *context, const struct tlsa_answer *answer);
	void (*done_srv)(void *context, const struct srv_answer *answer);
	void *context;
	int id[ASKS];
	bool open[ASKS];
	bool trouble, insecure;
	bool asking;               /* what asks has not returned: do not free */
	char why[REASON_TEXT_MAX]; /* of the first trouble */
	struct resolver_answer answer;
	char host[RESOLVER_HOST_MAX + 1]; /* as asked */

	/* For TLSA. */
	char base[RESOLVER_HOST_MAX + 1]; /* being asked */
	uint16_t port;
	struct tlsa_answer *tlsa;

	/* For SRV. */
	struct srv_answer *srv;
};

/* The first one counts.  Names in it may be a stranger's. */
void question_note_trouble(struct resolver_question *question,
    const char *what);

/* False if there is nothing to take from result; trouble is noted. */
bool question_is_answer(struct resolver_question *question, int rc,
    const struct ub_result *result);

/* One of libunbound's; where it cannot be asked trouble is noted, and nothing
 * is open. */
void dns_ask(struct resolver_question *question, const char *name,
    int type, int which, ub_callback_type callback);

#endif
