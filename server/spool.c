/*
 * server/spool.c: the spool's opening and closing, and what may be asked of it.
 */
#include "spool_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

void
spool_queue_id(struct spool *spool, char out[static QUEUE_ID_SIZE])
{
	(void)spool;
	envelope_queue_id(out);
}

void
spool_configure(struct spool *spool, uint64_t memory, uint64_t reserve)
{
	atomic_store(&spool->memory, memory);
	atomic_store(&spool->reserve, reserve);
}

void
spool_position(struct spool *spool, uint32_t *segment_out, uint64_t *end_out)
{
	pthread_mutex_lock(&spool->lock);
	*segment_out = spool->position_file;
	*end_out = spool->position_end;
	pthread_mutex_unlock(&spool->lock);
}

/* Signals are for the role's own threads. */
static bool
thread_start(pthread_t *thread, void *(*run)(void *), struct spool *spool,
    struct reason *why)
{
	sigset_t all, before;
	int error;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	error = pthread_create(thread, NULL, run, spool);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (error != 0) {
		errno = error;
		return fail_errno(why, "spool: thread");
	}
	return true;
}

static void
spool_free(struct spool *spool)
{
	journal_close(&spool->current);
	journal_close(&spool->next);
	if (spool->folder >= 0)
		close(spool->folder);
	pthread_mutex_destroy(&spool->lock);
	pthread_cond_destroy(&spool->some);
	pthread_cond_destroy(&spool->some_large);
	free(spool);
}

/* The committer waits by a clock that does not go back. */
static void
cond_init(pthread_cond_t *cond)
{
	pthread_condattr_t attributes;

	pthread_condattr_init(&attributes);
	pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
	pthread_cond_init(cond, &attributes);
	pthread_condattr_destroy(&attributes);
}

static struct spool *
spool_alloc(const struct spool_options *options)
{
	struct spool *spool = calloc(1, sizeof(*spool));

	if (spool == NULL)
		return NULL;
	spool->start_id = options->start_id;
	spool_configure(spool, options->memory, options->reserve);
	spool->segment = options->segment != 0
			     ? options->segment
			     : (uint64_t)SPOOL_SEGMENT_DEFAULT;
	spool->committed = options->committed;
	spool->context = options->context;
	spool->current.fd = spool->next.fd = -1;
	spool->next_number = 1;
	pthread_mutex_init(&spool->lock, NULL);
	cond_init(&spool->some);
	cond_init(&spool->some_large);
	spool_list_init(&spool->waiting);
	spool_list_init(&spool->waiting_large);
	return spool;
}

static void
thread_stop(struct spool *spool, bool *stop, pthread_cond_t *cond,
    pthread_t thread)
{
	pthread_mutex_lock(&spool->lock);
	*stop = true;
	pthread_cond_signal(cond);
	pthread_mutex_unlock(&spool->lock);
	pthread_join(thread, NULL);
}

bool
spool_open(struct spool **spool_out, const struct spool_options *options,
    struct reason *why)
{
	struct spool *spool = spool_alloc(options);

	if (spool == NULL)
		return fail(why, REASON_NO_MEMORY, "spool");
	spool->folder =
	    open(options->folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (spool->folder < 0) {
		fail_errno(why, "%s", options->folder);
		goto fail;
	}
	spool_room_sample(spool);
	/* On a disk in trouble the first commit tries again. */
	if (!spool_segment_ready(spool, why)) {
		if (why->code != REASON_NO_SPACE && why->code != REASON_IO)
			goto fail;
		spool_trouble_failed(spool, why);
	}
	if (!thread_start(&spool->committer, spool_commit_run, spool, why))
		goto fail;
	if (!thread_start(&spool->syncer, spool_sync_run, spool, why)) {
		thread_stop(spool, &spool->stop, &spool->some,
		    spool->committer);
		goto fail;
	}
	*spool_out = spool;
	return true;
fail:
	spool_free(spool);
	return false;
}

void
spool_close(struct spool *spool)
{
	if (spool == NULL)
		return;
	/* In this order: the syncer feeds the committer. */
	thread_stop(spool, &spool->stop_large, &spool->some_large,
	    spool->syncer);
	thread_stop(spool, &spool->stop, &spool->some, spool->committer);
	spool_free(spool);
}
