/*
 * server/prepare.c: reading and checking all files of a configuration.
 */
#include "prepare_internal.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../auth/login.h"
#include "files.h"
#include "lookup_resolver.h"
#include "master.h"

void
work_report(struct work *w, bool is_error, const char *format, ...)
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

void
work_report_alarm(struct work *w, const char *text)
{
	struct prepared *p = w->prepared;

	work_report(w, false, "%s", text);
	if (p->alarm_count == PREPARED_ALARMS)
		return;
	p->alarms[p->alarm_count] = strdup(text);
	if (p->alarms[p->alarm_count] != NULL)
		p->alarm_count++;
}

void
work_add(struct work *w, enum role role, enum bundle_kind kind,
    const char *name, const gnutls_datum_t *octets)
{
	struct reason why;

	if (!bundle_add(w->bundle[role], kind, name, octets, &why))
		work_report(w, true, "%s", why.text);
}

void
work_add_anchors(struct work *w, enum role role, const char *name,
    const char *path, unsigned line, const char *option)
{
	gnutls_datum_t file;

	if (!checks_anchors(w->checks, path, option, line, &file))
		return;
	work_add(w, role, BUNDLE_ANCHORS, name, &file);
	if (path != w->config->system_ca)
		endings_add(&w->prepared->endings, &file, path, option);
	files_free(&file);
}

/* The password files that the upstream file names. */
static void
add_upstream_files(struct work *w)
{
	const char *path;
	gnutls_datum_t file;
	struct reason why;

	for (size_t i = 0; (path = login_book_file(w->book, i)) != NULL; i++) {
		if (!files_read_secret(path, &file, &why)) {
			work_report(w, true, "%s: %s", w->config->upstream,
			    why.text);
			continue;
		}
		work_add(w, ROLE_AUTH, BUNDLE_UPSTREAM, path, &file);
		files_wipe(&file);
	}
}

/* It may come to be only later, by whatever refreshes it. */
static void
check_source(struct work *w, const struct token_source *source)
{
	struct reason why;

	if (source->command[0] != NULL) {
		if (!command_is_program(source->path, &why))
			work_report(w, true, "%s: login %s: %s",
			    w->config->upstream, source->login, why.text);
	} else if (access(source->path, F_OK) != 0 && errno == ENOENT) {
		work_report(w, false, "%s: login %s: no token in %s yet",
		    w->config->upstream, source->login, source->path);
	} else if (!files_check_secret(source->path, &why)) {
		work_report(w, true, "%s: login %s: %s", w->config->upstream,
		    source->login, why.text);
	}
}

/* The files and commands that give tokens. */
static void
add_upstream_sources(struct work *w)
{
	struct prepared *p = w->prepared;
	struct login_source from;

	for (size_t i = 0; login_book_source(w->book, i, &from); i++) {
		struct token_source *more = reallocarray(p->sources,
		    p->source_count + 1, sizeof(*more));
		struct token_source *one;

		if (more == NULL) {
			work_report(w, true, "out of memory");
			return;
		}
		p->sources = more;
		one = &more[p->source_count++];
		memset(one, 0, sizeof(*one));
		one->login = strdup(from.name);
		one->path = strdup(from.path);
		if (one->login == NULL || one->path == NULL) {
			work_report(w, true, "out of memory");
			return;
		}
		if (from.is_command)
			one->command[0] = one->path;
		check_source(w, one);
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
		work_report(w, true, "%s: upstream: %s", w->config->path,
		    why.text);
		return;
	}
	if (login_book_parse(&w->book, path, &file, NULL, NULL, &why)) {
		work_add(w, ROLE_AUTH, BUNDLE_UPSTREAM, path, &file);
		add_upstream_files(w);
		add_upstream_sources(w);
	} else {
		work_report(w, true, "%s", why.text);
	}
	files_wipe(&file);
}

static bool
is_added(struct work *w, enum bundle_kind kind, const char *path)
{
	gnutls_datum_t unused;

	return bundle_find(w->bundle[ROLE_SESSION], kind, path, &unused);
}

static void
add_client_crl(struct work *w, const struct config_listener *l)
{
	gnutls_datum_t file;

	if (!checks_crl(w->checks, l, &file))
		return;
	work_add(w, ROLE_SESSION, BUNDLE_CRL, l->client_crl, &file);
	files_free(&file);
}

static const char *
why_unserved(const struct config_listener *l, unsigned mechanism)
{
	return mechanism == MECHANISM_GSSAPI &&
		       (l->backends & BACKEND_KERBEROS) != 0
		   ? "there is no keytab"
		   : "no backend of the listener can serve it";
}

static void
prepare_listeners(struct work *w)
{
	const struct config *c = w->config;

	for (size_t i = 0; i < c->listener_count; i++) {
		const struct config_listener *l = &c->listeners[i];

		for (unsigned bit = 1; bit <= l->unserved; bit <<= 1)
			if ((l->unserved & bit) != 0)
				work_report(w, false,
				    "%s:%u: listener %s: %s is not offered, %s",
				    c->path, l->line, l->name,
				    mechanism_name(bit), why_unserved(l, bit));
		if (l->client_ca != NULL &&
		    !is_added(w, BUNDLE_ANCHORS, l->client_ca))
			work_add_anchors(w, ROLE_SESSION, l->client_ca,
			    l->client_ca, l->line, "client-ca");
		if (l->client_crl != NULL &&
		    !is_added(w, BUNDLE_CRL, l->client_crl))
			add_client_crl(w, l);
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
		work_report(w, true,
		    "%s: the credential store is missing, expected the one "
		    "\"sallyport "
		    "init\" makes",
		    path);
	else if (!files_check_secret(path, &why))
		work_report(w, true, "%s", why.text);
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
			work_report(w, true, "%s:%u: trust-anchor: %s", c->path,
			    line, why.text);
		return;
	}
	if (resolver_check_anchor(&file, &why))
		work_add(w, ROLE_LOOKUP, BUNDLE_TRUST_ANCHOR, "", &file);
	else
		work_report(w, line != 0, "%s:%u: trust-anchor: %s: %s",
		    c->path, line, c->trust_anchor, why.text);
	files_free(&file);
}

static void
prepare_alarm_command(struct work *w)
{
	struct reason why;

	if (!command_check(w->config, &why))
		work_report(w, true, "%s", why.text);
}

static void
prepare_conf(struct work *w, const gnutls_datum_t *text)
{
	for (int r = ROLE_MASTER + 1; r < ROLES; r++)
		work_add(w, (enum role)r, BUNDLE_CONF, w->config->path, text);
}

static void
prepare_all(struct work *w, const gnutls_datum_t *text)
{
	const struct config *c = w->config;

	prepare_conf(w, text);
	work_certificates(w);
	work_staples(w);
	prepare_upstream(w);
	if (c->smarthost.ca != NULL)
		work_add_anchors(w, ROLE_RELAY, "", c->smarthost.ca,
		    c->smarthost.line, "smarthost: ca");
	else
		work_add_anchors(w, ROLE_RELAY, "", c->system_ca,
		    c->smarthost.line, "smarthost without ca, system-ca");
	prepare_store(w);
	prepare_alarm_command(w);
	prepare_trust_anchor(w);
	work_token(w);
	work_table(w);
	work_routes(w);
	work_unshown(w);
	if (!w->options->only_check && !w->failed)
		work_add_table(w);
	prepare_listeners(w);
	work_keytab(w);
}

static void
seal(struct work *w)
{
	struct reason why;

	for (int r = ROLE_MASTER + 1; r < ROLES && !w->failed; r++)
		if (!bundle_seal(w->bundle[r], &w->prepared->bundle[r], &why))
			work_report(w, true, "%s", why.text);
}

static void
report_check(void *context, const struct checks_problem *problem)
{
	bool is_error = check_is_error(problem->finding->word);
	struct work *w = context;
	char text[1024];

	checks_print(problem, text, sizeof(text));
	if (is_error && problem->path == w->config->sites)
		work_row_error(w, text);
	else
		work_report(w, is_error, "%s", text);
}

/* The configuration itself, and the text it came from. */
static bool
read_configuration(struct work *w, gnutls_datum_t *text)
{
	char path[PATH_MAX];
	struct reason why;

	if (!files_read(w->options->path, text, &why)) {
		work_report(w, true, "%s", why.text);
		return false;
	}
	if (realpath(w->options->path, path) == NULL) {
		fail_errno(&why, "%s", w->options->path);
		work_report(w, true, "%s", why.text);
		return false;
	}
	if (!config_parse(&w->prepared->config, path, (const char *)text->data,
		text->size, &why)) {
		work_report(w, true, "%s", why.text);
		return false;
	}
	w->config = w->prepared->config;
	w->checks = checks_new(w->config, report_check, w);
	if (w->checks == NULL)
		work_report(w, true, "out of memory");
	return w->checks != NULL;
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
		work_report(&w, true, "out of memory");
	else if (read_configuration(&w, &text)) {
		prepare_all(&w, &text);
		work_files(&w);
	}
	if (!w.failed && !options->only_check)
		seal(&w);
	files_free(&text);
	login_book_free(w.book);
	checks_free(w.checks);
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
	staples_fini(&p->staples);
	table_close(p->sites);
	for (size_t i = 0; i < p->alarm_count; i++)
		free(p->alarms[i]);
	for (size_t i = 0; i < p->source_count; i++) {
		free(p->sources[i].login);
		free(p->sources[i].path);
	}
	free(p->sources);
	config_free(p->config);
	free(p);
}
