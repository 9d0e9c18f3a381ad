/*
 * tools/cert_acme.c: "sallyport cert acme": certificates of public
 * authorities, obtained and renewed by a packaged ACME client.
 */
#include <errno.h>
#include <gnutls/x509.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "../pki/cert.h"
#include "../pki/file.h"
#include "../pki/make.h"
#include "../pki/renew.h"
#include "../pki/request.h"
#include "acme.h"
#include "cert.h"
#include "tool.h"

/* --- obtaining ------------------------------------------------------------
 */

/* One that is made, and nothing comes of it, goes away again. */
static bool
get_key(struct pki_key *key, const char *prefix,
    const struct cert_options *options, bool *made_out, struct reason *why)
{
	char path[PATH_MAX];

	if (!cert_path(path, prefix, ".key", why))
		return false;
	*made_out = access(path, F_OK) != 0;
	if (options->new_key && !*made_out)
		return renew_next_key(key, path, why);
	return pki_key_get(key, path, options->algorithm, NULL, why);
}

static void
remove_key(const char *prefix)
{
	char path[PATH_MAX];

	if (cert_path(path, prefix, ".key", NULL))
		unlink(path);
}

static bool
request(const struct acme_order *order, const struct pki_key *key,
    gnutls_datum_t *csr_out, struct reason *why)
{
	const struct authority_request wanted = {
		.names = order->names,
		.name_count = order->name_count,
		.role = ISSUE_SERVER,
	};

	return request_make(&wanted, key, csr_out, why);
}

static bool
put(const struct acme_order *order, const char *prefix,
    const gnutls_datum_t *pem, const struct config *config, struct reason *why)
{
	const struct cert_answer answer = {
		.pem = pem,
		.names = order->names,
		.name_count = order->name_count,
		.is_replacement = true,
	};

	return cert_put(&answer, prefix, config, why);
}

static bool
is_for_its_key(const gnutls_datum_t *chain, const char *prefix)
{
	gnutls_datum_t key;
	char path[PATH_MAX];
	bool ok;

	if (!cert_path(path, prefix, ".key", NULL) ||
	    !pki_file_read(path, true, &key, NULL))
		return false;
	ok = cert_matches_key(chain, &key, NULL);
	pki_octets_wipe(&key);
	return ok;
}

/* Authorities count what they issue: nothing is asked for that would only be
 * put back.  Where the pair is broken the server has reason to refuse it. */
static bool
is_worth_it(const struct config *config, const char *prefix, struct reason *why)
{
	char path[PATH_MAX];
	gnutls_datum_t pem;
	bool is_good;

	if (config == NULL) {
		printf("%s.pem is not in %s: no server is told\n", prefix,
		    tool_config_path);
		return true;
	}
	if (!cert_path(path, prefix, ".pem", why))
		return false;
	if (!pki_file_read(path, false, &pem, NULL))
		return true;
	is_good = is_for_its_key(&pem, prefix);
	pki_octets_wipe(&pem);
	return !is_good || cert_server_is_well(config, why);
}

/* The folder is locked.  config: whose server is to take it; NULL: none. */
static bool
obtain(const struct acme_order *order, const char *prefix,
    const struct acme_folder *folder, const struct config *config,
    const struct cert_options *options, struct reason *why)
{
	gnutls_datum_t csr = { 0 }, pem = { 0 };
	const char *client = NULL;
	struct pki_key key;
	bool made, ok;

	if (!is_worth_it(config, prefix, why) ||
	    !get_key(&key, prefix, options, &made, why))
		return false;
	ok = request(order, &key, &csr, why) &&
	     acme_client_obtain(order, folder, &csr, &pem, &client, why);
	pki_key_free(&key);
	if (ok)
		printf("%s: from %s by %s\n", prefix, order->directory, client);
	ok = ok && put(order, prefix, &pem, config, why);
	pki_octets_wipe(&csr);
	pki_octets_wipe(&pem);
	if (!ok && made)
		remove_key(prefix);
	return ok && acme_order_write(order, prefix, why);
}

/* --- the first time ------------------------------------------------------ */

/* Clients do not stand where we do. */
static bool
make_absolute(const char **path, char **owned_out, struct reason *why)
{
	char folder[PATH_MAX];

	if (*path == NULL || **path == '/')
		return true;
	if (getcwd(folder, sizeof(folder)) == NULL)
		return fail_errno(why, "the present folder");
	if (asprintf(owned_out, "%s/%s", folder, *path) < 0) {
		*owned_out = NULL;
		return fail(why, REASON_NO_MEMORY, "path");
	}
	*path = *owned_out;
	return true;
}

static bool
make_order(struct acme_order *order, const struct cert_arguments *a,
    struct reason *why)
{
	const struct cert_options *o = a->options;

	order->directory = o->directory != NULL ? o->directory : ACME_DIRECTORY;
	order->directory_ca = o->directory_ca;
	order->email = o->email;
	order->client = o->client;
	order->way = o->http != NULL      ? ACME_HTTP
		     : o->webroot != NULL ? ACME_WEBROOT
					  : ACME_DNS;
	order->where = o->http != NULL      ? o->http
		       : o->webroot != NULL ? o->webroot
					    : o->dns_hook;
	if (a->count > ISSUE_NAMES_MAX)
		return fail(why, REASON_RANGE, "%d names, expected 1 to %d",
		    a->count, ISSUE_NAMES_MAX);
	for (int i = 0; i < a->count; i++)
		order->names[order->name_count++] = a->words[i];
	return true;
}

/* The configuration, if there is one and the certificate is in it. */
static bool
find_config(const char *prefix, struct config **out, struct reason *why)
{
	char path[PATH_MAX];

	*out = NULL;
	if (access(tool_config_path, F_OK) != 0 && errno == ENOENT)
		return true;
	if (!cert_path(path, prefix, ".pem", why) || !tool_config(out, why))
		return false;
	for (size_t i = 0; i < (*out)->certificate_count; i++)
		if (cert_is_same_file((*out)->certificates[i].chain, path))
			return true;
	config_free(*out);
	*out = NULL;
	return true;
}

static bool
obtain_first(struct acme_order *order, const struct cert_options *options,
    struct reason *why)
{
	struct acme_folder folder = { .timeout_s = options->timeout };
	struct config *config;
	bool ok;

	if (!acme_order_check(order, why) ||
	    !find_config(options->out, &config, why))
		return false;
	ok = acme_folder_open(&folder, options->out, why);
	if (ok) {
		ok = obtain(order, options->out, &folder, config, options, why);
		acme_folder_close(&folder);
	}
	config_free(config);
	return ok;
}

static int
first_time(const struct cert_arguments *a)
{
	char *owned[3] = { NULL };
	struct acme_order order = { 0 };
	struct reason why;
	bool ok;

	ok = make_order(&order, a, &why) &&
	     (order.way == ACME_HTTP ||
		 make_absolute(&order.where, &owned[0], &why)) &&
	     make_absolute(&order.directory_ca, &owned[1], &why) &&
	     obtain_first(&order, a->options, &why);
	for (size_t i = 0; i < 3; i++)
		free(owned[i]);
	return cert_status_of(ok, &why);
}

/* --- renewing ------------------------------------------------------------ */

/* The end of what is in that file, and when a third of its time is left, or
 * as many days as said; false: nobody can use it. */
static bool
due_of(const char *path, const char *prefix, const struct cert_options *options,
    time_t *end_out, time_t *due_out)
{
	gnutls_x509_crt_t *chain;
	gnutls_datum_t pem;
	time_t begin, end;
	unsigned count;
	bool ok;

	if (!pki_file_read(path, false, &pem, NULL))
		return false;
	ok = is_for_its_key(&pem, prefix) &&
	     cert_chain_parse(&pem, &chain, &count, NULL);
	pki_octets_wipe(&pem);
	if (!ok)
		return false;
	begin = gnutls_x509_crt_get_activation_time(chain[0]);
	end = gnutls_x509_crt_get_expiration_time(chain[0]);
	cert_chain_free(chain, count);
	*end_out = end;
	*due_out = options->has_due ? end - (time_t)options->due * MAKE_DAY_S
				    : end - (end - begin) / 3;
	return true;
}

static void
say(const char *path, const char *what, time_t end)
{
	char text[CERT_TIME_SIZE];

	cert_print_time(text, end);
	printf("%s: %s until %s\n", path, what, text);
}

/* Looked at behind the lock: another run may just have done it. */
static bool
renew(const char *chain, const char *prefix, const struct config *config,
    const struct cert_options *options, struct reason *why)
{
	struct acme_folder folder = { .timeout_s = options->timeout };
	struct acme_order order;
	time_t end = 0, due;
	char key[PATH_MAX];
	bool ok;

	if (!cert_path(key, prefix, ".key", why) ||
	    !acme_folder_open(&folder, prefix, why))
		return false;
	ok = renew_repair(chain, key, why);
	if (ok && due_of(chain, prefix, options, &end, &due) &&
	    time(NULL) < due) {
		acme_folder_close(&folder);
		say(chain, "good", end);
		return true;
	}
	ok = ok && acme_order_read(&order, prefix, why);
	if (ok) {
		ok = obtain(&order, prefix, &folder, config, options, why);
		acme_order_free(&order);
	}
	acme_folder_close(&folder);
	if (ok && due_of(chain, prefix, options, &end, &due))
		say(chain, "renewed", end);
	return ok;
}

bool
cert_acme_prefix(const struct config_certificate *certificate,
    char out[static PATH_MAX])
{
	size_t len = strlen(certificate->chain);

	if (len < 5 || len >= PATH_MAX ||
	    strcmp(certificate->chain + len - 4, ".pem") != 0)
		return false;
	memcpy(out, certificate->chain, len - 4);
	out[len - 4] = '\0';
	return acme_order_exists(out);
}

static bool
is_wanted(const struct cert_arguments *a, const char *name)
{
	for (int i = 0; i < a->count; i++)
		if (strcmp(a->words[i], name) == 0)
			return true;
	return a->count == 0;
}

static bool
check_wanted(const struct cert_arguments *a, const struct config *config,
    struct reason *why)
{
	char prefix[PATH_MAX];

	for (int i = 0; i < a->count; i++) {
		const struct config_certificate *c =
		    config_certificate(config, a->words[i]);

		if (c == NULL)
			return fail(why, REASON_ABSENT,
			    "%s: no such certificate in %s", a->words[i],
			    config->path);
		if (!cert_acme_prefix(c, prefix))
			return fail(why, REASON_ABSENT,
			    "%s: not obtained by cert acme: no .acme beside %s",
			    a->words[i], c->chain);
	}
	return true;
}

static int
renew_all(const struct cert_arguments *a)
{
	struct config *config;
	char prefix[PATH_MAX];
	unsigned failed = 0;
	struct reason why;

	if (!tool_config(&config, &why))
		return cert_status_of(false, &why);
	if (!check_wanted(a, config, &why)) {
		config_free(config);
		return cert_status_of(false, &why);
	}
	for (size_t i = 0; i < config->certificate_count; i++) {
		const struct config_certificate *c = &config->certificates[i];

		if (!is_wanted(a, c->name) || !cert_acme_prefix(c, prefix) ||
		    renew(c->chain, prefix, config, a->options, &why))
			continue;
		failed++;
		tool_error(&why);
	}
	config_free(config);
	return failed == 0 ? TOOL_DONE : TOOL_NO;
}

/* --- the command --------------------------------------------------------- */

int
cert_acme(const struct cert_arguments *a)
{
	const struct cert_options *o = a->options;
	int ways =
	    (o->http != NULL) + (o->webroot != NULL) + (o->dns_hook != NULL);

	if (o->renew) {
		if (ways > 0 || o->out != NULL || o->directory != NULL ||
		    o->directory_ca != NULL || o->email != NULL ||
		    o->client != NULL)
			return cert_wrong_usage("acme --renew: what was asked "
						"for is known already");
		return renew_all(a);
	}
	if (a->count == 0 || o->out == NULL || ways != 1 || o->has_due)
		return cert_wrong_usage(
		    "acme: expected NAME, --out PREFIX and one of --http, "
		    "--webroot and --dns-hook, or --renew");
	return first_time(a);
}
