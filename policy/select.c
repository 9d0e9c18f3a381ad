/*
 * policy/select.c: which rows speak for a client, a next hop, a recipient.
 */
#include "decide.h"

#include <stdio.h>
#include <string.h>

#include "internal.h"

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
 * the exception; of mode=observe, eku=any and tls-optional=yes the rest of the
 * row holds, and is enforced, as nothing lowers a demand.
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
	s->row.observe = s->row.eku_any = s->row.tls_optional = false;
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

bool
demand_add_from(struct demand *demand, const struct table *table,
    const char *reverse_path, time_t now, struct reason *why)
{
	char host[HOST_MAX];

	return !path_host(host, reverse_path) ||
	       add_by_host(demand, table, 'f', host, strlen(host), now, why);
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
		if ((port != 0 && !try_text(s, 'p', text, text)) ||
		    !try_host(s, name))
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
	demand->port = port;
	if (table != NULL &&
	    (!try_next_hop(&s, host, port) || !search_take(&s)))
		return false;
	if (demand->row_count == 0)
		demand_add_default(demand);
	return true;
}

bool
demand_add_rcpt(struct demand *demand, const struct table *table,
    const char *forward_path, time_t now, struct reason *why)
{
	struct search s = search_begin(demand, table, 'r', now, why);
	char host[HOST_MAX], mailbox[KEY_TEXT];

	if (table == NULL || !path_host(host, forward_path))
		return true;
	if (path_mailbox(mailbox, forward_path) &&
	    !try_text(&s, 'u', mailbox, mailbox))
		return false;
	return (s.found || try_host(&s, host)) && search_take(&s);
}
