/*
 * pki/ledger.c: what an authority has issued and taken back.
 */
#include "ledger.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../policy/hex.h"
#include "authority_internal.h"
#include "file.h"

/* --- words -------------------------------------------------------------- */

const char *
authority_role_word(enum authority_role role)
{
	switch (role) {
	case ISSUE_SERVER:
		return "server";
	case ISSUE_CLIENT:
		return "client";
	case ISSUE_BOTH:
		break;
	}
	return "both";
}

bool
authority_role_parse(const char *word, enum authority_role *out)
{
	for (unsigned role = ISSUE_SERVER; role <= ISSUE_BOTH; role++)
		if (strcmp(word,
			authority_role_word((enum authority_role)role)) == 0) {
			*out = (enum authority_role)role;
			return true;
		}
	return false;
}

void
ledger_print_serial(char out[static LEDGER_SERIAL_SIZE],
    const unsigned char serial[static SERIAL_OCTETS])
{
	hex_print(out, serial, SERIAL_OCTETS);
}

bool
ledger_parse_serial(const char *text, unsigned char out[static SERIAL_OCTETS])
{
	return hex_read(out, SERIAL_OCTETS, text);
}

void
ledger_print_time(char out[static LEDGER_TIME_SIZE], time_t when)
{
	struct tm tm;

	if (gmtime_r(&when, &tm) == NULL ||
	    strftime(out, LEDGER_TIME_SIZE, "%Y-%m-%dT%H:%M:%SZ", &tm) == 0)
		snprintf(out, LEDGER_TIME_SIZE, "-");
}

static bool
parse_time(const char *text, time_t *out)
{
	struct tm tm = { 0 };
	const char *end = strptime(text, "%Y-%m-%dT%H:%M:%SZ", &tm);

	*out = timegm(&tm);
	return end != NULL && *end == '\0';
}

/* --- writing ------------------------------------------------------------ */

static bool
append(const char *folder, const char *name, const char *line,
    struct reason *why)
{
	char path[PATH_MAX];

	return authority_path(path, folder, name, why) &&
	       pki_file_append(path, line, why);
}

bool
ledger_add_issued(const char *folder,
    const unsigned char serial[static SERIAL_OCTETS], time_t issued,
    time_t expires, const struct authority_request *request,
    const unsigned char key[static SPKI_OCTETS], struct reason *why)
{
	char digest[2 * SPKI_OCTETS + 1];
	char hex[LEDGER_SERIAL_SIZE];
	char from[LEDGER_TIME_SIZE], until[LEDGER_TIME_SIZE], *line = NULL;
	size_t len = 0;
	FILE *out = open_memstream(&line, &len);
	bool ok;

	if (out == NULL)
		return fail(why, REASON_NO_MEMORY, "ledger");
	ledger_print_serial(hex, serial);
	ledger_print_time(from, issued);
	ledger_print_time(until, expires);
	hex_print(digest, key, SPKI_OCTETS);
	fprintf(out, "serial=%s issued=%s expires=%s role=%s key=%s names=",
	    hex, from, until, authority_role_word(request->role), digest);
	for (size_t i = 0; i < request->name_count; i++)
		fprintf(out, "%s%s", i > 0 ? "," : "", request->names[i]);
	if (fclose(out) != 0)
		ok = fail(why, REASON_NO_MEMORY, "ledger");
	else
		ok = append(folder, "issued", line, why);
	free(line);
	return ok;
}

bool
ledger_add_revoked(const char *folder, const char *serial, time_t when,
    struct reason *why)
{
	char time[LEDGER_TIME_SIZE];
	char line[LEDGER_SERIAL_SIZE + LEDGER_TIME_SIZE + 32];

	ledger_print_time(time, when);
	snprintf(line, sizeof(line), "serial=%s revoked=%s", serial, time);
	return append(folder, "revoked", line, why);
}

/* --- reading ------------------------------------------------------------ */

void
ledger_free(struct ledger *ledger)
{
	for (size_t i = 0; i < ledger->count; i++)
		free(ledger->entries[i].names);
	free(ledger->entries);
	*ledger = (struct ledger){ NULL, 0 };
}

struct ledger_entry *
ledger_find(const struct ledger *ledger, const char *serial)
{
	for (size_t i = 0; i < ledger->count; i++)
		if (strcmp(ledger->entries[i].serial, serial) == 0)
			return &ledger->entries[i];
	return NULL;
}

/* The next word of *at if it begins with key; what follows that. */
static char *
take(char **at, const char *key)
{
	char *word = strsep(at, " ");
	size_t len = strlen(key);

	return word != NULL && strncmp(word, key, len) == 0 ? word + len : NULL;
}

static bool
take_serial(char **at, char out[static LEDGER_SERIAL_SIZE])
{
	unsigned char octets[SERIAL_OCTETS];
	char *serial = take(at, "serial=");

	if (serial == NULL || !ledger_parse_serial(serial, octets))
		return false;
	memcpy(out, serial, LEDGER_SERIAL_SIZE);
	return true;
}

static bool
take_time(char **at, const char *key, time_t *out)
{
	char *text = take(at, key);

	return text != NULL && parse_time(text, out);
}

/* False if there is one that cannot be read. */
static bool
take_key(char **at, struct ledger_entry *entry)
{
	entry->has_key = *at != NULL && strncmp(*at, "key=", 4) == 0;
	return !entry->has_key ||
	       hex_read(entry->key, SPKI_OCTETS, take(at, "key="));
}

static bool
line_issued(struct ledger *ledger, char *line)
{
	struct ledger_entry entry = { 0 }, *entries;
	char *role, *names;

	if (!take_serial(&line, entry.serial) ||
	    !take_time(&line, "issued=", &entry.issued) ||
	    !take_time(&line, "expires=", &entry.expires) ||
	    (role = take(&line, "role=")) == NULL ||
	    !authority_role_parse(role, &entry.role) ||
	    !take_key(&line, &entry) || (names = take(&line, "names=")) == NULL || line != NULL)
		return false;
	entries =
	    reallocarray(ledger->entries, ledger->count + 1, sizeof(*entries));
	if (entries == NULL)
		return false;
	ledger->entries = entries;
	entry.names = strdup(names);
	if (entry.names == NULL)
		return false;
	entries[ledger->count++] = entry;
	return true;
}

/* One that is taken back twice was so the first time. */
static bool
line_revoked(struct ledger *ledger, char *line)
{
	char serial[LEDGER_SERIAL_SIZE];
	struct ledger_entry *entry;
	time_t when;

	if (!take_serial(&line, serial) ||
	    !take_time(&line, "revoked=", &when) || line != NULL)
		return false;
	entry = ledger_find(ledger, serial);
	if (entry != NULL && entry->revoked == 0)
		entry->revoked = when;
	return entry != NULL;
}

/* A crash while it was written left half a line: what it was to record was
 * never made. */
static bool
is_cut_off(const char *line)
{
	size_t len = strlen(line), end = strlen(PKI_TORN);

	return len >= end && strcmp(line + len - end, PKI_TORN) == 0;
}

static bool
read_lines(struct ledger *ledger, const char *path,
    bool (*each)(struct ledger *, char *), struct reason *why)
{
	FILE *in = fopen(path, "re");
	char *line = NULL;
	size_t size = 0, number = 0;
	ssize_t len;
	bool ok = true;

	if (in == NULL)
		return errno == ENOENT || fail_errno(why, "%s", path);
	while (ok && (len = getline(&line, &size, in)) > 0) {
		number++;
		if (line[len - 1] != '\n')
			break;
		line[len - 1] = '\0';
		if (!is_cut_off(line) && !each(ledger, line))
			ok = fail(why, REASON_SYNTAX,
			    "%s:%zu: not a line of an authority's ledger", path,
			    number);
	}
	free(line);
	fclose(in);
	return ok;
}

bool
ledger_read(struct ledger *out, const char *folder, struct reason *why)
{
	char issued[PATH_MAX], revoked[PATH_MAX];
	struct ledger ledger = { NULL, 0 };

	if (!authority_path(issued, folder, "issued", why) ||
	    !authority_path(revoked, folder, "revoked", why))
		return false;
	if (!read_lines(&ledger, issued, line_issued, why) ||
	    !read_lines(&ledger, revoked, line_revoked, why)) {
		ledger_free(&ledger);
		return false;
	}
	*out = ledger;
	return true;
}
