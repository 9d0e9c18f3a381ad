/*
 * pki/authority.c: a small certificate authority in a plain folder.
 *
 * Certificates made by the library's set functions answer wrongly about
 * themselves until they were exported and read again: what leaves this file
 * always was.
 */
#include "authority.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <gnutls/crypto.h>
#include <gnutls/x509.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cert.h"
#include "file.h"

enum {
	SERIAL_OCTETS = 16,
	COMMON_NAME_MAX = 64, /* RFC 5280, appendix A: ub-common-name */
	DNS_NAME_MAX = 253,
	DNS_LABEL_MAX = 63,
	LOCAL_PART_MAX = 64, /* RFC 5321, section 4.5.3.1.1 */
	KEY_ID_MAX = 64,
	BACKDATE_S = 3600, /* the other side's clock may be behind */
	DAY_S = 86400,
};

static bool
library_failed(struct reason *why, const char *what, int rc)
{
	return fail(why, REASON_INTERNAL, "%s: %s", what, gnutls_strerror(rc));
}

/* Keeps two processes from working in one folder; -1 after a failure. */
static int
folder_lock(const char *folder, struct reason *why)
{
	int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (fd < 0) {
		fail_errno(why, "%s", folder);
		return -1;
	}
	while (flock(fd, LOCK_EX) < 0) {
		if (errno == EINTR)
			continue;
		fail_errno(why, "%s: lock", folder);
		close(fd);
		return -1;
	}
	return fd;
}

static bool
path_in(char out[static PATH_MAX], const char *folder, const char *name,
    struct reason *why)
{
	int n = snprintf(out, PATH_MAX, "%s/%s", folder, name);

	if (n < 0 || n >= PATH_MAX)
		return fail(why, REASON_RANGE, "%s: path too long", folder);
	return true;
}

/* --- names ------------------------------------------------------------ */

static bool
is_label(const char *label, size_t len)
{
	size_t i;

	if (len == 0 || len > DNS_LABEL_MAX || label[0] == '-' ||
	    label[len - 1] == '-')
		return false;
	for (i = 0; i < len; i++)
		if (!((label[i] >= 'a' && label[i] <= 'z') ||
			(label[i] >= 'A' && label[i] <= 'Z') ||
			(label[i] >= '0' && label[i] <= '9') ||
			label[i] == '-'))
			return false;
	return true;
}

/* A-labels; "*." may stand in front (RFC 9525, section 6.3). */
static bool
is_dns_name(const char *name)
{
	size_t len = strlen(name), label;

	if (len == 0 || len > DNS_NAME_MAX)
		return false;
	if (strncmp(name, "*.", 2) == 0)
		name += 2;
	for (;;) {
		label = strcspn(name, ".");
		if (!is_label(name, label))
			return false;
		if (name[label] == '\0')
			return true;
		name += label + 1;
	}
}

/* 4 or 16 raw octets of an address literal, 0 if it is none. */
static size_t
address_octets(const char *name, unsigned char out[static 16])
{
	if (inet_pton(AF_INET, name, out) == 1)
		return 4;
	if (inet_pton(AF_INET6, name, out) == 1)
		return 16;
	return 0;
}

/* What an rfc822Name can hold (RFC 5280, section 4.2.1.6), without quoting. */
static bool
is_mailbox(const char *name)
{
	const char *at = strrchr(name, '@');

	if (at == NULL || at == name || at - name > LOCAL_PART_MAX ||
	    strchr(at, '*') != NULL)
		return false;
	for (const char *c = name; c < at; c++)
		if (*c <= ' ' || *c > '~' ||
		    strchr("()<>[]:;@\\,\"", *c) != NULL)
			return false;
	return is_dns_name(at + 1);
}

static bool
check_names(const struct authority_request *request, struct reason *why)
{
	unsigned char octets[16];
	size_t i;

	if (request->name_count == 0 || request->name_count > ISSUE_NAMES_MAX)
		return fail(why, REASON_RANGE, "%zu names, expected 1 to %d",
		    request->name_count, ISSUE_NAMES_MAX);
	for (i = 0; i < request->name_count; i++)
		if (address_octets(request->names[i], octets) == 0 &&
		    !is_dns_name(request->names[i]) &&
		    !is_mailbox(request->names[i]))
			return fail(why, REASON_SYNTAX,
			    "\"%.100s\": expected a DNS name, an address or a "
			    "mailbox",
			    request->names[i]);
	return true;
}

static bool
check_days(unsigned days, struct reason *why)
{
	if (days == 0 || days > ISSUE_DAYS_MAX)
		return fail(why, REASON_RANGE, "%u days, expected 1 to %d",
		    days, ISSUE_DAYS_MAX);
	return true;
}

static bool
check_common_name(const char *name, struct reason *why)
{
	size_t i, len = strlen(name);

	if (len == 0 || len > COMMON_NAME_MAX)
		return fail(why, REASON_RANGE,
		    "name of the authority: %zu octets, expected 1 to %d", len,
		    COMMON_NAME_MAX);
	for (i = 0; i < len; i++)
		if (name[i] < ' ' || name[i] > '~')
			return fail(why, REASON_SYNTAX,
			    "name of the authority: expected printable ASCII");
	return true;
}

/* --- keys ------------------------------------------------------------- */

/* A new one; pem is gnutls_malloc'd. */
static bool
key_generate(gnutls_x509_privkey_t key, gnutls_datum_t *pem, struct reason *why)
{
	int rc;

	rc = gnutls_x509_privkey_generate(key, GNUTLS_PK_ECDSA,
	    GNUTLS_CURVE_TO_BITS(GNUTLS_ECC_CURVE_SECP256R1), 0);
	if (rc >= 0)
		rc = gnutls_x509_privkey_export2_pkcs8(key, GNUTLS_X509_FMT_PEM,
		    NULL, GNUTLS_PKCS_PLAIN, pem);
	return rc >= 0 || library_failed(why, "private key", rc);
}

static bool
key_make(gnutls_x509_privkey_t key, const char *path, struct reason *why)
{
	gnutls_datum_t pem = { 0 };
	bool ok;

	if (!key_generate(key, &pem, why))
		return false;
	ok = pki_file_write(path, pem.data, pem.size, PKI_KEY_MODE, false, why);
	explicit_bzero(pem.data, pem.size);
	gnutls_free(pem.data);
	return ok;
}

static bool
key_load(gnutls_x509_privkey_t key, const char *path, struct reason *why)
{
	gnutls_datum_t pem;
	int rc;

	if (!pki_file_read(path, true, &pem, why))
		return false;
	rc = gnutls_x509_privkey_import2(key, &pem, GNUTLS_X509_FMT_PEM, NULL,
	    GNUTLS_PKCS_PLAIN);
	pki_octets_wipe(&pem);
	if (rc < 0)
		return fail(why, REASON_SYNTAX,
		    "%s: %s, expected a private key, unencrypted PEM", path,
		    gnutls_strerror(rc));
	return true;
}

static bool
key_init(gnutls_x509_privkey_t *key_out, struct reason *why)
{
	int rc = gnutls_x509_privkey_init(key_out);

	if (rc < 0)
		return fail(why, REASON_NO_MEMORY, "private key");
	return true;
}

/* The key at path, made if there is none. */
static bool
key_get(gnutls_x509_privkey_t *key_out, const char *path, struct reason *why)
{
	gnutls_x509_privkey_t key;
	bool ok;

	if (!key_init(&key, why))
		return false;
	if (access(path, F_OK) == 0)
		ok = key_load(key, path, why);
	else
		ok = key_make(key, path, why);
	if (ok)
		*key_out = key;
	else
		gnutls_x509_privkey_deinit(key);
	return ok;
}

/* --- certificates ----------------------------------------------------- */

/* The certificate that signs: ours, with its key. */
struct authority {
	gnutls_x509_crt_t crt;
	gnutls_x509_privkey_t key;
	gnutls_datum_t pem;
};

static void
authority_close(struct authority *authority)
{
	if (authority->crt != NULL)
		gnutls_x509_crt_deinit(authority->crt);
	if (authority->key != NULL)
		gnutls_x509_privkey_deinit(authority->key);
	pki_octets_wipe(&authority->pem);
}

static bool
authority_load(struct authority *authority, const char *pem_path,
    const char *key_path, struct reason *why)
{
	int rc;

	if (!pki_file_read(pem_path, false, &authority->pem, why) ||
	    !key_init(&authority->key, why) ||
	    !key_load(authority->key, key_path, why))
		return false;
	if (gnutls_x509_crt_init(&authority->crt) < 0)
		return fail(why, REASON_NO_MEMORY, "%s", pem_path);
	rc = gnutls_x509_crt_import(authority->crt, &authority->pem,
	    GNUTLS_X509_FMT_PEM);
	if (rc < 0)
		return fail(why, REASON_CERT_BAD, "%s: %s", pem_path,
		    gnutls_strerror(rc));
	return true;
}

static bool
authority_check(const struct authority *authority, const char *path,
    struct reason *why)
{
	unsigned char of_crt[SPKI_OCTETS], of_key[SPKI_OCTETS];
	size_t size = SPKI_OCTETS;

	if (!cert_spki(authority->crt, of_crt, why))
		return false;
	if (gnutls_x509_privkey_get_key_id(authority->key,
		GNUTLS_KEYID_USE_SHA256, of_key, &size) < 0 ||
	    memcmp(of_crt, of_key, SPKI_OCTETS) != 0)
		return fail(why, REASON_CERT_BAD,
		    "%s: the key beside it belongs to another certificate",
		    path);
	if (gnutls_x509_crt_get_ca_status(authority->crt, NULL) <= 0)
		return fail(why, REASON_CERT_BAD,
		    "%s: not the certificate of an authority", path);
	if (gnutls_x509_crt_get_expiration_time(authority->crt) <= time(NULL))
		return fail(why, REASON_CERT_EXPIRED,
		    "%s: the authority has expired", path);
	return true;
}

static bool
authority_open(struct authority *authority, const char *folder,
    struct reason *why)
{
	char pem_path[PATH_MAX], key_path[PATH_MAX];

	return path_in(pem_path, folder, "ca.pem", why) &&
	       path_in(key_path, folder, "ca.key", why) &&
	       authority_load(authority, pem_path, key_path, why) &&
	       authority_check(authority, pem_path, why);
}

/* Positive and of full length: RFC 5280, section 4.1.2.2. */
static int
serial_make(unsigned char out[static SERIAL_OCTETS])
{
	int rc = gnutls_rnd(GNUTLS_RND_NONCE, out, SERIAL_OCTETS);

	out[0] = (unsigned char)((out[0] & 0x7f) | 0x40);
	return rc;
}

static int
set_key_ids(gnutls_x509_crt_t crt, gnutls_x509_privkey_t key,
    gnutls_x509_crt_t issuer)
{
	unsigned char id[KEY_ID_MAX];
	size_t size = sizeof(id);
	int rc;

	rc = gnutls_x509_privkey_get_key_id(key, GNUTLS_KEYID_USE_SHA1, id,
	    &size);
	if (rc >= 0)
		rc = gnutls_x509_crt_set_subject_key_id(crt, id, size);
	if (rc >= 0 && issuer != NULL) {
		size = sizeof(id);
		rc =
		    gnutls_x509_crt_get_subject_key_id(issuer, id, &size, NULL);
	}
	if (rc >= 0)
		rc = gnutls_x509_crt_set_authority_key_id(crt, id, size);
	return rc;
}

/* What authority and end entity have in common. */
static int
set_common(gnutls_x509_crt_t crt, gnutls_x509_privkey_t key,
    const char *common_name, const unsigned char serial[static SERIAL_OCTETS],
    time_t not_before, time_t not_after)
{
	int rc;

	rc = gnutls_x509_crt_set_version(crt, 3);
	if (rc >= 0)
		rc = gnutls_x509_crt_set_serial(crt, serial, SERIAL_OCTETS);
	if (rc >= 0)
		rc = gnutls_x509_crt_set_activation_time(crt, not_before);
	if (rc >= 0)
		rc = gnutls_x509_crt_set_expiration_time(crt, not_after);
	if (rc >= 0)
		rc = gnutls_x509_crt_set_dn_by_oid(crt,
		    GNUTLS_OID_X520_COMMON_NAME, 0, common_name,
		    (unsigned)strlen(common_name));
	if (rc >= 0)
		rc = gnutls_x509_crt_set_key(crt, key);
	return rc;
}

static int
fill_authority(gnutls_x509_crt_t crt, gnutls_x509_privkey_t key,
    const char *common_name, unsigned days)
{
	unsigned char serial[SERIAL_OCTETS];
	time_t now = time(NULL);
	int rc;

	rc = serial_make(serial);
	if (rc >= 0)
		rc = set_common(crt, key, common_name, serial, now - BACKDATE_S,
		    now + (time_t)days * DAY_S);
	if (rc >= 0)
		rc = gnutls_x509_crt_set_basic_constraints(crt, 1, 0);
	if (rc >= 0)
		rc = gnutls_x509_crt_set_key_usage(crt,
		    GNUTLS_KEY_KEY_CERT_SIGN | GNUTLS_KEY_CRL_SIGN);
	if (rc >= 0)
		rc = set_key_ids(crt, key, NULL);
	if (rc >= 0)
		rc = gnutls_x509_crt_sign2(crt, crt, key, GNUTLS_DIG_SHA256, 0);
	return rc;
}

static bool
authority_write(gnutls_x509_privkey_t key, const char *common_name,
    unsigned days, const char *path, struct reason *why)
{
	gnutls_x509_crt_t crt;
	gnutls_datum_t pem = { 0 };
	bool ok;
	int rc;

	if (gnutls_x509_crt_init(&crt) < 0)
		return fail(why, REASON_NO_MEMORY, "certificate");
	rc = fill_authority(crt, key, common_name, days);
	if (rc >= 0)
		rc = gnutls_x509_crt_export2(crt, GNUTLS_X509_FMT_PEM, &pem);
	ok = rc >= 0 ? pki_file_write(path, pem.data, pem.size, PKI_CHAIN_MODE,
			   false, why)
		     : library_failed(why, "certificate of the authority", rc);
	gnutls_free(pem.data);
	gnutls_x509_crt_deinit(crt);
	return ok;
}

bool
authority_create(const char *folder, const char *common_name, unsigned days,
    struct reason *why)
{
	char pem_path[PATH_MAX], key_path[PATH_MAX];
	gnutls_x509_privkey_t key;
	bool ok = false;
	int lock;

	if (!check_days(days, why) || !check_common_name(common_name, why) ||
	    !path_in(pem_path, folder, "ca.pem", why) ||
	    !path_in(key_path, folder, "ca.key", why))
		return false;
	if (mkdir(folder, 0755) < 0 && errno != EEXIST)
		return fail_errno(why, "%s", folder);
	lock = folder_lock(folder, why);
	if (lock < 0)
		return false;
	/* A key without a certificate is what a crash here left: use it. */
	if (access(pem_path, F_OK) == 0) {
		fail(why, REASON_EXISTS, "%s: exists already", pem_path);
	} else if (key_get(&key, key_path, why)) {
		ok = authority_write(key, common_name, days, pem_path, why);
		gnutls_x509_privkey_deinit(key);
	}
	close(lock);
	return ok;
}

/* --- issuing ---------------------------------------------------------- */

static int
set_names(gnutls_x509_crt_t crt, const struct authority_request *request)
{
	unsigned char octets[16];
	const char *name;
	size_t i, len;
	int rc = 0;

	for (i = 0; i < request->name_count && rc >= 0; i++) {
		name = request->names[i];
		len = address_octets(name, octets);
		if (len > 0)
			rc = gnutls_x509_crt_set_subject_alt_name(crt,
			    GNUTLS_SAN_IPADDRESS, octets, (unsigned)len,
			    GNUTLS_FSAN_APPEND);
		else
			rc = gnutls_x509_crt_set_subject_alt_name(crt,
			    strchr(name, '@') != NULL ? GNUTLS_SAN_RFC822NAME
						      : GNUTLS_SAN_DNSNAME,
			    name, (unsigned)strlen(name), GNUTLS_FSAN_APPEND);
	}
	return rc;
}

static int
set_purposes(gnutls_x509_crt_t crt, enum authority_role role)
{
	int rc = 0;

	if (role & ISSUE_SERVER)
		rc = gnutls_x509_crt_set_key_purpose_oid(crt,
		    GNUTLS_KP_TLS_WWW_SERVER, 0);
	if (rc >= 0 && (role & ISSUE_CLIENT))
		rc = gnutls_x509_crt_set_key_purpose_oid(crt,
		    GNUTLS_KP_TLS_WWW_CLIENT, 0);
	return rc;
}

/* Nobody reads the CN of an end entity but people; it has to be short. */
static const char *
common_name_of(const struct authority_request *request)
{
	size_t i;

	for (i = 0; i < request->name_count; i++)
		if (strlen(request->names[i]) <= COMMON_NAME_MAX)
			return request->names[i];
	return "see subjectAltName";
}

static time_t
end_of(const struct authority *authority, time_t now, unsigned days)
{
	time_t end = now + (time_t)days * DAY_S;
	time_t most = gnutls_x509_crt_get_expiration_time(authority->crt);

	return end < most ? end : most;
}

static int
fill_end_entity(gnutls_x509_crt_t crt, gnutls_x509_privkey_t key,
    const struct authority *authority, const struct authority_request *request,
    const unsigned char serial[static SERIAL_OCTETS], time_t now)
{
	int rc;

	rc = set_common(crt, key, common_name_of(request), serial,
	    now - BACKDATE_S, end_of(authority, now, request->days));
	if (rc >= 0)
		rc = gnutls_x509_crt_set_basic_constraints(crt, 0, -1);
	if (rc >= 0)
		rc = gnutls_x509_crt_set_key_usage(crt,
		    GNUTLS_KEY_DIGITAL_SIGNATURE);
	if (rc >= 0)
		rc = set_purposes(crt, request->role);
	if (rc >= 0)
		rc = set_names(crt, request);
	if (rc >= 0)
		rc = set_key_ids(crt, key, authority->crt);
	if (rc >= 0)
		rc = gnutls_x509_crt_sign2(crt, authority->crt, authority->key,
		    GNUTLS_DIG_SHA256, 0);
	return rc;
}

static const char *
role_word(enum authority_role role)
{
	switch (role) {
	case ISSUE_SERVER:
		return "server";
	case ISSUE_CLIENT:
		return "client";
	case ISSUE_BOTH:
		break;
	}
	return "both";
}

static void
print_time(char out[static 32], time_t t)
{
	struct tm tm;

	gmtime_r(&t, &tm);
	strftime(out, 32, "%Y-%m-%dT%H:%M:%SZ", &tm);
}

/* "serial=... issued=... expires=... role=... names=a,b" */
static bool
record(const char *folder, const struct authority *authority,
    const struct authority_request *request,
    const unsigned char serial[static SERIAL_OCTETS], time_t now,
    struct reason *why)
{
	char path[PATH_MAX], issued[32], expires[32], *line = NULL;
	size_t i, len = 0;
	FILE *out;
	bool ok;

	if (!path_in(path, folder, "issued", why))
		return false;
	out = open_memstream(&line, &len);
	if (out == NULL)
		return fail(why, REASON_NO_MEMORY, "%s", path);
	print_time(issued, now);
	print_time(expires, end_of(authority, now, request->days));
	fprintf(out, "serial=");
	for (i = 0; i < SERIAL_OCTETS; i++)
		fprintf(out, "%02x", serial[i]);
	fprintf(out, " issued=%s expires=%s role=%s names=", issued, expires,
	    role_word(request->role));
	for (i = 0; i < request->name_count; i++)
		fprintf(out, "%s%s", i > 0 ? "," : "", request->names[i]);
	if (fclose(out) != 0)
		ok = fail(why, REASON_NO_MEMORY, "%s", path);
	else
		ok = pki_file_append(path, line, why);
	free(line);
	return ok;
}

/* End entity, then the authority; data is malloc'd. */
static bool
chain_export(gnutls_x509_crt_t crt, const struct authority *authority,
    gnutls_datum_t *out, struct reason *why)
{
	gnutls_datum_t pem = { 0 };
	int rc;

	rc = gnutls_x509_crt_export2(crt, GNUTLS_X509_FMT_PEM, &pem);
	if (rc < 0)
		return library_failed(why, "certificate", rc);
	out->size = pem.size + authority->pem.size;
	out->data = malloc(out->size);
	if (out->data != NULL) {
		memcpy(out->data, pem.data, pem.size);
		memcpy(out->data + pem.size, authority->pem.data,
		    authority->pem.size);
	}
	gnutls_free(pem.data);
	return out->data != NULL || fail(why, REASON_NO_MEMORY, "certificate");
}

static bool
issue(const char *folder, const struct authority *authority,
    gnutls_x509_privkey_t key, const struct authority_request *request,
    gnutls_datum_t *chain_out, struct reason *why)
{
	unsigned char serial[SERIAL_OCTETS];
	gnutls_x509_crt_t crt;
	time_t now = time(NULL);
	bool ok;
	int rc;

	rc = serial_make(serial);
	if (rc < 0)
		return library_failed(why, "serial number", rc);
	if (!record(folder, authority, request, serial, now, why))
		return false;
	if (gnutls_x509_crt_init(&crt) < 0)
		return fail(why, REASON_NO_MEMORY, "certificate");
	rc = fill_end_entity(crt, key, authority, request, serial, now);
	ok = rc >= 0 ? chain_export(crt, authority, chain_out, why)
		     : library_failed(why, "certificate", rc);
	gnutls_x509_crt_deinit(crt);
	return ok;
}

/* Lock the folder and open what is in it; -1 after a failure.  authority is
 * to be closed either way. */
static int
issue_begin(const char *folder, const struct authority_request *request,
    struct authority *authority, struct reason *why)
{
	int lock;

	if (!check_names(request, why) || !check_days(request->days, why))
		return -1;
	lock = folder_lock(folder, why);
	if (lock >= 0 && !authority_open(authority, folder, why)) {
		close(lock);
		return -1;
	}
	return lock;
}

bool
authority_issue(const char *folder, const struct authority_request *request,
    struct reason *why)
{
	struct authority authority = { 0 };
	gnutls_datum_t chain = { 0 };
	gnutls_x509_privkey_t key;
	bool ok = false;
	int lock = issue_begin(folder, request, &authority, why);

	if (lock >= 0 && key_get(&key, request->key_path, why)) {
		ok = issue(folder, &authority, key, request, &chain, why) &&
		     pki_file_write(request->chain_path, chain.data, chain.size,
			 PKI_CHAIN_MODE, true, why);
		pki_octets_wipe(&chain);
		gnutls_x509_privkey_deinit(key);
	}
	authority_close(&authority);
	if (lock >= 0)
		close(lock);
	return ok;
}

bool
authority_issue_new(const char *folder, const struct authority_request *request,
    gnutls_datum_t *chain_out, gnutls_datum_t *key_out, struct reason *why)
{
	struct authority authority = { 0 };
	gnutls_datum_t chain = { 0 }, pem = { 0 };
	gnutls_x509_privkey_t key = NULL;
	int lock = issue_begin(folder, request, &authority, why);
	bool ok = lock >= 0 && key_init(&key, why) &&
		  key_generate(key, &pem, why) &&
		  issue(folder, &authority, key, request, &chain, why);

	if (ok) {
		*chain_out = chain;
		*key_out = pem;
	} else {
		pki_octets_wipe(&chain);
		pki_octets_wipe(&pem);
	}
	if (key != NULL)
		gnutls_x509_privkey_deinit(key);
	authority_close(&authority);
	if (lock >= 0)
		close(lock);
	return ok;
}
