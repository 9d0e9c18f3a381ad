/*
 * tools/policy_import_demand.c: what Sendmail's TLS_* and AuthInfo entries ask
 * for, and the row that asks no less.
 */
#include "policy_import_demand.h"

#include <gnutls/gnutls.h>
#include <stdlib.h>
#include <string.h>

#include "../auth/login.h"
#include "../policy/hex.h"

enum { BITS_LEAST = 40, BITS_MOST = 512, TOKENS = 8, TOKEN_OCTETS = 256 };

/* --- extensions ----------------------------------------------------------- */

void
demand_refuse(struct demanded *demanded, const char *what)
{
	if (demanded->refused[0] == '\0')
		(void)snprintf(demanded->refused, sizeof(demanded->refused),
		    "%s", what);
}

void
demand_encrypt(struct demanded *out)
{
	memset(out, 0, sizeof(*out));
}

/* Undo +XX in place; false for control characters. */
static bool
unescape(char *text)
{
	char *out = text;

	for (const char *in = text; *in != '\0'; in++) {
		int high = in[0] == '+' ? hex_digit(in[1]) : -1;
		int low = high >= 0 ? hex_digit(in[2]) : -1;

		if (in[0] == '+' && low < 0)
			return false;
		*out = low >= 0 ? (char)(high << 4 | low) : *in;
		if (low >= 0)
			in += 2;
		if ((unsigned char)*out < 0x20 || *out == 0x7f)
			return false;
		out++;
	}
	*out = '\0';
	return true;
}

/* "O=Some Name" onto an RFC 4514 string. */
static bool
append_rdn(char *out, size_t size, const char *rdn)
{
	const char *value = strchr(rdn, '=');
	size_t type;

	if (value == NULL || value == rdn || value[1] == '\0')
		return false;
	type = (size_t)(value - rdn);
	if (!import_append(out, size, "%s%.*s=", out[0] != '\0' ? "," : "",
		strncasecmp(rdn, "email", 5) == 0 ? 5 : (int)type,
		strncasecmp(rdn, "email", 5) == 0 ? "EMAIL" : rdn))
		return false;
	for (const char *p = value + 1; *p != '\0'; p++) {
		bool special = strchr(",+\"\\<>;", *p) != NULL ||
			       (p == value + 1 && (*p == '#' || *p == ' ')) ||
			       (p[1] == '\0' && *p == ' ');

		if (!import_append(out, size, "%s%c", special ? "\\" : "", *p))
			return false;
	}
	return true;
}

/* The last RDN comes first in RFC 4514. */
static bool
convert_dn(char *out, size_t size, const char *dn, size_t len)
{
	char copy[1024], *slash;

	out[0] = '\0';
	if (len == 0 || len >= sizeof(copy) || dn[0] != '/')
		return false;
	memcpy(copy, dn, len);
	copy[len] = '\0';
	while ((slash = strrchr(copy, '/')) != NULL) {
		if (!unescape(slash + 1) || !append_rdn(out, size, slash + 1))
			return false;
		*slash = '\0';
	}
	return copy[0] == '\0';
}

void
demand_add_issuer(struct demanded *demanded, const char *dn, size_t len)
{
	char issuer[1200];

	if (!convert_dn(issuer, sizeof(issuer), dn, len) ||
	    !import_option(demanded->issuer_options, "issuer", issuer))
		demand_refuse(demanded, "an issuer's name that does not parse");
}

static void
read_extension(struct demanded *out, const char *text, size_t len)
{
	if (len == 2 && strncasecmp(text, "CN", 2) == 0) {
		out->own_name = true;
	} else if (len > 3 && strncasecmp(text, "CN:", 3) == 0 &&
		   len - 3 < sizeof(out->name)) {
		out->names++;
		memcpy(out->name, text + 3, len - 3);
		out->name[len - 3] = '\0';
		if (!unescape(out->name))
			demand_refuse(out, "a name that does not parse");
	} else if (len > 3 && strncasecmp(text, "CI:", 3) == 0) {
		out->issuers++;
		demand_add_issuer(out, text + 3, len - 3);
	} else if (len > 6 && strncasecmp(text, "CITag:", 6) == 0 &&
		   len - 6 < sizeof(out->issuer_tag)) {
		out->issuers++;
		memcpy(out->issuer_tag, text + 6, len - 6);
		out->issuer_tag[len - 6] = '\0';
	} else if (len > 3 && strncasecmp(text, "CS:", 3) == 0) {
		demand_refuse(out, "the whole name of the subject (CS)");
	} else {
		demand_refuse(out, "an unknown extension");
	}
}

/* --- the demand ----------------------------------------------------------- */

static void
read_bits(struct demanded *out, const char *text, size_t len)
{
	char number[8];

	if (len == 0 || len >= sizeof(number) ||
	    strspn(text, "0123456789") < len) {
		demand_refuse(out, "bits that are no number");
		return;
	}
	memcpy(number, text, len);
	number[len] = '\0';
	out->bits = (unsigned)strtoul(number, NULL, 10);
	if (out->bits > BITS_MOST)
		demand_refuse(out, "more bits than any cipher has");
	else if (out->bits > 0 && out->bits < BITS_LEAST)
		out->bits = BITS_LEAST;
}

/* VERIFY, VERIFY:n or ENCR:n; "ENCR:0" is met by clear text. */
static bool
read_head(struct demanded *out, const char *head, size_t len)
{
	if (len >= 6 && strncasecmp(head, "VERIFY", 6) == 0) {
		out->verify = true;
		if (len == 6)
			return true;
		if (head[6] != ':')
			return false;
		read_bits(out, head + 7, len - 7);
		return true;
	}
	if (len < 6 || strncasecmp(head, "ENCR:", 5) != 0)
		return false;
	read_bits(out, head + 5, len - 5);
	return out->bits > 0 || out->refused[0] != '\0';
}

bool
demand_read(struct demanded *out, const char *value)
{
	size_t len = strcspn(value, " \t");
	const char *end = value + len, *at = value, *stop;

	memset(out, 0, sizeof(*out));
	if (end[strspn(end, " \t")] != '\0')
		demand_refuse(out, "more than one word");
	if (strncasecmp(value, "PERM+", 5) == 0 ||
	    strncasecmp(value, "TEMP+", 5) == 0) {
		out->permanent = value[0] == 'P' || value[0] == 'p';
		at += 5;
	}
	stop = memchr(at, '+', (size_t)(end - at));
	if (!read_head(out, at, (size_t)((stop != NULL ? stop : end) - at)))
		return false;
	while (stop != NULL) {
		at = stop + 1;
		stop = strstr(at, "++");
		if (stop != NULL && stop < end) {
			read_extension(out, at, (size_t)(stop - at));
			stop++; /* at the second of the two */
		} else {
			read_extension(out, at, (size_t)(end - at));
			stop = NULL;
		}
	}
	if (out->names + out->own_name > 1)
		demand_refuse(out, "several names, all of which have to match");
	if (out->issuers > 1)
		demand_refuse(out, "several issuers, all of which are asked");
	return true;
}

void
demand_remark(struct import *import, const struct demanded *demanded)
{
	bool binds =
	    demanded->own_name || demanded->names > 0 || demanded->issuers > 0;

	if (demanded->verify && !binds)
		import_remark(import, REMARK_NOTE,
		    "no name is bound: any certificate of a trusted authority "
		    "will do; consider lock");
	if (!demanded->verify && binds)
		import_remark(import, REMARK_STRICTER,
		    "the certificate has to be verified");
	if (demanded->names > 0 || demanded->own_name)
		import_remark(import, REMARK_STRICTER,
		    "the name has to be in subjectAltName, the CN does not "
		    "count");
	if (demanded->issuers > 0)
		import_remark(import, REMARK_STRICTER,
		    "the issuer is compared in the form of RFC 4514, beside "
		    "the name of the site, if it has one");
}

/* Names of the lock; false if the site has none of its own. */
static bool
add_names(const struct demanded *demanded, const struct key *site,
    struct asked *asked, char *options)
{
	struct reason why;
	struct key name;

	if (demanded->names > 0) {
		if (!key_parse(&name, demanded->name, &why) ||
		    name.kind != KEY_HOST)
			return false;
		(void)snprintf(asked->names, sizeof(asked->names), "%s",
		    name.text);
		return import_option(options, "match", name.text);
	}
	return !demanded->own_name ||
	       (!site->is_address && site->kind != KEY_ANY);
}

static void
refuse_site(struct import *import, const struct key *site, unsigned direction,
    const char *what)
{
	import_remark(import, REMARK_CANNOT, "%s; closed", what);
	import_close_site(import, site->text, direction);
}

void
demand_write(struct import *import, const struct demanded *demanded,
    const struct key *site, unsigned direction, const char *login)
{
	struct asked asked = { .level = demanded->verify ? LEVEL_VERIFY
							 : LEVEL_ENCRYPT };
	char options[IMPORT_OPTIONS] = "", bits[16];

	if (demanded->refused[0] != '\0') {
		refuse_site(import, site, direction, demanded->refused);
		return;
	}
	if (demanded->own_name || demanded->names > 0 || demanded->issuers > 0)
		asked.level = LEVEL_LOCK;
	if (!add_names(demanded, site, &asked, options)) {
		refuse_site(import, site, direction,
		    demanded->names > 0 ? "CN: with what is no host name"
					: "CN without the name of a host");
		return;
	}
	(void)import_append(options, sizeof(options), "%s",
	    demanded->issuer_options);
	asked.bits = demanded->bits;
	(void)snprintf(bits, sizeof(bits), "%u", demanded->bits);
	if (demanded->bits != 0)
		(void)import_option(options, "bits", bits);
	if (login[0] != '\0')
		(void)import_option(options, "auth", login);
	/* What each direction does without being told is left out. */
	if (demanded->permanent && direction != DIRECTION_IN)
		(void)import_option(options, "fail", "permanent");
	if (!demanded->permanent && direction == DIRECTION_IN)
		(void)import_option(options, "fail", "temporary");
	import_row(import, site->text, direction, &asked, options);
}

/* --- logins --------------------------------------------------------------- */

struct tokens {
	char user[TOKEN_OCTETS], id[TOKEN_OCTETS], mechanisms[TOKEN_OCTETS];
	bool has_password;
};

static bool
decode_token(char *out, char form, const char *text, size_t len)
{
	gnutls_datum_t in = { (void *)(uintptr_t)text, (unsigned)len };
	gnutls_datum_t got = { NULL, 0 };
	bool ok = len > 0 && len < TOKEN_OCTETS;

	if (!ok || form == ':') {
		if (ok) {
			memcpy(out, text, len);
			out[len] = '\0';
		}
		return ok;
	}
	ok = form == '=' && gnutls_base64_decode2(&in, &got) == 0 &&
	     got.size > 0 && got.size < TOKEN_OCTETS &&
	     memchr(got.data, '\0', got.size) == NULL;
	if (ok) {
		memcpy(out, got.data, got.size);
		out[got.size] = '\0';
	}
	gnutls_free(got.data);
	return ok;
}

static bool
take_token(struct tokens *tokens, const char *text, size_t len)
{
	char realm[TOKEN_OCTETS];

	if (len < 3)
		return false;
	switch (text[0]) {
	case 'U':
		return decode_token(tokens->user, text[1], text + 2, len - 2);
	case 'I':
		return decode_token(tokens->id, text[1], text + 2, len - 2);
	case 'M':
		return decode_token(tokens->mechanisms, text[1], text + 2,
		    len - 2);
	case 'R':
		return decode_token(realm, text[1], text + 2, len - 2);
	case 'P':
		/* Never looked at, so never shown. */
		tokens->has_password = true;
		return true;
	default:
		return false;
	}
}

static bool
read_tokens(struct tokens *tokens, const char *value)
{
	const char *end;

	memset(tokens, 0, sizeof(*tokens));
	for (;;) {
		value += strspn(value, " \t");
		if (*value == '\0')
			return true;
		if (*value != '"' || (end = strchr(value + 1, '"')) == NULL ||
		    !take_token(tokens, value + 1, (size_t)(end - value - 1)))
			return false;
		value = end + 1;
	}
}

/* One of ours, if it alone was named. */
static const char *
mechanism_of(const char *words)
{
	static const char *const ours[] = { "SCRAM-SHA-256", "SCRAM-SHA-1",
		"PLAIN", "LOGIN", "EXTERNAL" };

	for (size_t i = 0; i < sizeof(ours) / sizeof(ours[0]); i++)
		if (strcasecmp(words, ours[i]) == 0)
			return ours[i];
	return "any";
}

bool
login_line(char *out, size_t size, const char *name, const char *value)
{
	struct tokens tokens;
	struct reason why;
	const char *id, *mechanism;
	bool external;

	if (!read_tokens(&tokens, value) ||
	    (tokens.user[0] == '\0' && tokens.id[0] == '\0')) {
		(void)snprintf(out, size,
		    "expected quoted tokens such as \"U:user\" \"P:...\"");
		return false;
	}
	mechanism = mechanism_of(tokens.mechanisms);
	external = strcmp(mechanism, "EXTERNAL") == 0;
	id = tokens.id[0] != '\0' && !external ? tokens.id : tokens.user;
	if (id[0] == '\0')
		id = tokens.id;
	if (!external && tokens.user[0] != '\0' &&
	    strcmp(id, tokens.user) != 0) {
		(void)snprintf(out, size,
		    "an authorization identity beside the user; log in as one "
		    "of them");
		return false;
	}
	if (!tokens.has_password && !external) {
		(void)snprintf(out, size, "a login without a password");
		return false;
	}
	/* Not as its password, which would be quoted. */
	if (!login_book_line(out, size, name, mechanism, id, NULL, &why)) {
		(void)snprintf(out, size, "%s", why.text);
		return false;
	}
	out[strcspn(out, "\n")] = '\0';
	return external || import_append(out, size, " file:%s.password", name);
}
