/*
 * server/helpers_internal.h: what the files of the spawner share.
 *
 *   helpers.c          the role: channels, configurations, the loop
 *   helpers_attempt.c  children: who runs, what passes, when it is over
 *
 * One thread, which never waits.
 */
#ifndef SERVER_HELPERS_INTERNAL_H
#define SERVER_HELPERS_INTERNAL_H

#include <sys/types.h>

#include "helper.h"
#include "role.h"

enum {
	HELPERS_MAX = 1024,
	PLACES = HELPERS_MAX + 256, /* the dying ones need theirs too */
	CONFIGS_MAX = 16,
	PACKET_MAX = HELPER_RESPONSE_MAX + 2048,
	CHILD_PACKETS_MAX = 16, /* that one child says */
};

struct spawner;

struct watch {
	int fd;
	void (*ready)(struct spawner *s, struct watch *watch);
	struct attempt *attempt; /* NULL: a channel of the role's */
};

/* A child, from its fork until it has been reaped. */
struct attempt {
	bool used;
	bool answered; /* auth has got its answer, or wants none */
	bool evicted;  /* killed to make room */
	const struct helper_kind *kind;
	uint64_t number;
	pid_t pid;
	int64_t due_ms;
	int64_t idle_since_ms; /* waits for its client; 0: does not */
	unsigned said;
	struct watch channel, process;
};

struct numbered {
	uint32_t number;
	struct config *config; /* NULL: free */
	struct jwk_set *keys;
	char *anchors; /* PEM, or NULL */
	struct helper_settings settings;
};

struct spawner {
	struct role_info info;
	int epoll;
	struct watch master, auth;
	struct attempt attempts[PLACES];
	struct numbered configs[CONFIGS_MAX];
	unsigned at_once; /* of the committed configuration */
	bool stopping;
	int64_t stop_ms;
};

/* Monotonic milliseconds. */
int64_t spawner_now_ms(void);
/* NULL: there is none of that number. */
struct numbered *spawner_config(struct spawner *s, uint32_t number);
bool watch_set(struct spawner *s, struct watch *watch, int fd);
void watch_close(struct spawner *s, struct watch *watch);

/* helpers_attempt.c */
/* A packet of auth that begins an attempt of that kind; r stands behind its
 * type, len counts it. */
void attempt_begin(struct spawner *s, const struct helper_kind *kind,
    struct wire_reader *r, size_t len);
/* One for an attempt that runs: an answer to what a child has said. */
void attempt_go_on(struct spawner *s, unsigned char type,
    struct wire_reader *r);
/* Answers would find nobody. */
void attempts_end(struct spawner *s);
/* How many have not been reaped. */
unsigned attempts_running(const struct spawner *s);
/* When the next one is due; INT64_MAX: none is. */
int64_t attempts_due_ms(const struct spawner *s);
/* End those that are due. */
void attempts_expire(struct spawner *s);

#endif
