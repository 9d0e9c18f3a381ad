/*
 * server/auth_role.h: what the files of the auth role share.
 *
 * The role is one thread over one epoll set.  It holds the credential store,
 * the cache and the upstream logins, and answers from tables of permitted
 * requests; whoever asks may be compromised.  Nothing here waits.
 */
#ifndef SERVER_AUTH_ROLE_H
#define SERVER_AUTH_ROLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "../auth/cache.h"
#include "../auth/exchange.h"
#include "../auth/guess.h"
#include "../auth/login.h"
#include "../auth/store.h"
#include "auth_timer.h"
#include "config.h"
#include "role.h"
#include "wire.h"

enum {
	AUTH_CONFIGS_MAX = 16,
	AUTH_DIALOGUES_MAX = 8192, /* exchanges alive at once */
	AUTH_BUCKETS = 4096,
	AUTH_LIFETIME_MS = 10 * 60 * 1000, /* of an exchange */
	AUTH_RETRY_MS = 10,                /* when a channel has no room */
	AUTH_HELPERS_MAX = 1024, /* questions to the helpers at once */
	AUTH_RELAYS_MAX = 1024,  /* relay threads */
	AUTH_TOOLS_MAX = 8,      /* control connections at once */
	AUTH_TIMERS_OWN = 3,     /* stop, changes, report of old practices */
	AUTH_TOOL_IDLE_MS = 30000,
	AUTH_ALARM_MS = 3600 * 1000, /* between alarms a stranger can cause */
};

struct auth_role;

/* A descriptor in the epoll set and what to do when it is ready. */
struct auth_watch {
	int fd; /* -1: none */
	void (*ready)(struct auth_role *role, struct auth_watch *watch,
	    uint32_t events);
};

/* A numbered configuration. */
struct auth_config {
	uint32_t number;
	struct config *config;
	struct login_book *book; /* NULL: no upstream logins */
	char *token_login;       /* at the introspection endpoint; NULL: none */
	unsigned users;          /* dialogues on it */
	bool retired;
};

struct dialogue;
struct auth_changed;
struct auth_foreign;
struct auth_legacy;

struct auth_helper_call {
	uint64_t serial; /* 0: free */
	struct dialogue *dialogue;
};

struct auth_relay {
	struct auth_watch watch;
	struct auth_role *role;
	uint64_t number; /* of the exchange; one at a time */
	struct login *login;
	char name[LOGIN_WORD_MAX + 1]; /* of the login */
	/* While its token is fetched. */
	uint64_t wants; /* serial of the question to the master; 0: none */
	struct auth_watch source;
	struct timer timer;
	char *token; /* what has been read of it */
	size_t token_len;
};

struct auth_tool;

struct auth_role {
	struct role_info info;
	int epoll;
	struct timers timers;
	struct auth_watch master, clock, session, helpers, control;
	int64_t rings_ms;             /* when the clock rings; 0: it does not */
	struct auth_foreign *foreign; /* its thread; NULL: not needed yet */
	struct auth_watch foreign_done;
	uint64_t foreign_serial;
	struct auth_changed *changed;
	struct auth_legacy *legacy;
	struct sasl_library *sasl;
	struct store *store;    /* NULL: not open */
	int64_t store_again_ms; /* when to try once more */
	struct cache *cache;
	unsigned cache_size, cache_ttl_s;
	struct guesses *guesses;
	int64_t downgrade_quiet_until_ms;         /* no further alarm before */
	int64_t ambiguous_quiet_until_ms;         /* the same of certificates */
	unsigned failure_delay_ms, free_failures; /* as committed last */
	struct auth_config *configs[AUTH_CONFIGS_MAX];
	struct dialogue *dialogues[AUTH_BUCKETS];
	size_t dialogue_count;
	uint64_t helper_serial;
	struct auth_helper_call calls[AUTH_HELPERS_MAX];
	struct auth_relay *relays[AUTH_RELAYS_MAX];
	uint64_t token_serial;
	struct auth_tool *tools[AUTH_TOOLS_MAX];
	uint64_t granted, denied; /* since the start */
	bool stopping;
	struct timer stop_timer;
};

int64_t auth_now_ms(void);

/* Watch fd for reading; closes what was watched before. */
void auth_watch_set(struct auth_role *role, struct auth_watch *watch, int fd,
    void (*ready)(struct auth_role *, struct auth_watch *, uint32_t));
void auth_watch_close(struct auth_role *role, struct auth_watch *watch);

struct auth_config *auth_config_find(struct auth_role *role, uint32_t number);
/* A dialogue has left it. */
void auth_config_release(struct auth_role *role, struct auth_config *config);

/* The store, opened again if need be; NULL if that fails, which is logged. */
struct store *auth_store(struct auth_role *role);

/* auth_dialogue.c: session's exchanges, and the helpers' answers to them. */
void auth_dialogue_session(struct auth_role *role, int fd);
void auth_dialogue_helpers(struct auth_role *role, int fd);

/*
 * auth_foreign.c: another server's password hash takes long on purpose, so a
 * thread of its own checks it, one after another, and makes the verifiers that
 * replace it.
 *
 * serial is the asker's, and comes back.  What is given is copied and wiped.
 * False: too many wait already, the password has more than PASSWORD_MAX octets,
 * or the thread cannot be had.
 */
bool auth_foreign_ask(struct auth_role *role, uint64_t number, uint64_t serial,
    const char *hash, const char *password, uint32_t iterations);
/* Waits for the check under way and ends the thread. */
void auth_foreign_stop(struct auth_role *role);

struct auth_foreign_answer {
	uint64_t number, serial;
	bool matches;
	bool has_verifiers; /* false: no verifier can be made of it */
	struct verifier verifiers[VERIFIER_HASHES];
};
/* auth_dialogue.c: what comes of it. */
void auth_dialogue_foreign(struct auth_role *role,
    const struct auth_foreign_answer *answer);

/* auth_upstream.c: relay's logins. */
void auth_upstream_relay(struct auth_role *role, unsigned index, int fd);
/* The login has its token, or why is why it has none. */
void auth_upstream_go_on(struct auth_relay *relay, const struct reason *why);

/*
 * auth_upstream_token.c: the token of a login, which is fetched anew each time:
 * the master opens what the upstream file names, and it is read here.
 */
void auth_token_want(struct auth_relay *relay, uint32_t configuration);
void auth_token_forget(struct auth_relay *relay);
/* The master's answer. */
void auth_token_given(struct auth_role *role, uint64_t serial, int fd,
    const char *text);

/* auth_changed.c: sessions whose logins changed; false without memory. */
bool auth_changed_begin(struct auth_role *role);
/* A new session role, or none: there is nobody to tell. */
void auth_changed_forget(struct auth_role *role);
/*
 * An entry was before, and is after (NULL: there was, or is, none): if anything
 * was taken from it, or changed, the session role is told.  What came to it,
 * such as another key, ends no session.
 *
 * action  for the log; static.
 */
void auth_changed(struct auth_role *role, const char *login, const char *action,
    const struct entry *before, const struct entry *after);
/* auth_dialogue.c: nor is a success told that was decided before. */
void auth_dialogue_changed(struct auth_role *role, const char *login);

/* auth_users.c: tools. */
void auth_users_control(struct auth_role *role, int fd);
/* The store is about to be closed. */
void auth_users_end_lists(struct auth_role *role);

/* The last dialogue may have ended: stop if that was asked. */
void auth_role_idle(struct auth_role *role);

#endif
