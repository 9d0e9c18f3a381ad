/* tools/user_text.c: entries of the store for people, and lists of them. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../policy/hex.h"
#include "../server/config_value.h"
#include "user.h"

static void
put_time(FILE *to, const char *label, int64_t when)
{
	char text[USER_TIME_TEXT];

	user_time_print(when, text);
	fprintf(to, "%s%s\n", label, text);
}

static void
put_end(FILE *to, const char *label, int64_t over)
{
	char text[VALUE_END];

	value_end_print(over, text);
	fprintf(to, "%s%s\n", label, text);
}

/* As sasldblistusers2 prints them: the name, and what is kept for it. */
static void
put_line(FILE *to, const struct entry *entry)
{
	fprintf(to, "%s:", entry->name);
	if (entry->key_count + entry->san_count > 0)
		fprintf(to, " EXTERNAL");
	if (entry->foreign[0] != '\0')
		fprintf(to, " hash:%s", foreign_scheme(entry->foreign));
	for (int h = 0; h < VERIFIER_HASHES; h++)
		if (entry->verifiers[h].present)
			fprintf(to, " %s",
			    verifier_mechanism((enum verifier_hash)h));
	if (entry->has_legacy)
		fprintf(to, " CRAM-MD5 DIGEST-MD5");
	if (!entry->enabled)
		fprintf(to, " disabled");
	if (entry->kind != ENTRY_PERSON)
		fprintf(to, " %s", entry_kind_word(entry->kind));
	if (entry->binding_required)
		fprintf(to, " binding");
	if (entry->until != 0)
		put_end(to, " until=", entry->until);
	else
		fputc('\n', to);
}

static void
put_mechanisms(FILE *to, const struct entry *entry)
{
	const char *between = "";

	fprintf(to, "mechanisms: ");
	for (int h = 0; h < VERIFIER_HASHES; h++) {
		if (!entry->verifiers[h].present)
			continue;
		fprintf(to, "%s%s (%u iterations)", between,
		    verifier_mechanism((enum verifier_hash)h),
		    (unsigned)entry->verifiers[h].iterations);
		between = ", ";
	}
	fputc('\n', to);
	if (entry->has_legacy)
		fprintf(to, "legacy:     yes, the password itself is kept for "
			    "CRAM-MD5 and DIGEST-MD5\n");
	if (entry->foreign[0] != '\0')
		fprintf(to, "hash:       %s, until a PLAIN or LOGIN login\n",
		    foreign_scheme(entry->foreign));
}

static void
put_certificates(FILE *to, const struct entry *entry)
{
	char key[PIN_TEXT];

	for (size_t i = 0; i < entry->key_count; i++) {
		pin_print(key, entry->keys[i]);
		fprintf(to, "key:        %s\n", key);
	}
	for (size_t i = 0; i < entry->san_count; i++) {
		pin_print(key, entry->sans[i].ca);
		fprintf(to, "san:        %s, of the authority %s\n",
		    entry->sans[i].name, key);
	}
}

static void
put_settings(FILE *to, const struct entry *entry)
{
	char network[NETWORK_TEXT];

	if (entry->binding_required)
		fprintf(to, "binding:    required\n");
	if (entry->legacy_until == ENTRY_LEGACY_ALWAYS)
		fprintf(to, "old ways:   never refused\n");
	else if (entry->legacy_until != ENTRY_LEGACY_AS_CONFIGURED)
		put_end(to, "old ways:   until ", entry->legacy_until);
	for (size_t i = 0; i < entry->rights_len;
	     i += strlen(entry->rights + i) + 1)
		fprintf(to, "sender:     %s\n", entry->rights + i);
	for (size_t i = 0; i < entry->network_count; i++) {
		network_print(&entry->networks[i], network);
		fprintf(to, "network:    %s\n", network);
	}
	if (entry->rate != 0)
		fprintf(to, "rate:       %u messages an hour\n",
		    (unsigned)entry->rate);
	if (entry->until != 0)
		put_end(to, "until:      ", entry->until);
}

static void
put_text(FILE *to, const struct entry *entry)
{
	fprintf(to, "name:       %s\nenabled:    %s\nkind:       %s\n",
	    entry->name, entry->enabled ? "yes" : "no",
	    entry_kind_word(entry->kind));
	put_mechanisms(to, entry);
	put_certificates(to, entry);
	put_settings(to, entry);
	if (entry->owner[0] != '\0')
		fprintf(to, "owner:      %s\n", entry->owner);
	for (size_t i = 0; i < entry->device_count; i++)
		fprintf(to, "device:     %s\n", entry->devices[i]);
	put_time(to, "created:    ", entry->created);
	put_time(to, "changed:    ", entry->changed);
}

/* Without the last line's end; the caller's, or NULL. */
static char *
entry_text(const struct entry *entry, bool show)
{
	char *text = NULL;
	size_t len;
	FILE *to = open_memstream(&text, &len);

	if (to == NULL)
		return NULL;
	if (show)
		put_text(to, entry);
	else
		put_line(to, entry);
	if (fclose(to) != 0 || len == 0) {
		free(text);
		return NULL;
	}
	text[len - 1] = '\0';
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
	line->text =
	    l->json ? user_entry_json(entry) : entry_text(entry, l->show);
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
