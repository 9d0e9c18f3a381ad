/*
 * pki/cert.c: questions about one X.509 certificate.
 */
#include "cert.h"

#include <arpa/inet.h>
#include <gnutls/abstract.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "file.h"
#include "pem.h"

enum {
	PURPOSES_MAX = 64, /* OIDs in one extendedKeyUsage we look at */
	NAMES_MAX = 1024,  /* presented identifiers in one certificate */
	NAMES_OCTETS_MAX = 64 * 1024,
	NAME_OCTETS_MAX = 320, /* RFC 5321, 4.5.3.1: 64 + "@" + 255 */
	OID_SIZE = 128,
};

enum purpose_state
cert_purpose(gnutls_x509_crt_t crt, enum cert_purpose purpose)
{
	const char *wanted = purpose == CERT_FOR_SERVER
				 ? GNUTLS_KP_TLS_WWW_SERVER
				 : GNUTLS_KP_TLS_WWW_CLIENT;
	char oid[OID_SIZE];
	size_t size;
	unsigned i;
	int rc;

	for (i = 0; i < PURPOSES_MAX; i++) {
		size = sizeof(oid);
		rc = gnutls_x509_crt_get_key_purpose_oid(crt, i, oid, &size,
		    NULL);
		if (rc == GNUTLS_E_SHORT_MEMORY_BUFFER)
			continue; /* longer than any we want */
		if (rc == GNUTLS_E_REQUESTED_DATA_NOT_AVAILABLE)
			return i == 0 ? PURPOSE_NONE : PURPOSE_OTHER;
		if (rc < 0)
			return PURPOSE_OTHER;
		if (strcmp(oid, wanted) == 0)
			return PURPOSE_YES;
	}
	return PURPOSE_OTHER;
}

bool
cert_spki(gnutls_x509_crt_t crt, unsigned char out[static SPKI_OCTETS],
    struct reason *why)
{
	size_t size = SPKI_OCTETS;
	int rc;

	rc = gnutls_x509_crt_get_key_id(crt, GNUTLS_KEYID_USE_SHA256, out,
	    &size);
	if (rc < 0 || size != SPKI_OCTETS)
		return fail(why, REASON_CERT_BAD, "public key: %s",
		    gnutls_strerror(rc));
	return true;
}

bool
cert_key_spki(const gnutls_datum_t *key_pem,
    unsigned char out[static SPKI_OCTETS], struct reason *why)
{
	gnutls_x509_privkey_t key;
	size_t size = SPKI_OCTETS;
	int rc;

	rc = gnutls_x509_privkey_init(&key);
	if (rc < 0)
		return fail(why, REASON_NO_MEMORY, "private key");
	rc = gnutls_x509_privkey_import2(key, key_pem, GNUTLS_X509_FMT_PEM,
	    NULL, GNUTLS_PKCS_PLAIN);
	if (rc >= 0)
		rc = gnutls_x509_privkey_get_key_id(key,
		    GNUTLS_KEYID_USE_SHA256, out, &size);
	gnutls_x509_privkey_deinit(key);
	if (rc < 0)
		return pem_fail(why, REASON_SYNTAX, key_pem, PEM_KEY, rc);
	return true;
}

/* A list of names being gathered. */
struct name_list {
	char *data;
	size_t len, capacity;
};

static bool
name_list_add(struct name_list *list, const char *kind, const char *name,
    size_t len, struct reason *why)
{
	size_t kind_len = strlen(kind), need = list->len + kind_len + len + 1;
	size_t capacity = list->capacity;
	char *data;

	if (need > NAMES_OCTETS_MAX)
		return fail(why, REASON_CERT_BAD,
		    "certificate has more than %d octets of names",
		    NAMES_OCTETS_MAX);
	if (need > capacity) {
		capacity = need < 128 ? 128 : 2 * need;
		data = realloc(list->data, capacity);
		if (data == NULL)
			return fail(why, REASON_NO_MEMORY, "names");
		list->data = data;
		list->capacity = capacity;
	}
	memcpy(list->data + list->len, kind, kind_len);
	memcpy(list->data + list->len + kind_len, name, len);
	list->data[need - 1] = '\0';
	list->len = need;
	return true;
}

/* Printable ASCII only: a NUL or blank inside makes a name nobody's. */
static bool
is_plain(const char *name, size_t len)
{
	size_t i;

	for (i = 0; i < len; i++)
		if (name[i] <= ' ' || name[i] > '~')
			return false;
	return len > 0;
}

static void
lower(char *name, size_t len)
{
	size_t i;

	for (i = 0; i < len; i++)
		if (name[i] >= 'A' && name[i] <= 'Z')
			name[i] = (char)(name[i] - 'A' + 'a');
}

static bool
add_dns(struct name_list *list, char *name, size_t len, struct reason *why)
{
	if (len > 0 && name[len - 1] == '.')
		len--;
	if (!is_plain(name, len) || len > 253)
		return true;
	lower(name, len);
	return name_list_add(list, "dns:", name, len, why);
}

/* The local part keeps its case, the domain has none (RFC 5321, 2.4). */
static bool
add_email(struct name_list *list, char *name, size_t len, struct reason *why)
{
	char *at = memrchr(name, '@', len);

	if (!is_plain(name, len) || at == NULL)
		return true;
	lower(at, len - (size_t)(at - name));
	return name_list_add(list, "email:", name, len, why);
}

static bool
add_address(struct name_list *list, const char *octets, size_t len,
    struct reason *why)
{
	char text[INET6_ADDRSTRLEN];
	int family = len == 4 ? AF_INET : AF_INET6;

	if ((len != 4 && len != 16) ||
	    inet_ntop(family, octets, text, sizeof(text)) == NULL)
		return true;
	return name_list_add(list, "ip:", text, strlen(text), why);
}

static bool
add_name(struct name_list *list, unsigned type, char *name, size_t len,
    struct reason *why)
{
	switch (type) {
	case GNUTLS_SAN_DNSNAME:
		return add_dns(list, name, len, why);
	case GNUTLS_SAN_RFC822NAME:
		return add_email(list, name, len, why);
	case GNUTLS_SAN_IPADDRESS:
		return add_address(list, name, len, why);
	default:
		return true;
	}
}

/* One of the two is NULL. */
static bool
gather_names(gnutls_x509_crt_t crt, gnutls_x509_crq_t crq,
    struct name_list *list, struct reason *why)
{
	char name[NAME_OCTETS_MAX + 1];
	unsigned i, type;
	size_t size;
	int rc;

	for (i = 0; i < NAMES_MAX; i++) {
		size = sizeof(name);
		rc = crt != NULL ? gnutls_x509_crt_get_subject_alt_name2(crt, i,
				       name, &size, &type, NULL)
				 : gnutls_x509_crq_get_subject_alt_name(crq, i,
				       name, &size, &type, NULL);
		if (rc == GNUTLS_E_REQUESTED_DATA_NOT_AVAILABLE)
			return true;
		if (rc == GNUTLS_E_SHORT_MEMORY_BUFFER)
			continue; /* longer than any name can be */
		if (rc < 0)
			return fail(why, REASON_CERT_BAD, "subjectAltName: %s",
			    gnutls_strerror(rc));
		if (!add_name(list, type, name, size, why))
			return false;
	}
	return fail(why, REASON_CERT_BAD, "certificate has more than %d names",
	    NAMES_MAX);
}

static bool
names_of(gnutls_x509_crt_t crt, gnutls_x509_crq_t crq, char **names_out,
    size_t *len_out, struct reason *why)
{
	struct name_list list = { 0 };

	if (!gather_names(crt, crq, &list, why)) {
		free(list.data);
		return false;
	}
	*names_out = list.data;
	*len_out = list.len;
	return true;
}

bool
cert_names(gnutls_x509_crt_t crt, char **names_out, size_t *len_out,
    struct reason *why)
{
	return names_of(crt, NULL, names_out, len_out, why);
}

bool
cert_request_names(gnutls_x509_crq_t crq, char **names_out, size_t *len_out,
    struct reason *why)
{
	return names_of(NULL, crq, names_out, len_out, why);
}

bool
cert_chain_parse(const gnutls_datum_t *pem, gnutls_x509_crt_t **chain_out,
    unsigned *count_out, struct reason *why)
{
	gnutls_x509_crt_t *chain;
	unsigned count = CERT_CHAIN_MAX;
	int rc;

	chain = gnutls_calloc(CERT_CHAIN_MAX, sizeof(*chain));
	if (chain == NULL)
		return fail(why, REASON_NO_MEMORY, "certificate chain");
	rc = gnutls_x509_crt_list_import(chain, &count, pem,
	    GNUTLS_X509_FMT_PEM, GNUTLS_X509_CRT_LIST_IMPORT_FAIL_IF_EXCEED);
	if (rc == GNUTLS_E_SHORT_MEMORY_BUFFER) {
		gnutls_free(chain);
		return fail(why, REASON_CERT_BAD,
		    "more than %d certificates, expected a chain of at most "
		    "that many",
		    CERT_CHAIN_MAX);
	}
	if (rc <= 0) {
		gnutls_free(chain);
		return pem_fail(why, REASON_CERT_BAD, pem, PEM_CERTIFICATE, rc);
	}
	*chain_out = chain;
	*count_out = (unsigned)rc;
	return true;
}

bool
cert_chain_read(const char *path, gnutls_x509_crt_t **chain_out,
    unsigned *count_out, struct reason *why)
{
	gnutls_datum_t pem;
	struct reason at;
	bool ok;

	if (!pki_file_read(path, false, &pem, why))
		return false;
	ok = cert_chain_parse(&pem, chain_out, count_out, &at);
	pki_octets_wipe(&pem);
	return ok || fail(why, at.code, "%s: %s", path, at.text);
}

void
cert_chain_free(gnutls_x509_crt_t *chain, unsigned count)
{
	unsigned i;

	for (i = 0; i < count; i++)
		gnutls_x509_crt_deinit(chain[i]);
	gnutls_free(chain);
}

bool
cert_chain_in_order(gnutls_x509_crt_t *chain, unsigned count,
    struct reason *why)
{
	unsigned i;

	for (i = 0; i + 1 < count; i++)
		if (!gnutls_x509_crt_check_issuer(chain[i], chain[i + 1]))
			return fail(why, REASON_CERT_BAD,
			    "certificate %u of the chain was not issued by "
			    "certificate %u, expected the end entity first "
			    "and its issuers after it",
			    i + 1, i + 2);
	return true;
}

bool
cert_matches_key(const gnutls_datum_t *chain_pem, const gnutls_datum_t *key_pem,
    struct reason *why)
{
	unsigned char of_chain[SPKI_OCTETS], of_key[SPKI_OCTETS];
	gnutls_x509_crt_t *chain;
	unsigned count;
	bool ok;

	if (!cert_key_spki(key_pem, of_key, why) ||
	    !cert_chain_parse(chain_pem, &chain, &count, why))
		return false;
	ok = cert_chain_in_order(chain, count, why) &&
	     cert_spki(chain[0], of_chain, why);
	cert_chain_free(chain, count);
	if (ok && memcmp(of_chain, of_key, SPKI_OCTETS) != 0)
		return fail(why, REASON_CERT_BAD,
		    "the key does not belong to the certificate");
	return ok;
}

bool
cert_public_key(const gnutls_datum_t *chain_pem, gnutls_datum_t *der_out,
    struct reason *why)
{
	gnutls_x509_crt_t *chain;
	gnutls_pubkey_t key = NULL;
	unsigned count;
	bool ok;
	int rc;

	if (!cert_chain_parse(chain_pem, &chain, &count, why))
		return false;
	ok = cert_chain_in_order(chain, count, why);
	rc = gnutls_pubkey_init(&key);
	if (rc >= 0)
		rc = gnutls_pubkey_import_x509(key, chain[0], 0);
	if (ok && rc >= 0)
		rc = gnutls_pubkey_export2(key, GNUTLS_X509_FMT_DER, der_out);
	gnutls_pubkey_deinit(key);
	cert_chain_free(chain, count);
	return ok && (rc >= 0 || fail(why, REASON_CERT_BAD, "public key: %s",
				     gnutls_strerror(rc)));
}
