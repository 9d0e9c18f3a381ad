/*
 * server/auth_sasl.c: exchanges that run in a helper: CRAM-MD5, DIGEST-MD5 and
 * GSSAPI.
 *
 * The helper reads what the client sends and may be in the client's hands.  So
 * it is given one name's secret at most, and of what it says to have proved we
 * believe no more than it could have proved: that name, or a principal of our
 * realms.
 */
#include <gnutls/crypto.h>
#include <stdio.h>
#include <string.h>

#include "../policy/hex.h"
#include "auth_dialogue.h"
#include "log.h"

enum {
	AUTHID_SIZE = 1024,
	SECRET_OCTETS = 16, /* of one that nobody knows */
};

struct begin {
	const char *mechanism;
	const gnutls_datum_t *initial; /* or NULL */
};

static void
write_exchange(struct wire_writer *w, const void *context)
{
	const struct begin *begin = context;
	const gnutls_datum_t *initial = begin->initial;

	wire_put_string(w, begin->mechanism);
	wire_put_u8(w, initial != NULL);
	wire_put_bytes(w, initial != NULL ? initial->data : NULL,
	    initial != NULL ? initial->size : 0);
}

void
sasl_step(struct dialogue *d, const gnutls_datum_t *response)
{
	const struct begin begin = { mechanism_name(d->mechanism), response };

	if (d->asked > 1)
		helper_send(d, HELPER_STEP, response);
	else if (response != NULL && d->mechanism != MECHANISM_GSSAPI)
		/* RFC 4954, 4: the server speaks first. */
		dialogue_decide(d, AUTH_MALFORMED,
		    "initial response to a mechanism that has none");
	else
		helper_begin(d, HELPER_EXCHANGE, write_exchange, &begin);
}

static void
take_claim(struct dialogue *d, const char *authid)
{
	snprintf(d->claimed, sizeof d->claimed, "%.*s", EXCHANGE_CLAIMED_MAX,
	    authid);
	if (!name_parse(d->name, authid, d->config->config->realm, NULL))
		d->name[0] = '\0';
}

/* A secret that nobody knows: who is unknown, or not marked, must look like
 * one who has mistyped his password. */
static bool
make_secret(char out[static ENTRY_LEGACY_MAX + 1])
{
	unsigned char octets[SECRET_OCTETS];

	if (gnutls_rnd(GNUTLS_RND_NONCE, octets, sizeof octets) < 0)
		return false;
	hex_print(out, octets, sizeof octets);
	return true;
}

/* False: it cannot be told now. */
static bool
find_secret(struct dialogue *d, char out[static ENTRY_LEGACY_MAX + 1])
{
	struct store *store = auth_store(d->role);
	struct entry entry;
	struct reason why = { 0 };
	bool ok = store != NULL && make_secret(out);

	if (!ok)
		return false;
	if (store_get(store, d->name[0] != '\0' ? d->name : d->claimed, &entry,
		&why)) {
		if (d->name[0] != '\0' && entry.enabled && entry.has_legacy) {
			strcpy(out, entry.legacy);
			d->has_secret = true;
			d->change = entry.change;
		}
	} else if (why.code != REASON_ABSENT) {
		log_line(SAY_ALARM, "store", "reason=%s detail=\"%s\"",
		    reason_word(why.code), why.text);
		ok = false;
	}
	explicit_bzero(&entry, sizeof entry);
	return ok;
}

static void
give_secret(struct dialogue *d, const char *authid)
{
	char secret[ENTRY_LEGACY_MAX + 1];
	gnutls_datum_t octets = { (unsigned char *)secret, 0 };

	d->was_asked = true;
	take_claim(d, authid);
	if (find_secret(d, secret)) {
		octets.size = (unsigned)strlen(secret);
		helper_send(d, HELPER_SECRET, &octets);
	} else {
		dialogue_decide(d, AUTH_UNAVAILABLE,
		    "the store cannot be read");
	}
	explicit_bzero(secret, sizeof secret);
}

/* RFC 4422, appendix A: it is empty or one's own. */
static bool
is_own(const struct dialogue *d, const char *authzid)
{
	char other[NAME_SIZE];

	return *authzid == '\0' ||
	       (name_parse(other, authzid, d->config->config->realm, NULL) &&
		   strcmp(other, d->name) == 0);
}

/* Who knows the secret of d->name. */
static void
judge_secret(struct dialogue *d, const char *authid, const char *authzid)
{
	char name[NAME_SIZE];

	if (!name_parse(name, authid, d->config->config->realm, NULL) ||
	    strcmp(name, d->name) != 0 || !d->has_secret) {
		/* The client cannot know a secret that nobody knows. */
		log_line(SAY_ALARM, "protocol",
		    "peer=helpers detail=\"a name that it cannot have "
		    "proved\"");
		dialogue_decide(d, AUTH_DENIED, "not the name that was asked");
	} else if (!is_own(d, authzid)) {
		dialogue_decide(d, AUTH_DENIED,
		    "authorization identity of somebody else");
	} else {
		dialogue_prove(d, d->name);
	}
}

static bool
is_kerberos_realm(const struct config *config, const char *realm)
{
	for (size_t i = 0; i < config->kerberos_realm_count; i++)
		if (strcmp(config->kerberos_realms[i], realm) == 0)
			return true;
	return false;
}

/*
 * The login of a principal: NAME@REALM, without instances (NAME/admin@REALM
 * may be somebody else) and without what Kerberos would have to escape.  Two
 * principals are never one login: SASLprep must have nothing to change.
 */
static bool
principal_parse(struct dialogue *d, const char *principal)
{
	const char *at = strchr(principal, '@');

	return at != NULL && strpbrk(principal, "/\\") == NULL &&
	       is_kerberos_realm(d->config->config, at + 1) &&
	       name_parse(d->name, principal, NULL, NULL) &&
	       name_is_as_given(d->name, principal);
}

static void
judge_principal(struct dialogue *d, const char *principal, const char *authzid)
{
	snprintf(d->claimed, sizeof d->claimed, "%.*s", EXCHANGE_CLAIMED_MAX,
	    principal);
	if (!principal_parse(d, principal)) {
		d->name[0] = '\0';
		dialogue_decide(d, AUTH_DENIED,
		    "the principal is no login here");
	} else if (!is_own(d, authzid)) {
		dialogue_decide(d, AUTH_DENIED,
		    "authorization identity of somebody else");
	} else {
		dialogue_prove(d, d->name);
	}
}

static bool
take_proof(struct dialogue *d, struct wire_reader *r)
{
	char authid[AUTHID_SIZE], authzid[AUTHID_SIZE];

	if (!wire_get_string(r, authid, sizeof authid) ||
	    !wire_get_string(r, authzid, sizeof authzid) ||
	    !wire_reader_done(r) ||
	    d->was_asked != (d->mechanism != MECHANISM_GSSAPI))
		return false;
	if (d->mechanism == MECHANISM_GSSAPI)
		judge_principal(d, authid, authzid);
	else
		judge_secret(d, authid, authzid);
	return true;
}

bool
sasl_helper_says(struct dialogue *d, enum message type, struct wire_reader *r)
{
	char authid[AUTHID_SIZE];
	gnutls_datum_t challenge;

	switch (type) {
	case HELPER_CHALLENGE:
		challenge = wire_get_bytes(r, EXCHANGE_RESPONSE_MAX);
		if (!wire_reader_done(r))
			return false;
		dialogue_challenge(d, challenge);
		return true;
	case HELPER_NEED_SECRET:
		if (!wire_get_string(r, authid, sizeof authid) ||
		    !wire_reader_done(r) || d->was_asked ||
		    d->mechanism == MECHANISM_GSSAPI)
			return false;
		give_secret(d, authid);
		return true;
	case HELPER_PROVED:
		return take_proof(d, r);
	default:
		return false;
	}
}
