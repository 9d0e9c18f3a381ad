/*
 * server/session.h: the session role from the inside: what its files share.
 *
 *   session.c           the role: its main thread, its pool, start and stop
 *   session_engine.c    one engine that drives sessions; arming, waking, end
 *   session_io.c        buffers, lines and replies, over a socket or TLS
 *   session_tls.c       greeting and handshake
 *   session_policy.c    asks the site table and keeps its verdict
 *   session_command.c   the table of commands, its gate, the simple ones
 *   session_auth.c      AUTH (RFC 4954)
 *   session_mail.c      MAIL, RCPT
 *   session_data.c      DATA and what follows until 250
 *   session_rights.c    what the login may send, and how much
 *   session_revoke.c    ends the sessions of a login
 *   session_listener.c  accepting connections
 *   session_link.c      the channel to auth
 *   session_relay.c     the channel to the relay
 *   session_proof.c     what next hops proved, as the relay says
 *   session_config.c    numbered configurations
 *   session_trial.c     their certificates, tried on a client of our own
 *   session_wheel.c     deadlines
 *   session_identity.c  what a client's certificate is known by
 *   session_limit.c     sessions per client
 *
 * Exactly one thread owns a session at a time, so its fields need no lock.  A
 * session is
 *   running   a thread drives it,
 *   armed     in the epoll set, one-shot: whoever gets the event owns it,
 *   parked    waiting for auth, the committer or the signer; not in the epoll
 *             set.  session_wake puts it back.
 * The fields other threads touch are atomic and say so.
 *
 * Locks, in the order of taking them:
 *   listener.lock, server.configurations, generation.lock, auth_link.lock,
 *   server.signer_wait, limit shards, rate shards, wheel.lock, relay_link.lock,
 *   proofs.lock
 */
#ifndef SERVER_SESSION_H
#define SERVER_SESSION_H

#include <pthread.h>
#include <stdatomic.h>
#include <sys/socket.h>

#include "../policy/facts.h"
#include "../policy/routes.h"
#include "../policy/table.h"
#include "../tls/tls.h"
#include "config.h"
#include "envelope.h"
#include "role.h"
#include "session_limit.h"
#include "session_link.h"
#include "session_proof.h"
#include "session_rate.h"
#include "session_wheel.h"
#include "smtp_data.h"
#include "smtp_parse.h"
#include "spool.h"
#include "submission_header.h"
#include "submission_parts.h"

enum {
	INPUT_SIZE = 16384,  /* one TLS record; holds the longest AUTH line */
	OUTPUT_MOST = 65536, /* a client that does not read gets no more */
	OUTPUT_PAUSE = 4096, /* replies collected before they are sent */
	SESSION_ID_SIZE = 13,
	ERRORS_MOST = 50, /* refused commands before 421 */
	LISTENERS_MOST = 256,
	LIVE_CONFIGURATIONS = 16,
	SIGNER_WAIT_S = 5, /* a 465 connection while the signer is away */
	CLOSING_S = 10,    /* to take our last reply */
	LINGER_S = 3,      /* for a client that goes on sending */
	LINGER_OCTETS = 256 * 1024,
};

/* What the epoll set points at; the first member of each. */
enum watch_kind {
	WATCH_SESSION,
	WATCH_LISTENER,
	WATCH_AUTH,
	WATCH_RELAY,
	WATCH_STOP,
};
struct watch {
	enum watch_kind kind;
};

/* A listening socket.  Slots are used again but never freed: a thread may
 * hold an event of one that is gone. */
struct listener {
	struct watch watch;
	pthread_mutex_t lock; /* guards what follows */
	int fd;               /* -1: free */
	uint32_t number;      /* the configuration it came with */
	char name[64];
	bool armed;   /* has been added to the epoll set */
	bool starved; /* no descriptor was left: a timer arms it */
	bool alarmed; /* and somebody was told */
};

/* One listener as a numbered configuration has it. */
struct service {
	const struct config_listener *config;
	struct tls_identity **identities;
	struct tls_staple *staples; /* of each; main thread only */
	struct tls_server *tls; /* under generation.lock */
};

/* Anchors with one CRL, made when first asked for. */
struct anchor_set {
	struct anchor_set *next;
	struct tls_anchors *anchors; /* NULL: could not be made */
	char *path, *crl;
};

/* A numbered configuration with all that was built from it. */
struct generation {
	struct generation *next; /* under server.configurations */
	uint32_t number;
	atomic_uint references;
	bool held;    /* the server's own reference: nothing followed it */
	bool retired; /* under lock: sessions are to leave */
	time_t since; /* it is in force; before sessions have it */
	struct config *config;
	struct table *table;
	struct routes *routes;    /* NULL: none */
	struct service *services; /* as config->listeners */
	struct pem_file *files;   /* anchors and CRLs as shipped */

	pthread_mutex_t lock; /* guards sessions, sets, services' tls */
	struct session *sessions;
	struct anchor_set *sets;
};

/* What every thread of the role sees. */
struct server {
	struct role_info info;
	int epoll;
	struct wheel wheel;
	struct limits *limits;
	struct rates *rates;
	struct spool *spool; /* made with the first configuration */
	struct auth_link *auth;
	struct relay_link *relay;
	struct proofs *proofs; /* of next hops */
	struct listener listeners[LISTENERS_MOST];

	pthread_rwlock_t configurations; /* guards the next two */
	struct generation *generations;
	struct generation *current;
	struct ticket_key *ticket_keys; /* main thread only */

	pthread_mutex_t signer_wait; /* guards the list of parked ones */
	struct session *awaiting_signer;

	atomic_uint sessions;
	atomic_ulong connections, accepted, refused;
	atomic_bool stopping;
};

extern struct server server;

/* Facts that commands need or bar; see session_command.c. */
enum {
	IN_TLS = 1,
	SAID_EHLO = 2,
	SAID_HELLO = 4, /* EHLO or HELO */
	AUTHED = 8,
	BY_PASSWORD = 16, /* EHLO and from rows do not apply */
	IN_MAIL = 32,
	HAS_RCPT = 64,
	/* What came of asking auth at this MAIL whose certificate it is. */
	IMPLICIT_DENIED = 128,
	IMPLICIT_AWAY = 256,
};

/* Bits of session.bits: who owns it, and what others say to the owner. */
enum {
	SESSION_ARMED = 1,    /* the kernel has it */
	SESSION_PARKED = 2,   /* only a waker may arm it */
	SESSION_WOKEN = 4,    /* do not park: there is something to look at */
	SESSION_EXPIRED = 8,  /* its deadline has passed */
	SESSION_LEAVE = 16,   /* its configuration goes: 421 4.3.2 */
	SESSION_STORED = 32,  /* the committer is through */
	SESSION_REVOKED = 64, /* its login was taken away: 421 4.7.0 */
};

/* Bits of session.waits: what an armed session waits for. */
enum {
	WAITS_FOR_INPUT = 1,
	WAITS_FOR_ROOM = 2,
	WAITS_IDLE = 4, /* for a command: may be told to leave */
};

enum step {
	STEP_AGAIN, /* the state changed: run the new one now */
	STEP_INPUT, /* send what is there to say, get more input, run again */
	STEP_FLUSH, /* send all that is there to say, then run again */
	STEP_READ,  /* arm for input: the state reads by itself */
	STEP_WRITE, /* arm for output: the state writes by itself */
	STEP_PARK,  /* somebody will wake us */
	STEP_CLOSE, /* over; the cause is recorded */
};

struct state {
	const char *name;
	enum step (*run)(struct session *s);
	bool speaks; /* a client that is too late is told 421 */
};

enum close_cause {
	CLOSE_NONE,
	CLOSE_QUIT,
	CLOSE_CLIENT,    /* end of file */
	CLOSE_TIMEOUT,   /* of a command, the data or a handshake */
	CLOSE_IO,        /* the socket failed, or the TLS record layer */
	CLOSE_TLS,       /* the handshake */
	CLOSE_EARLY,     /* input where none may be: before the greeting,
			    after STARTTLS and the like */
	CLOSE_HTTP,      /* a request of another protocol */
	CLOSE_MALFORMED, /* bare CR, LF or NUL */
	CLOSE_ERRORS,    /* too many refused commands */
	CLOSE_AUTH,      /* too many failed logins */
	CLOSE_SIZE,      /* kept sending beyond all limits */
	CLOSE_SIGNER,    /* away for too long */
	CLOSE_SHUTDOWN,  /* server or configuration goes */
	CLOSE_REVOKED,   /* its login was taken away, or has ended */
	CLOSE_MEMORY,
	/* It counts for something else than when it let the client in. */
	CLOSE_CERTIFICATE,
	CLOSE_CAUSES
};

struct input {
	char *data; /* INPUT_SIZE octets, or NULL */
	size_t start, end;
};

struct output {
	char *data;
	size_t len, sent, capacity;
};

/* The mail transaction (RFC 5321, section 3.3). */
struct transaction {
	struct envelope envelope;
	struct smtp_data data;
	struct submission_header header;
	struct submission_parts parts; /* with SMTPUTF8 alone */
	struct spool_message *message;
	uint64_t size;   /* as MAIL announced it; 0: it did not */
	uint64_t octets; /* of message text so far */
	enum data_refusal {
		DATA_FINE,
		DATA_TOO_BIG,
		DATA_NO_SPACE,
		DATA_NOT_STORED,
	} refusal;
	int64_t counted; /* by rates, when (monotonic seconds); 0: not */
	bool stored;     /* what the committer said, with its reason */
	struct reason why;
};

/* What a client's certificate is known by: AUTH_START. */
struct identities {
	size_t count;
	unsigned char of[AUTH_IDENTITIES_MAX][SPKI_OCTETS];
};

/* The certificate that a client has shown, and holds the key of. */
struct client_certificate {
	unsigned char spki[SPKI_OCTETS];
	/* When auth was last asked whose it is: by which configuration, at what
	 * time (monotonic seconds), and a digest of its identities. */
	uint32_t number; /* 0: never */
	int64_t at;
	unsigned char known_by[32];
};

struct session {
	struct watch watch;
	int fd;
	bool registered;      /* in the epoll set, armed or not */
	unsigned char family; /* AF_INET or AF_INET6 */
	unsigned char address[16];
	uint16_t port;
	atomic_uint bits, waits;

	struct wheel_entry timer;
	struct generation *generation;
	struct session *next, **link;               /* in generation.sessions */
	struct session *signer_next, **signer_link; /* server.signer_wait */
	bool awaits_signer;                         /* is in that list */
	unsigned service;                           /* index of its listener */

	const struct state *state;
	unsigned facts;
	enum close_cause cause;
	struct tls_session *tls;
	struct input input;
	struct output output;
	bool skip_line; /* the rest of a line that was too long */
	bool wrote;     /* something since the last input */
	bool broken;    /* out of memory for a buffer */

	unsigned commands, errors, messages, auth_failures;
	uint64_t linger;
	int64_t since;       /* monotonic seconds */
	char *refusal;       /* the site table says no: reply to all */
	char *greeting_name; /* EHLO */
	/* Who it is and what it may; NULL: nobody yet.  Set once, under
	 * auth_link.lock; there as long as the session is in its generation's
	 * list, where AUTH_CHANGED looks for it. */
	_Atomic(struct grant *) grant;
	/* Bits of auth/legacy.h, until auth has been told of them. */
	unsigned practices;
	char *clear_name; /* who tried AUTH before TLS, by its own words */
	char *tls_suite;
	struct client_certificate *certificate; /* NULL: it has shown none */
	uint64_t exchange;                      /* with auth; 0: none */
	char mechanism[21];                     /* of the last AUTH */
	struct transaction *transaction;
	unsigned tls_version; /* 12 or 13 */
	bool must_bind;       /* require-binding has its address */
	char id[SESSION_ID_SIZE];
	char client[46]; /* address literal without brackets */
};

/* session.c */
int64_t server_now(void); /* monotonic seconds, cheap */
/* The calling thread's number, which is that of its signer channel. */
unsigned server_thread(void);

/* session_engine.c */
/* Take over an accepted socket and drive it until it must wait; hang up if
 * memory or a limit says no.  generation's reference is handed over. */
void session_begin(int fd, const struct sockaddr_storage *peer,
    struct generation *generation, unsigned service);
/* The calling thread owns s: run it until it must wait. */
void session_drive(struct session *s);
/* Tell a session something and, if it is parked, have a thread drive it.
 * Threads: any, while s is known to be there; s may be gone afterwards. */
void session_wake(struct session *s, unsigned bits);
/* For the wheel. */
void session_expired(struct wheel_entry *entry);
/* 421 4.3.2 at its next command; now if it is idle.  Under generation.lock. */
void session_leave(struct session *s);
/* 421 4.7.0 as soon as it waits for its client.  Under generation.lock. */
void session_revoke(struct session *s);
enum step session_enter(struct session *s, const struct state *state);
/* Send what is there to say, then close. */
enum step session_end(struct session *s, enum close_cause cause);
/* Close at once. */
enum step session_drop(struct session *s, enum close_cause cause);
/* Close and free; the caller owns s. */
void session_free(struct session *s);
bool session_is(const struct session *s, unsigned bit);
void session_deadline(struct session *s, unsigned seconds);
struct service *session_service(const struct session *s);

/* session_io.c */
enum io { IO_DONE, IO_WAIT_INPUT, IO_WAIT_ROOM, IO_EOF, IO_FAILED };
enum line {
	LINE_GOT,
	LINE_MORE,   /* not all of it is there */
	LINE_LONG,   /* longer than most; dropped up to its end */
	LINE_BROKEN, /* bare CR, bare LF or NUL */
};

/* One reply line, CRLF is added; at most 512 octets (RFC 5321, section
 * 4.5.3.1.5), the rest is cut. */
void session_reply(struct session *s, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
void session_say(struct session *s, const char *octets, size_t len);
bool session_has_output(const struct session *s);
enum io session_flush(struct session *s);
enum io session_fill(struct session *s);
/* What is there to be read. */
struct slice session_input(const struct session *s);
void session_consume(struct session *s, size_t octets);
/* The next line without its CRLF, borrowed until session_fill; it has been
 * consumed.  most counts the CRLF. */
enum line session_line(struct session *s, size_t most, struct slice *line_out);
/* Overwrite what has been consumed: it was a secret. */
void session_wipe_input(struct session *s);
/* Before waiting: give back empty buffers. */
void session_release_buffers(struct session *s);
void session_free_buffers(struct session *s);
/* Is anything waiting to be read, here or in the socket? */
bool session_has_input(struct session *s);

/* session_tls.c */
extern const struct state state_greet, state_await_signer, state_starttls;
/* A new connection's first state. */
const struct state *session_first_state(const struct session *s);
/* For the main thread: the signer is back. */
void signer_wait_over(void);
void signer_wait_leave(struct session *s);
const char *session_tls_version(const struct session *s);

/* session_policy.c */
bool policy_asks_certificate(const struct session *s);
/* After the handshake: the address row; leaves session.refusal. */
void policy_judge_connection(struct session *s, struct facts *facts);
/* At MAIL, for sessions not authenticated by password: EHLO and from rows as
 * well.  False after having replied. */
bool policy_judge_mail(struct session *s, const char *reverse_path);
/* At RCPT, about the recipient added last: is it known that the next hop
 * does not meet what his rows or REQUIRETLS ask?  False after having
 * replied; what is not known is decided at delivery. */
bool policy_judge_rcpt(struct session *s);

/* session_command.c */
extern const struct state state_command;
/* The next command, or what is missing of it, has its time from now on. */
enum step session_await_command(struct session *s);
void session_refuse(struct session *s, const char *reply);
enum step session_say_leaving(struct session *s);
enum step session_say_revoked(struct session *s);

/* session_auth.c */
enum step command_auth(struct session *s, struct slice args);
/* AUTH was refused because there is no TLS: log it and have it counted. */
void session_auth_in_clear(struct session *s, struct slice args);
/* Tell auth what old ways the session has practised, if any and not told yet.
 * program: what the client calls itself. */
void session_tell_practices(struct session *s, const char *program);
/* Those of the listener that this client can use now. */
unsigned session_mechanisms(const struct session *s);
/* Is MAIL to be authenticated by the certificate alone (implicit-external)? */
bool session_may_be_implicit(const struct session *s);
/* Ask auth whose the certificate is; without a reply.  Comes back to
 * commands, with AUTHED or why not among the facts. */
enum step session_auth_implicit(struct session *s);
void session_auth_abort(struct session *s);

/* session_identity.c */
/* What the client's certificate is known by at this moment. */
void session_identities(struct session *s, struct identities *out);
/* Asked at MAIL: is the certificate that authenticated the client known by what
 * it was known by then?  Its end may have come, it may be revoked, or other
 * authorities count.  True for who has shown a password. */
bool session_certificate_lasts(struct session *s);

/* session_mail.c */
enum step command_mail(struct session *s, struct slice args);
enum step command_rcpt(struct session *s, struct slice args);
void session_reset(struct session *s); /* the transaction is over */

/* session_data.c */
enum step command_data(struct session *s, struct slice args);

/* session_rights.c */
enum { REPLY_SIZE = 512 };
/* May the login, who has begun MAIL, send now?  False after having replied;
 * *step_out is what to do then. */
bool session_may_mail(struct session *s, struct slice reverse_path,
    enum step *step_out);
/* The reply that refuses what the message says of its authors, or NULL. */
const char *session_judge_header(struct session *s, char reply[REPLY_SIZE]);
/* Count the message that is about to be stored: the reply if that is one too
 * many, or NULL. */
const char *session_count_message(struct session *s, char reply[REPLY_SIZE]);
/* It was not stored after all. */
void session_uncount_message(struct session *s);

/* session_revoke.c */
/* End the sessions of that login, and of its devices; "": of all logins.
 * Threads: any, without locks. */
void sessions_revoke(const char *login, const char *text);

/* session_listener.c */
void listeners_init(void);
void listener_add(uint32_t number, const char *name, int fd);
/* Configuration number is in force: arm its listeners, close others. */
void listeners_commit(const struct generation *generation);
void listeners_close(void);
void listeners_tick(void); /* arm the starved ones again */
void listener_accept(struct listener *listener);

/* session_trial.c: a handshake with each listener of the configuration, without
 * a name and by each name of its certificates.  False if one does not come to
 * its end, or shows another certificate. */
bool trial_services(const struct generation *generation,
    const struct bundle *bundle, struct reason *why);

/* session_service.c; main thread but for generation_tls */
bool services_make(struct generation *generation, const struct bundle *bundle,
    struct reason *why);
void services_free(struct generation *generation);
void generation_ticket_key(const char *listener,
    const unsigned char key[TLS_TICKET_KEY_OCTETS]);
/* Staple that to what configuration number shows of that section. */
void generation_staple(uint32_t number, const char *certificate, int64_t until,
    const gnutls_datum_t *response);
/* A reference to a listener's TLS, or NULL. */
struct tls_server *generation_tls(struct generation *generation,
    unsigned service);

/* session_config.c */
bool generation_prepare(uint32_t number, const struct bundle *bundle,
    struct reason *why);
void generation_commit(uint32_t number);
void generation_retire(uint32_t number);
/* The one in force, with a reference; NULL before the first. */
struct generation *generation_current(void);
void generation_unref(struct generation *generation);
/* Every session there is: leave. */
void generations_leave(void);
/* Calls visit for every session, under its generation's lock. */
void generations_visit(void (*visit)(struct session *s, void *context),
    void *context);
/* Borrowed for the life of generation; NULL if there are none.  path "" is
 * the listener's own set, with its own revocation lists unless crl names
 * others. */
const struct tls_anchors *generation_anchors(struct generation *generation,
    const struct config_listener *listener, const char *path, const char *crl);

#endif
