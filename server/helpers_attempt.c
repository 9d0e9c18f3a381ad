/*
 * server/helpers_attempt.c: the children of the spawner.
 *
 * A child is killed at its deadline, with all it has started.  Packets pass
 * between auth and the children by number; what a child may say, and how long
 * that may be, is checked here, and the rest left to auth.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include "channel.h"
#include "helpers_internal.h"
#include "log.h"

/* What a child may say, without type and number. */
static const struct speech {
	enum message type;
	size_t longest;
	bool ends, is_conversation;
} speeches[] = {
	{ HELPER_ANSWER, HELPER_TEXT_SIZE + 8, true, false },
	{ HELPER_CHALLENGE, HELPER_RESPONSE_MAX + 8, false, true },
	{ HELPER_NEED_SECRET, 1024, false, true },
	{ HELPER_PROVED, 2048, true, true },
};

static void
say_answer(struct spawner *s, uint64_t number, enum helper_answer answer,
    const char *text)
{
	unsigned char packet[512];
	struct wire_writer w;

	wire_writer_init(&w, packet, sizeof packet);
	wire_put_u8(&w, HELPER_ANSWER);
	wire_put_u64(&w, number);
	wire_put_u8(&w, (uint8_t)answer);
	wire_put_string(&w, text);
	/* Without room the attempt runs into auth's own deadline. */
	if (!w.failed && s->auth.fd >= 0)
		(void)channel_send(s->auth.fd, packet, w.len, -1);
}

static void
kill_attempt(struct attempt *a)
{
	/* The group, for what modules have started; the process itself, in
	 * case it had not come to make a group of its own. */
	kill(-a->pid, SIGKILL);
	kill(a->pid, SIGKILL);
}

/* Let go of the child, whoever has had the last word; it is reaped when it has
 * died. */
static void
end(struct spawner *s, struct attempt *a)
{
	a->answered = true;
	watch_close(s, &a->channel);
	kill_attempt(a);
}

/* Answer, once, and let go. */
static void
finish(struct spawner *s, struct attempt *a, enum helper_answer answer,
    const char *text)
{
	if (!a->answered)
		say_answer(s, a->number, answer, text);
	end(s, a);
}

/* What a child says, with its number. */
static bool
pass_on(struct spawner *s, const struct attempt *a, unsigned char type,
    const unsigned char *fields, size_t len)
{
	static unsigned char packet[PACKET_MAX + 16];
	struct wire_writer w;
	bool ok;

	wire_writer_init(&w, packet, sizeof packet);
	wire_put_u8(&w, type);
	wire_put_u64(&w, a->number);
	wire_put_raw(&w, fields, len);
	ok = !w.failed && s->auth.fd >= 0 &&
	     channel_send(s->auth.fd, packet, w.len, -1) == CHANNEL_DONE;
	explicit_bzero(packet, sizeof packet);
	return ok;
}

static const struct speech *
find_speech(const struct attempt *a, unsigned char type, size_t len)
{
	for (size_t i = 0; i < sizeof speeches / sizeof *speeches; i++)
		if (speeches[i].type == type && len <= speeches[i].longest &&
		    (a->kind->converses || !speeches[i].is_conversation))
			return &speeches[i];
	return NULL;
}

/* packet: at least its type. */
static void
child_says(struct spawner *s, struct attempt *a, const unsigned char *packet,
    size_t len)
{
	const struct speech *speech = find_speech(a, packet[0], len - 1);

	if (speech == NULL || ++a->said > CHILD_PACKETS_MAX) {
		log_line(SAY_ALARM, "protocol",
		    "peer=helper packet=%u octets=%zu", packet[0], len);
		finish(s, a, HELPER_TROUBLE, "the helper broke its protocol");
	} else if (speech->type == HELPER_ANSWER && len > 1 &&
		   packet[1] == HELPER_BROKEN) {
		log_line(SAY_ALARM, "protocol", "peer=auth packet=%u",
		    (unsigned)a->kind->start);
		finish(s, a, HELPER_TROUBLE, "broken request");
	} else if (!pass_on(s, a, packet[0], packet + 1, len - 1)) {
		finish(s, a, HELPER_TROUBLE, "no room for the answer");
	} else if (speech->ends) {
		end(s, a);
	} else if (speech->type == HELPER_CHALLENGE) {
		a->idle_since_ms = spawner_now_ms();
	}
}

static void
child_ready(struct spawner *s, struct watch *watch)
{
	static unsigned char packet[PACKET_MAX];
	struct attempt *a = watch->attempt;
	size_t len;

	switch (channel_recv(watch->fd, packet, sizeof packet, &len, NULL)) {
	case CHANNEL_DONE:
		child_says(s, a, packet, len);
		explicit_bzero(packet, sizeof packet);
		return;
	case CHANNEL_WAIT:
		return;
	case CHANNEL_CLOSED:
	case CHANNEL_FAILED:
		finish(s, a, HELPER_TROUBLE, "the helper crashed");
		return;
	}
}

static void
process_ready(struct spawner *s, struct watch *watch)
{
	struct attempt *a = watch->attempt;

	/* Its last words may still be in the channel. */
	for (int i = 0; i <= CHILD_PACKETS_MAX && a->channel.fd >= 0; i++)
		child_ready(s, &a->channel);
	/* Its group is killed while nobody else can have got its number. */
	finish(s, a, HELPER_TROUBLE, "the helper crashed");
	if (waitpid(a->pid, NULL, WNOHANG) == 0)
		return;
	watch_close(s, &a->process);
	memset(a, 0, sizeof *a);
}

static struct attempt *
find_attempt(struct spawner *s, uint64_t number)
{
	for (size_t i = 0; i < PLACES; i++)
		if (s->attempts[i].used && !s->attempts[i].answered &&
		    s->attempts[i].number == number)
			return &s->attempts[i];
	return NULL;
}

/* The one that has waited longest for its client; NULL if none does. */
static struct attempt *
find_idle(struct spawner *s)
{
	struct attempt *found = NULL;

	for (size_t i = 0; i < PLACES; i++) {
		struct attempt *a = &s->attempts[i];

		if (a->used && !a->answered && a->idle_since_ms != 0 &&
		    (found == NULL || a->idle_since_ms < found->idle_since_ms))
			found = a;
	}
	return found;
}

/*
 * A free place; NULL if as many run as may.  Clients that let us wait must not
 * keep others out: the one that has done so longest has to go.
 */
static struct attempt *
free_place(struct spawner *s)
{
	struct attempt *place = NULL, *idle;
	unsigned running = 0;

	for (size_t i = 0; i < PLACES; i++)
		if (!s->attempts[i].used)
			place = &s->attempts[i];
		else if (!s->attempts[i].evicted)
			running++;
	if (running < s->at_once)
		return place;
	idle = find_idle(s);
	if (place == NULL || idle == NULL)
		return NULL;
	idle->evicted = true;
	finish(s, idle, HELPER_TROUBLE, "another login needed the helper");
	return place;
}

/* What begins an attempt, up to what is for its child. */
struct request {
	const struct helper_kind *kind;
	uint64_t number;
	const struct numbered *config;
	uint32_t deadline_ms;
	struct wire_reader rest;
};

static void __attribute__((noreturn))
run_child(const struct request *request, pid_t parent, int channel)
{
	struct wire_reader rest = request->rest;

	helper_settle(parent, channel, request->deadline_ms);
	request->kind->run(&request->config->settings, &rest);
	_exit(0);
}

static bool
start_child(struct spawner *s, struct attempt *a, const struct request *request)
{
	pid_t parent = getpid();
	int ends[2], process;

	if (!channel_pair(ends, false, NULL))
		return false;
	fcntl(ends[0], F_SETFL, O_NONBLOCK);
	a->pid = fork();
	if (a->pid == 0)
		run_child(request, parent, ends[1]);
	close(ends[1]);
	if (a->pid < 0) {
		close(ends[0]);
		return false;
	}
	a->used = true;
	a->kind = request->kind;
	a->number = request->number;
	a->due_ms = spawner_now_ms() + request->deadline_ms;
	a->channel = (struct watch){ -1, child_ready, a };
	a->process = (struct watch){ -1, process_ready, a };
	process = pidfd_open(a->pid, 0);
	if (process < 0 || !watch_set(s, &a->process, process) ||
	    !watch_set(s, &a->channel, ends[0])) {
		kill_attempt(a);
		waitpid(a->pid, NULL, 0);
		if (process >= 0)
			close(process);
		close(ends[0]);
		memset(a, 0, sizeof *a);
		return false;
	}
	return true;
}

void
attempt_begin(struct spawner *s, const struct helper_kind *kind,
    struct wire_reader *r, size_t len)
{
	struct request request = { .kind = kind };
	struct attempt *place;

	request.number = wire_get_u64(r);
	request.config = spawner_config(s, wire_get_u32(r));
	request.deadline_ms = wire_get_u32(r);
	request.rest = *r;
	if (r->failed || len > kind->longest || request.deadline_ms == 0 ||
	    request.deadline_ms > HELPER_DEADLINE_MOST_MS ||
	    find_attempt(s, request.number) != NULL) {
		log_line(SAY_ALARM, "protocol",
		    "peer=auth packet=%u octets=%zu", (unsigned)kind->start,
		    len);
		say_answer(s, request.number, HELPER_TROUBLE, "broken request");
	} else if (request.config == NULL) {
		say_answer(s, request.number, HELPER_TROUBLE,
		    "its configuration is gone");
	} else if ((place = free_place(s)) == NULL) {
		log_line(SAY_WARNING, "helpers", "detail=\"all %u are busy\"",
		    s->at_once);
		say_answer(s, request.number, HELPER_TROUBLE,
		    "all helpers are busy");
	} else if (!start_child(s, place, &request)) {
		log_line(SAY_ERROR, "helpers", "error=%s",
		    strerrorname_np(errno));
		say_answer(s, request.number, HELPER_TROUBLE,
		    "no helper could be started");
	}
}

/* An answer to what a child has said: without its number. */
void
attempt_go_on(struct spawner *s, unsigned char type, struct wire_reader *r)
{
	static unsigned char packet[PACKET_MAX];
	struct attempt *a = find_attempt(s, wire_get_u64(r));
	struct wire_writer w;

	if (a == NULL) /* it has just ended */
		return;
	wire_writer_init(&w, packet, sizeof packet);
	wire_put_u8(&w, type);
	wire_put_raw(&w, r->at, (size_t)(r->end - r->at));
	a->idle_since_ms = 0;
	if (w.failed || !a->kind->converses)
		log_line(SAY_ALARM, "protocol", "peer=auth packet=%u", type);
	/* It reads, or has crashed, or runs into its deadline. */
	else if (type == HELPER_ABORT)
		end(s, a);
	else
		(void)channel_send(a->channel.fd, packet, w.len, -1);
	explicit_bzero(packet, sizeof packet);
}

void
attempts_end(struct spawner *s)
{
	for (size_t i = 0; i < PLACES; i++)
		if (s->attempts[i].used)
			end(s, &s->attempts[i]);
}

unsigned
attempts_running(const struct spawner *s)
{
	unsigned n = 0;

	for (size_t i = 0; i < PLACES; i++)
		n += s->attempts[i].used;
	return n;
}

int64_t
attempts_due_ms(const struct spawner *s)
{
	int64_t due = INT64_MAX;

	for (size_t i = 0; i < PLACES; i++)
		if (s->attempts[i].used && !s->attempts[i].answered &&
		    s->attempts[i].due_ms < due)
			due = s->attempts[i].due_ms;
	return due;
}

void
attempts_expire(struct spawner *s)
{
	int64_t now = spawner_now_ms();

	for (size_t i = 0; i < PLACES; i++) {
		struct attempt *a = &s->attempts[i];

		if (a->used && !a->answered && a->due_ms <= now)
			finish(s, a, HELPER_DEADLINE,
			    "the helper's deadline has passed");
	}
}
