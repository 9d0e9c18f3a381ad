/*
 * server/book.h: what the relay remembers about sites: who fails since when,
 * what mode=observe has seen, the ratchet, and each next hop's last proof.
 *
 * One book, owned by the relay role, kept in files of its own folder.  All
 * functions are safe for any thread.  Everything is bounded: sites that were
 * not heard of for longest are forgotten first, but a failing one only when
 * nothing bad was heard of it for a week, and a ratchet never.
 */
#ifndef SERVER_BOOK_H
#define SERVER_BOOK_H

#include <jansson.h>

#include "../policy/decide.h"
#include "proof.h"

struct book;

/* folder: root "/relay".  A damaged file is set aside and reported; ratchets
 * that cannot be read are an error, because forgetting them would lower
 * what is asked. */
bool book_open(struct book **book_out, const char *folder, struct reason *why);
/* For a tool, when no relay runs: nothing is changed, for book_tell alone; a
 * damaged file is an error. */
bool book_open_read_only(struct book **book_out, const char *folder,
    struct reason *why);
/* Writes what is not written yet. */
void book_save(struct book *book);
void book_close(struct book *book); /* as book_save */

/* Unix seconds, where not time(2)'s; before others use the book. */
void book_set_clock(struct book *book, int64_t (*clock)(void *context),
    void *context);

/*
 * A decision was made, coming in or going out.  Counts by verdict, reason and
 * RFC 8460 result type; keeps the record of observed rows; raises the alarm
 * for the first failure of a site (decision->names_one_site) and for its
 * recovery: once per site and state, and at most one alarm an hour a site.
 * crossed: a message went out in clear under may: counted, alarmed likewise.
 */
void book_decided(struct book *book, const struct decision *decision,
    bool crossed);

/* What is remembered of a next hop ("host:port"); level NONE if nothing. */
void book_best(struct book *book, const char *site, struct shown *out);
/*
 * The site has shown this; where it is more than what is remembered in any
 * point it is remembered, on stable storage when this returns.  A new issuer
 * of the same strength does not replace the old one: an operator does.
 */
bool book_raise(struct book *book, const char *site, const struct shown *shown,
    struct reason *why);

/*
 * A handshake with a next hop.  watch_end: its row is verify or more, or has
 * pin=: alarms 30, 14, 7 and 1 days before the peer's certificate ends.  A
 * new key of the same issuer is logged.
 */
void book_proved(struct book *book, const struct proof *proof, bool watch_end);
/* Call for each proof that changed, or was confirmed an hour later, after
 * generation *since (0: all), which becomes that of the last one taken.  The
 * callback must not block; by false it ends this and takes nothing. */
void book_proofs(struct book *book, uint64_t *since,
    bool (*proof)(void *context, const struct proof *proof), void *context);

/* Every few seconds: write what has changed (less often when there is so much
 * of it that writing takes long), raise delayed alarms. */
void book_tick(struct book *book);

/* For "sallyport status": sites failing, decisions by verdict and by result
 * type, clear deliveries, alarms. */
void book_count(struct book *book, json_t *object);

/*
 * CONTROL_SITES carries: verb u8, site s (RATCHET_LOWER, else ""), level u8 (of
 * RATCHET_LOWER: what to remember from now on; LEVEL_NONE: forget).  Each
 * CONTROL_DATA is one JSON object as text, with "kind":
 *     observed   direction, identity (16 hex digits), connections, refused
 *                (would have been), reasons (object of counts), since, last
 *                (Unix seconds), last-refused (0: never), clean (connections
 *                since then)
 *     ratchet    site, level, version, issuer, since
 *     site       direction, site, state (ok, failing, clear), since, decision
 *                (the record's line); sites that never failed are not kept
 *     proof      host, port, at, version, level shown, not-after, requiretls,
 *                spki (64 hex digits, if a certificate was shown)
 */
enum book_verb {
	BOOK_OBSERVED = 1,
	BOOK_RATCHETS,
	BOOK_RATCHET_LOWER,
	BOOK_SITES,
	BOOK_PROOFS
};
/* As queue_control_answer. */
void book_control_answer(struct book *book, int fd, const void *packet,
    size_t len);
/* All but RATCHET_LOWER, for a tool that has opened the files itself; tell
 * gets one JSON object as text and may end it by false. */
bool book_tell(struct book *book, enum book_verb verb,
    bool (*tell)(void *context, const char *text, size_t len), void *context,
    struct reason *why);

#endif
