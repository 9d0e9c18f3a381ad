/*
 * server/session_io.c: a session's buffers, over a socket or TLS.
 *
 * There is one input buffer a connection, filled from the socket before TLS
 * and from TLS ever after.  A session that waits keeps no empty buffer: ten
 * thousand of them wait most of the time.
 */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "session.h"

/* The buffer the thread's last session gave back. */
static _Thread_local char *spare_input;

static bool
input_acquire(struct input *input)
{
	if (input->data != NULL)
		return true;
	input->data = spare_input != NULL ? spare_input : malloc(INPUT_SIZE);
	spare_input = NULL;
	input->start = input->end = 0;
	return input->data != NULL;
}

static void
input_release(struct input *input)
{
	if (spare_input == NULL)
		spare_input = input->data;
	else
		free(input->data);
	input->data = NULL;
	input->start = input->end = 0;
}

void
session_release_buffers(struct session *s)
{
	if (s->input.start == s->input.end)
		input_release(&s->input);
	if (!session_has_output(s)) {
		free(s->output.data);
		s->output = (struct output){ 0 };
	}
}

void
session_free_buffers(struct session *s)
{
	if (s->input.data != NULL)
		explicit_bzero(s->input.data, INPUT_SIZE);
	input_release(&s->input);
	free(s->output.data);
	s->output = (struct output){ 0 };
}

struct slice
session_input(const struct session *s)
{
	return (struct slice){ s->input.data + s->input.start,
		s->input.end - s->input.start };
}

void
session_consume(struct session *s, size_t octets)
{
	s->input.start += octets;
}

void
session_wipe_input(struct session *s)
{
	struct input *input = &s->input;

	if (input->data == NULL)
		return;
	explicit_bzero(input->data, input->start);
	explicit_bzero(input->data + input->end, INPUT_SIZE - input->end);
}

bool
session_has_output(const struct session *s)
{
	return s->output.sent < s->output.len;
}

/* Room for len more octets; false ends the session. */
static bool
output_reserve(struct session *s, size_t len)
{
	struct output *output = &s->output;
	size_t capacity = output->capacity != 0 ? output->capacity : 1024;
	char *data;

	if (output->sent == output->len)
		output->sent = output->len = 0;
	if (len > OUTPUT_MOST - output->len)
		return false;
	while (capacity < output->len + len)
		capacity *= 2;
	if (capacity == output->capacity)
		return true;
	data = realloc(output->data, capacity);
	if (data == NULL)
		return false;
	output->data = data;
	output->capacity = capacity;
	return true;
}

void
session_say(struct session *s, const char *octets, size_t len)
{
	if (!output_reserve(s, len)) {
		s->broken = true;
		return;
	}
	memcpy(s->output.data + s->output.len, octets, len);
	s->output.len += len;
}

void
session_reply(struct session *s, const char *format, ...)
{
	char line[512];
	va_list ap;
	int n;

	va_start(ap, format);
	n = vsnprintf(line, sizeof line - 1, format, ap);
	va_end(ap);
	if (n < 0) {
		s->broken = true;
		return;
	}
	if ((size_t)n > sizeof line - 2)
		n = sizeof line - 2;
	memcpy(line + n, "\r\n", 2);
	session_say(s, line, (size_t)n + 2);
}

static enum io
flush_socket(struct session *s, size_t *put_out)
{
	ssize_t n = send(s->fd, s->output.data + s->output.sent,
	    s->output.len - s->output.sent, MSG_NOSIGNAL | MSG_DONTWAIT);

	*put_out = n > 0 ? (size_t)n : 0;
	if (n >= 0)
		return s->output.sent + *put_out < s->output.len ? IO_WAIT_ROOM
								 : IO_DONE;
	if (errno == EAGAIN || errno == EINTR)
		return IO_WAIT_ROOM;
	return IO_FAILED;
}

static enum io
io_of_tls(enum tls_io io)
{
	switch (io) {
	case TLS_IO_DONE:
		return IO_DONE;
	case TLS_IO_READ:
		return IO_WAIT_INPUT;
	case TLS_IO_WRITE:
		return IO_WAIT_ROOM;
	case TLS_IO_EOF:
	case TLS_IO_TRUNCATED:
		return IO_EOF;
	case TLS_IO_FAILED:
		break;
	}
	return IO_FAILED;
}

enum io
session_flush(struct session *s)
{
	struct reason why;
	size_t put = 0;
	enum io io;

	if (!session_has_output(s))
		return IO_DONE;
	s->wrote = true;
	if (s->tls != NULL)
		io = io_of_tls(
		    tls_session_write(s->tls, s->output.data + s->output.sent,
			s->output.len - s->output.sent, &put, &why));
	else
		io = flush_socket(s, &put);
	s->output.sent += put;
	if (io == IO_DONE)
		s->output.sent = s->output.len = 0;
	return io;
}

static enum io
read_socket(struct session *s, char *to, size_t room, size_t *got_out)
{
	ssize_t n = recv(s->fd, to, room, MSG_DONTWAIT);

	if (n > 0) {
		*got_out = (size_t)n;
		return IO_DONE;
	}
	if (n == 0)
		return IO_EOF;
	if (errno == EAGAIN || errno == EINTR)
		return IO_WAIT_INPUT;
	return IO_FAILED;
}

enum io
session_fill(struct session *s)
{
	struct input *input = &s->input;
	struct reason why;
	size_t got = 0;
	enum io io;

	if (!input_acquire(input)) {
		s->broken = true;
		return IO_FAILED;
	}
	if (input->start > 0) {
		memmove(input->data, input->data + input->start,
		    input->end - input->start);
		input->end -= input->start;
		input->start = 0;
	}
	if (s->tls != NULL)
		io =
		    io_of_tls(tls_session_read(s->tls, input->data + input->end,
			INPUT_SIZE - input->end, &got, &why));
	else
		io = read_socket(s, input->data + input->end,
		    INPUT_SIZE - input->end, &got);
	input->end += got;
	return io;
}

bool
session_has_input(struct session *s)
{
	char octet;

	if (s->input.start < s->input.end)
		return true;
	if (s->tls != NULL)
		return tls_session_pending(s->tls);
	return recv(s->fd, &octet, 1, MSG_PEEK | MSG_DONTWAIT) > 0;
}

/* Up to len octets at at: none of them a NUL, CR only before LF, LF only
 * after CR.  A CR at the very end may still get its LF. */
static bool
is_clean(const char *at, size_t len)
{
	size_t i;

	for (i = 0; i < len; i++) {
		if (at[i] == '\0')
			return false;
		if (at[i] == '\n' && (i == 0 || at[i - 1] != '\r'))
			return false;
		if (at[i] == '\r' && i + 1 < len && at[i + 1] != '\n')
			return false;
	}
	return true;
}

/* The line is too long: drop what is there of it. */
static enum line
drop_line(struct session *s, const struct slice *in, const char *lf)
{
	bool was_skipping = s->skip_line;

	s->skip_line = lf == NULL;
	/* A CR at the end may be half of the CRLF that is looked for. */
	if (lf != NULL)
		session_consume(s, (size_t)(lf - in->at) + 1);
	else if (in->len > 0)
		session_consume(s, in->len - (in->at[in->len - 1] == '\r'));
	if (!was_skipping)
		return LINE_LONG;
	return LINE_MORE;
}

enum line
session_line(struct session *s, size_t most, struct slice *line_out)
{
	struct slice in;
	const char *lf;
	size_t len;

	do {
		in = session_input(s);
		if (in.len == 0)
			return LINE_MORE;
		lf = memchr(in.at, '\n', in.len);
		len = lf != NULL ? (size_t)(lf - in.at) + 1 : in.len;
		if (!is_clean(in.at, len))
			return LINE_BROKEN;
		if (s->skip_line)
			drop_line(s, &in, lf);
		else if (len > most)
			return drop_line(s, &in, lf);
		else if (lf == NULL)
			return LINE_MORE;
		else {
			*line_out = (struct slice){ in.at, len - 2 };
			session_consume(s, len);
			return LINE_GOT;
		}
	} while (lf != NULL);
	return LINE_MORE;
}
