/*
 * tools/probe_row.c: the strongest row that a site would pass today.
 *
 * Rows are written as an operator would, strongest first; each is compiled
 * and judged by the same code that would enforce it, and the first that
 * passes is it.  What the row that speaks says of other things (cert=, auth=,
 * its trust anchors) is carried over.
 */
#include "probe.h"

#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../policy/key.h"
#include "../policy/names.h"

/* An exception that has to be written is this long, in seconds. */
enum { EXCEPTION_S = 90 * 86400 };

/* What a row binds the certificate to. */
enum binding {
	BIND_CARRIED, /* what the row that speaks has: pins, issuer, ... */
	BIND_NAME,    /* the site's name or address */
	BIND_KEY,     /* the key it shows now */
};

/* One candidate. */
struct candidate {
	enum level level;
	enum binding binding;
	const struct probe_set *set; /* path verified with; NULL: chain=no */
	bool dane;
};

/* --- text -------------------------------------------------------------------
 */

/* A line that grows; too long is no line at all. */
struct line {
	char text[PROBE_ROW];
	size_t len;
	bool cut;
};

static void put(struct line *line, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

static void
put(struct line *line, const char *format, ...)
{
	size_t room = sizeof(line->text) - line->len;
	va_list ap;
	int n;

	va_start(ap, format);
	n = vsnprintf(line->text + line->len, room, format, ap);
	va_end(ap);
	if (n < 0 || (size_t)n >= room)
		line->cut = true;
	else
		line->len += (size_t)n;
}

static void
put_option(struct line *line, const char *word, const char *value)
{
	bool quoted = value[strcspn(value, " \t\"\\#")] != '\0';

	put(line, " %s=%s", word, quoted ? "\"" : "");
	for (; *value != '\0'; value++)
		put(line, "%s%c", *value == '"' || *value == '\\' ? "\\" : "",
		    *value);
	put(line, "%s", quoted ? "\"" : "");
}

static void
put_list(struct line *line, const char *word, const char *prefix,
    const char *list)
{
	char value[1100];

	for (; list != NULL && *list != '\0'; list += strlen(list) + 1) {
		(void)snprintf(value, sizeof(value), "%s%s", prefix, list);
		put_option(line, word, value);
	}
}

static const struct demand_row *
base_of(const struct probe *probe)
{
	return &probe->demand->rows[0];
}

/* "host:port" only where the table has it that way. */
static void
put_site(struct line *line, const struct probe *probe)
{
	const struct probe_target *target = &probe->target;
	struct key key;

	if (base_of(probe)->line != 0 &&
	    key_parse(&key, base_of(probe)->site, NULL) &&
	    key.kind == KEY_HOST_PORT)
		put(line, "%s", base_of(probe)->site);
	else
		put(line, "%s", target->host);
}

static bool
host_is_named(const struct probe *probe)
{
	char list[PROBE_HOST + 1] = { 0 };

	(void)snprintf(list, PROBE_HOST, "%s", probe->target.host);
	return names_compare(&probe->facts, list) == NAMES_MATCH;
}

static bool
match_is_own_host(const struct probe *probe, const char *match)
{
	return match != NULL && strcmp(match, probe->target.host) == 0 &&
	       match[strlen(match) + 1] == '\0';
}

static void
put_carried(struct line *line, const struct probe *probe)
{
	const struct demand_row *row = base_of(probe);
	bool own = match_is_own_host(probe, row->match);

	if (row->match != NULL && (!own || probe->target.is_address))
		put_list(line, "match", "", row->match);
	/* A pin alone compares no name. */
	else if (row->pins != NULL && host_is_named(probe))
		put_option(line, "match", probe->target.host);
	put_list(line, "pin", "sha256:", row->pins);
	put_list(line, "issuer", "", row->issuers);
	put_list(line, "org", "", row->orgs);
}

/* What is about something else than how strong TLS is. */
static void
put_rest(struct line *line, const struct probe *probe)
{
	const struct demand *demand = probe->demand;
	const struct demand_row *row = base_of(probe);

	if (row->bits != 0 && row->bits <= probe->facts.bits)
		put(line, " bits=%u", row->bits);
	if (demand->cert != NULL)
		put_option(line, "cert", demand->cert);
	if (demand->auth != NULL)
		put_option(line, "auth", demand->auth);
	if (demand->sni != NULL)
		put_option(line, "sni", demand->sni);
	if (!demand->reuse)
		put(line, " reuse=no");
	if (row->ratchet)
		put(line, " ratchet");
	if (row->fail != FAIL_UNSET)
		put(line, " fail=%s",
		    row->fail == FAIL_PERMANENT ? "permanent" : "temporary");
}

static void
put_binding(struct line *line, const struct probe *probe,
    const struct candidate *candidate)
{
	switch (candidate->binding) {
	case BIND_CARRIED:
		if (candidate->set != NULL)
			put_carried(line, probe);
		else
			put_list(line, "pin", "sha256:", base_of(probe)->pins);
		break;
	case BIND_NAME:
		if (probe->target.is_address)
			put_option(line, "match", probe->target.host);
		break;
	case BIND_KEY:
		put_option(line, "pin", probe->certificates[0].pin);
		break;
	}
	if (candidate->set == NULL)
		put(line, " chain=no");
}

static void
put_row(struct line *line, const struct probe *probe,
    const struct candidate *candidate)
{
	const struct probe_set *set = candidate->set;

	put_site(line, probe);
	put(line, " out %s", level_word(candidate->level));
	if (candidate->level == LEVEL_LOCK)
		put_binding(line, probe, candidate);
	if (set != NULL && set->anchors[0] != '\0')
		put_option(line, "ca", set->anchors);
	if (set != NULL && set->crl[0] != '\0')
		put_option(line, "crl", set->crl);
	if (probe->facts.version == 13)
		put(line, " min=tls1.3");
	if (candidate->dane)
		put(line, " dane");
	put_rest(line, probe);
}

/* --- does it pass? ----------------------------------------------------------
 */

/* In a scratch folder, as policy list does. */
static struct table *
compile(const struct probe_setup *setup, const char *row, time_t now)
{
	char text[PROBE_ROW + 2];
	const struct policy *policy = probe_policy(setup);
	const char *base = getenv("TMPDIR");
	struct table_source source = {
		.path =
		    policy->source.path != NULL ? policy->source.path : "sites",
		.text = { (unsigned char *)text, 0 },
		.now = now,
		.past_is_error = true,
	};
	char folder[PATH_MAX], path[PATH_MAX + 96], name[80];
	struct table *table = NULL;

	source.text.size =
	    (unsigned)snprintf(text, sizeof(text), "%.4095s\n", row);
	(void)snprintf(folder, sizeof(folder), "%s/sallyport-probe-XXXXXX",
	    base != NULL && base[0] == '/' ? base : "/tmp");
	if (mkdtemp(folder) == NULL)
		return NULL;
	if (table_compile(&source, folder, name, NULL, NULL, NULL)) {
		(void)snprintf(path, sizeof(path), "%s/%s", folder, name);
		if (!table_open(&table, path, false, NULL))
			table = NULL;
		(void)unlink(path);
	}
	(void)rmdir(folder);
	return table;
}

static bool
passes(struct probe *probe, struct probe_setup *setup,
    struct tls_session *session, const char *text)
{
	const struct probe_target *target = &probe->target;
	struct demand *demand = demand_new();
	struct table *table = compile(setup, text, probe->now);
	struct decision decision;
	bool ok = false;

	if (demand != NULL && table != NULL &&
	    demand_out(demand, table, target->host, target->port, probe->now,
		NULL)) {
		probe_decide(probe, setup, session, demand, &decision);
		ok = decision.verdict == VERDICT_PASS;
		if (ok)
			probe_compare(probe, demand);
	}
	table_close(table);
	demand_free(demand);
	return ok;
}

static bool
try_candidate(struct probe *probe, struct probe_setup *setup,
    struct tls_session *session, struct candidate candidate)
{
	for (int dane = probe->facts.dane == DANE_GOOD; dane >= 0; dane--) {
		struct line line = { .len = 0 };

		candidate.dane = dane != 0;
		put_row(&line, probe, &candidate);
		if (!line.cut && passes(probe, setup, session, line.text)) {
			(void)snprintf(probe->strongest,
			    sizeof(probe->strongest), "%s", line.text);
			return true;
		}
	}
	return false;
}

/* --- which there are --------------------------------------------------------
 */

static const struct probe_set *
good_set(const struct probe *probe)
{
	for (size_t i = 0; i < probe->set_count; i++)
		if (probe->sets[i].state == CHAIN_GOOD)
			return &probe->sets[i];
	return NULL;
}

/* Does the row that speaks bind by more than its own key? */
static bool
binds_by_option(const struct probe *probe)
{
	const struct demand_row *row = base_of(probe);

	return row->level == LEVEL_LOCK &&
	       (row->pins != NULL || row->issuers != NULL ||
		   row->orgs != NULL ||
		   (row->match != NULL &&
		       !match_is_own_host(probe, row->match)));
}

/* With a path, and the purpose that goes with it. */
static bool
find_with_chain(struct probe *probe, struct probe_setup *setup,
    struct tls_session *session, bool readable)
{
	struct candidate next = { LEVEL_LOCK, BIND_CARRIED, good_set(probe),
		false };

	if (next.set == NULL || probe->facts.purpose != PURPOSE_YES)
		return false;
	if (binds_by_option(probe) &&
	    try_candidate(probe, setup, session, next))
		return true;
	next.binding = BIND_NAME;
	if (host_is_named(probe) && try_candidate(probe, setup, session, next))
		return true;
	next.binding = BIND_KEY;
	return readable && try_candidate(probe, setup, session, next);
}

static bool
find_tls(struct probe *probe, struct probe_setup *setup,
    struct tls_session *session)
{
	bool readable = probe->certificate_count > 0 &&
			probe->certificates[0].pin[0] != '\0';
	struct candidate next = { LEVEL_LOCK, BIND_CARRIED, NULL, false };

	if (find_with_chain(probe, setup, session, readable))
		return true;
	if (base_of(probe)->pins != NULL &&
	    try_candidate(probe, setup, session, next))
		return true;
	next.binding = BIND_KEY;
	if (readable && try_candidate(probe, setup, session, next))
		return true;
	next.level = LEVEL_ENCRYPT;
	return try_candidate(probe, setup, session, next);
}

/* Without TLS there is at most the exception, and it has to end. */
static void
find_clear(struct probe *probe, struct probe_setup *setup)
{
	time_t until = probe->now + EXCEPTION_S;
	struct line line = { .len = 0 };
	char date[16] = "";
	struct tm tm;

	if (!probe_clear_will_do(probe) || gmtime_r(&until, &tm) == NULL ||
	    strftime(date, sizeof(date), "%Y-%m-%d", &tm) == 0)
		return;
	put_site(&line, probe);
	put(&line, " out may until=%s reason=\"no TLS there yet\"", date);
	if (!line.cut && passes(probe, setup, NULL, line.text))
		(void)snprintf(probe->strongest, sizeof(probe->strongest), "%s",
		    line.text);
}

/* --- what stands in the way -------------------------------------------------
 */

static void way(struct probe *probe, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

static void
way(struct probe *probe, const char *format, ...)
{
	char text[1024];
	va_list ap;

	if (probe->way_count == PROBE_WAYS)
		return;
	va_start(ap, format);
	(void)vsnprintf(text, sizeof(text), format, ap);
	va_end(ap);
	probe_escape(probe->ways[probe->way_count++], REASON_TEXT_MAX, text,
	    strlen(text));
}

static const char *
chain_wrong(enum chain_state state)
{
	static const char *const words[] = {
		[CHAIN_UNCHECKED] = "there are no usable trust anchors in",
		[CHAIN_GOOD] = "it chains to",
		[CHAIN_UNTRUSTED] = "it does not chain to",
		[CHAIN_SELF_SIGNED] = "it is self-signed and not among",
		[CHAIN_EXPIRED] = "it, or its issuer, has expired; path to",
		[CHAIN_NOT_YET_VALID] = "it is not valid yet; path to",
		[CHAIN_REVOKED] = "it is revoked; path to",
		[CHAIN_REVOCATION_UNKNOWN] =
		    "the revocation list is missing or stale; path to",
		[CHAIN_UNSTAPLED] =
		    "it demands a good OCSP response with it; path to",
		[CHAIN_WEAK] = "its key or signature is too weak; path to",
		[CHAIN_BAD] = "it cannot be verified; path to",
	};

	return words[state];
}

static void
ways_of_chain(struct probe *probe)
{
	if (!probe->facts.peer_cert) {
		way(probe, "verify: no certificate was shown");
		return;
	}
	if (good_set(probe) == NULL)
		for (size_t i = 0; i < probe->set_count; i++)
			way(probe, "verify: %s %.150s",
			    chain_wrong(probe->sets[i].state),
			    probe->sets[i].path);
	if (probe->facts.purpose == PURPOSE_OTHER)
		way(probe, "verify: its extended key usage lacks serverAuth");
	else if (probe->facts.purpose == PURPOSE_NONE)
		way(probe, "verify: it has no extended key usage at all");
}

static void
ways_of_name(struct probe *probe)
{
	char names[120];

	if (!probe->facts.peer_cert || host_is_named(probe))
		return;
	names_print(&probe->facts, names, sizeof(names));
	if (names[0] == '\0')
		way(probe, "lock by name: the certificate has no name in its "
			   "subjectAltName");
	else
		way(probe,
		    "lock by name: it names %s, not %.120s (match= if "
		    "that is meant)",
		    names, probe->target.host);
}

static void
ways_of_dane(struct probe *probe)
{
	const struct facts *facts = &probe->facts;

	if (facts->dane == DANE_GOOD || facts->dane == DANE_UNCHECKED ||
	    probe->target.is_address)
		return;
	way(probe, "dane: %.200s",
	    facts->dane_text[0] == '\0' ? "no TLSA record that DNSSEC proves"
					: facts->dane_text);
}

static void
find_ways(struct probe *probe)
{
	if (!probe->facts.tls) {
		way(probe, "encrypt: %.200s",
		    probe->facts.why_not_text[0] == '\0'
			? "no TLS"
			: probe->facts.why_not_text);
		if (!probe_clear_will_do(probe))
			way(probe, "may: the relay does not go on in clear %s",
			    probe->target.implicit_tls
				? "where TLS is implicit"
				: "where octets were injected");
		return;
	}
	ways_of_chain(probe);
	ways_of_name(probe);
	if (base_of(probe)->bits > probe->facts.bits)
		way(probe, "bits=%u: its cipher has a key of %u bits",
		    base_of(probe)->bits, probe->facts.bits);
	if (probe->facts.version < 13)
		way(probe, "min=tls1.3: it speaks TLS 1.2 at most");
	ways_of_dane(probe);
}

void
probe_strongest(struct probe *probe, struct probe_setup *setup,
    struct tls_session *session)
{
	if (session == NULL)
		find_clear(probe, setup);
	else
		(void)find_tls(probe, setup, session);
	find_ways(probe);
}
