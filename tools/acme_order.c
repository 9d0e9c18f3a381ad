/*
 * tools/acme_order.c: what is asked of an ACME server, and where that is kept
 * for the next time.
 */
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../pki/file.h"
#include "../pki/name.h"
#include "acme.h"
#include "cert.h"
#include "tool.h"

/* Words of PREFIX.acme, and the options they come from. */
static const char *const ways[ACME_WAYS] = {
	[ACME_HTTP] = "http",
	[ACME_WEBROOT] = "webroot",
	[ACME_DNS] = "dns-hook",
};

/* --- is it good? ----------------------------------------------------------
 */

static bool
check_names(const struct acme_order *order, struct reason *why)
{
	if (!pki_names_check(order->names, order->name_count, ISSUE_NAMES_MAX,
		why))
		return false;
	for (size_t i = 0; i < order->name_count; i++) {
		const char *name = order->names[i];

		if (pki_name_kind(name, NULL, NULL) != PKI_NAME_DNS)
			return fail(why, REASON_SYNTAX,
			    "%.100s: expected a DNS name", name);
		if (name[0] == '*' && order->way != ACME_DNS)
			return fail(why, REASON_RANGE,
			    "%.100s: only --dns-hook can prove that", name);
	}
	return true;
}

/* Clients would take http, too, and then anybody could answer. */
static bool
check_directory(const char *url, struct reason *why)
{
	size_t len = strlen(url);
	bool ok =
	    strncmp(url, "https://", 8) == 0 && len > 8 && len <= ACME_URL_MAX;

	for (size_t i = 0; ok && i < len; i++)
		ok = url[i] > ' ' && url[i] <= '~';
	return ok || fail(why, REASON_SYNTAX,
			 "--directory %.100s: expected https://...", url);
}

/* "80" or "ADDRESS:80". */
static bool
check_listener(const char *where, struct reason *why)
{
	const char *colon = strrchr(where, ':');
	char address[64];
	uint16_t port;
	size_t len;

	if (!tool_port(colon == NULL ? where : colon + 1, &port))
		return fail(why, REASON_SYNTAX,
		    "--http %.100s: expected PORT or ADDRESS:PORT", where);
	if (colon == NULL)
		return true;
	len = (size_t)(colon - where);
	if (where[0] == '[' && len > 1 && colon[-1] == ']') {
		where++;
		len -= 2;
	}
	if (len < sizeof(address)) {
		snprintf(address, sizeof(address), "%.*s", (int)len, where);
		if (pki_name_kind(address, NULL, NULL) == PKI_NAME_ADDRESS)
			return true;
	}
	return fail(why, REASON_SYNTAX,
	    "--http %.100s: expected an address before the port", where);
}

static bool
check_folder(const char *path, struct reason *why)
{
	struct stat st;

	if (path[0] != '/' || stat(path, &st) != 0 || !S_ISDIR(st.st_mode))
		return fail(why, REASON_ABSENT,
		    "--webroot %.200s: expected a folder", path);
	return true;
}

/* What anybody could replace is not run; path is not of a stranger, but what
 * is there may be. */
static bool
check_program(const char *path, struct reason *why)
{
	struct stat st;

	if (path[0] != '/' || stat(path, &st) != 0 || !S_ISREG(st.st_mode) ||
	    access(path, X_OK) != 0)
		return fail(why, REASON_ABSENT,
		    "--dns-hook %.200s: expected a program", path);
	if ((st.st_mode & S_IWOTH) != 0)
		return fail(why, REASON_PERMISSION,
		    "--dns-hook %.180s: mode %04o, everybody can write it",
		    path, (unsigned)(st.st_mode & 07777));
	return true;
}

bool
acme_order_check(const struct acme_order *order, struct reason *why)
{
	if (!check_names(order, why) || !check_directory(order->directory, why))
		return false;
	if (order->email != NULL &&
	    (order->email[0] == '-' ||
		pki_name_kind(order->email, NULL, NULL) != PKI_NAME_MAILBOX))
		return fail(why, REASON_SYNTAX,
		    "--email %.100s: expected a mailbox", order->email);
	if (order->directory_ca != NULL &&
	    (order->directory_ca[0] != '/' ||
		access(order->directory_ca, R_OK) != 0))
		return fail(why, REASON_ABSENT,
		    "--directory-ca %.200s: expected a file that can be read",
		    order->directory_ca);
	if (order->client != NULL && !acme_client_is_known(order->client))
		return fail(why, REASON_SYNTAX,
		    "--client %.100s: expected uacme, lego or certbot",
		    order->client);
	switch (order->way) {
	case ACME_HTTP:
		return check_listener(order->where, why);
	case ACME_WEBROOT:
		return check_folder(order->where, why);
	default:
		return check_program(order->where, why);
	}
}

/* --- PREFIX.acme ----------------------------------------------------------
 */

static bool
path_of(char out[static PATH_MAX], const char *prefix, struct reason *why)
{
	return cert_path(out, prefix, ".acme", why);
}

static json_t *
to_json(const struct acme_order *order)
{
	json_t *names = json_array();

	for (size_t i = 0; i < order->name_count; i++)
		json_array_append_new(names, json_string(order->names[i]));
	return json_pack("{s:o, s:s, s:s*, s:s*, s:s*, s:s}", "names", names,
	    "directory", order->directory, "directory-ca", order->directory_ca,
	    "email", order->email, "client", order->client, ways[order->way],
	    order->where);
}

bool
acme_order_write(const struct acme_order *order, const char *prefix,
    struct reason *why)
{
	json_t *object = to_json(order);
	char path[PATH_MAX];
	char *text = json_dumps(object, JSON_INDENT(2));
	bool ok;

	json_decref(object);
	/* A path that is no UTF-8, for one. */
	if (text == NULL)
		return fail(why, REASON_SYNTAX,
		    "%s.acme: what was asked for cannot be written as JSON",
		    prefix);
	ok = path_of(path, prefix, why) &&
	     pki_file_write(path, text, strlen(text), PKI_KEY_MODE, true, why);
	free(text);
	return ok;
}

static bool
from_json(struct acme_order *order, json_t *object, const char *path,
    struct reason *why)
{
	const char *where[ACME_WAYS] = { NULL };
	json_error_t error;
	json_t *names, *name;
	unsigned given = 0;
	size_t i;

	if (json_unpack_ex(object, &error, JSON_STRICT,
		"{s:o, s:s, s?s, s?s, s?s, s?s, s?s, s?s}", "names", &names,
		"directory", &order->directory, "directory-ca",
		&order->directory_ca, "email", &order->email, "client",
		&order->client, ways[ACME_HTTP], &where[ACME_HTTP],
		ways[ACME_WEBROOT], &where[ACME_WEBROOT], ways[ACME_DNS],
		&where[ACME_DNS]) != 0)
		return fail(why, REASON_SYNTAX, "%s:%d: %s", path,
		    error.line > 0 ? error.line : 1, error.text);
	for (enum acme_way w = ACME_HTTP; w < ACME_WAYS; w++) {
		if (where[w] == NULL)
			continue;
		order->way = w;
		order->where = where[w];
		given++;
	}
	json_array_foreach(names, i, name)
	{
		if (!json_is_string(name) || i == ISSUE_NAMES_MAX)
			break;
		order->names[order->name_count++] = json_string_value(name);
	}
	return (given == 1 && i == json_array_size(names)) ||
	       fail(why, REASON_SYNTAX,
		   "%s:1: expected up to %d names, and one of http, webroot "
		   "and dns-hook",
		   path, ISSUE_NAMES_MAX);
}

/* It names a program to run. */
static bool
check_writers(const char *path, struct reason *why)
{
	struct stat st;

	if (stat(path, &st) != 0)
		return fail_errno(why, "%s", path);
	return (st.st_mode & 022) == 0 ||
	       fail(why, REASON_PERMISSION,
		   "%s: mode %04o, expected 0600: others can write it", path,
		   (unsigned)(st.st_mode & 07777));
}

bool
acme_order_read(struct acme_order *order, const char *prefix,
    struct reason *why)
{
	gnutls_datum_t text = { 0 };
	char path[PATH_MAX];
	json_error_t error;
	json_t *object;

	memset(order, 0, sizeof(*order));
	if (!path_of(path, prefix, why) || !check_writers(path, why) ||
	    !pki_file_read(path, false, &text, why))
		return false;
	object = json_loadb((const char *)text.data, text.size,
	    JSON_REJECT_DUPLICATES, &error);
	pki_octets_wipe(&text);
	if (object == NULL)
		return fail(why, REASON_SYNTAX, "%s:%d: %s", path, error.line,
		    error.text);
	order->owned = object;
	if (from_json(order, object, path, why) && acme_order_check(order, why))
		return true;
	acme_order_free(order);
	return false;
}

bool
acme_order_exists(const char *prefix)
{
	char path[PATH_MAX];

	return path_of(path, prefix, NULL) && access(path, F_OK) == 0;
}

void
acme_order_free(struct acme_order *order)
{
	json_decref(order->owned);
	memset(order, 0, sizeof(*order));
}
