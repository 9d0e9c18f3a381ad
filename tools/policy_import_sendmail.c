/*
 * tools/policy_import_sendmail.c: TLS_Srv, TLS_Clt, TLS_Rcpt, Try_TLS and
 * AuthInfo of an access map (cf/README, "STARTTLS" and "SMTP AUTHENTICATION"),
 * as text, the way makemap reads it.
 *
 * All lines are kept first: a login and a demand for the same server are one
 * row of ours, whichever comes first, and CITag refers to other lines.
 */
#include <ctype.h>
#include <search.h>
#include <stdlib.h>
#include <string.h>

#include "policy_import_demand.h"

enum tag {
	TAG_SRV,
	TAG_CLT,
	TAG_RCPT,
	TAG_TRY,
	TAG_AUTH,
	TAG_TLS_OTHER, /* says something of TLS that no row can */
	TAG_OTHER,
	TAG_COMMENT,
	TAG_BROKEN,
};

static const struct {
	const char *word;
	enum tag tag;
} tags[] = {
	{ "TLS_Srv", TAG_SRV },
	{ "TLS_Clt", TAG_CLT },
	{ "TLS_Rcpt", TAG_RCPT },
	{ "Try_TLS", TAG_TRY },
	{ "AuthInfo", TAG_AUTH },
	{ "TLS_Srv_features", TAG_TLS_OTHER },
	{ "TLS_Clt_features", TAG_TLS_OTHER },
	{ "Srv_Features", TAG_TLS_OTHER },
	{ "Clt_Features", TAG_TLS_OTHER },
};

struct record {
	unsigned line;
	enum tag tag;
	bool indexed; /* the first of its key, which counts */
	bool broken;  /* cut: its value is not known */
	char *name;   /* "tag:key" in lower case; the tree's order */
	char *key;    /* within name: after the tag */
	char *text;   /* the whole line: may hold a password */
	char *value;  /* within text */
	char login[LOGIN_NAME + 1]; /* TAG_AUTH: after auth= */
};

struct map {
	struct import *import;
	struct record *records;
	size_t count, room;
	void *tree;
	bool no_memory;
};

/* --- all lines ------------------------------------------------------------ */

static int
compare(const void *a, const void *b)
{
	return strcmp(((const struct record *)a)->name,
	    ((const struct record *)b)->name);
}

static const struct record *
find(const struct map *map, const char *tag, const char *key)
{
	char name[IMPORT_LINE + 32];
	struct record wanted = { .name = name };
	struct record *const *found;

	(void)snprintf(name, sizeof(name), "%s:%s", tag, key);
	found = tfind(&wanted, &map->tree, compare);
	return found != NULL ? *found : NULL;
}

static struct record *
new_record(struct map *map)
{
	if (map->count == map->room) {
		size_t room = map->room * 2 + 64;
		struct record *larger =
		    reallocarray(map->records, room, sizeof(*larger));

		if (larger == NULL) {
			map->no_memory = true;
			return NULL;
		}
		map->records = larger;
		map->room = room;
	}
	memset(&map->records[map->count], 0, sizeof(*map->records));
	return &map->records[map->count++];
}

static enum tag
tag_of(const char *name, size_t len)
{
	for (size_t i = 0; i < sizeof(tags) / sizeof(tags[0]); i++)
		if (strlen(tags[i].word) == len &&
		    strncasecmp(tags[i].word, name, len) == 0)
			return tags[i].tag;
	return TAG_OTHER;
}

static void
fill_record(struct record *record, unsigned number, const char *line)
{
	size_t key = strcspn(line, " \t");
	size_t tag;

	record->line = number;
	record->text = strdup(line);
	record->name = strndup(line, key);
	if (record->text == NULL || record->name == NULL)
		return;
	for (char *p = record->name; *p != '\0'; p++)
		*p = (char)tolower((unsigned char)*p);
	record->value = record->text + key;
	record->value += strspn(record->value, " \t");
	tag = strcspn(record->name, ":");
	record->tag = line[0] == '#' ? TAG_COMMENT
		      : key == 0     ? TAG_BROKEN
				     : tag_of(record->name, tag);
	record->key = record->name + tag + (record->name[tag] == ':' ? 1 : 0);
	if (record->name[tag] != ':' && record->tag < TAG_OTHER)
		record->tag = TAG_BROKEN;
}

static void
take_line(struct import *import, void *context, unsigned number, char *line,
    bool broken)
{
	struct map *map = context;
	struct record *record;

	(void)import;
	if (line[strspn(line, " \t")] == '\0')
		return;
	record = new_record(map);
	if (record == NULL)
		return;
	fill_record(record, number, line);
	record->broken = broken;
	if (record->key == NULL)
		map->no_memory = true;
}

/* Only now, when the records do not move any more. */
static void
index_records(struct map *map)
{
	for (size_t i = 0; i < map->count; i++) {
		struct record *record = &map->records[i];
		struct record **slot;

		if (record->tag >= TAG_COMMENT)
			continue;
		slot = tsearch(record, &map->tree, compare);
		if (slot == NULL)
			map->no_memory = true;
		else
			record->indexed = *slot == record;
	}
}

static void
keep(void *record)
{
	(void)record; /* the array has it */
}

static void
map_fini(struct map *map)
{
	tdestroy(map->tree, keep);
	for (size_t i = 0; i < map->count; i++) {
		struct record *record = &map->records[i];

		if (record->text != NULL)
			explicit_bzero(record->text, strlen(record->text));
		free(record->text);
		free(record->name);
	}
	free(map->records);
}

/* --- sites ---------------------------------------------------------------- */

/* "a.b.c": the network of its octets; "IPv6:x:y": of its groups. */
static bool
network_of(char *out, size_t size, const char *key)
{
	bool is_six = strncasecmp(key, "ipv6:", 5) == 0;
	const char *text = is_six ? key + 5 : key;
	char separator = is_six ? ':' : '.';
	unsigned parts = 1, all = is_six ? 8 : 4;
	size_t len = strlen(text);

	if (len == 0 || len > 45 ||
	    text[strspn(text, is_six ? "0123456789abcdef:." : "0123456789.")] !=
		'\0')
		return false;
	for (const char *p = text; *p != '\0'; p++)
		parts += *p == separator;
	if (parts >= all || strstr(text, "::") != NULL) {
		(void)snprintf(out, size, "%s", text);
		return true;
	}
	(void)snprintf(out, size, "%s", text);
	for (unsigned i = parts; i < all && !is_six; i++)
		(void)import_append(out, size, ".0");
	if (is_six)
		(void)import_append(out, size, "::");
	return import_append(out, size, "/%u", parts * (is_six ? 16 : 8));
}

/* The sites that a key of the map stands for: one, or a name and what is
 * under it.  False: none, and it has been remarked. */
static bool
sites_of(struct map *map, const char *key, struct key sites[static 2],
    size_t *count_out)
{
	char text[KEY_TEXT];
	struct reason why = { 0 };

	*count_out = 1;
	if (key[0] == '\0')
		return key_parse(&sites[0], "*", &why);
	if (network_of(text, sizeof(text), key)) {
		if (key_parse(&sites[0], text, &why))
			return true;
	} else if (strcmp(key, "*") == 0) {
		(void)fail(&why, REASON_SYNTAX, "* is no key of such a map");
	} else if (key_parse(&sites[0], key, &why)) {
		if (sites[0].kind != KEY_HOST)
			return true;
		(void)snprintf(text, sizeof(text), ".%.500s", sites[0].text);
		if (key_parse(&sites[1], text, &why)) {
			*count_out = 2;
			return true;
		}
	}
	import_remark(map->import, REMARK_CANNOT, "%s", why.text);
	return false;
}

/* The record that counts for key: its own, its parents', the bare tag's. */
static const struct record *
nearest(const struct map *map, const char *tag, const char *key)
{
	bool is_six = strncmp(key, "ipv6:", 5) == 0;
	char network[KEY_TEXT], shorter[IMPORT_LINE + 1];
	const struct record *found;
	char *end;

	if (!network_of(network, sizeof(network), key)) {
		for (;; key++) {
			if ((found = find(map, tag, key)) != NULL)
				return found;
			key = strchr(key, '.');
			if (key == NULL)
				return find(map, tag, "");
		}
	}
	(void)snprintf(shorter, sizeof(shorter), "%s", key);
	do {
		if ((found = find(map, tag, shorter)) != NULL)
			return found;
		end = strrchr(shorter, is_six ? ':' : '.');
		if (end != NULL)
			*end = '\0';
	} while (end != NULL);
	return find(map, tag, "");
}

/* --- demands -------------------------------------------------------------- */

/* Issuers that the map has "tag:DN OK" for. */
static void
gather_issuers(const struct map *map, struct demanded *demanded)
{
	size_t len = strlen(demanded->issuer_tag);
	bool any = false;

	if (len == 0)
		return;
	for (size_t i = 0; i < map->count; i++) {
		const struct record *record = &map->records[i];

		if (record->tag >= TAG_COMMENT ||
		    strncasecmp(record->text, demanded->issuer_tag, len) != 0 ||
		    record->text[len] != ':' ||
		    strcasecmp(record->value, "OK") != 0)
			continue;
		any = true;
		demand_add_issuer(demanded, record->text + len + 1,
		    strcspn(record->text + len + 1, " \t"));
	}
	if (!any)
		demand_refuse(demanded, "CITag without any issuer that is OK");
}

static void
write_sites(struct map *map, const struct record *record,
    const struct demanded *demanded, unsigned direction, const char *login)
{
	struct key sites[2];
	size_t count;

	if (!sites_of(map, record->key, sites, &count))
		return;
	if (direction == DIRECTION_OUT &&
	    (sites[0].kind == KEY_ADDRESS || sites[0].kind == KEY_NETWORK))
		import_remark(map->import, REMARK_CANNOT,
		    "the address of a server that the route names by host "
		    "name; only routes to the address itself are covered");
	if (direction == DIRECTION_IN && sites[0].kind == KEY_HOST)
		import_remark(map->import, REMARK_CANNOT,
		    "a client's name from reverse DNS; the rows go by what it "
		    "says in EHLO, so prefer its address");
	if (direction == DIRECTION_RCPT && sites[0].kind == KEY_ANY) {
		import_remark(map->import, REMARK_CANNOT,
		    "all recipients; ask it of * in direction out");
		return;
	}
	for (size_t i = 0; i < count; i++)
		demand_write(map->import, demanded, &sites[i], direction,
		    login);
}

/* Has this record a demand that Sendmail enforced? */
static bool
enforces(const struct map *map, const struct record *record,
    struct demanded *out)
{
	if (record == NULL ||
	    (!demand_read(out, record->value) && !record->broken))
		return false;
	if (record->broken)
		demand_refuse(out, "a line that cannot be read");
	gather_issuers(map, out);
	return true;
}

static void
take_demand(struct map *map, const struct record *record, unsigned direction)
{
	static struct demanded demanded;
	const struct record *login = record->tag == TAG_SRV
					 ? nearest(map, "authinfo", record->key)
					 : NULL;

	if (!enforces(map, record, &demanded)) {
		import_remark(map->import, REMARK_NEVER,
		    "\"%.80s\", expected VERIFY, VERIFY:BITS or ENCR:BITS",
		    import_shown(record->value));
		return;
	}
	demand_remark(map->import, &demanded);
	write_sites(map, record, &demanded, direction,
	    login != NULL ? login->login : "");
}

static void
take_client(struct map *map, const struct record *record)
{
	take_demand(map, record, DIRECTION_IN);
}

static void
take_server(struct map *map, const struct record *record)
{
	take_demand(map, record, DIRECTION_OUT);
}

static void
take_recipient(struct map *map, const struct record *record)
{
	size_t len = strlen(record->key);

	if (len > 0 && record->key[len - 1] == '@') {
		import_remark(map->import, REMARK_CANNOT,
		    "a user of any domain, expected user@domain");
		return;
	}
	take_demand(map, record, DIRECTION_RCPT);
}

static void
take_try(struct map *map, const struct record *record)
{
	static struct demanded demanded;
	struct asked nothing = { .level = LEVEL_NONE };
	struct key sites[2];
	size_t count;

	if (strcasecmp(record->value, "NO") != 0) {
		import_remark(map->import, REMARK_NEVER,
		    "\"%.80s\", expected NO", import_shown(record->value));
		return;
	}
	if (enforces(map, nearest(map, "tls_srv", record->key), &demanded)) {
		import_remark(map->import, REMARK_NOTE,
		    "TLS_Srv asks for TLS, so that nothing was sent; that "
		    "stays, with TLS");
		return;
	}
	if (!sites_of(map, record->key, sites, &count))
		return;
	if (sites[0].kind == KEY_ADDRESS &&
	    address_is_loopback(&sites[0].address)) {
		import_row(map->import, sites[0].text, DIRECTION_OUT, &nothing,
		    "");
		return;
	}
	import_remark(map->import, REMARK_CANNOT,
	    "no TLS outside of this host; without a row it is encrypt");
}

/* --- logins --------------------------------------------------------------- */

static void
name_login(struct record *record)
{
	size_t len = strlen(record->key);

	if (len == 0)
		(void)snprintf(record->login, sizeof(record->login), "default");
	else if (len > LOGIN_NAME)
		(void)snprintf(record->login, sizeof(record->login), "login-%u",
		    record->line);
	else
		memcpy(record->login, record->key, len + 1);
	for (char *p = record->login; *p != '\0'; p++)
		if (!isalnum((unsigned char)*p) && strchr("-_.", *p) == NULL)
			*p = '-';
}

/* A login alone asks for TLS, and for all that a wider demand does. */
static void
take_login(struct map *map, const struct record *record)
{
	static struct demanded demanded;
	const struct record *own = find(map, "tls_srv", record->key);
	char line[512];

	if (!record->indexed) {
		import_remark(map->import, REMARK_NEVER,
		    "a second login of the same server");
		return;
	}
	if (!login_line(line, sizeof(line), record->login, record->value)) {
		import_remark(map->import, REMARK_CANNOT, "%s", line);
		return;
	}
	import_remark(map->import, REMARK_NOTE, "into upstream: %s", line);
	if (enforces(map, own, &demanded)) {
		import_remark(map->import, REMARK_NOTE,
		    "its row is that of line %u", own->line);
		return;
	}
	if (!enforces(map, nearest(map, "tls_srv", record->key), &demanded))
		demand_encrypt(&demanded);
	import_remark(map->import, REMARK_STRICTER,
	    "the login is used inside TLS alone");
	write_sites(map, record, &demanded, DIRECTION_OUT, record->login);
}

/* --- the map -------------------------------------------------------------- */

static void
take_record(struct map *map, const struct record *record)
{
	static void (*const takes[])(struct map * map,
	    const struct record *record) = {
		[TAG_SRV] = take_server,
		[TAG_CLT] = take_client,
		[TAG_RCPT] = take_recipient,
		[TAG_TRY] = take_try,
		[TAG_AUTH] = take_login,
	};

	import_line(map->import, record->line, record->text,
	    strlen(record->text));
	if (record->tag == TAG_BROKEN)
		import_broken(map->import,
		    "expected a key such as TLS_Srv:NAME, and its value");
	else if (record->tag == TAG_TLS_OTHER)
		import_remark(map->import, REMARK_CANNOT,
		    "an option of sessions, which no row is; see "
		    "sallyport.conf(5)");
	else if (record->tag == TAG_OTHER)
		import_remark(map->import, REMARK_NOTE,
		    "not about the strength of TLS");
	else if (record->tag != TAG_COMMENT &&
		 (!record->broken || record->value[0] != '\0'))
		takes[record->tag](map, record);
}

void
import_sendmail(struct import *import, const char *text, size_t len)
{
	struct map map = { .import = import };

	import_each_line(import, text, len, take_line, &map);
	if (!map.no_memory) {
		index_records(&map);
		for (size_t i = 0; i < map.count; i++)
			if (map.records[i].tag == TAG_AUTH)
				name_login(&map.records[i]);
		for (size_t i = 0; i < map.count; i++)
			take_record(&map, &map.records[i]);
	}
	if (map.no_memory)
		import_broken(import, "out of memory");
	map_fini(&map);
}
