/*
 * server/helper_child.c: what the children of the spawner share: their start,
 * and their side of the channel.
 */
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

#include "channel.h"
#include "helper.h"

enum { NAME_OCTETS_MAX = 1024, PACKET_MAX = HELPER_RESPONSE_MAX + 64 };

void
helper_settle(int parent, int channel, uint32_t deadline_ms)
{
	const struct rlimit no_core = { 0, 0 };
	sigset_t none;
	int null;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != parent)
		_exit(1);
	setpgid(0, 0);
	for (int sig = 1; sig < NSIG; sig++)
		signal(sig, SIG_DFL);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	setrlimit(RLIMIT_CORE, &no_core);
	if (channel != HELPER_FD && dup2(channel, HELPER_FD) < 0)
		_exit(1);
	fcntl(HELPER_FD, F_SETFD, FD_CLOEXEC);
	close_range(HELPER_FD + 1, ~0U, 0);
	null = open("/dev/null", O_RDWR);
	if (null < 0)
		_exit(1);
	dup2(null, 0);
	dup2(null, 1);
	dup2(null, 2);
	if (null > HELPER_FD)
		close(null);
	alarm(deadline_ms / 1000 + 2);
}

static void
say(const struct wire_writer *w)
{
	if (w->failed ||
	    channel_send(HELPER_FD, w->data, w->len, -1) != CHANNEL_DONE)
		_exit(1);
}

void
helper_answer(enum helper_answer answer, const char *text)
{
	unsigned char packet[HELPER_TEXT_SIZE + 16];
	struct wire_writer w;

	wire_writer_init(&w, packet, sizeof packet);
	wire_put_u8(&w, HELPER_ANSWER);
	wire_put_u8(&w, (uint8_t)answer);
	wire_put_bytes(&w, text, strnlen(text, HELPER_TEXT_SIZE - 1));
	say(&w);
}

void
helper_answer_broken(void)
{
	helper_answer(HELPER_BROKEN, "broken request");
}

void
helper_proved(const char *authid, const char *authzid)
{
	unsigned char packet[2 * NAME_OCTETS_MAX];
	struct wire_writer w;

	wire_writer_init(&w, packet, sizeof packet);
	wire_put_u8(&w, HELPER_PROVED);
	wire_put_string(&w, authid);
	wire_put_string(&w, authzid);
	if (w.failed)
		helper_answer(HELPER_NO, "names are too long");
	else
		say(&w);
}

void
helper_challenge(const void *octets, size_t len)
{
	unsigned char packet[PACKET_MAX];
	struct wire_writer w;

	wire_writer_init(&w, packet, sizeof packet);
	wire_put_u8(&w, HELPER_CHALLENGE);
	wire_put_bytes(&w, octets, len);
	say(&w);
}

/* The field of the one packet that may come now; borrowed from packet. */
static bool
await(enum message type, size_t most, unsigned char packet[static PACKET_MAX],
    gnutls_datum_t *out)
{
	struct wire_reader r;
	size_t len;

	if (channel_recv(HELPER_FD, packet, PACKET_MAX, &len, NULL) !=
	    CHANNEL_DONE)
		return false;
	wire_reader_init(&r, packet, len);
	if (wire_get_u8(&r) != (uint8_t)type)
		return false;
	*out = wire_get_bytes(&r, most);
	return wire_reader_done(&r);
}

bool
helper_response(gnutls_datum_t *out)
{
	unsigned char packet[PACKET_MAX];
	gnutls_datum_t got;
	bool ok = await(HELPER_STEP, HELPER_RESPONSE_MAX, packet, &got);

	if (ok) {
		out->size = got.size;
		out->data = malloc(got.size + 1);
		ok = out->data != NULL;
	}
	if (ok)
		memcpy(out->data, got.data, got.size);
	explicit_bzero(packet, sizeof packet);
	return ok;
}

bool
helper_secret(const char *authid, char out[static HELPER_SECRET_MAX + 1])
{
	unsigned char packet[PACKET_MAX];
	struct wire_writer w;
	gnutls_datum_t got;
	bool ok;

	wire_writer_init(&w, packet, NAME_OCTETS_MAX);
	wire_put_u8(&w, HELPER_NEED_SECRET);
	wire_put_string(&w, authid);
	if (w.failed)
		return false;
	say(&w);
	ok = await(HELPER_SECRET, HELPER_SECRET_MAX, packet, &got) &&
	     got.size > 0 && memchr(got.data, '\0', got.size) == NULL;
	if (ok) {
		memcpy(out, got.data, got.size);
		out[got.size] = '\0';
	}
	explicit_bzero(packet, sizeof packet);
	return ok;
}
