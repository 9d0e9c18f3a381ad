/*
 * tools/cert_status_seen.c: what "sallyport cert status" says of certificates
 * that lie elsewhere: those that logins are bound to, and those that peers with
 * pin= have shown.
 *
 * Bound is a key, or a name under an authority: until when there is a
 * certificate for it is known of those that the own authority has issued.
 */
#include "cert_status.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../pki/cert.h"
#include "../pki/ledger.h"
#include "../policy/hex.h"
#include "../policy/parse.h"
#include "../server/book.h"
#include "policy.h"
#include "user.h"

enum { TEXT_OCTETS = 400 };

/* --- clients ------------------------------------------------------------- */

struct clients {
	struct cert_status *status;
	struct ledger ledger; /* of the own authority */
	bool has_authority;
	unsigned char authority[SPKI_OCTETS]; /* its key */
};

/* Of those it is for, the one that lasts longest and is not taken back; else
 * one that is; NULL: there is none. */
static const struct ledger_entry *
find_issued(const struct clients *clients,
    bool (*is_for)(const struct ledger_entry *entry, const void *what),
    const void *what)
{
	const struct ledger_entry *best = NULL;

	for (size_t i = 0; i < clients->ledger.count; i++) {
		const struct ledger_entry *e = &clients->ledger.entries[i];

		if (!is_for(e, what))
			continue;
		if (best == NULL ||
		    (e->revoked == 0 &&
			(best->revoked != 0 || e->expires > best->expires)))
			best = e;
	}
	return best;
}

static bool
is_for_key(const struct ledger_entry *entry, const void *key)
{
	return entry->has_key && memcmp(entry->key, key, SPKI_OCTETS) == 0;
}

/* what: "dns:HOST" or "email:MAILBOX". */
static bool
is_for_name(const struct ledger_entry *entry, const void *what)
{
	const char *name = strchr(what, ':') + 1;
	size_t len = strlen(name);

	if ((entry->role & ISSUE_CLIENT) == 0)
		return false;
	for (const char *at = entry->names; at != NULL;
	     at = strchr(at, ',') != NULL ? strchr(at, ',') + 1 : NULL)
		if (strncasecmp(at, name, len) == 0 &&
		    (at[len] == '\0' || at[len] == ','))
			return true;
	return false;
}

static void
add_client(const struct clients *clients, const struct entry *entry,
    const struct ledger_entry *issued, const char *use, const char *pin)
{
	struct cert_item item = { .kind = CERT_CLIENT,
		.name = entry->name,
		.use = use,
		.pin = pin };

	if (issued != NULL) {
		item.from = issued->issued;
		item.until = issued->expires;
		if (issued->revoked != 0)
			item.state = "revoked";
	}
	cert_status_add(clients->status, &item);
}

static bool
take_entry(void *context, const struct entry *entry)
{
	const struct clients *clients = context;
	char pin[PIN_TEXT], use[TEXT_OCTETS];

	if (!entry->enabled)
		return true;
	for (size_t i = 0; i < entry->key_count; i++) {
		pin_print(pin, entry->keys[i]);
		snprintf(use, sizeof(use), "key %.18s...", pin);
		add_client(clients, entry,
		    find_issued(clients, is_for_key, entry->keys[i]), use, pin);
	}
	for (size_t i = 0; i < entry->san_count; i++) {
		const struct entry_san *san = &entry->sans[i];
		bool is_ours =
		    clients->has_authority &&
		    memcmp(san->ca, clients->authority, SPKI_OCTETS) == 0;

		pin_print(pin, san->ca);
		snprintf(use, sizeof(use), "%s, authority %.18s...", san->name,
		    pin);
		add_client(clients, entry,
		    is_ours ? find_issued(clients, is_for_name, san->name)
			    : NULL,
		    use, pin);
	}
	return true;
}

static bool
has_store(const struct config *config)
{
	for (size_t i = 0; i < config->listener_count; i++)
		if ((config->listeners[i].backends & BACKEND_STORE) != 0 ||
		    config->listeners[i].ask_client_cert)
			return true;
	return false;
}

/* Without one nothing is known of what it has issued. */
static void
read_authority(struct clients *clients, const struct config *config)
{
	char folder[PATH_MAX], path[PATH_MAX];
	gnutls_x509_crt_t *chain;
	struct reason why;
	unsigned count;

	if (snprintf(folder, sizeof(folder), "%s/tls", config->folder) >=
		(int)sizeof(folder) ||
	    snprintf(path, sizeof(path), "%s/ca.pem", folder) >=
		(int)sizeof(path) ||
	    !cert_chain_read(path, &chain, &count, NULL))
		return;
	clients->has_authority = cert_spki(chain[0], clients->authority, NULL);
	cert_chain_free(chain, count);
	if (!ledger_read(&clients->ledger, folder, &why)) {
		tool_error(&why);
		clients->status->failed = true;
	}
}

void
cert_status_clients(struct cert_status *status, const struct config *config)
{
	struct clients clients = { .status = status };
	struct user_access *access;
	struct entry entry = { 0 };
	struct reason why;

	if (!has_store(config))
		return;
	read_authority(&clients, config);
	if (!user_access_open(&access, config, &why)) {
		tool_error(&why);
		status->failed = true;
	} else {
		if (!user_access_ask(access, CONTROL_USER_LIST, &entry,
			take_entry, &clients, &why)) {
			tool_error(&why);
			status->failed = true;
		}
		user_access_close(access);
	}
	ledger_free(&clients.ledger);
}

/* --- peers --------------------------------------------------------------- */

struct peers {
	struct cert_status *status;
	const char *file;      /* the table's text */
	const json_t *records; /* proofs of the relay's book */
};

/* The latest handshake in which somebody has shown that key, or NULL. */
static const json_t *
find_proof(const json_t *records, const char *hex)
{
	const json_t *record, *best = NULL;
	size_t i;

	json_array_foreach(records, i, record)
	{
		const char *spki =
		    json_string_value(json_object_get(record, "spki"));

		if (spki == NULL || strcmp(spki, hex) != 0)
			continue;
		if (best == NULL ||
		    json_integer_value(json_object_get(record, "at")) >
			json_integer_value(json_object_get(best, "at")))
			best = record;
	}
	return best;
}

static void
add_peer(const struct peers *peers, const struct row *row, const char *hex)
{
	const char *slash = strrchr(peers->file, '/');
	const json_t *proof = find_proof(peers->records, hex);
	char use[TEXT_OCTETS], pin[PIN_TEXT];
	const struct cert_item item = {
		.kind = CERT_PEER,
		.name = row_first(row, FIELD_KEY),
		.use = use,
		.pin = pin,
		.until =
		    json_integer_value(json_object_get(proof, "not-after")),
	};

	snprintf(pin, sizeof(pin), "sha256:%s", hex);
	snprintf(use, sizeof(use), "%s:%u, pin %.18s...%s",
	    slash != NULL ? slash + 1 : peers->file, row->line, pin,
	    proof == NULL ? ", not seen yet" : "");
	cert_status_add(peers->status, &item);
}

static bool
take_row(void *context, unsigned line, const char *text)
{
	struct row *row = malloc(sizeof(*row));
	struct reason why;
	struct key key;
	size_t cursor = 0;
	const char *hex;

	if (row != NULL && strstr(text, "pin=") != NULL &&
	    row_parse(row, &key, text, strlen(text), "/", &why) == PARSE_ROW) {
		row->line = line;
		while ((hex = row_next(row, FIELD_PIN, &cursor)) != NULL)
			add_peer(context, row, hex);
	}
	free(row);
	return true;
}

void
cert_status_peers(struct cert_status *status, const struct config *config,
    const struct table *table)
{
	struct reason why;
	json_t *records = policy_book_records(config, BOOK_PROOFS, &why);
	struct peers peers = { status, config->sites, records };

	/* A server that never ran has no book, and has seen nobody. */
	if (records == NULL && why.code != REASON_ABSENT) {
		tool_error(&why);
		status->failed = true;
	}
	if (!table_each(table, take_row, &peers, &why)) {
		tool_error(&why);
		status->failed = true;
	}
	json_decref(records);
}
