/*
 * t/root/confined.c: what the session role can still do once confined.
 *
 *     confined USER ROOT-FOLDER
 *
 * Confines itself as the session role does, holding a listener and an
 * accepted socket made before, as an attacker inside it would find them; then
 * tries every known way to a connection of its own.  A process outside holds
 * the target and says whether anybody came.  TAP on stdout.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../../server/confine.h"

static int test_number;

static void
ok(bool good, const char *name)
{
	printf("%sok %d - %s\n", good ? "" : "not ", ++test_number, name);
}

static struct sockaddr_in
loopback(in_port_t port)
{
	return (struct sockaddr_in){ .sin_family = AF_INET,
		.sin_port = port,
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
}

static int
listener_new(struct sockaddr_in *address_out)
{
	socklen_t len = sizeof(*address_out);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	*address_out = loopback(0);
	if (fd < 0 ||
	    bind(fd, (struct sockaddr *)address_out, sizeof(*address_out)) !=
		0 ||
	    listen(fd, 16) != 0 ||
	    getsockname(fd, (struct sockaddr *)address_out, &len) != 0) {
		perror("listener");
		exit(2);
	}
	return fd;
}

static int
connect_to(const struct sockaddr_in *address)
{
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd < 0 || connect(fd, (const struct sockaddr *)address,
			  sizeof(*address)) != 0) {
		perror("connect");
		exit(2);
	}
	return fd;
}

static bool
connects(int fd, const struct sockaddr_in *target)
{
	return connect(fd, (const struct sockaddr *)target, sizeof(*target)) ==
	       0;
}

/* Undo what the socket was before, which may itself be refused. */
static void
forget_peer(int fd)
{
	struct sockaddr unspecified = { .sa_family = AF_UNSPEC };

	connect(fd, &unspecified, sizeof(unspecified));
}

static bool
fast_open_sendto(int fd, const struct sockaddr_in *target)
{
	return sendto(fd, "x", 1, MSG_FASTOPEN | MSG_NOSIGNAL,
		   (const struct sockaddr *)target, sizeof(*target)) >= 0;
}

static struct msghdr
message_to(const struct sockaddr_in *target, struct iovec *octets)
{
	return (struct msghdr){ .msg_name = (void *)(uintptr_t)target,
		.msg_namelen = sizeof(*target),
		.msg_iov = octets,
		.msg_iovlen = 1 };
}

static bool
fast_open_sendmsg(int fd, const struct sockaddr_in *target)
{
	char octet = 'x';
	struct iovec octets = { &octet, 1 };
	struct msghdr message = message_to(target, &octets);

	return sendmsg(fd, &message, MSG_FASTOPEN | MSG_NOSIGNAL) >= 0;
}

static bool
fast_open_sendmmsg(int fd, const struct sockaddr_in *target)
{
	char octet = 'x';
	struct iovec octets = { &octet, 1 };
	struct mmsghdr messages = { .msg_hdr = message_to(target, &octets) };

	return sendmmsg(fd, &messages, 1, MSG_FASTOPEN | MSG_NOSIGNAL) > 0;
}

static bool
any_fast_open(int fd, const struct sockaddr_in *target)
{
	return fast_open_sendto(fd, target) || fast_open_sendmsg(fd, target) ||
	       fast_open_sendmmsg(fd, target);
}

static void
try_new_socket(const struct sockaddr_in *target)
{
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	int udp = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	ok(fd < 0 || !connects(fd, target), "a new socket does not connect");
	ok(fd < 0 || !any_fast_open(fd, target),
	    "nor with MSG_FASTOPEN in any send call");
	ok(udp < 0 || sendto(udp, "x", 1, 0, (const struct sockaddr *)target,
			  sizeof(*target)) < 0,
	    "no datagram leaves");
	ok(syscall(SYS_io_uring_setup, 1, NULL) < 0 && errno != EFAULT,
	    "io_uring is denied");
}

static void
try_accepted(int fd, const struct sockaddr_in *target)
{
	ok(!connects(fd, target), "an accepted socket does not connect");
	forget_peer(fd);
	ok(!connects(fd, target), "nor after connect(AF_UNSPEC)");
	ok(!any_fast_open(fd, target), "nor with MSG_FASTOPEN");
	shutdown(fd, SHUT_RDWR);
	forget_peer(fd);
	ok(!connects(fd, target) && !any_fast_open(fd, target),
	    "nor after shutdown");
}

static void
try_listener(int fd, const struct sockaddr_in *target)
{
	ok(!connects(fd, target), "the listener does not connect");
	forget_peer(fd);
	ok(!connects(fd, target), "nor after connect(AF_UNSPEC)");
	ok(!any_fast_open(fd, target), "nor with MSG_FASTOPEN");
	shutdown(fd, SHUT_RDWR);
	ok(!connects(fd, target), "nor after shutdown");
	ok(!any_fast_open(fd, target), "nor with MSG_FASTOPEN after shutdown");
}

static bool
status_says(const char *line)
{
	char text[8192];
	FILE *file = fopen("/proc/self/status", "re");
	size_t len;

	if (file == NULL)
		return false;
	len = fread(text, 1, sizeof(text) - 1, file);
	text[len] = '\0';
	fclose(file);
	return strstr(text, line) != NULL;
}

/* The confined process: accept works, nothing else does. */
static void
run_inside(const struct confinement *c, int listener, int accepted,
    const struct sockaddr_in *target, int outside)
{
	struct reason why;
	bool confined = false;
	char octet;
	int fd;

	ok(confine(c, &confined, &why) && confined, "it confines itself");
	if (!confined) {
		printf("# %s\n", why.text);
		return;
	}
	ok(getuid() != 0 && geteuid() != 0, "it is not root");
	ok(setresuid(0, 0, 0) != 0, "and cannot become root");
	ok(prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 1, "no_new_privs is set");
	ok(prctl(PR_GET_DUMPABLE, 0, 0, 0, 0) == 0, "it is not dumpable");
	ok(!status_says("Name:"), "/proc is out of sight");
	ok(write(outside, "c", 1) == 1, "asks somebody to connect");
	fd = accept(listener, NULL, NULL);
	ok(fd >= 0, "it accepts");
	ok(fd >= 0 && recv(fd, &octet, 1, 0) == 1 && octet == 'h',
	    "and is spoken to");
	ok(fd >= 0 && send(fd, "y", 1, MSG_NOSIGNAL) == 1, "and answers");
	try_new_socket(target);
	try_accepted(fd, target);
	try_accepted(accepted, target);
	try_listener(listener, target);
}

static void
wait_and_connect(int inside, const struct sockaddr_in *listener)
{
	char octet;
	int fd;

	if (read(inside, &octet, 1) != 1)
		return;
	fd = connect_to(listener);
	if (send(fd, "h", 1, MSG_NOSIGNAL) == 1)
		(void)!recv(fd, &octet, 1, 0);
	/* Keep it open until the process inside has ended. */
	(void)!read(inside, &octet, 1);
	close(fd);
}

int
main(int argc, char **argv)
{
	struct sockaddr_in listening, target;
	struct confinement c = { .role = ROLE_SESSION,
		.no_network = true,
		.no_connect = true };
	struct pollfd came = { .events = POLLIN };
	int listener, early, accepted, pair[2], status;
	pid_t pid;

	if (argc != 3) {
		fprintf(stderr, "usage: confined USER ROOT-FOLDER\n");
		return 2;
	}
	c.user = argv[1];
	c.root = argv[2];
	setvbuf(stdout, NULL, _IONBF, 0);
	listener = listener_new(&listening);
	came.fd = listener_new(&target);
	early = connect_to(&listening);
	accepted = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
	if (accepted < 0 ||
	    socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) != 0) {
		perror("set-up");
		return 2;
	}
	pid = fork();
	if (pid == 0) {
		close(pair[1]);
		close(came.fd);
		close(early);
		run_inside(&c, listener, accepted, &target, pair[0]);
		printf("# %d inside\n", test_number);
		_exit(test_number);
	}
	close(pair[0]);
	wait_and_connect(pair[1], &listening);
	waitpid(pid, &status, 0);
	test_number = WEXITSTATUS(status);
	ok(WIFEXITED(status) && test_number > 10, "it came to its end");
	ok(poll(&came, 1, 200) == 0, "nobody came to the target");
	printf("1..%d\n", test_number);
	return 0;
}
