/*
 * tls/tls.h: TLS connections over GnuTLS, both sides.
 *
 * No role of ours that speaks TLS holds a private key: an identity is a
 * public chain and a function that has its key sign somewhere else.
 * Objects made by *_new that many sessions share are counted: *_ref, *_unref;
 * they never change once made and may be shared by threads.  A session
 * belongs to one thread at a time.
 */
#ifndef TLS_TLS_H
#define TLS_TLS_H

#include <gnutls/abstract.h>
#include <gnutls/gnutls.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

#include "../pki/cert.h"
#include "../policy/facts.h"
#include "../policy/reason.h"

enum {
	TLS_CHAIN_MAX = 8,
	TLS_BINDING_OCTETS = 32, /* tls-exporter, RFC 9266 */
	TLS_TICKET_KEY_OCTETS = 64,
	TLS_SIGN_INPUT_MAX = 176, /* octets to be signed, or hash */
	TLS_SIGNATURE_MAX = 1024,
};

/* "Sign this with that key."  Encoded, it is less than 256 octets. */
struct tls_sign_request {
	unsigned char spki[SPKI_OCTETS]; /* which key */
	unsigned algorithm;              /* gnutls_sign_algorithm_t */
	bool is_data; /* input is the message, not its hash */
	size_t input_len;
	unsigned char input[TLS_SIGN_INPUT_MAX];
};

/* Answers in at most 2 s or fails; called on the session's own thread.
 * *signature_len is the capacity on entry. */
typedef bool (*tls_sign)(void *context, const struct tls_sign_request *request,
    unsigned char *signature, size_t *signature_len);

/* A public chain (PEM, end entity first) whose key signs by sign(), which is
 * not called before there is a handshake. */
struct tls_identity;
bool tls_identity_new(struct tls_identity **identity_out,
    const gnutls_datum_t *chain_pem, enum cert_purpose purpose, tls_sign sign,
    void *context, struct reason *why);
struct tls_identity *tls_identity_ref(struct tls_identity *identity);
void tls_identity_unref(struct tls_identity *identity);
/* Its certificate's EKU allows the purpose it was made for. */
bool tls_identity_fits(const struct tls_identity *identity);
/* Ed25519: as a client identity it is shown under TLS 1.3 only. */
bool tls_identity_needs_tls13(const struct tls_identity *identity);
gnutls_pk_algorithm_t tls_identity_pk(const struct tls_identity *identity);
/* Is name (lower case, no trailing dot) one of the identity's, wildcards of
 * one label included? */
bool tls_identity_has_name(const struct tls_identity *identity,
    const char *name);
const unsigned char *tls_identity_spki(const struct tls_identity *identity);
long long tls_identity_not_after(const struct tls_identity *identity);

/*
 * The signing side, for the signer role alone: a private key in PEM (ECDSA,
 * Ed25519, RSA of 2048 bits or more).  tls_key_sign serves ECDSA hashes,
 * RSA-PSS hashes, the DigestInfo of SHA-2 hashes that TLS 1.2 with RSA needs,
 * and with Ed25519 the octets a CertificateVerify or ServerKeyExchange of
 * that side covers; anything else is refused (REASON_PROTOCOL).
 * side: CERT_FOR_CLIENT signs as a TLS client.  Threads: any.
 */
struct tls_key;
bool tls_key_new(struct tls_key **key_out, const gnutls_datum_t *pem,
    struct reason *why);
/*
 * The same of a key that is somewhere else, as in a token, and belongs to that
 * public key (SubjectPublicKeyInfo in DER).  Whether it does is tried with each
 * form of signature that is to come: REASON_CERT_BAD if it is another's.  key is
 * handed over on success.
 */
bool tls_key_take(struct tls_key **key_out, gnutls_privkey_t key,
    const gnutls_datum_t *public_der, struct reason *why);
void tls_key_free(struct tls_key *key); /* wipes */
const unsigned char *tls_key_spki(const struct tls_key *key);
bool tls_key_sign(const struct tls_key *key, enum cert_purpose side,
    const struct tls_sign_request *request, unsigned char *signature,
    size_t *signature_len, struct reason *why);

/* Trust anchors and optional CRL, both PEM.  A CRL that cannot be added, is
 * not signed by an anchor, or is stale makes every verification end in
 * CHAIN_REVOCATION_UNKNOWN, never in CHAIN_GOOD; so does a path with a
 * certificate whose issuer has no CRL there. */
struct tls_anchors;
bool tls_anchors_new(struct tls_anchors **anchors_out,
    const gnutls_datum_t *anchors_pem, const gnutls_datum_t *crl_pem,
    struct reason *why);
void tls_anchors_free(struct tls_anchors *anchors); /* NULL is fine */

/* An OCSP response (DER) to be stapled until that second; data NULL: none. */
struct tls_staple {
	gnutls_datum_t response;
	time_t until;
};

/*
 * What a listener offers.  Of the identities that have the name a client asks
 * for it is shown the first whose key it can verify, keys of RSA after all
 * others; who asks for no name, or for one that none has, gets the default's
 * name.
 */
struct tls_server_options {
	struct tls_identity *const *identities; /* [0] is the default */
	size_t identity_count;                  /* chosen by SNI and SAN */
	const struct tls_staple *staples; /* one each; NULL: none at all */
	const unsigned char *ticket_key; /* TLS_TICKET_KEY_OCTETS, or NULL */
	unsigned min;                    /* 12 or 13 */
};
struct tls_server;
bool tls_server_new(struct tls_server **server_out,
    const struct tls_server_options *options, struct reason *why);
struct tls_server *tls_server_ref(struct tls_server *server);
void tls_server_unref(struct tls_server *server);

enum tls_io {
	TLS_IO_DONE,
	TLS_IO_READ,      /* wait until the socket is readable */
	TLS_IO_WRITE,     /* wait until the socket is writable */
	TLS_IO_EOF,       /* close_notify received */
	TLS_IO_TRUNCATED, /* end of file without close_notify */
	TLS_IO_FAILED,    /* why is filled; an alert was sent where due */
};

struct tls_session;

/*
 * Server side of a handshake on a non-blocking socket, which the session
 * borrows.  ask_certificate: request (never require) a client certificate;
 * such a session neither issues nor accepts tickets.  Holds a reference to
 * server.  An ALPN list without "smtp" ends the handshake.
 */
bool tls_session_accept(struct tls_session **session_out,
    struct tls_server *server, int fd, bool ask_certificate,
    struct reason *why);

struct tls_connect_options {
	const char *sni; /* A-label host name, or NULL (address literals) */
	struct tls_identity *identity; /* client certificate, or NULL: none */
	unsigned min;                  /* 0 means 12 */
	/* For trials: a client that can do no more.  GNUTLS_PK_UNKNOWN: any
	 * key; GNUTLS_PK_ECDSA, _RSA, _RSA_PSS, _EDDSA_ED25519: a server with
	 * such a key only.  only: 12 or 13, 0: any version. */
	gnutls_pk_algorithm_t pk;
	unsigned only;
};
/* Client side; works on blocking sockets with SO_RCVTIMEO/SO_SNDTIMEO or on
 * non-blocking ones.  Accepts any certificate: judging is policy's. */
bool tls_session_connect(struct tls_session **session_out,
    const struct tls_connect_options *options, int fd, struct reason *why);

void tls_session_free(struct tls_session *session); /* NULL is fine */

/* Fails (TLS_IO_FAILED) under TLS 1.2 without extended master secret. */
enum tls_io tls_session_handshake(struct tls_session *session,
    struct reason *why);

/* Up to capacity octets.  Renegotiation is refused. */
enum tls_io tls_session_read(struct tls_session *session, void *out,
    size_t capacity, size_t *got_out, struct reason *why);

/*
 * Writes all of data, in as few records as possible, or says what to wait
 * for; *put_out counts the octets sent so far in this call.  After READ or
 * WRITE call again with the rest, beginning with the same octets: some of
 * them may be in GnuTLS already, which is remembered inside.  More may follow
 * behind them.
 */
enum tls_io tls_session_write(struct tls_session *session, const void *data,
    size_t len, size_t *put_out, struct reason *why);

/* Anything decrypted and not yet read?  Ask before arming the socket. */
bool tls_session_pending(const struct tls_session *session);

/* Send close_notify, do not wait for the peer's. */
void tls_session_bye(struct tls_session *session);

/* tls-exporter; false if not available. */
bool tls_session_binding(struct tls_session *session,
    unsigned char out[static TLS_BINDING_OCTETS]);

/* SNI the client sent, or NULL.  Borrowed. */
const char *tls_session_sni(const struct tls_session *session);

/*
 * Facts of a finished handshake; purpose is asked of the peer's certificate
 * (CERT_FOR_CLIENT on a listener).  chain[] is all CHAIN_UNCHECKED.  A
 * certificate that cannot be read counts as presented, with a purpose of
 * PURPOSE_OTHER and no names.  names is borrowed until the session is freed
 * or asked again.
 */
void tls_session_facts(struct tls_session *session, enum cert_purpose purpose,
    struct facts *out);

/*
 * Verify the presented chain against one anchor set at time now (no name
 * check, no purpose check: facts has those).  CHAIN_UNCHECKED if there is no
 * certificate.  Of a server's chain the stapled OCSP response counts: a good
 * one has to be there where the end entity demands it (RFC 7633), and one that
 * says "revoked" is believed in any case.
 */
enum chain_state tls_session_verify(struct tls_session *session,
    const struct tls_anchors *anchors, time_t now);

/*
 * The same, and the SPKI digests of the authorities on the path, the end
 * entity's issuer first and the anchor last; none unless the path is good.  An
 * end entity that is an anchor itself has none.
 */
enum chain_state tls_session_authorities(struct tls_session *session,
    const struct tls_anchors *anchors, time_t now,
    unsigned char out[static TLS_CHAIN_MAX][SPKI_OCTETS], size_t *count_out);

#endif
