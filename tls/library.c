/*
 * tls/library.c: priorities and credentials, which all sessions share.
 *
 * A priority made for each session would cost 8 KiB each; and one object of
 * credentials is enough because it holds no certificate: which one to show is
 * asked of the session.
 */
#include "internal.h"

#include <pthread.h>
#include <stdio.h>

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

/* What a client sends that can verify one kind of key only. */
#define ONLY(kx, signatures) ":-KX-ALL" kx ":-SIGN-ALL" signatures
#define ONLY_ECDSA                                                             \
	ONLY(":+ECDHE-ECDSA",                                                  \
	    ":+SIGN-ECDSA-SECP256R1-SHA256:+SIGN-ECDSA-SECP384R1-SHA384"       \
	    ":+SIGN-ECDSA-SECP521R1-SHA512:+SIGN-ECDSA-SHA256"                 \
	    ":+SIGN-ECDSA-SHA384:+SIGN-ECDSA-SHA512")
#define ONLY_ED25519 ONLY(":+ECDHE-ECDSA", ":+SIGN-EDDSA-ED25519")
#define ONLY_RSA                                                               \
	ONLY(":+ECDHE-RSA",                                                    \
	    ":+SIGN-RSA-PSS-RSAE-SHA256:+SIGN-RSA-PSS-RSAE-SHA384"             \
	    ":+SIGN-RSA-PSS-RSAE-SHA512:+SIGN-RSA-SHA256:+SIGN-RSA-SHA384"     \
	    ":+SIGN-RSA-SHA512")
#define ONLY_RSA_PSS                                                           \
	ONLY(":+ECDHE-RSA",                                                    \
	    ":+SIGN-RSA-PSS-SHA256:+SIGN-RSA-PSS-SHA384:+SIGN-RSA-PSS-SHA512")

static struct tls_library library;
static pthread_once_t library_once = PTHREAD_ONCE_INIT;

/* Only here is known what the client can verify. */
static void
choose(struct tls_session *session)
{
	size_t which = tls_server_choose(session);
	gnutls_ocsp_data_st *staple = &session->server->staples[which];

	session->identity = session->server->identities[which];
	session->staple = staple->response.data != NULL ? staple : NULL;
}

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
	struct tls_identity *identity;

	(void)info;
	*ocsp_out = NULL;
	*ocsp_count_out = 0;
	*flags = 0;
	*count_out = 0;
	if (session->server != NULL)
		choose(session);
	identity = session->identity;
	if (identity == NULL ||
	    (session->server == NULL && tls_identity_needs_tls13(identity) &&
		gnutls_protocol_get_version(gnutls) != GNUTLS_TLS1_3))
		return 0;
	*chain_out = identity->chain;
	*count_out = identity->chain_len;
	*key_out = identity->key;
	/* The library leaves it out where the client does not ask for it, and
	 * after its end. */
	if (session->staple != NULL) {
		*ocsp_out = session->staple;
		*ocsp_count_out = 1;
	}
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

int
tls_library_restrict(gnutls_session_t session, gnutls_pk_algorithm_t pk,
    unsigned only)
{
	char priority[1024];
	const char *keys = pk == GNUTLS_PK_ECDSA           ? ONLY_ECDSA
			   : pk == GNUTLS_PK_EDDSA_ED25519 ? ONLY_ED25519
			   : pk == GNUTLS_PK_RSA           ? ONLY_RSA
			   : pk == GNUTLS_PK_RSA_PSS       ? ONLY_RSA_PSS
							   : "";

	snprintf(priority, sizeof(priority), "NORMAL:-VERS-ALL%s%s%s%s",
	    only != 12 ? ":+VERS-TLS1.3" : "",
	    only != 13 ? ":+VERS-TLS1.2" : "", PRIORITY_REST, keys);
	return gnutls_priority_set_direct(session, priority, NULL);
}
