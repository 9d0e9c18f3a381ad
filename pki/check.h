/*
 * pki/check.h: what a mail administrator gets wrong about a certificate, its
 * key, trust anchors and lists of revoked ones, by name.
 *
 * An error cannot work at all or is unsafe; a warning still serves somebody.
 * Owns nothing, writes nothing.  Threads: any.
 */
#ifndef PKI_CHECK_H
#define PKI_CHECK_H

#include <gnutls/gnutls.h>
#include <gnutls/x509.h>
#include <stdbool.h>
#include <time.h>

enum check_word {
	/* Errors. */
	CHECK_UNREADABLE,   /* the file */
	CHECK_BROKEN,       /* what is in it */
	CHECK_KEY_MODE,     /* others can read the key, or write where it is */
	CHECK_KEY_UNUSABLE, /* of a kind or size that we do not sign with */
	CHECK_KEY_MISMATCH,
	CHECK_KEY_INSIDE, /* a private key among certificates */
	CHECK_CHAIN_ORDER,
	CHECK_FILE_MODE,   /* everybody can write it, or where it is */
	CHECK_MUST_STAPLE, /* it demands an OCSP response; none can be used */

	/* Warnings. */
	CHECK_GROUP_MODE,       /* its group can write it */
	CHECK_CHAIN_INCOMPLETE, /* as far as we know */
	CHECK_NAME_MISSING,     /* no DNS name in the subjectAltName */
	CHECK_NAME_OTHER,
	CHECK_PURPOSE_SERVER, /* serverAuth missing */
	CHECK_PURPOSE_CLIENT, /* clientAuth missing */
	CHECK_SELF_SIGNED,
	CHECK_WEAK_KEY,
	CHECK_WEAK_HASH,
	CHECK_EXPIRED,
	CHECK_NOT_YET_VALID,
	CHECK_NEAR_END,
	CHECK_CRL_BROKEN,
	CHECK_CRL_STALE,
	CHECK_CRL_ISSUER, /* none of the anchors has signed it */
	CHECK_STAPLE,     /* its OCSP response cannot be used */

	CHECK_WORDS /* how many there are; less than 32 */
};

/* "key-mismatch" and so on: they stay what they are. */
const char *check_word(enum check_word word);
bool check_is_error(enum check_word word);

struct check_finding {
	enum check_word word;
	const char *file;
	char text[640]; /* printable; what is wrong and what to do */
};

enum {
	CHECK_PAIR_OCTETS = 1024 * 1024, /* of a chain, or a key */
	/* Of anchors, or lists of revoked ones: more the server does not use.
	 */
	CHECK_ANCHORS_OCTETS = 8 * 1024 * 1024,
};

typedef void (
    *check_report)(void *context, const struct check_finding *finding);

struct check_options {
	time_t now;
	unsigned near_days; /* left of it: CHECK_NEAR_END */
	/* Anchors we know of, to tell whether a chain is complete; NULL: none.
	 */
	gnutls_x509_trust_list_t anchors;
	check_report report;
	void *context;
};

/* A chain (PEM, end entity first) and its key; key NULL: it is not known. */
struct check_pair {
	const char *chain_path, *key_path;
	const gnutls_datum_t *chain, *key;
	bool for_server, for_client;
	const char *host; /* that clients ask for; NULL: any */
};
void check_pair(const struct check_options *options,
    const struct check_pair *pair);

/* Can the key be read?  For check_pair it has to. */
bool check_key(const struct check_options *options, const char *path,
    const gnutls_datum_t *key);

/* Does one of the names of a chain's end entity stand for host (RFC 9525)? */
bool check_has_name(const gnutls_datum_t *chain, const char *host);

/* Are all certificates of it authorities'? */
bool check_are_authorities(const gnutls_datum_t *pem);

/* Trust anchors in PEM; each: and when they end, and whether they are weak. */
void check_anchors(const struct check_options *options, const char *path,
    const gnutls_datum_t *anchors, bool each);

/* Lists of revoked ones in PEM that one of these anchors should have signed;
 * anchors NULL: one of those we know of. */
void check_crls(const struct check_options *options, const char *path,
    const gnutls_datum_t *crls, const gnutls_datum_t *anchors);

/* Say so and be false if the file has more than that. */
bool check_size(const struct check_options *options, const char *path,
    const gnutls_datum_t *file, unsigned most);

/* Can others write the file, or a folder above it? */
void check_modes(const struct check_options *options, const char *path);

/* Report it; text may begin with the path and ": ", which is left out. */
void check_say(const struct check_options *options, enum check_word word,
    const char *file, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

#endif
