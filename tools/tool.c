/*
 * tools/tool.c: what the subcommands of sallyport(8) share.
 */
#include "tool.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <termios.h>
#include <unistd.h>

const char *tool_config_path = "/etc/sallyport/sallyport.conf";

bool
tool_config(struct config **out, struct reason *why)
{
	return config_load(out, tool_config_path, why);
}

/* Does text begin with "file:line:"? */
static bool
has_place(const char *text)
{
	const char *p = strchr(text, ':');

	if (p == NULL || p == text)
		return false;
	p++;
	return *p >= '0' && *p <= '9' && p[strspn(p, "0123456789")] == ':';
}

void
tool_error(const struct reason *why)
{
	fprintf(stderr, "%s%s\n",
	    has_place(why->text) ? "" : "sallyport: ", why->text);
}

/* A signal that came at a prompt: it ends us once the terminal has its echo
 * again. */
static volatile sig_atomic_t caught;

static void
catch_signal(int signo)
{
	caught = signo;
}

/* One line from fd, octet by octet: what follows it is not ours to read. */
static bool
read_line(int fd, char *out, size_t cap, struct reason *why)
{
	size_t len = 0;
	ssize_t got;
	char c;

	for (;;) {
		got = read(fd, &c, 1);
		if (got < 0 && errno == EINTR && caught == 0)
			continue;
		if (got < 0)
			return fail_errno(why, "reading the password");
		if (got == 0 || c == '\n')
			break;
		if (c == '\0')
			return fail(why, REASON_SYNTAX,
			    "password holds a NUL octet, expected text");
		if (len + 1 >= cap)
			return fail(why, REASON_RANGE,
			    "password too long, expected at most %zu octets",
			    cap - 1);
		out[len++] = c;
	}
	if (len > 0 && out[len - 1] == '\r')
		len--;
	out[len] = '\0';
	if (len == 0)
		return fail(why, REASON_SYNTAX, "empty password");
	return true;
}

static bool
ask(int tty, const char *prompt, char *out, size_t cap, struct reason *why)
{
	static const int signals[] = { SIGHUP, SIGINT, SIGQUIT, SIGTERM };
	enum { SIGNALS = sizeof(signals) / sizeof(*signals) };
	struct sigaction catch = { .sa_handler = catch_signal };
	struct sigaction before[SIGNALS];
	struct termios echo, silent;
	bool ok;

	if (tcgetattr(tty, &echo) != 0)
		return fail_errno(why, "/dev/tty");
	caught = 0;
	for (int i = 0; i < SIGNALS; i++)
		sigaction(signals[i], &catch, &before[i]);
	silent = echo;
	silent.c_lflag &= ~(tcflag_t)ECHO;
	tcsetattr(tty, TCSAFLUSH, &silent); /* who sees the prompt may type */
	dprintf(tty, "%s", prompt);
	ok = read_line(tty, out, cap, why);
	tcsetattr(tty, TCSAFLUSH, &echo);
	dprintf(tty, "\n");
	for (int i = 0; i < SIGNALS; i++)
		sigaction(signals[i], &before[i], NULL);
	if (caught != 0)
		raise(caught);
	return ok;
}

static bool
ask_twice(int tty, const char *prompt, char *out, size_t cap,
    struct reason *why)
{
	char again[1024];
	bool ok;

	if (!ask(tty, prompt, out, cap, why))
		return false;
	ok = ask(tty, "Again: ", again, sizeof(again), why);
	if (ok && strcmp(out, again) != 0)
		ok = fail(why, REASON_SYNTAX, "the two passwords differ");
	explicit_bzero(again, sizeof(again));
	return ok;
}

bool
tool_secret(const char *prompt, bool from_stdin, bool twice, char *out,
    size_t cap, struct reason *why)
{
	bool ok;
	int tty;

	if (from_stdin) {
		ok = read_line(STDIN_FILENO, out, cap, why);
	} else {
		tty = open("/dev/tty", O_RDWR | O_CLOEXEC | O_NOCTTY);
		if (tty < 0)
			return fail(why, REASON_ABSENT,
			    "no terminal to ask for the password, expected "
			    "--password-stdin");
		ok = twice ? ask_twice(tty, prompt, out, cap, why)
			   : ask(tty, prompt, out, cap, why);
		close(tty);
	}
	if (!ok)
		explicit_bzero(out, cap);
	return ok;
}

bool
tool_passphrase(void *context, const char *what, bool fresh,
    char out[static PKI_PASSPHRASE_SIZE], struct reason *why)
{
	const bool *from_stdin = context;
	char prompt[PATH_MAX + 64];

	snprintf(prompt, sizeof(prompt), "Passphrase of %s: ", what);
	return tool_secret(prompt, from_stdin != NULL && *from_stdin, fresh,
	    out, PKI_PASSPHRASE_SIZE, why);
}

bool
tool_port(const char *text, uint16_t *out)
{
	char *end;
	unsigned long port;

	if (*text < '0' || *text > '9')
		return false;
	port = strtoul(text, &end, 10);
	if (*end != '\0' || port == 0 || port > 65535)
		return false;
	*out = (uint16_t)port;
	return true;
}
