/*
 * server/signer_keys.c: the keys of all configurations that the signer serves.
 */
#include "signer_keys.h"

#include <stdlib.h>
#include <string.h>

#include "../pki/key.h"

void
signer_keys_drop(struct signer_keys *keys, uint32_t number)
{
	struct held_key **at = &keys->first, *key;

	while ((key = *at) != NULL) {
		if (key->number != number) {
			at = &key->next;
			continue;
		}
		*at = key->next;
		tls_key_free(key->key);
		if (key->token != NULL)
			pkcs11_release(&keys->tokens, key->token);
		free(key);
	}
}

/* The token's process, from what the bundle has of that certificate. */
static bool
hold_token(struct signer_keys *keys, struct held_key *key, const char *name,
    const char *url, const struct bundle *bundle, struct reason *why)
{
	struct pkcs11_work work = { .url = url };
	char pin[PIN_SIZE] = "";
	gnutls_datum_t octets;

	if (!bundle_find(bundle, BUNDLE_PUBLIC, name, &work.public))
		return fail(why, REASON_PROTOCOL,
		    "certificate %s: no public key", name);
	if (bundle_find(bundle, BUNDLE_PIN, name, &octets) &&
	    octets.size < sizeof(pin))
		memcpy(pin, octets.data, octets.size);
	work.pin = pin;
	key->token = pkcs11_hold(&keys->tokens, name, &work, why);
	explicit_bzero(pin, sizeof(pin));
	return key->token != NULL;
}

static bool
hold_key(struct signer_keys *keys, uint32_t number,
    const struct config_certificate *certificate, const gnutls_datum_t *file,
    const struct bundle *bundle, struct reason *why)
{
	struct held_key *key = calloc(1, sizeof(*key));
	char *url = pki_key_url_in(file);
	bool ok;

	if (key == NULL) {
		free(url);
		return fail(why, REASON_NO_MEMORY, "signer");
	}
	ok = url != NULL
		 ? hold_token(keys, key, certificate->name, url, bundle, why)
		 : tls_key_new(&key->key, file, why);
	free(url);
	if (!ok) {
		free(key);
		return false;
	}
	key->number = number;
	key->roles = certificate->roles;
	key->next = keys->first;
	keys->first = key;
	return true;
}

bool
signer_keys_hold(struct signer_keys *keys, uint32_t number,
    const struct bundle *bundle, const struct config *config,
    struct reason *why)
{
	const struct config_certificate *certificate;
	struct reason because;
	enum bundle_kind kind;
	gnutls_datum_t pem;
	const char *name;
	size_t i;

	for (i = 0; bundle_entry(bundle, i, &kind, &name, &pem); i++) {
		if (kind != BUNDLE_KEY)
			continue;
		certificate = config_certificate(config, name);
		if (certificate == NULL)
			return fail(why, REASON_PROTOCOL,
			    "key for certificate %s, which the configuration "
			    "does not have",
			    name);
		if (!hold_key(keys, number, certificate, &pem, bundle,
			&because))
			return fail(why, because.code,
			    "key of certificate %.60s: %.180s", name,
			    because.text);
	}
	return true;
}

void
signer_keys_free(struct signer_keys *keys)
{
	while (keys->first != NULL)
		signer_keys_drop(keys, keys->first->number);
}

const struct held_key *
signer_keys_find(const struct signer_keys *keys, enum certificate_role role,
    const unsigned char spki[static SPKI_OCTETS])
{
	const struct held_key *key, *away = NULL;

	for (key = keys->first; key != NULL; key = key->next) {
		const unsigned char *own = key->token != NULL
					       ? pkcs11_spki(key->token)
					       : tls_key_spki(key->key);

		if ((key->roles & role) == 0 ||
		    memcmp(own, spki, SPKI_OCTETS) != 0)
			continue;
		if (key->token == NULL || pkcs11_is_open(key->token))
			return key;
		away = key;
	}
	return away;
}

unsigned
signer_keys_count(const struct signer_keys *keys, unsigned *away_out)
{
	const struct held_key *key;
	unsigned count = 0;

	for (key = keys->first; key != NULL; key = key->next)
		count++;
	*away_out = pkcs11_count_away(&keys->tokens);
	return count;
}
