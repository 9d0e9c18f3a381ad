/*
 * tools/policy_import_postfix.c: tables of smtp_tls_policy_maps (TLS_README
 * and postconf(5)): a next hop, a level, attributes.
 */
#include <netdb.h>
#include <stdlib.h>
#include <string.h>

#include "policy_import.h"

enum { WORDS = 128 };

enum postfix_level {
	POSTFIX_NONE,
	POSTFIX_MAY,
	POSTFIX_ENCRYPT,
	POSTFIX_DANE,
	POSTFIX_DANE_ONLY,
	POSTFIX_FINGERPRINT,
	POSTFIX_VERIFY,
	POSTFIX_SECURE,
};

static const struct {
	const char *word;
	enum level level; /* ours */
} levels[] = {
	[POSTFIX_NONE] = { "none", LEVEL_NONE },
	[POSTFIX_MAY] = { "may", LEVEL_MAY },
	[POSTFIX_ENCRYPT] = { "encrypt", LEVEL_ENCRYPT },
	[POSTFIX_DANE] = { "dane", LEVEL_ENCRYPT },
	[POSTFIX_DANE_ONLY] = { "dane-only", LEVEL_ENCRYPT },
	[POSTFIX_FINGERPRINT] = { "fingerprint", LEVEL_LOCK },
	[POSTFIX_VERIFY] = { "verify", LEVEL_LOCK },
	[POSTFIX_SECURE] = { "secure", LEVEL_LOCK },
};

enum { LEVELS = sizeof(levels) / sizeof(levels[0]) };

/* One entry while it is read. */
struct entry {
	struct import *import;
	struct key key;
	char host[HOST_MAX]; /* the key's without its port; "": .suffix */
	enum postfix_level level;
	struct asked asked;
	bool only_own; /* match= may name the next hop itself */
	bool matched;  /* match= stands */
	bool closed;   /* refused there, or not to be said here */
	char pins[IMPORT_OPTIONS];
	char options[IMPORT_OPTIONS];
};

/* --- the next hop --------------------------------------------------------- */

static unsigned
port_of(const char *word)
{
	static const struct {
		const char *word;
		unsigned port;
	} services[] = { { "smtp", 25 }, { "submission", 587 },
		{ "submissions", 465 }, { "smtps", 465 } };
	unsigned port = 0;

	for (size_t i = 0; i < sizeof(services) / sizeof(services[0]); i++)
		if (strcasecmp(word, services[i].word) == 0)
			return services[i].port;
	if (word[0] == '\0' || word[strspn(word, "0123456789")] != '\0' ||
	    strlen(word) > 5)
		return 0;
	port = (unsigned)strtoul(word, NULL, 10);
	return port <= 65535 ? port : 0;
}

static bool
is_pattern(const char *word)
{
	return word[0] == '/' || word[0] == '!' || strcmp(word, "if") == 0 ||
	       strcmp(word, "endif") == 0;
}

/* "[host]", "[host]:port", "host", "host:port", ".suffix". */
static bool
split_site(const char *word, char host[static KEY_TEXT], const char **port_out)
{
	const char *end = word[0] == '[' ? strchr(word, ']') : NULL;
	const char *rest;
	size_t len;

	*port_out = NULL;
	if (word[0] == '[' && end == NULL)
		return false;
	rest = end != NULL ? end + 1 : strchr(word, ':');
	len = rest != NULL ? (size_t)(rest - word) : strlen(word);
	if (len >= KEY_TEXT - 8)
		return false;
	if (rest != NULL && *rest == ':')
		*port_out = rest + 1;
	else if (rest != NULL && *rest != '\0')
		return false;
	memcpy(host, word, len);
	host[len] = '\0';
	return true;
}

/* Brackets go from names and stay around addresses. */
static void
open_brackets(char *host)
{
	struct address address;
	size_t len = strlen(host);

	if (host[0] != '[' || address_parse(&address, host))
		return;
	memmove(host, host + 1, len - 2);
	host[len - 2] = '\0';
}

static bool
read_site(struct entry *entry, const char *word)
{
	char host[KEY_TEXT], whole[KEY_TEXT + 16];
	struct reason why;
	const char *port;

	if (is_pattern(word) || !split_site(word, host, &port)) {
		import_remark(entry->import, REMARK_CANNOT,
		    "the key is a pattern or no next hop, expected HOST, "
		    "[HOST]:PORT or .SUFFIX");
		return false;
	}
	if (host[0] == '.' && port != NULL) {
		import_remark(entry->import, REMARK_NEVER,
		    "a suffix with a port is never looked up");
		return false;
	}
	if (strcmp(host, "*") == 0) {
		import_remark(entry->import, REMARK_NEVER,
		    "* is never looked up");
		return false;
	}
	open_brackets(host);
	if (!key_parse(&entry->key, host, &why)) {
		import_remark(entry->import, REMARK_CANNOT, "%s", why.text);
		return false;
	}
	if (entry->key.kind != KEY_SUFFIX)
		(void)snprintf(entry->host, sizeof(entry->host), "%.253s",
		    entry->key.text);
	if (port == NULL)
		return true;
	(void)snprintf(whole, sizeof(whole), "%.500s:%u", host, port_of(port));
	if (port_of(port) != 0 && key_parse(&entry->key, whole, &why))
		return true;
	import_remark(entry->import, REMARK_CANNOT,
	    "port \"%.40s\", expected 1 to 65535", port);
	return false;
}

/* --- attributes ----------------------------------------------------------- */

/* Postfix deferred all mail for an entry that it could not read. */
static bool
refuse(struct entry *entry, const char *what, const char *word)
{
	import_remark(entry->import, REMARK_CANNOT,
	    "%s \"%.80s\": mail was deferred there, and the site is closed "
	    "here",
	    what, import_shown(word));
	entry->closed = true;
	return false;
}

/* It worked there, and no row can say it. */
static bool
shut(struct entry *entry, const char *what, const char *word)
{
	import_remark(entry->import, REMARK_CANNOT,
	    "%s \"%.80s\"; the site is closed", what, import_shown(word));
	entry->closed = true;
	return false;
}

static bool
add_name(struct entry *entry, const char *prefix, const char *name)
{
	struct reason why;
	struct key key;
	char word[KEY_TEXT];

	(void)snprintf(word, sizeof(word), "%s%.500s", prefix, name);
	if (!key_parse(&key, word, &why) ||
	    (key.kind != KEY_HOST && key.kind != KEY_SUFFIX &&
		key.kind != KEY_ADDRESS))
		return refuse(entry, "match=", word);
	return import_append(entry->asked.names, sizeof(entry->asked.names),
	    "%s%s", entry->asked.names[0] != '\0' ? "," : "", key.text);
}

/* hostname, nexthop and dot-nexthop say how the name is got. */
static bool
add_strategy(struct entry *entry, const char *word)
{
	bool dot = strcasecmp(word, "dot-nexthop") == 0;

	if (strcasecmp(word, "hostname") == 0)
		import_remark(entry->import, REMARK_STRICTER,
		    "the name is that of the next hop, not one that DNS gave");
	if (entry->host[0] == '\0') {
		/* Ours compares with the next hop's name by itself. */
		entry->only_own = entry->only_own || !dot;
		return true;
	}
	if (dot && entry->key.is_address)
		return true; /* an address has no names under it */
	return add_name(entry, dot ? "." : "", entry->host);
}

static bool
take_name(struct entry *entry, const char *word)
{
	if (strcasecmp(word, "hostname") == 0 ||
	    strcasecmp(word, "nexthop") == 0 ||
	    strcasecmp(word, "dot-nexthop") == 0)
		return add_strategy(entry, word);
	return add_name(entry, "", word);
}

/* Only SHA-256 of the public key can be a pin. */
static bool
take_digest(struct entry *entry, const char *word)
{
	char hex[65];
	size_t len = 0;

	for (; *word != '\0' && len < sizeof(hex); word++)
		if (*word != ':')
			hex[len++] = *word;
	if (len < sizeof(hex))
		hex[len] = '\0';
	if (len != 64 || strspn(hex, "0123456789abcdefABCDEF") != 64) {
		import_remark(entry->import, REMARK_CANNOT,
		    "a digest of %s, expected SHA-256 of the public key; "
		    "read it from the live peer",
		    len == 32   ? "MD5"
		    : len == 40 ? "SHA-1"
				: "another kind");
		return true;
	}
	return import_append(entry->pins, sizeof(entry->pins), " pin=sha256:%s",
	    hex);
}

static bool
each_part(struct entry *entry, char *value, const char *separators,
    bool (*take)(struct entry *entry, const char *word))
{
	char *rest = NULL;

	for (char *part = strtok_r(value, separators, &rest); part != NULL;
	     part = strtok_r(NULL, separators, &rest))
		if (!take(entry, part))
			return false;
	return true;
}

static bool
take_match(struct entry *entry, char *value)
{
	entry->matched = true;
	if (entry->level == POSTFIX_FINGERPRINT)
		return each_part(entry, value, "|", take_digest);
	if (entry->level < POSTFIX_VERIFY)
		return refuse(entry, "match= at level",
		    levels[entry->level].word);
	return each_part(entry, value, ":", take_name);
}

/* A bit a version, the oldest first; SSLv2 and SSLv3 count as one. */
enum { TLS_1_2 = 8, TLS_1_3 = 16, VERSIONS = 31 };

static unsigned
version_bit(const char *word)
{
	static const char *const versions[] = { "SSLv3", "TLSv1", "TLSv1.1",
		"TLSv1.2", "TLSv1.3" };

	for (unsigned i = 0; i < 5; i++)
		if (strcasecmp(word, versions[i]) == 0)
			return 1u << i;
	return strcasecmp(word, "SSLv2") == 0 ? 1 : 0;
}

static bool
read_versions(char *value, unsigned *allowed_out)
{
	unsigned named = 0, barred = 0, limits = VERSIONS, bit;
	char *rest = NULL;

	for (char *word = strtok_r(value, ":, ", &rest); word != NULL;
	     word = strtok_r(NULL, ":, ", &rest)) {
		unsigned skip = word[0] == '!'                     ? 1
				: word[0] == '>' || word[0] == '<' ? 2
								   : 0;

		if (skip == 2 && word[1] != '=')
			return false;
		bit = version_bit(word + skip);
		if (bit == 0)
			return false;
		if (word[0] == '!')
			barred |= bit;
		else if (word[0] == '>')
			limits &= ~(bit - 1);
		else if (word[0] == '<')
			limits &= (bit << 1) - 1;
		else
			named |= bit;
	}
	*allowed_out = (named != 0 ? named : VERSIONS) & ~barred & limits;
	return true;
}

static bool
take_protocols(struct entry *entry, char *value)
{
	char copy[IMPORT_LINE];
	unsigned allowed;

	(void)snprintf(copy, sizeof(copy), "%s", value);
	if (!read_versions(copy, &allowed))
		return refuse(entry, "protocols=", value);
	if ((allowed & (TLS_1_2 | TLS_1_3)) == 0)
		return shut(entry, "neither TLS 1.2 nor 1.3 in", value);
	if ((allowed & TLS_1_3) == 0)
		import_remark(entry->import, REMARK_CANNOT,
		    "protocols without TLS 1.3, which stays allowed");
	if (entry->level == POSTFIX_MAY) {
		if ((allowed & TLS_1_2) == 0)
			import_remark(entry->import, REMARK_CANNOT,
			    "a least protocol where clear text will do");
		return true;
	}
	if ((allowed & (TLS_1_2 | 4u)) == (TLS_1_2 | 4u))
		import_remark(entry->import, REMARK_STRICTER,
		    "nothing below TLS 1.2");
	entry->asked.min = allowed & TLS_1_2 ? 12 : 13;
	return true;
}

/* Suites that these could let in, or shut out, are never used here. */
static bool
take_ciphers(struct entry *entry, char *value)
{
	if (strcasecmp(value, "high") == 0 && entry->level != POSTFIX_MAY)
		entry->asked.bits = 128;
	import_remark(entry->import, REMARK_CANNOT,
	    "ciphers=%.40s; suites of less than 128 bits are never used%s",
	    value, entry->asked.bits != 0 ? ", as bits= says" : "");
	return true;
}

static bool
take_exclude(struct entry *entry, char *value)
{
	static const char *const never[] = { "aNULL", "eNULL", "NULL", "EXPORT",
		"EXP", "LOW", "MEDIUM", "DES", "3DES", "RC2", "RC4", "MD5",
		"IDEA", "SEED", "ADH", "AECDH", "DSS", "aDSS", "PSK", "SRP",
		"aDH", "kDH", "DES-CBC3-SHA" };
	char copy[IMPORT_LINE], *rest = NULL;

	(void)snprintf(copy, sizeof(copy), "%s", value);
	for (char *word = strtok_r(copy, ":,", &rest); word != NULL;
	     word = strtok_r(NULL, ":,", &rest)) {
		size_t i = 0, count = sizeof(never) / sizeof(never[0]);

		while (i < count && strcasecmp(word, never[i]) != 0)
			i++;
		if (i < count)
			continue;
		import_remark(entry->import, REMARK_CANNOT, "exclude=%.80s%s",
		    word, entry->level == POSTFIX_MAY ? "" : "; closed");
		entry->closed = entry->level != POSTFIX_MAY;
		return true;
	}
	import_remark(entry->import, REMARK_NOTE,
	    "the excluded suites are never used here");
	return true;
}

static bool
take_tafile(struct entry *entry, char *value)
{
	if (entry->level < POSTFIX_VERIFY) {
		import_remark(entry->import, REMARK_NOTE,
		    "tafile= has no effect at level %s",
		    levels[entry->level].word);
		return true;
	}
	if (value[0] != '/')
		return shut(entry, "relative path in tafile=", value);
	if (entry->asked.anchors[0] != '\0') {
		import_remark(entry->import, REMARK_CANNOT,
		    "a second tafile=, which is left out: put all into one");
		return true;
	}
	(void)snprintf(entry->asked.anchors, sizeof(entry->asked.anchors), "%s",
	    value);
	import_remark(entry->import, REMARK_STRICTER,
	    "ca= holds certificates alone, no bare keys");
	return import_option(entry->options, "ca", value);
}

static bool
take_servername(struct entry *entry, char *value)
{
	if (strcasecmp(value, "nexthop") == 0 ||
	    strcasecmp(value, "hostname") == 0)
		return true; /* as without sni= */
	return import_option(entry->options, "sni", value);
}

static bool
take_reuse(struct entry *entry, char *value)
{
	if (strcasecmp(value, "yes") != 0 && strcasecmp(value, "no") != 0)
		return refuse(entry, "connection_reuse=", value);
	return import_option(entry->options, "reuse",
	    strcasecmp(value, "no") == 0 ? "no" : "yes");
}

static bool
take_rpk(struct entry *entry, char *value)
{
	if (strcasecmp(value, "no") != 0)
		import_remark(entry->import, REMARK_CANNOT,
		    "enable_rpk=; a certificate is always asked for");
	return true;
}

static bool
take_plugin(struct entry *entry, char *value)
{
	(void)value;
	import_remark(entry->import, REMARK_CANNOT,
	    "what a plug-in says of MTA-STS");
	return true;
}

static const struct attribute {
	const char *word;
	bool (*take)(struct entry *entry, char *value);
} attributes[] = {
	{ "match", take_match },
	{ "protocols", take_protocols },
	{ "ciphers", take_ciphers },
	{ "exclude", take_exclude },
	{ "tafile", take_tafile },
	{ "servername", take_servername },
	{ "connection_reuse", take_reuse },
	{ "enable_rpk", take_rpk },
	{ "policy_type", take_plugin },
	{ "policy_domain", take_plugin },
	{ "policy_string", take_plugin },
	{ "policy_ttl", take_plugin },
	{ "policy_failure", take_plugin },
	{ "mx_host_pattern", take_plugin },
};

static bool
read_attribute(struct entry *entry, char *word)
{
	char *value = strchr(word, '=');

	if (entry->level == POSTFIX_NONE || word[0] == '{')
		return refuse(entry, "attribute", word);
	if (value == NULL || value[1] == '\0')
		return refuse(entry, "attribute without value", word);
	*value++ = '\0';
	for (size_t i = 0; i < sizeof(attributes) / sizeof(attributes[0]); i++)
		if (strcasecmp(word, attributes[i].word) == 0)
			return attributes[i].take(entry, value);
	return refuse(entry, "unknown attribute", word);
}

/* --- the row -------------------------------------------------------------- */

static void
write_none(struct entry *entry)
{
	struct asked nothing = { .level = LEVEL_NONE };

	if (entry->key.is_address && address_is_loopback(&entry->key.address)) {
		import_row(entry->import, entry->key.text, DIRECTION_OUT,
		    &nothing, "");
		return;
	}
	import_remark(entry->import, REMARK_CANNOT,
	    "level none outside of this host; without a row it is encrypt");
}

static void
finish_names(struct entry *entry)
{
	bool secure = entry->level == POSTFIX_SECURE;

	if (!entry->matched &&
	    !add_strategy(entry, secure ? "nexthop" : "hostname"))
		return;
	if (!entry->matched && secure && !add_strategy(entry, "dot-nexthop"))
		return;
	if (entry->asked.names[0] != '\0') {
		if (entry->only_own) {
			import_remark(entry->import, REMARK_STRICTER,
			    "the next hop's own name does not count beside "
			    "match=");
		}
		(void)import_option(entry->options, "match",
		    entry->asked.names);
	} else if (entry->only_own && !entry->matched && secure) {
		import_remark(entry->import, REMARK_STRICTER,
		    "the next hop's own name alone, not names under it");
	} else if (!entry->only_own) {
		(void)refuse(entry, "no name in", "match=");
	}
}

static void
finish_pins(struct entry *entry)
{
	entry->asked.key_alone = true;
	if (entry->pins[0] == '\0') {
		import_remark(entry->import, REMARK_CANNOT,
		    "no digest that could be a pin; closed");
		entry->closed = true;
		return;
	}
	import_remark(entry->import, REMARK_STRICTER,
	    "each digest has to be that of a public key; one of a whole "
	    "certificate, which counted too, meets nothing");
	(void)import_append(entry->options, sizeof(entry->options),
	    " chain=no%s", entry->pins);
}

static void
finish_level(struct entry *entry)
{
	switch (entry->level) {
	case POSTFIX_DANE:
	case POSTFIX_DANE_ONLY:
		if (entry->key.is_address) {
			(void)shut(entry, "TLSA records for an address",
			    entry->key.text);
			break;
		}
		entry->asked.dane = true;
		if (entry->level == POSTFIX_DANE)
			import_remark(entry->import, REMARK_STRICTER,
			    "without a usable TLSA record mail waits");
		(void)import_append(entry->options, sizeof(entry->options),
		    " dane");
		break;
	case POSTFIX_FINGERPRINT:
		finish_pins(entry);
		break;
	case POSTFIX_VERIFY:
	case POSTFIX_SECURE:
		finish_names(entry);
		break;
	default:
		break;
	}
}

/* An exception for a site without a port was one for port 25, and must not
 * become one for all.  False: it cannot be kept to that. */
static bool
keep_to_port(struct entry *entry)
{
	bool six = strchr(entry->host, ':') != NULL;
	char whole[KEY_TEXT + 16];
	struct reason why;

	if (entry->key.kind == KEY_HOST_PORT)
		return true;
	(void)snprintf(whole, sizeof(whole), "%s%.500s%s:25", six ? "[" : "",
	    entry->host, six ? "]" : "");
	if (entry->host[0] != '\0' && key_parse(&entry->key, whole, &why))
		return true;
	import_remark(entry->import, REMARK_CANNOT,
	    "level may for port 25 of all names under a suffix; without a row "
	    "it is encrypt");
	return false;
}

static void
write_row(struct entry *entry)
{
	if (!entry->closed && entry->level == POSTFIX_MAY &&
	    !keep_to_port(entry))
		return;
	if (!entry->closed)
		finish_level(entry);
	if (entry->asked.min != 0)
		(void)import_option(entry->options, "min",
		    entry->asked.min == 13 ? "tls1.3" : "tls1.2");
	if (entry->asked.bits != 0)
		(void)import_option(entry->options, "bits", "128");
	if (entry->closed)
		import_close_site(entry->import, entry->key.text,
		    DIRECTION_OUT);
	else
		import_row(entry->import, entry->key.text, DIRECTION_OUT,
		    &entry->asked, entry->options);
}

static bool
read_level(struct entry *entry, const char *word)
{
	for (int i = 0; i < LEVELS; i++)
		if (strcasecmp(word, levels[i].word) == 0) {
			entry->level = (enum postfix_level)i;
			entry->asked.level = levels[i].level;
			return true;
		}
	return refuse(entry, "level", word);
}

static void
read_entry(struct import *import, char *line, bool broken)
{
	static const struct entry fresh;
	static struct entry entry;
	char *rest = NULL;
	const char *word = strtok_r(line, " \t", &rest);
	char *next;

	entry = fresh;
	entry.import = import;
	/* Without a blank after it the next hop itself may be cut. */
	if (word == NULL || (broken && *rest == '\0') ||
	    !read_site(&entry, word))
		return;
	if (broken) {
		import_close_site(import, entry.key.text, DIRECTION_OUT);
		return;
	}
	next = strtok_r(NULL, " \t,", &rest);
	if (read_level(&entry, next != NULL ? next : "")) {
		while (!entry.closed &&
		       (next = strtok_r(NULL, " \t,", &rest)) != NULL)
			if (!read_attribute(&entry, next))
				entry.closed = true;
		if (entry.level == POSTFIX_NONE && !entry.closed) {
			write_none(&entry);
			return;
		}
	}
	write_row(&entry);
}

/* --- logical lines -------------------------------------------------------- */

struct logical {
	unsigned number; /* of its first line; 0: none */
	bool broken;     /* some of it is not known */
	char text[IMPORT_LINE + 1];
};

static void
flush(struct import *import, struct logical *logical)
{
	if (logical->number != 0) {
		import_line(import, logical->number, logical->text,
		    strlen(logical->text));
		if (logical->broken)
			import_broken(import,
			    "the entry cannot be read; its site is closed");
		read_entry(import, logical->text, logical->broken);
	}
	memset(logical, 0, sizeof(*logical));
}

/* A line that begins with a blank goes on with the one before, past comments
 * and empty lines. */
static void
take_line(struct import *import, void *context, unsigned number, char *line,
    bool broken)
{
	struct logical *logical = context;
	const char *text = line + strspn(line, " \t");

	if (text[0] == '#') {
		/* In front of an entry that is still being read. */
		import_line(import, number, text, strlen(text));
		return;
	}
	if (text != line && logical->number != 0)
		logical->broken = logical->broken || broken;
	if (text[0] == '\0')
		return;
	if (text == line) {
		flush(import, logical);
		logical->number = number;
		logical->broken = broken;
	} else if (logical->number == 0) {
		import_line(import, number, text, strlen(text));
		import_broken(import,
		    "continuation of nothing, expected a next hop first");
		return;
	}
	if (!import_append(logical->text, sizeof(logical->text), "%s%s",
		logical->text[0] != '\0' ? " " : "", text))
		logical->broken = true;
}

void
import_postfix(struct import *import, const char *text, size_t len)
{
	static struct logical logical;

	memset(&logical, 0, sizeof(logical));
	import_each_line(import, text, len, take_line, &logical);
	flush(import, &logical);
}
