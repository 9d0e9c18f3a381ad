/*
 * server/master_environment.c: what a role gets of our environment.
 *
 * Whoever starts a server has much in his environment that is nobody else's
 * business, and libraries take orders from it: with SSLKEYLOGFILE GnuTLS
 * writes down what decrypts its sessions, other names move the system's files.
 * So only names on this list are passed on.
 *
 * LD_PRELOAD is no way into a role that its setter had not had already: he has
 * loaded his code into the master, which is root where roles are confined.
 */
#include <string.h>
#include <unistd.h>

#include "master.h"

enum { ENVIRONMENT_MOST = 128 };

static bool
is_passed(const char *entry)
{
	static const char *const names[] = { "PATH", "TZ", "LANG",
		"ASAN_OPTIONS", "LSAN_OPTIONS", "UBSAN_OPTIONS", "TSAN_OPTIONS",
		"LD_PRELOAD", "PAM_WRAPPER", "SOFTHSM2_CONF" };
	static const char *const beginnings[] = { "SALLYPORT_",
		"PAM_WRAPPER_", "PKCS11_", "P11_KIT_" };
	size_t len = strcspn(entry, "=");

	for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++)
		if (strlen(names[i]) == len &&
		    memcmp(names[i], entry, len) == 0)
			return true;
	for (size_t i = 0; i < sizeof(beginnings) / sizeof(*beginnings); i++)
		if (strncmp(entry, beginnings[i], strlen(beginnings[i])) == 0)
			return true;
	return false;
}

char **
role_environment(void)
{
	static char *passed[ENVIRONMENT_MOST + 1];
	size_t count = 0;

	for (char **e = environ; *e != NULL && count < ENVIRONMENT_MOST; e++)
		if (is_passed(*e))
			passed[count++] = *e;
	passed[count] = NULL;
	return passed;
}
