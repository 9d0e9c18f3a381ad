/*
 * t/unit/tls_fixture.h: certificates of every kind, made in memory, and both
 * ends of a connection stepped in one thread.
 *
 * Each test program is one file; what they share is static here.
 */
#ifndef T_UNIT_TLS_FIXTURE_H
#define T_UNIT_TLS_FIXTURE_H

/* First: cmocka has a macro by the name of our fail(). */
#include "../../tls/tls.h"

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <arpa/inet.h>
#include <fcntl.h>
#include <gnutls/gnutls.h>
#include <gnutls/x509.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* The clock of these tests, not the machine's. */
#define NOW ((time_t)1800000000)
enum { DAY = 86400 };

enum eku { EKU_NONE, EKU_SERVER, EKU_CLIENT, EKU_BOTH, EKU_OTHER };

/* A certificate and its key. */
struct made {
	gnutls_x509_privkey_t key;
	gnutls_x509_crt_t crt;
	gnutls_datum_t pem, key_pem;
};

struct recipe {
	const char *cn;
	const char *dns[4]; /* NULL-terminated */
	const char *ip;
	const char *email;
	const char *org;
	const struct made *issuer; /* NULL: self-signed */
	bool ca;
	gnutls_pk_algorithm_t pk; /* 0: ECDSA P-256 */
	unsigned bits;
	gnutls_digest_algorithm_t digest; /* 0: SHA-256 (not for Ed25519) */
	time_t from, until;               /* 0: around NOW */
	enum eku eku;
	unsigned char serial;
};

#define OK(call) assert_true((call) >= 0)

static unsigned
bits_of(const struct recipe *r)
{
	if (r->bits != 0)
		return r->bits;
	if (r->pk == GNUTLS_PK_RSA || r->pk == GNUTLS_PK_RSA_PSS)
		return 2048;
	if (r->pk == GNUTLS_PK_EDDSA_ED25519)
		return 256;
	return GNUTLS_CURVE_TO_BITS(GNUTLS_ECC_CURVE_SECP256R1);
}

static void
set_eku(gnutls_x509_crt_t crt, enum eku eku)
{
	if (eku == EKU_SERVER || eku == EKU_BOTH)
		OK(gnutls_x509_crt_set_key_purpose_oid(crt,
		    GNUTLS_KP_TLS_WWW_SERVER, 0));
	if (eku == EKU_CLIENT || eku == EKU_BOTH)
		OK(gnutls_x509_crt_set_key_purpose_oid(crt,
		    GNUTLS_KP_TLS_WWW_CLIENT, 0));
	if (eku == EKU_OTHER)
		OK(gnutls_x509_crt_set_key_purpose_oid(crt,
		    GNUTLS_KP_EMAIL_PROTECTION, 0));
}

static void
set_san(gnutls_x509_crt_t crt, gnutls_x509_subject_alt_name_t type,
    const void *data, size_t len)
{
	OK(gnutls_x509_crt_set_subject_alt_name(crt, type, data, (unsigned)len,
	    GNUTLS_FSAN_APPEND));
}

static void
set_sans(gnutls_x509_crt_t crt, const struct recipe *r)
{
	unsigned char raw[16];
	size_t i;

	for (i = 0; r->dns[i] != NULL; i++)
		set_san(crt, GNUTLS_SAN_DNSNAME, r->dns[i], strlen(r->dns[i]));
	if (r->ip != NULL && inet_pton(AF_INET, r->ip, raw) == 1)
		set_san(crt, GNUTLS_SAN_IPADDRESS, raw, 4);
	if (r->email != NULL)
		set_san(crt, GNUTLS_SAN_RFC822NAME, r->email, strlen(r->email));
}

static void
set_dn(gnutls_x509_crt_t crt, const struct recipe *r)
{
	OK(gnutls_x509_crt_set_dn_by_oid(crt, GNUTLS_OID_X520_COMMON_NAME, 0,
	    r->cn, (unsigned)strlen(r->cn)));
	if (r->org != NULL)
		OK(gnutls_x509_crt_set_dn_by_oid(crt,
		    GNUTLS_OID_X520_ORGANIZATION_NAME, 0, r->org,
		    (unsigned)strlen(r->org)));
}

static void
make_key(struct made *out, const struct recipe *r)
{
	OK(gnutls_x509_privkey_init(&out->key));
	OK(gnutls_x509_privkey_generate(out->key,
	    r->pk ? r->pk : GNUTLS_PK_ECDSA, bits_of(r), 0));
	OK(gnutls_x509_privkey_export2_pkcs8(out->key, GNUTLS_X509_FMT_PEM,
	    NULL, GNUTLS_PKCS_PLAIN, &out->key_pem));
}

/* Exported and read again: only then it answers as others see it. */
static void
make(struct made *out, const struct recipe *r)
{
	unsigned char serial[2] = { 0x40, r->serial };
	gnutls_digest_algorithm_t digest =
	    r->digest ? r->digest : GNUTLS_DIG_SHA256;
	gnutls_x509_crt_t crt;

	memset(out, 0, sizeof(*out));
	make_key(out, r);
	OK(gnutls_x509_crt_init(&crt));
	OK(gnutls_x509_crt_set_version(crt, 3));
	OK(gnutls_x509_crt_set_serial(crt, serial, sizeof(serial)));
	OK(gnutls_x509_crt_set_activation_time(crt,
	    r->from ? r->from : NOW - DAY));
	OK(gnutls_x509_crt_set_expiration_time(crt,
	    r->until ? r->until : NOW + 30 * DAY));
	set_dn(crt, r);
	OK(gnutls_x509_crt_set_key(crt, out->key));
	if (r->ca) {
		OK(gnutls_x509_crt_set_basic_constraints(crt, 1, -1));
		OK(gnutls_x509_crt_set_key_usage(crt,
		    GNUTLS_KEY_KEY_CERT_SIGN | GNUTLS_KEY_CRL_SIGN));
	}
	set_eku(crt, r->eku);
	set_sans(crt, r);
	if (r->issuer != NULL)
		OK(gnutls_x509_crt_sign2(crt, r->issuer->crt, r->issuer->key,
		    digest, 0));
	else
		OK(gnutls_x509_crt_sign2(crt, crt, out->key,
		    r->pk == GNUTLS_PK_EDDSA_ED25519 ? GNUTLS_DIG_SHA512
						     : digest,
		    0));
	OK(gnutls_x509_crt_export2(crt, GNUTLS_X509_FMT_PEM, &out->pem));
	gnutls_x509_crt_deinit(crt);
	OK(gnutls_x509_crt_init(&out->crt));
	OK(gnutls_x509_crt_import(out->crt, &out->pem, GNUTLS_X509_FMT_PEM));
}

static void
unmake(struct made *m)
{
	gnutls_x509_crt_deinit(m->crt);
	gnutls_x509_privkey_deinit(m->key);
	gnutls_free(m->pem.data);
	gnutls_free(m->key_pem.data);
}

/* --- identities ------------------------------------------------------------
 */

/* Stands for the signer: a key, and what it was asked. */
struct test_signer {
	struct tls_key *key;
	enum cert_purpose side;
	unsigned calls;
	bool away;
};

static inline bool
test_sign(void *context, const struct tls_sign_request *request,
    unsigned char *signature, size_t *len)
{
	struct test_signer *signer = context;
	struct reason why;

	signer->calls++;
	return !signer->away &&
	       memcmp(request->spki, tls_key_spki(signer->key), SPKI_OCTETS) ==
		   0 &&
	       tls_key_sign(signer->key, signer->side, request, signature, len,
		   &why);
}

static inline struct tls_identity *
identity_of(const struct made *m, enum cert_purpose side,
    struct test_signer *signer)
{
	struct tls_identity *identity = NULL;
	struct reason why = { 0 };

	memset(signer, 0, sizeof(*signer));
	signer->side = side;
	if (!tls_key_new(&signer->key, &m->key_pem, &why) ||
	    !tls_identity_new(&identity, &m->pem, side, test_sign, signer,
		&why))
		fail_msg("%s", why.text);
	assert_int_equal(signer->calls, 0);
	return identity;
}

/* --- both ends -------------------------------------------------------------
 */

static inline void
pair(int fd[2])
{
	assert_int_equal(
	    socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fd), 0);
}

struct ends {
	struct tls_session *server, *client;
	enum tls_io server_io, client_io;
	struct reason server_why, client_why;
	int fd[2];
};

static inline void
ends_step(struct ends *e)
{
	e->server_io = e->client_io = TLS_IO_READ;
	memset(&e->server_why, 0, sizeof(e->server_why));
	memset(&e->client_why, 0, sizeof(e->client_why));
	for (int i = 0; i < 50; i++) {
		if (e->client_io == TLS_IO_READ || e->client_io == TLS_IO_WRITE)
			e->client_io =
			    tls_session_handshake(e->client, &e->client_why);
		if (e->server_io == TLS_IO_READ || e->server_io == TLS_IO_WRITE)
			e->server_io =
			    tls_session_handshake(e->server, &e->server_why);
	}
}

static inline void
ends_open(struct ends *e, struct tls_server *server, bool ask,
    const struct tls_connect_options *options)
{
	struct reason why = { 0 };

	memset(e, 0, sizeof(*e));
	pair(e->fd);
	if (!tls_session_accept(&e->server, server, e->fd[0], ask, &why) ||
	    !tls_session_connect(&e->client, options, e->fd[1], &why))
		fail_msg("%s", why.text);
	ends_step(e);
}

static inline void
ends_close(struct ends *e)
{
	tls_session_free(e->client);
	tls_session_free(e->server);
	close(e->fd[0]);
	close(e->fd[1]);
}

static inline void
assert_connected(const struct ends *e)
{
	if (e->client_io != TLS_IO_DONE || e->server_io != TLS_IO_DONE)
		fail_msg("client: %s; server: %s", e->client_why.text,
		    e->server_why.text);
}

static inline struct tls_server *
server_of(struct tls_identity *const *identities, size_t count,
    const unsigned char *ticket_key, unsigned min)
{
	struct tls_server_options options = { .identities = identities,
		.identity_count = count,
		.ticket_key = ticket_key,
		.min = min };
	struct tls_server *server;
	struct reason why = { 0 };

	if (!tls_server_new(&server, &options, &why))
		fail_msg("%s", why.text);
	return server;
}

#endif
