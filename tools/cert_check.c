/*
 * tools/cert_check.c: "sallyport cert check": what is wrong with the
 * certificates, keys, trust anchors and lists of revoked ones that
 * sallyport.conf and the site table name, as the server finds it, or with a
 * file that is named.
 */
#include <jansson.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../server/checks.h"
#include "../server/files.h"
#include "cert.h"
#include "policy.h"
#include "tool.h"

/* What was found. */
struct found {
	json_t *list; /* NULL: it is printed as text */
	unsigned count;
};

static const char *
severity(const struct check_finding *finding)
{
	return check_is_error(finding->word) ? "error" : "warning";
}

static json_t *
problem_json(const struct checks_problem *problem)
{
	const struct check_finding *finding = problem->finding;
	json_t *object = json_pack("{s:s, s:s, s:s, s:s}", "severity",
	    severity(finding), "word", check_word(finding->word), "file",
	    finding->file, "text", finding->text);

	if (problem->part != NULL)
		json_object_set_new(object, "part", json_string(problem->part));
	if (problem->path != NULL && problem->line == 0)
		json_object_set_new(object, "position",
		    json_string(problem->path));
	else if (problem->path != NULL)
		json_object_set_new(object, "position",
		    json_sprintf("%s:%u", problem->path, problem->line));
	return object;
}

static void
report(void *context, const struct checks_problem *problem)
{
	const struct check_finding *finding = problem->finding;
	struct found *found = context;
	char text[1024];

	found->count++;
	if (found->list != NULL) {
		json_array_append_new(found->list, problem_json(problem));
		return;
	}
	checks_print(problem, text, sizeof(text));
	printf("%s: %s [%s]\n", severity(finding), text,
	    check_word(finding->word));
}

/* --- the configuration --------------------------------------------------- */

static void
look_certificates(struct checks *checks, const struct config *config)
{
	for (size_t i = 0; i < config->certificate_count; i++) {
		gnutls_datum_t chain, key;
		uint32_t words;

		if (!checks_certificate(checks, &config->certificates[i],
			&chain, &key, &words))
			continue;
		checks_staple(checks, &config->certificates[i], &chain);
		files_free(&chain);
		files_wipe(&key);
	}
}

static void
look_anchors(struct checks *checks, const char *path, const char *part,
    unsigned line)
{
	gnutls_datum_t file;

	if (path != NULL && checks_anchors(checks, path, part, line, &file))
		files_free(&file);
}

static void
look_listeners(struct checks *checks, const struct config *config)
{
	for (size_t i = 0; i < config->listener_count; i++) {
		const struct config_listener *l = &config->listeners[i];
		gnutls_datum_t file;

		look_anchors(checks, l->client_ca, "client-ca", l->line);
		if (l->client_crl != NULL && checks_crl(checks, l, &file))
			files_free(&file);
	}
}

static void
look_rows(struct checks *checks, const struct table *table)
{
	size_t count = table_file_count(table);
	gnutls_datum_t file;
	bool is_crl;

	for (size_t i = 0; i < count; i++)
		checks_know(checks, table_file(table, i));
	for (size_t i = 0; i < count; i++)
		if (checks_row_file(checks, table_file(table, i), &is_crl,
			&file))
			files_free(&file);
}

static void
look(struct checks *checks, const struct config *config)
{
	look_certificates(checks, config);
	look_listeners(checks, config);
	if (config->smarthost.ca != NULL)
		look_anchors(checks, config->smarthost.ca, "smarthost: ca",
		    config->smarthost.line);
	else
		look_anchors(checks, config->system_ca,
		    "smarthost without ca, system-ca", config->smarthost.line);
	look_anchors(checks, config->token.ca, "token: introspection-ca",
	    config->token.line);
}

/* False if not all could be looked at; that is told. */
static bool
check_configuration(struct found *found)
{
	struct policy policy;
	struct checks *checks;
	struct config *config;
	struct reason why;
	bool ok;

	if (!tool_config(&config, &why)) {
		tool_error(&why);
		return false;
	}
	checks = checks_new(config, report, found);
	ok = checks != NULL;
	if (ok) {
		look(checks, config);
		ok = policy_load(&policy, NULL) && policy_open(&policy);
		if (ok)
			look_rows(checks, policy.table);
		policy_fini(&policy);
	}
	checks_free(checks);
	config_free(config);
	return ok;
}

/* --- a file -------------------------------------------------------------- */

/* PREFIX.key of PREFIX.pem, if it can be read. */
static const char *
key_beside(const char *path, char out[static PATH_MAX])
{
	size_t len = strlen(path);

	if (len < 4 || strcmp(path + len - 4, ".pem") != 0 ||
	    snprintf(out, PATH_MAX, "%.*s.key", (int)(len - 4), path) >=
		PATH_MAX ||
	    access(out, R_OK) != 0)
		return NULL;
	return out;
}

/* --ca names an authority's folder, or its file. */
static bool
know_authority(struct checks *checks, const char *authority, struct reason *why)
{
	char path[PATH_MAX];
	struct stat st;

	if (stat(authority, &st) != 0)
		return fail_errno(why, "%s", authority);
	if (!S_ISDIR(st.st_mode)) {
		checks_know(checks, authority);
		return true;
	}
	if (!cert_path(path, authority, "/ca.pem", why))
		return false;
	if (access(path, R_OK) != 0)
		return fail_errno(why, "%s", path);
	checks_know(checks, path);
	return true;
}

/* False if it could not be looked at; that is told. */
static bool
check_file(const struct cert_arguments *a, struct found *found)
{
	const struct cert_options *options = a->options;
	char beside[PATH_MAX];
	struct checks_file file = {
		.path = a->words[0],
		.key = options->key,
		.host = options->name,
		.for_server =
		    options->has_role && (options->role & ISSUE_SERVER) != 0,
		.for_client =
		    options->has_role && (options->role & ISSUE_CLIENT) != 0,
	};
	struct config *config = NULL;
	struct checks *checks;
	struct reason why;
	bool ok;

	/* What it trusts is known then; it may not exist. */
	if (access(tool_config_path, R_OK) == 0 && !tool_config(&config, &why))
		tool_error(&why);
	checks = checks_new(config, report, found);
	ok = checks != NULL || fail(&why, REASON_NO_MEMORY, "certificates");
	if (ok && options->authority != NULL)
		ok = know_authority(checks, options->authority, &why);
	if (ok) {
		file.beside = key_beside(file.path, beside);
		checks_file(checks, &file);
	} else {
		tool_error(&why);
	}
	checks_free(checks);
	config_free(config);
	return ok;
}

int
cert_check(const struct cert_arguments *a)
{
	const struct cert_options *o = a->options;
	struct found found = { .list = o->json ? json_array() : NULL };
	bool ok;

	if (a->count > 1)
		return cert_wrong_usage("check: expected one FILE, or none");
	if (a->count == 0 && (o->has_role || o->name != NULL ||
				 o->key != NULL || o->authority != NULL))
		return cert_wrong_usage("check: --role, --name, --key and "
					"--ca go with a FILE");
	ok =
	    a->count == 0 ? check_configuration(&found) : check_file(a, &found);
	if (found.list != NULL) {
		json_dumpf(found.list, stdout, JSON_INDENT(2));
		printf("\n");
		json_decref(found.list);
	} else if (ok && found.count == 0) {
		printf("no problem found\n");
	}
	return ok && found.count == 0 ? TOOL_DONE : TOOL_NO;
}
