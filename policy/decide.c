/*
 * policy/decide.c: facts against a demand, and the record of it.
 */
#include "decide.h"

#include <stdio.h>
#include <string.h>

#include "hex.h"
#include "names.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

/* What is found wrong first decides. */
struct judge {
	const struct demand *demand;
	const struct facts *facts;
	const struct demand_row *only; /* judge this row alone; NULL: all */
	bool without_promise;          /* leave that row out */
	enum level reached;
	struct reason found;
};

static bool wrong(struct judge *judge, enum reason_code code,
    const char *format, ...) __attribute__((format(printf, 3, 4)));

static bool
wrong(struct judge *judge, enum reason_code code, const char *format, ...)
{
	va_list ap;

	judge->found.code = code;
	va_start(ap, format);
	(void)vsnprintf(judge->found.text, sizeof(judge->found.text), format,
	    ap);
	va_end(ap);
	return false;
}

static bool
is_judged(const struct judge *judge, const struct demand_row *row)
{
	return (judge->only == NULL || judge->only == row) &&
	       !(judge->without_promise && row->is_promise);
}

static enum level
level_asked(const struct judge *judge)
{
	const struct demand *demand = judge->demand;
	enum level asked = LEVEL_NONE;

	for (size_t i = 0; i < demand->row_count; i++)
		if (is_judged(judge, &demand->rows[i]) &&
		    demand->rows[i].level > asked)
			asked = demand->rows[i].level;
	return asked;
}

/* --- encrypt ------------------------------------------------------------ */

static void
judge_cleartext(struct judge *judge)
{
	const struct facts *facts = judge->facts;
	enum reason_code code = (enum reason_code)facts->why_not;

	if (code == REASON_NONE)
		code = judge->demand->side == SIDE_IN
			   ? REASON_CLEARTEXT
			   : REASON_STARTTLS_NOT_OFFERED;
	wrong(judge, code, "%s",
	    facts->why_not_text[0] != '\0' ? facts->why_not_text : "no TLS");
}

static bool
row_is_strong(struct judge *judge, const struct demand_row *row)
{
	const struct facts *facts = judge->facts;

	if (facts->version < row->min)
		return wrong(judge, REASON_PROTOCOL_TOO_OLD, "%s, expected %s",
		    version_word(facts->version), version_word(row->min));
	if (facts->bits < row->bits)
		return wrong(judge, REASON_CIPHER_TOO_WEAK,
		    "cipher key of %u bits, expected %u", facts->bits,
		    row->bits);
	return true;
}

/* --- verify ------------------------------------------------------------- */

static const struct {
	enum reason_code code;
	const char *text;
} chain_words[] = {
	[CHAIN_UNCHECKED] = { REASON_CERT_UNTRUSTED,
	    "certification path was not verified" },
	[CHAIN_GOOD] = { REASON_NONE, "" },
	[CHAIN_UNTRUSTED] = { REASON_CERT_UNTRUSTED,
	    "no certification path to a trust anchor" },
	[CHAIN_SELF_SIGNED] = { REASON_CERT_SELF_SIGNED,
	    "self-signed and no trust anchor" },
	[CHAIN_EXPIRED] = { REASON_CERT_EXPIRED, "expired" },
	[CHAIN_NOT_YET_VALID] = { REASON_CERT_NOT_YET_VALID, "not yet valid" },
	[CHAIN_REVOKED] = { REASON_CERT_REVOKED, "revoked" },
	[CHAIN_REVOCATION_UNKNOWN] = { REASON_CERT_REVOCATION_UNKNOWN,
	    "revocation list missing, stale or of another authority" },
	[CHAIN_UNSTAPLED] = { REASON_CERT_REVOCATION_UNKNOWN,
	    "it says that an OCSP response comes with it, but no good one did" },
	[CHAIN_WEAK] = { REASON_CERT_WEAK, "key or signature too weak" },
	[CHAIN_BAD] = { REASON_CERT_BAD, "cannot be verified" },
};

/* Where files lie is not for the other side to know. */
static const char *
base_name(const char *path)
{
	const char *slash = strrchr(path, '/');

	return slash == NULL ? path : slash + 1;
}

static bool
judge_chain(struct judge *judge, const struct demand_row *row)
{
	unsigned state;
	const char *anchor;

	if (!row->chain)
		return true;
	if (row->anchors < 0 || (size_t)row->anchors >= judge->demand->anchors)
		return wrong(judge, REASON_CERT_UNTRUSTED,
		    "no trust anchors to verify with");
	state = (unsigned)judge->facts->chain[row->anchors];
	if (state == CHAIN_GOOD)
		return true;
	if (state >= COUNT(chain_words))
		state = CHAIN_BAD;
	anchor = base_name(judge->demand->anchor[row->anchors]);
	return wrong(judge, chain_words[state].code,
	    "certificate %.100s: %s%s%.60s", judge->facts->subject,
	    chain_words[state].text, anchor[0] == '\0' ? "" : "; ca=", anchor);
}

/* Looked at by ourselves: no EKU at all is not enough. */
static bool
judge_purpose(struct judge *judge, const struct demand_row *row)
{
	const char *wanted =
	    judge->demand->side == SIDE_IN ? "clientAuth" : "serverAuth";

	if (!row->chain || row->eku_any || judge->facts->purpose == PURPOSE_YES)
		return true;
	if (judge->facts->purpose == PURPOSE_OTHER)
		return wrong(judge, REASON_CERT_PURPOSE,
		    "extended key usage without %s", wanted);
	return wrong(judge, REASON_CERT_NO_PURPOSE,
	    "no extended key usage, expected %s", wanted);
}

static enum names_match
compare_names(const struct facts *facts, const struct demand_row *row)
{
	enum names_match result = names_compare(facts, row->match);
	char proved[sizeof(facts->proved_name) + 1] = "";

	if (result != NAMES_OTHER || !row->match_is_hop)
		return result;
	/* A list of one, ended by an empty string. */
	memcpy(proved, facts->proved_name, sizeof(facts->proved_name));
	return names_compare(facts, proved);
}

static bool
judge_name(struct judge *judge, const struct demand_row *row)
{
	char presented[128];

	if (row->match == NULL)
		return true;
	switch (compare_names(judge->facts, row)) {
	case NAMES_MATCH:
		return true;
	case NAMES_NONE:
		return wrong(judge, REASON_CERT_NO_SAN,
		    "no name in the subjectAltName, expected %.100s",
		    row->match);
	case NAMES_OTHER:
		break;
	}
	names_print(judge->facts, presented, sizeof(presented));
	return wrong(judge, REASON_CERT_NAME, "names %s, expected %.100s",
	    presented[0] == '\0' ? "too long to show" : presented, row->match);
}

/* A row of verify has names to compare with only where DNS has chosen the
 * host. */
static bool
row_is_verified(struct judge *judge, const struct demand_row *row)
{
	if (!judge->facts->peer_cert)
		return wrong(judge, REASON_CERT_MISSING,
		    "no certificate was presented");
	return judge_chain(judge, row) && judge_purpose(judge, row) &&
	       (row->level > LEVEL_VERIFY || judge_name(judge, row));
}

/* --- lock --------------------------------------------------------------- */

static bool
judge_pin(struct judge *judge, const struct demand_row *row)
{
	char hex[2 * SPKI_OCTETS + 1];

	if (row->pins == NULL)
		return true;
	hex_print(hex, judge->facts->spki, SPKI_OCTETS);
	for (const char *pin = row->pins; *pin != '\0'; pin += strlen(pin) + 1)
		if (strcmp(pin, hex) == 0)
			return true;
	return wrong(judge, REASON_CERT_PIN,
	    "key sha256:%s is none of pin=", hex);
}

/* Without regard to the case of ASCII letters.  What fills its field to the
 * end may have been cut, and is then nobody's. */
static bool
text_is_listed(const char *list, const char *text, size_t size)
{
	if (text[0] == '\0' || strnlen(text, size) >= size - 1)
		return false;
	for (; *list != '\0'; list += strlen(list) + 1)
		if (strcasecmp(list, text) == 0)
			return true;
	return false;
}

static bool
judge_issuer(struct judge *judge, const struct demand_row *row)
{
	const struct facts *facts = judge->facts;

	if (row->issuers != NULL &&
	    !text_is_listed(row->issuers, facts->issuer, sizeof(facts->issuer)))
		return wrong(judge, REASON_CERT_ISSUER,
		    "issuer %.100s, expected %.100s", facts->issuer,
		    row->issuers);
	if (row->orgs != NULL && !text_is_listed(row->orgs, facts->organisation,
				     sizeof(facts->organisation)))
		return wrong(judge, REASON_CERT_ORGANISATION,
		    "organisation %.100s, expected %.100s",
		    facts->organisation[0] == '\0' ? "none"
						   : facts->organisation,
		    row->orgs);
	return true;
}

/* A lock that binds nothing does not compile; were there one, it is shut. */
static bool
row_is_locked(struct judge *judge, const struct demand_row *row)
{
	if (row->match == NULL && row->pins == NULL && row->issuers == NULL &&
	    row->orgs == NULL)
		return wrong(judge, REASON_CERT_NAME, "row binds nothing");
	return judge_name(judge, row) && judge_pin(judge, row) &&
	       judge_issuer(judge, row);
}

/* --- further demands ----------------------------------------------------- */

static bool
row_is_proved_by_dane(struct judge *judge, const struct demand_row *row)
{
	static const struct {
		enum reason_code code;
		const char *text;
	} words[] = {
		[DANE_UNCHECKED] = { REASON_DNSSEC_INVALID,
		    "TLSA records were not looked up" },
		[DANE_GOOD] = { REASON_NONE, "" },
		[DANE_NONE] = { REASON_DANE_REQUIRED,
		    "no usable TLSA record that DNSSEC proves" },
		[DANE_MISMATCH] = { REASON_TLSA_INVALID,
		    "no TLSA record matches the certificate" },
		[DANE_FAILED] = { REASON_DNSSEC_INVALID,
		    "TLSA records could not be had" },
	};
	const char *said = judge->facts->dane_text;
	unsigned state = (unsigned)judge->facts->dane;

	if (!row->dane || state == DANE_GOOD)
		return true;
	if (state >= COUNT(words))
		state = DANE_UNCHECKED;
	return wrong(judge, words[state].code, "%s%s%s", words[state].text,
	    said[0] == '\0' ? "" : ": ", said);
}

/* RFC 8689, section 4.2.1. */
static bool
row_is_promised(struct judge *judge, const struct demand_row *row)
{
	if (!row->is_promise || judge->facts->requiretls)
		return true;
	return wrong(judge, REASON_REQUIRETLS,
	    "the next hop does not offer REQUIRETLS");
}

/* The next hop's own name and one that is proved, as names_compare wants
 * them: an empty string ends the list. */
static void
hop_names(const struct demand *demand, const struct facts *facts,
    char out[static sizeof(demand->site) + sizeof(facts->proved_name) + 1])
{
	size_t len = strlen(demand->site) + 1;

	memcpy(out, demand->site, len);
	memcpy(out + len, facts->proved_name, strlen(facts->proved_name) + 1);
	out[len + strlen(facts->proved_name) + 1] = '\0';
}

void
decide_shown(struct shown *out, const struct demand *demand,
    const struct facts *facts)
{
	char names[sizeof(demand->site) + sizeof(facts->proved_name) + 1];
	const char *issuer;
	int set = -1;

	memset(out, 0, sizeof(*out));
	for (size_t i = 0; i < demand->row_count; i++)
		if (demand->rows[i].ratchet)
			set = demand->rows[i].anchors;
	if (!demand->ratchet || !facts->tls)
		return;
	out->level = LEVEL_ENCRYPT;
	out->version = facts->version;
	if (!facts->peer_cert || facts->purpose != PURPOSE_YES || set < 0 ||
	    set >= FACTS_CHAINS || facts->chain[set] != CHAIN_GOOD)
		return;
	hop_names(demand, facts, names);
	out->level = names_compare(facts, names) == NAMES_MATCH ? LEVEL_LOCK
								: LEVEL_VERIFY;
	issuer = facts->issuer_organisation[0] != '\0'
		     ? facts->issuer_organisation
		     : facts->issuer;
	(void)snprintf(out->issuer, sizeof(out->issuer), "%s", issuer);
}

static bool
row_holds_ratchet(struct judge *judge, const struct demand_row *row)
{
	const struct shown *best = &judge->demand->best;
	struct shown shown;

	if (!row->ratchet || best->level == LEVEL_NONE)
		return true;
	decide_shown(&shown, judge->demand, judge->facts);
	if (shown.level < best->level)
		return wrong(judge, REASON_RATCHET,
		    "shows %s, expected %s as before", level_word(shown.level),
		    level_word(best->level));
	if (shown.version < best->version)
		return wrong(judge, REASON_RATCHET,
		    "shows %s, expected %s as before",
		    version_word(shown.version), version_word(best->version));
	if (best->level >= LEVEL_VERIFY && best->issuer[0] != '\0' &&
	    strcmp(shown.issuer, best->issuer) != 0)
		return wrong(judge, REASON_RATCHET,
		    "certificate issued by %.90s, expected %.90s as before",
		    shown.issuer[0] == '\0' ? "somebody else" : shown.issuer,
		    best->issuer);
	return true;
}

/* --- the whole ----------------------------------------------------------- */

typedef bool (*row_is_met)(struct judge *judge, const struct demand_row *row);

static bool
judge_rows(struct judge *judge, enum level level, row_is_met is_met)
{
	const struct demand *demand = judge->demand;

	for (size_t i = 0; i < demand->row_count; i++) {
		const struct demand_row *row = &demand->rows[i];

		if (is_judged(judge, row) && row->level >= level &&
		    !is_met(judge, row))
			return false;
	}
	if (level_asked(judge) >= level)
		judge->reached = level;
	return true;
}

static bool
judge_further(struct judge *judge)
{
	static const row_is_met points[] = { row_is_proved_by_dane,
		row_is_promised, row_holds_ratchet };
	const struct demand *demand = judge->demand;

	for (size_t point = 0; point < COUNT(points); point++)
		for (size_t i = 0; i < demand->row_count; i++)
			if (is_judged(judge, &demand->rows[i]) &&
			    !points[point](judge, &demand->rows[i]))
				return false;
	return true;
}

/* True if every point of the rows that are judged is met. */
static bool
judge_all(struct judge *judge)
{
	enum level asked = level_asked(judge);

	judge->found.code = REASON_NONE;
	judge->found.text[0] = '\0';
	judge->reached = LEVEL_NONE;
	if (!judge->facts->tls) {
		if (asked != LEVEL_NONE)
			judge_cleartext(judge);
		return asked <= LEVEL_MAY;
	}
	judge->reached = LEVEL_ENCRYPT;
	return judge_rows(judge, LEVEL_ENCRYPT, row_is_strong) &&
	       judge_rows(judge, LEVEL_VERIFY, row_is_verified) &&
	       judge_rows(judge, LEVEL_LOCK, row_is_locked) &&
	       judge_further(judge);
}

/* Would the message go if it had not asked for REQUIRETLS? */
static bool
passes_without_promise(const struct judge *whole)
{
	struct judge judge = *whole;
	bool observed = whole->facts->tls;

	judge.without_promise = true;
	if (judge_all(&judge))
		return true;
	for (size_t i = 0; i < judge.demand->row_count; i++)
		if (is_judged(&judge, &judge.demand->rows[i]) &&
		    !judge.demand->rows[i].observe)
			observed = false;
	return observed;
}

/* What says nothing of the other side for good. */
static bool
is_passing_trouble(const struct judge *judge)
{
	switch (judge->found.code) {
	case REASON_DNSSEC_INVALID:
	case REASON_RATCHET: /* an operator may lower it */
		return true;
	default:
		return false;
	}
}

/* A promise that cannot be kept is told at once (RFC 8689, section 4.2.1);
 * what went wrong with STARTTLS today may go well tomorrow. */
static bool
is_broken_promise(const struct judge *judge)
{
	return judge->demand->requiretls &&
	       (judge->facts->tls ||
		   judge->found.code == REASON_STARTTLS_NOT_OFFERED) &&
	       passes_without_promise(judge);
}

static enum verdict
verdict_of(const struct judge *judge, bool met)
{
	const struct demand *demand = judge->demand;

	if (met)
		return VERDICT_PASS;
	/* Observing never goes below encrypt. */
	if (demand->observe && judge->facts->tls)
		return VERDICT_OBSERVED;
	if (is_passing_trouble(judge))
		return VERDICT_TEMPORARY;
	return demand->permanent || is_broken_promise(judge)
		   ? VERDICT_PERMANENT
		   : VERDICT_TEMPORARY;
}

/* Each observing row by itself; one that was relaxed asks nothing. */
static void
list_observed(struct decision *out, const struct judge *whole)
{
	const struct demand *demand = whole->demand;
	struct judge judge = *whole;

	for (size_t i = 0; i < demand->row_count; i++) {
		const struct demand_row *row = &demand->rows[i];
		struct observed_row *one = &out->observed[out->observed_count];

		if (!row->observe || row->level <= LEVEL_MAY)
			continue;
		judge.only = row;
		one->identity = row->identity;
		one->met = judge_all(&judge);
		one->code = one->met ? REASON_NONE : judge.found.code;
		out->observed_count++;
	}
}

/*
 * Who an alarm would be about.  A name that a client claims selects a row: then
 * it is that row's site, as claims from ever new addresses must not count for
 * ever new sites.
 */
static const char *
site_of(const struct demand *demand, bool *one_site_out)
{
	*one_site_out = demand->side == SIDE_OUT ||
			(demand->row_count > 0 && demand->rows[0].one_site);
	if (*one_site_out)
		return demand->site;
	for (size_t i = demand->row_count; i-- > 1;)
		if (demand->rows[i].one_site) {
			*one_site_out = true;
			return demand->rows[i].site;
		}
	return demand->site;
}

static void
list_rows(struct decision *out, const struct demand *demand)
{
	const char *file = demand->file == NULL ? "sites" : demand->file;
	size_t len = 0;

	for (size_t i = 0; i < demand->row_count; i++) {
		const struct demand_row *row = &demand->rows[i];
		char one[64];
		int octets = row->line == 0
				 ? snprintf(one, sizeof(one), "%s", row->site)
				 : snprintf(one, sizeof(one), "%.48s:%u", file,
				       row->line);

		if (len + (size_t)octets + 2 > sizeof(out->rows))
			break;
		if (len > 0)
			out->rows[len++] = ',';
		memcpy(out->rows + len, one, (size_t)octets + 1);
		len += (size_t)octets;
	}
	if (demand->ended_line != 0)
		(void)snprintf(out->ended, sizeof(out->ended), "%.48s:%u", file,
		    demand->ended_line);
}

static void
note_client(struct decision *out, const struct facts *facts)
{
	if (out->side != SIDE_IN || out->asked < LEVEL_VERIFY ||
	    !facts->peer_cert)
		return;
	out->peer_not_after = facts->not_after;
	memcpy(out->peer_spki, facts->spki, SPKI_OCTETS);
	(void)snprintf(out->peer_subject, sizeof(out->peer_subject), "%.127s",
	    facts->subject);
}

void
decide(struct decision *out, const struct demand *demand,
    const struct facts *facts)
{
	struct judge judge = { .demand = demand, .facts = facts };
	bool met = judge_all(&judge);
	const char *site;

	memset(out, 0, sizeof(*out));
	site = site_of(demand, &out->names_one_site);
	(void)snprintf(out->site, sizeof(out->site), "%.255s", site);
	out->side = demand->side;
	out->port = demand->port;
	out->asked = demand->level;
	out->reached = judge.reached;
	out->code = judge.found.code;
	memcpy(out->detail, judge.found.text, sizeof(out->detail));
	out->version = facts->tls ? facts->version : 0;
	(void)snprintf(out->suite, sizeof(out->suite), "%.63s", facts->suite);
	list_rows(out, demand);
	list_observed(out, &judge);
	out->verdict = verdict_of(&judge, met);
	/* A promise to one message is no level of the site's. */
	if (!met && demand->requiretls && passes_without_promise(&judge))
		out->names_one_site = false;
	if (met)
		note_client(out, facts);
}

void
decide_without_tls(struct decision *out, const struct demand *demand,
    enum reason_code code, const char *detail)
{
	struct facts facts;

	memset(&facts, 0, sizeof(facts));
	facts.why_not = (int)code;
	(void)snprintf(facts.why_not_text, sizeof(facts.why_not_text), "%s",
	    detail == NULL ? "" : detail);
	decide(out, demand, &facts);
}
