/*
 * server/queue_internal.h: what the files of the relay's queue share.
 *
 *     queue.c        opening, closing, and what a delivery is
 *     queue_index.c  messages in memory: table, heaps
 *     queue_legs.c   a message's recipients, divided over next hops
 *     queue_flow.c   what waits for a hop, in turn by user
 *     queue_hop.c    hops, the sites they lead to, and whose turn it is
 *     queue_pace.c   how many workers a site gets, and when
 *     queue_take.c   work for workers, and what they say of sites
 *     queue_store.c  the segments in the in folder: reading
 *     queue_segment.c  files of messages: descriptors, unlinking
 *     queue_folder.c, queue_damage.c  names there; what is no record any more
 *     queue_compact.c, queue_kept.c  what is left of a segment, in less room
 *     queue_log.c    the relay's own log: its writer thread
 *     queue_rotate.c  the same, rewritten
 *     queue_record.c, queue_recover.c  its records; reading it at a start
 *     queue_history.c  attempts that are kept when it is rewritten
 *     queue_done.c   what becomes of a message after an attempt
 *     queue_bounce.c  and the notifications it leads to
 *     queue_age.c    what becomes of it by its age alone
 *     queue_route.c  and by a reload: it may be routed elsewhere
 *     queue_notice.c  the mail of an alarm
 *     queue_control.c, queue_look.c, queue_tell.c, queue_summary.c,
 *     queue_change.c, queue_filter.c  "sallyport queue"
 *     queue_sent.c   what devices have sent
 *
 * Locks, in this order: ingest (one reader of notices and folders at a time;
 * held across reads, taken by nobody who delivers), then lock (all of the
 * index; never held across I/O).  The keeper is the one thread that writes the
 * log, unlinks, and frees messages and segments.
 */
#ifndef SERVER_QUEUE_INTERNAL_H
#define SERVER_QUEUE_INTERNAL_H

#include <pthread.h>
#include <sys/queue.h>

#include "journal.h"
#include "queue.h"
#include "queue_sent.h"

/* What names a message for good: where it stands in a segment of that salt, or
 * mark 0 and a serial number for those the relay made. */
struct message_key {
	uint64_t mark, number;
};

enum message_state {
	MESSAGE_GHOST,    /* the log speaks of it; its segment was not read */
	MESSAGE_WAITING,  /* some leg is in its flow's heap */
	MESSAGE_ACTIVE,   /* a worker has a leg of it */
	MESSAGE_HELD,     /* nothing else, until an operator releases it */
	MESSAGE_COMPLETE, /* nothing left to do */
};

/* A message's way over one next hop: what is scheduled and tried. */
struct leg {
	struct queued *message;
	struct leg *next; /* of the message */
	struct hop *hop;
	uint32_t index : 24; /* among the message's legs */
	bool active : 1;     /* a worker has it */
	bool held : 1;       /* failed, and nobody could be told */
	bool told : 1;       /* of its delay, or it need not be */
	uint32_t pending;    /* recipients that are not done; 0: it is over */
	uint32_t attempts;
	uint32_t due_at; /* place in its flow's heap, + 1; 0: in none */
	int64_t due_ms;  /* monotonic */
	int64_t next_ms; /* the same as Unix time, for log and list */
};

/* What is known of a leg by the name of its hop, until the message is (again)
 * divided. */
struct recalled {
	char *host;
	uint16_t port;
	uint32_t attempts;
	int64_t next_ms; /* Unix */
	bool held, told;
};

/* What hardly any message has for long. */
struct queued_more {
	uint64_t *done; /* bits of recipients from 64 on */
	uint32_t done_words;
	uint32_t recalled_count;
	struct recalled *recalled;
	uint32_t *leg_of; /* by recipient; NULL: all are the first's */
	uint64_t large;   /* number of the body's own file, if is_large */
};

/* There may be millions: what its record says and is not needed to choose among
 * them is read from disk. */
struct queued {
	struct queued *chain; /* in the table */
	struct message_key key;
	struct segment *segment;
	struct queued *sibling; /* in the segment */
	uint64_t offset;        /* of its record, in the segment's file */
	uint64_t octets;        /* of head and body */
	uint32_t extent;        /* octets of its record in the file */
	char queue_id[QUEUE_ID_SIZE];
	uint8_t state;        /* enum message_state */
	bool is_large : 1;    /* the body is in a file of its own */
	bool verified : 1;    /* its body's CRC was right once */
	bool remove : 1;      /* by the operator, while a worker has it */
	bool held : 1;        /* all of it: it could not be read, or: */
	bool by_operator : 1; /* an operator holds it, until he releases it */
	bool passed : 1;      /* released from a route: none holds it now */
	bool settled : 1;     /* complete, and that is on stable storage */
	bool told : 1;        /* of the delay of all legs: others need no more */
	uint32_t attempts;    /* the most of any leg */
	/* At most ENVELOPE_RECIPIENTS_MAX, all three. */
	uint16_t active; /* legs that workers have */
	uint16_t recipients, pending;
	uint64_t done;       /* bits of recipients 0 to 63 */
	struct queued_more *more; /* see message_more */
	uint32_t generation; /* of the routes when it was divided */
	uint32_t owner;      /* names the flow of its legs */
	uint32_t held_line;  /* of the routes, which hold some of it; or 0 */
	int64_t arrival_ms;  /* Unix */
	int64_t age_ms;      /* Unix; when its age matters next */
	uint32_t age_at;     /* place in a heap, + 1; 0: in none */
	uint32_t last_file;  /* of the last ATTEMPT; 0: none */
	uint64_t last_offset;
	struct leg leg;   /* the first; most messages have no other */
};

/* A file messages stand in: a segment, what we kept of one, or a file of our
 * log. */
struct segment {
	struct segment *next;
	uint64_t start_id;
	uint32_t file;
	bool own;  /* a file of our log */
	bool kept; /* an image in our folder, of what is left of a segment */
	struct segment *before; /* what it is an image of, until that is gone */
	struct journal_header header;
	int fd;          /* -1: not open now */
	unsigned users;  /* of fd */
	uint64_t cursor; /* read up to here */
	bool closed;     /* nothing will be added after end */
	uint64_t end;
	bool whole;    /* closed, or its writer is dead, and read to the end */
	bool unlinked; /* finished, and its file is gone */
	bool replaced; /* an image whose name is its successor's, for good */
	bool stuck;    /* its file must not go: damage that was not kept */
	bool uncopied; /* it has to stay as it is */
	int64_t whole_ms;    /* monotonic; since when */
	int64_t again_ms;    /* monotonic; its file could not go before */
	uint64_t incomplete; /* messages whose completion is not settled */
	uint64_t living;     /* octets of their records */
	struct queued *messages;
};

struct heap {
	struct leg **slots; /* by age: the first of each message */
	size_t count, capacity;
	bool by_age; /* when their ages matter, else due */
};

/* When a flow or a hop is to be looked at again; see queue_flow.c. */
struct waketime {
	int64_t at_ms; /* monotonic */
	size_t place;  /* among the timers, + 1; 0: not set */
	struct flow *flow; /* whose it is, or: */
	struct hop *hop;
};

/* A heap, the next one first. */
struct waketimes {
	struct waketime **slots;
	size_t count, capacity;
	size_t members;       /* that may be set */
	pthread_cond_t *work; /* for workers */
};

/* What waits for one hop of one user's messages. */
struct flow {
	uint32_t owner;
	struct hop *hop;
	struct heap due; /* the legs; never empty */
	bool ready;      /* the first is due: it takes turns at the hop */
	TAILQ_ENTRY(flow) turn;
	struct waketime timer; /* while it is not */
};

/* May a site be tried, for messages that insist on TLS, or for others? */
struct gate {
	unsigned failures; /* since it last worked */
	int64_t until_ms;  /* monotonic: nothing before */
	bool probing;      /* a worker tries alone, after that */
	uint32_t epoch;    /* what began in another one tells old news */
	char text[256];    /* why it failed last, for an operator */
};

/* What connections are made to: a next hop, whatever ways lead to it. */
struct site {
	struct next_hop name; /* "" where ways end here */
	struct queue *queue;
	unsigned active;    /* workers that were sent to it */
	unsigned connected; /* those, and idle ones, that keep a connection */
	unsigned limit;     /* of active: what it has shown to bear */
	unsigned threshold; /* up to it the limit doubles */
	unsigned grown;     /* successes since the limit grew */
	unsigned before;    /* the limit when it last worked */
	uint32_t round;     /* of shrinking */
	struct gate gates[2];
	LIST_HEAD(, member) members;
	TAILQ_HEAD(, hop) ready; /* hops with work for it, in turn */
	bool in_turn;            /* there is some, and room for a worker */
	int64_t turn_ms;         /* since when it waits for one */
	TAILQ_ENTRY(site) turn;
	LIST_ENTRY(site) all;
};

/* That a hop leads to a site. */
struct member {
	struct hop *hop;
	struct site *site;
	LIST_ENTRY(member) others;
};

/* What goes one way. */
struct hop {
	struct way way;
	bool tls_optional; /* of messages that say so: RFC 8689, section 5 */
	struct queue *queue;
	struct member sites[ROUTE_HOPS_MAX]; /* in the way's order */
	size_t site_count;                   /* at least one */
	void *flows;                         /* tree by owner */
	TAILQ_HEAD(, flow) ready;            /* in turn */
	struct site *target; /* whose turns it takes part in, or NULL */
	TAILQ_ENTRY(hop) turn;
	struct waketime timer;  /* until some site may be tried */
	char last_text[256]; /* why it failed */
};

/* A worker's place at a site. */
struct slot {
	struct site *site; /* NULL: none */
	bool tls_optional;
	bool probe;     /* it tries alone */
	bool connected; /* counted there */
	bool failed;    /* the site, not the message */
	uint32_t epoch, round;
	unsigned tried; /* bits of the hop's sites */
};

/* What is copied from the configuration in force. */
struct queue_settings {
	char hostname[256];
	int64_t retry_first_ms, retry_most_ms, expire_ms;
	int64_t delay_ms; /* age at which the sender is told; 0: never */
	uint64_t reserve; /* free octets that the session role keeps */
	unsigned workers, site_connections;
};

/* A record for the log, and what follows once it is synced. */
struct log_entry {
	struct log_entry *next;
	struct journal_record record;
	unsigned char *octets;  /* envelope, head, body */
	struct queued *message; /* whose attempt or completion; or NULL */
	bool completes;
};

struct queue {
	pthread_mutex_t lock;
	pthread_cond_t work; /* for workers */
	pthread_cond_t keep; /* for the keeper */
	pthread_mutex_t ingest;
	bool stop, keeper_stop;
	bool sweep;          /* a segment may have become finished */
	bool aged;           /* ages matter at other times than before */
	unsigned open_files; /* descriptors of segments */

	const struct config *config; /* borrowed; under lock */
	const struct routes *routes; /* the same; NULL: none */
	uint32_t generation;
	/* Place in the table: what waits before it was routed by that
	 * generation, or is left to the worker that takes it. */
	size_t routed;
	struct queue_settings settings;

	struct queued **table; /* by key */
	size_t table_size, table_count;
	struct heap ages;
	void *hops, *sites;   /* trees by way and by name */
	struct hop *last_hop; /* looked up last */
	LIST_HEAD(, site) all_sites;
	TAILQ_HEAD(, site) turn;
	int64_t turned_ms; /* a worker last left its connection's site */
	struct waketimes waketimes;
	uint64_t owner_seed;
	struct segment **segments; /* by start-id and file; not our log's */
	size_t segment_count, segment_capacity;
	struct queue_counts counts;

	/* Under ingest. */
	uint64_t start_id; /* our own */
	uint64_t live;     /* start-id that may still write; 0: not known */
	bool read_only;
	bool trouble;      /* something could not be read: clean up nothing,
			      and come back to it */
	bool unread; /* by an error, which may pass */
	bool unread_told; /* so, and it is not over; changed under lock */
	struct reason unread_why; /* of the first; under lock */
	int64_t read_again_ms; /* monotonic */
	/* The last notice of the live writer. */
	struct {
		uint64_t start_id, end;
		uint32_t file;
		bool closed;
	} noticed;
	bool damage;       /* records were lost, now or before */
	struct sent *sent; /* NULL: read_only */

	int in_folder, relay_folder, damaged_folder;

	/* The log; entries, size and trouble under lock, the rest is the
	 * keeper's. */
	struct log_entry *entries, **entries_end;
	size_t entry_count;
	uint64_t entries_added, entries_settled; /* since the start */
	pthread_cond_t settled;
	bool log_trouble;
	struct reason log_why; /* of the trouble */
	bool unlink_trouble;   /* the keeper's: told once */
	uint64_t serial; /* of the last message we made */
	struct segment *log_files; /* the newest first */
	struct segment *log_segment;
	struct journal log;
	uint64_t log_rotate_at, log_rotate_least;
	uint32_t log_number;          /* of the last file made or tried */
	bool log_started, log_broken; /* keeper runs; the file is not trusted */
	pthread_t keeper;
	struct journal_batch *batch;
	struct compaction *compaction; /* under way; NULL: none */
	int64_t compact_at; /* monotonic; under lock: when to look for one */
	int64_t compact_after; /* the keeper's: not before, as it failed */
};

/* The number of a HELD record. */
enum {
	HELD_UNREADABLE = 0,
	HELD_BY_OPERATOR = 1,
	HELD_BY_ROUTE = 2, /* and the row's line from HELD_LINE_SHIFT on */
	HELD_LINE_SHIFT = 8,
};

/* Of a RELEASED one: from routes too. */
enum { RELEASED_ROUTE = 1 };

/* An attempt as the log tells it. */
enum attempt_flag {
	ATTEMPT_HELD = 1,
	ATTEMPT_COMPLETE = 2,
	STATE_BY_OPERATOR = 4, /* with ATTEMPT_HELD: an operator did it */
	/* None of its own: its number's sender was told of the delay, in the
	 * notice that is named as bounce. */
	ATTEMPT_TOLD = 8,
	/* By a rotation, for the story alone: a STATE follows. */
	ATTEMPT_COPIED = 16,
	STATE_PASSED = 32,
};

/* A way's flags in a STATE. */
enum way_flag { WAY_HELD = 1, WAY_TOLD = 2 };

struct attempt_recipient {
	uint32_t index;
	enum outcome outcome;
	char *status, *text;
};

struct attempt {
	struct message_key key;
	int64_t when_ms, next_ms; /* Unix */
	uint32_t number;
	unsigned flags;
	uint64_t bounce;    /* serial of the bounce made for it, or 0 */
	uint32_t prev_file; /* of the message's attempt before; 0: none */
	uint64_t prev_offset;
	uint32_t gap; /* attempts between that one and this that were not kept */
	bool has_gap; /* it is in the record */
	char *host;
	uint16_t port;
	char *remote, *decision;
	size_t count;
	struct attempt_recipient *recipients;
};

/* queue_index.c; callers hold lock unless said otherwise. */

int64_t queue_now_ms(void);       /* Unix; no lock */
int64_t queue_monotonic_ms(void); /* no lock */

struct queued *index_find(const struct queue *queue, struct message_key key);
/* Found or made as a ghost; NULL without memory. */
struct queued *index_get(struct queue *queue, struct message_key key);
void index_remove(struct queue *queue, struct queued *message);
/* The first of those that share its place in the table. */
size_t index_place(const struct queue *queue, struct message_key key);
bool message_is_done(const struct queued *message, uint32_t recipient);
bool message_set_done(struct queued *message, uint32_t recipient);
/* Where its record is and what is kept of it; false without memory. */
bool message_place(struct queued *message, struct segment *segment,
    const struct journal_record *record);
/* What is there, or all zero; not to be changed. */
const struct queued_more *message_more(const struct queued *message);
/* To be changed; NULL without memory. */
struct queued_more *message_need_more(struct queued *message);
void message_free(struct queued *message);

/* True after growing; heaps never fail when room was made before. */
bool heap_reserve(struct heap *heap, size_t count);
bool heap_add(struct heap *heap, struct leg *leg);
void heap_remove(struct heap *heap, struct leg *leg);

/* To the flows, due at due_ms.  index_settle follows. */
void index_wait(struct queue *queue, struct leg *leg, int64_t due_ms);
/* Into the heap of ages anew, after what its age leads to has changed. */
void index_age(struct queue *queue, struct queued *message);
/* The same for all, after the settings have changed. */
void index_age_all(struct queue *queue);
/* Out of its flow. */
void index_unwait(struct leg *leg);
/* All legs that wait: out of their flows. */
void index_unwait_all(struct queued *message);
/* The state that follows from the legs and recipients. */
void index_settle(struct queue *queue, struct queued *message);
void index_set_state(struct queue *queue, struct queued *message,
    enum message_state state);

/* queue_flow.c; callers hold lock. */

/* Room for one more timer, which never fails then. */
bool waketimes_reserve(struct waketimes *timers);
void waketime_set(struct waketimes *timers, struct waketime *timer, int64_t at_ms);
void waketime_cancel(struct waketimes *timers, struct waketime *timer);
/* Look at all whose time has come; returns that of the next, or INT64_MAX. */
int64_t waketimes_run(struct waketimes *timers, int64_t now_ms);
/* Whose messages share a flow: by login, else by address, else our own. */
uint32_t flow_owner(const struct queue *queue, const struct envelope *envelope);
/* Into its flow, which is made if there is none; false without memory. */
bool flow_add(struct leg *leg);
/* Out of it, which ends with its last leg. */
void flow_remove(struct leg *leg);
/* The leg whose turn it is, of a hop with one that is ready. */
struct leg *flow_turn(struct hop *hop);

/* queue_hop.c; callers hold lock. */

/* Found or made; NULL without memory.  They live as long as the queue. */
struct hop *hop_get(struct queue *queue, const struct way *way,
    bool tls_optional);
void hops_free(struct queue *queue);
/* The hop that names it in log and lists: its first. */
const struct next_hop *hop_name(const struct hop *hop);
/* NULL if nothing leads to it. */
struct site *site_find(const struct queue *queue, const struct next_hop *name);
/* Its flows, or whether sites may be tried, have changed. */
void hop_settle(struct hop *hop);
/* All hops that lead to it. */
void site_gate_changed(struct site *site);
/* Its work, or its room for workers, has changed. */
void site_settle(struct site *site);
/* Try the hop's sites as soon as there is work. */
void hop_flush(struct hop *hop);
/*
 * The leg whose turn it is, with a slot for the worker; prefer (or NULL) is the
 * site its connection leads to.  NULL: none now; *next_out (monotonic) is when
 * to look again.
 */
struct leg *hop_pick(struct queue *queue, struct site *prefer, int64_t now_ms,
    struct slot *slot, int64_t *next_out);
/* As queue_next_hop: another place, for the site *index_out of the hop. */
enum queue_next hop_next_site(struct hop *hop, struct slot *slot,
    size_t *index_out);
/* How long until a site of it may be tried; 0: now, or that is not known. */
int64_t hop_wait_ms(const struct hop *hop, int64_t now_ms);

/* queue_pace.c; callers hold lock. */

/* After how long the attempt after the given number is due, jitter included. */
int64_t backoff_ms(const struct queue_settings *settings, uint32_t attempts);
void pace_init(struct site *site);
/* Workers that the site may have now; at most half of all. */
unsigned pace_limit(const struct site *site);
/* When it may be tried: a time that is past, one to come, or INT64_MAX while a
 * worker tries it alone. */
int64_t pace_open_ms(const struct site *site, bool tls_optional,
    int64_t now_ms);
/* A worker goes there; slot->tried stays. */
void pace_take(struct site *site, bool tls_optional, bool connected,
    struct slot *slot);
/* The settings are others: what was wrong with it says nothing now. */
void pace_forget(struct site *site);
/* It is done with it; an empty slot is fine. */
void pace_release(struct slot *slot);
/* A message, or the reply to it, got through.  True: it was away before. */
bool pace_worked(struct slot *slot, int64_t now_ms);
/* A connection broke under a message. */
void pace_broke(struct slot *slot);
/* A connection was refused.  False: nobody else has one, it is away. */
bool pace_crowded(struct slot *slot);
/* Nobody can use it now; true: this is news. */
bool pace_failed(struct slot *slot, int64_t now_ms);

/* queue_legs.c; callers hold lock. */

/*
 * Divide the recipients that are left over next hops, and have the legs wait:
 * what is recalled of a hop goes on, others are due now.  No leg may be
 * active.  False without memory, and nothing waits.
 */
bool legs_divide(struct queue *queue, struct queued *message,
    const struct envelope *envelope);
/* Recall what is known of the legs, and end them. */
bool legs_recall(struct queued *message);
/* The same, and divide what is left; false, and an alarm, without memory. */
bool legs_divide_again(struct queue *queue, struct queued *message,
    const struct envelope *envelope);
/* The one of a hop; made if there is none.  NULL without memory. */
struct recalled *legs_recalled(struct queued *message, const char *host,
    uint16_t port);
struct leg *leg_of(struct queued *message, uint32_t recipient);
/* Fix what is pending after recipients were done. */
void legs_count_pending(struct queued *message);
void legs_free(struct queued *message);

/* queue_store.c; callers hold ingest (but not lock) where it says so. */

/* Register what is in the folder, read all that is certain, clean up after
 * dead writers.  Under ingest. */
bool store_scan(struct queue *queue, struct reason *why);
void store_committed(struct queue *queue, uint64_t start_id, uint32_t file,
    uint64_t end, bool closed);
/* Index one message found at record; takes lock.  Octets are its envelope. */
bool store_message_found(struct queue *queue, struct segment *segment,
    const struct journal_record *record, const void *octets,
    struct reason *why);
/* Nothing is added any more to segments of that start-id. */
bool store_is_dead(const struct queue *queue, uint64_t start_id);
/* Index what stands between the segment's cursor and limit; exact, verify: see
 * journal_reader_init. */
void store_read_range(struct queue *queue, struct segment *segment, uint64_t limit,
    bool exact, bool verify);
/* All of it was read that there will be. */
void store_whole(struct queue *queue, struct segment *segment);

/* queue_folder.c; callers hold ingest. */

/* What a name in the in folder says. */
struct folder_file {
	uint64_t start_id, number;
	bool large;
};

/* Segments (or large files) in the folder, in order; free() is the
 * caller's. */
bool store_list_folder(struct queue *queue, bool large,
    struct folder_file **found_out, size_t *count_out, struct reason *why);
/* Large files of dead writers that no message needs. */
void store_remove_orphans(struct queue *queue);

/* queue_segment.c */

/* Callers hold lock.  The first segment that is not before that one. */
size_t store_position(const struct queue *queue, uint64_t start_id,
    uint64_t file);
struct segment *store_find(const struct queue *queue, uint64_t start_id,
    uint32_t file);
/* Among the others; fd is handed over.  NULL without memory. */
struct segment *store_segment_new(struct queue *queue, uint64_t start_id,
    uint32_t file, int fd, const struct journal_header *header, bool kept);
/* Out of the array; the descriptor is the caller's. */
void store_segment_free(struct queue *queue, struct segment *segment);
/* Borrow the segment's descriptor, open it if need be. */
bool store_segment_use(struct queue *queue, struct segment *segment,
    int *fd_out, struct reason *why);
void store_segment_release(struct queue *queue, struct segment *segment);
/* Keeper: after the completions of a batch are settled. */
void store_completed(struct queue *queue, struct queued *message);
/* Keeper: returns the monotonic time to come again, INT64_MAX: none. */
int64_t store_unlink_finished(struct queue *queue);
/* Name of a segment's file. */
void store_name(const struct segment *segment,
    char out[static JOURNAL_NAME_SIZE]);
/* The file of its own that a body in a message of the segment is in. */
bool store_body_open(struct queue *queue, const struct segment *segment,
    uint64_t number, int *fd_out, struct reason *why);

/* queue_compact.c; the keeper. */

/*
 * A piece of what compaction there is to do: about as much I/O as one group of
 * the log is.  Returns the monotonic time of the next call.
 */
int64_t compact_some(struct queue *queue, int64_t now_ms);
/* Give up what is under way. */
void compact_abandon(struct queue *queue);
/* Callers hold lock.  Little is left in it. */
bool compact_is_due(const struct segment *segment);
/* Of images. */
void compact_name(char out[static JOURNAL_NAME_SIZE], uint64_t start_id,
    uint32_t file);
#define COMPACT_UNFINISHED "kept.new"

/* queue_kept.c */

/* Read the images there are, before the in folder is looked at (before any
 * thread). */
bool kept_recover(struct queue *queue, struct reason *why);

/* queue_damage.c */

/* Copy octets of a damaged file aside and say so; false if they could not be
 * kept. */
bool store_set_aside(struct queue *queue, int fd, const char *name,
    uint64_t from, uint64_t to, const char *text);
/* The same of a segment, under ingest: a file with damage that there was no
 * room to keep stays until there is, at another start. */
void store_set_aside_of(struct queue *queue, struct segment *segment, int fd,
    const char *name, uint64_t from, uint64_t to, const char *text);

/* queue_record.c, queue_recover.c, queue_log.c, queue_rotate.c */

/* Read all files of the log into the index (before any thread). */
bool log_recover(struct queue *queue, struct reason *why);
/* Begin a new file with a snapshot, drop the old ones, start the keeper. */
bool log_start(struct queue *queue, struct reason *why);
void log_stop(struct queue *queue);
/* What matters into a new file, with all that waits; the old ones go.  On
 * failure all is as it was.  The keeper, or before there is one. */
bool log_rotate(struct queue *queue, struct reason *why);
/* Register a file of the log; fd is handed over.  Callers hold lock. */
struct segment *log_segment_new(struct queue *queue, uint32_t file, int fd,
    const struct journal_header *header);
/* A file of the log by its number, or NULL.  Callers hold lock. */
struct segment *log_segment_find(const struct queue *queue, uint32_t file);
/* NULL without memory; octets are copied. */
struct log_entry *log_entry_new(enum journal_type type, const void *envelope,
    size_t envelope_len, const void *head, size_t head_len, const void *body,
    size_t body_len);
/* A message of our own, with its body; NULL without memory, or if the body is
 * longer than a record holds. */
struct log_entry *log_message_entry(const struct envelope *envelope,
    const char *octets, size_t len);
void log_entry_free(struct log_entry *entry);
/* Hand over; callers hold lock.  Entries stay in order. */
void log_add(struct queue *queue, struct log_entry *entry);
/* Wait until all that was handed over is on stable storage; false after
 * timeout_ms.  No lock. */
bool log_wait(struct queue *queue, int timeout_ms);

/* The keeper's: write, without a sync, to the file of that number. */
bool log_write_entries(struct queue *queue, struct journal *journal,
    uint32_t file, struct log_entry *entry, struct reason *why);
/* They were written there, or some of them, and do not stand there. */
void log_unchain_entries(struct queue *queue, uint32_t file,
    struct log_entry *entry);
/* All that waits; callers hold lock. */
struct log_entry *log_take_entries(struct queue *queue);
/* They could not be written: before all that came since. */
void log_put_back_entries(struct queue *queue, struct log_entry *first);
/* They are on stable storage: do what rests on them, and free them. */
void log_settle_entries(struct queue *queue, struct log_entry *entry);

struct log_entry *log_attempt_entry(const struct attempt *attempt);
/* Where the message's attempt before this one stands; while it is written. */
void log_chain_attempt(struct log_entry *entry, uint32_t file, uint64_t offset);
void log_unchain_attempt(struct log_entry *entry, uint32_t *file_out,
    uint64_t *offset_out);
struct log_entry *log_key_entry(enum journal_type type, struct message_key key,
    const char *text);
/* In the copy of an ATTEMPT: its new earlier one, and how many are left out
 * between.  Octets have room for 4 more than envelope_len. */
void attempt_copied(struct journal_record *record, unsigned char *octets,
    bool has_gap, uint32_t file, uint64_t offset, uint32_t gap);
/* What a snapshot keeps of a message; callers hold lock. */
struct log_entry *log_state_entry(const struct queued *message);
/* Where the message's last attempt stands in the STATE's own file, or 0. */
void log_place_state(struct log_entry *entry, uint64_t offset);
struct message_key log_get_key(struct wire_reader *r);
bool attempt_decode(struct attempt *attempt_out, const void *octets, size_t len,
    struct reason *why);
void attempt_fini(struct attempt *attempt);
/* The attempt recorded there; false if it is gone. */
bool log_read_attempt(struct queue *queue, uint32_t file, uint64_t offset,
    struct attempt *attempt_out, struct reason *why);

/* queue.c */

/* Read a message for a worker: envelope, head, body's place.  The leg is the
 * caller's (active); no lock. */
bool delivery_open(struct queue *queue, struct leg *leg,
    struct delivery **delivery_out, struct reason *why);
void delivery_close(struct queue *queue, struct delivery *delivery);
/* What it stands for. */
struct leg *delivery_leg(const struct delivery *delivery);
/* The worker's place at a site; empty if no worker has the delivery. */
struct slot *delivery_slot(const struct delivery *delivery);
/* A message that could not be read: held if it is damaged, else later. */
void queue_unreadable(struct queue *queue, struct leg *leg,
    const struct reason *why);
/* Out of the heap and into the caller's hands, or back.  Callers hold lock;
 * index_settle follows. */
void queue_lend(struct queue *queue, struct leg *leg);
void queue_give_back(struct leg *leg);

/* queue_done.c */

/* What a remote server said begins with its reply code. */
bool queue_is_reply(const char *text);
bool queue_is_expired(const struct queue_settings *settings,
    const struct queued *message, int64_t now_ms);
/*
 * Tell the sender, where that is possible and wanted, that the delivery's
 * recipients are delayed, by the outcomes of the last attempt; the leg waits on
 * as it did.  Frees the delivery.  False if nobody could be told now.
 */
bool queue_tell_delay(struct queue *queue, struct delivery *delivery);

/* queue_age.c */

/* Bounce what is too old, tell of what is late (the keeper; no lock); returns
 * the monotonic time of the next look. */
int64_t queue_look_at_ages(struct queue *queue);

/* queue_route.c */

/* Callers hold lock.  It waits, and was routed before the last reload. */
bool route_is_stale(const struct queue *queue, const struct queued *message);
/* The same: it does so again. */
void route_later(struct queue *queue, const struct queued *message);
/* The same: there may be such messages. */
bool route_is_behind(const struct queue *queue);
/* Route such messages anew, as many as take little time (the keeper; no
 * lock). */
void route_some(struct queue *queue);

#endif
