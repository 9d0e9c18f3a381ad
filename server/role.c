/*
 * server/role.c: what every role but the master shares.
 */
#include "role.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "alarm.h"
#include "../pki/ocsp.h"
#include "channel.h"
#include "confine.h"
#include "log.h"
#include "wire.h"

enum {
	HELLO_TIMEOUT_MS = 10000,
	SAY_TIMEOUT_MS = 5000,
	STATUS_MAX = 30000, /* JSON text in one packet */
	KEPT_BACK_MOST = 256,
};

/* Descriptors a role may have, all and without those kept back. */
static struct rlimit descriptors, descriptors_less;

static const struct {
	const char *name;
	const char *root;
	bool no_network, no_connect;
} roles[ROLES] = {
	[ROLE_MASTER] = { "master", NULL, false, false },
	[ROLE_SESSION] = { "session", "run", true, true },
	[ROLE_SIGNER] = { "signer", "empty", true, true },
	[ROLE_AUTH] = { "auth", "store", true, true },
	/* PAM modules read /etc and may use the network. */
	[ROLE_HELPERS] = { "helpers", NULL, false, false },
	[ROLE_RELAY] = { "relay", "run", false, false },
	/* The resolver reads /etc. */
	[ROLE_LOOKUP] = { "lookup", NULL, false, false },
};

const char *
role_name(enum role role)
{
	return roles[role].name;
}

enum role
role_by_name(const char *name)
{
	for (int i = ROLE_MASTER; i < ROLES; i++)
		if (strcmp(roles[i].name, name) == 0)
			return (enum role)i;
	return ROLES;
}

/* exit() would run destructors under other threads' feet. */
static _Noreturn void
end(int status)
{
	_exit(status);
}

static _Noreturn void
end_broken(const char *what)
{
	log_line(SAY_ALARM, "role-broken", "what=\"%s\"", what);
	end(1);
}

/* Wait for the master's channel; false when it is not ready in time. */
static bool
wait_for(short events, int timeout_ms)
{
	struct pollfd p = { .fd = ROLE_MASTER_FD, .events = events };
	int rc;

	do
		rc = poll(&p, 1, timeout_ms);
	while (rc < 0 && errno == EINTR);
	return rc > 0;
}

/* A master that does not read for 5 s is as good as dead. */
static void
say(const struct wire_writer *w)
{
	enum channel_io io;

	if (w->failed)
		end_broken("message to the master too long");
	for (;;) {
		io = channel_send(ROLE_MASTER_FD, w->data, w->len, -1);
		if (io == CHANNEL_DONE)
			return;
		if (io != CHANNEL_WAIT || !wait_for(POLLOUT, SAY_TIMEOUT_MS))
			end(0);
	}
}

static void
say_number(enum message type, uint32_t number)
{
	unsigned char packet[8];
	struct wire_writer w;

	wire_writer_init(&w, packet, sizeof(packet));
	wire_put_u8(&w, (uint8_t)type);
	wire_put_u32(&w, number);
	say(&w);
}

static void
say_plain(enum message type)
{
	unsigned char packet[1];
	struct wire_writer w;

	wire_writer_init(&w, packet, sizeof(packet));
	wire_put_u8(&w, (uint8_t)type);
	say(&w);
}

void
role_say_unused(uint32_t number)
{
	say_number(ROLE_UNUSED, number);
}

void
role_say_stopped(void)
{
	say_plain(ROLE_STOPPED);
}

void
role_say_alarm_kept(uint64_t number)
{
	unsigned char packet[16];
	struct wire_writer w;

	wire_writer_init(&w, packet, sizeof(packet));
	wire_put_u8(&w, ROLE_ALARM_KEPT);
	wire_put_u64(&w, number);
	say(&w);
}

void
role_say_wants_token(uint64_t number, uint32_t configuration, const char *login)
{
	unsigned char packet[128];
	struct wire_writer w;

	wire_writer_init(&w, packet, sizeof(packet));
	wire_put_u8(&w, ROLE_WANTS_TOKEN);
	wire_put_u64(&w, number);
	wire_put_u32(&w, configuration);
	wire_put_string(&w, login);
	say(&w);
}

static void
say_refused(uint32_t number, const struct reason *why)
{
	unsigned char packet[REASON_TEXT_MAX + 16];
	struct wire_writer w;

	wire_writer_init(&w, packet, sizeof(packet));
	wire_put_u8(&w, ROLE_REFUSED);
	wire_put_u32(&w, number);
	wire_put_string(&w, why->text);
	say(&w);
}

/* The master speaks for the terminal and the service manager: what they send
 * to the whole process group is not for us. */
static void
ignore_signals(void)
{
	static const int signals[] = { SIGHUP, SIGINT, SIGTERM, SIGPIPE };
	struct sigaction sa = { .sa_handler = SIG_IGN };
	sigset_t none;

	for (size_t i = 0; i < sizeof(signals) / sizeof(*signals); i++)
		sigaction(signals[i], &sa, NULL);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
}

static void
read_hello(struct role_info *info, struct confinement *c, char *state,
    size_t state_size, char *user, size_t user_size)
{
	unsigned char packet[CHANNEL_PACKET_MAX];
	struct wire_reader r;
	uint8_t type, role, flags;
	size_t len;

	if (!wait_for(POLLIN, HELLO_TIMEOUT_MS) ||
	    channel_recv(ROLE_MASTER_FD, packet, sizeof(packet), &len, NULL) !=
		CHANNEL_DONE)
		end(0);
	wire_reader_init(&r, packet, len);
	type = wire_get_u8(&r);
	role = wire_get_u8(&r);
	flags = wire_get_u8(&r);
	info->threads = wire_get_u16(&r);
	info->start_id = wire_get_u64(&r);
	wire_get_string(&r, state, state_size);
	wire_get_string(&r, user, user_size);
	wire_get_string(&r, info->hostname, sizeof(info->hostname));
	if (!wire_reader_done(&r) || type != MASTER_HELLO || role >= ROLES)
		end_broken("malformed hello from the master");
	info->role = (enum role)role;
	c->best = (flags & HELLO_CONFINE_BEST) != 0;
	log_set_debug((flags & HELLO_DEBUG) != 0);
}

static void
confine_role(struct role_info *info, struct confinement *c, const char *state)
{
	const char *root = roles[info->role].root;
	struct reason why = { .code = REASON_NONE };

	if (root != NULL && snprintf(info->root, sizeof(info->root), "%s/%s",
				state, root) >= (int)sizeof(info->root))
		end_broken("path of the state folder too long");
	c->role = info->role;
	c->root = root == NULL ? NULL : info->root;
	c->no_network = roles[info->role].no_network;
	c->no_connect = roles[info->role].no_connect;
	/* Shadow, for pam_unix; no other role has more than its own. */
	c->all_groups = info->role == ROLE_HELPERS;
	if (!confine(c, &info->confined, &why)) {
		log_line(SAY_ALARM, "confine", "refused=\"%s\"", why.text);
		end(1);
	}
	if (why.code != REASON_NONE)
		log_line(SAY_WARNING, "confine", "best=\"%s\"", why.text);
}

/*
 * Keep some descriptors back for what the master passes: the kernel drops one
 * that does not fit, and a role without its peers, or its new configuration,
 * is of no use.  Clients that take all the others are then only refused.
 */
static void
keep_descriptors_back(void)
{
	rlim_t kept;

	if (getrlimit(RLIMIT_NOFILE, &descriptors) != 0)
		end_broken("no limit of descriptors");
	kept = descriptors.rlim_cur / 4;
	if (kept > KEPT_BACK_MOST)
		kept = KEPT_BACK_MOST;
	descriptors_less = descriptors;
	descriptors_less.rlim_cur -= kept;
	setrlimit(RLIMIT_NOFILE, &descriptors_less);
}

/* Only for as long as a packet is read may they be used. */
static enum channel_io
receive(unsigned char packet[static CHANNEL_PACKET_MAX], size_t *len_out,
    int *fd_out)
{
	enum channel_io io;

	setrlimit(RLIMIT_NOFILE, &descriptors);
	io = channel_recv(ROLE_MASTER_FD, packet, CHANNEL_PACKET_MAX, len_out,
	    fd_out);
	setrlimit(RLIMIT_NOFILE, &descriptors_less);
	return io;
}

/* Is our root directory the one that was to be? */
static bool
is_rooted(const struct role_info *info)
{
	return info->root[0] != '\0' && access(info->root, F_OK) != 0 &&
	       errno == ENOENT;
}

void
role_start(struct role_info *info)
{
	role_start_after(info, NULL);
}

void
role_start_after(struct role_info *info,
    void (*before)(const struct confinement *c))
{
	struct confinement c = { 0 };
	char state[4000], user[64];

	memset(info, 0, sizeof(*info));
	fcntl(ROLE_MASTER_FD, F_SETFD, FD_CLOEXEC);
	fcntl(ROLE_MASTER_FD, F_SETFL, O_NONBLOCK);
	fcntl(ROLE_LOG_FD, F_SETFD, FD_CLOEXEC);
	ignore_signals();
	umask(027); /* the spool: relay reads what session makes */
	log_open(ROLE_LOG_FD);
	read_hello(info, &c, state, sizeof(state), user, sizeof(user));
	c.user = user;
	if (before != NULL)
		before(&c);
	confine_role(info, &c, state);
	if (info->confined || is_rooted(info))
		info->root[0] = '\0';
	keep_descriptors_back();
	say_plain(ROLE_READY);
}

/* One packet of the master while it is being read. */
struct packet {
	const struct role_handler *handler;
	void *self;
	struct wire_reader r;
	int fd; /* passed descriptor or -1; handed over by setting -1 */
};

static int
take_fd(struct packet *p)
{
	int fd = p->fd;

	if (fd < 0)
		end_broken("packet of the master without its descriptor");
	p->fd = -1;
	return fd;
}

static void
check_done(const struct packet *p)
{
	if (!wire_reader_done(&p->r))
		end_broken("malformed packet of the master");
}

static void
check_handler(bool there)
{
	if (!there)
		end_broken("packet of the master that is not for this role");
}

static void
on_prepare(struct packet *p)
{
	uint32_t number = wire_get_u32(&p->r);
	struct reason why = { .code = REASON_NONE };
	struct bundle *bundle;
	bool ok;

	check_done(p);
	check_handler(p->handler->prepare != NULL);
	if (!bundle_open(&bundle, take_fd(p), &why)) {
		say_refused(number, &why);
		return;
	}
	ok = p->handler->prepare(p->self, number, bundle, &why);
	bundle_free(bundle);
	if (ok)
		say_number(ROLE_PREPARED, number);
	else
		say_refused(number, &why);
}

static void
on_commit(struct packet *p)
{
	uint32_t number = wire_get_u32(&p->r);

	check_done(p);
	check_handler(p->handler->commit != NULL);
	p->handler->commit(p->self, number);
}

static void
on_retire(struct packet *p)
{
	uint32_t number = wire_get_u32(&p->r);

	check_done(p);
	check_handler(p->handler->retire != NULL);
	p->handler->retire(p->self, number);
}

static void
on_peer(struct packet *p)
{
	uint8_t peer = wire_get_u8(&p->r);
	uint16_t index = wire_get_u16(&p->r);

	check_done(p);
	check_handler(p->handler->peer != NULL && peer < ROLES);
	p->handler->peer(p->self, (enum role)peer, index, take_fd(p));
}

static void
on_listener(struct packet *p)
{
	uint32_t number = wire_get_u32(&p->r);
	char name[64];

	wire_get_string(&p->r, name, sizeof(name));
	check_done(p);
	check_handler(p->handler->listener != NULL);
	p->handler->listener(p->self, number, name, take_fd(p));
}

static void
on_control(struct packet *p)
{
	check_done(p);
	check_handler(p->handler->control != NULL);
	p->handler->control(p->self, take_fd(p));
}

static void
on_ticket_key(struct packet *p)
{
	unsigned char key[64];
	char name[64];

	wire_get_string(&p->r, name, sizeof(name));
	wire_get_raw(&p->r, key, sizeof(key));
	check_done(p);
	check_handler(p->handler->ticket_key != NULL);
	p->handler->ticket_key(p->self, name, key);
	explicit_bzero(key, sizeof(key));
}

static void
on_staple(struct packet *p)
{
	uint32_t number = wire_get_u32(&p->r);
	gnutls_datum_t response;
	char certificate[64];
	uint64_t until;

	wire_get_string(&p->r, certificate, sizeof(certificate));
	until = wire_get_u64(&p->r);
	response = wire_get_bytes(&p->r, OCSP_OCTETS_MAX);
	check_done(p);
	check_handler(p->handler->staple != NULL);
	p->handler->staple(p->self, number, certificate, (int64_t)until,
	    &response);
}

static void
on_start_id(struct packet *p)
{
	uint64_t start_id = wire_get_u64(&p->r);

	check_done(p);
	check_handler(p->handler->start_id != NULL);
	p->handler->start_id(p->self, start_id);
}

static void
on_stop(struct packet *p)
{
	uint32_t ms = wire_get_u32(&p->r);

	check_done(p);
	check_handler(p->handler->stop != NULL);
	p->handler->stop(p->self, ms);
}

static void
on_alarm(struct packet *p)
{
	uint64_t number = wire_get_u64(&p->r);
	char text[ALARM_TEXT_MAX];

	wire_get_string(&p->r, text, sizeof(text));
	check_done(p);
	check_handler(p->handler->alarm != NULL);
	p->handler->alarm(p->self, number, text);
}

static void
on_token(struct packet *p)
{
	uint64_t number = wire_get_u64(&p->r);
	char text[REASON_TEXT_MAX];

	wire_get_string(&p->r, text, sizeof(text));
	check_done(p);
	check_handler(p->handler->token != NULL);
	p->handler->token(p->self, number, p->fd, text);
	p->fd = -1;
}

static void
on_status(struct packet *p)
{
	unsigned char packet[STATUS_MAX + 64];
	uint64_t asked = wire_get_u64(&p->r);
	json_t *object = json_object();
	struct wire_writer w;
	char *text;

	check_done(p);
	if (object != NULL && p->handler->status != NULL)
		p->handler->status(p->self, object);
	text = object == NULL ? NULL : json_dumps(object, JSON_COMPACT);
	json_decref(object);
	wire_writer_init(&w, packet, sizeof(packet));
	wire_put_u8(&w, ROLE_STATUS);
	wire_put_u64(&w, asked);
	wire_put_string(&w,
	    text == NULL || strlen(text) > STATUS_MAX ? "{}" : text);
	free(text);
	say(&w);
}

static void
act(struct packet *p)
{
	static void (*const on[])(struct packet *) = {
		[MASTER_PREPARE] = on_prepare,
		[MASTER_COMMIT] = on_commit,
		[MASTER_RETIRE] = on_retire,
		[MASTER_PEER] = on_peer,
		[MASTER_LISTENER] = on_listener,
		[MASTER_CONTROL] = on_control,
		[MASTER_TICKET_KEY] = on_ticket_key,
		[MASTER_STAPLE] = on_staple,
		[MASTER_START_ID] = on_start_id,
		[MASTER_STOP] = on_stop,
		[MASTER_STATUS] = on_status,
		[MASTER_ALARM] = on_alarm,
		[MASTER_TOKEN] = on_token,
	};
	uint8_t type = wire_get_u8(&p->r);

	if (type >= sizeof(on) / sizeof(*on) || on[type] == NULL)
		end_broken("unknown packet of the master");
	on[type](p);
}

void
role_dispatch(const struct role_handler *handler, void *self)
{
	static unsigned char packet[CHANNEL_PACKET_MAX];
	struct packet p = { .handler = handler, .self = self };
	size_t len;

	for (;;) {
		switch (receive(packet, &len, &p.fd)) {
		case CHANNEL_DONE:
			break;
		case CHANNEL_WAIT:
			return;
		case CHANNEL_CLOSED:
			if (handler->gone != NULL)
				handler->gone(self);
			end(0);
		case CHANNEL_FAILED:
			end_broken("channel to the master failed");
		}
		wire_reader_init(&p.r, packet, len);
		act(&p);
		explicit_bzero(packet, len); /* ticket keys */
		if (p.fd >= 0)
			close(p.fd);
	}
}
