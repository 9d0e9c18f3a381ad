/*
 * server/auth_legacy.c: the auth role keeps the report of old practices.
 *
 * What is seen goes to DIR/state/store/legacy.json at most once a minute, by a
 * thread of its own: the disk may be slow, and nobody's login has to wait for a
 * report.  At the end it is written on the spot.
 */
#include "auth_legacy.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "auth_dialogue.h"
#include "files.h"
#include "legacy_book.h"
#include "log.h"

enum { WRITE_EVERY_MS = 60 * 1000 };

struct auth_legacy {
	struct legacy_book *book;
	char path[sizeof(((struct role_info *)0)->root) + 16];
	struct timer timer; /* of the next write; set: there is news */
	/* The thread has text and failed while it writes, and says by done when
	 * it has. */
	bool is_writing, failed;
	pthread_t thread;
	struct auth_watch done;
	char *text;
	size_t len;
};

static void
write_text(struct auth_legacy *legacy)
{
	bool failed_before = legacy->failed;
	struct reason why;

	legacy->failed =
	    !files_replace(legacy->path, legacy->text, legacy->len, 0600, &why);
	/* Once, not every minute. */
	if (legacy->failed && !failed_before)
		log_line(SAY_ERROR, "legacy", "reason=%s detail=\"%s\"",
		    reason_word(why.code), why.text);
	if (!legacy->failed && failed_before)
		log_line(SAY_NOTE, "legacy", "result=recovered");
}

static void *
run(void *context)
{
	struct auth_legacy *legacy = context;
	const uint64_t one = 1;

	write_text(legacy);
	if (write(legacy->done.fd, &one, sizeof one) < 0)
		log_line(SAY_ALARM, "legacy", "error=%s",
		    strerrorname_np(errno));
	return NULL;
}

static void
end_writing(struct auth_legacy *legacy)
{
	if (!legacy->is_writing)
		return;
	pthread_join(legacy->thread, NULL);
	free(legacy->text);
	legacy->text = NULL;
	legacy->is_writing = false;
}

/* Unless it is due already. */
static void
write_later(struct auth_role *role)
{
	struct timer *timer = &role->legacy->timer;

	if (timer->place == 0)
		timer_set(&role->timers, timer, auth_now_ms() + WRITE_EVERY_MS);
}

static void
writing_done(struct auth_role *role, struct auth_watch *watch, uint32_t events)
{
	uint64_t times;

	(void)events;
	if (read(watch->fd, &times, sizeof times) < 0)
		return;
	end_writing(role->legacy);
	if (role->legacy->failed)
		write_later(role);
}

/* False: there is no text to write. */
static bool
take_text(struct auth_legacy *legacy)
{
	legacy->text = legacy_book_print(legacy->book, &legacy->len);
	if (legacy->text == NULL)
		log_line(SAY_ERROR, "legacy", "detail=\"out of memory\"");
	return legacy->text != NULL;
}

static void
begin_writing(void *owner)
{
	struct auth_role *role = owner;
	struct auth_legacy *legacy = role->legacy;
	sigset_t all, before;

	if (legacy->is_writing || !take_text(legacy)) {
		write_later(role);
		return;
	}
	/* Signals are the first thread's. */
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	legacy->is_writing =
	    pthread_create(&legacy->thread, NULL, run, legacy) == 0;
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (legacy->is_writing)
		return;
	log_line(SAY_ALARM, "legacy", "detail=\"no thread\"");
	free(legacy->text);
	legacy->text = NULL;
	write_later(role);
}

/* What is there from before; it is only a report, and stops no start. */
static void
read_book(struct auth_legacy *legacy)
{
	char aside[sizeof legacy->path + 16];
	gnutls_datum_t file;
	struct reason why;

	if (files_read(legacy->path, &file, &why)) {
		bool ok = legacy_book_parse(&legacy->book,
		    (const char *)file.data, file.size, &why);

		files_free(&file);
		if (ok)
			return;
	}
	if (why.code == REASON_ABSENT)
		return;
	snprintf(aside, sizeof aside, "%s.damaged", legacy->path);
	log_line(SAY_WARNING, "legacy",
	    "what=\"report begins anew\" file=%s detail=\"%s\"",
	    rename(legacy->path, aside) == 0 ? aside : legacy->path, why.text);
}

bool
auth_legacy_begin(struct auth_role *role)
{
	struct auth_legacy *legacy = calloc(1, sizeof *legacy);

	if (legacy == NULL)
		return false;
	role->legacy = legacy;
	legacy->timer.fire = begin_writing;
	legacy->timer.owner = role;
	legacy->done.fd = -1;
	snprintf(legacy->path, sizeof legacy->path, "%s/legacy.json",
	    role->info.root);
	read_book(legacy);
	if (legacy->book == NULL)
		legacy->book = legacy_book_new();
	auth_watch_set(role, &legacy->done,
	    eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK), writing_done);
	return legacy->book != NULL && legacy->done.fd >= 0;
}

void
auth_legacy_stop(struct auth_role *role)
{
	struct auth_legacy *legacy = role->legacy;

	end_writing(legacy);
	if (legacy->timer.place != 0 && take_text(legacy))
		write_text(legacy);
	free(legacy->text);
	legacy_book_free(legacy->book);
	auth_watch_close(role, &legacy->done);
	free(legacy);
	role->legacy = NULL;
}

bool
auth_legacy_seen(struct auth_role *role, const char *login, const char *program,
    const char *client, unsigned practices)
{
	if (!legacy_book_add(role->legacy->book, login, program, client,
		practices, time(NULL)))
		return false;
	write_later(role);
	return true;
}

char *
auth_legacy_print(const struct auth_role *role, size_t *len_out)
{
	return legacy_book_print(role->legacy->book, len_out);
}
