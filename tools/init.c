/*
 * tools/init.c: "sallyport init": a complete working set-up in one folder.
 *
 * sallyport.conf is written last: a folder with one is a set-up and is left
 * alone, and what a failed run has made is taken away again.
 */
/* Before <limits.h>, which has a macro of the name of one of its constants. */
#include "../auth/login.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <grp.h>
#include <limits.h>
#include <pwd.h>
#include <spawn.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../auth/store.h"
#include "../pki/authority.h"
#include "../pki/cert.h"
#include "../server/config_value.h"
#include "../server/files.h"
#include "../server/master.h"
#include "../server/prepare.h"
#include "tool.h"

enum {
	CA_DAYS = 3650,
	CERTIFICATE_DAYS = 825,
	ADDRESSES_MOST = 8,
	MADE_MOST = 32,
	SECRET_SIZE = 1024,
};

/* What was asked for. */
struct wish {
	char folder[PATH_MAX]; /* absolute */
	char hostname[254], realm[254];
	char smarthost[254];   /* without brackets */
	uint16_t port;
	bool implicit_tls;
	const char *smarthost_ca, *cert, *key;
	const char *user; /* at the smarthost, or NULL */
	char secret[SECRET_SIZE];
	bool from_stdin;
	const char *submission[ADDRESSES_MOST + 1];
	const char *submissions[ADDRESSES_MOST + 1];

	/* Filled while asking: strings of getline. */
	char *asked[4];
	size_t asked_count;

	/* Files made so far, to be removed when something fails. */
	char made[MADE_MOST][PATH_MAX];
	size_t made_count;
	bool made_folder;
};

static void
usage(FILE *to)
{
	fprintf(to,
	    "usage: sallyport init DIR --hostname NAME --smarthost HOST:PORT\n"
	    "           [--smarthost-ca FILE] [--smarthost-tls "
	    "implicit|starttls]\n"
	    "           [--smarthost-user NAME [--password-stdin]]\n"
	    "           [--cert FILE --key FILE] [--realm DOMAIN]\n"
	    "           [--submission ADDR:PORT]... [--submissions "
	    "ADDR:PORT]...\n"
	    "What is not given is asked for on a terminal.\n");
}

/* --- files -------------------------------------------------------------- */

static bool
path_in(const struct wish *w, const char *name, char out[static PATH_MAX],
    struct reason *why)
{
	if (snprintf(out, PATH_MAX, "%s/%s", w->folder, name) < PATH_MAX)
		return true;
	return fail(why, REASON_RANGE, "%s: path too long", w->folder);
}

static void
remember(struct wish *w, const char *path)
{
	if (w->made_count < MADE_MOST)
		snprintf(w->made[w->made_count++], PATH_MAX, "%s", path);
}

static void
take_back(struct wish *w)
{
	while (w->made_count > 0) {
		w->made_count--;
		remove(w->made[w->made_count]);
	}
	if (w->made_folder)
		rmdir(w->folder);
}

static bool
write_all(int fd, const char *text, size_t len)
{
	while (len > 0) {
		ssize_t put = write(fd, text, len);

		if (put < 0 && errno == EINTR)
			continue;
		if (put < 0)
			return false;
		text += put;
		len -= (size_t)put;
	}
	return fsync(fd) == 0;
}

/* A new file; REASON_EXISTS if there is one. */
static bool
write_file(struct wish *w, const char *name, mode_t mode, const char *text,
    size_t len, struct reason *why)
{
	char path[PATH_MAX];
	bool ok;
	int fd;

	if (!path_in(w, name, path, why))
		return false;
	fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode);
	if (fd < 0 && errno == EEXIST)
		return fail(why, REASON_EXISTS,
		    "%s exists and is not overwritten", path);
	if (fd < 0)
		return fail_errno(why, "%s", path);
	remember(w, path);
	ok = fchmod(fd, mode) == 0 && write_all(fd, text, len);
	if (!ok)
		fail_errno(why, "%s", path);
	close(fd);
	return ok;
}

static bool
make_folder(struct wish *w, const char *name, mode_t mode, struct reason *why)
{
	char path[PATH_MAX];
	struct stat st;

	if (!path_in(w, name, path, why))
		return false;
	if (stat(path, &st) == 0) {
		if (S_ISDIR(st.st_mode))
			return true;
		return fail(why, REASON_EXISTS, "%s: expected a folder", path);
	}
	if (mkdir(path, mode) != 0 || chmod(path, mode) != 0)
		return fail_errno(why, "%s", path);
	remember(w, path);
	return true;
}

/* --- asking ------------------------------------------------------------- */

static bool
is_terminal(void)
{
	return isatty(STDIN_FILENO) && isatty(STDOUT_FILENO);
}

/* A line from the terminal; standard if it is empty; NULL at its end. */
static const char *
ask(struct wish *w, const char *question, const char *standard)
{
	size_t size = 0;
	char *line = NULL;

	printf("%s%s%s%s: ", question, *standard != '\0' ? " [" : "", standard,
	    *standard != '\0' ? "]" : "");
	fflush(stdout);
	if (getline(&line, &size, stdin) < 0) {
		free(line);
		return NULL;
	}
	line[strcspn(line, "\r\n")] = '\0';
	w->asked[w->asked_count++] = line;
	return *line != '\0' ? line : standard;
}

static void
guess_hostname(char *out, size_t size)
{
	if (gethostname(out, size) != 0 || strchr(out, '.') == NULL ||
	    !value_is_host(out))
		out[0] = '\0';
}

/* What the options did not say. */
static bool
ask_missing(struct wish *w, const char **hostname, const char **smarthost,
    struct reason *why)
{
	char guess[254] = "";

	if (*hostname != NULL && *smarthost != NULL)
		return true;
	if (!is_terminal())
		return fail(why, REASON_SYNTAX, "no %s given, expected %s",
		    *hostname == NULL ? "host name" : "smarthost",
		    *hostname == NULL ? "--hostname NAME"
		                      : "--smarthost HOST:PORT");
	if (*hostname == NULL) {
		guess_hostname(guess, sizeof(guess));
		*hostname = ask(w, "Host name that clients connect to", guess);
	}
	if (*smarthost == NULL) {
		*smarthost = ask(w, "Smarthost, HOST:PORT", "");
		if (*smarthost != NULL && w->user == NULL)
			w->user = ask(w, "Login name there, empty for none",
			    "");
	}
	if (*hostname == NULL || *smarthost == NULL)
		return fail(why, REASON_SYNTAX, "no answer");
	if (w->user != NULL && *w->user == '\0')
		w->user = NULL;
	return true;
}

/* --- checking ----------------------------------------------------------- */

/* Paths go into sallyport.conf in double quotes. */
static bool
check_path(const char *option, const char *path, struct reason *why)
{
	if (path == NULL)
		return true;
	for (const char *p = path; *p != '\0'; p++)
		if ((unsigned char)*p < 0x20 || *p == '"' || *p == '\\' ||
		    *p == 0x7f || (*p == '$' && p[1] == '{'))
			return fail(why, REASON_SYNTAX,
			    "%s: a path without quotes, backslashes and ${ "
			    "is expected",
			    option);
	return true;
}

static bool
set_names(struct wish *w, const char *hostname, const char *realm,
    struct reason *why)
{
	const char *dot;

	if (!value_is_host(hostname))
		return fail(why, REASON_SYNTAX,
		    "--hostname: \"%.100s\", expected a host name", hostname);
	snprintf(w->hostname, sizeof(w->hostname), "%s", hostname);
	dot = strchr(w->hostname, '.');
	if (realm == NULL)
		realm = dot != NULL && strchr(dot + 1, '.') != NULL
		    ? dot + 1
		    : w->hostname;
	if (!value_is_host(realm))
		return fail(why, REASON_SYNTAX,
		    "--realm: \"%.100s\", expected a domain", realm);
	snprintf(w->realm, sizeof(w->realm), "%s", realm);
	return true;
}

static bool
set_smarthost(struct wish *w, const char *smarthost, const char *tls,
    struct reason *why)
{
	if (!value_host_port(smarthost, w->smarthost, &w->port))
		return fail(why, REASON_SYNTAX,
		    "--smarthost: \"%.100s\", expected HOST:PORT or "
		    "[IPV6]:PORT",
		    smarthost);
	if (tls == NULL)
		w->implicit_tls = w->port == 465;
	else if (strcmp(tls, "implicit") == 0)
		w->implicit_tls = true;
	else if (strcmp(tls, "starttls") != 0)
		return fail(why, REASON_SYNTAX,
		    "--smarthost-tls: \"%.40s\", expected implicit or starttls",
		    tls);
	if (w->port == 0)
		w->port = w->implicit_tls ? 465 : 587;
	return true;
}

static bool
check_addresses(const char *option, const char *const *list,
    struct reason *why)
{
	struct sockaddr_storage address;
	socklen_t len;

	for (; *list != NULL; list++)
		if (!value_address(*list, &address, &len))
			return fail(why, REASON_SYNTAX,
			    "%s: \"%.80s\", expected ADDRESS:PORT or "
			    "[IPV6]:PORT",
			    option, *list);
	return true;
}

/* Both, make them absolute, and see that they belong together. */
static bool
check_own_certificate(struct wish *w, struct reason *why)
{
	static char chain_path[PATH_MAX], key_path[PATH_MAX];
	gnutls_datum_t chain = { NULL, 0 }, key = { NULL, 0 };
	bool ok;

	if (w->cert == NULL && w->key == NULL)
		return true;
	if (w->cert == NULL || w->key == NULL)
		return fail(why, REASON_SYNTAX,
		    "expected --cert and --key together");
	if (realpath(w->cert, chain_path) == NULL)
		return fail_errno(why, "%s", w->cert);
	if (realpath(w->key, key_path) == NULL)
		return fail_errno(why, "%s", w->key);
	ok = files_read(w->cert, &chain, why) &&
	    files_read_secret(w->key, &key, why) &&
	    cert_matches_key(&chain, &key, why);
	files_free(&chain);
	files_wipe(&key);
	/* By the name that was given: behind it a renewal may appear. */
	if (ok && w->cert[0] != '/')
		w->cert = chain_path;
	if (ok && w->key[0] != '/')
		w->key = key_path;
	return ok;
}

static bool
check_wish(struct wish *w, struct reason *why)
{
	return check_path("--smarthost-ca", w->smarthost_ca, why) &&
	    check_path("--cert", w->cert, why) &&
	    check_path("--key", w->key, why) &&
	    check_addresses("--submission", w->submission, why) &&
	    check_addresses("--submissions", w->submissions, why) &&
	    check_own_certificate(w, why);
}

/* DIR, made if absent, as an absolute path. */
static bool
set_folder(struct wish *w, const char *dir, struct reason *why)
{
	char path[PATH_MAX];
	bool is_new = mkdir(dir, 0755) == 0;

	if (!is_new && errno != EEXIST)
		return fail_errno(why, "%s", dir);
	if (realpath(dir, w->folder) == NULL)
		return fail_errno(why, "%s", dir);
	if (is_new)
		w->made_folder = true;
	if (!check_path("DIR", w->folder, why) ||
	    !path_in(w, "sallyport.conf", path, why))
		return false;
	if (access(path, F_OK) == 0)
		return fail(why, REASON_EXISTS,
		    "%s exists: this folder has a set-up already", path);
	return true;
}

/* --- system users ------------------------------------------------------- */

static bool
run_useradd(const char *user, bool in_shadow, struct reason *why)
{
	const char *argv[] = { "useradd", "--system", "--no-create-home",
		"--home-dir", "/nonexistent", "--shell", "/usr/sbin/nologin",
		"--user-group", "--groups", in_shadow ? "shadow" : "", user,
		NULL };
	int rc, status;
	pid_t pid;

	rc = posix_spawnp(&pid, "useradd", NULL, NULL,
	    (char *const *)(uintptr_t)argv, environ);
	if (rc != 0) {
		errno = rc;
		return fail_errno(why, "useradd");
	}
	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
		return true;
	return fail(why, REASON_INTERNAL, "useradd could not make user %s",
	    user);
}

static bool
make_users(struct reason *why)
{
	if (geteuid() != 0)
		return true;
	for (int r = ROLE_MASTER + 1; r < ROLES; r++) {
		const char *user = state_user((enum role)r);
		/* pam_unix reads the shadow file by this group. */
		bool in_shadow = r == ROLE_HELPERS && getgrnam("shadow") != NULL;

		if (getpwnam(user) != NULL)
			continue;
		if (!run_useradd(user, in_shadow, why))
			return false;
		printf("made system user %s\n", user);
	}
	return true;
}

/* --- certificates ------------------------------------------------------- */

/* Host of "ADDRESS:PORT" if it is one a certificate can name. */
static bool
listening_host(const char *address, char out[static 64])
{
	uint16_t port;
	char host[254];

	if (!value_host_port(address, host, &port)) {
		char copy[80];

		snprintf(copy, sizeof(copy), "%s", address);
		*strrchr(copy, ':') = '\0'; /* port 0 */
		if (!value_host_port(copy, host, &port))
			return false;
	}
	if (strcmp(host, "0.0.0.0") == 0 || strcmp(host, "::") == 0 ||
	    strlen(host) >= 64)
		return false;
	memcpy(out, host, strlen(host) + 1); /* an address: it fits */
	return true;
}

static size_t
add_address(const char *address, char names[][64], size_t count)
{
	char host[64];

	if (!listening_host(address, host))
		return count;
	for (size_t i = 0; i < count; i++)
		if (strcmp(names[i], host) == 0)
			return count;
	memcpy(names[count], host, sizeof(host));
	return count + 1;
}

static bool
issue(struct wish *w, const char *chain, const char *key,
    enum authority_role role, const char *const *names, size_t count,
    struct reason *why)
{
	char folder[PATH_MAX], chain_path[PATH_MAX], key_path[PATH_MAX];
	struct authority_request request = { .names = names,
		.name_count = count,
		.role = role,
		.days = CERTIFICATE_DAYS,
		.chain_path = chain_path,
		.key_path = key_path };

	if (!path_in(w, "tls", folder, why) ||
	    !path_in(w, chain, chain_path, why) ||
	    !path_in(w, key, key_path, why))
		return false;
	if (access(chain_path, F_OK) == 0 || access(key_path, F_OK) == 0)
		return fail(why, REASON_EXISTS,
		    "%s or %s exists and is not overwritten", chain_path,
		    key_path);
	remember(w, chain_path);
	remember(w, key_path);
	return authority_issue(folder, &request, why);
}

static bool
make_authority(struct wish *w, struct reason *why)
{
	static const char *const files[] = { "tls/ca.pem", "tls/ca.key",
		"tls/issued", "tls/lock" };
	char folder[PATH_MAX], path[PATH_MAX], name[300];

	if (!path_in(w, "tls", folder, why) ||
	    !path_in(w, files[0], path, why))
		return false;
	if (access(path, F_OK) == 0)
		return fail(why, REASON_EXISTS,
		    "%s exists and is not overwritten", path);
	for (size_t i = 0; i < sizeof(files) / sizeof(*files); i++)
		if (path_in(w, files[i], path, why) && access(path, F_OK) != 0)
			remember(w, path);
	snprintf(name, sizeof(name), "Sallyport at %.60s", w->hostname);
	return authority_create(folder, name, CA_DAYS, why);
}

static bool
make_certificates(struct wish *w, struct reason *why)
{
	char hosts[2 * ADDRESSES_MOST][64];
	const char *names[2 * ADDRESSES_MOST + 1] = { w->hostname };
	size_t count = 0;

	if (!make_folder(w, "tls", 0755, why) || !make_authority(w, why))
		return false;
	for (size_t i = 0; w->submission[i] != NULL; i++)
		count = add_address(w->submission[i], hosts, count);
	for (size_t i = 0; w->submissions[i] != NULL; i++)
		count = add_address(w->submissions[i], hosts, count);
	for (size_t i = 0; i < count; i++)
		names[i + 1] = hosts[i];
	if (w->cert == NULL &&
	    !issue(w, "tls/server.pem", "tls/server.key", ISSUE_SERVER, names,
	        count + 1, why))
		return false;
	return issue(w, "tls/client.pem", "tls/client.key", ISSUE_CLIENT,
	    names, 1, why);
}

static bool
copy_smarthost_ca(struct wish *w, struct reason *why)
{
	gnutls_datum_t file;
	bool ok;

	if (w->smarthost_ca == NULL)
		return true;
	if (!files_read(w->smarthost_ca, &file, why))
		return false;
	ok = write_file(w, "tls/smarthost-ca.pem", 0644,
	    (const char *)file.data, file.size, why);
	files_free(&file);
	return ok;
}

/* --- configuration ------------------------------------------------------ */

static bool
is_address(const char *host)
{
	unsigned char raw[16];

	return inet_pton(AF_INET, host, raw) == 1 ||
	    inet_pton(AF_INET6, host, raw) == 1;
}

static bool
write_sites(struct wish *w, struct reason *why)
{
	char text[2048];
	bool address = is_address(w->smarthost);

	snprintf(text, sizeof(text),
	    "# What TLS must hold for each site: sallyport-sites(5).\n"
	    "# site  direction  level  options\n"
	    "%s  out  lock  cert=client%s%s%s\n"
	    "*  both  encrypt\n",
	    w->smarthost, address ? " match=" : "",
	    address ? w->smarthost : "",
	    w->user != NULL ? " auth=smarthost" : "");
	return write_file(w, "sites", 0644, text, strlen(text), why);
}

static bool
write_upstream(struct wish *w, struct reason *why)
{
	char line[LOGIN_LINE_MAX];
	bool ok;

	if (w->user == NULL)
		return true;
	ok = login_book_line(line, sizeof(line), "smarthost", "any", w->user,
	         w->secret, why) &&
	    write_file(w, "upstream", 0600, line, strlen(line), why);
	explicit_bzero(line, sizeof(line));
	return ok;
}

static void
print_listener(FILE *f, const char *name, const char *const *addresses)
{
	fprintf(f, "\nlistener %s {\n\tkind = %s\n\taddresses = { ", name,
	    name);
	for (size_t i = 0; addresses[i] != NULL; i++)
		fprintf(f, "%s\"%s\"", i > 0 ? ", " : "", addresses[i]);
	fprintf(f,
	    " }\n\tcertificates = { server }\n\tclient-ca = \"tls/ca.pem\"\n}"
	    "\n");
}

static void
print_configuration(const struct wish *w, FILE *f)
{
	bool bracket = strchr(w->smarthost, ':') != NULL;

	fprintf(f,
	    "# Every option with its default: sallyport.conf(5).\n"
	    "hostname = \"%s\"\nrealm = \"%s\"\n",
	    w->hostname, w->realm);
	if (w->user != NULL)
		fprintf(f, "upstream = \"upstream\"\n");
	fprintf(f, "\nsmarthost {\n\taddress = \"%s%s%s:%u\"\n\ttls = %s\n",
	    bracket ? "[" : "", w->smarthost, bracket ? "]" : "", w->port,
	    w->implicit_tls ? "implicit" : "starttls");
	if (w->smarthost_ca != NULL)
		fprintf(f, "\tca = \"tls/smarthost-ca.pem\"\n");
	fprintf(f, "}\n");
	print_listener(f, "submission", w->submission);
	print_listener(f, "submissions", w->submissions);
	fprintf(f,
	    "\ncertificate server {\n\tchain = \"%s\"\n\tkey = \"%s\"\n"
	    "\trole = server\n}\n"
	    "\ncertificate client {\n\tchain = \"tls/client.pem\"\n"
	    "\tkey = \"tls/client.key\"\n\trole = client\n}\n"
	    "\nend = true\n",
	    w->cert != NULL ? w->cert : "tls/server.pem",
	    w->key != NULL ? w->key : "tls/server.key");
}

static bool
write_configuration(struct wish *w, struct reason *why)
{
	char *text = NULL;
	size_t len = 0;
	FILE *f = open_memstream(&text, &len);
	bool ok;

	if (f == NULL)
		return fail(why, REASON_NO_MEMORY, "sallyport.conf");
	print_configuration(w, f);
	if (fclose(f) != 0) {
		free(text);
		return fail(why, REASON_NO_MEMORY, "sallyport.conf");
	}
	ok = write_file(w, "sallyport.conf", 0644, text, len, why);
	free(text);
	return ok;
}

/* --- state -------------------------------------------------------------- */

static bool
make_state(struct wish *w, struct reason *why)
{
	/* Inner ones first in the list are removed last. */
	static const char *const folders[] = { "state", "state/control",
		"state/empty", "state/run", "state/run/tables", "state/run/in",
		"state/run/relay", "state/store" };
	char path[PATH_MAX];

	for (size_t i = 0; i < sizeof(folders) / sizeof(*folders); i++) {
		if (!path_in(w, folders[i], path, why))
			return false;
		if (access(path, F_OK) != 0)
			remember(w, path);
	}
	if (!path_in(w, "state", path, why) ||
	    !state_make_folders(path, geteuid() == 0, why) ||
	    !path_in(w, "state/store/users.kch", path, why))
		return false;
	if (access(path, F_OK) == 0)
		return true; /* logins of an earlier set-up are kept */
	remember(w, path);
	return store_create(path, why);
}

static void
print_problem(void *context, bool is_error, const char *text)
{
	struct reason *why = context;

	if (!is_error)
		fprintf(stderr, "warning: %s\n", text);
	else if (why->code == REASON_NONE)
		fail(why, REASON_SYNTAX, "%s", text);
	else
		fprintf(stderr, "%s\n", text);
}

/* What the server would do at its start: all is read, the table compiled. */
static bool
try_out(struct wish *w, struct reason *why)
{
	char path[PATH_MAX], table[PATH_MAX];
	struct prepare_options options = { .path = path,
		.report = print_problem,
		.context = why };
	struct prepared *prepared;

	why->code = REASON_NONE;
	if (!path_in(w, "sallyport.conf", path, why) ||
	    !prepare(&prepared, &options))
		return false;
	if (snprintf(table, sizeof(table), "%s/state/run/tables/%s", w->folder,
	        prepared->table) < (int)sizeof(table))
		remember(w, table);
	prepared_free(prepared);
	return true;
}

static bool
get_secret(struct wish *w, struct reason *why)
{
	char prompt[320];

	if (w->user == NULL)
		return true;
	snprintf(prompt, sizeof(prompt), "Password of %.200s at %.80s: ",
	    w->user, w->smarthost);
	return tool_secret(prompt, w->from_stdin, !w->from_stdin, w->secret,
	    sizeof(w->secret), why);
}

static bool
make(struct wish *w, const char *dir, struct reason *why)
{
	return get_secret(w, why) && set_folder(w, dir, why) &&
	    make_users(why) && make_certificates(w, why) &&
	    copy_smarthost_ca(w, why) && write_upstream(w, why) &&
	    write_sites(w, why) && make_state(w, why) &&
	    write_configuration(w, why) && try_out(w, why);
}

static void
print_done(const struct wish *w)
{
	printf("%s/sallyport.conf is ready.\n", w->folder);
	printf("  clients trust    %s/tls/ca.pem\n", w->folder);
	printf("  smarthost        %s:%u, %s, table row \"out lock\"\n",
	    w->smarthost, w->port,
	    w->implicit_tls ? "implicit TLS" : "STARTTLS");
	printf("  next             sallyport -c %s/sallyport.conf user add "
	       "NAME\n",
	    w->folder);
	printf("                   sallyportd -c %s/sallyport.conf\n",
	    w->folder);
}

/* --- command line ------------------------------------------------------- */

static bool
add_listener(const char **list, const char *address)
{
	for (size_t i = 0; i < ADDRESSES_MOST; i++) {
		if (list[i] != NULL)
			continue;
		list[i] = address;
		return true;
	}
	fprintf(stderr, "sallyport: expected at most %d addresses\n",
	    ADDRESSES_MOST);
	return false;
}

struct words {
	const char *hostname, *realm, *smarthost, *tls, *dir;
	bool help;
};

static bool
read_option(struct wish *w, struct words *o, int c)
{
	switch (c) {
	case 'H':
		o->hostname = optarg;
		return true;
	case 'R':
		o->realm = optarg;
		return true;
	case 's':
		o->smarthost = optarg;
		return true;
	case 't':
		o->tls = optarg;
		return true;
	case 'a':
		w->smarthost_ca = optarg;
		return true;
	case 'u':
		w->user = optarg;
		return true;
	case 'p':
		w->from_stdin = true;
		return true;
	case 'C':
		w->cert = optarg;
		return true;
	case 'K':
		w->key = optarg;
		return true;
	case '1':
		return add_listener(w->submission, optarg);
	case '2':
		return add_listener(w->submissions, optarg);
	case 'h':
		o->help = true;
		return true;
	default:
		return false;
	}
}

static bool
read_words(struct wish *w, struct words *o, int argc, char **argv)
{
	static const struct option longs[] = {
		{ "hostname", required_argument, NULL, 'H' },
		{ "realm", required_argument, NULL, 'R' },
		{ "smarthost", required_argument, NULL, 's' },
		{ "smarthost-tls", required_argument, NULL, 't' },
		{ "smarthost-ca", required_argument, NULL, 'a' },
		{ "smarthost-user", required_argument, NULL, 'u' },
		{ "password-stdin", no_argument, NULL, 'p' },
		{ "cert", required_argument, NULL, 'C' },
		{ "key", required_argument, NULL, 'K' },
		{ "submission", required_argument, NULL, '1' },
		{ "submissions", required_argument, NULL, '2' },
		{ "help", no_argument, NULL, 'h' },
		{ NULL, 0, NULL, 0 },
	};
	int c;

	while ((c = getopt_long(argc, argv, "", longs, NULL)) != -1)
		if (!read_option(w, o, c))
			return false;
	if (o->help)
		return true;
	if (optind + 1 != argc)
		return false;
	o->dir = argv[optind];
	return true;
}

static void
set_standard_addresses(struct wish *w)
{
	if (w->submission[0] == NULL) {
		w->submission[0] = "0.0.0.0:587";
		w->submission[1] = "[::]:587";
	}
	if (w->submissions[0] == NULL) {
		w->submissions[0] = "0.0.0.0:465";
		w->submissions[1] = "[::]:465";
	}
}

static int
init(struct wish *w, struct words *o)
{
	struct reason why;

	set_standard_addresses(w);
	if (!ask_missing(w, &o->hostname, &o->smarthost, &why) ||
	    !set_names(w, o->hostname, o->realm, &why) ||
	    !set_smarthost(w, o->smarthost, o->tls, &why)) {
		tool_error(&why);
		return TOOL_USAGE;
	}
	if (!check_wish(w, &why) || !make(w, o->dir, &why)) {
		take_back(w);
		tool_error(&why);
		return TOOL_NO;
	}
	print_done(w);
	return TOOL_DONE;
}

int
tool_init(int argc, char **argv)
{
	struct wish *w = calloc(1, sizeof(*w));
	struct words o = { 0 };
	int rc;

	if (w == NULL) {
		fprintf(stderr, "sallyport: out of memory\n");
		return TOOL_NO;
	}
	umask(022);
	if (!read_words(w, &o, argc, argv)) {
		usage(stderr);
		rc = TOOL_USAGE;
	} else if (o.help) {
		usage(stdout);
		rc = TOOL_DONE;
	} else {
		rc = init(w, &o);
	}
	for (size_t i = 0; i < w->asked_count; i++)
		free(w->asked[i]);
	explicit_bzero(w->secret, sizeof(w->secret));
	free(w);
	return rc;
}
