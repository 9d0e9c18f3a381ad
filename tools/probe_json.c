/*
 * tools/probe_json.c: a probe as JSON.
 */
#include "probe.h"

#include <stdio.h>
#include <string.h>

#include "cert.h"

static json_t *
date_of(long long when)
{
	char text[CERT_TIME_SIZE];

	if (when < 0)
		return json_null();
	cert_print_time(text, (time_t)when);
	return json_string(text);
}

static json_t *
tried_of(const struct probe *probe)
{
	json_t *list = json_array();

	for (size_t i = 0; i < probe->tried_count; i++)
		json_array_append_new(list,
		    json_pack("{s:s, s:s}", "address", probe->tried[i].address,
			"outcome", probe->tried[i].outcome));
	return list;
}

static json_t *
tls_of(const struct probe *probe)
{
	const struct facts *facts = &probe->facts;

	if (!facts->tls)
		return json_null();
	return json_pack("{s:s, s:s, s:s, s:i}", "protocol",
	    facts->version == 13 ? "TLS1.3" : "TLS1.2", "suite", facts->suite,
	    "group", facts->group, "bits", (int)facts->bits);
}

static json_t *
certificates_of(const struct probe *probe)
{
	json_t *list = json_array();

	for (size_t i = 0; i < probe->certificate_count; i++) {
		const struct probe_certificate *one = &probe->certificates[i];

		json_array_append_new(list,
		    json_pack("{s:s, s:s, s:o, s:o, s:I, s:s, s:s, s:s}",
			"subject", one->subject, "issuer", one->issuer,
			"not_before", date_of(one->from), "not_after",
			date_of(one->until), "days_left",
			(json_int_t)probe_days(probe, one->until), "key",
			one->key, "signature", one->signature, "pin",
			one->pin));
	}
	return list;
}

static json_t *
names_of(const struct probe *probe)
{
	json_t *list = json_array();

	for (const char *name = probe->names; *name != '\0';
	     name += strlen(name) + 1)
		json_array_append_new(list, json_string(name));
	return list;
}

static json_t *
sets_of(const struct probe *probe)
{
	json_t *list = json_array();

	for (size_t i = 0; i < probe->set_count; i++)
		json_array_append_new(list,
		    json_pack("{s:s, s:s, s:s}", "anchors", probe->sets[i].path,
			"crl", probe->sets[i].crl, "state",
			probe_chain_word(probe->sets[i].state)));
	return list;
}

static json_t *
ocsp_of(const struct probe *probe)
{
	const struct ocsp *ocsp = &probe->ocsp;

	if (probe->certificate_count == 0)
		return json_null();
	return json_pack("{s:s, s:s, s:o, s:o, s:b}", "state",
	    ocsp_word(ocsp->state), "text", ocsp->text, "this_update",
	    date_of(ocsp->this_update), "next_update",
	    date_of(ocsp->next_update), "must_staple", (int)probe->must_staple);
}

static json_t *
extensions_of(const struct probe *probe)
{
	const char *at = probe->keywords, *end;
	json_t *keywords;

	if (!probe->greeted)
		return json_null();
	keywords = json_array();
	for (; (end = strchr(at, '\n')) != NULL; at = end + 1)
		json_array_append_new(keywords,
		    json_stringn(at, (size_t)(end - at)));
	return json_pack("{s:o, s:s, s:b}", "keywords", keywords, "mechanisms",
	    probe->extensions.mechanisms, "requiretls",
	    (int)probe->facts.requiretls);
}

static json_t *
decision_of(const struct probe *probe, const struct decision *decision)
{
	char record[2048], detail[4 * REASON_TEXT_MAX];

	if (!probe->judged)
		return json_null();
	(void)decision_print(decision, record, sizeof(record));
	probe_escape(detail, sizeof(detail), decision->detail,
	    strlen(decision->detail));
	return json_pack("{s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:s}", "rows",
	    decision->rows, "asked", level_word(decision->asked), "reached",
	    level_word(decision->reached), "verdict",
	    verdict_word(decision->verdict), "reason",
	    reason_word(decision->code), "result",
	    reason_result_type(decision->code), "detail", detail, "record",
	    record);
}

static json_t *
lost_of(const struct probe *probe)
{
	json_t *list = json_array();

	for (size_t i = 0; i < probe->lost_count; i++)
		json_array_append_new(list, json_string(probe->lost[i]));
	return list;
}

static json_t *
ways_of(const struct probe *probe)
{
	json_t *list = json_array();

	for (size_t i = 0; i < probe->way_count; i++)
		json_array_append_new(list, json_string(probe->ways[i]));
	return list;
}

json_t *
probe_json(const struct probe *probe)
{
	const struct probe_target *target = &probe->target;

	return json_pack(
	    "{s:s, s:i, s:s, s:b, s:s, s:o, s:s, s:s, s:s,"
	    " s:o, s:o, s:o, s:s, s:o, s:o,"
	    " s:{s:s, s:s, s:i}, s:o, s:s, s:o, s:o, s:b, s:b, s:s,"
	    " s:o, s:o}",
	    "host", target->host, "port", (int)target->port, "mode",
	    target->implicit_tls ? "implicit" : "starttls", "reached",
	    (int)probe->connected, "why", probe->why, "tried", tried_of(probe),
	    "greeting", probe->greeting, "starttls", probe->starttls, "shown",
	    probe->identity, "tls", tls_of(probe), "certificates",
	    certificates_of(probe), "names", names_of(probe), "purpose",
	    probe_purpose_word(probe), "chain", sets_of(probe), "ocsp",
	    ocsp_of(probe), "dane", "state", probe_dane_word(probe), "text",
	    probe->facts.dane_text, "records", (int)probe->tlsa_count,
	    "extensions", extensions_of(probe), "ehlo", probe->ungreeted,
	    "decision", decision_of(probe, &probe->decision), "enforced",
	    decision_of(probe, &probe->enforced), "met",
	    (int)probe_is_met(probe), "would_be_met",
	    (int)probe_would_be_met(probe), "strongest", probe->strongest,
	    "gives_up", lost_of(probe), "obstacles", ways_of(probe));
}
