/*
 * tls/staple.c: what the OCSP response that came with a server's certificate
 * means (RFC 6066, section 8; RFC 7633).
 *
 * The library looks at it in a live session's own verification only, which is
 * not the one that is used here.
 */
#include <string.h>

#include "../pki/ocsp.h"
#include "internal.h"
#include "peer.h"

static bool
has_digest(gnutls_x509_crt_t crt, const unsigned char *digest)
{
	unsigned char own[TLS_DIGEST_OCTETS];

	return crt != NULL && tls_digest(crt, own) &&
	       memcmp(own, digest, sizeof(own)) == 0;
}

/*
 * Whose signature on the end entity was verified: one that merely has the
 * issuer's name could be anybody's.  NULL: nobody's was, it is an anchor
 * itself.
 */
static gnutls_x509_crt_t
find_issuer(const struct tls_chain *chain, const struct tls_anchors *anchors,
    const struct tls_links *links)
{
	gnutls_x509_crt_t anchor = tls_anchors_issuer(anchors, chain->crt[0]);

	for (size_t i = 0; !links->failed && i < links->count; i++) {
		const struct tls_link *link = &links->link[i];

		if (!has_digest(chain->crt[0], link->subject))
			continue;
		if (has_digest(anchor, link->issuer))
			return anchor;
		for (unsigned j = 0; j < chain->count; j++)
			if (has_digest(chain->crt[j], link->issuer))
				return chain->crt[j];
	}
	return NULL;
}

enum chain_state
tls_staple_judge(const struct tls_session *session,
    const struct tls_chain *chain, const struct tls_anchors *anchors,
    const struct tls_links *links, time_t now)
{
	bool is_demanded = ocsp_is_demanded(chain->crt[0]);
	gnutls_datum_t der = { NULL, 0 };
	struct ocsp ocsp;

	if (!tls_session_staple(session, &der) && !is_demanded)
		return CHAIN_GOOD;
	ocsp_read(&ocsp, &der, chain->crt[0],
	    find_issuer(chain, anchors, links), now);
	if (ocsp.state == OCSP_REVOKED)
		return CHAIN_REVOKED;
	return ocsp.state == OCSP_GOOD || !is_demanded ? CHAIN_GOOD
						       : CHAIN_UNSTAPLED;
}
