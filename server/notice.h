/*
 * server/notice.h: the message made from an alarm (RFC 5322), from the null
 * reverse-path.
 */
#ifndef SERVER_NOTICE_H
#define SERVER_NOTICE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "envelope.h"

struct notice {
	const char *hostname; /* ours: From */
	const char *mailbox;  /* alarm-mail: the one recipient */
	int64_t now_ms;       /* Unix */
	const char *text;     /* one line of the log or more, LF between */
};

/*
 * Make the message: its envelope (to be ended with envelope_fini) and its
 * octets (malloc'd; canonical CRLF; not dot-stuffed; printable ASCII).  False
 * without memory.
 */
bool notice_make(const struct notice *notice, struct envelope *envelope_out,
    char **octets_out, size_t *len_out, struct reason *why);

#endif
