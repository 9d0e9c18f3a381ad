/*
 * pki/authority.c: an authority in its folder: made, opened, closed.
 */
#include "authority.h"

#include <errno.h>
#include <fcntl.h>
#include <gnutls/abstract.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../policy/facts.h"
#include "authority_internal.h"
#include "cert.h"
#include "file.h"
#include "name.h"
#include "pem.h"

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

bool
authority_path(char out[static PATH_MAX], const char *folder, const char *name,
    struct reason *why)
{
	int n = snprintf(out, PATH_MAX, "%s/%s", folder, name);

	if (n < 0 || n >= PATH_MAX)
		return fail(why, REASON_RANGE, "%s: path too long", folder);
	return true;
}

bool
authority_days_check(unsigned days, struct reason *why)
{
	if (days == 0 || days > ISSUE_DAYS_MAX)
		return fail(why, REASON_RANGE, "%u days, expected 1 to %d",
		    days, ISSUE_DAYS_MAX);
	return true;
}

time_t
authority_end(const struct authority *authority, time_t now, unsigned days)
{
	time_t end = now + (time_t)days * MAKE_DAY_S;
	time_t most =
	    gnutls_x509_crt_get_expiration_time(authority->certificate);

	return end < most ? end : most;
}

/* --- opening ------------------------------------------------------------ */

void
authority_close(struct authority *authority)
{
	if (authority == NULL)
		return;
	if (authority->certificate != NULL)
		gnutls_x509_crt_deinit(authority->certificate);
	pki_key_free(&authority->key);
	pki_octets_wipe(&authority->pem);
	pki_octets_wipe(&authority->above);
	if (authority->lock >= 0)
		close(authority->lock);
	free(authority);
}

static bool
read_certificate(struct authority *authority, const char *path,
    struct reason *why)
{
	struct reason at;
	int rc;

	if (!pki_file_read(path, false, &authority->pem, why))
		return false;
	if (gnutls_x509_crt_init(&authority->certificate) < 0)
		return fail(why, REASON_NO_MEMORY, "%s", path);
	rc = gnutls_x509_crt_import(authority->certificate, &authority->pem,
	    GNUTLS_X509_FMT_PEM);
	if (rc >= 0)
		return true;
	pem_fail(&at, REASON_CERT_BAD, &authority->pem, PEM_CERTIFICATE, rc);
	return fail(why, at.code, "%s: %s", path, at.text);
}

static bool
read_above(struct authority *authority, struct reason *why)
{
	char path[PATH_MAX];

	return authority_path(path, authority->folder, "chain.pem", why) &&
	       (access(path, F_OK) < 0 ||
		   pki_file_read(path, false, &authority->above, why));
}

static bool
check_authority(const struct authority *authority, const char *path,
    struct reason *why)
{
	unsigned char of_crt[SPKI_OCTETS], of_key[SPKI_OCTETS];
	size_t size = SPKI_OCTETS;

	if (!cert_spki(authority->certificate, of_crt, why))
		return false;
	if (gnutls_pubkey_get_key_id(authority->key.public_key,
		GNUTLS_KEYID_USE_SHA256, of_key, &size) < 0 ||
	    memcmp(of_crt, of_key, SPKI_OCTETS) != 0)
		return fail(why, REASON_CERT_BAD,
		    "%s: the key beside it belongs to another certificate",
		    path);
	if (gnutls_x509_crt_get_ca_status(authority->certificate, NULL) <= 0)
		return fail(why, REASON_CERT_BAD,
		    "%s: not the certificate of an authority", path);
	if (gnutls_x509_crt_get_expiration_time(authority->certificate) <=
	    time(NULL))
		return fail(why, REASON_CERT_EXPIRED,
		    "%s: the authority has expired", path);
	return true;
}

static bool
read_all(struct authority *authority, const struct pki_passphrase *passphrase,
    struct reason *why)
{
	char pem[PATH_MAX], key[PATH_MAX];

	authority->lock = folder_lock(authority->folder, why);
	return authority->lock >= 0 &&
	       authority_path(pem, authority->folder, "ca.pem", why) &&
	       authority_path(key, authority->folder, "ca.key", why) &&
	       read_certificate(authority, pem, why) &&
	       read_above(authority, why) &&
	       pki_key_read(&authority->key, key, passphrase, why) &&
	       check_authority(authority, pem, why);
}

bool
authority_open(struct authority **out, const char *folder,
    const struct pki_passphrase *passphrase, struct reason *why)
{
	struct authority *authority;

	if (strlen(folder) >= PATH_MAX)
		return fail(why, REASON_RANGE, "%.100s...: path too long",
		    folder);
	authority = calloc(1, sizeof(*authority));
	if (authority == NULL)
		return fail(why, REASON_NO_MEMORY, "authority");
	authority->lock = -1;
	strcpy(authority->folder, folder);
	if (!read_all(authority, passphrase, why)) {
		authority_close(authority);
		return false;
	}
	*out = authority;
	return true;
}

/* --- making ------------------------------------------------------------- */

static bool
check_common_name(const char *name, struct reason *why)
{
	size_t len = strlen(name);

	if (len == 0 || len > COMMON_NAME_MAX)
		return fail(why, REASON_RANGE,
		    "name of the authority: %zu octets, expected 1 to %d", len,
		    COMMON_NAME_MAX);
	for (size_t i = 0; i < len; i++)
		if (name[i] < ' ' || name[i] > '~')
			return fail(why, REASON_SYNTAX,
			    "name of the authority: expected printable ASCII");
	return true;
}

/* A parent has to leave room below itself (RFC 5280, section 4.2.1.9). */
static bool
check_path_length(const struct authority_options *options, struct reason *why)
{
	int length = -1;

	if (options->path_length > PATH_LENGTH_MAX)
		return fail(why, REASON_RANGE,
		    "path length %u, expected 0 to %d", options->path_length,
		    PATH_LENGTH_MAX);
	if (options->parent == NULL)
		return true;
	if (gnutls_x509_crt_get_basic_constraints(options->parent->certificate,
		NULL, NULL, &length) < 0 ||
	    (length >= 0 && (int)options->path_length >= length))
		return fail(why, REASON_RANGE,
		    "path length %u: the authority above allows %d below "
		    "itself, this one needs %u",
		    options->path_length, length, options->path_length + 1);
	return true;
}

static bool
set_constraints(gnutls_x509_crt_t crt, const struct authority_options *options,
    struct reason *why)
{
	gnutls_x509_name_constraints_t constraints;
	bool ok = true;
	int rc = 0;

	if (options->permitted_count + options->excluded_count == 0)
		return true;
	if (gnutls_x509_name_constraints_init(&constraints) < 0)
		return fail(why, REASON_NO_MEMORY, "name constraints");
	for (size_t i = 0; ok && i < options->permitted_count; i++)
		ok = pki_name_constrain(constraints, true,
		    options->permitted[i], why);
	for (size_t i = 0; ok && i < options->excluded_count; i++)
		ok = pki_name_constrain(constraints, false,
		    options->excluded[i], why);
	if (ok)
		rc = gnutls_x509_crt_set_name_constraints(crt, constraints, 1);
	gnutls_x509_name_constraints_deinit(constraints);
	return ok && (rc >= 0 || make_failed(why, "name constraints", rc));
}

static bool
fill(gnutls_x509_crt_t crt, const struct pki_key *key,
    const struct authority_options *options, gnutls_datum_t *pem_out,
    struct reason *why)
{
	const struct authority *parent = options->parent;
	struct make_issuer issuer = { NULL, key };
	time_t now = time(NULL);
	struct make_common common = {
		.common_name = options->common_name,
		.not_before = now - MAKE_BACKDATE_S,
		.not_after = now + (time_t)options->days * MAKE_DAY_S,
	};
	int rc;

	if (parent != NULL) {
		issuer =
		    (struct make_issuer){ parent->certificate, &parent->key };
		common.not_after = authority_end(parent, now, options->days);
	}
	if (!make_serial(common.serial, why))
		return false;
	rc = make_begin(crt, &common, key->public_key);
	if (rc >= 0)
		rc = gnutls_x509_crt_set_basic_constraints(crt, 1,
		    (int)options->path_length);
	if (rc >= 0)
		rc = gnutls_x509_crt_set_key_usage(crt,
		    GNUTLS_KEY_KEY_CERT_SIGN | GNUTLS_KEY_CRL_SIGN);
	if (rc < 0)
		return make_failed(why, "certificate of the authority", rc);
	return set_constraints(crt, options, why) &&
	       make_end(crt, key->public_key, &issuer, pem_out, why);
}

/* The parent, and what is above it. */
static bool
write_above(const char *folder, const struct authority *parent,
    struct reason *why)
{
	gnutls_datum_t all;
	char path[PATH_MAX];
	bool ok;

	if (parent == NULL)
		return true;
	if (!authority_path(path, folder, "chain.pem", why) ||
	    !pki_octets_join(&parent->pem, &parent->above, &all, why))
		return false;
	ok =
	    pki_file_write(path, all.data, all.size, PKI_CHAIN_MODE, true, why);
	pki_octets_wipe(&all);
	return ok;
}

static bool
write_authority(const char *folder, const char *path, const struct pki_key *key,
    const struct authority_options *options, struct reason *why)
{
	gnutls_datum_t pem = { 0 };
	gnutls_x509_crt_t crt;
	bool ok;

	if (gnutls_x509_crt_init(&crt) < 0)
		return fail(why, REASON_NO_MEMORY, "certificate");
	ok = fill(crt, key, options, &pem, why) &&
	     write_above(folder, options->parent, why) &&
	     pki_file_write(path, pem.data, pem.size, PKI_CHAIN_MODE, false,
		 why);
	pki_octets_wipe(&pem);
	gnutls_x509_crt_deinit(crt);
	return ok;
}

/* Key and certificate.  A key without a certificate is what a crash left: it is
 * used. */
static bool
create(const char *folder, const char *pem_path, const char *key_path,
    const struct authority_options *options, struct reason *why)
{
	struct pki_key key;
	bool linked = false;
	bool ok = options->key_url == NULL ||
		  pki_key_link(key_path, options->key_url, &linked, why);

	if (ok && (ok = pki_key_get(&key, key_path, options->algorithm,
		       options->passphrase, why))) {
		ok = write_authority(folder, pem_path, &key, options, why);
		pki_key_free(&key);
	}
	if (!ok && linked)
		unlink(key_path);
	return ok;
}

bool
authority_create(const char *folder, const struct authority_options *options,
    struct reason *why)
{
	char pem_path[PATH_MAX], key_path[PATH_MAX];
	bool ok;
	int lock;

	if (!authority_days_check(options->days, why) ||
	    !check_common_name(options->common_name, why) ||
	    !check_path_length(options, why) ||
	    !authority_path(pem_path, folder, "ca.pem", why) ||
	    !authority_path(key_path, folder, "ca.key", why))
		return false;
	if (mkdir(folder, 0755) < 0 && errno != EEXIST)
		return fail_errno(why, "%s", folder);
	lock = folder_lock(folder, why);
	if (lock < 0)
		return false;
	ok = access(pem_path, F_OK) == 0
		 ? fail(why, REASON_EXISTS, "%s: exists already", pem_path)
		 : create(folder, pem_path, key_path, options, why);
	close(lock);
	return ok;
}
