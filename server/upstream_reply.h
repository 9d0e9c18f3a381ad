/*
 * server/upstream_reply.h: what an upstream server says, octet by octet.
 *
 * Pure: octets in, a bounded reply out.  RFC 5321, sections 4.2 and 4.5.3.1.5;
 * enhanced status codes as in RFC 2034.  Whoever wrote the reply is a stranger:
 * only CRLF ends a line, every digit is checked, and what is kept is escaped.
 */
#ifndef SERVER_UPSTREAM_REPLY_H
#define SERVER_UPSTREAM_REPLY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
	REPLY_LINE_MAX = 512, /* with CRLF: RFC 5321, 4.5.3.1.5 */
	REPLY_LINES_MAX = 100,
	REPLY_TEXT_MAX = 512,
	/* A line of a challenge: RFC 4954, section 4. */
	REPLY_CHALLENGE_MAX = 12288,
};

struct upstream_reply {
	unsigned code;   /* 200 to 559 */
	char status[12]; /* "5.1.1" of its first line, or "" */
	/* "550 5.1.1 no such user; second line": printable ASCII, all other
	 * octets as \xNN, cut to fit. */
	char text[REPLY_TEXT_MAX];
	size_t text_len;
	unsigned lines;
	const char *broken; /* why it is no reply; static text */

	/* Called for the text after the code of each line, which is neither
	 * terminated nor escaped; NULL is allowed. */
	void (*line)(void *context, unsigned number, const char *text,
	    size_t len);
	void *context;
	size_t line_max; /* octets with CRLF; set by upstream_reply_init */
};

enum reply_step {
	REPLY_MORE,   /* all octets taken so far, the reply goes on */
	REPLY_DONE,   /* complete; what follows is not part of it */
	REPLY_BROKEN, /* not a reply: close the connection */
};

void upstream_reply_init(struct upstream_reply *reply);

/*
 * Take whole lines from data; *used_out octets were taken, the rest is the
 * beginning of a line (REPLY_MORE) or belongs to what comes next (REPLY_DONE).
 * A rest of line_max octets or more without a line end is REPLY_BROKEN.
 */
enum reply_step upstream_reply_feed(struct upstream_reply *reply,
    const unsigned char *data, size_t len, size_t *used_out);

/* code / 100: 2 done, 3 go on, 4 temporary, 5 permanent. */
unsigned upstream_reply_class(const struct upstream_reply *reply);

/* What a server said it can do (RFC 5321, section 4.1.1.1). */
struct upstream_extensions {
	bool starttls, pipelining, size, eight_bit_mime;
	bool requiretls;      /* RFC 8689, section 2; it has no parameter */
	bool dsn;             /* RFC 3461, section 3; nor has this */
	bool chunking;        /* RFC 3030, section 2 */
	bool smtputf8;        /* RFC 6531, section 3.1; nor this */
	uint64_t size_max;    /* octets; 0: not said */
	/* LIMITS (RFC 9422): recipients of a transaction, transactions of a
	 * connection; 0: not said. */
	unsigned rcpt_max, mail_max;
	char mechanisms[512]; /* of AUTH, upper case, one blank between */
};

/* One line of an EHLO reply, to be used as struct upstream_reply.line; the
 * first line (number 0) is the greeting and has no keyword. */
void upstream_extensions_line(void *context, unsigned number, const char *text,
    size_t len);

#endif
