/*
 * server/lookup_srv.c: SRV records between DNS and two roles.
 */
#include "lookup_srv.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>

#include "lookup_resolver.h"

enum {
	RDATA_HEAD = 6, /* priority, weight, port: RFC 2782 */
	LABEL_MAX = 63,
	FLAG_IMPLICIT_TLS = 1,
	FLAG_SECURE = 2,
};

void
srv_answer_init(struct srv_answer *answer, enum lookup_answer what,
    const char *text)
{
	size_t at = 0;

	memset(answer, 0, sizeof(*answer));
	answer->answer = what;
	/* Names in it may be a stranger's. */
	for (; text[at] != '\0' && at + 1 < sizeof(answer->text); at++)
		answer->text[at] =
		    text[at] < 0x20 || text[at] > 0x7e ? '?' : text[at];
}

/* --- from DNS ----------------------------------------------------------- */

/* A name in wire format that fills octets to their end, as text; false if it
 * is none.  The root is "". */
static bool
name_read(char out[static SRV_HOST_MAX + 1], const unsigned char *octets,
    size_t len)
{
	size_t at = 0, put = 0;

	while (at < len && octets[at] != 0) {
		size_t label = octets[at++];

		/* Resolvers hand names out whole: no pointers. */
		if (label > LABEL_MAX || label > len - at ||
		    put + label + 1 > SRV_HOST_MAX + 1)
			return false;
		for (; label > 0; label--, at++) {
			unsigned char c = octets[at];

			/* Dots inside a label would make two of it. */
			if (c <= ' ' || c > '~' || c == '.')
				return false;
			out[put++] = (char)(c >= 'A' && c <= 'Z' ? c + 32 : c);
		}
		out[put++] = '.';
	}
	out[put > 0 ? put - 1 : 0] = '\0';
	return at + 1 == len;
}

/* What looks like an address would be taken for one, unasked. */
static bool
is_target(const char *host)
{
	unsigned char address[4];

	return resolver_is_host(host) && inet_pton(AF_INET, host, address) != 1;
}

static bool
is_better(const struct srv_target *a, const struct srv_target *b)
{
	if (a->priority != b->priority)
		return a->priority < b->priority;
	return a->implicit_tls && !b->implicit_tls;
}

static bool
same_place(const struct srv_target *a, const struct srv_target *b)
{
	return a->port == b->port && a->implicit_tls == b->implicit_tls &&
	       strcmp(a->host, b->host) == 0;
}

/* Keeps them sorted; what does not fit falls off the end. */
static void
insert(struct srv_answer *answer, const struct srv_target *target)
{
	size_t at = 0, move;

	for (size_t i = 0; i < answer->count; i++)
		if (same_place(&answer->targets[i], target))
			return;
	while (at < answer->count && !is_better(target, &answer->targets[at]))
		at++;
	if (at == SRV_TARGETS_MAX)
		return;
	if (answer->count < SRV_TARGETS_MAX)
		answer->count++;
	move = answer->count - at - 1;
	memmove(&answer->targets[at + 1], &answer->targets[at],
	    move * sizeof(*target));
	answer->targets[at] = *target;
}

void
srv_answer_add(struct srv_answer *answer, const void *rdata, size_t len,
    bool implicit_tls, bool secure)
{
	const unsigned char *octets = rdata;
	struct srv_target target = {
		.implicit_tls = implicit_tls,
		.secure = secure,
	};

	if (len <= RDATA_HEAD ||
	    !name_read(target.host, octets + RDATA_HEAD, len - RDATA_HEAD))
		return;
	target.priority = (uint16_t)(octets[0] << 8 | octets[1]);
	target.weight = (uint16_t)(octets[2] << 8 | octets[3]);
	target.port = (uint16_t)(octets[4] << 8 | octets[5]);
	if (target.host[0] == '\0')
		answer->denied = true;
	else if (target.port != 0 && is_target(target.host))
		insert(answer, &target);
}

/* --- between the roles -------------------------------------------------- */

void
srv_answer_put(struct wire_writer *w, const struct srv_answer *answer)
{
	wire_put_u8(w, (uint8_t)answer->answer);
	wire_put_u8(w, (uint8_t)answer->count);
	for (size_t i = 0; i < answer->count; i++) {
		const struct srv_target *target = &answer->targets[i];

		wire_put_string(w, target->host);
		wire_put_u16(w, target->port);
		wire_put_u16(w, target->priority);
		wire_put_u16(w, target->weight);
		wire_put_u8(w,
		    (uint8_t)((target->implicit_tls ? FLAG_IMPLICIT_TLS : 0) |
			      (target->secure ? FLAG_SECURE : 0)));
	}
	wire_put_string(w, answer->text);
}

static bool
get_target(struct wire_reader *r, struct srv_target *target)
{
	uint8_t flags;

	if (!wire_get_string(r, target->host, sizeof(target->host)))
		return false;
	target->port = wire_get_u16(r);
	target->priority = wire_get_u16(r);
	target->weight = wire_get_u16(r);
	flags = wire_get_u8(r);
	target->implicit_tls = (flags & FLAG_IMPLICIT_TLS) != 0;
	target->secure = (flags & FLAG_SECURE) != 0;
	return !r->failed && flags <= (FLAG_IMPLICIT_TLS | FLAG_SECURE) &&
	       target->port != 0 && is_target(target->host);
}

bool
srv_answer_get(struct wire_reader *r, struct srv_answer *answer)
{
	uint8_t what = wire_get_u8(r), count = wire_get_u8(r);

	srv_answer_init(answer, (enum lookup_answer)what, "");
	if (what > LOOKUP_TROUBLE || count > SRV_TARGETS_MAX ||
	    (what == LOOKUP_FOUND) != (count > 0))
		return false;
	for (; answer->count < count; answer->count++)
		if (!get_target(r, &answer->targets[answer->count]))
			return false;
	if (!wire_get_string(r, answer->text, sizeof(answer->text)) ||
	    !wire_reader_done(r))
		return false;
	for (const char *c = answer->text; *c != '\0'; c++)
		if (*c < 0x20 || *c > 0x7e)
			return false;
	return true;
}
