/*
 * tools/probe.c: one connection to a site, from the lookup to QUIT.
 */
#include "probe.h"

#include <arpa/inet.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../policy/key.h"
#include "../server/upstream_io.h"

/* Said instead of our name where the row does not let it cross, and where
 * there is no configuration that has one. */
#define NEUTRAL_NAME "[127.0.0.1]"

enum { QUIT_MS = 1000, LOOK_MS = 250 };

/* One probe being made. */
struct attempt {
	struct probe *probe;
	struct probe_setup *setup;
	struct resolver *resolver;
	const struct probe_options *options;
	struct upstream_io io;
	long long deadline; /* of this address, by upstream_now_ms */

	size_t address_count;
	struct sockaddr_storage addresses[PROBE_TRIED];
	struct resolver_question *hosts, *tlsa; /* still open */
	long long lookup_deadline;
	struct tlsa_answer records;
};

static bool
is_stopped(const struct attempt *a)
{
	long long at = a->options->stop_at_ms == NULL
			   ? 0
			   : atomic_load(a->options->stop_at_ms);

	return at != 0 && upstream_now_ms() >= at;
}

static int
left_ms(const struct attempt *a)
{
	long long left = a->deadline - upstream_now_ms();

	return left > 0 ? (int)left : 0;
}

/* --- the lookup -------------------------------------------------------------
 */

static void
add_address(struct attempt *a, int family, const void *octets)
{
	struct sockaddr_storage *out = &a->addresses[a->address_count];
	struct sockaddr_in *four = (struct sockaddr_in *)out;
	struct sockaddr_in6 *six = (struct sockaddr_in6 *)out;

	if (a->address_count == PROBE_TRIED)
		return;
	a->address_count++;
	memset(out, 0, sizeof(*out));
	if (family == AF_INET) {
		four->sin_family = AF_INET;
		four->sin_port = htons(a->probe->target.port);
		memcpy(&four->sin_addr, octets, 4);
	} else {
		six->sin6_family = AF_INET6;
		six->sin6_port = htons(a->probe->target.port);
		memcpy(&six->sin6_addr, octets, 16);
	}
}

static void
on_hosts(void *context, const struct resolver_answer *answer)
{
	struct attempt *a = context;

	a->hosts = NULL;
	for (size_t i = 0; i < answer->six_count; i++)
		add_address(a, AF_INET6, &answer->six[i]);
	for (size_t i = 0; i < answer->four_count; i++)
		add_address(a, AF_INET, &answer->four[i]);
	if (answer->answer != LOOKUP_FOUND)
		probe_escape(a->probe->why, sizeof(a->probe->why), answer->text,
		    strlen(answer->text));
}

static void
on_tlsa(void *context, const struct tlsa_answer *answer)
{
	struct attempt *a = context;

	a->tlsa = NULL;
	tlsa_answer_init(&a->records, answer->answer, answer->text);
	(void)snprintf(a->records.base, sizeof(a->records.base), "%s",
	    answer->base);
	for (size_t i = 0; i < answer->count; i++) {
		const struct tlsa *record = &answer->records[i];
		unsigned char rdata[3 + TLSA_DATA_MAX];

		rdata[0] = record->usage;
		rdata[1] = record->selector;
		rdata[2] = record->matching;
		if (record->len > TLSA_DATA_MAX)
			continue;
		memcpy(rdata + 3, record->data, record->len);
		(void)tlsa_answer_add(&a->records, rdata, 3 + record->len);
	}
	a->probe->tlsa_count = a->records.count;
}

static void
lookup_begin(struct attempt *a)
{
	const struct probe_target *target = &a->probe->target;
	const char *connect_to = a->options->address;
	struct address address;

	a->lookup_deadline = upstream_now_ms() + a->options->timeout_ms;
	if (connect_to == NULL && target->is_address)
		connect_to = target->host;
	if (connect_to != NULL && address_parse(&address, connect_to))
		add_address(a, address.family, address.octets);
	else
		a->hosts = resolver_ask(a->resolver, target->host, on_hosts, a);
	if (target->is_address)
		tlsa_answer_init(&a->records, LOOKUP_NONE,
		    "an address has no TLSA records");
	else
		a->tlsa = resolver_ask_tlsa(a->resolver, target->host,
		    target->port, on_tlsa, a);
}

/* Until the question is answered or time is up. */
static void
lookup_wait(struct attempt *a, struct resolver_question *const *question)
{
	struct pollfd p = { .fd = resolver_fd(a->resolver), .events = POLLIN };

	while (*question != NULL && !is_stopped(a)) {
		long long left = a->lookup_deadline - upstream_now_ms();

		if (left <= 0)
			return;
		if (poll(&p, 1, left < LOOK_MS ? (int)left : LOOK_MS) > 0)
			resolver_process(a->resolver);
	}
}

static void
lookup_hosts(struct attempt *a)
{
	lookup_wait(a, &a->hosts);
	if (a->hosts == NULL)
		return;
	resolver_cancel(a->hosts);
	a->hosts = NULL;
	(void)snprintf(a->probe->why, sizeof(a->probe->why),
	    "no answer from DNS in time");
}

static void
lookup_tlsa(struct attempt *a)
{
	lookup_wait(a, &a->tlsa);
	if (a->tlsa == NULL)
		return;
	resolver_cancel(a->tlsa);
	a->tlsa = NULL;
	tlsa_answer_init(&a->records, LOOKUP_TROUBLE,
	    "no answer from DNS in time");
}

/* --- the dialogue -----------------------------------------------------------
 */

/* How the attempt at one address ended. */
enum end {
	END_SHOWN, /* what there is to see was seen, TLS or not */
	END_NEXT,  /* this address does not serve: try another */
};

static enum end
try_next(struct attempt *a, const char *what, const char *text)
{
	struct probe_tried *tried = &a->probe->tried[a->probe->tried_count - 1];

	(void)snprintf(tried->outcome, sizeof(tried->outcome), "%s%s%.200s",
	    what, what[0] == '\0' ? "" : ": ", text);
	return END_NEXT;
}

static enum end
no_tls(struct attempt *a, enum reason_code code, const char *text)
{
	struct facts *facts = &a->probe->facts;

	memset(facts, 0, sizeof(*facts));
	facts->why_not = (int)code;
	(void)snprintf(facts->why_not_text, sizeof(facts->why_not_text),
	    "%.120s", text);
	return END_SHOWN;
}

static bool
command(struct attempt *a, const char *text, struct upstream_reply *reply,
    int timeout_ms, struct reason *why)
{
	char line[300];
	int n = snprintf(line, sizeof(line), "%s\r\n", text);

	if (n < 0 || (size_t)n >= sizeof(line))
		return fail(why, REASON_RANGE, "command too long");
	return upstream_io_send(&a->io, line, (size_t)n, timeout_ms, why) &&
	       upstream_io_reply(&a->io, reply, timeout_ms, why);
}

static void
ehlo_line(void *context, unsigned number, const char *text, size_t len)
{
	struct probe *probe = context;
	size_t at = strlen(probe->keywords);

	upstream_extensions_line(&probe->extensions, number, text, len);
	if (number == 0 || at + len + 2 > sizeof(probe->keywords))
		return;
	probe_escape(probe->keywords + at, sizeof(probe->keywords) - at - 1,
	    text, len);
	strcat(probe->keywords + at, "\n");
}

/* REASON_ABSENT: the command is not known there. */
static bool
ehlo(struct attempt *a, const char *name, struct reason *why)
{
	struct probe *probe = a->probe;
	struct upstream_reply reply;
	char text[PROBE_HOST + 16];

	memset(&probe->extensions, 0, sizeof(probe->extensions));
	probe->keywords[0] = '\0';
	probe->greeted = false;
	(void)snprintf(text, sizeof(text), "EHLO %s", name);
	upstream_reply_init(&reply);
	reply.line = ehlo_line;
	reply.context = probe;
	if (!command(a, text, &reply, left_ms(a), why))
		return false;
	probe->greeted = reply.code == 250;
	if (probe->greeted)
		return true;
	return fail(why,
	    upstream_reply_class(&reply) == 5 ? REASON_ABSENT : REASON_UPSTREAM,
	    "EHLO: %.200s", reply.text);
}

static bool
offers(const struct probe *probe, const char *keyword)
{
	size_t len = strlen(keyword);
	const char *at = probe->keywords, *end;

	for (; (end = strchr(at, '\n')) != NULL; at = end + 1)
		if ((size_t)(end - at) == len &&
		    strncasecmp(at, keyword, len) == 0)
			return true;
	return false;
}

static enum end
greeting(struct attempt *a)
{
	struct upstream_reply reply;
	struct reason why;

	upstream_reply_init(&reply);
	if (!upstream_io_reply(&a->io, &reply, left_ms(a), &why))
		return try_next(a, "greeting", why.text);
	(void)snprintf(a->probe->greeting, sizeof(a->probe->greeting), "%s",
	    reply.text);
	return reply.code == 220 ? END_SHOWN
				 : try_next(a, "greeting", reply.text);
}

/* Our certificate, only where the row names one and it may be shown. */
static struct tls_identity *
identity_of(struct attempt *a)
{
	struct probe *probe = a->probe;
	const char *name = probe->demand->cert;
	struct tls_identity *identity;
	struct reason why;

	if (name == NULL)
		return NULL;
	identity = probe_identity(a->setup, name, &why);
	if (identity != NULL)
		(void)snprintf(probe->identity, sizeof(probe->identity), "%s",
		    name);
	else
		(void)snprintf(probe->identity, sizeof(probe->identity),
		    "none: %.60s: %.160s", name, why.text);
	return identity;
}

static const char *
sni_of(const struct attempt *a)
{
	const struct probe *probe = a->probe;

	if (probe->demand->sni != NULL)
		return probe->demand->sni;
	/* RFC 7672, section 8.1. */
	if (probe->demand->dane && a->records.answer == LOOKUP_FOUND)
		return a->records.base;
	return probe->target.is_address ? NULL : probe->target.host;
}

static enum end
handshake(struct attempt *a)
{
	struct tls_connect_options options = { .min = 0 };
	struct reason why;

	if (a->probe->demand->dane)
		lookup_tlsa(a);
	options.sni = sni_of(a);
	options.identity = identity_of(a);
	/* min= is judged, not asked for: so that it can be seen what the
	 * site has instead.  Such a key may not sign under TLS 1.2. */
	if (options.identity != NULL &&
	    tls_identity_needs_tls13(options.identity))
		options.min = 13;
	if (!upstream_io_start_tls(&a->io, &options, left_ms(a), &why))
		return no_tls(a,
		    why.code == REASON_PROTOCOL_TOO_OLD
			? REASON_PROTOCOL_TOO_OLD
			: REASON_HANDSHAKE_FAILED,
		    why.text);
	tls_session_facts(a->io.tls, CERT_FOR_SERVER, &a->probe->facts);
	return END_SHOWN;
}

static enum end
starttls(struct attempt *a)
{
	struct probe *probe = a->probe;
	struct upstream_reply reply;
	struct reason why;

	/* The relay goes on with HELO, and without STARTTLS then. */
	if (!ehlo(a, NEUTRAL_NAME, &why))
		return why.code == REASON_ABSENT
			   ? no_tls(a, REASON_STARTTLS_NOT_OFFERED, why.text)
			   : try_next(a, "", why.text);
	if (!probe->extensions.starttls) {
		(void)snprintf(probe->starttls, sizeof(probe->starttls),
		    "not offered");
		return no_tls(a, REASON_STARTTLS_NOT_OFFERED,
		    "STARTTLS is not offered");
	}
	upstream_reply_init(&reply);
	if (!command(a, "STARTTLS", &reply, left_ms(a), &why)) {
		(void)snprintf(probe->starttls, sizeof(probe->starttls), "%s",
		    why.text);
		return no_tls(a, REASON_STARTTLS_REFUSED, why.text);
	}
	(void)snprintf(probe->starttls, sizeof(probe->starttls), "%s",
	    reply.text);
	if (reply.code != 220)
		return no_tls(a, REASON_STARTTLS_REFUSED, reply.text);
	/* A server is silent until our ClientHello: RFC 3207, section 4. */
	if (upstream_io_has_octets(&a->io))
		return no_tls(a, REASON_STARTTLS_INJECTED,
		    "octets between the STARTTLS reply and the handshake");
	return handshake(a);
}

/* --- what it comes to -------------------------------------------------------
 */

/* Inside TLS, what it offers there; our name only where the row is met. */
static void
greet_inside(struct attempt *a)
{
	const struct config *config = probe_policy(a->setup)->config;
	bool met = a->probe->decision.verdict == VERDICT_PASS;
	struct probe *probe = a->probe;
	struct reason why;

	if (probe->target.implicit_tls && greeting(a) != END_SHOWN)
		(void)snprintf(probe->ungreeted, sizeof(probe->ungreeted), "%s",
		    probe->tried[probe->tried_count - 1].outcome);
	else if (!ehlo(a,
		     met && config != NULL ? config->hostname : NEUTRAL_NAME,
		     &why))
		(void)snprintf(probe->ungreeted, sizeof(probe->ungreeted), "%s",
		    why.text);
}

/* The words to end with cost no more than a second. */
static void
quit(struct attempt *a)
{
	struct upstream_reply reply;
	int left = left_ms(a);

	if (a->io.dead || is_stopped(a))
		return;
	upstream_reply_init(&reply);
	(void)command(a, "QUIT", &reply, left < QUIT_MS ? left : QUIT_MS, NULL);
}

static void
judge(struct attempt *a)
{
	struct probe *probe = a->probe;

	probe_decide(probe, a->setup, a->io.tls, probe->demand,
	    &probe->decision);
	probe_decide(probe, a->setup, a->io.tls, probe->enforced_demand,
	    &probe->enforced);
	probe->judged = true;
}

/* The session is kept until all was asked of it; the other side has its QUIT
 * by then. */
static void
look(struct attempt *a)
{
	struct probe *probe = a->probe;
	bool tls = probe->facts.tls;

	probe->connected = true;
	judge(a);
	if (tls)
		greet_inside(a);
	probe->facts.requiretls = tls && offers(probe, "REQUIRETLS");
	quit(a);
	lookup_tlsa(a);
	tlsa_answer_judge(&a->records, probe->target.host,
	    tls ? a->io.tls : NULL, probe->now, &probe->facts);
	if (tls)
		probe_describe(probe, a->setup, a->io.tls);
	judge(a);
	probe_strongest(probe, a->setup, tls ? a->io.tls : NULL);
	/* The session's own go with it. */
	probe->facts.names = probe->names;
}

static void
address_text(const struct sockaddr_storage *address, char out[static 64])
{
	struct address parsed;

	out[0] = '\0';
	if (address_of_peer(&parsed, address))
		address_print(&parsed, out);
}

static enum end
try_address(struct attempt *a, const struct sockaddr_storage *address)
{
	struct probe *probe = a->probe;
	struct reason why;
	enum end end;

	address_text(address, probe->tried[probe->tried_count].address);
	probe->tried[probe->tried_count++].outcome[0] = '\0';
	a->deadline = upstream_now_ms() + a->options->timeout_ms;
	upstream_io_init(&a->io, a->options->stop_at_ms);
	if (!upstream_io_connect(&a->io, address, left_ms(a), &why)) {
		end = try_next(a, "", why.text);
	} else if (probe->target.implicit_tls) {
		end = handshake(a);
	} else {
		end = greeting(a);
		if (end == END_SHOWN)
			end = starttls(a);
	}
	if (end == END_SHOWN)
		look(a);
	upstream_io_close(&a->io);
	return end;
}

static void
try_all(struct attempt *a)
{
	struct probe *probe = a->probe;

	lookup_begin(a);
	lookup_hosts(a);
	for (size_t i = 0; i < a->address_count && !is_stopped(a); i++)
		if (try_address(a, &a->addresses[i]) == END_SHOWN)
			break;
	if (a->tlsa != NULL)
		resolver_cancel(a->tlsa);
	if (!probe->connected && probe->tried_count > 0)
		(void)snprintf(probe->why, sizeof(probe->why), "%.200s",
		    probe->tried[probe->tried_count - 1].outcome);
}

/* --- from the outside -------------------------------------------------------
 */

/* The demand as it is now, and as it will be when no exception is left. */
static bool
demands(struct probe *probe, const struct probe_setup *setup,
    struct reason *why)
{
	static const time_t doomsday = (time_t)1 << 40;
	const struct table *table = probe_policy(setup)->table;
	const struct probe_target *target = &probe->target;

	probe->demand = demand_new();
	probe->enforced_demand = demand_new();
	if (probe->demand == NULL || probe->enforced_demand == NULL)
		return fail(why, REASON_NO_MEMORY, "out of memory");
	return demand_out(probe->demand, table, target->host, target->port,
		   probe->now, why) &&
	       demand_out(probe->enforced_demand, table, target->host,
		   target->port, doomsday, why);
}

struct probe *
probe_run(struct probe_setup *setup, struct resolver *resolver,
    const struct probe_target *target, const struct probe_options *options)
{
	struct probe *probe = calloc(1, sizeof(*probe));
	struct attempt *a = calloc(1, sizeof(*a));
	struct reason why;

	if (probe == NULL || a == NULL) {
		free(probe);
		free(a);
		return NULL;
	}
	probe->target = *target;
	probe->now = time(NULL);
	a->probe = probe;
	a->setup = setup;
	a->resolver = resolver;
	a->options = options;
	if (demands(probe, setup, &why))
		try_all(a);
	else
		(void)snprintf(probe->why, sizeof(probe->why), "%s", why.text);
	free(a);
	return probe;
}

void
probe_free(struct probe *probe)
{
	if (probe == NULL)
		return;
	demand_free(probe->demand);
	demand_free(probe->enforced_demand);
	free(probe);
}

bool
probe_clear_will_do(const struct probe *probe)
{
	return !probe->target.implicit_tls &&
	       probe->facts.why_not != REASON_STARTTLS_INJECTED;
}

static bool
is_met(const struct probe *probe, const struct decision *decision)
{
	return probe->judged && decision->verdict == VERDICT_PASS &&
	       (probe->facts.tls || probe_clear_will_do(probe));
}

bool
probe_is_met(const struct probe *probe)
{
	return is_met(probe, &probe->decision);
}

bool
probe_would_be_met(const struct probe *probe)
{
	return is_met(probe, &probe->enforced);
}
