/*
 * server/upstream_shun.h: places that failed lately, to be tried after others.
 *
 * A server that takes connections and then says nothing costs minutes each
 * time it is the first of several; one that is down is no better choice than
 * one that may be up.  Nothing is refused: who is alone is tried all the same.
 */
#ifndef SERVER_UPSTREAM_SHUN_H
#define SERVER_UPSTREAM_SHUN_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>

enum {
	SHUN_PLACES = 64, /* the oldest makes room */
	SHUN_TEXT = 280,  /* of a place: "host:port", "address port" */
	SHUN_MS = 600000, /* how long a failure counts */
};

/* Threads: any, all below. */
struct shunned {
	pthread_mutex_t lock; /* guards the rest */
	size_t next;          /* to be overwritten */
	struct shunned_place {
		char text[SHUN_TEXT]; /* "": none */
		long long at;         /* upstream_now_ms of the failure */
	} places[SHUN_PLACES];
};

void shunned_init(struct shunned *shunned);
void shunned_fini(struct shunned *shunned);

/* It failed at now, by upstream_now_ms. */
void shun(struct shunned *shunned, const char *place, long long now);
/* It works again. */
void shun_no_more(struct shunned *shunned, const char *place);
bool is_shunned(struct shunned *shunned, const char *place, long long now);

#endif
