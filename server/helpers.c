/*
 * server/helpers.c: the spawner: one process an attempt for PAM.
 *
 * PAM's modules may block, crash, fork or keep state in globals: each attempt
 * runs in a child that is killed at its deadline, with all it has started.
 * The spawner itself has one thread and never waits.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <security/pam_appl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/pidfd.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "channel.h"
#include "config.h"
#include "log.h"
#include "role.h"
#include "wire.h"

enum {
	HELPERS_MAX = 1024,
	CONFIGS_MAX = 16,
	SERVICE_SIZE = 65,
	USER_SIZE = 65,
	PASSWORD_SIZE = PAM_MAX_RESP_SIZE + 1,
	TEXT_SIZE = 128,
	CHECK_PACKET_MAX = 1024,
	DEADLINE_MOST_MS = 10 * 60 * 1000,
};

static const char pam_tty[] = "smtp"; /* access rules may name it */

struct spawner;

struct watch {
	int fd;
	void (*ready)(struct spawner *s, struct watch *watch);
	struct attempt *attempt; /* NULL: a channel */
};

/* A child, from its fork until it has been reaped. */
struct attempt {
	bool used;
	bool answered; /* auth has got its answer */
	uint64_t number;
	pid_t pid;
	int64_t due_ms;
	struct watch pipe, process;
};

struct numbered {
	uint32_t number;
	struct config *config;
};

struct spawner {
	struct role_info info;
	int epoll;
	struct watch master, auth;
	struct attempt attempts[HELPERS_MAX];
	struct numbered configs[CONFIGS_MAX];
	unsigned at_once; /* of the committed configuration */
	bool stopping;
	int64_t stop_ms;
};

struct check {
	uint64_t number;
	char service[SERVICE_SIZE];
	char user[USER_SIZE];
	char password[PASSWORD_SIZE];
	char client[INET6_ADDRSTRLEN];
	uint32_t deadline_ms;
};

/* What a child writes into its pipe, at once. */
struct outcome {
	uint8_t answer;
	char text[TEXT_SIZE];
};

static int64_t
now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

/* The child. */

struct conversation {
	const char *password; /* NULL: it was asked for already */
};

static void
no_delay(int status, unsigned us, void *context)
{
	/* The answer's time is auth's to choose. */
	(void)status;
	(void)us;
	(void)context;
}

/*
 * One hidden prompt is answered.  A second one, a visible one or a text could
 * be a second factor or a password change: the dialogue ends there.
 */
static int
converse(int n, const struct pam_message **messages,
    struct pam_response **responses, void *context)
{
	struct conversation *c = context;
	struct pam_response *response;

	if (n != 1 || messages[0]->msg_style != PAM_PROMPT_ECHO_OFF ||
	    c->password == NULL)
		return PAM_CONV_ERR;
	response = calloc(1, sizeof *response);
	if (response == NULL ||
	    (response->resp = strdup(c->password)) == NULL) {
		free(response);
		return PAM_BUF_ERR;
	}
	c->password = NULL;
	*responses = response;
	return PAM_SUCCESS;
}

static int
set_items(pam_handle_t *pam, const struct check *check)
{
	union {
		void (*function)(int, unsigned, void *);
		const void *item;
	} delay = { no_delay };
	int rc = pam_set_item(pam, PAM_FAIL_DELAY, delay.item);

	if (rc == PAM_SUCCESS)
		rc = pam_set_item(pam, PAM_RHOST, check->client);
	if (rc == PAM_SUCCESS)
		rc = pam_set_item(pam, PAM_TTY, pam_tty);
	return rc;
}

/* A module may have put another user in place of the one that was asked. */
static int
same_user(pam_handle_t *pam, const char *user)
{
	const void *item = NULL;
	int rc = pam_get_item(pam, PAM_USER, &item);

	if (rc != PAM_SUCCESS)
		return rc;
	return item != NULL && strcmp(item, user) == 0 ? PAM_SUCCESS
						       : PAM_USER_UNKNOWN;
}

static enum helper_answer
answer_of(int rc)
{
	switch (rc) {
	case PAM_SUCCESS:
		return HELPER_YES;
	case PAM_OPEN_ERR:
	case PAM_SYMBOL_ERR:
	case PAM_SERVICE_ERR:
	case PAM_SYSTEM_ERR:
	case PAM_BUF_ERR:
	case PAM_AUTHINFO_UNAVAIL:
	case PAM_ABORT:
	case PAM_MODULE_UNKNOWN:
		return HELPER_TROUBLE;
	default:
		return HELPER_NO;
	}
}

static void
ask_pam(const struct check *check, struct outcome *out)
{
	struct conversation talk = { check->password };
	const struct pam_conv conv = { converse, &talk };
	pam_handle_t *pam = NULL;
	int rc = pam_start(check->service, check->user, &conv, &pam);

	if (rc == PAM_SUCCESS)
		rc = set_items(pam, check);
	if (rc == PAM_SUCCESS)
		rc = pam_authenticate(pam,
		    PAM_SILENT | PAM_DISALLOW_NULL_AUTHTOK);
	if (rc == PAM_SUCCESS)
		rc = pam_acct_mgmt(pam, PAM_SILENT | PAM_DISALLOW_NULL_AUTHTOK);
	if (rc == PAM_SUCCESS)
		rc = same_user(pam, check->user);
	out->answer = (uint8_t)answer_of(rc);
	snprintf(out->text, sizeof out->text, "PAM: %s",
	    rc == PAM_SUCCESS ? "yes" : pam_strerror(pam, rc));
	if (pam != NULL)
		pam_end(pam, rc);
}

/* Signals as at the start of a program, no descriptor but the pipe (as 3), a
 * process group of its own, and no life without the spawner. */
static void
settle_child(pid_t parent, int pipe_fd, uint32_t deadline_ms)
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
	if (pipe_fd != 3 && dup2(pipe_fd, 3) < 0)
		_exit(1);
	fcntl(3, F_SETFD, FD_CLOEXEC);
	close_range(4, ~0U, 0);
	null = open("/dev/null", O_RDWR);
	if (null < 0)
		_exit(1);
	dup2(null, 0);
	dup2(null, 1);
	dup2(null, 2);
	if (null > 3)
		close(null);
	alarm(deadline_ms / 1000 + 2);
}

static void __attribute__((noreturn))
run_child(struct check *check, pid_t parent, int pipe_fd)
{
	struct outcome out = { .answer = HELPER_TROUBLE };

	settle_child(parent, pipe_fd, check->deadline_ms);
	ask_pam(check, &out);
	explicit_bzero(check, sizeof *check);
	_exit(write(3, &out, sizeof out) == (ssize_t)sizeof out ? 0 : 1);
}

/* The spawner. */

static bool
watch_set(struct spawner *s, struct watch *watch, int fd)
{
	struct epoll_event event = { .events = EPOLLIN, .data.ptr = watch };

	if (epoll_ctl(s->epoll, EPOLL_CTL_ADD, fd, &event) < 0)
		return false;
	watch->fd = fd;
	return true;
}

static void
watch_close(struct watch *watch)
{
	if (watch->fd >= 0)
		close(watch->fd);
	watch->fd = -1;
}

static void
say_answer(struct spawner *s, uint64_t number, enum helper_answer answer,
    const char *text)
{
	unsigned char packet[512];
	struct wire_writer w;

	wire_writer_init(&w, packet, sizeof packet);
	wire_put_u8(&w, HELPER_ANSWER);
	wire_put_u64(&w, number);
	wire_put_u8(&w, (uint8_t)answer);
	wire_put_string(&w, text);
	/* Without room the attempt runs into auth's own deadline. */
	if (!w.failed && s->auth.fd >= 0)
		(void)channel_send(s->auth.fd, packet, w.len, -1);
}

static void
kill_attempt(struct attempt *a)
{
	/* The group, for what modules have started; the process itself, in
	 * case it had not come to make a group of its own. */
	kill(-a->pid, SIGKILL);
	kill(a->pid, SIGKILL);
}

/* Answer, once, and let go of the child; it is reaped when it has died. */
static void
finish(struct spawner *s, struct attempt *a, enum helper_answer answer,
    const char *text)
{
	if (!a->answered)
		say_answer(s, a->number, answer, text);
	a->answered = true;
	watch_close(&a->pipe);
	kill_attempt(a);
}

static void
pipe_ready(struct spawner *s, struct watch *watch)
{
	struct attempt *a = watch->attempt;
	struct outcome out;
	ssize_t got = read(watch->fd, &out, sizeof out);

	if (got < 0 && (errno == EINTR || errno == EAGAIN))
		return;
	if (got != (ssize_t)sizeof out || out.answer > HELPER_DEADLINE) {
		finish(s, a, HELPER_TROUBLE, "the helper crashed");
		return;
	}
	out.text[TEXT_SIZE - 1] = '\0';
	finish(s, a, (enum helper_answer)out.answer, out.text);
}

static void
process_ready(struct spawner *s, struct watch *watch)
{
	struct attempt *a = watch->attempt;

	/* Its answer may still be in the pipe. */
	if (a->pipe.fd >= 0)
		pipe_ready(s, &a->pipe);
	/* Its group is killed while nobody else can have got its number. */
	finish(s, a, HELPER_TROUBLE, "the helper crashed");
	if (waitpid(a->pid, NULL, WNOHANG) == 0)
		return;
	watch_close(&a->process);
	memset(a, 0, sizeof *a);
}

static bool
is_word(const char *word, const char *others)
{
	if (*word == '-' || *word == '.' || *word == '\0')
		return false;
	for (; *word != '\0'; word++)
		if (!(*word >= 'a' && *word <= 'z') &&
		    !(*word >= 'A' && *word <= 'Z') &&
		    !(*word >= '0' && *word <= '9') &&
		    strchr(others, *word) == NULL)
			return false;
	return true;
}

static bool
is_service(const struct spawner *s, const char *service)
{
	for (size_t i = 0; i < CONFIGS_MAX; i++)
		if (s->configs[i].config != NULL &&
		    strcmp(s->configs[i].config->pam_service, service) == 0)
			return is_word(service, "_-.");
	return false;
}

static bool
is_address(const char *text)
{
	unsigned char address[16];

	return inet_pton(AF_INET, text, address) == 1 ||
	       inet_pton(AF_INET6, text, address) == 1;
}

static bool
read_check(struct spawner *s, struct check *check, const unsigned char *packet,
    size_t len)
{
	struct wire_reader r;
	gnutls_datum_t password;

	wire_reader_init(&r, packet, len);
	if (wire_get_u8(&r) != HELPER_CHECK)
		return false;
	check->number = wire_get_u64(&r);
	if (!wire_get_string(&r, check->service, sizeof check->service) ||
	    !wire_get_string(&r, check->user, sizeof check->user))
		return false;
	password = wire_get_bytes(&r, PASSWORD_SIZE - 1);
	if (r.failed ||
	    !wire_get_string(&r, check->client, sizeof check->client))
		return false;
	check->deadline_ms = wire_get_u32(&r);
	if (!wire_reader_done(&r) || password.size == 0 ||
	    memchr(password.data, '\0', password.size) != NULL)
		return false;
	memcpy(check->password, password.data, password.size);
	check->password[password.size] = '\0';
	return check->deadline_ms > 0 &&
	       check->deadline_ms <= DEADLINE_MOST_MS &&
	       is_service(s, check->service) && is_address(check->client);
}

/* A free place; NULL if as many run as may. */
static struct attempt *
free_place(struct spawner *s)
{
	struct attempt *place = NULL;
	unsigned running = 0;

	for (size_t i = 0; i < HELPERS_MAX; i++)
		if (s->attempts[i].used)
			running++;
		else
			place = &s->attempts[i];
	return running < s->at_once ? place : NULL;
}

static bool
start_child(struct spawner *s, struct attempt *a, struct check *check)
{
	pid_t parent = getpid();
	int ends[2], process;

	if (pipe2(ends, O_CLOEXEC) < 0)
		return false;
	fcntl(ends[0], F_SETFL, O_NONBLOCK);
	a->pid = fork();
	if (a->pid == 0)
		run_child(check, parent, ends[1]);
	close(ends[1]);
	if (a->pid < 0) {
		close(ends[0]);
		return false;
	}
	a->used = true;
	a->answered = false;
	a->number = check->number;
	a->due_ms = now_ms() + check->deadline_ms;
	a->pipe = (struct watch){ -1, pipe_ready, a };
	a->process = (struct watch){ -1, process_ready, a };
	process = pidfd_open(a->pid, 0);
	if (process < 0 || !watch_set(s, &a->process, process) ||
	    !watch_set(s, &a->pipe, ends[0])) {
		kill_attempt(a);
		waitpid(a->pid, NULL, 0);
		watch_close(&a->process);
		close(ends[0]);
		memset(a, 0, sizeof *a);
		return false;
	}
	return true;
}

static void
begin_check(struct spawner *s, const unsigned char *packet, size_t len)
{
	struct check check = { 0 };
	struct attempt *place;

	if (!read_check(s, &check, packet, len)) {
		log_line(SAY_ALARM, "protocol", "peer=auth octets=%zu", len);
		say_answer(s, check.number, HELPER_TROUBLE, "broken request");
	} else if (!is_word(check.user, "_.+-")) {
		say_answer(s, check.number, HELPER_NO,
		    "not a name that PAM is asked for");
	} else if ((place = free_place(s)) == NULL) {
		log_line(SAY_WARNING, "helpers", "detail=\"all %u are busy\"",
		    s->at_once);
		say_answer(s, check.number, HELPER_TROUBLE,
		    "all helpers are busy");
	} else if (!start_child(s, place, &check)) {
		log_line(SAY_ERROR, "helpers", "error=%s",
		    strerrorname_np(errno));
		say_answer(s, check.number, HELPER_TROUBLE,
		    "no helper could be started");
	}
	explicit_bzero(&check, sizeof check);
}

static void
kill_all(struct spawner *s)
{
	for (size_t i = 0; i < HELPERS_MAX; i++)
		if (s->attempts[i].used)
			kill_attempt(&s->attempts[i]);
}

static void
auth_ready(struct spawner *s, struct watch *watch)
{
	static unsigned char packet[CHECK_PACKET_MAX];
	size_t len;

	switch (channel_recv(watch->fd, packet, sizeof packet, &len, NULL)) {
	case CHANNEL_DONE:
		begin_check(s, packet, len);
		explicit_bzero(packet, sizeof packet);
		return;
	case CHANNEL_WAIT:
		return;
	case CHANNEL_FAILED:
		/* What was in it may be for nobody else. */
		explicit_bzero(packet, sizeof packet);
		/* fall through */
	case CHANNEL_CLOSED:
		/* Nobody is left to hear an answer: the master starts us
		 * again together with auth. */
		kill_all(s);
		log_line(SAY_NOTE, "helpers", "detail=\"auth is gone\"");
		exit(0);
	}
}

static bool
helpers_prepare(void *self, uint32_t number, const struct bundle *bundle,
    struct reason *why)
{
	struct spawner *s = self;
	struct numbered *place = NULL;
	enum bundle_kind kind;
	const char *path;
	gnutls_datum_t text;
	size_t i = 0;

	for (size_t p = 0; p < CONFIGS_MAX; p++)
		if (s->configs[p].config == NULL)
			place = &s->configs[p];
	if (place == NULL)
		return fail(why, REASON_RANGE, "too many configurations");
	while (bundle_entry(bundle, i++, &kind, &path, &text))
		if (kind == BUNDLE_CONF) {
			place->number = number;
			return config_parse(&place->config, path,
			    (const char *)text.data, text.size, why);
		}
	return fail(why, REASON_PROTOCOL, "no sallyport.conf was sent");
}

static void
helpers_commit(void *self, uint32_t number)
{
	struct spawner *s = self;

	for (size_t i = 0; i < CONFIGS_MAX; i++)
		if (s->configs[i].config != NULL &&
		    s->configs[i].number == number) {
			s->at_once = s->configs[i].config->helpers;
			log_set_debug(s->configs[i].config->debug);
		}
}

static void
helpers_retire(void *self, uint32_t number)
{
	struct spawner *s = self;

	for (size_t i = 0; i < CONFIGS_MAX; i++)
		if (s->configs[i].config != NULL &&
		    s->configs[i].number == number) {
			config_free(s->configs[i].config);
			s->configs[i].config = NULL;
			role_say_unused(number);
		}
}

static void
helpers_peer(void *self, enum role peer, unsigned index, int fd)
{
	struct spawner *s = self;

	(void)index;
	if (peer != ROLE_AUTH) {
		close(fd);
		return;
	}
	/* Answers are for the auth that asked. */
	kill_all(s);
	for (size_t i = 0; i < HELPERS_MAX; i++)
		s->attempts[i].answered = true;
	watch_close(&s->auth);
	if (fcntl(fd, F_SETFL, O_NONBLOCK) < 0 || !watch_set(s, &s->auth, fd)) {
		log_line(SAY_ALARM, "epoll", "error=%s",
		    strerrorname_np(errno));
		close(fd);
	}
}

static void
helpers_stop(void *self, uint32_t ms)
{
	struct spawner *s = self;

	s->stopping = true;
	s->stop_ms = now_ms() + ms;
}

static unsigned
running(const struct spawner *s)
{
	unsigned n = 0;

	for (size_t i = 0; i < HELPERS_MAX; i++)
		n += s->attempts[i].used;
	return n;
}

static void
helpers_status(void *self, json_t *object)
{
	const struct spawner *s = self;

	json_object_set_new(object, "running", json_integer(running(s)));
	json_object_set_new(object, "most", json_integer(s->at_once));
}

static const struct role_handler handler = {
	.prepare = helpers_prepare,
	.commit = helpers_commit,
	.retire = helpers_retire,
	.peer = helpers_peer,
	.stop = helpers_stop,
	.status = helpers_status,
};

static void
master_ready(struct spawner *s, struct watch *watch)
{
	(void)watch;
	role_dispatch(&handler, s);
}

/* Milliseconds until something is due; -1: nothing is. */
static int
next_due(const struct spawner *s)
{
	int64_t due = s->stopping ? s->stop_ms : INT64_MAX;
	int64_t now = now_ms();

	for (size_t i = 0; i < HELPERS_MAX; i++)
		if (s->attempts[i].used && !s->attempts[i].answered &&
		    s->attempts[i].due_ms < due)
			due = s->attempts[i].due_ms;
	if (due == INT64_MAX)
		return -1;
	return due <= now ? 0 : (int)(due - now);
}

static void
act_on_time(struct spawner *s)
{
	int64_t now = now_ms();

	for (size_t i = 0; i < HELPERS_MAX; i++) {
		struct attempt *a = &s->attempts[i];

		if (a->used && !a->answered && a->due_ms <= now)
			finish(s, a, HELPER_DEADLINE,
			    "the helper's deadline has passed");
	}
	if (s->stopping && (running(s) == 0 || s->stop_ms <= now)) {
		kill_all(s);
		role_say_stopped();
		exit(0);
	}
}

int
helpers_main(void)
{
	static struct spawner s;

	role_start(&s.info);
	signal(SIGPIPE, SIG_IGN);
	s.master = (struct watch){ -1, master_ready, NULL };
	s.auth = (struct watch){ -1, auth_ready, NULL };
	s.epoll = epoll_create1(EPOLL_CLOEXEC);
	if (s.epoll < 0 || !watch_set(&s, &s.master, ROLE_MASTER_FD)) {
		log_line(SAY_ALARM, "start", "error=%s",
		    strerrorname_np(errno));
		exit(1);
	}
	for (;;) {
		struct epoll_event event;
		struct watch *watch;
		int n;

		/* One at a time: what it does may end other watches. */
		n = epoll_wait(s.epoll, &event, 1, next_due(&s));
		if (n < 0 && errno != EINTR) {
			log_line(SAY_ALARM, "epoll", "error=%s",
			    strerrorname_np(errno));
			exit(1);
		}
		if (n == 1) {
			watch = event.data.ptr;
			watch->ready(&s, watch);
		}
		act_on_time(&s);
	}
}
