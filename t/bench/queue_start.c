/*
 * t/bench/queue_start.c: how long the relay takes to know a long queue, and how
 * much memory it takes for it.
 *
 * queue_start FOLDER MESSAGES SIZE [deferred]
 *
 * Makes MESSAGES messages of SIZE octets, one recipient each, in segments as
 * the session role does, under FOLDER (made; left for another run), opens the
 * queue on them and prints: messages, octets on disk, seconds, those of the
 * processor, octets of resident memory a message.  deferred: each has been
 * tried once before, as the relay's log says.
 */
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "../../policy/crc32c.h"
#include "../../server/queue_internal.h"

enum { SEGMENT_OCTETS = 64 * 1024 * 1024 };

static const char head[] = "Received: from client.example ([192.0.2.1])\r\n"
			   "\tby mail.example.org with ESMTPSA\r\n";

static struct {
	char in[200], own[200];
	unsigned long messages;
	size_t size;
	bool deferred;
	char *body;
	uint64_t octets;
	struct journal_batch batch;
	struct journal_header log_header;
} bench;

static void
check(bool ok, const struct reason *why)
{
	if (ok)
		return;
	fprintf(stderr, "queue_start: %s\n", why->text);
	exit(1);
}

static void
open_new(struct journal *journal, const char *path, const char *name,
    enum journal_kind kind, uint64_t start_id, uint32_t file)
{
	int folder = open(path, O_RDONLY | O_DIRECTORY);
	struct reason why;

	check(journal_create(journal, folder, name, 0640, kind, start_id, file,
		  true, &why),
	    &why);
	close(folder);
}

static void
write_batch(struct journal *journal)
{
	struct reason why;

	check(journal_batch_write(&bench.batch, &why), &why);
	journal_batch_begin(&bench.batch, journal);
}

static void
add(struct journal *journal, struct journal_record *record,
    const struct iovec *parts, size_t count)
{
	while (!journal_batch_add(&bench.batch, record, parts, count))
		write_batch(journal);
}

static size_t
envelope_octets(unsigned long i, unsigned char out[static 4096])
{
	struct envelope envelope;
	struct wire_writer w;
	char to[64];

	envelope_init(&envelope);
	envelope_queue_id(envelope.queue_id);
	envelope.arrival_ms = queue_now_ms();
	envelope.reverse_path = strdup("sender@example.org");
	envelope.login = strdup("sender@example.org");
	envelope.client = strdup("192.0.2.1");
	envelope.listener = strdup("submissions");
	envelope.tls = strdup("TLS1.3 TLS_AES_256_GCM_SHA384");
	envelope.session_id = strdup("0123456789abcdef");
	snprintf(to, sizeof(to), "user%lu@example.net", i);
	envelope_add_recipient(&envelope, to);
	envelope.size = bench.size + strlen(head);
	wire_writer_init(&w, out, 4096);
	envelope_encode(&envelope, &w);
	envelope_fini(&envelope);
	return w.len;
}

/* One message; where it stands. */
static uint64_t
add_message(struct journal *journal, unsigned long i)
{
	unsigned char octets[4096];
	size_t len = envelope_octets(i, octets);
	struct iovec parts[] = { { octets, len },
		{ (void *)(uintptr_t)head, strlen(head) },
		{ bench.body, bench.size } };
	struct journal_record record = {
		.type = JOURNAL_MESSAGE,
		.envelope_len = (uint32_t)len,
		.head_len = (uint32_t)strlen(head),
		.body_len = bench.size,
		.envelope_crc = crc32c(0, octets, len),
		.head_crc = crc32c(0, head, strlen(head)),
		.body_crc = crc32c(0, bench.body, bench.size),
	};

	add(journal, &record, parts, 3);
	write_batch(journal); /* octets are ours */
	return record.offset;
}

static void
add_attempt(struct journal *log, struct message_key key)
{
	char status[] = "4.2.0", said[] = "450 4.2.0 mailbox is busy",
	     host[] = "smtp.isp.example", remote[] = "192.0.2.25", none[] = "";
	struct attempt_recipient recipient = { 0, OUTCOME_TEMPORARY, status,
		said };
	struct attempt attempt = {
		.key = key,
		.when_ms = queue_now_ms(),
		.next_ms = queue_now_ms() + 600000,
		.number = 1,
		.host = host,
		.port = 465,
		.remote = remote,
		.decision = none,
		.count = 1,
		.recipients = &recipient,
	};
	struct log_entry *entry = log_attempt_entry(&attempt);
	struct iovec part = { entry->octets, entry->record.envelope_len };

	add(log, &entry->record, &part, 1);
	write_batch(log);
	log_entry_free(entry);
}

static uint32_t
make_segment(uint32_t file, unsigned long *next, struct journal *log)
{
	struct journal segment;
	char name[JOURNAL_NAME_SIZE];

	journal_segment_name(name, 0x1000, file);
	open_new(&segment, bench.in, name, JOURNAL_SPOOL, 0x1000, file);
	journal_batch_begin(&bench.batch, &segment);
	for (; *next < bench.messages && segment.end < SEGMENT_OCTETS;
	     (*next)++) {
		uint64_t at = add_message(&segment, *next);

		if (bench.deferred) {
			journal_batch_begin(&bench.batch, log);
			add_attempt(log,
			    (struct message_key){ segment.header.mark, at });
			journal_batch_begin(&bench.batch, &segment);
		}
	}
	bench.octets += segment.end;
	close(segment.fd);
	return file;
}

static void
make_files(void)
{
	struct journal log = { .fd = -1 };
	unsigned long next = 0;

	bench.body = malloc(bench.size + 1);
	memset(bench.body, 'x', bench.size);
	if (bench.deferred)
		open_new(&log, bench.own, "log.1", JOURNAL_LOG, 7, 1);
	for (uint32_t file = 1; next < bench.messages; file++)
		make_segment(file, &next, &log);
	if (bench.deferred)
		bench.octets += log.end;
	free(bench.body);
}

static uint64_t
resident_octets(void)
{
	unsigned long total = 0, resident = 0;
	FILE *f = fopen("/proc/self/statm", "r");

	if (f == NULL || fscanf(f, "%lu %lu", &total, &resident) != 2)
		exit(1);
	fclose(f);
	return resident * (uint64_t)sysconf(_SC_PAGESIZE);
}

static double
seconds(clockid_t clock)
{
	struct timespec now;

	clock_gettime(clock, &now);
	return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

int
main(int argc, char **argv)
{
	struct config config = { .hostname = "mail.example.org",
		.smarthost = { .host = "smtp.isp.example",
		    .port = 465,
		    .implicit_tls = true },
		.retry_first_s = 60,
		.retry_most_s = 3600,
		.expire_s = 86400,
		.relay_threads = 4 };
	struct queue_options options = { .in_folder = bench.in,
		.relay_folder = bench.own,
		.config = &config,
		.start_id = 8 };
	struct queue_counts counts;
	struct queue *queue;
	struct reason why;
	uint64_t before;
	double start, ready, spent;

	if (argc < 4 || mkdir(argv[1], 0700) < 0)
		return 2;
	snprintf(bench.in, sizeof(bench.in), "%s/in", argv[1]);
	snprintf(bench.own, sizeof(bench.own), "%s/relay", argv[1]);
	mkdir(bench.in, 0700);
	mkdir(bench.own, 0700);
	bench.messages = strtoul(argv[2], NULL, 10);
	bench.size = strtoul(argv[3], NULL, 10);
	bench.deferred = argc > 4;
	make_files();
	before = resident_octets();
	start = seconds(CLOCK_MONOTONIC);
	spent = seconds(CLOCK_PROCESS_CPUTIME_ID);
	check(queue_open(&queue, &options, &why), &why);
	queue_live(queue, 0x2000);
	ready = seconds(CLOCK_MONOTONIC) - start;
	spent = seconds(CLOCK_PROCESS_CPUTIME_ID) - spent;
	queue_count(queue, &counts);
	printf("%lu messages, %lu known, %llu MiB, %.2f s (%.2f s CPU), "
	       "%.0f octets a message, at most ",
	    bench.messages, (unsigned long)counts.messages,
	    (unsigned long long)(bench.octets >> 20), ready, spent,
	    (double)(resident_octets() - before) / (double)bench.messages);
	fflush(stdout);
	return system("exec grep VmHWM /proc/$PPID/status") == 0 ? 0 : 1;
}
