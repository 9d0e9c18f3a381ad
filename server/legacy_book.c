/* server/legacy_book.c: who still logs in in old ways, with which program. */
#include "legacy_book.h"

#include <arpa/inet.h>
#include <inttypes.h>
#include <jansson.h>
#include <search.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../auth/legacy.h"

struct kept {
	struct legacy_row row; /* first: the tree compares rows */
	struct kept *older, *newer;
};

struct list {
	struct kept *oldest, *newest;
	size_t count, most;
};

struct legacy_book {
	void *tree; /* of struct kept, by login, program and practices */
	struct list proved, claimed;
};

static int
compare(const void *a, const void *b)
{
	const struct legacy_row *one = a, *other = b;
	int order = strcmp(one->login, other->login);

	if (order == 0)
		order = strcmp(one->program, other->program);
	if (order == 0)
		order = (one->practices > other->practices) -
			(one->practices < other->practices);
	return order;
}

struct legacy_book *
legacy_book_new(void)
{
	struct legacy_book *book = calloc(1, sizeof *book);

	if (book != NULL) {
		book->proved.most = LEGACY_PROVED_MAX;
		book->claimed.most = LEGACY_CLAIMED_MAX;
	}
	return book;
}

static void
kept_free(void *kept)
{
	struct legacy_row *row = kept;

	free(row->login);
	free(row->program);
	free(row);
}

void
legacy_book_free(struct legacy_book *book)
{
	if (book != NULL)
		tdestroy(book->tree, kept_free);
	free(book);
}

static struct list *
list_of(struct legacy_book *book, unsigned practices)
{
	return (practices & LEGACY_IN_CLEAR) != 0 ? &book->claimed
						  : &book->proved;
}

static void
list_remove(struct list *list, struct kept *kept)
{
	*(kept->older != NULL ? &kept->older->newer : &list->oldest) =
	    kept->newer;
	*(kept->newer != NULL ? &kept->newer->older : &list->newest) =
	    kept->older;
	list->count--;
}

static void
list_append(struct list *list, struct kept *kept)
{
	kept->older = list->newest;
	kept->newer = NULL;
	*(list->newest != NULL ? &list->newest->newer : &list->oldest) = kept;
	list->newest = kept;
	list->count++;
}

static void
forget_oldest(struct legacy_book *book, struct list *list)
{
	struct kept *kept = list->oldest;

	list_remove(list, kept);
	tdelete(kept, &book->tree, compare);
	kept_free(kept);
}

/* That row, perhaps a new one of no sessions, at the newest end; NULL without
 * memory. */
static struct legacy_row *
take_row(struct legacy_book *book, const struct legacy_row *like)
{
	struct kept *const *found = tfind(like, &book->tree, compare);
	struct list *list = list_of(book, like->practices);
	struct kept *kept;

	if (found != NULL) {
		kept = *found;
		list_remove(list, kept);
		list_append(list, kept);
		return &kept->row;
	}
	kept = calloc(1, sizeof *kept);
	if (kept == NULL)
		return NULL;
	kept->row.login = strdup(like->login);
	kept->row.program = strdup(like->program);
	kept->row.practices = like->practices;
	if (kept->row.login == NULL || kept->row.program == NULL ||
	    tsearch(kept, &book->tree, compare) == NULL) {
		kept_free(kept);
		return NULL;
	}
	list_append(list, kept);
	if (list->count > list->most)
		forget_oldest(book, list);
	return &kept->row;
}

static bool
is_address(const char *text)
{
	unsigned char address[16];

	return inet_pton(AF_INET, text, address) == 1 ||
	       inet_pton(AF_INET6, text, address) == 1;
}

static bool
is_known(const char *login, const char *client, unsigned practices)
{
	char name[NAME_SIZE];

	return name_parse(name, login, NULL, NULL) &&
	       strcmp(name, login) == 0 && is_address(client) &&
	       practices != 0 && (practices & ~(unsigned)LEGACY_ALL) == 0;
}

static bool
is_printable(char octet)
{
	return octet >= 0x20 && octet < 0x7f;
}

bool
legacy_book_add(struct legacy_book *book, const char *login,
    const char *program, const char *client, unsigned practices, int64_t now)
{
	char printable[AUTH_PROGRAM_MAX + 1];
	struct legacy_row like = { .login = (char *)(uintptr_t)login,
		.program = printable,
		.practices = practices };
	struct legacy_row *row;
	size_t len = strnlen(program, AUTH_PROGRAM_MAX);

	if (!is_known(login, client, practices))
		return false;
	for (size_t i = 0; i < len; i++)
		printable[i] = is_printable(program[i]) ? program[i] : '?';
	printable[len] = '\0';
	row = take_row(book, &like);
	if (row == NULL)
		return false;
	strcpy(row->client, client);
	if (row->count++ == 0)
		row->first = now;
	row->last = now > row->first ? now : row->first;
	return true;
}

const struct legacy_row *
legacy_book_next(const struct legacy_book *book, const struct legacy_row *row)
{
	const struct kept *next = row != NULL
				      ? ((const struct kept *)row)->newer
				      : book->proved.oldest;

	if (next == NULL &&
	    (row == NULL || (row->practices & LEGACY_IN_CLEAR) == 0))
		next = book->claimed.oldest;
	return next != NULL ? &next->row : NULL;
}

/* Names are free of what JSON would have to escape (auth/name.h); programs are
 * printable ASCII. */
static void
print_row(FILE *f, const struct legacy_row *row)
{
	char practices[LEGACY_TEXT];

	legacy_print(row->practices, practices);
	fprintf(f, "{\"login\":\"%s\",\"program\":\"", row->login);
	for (const char *c = row->program; *c != '\0'; c++) {
		if (*c == '"' || *c == '\\')
			fputc('\\', f);
		fputc(*c, f);
	}
	fprintf(f,
	    "\",\"practices\":\"%s\",\"client\":\"%s\",\"count\":%" PRIu64
	    ",\"first\":%" PRId64 ",\"last\":%" PRId64 "}",
	    practices, row->client, row->count, row->first, row->last);
}

char *
legacy_book_print(const struct legacy_book *book, size_t *len_out)
{
	const char *between = "\n";
	char *text = NULL;
	FILE *f = open_memstream(&text, len_out);
	bool ok;

	if (f == NULL)
		return NULL;
	fprintf(f, "{\"rows\":[");
	for (const struct legacy_row *row = NULL;
	     (row = legacy_book_next(book, row)) != NULL; between = ",\n") {
		fputs(between, f);
		print_row(f, row);
	}
	fprintf(f, "]}\n");
	ok = !ferror(f);
	if (fclose(f) == 0 && ok)
		return text;
	free(text);
	return NULL;
}

static const char *
string_of(const json_t *object, const char *key, size_t most)
{
	const json_t *value = json_object_get(object, key);
	const char *text = json_string_value(value);

	return text != NULL && json_string_length(value) <= most &&
		       strlen(text) == json_string_length(value)
		   ? text
		   : NULL;
}

static bool
is_all_printable(const char *text)
{
	while (is_printable(*text))
		text++;
	return *text == '\0';
}

/* At least 1. */
static bool
positive_of(const json_t *object, const char *key, int64_t *out)
{
	const json_t *value = json_object_get(object, key);

	*out = json_integer_value(value);
	return json_is_integer(value) && *out >= 1;
}

static bool
parse_row(struct legacy_book *book, const json_t *object)
{
	const char *login = string_of(object, "login", NAME_SIZE - 1);
	const char *program = string_of(object, "program", AUTH_PROGRAM_MAX);
	const char *words = string_of(object, "practices", LEGACY_TEXT - 1);
	const char *client = string_of(object, "client", INET6_ADDRSTRLEN - 1);
	struct legacy_row like = { 0 }, *row;
	int64_t count, first, last;

	if (json_object_size(object) != 7 || login == NULL || program == NULL ||
	    words == NULL || client == NULL || !is_all_printable(program) ||
	    !legacy_parse(&like.practices, words) ||
	    !is_known(login, client, like.practices) ||
	    !positive_of(object, "count", &count) ||
	    !positive_of(object, "first", &first) ||
	    !positive_of(object, "last", &last) || first > last)
		return false;
	like.login = (char *)(uintptr_t)login;
	like.program = (char *)(uintptr_t)program;
	row = take_row(book, &like);
	if (row == NULL || row->count != 0)
		return false; /* twice there */
	strcpy(row->client, client);
	row->count = (uint64_t)count;
	row->first = first;
	row->last = last;
	return true;
}

bool
legacy_book_parse(struct legacy_book **book_out, const char *text, size_t len,
    struct reason *why)
{
	json_t *top = len > LEGACY_BOOK_OCTETS_MAX
			  ? NULL
			  : json_loadb(text, len, JSON_REJECT_DUPLICATES, NULL);
	json_t *rows = json_object_get(top, "rows");
	struct legacy_book *book = legacy_book_new();
	bool ok = book != NULL && json_is_array(rows) &&
		  json_object_size(top) == 1 &&
		  json_array_size(rows) <= LEGACY_ROWS_MAX;
	size_t i;
	json_t *row;

	if (ok)
		json_array_foreach(rows, i, row)
		{
			ok = parse_row(book, row);
			if (!ok)
				break;
		}
	json_decref(top);
	if (!ok) {
		legacy_book_free(book);
		return fail(why, REASON_DAMAGED,
		    "not a report of old practices as it is written");
	}
	*book_out = book;
	return true;
}
