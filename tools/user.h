/*
 * tools/user.h: what the files of "sallyport user" share.
 *
 * While the server runs its auth role has the store, and is asked through its
 * control socket; else the store is opened here, as its owner.
 */
#ifndef TOOLS_USER_H
#define TOOLS_USER_H

#include "../auth/control.h"
#include "../auth/import.h"
#include "tool.h"

enum { USER_KEY_TEXT = 7 + 2 * SPKI_OCTETS + 1 };

/* user_access.c: the store, wherever it is. */
struct user_access;

/* With the server, or else the file.  REASON_ABSENT: there is no store. */
bool user_access_open(struct user_access **access_out,
    const struct config *config, struct reason *why);
/* Whoever became the store's owner is himself again, where he was. */
void user_access_close(struct user_access *access);

/* Is it the file that was opened, and no server runs? */
bool user_access_is_file(const struct user_access *access);
struct store *user_access_store(struct user_access *access);

/*
 * Ask for verb; control.h says what it needs of entry.  each is called for each
 * entry of the answer, for LIST and EXPORT in any order, and returns false to
 * end in failure; NULL where no entry is answered.
 */
bool user_access_ask(struct user_access *access, enum control_user_verb verb,
    struct entry *entry, bool (*each)(void *context, const struct entry *entry),
    void *context, struct reason *why);

/* Many changes in a copy of the file, which takes its place all at once; with
 * the server there is none, and each change is one of its own.  After the end
 * there is nothing to do but to close. */
bool user_access_copy(struct user_access *access, struct reason *why);
bool user_access_adopt(struct user_access *access, struct reason *why);

bool user_access_secret(struct user_access *access,
    unsigned char out[static STORE_SECRET_OCTETS], struct reason *why);

/* user_text.c: entries for people, and as JSON.  What came back, before it is
 * sorted and printed. */
struct user_listing {
	bool json, show;
	struct user_line {
		char *name;
		char *text;
	} * lines;
	size_t count, room;
};

/* For user_access_ask: context is a struct user_listing. */
bool user_listing_add(void *context, const struct entry *entry);
void user_listing_print(struct user_listing *listing);
void user_listing_free(struct user_listing *listing);

/* user_export.c, user_import.c, user_check.c: file NULL is standard output,
 * "-" standard input. */
enum tool_status user_export(const struct config *config, const char *file);

struct user_import_options {
	enum import_format format;
	bool replace, into_empty;
	const char *file;
};
enum tool_status user_import(const struct config *config,
    const struct user_import_options *options);

/* name is canonical. */
enum tool_status user_check(const struct config *config, const char *name,
    bool json);

#endif
