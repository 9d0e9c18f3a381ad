/*
 * server/lookup_tlsa.c: TLSA records between DNS, two roles and the peer's
 * certificate.
 */
#include "lookup_tlsa.h"

#include <stdio.h>
#include <string.h>

#include "lookup_resolver.h"

enum { RECORD_HEAD = 3 }; /* usage, selector, matching type */

void
tlsa_answer_init(struct tlsa_answer *answer, enum lookup_answer what,
    const char *text)
{
	size_t at = 0;

	answer->answer = what;
	answer->base[0] = '\0';
	answer->count = 0;
	answer->octets_len = 0;
	/* Names in it may be a stranger's. */
	for (; text[at] != '\0' && at + 1 < sizeof(answer->text); at++)
		answer->text[at] =
		    text[at] < 0x20 || text[at] > 0x7e ? '?' : text[at];
	answer->text[at] = '\0';
}

static bool
add(struct tlsa_answer *answer, const struct tlsa *record)
{
	unsigned char *at = answer->octets + answer->octets_len;

	if (answer->count == TLSA_RECORDS_MAX || record->len > TLSA_DATA_MAX ||
	    record->len > sizeof(answer->octets) - answer->octets_len)
		return false;
	if (record->len > 0)
		memcpy(at, record->data, record->len);
	answer->octets_len += record->len;
	answer->records[answer->count] = *record;
	answer->records[answer->count++].data = at;
	return true;
}

bool
tlsa_answer_add(struct tlsa_answer *answer, const void *rdata, size_t len)
{
	const unsigned char *octets = rdata;
	struct tlsa record;

	if (len < RECORD_HEAD)
		return true;
	record.usage = octets[0];
	record.selector = octets[1];
	record.matching = octets[2];
	record.data = octets + RECORD_HEAD;
	record.len = len - RECORD_HEAD;
	return add(answer, &record);
}

void
tlsa_answer_put(struct wire_writer *w, const struct tlsa_answer *answer)
{
	wire_put_u8(w, (uint8_t)answer->answer);
	wire_put_string(w, answer->base);
	wire_put_u8(w, (uint8_t)answer->count);
	for (size_t i = 0; i < answer->count; i++) {
		const struct tlsa *record = &answer->records[i];

		wire_put_u8(w, record->usage);
		wire_put_u8(w, record->selector);
		wire_put_u8(w, record->matching);
		wire_put_bytes(w, record->data, record->len);
	}
	wire_put_string(w, answer->text);
}

static bool
get_record(struct wire_reader *r, struct tlsa_answer *answer)
{
	struct tlsa record;
	gnutls_datum_t data;

	record.usage = wire_get_u8(r);
	record.selector = wire_get_u8(r);
	record.matching = wire_get_u8(r);
	data = wire_get_bytes(r, TLSA_DATA_MAX);
	record.data = data.data;
	record.len = data.size;
	return !r->failed && add(answer, &record);
}

bool
tlsa_answer_get(struct wire_reader *r, struct tlsa_answer *answer)
{
	char text[sizeof(answer->text)];
	uint8_t what = wire_get_u8(r), count;

	if (what > LOOKUP_TROUBLE)
		return false;
	tlsa_answer_init(answer, (enum lookup_answer)what, "");
	if (!wire_get_string(r, answer->base, sizeof(answer->base)))
		return false;
	count = wire_get_u8(r);
	for (uint8_t i = 0; i < count; i++)
		if (!get_record(r, answer))
			return false;
	if (!wire_get_string(r, text, sizeof(text)) || !wire_reader_done(r))
		return false;
	/* Records come with a name, and nothing comes without any. */
	if (what == LOOKUP_FOUND
		? answer->count == 0 || !resolver_is_host(answer->base)
		: answer->count > 0 || answer->base[0] != '\0')
		return false;
	for (size_t i = 0; text[i] != '\0'; i++)
		if (text[i] < 0x20 || text[i] > 0x7e)
			return false;
	snprintf(answer->text, sizeof(answer->text), "%s", text);
	return true;
}

void
tlsa_answer_judge(const struct tlsa_answer *answer, const char *host,
    struct tls_session *session, time_t now, struct facts *facts)
{
	char names[2 * (TLSA_BASE_MAX + 1) + 1] = "";
	struct reason why = { .code = REASON_NONE };

	facts->dane = answer->answer == LOOKUP_NONE ? DANE_NONE : DANE_FAILED;
	snprintf(facts->dane_text, sizeof(facts->dane_text), "%.127s",
	    answer->text);
	if (answer->answer != LOOKUP_FOUND)
		return;
	facts->dane = DANE_UNCHECKED;
	facts->dane_text[0] = '\0';
	if (session == NULL)
		return;
	/* RFC 7672, section 3.2.2; what follows them is zero. */
	snprintf(names, TLSA_BASE_MAX + 1, "%s", answer->base);
	snprintf(names + strlen(names) + 1, TLSA_BASE_MAX + 1, "%s", host);
	facts->dane = tls_session_dane(session, answer->records, answer->count,
	    names, now, &why);
	snprintf(facts->dane_text, sizeof(facts->dane_text), "%.127s",
	    why.text);
}
