/*
 * server/config.h: sallyport.conf, parsed and checked.
 *
 * An immutable struct made from text; every default is in config.c's table.
 * The master parses it with file access, roles parse the same text again from
 * the bundle (server/bundle.h).  All paths are absolute after parsing
 * (relative ones count from the folder of the file).  All strings are owned
 * by the config.
 */
#ifndef SERVER_CONFIG_H
#define SERVER_CONFIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "../auth/network.h"
#include "../pki/cert.h"
#include "../policy/reason.h"

enum listener_kind {
	LISTENER_SUBMISSION,  /* STARTTLS, RFC 6409 */
	LISTENER_SUBMISSIONS, /* implicit TLS, RFC 8314 */
};

/* Bits for struct config_listener.mechanisms, strongest first. */
enum mechanism {
	MECHANISM_EXTERNAL = 1, /* to clients that have shown a certificate */
	MECHANISM_SCRAM_SHA_256_PLUS = 2,
	MECHANISM_SCRAM_SHA_1_PLUS = 4,
	MECHANISM_GSSAPI = 8,
	MECHANISM_SCRAM_SHA_256 = 16,
	MECHANISM_SCRAM_SHA_1 = 32,
	MECHANISM_OAUTHBEARER = 64,
	MECHANISM_XOAUTH2 = 128,
	MECHANISM_DIGEST_MD5 = 256,
	MECHANISM_CRAM_MD5 = 512,
	MECHANISM_PLAIN = 1024,
	MECHANISM_LOGIN = 2048,

	MECHANISMS_BOUND =
	    MECHANISM_SCRAM_SHA_256_PLUS | MECHANISM_SCRAM_SHA_1_PLUS,
	MECHANISMS_TOKEN = MECHANISM_OAUTHBEARER | MECHANISM_XOAUTH2,
	MECHANISMS_SCRAM =
	    MECHANISMS_BOUND | MECHANISM_SCRAM_SHA_256 | MECHANISM_SCRAM_SHA_1,
};
enum backend {
	BACKEND_STORE = 1,
	BACKEND_PAM = 2,
	BACKEND_KERBEROS = 4,
	BACKEND_TOKEN = 8,
};

struct config_listener {
	const char *name;
	enum listener_kind kind;
	const char *const *addresses; /* "0.0.0.0:587", "[::]:587" */
	size_t address_count;
	const char *const *certificates; /* section names; first is default */
	size_t certificate_count;
	bool ask_client_cert;   /* client-cert = ask */
	const char *client_ca;  /* path of the anchors for them, or NULL */
	const char *client_crl; /* path of their revocation lists, or NULL */
	bool implicit_external; /* its certificate authenticates at MAIL */
	bool tickets;
	unsigned min_tls;    /* 12 or 13 */
	unsigned mechanisms; /* after removing what no backend can serve */
	unsigned backends;
	bool pam_first;    /* asked for a password before the store */
	unsigned unserved; /* mechanisms asked for that no backend can serve */
	unsigned line;     /* where the section ends */
};

enum certificate_role { CERTIFICATE_SERVER = 1, CERTIFICATE_CLIENT = 2 };

struct config_certificate {
	const char *name;
	const char *chain; /* path */
	const char *key;   /* path, or PKCS#11 URL */
	const char *ocsp;  /* path of the response to be stapled, or NULL */
	unsigned roles;    /* role = server | client | both */
	unsigned line;     /* where the section ends */
};

enum log_target { LOG_TO_STDERR, LOG_TO_SYSLOG };

/* Where the anchors of DNSSEC lie unless configured otherwise. */
#define CONFIG_TRUST_ANCHOR "/usr/share/dns/root.key"

struct config {
	const char *path;   /* of sallyport.conf */
	const char *folder; /* that it lies in */

	const char *hostname;
	const char *realm;     /* default realm */
	const char *state;     /* DIR/state */
	const char *sites;     /* DIR/sites */
	const char *routes;    /* DIR/routes, or NULL: all to the smarthost */
	const char *upstream;  /* DIR/upstream, or NULL */
	const char *system_ca; /* anchors of the default set when relaying */

	/* DNS: "127.0.0.1:53"; none: /etc/resolv.conf. */
	const char *const *resolvers;
	size_t resolver_count;
	const char *trust_anchor;   /* path */
	unsigned trust_anchor_line; /* 0: the default, not in the file */

	struct {
		/* A-label, or address literal unbracketed, or the domain of
		 * srv:DOMAIN. */
		const char *host;
		uint16_t port; /* 0: srv:DOMAIN */
		bool implicit_tls;
		const char *ca; /* path: anchors for it instead, or NULL */
		unsigned line;  /* where the section ends */
	} smarthost;

	const struct config_listener *listeners;
	size_t listener_count;
	const struct config_certificate *certificates;
	size_t certificate_count;

	/* Session. */
	unsigned threads;             /* 0: 4 per core, at least 16 */
	uint64_t message_size;        /* octets; 552 5.3.4 beyond */
	unsigned recipients;          /* per transaction; 452 4.5.3 beyond */
	unsigned sessions;            /* at once; 421 4.3.2 beyond */
	unsigned sessions_per_client; /* by address */
	unsigned auth_tries;          /* per session, then 421 */
	unsigned command_timeout_s;
	unsigned data_timeout_s;
	unsigned handshake_timeout_s;
	uint64_t spool_memory;  /* octets for messages being received */
	uint64_t spool_reserve; /* free octets below which MAIL gets 452 */
	bool trace_client;

	/* Auth. */
	unsigned auth_failure_delay_ms;
	unsigned auth_free_failures; /* of a source, before answers slow down */
	unsigned scram_iterations;
	unsigned cache_size; /* verified passwords kept; 0: none */
	unsigned cache_ttl_s;
	const char *pam_service;
	const char *const
	    *pam_realms; /* realms whose local part PAM is asked */
	size_t pam_realm_count;
	const char *keytab; /* path: of smtp/hostname, for GSSAPI; or NULL */
	unsigned keytab_line;
	const char *const *kerberos_realms; /* whose principals are logins */
	size_t kerberos_realm_count;
	unsigned helper_deadline_ms;
	unsigned helpers; /* at once */
	/* Networks from where only EXTERNAL and -PLUS are taken. */
	const char *const *require_binding;
	size_t require_binding_count;
	const struct network *require_binding_networks; /* the same, parsed */
	unsigned legacy; /* practices (auth/legacy.h) that are refused ... */
	int64_t legacy_until; /* ... from this Unix second on; 0: never */

	/* Tokens; line is where the section ends, 0 without one.  Either keys
	 * or introspection. */
	struct {
		const char *issuer, *audience; /* NULL: any */
		const char *keys;              /* path of a JWK set */
		const char *introspection;     /* URL */
		const char *login;         /* path of CLIENT-ID:SECRET for it */
		const char *ca;            /* path of anchors for it, or NULL */
		const char *claim;         /* whose value the login is */
		const char *scope;         /* NULL: none is wanted */
		const char *const *realms; /* that logins may have */
		size_t realm_count;
		const char *openid_configuration; /* URL for clients, or NULL */
		unsigned line;
	} token;

	/* Relay. */
	unsigned relay_threads;
	unsigned site_connections; /* 0: half of the threads */
	unsigned retry_first_s, retry_most_s;
	unsigned expire_s;
	unsigned delay_notice_s; /* 0: none */
	unsigned connect_timeout_s;
	/* Of the SMTP client: RFC 5321, section 4.5.3.2. */
	struct {
		unsigned greeting_s, command_s, data_s, block_s, end_s;
	} relay_timeout;

	/* Alarms. */
	const char *alarm_mail; /* a mailbox, or NULL */
	/* argv of the program each alarm is handed to, NULL-terminated; its
	 * path is absolute; count 0: none. */
	const char *const *alarm_command;
	size_t alarm_command_count;
	unsigned alarm_command_line;

	/* Process. */
	bool confine_best; /* confine = best */
	bool watch_files;  /* reload when certificates and the like change */
	enum log_target log;
	bool debug;
	unsigned stop_timeout_s;
};

/*
 * Parse text (named path in messages).  False with why "file:line: what is
 * wrong, what was expected".  No file is looked at: it works in a chroot.
 * Threads: one at a time.
 */
bool config_parse(struct config **config_out, const char *path,
    const char *text, size_t len, struct reason *why);

/* Read the file at path and parse it. */
bool config_load(struct config **config_out, const char *path,
    struct reason *why);

void config_free(struct config *config);

const struct config_certificate *config_certificate(const struct config *config,
    const char *name);
const struct config_listener *config_listener(const struct config *config,
    const char *name);

/*
 * The table of options, for manual and tests: the i-th one's section ("" at
 * the top), name and default ("" for none).  False past the last.
 */
bool config_option(size_t i, const char **section_out, const char **name_out,
    const char **default_out);

/* Do logins from address (a literal) have to be bound to the TLS channel? */
bool config_requires_binding(const struct config *config, const char *address);

/* Could some listener judge a client's certificate?  by_name: it has to ask
 * every client for one; has_anchors: it needs no client-ca. */
bool config_can_verify_clients(const struct config *config, bool by_name,
    bool has_anchors);

/* Take mechanisms that cannot be had for now from all listeners. */
void config_withhold(struct config *config, unsigned mechanisms);

/* "SCRAM-SHA-256" and so on for one bit of enum mechanism; NULL otherwise. */
const char *mechanism_name(unsigned bit);
/* Its bit, of a name in any case; 0: there is none. */
unsigned mechanism_by_name(const char *name);

#endif
