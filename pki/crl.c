/*
 * pki/crl.c: what an authority has taken back, signed for others.
 */
#include "crl.h"

#include <gnutls/abstract.h>
#include <gnutls/x509.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>

#include "authority_internal.h"
#include "file.h"
#include "ledger.h"

enum { NUMBER_OCTETS = 20, KEY_ID_MAX = 64 };

bool
authority_revoke(struct authority *authority, const char *serial,
    struct reason *why)
{
	const struct ledger_entry *entry;
	struct ledger ledger;
	bool ok;

	if (!ledger_read(&ledger, authority->folder, why))
		return false;
	entry = ledger_find(&ledger, serial);
	if (entry == NULL)
		ok = fail(why, REASON_ABSENT,
		    "%.64s: the authority in %s has issued no such "
		    "certificate",
		    serial, authority->folder);
	else if (entry->revoked != 0)
		ok = fail(why, REASON_EXISTS, "%s: revoked already", serial);
	else
		ok = ledger_add_revoked(authority->folder, serial, time(NULL),
		    why);
	ledger_free(&ledger);
	return ok;
}

/* The list that is there, or NULL. */
static gnutls_x509_crl_t
read_crl(const char *path)
{
	gnutls_x509_crl_t crl = NULL;
	gnutls_datum_t pem;

	if (!pki_file_read(path, false, &pem, NULL))
		return NULL;
	if (gnutls_x509_crl_init(&crl) >= 0 &&
	    gnutls_x509_crl_import(crl, &pem, GNUTLS_X509_FMT_PEM) < 0) {
		gnutls_x509_crl_deinit(crl);
		crl = NULL;
	}
	pki_octets_wipe(&pem);
	return crl;
}

/* Of the list that is there; 0: none. */
static uint64_t
number_before(const char *path)
{
	gnutls_x509_crl_t crl = read_crl(path);
	unsigned char octets[NUMBER_OCTETS];
	size_t size = sizeof(octets);
	uint64_t number = 0;

	if (crl == NULL)
		return 0;
	if (gnutls_x509_crl_get_number(crl, octets, &size, NULL) >= 0)
		for (size_t i = 0; i < size; i++)
			number = number << 8 | octets[i];
	gnutls_x509_crl_deinit(crl);
	return number;
}

bool
crl_ends_before(const char *folder, time_t then)
{
	gnutls_x509_crl_t crl;
	char path[PATH_MAX];
	bool ends;

	if (!authority_path(path, folder, "crl.pem", NULL) ||
	    (crl = read_crl(path)) == NULL)
		return false;
	ends = gnutls_x509_crl_get_next_update(crl) < then;
	gnutls_x509_crl_deinit(crl);
	return ends;
}

static int
set_number(gnutls_x509_crl_t crl, uint64_t number)
{
	unsigned char octets[sizeof(number)];

	for (size_t i = sizeof(octets); i > 0; i--, number >>= 8)
		octets[i - 1] = (unsigned char)number;
	return gnutls_x509_crl_set_number(crl, octets, sizeof(octets));
}

static int
set_entries(gnutls_x509_crl_t crl, const struct ledger *ledger, time_t now)
{
	unsigned char serial[SERIAL_OCTETS];
	int rc = 0;

	for (size_t i = 0; i < ledger->count && rc >= 0; i++) {
		const struct ledger_entry *entry = &ledger->entries[i];

		if (entry->revoked == 0 || entry->expires < now ||
		    !ledger_parse_serial(entry->serial, serial))
			continue;
		rc = gnutls_x509_crl_set_crt_serial(crl, serial, sizeof(serial),
		    entry->revoked);
	}
	return rc;
}

static int
set_issuer(gnutls_x509_crl_t crl, gnutls_x509_crt_t issuer)
{
	unsigned char id[KEY_ID_MAX];
	size_t size = sizeof(id);
	int rc = gnutls_x509_crt_get_subject_key_id(issuer, id, &size, NULL);

	return rc >= 0 ? gnutls_x509_crl_set_authority_key_id(crl, id, size)
		       : rc;
}

static bool
fill(gnutls_x509_crl_t crl, const struct authority *authority,
    const struct ledger *ledger, unsigned days, uint64_t before,
    gnutls_datum_t *out, struct reason *why)
{
	gnutls_datum_t pem = { 0 };
	time_t now = time(NULL);
	uint64_t number = (uint64_t)now > before ? (uint64_t)now : before + 1;
	int rc = gnutls_x509_crl_set_version(crl, 2);

	if (rc >= 0)
		rc =
		    gnutls_x509_crl_set_this_update(crl, now - MAKE_BACKDATE_S);
	if (rc >= 0)
		rc = gnutls_x509_crl_set_next_update(crl,
		    authority_end(authority, now, days));
	if (rc >= 0)
		rc = set_entries(crl, ledger, now);
	if (rc >= 0)
		rc = set_issuer(crl, authority->certificate);
	if (rc >= 0)
		rc = set_number(crl, number);
	if (rc >= 0)
		rc = gnutls_x509_crl_privkey_sign(crl, authority->certificate,
		    authority->key.private_key,
		    make_digest(authority->key.public_key), 0);
	if (rc >= 0)
		rc = gnutls_x509_crl_export2(crl, GNUTLS_X509_FMT_PEM, &pem);
	return rc >= 0 ? make_keep(&pem, out, why)
		       : make_failed(why, "revocation list", rc);
}

bool
authority_write_crl(struct authority *authority, unsigned days,
    struct reason *why)
{
	char path[PATH_MAX];
	gnutls_datum_t pem = { 0 };
	struct ledger ledger;
	gnutls_x509_crl_t crl;
	bool ok;

	if (days == 0 || days > CRL_DAYS_MAX)
		return fail(why, REASON_RANGE, "%u days, expected 1 to %d",
		    days, CRL_DAYS_MAX);
	if (!authority_path(path, authority->folder, "crl.pem", why) ||
	    !ledger_read(&ledger, authority->folder, why))
		return false;
	ok = gnutls_x509_crl_init(&crl) >= 0 ||
	     fail(why, REASON_NO_MEMORY, "revocation list");
	if (ok) {
		ok = fill(crl, authority, &ledger, days, number_before(path),
			 &pem, why) &&
		     pki_file_write(path, pem.data, pem.size, PKI_CHAIN_MODE,
			 true, why);
		gnutls_x509_crl_deinit(crl);
	}
	pki_octets_wipe(&pem);
	ledger_free(&ledger);
	return ok;
}
