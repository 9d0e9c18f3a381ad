/*
 * policy/demand.c: which rows speak, and what they demand together.
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

static bool
keep_one(struct demand *demand, const char *text, const char **out,
    struct reason *why)
{
	const char *ignored;

	return keep_text(demand, text, out, why) &&
	       keep_text(demand, "", &ignored, why);
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

	*out = -1;
	if (row->level < LEVEL_VERIFY || row->no_chain)
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

static bool
demand_add_row(struct demand *demand, const struct row *row, char direction,
    struct reason *why)
{
	struct demand_row kept = {
		.line = row->line,
		.level = row->level,
		.min = row->min,
		.bits = row->bits,
		.chain = !row->no_chain,
		.eku_any = row->eku_any,
		.observe = row->observe,
		.fail = row->fail,
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
static void
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

/* --- looking rows up ---------------------------------------------------- */

struct search {
	struct demand *demand;
	const struct table *table;
	char direction; /* i, o, f, r */
	time_t now;
	bool found; /* a row speaks: stop */
	struct row row;
	struct reason *why;
};

static const char *
search_direction(const struct search *s)
{
	switch (s->direction) {
	case 'i':
		return "in";
	case 'o':
		return "out";
	case 'f':
		return "from";
	default:
		return "rcpt";
	}
}

static void
tell(const struct search *s, const char *text, const char *what)
{
	if (s->demand->tried != NULL)
		s->demand->tried(s->demand->tried_context, search_direction(s),
		    text, s->found ? s->row.line : 0, what);
}

/*
 * An exception that is over counts as absent: of level may the whole row is
 * the exception; of mode=observe and eku=any the rest of the row holds, and
 * is enforced, as nothing lowers a demand.
 */
static bool
still_speaks(struct search *s, const char **what)
{
	*what = "speaks";
	if (s->row.level == LEVEL_NONE && s->direction == 'i') {
		*what = "absent: level none speaks on relay listeners alone";
		return false;
	}
	if (!row_is_over(&s->row, s->now))
		return true;
	s->demand->ended_line = s->row.line;
	if (s->row.level == LEVEL_MAY) {
		*what = "absent: its until= is past";
		return false;
	}
	s->row.observe = s->row.eku_any = false;
	*what = "speaks, without its exception: until= is past";
	return true;
}

/* False only if the table cannot be read. */
static bool
try_key(struct search *s, const unsigned char *key, size_t len,
    const char *text)
{
	const char *what = "no row";

	if (!table_get(s->table, key, len, &s->row, &s->found, s->why))
		return false;
	if (s->found) {
		bool speaks = still_speaks(s, &what);

		tell(s, text, what);
		s->found = speaks;
	} else {
		tell(s, text, what);
	}
	return true;
}

static bool
try_text(struct search *s, char kind, const char *text, const char *shown)
{
	unsigned char key[KEY_OCTETS];
	size_t len =
	    key_encode_text(s->direction, kind, text, strlen(text), key);

	return try_key(s, key, len, shown);
}

static bool
try_any(struct search *s)
{
	return s->found || try_text(s, '*', "*", "*");
}

/* Longest prefix first; only lengths that some row uses are asked for. */
static bool
try_address(struct search *s, const struct address *address)
{
	unsigned direction = s->direction == 'i' ? DIRECTION_IN : DIRECTION_OUT;
	const struct prefixes *prefixes =
	    &table_meta(s->table)
		 ->prefixes[prefixes_of(direction, address->family)];
	unsigned char key[KEY_OCTETS];
	char text[64];

	for (unsigned bits = address->prefix + 1; bits-- > 0 && !s->found;) {
		struct address network;

		if (!prefixes->used[bits])
			continue;
		network = address_network(address, bits);
		address_print(&network, text);
		if (!try_key(s, key,
			key_encode_address(s->direction, &network, key), text))
			return false;
	}
	return true;
}

/* The host itself, then the longest suffix. */
static bool
try_host(struct search *s, const char *host)
{
	if (!s->found && !try_text(s, 'h', host, host))
		return false;
	for (const char *dot = strchr(host, '.'); dot != NULL && !s->found;
	     dot = strchr(dot + 1, '.'))
		if (!try_text(s, 's', dot, dot))
			return false;
	return true;
}

static struct search
search_begin(struct demand *demand, const struct table *table, char direction,
    time_t now, struct reason *why)
{
	struct search s;

	memset(&s, 0, offsetof(struct search, row));
	s.row.fields_len = 0;
	s.demand = demand;
	s.table = table;
	s.direction = direction;
	s.now = now;
	s.why = why;
	return s;
}

static bool
search_take(struct search *s)
{
	return !s->found ||
	       demand_add_row(s->demand, &s->row, s->direction, s->why);
}

static void
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

bool
demand_in(struct demand *demand, const struct table *table,
    const struct sockaddr_storage *peer, time_t now, struct reason *why)
{
	struct search s = search_begin(demand, table, 'i', now, why);
	struct address address;
	char text[64] = "local";
	bool is_address = address_of_peer(&address, peer);

	if (is_address)
		address_print(&address, text);
	demand_start(demand, table, SIDE_IN, text);
	if (table != NULL) {
		if (is_address && !try_address(&s, &address))
			return false;
		if (!try_any(&s) || !search_take(&s))
			return false;
	}
	if (demand->row_count == 0)
		demand_add_default(demand);
	return true;
}

static bool
add_by_host(struct demand *demand, const struct table *table, char direction,
    const char *name, size_t len, time_t now, struct reason *why)
{
	struct search s = search_begin(demand, table, direction, now, why);
	char host[HOST_MAX];

	if (table == NULL || !host_normalise(host, name, len))
		return true;
	return try_host(&s, host) && search_take(&s);
}

bool
demand_add_ehlo(struct demand *demand, const struct table *table,
    const char *ehlo, time_t now, struct reason *why)
{
	return add_by_host(demand, table, 'i', ehlo, strlen(ehlo), now, why);
}

/* Between the last "@" and the end, "<" and ">" around it ignored. */
static const char *
domain_of_path(const char *path, size_t *len_out)
{
	const char *at = strrchr(path, '@');
	size_t len;

	if (at == NULL)
		return NULL;
	len = strlen(++at);
	if (len > 0 && at[len - 1] == '>')
		len--;
	*len_out = len;
	return at;
}

bool
demand_add_from(struct demand *demand, const struct table *table,
    const char *reverse_path, time_t now, struct reason *why)
{
	size_t len;
	const char *domain = domain_of_path(reverse_path, &len);

	return domain == NULL ||
	       add_by_host(demand, table, 'f', domain, len, now, why);
}

static bool
try_next_hop(struct search *s, const char *host, uint16_t port)
{
	char text[HOST_MAX + 16], name[HOST_MAX];
	struct address address;

	if (address_parse(&address, host)) {
		address_print(&address, name);
		(void)snprintf(text, sizeof(text),
		    address.family == AF_INET6 ? "[%s]:%u" : "%s:%u", name,
		    port);
		if (!try_text(s, 'p', text, text) ||
		    (!s->found && !try_address(s, &address)))
			return false;
	} else if (host_normalise(name, host, strlen(host))) {
		(void)snprintf(text, sizeof(text), "%s:%u", name, port);
		if (!try_text(s, 'p', text, text) || !try_host(s, name))
			return false;
	}
	return try_any(s);
}

bool
demand_out(struct demand *demand, const struct table *table, const char *host,
    uint16_t port, time_t now, struct reason *why)
{
	struct search s = search_begin(demand, table, 'o', now, why);
	struct address address;
	char name[HOST_MAX], text[64];
	const char *site = host;

	if (address_parse(&address, host)) {
		address_print(&address, text);
		site = text;
	} else if (host_normalise(name, host, strlen(host))) {
		site = name;
	}
	demand_start(demand, table, SIDE_OUT, site);
	if (table != NULL &&
	    (!try_next_hop(&s, host, port) || !search_take(&s)))
		return false;
	if (demand->row_count == 0)
		demand_add_default(demand);
	return true;
}

/* The mailbox in the form of a row's key: quotes taken away, as "user"@d is
 * user@d, and without case, as that can only bring more rows. */
static bool
mailbox_normalise(char out[static KEY_TEXT], const char *path, const char *host)
{
	const char *at = strrchr(path, '@');
	size_t len = 0;

	for (const char *in = path; in < at; in++) {
		char c = *in;

		if (c == '"' || (in == path && c == '<'))
			continue;
		if (c == '\\' && in + 1 < at)
			c = *++in;
		if (len >= LOCAL_PART_MAX)
			return false; /* no row has one that long */
		out[len++] = c >= 'A' && c <= 'Z' ? (char)(c - 'A' + 'a') : c;
	}
	if (len == 0)
		return false;
	(void)snprintf(out + len, KEY_TEXT - len, "@%s", host);
	return true;
}

bool
demand_add_rcpt(struct demand *demand, const struct table *table,
    const char *forward_path, time_t now, struct reason *why)
{
	struct search s = search_begin(demand, table, 'r', now, why);
	char host[HOST_MAX], mailbox[KEY_TEXT];
	size_t len;
	const char *domain = domain_of_path(forward_path, &len);

	if (table == NULL || domain == NULL ||
	    !host_normalise(host, domain, len))
		return true;
	if (mailbox_normalise(mailbox, forward_path, host) &&
	    !try_text(&s, 'u', mailbox, mailbox))
		return false;
	return (s.found || try_host(&s, host)) && search_take(&s);
}

/* --- questions ---------------------------------------------------------- */

bool
demand_wants_certificate(const struct demand *demand)
{
	return demand->level >= LEVEL_VERIFY;
}
