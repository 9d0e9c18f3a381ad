/*
 * t/unit/confine.c: what a confined process can still do.  Each case runs in
 * a child, which reports by its exit status.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../../server/confine.h"

#include <cmocka.h> /* last: it has a macro named fail */

/* In the child: anything but true ends it with this line's number. */
#define MUST(what)                                                             \
	do {                                                                   \
		if (!(what))                                                   \
			_exit(__LINE__ % 255 + 1);                             \
	} while (0)

static int
in_child(void (*run)(void))
{
	int status;
	pid_t pid = fork();

	if (pid == 0) {
		run();
		_exit(0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	return WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + status;
}

static void
run_unprivileged(void)
{
	struct confinement c = { .role = ROLE_SESSION,
		.user = "nobody",
		.root = "/",
		.no_network = true,
		.no_connect = true };
	struct reason why;
	bool confined = true;

	if (geteuid() == 0)
		MUST(setresuid(65534, 65534, 65534) == 0);
	MUST(confine(&c, &confined, &why));
	MUST(!confined);
	MUST(prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 1);
	MUST(prctl(PR_GET_DUMPABLE, 0, 0, 0, 0) == 0);
}

/* skip() prints "not ok", which prove takes for a failure. */
static bool
needs_root(void)
{
	if (geteuid() == 0)
		return false;
	print_message("# not tried: needs root\n");
	return true;
}

static void
without_root_it_says_so(void **state)
{
	(void)state;
	assert_int_equal(in_child(run_unprivileged), 0);
}

static void
run_unknown_user(void)
{
	struct confinement c = { .role = ROLE_SESSION,
		.user = "no-such-user",
		.best = true };
	struct reason why;
	bool confined;

	MUST(!confine(&c, &confined, &why));
	MUST(why.code == REASON_ABSENT);
	MUST(strstr(why.text, "no-such-user") != NULL);
}

static void
a_missing_user_is_named(void **state)
{
	(void)state;
	if (needs_root())
		return;
	assert_int_equal(in_child(run_unknown_user), 0);
}

/* A listener on loopback, and a client's connection to it. */
static int
make_listener(struct sockaddr_in *in)
{
	socklen_t len = sizeof(*in);
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	memset(in, 0, sizeof(*in));
	in->sin_family = AF_INET;
	in->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	MUST(bind(fd, (struct sockaddr *)in, sizeof(*in)) == 0);
	MUST(listen(fd, 5) == 0);
	MUST(getsockname(fd, (struct sockaddr *)in, &len) == 0);
	return fd;
}

static void
check_sends(int fd, struct sockaddr_in *in)
{
	struct iovec iov = { (char[]){ "x" }, 1 };
	struct mmsghdr m = { .msg_hdr = { .msg_name = in,
				 .msg_namelen = sizeof(*in),
				 .msg_iov = &iov,
				 .msg_iovlen = 1 } };

	MUST(sendto(fd, "x", 1, MSG_FASTOPEN, (struct sockaddr *)in,
		 sizeof(*in)) < 0 &&
	     errno == EACCES);
	MUST(sendto(fd, "x", 1, MSG_FASTOPEN | MSG_NOSIGNAL,
		 (struct sockaddr *)in, sizeof(*in)) < 0 &&
	     errno == EACCES);
	MUST(sendmsg(fd, &m.msg_hdr, MSG_FASTOPEN) < 0 && errno == EACCES);
	MUST(sendmmsg(fd, &m, 1, MSG_FASTOPEN) < 0 && errno == EACCES);
}

static void
run_confined(void)
{
	struct confinement c = { .role = ROLE_SESSION,
		.user = "nobody",
		.root = "/proc",
		.no_network = true,
		.no_connect = true };
	struct sockaddr unspec = { .sa_family = AF_UNSPEC };
	struct reason why = { .code = REASON_NONE };
	struct sockaddr_in in;
	int listener = make_listener(&in), client, accepted, fresh;
	bool confined;

	client = socket(AF_INET, SOCK_STREAM, 0);
	MUST(connect(client, (struct sockaddr *)&in, sizeof(in)) == 0);
	MUST(confine(&c, &confined, &why));
	MUST(confined && why.code == REASON_NONE);
	MUST(getuid() == 65534 && geteuid() == 65534 && getgid() == 65534);
	MUST(getgroups(0, NULL) == 0);
	MUST(setuid(0) != 0);
	MUST(access("/self/status", F_OK) == 0 && access("/etc", F_OK) != 0);

	accepted = accept(listener, NULL, NULL);
	MUST(accepted >= 0);
	MUST(send(accepted, "220", 3, MSG_NOSIGNAL) == 3);
	fresh = socket(AF_INET, SOCK_STREAM, 0);
	MUST(connect(fresh, (struct sockaddr *)&in, sizeof(in)) < 0 &&
	     errno == EACCES);
	check_sends(fresh, &in);
	MUST(connect(accepted, &unspec, sizeof(unspec)) < 0 && errno == EACCES);
	MUST(shutdown(listener, SHUT_RDWR) == 0);
	MUST(connect(listener, (struct sockaddr *)&in, sizeof(in)) < 0 &&
	     errno == EACCES);
	check_sends(listener, &in);
	MUST(syscall(SYS_io_uring_setup, 1, NULL) < 0 && errno == EACCES);
}

static void
confined_it_accepts_and_cannot_connect(void **state)
{
	(void)state;
	if (needs_root())
		return;
	assert_int_equal(in_child(run_confined), 0);
}

static void
run_refused(void)
{
	struct confinement c = { .role = ROLE_SESSION,
		.user = "nobody",
		.root = "/no/such/folder" };
	struct reason why;
	bool confined;

	MUST(!confine(&c, &confined, &why));
	MUST(strstr(why.text, "/no/such/folder") != NULL);
	MUST(getuid() == 0);
	c.best = true;
	MUST(confine(&c, &confined, &why));
	MUST(!confined && why.code != REASON_NONE);
	MUST(getuid() == 65534); /* root is given up all the same */
}

static void
a_refused_step_stops_unless_best(void **state)
{
	(void)state;
	if (needs_root())
		return;
	assert_int_equal(in_child(run_refused), 0);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(without_root_it_says_so),
		cmocka_unit_test(a_missing_user_is_named),
		cmocka_unit_test(confined_it_accepts_and_cannot_connect),
		cmocka_unit_test(a_refused_step_stops_unless_best),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
