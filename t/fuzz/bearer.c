/*
 * t/fuzz/bearer.c: any octets as a client's message of OAUTHBEARER and XOAUTH2.
 *
 * Beside memory errors: what is accepted can be written again, and read with
 * the same result.
 */
#include <assert.h>
#include <stdint.h>
#include <string.h>

#include "../../auth/bearer.h"

static void
try(enum bearer_form form, const gnutls_datum_t *message)
{
	static struct bearer one, two;
	static char again[BEARER_MESSAGE_MAX];
	gnutls_datum_t made = { (unsigned char *)again, 0 };
	struct reason why = { .code = REASON_NONE };
	size_t len;

	if (!bearer_parse(&one, form, message, &why)) {
		assert(why.code != REASON_NONE);
		return;
	}
	if (one.token[0] == '\0')
		return;
	assert(bearer_make(again, &len, form, one.name, one.token, NULL));
	assert(len <= sizeof(again));
	made.size = (unsigned)len;
	assert(bearer_parse(&two, form, &made, NULL));
	assert(strcmp(one.name, two.name) == 0);
	assert(strcmp(one.token, two.token) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	gnutls_datum_t message = { (unsigned char *)(uintptr_t)data,
		(unsigned)size };

	try(BEARER_OAUTHBEARER, &message);
	try(BEARER_XOAUTH2, &message);
	return 0;
}
