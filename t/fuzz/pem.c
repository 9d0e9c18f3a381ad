/*
 * t/fuzz/pem.c: a file that should hold certificates, a key, lists of revoked
 * ones and so on, and holds anything.
 *
 * Whatever it is, one clear printable line says what is wrong.
 */
#include <assert.h>
#include <stdint.h>
#include <string.h>

#include "../../pki/cert.h"
#include "../../pki/check.h"
#include "../../pki/pem.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
look_at_line(const char *text)
{
	assert(text[0] != '\0');
	for (; *text != '\0'; text++)
		assert(*text >= ' ' && *text <= '~');
}

static void
look_at_finding(void *context, const struct check_finding *finding)
{
	unsigned *count = context;

	(*count)++;
	assert(check_word(finding->word) != NULL);
	look_at_line(finding->text);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const gnutls_datum_t file = { (unsigned char *)(uintptr_t)data,
		(unsigned)size };
	unsigned count = 0;
	const struct check_options options = { .now = 1800000000,
		.near_days = 30,
		.report = look_at_finding,
		.context = &count };
	const struct check_pair pair = { .chain_path = "chain",
		.key_path = "key",
		.chain = &file,
		.key = &file,
		.for_server = true,
		.for_client = true,
		.host = "mail.example" };
	struct reason why;

	for (int kind = PEM_CERTIFICATE; kind <= PEM_CRL; kind++) {
		assert(!pem_fail(&why, REASON_CERT_BAD, &file,
		    (enum pem_kind)kind, GNUTLS_E_BASE64_DECODING_ERROR));
		look_at_line(why.text);
		pem_has(&file, (enum pem_kind)kind);
	}
	check_pair(&options, &pair);
	check_key(&options, "key", &file);
	check_anchors(&options, "anchors", &file, true);
	check_crls(&options, "crl", &file, &file);
	check_are_authorities(&file);
	check_has_name(&file, "mail.example");
	return 0;
}
