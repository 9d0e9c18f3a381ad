/*
 * server/helper_confine.c: what a process may do in which a library meets the
 * octets of strangers.
 *
 * The helpers' user is in group shadow, for PAM's sake, and cannot leave it:
 * that is why the files that others need are listed, where the kernel can hold
 * a process to a list (Landlock).
 */
#include "helper_confine.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/landlock.h>
#include <seccomp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

enum {
	READ = LANDLOCK_ACCESS_FS_READ_FILE,
	LIST = LANDLOCK_ACCESS_FS_READ_DIR,
	WRITE = LANDLOCK_ACCESS_FS_WRITE_FILE,
	MAKE = LANDLOCK_ACCESS_FS_MAKE_REG,
	/* All that the first version knows. */
	ALL = (LANDLOCK_ACCESS_FS_MAKE_SYM << 1) - 1,
};

static int
allow_calls(scmp_filter_ctx ctx, const int *calls, size_t count)
{
	int rc = 0;

	for (size_t i = 0; i < count && rc == 0; i++)
		rc = seccomp_rule_add(ctx, SCMP_ACT_ALLOW, calls[i], 0);
	return rc;
}

/* What the channel, the allocator and the clock need; and what reads files and
 * keeps Kerberos' replay cache. */
static int
filter_build(scmp_filter_ctx ctx, bool with_files)
{
	static const int always[] = { SCMP_SYS(recvmsg), SCMP_SYS(sendmsg),
		SCMP_SYS(read), SCMP_SYS(write), SCMP_SYS(close), SCMP_SYS(brk),
		SCMP_SYS(mmap), SCMP_SYS(munmap), SCMP_SYS(mprotect),
		SCMP_SYS(mremap), SCMP_SYS(madvise), SCMP_SYS(futex),
		SCMP_SYS(getrandom), SCMP_SYS(clock_gettime),
		SCMP_SYS(gettimeofday), SCMP_SYS(time), SCMP_SYS(getpid),
		SCMP_SYS(gettid), SCMP_SYS(rt_sigaction),
		SCMP_SYS(rt_sigprocmask), SCMP_SYS(rt_sigreturn),
		SCMP_SYS(sigaltstack), SCMP_SYS(exit), SCMP_SYS(exit_group) };
	static const int files[] = { SCMP_SYS(open), SCMP_SYS(openat),
		SCMP_SYS(stat), SCMP_SYS(lstat), SCMP_SYS(fstat),
		SCMP_SYS(newfstatat), SCMP_SYS(statx), SCMP_SYS(access),
		SCMP_SYS(faccessat), SCMP_SYS(faccessat2), SCMP_SYS(readlink),
		SCMP_SYS(getdents64), SCMP_SYS(lseek), SCMP_SYS(pread64),
		SCMP_SYS(pwrite64), SCMP_SYS(fcntl), SCMP_SYS(flock),
		SCMP_SYS(fsync), SCMP_SYS(umask), SCMP_SYS(getuid),
		SCMP_SYS(geteuid), SCMP_SYS(getgid), SCMP_SYS(getegid),
		SCMP_SYS(uname) };
	int rc = allow_calls(ctx, always, sizeof always / sizeof *always);

	return rc == 0 && with_files
		   ? allow_calls(ctx, files, sizeof files / sizeof *files)
		   : rc;
}

static bool
filter_calls(bool with_files, struct reason *why)
{
	scmp_filter_ctx ctx = seccomp_init(SCMP_ACT_ERRNO(EACCES));
	int rc = ctx == NULL ? -ENOMEM : filter_build(ctx, with_files);

	if (rc == 0)
		rc = seccomp_load(ctx);
	seccomp_release(ctx);
	errno = -rc;
	return rc == 0 || fail_errno(why, "seccomp filter");
}

/* What is not there needs no permission. */
static bool
allow_path(int ruleset, const char *path, uint64_t access)
{
	struct landlock_path_beneath_attr rule = { .allowed_access = access };
	struct stat st;
	bool ok;

	rule.parent_fd = open(path, O_PATH | O_CLOEXEC);
	if (rule.parent_fd < 0)
		return true;
	ok = fstat(rule.parent_fd, &st) == 0;
	if (ok && !S_ISDIR(st.st_mode)) /* what can be done to a file */
		rule.allowed_access &= READ | WRITE;
	ok = ok && syscall(SYS_landlock_add_rule, ruleset,
		       LANDLOCK_RULE_PATH_BENEATH, &rule, 0) == 0;
	close(rule.parent_fd);
	return ok;
}

static bool
allow_reading(int ruleset, const char *const *paths, size_t count)
{
	for (size_t i = 0; i < count; i++)
		if (!allow_path(ruleset, paths[i], READ | LIST))
			return false;
	return true;
}

/* cache: the folder of Kerberos; NULL: for those who ask over the network. */
static bool
allow_paths(int ruleset, const struct config *config, const char *cache)
{
	/* The libraries, and what the resolver looks at, with Kerberos before
	 * it finds that it may not ask. */
	static const char *const all[] = { "/usr", "/lib", "/lib64",
		"/etc/ld.so.cache", "/etc/nsswitch.conf", "/etc/host.conf",
		"/etc/hosts", "/etc/localtime", "/dev/null", "/dev/urandom" };
	/* Configuration and mechanisms of the library. */
	static const char *const kerberos[] = { "/etc/krb5.conf",
		"/etc/krb5.conf.d", "/etc/krb5", "/etc/gss",
		"/etc/gssapi_mech.conf" };
	static const char *const network[] = { "/etc/resolv.conf",
		"/etc/gai.conf", "/etc/services", "/etc/gnutls",
		"/etc/ssl/openssl.cnf" };

	if (!allow_reading(ruleset, all, sizeof all / sizeof *all))
		return false;
	if (cache == NULL)
		return allow_reading(ruleset, network,
		    sizeof network / sizeof *network);
	return allow_reading(ruleset, kerberos,
		   sizeof kerberos / sizeof *kerberos) &&
	       allow_path(ruleset, config->keytab, READ) &&
	       allow_path(ruleset, cache, READ | WRITE | LIST | MAKE);
}

static bool
filter_files(const struct config *config, const char *cache, struct reason *why)
{
	const struct landlock_ruleset_attr attr = { .handled_access_fs = ALL };
	int ruleset = (int)syscall(SYS_landlock_create_ruleset, &attr,
	    sizeof attr.handled_access_fs, 0);
	bool ok;

	if (ruleset < 0) /* a kernel without it */
		return errno == ENOSYS || errno == EOPNOTSUPP ||
		       fail_errno(why, "list of files");
	ok = allow_paths(ruleset, config, cache) &&
	     syscall(SYS_landlock_restrict_self, ruleset, 0) == 0;
	if (!ok)
		fail_errno(why, "list of files");
	close(ruleset);
	return ok;
}

/* The replay cache lies in the state folder, where only the helpers' user can
 * put files: elsewhere anybody could, and lock all out. */
static bool
name_files(const struct config *config, char cache[static PATH_MAX],
    struct reason *why)
{
	char keytab[PATH_MAX + 8];

	if (snprintf(keytab, sizeof keytab, "FILE:%s", config->keytab) >=
		(int)sizeof keytab ||
	    snprintf(cache, PATH_MAX, "%s/helper", config->state) >= PATH_MAX)
		return fail(why, REASON_RANGE, "path too long");
	return (setenv("KRB5_KTNAME", keytab, 1) == 0 &&
		   setenv("KRB5RCACHEDIR", cache, 1) == 0) ||
	       fail_errno(why, "environment");
}

bool
helper_confine(const struct config *config, bool with_kerberos,
    struct reason *why)
{
	char cache[PATH_MAX];

	if (with_kerberos && !name_files(config, cache, why))
		return false;
	/* Without it neither filter may be set. */
	prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
	if ((!with_kerberos || filter_files(config, cache, why)) &&
	    filter_calls(with_kerberos, why))
		return true;
	return config->confine_best;
}

bool
helper_confine_files(const struct config *config, struct reason *why)
{
	prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
	return filter_files(config, NULL, why) || config->confine_best;
}
