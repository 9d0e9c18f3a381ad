/*
 * tls/identity.c: a public chain whose key signs somewhere else.
 */
#include "internal.h"

#include <stdlib.h>
#include <string.h>

static int
ask_signer(struct tls_identity *identity, gnutls_sign_algorithm_t algorithm,
    bool is_data, const gnutls_datum_t *input, gnutls_datum_t *signature)
{
	struct tls_sign_request request = { .algorithm = algorithm,
		.is_data = is_data };
	size_t len = TLS_SIGNATURE_MAX;

	if (input->size > TLS_SIGN_INPUT_MAX)
		return GNUTLS_E_PK_SIGN_FAILED;
	memcpy(request.spki, identity->spki, SPKI_OCTETS);
	memcpy(request.input, input->data, input->size);
	request.input_len = input->size;
	signature->data = gnutls_malloc(TLS_SIGNATURE_MAX);
	if (signature->data == NULL)
		return GNUTLS_E_MEMORY_ERROR;
	if (!identity->sign(identity->context, &request, signature->data,
		&len)) {
		gnutls_free(signature->data);
		signature->data = NULL;
		return GNUTLS_E_PK_SIGN_FAILED;
	}
	signature->size = (unsigned)len;
	return 0;
}

static int
sign_data(gnutls_privkey_t key, gnutls_sign_algorithm_t algorithm,
    void *identity, unsigned flags, const gnutls_datum_t *data,
    gnutls_datum_t *signature)
{
	(void)key;
	(void)flags;
	return ask_signer(identity, algorithm, true, data, signature);
}

static int
sign_hash(gnutls_privkey_t key, gnutls_sign_algorithm_t algorithm,
    void *identity, unsigned flags, const gnutls_datum_t *hash,
    gnutls_datum_t *signature)
{
	(void)key;
	(void)flags;
	return ask_signer(identity, algorithm, false, hash, signature);
}

static int
key_info(gnutls_privkey_t key, unsigned flags, void *context)
{
	const struct tls_identity *identity = context;

	(void)key;
	if (flags & GNUTLS_PRIVKEY_INFO_PK_ALGO)
		return (int)identity->pk;
	if (flags & GNUTLS_PRIVKEY_INFO_PK_ALGO_BITS)
		return (int)identity->bits;
	if (flags & GNUTLS_PRIVKEY_INFO_HAVE_SIGN_ALGO)
		return gnutls_sign_supports_pk_algorithm(
			   GNUTLS_FLAGS_TO_SIGN_ALGO(flags), identity->pk) != 0;
	return -1;
}

static bool
import_chain(struct tls_identity *identity, gnutls_x509_crt_t *chain,
    unsigned count, struct reason *why)
{
	unsigned i;
	int rc;

	for (i = 0; i < count; i++) {
		rc = gnutls_pcert_import_x509(&identity->chain[i], chain[i], 0);
		if (rc < 0)
			return fail(why, REASON_CERT_BAD, "certificate: %s",
			    gnutls_strerror(rc));
		identity->chain_len = i + 1;
	}
	return true;
}

static bool
import_key(struct tls_identity *identity, struct reason *why)
{
	int rc;

	rc = gnutls_privkey_init(&identity->key);
	if (rc >= 0)
		rc = gnutls_privkey_import_ext4(identity->key, identity,
		    sign_data, sign_hash, NULL, NULL, key_info, 0);
	if (rc < 0)
		return fail(why, REASON_INTERNAL, "key of an identity: %s",
		    gnutls_strerror(rc));
	return true;
}

static bool
describe(struct tls_identity *identity, gnutls_x509_crt_t crt,
    enum cert_purpose purpose, struct reason *why)
{
	int pk = gnutls_x509_crt_get_pk_algorithm(crt, &identity->bits);

	if (pk != GNUTLS_PK_ECDSA && pk != GNUTLS_PK_RSA &&
	    pk != GNUTLS_PK_RSA_PSS && pk != GNUTLS_PK_EDDSA_ED25519)
		return fail(why, REASON_CERT_BAD,
		    "certificate has a key of kind %s, expected ECDSA, "
		    "Ed25519 or RSA",
		    pk < 0 ? "unknown" : gnutls_pk_get_name(pk));
	identity->pk = pk;
	identity->fits = cert_purpose(crt, purpose) == PURPOSE_YES;
	identity->not_after = gnutls_x509_crt_get_expiration_time(crt);
	return cert_spki(crt, identity->spki, why) &&
	       cert_names(crt, &identity->names, &identity->names_len, why);
}

bool
tls_identity_new(struct tls_identity **identity_out,
    const gnutls_datum_t *chain_pem, enum cert_purpose purpose, tls_sign sign,
    void *context, struct reason *why)
{
	struct tls_identity *identity;
	gnutls_x509_crt_t *chain;
	unsigned count;
	bool ok;

	if (!cert_chain_parse(chain_pem, &chain, &count, why))
		return false;
	identity = calloc(1, sizeof(*identity));
	if (identity == NULL) {
		cert_chain_free(chain, count);
		return fail(why, REASON_NO_MEMORY, "TLS identity");
	}
	atomic_init(&identity->references, 1);
	identity->sign = sign;
	identity->context = context;
	ok = cert_chain_in_order(chain, count, why) &&
	     describe(identity, chain[0], purpose, why) &&
	     import_chain(identity, chain, count, why) &&
	     import_key(identity, why);
	cert_chain_free(chain, count);
	if (ok)
		*identity_out = identity;
	else
		tls_identity_unref(identity);
	return ok;
}

struct tls_identity *
tls_identity_ref(struct tls_identity *identity)
{
	atomic_fetch_add(&identity->references, 1);
	return identity;
}

void
tls_identity_unref(struct tls_identity *identity)
{
	unsigned i;

	if (identity == NULL || atomic_fetch_sub(&identity->references, 1) != 1)
		return;
	for (i = 0; i < identity->chain_len; i++)
		gnutls_pcert_deinit(&identity->chain[i]);
	if (identity->key != NULL)
		gnutls_privkey_deinit(identity->key);
	free(identity->names);
	free(identity);
}

bool
tls_identity_fits(const struct tls_identity *identity)
{
	return identity->fits;
}

bool
tls_identity_needs_tls13(const struct tls_identity *identity)
{
	return identity->pk == GNUTLS_PK_EDDSA_ED25519;
}

gnutls_pk_algorithm_t
tls_identity_pk(const struct tls_identity *identity)
{
	return identity->pk;
}

const unsigned char *
tls_identity_spki(const struct tls_identity *identity)
{
	return identity->spki;
}

long long
tls_identity_not_after(const struct tls_identity *identity)
{
	return identity->not_after;
}

/* RFC 9525, 6.3: the wildcard is the whole left-most label. */
static bool
name_matches(const char *presented, const char *name)
{
	const char *dot;

	if (strcmp(presented, name) == 0)
		return true;
	if (strncmp(presented, "*.", 2) != 0)
		return false;
	dot = strchr(name, '.');
	return dot != NULL && dot != name && strcmp(presented + 1, dot) == 0;
}

bool
tls_identity_has_name(const struct tls_identity *identity, const char *name)
{
	const char *at = identity->names;
	const char *end = at == NULL ? NULL : at + identity->names_len;

	for (; at != end; at += strlen(at) + 1)
		if (strncmp(at, "dns:", 4) == 0 && name_matches(at + 4, name))
			return true;
	return false;
}
