/*
 * server/queue_folder.c: what stands in the in folder by its names, and the
 * large files there that no message needs.
 */
#include "queue_internal.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "log.h"

enum { NAMES_MOST = 4 * 1024 * 1024 };

static int
compare_found(const void *a, const void *b)
{
	const struct folder_file *x = a, *y = b;

	if (x->start_id != y->start_id)
		return x->start_id < y->start_id ? -1 : 1;
	if (x->number != y->number)
		return x->number < y->number ? -1 : 1;
	return (int)x->large - (int)y->large;
}

static bool
found_add(struct folder_file **found, size_t *count, size_t *capacity,
    const struct folder_file *one)
{
	struct folder_file *grown;

	if (*count == *capacity) {
		*capacity = *capacity == 0 ? 64 : *capacity * 2;
		if (*capacity > NAMES_MOST)
			return false;
		grown = reallocarray(*found, *capacity, sizeof(*grown));
		if (grown == NULL)
			return false;
		*found = grown;
	}
	(*found)[(*count)++] = *one;
	return true;
}

/* Segments (or large files) in the folder, in order. */
bool
store_list_folder(struct queue *queue, bool large,
    struct folder_file **found_out, size_t *count_out, struct reason *why)
{
	int fd =
	    openat(queue->in_folder, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *folder = fd < 0 ? NULL : fdopendir(fd);
	struct folder_file *found = NULL, one;
	size_t count = 0, capacity = 0;
	struct dirent *entry;
	bool ok = true;

	if (folder == NULL) {
		fail_errno(why, "in folder");
		if (fd >= 0)
			close(fd);
		return false;
	}
	while (ok && (entry = readdir(folder)) != NULL) {
		if (journal_parse_name(entry->d_name, &one.start_id,
			&one.number, &one.large) &&
		    one.large == large)
			ok = found_add(&found, &count, &capacity, &one);
	}
	closedir(folder);
	if (!ok) {
		free(found);
		return fail(why, REASON_NO_MEMORY, "in folder: list");
	}
	if (count > 0)
		qsort(found, count, sizeof(*found), compare_found);
	*found_out = found;
	*count_out = count;
	return true;
}

static bool
large_in_use(struct queue *queue, struct folder_file **found_out,
    size_t *count_out)
{
	struct folder_file *found = NULL, one = { .large = true };
	size_t count = 0, capacity = 0;
	bool ok = true;

	pthread_mutex_lock(&queue->lock);
	for (size_t i = 0; ok && i < queue->table_size; i++) {
		for (struct queued *message = queue->table[i];
		     ok && message != NULL; message = message->chain) {
			if (!message->is_large || message->settled ||
			    message->segment == NULL)
				continue;
			one.start_id = message->segment->start_id;
			one.number = message->more->large;
			ok = found_add(&found, &count, &capacity, &one);
		}
	}
	pthread_mutex_unlock(&queue->lock);
	if (!ok) {
		free(found);
		return false;
	}
	if (count > 0)
		qsort(found, count, sizeof(*found), compare_found);
	*found_out = found;
	*count_out = count;
	return true;
}

/* After damage a body that no record names may be a lost message's: it is
 * moved to where the damage lies. */
static void
remove_orphan(struct queue *queue, const struct folder_file *orphan)
{
	char name[JOURNAL_NAME_SIZE];

	journal_large_name(name, orphan->start_id, orphan->number);
	if (!queue->damage) {
		unlinkat(queue->in_folder, name, 0);
		return;
	}
	if (renameat(queue->in_folder, name, queue->damaged_folder, name) == 0)
		log_line(SAY_ALARM, "damaged",
		    "file=%s set-aside=%s trouble=\"no record names it\"", name,
		    name);
}

void
store_remove_orphans(struct queue *queue)
{
	struct folder_file *files = NULL, *used = NULL;
	size_t file_count = 0, used_count = 0;
	struct reason why;

	if (!store_list_folder(queue, true, &files, &file_count, &why) ||
	    file_count == 0 || !large_in_use(queue, &used, &used_count)) {
		free(files);
		return;
	}
	for (size_t i = 0; i < file_count; i++) {
		if (store_is_dead(queue, files[i].start_id) &&
		    (used_count == 0 ||
			bsearch(&files[i], used, used_count, sizeof(*used),
			    compare_found) == NULL))
			remove_orphan(queue, &files[i]);
	}
	free(files);
	free(used);
}
