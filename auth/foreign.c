/* auth/foreign.c: password hashes of other servers, by crypt(3). */
#include "foreign.h"

#include <crypt.h>
#include <gnutls/gnutls.h>
#include <stdlib.h>
#include <string.h>

static const char crypt_digits[] =
    "./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

struct scheme {
	const char *prefix, *name;
	size_t digest; /* octets after the last "$" */
	bool (*cost)(const char *parameters, struct reason *why);
};

static bool
rounds_cost(const char *parameters, struct reason *why)
{
	char *end;
	unsigned long rounds;

	if (strncmp(parameters, "rounds=", 7) != 0)
		return true;
	parameters += 7;
	rounds = strtoul(parameters, &end, 10);
	if (*parameters >= '1' && *parameters <= '9' && *end == '$' &&
	    rounds >= 1000 && rounds <= FOREIGN_ROUNDS_MOST)
		return true;
	return fail(why, REASON_RANGE,
	    "SHA-crypt hash with a count of rounds that is not taken, expected "
	    "1000 to %d",
	    FOREIGN_ROUNDS_MOST);
}

static bool
bcrypt_cost(const char *parameters, struct reason *why)
{
	int cost = 0;

	if (parameters[0] >= '0' && parameters[0] <= '3' &&
	    parameters[1] >= '0' && parameters[1] <= '9' &&
	    parameters[2] == '$')
		cost = (parameters[0] - '0') * 10 + parameters[1] - '0';
	if (cost >= 4 && cost <= FOREIGN_BCRYPT_MOST)
		return true;
	return fail(why, REASON_RANGE,
	    "BLF-CRYPT hash with a cost that is not taken, expected 04 to %d",
	    FOREIGN_BCRYPT_MOST);
}

/* What crypt_gensalt writes for costs 1 to 7; the last one takes 64 MiB. */
static bool
yescrypt_cost(const char *parameters, struct reason *why)
{
	static const char *const known[] = { "j75$", "j85$", "j7T$", "j8T$",
		"j9T$", "jAT$", "jBT$" };

	for (size_t i = 0; i < sizeof known / sizeof known[0]; i++)
		if (strncmp(parameters, known[i], 4) == 0)
			return true;
	return fail(why, REASON_RANGE,
	    "yescrypt hash with parameters that are not taken, expected those "
	    "of costs 1 to 7");
}

static const struct scheme schemes[] = {
	{ "$6$", "SHA512-CRYPT", 86, rounds_cost },
	{ "$5$", "SHA256-CRYPT", 43, rounds_cost },
	{ "$2y$", "BLF-CRYPT", 53, bcrypt_cost },
	{ "$2b$", "BLF-CRYPT", 53, bcrypt_cost },
	{ "$2a$", "BLF-CRYPT", 53, bcrypt_cost },
	{ "$y$", "YESCRYPT", 43, yescrypt_cost },
	{ "$1$", "MD5-CRYPT", 22, NULL },
};

enum { SCHEMES = sizeof schemes / sizeof schemes[0] };

static const struct scheme *
find(const char *hash)
{
	for (size_t i = 0; i < SCHEMES; i++)
		if (strncmp(hash, schemes[i].prefix,
			strlen(schemes[i].prefix)) == 0)
			return &schemes[i];
	return NULL;
}

const char *
foreign_scheme(const char *hash)
{
	const struct scheme *scheme = find(hash);

	return scheme != NULL ? scheme->name : NULL;
}

size_t
foreign_prefix(const char *hash)
{
	const struct scheme *scheme = find(hash);

	return scheme != NULL ? strlen(scheme->prefix) : 0;
}

/* Hashes that people have and crypt(3) has not, or that are worth nothing. */
static bool
refuse(const char *hash, struct reason *why)
{
	static const struct {
		const char *prefix, *name;
	} known[] = { { "$apr1$", "Apache's MD5 ($apr1$)" },
		{ "$argon2", "Argon2" }, { "$2x$", "broken bcrypt ($2x$)" },
		{ "$7$", "scrypt ($7$)" }, { "$gy$", "GOST yescrypt ($gy$)" },
		{ "$sha1$", "SHA-1 crypt ($sha1$)" }, { "$md5", "Sun's MD5" },
		{ "$3$", "NT hash" }, { "_", "BSDi DES" } };

	for (size_t i = 0; i < sizeof known / sizeof known[0]; i++)
		if (strncmp(hash, known[i].prefix, strlen(known[i].prefix)) ==
		    0)
			return fail(why, REASON_SYNTAX,
			    "%s is not among the hashes that can be taken",
			    known[i].name);
	if (strlen(hash) == 13 && strspn(hash, crypt_digits) == 13)
		return fail(why, REASON_SYNTAX,
		    "DES crypt, which looks at eight characters only, is not "
		    "taken");
	return fail(why, REASON_SYNTAX, "no password hash that is known here");
}

/* crypt(3) has its reasons against these octets. */
static bool
is_plain(const char *hash)
{
	for (const char *p = hash; *p != '\0'; p++)
		if (*p <= ' ' || *p > '~' || strchr(":;*!\\", *p) != NULL)
			return false;
	return true;
}

bool
foreign_check(const char *hash, struct reason *why)
{
	const struct scheme *scheme = find(hash);
	size_t len = strnlen(hash, FOREIGN_MAX + 1);
	const char *last;

	if (scheme == NULL)
		return refuse(hash, why);
	if (len > FOREIGN_MAX)
		return fail(why, REASON_RANGE, "%s hash of more than %d octets",
		    scheme->name, FOREIGN_MAX);
	if (scheme->cost != NULL &&
	    !scheme->cost(hash + strlen(scheme->prefix), why))
		return false;
	last = strrchr(hash, '$') + 1;
	if (last > hash + strlen(scheme->prefix) &&
	    strlen(last) == scheme->digest &&
	    strspn(last, crypt_digits) == scheme->digest && is_plain(hash))
		return true;
	return fail(why, REASON_SYNTAX, "broken %s hash", scheme->name);
}

bool
foreign_matches(const char *hash, const char *password)
{
	struct crypt_data *data;
	const char *made;
	size_t len = strlen(hash);
	bool ok = false;

	if (!foreign_check(hash, NULL))
		return false;
	data = calloc(1, sizeof *data);
	if (data == NULL)
		return false;
	made = crypt_r(password, hash, data);
	if (made != NULL && made[0] != '*')
		ok = strlen(made) == len && gnutls_memcmp(made, hash, len) == 0;
	explicit_bzero(data, sizeof *data);
	free(data);
	return ok;
}
