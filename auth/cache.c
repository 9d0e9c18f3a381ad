/* auth/cache.c: passwords that were verified a short while ago. */
#include "cache.h"

#include <gnutls/crypto.h>
#include <gnutls/gnutls.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

enum { WAYS = 8, KEY_OCTETS = 32, TAG_OCTETS = 32, USER_OCTETS = 16 };

struct slot {
	unsigned char user[USER_OCTETS]; /* of the name */
	unsigned char tag[TAG_OCTETS];   /* of name, change and password */
	int64_t until_ms;                /* 0: free */
};

/* All slots of one name are in one set, so that it can be forgotten. */
struct cache {
	unsigned char key[KEY_OCTETS];
	int64_t ttl_ms;
	size_t sets;
	size_t octets;
	struct slot slots[];
};

bool
cache_new(struct cache **cache_out, size_t capacity, uint32_t ttl_s,
    struct reason *why)
{
	size_t sets = capacity / WAYS + (capacity % WAYS != 0);
	size_t octets;
	struct cache *cache;

	if (__builtin_mul_overflow(sets, WAYS * sizeof(struct slot), &octets) ||
	    __builtin_add_overflow(octets, sizeof *cache, &octets))
		return fail(why, REASON_RANGE, "cache of %zu passwords",
		    capacity);
	cache = calloc(1, octets);
	if (cache == NULL)
		return fail(why, REASON_NO_MEMORY, "cache of %zu passwords",
		    capacity);
	/* Against swapping; the limit may forbid it, and then so be it. */
	(void)mlock(cache, octets);
	cache->sets = sets;
	cache->octets = octets;
	cache->ttl_ms = (int64_t)ttl_s * 1000;
	if (gnutls_rnd(GNUTLS_RND_KEY, cache->key, sizeof cache->key) < 0) {
		cache_free(cache);
		return fail(why, REASON_INTERNAL, "no random key for a cache");
	}
	*cache_out = cache;
	return true;
}

void
cache_free(struct cache *cache)
{
	size_t octets;

	if (cache == NULL)
		return;
	octets = cache->octets;
	explicit_bzero(cache, octets);
	(void)munlock(cache, octets);
	free(cache);
}

static bool
user_of(const struct cache *cache, const char *name,
    unsigned char out[static USER_OCTETS])
{
	unsigned char full[32];

	if (gnutls_hmac_fast(GNUTLS_MAC_SHA256, cache->key, KEY_OCTETS, name,
		strlen(name), full) < 0)
		return false;
	memcpy(out, full, USER_OCTETS);
	return true;
}

static bool
tag_of(const struct cache *cache, const unsigned char *user, uint64_t change,
    const char *password, unsigned char out[static TAG_OCTETS])
{
	gnutls_hmac_hd_t h;

	if (gnutls_hmac_init(&h, GNUTLS_MAC_SHA256, cache->key, KEY_OCTETS) < 0)
		return false;
	gnutls_hmac(h, user, USER_OCTETS);
	gnutls_hmac(h, &change, sizeof change);
	gnutls_hmac(h, password, strlen(password));
	gnutls_hmac_deinit(h, out);
	return true;
}

static size_t
set_of(const struct cache *cache, const unsigned char *user)
{
	uint64_t n;

	memcpy(&n, user, sizeof n);
	return (size_t)(n % cache->sets) * WAYS;
}

bool
cache_has(const struct cache *cache, const char *name, uint64_t change,
    const char *password, int64_t now_ms)
{
	unsigned char user[USER_OCTETS], tag[TAG_OCTETS];
	const struct slot *set;
	bool has = false;

	if (cache == NULL || cache->sets == 0 || !user_of(cache, name, user) ||
	    !tag_of(cache, user, change, password, tag))
		return false;
	set = &cache->slots[set_of(cache, user)];
	for (int i = 0; i < WAYS; i++)
		if (set[i].until_ms > now_ms &&
		    gnutls_memcmp(set[i].tag, tag, TAG_OCTETS) == 0)
			has = true;
	explicit_bzero(tag, sizeof tag);
	return has;
}

void
cache_add(struct cache *cache, const char *name, uint64_t change,
    const char *password, int64_t now_ms)
{
	unsigned char user[USER_OCTETS], tag[TAG_OCTETS];
	struct slot *set, *slot;

	if (cache == NULL || cache->sets == 0 || !user_of(cache, name, user) ||
	    !tag_of(cache, user, change, password, tag))
		return;
	set = slot = &cache->slots[set_of(cache, user)];
	for (int i = 0; i < WAYS; i++) {
		/* An entry has one password: what the name had is stale. */
		if (memcmp(set[i].user, user, USER_OCTETS) == 0) {
			slot = &set[i];
			break;
		}
		if (set[i].until_ms < slot->until_ms)
			slot = &set[i];
	}
	memcpy(slot->user, user, USER_OCTETS);
	memcpy(slot->tag, tag, TAG_OCTETS);
	slot->until_ms = now_ms + cache->ttl_ms;
	explicit_bzero(tag, sizeof tag);
}

void
cache_forget(struct cache *cache, const char *name)
{
	unsigned char user[USER_OCTETS];
	struct slot *set;

	if (cache == NULL || cache->sets == 0)
		return;
	if (!user_of(cache, name, user)) {
		/* Which ones they are cannot be told: all of them go. */
		explicit_bzero(cache->slots,
		    cache->sets * WAYS * sizeof(struct slot));
		return;
	}
	set = &cache->slots[set_of(cache, user)];
	for (int i = 0; i < WAYS; i++)
		if (memcmp(set[i].user, user, USER_OCTETS) == 0)
			explicit_bzero(&set[i], sizeof set[i]);
}
