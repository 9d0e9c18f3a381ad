/*
 * server/book_site.c: who fails since when, and the alarms about it.
 *
 * A site has the state it is in and the state that was told; an alarm makes
 * the second the first, at most once an hour.  A difference that has to wait is
 * told by book_site_tick, if it still stands then.
 */
#include "book_internal.h"

#include <stdio.h>
#include <string.h>

#include "log.h"

/* When everything fails at once the log and the operator's mailbox get this
 * many a minute and side; the rest follows, none is dropped. */
enum { ALARMS_A_MINUTE = 60 };

const char *
book_state_word(enum site_state state)
{
	static const char *const words[] = {
		[SITE_OK] = "ok",
		[SITE_FAILING] = "failing",
		[SITE_CLEAR] = "clear",
	};

	return words[state];
}

/* One whose state is not good, or not told, is never forgotten. */
bool
book_site_may_go(const struct book_entry *entry)
{
	const struct book_site *site = (const struct book_site *)entry;

	return site->state == SITE_OK && site->told == SITE_OK;
}

static const char *
alarm_word(const struct book_site *site)
{
	if (site->state == SITE_FAILING)
		return "failing";
	if (site->state == SITE_CLEAR)
		return "clear";
	return site->told == SITE_CLEAR ? "encrypted" : "recovered";
}

bool
book_within_budget(struct book *book, enum side side)
{
	int64_t now = book_now(book);

	if (book->budget[side].minute != now / 60) {
		book->budget[side].minute = now / 60;
		book->budget[side].alarms = 0;
	}
	return book->budget[side].alarms++ < ALARMS_A_MINUTE;
}

/* Its name stands in the record, but for the port that tells it from other
 * next hops of that host. */
static void
site_tell(struct book *book, struct book_site *site)
{
	char name[BOOK_KEY];
	int64_t now = book_now(book), passed = now - site->alarm_at;

	if (site->state == site->told)
		return;
	if ((site->alarm_at != 0 && passed >= 0 && passed < BOOK_HOUR_S) ||
	    !book_within_budget(book, site->side)) {
		book->pending = true;
		return;
	}
	log_line(SAY_ALARM, "site", "state=%s%s%s %s", alarm_word(site),
	    site->side == SIDE_OUT ? " next-hop=" : "",
	    site->side == SIDE_OUT
		? log_value(name, sizeof(name), site->entry.key,
		      strlen(site->entry.key))
		: "",
	    site->record);
	site->told = site->state;
	site->alarm_at = now;
	book->alarms++;
	book->dirty[PART_SITES] = true;
}

/*
 * A site whose row, or route, is gone is not heard of any more, neither good
 * nor bad: it would count as failing for ever, and at last fill the table.
 */
static void
forget_stale(struct book *book, struct book_table *sites, int64_t now)
{
	struct book_entry *entry = sites->oldest, *newer;
	char name[BOOK_KEY];

	for (; entry != NULL; entry = newer) {
		const struct book_site *site = (const struct book_site *)entry;

		newer = entry->newer;
		if (site->state == SITE_OK || now - site->bad_at < BOOK_STALE_S)
			continue;
		log_line(SAY_NOTE, "site-forgotten",
		    "direction=%s site=%s state=%s", book_side_word(site->side),
		    log_value(name, sizeof(name), entry->key,
			strlen(entry->key)),
		    book_state_word(site->state));
		book_table_remove(sites, entry);
		book->dirty[PART_SITES] = true;
	}
}

static void
sweep(struct book *book)
{
	int64_t now = book_now(book), passed = now - book->swept_at;

	if (passed >= 0 && passed < BOOK_HOUR_S)
		return;
	book->swept_at = now;
	for (size_t side = 0; side < BOOK_SIDES; side++)
		forget_stale(book, &book->sites[side], now);
}

void
book_site_tick(struct book *book)
{
	sweep(book);
	if (!book->pending)
		return;
	book->pending = false;
	for (size_t side = 0; side < BOOK_SIDES; side++) {
		for (struct book_entry *entry = book->sites[side].oldest;
		     entry != NULL; entry = entry->newer)
			site_tell(book, (struct book_site *)entry);
	}
}

static unsigned
rows_of(const struct decision *decision)
{
	unsigned count = 1;

	for (const char *c = decision->rows; *c != '\0'; c++)
		count += *c == ',';
	return count;
}

/*
 * Does a decision that is no refusal say that a failing site is well?  One that
 * asked less (of another message, whose recipients have no row of their own)
 * says so only when nothing was refused for an hour.
 */
static bool
speaks_for(const struct book_site *site, const struct decision *decision,
    int64_t now)
{
	return (decision->asked >= site->asked &&
		   rows_of(decision) >= site->row_count) ||
	       now - site->failed_at >= BOOK_HOUR_S;
}

/* A decision made without TLS says nothing before something has crossed. */
static enum site_state
state_after(const struct book_site *site, const struct decision *decision,
    bool crossed, int64_t now)
{
	if (decision->verdict >= VERDICT_TEMPORARY)
		return SITE_FAILING;
	if (site != NULL && site->state == SITE_FAILING &&
	    !speaks_for(site, decision, now))
		return SITE_FAILING;
	if (crossed)
		return SITE_CLEAR;
	if (site != NULL && site->state == SITE_CLEAR &&
	    decision->version == 0 && decision->asked == LEVEL_MAY)
		return SITE_CLEAR;
	return SITE_OK;
}

/* Failing sites are not forgotten silently, nor is one that cannot be kept. */
static void
tell_full(struct book *book, const struct decision *decision)
{
	int64_t now = book_now(book);
	int64_t passed = now - book->budget[decision->side].full_at;
	char record[BOOK_RECORD];

	if (book->budget[decision->side].full_at != 0 && passed >= 0 &&
	    passed < BOOK_HOUR_S)
		return;
	book->budget[decision->side].full_at = now;
	book->alarms++;
	decision_print(decision, record, sizeof(record));
	log_line(SAY_ALARM, "sites-full",
	    "sites=%zu what=\"too many sites fail to keep a record of each\" "
	    "%s",
	    book->sites[decision->side].count, record);
}

/* The file need not know it to the second. */
static void
is_bad(struct book *book, struct book_site *site, int64_t now)
{
	if (now / BOOK_HOUR_S != site->bad_at / BOOK_HOUR_S)
		book->dirty[PART_SITES] = true;
	site->bad_at = now;
}

static void
refused(struct book_site *site, const struct decision *decision, int64_t now)
{
	site->failed_at = now;
	site->asked = decision->asked;
	site->row_count = rows_of(decision);
	site->code = decision->code;
}

void
book_site_decided(struct book *book, const struct decision *decision,
    bool crossed)
{
	struct book_table *sites = &book->sites[decision->side];
	struct book_site *site;
	enum site_state state;
	char key[BOOK_KEY];
	int64_t now = book_now(book);

	if (!decision->names_one_site)
		return;
	book_key(key, decision->site, decision->port);
	site = (struct book_site *)book_table_find(sites, key);
	state = state_after(site, decision, crossed, now);
	if (site == NULL && state == SITE_OK)
		return;
	if (site == NULL)
		site = (struct book_site *)book_table_add(sites, key,
		    sizeof(*site));
	else
		book_table_touch(sites, &site->entry);
	if (site == NULL) {
		tell_full(book, decision);
		return;
	}
	site->side = decision->side;
	if (decision->verdict >= VERDICT_TEMPORARY)
		refused(site, decision, now);
	if (decision->verdict >= VERDICT_TEMPORARY || crossed)
		is_bad(book, site, now);
	if (site->state != state) {
		site->state = state;
		site->since = now;
		decision_print(decision, site->record, sizeof(site->record));
		book->dirty[PART_SITES] = true;
	}
	site_tell(book, site);
}
