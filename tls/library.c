/*
 * tls/library.c: priorities and credentials, which all sessions share.
 *
 * A priority made for each session would cost 8 KiB each; and one object of
 * credentials is enough because it holds no certificate: which one to show is
 * asked of the session.
 */
#include "internal.h"

#include <pthread.h>

/*
 * RFC 9325, 4.2: forward secrecy and AEAD only.  No RSA key exchange, no CBC,
 * no finite field groups (8192 bits of them would be offered), no PSK
 * credentials, no SHA-1 signatures (RFC 9155).  Under TLS 1.2 the extended
 * master secret is demanded after the handshake: this version has no keyword
 * for it.
 */
#define PRIORITY_REST                                                          \
	":-KX-ALL:+ECDHE-ECDSA:+ECDHE-RSA"                                     \
	":-CIPHER-ALL:+AES-256-GCM:+AES-128-GCM:+CHACHA20-POLY1305"            \
	":-MAC-ALL:+AEAD"                                                      \
	":-GROUP-ALL:+GROUP-X25519:+GROUP-SECP256R1:+GROUP-SECP384R1"          \
	":-SIGN-RSA-SHA1:-SIGN-ECDSA-SHA1:%SERVER_PRECEDENCE"
#define PRIORITY_FROM_12                                                       \
	"NORMAL:-VERS-ALL:+VERS-TLS1.3:+VERS-TLS1.2" PRIORITY_REST
#define PRIORITY_FROM_13 "NORMAL:-VERS-ALL:+VERS-TLS1.3" PRIORITY_REST

static struct tls_library library;
static pthread_once_t library_once = PTHREAD_ONCE_INIT;

/*
 * The session's own identity.  It is shown whether or not the other side
 * lists its issuer: the operator named it for this peer.  An Ed25519 client
 * key would have to sign the whole transcript under TLS 1.2, which no signer
 * accepts: there it is not shown.
 */
static int
retrieve(gnutls_session_t gnutls, const struct gnutls_cert_retr_st *info,
    gnutls_pcert_st **chain_out, unsigned *count_out,
    gnutls_ocsp_data_st **ocsp_out, unsigned *ocsp_count_out,
    gnutls_privkey_t *key_out, unsigned *flags)
{
	struct tls_session *session = gnutls_session_get_ptr(gnutls);
	struct tls_identity *identity = session->identity;

	(void)info;
	*ocsp_out = NULL;
	*ocsp_count_out = 0;
	*flags = 0;
	*count_out = 0;
	if (identity == NULL ||
	    (session->server == NULL && tls_identity_needs_tls13(identity) &&
		gnutls_protocol_get_version(gnutls) != GNUTLS_TLS1_3))
		return 0;
	*chain_out = identity->chain;
	*count_out = identity->chain_len;
	*key_out = identity->key;
	return 0;
}

static void
library_make(void)
{
	if (gnutls_priority_init(&library.from_12, PRIORITY_FROM_12, NULL) <
		0 ||
	    gnutls_priority_init(&library.from_13, PRIORITY_FROM_13, NULL) <
		0 ||
	    gnutls_certificate_allocate_credentials(&library.credentials) < 0)
		return;
	gnutls_certificate_set_retrieve_function3(library.credentials,
	    retrieve);
	gnutls_certificate_set_verify_limits(library.credentials,
	    TLS_KEY_BITS_MAX, TLS_CHAIN_MAX);
	library.ok = true;
}

const struct tls_library *
tls_library(struct reason *why)
{
	pthread_once(&library_once, library_make);
	if (!library.ok) {
		fail(why, REASON_INTERNAL,
		    "GnuTLS %s does not take our priorities",
		    gnutls_check_version(NULL));
		return NULL;
	}
	return &library;
}

gnutls_priority_t
tls_library_priority(const struct tls_library *shared, unsigned min)
{
	return min >= 13 ? shared->from_13 : shared->from_12;
}
