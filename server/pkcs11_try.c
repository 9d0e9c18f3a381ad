/*
 * server/pkcs11_try.c: is the key that a PKCS#11 URL names there, and the
 * one of the certificate?
 *
 * A token's module is a library of somebody else, and the master is root: so a
 * child asks the token, which is what will have the key in the end (server/
 * pkcs11_worker.h), with the PIN that the master has read.  A PIN that the
 * token refuses is remembered: neither a reload nor a restart tries it again.
 */
#include <errno.h>
#include <gnutls/gnutls.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "pkcs11_try.h"

#include "../pki/cert.h"
#include "channel.h"
#include "files.h"
#include "master.h"
#include "pkcs11_worker.h"

enum { ANSWER_TIMEOUT_MS = 15000 };

/* What the child says; a token may need a while. */
static bool
hear(int fd, struct reason *why)
{
	struct pollfd ready = { .fd = fd, .events = POLLIN };
	unsigned char packet[PKCS11_PACKET_MAX];
	struct wire_reader r;
	size_t len;

	if (poll(&ready, 1, ANSWER_TIMEOUT_MS) <= 0)
		return fail(why, REASON_TIMEOUT,
		    "the token does not answer within %d s",
		    ANSWER_TIMEOUT_MS / 1000);
	if (channel_recv(fd, packet, sizeof(packet), &len, NULL) !=
	    CHANNEL_DONE)
		return fail(why, REASON_AWAY,
		    "its module crashed, or user %s does not exist",
		    state_user(ROLE_SIGNER));
	wire_reader_init(&r, packet, len);
	if (wire_get_u8(&r) != PKCS11_OPENED || !pkcs11_get_opened(&r, why))
		return fail(why, REASON_PROTOCOL, "answer of its child");
	return why->code == REASON_NONE;
}

static bool
ask(int fd, const struct pkcs11_work *work, struct reason *why)
{
	unsigned char packet[PKCS11_OPEN_MAX];
	struct wire_writer w;
	bool ok;

	wire_writer_init(&w, packet, sizeof(packet));
	pkcs11_put_open(&w, work);
	ok = !w.failed && channel_send(fd, w.data, w.len, -1) == CHANNEL_DONE;
	explicit_bzero(packet, sizeof(packet));
	if (!ok)
		return fail(why, REASON_RANGE, "PKCS#11 URL: too long");
	return hear(fd, why);
}

static bool
try_in_child(const struct pkcs11_work *work, bool best, struct reason *why)
{
	const struct confinement c = { .role = ROLE_SIGNER,
		.user = state_user(ROLE_SIGNER),
		.all_groups = true,
		.best = best };
	int ends[2];
	pid_t pid;
	bool ok;

	if (!channel_pair(ends, false, why))
		return false;
	pid = fork();
	if (pid == 0) {
		environ = role_environment();
		pkcs11_worker(ends[1], &c);
	}
	close(ends[1]);
	ok = pid > 0 ? ask(ends[0], work, why) : fail_errno(why, "fork");
	close(ends[0]);
	if (pid < 0)
		return false;
	kill(pid, SIGKILL);
	while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
		;
	return ok;
}

bool
pkcs11_read_pin(const struct pkcs11_url *url, char out[static PIN_SIZE],
    struct reason *why)
{
	out[0] = '\0';
	return url->pin == NULL || (files_check_secret(url->pin, why) &&
				       pin_file_read(url->pin, out, why));
}

/* What became of the PIN, for the next time. */
static bool
remember(const char *path, bool ok, struct reason *why)
{
	struct reason unmarked;

	if (path == NULL)
		return ok;
	if (ok)
		pin_file_accepted(path);
	else if (why->code == REASON_AUTH && !pin_file_refused(path, &unmarked))
		fail(why, REASON_AUTH,
		    "wrong PIN, and the next start will try it again: %s",
		    unmarked.text);
	return ok;
}

bool
pkcs11_try(const char *text, const gnutls_datum_t *chain, bool best,
    struct reason *why)
{
	struct pkcs11_work work = { .url = text };
	struct pkcs11_url url;
	char pin[PIN_SIZE];
	bool ok;

	if (!pkcs11_url_parse(&url, text, why))
		return false;
	ok = cert_public_key(chain, &work.public, why) &&
	     pkcs11_read_pin(&url, pin, why);
	if (ok) {
		work.pin = pin;
		ok = remember(url.pin, try_in_child(&work, best, why), why);
	}
	explicit_bzero(pin, sizeof(pin));
	gnutls_free(work.public.data);
	pkcs11_url_free(&url);
	return ok;
}
