/*
 * server/log.c: a role's side of the log: one write(2) a line.
 *
 * On the pipe a line is "<level digit><what> <key=value ...>\n".  Lines are
 * no longer than PIPE_BUF, so lines of several threads never mix.
 */
#include "log.h"

#include <limits.h>
#include <errno.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

_Static_assert(LOG_LINE_MAX <= PIPE_BUF, "a line must be written at once");

static int log_fd = -1;
static atomic_bool log_debug;
static atomic_ulong log_lost; /* lines that found the pipe full */

void
log_open(int fd)
{
	log_fd = fd;
}

void
log_set_debug(bool on)
{
	atomic_store(&log_debug, on);
}

/* Put one octet, escaped if it is not printable ASCII; false if it does not
 * fit (one octet is kept for the line end). */
static bool
put_octet(char *line, size_t *len, unsigned char c)
{
	static const char hex[] = "0123456789abcdef";

	if (c >= 0x20 && c < 0x7f) {
		if (*len + 1 >= LOG_LINE_MAX)
			return false;
		line[(*len)++] = (char)c;
		return true;
	}
	if (*len + 4 >= LOG_LINE_MAX)
		return false;
	line[(*len)++] = '\\';
	line[(*len)++] = 'x';
	line[(*len)++] = hex[c >> 4];
	line[(*len)++] = hex[c & 15];
	return true;
}

static void
write_line(enum log_level level, const char *text)
{
	char line[LOG_LINE_MAX];
	size_t len = 0;
	ssize_t put;
	int saved = errno;

	line[len++] = (char)('0' + level);
	for (; *text != '\0'; text++)
		if (!put_octet(line, &len, (unsigned char)*text))
			break;
	line[len++] = '\n';
	do
		put = write(log_fd, line, len);
	while (put < 0 && errno == EINTR);
	if (put < 0)
		atomic_fetch_add(&log_lost, 1);
	errno = saved;
}

void
log_line(enum log_level level, const char *what, const char *format, ...)
{
	char text[LOG_LINE_MAX];
	unsigned long lost;
	va_list ap;
	int n;

	if (level == SAY_DEBUG && !atomic_load(&log_debug))
		return;
	if (log_fd < 0)
		return;
	lost = atomic_exchange(&log_lost, 0);
	if (lost > 0) {
		snprintf(text, sizeof(text), "log-lost lines=%lu", lost);
		write_line(SAY_WARNING, text);
	}
	n = snprintf(text, sizeof(text), "%s ", what);
	if (n < 0 || (size_t)n >= sizeof(text))
		return;
	va_start(ap, format);
	if (vsnprintf(text + n, sizeof(text) - (size_t)n, format, ap) < 0)
		text[n] = '\0';
	va_end(ap);
	write_line(level, text);
}

static bool
is_plain(unsigned char c)
{
	return c > 0x20 && c < 0x7f && c != '"' && c != '\\';
}

/* Escape one octet for inside quotes; the number of octets put in out. */
static size_t
escape(char out[static 4], unsigned char c)
{
	static const char hex[] = "0123456789abcdef";

	if (c == '"' || c == '\\') {
		out[0] = '\\';
		out[1] = (char)c;
		return 2;
	}
	if (c >= 0x20 && c < 0x7f) {
		out[0] = (char)c;
		return 1;
	}
	out[0] = '\\';
	out[1] = 'x';
	out[2] = hex[c >> 4];
	out[3] = hex[c & 15];
	return 4;
}

const char *
log_value(char *out, size_t capacity, const char *octets, size_t len)
{
	/* "..." and the closing quote have to fit, whatever comes. */
	enum { TAIL = 5 };
	size_t at = 0, i;
	char one[4];

	for (i = 0; i < len && is_plain((unsigned char)octets[i]); i++)
		;
	if (i == len && len > 0 && len < capacity) {
		memcpy(out, octets, len);
		out[len] = '\0';
		return out;
	}
	if (capacity < TAIL + 2) {
		if (capacity > 0)
			out[0] = '\0';
		return out;
	}
	out[at++] = '"';
	for (i = 0; i < len; i++) {
		size_t n = escape(one, (unsigned char)octets[i]);

		if (at + n + TAIL > capacity) {
			memcpy(out + at, "...", 3);
			at += 3;
			break;
		}
		memcpy(out + at, one, n);
		at += n;
	}
	out[at++] = '"';
	out[at] = '\0';
	return out;
}
