/*
 * server/book.c: the relay's book, as a whole: open, count, write, close.
 */
#include "book_internal.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "log.h"

enum { COUNT_SITES = 16 }; /* named in status; all are counted */

static int64_t
system_clock(void *context)
{
	(void)context;
	return (int64_t)time(NULL);
}

int64_t
book_now(const struct book *book)
{
	return book->clock(book->clock_context);
}

void
book_key(char out[static BOOK_KEY], const char *host, unsigned port)
{
	if (port == 0)
		(void)snprintf(out, BOOK_KEY, "%s", host);
	else
		(void)snprintf(out, BOOK_KEY,
		    strchr(host, ':') == NULL ? "%s:%u" : "[%s]:%u", host,
		    port);
}

const char *
book_side_word(enum side side)
{
	return side == SIDE_IN ? "in" : "out";
}

int
book_side_by_word(const char *word)
{
	if (strcmp(word, "in") == 0)
		return SIDE_IN;
	return strcmp(word, "out") == 0 ? SIDE_OUT : -1;
}

static bool
never_goes(const struct book_entry *entry)
{
	(void)entry;
	return false;
}

static void
book_free(struct book *book)
{
	for (size_t i = 0; i < BOOK_SIDES; i++) {
		book_table_fini(&book->sites[i]);
		book_table_fini(&book->observed[i]);
	}
	book_table_fini(&book->ratchets);
	book_table_fini(&book->proofs);
	book_table_fini(&book->certificates);
	for (size_t i = 0; i < BOOK_PARTS; i++)
		pthread_mutex_destroy(&book->file_lock[i]);
	pthread_mutex_destroy(&book->lock);
	free(book);
}

static struct book *
book_new(const char *folder, bool read_only)
{
	struct book *book = calloc(1, sizeof(*book));

	if (book == NULL)
		return NULL;
	(void)snprintf(book->folder, sizeof(book->folder), "%s", folder);
	book->read_only = read_only;
	book->clock = system_clock;
	pthread_mutex_init(&book->lock, NULL);
	for (size_t i = 0; i < BOOK_PARTS; i++)
		pthread_mutex_init(&book->file_lock[i], NULL);
	for (size_t i = 0; i < BOOK_SIDES; i++) {
		book_table_init(&book->sites[i]);
		book_table_init(&book->observed[i]);
		book->sites[i].may_go = book_site_may_go;
	}
	book_table_init(&book->ratchets);
	book_table_init(&book->proofs);
	book_table_init(&book->certificates);
	book->ratchets.may_go = never_goes;
	book->proofs.fini = book_proof_fini;
	return book;
}

static bool
open_book(struct book **book_out, const char *folder, bool read_only,
    struct reason *why)
{
	struct book *book;

	if (strlen(folder) >= sizeof(book->folder))
		return fail(why, REASON_RANGE, "%.100s...: path too long",
		    folder);
	book = book_new(folder, read_only);
	if (book == NULL)
		return fail(why, REASON_NO_MEMORY, "book");
	if (!book_files_load(book, why)) {
		book_free(book);
		return false;
	}
	*book_out = book;
	return true;
}

bool
book_open(struct book **book_out, const char *folder, struct reason *why)
{
	return open_book(book_out, folder, false, why);
}

bool
book_open_read_only(struct book **book_out, const char *folder,
    struct reason *why)
{
	return open_book(book_out, folder, true, why);
}

void
book_set_clock(struct book *book, int64_t (*clock)(void *context),
    void *context)
{
	book->clock = clock;
	book->clock_context = context;
}

void
book_save(struct book *book)
{
	struct reason why;
	bool ok = true, failed_before;

	for (int part = 0; part < BOOK_PARTS; part++)
		if (!book_file_save(book, (enum book_part)part, &why))
			ok = false;
	/* Once, not every few seconds: it is tried again. */
	pthread_mutex_lock(&book->lock);
	failed_before = book->write_failed;
	book->write_failed = !ok;
	pthread_mutex_unlock(&book->lock);
	if (!ok && !failed_before)
		log_line(SAY_ERROR, "book",
		    "what=write reason=%s detail=\"%s\"", reason_word(why.code),
		    why.text);
	if (ok && failed_before)
		log_line(SAY_NOTE, "book", "what=write result=recovered");
}

void
book_close(struct book *book)
{
	if (book == NULL)
		return;
	book_save(book);
	book_free(book);
}

static int64_t
elapsed_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* A part is written whole: the longer that takes, the longer until the next
 * time. */
static void
save_in_turn(struct book *book)
{
	int64_t took = elapsed_ms(), after;

	book_save(book);
	took = elapsed_ms() - took;
	after = took * BOOK_WRITE_SHARE / 1000;
	pthread_mutex_lock(&book->lock);
	book->write_after_s =
	    after < BOOK_WRITE_EVERY_S ? BOOK_WRITE_EVERY_S : after;
	pthread_mutex_unlock(&book->lock);
}

void
book_tick(struct book *book)
{
	int64_t now, passed;
	bool due;

	pthread_mutex_lock(&book->lock);
	book_site_tick(book);
	now = book_now(book);
	passed = now - book->written_at;
	due = passed < 0 || passed >= book->write_after_s;
	if (due)
		book->written_at = now;
	pthread_mutex_unlock(&book->lock);
	if (due)
		save_in_turn(book);
}

/* Decisions. */

static void
observe(struct book *book, enum side side, const struct observed_row *seen)
{
	struct book_table *table = &book->observed[side];
	struct book_observed *row;
	char key[17];
	int64_t now = book_now(book);

	snprintf(key, sizeof(key), "%016" PRIx64, seen->identity);
	row = (struct book_observed *)book_table_find(table, key);
	if (row != NULL)
		book_table_touch(table, &row->entry);
	else
		row = (struct book_observed *)book_table_add(table, key,
		    sizeof(*row));
	if (row == NULL)
		return;
	if (row->connections++ == 0)
		row->since = now;
	row->last = now;
	if (seen->met) {
		row->clean++;
	} else {
		row->clean = 0;
		row->refused++;
		row->reasons[seen->code]++;
		row->last_refused = now;
	}
	book->dirty[PART_OBSERVED] = true;
}

void
book_decided(struct book *book, const struct decision *decision, bool crossed)
{
	pthread_mutex_lock(&book->lock);
	book->verdicts[decision->side][decision->verdict]++;
	if (decision->verdict != VERDICT_PASS)
		book->reasons[decision->side][decision->code]++;
	if (crossed)
		book->clear++;
	for (size_t i = 0; i < decision->observed_count; i++)
		observe(book, decision->side, &decision->observed[i]);
	book_site_decided(book, decision, crossed);
	book_client_certificate(book, decision);
	pthread_mutex_unlock(&book->lock);
}

/* Status. */

static void
add_count(json_t *object, const char *key, uint64_t count)
{
	json_int_t before = json_integer_value(json_object_get(object, key));

	json_object_set_new(object, key,
	    json_integer(before + (json_int_t)count));
}

static json_t *
count_decisions(const struct book *book, enum side side)
{
	json_t *object = json_object(), *reasons = json_object();
	json_t *results = json_object();

	for (int i = 0; i <= VERDICT_PERMANENT; i++)
		add_count(object, verdict_word((enum verdict)i),
		    book->verdicts[side][i]);
	for (int i = 0; i < REASON_CODES; i++) {
		const char *result = reason_result_type((enum reason_code)i);

		if (book->reasons[side][i] == 0)
			continue;
		add_count(reasons, reason_word((enum reason_code)i),
		    book->reasons[side][i]);
		if (result[0] != '\0')
			add_count(results, result, book->reasons[side][i]);
	}
	json_object_set_new(object, "reasons", reasons);
	json_object_set_new(object, "result-types", results);
	return object;
}

static void
count_sites(const struct book *book, enum side side, json_t *named,
    uint64_t counts[static SITE_STATES])
{
	for (const struct book_entry *entry = book->sites[side].newest;
	     entry != NULL; entry = entry->older) {
		const struct book_site *site = (const struct book_site *)entry;

		counts[site->state]++;
		if (site->state == SITE_OK ||
		    json_array_size(named) >= COUNT_SITES)
			continue;
		json_array_append_new(named,
		    json_pack("{s:s, s:s, s:s, s:s, s:I}", "direction",
			book_side_word(side), "site", entry->key, "state",
			book_state_word(site->state), "reason",
			reason_word(site->code), "since",
			(json_int_t)site->since));
	}
}

void
book_count(struct book *book, json_t *object)
{
	json_t *named = json_array(), *decisions = json_object();
	uint64_t counts[SITE_STATES] = { 0 };

	pthread_mutex_lock(&book->lock);
	for (int side = BOOK_SIDES - 1; side >= 0; side--) {
		count_sites(book, (enum side)side, named, counts);
		json_object_set_new(decisions, book_side_word((enum side)side),
		    count_decisions(book, (enum side)side));
	}
	add_count(object, "sites-failing", counts[SITE_FAILING]);
	add_count(object, "sites-clear", counts[SITE_CLEAR]);
	json_object_set_new(object, "sites", named);
	json_object_set_new(object, "decisions", decisions);
	add_count(object, "clear-deliveries", book->clear);
	add_count(object, "alarms", book->alarms);
	pthread_mutex_unlock(&book->lock);
}
