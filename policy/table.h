/*
 * policy/table.h: the per-site table: compile the text, open the result.
 *
 * The text is one row a line:
 *     SITE  DIRECTION  LEVEL  [option=value | option] ...
 * "#" begins a comment, values with blanks are in double quotes.  It is
 * compiled to a Kyoto Cabinet hash database whose every value carries a CRC
 * bound to its key.
 */
#ifndef POLICY_TABLE_H
#define POLICY_TABLE_H

#include <gnutls/gnutls.h>
#include <stdio.h>
#include <time.h>

#include "reason.h"

struct table; /* a compiled table, open for reading */

/* What the compiler may ask of the configuration.  Every function may be
 * NULL: then any name is accepted (policy check without a configuration). */
struct table_names {
	void *context;
	/* cert=NAME: is there a certificate section of that name with role
	 * client or both? */
	bool (*certificate)(void *context, const char *name);
	/* auth=NAME: is there an upstream login of that name? */
	bool (*login)(void *context, const char *name);
	/* Could some listener meet an in row of verify or lock?  by_name: the
	 * row is selected after the handshake, so the listener has to ask
	 * everybody; has_anchors: the row brings its own. */
	bool (*can_ask_certificate)(void *context, bool by_name,
	    bool has_anchors);
};

struct table_source {
	const char *path; /* for messages, and for relative ca=, crl= */
	gnutls_datum_t text;
	time_t now;         /* dates before this are past */
	bool past_is_error; /* policy check and build: true; start: false */
	const struct table_names *names; /* or NULL */
};

/* Called for each error ("file:line: what is wrong, what was expected") and
 * warning while compiling; at most 50 errors are reported. */
typedef void (*table_report)(void *context, bool is_error, const char *text);

/* Parse and check only.  True if the table would compile. */
bool table_check(const struct table_source *source, table_report report,
    void *context);

/*
 * Compile into folder as "sites.<sha256>.kch", made aside, synced, renamed,
 * the folder synced, checked whole.  name_out (at least 80 octets) gets the
 * file's name.  If a file of that name is there and passes the check it is
 * kept.  mode of the file is 0644.  On failure nothing is left.
 */
bool table_compile(const struct table_source *source, const char *folder,
    char name_out[static 80], table_report report, void *context,
    struct reason *why);

/*
 * Open a compiled table; its name's digest and row count are checked when
 * check_whole, otherwise each value at lookup only.  Threads: one table may be
 * read by any number.
 */
bool table_open(struct table **table_out, const char *path, bool check_whole,
    struct reason *why);
void table_close(struct table *table);

/* Files that rows name by ca= and crl=, as absolute paths, one after the
 * other, for the master to ship.  Borrowed until table_close. */
size_t table_file_count(const struct table *table);
const char *table_file(const struct table *table, size_t i);

/* Call for each row in the order of the text: its file:line and the row in
 * canonical form.  Stops when the callback returns false. */
bool table_each(const struct table *table,
    bool (*row)(void *context, unsigned line, const char *text), void *context,
    struct reason *why);

/* Call for each row that is an exception, with its last second (Unix) and
 * reason; kept apart when compiling, so that this is quick whatever the
 * table's size.  Stops when the callback returns false. */
bool table_exceptions(const struct table *table,
    bool (*row)(void *context, unsigned line, const char *site,
	const char *direction, long long until, const char *reason),
    void *context, struct reason *why);
/* Does any row have this direction (of enum direction)?  Threads: any. */
bool table_has(const struct table *table, unsigned directions);
/* Does any row ask for dane? */
bool table_wants_dane(const struct table *table);

size_t table_rows(const struct table *table);

#endif
