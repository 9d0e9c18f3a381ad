/*
 * server/relay_trial.c: client certificates, tried on a server of our own.
 */
#include "relay_trial.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "../pki/file.h"
#include "../pki/key.h"
#include "../pki/make.h"
#include "trial.h"

struct relay_trial {
	struct tls_key *key;
	struct tls_identity *identity;
	struct tls_server *server;
};

/* In this process, and gone with the trial. */
static bool
sign_here(void *context, const struct tls_sign_request *request,
    unsigned char *signature, size_t *signature_len)
{
	const struct relay_trial *trial = context;
	struct reason why;

	return tls_key_sign(trial->key, CERT_FOR_SERVER, request, signature,
	    signature_len, &why);
}

static bool
make_certificate(const struct pki_key *key, gnutls_datum_t *pem_out,
    struct reason *why)
{
	struct make_common common = { .common_name = "trial",
		.not_before = time(NULL) - MAKE_BACKDATE_S,
		.not_after = time(NULL) + MAKE_DAY_S };
	struct make_issuer issuer = { NULL, key };
	gnutls_x509_crt_t crt;
	bool ok;
	int rc;

	if (!make_serial(common.serial, why))
		return false;
	rc = gnutls_x509_crt_init(&crt);
	if (rc < 0)
		return make_failed(why, "trial", rc);
	rc = make_begin(crt, &common, key->public_key);
	ok = rc >= 0 ? make_end(crt, key->public_key, &issuer, pem_out, why)
		     : make_failed(why, "trial", rc);
	gnutls_x509_crt_deinit(crt);
	return ok;
}

static bool
make_server(struct relay_trial *trial, const struct pki_key *key,
    const gnutls_datum_t *key_pem, struct reason *why)
{
	struct tls_server_options options = { .identities = &trial->identity,
		.identity_count = 1,
		.min = 12 };
	gnutls_datum_t chain = { NULL, 0 };
	bool ok = make_certificate(key, &chain, why) &&
		  tls_key_new(&trial->key, key_pem, why) &&
		  tls_identity_new(&trial->identity, &chain, CERT_FOR_SERVER,
		      sign_here, trial, why) &&
		  tls_server_new(&trial->server, &options, why);

	pki_octets_wipe(&chain);
	return ok;
}

bool
relay_trial_new(struct relay_trial **trial_out, struct reason *why)
{
	struct relay_trial *trial = calloc(1, sizeof(*trial));
	gnutls_datum_t pem = { NULL, 0 };
	struct pki_key key;
	bool ok;

	if (trial == NULL)
		return fail(why, REASON_NO_MEMORY, "trial");
	if (!pki_key_generate(&key, KEY_ECDSA, NULL, "trial", &pem, why)) {
		free(trial);
		return false;
	}
	ok = make_server(trial, &key, &pem, why);
	pki_octets_wipe(&pem);
	pki_key_free(&key);
	if (ok)
		*trial_out = trial;
	else
		relay_trial_free(trial);
	return ok;
}

void
relay_trial_free(struct relay_trial *trial)
{
	if (trial == NULL)
		return;
	tls_server_unref(trial->server);
	tls_identity_unref(trial->identity);
	tls_key_free(trial->key);
	free(trial);
}

static bool
try_under(struct relay_trial *trial, struct tls_identity *identity,
    unsigned version, struct reason *why)
{
	const struct tls_connect_options options = { .identity = identity,
		.only = version };
	struct trial_shown shown;

	if (!trial_handshake(trial->server, &options, true, &shown, why))
		return false;
	return (shown.by_client &&
		   memcmp(shown.client, tls_identity_spki(identity),
		       SPKI_OCTETS) == 0) ||
	       fail(why, REASON_INTERNAL, "it is not shown");
}

bool
relay_trial_identity(struct relay_trial *trial, const char *name,
    struct tls_identity *identity, struct reason *why)
{
	struct reason failed;

	if (try_under(trial, identity, 13, &failed) &&
	    (tls_identity_needs_tls13(identity) ||
		try_under(trial, identity, 12, &failed)))
		return true;
	return fail(why, failed.code,
	    "certificate %s: trial handshake as a client: %s", name,
	    failed.text);
}
