/* auth/import.c: logins from the text of other programs. */
#include "import.h"

#include <gnutls/gnutls.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "../policy/hex.h"

/* Lines of other programs are shorter: their fields are copied, and wiped. */
enum { LINE_MAX_OF_OTHERS = 8192, FIELD_MAX = LINE_MAX_OF_OTHERS + 1 };
enum { SCHEME_MAX = 32, NAME_IN_MAX = 512 };

static const char *const words[IMPORT_FORMATS] = {
	[IMPORT_SALLYPORT] = "sallyport",
	[IMPORT_DOVECOT] = "dovecot",
	[IMPORT_HTPASSWD] = "htpasswd",
	[IMPORT_CYRUS] = "cyrus",
};

const char *
import_format_word(enum import_format format)
{
	return words[format];
}

bool
import_format_parse(enum import_format *out, const char *word)
{
	for (int f = 0; f < IMPORT_FORMATS; f++)
		if (strcmp(words[f], word) == 0) {
			*out = (enum import_format)f;
			return true;
		}
	return false;
}

void
import_init(struct user_import *import, enum import_format format,
    const char *realm, uint32_t iterations)
{
	memset(import, 0, sizeof *import);
	import->format = format;
	import->realm = realm;
	import->iterations = iterations;
}

void
import_fini(struct user_import *import)
{
	explicit_bzero(import, sizeof *import);
}

static enum user_import_result
refused(struct reason *why, const char *text)
{
	fail(why, REASON_SYNTAX, "%s", text);
	return IMPORT_REFUSED;
}

/* The field of a line with colons that begins at *at, cut out; false if there
 * is none.  The caller wipes out. */
static bool
take_field(const char **at, char *out, size_t size)
{
	size_t len;

	if (*at == NULL)
		return false;
	len = strcspn(*at, ":");
	if (len >= size)
		return false;
	memcpy(out, *at, len);
	out[len] = '\0';
	*at = (*at)[len] == ':' ? *at + len + 1 : NULL;
	return true;
}

static bool
take_password(const struct user_import *import, const char *password,
    struct entry *out, struct reason *why)
{
	return verifier_make(out->verifiers, password, import->iterations, why);
}

static bool
take_hash(const char *hash, struct entry *out, struct reason *why)
{
	if (!foreign_check(hash, why))
		return false;
	strcpy(out->foreign, hash);
	return true;
}

static bool
take_base64(const char *text, size_t len, unsigned char *out, size_t least,
    size_t most, size_t *len_out)
{
	const gnutls_datum_t data = { (unsigned char *)(uintptr_t)text,
		(unsigned)len };
	gnutls_datum_t octets;
	bool ok;

	if (len == 0 || len > 2 * VERIFIER_SALT_MAX ||
	    gnutls_base64_decode2(&data, &octets) < 0)
		return false;
	ok = octets.size >= least && octets.size <= most;
	if (ok) {
		memcpy(out, octets.data, octets.size);
		*len_out = octets.size;
	}
	gnutls_memset(octets.data, 0, octets.size);
	gnutls_free(octets.data);
	return ok;
}

/* "4096,SALT,STORED,SERVER", the last three in base64. */
static bool
read_scram(const char *data, enum verifier_hash hash, struct verifier *v)
{
	size_t key_len = verifier_key_len(hash), n, len;
	uint32_t iterations = 0;

	while (*data >= '0' && *data <= '9' &&
	       iterations <= VERIFIER_ITERATIONS_MOST)
		iterations = iterations * 10 + (uint32_t)(*data++ - '0');
	if (*data++ != ',' || iterations > VERIFIER_ITERATIONS_MOST)
		return false;
	v->iterations = iterations;
	n = strcspn(data, ",");
	if (data[n] != ',' ||
	    !take_base64(data, n, v->salt, 1, VERIFIER_SALT_MAX, &v->salt_len))
		return false;
	data += n + 1;
	n = strcspn(data, ",");
	if (data[n] != ',' ||
	    !take_base64(data, n, v->stored, key_len, key_len, &len))
		return false;
	data += n + 1;
	if (!take_base64(data, strlen(data), v->server, key_len, key_len, &len))
		return false;
	v->present = v->has_keys = true;
	return true;
}

static bool
take_scram(const char *data, enum verifier_hash hash, struct entry *out,
    struct reason *why)
{
	struct verifier *v = &out->verifiers[hash];

	if (!read_scram(data, hash, v))
		return fail(why, REASON_SYNTAX,
		    "broken {%s}, expected iterations, salt, stored and server "
		    "key with commas between",
		    verifier_mechanism(hash));
	if (v->iterations >= VERIFIER_ITERATIONS_LEAST)
		return true;
	return fail(why, REASON_RANGE,
	    "{%s} of %u iterations, expected %d or more",
	    verifier_mechanism(hash), (unsigned)v->iterations,
	    VERIFIER_ITERATIONS_LEAST);
}

/* {CRYPT} has any of crypt(3)'s, the others the one they are named for. */
static bool
take_crypt(const char *scheme, const char *data, struct entry *out,
    struct reason *why)
{
	const char *name = foreign_scheme(data);

	if (strcasecmp(scheme, "MD5") == 0)
		scheme = "MD5-CRYPT";
	if (strcasecmp(scheme, "CRYPT") != 0 &&
	    (name == NULL || strcasecmp(scheme, name) != 0))
		return fail(why, REASON_SYNTAX,
		    "{%s} with a hash that is not one", scheme);
	return take_hash(data, out, why);
}

static bool
take_scheme(const struct user_import *import, const char *scheme,
    const char *data, struct entry *out, struct reason *why)
{
	static const char *const clear[] = { "PLAIN", "CLEAR", "CLEARTEXT" };
	static const char *const crypts[] = { "CRYPT", "SHA512-CRYPT",
		"SHA256-CRYPT", "BLF-CRYPT", "MD5-CRYPT", "MD5" };

	for (size_t i = 0; i < sizeof clear / sizeof clear[0]; i++)
		if (strcasecmp(scheme, clear[i]) == 0)
			return take_password(import, data, out, why);
	for (int h = 0; h < VERIFIER_HASHES; h++)
		if (strcasecmp(scheme,
			verifier_mechanism((enum verifier_hash)h)) == 0)
			return take_scram(data, (enum verifier_hash)h, out,
			    why);
	for (size_t i = 0; i < sizeof crypts / sizeof crypts[0]; i++)
		if (strcasecmp(scheme, crypts[i]) == 0)
			return take_crypt(crypts[i], data, out, why);
	return fail(why, REASON_SYNTAX,
	    "scheme {%s} is not among those that can be taken", scheme);
}

/* A password as Dovecot writes it; without scheme it is {CRYPT}. */
static bool
take_dovecot(const struct user_import *import, const char *field,
    struct entry *out, struct reason *why)
{
	char scheme[SCHEME_MAX];
	size_t len;

	if (field[0] == '\0' || field[0] == '!' || field[0] == '*')
		return fail(why, REASON_SYNTAX, "no password, or a locked one");
	if (field[0] != '{')
		return take_hash(field, out, why);
	len = strspn(field + 1, "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
				"abcdefghijklmnopqrstuvwxyz0123456789-_.");
	if (len == 0 || len >= sizeof scheme || field[1 + len] != '}')
		return fail(why, REASON_SYNTAX,
		    "broken scheme, expected {SCHEME} before the password");
	memcpy(scheme, field + 1, len);
	scheme[len] = '\0';
	return take_scheme(import, scheme, field + len + 2, out, why);
}

/* Extra fields that forbid something: one we know, one we cannot keep. */
static bool
take_extra(const char *extra, struct entry *out, struct reason *why)
{
	while (*extra != '\0') {
		size_t len = strcspn(extra, " \t");
		size_t name = strcspn(extra, "= \t");

		if (name == 7 && strncmp(extra, "nologin", 7) == 0)
			out->enabled = false;
		if (name == 10 && strncmp(extra, "allow_nets", 10) == 0)
			return fail(why, REASON_SYNTAX,
			    "allow_nets cannot be kept: this user would be let "
			    "in from everywhere");
		extra += len;
		extra += strspn(extra, " \t");
	}
	return true;
}

static enum user_import_result
line_dovecot(struct user_import *import, const char *line, struct entry *out,
    struct reason *why)
{
	/* user:password:uid:gid:gecos:home:shell:extra */
	enum { BEFORE_EXTRA = 5 };
	char name[NAME_IN_MAX], password[FIELD_MAX], skipped[FIELD_MAX];
	const char *at = line;
	bool ok;

	if (line[0] == '\0' || line[0] == '#')
		return IMPORT_NOTHING;
	import->users++;
	if (!take_field(&at, name, sizeof name) ||
	    !take_field(&at, password, sizeof password))
		return refused(why, "expected USER:{SCHEME}PASSWORD");
	for (int i = 0; at != NULL && i < BEFORE_EXTRA; i++)
		(void)take_field(&at, skipped, sizeof skipped);
	ok = name_parse(out->name, name, import->realm, why) &&
	     take_dovecot(import, password, out, why) &&
	     (at == NULL || take_extra(at, out, why));
	explicit_bzero(password, sizeof password);
	explicit_bzero(skipped, sizeof skipped);
	return ok ? IMPORT_USER : IMPORT_REFUSED;
}

static enum user_import_result
line_htpasswd(struct user_import *import, const char *line, struct entry *out,
    struct reason *why)
{
	char name[NAME_IN_MAX], hash[FIELD_MAX];
	const char *at = line;
	bool ok;

	if (line[0] == '\0' || line[0] == '#')
		return IMPORT_NOTHING;
	import->users++;
	if (!take_field(&at, name, sizeof name) ||
	    !take_field(&at, hash, sizeof hash))
		return refused(why, "expected USER:HASH");
	ok = name_parse(out->name, name, import->realm, why);
	if (ok &&
	    (strncmp(hash, "{SHA}", 5) == 0 || strncmp(hash, "{SSHA}", 6) == 0))
		ok = fail(why, REASON_SYNTAX,
		    "scheme %.*s is not among those that can be taken",
		    (int)strcspn(hash, "}") + 1, hash);
	else
		ok = ok && take_hash(hash, out, why);
	explicit_bzero(hash, sizeof hash);
	return ok ? IMPORT_USER : IMPORT_REFUSED;
}

/* The octets of an item of the dump: hexadecimal, or print's \XX and \\. */
static bool
undump(bool is_hex, const char *text, char *out, size_t size, size_t *len_out)
{
	size_t len = 0;

	while (*text != '\0') {
		bool escaped = is_hex || (*text == '\\' && text[1] != '\\');
		int high, low;

		if (len + 1 >= size)
			return false;
		if (!escaped) {
			text += *text == '\\';
			out[len++] = *text++;
			continue;
		}
		text += !is_hex;
		high = hex_digit(text[0]);
		low = high >= 0 ? hex_digit(text[1]) : -1;
		if (low < 0)
			return false;
		out[len++] = (char)(high << 4 | low);
		text += 2;
	}
	out[len] = '\0';
	*len_out = len;
	return true;
}

/* "user" NUL "realm" NUL "userPassword" */
static bool
read_cyrus_key(const struct user_import *import, const char *key, size_t len,
    char name_out[static NAME_SIZE], struct reason *why)
{
	const char *realm = key + strlen(key) + 1, *property, *end = key + len;
	char name[NAME_IN_MAX];

	property = realm < end ? realm + strlen(realm) + 1 : end;
	if (property >= end || property + strlen(property) != end)
		return fail(why, REASON_SYNTAX,
		    "key that is none of sasldb2, expected user, realm and "
		    "userPassword");
	if (strcmp(property, "userPassword") != 0)
		return fail(why, REASON_SYNTAX,
		    "property that is no password, expected userPassword");
	/* Programs that gave no realm have the host's name there, or none. */
	if (strchr(key, '@') != NULL || *realm == '\0')
		return name_parse(name_out, key, import->realm, why);
	if (snprintf(name, sizeof name, "%s@%s", key, realm) >=
	    (int)sizeof name)
		return fail(why, REASON_SYNTAX, "user or realm is too long");
	return name_parse(name_out, name, NULL, why);
}

static enum user_import_result
cyrus_key(struct user_import *import, const char *text, struct reason *why)
{
	char key[FIELD_MAX];
	size_t len;
	bool ok;

	import->users++;
	import->has_key = true;
	ok = undump(import->is_hex, text, key, sizeof key, &len) ||
	     fail(why, REASON_SYNTAX, "broken octets of a key");
	ok = ok && read_cyrus_key(import, key, len, import->name, why);
	import->key_is_bad = !ok;
	return ok ? IMPORT_NOTHING : IMPORT_REFUSED;
}

static enum user_import_result
cyrus_value(struct user_import *import, const char *text, struct entry *out,
    struct reason *why)
{
	char password[FIELD_MAX];
	size_t len;
	bool ok;

	import->has_key = false;
	if (import->key_is_bad)
		return IMPORT_NOTHING; /* that was said at its key */
	ok = undump(import->is_hex, text, password, sizeof password, &len) ||
	     fail(why, REASON_SYNTAX, "broken octets of a password");
	if (ok && memchr(password, '\0', len) != NULL)
		ok = fail(why, REASON_SYNTAX, "password with a NUL octet");
	strcpy(out->name, import->name);
	ok = ok && take_password(import, password, out, why);
	explicit_bzero(password, sizeof password);
	return ok ? IMPORT_USER : IMPORT_REFUSED;
}

static enum user_import_result
cyrus_header(struct user_import *import, const char *line, struct reason *why)
{
	size_t len = strlen(line);

	if (strcmp(line, "HEADER=END") == 0)
		import->begun = true;
	else if (strcmp(line, "format=print") == 0)
		import->is_hex = false;
	else if (strcmp(line, "format=bytevalue") == 0)
		import->is_hex = true;
	else if (len > 14 && strcmp(line + len - 14, ": userPassword") == 0) {
		refused(why, "sasldblistusers2 prints no passwords, expected "
			     "db_dump -p of sasldb2");
		return IMPORT_STOP;
	} else if (strchr(line, '=') == NULL) {
		refused(why, "not a dump of sasldb2, expected what db_dump -p "
			     "prints");
		return IMPORT_STOP;
	}
	return IMPORT_NOTHING;
}

static enum user_import_result
line_cyrus(struct user_import *import, const char *line, struct entry *out,
    struct reason *why)
{
	if (!import->begun)
		return cyrus_header(import, line, why);
	if (import->ended)
		return refused(why, "after the end of the dump");
	if (strcmp(line, "DATA=END") == 0) {
		import->ended = true;
		return IMPORT_NOTHING;
	}
	if (line[0] != ' ')
		return refused(why, "not a line of a dump, expected a blank "
				    "first");
	return import->has_key ? cyrus_value(import, line + 1, out, why)
			       : cyrus_key(import, line + 1, why);
}

static enum user_import_result
line_sallyport(struct user_import *import, const char *line, size_t len,
    struct entry *out, struct reason *why)
{
	if (!import->begun) {
		if (!export_read_header(line, len, import->secret, why))
			return IMPORT_STOP;
		import->begun = import->has_secret = true;
		return IMPORT_NOTHING;
	}
	if (import->ended)
		return refused(why, "after the last line of the export");
	import->ended = export_read_trailer(line, len, &import->announced);
	if (import->ended)
		return IMPORT_NOTHING;
	import->users++;
	return export_read_entry(line, len, out, why) ? IMPORT_USER
						      : IMPORT_REFUSED;
}

enum user_import_result
user_import_line(struct user_import *import, const char *line, size_t len,
    struct entry *out, struct reason *why)
{
	size_t most = import->format == IMPORT_SALLYPORT ? IMPORT_LINE_MAX
							 : LINE_MAX_OF_OTHERS;

	memset(out, 0, sizeof *out);
	out->enabled = true;
	if (len > most || memchr(line, '\0', len) != NULL)
		return refused(why, "line too long, or with a NUL octet");
	switch (import->format) {
	case IMPORT_SALLYPORT:
		return line_sallyport(import, line, len, out, why);
	case IMPORT_DOVECOT:
		return line_dovecot(import, line, out, why);
	case IMPORT_HTPASSWD:
		return line_htpasswd(import, line, out, why);
	case IMPORT_CYRUS:
		return line_cyrus(import, line, out, why);
	case IMPORT_FORMATS:
		break;
	}
	return refused(why, "unknown format");
}

bool
import_end(const struct user_import *import, struct reason *why)
{
	bool has_end = import->format == IMPORT_SALLYPORT ||
		       import->format == IMPORT_CYRUS;

	if (has_end && !import->ended)
		return fail(why, REASON_SYNTAX,
		    "cut off: its last line is missing");
	if (import->format == IMPORT_SALLYPORT &&
	    import->announced != import->users)
		return fail(why, REASON_SYNTAX,
		    "has %ju users, but its last line speaks of %ju",
		    (uintmax_t)import->users, (uintmax_t)import->announced);
	return true;
}
