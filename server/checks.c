/*
 * server/checks.c: the certificates, keys, anchors and lists of revoked ones
 * of a configuration, read and checked.
 */
#include "checks.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../pki/key.h"
#include "../pki/pem.h"
#include "../tls/tls.h"
#include "expiry.h"
#include "files.h"
#include "pkcs11_try.h"
#include "staple.h"

struct checks {
	const struct config *config;
	checks_report report;
	void *context;
	struct check_options options;

	/* What is being looked at. */
	const char *part, *path;
	unsigned line;
	uint32_t found;
};

static void
pass_on(void *context, const struct check_finding *finding)
{
	struct checks *checks = context;
	const struct checks_problem problem = { finding, checks->part,
		checks->path, checks->line };

	checks->found |= UINT32_C(1) << finding->word;
	checks->report(checks->context, &problem);
}

/* Was an error found since the part began? */
static bool
is_bad(const struct checks *checks)
{
	for (int word = 0; word < CHECK_WORDS; word++)
		if ((checks->found >> word & 1) != 0 &&
		    check_is_error((enum check_word)word))
			return true;
	return false;
}

static void
begin(struct checks *checks, const char *part, const char *path, unsigned line)
{
	checks->part = part;
	checks->path = path;
	checks->line = line;
	checks->found = 0;
}

/* --- the anchors we know ------------------------------------------------- */

void
checks_know(struct checks *checks, const char *path)
{
	gnutls_datum_t file;

	if (path == NULL || !files_read(path, &file, NULL))
		return;
	gnutls_x509_trust_list_add_trust_mem(checks->options.anchors, &file,
	    NULL, GNUTLS_X509_FMT_PEM, 0, 0);
	files_free(&file);
}

static const char *
default_of(const char *option)
{
	const char *section, *name, *value;

	for (size_t i = 0; config_option(i, &section, &name, &value); i++)
		if (section[0] == '\0' && strcmp(name, option) == 0)
			return value;
	return NULL;
}

static void
know_all(struct checks *checks)
{
	const struct config *config = checks->config;
	char own[PATH_MAX];

	if (config == NULL) {
		checks_know(checks, default_of("system-ca"));
		return;
	}
	checks_know(checks, config->system_ca);
	checks_know(checks, config->smarthost.ca);
	checks_know(checks, config->token.ca);
	for (size_t i = 0; i < config->listener_count; i++)
		checks_know(checks, config->listeners[i].client_ca);
	/* The authority of "sallyport init". */
	if (snprintf(own, sizeof(own), "%s/tls/ca.pem", config->folder) <
	    (int)sizeof(own))
		checks_know(checks, own);
}

struct checks *
checks_new(const struct config *config, checks_report report, void *context)
{
	struct checks *checks = calloc(1, sizeof(*checks));

	if (checks == NULL)
		return NULL;
	checks->config = config;
	checks->report = report;
	checks->context = context;
	checks->options.now = time(NULL);
	checks->options.near_days = EXPIRY_FIRST_DAYS;
	checks->options.report = pass_on;
	checks->options.context = checks;
	if (gnutls_x509_trust_list_init(&checks->options.anchors, 0) < 0) {
		free(checks);
		return NULL;
	}
	know_all(checks);
	return checks;
}

void
checks_free(struct checks *checks)
{
	if (checks == NULL)
		return;
	gnutls_x509_trust_list_deinit(checks->options.anchors, 1);
	free(checks);
}

/* --- reading ------------------------------------------------------------- */

static bool
read_public(struct checks *checks, const char *path, gnutls_datum_t *out)
{
	struct reason why;

	if (files_read(path, out, &why))
		return true;
	check_say(&checks->options, CHECK_UNREADABLE, path, "%s", why.text);
	return false;
}

/* What the signer will do with it. */
static void
try_key(struct checks *checks, const char *path, const gnutls_datum_t *pem)
{
	struct tls_key *key;
	struct reason why;

	if (tls_key_new(&key, pem, &why))
		tls_key_free(key);
	else
		check_say(&checks->options, CHECK_KEY_UNUSABLE, path, "%s",
		    why.text);
}

/* The URL of one in a token stands for itself. */
static bool
read_octets(const char *path, gnutls_datum_t *out, struct reason *why)
{
	return pkcs11_is_url(path) ? pki_key_octets(path, out, why)
				   : files_read_secret(path, out, why);
}

/* A token can be asked only whether it has the key of a chain; path is where
 * the URL is, or the URL. */
static void
try_token(struct checks *checks, const char *path, const char *text,
    const gnutls_datum_t *chain)
{
	struct pkcs11_url url = { NULL, NULL, NULL, NULL };
	bool best = checks->config != NULL && checks->config->confine_best;
	struct reason why;

	if (!pkcs11_url_parse(&url, text, &why)) {
		/* Its text may have a PIN in it. */
		check_say(&checks->options, CHECK_KEY_UNUSABLE,
		    pkcs11_is_url(path) ? "key" : path, "%s", why.text);
		return;
	}
	if (!pkcs11_try(text, chain, best, &why))
		check_say(&checks->options,
		    why.code == REASON_CERT_BAD ? CHECK_KEY_MISMATCH
						: CHECK_KEY_UNUSABLE,
		    pkcs11_is_url(path) ? url.key : path, "%s", why.text);
	pkcs11_url_free(&url);
}

/* The key for the checks that follow; NULL: it is in a token, which is
 * asked. */
static const gnutls_datum_t *
key_known(struct checks *checks, const char *path, const gnutls_datum_t *key,
    const gnutls_datum_t *chain)
{
	gnutls_datum_t public = { NULL, 0 };
	char *url = pki_key_url_in(key);

	if (url == NULL)
		return key;
	/* What is wrong with the chain is told by who checks that. */
	if (cert_public_key(chain, &public, NULL))
		try_token(checks, path, url, chain);
	gnutls_free(public.data);
	free(url);
	return NULL;
}

static bool
is_url(const gnutls_datum_t *file)
{
	char *url = pki_key_url_in(file);

	free(url);
	return url != NULL;
}

/* False also for one that holds no key. */
static bool
read_key(struct checks *checks, const char *path, gnutls_datum_t *out)
{
	struct reason why;

	if (!read_octets(path, out, &why)) {
		check_say(&checks->options,
		    why.code == REASON_PERMISSION ? CHECK_KEY_MODE
						  : CHECK_UNREADABLE,
		    path, "%s", why.text);
		return false;
	}
	if (is_url(out))
		return true;
	if (check_key(&checks->options, path, out)) {
		try_key(checks, path, out);
		return true;
	}
	files_wipe(out);
	return false;
}

/* --- certificates -------------------------------------------------------- */

/* Does one of the listener's certificates name our host? */
static bool
listener_has_name(const struct checks *checks, const struct config_listener *l)
{
	bool has = false;

	for (size_t i = 0; i < l->certificate_count && !has; i++) {
		const struct config_certificate *c =
		    config_certificate(checks->config, l->certificates[i]);
		gnutls_datum_t chain;

		if (c == NULL || !files_read(c->chain, &chain, NULL))
			continue;
		has = check_has_name(&chain, checks->config->hostname);
		files_free(&chain);
	}
	return has;
}

/*
 * Clients look for hostname in what a listener shows.  The first of its
 * certificates is to blame when none of them has it; the others are for other
 * names.
 */
static const char *
host_wanted(const struct checks *checks, const struct config_certificate *c)
{
	const struct config *config = checks->config;

	for (size_t i = 0; i < config->listener_count; i++) {
		const struct config_listener *l = &config->listeners[i];

		if (l->certificate_count > 0 &&
		    strcmp(l->certificates[0], c->name) == 0 &&
		    !listener_has_name(checks, l))
			return config->hostname;
	}
	return NULL;
}

/* key NULL: it could not be read. */
static void
check_chain(struct checks *checks, const struct config_certificate *c,
    const gnutls_datum_t *chain, const gnutls_datum_t *key)
{
	const struct check_pair pair = {
		.chain_path = c->chain,
		.key_path = c->key,
		.chain = chain,
		.key = key,
		.for_server = (c->roles & CERTIFICATE_SERVER) != 0,
		.for_client = (c->roles & CERTIFICATE_CLIENT) != 0,
		.host = host_wanted(checks, c),
	};

	check_pair(&checks->options, &pair);
	check_modes(&checks->options, c->chain);
}

bool
checks_certificate(struct checks *checks, const struct config_certificate *c,
    gnutls_datum_t *chain_out, gnutls_datum_t *key_out, uint32_t *found_out)
{
	gnutls_datum_t chain = { NULL, 0 }, key = { NULL, 0 };
	char part[128];
	bool has_key, ok;

	snprintf(part, sizeof(part), "certificate %s", c->name);
	begin(checks, part, checks->config->path, c->line);
	has_key = read_key(checks, c->key, &key);
	if (read_public(checks, c->chain, &chain))
		check_chain(checks, c, &chain,
		    has_key ? key_known(checks, c->key, &key, &chain) : NULL);
	checks->part = NULL; /* it was ours */
	*found_out = checks->found;
	ok = !is_bad(checks);
	if (ok) {
		*chain_out = chain;
		*key_out = key;
	} else {
		files_free(&chain);
		files_wipe(&key);
	}
	return ok;
}

/* --- OCSP responses ------------------------------------------------------ */

static void
check_staple(struct checks *checks, const struct config_certificate *c,
    const gnutls_datum_t *chain)
{
	struct staples staples = { NULL, 0 };
	struct staple *staple = staples_add(&staples, c->name, c->ocsp, chain);
	struct reason why;

	if (staple != NULL && !staple_read(staple, checks->options.now, &why))
		check_say(&checks->options,
		    staple->is_demanded ? CHECK_MUST_STAPLE : CHECK_STAPLE,
		    c->ocsp, "%s", why.text);
	staples_fini(&staples);
}

bool
checks_staple(struct checks *checks, const struct config_certificate *c,
    const gnutls_datum_t *chain)
{
	char part[128];

	if ((c->roles & CERTIFICATE_SERVER) == 0)
		return true;
	snprintf(part, sizeof(part), "certificate %s: ocsp", c->name);
	begin(checks, part, checks->config->path, c->line);
	if (c->ocsp != NULL)
		check_staple(checks, c, chain);
	else if (staple_is_demanded(chain))
		check_say(&checks->options, CHECK_MUST_STAPLE, c->chain,
		    "it demands a stapled OCSP response (must-staple), "
		    "expected ocsp = \"FILE\"");
	checks->part = NULL; /* it was ours */
	return !is_bad(checks);
}

/* --- anchors and lists of revoked ones ----------------------------------- */

/* The file is the caller's if nothing is so bad that it cannot be used. */
static bool
give(struct checks *checks, const char *path, gnutls_datum_t *file,
    gnutls_datum_t *out)
{
	check_modes(&checks->options, path);
	if (is_bad(checks)) {
		files_free(file);
		return false;
	}
	*out = *file;
	return true;
}

bool
checks_anchors(struct checks *checks, const char *path, const char *part,
    unsigned line, gnutls_datum_t *out)
{
	gnutls_datum_t file;

	begin(checks, part, checks->config->path, line);
	if (!read_public(checks, path, &file))
		return false;
	/* What the system trusts ends without anybody here doing anything. */
	check_anchors(&checks->options, path, &file,
	    strcmp(path, checks->config->system_ca) != 0);
	return give(checks, path, &file, out);
}

static bool
is_crl(const gnutls_datum_t *file)
{
	return pem_has(file, PEM_CRL);
}

/* It says what there is instead. */
static void
refuse_crl(struct checks *checks, const char *path, const gnutls_datum_t *file)
{
	struct reason why;

	pem_fail(&why, REASON_CERT_BAD, file, PEM_CRL, 0);
	check_say(&checks->options, CHECK_BROKEN, path, "%s", why.text);
}

bool
checks_crl(struct checks *checks, const struct config_listener *l,
    gnutls_datum_t *out)
{
	gnutls_datum_t file, anchors = { NULL, 0 };

	begin(checks, "client-crl", checks->config->path, l->line);
	if (!read_public(checks, l->client_crl, &file))
		return false;
	if (!is_crl(&file)) {
		refuse_crl(checks, l->client_crl, &file);
	} else if (files_read(l->client_ca, &anchors, NULL)) {
		check_crls(&checks->options, l->client_crl, &file, &anchors);
		files_free(&anchors);
	}
	return give(checks, l->client_crl, &file, out);
}

bool
checks_row_file(struct checks *checks, const char *path, bool *is_crl_out,
    gnutls_datum_t *out)
{
	gnutls_datum_t file;

	begin(checks, "ca= or crl= of a row", checks->config->sites, 0);
	if (!read_public(checks, path, &file))
		return false;
	*is_crl_out = is_crl(&file);
	if (*is_crl_out)
		check_crls(&checks->options, path, &file, NULL);
	else
		check_anchors(&checks->options, path, &file, true);
	return give(checks, path, &file, out);
}

/* --- a file by itself ---------------------------------------------------- */

static void
check_key_file(struct checks *checks, const char *path)
{
	gnutls_datum_t key;

	if (!read_key(checks, path, &key))
		return;
	files_wipe(&key);
}

static void
check_chain_file(struct checks *checks, const struct checks_file *file,
    const gnutls_datum_t *chain)
{
	const char *key_path = file->key != NULL ? file->key : file->beside;
	gnutls_datum_t key = { NULL, 0 };
	bool has_key = key_path != NULL && read_key(checks, key_path, &key);
	const struct check_pair pair = {
		.chain_path = file->path,
		.key_path = key_path,
		.chain = chain,
		.key = has_key ? key_known(checks, key_path, &key, chain)
			       : NULL,
		.for_server = file->for_server,
		.for_client = file->for_client,
		.host = file->host,
	};

	check_pair(&checks->options, &pair);
	files_wipe(&key);
}

bool
checks_file(struct checks *checks, const struct checks_file *file)
{
	bool is_used = file->for_server || file->for_client ||
		       file->host != NULL || file->key != NULL;
	gnutls_datum_t octets;

	begin(checks, NULL, NULL, 0);
	if (!read_public(checks, file->path, &octets))
		return false;
	if (!is_used && pem_has(&octets, PEM_KEY) &&
	    !pem_has(&octets, PEM_CERTIFICATE)) {
		check_key_file(checks, file->path);
		files_wipe(&octets);
		return !is_bad(checks);
	}
	if (!is_used && is_crl(&octets))
		check_crls(&checks->options, file->path, &octets, NULL);
	else if (!is_used && check_are_authorities(&octets))
		check_anchors(&checks->options, file->path, &octets, true);
	else
		check_chain_file(checks, file, &octets);
	check_modes(&checks->options, file->path);
	files_wipe(&octets);
	return !is_bad(checks);
}

void
checks_print(const struct checks_problem *problem, char *out, size_t size)
{
	const struct check_finding *f = problem->finding;
	char line[16] = "";

	if (problem->path == NULL) {
		snprintf(out, size, "%s: %s", f->file, f->text);
		return;
	}
	if (problem->line != 0)
		snprintf(line, sizeof(line), ":%u", problem->line);
	snprintf(out, size, "%s%s: %s: %s: %s", problem->path, line,
	    problem->part, f->file, f->text);
}
