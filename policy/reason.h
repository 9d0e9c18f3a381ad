/*
 * policy/reason.h: why something failed.
 *
 * The code decides (which reply, retry or bounce); the text explains to an
 * operator and never holds a secret.  Every part of Sallyport may include this
 * header; it includes nothing of ours.
 */
#ifndef POLICY_REASON_H
#define POLICY_REASON_H

#include <stdarg.h>
#include <stdbool.h>

enum reason_code {
	REASON_NONE,       /* nothing failed */
	REASON_NO_MEMORY,  /* ends one session or attempt, not the process */
	REASON_IO,         /* a file or socket call failed; text has errno */
	REASON_NO_SPACE,   /* disk or spool budget full: 452 4.3.1 */
	REASON_SYNTAX,     /* text from outside does not parse */
	REASON_RANGE,      /* parses, but is out of the allowed range */
	REASON_ABSENT,     /* what was asked for does not exist */
	REASON_EXISTS,     /* what was to be made exists */
	REASON_PERMISSION, /* file mode, owner, or peer's identity */
	REASON_PROTOCOL,   /* another process or server broke the protocol */
	REASON_TIMEOUT,
	REASON_AWAY,     /* another role is away or restarting */
	REASON_INTERNAL, /* library refused something that should work */
	REASON_DAMAGED,  /* checksum or structure of a file is wrong */

	/* TLS and certificates; these are what decisions carry. */
	REASON_STARTTLS_NOT_OFFERED,
	REASON_STARTTLS_REFUSED,  /* offered, but answered 4xx or 5xx */
	REASON_STARTTLS_INJECTED, /* octets between STARTTLS and handshake */
	REASON_CLEARTEXT,         /* the client has not started TLS */
	REASON_HANDSHAKE_FAILED,
	REASON_PROTOCOL_TOO_OLD, /* below min= */
	REASON_CIPHER_TOO_WEAK,  /* below bits= */
	REASON_CERT_MISSING,
	REASON_CERT_UNTRUSTED, /* no path to a configured trust anchor */
	REASON_CERT_SELF_SIGNED,
	REASON_CERT_EXPIRED,
	REASON_CERT_NOT_YET_VALID,
	REASON_CERT_REVOKED,
	REASON_CERT_REVOCATION_UNKNOWN, /* CRL or staple stale or missing */
	REASON_CERT_WEAK,               /* key or signature too weak */
	REASON_CERT_PURPOSE,            /* EKU lacks serverAuth or clientAuth */
	REASON_CERT_NO_PURPOSE,         /* no EKU at all: not enough */
	REASON_CERT_NO_SAN,             /* name in the CN only */
	REASON_CERT_NAME,               /* SAN names somebody else */
	REASON_CERT_PIN,                /* key is none of pin= */
	REASON_CERT_ISSUER,             /* issuer= not met */
	REASON_CERT_ORGANISATION,       /* org= not met */
	REASON_CERT_BAD,       /* cannot be parsed, or chain too long */
	REASON_TABLE,          /* the site table could not be read */
	REASON_DANE_REQUIRED,  /* no usable TLSA record that DNSSEC proves */
	REASON_TLSA_INVALID,   /* there are some, and none matches */
	REASON_DNSSEC_INVALID, /* bogus, or the lookup failed */
	REASON_RATCHET,        /* less than the site has shown before */
	REASON_REQUIRETLS,     /* the next hop does not offer REQUIRETLS */

	/* The remote side of the relay. */
	REASON_CONNECT,  /* no address could be connected */
	REASON_LOOKUP,   /* name does not resolve, or lookup failed */
	REASON_UPSTREAM, /* smarthost replied 4xx or 5xx */
	REASON_AUTH,     /* login refused */
	REASON_EXPIRED,  /* message stayed in the queue too long */

	REASON_CODES /* how many there are */
};

enum { REASON_TEXT_MAX = 256 };

struct reason {
	enum reason_code code;
	char text[REASON_TEXT_MAX];
};

/*
 * Fill why (NULL is allowed) and return false, so that callers can write
 * "return fail(why, ...)".  Text that does not fit is cut.  Threads: any.
 */
bool fail(struct reason *why, enum reason_code code, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* As fail, with errno's text appended as ": text".  Code is REASON_NO_SPACE
 * for ENOSPC and EDQUOT, REASON_PERMISSION for EACCES and EPERM, REASON_ABSENT
 * for ENOENT, REASON_NO_MEMORY for ENOMEM, else REASON_IO. */
bool fail_errno(struct reason *why, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* Stable word for logs and JSON, such as "certificate-expired".  Static. */
const char *reason_word(enum reason_code code);

/* RFC 8460, section 4.3 result type, such as "starttls-not-supported", or ""
 * where none fits.  Static. */
const char *reason_result_type(enum reason_code code);

#endif
