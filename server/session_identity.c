/*
 * server/session_identity.c: what a client's certificate is known by.
 *
 * Its key, always: the client has proved that it holds it, and no authority
 * needs to vouch for that.  Its names too, if this listener's own authorities
 * (client-ca), and nobody else's, vouch for it as a client's certificate.  This
 * is asked whenever somebody is to be let in by it, by the configuration in
 * force then: the connection may have begun long ago.
 */
#include <gnutls/crypto.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "../auth/entry.h"
#include "log.h"
#include "session.h"

/* A connection that stays is judged again after so long. */
enum { JUDGED_FOR_S = 60 };

static const char *const chain_words[] = {
	[CHAIN_UNCHECKED] = "unchecked",
	[CHAIN_GOOD] = "good",
	[CHAIN_UNTRUSTED] = "untrusted",
	[CHAIN_SELF_SIGNED] = "self-signed",
	[CHAIN_EXPIRED] = "expired",
	[CHAIN_NOT_YET_VALID] = "not-yet-valid",
	[CHAIN_REVOKED] = "revoked",
	[CHAIN_REVOCATION_UNKNOWN] = "revocation-unknown",
	[CHAIN_UNSTAPLED] = "unstapled",
	[CHAIN_WEAK] = "weak",
	[CHAIN_BAD] = "bad",
};

struct authorities {
	size_t count;
	unsigned char of[TLS_CHAIN_MAX][SPKI_OCTETS];
};

/* Names that an entry can be bound to; a wildcard is nobody's name. */
static bool
is_bindable(const char *name)
{
	if (strlen(name) > ENTRY_SAN_MAX)
		return false;
	return strncmp(name, "email:", 6) == 0 ||
	       (strncmp(name, "dns:", 4) == 0 && strchr(name, '*') == NULL);
}

/* False if there are too many. */
static bool
add_names(struct identities *out, const struct facts *facts,
    const struct authorities *authorities)
{
	const char *name = facts->names, *end = name + facts->names_len;

	for (; name < end; name += strlen(name) + 1) {
		if (!is_bindable(name))
			continue;
		for (size_t i = 0; i < authorities->count; i++) {
			if (out->count == AUTH_IDENTITIES_MAX)
				return false;
			entry_san_id(authorities->of[i], name,
			    out->of[out->count++]);
		}
	}
	return true;
}

/* Too many names are as good as none: which of them would count? */
static void
add_vouched(struct session *s, const struct tls_anchors *anchors,
    struct identities *out)
{
	struct authorities authorities;
	struct facts facts;
	enum chain_state state = tls_session_authorities(s->tls, anchors,
	    time(NULL), authorities.of, &authorities.count);
	bool is_for_clients, fits = true;

	tls_session_facts(s->tls, CERT_FOR_CLIENT, &facts);
	is_for_clients = facts.purpose == PURPOSE_YES;
	if (state == CHAIN_GOOD && is_for_clients && facts.names != NULL)
		fits = add_names(out, &facts, &authorities);
	if (!fits)
		out->count = 1;
	log_line(SAY_NOTE, "certificate",
	    "session=%s listener=%s chain=%s for-clients=%s names=%zu%s", s->id,
	    session_service(s)->config->name, chain_words[state],
	    is_for_clients ? "yes" : "no", out->count - 1,
	    fits ? "" : " detail=\"more names than are looked at\"");
}

/* By the configuration in force, which may have no such listener any more. */
static void
find(struct session *s, struct generation *generation, struct identities *out)
{
	const struct config_listener *listener = config_listener(
	    generation->config, session_service(s)->config->name);
	const struct tls_anchors *anchors =
	    listener != NULL ? generation_anchors(generation, listener, "", "")
			     : NULL;

	memcpy(out->of[0], s->certificate->spki, SPKI_OCTETS);
	out->count = 1;
	if (anchors != NULL)
		add_vouched(s, anchors, out);
}

static void
digest(const struct identities *identities, unsigned char out[static 32])
{
	gnutls_hash_fast(GNUTLS_DIG_SHA256, identities->of,
	    identities->count * SPKI_OCTETS, out);
}

void
session_identities(struct session *s, struct identities *out)
{
	struct generation *generation = generation_current();

	find(s, generation, out);
	s->certificate->number = generation->number;
	s->certificate->at = server_now();
	digest(out, s->certificate->known_by);
	generation_unref(generation);
}

static bool
is_known_by_the_same(struct session *s)
{
	unsigned char before[sizeof s->certificate->known_by];
	struct identities now;

	memcpy(before, s->certificate->known_by, sizeof before);
	session_identities(s, &now);
	return memcmp(before, s->certificate->known_by, sizeof before) == 0;
}

bool
session_certificate_lasts(struct session *s)
{
	struct generation *generation;
	bool is_new;

	if ((s->facts & AUTHED) == 0 ||
	    (s->facts & (BY_PASSWORD | IN_MAIL)) != 0)
		return true;
	generation = generation_current();
	is_new = generation->number != s->certificate->number;
	generation_unref(generation);
	return (!is_new && server_now() - s->certificate->at < JUDGED_FOR_S) ||
	       is_known_by_the_same(s);
}
