/*
 * server/bounce.c: the text of a delivery status notification.
 *
 * Everything that comes from a client or a remote server stands on lines of
 * its own making here: control characters become "?", long lines are folded,
 * and the returned header is cut at a line end.  Where it is in UTF-8 (RFC
 * 6533) the types are those of RFC 6532 and 6533, message/global and such.
 */
#include "bounce_internal.h"

#include <arpa/inet.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "quoted_printable.h"
#include "smtp_utf8.h"

/* How a part is written; 8bit stands on the whole that holds it as well (RFC
 * 2045, section 6.4). */
enum encoding { SEVEN_BIT, EIGHT_BIT, QUOTED };

static const char *const encoding_fields[] = {
	[SEVEN_BIT] = "",
	[EIGHT_BIT] = "Content-Transfer-Encoding: 8bit\r\n",
	[QUOTED] = "Content-Transfer-Encoding: quoted-printable\r\n",
};

enum { LINE_FOLD = 76, LINE_MOST = 998, DATE_SIZE = 40 };

bool
bounce_is_possible(const struct envelope *original)
{
	return original->reverse_path[0] != '\0';
}

bool
bounce_is_wanted(const struct envelope_recipient *recipient,
    enum bounce_action action)
{
	if ((recipient->notify & NOTIFY_NEVER) != 0)
		return false;
	switch (action) {
	case BOUNCE_FAILED:
		return recipient->notify == 0 ||
		       (recipient->notify & NOTIFY_FAILURE) != 0;
	case BOUNCE_DELAYED:
		return recipient->notify == 0 ||
		       (recipient->notify & NOTIFY_DELAY) != 0;
	case BOUNCE_RELAYED:
		break;
	}
	return (recipient->notify & NOTIFY_SUCCESS) != 0;
}

/* By enum bounce_action. */
static const struct {
	const char *subject, *words; /* for people */
	const char *action, *status; /* for machines */
} actions[] = {
	[BOUNCE_FAILED] = { "Your message could not be delivered",
	    "Your message could not be delivered to the recipients below.\r\n"
	    "It will not be tried again.\r\n",
	    "failed", "5.0.0" },
	[BOUNCE_DELAYED] = { "Your message is delayed",
	    "Your message has not been delivered to the recipients below yet."
	    "\r\n"
	    "It is tried again; you need not send it once more.\r\n",
	    "delayed", "4.0.0" },
	[BOUNCE_RELAYED] = { "Your message was relayed",
	    "Your message for the recipients below was handed to the next "
	    "server,\r\n"
	    "which does not offer to tell you of its delivery.\r\n",
	    "relayed", "2.0.0" },
};

const char *
bounce_word(enum bounce_action action)
{
	return actions[action].action;
}

/* Words on lines of at most LINE_FOLD octets, where words allow; every line
 * but the first begins with indent. */
static void
put_folded(FILE *out, size_t column, const char *indent, const char *text)
{
	while (*text != '\0') {
		size_t word = strcspn(text, " ");

		if (word > LINE_MOST / 2)
			word = LINE_MOST / 2;
		if (column + word + 1 > LINE_FOLD && column > strlen(indent)) {
			fprintf(out, "\r\n%s", indent);
			column = strlen(indent);
		} else if (column > 0 && text[0] != ' ') {
			fputc(' ', out);
			column++;
		}
		for (size_t i = 0; i < word; i++, text++) {
			unsigned char c = (unsigned char)*text;

			fputc(c < 0x20 || c >= 0x7f ? '?' : c, out);
		}
		column += word;
		while (*text == ' ')
			text++;
	}
	fputs("\r\n", out);
}

static void
put_field(FILE *out, const char *name, const char *text)
{
	fprintf(out, "%s:", name);
	put_folded(out, strlen(name) + 1, " ", text);
}

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

static const char *
recipient_path(const struct bounce *bounce, size_t i)
{
	return bounce->original->recipients[bounce->recipients[i].index]
	    .forward_path;
}

static void
put_header(FILE *out, const struct bounce *bounce, const char *id,
    const char *boundary, enum encoding encoding)
{
	char date[DATE_SIZE];

	date_text(bounce->now_ms, date);
	fprintf(out, "Received: by %s (Sallyport) id %s; %s\r\n",
	    bounce->hostname, id, date);
	fprintf(out, "From: Mail Delivery System <MAILER-DAEMON@%s>\r\n",
	    bounce->hostname);
	fputs("To: <", out);
	bounce_put_path(out, bounce, bounce->original->reverse_path);
	fputs(">\r\n", out);
	fprintf(out,
	    "Subject: %s\r\n"
	    "Date: %s\r\n"
	    "Message-ID: <%s@%s>\r\n"
	    "Auto-Submitted: auto-replied\r\n"
	    "MIME-Version: 1.0\r\n"
	    "Content-Type: multipart/report; report-type=delivery-status;\r\n"
	    " boundary=\"%s\"\r\n"
	    "%s"
	    "\r\n",
	    actions[bounce->action].subject, date, id, bounce->hostname,
	    boundary, encoding_fields[encoding]);
}

static bool
is_decided(const struct bounce *bounce, size_t i)
{
	return bounce->decision[0] != '\0' && !bounce->recipients[i].undecided;
}

static bool
is_any_decided(const struct bounce *bounce)
{
	for (size_t i = 0; i < bounce->recipient_count; i++) {
		if (is_decided(bounce, i))
			return true;
	}
	return false;
}

/* The next hop took the message's envelope, and so had met the promise, before
 * it refused: it will take the notification alike. */
static bool
promise_was_kept(const struct bounce *bounce)
{
	for (size_t i = 0; i < bounce->recipient_count; i++) {
		if (!bounce->recipients[i].remote || is_decided(bounce, i))
			return false;
	}
	return true;
}

static bool
is_redacted(const struct bounce *bounce)
{
	return bounce->original->requiretls && !promise_was_kept(bounce);
}

static void
put_text(FILE *out, const struct bounce *bounce)
{
	fprintf(out,
	    "This is the mail server at %s.\r\n"
	    "\r\n"
	    "%s",
	    bounce->hostname, actions[bounce->action].words);
	for (size_t i = 0; i < bounce->recipient_count; i++) {
		fputs("\r\n<", out);
		bounce_put_path(out, bounce, recipient_path(bounce, i));
		fputs(">:\r\n   ", out);
		put_folded(out, 3, "    ", bounce->recipients[i].text);
	}
	if (is_any_decided(bounce)) {
		fputs("\r\n"
		      "The connection did not meet what is demanded of it:\r\n"
		      "   ",
		    out);
		put_folded(out, 3, "    ", bounce->decision);
	}
	if (is_redacted(bounce))
		fputs("\r\n"
		      "You asked that it be sent over verified TLS only.  This "
		      "notice may not\r\n"
		      "be, so nothing of the message is returned with it.\r\n",
		    out);
	fprintf(out,
	    "\r\n"
	    "For whoever looks into it: queue id %s.\r\n",
	    bounce->original->queue_id);
}

static bool
names_utf8_path(const struct bounce *bounce)
{
	for (size_t i = 0; i < bounce->recipient_count; i++)
		if (bounce_is_utf8(bounce, recipient_path(bounce, i)))
			return true;
	return false;
}

/* The text as quoted-printable; false without memory. */
static bool
put_quoted_text(FILE *out, const struct bounce *bounce)
{
	char *octets = NULL;
	size_t len = 0;
	FILE *text = open_memstream(&octets, &len);
	bool ok;

	if (text == NULL)
		return false;
	put_text(text, bounce);
	ok = ferror(text) == 0;
	ok = fclose(text) == 0 && ok;
	if (ok)
		quoted_printable_put(out, octets, len);
	free(octets);
	return ok;
}

/* The part for people; false without memory. */
static bool
put_words(FILE *out, const struct bounce *bounce, const char *boundary)
{
	enum encoding encoding = !names_utf8_path(bounce)   ? SEVEN_BIT
				 : bounce_is_global(bounce) ? EIGHT_BIT
							    : QUOTED;
	bool ok = true;

	fprintf(out,
	    "--%s\r\n"
	    "Content-Type: text/plain; charset=%s\r\n"
	    "%s"
	    "\r\n",
	    boundary, encoding == SEVEN_BIT ? "us-ascii" : "utf-8",
	    encoding_fields[encoding]);
	if (encoding == QUOTED)
		ok = put_quoted_text(out, bounce);
	else
		put_text(out, bounce);
	fputs("\r\n", out);
	return ok;
}

/* An address stands there as a domain literal (RFC 3464, section 9.3). */
static void
put_remote(FILE *out, const char *host)
{
	unsigned char address[16];
	bool six = inet_pton(AF_INET6, host, address) == 1;
	bool literal = six || inet_pton(AF_INET, host, address) == 1;

	fprintf(out, "Remote-MTA: dns; %s%s", literal ? "[" : "",
	    six ? "IPv6:" : "");
	bounce_put_ascii(out, host);
	fprintf(out, "%s\r\n", literal ? "]" : "");
}

static void
put_recipient(FILE *out, const struct bounce *bounce, size_t i)
{
	const struct bounce_recipient *one = &bounce->recipients[i];
	const struct envelope_recipient *recipient =
	    &bounce->original->recipients[one->index];
	char date[DATE_SIZE];

	date_text(bounce->now_ms, date);
	fputs("\r\n", out);
	bounce_put_original(out, bounce, recipient->orcpt);
	fputs("Final-Recipient: ", out);
	bounce_put_typed(out, bounce, recipient->forward_path);
	fprintf(out,
	    "\r\nAction: %s\r\nStatus: ", actions[bounce->action].action);
	bounce_put_ascii(out, one->status[0] != '\0'
				  ? one->status
				  : actions[bounce->action].status);
	fputs("\r\n", out);
	if (one->remote && bounce->remote_host[0] != '\0')
		put_remote(out, bounce->remote_host);
	fprintf(out, "Diagnostic-Code: %s;",
	    one->remote ? "smtp" : "X-Sallyport");
	put_folded(out, 30, "    ", one->text);
	fprintf(out, "Last-Attempt-Date: %s\r\n", date);
	if (bounce->action == BOUNCE_DELAYED && bounce->retry_until_ms > 0) {
		date_text(bounce->retry_until_ms, date);
		fprintf(out, "Will-Retry-Until: %s\r\n", date);
	}
	if (is_decided(bounce, i))
		put_field(out, "X-Sallyport-Decision", bounce->decision);
}

static void
put_status(FILE *out, const struct bounce *bounce, const char *boundary)
{
	char date[DATE_SIZE];

	date_text(bounce->original->arrival_ms, date);
	fprintf(out,
	    "--%s\r\n"
	    "Content-Type: message/%s\r\n"
	    "%s"
	    "\r\n"
	    "Reporting-MTA: dns; %s\r\n",
	    boundary,
	    bounce_is_global(bounce) ? "global-delivery-status"
				     : "delivery-status",
	    encoding_fields[bounce_is_global(bounce) ? EIGHT_BIT : SEVEN_BIT],
	    bounce->hostname);
	if (bounce->original->envid != NULL)
		bounce_put_envid(out, bounce->original->envid);
	fprintf(out,
	    "Arrival-Date: %s\r\n"
	    "X-Sallyport-Queue-Id: %s\r\n",
	    date, bounce->original->queue_id);
	for (size_t i = 0; i < bounce->recipient_count; i++)
		put_recipient(out, bounce, i);
	fputs("\r\n", out);
}

/* Octets of whole header lines, without the empty line that ends it. */
static size_t
header_len(const struct bounce *bounce)
{
	const char *octets = bounce->octets;
	size_t most = bounce->octets_len < BOUNCE_HEADER_MAX
			  ? bounce->octets_len
			  : (size_t)BOUNCE_HEADER_MAX;
	size_t at = 0;

	while (at < most) {
		const char *end = memmem(octets + at, most - at, "\r\n", 2);

		if (end == NULL || end == octets + at)
			break;
		at = (size_t)(end - octets) + 2;
	}
	return at;
}

/* RFC 3461, section 4.3: of failures alone.  A next hop that did not take an
 * 8bit message would not take its notification either. */
static bool
is_full(const struct bounce *bounce)
{
	if (bounce->action != BOUNCE_FAILED || !bounce->whole ||
	    bounce->original->ret != RET_FULL ||
	    bounce->octets_len > BOUNCE_FULL_MAX)
		return false;
	for (size_t i = 0; i < bounce->recipient_count; i++)
		if (strcmp(bounce->recipients[i].status, "5.6.3") == 0)
			return false;
	return true;
}

/* Octets of the original that are returned. */
static size_t
returned_len(const struct bounce *bounce)
{
	return is_full(bounce) ? bounce->octets_len : header_len(bounce);
}

static bool
has_eight_bit(const char *octets, size_t len)
{
	return utf8_has_high((struct slice){ octets, len });
}

/* Is what is returned an internationalized message (RFC 6532), which may be
 * encoded as others may not? */
static bool
returns_global(const struct bounce *bounce)
{
	return bounce->original->smtputf8 &&
	       has_eight_bit(bounce->octets, header_len(bounce));
}

static enum encoding
returned_encoding(const struct bounce *bounce)
{
	if (!has_eight_bit(bounce->octets, returned_len(bounce)))
		return SEVEN_BIT;
	if (bounce_is_global(bounce))
		return EIGHT_BIT;
	/* A message/rfc822 may not be encoded (RFC 2046, section 5.2.1). */
	return is_full(bounce) && !returns_global(bounce) ? EIGHT_BIT : QUOTED;
}

static void
put_original(FILE *out, const struct bounce *bounce, const char *boundary)
{
	static const char *const types[2][2] = {
		{ "text/rfc822-headers", "message/rfc822" },
		{ "message/global-headers", "message/global" },
	};
	enum encoding encoding = returned_encoding(bounce);

	fprintf(out,
	    "--%s\r\n"
	    "Content-Type: %s\r\n"
	    "%s"
	    "\r\n",
	    boundary, types[returns_global(bounce)][is_full(bounce)],
	    encoding_fields[encoding]);
	if (encoding == QUOTED)
		quoted_printable_put(out, bounce->octets, returned_len(bounce));
	else
		fwrite(bounce->octets, 1, returned_len(bounce), out);
	fputs("\r\n", out);
}

static bool
envelope_make(const struct bounce *bounce, struct envelope *envelope)
{
	envelope_init(envelope);
	envelope_queue_id(envelope->queue_id);
	envelope->arrival_ms = bounce->now_ms;
	envelope->reverse_path = strdup("");
	envelope->client = strdup("");
	envelope->requiretls =
	    bounce->original->requiretls && !is_redacted(bounce);
	/* The To field is in UTF-8, and so may be all parts. */
	envelope->smtputf8 = envelope->utf8_header = bounce_is_global(bounce);
	envelope->eight_bit =
	    bounce_is_global(bounce) ||
	    (!is_redacted(bounce) && returned_encoding(bounce) == EIGHT_BIT);
	return envelope->reverse_path != NULL && envelope->client != NULL &&
	       envelope_add_recipient(envelope, bounce->original->reverse_path);
}

bool
bounce_make(const struct bounce *bounce, struct envelope *envelope_out,
    char **octets_out, size_t *len_out, struct reason *why)
{
	struct envelope envelope;
	char boundary[2 * QUEUE_ID_SIZE + 8];
	char chance[QUEUE_ID_SIZE];
	char *octets = NULL;
	size_t len = 0;
	FILE *out = NULL;
	bool ok;

	if (envelope_make(bounce, &envelope))
		out = open_memstream(&octets, &len);
	if (out == NULL) {
		envelope_fini(&envelope);
		return fail(why, REASON_NO_MEMORY, "bounce");
	}
	/* Nobody who wrote the original can know it. */
	envelope_queue_id(chance);
	snprintf(boundary, sizeof(boundary), "=_%s_%s", envelope.queue_id,
	    chance);
	put_header(out, bounce, envelope.queue_id, boundary,
	    envelope.eight_bit ? EIGHT_BIT : SEVEN_BIT);
	ok = put_words(out, bounce, boundary);
	put_status(out, bounce, boundary);
	if (!is_redacted(bounce))
		put_original(out, bounce, boundary);
	fprintf(out, "--%s--\r\n", boundary);
	if (ferror(out) | fclose(out) | !ok) {
		free(octets);
		envelope_fini(&envelope);
		return fail(why, REASON_NO_MEMORY, "bounce");
	}
	envelope.size = len;
	*envelope_out = envelope;
	*octets_out = octets;
	*len_out = len;
	return true;
}
