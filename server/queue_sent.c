/* server/queue_sent.c: relay/sent, written and read. */
#include "queue_sent.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "journal.h"
#include "log.h"

/* Each line begins so: which message it is is told without reading on. */
static const char prefix[] = "{\"queue\":\"";

struct sent {
	int folder;
	int fd; /* -1: not open */
	uint64_t size, file_max;
	bool trouble; /* was told */
	/* Sorted. */
	char (*ids)[QUEUE_ID_SIZE];
	size_t id_count;
};

/* --- writing --------------------------------------------------------------
 */

json_t *
sent_text(const char *octets, size_t len)
{
	json_t *value = json_stringn(octets, len);
	char *ascii;

	if (value != NULL)
		return value;
	ascii = malloc(len + 1);
	if (ascii == NULL)
		return NULL;
	for (size_t i = 0; i < len; i++)
		ascii[i] = (unsigned char)octets[i] < 0x80 ? octets[i] : '?';
	value = json_stringn(ascii, len);
	free(ascii);
	return value;
}

static json_t *
text_of(const char *text)
{
	return sent_text(text != NULL ? text : "",
	    text != NULL ? strlen(text) : 0);
}

/* malloc'd, with its line end; NULL without memory. */
static char *
make_line(const struct envelope *envelope, size_t recipients)
{
	json_t *object = json_object(), *paths = json_array();
	char *json, *line = NULL;

	for (size_t i = 0; i < recipients && i < envelope->recipient_count; i++)
		json_array_append_new(paths,
		    text_of(envelope->recipients[i].forward_path));
	json_object_set_new(object, "queue", json_string(envelope->queue_id));
	json_object_set_new(object, "time",
	    json_integer(envelope->arrival_ms / 1000));
	json_object_set_new(object, "login", text_of(envelope->login));
	json_object_set_new(object, "from", text_of(envelope->reverse_path));
	json_object_set_new(object, "recipients", paths);
	json_object_set_new(object, "recipient_count",
	    json_integer((json_int_t)envelope->recipient_count));
	json_object_set_new(object, "size",
	    json_integer((json_int_t)(envelope->size & INT64_MAX)));
	json_object_set_new(object, "client", text_of(envelope->client));
	json = json_dumps(object, JSON_COMPACT | JSON_ENSURE_ASCII);
	json_decref(object);
	if (json != NULL && asprintf(&line, "%s\n", json) < 0)
		line = NULL;
	free(json);
	return line;
}

static void
open_file(struct sent *sent)
{
	struct stat st;

	sent->fd = openat(sent->folder, "sent",
	    O_WRONLY | O_APPEND | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (sent->fd < 0 || fstat(sent->fd, &st) < 0)
		return;
	sent->size = (uint64_t)st.st_size;
}

/* Make room for len octets. */
static bool
make_room(struct sent *sent, size_t len)
{
	if (sent->fd < 0)
		open_file(sent);
	if (sent->fd < 0)
		return false;
	if (sent->size == 0 || sent->size + len <= sent->file_max)
		return true;
	if (renameat(sent->folder, "sent", sent->folder, "sent.1") < 0)
		return false;
	close(sent->fd);
	open_file(sent);
	return sent->fd >= 0;
}

static bool
append(struct sent *sent, const char *line, size_t len)
{
	ssize_t put;

	if (!make_room(sent, len))
		return false;
	put = write(sent->fd, line, len);
	if (put == (ssize_t)len) {
		sent->size += len;
		return true;
	}
	/* The next line is to begin at the beginning of one. */
	if (put > 0 && ftruncate(sent->fd, (off_t)sent->size) < 0)
		sent->size += (uint64_t)put;
	if (put >= 0)
		errno = ENOSPC;
	return false;
}

static int
compare_ids(const void *a, const void *b)
{
	return strcmp(a, b);
}

void
sent_record(struct sent *sent, const struct envelope *envelope)
{
	size_t recipients = SENT_RECIPIENTS;
	char *line;
	bool ok;

	if (sent->id_count > 0 &&
	    bsearch(envelope->queue_id, sent->ids, sent->id_count,
		QUEUE_ID_SIZE, compare_ids) != NULL)
		return;
	line = make_line(envelope, recipients);
	while (line != NULL && strlen(line) > SENT_LINE_MAX && recipients > 0) {
		free(line);
		recipients /= 2;
		line = make_line(envelope, recipients);
	}
	errno = ENOMEM;
	ok = line != NULL && append(sent, line, strlen(line));
	if (!ok && !sent->trouble)
		log_line(SAY_ERROR, "sent",
		    "trouble=\"what devices send is not listed: %s\"",
		    strerror(errno));
	if (ok && sent->trouble)
		log_line(SAY_NOTE, "sent", "result=recovered");
	sent->trouble = !ok;
	free(line);
}

static bool
take_id(void *context, const char *line, size_t len)
{
	struct sent *sent = context;
	const char *id = line + sizeof prefix - 1, *end;
	char(*grown)[QUEUE_ID_SIZE];

	if (len < sizeof prefix || memcmp(line, prefix, sizeof prefix - 1) != 0)
		return true;
	end = memchr(id, '"', len - (sizeof prefix - 1));
	if (end == NULL || end == id || end - id >= QUEUE_ID_SIZE)
		return true;
	/* Room is made when the count is a power of two. */
	if ((sent->id_count & (sent->id_count - 1)) == 0) {
		grown = reallocarray(sent->ids,
		    sent->id_count > 0 ? 2 * sent->id_count : 1, QUEUE_ID_SIZE);
		if (grown == NULL)
			return false;
		sent->ids = grown;
	}
	memset(sent->ids[sent->id_count], 0, QUEUE_ID_SIZE);
	memcpy(sent->ids[sent->id_count++], id, (size_t)(end - id));
	return true;
}

struct sent *
sent_new(int folder, uint64_t file_max)
{
	struct sent *sent = calloc(1, sizeof *sent);
	struct reason why;

	if (sent == NULL)
		return NULL;
	sent->folder = folder;
	sent->fd = -1;
	sent->file_max = file_max;
	if (!sent_read(folder, take_id, sent, &why))
		log_line(SAY_ERROR, "sent", "trouble=\"%s\"", why.text);
	if (sent->id_count > 0)
		qsort(sent->ids, sent->id_count, QUEUE_ID_SIZE, compare_ids);
	return sent;
}

void
sent_free(struct sent *sent)
{
	if (sent == NULL)
		return;
	if (sent->fd >= 0)
		close(sent->fd);
	free(sent->ids);
	free(sent);
}

/* --- reading --------------------------------------------------------------
 */

static bool
is_queue_id(const char *id)
{
	size_t len = strspn(id, "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"
				"abcdefghijklmnopqrstuvwxyz");

	return len > 0 && len < QUEUE_ID_SIZE && id[len] == '\0';
}

static bool
are_strings(const json_t *array)
{
	const json_t *one;
	size_t i;

	if (!json_is_array(array) || json_array_size(array) > SENT_RECIPIENTS)
		return false;
	json_array_foreach(array, i, one)
	{
		if (!json_is_string(one))
			return false;
	}
	return true;
}

bool
sent_parse(const char *line, size_t len, struct sent_message *out)
{
	json_t *object = json_loadb(line, len, JSON_REJECT_DUPLICATES, NULL);
	const char *id, *login, *from, *client;
	json_int_t when, count, size;
	json_t *recipients;

	if (object == NULL ||
	    json_unpack_ex(object, NULL, JSON_STRICT,
		"{s:s, s:I, s:s, s:s, s:o, s:I, s:I, s:s}", "queue", &id,
		"time", &when, "login", &login, "from", &from, "recipients",
		&recipients, "recipient_count", &count, "size", &size, "client",
		&client) < 0 ||
	    !is_queue_id(id) || !are_strings(recipients) || when < 0 ||
	    count < (json_int_t)json_array_size(recipients) || size < 0) {
		json_decref(object);
		return false;
	}
	*out = (struct sent_message){ .time = when,
		.size = (uint64_t)size,
		.recipient_count = (uint64_t)count,
		.login = login,
		.from = from,
		.client = client,
		.recipients = recipients,
		.object = object };
	strcpy(out->queue_id, id);
	return true;
}

/* All of it, malloc'd; no more than a file of ours can have. */
static bool
read_file(int fd, const char *name, char **out, size_t *len_out,
    struct reason *why)
{
	const size_t most = SENT_FILE_MAX + SENT_LINE_MAX;
	struct stat st;
	size_t got = 0;
	ssize_t n = 1;
	char *octets;

	if (fstat(fd, &st) < 0)
		return fail_errno(why, "%s", name);
	/* A second name might be another user's file. */
	if (st.st_nlink > 1)
		return fail(why, REASON_PERMISSION,
		    "%s: has another name, expected a file of the relay's own",
		    name);
	if (st.st_size < 0 || (uint64_t)st.st_size > most)
		return fail(why, REASON_RANGE,
		    "%s: %lld octets, expected at most %zu", name,
		    (long long)st.st_size, most);
	octets = malloc((size_t)st.st_size + 1);
	if (octets == NULL)
		return fail(why, REASON_NO_MEMORY, "%s", name);
	while (n > 0 && got < (size_t)st.st_size) {
		n = read(fd, octets + got, (size_t)st.st_size - got);
		if (n > 0)
			got += (size_t)n;
		else if (n < 0 && errno == EINTR)
			n = 1;
	}
	if (n < 0) {
		free(octets);
		return fail_errno(why, "%s", name);
	}
	*out = octets;
	*len_out = got;
	return true;
}

static bool
read_lines(int fd, const char *name,
    bool (*each)(void *context, const char *line, size_t len), void *context,
    struct reason *why)
{
	const char *at, *end, *stop;
	char *octets = NULL;
	size_t len = 0;
	bool ok = true;

	if (!read_file(fd, name, &octets, &len, why))
		return false;
	stop = octets + len;
	for (at = octets; ok && at < stop; at = end + 1) {
		end = memchr(at, '\n', (size_t)(stop - at));
		if (end == NULL)
			break;
		if (end - at < SENT_LINE_MAX &&
		    !each(context, at, (size_t)(end - at)))
			ok = fail(why, REASON_NO_MEMORY, "%s", name);
	}
	free(octets);
	return ok;
}

bool
sent_read(int folder, bool (*each)(void *context, const char *line, size_t len),
    void *context, struct reason *why)
{
	static const char *const names[] = { "sent.1", "sent" };
	int fds[2];
	bool ok = true;

	/* The newer one first: if it is renamed meanwhile it is read twice, and
	 * not missed. */
	for (int i = 1; i >= 0; i--) {
		fds[i] = journal_open_file(folder, names[i], O_RDONLY);
		if (fds[i] < 0 && errno != ENOENT && ok)
			ok = errno == EINVAL || errno == ELOOP
				 ? fail(why, REASON_PERMISSION,
				       "%s: not a regular file", names[i])
				 : fail_errno(why, "%s", names[i]);
	}
	for (int i = 0; i < 2; i++) {
		ok = ok && (fds[i] < 0 || read_lines(fds[i], names[i], each,
					      context, why));
		if (fds[i] >= 0)
			close(fds[i]);
	}
	return ok;
}
