/*
 * t/fuzz/jwt.c: any octets as a token, as what an endpoint says of one, and as
 * a key set.
 *
 * Beside memory errors: nothing is taken for a token that the key has signed.
 */
#include <assert.h>
#include <stdint.h>
#include <string.h>

#include "../../auth/bearer.h"
#include "../../auth/claims.h"
#include "../../auth/jwk.h"
#include "../../auth/jwt.h"

/* RFC 8037, A.2: nobody else has the key. */
static const char key[] =
    "{\"keys\":[{\"kty\":\"OKP\",\"crv\":\"Ed25519\","
    "\"x\":\"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo\"}]}";

static void
try_token(const uint8_t *data, size_t size)
{
	static char token[BEARER_TOKEN_MAX + 2];
	static struct jwk_set *set;
	gnutls_datum_t text = { (unsigned char *)(uintptr_t)key,
		sizeof(key) - 1 };
	struct reason why = { .code = REASON_NONE };
	json_t *claims;

	if (set == NULL)
		assert(jwk_set_parse(&set, "key", &text, NULL));
	if (size >= sizeof(token))
		return;
	memcpy(token, data, size);
	token[size] = '\0';
	assert(!jwt_verify(&claims, set, token, &why));
	assert(why.code != REASON_NONE);
}

static void
try_claims(const uint8_t *data, size_t size)
{
	static const struct claims_rule rule = { "i", "a", "s", "sub", 1,
		true };
	char name[CLAIMS_VALUE_SIZE];
	json_t *claims = claims_load((const char *)data, size);

	if (claims != NULL && claims_check(name, claims, &rule, NULL))
		assert(strlen(name) < sizeof(name));
	json_decref(claims);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	gnutls_datum_t text = { (unsigned char *)(uintptr_t)data,
		(unsigned)size };
	struct jwk_set *set;

	try_token(data, size);
	try_claims(data, size);
	if (jwk_set_parse(&set, "fuzz", &text, NULL))
		jwk_set_free(set);
	return 0;
}
