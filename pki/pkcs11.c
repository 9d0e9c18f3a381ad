/*
 * pki/pkcs11.c: private keys in a token: modules, logins, and what went wrong.
 */
#include "pkcs11.h"

#include <gnutls/pkcs11.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { TOKENS_SHOWN = 8 };

/* --- modules ------------------------------------------------------------ */

static bool
load(const struct pkcs11_url *url, struct reason *why)
{
	int rc;

	if (url->module == NULL) {
		rc = gnutls_pkcs11_init(GNUTLS_PKCS11_FLAG_AUTO, NULL);
		return rc >= 0 ||
		       fail(why, REASON_INTERNAL, "PKCS#11 modules: %s",
			   gnutls_strerror(rc));
	}
	if (access(url->module, R_OK) < 0)
		return fail_errno(why, "PKCS#11 module %s", url->module);
	rc = gnutls_pkcs11_init(GNUTLS_PKCS11_FLAG_MANUAL, NULL);
	if (rc >= 0)
		rc = gnutls_pkcs11_add_provider(url->module, NULL);
	/* An earlier URL named it too. */
	if (rc == GNUTLS_E_INT_RET_0)
		rc = 0;
	return rc >= 0 || fail(why, REASON_ABSENT,
			      "PKCS#11 module %.100s: %s, as user id %u",
			      url->module, gnutls_strerror(rc),
			      (unsigned)geteuid());
}

/* --- PINs --------------------------------------------------------------- */

static int
give(void *context, int attempt, const char *token_url, const char *token_label,
    unsigned flags, char *out, size_t capacity)
{
	struct pkcs11_pin *pin = context;
	size_t len;

	(void)token_url;
	/* One that was wrong is wrong the next time as well. */
	if (attempt > 0)
		return -1;
	if (pin->text[0] == '\0') {
		if (pin->ask == NULL || !pin->ask(pin->context, token_label,
					    pin->text, &pin->why)) {
			pin->unasked = true;
			return -1;
		}
	} else if ((flags & GNUTLS_PIN_FINAL_TRY) != 0) {
		pin->withheld = true;
		return -1;
	}
	len = strlen(pin->text);
	if (len >= capacity)
		return -1;
	memcpy(out, pin->text, len + 1);
	pin->given++;
	return 0;
}

/* --- what went wrong ---------------------------------------------------- */

/* The labels of those that are there, for somebody who wonders. */
static void
list_tokens(char *out, size_t size)
{
	char label[64], *url;
	size_t used = 0;

	snprintf(out, size, "none");
	for (unsigned i = 0; i < TOKENS_SHOWN; i++) {
		size_t len = sizeof(label);
		int rc;

		if (gnutls_pkcs11_token_get_url(i, 0, &url) < 0)
			return;
		rc = gnutls_pkcs11_token_get_info(url,
		    GNUTLS_PKCS11_TOKEN_LABEL, label, &len);
		gnutls_free(url);
		if (rc < 0 || label[0] == '\0' ||
		    strcmp(label, "System Trust") == 0)
			continue;
		used += (size_t)snprintf(out + used, size - used, "%s%s",
		    used > 0 ? ", " : "", label);
		if (used >= size)
			return;
	}
}

static bool
fail_absent(const struct pkcs11_url *url, struct reason *why)
{
	char others[96];
	unsigned flags;

	if (gnutls_pkcs11_token_get_flags(url->token, &flags) >= 0)
		return fail(why, REASON_ABSENT,
		    "%.120s: the token has no such private key", url->key);
	list_tokens(others, sizeof(others));
	return fail(why, REASON_ABSENT,
	    "%.80s: no such token, or user id %u may not use it; there: %s",
	    url->token, (unsigned)geteuid(), others);
}

static bool
fail_pin(const struct pkcs11_url *url, const struct pkcs11_pin *pin, int rc,
    struct reason *why)
{
	if (rc == GNUTLS_E_PKCS11_PIN_LOCKED)
		return fail(why, REASON_PERMISSION,
		    "%.120s: locked: too many wrong PINs, the security officer "
		    "unlocks it",
		    url->token);
	if (pin->given > 0)
		return fail(why, REASON_AUTH, "%.120s: wrong PIN", url->token);
	if (pin->withheld)
		return fail(why, REASON_PERMISSION,
		    "%.80s: one more wrong PIN locks it: no PIN from a file is "
		    "tried, log in by hand first",
		    url->token);
	if (pin->unasked && pin->ask != NULL)
		return fail(why, pin->why.code, "%.100s: %.120s", url->token,
		    pin->why.text);
	return fail(why, REASON_PERMISSION,
	    "%.120s: wants a PIN, expected pin-source=FILE in the URL",
	    url->token);
}

static bool
fail_open(const struct pkcs11_url *url, const struct pkcs11_pin *pin, int rc,
    struct reason *why)
{
	switch (rc) {
	case GNUTLS_E_PKCS11_PIN_ERROR:
	case GNUTLS_E_PKCS11_PIN_EXPIRED:
	case GNUTLS_E_PKCS11_PIN_LOCKED:
	case GNUTLS_E_PKCS11_USER_ERROR:
		return fail_pin(url, pin, rc, why);
	case GNUTLS_E_REQUESTED_DATA_NOT_AVAILABLE:
	case GNUTLS_E_PKCS11_REQUESTED_OBJECT_NOT_AVAILBLE:
	case GNUTLS_E_PKCS11_TOKEN_ERROR:
	case GNUTLS_E_PKCS11_SLOT_ERROR:
		return fail_absent(url, why);
	default:
		return fail(why, REASON_INTERNAL, "%.120s: %s", url->key,
		    gnutls_strerror(rc));
	}
}

/* --- keys --------------------------------------------------------------- */

bool
pkcs11_open(gnutls_privkey_t key, const struct pkcs11_url *url,
    struct pkcs11_pin *pin, struct reason *why)
{
	int rc;

	pin->given = 0;
	pin->withheld = pin->unasked = false;
	if (!load(url, why))
		return false;
	gnutls_privkey_set_pin_function(key, give, pin);
	rc = gnutls_privkey_import_url(key, url->key, 0);
	return rc >= 0 || fail_open(url, pin, rc, why);
}

/* By way of DER: what comes from a token does not know how strong it is. */
static int
copy_public(gnutls_pubkey_t out, gnutls_privkey_t key)
{
	gnutls_datum_t der = { 0 };
	gnutls_pubkey_t of_token;
	int rc = gnutls_pubkey_init(&of_token);

	if (rc < 0)
		return rc;
	rc = gnutls_pubkey_import_privkey(of_token, key, 0, 0);
	if (rc >= 0)
		rc = gnutls_pubkey_export2(of_token, GNUTLS_X509_FMT_DER, &der);
	if (rc >= 0)
		rc = gnutls_pubkey_import(out, &der, GNUTLS_X509_FMT_DER);
	gnutls_free(der.data);
	gnutls_pubkey_deinit(of_token);
	return rc;
}

bool
pkcs11_public(gnutls_pubkey_t out, gnutls_privkey_t key,
    const struct pkcs11_url *url, struct reason *why)
{
	int rc = copy_public(out, key);

	if (rc == GNUTLS_E_PKCS11_REQUESTED_OBJECT_NOT_AVAILBLE ||
	    rc == GNUTLS_E_REQUESTED_DATA_NOT_AVAILABLE)
		return fail(why, REASON_ABSENT,
		    "%.120s: the token has no public key beside it", url->key);
	return rc >= 0 || fail(why, REASON_INTERNAL, "%.120s: %s", url->key,
			      gnutls_strerror(rc));
}
