/*
 * t/fuzz/table.c: any text as a site table, a row or a site.
 *
 * Beside memory errors: a row that parses can be stored and read back, and is
 * the same row when what is printed of it is parsed again; what no row selects
 * demands TLS.
 */
#include <assert.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../../policy/parse.h"
#include "../../policy/table.h"

static void
ignore(void *context, bool is_error, const char *text)
{
	(void)context;
	(void)is_error;
	assert(strchr(text, '\n') == NULL);
}

static void
try_stored(const struct row *row, const struct key *key)
{
	static unsigned char value[ROW_OCTETS];
	static struct row again;
	unsigned char encoded[KEY_OCTETS];
	size_t key_len = key_encode(key, 'o', encoded);
	size_t len = row_encode(row, encoded, key_len, value);

	assert(len <= sizeof value);
	assert(row_decode(&again, encoded, key_len, value, len, NULL));
	assert(again.fields_len == row->fields_len);
	assert(memcmp(again.fields, row->fields, row->fields_len) == 0);
	value[len / 2] ^= 1;
	assert(!row_decode(&again, encoded, key_len, value, len, NULL));
}

static void
try_row(const char *line, size_t len)
{
	static struct row row, again;
	static char text[ROW_TEXT];
	struct key key, same;

	if (row_parse(&row, &key, line, len, "/etc", NULL) != PARSE_ROW)
		return;
	try_stored(&row, &key);
	len = row_print(&row, text, sizeof text);
	assert(len == strlen(text));
	if (len > LINE_MAX_OCTETS)
		return; /* paths and quotes may grow */
	assert(row_parse(&again, &same, text, len, "/etc", NULL) == PARSE_ROW);
	assert(strcmp(key.text, same.text) == 0);
	assert(again.level == row.level && again.directions == row.directions &&
	       again.until == row.until && again.min == row.min &&
	       again.bits == row.bits && again.fail == row.fail &&
	       again.observe == row.observe && again.eku_any == row.eku_any &&
	       again.no_chain == row.no_chain &&
	       again.no_reuse == row.no_reuse && again.dane == row.dane &&
	       again.ratchet == row.ratchet &&
	       again.tls_optional == row.tls_optional);
	assert(row_identity(&again) == row_identity(&row));
}

static void
try_site(const char *word)
{
	unsigned char encoded[KEY_OCTETS];
	char host[HOST_MAX];
	struct key key, again;

	if (key_parse(&key, word, NULL)) {
		assert(key_encode(&key, 'i', encoded) <= sizeof encoded);
		assert(key_parse(&again, key.text, NULL));
		assert(strcmp(key.text, again.text) == 0);
	}
	if (host_normalise(host, word, strlen(word)))
		assert(strlen(host) < HOST_MAX);
}

/* Names from outside never fail a lookup, and never select without a table. */
static void
try_lookups(const char *word)
{
	struct demand *demand = demand_new();

	if (demand == NULL)
		return;
	assert(demand_out(demand, NULL, word, 25, 0, NULL));
	assert(demand_add_rcpt(demand, NULL, word, 0, NULL));
	assert(demand->level == LEVEL_ENCRYPT);
	demand_free(demand);
}

int LLVMFuzzerTestOneInput(const uint8_t *octets, size_t len);

int
LLVMFuzzerTestOneInput(const uint8_t *octets, size_t len)
{
	struct table_source source = { .path = "/etc/sites", .now = 1 };
	const char *stop = memchr(octets, '\n', len);
	char word[512];
	size_t line =
	    stop == NULL ? len : (size_t)(stop - (const char *)octets);

	source.text.data = (unsigned char *)(uintptr_t)octets;
	source.text.size = (unsigned)len;
	(void)table_check(&source, ignore, NULL);
	try_row((const char *)octets, line);
	(void)snprintf(word, sizeof word, "%.*s",
	    (int)(line < sizeof word ? line : sizeof word - 1),
	    (const char *)octets);
	try_site(word);
	try_lookups(word);
	return 0;
}
