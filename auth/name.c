/* auth/name.c: login names, local@realm. */
#include "name.h"

#include <stdint.h>
#include <string.h>

#include "internal.h"

/* Text of these alone is what SASLprep makes of it. */
static bool
is_printable_ascii(const char *text)
{
	for (const char *p = text; *p != '\0'; p++)
		if (*p < 0x20 || *p > 0x7e)
			return false;
	return *text != '\0';
}

bool
saslprep(const char *in, char **out, struct reason *why)
{
	/* One of the two values lets unassigned code points pass; which one
	 * depends on the version of GNU SASL (2.2.0 has them inverted). */
	static const Gsasl_saslprep_flags flags[] = { 0,
		GSASL_ALLOW_UNASSIGNED };
	char *prepared = NULL;
	int rc;

	/* The library's tables are a third of auth's work for a login. */
	if (is_printable_ascii(in)) {
		*out = strdup(in);
		return *out != NULL ? true
				    : fail(why, REASON_NO_MEMORY, "SASLprep");
	}
	for (size_t i = 0; i < sizeof flags / sizeof flags[0]; i++) {
		if (prepared != NULL)
			gsasl_wipe(prepared, strlen(prepared));
		prepared = NULL;
		rc = gsasl_saslprep(in, flags[i], &prepared, NULL);
		if (rc == GSASL_MALLOC_ERROR)
			return fail(why, REASON_NO_MEMORY, "SASLprep");
		if (rc != GSASL_OK)
			return fail(why, REASON_SYNTAX,
			    "not text that SASLprep (RFC 4013) allows");
	}
	*out = prepared;
	return true;
}

void
gsasl_wipe(char *octets, size_t len)
{
	if (octets == NULL)
		return;
	explicit_bzero(octets, len);
	gsasl_free(octets);
}

void
gsasl_finish_wiped(Gsasl_session *session)
{
	static const Gsasl_property secrets[] = { GSASL_PASSWORD,
		GSASL_SCRAM_SALTED_PASSWORD, GSASL_SCRAM_SERVERKEY,
		GSASL_SCRAM_STOREDKEY };

	for (size_t i = 0; i < sizeof secrets / sizeof secrets[0]; i++) {
		const char *text = gsasl_property_fast(session, secrets[i]);

		if (text != NULL)
			explicit_bzero((void *)(uintptr_t)text, strlen(text));
	}
	gsasl_finish(session);
}

static bool
is_alnum(unsigned char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
	       (c >= '0' && c <= '9');
}

static bool
is_local(const char *local)
{
	char before = '.';

	for (const char *p = local; *p != '\0'; before = *p++) {
		unsigned char c = (unsigned char)*p;

		if (c == '.' && before == '.')
			return false;
		if (c < 0x80 && c != '.' && !is_alnum(c) &&
		    strchr("!#$%&'*+-/=?^_`{|}~", c) == NULL)
			return false;
	}
	return before != '.'; /* the empty one too */
}

bool
name_realm_parse(char out[static NAME_REALM_MAX + 1], const char *realm,
    struct reason *why)
{
	size_t len = strnlen(realm, NAME_REALM_MAX + 1), label = 0;
	char low[NAME_REALM_MAX + 1];

	if (len == 0 || len > NAME_REALM_MAX)
		return fail(why, REASON_SYNTAX,
		    "realm of %zu octets or more, expected 1 to %d", len,
		    NAME_REALM_MAX);
	for (size_t i = 0; i <= len; i++) {
		unsigned char c = (unsigned char)realm[i];

		if (c == '.' || c == '\0') {
			if (label == 0 || label > 63 || realm[i - 1] == '-')
				goto bad;
			label = 0;
		} else if (is_alnum(c) || (c == '-' && label > 0)) {
			label++;
		} else {
			goto bad;
		}
		low[i] = (char)(c >= 'A' && c <= 'Z' ? c + ('a' - 'A') : c);
	}
	memcpy(out, low, len + 1);
	return true;
bad:
	return fail(why, REASON_SYNTAX,
	    "not a realm, expected a domain name in ASCII");
}

bool
name_parse(char out[static NAME_SIZE], const char *name,
    const char *default_realm, struct reason *why)
{
	char realm[NAME_REALM_MAX + 1];
	const char *at = strrchr(name, '@');
	const char *given = at != NULL ? at + 1 : default_realm;
	size_t local_len = at != NULL ? (size_t)(at - name) : strlen(name);
	char local[NAME_LOCAL_MAX * 4 + 1]; /* SASLprep can shorten */
	char *prepared;
	bool ok = false;

	if (given == NULL)
		return fail(why, REASON_SYNTAX,
		    "name without realm, expected local@realm");
	if (local_len == 0 || local_len >= sizeof local)
		return fail(why, REASON_SYNTAX,
		    "local part of %zu octets, expected 1 to %d", local_len,
		    NAME_LOCAL_MAX);
	if (!name_realm_parse(realm, given, why))
		return false;
	memcpy(local, name, local_len);
	local[local_len] = '\0';
	if (!saslprep(local, &prepared, why))
		return false;
	if (strlen(prepared) > NAME_LOCAL_MAX) {
		fail(why, REASON_SYNTAX,
		    "local part is too long, expected "
		    "at most %d octets",
		    NAME_LOCAL_MAX);
		goto out;
	}
	if (!is_local(prepared)) {
		fail(why, REASON_SYNTAX,
		    "not a login name, expected "
		    "local@realm");
		goto out;
	}
	strcpy(out, prepared);
	strcat(out, "@");
	strcat(out, realm);
	ok = true;
out:
	gsasl_free(prepared);
	return ok;
}

bool
name_is_as_given(const char *name, const char *text)
{
	size_t len = strcspn(name, "@");

	return strncmp(name, text, len) == 0 &&
	       (text[len] == '@' || text[len] == '\0');
}

const char *
name_realm(const char *name)
{
	const char *at = strrchr(name, '@');

	return at != NULL ? at + 1 : "";
}

void
name_local(const char *name, char out[static NAME_LOCAL_MAX + 1])
{
	const char *at = strrchr(name, '@');
	size_t len = at != NULL ? (size_t)(at - name) : strlen(name);

	if (len > NAME_LOCAL_MAX)
		len = 0;
	memcpy(out, name, len);
	out[len] = '\0';
}
