/*
 * server/session_config.c: numbered configurations.
 *
 * A generation is built whole when the master prepares it, serves new
 * connections from its commit on, and lives as long as a connection that
 * began with it.
 */
#include <stdlib.h>
#include <string.h>

#include "bundle.h"
#include "config_bundle.h"
#include "log.h"
#include "session.h"

enum { TABLE_PATH = sizeof server.info.root + 128 };

/* A copy of what the master shipped. */
struct pem_file {
	struct pem_file *next;
	enum bundle_kind kind; /* BUNDLE_ANCHORS or BUNDLE_CRL */
	char *name;
	gnutls_datum_t octets;
};

static void
files_free(struct pem_file *file)
{
	struct pem_file *next;

	for (; file != NULL; file = next) {
		next = file->next;
		free(file->name);
		free(file->octets.data);
		free(file);
	}
}

static void
sets_free(struct anchor_set *set)
{
	struct anchor_set *next;

	for (; set != NULL; set = next) {
		next = set->next;
		tls_anchors_free(set->anchors);
		free(set->path);
		free(set->crl);
		free(set);
	}
}

static void
generation_free(struct generation *generation)
{
	services_free(generation);
	sets_free(generation->sets);
	files_free(generation->files);
	if (generation->table != NULL)
		table_close(generation->table);
	routes_close(generation->routes);
	config_free(generation->config);
	pthread_mutex_destroy(&generation->lock);
	free(generation);
}

/* The table of that kind; empty if there is none. */
static void
table_path(const struct bundle *bundle, enum bundle_kind wanted,
    char path[static TABLE_PATH])
{
	enum bundle_kind kind;
	gnutls_datum_t octets;
	const char *name;
	size_t i;

	path[0] = '\0';
	for (i = 0; bundle_entry(bundle, i, &kind, &name, &octets); i++)
		if (kind == wanted)
			snprintf(path, TABLE_PATH, "%s/tables/%s",
			    server.info.root, name);
}

static bool
load_tables(struct generation *generation, const struct bundle *bundle,
    struct reason *why)
{
	char path[TABLE_PATH];

	table_path(bundle, BUNDLE_TABLE, path);
	if (path[0] == '\0')
		return fail(why, REASON_ABSENT, "no site table in the bundle");
	if (!table_open(&generation->table, path, true, why))
		return false;
	table_path(bundle, BUNDLE_ROUTES, path);
	return path[0] == '\0' ||
	       routes_open(&generation->routes, path, true, why);
}

static struct pem_file *
file_copy(enum bundle_kind kind, const char *name, const gnutls_datum_t *octets)
{
	struct pem_file *file = calloc(1, sizeof *file);

	if (file == NULL)
		return NULL;
	file->kind = kind;
	file->name = strdup(name);
	file->octets.size = octets->size;
	file->octets.data = malloc(octets->size + 1);
	if (file->name == NULL || file->octets.data == NULL) {
		files_free(file);
		return NULL;
	}
	memcpy(file->octets.data, octets->data, octets->size);
	file->octets.data[octets->size] = '\0';
	return file;
}

static bool
copy_files(struct generation *generation, const struct bundle *bundle,
    struct reason *why)
{
	enum bundle_kind kind;
	gnutls_datum_t octets;
	struct pem_file *file;
	const char *name;
	size_t i;

	for (i = 0; bundle_entry(bundle, i, &kind, &name, &octets); i++) {
		if (kind != BUNDLE_ANCHORS && kind != BUNDLE_CRL)
			continue;
		file = file_copy(kind, name, &octets);
		if (file == NULL)
			return fail(why, REASON_NO_MEMORY, "%s", name);
		file->next = generation->files;
		generation->files = file;
	}
	return true;
}

/* The spool outlives every configuration; what it may use is in the one in
 * force. */
static bool
open_spool(const struct config *config, struct reason *why)
{
	char folder[sizeof server.info.root + 8];
	struct spool_options options = {
		.folder = folder,
		.start_id = server.info.start_id,
		.memory = config->spool_memory,
		.reserve = config->spool_reserve,
		.segment = 64 * 1024 * 1024,
		.committed = relay_link_committed,
		.context = server.relay,
	};

	if (server.spool != NULL)
		return true;
	snprintf(folder, sizeof folder, "%s/in", server.info.root);
	return spool_open(&server.spool, &options, why);
}

static bool
is_known(uint32_t number)
{
	const struct generation *generation;

	/* The last session of an old one takes it off the list and frees it. */
	pthread_rwlock_rdlock(&server.configurations);
	for (generation = server.generations; generation != NULL;
	     generation = generation->next)
		if (generation->number == number)
			break;
	pthread_rwlock_unlock(&server.configurations);
	return generation != NULL;
}

bool
generation_prepare(uint32_t number, const struct bundle *bundle,
    struct reason *why)
{
	struct generation *generation;

	if (is_known(number))
		return fail(why, REASON_EXISTS, "configuration %u is known",
		    number);
	generation = calloc(1, sizeof *generation);
	if (generation == NULL)
		return fail(why, REASON_NO_MEMORY, "configuration");
	pthread_mutex_init(&generation->lock, NULL);
	generation->number = number;
	generation->held = true;
	atomic_init(&generation->references, 1);
	if (!config_from_bundle(&generation->config, bundle, why) ||
	    !load_tables(generation, bundle, why) ||
	    !copy_files(generation, bundle, why) ||
	    !services_make(generation, bundle, why) ||
	    !trial_services(generation, bundle, why) ||
	    !open_spool(generation->config, why)) {
		generation_free(generation);
		return false;
	}
	pthread_rwlock_wrlock(&server.configurations);
	generation->next = server.generations;
	server.generations = generation;
	pthread_rwlock_unlock(&server.configurations);
	return true;
}

struct generation *
generation_current(void)
{
	struct generation *generation;

	pthread_rwlock_rdlock(&server.configurations);
	generation = server.current;
	if (generation != NULL)
		atomic_fetch_add(&generation->references, 1);
	pthread_rwlock_unlock(&server.configurations);
	return generation;
}

static void
unlink_generation(struct generation *generation)
{
	struct generation **link;

	pthread_rwlock_wrlock(&server.configurations);
	for (link = &server.generations; *link != generation;)
		link = &(*link)->next;
	*link = generation->next;
	pthread_rwlock_unlock(&server.configurations);
}

void
generation_unref(struct generation *generation)
{
	uint32_t number = generation->number;

	if (atomic_fetch_sub(&generation->references, 1) != 1)
		return;
	unlink_generation(generation);
	generation_free(generation);
	role_say_unused(number);
}

/* The server's own reference goes; sessions may hold others. */
static void
let_go(struct generation *generation)
{
	if (!generation->held)
		return;
	generation->held = false;
	generation_unref(generation);
}

/* The first one held before number, or NULL.  Only the main thread lets go,
 * so that what is held stays. */
static struct generation *
find_held(uint32_t number, bool before)
{
	struct generation *generation;

	pthread_rwlock_rdlock(&server.configurations);
	for (generation = server.generations; generation != NULL;
	     generation = generation->next)
		if (generation->held && (before ? generation->number < number
						: generation->number == number))
			break;
	pthread_rwlock_unlock(&server.configurations);
	return generation;
}

void
generation_commit(uint32_t number)
{
	struct generation *generation = find_held(number, false), *old;

	if (generation == NULL) {
		log_line(SAY_ERROR, "commit", "number=%u detail=unknown",
		    number);
		return;
	}
	generation->since = time(NULL);
	spool_configure(server.spool, generation->config->spool_memory,
	    generation->config->spool_reserve);
	pthread_rwlock_wrlock(&server.configurations);
	server.current = generation;
	pthread_rwlock_unlock(&server.configurations);
	log_set_debug(generation->config->debug);
	listeners_commit(generation);
	while ((old = find_held(number, true)) != NULL)
		let_go(old);
}

static void
leave(struct generation *generation)
{
	struct session *s;

	pthread_mutex_lock(&generation->lock);
	generation->retired = true;
	for (s = generation->sessions; s != NULL; s = s->next)
		session_leave(s);
	pthread_mutex_unlock(&generation->lock);
}

void
generation_retire(uint32_t number)
{
	struct generation *generation;

	pthread_rwlock_rdlock(&server.configurations);
	for (generation = server.generations; generation != NULL;
	     generation = generation->next)
		if (generation->number == number &&
		    generation != server.current) {
			leave(generation);
			break;
		}
	pthread_rwlock_unlock(&server.configurations);
	generation = find_held(number, false);
	if (generation != NULL && generation != server.current)
		let_go(generation);
}

void
generations_leave(void)
{
	struct generation *generation;

	pthread_rwlock_rdlock(&server.configurations);
	for (generation = server.generations; generation != NULL;
	     generation = generation->next)
		leave(generation);
	pthread_rwlock_unlock(&server.configurations);
}

void
generations_visit(void (*visit)(struct session *s, void *context),
    void *context)
{
	struct generation *generation;
	struct session *s;

	pthread_rwlock_rdlock(&server.configurations);
	for (generation = server.generations; generation != NULL;
	     generation = generation->next) {
		pthread_mutex_lock(&generation->lock);
		for (s = generation->sessions; s != NULL; s = s->next)
			visit(s, context);
		pthread_mutex_unlock(&generation->lock);
	}
	pthread_rwlock_unlock(&server.configurations);
}

static const struct pem_file *
find_file(const struct generation *generation, enum bundle_kind kind,
    const char *name)
{
	const struct pem_file *file;

	for (file = generation->files; file != NULL; file = file->next)
		if (file->kind == kind && strcmp(file->name, name) == 0)
			return file;
	return NULL;
}

/* Under generation.lock.  A set that cannot be made is remembered too: it is
 * logged once, and means that nobody is trusted. */
static struct anchor_set *
make_set(struct generation *generation, const char *path, const char *crl)
{
	const struct pem_file *anchors, *list = NULL;
	struct anchor_set *set = calloc(1, sizeof *set);
	struct reason why = { REASON_ABSENT, "not in the bundle" };

	if (set == NULL)
		return NULL;
	set->path = strdup(path);
	set->crl = strdup(crl);
	if (set->path == NULL || set->crl == NULL) {
		sets_free(set);
		return NULL;
	}
	anchors = find_file(generation, BUNDLE_ANCHORS, path);
	if (crl[0] != '\0')
		list = find_file(generation, BUNDLE_CRL, crl);
	if (anchors == NULL || (crl[0] != '\0' && list == NULL) ||
	    !tls_anchors_new(&set->anchors, &anchors->octets,
		list != NULL ? &list->octets : NULL, &why)) {
		set->anchors = NULL;
		log_line(SAY_ERROR, "anchors", "path=%s crl=%s detail=\"%s\"",
		    path, crl, why.text);
	}
	set->next = generation->sets;
	generation->sets = set;
	return set;
}

const struct tls_anchors *
generation_anchors(struct generation *generation,
    const struct config_listener *listener, const char *path, const char *crl)
{
	const struct tls_anchors *anchors = NULL;
	struct anchor_set *set;

	if (crl == NULL)
		crl = "";
	if (path[0] == '\0') {
		path = listener->client_ca;
		if (crl[0] == '\0' && listener->client_crl != NULL)
			crl = listener->client_crl;
	}
	if (path == NULL)
		return NULL;
	pthread_mutex_lock(&generation->lock);
	for (set = generation->sets; set != NULL; set = set->next)
		if (strcmp(set->path, path) == 0 && strcmp(set->crl, crl) == 0)
			break;
	if (set == NULL)
		set = make_set(generation, path, crl);
	if (set != NULL)
		anchors = set->anchors;
	pthread_mutex_unlock(&generation->lock);
	return anchors;
}
