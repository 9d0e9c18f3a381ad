/*
 * server/lookup_resolver_srv.c: SRV records by libunbound: both services of a
 * domain at once.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lookup_resolver_internal.h"

enum { TYPE_SRV = 33 };

static void
finish(struct resolver_question *question, enum lookup_answer what,
    const char *text)
{
	if (what != LOOKUP_FOUND)
		srv_answer_init(question->srv, what, text);
	question->done_srv(question->context, question->srv);
	free(question->srv);
	free(question);
}

static bool services_ask(struct resolver_question *question);

/* Both have answered, or could not be asked.  One failing does not take away
 * what the other has: TLS is asked of both. */
static void
services_done(struct resolver_question *question)
{
	if (question->asking || question->open[ASK_SUBMISSIONS] ||
	    question->open[ASK_SUBMISSION])
		return;
	if (question->srv->count > 0) {
		question->srv->answer = LOOKUP_FOUND;
		finish(question, LOOKUP_FOUND, "");
	} else if (question->trouble && question->ub != question->plain) {
		/* Behind a resolver that cannot do DNSSEC they are merely
		 * not proved, unless everything has to be. */
		question->ub = question->plain;
		question->trouble = false;
		(void)services_ask(question);
	} else if (question->trouble) {
		finish(question, LOOKUP_TROUBLE, question->why);
	} else {
		finish(question, LOOKUP_NONE,
		    question->srv->denied
			? "the domain's SRV record says that it offers none"
			: "no usable SRV record");
	}
}

static void
take_service(struct resolver_question *question, int which, int rc,
    struct ub_result *result)
{
	question->open[which] = false;
	if (question_is_answer(question, rc, result))
		for (int i = 0; result->data[i] != NULL; i++)
			srv_answer_add(question->srv, result->data[i],
			    (size_t)result->len[i], which == ASK_SUBMISSIONS,
			    result->secure);
	ub_resolve_free(result);
	services_done(question);
}

static void
on_submissions(void *context, int rc, struct ub_result *result)
{
	take_service(context, ASK_SUBMISSIONS, rc, result);
}

static void
on_submission(void *context, int rc, struct ub_result *result)
{
	take_service(context, ASK_SUBMISSION, rc, result);
}

static void
service_ask(struct resolver_question *question, const char *service, int which,
    ub_callback_type callback)
{
	char name[RESOLVER_HOST_MAX + 32];

	snprintf(name, sizeof(name), "_%s._tcp.%s", service, question->host);
	dns_ask(question, name, TYPE_SRV, which, callback);
}

/* False if all is done. */
static bool
services_ask(struct resolver_question *question)
{
	bool open;

	question->asking = true;
	service_ask(question, "submissions", ASK_SUBMISSIONS, on_submissions);
	service_ask(question, "submission", ASK_SUBMISSION, on_submission);
	question->asking = false;
	open =
	    question->open[ASK_SUBMISSIONS] || question->open[ASK_SUBMISSION];
	services_done(question);
	return open;
}

struct resolver_question *
resolver_ask_srv(struct resolver *resolver, const char *domain,
    void (*done)(void *context, const struct srv_answer *answer), void *context)
{
	struct resolver_question *question = calloc(1, sizeof(*question));
	struct srv_answer *answer = malloc(sizeof(*answer));
	static const struct srv_answer no_memory = {
		.answer = LOOKUP_TROUBLE,
		.text = "out of memory",
	};

	if (question == NULL || answer == NULL) {
		free(question);
		free(answer);
		done(context, &no_memory);
		return NULL;
	}
	srv_answer_init(answer, LOOKUP_NONE, "");
	question->srv = answer;
	question->ub =
	    resolver->strict != NULL ? resolver->strict : resolver->plain;
	question->plain = resolver->plain;
	question->done_srv = done;
	question->context = context;
	snprintf(question->host, sizeof(question->host), "%s", domain);
	return services_ask(question) ? question : NULL;
}
