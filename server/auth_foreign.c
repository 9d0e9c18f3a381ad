/*
 * server/auth_foreign.c: a thread that checks other servers' password hashes.
 *
 * A bcrypt of cost 10 takes some 70 ms, and the role's own thread has everybody
 * else's login to see to.  One thread for all, so that whoever guesses at such
 * users takes no more than one core; how many may wait is bounded.
 */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "../auth/foreign.h"
#include "auth_role.h"
#include "log.h"

/* With the dearest hashes that are taken these last half a minute. */
enum { WAITING_MAX = 32, ANSWERS_MAX = WAITING_MAX };

struct job {
	uint64_t number, serial;
	uint32_t iterations;
	char hash[FOREIGN_MAX + 1];
	char password[PASSWORD_MAX + 1];
};

/* The lock guards all but thread and done. */
struct auth_foreign {
	pthread_t thread;
	int done; /* eventfd: there are answers */
	pthread_mutex_t lock;
	pthread_cond_t work;
	bool stopping;
	size_t unanswered; /* jobs waiting or under way, answers not taken */
	size_t first, waiting;
	struct job jobs[WAITING_MAX];
	size_t answered;
	struct auth_foreign_answer answers[ANSWERS_MAX];
};

static void
check(const struct job *job, struct auth_foreign_answer *answer)
{
	memset(answer, 0, sizeof *answer);
	answer->number = job->number;
	answer->serial = job->serial;
	answer->matches = foreign_matches(job->hash, job->password);
	answer->has_verifiers =
	    answer->matches && verifier_make(answer->verifiers, job->password,
				   job->iterations, NULL);
}

/* With the lock held.  False: the thread is to end. */
static bool
take_job(struct auth_foreign *f, struct job *job)
{
	while (f->waiting == 0 && !f->stopping)
		pthread_cond_wait(&f->work, &f->lock);
	if (f->stopping)
		return false;
	*job = f->jobs[f->first];
	explicit_bzero(&f->jobs[f->first], sizeof f->jobs[f->first]);
	f->first = (f->first + 1) % WAITING_MAX;
	f->waiting--;
	return true;
}

static void *
run(void *context)
{
	struct auth_foreign *f = context;
	struct auth_foreign_answer answer;
	struct job job;
	const uint64_t one = 1;

	pthread_mutex_lock(&f->lock);
	while (take_job(f, &job)) {
		pthread_mutex_unlock(&f->lock);
		check(&job, &answer);
		explicit_bzero(&job, sizeof job);
		pthread_mutex_lock(&f->lock);
		/* There is room: unanswered is bounded. */
		f->answers[f->answered++] = answer;
		explicit_bzero(&answer, sizeof answer);
		if (write(f->done, &one, sizeof one) < 0)
			log_line(SAY_ALARM, "foreign", "error=%s",
			    strerrorname_np(errno));
	}
	pthread_mutex_unlock(&f->lock);
	return NULL;
}

static void
answers_ready(struct auth_role *role, struct auth_watch *watch, uint32_t events)
{
	struct auth_foreign *f = role->foreign;
	struct auth_foreign_answer answer;
	uint64_t times;
	bool more;

	(void)events;
	if (read(watch->fd, &times, sizeof times) < 0)
		return;
	do {
		pthread_mutex_lock(&f->lock);
		more = f->answered > 0;
		if (more) {
			f->answered--;
			f->unanswered--;
			answer = f->answers[f->answered];
			explicit_bzero(&f->answers[f->answered], sizeof answer);
		}
		pthread_mutex_unlock(&f->lock);
		if (more)
			auth_dialogue_foreign(role, &answer);
	} while (more);
	explicit_bzero(&answer, sizeof answer);
}

static bool
start(struct auth_role *role)
{
	struct auth_foreign *f = calloc(1, sizeof *f);
	sigset_t all, before;
	bool ok;

	if (f == NULL)
		return false;
	pthread_mutex_init(&f->lock, NULL);
	pthread_cond_init(&f->work, NULL);
	f->done = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	/* Signals are the first thread's. */
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	ok = f->done >= 0 && pthread_create(&f->thread, NULL, run, f) == 0;
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (!ok) {
		log_line(SAY_ALARM, "foreign", "detail=\"no thread\"");
		if (f->done >= 0)
			close(f->done);
		free(f);
		return false;
	}
	role->foreign = f;
	auth_watch_set(role, &role->foreign_done, f->done, answers_ready);
	return true;
}

bool
auth_foreign_ask(struct auth_role *role, uint64_t number, uint64_t serial,
    const char *hash, const char *password, uint32_t iterations)
{
	struct auth_foreign *f;
	struct job *job;
	bool ok;

	if (strlen(password) > PASSWORD_MAX || strlen(hash) > FOREIGN_MAX ||
	    (role->foreign == NULL && !start(role)))
		return false;
	f = role->foreign;
	pthread_mutex_lock(&f->lock);
	ok = f->unanswered < WAITING_MAX;
	if (ok) {
		job = &f->jobs[(f->first + f->waiting) % WAITING_MAX];
		job->number = number;
		job->serial = serial;
		job->iterations = iterations;
		strcpy(job->hash, hash);
		strcpy(job->password, password);
		f->waiting++;
		f->unanswered++;
		pthread_cond_signal(&f->work);
	}
	pthread_mutex_unlock(&f->lock);
	return ok;
}

void
auth_foreign_stop(struct auth_role *role)
{
	struct auth_foreign *f = role->foreign;

	if (f == NULL)
		return;
	pthread_mutex_lock(&f->lock);
	f->stopping = true;
	pthread_cond_signal(&f->work);
	pthread_mutex_unlock(&f->lock);
	pthread_join(f->thread, NULL);
	auth_watch_close(role, &role->foreign_done);
	role->foreign = NULL;
	pthread_mutex_destroy(&f->lock);
	pthread_cond_destroy(&f->work);
	explicit_bzero(f, sizeof *f);
	free(f);
}
