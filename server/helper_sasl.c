/*
 * server/helper_sasl.c: CRAM-MD5, DIGEST-MD5 and GSSAPI, run in a child.
 *
 * The child reads what strangers send with code that has had its holes
 * (auth/guarded.h), so it may do little: no sockets, no programs, and no files
 * but for Kerberos.  Whoever takes it over can claim to be a user, which auth
 * weighs as it weighs a claim: only the name whose secret was given, only
 * principals where Kerberos is asked.
 */
#include <errno.h>
#include <seccomp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../auth/guarded.h"
#include "helper.h"
#include "helper_sasl.h"

enum { MECHANISM_SIZE = 32 };

struct exchange_request {
	char mechanism[MECHANISM_SIZE];
	bool has_initial;
	gnutls_datum_t initial; /* borrowed */
};

static bool
read_request(struct exchange_request *request, struct wire_reader *r)
{
	uint8_t has_initial;

	if (!wire_get_string(r, request->mechanism, sizeof request->mechanism))
		return false;
	has_initial = wire_get_u8(r);
	request->has_initial = has_initial == 1;
	request->initial = wire_get_bytes(r, HELPER_RESPONSE_MAX);
	return wire_reader_done(r) && has_initial <= 1 &&
	       guarded_is(request->mechanism);
}

static int
allow(scmp_filter_ctx ctx, const int *calls, size_t count)
{
	int rc = 0;

	for (size_t i = 0; i < count && rc == 0; i++)
		rc = seccomp_rule_add(ctx, SCMP_ACT_ALLOW, calls[i], 0);
	return rc;
}

/* What the channel, the allocator and the clock need; and what Kerberos needs
 * to read its files and keep its replay cache. */
static int
filter_build(scmp_filter_ctx ctx, bool has_files)
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
	int rc = allow(ctx, always, sizeof always / sizeof *always);

	return rc == 0 && has_files
		   ? allow(ctx, files, sizeof files / sizeof *files)
		   : rc;
}

static bool
drop(bool has_files)
{
	scmp_filter_ctx ctx = seccomp_init(SCMP_ACT_ERRNO(EACCES));
	bool ok = ctx != NULL && filter_build(ctx, has_files) == 0 &&
		  seccomp_load(ctx) == 0;

	seccomp_release(ctx);
	return ok;
}

bool
helper_sasl_environment(const struct config *config)
{
	char keytab[4096 + 8], cache[4096 + 32];

	if (snprintf(keytab, sizeof keytab, "FILE:%s", config->keytab) >=
		(int)sizeof keytab ||
	    snprintf(cache, sizeof cache, "%s/helper", config->state) >=
		(int)sizeof cache)
		return false;
	return setenv("KRB5_KTNAME", keytab, 1) == 0 &&
	       setenv("KRB5RCACHEDIR", cache, 1) == 0;
}

static bool
ask_secret(void *context, const char *authid,
    char out[static GUARDED_SECRET_MAX + 1])
{
	(void)context;
	return helper_secret(authid, out);
}

/* Challenges and responses, until it is decided. */
static void
converse(struct guarded *g, const struct exchange_request *request)
{
	const gnutls_datum_t *response =
	    request->has_initial ? &request->initial : NULL;
	gnutls_datum_t got = { NULL, 0 }, challenge;
	struct reason why = { 0 };
	enum exchange_step step;

	while ((step = guarded_step(g, response, &why)) == EXCHANGE_CHALLENGE) {
		challenge = guarded_challenge(g);
		helper_challenge(challenge.data, challenge.size);
		free(got.data);
		if (!helper_response(&got))
			return; /* nobody wants to know any more */
		response = &got;
	}
	free(got.data);
	if (step == EXCHANGE_PROVED)
		helper_proved(guarded_authid(g), guarded_authzid(g));
	else
		helper_answer(step == EXCHANGE_MALFORMED ? HELPER_MALFORMED
			      : step == EXCHANGE_DENIED  ? HELPER_NO
							 : HELPER_TROUBLE,
		    why.text);
}

static void
run(const struct config *config, struct wire_reader *r)
{
	struct exchange_request request;
	struct guarded_options options = { .mechanism = request.mechanism,
		.realm = config->realm,
		.hostname = config->hostname,
		.secret = ask_secret };
	struct guarded *g = NULL;
	struct reason why = { 0 };
	bool is_gssapi;

	if (!read_request(&request, r)) {
		helper_answer_broken();
		return;
	}
	is_gssapi = !guarded_is_server_first(request.mechanism);
	if (is_gssapi &&
	    (config->keytab == NULL || !helper_sasl_environment(config))) {
		helper_answer_broken();
		return;
	}
	if (!drop(is_gssapi) && !config->confine_best)
		helper_answer(HELPER_TROUBLE, "the helper cannot be confined");
	else if (!guarded_new(&g, &options, &why))
		helper_answer(HELPER_TROUBLE, why.text);
	else
		converse(g, &request);
	guarded_free(g);
}

const struct helper_kind helper_sasl = { .start = HELPER_EXCHANGE,
	.longest = HELPER_RESPONSE_MAX + 128,
	.converses = true,
	.run = run };
