/* tools/queue_feed.c: the relay's answer, read ahead of who prints it. */
#include "queue_feed.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "../server/control.h"

enum { AHEAD_MOST = 128 * 1024 * 1024 };

struct piece {
	struct piece *next;
	size_t len;
	char text[];
};

struct feed {
	int fd;
	const void *request;
	size_t request_len;

	pthread_mutex_t lock; /* of all that follows */
	pthread_cond_t changed;
	struct piece *first, **end;
	size_t ahead; /* octets */
	bool lost;    /* a piece, without memory */
	bool over, ok;
	struct reason why;
};

/* Reader: one packet. */
static void
put_piece(void *context, const char *octets, size_t len)
{
	struct feed *feed = context;
	struct piece *piece = malloc(sizeof(*piece) + len);

	if (piece != NULL) {
		piece->next = NULL;
		piece->len = len;
		memcpy(piece->text, octets, len);
	}
	pthread_mutex_lock(&feed->lock);
	while (feed->ahead > AHEAD_MOST)
		pthread_cond_wait(&feed->changed, &feed->lock);
	if (piece != NULL) {
		*feed->end = piece;
		feed->end = &piece->next;
		feed->ahead += sizeof(*piece) + len;
	} else {
		feed->lost = true;
	}
	pthread_cond_broadcast(&feed->changed);
	pthread_mutex_unlock(&feed->lock);
}

static void *
read_answer(void *context)
{
	struct feed *feed = context;
	struct reason why;
	bool ok = control_ask(feed->fd, feed->request, feed->request_len,
	    put_piece, feed, &why);

	pthread_mutex_lock(&feed->lock);
	feed->over = true;
	feed->ok = ok;
	if (!ok)
		feed->why = why;
	pthread_cond_broadcast(&feed->changed);
	pthread_mutex_unlock(&feed->lock);
	return NULL;
}

/* NULL: there are no more. */
static struct piece *
get_piece(struct feed *feed)
{
	struct piece *piece;

	pthread_mutex_lock(&feed->lock);
	while (feed->first == NULL && !feed->over)
		pthread_cond_wait(&feed->changed, &feed->lock);
	piece = feed->first;
	if (piece != NULL) {
		feed->first = piece->next;
		if (feed->first == NULL)
			feed->end = &feed->first;
		feed->ahead -= sizeof(*piece) + piece->len;
	}
	pthread_cond_broadcast(&feed->changed);
	pthread_mutex_unlock(&feed->lock);
	return piece;
}

static void
take_lines(const struct piece *piece,
    void (*take)(void *context, const char *text, size_t len), void *context)
{
	const char *at = piece->text, *end = at + piece->len;

	while (at < end) {
		const char *stop = memchr(at, '\n', (size_t)(end - at));

		take(context, at, (size_t)((stop != NULL ? stop : end) - at));
		at = stop != NULL ? stop + 1 : end;
	}
}

bool
queue_feed(int fd, const void *request, size_t len,
    void (*take)(void *context, const char *text, size_t len), void *context,
    struct reason *why)
{
	struct feed feed = {
		.fd = fd,
		.request = request,
		.request_len = len,
		.lock = PTHREAD_MUTEX_INITIALIZER,
		.changed = PTHREAD_COND_INITIALIZER,
		.end = &feed.first,
	};
	struct piece *piece;
	pthread_t reader;

	if (pthread_create(&reader, NULL, read_answer, &feed) != 0)
		return fail(why, REASON_NO_MEMORY, "a thread");
	while ((piece = get_piece(&feed)) != NULL) {
		take_lines(piece, take, context);
		free(piece);
	}
	pthread_join(reader, NULL);
	if (!feed.ok) {
		*why = feed.why;
		return false;
	}
	return feed.lost ? fail(why, REASON_NO_MEMORY, "the relay's answer")
			 : true;
}
