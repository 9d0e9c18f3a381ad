/*
 * server/upstream.c: a connection from its socket to the answer to EHLO and
 * AUTH.
 */
#include "upstream_opening.h"
#include "upstream_self.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>
#include <unistd.h>

#include "log.h"
#include "route.h"

/* Said instead of our name where the table does not let it cross in clear. */
#define NEUTRAL_NAME "[127.0.0.1]"

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

int
opening_timeout_ms(const struct opening *o)
{
	return (int)relay_config_conf(o->config)->connect_timeout_s * 1000;
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
	upstream_fail(o->failure, status, "%s[%s]: %s: %s", o->place->at.host,
	    o->up->remote, what, why->text);
	return end;
}

/* TLS cannot be had on this connection, which is of no further use. */
static enum open_end
tls_failed(struct opening *o, enum reason_code code, const char *text)
{
	upstream_fail(o->failure, "4.7.5", "%s[%s]: TLS: %s", o->place->at.host,
	    o->up->remote, text);
	judgement_without_tls(o->judgement, code, text);
	/* Injected octets are an attack, not a server without TLS. */
	if (o->place->at.implicit_tls || code == REASON_STARTTLS_INJECTED ||
	    !judgement_allows_clear(o->judgement) ||
	    !judgement_any_passes(o->judgement))
		return OPEN_PLACE;
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

const char *
opening_target(const struct opening *o, char out[static OPENING_TARGET])
{
	char place[NEXT_HOP_TEXT];

	out[0] = '\0';
	if (o->place->by_srv)
		snprintf(out, OPENING_TARGET, " target=%s",
		    next_hop_print(&o->place->at, place));
	return out;
}

static void
log_tls(const struct opening *o, const struct tls_identity *identity)
{
	const struct facts *facts = &o->up->facts;
	char subject[300], site[NEXT_HOP_TEXT], target[OPENING_TARGET];

	log_value(subject, sizeof(subject), facts->subject,
	    strlen(facts->subject));
	log_line(SAY_NOTE, "tls",
	    "site=%s%s remote=%s version=TLS1.%u suite=%s group=%s bits=%u"
	    " peer=%s cert=%s",
	    next_hop_print(o->hop, site), opening_target(o, target), o->up->remote,
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
	if (o->place->proved)
		snprintf(up->facts.proved_name, sizeof(up->facts.proved_name),
		    "%s", o->place->at.host);
	if (o->tlsa == NULL)
		return;
	up->dane_at = time(NULL);
	tlsa_answer_judge(o->tlsa, o->place->at.host, up->io.tls, up->dane_at,
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
	upstream_fail(o->failure, "4.4.1", "%s[%s]: greeting: %s",
	    o->place->at.host,
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
	upstream_fail(o->failure, "4.4.1", "%s[%s]: HELO: %s",
	    o->place->at.host,
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
	upstream_fail(o->failure, "4.4.1", "%s[%s]: EHLO: %s",
	    o->place->at.host,
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
		    "%s[%s]: login %s is used inside TLS only",
		    o->place->at.host,
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
	    o->place->at.host, o->up->remote);
	return OPEN_PLACE;
}

/* What is demanded is judged here, before our name, AUTH or MAIL is said; but
 * whether the promise of REQUIRETLS can be kept only EHLO's reply tells. */
static enum open_end
judge_and_greet(struct opening *o)
{
	enum open_end end = judge(o);

	if (end == OPEN_DONE && o->place->at.implicit_tls)
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

	if (o->place->at.implicit_tls) {
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

void
opening_remote(const struct sockaddr_storage *address, char *out, size_t size)
{
	const struct sockaddr_in *four = (const struct sockaddr_in *)address;
	const struct sockaddr_in6 *six = (const struct sockaddr_in6 *)address;

	out[0] = '\0';
	if (address->ss_family == AF_INET6)
		inet_ntop(AF_INET6, &six->sin6_addr, out, (socklen_t)size);
	else
		inet_ntop(AF_INET, &four->sin_addr, out, (socklen_t)size);
}

/*
 * RFC 3463, section 3.5: X.4.6, routing loop detected.  For good where the
 * route itself says so, by our address or name; what DNS says of another name
 * may be forged, and must return nothing.
 */
static enum open_end
is_ourselves(struct opening *o)
{
	const struct config *config = relay_config_conf(o->config);
	const struct config_listener *listener =
	    upstream_self(o->up->io.fd, config);
	const char *host = o->hop->host;

	if (listener == NULL)
		return OPEN_DONE;
	o->failure->loops = !o->place->by_srv &&
			    (is_literal(host) ||
				(config->hostname != NULL &&
				    strcasecmp(host, config->hostname) == 0));
	upstream_fail(o->failure, o->failure->loops ? "5.4.6" : "4.4.6",
	    "%s[%s]: this is our own listener \"%.100s\", mail loops back to us",
	    o->place->at.host, o->up->remote, listener->name);
	return o->failure->loops ? OPEN_OVER : OPEN_NEXT;
}

enum open_end
opening_address(struct opening *o, const struct sockaddr_storage *address, int fd)
{
	char site[NEXT_HOP_TEXT], target[OPENING_TARGET];
	enum open_end end = OPEN_DONE;
	struct reason why;

	o->up = upstream_new(o);
	if (o->up == NULL) {
		upstream_fail(o->failure, "4.3.0", "out of memory");
		if (fd >= 0)
			close(fd);
		return OPEN_OVER;
	}
	o->up->io.fd = fd;
	opening_remote(address, o->up->remote, sizeof(o->up->remote));
	snprintf(o->failure->remote, sizeof(o->failure->remote), "%s",
	    o->up->remote);
	if (fd < 0 &&
	    !upstream_io_connect(&o->up->io, address, o->up->timeouts.connect,
		&why))
		end = open_failed(o, OPEN_NEXT, "4.4.1", "connect", &why);
	if (end == OPEN_DONE) {
		log_line(SAY_DEBUG, "connect", "site=%s%s remote=%s",
		    next_hop_print(o->hop, site), opening_target(o, target),
		    o->up->remote);
		end = is_ourselves(o);
	}
	if (end == OPEN_DONE)
		end = open_connected(o);
	if (end != OPEN_DONE) {
		upstream_close(o->up);
		o->up = NULL;
	}
	return end;
}
