/*
 * tls/peer.c: the certificates and the stapled response as they came.
 */
#include "peer.h"

#include "internal.h"

bool
tls_session_certificate(const struct tls_session *session, unsigned i,
    gnutls_datum_t *der_out)
{
	const gnutls_datum_t *der;
	unsigned count = 0;

	if (!session->done)
		return false;
	der = gnutls_certificate_get_peers(session->gnutls, &count);
	if (der == NULL || i >= count)
		return false;
	*der_out = der[i];
	return true;
}

bool
tls_session_staple(const struct tls_session *session, gnutls_datum_t *der_out)
{
	return session->done &&
	       gnutls_ocsp_status_request_get(session->gnutls, der_out) >= 0 &&
	       der_out->size > 0;
}
