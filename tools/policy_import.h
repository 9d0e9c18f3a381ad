/*
 * tools/policy_import.h: what the readers of other servers' tables share.
 *
 * A reader goes through the source line by line: import_line for each, then
 * remarks and rows that belong to it.  Nothing is printed before all is known,
 * because a later line may touch an earlier row.
 *
 * The invariant: no row is weaker than what its source asked for
 * (import_is_no_weaker).  What cannot be said by a row closes the site: a
 * lock that nobody meets, so that mail waits instead of crossing for less.
 */
#ifndef TOOLS_POLICY_IMPORT_H
#define TOOLS_POLICY_IMPORT_H

#include <stdbool.h>
#include <stdio.h>
#include <time.h>

#include "../policy/row.h"

enum {
	IMPORT_LINE = 4096, /* octets of a line of the source */
	IMPORT_OPTIONS = 3072,
	IMPORT_OCTETS = 64 * 1024 * 1024, /* of the whole source */
};

/* What the source asked of a connection, in our words. */
struct asked {
	enum level level;
	unsigned min, bits; /* 0: nothing */
	bool dane;
	bool key_alone; /* at lock: a key, whatever vouches for it */
	/* At lock: names that were good enough, as match= has them; "": the
	 * site's own name. */
	char names[IMPORT_OPTIONS];
	char anchors[IMPORT_LINE]; /* the only trust anchors, or "" */
};

/* What a remark says of its line. */
enum remark {
	REMARK_NOTE,
	REMARK_NEVER, /* was never enforced */
	REMARK_STRICTER,
	REMARK_CANNOT, /* cannot be expressed: exit status 1 */
};

struct import;

/* until and reason: for exceptions, or NULL.  NULL: no memory. */
struct import *import_new(const char *path, const char *until,
    const char *reason);
void import_free(struct import *import);

/* What is told from here on is about this line of the source. */
void import_at(struct import *import, unsigned number);
/*
 * A line of the source begins: what follows is about it.  Shown as a comment,
 * without control characters, cut, and not at all if it may hold a password (as
 * may one that begins with a blank).
 */
void import_line(struct import *import, unsigned number, const char *text,
    size_t len);
/* Text for a remark, or words instead of it if it may hold a password. */
const char *import_shown(const char *text);
void import_remark(struct import *import, enum remark remark,
    const char *format, ...) __attribute__((format(printf, 3, 4)));
/* A line that cannot be read at all: told as an error, too. */
void import_broken(struct import *import, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/*
 * The row SITE DIRECTION LEVEL OPTIONS, the level being asked's; options are
 * "" or begin with a blank.  What does not compile, or would be weaker than
 * asked, closes the site.
 */
void import_row(struct import *import, const char *site, unsigned direction,
    const struct asked *asked, const char *options);
/* A row that nobody meets; why has been remarked. */
void import_close_site(struct import *import, const char *site,
    unsigned direction);

/* Does row demand all that asked does? */
bool import_is_no_weaker(const struct row *row, const struct asked *asked);

/* Rows and remarks to out, errors to err.  False: something could not be
 * expressed, or a line could not be read. */
bool import_print(struct import *import, FILE *out, FILE *err);

/* Append to a bounded text; false, and nothing changed, if it does not fit. */
bool import_append(char *out, size_t size, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* In quotes, for the site table; cut if it does not fit. */
void import_append_quoted(char *out, size_t size, const char *text);
/* Append " word=value" to options, quoted as needed. */
bool import_option(char *options, const char *word, const char *value);

/*
 * Lines of text, without line ends (LF or CRLF).  One that is too long or has
 * a control character has been told as broken, and is cut before that: what it
 * asked for is not known.
 */
void import_each_line(struct import *import, const char *text, size_t len,
    void (*take)(struct import *import, void *context, unsigned number,
	char *line, bool broken),
    void *context);

void import_postfix(struct import *import, const char *text, size_t len);
void import_sendmail(struct import *import, const char *text, size_t len);

#endif
