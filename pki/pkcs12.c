/* pki/pkcs12.c: key and certificates in one file. */
#include "pkcs12.h"

#include <gnutls/pkcs12.h>
#include <gnutls/x509.h>
#include <stdlib.h>
#include <string.h>

#include "cert.h"
#include "file.h"

/* AES and a MAC by SHA-256 are "a wrong password" to programs that are still
 * in use (Keychain, older Windows and Android).  The passphrase is a random
 * one, so that the strength of this is that of Triple DES itself. */
enum { ENCRYPTION = GNUTLS_PKCS_PKCS12_3DES };
static const gnutls_mac_algorithm_t mac = GNUTLS_MAC_SHA1;

enum { KEY_ID_MAX = 64 };

struct making {
	gnutls_x509_crt_t *chain;
	unsigned count;
	gnutls_x509_privkey_t key;
	gnutls_pkcs12_t p12;
	const char *name, *passphrase;
	gnutls_datum_t id; /* ties the key to its certificate */
	unsigned char id_octets[KEY_ID_MAX];
};

/* One that bag has at index is the end entity's. */
static int
mark(const struct making *m, gnutls_pkcs12_bag_t bag, unsigned index)
{
	int rc = gnutls_pkcs12_bag_set_friendly_name(bag, index, m->name);

	if (rc >= 0)
		rc = gnutls_pkcs12_bag_set_key_id(bag, index, &m->id);
	return rc;
}

static int
add_chain(const struct making *m)
{
	gnutls_pkcs12_bag_t bag;
	int rc = gnutls_pkcs12_bag_init(&bag);

	if (rc < 0)
		return rc;
	for (unsigned i = 0; i < m->count && rc >= 0; i++) {
		rc = gnutls_pkcs12_bag_set_crt(bag, m->chain[i]);
		if (rc >= 0 && i == 0)
			rc = mark(m, bag, (unsigned)rc);
	}
	if (rc >= 0)
		rc = gnutls_pkcs12_bag_encrypt(bag, m->passphrase, ENCRYPTION);
	if (rc >= 0)
		rc = gnutls_pkcs12_set_bag(m->p12, bag);
	gnutls_pkcs12_bag_deinit(bag);
	return rc;
}

static int
add_key(const struct making *m)
{
	gnutls_datum_t pkcs8 = { 0 };
	gnutls_pkcs12_bag_t bag;
	int rc = gnutls_pkcs12_bag_init(&bag);

	if (rc < 0)
		return rc;
	rc = gnutls_x509_privkey_export2_pkcs8(m->key, GNUTLS_X509_FMT_DER,
	    m->passphrase, ENCRYPTION, &pkcs8);
	if (rc >= 0)
		rc = gnutls_pkcs12_bag_set_data(bag,
		    GNUTLS_BAG_PKCS8_ENCRYPTED_KEY, &pkcs8);
	gnutls_free(pkcs8.data);
	if (rc >= 0)
		rc = mark(m, bag, (unsigned)rc);
	if (rc >= 0)
		rc = gnutls_pkcs12_set_bag(m->p12, bag);
	gnutls_pkcs12_bag_deinit(bag);
	return rc;
}

static int
make(struct making *m, const gnutls_datum_t *key_pem, gnutls_datum_t *out)
{
	size_t size = sizeof m->id_octets;
	int rc;

	rc = gnutls_x509_privkey_import2(m->key, key_pem, GNUTLS_X509_FMT_PEM,
	    NULL, GNUTLS_PKCS_PLAIN);
	if (rc >= 0)
		rc = gnutls_x509_privkey_get_key_id(m->key, 0, m->id_octets,
		    &size);
	m->id.data = m->id_octets;
	m->id.size = (unsigned)size;
	if (rc >= 0)
		rc = add_chain(m);
	if (rc >= 0)
		rc = add_key(m);
	if (rc >= 0)
		rc = gnutls_pkcs12_generate_mac2(m->p12, mac, m->passphrase);
	if (rc >= 0)
		rc = gnutls_pkcs12_export2(m->p12, GNUTLS_X509_FMT_DER, out);
	return rc;
}

bool
pkcs12_make(const gnutls_datum_t *chain_pem, const gnutls_datum_t *key_pem,
    const char *name, const char *passphrase, gnutls_datum_t *out,
    struct reason *why)
{
	struct making m = { .name = name, .passphrase = passphrase };
	int rc;

	if (!cert_chain_parse(chain_pem, &m.chain, &m.count, why))
		return false;
	rc = gnutls_x509_privkey_init(&m.key);
	if (rc >= 0)
		rc = gnutls_pkcs12_init(&m.p12);
	if (rc >= 0)
		rc = make(&m, key_pem, out);
	if (m.p12 != NULL)
		gnutls_pkcs12_deinit(m.p12);
	if (m.key != NULL)
		gnutls_x509_privkey_deinit(m.key);
	cert_chain_free(m.chain, m.count);
	return rc >= 0 ||
	       fail(why, REASON_INTERNAL, "PKCS#12: %s", gnutls_strerror(rc));
}
