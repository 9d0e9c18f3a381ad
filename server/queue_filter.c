/*
 * server/queue_filter.c: which messages of the queue are meant.
 */
#include "queue_filter.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "../policy/key.h"

enum { AGE_MOST_S = 1000 * 86400 };

static const struct {
	enum queue_state state;
	const char *word;
} states[] = {
	{ QUEUE_QUEUED, "queued" },
	{ QUEUE_DEFERRED, "deferred" },
	{ QUEUE_ACTIVE, "active" },
	{ QUEUE_HELD, "held" },
	{ QUEUE_DONE, "done" },
};

enum { STATES = sizeof(states) / sizeof(states[0]) };

unsigned
queue_state_parse(const char *word)
{
	for (size_t i = 0; i < STATES; i++)
		if (states[i].state != QUEUE_DONE &&
		    strcmp(states[i].word, word) == 0)
			return states[i].state;
	return 0;
}

const char *
queue_state_word(enum queue_state state)
{
	for (size_t i = 0; i < STATES; i++)
		if (states[i].state == state)
			return states[i].word;
	return "unknown";
}

/* The request. */

void
queue_request_put(struct wire_writer *w, const struct queue_request *request)
{
	const struct queue_filter *filter = &request->filter;

	wire_put_u8(w, (uint8_t)request->verb);
	wire_put_u8(w, request->all);
	wire_put_u8(w, request->body);
	wire_put_string(w, filter->id);
	wire_put_string(w, filter->user);
	wire_put_string(w, filter->site);
	wire_put_string(w, filter->sender);
	wire_put_string(w, filter->reason);
	wire_put_u8(w, (uint8_t)filter->states);
	wire_put_u64(w, (uint64_t)filter->older_s);
	wire_put_u64(w, (uint64_t)filter->newer_s);
	wire_put_string(w, request->status);
	wire_put_string(w, request->text);
}

static int64_t
get_age(struct wire_reader *r)
{
	uint64_t seconds = wire_get_u64(r);

	if (seconds > AGE_MOST_S)
		r->failed = true;
	return r->failed ? 0 : (int64_t)seconds;
}

bool
queue_is_status(const char *status)
{
	unsigned subject, detail;
	int end = 0;

	return status[strspn(status, "0123456789.")] == '\0' &&
	       sscanf(status, "5.%3u.%3u%n", &subject, &detail, &end) == 2 &&
	       status[end] == '\0';
}

bool
queue_is_printable(const char *text)
{
	for (; *text != '\0'; text++)
		if (*text < 0x20 || *text > 0x7e)
			return false;
	return true;
}

bool
queue_request_get(struct wire_reader *r, struct queue_request *request_out,
    struct reason *why)
{
	struct queue_request request = { .all = false };
	struct queue_filter *filter = &request.filter;

	request.verb = (enum queue_verb)wire_get_u8(r);
	request.all = wire_get_u8(r) != 0;
	request.body = wire_get_u8(r) != 0;
	wire_get_string(r, filter->id, sizeof(filter->id));
	wire_get_string(r, filter->user, sizeof(filter->user));
	wire_get_string(r, filter->site, sizeof(filter->site));
	wire_get_string(r, filter->sender, sizeof(filter->sender));
	wire_get_string(r, filter->reason, sizeof(filter->reason));
	filter->states = wire_get_u8(r);
	if (filter->states > QUEUE_STATES)
		r->failed = true; /* nothing is done to what is done with */
	filter->older_s = get_age(r);
	filter->newer_s = get_age(r);
	wire_get_string(r, request.status, sizeof(request.status));
	wire_get_string(r, request.text, sizeof(request.text));
	if (!wire_reader_done(r))
		return fail(why, REASON_PROTOCOL, "malformed request");
	if (request.status[0] != '\0' && !queue_is_status(request.status))
		return fail(why, REASON_SYNTAX,
		    "%s: a status for good, such as 5.7.1, was expected",
		    request.status);
	if (!queue_is_printable(request.text))
		return fail(why, REASON_SYNTAX,
		    "a text of printable ASCII was expected");
	*request_out = request;
	return true;
}

/* The filter. */

bool
queue_filter_is_deep(const struct queue_filter *filter)
{
	return filter->user[0] != '\0' || filter->site[0] != '\0' ||
	       filter->sender[0] != '\0' || filter->reason[0] != '\0';
}

bool
queue_filter_is_empty(const struct queue_filter *filter)
{
	return !queue_filter_is_deep(filter) && filter->id[0] == '\0' &&
	       filter->states == 0 && filter->older_s == 0 &&
	       filter->newer_s == 0;
}

bool
queue_filter_age(const struct queue_filter *filter, int64_t age_ms)
{
	return (filter->older_s == 0 || age_ms >= filter->older_s * 1000) &&
	       (filter->newer_s == 0 || age_ms <= filter->newer_s * 1000);
}

/* wanted is alice@realm, login alice+phone@realm. */
static bool
owns_device(const char *wanted, const char *login)
{
	const char *at = strrchr(wanted, '@'), *realm = strrchr(login, '@');
	size_t len = at == NULL ? 0 : (size_t)(at - wanted);

	return at != NULL && realm != NULL && strcasecmp(at, realm) == 0 &&
	       strncasecmp(wanted, login, len) == 0 && login[len] == '+';
}

bool
queue_filter_user(const struct queue_filter *filter, const char *login,
    bool device)
{
	if (filter->user[0] == '\0')
		return true;
	if (login == NULL)
		return false;
	return strcasecmp(filter->user, login) == 0 ||
	       (device && owns_device(filter->user, login));
}

/* In whichever form the operator writes the domain (IDNA), and with quotes or
 * without. */
static bool
same_mailbox(const char *a, const char *b)
{
	char left[KEY_TEXT], right[KEY_TEXT];

	return strcasecmp(a, b) == 0 ||
	       (path_mailbox(left, a) && path_mailbox(right, b) &&
		   strcmp(left, right) == 0);
}

static bool
same_domain(const char *a, const char *b)
{
	char left[HOST_MAX], right[HOST_MAX];

	return strcasecmp(a, b) == 0 ||
	       (path_host(left, a) && path_host(right, b) &&
		   strcmp(left, right) == 0);
}

bool
queue_filter_sender(const struct queue_filter *filter, const char *reverse_path)
{
	const char *wanted = filter->sender;
	const char *at = strrchr(reverse_path, '@');

	if (wanted[0] == '\0')
		return true;
	if (strcmp(wanted, "<>") == 0)
		return reverse_path[0] == '\0';
	if (wanted[0] == '@')
		return at != NULL && same_domain(wanted, at);
	return same_mailbox(wanted, reverse_path);
}

static size_t
length_without_dot(const char *name)
{
	size_t len = strlen(name);

	return len > 0 && name[len - 1] == '.' ? len - 1 : len;
}

/* Names compare as those of rows: DESIGN, section 5. */
static bool
fits_host(const struct queue_filter *filter, const char *host)
{
	const char *wanted = filter->site;
	size_t len = length_without_dot(wanted);
	size_t host_len = length_without_dot(host);

	if (wanted[0] == '\0')
		return true;
	if (wanted[0] == '.')
		return host_len > len &&
		       strncasecmp(host + host_len - len, wanted, len) == 0;
	return host_len == len && strncasecmp(host, wanted, len) == 0;
}

bool
queue_filter_hop(const struct queue_filter *filter, const struct next_hop *hop)
{
	char text[NEXT_HOP_TEXT];

	return fits_host(filter, hop->host) ||
	       strcasecmp(filter->site, next_hop_print(hop, text)) == 0;
}

bool
queue_filter_domain(const struct queue_filter *filter, const char *forward_path)
{
	const char *at = strrchr(forward_path, '@');

	return fits_host(filter, at == NULL ? "" : at + 1);
}

/* Digits and dots alone: "4", "4.7", "5.1.1". */
static bool
is_status_prefix(const char *text)
{
	return text[strspn(text, "0123456789.")] == '\0' &&
	       (text[0] == '2' || text[0] == '4' || text[0] == '5') &&
	       (text[1] == '.' || text[1] == '\0');
}

bool
queue_filter_reason(const struct queue_filter *filter, const char *status,
    const char *text)
{
	const char *wanted = filter->reason;
	size_t len = strlen(wanted);

	if (len == 0)
		return true;
	if (is_status_prefix(wanted))
		return strncmp(status, wanted, len) == 0 &&
		       (status[len] == '\0' || status[len] == '.' ||
			   wanted[len - 1] == '.');
	return strcasestr(text, wanted) != NULL;
}
