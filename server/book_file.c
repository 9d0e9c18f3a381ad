/*
 * server/book_file.c: the book's files.
 *
 * Each part is a file of JSON: {"crc32c": N, "records": [...]}.  It is written
 * aside, synced and renamed, and the folder synced, so that it is never half
 * there; the sum is over the records' compact text, because a flipped bit
 * could turn a level into another.
 */
#include "book_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../policy/crc32c.h"
#include "files.h"
#include "log.h"

enum { PATH_OCTETS = 4096 + 64 };

static const char *const file_names[BOOK_PARTS] = {
	[PART_RATCHETS] = "ratchets.json",
	[PART_SITES] = "sites.json",
	[PART_OBSERVED] = "observed.json",
	[PART_PROOFS] = "proofs.json",
	[PART_CERTIFICATES] = "certificates.json",
};

static void
path_of(const struct book *book, enum book_part part, const char *suffix,
    char out[static PATH_OCTETS])
{
	(void)snprintf(out, PATH_OCTETS, "%s/%s%s", book->folder,
	    file_names[part], suffix);
}

/* False without memory. */
static bool
sum_records(const json_t *records, uint32_t *sum_out)
{
	char *text = json_dumps(records, JSON_COMPACT | JSON_SORT_KEYS);

	if (text == NULL)
		return false;
	*sum_out = crc32c(0, text, strlen(text));
	free(text);
	return true;
}

/* Reading. */

static bool
take_records(struct book *book, enum book_part part, const char *path,
    const json_t *root, struct reason *why)
{
	const json_t *records = json_object_get(root, "records");
	const json_t *sum = json_object_get(root, "crc32c");
	const json_t *record;
	struct reason what;
	uint32_t found;
	size_t i;

	if (!json_is_array(records) || !json_is_integer(sum))
		return fail(why, REASON_DAMAGED,
		    "%s: expected \"records\" and \"crc32c\"", path);
	if (!sum_records(records, &found))
		return fail(why, REASON_NO_MEMORY, "%s", path);
	if (json_integer_value(sum) != (json_int_t)found)
		return fail(why, REASON_DAMAGED, "%s: wrong checksum", path);
	json_array_foreach(records, i, record)
	{
		if (!book_part_take(book, part, record, &what))
			return fail(why, what.code,
			    "%.120s: record %zu: %.100s", path, i + 1,
			    what.text);
	}
	return true;
}

/* A file that is not there is an empty part. */
static bool
load(struct book *book, enum book_part part, struct reason *why)
{
	char path[PATH_OCTETS];
	gnutls_datum_t text;
	json_error_t error;
	json_t *root;
	bool ok;

	path_of(book, part, "", path);
	if (!files_read(path, &text, why))
		return why->code == REASON_ABSENT;
	root = json_loadb((const char *)text.data, text.size,
	    JSON_REJECT_DUPLICATES, &error);
	files_free(&text);
	if (root == NULL)
		return fail(why, REASON_DAMAGED, "%.120s:%d: %.100s", path,
		    error.line, error.text);
	ok = take_records(book, part, path, root, why);
	json_decref(root);
	return ok;
}

static struct book_table *
tables_of(struct book *book, enum book_part part, size_t *count_out)
{
	*count_out = 1;
	switch (part) {
	case PART_SITES:
		*count_out = BOOK_SIDES;
		return book->sites;
	case PART_OBSERVED:
		*count_out = BOOK_SIDES;
		return book->observed;
	case PART_PROOFS:
		return &book->proofs;
	case PART_CERTIFICATES:
		return &book->certificates;
	default:
		return &book->ratchets;
	}
}

/* What is not whole is worth less than nothing: begin anew, and keep the file
 * for whoever wants to know. */
static bool
set_aside(struct book *book, enum book_part part, const struct reason *what,
    struct reason *why)
{
	char path[PATH_OCTETS], aside[PATH_OCTETS];
	struct book_table *tables;
	size_t count;

	path_of(book, part, "", path);
	path_of(book, part, ".damaged", aside);
	if (rename(path, aside) != 0)
		return fail_errno(why, "%s: set aside", path);
	tables = tables_of(book, part, &count);
	for (size_t i = 0; i < count; i++)
		book_table_fini(&tables[i]);
	log_line(SAY_ALARM, "book",
	    "what=\"damaged file set aside\" file=%s detail=\"%s\"", aside,
	    what->text);
	return true;
}

bool
book_files_load(struct book *book, struct reason *why)
{
	for (int part = 0; part < BOOK_PARTS; part++) {
		struct reason what;

		if (load(book, (enum book_part)part, &what))
			continue;
		if (part == PART_RATCHETS)
			return fail(why, what.code,
			    "%.190s; without it sites would be asked for less",
			    what.text);
		if (what.code != REASON_DAMAGED || book->read_only) {
			*why = what;
			return false;
		}
		if (!set_aside(book, (enum book_part)part, &what, why))
			return false;
	}
	return true;
}

/* Writing. */

/* records is given away. */
static bool
write_records(const struct book *book, enum book_part part, json_t *records,
    struct reason *why)
{
	char path[PATH_OCTETS];
	json_t *root = NULL;
	char *text = NULL;
	uint32_t sum;
	bool ok;

	path_of(book, part, "", path);
	if (sum_records(records, &sum))
		root = json_pack("{s:I, s:O}", "crc32c", (json_int_t)sum,
		    "records", records);
	if (root != NULL)
		text = json_dumps(root, JSON_INDENT(1));
	json_decref(root);
	json_decref(records);
	if (text == NULL)
		return fail(why, REASON_NO_MEMORY, "%s", path);
	ok = files_replace(path, text, strlen(text), 0600, why);
	free(text);
	return ok;
}

/* The records as of now, or NULL if nothing has changed (or no memory: then
 * why is filled). */
static bool
take_dirty(struct book *book, enum book_part part, json_t **records_out,
    struct reason *why)
{
	bool ok = true;

	*records_out = NULL;
	pthread_mutex_lock(&book->lock);
	if (book->dirty[part]) {
		*records_out = book_part_records(book, part);
		if (*records_out == NULL)
			ok =
			    fail(why, REASON_NO_MEMORY, "%s", file_names[part]);
		else
			book->dirty[part] = false;
	}
	pthread_mutex_unlock(&book->lock);
	return ok;
}

bool
book_file_save(struct book *book, enum book_part part, struct reason *why)
{
	json_t *records;
	bool ok;

	if (book->read_only)
		return true;
	pthread_mutex_lock(&book->file_lock[part]);
	ok = take_dirty(book, part, &records, why);
	if (ok && records != NULL && !write_records(book, part, records, why)) {
		ok = false;
		pthread_mutex_lock(&book->lock);
		book->dirty[part] = true;
		pthread_mutex_unlock(&book->lock);
	}
	pthread_mutex_unlock(&book->file_lock[part]);
	return ok;
}
