/*
 * policy/reason.c: filling in a reason, and its words for logs and reports.
 */
#include "reason.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

/* One row a code: our word, and the result type of RFC 8460, section 4.3. */
static const struct word {
	const char *word;
	const char *result;
} words[REASON_CODES] = {
	[REASON_NONE] = { "none", "" },
	[REASON_NO_MEMORY] = { "no-memory", "" },
	[REASON_IO] = { "io", "" },
	[REASON_NO_SPACE] = { "no-space", "" },
	[REASON_SYNTAX] = { "syntax", "" },
	[REASON_RANGE] = { "range", "" },
	[REASON_ABSENT] = { "absent", "" },
	[REASON_EXISTS] = { "exists", "" },
	[REASON_PERMISSION] = { "permission", "" },
	[REASON_PROTOCOL] = { "protocol", "" },
	[REASON_TIMEOUT] = { "timeout", "" },
	[REASON_AWAY] = { "away", "" },
	[REASON_INTERNAL] = { "internal", "" },
	[REASON_DAMAGED] = { "damaged", "" },
	[REASON_STARTTLS_NOT_OFFERED] = { "starttls-not-offered",
	    "starttls-not-supported" },
	[REASON_STARTTLS_REFUSED] = { "starttls-refused",
	    "starttls-not-supported" },
	[REASON_STARTTLS_INJECTED] = { "starttls-injected",
	    "validation-failure" },
	[REASON_CLEARTEXT] = { "cleartext", "" },
	[REASON_HANDSHAKE_FAILED] = { "handshake-failed",
	    "validation-failure" },
	[REASON_PROTOCOL_TOO_OLD] = { "protocol-too-old",
	    "validation-failure" },
	[REASON_CIPHER_TOO_WEAK] = { "cipher-too-weak", "validation-failure" },
	[REASON_CERT_MISSING] = { "certificate-missing", "validation-failure" },
	[REASON_CERT_UNTRUSTED] = { "certificate-untrusted",
	    "certificate-not-trusted" },
	[REASON_CERT_SELF_SIGNED] = { "certificate-self-signed",
	    "certificate-not-trusted" },
	[REASON_CERT_EXPIRED] = { "certificate-expired",
	    "certificate-expired" },
	[REASON_CERT_NOT_YET_VALID] = { "certificate-not-yet-valid",
	    "certificate-not-trusted" },
	[REASON_CERT_REVOKED] = { "certificate-revoked",
	    "certificate-not-trusted" },
	[REASON_CERT_REVOCATION_UNKNOWN] = { "certificate-revocation-unknown",
	    "certificate-not-trusted" },
	[REASON_CERT_WEAK] = { "certificate-weak", "certificate-not-trusted" },
	[REASON_CERT_PURPOSE] = { "certificate-purpose",
	    "certificate-not-trusted" },
	[REASON_CERT_NO_PURPOSE] = { "certificate-no-purpose",
	    "certificate-not-trusted" },
	[REASON_CERT_NO_SAN] = { "certificate-no-san",
	    "certificate-host-mismatch" },
	[REASON_CERT_NAME] = { "certificate-name",
	    "certificate-host-mismatch" },
	[REASON_CERT_PIN] = { "certificate-pin", "validation-failure" },
	[REASON_CERT_ISSUER] = { "certificate-issuer", "validation-failure" },
	[REASON_CERT_ORGANISATION] = { "certificate-organisation",
	    "validation-failure" },
	[REASON_CERT_BAD] = { "certificate-bad", "certificate-not-trusted" },
	[REASON_TABLE] = { "table", "" },
	[REASON_DANE_REQUIRED] = { "dane-required", "dane-required" },
	[REASON_TLSA_INVALID] = { "tlsa-invalid", "tlsa-invalid" },
	[REASON_DNSSEC_INVALID] = { "dnssec-invalid", "dnssec-invalid" },
	[REASON_RATCHET] = { "ratchet", "validation-failure" },
	[REASON_REQUIRETLS] = { "requiretls", "" },
	[REASON_CONNECT] = { "connect", "" },
	[REASON_LOOKUP] = { "lookup", "" },
	[REASON_UPSTREAM] = { "upstream", "" },
	[REASON_AUTH] = { "auth", "" },
	[REASON_EXPIRED] = { "expired", "" },
};

bool
fail(struct reason *why, enum reason_code code, const char *format, ...)
{
	va_list ap;

	if (why == NULL)
		return false;
	why->code = code;
	va_start(ap, format);
	(void)vsnprintf(why->text, sizeof(why->text), format, ap);
	va_end(ap);
	return false;
}

static enum reason_code
code_of_errno(int error)
{
	switch (error) {
	case ENOSPC:
	case EDQUOT:
		return REASON_NO_SPACE;
	case EACCES:
	case EPERM:
		return REASON_PERMISSION;
	case ENOENT:
		return REASON_ABSENT;
	case ENOMEM:
		return REASON_NO_MEMORY;
	default:
		return REASON_IO;
	}
}

bool
fail_errno(struct reason *why, const char *format, ...)
{
	int error = errno;
	char said[64];
	size_t used;
	va_list ap;

	if (why == NULL)
		return false;
	why->code = code_of_errno(error);
	va_start(ap, format);
	(void)vsnprintf(why->text, sizeof(why->text), format, ap);
	va_end(ap);
	used = strlen(why->text);
	(void)snprintf(why->text + used, sizeof(why->text) - used, ": %s",
	    strerror_r(error, said, sizeof(said)));
	errno = error;
	return false;
}

static const struct word *
word_of(enum reason_code code)
{
	static const struct word unknown = { "unknown", "" };

	if ((unsigned)code >= REASON_CODES)
		return &unknown;
	return &words[code];
}

const char *
reason_word(enum reason_code code)
{
	return word_of(code)->word;
}

const char *
reason_result_type(enum reason_code code)
{
	return word_of(code)->result;
}
