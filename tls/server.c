/*
 * tls/server.c: what a listener offers.
 */
#include "internal.h"

#include <gnutls/crypto.h>
#include <stdlib.h>
#include <string.h>

#include "hello.h"

static bool
copy_staples(struct tls_server *server, const struct tls_staple *staples)
{
	size_t i;

	server->staples =
	    calloc(server->identity_count, sizeof(*server->staples));
	if (server->staples == NULL)
		return false;
	for (i = 0; staples != NULL && i < server->identity_count; i++) {
		gnutls_datum_t *to = &server->staples[i].response;

		if (staples[i].response.data == NULL)
			continue;
		to->data = malloc(staples[i].response.size);
		if (to->data == NULL)
			return false;
		to->size = staples[i].response.size;
		memcpy(to->data, staples[i].response.data, to->size);
		server->staples[i].exptime = staples[i].until;
	}
	return true;
}

bool
tls_server_new(struct tls_server **server_out,
    const struct tls_server_options *options, struct reason *why)
{
	struct tls_server *server;
	size_t i;

	if (options->identity_count == 0)
		return fail(why, REASON_ABSENT,
		    "no certificate for a listener, expected at least one");
	if (tls_library(why) == NULL)
		return false;
	server = calloc(1, sizeof(*server));
	if (server == NULL)
		return fail(why, REASON_NO_MEMORY, "TLS server");
	server->identities =
	    calloc(options->identity_count, sizeof(*server->identities));
	if (server->identities == NULL) {
		free(server);
		return fail(why, REASON_NO_MEMORY, "TLS server");
	}
	for (i = 0; i < options->identity_count; i++)
		server->identities[i] =
		    tls_identity_ref(options->identities[i]);
	server->identity_count = options->identity_count;
	atomic_init(&server->references, 1);
	if (!copy_staples(server, options->staples)) {
		tls_server_unref(server);
		return fail(why, REASON_NO_MEMORY, "TLS server");
	}
	if (options->ticket_key != NULL) {
		memcpy(server->ticket_key, options->ticket_key,
		    TLS_TICKET_KEY_OCTETS);
		server->has_tickets = true;
	}
	server->min = options->min;
	*server_out = server;
	return true;
}

struct tls_server *
tls_server_ref(struct tls_server *server)
{
	atomic_fetch_add(&server->references, 1);
	return server;
}

void
tls_server_unref(struct tls_server *server)
{
	size_t i;

	if (server == NULL || atomic_fetch_sub(&server->references, 1) != 1)
		return;
	for (i = 0; i < server->identity_count; i++) {
		tls_identity_unref(server->identities[i]);
		if (server->staples != NULL)
			free(server->staples[i].response.data);
	}
	free(server->identities);
	free(server->staples);
	explicit_bzero(server->ticket_key, sizeof(server->ticket_key));
	free(server);
}

/* --- choosing ---------------------------------------------------------- */

/* RFC 8446, section 4.2.3: with ECDSA the algorithm names the curve, and RSA
 * keys sign with PSS only. */
static bool
fits_tls13(gnutls_sign_algorithm_t algorithm,
    const struct tls_identity *identity)
{
	unsigned hash_bits =
	    8 * gnutls_hash_get_len(
		    (gnutls_digest_algorithm_t)gnutls_sign_get_hash_algorithm(
			algorithm));

	if (identity->pk == GNUTLS_PK_RSA)
		return algorithm == GNUTLS_SIGN_RSA_PSS_RSAE_SHA256 ||
		       algorithm == GNUTLS_SIGN_RSA_PSS_RSAE_SHA384 ||
		       algorithm == GNUTLS_SIGN_RSA_PSS_RSAE_SHA512;
	if (identity->pk == GNUTLS_PK_ECDSA)
		return identity->bits == (hash_bits == 512 ? 521 : hash_bits);
	return true;
}

/* A client that says nothing about signatures is left to the library. */
static bool
has_algorithm(gnutls_session_t gnutls, const struct tls_identity *identity)
{
	bool is_tls13 = gnutls_protocol_get_version(gnutls) == GNUTLS_TLS1_3;
	gnutls_sign_algorithm_t algorithm;
	size_t i;

	for (i = 0;
	     gnutls_sign_algorithm_get_requested(gnutls, i, &algorithm) >= 0;
	     i++)
		if (gnutls_sign_supports_pk_algorithm(algorithm,
			identity->pk) &&
		    (!is_tls13 || fits_tls13(algorithm, identity)))
			return true;
	return i == 0;
}

static bool
is_rsa(const struct tls_identity *identity)
{
	return identity->pk == GNUTLS_PK_RSA ||
	       identity->pk == GNUTLS_PK_RSA_PSS;
}

static bool
can_verify(const struct tls_session *session,
    const struct tls_identity *identity)
{
	if (gnutls_protocol_get_version(session->gnutls) != GNUTLS_TLS1_3 &&
	    (session->suite_keys &
		(is_rsa(identity) ? TLS_KEYS_RSA : TLS_KEYS_ECDSA)) == 0)
		return false;
	return has_algorithm(session->gnutls, identity);
}

/* The first DNS name, or NULL. */
static const char *
first_name(const struct tls_identity *identity)
{
	const char *end = identity->names + identity->names_len;
	const char *at;

	for (at = identity->names; at != end; at += strlen(at) + 1)
		if (strncmp(at, "dns:", 4) == 0)
			return at + 4;
	return NULL;
}

static bool
has_name(const struct tls_server *server, const char *name)
{
	size_t i;

	for (i = 0; i < server->identity_count; i++)
		if (tls_identity_has_name(server->identities[i], name))
			return true;
	return false;
}

/* Who asks for nobody we are gets the default: the client's own check of the
 * name tells its user. */
size_t
tls_server_choose(const struct tls_session *session)
{
	const struct tls_server *server = session->server;
	const char *name = session->sni;
	size_t i, rsa = server->identity_count;

	if (name == NULL || !has_name(server, name))
		name = first_name(server->identities[0]);
	if (name == NULL)
		return 0;
	for (i = 0; i < server->identity_count; i++) {
		const struct tls_identity *identity = server->identities[i];

		if (!tls_identity_has_name(identity, name) ||
		    !can_verify(session, identity))
			continue;
		if (!is_rsa(identity))
			return i;
		if (rsa == server->identity_count)
			rsa = i;
	}
	if (rsa < server->identity_count)
		return rsa;
	/* None will do: the library says so. */
	for (i = 0; i < server->identity_count; i++)
		if (tls_identity_has_name(server->identities[i], name))
			return i;
	return 0;
}
