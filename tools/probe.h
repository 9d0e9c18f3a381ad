/*
 * tools/probe.h: connecting to a site as the relay would, to see what it
 * shows and which row it would meet; never AUTH, never MAIL.
 *
 * Plain data comes back; printing is the callers'.  A setup never changes once
 * made, but for trust anchors that are read when first asked for, and is
 * shared by threads.
 */
#ifndef TOOLS_PROBE_H
#define TOOLS_PROBE_H

#include <jansson.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <time.h>

#include "../pki/ocsp.h"
#include "../policy/decide.h"
#include "../policy/hex.h"
#include "../server/lookup_resolver.h"
#include "../server/upstream_reply.h"
#include "../tls/tls.h"
#include "policy.h"

enum {
	PROBE_HOST = 256,
	PROBE_TRIED = 16,
	PROBE_NAMES = 8192,    /* octets of a certificate's names */
	PROBE_KEYWORDS = 2048, /* octets of EHLO keywords, escaped */
	PROBE_ROW = 4096,      /* a line of the table */
	PROBE_WAYS = 8,
	PROBE_LOST = 10,
	PROBE_SETS = 3,
	PROBE_TIMEOUT_S = 10,
	PROBE_TIMEOUT_MOST_S = 300,
};

/* --- what all probes share ----------------------------------------------- */

struct probe_setup;

/* From tool_config_path; without a configuration there (and none was named)
 * no row speaks and the system's trust anchors count.  Errors are told. */
bool probe_setup_new(struct probe_setup **setup_out);
void probe_setup_free(struct probe_setup *setup);
/* config and table are NULL without a configuration. */
const struct policy *probe_policy(const struct probe_setup *setup);
/* One for each thread, made by the main thread. */
bool probe_resolver(const struct probe_setup *setup,
    struct resolver **resolver_out, struct reason *why);
/* "" is the default set; NULL: not there, or unreadable.  Threads: any. */
const struct tls_anchors *probe_anchors(struct probe_setup *setup,
    const char *anchors, const char *crl);
/* Where the default set is read from. */
const char *probe_anchors_path(const struct probe_setup *setup,
    const char *anchors);
/* The certificate section of that name with its key, used in this process;
 * NULL with why where there is none that may be shown or be read.  Lives as
 * long as setup.  Threads: any. */
struct tls_identity *probe_identity(struct probe_setup *setup, const char *name,
    struct reason *why);

/* --- one site --------------------------------------------------------------
 */

struct probe_target {
	char host[PROBE_HOST]; /* A-labels, or an address literal */
	uint16_t port;
	bool implicit_tls;
	bool is_address;
};

/*
 * HOST[:PORT], or [ADDRESS]:PORT.  The smarthost's port and TLS count where it
 * is the smarthost; otherwise 587, and implicit TLS for 465.
 */
bool probe_target(struct probe_target *out, const struct probe_setup *setup,
    const char *text, struct reason *why);

struct probe_options {
	const char *address; /* literal to connect to instead, or NULL */
	int timeout_ms;      /* for the lookup, and for each address */
	/* By upstream_now_ms, when all has to end; 0: not yet. */
	const atomic_llong *stop_at_ms;
};

struct probe_tried {
	char address[64];
	char outcome[REASON_TEXT_MAX]; /* "" for the one that served */
};

struct probe_certificate {
	char subject[300], issuer[300]; /* escaped */
	long long from, until;          /* Unix seconds */
	char key[48], signature[48], pin[PIN_TEXT];
};

/* The chain against one set of trust anchors. */
struct probe_set {
	const char *anchors, *crl; /* the setup's or the demand's paths */
	const char *path;          /* the file that anchors stands for */
	enum chain_state state;
};

struct probe {
	struct probe_target target;
	time_t now; /* Unix seconds when it began */

	size_t tried_count;
	struct probe_tried tried[PROBE_TRIED];
	bool connected;
	char why[REASON_TEXT_MAX]; /* why it could not be told, or "" */

	char greeting[REPLY_TEXT_MAX], starttls[REPLY_TEXT_MAX];
	/* facts.names points into names; why_not tells why there is no TLS. */
	struct facts facts;
	char names[PROBE_NAMES];
	bool names_cut;
	char identity[REASON_TEXT_MAX]; /* what of ours was shown, or why not */

	size_t certificate_count;
	struct probe_certificate certificates[TLS_CHAIN_MAX];
	size_t set_count;
	struct probe_set sets[PROBE_SETS];
	struct ocsp ocsp;
	bool must_staple;
	size_t tlsa_count;

	bool greeted; /* EHLO was answered, in TLS where there is TLS */
	char ungreeted[REASON_TEXT_MAX]; /* else why not */
	struct upstream_extensions extensions;
	char keywords[PROBE_KEYWORDS]; /* one a line */

	/* What the rows that speak say now, and once every dated exception is
	 * over and observed rows are enforced. */
	struct demand *demand, *enforced_demand;
	bool judged; /* the decisions are filled */
	struct decision decision, enforced;

	char strongest[PROBE_ROW]; /* a row for the table, or "" */
	/* What the row that speaks asks and that one would not; static. */
	size_t lost_count;
	const char *lost[PROBE_LOST];
	size_t way_count;
	char ways[PROBE_WAYS][REASON_TEXT_MAX]; /* to the next stronger one */
};

/* Always gives one, NULL only without memory. */
struct probe *probe_run(struct probe_setup *setup, struct resolver *resolver,
    const struct probe_target *target, const struct probe_options *options);
void probe_free(struct probe *probe);

/* Does the row that speaks hold?  Observing is not meeting, nor is going in
 * clear where the relay would not. */
bool probe_is_met(const struct probe *probe);
/* The same, were all exceptions over and all rows enforced. */
bool probe_would_be_met(const struct probe *probe);

json_t *probe_json(const struct probe *probe);

/* Words for a person and for JSON alike. */
const char *probe_chain_word(enum chain_state state); /* "good", ... */
const char *probe_purpose_word(const struct probe *probe);
const char *probe_dane_word(const struct probe *probe);
/* Whole days from the probe to then; below zero when past. */
long long probe_days(const struct probe *probe, long long then);

/* Printable ASCII, all else as \xNN; cut to size. */
void probe_escape(char *out, size_t size, const char *text, size_t len);

/* The help of probe and audit, and a number of theirs, 1 to most. */
void policy_probe_usage(FILE *to);
bool policy_probe_number(const char *text, unsigned most, unsigned *out);

/* --- what the files of the engine share ------------------------------------
 */

/* While the session is there: certificates, names, pins, OCSP. */
void probe_describe(struct probe *probe, struct probe_setup *setup,
    struct tls_session *session);
/* Judge by demand; session NULL: in clear, or no TLS. */
void probe_decide(struct probe *probe, struct probe_setup *setup,
    struct tls_session *session, const struct demand *demand,
    struct decision *out);
/* Without TLS: may the relay go on in clear, if the row says so?  Not where TLS
 * is implicit, nor where somebody has injected octets. */
bool probe_clear_will_do(const struct probe *probe);
/* Fill lost by the demand of the row that is offered. */
void probe_compare(struct probe *probe, const struct demand *offered);
/* The strongest row it would pass, and what stands in the way of more. */
void probe_strongest(struct probe *probe, struct probe_setup *setup,
    struct tls_session *session);

#endif
