/*
 * tools/cert_status.c: "sallyport cert status": every certificate in use and
 * how long it lasts: those that sallyport.conf and the site table name.
 */
#include "cert_status.h"

#include <gnutls/x509.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "../pki/cert.h"
#include "../pki/pem.h"
#include "../policy/hex.h"
#include "../server/expiry.h"
#include "../server/files.h"
#include "cert.h"
#include "policy.h"
#include "tool.h"

enum { DAY_S = 86400, NAME_OCTETS = 256, USE_OCTETS = 128 };

const char *
cert_kind_word(enum cert_kind kind)
{
	static const char *const words[CERT_KINDS] = { "own", "client",
		"authority", "peer", "list" };

	return words[kind];
}

/* --- one item ------------------------------------------------------------ */

/* Lists are made for weeks: one that is good for a month would be near its end
 * as soon as it is made. */
static int64_t
alarm_seconds(const struct cert_item *item)
{
	const int64_t most = (int64_t)EXPIRY_FIRST_DAYS * DAY_S;
	int64_t third = (item->until - item->from) / 3;

	return item->kind == CERT_LIST && third < most ? third : most;
}

static const char *
state_of(const struct cert_status *status, const struct cert_item *item)
{
	if (item->state != NULL)
		return item->state;
	if (item->until == 0)
		return "unknown";
	if (item->until < status->now)
		return "ended";
	if (item->from > status->now)
		return "not-yet";
	return item->until - status->now <= alarm_seconds(item) ? "near"
								: "good";
}

static void
set_time(json_t *object, const char *key, int64_t when)
{
	char text[CERT_TIME_SIZE];

	if (when == 0)
		return;
	cert_print_time(text, (time_t)when);
	json_object_set_new(object, key, json_string(text));
}

/* Strangers may have chosen it. */
static void
set_text(json_t *object, const char *key, const char *text)
{
	char printable[NAME_OCTETS + USE_OCTETS];
	size_t i;

	if (text == NULL)
		return;
	for (i = 0; text[i] != '\0' && i + 1 < sizeof(printable); i++)
		printable[i] =
		    (char)(text[i] < ' ' || text[i] > '~' ? '?' : text[i]);
	printable[i] = '\0';
	json_object_set_new(object, key, json_string(printable));
}

json_t *
cert_status_add(struct cert_status *status, const struct cert_item *item)
{
	const char *state = state_of(status, item);
	int64_t left = item->until - status->now;
	bool alarm =
	    strcmp(state, "good") != 0 && strcmp(state, "unknown") != 0;
	json_t *object = json_object();

	set_text(object, "kind", cert_kind_word(item->kind));
	set_text(object, "name", item->name);
	set_text(object, "use", item->use);
	set_text(object, "file", item->file);
	set_text(object, "pin", item->pin);
	set_time(object, "not_before", item->from);
	set_time(object, "not_after", item->until);
	if (item->until != 0) {
		json_object_set_new(object, "days",
		    json_integer(left < 0 ? -1 : left / DAY_S));
		json_object_set_new(object, "alarm_days",
		    json_integer(alarm_seconds(item) / DAY_S));
		/* For the bar. */
		if (item->from != 0)
			json_object_set_new(object, "life_days",
			    json_integer((item->until - item->from) / DAY_S));
	}
	set_text(object, "state", state);
	json_object_set_new(object, "alarm", json_boolean(alarm));
	status->alarms += alarm;
	json_array_append_new(status->items, object);
	return object;
}

/* --- files --------------------------------------------------------------- */

/* A file that is in use, and for what. */
struct named {
	const char *path, *use;
	enum cert_kind kind; /* of the first in it; others are authorities' */
};

static void
add_unreadable(struct cert_status *status, const struct named *file,
    const char *text)
{
	size_t len = strlen(file->path);
	const struct cert_item item = { .kind = file->kind,
		.name = strncmp(text, file->path, len) == 0 && text[len] == ':'
			    ? text + len + 2
			    : text,
		.use = file->use,
		.file = file->path,
		.state = "unreadable" };

	cert_status_add(status, &item);
}

/* The same certificate, there before for another use. */
static json_t *
find_same(const struct cert_status *status, const char *fingerprint)
{
	json_t *object;
	size_t i;

	json_array_foreach(status->items, i, object)
	{
		const char *its =
		    json_string_value(json_object_get(object, "fingerprint"));

		if (its != NULL && strcmp(its, fingerprint) == 0)
			return object;
	}
	return NULL;
}

static void
add_use(json_t *object, const char *use)
{
	const char *uses = json_string_value(json_object_get(object, "use"));

	if (strstr(uses, use) == NULL)
		json_object_set_new(object, "use",
		    json_sprintf("%s, %s", uses, use));
}

static void
add_certificate(struct cert_status *status, const struct named *file,
    gnutls_x509_crt_t crt)
{
	unsigned char digest[32];
	char fingerprint[2 * sizeof(digest) + 1] = "", name[NAME_OCTETS] = "?";
	size_t size = sizeof(digest), name_size = sizeof(name);
	struct cert_item item = { .kind = file->kind,
		.name = name,
		.use = file->use,
		.file = file->path,
		.from = gnutls_x509_crt_get_activation_time(crt),
		.until = gnutls_x509_crt_get_expiration_time(crt) };
	json_t *object;

	if (gnutls_x509_crt_get_fingerprint(crt, GNUTLS_DIG_SHA256, digest,
		&size) >= 0)
		hex_print(fingerprint, digest, size);
	object = find_same(status, fingerprint);
	if (object != NULL) {
		add_use(object, file->use);
		return;
	}
	if (gnutls_x509_crt_get_dn(crt, name, &name_size) < 0)
		strcpy(name, "?");
	object = cert_status_add(status, &item);
	json_object_set_new(object, "fingerprint", json_string(fingerprint));
}

static void
add_list(struct cert_status *status, const struct named *file,
    gnutls_x509_crl_t crl)
{
	time_t until = gnutls_x509_crl_get_next_update(crl);
	char name[NAME_OCTETS];
	size_t size = sizeof(name);
	const struct cert_item item = { .kind = CERT_LIST,
		.name = name,
		.use = file->use,
		.file = file->path,
		.from = gnutls_x509_crl_get_this_update(crl),
		.until = until,
		/* Nobody takes one without that. */
		.state = until == (time_t)-1 ? "unreadable" : NULL };

	if (gnutls_x509_crl_get_issuer_dn(crl, name, &size) < 0)
		strcpy(name, "?");
	cert_status_add(status, &item);
}

/* Was that file there before, for another use? */
static bool
is_added(const struct cert_status *status, const struct named *file)
{
	json_t *object;
	bool found = false;
	size_t i;

	json_array_foreach(status->items, i, object)
	{
		const char *its =
		    json_string_value(json_object_get(object, "file"));

		if (its == NULL || strcmp(its, file->path) != 0)
			continue;
		add_use(object, file->use);
		found = true;
	}
	return found;
}

static void
add_lists(struct cert_status *status, const struct named *file,
    const gnutls_datum_t *pem)
{
	gnutls_x509_crl_t *crls = NULL;
	unsigned count = 0;
	struct reason why;
	int rc = gnutls_x509_crl_list_import2(&crls, &count, pem,
	    GNUTLS_X509_FMT_PEM, 0);

	if (rc < 0) {
		pem_fail(&why, REASON_CERT_BAD, pem, PEM_CRL, rc);
		add_unreadable(status, file, why.text);
		return;
	}
	for (unsigned i = 0; i < count; i++) {
		add_list(status, file, crls[i]);
		gnutls_x509_crl_deinit(crls[i]);
	}
	gnutls_free(crls);
}

static void
add_certificates(struct cert_status *status, const struct named *file,
    const gnutls_datum_t *pem)
{
	struct named one = *file;
	gnutls_x509_crt_t *crts = NULL;
	unsigned count = 0;
	struct reason why;
	int rc = gnutls_x509_crt_list_import2(&crts, &count, pem,
	    GNUTLS_X509_FMT_PEM, 0);

	if (rc < 0) {
		pem_fail(&why, REASON_CERT_BAD, pem, PEM_CERTIFICATE, rc);
		add_unreadable(status, file, why.text);
		return;
	}
	for (unsigned i = 0; i < count; i++) {
		add_certificate(status, &one, crts[i]);
		one.kind = CERT_AUTHORITY;
	}
	cert_chain_free(crts, count);
}

static void
add_file(struct cert_status *status, const char *path, enum cert_kind kind,
    const char *use)
{
	struct named file = { path, use, kind };
	gnutls_datum_t pem;
	struct reason why;

	if (path == NULL)
		return;
	if (!files_read(path, &pem, &why)) {
		add_unreadable(status, &file, why.text);
		return;
	}
	if (kind == CERT_LIST ||
	    (pem_has(&pem, PEM_CRL) && !pem_has(&pem, PEM_CERTIFICATE))) {
		file.kind = CERT_LIST;
		if (!is_added(status, &file))
			add_lists(status, &file, &pem);
	} else {
		add_certificates(status, &file, &pem);
	}
	files_free(&pem);
}

/* --- who names them ------------------------------------------------------ */

static void
add_configured(struct cert_status *status, const struct config *config)
{
	char use[USE_OCTETS];

	for (size_t i = 0; i < config->certificate_count; i++) {
		const struct config_certificate *c = &config->certificates[i];

		snprintf(use, sizeof(use), "certificate %s", c->name);
		add_file(status, c->chain, CERT_OWN, use);
	}
	add_file(status, config->smarthost.ca, CERT_AUTHORITY, "smarthost");
	add_file(status, config->token.ca, CERT_AUTHORITY, "token");
	for (size_t i = 0; i < config->listener_count; i++) {
		const struct config_listener *l = &config->listeners[i];

		snprintf(use, sizeof(use), "listener %s", l->name);
		add_file(status, l->client_ca, CERT_AUTHORITY, use);
		add_file(status, l->client_crl, CERT_LIST, use);
	}
}

/* Of the authority that "sallyport init" made, if it is there. */
static void
add_authority(struct cert_status *status, const struct config *config)
{
	char path[PATH_MAX];

	if (snprintf(path, sizeof(path), "%s/tls/ca.pem", config->folder) <
		(int)sizeof(path) &&
	    access(path, F_OK) == 0)
		add_file(status, path, CERT_AUTHORITY, "own authority");
	if (snprintf(path, sizeof(path), "%s/tls/crl.pem", config->folder) <
		(int)sizeof(path) &&
	    access(path, F_OK) == 0)
		add_file(status, path, CERT_LIST, "own authority");
}

static void
add_rows(struct cert_status *status, const struct config *config)
{
	struct policy policy;

	if (policy_load(&policy, NULL) && policy_open(&policy)) {
		for (size_t i = 0; i < table_file_count(policy.table); i++)
			add_file(status, table_file(policy.table, i),
			    CERT_AUTHORITY, "site table");
		cert_status_peers(status, config, policy.table);
	} else {
		status->failed = true;
	}
	policy_fini(&policy);
}

int
cert_status(const struct cert_arguments *a)
{
	struct cert_status status = { .now = time(NULL) };
	struct config *config;
	struct reason why;

	if (a->count != 0)
		return cert_wrong_usage("status: expected no argument");
	if (!tool_config(&config, &why))
		return cert_status_of(false, &why);
	status.items = json_array();
	status.folder = config->folder;
	add_configured(&status, config);
	add_authority(&status, config);
	add_rows(&status, config);
	cert_status_clients(&status, config);
	if (a->options->json) {
		json_dumpf(status.items, stdout, JSON_INDENT(2));
		printf("\n");
	} else {
		cert_status_print(&status);
	}
	json_decref(status.items);
	config_free(config);
	return status.failed || status.alarms > 0 ? TOOL_NO : TOOL_DONE;
}
