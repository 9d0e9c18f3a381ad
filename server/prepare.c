/*
 * server/prepare.c: reading and checking all files of a configuration.
 */
/* Before <dirent.h>, which has a macro of the name of one of its constants. */
#include "../auth/login.h"

#include "prepare.h"

#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "../pki/cert.h"
#include "../policy/table.h"
#include "../tls/tls.h"
#include "bundle.h"
#include "files.h"
#include "lookup_resolver.h"
#include "master.h"

enum {
	WARN_SECONDS = 14 * 86400,
	CERTIFICATES_MOST = 64, /* the configuration has no more */
};

struct work {
	const struct prepare_options *options;
	const struct config *config;
	struct prepared *prepared;
	struct bundle *bundle[ROLES];
	struct login_book *book; /* upstream logins, without their files */
	/* By index of config->certificates: some row has cert= of it; its
	 * purposes lack clientAuth. */
	bool named[CERTIFICATES_MOST], lacks_client[CERTIFICATES_MOST];
	bool failed;
};

static void report(struct work *w, bool is_error, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

static void
report(struct work *w, bool is_error, const char *format, ...)
{
	char text[1024];
	va_list ap;

	va_start(ap, format);
	vsnprintf(text, sizeof(text), format, ap);
	va_end(ap);
	if (is_error)
		w->failed = true;
	w->options->report(w->options->context, is_error, text);
}

/* A warning now, and an alarm once the configuration is in force. */
static void
report_alarm(struct work *w, const char *text)
{
	struct prepared *p = w->prepared;

	report(w, false, "%s", text);
	if (p->alarm_count == PREPARED_ALARMS)
		return;
	p->alarms[p->alarm_count] = strdup(text);
	if (p->alarms[p->alarm_count] != NULL)
		p->alarm_count++;
}

static void
report_table(void *context, bool is_error, const char *text)
{
	struct work *w = context;

	/* A table that does not compile is prepare_table's to judge. */
	w->options->report(w->options->context, is_error, text);
}

static void
add(struct work *w, enum role role, enum bundle_kind kind, const char *name,
    const gnutls_datum_t *octets)
{
	struct reason why;

	if (!bundle_add(w->bundle[role], kind, name, octets, &why))
		report(w, true, "%s", why.text);
}

static bool
are_anchors(const gnutls_datum_t *file)
{
	struct tls_anchors *anchors;

	if (!tls_anchors_new(&anchors, file, NULL, NULL))
		return false;
	tls_anchors_free(anchors);
	return true;
}

/* A role gets the anchors that an option of the section that ends on that line
 * names. */
static void
add_anchors(struct work *w, enum role role, const char *name, const char *path,
    unsigned line, const char *option)
{
	gnutls_datum_t file;
	struct reason why;

	if (!files_read(path, &file, &why)) {
		report(w, true, "%s:%u: %s: %s", w->config->path, line, option,
		    why.text);
		return;
	}
	if (are_anchors(&file)) {
		add(w, role, BUNDLE_ANCHORS, name, &file);
		if (path != w->config->system_ca)
			endings_add(&w->prepared->endings, &file, path, option);
	} else
		report(w, true, "%s:%u: %s: %s: expected trust anchors in PEM",
		    w->config->path, line, option, path);
	files_free(&file);
}

/* --- certificates ------------------------------------------------------- */

static void
check_purpose(struct work *w, const struct config_certificate *c,
    gnutls_x509_crt_t crt)
{
	static const struct {
		unsigned role;
		enum cert_purpose purpose;
		const char *word;
	} wanted[] = {
		{ CERTIFICATE_SERVER, CERT_FOR_SERVER, "serverAuth" },
		{ CERTIFICATE_CLIENT, CERT_FOR_CLIENT, "clientAuth" },
	};

	for (size_t i = 0; i < sizeof(wanted) / sizeof(*wanted); i++) {
		if ((c->roles & wanted[i].role) == 0 ||
		    cert_purpose(crt, wanted[i].purpose) == PURPOSE_YES)
			continue;
		if (wanted[i].role == CERTIFICATE_CLIENT)
			w->lacks_client[c - w->config->certificates] = true;
		report(w, false,
		    "%s:%u: certificate %s: %s: its extended key usage lacks "
		    "%s",
		    w->config->path, c->line, c->name, c->chain,
		    wanted[i].word);
	}
}

static void
check_dates(struct work *w, const struct config_certificate *c,
    gnutls_x509_crt_t crt)
{
	time_t now = time(NULL);
	time_t last = gnutls_x509_crt_get_expiration_time(crt);

	if (last < now)
		report(w, false, "%s:%u: certificate %s: %s: expired",
		    w->config->path, c->line, c->name, c->chain);
	else if (last - now < WARN_SECONDS)
		report(w, false,
		    "%s:%u: certificate %s: %s: expires in %lld days",
		    w->config->path, c->line, c->name, c->chain,
		    (long long)(last - now) / 86400);
	else if (gnutls_x509_crt_get_activation_time(crt) > now)
		report(w, false, "%s:%u: certificate %s: %s: not yet valid",
		    w->config->path, c->line, c->name, c->chain);
}

static void
check_chain(struct work *w, const struct config_certificate *c,
    const gnutls_datum_t *chain)
{
	gnutls_x509_crt_t *crts;
	struct reason why;
	unsigned count;

	if (!cert_chain_parse(chain, &crts, &count, &why)) {
		report(w, true, "%s:%u: certificate %s: %s: %s",
		    w->config->path, c->line, c->name, c->chain, why.text);
		return;
	}
	check_purpose(w, c, crts[0]);
	check_dates(w, c, crts[0]);
	for (unsigned i = 0; i < count; i++)
		gnutls_x509_crt_deinit(crts[i]);
	gnutls_free(crts);
}

static void
prepare_certificate(struct work *w, const struct config_certificate *c)
{
	gnutls_datum_t chain = { NULL, 0 }, key = { NULL, 0 };
	struct reason why;
	char use[96];

	if (!files_read(c->chain, &chain, &why) ||
	    !files_read_secret(c->key, &key, &why)) {
		report(w, true, "%s:%u: certificate %s: %s", w->config->path,
		    c->line, c->name, why.text);
	} else if (!cert_matches_key(&chain, &key, &why)) {
		report(w, true, "%s:%u: certificate %s: %s and %s: %s",
		    w->config->path, c->line, c->name, c->chain, c->key,
		    why.text);
	} else {
		check_chain(w, c, &chain);
		snprintf(use, sizeof(use), "certificate %s", c->name);
		endings_add(&w->prepared->endings, &chain, c->chain, use);
		add(w, ROLE_SIGNER, BUNDLE_KEY, c->name, &key);
		if ((c->roles & CERTIFICATE_SERVER) != 0)
			add(w, ROLE_SESSION, BUNDLE_CHAIN, c->name, &chain);
		if ((c->roles & CERTIFICATE_CLIENT) != 0)
			add(w, ROLE_RELAY, BUNDLE_CHAIN, c->name, &chain);
	}
	files_free(&chain);
	files_wipe(&key);
}

/* --- the table ---------------------------------------------------------- */

static bool
names_certificate(void *context, const char *name)
{
	struct work *w = context;
	const struct config_certificate *c =
	    config_certificate(w->config, name);

	if (c == NULL || (c->roles & CERTIFICATE_CLIENT) == 0)
		return false;
	w->named[c - w->config->certificates] = true;
	return true;
}

/* The relay shows no certificate that is not for clients. */
static void
report_unshown(struct work *w)
{
	for (size_t i = 0; i < w->config->certificate_count; i++) {
		const struct config_certificate *c =
		    &w->config->certificates[i];
		char text[1024];

		if (!w->named[i] || !w->lacks_client[i])
			continue;
		snprintf(text, sizeof(text),
		    "%s:%u: certificate %s: %s: rows of %s have it in cert=, "
		    "but it lacks clientAuth: it is not shown",
		    w->config->path, c->line, c->name, c->chain,
		    w->config->sites);
		report_alarm(w, text);
	}
}

static bool
names_login(void *context, const char *name)
{
	const struct work *w = context;

	return w->book != NULL && login_book_has(w->book, name);
}

static bool
names_can_ask(void *context, bool by_name, bool has_anchors)
{
	const struct work *w = context;

	return config_can_verify_clients(w->config, by_name, has_anchors);
}

/* The newest table in folder that is whole. */
static bool
last_good_table(const char *folder, char out[static 80])
{
	time_t newest = 0;
	struct dirent *e;
	DIR *d = opendir(folder);
	bool found = false;

	if (d == NULL)
		return false;
	while ((e = readdir(d)) != NULL) {
		char path[PATH_MAX];
		struct table *table;
		struct stat st;

		if (strncmp(e->d_name, "sites.", 6) != 0 ||
		    strlen(e->d_name) >= 80 ||
		    snprintf(path, sizeof(path), "%s/%s", folder, e->d_name) >=
			(int)sizeof(path) ||
		    stat(path, &st) != 0 || (found && st.st_mtime < newest) ||
		    !table_open(&table, path, true, NULL))
			continue;
		table_close(table);
		strcpy(out, e->d_name); /* measured above */
		newest = st.st_mtime;
		found = true;
	}
	closedir(d);
	return found;
}

static void
report_last_table(struct work *w, const char *trouble)
{
	char text[1024];

	snprintf(text, sizeof(text),
	    "%s: %s, the last good table %s is in force", w->config->sites,
	    trouble, w->prepared->table);
	report_alarm(w, text);
}

static void
compile_table(struct work *w, const struct table_source *source)
{
	char folder[PATH_MAX], *name = w->prepared->table;
	struct reason why;

	if (w->options->only_check) {
		if (!table_check(source, report_table, w))
			w->failed = true;
		return;
	}
	snprintf(folder, sizeof(folder), "%s/run/tables", w->config->state);
	if (table_compile(source, folder, name, report_table, w, &why))
		return;
	if (w->options->last_table && last_good_table(folder, name))
		report_last_table(w, "does not compile");
	else
		report(w, true, "%s", why.text);
}

static void
prepare_table(struct work *w)
{
	struct table_names names = { w, names_certificate, names_login,
		names_can_ask };
	struct table_source source = { .path = w->config->sites,
		.now = time(NULL),
		.names = &names };
	char folder[PATH_MAX];
	struct reason why;

	if (files_read(w->config->sites, &source.text, &why)) {
		compile_table(w, &source);
		files_free(&source.text);
		return;
	}
	snprintf(folder, sizeof(folder), "%s/run/tables", w->config->state);
	if (!w->options->only_check && w->options->last_table &&
	    last_good_table(folder, w->prepared->table))
		report_last_table(w, why.text);
	else
		report(w, true, "%s: sites: %s", w->config->path, why.text);
}

/* A file that rows name by ca= or crl=, for both roles that judge. */
static void
add_table_file(struct work *w, const char *path)
{
	enum bundle_kind kind = BUNDLE_ANCHORS;
	gnutls_datum_t file;
	struct reason why;

	if (!files_read(path, &file, &why)) {
		report(w, true, "%s: %s", w->config->sites, why.text);
		return;
	}
	if (strstr((const char *)file.data, "-----BEGIN X509 CRL-----") != NULL)
		kind = BUNDLE_CRL;
	else if (!are_anchors(&file))
		report(w, true, "%s: %s: expected trust anchors in PEM",
		    w->config->sites, path);
	else
		endings_add(&w->prepared->endings, &file, path, "ca= of sites");
	add(w, ROLE_SESSION, kind, path, &file);
	add(w, ROLE_RELAY, kind, path, &file);
	files_free(&file);
}

static void
check_dane(struct work *w, const struct table *table)
{
	gnutls_datum_t unused;

	if (table_wants_dane(table) && !bundle_find(w->bundle[ROLE_LOOKUP],
					   BUNDLE_TRUST_ANCHOR, "", &unused))
		report(w, false,
		    "%s: mail of rows with dane waits: no trust anchor, "
		    "expected option trust-anchor or " CONFIG_TRUST_ANCHOR
		    " (Debian: install dns-root-data)",
		    w->config->sites);
}

static void
add_table(struct work *w)
{
	char path[PATH_MAX];
	struct table *table;
	struct reason why;

	if (snprintf(path, sizeof(path), "%s/run/tables/%s", w->config->state,
		w->prepared->table) >= (int)sizeof(path) ||
	    !table_open(&table, path, true, &why)) {
		report(w, true, "%s: %s", w->config->sites, why.text);
		return;
	}
	for (size_t i = 0; i < table_file_count(table); i++)
		add_table_file(w, table_file(table, i));
	check_dane(w, table);
	table_close(table);
	add(w, ROLE_SESSION, BUNDLE_TABLE, w->prepared->table, NULL);
	add(w, ROLE_RELAY, BUNDLE_TABLE, w->prepared->table, NULL);
}

/* --- the rest ----------------------------------------------------------- */

/* The password files that the upstream file names. */
static void
add_upstream_files(struct work *w)
{
	const char *path;
	gnutls_datum_t file;
	struct reason why;

	for (size_t i = 0; (path = login_book_file(w->book, i)) != NULL; i++) {
		if (!files_read_secret(path, &file, &why)) {
			report(w, true, "%s: %s", w->config->upstream,
			    why.text);
			continue;
		}
		add(w, ROLE_AUTH, BUNDLE_UPSTREAM, path, &file);
		files_wipe(&file);
	}
}

static void
prepare_upstream(struct work *w)
{
	const char *path = w->config->upstream;
	gnutls_datum_t file;
	struct reason why;

	if (path == NULL)
		return;
	if (!files_read_secret(path, &file, &why)) {
		report(w, true, "%s: upstream: %s", w->config->path, why.text);
		return;
	}
	if (login_book_parse(&w->book, path, &file, NULL, NULL, &why)) {
		add(w, ROLE_AUTH, BUNDLE_UPSTREAM, path, &file);
		add_upstream_files(w);
	} else {
		report(w, true, "%s", why.text);
	}
	files_wipe(&file);
}

static bool
is_added(struct work *w, const char *path)
{
	gnutls_datum_t unused;

	return bundle_find(w->bundle[ROLE_SESSION], BUNDLE_ANCHORS, path,
	    &unused);
}

static void
prepare_listeners(struct work *w)
{
	const struct config *c = w->config;

	for (size_t i = 0; i < c->listener_count; i++) {
		const struct config_listener *l = &c->listeners[i];

		for (unsigned bit = 1; bit <= l->unserved; bit <<= 1)
			if ((l->unserved & bit) != 0)
				report(w, false,
				    "%s:%u: listener %s: %s is not offered, "
				    "no backend of the listener can serve it",
				    c->path, l->line, l->name,
				    mechanism_name(bit));
		if (l->client_ca != NULL && !is_added(w, l->client_ca))
			add_anchors(w, ROLE_SESSION, l->client_ca, l->client_ca,
			    l->line, "client-ca");
	}
}

static void
prepare_store(struct work *w)
{
	char path[PATH_MAX];
	struct reason why;
	unsigned backends = 0;

	for (size_t i = 0; i < w->config->listener_count; i++)
		backends |= w->config->listeners[i].backends;
	if ((backends & BACKEND_STORE) == 0)
		return;
	snprintf(path, sizeof(path), "%s/store/users.kch", w->config->state);
	if (access(path, F_OK) != 0 && errno == ENOENT)
		report(w, true,
		    "%s: the credential store is missing, expected the one "
		    "\"sallyport "
		    "init\" makes",
		    path);
	else if (!files_check_secret(path, &why))
		report(w, true, "%s", why.text);
}

/* Nobody misses the default one as long as no row says dane. */
static void
prepare_trust_anchor(struct work *w)
{
	const struct config *c = w->config;
	unsigned line = c->trust_anchor_line;
	gnutls_datum_t file;
	struct reason why;

	if (!files_read(c->trust_anchor, &file, &why)) {
		if (line != 0)
			report(w, true, "%s:%u: trust-anchor: %s", c->path,
			    line, why.text);
		return;
	}
	if (resolver_check_anchor(&file, &why))
		add(w, ROLE_LOOKUP, BUNDLE_TRUST_ANCHOR, "", &file);
	else
		report(w, line != 0, "%s:%u: trust-anchor: %s: %s", c->path,
		    line, c->trust_anchor, why.text);
	files_free(&file);
}

static void
prepare_alarm_command(struct work *w)
{
	struct reason why;

	if (!command_check(w->config, &why))
		report(w, true, "%s", why.text);
}

static void
prepare_conf(struct work *w, const gnutls_datum_t *text)
{
	for (int r = ROLE_MASTER + 1; r < ROLES; r++)
		add(w, (enum role)r, BUNDLE_CONF, w->config->path, text);
}

static void
prepare_all(struct work *w, const gnutls_datum_t *text)
{
	const struct config *c = w->config;

	prepare_conf(w, text);
	for (size_t i = 0; i < c->certificate_count; i++)
		prepare_certificate(w, &c->certificates[i]);
	prepare_upstream(w);
	if (c->smarthost.ca != NULL)
		add_anchors(w, ROLE_RELAY, "", c->smarthost.ca,
		    c->smarthost.line, "smarthost: ca");
	else
		add_anchors(w, ROLE_RELAY, "", c->system_ca, c->smarthost.line,
		    "smarthost without ca, system-ca");
	prepare_store(w);
	prepare_alarm_command(w);
	prepare_trust_anchor(w);
	prepare_table(w);
	report_unshown(w);
	if (!w->options->only_check && !w->failed)
		add_table(w);
	prepare_listeners(w);
}

static void
seal(struct work *w)
{
	struct reason why;

	for (int r = ROLE_MASTER + 1; r < ROLES && !w->failed; r++)
		if (!bundle_seal(w->bundle[r], &w->prepared->bundle[r], &why))
			report(w, true, "%s", why.text);
}

/* The configuration itself, and the text it came from. */
static bool
read_configuration(struct work *w, gnutls_datum_t *text)
{
	char path[PATH_MAX];
	struct reason why;

	if (!files_read(w->options->path, text, &why)) {
		report(w, true, "%s", why.text);
		return false;
	}
	if (realpath(w->options->path, path) == NULL) {
		fail_errno(&why, "%s", w->options->path);
		report(w, true, "%s", why.text);
		return false;
	}
	if (!config_parse(&w->prepared->config, path, (const char *)text->data,
		text->size, &why)) {
		report(w, true, "%s", why.text);
		return false;
	}
	w->config = w->prepared->config;
	return true;
}

static bool
work_init(struct work *w)
{
	w->prepared = calloc(1, sizeof(*w->prepared));
	if (w->prepared == NULL)
		return false;
	for (int r = 0; r < ROLES; r++)
		w->prepared->bundle[r] = -1;
	for (int r = ROLE_MASTER + 1; r < ROLES; r++) {
		w->bundle[r] = bundle_new();
		if (w->bundle[r] == NULL)
			return false;
	}
	return true;
}

bool
prepare(struct prepared **prepared_out, const struct prepare_options *options)
{
	struct work w = { .options = options };
	gnutls_datum_t text = { NULL, 0 };

	if (!work_init(&w))
		report(&w, true, "out of memory");
	else if (read_configuration(&w, &text))
		prepare_all(&w, &text);
	if (!w.failed && !options->only_check)
		seal(&w);
	files_free(&text);
	login_book_free(w.book);
	for (int r = 0; r < ROLES; r++)
		bundle_free(w.bundle[r]);
	if (w.failed) {
		prepared_free(w.prepared);
		return false;
	}
	*prepared_out = w.prepared;
	return true;
}

void
prepared_free(struct prepared *p)
{
	if (p == NULL)
		return;
	for (int r = 0; r < ROLES; r++)
		if (p->bundle[r] >= 0)
			close(p->bundle[r]);
	endings_fini(&p->endings);
	for (size_t i = 0; i < p->alarm_count; i++)
		free(p->alarms[i]);
	config_free(p->config);
	free(p);
}
