/*
 * tools/policy_import.c: "sallyport policy import": the command, and reading
 * the source line by line.
 */
#include "policy_import.h"

#include <errno.h>
#include <getopt.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../policy/parse.h"
#include "../server/files.h"
#include "policy.h"
#include "tool.h"

/* --- input --------------------------------------------------------------- */

/* Octets before the first that no table has. */
static size_t
text_octets(const char *line, size_t len)
{
	for (size_t i = 0; i < len; i++)
		if (((unsigned char)line[i] < 0x20 && line[i] != '\t') ||
		    line[i] == 0x7f)
			return i;
	return len;
}

/* How much of the line can be read; tells what is wrong with the rest. */
static size_t
check_line(struct import *import, const char *line, size_t len)
{
	size_t good = text_octets(line, len);

	if (len > IMPORT_LINE)
		import_broken(import, "line of %zu octets, expected at most %d",
		    len, IMPORT_LINE);
	else if (good < len)
		import_broken(import,
		    "control character in column %zu, expected text", good + 1);
	return good > IMPORT_LINE ? IMPORT_LINE : good;
}

void
import_each_line(struct import *import, const char *text, size_t len,
    void (*take)(struct import *import, void *context, unsigned number,
	char *line, bool broken),
    void *context)
{
	char line[IMPORT_LINE + 1];
	unsigned number = 0;

	while (len > 0) {
		const char *stop = memchr(text, '\n', len);
		size_t whole = stop == NULL ? len : (size_t)(stop - text);
		size_t octets = whole, good;

		if (octets > 0 && text[octets - 1] == '\r')
			octets--;
		import_at(import, ++number);
		good = check_line(import, text, octets);
		memcpy(line, text, good);
		line[good] = '\0';
		take(import, context, number, line, good < octets);
		text += whole;
		len -= whole;
		if (stop != NULL) {
			text++;
			len--;
		}
	}
	explicit_bzero(line, sizeof(line));
}

static bool
read_stdin(gnutls_datum_t *out, struct reason *why)
{
	size_t len = 0, size = 65536;
	unsigned char *data = malloc(size), *larger;
	ssize_t got = 1;

	while (data != NULL && got != 0 && len <= IMPORT_OCTETS) {
		if (len == size) {
			/* Not realloc: what is left behind may hold a
			 * password. */
			larger = malloc(size * 2);
			if (larger != NULL)
				memcpy(larger, data, len);
			explicit_bzero(data, size);
			free(data);
			data = larger;
			size *= 2;
			continue;
		}
		got = read(STDIN_FILENO, data + len, size - len);
		if (got < 0 && errno != EINTR)
			break;
		len += got > 0 ? (size_t)got : 0;
	}
	if (data == NULL)
		return fail(why, REASON_NO_MEMORY, "out of memory");
	out->data = data;
	out->size = (unsigned)len;
	if (got < 0)
		return fail_errno(why, "standard input");
	return true;
}

/* --- the command --------------------------------------------------------- */

static const struct source {
	const char *word;
	void (*read)(struct import *import, const char *text, size_t len);
} sources[] = {
	{ "postfix", import_postfix },
	{ "sendmail", import_sendmail },
};

static void
print_usage(FILE *to)
{
	fprintf(to,
	    "usage: sallyport policy import postfix|sendmail FILE\n"
	    "           [--until DATE] [--reason TEXT]\n\n"
	    "Rows for the site table from a table of smtp_tls_policy_maps, or "
	    "from an access\nmap's TLS_Srv, TLS_Clt, TLS_Rcpt, Try_TLS and "
	    "AuthInfo.  FILE - is standard input.\n--until and --reason are "
	    "for the exceptions that have to be written.\nExit status: 0 all "
	    "of it, 1 something cannot be expressed, 2 wrong usage.\n");
}

static int
wrong_usage(const char *what, const char *word)
{
	fprintf(stderr, "sallyport policy import: %s%s\n", what, word);
	print_usage(stderr);
	return TOOL_USAGE;
}

/* Date and reason have to make a row, and the date must be to come. */
static bool
check_exception(const char *until, const char *reason, struct reason *why)
{
	static struct row row;
	char line[LINE_MAX_OCTETS] = "* out may until=";
	struct key key;

	if (reason != NULL && (reason[0] == '\0' || strlen(reason) > 500))
		return fail(why, REASON_RANGE,
		    "--reason: expected 1 to 500 octets");
	(void)import_append(line, sizeof(line),
	    "%.32s reason=", until != NULL ? until : "2099-12-31");
	import_append_quoted(line, sizeof(line),
	    reason != NULL ? reason : "none");
	if (row_parse(&row, &key, line, strlen(line), "/", why) != PARSE_ROW)
		return false;
	if (row_is_over(&row, time(NULL)))
		return fail(why, REASON_RANGE,
		    "--until: %.32s is past, expected a day to come", until);
	return true;
}

static int
run(const struct source *source, const char *path, const char *until,
    const char *reason)
{
	bool is_stdin = strcmp(path, "-") == 0;
	gnutls_datum_t text = { NULL, 0 };
	struct import *import = NULL;
	struct reason why;
	bool ok;

	ok = is_stdin ? read_stdin(&text, &why) : files_read(path, &text, &why);
	if (ok && text.size > IMPORT_OCTETS)
		ok = fail(&why, REASON_RANGE,
		    "%.200s: expected at most %d "
		    "octets",
		    path, IMPORT_OCTETS);
	if (ok) {
		import = import_new(is_stdin ? "stdin" : path, until, reason);
		ok = import != NULL ||
		     fail(&why, REASON_NO_MEMORY, "out of memory");
	}
	if (ok) {
		source->read(import, (const char *)text.data, text.size);
		ok = import_print(import, stdout, stderr);
		ok = fflush(stdout) == 0 && ok;
	} else {
		tool_error(&why);
	}
	import_free(import);
	files_wipe(&text);
	return ok ? TOOL_DONE : TOOL_NO;
}

int
policy_import(int argc, char **argv)
{
	static const struct option words[] = {
		{ "until", required_argument, NULL, 'u' },
		{ "reason", required_argument, NULL, 'r' },
		{ "help", no_argument, NULL, 'h' },
		{ NULL, 0, NULL, 0 },
	};
	const char *until = NULL, *reason = NULL;
	struct reason why;
	int letter;

	optind = 0;
	while ((letter = getopt_long(argc, argv, "h", words, NULL)) != -1) {
		if (letter == 'h') {
			print_usage(stdout);
			return TOOL_DONE;
		}
		if (letter == '?')
			return wrong_usage("wrong option", "");
		*(letter == 'u' ? &until : &reason) = optarg;
	}
	if (argc - optind != 2)
		return wrong_usage("expected a source and a file", "");
	if (!check_exception(until, reason, &why))
		return wrong_usage("", why.text);
	for (size_t i = 0; i < sizeof(sources) / sizeof(sources[0]); i++)
		if (strcmp(argv[optind], sources[i].word) == 0)
			return run(&sources[i], argv[optind + 1], until,
			    reason);
	return wrong_usage("postfix or sendmail expected, not ", argv[optind]);
}
