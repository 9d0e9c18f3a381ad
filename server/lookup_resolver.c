/*
 * server/lookup_resolver.c: A and AAAA by libunbound.
 */
#include "lookup_resolver.h"

#include <stdlib.h>
#include <string.h>
#include <unbound.h>

enum {
	TYPE_A = 1,
	TYPE_AAAA = 28,
	CLASS_IN = 1,
	RCODE_NOERROR = 0,
	RCODE_NXDOMAIN = 3,
};

struct resolver {
	struct ub_ctx *ub;
};

struct resolver_question {
	struct resolver *resolver;
	void (*done)(void *context, const struct resolver_answer *answer);
	void *context;
	int id[2]; /* AAAA, A */
	bool open[2];
	bool trouble;
	bool asking; /* resolver_ask has not returned: do not free */
	struct resolver_answer answer;
};

static void
set_option(struct ub_ctx *ub, const char *name, const char *value)
{
	/* An option this library does not know leaves its default. */
	(void)ub_ctx_set_option(ub, name, value);
}

bool
resolver_new(struct resolver **resolver_out, struct reason *why)
{
	struct resolver *resolver = calloc(1, sizeof(*resolver));

	if (resolver == NULL)
		return fail(why, REASON_NO_MEMORY, "resolver");
	resolver->ub = ub_ctx_create();
	/* A thread instead of a fork; only now, before anything else. */
	if (resolver->ub == NULL || ub_ctx_async(resolver->ub, 1) != 0) {
		resolver_free(resolver);
		return fail(why, REASON_NO_MEMORY, "resolver");
	}
	/* Resolvers on this machine are the common case. */
	set_option(resolver->ub, "do-not-query-localhost:", "no");
	set_option(resolver->ub, "module-config:", "iterator");
	set_option(resolver->ub, "use-syslog:", "no");
	ub_ctx_debuglevel(resolver->ub, 0);
	/* Absent files: the root servers, and names from DNS alone. */
	(void)ub_ctx_resolvconf(resolver->ub, "/etc/resolv.conf");
	(void)ub_ctx_hosts(resolver->ub, "/etc/hosts");
	*resolver_out = resolver;
	return true;
}

void
resolver_free(struct resolver *resolver)
{
	if (resolver == NULL)
		return;
	if (resolver->ub != NULL)
		ub_ctx_delete(resolver->ub);
	free(resolver);
}

int
resolver_fd(const struct resolver *resolver)
{
	return ub_fd(resolver->ub);
}

void
resolver_process(struct resolver *resolver)
{
	(void)ub_process(resolver->ub);
}

static void
take_six(struct resolver_answer *answer, const char *data, int len)
{
	if (len != 16 || answer->six_count == RESOLVER_ADDRESSES)
		return;
	memcpy(&answer->six[answer->six_count++], data, 16);
}

static void
take_four(struct resolver_answer *answer, const char *data, int len)
{
	if (len != 4 || answer->four_count == RESOLVER_ADDRESSES)
		return;
	memcpy(&answer->four[answer->four_count++], data, 4);
}

static void
take_result(struct resolver_question *question, int rc,
    const struct ub_result *result)
{
	if (rc != 0 || result == NULL || result->bogus ||
	    (result->rcode != RCODE_NOERROR &&
		result->rcode != RCODE_NXDOMAIN)) {
		question->trouble = true;
		return;
	}
	if (!result->havedata)
		return;
	for (int i = 0; result->data[i] != NULL; i++) {
		if (result->qtype == TYPE_AAAA)
			take_six(&question->answer, result->data[i],
			    result->len[i]);
		else
			take_four(&question->answer, result->data[i],
			    result->len[i]);
	}
}

/* One family failing does not take away what the other has. */
static void
finish(struct resolver_question *question)
{
	struct resolver_answer *answer = &question->answer;

	if (question->asking || question->open[0] || question->open[1])
		return;
	answer->text = "";
	if (answer->six_count + answer->four_count > 0) {
		answer->answer = LOOKUP_FOUND;
	} else if (question->trouble) {
		answer->answer = LOOKUP_TROUBLE;
		answer->text = "no answer from DNS";
	} else {
		answer->answer = LOOKUP_NONE;
		answer->text = "no such host, or it has no address";
	}
	question->done(question->context, answer);
	free(question);
}

static void
on_six(void *context, int rc, struct ub_result *result)
{
	struct resolver_question *question = context;

	question->open[0] = false;
	take_result(question, rc, result);
	ub_resolve_free(result);
	finish(question);
}

static void
on_four(void *context, int rc, struct ub_result *result)
{
	struct resolver_question *question = context;

	question->open[1] = false;
	take_result(question, rc, result);
	ub_resolve_free(result);
	finish(question);
}

static void
ask_one(struct resolver_question *question, const char *host, int which)
{
	static const int types[] = { TYPE_AAAA, TYPE_A };
	static const ub_callback_type callbacks[] = { on_six, on_four };

	question->open[which] = true;
	if (ub_resolve_async(question->resolver->ub, host, types[which],
		CLASS_IN, question, callbacks[which],
		&question->id[which]) != 0) {
		question->open[which] = false;
		question->trouble = true;
	}
}

struct resolver_question *
resolver_ask(struct resolver *resolver, const char *host,
    void (*done)(void *context, const struct resolver_answer *answer),
    void *context)
{
	struct resolver_question *question = calloc(1, sizeof(*question));
	struct resolver_answer trouble = {
		.answer = LOOKUP_TROUBLE,
		.text = "out of memory",
	};
	bool open;

	if (question == NULL) {
		done(context, &trouble);
		return NULL;
	}
	question->resolver = resolver;
	question->done = done;
	question->context = context;
	question->asking = true;
	ask_one(question, host, 0);
	ask_one(question, host, 1);
	question->asking = false;
	open = question->open[0] || question->open[1];
	finish(question);
	return open ? question : NULL;
}

void
resolver_cancel(struct resolver_question *question)
{
	for (int which = 0; which < 2; which++)
		if (question->open[which])
			ub_cancel(question->resolver->ub, question->id[which]);
	free(question);
}

bool
resolver_is_host(const char *host)
{
	size_t len = strlen(host);

	if (len == 0 || len > 253)
		return false;
	for (size_t i = 0; i < len; i++) {
		char c = host[i];

		if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
			(c >= '0' && c <= '9') || c == '-' || c == '_' ||
			c == '.'))
			return false;
	}
	return host[0] != '.' && strstr(host, "..") == NULL;
}
