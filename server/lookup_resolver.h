/*
 * server/lookup_resolver.h: libunbound behind three questions: which addresses
 * has this host, which TLSA records has its service, and on which hosts is a
 * domain's submission service?
 *
 * Asynchronous by libunbound's own threads; callbacks come from
 * resolver_process, on the caller's thread.
 */
#ifndef SERVER_LOOKUP_RESOLVER_H
#define SERVER_LOOKUP_RESOLVER_H

#include <gnutls/gnutls.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "../policy/reason.h"
#include "lookup_srv.h"
#include "lookup_tlsa.h"
#include "messages.h"

enum {
	RESOLVER_ADDRESSES = 8, /* of each family, at most */
	RESOLVER_HOST_MAX = 255,
};

struct resolver_options {
	/* Resolvers to ask, "127.0.0.1:53" or "[::1]:53"; none: those of
	 * /etc/resolv.conf, without that file the root servers. */
	const char *const *servers;
	size_t server_count;
	/* DS or DNSKEY records, one a line, as in /usr/share/dns/root.key;
	 * data NULL: TLSA questions end in LOOKUP_TROUBLE. */
	gnutls_datum_t trust_anchor;
	/* Addresses have to stand the same validation; otherwise it is for
	 * TLSA alone, and who sits behind a resolver that cannot do DNSSEC
	 * can still send mail. */
	bool validate_all;
};

struct resolver_answer {
	enum lookup_answer answer;
	bool secure; /* DNSSEC proves what is there */
	size_t six_count, four_count;
	struct in6_addr six[RESOLVER_ADDRESSES];
	struct in_addr four[RESOLVER_ADDRESSES];
	const char *text; /* why there is none; valid during the call */
};

struct resolver;
struct resolver_question;

/* Reads /etc/resolv.conf and /etc/hosts.  options are not kept.  False with
 * REASON_SYNTAX for trust anchors that cannot be used. */
bool resolver_new(struct resolver **resolver_out,
    const struct resolver_options *options, struct reason *why);
/* No question may be open. */
void resolver_free(struct resolver *resolver);

/* Could these octets be resolver_options.trust_anchor? */
bool resolver_check_anchor(const gnutls_datum_t *trust_anchor,
    struct reason *why);

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

/*
 * Ask for the TLSA records of the service at host and TCP port by the rules of
 * RFC 7672, section 2.2.2: the host's addresses have to be secure too; where it
 * is an alias, the name it stands for comes first, then its own; where only
 * the alias itself is secure, its own alone.  done and what is returned are as
 * above; the answer is borrowed during the call.
 */
struct resolver_question *resolver_ask_tlsa(struct resolver *resolver,
    const char *host, uint16_t port,
    void (*done)(void *context, const struct tlsa_answer *answer),
    void *context);

/*
 * Ask for the SRV records of _submissions._tcp and _submission._tcp at domain.
 * What DNSSEC proves is said to be secure; what it disproves is trouble if
 * options.validate_all, and otherwise as if nobody had asked for a proof.  done
 * and what is returned are as above; the answer is borrowed during the call.
 */
struct resolver_question *resolver_ask_srv(struct resolver *resolver,
    const char *domain,
    void (*done)(void *context, const struct srv_answer *answer),
    void *context);

void resolver_cancel(struct resolver_question *question);

/* Is this a host name we would ask DNS for (RFC 1123, section 2.1, and
 * underscores)? */
bool resolver_is_host(const char *host);

#endif
