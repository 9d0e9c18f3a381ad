/*
 * t/unit/queue.c: the relay's queue over real segments written by the spool:
 * delivery, restart, lost notices, unlinking, bounces, back-off, holding.
 */
#include "queue_world.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
#include <jansson.h>

#include "../../server/bounce.h"
#include "../../server/journal.h"
#include "../../server/messages.h"
#include "../../server/queue_control.h"

/* In place of libc's, for all objects of this program: the disk's faults. */
static atomic_int sync_fails; /* how many of the next calls */

int fdatasync(int fd);

int
fdatasync(int fd)
{
	if (atomic_load(&sync_fails) > 0) {
		atomic_fetch_sub(&sync_fails, 1);
		errno = EIO;
		return -1;
	}
	return (int)syscall(SYS_fdatasync, fd);
}

static const char *const two_rcpts[] = { "a@x.example", "b@x.example", NULL };

static char *
whole_text(const struct delivery *delivery)
{
	char *octets = malloc(delivery->head_len + delivery->body_len + 1);
	ssize_t got;

	memcpy(octets, delivery->head, delivery->head_len);
	got = pread(delivery->body_fd, octets + delivery->head_len,
	    delivery->body_len, delivery->body_offset);
	assert_int_equal(got, delivery->body_len);
	octets[delivery->head_len + delivery->body_len] = '\0';
	return octets;
}

static unsigned
segments_now(struct world *world)
{
	return count_files(world->in, "");
}

static void
test_delivery(void **state)
{
	struct world *world = *state;
	struct delivery *delivery;
	char id[QUEUE_ID_SIZE], *whole;

	submit_one(world, id);
	delivery = queue_take(world->queue, NULL, 2000);
	assert_non_null(delivery);
	assert_string_equal(delivery->envelope.queue_id, id);
	assert_string_equal(delivery->envelope.reverse_path, "s@y.example");
	assert_string_equal(delivery->hop.host, "smtp.isp.example");
	assert_int_equal(delivery->hop.port, 465);
	assert_true(delivery->hop.implicit_tls);
	assert_int_equal(delivery->attempt, 1);
	assert_int_equal(delivery->recipient_count, 1);
	whole = whole_text(delivery);
	assert_string_equal(whole,
	    "Received: x\r\nSubject: hello\r\n\r\nbody\r\n");
	free(whole);
	finish(world, delivery, OUTCOME_DELIVERED, "2.0.0", "250 ok");
	assert_null(queue_take(world->queue, NULL, 0));
	assert_int_equal(messages_now(world), 0);
}

static void
test_large_body(void **state)
{
	struct world *world = *state;
	size_t len = 3 * 1024 * 1024 + 17;
	char *body = malloc(len), *whole;
	struct delivery *delivery;

	for (size_t i = 0; i < len; i++)
		body[i] = (char)('a' + i * 7 % 23);
	assert_true(submit(world, "s@y.example", one_rcpt, "H: x\r\n", body,
	    len, NULL));
	assert_int_equal(count_files(world->in, ".m"), 1);
	delivery = queue_take(world->queue, NULL, 2000);
	assert_non_null(delivery);
	assert_int_equal(delivery->body_len, len);
	whole = whole_text(delivery);
	assert_memory_equal(whole + delivery->head_len, body, len);
	free(whole);
	free(body);
	finish(world, delivery, OUTCOME_DELIVERED, "2.0.0", "250 ok");
	settle(world);
	assert_int_equal(count_files(world->in, ".m"), 0);
}

/* What was delivered is not delivered again, what was not is still there. */
static void
test_restart(void **state)
{
	struct world *world = *state;
	char kept[QUEUE_ID_SIZE];
	struct delivery *delivery;

	submit_one(world, NULL);
	submit_one(world, kept);
	delivery = queue_take(world->queue, NULL, 2000);
	if (strcmp(delivery->envelope.queue_id, kept) == 0) {
		struct delivery *other = queue_take(world->queue, NULL, 2000);

		finish(world, delivery, OUTCOME_NONE, "", "");
		delivery = other;
	}
	finish(world, delivery, OUTCOME_DELIVERED, "2.0.0", "250 ok");
	queue_restart(world);
	/* The session told its position when the relay came back. */
	queue_committed(world->queue, world->start_id, 1, 1 << 20, false);
	delivery = queue_take(world->queue, NULL, 2000);
	assert_non_null(delivery);
	assert_string_equal(delivery->envelope.queue_id, kept);
	finish(world, delivery, OUTCOME_DELIVERED, "2.0.0", "250 ok");
	assert_null(queue_take(world->queue, NULL, 50));
}

struct listed {
	const char *id;
	unsigned count, others;
};

static bool
count_listed(void *context, const char *line, size_t len)
{
	struct listed *listed = context;
	struct sent_message message;

	assert_true(sent_parse(line, len, &message));
	if (strcmp(message.queue_id, listed->id) == 0)
		listed->count++;
	else
		listed->others++;
	json_decref(message.object);
	return true;
}

/* What a device sent is listed before it can be delivered, and once however
 * often it is taken in; what others sent is not. */
static void
test_sent(void **state)
{
	struct world *world = *state;
	char id[QUEUE_ID_SIZE];
	struct listed listed = { .id = id };
	struct delivery *delivery;
	struct reason why;

	submit_one(world, NULL);
	world->device = true;
	submit_one(world, id);
	for (int i = 0; i < 2; i++) {
		queue_restart(world);
		queue_committed(world->queue, world->start_id, 1, 1 << 20,
		    false);
	}
	delivery = queue_take(world->queue, NULL, 2000);
	assert_non_null(delivery);
	finish(world, delivery, OUTCOME_NONE, "", "");
	assert_true(
	    sent_read(world->queue->relay_folder, count_listed, &listed, &why));
	assert_int_equal(listed.count, 1);
	assert_int_equal(listed.others, 0);
}

/* Only some recipients are done with. */
static void
test_partial(void **state)
{
	struct world *world = *state;
	struct delivery *delivery;

	world->config.retry_first_s = world->config.retry_most_s = 1;
	queue_configure(world->queue, &world->config, NULL);
	assert_true(submit(world, "s@y.example", two_rcpts, "", text,
	    strlen(text), NULL));
	delivery = queue_take(world->queue, NULL, 2000);
	assert_int_equal(delivery->recipient_count, 2);
	delivery->recipients[0].outcome = OUTCOME_DELIVERED;
	delivery->recipients[1].outcome = OUTCOME_TEMPORARY;
	strcpy(delivery->recipients[1].text, "450 later");
	queue_done(world->queue, delivery);
	queue_restart(world);
	queue_committed(world->queue, world->start_id, 1, 4096, false);
	delivery = queue_take(world->queue, NULL, 3000);
	assert_non_null(delivery);
	assert_int_equal(delivery->recipient_count, 1);
	assert_int_equal(delivery->recipients[0].index, 1);
	assert_int_equal(delivery->attempt, 2);
	finish(world, delivery, OUTCOME_DELIVERED, "", "250");
}

static void
test_notices(void **state)
{
	struct world *world = *state;
	struct delivery *delivery;
	uint32_t segment;
	uint64_t end;

	world->deaf = true;
	for (int i = 0; i < 5; i++)
		submit_one(world, NULL);
	assert_null(queue_take(world->queue, NULL, 50));
	spool_position(world->spool, &segment, &end);
	/* One notice for all, then again, then an old one, then nonsense. */
	queue_committed(world->queue, world->start_id, segment, end, false);
	queue_committed(world->queue, world->start_id, segment, end, false);
	queue_committed(world->queue, world->start_id, segment, 200, false);
	queue_committed(world->queue, 0xdead, 1, 100000, true);
	queue_committed(world->queue, world->start_id, 4000000000u, 1, false);
	assert_int_equal(messages_now(world), 5);
	for (int i = 0; i < 5; i++) {
		delivery = queue_take(world->queue, NULL, 1000);
		assert_non_null(delivery);
		finish(world, delivery, OUTCOME_DELIVERED, "", "250");
	}
	assert_null(queue_take(world->queue, NULL, 50));
}

/* A notice for a later segment makes up for all that were lost before. */
static void
test_lost_segments(void **state)
{
	struct world *world = *state;
	char *body = calloc(1, 200000);
	unsigned sent = 0;
	uint32_t segment;
	uint64_t end;

	memset(body, 'x', 200000);
	world->deaf = true;
	do {
		assert_true(submit(world, "s@y.example", one_rcpt, "", body,
		    200000, NULL));
		sent++;
		spool_position(world->spool, &segment, &end);
	} while (segment < 4);
	queue_committed(world->queue, world->start_id, segment, end, false);
	assert_int_equal(messages_now(world), sent);
	/* One is done: the others stay, also on disk. */
	finish(world, queue_take(world->queue, NULL, 1000), OUTCOME_DELIVERED,
	    "", "250");
	settle(world);
	usleep(50000); /* for what the keeper does after that */
	queue_restart(world);
	queue_committed(world->queue, world->start_id, segment, end, false);
	assert_int_equal(messages_now(world), --sent);
	/* Closed segments go when all in them is done, the live one stays
	 * (and perhaps one made ahead). */
	for (unsigned i = 0; i < sent; i++) {
		struct delivery *delivery =
		    queue_take(world->queue, NULL, 1000);

		assert_non_null(delivery);
		finish(world, delivery, OUTCOME_DELIVERED, "", "250");
	}
	assert_true(
	    becomes(segments_now, world, 1) || segments_now(world) == 2);
	assert_int_equal(count_files(world->in, ".1"), 0);
	free(body);
}

/* The session died without a word. */
static void
test_dead_writer(void **state)
{
	struct world *world = *state;
	char id[QUEUE_ID_SIZE];
	struct delivery *delivery;
	struct spool *spool = world->spool;

	world->deaf = true;
	submit_one(world, id);
	spool_start(world); /* the next process */
	queue_live(world->queue, world->start_id);
	delivery = queue_take(world->queue, NULL, 1000);
	assert_non_null(delivery);
	assert_string_equal(delivery->envelope.queue_id, id);
	finish(world, delivery, OUTCOME_DELIVERED, "", "250");
	assert_true(becomes(segments_now, world, 1));
	spool_close(spool);
}

/* Completions outlive the segment, never the other way round. */
static void
test_completion_kept(void **state)
{
	struct world *world = *state;
	struct delivery *delivery;
	uint32_t segment;
	uint64_t end;

	for (int i = 0; i < 3; i++) {
		submit_one(world, NULL);
		delivery = queue_take(world->queue, NULL, 1000);
		finish(world, delivery, OUTCOME_DELIVERED, "", "250");
	}
	spool_position(world->spool, &segment, &end);
	/* Each start makes a snapshot: three of them keep what matters. */
	for (int i = 0; i < 3; i++) {
		queue_restart(world);
		queue_committed(world->queue, world->start_id, segment, end,
		    false);
		assert_null(queue_take(world->queue, NULL, 20));
	}
	assert_int_equal(count_files(world->own, "log."), 1);
}

/* Orphans of a dead writer: bodies no record names. */
static void
test_orphan(void **state)
{
	struct world *world = *state;
	char path[200];
	int fd;

	snprintf(path, sizeof(path), "%s/00000000000000aa.m1", world->in);
	fd = open(path, O_CREAT | O_WRONLY, 0600);
	assert_true(fd >= 0);
	close(fd);
	snprintf(path, sizeof(path), "%s/%016llx.m9", world->in,
	    (unsigned long long)world->start_id);
	fd = open(path, O_CREAT | O_WRONLY, 0600);
	close(fd);
	queue_restart(world);
	assert_int_equal(count_files(world->in, ".m1"), 0);
	assert_int_equal(count_files(world->in, ".m9"), 1); /* lives */
}

/* The bounce tells which recipient failed and why, and is delivered like any
 * other message, from the null reverse-path. */
static void
test_bounce(void **state)
{
	struct world *world = *state;
	struct delivery *delivery;
	char id[QUEUE_ID_SIZE], expected[64], *whole;

	assert_true(submit(world, "s@y.example", two_rcpts, "Received: x\r\n",
	    text, strlen(text), id));
	delivery = queue_take(world->queue, NULL, 1000);
	delivery->recipients[0].outcome = OUTCOME_DELIVERED;
	delivery->recipients[1].outcome = OUTCOME_PERMANENT;
	strcpy(delivery->recipients[1].status, "5.1.1");
	strcpy(delivery->recipients[1].text, "550 5.1.1 nobody here");
	queue_done(world->queue, delivery);
	settle(world);
	queue_restart(world); /* it is on disk, once */
	queue_committed(world->queue, world->start_id, 1, 4096, false);
	delivery = queue_take(world->queue, NULL, 1000);
	assert_non_null(delivery);
	assert_string_equal(delivery->envelope.reverse_path, "");
	assert_int_equal(delivery->envelope.recipient_count, 1);
	assert_string_equal(delivery->envelope.recipients[0].forward_path,
	    "s@y.example");
	whole = whole_text(delivery);
	assert_non_null(strstr(whole, "Content-Type: multipart/report; "
				      "report-type=delivery-status"));
	assert_non_null(strstr(whole,
	    "\r\nFinal-Recipient: rfc822; b@x.example\r\nAction: failed\r\n"
	    "Status: 5.1.1\r\nRemote-MTA: dns; smtp.isp.example\r\n"
	    "Diagnostic-Code: smtp; 550 5.1.1 nobody here\r\n"));
	assert_null(strstr(whole, "a@x.example"));
	assert_non_null(strstr(whole, "Subject: hello\r\n"));
	assert_null(strstr(whole, "body\r\n"));
	snprintf(expected, sizeof(expected), "X-Sallyport-Queue-Id: %s", id);
	assert_non_null(strstr(whole, expected));
	free(whole);
	finish(world, delivery, OUTCOME_DELIVERED, "", "250");
	assert_null(queue_take(world->queue, NULL, 50));
	settle(world);
	queue_restart(world);
	queue_committed(world->queue, world->start_id, 1, 4096, false);
	assert_null(queue_take(world->queue, NULL, 50));
}

/* A bounce is never bounced: it is held, over restarts, until removed. */
static void
test_held(void **state)
{
	struct world *world = *state;
	struct queue_counts counts;
	struct delivery *delivery;

	assert_true(submit(world, "", one_rcpt, "", text, strlen(text), NULL));
	delivery = queue_take(world->queue, NULL, 1000);
	finish(world, delivery, OUTCOME_PERMANENT, "5.1.1", "550 no");
	for (int i = 0; i < 3; i++) {
		queue_count(world->queue, &counts);
		assert_int_equal(counts.held, 1);
		assert_int_equal(counts.messages, 1);
		assert_null(queue_take(world->queue, NULL, 20));
		settle(world);
		queue_restart(world);
		queue_committed(world->queue, world->start_id, 1, 4096, false);
	}
}

/* An alarm's mail is on disk when that is said, delivered like any other, and
 * dropped when it fails or is too old: neither held nor bounced.  A spool
 * cannot pass off a message as one. */
static void
test_notice(void **state)
{
	struct world *world = *state;
	struct queue_counts counts;
	struct delivery *delivery;
	struct reason why;
	char *whole;

	assert_false(queue_notice(world->queue, "an alarm", &why));
	assert_int_equal(why.code, REASON_ABSENT);
	world->config.alarm_mail = "ops@example.org";
	queue_configure(world->queue, &world->config, NULL);
	assert_true(queue_notice(world->queue, "an alarm", &why));
	queue_restart(world);
	delivery = queue_take(world->queue, NULL, 1000);
	assert_non_null(delivery);
	assert_string_equal(delivery->envelope.reverse_path, "");
	assert_string_equal(delivery->envelope.recipients[0].forward_path,
	    "ops@example.org");
	whole = whole_text(delivery);
	assert_non_null(strstr(whole, "\r\nan alarm\r\n"));
	free(whole);
	finish(world, delivery, OUTCOME_TEMPORARY, "4.4.1", "later");
	queue_count(world->queue, &counts);
	assert_int_equal(counts.deferred, 1);
	/* Too old. */
	world->config.expire_s = 1;
	queue_configure(world->queue, &world->config, NULL);
	sleep(1);
	settle(world);
	queue_restart(world);
	assert_null(queue_take(world->queue, NULL, 1500));
	queue_count(world->queue, &counts);
	assert_int_equal(counts.messages, 0);
	assert_int_equal(counts.bounced, 0);
	/* Refused. */
	world->config.expire_s = 86400;
	queue_configure(world->queue, &world->config, NULL);
	assert_true(queue_notice(world->queue, "another", &why));
	delivery = queue_take(world->queue, NULL, 1000);
	finish(world, delivery, OUTCOME_PERMANENT, "5.1.1", "550 no");
	settle(world);
	queue_restart(world);
	assert_null(queue_take(world->queue, NULL, 50));
	queue_count(world->queue, &counts);
	assert_int_equal(counts.messages, 0);
	assert_int_equal(counts.held, 0);
	/* Not what another process wrote. */
	assert_true(submit(world, "", one_rcpt, "", text, strlen(text), NULL));
	delivery = queue_take(world->queue, NULL, 1000);
	delivery->envelope.notice = true;
	finish(world, delivery, OUTCOME_PERMANENT, "5.1.1", "550 no");
	queue_count(world->queue, &counts);
	assert_int_equal(counts.held, 1);
}

static void
test_expire(void **state)
{
	struct world *world = *state;
	struct delivery *delivery;
	char *whole;

	world->config.expire_s = 1;
	queue_configure(world->queue, &world->config, NULL);
	submit_one(world, NULL);
	delivery = queue_take(world->queue, NULL, 1000);
	finish(world, delivery, OUTCOME_TEMPORARY, "4.4.1",
	    "no address could be connected");
	/* It is due in a minute, but too old before that. */
	world->config.expire_s = 1;
	queue_restart(world);
	queue_committed(world->queue, world->start_id, 1, 4096, false);
	delivery = queue_take(world->queue, NULL, 4000);
	assert_non_null(delivery);
	assert_string_equal(delivery->envelope.reverse_path, "");
	whole = whole_text(delivery);
	assert_non_null(strstr(whole, "Status: 4.4.7\r\n"));
	assert_non_null(strstr(whole, "Diagnostic-Code: X-Sallyport;"));
	assert_non_null(strstr(whole, "not delivered within 1 seconds"));
	assert_non_null(strstr(whole, "connected"));
	free(whole);
	/* Expired itself: held. */
	finish(world, delivery, OUTCOME_DELIVERED, "", "250");
}

static void
test_backoff(void **state)
{
	struct queue_settings settings = { .retry_first_ms = 60000,
		.retry_most_ms = 3600000 };
	int64_t least = INT64_MAX, most = 0;

	(void)state;
	for (uint32_t attempts = 1; attempts < 40; attempts++) {
		int64_t full =
		    attempts < 7 ? (int64_t)60000 << (attempts - 1) : 3600000;

		if (full > 3600000)
			full = 3600000;
		for (int i = 0; i < 200; i++) {
			int64_t delay = backoff_ms(&settings, attempts);

			assert_in_range(delay, full * 3 / 4, full);
			if (attempts == 1 && delay < least)
				least = delay;
			if (attempts == 1 && delay > most)
				most = delay;
		}
	}
	assert_true(most - least > 5000); /* there is jitter */
}

/* A hop that fails is left alone, then tried by one worker at a time. */
static void
test_hop(void **state)
{
	struct world *world = *state;
	struct delivery *delivery, *second;

	world->config.retry_first_s = world->config.retry_most_s = 1;
	queue_configure(world->queue, &world->config, NULL);
	submit_one(world, NULL);
	submit_one(world, NULL);
	delivery = queue_take(world->queue, NULL, 1000);
	queue_hop_failed(world->queue, delivery, "refused");
	finish(world, delivery, OUTCOME_NONE, "", "connection refused");
	assert_null(queue_take(world->queue, NULL, 300));
	delivery = queue_take(world->queue, NULL, 2000);
	assert_non_null(delivery);
	assert_int_equal(delivery->attempt, 1);
	assert_null(queue_take(world->queue, NULL, 300));
	queue_hop_worked(world->queue, delivery);
	second = queue_take(world->queue, NULL, 1500);
	assert_non_null(second);
	finish(world, delivery, OUTCOME_DELIVERED, "", "250");
	finish(world, second, OUTCOME_DELIVERED, "", "250");
}

/* Not more than half of the workers for one hop, even while it is alone:
 * another may come to be known while they all hang. */
static void
test_half(void **state)
{
	struct world *world = *state;
	struct delivery *taken[4];

	for (int i = 0; i < 6; i++)
		submit_one(world, NULL);
	for (int i = 0; i < 2; i++) {
		taken[i] = queue_take(world->queue, NULL, 1000);
		assert_non_null(taken[i]);
	}
	assert_null(queue_take(world->queue, NULL, 20)); /* 4 workers */
	/* A second hop, by a configuration that routes elsewhere. */
	world->config.smarthost.host = "other.example";
	queue_configure(world->queue, &world->config, NULL);
	submit_one(world, NULL);
	submit_one(world, NULL);
	for (int i = 2; i < 4; i++) {
		taken[i] = queue_take(world->queue, NULL, 1000);
		assert_non_null(taken[i]);
		assert_string_equal(taken[i]->hop.host, "other.example");
	}
	assert_null(queue_take(world->queue, NULL, 20));
	for (int i = 0; i < 4; i++)
		finish(world, taken[i], OUTCOME_DELIVERED, "", "250");
}

/* A flipped bit in a body: held and reported, never sent. */
static void
test_damaged_body(void **state)
{
	struct world *world = *state;
	struct queue_counts counts;
	struct delivery *delivery;
	char path[200], octet;
	struct stat st;
	int fd;

	world->deaf = true;
	submit_one(world, NULL);
	submit_one(world, NULL);
	snprintf(path, sizeof(path), "%s/%016llx.1", world->in,
	    (unsigned long long)world->start_id);
	fd = open(path, O_RDWR);
	assert_true(fd >= 0);
	assert_int_equal(fstat(fd, &st), 0);
	assert_int_equal(pread(fd, &octet, 1, st.st_size - 5), 1);
	octet ^= 4;
	assert_int_equal(pwrite(fd, &octet, 1, st.st_size - 5), 1);
	close(fd);
	queue_committed(world->queue, world->start_id, 1, (uint64_t)st.st_size,
	    false);
	delivery = queue_take(world->queue, NULL, 500);
	assert_non_null(delivery);
	finish(world, delivery, OUTCOME_DELIVERED, "", "250");
	assert_null(queue_take(world->queue, NULL, 100));
	queue_count(world->queue, &counts);
	assert_int_equal(counts.held, 1);
}

/* A record in the middle whose header is gone: set aside, the rest lives. */
static void
test_damaged_record(void **state)
{
	struct world *world = *state;
	char path[200], zero[8] = { 0 };
	struct delivery *delivery;
	uint32_t segment;
	uint64_t end[4];
	int fd;

	world->deaf = true;
	for (int i = 0; i < 3; i++) {
		submit_one(world, NULL);
		spool_position(world->spool, &segment, &end[i]);
	}
	snprintf(path, sizeof(path), "%s/%016llx.1", world->in,
	    (unsigned long long)world->start_id);
	fd = open(path, O_RDWR);
	assert_int_equal(pwrite(fd, zero, 8, (off_t)end[0]), 8);
	close(fd);
	queue_committed(world->queue, world->start_id, 1, end[2], false);
	assert_int_equal(messages_now(world), 2);
	snprintf(path, sizeof(path), "%s/damaged", world->own);
	assert_int_equal(count_files(path, ".1."), 1);
	for (int i = 0; i < 2; i++) {
		delivery = queue_take(world->queue, NULL, 500);
		assert_non_null(delivery);
		finish(world, delivery, OUTCOME_DELIVERED, "", "250");
	}
}

static void
put_zeros(const char *path, size_t count)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_EXCL, 0640);
	char zeros[256] = { 0 };

	assert_true(fd >= 0);
	assert_int_equal(write(fd, zeros, count), count);
	close(fd);
}

/* Files that a power loss kept the names of, and no more: they held nothing,
 * so nothing is missing and nothing is set aside. */
static void
test_unfinished_files(void **state)
{
	struct world *world = *state;
	char path[200];

	queue_close(world->queue);
	world->queue = NULL;
	snprintf(path, sizeof(path), "%s/0000000000000001.1", world->in);
	put_zeros(path, JOURNAL_HEADER_OCTETS);
	snprintf(path, sizeof(path), "%s/0000000000000001.2", world->in);
	put_zeros(path, 0);
	snprintf(path, sizeof(path), "%s/0000000000000001.m1", world->in);
	put_zeros(path, 200);
	snprintf(path, sizeof(path), "%s/log.9", world->own);
	put_zeros(path, JOURNAL_HEADER_OCTETS);
	queue_start(world);
	assert_int_equal(count_files(world->in, "0000000000000001."), 0);
	assert_int_equal(count_files(world->own, "log.9"), 0);
	snprintf(path, sizeof(path), "%s/damaged", world->own);
	assert_int_equal(count_files(path, "0"), 0);
	assert_int_equal(count_files(path, "log"), 0);
	/* One octet more could have been a record's. */
	queue_close(world->queue);
	world->queue = NULL;
	snprintf(path, sizeof(path), "%s/0000000000000001.1", world->in);
	put_zeros(path, JOURNAL_HEADER_OCTETS + 1);
	queue_start(world);
	snprintf(path, sizeof(path), "%s/damaged", world->own);
	assert_int_equal(count_files(path, "0000000000000001.1"), 1);
}

/* The session's disk failed twice while the relay was away, so that one file
 * says nothing about the end of the one before: the live session's position
 * is enough to read both. */
static void
test_failed_segments(void **state)
{
	struct world *world = *state;
	uint32_t segment;
	uint64_t end;

	world->deaf = true;
	submit_one(world, NULL);
	for (int i = 0; i < 2; i++) {
		atomic_store(&sync_fails, 1);
		assert_false(submit(world, "s@y.example", one_rcpt, "", text,
		    strlen(text), NULL));
	}
	submit_one(world, NULL);
	spool_position(world->spool, &segment, &end);
	assert_int_equal(segment, 3);
	queue_committed(world->queue, world->start_id, segment, end, false);
	assert_int_equal(messages_now(world), 2);
}

/* The relay's own disk fails: nothing is taken until what was delivered is
 * recorded, in a new file; then nothing is delivered twice. */
static void
test_failed_log(void **state)
{
	struct world *world = *state;
	struct delivery *delivery;

	submit_one(world, NULL);
	submit_one(world, NULL);
	delivery = queue_take(world->queue, NULL, 1000);
	assert_non_null(delivery);
	atomic_store(&sync_fails, 1000000);
	finish(world, delivery, OUTCOME_DELIVERED, "", "250");
	usleep(200000);
	assert_null(queue_take(world->queue, NULL, 100));
	atomic_store(&sync_fails, 0);
	delivery = queue_take(world->queue, NULL, 5000);
	assert_non_null(delivery);
	finish(world, delivery, OUTCOME_DELIVERED, "", "250");
	settle(world);
	assert_int_equal(count_files(world->own, "log."), 1);
	queue_restart(world);
	queue_committed(world->queue, world->start_id, 1, 4096, false);
	assert_int_equal(messages_now(world), 0);
}

/* The log's last record cut off anywhere: what it recorded is done again, and
 * nothing else is lost. */
static void
test_torn_log(void **state)
{
	struct world *world = *state;
	struct delivery *delivery;
	char path[200];
	struct stat st;

	submit_one(world, NULL);
	submit_one(world, NULL);
	for (int i = 0; i < 2; i++) {
		delivery = queue_take(world->queue, NULL, 1000);
		finish(world, delivery, OUTCOME_DELIVERED, "", "250");
		settle(world);
	}
	pthread_mutex_lock(&world->lock);
	queue_close(world->queue);
	snprintf(path, sizeof(path), "%s/log.2", world->own);
	if (stat(path, &st) != 0) {
		snprintf(path, sizeof(path), "%s/log.1", world->own);
		assert_int_equal(stat(path, &st), 0);
	}
	assert_int_equal(truncate(path, st.st_size - 9), 0);
	queue_start(world);
	pthread_mutex_unlock(&world->lock);
	queue_committed(world->queue, world->start_id, 1, 4096, false);
	assert_int_equal(messages_now(world), 1);
}

/* queue list, show, remove and flush. */

struct gathered {
	json_t *objects;
};

static bool
gather_json(void *context, const char *octets, size_t len)
{
	struct gathered *gathered = context;
	json_t *object = json_loadb(octets, len, 0, NULL);

	assert_non_null(object);
	assert_true(len < 30000);
	json_array_append_new(gathered->objects, object);
	return true;
}

static const char *
text_of(json_t *objects, size_t i, const char *key)
{
	return json_string_value(
	    json_object_get(json_array_get(objects, i), key));
}

static void
test_control(void **state)
{
	struct world *world = *state;
	struct queue_request show = { .verb = QUEUE_SHOW };
	struct gathered gathered = { json_array() };
	char id[QUEUE_ID_SIZE];
	struct delivery *delivery;
	struct reason why;

	submit_one(world, id);
	for (int i = 0; i < 2; i++) {
		delivery = queue_take(world->queue, NULL, 1000);
		assert_non_null(delivery);
		strcpy(delivery->decision, "verdict=pass");
		finish(world, delivery, OUTCOME_TEMPORARY, "4.2.0",
		    i == 0 ? "450 first" : "450 second");
		settle(world);
		assert_true(ask(world, QUEUE_FLUSH, i == 0 ? id : ""));
	}
	strcpy(show.filter.id, id);
	assert_true(queue_control_tell(world->queue, &show, gather_json,
	    &gathered, &why));
	assert_int_equal(json_array_size(gathered.objects), 5);
	assert_string_equal(text_of(gathered.objects, 0, "queue"), id);
	assert_string_equal(text_of(gathered.objects, 0, "state"), "deferred");
	assert_string_equal(text_of(gathered.objects, 0, "reason"),
	    "450 second");
	assert_string_equal(text_of(gathered.objects, 1, "host"),
	    "smtp.isp.example");
	assert_string_equal(text_of(gathered.objects, 2, "decision"),
	    "verdict=pass");
	assert_int_equal(json_integer_value(json_object_get(
			     json_array_get(gathered.objects, 2), "number")),
	    1);
	assert_string_equal(text_of(gathered.objects, 4, "text"),
	    "Received: x\r\nSubject: hello\r\n");
	json_decref(gathered.objects);
	assert_false(ask(world, QUEUE_REMOVE, "NOSUCH"));
	assert_false(ask(world, QUEUE_REMOVE, ""));
	assert_true(ask(world, QUEUE_REMOVE, id));
	assert_null(queue_take(world->queue, NULL, 50));
	queue_restart(world);
	queue_committed(world->queue, world->start_id, 1, 4096, false);
	assert_int_equal(messages_now(world), 0);
}

/* A tool looks at a stopped server's files and changes none. */
static void
test_read_only(void **state)
{
	struct world *world = *state;
	struct queue_options options = { .in_folder = world->in,
		.relay_folder = world->own,
		.config = &world->config,
		.read_only = true };
	const struct queue_request list = { .verb = QUEUE_LIST };
	struct gathered gathered = { json_array() };
	struct delivery *delivery;
	struct queue *queue;
	struct reason why;

	submit_one(world, NULL);
	submit_one(world, NULL);
	delivery = queue_take(world->queue, NULL, 1000);
	finish(world, delivery, OUTCOME_DELIVERED, "", "250");
	settle(world);
	assert_true(queue_open(&queue, &options, &why));
	assert_true(
	    queue_control_tell(queue, &list, gather_json, &gathered, &why));
	assert_int_equal(json_array_size(gathered.objects), 1);
	json_decref(gathered.objects);
	queue_close(queue);
	assert_int_equal(count_files(world->own, "log."), 1);
}

/* Removed while a worker has it: what the worker does is the last. */
static void
test_remove_active(void **state)
{
	struct world *world = *state;
	struct delivery *delivery;
	char id[QUEUE_ID_SIZE];

	submit_one(world, id);
	delivery = queue_take(world->queue, NULL, 1000);
	assert_true(ask(world, QUEUE_REMOVE, id));
	finish(world, delivery, OUTCOME_PERMANENT, "5.0.0", "550 no");
	assert_null(queue_take(world->queue, NULL, 50)); /* no bounce */
	assert_int_equal(messages_now(world), 0);
}

/* Everything at once: senders, workers that fail now and then, a reader of
 * lists, a log that is rewritten all the time.  Every message arrives. */

enum { SENDERS = 6, WORKERS = 4, EACH = 150 };

struct crowd {
	struct world *world;
	atomic_uint delivered, bounces, failures;
	atomic_bool stop;
};

static void *
send_many(void *arg)
{
	struct crowd *crowd = arg;

	for (int i = 0; i < EACH; i++) {
		if (!submit(crowd->world, "s@y.example", one_rcpt, "", text,
			strlen(text), NULL))
			atomic_fetch_add(&crowd->failures, 1);
	}
	return NULL;
}

static void *
work(void *arg)
{
	struct crowd *crowd = arg;
	struct queue *queue = crowd->world->queue;
	struct delivery *delivery;
	unsigned count = 0;

	while (!atomic_load(&crowd->stop)) {
		delivery = queue_take(queue, NULL, 100);
		if (delivery == NULL)
			continue;
		count++;
		if (delivery->envelope.reverse_path[0] == '\0') {
			atomic_fetch_add(&crowd->bounces, 1);
			delivery->recipients[0].outcome = OUTCOME_DELIVERED;
		} else if (count % 10 == 0) {
			delivery->recipients[0].outcome = OUTCOME_TEMPORARY;
		} else if (count % 25 == 1) {
			delivery->recipients[0].outcome = OUTCOME_PERMANENT;
		} else {
			atomic_fetch_add(&crowd->delivered, 1);
			delivery->recipients[0].outcome = OUTCOME_DELIVERED;
		}
		queue_done(queue, delivery);
	}
	return NULL;
}

/* A bounce is counted nowhere between the end of what it is about and its
 * being on disk: so not by the queue's own count. */
static bool
all_arrive(struct crowd *crowd)
{
	for (int i = 0; i < 3000; i++) {
		if (atomic_load(&crowd->delivered) +
			atomic_load(&crowd->bounces) ==
		    SENDERS * EACH)
			return true;
		usleep(10000);
	}
	return false;
}

static bool
ignore_json(void *context, const char *octets, size_t len)
{
	(void)context;
	(void)octets;
	(void)len;
	return true;
}

static void *
list_often(void *arg)
{
	const struct queue_request list = { .verb = QUEUE_LIST };
	struct crowd *crowd = arg;
	struct reason why;

	while (!atomic_load(&crowd->stop)) {
		queue_control_tell(crowd->world->queue, &list, ignore_json,
		    NULL, &why);
		ask(crowd->world, QUEUE_FLUSH, "");
		usleep(1000);
	}
	return NULL;
}

static void
test_crowd(void **state)
{
	struct world *world = *state;
	struct crowd crowd = { .world = world };
	pthread_t senders[SENDERS], workers[WORKERS], lister;
	uint32_t segment;
	uint64_t end;

	world->rotate = 4096;
	world->segment = 64 * 1024;
	spool_close(world->spool);
	spool_start(world);
	queue_restart(world);
	for (int i = 0; i < SENDERS; i++)
		pthread_create(&senders[i], NULL, send_many, &crowd);
	for (int i = 0; i < WORKERS; i++)
		pthread_create(&workers[i], NULL, work, &crowd);
	pthread_create(&lister, NULL, list_often, &crowd);
	for (int i = 0; i < SENDERS; i++)
		pthread_join(senders[i], NULL);
	assert_true(all_arrive(&crowd));
	atomic_store(&crowd.stop, true);
	for (int i = 0; i < WORKERS; i++)
		pthread_join(workers[i], NULL);
	pthread_join(lister, NULL);
	assert_int_equal(atomic_load(&crowd.failures), 0);
	assert_int_equal(messages_now(world), 0);
	settle(world);
	assert_true(segments_now(world) <= 3);
	assert_int_equal(count_files(world->own, "log."), 1);
	spool_position(world->spool, &segment, &end);
	queue_restart(world);
	queue_committed(world->queue, world->start_id, segment, end, false);
	assert_int_equal(messages_now(world), 0);
}

int
main(void)
{
#define WITH_WORLD(test)                                                       \
	cmocka_unit_test_setup_teardown(test, world_new, world_free)
	const struct CMUnitTest tests[] = {
		WITH_WORLD(test_delivery),
		WITH_WORLD(test_large_body),
		WITH_WORLD(test_restart),
		WITH_WORLD(test_sent),
		WITH_WORLD(test_partial),
		WITH_WORLD(test_notices),
		WITH_WORLD(test_lost_segments),
		WITH_WORLD(test_dead_writer),
		WITH_WORLD(test_completion_kept),
		WITH_WORLD(test_orphan),
		WITH_WORLD(test_bounce),
		WITH_WORLD(test_notice),
		WITH_WORLD(test_held),
		WITH_WORLD(test_expire),
		cmocka_unit_test(test_backoff),
		WITH_WORLD(test_hop),
		WITH_WORLD(test_half),
		WITH_WORLD(test_damaged_body),
		WITH_WORLD(test_damaged_record),
		WITH_WORLD(test_unfinished_files),
		WITH_WORLD(test_failed_segments),
		WITH_WORLD(test_failed_log),
		WITH_WORLD(test_torn_log),
		WITH_WORLD(test_control),
		WITH_WORLD(test_read_only),
		WITH_WORLD(test_remove_active),
		WITH_WORLD(test_crowd),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
