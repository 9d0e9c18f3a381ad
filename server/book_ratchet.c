/*
 * server/book_ratchet.c: the best that a site has shown.
 */
#include "book_internal.h"

#include <stdio.h>
#include <string.h>

#include "log.h"

void
book_best(struct book *book, const char *site, struct shown *out)
{
	const struct book_ratchet *ratchet;

	memset(out, 0, sizeof(*out));
	pthread_mutex_lock(&book->lock);
	ratchet =
	    (const struct book_ratchet *)book_table_find(&book->ratchets, site);
	if (ratchet != NULL)
		*out = ratchet->shown;
	pthread_mutex_unlock(&book->lock);
}

/* True if best has become more. */
static bool
raise_each(struct shown *best, const struct shown *shown)
{
	bool more = false;

	if (shown->level > best->level) {
		best->level = shown->level;
		more = true;
	}
	if (shown->version > best->version) {
		best->version = shown->version;
		more = true;
	}
	if (best->issuer[0] == '\0' && shown->issuer[0] != '\0') {
		memcpy(best->issuer, shown->issuer, sizeof(best->issuer));
		more = true;
	}
	return more;
}

/* Callers hold lock. */
static bool
raise_site(struct book *book, const char *site, const struct shown *shown,
    struct reason *why)
{
	struct book_ratchet *ratchet =
	    (struct book_ratchet *)book_table_find(&book->ratchets, site);

	if (ratchet == NULL) {
		ratchet = (struct book_ratchet *)book_table_add(&book->ratchets,
		    site, sizeof(*ratchet));
		if (ratchet == NULL)
			return fail(why, REASON_RANGE,
			    "%.100s: no room among %zu ratchets", site,
			    book->ratchets.count);
	}
	if (raise_each(&ratchet->shown, shown)) {
		ratchet->since = book_now(book);
		book->dirty[PART_RATCHETS] = true;
	}
	return true;
}

bool
book_raise(struct book *book, const char *site, const struct shown *shown,
    struct reason *why)
{
	bool ok;

	if (shown->level == LEVEL_NONE)
		return true;
	pthread_mutex_lock(&book->lock);
	ok = raise_site(book, site, shown, why);
	pthread_mutex_unlock(&book->lock);
	/* Also where nothing was raised: another thread's write of the same
	 * may be under way, or have failed. */
	return ok && book_file_save(book, PART_RATCHETS, why);
}

/* Callers hold lock. */
static bool
lower_site(struct book *book, const char *site, enum level level,
    struct reason *why)
{
	struct book_ratchet *ratchet =
	    (struct book_ratchet *)book_table_find(&book->ratchets, site);

	if (ratchet == NULL)
		return fail(why, REASON_ABSENT,
		    "%.100s: nothing is remembered of it", site);
	if (level != LEVEL_NONE && level > ratchet->shown.level)
		return fail(why, REASON_RANGE,
		    "%.100s: %s is remembered, which is less than %s", site,
		    level_word(ratchet->shown.level), level_word(level));
	log_line(SAY_WARNING, "ratchet-lowered",
	    "site=%s level=%s was=%s by=operator", site,
	    level == LEVEL_NONE ? "forgotten" : level_word(level),
	    level_word(ratchet->shown.level));
	if (level == LEVEL_NONE) {
		book_table_remove(&book->ratchets, &ratchet->entry);
	} else {
		/* Version and issuer are learned anew. */
		memset(&ratchet->shown, 0, sizeof(ratchet->shown));
		ratchet->shown.level = level;
		ratchet->since = book_now(book);
	}
	book->dirty[PART_RATCHETS] = true;
	return true;
}

bool
book_ratchet_lower(struct book *book, const char *site, enum level level,
    struct reason *why)
{
	bool ok;

	pthread_mutex_lock(&book->lock);
	ok = lower_site(book, site, level, why);
	pthread_mutex_unlock(&book->lock);
	return ok && book_file_save(book, PART_RATCHETS, why);
}
