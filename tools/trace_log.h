/*
 * tools/trace_log.h: a message's story from the server's log.
 */
#ifndef TOOLS_TRACE_LOG_H
#define TOOLS_TRACE_LOG_H

#include <stdbool.h>

#include "../policy/reason.h"

/*
 * Print the lines about the message of that queue id, about the session that
 * brought it, and about notices made for it, in the order they stand in.  path
 * "-" is standard input; lines may have a prefix, as syslog's and the journal's
 * have.  *count_out: how many.
 */
bool trace_log(const char *path, const char *id, unsigned long *count_out,
    struct reason *why);

#endif
