/*
 * pki/check_pair.c: what is wrong with a certificate, its chain and its key.
 *
 * Certificates may come from strangers: whatever of theirs gets into a text is
 * made printable (check_say).
 */
#include "check_internal.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cert.h"

enum { DAY_S = 86400 };

/* --- one certificate ----------------------------------------------------- */

void
check_one_init(struct check_one *one, const struct check_options *options,
    const char *path, gnutls_x509_crt_t crt)
{
	size_t size = sizeof(one->name);

	one->options = options;
	one->path = path;
	one->crt = crt;
	if (gnutls_x509_crt_get_dn(crt, one->name, &size) < 0)
		strcpy(one->name, "?");
}

static bool
is_self_issued(gnutls_x509_crt_t crt)
{
	return gnutls_x509_crt_check_issuer(crt, crt);
}

void
check_print_time(char out[static CHECK_TIME_SIZE], time_t when)
{
	struct tm tm;

	if (gmtime_r(&when, &tm) == NULL ||
	    strftime(out, CHECK_TIME_SIZE, "%Y-%m-%dT%H:%M:%SZ", &tm) == 0)
		strcpy(out, "?");
}

void
check_dates(const struct check_one *one)
{
	const struct check_options *o = one->options;
	time_t from = gnutls_x509_crt_get_activation_time(one->crt);
	time_t until = gnutls_x509_crt_get_expiration_time(one->crt);
	char text[CHECK_TIME_SIZE];

	check_print_time(text, until < o->now || from <= o->now ? until : from);
	if (until < o->now)
		check_say(o, CHECK_EXPIRED, one->path,
		    "%s: expired %s, renew it", one->name, text);
	else if (from > o->now)
		check_say(o, CHECK_NOT_YET_VALID, one->path,
		    "%s: not yet valid, only from %s: is the clock right?",
		    one->name, text);
	else if (until - o->now <= (time_t)o->near_days * DAY_S)
		check_say(o, CHECK_NEAR_END, one->path,
		    "%s: expires %s, in %lld days, renew it", one->name, text,
		    (long long)(until - o->now) / DAY_S);
}

void
check_strength(const struct check_one *one)
{
	unsigned bits = 0;
	int pk = gnutls_x509_crt_get_pk_algorithm(one->crt, &bits);
	int sign = gnutls_x509_crt_get_signature_algorithm(one->crt);
	const char *name;

	if (pk >= 0 &&
	    gnutls_pk_bits_to_sec_param(pk, bits) < GNUTLS_SEC_PARAM_MEDIUM)
		check_say(one->options, CHECK_WEAK_KEY, one->path,
		    "%s: its key is weak, %s of %u bits, expected ECDSA, "
		    "Ed25519, or RSA of 2048 or more",
		    one->name, gnutls_pk_get_name(pk), bits);
	/* Nobody looks at the signature of a root. */
	if (sign < 0 || is_self_issued(one->crt) ||
	    gnutls_sign_is_secure2(sign, GNUTLS_SIGN_FLAG_SECURE_FOR_CERTS))
		return;
	name = gnutls_sign_get_name(sign);
	check_say(one->options, CHECK_WEAK_HASH, one->path,
	    "%s: its signature is weak, %s, have it issued again with SHA-256 "
	    "or better",
	    one->name, name != NULL ? name : "of an unknown kind");
}

static void
check_purposes(const struct check_one *one, const struct check_pair *pair)
{
	if (pair->for_server &&
	    cert_purpose(one->crt, CERT_FOR_SERVER) != PURPOSE_YES)
		check_say(one->options, CHECK_PURPOSE_SERVER, one->path,
		    "its extended key usage lacks serverAuth, have one issued "
		    "for servers");
	if (pair->for_client &&
	    cert_purpose(one->crt, CERT_FOR_CLIENT) != PURPOSE_YES)
		check_say(one->options, CHECK_PURPOSE_CLIENT, one->path,
		    "its extended key usage lacks clientAuth, have one issued "
		    "for clients (public authorities do not do that any more, "
		    "an authority of one's own does)");
}

/* --- names --------------------------------------------------------------- */

/* "a, b, c" of the DNS names, cut to size; empty: there is none. */
static void
print_names(gnutls_x509_crt_t crt, char *out, size_t size)
{
	char *names = NULL;
	size_t len = 0, at = 0;

	out[0] = '\0';
	if (!cert_names(crt, &names, &len, NULL))
		return;
	for (const char *name = names; name != NULL && name < names + len;
	     name += strlen(name) + 1)
		if (strncmp(name, "dns:", 4) == 0 && at < size)
			at += (size_t)snprintf(out + at, size - at, "%s%s",
			    at == 0 ? "" : ", ", name + 4);
	free(names);
}

static bool
has_address(gnutls_x509_crt_t crt, int family, const char *host)
{
	unsigned char octets[16];

	return inet_pton(family, host, octets) == 1 &&
	       gnutls_x509_crt_check_ip(crt, octets, family == AF_INET ? 4 : 16,
		   0);
}

/* The library takes a common name where there is no DNS name; we do not. */
static bool
has_name(gnutls_x509_crt_t crt, const char *host)
{
	char names[8];

	if (has_address(crt, AF_INET, host) || has_address(crt, AF_INET6, host))
		return true;
	print_names(crt, names, sizeof(names));
	return names[0] != '\0' && gnutls_x509_crt_check_hostname(crt, host);
}

bool
check_has_name(const gnutls_datum_t *chain, const char *host)
{
	gnutls_x509_crt_t *crts;
	unsigned count;
	bool ok;

	if (!cert_chain_parse(chain, &crts, &count, NULL))
		return false;
	ok = has_name(crts[0], host);
	cert_chain_free(crts, count);
	return ok;
}

/* Any that a server could be asked for? */
static bool
has_any_name(gnutls_x509_crt_t crt)
{
	char *names = NULL;
	size_t len = 0;
	bool found = false;

	if (!cert_names(crt, &names, &len, NULL))
		return false;
	for (const char *name = names; name != NULL && name < names + len;
	     name += strlen(name) + 1)
		found |= strncmp(name, "email:", 6) != 0;
	free(names);
	return found;
}

static void
check_name(const struct check_one *one, const struct check_pair *pair)
{
	const char *host = pair->host;
	char names[256];

	if (host == NULL ? !pair->for_server || has_any_name(one->crt)
			 : has_name(one->crt, host))
		return;
	print_names(one->crt, names, sizeof(names));
	if (names[0] == '\0')
		check_say(one->options, CHECK_NAME_MISSING, one->path,
		    "no DNS name in its subjectAltName, and the common name "
		    "does not count, have one issued for %s",
		    host != NULL ? host : "the name that clients ask for");
	else
		check_say(one->options, CHECK_NAME_OTHER, one->path,
		    "it is for %s, clients that connect to %s refuse it, have "
		    "one issued for that name",
		    names, host);
}

/* --- chain and key ------------------------------------------------------- */

static bool
is_known(const struct check_options *o, gnutls_x509_crt_t crt)
{
	gnutls_x509_crt_t issuer;
	unsigned status = 0;
	bool known;

	if (o->anchors == NULL || gnutls_x509_trust_list_get_issuer(o->anchors,
				      crt, &issuer, GNUTLS_TL_GET_COPY) < 0)
		return false;
	/* Two authorities may have one name. */
	known = gnutls_x509_crt_verify(crt, &issuer, 1, 0, &status) >= 0 &&
		(status & (GNUTLS_CERT_SIGNER_NOT_FOUND |
			      GNUTLS_CERT_SIGNATURE_FAILURE)) == 0;
	gnutls_x509_crt_deinit(issuer);
	return known;
}

static void
check_end(const struct check_one *last, unsigned count)
{
	char issuer[CHECK_DN_SIZE];
	size_t size = sizeof(issuer);

	if (is_self_issued(last->crt)) {
		if (count == 1)
			check_say(last->options, CHECK_SELF_SIGNED, last->path,
			    "it is self-signed: only who knows its key trusts "
			    "it, have one issued by an authority");
		return;
	}
	if (is_known(last->options, last->crt))
		return;
	if (gnutls_x509_crt_get_issuer_dn(last->crt, issuer, &size) < 0)
		strcpy(issuer, "?");
	check_say(last->options, CHECK_CHAIN_INCOMPLETE, last->path,
	    "the chain is incomplete: %s, who issued its last certificate, is "
	    "neither in the file nor an anchor we know, append that one's",
	    issuer);
}

bool
check_key(const struct check_options *options, const char *path,
    const gnutls_datum_t *key)
{
	unsigned char spki[SPKI_OCTETS];
	struct reason why;

	if (!check_size(options, path, key, CHECK_PAIR_OCTETS))
		return false;
	if (cert_key_spki(key, spki, &why))
		return true;
	check_say(options, CHECK_BROKEN, path, "%s", why.text);
	return false;
}

static void
check_match(const struct check_options *o, const struct check_pair *pair,
    gnutls_x509_crt_t *chain, unsigned count)
{
	unsigned char of_key[SPKI_OCTETS], of_crt[SPKI_OCTETS];
	unsigned i;

	if (pair->key == NULL || !cert_key_spki(pair->key, of_key, NULL))
		return;
	for (i = 0; i < count; i++)
		if (cert_spki(chain[i], of_crt, NULL) &&
		    memcmp(of_crt, of_key, SPKI_OCTETS) == 0)
			break;
	if (i == count)
		check_say(o, CHECK_KEY_MISMATCH, pair->key_path,
		    "the key does not belong to the certificate in %s, "
		    "expected the key that one was issued for",
		    pair->chain_path);
	else if (i > 0)
		check_say(o, CHECK_CHAIN_ORDER, pair->chain_path,
		    "the key belongs to certificate %u of the chain, expected "
		    "that one first and its issuers after it",
		    i + 1);
}

void
check_pair(const struct check_options *options, const struct check_pair *pair)
{
	gnutls_x509_crt_t *chain;
	struct reason why;
	struct check_one one;
	unsigned count;

	if (!check_size(options, pair->chain_path, pair->chain,
		CHECK_PAIR_OCTETS))
		return;
	check_inside(options, pair->chain_path, pair->chain);
	if (!cert_chain_parse(pair->chain, &chain, &count, &why)) {
		check_say(options, CHECK_BROKEN, pair->chain_path, "%s",
		    why.text);
		return;
	}
	check_match(options, pair, chain, count);
	if (!cert_chain_in_order(chain, count, &why)) {
		check_say(options, CHECK_CHAIN_ORDER, pair->chain_path, "%s",
		    why.text);
	} else {
		check_one_init(&one, options, pair->chain_path,
		    chain[count - 1]);
		check_end(&one, count);
	}
	check_one_init(&one, options, pair->chain_path, chain[0]);
	check_name(&one, pair);
	check_purposes(&one, pair);
	for (unsigned i = 0; i < count; i++) {
		check_one_init(&one, options, pair->chain_path, chain[i]);
		check_strength(&one);
		check_dates(&one);
	}
	cert_chain_free(chain, count);
}
