/*
 * server/messages.h: every packet that crosses between two processes.
 *
 * A packet is its type (u8) and the fields named in the comment, written with
 * server/wire.h: u8 u16 u32 u64 numbers, s string, b bytes (u32 length each),
 * r[N] N raw octets, fd a passed descriptor.  Every receiver checks every
 * field and the end of the packet: the sender may be compromised.
 */
#ifndef SERVER_MESSAGES_H
#define SERVER_MESSAGES_H

enum role {
	ROLE_MASTER,
	ROLE_SESSION,
	ROLE_SIGNER,
	ROLE_AUTH,
	ROLE_HELPERS,
	ROLE_RELAY,
	ROLE_LOOKUP,
	ROLES
};

enum message {
	/* master to role; server/role.h reads them. */
	MASTER_HELLO = 1,  /* role u8, flags u8, threads u16, start-id u64,
	                      state folder s, user s, hostname s */
	MASTER_PREPARE,    /* number u32, fd: sealed memfd, a bundle */
	MASTER_COMMIT,     /* number u32: new work uses this one */
	MASTER_RETIRE,     /* number u32: end what is still on it */
	MASTER_PEER,       /* peer role u8, index u16, fd: channel */
	MASTER_LISTENER,   /* number u32, listener s, fd: listening socket */
	MASTER_CONTROL,    /* fd: listening control socket */
	MASTER_TICKET_KEY, /* listener s, r[64] */
	MASTER_START_ID,   /* u64: the session role that lives now */
	MASTER_STOP,       /* finish within u32 milliseconds */
	MASTER_STATUS,     /* u64: ask for ROLE_STATUS */
	MASTER_ALARM,      /* to relay: number u64, text s: to be mailed to
	                      alarm-mail */
	MASTER_TOKEN,      /* to auth: number u64 as asked, text s: why there
	                      is none, or "" and fd: to read the token from */
	MASTER_STAPLE,      /* to session: number u32, certificate s (its
	                       section), until u64 (Unix seconds), OCSP response
	                       b: staple it from now on */

	/* role to master */
	ROLE_READY = 32, /* confined, waiting for work */
	ROLE_PREPARED,   /* number u32 */
	ROLE_REFUSED,    /* number u32, text s */
	ROLE_UNUSED,     /* number u32: nothing uses it any more */
	ROLE_STATUS,     /* u64 as asked, JSON object s */
	ROLE_STOPPED,    /* nothing left to do */
	ROLE_ALARM_KEPT, /* number u64 of MASTER_ALARM: its mail is on stable
	                    storage */
	ROLE_WANTS_TOKEN, /* auth: number u64, configuration u32, name s of an
	                     upstream login: one MASTER_TOKEN is to follow */

	/* session or relay to signer, one channel a thread; at most 256
	 * octets.  number u64, algorithm u32, is-data u8, r[32] SPKI,
	 * input b */
	SIGNER_SIGN = 64,
	/* signer back: number u64, ok u8, signature b */
	SIGNER_SIGNED,

	/*
	 * signer to the process that forks its children, or the master to a
	 * child of its own: server/pkcs11_worker.h.
	 */
	PKCS11_FORK = 66, /* fd: the child's channel */
	/* to a child, which has one key in a token */
	PKCS11_OPEN, /* URL s, PIN s ("": none), public key b (DER) */
	PKCS11_SIGN, /* tag r[16], side u8 (enum cert_purpose), algorithm u32,
	                is-data u8, r[32] SPKI, input b */
	/* back */
	PKCS11_OPENED, /* enum reason_code u32 (REASON_NONE: it is open),
	                  text s */
	PKCS11_SIGNED, /* tag r[16], signature b (none: it failed), enum
	                  reason_code u32, text s */

	/* session to auth: number u64 is the exchange */
	AUTH_START = 80, /* number, configuration u32, listener s,
	                    mechanism s, client address s (literal),
	                    has-initial u8, initial b (decoded octets),
	                    binding b (32 octets or none),
	                    identities b (none, or what the client's
	                    certificate is known by: 32 octets each, at most
	                    AUTH_IDENTITIES_MAX, first the digest of its key,
	                    which the client holds, then entry_san_id for each
	                    name and each authority of its good path), TLS
	                    version u8 */
	AUTH_STEP,       /* number, response b (decoded octets) */
	AUTH_ABORT,      /* number: client cancelled or left */
	AUTH_IN_CLEAR,   /* client address s: AUTH was tried before TLS */
	AUTH_SEEN,       /* login s, program s (at most AUTH_PROGRAM_MAX
	                    octets, what a client says of itself), client
	                    address s, practices u32 (auth/legacy.h): that
	                    login was granted and practised these; with
	                    LEGACY_IN_CLEAR perhaps only claimed */
	/* auth to session */
	AUTH_CHALLENGE, /* number, challenge b (decoded octets) */
	AUTH_RESULT,    /* number, enum auth_result u8, login s (local@realm;
	                   on failure what was claimed, may be ""), text s
	                   for the log, configuration-independent; with
	                   AUTH_GRANTED then server/grant.h */
	AUTH_CHANGED,   /* login s, text s for the log: this login, or what
	                   it may, was taken away or changed: sessions whose
	                   grant has it as login or owner end at once, and so
	                   do those whose AUTH_GRANTED came before this in the
	                   channel and has not reached them yet.  ""
	                   instead of a login: all sessions of logins end,
	                   too much has changed to tell it one by one */

	/* relay to auth, one channel a thread, blocking calls */
	LOGIN_START = 96, /* number u64, configuration u32, login name s
	                     (auth=NAME), mechanisms offered s (blank
	                     between), host s, binding b, TLS active u8 */
	LOGIN_STEP,       /* number, challenge b (decoded) */
	LOGIN_ABORT,      /* number */
	/* auth back */
	LOGIN_SEND,   /* number, mechanism s (first time only, else ""),
	                 has-octets u8, octets b (decoded), complete u8:
	                 with them said, a yes of the server counts */
	LOGIN_FAILED, /* number, text s */

	/* auth to helpers: number u64 is the attempt.  What begins one goes on
	 * with configuration u32 and deadline u32 (milliseconds, of the whole
	 * attempt, waits for the client included).  What a child says is
	 * answered before it says more. */
	HELPER_CHECK = 112, /* number, configuration, deadline, user s,
	                       password b, client address s: PAM */
	/* helpers to auth: it is over */
	HELPER_ANSWER, /* number, enum helper_answer u8, text s */
	/* auth to helpers */
	HELPER_EXCHANGE, /* number, configuration, deadline, mechanism s,
	                    has-initial u8, initial b (decoded octets):
	                    CRAM-MD5, DIGEST-MD5, GSSAPI */
	HELPER_STEP,     /* number, response b (decoded octets) */
	HELPER_SECRET,   /* number, secret b, at most 255 octets without NUL */
	HELPER_ABORT,    /* number: nobody waits for it any more */
	/* helpers to auth */
	HELPER_CHALLENGE,   /* number, challenge b (decoded octets): a
	                       HELPER_STEP is to follow */
	HELPER_NEED_SECRET, /* number, authentication identity s as claimed, at
	                       most 1000 octets: a HELPER_SECRET is to follow;
	                       once an attempt */
	HELPER_PROVED,      /* number, authentication identity s, authorization
	                       identity s ("": none): it is over, and whether
	                       it is granted auth's to say */

	/* auth to helpers */
	HELPER_TOKEN, /* number, configuration, deadline, token b, login for
	                 the introspection endpoint b (CLIENT-ID:SECRET, or
	                 none).  Answered by HELPER_ANSWER or by
	                 HELPER_PROVED, with the claim's value */

	/* relay to lookup, one channel a thread, blocking calls */
	LOOKUP_ADDRESSES = 128, /* number u64, host s */
	LOOKUP_TLSA,            /* number u64, host s, port u16 */
	LOOKUP_ANSWER,          /* number, enum lookup_answer u8, secure u8,
	                           count u8, each: family u8 (4 or 6),
	                           r[4] or r[16]; text s */
	LOOKUP_TLSA_ANSWER,     /* number u64, enum lookup_answer u8, base s
	                           (TLSA base domain), count u8, each: usage
	                           u8, selector u8, matching u8, data b;
	                           text s.  FOUND: proved by DNSSEC, and the
	                           host's addresses too */
	LOOKUP_SRV,                /* number u64, domain s: submission servers */
	LOOKUP_SRV_ANSWER,         /* number u64, and server/lookup_srv.h */

	/* session to relay */
	SPOOL_COMMITTED = 144, /* start-id u64, segment u32, end offset u64:
	                          all before end is on stable storage */
	SPOOL_CLOSED,          /* start-id u64, segment u32, end u64: nothing
	                          will be added to it */

	/* session to relay, on the same channel */
	SITE_DECIDED, /* a decision about a client: server/proof.h */
	/* relay to session */
	SITE_PROOF, /* what a next hop proved last: server/proof.h */

	/* tools to a role's control socket, and back.  A request is one
	 * packet; the answer is any number of CONTROL_DATA and then one
	 * CONTROL_END. */
	CONTROL_USER = 160, /* see auth/control.h */
	CONTROL_QUEUE,      /* see server/queue_control.h */
	CONTROL_SITES,      /* see server/book.h */
	CONTROL_STATUS,     /* nothing */
	CONTROL_RELOAD,     /* nothing */
	CONTROL_LEGACY,     /* see server/auth_legacy.h */
	CONTROL_DATA = 190, /* b */
	CONTROL_END,        /* ok u8, text s */
};

enum { AUTH_PROGRAM_MAX = 120 };

enum auth_result {
	AUTH_GRANTED,
	AUTH_DENIED,      /* 535 5.7.8 */
	AUTH_UNAVAILABLE, /* 454 4.7.0 */
	AUTH_MALFORMED,   /* 501 5.5.2 */
	AUTH_NO_MECHANISM, /* 504 5.5.4 */
};

enum helper_answer {
	HELPER_YES,
	HELPER_NO,
	HELPER_MALFORMED, /* this is not the mechanism's syntax */
	HELPER_TROUBLE,
	HELPER_DEADLINE,
	/* A child to the spawner: its request breaks the protocol. */
	HELPER_BROKEN,
};

enum lookup_answer {
	LOOKUP_FOUND,
	LOOKUP_NONE, /* the name does not exist or has no address */
	LOOKUP_TROUBLE, /* temporary, bogus included */
};

enum { AUTH_IDENTITIES_MAX = 64 };

#endif
