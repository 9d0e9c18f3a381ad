/*
 * server/envelope.c: a message's envelope as tagged fields, both ways.
 */
#include "envelope.h"

#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

/* Numbers on disk: never reused, never renumbered. */
enum tag {
	TAG_QUEUE_ID = 1,
	TAG_ARRIVAL = 2,
	TAG_REVERSE_PATH = 3,
	TAG_LOGIN = 4,
	TAG_CLIENT = 5,
	TAG_LISTENER = 6,
	TAG_TLS = 7,
	TAG_SESSION_ID = 8,
	TAG_SIZE = 9,
	TAG_FLAGS = 10,
	TAG_RET = 11,
	TAG_ENVID = 12,
	TAG_RECIPIENT = 13, /* once each, in order */
};

enum flag {
	FLAG_EIGHT_BIT = 1,
	FLAG_SMTPUTF8 = 2,
	FLAG_REQUIRETLS = 4,
	FLAG_TLS_OPTIONAL = 8,
	FLAG_NOTICE = 16,
	FLAG_DEVICE = 32,
	FLAG_UTF8_HEADER = 64,
};

enum { FIELD_OVERHEAD = 1 + 4 };

void
envelope_queue_id(char out[static QUEUE_ID_SIZE])
{
	/* One case, so that it can be read out; in ASCII's order. */
	static const char digits[] = "0123456789ABCDFGHJKLMNPQRSTVWXYZ";
	unsigned char chance[QUEUE_ID_SIZE];
	uint64_t seconds = (uint64_t)time(NULL);
	size_t i;

	if (getrandom(chance, sizeof(chance), 0) != (ssize_t)sizeof(chance))
		abort(); /* the kernel's generator cannot fail once seeded */
	/* 35 bits of time, so that ids sort by age, and 60 of chance. */
	for (i = 0; i < 7; i++)
		out[i] = digits[(seconds >> (5 * (6 - i))) & 31];
	for (; i < QUEUE_ID_SIZE - 1; i++)
		out[i] = digits[chance[i] & 31];
	out[i] = '\0';
}

void
envelope_init(struct envelope *envelope)
{
	memset(envelope, 0, sizeof(*envelope));
}

void
envelope_fini(struct envelope *envelope)
{
	free(envelope->reverse_path);
	free(envelope->login);
	free(envelope->client);
	free(envelope->listener);
	free(envelope->tls);
	free(envelope->session_id);
	free(envelope->envid);
	for (size_t i = 0; i < envelope->recipient_count; i++) {
		free(envelope->recipients[i].forward_path);
		free(envelope->recipients[i].orcpt);
	}
	free(envelope->recipients);
	envelope_init(envelope);
}

/* Room for one more, zeroed; capacities are the powers of two from 4. */
static struct envelope_recipient *
recipient_new(struct envelope *envelope)
{
	size_t count = envelope->recipient_count;
	struct envelope_recipient *grown;

	if (count >= ENVELOPE_RECIPIENTS_MAX)
		return NULL;
	if (count == 0 || (count >= 4 && (count & (count - 1)) == 0)) {
		grown = reallocarray(envelope->recipients,
		    count == 0 ? 4 : count * 2, sizeof(*grown));
		if (grown == NULL)
			return NULL;
		envelope->recipients = grown;
	}
	grown = &envelope->recipients[count];
	memset(grown, 0, sizeof(*grown));
	return grown;
}

bool
envelope_add_recipient(struct envelope *envelope, const char *path)
{
	struct envelope_recipient *recipient = recipient_new(envelope);

	if (recipient == NULL)
		return false;
	recipient->forward_path = strdup(path);
	if (recipient->forward_path == NULL)
		return false;
	envelope->recipient_count++;
	return true;
}

void
envelope_drop_recipient(struct envelope *envelope)
{
	struct envelope_recipient *last;

	if (envelope->recipient_count == 0)
		return;
	last = &envelope->recipients[--envelope->recipient_count];
	free(last->forward_path);
	free(last->orcpt);
}

static size_t
string_size(const char *s)
{
	return s == NULL ? 0 : FIELD_OVERHEAD + strlen(s);
}

/* path, notify, and orcpt where it was given */
static size_t
recipient_size(const struct envelope_recipient *recipient)
{
	size_t size = 4 + strlen(recipient->forward_path) + 1;

	if (recipient->orcpt != NULL)
		size += 4 + strlen(recipient->orcpt);
	return size;
}

size_t
envelope_encoded_size(const struct envelope *envelope)
{
	size_t size =
	    string_size(envelope->queue_id) +
	    string_size(envelope->reverse_path) + string_size(envelope->login) +
	    string_size(envelope->client) + string_size(envelope->listener) +
	    string_size(envelope->tls) + string_size(envelope->session_id) +
	    string_size(envelope->envid);

	size += 2 * (FIELD_OVERHEAD + 8); /* arrival, size */
	size += 2 * (FIELD_OVERHEAD + 1); /* flags, ret */
	for (size_t i = 0; i < envelope->recipient_count; i++)
		size +=
		    FIELD_OVERHEAD + recipient_size(&envelope->recipients[i]);
	return size;
}

static void
put_string(struct wire_writer *w, enum tag tag, const char *s)
{
	if (s == NULL)
		return;
	wire_put_u8(w, (uint8_t)tag);
	wire_put_bytes(w, s, strlen(s));
}

static void
put_u64(struct wire_writer *w, enum tag tag, uint64_t v)
{
	wire_put_u8(w, (uint8_t)tag);
	wire_put_u32(w, 8);
	wire_put_u64(w, v);
}

static void
put_u8(struct wire_writer *w, enum tag tag, uint8_t v)
{
	wire_put_u8(w, (uint8_t)tag);
	wire_put_u32(w, 1);
	wire_put_u8(w, v);
}

static void
put_recipient(struct wire_writer *w, const struct envelope_recipient *recipient)
{
	wire_put_u8(w, TAG_RECIPIENT);
	wire_put_u32(w, (uint32_t)recipient_size(recipient));
	wire_put_bytes(w, recipient->forward_path,
	    strlen(recipient->forward_path));
	wire_put_u8(w, recipient->notify);
	if (recipient->orcpt != NULL)
		wire_put_bytes(w, recipient->orcpt, strlen(recipient->orcpt));
}

void
envelope_encode(const struct envelope *envelope, struct wire_writer *w)
{
	unsigned flags = (envelope->eight_bit ? FLAG_EIGHT_BIT : 0) |
			 (envelope->smtputf8 ? FLAG_SMTPUTF8 : 0) |
			 (envelope->requiretls ? FLAG_REQUIRETLS : 0) |
			 (envelope->tls_optional ? FLAG_TLS_OPTIONAL : 0) |
			 (envelope->notice ? FLAG_NOTICE : 0) |
			 (envelope->device ? FLAG_DEVICE : 0) |
			 (envelope->utf8_header ? FLAG_UTF8_HEADER : 0);

	put_string(w, TAG_QUEUE_ID, envelope->queue_id);
	put_u64(w, TAG_ARRIVAL, (uint64_t)envelope->arrival_ms);
	put_string(w, TAG_REVERSE_PATH, envelope->reverse_path);
	put_string(w, TAG_LOGIN, envelope->login);
	put_string(w, TAG_CLIENT, envelope->client);
	put_string(w, TAG_LISTENER, envelope->listener);
	put_string(w, TAG_TLS, envelope->tls);
	put_string(w, TAG_SESSION_ID, envelope->session_id);
	put_u64(w, TAG_SIZE, envelope->size);
	put_u8(w, TAG_FLAGS, (uint8_t)flags);
	put_u8(w, TAG_RET, envelope->ret);
	put_string(w, TAG_ENVID, envelope->envid);
	for (size_t i = 0; i < envelope->recipient_count; i++)
		put_recipient(w, &envelope->recipients[i]);
}

static bool
is_clean(const unsigned char *s, size_t len)
{
	for (size_t i = 0; i < len; i++) {
		if (s[i] < 0x20 || s[i] == 0x7f)
			return false;
	}
	return true;
}

static char *
string_new(const gnutls_datum_t *octets)
{
	if (octets->size > ENVELOPE_STRING_MAX ||
	    !is_clean(octets->data, octets->size))
		return NULL;
	return strndup((const char *)octets->data, octets->size);
}

/* Each field once: a second one is refused. */
static bool
take_string(char **out, const gnutls_datum_t *octets)
{
	if (*out != NULL)
		return false;
	*out = string_new(octets);
	return *out != NULL;
}

static bool
take_u64(uint64_t *out, const gnutls_datum_t *octets)
{
	struct wire_reader r;

	wire_reader_init(&r, octets->data, octets->size);
	*out = wire_get_u64(&r);
	return wire_reader_done(&r);
}

static bool
take_u8(uint8_t *out, const gnutls_datum_t *octets)
{
	if (octets->size != 1)
		return false;
	*out = octets->data[0];
	return true;
}

/* Letters and digits only: it becomes part of names and header fields. */
static bool
take_queue_id(char *out, const gnutls_datum_t *octets)
{
	if (octets->size == 0 || octets->size >= QUEUE_ID_SIZE)
		return false;
	for (unsigned i = 0; i < octets->size; i++) {
		unsigned char c = octets->data[i];

		if (!((c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') ||
			(c >= 'a' && c <= 'z')))
			return false;
	}
	memcpy(out, octets->data, octets->size);
	out[octets->size] = '\0';
	return true;
}

static bool
take_recipient(struct envelope *envelope, const gnutls_datum_t *octets)
{
	struct envelope_recipient *recipient = recipient_new(envelope);
	struct wire_reader r;
	gnutls_datum_t path, orcpt;

	if (recipient == NULL)
		return false;
	wire_reader_init(&r, octets->data, octets->size);
	path = wire_get_bytes(&r, ENVELOPE_STRING_MAX);
	recipient->notify = wire_get_u8(&r);
	if (r.failed || path.size == 0)
		return false;
	if (r.at < r.end) {
		orcpt = wire_get_bytes(&r, ENVELOPE_STRING_MAX);
		if (!wire_reader_done(&r) ||
		    !take_string(&recipient->orcpt, &orcpt))
			return false;
	}
	if (!take_string(&recipient->forward_path, &path)) {
		free(recipient->orcpt);
		return false;
	}
	envelope->recipient_count++;
	return true;
}

static bool
take_field(struct envelope *envelope, uint8_t tag, const gnutls_datum_t *octets)
{
	uint64_t number = 0;
	uint8_t flags = 0;

	switch (tag) {
	case TAG_QUEUE_ID:
		return take_queue_id(envelope->queue_id, octets);
	case TAG_ARRIVAL:
		if (!take_u64(&number, octets) || number > INT64_MAX)
			return false;
		envelope->arrival_ms = (int64_t)number;
		return true;
	case TAG_REVERSE_PATH:
		return take_string(&envelope->reverse_path, octets);
	case TAG_LOGIN:
		return take_string(&envelope->login, octets);
	case TAG_CLIENT:
		return take_string(&envelope->client, octets);
	case TAG_LISTENER:
		return take_string(&envelope->listener, octets);
	case TAG_TLS:
		return take_string(&envelope->tls, octets);
	case TAG_SESSION_ID:
		return take_string(&envelope->session_id, octets);
	case TAG_SIZE:
		return take_u64(&envelope->size, octets);
	case TAG_FLAGS:
		if (!take_u8(&flags, octets))
			return false;
		envelope->eight_bit = (flags & FLAG_EIGHT_BIT) != 0;
		envelope->smtputf8 = (flags & FLAG_SMTPUTF8) != 0;
		envelope->requiretls = (flags & FLAG_REQUIRETLS) != 0;
		envelope->tls_optional = (flags & FLAG_TLS_OPTIONAL) != 0;
		envelope->notice = (flags & FLAG_NOTICE) != 0;
		envelope->device = (flags & FLAG_DEVICE) != 0;
		envelope->utf8_header = (flags & FLAG_UTF8_HEADER) != 0;
		return true;
	case TAG_RET:
		return take_u8(&envelope->ret, octets);
	case TAG_ENVID:
		return take_string(&envelope->envid, octets);
	case TAG_RECIPIENT:
		return take_recipient(envelope, octets);
	default:
		return true; /* of a later version */
	}
}

bool
envelope_decode(struct envelope *envelope_out, const void *octets, size_t len,
    struct reason *why)
{
	struct envelope envelope;
	struct wire_reader r;

	if (len > ENVELOPE_OCTETS_MAX)
		return fail(why, REASON_RANGE,
		    "envelope: %zu octets, expected at most %d", len,
		    ENVELOPE_OCTETS_MAX);
	envelope_init(&envelope);
	wire_reader_init(&r, octets, len);
	while (!r.failed && r.at < r.end) {
		uint8_t tag = wire_get_u8(&r);
		gnutls_datum_t field = wire_get_bytes(&r, ENVELOPE_OCTETS_MAX);

		if (r.failed)
			break;
		if (!take_field(&envelope, tag, &field)) {
			envelope_fini(&envelope);
			return fail(why, REASON_DAMAGED,
			    "envelope: field %u is wrong", tag);
		}
	}
	if (r.failed || envelope.queue_id[0] == '\0' ||
	    envelope.reverse_path == NULL || envelope.recipient_count == 0) {
		envelope_fini(&envelope);
		return fail(why, REASON_DAMAGED,
		    "envelope: cut off, or a field is missing");
	}
	*envelope_out = envelope;
	return true;
}
