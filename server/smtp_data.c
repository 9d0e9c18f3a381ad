/*
 * server/smtp_data.c: mail data from the wire.
 *
 * Whole lines are stepped over with memchr; single octets are looked at only
 * where a line begins or a CR was seen.
 */
#include <string.h>

#include "smtp_data.h"

void
smtp_data_init(struct smtp_data *data)
{
	*data = (struct smtp_data){ .place = DATA_LINE_START };
}

bool
smtp_data_ended(const struct smtp_data *data)
{
	return data->place == DATA_END;
}

bool
smtp_data_is_malformed(const struct smtp_data *data)
{
	return data->bare_cr || data->bare_lf || data->nul;
}

static void
count_line(struct smtp_data *data, size_t octets)
{
	data->line += octets;
	if (data->line > SMTP_TEXT_LINE_MAX)
		data->long_line = true;
}

/* Up to and with the next CR, or all.  A LF in between is a bare one. */
static const char *
step_over_text(struct smtp_data *data, const char *at, const char *end)
{
	const char *cr = memchr(at, '\r', (size_t)(end - at));
	size_t len = (size_t)((cr != NULL ? cr : end) - at);

	if (memchr(at, '\n', len) != NULL)
		data->bare_lf = true;
	count_line(data, len);
	if (cr == NULL) {
		data->place = DATA_TEXT;
		return end;
	}
	count_line(data, 1);
	data->place = DATA_CR;
	return cr + 1;
}

static const char *
step_after_cr(struct smtp_data *data, const char *at)
{
	if (*at == '\n') {
		count_line(data, 1);
		data->line = 0;
		data->place = DATA_LINE_START;
		return at + 1;
	}
	data->bare_cr = true;
	data->place = DATA_TEXT;
	return at;
}

/* After a dot that began a line: the end, or a dot of transparency. */
static const char *
step_after_dot(struct smtp_data *data, const char *at)
{
	if (*at == '\r') {
		data->place = DATA_DOT_CR;
		return at + 1;
	}
	data->place = DATA_TEXT;
	return at;
}

static const char *
step_after_dot_cr(struct smtp_data *data, const char *at)
{
	if (*at == '\n') {
		data->place = DATA_END;
		return at + 1;
	}
	data->bare_cr = true;
	data->place = DATA_TEXT;
	return at;
}

static const char *
step(struct smtp_data *data, const char *at, const char *end)
{
	switch (data->place) {
	case DATA_LINE_START:
	case DATA_TEXT:
		return step_over_text(data, at, end);
	case DATA_CR:
		return step_after_cr(data, at);
	case DATA_DOT:
		return step_after_dot(data, at);
	case DATA_DOT_CR:
		return step_after_dot_cr(data, at);
	case DATA_END:
		break;
	}
	return at;
}

size_t
smtp_data_scan(struct smtp_data *data, struct slice in, struct slice *text_out)
{
	const char *at = in.at, *end = in.at + in.len, *text;

	/* What was withheld: it is dropped, or it is the end. */
	while (
	    at < end && (data->place == DATA_DOT || data->place == DATA_DOT_CR))
		at = step(data, at, end);
	text = at;
	while (at < end && data->place != DATA_END) {
		if (data->place == DATA_LINE_START && *at == '.') {
			data->place = DATA_DOT;
			*text_out = (struct slice){ text, (size_t)(at - text) };
			if (memchr(text, '\0', text_out->len) != NULL)
				data->nul = true;
			return (size_t)(at - in.at) + 1;
		}
		at = step(data, at, end);
	}
	*text_out = (struct slice){ text, (size_t)(at - text) };
	if (text_out->len > 0 && memchr(text, '\0', text_out->len) != NULL)
		data->nul = true;
	return (size_t)(at - in.at);
}
