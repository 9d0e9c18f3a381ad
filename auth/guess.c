/* auth/guess.c: failed logins, and how long they make later answers take. */
#include "guess.h"

#include <arpa/inet.h>
#include <gnutls/crypto.h>
#include <gnutls/gnutls.h>
#include <stdlib.h>
#include <string.h>

enum {
	WAYS = 4,
	SETS = 8192,        /* of counts: 32,768 slots, one megabyte */
	LANE_SETS = 131072, /* of lanes: half a million, sixteen megabytes */
	SECRET_OCTETS = 32,
	ONE = 256, /* a failure, in the fixed point of counts */
};

/* Failures of one source, network, name or lane. */
struct count {
	uint64_t tag;      /* 0: free */
	uint32_t score;    /* ONE a failure, halved every half-life */
	uint32_t pardon_s; /* of a lane: success forgives nothing before */
	int64_t scored_ms; /* when score was right */
	int64_t next_ms;   /* answers before this one are spoken for; of a lane
			      also when it was used last */
};

struct guesses {
	unsigned char secret[SECRET_OCTETS];
	struct count counts[SETS][WAYS];
	struct count lanes[LANE_SETS][WAYS];
};

enum kind {
	KIND_SOURCE = 's',
	KIND_NETWORK = 'w',
	KIND_NAME = 'n',
	KIND_LANE = 'l'
};

/* Which counts an attempt touches. */
struct touched {
	struct count *count[3];
	unsigned free[3];
	size_t n;
};

bool
guesses_new(struct guesses **guesses_out, struct reason *why)
{
	struct guesses *guesses = calloc(1, sizeof *guesses);

	if (guesses == NULL)
		return fail(why, REASON_NO_MEMORY, "counts of failed logins");
	if (gnutls_rnd(GNUTLS_RND_KEY, guesses->secret, SECRET_OCTETS) < 0) {
		free(guesses);
		return fail(why, REASON_INTERNAL, "no random octets");
	}
	*guesses_out = guesses;
	return true;
}

void
guesses_free(struct guesses *guesses)
{
	if (guesses != NULL)
		explicit_bzero(guesses->secret, SECRET_OCTETS);
	free(guesses);
}

/* Octets of the address that are the source's (or its network's); an address
 * that is none stands for itself. */
static size_t
source_octets(const char *client, enum kind kind, unsigned char out[16])
{
	bool network = kind == KIND_NETWORK;

	if (inet_pton(AF_INET, client, out) == 1)
		return network ? 3 : 4;
	if (inet_pton(AF_INET6, client, out) == 1)
		return network ? 6 : 8;
	return 0;
}

/* Without ASCII case. */
static void
hmac_name(gnutls_hmac_hd_t h, const char *name)
{
	for (const char *p = name; *p != '\0'; p++) {
		char c = *p >= 'A' && *p <= 'Z' ? (char)(*p + ('a' - 'A')) : *p;

		gnutls_hmac(h, &c, 1);
	}
}

/* Never 0. */
static uint64_t
tag_of(const struct guesses *guesses, enum kind kind, const char *client,
    const char *name)
{
	unsigned char octets[2 + 16], full[32];
	gnutls_hmac_hd_t h;
	uint64_t tag;

	octets[0] = (unsigned char)kind;
	octets[1] = 0;
	if (kind != KIND_NAME)
		octets[1] =
		    (unsigned char)source_octets(client, kind, octets + 2);
	if (gnutls_hmac_init(&h, GNUTLS_MAC_SHA256, guesses->secret,
		SECRET_OCTETS) < 0)
		return 1; /* without memory all are one: slower, not open */
	gnutls_hmac(h, octets, 2 + (size_t)octets[1]);
	if (kind == KIND_NAME || kind == KIND_LANE)
		hmac_name(h, name);
	gnutls_hmac_deinit(h, full);
	memcpy(&tag, full, sizeof tag);
	return tag | 1;
}

static void
count_settle(struct count *count, int64_t now_ms)
{
	int64_t halves = (now_ms - count->scored_ms) / GUESS_HALF_LIFE_MS;

	if (halves <= 0)
		return;
	count->score = halves > 31 ? 0 : count->score >> halves;
	count->scored_ms += halves * GUESS_HALF_LIFE_MS;
}

/* Is a less than b, or as much and longer out of use? */
static bool
is_less(const struct count *a, const struct count *b)
{
	if (a->score != b->score)
		return a->score < b->score;
	if (a->next_ms != b->next_ms)
		return a->next_ms < b->next_ms;
	return a->scored_ms < b->scored_ms;
}

/* The one with that tag; else, if make, in the place of the least. */
static struct count *
find(struct count set[WAYS], uint64_t tag, int64_t now_ms, bool make)
{
	struct count *least = &set[0];

	for (int i = 0; i < WAYS; i++) {
		count_settle(&set[i], now_ms);
		if (set[i].tag == tag)
			return &set[i];
		if (set[i].tag == 0 ||
		    (least->tag != 0 && is_less(&set[i], least)))
			least = &set[i];
	}
	if (!make)
		return NULL;
	*least = (struct count){ .tag = tag, .scored_ms = now_ms };
	return least;
}

static struct count *
lane_of(struct guesses *guesses, const struct guess *guess, bool make)
{
	uint64_t tag = tag_of(guesses, KIND_LANE, guess->client, guess->name);

	if (guess->name[0] == '\0')
		return NULL;
	return find(guesses->lanes[tag / 2 % LANE_SETS], tag, guess->now_ms,
	    make);
}

static void
touch(struct touched *touched, struct guesses *guesses,
    const struct guess *guess, enum kind kind, unsigned times)
{
	uint64_t tag = tag_of(guesses, kind, guess->client, guess->name);

	touched->count[touched->n] =
	    find(guesses->counts[tag / 2 % SETS], tag, guess->now_ms, true);
	touched->free[touched->n++] = guess->free * times;
}

static void
touch_all(struct touched *touched, struct guesses *guesses,
    const struct guess *guess)
{
	struct count *lane = lane_of(guesses, guess, false);

	touched->n = 0;
	if (lane != NULL) {
		touched->count[0] = lane;
		touched->free[0] = guess->free;
		touched->n = 1;
		return;
	}
	touch(touched, guesses, guess, KIND_SOURCE, 1);
	touch(touched, guesses, guess, KIND_NETWORK, 4);
	if (guess->name[0] != '\0')
		touch(touched, guesses, guess, KIND_NAME, 2);
}

/* 1, and beyond the free number 2, 4, ... */
static unsigned
factor_of(const struct count *count, unsigned free)
{
	unsigned failures = count->score / ONE, factor = 1;

	while (failures-- > free && factor < GUESS_FACTOR_MOST)
		factor *= 2;
	return factor;
}

static unsigned
factor_of_all(const struct touched *touched)
{
	unsigned most = 1;

	for (size_t i = 0; i < touched->n; i++) {
		unsigned factor =
		    factor_of(touched->count[i], touched->free[i]);

		if (factor > most)
			most = factor;
	}
	return most;
}

/* When the answers before this one have been given. */
static int64_t
free_at(const struct touched *touched, int64_t now_ms)
{
	int64_t at = now_ms;

	for (size_t i = 0; i < touched->n; i++)
		if (touched->count[i]->next_ms > at)
			at = touched->count[i]->next_ms;
	return at;
}

struct guess_answer
guess_failed(struct guesses *guesses, const struct guess *guess)
{
	struct guess_answer answer = { .at_ms = guess->now_ms };
	struct touched touched;
	int64_t turn;

	touch_all(&touched, guesses, guess);
	turn = free_at(&touched, guess->now_ms);
	answer.refuse = turn - guess->now_ms > GUESS_WAIT_MOST_MS;
	if (answer.refuse)
		return answer;
	for (size_t i = 0; i < touched.n; i++)
		if (touched.count[i]->score < UINT32_MAX - ONE)
			touched.count[i]->score += ONE;
	answer.at_ms =
	    turn + (int64_t)guess->delay_ms * factor_of_all(&touched);
	/* Only who is beyond the free number makes others wait for it. */
	for (size_t i = 0; i < touched.n; i++)
		if (factor_of(touched.count[i], touched.free[i]) > 1)
			touched.count[i]->next_ms = answer.at_ms;
	return answer;
}

struct guess_answer
guess_right(struct guesses *guesses, const struct guess *guess)
{
	struct guess_answer answer;
	struct touched touched;

	touch_all(&touched, guesses, guess);
	answer.at_ms = free_at(&touched, guess->now_ms);
	answer.refuse = answer.at_ms - guess->now_ms > GUESS_WAIT_MOST_MS;
	if (answer.refuse)
		answer.at_ms = guess->now_ms;
	return answer;
}

/* Not at every success: each would give who shares the owner's address the free
 * number of guesses again. */
static void
forgive(struct count *lane, int64_t now_ms)
{
	int64_t now_s = now_ms / 1000;

	if (lane->next_ms < now_ms)
		lane->next_ms = now_ms;
	if (lane->score == 0 || now_s < lane->pardon_s)
		return;
	lane->score = 0;
	lane->pardon_s = (uint32_t)(now_s + GUESS_HALF_LIFE_MS / 1000);
}

struct guess_answer
guess_granted(struct guesses *guesses, const struct guess *guess)
{
	struct guess_answer answer = guess_right(guesses, guess);
	struct count *lane;

	if (answer.refuse)
		return answer;
	lane = lane_of(guesses, guess, true);
	if (lane != NULL)
		forgive(lane, guess->now_ms);
	return answer;
}
