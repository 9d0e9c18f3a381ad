/*
 * auth/cache.h: passwords that were verified a short while ago.
 *
 * Saves the key derivation at each PLAIN login.  Keeps keyed hashes in memory
 * of fixed size, under a key that is new in each process; an entry's change
 * counter is part of what is hashed.  Never for PAM.  Threads: one.
 */
#ifndef AUTH_CACHE_H
#define AUTH_CACHE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "../policy/reason.h"

struct cache;

/* capacity: passwords kept, rounded up to whole sets of 8; 0: none is. */
bool cache_new(struct cache **cache_out, size_t capacity, uint32_t ttl_s,
    struct reason *why);
void cache_free(struct cache *cache); /* wipes it; NULL is fine */

/* now_ms: a monotonic clock.  cache NULL, here and below: there is none yet,
 * nothing is in it. */
bool cache_has(const struct cache *cache, const char *name, uint64_t change,
    const char *password, int64_t now_ms);
void cache_add(struct cache *cache, const char *name, uint64_t change,
    const char *password, int64_t now_ms);

/* Drop all of this name. */
void cache_forget(struct cache *cache, const char *name);

#endif
