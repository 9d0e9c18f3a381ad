/*
 * policy/facts.h: what a connection achieved, as plain data.
 *
 * tls/ fills it in, policy/ judges it, server/ carries it from one to the
 * other and logs it.  Includes nothing of ours.
 */
#ifndef POLICY_FACTS_H
#define POLICY_FACTS_H

#include <stdbool.h>
#include <stddef.h>

enum {
	SPKI_OCTETS = 32, /* SHA-256 of the SubjectPublicKeyInfo */
	FACTS_CHAINS = 8, /* anchor sets one demand can name */
};

/* How the presented chain fared against one set of trust anchors. */
enum chain_state {
	CHAIN_UNCHECKED, /* not asked; never means good */
	CHAIN_GOOD,      /* path, validity, revocation, strength hold */
	CHAIN_UNTRUSTED,
	CHAIN_SELF_SIGNED,
	CHAIN_EXPIRED,
	CHAIN_NOT_YET_VALID,
	CHAIN_REVOKED,
	CHAIN_REVOCATION_UNKNOWN,
	CHAIN_UNSTAPLED, /* a good OCSP response had to come along (RFC 7633) */
	CHAIN_WEAK,
	CHAIN_BAD, /* could not be parsed or verified at all */
};

/* What the end entity's extended key usage says for the wanted purpose. */
enum purpose_state {
	PURPOSE_UNKNOWN, /* no certificate */
	PURPOSE_YES,
	PURPOSE_OTHER, /* EKU present, wanted purpose not in it */
	PURPOSE_NONE,  /* no EKU extension: never enough */
};

/* What TLSA records say of the certificate (RFC 7672). */
enum dane_state {
	DANE_UNCHECKED, /* not asked; never means good */
	DANE_GOOD,      /* a secure, usable record matches */
	DANE_NONE,      /* none that DNSSEC proves, or none usable */
	DANE_MISMATCH,  /* secure and usable ones, but none matches */
	DANE_FAILED,    /* bogus, or the lookup failed: for the time being */
};

struct facts {
	bool tls;         /* false: clear text, all below is zero */
	unsigned version; /* 12 or 13 */
	unsigned bits;    /* cipher key bits */
	bool resumed;
	char suite[64]; /* IANA name */
	char group[24]; /* lower case IANA name, or "" */

	bool peer_cert; /* a certificate was presented */
	enum purpose_state purpose;
	unsigned char spki[SPKI_OCTETS]; /* of the end entity */
	long long not_after;             /* of the end entity, Unix seconds */
	char subject[256];               /* RFC 4514, cut; for logs only */
	char issuer[256];                /* RFC 4514 DN of the issuer */
	char organisation[128];          /* O of the subject, or "" */
	char issuer_organisation[128];   /* O of the issuer, or "" */

	/*
	 * Presented identifiers (SAN only, never the CN): NUL-terminated
	 * strings one after the other, "dns:" or "ip:" or "email:" first;
	 * DNS names in lower case without trailing dot, addresses in the
	 * form of inet_ntop.  Borrowed from the TLS session.
	 */
	const char *names;
	size_t names_len;

	/* A name that DNSSEC proves to stand for the next hop: the target of
	 * its SRV records, compared beside the next hop's own; "" for none. */
	char proved_name[256];

	/* chain[i] belongs to the demand's anchor set i. */
	enum chain_state chain[FACTS_CHAINS];

	enum dane_state dane;
	char dane_text[128];

	bool requiretls; /* the next hop offers it inside TLS (RFC 8689) */

	/* Instead of TLS: why there is none (an enum reason_code), for the
	 * relay: not offered, refused, handshake failed.  0 otherwise. */
	int why_not;
	char why_not_text[128];
};

#endif
