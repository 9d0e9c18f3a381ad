/*
 * tools/acme_hook.c: what ACME clients call to answer a challenge, as a
 * program of its own name: each has its way of calling, and we one of
 * answering.
 *
 * uacme gives METHOD TYPE IDENTIFIER TOKEN AUTHORIZATION (for dns-01 that is
 * the record's text already); certbot, told so by us, present or cleanup, and
 * the rest in its environment.  lego needs none of this: it writes files and
 * calls the program of --dns-hook by itself.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../pki/name.h"
#include "acme.h"
#include "tool.h"

enum {
	TOKEN_MAX = 128, /* octets; RFC 8555, section 8.3, has 22 or more */
	TEXT_MAX = 512,
};

static bool
is_base64url(const char *text, size_t most, const char *besides)
{
	size_t len = strlen(text);

	for (size_t i = 0; i < len; i++) {
		char c = text[i];

		if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
			(c >= '0' && c <= '9') || c == '-' || c == '_' ||
			strchr(besides, c) != NULL))
			return false;
	}
	return len > 0 && len <= most;
}

static int
hook_status(bool ok, const struct reason *why)
{
	if (!ok)
		fprintf(stderr, "%s: %s\n", ACME_HOOK_NAME, why->text);
	return ok ? TOOL_DONE : TOOL_NO;
}

/* --- files of a web server ------------------------------------------------
 */

/* Its user is another one: the umask is not asked. */
static bool
make_folder(const char *path, struct reason *why)
{
	if (mkdir(path, 0755) == 0)
		return chmod(path, 0755) == 0 || fail_errno(why, "%s", path);
	return errno == EEXIST || fail_errno(why, "%s", path);
}

static bool
put_file(const char *path, const char *text, struct reason *why)
{
	size_t len = strlen(text);
	bool ok;
	int fd;

	unlink(path); /* of a run that was cut short */
	fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC,
	    0644);
	if (fd < 0)
		return fail_errno(why, "%s", path);
	ok = (write(fd, text, len) == (ssize_t)len && fchmod(fd, 0644) == 0) ||
	     fail_errno(why, "%s", path);
	close(fd);
	return ok;
}

static bool
web_file(const char *root, bool present, const char *token, const char *text,
    struct reason *why)
{
	static const char *const folders[] = { "/.well-known",
		"/.well-known/acme-challenge" };
	char path[PATH_MAX];
	int n;

	if (!is_base64url(token, TOKEN_MAX, ""))
		return fail(why, REASON_SYNTAX, "a token that is none");
	if (strlen(root) > PATH_MAX - TOKEN_MAX - 64)
		return fail(why, REASON_RANGE, "--webroot: path too long");
	for (size_t i = 0; present && i < 2; i++) {
		snprintf(path, sizeof(path), "%.*s%s",
		    PATH_MAX - TOKEN_MAX - 64, root, folders[i]);
		if (!make_folder(path, why))
			return false;
	}
	n = snprintf(path, sizeof(path), "%s%s/%s", root, folders[1], token);
	if (n < 0 || (size_t)n >= sizeof(path))
		return fail(why, REASON_RANGE, "--webroot: path too long");
	if (present)
		return put_file(path, text, why);
	return unlink(path) == 0 || fail_errno(why, "%s", path);
}

/* --- records ------------------------------------------------------------- */

/* PROGRAM present|cleanup _acme-challenge.NAME. TEXT; only comes back if that
 * cannot be run. */
static bool
call_program(const char *program, bool present, const char *name,
    const char *text, struct reason *why)
{
	char record[300];
	const char *argv[] = { program, present ? "present" : "cleanup", record,
		text, NULL };

	if (strncmp(name, "*.", 2) == 0)
		name += 2;
	if (pki_name_kind(name, NULL, NULL) != PKI_NAME_DNS ||
	    !is_base64url(text, TEXT_MAX, ""))
		return fail(why, REASON_SYNTAX, "a name or text that is none");
	snprintf(record, sizeof(record), "_acme-challenge.%s.", name);
	execv(program, (char *const *)(uintptr_t)argv);
	return fail_errno(why, "%s", program);
}

/* --- clients ------------------------------------------------------------- */

/* A challenge that is not of the way asked for is declined. */
static bool
for_uacme(char **argv, struct reason *why)
{
	const char *root = getenv(ACME_ENV_WEBROOT);
	const char *program = getenv(ACME_ENV_PROGRAM);
	bool present = strcmp(argv[1], "begin") == 0;

	if (root != NULL && strcmp(argv[2], "http-01") == 0) {
		if (!is_base64url(argv[5], TEXT_MAX, "."))
			return fail(why, REASON_SYNTAX,
			    "a key authorization that is none");
		return web_file(root, present, argv[4], argv[5], why);
	}
	if (program != NULL && strcmp(argv[2], "dns-01") == 0)
		return call_program(program, present, argv[3], argv[5], why);
	return fail(why, REASON_ABSENT, "%.40s is not offered", argv[2]);
}

static bool
for_certbot(char **argv, struct reason *why)
{
	const char *program = getenv(ACME_ENV_PROGRAM);
	const char *name = getenv("CERTBOT_DOMAIN");
	const char *text = getenv("CERTBOT_VALIDATION");

	if (program == NULL || name == NULL || text == NULL)
		return fail(why, REASON_ABSENT,
		    "expected to be certbot's hook");
	return call_program(program, strcmp(argv[1], "present") == 0, name,
	    text, why);
}

int
acme_hook(int argc, char **argv)
{
	struct reason why;

	if (argc == 6)
		return hook_status(for_uacme(argv, &why), &why);
	if (argc == 2)
		return hook_status(for_certbot(argv, &why), &why);
	fprintf(stderr, "%s: is run by ACME clients\n", ACME_HOOK_NAME);
	return TOOL_USAGE;
}
