/*
 * server/helper_sasl.c: CRAM-MD5, DIGEST-MD5 and GSSAPI, run in a child.
 *
 * The child reads what strangers send with code that has had its holes
 * (auth/guarded.h), so it may do little (server/helper_confine.h).  Whoever
 * takes it over can claim to be a user, which auth weighs as it weighs a claim:
 * only the name whose secret was given, only principals where Kerberos is
 * asked.
 */
#include <stdlib.h>
#include <string.h>

#include "../auth/guarded.h"
#include "helper.h"
#include "helper_confine.h"

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
run(const struct helper_settings *settings, struct wire_reader *r)
{
	const struct config *config = settings->config;
	struct exchange_request request;
	struct guarded_options options = { .mechanism = request.mechanism,
		.realm = config->realm,
		.hostname = config->hostname,
		.secret = ask_secret };
	struct guarded *g = NULL;
	struct reason why = { 0 };
	bool with_kerberos;

	if (!read_request(&request, r)) {
		helper_answer_broken();
		return;
	}
	with_kerberos = !guarded_is_server_first(request.mechanism);
	if (with_kerberos && config->keytab == NULL)
		helper_answer_broken();
	else if (!helper_confine(config, with_kerberos, &why))
		helper_answer(HELPER_TROUBLE, why.text);
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
