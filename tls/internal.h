/*
 * tls/internal.h: what the files of tls/ share.
 */
#ifndef TLS_INTERNAL_H
#define TLS_INTERNAL_H

#include <gnutls/abstract.h>
#include <gnutls/gnutls.h>
#include <gnutls/x509.h>
#include <stdatomic.h>

#include "tls.h"

enum {
	TLS_NAME_MAX = 253, /* DNS name, RFC 1035, 2.3.4 */

	/* A certificate message longer than this ends the handshake: time
	 * and memory for chains of strangers are bounded. */
	TLS_HANDSHAKE_OCTETS_MAX = 64 * 1024,

	TLS_KEY_BITS_MAX = 8200, /* of RSA keys in a peer's chain */

	/*
	 * Wake-ups in a row that brought no application data.  An honest
	 * peer adds at least one octet to a record each time; who needs more
	 * for a record sends key updates or alerts to keep us busy.
	 */
	TLS_IDLE_WAKEUPS_MAX = 17 * 1024,
};

struct tls_identity {
	atomic_uint references;
	gnutls_pcert_st chain[TLS_CHAIN_MAX];
	unsigned chain_len;
	gnutls_privkey_t key; /* answers by sign() */
	gnutls_pk_algorithm_t pk;
	unsigned bits;
	tls_sign sign;
	void *context;
	unsigned char spki[SPKI_OCTETS];
	char *names; /* as in facts, or NULL */
	size_t names_len;
	long long not_after;
	bool fits;
};

struct tls_server {
	atomic_uint references;
	struct tls_identity **identities;
	gnutls_ocsp_data_st *staples; /* of each identity */
	size_t identity_count;
	unsigned char ticket_key[TLS_TICKET_KEY_OCTETS];
	bool has_tickets;
	unsigned min;
};

struct tls_session {
	gnutls_session_t gnutls;
	struct tls_server *server; /* NULL: we are the client */
	/* Ours; of a server's once it is chosen, with the staple for it. */
	struct tls_identity *identity;
	gnutls_ocsp_data_st *staple;
	char *sni;   /* server: what the client asked for */
	unsigned suite_keys; /* server: tls_hello_keys of what it said */
	char *names; /* of the peer's certificate, for facts */
	unsigned idle_wakeups;
	bool done;   /* the handshake */
	bool failed; /* nothing more is sent */
	bool queued; /* GnuTLS holds octets of an unfinished write */
};

/* What all sessions of the process share; made by the first call. */
struct tls_library {
	gnutls_priority_t from_12, from_13;
	gnutls_certificate_credentials_t credentials;
	bool ok;
};
const struct tls_library *tls_library(struct reason *why); /* or NULL */
gnutls_priority_t tls_library_priority(const struct tls_library *library,
    unsigned min);
/* As that option of tls_session_connect says; an error code of the library. */
int tls_library_restrict(gnutls_session_t session, gnutls_pk_algorithm_t pk,
    unsigned only);

/* Which identity of session's server to show to this client: its index. */
size_t tls_server_choose(const struct tls_session *session);

/*
 * The peer's chain, parsed; count 0 if there is none.  False (REASON_CERT_BAD)
 * if it is too long or does not parse.  tls_chain_free frees.
 */
struct tls_chain {
	gnutls_x509_crt_t crt[TLS_CHAIN_MAX];
	unsigned count;
};
bool tls_chain_of(gnutls_session_t session, struct tls_chain *chain,
    struct reason *why);
void tls_chain_free(struct tls_chain *chain);

/* One certificate and who was found to have issued it, by the digests of both
 * (of the whole certificate: two authorities may have one name). */
enum { TLS_DIGEST_OCTETS = 32 };
struct tls_link {
	unsigned char subject[TLS_DIGEST_OCTETS], issuer[TLS_DIGEST_OCTETS];
	unsigned char issuer_spki[SPKI_OCTETS];
};
/* All that were found; the library may have tried more than one path. */
struct tls_links {
	struct tls_link link[2 * TLS_CHAIN_MAX];
	size_t count;
	bool failed; /* there were more, or one could not be read */
};

/* As tls_session_verify, of a chain that is not empty.  links may be NULL. */
enum chain_state tls_chain_verify(const struct tls_chain *chain,
    const struct tls_anchors *anchors, time_t now, struct tls_links *links);
/* The anchor that has the name of crt's issuer, or NULL.  Borrowed. */
gnutls_x509_crt_t tls_anchors_issuer(const struct tls_anchors *anchors,
    gnutls_x509_crt_t crt);
/* What the staple means for a chain that is good but for it: CHAIN_GOOD,
 * CHAIN_REVOKED or CHAIN_UNSTAPLED.  links are those of the chain. */
enum chain_state tls_staple_judge(const struct tls_session *session,
    const struct tls_chain *chain, const struct tls_anchors *anchors,
    const struct tls_links *links, time_t now);
bool tls_digest(gnutls_x509_crt_t crt,
    unsigned char out[static TLS_DIGEST_OCTETS]);
/* A key of more than TLS_KEY_BITS_MAX, or of unknown kind. */
bool tls_chain_has_huge_key(const struct tls_chain *chain);

/* What is signed of a certificate, and its SubjectPublicKeyInfo: borrowed
 * octets as they came.  False if certificate is not DER. */
bool tls_der_parts(const gnutls_datum_t *certificate, gnutls_datum_t *tbs_out,
    gnutls_datum_t *spki_out);

#endif
