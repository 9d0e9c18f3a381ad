/*
 * tools/init_make.c: users, certificates, configuration and state of a new
 * set-up.
 */
/* Before <limits.h>, which has a macro of the name of one of its constants. */
#include "../auth/login.h"

#include "init.h"

#include <arpa/inet.h>
#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../auth/store.h"
#include "../pki/authority.h"
#include "../server/config_value.h"
#include "../server/files.h"
#include "../server/master.h"
#include "../server/prepare.h"

enum { CA_DAYS = 3650, CERTIFICATE_DAYS = 825 };

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

bool
init_users(struct reason *why)
{
	if (geteuid() != 0)
		return true;
	for (int r = ROLE_MASTER + 1; r < ROLES; r++) {
		const char *user = state_user((enum role)r);
		/* pam_unix reads the shadow file by this group. */
		bool in_shadow =
		    r == ROLE_HELPERS && getgrnam("shadow") != NULL;

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
		.days = CERTIFICATE_DAYS };
	struct authority *authority;
	bool ok;

	if (!init_path(w, "tls", folder, why) ||
	    !init_path(w, chain, chain_path, why) ||
	    !init_path(w, key, key_path, why))
		return false;
	if (access(chain_path, F_OK) == 0 || access(key_path, F_OK) == 0)
		return fail(why, REASON_EXISTS,
		    "%s or %s exists and is not overwritten", chain_path,
		    key_path);
	init_remember(w, chain_path);
	init_remember(w, key_path);
	if (!authority_open(&authority, folder, NULL, why))
		return false;
	ok = authority_issue_to(authority, &request, KEY_ECDSA, chain_path,
	    key_path, why);
	authority_close(authority);
	return ok;
}

static bool
make_authority(struct wish *w, struct reason *why)
{
	static const char *const files[] = { "tls/ca.pem", "tls/ca.key",
		"tls/issued" };
	char folder[PATH_MAX], path[PATH_MAX], name[300];
	const struct authority_options options = { .common_name = name,
		.days = CA_DAYS };

	if (!init_path(w, "tls", folder, why) ||
	    !init_path(w, files[0], path, why))
		return false;
	if (access(path, F_OK) == 0)
		return fail(why, REASON_EXISTS,
		    "%s exists and is not overwritten", path);
	for (size_t i = 0; i < sizeof(files) / sizeof(*files); i++)
		if (init_path(w, files[i], path, why) &&
		    access(path, F_OK) != 0)
			init_remember(w, path);
	snprintf(name, sizeof(name), "Sallyport at %.60s", w->hostname);
	return authority_create(folder, &options, why);
}

bool
init_certificates(struct wish *w, struct reason *why)
{
	char hosts[2 * ADDRESSES_MOST][64];
	const char *names[2 * ADDRESSES_MOST + 1] = { w->hostname };
	size_t count = 0;

	if (!init_folder(w, "tls", 0755, why) || !make_authority(w, why))
		return false;
	for (size_t i = 0; w->submission[i] != NULL; i++)
		count = add_address(w->submission[i], hosts, count);
	for (size_t i = 0; w->submissions[i] != NULL; i++)
		count = add_address(w->submissions[i], hosts, count);
	for (size_t i = 0; i < count; i++)
		names[i + 1] = hosts[i];
	if (w->cert == NULL && !issue(w, "tls/server.pem", "tls/server.key",
				   ISSUE_SERVER, names, count + 1, why))
		return false;
	return issue(w, "tls/client.pem", "tls/client.key", ISSUE_CLIENT, names,
	    1, why);
}

bool
init_smarthost_ca(struct wish *w, struct reason *why)
{
	gnutls_datum_t file;
	bool ok;

	if (w->smarthost_ca == NULL)
		return true;
	if (!files_read(w->smarthost_ca, &file, why))
		return false;
	ok = init_write(w, "tls/smarthost-ca.pem", 0644,
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

bool
init_sites(struct wish *w, struct reason *why)
{
	char text[2048];
	bool address = is_address(w->smarthost);

	snprintf(text, sizeof(text),
	    "# What TLS must hold for each site: sallyport-sites(5).\n"
	    "# site  direction  level  options\n"
	    "%s  out  lock  cert=client%s%s%s\n"
	    "*  both  encrypt\n",
	    w->smarthost, address ? " match=" : "", address ? w->smarthost : "",
	    w->user != NULL ? " auth=smarthost" : "");
	return init_write(w, "sites", 0644, text, strlen(text), why);
}

bool
init_upstream(struct wish *w, struct reason *why)
{
	char line[LOGIN_LINE_MAX];
	bool ok;

	if (w->user == NULL)
		return true;
	ok = login_book_line(line, sizeof(line), "smarthost", "any", w->user,
		 w->secret, why) &&
	     init_write(w, "upstream", 0600, line, strlen(line), why);
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
print_address(const struct wish *w, FILE *f)
{
	bool bracket = strchr(w->smarthost, ':') != NULL;

	if (w->port == 0)
		fprintf(f, "\nsmarthost {\n\taddress = \"srv:%s\"\n",
		    w->smarthost);
	else
		fprintf(f,
		    "\nsmarthost {\n\taddress = \"%s%s%s:%u\"\n"
		    "\ttls = %s\n",
		    bracket ? "[" : "", w->smarthost, bracket ? "]" : "",
		    w->port, w->implicit_tls ? "implicit" : "starttls");
}

static void
print_configuration(const struct wish *w, FILE *f)
{
	fprintf(f,
	    "# Every option with its default: sallyport.conf(5).\n"
	    "hostname = \"%s\"\nrealm = \"%s\"\n",
	    w->hostname, w->realm);
	if (w->user != NULL)
		fprintf(f, "upstream = \"upstream\"\n");
	print_address(w, f);
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

bool
init_configuration(struct wish *w, struct reason *why)
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
	ok = init_write(w, "sallyport.conf", 0644, text, len, why);
	free(text);
	return ok;
}

/* --- state -------------------------------------------------------------- */

bool
init_state(struct wish *w, struct reason *why)
{
	/* Inner ones first in the list are removed last. */
	static const char *const folders[] = { "state", "state/control",
		"state/empty", "state/run", "state/run/tables", "state/run/in",
		"state/run/relay", "state/store", "state/helper" };
	char path[PATH_MAX];

	for (size_t i = 0; i < sizeof(folders) / sizeof(*folders); i++) {
		if (!init_path(w, folders[i], path, why))
			return false;
		if (access(path, F_OK) != 0)
			init_remember(w, path);
	}
	if (!init_path(w, "state", path, why) ||
	    !state_make_folders(path, geteuid() == 0, why) ||
	    !init_path(w, "state/store/users.kch", path, why))
		return false;
	if (access(path, F_OK) == 0)
		return true; /* logins of an earlier set-up are kept */
	init_remember(w, path);
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

/* When all has been told once. */
static void
print_error(void *context, bool is_error, const char *text)
{
	if (is_error)
		print_problem(context, is_error, text);
}

bool
init_try_out(struct wish *w, struct reason *why)
{
	char path[PATH_MAX], table[PATH_MAX];
	struct prepare_options options = { .path = path,
		.report = print_problem,
		.context = why,
		.only_check = true };
	struct prepared *prepared;

	why->code = REASON_NONE;
	if (!init_path(w, "sallyport.conf", path, why) ||
	    !prepare(&prepared, &options))
		return false;
	/* All is well: only now is a table written. */
	prepared_free(prepared);
	options.only_check = false;
	options.report = print_error;
	if (!prepare(&prepared, &options))
		return false;
	if (snprintf(table, sizeof(table), "%s/state/run/tables/%s", w->folder,
		prepared->table) < (int)sizeof(table))
		init_remember(w, table);
	prepared_free(prepared);
	return true;
}
