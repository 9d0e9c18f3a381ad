/*
 * auth/guess.h: failed logins, and how long they make later answers take.
 *
 * Failures are counted by source (an IPv4 address, an IPv6 /64), by its network
 * (/24, /48) and by login name, in whatever case: PAM may know no case.  Counts
 * halve every quarter of an hour.  Beyond a free number, each failure doubles
 * the time that an answer takes, and the answers about one source, network or
 * name come one after another, however many connections ask.  A source where a
 * name has logged in before has a lane of its own for that name, with its own
 * count: strangers can neither guess through it nor close it.  A success there
 * forgives what was counted, at most once a quarter of an hour: who shares the
 * address has no guesses more for every login of the owner.
 *
 * Memory is bounded: what was least is forgotten first.  Lanes are made by
 * successful logins alone.  Everything is keyed by a random secret, so that
 * nobody can choose names or addresses that fall together.
 *
 * Threads: one.
 */
#ifndef AUTH_GUESS_H
#define AUTH_GUESS_H

#include <stdbool.h>
#include <stdint.h>

#include "../policy/reason.h"

enum {
	GUESS_FACTOR_MOST = 16,     /* times the base delay */
	GUESS_WAIT_MOST_MS = 30000, /* who would wait longer is refused */
	GUESS_HALF_LIFE_MS = 15 * 60 * 1000,
};

struct guesses;
bool guesses_new(struct guesses **guesses_out, struct reason *why);
void guesses_free(struct guesses *guesses); /* NULL is fine */

struct guess {
	const char *client; /* address literal */
	const char *name;   /* canonical or as claimed; "": not known */
	int64_t now_ms;     /* monotonic */
	unsigned delay_ms;  /* base: what a failure takes when all is quiet */
	unsigned free;      /* failures of a source; a name has twice, a network
			       four times as many */
};

struct guess_answer {
	int64_t at_ms; /* when the answer is due, never before now_ms */
	bool refuse; /* too far ahead: say "later", not whether it was right */
};

/* An attempt has failed: count it. */
struct guess_answer guess_failed(struct guesses *guesses,
    const struct guess *guess);
/* An attempt is right, and the client is about to learn it, by whatever comes
 * before the answer: nothing is counted. */
struct guess_answer guess_right(struct guesses *guesses,
    const struct guess *guess);
/* The same, it is granted, and the source has a lane. */
struct guess_answer guess_granted(struct guesses *guesses,
    const struct guess *guess);

#endif
