/*
 * server/upstream.c: opening, keeping and closing a connection.
 */
#include "upstream_internal.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "log.h"
#include "route.h"
#include "signer_client.h"
#include "upstream_tlsa.h"

/* Said instead of our name where the table does not let it cross in clear. */
#define NEUTRAL_NAME "[127.0.0.1]"

enum { SIGNER_AWAY_MS = 5000, SIGNER_LOOK_MS = 50 };

/* One connection being opened. */
struct opening {
	struct upstream *up;
	const struct upstream_thread *thread;
	struct relay_config *config;
	const struct next_hop *hop;
	struct judgement *judgement;
	struct upstream_failure *failure;
	struct tlsa_answer *tlsa; /* NULL: not wanted */
	bool clear;               /* TLS failed before and clear will do */
	enum reason_code clear_code;
	char clear_detail[REASON_TEXT_MAX];
};

enum open_end {
	OPEN_DONE,
	OPEN_NEXT,  /* this address does not serve: try another */
	OPEN_OVER,  /* no address will do better */
	OPEN_CLEAR, /* TLS failed, somebody's demand allows clear: once more */
};

void
upstream_fail(struct upstream_failure *failure, const char *status,
    const char *format, ...)
{
	va_list args;

	snprintf(failure->status, sizeof(failure->status), "%s", status);
	va_start(args, format);
	vsnprintf(failure->text, sizeof(failure->text), format, args);
	va_end(args);
}

bool
upstream_command(struct upstream *upstream, const char *command,
    struct upstream_reply *reply, int timeout_ms, struct reason *why)
{
	char line[600];
	int n = snprintf(line, sizeof(line), "%s\r\n", command);

	if (n < 0 || (size_t)n >= sizeof(line))
		return fail(why, REASON_RANGE, "command too long");
	return upstream_io_send(&upstream->io, line, (size_t)n, timeout_ms,
		   why) &&
	       upstream_io_reply(&upstream->io, reply, timeout_ms, why);
}

static void
take_timeouts(struct upstream_timeouts *out, const struct config *config)
{
	*out = (struct upstream_timeouts){
		.connect = (int)config->connect_timeout_s * 1000,
		.greeting = (int)config->relay_timeout.greeting_s * 1000,
		.command = (int)config->relay_timeout.command_s * 1000,
		.data = (int)config->relay_timeout.data_s * 1000,
		.block = (int)config->relay_timeout.block_s * 1000,
		.end = (int)config->relay_timeout.end_s * 1000,
	};
}

static bool
is_literal(const char *host)
{
	unsigned char address[16];

	return inet_pton(AF_INET, host, address) == 1 ||
	       inet_pton(AF_INET6, host, address) == 1;
}

static enum open_end
open_failed(struct opening *o, enum open_end end, const char *status,
    const char *what, const struct reason *why)
{
	upstream_fail(o->failure, status, "%s[%s]: %s: %s", o->hop->host,
	    o->up->remote, what, why->text);
	return end;
}

/* TLS cannot be had on this connection, which is of no further use. */
static enum open_end
tls_failed(struct opening *o, enum reason_code code, const char *text)
{
	upstream_fail(o->failure, "4.7.5", "%s[%s]: TLS: %s", o->hop->host,
	    o->up->remote, text);
	judgement_without_tls(o->judgement, code, text);
	/* Injected octets are an attack, not a server without TLS. */
	if (o->hop->implicit_tls || code == REASON_STARTTLS_INJECTED ||
	    !judgement_allows_clear(o->judgement) ||
	    !judgement_any_passes(o->judgement))
		return OPEN_OVER;
	o->clear = true;
	o->clear_code = code;
	snprintf(o->clear_detail, sizeof(o->clear_detail), "%s", text);
	return OPEN_CLEAR;
}

/* Our certificate, only where the row names one and it may be shown. */
static struct tls_identity *
opening_identity(const struct opening *o)
{
	if (o->up->cert[0] == '\0')
		return NULL;
	return relay_config_identity(o->config, o->up->cert);
}

static void
log_tls(const struct opening *o, const struct tls_identity *identity)
{
	const struct facts *facts = &o->up->facts;
	char subject[300];

	log_value(subject, sizeof(subject), facts->subject,
	    strlen(facts->subject));
	log_line(SAY_NOTE, "tls",
	    "site=%s:%u remote=%s version=TLS1.%u suite=%s group=%s bits=%u"
	    " peer=%s cert=%s",
	    o->hop->host, o->hop->port, o->up->remote,
	    facts->version == 13 ? 3 : 2, facts->suite, facts->group,
	    facts->bits, subject, identity == NULL ? "none" : o->up->cert);
}

/* Where TLSA records were found, the name they were found at (RFC 7672,
 * section 8.1). */
static const char *
opening_sni(const struct opening *o)
{
	if (o->up->sni[0] != '\0')
		return o->up->sni;
	if (o->tlsa != NULL && o->tlsa->answer == LOOKUP_FOUND)
		return o->tlsa->base;
	return is_literal(o->hop->host) ? NULL : o->hop->host;
}

static void
take_facts(struct opening *o)
{
	struct upstream *up = o->up;

	tls_session_facts(up->io.tls, CERT_FOR_SERVER, &up->facts);
	up->facts.requiretls = true; /* until EHLO tells */
	if (o->tlsa == NULL)
		return;
	up->dane_at = time(NULL);
	tlsa_answer_judge(o->tlsa, o->hop->host, up->io.tls, up->dane_at,
	    &up->facts);
}

static enum open_end
handshake(struct opening *o)
{
	const struct demand *demand = judgement_base(o->judgement);
	struct tls_identity *identity = opening_identity(o);
	struct upstream *up = o->up;
	struct tls_connect_options options = {
		.identity = identity,
		.min = demand->min,
	};
	struct reason why = { .code = REASON_NONE };

	options.sni = opening_sni(o);
	/* Under TLS 1.2 such a key signs the whole transcript, which the
	 * signer does not. */
	if (identity != NULL && tls_identity_needs_tls13(identity))
		options.min = 13;
	if (!upstream_io_start_tls(&up->io, &options, up->timeouts.connect,
		&why)) {
		/* Our own trouble is no reason to go without TLS. */
		if (why.code == REASON_AWAY || why.code == REASON_NO_MEMORY ||
		    why.code == REASON_INTERNAL)
			return open_failed(o, OPEN_OVER, "4.3.0", "TLS", &why);
		return tls_failed(o,
		    why.code == REASON_PROTOCOL_TOO_OLD
			? REASON_PROTOCOL_TOO_OLD
			: REASON_HANDSHAKE_FAILED,
		    why.text);
	}
	take_facts(o);
	log_tls(o, identity);
	return OPEN_DONE;
}

static enum open_end
greeting(struct opening *o)
{
	struct upstream_reply reply;
	struct reason why;

	upstream_reply_init(&reply);
	if (!upstream_io_reply(&o->up->io, &reply, o->up->timeouts.greeting,
		&why))
		return open_failed(o, OPEN_NEXT, "4.4.2", "greeting", &why);
	if (reply.code == 220)
		return OPEN_DONE;
	upstream_fail(o->failure, "4.4.1", "%s[%s]: greeting: %s", o->hop->host,
	    o->up->remote, reply.text);
	return OPEN_NEXT;
}

/* A server that does not know EHLO (RFC 5321, section 3.2). */
static enum open_end
helo(struct opening *o, const char *name)
{
	struct upstream_reply reply;
	struct reason why;
	char command[300];

	snprintf(command, sizeof(command), "HELO %s", name);
	upstream_reply_init(&reply);
	if (!upstream_command(o->up, command, &reply, o->up->timeouts.command,
		&why))
		return open_failed(o, OPEN_NEXT, "4.4.2", "HELO", &why);
	if (reply.code == 250)
		return OPEN_DONE;
	upstream_fail(o->failure, "4.4.1", "%s[%s]: HELO: %s", o->hop->host,
	    o->up->remote, reply.text);
	return OPEN_NEXT;
}

/* EHLO; what was said before is forgotten. */
static enum open_end
ehlo(struct opening *o, const char *name)
{
	struct upstream *up = o->up;
	struct upstream_reply reply;
	struct reason why;
	char command[300];

	memset(&up->extensions, 0, sizeof(up->extensions));
	snprintf(command, sizeof(command), "EHLO %s", name);
	upstream_reply_init(&reply);
	reply.line = upstream_extensions_line;
	reply.context = &up->extensions;
	if (!upstream_command(up, command, &reply, o->up->timeouts.command,
		&why))
		return open_failed(o, OPEN_NEXT, "4.4.2", "EHLO", &why);
	if (reply.code == 250) {
		if (relay_config_is_without_chunking(o->config, o->hop))
			up->extensions.chunking = false;
		return OPEN_DONE;
	}
	memset(&up->extensions, 0, sizeof(up->extensions));
	if (upstream_reply_class(&reply) == 5)
		return helo(o, name);
	upstream_fail(o->failure, "4.4.1", "%s[%s]: EHLO: %s", o->hop->host,
	    up->remote, reply.text);
	return OPEN_NEXT;
}

static enum open_end
ehlo_own_name(struct opening *o)
{
	struct upstream *up = o->up;
	enum open_end end;

	up->greeted = true;
	end = ehlo(o, relay_config_conf(o->config)->hostname);
	/* Only inside TLS nobody else can have written it. */
	if (end == OPEN_DONE && up->io.tls != NULL)
		up->facts.requiretls = up->extensions.requiretls;
	return end;
}

static enum open_end
no_tls(struct opening *o, enum reason_code code, const char *detail)
{
	o->up->clear_code = code;
	snprintf(o->up->clear_detail, sizeof(o->up->clear_detail), "%.200s",
	    detail);
	return OPEN_DONE;
}

/* EHLO, STARTTLS, handshake.  OPEN_DONE without TLS: the connection is as it
 * was, in clear, to be judged as such. */
static enum open_end
starttls(struct opening *o)
{
	struct upstream *up = o->up;
	struct upstream_reply reply;
	struct reason why;
	enum open_end end;

	end = judgement_hides_name(o->judgement) ? ehlo(o, NEUTRAL_NAME)
						 : ehlo_own_name(o);
	if (end != OPEN_DONE)
		return end;
	if (!up->extensions.starttls)
		return no_tls(o, REASON_STARTTLS_NOT_OFFERED,
		    "STARTTLS is not offered");
	upstream_reply_init(&reply);
	if (!upstream_command(up, "STARTTLS", &reply, o->up->timeouts.command,
		&why))
		return tls_failed(o, REASON_STARTTLS_REFUSED, why.text);
	if (reply.code != 220)
		return no_tls(o, REASON_STARTTLS_REFUSED, reply.text);
	/* A server is silent until our ClientHello: RFC 3207, section 4. */
	if (upstream_io_has_octets(&up->io))
		return tls_failed(o, REASON_STARTTLS_INJECTED,
		    "octets between the STARTTLS reply and the handshake");
	up->greeted = false;
	memset(&up->extensions, 0, sizeof(up->extensions));
	return handshake(o);
}

static enum open_end
login(struct opening *o)
{
	struct upstream *up = o->up;

	if (up->auth[0] == '\0')
		return OPEN_DONE;
	if (up->io.tls == NULL ||
	    !decision_passes(&o->judgement->groups[0].decision)) {
		upstream_fail(o->failure, "4.7.0",
		    "%s[%s]: login %s is used inside TLS only", o->hop->host,
		    up->remote, up->auth);
		return OPEN_OVER;
	}
	return upstream_login(up, up->auth, o->failure) ? OPEN_DONE : OPEN_OVER;
}

static enum open_end
judge(struct opening *o)
{
	upstream_judge(o->up, o->judgement);
	if (judgement_any_passes(o->judgement))
		return OPEN_DONE;
	upstream_fail(o->failure, "4.7.5", "%s[%s]: refused by the site table",
	    o->hop->host, o->up->remote);
	return OPEN_OVER;
}

/* What is demanded is judged here, before our name, AUTH or MAIL is said; but
 * whether the promise of REQUIRETLS can be kept only EHLO's reply tells. */
static enum open_end
judge_and_greet(struct opening *o)
{
	enum open_end end = judge(o);

	if (end == OPEN_DONE && o->hop->implicit_tls)
		end = greeting(o);
	if (end == OPEN_DONE && !o->up->greeted)
		end = ehlo_own_name(o);
	if (end == OPEN_DONE && judgement_wants_requiretls(o->judgement))
		end = judge(o);
	if (o->up->io.tls != NULL)
		upstream_prove(o->up, o->judgement);
	if (end != OPEN_DONE)
		return end;
	upstream_raise(o->up, o->judgement);
	return login(o);
}

static enum open_end
open_connected(struct opening *o)
{
	enum open_end end;

	if (o->hop->implicit_tls) {
		end = handshake(o);
	} else {
		end = greeting(o);
		if (end == OPEN_DONE && o->clear)
			no_tls(o, o->clear_code, o->clear_detail);
		else if (end == OPEN_DONE && judgement_wants_tls(o->judgement))
			end = starttls(o);
	}
	return end == OPEN_DONE ? judge_and_greet(o) : end;
}

static void
copy_name(char out[static 256], const char *name)
{
	snprintf(out, 256, "%s", name == NULL ? "" : name);
}

static struct upstream *
upstream_new(const struct opening *o)
{
	const struct demand *demand = judgement_base(o->judgement);
	struct upstream *up = calloc(1, sizeof(*up));

	if (up == NULL)
		return NULL;
	upstream_io_init(&up->io, o->thread->stop_at_ms);
	up->thread = o->thread;
	up->config = relay_config_ref(o->config);
	take_timeouts(&up->timeouts, relay_config_conf(o->config));
	up->hop = *o->hop;
	copy_name(up->cert, demand->cert);
	copy_name(up->auth, demand->auth);
	copy_name(up->sni, demand->sni);
	up->reuse = demand->reuse;
	return up;
}

static void
remote_text(const struct sockaddr_storage *address, char *out, size_t size)
{
	const struct sockaddr_in *four = (const struct sockaddr_in *)address;
	const struct sockaddr_in6 *six = (const struct sockaddr_in6 *)address;

	out[0] = '\0';
	if (address->ss_family == AF_INET6)
		inet_ntop(AF_INET6, &six->sin6_addr, out, (socklen_t)size);
	else
		inet_ntop(AF_INET, &four->sin_addr, out, (socklen_t)size);
}

static enum open_end
open_address(struct opening *o, const struct sockaddr_storage *address)
{
	struct reason why;
	enum open_end end;

	o->up = upstream_new(o);
	if (o->up == NULL) {
		upstream_fail(o->failure, "4.3.0", "out of memory");
		return OPEN_OVER;
	}
	remote_text(address, o->up->remote, sizeof(o->up->remote));
	snprintf(o->failure->remote, sizeof(o->failure->remote), "%s",
	    o->up->remote);
	if (upstream_io_connect(&o->up->io, address, o->up->timeouts.connect,
		&why)) {
		log_line(SAY_DEBUG, "connect", "site=%s:%u remote=%s",
		    o->hop->host, o->hop->port, o->up->remote);
		end = open_connected(o);
	} else {
		end = open_failed(o, OPEN_NEXT, "4.4.1", "connect", &why);
	}
	if (end != OPEN_DONE) {
		upstream_close(o->up);
		o->up = NULL;
	}
	return end;
}

/* A handshake with our certificate needs the signer; while it is restarted the
 * connection is not begun. */
static bool
signer_is_there(const struct upstream_thread *thread,
    const struct relay_config *config, const struct demand *demand,
    struct upstream_failure *failure)
{
	int left = SIGNER_AWAY_MS;

	if (demand->cert == NULL ||
	    relay_config_identity(config, demand->cert) == NULL)
		return true;
	while (!signer_client_alive(thread->index)) {
		if (left <= 0 || atomic_load(thread->stop_at_ms) != 0) {
			upstream_fail(failure, "4.3.0", "signer is away");
			return false;
		}
		poll(NULL, 0, SIGNER_LOOK_MS);
		left -= SIGNER_LOOK_MS;
	}
	return true;
}

/* Asked once, before the first address is tried. */
static bool
ask_tlsa(struct opening *o)
{
	if (!judgement_wants_dane(o->judgement))
		return true;
	o->tlsa = malloc(sizeof(*o->tlsa));
	if (o->tlsa == NULL) {
		upstream_fail(o->failure, "4.3.0", "out of memory");
		return false;
	}
	upstream_tlsa(o->thread, o->hop, o->tlsa);
	return true;
}

bool
upstream_open(struct upstream **upstream_out,
    const struct upstream_thread *thread, struct relay_config *config,
    const struct next_hop *hop, struct judgement *judgement,
    struct upstream_failure *failure)
{
	struct sockaddr_storage addresses[UPSTREAM_ADDRESSES];
	struct opening o = {
		.thread = thread,
		.config = config,
		.hop = hop,
		.judgement = judgement,
		.failure = failure,
	};
	enum open_end end = OPEN_NEXT;
	size_t count = 0;

	judgement->made = false;
	failure->remote[0] = '\0';
	if (!signer_is_there(thread, config, judgement_base(judgement),
		failure) ||
	    !upstream_addresses(thread, hop, addresses, &count, failure) ||
	    !ask_tlsa(&o))
		return false;
	for (size_t i = 0; i < count && end == OPEN_NEXT; i++) {
		o.clear = false;
		judgement->made = false;
		end = open_address(&o, &addresses[i]);
		if (end == OPEN_CLEAR)
			end = open_address(&o, &addresses[i]);
	}
	free(o.tlsa);
	if (end != OPEN_DONE)
		return false;
	*upstream_out = o.up;
	return true;
}

static bool
same_name(const char *kept, const char *name)
{
	return strcmp(kept, name == NULL ? "" : name) == 0;
}

bool
upstream_may_serve(struct upstream *upstream, const struct relay_config *config,
    const struct next_hop *hop, struct judgement *judgement)
{
	const struct demand *demand = judgement_base(judgement);

	if (upstream->io.dead || upstream_is_spent(upstream) ||
	    config != upstream->config || !next_hop_same(hop, &upstream->hop) ||
	    !demand->reuse || !same_name(upstream->cert, demand->cert) ||
	    !same_name(upstream->auth, demand->auth) ||
	    !same_name(upstream->sni, demand->sni))
		return false;
	/* In clear by somebody's leave: TLS is tried again for others. */
	if (upstream->io.tls == NULL && judgement_hides_name(judgement))
		return false;
	if (!upstream_has_dane(upstream, judgement))
		return false;
	upstream_judge(upstream, judgement);
	return judgement_all_pass(judgement);
}

bool
upstream_said_mail(const struct upstream *upstream)
{
	return upstream->said_mail;
}

const struct next_hop *
upstream_hop(const struct upstream *upstream)
{
	return &upstream->hop;
}

bool
upstream_is_spent(const struct upstream *upstream)
{
	unsigned most = upstream->extensions.mail_max;

	if (most == 0 || most > UPSTREAM_MESSAGES)
		most = UPSTREAM_MESSAGES;
	return !upstream->reuse || upstream->messages >= most ||
	       relay_config_is_retired(upstream->config);
}

void
upstream_quit(struct upstream *upstream)
{
	struct upstream_reply reply;

	if (upstream != NULL && !upstream->io.dead) {
		upstream_reply_init(&reply);
		upstream_command(upstream, "QUIT", &reply, TIMEOUT_QUIT, NULL);
	}
	upstream_close(upstream);
}

void
upstream_close(struct upstream *upstream)
{
	if (upstream == NULL)
		return;
	upstream_io_close(&upstream->io);
	relay_config_unref(upstream->config);
	free(upstream);
}
