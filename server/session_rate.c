/*
 * server/session_rate.c: how many messages a login has sent within an hour.
 *
 * A hash table in shards with a lock each; a login that has sent nothing for
 * an hour goes when somebody looks into its bucket.
 */
#include "session_rate.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

enum { SHARDS = 32, BUCKETS = 1024 };

struct node {
	struct node *next;
	int64_t step;               /* the latest; in units of RATES_STEP_S */
	uint32_t sent[RATES_STEPS]; /* by step % RATES_STEPS */
	char login[];
};

struct rates {
	uint64_t seed; /* so that nobody can aim at one bucket */
	struct shard {
		pthread_mutex_t lock;
		unsigned nodes;
		struct node *buckets[BUCKETS];
	} shards[SHARDS];
};

struct rates *
rates_new(void)
{
	struct rates *rates = calloc(1, sizeof *rates);

	if (rates == NULL)
		return NULL;
	if (getrandom(&rates->seed, sizeof rates->seed, 0) !=
	    sizeof rates->seed) {
		free(rates);
		return NULL;
	}
	for (unsigned i = 0; i < SHARDS; i++)
		pthread_mutex_init(&rates->shards[i].lock, NULL);
	return rates;
}

void
rates_free(struct rates *rates)
{
	struct node *node;

	if (rates == NULL)
		return;
	for (unsigned i = 0; i < SHARDS; i++)
		for (unsigned j = 0; j < BUCKETS; j++)
			while ((node = rates->shards[i].buckets[j]) != NULL) {
				rates->shards[i].buckets[j] = node->next;
				free(node);
			}
	free(rates);
}

static uint64_t
hash(uint64_t seed, const char *login)
{
	uint64_t h = seed;

	for (; *login != '\0'; login++) {
		h = (h ^ (unsigned char)*login) * 0x9e3779b97f4a7c15u;
		h ^= h >> 32;
	}
	return h;
}

static bool
is_over(const struct node *node, int64_t step)
{
	return step - node->step >= RATES_STEPS;
}

/* Where the login's node is, or the end of its bucket; locks the shard. */
static struct node **
find(struct rates *rates, const char *login, int64_t step,
    struct shard **shard_out)
{
	uint64_t h = hash(rates->seed, login);
	struct shard *shard = &rates->shards[h % SHARDS];
	struct node **node = &shard->buckets[h / SHARDS % BUCKETS], *gone;

	pthread_mutex_lock(&shard->lock);
	while (*node != NULL && strcmp((*node)->login, login) != 0) {
		if (!is_over(*node, step)) {
			node = &(*node)->next;
			continue;
		}
		gone = *node;
		*node = gone->next;
		free(gone);
		shard->nodes--;
	}
	*shard_out = shard;
	return node;
}

static struct node *
node_new(const char *login, int64_t step)
{
	size_t len = strlen(login) + 1;
	struct node *node = calloc(1, sizeof *node + len);

	if (node == NULL)
		return NULL;
	node->step = step;
	memcpy(node->login, login, len);
	return node;
}

/* Forget what is more than an hour old. */
static void
advance(struct node *node, int64_t step)
{
	if (is_over(node, step))
		memset(node->sent, 0, sizeof node->sent);
	else
		while (node->step < step)
			node->sent[++node->step % RATES_STEPS] = 0;
	if (node->step < step)
		node->step = step;
}

/* How many of the steps that count now must have passed before there is room
 * for one more; 0: there is. */
static int64_t
steps_to_wait(const struct node *node, uint32_t most)
{
	uint64_t sent = 0;
	int64_t steps = 0;

	for (int i = 0; i < RATES_STEPS; i++)
		sent += node->sent[i];
	/* The oldest one follows the latest. */
	while (sent >= most && steps < RATES_STEPS) {
		steps++;
		sent -= node->sent[(node->step + steps) % RATES_STEPS];
	}
	return steps;
}

static unsigned
seconds_to(int64_t step, int64_t now)
{
	return (unsigned)(step * RATES_STEP_S - now);
}

unsigned
rates_wait(struct rates *rates, const char *login, uint32_t most, int64_t now)
{
	struct shard *shard;
	int64_t step = now / RATES_STEP_S, wait = 0;
	struct node **node = find(rates, login, step, &shard);

	if (*node != NULL) {
		advance(*node, step);
		wait = steps_to_wait(*node, most);
	}
	pthread_mutex_unlock(&shard->lock);
	return wait == 0 ? 0 : seconds_to(step + wait, now);
}

unsigned
rates_take(struct rates *rates, const char *login, uint32_t most, int64_t now)
{
	struct shard *shard;
	int64_t step = now / RATES_STEP_S, wait = 1;
	struct node **node = find(rates, login, step, &shard);

	if (*node == NULL && shard->nodes < RATES_LOGINS_MAX / SHARDS) {
		*node = node_new(login, step);
		shard->nodes += *node != NULL;
	}
	if (*node != NULL) {
		advance(*node, step);
		wait = steps_to_wait(*node, most);
		if (wait == 0)
			(*node)->sent[(*node)->step % RATES_STEPS]++;
	}
	pthread_mutex_unlock(&shard->lock);
	return wait == 0 ? 0 : seconds_to(step + wait, now);
}

void
rates_give(struct rates *rates, const char *login, int64_t then)
{
	struct shard *shard;
	int64_t step = then / RATES_STEP_S;
	struct node **node = find(rates, login, step, &shard);

	if (*node != NULL && (*node)->step - step < RATES_STEPS &&
	    (*node)->sent[step % RATES_STEPS] > 0)
		(*node)->sent[step % RATES_STEPS]--;
	pthread_mutex_unlock(&shard->lock);
}
