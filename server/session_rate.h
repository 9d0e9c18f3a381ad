/*
 * server/session_rate.h: how many messages a login has sent within an hour.
 *
 * Counted in steps of five minutes: within no hour more than the rate, and a
 * message is forgotten when it is between 60 and 65 minutes old.  Only logins
 * that have a rate are counted, at most RATES_LOGINS_MAX at a time; a login
 * that finds no place waits.  Threads: any.
 */
#ifndef SERVER_SESSION_RATE_H
#define SERVER_SESSION_RATE_H

#include <stdbool.h>
#include <stdint.h>

enum {
	RATES_STEP_S = 300,
	RATES_STEPS = 3600 / RATES_STEP_S + 1, /* an hour touches so many */
	RATES_LOGINS_MAX = 262144,             /* some 40 MiB */
};

struct rates;

struct rates *rates_new(void); /* NULL without memory */
void rates_free(struct rates *rates);

/* Seconds until login, with at most so many messages an hour, may send the
 * next one; 0: now.  now: seconds of a monotonic clock. */
unsigned rates_wait(struct rates *rates, const char *login, uint32_t most,
    int64_t now);

/* The same, and if it is now, the message is counted. */
unsigned rates_take(struct rates *rates, const char *login, uint32_t most,
    int64_t now);

/* What was counted at that time was not sent. */
void rates_give(struct rates *rates, const char *login, int64_t then);

#endif
