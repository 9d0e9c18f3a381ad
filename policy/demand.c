/*
 * policy/demand.c: what the rows that speak demand together.
 */
#include "decide.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "internal.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

const char *
level_word(enum level level)
{
	static const char *const words[] = { "none", "may", "encrypt", "verify",
		"lock" };

	return (unsigned)level < COUNT(words) ? words[level] : "?";
}

struct demand *
demand_new(void)
{
	struct demand *demand = calloc(1, sizeof(*demand));

	if (demand != NULL)
		demand->reuse = true;
	return demand;
}

void
demand_free(struct demand *demand)
{
	free(demand);
}

/* --- text kept with the demand ------------------------------------------ */

static bool
keep_text(struct demand *demand, const char *text, const char **out,
    struct reason *why)
{
	size_t len = strlen(text) + 1;

	if (sizeof(demand->text) - demand->text_len < len)
		return fail(why, REASON_RANGE,
		    "rows for %s hold more than %d octets", demand->site,
		    DEMAND_TEXT);
	memcpy(demand->text + demand->text_len, text, len);
	*out = demand->text + demand->text_len;
	demand->text_len += len;
	return true;
}

/* A field that may be absent: *out is NULL then. */
static bool
keep_field(struct demand *demand, const struct row *row, enum field tag,
    const char **out, struct reason *why)
{
	const char *text = row_first(row, tag);

	*out = NULL;
	return text == NULL || keep_text(demand, text, out, why);
}

static bool
keep_list(struct demand *demand, const struct row *row, enum field tag,
    const char **out, struct reason *why)
{
	const char *text, *ignored;
	size_t cursor = 0;
	bool first = true;

	*out = NULL;
	while ((text = row_next(row, tag, &cursor)) != NULL) {
		if (!keep_text(demand, text, first ? out : &ignored, why))
			return false;
		first = false;
	}
	return first || keep_text(demand, "", &ignored, why);
}

/* Are its hosts what the SRV records of a domain say? */
static bool
is_by_srv(const struct demand *demand)
{
	return demand->side == SIDE_OUT && demand->port == 0;
}

static bool
keep_one(struct demand *demand, const char *text, const char **out,
    struct reason *why)
{
	const char *ignored;

	return keep_text(demand, text, out, why) &&
	       keep_text(demand, "", &ignored, why);
}

void
demand_start(struct demand *demand, const struct table *table, enum side side,
    const char *site)
{
	demand_tried tried = demand->tried;
	void *context = demand->tried_context;
	struct reason ignored;

	memset(demand, 0, sizeof(*demand));
	demand->tried = tried;
	demand->tried_context = context;
	demand->reuse = true;
	demand->side = side;
	(void)snprintf(demand->site, sizeof(demand->site), "%s", site);
	if (table != NULL)
		(void)keep_text(demand, table_meta(table)->name, &demand->file,
		    &ignored);
}

/* --- from rows to a demand ---------------------------------------------- */

/*
 * What the certificate's names are compared with if match= does not say: the
 * row's own key; going out, for a suffix, and for mail to a domain, the next
 * hop as the route names it.  Never what a client claims.  A key pin needs no
 * name.
 */
static bool
keep_reference(struct demand *demand, const struct row *row, char direction,
    const char **out, struct reason *why)
{
	const char *key = row_first(row, FIELD_KEY);
	char host[KEY_TEXT];
	struct address address;

	*out = NULL;
	/* Whoever writes SRV records would choose whom verify is about. */
	if (is_by_srv(demand) && row->level == LEVEL_VERIFY)
		return keep_one(demand, demand->site, out, why);
	if (row->level < LEVEL_LOCK || row_first(row, FIELD_PIN) != NULL)
		return true;
	if (direction == 'r')
		return keep_one(demand, demand->site, out, why);
	switch (row->kind) {
	case KEY_HOST:
		return keep_one(demand, key, out, why);
	case KEY_SUFFIX:
		return keep_one(demand, direction == 'o' ? demand->site : key,
		    out, why);
	case KEY_HOST_PORT:
		if (address_parse(&address, demand->site))
			return true; /* an address binds by options alone */
		(void)snprintf(host, sizeof(host), "%s", key);
		*strrchr(host, ':') = '\0';
		return keep_one(demand, host, out, why);
	case KEY_ADDRESS:
	case KEY_NETWORK:
	case KEY_MAILBOX:
	case KEY_ANY:
		break;
	}
	return true;
}

static bool
keep_anchors(struct demand *demand, const char *ca, const char *crl, int *out,
    struct reason *why)
{
	for (size_t i = 0; i < demand->anchors; i++)
		if (strcmp(demand->anchor[i], ca) == 0 &&
		    strcmp(demand->crl[i], crl) == 0) {
			*out = (int)i;
			return true;
		}
	if (demand->anchors == FACTS_CHAINS)
		return fail(why, REASON_RANGE,
		    "rows for %s name more than %d sets of trust anchors",
		    demand->site, FACTS_CHAINS);
	if (!keep_text(demand, ca, &demand->anchor[demand->anchors], why) ||
	    !keep_text(demand, crl, &demand->crl[demand->anchors], why))
		return false;
	*out = (int)demand->anchors++;
	return true;
}

/* A row by recipient that names no anchors of its own takes those of the row
 * that speaks for the next hop: it is about the same certificate. */
static bool
keep_row_anchors(struct demand *demand, const struct row *row, char direction,
    int *out, struct reason *why)
{
	const char *ca = row_first(row, FIELD_CA);
	const char *crl = row_first(row, FIELD_CRL);
	int base = demand->row_count > 0 ? demand->rows[0].anchors : -1;
	bool is_asked = row->level >= LEVEL_VERIFY && !row->no_chain;

	*out = -1;
	/* The ratchet wants to know how far the chain reaches by itself. */
	if (!is_asked && !(row->ratchet && direction == 'o'))
		return true;
	if (ca == NULL && direction == 'r' && base >= 0) {
		if (crl == NULL) {
			*out = base;
			return true;
		}
		ca = demand->anchor[base];
	}
	return keep_anchors(demand, ca == NULL ? "" : ca,
	    crl == NULL ? "" : crl, out, why);
}

static bool
keep_next_hop(struct demand *demand, const struct row *row, struct reason *why)
{
	demand->reuse = !row->no_reuse;
	return keep_field(demand, row, FIELD_CERT, &demand->cert, why) &&
	       keep_field(demand, row, FIELD_AUTH, &demand->auth, why) &&
	       keep_field(demand, row, FIELD_SNI, &demand->sni, why);
}

/* Each point takes the stricter. */
static void
demand_combine(struct demand *demand)
{
	enum row_fail combined = FAIL_UNSET;

	demand->level = LEVEL_NONE;
	demand->min = demand->bits = 0;
	demand->observe = true;
	demand->dane = demand->ratchet = false;
	for (size_t i = 0; i < demand->row_count; i++) {
		const struct demand_row *row = &demand->rows[i];

		if (row->level > demand->level)
			demand->level = row->level;
		if (row->min > demand->min)
			demand->min = row->min;
		if (row->bits > demand->bits)
			demand->bits = row->bits;
		if (!row->observe)
			demand->observe = false;
		if (row->dane)
			demand->dane = true;
		if (row->ratchet)
			demand->ratchet = true;
		if (row->fail > combined)
			combined = row->fail;
	}
	demand->permanent = combined == FAIL_UNSET ? demand->side == SIDE_IN
						   : combined == FAIL_PERMANENT;
}

static bool
has_line(const struct demand *demand, unsigned line)
{
	for (size_t i = 0; i < demand->row_count; i++)
		if (demand->rows[i].line == line)
			return true;
	return false;
}

bool
demand_add_row(struct demand *demand, const struct row *row, char direction,
    struct reason *why)
{
	bool next_hop = direction == 'o' || direction == 'r';
	struct demand_row kept = {
		.line = row->line,
		.level = row->level,
		.min = row->min,
		.bits = row->bits,
		.chain = !row->no_chain,
		.eku_any = row->eku_any,
		.observe = row->observe,
		.dane = row->dane && next_hop,
		.ratchet = row->ratchet && next_hop,
		.tls_optional = row->tls_optional && next_hop,
		.one_site =
		    row->kind == KEY_HOST || row->kind == KEY_HOST_PORT ||
		    row->kind == KEY_ADDRESS || row->kind == KEY_MAILBOX,
		.fail = row->fail,
		.identity = row->identity,
	};

	if (has_line(demand, row->line)) /* several recipients, one row */
		return true;
	if (demand->row_count == DEMAND_ROWS)
		return fail(why, REASON_RANGE, "more than %d rows speak for %s",
		    DEMAND_ROWS, demand->site);
	if (!keep_field(demand, row, FIELD_KEY, &kept.site, why) ||
	    !keep_list(demand, row, FIELD_MATCH, &kept.match, why) ||
	    !keep_list(demand, row, FIELD_PIN, &kept.pins, why) ||
	    !keep_list(demand, row, FIELD_ISSUER, &kept.issuers, why) ||
	    !keep_list(demand, row, FIELD_ORG, &kept.orgs, why) ||
	    !keep_row_anchors(demand, row, direction, &kept.anchors, why))
		return false;
	kept.match_is_hop = kept.match == NULL && next_hop;
	if (kept.match == NULL &&
	    !keep_reference(demand, row, direction, &kept.match, why))
		return false;
	if (direction == 'o' && !keep_next_hop(demand, row, why))
		return false;
	demand->rows[demand->row_count++] = kept;
	demand_combine(demand);
	return true;
}

/* No row matches: encrypt. */
void
demand_add_default(struct demand *demand)
{
	demand->rows[demand->row_count++] = (struct demand_row){
		.site = "default",
		.anchors = -1,
		.level = LEVEL_ENCRYPT,
		.chain = true,
	};
	demand_combine(demand);
}

/* --- what a message asks by itself --------------------------------------- */

/* By PKIX: what lock asks of a host, with the anchors of the next hop's own
 * row. */
static bool
promise_by_name(struct demand *demand, struct demand_row *promise,
    struct reason *why)
{
	int base = demand->rows[0].anchors;

	promise->level = LEVEL_LOCK;
	promise->match_is_hop = true;
	promise->anchors = base;
	return keep_one(demand, demand->site, &promise->match, why) &&
	       (base >= 0 ||
		   keep_anchors(demand, "", "", &promise->anchors, why));
}

bool
demand_add_requiretls(struct demand *demand, struct reason *why)
{
	struct demand_row promise = {
		.site = "requiretls",
		.anchors = -1,
		.level = LEVEL_ENCRYPT,
		.chain = true,
		.is_promise = true,
	};
	bool is_locked =
	    demand->row_count > 0 && demand->rows[0].level == LEVEL_LOCK;

	if (demand->requiretls)
		return true;
	if (demand->row_count == 0 || demand->row_count == DEMAND_ROWS)
		return fail(why, REASON_RANGE, "%zu rows speak for %s",
		    demand->row_count, demand->site);
	promise.dane = demand->dane;
	if (!is_locked && !demand->dane &&
	    !promise_by_name(demand, &promise, why))
		return false;
	demand->requiretls = true;
	demand->rows[demand->row_count++] = promise;
	demand_combine(demand);
	return true;
}

void
demand_relax(struct demand *demand)
{
	/* RFC 8689, section 5: the header gives way to REQUIRETLS. */
	if (demand->requiretls)
		return;
	for (size_t i = 0; i < demand->row_count; i++) {
		struct demand_row *row = &demand->rows[i];

		if (!row->tls_optional || row->level <= LEVEL_MAY)
			continue;
		row->level = LEVEL_MAY;
		row->min = row->bits = 0;
		row->dane = row->ratchet = false;
	}
	demand_combine(demand);
}

/* --- questions ---------------------------------------------------------- */

bool
demand_wants_certificate(const struct demand *demand)
{
	return demand->level >= LEVEL_VERIFY;
}
