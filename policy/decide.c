/*
 * policy/decide.c: facts against a demand, and the record of it.
 */
#include "decide.h"

#include <stdio.h>
#include <string.h>

#include "names.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

/* What is found wrong first decides. */
struct judge {
	const struct demand *demand;
	const struct facts *facts;
	struct decision *out;
};

static bool wrong(struct judge *judge, enum reason_code code,
    const char *format, ...) __attribute__((format(printf, 3, 4)));

static bool
wrong(struct judge *judge, enum reason_code code, const char *format, ...)
{
	va_list ap;

	judge->out->code = code;
	va_start(ap, format);
	(void)vsnprintf(judge->out->detail, sizeof(judge->out->detail), format,
	    ap);
	va_end(ap);
	return false;
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

static const char *
version_word(unsigned version)
{
	switch (version) {
	case 0:
		return "none";
	case 12:
		return "TLS1.2";
	case 13:
		return "TLS1.3";
	default:
		return "older";
	}
}

static bool
judge_strength(struct judge *judge)
{
	const struct demand *demand = judge->demand;
	const struct facts *facts = judge->facts;

	if (facts->version < demand->min)
		return wrong(judge, REASON_PROTOCOL_TOO_OLD, "%s, expected %s",
		    version_word(facts->version), version_word(demand->min));
	if (facts->bits < demand->bits)
		return wrong(judge, REASON_CIPHER_TOO_WEAK,
		    "cipher key of %u bits, expected %u", facts->bits,
		    demand->bits);
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

static bool
row_is_verified(struct judge *judge, const struct demand_row *row)
{
	if (!judge->facts->peer_cert)
		return wrong(judge, REASON_CERT_MISSING,
		    "no certificate was presented");
	return judge_chain(judge, row) && judge_purpose(judge, row);
}

/* --- lock --------------------------------------------------------------- */

static bool
judge_name(struct judge *judge, const struct demand_row *row)
{
	char presented[128];

	if (row->match == NULL)
		return true;
	switch (names_compare(judge->facts, row->match)) {
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

static bool
judge_pin(struct judge *judge, const struct demand_row *row)
{
	char hex[2 * SPKI_OCTETS + 1];

	if (row->pins == NULL)
		return true;
	for (size_t i = 0; i < SPKI_OCTETS; i++)
		(void)snprintf(hex + 2 * i, 3, "%02x", judge->facts->spki[i]);
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

/* --- the whole ----------------------------------------------------------- */

static bool
judge_rows(struct judge *judge, enum level level,
    bool (*is_met)(struct judge *, const struct demand_row *))
{
	const struct demand *demand = judge->demand;

	if (demand->level < level)
		return true;
	for (size_t i = 0; i < demand->row_count; i++)
		if (demand->rows[i].level >= level &&
		    !is_met(judge, &demand->rows[i]))
			return false;
	judge->out->reached = level;
	return true;
}

/* True if every point of the demand is met. */
static bool
judge_all(struct judge *judge)
{
	enum level asked = judge->demand->level;

	if (!judge->facts->tls) {
		judge->out->reached = LEVEL_NONE;
		if (asked != LEVEL_NONE)
			judge_cleartext(judge);
		return asked <= LEVEL_MAY;
	}
	judge->out->reached = LEVEL_ENCRYPT;
	return judge_strength(judge) &&
	       judge_rows(judge, LEVEL_VERIFY, row_is_verified) &&
	       judge_rows(judge, LEVEL_LOCK, row_is_locked);
}

static enum verdict
verdict_of(const struct demand *demand, const struct facts *facts, bool met)
{
	if (met)
		return VERDICT_PASS;
	/* Observing never goes below encrypt. */
	if (demand->observe && facts->tls)
		return VERDICT_OBSERVED;
	return demand->permanent ? VERDICT_PERMANENT : VERDICT_TEMPORARY;
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
				 ? snprintf(one, sizeof(one), "default")
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

void
decide(struct decision *out, const struct demand *demand,
    const struct facts *facts)
{
	struct judge judge = { demand, facts, out };

	memset(out, 0, sizeof(*out));
	out->side = demand->side;
	out->asked = demand->level;
	out->version = facts->tls ? facts->version : 0;
	(void)snprintf(out->site, sizeof(out->site), "%s", demand->site);
	(void)snprintf(out->suite, sizeof(out->suite), "%.63s", facts->suite);
	list_rows(out, demand);
	out->verdict = verdict_of(demand, facts, judge_all(&judge));
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

const char *
verdict_word(enum verdict verdict)
{
	static const char *const words[] = {
		[VERDICT_PASS] = "pass",
		[VERDICT_OBSERVED] = "observed",
		[VERDICT_TEMPORARY] = "refuse-temporary",
		[VERDICT_PERMANENT] = "refuse-permanent",
	};

	return (unsigned)verdict < COUNT(words) ? words[verdict] : "?";
}

/* Strangers chose parts of it: printable ASCII alone, one line. */
static void
escape(const char *text, char *out, size_t size)
{
	size_t len = 0;

	for (; *text != '\0' && len + 5 < size; text++) {
		unsigned char c = (unsigned char)*text;

		if (c == '"' || c == '\\') {
			out[len++] = '\\';
			out[len++] = (char)c;
		} else if (c < 0x20 || c >= 0x7f) {
			len += (size_t)snprintf(out + len, size - len,
			    "\\x%02x", c);
		} else {
			out[len++] = (char)c;
		}
	}
	out[len] = '\0';
}

static size_t
printed(int wanted, size_t size)
{
	if (wanted < 0 || size == 0)
		return 0;
	return (size_t)wanted < size ? (size_t)wanted : size - 1;
}

size_t
decision_print(const struct decision *decision, char *out, size_t size)
{
	const char *result = reason_result_type(decision->code);
	char detail[2 * REASON_TEXT_MAX], site[300];

	escape(decision->detail, detail, sizeof(detail));
	escape(decision->site, site, sizeof(site));
	return printed(
	    snprintf(out, size,
		"direction=%s site=%s row=%s asked=%s reached=%s verdict=%s "
		"reason=%s%s%s tls=%s%s%s%s%s%s%s%s",
		decision->side == SIDE_IN ? "in" : "out", site, decision->rows,
		level_word(decision->asked), level_word(decision->reached),
		verdict_word(decision->verdict), reason_word(decision->code),
		result[0] == '\0' ? "" : " result=", result,
		version_word(decision->version),
		decision->suite[0] == '\0' ? "" : " suite=", decision->suite,
		decision->ended[0] == '\0' ? "" : " ended=", decision->ended,
		detail[0] == '\0' ? "" : " detail=\"", detail,
		detail[0] == '\0' ? "" : "\""),
	    size);
}

enum { REPLY_OCTETS = 200 };

size_t
decision_reply(const struct decision *decision, char *out, size_t size)
{
	char detail[REASON_TEXT_MAX], site[128];

	if (size > REPLY_OCTETS + 1)
		size = REPLY_OCTETS + 1;
	escape(decision->detail, detail, sizeof(detail));
	escape(decision->site, site, sizeof(site));
	return printed(
	    snprintf(out, size,
		"TLS policy for %s: %s asked, %s reached: %s (row %.40s)%s%s",
		site, level_word(decision->asked),
		level_word(decision->reached), reason_word(decision->code),
		decision->rows, detail[0] == '\0' ? "" : ": ", detail),
	    size);
}
