/*
 * t/fuzz/import_users.c: users as other programs write them, hostile.
 *
 * The first octet chooses the format.  What is taken must be an entry that the
 * store would take, and must come back from our own export as it was.
 */
#include <assert.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "../../auth/export.h"
#include "../../auth/import.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
check_entry(const struct entry *entry)
{
	unsigned char octets[ENTRY_OCTETS_MAX], again[ENTRY_OCTETS_MAX];
	char name[NAME_SIZE];
	struct entry decoded, read;
	size_t len = entry_encode(entry, true, octets);
	char *line;

	assert(name_parse(name, entry->name, NULL, NULL));
	assert(strcmp(name, entry->name) == 0);
	assert(entry_decode(&decoded, octets, len, NULL));
	line = export_entry(entry);
	assert(line != NULL);
	assert(export_read_entry(line, strlen(line), &read, NULL));
	export_wipe(line);
	read.change = entry->change;
	assert(entry_encode(&read, true, again) == len);
	assert(memcmp(octets, again, len) == 0);
}

static void
run_line(struct user_import *import, const uint8_t *at, size_t len)
{
	/* Exactly as long as it is said to be. */
	char *line = malloc(len + 1);
	struct reason why = { 0 };
	struct entry entry;
	enum user_import_result result;

	if (line == NULL)
		return;
	memcpy(line, at, len);
	line[len] = '\0';
	result = user_import_line(import, line, len, &entry, &why);
	if (result == IMPORT_USER)
		check_entry(&entry);
	else if (result != IMPORT_NOTHING)
		assert(why.code != REASON_NONE && why.text[0] != '\0');
	free(line);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const uint8_t *end = data + size;
	struct user_import import;

	if (size == 0)
		return 0;
	/* Few iterations: what they cost is not looked for here. */
	import_init(&import, (enum import_format)(*data++ % IMPORT_FORMATS),
	    "example.org", 1);
	while (data < end) {
		const uint8_t *stop = memchr(data, '\n', (size_t)(end - data));

		if (stop == NULL)
			stop = end;
		run_line(&import, data, (size_t)(stop - data));
		data = stop < end ? stop + 1 : end;
	}
	(void)import_end(&import, NULL);
	import_fini(&import);
	return 0;
}
