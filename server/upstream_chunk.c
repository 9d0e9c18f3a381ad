/*
 * server/upstream_chunk.c: BDAT (RFC 3030): where it serves, and where not.
 *
 * BINARYMIME is not used: what crosses are the same lines as with DATA.
 */
#include "upstream_transaction.h"

#include <string.h>
#include <strings.h>

#include "log.h"

enum { SCAN_OVERLAP = 64 /* "MAIL", blanks, "FROM:" */ };

/* Does word end at *end?  Then it is where word begins. */
static bool
step_back(
    const unsigned char *octets, const unsigned char **end, const char *word)
{
	size_t len = strlen(word);

	if ((size_t)(*end - octets) < len ||
	    strncasecmp((const char *)*end - len, word, len) != 0)
		return false;
	*end -= len;
	return true;
}

/* Does a command that names a path end before the colon? */
static bool
is_command(const unsigned char *octets, const unsigned char *colon,
    const char *verb, const char *word)
{
	const unsigned char *at = colon;

	if (!step_back(octets, &at, word))
		return false;
	while (at > octets && (at[-1] == ' ' || at[-1] == '\t'))
		at--;
	return step_back(octets, &at, verb);
}

bool
chunk_reads_as_mail(const unsigned char *octets, size_t len)
{
	const unsigned char *at = octets, *end = octets + len;

	while ((at = memchr(at, ':', (size_t)(end - at))) != NULL) {
		if (is_command(octets, at, "MAIL", "FROM") ||
		    is_command(octets, at, "RCPT", "TO"))
			return true;
		at++;
	}
	return false;
}

uint64_t
chunk_size(const struct transaction *t)
{
	return t->delivery->head_len + t->delivery->body_len +
	       (t->crlf_missing ? 2 : 0);
}

static bool
lacks_crlf(const unsigned char *octets, size_t len)
{
	return len < 2 || memcmp(octets + len - 2, "\r\n", 2) != 0;
}

/* The whole message into up->in; a bare CR or LF is found before anything is
 * said. */
static bool
read_small(struct transaction *t)
{
	const struct delivery *delivery = t->delivery;
	unsigned char *in = t->up->in;
	size_t len = delivery->head_len, got, unused;
	struct relay_dots dots;

	memcpy(in, delivery->head, len);
	for (uint64_t at = 0; at < delivery->body_len; at += got, len += got)
		if (!data_read(t, in + len, at,
			(size_t)(delivery->body_len - at), &got))
			return false;
	relay_dots_init_counted(&dots);
	if (!relay_dots_add(&dots, in, len, t->up->out, &unused) ||
	    !relay_dots_end(&dots, t->up->out, &unused))
		return fail(&t->why, REASON_DAMAGED,
		    "message with a bare CR or LF");
	t->crlf_missing = lacks_crlf(in, len);
	if (t->crlf_missing)
		memcpy(in + len, "\r\n", 2);
	t->chunk_len = len + (t->crlf_missing ? 2 : 0);
	return true;
}

/* Look through a message that does not fit into up->in, a piece after the
 * other, each with the end of the one before. */
static bool
scan_large(struct transaction *t, bool *as_mail_out)
{
	const struct delivery *delivery = t->delivery;
	unsigned char *in = t->up->in;
	size_t kept = 0, got;

	*as_mail_out = chunk_reads_as_mail(delivery->head, delivery->head_len);
	for (uint64_t at = 0; at < delivery->body_len && !*as_mail_out;
	     at += got) {
		uint64_t left = delivery->body_len - at;
		size_t room = UPSTREAM_CHUNK - kept;

		if (!data_read(t, in + kept, at,
			left < room ? (size_t)left : room, &got))
			return false;
		*as_mail_out = chunk_reads_as_mail(in, kept + got);
		t->crlf_missing = lacks_crlf(in, kept + got);
		got += kept;
		kept = got < SCAN_OVERLAP ? got : SCAN_OVERLAP;
		memmove(in, in + got - kept, kept);
		got -= kept;
	}
	return true;
}

bool
chunk_prepare(struct transaction *t)
{
	const struct upstream_extensions *extensions = &t->up->extensions;
	uint64_t size = t->delivery->head_len + t->delivery->body_len;
	bool as_mail;

	t->way = DATA_DOTS;
	if (!extensions->chunking)
		return true;
	if (size + 2 > UPSTREAM_CHUNK) {
		if (!scan_large(t, &as_mail))
			return false;
	} else {
		if (!read_small(t))
			return false;
		as_mail = chunk_reads_as_mail(t->up->in, t->chunk_len);
	}
	if (!as_mail)
		t->way = extensions->pipelining && t->chunk_len > 0
			     ? DATA_FLIGHT
			     : DATA_CHUNK;
	return true;
}

bool
chunk_is_unknown(const struct upstream_reply *reply)
{
	/* RFC 5321, section 4.2.2: the command, or its form. */
	return reply->code >= 500 && reply->code <= 504;
}

void
chunk_forswear(struct transaction *t, const char *text)
{
	struct upstream *up = t->up;
	char value[LOG_LINE_MAX / 2];

	up->extensions.chunking = false;
	up->io.dead = true; /* it may read the message's lines as commands */
	if (!relay_config_without_chunking(up->config, &up->hop))
		return;
	log_line(SAY_WARNING, "chunking",
	    "site=%s:%u remote=%s result=refused reply=%s", up->hop.host,
	    up->hop.port, up->remote,
	    log_value(value, sizeof(value), text, strlen(text)));
}
