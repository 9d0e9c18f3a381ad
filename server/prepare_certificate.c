/*
 * server/prepare_certificate.c: our own certificates and their keys.
 */
#include "prepare_internal.h"

#include <gnutls/crypto.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../pki/cert.h"
#include "../pki/key.h"
#include "files.h"
#include "pkcs11_try.h"

/* What nobody means to get in exchange for a certificate without it. */
static const enum check_word worse[] = { CHECK_CHAIN_INCOMPLETE,
	CHECK_NAME_MISSING, CHECK_NAME_OTHER, CHECK_PURPOSE_SERVER,
	CHECK_PURPOSE_CLIENT, CHECK_WEAK_KEY, CHECK_WEAK_HASH, CHECK_EXPIRED,
	CHECK_NOT_YET_VALID };

static const struct prepared_certificate *
find_in_force(const struct work *w, const char *name)
{
	const struct prepared *old = w->options->in_force;

	if (old == NULL)
		return NULL;
	for (size_t i = 0; i < old->config->certificate_count; i++)
		if (strcmp(old->config->certificates[i].name, name) == 0)
			return &old->certificates[i];
	return NULL;
}

static unsigned
chain_length(const gnutls_datum_t *pem)
{
	gnutls_x509_crt_t *chain;
	struct reason why;
	unsigned count;

	if (!cert_chain_parse(pem, &chain, &count, &why))
		return 0; /* it was read before */
	cert_chain_free(chain, count);
	return count;
}

/* A chain that is as long as before may well end at an authority that only its
 * clients know. */
static bool
is_worse(enum check_word word, const struct prepared_certificate *old,
    const struct prepared_certificate *now)
{
	if ((now->found >> word & 1) == 0)
		return false;
	return word == CHECK_CHAIN_INCOMPLETE ? now->length < old->length
					      : (old->found >> word & 1) == 0;
}

/*
 * A renewal that went wrong, as it is told from one by what is in force.  A
 * file that has not changed is no renewal, whatever time has done to it.
 */
static void
compare(struct work *w, const struct config_certificate *c,
    const struct prepared_certificate *now)
{
	const struct prepared_certificate *old = find_in_force(w, c->name);
	char words[160] = "";
	size_t len = 0;

	if (old == NULL || memcmp(old->digest, now->digest, 32) == 0)
		return;
	for (size_t i = 0; i < sizeof(worse) / sizeof(*worse); i++)
		if (is_worse(worse[i], old, now))
			len += (size_t)snprintf(words + len,
			    sizeof(words) - len, "%s%s", len == 0 ? "" : ", ",
			    check_word(worse[i]));
	if (len > 0)
		work_report(w, true,
		    "%s:%u: certificate %s: %s: worse than the one in force, "
		    "which stays (%s); only a restart takes it",
		    w->config->path, c->line, c->name, c->chain, words);
}

/* Of a key in a token the signer needs more. */
static void
add_token(struct work *w, const struct config_certificate *c,
    const gnutls_datum_t *chain, const gnutls_datum_t *key)
{
	gnutls_datum_t public = { NULL, 0 }, octets;
	char *text = pki_key_url_in(key), pin[PIN_SIZE];
	struct pkcs11_url url;
	struct reason why;

	if (text == NULL)
		return;
	if (!pkcs11_url_parse(&url, text, &why)) {
		work_report(w, true, "certificate %s: %s", c->name, why.text);
		free(text);
		return;
	}
	if (!cert_public_key(chain, &public, &why) ||
	    !pkcs11_read_pin(&url, pin, &why)) {
		work_report(w, true, "certificate %s: %s", c->name, why.text);
	} else {
		octets = (gnutls_datum_t){ (unsigned char *)pin,
			(unsigned)strlen(pin) };
		work_add(w, ROLE_SIGNER, BUNDLE_PUBLIC, c->name, &public);
		work_add(w, ROLE_SIGNER, BUNDLE_PIN, c->name, &octets);
	}
	explicit_bzero(pin, sizeof(pin));
	gnutls_free(public.data);
	pkcs11_url_free(&url);
	free(text);
}

static void
prepare_certificate(struct work *w, const struct config_certificate *c,
    struct prepared_certificate *out)
{
	gnutls_datum_t chain, key;
	char use[96];

	if (!checks_certificate(w->checks, c, &chain, &key, &out->found))
		return;
	gnutls_hash_fast(GNUTLS_DIG_SHA256, chain.data, chain.size,
	    out->digest);
	out->length = chain_length(&chain);
	compare(w, c, out);
	snprintf(use, sizeof(use), "certificate %s", c->name);
	endings_add(&w->prepared->endings, &chain, c->chain, use);
	work_add(w, ROLE_SIGNER, BUNDLE_KEY, c->name, &key);
	add_token(w, c, &chain, &key);
	if ((c->roles & CERTIFICATE_SERVER) != 0)
		work_add(w, ROLE_SESSION, BUNDLE_CHAIN, c->name, &chain);
	if ((c->roles & CERTIFICATE_CLIENT) != 0)
		work_add(w, ROLE_RELAY, BUNDLE_CHAIN, c->name, &chain);
	files_free(&chain);
	files_wipe(&key);
}

void
work_certificates(struct work *w)
{
	for (size_t i = 0; i < w->config->certificate_count; i++)
		prepare_certificate(w, &w->config->certificates[i],
		    &w->prepared->certificates[i]);
}

/* The relay shows no certificate that is not for clients. */
void
work_unshown(struct work *w)
{
	for (size_t i = 0; i < w->config->certificate_count; i++) {
		const struct config_certificate *c =
		    &w->config->certificates[i];
		uint32_t found = w->prepared->certificates[i].found;
		char text[1024];

		if (!w->named[i] || (found >> CHECK_PURPOSE_CLIENT & 1) == 0)
			continue;
		snprintf(text, sizeof(text),
		    "%s:%u: certificate %s: %s: rows of %s have it in cert=, "
		    "but it lacks clientAuth: it is not shown",
		    w->config->path, c->line, c->name, c->chain,
		    w->config->sites);
		work_report_alarm(w, text);
	}
}
