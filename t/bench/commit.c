/*
 * t/bench/commit.c: what group commit gives, on this disk and now.
 *
 * commit FOLDER SIZE SECONDS THREADS...: for each number of senders, first a
 * file and a sync a message (create, write, fsync, close, fsync of the folder:
 * what a queue of one file a message does at the least), then the spool, each
 * for so long.  A sender hands over its next message when the last one is on
 * stable storage.  Prints for each: senders, messages a second and CPU ms a
 * message of one file and of the spool, and syncs a message of the spool.
 */
#include <sys/resource.h>
#include <sys/stat.h>
#include <dirent.h>
#include <err.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "../../server/envelope.h"
#include "../../server/spool.h"

enum { THREADS_MOST = 1024 };

/* Spool messages: what a committer's thread tells a sender. */
struct outcome {
	pthread_mutex_t lock;
	pthread_cond_t cond;
	bool done, ok;
};

static struct {
	int folder;
	size_t size;
	char *octets;
	double seconds;
	struct spool *spool; /* NULL: one file a message */
	atomic_bool stop;
	atomic_ulong messages, serial, syncs;
} plan;

static double
now_s(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static double
cpu_ms(void)
{
	struct rusage u;

	getrusage(RUSAGE_SELF, &u);
	return (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) * 1e3 +
	       (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1e3;
}

static void
one_file(void)
{
	char name[32];
	int fd;

	snprintf(name, sizeof name, "%lu", atomic_fetch_add(&plan.serial, 1));
	fd = openat(plan.folder, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC,
	    0600);
	if (fd < 0 || write(fd, plan.octets, plan.size) != (ssize_t)plan.size ||
	    fsync(fd) != 0 || close(fd) != 0 || fsync(plan.folder) != 0)
		err(1, "%s", name);
}

static void
told(void *context, bool ok, const struct reason *why)
{
	struct outcome *outcome = context;

	(void)why;
	pthread_mutex_lock(&outcome->lock);
	outcome->done = true;
	outcome->ok = ok;
	pthread_cond_signal(&outcome->cond);
	pthread_mutex_unlock(&outcome->lock);
}

/* The spool calls this after each sync. */
static void
synced(void *context, uint32_t segment, uint64_t end, bool closed)
{
	(void)context;
	(void)segment;
	(void)end;
	if (!closed)
		atomic_fetch_add(&plan.syncs, 1);
}

static void
one_commit(struct outcome *outcome)
{
	static const char head[] = "Received: from client.example\r\n";
	struct spool_message *message = spool_message_new(plan.spool);
	struct envelope envelope;
	struct reason why;

	envelope_init(&envelope);
	spool_queue_id(plan.spool, envelope.queue_id);
	envelope.reverse_path = strdup("alice@example.org");
	if (message == NULL || envelope.reverse_path == NULL ||
	    !envelope_add_recipient(&envelope, "bob@example.net") ||
	    !spool_message_append(message, plan.octets, plan.size, &why))
		errx(1, "spool");
	outcome->done = false;
	spool_commit(plan.spool, message, &envelope, head, strlen(head), told,
	    outcome);
	envelope_fini(&envelope);
	pthread_mutex_lock(&outcome->lock);
	while (!outcome->done)
		pthread_cond_wait(&outcome->cond, &outcome->lock);
	pthread_mutex_unlock(&outcome->lock);
	if (!outcome->ok)
		errx(1, "commit");
}

static void *
send_messages(void *arg)
{
	struct outcome outcome = { .lock = PTHREAD_MUTEX_INITIALIZER,
		.cond = PTHREAD_COND_INITIALIZER };

	(void)arg;
	while (!atomic_load(&plan.stop)) {
		if (plan.spool != NULL)
			one_commit(&outcome);
		else
			one_file();
		atomic_fetch_add(&plan.messages, 1);
	}
	return NULL;
}

/* Messages a second and CPU ms a message of so many senders. */
static void
run(unsigned count, double *rate_out, double *cpu_out)
{
	static pthread_t threads[THREADS_MOST];
	double began = now_s(), cpu = cpu_ms();

	atomic_store(&plan.stop, false);
	atomic_store(&plan.messages, 0);
	for (unsigned i = 0; i < count; i++)
		if (pthread_create(&threads[i], NULL, send_messages, NULL) != 0)
			errx(1, "thread");
	usleep((useconds_t)(plan.seconds * 1e6));
	atomic_store(&plan.stop, true);
	for (unsigned i = 0; i < count; i++)
		pthread_join(threads[i], NULL);
	*rate_out = (double)plan.messages / (now_s() - began);
	*cpu_out = (cpu_ms() - cpu) / (double)plan.messages;
}

static void
remove_all(const char *folder)
{
	DIR *d = opendir(folder);
	struct dirent *entry;

	if (d == NULL)
		err(1, "%s", folder);
	while ((entry = readdir(d)) != NULL)
		if (entry->d_name[0] != '.')
			unlinkat(dirfd(d), entry->d_name, 0);
	closedir(d);
}

static void
compare(const char *folder, unsigned count)
{
	static uint64_t start_id;
	struct spool_options options = { .folder = folder,
		.start_id = ++start_id,
		.memory = 256 << 20,
		.committed = synced };
	double file_rate, file_cpu, spool_rate, spool_cpu;
	struct reason why;

	run(count, &file_rate, &file_cpu);
	remove_all(folder);
	if (!spool_open(&plan.spool, &options, &why))
		errx(1, "%s", why.text);
	atomic_store(&plan.syncs, 0);
	run(count, &spool_rate, &spool_cpu);
	spool_close(plan.spool);
	plan.spool = NULL;
	remove_all(folder);
	printf("%u %.0f %.4f %.0f %.4f %.3f\n", count, file_rate, file_cpu,
	    spool_rate, spool_cpu, (double)plan.syncs / (double)plan.messages);
	fflush(stdout);
}

int
main(int argc, char **argv)
{
	if (argc < 5)
		errx(2, "usage: commit FOLDER SIZE SECONDS THREADS...");
	plan.folder = open(argv[1], O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (plan.folder < 0)
		err(1, "%s", argv[1]);
	plan.size = (size_t)atol(argv[2]);
	plan.octets = malloc(plan.size);
	if (plan.octets == NULL)
		errx(1, "memory");
	memset(plan.octets, 'x', plan.size);
	plan.seconds = atof(argv[3]);
	for (int i = 4; i < argc; i++) {
		int count = atoi(argv[i]);

		if (count < 1 || count > THREADS_MOST)
			errx(2, "%s: expected 1 to %d senders", argv[i],
			    THREADS_MOST);
		compare(argv[1], (unsigned)count);
	}
	return 0;
}
