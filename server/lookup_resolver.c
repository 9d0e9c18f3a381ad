/*
 * server/lookup_resolver.c: A, AAAA and TLSA by libunbound; SRV is
 * lookup_resolver_srv.c's.
 *
 * A question is a few of libunbound's: both families of addresses at once and,
 * for TLSA, the records of one or two names after them; between them perhaps
 * whether the host is an alias for certain.
 */
#include "lookup_resolver_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "config.h"
#include "lookup_context.h"

enum {
	TYPE_A = 1,
	TYPE_CNAME = 5,
	TYPE_AAAA = 28,
	TYPE_TLSA = 52,
	CLASS_IN = 1,
	RCODE_NOERROR = 0,
	RCODE_NXDOMAIN = 3,
};

/* --- making ------------------------------------------------------------- */

static bool
watch(const struct resolver *resolver, struct ub_ctx *ub)
{
	struct epoll_event event = { .events = EPOLLIN };

	return ub == NULL || epoll_ctl(resolver->epoll, EPOLL_CTL_ADD,
				 ub_fd(ub), &event) == 0;
}

bool
resolver_new(struct resolver **resolver_out,
    const struct resolver_options *options, struct reason *why)
{
	const gnutls_datum_t *anchor = &options->trust_anchor;
	struct resolver *resolver = calloc(1, sizeof(*resolver));
	bool has_anchor = anchor->data != NULL;
	bool ok = true;

	if (resolver == NULL)
		return fail(why, REASON_NO_MEMORY, "resolver");
	resolver->epoll = epoll_create1(EPOLL_CLOEXEC);
	if (resolver->epoll < 0) {
		free(resolver);
		return fail_errno(why, "resolver");
	}
	if (has_anchor)
		ok =
		    lookup_context_new(&resolver->strict, options, anchor, why);
	if (ok && has_anchor && options->validate_all)
		resolver->plain = resolver->strict;
	else if (ok)
		ok = lookup_context_new(&resolver->plain, options, NULL, why);
	if (ok && (!watch(resolver, resolver->plain) ||
		      (resolver->strict != resolver->plain &&
			  !watch(resolver, resolver->strict))))
		ok = fail_errno(why, "resolver");
	if (ok)
		*resolver_out = resolver;
	else
		resolver_free(resolver);
	return ok;
}

void
resolver_free(struct resolver *resolver)
{
	if (resolver == NULL)
		return;
	if (resolver->strict != resolver->plain)
		ub_ctx_delete(resolver->strict);
	ub_ctx_delete(resolver->plain);
	close(resolver->epoll);
	free(resolver);
}

bool
resolver_check_anchor(const gnutls_datum_t *trust_anchor, struct reason *why)
{
	struct resolver_options options = { .server_count = 0 };
	struct ub_ctx *ub;

	if (!lookup_context_new(&ub, &options, trust_anchor, why))
		return false;
	ub_ctx_delete(ub);
	return true;
}

int
resolver_fd(const struct resolver *resolver)
{
	return resolver->epoll;
}

void
resolver_process(struct resolver *resolver)
{
	(void)ub_process(resolver->plain);
	if (resolver->strict != NULL && resolver->strict != resolver->plain)
		(void)ub_process(resolver->strict);
}

/* --- answers ------------------------------------------------------------ */

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

void
question_note_trouble(struct resolver_question *question, const char *what)
{
	size_t at = 0;

	if (question->trouble)
		return;
	question->trouble = true;
	for (; what[at] != '\0' && at + 1 < sizeof(question->why); at++)
		question->why[at] =
		    what[at] < 0x20 || what[at] > 0x7e ? '?' : what[at];
	question->why[at] = '\0';
}

bool
question_is_answer(struct resolver_question *question, int rc,
    const struct ub_result *result)
{
	if (rc == 0 && result != NULL && result->bogus) {
		question_note_trouble(question, result->why_bogus != NULL
					   ? result->why_bogus
					   : "DNSSEC validation failed");
		return false;
	}
	if (rc != 0 || result == NULL ||
	    (result->rcode != RCODE_NOERROR &&
		result->rcode != RCODE_NXDOMAIN)) {
		question_note_trouble(question, "no answer from DNS");
		return false;
	}
	return result->havedata;
}

static void
take_addresses(struct resolver_question *question, int rc,
    const struct ub_result *result)
{
	if (!question_is_answer(question, rc, result))
		return;
	if (!result->secure)
		question->insecure = true;
	if (result->canonname != NULL)
		snprintf(question->base, sizeof(question->base), "%s",
		    result->canonname);
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

	answer->text = "";
	if (answer->six_count + answer->four_count > 0) {
		answer->answer = LOOKUP_FOUND;
		answer->secure = !question->insecure;
	} else if (question->trouble) {
		answer->answer = LOOKUP_TROUBLE;
		answer->text = question->why;
	} else {
		answer->answer = LOOKUP_NONE;
		answer->text = "no such host, or it has no address";
	}
	question->done(question->context, answer);
	free(question);
}

static void
finish_tlsa(struct resolver_question *question, enum lookup_answer what,
    const char *text)
{
	if (what != LOOKUP_FOUND)
		tlsa_answer_init(question->tlsa, what, text);
	question->done_tlsa(question->context, question->tlsa);
	free(question->tlsa);
	free(question);
}

/* --- TLSA: RFC 7672, section 2.2 ---------------------------------------- */

static void
base_normalise(char *name)
{
	size_t len = strlen(name);

	if (len > 0 && name[len - 1] == '.')
		name[len - 1] = '\0';
	for (; *name != '\0'; name++)
		if (*name >= 'A' && *name <= 'Z')
			*name = (char)(*name - 'A' + 'a');
}

static void ask_one(struct resolver_question *question, const char *name,
    int which);

static void
ask_tlsa(struct resolver_question *question)
{
	char name[RESOLVER_HOST_MAX + 16];

	snprintf(name, sizeof(name), "_%u._tcp.%s", question->port,
	    question->base);
	ask_one(question, name, ASK_TLSA);
	if (!question->open[ASK_TLSA])
		finish_tlsa(question, LOOKUP_TROUBLE, question->why);
}

/*
 * The host's addresses are not proved.  If it is an alias they may lie in a
 * zone without signatures; the name of a proved alias is a TLSA base domain
 * even so.
 */
static void
ask_alias(struct resolver_question *question)
{
	base_normalise(question->base);
	if (strcmp(question->base, question->host) == 0) {
		finish_tlsa(question, LOOKUP_NONE,
		    "DNSSEC does not prove the host's addresses");
		return;
	}
	ask_one(question, question->host, ASK_ALIAS);
	if (!question->open[ASK_ALIAS])
		finish_tlsa(question, LOOKUP_TROUBLE, question->why);
}

/* Both families have answered. */
static void
addresses_judge(struct resolver_question *question)
{
	const struct resolver_answer *answer = &question->answer;

	if (question->trouble)
		finish_tlsa(question, LOOKUP_TROUBLE, question->why);
	else if (answer->six_count + answer->four_count == 0)
		finish_tlsa(question, LOOKUP_NONE,
		    "no such host, or it has no address");
	else if (question->insecure)
		ask_alias(question);
	else {
		base_normalise(question->base);
		if (resolver_is_host(question->base))
			ask_tlsa(question);
		else
			finish_tlsa(question, LOOKUP_NONE,
			    "the host is an alias of what is no host name");
	}
}

static void
alias_judge(struct resolver_question *question, int rc,
    const struct ub_result *result)
{
	if (question_is_answer(question, rc, result) && result->secure) {
		snprintf(question->base, sizeof(question->base), "%s",
		    question->host);
		ask_tlsa(question);
	} else if (question->trouble) {
		finish_tlsa(question, LOOKUP_TROUBLE, question->why);
	} else {
		finish_tlsa(question, LOOKUP_NONE,
		    "DNSSEC does not prove the host's alias");
	}
}

static bool
take_records(struct resolver_question *question, const struct ub_result *result)
{
	tlsa_answer_init(question->tlsa, LOOKUP_FOUND, "");
	snprintf(question->tlsa->base, sizeof(question->tlsa->base), "%.253s",
	    question->base);
	for (int i = 0; result->data[i] != NULL; i++)
		if (!tlsa_answer_add(question->tlsa, result->data[i],
			(size_t)result->len[i]))
			return false;
	return true;
}

/* No record where we looked: at the host's own name, if that was not it. */
static void
try_own_name(struct resolver_question *question, const char *text)
{
	if (strcasecmp(question->base, question->host) == 0) {
		finish_tlsa(question, LOOKUP_NONE, text);
		return;
	}
	snprintf(question->base, sizeof(question->base), "%s", question->host);
	ask_tlsa(question);
}

static void
records_judge(struct resolver_question *question, int rc,
    const struct ub_result *result)
{
	if (!question_is_answer(question, rc, result)) {
		if (question->trouble)
			finish_tlsa(question, LOOKUP_TROUBLE, question->why);
		else
			try_own_name(question, "no TLSA record");
	} else if (!result->secure) {
		try_own_name(question, "DNSSEC does not prove the TLSA record");
	} else if (!take_records(question, result)) {
		finish_tlsa(question, LOOKUP_TROUBLE,
		    "too many or too large TLSA records");
	} else if (question->tlsa->count == 0) {
		finish_tlsa(question, LOOKUP_NONE, "TLSA records are empty");
	} else {
		finish_tlsa(question, LOOKUP_FOUND, "");
	}
}

/* --- asking ------------------------------------------------------------- */

/* Both families, or one that could not be asked, are through. */
static void
addresses_done(struct resolver_question *question)
{
	if (question->asking || question->open[ASK_SIX] ||
	    question->open[ASK_FOUR])
		return;
	if (question->tlsa != NULL)
		addresses_judge(question);
	else
		finish(question);
}

static void
on_six(void *context, int rc, struct ub_result *result)
{
	struct resolver_question *question = context;

	question->open[ASK_SIX] = false;
	take_addresses(question, rc, result);
	ub_resolve_free(result);
	addresses_done(question);
}

static void
on_four(void *context, int rc, struct ub_result *result)
{
	struct resolver_question *question = context;

	question->open[ASK_FOUR] = false;
	take_addresses(question, rc, result);
	ub_resolve_free(result);
	addresses_done(question);
}

static void
on_alias(void *context, int rc, struct ub_result *result)
{
	struct resolver_question *question = context;

	question->open[ASK_ALIAS] = false;
	alias_judge(question, rc, result);
	ub_resolve_free(result);
}

static void
on_tlsa(void *context, int rc, struct ub_result *result)
{
	struct resolver_question *question = context;

	question->open[ASK_TLSA] = false;
	records_judge(question, rc, result);
	ub_resolve_free(result);
}

void
dns_ask(struct resolver_question *question, const char *name, int type,
    int which, ub_callback_type callback)
{
	question->open[which] = true;
	if (ub_resolve_async(question->ub, name, type, CLASS_IN, question,
		callback, &question->id[which]) != 0) {
		question->open[which] = false;
		question_note_trouble(question, "no answer from DNS");
	}
}

static void
ask_one(struct resolver_question *question, const char *name, int which)
{
	static const int types[] = { TYPE_AAAA, TYPE_A, TYPE_CNAME, TYPE_TLSA };
	static const ub_callback_type callbacks[] = { on_six, on_four, on_alias,
		on_tlsa };

	dns_ask(question, name, types[which], which, callbacks[which]);
}

/* Asks for the addresses; NULL if all is done. */
static struct resolver_question *
question_start(struct resolver_question *question, const char *host)
{
	bool open;

	question->asking = true;
	ask_one(question, host, ASK_SIX);
	ask_one(question, host, ASK_FOUR);
	question->asking = false;
	open = question->open[ASK_SIX] || question->open[ASK_FOUR];
	addresses_done(question);
	return open ? question : NULL;
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

	if (question == NULL) {
		done(context, &trouble);
		return NULL;
	}
	question->ub = resolver->plain;
	question->done = done;
	question->context = context;
	return question_start(question, host);
}

static const struct tlsa_answer no_memory = {
	.answer = LOOKUP_TROUBLE,
	.text = "out of memory",
};
static const struct tlsa_answer no_anchor = {
	.answer = LOOKUP_TROUBLE,
	.text = "no trust anchor for DNSSEC, expected option trust-anchor, "
		"or " CONFIG_TRUST_ANCHOR " (Debian: install dns-root-data)",
};

struct resolver_question *
resolver_ask_tlsa(struct resolver *resolver, const char *host, uint16_t port,
    void (*done)(void *context, const struct tlsa_answer *answer),
    void *context)
{
	struct resolver_question *question;

	if (resolver->strict == NULL) {
		done(context, &no_anchor);
		return NULL;
	}
	question = calloc(1, sizeof(*question));
	if (question != NULL)
		question->tlsa = malloc(sizeof(*question->tlsa));
	if (question == NULL || question->tlsa == NULL) {
		free(question);
		done(context, &no_memory);
		return NULL;
	}
	question->ub = resolver->strict;
	question->done_tlsa = done;
	question->context = context;
	question->port = port;
	snprintf(question->host, sizeof(question->host), "%s", host);
	base_normalise(question->host);
	snprintf(question->base, sizeof(question->base), "%s", question->host);
	return question_start(question, question->host);
}

void
resolver_cancel(struct resolver_question *question)
{
	for (int which = 0; which < ASKS; which++)
		if (question->open[which])
			ub_cancel(question->ub, question->id[which]);
	free(question->tlsa);
	free(question->srv);
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
