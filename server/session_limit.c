/*
 * server/session_limit.c: how many sessions a client has.
 *
 * A hash table in shards with a lock each; there are never more nodes than
 * sessions.
 */
#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "session_limit.h"

enum { SHARDS = 32, BUCKETS = 256 };

struct node {
	struct node *next;
	unsigned char client[16];
	unsigned sessions;
};

struct limits {
	uint64_t seed; /* so that nobody can aim at one bucket */
	struct shard {
		pthread_mutex_t lock;
		struct node *buckets[BUCKETS];
	} shards[SHARDS];
};

struct limits *
limits_new(void)
{
	struct limits *limits = calloc(1, sizeof *limits);
	unsigned i;

	if (limits == NULL)
		return NULL;
	if (getrandom(&limits->seed, sizeof limits->seed, 0) !=
	    sizeof limits->seed) {
		free(limits);
		return NULL;
	}
	for (i = 0; i < SHARDS; i++)
		pthread_mutex_init(&limits->shards[i].lock, NULL);
	return limits;
}

void
limits_free(struct limits *limits)
{
	struct node *node;
	unsigned i, j;

	if (limits == NULL)
		return;
	for (i = 0; i < SHARDS; i++)
		for (j = 0; j < BUCKETS; j++)
			while ((node = limits->shards[i].buckets[j]) != NULL) {
				limits->shards[i].buckets[j] = node->next;
				free(node);
			}
	free(limits);
}

static void
client_of(const unsigned char address[16], unsigned char client[16])
{
	static const unsigned char mapped[12] = { [10] = 0xff, 0xff };

	memcpy(client, address, 16);
	if (memcmp(address, mapped, sizeof mapped) != 0)
		memset(client + 8, 0, 8);
}

static uint64_t
hash(uint64_t seed, const unsigned char client[16])
{
	uint64_t half[2], h;

	memcpy(half, client, sizeof half);
	h = (half[0] ^ seed) * 0x9e3779b97f4a7c15u;
	h ^= h >> 29;
	h = (h ^ half[1]) * 0xbf58476d1ce4e5b9u;
	return h ^ h >> 32;
}

/* Where the client's node is, or would be; locks the shard. */
static struct node **
find(struct limits *limits, const unsigned char client[16],
    struct shard **shard_out)
{
	uint64_t h = hash(limits->seed, client);
	struct shard *shard = &limits->shards[h % SHARDS];
	struct node **node = &shard->buckets[h / SHARDS % BUCKETS];

	pthread_mutex_lock(&shard->lock);
	while (*node != NULL && memcmp((*node)->client, client, 16) != 0)
		node = &(*node)->next;
	*shard_out = shard;
	return node;
}

bool
limits_take(struct limits *limits, const unsigned char address[16],
    unsigned most)
{
	unsigned char client[16];
	struct shard *shard;
	struct node **node;
	bool ok = false;

	client_of(address, client);
	node = find(limits, client, &shard);
	if (*node == NULL) {
		*node = calloc(1, sizeof **node);
		if (*node != NULL)
			memcpy((*node)->client, client, sizeof client);
	}
	if (*node != NULL && (*node)->sessions < most) {
		(*node)->sessions++;
		ok = true;
	}
	pthread_mutex_unlock(&shard->lock);
	return ok;
}

void
limits_give(struct limits *limits, const unsigned char address[16])
{
	unsigned char client[16];
	struct shard *shard;
	struct node **node, *gone;

	client_of(address, client);
	node = find(limits, client, &shard);
	if (*node != NULL && --(*node)->sessions == 0) {
		gone = *node;
		*node = gone->next;
		free(gone);
	}
	pthread_mutex_unlock(&shard->lock);
}
