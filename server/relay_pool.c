/*
 * server/relay_pool.c: the threads and what they share.
 *
 * Shared and locked: the configuration in force and the gate (pool.lock).
 * Everything else of a worker is its own.
 *
 * The gate: a thread that keeps a connection may always wait for work; of the
 * others one may, and only while none that keeps one is waiting.  Otherwise
 * each message would wake another thread, and cost another handshake.
 */
#include "relay_pool.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "relay_deliver.h"
#include "signer_client.h"
#include "upstream_io.h"

enum {
	ROLE_AWAY_MS = 5000, /* a role that is restarted is back by then */
	IDLE_MS = 10000,     /* a connection nobody needs is kept this long */
	LOOK_MS = 1000,      /* how often an idle worker looks around */
	STOP_SLACK_MS = 500,
	STACK_OCTETS = 512 * 1024,
};

struct worker {
	struct relay_pool *pool;
	pthread_t id;
	bool started;
	struct call auth, lookup;
	struct relay_deliverer deliverer;
	long long idle_since;
};

struct relay_pool {
	struct queue *queue;
	pthread_mutex_t lock;
	struct relay_config *config; /* in force; a reference */
	pthread_cond_t gate;
	unsigned kept_waiting; /* threads in queue_take with a connection */
	bool fresh_waiting;    /* one without */
	atomic_llong stop_at_ms;
	/* Not in one word with what the lock protects: the compiler reads that
	 * as a whole, which ThreadSanitizer takes for a race. */
	atomic_bool stopping;
	atomic_uint running, busy;
	int finished_fd;
	unsigned count;
	struct worker workers[];
};

static void
gate_init(struct relay_pool *pool)
{
	pthread_condattr_t attributes;

	pthread_condattr_init(&attributes);
	pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
	pthread_cond_init(&pool->gate, &attributes);
	pthread_condattr_destroy(&attributes);
}

static void
look_deadline(struct timespec *out)
{
	long long at = upstream_now_ms() + LOOK_MS;

	out->tv_sec = (time_t)(at / 1000);
	out->tv_nsec = (long)(at % 1000) * 1000000;
}

/* May this thread wait for work?  False after LOOK_MS or when stopping. */
static bool
gate_enter(struct relay_pool *pool, bool kept)
{
	struct timespec until;
	bool open;
	int rc = 0;

	look_deadline(&until);
	pthread_mutex_lock(&pool->lock);
	while (!kept && (pool->fresh_waiting || pool->kept_waiting > 0) &&
	       !atomic_load(&pool->stopping) && rc == 0)
		rc = pthread_cond_timedwait(&pool->gate, &pool->lock, &until);
	open = kept || (!pool->fresh_waiting && pool->kept_waiting == 0);
	if (open && kept)
		pool->kept_waiting++;
	else if (open)
		pool->fresh_waiting = true;
	pthread_mutex_unlock(&pool->lock);
	return open;
}

static void
gate_leave(struct relay_pool *pool, bool kept)
{
	pthread_mutex_lock(&pool->lock);
	if (kept)
		pool->kept_waiting--;
	else
		pool->fresh_waiting = false;
	if (!pool->fresh_waiting && pool->kept_waiting == 0)
		pthread_cond_signal(&pool->gate);
	pthread_mutex_unlock(&pool->lock);
}

bool
relay_pool_new(struct relay_pool **pool_out, unsigned count, struct reason *why)
{
	struct relay_pool *pool;

	pool = calloc(1, sizeof(*pool) + count * sizeof(pool->workers[0]));
	if (pool == NULL)
		return fail(why, REASON_NO_MEMORY, "relay threads");
	pool->finished_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (pool->finished_fd < 0) {
		free(pool);
		return fail_errno(why, "eventfd");
	}
	pthread_mutex_init(&pool->lock, NULL);
	gate_init(pool);
	pool->count = count;
	for (unsigned i = 0; i < count; i++) {
		struct worker *w = &pool->workers[i];

		w->pool = pool;
		call_init(&w->auth, ROLE_AWAY_MS);
		call_init(&w->lookup, ROLE_AWAY_MS);
		w->deliverer.thread = (struct upstream_thread){
			.index = i,
			.auth = &w->auth,
			.lookup = &w->lookup,
			.stop_at_ms = &pool->stop_at_ms,
		};
	}
	*pool_out = pool;
	return true;
}

void
relay_pool_peer(struct relay_pool *pool, enum role peer, unsigned index, int fd)
{
	/* The main thread has one after those of the threads. */
	if (peer == ROLE_SIGNER && index <= pool->count)
		signer_client_set(index, fd);
	else if (index >= pool->count)
		close(fd);
	else if (peer == ROLE_AUTH)
		call_set(&pool->workers[index].auth, fd);
	else if (peer == ROLE_LOOKUP)
		call_set(&pool->workers[index].lookup, fd);
	else
		close(fd);
}

void
relay_pool_configure(struct relay_pool *pool, struct relay_config *config)
{
	struct relay_config *before;

	pthread_mutex_lock(&pool->lock);
	before = pool->config;
	pool->config = relay_config_ref(config);
	pthread_mutex_unlock(&pool->lock);
	relay_config_unref(before);
}

static struct relay_config *
pool_config(struct relay_pool *pool)
{
	struct relay_config *config;

	pthread_mutex_lock(&pool->lock);
	config = relay_config_ref(pool->config);
	pthread_mutex_unlock(&pool->lock);
	return config;
}

static void
worker_serve(struct worker *w, struct delivery *delivery)
{
	struct relay_pool *pool = w->pool;
	struct relay_config *config = pool_config(pool);

	atomic_fetch_add(&pool->busy, 1);
	relay_deliver(&w->deliverer, pool->queue, config, delivery);
	queue_done(pool->queue, delivery);
	atomic_fetch_sub(&pool->busy, 1);
	relay_config_unref(config);
	w->idle_since = upstream_now_ms();
}

/* Close a connection that nobody came for, or that may not be kept. */
static void
worker_tidy(struct worker *w)
{
	struct relay_deliverer *d = &w->deliverer;

	if (d->upstream == NULL)
		return;
	if (!upstream_is_spent(d->upstream) &&
	    upstream_now_ms() - w->idle_since < IDLE_MS)
		return;
	upstream_quit(d->upstream);
	d->upstream = NULL;
}

static struct delivery *
worker_take(struct worker *w)
{
	struct upstream *kept = w->deliverer.upstream;
	struct delivery *delivery;

	if (!gate_enter(w->pool, kept != NULL))
		return NULL;
	delivery = queue_take(w->pool->queue,
	    kept == NULL ? NULL : upstream_hop(kept), LOOK_MS);
	gate_leave(w->pool, kept != NULL);
	return delivery;
}

static void *
worker_run(void *context)
{
	struct worker *w = context;
	struct relay_pool *pool = w->pool;
	uint64_t one = 1;

	signer_client_use(w->deliverer.thread.index);
	while (!atomic_load(&pool->stopping)) {
		struct delivery *delivery = worker_take(w);

		if (delivery != NULL)
			worker_serve(w, delivery);
		worker_tidy(w);
	}
	upstream_quit(w->deliverer.upstream);
	w->deliverer.upstream = NULL;
	if (atomic_fetch_sub(&pool->running, 1) == 1 &&
	    write(pool->finished_fd, &one, sizeof(one)) < 0)
		return NULL; /* the counter is full: it is readable */
	return NULL;
}

bool
relay_pool_start(struct relay_pool *pool, struct queue *queue,
    struct book *book, struct reason *why)
{
	pthread_attr_t attributes;
	unsigned started = 0;

	pool->queue = queue;
	pthread_attr_init(&attributes);
	pthread_attr_setstacksize(&attributes, STACK_OCTETS);
	atomic_store(&pool->running, pool->count);
	for (unsigned i = 0; i < pool->count; i++) {
		struct worker *w = &pool->workers[i];

		w->deliverer.thread.book = book;
		w->started =
		    pthread_create(&w->id, &attributes, worker_run, w) == 0;
		started += w->started;
		if (!w->started)
			atomic_fetch_sub(&pool->running, 1);
	}
	pthread_attr_destroy(&attributes);
	return started > 0 ||
	       fail(why, REASON_NO_MEMORY, "no relay thread could be made");
}

void
relay_pool_stop(struct relay_pool *pool, uint32_t ms)
{
	uint64_t one = 1;

	atomic_store(&pool->stop_at_ms,
	    upstream_now_ms() +
		(ms > 2 * STOP_SLACK_MS ? ms - STOP_SLACK_MS : ms / 2));
	atomic_store(&pool->stopping, true);
	pthread_mutex_lock(&pool->lock);
	pthread_cond_broadcast(&pool->gate);
	pthread_mutex_unlock(&pool->lock);
	if (atomic_load(&pool->running) == 0 &&
	    write(pool->finished_fd, &one, sizeof(one)) < 0)
		return; /* the counter is full: it is readable */
}

int
relay_pool_finished_fd(const struct relay_pool *pool)
{
	return pool->finished_fd;
}

void
relay_pool_join(struct relay_pool *pool)
{
	for (unsigned i = 0; i < pool->count; i++)
		if (pool->workers[i].started)
			pthread_join(pool->workers[i].id, NULL);
}

unsigned
relay_pool_busy(const struct relay_pool *pool)
{
	return atomic_load(&pool->busy);
}
