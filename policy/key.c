/*
 * policy/key.c: one form for host names, addresses and networks.
 */
#include "key.h"

#include <arpa/inet.h>
#include <gnutls/gnutls.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static char
lower(char c)
{
	return c >= 'A' && c <= 'Z' ? (char)(c - 'A' + 'a') : c;
}

static bool
is_digit(char c)
{
	return c >= '0' && c <= '9';
}

static bool
is_label_octet(char c)
{
	return (c >= 'a' && c <= 'z') || is_digit(c) || c == '-' || c == '_';
}

static bool
is_ascii(const char *text, size_t len)
{
	for (size_t i = 0; i < len; i++)
		if ((unsigned char)text[i] >= 0x80)
			return false;
	return true;
}

/* One label: 1 to 63 octets, no hyphen at either end (RFC 1123, 2.1). */
static bool
label_is_good(const char *label, size_t len)
{
	if (len == 0 || len > 63 || label[0] == '-' || label[len - 1] == '-')
		return false;
	for (size_t i = 0; i < len; i++)
		if (!is_label_octet(label[i]))
			return false;
	return true;
}

/* A numeric last label would make 10.1 or 1.2.3.256 pass for names. */
static bool
label_is_numeric(const char *label, size_t len)
{
	for (size_t i = 0; i < len; i++)
		if (!is_digit(label[i]))
			return false;
	return true;
}

static bool
ascii_host_normalise(char out[static HOST_MAX], const char *text, size_t len)
{
	char host[HOST_MAX];
	size_t begin = 0;

	if (len > 0 && text[len - 1] == '.')
		len--;
	if (len == 0 || len >= HOST_MAX)
		return false;
	for (size_t i = 0; i < len; i++)
		host[i] = lower(text[i]);
	host[len] = '\0';
	for (size_t i = 0; i <= len; i++) {
		if (i < len && host[i] != '.')
			continue;
		if (!label_is_good(host + begin, i - begin))
			return false;
		if (i == len && label_is_numeric(host + begin, i - begin))
			return false;
		begin = i + 1;
	}
	memcpy(out, host, len + 1);
	return true;
}

/* U-labels to A-labels (IDNA 2008). */
static bool
to_ascii(char out[static HOST_MAX], const char *text, size_t len)
{
	gnutls_datum_t mapped = { NULL, 0 };
	bool ok;

	if (len > 1024 || gnutls_idna_map(text, (unsigned)len, &mapped, 0) < 0)
		return false;
	ok = is_ascii((const char *)mapped.data, mapped.size) &&
	     ascii_host_normalise(out, (const char *)mapped.data, mapped.size);
	gnutls_free(mapped.data);
	return ok;
}

bool
host_normalise(char out[static HOST_MAX], const char *text, size_t len)
{
	if (is_ascii(text, len))
		return ascii_host_normalise(out, text, len);
	return to_ascii(out, text, len);
}

/* ::ffff:a.b.c.d is a.b.c.d, whichever way it came; address has all its
 * bits. */
static void
address_unmap(struct address *address)
{
	static const unsigned char mapped[12] = { 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
		0xff, 0xff };

	if (address->family != AF_INET6 ||
	    memcmp(address->octets, mapped, sizeof(mapped)) != 0)
		return;
	address->family = AF_INET;
	address->prefix -= 96;
	memcpy(address->octets, address->octets + 12, 4);
	memset(address->octets + 4, 0, 12);
}

static bool
parse_bare(struct address *out, const char *text)
{
	struct address address = { .family = AF_INET, .prefix = 32 };

	if (inet_pton(AF_INET, text, address.octets) != 1) {
		address.family = AF_INET6;
		address.prefix = 128;
		if (inet_pton(AF_INET6, text, address.octets) != 1)
			return false;
	}
	address_unmap(&address);
	*out = address;
	return true;
}

bool
address_parse(struct address *out, const char *text)
{
	char inner[64];
	size_t len = strlen(text);

	if (len == 0 || text[0] != '[')
		return parse_bare(out, text);
	if (len < 3 || len - 2 >= sizeof(inner) || text[len - 1] != ']')
		return false;
	memcpy(inner, text + 1, len - 2);
	inner[len - 2] = '\0';
	if (strncasecmp(inner, "IPv6:", 5) == 0)
		return parse_bare(out, inner + 5);
	return parse_bare(out, inner);
}

bool
address_of_peer(struct address *out, const struct sockaddr_storage *peer)
{
	struct address address = { .family = peer->ss_family };

	if (peer->ss_family == AF_INET) {
		address.prefix = 32;
		memcpy(address.octets,
		    &((const struct sockaddr_in *)peer)->sin_addr, 4);
	} else if (peer->ss_family == AF_INET6) {
		address.prefix = 128;
		memcpy(address.octets,
		    &((const struct sockaddr_in6 *)peer)->sin6_addr, 16);
	} else {
		return false;
	}
	address_unmap(&address);
	*out = address;
	return true;
}

struct address
address_network(const struct address *address, unsigned prefix)
{
	struct address network = *address;

	network.prefix = prefix;
	for (unsigned i = 0; i < 16; i++) {
		unsigned kept = prefix > i * 8 ? prefix - i * 8 : 0;

		if (kept < 8)
			network.octets[i] &= (unsigned char)(0xff00u >> kept);
	}
	return network;
}

bool
address_equal(const struct address *a, const struct address *b)
{
	return a->family == b->family && a->prefix == b->prefix &&
	       memcmp(a->octets, b->octets, a->family == AF_INET ? 4 : 16) == 0;
}

static unsigned
address_bits(const struct address *address)
{
	return address->family == AF_INET ? 32 : 128;
}

void
address_print(const struct address *address, char out[static 64])
{
	char text[INET6_ADDRSTRLEN] = "?";

	(void)inet_ntop(address->family, address->octets, text, sizeof(text));
	if (address->prefix == address_bits(address))
		(void)snprintf(out, 64, "%s", text);
	else
		(void)snprintf(out, 64, "%s/%u", text, address->prefix);
}

bool
address_is_loopback(const struct address *address)
{
	if (address->prefix != address_bits(address))
		return false;
	if (address->family == AF_INET)
		return address->octets[0] == 127;
	return memcmp(address->octets, &in6addr_loopback, 16) == 0;
}

static bool
parse_number(const char *text, unsigned most, unsigned *out)
{
	unsigned value = 0;

	if (*text == '\0' || strlen(text) > 5 ||
	    (text[0] == '0' && text[1] != '\0'))
		return false;
	for (; *text != '\0'; text++) {
		if (!is_digit(*text))
			return false;
		value = value * 10 + (unsigned)(*text - '0');
	}
	*out = value;
	return value <= most;
}

static bool
parse_network(struct key *out, const char *word, const char *slash,
    struct reason *why)
{
	char text[64], right[64];
	struct address address, network;
	unsigned prefix, bits;

	if ((size_t)(slash - word) >= sizeof(text))
		return fail(why, REASON_SYNTAX, "%.80s is too long", word);
	memcpy(text, word, (size_t)(slash - word));
	text[slash - word] = '\0';
	if (!address_parse(&address, text))
		return fail(why, REASON_SYNTAX,
		    "%.80s is no network, expected ADDRESS/BITS", word);
	bits = strchr(text, ':') != NULL ? 128 : 32;
	if (!parse_number(slash + 1, bits, &prefix))
		return fail(why, REASON_RANGE,
		    "%.80s: prefix length, expected 0 to %u", word, bits);
	if (bits == 128 && address.family == AF_INET) {
		if (prefix < 96)
			return fail(why, REASON_RANGE,
			    "%.80s holds more than IPv4 addresses, expected "
			    "a prefix length of 96 to 128",
			    word);
		prefix -= 96;
	}
	network = address_network(&address, prefix);
	address.prefix = prefix;
	address_print(&network, right);
	if (!address_equal(&network, &address))
		return fail(why, REASON_SYNTAX,
		    "%.80s has bits beyond its prefix, expected %s", word,
		    right);
	out->kind = KEY_NETWORK;
	out->is_address = true;
	out->address = network;
	if (prefix == address_bits(&network))
		out->kind = KEY_ADDRESS;
	(void)snprintf(out->text, sizeof(out->text), "%s", right);
	return true;
}

static bool
parse_host(char out[static HOST_MAX], const char *text, struct reason *why)
{
	size_t len = strlen(text);

	if (is_ascii(text, len)) {
		if (ascii_host_normalise(out, text, len))
			return true;
		return fail(why, REASON_SYNTAX,
		    "\"%.80s\" is neither a host name nor an address", text);
	}
	if (to_ascii(out, text, len))
		return fail(why, REASON_SYNTAX,
		    "host name with letters beyond ASCII, expected its "
		    "A-label form %s",
		    out);
	return fail(why, REASON_SYNTAX,
	    "host name with letters beyond ASCII, expected A-labels "
	    "(xn--...)");
}

/* host:port, address:port or [address]:port; colon is the last one. */
static bool
parse_port(struct key *out, const char *word, const char *colon,
    struct reason *why)
{
	char name[KEY_TEXT], host[HOST_MAX], text[64];
	unsigned port;

	if ((size_t)(colon - word) >= sizeof(name))
		return fail(why, REASON_SYNTAX, "%.80s is too long", word);
	memcpy(name, word, (size_t)(colon - word));
	name[colon - word] = '\0';
	if (!parse_number(colon + 1, 65535, &port) || port == 0)
		return fail(why, REASON_RANGE,
		    "%.80s: port, expected 1 to 65535", word);
	out->kind = KEY_HOST_PORT;
	if (address_parse(&out->address, name)) {
		out->is_address = true;
		address_print(&out->address, text);
		(void)snprintf(out->text, sizeof(out->text),
		    out->address.family == AF_INET6 ? "[%s]:%u" : "%s:%u", text,
		    port);
		return true;
	}
	if (!parse_host(host, name, why))
		return false;
	(void)snprintf(out->text, sizeof(out->text), "%s:%u", host, port);
	return true;
}

static bool
parse_mailbox(struct key *out, const char *word, const char *at,
    struct reason *why)
{
	char host[HOST_MAX];
	size_t len = (size_t)(at - word);

	if (len == 0 || len > LOCAL_PART_MAX ||
	    strcspn(word, "\"\\<>()[],;: \t") < len ||
	    memchr(word, '@', len) != NULL)
		return fail(why, REASON_SYNTAX,
		    "%.80s is no mailbox, expected user@domain", word);
	if (!parse_host(host, at + 1, why))
		return false;
	out->kind = KEY_MAILBOX;
	for (size_t i = 0; i < len; i++)
		out->text[i] = lower(word[i]);
	(void)snprintf(out->text + len, sizeof(out->text) - len, "@%s", host);
	return true;
}

bool
key_parse(struct key *out, const char *word, struct reason *why)
{
	char host[HOST_MAX];
	const char *at;

	memset(out, 0, sizeof(*out));
	if (strlen(word) >= KEY_TEXT - HOST_MAX)
		return fail(why, REASON_RANGE,
		    "\"%.40s...\" is too long for a site", word);
	if (strcmp(word, "*") == 0) {
		out->kind = KEY_ANY;
		memcpy(out->text, "*", 2);
		return true;
	}
	if ((at = strrchr(word, '@')) != NULL)
		return parse_mailbox(out, word, at, why);
	if (word[0] == '.') {
		if (!parse_host(host, word + 1, why))
			return false;
		out->kind = KEY_SUFFIX;
		(void)snprintf(out->text, sizeof(out->text), ".%s", host);
		return true;
	}
	if ((at = strchr(word, '/')) != NULL)
		return parse_network(out, word, at, why);
	if (address_parse(&out->address, word)) {
		out->kind = KEY_ADDRESS;
		out->is_address = true;
		address_print(&out->address, out->text);
		return true;
	}
	at = strrchr(word, ':');
	if (at != NULL && (word[0] == '[' || strchr(word, ':') == at))
		return parse_port(out, word, at, why);
	if (!parse_host(host, word, why))
		return false;
	out->kind = KEY_HOST;
	memcpy(out->text, host, strlen(host) + 1);
	return true;
}

size_t
key_encode_text(char direction, char kind, const char *text, size_t len,
    unsigned char out[static KEY_OCTETS])
{
	if (len > KEY_OCTETS - 2)
		len = KEY_OCTETS - 2;
	out[0] = (unsigned char)direction;
	out[1] = (unsigned char)kind;
	memcpy(out + 2, text, len);
	return len + 2;
}

size_t
key_encode_address(char direction, const struct address *network,
    unsigned char out[static KEY_OCTETS])
{
	size_t len = network->family == AF_INET ? 4 : 16;

	out[0] = (unsigned char)direction;
	out[1] = network->family == AF_INET ? '4' : '6';
	out[2] = (unsigned char)network->prefix;
	memcpy(out + 3, network->octets, len);
	return len + 3;
}

size_t
key_encode(const struct key *key, char direction,
    unsigned char out[static KEY_OCTETS])
{
	static const char kinds[] = {
		[KEY_HOST] = 'h',
		[KEY_HOST_PORT] = 'p',
		[KEY_SUFFIX] = 's',
		[KEY_MAILBOX] = 'u',
		[KEY_ANY] = '*',
	};

	if (key->kind == KEY_ADDRESS || key->kind == KEY_NETWORK)
		return key_encode_address(direction, &key->address, out);
	return key_encode_text(direction, kinds[key->kind], key->text,
	    strlen(key->text), out);
}

bool
path_host(char out[static HOST_MAX], const char *path)
{
	const char *at = strrchr(path, '@');
	size_t len;

	if (at == NULL)
		return false;
	len = strlen(++at);
	if (len > 0 && at[len - 1] == '>')
		len--;
	return host_normalise(out, at, len);
}

bool
path_mailbox(char out[static KEY_TEXT], const char *path)
{
	const char *at = strrchr(path, '@');
	char host[HOST_MAX];
	size_t len = 0;

	if (!path_host(host, path))
		return false;
	for (const char *in = path; in < at; in++) {
		char c = *in;

		if (c == '"' || (in == path && c == '<'))
			continue;
		if (c == '\\' && in + 1 < at)
			c = *++in;
		if (len >= LOCAL_PART_MAX)
			return false; /* no row has one that long */
		out[len++] = lower(c);
	}
	(void)snprintf(out + len, KEY_TEXT - len, "@%s", host);
	return len > 0;
}
