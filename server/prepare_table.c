/*
 * server/prepare_table.c: the site table, and the files its rows name.
 */
/* Before <dirent.h>, which has a macro of the name of one of its constants. */
#include "../auth/login.h"

#include "prepare_internal.h"

#include <dirent.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "files.h"

static void
report_table(void *context, bool is_error, const char *text)
{
	struct work *w = context;

	/* A table that does not compile is prepare_table's to judge. */
	w->options->report(w->options->context, is_error, text);
}

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

bool
work_last_good(const char *folder, const char *prefix,
    bool (*is_whole)(const char *path), char out[static 80])
{
	time_t newest = 0;
	struct dirent *e;
	DIR *d = opendir(folder);
	bool found = false;
	size_t len = strlen(prefix);

	if (d == NULL)
		return false;
	while ((e = readdir(d)) != NULL) {
		char path[PATH_MAX];
		struct stat st;

		if (strncmp(e->d_name, prefix, len) != 0 ||
		    e->d_name[len] != '.' || strlen(e->d_name) >= 80 ||
		    snprintf(path, sizeof(path), "%s/%s", folder, e->d_name) >=
			(int)sizeof(path) ||
		    stat(path, &st) != 0 || (found && st.st_mtime < newest) ||
		    !is_whole(path))
			continue;
		strcpy(out, e->d_name); /* measured above */
		newest = st.st_mtime;
		found = true;
	}
	closedir(d);
	return found;
}

static bool
table_is_whole(const char *path)
{
	struct table *table;

	if (!table_open(&table, path, true, NULL))
		return false;
	table_close(table);
	return true;
}

static void
report_last_table(struct work *w, const char *trouble)
{
	char text[1024];

	snprintf(text, sizeof(text),
	    "%s: %s, the last good table %s is in force", w->config->sites,
	    trouble, w->prepared->table);
	work_report_alarm(w, text);
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
	if (w->options->last_table &&
	    work_last_good(folder, "sites", table_is_whole, name))
		report_last_table(w, "does not compile");
	else
		work_report(w, true, "%s", why.text);
}

void
work_table(struct work *w)
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
	    work_last_good(folder, "sites", table_is_whole, w->prepared->table))
		report_last_table(w, why.text);
	else
		work_report(w, true, "%s: sites: %s", w->config->path,
		    why.text);
}

/*
 * At start this is the last good table, or a file that has changed since it
 * was compiled: rows that name it trust nobody, which is better than a server
 * that stays away.
 */
void
work_row_error(struct work *w, const char *trouble)
{
	char text[1024];

	if (!w->options->last_table) {
		work_report(w, true, "%s", trouble);
		return;
	}
	snprintf(text, sizeof(text), "%s; rows that name it are not met",
	    trouble);
	work_report_alarm(w, text);
}

/* For both roles that judge. */
static void
add_table_file(struct work *w, const char *path)
{
	enum bundle_kind kind;
	gnutls_datum_t file;
	bool is_crl;

	if (!checks_row_file(w->checks, path, &is_crl, &file))
		return;
	kind = is_crl ? BUNDLE_CRL : BUNDLE_ANCHORS;
	if (!is_crl)
		endings_add(&w->prepared->endings, &file, path, "ca= of sites");
	work_add(w, ROLE_SESSION, kind, path, &file);
	work_add(w, ROLE_RELAY, kind, path, &file);
	files_free(&file);
}

static void
check_dane(struct work *w, const struct table *table)
{
	gnutls_datum_t unused;

	if (table_wants_dane(table) && !bundle_find(w->bundle[ROLE_LOOKUP],
					   BUNDLE_TRUST_ANCHOR, "", &unused))
		work_report(w, false,
		    "%s: mail of rows with dane waits: no trust anchor, "
		    "expected option trust-anchor or " CONFIG_TRUST_ANCHOR
		    " (Debian: install dns-root-data)",
		    w->config->sites);
}

void
work_add_table(struct work *w)
{
	struct prepared *p = w->prepared;
	struct reason why = { REASON_RANGE, "path is too long" };
	char path[PATH_MAX];

	if (snprintf(path, sizeof(path), "%s/run/tables/%s", w->config->state,
		p->table) >= (int)sizeof(path) ||
	    !table_open(&p->sites, path, true, &why)) {
		work_report(w, true, "%s: %s", w->config->sites, why.text);
		return;
	}
	for (size_t i = 0; i < table_file_count(p->sites); i++)
		checks_know(w->checks, table_file(p->sites, i));
	for (size_t i = 0; i < table_file_count(p->sites); i++)
		add_table_file(w, table_file(p->sites, i));
	check_dane(w, p->sites);
	work_add(w, ROLE_SESSION, BUNDLE_TABLE, p->table, NULL);
	work_add(w, ROLE_RELAY, BUNDLE_TABLE, p->table, NULL);
}
