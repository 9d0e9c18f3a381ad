/*
 * server/notice.c: the text of an alarm's message.
 *
 * What a role logged may hold octets of a stranger's choice; here it stands
 * on lines of its own making: control characters become "?", and no line is
 * longer than RFC 5322 lets it be.
 */
#include "notice.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum {
	DATE_SIZE = 40,
	LINE_MOST = 900, /* a line of the log is not broken below that */
	SUBJECT_WORDS = 60,
};

/* RFC 5322, section 3.3, in UTC.  The programs never leave the C locale. */
static void
date_text(int64_t ms, char out[static DATE_SIZE])
{
	time_t seconds = (time_t)(ms / 1000);
	struct tm tm;

	if (gmtime_r(&seconds, &tm) == NULL ||
	    strftime(out, DATE_SIZE, "%a, %d %b %Y %H:%M:%S +0000", &tm) == 0)
		snprintf(out, DATE_SIZE, "Thu, 01 Jan 1970 00:00:00 +0000");
}

static void
put_ascii(FILE *out, const char *text, size_t len)
{
	for (size_t i = 0; i < len; i++) {
		unsigned char c = (unsigned char)text[i];

		fputc(c < 0x20 || c >= 0x7f ? '?' : c, out);
	}
}

/* How much of a long line stands on one of the message: up to a blank. */
static size_t
piece_len(const char *line, size_t len)
{
	size_t at = LINE_MOST;

	if (len <= LINE_MOST)
		return len;
	while (at > LINE_MOST / 2 && line[at] != ' ')
		at--;
	return line[at] == ' ' ? at : (size_t)LINE_MOST;
}

static void
put_line(FILE *out, const char *line, size_t len)
{
	while (len > 0) {
		size_t piece = piece_len(line, len);

		put_ascii(out, line, piece);
		fputs("\r\n", out);
		line += piece;
		len -= piece;
		if (len > 0)
			fputs("   ", out);
	}
}

/* The first words of the alarm, without its time. */
static void
put_subject(FILE *out, const struct notice *notice)
{
	const char *words = strchr(notice->text, ' ');
	size_t len;

	words = words == NULL ? notice->text : words + 1;
	len = strcspn(words, "\n");
	if (len > SUBJECT_WORDS)
		len = SUBJECT_WORDS;
	fprintf(out, "Subject: Sallyport on %s:\r\n ", notice->hostname);
	put_ascii(out, words, len);
	fputs("\r\n", out);
}

static void
put_header(FILE *out, const struct notice *notice, const char *id)
{
	char date[DATE_SIZE];

	date_text(notice->now_ms, date);
	fprintf(out,
	    "From: Sallyport <postmaster@%s>\r\n"
	    "To: <%s>\r\n",
	    notice->hostname, notice->mailbox);
	put_subject(out, notice);
	fprintf(out,
	    "Date: %s\r\n"
	    "Message-ID: <%s@%s>\r\n"
	    "Auto-Submitted: auto-generated\r\n"
	    "MIME-Version: 1.0\r\n"
	    "Content-Type: text/plain; charset=us-ascii\r\n"
	    "\r\n",
	    date, id, notice->hostname);
}

static void
put_body(FILE *out, const struct notice *notice)
{
	const char *line = notice->text;

	fprintf(out,
	    "The mail server at %s has raised an alarm:\r\n"
	    "\r\n",
	    notice->hostname);
	while (*line != '\0') {
		size_t len = strcspn(line, "\n");

		put_line(out, line, len);
		line += len + (line[len] == '\n');
	}
	fputs("\r\n"
	      "The same is not told again within an hour; the log has all.\r\n"
	      "\"sallyport status\" says how things are now.\r\n",
	    out);
}

static bool
envelope_make(const struct notice *notice, struct envelope *envelope)
{
	envelope_init(envelope);
	envelope_queue_id(envelope->queue_id);
	envelope->arrival_ms = notice->now_ms;
	envelope->notice = true;
	envelope->reverse_path = strdup("");
	envelope->client = strdup("");
	return envelope->reverse_path != NULL && envelope->client != NULL &&
	       envelope_add_recipient(envelope, notice->mailbox);
}

bool
notice_make(const struct notice *notice, struct envelope *envelope_out,
    char **octets_out, size_t *len_out, struct reason *why)
{
	struct envelope envelope;
	char *octets = NULL;
	size_t len = 0;
	FILE *out = NULL;

	if (envelope_make(notice, &envelope))
		out = open_memstream(&octets, &len);
	if (out == NULL) {
		envelope_fini(&envelope);
		return fail(why, REASON_NO_MEMORY, "alarm mail");
	}
	put_header(out, notice, envelope.queue_id);
	put_body(out, notice);
	if (ferror(out) | fclose(out)) {
		free(octets);
		envelope_fini(&envelope);
		return fail(why, REASON_NO_MEMORY, "alarm mail");
	}
	envelope.size = len;
	*envelope_out = envelope;
	*octets_out = octets;
	*len_out = len;
	return true;
}
