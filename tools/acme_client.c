/*
 * tools/acme_client.c: the packaged ACME clients that "cert acme" drives, what
 * each can do, and how it is asked.
 *
 * Paths given to them are relative to the run's folder where they are ours:
 * certbot hands its hooks to a shell.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <gnutls/crypto.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../pki/file.h"
#include "../policy/hex.h"
#include "acme.h"
#include "cert.h"

enum { WORDS_MAX = 40, ENVIRONMENT_MAX = 8 };

#define REQUEST "request.csr" /* in the run's folder */
#define HOOK "./" ACME_HOOK_NAME

/* One run of a client. */
struct task {
	const struct acme_order *order;
	const struct acme_folder *folder;
	const char *argv[WORDS_MAX + 1];
	size_t count;
	const char *environment[2 * ENVIRONMENT_MAX + 1];
	size_t variables;
};

static void
add(struct task *task, const char *word)
{
	if (task->count < WORDS_MAX)
		task->argv[task->count++] = word;
}

static void
add_two(struct task *task, const char *option, const char *value)
{
	add(task, option);
	add(task, value);
}

static void
set(struct task *task, const char *name, const char *value)
{
	task->environment[task->variables++] = name;
	task->environment[task->variables++] = value;
}

static bool
run(struct task *task, struct reason *why)
{
	char log[PATH_MAX];
	const struct acme_run how = { task->argv, task->environment,
		task->folder->run, log, task->folder->timeout_s };

	task->argv[task->count] = NULL;
	task->environment[task->variables] = NULL;
	return cert_path(log, task->folder->path, "/log", why) &&
	       acme_run(&how, why);
}

/* Read a file of the run's folder, or of one beside it. */
static bool
read_answer(const struct task *task, const char *name, gnutls_datum_t *out,
    struct reason *why)
{
	char path[PATH_MAX];

	return cert_path(path, task->folder->run, name, why) &&
	       pki_file_read(path, false, out, why);
}

/* --- folders ------------------------------------------------------------- */

/* The files in it; a client makes no folders there. */
static bool
empty_folder(const char *path, struct reason *why)
{
	DIR *dir = opendir(path);
	struct dirent *entry;
	bool ok = true;

	if (dir == NULL)
		return errno == ENOENT || fail_errno(why, "%s", path);
	while (ok && (entry = readdir(dir)) != NULL) {
		if (strcmp(entry->d_name, ".") == 0 ||
		    strcmp(entry->d_name, "..") == 0)
			continue;
		ok = unlinkat(dirfd(dir), entry->d_name, 0) == 0 ||
		     fail_errno(why, "%s/%.100s", path, entry->d_name);
	}
	closedir(dir);
	return ok;
}

/* Accounts' keys are in it. */
static bool
make_folder(const char *path, struct reason *why)
{
	struct stat st;

	if (mkdir(path, 0700) != 0 && errno != EEXIST)
		return fail_errno(why, "%s", path);
	if (lstat(path, &st) != 0)
		return fail_errno(why, "%s", path);
	if (!S_ISDIR(st.st_mode) || st.st_uid != geteuid() ||
	    (st.st_mode & 077) != 0)
		return fail(why, REASON_PERMISSION,
		    "%s: expected a folder that is nobody else's (mode 0700)",
		    path);
	return true;
}

static bool
lock(struct acme_folder *folder, struct reason *why)
{
	char path[PATH_MAX];

	if (!cert_path(path, folder->path, "/lock", why))
		return false;
	folder->lock =
	    open(path, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (folder->lock < 0)
		return fail_errno(why, "%s", path);
	if (flock(folder->lock, LOCK_EX | LOCK_NB) == 0)
		return true;
	fprintf(stderr, "sallyport: %s: waiting for another run\n", path);
	while (flock(folder->lock, LOCK_EX) != 0)
		if (errno != EINTR)
			return fail_errno(why, "%s", path);
	return true;
}

bool
acme_folder_open(struct acme_folder *folder, const char *prefix,
    struct reason *why)
{
	const char *slash = strrchr(prefix, '/');
	char beside[PATH_MAX];

	folder->lock = -1;
	if (!cert_path(beside, prefix, "", why))
		return false;
	beside[slash == NULL ? 0 : slash - prefix + 1] = '\0';
	if (!cert_path(folder->path, beside, "acme", why) ||
	    !cert_path(folder->run, folder->path, "/run", why))
		return false;
	if (make_folder(folder->path, why) && lock(folder, why) &&
	    make_folder(folder->run, why) && empty_folder(folder->run, why))
		return true;
	acme_folder_close(folder);
	return false;
}

void
acme_folder_close(struct acme_folder *folder)
{
	if (folder->lock < 0)
		return;
	empty_folder(folder->run, NULL);
	close(folder->lock);
	folder->lock = -1;
}

/* --- uacme ---------------------------------------------------------------
 */

enum { UACME_SIZE = 64 };

/* It keeps one account in a folder: one for each directory. */
static bool
uacme_folder(char out[static UACME_SIZE], const char *directory,
    struct reason *why)
{
	unsigned char digest[32];
	char hex[2 * sizeof(digest) + 1];

	if (gnutls_hash_fast(GNUTLS_DIG_SHA256, directory, strlen(directory),
		digest) < 0)
		return fail(why, REASON_INTERNAL, "SHA-256");
	hex_print(hex, digest, sizeof(digest));
	snprintf(out, UACME_SIZE, "../uacme-%.16s", hex);
	return true;
}

static void
uacme_begin(struct task *task, const char *folder)
{
	task->count = 0;
	add(task, "uacme");
	add_two(task, "-c", folder);
	add_two(task, "-a", task->order->directory);
	add(task, "-y");
}

/*
 * An account has to be made before the first request, and making it again is
 * an error.  That it is there says a file of ours, which goes away if anything
 * fails: the server may have forgotten it.
 */
static bool
uacme(struct task *task, gnutls_datum_t *pem_out, struct reason *why)
{
	char folder[UACME_SIZE], file[UACME_SIZE + 16], mark[PATH_MAX];
	bool ok;
	int fd;

	if (!uacme_folder(folder, task->order->directory, why))
		return false;
	snprintf(file, sizeof(file), "/%s.account", folder);
	if (!cert_path(mark, task->folder->run, file, why))
		return false;
	if (access(mark, F_OK) != 0) {
		uacme_begin(task, folder);
		add(task, "new");
		if (task->order->email != NULL)
			add(task, task->order->email);
		run(task, why); /* what comes next tells whether that matters */
	}
	uacme_begin(task, folder);
	add_two(task, "-h", HOOK);
	add_two(task, "issue", REQUEST);
	ok = run(task, why);
	if (!ok) {
		unlink(mark);
		return false;
	}
	fd = open(mark, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	if (fd >= 0)
		close(fd);
	return read_answer(task, "/request-cert.pem", pem_out, why);
}

/* --- lego ----------------------------------------------------------------
 */

/* It names its file as it thinks best, and its issuer's beside it. */
static bool
lego_answer(const struct task *task, const char *folder,
    gnutls_datum_t *pem_out, struct reason *why)
{
	static const char end[] = ".crt", issuer[] = ".issuer.crt";
	char name[NAME_MAX + 32] = "";
	DIR *dir = opendir(folder);
	struct dirent *entry;

	while (dir != NULL && (entry = readdir(dir)) != NULL) {
		size_t len = strlen(entry->d_name);

		if (len >= sizeof(end) &&
		    strcmp(entry->d_name + len - strlen(end), end) == 0 &&
		    (len < sizeof(issuer) ||
			strcmp(entry->d_name + len - strlen(issuer), issuer) !=
			    0))
			snprintf(name, sizeof(name), "/../lego/certificates/%s",
			    entry->d_name);
	}
	if (dir != NULL)
		closedir(dir);
	if (name[0] == '\0')
		return fail(why, REASON_ABSENT, "lego: no certificate in %s",
		    folder);
	return read_answer(task, name, pem_out, why);
}

static bool
lego(struct task *task, gnutls_datum_t *pem_out, struct reason *why)
{
	const struct acme_order *order = task->order;
	char folder[PATH_MAX], listener[128];
	bool ok;

	if (!cert_path(folder, task->folder->path, "/lego/certificates", why))
		return false;
	add(task, "lego");
	add(task, "--accept-tos");
	add_two(task, "--email", order->email);
	add_two(task, "--server", order->directory);
	add_two(task, "--path", "../lego");
	add_two(task, "--csr", REQUEST);
	switch (order->way) {
	case ACME_HTTP:
		snprintf(listener, sizeof(listener), "%s%s",
		    strchr(order->where, ':') == NULL ? ":" : "", order->where);
		add(task, "--http");
		add_two(task, "--http.port", listener);
		break;
	case ACME_WEBROOT:
		add(task, "--http");
		add_two(task, "--http.webroot", order->where);
		break;
	default:
		/* The program comes back when the record can be seen. */
		add_two(task, "--dns", "exec");
		add(task, "--dns.disable-cp");
		set(task, "EXEC_PATH", order->where);
		set(task, "EXEC_SEQUENCE_INTERVAL", "1"); /* not a minute */
		break;
	}
	add(task, "run");
	ok = empty_folder(folder, why) && run(task, why) &&
	     lego_answer(task, folder, pem_out, why);
	return empty_folder(folder, ok ? why : NULL) && ok;
}

/* --- certbot -------------------------------------------------------------
 */

static void
certbot_listener(struct task *task, const char *where, char address[static 64])
{
	const char *colon = strrchr(where, ':');

	add(task, "--standalone");
	add_two(task, "--http-01-port", colon == NULL ? where : colon + 1);
	if (colon == NULL)
		return;
	if (where[0] == '[')
		snprintf(address, 64, "%.*s", (int)(colon - where) - 2,
		    where + 1);
	else
		snprintf(address, 64, "%.*s", (int)(colon - where), where);
	add_two(task, "--http-01-address", address);
}

static bool
certbot(struct task *task, gnutls_datum_t *pem_out, struct reason *why)
{
	const struct acme_order *order = task->order;
	char address[64];

	add_two(task, "certbot", "certonly");
	add(task, "--non-interactive");
	add(task, "--agree-tos");
	if (order->email != NULL) {
		add_two(task, "--email", order->email);
		add(task, "--no-eff-email");
	} else {
		add(task, "--register-unsafely-without-email");
	}
	add_two(task, "--server", order->directory);
	add_two(task, "--config-dir", "../certbot");
	add_two(task, "--work-dir", "../certbot/work");
	add_two(task, "--logs-dir", "../certbot/logs");
	add_two(task, "--max-log-backups", "0");
	add_two(task, "--csr", REQUEST);
	add_two(task, "--cert-path", "certificate.pem");
	add_two(task, "--chain-path", "issuers.pem");
	add_two(task, "--fullchain-path", "chain.pem");
	switch (order->way) {
	case ACME_HTTP:
		certbot_listener(task, order->where, address);
		break;
	case ACME_WEBROOT:
		add(task, "--webroot");
		add_two(task, "--webroot-path", order->where);
		break;
	default:
		add(task, "--manual");
		add_two(task, "--preferred-challenges", "dns");
		add_two(task, "--manual-auth-hook", HOOK " present");
		add_two(task, "--manual-cleanup-hook", HOOK " cleanup");
		break;
	}
	return run(task, why) && read_answer(task, "/chain.pem", pem_out, why);
}

/* --- which one ----------------------------------------------------------- */

/* The first one wins that is there and can do what is asked for. */
static const struct client {
	const char *name;
	bool (*obtain)(struct task *, gnutls_datum_t *, struct reason *);
	bool serves_http; /* ACME_HTTP */
	bool has_anchors; /* other than the system's, in every version */
	bool needs_mailbox;
} clients[] = {
	{ "uacme", uacme, false, false, false },
	{ "lego", lego, true, true, true },
	{ "certbot", certbot, true, true, false },
};

enum { CLIENTS = sizeof(clients) / sizeof(clients[0]) };

bool
acme_client_is_known(const char *name)
{
	for (size_t i = 0; i < CLIENTS; i++)
		if (strcmp(clients[i].name, name) == 0)
			return true;
	return false;
}

static bool
is_installed(const char *name)
{
	const char *path = getenv("PATH");
	char file[PATH_MAX];

	if (path == NULL)
		path = "/usr/local/bin:/usr/bin:/bin";
	for (;; path++) {
		size_t len = strcspn(path, ":");
		int n = snprintf(file, sizeof(file), "%.*s/%s", (int)len, path,
		    name);

		if (len > 0 && n > 0 && (size_t)n < sizeof(file) &&
		    access(file, X_OK) == 0)
			return true;
		path += len;
		if (*path == '\0')
			return false;
	}
}

/* The one that is named is asked even so where its version may tell. */
static bool
can(const struct client *client, const struct acme_order *order,
    struct reason *why)
{
	if (order->way == ACME_HTTP && !client->serves_http)
		return fail(why, REASON_ABSENT,
		    "%s has no web server of its own for --http, expected "
		    "--webroot",
		    client->name);
	if (client->needs_mailbox && order->email == NULL)
		return fail(why, REASON_ABSENT, "%s needs --email",
		    client->name);
	if (order->directory_ca != NULL && !client->has_anchors &&
	    order->client == NULL)
		return fail(why, REASON_ABSENT,
		    "not every %s can do --directory-ca", client->name);
	return is_installed(client->name) ||
	       fail(why, REASON_ABSENT, "%s is not installed", client->name);
}

static const struct client *
choose(const struct acme_order *order, struct reason *why)
{
	char all[REASON_TEXT_MAX] = "";
	struct reason one;
	size_t at = 0;

	for (size_t i = 0; i < CLIENTS; i++) {
		if (order->client != NULL &&
		    strcmp(order->client, clients[i].name) != 0)
			continue;
		if (can(&clients[i], order, &one))
			return &clients[i];
		if (at < sizeof(all))
			at += (size_t)snprintf(all + at, sizeof(all) - at,
			    "%s%s", at > 0 ? "; " : "", one.text);
	}
	fail(why, REASON_ABSENT, "no ACME client: %.230s", all);
	return NULL;
}

/* We are the hook, by another name. */
static bool
make_hook(const struct acme_folder *folder, struct reason *why)
{
	char self[PATH_MAX], path[PATH_MAX];
	ssize_t len = readlink("/proc/self/exe", self, sizeof(self) - 1);

	if (len < 0)
		return fail_errno(why, "/proc/self/exe");
	self[len] = '\0';
	if (!cert_path(path, folder->run, "/" ACME_HOOK_NAME, why))
		return false;
	return symlink(self, path) == 0 || fail_errno(why, "%s", path);
}

static void
set_environment(struct task *task)
{
	const struct acme_order *order = task->order;

	if (order->directory_ca != NULL) {
		set(task, "REQUESTS_CA_BUNDLE", order->directory_ca);
		set(task, "LEGO_CA_CERTIFICATES", order->directory_ca);
		set(task, "UACME_CAINFO", order->directory_ca);
	}
	if (order->way == ACME_WEBROOT)
		set(task, ACME_ENV_WEBROOT, order->where);
	if (order->way == ACME_DNS)
		set(task, ACME_ENV_PROGRAM, order->where);
}

bool
acme_client_obtain(const struct acme_order *order,
    const struct acme_folder *folder, const gnutls_datum_t *csr,
    gnutls_datum_t *pem_out, const char **name_out, struct reason *why)
{
	struct task task = { .order = order, .folder = folder };
	const struct client *client = choose(order, why);
	char path[PATH_MAX];

	if (client == NULL || !make_hook(folder, why) ||
	    !cert_path(path, folder->run, "/" REQUEST, why) ||
	    !pki_file_write(path, csr->data, csr->size, PKI_KEY_MODE, true,
		why))
		return false;
	set_environment(&task);
	if (!client->obtain(&task, pem_out, why))
		return false;
	*name_out = client->name;
	return true;
}
