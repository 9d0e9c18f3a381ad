/*
 * server/book_table.c: a bounded hash table that knows who was heard of last.
 */
#include "book_internal.h"

#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

void
book_table_init(struct book_table *table)
{
	/* Without entropy (never, once the system is up) chains may grow to
	 * the table's bound, which is bearable. */
	if (getrandom(&table->seed, sizeof(table->seed), 0) !=
	    (ssize_t)sizeof(table->seed))
		table->seed = 1;
}

static uint64_t
hash_of(const struct book_table *table, const char *key)
{
	uint64_t hash = table->seed ^ UINT64_C(0xcbf29ce484222325);

	for (; *key != '\0'; key++)
		hash = (hash ^ (unsigned char)*key) * UINT64_C(0x100000001b3);
	hash ^= table->seed >> 7;
	hash *= UINT64_C(0xff51afd7ed558ccd);
	return hash ^ hash >> 33;
}

struct book_entry *
book_table_find(const struct book_table *table, const char *key)
{
	uint64_t hash = hash_of(table, key);
	struct book_entry *entry = table->buckets[hash % BOOK_BUCKETS];

	while (entry != NULL &&
	       (entry->hash != hash || strcmp(entry->key, key) != 0))
		entry = entry->chain;
	return entry;
}

static void
order_add(struct book_table *table, struct book_entry *entry)
{
	entry->older = table->newest;
	entry->newer = NULL;
	if (table->newest != NULL)
		table->newest->newer = entry;
	else
		table->oldest = entry;
	table->newest = entry;
}

static void
order_remove(struct book_table *table, struct book_entry *entry)
{
	if (entry->older != NULL)
		entry->older->newer = entry->newer;
	else
		table->oldest = entry->newer;
	if (entry->newer != NULL)
		entry->newer->older = entry->older;
	else
		table->newest = entry->older;
}

void
book_table_touch(struct book_table *table, struct book_entry *entry)
{
	order_remove(table, entry);
	order_add(table, entry);
}

static void
entry_free(struct book_table *table, struct book_entry *entry)
{
	if (table->fini != NULL)
		table->fini(entry);
	free(entry->key);
	free(entry);
}

void
book_table_remove(struct book_table *table, struct book_entry *entry)
{
	struct book_entry **at = &table->buckets[entry->hash % BOOK_BUCKETS];

	while (*at != entry)
		at = &(*at)->chain;
	*at = entry->chain;
	order_remove(table, entry);
	table->count--;
	entry_free(table, entry);
}

void
book_table_fini(struct book_table *table)
{
	while (table->oldest != NULL)
		book_table_remove(table, table->oldest);
}

static bool
make_room(struct book_table *table)
{
	struct book_entry *entry = table->oldest;

	if (table->count < BOOK_ENTRIES)
		return true;
	while (entry != NULL && table->may_go != NULL && !table->may_go(entry))
		entry = entry->newer;
	if (entry == NULL)
		return false;
	book_table_remove(table, entry);
	return true;
}

struct book_entry *
book_table_add(struct book_table *table, const char *key, size_t size)
{
	struct book_entry *entry;

	if (!make_room(table))
		return NULL;
	entry = calloc(1, size);
	if (entry == NULL)
		return NULL;
	entry->key = strdup(key);
	if (entry->key == NULL) {
		free(entry);
		return NULL;
	}
	entry->hash = hash_of(table, key);
	entry->chain = table->buckets[entry->hash % BOOK_BUCKETS];
	table->buckets[entry->hash % BOOK_BUCKETS] = entry;
	order_add(table, entry);
	table->count++;
	return entry;
}
