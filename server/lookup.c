/*
 * server/lookup.c: the lookup role: answers the relay's threads about names.
 *
 * One thread of ours and libunbound's.  No spool, no secrets; whoever breaks
 * this process can lie about addresses, which certificates then show.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <time.h>
#include <unistd.h>

#include "channel.h"
#include "log.h"
#include "lookup_resolver.h"
#include "role.h"
#include "wire.h"

enum {
	CHANNELS = 1024,
	QUESTIONS_MAX = 1024, /* open at once */
	ANSWER_WITHIN_MS = 20000,
};

/* A resolver that a reload has replaced lives until its questions end. */
struct source {
	struct source *next;
	struct resolver *resolver;
	size_t open;
};

struct lookup;

struct question {
	struct question *next; /* oldest first */
	struct lookup *lookup;
	struct source *source;
	struct resolver_question *asked;
	unsigned channel;
	unsigned generation; /* of that channel: a new peer did not ask */
	uint64_t number;
	long long deadline;
};

struct channel {
	int fd; /* -1: none */
	unsigned generation;
};

struct lookup {
	struct role_info info;
	int epoll;
	struct source *sources; /* the first is in use */
	struct question *first, **last;
	size_t open;
	struct channel channels[CHANNELS];
};

/* What an epoll event is about; channels are by their index. */
enum { EVENT_MASTER = CHANNELS, EVENT_RESOLVER };

static long long
now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (long long)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static _Noreturn void
lookup_broken(const char *what)
{
	log_line(SAY_ALARM, "lookup", "what=%s", what);
	_exit(1);
}

static void
watch(struct lookup *lookup, int fd, uint32_t what)
{
	struct epoll_event event = { .events = EPOLLIN, .data.u32 = what };

	if (epoll_ctl(lookup->epoll, EPOLL_CTL_ADD, fd, &event) < 0)
		lookup_broken("epoll");
}

static void
channel_close(struct channel *channel)
{
	if (channel->fd >= 0)
		close(channel->fd);
	channel->fd = -1;
	channel->generation++;
}

static void
put_addresses(struct wire_writer *w, const struct resolver_answer *answer)
{
	wire_put_u8(w, (uint8_t)(answer->six_count + answer->four_count));
	for (size_t i = 0; i < answer->six_count; i++) {
		wire_put_u8(w, 6);
		wire_put_raw(w, &answer->six[i], 16);
	}
	for (size_t i = 0; i < answer->four_count; i++) {
		wire_put_u8(w, 4);
		wire_put_raw(w, &answer->four[i], 4);
	}
}

/* A peer that does not take its answer has given up on it. */
static void
channel_answer(struct channel *channel, uint64_t number,
    const struct resolver_answer *answer)
{
	unsigned char packet[1024];
	struct wire_writer w;

	wire_writer_init(&w, packet, sizeof(packet));
	wire_put_u8(&w, LOOKUP_ANSWER);
	wire_put_u64(&w, number);
	wire_put_u8(&w, (uint8_t)answer->answer);
	wire_put_u8(&w, 0);
	put_addresses(&w, answer);
	wire_put_string(&w, answer->text);
	if (channel->fd >= 0 && !w.failed)
		channel_send(channel->fd, w.data, w.len, -1);
}

static void
channel_trouble(struct channel *channel, uint64_t number, const char *text)
{
	struct resolver_answer answer = {
		.answer = LOOKUP_TROUBLE,
		.text = text,
	};

	channel_answer(channel, number, &answer);
}

static void
sources_prune(struct lookup *lookup)
{
	struct source **at = &lookup->sources->next;

	while (*at != NULL) {
		struct source *source = *at;

		if (source->open > 0) {
			at = &source->next;
			continue;
		}
		*at = source->next;
		resolver_free(source->resolver);
		free(source);
	}
}

static void
question_unlink(struct question *question)
{
	struct lookup *lookup = question->lookup;
	struct question **at = &lookup->first;

	while (*at != question)
		at = &(*at)->next;
	*at = question->next;
	if (lookup->last == &question->next)
		lookup->last = at;
	lookup->open--;
	question->source->open--;
}

static void
on_answer(void *context, const struct resolver_answer *answer)
{
	struct question *question = context;
	struct channel *channel =
	    &question->lookup->channels[question->channel];

	if (channel->generation == question->generation)
		channel_answer(channel, question->number, answer);
	question_unlink(question);
	free(question);
}

static void
question_new(struct lookup *lookup, unsigned index, uint64_t number,
    const char *host)
{
	struct channel *channel = &lookup->channels[index];
	struct question *question;
	struct resolver_question *asked;

	if (lookup->open >= QUESTIONS_MAX) {
		channel_trouble(channel, number, "too many questions");
		return;
	}
	question = calloc(1, sizeof(*question));
	if (question == NULL) {
		channel_trouble(channel, number, "out of memory");
		return;
	}
	question->lookup = lookup;
	question->source = lookup->sources;
	question->channel = index;
	question->generation = channel->generation;
	question->number = number;
	question->deadline = now_ms() + ANSWER_WITHIN_MS;
	*lookup->last = question;
	lookup->last = &question->next;
	lookup->open++;
	question->source->open++;
	asked =
	    resolver_ask(question->source->resolver, host, on_answer, question);
	if (asked != NULL)
		question->asked = asked;
}

static bool
channel_request(struct lookup *lookup, unsigned index,
    const unsigned char *packet, size_t len)
{
	char host[RESOLVER_HOST_MAX + 1];
	struct wire_reader r;
	uint64_t number;
	uint8_t type;

	wire_reader_init(&r, packet, len);
	type = wire_get_u8(&r);
	number = wire_get_u64(&r);
	if (!wire_get_string(&r, host, sizeof(host)) || !wire_reader_done(&r) ||
	    type != LOOKUP_ADDRESSES)
		return false;
	if (lookup->sources == NULL)
		channel_trouble(&lookup->channels[index], number,
		    "not configured yet");
	else if (resolver_is_host(host))
		question_new(lookup, index, number, host);
	else
		channel_trouble(&lookup->channels[index], number,
		    "not a host name");
	return true;
}

static void
channel_read(struct lookup *lookup, unsigned index)
{
	struct channel *channel = &lookup->channels[index];
	unsigned char packet[512];
	size_t len = 0;
	enum channel_io io;

	while (channel->fd >= 0) {
		io = channel_recv(channel->fd, packet, sizeof(packet), &len,
		    NULL);
		if (io == CHANNEL_WAIT)
			return;
		if (io != CHANNEL_DONE ||
		    !channel_request(lookup, index, packet, len))
			channel_close(channel);
	}
}

static bool
on_prepare(void *self, uint32_t number, const struct bundle *bundle,
    struct reason *why)
{
	(void)self;
	(void)number;
	(void)bundle;
	(void)why;
	return true; /* nothing of sallyport.conf is ours; see on_commit */
}

/* A reload reads resolv.conf and hosts again. */
static void
on_commit(void *self, uint32_t number)
{
	struct lookup *lookup = self;
	struct source *source = calloc(1, sizeof(*source));
	struct reason why;

	if (source == NULL || !resolver_new(&source->resolver, &why)) {
		free(source);
		if (lookup->sources == NULL)
			lookup_broken("resolver");
		log_line(SAY_ERROR, "lookup",
		    "number=%u what=\"resolver stays as it was\"", number);
		return;
	}
	source->next = lookup->sources;
	lookup->sources = source;
	watch(lookup, resolver_fd(source->resolver), EVENT_RESOLVER);
	sources_prune(lookup);
}

static void
on_retire(void *self, uint32_t number)
{
	(void)self;
	role_say_unused(number);
}

static void
on_peer(void *self, enum role peer, unsigned index, int fd)
{
	struct lookup *lookup = self;

	if (peer != ROLE_RELAY || index >= CHANNELS) {
		close(fd);
		return;
	}
	channel_close(&lookup->channels[index]);
	fcntl(fd, F_SETFL, O_NONBLOCK);
	lookup->channels[index].fd = fd;
	watch(lookup, fd, index);
}

static void
on_stop(void *self, uint32_t ms)
{
	(void)self;
	(void)ms;
	role_say_stopped();
	_exit(0);
}

static void
on_status(void *self, json_t *object)
{
	const struct lookup *lookup = self;

	json_object_set_new(object, "questions",
	    json_integer((json_int_t)lookup->open));
}

static const struct role_handler handler = {
	.prepare = on_prepare,
	.commit = on_commit,
	.retire = on_retire,
	.peer = on_peer,
	.stop = on_stop,
	.status = on_status,
};

static void
resolvers_process(struct lookup *lookup)
{
	for (struct source *s = lookup->sources; s != NULL; s = s->next)
		resolver_process(s->resolver);
	if (lookup->sources != NULL)
		sources_prune(lookup);
}

/* All have the same time, so the oldest is due first. */
static void
questions_expire(struct lookup *lookup)
{
	while (lookup->first != NULL && lookup->first->deadline <= now_ms()) {
		struct question *question = lookup->first;
		struct channel *channel = &lookup->channels[question->channel];

		resolver_cancel(question->asked);
		if (channel->generation == question->generation)
			channel_trouble(channel, question->number,
			    "DNS did not answer in time");
		question_unlink(question);
		free(question);
	}
}

static int
wait_ms(const struct lookup *lookup)
{
	long long left;

	if (lookup->first == NULL)
		return -1;
	left = lookup->first->deadline - now_ms();
	return left > 0 ? (int)left : 0;
}

static _Noreturn void
lookup_loop(struct lookup *lookup)
{
	for (;;) {
		struct epoll_event event;

		if (epoll_wait(lookup->epoll, &event, 1, wait_ms(lookup)) > 0) {
			if (event.data.u32 == EVENT_MASTER)
				role_dispatch(&handler, lookup);
			else if (event.data.u32 == EVENT_RESOLVER)
				resolvers_process(lookup);
			else
				channel_read(lookup, event.data.u32);
		}
		questions_expire(lookup);
	}
}

int
lookup_main(void)
{
	static struct lookup lookup;

	role_start(&lookup.info);
	lookup.last = &lookup.first;
	for (size_t i = 0; i < CHANNELS; i++)
		lookup.channels[i].fd = -1;
	lookup.epoll = epoll_create1(EPOLL_CLOEXEC);
	if (lookup.epoll < 0)
		lookup_broken("epoll");
	watch(&lookup, ROLE_MASTER_FD, EVENT_MASTER);
	lookup_loop(&lookup);
}
