/*
 * tls/peer.h: what the other side of a TLS session showed, octet by octet,
 * for tools that list it.  Judging goes by tls/tls.h.
 */
#ifndef TLS_PEER_H
#define TLS_PEER_H

#include "tls.h"

/* The i-th certificate of the presented chain, as DER, whether it can be read
 * or not; false past the last.  Borrowed until the session is freed. */
bool tls_session_certificate(const struct tls_session *session, unsigned i,
    gnutls_datum_t *der_out);

/* The stapled OCSP response for the end entity (RFC 6066, section 8; RFC 8446,
 * section 4.4.2.1), as DER; false if there is none.  Borrowed likewise. */
bool tls_session_staple(const struct tls_session *session,
    gnutls_datum_t *der_out);

#endif
