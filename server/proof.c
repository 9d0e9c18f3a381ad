/*
 * server/proof.c: proofs and decisions as packets.
 *
 * The reader's work is to let nothing through that a sender of ours could not
 * have written: words of the enumerations, text that is ended, names that end
 * within their octets.
 */
#include "proof.h"

#include <string.h>

enum {
	/* What facts and decisions say of themselves, as bits. */
	BIT_TLS = 1,
	BIT_RESUMED = 2,
	BIT_PEER_CERT = 4,
	BIT_REQUIRETLS = 8,
	BITS_MOST = 15,
	BITS_OF_CIPHER_MOST = 1024,
};

/* Whole names that fit, as many as there are. */
static size_t
names_copy(char *out, const char *names, size_t len)
{
	size_t at = 0, kept = 0;

	while (names != NULL && at < len) {
		const char *end = memchr(names + at, '\0', len - at);
		size_t octets;

		if (end == NULL)
			break;
		octets = (size_t)(end - (names + at)) + 1;
		if (octets <= PROOF_NAMES - kept) {
			memcpy(out + kept, names + at, octets);
			kept += octets;
		}
		at += octets;
	}
	return kept;
}

void
proof_init(struct proof *proof, const struct next_hop *hop,
    const struct facts *facts, int64_t at)
{
	memset(proof, 0, sizeof(*proof));
	proof->hop = *hop;
	proof->at = at;
	proof->facts = *facts;
	memset(proof->facts.chain, 0, sizeof(proof->facts.chain));
	proof->facts.names_len =
	    names_copy(proof->names, facts->names, facts->names_len);
	proof->facts.names = proof->names;
}

static void
put_facts(struct wire_writer *w, const struct facts *facts)
{
	wire_put_u8(w, (uint8_t)((facts->tls ? BIT_TLS : 0) |
				 (facts->resumed ? BIT_RESUMED : 0) |
				 (facts->peer_cert ? BIT_PEER_CERT : 0) |
				 (facts->requiretls ? BIT_REQUIRETLS : 0)));
	wire_put_u8(w, (uint8_t)facts->version);
	wire_put_u16(w, (uint16_t)facts->bits);
	wire_put_string(w, facts->suite);
	wire_put_string(w, facts->group);
	wire_put_u8(w, (uint8_t)facts->purpose);
	wire_put_raw(w, facts->spki, SPKI_OCTETS);
	wire_put_u64(w, (uint64_t)facts->not_after);
	wire_put_string(w, facts->subject);
	wire_put_string(w, facts->issuer);
	wire_put_string(w, facts->organisation);
	wire_put_string(w, facts->issuer_organisation);
	wire_put_u8(w, (uint8_t)facts->dane);
	wire_put_string(w, facts->dane_text);
	wire_put_u16(w, (uint16_t)facts->why_not);
	wire_put_string(w, facts->why_not_text);
}

void
proof_put(struct wire_writer *w, const struct proof *proof)
{
	wire_put_u64(w, (uint64_t)proof->at);
	wire_put_string(w, proof->hop.host);
	wire_put_u16(w, proof->hop.port);
	wire_put_u8(w, proof->hop.implicit_tls);
	put_facts(w, &proof->facts);
	wire_put_bytes(w, proof->names, proof->facts.names_len);
	wire_put_u8(w, (uint8_t)proof->set_count);
	for (size_t i = 0; i < proof->set_count; i++) {
		wire_put_string(w, proof->sets[i].anchors);
		wire_put_string(w, proof->sets[i].crl);
		wire_put_u8(w, (uint8_t)proof->sets[i].state);
	}
}

/* A word of an enumeration, at most most. */
static uint8_t
get_word(struct wire_reader *r, unsigned most)
{
	uint8_t word = wire_get_u8(r);

	if (word > most) {
		r->failed = true;
		return 0;
	}
	return word;
}

static bool
get_bool(struct wire_reader *r)
{
	return get_word(r, 1) == 1;
}

static int
get_code(struct wire_reader *r)
{
	uint16_t code = wire_get_u16(r);

	if (code >= REASON_CODES) {
		r->failed = true;
		return REASON_NONE;
	}
	return code;
}

static unsigned
get_version(struct wire_reader *r)
{
	uint8_t version = wire_get_u8(r);

	/* Others than 1.2 and 1.3 are never negotiated. */
	if (version != 0 && version != 12 && version != 13)
		r->failed = true;
	return r->failed ? 0 : version;
}

/* Printable ASCII without blanks: it goes into logs, and selects. */
static void
get_plain(struct wire_reader *r, char *out, size_t capacity)
{
	if (!wire_get_string(r, out, capacity))
		return;
	for (const char *c = out; *c != '\0'; c++)
		if (*c <= 0x20 || *c >= 0x7f)
			r->failed = true;
	if (r->failed)
		out[0] = '\0';
}

static void
get_facts(struct wire_reader *r, struct facts *facts)
{
	uint8_t bits = get_word(r, BITS_MOST);

	facts->tls = (bits & BIT_TLS) != 0;
	facts->resumed = (bits & BIT_RESUMED) != 0;
	facts->peer_cert = (bits & BIT_PEER_CERT) != 0;
	facts->requiretls = (bits & BIT_REQUIRETLS) != 0;
	facts->version = get_version(r);
	facts->bits = wire_get_u16(r);
	if (facts->bits > BITS_OF_CIPHER_MOST ||
	    facts->tls != (facts->version != 0))
		r->failed = true;
	get_plain(r, facts->suite, sizeof(facts->suite));
	get_plain(r, facts->group, sizeof(facts->group));
	facts->purpose = (enum purpose_state)get_word(r, PURPOSE_NONE);
	wire_get_raw(r, facts->spki, SPKI_OCTETS);
	facts->not_after = (long long)wire_get_u64(r);
	wire_get_string(r, facts->subject, sizeof(facts->subject));
	wire_get_string(r, facts->issuer, sizeof(facts->issuer));
	wire_get_string(r, facts->organisation, sizeof(facts->organisation));
	wire_get_string(r, facts->issuer_organisation,
	    sizeof(facts->issuer_organisation));
	facts->dane = (enum dane_state)get_word(r, DANE_FAILED);
	wire_get_string(r, facts->dane_text, sizeof(facts->dane_text));
	facts->why_not = get_code(r);
	wire_get_string(r, facts->why_not_text, sizeof(facts->why_not_text));
}

static void
get_names(struct wire_reader *r, struct proof *out)
{
	gnutls_datum_t names = wire_get_bytes(r, PROOF_NAMES);

	if (r->failed)
		return;
	if (names.size > 0 && names.data[names.size - 1] != '\0') {
		r->failed = true;
		return;
	}
	if (names.size > 0)
		memcpy(out->names, names.data, names.size);
	out->facts.names = out->names;
	out->facts.names_len = names.size;
}

static void
get_sets(struct wire_reader *r, struct proof *out)
{
	out->set_count = get_word(r, FACTS_CHAINS);
	for (size_t i = 0; i < out->set_count; i++) {
		struct proof_set *set = &out->sets[i];

		wire_get_string(r, set->anchors, sizeof(set->anchors));
		wire_get_string(r, set->crl, sizeof(set->crl));
		set->state = (enum chain_state)get_word(r, CHAIN_BAD);
	}
}

bool
proof_get(struct wire_reader *r, struct proof *out)
{
	memset(out, 0, sizeof(*out));
	out->at = (int64_t)wire_get_u64(r);
	get_plain(r, out->hop.host, sizeof(out->hop.host));
	out->hop.port = wire_get_u16(r);
	out->hop.implicit_tls = get_bool(r);
	get_facts(r, &out->facts);
	get_names(r, out);
	get_sets(r, out);
	/* A clock before 1970 is nobody's; differences must not overflow. */
	if (out->at < 0 || out->hop.host[0] == '\0' ||
	    (next_hop_is_srv(&out->hop) && out->hop.implicit_tls))
		r->failed = true;
	return !r->failed;
}

static const struct proof_set *
find_set(const struct proof *proof, const char *anchors, const char *crl)
{
	for (size_t i = 0; i < proof->set_count; i++) {
		if (strcmp(proof->sets[i].anchors, anchors) == 0 &&
		    strcmp(proof->sets[i].crl, crl) == 0)
			return &proof->sets[i];
	}
	return NULL;
}

/* What may have mended itself since says nothing: a handshake that failed, a
 * lookup in trouble, a certificate that has ended since and may be renewed. */
static bool
may_have_changed(const struct proof *proof, const struct demand *demand,
    time_t now)
{
	const struct facts *facts = &proof->facts;

	if (now < proof->at || now - proof->at > PROOF_FRESH_S)
		return true;
	if (!facts->tls)
		return facts->why_not != REASON_STARTTLS_NOT_OFFERED;
	if (demand->dane &&
	    (facts->dane == DANE_UNCHECKED || facts->dane == DANE_FAILED))
		return true;
	return facts->peer_cert && facts->not_after >= proof->at &&
	       facts->not_after < now;
}

bool
proof_decide(const struct proof *proof, const struct demand *demand, time_t now,
    struct decision *out)
{
	struct facts facts = proof->facts;

	if (may_have_changed(proof, demand, now))
		return false;
	facts.names = proof->names;
	for (size_t i = 0; facts.tls && i < demand->anchors; i++) {
		const struct proof_set *set =
		    find_set(proof, demand->anchor[i], demand->crl[i]);

		/* A stale CRL is our own trouble, not the next hop's; what is
		 * not valid yet, or lacks its staple, only needs time. */
		if (set == NULL || set->state == CHAIN_UNCHECKED ||
		    set->state == CHAIN_REVOCATION_UNKNOWN ||
		    set->state == CHAIN_UNSTAPLED ||
		    set->state == CHAIN_NOT_YET_VALID)
			return false;
		facts.chain[i] = set->state;
	}
	decide(out, demand, &facts);
	return true;
}

void
decision_put(struct wire_writer *w, const struct decision *decision)
{
	wire_put_u8(w, (uint8_t)decision->side);
	wire_put_string(w, decision->site);
	wire_put_string(w, decision->rows);
	wire_put_u8(w, (uint8_t)decision->asked);
	wire_put_u8(w, (uint8_t)decision->reached);
	wire_put_u8(w, (uint8_t)decision->verdict);
	wire_put_u16(w, (uint16_t)decision->code);
	wire_put_string(w, decision->detail);
	wire_put_u8(w, (uint8_t)decision->version);
	wire_put_string(w, decision->suite);
	wire_put_string(w, decision->ended);
	wire_put_u8(w, (uint8_t)decision->observed_count);
	for (size_t i = 0; i < decision->observed_count; i++) {
		wire_put_u64(w, decision->observed[i].identity);
		wire_put_u8(w, decision->observed[i].met);
		wire_put_u16(w, (uint16_t)decision->observed[i].code);
	}
	wire_put_u8(w, decision->names_one_site);
	wire_put_u64(w, (uint64_t)decision->peer_not_after);
	wire_put_raw(w, decision->peer_spki, SPKI_OCTETS);
	wire_put_string(w, decision->peer_subject);
}

bool
decision_get(struct wire_reader *r, struct decision *out)
{
	memset(out, 0, sizeof(*out));
	out->side = (enum side)get_word(r, SIDE_OUT);
	get_plain(r, out->site, sizeof(out->site));
	get_plain(r, out->rows, sizeof(out->rows));
	out->asked = (enum level)get_word(r, LEVEL_LOCK);
	out->reached = (enum level)get_word(r, LEVEL_LOCK);
	out->verdict = (enum verdict)get_word(r, VERDICT_PERMANENT);
	out->code = (enum reason_code)get_code(r);
	wire_get_string(r, out->detail, sizeof(out->detail));
	out->version = get_version(r);
	get_plain(r, out->suite, sizeof(out->suite));
	get_plain(r, out->ended, sizeof(out->ended));
	out->observed_count = get_word(r, DEMAND_ROWS);
	for (size_t i = 0; i < out->observed_count; i++) {
		out->observed[i].identity = wire_get_u64(r);
		out->observed[i].met = get_bool(r);
		out->observed[i].code = (enum reason_code)get_code(r);
	}
	out->names_one_site = get_bool(r);
	out->peer_not_after = (long long)wire_get_u64(r);
	wire_get_raw(r, out->peer_spki, SPKI_OCTETS);
	wire_get_string(r, out->peer_subject, sizeof(out->peer_subject));
	return !r->failed;
}
