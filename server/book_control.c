/*
 * server/book_control.c: the relay's answers to "sallyport policy rehearsal"
 * and "sallyport policy ratchet".
 *
 * Answers are gathered under the lock and sent without it: a tool may read
 * slowly.
 */
#include "book_internal.h"

#include <stdlib.h>
#include <string.h>

#include "../policy/hex.h"
#include "control.h"

static void
set_spki(json_t *object, const struct facts *facts)
{
	char hex[2 * SPKI_OCTETS + 1];

	if (!facts->peer_cert)
		return;
	hex_print(hex, facts->spki, SPKI_OCTETS);
	json_object_set_new(object, "spki", json_string(hex));
}

static json_t *
proof_record(const struct book_proof *kept)
{
	struct proof *proof = malloc(sizeof(*proof));
	const char *level = "none";
	json_t *object = NULL;

	if (proof != NULL && book_proof_decode(kept, proof)) {
		if (proof->facts.tls)
			level = "encrypt";
		for (size_t i = 0; i < proof->set_count; i++)
			if (proof->sets[i].state == CHAIN_GOOD &&
			    proof->facts.purpose == PURPOSE_YES)
				level = "verify";
		object = json_pack("{s:s, s:i, s:I, s:i, s:s, s:I, s:b}",
		    "host", proof->hop.host, "port", (int)proof->hop.port, "at",
		    (json_int_t)proof->at, "version", (int)proof->facts.version,
		    "level", level, "not-after",
		    (json_int_t)proof->facts.not_after, "requiretls",
		    (int)proof->facts.requiretls);
		set_spki(object, &proof->facts);
	}
	free(proof);
	return object;
}

/* Callers hold lock. */
static json_t *
gather_proofs(const struct book *book)
{
	json_t *records = json_array();

	for (const struct book_entry *entry = book->proofs.oldest;
	     entry != NULL; entry = entry->newer)
		json_array_append_new(records,
		    proof_record((const struct book_proof *)entry));
	return records;
}

static json_t *
gather(struct book *book, enum book_verb verb, const char **kind_out)
{
	json_t *records = NULL;

	pthread_mutex_lock(&book->lock);
	switch (verb) {
	case BOOK_OBSERVED:
		*kind_out = "observed";
		records = book_part_records(book, PART_OBSERVED);
		break;
	case BOOK_RATCHETS:
		*kind_out = "ratchet";
		records = book_part_records(book, PART_RATCHETS);
		break;
	case BOOK_SITES:
		*kind_out = "site";
		records = book_part_records(book, PART_SITES);
		break;
	case BOOK_PROOFS:
		*kind_out = "proof";
		records = gather_proofs(book);
		break;
	case BOOK_RATCHET_LOWER:
		break;
	}
	pthread_mutex_unlock(&book->lock);
	return records;
}

bool
book_tell(struct book *book, enum book_verb verb,
    bool (*tell)(void *context, const char *text, size_t len), void *context,
    struct reason *why)
{
	const char *kind = "";
	json_t *records = gather(book, verb, &kind), *record;
	bool ok = true;
	size_t i;

	if (records == NULL)
		return fail(why, REASON_NO_MEMORY, "book");
	json_array_foreach(records, i, record)
	{
		char *text;

		json_object_set_new(record, "kind", json_string(kind));
		text = json_dumps(record, JSON_COMPACT);
		ok = text != NULL && tell(context, text, strlen(text));
		free(text);
		if (!ok)
			break;
	}
	json_decref(records);
	return ok || fail(why, REASON_AWAY, "nobody reads the answer");
}

static bool
send_text(void *context, const char *text, size_t len)
{
	const int *fd = context;

	return control_send_data(*fd, text, len);
}

static bool
answer(struct book *book, int fd, uint8_t verb, const char *site, uint8_t level,
    struct reason *why)
{
	switch (verb) {
	case BOOK_OBSERVED:
	case BOOK_RATCHETS:
	case BOOK_SITES:
	case BOOK_PROOFS:
		return book_tell(book, (enum book_verb)verb, send_text, &fd,
		    why);
	case BOOK_RATCHET_LOWER:
		if (level > LEVEL_LOCK)
			return fail(why, REASON_RANGE, "unknown level %u",
			    level);
		return book_ratchet_lower(book, site, (enum level)level, why);
	default:
		return fail(why, REASON_PROTOCOL, "unknown request %u", verb);
	}
}

void
book_control_answer(struct book *book, int fd, const void *packet, size_t len)
{
	char site[BOOK_KEY];
	struct wire_reader r;
	struct reason why;
	uint8_t verb, level;
	bool ok;

	wire_reader_init(&r, packet, len);
	verb = wire_get_u8(&r);
	wire_get_string(&r, site, sizeof(site));
	level = wire_get_u8(&r);
	if (!wire_reader_done(&r)) {
		control_send_end(fd, false, "malformed request");
		return;
	}
	ok = answer(book, fd, verb, site, level, &why);
	control_send_end(fd, ok, ok ? "" : why.text);
}
