/*
 * pki/ocsp.c: reading a stapled OCSP response.
 */
#include "ocsp.h"

#include <gnutls/ocsp.h>
#include <gnutls/x509-ext.h>

enum {
	STATUS_REQUEST = 5, /* TLS feature: RFC 7633, RFC 6066 */
	FEATURES_MAX = 32,
	ENTRIES_MAX = 16, /* of one response */
	OPEN_END_S = 10 * 86400,
};

const char *
ocsp_word(enum ocsp_state state)
{
	static const char *const words[] = {
		[OCSP_ABSENT] = "absent",
		[OCSP_GOOD] = "good",
		[OCSP_REVOKED] = "revoked",
		[OCSP_UNKNOWN] = "unknown",
		[OCSP_STALE] = "stale",
		[OCSP_UNCHECKED] = "unchecked",
		[OCSP_INVALID] = "invalid",
	};

	return words[state];
}

static void
end(struct ocsp *out, enum ocsp_state state, const char *text)
{
	out->state = state;
	out->text = text;
}

/*
 * RFC 6960, section 3.2: a response is good for its own time only.  One that
 * does not say when there will be a newer one could be replayed for ever.
 */
static void
judge_time(struct ocsp *out, time_t now)
{
	if (out->this_update == (time_t)-1 || out->this_update > now)
		end(out, OCSP_STALE, "its time has not come");
	else if (out->until < now)
		end(out, OCSP_STALE, "its time is over");
	else
		end(out, OCSP_GOOD, "");
}

/*
 * A responder of its own right is signed by the issuer and travels within the
 * response; the library finds it there.
 */
static bool
is_signed(gnutls_ocsp_resp_t response, gnutls_x509_crt_t issuer)
{
	gnutls_x509_trust_list_t list;
	unsigned verify = 0;
	bool ok = false;

	if (gnutls_ocsp_resp_verify_direct(response, issuer, &verify, 0) >= 0 &&
	    verify == 0)
		return true;
	if (gnutls_x509_trust_list_init(&list, 0) < 0)
		return false;
	if (gnutls_x509_trust_list_add_cas(list, &issuer, 1, 0) == 1)
		ok = gnutls_ocsp_resp_verify(response, list, &verify, 0) >= 0 &&
		     verify == 0;
	gnutls_x509_trust_list_deinit(list, 0);
	return ok;
}

/* Which of its entries is about crt; false: none. */
static bool
find_entry(gnutls_ocsp_resp_t response, gnutls_x509_crt_t crt,
    unsigned *which_out)
{
	for (unsigned i = 0; i < ENTRIES_MAX; i++)
		if (gnutls_ocsp_resp_check_crt(response, i, crt) >= 0) {
			*which_out = i;
			return true;
		}
	return false;
}

static void
note_times(struct ocsp *out, time_t this_update, time_t next_update)
{
	out->this_update = this_update;
	out->next_update = next_update;
	if (next_update != (time_t)-1)
		out->until = next_update;
	else if (this_update != (time_t)-1)
		out->until = this_update + OPEN_END_S;
}

static void
judge(struct ocsp *out, gnutls_ocsp_resp_t response, gnutls_x509_crt_t crt,
    gnutls_x509_crt_t issuer, time_t now)
{
	unsigned status = GNUTLS_OCSP_CERT_UNKNOWN, which;
	time_t this_update, next_update;

	if (gnutls_ocsp_resp_get_status(response) !=
	    GNUTLS_OCSP_RESP_SUCCESSFUL) {
		end(out, OCSP_INVALID, "the responder had an error to tell");
		return;
	}
	if (!find_entry(response, crt, &which) ||
	    gnutls_ocsp_resp_get_single(response, which, NULL, NULL, NULL, NULL,
		&status, &this_update, &next_update, NULL, NULL) < 0) {
		end(out, OCSP_INVALID, "it is about another certificate");
		return;
	}
	note_times(out, this_update, next_update);
	if (issuer == NULL)
		end(out, OCSP_UNCHECKED, "its issuer is not known here");
	else if (!is_signed(response, issuer))
		end(out, OCSP_INVALID, "not signed by the issuer");
	else if (status == GNUTLS_OCSP_CERT_REVOKED)
		end(out, OCSP_REVOKED, "revoked by its issuer");
	else if (status != GNUTLS_OCSP_CERT_GOOD)
		end(out, OCSP_UNKNOWN, "the responder does not know it");
	else
		judge_time(out, now);
}

void
ocsp_read(struct ocsp *out, const gnutls_datum_t *der, gnutls_x509_crt_t crt,
    gnutls_x509_crt_t issuer, time_t now)
{
	gnutls_ocsp_resp_t response;

	out->this_update = out->next_update = out->until = (time_t)-1;
	end(out, OCSP_ABSENT, "");
	if (der->data == NULL || der->size == 0)
		return;
	end(out, OCSP_INVALID, "it cannot be read");
	if (der->size > OCSP_OCTETS_MAX || gnutls_ocsp_resp_init(&response) < 0)
		return;
	if (gnutls_ocsp_resp_import(response, der) >= 0)
		judge(out, response, crt, issuer, now);
	gnutls_ocsp_resp_deinit(response);
}

void
ocsp_read_chain(struct ocsp *out, const gnutls_datum_t *der,
    gnutls_x509_crt_t *chain, unsigned count, time_t now)
{
	gnutls_x509_crt_t issuer = count > 1 ? chain[1] : NULL;

	if (gnutls_x509_crt_check_issuer(chain[0], chain[0]) != 0)
		issuer = chain[0];
	ocsp_read(out, der, chain[0], issuer, now);
}

bool
ocsp_is_demanded(gnutls_x509_crt_t crt)
{
	gnutls_x509_tlsfeatures_t features;
	unsigned feature;
	bool demanded = false;

	if (gnutls_x509_tlsfeatures_init(&features) < 0)
		return false;
	if (gnutls_x509_crt_get_tlsfeatures(crt, features, 0, NULL) >= 0)
		for (unsigned i = 0; i < FEATURES_MAX && !demanded; i++)
			if (gnutls_x509_tlsfeatures_get(features, i,
				&feature) >= 0)
				demanded = feature == STATUS_REQUEST;
	gnutls_x509_tlsfeatures_deinit(features);
	return demanded;
}
