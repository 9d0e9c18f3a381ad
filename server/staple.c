/*
 * server/staple.c: OCSP responses to be stapled to our certificates.
 */
#include "staple.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "../pki/cert.h"
#include "../pki/ocsp.h"
#include "files.h"

bool
staple_is_demanded(const gnutls_datum_t *chain)
{
	gnutls_x509_crt_t *crts;
	unsigned count;
	bool is;

	if (!cert_chain_parse(chain, &crts, &count, NULL))
		return false;
	is = ocsp_is_demanded(crts[0]);
	cert_chain_free(crts, count);
	return is;
}

static bool
copy(gnutls_datum_t *to, const gnutls_datum_t *from)
{
	to->data = malloc(from->size + 1);
	if (to->data == NULL)
		return false;
	memcpy(to->data, from->data, from->size);
	to->data[from->size] = '\0';
	to->size = from->size;
	return true;
}

static void
staple_fini(struct staple *staple)
{
	free(staple->certificate);
	free(staple->path);
	free(staple->chain.data);
	free(staple->response.data);
}

struct staple *
staples_add(struct staples *staples, const char *certificate, const char *path,
    const gnutls_datum_t *chain)
{
	struct staple *more =
	    reallocarray(staples->list, staples->count + 1, sizeof(*more));
	struct staple *one;

	if (more == NULL)
		return NULL;
	staples->list = more;
	one = &more[staples->count];
	memset(one, 0, sizeof(*one));
	one->certificate = strdup(certificate);
	one->path = strdup(path);
	if (one->certificate == NULL || one->path == NULL ||
	    !copy(&one->chain, chain)) {
		staple_fini(one);
		return NULL;
	}
	one->is_demanded = staple_is_demanded(chain);
	staples->count++;
	return one;
}

void
staples_fini(struct staples *staples)
{
	for (size_t i = 0; i < staples->count; i++)
		staple_fini(&staples->list[i]);
	free(staples->list);
	staples->list = NULL;
	staples->count = 0;
}

/* What is wrong with it, and what was expected. */
static bool
refuse(const struct staple *staple, const struct ocsp *ocsp,
    const gnutls_datum_t *response, struct reason *why)
{
	if (ocsp->state == OCSP_UNCHECKED)
		return fail(why, REASON_CERT_BAD,
		    "%s: nobody can tell who signed it: the issuer of "
		    "certificate %s does not follow it in its chain",
		    staple->path, staple->certificate);
	if (response->size >= 5 && memcmp(response->data, "-----", 5) == 0)
		return fail(why, REASON_CERT_BAD,
		    "%s: PEM, expected an OCSP response in DER", staple->path);
	return fail(why, REASON_CERT_BAD,
	    "%s: %s: %s, expected a fresh OCSP response that certificate %s "
	    "is good",
	    staple->path, ocsp_word(ocsp->state),
	    ocsp->state == OCSP_ABSENT ? "empty" : ocsp->text,
	    staple->certificate);
}

static bool
judge(const struct staple *staple, const gnutls_datum_t *response, int64_t now,
    struct ocsp *out, struct reason *why)
{
	gnutls_x509_crt_t *crts;
	unsigned count;

	if (!cert_chain_parse(&staple->chain, &crts, &count, why))
		return false;
	ocsp_read_chain(out, response, crts, count, (time_t)now);
	cert_chain_free(crts, count);
	return out->state == OCSP_GOOD || refuse(staple, out, response, why);
}

bool
staple_read(struct staple *staple, int64_t now, struct reason *why)
{
	gnutls_datum_t file;
	struct ocsp ocsp;

	if (!files_read(staple->path, &file, why))
		return false;
	if (!judge(staple, &file, now, &ocsp, why)) {
		files_free(&file);
		return false;
	}
	free(staple->response.data);
	staple->response = file;
	staple->from = ocsp.this_update;
	staple->until = ocsp.until;
	staple->told = 0;
	return true;
}

bool
staple_is_due(struct staple *staple, int64_t now, bool *ended_out)
{
	int64_t left = staple->until - now;
	int stage =
	    left < 0 ? 2
	    : staple->is_demanded && left < (staple->until - staple->from) / 4
		? 1
		: 0;

	if (staple->response.data == NULL || stage <= staple->told)
		return false;
	staple->told = stage;
	*ended_out = stage == 2;
	return true;
}
