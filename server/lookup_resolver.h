/*
 * server/lookup_resolver.h: libunbound behind one question: which addresses
 * has this host?
 *
 * Asynchronous by libunbound's own thread; callbacks come from
 * resolver_process, on the caller's thread.
 */
#ifndef SERVER_LOOKUP_RESOLVER_H
#define SERVER_LOOKUP_RESOLVER_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "../policy/reason.h"
#include "messages.h"

enum {
	RESOLVER_ADDRESSES = 8, /* of each family, at most */
	RESOLVER_HOST_MAX = 255,
};

struct resolver_answer {
	enum lookup_answer answer;
	size_t six_count, four_count;
	struct in6_addr six[RESOLVER_ADDRESSES];
	struct in_addr four[RESOLVER_ADDRESSES];
	const char *text; /* why there is none; static */
};

struct resolver;
struct resolver_question;

/* Reads /etc/resolv.conf (without it: from the root servers) and /etc/hosts. */
bool resolver_new(struct resolver **resolver_out, struct reason *why);
/* No question may be open. */
void resolver_free(struct resolver *resolver);

/* Readable: call resolver_process. */
int resolver_fd(const struct resolver *resolver);
void resolver_process(struct resolver *resolver);

/*
 * Ask for A and AAAA of host.  done is called once, from resolver_process or
 * from this call, unless resolver_cancel comes first; the question is gone
 * afterwards.  NULL if done was called already.
 */
struct resolver_question *resolver_ask(struct resolver *resolver,
    const char *host,
    void (*done)(void *context, const struct resolver_answer *answer),
    void *context);
void resolver_cancel(struct resolver_question *question);

/* Is this a host name we would ask DNS for (RFC 1123, section 2.1, and
 * underscores)? */
bool resolver_is_host(const char *host);

#endif
