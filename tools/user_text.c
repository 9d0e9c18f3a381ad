/* tools/user_text.c: entries of the store for people, and as JSON. */
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "user.h"

static void
format_time(int64_t when, char out[static 32])
{
	time_t t = (time_t)when;
	struct tm tm;

	if (gmtime_r(&t, &tm) == NULL ||
	    strftime(out, 32, "%Y-%m-%dT%H:%M:%SZ", &tm) == 0)
		strcpy(out, "-");
}

static void
format_key(const unsigned char key[static SPKI_OCTETS],
    char out[static USER_KEY_TEXT])
{
	char *at = out + sprintf(out, "sha256:");

	for (size_t i = 0; i < SPKI_OCTETS; i++)
		at += sprintf(at, "%02x", key[i]);
}

static char *
entry_json(const struct entry *entry)
{
	char created[32], changed[32], *text;
	json_t *mechanisms = json_array(), *keys = json_array(), *object;

	format_time(entry->created, created);
	format_time(entry->changed, changed);
	for (int h = 0; h < VERIFIER_HASHES; h++)
		if (entry->verifiers[h].present)
			json_array_append_new(mechanisms,
			    json_pack("{s:s, s:I}", "name",
				verifier_mechanism((enum verifier_hash)h),
				"iterations",
				(json_int_t)entry->verifiers[h].iterations));
	for (size_t i = 0; i < entry->key_count; i++) {
		char key[USER_KEY_TEXT];

		format_key(entry->keys[i], key);
		json_array_append_new(keys, json_string(key));
	}
	object = json_pack("{s:s, s:b, s:s, s:o, s:o, s:s, s:s}", "name",
	    entry->name, "enabled", (int)entry->enabled, "kind",
	    entry_kind_word(entry->kind), "mechanisms", mechanisms, "keys",
	    keys, "created", created, "changed", changed);
	if (object != NULL && entry->foreign[0] != '\0')
		json_object_set_new(object, "hash",
		    json_string(foreign_scheme(entry->foreign)));
	text = object != NULL ? json_dumps(object, JSON_COMPACT) : NULL;
	json_decref(object);
	return text;
}

/* As sasldblistusers2 prints them: the name, and what is kept for it. */
static char *
entry_line(const struct entry *entry)
{
	char *text = NULL;
	const struct verifier *v = entry->verifiers;
	bool is_foreign = entry->foreign[0] != '\0';

	if (asprintf(&text, "%s:%s%s%s%s%s%s%s%s", entry->name,
		entry->key_count > 0 ? " EXTERNAL" : "",
		is_foreign ? " hash:" : "",
		is_foreign ? foreign_scheme(entry->foreign) : "",
		v[VERIFIER_SHA_256].present ? " SCRAM-SHA-256" : "",
		v[VERIFIER_SHA_1].present ? " SCRAM-SHA-1" : "",
		entry->enabled ? "" : " disabled",
		entry->kind == ENTRY_PERSON ? "" : " ",
		entry->kind == ENTRY_PERSON ? ""
					    : entry_kind_word(entry->kind)) < 0)
		return NULL;
	return text;
}

static char *
entry_text(const struct entry *entry)
{
	char created[32], changed[32], mechanisms[128] = "", *text = NULL;
	bool is_foreign = entry->foreign[0] != '\0';
	char keys[ENTRY_KEYS_MAX * (USER_KEY_TEXT + 16)] = "";

	format_time(entry->created, created);
	format_time(entry->changed, changed);
	for (int h = 0; h < VERIFIER_HASHES; h++) {
		size_t len = strlen(mechanisms);

		if (entry->verifiers[h].present)
			snprintf(mechanisms + len, sizeof mechanisms - len,
			    "%s%s (%u iterations)", len > 0 ? ", " : "",
			    verifier_mechanism((enum verifier_hash)h),
			    (unsigned)entry->verifiers[h].iterations);
	}
	for (size_t i = 0; i < entry->key_count; i++) {
		char key[USER_KEY_TEXT];
		size_t len = strlen(keys);

		format_key(entry->keys[i], key);
		snprintf(keys + len, sizeof keys - len, "key:        %s\n",
		    key);
	}
	if (asprintf(&text,
		"name:       %s\nenabled:    %s\nkind:       %s\n"
		"mechanisms: %s\n%s%s%s%screated:    %s\nchanged:    %s",
		entry->name, entry->enabled ? "yes" : "no",
		entry_kind_word(entry->kind), mechanisms,
		is_foreign ? "hash:       " : "",
		is_foreign ? foreign_scheme(entry->foreign) : "",
		is_foreign ? ", until a PLAIN or LOGIN login\n" : "", keys,
		created, changed) < 0)
		return NULL;
	return text;
}

bool
user_listing_add(void *context, const struct entry *entry)
{
	struct user_listing *l = context;
	struct user_line *line;

	if (l->count == l->room) {
		size_t room = l->room > 0 ? l->room * 2 : 64;

		line = reallocarray(l->lines, room, sizeof *line);
		if (line == NULL)
			return false;
		l->lines = line;
		l->room = room;
	}
	line = &l->lines[l->count];
	line->name = strdup(entry->name);
	line->text = l->json   ? entry_json(entry)
		     : l->show ? entry_text(entry)
			       : entry_line(entry);
	if (line->name == NULL || line->text == NULL) {
		free(line->name);
		free(line->text);
		return false;
	}
	l->count++;
	return true;
}

static int
compare_lines(const void *a, const void *b)
{
	return strcmp(((const struct user_line *)a)->name,
	    ((const struct user_line *)b)->name);
}

void
user_listing_print(struct user_listing *l)
{
	if (l->count > 0)
		qsort(l->lines, l->count, sizeof *l->lines, compare_lines);
	if (l->json && !l->show)
		printf("[");
	for (size_t i = 0; i < l->count; i++)
		printf("%s%s%s", l->lines[i].text,
		    l->json && !l->show && i + 1 < l->count ? "," : "",
		    l->json && !l->show && i + 1 == l->count ? "" : "\n");
	if (l->json && !l->show)
		printf("]\n");
}

void
user_listing_free(struct user_listing *l)
{
	for (size_t i = 0; i < l->count; i++) {
		free(l->lines[i].name);
		free(l->lines[i].text);
	}
	free(l->lines);
}
