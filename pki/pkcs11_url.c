/*
 * pki/pkcs11_url.c: what a PKCS#11 URL says, taken apart by p11-kit.
 */
#include <p11-kit/p11-kit.h>
#include <p11-kit/uri.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "pkcs11.h"

bool
pkcs11_is_url(const char *text)
{
	return strncasecmp(text, "pkcs11:", strlen("pkcs11:")) == 0;
}

void
pkcs11_url_free(struct pkcs11_url *url)
{
	free(url->key);
	free(url->token);
	free(url->module);
	free(url->pin);
	*url = (struct pkcs11_url){ NULL, NULL, NULL, NULL };
}

/* PKCS#11 pads with blanks. */
static bool
is_given(const unsigned char *field, size_t size)
{
	return field[0] != '\0' && field[0] != ' ' && size > 0;
}

static bool
check_names(P11KitUri *uri, struct reason *why)
{
	const CK_TOKEN_INFO *token = p11_kit_uri_get_token_info(uri);
	const CK_ATTRIBUTE *class = p11_kit_uri_get_attribute(uri, CKA_CLASS);

	if (p11_kit_uri_any_unrecognized(uri))
		return fail(why, REASON_SYNTAX,
		    "PKCS#11 URL: an attribute that is not known (see RFC "
		    "7512, section 2.3)");
	if (!is_given(token->label, sizeof(token->label)) &&
	    !is_given(token->serialNumber, sizeof(token->serialNumber)))
		return fail(why, REASON_SYNTAX,
		    "PKCS#11 URL: no token in it, expected token=LABEL or "
		    "serial=NUMBER");
	if (p11_kit_uri_get_attribute(uri, CKA_LABEL) == NULL &&
	    p11_kit_uri_get_attribute(uri, CKA_ID) == NULL)
		return fail(why, REASON_SYNTAX,
		    "PKCS#11 URL: no key in it, expected object=LABEL or "
		    "id=%%NN");
	if (class != NULL && class->pValue != NULL &&
	    *(const CK_OBJECT_CLASS *)class->pValue != CKO_PRIVATE_KEY)
		return fail(why, REASON_SYNTAX,
		    "PKCS#11 URL: expected type=private, or no type");
	if (p11_kit_uri_get_pin_value(uri) != NULL)
		return fail(why, REASON_PERMISSION,
		    "PKCS#11 URL: a PIN in it (pin-value), expected "
		    "pin-source=FILE");
	return true;
}

/* RFC 7512, section 2.4: a path, or a URL; programs are not run. */
static bool
take_pin_source(P11KitUri *uri, struct pkcs11_url *out, struct reason *why)
{
	const char *source = p11_kit_uri_get_pin_source(uri);

	if (source == NULL)
		return true;
	if (strncasecmp(source, "file:", 5) == 0)
		source += strncmp(source + 5, "///", 3) == 0 ? 7 : 5;
	if (source[0] != '/' || source[1] == '/')
		return fail(why, REASON_SYNTAX,
		    "PKCS#11 URL: pin-source: expected the absolute path of a "
		    "file");
	out->pin = strdup(source);
	return out->pin != NULL || fail(why, REASON_NO_MEMORY, "PKCS#11 URL");
}

static bool
take_module(P11KitUri *uri, struct pkcs11_url *out, struct reason *why)
{
	const char *path = p11_kit_uri_get_module_path(uri);

	if (path == NULL)
		return true;
	if (path[0] != '/')
		return fail(why, REASON_SYNTAX,
		    "PKCS#11 URL: module-path: expected an absolute path");
	out->module = strdup(path);
	return out->module != NULL ||
	       fail(why, REASON_NO_MEMORY, "PKCS#11 URL");
}

static bool
take_rest(P11KitUri *uri, struct pkcs11_url *out, struct reason *why)
{
	p11_kit_uri_set_pin_source(uri, NULL);
	p11_kit_uri_set_module_path(uri, NULL);
	if (p11_kit_uri_format(uri, P11_KIT_URI_FOR_ANY, &out->key) ==
		P11_KIT_URI_OK &&
	    p11_kit_uri_format(uri, P11_KIT_URI_FOR_TOKEN, &out->token) ==
		P11_KIT_URI_OK)
		return true;
	return fail(why, REASON_NO_MEMORY, "PKCS#11 URL");
}

bool
pkcs11_url_parse(struct pkcs11_url *out, const char *text, struct reason *why)
{
	struct pkcs11_url url = { NULL, NULL, NULL, NULL };
	P11KitUri *uri;
	bool ok;
	int rc;

	if (strlen(text) >= PKCS11_URL_SIZE)
		return fail(why, REASON_RANGE,
		    "PKCS#11 URL: longer than %d octets", PKCS11_URL_SIZE - 1);
	uri = p11_kit_uri_new();
	if (uri == NULL)
		return fail(why, REASON_NO_MEMORY, "PKCS#11 URL");
	rc = p11_kit_uri_parse(text, P11_KIT_URI_FOR_ANY, uri);
	ok = rc == P11_KIT_URI_OK || fail(why, REASON_SYNTAX, "PKCS#11 URL: %s",
					 p11_kit_uri_message(rc));
	ok = ok && check_names(uri, why) && take_pin_source(uri, &url, why) &&
	     take_module(uri, &url, why) && take_rest(uri, &url, why);
	p11_kit_uri_free(uri);
	if (ok)
		*out = url;
	else
		pkcs11_url_free(&url);
	return ok;
}
