/*
 * tools/cert_install.c: "sallyport cert install": what another authority
 * answered comes into place once it fits, and the server takes it.
 */
#include <errno.h>
#include <fcntl.h>
#include <gnutls/x509.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "../pki/cert.h"
#include "../pki/check.h"
#include "../pki/file.h"
#include "../pki/renew.h"
#include "../pki/request.h"
#include "../tls/tls.h"
#include "cert.h"
#include "tool.h"

bool
cert_is_same_file(const char *a, const char *b)
{
	struct stat of_a, of_b;

	return strcmp(a, b) == 0 ||
	       (stat(a, &of_a) == 0 && stat(b, &of_b) == 0 &&
		   of_a.st_dev == of_b.st_dev && of_a.st_ino == of_b.st_ino);
}

/* --- what it has to be for ------------------------------------------------
 */

struct one {
	gnutls_x509_crt_t crt;
	char *names;
	size_t len;
};

static void
one_free(struct one *one)
{
	free(one->names);
	if (one->crt != NULL)
		gnutls_x509_crt_deinit(one->crt);
}

/* The end entity of a chain. */
static bool
one_read(struct one *one, const gnutls_datum_t *chain, struct reason *why)
{
	gnutls_x509_crt_t *list;
	unsigned count;

	if (!cert_chain_parse(chain, &list, &count, why))
		return false;
	one->crt = list[0];
	list[0] = NULL;
	for (unsigned i = 1; i < count; i++)
		gnutls_x509_crt_deinit(list[i]);
	gnutls_free(list);
	return cert_names(one->crt, &one->names, &one->len, why);
}

/* Where there is no DNS name the library would take a common name. */
static bool
one_is_for(const struct one *one, const char *name)
{
	bool has_dns_name = false;

	for (const char *at = one->names;
	     at != NULL && at < one->names + one->len; at += strlen(at) + 1) {
		if (strncmp(at, "dns:", 4) != 0)
			continue;
		if (strcasecmp(at + 4, name) == 0)
			return true;
		has_dns_name = true;
	}
	return has_dns_name && name[0] != '*' &&
	       gnutls_x509_crt_check_hostname(one->crt, name);
}

static bool
check_name(const struct one *one, const char *name, struct reason *why)
{
	return one_is_for(one, name) ||
	       fail(why, REASON_CERT_NAME,
		   "the certificate is not for %.100s, expected that among "
		   "the DNS names of its subjectAltName",
		   name);
}

/* All DNS names of the one in that file; none that can be read is no
 * measure. */
static bool
check_names_of(const struct one *one, const char *chain_path,
    struct reason *why)
{
	struct one present = { 0 };
	gnutls_datum_t pem = { 0 };
	bool ok = true;

	if (pki_file_read(chain_path, false, &pem, NULL) &&
	    one_read(&present, &pem, NULL))
		for (const char *at = present.names;
		     ok && at != NULL && at < present.names + present.len;
		     at += strlen(at) + 1)
			ok = strncmp(at, "dns:", 4) != 0 ||
			     check_name(one, at + 4, why);
	pki_octets_wipe(&pem);
	one_free(&present);
	return ok;
}

/* What the configuration uses that file for, or would. */
static unsigned
roles_of(const struct config *config, const char *chain_path)
{
	for (size_t i = 0; config != NULL && i < config->certificate_count; i++)
		if (cert_is_same_file(config->certificates[i].chain,
			chain_path))
			return config->certificates[i].roles;
	return CERTIFICATE_SERVER;
}

/* --- and whether it is any good ------------------------------------------ */

struct refusal {
	struct reason *why;
	bool is_refused;
};

/* Of what "cert check" finds, errors, and warnings that would be news: a
 * renewal is no time to get worse.  That it ends soon is no reason to keep an
 * older one, and what the authority above is called is its own affair. */
static bool
is_reason(enum check_word word)
{
	switch (word) {
	case CHECK_NAME_MISSING:
	case CHECK_PURPOSE_SERVER:
	case CHECK_PURPOSE_CLIENT:
	case CHECK_SELF_SIGNED:
	case CHECK_WEAK_KEY:
	case CHECK_WEAK_HASH:
	case CHECK_EXPIRED:
	case CHECK_NOT_YET_VALID:
		return true;
	default:
		return check_is_error(word);
	}
}

static void
refuse(void *context, const struct check_finding *finding)
{
	struct refusal *refusal = context;

	if (refusal->is_refused || !is_reason(finding->word))
		return;
	refusal->is_refused = true;
	fail(refusal->why, REASON_CERT_BAD, "the certificate is refused: %s",
	    finding->text);
}

static bool
check_rules(const gnutls_datum_t *chain, const char *chain_path, unsigned roles,
    struct reason *why)
{
	struct refusal refusal = { .why = why };
	const struct check_options options = {
		.now = time(NULL),
		.report = refuse,
		.context = &refusal,
	};
	const struct check_pair pair = {
		.chain_path = chain_path,
		.chain = chain,
		.for_server = (roles & CERTIFICATE_SERVER) != 0,
		.for_client = (roles & CERTIFICATE_CLIENT) != 0,
	};

	check_pair(&options, &pair);
	return !refusal.is_refused;
}

static bool
check(const struct cert_answer *answer, const gnutls_datum_t *chain,
    const char *chain_path, const struct config *config, struct reason *why)
{
	struct one one = { 0 };
	bool ok = one_read(&one, chain, why);

	for (size_t i = 0; ok && i < answer->name_count; i++)
		ok = check_name(&one, answer->names[i], why);
	if (ok && answer->is_replacement && answer->name_count == 0)
		ok = check_names_of(&one, chain_path, why);
	if (ok && answer->is_replacement)
		ok = check_rules(chain, chain_path,
		    roles_of(config, chain_path), why);
	one_free(&one);
	return ok;
}

/* --- its key -------------------------------------------------------------
 */

/* True, or says of the answer what is wrong with it. */
static bool
is_well(const struct cert_answer *answer, bool ok, const struct reason *at,
    struct reason *why)
{
	if (ok || answer->from == NULL) {
		*why = *at;
		return ok;
	}
	return fail(why, at->code, "%s: %s", answer->from, at->text);
}

static bool
take_answer(const struct cert_answer *answer, const struct pki_key *key,
    gnutls_datum_t *chain_out, struct reason *why)
{
	struct reason at = { REASON_NONE, "" };

	return is_well(answer,
	    request_answer(answer->pem, key->public_key, chain_out, &at), &at,
	    why);
}

/* With the present key, else with the next one. */
static bool
answer_for(const struct cert_answer *answer, const char *key_path,
    gnutls_datum_t *chain_out, struct reason *why)
{
	char next[PATH_MAX];
	struct pki_key key;
	bool ok;

	if (!pki_key_read(&key, key_path, NULL, why))
		return false;
	ok = take_answer(answer, &key, chain_out, why);
	pki_key_free(&key);
	if (ok || why->code != REASON_CERT_BAD ||
	    !renew_next_path(next, key_path, NULL) || access(next, F_OK) < 0)
		return ok;
	if (!pki_key_read(&key, next, NULL, why))
		return false;
	ok = take_answer(answer, &key, chain_out, why);
	pki_key_free(&key);
	return ok;
}

/* With a key that came with it, one that we can sign with. */
static bool
answer_with(const struct cert_answer *answer, gnutls_datum_t *key_out,
    gnutls_datum_t *chain_out, struct reason *why)
{
	const char *path = answer->key;
	struct tls_key *usable;
	struct pki_key key;
	struct reason bad;
	bool ok, in_token;

	if (!pki_key_read(&key, path, NULL, why))
		return false;
	ok = take_answer(answer, &key, chain_out, why);
	in_token = pki_key_is_in_token(&key);
	pki_key_free(&key);
	if (!ok || !pki_key_octets(path, key_out, why))
		return false;
	if (in_token)
		return true; /* the server tries it */
	if (!tls_key_new(&usable, key_out, &bad))
		return fail(why, bad.code, "%.100s: %.140s", path, bad.text);
	tls_key_free(usable);
	return true;
}

static bool
is_same_key(const char *path, const gnutls_datum_t *key)
{
	unsigned char a[SPKI_OCTETS], b[SPKI_OCTETS];
	gnutls_datum_t pem;
	bool same;

	if (!pki_file_read(path, true, &pem, NULL))
		return false;
	same = (pem.size == key->size &&
		   memcmp(pem.data, key->data, pem.size) == 0) ||
	       (cert_key_spki(&pem, a, NULL) && cert_key_spki(key, b, NULL) &&
		   memcmp(a, b, sizeof(a)) == 0);
	pki_octets_wipe(&pem);
	return same;
}

/* --- into place ----------------------------------------------------------
 */

/* PREFIX.pem and PREFIX.key, and what is or shall be in them; no key: it is
 * there already, or is the next one. */
struct place {
	char chain_path[PATH_MAX], key_path[PATH_MAX];
	gnutls_datum_t chain, key;
	gnutls_datum_t next; /* the next key that was there */
};

static void
place_free(struct place *place)
{
	pki_octets_wipe(&place->chain);
	pki_octets_wipe(&place->key);
	pki_octets_wipe(&place->next);
}

/*
 * A key that comes from elsewhere is the next one until the chain is there: a
 * crash between the two is put right by renew_repair.  made_out: next is new.
 */
static bool
put_next_key(const struct place *place, char next[static PATH_MAX],
    bool *made_out, struct reason *why)
{
	*made_out = false;
	if (place->key.data == NULL ||
	    is_same_key(place->key_path, &place->key))
		return true;
	if (!renew_next_path(next, place->key_path, why))
		return false;
	if (is_same_key(next, &place->key))
		return true;
	if (access(next, F_OK) == 0)
		return fail(why, REASON_EXISTS,
		    "%s: the next key is another one: if nobody was told of "
		    "it, remove it first",
		    next);
	*made_out = pki_file_write(next, place->key.data, place->key.size,
	    PKI_KEY_MODE, false, why);
	return *made_out;
}

static bool
place_write(const struct place *place, struct reason *why)
{
	char next[PATH_MAX];
	bool made;

	if (!put_next_key(place, next, &made, why))
		return false;
	if (!pki_file_write(place->chain_path, place->chain.data,
		place->chain.size, PKI_CHAIN_MODE, true, why)) {
		if (made)
			unlink(next);
		return false;
	}
	return renew_repair(place->chain_path, place->key_path, why);
}

/* What is there before; without both there is nothing to go back to. */
static void
place_read(struct place *place)
{
	char next[PATH_MAX];

	if (renew_next_path(next, place->key_path, NULL))
		pki_file_read(next, true, &place->next, NULL);
	if (!pki_file_read(place->chain_path, false, &place->chain, NULL) ||
	    !pki_file_read(place->key_path, true, &place->key, NULL))
		place_free(place);
}

/* Of the folder of path, against others that put something there: to be
 * closed; -1 if that fails. */
static int
lock_folder(const char *path, struct reason *why)
{
	const char *slash = strrchr(path, '/');
	char folder[PATH_MAX];
	int fd;

	snprintf(folder, sizeof(folder), "%.*s",
	    slash == NULL ? 1 : (int)(slash - path) + 1,
	    slash == NULL ? "." : path);
	fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0) {
		fail_errno(why, "%s", folder);
		return -1;
	}
	while (flock(fd, LOCK_EX) != 0) {
		if (errno == EINTR)
			continue;
		fail_errno(why, "%s", folder);
		close(fd);
		return -1;
	}
	return fd;
}

/* --- back ----------------------------------------------------------------
 */

/* One that was announced, and had become the key. */
static bool
put_next_back(const struct place *old, struct reason *why)
{
	char next[PATH_MAX];

	if (old->next.data == NULL ||
	    !renew_next_path(next, old->key_path, NULL) ||
	    access(next, F_OK) == 0)
		return true;
	return pki_file_write(next, old->next.data, old->next.size,
	    PKI_KEY_MODE, false, why);
}

/* The server goes on with the old ones, and so would one that is started
 * now. */
static bool
go_back(const struct place *old, const struct reason *refusal,
    struct reason *why)
{
	if (old->chain.data == NULL)
		return fail(why, refusal->code,
		    "the server refuses what is now in %.80s: %.140s",
		    old->chain_path, refusal->text);
	if (!place_write(old, why) || !put_next_back(old, why))
		return false;
	return fail(why, refusal->code,
	    "the server refuses it, %.80s is as it was: %.140s",
	    old->chain_path, refusal->text);
}

static bool
have_it_taken(const struct config *config, const struct place *old,
    struct reason *why)
{
	struct reason refusal;

	switch (cert_have_taken(config, &refusal)) {
	case CERT_REFUSED:
		return go_back(old, &refusal, why);
	case CERT_UNKNOWN:
		*why = refusal;
		return false;
	default:
		return true;
	}
}

/* --- all of it ----------------------------------------------------------- */

static bool
put(const struct cert_answer *answer, struct place *new,
    const struct config *config, struct reason *why)
{
	struct reason at = { REASON_NONE, "" };
	struct place old = { 0 };
	bool ok;

	ok = answer->key == NULL
		 ? answer_for(answer, new->key_path, &new->chain, why)
		 : answer_with(answer, &new->key, &new->chain, why);
	ok = ok && is_well(answer,
		       check(answer, &new->chain, new->chain_path, config, &at),
		       &at, why);
	memcpy(old.chain_path, new->chain_path, sizeof(old.chain_path));
	memcpy(old.key_path, new->key_path, sizeof(old.key_path));
	place_read(&old);
	ok = ok && place_write(new, why);
	if (ok)
		printf("%s\n", new->chain_path);
	if (ok && config != NULL)
		ok = have_it_taken(config, &old, why);
	place_free(&old);
	return ok;
}

bool
cert_put(const struct cert_answer *answer, const char *prefix,
    const struct config *config, struct reason *why)
{
	struct place new = { 0 };
	bool ok;
	int fd;

	if (!cert_path(new.chain_path, prefix, ".pem", why) ||
	    !cert_path(new.key_path, prefix, ".key", why))
		return false;
	fd = lock_folder(new.chain_path, why);
	if (fd < 0)
		return false;
	ok = put(answer, &new, config, why);
	place_free(&new);
	close(fd);
	return ok;
}

static bool
install(const struct cert_arguments *a, struct reason *why)
{
	struct cert_answer answer = {
		.from = a->words[0],
		.key = a->options->key,
		.names = (const char *const *)a->words + 1,
		.name_count = (size_t)a->count - 1,
		.is_replacement = a->options->key != NULL,
	};
	struct config *config = NULL;
	gnutls_datum_t pem = { 0 };
	bool ok;

	/* Before anything is changed. */
	if (a->options->reload && !tool_config(&config, why))
		return false;
	answer.pem = &pem;
	ok = pki_file_read(a->words[0], false, &pem, why) &&
	     cert_put(&answer, a->options->out, config, why);
	pki_octets_wipe(&pem);
	config_free(config);
	return ok;
}

int
cert_install(const struct cert_arguments *a)
{
	struct reason why;

	if (a->count < 1 || a->options->out == NULL)
		return cert_wrong_usage("install: expected FILE and --out "
					"PREFIX");
	return cert_status_of(install(a, &why), &why);
}
