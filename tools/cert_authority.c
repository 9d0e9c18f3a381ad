/*
 * tools/cert_authority.c: "sallyport cert ca", "issue", "list", "revoke" and
 * "crl": an authority of our own and what it vouches for.
 */
#include <gnutls/x509.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../pki/cert.h"
#include "../pki/crl.h"
#include "../pki/file.h"
#include "../pki/ledger.h"
#include "../pki/request.h"
#include "cert.h"
#include "tool.h"

bool
cert_path(char out[static PATH_MAX], const char *prefix, const char *ending,
    struct reason *why)
{
	int n = snprintf(out, PATH_MAX, "%s%s", prefix, ending);

	return (n >= 0 && n < PATH_MAX) ||
	       fail(why, REASON_RANGE, "%.100s...: path too long", prefix);
}

bool
cert_authority_folder(const struct cert_options *options,
    char out[static PATH_MAX], struct reason *why)
{
	struct config *config;
	bool ok;

	if (options->authority != NULL)
		return cert_path(out, options->authority, "", why);
	if (!tool_config(&config, why))
		return false;
	ok = cert_path(out, config->folder, "/tls", why);
	config_free(config);
	return ok;
}

static struct pki_passphrase
passphrase_of(const struct cert_options *options)
{
	return (struct pki_passphrase){ tool_passphrase,
		(void *)(uintptr_t)&options->from_stdin };
}

bool
cert_authority_open(const struct cert_options *options, struct authority **out,
    struct reason *why)
{
	struct pki_passphrase passphrase = passphrase_of(options);
	char folder[PATH_MAX];

	return cert_authority_folder(options, folder, why) &&
	       authority_open(out, folder, &passphrase, why);
}

/* --- ca ------------------------------------------------------------------ */

static bool
make_authority(const char *folder, const struct cert_options *options,
    struct reason *why)
{
	struct pki_passphrase passphrase = passphrase_of(options);
	struct authority_options wanted = {
		.common_name = options->name,
		.days = options->days ? options->days : CERT_AUTHORITY_DAYS,
		.algorithm = options->algorithm,
		.passphrase = options->encrypt || options->key != NULL
				  ? &passphrase
				  : NULL,
		.key_url = options->key,
		.path_length = options->path_length,
		.permitted = options->permitted.words,
		.permitted_count = options->permitted.count,
		.excluded = options->excluded.words,
		.excluded_count = options->excluded.count,
	};
	/* One line of stdin, one passphrase: the new one. */
	struct pki_passphrase of_parent = { tool_passphrase, NULL };
	bool ok;

	if (options->parent != NULL &&
	    !authority_open(&wanted.parent, options->parent,
		options->encrypt ? &of_parent : &passphrase, why))
		return false;
	ok = authority_create(folder, &wanted, why);
	authority_close(wanted.parent);
	return ok;
}

int
cert_ca(const struct cert_arguments *a)
{
	struct reason why;
	bool ok;

	if (a->count != 1 || a->options->name == NULL)
		return cert_wrong_usage("ca: expected DIR and --name CN");
	if (a->options->key != NULL && a->options->encrypt)
		return cert_wrong_usage(
		    "ca: --encrypt is for a key in a file, not in a token");
	ok = make_authority(a->words[0], a->options, &why);
	if (ok)
		printf("%s/ca.pem\n%s/ca.key\n", a->words[0], a->words[0]);
	return cert_status_of(ok, &why);
}

/* --- issue --------------------------------------------------------------- */

/* Names as the request of somebody else has them, unless others are given. */
static bool
names_of_request(char *names, size_t len, const char *list[ISSUE_NAMES_MAX],
    struct authority_request *request, struct reason *why)
{
	size_t count = 0;

	for (char *at = names; at != NULL && at < names + len;
	     at += strlen(at) + 1) {
		if (count == ISSUE_NAMES_MAX)
			return fail(why, REASON_RANGE,
			    "the request has more than %d names",
			    ISSUE_NAMES_MAX);
		list[count++] = strchr(at, ':') + 1;
	}
	if (request->name_count == 0) {
		request->names = list;
		request->name_count = count;
	}
	return true;
}

static bool
issue_for_request(struct authority *authority, const char *path,
    struct authority_request *request, const char *chain_path,
    struct reason *why)
{
	const char *list[ISSUE_NAMES_MAX];
	gnutls_datum_t pem, chain = { 0 };
	gnutls_pubkey_t key;
	char *names = NULL;
	struct reason at;
	size_t len = 0;
	bool ok;

	if (!pki_file_read(path, false, &pem, why))
		return false;
	ok = request_read(&pem, &key, &names, &len, &at);
	pki_octets_wipe(&pem);
	if (!ok)
		return fail(why, at.code, "%s: %s", path, at.text);
	ok = names_of_request(names, len, list, request, why) &&
	     authority_issue(authority, request, key, &chain, why) &&
	     pki_file_write(chain_path, chain.data, chain.size, PKI_CHAIN_MODE,
		 true, why);
	for (size_t i = 0; ok && i < request->name_count; i++)
		printf("%s%s", i == 0 ? "for " : ", ", request->names[i]);
	if (ok)
		printf("\n");
	gnutls_pubkey_deinit(key);
	pki_octets_wipe(&chain);
	free(names);
	return ok;
}

static bool
issue_to(struct authority *authority, const struct authority_request *request,
    const struct cert_options *options, const char *chain, const char *key,
    struct reason *why)
{
	bool linked = false;

	if (options->key != NULL &&
	    !pki_key_link(key, options->key, &linked, why))
		return false;
	if (authority_issue_to(authority, request, options->algorithm, chain,
		key, why))
		return true;
	if (linked)
		unlink(key);
	return false;
}

static bool
issue(struct authority *authority, const struct cert_arguments *a,
    struct reason *why)
{
	const struct cert_options *options = a->options;
	char chain[PATH_MAX], key[PATH_MAX];
	struct authority_request request = {
		.names = (const char *const *)a->words,
		.name_count = (size_t)a->count,
		.role = options->role,
		.days = options->days ? options->days : CERT_DAYS,
		.must_staple = options->must_staple,
	};
	bool ok;

	if (!cert_path(chain, options->out, ".pem", why) ||
	    !cert_path(key, options->out, ".key", why))
		return false;
	if (options->request != NULL)
		ok = issue_for_request(authority, options->request, &request,
		    chain, why);
	else
		ok = issue_to(authority, &request, options, chain, key, why);
	if (ok)
		printf("%s\n", chain);
	if (ok && options->request == NULL)
		printf("%s\n", key);
	return ok;
}

int
cert_issue(const struct cert_arguments *a)
{
	struct authority *authority;
	struct reason why;
	bool ok;

	if ((a->count == 0 && a->options->request == NULL) ||
	    !a->options->has_role || a->options->out == NULL)
		return cert_wrong_usage(
		    "issue: expected NAME (or --request), --role and --out "
		    "PREFIX");
	if (!cert_authority_open(a->options, &authority, &why))
		return cert_status_of(false, &why);
	ok = issue(authority, a, &why);
	authority_close(authority);
	return cert_status_of(ok, &why);
}

/* --- list ---------------------------------------------------------------- */

static const char *
state_of(const struct ledger_entry *entry, time_t now)
{
	if (entry->revoked != 0)
		return "revoked";
	return entry->expires <= now ? "expired" : "valid";
}

static json_t *
entry_json(const struct ledger_entry *entry, time_t now)
{
	char issued[CERT_TIME_SIZE], expires[CERT_TIME_SIZE];
	char revoked[CERT_TIME_SIZE];
	json_t *names = json_array(), *json;
	char *list = entry->names, *name;

	while ((name = strsep(&list, ",")) != NULL)
		json_array_append_new(names, json_string(name));
	cert_print_time(issued, entry->issued);
	cert_print_time(expires, entry->expires);
	cert_print_time(revoked, entry->revoked);
	json =
	    json_pack("{ss ss ss so ss ss}", "serial", entry->serial, "state",
		state_of(entry, now), "role", authority_role_word(entry->role),
		"names", names, "issued", issued, "expires", expires);
	json_object_set_new(json, "revoked",
	    entry->revoked != 0 ? json_string(revoked) : json_null());
	return json;
}

static void
list_json(const struct ledger *ledger, time_t now)
{
	json_t *list = json_array();

	for (size_t i = 0; i < ledger->count; i++)
		json_array_append_new(list,
		    entry_json(&ledger->entries[i], now));
	json_dumpf(list, stdout, JSON_INDENT(2));
	printf("\n");
	json_decref(list);
}

static void
list_text(const struct ledger *ledger, time_t now)
{
	char expires[CERT_TIME_SIZE];

	for (size_t i = 0; i < ledger->count; i++) {
		const struct ledger_entry *entry = &ledger->entries[i];

		cert_print_time(expires, entry->expires);
		printf("%s  %-7s  %-6s  until %.10s  %s\n", entry->serial,
		    state_of(entry, now), authority_role_word(entry->role),
		    expires, entry->names);
	}
}

int
cert_list(const struct cert_arguments *a)
{
	char folder[PATH_MAX];
	struct ledger ledger;
	struct reason why;
	time_t now = time(NULL);

	if (a->count != 0)
		return cert_wrong_usage("list: expected no argument");
	if (!cert_authority_folder(a->options, folder, &why) ||
	    !ledger_read(&ledger, folder, &why))
		return cert_status_of(false, &why);
	if (a->options->json)
		list_json(&ledger, now);
	else
		list_text(&ledger, now);
	ledger_free(&ledger);
	return TOOL_DONE;
}

/* --- revoke, crl ---------------------------------------------------------- */

/* A serial number, or a file whose first certificate has one. */
static bool
find_serial(const char *what, char out[static LEDGER_SERIAL_SIZE],
    struct reason *why)
{
	unsigned char octets[SERIAL_OCTETS];
	size_t size = sizeof(octets);
	gnutls_x509_crt_t *chain;
	unsigned count;
	bool ok;

	if (ledger_parse_serial(what, octets)) {
		memcpy(out, what, LEDGER_SERIAL_SIZE);
		return true;
	}
	if (access(what, F_OK) < 0)
		return fail(why, REASON_ABSENT,
		    "%s: expected a certificate's file or its serial number "
		    "(see \"sallyport cert list\")",
		    what);
	if (!cert_chain_read(what, &chain, &count, why))
		return false;
	ok = gnutls_x509_crt_get_serial(chain[0], octets, &size) >= 0 &&
	     size == sizeof(octets);
	cert_chain_free(chain, count);
	if (!ok)
		return fail(why, REASON_ABSENT,
		    "%s: not issued by this authority", what);
	ledger_print_serial(out, octets);
	return true;
}

static bool
write_crl(struct authority *authority, const struct cert_options *options,
    struct reason *why)
{
	char folder[PATH_MAX];

	if (!cert_authority_folder(options, folder, why) ||
	    !authority_write_crl(authority,
		options->days ? options->days : CERT_CRL_DAYS, why))
		return false;
	printf("%s/crl.pem\n", folder);
	return true;
}

int
cert_revoke(const struct cert_arguments *a)
{
	char serial[LEDGER_SERIAL_SIZE];
	struct authority *authority;
	struct reason why;
	bool ok = true;

	if (a->count == 0)
		return cert_wrong_usage(
		    "revoke: expected a certificate's FILE or SERIAL");
	if (!cert_authority_open(a->options, &authority, &why))
		return cert_status_of(false, &why);
	for (int i = 0; ok && i < a->count; i++)
		ok = find_serial(a->words[i], serial, &why) &&
		     authority_revoke(authority, serial, &why);
	/* What was taken back before the one that failed is, all the same. */
	if (ok)
		ok = write_crl(authority, a->options, &why);
	else
		authority_write_crl(authority, CERT_CRL_DAYS, NULL);
	authority_close(authority);
	return cert_status_of(ok, &why);
}

int
cert_crl(const struct cert_arguments *a)
{
	struct authority *authority;
	struct reason why;
	bool ok;

	if (a->count != 0)
		return cert_wrong_usage("crl: expected no argument");
	if (!cert_authority_open(a->options, &authority, &why))
		return cert_status_of(false, &why);
	ok = write_crl(authority, a->options, &why);
	authority_close(authority);
	return cert_status_of(ok, &why);
}
