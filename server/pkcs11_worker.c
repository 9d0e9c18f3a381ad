/*
 * server/pkcs11_worker.c: a process that has one private key in a token.
 */
#include "pkcs11_worker.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "channel.h"
#include "log.h"
#include "messages.h"
#include "role.h"

/* One at work. */
struct worker {
	int fd;
	struct tls_key *key;
	struct pkcs11_pin pin; /* the key may ask for it until it is freed */
};

static _Noreturn void
end(int status)
{
	_exit(status);
}

/* Of all descriptors above last. */
static void
keep_only(int fd, int last)
{
	if (fd > last + 1)
		close_range((unsigned)last + 1, (unsigned)fd - 1, 0);
	close_range((unsigned)fd + 1, ~0U, 0);
}

/* False at the end of the channel. */
static bool
receive(int fd, void *packet, size_t size, size_t *len_out, int *fd_out)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };
	enum channel_io io;

	do {
		while (poll(&p, 1, -1) < 0 && errno == EINTR)
			;
		io = channel_recv(fd, packet, size, len_out, fd_out);
	} while (io == CHANNEL_WAIT);
	return io == CHANNEL_DONE;
}

/* Who asks reads, or is gone. */
static bool
say(int fd, const struct wire_writer *w)
{
	struct pollfd p = { .fd = fd, .events = POLLOUT };
	enum channel_io io = CHANNEL_FAILED;

	if (w->failed)
		return false;
	while ((io = channel_send(fd, w->data, w->len, -1)) == CHANNEL_WAIT)
		while (poll(&p, 1, -1) < 0 && errno == EINTR)
			;
	return io == CHANNEL_DONE;
}

/* --- opening ------------------------------------------------------------ */

static bool
open_key(struct worker *worker, const char *text, const gnutls_datum_t *public,
    struct reason *why)
{
	struct pkcs11_url url;
	gnutls_privkey_t key;
	bool ok;

	if (!pkcs11_url_parse(&url, text, why))
		return false;
	if (gnutls_privkey_init(&key) < 0) {
		pkcs11_url_free(&url);
		return fail(why, REASON_NO_MEMORY, "private key");
	}
	ok = pkcs11_open(key, &url, &worker->pin, why) &&
	     tls_key_take(&worker->key, key, public, why);
	if (!ok)
		gnutls_privkey_deinit(key);
	pkcs11_url_free(&url);
	return ok;
}

static bool
do_open(struct worker *worker)
{
	unsigned char packet[PKCS11_OPEN_MAX], out[PKCS11_PACKET_MAX];
	struct reason why = { .code = REASON_NONE };
	char url[PKCS11_URL_SIZE];
	gnutls_datum_t public;
	struct wire_reader r;
	struct wire_writer w;
	size_t len;
	uint8_t type;

	if (!receive(worker->fd, packet, sizeof(packet), &len, NULL))
		return false;
	wire_reader_init(&r, packet, len);
	type = wire_get_u8(&r);
	wire_get_string(&r, url, sizeof(url));
	wire_get_string(&r, worker->pin.text, sizeof(worker->pin.text));
	public = wire_get_bytes(&r, PKCS11_PUBLIC_MAX);
	if (!wire_reader_done(&r) || type != PKCS11_OPEN)
		return false;
	alarm(PKCS11_HANG_S);
	if (open_key(worker, url, &public, &why))
		why = (struct reason){ .code = REASON_NONE };
	alarm(0);
	explicit_bzero(packet, sizeof(packet));
	wire_writer_init(&w, out, sizeof(out));
	wire_put_u8(&w, PKCS11_OPENED);
	wire_put_u32(&w, why.code);
	wire_put_string(&w, why.text);
	return say(worker->fd, &w) && worker->key != NULL;
}

/* --- signing ------------------------------------------------------------ */

static bool
decode(const unsigned char *packet, size_t packet_len,
    unsigned char tag[static PKCS11_TAG_OCTETS], enum cert_purpose *side,
    struct tls_sign_request *request)
{
	struct wire_reader r;
	gnutls_datum_t input;
	uint8_t type, as, is_data;

	wire_reader_init(&r, packet, packet_len);
	type = wire_get_u8(&r);
	wire_get_raw(&r, tag, PKCS11_TAG_OCTETS);
	as = wire_get_u8(&r);
	request->algorithm = wire_get_u32(&r);
	is_data = wire_get_u8(&r);
	wire_get_raw(&r, request->spki, SPKI_OCTETS);
	input = wire_get_bytes(&r, TLS_SIGN_INPUT_MAX);
	if (!wire_reader_done(&r) || type != PKCS11_SIGN ||
	    as > CERT_FOR_CLIENT || is_data > 1)
		return false;
	*side = (enum cert_purpose)as;
	request->is_data = is_data != 0;
	request->input_len = input.size;
	memcpy(request->input, input.data, input.size);
	return true;
}

/* False if there is no more to come from this token. */
static bool
do_sign(struct worker *worker, const unsigned char *packet, size_t packet_len)
{
	unsigned char out[PKCS11_PACKET_MAX], tag[PKCS11_TAG_OCTETS];
	unsigned char signature[TLS_SIGNATURE_MAX];
	struct tls_sign_request request = { 0 };
	struct reason why = { .code = REASON_NONE };
	size_t len = sizeof(signature);
	enum cert_purpose side;
	struct wire_writer w;

	if (!decode(packet, packet_len, tag, &side, &request))
		return false;
	alarm(PKCS11_HANG_S);
	if (!tls_key_sign(worker->key, side, &request, signature, &len, &why))
		len = 0;
	alarm(0);
	wire_writer_init(&w, out, sizeof(out));
	wire_put_u8(&w, PKCS11_SIGNED);
	wire_put_raw(&w, tag, sizeof(tag));
	wire_put_bytes(&w, signature, len);
	wire_put_u32(&w, why.code);
	wire_put_string(&w, why.text);
	return say(worker->fd, &w) && (len > 0 || why.code == REASON_PROTOCOL);
}

_Noreturn void
pkcs11_worker(int fd, const struct confinement *confinement)
{
	unsigned char packet[PKCS11_PACKET_MAX];
	struct worker worker = { .fd = fd };
	sigset_t none;
	bool confined;
	size_t len;

	prctl(PR_SET_NAME, "sally-pkcs11", 0, 0, 0);
	keep_only(fd, STDERR_FILENO);
	/* Modules may have children of their own. */
	signal(SIGCHLD, SIG_DFL);
	signal(SIGALRM, SIG_DFL);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	if (confinement != NULL && !confine(confinement, &confined, NULL))
		end(1);
	if (!do_open(&worker))
		end(1);
	while (receive(fd, packet, sizeof(packet), &len, NULL))
		if (!do_sign(&worker, packet, len))
			end(1);
	end(0);
}

/* --- who forks them ----------------------------------------------------- */

static _Noreturn void
spawn(int fd, const struct confinement *c)
{
	struct reason why = { .code = REASON_NONE };
	unsigned char packet[8];
	bool confined;
	size_t len;
	int channel;

	prctl(PR_SET_NAME, "sally-pkcs11", 0, 0, 0);
	close(ROLE_MASTER_FD);
	keep_only(fd, ROLE_LOG_FD);
	signal(SIGCHLD, SIG_IGN); /* nobody waits for them */
	if (!confine(c, &confined, &why)) {
		log_line(SAY_ALARM, "confine", "refused=\"%s\"", why.text);
		end(1);
	}
	while (receive(fd, packet, sizeof(packet), &len, &channel)) {
		if (channel < 0)
			end(1);
		if (fork() == 0)
			pkcs11_worker(channel, NULL);
		close(channel);
	}
	end(0);
}

int
pkcs11_spawner(const struct confinement *signer)
{
	struct confinement c = *signer;
	struct reason why;
	int ends[2];
	pid_t pid;

	c.root = NULL;
	c.no_network = c.no_connect = false;
	c.all_groups = true;
	if (!channel_pair(ends, true, &why)) {
		log_line(SAY_ALARM, "pkcs11", "detail=\"%s\"", why.text);
		return -1;
	}
	pid = fork();
	if (pid == 0) {
		close(ends[0]);
		spawn(ends[1], &c);
	}
	close(ends[1]);
	if (pid > 0)
		return ends[0];
	log_line(SAY_ALARM, "pkcs11", "detail=\"fork: %s\"", strerror(errno));
	close(ends[0]);
	return -1;
}
