/*
 * server/log.h: one line per fact, key=value, from every role.
 *
 * A role writes to the pipe its master gave it, with one write(2) of at most
 * LOG_LINE_MAX octets a line; the master adds time and role, and sends it to
 * stderr or syslog.  The pipe does not block: lines that do not fit are
 * counted and the count is logged later.  Threads: any.
 */
#ifndef SERVER_LOG_H
#define SERVER_LOG_H

#include <stdbool.h>
#include <stddef.h>

enum { LOG_LINE_MAX = 2048 };

/* Not the names of <syslog.h>, which the master includes too. */
enum log_level { SAY_ALARM, SAY_ERROR, SAY_WARNING, SAY_NOTE, SAY_DEBUG };

/* fd: the pipe to the master.  Once, before threads. */
void log_open(int fd);
void log_set_debug(bool on);

/*
 * "what" is a short fixed event word, then key=value pairs already in
 * format; values a stranger chose go through log_value first.  Octets outside
 * printable ASCII are escaped as \xNN once more on the way out.
 * Example: log_line(SAY_NOTE, "connect", "session=%s client=%s", id, addr);
 */
void log_line(enum log_level level, const char *what, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* Escape for a value: printable ASCII without blank, quote and backslash
 * stands as is; anything else makes it quoted with \-escapes.  Returns out,
 * cut (with "...") if it does not fit. */
const char *log_value(char *out, size_t capacity, const char *octets,
    size_t len);

#endif
