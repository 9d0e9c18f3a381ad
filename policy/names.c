/*
 * policy/names.c: RFC 9525, section 6: matching the names of a certificate.
 */
#include "names.h"

#include <string.h>

#include "key.h"

/* The next presented identifier after *cursor; NULL past the last, and for
 * what is not ended by NUL. */
static const char *
next_name(const struct facts *facts, size_t *cursor)
{
	const char *name;
	const char *end;

	if (facts->names == NULL || *cursor >= facts->names_len)
		return NULL;
	name = facts->names + *cursor;
	end = memchr(name, '\0', facts->names_len - *cursor);
	if (end == NULL)
		return NULL;
	*cursor += (size_t)(end - name) + 1;
	return name;
}

/* "*.example.com" stands for exactly one label (RFC 9525, 6.3); "*.com" would
 * claim a registry's whole name space. */
static bool
wildcard_matches(const char *presented, const char *host)
{
	const char *dot = strchr(host, '.');

	return strncmp(presented, "*.", 2) == 0 &&
	       strchr(presented + 2, '*') == NULL &&
	       strchr(presented + 2, '.') != NULL && dot != NULL &&
	       dot != host && strcasecmp(presented + 1, dot) == 0;
}

static bool
dns_matches(const char *presented, const char *reference)
{
	size_t len = strlen(presented), under = strlen(reference);
	char host[HOST_MAX];

	if (reference[0] == '.') {
		if (len <= under ||
		    strcasecmp(presented + len - under, reference) != 0)
			return false;
		/* What stands before must be a name itself, or one "*". */
		return strncmp(presented, "*.", 2) == 0
			   ? host_normalise(host, presented + 2, len - 2)
			   : host_normalise(host, presented, len);
	}
	return strcasecmp(presented, reference) == 0 ||
	       wildcard_matches(presented, reference);
}

static bool
ip_matches(const char *presented, const char *reference)
{
	struct address a, b;

	return address_parse(&a, presented) && address_parse(&b, reference) &&
	       address_equal(&a, &b);
}

static bool
name_matches(const char *presented, const char *reference)
{
	struct address address;

	if (strncmp(presented, "dns:", 4) == 0)
		return !address_parse(&address, reference) &&
		       dns_matches(presented + 4, reference);
	if (strncmp(presented, "ip:", 3) == 0)
		return ip_matches(presented + 3, reference);
	return false;
}

static bool
is_compared(const char *presented)
{
	return strncmp(presented, "dns:", 4) == 0 ||
	       strncmp(presented, "ip:", 3) == 0;
}

enum names_match
names_compare(const struct facts *facts, const char *references)
{
	enum names_match result = NAMES_NONE;
	size_t cursor = 0;
	const char *name;

	while ((name = next_name(facts, &cursor)) != NULL) {
		if (!is_compared(name))
			continue;
		result = NAMES_OTHER;
		for (const char *reference = references; *reference != '\0';
		     reference += strlen(reference) + 1)
			if (name_matches(name, reference))
				return NAMES_MATCH;
	}
	return result;
}

void
names_print(const struct facts *facts, char *out, size_t size)
{
	size_t cursor = 0, len = 0;
	const char *name;

	if (size == 0)
		return;
	out[0] = '\0';
	while ((name = next_name(facts, &cursor)) != NULL) {
		size_t octets;

		if (!is_compared(name))
			continue;
		name = strchr(name, ':') + 1;
		octets = strlen(name);
		if (len + octets + 3 > size)
			break;
		if (len > 0) {
			memcpy(out + len, ", ", 2);
			len += 2;
		}
		memcpy(out + len, name, octets + 1);
		len += octets;
	}
}
