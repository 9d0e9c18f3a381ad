/*
 * t/bench/users.c: a store with a million users.
 *
 *     users text COUNT ITERATIONS   their export, as "user import" reads it;
 *                                   the password is on standard input
 *     users open FILE COUNT         opens a store of them and looks names up
 *
 * They differ in their names alone: salt and verifiers are those of the first,
 * since deriving a million would take half an hour and change nothing.
 * open prints: milliseconds to open, microseconds to get an entry that is
 * there and to find that one is not.
 */
#include <err.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "../../auth/export.h"
#include "../../auth/store.h"
#include "users.h"

enum { LOOKUPS = 100000 };

static double
now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec * 1e3 + (double)t.tv_nsec / 1e6;
}

static void
write_all(const char *password, unsigned count, uint32_t iterations)
{
	const unsigned char secret[STORE_SECRET_OCTETS] = "bench";
	struct entry entry = { .kind = ENTRY_PERSON,
		.enabled = true,
		.created = time(NULL) };
	char name[USER_NAME_SIZE], *line, *at;
	struct reason why;

	user_name(0, name);
	strcpy(entry.name, name);
	entry.changed = entry.created;
	if (!verifier_make(entry.verifiers, password, iterations, &why))
		errx(1, "%s", why.text);
	puts(export_header(secret));
	line = export_entry(&entry);
	at = line != NULL ? strstr(line, name) : NULL;
	if (at == NULL)
		errx(1, "export: no entry");
	for (unsigned i = 0; i < count; i++) {
		user_name(i, name);
		memcpy(at, name, strlen(name));
		puts(line);
	}
	puts(export_trailer(count));
}

static double
lookups(struct store *store, unsigned first, unsigned count, bool there)
{
	double began = now_ms();
	struct entry entry;
	struct reason why;
	char name[USER_NAME_SIZE];

	for (unsigned i = 0; i < LOOKUPS; i++) {
		user_name(first + (unsigned)((uint64_t)i * 7919 % count), name);
		if (store_get(store, name, &entry, &why) != there)
			errx(1, "%s: %s", name, there ? why.text : "is there");
	}
	return (now_ms() - began) * 1e3 / LOOKUPS;
}

static void
open_and_look(const char *path, unsigned count)
{
	struct store *store;
	struct reason why;
	double began, took;
	struct stat st;

	/* A store is its owner's alone, not even root's. */
	if (stat(path, &st) != 0 || (geteuid() == 0 && seteuid(st.st_uid) != 0))
		err(1, "%s", path);
	began = now_ms();
	if (!store_open(&store, path, &why))
		errx(1, "%s", why.text);
	took = now_ms() - began;
	printf("%.3f %.2f %.2f\n", took, lookups(store, 0, count, true),
	    lookups(store, count, count, false));
	store_close(store);
}

int
main(int argc, char **argv)
{
	char password[256];

	if (argc == 4 && strcmp(argv[1], "text") == 0 &&
	    fgets(password, sizeof password, stdin) != NULL) {
		password[strcspn(password, "\n")] = '\0';
		write_all(password, (unsigned)atoi(argv[2]),
		    (uint32_t)atoi(argv[3]));
	} else if (argc == 4 && strcmp(argv[1], "open") == 0) {
		open_and_look(argv[2], (unsigned)atoi(argv[3]));
	} else {
		errx(2, "usage: users text COUNT ITERATIONS < password, or "
			"users open FILE COUNT");
	}
	return fflush(stdout) == 0 ? 0 : 1;
}
