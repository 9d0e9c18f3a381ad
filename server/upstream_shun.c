/*
 * server/upstream_shun.c: places that failed lately: a few names and when.
 */
#include "upstream_shun.h"

#include <stdio.h>
#include <string.h>

void
shunned_init(struct shunned *shunned)
{
	memset(shunned, 0, sizeof(*shunned));
	pthread_mutex_init(&shunned->lock, NULL);
}

void
shunned_fini(struct shunned *shunned)
{
	pthread_mutex_destroy(&shunned->lock);
}

/* Under the lock; NULL: none. */
static struct shunned_place *
find(struct shunned *shunned, const char *text)
{
	for (size_t i = 0; i < SHUN_PLACES; i++)
		if (strcmp(shunned->places[i].text, text) == 0)
			return &shunned->places[i];
	return NULL;
}

void
shun(struct shunned *shunned, const char *place, long long now)
{
	struct shunned_place *known;

	pthread_mutex_lock(&shunned->lock);
	known = find(shunned, place);
	if (known == NULL) {
		known = &shunned->places[shunned->next];
		shunned->next = (shunned->next + 1) % SHUN_PLACES;
		snprintf(known->text, sizeof(known->text), "%s", place);
	}
	known->at = now;
	pthread_mutex_unlock(&shunned->lock);
}

void
shun_no_more(struct shunned *shunned, const char *place)
{
	struct shunned_place *known;

	pthread_mutex_lock(&shunned->lock);
	known = find(shunned, place);
	if (known != NULL)
		known->text[0] = '\0';
	pthread_mutex_unlock(&shunned->lock);
}

bool
is_shunned(struct shunned *shunned, const char *place, long long now)
{
	const struct shunned_place *known;
	bool yes;

	pthread_mutex_lock(&shunned->lock);
	known = find(shunned, place);
	yes = known != NULL && now - known->at < SHUN_MS;
	pthread_mutex_unlock(&shunned->lock);
	return yes;
}
