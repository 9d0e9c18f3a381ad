/*
 * policy/decide.h: which rows speak, what they demand, and whether a
 * connection meets it.
 */
#ifndef POLICY_DECIDE_H
#define POLICY_DECIDE_H

#include <netinet/in.h>
#include <stdint.h>
#include <sys/socket.h>
#include <time.h>

#include "facts.h"
#include "reason.h"
#include "table.h"

enum level { LEVEL_NONE, LEVEL_MAY, LEVEL_ENCRYPT, LEVEL_VERIFY, LEVEL_LOCK };

const char *level_word(enum level level);

enum side { SIDE_IN, SIDE_OUT };

/* What a row says by fail=.  Unset means: refused for good coming in (554
 * 5.7.0), for the time being going out (the message stays queued). */
enum row_fail { FAIL_UNSET, FAIL_TEMPORARY, FAIL_PERMANENT };

enum { DEMAND_ROWS = 16, DEMAND_TEXT = 16384 };

/* One contributing row, parsed; lists are NUL-terminated strings one after
 * the other, ended by an empty one, inside the demand's text.  Private to
 * policy/ but for printing. */
struct demand_row {
	unsigned line;       /* 0: the built-in default (encrypt) */
	const char *site;    /* the row's key */
	const char *match;   /* list of what the names are compared with: match=
				or else the row's own key; NULL: not compared */
	bool match_is_hop;   /* match is the next hop's own name: a name proved
				to stand for it will do as well */
	const char *pins;    /* list of 64 hex digits, or NULL */
	const char *issuers; /* list, or NULL */
	const char *orgs;    /* list, or NULL */
	int anchors;         /* index into demand.anchor; -1: no chain needed */
	enum level level;
	unsigned min;  /* 0, 12 or 13 */
	unsigned bits; /* 0: any */
	bool chain;    /* false: chain=no */
	bool eku_any;  /* eku=any */
	bool observe;
	bool dane;
	bool ratchet;
	bool tls_optional; /* tls-optional=yes */
	bool is_promise;   /* of demand_add_requiretls, not of the table */
	bool one_site;     /* its key is a host, an address or a mailbox */
	enum row_fail fail;
	/* The same for rows with the same text, on whatever line. */
	uint64_t identity;
};

/* What a site has shown on its own, whatever its row asks (ratchet). */
struct shown {
	enum level level; /* LEVEL_NONE: nothing yet */
	unsigned version; /* as in facts */
	/* Who vouches for it: the issuer's organisation, else its whole name;
	 * "" below verify. */
	char issuer[256];
};

/* Called for each key that was looked up, for explain: the key as a row would
 * spell it, the row's line or 0, and what came of it ("speaks", "no row",
 * "ended", ...). */
typedef void (*demand_tried)(void *context, const char *direction,
    const char *key, unsigned line, const char *what);

/*
 * What all contributing rows together demand.  Self-contained: keeps nothing
 * of the table, so a session may keep it across a reload.  About 20 KiB:
 * allocate it only where needed (demand_new).
 */
struct demand {
	enum side side;
	char site[256];   /* who it is about, for logs: host, address */
	uint16_t port;    /* of the next hop; 0 coming in */
	enum level level; /* the highest of the rows */
	unsigned min;     /* 0, 12 or 13 */
	unsigned bits;
	bool permanent;  /* a refusal is for good */
	bool observe;    /* every row observes */
	bool dane;       /* some row wants it */
	bool requiretls; /* demand_add_requiretls was called */
	/* Some row has ratchet; best is what the caller remembers of the site
	 * and fills in before decide (LEVEL_NONE: nothing). */
	bool ratchet;
	struct shown best;

	/* Trust anchor sets to verify against; "" is the default set (the
	 * listener's, the smarthost's, or the system's); others are absolute
	 * paths named by ca=.  crl[i] is a path or "". */
	size_t anchors;
	const char *anchor[FACTS_CHAINS];
	const char *crl[FACTS_CHAINS];

	/* From the row that speaks for the next hop; NULL if unset. */
	const char *cert;
	const char *auth;
	const char *sni;
	bool reuse; /* default true */

	const char *file;    /* base name of the table's text, or NULL */
	unsigned ended_line; /* a dated exception that is over; 0: none */
	demand_tried tried;  /* set after demand_new, or NULL */
	void *tried_context;

	size_t row_count;
	struct demand_row rows[DEMAND_ROWS];
	size_t text_len;
	char text[DEMAND_TEXT];
};

struct demand *demand_new(void); /* NULL without memory */
void demand_free(struct demand *demand);

/*
 * Each starts a demand, or adds rows to one; false only if the table could
 * not be read (REASON_TABLE: a temporary refusal, never "no row") or a bound
 * was exceeded.  table NULL means "no table": encrypt for all.
 * now judges until= dates.  Threads: any.
 */

/* The most specific address row, else "*", else encrypt. */
bool demand_in(struct demand *demand, const struct table *table,
    const struct sockaddr_storage *peer, time_t now, struct reason *why);
/* Rows selected by the EHLO name; only for sessions not authenticated by
 * password or token.  Unknown or malformed names add nothing. */
bool demand_add_ehlo(struct demand *demand, const struct table *table,
    const char *ehlo, time_t now, struct reason *why);
/* from rows, by the domain of the reverse-path ("" adds nothing). */
bool demand_add_from(struct demand *demand, const struct table *table,
    const char *reverse_path, time_t now, struct reason *why);
/* out row of the next hop as the route names it: host:port, host, longest
 * .suffix, address, longest prefix, "*", else encrypt.  port 0: host is a
 * domain whose SRV records name the hosts.  Then rows with a port do not speak,
 * as DNS gave it; and verify compares names, too: with the domain, and with
 * facts.proved_name. */
bool demand_out(struct demand *demand, const struct table *table,
    const char *host, uint16_t port, time_t now, struct reason *why);
/* rcpt rows: user@domain, domain, longest .suffix. */
bool demand_add_rcpt(struct demand *demand, const struct table *table,
    const char *forward_path, time_t now, struct reason *why);

/*
 * The promise of RFC 8689: TLS with a certificate that is verified and names
 * the next hop (by PKIX or, where a row says dane, by DANE; a lock of the
 * next hop's own row will do), and REQUIRETLS offered.  After the rows.
 */
bool demand_add_requiretls(struct demand *demand, struct reason *why);
/* "TLS-Required: No" (RFC 8689, section 3): rows with tls-optional=yes ask no
 * more than may; all others stay.  After the rows. */
void demand_relax(struct demand *demand);

/* Does this demand need the client's certificate (level, pin, ...)? */
bool demand_wants_certificate(const struct demand *demand);

enum verdict {
	VERDICT_PASS,
	VERDICT_OBSERVED,  /* would have been refused; goes on */
	VERDICT_TEMPORARY, /* refused; try again later */
	VERDICT_PERMANENT, /* refused for good */
};

/* One record, printed alike by log, reply, bounce, counter and explain. */
struct decision {
	enum side side;
	char site[256];
	uint16_t port;  /* of the next hop, for whoever keeps a state of it; 0
			   coming in */
	char rows[256]; /* "sites:12,sites:30", "default", "requiretls" */
	enum level asked;
	enum level reached;
	enum verdict verdict;
	enum reason_code code;
	char detail[REASON_TEXT_MAX];
	unsigned version; /* as in facts */
	char suite[64];
	char ended[64]; /* "sites:7": an exception that is over, or "" */
	/* How each row with mode=observe fared by itself, for rehearsal. */
	size_t observed_count;
	struct observed_row {
		uint64_t identity;
		bool met;
		enum reason_code code; /* if not met */
	} observed[DEMAND_ROWS];
	/*
	 * One site, and not a network or "*": may raise an alarm of its own.
	 * Coming in, site is then the client's address if that has a row of its
	 * own, else the site of the row that a claimed name has selected: so
	 * there are never more of them than rows.  Not where only the promise
	 * of REQUIRETLS is broken, which anybody may ask for.
	 */
	bool names_one_site;
	/* Coming in, where verify or more is asked and met: when the client's
	 * certificate ends (Unix seconds), for whoever watches it; else 0. */
	long long peer_not_after;
	unsigned char peer_spki[SPKI_OCTETS];
	char peer_subject[128];
};

/* Judge facts against demand; its dates were judged when it was made. */
void decide(struct decision *out, const struct demand *demand,
    const struct facts *facts);

/* What the connection showed by the anchors of the row with ratchet and the
 * next hop's name; LEVEL_NONE if no row has ratchet. */
void decide_shown(struct shown *out, const struct demand *demand,
    const struct facts *facts);

/* A decision for something that failed before facts existed (connect refused
 * is not one; no STARTTLS is): fills facts.why_not and calls decide. */
void decide_without_tls(struct decision *out, const struct demand *demand,
    enum reason_code code, const char *detail);

/*
 * "site=smtp.isp.example row=sites:3 asked=lock reached=verify
 * verdict=refuse-temporary reason=certificate-name
 * result=certificate-host-mismatch tls=TLS1.3 suite=... detail="..."" without
 * line end; returns the length, cut to size.
 */
size_t decision_print(const struct decision *decision, char *out, size_t size);
/* Its beginning, up to "asked=lock": what is known before a connection. */
size_t decision_print_asked(const struct decision *decision, char *out,
    size_t size);

/* Text for an SMTP reply or bounce after the enhanced status code: one line
 * of printable ASCII, no secret, at most 200 octets. */
size_t decision_reply(const struct decision *decision, char *out, size_t size);

/* "TLS1.2", "TLS1.3", "none" for 0, else "older". */
const char *version_word(unsigned version);

/* "pass", "observed", "refuse-temporary", "refuse-permanent". */
const char *verdict_word(enum verdict verdict);

#endif
