/*
 * t/unit/helper_confine.c: what a helper that runs GNU SASL can still do.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/landlock.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../../server/helper_confine.h"

/* After policy/reason.h: it has a macro named fail. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

static char folder[64], keytab[96], cache[96], other[96];

static void
make(const char *path)
{
	int fd = open(path, O_WRONLY | O_CREAT, 0600);

	assert_true(fd >= 0);
	close(fd);
}

static int
setup(void **state)
{
	(void)state;
	strcpy(folder, "/tmp/helper_confine.XXXXXX");
	if (mkdtemp(folder) == NULL)
		return -1;
	snprintf(keytab, sizeof keytab, "%s/keytab", folder);
	snprintf(cache, sizeof cache, "%s/helper", folder);
	snprintf(other, sizeof other, "%s/other", folder);
	make(keytab);
	make(other);
	return mkdir(cache, 0700);
}

static int
teardown(void **state)
{
	char command[96];

	(void)state;
	snprintf(command, sizeof command, "rm -rf %s", folder);
	return system(command);
}

static bool
can_open(const char *path, int flags)
{
	return open(path, flags | O_CLOEXEC, 0600) >= 0;
}

static bool
can_run(void)
{
	pid_t pid = fork();

	if (pid == 0)
		_exit(0);
	return pid > 0;
}

static bool
has_landlock(void)
{
	return syscall(SYS_landlock_create_ruleset, NULL, 0,
		   LANDLOCK_CREATE_RULESET_VERSION) > 0;
}

/* Bits of what a confined child could do. */
enum {
	CONFINED = 1,
	KEYTAB = 2,
	OTHER = 4,
	CACHE = 8,
	KEYTAB_WRITTEN = 16,
	SOCKET = 32,
	FORK = 64,
};

static bool
confine_for_kerberos(const struct config *config, struct reason *why)
{
	return helper_confine(config, true, why);
}

static bool
confine_wholly(const struct config *config, struct reason *why)
{
	return helper_confine(config, false, why);
}

static int
what_it_can(bool (*confine)(const struct config *config, struct reason *why))
{
	struct config config = { .keytab = keytab, .state = folder };
	char file[128];
	int status = 0;
	pid_t pid = fork();

	assert_true(pid >= 0);
	if (pid == 0) {
		int can = 0;

		snprintf(file, sizeof file, "%s/rcache", cache);
		if (confine(&config, NULL))
			can |= CONFINED;
		can |= can_open(keytab, O_RDONLY) ? KEYTAB : 0;
		can |= can_open(other, O_RDONLY) ? OTHER : 0;
		can |= can_open(file, O_RDWR | O_CREAT) ? CACHE : 0;
		can |= can_open(keytab, O_RDWR) ? KEYTAB_WRITTEN : 0;
		can |= socket(AF_INET, SOCK_STREAM, 0) >= 0 ? SOCKET : 0;
		can |= can_run() ? FORK : 0;
		_exit(can);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	return WEXITSTATUS(status);
}

static void
nothing_without_kerberos(void **state)
{
	(void)state;
	assert_int_equal(what_it_can(confine_wholly), CONFINED);
}

static void
its_files_with_kerberos(void **state)
{
	int open = has_landlock() ? 0 : OTHER | KEYTAB_WRITTEN;

	(void)state;
	assert_int_equal(what_it_can(confine_for_kerberos),
	    CONFINED | KEYTAB | CACHE | open);
}

static void
no_secrets_with_network(void **state)
{
	int open = has_landlock() ? 0 : KEYTAB | OTHER | CACHE | KEYTAB_WRITTEN;

	(void)state;
	assert_int_equal(what_it_can(helper_confine_files),
	    CONFINED | SOCKET | FORK | open);
}

static void
no_programs_with_network(void **state)
{
	struct config config = { .state = folder };
	int status = 0;
	pid_t pid;

	(void)state;
	if (!has_landlock())
		return;
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		if (!helper_confine_files(&config, NULL))
			_exit(2);
		execl("/bin/true", "true", NULL);
		_exit(errno == EACCES ? 1 : 3);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 1);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(nothing_without_kerberos, setup,
		    teardown),
		cmocka_unit_test_setup_teardown(its_files_with_kerberos, setup,
		    teardown),
		cmocka_unit_test_setup_teardown(no_secrets_with_network, setup,
		    teardown),
		cmocka_unit_test_setup_teardown(no_programs_with_network, setup,
		    teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
