/*
 * server/lookup.c: the lookup role: answers the relay's threads about names.
 *
 * One thread of ours and libunbound's.  No spool, no secrets; whoever breaks
 * this process can lie about addresses, which certificates then show, and
 * about TLSA records, so that a row should not rest on dane alone where verify
 * or lock can be had.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <time.h>
#include <unistd.h>

#include "bundle.h"
#include "channel.h"
#include "config.h"
#include "log.h"
#include "lookup_resolver.h"
#include "role.h"
#include "wire.h"

enum {
	CHANNELS = 1024,
	QUESTIONS_MAX = 1024, /* open at once */
	ANSWER_WITHIN_MS = 20000,
};

/* The resolver of a configuration; a retired one lives until its questions
 * end. */
struct source {
	struct source *next;
	uint32_t number;
	bool retired;
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
	enum message type;   /* LOOKUP_ADDRESSES, LOOKUP_TLSA, LOOKUP_SRV */
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
	struct source *sources;
	struct source *current; /* of them; new questions are its */
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
channel_put(const struct channel *channel, const struct wire_writer *w)
{
	if (channel->fd >= 0 && !w->failed)
		channel_send(channel->fd, w->data, w->len, -1);
}

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
	wire_put_u8(&w, answer->secure);
	put_addresses(&w, answer);
	wire_put_string(&w, answer->text);
	channel_put(channel, &w);
}

static void
channel_answer_tlsa(struct channel *channel, uint64_t number,
    const struct tlsa_answer *answer)
{
	unsigned char packet[CHANNEL_PACKET_MAX];
	struct wire_writer w;

	wire_writer_init(&w, packet, sizeof(packet));
	wire_put_u8(&w, LOOKUP_TLSA_ANSWER);
	wire_put_u64(&w, number);
	tlsa_answer_put(&w, answer);
	channel_put(channel, &w);
}

static void
channel_answer_srv(struct channel *channel, uint64_t number,
    const struct srv_answer *answer)
{
	unsigned char packet[SRV_PACKET_MAX];
	struct wire_writer w;

	wire_writer_init(&w, packet, sizeof(packet));
	wire_put_u8(&w, LOOKUP_SRV_ANSWER);
	wire_put_u64(&w, number);
	srv_answer_put(&w, answer);
	channel_put(channel, &w);
}

static void
channel_trouble(struct channel *channel, enum message type, uint64_t number,
    const char *text)
{
	struct tlsa_answer tlsa;
	struct srv_answer srv;
	struct resolver_answer addresses = {
		.answer = LOOKUP_TROUBLE,
		.text = text,
	};

	if (type == LOOKUP_ADDRESSES) {
		channel_answer(channel, number, &addresses);
	} else if (type == LOOKUP_SRV) {
		srv_answer_init(&srv, LOOKUP_TROUBLE, text);
		channel_answer_srv(channel, number, &srv);
	} else {
		tlsa_answer_init(&tlsa, LOOKUP_TROUBLE, text);
		channel_answer_tlsa(channel, number, &tlsa);
	}
}

static void
sources_prune(struct lookup *lookup)
{
	struct source **at = &lookup->sources;

	while (*at != NULL) {
		struct source *source = *at;

		if (!source->retired || source->open > 0 ||
		    source == lookup->current) {
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

/* Who asked, unless he is gone. */
static struct channel *
question_channel(const struct question *question)
{
	struct channel *channel =
	    &question->lookup->channels[question->channel];

	return channel->generation == question->generation ? channel : NULL;
}

static void
question_end(struct question *question)
{
	question_unlink(question);
	free(question);
}

static void
on_answer(void *context, const struct resolver_answer *answer)
{
	struct question *question = context;
	struct channel *channel = question_channel(question);

	if (channel != NULL)
		channel_answer(channel, question->number, answer);
	question_end(question);
}

static void
on_tlsa_answer(void *context, const struct tlsa_answer *answer)
{
	struct question *question = context;
	struct channel *channel = question_channel(question);

	if (channel != NULL)
		channel_answer_tlsa(channel, question->number, answer);
	question_end(question);
}

static void
on_srv_answer(void *context, const struct srv_answer *answer)
{
	struct question *question = context;
	struct channel *channel = question_channel(question);

	if (channel != NULL)
		channel_answer_srv(channel, question->number, answer);
	question_end(question);
}

static struct question *
question_new(struct lookup *lookup, unsigned index, enum message type,
    uint64_t number)
{
	struct question *question = calloc(1, sizeof(*question));

	if (question == NULL)
		return NULL;
	question->lookup = lookup;
	question->source = lookup->current;
	question->channel = index;
	question->generation = lookup->channels[index].generation;
	question->type = type;
	question->number = number;
	question->deadline = now_ms() + ANSWER_WITHIN_MS;
	*lookup->last = question;
	lookup->last = &question->next;
	lookup->open++;
	question->source->open++;
	return question;
}

static void
question_ask(struct question *question, const char *host, uint16_t port)
{
	struct resolver *resolver = question->source->resolver;
	struct resolver_question *asked;

	if (question->type == LOOKUP_TLSA)
		asked = resolver_ask_tlsa(resolver, host, port, on_tlsa_answer,
		    question);
	else if (question->type == LOOKUP_SRV)
		asked = resolver_ask_srv(resolver, host, on_srv_answer,
		    question);
	else
		asked = resolver_ask(resolver, host, on_answer, question);
	/* NULL: it is answered, and the question is gone. */
	if (asked != NULL)
		question->asked = asked;
}

static void
channel_question(struct lookup *lookup, unsigned index, enum message type,
    uint64_t number, const char *host, uint16_t port)
{
	struct channel *channel = &lookup->channels[index];
	struct question *question = NULL;
	const char *trouble = NULL;

	if (lookup->current == NULL)
		trouble = "not configured yet";
	else if (!resolver_is_host(host))
		trouble = "not a host name";
	else if (lookup->open >= QUESTIONS_MAX)
		trouble = "too many questions";
	else if ((question = question_new(lookup, index, type, number)) == NULL)
		trouble = "out of memory";
	if (trouble != NULL)
		channel_trouble(channel, type, number, trouble);
	else
		question_ask(question, host, port);
}

static bool
channel_request(struct lookup *lookup, unsigned index,
    const unsigned char *packet, size_t len)
{
	char host[RESOLVER_HOST_MAX + 1];
	struct wire_reader r;
	uint64_t number;
	uint16_t port = 0;
	uint8_t type;

	wire_reader_init(&r, packet, len);
	type = wire_get_u8(&r);
	if (type != LOOKUP_ADDRESSES && type != LOOKUP_TLSA &&
	    type != LOOKUP_SRV)
		return false;
	number = wire_get_u64(&r);
	if (!wire_get_string(&r, host, sizeof(host)))
		return false;
	if (type == LOOKUP_TLSA)
		port = wire_get_u16(&r);
	if (!wire_reader_done(&r))
		return false;
	channel_question(lookup, index, (enum message)type, number, host, port);
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

/* --- configurations ----------------------------------------------------- */

static bool
source_fill(struct source *source, const struct bundle *bundle,
    struct reason *why)
{
	struct resolver_options options = { .server_count = 0 };
	gnutls_datum_t text = { NULL, 0 };
	enum bundle_kind kind;
	struct config *config;
	const char *path;
	bool ok;

	if (!bundle_entry(bundle, 0, &kind, &path, &text) ||
	    kind != BUNDLE_CONF)
		return fail(why, REASON_PROTOCOL, "no configuration");
	if (!config_parse(&config, path, (const char *)text.data, text.size,
		why))
		return false;
	options.servers = config->resolvers;
	options.server_count = config->resolver_count;
	/* Who names an anchor wants all names validated. */
	options.validate_all = config->trust_anchor_line != 0;
	(void)bundle_find(bundle, BUNDLE_TRUST_ANCHOR, "",
	    &options.trust_anchor);
	ok = resolver_new(&source->resolver, &options, why);
	config_free(config);
	return ok;
}

/* A reload reads resolv.conf and hosts again, too. */
static bool
on_prepare(void *self, uint32_t number, const struct bundle *bundle,
    struct reason *why)
{
	struct lookup *lookup = self;
	struct source *source = calloc(1, sizeof(*source));

	if (source == NULL)
		return fail(why, REASON_NO_MEMORY, "resolver");
	source->number = number;
	if (!source_fill(source, bundle, why)) {
		free(source);
		return false;
	}
	source->next = lookup->sources;
	lookup->sources = source;
	watch(lookup, resolver_fd(source->resolver), EVENT_RESOLVER);
	return true;
}

static struct source *
source_find(const struct lookup *lookup, uint32_t number)
{
	struct source *source = lookup->sources;

	while (source != NULL && source->number != number)
		source = source->next;
	return source;
}

static void
on_commit(void *self, uint32_t number)
{
	struct lookup *lookup = self;
	struct source *source = source_find(lookup, number);

	if (source == NULL)
		lookup_broken("commit of a number that was not prepared");
	lookup->current = source;
	sources_prune(lookup);
}

static void
on_retire(void *self, uint32_t number)
{
	struct lookup *lookup = self;
	struct source *source = source_find(lookup, number);

	if (source != NULL)
		source->retired = true;
	sources_prune(lookup);
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
	sources_prune(lookup);
}

/* All have the same time, so the oldest is due first. */
static void
questions_expire(struct lookup *lookup)
{
	while (lookup->first != NULL && lookup->first->deadline <= now_ms()) {
		struct question *question = lookup->first;
		struct channel *channel = question_channel(question);

		resolver_cancel(question->asked);
		if (channel != NULL)
			channel_trouble(channel, question->type,
			    question->number, "DNS did not answer in time");
		question_end(question);
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
