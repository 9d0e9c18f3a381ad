/*
 * server/queue_filter.h: which messages of the queue are meant: the same
 * filters for every verb of "sallyport queue", and the request they travel in.
 *
 * Pure: knows no queue.  Threads: any.
 */
#ifndef SERVER_QUEUE_FILTER_H
#define SERVER_QUEUE_FILTER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "../policy/reason.h"
#include "envelope.h"
#include "route.h"
#include "wire.h"

/* What a message is, as lists tell it; bits of queue_filter.states. */
enum queue_state {
	QUEUE_QUEUED = 1,   /* not tried yet */
	QUEUE_DEFERRED = 2, /* tried, and waits */
	QUEUE_ACTIVE = 4,   /* a worker has some of it */
	QUEUE_HELD = 8,     /* until an operator releases it */
	QUEUE_DONE = 16,    /* TRACE alone: nothing is left, but it is known */
};

enum {
	QUEUE_STATES = 15,       /* all that one can ask for */
	QUEUE_FILTER_PATH = 321, /* RFC 5321, section 4.5.3.1: 64 + @ + 255 */
	QUEUE_FILTER_REASON = 128,
	QUEUE_STATUS_SIZE = 12,
	QUEUE_TEXT_SIZE = 201,
	QUEUE_REQUEST_MAX = 2048, /* octets of an encoded request */
};

/* All that is given has to hold; "" and 0 are not given. */
struct queue_filter {
	char id[QUEUE_ID_SIZE];
	/* The login who submitted it; a person's devices are hers. */
	char user[QUEUE_FILTER_PATH];
	/* A next hop or its host, or the domain of a recipient, that has
	 * something left; .suffix: of one under it. */
	char site[256];
	/* The reverse-path, @domain, or <>. */
	char sender[QUEUE_FILTER_PATH];
	/* "4.7": said last with a status that begins so; else a part of what
	 * was said last, in any case. */
	char reason[QUEUE_FILTER_REASON];
	unsigned states;          /* any of these */
	int64_t older_s, newer_s; /* at least, at most so long ago */
};

enum queue_verb {
	QUEUE_LIST = 1,
	QUEUE_SHOW,
	QUEUE_SUMMARY,
	QUEUE_FLUSH,
	QUEUE_HOLD,
	QUEUE_RELEASE,
	QUEUE_REMOVE,
	QUEUE_BOUNCE,
	QUEUE_TRACE, /* SHOW without the header, and of what is done */
};

struct queue_request {
	enum queue_verb verb;
	bool all;  /* an empty filter is meant */
	bool body; /* SHOW: the body too */
	struct queue_filter filter;
	char status[QUEUE_STATUS_SIZE]; /* BOUNCE: "5.x.y", or "" */
	char text[QUEUE_TEXT_SIZE];     /* BOUNCE: why; printable, or "" */
};

/* Of the words of lists; 0: it is none of those one can ask for. */
unsigned queue_state_parse(const char *word);
const char *queue_state_word(enum queue_state state);

void queue_request_put(struct wire_writer *w,
    const struct queue_request *request);
/* Bounded; REASON_PROTOCOL if it is malformed, REASON_SYNTAX for a bounce's
 * status or text that cannot go into a report. */
bool queue_request_get(struct wire_reader *r, struct queue_request *request_out,
    struct reason *why);

/* What a bounce takes: a permanent status (RFC 3463, section 2), and a text for
 * the Diagnostic-Code of a report. */
bool queue_is_status(const char *status);
bool queue_is_printable(const char *text);

bool queue_filter_is_empty(const struct queue_filter *filter);
/* More is asked than id, state and age: message and attempts are read. */
bool queue_filter_is_deep(const struct queue_filter *filter);

/* Whether one thing the filter asks holds; true if it does not ask. */
bool queue_filter_age(const struct queue_filter *filter, int64_t age_ms);
bool queue_filter_user(const struct queue_filter *filter, const char *login,
    bool device);
bool queue_filter_sender(const struct queue_filter *filter,
    const char *reverse_path);
/* Its host, or it as lists print it: "host:port", "srv:domain". */
bool queue_filter_hop(const struct queue_filter *filter,
    const struct next_hop *hop);
bool queue_filter_domain(const struct queue_filter *filter,
    const char *forward_path);
bool queue_filter_reason(const struct queue_filter *filter, const char *status,
    const char *text);

#endif
