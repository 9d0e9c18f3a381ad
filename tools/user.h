/*
 * tools/user.h: what the files of "sallyport user" share.
 *
 * While the server runs its auth role has the store, and is asked through its
 * control socket; else the store is opened here, as its owner.
 */
#ifndef TOOLS_USER_H
#define TOOLS_USER_H

#include <jansson.h>

#include "../auth/control.h"
#include "../auth/import.h"
#include "tool.h"


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

/* The entry of that name, which the caller wipes: REASON_ABSENT if there is
 * none, or with find an empty name. */
bool user_access_show(struct user_access *access, const char *name,
    struct entry *out, struct reason *why);
bool user_access_find(struct user_access *access, const char *name,
    struct entry *out, struct reason *why);

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

/* user_json.c: the caller's, or NULL. */
char *user_entry_json(const struct entry *entry);

/* user_settings.c: settings of an entry, as operators write them. */
enum { USER_TIME_TEXT = 32 };

/* When something was, from Unix seconds: 2027-03-31T12:00:00Z.  Until when
 * something may be is for value_end_print to say, as operators write it. */
void user_time_print(int64_t when, char out[static USER_TIME_TEXT]);

enum user_setting {
	USER_RIGHT_ADD = 'a',
	USER_RIGHT_REMOVE = 'R',
	USER_RIGHT_CLEAR = 'c',
	USER_NETWORK = 'N', /* the first one takes the place of all there are */
	USER_ANY_NETWORK = 'A',
	USER_RATE = 't',
	USER_UNTIL = 'u',
	USER_BINDING = 'b',
	USER_LEGACY_UNTIL = 'g',
};

struct user_change {
	enum user_setting setting;
	const char *value; /* NULL for USER_RIGHT_CLEAR, USER_ANY_NETWORK */
};

/* Those of a command line. */
struct user_changes {
	struct user_change list[256];
	size_t count;
};

/* REASON_RANGE: there are too many. */
bool user_changes_add(struct user_changes *changes, enum user_setting setting,
    const char *value, struct reason *why);

/* In their order.  REASON_SYNTAX: a value that cannot be read; REASON_EXISTS,
 * REASON_ABSENT, REASON_RANGE: the entry does not go with it. */
bool user_settings_apply(struct entry *entry,
    const struct user_changes *changes, struct reason *why);
/* Before the store is asked. */
bool user_settings_are_readable(const struct user_changes *changes,
    struct reason *why);

/* user_rights.c: change the settings of name's entry in the store. */
bool user_settings_change(const struct config *config, const char *name,
    const struct user_changes *changes, struct reason *why);
/* What name may send from; address NULL: the patterns. */
enum tool_status user_rights(const struct config *config, const char *name,
    const char *address, bool json);

/* user_bind.c: the key of the first certificate in a PEM file, or
 * "sha256:HEX", as the entry's only one. */
bool user_take_key(const char *word, struct entry *entry, struct reason *why);
/* The same of an authority, with a name (auth/san.h) in what it issues. */
bool user_take_san(const char *ca, const char *san, struct entry *entry,
    struct reason *why);

/* user_export.c, user_import.c, user_check.c: file "-" is standard output or
 * input, and so is NULL for an export. */
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
