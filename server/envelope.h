/*
 * server/envelope.h: what the spool keeps beside a message's octets.
 *
 * Encoded as tagged fields (tag u8, bytes), unknown tags are skipped, so that
 * a later program reads earlier queues and the other way round.
 */
#ifndef SERVER_ENVELOPE_H
#define SERVER_ENVELOPE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "../policy/reason.h"
#include "wire.h"

enum {
	QUEUE_ID_SIZE = 20,
	ENVELOPE_OCTETS_MAX = 4 * 1024 * 1024,
	ENVELOPE_STRING_MAX = 1024, /* octets of any one string */
	ENVELOPE_RECIPIENTS_MAX = 65535,
};

/* Bits of envelope_recipient.notify (RFC 3461, section 4.1). */
enum notify {
	NOTIFY_NEVER = 1,
	NOTIFY_SUCCESS = 2,
	NOTIFY_FAILURE = 4,
	NOTIFY_DELAY = 8,
};

/* Values of envelope.ret (RFC 3461, section 4.3). */
enum ret {
	RET_FULL = 1,
	RET_HDRS = 2,
};

struct envelope_recipient {
	char *forward_path; /* without angle brackets */
	uint8_t notify;     /* RFC 3461 bits, 0: not given */
	char *orcpt;        /* as it was given, in xtext; or NULL */
};

struct envelope {
	char queue_id[QUEUE_ID_SIZE];
	int64_t arrival_ms; /* Unix milliseconds */
	char *reverse_path; /* without angle brackets; "" is the null one */
	char *login;        /* local@realm who submitted, or NULL */
	char *client;       /* client's address literal, for the operator */
	char *listener;     /* or NULL (bounces) */
	char *tls;          /* "TLS1.3 TLS_AES_256_GCM_SHA384", or NULL */
	char *session_id;   /* log id of the session, or NULL */
	uint64_t size;      /* octets of head and body together */
	bool eight_bit;     /* BODY=8BITMIME was declared */
	bool smtputf8;      /* MAIL said SMTPUTF8 (RFC 6531, section 3.4) */
	bool utf8_header;   /* then: a header field is not ASCII */
	bool requiretls;   /* MAIL said REQUIRETLS (RFC 8689, section 4) */
	bool notice;       /* made from an alarm: dropped when it fails, never
			      bounced or held; counts in our own log only */
	bool tls_optional; /* header field "TLS-Required: No" (section 3) */
	bool device;       /* login is a device's */
	uint8_t ret;       /* RFC 3461 RET, 0: not given */
	char *envid;       /* as it was given, in xtext; or NULL */
	struct envelope_recipient *recipients;
	size_t recipient_count;
};

/* A new unique queue id: letters and digits, usable in a Message-ID, sorted by
 * time when compared as octets.  Threads: any. */
void envelope_queue_id(char out[static QUEUE_ID_SIZE]);

/* All strings are malloc'd and owned.  Threads: each envelope belongs to one.
 */
void envelope_init(struct envelope *envelope);
void envelope_fini(struct envelope *envelope);
/* Take back the recipient added last. */
void envelope_drop_recipient(struct envelope *envelope);
/* path is copied; false without memory or past the bound. */
bool envelope_add_recipient(struct envelope *envelope, const char *path);
/* Exactly what envelope_encode writes. */
size_t envelope_encoded_size(const struct envelope *envelope);
void envelope_encode(const struct envelope *envelope, struct wire_writer *w);
/*
 * The octets may come from a compromised writer: every string is bounded and
 * refused if it holds control characters, so that none can end a command or
 * a header field later on.  On failure nothing is left to free.
 */
bool envelope_decode(struct envelope *envelope_out, const void *octets,
    size_t len, struct reason *why);

#endif
