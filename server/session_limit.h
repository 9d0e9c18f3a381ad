/*
 * server/session_limit.h: how many sessions a client has.
 *
 * A client is an IPv4 address or an IPv6 /64 (whoever has one address of it
 * has them all).  Threads: any.
 */
#ifndef SERVER_SESSION_LIMIT_H
#define SERVER_SESSION_LIMIT_H

#include <stdbool.h>

struct limits;

struct limits *limits_new(void); /* NULL without memory */
void limits_free(struct limits *limits);

/* Count one more session of that client, unless it has most already or
 * memory is short.  address is IPv6, or IPv4 mapped into it. */
bool limits_take(struct limits *limits, const unsigned char address[16],
    unsigned most);
void limits_give(struct limits *limits, const unsigned char address[16]);

#endif
