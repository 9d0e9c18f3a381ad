/*
 * t/bench/wire.h: a TLS line connection, blocking, as plain as it can be:
 * what load and sink spend must be small beside what is measured.
 */
#ifndef T_BENCH_WIRE_H
#define T_BENCH_WIRE_H

#include <err.h>
#include <gnutls/gnutls.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

struct wire {
	int fd;
	gnutls_session_t tls; /* NULL: clear */
	char in[65536];
	size_t start, end;
};

static inline void
wire_nodelay(int fd)
{
	int one = 1;

	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
}

/* False at end of file or failure. */
static inline bool
wire_fill(struct wire *w)
{
	ssize_t n;

	if (w->start == w->end)
		w->start = w->end = 0;
	if (w->end == sizeof w->in) {
		if (w->start == 0)
			return false;
		memmove(w->in, w->in + w->start, w->end - w->start);
		w->end -= w->start;
		w->start = 0;
	}
	do {
		n = w->tls != NULL
			? gnutls_record_recv(w->tls, w->in + w->end,
			      sizeof w->in - w->end)
			: recv(w->fd, w->in + w->end, sizeof w->in - w->end, 0);
	} while (n == GNUTLS_E_AGAIN || n == GNUTLS_E_INTERRUPTED);
	if (n <= 0)
		return false;
	w->end += (size_t)n;
	return true;
}

/* The next line with its LF cut, valid until the next call; NULL at the end. */
static inline char *
wire_line(struct wire *w)
{
	char *lf, *line;

	while (
	    (lf = memchr(w->in + w->start, '\n', w->end - w->start)) == NULL) {
		if (!wire_fill(w))
			return NULL;
	}
	line = w->in + w->start;
	*lf = '\0';
	w->start = (size_t)(lf - w->in) + 1;
	return line;
}

static inline bool
wire_write(struct wire *w, const char *octets, size_t len)
{
	ssize_t n;

	while (len > 0) {
		n = w->tls != NULL ? gnutls_record_send(w->tls, octets, len)
				   : send(w->fd, octets, len, MSG_NOSIGNAL);
		if (n == GNUTLS_E_AGAIN || n == GNUTLS_E_INTERRUPTED)
			continue;
		if (n <= 0)
			return false;
		octets += n;
		len -= (size_t)n;
	}
	return true;
}

static inline bool
wire_say(struct wire *w, const char *text)
{
	return wire_write(w, text, strlen(text));
}

/* Read one reply, all its lines; its code, or 0. */
static inline int
wire_reply(struct wire *w)
{
	char *line;

	do {
		line = wire_line(w);
		if (line == NULL || strlen(line) < 4)
			return 0;
	} while (line[3] == '-');
	return atoi(line);
}

static inline bool
wire_handshake(struct wire *w)
{
	int rc;

	do {
		rc = gnutls_handshake(w->tls);
	} while (rc < 0 && gnutls_error_is_fatal(rc) == 0);
	return rc == 0;
}

static inline void
wire_close(struct wire *w)
{
	if (w->tls != NULL) {
		gnutls_bye(w->tls, GNUTLS_SHUT_WR);
		gnutls_deinit(w->tls);
		w->tls = NULL;
	}
	close(w->fd);
}

#endif
