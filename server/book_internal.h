/*
 * server/book_internal.h: what the files of the book share.
 */
#ifndef SERVER_BOOK_INTERNAL_H
#define SERVER_BOOK_INTERNAL_H

#include <pthread.h>

#include "book.h"

enum {
	BOOK_ENTRIES = 10000, /* of each table */
	BOOK_BUCKETS = 16384,
	BOOK_KEY = 512,
	BOOK_RECORD = 1024, /* a decision's line */
	BOOK_SIDES = 2,     /* what clients cause crowds out nothing of the
			       relay's own, and the other way round */
	BOOK_WRITE_EVERY_S = 3,
	BOOK_WRITE_SHARE = 50, /* at most one part in so many of the time is
				  spent on writing */
	BOOK_HOUR_S = 3600,
	BOOK_DAY_S = 86400,
	BOOK_STALE_S = 7 * BOOK_DAY_S, /* a bad state not heard of so long */
};

/* An entry of a table: the first member of what is kept. */
struct book_entry {
	char *key;
	uint64_t hash;
	struct book_entry *chain;
	struct book_entry *older, *newer;
};

/* Entries by key, in the order in which they were heard of. */
struct book_table {
	struct book_entry *buckets[BOOK_BUCKETS];
	struct book_entry *oldest, *newest;
	size_t count;
	uint64_t seed;                          /* strangers choose keys */
	void (*fini)(struct book_entry *entry); /* its own members, or NULL */
	/* May it make room?  NULL: any may. */
	bool (*may_go)(const struct book_entry *entry);
};

void book_table_init(struct book_table *table);
void book_table_fini(struct book_table *table);
struct book_entry *book_table_find(const struct book_table *table,
    const char *key);
/* A zeroed entry of size octets as the newest; NULL without memory, or when
 * the table is full of what may not go. */
struct book_entry *book_table_add(struct book_table *table, const char *key,
    size_t size);
void book_table_touch(struct book_table *table, struct book_entry *entry);
void book_table_remove(struct book_table *table, struct book_entry *entry);

enum site_state { SITE_OK, SITE_FAILING, SITE_CLEAR, SITE_STATES };

struct book_site {
	struct book_entry entry; /* the site; host:port going out */
	enum side side;
	enum site_state state, told;
	int64_t since;     /* of state */
	int64_t alarm_at;  /* the last alarm; 0: none yet */
	int64_t failed_at; /* the last refusal */
	int64_t bad_at;    /* the last refusal or message in clear */
	/* Of the last refusal: which decisions speak for it. */
	enum level asked;
	unsigned row_count;
	enum reason_code code;
	char record[BOOK_RECORD]; /* of the decision that made state */
};

struct book_observed {
	struct book_entry entry; /* identity, 16 hex digits */
	uint64_t connections, refused, clean;
	uint64_t reasons[REASON_CODES];
	int64_t since, last, last_refused;
};

struct book_ratchet {
	struct book_entry entry; /* host:port */
	struct shown shown;
	int64_t since;
};

struct book_proof {
	struct book_entry entry; /* host:port */
	unsigned char *octets;   /* as proof_put wrote it */
	size_t len;
	uint64_t generation;
	int64_t published_at; /* when generation was given */
	int64_t end_alarm_at; /* the last about a certificate of this hop */
};

/* Certificates that a next hop has shown. */
struct book_certificate {
	struct book_entry entry; /* "host:port spki not-after" */
	unsigned told_days;      /* the lowest threshold told, or 0 */
};

enum book_part {
	PART_RATCHETS,
	PART_SITES,
	PART_OBSERVED,
	PART_PROOFS,
	PART_CERTIFICATES,
	BOOK_PARTS
};

struct book {
	char folder[4096];
	bool read_only;
	/* One writer of a part at a time; taken before lock. */
	pthread_mutex_t file_lock[BOOK_PARTS];
	pthread_mutex_t lock; /* all below */
	int64_t (*clock)(void *context);
	void *clock_context;
	struct book_table sites[BOOK_SIDES], observed[BOOK_SIDES];
	struct book_table ratchets, proofs, certificates;
	uint64_t generation;
	bool dirty[BOOK_PARTS];
	bool write_failed; /* and was told */
	int64_t written_at;
	int64_t write_after_s; /* how long after written_at, at least */
	int64_t swept_at;      /* for states not heard of any more */
	bool pending;          /* some site's state is not told yet */
	struct {
		int64_t minute; /* alarms of this minute */
		unsigned alarms;
		int64_t full_at; /* told that the table is full */
	} budget[BOOK_SIDES];
	uint64_t verdicts[BOOK_SIDES][VERDICT_PERMANENT + 1];
	uint64_t reasons[BOOK_SIDES][REASON_CODES];
	uint64_t clear, alarms;
};

/* Callers of all functions below hold lock, where nothing else is said. */

int64_t book_now(const struct book *book);
/* "host:port", as rows write it; "host" where there is no port. */
void book_key(char out[static BOOK_KEY], const char *host, unsigned port);
const char *book_side_word(enum side side);
/* -1: neither. */
int book_side_by_word(const char *word);

/* book_site.c */
/* May one more alarm be raised this minute? */
bool book_within_budget(struct book *book, enum side side);
void book_site_decided(struct book *book, const struct decision *decision,
    bool crossed);
void book_site_tick(struct book *book);
const char *book_state_word(enum site_state state);
bool book_site_may_go(const struct book_entry *entry);

/* book_proof.c */
void book_proof_fini(struct book_entry *entry);
/* The decoded proof; false if memory was damaged. */
/* A client showed the certificate of decision: is it near its end? */
void book_client_certificate(struct book *book,
    const struct decision *decision);
bool book_proof_decode(const struct book_proof *kept, struct proof *out);
bool book_proof_put(struct book *book, const struct proof *proof,
    struct book_proof **kept_out, bool *changed_out);

/* book_ratchet.c.  The caller does not hold lock. */
bool book_ratchet_lower(struct book *book, const char *site, enum level level,
    struct reason *why);

/* book_record.c: what is kept as JSON, for files and tools alike. */
json_t *book_record_site(const struct book_site *site);
json_t *book_record_observed(const struct book_observed *row, enum side side);
json_t *book_record_ratchet(const struct book_ratchet *ratchet);
/* A part's records; NULL without memory. */
json_t *book_part_records(const struct book *book, enum book_part part);
/* Take one from a file; everything is checked. */
bool book_part_take(struct book *book, enum book_part part,
    const json_t *record, struct reason *why);

/* book_file.c: the caller does not hold lock. */
bool book_files_load(struct book *book, struct reason *why);
/* Write that part if it is dirty, on stable storage when this returns. */
bool book_file_save(struct book *book, enum book_part part, struct reason *why);

#endif
