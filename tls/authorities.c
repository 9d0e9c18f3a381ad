/*
 * tls/authorities.c: who vouches for the peer's certificate.
 */
#include "internal.h"

#include <string.h>

/* Who issued the certificate of that digest; NULL: an anchor, or nobody. */
static const struct tls_link *
find_link(const struct tls_links *links, const unsigned char *subject)
{
	for (size_t i = 0; i < links->count; i++)
		if (memcmp(links->link[i].subject, subject,
			TLS_DIGEST_OCTETS) == 0)
			return &links->link[i];
	return NULL;
}

/* From the end entity upwards: a link that does not hang together with it is of
 * a path that led nowhere. */
static bool
follow(const struct tls_links *links, gnutls_x509_crt_t end_entity,
    unsigned char out[static TLS_CHAIN_MAX][SPKI_OCTETS], size_t *count_out)
{
	unsigned char at[TLS_DIGEST_OCTETS];
	const struct tls_link *link;
	size_t count = 0;

	if (links->failed || !tls_digest(end_entity, at))
		return false;
	while ((link = find_link(links, at)) != NULL) {
		/* An anchor that has signed itself is its end. */
		if (memcmp(link->issuer, at, sizeof(at)) == 0)
			break;
		if (count == TLS_CHAIN_MAX)
			return false;
		memcpy(out[count++], link->issuer_spki, SPKI_OCTETS);
		memcpy(at, link->issuer, sizeof(at));
	}
	*count_out = count;
	return true;
}

enum chain_state
tls_session_authorities(struct tls_session *session,
    const struct tls_anchors *anchors, time_t now,
    unsigned char out[static TLS_CHAIN_MAX][SPKI_OCTETS], size_t *count_out)
{
	struct tls_links links = { .count = 0 };
	struct tls_chain chain;
	enum chain_state state;

	*count_out = 0;
	if (!tls_chain_of(session->gnutls, &chain, NULL))
		return CHAIN_BAD;
	state = chain.count == 0
		    ? CHAIN_UNCHECKED
		    : tls_chain_verify(&chain, anchors, now, &links);
	if (state == CHAIN_GOOD &&
	    !follow(&links, chain.crt[0], out, count_out))
		state = CHAIN_BAD;
	tls_chain_free(&chain);
	return state;
}
