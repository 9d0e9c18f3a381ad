/*
 * server/auth_decide.c: who may log in, and when he is told.
 *
 * A success is answered at once, every failure at a fixed time after the
 * client's last octets came, whatever failed: an unknown name, a wrong
 * password and a disabled user look alike.  An answer that is late for that
 * time goes out at its next whole multiple.
 */
#include <string.h>
#include <strings.h>
#include <time.h>

#include "auth_dialogue.h"
#include "auth_legacy.h"
#include "log.h"

/* The first multiple of the delay since the request that is not past. */
static int64_t
failure_due(const struct dialogue *d)
{
	int64_t delay = d->config->config->auth_failure_delay_ms;
	int64_t spent = auth_now_ms() - d->asked_ms;

	if (delay <= 0)
		return d->asked_ms + spent;
	return d->asked_ms +
	       (spent <= delay ? delay : (spent + delay - 1) / delay * delay);
}

static const char too_many[] = "too many failed logins lately";

static struct guess
guess_of(const struct dialogue *d, const char *name)
{
	const struct config *config = d->config->config;

	return (struct guess){ .client = d->client,
		.name = name,
		.now_ms = d->asked_ms,
		.delay_ms = config->auth_failure_delay_ms,
		.free = config->auth_free_failures };
}

/* When the answer is due, by what has failed before.  Who would have to wait
 * too long is sent away, right or wrong. */
static int64_t
weigh_guess(struct dialogue *d)
{
	const struct config *config = d->config->config;
	char name[NAME_SIZE];
	const struct guess guess = guess_of(d, name);
	struct guess_answer answer = { .at_ms = d->asked_ms };
	int64_t due = d->result == AUTH_GRANTED ? d->asked_ms : failure_due(d);

	/* However it was spelled, it is one name. */
	if (!name_parse(name, d->login, config->realm, NULL))
		snprintf(name, sizeof name, "%s", d->login);
	if (d->result == AUTH_GRANTED)
		answer = guess_granted(d->role->guesses, &guess);
	else if (d->result == AUTH_DENIED)
		answer = guess_failed(d->role->guesses, &guess);
	if (answer.refuse) {
		d->result = AUTH_UNAVAILABLE;
		strcpy(d->text, too_many);
		return failure_due(d);
	}
	return answer.at_ms > due ? answer.at_ms : due;
}

void
dialogue_decide(struct dialogue *d, enum auth_result result, const char *text)
{
	/* A certificate's key cannot be guessed. */
	bool is_guess = d->mechanism != MECHANISM_EXTERNAL;
	int64_t due;

	helper_forget(d);
	d->state = DIALOGUE_DECIDED;
	d->result = result;
	snprintf(d->login, sizeof d->login, "%s",
	    d->name[0] != '\0' ? d->name : d->claimed);
	snprintf(d->text, sizeof d->text, "%s", text);
	/* Name and password are of no further use. */
	exchange_free(d->exchange);
	d->exchange = NULL;
	if (is_guess)
		due = weigh_guess(d);
	else
		due = result == AUTH_GRANTED ? d->asked_ms : failure_due(d);
	if (d->result == AUTH_GRANTED && due <= auth_now_ms())
		dialogue_send_result(d);
	else
		timer_set(&d->role->timers, &d->timer, due);
}

void
dialogue_take_back(struct dialogue *d, const char *text)
{
	int64_t due = failure_due(d);

	d->result = AUTH_DENIED;
	snprintf(d->text, sizeof d->text, "%s", text);
	if (due > d->timer.due_ms)
		timer_set(&d->role->timers, &d->timer, due);
}

/* What has been judged against the client. */
static void
decide_against(struct dialogue *d, const char *name, enum judgement judgement,
    const char *denial)
{
	/* Who still tries is to be in the report. */
	if (judgement == JUDGED_DENIED && d->refused != 0)
		(void)auth_legacy_seen(d->role, name, "", d->client,
		    d->refused);
	if (judgement == JUDGED_UNKNOWN)
		dialogue_decide(d, AUTH_UNAVAILABLE,
		    "the store cannot be read");
	else
		dialogue_decide(d, AUTH_DENIED, denial);
}

void
dialogue_prove(struct dialogue *d, const char *name)
{
	struct entry entry, owner;
	char denial[DIALOGUE_TEXT];
	enum judgement judgement =
	    dialogue_judge(d, name, time(NULL), &entry, &owner, denial);

	if (judgement != JUDGED_ALLOWED)
		decide_against(d, name, judgement, denial);
	else if (!grant_make(&d->grant,
		     /* Whose entry it is, however he was let in: what is taken
		      * from that name is taken from this session. */
		     entry.name[0] != '\0' ? entry.name : name,
		     entry.name[0] != '\0' ? &entry : NULL,
		     owner.name[0] != '\0' ? &owner : NULL))
		dialogue_decide(d, AUTH_UNAVAILABLE, "out of memory");
	else
		dialogue_decide(d, AUTH_GRANTED, "");
	explicit_bzero(&entry, sizeof entry);
	explicit_bzero(&owner, sizeof owner);
}

bool
dialogue_is_shut_out(struct dialogue *d)
{
	const struct guess guess = guess_of(d, d->name);

	if (!guess_right(d->role->guesses, &guess).refuse)
		return false;
	dialogue_decide(d, AUTH_UNAVAILABLE, too_many);
	return true;
}

/* The signature tells the client that the password is right, as a success
 * does, and comes no sooner. */
static bool
may_sign_now(struct dialogue *d, const char *name)
{
	const struct guess guess = guess_of(d, name);
	struct guess_answer answer = guess_right(d->role->guesses, &guess);

	if (answer.refuse) {
		dialogue_decide(d, AUTH_UNAVAILABLE, too_many);
		return false;
	}
	if (answer.at_ms <= auth_now_ms() + 1)
		return true;
	d->state = DIALOGUE_UNSENT;
	timer_set(&d->role->timers, &d->timer, answer.at_ms);
	return false;
}

bool
dialogue_may_sign(struct dialogue *d, const char *name)
{
	struct entry entry, owner;
	char denial[DIALOGUE_TEXT];
	enum judgement judgement =
	    dialogue_judge(d, name, time(NULL), &entry, &owner, denial);

	explicit_bzero(&entry, sizeof entry);
	explicit_bzero(&owner, sizeof owner);
	if (judgement == JUDGED_ALLOWED)
		return may_sign_now(d, name);
	decide_against(d, name, judgement, denial);
	return false;
}

static bool
is_pam_realm(const struct config *config, const char *realm)
{
	for (size_t i = 0; i < config->pam_realm_count; i++)
		if (strcasecmp(config->pam_realms[i], realm) == 0)
			return true;
	return false;
}

/* The next backend that has not refused yet. */
static void
ask_next(struct dialogue *d)
{
	static const enum backend orders[][2] = {
		{ BACKEND_STORE, BACKEND_PAM },
		{ BACKEND_PAM, BACKEND_STORE },
	};
	const enum backend *order = orders[d->listener->pam_first];
	char text[DIALOGUE_TEXT];

	for (size_t i = 0; i < 2; i++) {
		if ((d->untried & order[i]) == 0)
			continue;
		d->untried &= ~(unsigned)order[i];
		if (order[i] == BACKEND_STORE ? backend_check_password(d)
					      : helper_check_password(d))
			return;
	}
	strcpy(text, d->text[0] != '\0' ? d->text : "unknown user");
	dialogue_decide(d, AUTH_DENIED, text);
}

void
dialogue_check_password(struct dialogue *d)
{
	d->untried = d->listener->backends & (BACKEND_STORE | BACKEND_PAM);
	if (!is_pam_realm(d->config->config, name_realm(d->name)))
		d->untried &= ~(unsigned)BACKEND_PAM;
	if (!dialogue_is_shut_out(d))
		ask_next(d);
}

void
dialogue_check_again(struct dialogue *d)
{
	d->untried |= BACKEND_STORE;
	ask_next(d);
}

void
dialogue_pam_refuses(struct dialogue *d, const char *text)
{
	helper_forget(d);
	snprintf(d->text, sizeof d->text, "%s", text);
	ask_next(d);
}
