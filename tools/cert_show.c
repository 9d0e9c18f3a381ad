/*
 * tools/cert_show.c: "sallyport cert show": what a certificate says.
 *
 * Certificates may come from strangers: what is printed is made printable.
 */
#include <gnutls/x509.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../pki/cert.h"
#include "../policy/hex.h"
#include "../server/files.h"
#include "cert.h"
#include "tool.h"

enum { SERIAL_MAX = 64, OID_SIZE = 128, PURPOSES_MAX = 64 };

void
cert_print_time(char out[static CERT_TIME_SIZE], time_t when)
{
	struct tm tm;

	if (gmtime_r(&when, &tm) == NULL ||
	    strftime(out, CERT_TIME_SIZE, "%Y-%m-%dT%H:%M:%SZ", &tm) == 0)
		snprintf(out, CERT_TIME_SIZE, "-");
}

/* Octets that could play with a terminal, or are no UTF-8, become \xNN. */
static json_t *
printable(const char *text, size_t len)
{
	char *out = malloc(4 * len + 1);
	json_t *string;
	size_t i, at = 0;

	if (out == NULL)
		return NULL;
	for (i = 0; i < len; i++)
		if (text[i] >= ' ' && text[i] <= '~')
			out[at++] = text[i];
		else
			at += (size_t)snprintf(out + at, 5, "\\x%02x",
			    (unsigned char)text[i]);
	out[at] = '\0';
	string = json_string(out);
	free(out);
	return string;
}

static json_t *
dn_of(gnutls_x509_crt_t crt,
    int (*get)(gnutls_x509_crt_t, gnutls_datum_t *, unsigned))
{
	gnutls_datum_t dn = { 0 };
	json_t *string;

	if (get(crt, &dn, 0) < 0)
		return json_string("");
	string = printable((const char *)dn.data, dn.size);
	gnutls_free(dn.data);
	return string;
}

static json_t *
names_of(gnutls_x509_crt_t crt)
{
	json_t *names = json_array();
	char *list = NULL;
	size_t len = 0;
	const char *at;

	if (!cert_names(crt, &list, &len, NULL))
		return names;
	for (at = list; at != NULL && at < list + len; at += strlen(at) + 1)
		json_array_append_new(names, json_string(at));
	free(list);
	return names;
}

static const char *
purpose_word(const char *oid)
{
	if (strcmp(oid, GNUTLS_KP_TLS_WWW_SERVER) == 0)
		return "serverAuth";
	if (strcmp(oid, GNUTLS_KP_TLS_WWW_CLIENT) == 0)
		return "clientAuth";
	return oid;
}

static json_t *
purposes_of(gnutls_x509_crt_t crt)
{
	json_t *purposes = json_array();
	char oid[OID_SIZE];
	size_t size;
	unsigned i;

	for (i = 0; i < PURPOSES_MAX; i++) {
		size = sizeof(oid);
		if (gnutls_x509_crt_get_key_purpose_oid(crt, i, oid, &size,
			NULL) < 0)
			break;
		json_array_append_new(purposes, json_string(purpose_word(oid)));
	}
	return purposes;
}

static json_t *
serial_of(gnutls_x509_crt_t crt)
{
	unsigned char serial[SERIAL_MAX];
	char text[2 * SERIAL_MAX + 1] = "";
	size_t size = sizeof(serial);

	if (gnutls_x509_crt_get_serial(crt, serial, &size) < 0)
		size = 0;
	hex_print(text, serial, size);
	return json_string(text);
}

/* As the site table's pin= wants it. */
static json_t *
pin_of(gnutls_x509_crt_t crt)
{
	unsigned char spki[SPKI_OCTETS];
	char text[PIN_TEXT];

	if (!cert_spki(crt, spki, NULL))
		return json_null();
	pin_print(text, spki);
	return json_string(text);
}

static json_t *
key_of(gnutls_x509_crt_t crt)
{
	unsigned bits = 0;
	int pk = gnutls_x509_crt_get_pk_algorithm(crt, &bits);
	const char *name = pk < 0 ? NULL : gnutls_pk_get_name(pk);

	return json_sprintf("%s %u", name ? name : "unknown", bits);
}

static json_t *
describe(gnutls_x509_crt_t crt)
{
	char from[CERT_TIME_SIZE], until[CERT_TIME_SIZE];

	cert_print_time(from, gnutls_x509_crt_get_activation_time(crt));
	cert_print_time(until, gnutls_x509_crt_get_expiration_time(crt));
	return json_pack("{s:o, s:o, s:o, s:o, s:o, s:b, s:s, s:s, s:o, s:o}",
	    "subject", dn_of(crt, gnutls_x509_crt_get_dn3), "issuer",
	    dn_of(crt, gnutls_x509_crt_get_issuer_dn3), "serial",
	    serial_of(crt), "names", names_of(crt), "purposes",
	    purposes_of(crt), "authority",
	    gnutls_x509_crt_get_ca_status(crt, NULL) > 0, "not_before", from,
	    "not_after", until, "key", key_of(crt), "pin", pin_of(crt));
}

/* "label: value", or one line for each value of a list. */
static void
print_member(const char *label, const json_t *value)
{
	size_t i;

	if (json_is_boolean(value)) {
		printf("%-12s%s\n", label, json_is_true(value) ? "yes" : "no");
		return;
	}
	if (!json_is_array(value)) {
		printf("%-12s%s\n", label,
		    json_is_string(value) ? json_string_value(value) : "-");
		return;
	}
	if (json_array_size(value) == 0)
		printf("%-12snone\n", label);
	for (i = 0; i < json_array_size(value); i++)
		printf("%-12s%s\n", i == 0 ? label : "",
		    json_string_value(json_array_get(value, i)));
}

static void
print_text(const json_t *all)
{
	static const char *const members[] = { "subject", "issuer", "serial",
		"names", "purposes", "authority", "not_before", "not_after",
		"key", "pin" };
	size_t i, j;

	for (i = 0; i < json_array_size(all); i++) {
		if (i > 0)
			printf("\n");
		for (j = 0; j < sizeof(members) / sizeof(members[0]); j++)
			print_member(members[j],
			    json_object_get(json_array_get(all, i),
				members[j]));
	}
}

int
cert_show(const char *path, bool json)
{
	gnutls_x509_crt_t *chain;
	gnutls_datum_t pem;
	struct reason why, because;
	unsigned i, count;
	json_t *all;
	bool ok;

	if (!files_read(path, &pem, &why)) {
		tool_error(&why);
		return TOOL_NO;
	}
	ok = cert_chain_parse(&pem, &chain, &count, &because);
	files_free(&pem);
	if (!ok) {
		fail(&why, because.code, "%.120s: %.120s", path, because.text);
		tool_error(&why);
		return TOOL_NO;
	}
	all = json_array();
	for (i = 0; i < count; i++)
		json_array_append_new(all, describe(chain[i]));
	cert_chain_free(chain, count);
	if (json) {
		json_dumpf(all, stdout, JSON_INDENT(2));
		printf("\n");
	} else {
		print_text(all);
	}
	json_decref(all);
	return TOOL_DONE;
}
