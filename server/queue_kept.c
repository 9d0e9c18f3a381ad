/*
 * server/queue_kept.c: the images of segments that a start finds.
 *
 * An image has its name only since it was whole and synced, so it counts; what
 * it was made of may be there still, and goes now.  Should an image be damaged
 * while it is, that is used, and nothing is lost.
 */
#include "queue_internal.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "log.h"

/* All of its records are right, and none is missing at its end. */
static bool
is_right(int fd, const struct journal_header *header, uint64_t size,
    struct reason *why)
{
	struct journal_reader reader;
	struct journal_record record;
	enum journal_found found;
	const void *octets;
	uint64_t from, to, count = 0;
	bool ended = false;

	journal_reader_init(&reader, fd, header, 0, size, true, true);
	while ((found = journal_reader_next(&reader, &record, &octets, &from,
		    &to, why)) == JOURNAL_FOUND) {
		ended =
		    record.type == JOURNAL_KEPT_END && record.number == count;
		count++;
	}
	journal_reader_fini(&reader);
	if (found != JOURNAL_END)
		return false;
	return ended ||
	       fail(why, REASON_DAMAGED, "its end is missing: it is cut off");
}

static bool
read_header(int fd, uint64_t start_id, uint32_t file,
    struct journal_header *header, uint64_t *size_out, struct reason *why)
{
	struct stat st;

	if (fstat(fd, &st) < 0)
		return fail_errno(why, "kept image");
	if (!journal_read_header(fd, header, why))
		return false;
	if (header->kind != JOURNAL_KEPT || header->start_id != start_id ||
	    header->file != file)
		return fail(why, REASON_DAMAGED, "header of another file");
	*size_out = (uint64_t)st.st_size;
	return true;
}

/* It never was the only copy, or nobody can read it. */
static void
reject(struct queue *queue, const char *name, bool is_copy,
    const struct reason *why)
{
	bool kept = false;

	if (!queue->read_only) {
		kept = renameat(queue->relay_folder, name,
			   queue->damaged_folder, name) == 0;
		fsync(queue->damaged_folder);
		fsync(queue->relay_folder);
	}
	queue->damage = queue->damage || !is_copy;
	log_line(SAY_ALARM, "damaged", "file=%s set-aside=%s trouble=\"%s\"",
	    name, kept ? name : "no", why->text);
}

/* Its segment, if a crash left it; completions of what the image does not hold
 * stay unless that is gone for good. */
static bool
remove_original(struct queue *queue, uint64_t start_id, uint32_t file)
{
	char name[JOURNAL_NAME_SIZE];

	if (queue->read_only)
		return false;
	journal_segment_name(name, start_id, file);
	if (unlinkat(queue->in_folder, name, 0) == 0 || errno == ENOENT) {
		if (fsync(queue->in_folder) == 0)
			return true;
	}
	log_line(SAY_ALARM, "queue", "file=%s trouble=\"unlink: %s\"", name,
	    strerror(errno));
	return false;
}

static bool
has_original(const struct queue *queue, uint64_t start_id, uint32_t file)
{
	char name[JOURNAL_NAME_SIZE];
	struct stat st;

	journal_segment_name(name, start_id, file);
	return fstatat(queue->in_folder, name, &st, AT_SYMLINK_NOFOLLOW) == 0;
}

/* Index an open image; fd is handed over. */
static bool
take_image(struct queue *queue, int fd, const struct journal_header *header,
    uint64_t size, bool is_copy, struct reason *why)
{
	struct segment *segment;
	bool gone =
	    !is_copy || remove_original(queue, header->start_id, header->file);

	pthread_mutex_lock(&queue->lock);
	segment = store_segment_new(queue, header->start_id, header->file, fd,
	    header, true);
	pthread_mutex_unlock(&queue->lock);
	if (segment == NULL) {
		close(fd);
		return fail(why, REASON_NO_MEMORY, "kept image");
	}
	segment->closed = true;
	segment->end = size;
	segment->stuck = !gone;
	store_read_range(queue, segment, size, true, true);
	if (segment->cursor >= size)
		store_whole(queue, segment);
	return true;
}

static bool
recover_image(struct queue *queue, uint64_t start_id, uint32_t file,
    struct reason *why)
{
	bool is_copy = has_original(queue, start_id, file);
	struct journal_header header;
	struct reason wrong = { REASON_NONE, "" };
	char name[JOURNAL_NAME_SIZE];
	uint64_t size = 0;
	int fd;

	compact_name(name, start_id, file);
	fd = journal_open_file(queue->relay_folder, name, O_RDONLY);
	if (fd < 0)
		return fail_errno(why, "relay/%s", name);
	if (!read_header(fd, start_id, file, &header, &size, &wrong) ||
	    (!is_right(fd, &header, size, &wrong) && is_copy)) {
		close(fd);
		if (wrong.code != REASON_DAMAGED)
			return fail(why, wrong.code, "relay/%s: %s", name,
			    wrong.text);
		reject(queue, name, is_copy, &wrong);
		return true;
	}
	if (wrong.code != REASON_NONE) {
		queue->damage = true;
		log_line(SAY_ALARM, "damaged", "file=%s trouble=\"%s\"", name,
		    wrong.text);
	}
	return take_image(queue, fd, &header, size, is_copy, why);
}

/* "kept.<start-id>.<n>" */
static bool
parse_name(const char *name, uint64_t *start_id_out, uint32_t *file_out)
{
	uint64_t file;
	bool large;

	if (strncmp(name, "kept.", 5) != 0 ||
	    !journal_parse_name(name + 5, start_id_out, &file, &large) || large)
		return false;
	*file_out = (uint32_t)file;
	return true;
}

bool
kept_recover(struct queue *queue, struct reason *why)
{
	int fd = openat(queue->relay_folder, ".",
	    O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *folder = fd < 0 ? NULL : fdopendir(fd);
	struct dirent *entry;
	uint64_t start_id;
	uint32_t file;
	bool ok = true;

	if (folder == NULL) {
		fail_errno(why, "relay folder");
		if (fd >= 0)
			close(fd);
		return false;
	}
	if (!queue->read_only)
		unlinkat(queue->relay_folder, COMPACT_UNFINISHED, 0);
	while (ok && (entry = readdir(folder)) != NULL)
		if (parse_name(entry->d_name, &start_id, &file))
			ok = recover_image(queue, start_id, file, why);
	closedir(folder);
	return ok;
}
